//! What is broken for real is seen, and what to do about it is what helps.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;

use guard_lab::{AGENT, Json as _, Tested, eventually};
use serde_json::Value;

use crate::doctor::{Rows, detach, started};

#[test]
fn a_hook_that_is_gone_is_a_row() -> Tested {
    const HELPERS: [&str; 3] = ["hold", "recvmsg4", "getpeername4"];
    let (_network, mut daemon) = started()?;
    detach(&daemon, "sendmsg6");
    for hook in HELPERS {
        detach(&daemon, hook);
    }
    let rows = Rows::by_root(&daemon);
    let (detail, fix) = rows.open("hook sendmsg6");
    assert_eq!(detail, "read back: no program is attached");
    assert!(fix.contains("restart guardd"), "{fix}");
    // Nothing is refused by these.
    for hook in HELPERS {
        let row = rows.row(&format!("hook {hook}"));
        assert_eq!(
            (&row["ok"], &row["required"]),
            (&false.into(), &false.into()),
            "{hook}"
        );
    }
    rows.ok("hook connect4");
    daemon.kill()?;
    daemon.start()?;
    let rows = Rows::by_root(&daemon);
    rows.ok("hook sendmsg6");
    for hook in HELPERS {
        rows.ok(&format!("hook {hook}"));
    }
    Ok(())
}

#[test]
fn a_connection_that_is_not_refused_is_seen_by_making_one() -> Tested {
    let (_network, daemon) = started()?;
    for hook in ["egress", "connect4"] {
        detach(&daemon, hook);
    }
    let rows = Rows::by_agent(&daemon);
    let (detail, _) = rows.open("TCP over IPv4");
    assert_eq!(detail, "in a session it works; outside it works");
    rows.ok("TCP over IPv6");
    Ok(())
}

#[test]
fn a_cgroup_that_a_session_may_leave_is_seen_by_leaving_it() -> Tested {
    let (_network, daemon) = started()?;
    Rows::by_agent(&daemon).ok("cgroup.procs");
    for file in ["cgroup.procs", "cgroup.threads"] {
        chown(daemon.cgroup_root().join(file), Some(AGENT), None)?;
    }
    let rows = Rows::by_agent(&daemon);
    let (detail, _) = rows.open("root owns the cgroups");
    assert!(detail.contains("cgroup.procs is of uid 61234"), "{detail}");
    let (detail, _) = rows.open("cgroup.procs");
    assert!(detail.starts_with("in a session it works"), "{detail}");
    // Whoever only asks for the status is told to look.
    let told = |status: &Value| {
        status["warnings"]
            .to_string()
            .contains("root owns the cgroups: guard doctor")
    };
    eventually("the status says so", || Ok(told(&daemon.json(["status"])?)))?;
    Ok(())
}

#[test]
fn a_helper_is_a_row_where_the_user_may_connect() -> Tested {
    let (_network, daemon) = started()?;
    let path = daemon.dir().join("docker.sock");
    let _docker = UnixListener::bind(&path)?;
    let host = format!("unix://{}", path.display());
    let look = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let guard = daemon.agent(["doctor", "--json"]);
        Rows::of(&guard.env("DOCKER_HOST", &host))
    };
    let names_it = |rows: &Rows| {
        let row = rows.find("a helper outside: docker");
        row.is_some_and(|row| row["detail"].to_string().contains("/docker.sock"))
    };
    let rows = look(0o600);
    assert!(
        rows.find("a helper outside: docker")
            .is_none_or(|row| !row.to_string().contains(&host[7..]))
    );
    let rows = look(0o666);
    assert!(names_it(&rows), "{rows:#?}");
    // It is as open as what a session was seen to reach.
    let closed = rows.is_ok("unix sockets by path");
    assert_eq!(rows.is_ok("a helper outside: docker"), closed);
    if !closed {
        let (detail, fix) = rows.open("a helper outside: docker");
        assert!(
            detail.contains("the user may connect, and so may a session"),
            "{detail}"
        );
        assert!(fix.contains("guard run --user"), "{fix}");
    }
    Ok(())
}

#[test]
fn a_listener_on_loopback_is_named_with_its_process() -> Tested {
    let (_network, daemon) = started()?;
    let before = Rows::by_root(&daemon);
    let mut listens = guard_lab::Running::start(daemon.on_machine(0, "python3").args([
        "-c",
        "import socket,sys; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(); \
         print(s.getsockname()[1], flush=True); sys.stdin.read()",
    ]))?;
    let port = listens.line(guard_lab::PATIENCE)?;
    let rows = Rows::by_root(&daemon);
    let row = rows.row("listeners on loopback");
    let detail = row["detail"].text()?;
    assert!(
        detail.contains(&format!("127.0.0.1:{port} (python3")),
        "{detail}"
    );
    assert_eq!(
        (&row["ok"], &row["required"]),
        (&false.into(), &false.into())
    );
    assert!(
        !before.row("listeners on loopback")["detail"]
            .to_string()
            .contains(&port)
    );
    Ok(())
}
