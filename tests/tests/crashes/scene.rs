//! A session that is there all along, and what it may reach while guardd is killed around it.

use std::env;
use std::process::Command;

use anyhow::Context as _;
use guard_lab::{
    AGENT, Attempt, Json as _, Production, Scene, Shell, Stepped, Tested, eventually, holds_scene,
    is_sampled, is_slow, steps::Ended,
};

use crate::crashes::inventory::{self, Inventory};

/// Allowed by the old policy alone.
pub(crate) const OLD: &str = "192.0.2.10";
/// Allowed by the new policy alone.
pub(crate) const NEW: &str = "192.0.2.20";
/// Allowed by both.
pub(crate) const BOTH: &str = "198.51.100.7";
/// Allowed by neither, and no hole can be opened there.
pub(crate) const NEITHER: &str = "192.0.2.99";
/// To be asked about, by both.
pub(crate) const ASKED: &str = "192.0.2.50";

/// A policy that denies one of two, with lists of ports of its own.
pub(crate) fn policy(denied: &str) -> String {
    let mut text = format!(
        "version = 1\nname = \"crash\"\ndefault = \"allow\"\n\n\
         [[rule]]\nname = \"never\"\nto = [\"{NEITHER}\", \"{denied}\"]\naction = \"deny\"\n\n\
         [[rule]]\nname = \"asked\"\nto = [\"{ASKED}\"]\naction = \"confirm\"\n\n\
         [[rule]]\nname = \"ports\"\nto = [\"192.0.2.128/25\"]\nports = [\"tcp/1-100\"]\naction = \"deny\"\n"
    );
    if denied == OLD {
        text.push_str(
            "\n[[rule]]\nname = \"more\"\nto = [\"192.0.2.192/26\"]\nports = [\"udp/1-9\"]\naction = \"deny\"\n",
        );
    }
    text
}

/// The old policy: it denies what the new one allows.
pub(crate) fn old() -> String {
    policy(NEW)
}

/// The new policy.
pub(crate) fn new() -> String {
    policy(OLD)
}

/// One whose guardd is killed again and again.
pub(crate) struct CrashScene {
    scene: Scene,
    pub(crate) agent: Shell,
    production: Production,
    /// Tries what neither policy allows, all the time.
    _loop: Shell,
}

holds_scene!(CrashScene);

/// What a session may reach: the old policy's, the new one's, and what both allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) old: bool,
    pub(crate) new: bool,
    pub(crate) both: bool,
    pub(crate) neither: bool,
    pub(crate) asked: bool,
}

/// Under the old policy.
pub(crate) const UNDER_OLD: Reached = Reached {
    old: true,
    new: false,
    both: true,
    neither: false,
    asked: false,
};
/// Under the new policy.
pub(crate) const UNDER_NEW: Reached = Reached {
    old: false,
    new: true,
    ..UNDER_OLD
};

impl CrashScene {
    /// With a session under the old policy. guardd does not run.
    pub(crate) fn new() -> Tested<Self> {
        let mut scene = Scene::new("crash", &old())?;
        let production = scene.production()?;
        let (agent, mut looping) = (scene.shell("crash")?, scene.shell("crash")?);
        let probe = scene.daemon.program("guard-lab")?;
        let words = Attempt::new("keep", NEITHER, 443).args().join(" ");
        looping.tell(&format!("{} {words}", probe.display()))?;
        scene.daemon.stop()?;
        Ok(Self {
            scene,
            agent,
            production,
            _loop: looping,
        })
    }

    /// Tries everything, from inside.
    pub(crate) fn reached(&mut self) -> Tested<Reached> {
        let mut reaches = |to| self.agent.reaches(&Attempt::tcp(to, 443));
        Ok(Reached {
            old: reaches(OLD)?,
            new: reaches(NEW)?,
            both: reaches(BOTH)?,
            neither: reaches(NEITHER)?,
            asked: reaches(ASKED)?,
        })
    }

    /// Starts a guardd as a command, tells steps from its start on or from when it is ready, has `work` done, and
    /// ends it. Then it is killed after the `kill_after`th step, or ends by itself.
    pub(crate) fn run(
        &mut self,
        command: &Command,
        from_ready: bool,
        kill_after: usize,
        work: impl FnOnce(&mut Self) -> Tested,
    ) -> Tested<Ended> {
        let first = (!from_ready).then_some(kill_after);
        let mut guardd = Stepped::start(&self.daemon, command, first)?;
        if from_ready {
            guardd.wait_until_ready()?;
            guardd.arm(Some(kill_after))?;
            work(self)?;
        } else {
            guardd.wait_until_ready_or_killed()?;
        }
        guardd.stop();
        Ok(guardd.wait()?)
    }

