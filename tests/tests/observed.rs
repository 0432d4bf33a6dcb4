//! What guardd shows of itself as a service of systemd: its status line, its metrics, its audit log.
//!
//! For a machine to throw away that has guard installed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use guard_lab::{Tested, eventually};

/// Where guard-metrics.socket listens.
const METRICS: &str = "127.0.0.1:9478";
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

/// What a scraper gets at an address.
fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn metrics_the_status_line_and_rotation_work_under_the_units_hardening() -> Tested {
    // A setting of the release before stops nothing.
    fs::write(
        "/etc/guard/guardd.toml",
        "[metrics]\nlisten = \"unix:/run/guard/metrics.sock\"\n",
    )?;
    systemctl(&["restart", "guardd"]);
    assert!(
        status_line().starts_with("enforcing: 0 sessions, "),
        "{}",
        status_line()
    );
    assert!(!Path::new("/run/guard/metrics.sock").exists());
    assert_eq!(scrape(METRICS), None, "nobody has enabled it");
    systemctl(&["start", "guard-metrics.socket"]);
    let text = scrape(METRICS).context("nobody listens")?;
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    assert!(text.contains("\nguard_enforcing 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    // Clients that hang cost the socket's places for a while, and end no unit.
    let crowd: Vec<_> = (0..300).map(|_| TcpStream::connect(METRICS)).collect();
    let mut status = Command::new("guard");
    assert!(status.arg("status").output()?.status.success());
    drop(crowd);
    eventually("it answers again", || {
        Ok(scrape(METRICS).is_some_and(|text| text.ends_with("# EOF\n")))
    })?;
    let failed = systemctl(&["list-units", "--failed", "--plain", "--no-legend", "guard*"]);
    assert_eq!(failed, "");
    systemctl(&["stop", "guard-metrics.socket"]);

    let old = format!("{AUDIT}.1");
    fs::rename(AUDIT, &old)?;
    systemctl(&["reload", "guardd"]);
    eventually("a new file is there", || Path::new(AUDIT).exists())?;
    let group = guard_sys::accounts::group("guard")?;
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
    fs::write("/etc/guard/guardd.toml", "")?;
    systemctl(&["start", "guardd"]);
    assert!(
        status_line().starts_with("enforcing: "),
        "{}",
        status_line()
    );
    Ok(())
}
