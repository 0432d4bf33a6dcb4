//! The proxy's process.

use std::{fs, path::Path};

use guard_lab::{Attempt, Tested, V4, eventually};

use crate::proxy::{
    POLICY,
    scene::{ProxyScene, pid_of, sending},
};

/// A field of `/proc/PID/status`.
fn status(process: &Path, field: &str) -> String {
    let text = fs::read_to_string(process.join("status")).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(field));
    found.unwrap().trim_start_matches(':').trim().to_owned()
}

#[test]
fn there_is_one_when_it_is_needed_and_it_is_nobody() -> Tested {
    let scene = ProxyScene::new()?;
    assert!(!scene.has_proxy());
    let _shell = scene.shell()?;
    let proxy = scene.proxy()?;
    eventually("it has given up all", || status(&proxy, "Seccomp") == "2")?;
    for ids in ["Uid", "Gid"] {
        let all = status(&proxy, ids);
        assert!(all.split_whitespace().all(|id| id != "0"), "{ids}: {all}");
    }
    assert_eq!(status(&proxy, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&proxy, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(&proxy, "NoNewPrivs"), "1");
    assert_eq!(fs::read_link(proxy.join("cwd"))?, Path::new("/"));
    let cgroup = fs::read_to_string(proxy.join("cgroup"))?;
    let root = scene.daemon.cgroup_root().file_name().unwrap();
    assert!(!cgroup.contains(root.to_str().unwrap()), "{cgroup}");
    let limits = fs::read_to_string(proxy.join("limits"))?;
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    assert!(files.unwrap().contains(" 16384 "), "{files:?}");
    let environment = fs::read(proxy.join("environ"))?;
    let environment = String::from_utf8(environment)?;
    assert!(
        environment
            .split('\0')
            .all(|one| one.is_empty() || one.starts_with("RUST_LOG=")),
        "{environment}"
    );
    // Nothing of guardd's but what it was given: a socket, and what the runtime and the listeners take.
    for entry in fs::read_dir(proxy.join("fd"))? {
        let to = fs::read_link(entry?.path())?;
        let to = to.to_string_lossy();
        let is_own = ["socket:", "anon_inode:", "/dev/null", "pipe:"]
            .iter()
            .any(|own| to.starts_with(own));
        let is_log = to.ends_with(".log") || to.contains("guardd");
        assert!(is_own || is_log, "{to}");
    }
    assert_eq!(
        scene.daemon.json(["status"])?["warnings"],
        serde_json::json!([])
    );
    Ok(())
}

#[test]
fn where_there_is_none_what_is_read_only_is_closed() -> Tested {
    let scene = ProxyScene::with(POLICY, "[proxy]\nuser = \"nobody-of-that-name\"\n")?;
    let production = scene.production()?;
    let mut shell = scene.shell()?;
    let tcp = Attempt::tcp(V4, 443);
    let report = shell.attempt(&tcp)?;
    assert_eq!(report.errno.as_deref(), Some("EPERM"), "{report:?}");
    assert!(report.detail.starts_with("connect"), "{report:?}");
    assert!(production.reached_at(V4, 443)?.is_empty());
    let warnings = scene.daemon.json(["status"])?["warnings"].to_string();
    assert!(warnings.contains("nobody-of-that-name"), "{warnings}");
    // It is the guard that closes it.
    assert!(tcp.outside(scene.network.dev(), 0)?.ok);
    assert!(!production.reached_at(V4, 443)?.is_empty());
    Ok(())
}

#[test]
fn one_that_is_killed_is_followed_by_another() -> Tested {
    let scene = ProxyScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let first = scene.proxy()?;
    rustix::process::kill_process(pid_of(&first)?, rustix::process::Signal::KILL)?;
    scene.daemon.wait_for_log("the proxy is gone")?;
    eventually("another proxy", || {
        Ok(
            scene.has_proxy()
                && scene.daemon.json(["status"])?["warnings"] == serde_json::json!([]),
        )
    })?;
    assert_ne!(scene.proxy()?, first);
    shell.tell(&sending("GET", "/albums", ""))?;
    shell.line_with("served_by")?;
    Ok(())
}
