//! Ten ratios that are measured with each change, and compared with what docs/performance.md says of the same programs.
//!
//! The gate's programs are not optimised, but for the kernel half, which is the same in every build. So these are ratios that the
//! kernel half decides: a client does the same system calls on both sides, and what is between them are the guard's hooks and
//! look-ups. What user space takes (starts, reloads, answers, the proxy) would say how the compiler was told to work, and what
//! peers take says how these are. One thing of user space is in connects: where no programs at security hooks judge, each connect
//! waits for a word of `guard run`'s supervisor. So the documents have these ratios in a table of their own, of the gate's programs.
//! One that is far better than they say is as wrong as one that is worse: either they are old, or what is measured is not what they tell.
//!
//! What a connect takes depends on what else the machine does: where a CPU sleeps, whom a connect wakes there is dear to wake, and
//! the guarded ones wake more. So nothing is woken on another CPU, and the other side of them sleeps meanwhile. Other work falls on
//! both sides of a round alike if rounds are short: so connects have many of few connections.
//! Of the kernel half all is in them that a connection or a packet meets: the connect programs and
//! their tries, small and large, on the way to a yes and to a no; the egress program on a stream, on datagrams and alone; sendmsg.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use xtask::shell::{root, say};

use super::Plan;
use super::figure::{Figure, Other, Target, Unit};
use super::prefixes::Prefixes;
use super::rounds::interleave;
use super::traffic::{self, TrafficSides};

/// Where the documents say what they are, and in which section.
const DOCUMENT: &str = "docs/performance.md";
const SECTION: &str = "\n## What is measured each time\n";
/// Each by the first words of its row there, and what it is measured beside.
const RATIOS: [(&str, &str); 10] = [
    ("connect + close, 10 rules", "no guard"),
    ("refused connect, 10 rules", "allowed"),
    ("connect + close, 100,000 prefixes", "no guard"),
    ("refused connect, 100,000 prefixes", "allowed"),
    ("one TCP stream", "no guard"),
    ("64-byte UDP, send", "no guard"),
    ("64-byte UDP, send", "empty program"),
    ("64-byte UDP, sendto", "no guard"),
    ("64-byte UDP, sendto", "empty program"),
    ("egress, a packet of a flow", "empty program"),
];
/// So many times worse than the documents say is too much, and so many times better: off by a third.
const TOO_MUCH: f64 = 4.0 / 3.0;
/// Connections on each side in a round, and rounds.
const COUNT: u64 = 100;
const ROUNDS: usize = 45;
const PLAN: Plan = Plan {
    rounds: 11,
    few: 5,
    fewest: 3,
    quick: true,
};

/// One that was measured.
struct Compared {
    name: String,
    beside: &'static str,
    documents: f64,
    found: f64,
    /// How many times worse than the documents say; below 1 it is better.
    worse: f64,
}

/// Where a ratio is, beside what the documents say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Off {
    /// It is what they say, by a third.
    Not,
    Worse,
    Better,
}

