//! polkit's word before a hole is opened: real traffic on a real bus, and an authority that says what the test wants; and
//! polkit itself.

use std::fs;
use std::process::Command;

use guard_lab::{Output, Running, Tested, V4};
use serde_json::json;

use crate::agents::{
    PERSON,
    bus::Bus,
    policy,
    scene::{AgentScene, PATIENCE},
};

const SETTINGS: &str = "[approve]\npolkit = true\n";

fn scene(bus: &Bus) -> Tested<AgentScene> {
    AgentScene::of(&policy(), |daemon| {
        daemon
            .config(SETTINGS)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)
    })
}

/// A session in which two destinations were tried, which are asked about as r1 and r2.
fn asking(scene: &AgentScene) -> Tested<Running> {
    let mut session = scene.session(&format!(
        "{}; {}; echo tried; sleep 100",
        scene.attempt(V4)?,
        scene.attempt("192.0.2.11")?
    ))?;
    session.line_with("tried", PATIENCE)?;
    Ok(session)
}

fn person(scene: &AgentScene, args: &[&str]) -> Tested<Output> {
    Ok(scene.daemon.user(PERSON, args).run()?)
}

#[test]
fn a_hole_takes_polkits_yes_to_the_calling_process() -> Tested {
    let bus = Bus::new()?;
    let mut authority = bus.service(&["authority"])?;
    let scene = scene(&bus)?;
    let _session = asking(&scene)?;
    for (mode, said) in [
        ("no", "polkit says no"),
        ("challenge", "pkttyagent"),
        ("error", "systemctl status polkit"),
    ] {
        authority.tell(mode)?;
        authority.next("mode")?;
        for args in [&["approve", "r1"][..], &["open", "192.0.2.12:443"]] {
            let output = person(&scene, args)?;
            assert_eq!(output.code(), Some(2), "{mode}: {output:?}");
            assert!(output.stderr.contains(said), "{mode}: {output:?}");
            let asked = authority.next("check")?;
            assert_eq!(asked["action"], "org.guardd.approve");
            assert_eq!(asked["kind"], "unix-process");
            assert_eq!(asked["keys"], json!(["pid", "pidfd", "start-time", "uid"]));
            assert_eq!(asked["uid"], PERSON);
            assert_eq!(asked["flags"], 1);
        }
        assert_eq!(scene.daemon.json(["holes"])?, json!([]));
        assert_eq!(scene.daemon.list(["pending"])?.len(), 2);
    }
    authority.tell("yes")?;
    authority.next("mode")?;
    let output = person(&scene, &["approve", "r1"])?.success()?;
    assert!(output.stdout.contains("h1"), "{output:?}");
    assert_eq!(
        authority.next("check")?["details"],
        json!({"destination": "192.0.2.10:443"})
    );
    // What narrows is not asked about, nor are those whom it is not for.
    person(&scene, &["deny", "r2"])?.success()?;
    person(&scene, &["close", "--all"])?.success()?;
    let guard = scene.program("guard")?;
    let mut inside = scene.session(&format!("{guard} open {V4}:443 2>&1; echo ended $?"))?;
    inside.line_with("ended 2", PATIENCE)?;
    assert!(authority.is_quiet());
    Ok(())
}

#[test]
fn without_polkit_nothing_is_opened_and_the_message_says_how_to_mend_it() -> Tested {
    let bus = Bus::new()?;
    let scene = scene(&bus)?;
    let _session = asking(&scene)?;
    for output in [
        person(&scene, &["approve", "r1"])?,
        scene.daemon.root(["approve", "r1"]).run()?,
    ] {
        assert_eq!(output.code(), Some(2), "{output:?}");
        assert!(output.stderr.contains("polkit = false"), "{output:?}");
    }
    drop(bus);
    let output = person(&scene, &["approve", "r1"])?;
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert!(
        output.stderr.contains("polkit was to be asked"),
        "{output:?}"
    );
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    Ok(())
}

#[test]
fn a_polkit_that_hangs_holds_up_nobody_else_and_ends_in_a_no() -> Tested {
    let bus = Bus::new()?;
    let mut authority = bus.service(&["authority"])?;
    let scene = scene(&bus)?;
    let _session = asking(&scene)?;
    authority.tell("hang")?;
    authority.next("mode")?;
    let said = scene.daemon.dir().join("said");
    let mut waiting = scene.daemon.user(PERSON, ["approve", "r1"]).command()?;
    let mut waiting = Running::start(waiting.stderr(fs::File::create(&said)?))?;
    let asked = authority.next("check")?;
    scene.daemon.json(["status"])?;
    person(&scene, &["deny", "r2"])?.success()?;
    // Others were answered before polkit was given up.
    assert!(!waiting.has_ended());
    let cancelled = authority.next("cancel")?;
    assert_eq!(cancelled["cancellation"], asked["cancellation"]);
    assert_eq!(waiting.wait()?.code(), Some(2));
    assert!(fs::read_to_string(&said)?.contains("polkit was to be asked"));
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    Ok(())
}

/// polkit itself, on the test's bus, with the action that ships and rules of the test's: in directories that only it
/// sees.
fn polkit(bus: &Bus, rules: &str) -> Tested<Running> {
    let dir = bus.dir();
    let action = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/polkit/org.guardd.policy"
    );
    for (name, from) in [("actions", Some(action)), ("rules.d", None)] {
        fs::create_dir(dir.join(name))?;
        if let Some(from) = from {
            fs::copy(from, dir.join(name).join("org.guardd.policy"))?;
        }
    }
    fs::write(dir.join("rules.d/10-test.rules"), rules)?;
    let script = "mount --bind $0/actions /usr/share/polkit-1/actions && mount --bind $0/rules.d /etc/polkit-1/rules.d && \
                  exec setpriv --pdeathsig KILL -- /usr/lib/polkit-1/polkitd 2>&1";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-c", script])
        .arg(dir)
        .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    let mut running = Running::start(&mut command)?;
    running.line_with("Acquired the name", PATIENCE)?;
    Ok(running)
}

#[test]
fn polkit_itself_goes_by_its_rules() -> Tested {
    let bus = Bus::new()?;
    let user = "nobody";
    let rules = format!(
        "polkit.addRule(function (action, subject) {{ if (action.id == \"org.guardd.approve\") {{ \
         if (action.lookup(\"destination\") == \"192.0.2.11:443\") return polkit.Result.NO; \
         if (subject.user == \"{user}\") return polkit.Result.YES; }} }});\n"
    );
    let _polkit = polkit(&bus, &rules)?;
    let scene = scene(&bus)?;
    let _session = asking(&scene)?;
    let no = person(&scene, &["approve", "r2"])?;
    assert!(
        no.code() == Some(2) && no.stderr.contains("polkit says no"),
        "{no:?}"
    );
    person(&scene, &["approve", "r1"])?.success()?;
    assert_eq!(scene.daemon.list(["holes"])?.len(), 1);
    Ok(())
}

#[test]
fn without_rules_polkit_wants_the_caller_to_authenticate() -> Tested {
    let bus = Bus::new()?;
    let _polkit = polkit(&bus, "")?;
    let scene = scene(&bus)?;
    let _session = asking(&scene)?;
    let output = person(&scene, &["approve", "r1"])?;
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert!(output.stderr.contains("pkttyagent"), "{output:?}");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    Ok(())
}
