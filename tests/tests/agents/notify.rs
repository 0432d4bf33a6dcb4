//! `guard notify`, with a real bus and a notification server that presses what the test says.

use std::fs;

use guard_lab::{Json as _, Tested, V4, eventually};
use serde_json::{Value, json};

use crate::agents::{
    PERSON,
    bus::Bus,
    scene::{AgentScene, PATIENCE, patient},
};

/// The texts of a notification.
fn text(notification: &Value) -> Tested<String> {
    Ok(format!(
        "{}\n{}",
        notification["summary"].text()?,
        notification["body"].text()?
    ))
}

#[test]
fn a_request_is_shown_and_a_button_answers_it() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let mut server = bus.service(&["desktop"])?;
    let notify = bus.notify(&scene.daemon, &[])?;
    let _session = scene.session(&format!("{}; sleep 60", scene.attempt(V4)?))?;
    let shown = server.next("notify")?;
    let words = text(&shown)?;
    // The name is in quotes where the program has ended before guardd looks.
    let words = words.replace('"', "");
    for part in [
        "tcp 192.0.2.10:443, for guard-lab",
        "production (confirm): it is production",
        "policy asks",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(
        shown["actions"],
        json!(["yes-15m", "Yes, 15 min", "yes-5m", "Yes, 5 min", "no", "No"])
    );
    assert_eq!(shown["timeout"], 0);
    server.press(&shown, "yes-5m")?;
    let told = server.next("notify")?;
    assert_eq!(
        (&told["replaces"], &told["actions"]),
        (&shown["id"], &json!([]))
    );
    assert!(text(&told)?.contains("open until"), "{told}");
    let hole = scene.daemon.json(["holes"])?[0].clone();
    assert_eq!(
        hole["opened_by"],
        scene.daemon.json(["sessions"])?[0]["user"]
    );
    let trail = scene.daemon.audited("answered")?;
    assert_eq!(trail[0]["seconds"], 300.0);
    notify.end()?;
    Ok(())
}

#[test]
fn no_is_an_answer() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let mut server = bus.service(&["desktop"])?;
    let _notify = bus.notify(&scene.daemon, &[])?;
    let _session = scene.session(&format!("{}; sleep 60", scene.attempt(V4)?))?;
    let shown = server.next("notify")?;
    server.press(&shown, "no")?;
    let told = server.next("notify")?;
    assert!(text(&told)?.contains("not asked again"), "{told}");
    assert_eq!(scene.daemon.json(["pending"])?, json!([]));
    assert_eq!(scene.daemon.audited("answered")?[0]["answer"], "no");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    Ok(())
}

/// A session may put its own bus where the person's was, and that says of itself what it likes.
#[test]
fn a_button_on_a_bus_of_the_sessions_own_answers_nothing() -> Tested {
    let scene = AgentScene::new()?;
    let run = ["run", "--policy", "asks", "--quiet", "--"];
    let bus = Bus::started_by(scene.daemon.user(PERSON, run).command()?)?;
    let mut server = bus.service(&["desktop"])?;
    let notify = bus.notify(&scene.daemon, &[])?;
    let _session = scene.session(&format!("{}; sleep 60", scene.attempt(V4)?))?;
    let shown = server.next("notify")?;
    server.press(&shown, "no")?;
    notify.says("is not answered")?;
    assert_eq!(scene.daemon.list(["pending"])?.len(), 1);
    Ok(())
}

#[test]
fn connections_wait_while_it_is_there() -> Tested {
    let scene = AgentScene::under(&patient(), "")?;
    let bus = Bus::new()?;
    let mut server = bus.service(&["desktop"])?;
    let notify = bus.notify(&scene.daemon, &[])?;
    // It has begun to follow once it has shown something.
    let _first = scene.writing("/first")?;
    server.next("notify")?;
    let _second = scene.writing("/second")?;
    let shown = loop {
        let shown = server.next("notify")?;
        if text(&shown)?.contains("/second") && text(&shown)?.contains("It waits: until") {
            break shown;
        }
    };
    assert_eq!(shown["urgency"], 2);
    assert!(
        text(&shown)?.contains("PUT http://a/second, for "),
        "{shown}"
    );
    let held = |path: &str| -> Tested<_> {
        let all = scene.daemon.json(["pending"])?;
        let all = all.list()?.iter();
        Ok(all
            .filter(|one| one["http"]["path"] == path)
            .any(|one| one["held"] == true))
    };
    assert!(held("/second")?);
    server.press(&shown, "no")?;
    eventually("it is answered", || Ok(!held("/second")?))?;
    notify.end()?;
    let _third = scene.writing("/third")?;
    eventually("asked", || {
        Ok(scene
            .daemon
            .json(["pending"])?
            .to_string()
            .contains("/third"))
    })?;
    assert!(!held("/third")?);
    Ok(())
}

