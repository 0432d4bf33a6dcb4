//! Each condition by itself: what does not meet it is refused, and the same with that one thing right is taken.

use std::path::{Path, PathBuf};

use guard_lab::{
    Attempt, Daemon, Json as _, Network, STRANGER, Shell, SshKey, Tested, V4, eventually,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::scene::{COURIER, SignedScene, altered};

#[test]
fn an_answer_is_signed_by_an_enrolled_key_of_whom_it_names() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let (alice, bob) = (scene.approver("alice", &[])?, scene.approver("bob", &[])?);
    let stranger = scene.key("stranger")?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let fine = scene.yes(&alice, "alice", &id, &[])?;
    let by = |key: &SshKey, name: &str| scene.yes(key, name, &id, &[]);
    scene.refused(&by(&stranger, "alice")?, "is enrolled")?;
    let claimed = altered(&by(&stranger, "alice")?, "key", json!(alice.id));
    scene.refused(&claimed, "signed by another key")?;
    scene.refused(&by(&bob, "alice")?, "the key is bob's")?;
    let other = scene.answer(&scene.question(&id), "alice", &[("for", json!(900))]);
    scene.refused(
        &altered(&fine, "answer", json!(other)),
        "not of these bytes",
    )?;
    let answer = fine["answer"].text()?;
    let purpose = scene.sign_for(&alice, answer, "file")?;
    scene.refused(&purpose, "another purpose")?;
    let spaced = scene.sign(&alice, &answer.replace(":300", ": 300"))?;
    scene.refused(&spaced, "canonical form")?;
    let kind = altered(&fine, "kind", json!("passkey"));
    scene.refused(&kind, "signed by another key")?;
    let called = scene.daemon.root(["approver", "remove", &bob.id]).run();
    called?.success()?;
    scene.refused(&by(&bob, "bob")?, "is enrolled")?;
    scene.taken(&fine)?;
    assert_eq!(scene.holes(), ["tcp/443"]);
    let first = &scene.daemon.logged("answer-refused")?[0];
    assert_eq!(first["from"]["uid"], COURIER, "{first}");
    // The others came within the same second, and are told of in one.
    eventually("all are told of", || {
        let refused = scene.daemon.logged("answer-refused")?.into_iter();
        Ok(refused
            .map(|one| one["count"].as_u64().unwrap())
            .sum::<u64>()
            == 8)
    })?;
    Ok(())
}

#[test]
fn an_answer_is_for_one_machine_and_one_question_as_it_was_shown() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let elsewhere = scene.yes(&alice, "alice", &id, &[("machine", json!("m-0000"))])?;
    scene.refused(&elsewhere, "for the machine")?;
    // As a courier would that shows something else: its hash is another.
    let mut asked = scene.question(&id);
    asked["hash"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let swapped = scene.sign(&alice, &scene.answer(&asked, "alice", &[]))?;
    scene.refused(&swapped, "no question that is open here")?;
    let before = scene.question(&id);
    assert_eq!(scene.question(&id), before, "made once");
    // Whatever tries again, by the same command, asks the same. One that has ended before guardd looks has none; and the kernel half
    // tells of the same refusal again after a while only.
    let shown = || -> Tested<_> { Ok(scene.daemon.json(["pending"])?[0].clone()) };
    eventually(
        "another process is shown and the question is the same",
        || {
            let (first, before) = (shown()?, scene.question(&id));
            assert_eq!(scene.request(&mut shell, 443), id);
            let now = shown()?;
            Ok(now["pid"] != first["pid"] && scene.question(&id) == before)
        },
    )?;
    // The request changes by what the agent says of it.
    let old = scene.yes(&alice, "alice", &id, &[])?;
    let before = scene.question(&id);
    let socket = scene.daemon.socket();
    let guard = scene.daemon.program("guard")?;
    let (socket, guard) = (socket.display(), guard.display());
    let says =
        format!("{guard} --socket {socket} request 192.0.2.10:443 --reason queue >/dev/null");
    assert_eq!(shell.status_of(&says)?, 0);
    scene.refused(&old, "has changed")?;
    let after = scene.question(&id);
    assert_ne!(after["hash"], before["hash"]);
    assert!(after["question"].text()?.contains("queue"));
    scene.refused(&old, "no question that is open here")?;
    scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
    assert_eq!(scene.holes(), ["tcp/443"]);
    Ok(())
}

