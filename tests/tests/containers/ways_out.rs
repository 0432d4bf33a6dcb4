//! What a container may try to get out of its session.

use guard_lab::{Attempt, Tested, V4};

use crate::containers::engine::Engine;
use crate::containers::life::placing;
use crate::containers::machine::{is_refused, ok, session};

/// What leads out where it succeeds: out of the cgroup, to the guard's pins, or to the machine's files.
const TRIES: &str = "
echo $$ > /sys/fs/cgroup/cgroup.procs && echo out 1
mount -o remount,rw /sys/fs/cgroup && echo out 2
mkdir -p /tmp/c && mount -t cgroup2 none /tmp/c && echo out 3
mkdir -p /tmp/b && mount -t bpf none /tmp/b && echo out 4
unshare -m true && echo out 5
echo tried";

/// Docker gives its containers CAP_NET_RAW, Podman does not.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn root_stays_in_its_container_and_dockers_sends_packets_past_the_guard() -> Tested {
    const TO: &str = "192.0.2.66";
    let _one = placing();
    for (engine, sends) in [(Engine::Podman, false), (Engine::Docker, true)] {
        let container = engine.starts(&[engine.in_slice(), &["--network=host"]].concat(), &[]);
        let name = container.session();
        session(&name);
        let said = String::from_utf8(container.output(&["sh", "-c", TRIES]).stdout)?;
        assert_eq!(said.trim(), "tried", "{engine:?}");
        assert!(is_refused(&container.attempt(Attempt::tcp(V4, 443))));

        let report = container.attempt(Attempt::new("packet", TO, 443));
        assert_eq!(report.ok, sends, "{engine:?} {report:?}");
        let reached = engine.lab().production.reached_at(TO, 443)?;
        assert_eq!(!reached.is_empty(), sends, "{engine:?} {reached:?}");
        let status = ok(&["guard", "status"]);
        let warning = format!("{name} has CAP_NET_RAW");
        assert_eq!(status.contains(&warning), sends, "{status}");
    }
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_privileged_container_walks_out() -> Tested {
    let _one = placing();
    let engine = Engine::Podman;
    let probe = format!("guard-lab {}", Attempt::tcp(V4, 443).args().join(" "));
    let script = format!("{probe}; echo $$ > /sys/fs/cgroup/cgroup.procs; {probe}; true");
    let options = ["--privileged", "--cgroupns=host", "--network=host"];
    let said = engine.runs(&[engine.in_slice(), &options].concat(), &script);
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("\"ok\""))
        .collect();
    assert!(lines[0].contains("EPERM"), "{said}");
    assert!(lines[1].contains("\"ok\":true"), "{said}");
    Ok(())
}