#[test]
fn it_says_who_else_has_answered() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let mut server = bus.service(&["desktop"])?;
    let _notify = bus.notify(&scene.daemon, &[])?;
    let mut session = scene.session(&format!(
        "{}; read x; {}; read x",
        scene.attempt(V4)?,
        scene.attempt("192.0.2.11")?
    ))?;
    let shown = server.next("notify")?;
    scene.daemon.json(["deny", "r1"])?;
    assert_eq!(server.next("close")?["id"], shown["id"]);
    let told = server.next("notify")?;
    assert!(
        text(&told)?.contains("r1 is answered") && text(&told)?.contains("no, by root"),
        "{told}"
    );
    // Where nobody has answered, it goes.
    session.write("\n")?;
    let shown = server.next("notify")?;
    session.write("\n")?;
    assert_eq!(server.next("close")?["id"], shown["id"]);
    assert!(server.is_quiet());
    Ok(())
}

#[test]
fn servers_and_daemons_come_and_go() -> Tested {
    let mut scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let mut server = bus.service(&["desktop"])?;
    let notify = bus.notify(&scene.daemon, &[])?;
    let mut session = scene.session(&format!(
        "{}; read x; {}; sleep 60",
        scene.attempt(V4)?,
        scene.attempt("192.0.2.11")?
    ))?;
    let before = server.next("notify")?;
    drop(server);
    let mut server = bus.service(&["desktop", "--plain"])?;
    let again = server.next("notify")?;
    assert_eq!(again["summary"], before["summary"]);
    assert_eq!(again["actions"], json!([]));
    assert!(text(&again)?.contains("guard approve r1"), "{again}");
    drop(server);
    let mut server = bus.service(&["desktop"])?;
    server.next("notify")?;
    scene.daemon.kill()?;
    notify.says("waits for guardd")?;
    scene.daemon.start()?;
    notify.says("guardd is back")?;
    session.write("\n")?;
    let other = server.next("notify")?;
    assert!(text(&other)?.contains("192.0.2.11"), "{other}");
    server.press(&other, "yes-15m")?;
    let told = server.next("notify")?;
    assert_eq!(told["replaces"], other["id"]);
    assert_eq!(scene.daemon.audited("answered")?[0]["seconds"], 900.0);
    Ok(())
}

#[test]
fn an_agents_words_are_no_markup_and_a_crowd_of_requests_is_summed_up() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let mut server = bus.service(&["desktop"])?;
    let guard = scene.program("guard")?;
    let reason = "<b>all fine</b> & \\033[2Jyes";
    let ask =
        format!("{guard} request 192.0.2.40:443 --reason \"$(printf '{reason}')\" >/dev/null");
    // In networks of their own, or they would be one request.
    let crowd: String = (41..48)
        .map(|network| {
            format!(
                "; {}",
                scene.attempt(&format!("2001:db8:7:{network}::10")).unwrap()
            )
        })
        .collect();
    let mut session = scene.session(&format!("{ask}{crowd}; echo asked; sleep 60"))?;
    session.line_with("asked", PATIENCE)?;
    let _notify = bus.notify(&scene.daemon, &[])?;
    let shown = server.next("notify")?;
    let words = text(&shown)?;
    assert!(
        words.contains("&lt; b&gt;all fine&lt; /b&gt; &amp;"),
        "{words}"
    );
    assert!(
        !words.contains("<b>") && !words.contains('\u{1b}'),
        "{words}"
    );
    for _ in 0..4 {
        server.next("notify")?;
    }
    let rest = server.next("notify")?;
    assert!(text(&rest)?.contains("3 more requests wait"), "{rest}");
    server.press(&shown, "no")?;
    // There is room for one more now. What came of the answer is told before or after that.
    while !text(&server.next("notify")?)?.contains("2 more requests wait") {}
    Ok(())
}

