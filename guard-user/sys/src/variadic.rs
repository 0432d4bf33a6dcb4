//! No variadic call of libc's has an integer without a type.
//!
//! A bare `0` is passed as an `i32`, and the upper half of an argument that goes over the stack is whatever was there. The kernel
//! reads all of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The variadic functions of the crate `libc`, and how many arguments of each take their types from its declaration.
const VARIADIC: [(&str, usize); 26] = [
    ("clone", 4),
    ("execl", 2),
    ("execle", 2),
    ("execlp", 2),
    ("fcntl", 2),
    ("fprintf", 2),
    ("fscanf", 2),
    ("ioctl", 2),
    ("makecontext", 3),
    ("mq_open", 2),
    ("mremap", 4),
    ("open", 2),
    ("open64", 2),
    ("openat", 3),
    ("openat64", 3),
    ("prctl", 1),
    ("printf", 1),
    ("ptrace", 1),
    ("scanf", 1),
    ("sem_open", 2),
    ("semctl", 3),
    ("snprintf", 3),
    ("sprintf", 2),
    ("sscanf", 2),
    ("syscall", 1),
    ("syslog", 2),
];

/// A call of one of them.
#[derive(Debug)]
struct Call<'t> {
    name: &'static str,
    /// The arguments that have the types with which they are written.
    variadic: Vec<&'t str>,
}

/// The calls in a file.
fn calls(text: &str) -> Vec<Call<'_>> {
    let mut found = Vec::new();
    for (name, declared) in VARIADIC {
        let call = format!("libc::{name}(");
        for (at, _) in text.match_indices(&call) {
            let arguments = arguments(&text[at + call.len()..]);
            let variadic = arguments.into_iter().skip(declared).collect();
            found.push(Call { name, variadic });
        }
    }
    found
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
    let other_base = ["0x", "0o", "0b"].map(|prefix| digits.strip_prefix(prefix));
    let is_hex = other_base[0].is_some();
    let digits = other_base.into_iter().flatten().next().unwrap_or(digits);
    let is_part = |letter: char| {
        letter == '_' || letter.is_ascii_digit() || (is_hex && letter.is_ascii_hexdigit())
    };
    !digits.is_empty() && digits.chars().all(is_part)
}

/// The names that a file takes from the crate `libc`, of which calls would not be found.
fn imports(text: &str) -> Vec<&str> {
    let after = text.match_indices("use libc::");
    let until_end = after.filter_map(|(at, _)| text[at..].split(';').next());
    let words = until_end.flat_map(|import| {
        import.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
    });
    words.filter(|word| !word.is_empty()).collect()
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
    let calls_in = |name: &str, arguments: &str| {
        let text = format!("libc::{name}({arguments})");
        let found = calls(&text);
        assert_eq!(found.len(), 1, "{text}");
        let bare = found[0].variadic.iter().filter(|one| is_bare(one));
        bare.map(|one| (*one).to_owned()).collect::<Vec<_>>()
    };
    let bare = calls_in(
        "syscall",
        "NUMBER, 0, 1_usize, f(0), -1, 0x1f, 0o17, 0b1, 0,",
    );
    assert_eq!(bare, ["0", "-1", "0x1f", "0o17", "0b1", "0"]);
    // What is declared has its type.
    assert_eq!(calls_in("fcntl", "0, 1, 3"), ["3"]);
    assert_eq!(calls_in("prctl", "1, 2, 0_usize"), ["2"]);
    assert_eq!(calls_in("open", "path, 0"), [""; 0]);
    assert_eq!(calls_in("openat", "-1, path, 0, 0o600"), ["0o600"]);
    assert!(calls("libc::openpty(0, 0)").is_empty());
    assert_eq!(
        imports("use libc::{\n    c_int,\n    prctl,\n};\nfn prctl() {}"),
        ["use", "libc", "c_int", "prctl"]
    );
}

#[test]
fn every_integer_of_a_variadic_call_has_a_type() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut files, mut seen) = (Vec::new(), 0);
    for dir in ["guard-user", "tests", "bench", "xtask"] {
        sources(&root.join(dir), &mut files);
    }
    // The examples above are none.
    files.retain(|file| !file.ends_with("sys/src/variadic.rs"));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let place = file.display();
        for import in imports(&text) {
            let is_variadic = VARIADIC.iter().any(|(name, _)| *name == import);
            assert!(!is_variadic, "{place}: call libc::{import} by this name");
        }
        for call in calls(&text) {
            seen += 1;
            let bare = call.variadic.iter().find(|argument| is_bare(argument));
            assert!(
                bare.is_none(),
                "{place}: {bare:?} in libc::{}(…, {}): write 0_usize or the like, or call a function that is not variadic",
                call.name,
                call.variadic.join(", ")
            );
        }
    }
    assert!(seen > 5, "no calls were found");
}