/// Measures them, and all once more where one is off by too much.
///
/// # Errors
///
/// What could not be measured, and which are off by more than a third, twice.
pub(super) fn gate() -> Result<()> {
    let own = env::current_exe()?;
    guard_lab::bins::look_in(own.parent().context("no directory")?.to_owned());
    let text = fs::read_to_string(root().join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    let first = compared(&text)?;
    print(&first);
    if first.iter().all(|one| one.off() == Off::Not) {
        return Ok(());
    }
    say(
        "some are off by more than a third from what the documents say, and all are measured once more",
    );
    let second = compared(&text)?;
    print(&second);
    let wrong = wrong(&first, &second);
    ensure!(
        wrong.is_empty(),
        "off by more than a third from what the documents say, twice; find out why, or measure them anew (`cargo xtask bench \
         --gate`, several times) and write down what they are now:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

impl Compared {
    fn off(&self) -> Off {
        match self.worse {
            worse if worse > TOO_MUCH => Off::Worse,
            worse if worse < 1.0 / TOO_MUCH => Off::Better,
            _ => Off::Not,
        }
    }
}

/// Those that are off both times, and to the same side: one that is now worse and now better says how noisy the machine is.
fn wrong(first: &[Compared], second: &[Compared]) -> Vec<String> {
    let both = first.iter().zip(second);
    let wrong =
        both.filter(|(first, second)| second.off() != Off::Not && first.off() == second.off());
    let told = wrong.map(|(first, second)| {
        format!(
            "{}, beside {}: {:.3} and {:.3}, where {DOCUMENT} says {:.3}",
            second.name, second.beside, first.found, second.found, second.documents
        )
    });
    told.collect()
}

fn print(all: &[Compared]) {
    for one in all {
        let note = match one.off() {
            Off::Worse => ": too much worse",
            Off::Better => ": too much better",
            Off::Not => "",
        };
        println!(
            "| {:<33} | {:<13} | {:.3} | documents {:.3}{note}",
            one.name, one.beside, one.found, one.documents
        );
    }
}

fn compared(text: &str) -> Result<Vec<Compared>> {
    let figures = measured()?;
    let compare = |(name, beside): (&str, &'static str)| {
        let is_it = |figure: &&Figure| {
            figure.name == name
                && matches!(&figure.other, Other::Measured(other, _) if *other == beside)
        };
        let figure = figures.iter().find(is_it);
        let ratios = figure.and_then(Figure::ratios);
        let found = ratios
            .with_context(|| format!("{name} was not measured"))?
            .median();
        let documents = in_document(text, name, beside)
            .with_context(|| format!("{DOCUMENT} has no ratio of {name} beside {beside}"))?;
        let is_time = figure.is_some_and(|figure| figure.unit == Unit::Time);
        let worse = if is_time {
            found / documents
        } else {
            documents / found
        };
        ensure!(
            worse.is_finite() && worse > 0.0,
            "{name}: {found} is no ratio"
        );
        Ok(Compared {
            name: name.to_owned(),
            beside,
            documents,
            found,
            worse,
        })
    };
    RATIOS.into_iter().map(compare).collect()
}

fn measured() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (prefixes, what) in [
        (Prefixes::TEN, "10 rules"),
        (Prefixes::MANY, "100,000 prefixes"),
    ] {
        figures.extend(connects(prefixes, what)?);
    }
    figures.extend(traffic::throughput(&PLAN)?);
    figures.extend(traffic::egress(&PLAN)?);
    Ok(figures)
}

/// What a connection takes beside none without a guard, and a refusal beside a connection.
fn connects(prefixes: Prefixes, what: &str) -> Result<[Figure; 2]> {
    let mut sides = TrafficSides::start(prefixes)?;
    sides.share_a_cpu()?;
    let (free, stopped) = (prefixes.between(), prefixes.inside());
    let [none, allowed, refused] = interleave(
        ROUNDS,
        &mut sides,
        [
            &mut |sides| sides.connects(|sides| sides.none.connect(free, COUNT, true)),
            &mut |sides| sides.connects(|sides| sides.guard.connect(free, COUNT, true)),
            &mut |sides| sides.connects(|sides| sides.guard.connect(stopped, COUNT, false)),
        ],
    )?;
    let figure = |name: &str, guard, beside, other| {
        let name = format!("{name}, {what}");
        Figure::alone(&name, Unit::Time, guard, Target::Stated)
            .beside(Other::Measured(beside, other))
    };
    Ok([
        figure("connect + close", allowed.clone(), "no guard", none),
        figure("refused connect", refused, "allowed", allowed),
    ])
}

/// The ratio of a row in [`SECTION`]: | figure | beside | ratio | …
fn in_document(text: &str, name: &str, beside: &str) -> Option<f64> {
    let (_, rest) = text.split_once(SECTION)?;
    let section = rest.split("\n## ").next()?;
    section.lines().find_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let is_it = cells.next()? == name && cells.next()? == beside;
        let ratio = cells.next()?;
        is_it.then(|| ratio.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_read_from_its_row() {
        let text = format!(
            "| a | nft | 9 |\n{SECTION}\n| figure | beside | ratio |\n| a | nft | 1.5 |\n| a | no guard | 3.125 |\n\
             \n## Next\n| c | nft | 2 |\n"
        );
        assert_eq!(in_document(&text, "a", "no guard"), Some(3.125));
        assert_eq!(in_document(&text, "a", "nft"), Some(1.5));
        assert_eq!(in_document(&text, "b", "nft"), None);
        assert_eq!(in_document(&text, "c", "nft"), None);
    }

    #[test]
    fn what_is_off_twice_to_the_same_side_is_wrong() {
        let of = |worse: f64| Compared {
            name: "a".to_owned(),
            beside: "b",
            documents: 1.0,
            found: worse,
            worse,
        };
        let is_wrong = |first, second| !wrong(&[of(first)], &[of(second)]).is_empty();
        for (first, second, expected) in [
            (1.0, 1.0, false),
            (1.3, 1.3, false),
            (0.8, 0.8, false),
            (1.4, 1.5, true),
            (0.7, 0.6, true),
            // Once is not enough, whichever time, and neither is once this and once that.
            (1.4, 1.0, false),
            (1.0, 0.7, false),
            (1.4, 0.7, false),
        ] {
            assert_eq!(is_wrong(first, second), expected, "{first}, {second}");
        }
        let told = wrong(&[of(1.0), of(2.0)], &[of(0.5), of(3.0)]);
        assert_eq!(
            told,
            ["a, beside b: 2.000 and 3.000, where docs/performance.md says 1.000"]
        );
    }

    #[test]
    fn the_documents_have_each() -> Result<()> {
        let text = fs::read_to_string(root().join(DOCUMENT))?;
        for (name, beside) in RATIOS {
            ensure!(
                in_document(&text, name, beside).is_some(),
                "{name} beside {beside}"
            );
        }
        Ok(())
    }
}