#[test]
fn a_question_outlives_guardd_and_not_its_boot_nor_its_time() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    for (port, change, why) in [
        (443, "boot", "no question that is open here"),
        (1000, "until", "no question that is open here"),
        (1001, "", ""),
    ] {
        let id = scene.request(&mut shell, port);
        let signed = scene.yes(&alice, "alice", &id, &[])?;
        scene.daemon.kill()?;
        match change {
            "boot" => scene.edit("boot/boot.json", |boot| *boot = json!("another"))?,
            "until" => scene.edit(&format!("questions/{id}.json"), |kept| {
                kept["until"] = json!(1)
            })?,
            _ => {}
        }
        scene.daemon.start()?;
        match why {
            "" => assert_eq!(scene.taken(&signed)?["answer"], "yes"),
            why => {
                scene.refused(&signed, why)?;
                scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
            }
        }
    }
    assert_eq!(scene.holes().len(), 3);
    Ok(())
}

#[test]
fn a_yes_is_within_what_was_offered_and_each_limit() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "max_for = \"10m\"");
    let alice = scene.approver("alice", &[])?;
    let hasty = scene.approver("hasty", &["--max-for", "1m"])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let yes = |change: &[(&str, Value)]| scene.yes(&alice, "alice", &id, change);
    for scope in ["prefix", "writes", "path", "everything", ""] {
        scene.refused(&yes(&[("scope", json!(scope))])?, "is not offered")?;
    }
    scene.refused(&yes(&[("read_only", json!(true))])?, "is not offered")?;
    scene.refused(&yes(&[("requests", json!(1))])?, "is not offered")?;
    scene.refused(&yes(&[("connections", json!(0))])?, "is not offered")?;
    scene.refused(&yes(&[("for", Value::Null)])?, "for how long")?;
    scene.refused(&yes(&[("for", json!(601))])?, "longer than the 10m")?;
    let long = scene.yes(&hasty, "hasty", &id, &[("for", json!(61))])?;
    scene.refused(&long, "longer than the 1m")?;
    scene.taken(&scene.yes(&hasty, "hasty", &id, &[("for", json!(60))])?)?;
    let id = scene.request(&mut shell, 8080);
    let rule = |seconds: u64| scene.yes(&alice, "alice", &id, &[("for", json!(seconds))]);
    scene.refused(&rule(121)?, "longer than the 2m")?;
    let once = &[("for", json!(120)), ("connections", json!(1))];
    scene.taken(&scene.yes(&alice, "alice", &id, once)?)?;
    let hole = scene.daemon.json(["holes"])?[1].clone();
    assert_eq!(hole["connections_left"], 1);
    assert_eq!(hole["opened_by"], "alice");
    // Who says "once" names no time of their own.
    let id = scene.request(&mut shell, 1000);
    let once = &[("for", json!(600)), ("connections", json!(1))];
    scene.taken(&scene.yes(&hasty, "hasty", &id, once)?)?;
    let hole = scene.daemon.json(["holes"])?[2].clone();
    let at = |key: &str| -> Tested<Timestamp> { Ok(hole[key].text()?.parse()?) };
    let lasting = at("expires_at")?.duration_since(at("opened_at")?);
    assert_eq!(lasting.as_secs(), 60, "{hole}");
    let id = scene.request(&mut shell, 1001);
    let both = &[("connections", json!(1)), ("requests", json!(1))];
    scene.refused(&scene.yes(&alice, "alice", &id, both)?, "is not offered")?;
    Ok(())
}

