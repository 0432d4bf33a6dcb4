//! Killed while it takes over what another guardd left.

use guard_lab::{Network, Production, Tested};

use crate::crashes::scene::{Scene, UNDER_NEW, UNDER_OLD, Which, at_each_step, behind, new, old};
use crate::half::{self, before};

/// Whether the kernel has the one policy or the other, and no mixture.
fn is_either(scene: &mut Scene<'_>) -> bool {
    [UNDER_OLD, UNDER_NEW].contains(&scene.reached())
}

#[test]
fn while_it_adopts() -> Tested {
    let network = Network::new()?;
    let production = Production::start(&network)?;
    let mut scene = Scene::new(&network, &production)?;
    let there = scene.settled(UNDER_OLD)?;
    let policies = [(new(), UNDER_NEW), (old(), UNDER_OLD)];
    at_each_step(Which::All, |turn, step| {
        // The file changes while nobody runs; each guardd finds the other one's policy in the kernel.
        let (text, reached) = &policies[turn % 2];
        scene.daemon.write_policy("crash", text).unwrap();
        let guardd = scene.daemon.guardd().unwrap();
        let ended = scene.run(&guardd, false, step, |_| ());
        assert!(is_either(&mut scene), "{}", behind(step, &ended));
        let now = scene.settled(*reached).unwrap();
        assert_eq!(
            without_lists(&now),
            without_lists(&there),
            "{}",
            behind(step, &ended)
        );
        ended
    });
    scene.check()?;
    Ok(())
}

#[test]
fn while_it_replaces_the_programs() -> Tested {
    let network = Network::new()?;
    let production = Production::start(&network)?;
    let mut scene = Scene::new(&network, &production)?;
    let there = scene.settled(UNDER_OLD)?;
    let steps = at_each_step(Which::OfEachKind, |_, step| {
        // The kernel has the programs of today; the guardd that is killed brings those of the version before.
        let guardd = half::guardd(&scene.daemon, &before::object(&scene.daemon));
        let ended = scene.run(&guardd, false, step, |_| ());
        assert_eq!(scene.reached(), UNDER_OLD, "{}", behind(step, &ended));
        assert_eq!(
            scene.settled(UNDER_OLD).unwrap(),
            there,
            "{}",
            behind(step, &ended)
        );
        ended
    });
    let attached = steps.iter().filter(|step| step.contains("attach")).count();
    let today = before::links(&scene.daemon);
    assert_eq!(attached, today - before::LACKS, "{steps:?}");
    scene.check()?;
    Ok(())
}

/// The two policies have lists of their own.
pub(crate) fn without_lists(
    there: &crate::crashes::inventory::Inventory,
) -> crate::crashes::inventory::Inventory {
    let mut there = there.clone();
    there.remove("entries of ranges");
    there
}
