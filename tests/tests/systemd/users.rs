//! User managers, and the group that may read the audit log.

use guard_lab::Tested;
use std::fs;

use super::machine::{Machine, Target, UID, as_user, ok, text};

fn in_user_manager(args: &[&str]) -> Tested<std::process::Output> {
    ok("loginctl", &["enable-linger", super::machine::USER])?;
    ok("systemctl", &["start", &format!("user@{UID}.service")])?;
    let dir = format!("XDG_RUNTIME_DIR=/run/user/{UID}");
    let bus = format!("DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{UID}/bus");
    as_user(&[&["env", &dir, &bus], args].concat())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_units_manager_refuses_what_it_could_not_guard() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let port = target.port.to_string();
    let probe = ["guard-lab", "probe", "tcp", "127.0.0.1", &port];
    let run = ["systemd-run", "--user", "--quiet", "--wait", "--pipe"];
    let free = in_user_manager(&[&run[..], &probe].concat())?;
    assert!(
        free.status.success() && target.reached() == 1,
        "outside of the slice it runs"
    );
    // Whether systemd-run --wait says so differs from version to version: what counts is that nothing runs.
    for slice in ["--slice=guard.slice", "--slice=guard-mine.slice"] {
        in_user_manager(&[&run[..], &[slice], &probe].concat())?;
        let scope = ["systemd-run", "--user", "--quiet", "--scope", slice];
        let refused = in_user_manager(&[&scope[..], &probe].concat())?;
        assert!(!refused.status.success(), "{slice}");
    }
    let unit = "/run/systemd/user/mine.service";
    let probe_line = probe.join(" ");
    fs::create_dir_all("/run/systemd/user")?;
    fs::write(
        unit,
        format!("[Service]\nSlice=guard.slice\nExecStart=/usr/bin/{probe_line}\n"),
    )?;
    in_user_manager(&["systemctl", "--user", "daemon-reload"])?;
    let refused = in_user_manager(&["systemctl", "--user", "start", "mine.service"])?;
    fs::remove_file(unit)?;
    assert!(!refused.status.success());
    assert_eq!(target.reached(), 1, "nothing of it ran");
    ok("journalctl", &["--sync"])?;
    let said = ok(
        "journalctl",
        &["--no-pager", "--output=cat", &format!("_UID={UID}")],
    )?;
    assert!(said.contains("use ExecStart=guard run -- CMD"), "{said}");

    let nothing = "/run/nothing.toml";
    fs::write(
        nothing,
        "version = 1\nname = \"nothing\"\ndefault = \"deny\"\n",
    )?;
    let guard = ["guard", "run", "--policy", nothing, "--"];
    let guarded = in_user_manager(&[&run[..], &guard, &probe].concat())?;
    assert!(
        text(&guarded.stdout).contains("EPERM"),
        "what it says to do instead works"
    );
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn members_of_the_group_read_the_trail_and_others_do_not() -> Tested {
    let _machine = Machine::new()?;
    let trail = "/var/log/guard/audit.jsonl";
    assert!(fs::metadata(trail)?.len() > 0);
    assert!(!as_user(&["cat", trail])?.status.success());
    let id = UID.to_string();
    ok(
        "setpriv",
        &[
            "--reuid", &id, "--regid", &id, "--groups", "guard", "cat", trail,
        ],
    )?;
    for path in ["/sys/fs/bpf/guard", "/run/guard/sessions"] {
        let args = ["--reuid", &id, "--regid", &id, "--groups", "guard", "touch"];
        let file = format!("{path}/mine");
        super::machine::fails("setpriv", &[&args[..], &[&file]].concat())?;
    }
    Ok(())
}
