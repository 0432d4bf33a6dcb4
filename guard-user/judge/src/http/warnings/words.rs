//! Words for what is done: a person is warned of them, and a GET that says one is no read. `docs/read-only.md` names some, and links
//! to these.

/// Where a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum WordPosition {
    /// A segment of the path.
    Path,
    /// The name of a parameter, of a field of a form or of a JSON object.
    Name,
    /// The value of a field that says what is to be done.
    Value,
}

use WordPosition::{Name, Path, Value};

/// What a word is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Use {
    /// It warns of much at once, or of what cannot be undone.
    Warns,
    /// It names an act, by which a GET is no read.
    Acts,
    /// Both.
    Both,
}

use Use::{Acts, Both, Warns};

/// Each with where it counts, and what it is likely to mean. Several words follow one another. `deleteAll`,
/// `delete_all` and `delete-all` are all `delete all`.
pub(in super::super) const WORDS: &[(&str, &[WordPosition], Use, &str)] = &[
    ("abort", &[Path, Value], Acts, "stops something"),
    ("all", &[Path, Name], Warns, "all of them"),
    (
        "api key",
        &[Path],
        Warns,
        "hands out or replaces what lets somebody in",
    ),
    (
        "api keys",
        &[Path],
        Warns,
        "hands out or replaces what lets somebody in",
    ),
    ("batch", &[Path, Name], Warns, "many at once"),
    ("bulk", &[Path, Name, Value], Warns, "many at once"),
    ("cancel", &[Path, Value], Acts, "stops something"),
    (
        "cascade",
        &[Name, Value],
        Warns,
        "and all that belongs to it",
    ),
    ("clear", &[Path, Value], Both, "empties something"),
    (
        "credentials",
        &[Path],
        Warns,
        "hands out or replaces what lets somebody in",
    ),
    (
        "creds",
        &[Path],
        Both,
        "hands out or replaces what lets somebody in",
    ),
    ("delete", &[Path, Name, Value], Both, "may be gone for good"),
    (
        "delete all",
        &[Path, Name, Value],
        Both,
        "deletes all of them",
    ),
    ("delete by query", &[Path], Both, "deletes all that match"),
    ("deploy", &[Path, Value], Both, "replaces what runs"),
    ("destroy", &[Path, Name, Value], Both, "cannot be undone"),
    (
        "disable",
        &[Path, Value],
        Both,
        "takes something out of service",
    ),
    ("drop", &[Path, Name, Value], Both, "cannot be undone"),
    ("empty", &[Path, Value], Warns, "empties something"),
    (
        "enable",
        &[Path, Value],
        Acts,
        "puts something into service",
    ),
    ("erase", &[Path, Name, Value], Both, "cannot be undone"),
    ("everything", &[Path, Name, Value], Warns, "all of them"),
    ("exec", &[Path, Value], Acts, "runs something"),
    ("execute", &[Path, Value], Acts, "runs something"),
    ("factory", &[Value], Both, "what was there is lost"),
    ("factory reset", &[Path], Both, "what was there is lost"),
    (
        "force",
        &[Path, Name, Value],
        Warns,
        "overrides what would stop it",
    ),
    ("forced", &[Name], Warns, "overrides what would stop it"),
    ("format", &[Value], Warns, "cannot be undone"),
    ("hard", &[Name, Value], Both, "cannot be undone"),
    (
        "job",
        &[Path, Name, Value],
        Warns,
        "a job, which may touch many things",
    ),
    (
        "jobs",
        &[Path, Name, Value],
        Warns,
        "a job, which may touch many things",
    ),
    ("kill", &[Path, Value], Both, "stops something"),
    ("migrate", &[Path, Value], Both, "moves many things"),
    ("overwrite", &[Name, Value], Warns, "what was there is lost"),
    ("password", &[Path], Warns, "replaces what lets somebody in"),
    ("permanent", &[Name], Warns, "cannot be undone"),
    ("permanently", &[Name], Warns, "cannot be undone"),
    ("poweroff", &[Path, Value], Both, "stops a machine"),
    (
        "prune",
        &[Path, Name, Value],
        Both,
        "removes all that is not in use",
    ),
    ("publish", &[Path, Value], Both, "others get it"),
    ("purge", &[Path, Name, Value], Both, "cannot be undone"),
    ("quit", &[Path, Value], Both, "stops something"),
    ("reboot", &[Path, Value], Both, "stops a machine"),
    ("recursive", &[Path, Name], Warns, "and all that is in it"),
    ("reindex", &[Path, Value], Warns, "touches many things"),
    ("releases", &[Path], Warns, "others get it"),
    ("remove", &[Path, Value], Both, "may be gone for good"),
    (
        "remove all",
        &[Path, Name, Value],
        Both,
        "removes all of them",
    ),
    (
        "replace all",
        &[Path, Name, Value],
        Warns,
        "replaces all of them",
    ),
    (
        "reset",
        &[Path, Name, Value],
        Both,
        "what was there is lost",
    ),
    ("restart", &[Path, Value], Both, "stops something"),
    ("restore", &[Path, Value], Both, "what is there now is lost"),
    ("revoke", &[Path, Name, Value], Both, "takes access away"),
    (
        "rollback",
        &[Path, Value],
        Both,
        "what is there now is lost",
    ),
    ("run", &[Path, Value], Acts, "runs something"),
    (
        "seal",
        &[Path, Value],
        Both,
        "nobody gets in until it is opened again",
    ),
    ("send", &[Path, Value], Acts, "sends something"),
    ("set", &[Path, Value], Acts, "changes something"),
    ("shutdown", &[Path, Value], Both, "stops something"),
    ("skip trash", &[Name], Warns, "cannot be undone"),
    ("start", &[Path, Value], Acts, "starts something"),
    ("stop", &[Path, Value], Both, "stops something"),
    (
        "stream body",
        &[Name],
        Both,
        "a request of its own in the query",
    ),
    ("sync", &[Path], Warns, "changes much to what a source says"),
    ("terminate", &[Path, Value], Both, "cannot be undone"),
    ("toggle", &[Path, Value], Acts, "changes something"),
    (
        "token",
        &[Path],
        Warns,
        "hands out or replaces what lets somebody in",
    ),
    (
        "tokens",
        &[Path],
        Warns,
        "hands out or replaces what lets somebody in",
    ),
    ("trigger", &[Path, Value], Acts, "runs something"),
    ("truncate", &[Path, Name, Value], Both, "empties something"),
    (
        "undeploy",
        &[Path, Value],
        Both,
        "takes something out of service",
    ),
    (
        "uninstall",
        &[Path, Value],
        Both,
        "takes something out of service",
    ),
    ("unseal", &[Path, Value], Acts, "lets somebody in"),
    ("unload", &[Value], Both, "takes something out of service"),
    (
        "unsubscribe",
        &[Path, Name, Value],
        Acts,
        "changes something",
    ),
    ("update by query", &[Path], Warns, "changes all that match"),
    ("wipe", &[Path, Name, Value], Both, "cannot be undone"),
];

