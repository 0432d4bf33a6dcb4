//! Killed at any moment of taking a signed answer: it opens one hole at most, and none without its record.

use guard_lab::{Network, Stepped, Tested};
use serde_json::Value;

use super::scene::SignedScene;
use crate::crashes::scene::{Which, at_each_step, behind, tries_all_steps};

#[test]
fn one_signature_opens_one_hole_whenever_guardd_is_killed() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let mut spent_in_vain = 0;
    let steps = at_each_step(Which::All, |turn, step| {
        let port = 1000 + u16::try_from(turn)?;
        let name = format!("tcp/{port}");
        let id = scene.request(&mut shell, port);
        let signed = scene.yes(&alice, "alice", &id, &[])?;
        scene.daemon.stop()?;

        let guardd = scene.daemon.guardd()?;
        let mut stepped = Stepped::start(&scene.daemon, &guardd, None)?;
        stepped.wait_until_ready()?;
        stepped.arm(Some(step))?;
        let said_yes = scene.hand_in(&signed)?.status.success();
        stepped.stop();
        let ended = stepped.wait()?;
        let what = behind(step, &ended);

        scene.daemon.start()?;
        let open = |scene: &SignedScene| scene.holes().iter().filter(|one| **one == name).count();
        let left = open(&scene);
        assert!(left <= 1 && (left == 1 || !said_yes), "{what}");
        // The same once more: for a hole that there is not yet, if at all.
        let again = scene.hand_in(&signed)?.status.success();
        assert_eq!(open(&scene), left + usize::from(again), "{what}");
        assert!(left == 0 || !again, "{what}");
        spent_in_vain += usize::from(left == 0 && !again);
        let is_signed = |one: &Value| one["request"] == *id && one["signed"]["by"] == "alice";
        let answered = scene
            .daemon
            .logged("answered")?
            .iter()
            .filter(|one| is_signed(one))
            .count();
        assert!(answered >= open(&scene), "{what}");
        if left == 0 && !again {
            // Asked again, with other bytes.
            scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
        }
        scene.daemon.root(["close", "--all"]).run()?.success()?;
        Ok(ended)
    })?;
    assert!(
        steps.iter().any(|step| step.contains("/used/")),
        "{steps:?}"
    );
    assert!(
        spent_in_vain > 0 || !tries_all_steps(),
        "it was killed between the nonce and the hole"
    );
    Ok(())
}
