//! Who may enrol keys, carry, and hand in.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use guard_lab::{Json as _, Network, PATIENCE, Tested, eventually, exec, patience};
use serde_json::{Value, json};

use super::scene::{CALLS, COURIER, SignedScene, agent};

const REFUSED: &str = "org.guardd.Control.Refused";

#[test]
fn root_enrols_keys_that_take_a_touch_and_nobody_else_does() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let key = scene.key("alice")?;
    let public = key.file.with_extension("pub");
    let public = public.to_str().unwrap();
    let world = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(public, world)?;
    let add = ["approver", "add", "alice", "--ssh-key", public];
    let plain = scene.daemon.root(add).run()?;
    assert_eq!(plain.code(), Some(2));
    assert!(
        plain.stderr.contains("nobody has to touch"),
        "{}",
        plain.stderr
    );
    let private = key.file.to_str().unwrap();
    let private = ["approver", "add", "alice", "--plain", "--ssh-key", private];
    let private = scene.daemon.root(private).run()?;
    assert!(private.stderr.contains("private key"), "{}", private.stderr);
    for uid in [guard_lab::AGENT, COURIER] {
        let text = std::fs::read_to_string(public)?;
        let copy = scene.daemon.write_for_agents("copy", &text)?;
        let add = scene
            .daemon
            .user(uid, ["approver", "add", "alice", "--plain", "--ssh-key"]);
        let refused = add.args([copy]).run()?;
        assert_eq!(refused.code(), Some(2), "{uid}: {}", refused.stdout);
    }
    let listed = scene.daemon.json(["approver", "list"])?;
    assert_eq!(listed, json!([]));
    let done = scene
        .daemon
        .root(add)
        .args(["--plain", "--answers-for", &agent()]);
    let done = done.run()?.success()?;
    assert!(
        done.stderr.contains("can say yes with it"),
        "{}",
        done.stderr
    );
    let listed = scene.daemon.json(["approver", "list"])?;
    assert_eq!(listed[0]["keys"][0]["fingerprint"], key.id);
    let invited = ["approver", "invite", "carol", "--answers-for", "root"];
    let invited = scene.daemon.root(invited).run()?.success()?;
    assert!(
        invited
            .stderr
            .contains("no courier carries requests of root's"),
        "{}",
        invited.stderr
    );
    let added = &scene.daemon.logged("approver-added")?[0];
    assert_eq!(
        (&added["approver"], &added["fido"]),
        (&json!("alice"), &json!(false))
    );
    assert!(added["public_key"].text()?.starts_with("ssh-ed25519 AAAA"));
    Ok(())
}

#[test]
fn whoever_was_invited_presents_one_key_and_root_compares() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    let (key, other) = (scene.key("bob")?, scene.key("mallory")?);
    let invite = [
        "approver",
        "invite",
        "bob",
        "--for",
        "5m",
        "--answers-for",
        &agent(),
    ];
    let invited = scene.daemon.json(invite)?;
    let token = invited["invitation"].text()?;
    let present = |token: &str, key: &guard_lab::SshKey| {
        let present = scene
            .daemon
            .root(["approver", "present", token, "--ssh-key"]);
        present
            .args([key.file.with_extension("pub")])
            .run()
            .unwrap()
    };
    assert_eq!(present("another", &key).code(), Some(2));
    let presented = present(token, &key).success()?;
    assert!(presented.stdout.contains(&key.id), "{}", presented.stdout);
    assert_eq!(present(token, &other).code(), Some(2), "it counts once");
    let accept = |fingerprint: &str| {
        let accept = ["approver", "accept", "bob", fingerprint, "--plain"];
        scene.daemon.root(accept).run().unwrap()
    };
    let wrong = accept(&other.id);
    assert_eq!(wrong.code(), Some(2), "{}", wrong.stdout);
    accept(&key.id).success()?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    scene.taken(&scene.yes(&key, "bob", &id, &[])?)?;
    scene.daemon.stop()?;
    scene.daemon.start()?;
    let listed = scene.daemon.json(["approver", "list"])?;
    assert_eq!(listed[0]["name"], "bob", "it outlives guardd");
    Ok(())
}

