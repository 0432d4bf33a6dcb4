//! Cgroups that others made, as sessions: without a service manager, as one would make them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use guard_lab::{
    AGENT, ALLOWS, Attempt, CONFIRMS, Daemon, Json as _, Network, OPEN, Production, Running, Shell,
    Tested, Unowned, V4, eventually,
};
use serde_json::{Value, json};

fn started() -> Tested<(Network, Production, Daemon)> {
    let (network, production) = Network::with_production()?;
    let daemon = configured(&network, "")?;
    Ok((network, production, daemon))
}

fn configured(network: &Network, config: &str) -> Tested<Daemon> {
    let daemon = Daemon::in_network(network)
        .policy("asks", CONFIRMS)
        .policy("open", ALLOWS)
        .config(&format!("resolvers = [\"127.0.0.1:1\"]\n{config}"));
    Ok(daemon.start()?)
}

/// What guard says beside its status where it refuses.
fn refused(daemon: &Daemon, uid: u32, args: &[&str]) -> Tested<String> {
    let output = daemon.user(uid, args).run()?;
    assert_eq!(output.code(), Some(2), "{output:?}");
    Ok(output.stderr)
}

fn reaches(unit: &Unowned, to: &str) -> Tested<bool> {
    let report = unit.attempt(&Attempt::tcp(to, 443))?;
    let is_refusal = report.errno.as_deref() == Some("EPERM");
    assert!(report.ok || is_refusal, "{report:?}");
    Ok(report.ok)
}

/// Something that goes on in it.
fn sleeper(unit: &Unowned) -> Running {
    let script = "echo here; exec sleep 1000";
    let mut running = Running::start(unit.command().args(["sh", "-c", script])).unwrap();
    running.line_with("here", guard_lab::PATIENCE).unwrap();
    running
}

fn sessions(daemon: &Daemon) -> Tested<usize> {
    Ok(daemon.list(["sessions"])?.len())
}

#[test]
fn a_cgroup_is_denied_everything_until_root_assigns_it() -> Tested {
    let (network, _production, daemon) = started()?;
    assert!(Attempt::tcp(V4, 443).outside(network.dev(), 0)?.ok);
    let unit = Unowned::named(&daemon, "agent.service")?;
    let _agent = sleeper(&unit);
    assert!(!reaches(&unit, OPEN)?);
    assert!(!reaches(&unit, V4)?);
    let status = daemon.json(["status"])?;
    let warning = status["warnings"][0].text()?;
    assert!(warning.contains("agent.service has no policy"), "{warning}");

    let who = ["assign", "--policy", "asks", "--owner", "61234", "agent"];
    let said = refused(&daemon, AGENT, &who)?;
    assert!(said.contains("only root"), "{said}");
    assert!(!reaches(&unit, OPEN)?);

    let session = daemon.json(who)?;
    assert_eq!(session["id"], "s1");
    assert_eq!(session["name"], "agent.service");
    assert_eq!(session["policy"], "asks");
    assert_eq!(session["uid"], AGENT);
    assert_eq!(session["cgroup"], unit.path().to_str().unwrap());
    assert!(session["pid"].is_u64(), "{session}");
    assert!(reaches(&unit, OPEN)?);
    assert!(!reaches(&unit, V4)?);
    // It is root's, with all that root may.
    let warnings = daemon.json(["status"])?["warnings"].clone();
    let warning = warnings[0].text()?;
    assert!(
        warning.contains("agent.service has CAP_NET_RAW"),
        "{warning}"
    );
    assert_eq!(warnings.list()?.len(), 1);

    // Its owner sees what it asks for, and answers.
    let asked = |daemon: &Daemon| -> Tested<_> { Ok(daemon.agent(["pending"]).json()?) };
    eventually("asked", || Ok(asked(&daemon)?[0]["session"] == "s1"))?;
    daemon.agent(["approve", "r1"]).json()?;
    assert!(reaches(&unit, V4)?);
    Ok(())
}

