//! The proxy where guardd may not become another user, as in its unit.

use std::process::Command;

use guard_lab::{Attempt, Daemon, Network, Running, Scene, Tested, V4, bins};

use crate::proxy::{
    POLICY,
    scene::{ProxyScene, sending},
};

/// The proxy's user, and somebody else.
const PROXY: u32 = 61_299;
const OTHER: u32 = 61_298;

fn scene() -> Tested<ProxyScene> {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("reads", POLICY)
        .config(&format!("[proxy]\nuser = \"{PROXY}\"\n"))
        .prepare()?;
    let mut guardd = daemon.on_machine(0, "setpriv");
    guardd
        .args(["--bounding-set=-setuid,-setgid", "--"])
        .arg(bins::find("guardd")?)
        .args(daemon.arguments());
    daemon.start_as(guardd)?;
    let scene = Scene { daemon, network };
    Ok(ProxyScene { scene })
}

impl ProxyScene {
    /// What a service manager would start, as that user.
    fn service(&self, uid: u32) -> Tested<Command> {
        let proxy = self.daemon.program("guard-proxy")?;
        let mut service = self.daemon.on_machine(uid, proxy);
        service
            .arg("--socket")
            .arg(self.daemon.state_dir().join("proxy.sock"));
        Ok(service)
    }
}

/// A proxy that says of itself that it is of another version, and stays.
const OTHER_VERSION: &str = r#"
import socket, sys
guardd = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
guardd.connect(sys.argv[1])
guardd.recv(4096)
guardd.send(b'{"say":"hello","version":"0.0.1"}')
guardd.recv(4096)
"#;

#[test]
fn one_of_another_version_is_sent_away_and_named() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let socket = scene.daemon.state_dir().join("proxy.sock");
    let mut shell = scene.shell()?;
    let mut other = scene.daemon.on_machine(PROXY, "/usr/bin/python3");
    other.args(["-c", OTHER_VERSION]).arg(&socket);
    let mut other = Running::start(&mut other)?;
    assert!(other.wait()?.success());
    let said = "guard-proxy is of version 0.0.1, and guardd of";
    scene.daemon.wait_for_log(said)?;
    let warnings = scene.daemon.json(["status"])?["warnings"].to_string();
    assert!(warnings.contains(said), "{warnings}");
    let report = shell.attempt(&Attempt::tcp(V4, 443))?;
    assert_eq!(report.errno.as_deref(), Some("EPERM"), "{report:?}");
    assert!(production.reached()?.is_empty());
    // The one that belongs to guardd is let in after that.
    let _service = Running::start(&mut scene.service(PROXY)?)?;
    scene.daemon.wait_for_log("the proxy runs")?;
    shell.tell(&sending("GET", "/albums", ""))?;
    shell.line_with("served_by")?;
    Ok(())
}

#[test]
fn one_that_a_service_manager_starts_comes_to_guardds_socket() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let socket = scene.daemon.state_dir().join("proxy.sock");
    assert!(!socket.exists(), "no proxy is needed yet");
    let mut shell = scene.shell()?;
    assert!(socket.exists());
    assert!(!scene.has_proxy());
    let warnings = scene.daemon.json(["status"])?["warnings"].to_string();
    assert!(
        warnings.contains("systemctl status guard-proxy"),
        "{warnings}"
    );
    let report = shell.attempt(&Attempt::tcp(V4, 443))?;
    assert_eq!(report.errno.as_deref(), Some("EPERM"), "{report:?}");
    assert!(production.reached()?.is_empty());
    for other in [OTHER, 0] {
        // Root's would not even begin: it is never root.
        let mut other = Running::start(&mut scene.service(other)?)?;
        assert!(!other.wait()?.success());
    }
    scene.daemon.wait_for_log("who is no guard-proxy came")?;
    let mut service = Running::start(&mut scene.service(PROXY)?)?;
    scene.daemon.wait_for_log("the proxy runs")?;
    shell.tell(&sending("GET", "/albums", ""))?;
    shell.line_with("served_by")?;
    assert!(!service.has_ended());
    Ok(())
}