#[test]
fn nobody_answers_for_a_user_who_is_not_there() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let key = scene.key("alice")?.file.with_extension("pub");
    let add = ["approver", "add", "alice", "--plain", "--ssh-key"];
    let add = [&add[..], &[key.to_str().unwrap()]].concat();
    let invite = vec!["approver", "invite", "alice"];
    // Whoever has been added is somebody, for whom nothing has to be said any more.
    for verb in [invite, add] {
        // Without a word of it, alice answers for a user of that name.
        for (more, user) in [
            (&[][..], "alice"),
            (&["--answers-for", "no-such"], "no-such"),
        ] {
            let refused = scene.daemon.root(&verb).args(more).run()?;
            assert_eq!(refused.code(), Some(2), "{}", refused.stdout);
            let said = format!("the user \"{user}\": on this machine there is none");
            assert!(refused.stderr.contains(&said), "{}", refused.stderr);
            let fix = "sudo guard approver invite alice --answers-for dev";
            assert!(refused.stderr.contains(fix), "{}", refused.stderr);
        }
        let there = ["--answers-for", &agent()];
        let there = scene.daemon.root(&verb).args(there).run()?;
        there.success()?;
    }
    Ok(())
}

#[test]
fn what_is_shortened_and_what_is_off_is_said() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    let invite = |time: &str| {
        let invite = ["approver", "invite", "bob", "--for", time, "--answers-for"];
        let said = scene.daemon.root(invite).args([agent()]).run().unwrap();
        said.success().unwrap().stderr
    };
    assert!(invite("1h").contains("counts for 10m instead of 1h"));
    assert_eq!(invite("5m"), "");
    let listed = |scene: &SignedScene| {
        let listed = scene.daemon.root(["approver", "list"]).run().unwrap();
        listed.success().unwrap().stderr
    };
    assert_eq!(listed(&scene), "");
    scene.daemon.stop()?;
    scene.daemon.write_config("")?;
    scene.daemon.start()?;
    let off = listed(&scene);
    assert!(off.contains("no signed answers are taken"), "{off}");
    Ok(())
}

#[test]
fn nobody_inside_hands_in_or_enrols() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let signed = scene.yes(&alice, "alice", &id, &[])?;
    let file = scene
        .daemon
        .write_for_agents("answer", &signed.to_string())?;
    let (socket, guard) = (scene.daemon.socket(), scene.daemon.program("guard")?);
    let (socket, guard) = (socket.display(), guard.display());
    for args in [
        format!("answer --signed {}", file.display()),
        format!("question {id}"),
        "approver list".to_owned(),
        "approver invite eve".to_owned(),
        format!("approver add eve --plain --ssh-key {}", file.display()),
        "approver remove alice".to_owned(),
    ] {
        let status = shell.status_of(&format!("{guard} --socket {socket} {args}"));
        assert_eq!(status?, 2, "{args}");
    }
    assert!(scene.holes().is_empty());
    scene.taken(&signed)?;
    Ok(())
}

