//! Asked, opened, used, ended: holes against the real kernel.

use guard_lab::{ASKS, Attempt, Json as _, Scene, Tested, V4, V6, eventually};
use serde_json::Value;

fn scene() -> Tested<Scene> {
    let limited = "action = \"confirm\"\nmax_hole = \"30m\"";
    let policy = ASKS.replace("action = \"confirm\"", limited);
    Ok(Scene::new("asks", &policy)?)
}

/// For how long a hole is, in seconds.
pub(crate) fn seconds(hole: &Value) -> Tested<f64> {
    let time = |key: &str| Tested::Ok(hole[key].text()?.parse::<jiff::Timestamp>()?);
    let lives = time("expires_at")? - time("opened_at")?;
    Ok(lives.total(jiff::Unit::Second)?)
}

/// How many bytes the holes that have ended were used for, as the audit log says.
fn used(scene: &Scene) -> Tested<Vec<Option<u64>>> {
    let ends = scene.daemon.audited("hole-close")?;
    Ok(ends.iter().map(|one| one["bytes"].as_u64()).collect())
}

#[test]
fn a_request_a_yes_and_the_connection_passes_until_the_hole_ends() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    for to in [V4, V6] {
        let attempt = Attempt::tcp(to, 443);
        assert!(!shell.reaches(&attempt)?);
        assert!(production.reached_at(to, 443)?.is_empty());
        let pending = scene.daemon.json(["pending"])?;
        let request = pending
            .list()?
            .iter()
            .find(|request| request["destination"]["address"] == to)
            .expect("a request");
        assert_eq!(request["rule"], "production");
        assert_eq!(request["verdict"], "confirm");
        assert_eq!(request["destination"]["port"], 443);
        assert_eq!(request["destination"]["protocol"], "tcp");
        let id = request["id"].text()?;
        let hole = scene.daemon.json(["approve", id, "--for", "10s"])?;
        assert_eq!(hole["session"], "s1");
        assert!(shell.reaches(&attempt)?);
        assert!(!production.reached_at(to, 443)?.is_empty());
        // Only what was asked for is open.
        assert!(!shell.reaches(&Attempt::tcp(to, 80))?);
        assert!(!shell.reaches(&Attempt::udp(to, 53))?);
        eventually("the hole ends", || {
            Ok(scene.daemon.json(["holes"])? == Value::Array(Vec::new()))
        })?;
        assert!(!shell.reaches(&attempt)?);
    }
    Ok(())
}

#[test]
fn closing_a_hole_cuts_what_went_through_it() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    for to in [V4, V6] {
        let hole = scene.daemon.json(["open", to, "--ports", "tcp/443"])?;
        shell.begin(&Attempt::new("hold-open", to, 443))?;
        shell.line_with("echo")?;
        scene.daemon.json(["close", hole["id"].text()?])?;
        let report = shell.line_with("\"ok\"")?;
        assert!(report.contains("ECONNABORTED"), "{report}");
    }
    Ok(())
}

#[test]
fn a_hole_that_ends_by_itself_cuts_what_went_through_it() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    scene
        .daemon
        .json(["open", V4, "--ports", "tcp/443", "--for", "10s"])?;
    shell.begin(&Attempt::new("hold-open", V4, 443))?;
    shell.line_with("echo")?;
    let report = shell.line_with("\"ok\"")?;
    assert!(report.contains("ECONNABORTED"), "{report}");
    Ok(())
}

/// What its connections still send makes no request. What goes elsewhere is of none of them.
#[test]
fn what_is_refused_elsewhere_just_after_a_hole_has_ended_is_asked_about() -> Tested {
    let scene = scene()?;
    let mut shell = scene.shell("asks")?;
    let other = "192.0.2.77";
    let hole = scene.daemon.json(["open", V4, "--all-ports"])?;
    scene.daemon.json(["close", hole["id"].text()?])?;
    assert!(!shell.reaches(&Attempt::new("ping", other, 0))?);
    let is_there = |one: &Value| one["destination"]["address"] == other;
    eventually("a person is asked", || {
        Ok(scene.daemon.list(["pending"])?.iter().any(is_there))
    })?;
    let denied = scene.daemon.logged("denied")?;
    assert!(denied.iter().any(is_there), "{denied:?}");
    Ok(())
}

