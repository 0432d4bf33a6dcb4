//! Policies over NATS: pushed by a person, kept for machines that come later, put in force by guardd.

use std::{fs, path::Path};

use guard_lab::{
    ALLOWS_NAMED, Attempt, Json as _, Network, Shell, SshKey, Tested, V4, bins, eventually, exec,
};
use serde_json::{Value, json};

use super::scene::{Fleet, GROUP, PERSON, lines};
use crate::signed::scene::COURIER;

/// The base of a fleet that denies production's first address.
const BASE: &str = "version = 1\nname = \"floor\"\ndefault = \"allow\"\n\
                    [[rule]]\nname = \"never\"\nto = [\"192.0.2.10\"]\naction = \"deny\"\n";

/// With a guardd that is in the group, and somebody who may sign.
fn begin<'n>(network: &'n Network, settings: &str) -> Tested<(Fleet<'n>, SshKey)> {
    let mut fleet = Fleet::new(network, 1)?;
    fleet.is_there()?;
    let key = SshKey::new(fleet.dir().join("alice"))?;
    let signers = fleet.dir().join("signers");
    fs::write(
        &signers,
        format!("alice {}", fs::read_to_string(key.public())?),
    )?;
    fleet.scene.daemon.stop()?;
    fleet.scene.daemon.write_config(&format!(
        "resolvers = [\"127.0.0.1:1\"]\n[answers]\ncouriers = [\"{COURIER}\"]\n[fleet]\ngroup = \"{GROUP}\"\nsigners = {signers:?}\n{settings}"
    ))?;
    fleet.scene.daemon.write_policy("open", ALLOWS_NAMED)?;
    fleet.scene.daemon.start()?;
    Ok((fleet, key))
}

/// Whom the server knows, and whether the person may bring policies.
fn list(fleet: &Fleet<'_>, policies: bool) -> Tested<String> {
    let (machine, person) = (fleet.key("machine")?, fleet.key("person")?);
    Ok(format!(
        "[[machine]]\nid = \"{}\"\nkey = \"{machine}\"\ngroup = \"{GROUP}\"\n\
         [[person]]\nkey = \"{person}\"\ngroups = [\"{GROUP}\"]\npolicies = {policies}\n",
        fleet.machine
    ))
}

/// Signs a directory's policies by `guard policy sign`; gives the file.
fn bundle(fleet: &Fleet<'_>, key: &SshKey, serial: u64, base: &str) -> Tested<String> {
    let dir = fleet.dir().join(format!("policies-{serial}"));
    fs::create_dir(&dir)?;
    fs::write(dir.join("floor.toml"), base)?;
    let sign = fleet
        .scene
        .daemon
        .root(["policy", "sign", "--yes", "--group", GROUP]);
    let sign = sign.args(["--base", "floor", "--serial", &serial.to_string(), "--key"]);
    let signed = sign.args([&key.file, &dir]).run()?.success()?;
    let file = fleet.dir().join(format!("{serial}.bundle"));
    fs::write(&file, signed.stdout)?;
    Ok(file.display().to_string())
}

fn open(fleet: &Fleet<'_>) -> Tested<bool> {
    let mut shell = Shell::start(&fleet.scene.daemon, "open")?;
    Ok(shell.reaches(&Attempt::tcp(V4, 443))?)
}

fn push(fleet: &Fleet<'_>, file: &str, time: &str) -> Tested<(Option<i32>, String)> {
    let pushed = exec::output(&mut fleet.command("person", &["push", "--for", time, file])?)?;
    let said = String::from_utf8_lossy(&pushed.stdout).into_owned();
    Ok((pushed.status.code(), said))
}