#[test]
fn a_courier_carries_looks_and_says_no_and_nothing_else() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let courier = |args: &[&str]| -> Tested<_> { Ok(scene.daemon.user(COURIER, args).run()?) };
    assert_eq!(
        scene.daemon.user(COURIER, ["pending"]).json()?,
        json!([]),
        "of whom nobody answers for it sees nothing"
    );
    assert_eq!(courier(&["question", &id])?.code(), Some(2));
    scene.approver("alice", &[])?;
    let seen = scene.daemon.user(COURIER, ["pending"]).json()?;
    assert_eq!(seen[0]["id"], id.as_str());
    courier(&["question", &id])?.success()?;
    for args in [
        &["approve", &id][..],
        &["open", "192.0.2.10:443", "--session", shell.session()],
        &["stop", shell.session()],
        &["status"],
        &["run", "--policy", "asks", "--", "true"],
        &["approver", "invite", "eve"],
    ] {
        let refused = courier(args)?;
        assert!(
            matches!(refused.code(), Some(2 | 125)),
            "{args:?}: {}",
            refused.stdout
        );
        assert!(
            refused.stderr.contains("courier"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    courier(&["deny", &id])?.success()?;
    let answered = &scene.daemon.logged("answered")?[0];
    assert_eq!(answered["from"]["right"], "courier");
    assert_eq!(answered["by"], format!("{COURIER}, unsigned"));
    Ok(())
}

/// Of whose sessions it counts them it does not hear, and there is nothing else in it.
#[test]
fn a_courier_may_tell_others_whether_the_machine_enforces_and_how_much_there_is() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let open = ["open", "192.0.2.10", "--ports", "tcp/1000", "--session"];
    let opened = scene.daemon.root(open).args([shell.session()]).run();
    opened?.success()?;
    let question: Value = serde_json::from_str(scene.question(&id)["question"].text()?)?;
    let script = scene.daemon.write_for_agents("calls.py", CALLS)?;
    let socket = scene.daemon.socket();
    let call = |uid: u32, method: &str| -> Tested<Value> {
        let mut python = scene.daemon.on_machine(uid, "/usr/bin/python3");
        let said = exec::output(python.arg(&script).arg(&socket).arg(method))?;
        Ok(serde_json::from_slice(&said.stdout)?)
    };
    for uid in [COURIER, guard_lab::AGENT, 0] {
        eventually("it is told what guard status has", || -> Tested<bool> {
            let told = call(uid, "Presence")?["parameters"].take();
            // What is written to the log in between comes to an end.
            let status = scene.daemon.json(["status"])?;
            let (version, audit) = (&status["version"], &status["audit"]);
            let expected = json!({
                "machine": question["machine"], "version": version, "enforcing": true,
                "problem": null, "sessions": 1, "requests": 1, "holes": 1,
                "audit": {"number": audit["number"], "hash": audit["hash"]}, "fleet": null,
            });
            Ok(told == expected)
        })?;
    }
    assert_eq!(call(COURIER, "Status")?["error"], REFUSED);
    let inside = format!(
        "/usr/bin/python3 {} {} Presence",
        script.display(),
        socket.display()
    );
    shell.tell(&inside)?;
    let inside: Value = serde_json::from_str(&shell.line_with("parameters")?)?;
    assert_eq!(inside["error"], REFUSED, "{inside}");

    let live = scene.daemon.pin_dir().join("live");
    std::fs::remove_file(live.join("link_connect4"))?;
    let told = call(COURIER, "Presence")?["parameters"].take();
    assert_eq!(told["enforcing"], false);
    let problem = told["problem"].text()?;
    assert!(problem.contains("connect4"), "{problem}");
    Ok(())
}

/// Whoever was made one and has sessions of their own would think that nothing runs.
#[test]
fn a_courier_is_told_why_it_sees_nothing() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let _shell = scene.shell();
    for verb in ["sessions", "pending"] {
        let told = scene.daemon.user(COURIER, [verb]).run()?.success()?.stderr;
        assert!(told.contains("this user is a courier"), "{verb}: {told}");
        let own = scene.daemon.agent([verb]).run()?.success()?.stderr;
        assert!(!own.contains("courier"), "{verb}: {own}");
    }
    Ok(())
}

