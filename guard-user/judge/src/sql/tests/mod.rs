//! What passes, what asks, and what a person is told.

mod control;
mod coverage;
mod depth;
mod noise;
mod normalised;
mod reads;
mod releases;
mod starting;
mod told;
mod tricks;
mod writes;

use super::{Control, Effect, Extra, JudgedQuery, Release, SqlWrite, Statement, Unread, judge};

/// A server of the parser's release, and a rule that names nothing.
const NOW: Extra<'static> = Extra {
    release: Release(18),
    functions: &[],
    settings: &[],
};

/// What a text is, where it can be read.
fn judged(text: &str) -> JudgedQuery {
    judge(text.as_bytes(), NOW).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// The only statement of a text.
fn one(text: &str) -> Statement {
    let mut statements = judged(text).statements;
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

fn written(text: &str) -> SqlWrite {
    one(text)
        .into_write()
        .unwrap_or_else(|| panic!("reads: {text}"))
}

fn reads(text: &str) -> bool {
    let all = |judged: JudgedQuery| {
        let mut effects = judged.statements.into_iter().map(|s| s.effect);
        effects.all(|effect| effect == Effect::Reads)
    };
    judge(text.as_bytes(), NOW).is_ok_and(all)
}

#[track_caller]
fn assert_reads(text: &str) {
    let statements = judged(text).statements;
    let write = statements.into_iter().find_map(Statement::into_write);
    assert_eq!(write, None, "{text}");
}

#[track_caller]
fn assert_asks(text: &str) {
    assert!(!reads(text), "reads: {text}");
}

/// The lines of a fixture.
fn lines(fixture: &str) -> impl Iterator<Item = &str> {
    fixture
        .lines()
        .filter(|line| !line.starts_with("--") && !line.is_empty())
}