#[test]
fn a_burst_that_grew_meanwhile_is_asked_anew_and_its_prefix_may_be_opened() -> Tested {
    let (network, _production) = Network::with_production()?;
    let scene = SignedScene::new(&network, "scopes = [\"one\", \"offers\", \"prefix\"]");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let at = |last: u8| Attempt::tcp(&format!("192.0.2.{last}"), 443);
    for last in 1..=4 {
        assert!(!shell.reaches(&at(last))?);
    }
    let burst = |count: u64| -> Tested<String> {
        eventually("one request about all of them", || {
            let pending = scene.daemon.json(["pending"])?;
            Ok(pending.list()?.len() == 1 && pending[0]["burst"]["count"] == count)
        })?;
        Ok(scene.daemon.json(["pending"])?[0]["id"].text()?.to_owned())
    };
    let id = burst(4)?;
    let prefix = &[("scope", json!("prefix"))];
    let [shown, all] = [&[][..], prefix].map(|change| scene.yes(&alice, "alice", &id, change));
    let (shown, all) = (shown?, all?);
    assert!(!shell.reaches(&at(5))?);
    assert_eq!(burst(5)?, id);
    // Neither what was shown nor the prefix: there is more to see now than whoever signed has seen.
    scene.refused(&shown, "has changed")?;
    scene.refused(&all, "has changed")?;
    let question = scene.question(&id)["question"].text()?.to_owned();
    assert!(question.contains("192.0.2.5"), "{question}");
    scene.taken(&scene.yes(&alice, "alice", &id, prefix)?)?;
    let holes = scene.daemon.json(["holes"])?;
    assert_eq!(holes.list()?.len(), 1, "{holes}");
    assert_eq!(holes[0]["destination"], "192.0.2.0/24", "{holes}");
    assert!(shell.reaches(&at(77))?);
    Ok(())
}

#[test]
fn a_yes_may_be_for_so_many_bytes() -> Tested {
    let (network, _production) = Network::with_production()?;
    let scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let bytes = |count: u64| scene.yes(&alice, "alice", &id, &[("bytes", json!(count))]);
    scene.refused(&bytes(0)?, "is not offered")?;
    scene.taken(&bytes(100_000)?)?;
    let left = || -> Tested<u64> {
        let holes = scene.daemon.json(["holes"])?;
        Ok(holes[0]["bytes_left"].as_u64().unwrap_or_default())
    };
    let before = left()?;
    assert!((1..=100_000).contains(&before), "{before}");
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    Ok(())
}

#[test]
fn an_approver_answers_for_some_users_and_policies() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &["--policy", "ask*"])?;
    let bob = scene.approver("bob", &["--policy", "prod-*"])?;
    let carol = scene.key("carol")?;
    let add = scene.add("carol", &carol).args(["--answers-for", "nobody"]);
    add.run()?.success()?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let by = |key, name| scene.yes(key, name, &id, &[]);
    scene.refused(&by(&bob, "bob")?, "the policy asks")?;
    scene.refused(&by(&carol, "carol")?, "sessions of")?;
    scene.taken(&by(&alice, "alice")?)?;
    Ok(())
}

