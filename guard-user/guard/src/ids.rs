//! What people type where an id of a request, a hole or a session belongs.

use guard_policy::{Destination, Target, parse_duration};
use guard_proto::Failure;

use super::policy_file::or_default;
use super::render::command_line;

/// The first letters of ids, each with what such an id names, and the command that lists them.
const KINDS: [(char, &str, &str); 3] = [
    ('r', "request", "guard pending"),
    ('h', "hole", "guard holes"),
    ('s', "session", "guard sessions"),
];

/// Whether all may be ids of that kind, which guardd alone knows: of a line that is not understood nothing is done.
pub(super) fn are_ids<'i>(
    verb: &str,
    letter: char,
    ids: impl Iterator<Item = &'i String>,
) -> Result<(), Failure> {
    let ids: Vec<_> = ids.collect();
    let mut wrong = ids
        .iter()
        .map(|id| not_an_id(verb, letter, id).or_else(|| not_a_time(verb, &ids, id)));
    let failed = wrong.find_map(|wrong| wrong);
    if let Some(failed) = failed {
        return Err(failed);
    }
    let is_one = |id: &&&String| {
        let number = id.strip_prefix(letter).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    // guardd says what is wrong with one that stands alone.
    let Some(other) = ids.iter().find(|id| !is_one(id)).filter(|_| ids.len() > 1) else {
        return Ok(());
    };
    let (_, of, list) = KINDS
        .iter()
        .find(|(one, ..)| *one == letter)
        .unwrap_or(&KINDS[0]);
    Err(Failure {
        what: format!("{other} is no id, and nothing was done"),
        why: format!("that of a {of} is {letter} and a number"),
        fix: (*list).to_owned(),
    })
}

/// That a person looks at each request before the answer.
pub(super) fn one_by_one(verb: &str) -> Failure {
    let (why, some) = match verb {
        "deny" => (
            "each is named, or the session of which all that waits is denied",
            "guard deny s1",
        ),
        _ => ("each is named", "guard approve r1 r2"),
    };
    Failure {
        what: format!("cannot {verb} all requests at once"),
        why: why.to_owned(),
        fix: format!("guard pending\n{some}\nor one after the other, by a key:\nguard watch"),
    }
}

/// That sessions are ended one by one, too.
pub(super) fn stop_all() -> Failure {
    Failure {
        what: "cannot stop all sessions at once".to_owned(),
        why: "each is named by its id; several in one line".to_owned(),
        fix: "guard sessions\nguard stop ID…".to_owned(),
    }
}

/// What is to be said about all of them, a destination, a number alone, another case, or an id of another kind.
pub(super) fn not_an_id(verb: &str, letter: char, id: &str) -> Option<Failure> {
    all_of_them(verb, id)
        .or_else(|| several(verb, id))
        .or_else(|| a_destination(verb, id))
        .or_else(|| nearly_an_id(verb, letter, id))
}

fn all_of_them(verb: &str, id: &str) -> Option<Failure> {
    if !id.eq_ignore_ascii_case("all") {
        return None;
    }
    match verb {
        "approve" | "deny" => Some(one_by_one(verb)),
        "stop" => Some(stop_all()),
        "close" => Some(Failure {
            what: format!("cannot close {id}"),
            why: "that is no id, and all holes are closed by an option".to_owned(),
            fix: "guard close --all".to_owned(),
        }),
        _ => None,
    }
}

/// Where somebody wants a session to get to, or not: what nobody has asked for has no id.
fn a_destination(verb: &str, text: &str) -> Option<Failure> {
    // A word alone may be an id that is misspelt.
    let to: Destination = text.parse().ok()?;
    let is_one = text.contains(['.', ':', '/', '@']);
    let what = format!("{text} is a destination, and no request's id");
    let word = command_line(&[text.to_owned()]);
    match verb {
        "approve" if is_one => Some(Failure {
            what,
            why: "guard approve answers what was asked".to_owned(),
            fix: format!("guard open {}", with_a_port(to, text)),
        }),
        "deny" if is_one => Some(Failure {
            what,
            why: "guard deny answers what was asked, and what nobody has asked for is denied by a policy"
                .to_owned(),
            fix: format!(
                "guard explain {word}\nsudo guard policy edit {}",
                or_default(None)
            ),
        }),
        _ => None,
    }
}

/// It, and the port that is meant mostly, where it has none.
pub(super) fn with_a_port(to: Destination, text: &str) -> String {
    let word = |to: String| command_line(&[to]);
    match (&to.target, to.port) {
        (_, Some(_)) => word(text.to_owned()),
        (Target::Prefix(prefix), None) if prefix.is_host() => {
            let port = Some(443);
            word(Destination { port, ..to }.to_string())
        }
        _ => format!("{} --ports tcp/443", word(text.to_owned())),
    }
}

/// `1`, `#1`, `R1`, `r01`, `r-1`, `request1`, and the id of another kind.
fn nearly_an_id(verb: &str, letter: char, id: &str) -> Option<Failure> {
    let (begins, number) = kind_and_number(id)?;
    let meant = format!("{letter}{number}");
    if id == meant {
        return None;
    }
    let kind = |begins: &str| KINDS.iter().find(|(_, of, _)| of.starts_with(begins));
    let is_no_id = |meant: &str| {
        Some(Failure {
            what: format!("{id} is no id"),
            why: format!("did you mean {meant}?"),
            fix: format!("guard {verb} {meant}"),
        })
    };
    if begins.is_empty() {
        return is_no_id(&meant);
    }
    let ((other, other_of, _), (_, wanted, list)) = (kind(&begins)?, kind(&letter.to_string())?);
    let typed = format!("{other}{number}");
    if *other == letter || (verb == "deny" && *other == 's') {
        return is_no_id(&typed);
    }
    Some(Failure {
        what: format!("cannot {verb} {id}"),
        why: format!(
            "{id} is the id of a {other_of}, and this takes that of a {wanted}, such as {meant}"
        ),
        fix: match (verb, *other_of) {
            ("close", "request") => format!("{list}\nor answer the request:\nguard deny {typed}"),
            ("stop" | "deny" | "approve", "hole") => {
                format!("{list}\nor close the hole:\nguard close {typed}")
            }
            ("close", "session") => format!("{list}\nor end the session:\nguard stop {typed}"),
            _ => (*list).to_owned(),
        },
    })
}

/// The letters that an id begins with, as they were meant, and its number.
fn kind_and_number(id: &str) -> Option<(String, &str)> {
    let id = id.trim_start_matches('#');
    let end = id.find(|c: char| !c.is_ascii_alphabetic())?;
    let (begins, number) = id.split_at(end);
    let number = number.trim_start_matches(['#', '-', '0']);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (begins.to_ascii_lowercase(), number))
}

