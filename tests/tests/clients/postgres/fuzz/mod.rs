//! Whatever passes leaves the server as it was: statements of all kinds, most of which do something, are sent to a real one
//! by its superuser, through the proxy.
//!
//! Twice: with both locks, and in transactions that a person has let write, which are held by the text alone.

mod calls;
mod maker;
mod state;

use std::env;
use std::time::{Duration, Instant};

use guard_lab::{Tested, is_sampled};

use self::maker::Maker;
use super::{Database, RULE};
use crate::clients::agent::Agent;
use crate::clients::scene::{ClientScene, HOST};

/// For how many seconds to go on with new ones; a test that nobody told takes one round.
const SECONDS: &str = "GUARD_FUZZ_ROUNDS";
/// What chance begins with, as a number: another one makes other statements.
const SEED: &str = "GUARD_FUZZ_SEED";
/// Statements of chance in a round, with either lock.
const ROUND: usize = 1000;
/// How many are sent at once: an agent is not waited for forever.
const CHUNK: usize = 150;

const SCHEMA: &str = include_str!("schema.sql");
const FIXTURES: [&str; 2] = [
    include_str!("../../../../../guard-user/judge/src/sql/tests/fixtures/reads.sql"),
    include_str!("../../../../../guard-user/judge/src/sql/tests/fixtures/writes.sql"),
];

/// What changes something, in a way that another would not be seen by.
const WRITES: &[&str] = &[
    "SELECT nextval('s')",
    "SELECT ('s'::regclass).nextval",
    "SELECT txid_current()",
    "UPDATE orders SET total = total",
    "CREATE TABLE made (x int)",
    "COMMENT ON TABLE users IS 'x'",
    "ALTER ROLE r SET work_mem = '1MB'",
    "BEGIN; SELECT lo_create(0)",
    "SELECT pg_switch_wal()",
    "SELECT pg_stat_reset_shared('bgwriter')",
    "SELECT pg_create_physical_replication_slot('x')",
    "SELECT pg_reload_conf()",
    "COPY users TO '/proc/self/cwd/guard-fuzz'",
    "SELECT pg_advisory_lock(1)",
];
/// What somebody is let do, so that the server's lock is lifted.
const ALLOWED: &str = "INSERT INTO scratch VALUES (1);";
/// Says that an advisory lock is held, by an error.
const HELD: &str =
    "SELECT ('held for good: ' || objid)::int FROM pg_locks WHERE locktype = 'advisory'";
/// What some statements take forever to do, nobody waits for.
const IMPATIENT: &str = "PGOPTIONS='-c statement_timeout=500'";
/// Forgets what a statement has left in the session, but for advisory locks.
const AFTER: &str = r"CLOSE ALL\; DEALLOCATE ALL\; UNLISTEN *\; RESET ALL";
const REFUSED: &str = "stopped by guard";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Both,
    Text,
}

/// What became of statements.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    passed: usize,
    /// Of those.
    failed: usize,
    refused: usize,
}

/// As somebody who may do everything, with nothing said but what there is to say.
fn psql(rest: &str) -> String {
    format!("psql -X -q -A -t -h {HOST} -U postgres -d fuzz {rest}")
}

/// What is said to these lines.
fn told(scene: &ClientScene, agent: &mut Agent<'_>, lines: &str) -> Tested<String> {
    scene.write("told", lines.as_bytes())?;
    Ok(agent.run(&psql("-f ~/told"))?.ok())
}

fn state(scene: &ClientScene) -> Tested<String> {
    let state = told(scene, &mut scene.unguarded()?, state::STATE)?;
    assert!(!state.contains("ERROR"), "{state}");
    Ok(state)
}

/// One after the other, each in a transaction of its own or in none; what it leaves open ends well, so that nothing that it
/// did is undone.
fn script(statements: &[String], lock: Lock) -> String {
    let mut script = "\\o /dev/null\n".to_owned();
    for statement in statements {
        script += "\\warn ==\n";
        if lock == Lock::Text {
            script += &format!("BEGIN;\n{ALLOWED}\n");
        }
        script += &format!("{statement}\n;\nCOMMIT;\n{HELD}\\; {AFTER};\n");
    }
    script + "\\warn ==\n"
}

/// A server, an agent and a person.
struct Fuzz<'s> {
    scene: &'s ClientScene,
    agent: Agent<'s>,
}

impl<'s> Fuzz<'s> {
    /// A session in which a person lets transactions write.
    fn begun(scene: &'s ClientScene) -> Tested<Self> {
        let mut agent = scene.agent()?;
        let said = told(scene, &mut agent, ALLOWED)?;
        assert!(said.contains(REFUSED), "{said}");
        let asked = scene.pending()?.pop().unwrap();
        let [id, path] = [&asked["id"], &asked["http"]["path"]].map(|one| one.as_str().unwrap());
        let approve = ["approve", id, "--path", path, "--for", "1h"];
        let approve = scene.daemon.agent(approve);
        approve.run()?.success()?;
        Ok(Self { scene, agent })
    }

