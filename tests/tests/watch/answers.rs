//! Keys that answer.

use guard_lab::{Tested, V4, eventually};

use crate::holes::seconds;
use crate::watch::scene::{WatchScene, look, reaches};
use crate::watch::{OTHER, READS};

#[test]
fn a_request_comes_up_and_a_yes_opens_for_five_minutes() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    assert!(!reaches(&mut shell, V4)?);
    let screen = window.expect("> r1");
    for part in [
        "tcp 192.0.2.10:80",
        "guard-lab",
        "production (confirm): it is production",
        "1 request",
    ] {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    // Enter is no answer, whatever it is pressed for.
    look();
    window.press(&["Enter"]);
    window.expect("Esc back");
    window.press(&["Enter"]);
    window.expect("> r1");
    assert!(scene.daemon.audited("answered")?.is_empty());
    window.press(&["f"]);
    window.expect("r1: yes; h1 open for s1: 192.0.2.10/32 tcp/80");
    window.expect("1 hole,");
    let hole = scene.holes()?.remove(0);
    assert!((seconds(&hole)? - 300.0).abs() < 1.0, "{hole}");
    assert!(reaches(&mut shell, V4)?);
    window.expect("0 requests");
    Ok(())
}

#[test]
fn other_keys_open_for_longer_or_for_some_connections() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    for (host, keys, lasts, connections) in [
        (V4, &["y"][..], 900.0, None),
        // The rule's max_hole, which the screen says.
        (OTHER, &["h"], 1800.0, None),
        ("192.0.2.12", &["c", "BSpace", "2", "f"], 300.0, Some(2)),
    ] {
        assert!(!reaches(&mut shell, host)?);
        window.expect(&format!("tcp {host}:80"));
        look();
        for key in keys {
            window.press(&[key]);
        }
        window.expect(&format!("{host}/32 tcp/80"));
        let hole = scene.holes()?.pop().unwrap();
        assert!((seconds(&hole)? - lasts).abs() < 1.0, "{hole}");
        assert_eq!(hole["connections_left"].as_u64(), connections, "{hole}");
        window.expect("0 requests");
    }
    assert!(reaches(&mut shell, "192.0.2.12")? && reaches(&mut shell, "192.0.2.12")?);
    assert!(!reaches(&mut shell, "192.0.2.12")?, "it was for two");
    Ok(())
}

#[test]
fn a_yes_is_for_so_many_bytes_and_the_list_says_how_many_are_left() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    assert!(!reaches(&mut shell, V4)?);
    window.expect("> r1");
    look();
    window.press(&["s"]);
    window.expect("what it sends, up to (as 64KiB or 10MB): 1MiB_");
    window.press(&["BSpace", "BSpace", "BSpace", "BSpace"]);
    window.press(&["6", "4", "K", "i", "B"]);
    window.expect("10MB): 64KiB_");
    window.press(&["Enter"]);
    look();
    assert!(
        scene.daemon.audited("answered")?.is_empty(),
        "Enter is no answer"
    );
    window.press(&["f"]);
    window.expect("r1: yes; h1 open for s1: 192.0.2.10/32 tcp/80");
    window.expect("64.0 KiB left");
    assert_eq!(scene.holes()?[0]["bytes_left"], 64 << 10);
    assert!(reaches(&mut shell, V4)?);
    window.expect("63.");
    let holes = scene.daemon.root(["holes"]).run()?.stdout;
    assert!(holes.contains(" 63."), "{holes}");
    Ok(())
}

#[test]
fn a_burst_is_one_request_and_a_key_takes_its_prefix() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    for last in 1..=5 {
        assert!(!reaches(&mut shell, &format!("192.0.2.{last}"))?);
    }
    let screen = window.expect("tcp/80 at 5 addresses of 192.0.2.0/24");
    assert!(screen.contains("1 request"), "{screen}");
    assert!(screen.contains("192.0.2.1, 192.0.2.2, "), "{screen}");
    assert!(screen.contains("p prefix"), "{screen}");
    look();
    window.press(&["p"]);
    window.expect("ALL of 192.0.2.0/24");
    assert!(scene.daemon.audited("answered")?.is_empty());
    window.press(&["f"]);
    window.expect("h1 open for s1: 192.0.2.0/24 tcp/80");
    let hole = scene.holes()?.remove(0);
    assert!((seconds(&hole)? - 300.0).abs() < 1.0, "{hole}");
    assert!(reaches(&mut shell, "192.0.2.77")?);
    window.expect("0 requests");
    Ok(())
}

