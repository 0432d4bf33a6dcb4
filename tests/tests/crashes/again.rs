//! Killed while it takes over what another guardd left.

use guard_lab::Tested;

use crate::crashes::scene::{
    CrashScene, UNDER_NEW, UNDER_OLD, Which, at_each_step, behind, new, old,
};
use crate::half::{self, before};

#[test]
fn while_it_adopts() -> Tested {
    let mut scene = CrashScene::new()?;
    let there = scene.settled(UNDER_OLD)?;
    let policies = [(new(), UNDER_NEW), (old(), UNDER_OLD)];
    at_each_step(Which::All, |turn, step| {
        // The file changes while nobody runs; each guardd finds the other one's policy in the kernel.
        let (text, reached) = &policies[turn % 2];
        scene.daemon.write_policy("crash", text)?;
        let guardd = scene.daemon.guardd()?;
        let ended = scene.run(&guardd, false, step, |_| Ok(()))?;
        let what = behind(step, &ended);
        // The kernel has the one policy or the other, and no mixture.
        let left = scene.reached()?;
        assert!([UNDER_OLD, UNDER_NEW].contains(&left), "{left:?}: {what}");
        scene.assert_settles_under(*reached, &there, &what)?;
        Ok(ended)
    })?;
    scene.check()?;
    Ok(())
}

#[test]
fn while_it_replaces_the_programs() -> Tested {
    let mut scene = CrashScene::new()?;
    let there = scene.settled(UNDER_OLD)?;
    let steps = at_each_step(Which::OfEachKind, |_, step| {
        // The kernel has the programs of today; the guardd that is killed brings those of the version before.
        let guardd = half::guardd(&scene.daemon, &before::object(&scene.daemon));
        let ended = scene.run(&guardd, false, step, |_| Ok(()))?;
        let what = behind(step, &ended);
        assert_eq!(scene.reached()?, UNDER_OLD, "{what}");
        scene.assert_settles(&there, &what)?;
        Ok(ended)
    })?;
    let attached = steps.iter().filter(|step| step.contains("attach")).count();
    let today = before::links(&scene.daemon);
    assert_eq!(attached, today - before::LACKS, "{steps:?}");
    scene.check()?;
    Ok(())
}