    fn send(&mut self, statements: &[String], lock: Lock) -> Tested<Count> {
        let mut count = Count::default();
        for some in statements.chunks(CHUNK) {
            self.scene.write("told", script(some, lock).as_bytes())?;
            let line = psql("-f ~/told");
            let said = self.agent.run(&format!("{IMPATIENT} {line}"))?.ok();
            let mut each: Vec<_> = said.split("==\n").skip(1).collect();
            assert_eq!(each.pop(), Some(""), "{lock:?}: {some:?}");
            assert_eq!(each.len(), some.len(), "{said}");
            for (said, statement) in each.into_iter().zip(some) {
                assert!(!said.contains("held for good"), "{lock:?}: {statement}");
                if said.contains(REFUSED) {
                    count.refused += 1;
                } else {
                    count.passed += 1;
                    count.failed += usize::from(said.contains("ERROR:"));
                }
            }
        }
        Ok(count)
    }

    fn state(&self, lock: Lock) -> Tested<String> {
        let state = state(self.scene)?;
        Ok(match lock {
            Lock::Both => state,
            Lock::Text => state::but_for_numbers(&state),
        })
    }

    /// Sends them, after which everything has to be as it was.
    fn assert_harmless(&mut self, statements: &[String], lock: Lock) -> Tested<Count> {
        let before = self.state(lock)?;
        let count = self.send(statements, lock)?;
        let after = self.state(lock)?;
        if after != before {
            let culprit = self.culprit(statements, lock)?;
            let difference = state::difference(&before, &after);
            panic!("{lock:?}: {culprit:?}\n{difference}");
        }
        Ok(count)
    }

    /// The first that changes something, if it does so once more.
    fn culprit<'t>(&mut self, statements: &'t [String], lock: Lock) -> Tested<&'t [String]> {
        let mut left = statements;
        while left.len() > 1 {
            let (first, rest) = left.split_at(left.len() / 2);
            let before = self.state(lock)?;
            self.send(first, lock)?;
            let is_it = self.state(lock)? != before;
            left = if is_it { first } else { rest };
        }
        Ok(left)
    }

    /// What a view does is seen by no text: the one lock was there, and was not.
    fn assert_that_locks_matter(&mut self) -> Tested {
        let sneaky = ["SELECT * FROM sneaky".to_owned()];
        self.assert_harmless(&sneaky, Lock::Both)?;
        let before = self.state(Lock::Text)?;
        self.send(&sneaky, Lock::Text)?;
        assert_ne!(self.state(Lock::Text)?, before);
        Ok(())
    }
}

/// Those of the fixtures.
fn fixtures() -> impl Iterator<Item = String> {
    let lines = FIXTURES.iter().flat_map(|fixture| fixture.lines());
    let lines = lines.filter(|line| !line.starts_with("--") && !line.is_empty());
    let each = lines.map(|line| line.split_once(" | ").map_or(line, |(_, text)| text));
    // What is behind a semicolon is sent with what is in front of it.
    each.map(|text| text.replace("; ", "\\; "))
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_passes_changes_nothing() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _database = Database::idle(&scene)?;
    let mut somebody = scene.unguarded()?;
    let create = psql("-c 'create database fuzz'").replace("-d fuzz", "-d postgres");
    somebody.run(&create)?.ok();
    let said = told(&scene, &mut somebody, SCHEMA)?;
    assert!(!said.contains("ERROR"), "{said}");
    for write in WRITES {
        let before = state(&scene)?;
        let said = told(&scene, &mut somebody, &format!("{write};\n{HELD};\nCOMMIT"))?;
        let is_held = said.contains("held for good");
        assert!(is_held || state(&scene)? != before, "{write}: {said}");
    }

    let begun = Instant::now();
    let seed = number(SEED).unwrap_or(0x00c0_ffee).max(1);
    let mut maker = Maker::new(seed);
    let seconds = number(SECONDS).unwrap_or_default();
    let functions = told(&scene, &mut somebody, calls::ALL)?;
    loop {
        let mut fuzz = Fuzz::begun(&scene)?;
        // Where the gate runs, one in so many of them.
        let sample = if is_sampled() { 4 } else { 1 };
        for (lock, share) in [(Lock::Both, sample), (Lock::Text, 3 * sample)] {
            let mut statements: Vec<_> = fixtures().collect();
            let calls = functions.lines();
            statements.extend(calls.filter_map(|line| calls::call(line, &mut maker.0)));
            statements.extend((0..ROUND).map(|_| maker.statement()));
            statements.retain(|_| maker.0.next(share) == 0);
            let count = fuzz.assert_harmless(&statements, lock)?;
            println!("{lock:?}, {seed}: {count:?} after {:?}", begun.elapsed());
            assert!(count.refused * 5 > statements.len(), "{count:?}");
            assert!(count.passed * 5 > statements.len(), "{count:?}");
            assert!(count.failed * 2 < statements.len(), "{count:?}");
        }
        if begun.elapsed() > Duration::from_secs(seconds) {
            return fuzz.assert_that_locks_matter();
        }
    }
}
