//! How a unit gets its policy, and how nothing else does.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use guard_lab::{ALLOWS, Json as _, Network, OPEN, Tested, V4};

use crate::services::machine::{
    UID, USER, Unit, attempt, is_refused, machine, ok, probe, run, session, sessions, transient,
};

const SLICE: &str = "Slice=guard.slice";
const AGENT: &str = "User=agent";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_is_guarded_from_its_first_instruction() -> Tested {
    let _one = machine();
    let (network, production) = Network::with_production()?;
    for to in [OPEN, V4] {
        assert!(attempt(&network, &[AGENT], to).ok, "outside");
        let before = production.reached_at(to, 443)?.len();
        assert!(is_refused(&attempt(&network, &[AGENT, SLICE], to)));
        // Nor may root reach anything there, nor what runs before the main process.
        assert!(is_refused(&attempt(&network, &[SLICE], to)));
        let pre = format!("ExecStartPre=+{}", probe(to).join(" "));
        let output = transient(&network, &[AGENT, SLICE, &pre], &["true"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("EPERM"), "{output:?}");
        assert_eq!(production.reached_at(to, 443)?.len(), before);
    }
    let asks = [AGENT, SLICE, "ExecStartPre=+guard assign --policy asks"];
    assert!(attempt(&network, &asks, OPEN).ok);
    assert!(is_refused(&attempt(&network, &asks, V4)));
    let open = [AGENT, SLICE, "ExecStartPre=+guard assign --policy open"];
    assert!(attempt(&network, &open, V4).ok);
    // Where it gets none, it does not start at all.
    let bad = [AGENT, SLICE, "ExecStartPre=+guard assign --policy nope"];
    let output = transient(&network, &bad, &["echo", "started"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no policy \"nope\""), "{output:?}");
    assert!(output.stdout.is_empty());
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_agent_does_not_write_the_policy_that_it_gets() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let own = "/home/agent/own.toml";
    fs::write(own, ALLOWS)?;
    chown(own, Some(UID), Some(UID))?;
    // Root's own file, but which of them is the agent's to say.
    let link = "/home/agent/link.toml";
    let _ = fs::remove_file(link);
    symlink("/etc/guard/policies/open.toml", link)?;
    let home = "WorkingDirectory=/home/agent";
    // It would let it through.
    fs::copy(own, "/etc/guard/wide.toml")?;
    let roots = "ExecStartPre=+guard assign --policy /etc/guard/wide.toml";
    assert!(attempt(&network, &[AGENT, SLICE, home, roots], V4).ok);
    let tries = probe(V4);
    let tries: Vec<_> = tries.iter().map(String::as_str).collect();
    for file in ["own.toml", own, link] {
        let pre = format!("ExecStartPre=+guard assign --policy {file}");
        let output = transient(&network, &[AGENT, SLICE, home, &pre], &tries);
        assert!(!output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("only root may be able to change it"),
            "{output:?}"
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_units_session_is_its_users_and_has_its_name() -> Tested {
    let _one = machine();
    let network = Network::new()?;
    let file = "/etc/guard/own.toml";
    fs::write(file, "version = 1\nname = \"own\"\ndefault = \"allow\"\n")?;
    let unit = Unit::new(
        "owned.service",
        &network,
        &format!("User={USER}\nExecStartPre=+guard assign --policy {file}\nExecStart=sleep 1000"),
    );
    assert!(unit.start(), "{}", unit.journal());
    let owned = session("owned.service");
    assert_eq!(owned["policy"], "own");
    assert_eq!(owned["uid"], UID);
    assert_eq!(owned["user"], USER);
    assert_eq!(owned["command"][0], "owned.service");
    assert_eq!(owned["cgroup"], "/sys/fs/cgroup/guard.slice/owned.service");
    assert_eq!(owned["pid"].to_string(), unit.show("MainPID"));
    drop(unit);
    let unit = Unit::new(
        "root.service",
        &network,
        "ExecStartPre=+guard assign --policy asks --name work --owner agent\nExecStart=sleep 1000",
    );
    assert!(unit.start());
    assert_eq!(session("work")["uid"], UID);
    unit.says("it may run as root");
    // Its owner ends it, by its name.
    ok(&[
        "setpriv",
        "--reuid=61236",
        "--clear-groups",
        "guard",
        "stop",
        "work",
    ]);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn delegated_units_are_assigned_too() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let asks = [
        AGENT,
        SLICE,
        "Delegate=yes",
        "ExecStartPre=+guard assign --policy asks",
    ];
    assert!(attempt(&network, &asks, OPEN).ok);
    assert!(is_refused(&attempt(&network, &asks, V4)));
    Ok(())
}

/// As it is installed.
const TEMPLATE: &str = include_str!("../../../packaging/systemd/agent@.service");

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_template_runs_an_agent_of_its_instance() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let netns = format!("NetworkNamespacePath={}", network.dev().path().display());
    let text = TEMPLATE.replace("[Service]\n", &format!("[Service]\n{netns}\n"));
    fs::create_dir_all("/etc/guard/agents")?;
    let file = "/run/systemd/system/agent@.service";
    fs::write(file, text)?;
    ok(&["systemd-analyze", "verify", "--man=no", file]);
    let conf = "/etc/guard/agents/agent.conf";
    let script = format!(
        "id -un; {}; {}; exec sleep 1000",
        probe(OPEN).join(" "),
        probe(V4).join(" ")
    );
    fs::write(conf, format!("POLICY=asks\nCOMMAND=sh -c '{script}'\n"))?;
    let unit = Unit("agent@agent.service".to_owned());
    assert!(unit.start(), "{}", unit.journal());
    assert_eq!(session("agent@agent.service")["uid"], UID);
    unit.says("EPERM");
    let said = unit.journal();
    assert!(
        said.contains("agent\n") && said.contains("\"ok\":true"),
        "{said}"
    );
    // No agent of that name, no unit.
    assert!(
        !run(&["systemctl", "start", "agent@nobody.service"])
            .status
            .success()
    );
    drop(unit);
    fs::remove_file(file)?;
    Ok(())
}

/// That a unit did not get the policy that it asked for, and why.
fn refused(network: &Network, properties: &[&str], command: &[&str], why: &str) {
    let mut with_slice = vec![SLICE];
    with_slice.extend(properties);
    let before = sessions().len();
    let output = transient(network, &with_slice, command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(why), "{why:?} is not in {said}");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(sessions().len(), before);
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn only_the_command_that_prepares_a_unit_gives_it_a_policy() -> Tested {
    let _one = machine();
    let network = Network::new()?;
    let assign = ["guard", "assign", "--policy", "open"];
    // Not as the unit's user.
    let pre = "ExecStartPre=guard assign --policy open";
    refused(&network, &[AGENT, pre], &["true"], "only root gives a unit");
    // Not the main process, be it root and the only one.
    refused(&network, &[], &assign, "before it starts");
    let as_only_one = ["sh", "-c", "exec guard assign --policy open"];
    refused(
        &network,
        &["Type=oneshot"],
        &as_only_one,
        "before it starts",
    );
    // Not after the start, nor from what a command of ExecStartPre= starts.
    let post = ["Type=exec", "ExecStartPost=+guard assign --policy open"];
    refused(&network, &post, &["sleep", "5"], "before it starts");
    let child = "ExecStartPre=+sh -c 'guard assign --policy open; exit $?'";
    refused(&network, &[child], &["true"], "must be guard itself");
    // Not another unit.
    let other = "ExecStartPre=+guard assign --policy open other.service";
    refused(&network, &[other], &["true"], "to itself only");
    // Not one that a login session takes out of the slice.
    let login = [
        AGENT,
        "PAMName=login",
        "ExecStartPre=+guard assign --policy open",
    ];
    refused(&network, &login, &["true"], "PAMName=login");
    // Not what is further down than the slice.
    let nested = [
        "Slice=guard-ci.slice",
        "ExecStartPre=+guard assign --policy open",
    ];
    refused(&network, &nested, &["true"], "right in the guard's slice");
    Ok(())
}

/// Says to guardd what `guard assign` says, without it.
const RAW: &str = "import socket; s=socket.socket(socket.AF_UNIX); s.connect('/run/guard/guardd.sock'); \
                   s.sendall(b'{\"method\":\"org.guardd.Control.Assign\",\
                   \"parameters\":{\"policy\":{\"name\":\"open\"}}}\\0'); print(s.recv(65536).decode())";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_process_that_plays_the_one_that_prepares_another_unit_is_refused() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let output = transient(&network, &[SLICE], &["python3", "-c", RAW]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("org.guardd.Control.Refused"), "{output:?}");

    // One of root's moves into a unit that is being prepared just now.
    let victim = Unit::new(
        "victim.service",
        &network,
        &format!("User={USER}\nExecStartPre=+sleep 1000\nExecStart=sleep 1000"),
    );
    ok(&["systemctl", "start", "--no-block", "victim.service"]);
    let procs = "/sys/fs/cgroup/guard.slice/victim.service/cgroup.procs";
    guard_lab::eventually("prepared", || victim.show("SubState") == "start-pre")?;
    let moved = format!("import os; open('{procs}','w').write(str(os.getpid())); {RAW}");
    let output = transient(&network, &[SLICE], &["python3", "-c", &moved]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("with process"), "{output:?}");
    assert!(sessions().iter().all(|one| one["name"] != "victim.service"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn what_runs_already_is_assigned_from_outside_by_root() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let netns = format!("NetworkNamespacePath={}", network.dev().path().display());
    ok(&[
        "systemd-run",
        "--unit=late",
        "-p",
        &netns,
        "-p",
        AGENT,
        "-p",
        SLICE,
        "sleep",
        "1000",
    ]);
    let late = "late.service";
    assert!(is_refused(&crate::services::machine::attempt_in(
        late, &network, OPEN
    )));
    let status = ok(&["guard", "status"]);
    assert!(status.contains("late.service has no policy"), "{status}");
    let by_user = run(&[
        "setpriv",
        "--reuid=61236",
        "--clear-groups",
        "guard",
        "assign",
        "--policy",
        "open",
        late,
    ]);
    assert_eq!(by_user.status.code(), Some(2));
    ok(&["guard", "assign", "--policy", "asks", late]);
    assert!(crate::services::machine::attempt_in(late, &network, OPEN).ok);
    assert!(is_refused(&crate::services::machine::attempt_in(
        late, &network, V4
    )));
    let session = session(late);
    assert_eq!(session["uid"], UID, "the unit's user");
    assert!(session["command"][0].text()?.contains("sleep 1000"));
    ok(&["systemctl", "stop", late]);
    crate::services::machine::has_ended(late);

    let mut scope = std::process::Command::new("systemd-run")
        .args(["--scope", "--unit=some", "-p", SLICE, "sleep", "1000"])
        .spawn()?;
    guard_lab::eventually("scope", || {
        run(&["guard", "assign", "--policy", "asks", "some.scope"])
            .status
            .success()
    })?;
    crate::services::machine::session("some.scope");
    ok(&["systemctl", "stop", "some.scope"]);
    scope.wait()?;
    crate::services::machine::has_ended("some.scope");
    Ok(())
}