#[test]
fn a_budget_of_connections_is_counted_down_in_the_kernel() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    scene
        .daemon
        .json(["open", V4, "--all-ports", "--connections", "2"])?;
    let tcp = Attempt::tcp(V4, 443);
    assert!(shell.reaches(&tcp)?);
    assert_eq!(scene.daemon.json(["holes"])?[0]["connections_left"], 1);
    assert!(shell.reaches(&tcp)?);
    assert_eq!(scene.daemon.json(["status"])?["holes"], 0);
    assert!(!shell.reaches(&tcp)?);
    assert_eq!(scene.daemon.json(["holes"])?[0]["connections_left"], 0);
    // It lets nothing new through, and is no open one.
    let listed = scene.daemon.ask(["holes"])?.success()?.stdout;
    assert!(listed.contains("No holes are open."), "{listed}");
    assert!(listed.contains("h1 is used up"), "{listed}");
    scene.daemon.json(["close", "h1"])?;
    assert_eq!(scene.daemon.json(["holes"])?, Value::Array(Vec::new()));
    Ok(())
}

#[test]
fn a_hole_as_wide_as_the_internet_is_opened_by_whoever_says_so() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    let tcp = Attempt::tcp(V4, 443);
    for wide in ["0.0.0.0/0", "::/0", "192.0.0.0/7", "2000::/3"] {
        let open = ["open", wide, "--ports", "tcp/443"];
        let refused = scene.daemon.refused(open)?;
        for part in [" addresses, and lifts", "--wide"] {
            assert!(refused.contains(part), "{wide}: {refused}");
        }
        assert_eq!(scene.daemon.json(["holes"])?, Value::Array(Vec::new()));
    }
    assert!(!shell.reaches(&tcp)?);
    let refused = scene.daemon.refused(["open", "0.0.0.0/0", "--all-ports"])?;
    for part in ["4294967296 addresses", "the rule", "production", "of asks"] {
        assert!(refused.contains(part), "{refused}");
    }
    scene
        .daemon
        .json(["open", "0.0.0.0/0", "--all-ports", "--wide"])?;
    assert!(shell.reaches(&tcp)?);
    // What is denied it never lifts.
    assert!(!shell.reaches(&Attempt::tcp("192.0.2.99", 443))?);
    assert!(production.reached_at("192.0.2.99", 443)?.is_empty());
    Ok(())
}

#[test]
fn a_wide_hole_leaves_the_deny_inside_it_standing() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    scene.daemon.json(["open", "192.0.2.0/24", "--all-ports"])?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(!shell.reaches(&Attempt::tcp("192.0.2.99", 443))?);
    assert!(production.reached_at("192.0.2.99", 443)?.is_empty());
    let refusal = scene
        .daemon
        .refused(["open", "192.0.2.99", "--all-ports"])?;
    assert!(refusal.contains("never"), "{refusal}");
    Ok(())
}

#[test]
fn no_hole_lasts_longer_than_its_rule_allows() -> Tested {
    let scene = scene()?;
    let _shell = scene.shell("asks")?;
    let hole = scene
        .daemon
        .json(["open", V4, "--all-ports", "--for", "8h"])?;
    assert!(seconds(&hole)? <= 1800.0, "{hole}");
    Ok(())
}

#[test]
fn a_hole_is_for_one_session() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut first = scene.shell("asks")?;
    let mut second = scene.shell("asks")?;
    scene
        .daemon
        .json(["open", V4, "--all-ports", "--session", "s1"])?;
    let tcp = Attempt::tcp(V4, 443);
    assert!(first.reaches(&tcp)?);
    assert!(!second.reaches(&tcp)?);
    let refusal = scene.daemon.refused(["open", V4, "--all-ports"])?;
    assert!(refusal.contains("--session"), "{refusal}");
    Ok(())
}

#[test]
fn udp_through_a_hole_is_stopped_when_it_closes() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    let udp = Attempt::udp(V4, 53);
    assert!(!shell.reaches(&udp)?);
    let hole = scene.daemon.json(["open", V4, "--ports", "udp/53"])?;
    assert!(shell.reaches(&udp)?);
    scene.daemon.json(["close", hole["id"].text()?])?;
    let before = production.reached_at(V4, 53)?.len();
    assert!(!shell.reaches(&udp)?);
    assert_eq!(production.reached_at(V4, 53)?.len(), before);
    Ok(())
}

