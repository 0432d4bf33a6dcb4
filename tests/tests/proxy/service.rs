//! The proxy where guardd may not become another user, as in its unit.

use std::process::Command;

use guard_lab::{Attempt, Daemon, Network, Running, bins};

use crate::proxy::{
    POLICY, V4,
    scene::{Scene, sending},
};

/// The proxy's user, and somebody else.
const PROXY: u32 = 61_299;
const OTHER: u32 = 61_298;

fn scene() -> Scene {
    let network = Network::new().unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("reads", POLICY)
        .config(&format!("[proxy]\nuser = \"{PROXY}\"\n"))
        .prepare()
        .unwrap();
    let mut guardd = daemon.on_machine(0, "setpriv");
    guardd
        .args(["--bounding-set=-setuid,-setgid", "--"])
        .arg(bins::find("guardd").unwrap())
        .args(daemon.arguments());
    daemon.start_as(guardd).unwrap();
    Scene { network, daemon }
}

impl Scene {
    /// What a service manager would start, as that user.
    fn service(&self, uid: u32) -> Command {
        let proxy = bins::for_everybody("guard-proxy", self.daemon.tag()).unwrap();
        let mut service = self.daemon.on_machine(uid, proxy);
        service
            .arg("--socket")
            .arg(self.daemon.state_dir().join("proxy.sock"));
        service
    }
}

#[test]
fn one_that_a_service_manager_starts_comes_to_guardds_socket() {
    let scene = scene();
    let production = scene.production();
    let socket = scene.daemon.state_dir().join("proxy.sock");
    assert!(!socket.exists(), "no proxy is needed yet");
    let mut shell = scene.shell();
    assert!(socket.exists());
    assert!(!scene.has_proxy());
    let warnings = scene.json(&["status"])["warnings"].to_string();
    assert!(
        warnings.contains("systemctl status guard-proxy"),
        "{warnings}"
    );
    let report = shell.attempt(&Attempt::tcp(V4, 443)).unwrap();
    assert_eq!(report.errno.as_deref(), Some("EPERM"), "{report:?}");
    assert!(production.reached().unwrap().is_empty());
    for other in [OTHER, 0] {
        // Root's would not even begin: it is never root.
        let mut other = Running::start(&mut scene.service(other)).unwrap();
        assert!(!other.wait().unwrap().success());
    }
    scene.daemon.wait_for_log("who is no proxy came").unwrap();
    let mut service = Running::start(&mut scene.service(PROXY)).unwrap();
    scene.daemon.wait_for_log("the proxy runs").unwrap();
    shell.tell(&sending("GET", "/albums", "")).unwrap();
    shell.line_with("served_by").unwrap();
    assert!(!service.has_ended());
}
