//! `guard run`: the command is run as it would be without it, or not at all.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use guard_lab::{AGENT, Cgroup, Running, STRANGER, Tested, exec};
use rustix::process::Signal;

use super::{Lab, PATIENCE, POLICY, V4};
use crate::together::{cases, each_from};

fn run<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--policy", "asks"], command].concat()
}

fn its_exit_status_is_the_commands(lab: &Lab) -> Tested {
    for (command, status) in [
        (&["--", "true"][..], 0),
        (&["--", "sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 8"], 8),
        (&["--", "sh", "-c", "kill -9 $$"], 128 + 9),
        (&["--", "sh", "-c", "kill $$"], 128 + 15),
        (&["--", "/etc/passwd"], 126),
        (&["--", "/etc"], 126),
        (&["--", "no-such-command"], 127),
        (&["--", "/no/such/command"], 127),
    ] {
        let output = lab.agent(&run(command))?;
        assert_eq!(output.code(), Some(status), "{command:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn what_it_cannot_start_never_runs() -> Tested {
    let lab = Lab::new()?;
    let witness = lab.daemon.dir().join("witness");
    let touch = witness.to_str().unwrap();
    fs::set_permissions(lab.daemon.dir(), fs::Permissions::from_mode(0o777))?;
    let invalid = lab.file("invalid.toml", "version = 1\ncolour = \"red\"\n")?;
    let invalid = invalid.to_str().unwrap();
    let missing = "/no/such/dir/guardd.sock";
    for options in [
        &["--policy", "no-such-policy"][..],
        &["--policy", invalid],
        &["--policy", "./no-such-file.toml"],
        &["--hold", "301s"],
        &["--hold", "soon"],
        &["--colour", "red"],
        &["--user", "root"],
        &["--user", "nobody"],
        &["--user", "no-such-user"],
        &["--socket", missing],
    ] {
        let args = [&["run"], options, &["--", "touch", touch]].concat();
        let output = lab.agent(&args)?;
        assert_eq!(output.code(), Some(125), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?} says why");
        assert!(!witness.exists(), "{args:?}");
    }
    // It would be there if the command had run.
    assert_eq!(lab.agent(&run(&["touch", touch]))?.code(), Some(0));
    assert!(witness.exists());
    Ok(())
}

/// Who sets the environment of a shell, as an `.envrc` does, names another socket to it.
fn a_program_that_only_says_that_it_guards_is_not_believed(lab: &Lab) -> Tested {
    // Commands stay where they are, and are told that this is their session's.
    let cgroup = Cgroup::new()?;
    let dir = lab.daemon.open_place("")?;
    let program = lab.file("pretender.py", include_str!("pretender.py"))?;
    let pretends = |name: &str, uid| {
        let socket = dir.join(name);
        let mut python = lab.daemon.on_machine(uid, "/usr/bin/python3");
        python.arg(&program).arg(&socket);
        python.arg(format!("/{}", cgroup.name().display()));
        let mut running = Running::start(&mut python).unwrap();
        running.line_with("listening", PATIENCE).unwrap();
        (socket, running)
    };
    let (own, _own) = pretends("own", AGENT);
    let (roots, _roots) = pretends("root", 0);
    let guard = lab.guard()?;
    let witness = dir.join("witness");
    let runs = |socket: &std::path::Path, wrap: &str| {
        let line = format!("{wrap} {guard} run -q -- touch {}", witness.display());
        let mut shell = lab.daemon.on_machine(AGENT, "sh");
        shell.args(["-c", &line]).env("GUARD_SOCKET", socket);
        exec::output(&mut cgroup.wrap(&shell)).unwrap()
    };
    for (wrap, why) in [
        ("", "which is you and not root"),
        ("unshare --user --map-root-user", "in this user namespace"),
    ] {
        let output = runs(&own, wrap);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{wrap}: {said}");
        assert!(said.contains("will not talk to"), "{wrap}: {said}");
        assert!(said.contains(why), "{wrap}: {said}");
        assert!(!witness.exists(), "{wrap}");
    }
    for args in [&["approve", "r1"][..], &["open", V4, "--all-ports"]] {
        let named = lab.daemon.agent(args).env("GUARD_SOCKET", &own);
        let output = named.run()?;
        assert_eq!(output.code(), Some(2), "{output:?}");
        assert!(output.stderr.contains("not root"), "{output:?}");
    }
    // That one plays its part: of root it would be believed.
    assert!(runs(&roots, "").status.success());
    assert!(witness.exists());
    // And in that user namespace guardd itself is.
    fs::remove_file(&witness)?;
    let real = lab.daemon.socket();
    assert!(
        runs(&real, "unshare --user --map-root-user")
            .status
            .success()
    );
    assert!(witness.exists());
    Ok(())
}

fn nothing_waits_for_ever(lab: &Lab) -> Tested {
    for hold in ["0", "0s", "5s", "5m"] {
        let output = lab.agent(&run(&["--hold", hold, "--", "true"]))?;
        assert_eq!(output.code(), Some(0), "{output:?}");
    }
    let output = lab.agent(&run(&["--hold", "301s", "--", "true"]))?;
    assert_eq!(output.code(), Some(125));
    assert!(output.stderr.contains("--hold 5m"), "{output:?}");
    Ok(())
}

fn the_commands_own_options_are_its_own(lab: &Lab) -> Tested {
    let script = "printf '%s|' \"$@\"";
    let options = [
        "--json",
        "-h",
        "--socket",
        "/no/where",
        "--",
        "--policy",
        "",
    ];
    let command = [&["sh", "-c", script, "sh"][..], &options].concat();
    for command in [command.clone(), [&["--"], &command[..]].concat()] {
        let output = lab.agent(&run(&command))?.success()?;
        assert_eq!(output.stdout, "--json|-h|--socket|/no/where|--|--policy||");
    }
    Ok(())
}

fn input_environment_and_directory_are_inherited(lab: &Lab) -> Tested {
    let piped = lab
        .daemon
        .agent(run(&["--", "cat"]))
        .input("a line\nno end");
    assert_eq!(piped.run()?.stdout, "a line\nno end");
    let show = run(&["--", "sh", "-c", "echo $PAPER; pwd; echo $GUARD_SESSION"]);
    let mut command = lab.daemon.agent(show).env("PAPER", "A 4").command()?;
    let output = command.current_dir("/usr/bin").output()?;
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["A 4", "/usr/bin"]);
    let number = lines[2].strip_prefix('s').unwrap();
    assert!(number.parse::<u32>().is_ok(), "{text}");
    Ok(())
}

fn no_descriptor_but_the_first_three_is_inherited(lab: &Lab) -> Tested {
    let list = lab
        .daemon
        .agent(run(&["--", "sh", "-c", "ls /proc/$$/fd; true"]));
    let guard = list.command()?;
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec 5</etc/passwd 7>>/dev/null; exec \"$@\"", "sh"]);
    shell.arg(guard.get_program()).args(guard.get_args());
    for (name, value) in guard.get_envs() {
        shell.env(name, value.unwrap());
    }
    let output = shell.stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let open: Vec<_> = text.split_whitespace().collect();
    assert_eq!(open, ["0", "1", "2"], "{text}");
    Ok(())
}

