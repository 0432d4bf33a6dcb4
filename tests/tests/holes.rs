//! Asked, opened, used, ended: holes against the real kernel.

use guard_lab::{Attempt, Daemon, Network, Production, Shell, V4, V6, eventually};
use serde_json::Value;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
max_hole = "30m"
reason = "it is production"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;

struct Bench {
    network: Network,
    daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        let network = Network::new().unwrap();
        let daemon = Daemon::in_network(&network)
            .policy("asks", POLICY)
            .start()
            .unwrap();
        Self { network, daemon }
    }

    fn shell(&self) -> Shell {
        Shell::start(&self.daemon, "asks").unwrap()
    }

    /// How many bytes the holes that have ended were used for, as the audit log says.
    fn used(&self) -> Vec<Option<u64>> {
        let trail = std::fs::read_to_string(self.daemon.audit()).unwrap();
        let records = trail
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let ends = records.filter(|one: &Value| one["kind"] == "hole-close");
        ends.map(|one| one["bytes"].as_u64()).collect()
    }

    fn json(&self, args: &[&str]) -> Value {
        self.daemon.root(args).json().unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.daemon.ask(args).unwrap();
        assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
        output.stderr
    }
}

#[test]
fn a_request_a_yes_and_the_connection_passes_until_the_hole_ends() {
    let bench = Bench::new();
    let production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    for to in [V4, V6] {
        let attempt = Attempt::tcp(to, 443);
        assert!(!shell.reaches(&attempt).unwrap());
        assert!(production.reached_at(to, 443).unwrap().is_empty());
        let pending = bench.json(&["pending"]);
        let request = pending
            .as_array()
            .unwrap()
            .iter()
            .find(|request| request["destination"]["address"] == to)
            .expect("a request");
        assert_eq!(request["rule"], "production");
        assert_eq!(request["verdict"], "confirm");
        assert_eq!(request["destination"]["port"], 443);
        assert_eq!(request["destination"]["protocol"], "tcp");
        let id = request["id"].as_str().unwrap();
        let hole = bench.json(&["approve", id, "--for", "10s"]);
        assert_eq!(hole["session"], "s1");
        assert!(shell.reaches(&attempt).unwrap());
        assert!(!production.reached_at(to, 443).unwrap().is_empty());
        // Only what was asked for is open.
        assert!(!shell.reaches(&Attempt::tcp(to, 80)).unwrap());
        assert!(!shell.reaches(&Attempt::udp(to, 53)).unwrap());
        eventually("the hole ends", || {
            bench.json(&["holes"]) == Value::Array(Vec::new())
        })
        .unwrap();
        assert!(!shell.reaches(&attempt).unwrap());
    }
}

#[test]
fn closing_a_hole_cuts_what_went_through_it() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    for to in [V4, V6] {
        let hole = bench.json(&["open", to, "--ports", "tcp/443"]);
        shell.begin(&Attempt::new("hold-open", to, 443)).unwrap();
        shell.line_with("echo").unwrap();
        bench.json(&["close", hole["id"].as_str().unwrap()]);
        let report = shell.line_with("\"ok\"").unwrap();
        assert!(report.contains("ECONNABORTED"), "{report}");
    }
}

#[test]
fn a_hole_that_ends_by_itself_cuts_what_went_through_it() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    bench.json(&["open", V4, "--ports", "tcp/443", "--for", "10s"]);
    shell.begin(&Attempt::new("hold-open", V4, 443)).unwrap();
    shell.line_with("echo").unwrap();
    let report = shell.line_with("\"ok\"").unwrap();
    assert!(report.contains("ECONNABORTED"), "{report}");
}

#[test]
fn a_budget_of_connections_is_counted_down_in_the_kernel() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    bench.json(&["open", V4, "--all-ports", "--connections", "2"]);
    let tcp = Attempt::tcp(V4, 443);
    assert!(shell.reaches(&tcp).unwrap());
    assert_eq!(bench.json(&["holes"])[0]["connections_left"], 1);
    assert!(shell.reaches(&tcp).unwrap());
    assert!(!shell.reaches(&tcp).unwrap());
    assert_eq!(bench.json(&["holes"])[0]["connections_left"], 0);
}