    /// Starts guardd, waits until the policy in its file is in force, stops it, and starts it again: what was to go
    /// with a delay is gone then. Gives what there is.
    pub(crate) fn settled(&mut self, reached: Reached) -> Tested<Inventory> {
        self.daemon.start()?;
        let mut last = None;
        let holds = eventually("the policy of the file holds", || {
            last = Some(self.reached()?);
            Ok(last == Some(reached))
        });
        holds.with_context(|| format!("{last:?}"))?;
        let status = self.daemon.json(["status"])?;
        assert_eq!(status["enforcing"], true, "{status}");
        self.end_others()?;
        for _ in 0..2 {
            self.daemon.stop()?;
            self.daemon.start()?;
        }
        let there = inventory::of(&self.daemon)?;
        self.daemon.stop()?;
        Ok(there)
    }

    /// That it settles under the old policy, and there is then what there was before.
    pub(crate) fn assert_settles(&mut self, there: &Inventory, what: &str) -> Tested {
        assert_eq!(&self.settled(UNDER_OLD)?, there, "{what}");
        Ok(())
    }

    /// The same under either policy: they have lists of their own.
    pub(crate) fn assert_settles_under(
        &mut self,
        reached: Reached,
        there: &Inventory,
        what: &str,
    ) -> Tested {
        let (mut now, mut there) = (self.settled(reached)?, there.clone());
        for one in [&mut now, &mut there] {
            one.remove("entries of ranges");
        }
        assert_eq!(now, there, "{what}");
        Ok(())
    }

    /// Ends the sessions that are not the scene's.
    fn end_others(&mut self) -> Tested {
        let sessions = self.daemon.json(["sessions"])?;
        let sessions = sessions.list()?;
        let ids = sessions.iter().map(|one| one["id"].text());
        let ids = ids.collect::<anyhow::Result<Vec<_>>>()?;
        for mine in ["s1", "s2"] {
            assert!(ids.contains(&mine), "{mine} is gone: {ids:?}");
        }
        for id in ids.iter().filter(|id| !["s1", "s2"].contains(*id)) {
            self.daemon.ask(["stop", id])?.success()?;
        }
        Ok(())
    }

    /// Nothing of what neither policy allows has ever got through, though it would have without the guard.
    pub(crate) fn check(self) -> Tested {
        let through = self.production.reached_at(NEITHER, 443)?;
        assert!(through.is_empty(), "{through:?}");
        let outside = Attempt::tcp(NEITHER, 443).outside(self.network.dev(), AGENT);
        assert!(outside?.ok);
        Ok(())
    }
}

/// Which steps of an operation a test has the time for in an emulated machine, where each takes ten seconds, and in the gate;
/// elsewhere it has it for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Some of all.
    All,
    /// Some of the first and the last of each call.
    OfEachKind,
}

/// Has an operation done once, and then killed after its steps, one after the other. It is told which turn this is,
/// and after how many steps it is killed; after 0 it is not. Gives the steps of the one that was not.
pub(crate) fn at_each_step(
    which: Which,
    mut operation: impl FnMut(usize, usize) -> Tested<Ended>,
) -> Tested<Vec<String>> {
    let whole = operation(0, 0)?;
    assert_eq!(whole.code, 0, "{}", whole.said);
    let steps = chosen(which, &whole);
    eprintln!(
        "killed behind {} of {} steps",
        steps.len(),
        whole.steps.len()
    );
    for (turn, step) in (1..).zip(steps) {
        let ended = operation(turn, step)?;
        // What waits for a moment may be done in more steps than once, or in fewer.
        assert_eq!(ended.steps.len().min(step), ended.steps.len(), "{ended:?}");
        assert!(ended.was_killed() || ended.code == 0, "{ended:?}");
    }
    Ok(whole.steps)
}

/// So many in an emulated machine, and in the gate.
const EMULATED: usize = 6;
const SAMPLED: usize = 10;
/// The environment variable with a number that is another one in each run, and the same where what failed runs again.
const SEED: &str = "PROPTEST_RNG_SEED";

/// False where an operation is killed after some of its steps, others in each run.
pub(crate) fn tries_all_steps() -> bool {
    !is_slow() && !is_sampled()
}

fn chosen(which: Which, whole: &Ended) -> Vec<usize> {
    let kinds = whole.kinds();
    let at_most = match (is_slow(), is_sampled()) {
        (true, _) => EMULATED,
        (false, true) => SAMPLED,
        (false, false) => return (1..=kinds.len()).collect(),
    };
    let all = which != Which::OfEachKind;
    let is_edge =
        |at: usize| !kinds[..at].contains(&kinds[at]) || !kinds[at + 1..].contains(&kinds[at]);
    let steps = (0..kinds.len()).filter(|at| all || is_edge(*at));
    let steps: Vec<_> = steps.map(|at| at + 1).collect();
    let apart = steps.len().div_ceil(at_most);
    let first = first_of(apart);
    steps.into_iter().skip(first).step_by(apart).collect()
}

/// Which of so many steps comes first: one run after the other tries all of them.
fn first_of(apart: usize) -> usize {
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_default();
    (seed % apart as u64) as usize
}

/// Says which step it was about, should anything go wrong.
pub(crate) fn behind(step: usize, ended: &Ended) -> String {
    match ended.steps.last() {
        Some(last) => format!("killed behind step {step}: {last}\n{}", ended.said),
        None => format!("after step {step}"),
    }
}