#[test]
fn a_no_is_remembered() -> Tested {
    let scene = scene()?;
    let mut shell = scene.shell("asks")?;
    let tcp = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&tcp)?);
    let pending = scene.daemon.json(["pending"])?;
    scene.daemon.json(["deny", pending[0]["id"].text()?])?;
    assert!(!shell.reaches(&tcp)?);
    assert_eq!(scene.daemon.json(["pending"])?, Value::Array(Vec::new()));
    Ok(())
}

#[test]
fn a_budget_of_bytes_ends_a_hole_in_the_middle_of_a_connection() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    for to in [V4, V6] {
        let upload = Attempt::new("upload", to, 443);
        let opened = scene
            .daemon
            .json(["open", to, "--ports", "tcp/443", "--bytes", "256KiB"])?;
        assert_eq!(opened["bytes_left"], 256 * 1024);
        assert!(shell.reaches(&Attempt::tcp(to, 443))?);
        let left = scene.daemon.json(["holes"])?[0]["bytes_left"]
            .as_u64()
            .unwrap();
        assert!((200 * 1024..256 * 1024).contains(&left), "{left}");
        // A megabyte does not fit.
        let report = shell.attempt(&upload)?;
        assert!(!report.ok, "{report:?}");
        assert_eq!(report.errno.as_deref(), Some("ECONNABORTED"), "{report:?}");
        eventually("the hole is closed", || {
            Ok(scene.daemon.json(["holes"])? == Value::Array(Vec::new()))
        })?;
        assert!(!shell.reaches(&Attempt::tcp(to, 443))?);
        // It does where there is room for it.
        scene
            .daemon
            .json(["open", to, "--ports", "tcp/443", "--bytes", "8MiB"])?;
        assert!(shell.attempt(&upload)?.ok);
        scene.daemon.json(["close", "--all"])?;
    }
    assert!(!production.reached_at(V4, 443)?.is_empty());
    // A hole that ends with its session has its bytes counted too, and one for any number has none.
    scene
        .daemon
        .json(["open", V4, "--all-ports", "--bytes", "1MiB"])?;
    scene.daemon.json(["open", V6, "--all-ports"])?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    shell.tell("exit")?;
    eventually("all have ended", || Ok(used(&scene)?.len() == 6))?;
    let used = used(&scene)?;
    assert!(used[0] == Some(256 << 10) && used[2] == used[0], "{used:?}");
    let megabyte = (1 << 20)..(2 << 20);
    assert!(
        megabyte.contains(&used[1].unwrap()) && megabyte.contains(&used[3].unwrap()),
        "{used:?}"
    );
    assert!((100..2000).contains(&used[4].unwrap()), "{used:?}");
    assert_eq!(used[5], None);
    Ok(())
}

#[test]
fn datagrams_are_counted_too_and_nothing_is_smaller_than_nothing() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    let udp = Attempt::udp(V4, 53);
    scene
        .daemon
        .json(["open", V4, "--ports", "udp/53", "--bytes", "100"])?;
    let passed = (0..10).filter(|_| shell.reaches(&udp).unwrap()).count();
    assert!((1..4).contains(&passed), "{passed}");
    for wrong in [
        &["open", V4, "--all-ports", "--bytes", "0"][..],
        &["open", V4, "--all-ports", "--bytes", "many"],
        &["open", V4, "--all-ports", "--requests", "3"],
        &["open", V4, "--bytes", "10", "--read-only"],
    ] {
        assert!(!scene.daemon.refused(wrong)?.is_empty());
    }
    Ok(())
}

#[test]
fn two_budgets_end_a_hole_at_the_first_that_is_used_up() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut shell = scene.shell("asks")?;
    let tcp = Attempt::tcp(V4, 443);
    scene.daemon.json([
        "open",
        V4,
        "--all-ports",
        "--connections",
        "2",
        "--bytes",
        "1MiB",
    ])?;
    assert!(shell.reaches(&tcp)? && shell.reaches(&tcp)?);
    assert!(!shell.reaches(&tcp)?);
    let hole = scene.daemon.json(["holes"])?;
    assert_eq!(hole[0]["connections_left"], 0);
    assert!(hole[0]["bytes_left"].as_u64().unwrap() > 1_000_000);
    Ok(())
}
