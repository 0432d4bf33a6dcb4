//! Where a document says it.

use std::fs;

use anyhow::{Context as _, Result};

use super::Promise;
use crate::shell::root;

/// The line on which it begins.
///
/// # Errors
///
/// That the document does not say it any more.
pub(super) fn line(promise: &Promise) -> Result<usize> {
    let text = fs::read_to_string(root().join(promise.file))
        .with_context(|| format!("cannot read {}", promise.file))?;
    find(&text, promise.says).with_context(|| {
        format!(
            "{} does not say this any more, which the promise {:?} is about: {:?}",
            promise.file, promise.name, promise.says
        )
    })
}

/// The line on which it begins: lines may break elsewhere.
pub(super) fn find(text: &str, says: &str) -> Option<usize> {
    let mut all = String::new();
    // Where each line begins there.
    let mut lines = Vec::new();
    for line in text.lines() {
        lines.push(all.len());
        for word in line.split_whitespace() {
            all += word;
            all.push(' ');
        }
    }
    let words: Vec<&str> = says.split_whitespace().collect();
    let at = all.find(&words.join(" "))?;
    Some(lines.partition_point(|begin| *begin <= at))
}

/// README and docs, but for what is made by a test.
///
/// # Errors
///
/// The system's.
pub(super) fn documents() -> Result<Vec<String>> {
    let mut documents = vec!["README.md".to_owned()];
    for folder in ["docs", "docs/reference"] {
        for entry in fs::read_dir(root().join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".md") && name != "escapes.md" && name != "tools.md" {
                documents.push(format!("{folder}/{name}"));
            }
        }
    }
    documents.sort();
    Ok(documents)
}

/// Whether a line is of a recording, where the line before `was`.
pub(super) fn is_recorded(line: &str, was: bool) -> bool {
    line.starts_with("<!-- recorded by ") || (was && !line.starts_with("<!-- end of the recording"))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn words_are_found_wherever_lines_break() {
        let text = "# guard\n\nWhat a policy\nallows  passes.\n";
        assert_eq!(find(text, "a policy allows passes."), Some(3));
        assert_eq!(find(text, "# guard"), Some(1));
        assert_eq!(find(text, "passes"), Some(4));
        assert_eq!(find(text, "allows nothing"), None);
    }
}
