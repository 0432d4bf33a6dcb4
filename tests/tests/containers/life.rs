//! From the start of a container to its end.

use std::fs;

use guard_lab::{Attempt, eventually};
use serde_json::Value;

use crate::engine::Engine;
use crate::machine::{
    OPEN, UID, V4, configure, has_ended, is_refused, machine, ok, pause, run, session, sessions,
};

pub(crate) const RULES: &str = r#"
[[assign]]
unit = "docker-*.scope"
policy = "asks"
owner = "agent"

[[assign]]
unit = "libpod-*.scope"
policy = "asks"
owner = "agent"

[[assign]]
unit = "guard-*.slice"
policy = "asks"
"#;

fn tcp(to: &str) -> Attempt {
    Attempt::tcp(to, 443)
}

fn nothing_is_reached_before_there_is_a_policy(engine: Engine) {
    let _one = machine();
    let production = &engine.lab().production;
    let udp = Attempt::udp(V4, 443);
    let all = [tcp(OPEN), tcp(V4), udp];
    let outside = engine.attempts(&[], &all);
    assert!(outside.iter().all(|report| report.ok), "{outside:?}");

    let count = || production.reached().unwrap().len();
    let before = count();
    assert!(before > 0);
    let inside = engine.attempts(engine.in_slice(), &all);
    assert!(
        inside.len() == 3 && inside.iter().all(is_refused),
        "{inside:?}"
    );
    let container = engine.starts(engine.in_slice());
    let inside = container.attempts(&all);
    assert!(
        inside.len() == 3 && inside.iter().all(is_refused),
        "{inside:?}"
    );
    assert_eq!(count(), before);

    let status = ok(&["guard", "status"]);
    let scope = container.scope();
    assert!(
        status.contains(&format!("{scope} has no policy")),
        "{status}"
    );
    ok(&["guard", "assign", "--policy", "asks", &scope]);
    assert!(container.attempt(tcp(OPEN)).ok);
    assert!(is_refused(&container.attempt(tcp(V4))));
    assert_eq!(session(&container.session())["uid"], 0);
}

#[test]
fn nothing_is_reached_from_podmans_before_there_is_a_policy() {
    nothing_is_reached_before_there_is_a_policy(Engine::Podman);
}

#[test]
fn nothing_is_reached_from_dockers_before_there_is_a_policy() {
    nothing_is_reached_before_there_is_a_policy(Engine::Docker);
}

/// The request of a session, once it is there.
fn request(session: &Value) -> Value {
    let find = || {
        let said = ok(&["guard", "pending", "--json"]);
        let all: Vec<Value> = serde_json::from_str(&said).unwrap();
        all.into_iter().find(|one| one["session"] == session["id"])
    };
    eventually("request", || find().is_some()).unwrap();
    find().unwrap()
}

fn a_container_is_a_session(engine: Engine) {
    let _one = machine();
    configure(RULES);
    let production = &engine.lab().production;
    let container = engine.starts(engine.in_slice());
    let name = container.session();
    let begun = session(&name);
    assert_eq!(begun["policy"], "asks");
    assert_eq!(begun["uid"], UID);
    assert_eq!(sessions().len(), 1, "{:?}", sessions());

    let before = production.reached_at(V4, 443).unwrap().len();
    let reports = container.attempts(&[tcp(OPEN), tcp(V4), Attempt::udp(V4, 443)]);
    assert!(reports[0].ok, "{reports:?}");
    assert!(reports[1..].iter().all(is_refused), "{reports:?}");
    assert_eq!(production.reached_at(V4, 443).unwrap().len(), before);

    // Somebody says yes: its owner.
    let asked = request(&begun);
    let approve = ["guard", "approve", asked["id"].as_str().unwrap()];
    let as_owner = ["setpriv", "--reuid=61234", "--clear-groups"];
    ok(&[&as_owner[..], &approve].concat());
    assert!(container.attempt(tcp(V4)).ok);
    assert!(production.reached_at(V4, 443).unwrap().len() > before);

    // guardd goes and comes: nothing changes, also meanwhile.
    const OTHER: &str = "192.0.2.11";
    for signal in ["KILL", "TERM"] {
        ok(&["systemctl", "kill", "-s", signal, "guardd.service"]);
        let reports = container.attempts(&[tcp(V4), tcp(OTHER)]);
        assert!(reports[0].ok && is_refused(&reports[1]), "{reports:?}");
        eventually("back", || {
            let _ = run(&["systemctl", "start", "guardd.service"]);
            run(&["guard", "status"]).status.success()
        })
        .unwrap();
        let now = session(&name);
        assert_eq!((&now["id"], &now["pid"]), (&begun["id"], &begun["pid"]));
    }
    let reports = container.attempts(&[tcp(V4), tcp(OTHER)]);
    assert!(reports[0].ok && is_refused(&reports[1]), "{reports:?}");
    assert!(production.reached_at(OTHER, 443).unwrap().is_empty());

    // What the engine puts into it is in it.
    let exec = ["exec", "-d", &container.id, "sleep", "1000"];
    engine.says(&exec);
    let cgroup = begun["cgroup"].as_str().unwrap();
    let sleeps = format!("find {cgroup} -name cgroup.procs -exec cat {{}} + | wc -l");
    eventually("both", || ok(&["sh", "-c", &sleeps]) == "2").unwrap();

    // Its whole name means it, too.
    ok(&["guard", "log", "--session", &container.scope()]);
    container.remove();
    has_ended(&name);
}

#[test]
fn a_container_of_podman_is_a_session() {
    a_container_is_a_session(Engine::Podman);
}

#[test]
fn a_container_of_docker_is_a_session() {
    a_container_is_a_session(Engine::Docker);
}

#[test]
fn containers_in_a_slice_have_its_policy_from_their_first_instruction() {
    let _one = machine();
    configure(RULES);
    ok(&["systemctl", "start", "guard-ci.slice"]);
    let begun = session("guard-ci.slice");
    for engine in Engine::BOTH {
        let reports = engine.attempts(
            &["--cgroup-parent=guard-ci.slice"],
            &[tcp(OPEN), tcp(V4), tcp(OPEN)],
        );
        let ok: Vec<_> = reports.iter().map(|report| report.ok).collect();
        assert_eq!(ok, [true, false, true], "{engine:?} {reports:?}");
        assert!(is_refused(&reports[1]));
        pause(100);
        // The slice outlives them.
        assert_eq!(session("guard-ci.slice")["id"], begun["id"]);
        assert_eq!(sessions().len(), 1);
    }
    ok(&["systemctl", "stop", "guard-ci.slice"]);
    has_ended("guard-ci.slice");
    assert!(fs::metadata("/sys/fs/cgroup/guard.slice/guard-ci.slice").is_err());
}
