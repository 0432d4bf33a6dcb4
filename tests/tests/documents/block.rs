//! Blocks of commands, as they stand in a document.

pub(crate) const README: &str = include_str!("../../../README.md");
pub(crate) const START: &str = include_str!("../../../docs/start.md");
pub(crate) const ADMIN: &str = include_str!("../../../docs/admin.md");
pub(crate) const DOCTOR: &str = include_str!("../../../docs/reference/doctor.md");
pub(crate) const JSON: &str = include_str!("../../../docs/reference/json.md");
pub(crate) const SERVICES: &str = include_str!("../../../docs/services.md");
pub(crate) const USE: &str = include_str!("../../../docs/use.md");
pub(crate) const READ_ONLY: &str = include_str!("../../../docs/read-only.md");
pub(crate) const CI: &str = include_str!("../../../docs/ci.md");
pub(crate) const CONSOLE: &str = include_str!("../../../docs/console.md");
pub(crate) const FLEET: &str = include_str!("../../../docs/fleet.md");

/// The one block of commands whose first line begins so.
pub(crate) fn block(document: &str, begins: &str) -> String {
    fenced(document, "```sh\n", |block| block.starts_with(begins))
}

/// The one block in a language that has some text in it.
pub(crate) fn text(document: &str, language: &str, part: &str) -> String {
    fenced(document, &format!("```{language}\n"), |block| {
        block.contains(part)
    })
}

fn fenced(document: &str, fence: &str, is_it: impl Fn(&str) -> bool) -> String {
    let mut blocks = document
        .split(fence)
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .filter(|block| is_it(block));
    let block = blocks.next().expect("the document has no such block");
    assert_eq!(blocks.next(), None, "the document has several");
    block.to_owned()
}

/// The line of a block that has some text in it, without its remark.
pub(crate) fn line(block: &str, part: &str) -> String {
    let mut lines = block.lines().filter(|line| line.contains(part));
    let line = lines.next().expect("the block has no such line");
    assert_eq!(lines.next(), None, "the block has several: {part}");
    line.split(" # ").next().unwrap_or(line).trim().to_owned()
}
