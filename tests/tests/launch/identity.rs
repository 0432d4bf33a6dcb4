//! As whom the command runs.

use crate::launch::bench::{Bench, UID, text};
use crate::launch::screen::Terminal;
use guard_lab::Tested;

#[test]
fn root_is_told_to_name_a_user() -> Tested {
    let bench = Bench::new()?;
    for options in [&[][..], &["--user", "root"], &["--user", "0"]] {
        let mut run = bench.run(options);
        run.arg("true")
            .env_remove("SUDO_UID")
            .env_remove("SUDO_GID");
        let refused = run.output()?;
        assert_eq!(refused.status.code(), Some(125));
        let said = String::from_utf8(refused.stderr)?;
        assert!(
            said.contains("-u NAME guard run --user root") || said.contains("--user NAME"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn under_sudo_it_runs_as_whoever_called_sudo() -> Tested {
    let bench = Bench::new()?;
    let mut run = bench.run(&[]);
    run.args(["sh", "-c", "id -u; env"]);
    run.envs([("SUDO_UID", UID), ("SUDO_GID", UID), ("SUDO_COMMAND", "x")]);
    run.envs([("HOME", "/root"), ("KEPT", "yes")]);
    let said = text(&run.output()?)?;
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
    let path = lines.iter().find(|line| line.starts_with("PATH="));
    let is_own = |path: &&str| path.ends_with(":/nonexistent/.local/bin");
    assert!(path.is_some_and(is_own), "{said}");

    let mut run = bench.run(&[]);
    run.arg("no-such-program")
        .envs([("SUDO_UID", UID), ("SUDO_GID", UID)]);
    let refused = run.output()?;
    assert_eq!(refused.status.code(), Some(127));
    let said = String::from_utf8(refused.stderr)?;
    assert!(
        said.contains("sudo has replaced PATH") && said.contains("sudo guard run -- env"),
        "{said}"
    );
    Ok(())
}

#[test]
fn root_of_a_user_namespace_has_a_terminal_as_others_have() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let run = format!("SUDO_UID={UID} SUDO_GID={UID} ./probe run --user root --");
    terminal.press(&format!(
        "{run} sh -c 'id -u; echo ctty > /dev/tty; echo own >$(tty); read -r x; echo got-$x; exit 7'; echo status-$?\n"
    ));
    terminal.expect("0\r\n");
    terminal.expect("ctty\r\n");
    terminal.expect("own\r\n");
    terminal.press("typed\n");
    terminal.expect("got-typed");
    terminal.expect("status-7");
    terminal.press(&format!("{run} sleep 60\n"));
    bench.process("sleep")?;
    terminal.press("\u{3}");
    terminal.expect("^C");
    terminal.expect("$ ");
    terminal.press("echo status-$?\n");
    terminal.expect("status-130");
    Ok(())
}
