//! Many addresses of one network: one request, which offers the prefix.

use std::{thread, time::Duration};

use anyhow::Context as _;
use guard_lab::{AGENT, Attempt, Json as _, Shell, Tested, V4, eventually};
use serde_json::{Value, json};

use super::scene::{DENIED, Ended, HoldScene, ended, id};

/// What [`super::scene::POLICY`] confirms around the first addresses and does not deny a part of.
const PREFIX: &str = "192.0.2.0/26";
const COUNT: usize = 20;

/// Has an agent try that many addresses of the network at once.
fn spread(scene: &HoldScene, shell: &mut Shell, count: usize) -> Tested {
    scene.begin(shell, &format!("spread 192.0.2.% 443 {count}"))
}

fn all_ended(shell: &mut Shell, count: usize) -> Tested<Vec<Ended>> {
    (0..count).map(|_| ended(shell)).collect()
}

/// The only request, once it is about so many addresses.
fn burst(scene: &HoldScene, count: usize) -> Tested<Value> {
    let is_one = |pending: &[Value]| pending.len() == 1 && pending[0]["burst"]["count"] == count;
    let came = eventually("one request about all of them", || {
        Ok(is_one(&scene.pending()?))
    });
    came.with_context(|| format!("{:?}", scene.pending()))?;
    Ok(scene.pending()?.remove(0))
}

#[test]
fn a_burst_is_one_request_and_a_yes_to_its_prefix_lets_all_go() -> Tested {
    let scene = HoldScene::new()?;
    for last in 1..=COUNT {
        let attempt = Attempt::tcp(&format!("192.0.2.{last}"), 443);
        assert!(attempt.outside(scene.network.dev(), AGENT)?.ok, "{last}");
    }
    let before = scene.reached("192.0.2.7", 443)?;
    let _watcher = scene.watcher()?;
    let mut shell = scene.shell()?;
    spread(&scene, &mut shell, COUNT)?;
    let request = burst(&scene, COUNT)?;
    assert_eq!(request["burst"]["prefix"], PREFIX);
    assert_eq!(request["burst"]["addresses"].list()?.len(), 16);
    assert_eq!(request["held"], true);
    assert_eq!(request["rule"], "production");
    assert_eq!(
        request["offers"][0],
        json!({"for": 900.0, "connections": null})
    );
    let text = scene.daemon.root(["pending"]).run()?.stdout;
    for part in [
        "tcp/443 at 20 addresses of 192.0.2.0/26",
        "--prefix --for 15m",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // That nothing passes has no event.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(scene.reached("192.0.2.7", 443)?, before);
    let opened = scene.daemon.root(["approve", id(&request)?, "--prefix"]);
    let opened = opened.json()?;
    assert_eq!(opened["destination"], PREFIX, "{opened}");
    assert_eq!(opened["ports"], "tcp/443");
    for one in all_ended(&mut shell, COUNT)? {
        assert!(one.ok, "{one:?}");
    }
    assert!(scene.reached("192.0.2.7", 443)? > before);
    assert!(scene.pending()?.is_empty());
    // What was not in the prefix is asked about, or stays closed.
    scene.begin(&mut shell, &format!("blocking {DENIED} 443"))?;
    assert_eq!(ended(&mut shell)?.error, "EPERM");
    scene.begin(&mut shell, "blocking 192.0.2.70 443")?;
    let other = scene.held()?;
    assert_eq!(other["destination"]["address"], "192.0.2.70");
    scene.answer(&["deny", id(&other)?])?;
    ended(&mut shell)?;
    let asked = scene.daemon.logged("request")?;
    let gathered = asked.iter().find(|one| one["burst"].is_object());
    let gathered = gathered.context("no burst is written")?;
    assert_eq!(gathered["burst"]["request"], request["id"]);
    assert_eq!(gathered["burst"]["others"].list()?.len(), 3);
    let answered = scene.daemon.logged("answered")?.remove(0);
    assert_eq!(answered["opens"], json!([PREFIX]));
    Ok(())
}

#[test]
fn a_no_ends_all_of_it_and_holds_for_the_whole_prefix() -> Tested {
    let (mut scene, watcher, mut shell) = HoldScene::watched()?;
    spread(&scene, &mut shell, COUNT)?;
    let request = burst(&scene, COUNT)?;
    // By an id of a request that became a part of it.
    let part = scene.daemon.logged("request")?.remove(2)["request"].clone();
    assert_ne!(part, request["id"]);
    scene.answer(&["deny", part.text()?])?;
    for one in all_ended(&mut shell, COUNT)? {
        assert_eq!(one.error, "ECONNABORTED", "{one:?}");
    }
    let late = scene.daemon.root(["approve", id(&request)?]).run()?;
    assert_eq!(late.code(), Some(2));
    assert!(late.stderr.contains("answered it with no"), "{late:?}");
    let is_refused = |scene: &HoldScene, shell: &mut Shell, to: &str| -> Tested {
        scene.begin(shell, &format!("blocking {to} 443"))?;
        let one = ended(shell)?;
        assert!(
            ["EPERM", "ECONNABORTED"].contains(&one.error.as_str()),
            "{to}: {one:?}"
        );
        assert!(scene.pending()?.is_empty(), "{to}");
        Ok(())
    };
    is_refused(&scene, &mut shell, "192.0.2.7")?;
    is_refused(&scene, &mut shell, "192.0.2.50")?;
    drop(watcher);
    scene.daemon.stop()?;
    scene.daemon.start()?;
    let _watcher = scene.watcher()?;
    is_refused(&scene, &mut shell, "192.0.2.7")?;
    is_refused(&scene, &mut shell, "192.0.2.51")?;
    scene.begin(&mut shell, "blocking 192.0.2.70 443")?;
    scene.answer(&["deny", id(&scene.held()?)?])?;
    ended(&mut shell)?;
    // What a person opens in it is open.
    let session = shell.session().to_owned();
    scene.answer(&["open", "192.0.2.7", "--all-ports", "--session", &session])?;
    scene.begin(&mut shell, "blocking 192.0.2.7 443")?;
    assert!(ended(&mut shell)?.ok);
    is_refused(&scene, &mut shell, "192.0.2.8")?;
    Ok(())
}

/// The destinations of all holes.
fn holes(scene: &HoldScene) -> Tested<Vec<String>> {
    let holes = scene.daemon.json(["holes"])?;
    let holes = holes.list()?.iter();
    let holes = holes.map(|hole| Ok(hole["destination"].text()?.to_owned()));
    let mut holes = holes.collect::<Tested<Vec<_>>>()?;
    holes.sort();
    Ok(holes)
}

#[test]
fn a_plain_yes_is_for_one_address_and_what_is_left_is_asked_on() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    spread(&scene, &mut shell, 5)?;
    let request = burst(&scene, 5)?;
    let asked = scene.daemon.logged("request")?;
    // The request that became a part of it, by its own id.
    let part = asked.iter().find(|one| one["request"] != request["id"]);
    let part = part.context("it is the first alone")?;
    let to = part["destination"]["address"].text()?;
    scene.answer(&["approve", part["request"].text()?])?;
    assert_eq!(holes(&scene)?, [format!("{to}/32")]);
    assert!(ended(&mut shell)?.ok);
    let rest = burst(&scene, 4)?;
    assert_ne!(
        rest["id"], request["id"],
        "what is first is another one now"
    );
    assert_eq!(rest["held"], true);
    let answered = scene.daemon.logged("answered")?.remove(0);
    assert_eq!(answered["request"], part["request"]);
    assert_eq!(answered["parts"], json!([]));
    let late = ["approve", part["request"].text()?];
    let late = scene.daemon.root(late).run()?;
    assert!(late.stderr.contains("answered it with yes"), "{late:?}");
    // Who saw that list as it was before is not taken at their word.
    let refused = ["approve", id(&request)?, "--tried", "4"];
    let refused = scene.daemon.root(refused).run()?;
    assert!(refused.stderr.contains("is a part of"), "{refused:?}");
    let own = request["destination"]["address"].text()?;
    scene.answer(&["approve", id(&request)?])?;
    assert!(holes(&scene)?.contains(&format!("{own}/32")), "{own}");
    assert!(ended(&mut shell)?.ok);
    let rest = burst(&scene, 3)?;
    scene.answer(&["approve", id(&rest)?, "--tried", "3"])?;
    for one in all_ended(&mut shell, 3)? {
        assert!(one.ok, "{one:?}");
    }
    assert!(scene.pending()?.is_empty());
    Ok(())
}

