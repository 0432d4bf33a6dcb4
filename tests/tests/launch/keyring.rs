//! The keys that whoever starts a command has in the kernel.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use guard_lab::{AGENT, ALLOWS, Daemon, Tested, exec};

const PROGRAM: &str = include_str!("keys.py");

/// A login has a session keyring, and in it the person's keys; it stays where another user is become.
#[test]
fn a_user_of_its_own_has_none_of_its_starters_keys() -> Tested {
    let daemon = Daemon::on_this_machine().policy("open", ALLOWS).start()?;
    let program = daemon.open_place("keys.py")?;
    fs::write(&program, PROGRAM)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644))?;
    let program = program.to_str().unwrap();
    let with_key = |command: &Command| -> Tested<(bool, String)> {
        let mut runner = Command::new("python3");
        runner.args([program, "put"]);
        let done = exec::output(&mut exec::by(runner, command))?;
        let said = [done.stdout, done.stderr].concat();
        Ok((done.status.success(), String::from_utf8(said)?))
    };
    let mut bare = daemon.on_machine(AGENT, "python3");
    let (found, said) = with_key(bare.args([program, "look"]))?;
    assert!(found && said == "the caller's\n", "{said}");
    let guarded = |verb| -> Tested<(bool, String)> {
        let agent = AGENT.to_string();
        let run = [
            "run", "--quiet", "--policy", "open", "--", "python3", program, verb,
        ];
        let run = daemon.root(run);
        with_key(
            &run.env("SUDO_UID", &agent)
                .env("SUDO_GID", &agent)
                .command()?,
        )
    };
    let (found, said) = guarded("look")?;
    assert!(
        !found && said.contains("Required key not available"),
        "{said}"
    );
    // It has a keyring, for keys of its own, and finds those of its user's there.
    for (verb, whose) in [("own", "its own\n"), ("users", "its user's\n")] {
        let (found, said) = guarded(verb)?;
        assert!(found && said == whose, "{verb}: {said}");
    }
    Ok(())
}
