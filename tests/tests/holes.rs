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
