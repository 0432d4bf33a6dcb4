//! Names that programs ask for. A program chooses the labels in front, and the owner of a zone those behind: a long name is cut in
//! the middle.

use guard_proto::{DnsQuestion, Endpoint, destination::NameTold};
use guard_signed::visible;

use super::{
    escape::{escaped, program},
    time::Clock,
};

/// Characters of a name that is shown whole.
const WHOLE: usize = 64;
/// Of a longer one, so many in front.
const HEAD: usize = 15;
/// And whole labels behind, in so many, but two of them in any case.
const TAIL: usize = 40;
const LEAST: usize = 2;

/// A name in the line of a request.
pub(crate) fn short(name: &str) -> String {
    let shown = escaped(name, usize::MAX);
    let count = shown.chars().count();
    if count <= WHOLE {
        return shown;
    }
    let head: String = shown.chars().take(HEAD).collect();
    match tail(&shown) {
        Some(tail) => format!("{head}….{tail} ({count} characters)"),
        None => format!("{head}… ({count} characters)"),
    }
}

/// As many labels from the end as have room, without the first.
fn tail(name: &str) -> Option<&str> {
    let starts = name
        .char_indices()
        .filter(|(_, c)| *c == '.')
        .map(|(at, _)| at + 1);
    let starts: Vec<_> = starts.collect();
    let tails = starts.iter().rev().map(|at| &name[*at..]);
    let fits = |(count, tail): &(usize, &str)| *count < LEAST || tail.chars().count() <= TAIL;
    tails
        .enumerate()
        .take_while(fits)
        .last()
        .map(|(_, tail)| tail)
}

/// [`visible::in_letters`], as long as a name in a line is.
pub(crate) fn in_letters(name: &str) -> Option<String> {
    visible::in_letters(name).map(|read| short(&read))
}

/// "tcp api.example.com:443 (192.0.2.10)"
pub(crate) fn reached(to: &Endpoint, told: &NameTold) -> String {
    let port = to.port.map_or_else(String::new, |port| format!(":{port}"));
    format!(
        "{} {}{port} ({})",
        to.protocol,
        short(&told.name),
        to.address
    )
}

/// Who asked for a name, and what else the session calls the address.
pub(crate) fn told(told: &NameTold, clock: &Clock) -> String {
    let asker = match (told.comm.as_deref().map(program), told.pid) {
        (Some(comm), Some(pid)) => format!("{comm} ({pid})"),
        (None, Some(pid)) => format!("process {pid}"),
        _ => "a process".to_owned(),
    };
    let mut words = format!("asked for by {asker} {}", clock.ago(told.at));
    if let Some(read) = in_letters(&told.name) {
        words += &format!("; in letters: {read}");
    }
    if let Some(cname) = &told.cname {
        words += &format!("; by CNAME to {}", short(cname));
    }
    if !told.also.is_empty() {
        let also: Vec<_> = told.also.iter().map(|name| short(name)).collect();
        words += &format!("; also at this address: {}", also.join(", "));
    }
    words
}

/// "what x.example.com is (TXT)", "what names below evil.example are (A, TXT)"
pub(crate) fn asked(question: &DnsQuestion, count: usize) -> String {
    let types = question.types.join(", ");
    match (question.zone(), count) {
        (Some(zone), 0) => format!("what more names below {} are ({types})", short(zone)),
        (Some(zone), count) => format!("what {count} names below {} are ({types})", short(zone)),
        (None, _) => format!("what {} is ({types})", short(&question.name)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_name_keeps_its_owners_labels() {
        assert_eq!(short("api.github.com"), "api.github.com");
        let long = format!("{}.{}.evil.example", "a".repeat(63), "b".repeat(63));
        assert_eq!(
            short(&long),
            format!("{}….evil.example (140 characters)", "a".repeat(15))
        );
        let owner = format!("{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63));
        assert!(short(&owner).ends_with(&format!(
            "….{}.{} (191 characters)",
            "b".repeat(63),
            "c".repeat(63)
        )));
        assert_eq!(
            short(&"x".repeat(65)),
            format!("{}… (65 characters)", "x".repeat(15))
        );
        assert!(!short("a\u{1b}[2J.example").contains('\u{1b}'));
    }

    #[test]
    fn letters_beyond_ascii_are_read_where_they_are_meant() {
        let read = in_letters("a.XN--bcher-kva.example");
        assert_eq!(read.as_deref(), Some("a.bücher.example"));
        let zone = in_letters("*.xn--bcher-kva.example");
        assert_eq!(zone.as_deref(), Some("*.bücher.example"));
        // No labels of these, and one that stands for nothing.
        for name in [
            "api.github.com",
            "axn--bcher-kva.example",
            "xn--999999999.example",
        ] {
            assert_eq!(in_letters(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_of_the_name(labels in prop::collection::vec("[a-z]{1,63}", 1..6)) {
            let name = labels.join(".");
            let shown = short(&name);
            match shown.split_once('…') {
                None if name.len() <= WHOLE => prop_assert_eq!(shown, name),
                None => prop_assert!(false, "{}", shown),
                Some((head, tail)) => {
                    prop_assert!(name.starts_with(head));
                    let (tail, _) = tail.split_once(" (").unwrap();
                    prop_assert!(name.ends_with(tail));
                }
            }
        }
    }
}