#[test]
fn a_yes_to_what_was_tried_is_for_nothing_that_came_after() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    spread(&scene, &mut shell, 5)?;
    let request = burst(&scene, 5)?;
    scene.begin(&mut shell, "blocking 192.0.2.33 443")?;
    eventually("it has grown", || {
        Ok(scene.pending()?[0]["burst"]["count"] == 6)
    })?;
    let opened = scene
        .daemon
        .root(["approve", id(&request)?, "--tried", "5", "--json"])
        .run()?;
    assert!(
        opened
            .stderr
            .contains("1 more of the addresses of 192.0.2.0/26"),
        "{opened:?}"
    );
    let expected = ["1", "2", "3", "4", "5"].map(|last| format!("192.0.2.{last}/32"));
    assert_eq!(holes(&scene)?, expected);
    for one in all_ended(&mut shell, 5)? {
        assert!(one.ok, "{one:?}");
    }
    let other = scene.held()?;
    assert_eq!(other["destination"]["address"], "192.0.2.33");
    assert_eq!(other["burst"], Value::Null);
    assert_ne!(other["id"], request["id"]);
    assert_eq!(scene.reached("192.0.2.33", 443)?, 0);
    scene.answer(&["approve", id(&other)?])?;
    assert!(ended(&mut shell)?.ok);
    Ok(())
}

