//! The server is killed at which all are: the machine, the page of all machines and a person who looks. From then until the next question
//! is seen, and until an answer to it is taken. The two others go on; servers keep none of what is asked, so that is all there is to it.

use anyhow::Result;
use guard_lab::bench::monotonic;
use guard_lab::{Network, eventually};

use super::{FleetScene, SERVERS};
use crate::bench::Plan;
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::samples::Samples;

const SECOND: f64 = 1e9;
/// How often, and where that is to be quick.
const KILLS: [u16; 2] = [10, 3];
/// As servers list who is connected: the machine, the console of all, and a person.
const CLIENTS: [&str; 3] = ["guard-fleet serve", "guard-fleet console", "guard-fleet"];

/// All of it.
///
/// # Errors
///
/// That something could not be measured: no question was seen, or no answer taken.
pub(super) fn failover(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let mut scene = FleetScene::start(&network)?;
    let mut all: [Vec<f64>; 3] = Default::default();
    for kill in 0..KILLS[usize::from(plan.quick)] {
        let took = scene.fails_over(kill % SERVERS)?;
        for (all, one) in all.iter_mut().zip(took) {
            all.push(one);
        }
    }
    let [terminal, page, taken] = all.map(Samples);
    let figures = |what: &str, took: Samples, most: f64| {
        let (name, worst) = (
            format!("server killed, {what}"),
            Samples(vec![took.quantile(1.0)]),
        );
        let figure = |name: &str, took| Figure::alone(name, Unit::Time, took, Target::AtMost(most));
        [
            figure(&name, took),
            figure(&format!("{name}, the worst"), worst),
        ]
    };
    let all = [
        figures("to the next request in a terminal", terminal, SECOND),
        figures("to the next request on the page of all", page, SECOND),
        figures("to an answer taken", taken, 6.0 * SECOND),
    ];
    Ok(all.into_iter().flatten().collect())
}

impl FleetScene<'_> {
    /// Nanoseconds from the kill of a server to the question of a connection that begins then, in a terminal and on the page of all, and
    /// to the receipt of its answer, which is signed meanwhile.
    fn fails_over(&mut self, number: u16) -> Result<[f64; 3]> {
        self.gather(number)?;
        // Before it, all of it works.
        let (_, asked) = self.asked()?;
        let mut command = self.over_servers(&asked)?;
        self.answered(&mut command)?;
        let killed = monotonic();
        self.nats.kill(number);
        let next = self.question()?;
        let mut command = self.over_servers(&next.asked)?;
        let [_, taken, _] = self.answered_at(&mut command)?;
        let [_, terminal, page, _] = next.seen;
        let since = |moment: u64| moment.saturating_sub(killed) as f64;
        Ok([terminal, page, taken].map(since))
    }

    /// Has all of them at one server, and the two others run.
    fn gather(&mut self, number: u16) -> Result<()> {
        let others = (0..SERVERS).filter(|other| *other != number);
        let others: Vec<_> = others.collect();
        for other in &others {
            self.nats.kill(*other);
        }
        let is_there = |name: &&str| self.nats.serves_one(number, name).is_ok_and(|is_it| is_it);
        eventually("all are at one server", || CLIENTS.iter().all(is_there))?;
        for other in others {
            self.nats.start_again(other)?;
        }
        Ok(())
    }
}
