//! Killed while it does what it was told.

use std::collections::BTreeSet;

use guard_lab::{Attempt, Json as _, Stepped, Tested, eventually};
use serde_json::Value;

use crate::crashes::scene::{
    ASKED, BOTH, CrashScene, NEITHER, Reached, UNDER_NEW, UNDER_OLD, Which, at_each_step, behind,
    new, old,
};
use crate::names::scene::{API, DNS, NameScene};

#[test]
fn while_it_puts_a_policy_in_place() -> Tested {
    let mut scene = CrashScene::new()?;
    let there = scene.settled(UNDER_OLD)?;
    let policies = [(new(), UNDER_NEW), (old(), UNDER_OLD)];
    at_each_step(Which::All, |turn, step| {
        let (text, reached) = &policies[turn % 2];
        let guardd = scene.daemon.guardd()?;
        let ended = scene.run(&guardd, true, step, |scene| {
            let before = loaded_at(scene)?;
            scene.daemon.write_policy("crash", text)?;
            while before.is_some() && loaded_at(scene)? == before {}
            Ok(())
        })?;
        let what = behind(step, &ended);
        let left = scene.reached()?;
        assert!([UNDER_OLD, UNDER_NEW].contains(&left), "{left:?}: {what}");
        scene.assert_settles_under(*reached, &there, &what)?;
        Ok(ended)
    })?;
    scene.check()?;
    Ok(())
}

/// When the policy was put in place; nothing where nobody answers.
fn loaded_at(scene: &CrashScene) -> Tested<Option<String>> {
    let status = scene.daemon.ask(["status", "--json"])?.json().ok();
    let loaded = status.and_then(|all| Some(all["policies"][0]["loaded_at"].as_str()?.to_owned()));
    Ok(loaded)
}

#[test]
fn while_it_opens_and_closes_a_hole() -> Tested {
    let mut scene = CrashScene::new()?;
    let there = scene.settled(UNDER_OLD)?;
    let with_hole = Reached {
        asked: true,
        ..UNDER_OLD
    };
    at_each_step(Which::All, |_, step| {
        let guardd = scene.daemon.guardd()?;
        let mut answered = [false; 2];
        let ended = scene.run(&guardd, true, step, |scene| {
            let args = [
                "open",
                ASKED,
                "--all-ports",
                "--session",
                "s1",
                "--connections",
                "9",
                "--for",
                "1h",
            ];
            answered[0] = scene.daemon.ask(args)?.status.success();
            answered[1] = scene.daemon.ask(["close", "--all"])?.status.success();
            Ok(())
        })?;
        let what = behind(step, &ended);
        let left = scene.reached()?;
        // Whoever was told that it is open, or closed, was told the truth.
        match answered {
            [true, true] => assert_eq!(left, UNDER_OLD, "{what}"),
            _ => assert!([UNDER_OLD, with_hole].contains(&left), "{left:?}: {what}"),
        }
        let opened = left.asked;
        scene.daemon.start()?;
        let holes = scene.daemon.list(["holes"])?;
        assert_eq!(holes.len(), usize::from(opened), "{holes:?}");
        scene.daemon.ask(["close", "--all"])?.success()?;
        scene.daemon.stop()?;
        let trail = std::fs::read_to_string(scene.daemon.audit())?;
        // A hole whose guardd was killed over it may be written down twice, and never not.
        assert_eq!(
            holes_in(&trail, "\"hole-open\""),
            holes_in(&trail, "\"hole-close\""),
            "{what}"
        );
        scene.assert_settles(&there, &what)?;
        Ok(ended)
    })?;
    scene.check()?;
    Ok(())
}