#[test]
fn assigning_twice_changes_nothing_and_another_policy_owner_or_name_is_refused() -> Tested {
    let (_network, _production, daemon) = started()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    daemon.json(["assign", "--policy", "asks", "agent.service"])?;
    let again = daemon.ask(["assign", "--policy", "asks", unit.path().to_str().unwrap()]);
    let again = again?.success()?;
    assert!(again.stderr.contains("s1 already"), "{again:?}");
    let other = ["assign", "--policy", "open", "agent.service"];
    let said = refused(&daemon, 0, &other)?;
    assert!(said.contains("another policy"), "{said}");
    for (option, same, other) in [("--owner", "0", "1"), ("--name", "agent.service", "agent")] {
        let call = |value| ["assign", "--policy", "asks", option, value, "agent.service"];
        let again = daemon.ask(call(same))?.success()?;
        assert!(again.stderr.contains("s1 already"), "{again:?}");
        let said = refused(&daemon, 0, &call(other))?;
        let what = format!("another {}", &option[2..]);
        assert!(said.contains(&what), "{said}");
    }
    assert!(!reaches(&unit, V4)?);
    assert_eq!(sessions(&daemon)?, 1);
    for (args, expected) in [
        (
            ["assign", "--policy", "asks", "other.service"],
            "no unit other.service",
        ),
        (["assign", "--policy", "asks", "agent.servic*"], "no unit"),
        (["assign", "--policy", "nope", "agent.service"], "nope"),
        (["assign", "--policy", "asks", "/"], "no unit /"),
    ] {
        let said = refused(&daemon, 0, &args)?;
        assert!(said.contains(expected), "{said}");
    }
    let said = refused(&daemon, 0, &["assign", "--policy", "asks"])?;
    assert!(said.contains("which unit"), "{said}");
    Ok(())
}

#[test]
fn what_only_looks_like_a_unit_is_not_taken_for_it() -> Tested {
    let (_network, _production, daemon) = started()?;
    // systemd puts a _ before some names, so both might be agent.service.
    let unit = Unowned::named(&daemon, "agent.service")?;
    let other = Unowned::named(&daemon, "_agent.service")?;
    for asked in ["agent.service", "agent"] {
        let said = refused(&daemon, 0, &["assign", "--policy", "open", asked])?;
        assert!(said.contains("which cgroup is meant"), "{said}");
    }
    let path = unit.path().to_str().unwrap();
    let session = daemon.json(["assign", "--policy", "open", path])?;
    assert_eq!(session["cgroup"], path);
    assert!(reaches(&unit, OPEN)? && !reaches(&other, OPEN)?);
    daemon.ask(["stop", "agent.service"])?;

    // Nor is a session that a user calls like one.
    drop((unit, other));
    eventually("ended", || Ok(sessions(&daemon)? == 0))?;
    let run = ["run", "--policy", "open", "--name", "agent.service", "--"];
    let sleeps = ["sh", "-c", "echo here; exec sleep 1000"];
    let mut played = daemon.agent(run.iter().chain(&sleeps)).spawn()?;
    let patience = guard_lab::PATIENCE;
    played.line_with("here", patience)?;
    let said = refused(&daemon, 0, &["stop", "agent.service"])?;
    assert!(said.contains("no session agent.service"), "{said}");
    assert!(!played.has_ended());
    daemon.ask(["stop", "s2"])?.success()?;
    Ok(())
}

#[test]
fn a_cgroup_that_goes_meanwhile_is_not_assigned_nor_the_one_in_its_place() -> Tested {
    let (network, _production) = Network::with_production()?;
    // A name server that never answers: putting such a policy in place takes seconds.
    let silent = network
        .dev()
        .enter(|| Ok(std::net::UdpSocket::bind("127.0.0.1:0")?))?;
    let resolver = silent.local_addr()?;
    let named = "version = 1\ndefault = \"allow\"\n[[rule]]\nname = \"db\"\nto = [\"db.example.com\"]\n\
                 action = \"deny\"\n";
    let daemon = Daemon::in_network(&network)
        .policy("named", named)
        .config(&format!("resolvers = [\"{resolver}\"]\n"))
        .start()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    let assign = ["assign", "--policy", "named", "agent.service"];
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| daemon.ask(assign).unwrap());
        let mut question = [0; 512];
        let patience = guard_lab::patience(guard_lab::PATIENCE);
        silent.set_read_timeout(Some(patience)).unwrap();
        silent.recv(&mut question).unwrap();
        drop(unit);
        let again = Unowned::named(&daemon, "agent.service").unwrap();
        let asked = asked.join().unwrap();
        assert!(!reaches(&again, OPEN).unwrap());
        asked
    });
    assert_eq!(asked.code(), Some(2), "{asked:?}");
    assert!(asked.stderr.contains("has ended"), "{asked:?}");
    assert_eq!(sessions(&daemon)?, 0);
    Ok(())
}