#[test]
fn a_wide_hole_leaves_the_deny_inside_it_standing() {
    let bench = Bench::new();
    let production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    bench.json(&["open", "192.0.2.0/24", "--all-ports"]);
    assert!(shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert!(!shell.reaches(&Attempt::tcp("192.0.2.99", 443)).unwrap());
    assert!(production.reached_at("192.0.2.99", 443).unwrap().is_empty());
    let refusal = bench.refused(&["open", "192.0.2.99", "--all-ports"]);
    assert!(refusal.contains("never"), "{refusal}");
}

#[test]
fn no_hole_lasts_longer_than_its_rule_allows() {
    let bench = Bench::new();
    let _shell = bench.shell();
    let hole = bench.json(&["open", V4, "--all-ports", "--for", "8h"]);
    let time = |key: &str| {
        hole[key]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let lives = time("expires_at").duration_since(time("opened_at"));
    assert!(lives.as_secs() <= 30 * 60, "{lives:?}");
}

#[test]
fn a_hole_is_for_one_session() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let mut first = bench.shell();
    let mut second = bench.shell();
    bench.json(&["open", V4, "--all-ports", "--session", "s1"]);
    let tcp = Attempt::tcp(V4, 443);
    assert!(first.reaches(&tcp).unwrap());
    assert!(!second.reaches(&tcp).unwrap());
    let refusal = bench.refused(&["open", V4, "--all-ports"]);
    assert!(refusal.contains("--session"), "{refusal}");
}

#[test]
fn udp_through_a_hole_is_stopped_when_it_closes() {
    let bench = Bench::new();
    let production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    let udp = Attempt::udp(V4, 53);
    assert!(!shell.reaches(&udp).unwrap());
    let hole = bench.json(&["open", V4, "--ports", "udp/53"]);
    assert!(shell.reaches(&udp).unwrap());
    bench.json(&["close", hole["id"].as_str().unwrap()]);
    let before = production.reached_at(V4, 53).unwrap().len();
    assert!(!shell.reaches(&udp).unwrap());
    assert_eq!(production.reached_at(V4, 53).unwrap().len(), before);
}

#[test]
fn a_no_is_remembered() {
    let bench = Bench::new();
    let mut shell = bench.shell();
    let tcp = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&tcp).unwrap());
    let pending = bench.json(&["pending"]);
    bench.json(&["deny", pending[0]["id"].as_str().unwrap()]);
    assert!(!shell.reaches(&tcp).unwrap());
    assert_eq!(bench.json(&["pending"]), Value::Array(Vec::new()));
}

#[test]
fn a_budget_of_bytes_ends_a_hole_in_the_middle_of_a_connection() {
    let bench = Bench::new();
    let production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    for to in [V4, V6] {
        let upload = Attempt::new("upload", to, 443);
        let opened = bench.json(&["open", to, "--ports", "tcp/443", "--bytes", "256KiB"]);
        assert_eq!(opened["bytes_left"], 256 * 1024);
        assert!(shell.reaches(&Attempt::tcp(to, 443)).unwrap());
        let left = bench.json(&["holes"])[0]["bytes_left"].as_u64().unwrap();
        assert!((200 * 1024..256 * 1024).contains(&left), "{left}");
        // A megabyte does not fit.
        let report = shell.attempt(&upload).unwrap();
        assert!(!report.ok, "{report:?}");
        assert_eq!(report.errno.as_deref(), Some("ECONNABORTED"), "{report:?}");
        eventually("the hole is closed", || {
            bench.json(&["holes"]) == Value::Array(Vec::new())
        })
        .unwrap();
        assert!(!shell.reaches(&Attempt::tcp(to, 443)).unwrap());
        // It does where there is room for it.
        bench.json(&["open", to, "--ports", "tcp/443", "--bytes", "8MiB"]);
        assert!(shell.attempt(&upload).unwrap().ok);
        bench.json(&["close", "--all"]);
    }
    assert!(!production.reached_at(V4, 443).unwrap().is_empty());
    // A hole that ends with its session has its bytes counted too, and one for any number has none.
    bench.json(&["open", V4, "--all-ports", "--bytes", "1MiB"]);
    bench.json(&["open", V6, "--all-ports"]);
    assert!(shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    shell.tell("exit").unwrap();
    eventually("all have ended", || bench.used().len() == 6).unwrap();
    let used = bench.used();
    assert!(used[0] == Some(256 << 10) && used[2] == used[0], "{used:?}");
    let megabyte = (1 << 20)..(2 << 20);
    assert!(
        megabyte.contains(&used[1].unwrap()) && megabyte.contains(&used[3].unwrap()),
        "{used:?}"
    );
    assert!((100..2000).contains(&used[4].unwrap()), "{used:?}");
    assert_eq!(used[5], None);
}

#[test]
fn datagrams_are_counted_too_and_nothing_is_smaller_than_nothing() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    let udp = Attempt::udp(V4, 53);
    bench.json(&["open", V4, "--ports", "udp/53", "--bytes", "100"]);
    let passed = (0..10).filter(|_| shell.reaches(&udp).unwrap()).count();
    assert!((1..4).contains(&passed), "{passed}");
    for wrong in [
        &["open", V4, "--all-ports", "--bytes", "0"][..],
        &["open", V4, "--all-ports", "--bytes", "many"],
        &["open", V4, "--all-ports", "--requests", "3"],
        &["open", V4, "--bytes", "10", "--read-only"],
    ] {
        assert!(!bench.refused(wrong).is_empty());
    }
}

#[test]
fn two_budgets_end_a_hole_at_the_first_that_is_used_up() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let mut shell = bench.shell();
    let tcp = Attempt::tcp(V4, 443);
    bench.json(&[
        "open",
        V4,
        "--all-ports",
        "--connections",
        "2",
        "--bytes",
        "1MiB",
    ]);
    assert!(shell.reaches(&tcp).unwrap() && shell.reaches(&tcp).unwrap());
    assert!(!shell.reaches(&tcp).unwrap());
    let hole = bench.json(&["holes"]);
    assert_eq!(hole[0]["connections_left"], 0);
    assert!(hole[0]["bytes_left"].as_u64().unwrap() > 1_000_000);
}
