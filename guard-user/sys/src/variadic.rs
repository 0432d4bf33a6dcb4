//! No call of `libc::syscall` has an integer without a type.
//!
//! The function is variadic: a bare `0` is passed as an `i32`, and the upper half of an argument that goes over the stack is
//! whatever was there. The kernel reads all of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

const CALL: &str = concat!("libc::", "syscall(");

/// The arguments of each call in a file.
fn calls(text: &str) -> Vec<Vec<&str>> {
    let after = text
        .match_indices(CALL)
        .map(|(at, _)| &text[at + CALL.len()..]);
    after.map(arguments).collect()
}

/// Up to the parenthesis that closes the call.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ')' => {
                found.push(text[from..at].trim());
                return found;
            }
            ',' if depth == 0 => {
                found.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn is_bare(argument: &str) -> bool {
    let digits = argument.strip_prefix('-').unwrap_or(argument);
    let is_hex = digits.starts_with("0x");
    let is_part = |letter: char| {
        letter == '_' || letter.is_ascii_digit() || (is_hex && letter.is_ascii_hexdigit())
    };
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    !digits.is_empty() && digits.chars().all(is_part)
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if !path.ends_with("target") => sources(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                found.push(path)
            }
            _ => {}
        }
    }
}

#[test]
fn a_bare_integer_is_found() {
    let text = format!("{CALL}NUMBER, 0, 1_usize, f(0), -1, 0x10, 0,)");
    let [call] = &calls(&text)[..] else {
        panic!("one call");
    };
    let bare: Vec<_> = call.iter().filter(|one| is_bare(one)).collect();
    assert_eq!(bare, [&"0", &"-1", &"0x10", &"0"]);
}

#[test]
fn every_integer_of_a_system_call_has_a_type() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut files, mut seen) = (Vec::new(), 0);
    for dir in ["guard-user", "tests", "bench", "xtask"] {
        sources(&root.join(dir), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for call in calls(&text) {
            seen += 1;
            let bare = call.iter().find(|argument| is_bare(argument));
            assert!(
                bare.is_none(),
                "{}: {bare:?} in libc::syscall({}): write 0_usize, or call the function of libc",
                file.display(),
                call.join(", ")
            );
        }
    }
    assert!(seen > 5, "no calls were found");
}
