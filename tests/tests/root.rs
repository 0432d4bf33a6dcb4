//! `guard run --user root`: what it is for works, and it is guarded as others are. What it must not do is tried in
//! `escapes/rooted.rs`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;

use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, ALLOWS, Attempt, Daemon, DaemonBuilder, Network, Production, Shell, Tested, eventually,
};

const DENIED: &str = "192.0.2.10";
const ASKED: &str = "192.0.2.20";
const POLICY: &str = r#"
version = 1
name = "guarded"
default = "allow"

[[rule]]
to = ["192.0.2.10"]
action = "deny"

[[rule]]
to = ["192.0.2.20"]
action = "confirm"
"#;
const ROOT: &str = "resolvers = [\"127.0.0.1:1\"]\nrun_as_root = true\n";
const RUN: [&str; 5] = ["run", "--policy", "guarded", "--user", "root"];

fn built(network: &Network) -> DaemonBuilder {
    let daemon = Daemon::in_network(network);
    daemon.policy("guarded", POLICY).policy("open", ALLOWS)
}

fn started() -> Tested<(Network, Daemon)> {
    let network = Network::new()?;
    let daemon = built(&network).config(ROOT).start()?;
    Ok((network, daemon))
}

/// What a script prints there.
fn script(daemon: &Daemon, script: &str) -> String {
    let run = daemon.agent(RUN).args(["-q", "--", "sh", "-c", script]);
    run.run().unwrap().success().unwrap().stdout
}

/// A directory of the agent's.
fn own_dir(daemon: &Daemon) -> PathBuf {
    let dir = daemon.dir().join("own");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(AGENT), Some(AGENT)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

/// `guard`, as a shell there types it.
fn guard(daemon: &Daemon) -> String {
    let guard = daemon.program("guard").unwrap();
    guard.display().to_string()
}

#[test]
fn nobody_is_root_unless_the_settings_say_so() -> Tested {
    let network = Network::new()?;
    let daemon = built(&network).start()?;
    for name in ["root", "0"] {
        let run = daemon.agent(["run", "--user", name, "--", "true"]);
        let refused = run.run()?;
        assert_eq!(refused.code(), Some(125), "{refused:?}");
        assert!(refused.stderr.contains("run_as_root = true"), "{refused:?}");
    }
    let mut shell = Shell::start(&daemon, "guarded")?;
    let inside = format!("{} run --user root -- true", guard(&daemon));
    assert_eq!(shell.status_of(&inside)?, 125);
    Ok(())
}

#[test]
fn it_is_root_inside_and_the_user_outside() -> Tested {
    let (_network, daemon) = started()?;
    let file = own_dir(&daemon).join("file");
    let said = script(
        &daemon,
        &format!(
            "id -u; id -g; cat /proc/self/status; echo $USER; touch {0}; chown 0:0 {0}; chmod 4755 {0}; stat -c 'owner %u %g' {0}",
            file.display()
        ),
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["0", "0"]);
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000800000db",
        "CapEff:\t00000000800000db",
        "CapBnd:\t00000000800000db",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "root",
        "owner 0 0",
    ] {
        assert!(lines.contains(&line), "{line} in {said}");
    }
    let meta = fs::metadata(file)?;
    assert_eq!((meta.uid(), meta.gid()), (AGENT, AGENT));
    let status = daemon.agent(RUN).args(["--", "sh", "-c", "exit 7"]);
    assert_eq!(status.run()?.code(), Some(7));
    let mut shell = Shell::run_by(&daemon, daemon.agent(RUN))?;
    let sessions = daemon.agent(["sessions"]).json()?;
    assert_eq!(sessions[0]["uid"], AGENT, "{sessions}");
    assert_eq!(
        shell.status_of("(apt-get --version || rpm --version) >/dev/null")?,
        0
    );
    Ok(())
}

