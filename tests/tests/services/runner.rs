//! A CI runner's service under the drop-in that comes with guard. The runner is a stand-in: a script that starts its
//! jobs as the real one does, in the background and in sessions of their own.

use std::fs;

use guard_lab::{CONFIRMS, Network, OPEN, Tested, V4};

use crate::services::machine::{UID, USER, Unit, has_ended, machine, ok, probe, reload, session};

const DROP_IN: &str = include_str!("../../../packaging/examples/github-runner.conf");
const NAME: &str = "actions.runner.owner-repo.lab.service";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_jobs_of_a_runner_are_in_its_session() -> Tested {
    let _one = machine();
    let (network, production) = Network::with_production()?;
    // A copy of the policy that the drop-in names, as users are told to make.
    fs::write("/etc/guard/policies/ci.toml", CONFIRMS)?;
    let job = |to| format!("setsid --wait {} &", probe(to).join(" "));
    let script = format!(
        "{} {} wait; echo jobs are done; sleep 1000",
        job(OPEN),
        job(V4)
    );
    // The rest is as the runner's own unit has it.
    let unit = Unit::new(
        NAME,
        &network,
        &format!(
            "User={USER}\nExecStart=bash -c '{script}'\nKillMode=process\nKillSignal=SIGTERM\nTimeoutStopSec=5min"
        ),
    );
    let file = format!("/run/systemd/system/{NAME}");
    let text = fs::read_to_string(&file)?;
    assert!(text.contains("Slice=guard.slice\n"));
    fs::write(&file, text.replace("Slice=guard.slice\n", ""))?;
    reload();
    // Without the drop-in its jobs reach everything.
    assert!(unit.start(), "{}", unit.journal());
    unit.says("jobs are done");
    assert!(!unit.journal().contains("EPERM"), "{}", unit.journal());
    unit.stop();
    let before = production.reached_at(V4, 443)?.len();
    assert!(before > 0);

    let dir = format!("{file}.d");
    fs::create_dir_all(&dir)?;
    fs::write(format!("{dir}/guard.conf"), DROP_IN)?;
    reload();
    assert!(unit.start(), "{}", unit.journal());
    let session = session(NAME);
    assert_eq!(
        (&session["policy"], &session["uid"]),
        (&"ci".into(), &UID.into())
    );
    unit.says("EPERM");
    let done = || unit.journal().matches("jobs are done").count() == 2;
    guard_lab::eventually("done", done)?;
    let said = unit.journal();
    assert_eq!(said.matches("\"ok\":true").count(), 3, "{said}");
    assert_eq!(production.reached_at(V4, 443)?.len(), before);

    fs::remove_dir_all(dir)?;
    fs::remove_file("/etc/guard/policies/ci.toml")?;
    drop(unit);
    ok(&["systemctl", "daemon-reload"]);
    has_ended(NAME);
    Ok(())
}
