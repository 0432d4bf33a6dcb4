//! From the start of a container to its end.

use std::fs;

use guard_lab::{Attempt, CONFIRMS, Json as _, OPEN, Tested, V4, eventually};
use serde_json::Value;

use crate::containers::engine::Engine;
use crate::containers::machine::{
    UID, configure, has_ended, is_refused, machine, ok, run, session, sessions,
};

/// Settings for all tests: guardd starts once.
const RULES: &str = r#"
[[assign]]
unit = "docker-*.scope"
policy = "placed"
owner = "agent"

[[assign]]
unit = "libpod-*.scope"
policy = "placed"
owner = "agent"

[[assign]]
unit = "guard-names.slice"
policy = "names"

[[assign]]
unit = "guard-*.slice"
policy = "placed"
"#;
const PLACED: &str = "/etc/guard/policies/placed.toml";

/// The machine, where what is placed in the slice gets a policy.
pub(crate) fn placing() -> std::sync::MutexGuard<'static, ()> {
    let one = machine();
    fs::write(PLACED, CONFIRMS).unwrap();
    configure(RULES);
    one
}

fn tcp(to: &str) -> Attempt {
    Attempt::tcp(to, 443)
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

fn a_container_is_a_session_from_its_policy_to_its_end(engine: Engine) -> Tested {
    let _one = placing();
    let production = &engine.lab().production;
    let all = [tcp(OPEN), tcp(V4), Attempt::udp(V4, 443)];
    let outside = engine.attempts(&[], &all);
    assert!(
        outside.len() == 3 && outside.iter().all(|report| report.ok),
        "{outside:?}"
    );

    // Its policy is not there yet.
    fs::remove_file(PLACED)?;
    let count = || production.reached().unwrap().len();
    let before = count();
    let container = engine.starts(engine.in_slice(), &all);
    let first = container.first(all.len());
    assert!(first.iter().all(is_refused), "{first:?}");
    let inside = container.attempts(&all);
    assert!(inside.iter().all(is_refused), "{inside:?}");
    assert_eq!(count(), before);
    let (name, scope) = (container.session(), container.scope());
    let status = ok(&["guard", "status"]);
    assert!(
        status.contains(&format!("{scope} has no policy")),
        "{status}"
    );

    fs::write(PLACED, CONFIRMS)?;
    let begun = session(&name);
    assert_eq!(
        (&begun["policy"], &begun["uid"]),
        (&"placed".into(), &UID.into())
    );
    assert_eq!(sessions().len(), 1, "{:?}", sessions());
    let before = production.reached_at(V4, 443)?.len();
    let inside = container.attempts(&all);
    assert!(inside[0].ok, "{inside:?}");
    assert!(inside[1..].iter().all(is_refused), "{inside:?}");
    assert_eq!(production.reached_at(V4, 443)?.len(), before);

    // Its owner says yes.
    let asked = request(&begun);
    let approve = ["guard", "approve", asked["id"].text()?];
    let as_owner = ["setpriv", "--reuid=61236", "--clear-groups"];
    ok(&[&as_owner[..], &approve].concat());
    // guardd goes and comes: nothing changes, also meanwhile.
    const OTHER: &str = "192.0.2.11";
    let judged = || {
        let inside = container.attempts(&[tcp(V4), tcp(OTHER)]);
        assert!(inside[0].ok && is_refused(&inside[1]), "{inside:?}");
    };
    ok(&["systemctl", "kill", "-s", "KILL", "guardd.service"]);
    judged();
    eventually("back", || {
        let _ = run(&["systemctl", "start", "guardd.service"]);
        run(&["guard", "status"]).status.success()
    })?;
    let now = session(&name);
    assert_eq!((&now["id"], &now["pid"]), (&begun["id"], &begun["pid"]));
    judged();
    assert!(production.reached_at(V4, 443)?.len() > before);
    assert!(production.reached_at(OTHER, 443)?.is_empty());

    // What the engine puts into it is in its cgroup, with what it began with.
    engine.says(&["exec", "-d", &container.id, "sleep", "1000"]);
    let cgroup = begun["cgroup"].text()?;
    let processes = format!("find {cgroup} -name cgroup.procs -exec cat {{}} + | wc -l");
    eventually("both", || ok(&["sh", "-c", &processes]) == "2")?;

    // The unit's name means it, too.
    let stop = ["guard", "stop", &scope];
    ok(&stop);
    has_ended(&name);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_container_of_podman_is_a_session_from_its_policy_to_its_end() -> Tested {
    a_container_is_a_session_from_its_policy_to_its_end(Engine::Podman)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_container_of_docker_is_a_session_from_its_policy_to_its_end() -> Tested {
    a_container_is_a_session_from_its_policy_to_its_end(Engine::Docker)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn containers_in_a_slice_have_its_policy_from_their_first_instruction() -> Tested {
    const SLICE: &str = "guard-ci.slice";
    let _one = placing();
    ok(&["systemctl", "start", SLICE]);
    let begun = session(SLICE);
    for engine in Engine::BOTH {
        let parent = ["--cgroup-parent=guard-ci.slice"];
        let reports = engine.attempts(&parent, &[tcp(OPEN), tcp(V4)]);
        assert!(
            reports[0].ok && is_refused(&reports[1]),
            "{engine:?} {reports:?}"
        );
        // The slice outlives them.
        assert_eq!(session(SLICE)["id"], begun["id"]);
        assert_eq!(sessions().len(), 1);
    }
    ok(&["systemctl", "stop", SLICE]);
    has_ended(SLICE);
    Ok(())
}
