//! The pictures in the documents: what a browser showed, taken by the tests of the pages.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::shell::root;
use crate::test;

/// Each below `docs/pictures`, and what its test calls it.
const PICTURES: [(&str, &str); 2] = [
    ("console-phone", "write-phone-light"),
    ("console-desk", "write-desk-dark"),
];

/// The test that takes them, and the environment variable that names a directory for them.
const TAKES: &str = "console::browser::a_write_is_answered_on_a_phone";
const DIRECTORY: &str = "GUARD_LAB_PICTURES";

/// Takes them anew.
///
/// # Errors
///
/// That the test could not be run, or that it took another picture than these.
pub(super) fn write() -> Result<ExitCode> {
    let taken = tempfile::tempdir()?;
    let ended = test::these_with(TAKES, &[(DIRECTORY, taken.path())])?;
    ensure!(ended == ExitCode::SUCCESS, "{TAKES} failed");
    for (name, test) in PICTURES {
        let from = taken.path().join(format!("{test}.png"));
        let to = root().join(format!("docs/pictures/{name}.png"));
        fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_picture_is_made_and_shown() -> Result<()> {
        let mut shown = BTreeSet::new();
        for entry in fs::read_dir(root().join("docs"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "md") {
                let text = fs::read_to_string(path)?;
                let names = text.split("](pictures/").skip(1);
                shown.extend(names.filter_map(|rest| Some(rest.split_once(".png)")?.0.to_owned())));
            }
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
        assert_eq!(made, shown);
        assert_eq!(made.into_iter().map(Some).collect::<BTreeSet<_>>(), there);
        Ok(())
    }
}