#[test]
fn a_plain_yes_to_a_burst_is_for_the_addresses_on_the_screen() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    for last in 1..=4 {
        assert!(!reaches(&mut shell, &format!("192.0.2.{last}"))?);
    }
    window.expect("tcp/80 at 4 addresses of 192.0.2.0/24");
    look();
    window.press(&["y"]);
    window.expect("0 requests");
    assert_eq!(scene.holes()?.len(), 4);
    assert!(reaches(&mut shell, "192.0.2.4")?);
    assert!(!reaches(&mut shell, "192.0.2.5")?, "it was not there");
    Ok(())
}

#[test]
fn what_was_chosen_last_time_is_offered_first_and_taken_by_a_key() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    assert!(!reaches(&mut shell, V4)?);
    scene
        .daemon
        .json(["approve", "r1", "--for", "10m", "--connections", "1"])?;
    let window = scene.watch("one");
    assert!(!reaches(&mut shell, OTHER)?);
    window.expect("o yes 10m 1x");
    look();
    window.press(&["o"]);
    window.expect(&format!("{OTHER}/32 tcp/80"));
    let hole = scene.holes()?.pop().unwrap();
    assert!((seconds(&hole)? - 600.0).abs() < 1.0, "{hole}");
    assert_eq!(hole["connections_left"], 1, "{hole}");
    Ok(())
}

#[test]
fn a_no_is_for_a_minute_or_stops_the_asking() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    for (host, key, lasts) in [(V4, "n", 60.0), (OTHER, "N", 28_800.0)] {
        assert!(!reaches(&mut shell, host)?);
        window.expect(&format!("tcp {host}:80"));
        look();
        window.press(&[key]);
        window.expect("0 requests");
        let answer = scene.daemon.audited("answered")?.pop().unwrap();
        assert_eq!(
            (&answer["answer"], &answer["seconds"]),
            (&"no".into(), &lasts.into())
        );
        assert!(!reaches(&mut shell, host)?);
        assert_eq!(scene.pending()?.len(), 0, "it is not asked again");
    }
    assert!(scene.holes()?.is_empty());
    Ok(())
}

#[test]
fn many_requests_are_answered_at_once() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let (mut first, mut second) = (scene.shell()?, scene.shell()?);
    let window = scene.watch("one");
    // Far from each other: they are no burst.
    let ports = [80, 8080, 8081, 8082];
    for port in ports {
        let attempt = guard_lab::Attempt::tcp(V4, port);
        assert!(!first.reaches(&attempt)?);
    }
    assert!(!reaches(&mut second, V4)?);
    window.expect("5 requests");
    look();
    window.press(&["Home", "a"]);
    window.expect("5 requests (4 marked)");
    // A yes is said twice, and for what was listed.
    window.press(&["f", "f"]);
    let screen = window.expect("yes to all 4");
    for port in ports {
        assert!(screen.contains(&format!("tcp {V4}:{port}")), "{screen}");
    }
    assert!(scene.daemon.audited("answered")?.is_empty());
    look();
    window.press(&["f"]);
    window.expect("yes to 4 of 4 requests");
    window.expect("4 holes");
    assert_eq!(scene.daemon.audited("answered")?.len(), 4);
    assert!(reaches(&mut first, V4)?);
    assert!(!reaches(&mut second, V4)?, "that is another session's");
    // And a no once.
    let other = guard_lab::Attempt::tcp(V4, 8080);
    assert!(!second.reaches(&other)?);
    window.expect("2 requests");
    look();
    window.press(&["Home", "Space"]);
    window.expect("2 requests (1 marked)");
    window.press(&["Space", "n"]);
    window.expect("no to 2 of 2 requests");
    window.expect("0 requests");
    let answers = scene.daemon.audited("answered")?;
    assert!(answers[4..].iter().all(|answer| answer["answer"] == "no"));
    assert_eq!(answers.len(), 6);
    Ok(())
}