#[test]
fn many_that_come_at_once_are_all_assigned_and_the_status_stays_short() -> Tested {
    let network = Network::new()?;
    let rules = "[[assign]]\nunit = \"ci-*.scope\"\npolicy = \"asks\"\n\
                 [[assign]]\nunit = \"bad-*.scope\"\npolicy = \"nope\"\n";
    let daemon = configured(&network, rules)?;
    let named = |kind: &str, number: usize| {
        let name = format!("{kind}-{number}.scope");
        Unowned::named(&daemon, &name).unwrap()
    };
    let bad: Vec<_> = (0..20).map(|number| named("bad", number)).collect();
    let _sleepers: Vec<_> = bad.iter().map(sleeper).collect();
    let _good: Vec<_> = (0..300).map(|number| named("ci", number)).collect();
    eventually("assigned", || Ok(sessions(&daemon)? == 300))?;
    let status = daemon.json(["status"])?;
    let warnings = status["warnings"].list()?;
    assert_eq!(warnings.len(), 17, "{status}");
    let last = warnings[16].text()?;
    assert_eq!(last, "4 more cgroups in the slice have no policy");
    assert!(warnings[0].text()?.contains("no policy \"nope\""));
    Ok(())
}

#[test]
fn cgroups_that_guardd_makes_are_not_assigned() -> Tested {
    let (_network, _production, daemon) = started()?;
    let unit = Unowned::named(&daemon, "s77")?;
    let said = refused(&daemon, 0, &["assign", "--policy", "asks", "s77"])?;
    assert!(said.contains("no unit s77"), "{said}");
    drop(unit);
    let nested = Unowned::named(&daemon, "guard-ci.slice")?;
    let below = nested.path().join("runner.service");
    fs::create_dir(&below)?;
    let path = below.to_str().unwrap().to_owned();
    let said = refused(&daemon, 0, &["assign", "--policy", "asks", &path])?;
    assert!(said.contains("right below"), "{said}");
    // The slice as a whole is one session.
    daemon.json(["assign", "--policy", "asks", "guard-ci.slice"])?;
    fs::remove_dir(&below)?;
    Ok(())
}

/// What guardd answers to a call of root's.
fn called(daemon: &Daemon, call: &Value) -> Tested<String> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(guard_lab::patience(guard_lab::PATIENCE)))?;
    stream.write_all(format!("{call}\0").as_bytes())?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(0, &mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Says something to guardd from inside a cgroup, without guard: nothing of the client's is in the way.
fn raw(daemon: &Daemon, unit: &Unowned, call: &Value) -> Tested<Value> {
    const SAY: &str = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                       s.sendall(sys.argv[2].encode()+b'\\0'); print(s.recv(65536).rstrip(b'\\0').decode())";
    let mut python = unit.command();
    python.args(["python3", "-c", SAY]).arg(daemon.socket());
    let output = guard_lab::exec::output(python.arg(call.to_string()))?;
    let said = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said:?}, {:?}", output.stderr)))
}