#[test]
fn more_addresses_than_one_answer_opens_are_never_a_part_of_them_unasked() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    spread(&scene, &mut shell, COUNT)?;
    let request = burst(&scene, COUNT)?;
    let all = ["approve", id(&request)?, "--tried", "20"];
    let refused = scene.daemon.root(all).run()?;
    assert_eq!(refused.code(), Some(2));
    let fix = format!("guard approve {} --prefix", id(&request)?);
    assert!(refused.stderr.contains(&fix), "{refused:?}");
    assert!(holes(&scene)?.is_empty());
    scene.answer(&["approve", id(&request)?, "--tried", "2", "--for", "5m"])?;
    for one in all_ended(&mut shell, 2)? {
        assert!(one.ok, "{one:?}");
    }
    // The others wait on, for another answer.
    let rest = burst(&scene, COUNT - 2)?;
    assert_ne!(rest["id"], request["id"]);
    assert_eq!(
        rest["offers"][0],
        json!({"for": 300.0, "connections": null})
    );
    // A no by the id of a part is one to all of it, and told to whoever comes later by its own.
    let part = scene.daemon.logged("request")?.remove(3)["request"].clone();
    scene.answer(&["deny", part.text()?])?;
    for one in all_ended(&mut shell, COUNT - 2)? {
        assert_eq!(one.error, "ECONNABORTED", "{one:?}");
    }
    let late = ["approve", id(&rest)?, "--prefix"];
    let late = scene.daemon.root(late).run()?;
    assert!(late.stderr.contains("answered it with no"), "{late:?}");
    Ok(())
}

#[test]
fn a_burst_and_what_people_chose_outlive_guardd() -> Tested {
    let (mut scene, watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("blocking {V4} 8080"))?;
    let first = scene.held()?;
    scene.answer(&["approve", id(&first)?, "--for", "20m", "--connections", "3"])?;
    assert!(ended(&mut shell)?.ok);
    spread(&scene, &mut shell, COUNT)?;
    let before = burst(&scene, COUNT)?;
    let offer = json!({"for": 1200.0, "connections": 3});
    assert_eq!(before["offers"][0], offer);
    drop(watcher);
    scene.daemon.kill()?;
    scene.daemon.start()?;
    let _watcher = scene.watcher()?;
    let after = burst(&scene, COUNT)?;
    assert_eq!(
        (&after["id"], &after["burst"]),
        (&before["id"], &before["burst"])
    );
    assert_eq!(after["offers"][0], offer);
    assert!(
        scene.daemon.list(["holes"])?.len() < 2,
        "nothing was answered by itself"
    );
    let part = scene.daemon.logged("request")?.remove(2)["request"].clone();
    let of_part = ["approve", part.text()?, "--prefix"];
    assert_eq!(scene.daemon.root(of_part).run()?.code(), Some(2));
    scene.answer(&["approve", id(&after)?, "--prefix"])?;
    for one in all_ended(&mut shell, COUNT)? {
        assert!(one.ok, "{one:?}");
    }
    Ok(())
}

#[test]
fn what_does_not_wait_is_one_request_too() -> Tested {
    let scene = HoldScene::new()?;
    let mut shell = scene.shell()?;
    scene.begin(&mut shell, "spread 2001:db8:7::% 443 6")?;
    for one in all_ended(&mut shell, 6)? {
        assert_eq!(one.error, "EPERM", "{one:?}");
    }
    let request = burst(&scene, 6)?;
    assert_eq!(request["burst"]["prefix"], "2001:db8:7::/64");
    assert_eq!(request["held"], false);
    assert_eq!(request["count"], 6);
    scene.answer(&["approve", id(&request)?, "--prefix", "--for", "1m"])?;
    scene.begin(&mut shell, "spread 2001:db8:7::% 443 6")?;
    for one in all_ended(&mut shell, 6)? {
        assert!(one.ok, "{one:?}");
    }
    // Each in a network of its own is a request of its own.
    scene.begin(&mut shell, "spread 2001:db8:7:%::10 443 6")?;
    all_ended(&mut shell, 6)?;
    eventually("each is asked about", || Ok(scene.pending()?.len() == 6))?;
    let refused = scene
        .daemon
        .root(["approve", id(&scene.pending()?[0])?, "--prefix"]);
    let refused = refused.run()?;
    assert!(
        refused.stderr.contains("no prefix was offered"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_policy_that_changes_takes_the_offer_back() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    spread(&scene, &mut shell, 6)?;
    let request = burst(&scene, 6)?;
    let narrower = super::scene::POLICY.replace("192.0.2.99", "192.0.2.3");
    scene.daemon.write_policy("asks", &narrower)?;
    eventually("it is asked again", || {
        let pending = scene.pending()?;
        Ok(!pending.is_empty() && pending.iter().all(|one| one["id"] != request["id"]))
    })?;
    let late = scene
        .daemon
        .root(["approve", id(&request)?, "--prefix"])
        .run()?;
    assert_eq!(late.code(), Some(2), "{late:?}");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    // One of them is denied now.
    assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    Ok(())
}