/// Returns what a text is likely to mean by the first entry that it has in it, longer ones first.
pub(in super::super) fn means(text: &str, place: WordPosition) -> Option<&'static str> {
    let words = split(text);
    let holds = |entry: &str| {
        let entry: Vec<_> = entry.split(' ').collect();
        words.windows(entry.len()).any(|part| part == entry)
    };
    let warns = WORDS
        .iter()
        .filter(|(_, places, used, _)| places.contains(&place) && *used != Acts);
    let found = warns.filter(|(entry, ..)| holds(entry));
    let longest = found.max_by_key(|(entry, ..)| entry.split(' ').count());
    longest.map(|(.., means)| *means)
}

/// Returns what a text that names an act does: its first word, as in `deletePerm`, or behind a dot, as in `Shelly.FactoryReset`; of a
/// value its last, too, as in `torrent-remove`. Three words joined by `-` are a title: `delete-an-account`.
pub(in super::super) fn act(text: &str, place: WordPosition) -> Option<&'static str> {
    let name = text.rsplit('.').next().unwrap_or_default();
    let words = split(name);
    if place == Path && name.contains('-') && words.len() > 2 {
        return None;
    }
    let begins = |entry: &str| {
        let entry: Vec<_> = entry.split(' ').map(str::to_owned).collect();
        words.starts_with(&entry) || (place == Value && words.ends_with(&entry))
    };
    let acts = WORDS
        .iter()
        .filter(|(_, places, used, _)| places.contains(&place) && *used != Warns);
    let mut found = acts.filter(|(entry, ..)| begins(entry));
    found.next().map(|(.., means)| *means)
}

/// The words of a name, in lower case: `deleteAll` and `delete_all` are two.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words
                .last_mut()
                .into_iter()
                .for_each(|word| word.extend(c.to_lowercase()));
        }
        lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_people_write_them() {
        for text in [
            "deleteAll",
            "delete_all",
            "delete-all",
            "DELETE_ALL",
            "Delete.All",
            "_deleteAll",
        ] {
            assert_eq!(split(text), ["delete", "all"], "{text}");
        }
    }

    #[test]
    fn a_word_is_a_word_of_its_own() {
        for text in [
            "allow",
            "enforce",
            "install",
            "bulkhead",
            "small",
            "reinforced",
            "jobless",
        ] {
            assert_eq!(means(text, WordPosition::Path), None, "{text}");
        }
    }

    #[test]
    fn each_word_of_the_table_is_found_where_it_counts_only() {
        for (entry, places, used, _) in WORDS {
            for place in [Path, Name, Value] {
                let found = means(&entry.replace(' ', "_"), place).is_some();
                let other = WORDS.iter().any(|(word, places, used, _)| {
                    *used != Acts
                        && places.contains(&place)
                        && entry.split(' ').any(|part| part == *word)
                });
                let here = *used != Acts && places.contains(&place);
                assert_eq!(found, here || other, "{entry} {place:?}");
                let acts = act(&entry.replace(' ', "_"), place).is_some();
                assert!(
                    acts || *used == Warns || !places.contains(&place),
                    "{entry} {place:?}"
                );
            }
        }
    }

    #[test]
    fn the_reference_links_to_these_and_names_no_other() {
        let reference = include_str!("../../../../../docs/read-only.md");
        let link = "- [Words](../guard-user/judge/src/http/warnings/words.rs) such as ";
        let (_, rest) = reference.split_once(link).unwrap();
        let (named, _) = rest.split_once('(').unwrap();
        let named: Vec<_> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty());
        for entry in named {
            assert!(WORDS.iter().any(|(known, ..)| *known == entry), "{entry}");
        }
    }
}
