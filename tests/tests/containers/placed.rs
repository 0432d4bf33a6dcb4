//! Where engines put what, and that it is held there.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use guard_lab::{Attempt, Json as _, OPEN, Tested, V4, eventually};
use serde_json::{Value, json};

use crate::containers::engine::{Container, Engine};
use crate::containers::life::placing;
use crate::containers::machine::{UID, Unit, has_ended, is_refused, ok, reload, session, sessions};

const PODMAN: Engine = Engine::Podman;

fn judged(container: &Container) -> bool {
    let reports = container.attempts(&[Attempt::tcp(OPEN, 443), Attempt::tcp(V4, 443)]);
    assert!(reports[0].ok, "{reports:?}");
    is_refused(&reports[1])
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_pod_is_one_session_and_a_helper_is_one_unless_it_stays_outside() -> Tested {
    let _one = placing();
    // Podman's conmon has a scope of its own in the slice, unless it is told not to.
    let container = PODMAN.starts(&["--network=host", "--cgroup-parent=guard.slice"], &[]);
    session(&container.session());
    session(&format!("libpod-conmon-{}.scope", &container.id[..12]));
    assert!(judged(&container));
    drop(container);
    eventually("all gone", || sessions().is_empty())?;

    let create = [
        "pod",
        "create",
        "--cgroup-parent=guard.slice",
        "--network=host",
    ];
    let pod = PODMAN.says(&create);
    let in_pod = ["--pod", &pod];
    let container = PODMAN.starts(&in_pod, &[]);
    let name = format!("guard-libpod_pod_{}.slice", &pod[..12]);
    session(&name);
    assert!(judged(&container));
    assert_eq!(sessions().len(), 1, "{:?}", sessions());
    drop(container);
    PODMAN.says(&["pod", "rm", "-f", "-t", "0", &pod]);
    has_ended(&name);
    Ok(())
}

/// What Podman makes of a file `.container`, where it has that already.
const QUADLET: &str = "/usr/lib/systemd/system-generators/podman-system-generator";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_that_is_a_container_brings_its_policy() -> Tested {
    const NAME: &str = "lab.service";
    let _one = placing();
    let lab = PODMAN.lab();
    let pre = "ExecStartPre=+guard assign --policy asks --owner agent";
    let probe = |to| format!("guard-lab {}", Attempt::tcp(to, 443).args().join(" "));
    let script = format!("{}; {}; exec sleep 1000", probe(OPEN), probe(V4));
    let is_quadlet = Path::new(QUADLET).exists();
    let unit = if is_quadlet {
        let netns = lab.network.dev().path();
        fs::create_dir_all("/etc/containers/systemd")?;
        let text = format!(
            "[Container]\nImage=localhost/lab\nNetwork=host\nPodmanArgs=--stop-signal=KILL\n\
             Exec=sh -c \"{script}\"\n[Service]\nSlice=guard.slice\n{pre}\nNetworkNamespacePath={}\n",
            netns.display()
        );
        fs::write("/etc/containers/systemd/lab.container", text)?;
        reload();
        Unit(NAME.to_owned())
    } else {
        let run = "podman run --rm --replace --name lab --cgroups=split --network=host \
                   --sdnotify=conmon --stop-signal=KILL -d lab";
        let text = format!(
            "Type=notify\nNotifyAccess=all\nDelegate=yes\nKillMode=mixed\n{pre}\nExecStart={run} sh -c \"{script}\"\n\
             ExecStop=podman rm -f -t 0 lab"
        );
        Unit::new(NAME, lab.network, &text)
    };
    assert!(unit.start(), "{}", unit.journal());
    assert_eq!(session(NAME)["uid"], UID);
    unit.says("EPERM");
    let said = unit.journal();
    let first = said.lines().find(|line| line.starts_with('{')).unwrap();
    assert!(first.contains("\"ok\":true"), "{said}");
    // The container is in the unit's cgroup, and nowhere else.
    let cgroup = "find /sys/fs/cgroup -name 'libpod-*'";
    let places = ok(&["sh", "-c", cgroup]);
    assert!(!places.is_empty());
    let inside = |line: &str| line.starts_with("/sys/fs/cgroup/guard.slice/lab.service/");
    assert!(places.lines().all(inside), "{places}");
    unit.stop();
    has_ended(NAME);
    if is_quadlet {
        fs::remove_file("/etc/containers/systemd/lab.container")?;
    }
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn what_a_container_divides_itself_into_is_held() -> Tested {
    let _one = placing();
    // This machine's own files, and its systemd as the first process.
    let rest = ["--systemd=always", "--network=host", "--rootfs", "/:O"];
    let init = ["/usr/lib/systemd/systemd", "--unit=basic.target"];
    let run = [&["run", "-d"], PODMAN.in_slice(), &rest, &init];
    let container = Container {
        engine: PODMAN,
        id: PODMAN.says(&run.concat()),
    };
    let begun = session(&container.session());
    let is_up = || {
        let output = container.output(&["systemctl", "is-system-running"]);
        output.stdout.starts_with(b"running") || output.stdout.starts_with(b"degraded")
    };
    eventually("booted", is_up)?;
    for (to, reaches) in [(OPEN, true), (V4, false)] {
        let command = [
            &["systemd-run", "--quiet", "--wait", "--pipe", "guard-lab"].map(str::to_owned)[..],
            &Attempt::tcp(to, 443).args(),
        ]
        .concat();
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let said = String::from_utf8(container.output(&command).stdout)?;
        assert_eq!(said.contains("\"ok\":true"), reaches, "{said}");
        assert_eq!(said.contains("EPERM"), !reaches, "{said}");
    }
    // It has made cgroups below its own.
    let init = format!("find {} -name init.scope", begun["cgroup"].text()?);
    assert!(!ok(&["sh", "-c", &init]).is_empty());
    assert_eq!(sessions().len(), 1);
    Ok(())
}

/// A call to Docker, as its clients make it.
fn docker(path: &str, body: &Value) -> Value {
    let mut socket = UnixStream::connect("/run/docker.sock").unwrap();
    let body = body.to_string();
    write!(
        socket,
        "POST /v1.41{path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 20"), "{answer}");
    serde_json::from_str(body).unwrap_or_default()
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_job_that_a_runner_has_docker_start_is_a_session() -> Tested {
    const EXAMPLE: &str = include_str!("../../../packaging/examples/gitlab-runner.toml");
    let _one = placing();
    let production = &Engine::Docker.lab().production;
    // What the runner makes of its settings `cgroup_parent`, `privileged` and `cap_drop`.
    assert!(EXAMPLE.contains("cgroup_parent = \"guard.slice\""));
    assert!(EXAMPLE.contains("cap_drop = [\"NET_RAW\"]"));
    let created = docker(
        "/containers/create",
        &json!({
            "Image": "lab",
            "Cmd": ["sh", "-c", "sleep 1000"],
            "HostConfig": {
                "CgroupParent": "guard.slice",
                "Privileged": false,
                "CapDrop": ["NET_RAW"],
            },
        }),
    );
    let id = created["Id"].text()?.to_owned();
    let job = Container {
        engine: Engine::Docker,
        id,
    };
    docker(&format!("/containers/{}/start", job.id), &json!({}));
    assert_eq!(session(&job.session())["policy"], "placed");
    let before = production.reached_at(V4, 443)?.len();
    assert!(judged(&job));
    assert_eq!(production.reached_at(V4, 443)?.len(), before);
    // Without the capability there is no packet socket.
    let packet = Attempt::new("packet", V4, 443).other("eth0");
    assert!(is_refused(&job.attempt(packet)));
    let status = ok(&["guard", "status"]);
    assert!(!status.contains("CAP_NET_RAW"), "{status}");
    Ok(())
}