#[test]
fn while_it_closes_a_hole_for_questions() -> Tested {
    const NAME: &str = "db.example.com";
    let text = "version = 1\nname = \"crash\"\ndefault = \"deny\"\n[dns]\nnames = \"ask\"\n";
    let mut scene = NameScene::new("crash", text, &[(NAME, &[API])])?;
    let mut agent = scene.shell()?;
    let [refused, answered] = [format!("3 {DNS}"), format!("0 {DNS} {API}")];
    scene.daemon.stop()?;
    at_each_step(Which::All, |_, step| {
        scene.daemon.start()?;
        eventually("the resolver serves", || {
            let said = scene.asked(&mut agent, NAME, "connected")?;
            Ok(said == refused)
        })?;
        let request = scene.daemon.list(["pending"])?.remove(0);
        let request = request["id"].text()?;
        scene.daemon.root(["approve", request]).run()?.success()?;
        assert_eq!(scene.asked(&mut agent, NAME, "connected")?, answered);
        scene.daemon.stop()?;
        let mut guardd = Stepped::start(&scene.daemon, &scene.daemon.guardd()?, None)?;
        guardd.wait_until_ready()?;
        guardd.arm(Some(step))?;
        let closed = scene.daemon.ask(["close", "--all"])?.status.success();
        guardd.stop();
        let ended = guardd.wait()?;
        let what = behind(step, &ended);
        let trail = std::fs::read_to_string(scene.daemon.audit())?;
        let last = trail.lines().rfind(|line| line.contains("\"hole-"));
        let is_written = last.is_some_and(|line| line.contains("hole-close"));
        scene.daemon.start()?;
        let holes = scene.daemon.list(["holes"])?;
        // Neither who closed it nor the log is told that it is closed while it is not.
        assert!(
            holes.is_empty() || !(closed || is_written),
            "{holes:?}: {what}"
        );
        scene.daemon.ask(["close", "--all"])?.success()?;
        eventually("the resolver refuses it", || {
            let said = scene.asked(&mut agent, NAME, "connected")?;
            assert_ne!(said, answered, "{what}");
            Ok(said == refused)
        })?;
        let request = scene.daemon.list(["pending"])?.remove(0);
        let request = request["id"].text()?;
        // A no would still hold at the next step.
        scene.daemon.root(["approve", request]).run()?.success()?;
        scene.daemon.ask(["close", "--all"])?.success()?;
        scene.daemon.stop()?;
        let trail = std::fs::read_to_string(scene.daemon.audit())?;
        assert_eq!(
            holes_in(&trail, "\"hole-open\""),
            holes_in(&trail, "\"hole-close\""),
            "{what}"
        );
        Ok(ended)
    })?;
    Ok(())
}

/// The holes of which a trail has a record of that kind.
fn holes_in(trail: &str, kind: &str) -> BTreeSet<String> {
    let records = trail.lines().filter(|line| line.contains(kind));
    let records = records.map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| record["hole"].to_string()).collect()
}

#[test]
fn while_it_makes_a_session() -> Tested {
    let mut scene = CrashScene::new()?;
    let there = scene.settled(UNDER_OLD)?;
    let own = scene.daemon.dir().join("own.toml");
    std::fs::write(&own, old().replace("crash", "own"))?;
    let own = own.display().to_string();
    at_each_step(Which::All, |_, step| {
        let guardd = scene.daemon.guardd()?;
        let mut said = String::new();
        let ended = scene.run(&guardd, true, step, |scene| {
            let probe = scene.daemon.program("guard-lab")?;
            let probe = probe.display();
            let words = |to| format!("{probe} {}", Attempt::tcp(to, 443).args().join(" "));
            let script = format!("{}; {}", words(NEITHER), words(BOTH));
            let run = ["run", "--policy", &own, "--", "sh", "-c", &script];
            let run = scene.daemon.agent(run).run()?;
            said = run.stdout;
            // It never ran, or it was guarded.
            assert!(
                said.is_empty() == (run.status.code() == Some(125)),
                "{said}: {:?}",
                run.stderr
            );
            Ok(())
        })?;
        let what = behind(step, &ended);
        if !said.is_empty() {
            let reports: Vec<_> = said
                .lines()
                .map(|line| line.contains("\"ok\":true"))
                .collect();
            assert_eq!(reports, [false, true], "{said}");
        }
        assert_eq!(scene.reached()?, UNDER_OLD, "{what}");
        scene.assert_settles(&there, &what)?;
        Ok(ended)
    })?;
    scene.check()?;
    Ok(())
}
