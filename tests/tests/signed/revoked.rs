//! A key that somebody has lost: the fleet's policies revoke it, on each machine at once.

use std::fs;

use guard_lab::{Json as _, Network, Output, SshKey, Tested};
use serde_json::{Value, json};

use super::scene::{COURIER, SignedScene, agent};

/// A machine of a fleet, an approver with two keys, and somebody who signs policies.
struct Fleet {
    scene: SignedScene,
    lost: SshKey,
    left: SshKey,
    signer: SshKey,
}

impl Fleet {
    fn new(network: &Network) -> Tested<Self> {
        let mut scene = SignedScene::new(network, "");
        let signer = scene.key("signer")?;
        let signers = scene.daemon.dir().join("signers");
        let public = fs::read_to_string(signer.public())?;
        fs::write(&signers, format!("carol {public}"))?;
        scene.daemon.stop()?;
        let config = fs::read_to_string(scene.daemon.config())?;
        let own = format!("[fleet]\ngroup = \"ci\"\nsigners = {signers:?}\n");
        scene.daemon.write_config(&(config + &own))?;
        scene.daemon.start()?;
        let lost = scene.approver("alice", &[])?;
        let left = scene.key("left")?;
        scene.add("alice", &left).run()?.success()?;
        Ok(Self {
            scene,
            lost,
            left,
            signer,
        })
    }

    /// `guard policy sign` of a directory with one policy.
    fn sign(&self, args: &[&str]) -> Tested<Output> {
        let dir = self.scene.daemon.dir().join("policies-of-the-fleet");
        fs::create_dir_all(&dir)?;
        let text = "version = 1\nname = \"builds\"\ndefault = \"deny\"\n";
        fs::write(dir.join("builds.toml"), text)?;
        let sign = ["policy", "sign", "--yes", "--group", "ci", "--key"];
        let sign = self.scene.daemon.root(sign).args([&self.signer.file]);
        Ok(sign.args(args.iter().copied()).args([&dir]).run()?)
    }

    /// The courier brings what was signed so.
    fn brings(&self, args: &[&str]) -> Tested<Value> {
        let signed = self.sign(args)?.success()?.stdout;
        self.offer(&signed)?.success()?.json().map_err(Into::into)
    }

    fn offer(&self, signed: &str) -> Tested<Output> {
        let offer = ["policy", "offer", "-", "--json"];
        Ok(self.scene.daemon.user(COURIER, offer).input(signed).run()?)
    }

    /// The fingerprints of alice's keys.
    fn keys(&self) -> Tested<Vec<String>> {
        let listed = self.scene.daemon.json(["approver", "list"])?;
        let people = listed.list()?.iter();
        let keys = people.flat_map(|one| one["keys"].as_array().into_iter().flatten());
        Ok(keys
            .map(|key| key["fingerprint"].to_string().replace('"', ""))
            .collect())
    }
}

#[test]
fn a_key_that_the_fleet_revokes_answers_no_more_whatever_comes_later() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network)?;
    let scene = &fleet.scene;
    let mut shell = scene.shell();
    let [first, second, third] = [443, 1000, 1001].map(|port| scene.request(&mut shell, port));
    scene.taken(&scene.yes(&fleet.lost, "alice", &first, &[])?)?;
    let late = scene.yes(&fleet.lost, "alice", &second, &[])?;

    let done = fleet.brings(&["--serial", "7", "--revoke", &fleet.lost.id])?;
    assert_eq!(
        (&done["serial"], &done["by"]),
        (&json!(7), &json!(["carol"]))
    );
    scene.refused(&late, "no key")?;
    assert_eq!(fleet.keys()?, [&*fleet.left.id]);
    let removed = scene.log("approver-removed");
    let [removed] = &removed[..] else {
        panic!("one key: {removed:?}");
    };
    assert_eq!(
        (&removed["approver"], &removed["key"], &removed["by"]),
        (
            &json!("alice"),
            &json!(fleet.lost.id),
            &json!("the fleet's policies 7, signed by carol")
        )
    );
    // The other key answers, and this one is enrolled by nobody.
    scene.taken(&scene.yes(&fleet.left, "alice", &second, &[])?)?;
    let refused = scene.add("alice", &fleet.lost).refused()?;
    assert!(refused.contains("policies revoke"), "{refused}");

    // Nor by an older file.
    let file = scene.daemon.state_dir().join("approvers.toml");
    let without = fs::read_to_string(&file)?;
    let key = fs::read_to_string(fleet.lost.public())?;
    let words: Vec<_> = key.split_whitespace().take(2).collect();
    let with = format!(
        "{without}[[approver.key]]\nkind = \"ssh\"\npublic = \"{}\"\n",
        words.join(" ")
    );
    fleet.scene.daemon.stop()?;
    fs::write(&file, with)?;
    fleet.scene.daemon.start()?;
    assert_eq!(fleet.keys()?, [&*fleet.left.id]);
    let scene = &fleet.scene;
    scene.refused(&scene.yes(&fleet.lost, "alice", &third, &[])?, "no key")?;

    // Later policies that say nothing of it bring no key back: root does.
    fleet.brings(&["--serial", "8"])?;
    assert_eq!(fleet.keys()?, [&*fleet.left.id]);
    scene.refused(&scene.yes(&fleet.lost, "alice", &third, &[])?, "no key")?;
    let add = scene.add("alice", &fleet.lost);
    add.args(["--answers-for", &agent()]).run()?.success()?;
    scene.taken(&scene.yes(&fleet.lost, "alice", &third, &[])?)?;
    let verify = ["log", "--verify", "--signatures"];
    let verified = scene.daemon.ask(verify)?.success()?.stdout;
    assert_eq!(
        verified.matches("yes by alice, signed").count(),
        3,
        "{verified}"
    );
    Ok(())
}

#[test]
fn what_revokes_is_a_fingerprint_in_a_bundle_that_is_understood_whole() -> Tested {
    let network = Network::new()?;
    let fleet = Fleet::new(&network)?;
    let both = fleet.keys()?;
    assert_eq!(both.len(), 2);
    let refused = fleet.sign(&["--revoke", "alice"])?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("is no fingerprint"), "{refused:?}");
    let shown = fleet.sign(&["--serial", "2", "--revoke", &fleet.lost.id])?;
    let said = format!("nobody answers by the key {} any more", fleet.lost.id);
    assert!(shown.success()?.stderr.contains(&said));

    // The same keys in the version before, or a later one, are left out whole, as a guardd does that knows of no such keys.
    let key = &fleet.lost.id;
    for version in [1, 3] {
        let text = format!(
            r#"{{"base":null,"groups":["ci"],"policies":{{}},"revoked":["{key}"],"serial":3,"v":{version}}}"#
        );
        let signature = fleet.signer.sign(&text, "policy@guardd.org")?["signature"].take();
        let signed = json!({"bundle": text, "signatures": [signature]}).to_string();
        let refused = fleet.offer(&signed)?;
        assert_eq!(refused.code(), Some(2), "{version}: {refused:?}");
        assert!(refused.stderr.contains("bundle of policies"), "{refused:?}");
        assert_eq!(fleet.keys()?, both, "{version}");
        let status = fleet.scene.daemon.json(["status"])?["fleet"].take();
        assert_eq!(status["serial"], Value::Null);
        assert!(
            status["problem"].text()?.contains("bundle of policies"),
            "{status}"
        );
    }
    Ok(())
}