#[test]
fn a_policy_that_takes_the_name_of_another_is_no_narrower_one() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    scene.approver("bob", &["--policy", "lab*"])?;
    let file = scene.daemon.dir().join("mine.toml");
    let say = |name: &str| {
        let text = format!("version = 1\nname = \"{name}\"\ndefault = \"confirm\"\n");
        std::fs::write(&file, text)
    };
    say("prod")?;
    let path = file.display().to_string();
    let run = scene.daemon.agent(["run", "--policy", &path]);
    let _shell = Shell::run_by(&scene.daemon, run)?;
    let apply = |daemon: &Daemon| {
        let apply = ["policy", "apply", &path, "--yes"];
        daemon.agent(apply).run()
    };
    // Nobody answers by another name.
    say("staging")?;
    apply(&scene.daemon)?.success()?;
    say("lab")?;
    let refused = apply(&scene.daemon)?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let why = "bob may answer under the policy lab, and not under staging";
    assert!(refused.stderr.contains(why), "{refused:?}");
    // Where it cannot be read who may, anybody might.
    let people = scene.daemon.state_dir().join("approvers.toml");
    scene.daemon.stop()?;
    std::fs::write(people, "[[approver]]\nname = 1\n")?;
    scene.daemon.start()?;
    let refused = apply(&scene.daemon)?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("which cannot be read, may answer"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn two_people_have_to_say_the_same_and_one_is_not_two() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "approvals = { \"prod*\" = 2 }");
    let (alice, bob) = (scene.approver("alice", &[])?, scene.approver("bob", &[])?);
    let second = scene.key("second")?;
    scene.add("alice", &second).run()?.success()?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let first = scene.yes(&alice, "alice", &id, &[])?;
    let taken = scene.taken(&first)?;
    assert_eq!(
        (&taken["answer"], &taken["approvals"], &taken["wanted"]),
        (&json!("part"), &json!(1), &json!(2))
    );
    assert!(scene.holes().is_empty());
    scene.refused(&first, "has said yes already")?;
    scene.refused(
        &scene.yes(&second, "alice", &id, &[])?,
        "has said yes already",
    )?;
    let other = scene.yes(&bob, "bob", &id, &[("for", json!(60))])?;
    scene.refused(&other, "something else")?;
    // A restart forgets nobody.
    scene.daemon.kill()?;
    scene.daemon.start()?;
    let taken = scene.taken(&scene.yes(&bob, "bob", &id, &[])?)?;
    assert_eq!(
        (&taken["answer"], &taken["approvals"]),
        (&json!("yes"), &json!(2))
    );
    assert_eq!(scene.holes(), ["tcp/443"]);
    assert_eq!(
        scene.daemon.logged("answered")?[0]["with"],
        json!(["alice"])
    );
    // Another rule takes one.
    let id = scene.request(&mut shell, 8080);
    let one = scene.yes(&bob, "bob", &id, &[("for", json!(60))])?;
    assert_eq!(scene.taken(&one)?["answer"], "yes");
    // Whoever was removed meanwhile counts no more.
    let id = scene.request(&mut shell, 1000);
    scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
    let gone = scene.daemon.root(["approver", "remove", "alice"]).run();
    gone?.success()?;
    assert_eq!(
        scene.taken(&scene.yes(&bob, "bob", &id, &[])?)?["answer"],
        "part"
    );
    // Nor does whoever may answer for less by now.
    let narrowed = scene
        .daemon
        .root(["approver", "add", "bob", "--plain", "--policy", "lab*"]);
    let narrowed = narrowed
        .args(["--ssh-key"])
        .args([scene.key("bobs-other")?.public()]);
    narrowed.run()?.success()?;
    let carol = scene.approver("carol", &[])?;
    let third = scene.taken(&scene.yes(&carol, "carol", &id, &[])?)?;
    assert_eq!(
        (&third["answer"], &third["approvals"]),
        (&json!("part"), &json!(1)),
        "{third}"
    );
    // A signature without a name counts for one person, whosever the key is by now.
    let add = scene.add("carol", &alice);
    let added = add.args(["--answers-for", &super::scene::agent()]).run();
    added?.success()?;
    let again = scene.yes(&alice, "", &id, &[])?;
    scene.refused(&again, "when it was alice's")?;
    Ok(())
}

#[test]
fn a_code_comes_by_another_road_and_three_wrong_ones_close_the_question() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let config = scene.daemon.config();
    let text = std::fs::read_to_string(&config)?;
    let mut scene = scene;
    scene.daemon.stop()?;
    scene
        .daemon
        .write_config(&text.replace("\"never\"", "\"always\""))?;
    scene.daemon.start()?;
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let question = scene.question(&id)["question"].text()?.to_owned();
    let asked: Value = serde_json::from_str(&question)?;
    assert_eq!(asked["code_by"], "guard watch");
    let pending = scene.daemon.json(["pending"])?;
    let code = pending[0]["code"].text()?.to_owned();
    assert_eq!(code.len(), 3);
    let carried = scene.daemon.user(COURIER, ["pending"]).json()?;
    assert_eq!(carried[0]["code"], Value::Null, "{carried}");
    let answer = |code: &str| {
        scene
            .yes(&alice, "alice", &id, &[("code", json!(code))])
            .unwrap()
    };
    let wrong = if code == "123" { "321" } else { "123" };
    scene.refused(&answer(wrong), "code")?;
    scene.taken(&answer(&code))?;
    let id = scene.request(&mut shell, 1000);
    let answer = |code: &str| {
        scene
            .yes(&alice, "alice", &id, &[("code", json!(code))])
            .unwrap()
    };
    let pending = scene.daemon.json(["pending"])?;
    let _ = pending;
    let first = answer("");
    let code = scene.daemon.json(["pending"])?[0]["code"].clone();
    let right = answer(code.text()?);
    for _ in 0..3 {
        scene.refused(&first, "code")?;
    }
    scene.refused(&right, "wrong code")?;
    let closed = scene.daemon.root(["question", &id]).run()?;
    assert_eq!(closed.code(), Some(2), "{}", closed.stdout);
    scene.daemon.root(["approve", &id]).run()?.success()?;
    Ok(())
}