#[test]
fn nothing_inside_assigns_itself() -> Tested {
    let (_network, _production, daemon) = started()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    let guard = daemon.program("guard")?;
    for unit_named in [&[][..], &["agent.service"], &["other.service"]] {
        let mut inside = unit.command();
        inside
            .arg(&guard)
            .args(["assign", "--policy", "open"])
            .args(unit_named)
            .env("GUARD_SOCKET", daemon.socket());
        let output = guard_lab::exec::output(&mut inside)?;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let policy = json!({ "name": "open" });
    for parameters in [
        json!({ "policy": policy }),
        json!({ "policy": policy, "unit": "agent.service" }),
        json!({ "policy": policy, "owner": 0 }),
        json!({ "policy": { "text": ALLOWS } }),
    ] {
        let answer = raw(&daemon, &unit, &assign(&parameters))?;
        let error = answer["error"].text()?;
        assert!(error.starts_with("org.guardd.Control."), "{answer}");
    }
    assert!(!reaches(&unit, OPEN)?);
    assert_eq!(sessions(&daemon)?, 0);

    in_a_session_it_has_no_other_either(&daemon, &unit)?;
    // In a session of guard run, and as another user, it has no meaning at all.
    let mut shell = Shell::start(&daemon, "asks")?;
    let status = shell.status_of(&format!("{} assign --policy asks", guard.display()));
    assert_eq!(status?, 2);
    // From outside the same words succeed, for the one that has none yet.
    let other = Unowned::named(&daemon, "other.service")?;
    let call = assign(&json!({ "policy": policy, "unit": "other.service" }));
    assert!(called(&daemon, &call)?.contains("other.service"));
    assert!(reaches(&other, V4)?);
    Ok(())
}

fn assign(parameters: &Value) -> Value {
    json!({ "method": "org.guardd.Control.Assign", "parameters": parameters })
}

fn in_a_session_it_has_no_other_either(daemon: &Daemon, unit: &Unowned) -> Tested {
    daemon.json(["assign", "--policy", "asks", "agent.service"])?;
    let answer = raw(
        daemon,
        unit,
        &assign(&json!({ "policy": { "name": "open" } })),
    )?;
    assert_eq!(answer["error"], "org.guardd.Control.Refused", "{answer}");
    assert!(!reaches(unit, V4)?);
    // What it has already it is told, and nothing comes of it; nor does anything of more than that.
    let asks = json!({ "name": "asks" });
    for owner in [json!(null), json!(0)] {
        let again = assign(&json!({ "policy": asks, "owner": owner }));
        let answer = raw(daemon, unit, &again)?;
        let warning = answer["parameters"]["warnings"][0].text()?;
        assert!(warning.contains("nothing has changed"), "{answer}");
    }
    let other = assign(&json!({ "policy": asks, "owner": 61234 }));
    let answer = raw(daemon, unit, &other)?;
    assert_eq!(answer["error"], "org.guardd.Control.Refused", "{answer}");
    assert_eq!(daemon.json(["sessions"])?[0]["uid"], 0);
    for unit_named in ["agent.service", "other.service"] {
        let named = assign(&json!({ "policy": asks, "unit": unit_named }));
        let answer = raw(daemon, unit, &named)?;
        assert_eq!(answer["error"], "org.guardd.Control.Invalid", "{answer}");
    }
    Ok(())
}

#[test]
fn a_units_session_lasts_as_long_as_its_cgroup_whoever_runs() -> Tested {
    let (_network, _production, mut daemon) = started()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    let owner = ["assign", "--policy", "asks", "--owner", "61234", "agent"];
    daemon.json(owner)?;
    // Where there is a service manager, it is asked for the unit's description beside.
    let listed = |daemon: &Daemon| -> Tested<Value> {
        let mut sessions = daemon.json(["sessions"])?;
        sessions[0]["command"].take();
        Ok(sessions)
    };
    let before = listed(&daemon)?;
    for end in [Daemon::kill, Daemon::stop] {
        end(&mut daemon)?;
        assert!(reaches(&unit, OPEN)?);
        assert!(!reaches(&unit, V4)?);
        daemon.start()?;
        assert_eq!(listed(&daemon)?, before);
    }
    // What the kernel has no room for is lost: it is listed all the same, and for what it is.
    daemon.kill()?;
    let file = daemon.state_dir().join("sessions/s1.json");
    fs::remove_file(file)?;
    daemon.start()?;
    let after = daemon.json(["sessions"])?;
    assert_eq!(after[0]["name"], "agent.service");
    assert_eq!(after[0]["uid"], 0);
    assert!(reaches(&unit, OPEN)?);

    let mut agent = sleeper(&unit);
    daemon.ask(["stop", "s1"])?.success()?;
    assert!(!agent.wait()?.success());
    assert!(unit.path().is_dir(), "it is not ours to remove");
    assert_eq!(sessions(&daemon)?, 1);

    // A new cgroup of the same name is another one.
    let path = unit.path().to_owned();
    drop(unit);
    let unit = Unowned::named(&daemon, "agent.service")?;
    assert_eq!(unit.path(), path);
    assert!(!reaches(&unit, OPEN)?);
    eventually("ended", || Ok(sessions(&daemon)? == 0))?;
    let session = daemon.json(["assign", "--policy", "asks", "agent"])?;
    assert_eq!(session["id"], "s2");
    assert!(reaches(&unit, OPEN)?);
    daemon.kill()?;
    drop(unit);
    daemon.start()?;
    assert_eq!(sessions(&daemon)?, 0);
    Ok(())
}

#[test]
fn commands_are_not_moved_into_a_unit_and_what_it_starts_ends_with_it() -> Tested {
    let (_network, _production, daemon) = started()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    daemon.json(["assign", "--policy", "open", "agent"])?;
    let call = json!({ "method": "org.guardd.Control.Enter", "parameters": { "session": "s1" } });
    let answer = called(&daemon, &call)?;
    assert!(answer.contains("session of a unit"), "{answer}");

    let guard = daemon.program("guard")?;
    let probe = daemon.program("guard-lab")?;
    let run = |policy: &str, command: &[&str]| {
        let mut inside = unit.command();
        inside
            .args([
                "setpriv",
                "--reuid=61234",
                "--regid=61234",
                "--clear-groups",
                "--",
            ])
            .arg(&guard)
            .args(["run", "--policy", policy, "--"])
            .args(command)
            .env("GUARD_SOCKET", daemon.socket());
        inside
    };
    let attempt = Attempt::tcp(V4, 443).args();
    let mut words = vec![probe.to_str().unwrap()];
    words.extend(attempt.iter().map(String::as_str));
    for (policy, reaches) in [("open", true), ("asks", false)] {
        let output = run(policy, &words).output()?;
        assert_eq!(output.status.success(), reaches, "{policy}: {output:?}");
    }
    let script = "echo here; exec sleep 1000";
    let mut inner = Running::start(&mut run("asks", &["sh", "-c", script]))?;
    inner.line_with("here", guard_lab::PATIENCE)?;
    fs::write(unit.path().join("cgroup.kill"), "1")?;
    inner.wait()?;
    drop(unit);
    eventually("ended", || Ok(sessions(&daemon)? == 0))?;
    Ok(())
}

#[test]
fn what_a_unit_started_ends_with_it_also_where_no_guardd_sees_that() -> Tested {
    let (_network, _production, mut daemon) = started()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    let _agent = sleeper(&unit);
    let assign = ["assign", "--policy", "open", "--owner", "61234", "agent"];
    daemon.json(assign)?;
    let guard = daemon.program("guard")?;
    // Left by a command that has ended: nobody stands in for it.
    let left = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &";
    let user = "setpriv --reuid=61234 --regid=61234 --clear-groups --";
    let mut inside = unit.command();
    inside.args(user.split(' ')).arg(&guard);
    inside.args(["run", "--policy", "asks", "--", "sh", "-c", left]);
    let status = inside.env("GUARD_SOCKET", daemon.socket()).status();
    assert!(status?.success());
    assert_eq!(sessions(&daemon)?, 2);
    daemon.kill()?;
    fs::write(unit.path().join("cgroup.kill"), "1")?;
    eventually("removed", || fs::remove_dir(unit.path()).is_ok())?;
    daemon.start()?;
    eventually("ended", || Ok(sessions(&daemon)? == 0))?;
    Ok(())
}

#[test]
fn settings_assign_what_comes_up_and_what_came_meanwhile() -> Tested {
    let (network, _production) = Network::with_production()?;
    let rules = r#"
        [[assign]]
        unit = "docker-*.scope"
        policy = "asks"
        owner = "61234"

        [[assign]]
        unit = "later-*"
        policy = "later"

        [[assign]]
        unit = "*.scope"
        policy = "open"
    "#;
    let mut daemon = configured(&network, rules)?;
    let docker = Unowned::named(&daemon, "docker-4f.scope")?;
    eventually("assigned", || Ok(sessions(&daemon)? == 1))?;
    let session = &daemon.json(["sessions"])?[0];
    assert_eq!(
        (&session["policy"], &session["uid"]),
        (&json!("asks"), &json!(AGENT))
    );
    assert!(reaches(&docker, OPEN)?);
    assert!(!reaches(&docker, V4)?);
    let none = Unowned::named(&daemon, "agent.service")?;
    assert!(!reaches(&none, OPEN)?);

    // One whose policy is not there is denied everything, and that is said.
    let later = Unowned::named(&daemon, "later-1.service")?;
    let _sleeper = sleeper(&later);
    let warned = |daemon: &Daemon| -> Tested<_> {
        let status = daemon.json(["status"])?;
        Ok(status["warnings"]
            .to_string()
            .contains("no policy \\\"later\\\""))
    };
    eventually("said", || warned(&daemon))?;
    daemon.wait_for_log("later-1.service")?;
    assert!(!reaches(&later, OPEN)?);
    daemon.write_policy("later", CONFIRMS)?;
    eventually("assigned", || Ok(sessions(&daemon)? == 2))?;
    assert!(reaches(&later, OPEN)?);
    assert!(!warned(&daemon)?);

    // What comes while no guardd runs waits for one.
    daemon.kill()?;
    let other = Unowned::named(&daemon, "libpod-1.scope")?;
    assert!(!reaches(&other, OPEN)?);
    assert!(reaches(&docker, OPEN)?);
    daemon.start()?;
    eventually("assigned", || Ok(sessions(&daemon)? == 3))?;
    assert!(reaches(&other, V4)?);
    let said = refused(
        &daemon,
        0,
        &["assign", "--policy", "asks", "libpod-1.scope"],
    )?;
    assert!(said.contains("[[assign]]"), "{said}");
    Ok(())
}

#[test]
fn what_was_allowed_by_default_is_judged_again_once_assigned() -> Tested {
    let (network, production) = Network::with_production()?;
    let daemon = configured(&network, "default_policy = \"open\"\n")?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    const SEND: &str = "import socket,sys\n\
                        s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect(('192.0.2.10',443))\n\
                        print('ready',flush=True)\n\
                        for line in sys.stdin:\n  \
                          try: s.send(line.encode()); print('sent',flush=True)\n  \
                          except OSError as e: print(e.errno,flush=True)\n";
    let mut sender = Running::start(unit.command().args(["python3", "-uc", SEND]))?;
    let patience = guard_lab::PATIENCE;
    sender.line_with("ready", patience)?;
    sender.write("one\n")?;
    assert_eq!(sender.line(patience)?, "sent");
    let arrived = || -> Tested<_> { Ok(production.reached_at(V4, 443)?.len()) };
    eventually("arrived", || Ok(arrived()? > 0))?;
    let before = arrived()?;
    daemon.json(["assign", "--policy", "asks", "agent"])?;
    sender.write("two\n")?;
    assert_eq!(sender.line(patience)?, "1", "EPERM");
    assert_eq!(arrived()?, before);
    Ok(())
}

#[test]
fn teardown_takes_nothing_away_that_guardd_did_not_make() -> Tested {
    let (_network, _production, mut daemon) = started()?;
    let unit = Unowned::named(&daemon, "agent.service")?;
    let below = unit.path().join("below");
    fs::create_dir(&below)?;
    let mut agent = sleeper(&unit);
    daemon.json(["assign", "--policy", "asks", "agent"])?;
    daemon.stop()?;
    let refused = guard_lab::exec::output(daemon.guardd()?.arg("teardown"))?;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    daemon.teardown()?;
    assert!(!agent.wait()?.success());
    assert!(below.is_dir() && daemon.cgroup_root().is_dir());
    assert!(!daemon.pin_dir().exists());
    let left: Vec<_> = fs::read_dir(daemon.cgroup_root())?.flatten().collect();
    let dirs = left.iter().filter(|entry| Path::is_dir(&entry.path()));
    assert_eq!(dirs.count(), 1);
    fs::remove_dir(&below)?;
    Ok(())
}