#[test]
fn who_may_pushes_policies_and_is_told_what_each_machine_has_in_force() -> Tested {
    let (network, _production) = Network::with_production()?;
    let (mut fleet, key) = begin(&network, "")?;
    assert!(open(&fleet)?);
    let file = bundle(&fleet, &key, 7, BASE)?;

    // The server does not let everybody.
    let (code, said) = push(&fleet, &file, "2s")?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("have not said so yet"), "{said}");
    assert!(open(&fleet)?);

    fs::write(fleet.list(), list(&fleet, true)?)?;
    let users = fleet.said("person", &["rights", fleet.list().to_str().unwrap()])?;
    fleet.nats.reload(&users)?;
    let (code, said) = push(&fleet, &file, "60s")?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, format!("{} has 7 in force\n", fleet.machine));
    assert!(!open(&fleet)?);
    let machines = fleet.machines()?;
    let of_fleet = &machines[0]["guardd"]["fleet"];
    assert_eq!(
        (&of_fleet["serial"], &of_fleet["base"], &of_fleet["by"]),
        (&json!(7), &json!("floor"), &json!(["alice"]))
    );
    let status = fleet.said("person", &["status", "--json"])?;
    let status: Value = serde_json::from_str(&status)?;
    let policies = json!([{"group": GROUP, "serial": 7, "machines": 1}]);
    assert_eq!(
        (&status["machines"], &status["policies"]),
        (&json!(1), &policies)
    );

    // What guardd refuses is told, and changes nothing.
    let eve = SshKey::new(fleet.dir().join("eve"))?;
    let forged = bundle(&fleet, &eve, 8, ALLOWS_NAMED)?;
    let (code, said) = push(&fleet, &forged, "60s")?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("0 of the people who may sign it have"),
        "{said}"
    );
    assert!(!open(&fleet)?);
    let status = fleet.said("person", &["status"])?;
    assert!(
        status.contains("1 says that something is wrong"),
        "{status}"
    );
    // Without a server, all stays.
    fleet.kill();
    fleet.scene.daemon.kill()?;
    fleet.scene.daemon.start()?;
    assert!(!open(&fleet)?);
    Ok(())
}

/// `guard fleet`, as a user types it: with the person's settings, where they are looked for.
fn guard_fleet(fleet: &Fleet<'_>, user: u32, args: &[&str]) -> Tested<std::process::Output> {
    let tag = fleet.scene.daemon.tag();
    // It becomes the program that lies beside it.
    bins::for_everybody("guard-fleet", tag)?;
    let program = bins::for_everybody("guard", tag)?;
    let mut command = fleet.scene.daemon.on_machine(user, program);
    command.arg("--socket").arg(fleet.scene.daemon.socket());
    command.arg("fleet").args(args);
    command.env("HOME", fleet.dir().join("person"));
    Ok(exec::output(&mut command)?)
}

#[test]
fn guard_fleet_signs_pushes_and_shows_what_machines_have() -> Tested {
    let network = Network::new()?;
    let (mut fleet, key) = begin(&network, "")?;
    fs::write(fleet.list(), list(&fleet, true)?)?;
    let users = fleet.said("person", &["rights", fleet.list().to_str().unwrap()])?;
    fleet.nats.reload(&users)?;
    let home = fleet.dir().join("person");
    let settings = home.join(".config/guard");
    fs::create_dir_all(&settings)?;
    fs::copy(home.join("fleet.toml"), settings.join("fleet.toml"))?;
    let dir = home.join("policies");
    fs::create_dir(&dir)?;
    fs::write(dir.join("floor.toml"), BASE)?;
    let text = |path: &Path| path.to_str().map(str::to_owned).unwrap_or_default();
    let (signing, policies) = (text(&key.file), text(&dir));
    let said_to = |user: u32, args: &[&str]| -> Tested<String> {
        let done = guard_fleet(&fleet, user, args)?;
        assert!(done.status.success(), "{args:?}: {done:?}");
        Ok(String::from_utf8(done.stdout)?)
    };
    let said = |args: &[&str]| said_to(PERSON, args);
    let sign = [
        "policy", "sign", "--yes", "--group", GROUP, "--base", "floor",
    ];
    let more = ["--serial", "7", "--key", &signing, &policies];
    // OpenSSH signs for users that the machine has.
    let signed = said_to(0, &[&sign[..], &more].concat())?;
    let file = home.join("7.bundle");
    fs::write(&file, &signed)?;
    let pushed = said(&["policy", "push", "--for", "60s", &text(&file)])?;
    assert_eq!(pushed, format!("{} has 7 in force\n", fleet.machine));
    let machines = lines(&said(&["machines", "--json"])?)?;
    assert_eq!(machines[0]["guardd"]["fleet"]["serial"], 7, "{machines:?}");
    assert!(said(&["machines"])?.contains(&fleet.machine[..8]));
    let status: Value = serde_json::from_str(&said(&["status", "--json"])?)?;
    let in_force = json!([{"group": GROUP, "serial": 7, "machines": 1}]);
    assert_eq!(status["policies"], in_force, "{status}");
    // What is none is refused as guard-fleet refuses it.
    let none = guard_fleet(
        &fleet,
        PERSON,
        &["policy", "push", &text(&dir.join("floor.toml"))],
    )?;
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    Ok(())
}