#[test]
fn a_hole_is_closed() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    scene
        .daemon
        .json(["open", V4, "--all-ports", "--reason", "for the test"])?;
    scene.daemon.json(["open", OTHER, "--all-ports"])?;
    let screen = window.expect("2 holes");
    assert!(
        screen.contains("for the test") && screen.contains("15 min"),
        "{screen}"
    );
    assert!(reaches(&mut shell, V4)?);
    look();
    window.press(&["Tab"]);
    window.press(&["x"]);
    window.expect("h1 closed");
    eventually("one is left", || Ok(scene.holes()?.len() == 1))?;
    assert_eq!(scene.holes()?[0]["id"], "h2");
    assert!(!reaches(&mut shell, V4)?);
    Ok(())
}

#[test]
fn a_key_pressed_as_the_list_moves_answers_nobody() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    for host in [V4, OTHER, "192.0.2.12"] {
        assert!(!reaches(&mut shell, host)?);
    }
    window.expect("3 requests");
    look();
    // The second press is meant for the first request, or is a key held down: the next is not answered by it.
    window.press(&["f", "f", "f", "f"]);
    window.expect("2 requests");
    window.press(&["f", "f", "f"]);
    look();
    assert_eq!(scene.daemon.audited("answered")?.len(), 1);
    window.press(&["f"]);
    window.expect("1 request,");
    assert_eq!(scene.daemon.audited("answered")?.len(), 2);
    // What is pasted is no keys.
    look();
    window.paste("fyhn");
    look();
    assert_eq!(scene.daemon.audited("answered")?.len(), 2);
    Ok(())
}

#[test]
fn who_was_faster_is_told_in_the_other_window() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let (one, two) = (scene.watch("one"), scene.watch("two"));
    assert!(!reaches(&mut shell, V4)?);
    for window in [&one, &two] {
        window.expect("> r1");
    }
    look();
    two.press(&["Enter"]);
    one.press(&["f"]);
    two.expect("r1: root said yes");
    two.expect("[r1 does not wait any more: root said yes]");
    // Its key comes too late.
    two.press(&["y"]);
    look();
    assert_eq!(scene.daemon.audited("answered")?.len(), 1);
    Ok(())
}

#[test]
fn an_http_request_is_let_through_and_more_like_it() -> Tested {
    let scene = WatchScene::new()?;
    let production = scene.production()?;
    let mut shell = guard_lab::Shell::start(&scene.daemon, "reads")?;
    let window = scene.watch("one");
    let put = |path: &str| {
        format!(
            "(curl -sS -m 300 -X PUT -d '{{\"force\":true}}' http://{READS}{path} > /dev/null; echo ended) &"
        )
    };
    shell.tell(&put("/api/jobs/1"))?;
    let screen = window.expect("PUT http://198.51.100.7/api/jobs/1");
    assert!(
        screen.contains("for an answer: gives up in") && screen.contains("{\"force\":true}"),
        "{screen}"
    );
    look();
    window.press(&["y"]);
    shell.line_with("ended")?;
    let passed = || {
        let mut reached = production.reached_at(READS, 80).unwrap();
        reached.retain(|one| one.kind == "http");
        reached.len()
    };
    assert_eq!(passed(), 1);
    // All paths like it.
    shell.tell(&put("/api/jobs/2"))?;
    window.expect("/api/jobs/2");
    look();
    window.press(&["p"]);
    window.expect("paths like (* is any text): /api/jobs/2_");
    window.press(&["BSpace", "*", "Enter"]);
    window.expect("a path like /api/jobs/*");
    assert_eq!(passed(), 1, "Enter is no answer");
    window.press(&["f"]);
    shell.line_with("ended")?;
    shell.tell(&put("/api/jobs/3"))?;
    shell.line_with("ended")?;
    assert_eq!(passed(), 3);
    // All that write.
    shell.tell(&put("/api/albums"))?;
    window.expect("/api/albums");
    look();
    window.press(&["w"]);
    window.expect("ALL that change something");
    window.press(&["f"]);
    shell.line_with("ended")?;
    assert_eq!(passed(), 4);
    assert_eq!(
        scene.holes()?.last().unwrap()["http"]["method"],
        serde_json::Value::Null
    );
    Ok(())
}
