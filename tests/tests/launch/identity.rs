//! As whom the command runs.

use crate::bench::{Bench, UID, text};

#[test]
fn root_is_told_to_name_a_user() {
    let bench = Bench::new();
    for options in [&[][..], &["--user", "root"], &["--user", "0"]] {
        let mut run = bench.run(options);
        run.arg("true")
            .env_remove("SUDO_UID")
            .env_remove("SUDO_GID");
        let refused = run.output().unwrap();
        assert_eq!(refused.status.code(), Some(125));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("--user NAME"), "{said}");
    }
}

#[test]
fn under_sudo_it_runs_as_whoever_called_sudo() {
    let bench = Bench::new();
    let mut run = bench.run(&[]);
    run.args(["sh", "-c", "id -u; env"]);
    run.envs([("SUDO_UID", UID), ("SUDO_GID", UID), ("SUDO_COMMAND", "x")]);
    run.envs([("HOME", "/root"), ("KEPT", "yes")]);
    let said = text(&run.output().unwrap());
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], UID);
    for line in [
        "USER=nobody",
        "LOGNAME=nobody",
        "KEPT=yes",
        "GUARD_SESSION=s1",
    ] {
        assert!(lines.contains(&line), "{line} in {said}");
    }
    assert!(
        !said.contains("SUDO_") && !said.contains("HOME=/root\n"),
        "{said}"
    );
}