fn signals_are_passed_on(lab: &Lab) -> Tested {
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let guard = lab.daemon.agent(run(&["--", "sh", "-c", script]));
    let mut command = guard.command()?;
    let mut running = guard_lab::Running::start(command.process_group(0))?;
    running.line_with("ready", PATIENCE)?;
    running.signal(Signal::TERM)?;
    running.line_with("got it", PATIENCE)?;
    assert_eq!(running.wait()?.code(), Some(9));
    Ok(())
}

fn under_sudo_it_is_whoever_called_sudo(lab: &Lab) -> Tested {
    let who = run(&["--", "sh", "-c", "id -u; id -g; echo $SUDO_UID"]);
    for (uid, gid) in [(65534, 65534), (AGENT, STRANGER)] {
        let sudo = lab.daemon.root(&who).env("SUDO_UID", uid.to_string());
        let output = sudo.env("SUDO_GID", gid.to_string()).run()?;
        assert_eq!(output.stdout, format!("{uid}\n{gid}\n\n"), "{output:?}");
    }
    let named = lab.root(&run(&["--user", "nobody", "--", "id", "-un"]))?;
    assert_eq!(named.stdout, "nobody\n", "{named:?}");
    let by_sudo = lab
        .daemon
        .root(&who)
        .env("SUDO_UID", "0")
        .env("SUDO_GID", "0");
    assert_eq!(by_sudo.run()?.code(), Some(125));
    // An ordinary user says of himself what he likes: he stays who he is.
    let forged = lab.daemon.agent(&who).env("SUDO_UID", "65534").run()?;
    assert!(forged.stdout.starts_with(&AGENT.to_string()), "{forged:?}");
    Ok(())
}