#[test]
fn a_machine_that_comes_later_gets_the_last_that_is_kept() -> Tested {
    let (network, _production) = Network::with_production()?;
    let (mut fleet, key) = begin(&network, "")?;
    fleet.stop()?;
    let dir = fleet.dir().join("kept");
    let signers = fleet.dir().join("signers");
    let [kept, signers] = [&dir, &signers].map(|path| path.to_str().unwrap().to_owned());
    let list = list(&fleet, true)?;
    let _keeper = fleet.keep_with(&list, &["--policies", &kept, "--signers", &signers])?;
    let file = bundle(&fleet, &key, 3, BASE)?;
    let is_kept = |serial: u64| {
        let file = dir.join(format!("{GROUP}.bundle"));
        fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("serial\\\":{serial},")))
    };
    // Nobody is there.
    eventually("it is kept", || {
        push(&fleet, &file, "1s")?;
        Ok(is_kept(3))
    })?;
    // Neither an older one nor what nobody signed who may takes its place.
    let old = bundle(&fleet, &key, 2, ALLOWS_NAMED)?;
    let eve = SshKey::new(fleet.dir().join("eve"))?;
    let forged = bundle(&fleet, &eve, 9, ALLOWS_NAMED)?;
    for file in [&old, &forged] {
        push(&fleet, file, "1s")?;
    }
    eventually("the forged one is refused", || {
        Ok(fleet.kept()?.contains("are not kept"))
    })?;
    assert!(is_kept(3));
    // Nor, where its signer may sign no more, an older one of another's.
    let bob = SshKey::new(fleet.dir().join("bob"))?;
    let line = |name: &str, key: &SshKey| -> Tested<String> {
        Ok(format!("{name} {}", fs::read_to_string(key.public())?))
    };
    fs::write(&signers, line("bob", &bob)?)?;
    let older = bundle(&fleet, &bob, 1, ALLOWS_NAMED)?;
    push(&fleet, &older, "1s")?;
    assert!(is_kept(3));
    let later = bundle(&fleet, &bob, 4, BASE)?;
    eventually("a later one is kept", || {
        push(&fleet, &later, "1s")?;
        Ok(is_kept(4))
    })?;

    assert!(open(&fleet)?);
    fleet.start()?;
    eventually("the machine has it", || {
        let status = fleet.scene.daemon.json(["status"])?;
        Ok(status["fleet"]["serial"] == 4)
    })?;
    assert!(!open(&fleet)?);
    let loads = fleet.scene.daemon.logged("policy-load")?;
    assert!(
        loads
            .iter()
            .any(|one| one["serial"] == 4 && one["signed_by"] == json!(["bob"]))
    );
    assert!(lines(&fleet.said("person", &["machines", "--json"])?)?.len() <= 1);
    assert!(loads.last().unwrap()["error"].text().is_err());
    Ok(())
}

/// The keeper of the list offers the last bundle again, so that a machine which is reached does not fall silent.
#[test]
fn what_holds_for_a_time_alone_is_offered_again_in_time() -> Tested {
    let (network, _production) = Network::with_production()?;
    let (fleet, key) = begin(&network, "lasts = \"12s\"\n")?;
    let (kept, signers) = (fleet.dir().join("kept"), fleet.dir().join("signers"));
    let [kept, signers] = [&kept, &signers].map(|path| path.to_str().unwrap());
    let list = list(&fleet, true)?;
    let keeper = fleet.keep_with(&list, &["--policies", kept, "--signers", signers])?;
    let file = bundle(&fleet, &key, 3, BASE)?;
    eventually("it is in force", || {
        Ok(push(&fleet, &file, "2s")?.0 == Some(0))
    })?;
    let heard = || -> anyhow::Result<(jiff::Timestamp, Value)> {
        let status = fleet.scene.daemon.json(["status"]);
        let of_fleet = status.map_err(|_| anyhow::anyhow!("no status"))?["fleet"].take();
        let at = of_fleet["heard_at"].as_str().unwrap_or_default().parse()?;
        Ok((at, of_fleet["problem"].clone()))
    };
    let (first, _) = heard()?;
    let mut problems = Vec::new();
    eventually("it was offered for longer than it holds", || {
        let (at, problem) = heard()?;
        problems.extend(problem.as_str().map(str::to_owned));
        Ok(at.duration_since(first).as_secs() > 24)
    })?;
    assert!(problems.is_empty(), "{problems:?}");
    // It was for that alone.
    drop(keeper);
    eventually("it is silent", || Ok(heard()?.1.is_string()))?;
    assert!(!open(&fleet)?);
    Ok(())
}
