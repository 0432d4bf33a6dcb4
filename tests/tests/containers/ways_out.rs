//! What a container may try to get out of its session.

use guard_lab::Attempt;

use crate::engine::Engine;
use crate::life::RULES;
use crate::machine::{V4, configure, is_refused, machine, session};

/// What leads out where it succeeds: out of the cgroup, or to the guard's pins.
const TRIES: [&str; 6] = [
    "echo $$ > /sys/fs/cgroup/cgroup.procs",
    "mount -o remount,rw /sys/fs/cgroup",
    "mkdir -p /tmp/c && mount -t cgroup2 none /tmp/c",
    "mkdir -p /tmp/b && mount -t bpf none /tmp/b",
    "unshare -m true",
    "busybox nsenter -t 1 -m true && test -d /sys/fs/cgroup/guard.slice",
];

#[test]
fn root_in_a_container_stays_in_it() {
    let _one = machine();
    configure(RULES);
    for engine in Engine::BOTH {
        let container = engine.starts(engine.in_slice());
        session(&container.session());
        for attempt in TRIES {
            let output = container.output(&["sh", "-c", attempt]);
            assert!(!output.status.success(), "{engine:?} {attempt}: {output:?}");
        }
        assert!(is_refused(&container.attempt(Attempt::tcp(V4, 443))));
    }
}

#[test]
fn a_privileged_container_walks_out() {
    let _one = machine();
    configure(RULES);
    let engine = Engine::Podman;
    let probe = format!("guard-lab {}", Attempt::tcp(V4, 443).args().join(" "));
    let script = format!("{probe}; echo $$ > /sys/fs/cgroup/cgroup.procs; {probe}; true");
    let options = ["--privileged", "--cgroupns=host"];
    let said = engine.runs(&[engine.in_slice(), &options].concat(), &script);
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("\"ok\""))
        .collect();
    assert!(lines[0].contains("EPERM"), "{said}");
    assert!(lines[1].contains("\"ok\":true"), "{said}");
}

/// Docker gives containers the capability, Podman does not.
#[test]
fn packet_sockets_are_to_be_taken_from_containers_of_docker() {
    const TO: &str = "192.0.2.66";
    let _one = machine();
    let host = ["--network=host"];
    let packet = [Attempt::new("packet", TO, 443)];
    for (engine, options, reaches) in [
        (Engine::Podman, &[][..], false),
        (Engine::Docker, &["--cap-drop=NET_RAW"], false),
        (Engine::Docker, &[], true),
    ] {
        let options = [engine.in_slice(), &host, options].concat();
        let report = engine.attempts(&options, &packet).remove(0);
        assert_eq!(report.ok, reaches, "{engine:?} {report:?}");
        let production = &engine.lab().production;
        let reached = production.reached_at(TO, 443).unwrap();
        assert_eq!(!reached.is_empty(), reaches, "{engine:?} {reached:?}");
    }
}
