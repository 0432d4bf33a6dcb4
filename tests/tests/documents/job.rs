//! A job of CI's that is observed, and held to what it reached, as docs/ci.md has it: on this kernel.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Output;

use guard_lab::{AGENT, Tested, exec, mounts};

use super::block::{CI, block};
use crate::names::scene::{API, DNS, NameScene};
use crate::packages::machine::said;

/// guardd has one of its own beside those that ship, of which `ci` is one.
const POLICY: &str = "version = 1\nname = \"other\"\ndefault = \"allow\"\n";

/// The job, in place of make: it goes to one server.
const MAKE: &str = "#!/bin/sh\nexec curl -sS -m 20 -o /dev/null http://192.0.2.10/\n";

/// Where the job's repository is.
struct Job {
    scene: NameScene,
    dir: PathBuf,
}

impl Job {
    fn new() -> Tested<Self> {
        let scene = NameScene::at(DNS, "", "other", POLICY, &[])?;
        scene.assert_open(API, 80)?;
        let dir = scene.daemon.dir().join("job");
        let bin = dir.join("bin");
        for made in [&dir, &bin, &dir.join(".ci")] {
            fs::create_dir(made)?;
            fs::set_permissions(made, Permissions::from_mode(0o777))?;
        }
        symlink(scene.daemon.program("guard")?, bin.join("guard"))?;
        fs::write(bin.join("make"), MAKE)?;
        fs::set_permissions(bin.join("make"), Permissions::from_mode(0o755))?;
        Ok(Self { scene, dir })
    }

    /// Types lines there, as the job's user.
    fn types(&self, lines: &str) -> Tested<Output> {
        let daemon = &self.scene.daemon;
        let path = std::env::var("PATH")?;
        let mut bash = daemon.on_machine(AGENT, "bash");
        bash.args(["-c", &format!("ID=1\n{lines}")])
            .env_remove("SUDO_UID")
            .env("GUARD_SOCKET", daemon.socket())
            .env("HOME", &self.dir)
            .env("PATH", format!("{}:{path}", self.dir.join("bin").display()));
        // It knows none of the names that `ci` has, and says so: the machine's own is out of reach here, and each name would be waited for.
        let servers = daemon.write_for_agents("resolv.conf", &format!("nameserver {DNS}\n"))?;
        let mut bash = mounts::with_file(&bash, &servers, "/etc/resolv.conf");
        Ok(exec::output(bash.current_dir(&self.dir))?)
    }

    /// Whether the job succeeds under a policy.
    fn passes(&self, policy: &str) -> Tested<bool> {
        let line = format!("guard run --policy {policy} -- make test");
        Ok(self.types(&line)?.status.success())
    }
}

#[test]
fn a_job_is_observed_and_then_held_to_that_as_the_page_says() -> Tested {
    let job = Job::new()?;
    let observed = job.types(&block(CI, "guard run --observe"))?;
    assert!(observed.status.success(), "{}", said(&observed));

    // As its last remark says: 1, for something is closed.
    let learned = job.types(&block(CI, "guard flows"))?;
    let all = said(&learned);
    assert_eq!(learned.status.code(), Some(1), "{all}");
    for part in ["curl", ".ci/guard.toml: valid", "Less open:"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let policy = fs::read_to_string(job.dir.join(".ci/guard.toml"))?;
    assert!(policy.contains(API), "{policy}");

    assert!(job.passes("./.ci/guard.toml")?, "{policy}");
    assert!(!job.passes("ci")?, "by itself ci does not let it pass");
    Ok(())
}