/// Of whom nobody answers for it sees nothing, and closes nothing.
#[test]
fn a_courier_sees_and_closes_what_is_of_those_for_whom_somebody_answers() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let shell = scene.shell();
    let open = ["open", "192.0.2.10", "--ports", "tcp/443", "--session"];
    let open = || scene.daemon.root(open).args([shell.session()]).run();
    open()?.success()?;
    let courier = |args: &[&str]| -> Tested<_> { Ok(scene.daemon.user(COURIER, args).run()?) };
    let listed = |what: &str| {
        let listed = courier(&[what, "--json"]).unwrap().success().unwrap();
        listed.stdout.contains(shell.session())
    };
    let lists = ["sessions", "holes", "log"];
    assert_eq!(lists.map(listed), [false; 3]);
    courier(&["close", "--all"])?.success()?;
    assert_eq!(courier(&["close", "h1"])?.code(), Some(2));
    assert_eq!(
        courier(&["flows", "--session", shell.session()])?.code(),
        Some(0)
    );
    assert_eq!(scene.holes(), ["tcp/443"]);
    scene.approver("alice", &[])?;
    assert_eq!(lists.map(listed), [true; 3]);
    let hole = scene.daemon.json(["holes"])?[0]["id"].clone();
    courier(&["close", hole.text()?])?.success()?;
    assert!(scene.holes().is_empty());
    let closed = &scene.daemon.logged("hole-close")?[0];
    assert_eq!(closed["by"], format!("{COURIER}, unsigned"));
    assert_eq!(closed["from"]["right"], "courier");
    let who = scene.daemon.root(["approver", "remove", "alice"]).run();
    who?.success()?;
    assert_eq!(lists.map(listed), [false; 3]);
    Ok(())
}

#[test]
fn no_signed_answer_is_taken_unless_the_settings_say_so() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let signed = scene.yes(&alice, "alice", &id, &[])?;
    let text = std::fs::read_to_string(scene.daemon.config())?;
    scene.daemon.stop()?;
    let (before, _) = text.split_once("[answers]").unwrap();
    scene.daemon.write_config(before)?;
    scene.daemon.start()?;
    let answer = |scene: &SignedScene| {
        let answer = scene.daemon.root(["answer", "--signed", "-"]);
        answer.input(signed.to_string()).run().unwrap()
    };
    let refused = answer(&scene);
    assert!(
        refused.stderr.contains("no signed answers are taken"),
        "{}",
        refused.stderr
    );
    scene.daemon.stop()?;
    scene.daemon.write_config(&text)?;
    scene.daemon.start()?;
    answer(&scene).success()?;
    Ok(())
}

/// Twenty a second are read of one user, and fill no log.
#[test]
fn who_tries_signatures_is_stopped() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let bad = json!({"method": "org.guardd.Control.AnswerSigned", "parameters": {
        "answer": "{}", "key": "SHA256:none", "kind": "ssh", "signature": "AAAA",
        "authenticator_data": null, "client_data": null,
    }});
    let mut stream = UnixStream::connect(scene.daemon.socket())?;
    stream.set_read_timeout(Some(patience(PATIENCE)))?;
    let frame = format!("{bad}\0");
    let mut answers = String::new();
    let mut tried = 0;
    // It is closed in the second in which too many came.
    while stream.write_all(frame.as_bytes()).is_ok() {
        tried += 1;
        let mut byte = [0];
        loop {
            match stream.read(&mut byte) {
                Ok(1) if byte[0] != 0 => answers.push(byte[0].into()),
                Ok(1) => break,
                _ => {
                    tried = u64::MAX;
                    break;
                }
            }
        }
        if tried == u64::MAX || tried > 10_000 {
            break;
        }
    }
    assert!(
        answers.contains("signed by nobody that is known"),
        "{answers:.400}"
    );
    let answered = answers.matches("is enrolled").count() as u64;
    eventually("all are told of", || {
        let refused = scene.daemon.logged("answer-refused")?.into_iter();
        let told = refused.map(|one| one["count"].as_u64().unwrap());
        Ok(told.sum::<u64>() == answered)
    })?;
    let records = scene.daemon.logged("answer-refused")?.len() as u64;
    assert!(records < answered, "{records} records of {answered}");
    let status: Value = scene.daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true);
    Ok(())
}
