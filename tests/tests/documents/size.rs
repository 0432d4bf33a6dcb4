//! How much there is to read.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use guard_lab::Tested;

/// Words that README and docs have at most, as `wc -w` counts them: a page that grows takes them from another.
const WORDS: usize = 35_000;
/// How many of the largest pages are named where there are more.
const NAMED: usize = 8;

/// A page, and how many words it has.
struct Page {
    file: String,
    words: usize,
}

impl Page {
    fn read(root: &Path, file: &Path) -> Tested<Self> {
        Ok(Self {
            file: file.strip_prefix(root)?.display().to_string(),
            words: fs::read_to_string(file)?.split_whitespace().count(),
        })
    }
}

/// README, and all below `docs`, the largest first.
fn pages() -> Tested<Vec<Page>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![Page::read(&root, &root.join("README.md"))?];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                pages.push(Page::read(&root, &path)?);
            }
        }
    }
    pages.sort_by_key(|page| Reverse(page.words));
    Ok(pages)
}

#[test]
fn readme_and_docs_have_so_many_words_at_most() -> Tested {
    let pages = pages()?;
    assert!(pages.len() > 20, "only {} pages were found", pages.len());
    let words: usize = pages.iter().map(|page| page.words).sum();
    let largest = pages.iter().take(NAMED);
    let largest: Vec<_> = largest
        .map(|page| format!("{} has {}", page.file, page.words))
        .collect();
    assert!(
        words <= WORDS,
        "README.md and docs have {words} words, {} more than {WORDS}. Say nothing in two pages, and in no sentence what a table beside \
         it says. The largest: {}",
        words.saturating_sub(WORDS),
        largest.join(", ")
    );
    Ok(())
}