/// Ids with commas between, or in one word.
fn several(verb: &str, ids: &str) -> Option<Failure> {
    let apart = ids.split([',', ' ']).filter(|id| !id.is_empty());
    let apart: Vec<_> = apart.collect();
    let are_ids = || apart.len() > 1 && apart.iter().all(|id| kind_and_number(id).is_some());
    (ids.contains(',') || are_ids()).then(|| Failure {
        what: format!("{ids} is no id"),
        why: "several stand with blanks between".to_owned(),
        fix: format!("guard {verb} {}", apart.join(" ")),
    })
}

/// `15m` without its option.
fn not_a_time(verb: &str, ids: &[&String], id: &str) -> Option<Failure> {
    let is_time =
        |id: &str| id.ends_with(|c: char| c.is_ascii_alphabetic()) && parse_duration(id).is_ok();
    let takes_time = ["approve", "deny"].contains(&verb);
    let others = ids.iter().filter(|other| !is_time(other));
    let others: String = others.map(|other| format!(" {other}")).collect();
    (takes_time && is_time(id)).then(|| Failure {
        what: format!("{id} is no id, and nothing was done"),
        why: format!("did you mean --for {id}?"),
        fix: if others.is_empty() {
            format!("guard {verb} --help")
        } else {
            format!("guard {verb}{others} --for {id}")
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_an_id_is_told_what_was_meant() {
        for (verb, letter, id, fix) in [
            ("approve", 'r', "1", "guard approve r1"),
            ("approve", 'r', "#1", "guard approve r1"),
            ("approve", 'r', "R-1", "guard approve r1"),
            ("approve", 'r', "r01", "guard approve r1"),
            ("approve", 'r', "req12", "guard approve r12"),
            ("approve", 'r', "request#3", "guard approve r3"),
            ("approve", 'r', "r1 r2", "guard approve r1 r2"),
            ("approve", 'r', "r1, r2", "guard approve r1 r2"),
            ("deny", 'r', "S2", "guard deny s2"),
            ("stop", 's', "session7", "guard stop s7"),
            ("stop", 's', "all", "guard stop ID"),
            ("close", 'h', "ALL", "guard close --all"),
            ("close", 'h', "R7", "guard deny r7"),
            ("approve", 'r', "h2", "guard close h2"),
            ("log --session", 's', "r1", "guard sessions"),
        ] {
            let told = not_an_id(verb, letter, id);
            let told = told.map_or_else(String::new, |failure| failure.fix);
            assert!(told.contains(fix), "{verb} {id}: {told:?}");
        }
        for (letter, id) in [
            ('r', "r1"),
            ('s', "claude"),
            ('s', "job1"),
            ('s', "my job"),
            ('r', "r"),
            ('r', "r0"),
            ('r', "15m"),
        ] {
            assert_eq!(not_an_id("stop", letter, id), None, "{id}");
        }
    }

    #[test]
    fn a_destination_is_no_request() {
        for (verb, to, fix) in [
            (
                "approve",
                "db.example.com:5432",
                "guard open db.example.com:5432",
            ),
            ("approve", "192.0.2.10", "guard open 192.0.2.10:443"),
            (
                "approve",
                "192.0.2.0/24",
                "guard open 192.0.2.0/24 --ports tcp/443",
            ),
            ("approve", "2001:db8::a", "guard open '[2001:db8::a]:443'"),
            ("deny", "10.0.0.0/8", "guard explain 10.0.0.0/8"),
            ("deny", "@private", "guard explain @private"),
        ] {
            let told = not_an_id(verb, 'r', to).unwrap();
            assert!(told.what.contains("is a destination"), "{told}");
            assert!(told.fix.starts_with(fix), "{verb} {to}: {}", told.fix);
        }
        let told = not_an_id("deny", 'r', "10.0.0.0/8").unwrap();
        assert!(told.fix.ends_with("\nsudo guard policy edit default"));
        for (verb, text) in [("approve", "claude"), ("close", "192.0.2.10:443")] {
            assert_eq!(not_an_id(verb, 'r', text), None, "{text}");
        }
    }
}
