//! The pictures in the documents: what a browser showed, taken by the tests of the pages.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::place;
use crate::shell::root;
use crate::test;

/// Each below `docs/pictures`, and what its test calls it.
const PICTURES: [(&str, &str); 5] = [
    ("console-phone", "write-phone-light"),
    ("console-desk", "write-desk-dark"),
    ("console-first", "first-desk-light"),
    ("console-enrol", "enrol-phone-light"),
    ("fleet-page", "fleet-questions-desk-light"),
];

/// The tests that take them, and the environment variable that names a directory for them.
const TAKE: [&str; 3] = [
    "console::browser::a_write_is_answered_on_a_phone",
    "console::browser::somebody_enrols_is_asked",
    "fleet::central::somebody_makes_one_passkey",
];
const DIRECTORY: &str = "GUARD_LAB_PICTURES";

/// In a document, where a picture goes once it is made: its name and what it shows are behind this.
const PLACE: &str = "<!-- picture ";

/// Takes them again, and puts those into documents that had only their place there.
///
/// # Errors
///
/// That a test could not be run, or that they took another picture than these.
pub(super) fn write() -> Result<ExitCode> {
    let taken = tempfile::tempdir()?;
    for begin in TAKE {
        let ended = test::these_with(begin, &[(DIRECTORY, taken.path())])?;
        ensure!(ended == ExitCode::SUCCESS, "{begin} failed");
    }
    for (name, test) in PICTURES {
        let from = taken.path().join(format!("{test}.png"));
        let to = root().join(format!("docs/pictures/{name}.png"));
        fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    for file in place::documents()? {
        let file = root().join(file);
        let text = fs::read_to_string(&file)?;
        let with_all = PICTURES
            .iter()
            .fold(text.clone(), |text, (name, _)| with(&text, name));
        if with_all != text {
            fs::write(&file, with_all)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A document's text with a picture where its place was.
fn with(text: &str, name: &str) -> String {
    let begin = format!("{PLACE}{name}: ");
    let line = |line: &str| {
        let shows = line.strip_prefix(&begin);
        match shows.and_then(|rest| rest.strip_suffix(" -->")) {
            Some(shows) => format!("![{shows}](pictures/{name}.png)\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What stands between two texts, each time.
    fn between<'t>(text: &'t str, begin: &'t str, end: &'t str) -> impl Iterator<Item = String> {
        let behind = text.split(begin).skip(1);
        behind.filter_map(move |rest| Some(rest.split_once(end)?.0.to_owned()))
    }

    #[test]
    fn each_picture_is_made_and_shown_or_has_its_place() -> Result<()> {
        let (mut shown, mut places) = (BTreeSet::new(), BTreeSet::new());
        for file in place::documents()? {
            let text = fs::read_to_string(root().join(file))?;
            shown.extend(between(&text, "](pictures/", ".png)"));
            places.extend(between(&text, PLACE, ": "));
        }
        let there = fs::read_dir(root().join("docs/pictures"))?
            .map(|entry| {
                Ok(entry?
                    .path()
                    .file_stem()
                    .map(|name| name.to_string_lossy().into_owned()))
            })
            .collect::<Result<BTreeSet<_>>>()?;
        let made: BTreeSet<_> = PICTURES.map(|(name, _)| name.to_owned()).into();
        assert!(shown.is_disjoint(&places), "{places:?}");
        assert_eq!(made, &shown | &places);
        assert_eq!(shown.into_iter().map(Some).collect::<BTreeSet<_>>(), there);
        Ok(())
    }

    #[test]
    fn a_picture_takes_its_place_once_and_no_others() {
        let text = "# One\n\n<!-- picture one: What it shows -->\n<!-- picture one-more: It -->\n";
        let one = "# One\n\n![What it shows](pictures/one.png)\n<!-- picture one-more: It -->\n";
        assert_eq!(with(text, "one"), one);
        assert_eq!(with(one, "one"), one);
        assert_eq!(with(text, "other"), text);
    }
}