/// A policy file that lets a session connect to the bus: else it would not get there.
fn with_bus(scene: &AgentScene, bus: &Bus) -> Tested<String> {
    let path = bus.address.split("path=").nth(1).unwrap();
    let path = path.split([',', ';']).next().unwrap();
    let policy = format!(
        "{}\n[unix]\nallow = [\"{path}\"]\n",
        crate::agents::policy()
    );
    let file = scene.daemon.tag().dir().join("with-bus.toml");
    fs::write(&file, policy)?;
    Ok(file.display().to_string())
}

#[test]
fn a_guarded_process_presses_in_vain() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    // The agent is the desktop's notification server.
    let lab = scene.program("guard-lab")?;
    let script = format!("{} ; exec {lab} desktop", scene.attempt(V4)?);
    let policy = with_bus(&scene, &bus)?;
    let run = ["run", "--policy", &policy, "--", "sh", "-c", &script];
    let mut server = bus.serve(scene.daemon.user(PERSON, run).command()?)?;
    let notify = bus.notify(&scene.daemon, &[])?;
    let shown = server.next("notify")?;
    for key in ["yes-5m", "yes-15m", "no"] {
        server.press(&shown, key)?;
    }
    // The bus takes it for the guard run that has connected it.
    notify.says("r1 is not answered")?;
    assert!(server.is_quiet());
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    assert_eq!(scene.daemon.json(["pending"])?[0]["id"], "r1");
    Ok(())
}

#[test]
fn a_server_that_hangs_is_a_clear_line_and_nobody_follows_any_more() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let _server = bus.service(&["desktop", "--hang"])?;
    let mut notify = bus.notify(&scene.daemon, &[])?;
    let _session = scene.session(&format!("{}; sleep 90", scene.attempt(V4)?))?;
    notify.says("no notification can be shown, and it is tried again")?;
    scene.daemon.json(["pending"])?;
    assert_eq!(notify.running.wait()?.code(), Some(2));
    notify.says("cannot notify anybody")?;
    notify.says("guard notify --bell")?;
    Ok(())
}

#[test]
fn without_a_desktop_there_is_the_bell() -> Tested {
    let scene = AgentScene::new()?;
    let nowhere = format!("unix:path={}/no-bus", scene.daemon.dir().display());
    let output = scene
        .daemon
        .user(PERSON, ["notify"])
        .env("DBUS_SESSION_BUS_ADDRESS", &nowhere)
        .run()?;
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert!(output.stderr.contains("guard notify --bell"), "{output:?}");
    let said = scene.daemon.dir().join("rung");
    let mut command = scene.daemon.user(PERSON, ["notify", "--bell"]).command()?;
    command.stderr(fs::File::create(&said)?);
    let mut bell = guard_lab::Running::start(&mut command)?;
    let _session = scene.session(&format!("{0}; {0}; sleep 60", scene.attempt(V4)?))?;
    bell.line_with("guard approve r1", PATIENCE)?;
    assert!(
        bell.line(PATIENCE)
            .is_ok_and(|line| line.contains("guard deny r1"))
    );
    eventually("it rings once", || Ok(fs::read(&said)? == b"\x07"))?;
    Ok(())
}

#[test]
fn inside_a_session_nobody_is_notified() -> Tested {
    let scene = AgentScene::new()?;
    let bus = Bus::new()?;
    let _server = bus.service(&["desktop"])?;
    let guard = scene.program("guard")?;
    let script = format!(
        "DBUS_SESSION_BUS_ADDRESS='{}' {guard} notify 2>&1; echo ended $?",
        bus.address
    );
    let policy = with_bus(&scene, &bus)?;
    let run = ["run", "--policy", &policy, "--", "sh", "-c", &script];
    let mut session = scene.daemon.user(PERSON, run).spawn()?;
    session.line_with("no process under the guard", PATIENCE)?;
    session.line_with("ended 2", PATIENCE)?;
    Ok(())
}