fn root_is_never_the_one_who_runs_it(lab: &Lab) -> Tested {
    for options in [&[][..], &["--user", "root"], &["--user", "0"]] {
        let output = lab.root(&run(&[options, &["--", "true"]].concat()))?;
        assert_eq!(output.code(), Some(125), "{options:?}");
        assert!(output.stderr.contains("NAME"), "{output:?}");
    }
    Ok(())
}

fn a_policy_file_is_read_by_the_command_as_its_user(lab: &Lab) -> Tested {
    let private = lab.daemon.dir().join("private");
    fs::create_dir(&private)?;
    let file = private.join("mine.toml");
    fs::write(&file, POLICY)?;
    for path in [&private, &file] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        chown(path, Some(AGENT), Some(AGENT))?;
    }
    assert_eq!(fs::metadata(&file)?.uid(), AGENT);
    let file = file.to_str().unwrap();
    let run = ["run", "--policy", file, "--", "true"];
    assert_eq!(lab.agent(&run)?.code(), Some(0));
    let stranger = lab.daemon.user(STRANGER, run).run()?;
    assert_eq!(stranger.code(), Some(125));
    assert!(
        stranger.stderr.contains("you may not read it"),
        "{stranger:?}"
    );
    // Root lends nobody its own rights.
    let lent = lab.root(&[&["run", "--user", "nobody"], &run[1..]].concat())?;
    assert_eq!(lent.code(), Some(125), "{lent:?}");
    let relative = ["run", "--policy", "../private/mine.toml", "--", "pwd"];
    let mut guard = lab.daemon.agent(relative).command()?;
    let there = lab.daemon.policy_dir();
    let output = guard.current_dir(&there).output()?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(text.trim_end(), there.to_str().unwrap());
    Ok(())
}

fn names_and_command_lines_are_shown_as_they_are(lab: &Lab) -> Tested {
    let long = "x".repeat(100_000);
    let name = "Größe der 日本 🦀";
    let command = [
        "--name", name, "--", "sh", "-c", "sleep 30", "an arg", &long,
    ];
    let _running = lab.daemon.agent(run(&command)).spawn()?;
    let session = loop {
        let sessions = lab.daemon.json(["sessions"])?;
        if let Some(session) = sessions.get(0).filter(|one| one["pid"].is_u64()) {
            break session.clone();
        }
    };
    assert_eq!(session["name"], name);
    assert_eq!(session["command"][3], "an arg");
    let shown = session["command"].to_string();
    assert!(shown.len() < 5000, "{}", shown.len());
    Ok(())
}

fn without_a_daemon_there_are_two_commands_to_choose_from(lab: &Lab) -> Tested {
    let run = ["run", "--socket", "/no/such/dir/guardd.sock", "--", "true"];
    let output = lab.agent(&run)?;
    assert_eq!(output.code(), Some(125));
    for command in [
        "sudo systemctl start guardd",
        "sudo guardd",
        "sudo guard run -- CMD",
    ] {
        assert!(output.stderr.contains(command), "{output:?}");
    }
    let other = lab.agent(&["status", "--socket", "/no/such/dir/guardd.sock"])?;
    assert_eq!(other.code(), Some(2));
    assert!(!other.stderr.contains("guard run"), "{other:?}");
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Lab::new()?,
        cases![
            its_exit_status_is_the_commands,
            a_program_that_only_says_that_it_guards_is_not_believed,
            nothing_waits_for_ever,
            the_commands_own_options_are_its_own,
            input_environment_and_directory_are_inherited,
            no_descriptor_but_the_first_three_is_inherited,
            signals_are_passed_on,
            under_sudo_it_is_whoever_called_sudo,
            root_is_never_the_one_who_runs_it,
            a_policy_file_is_read_by_the_command_as_its_user,
            names_and_command_lines_are_shown_as_they_are,
            without_a_daemon_there_are_two_commands_to_choose_from,
        ],
        Lab::end_sessions,
    )
}