#[test]
fn under_sudo_it_is_whoever_called_sudo() -> Tested {
    let (_network, daemon) = started()?;
    let agent = AGENT.to_string();
    let run = daemon
        .root(RUN)
        .env("SUDO_UID", &agent)
        .env("SUDO_GID", &agent);
    let run = run.args(["-q", "--", "sh", "-c", "id -u; cat /proc/self/uid_map; env"]);
    let said = run.run()?.success()?.stdout;
    let map = format!("0 {agent} 1");
    let words: Vec<_> = said.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words.join(" "), map);
    assert!(said.starts_with("0\n"), "{said}");
    assert!(
        said.contains("\nUSER=root\n") && !said.contains("SUDO_"),
        "{said}"
    );
    let plain = daemon.root(RUN).without(["SUDO_UID", "SUDO_GID"]);
    let plain = plain.args(["--", "true"]).run()?;
    assert_eq!(plain.code(), Some(125));
    assert!(
        plain.stderr.contains("sudo -u NAME guard run --user root"),
        "{plain:?}"
    );
    Ok(())
}

#[test]
fn its_policy_holds_and_people_are_asked() -> Tested {
    let (network, daemon) = started()?;
    let _production = Production::start(&network)?;
    let mut shell = Shell::run_by(&daemon, daemon.agent(RUN).args(["--hold", "20s"]))?;
    let denied = shell.attempt(&Attempt::tcp(DENIED, 443))?;
    assert_eq!(denied.errno.as_deref(), Some("EPERM"), "{denied:?}");
    assert!(shell.reaches(&Attempt::tcp("192.0.2.30", 443))?);
    shell.begin(&Attempt::tcp(ASKED, 443).timeout(PATIENCE))?;
    eventually("a request waits", || {
        let pending = daemon.agent(["pending"]).json()?;
        Ok(pending.as_array().is_some_and(|all| !all.is_empty()))
    })?;
    daemon.agent(["approve", "r1"]).run()?.success()?;
    let report = shell.line_with("\"ok\"")?;
    assert!(report.contains("true"), "{report}");
    Ok(())
}

#[test]
fn it_asks_guardd_as_others_do_and_starts_sessions_that_are_narrower() -> Tested {
    let (network, mut daemon) = started()?;
    let _production = Production::start(&network)?;
    let mut shell = Shell::run_by(&daemon, daemon.agent(RUN))?;
    let guard = guard(&daemon);
    shell.tell(&format!("{guard} why"))?;
    shell.line_with(&format!("This is session {}", shell.session().to_owned()))?;
    shell.tell(&format!("{guard} run --policy open -- sh -c 'id -u; {guard} why | head -n 1; exit 7'; echo status $?"))?;
    assert_eq!(shell.line_with("0")?.trim(), "0");
    shell.line_with("under the policy open")?;
    shell.line_with("status 7")?;
    let probe = daemon.program("guard-lab")?;
    let attempt = Attempt::tcp(DENIED, 443).args().join(" ");
    shell.tell(&format!(
        "{guard} run --policy open -- {} {attempt}",
        probe.display()
    ))?;
    let report = shell.line_with("\"ok\"")?;
    assert!(report.contains("EPERM"), "{report}");
    assert_ne!(
        shell.status_of(&format!("{guard} open {DENIED} --all-ports"))?,
        0
    );
    // The next guardd knows it too.
    daemon.kill()?;
    daemon.start()?;
    eventually("guardd knows it", || {
        Ok(shell.status_of(&format!("{guard} why"))? == 0)
    })?;
    Ok(())
}

#[test]
fn its_own_unix_sockets_are_connected_and_no_others() -> Tested {
    let (network, daemon) = started()?;
    let _production = Production::start(&network)?;
    let dir = own_dir(&daemon);
    let at = |name: &str| dir.join(name).display().to_string();
    let mut shell = Shell::run_by(&daemon, daemon.agent(RUN))?;
    let probe = daemon.program("guard-lab")?;
    let helper = |at: &str| Attempt::new("helper", "192.0.2.30", 443).other(at);
    shell.tell(&format!(
        "{} {} &",
        probe.display(),
        helper(&at("inside")).args().join(" ")
    ))?;
    shell.line_with("{")?;
    let mut outside = network.dev().command_as(AGENT, &probe);
    let mut outside = guard_lab::Running::start(outside.args(helper(&at("outside")).args()))?;
    outside.line(PATIENCE)?;
    let mut by = |name: &str| {
        let by = Attempt::new("by-helper", "192.0.2.30", 443).other(&format!("relay:{}", at(name)));
        shell.attempt(&by).unwrap()
    };
    let refused = by("outside");
    assert_eq!(refused.errno.as_deref(), Some("EPERM"), "{refused:?}");
    let own = by("inside");
    assert!(own.ok, "{own:?}");
    Ok(())
}
