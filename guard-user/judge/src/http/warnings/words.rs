//! The words that are warned about. `docs/read-only.md` names some, and links to these.

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

/// Each with where it counts, and what it is likely to mean. Several words follow one another. `deleteAll`,
/// `delete_all` and `delete-all` are all `delete all`.
pub(in super::super) const WORDS: &[(&str, &[WordPosition], &str)] = &[
    ("all", &[Path, Name], "all of them"),
    ("batch", &[Path, Name], "many at once"),
    ("bulk", &[Path, Name, Value], "many at once"),
    ("cascade", &[Name, Value], "and all that belongs to it"),
    ("clear", &[Path, Value], "empties something"),
    ("delete all", &[Path, Name, Value], "deletes all of them"),
    ("delete by query", &[Path], "deletes all that match"),
    ("destroy", &[Path, Name, Value], "cannot be undone"),
    ("drop", &[Path, Name, Value], "cannot be undone"),
    ("empty", &[Path, Value], "empties something"),
    ("erase", &[Path, Name, Value], "cannot be undone"),
    ("everything", &[Path, Name, Value], "all of them"),
    (
        "force",
        &[Path, Name, Value],
        "overrides what would stop it",
    ),
    ("forced", &[Name], "overrides what would stop it"),
    ("format", &[Value], "cannot be undone"),
    ("hard", &[Name], "cannot be undone"),
    (
        "job",
        &[Path, Name, Value],
        "a job, which may touch many things",
    ),
    (
        "jobs",
        &[Path, Name, Value],
        "a job, which may touch many things",
    ),
    ("migrate", &[Path, Value], "moves many things"),
    ("overwrite", &[Name, Value], "what was there is lost"),
    ("permanent", &[Name], "cannot be undone"),
    ("permanently", &[Name], "cannot be undone"),
    (
        "prune",
        &[Path, Name, Value],
        "removes all that is not in use",
    ),
    ("purge", &[Path, Name, Value], "cannot be undone"),
    ("reboot", &[Path, Value], "stops a machine"),
    ("recursive", &[Path, Name], "and all that is in it"),
    ("reindex", &[Path, Value], "touches many things"),
    ("remove all", &[Path, Name, Value], "removes all of them"),
    ("replace all", &[Path, Name, Value], "replaces all of them"),
    ("reset", &[Path, Name, Value], "what was there is lost"),
    ("restart", &[Path, Value], "stops something"),
    ("restore", &[Path, Value], "what is there now is lost"),
    ("revoke", &[Path, Name, Value], "takes access away"),
    ("rollback", &[Path, Value], "what is there now is lost"),
    ("shutdown", &[Path, Value], "stops something"),
    ("skip trash", &[Name], "cannot be undone"),
    ("terminate", &[Path, Value], "cannot be undone"),
    ("truncate", &[Path, Name, Value], "empties something"),
    ("update by query", &[Path], "changes all that match"),
    ("wipe", &[Path, Name, Value], "cannot be undone"),
];

/// What a text is likely to mean by the first entry that it has in it, longer ones first.
pub(in super::super) fn means(text: &str, place: WordPosition) -> Option<&'static str> {
    let words = split(text);
    let holds = |entry: &str| {
        let entry: Vec<_> = entry.split(' ').collect();
        words.windows(entry.len()).any(|part| part == entry)
    };
    let here = WORDS
        .iter()
        .filter(|(_, places, _)| places.contains(&place));
    let found = here.filter(|(entry, _, _)| holds(entry));
    let longest = found.max_by_key(|(entry, _, _)| entry.split(' ').count());
    longest.map(|(_, _, means)| *means)
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
        for (entry, places, _) in WORDS {
            for place in [Path, Name, Value] {
                let found = means(&entry.replace(' ', "_"), place).is_some();
                let other = WORDS.iter().any(|(word, places, _)| {
                    places.contains(&place) && entry.split(' ').any(|part| part == *word)
                });
                assert_eq!(found, places.contains(&place) || other, "{entry} {place:?}");
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
