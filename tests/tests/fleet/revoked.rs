//! Somebody has lost a phone: its passkey is revoked where the policies are signed, and not on each machine.

use std::fs;

use guard_lab::{ALLOWS_NAMED, Json as _, SshKey, Tested, eventually};
use serde_json::json;

use super::{
    central::{Central, hub_of, line_of, places},
    scene::GROUP,
};
use crate::{
    console::{passkey::Passkey, scene::ORIGIN},
    signed::scene::COURIER,
};

/// Has a machine take policies of its group.
fn takes_policies(central: &mut Central<'_>, number: usize) -> Tested {
    let daemon = &mut central.fleet.all[number].scene.daemon;
    let signers = daemon.dir().join("signers");
    daemon.stop()?;
    daemon.write_config(&format!(
        "resolvers = [\"127.0.0.1:1\"]\n[answers]\ncouriers = [\"{COURIER}\"]\ncode = \"never\"\norigins = [\"{ORIGIN}\"]\n\
         [fleet]\ngroup = \"{GROUP}\"\nsigners = {signers:?}\n"
    ))?;
    Ok(daemon.start()?)
}

/// Those that this key has signed.
fn believes(central: &Central<'_>, number: usize, signer: &SshKey) -> Tested {
    let signers = central.fleet.all[number].scene.daemon.dir().join("signers");
    let public = fs::read_to_string(signer.public())?;
    Ok(fs::write(signers, format!("carol {public}"))?)
}

/// The colleague brings policies that revoke a key, until a machine has them.
fn revokes(
    central: &Central<'_>,
    signer: &SshKey,
    key: &str,
    (number, serial): (usize, u64),
) -> Tested {
    let daemon = &central.fleet.all[number].scene.daemon;
    let dir = daemon.dir().join(format!("policies-{serial}"));
    fs::create_dir(&dir)?;
    fs::write(dir.join("open.toml"), ALLOWS_NAMED)?;
    let sign = ["policy", "sign", "--yes", "--group", GROUP, "--revoke", key];
    let sign = daemon
        .root(sign)
        .args(["--serial", &serial.to_string(), "--key"]);
    let signed = sign.args([&signer.file, &dir]).run()?.success()?.stdout;
    let said = central.fleet.push(&signed)?;
    let taken = format!("{} has {serial} in force", central.id(number));
    assert!(said.contains(&taken), "{said}");
    Ok(())
}

#[test]
fn a_lost_key_is_revoked_from_one_place_and_the_page_says_which_machines_take_it_still() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut central = Central::start(&guarded, &colleague, &hub)?;
    let (lost, left) = (Passkey::new("lost"), Passkey::new("left"));
    for number in 0..2 {
        central.enrol(number, "alice", &line_of(&lost))?;
        central.enrol(number, "alice", &line_of(&left))?;
    }
    let [signer, other] = ["signer", "other"].map(|name| SshKey::new(hub.dir().join(name)));
    let (signer, other) = (signer?, other?);
    for (number, key) in [&signer, &other].into_iter().enumerate() {
        believes(&central, number, key)?;
        takes_policies(&mut central, number)?;
    }
    central.fleet.may_push()?;
    let cookie = central.log_in("alice")?;
    central.sees(&cookie, "2 there")?;
    assert_eq!(central.log_in_with(&lost).status, 200);

    // One machine takes these policies, and the other does not yet.
    let key = lost.fingerprint();
    revokes(&central, &signer, &key, (0, 1))?;
    let still = format!("alice's key {key} is revoked by the fleet's policies, and still taken by");
    central.sees(&cookie, &format!("{still} {}.", central.id(1)))?;
    // The first answer of each of the two keys on each machine.
    for (number, key, is_taken) in [(0, &lost, false), (0, &left, true), (1, &lost, true)] {
        let place = central.asked(&cookie, number, 443)?;
        let (question, place) = central.question(&cookie, &place)?;
        let scene = &central.fleet.all[number].scene;
        let answer = scene.answer(&question, "alice", &[("for", json!(60))]);
        let said = central
            .http
            .json(&place, &key.sign(&answer, ORIGIN), Some(&cookie));
        assert_eq!(said.status == 200, is_taken, "{number}: {}", said.body);
        assert_eq!(said.body.contains("no key"), !is_taken, "{}", said.body);
        assert_eq!(central.holes(number).len(), usize::from(is_taken));
    }
    // Nor is it a machine's any more that its holder sees.
    let theirs = central.log_in_with(&lost).cookie();
    central.sees(&theirs, "1 there")?;

    believes(&central, 1, &signer)?;
    revokes(&central, &signer, &key, (1, 2))?;
    eventually("nothing is said of it any more", || {
        let page = central.http.get("/machines", Some(&cookie));
        page.status == 200 && !page.body.contains("is revoked")
    })?;
    let refused = central.log_in_with(&lost);
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert_eq!(central.log_in_with(&left).status, 200);
    // Whoever was logged in by it sees nothing.
    let machines = central.http.get("/machines", Some(&theirs)).body;
    assert!(
        !machines.contains(central.id(0)) && !machines.contains(central.id(1)),
        "{machines}"
    );
    for number in 0..2 {
        let removed = central.fleet.all[number].scene.log("approver-removed");
        assert_eq!(removed.len(), 1, "{removed:?}");
        assert_eq!(removed[0]["key"].text()?, lost.id());
        assert!(
            removed[0]["by"]
                .text()?
                .starts_with("the fleet's policies ")
        );
    }
    Ok(())
}