/// One whose program notes what it is told of requests, each of which takes a code.
fn telling(network: &Network, answers: &str) -> Tested<(SignedScene, PathBuf)> {
    let mut scene = SignedScene::new(network, answers);
    let told = scene.daemon.dir().join("told");
    std::fs::create_dir(&told)?;
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&told, everybody)?;
    let told = told.join("requests");
    let text = std::fs::read_to_string(scene.daemon.config())?;
    let text = text.replace("\"never\"", "\"always\"");
    scene.daemon.stop()?;
    scene.daemon.write_config(&format!(
        "on_request = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\non_request_user = \"{STRANGER}\"\n{text}",
        told.display()
    ))?;
    scene.daemon.start()?;
    Ok((scene, told))
}

/// The last code of so many that such a program was told.
fn told_code(told: &Path, count: usize) -> Tested<String> {
    let codes = || -> Tested<Vec<String>> {
        let text = std::fs::read_to_string(told).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str::<Value>);
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        let codes = lines.iter().map(|line| Ok(line["code"].text()?.to_owned()));
        codes.collect()
    };
    eventually("it is told", || Ok(codes()?.len() == count))?;
    Ok(codes()?.remove(count - 1))
}

/// A code is for the bytes that it was told with.
#[test]
fn a_request_that_has_changed_is_told_again_with_another_code() -> Tested {
    let network = Network::new()?;
    let (scene, told) = telling(&network, "")?;
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let first = told_code(&told, 1)?;
    let question = scene.question(&id);
    let socket = scene.daemon.socket();
    let guard = scene.daemon.program("guard")?;
    let (socket, guard) = (socket.display(), guard.display());
    let says =
        format!("{guard} --socket {socket} request 192.0.2.10:443 --reason queue >/dev/null");
    assert_eq!(shell.status_of(&says)?, 0);
    assert_ne!(scene.question(&id)["hash"], question["hash"]);
    let second = told_code(&told, 2)?;
    assert_ne!(first, second);
    let text = std::fs::read_to_string(&told)?;
    assert!(text.lines().nth(1).unwrap().contains("queue"), "{text}");
    let yes = |code: &str| scene.yes(&alice, "alice", &id, &[("code", json!(code))]);
    scene.refused(&yes(&first)?, "code")?;
    assert_eq!(scene.taken(&yes(&second)?)?["answer"], "yes");
    assert_eq!(scene.holes(), ["tcp/443"]);
    Ok(())
}

/// The courier that carries the first answer reads its code, and could have somebody else sign with it what is shown as another question.
#[test]
fn each_of_several_approvers_has_to_be_told_a_code_of_their_own() -> Tested {
    let network = Network::new()?;
    let (scene, told) = telling(&network, "approvals = 2")?;
    let (alice, bob) = (scene.approver("alice", &[])?, scene.approver("bob", &[])?);
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let told = |count: usize| told_code(&told, count);
    let yes =
        |key: &SshKey, name: &str, code: &str| scene.yes(key, name, &id, &[("code", json!(code))]);
    let first = told(1)?;
    let hers = yes(&alice, "alice", &first)?;
    let taken = scene.taken(&hers)?;
    assert_eq!(taken["answer"], "part", "{taken}");
    // A courier that heard nothing of it hands it in again. Three wrong codes would close the question.
    for _ in 0..3 {
        scene.refused(&hers, "said yes already")?;
    }
    scene.refused(&yes(&bob, "bob", &first)?, "code")?;
    let second = told(2)?;
    assert_ne!(first, second);
    assert_eq!(scene.daemon.json(["pending"])?[0]["code"], second.as_str());
    let taken = scene.taken(&yes(&bob, "bob", &second)?)?;
    assert_eq!(taken["answer"], "yes", "{taken}");
    assert_eq!(scene.holes(), ["tcp/443"]);
    Ok(())
}
