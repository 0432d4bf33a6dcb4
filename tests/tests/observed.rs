//! What guardd shows of itself as a service of systemd: its status line, its metrics, its audit log.
//!
//! For a machine to throw away that has guard installed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use guard_lab::{Tested, eventually};

const SOCKET: &str = "/run/guard/metrics.sock";
const AUDIT: &str = "/var/log/guard/audit.jsonl";

fn systemctl(args: &[&str]) -> String {
    assert!(
        Path::new("/run/systemd/system").exists(),
        "this test wants systemd as PID 1, in a machine to throw away"
    );
    let done = Command::new("systemctl").args(args).output().unwrap();
    assert!(done.status.success(), "systemctl {args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn status_line() -> String {
    systemctl(&["show", "--value", "--property=StatusText", "guardd"])
}

fn scrape() -> Option<String> {
    let mut stream = UnixStream::connect(SOCKET).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn metrics_the_status_line_and_rotation_work_under_the_units_hardening() -> Tested {
    fs::write(
        "/etc/guard/guardd.toml",
        format!("[metrics]\nlisten = \"unix:{SOCKET}\"\n"),
    )?;
    systemctl(&["restart", "guardd"]);
    assert!(
        status_line().starts_with("enforcing: 0 sessions, "),
        "{}",
        status_line()
    );
    eventually("metrics are served", || scrape().is_some())?;
    let text = scrape().unwrap();
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    assert!(text.contains("\nguard_enforcing 1\n"), "{text}");
    let meta = fs::metadata(SOCKET)?;
    let group = guard_sys::accounts::group("guard")?;
    assert_eq!(Some(meta.gid()), group);
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);

    let old = format!("{AUDIT}.1");
    fs::rename(AUDIT, &old)?;
    systemctl(&["reload", "guardd"]);
    eventually("a new file is there", || Path::new(AUDIT).exists())?;
    let meta = fs::metadata(AUDIT)?;
    assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    assert_eq!((meta.uid(), Some(meta.gid())), (0, group));
    let mut run = Command::new("guard");
    run.args(["run", "--user", "nobody", "--", "true"]);
    assert!(run.status()?.success());
    eventually("it is written to", || {
        Ok(fs::read_to_string(AUDIT)?.contains("session-start"))
    })?;
    let log = Command::new("guard").args(["log", "--json"]).output()?;
    let log = String::from_utf8(log.stdout)?;
    assert!(
        log.contains("daemon-start") && log.contains("session-start"),
        "{log}"
    );

    // Nothing that may not be there is replaced, and nothing stops for it.
    systemctl(&["stop", "guardd"]);
    assert!(!Path::new(SOCKET).exists());
    fs::write("/etc/guard/guardd.toml", "")?;
    systemctl(&["start", "guardd"]);
    assert!(
        status_line().starts_with("enforcing: "),
        "{}",
        status_line()
    );
    Ok(())
}
