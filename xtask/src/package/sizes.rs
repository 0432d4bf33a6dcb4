//! What the programs weigh, and of which crate it is: where a package grows too large, that says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::build::PROGRAMS;
use crate::shell::{read, root, say};

/// What all may weigh without their symbols, in KiB: `xz -9e` packs 30,018 KiB of them, with what else is in a package, into
/// 8,137, and a .deb may have 8 MiB.
const MOST: u64 = 30_200;
/// What the program may weigh that runs as root: all of it is what an attacker wants.
const MOST_OF_ROOT: (&str, u64) = ("guardd", 10 * 1024);
/// What they weighed when somebody last looked.
const RECORDED: &str = "packaging/sizes.json";
/// A crate that has less than so many KiB more than then is not named.
const WORTH_A_WORD: u64 = 32;

/// Of a program: KiB in the package, and KiB of code by crate.
#[derive(Serialize, Deserialize, Default)]
struct Size {
    all: u64,
    code: BTreeMap<String, u64>,
}

/// Each program's, by its name.
#[derive(Serialize, Deserialize, Default)]
struct Sizes(BTreeMap<String, Size>);

/// Says what the programs in a directory weigh, and what has grown since [`RECORDED`] was written.
///
/// # Errors
///
/// That they are too large for a package, or cannot be read.
pub(super) fn check(programs: &Path) -> Result<()> {
    let now = Sizes::of(programs)?;
    let text = fs::read_to_string(recorded());
    let text = text.with_context(|| format!("cannot read {}", recorded().display()))?;
    let before: Sizes = serde_json::from_str(&text)
        .with_context(|| format!("{} is not as this version writes it", recorded().display()))?;
    let grown = now.since(&before);
    say(&format!("the programs weigh {} KiB{grown}", now.all()));
    now.fits()
        .map_err(|problem| anyhow::anyhow!("{problem}{grown}"))
}

/// Writes down what the programs in a directory weigh, for later ones to be compared with.
///
/// # Errors
///
/// What cannot be read or written.
pub(super) fn record(programs: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(&Sizes::of(programs)?)?;
    fs::write(recorded(), text + "\n")
        .with_context(|| format!("cannot write {}", recorded().display()))
}

fn recorded() -> PathBuf {
    root().join(RECORDED)
}

impl Sizes {
    fn of(programs: &Path) -> Result<Self> {
        let sizes = PROGRAMS.map(|name| Ok((name.to_owned(), Size::of(&programs.join(name))?)));
        Ok(Self(sizes.into_iter().collect::<Result<_>>()?))
    }

    fn all(&self) -> u64 {
        self.0.values().map(|size| size.all).sum()
    }

    /// # Errors
    ///
    /// What is too large.
    fn fits(&self) -> Result<()> {
        let all = self.all();
        ensure!(
            all <= MOST,
            "{all} KiB do not go into a package of 8 MiB, {MOST} would"
        );
        let (root, most) = MOST_OF_ROOT;
        let of_root = self.0.get(root).map_or(0, |size| size.all);
        ensure!(
            of_root <= most,
            "{root} has {of_root} KiB, and may have {most}"
        );
        Ok(())
    }

    /// What has grown, the most first, as the end of a sentence.
    fn since(&self, before: &Self) -> String {
        let mut grown = Vec::new();
        for (program, now) in &self.0 {
            let nothing = Size::default();
            let then = before.0.get(program).unwrap_or(&nothing);
            for (name, &code) in &now.code {
                let more = code.saturating_sub(then.code.get(name).copied().unwrap_or_default());
                if more >= WORTH_A_WORD {
                    grown.push((more, format!("{name} in {program}")));
                }
            }
        }
        grown.sort_by(|one, other| other.cmp(one));
        let (now, then) = (self.all(), before.all());
        let by = match now.checked_sub(then) {
            Some(more) => format!(", {more} more than recorded"),
            None => format!(", {} less than recorded", then - now),
        };
        let parts = grown.iter().take(8);
        let parts: Vec<_> = parts.map(|(more, what)| format!("{what} {more}")).collect();
        if parts.is_empty() {
            by
        } else {
            format!("{by}; more code of: {}", parts.join(", "))
        }
    }
}

impl Size {
    fn of(program: &Path) -> Result<Self> {
        let sections = read(Command::new("size").arg("--format=sysv").arg(program))?;
        // `.text 123 456`: those that are loaded have an address.
        let sections = sections.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, size, address) = (words.next()?, words.next()?, words.next()?);
            let is_there = name != ".bss" && address.parse() != Ok(0_u64);
            is_there.then(|| size.parse::<u64>().ok())?
        });
        let all = sections.sum::<u64>() / 1024;
        let symbols = read(
            Command::new("nm")
                .args(["--demangle", "--print-size", "--radix=d"])
                .arg(program),
        )?;
        let mut code: BTreeMap<String, u64> = BTreeMap::new();
        for (name, size) in symbols.lines().filter_map(symbol) {
            *code.entry(crate_of(name).to_owned()).or_default() += size;
        }
        code.values_mut().for_each(|size| *size /= 1024);
        code.retain(|_, size| *size >= WORTH_A_WORD);
        Ok(Self { all, code })
    }
}

/// A function's name and size, of `address size kind name`.
fn symbol(line: &str) -> Option<(&str, u64)> {
    let mut parts = line.splitn(4, ' ');
    let (size, kind, name) = (parts.nth(1)?, parts.next()?, parts.next()?);
    "tTwW".contains(kind).then_some((name, size.parse().ok()?))
}

/// The crate that a function is of, or that the type is of which it is a method; of C nobody knows.
fn crate_of(name: &str) -> &str {
    let name = name.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '_');
    let name = ["dyn ", "mut ", "impl "]
        .iter()
        .fold(name, |name, word| name.strip_prefix(word).unwrap_or(name));
    match name.split_once("::") {
        Some((first, _)) if first.chars().all(|c| c.is_alphanumeric() || c == '_') => first,
        _ => "C and others",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_of_the_crate_that_its_name_begins_with() {
        for (name, of) in [
            ("core::fmt::write", "core"),
            ("<alloc::vec::Vec<u8> as core::ops::Drop>::drop", "alloc"),
            (
                "<&mut guard_proxy::link::Link as tokio::io::AsyncRead>::poll",
                "guard_proxy",
            ),
            ("<dyn std::error::Error>::is", "std"),
            ("base_yyparse", "C and others"),
        ] {
            assert_eq!(crate_of(name), of, "{name}");
        }
    }

    #[test]
    fn what_grew_is_named_the_most_first() {
        let sizes = |all, core, tokio| {
            let code = [("core".to_owned(), core), ("tokio".to_owned(), tokio)].into();
            Sizes([("guardd".to_owned(), Size { all, code })].into())
        };
        let said = sizes(900, 400, 300).since(&sizes(500, 250, 100));
        assert_eq!(
            said,
            ", 400 more than recorded; more code of: tokio in guardd 200, core in guardd 150"
        );
        assert_eq!(
            sizes(500, 1, 1).since(&sizes(600, 1, 1)),
            ", 100 less than recorded"
        );
    }

    #[test]
    fn what_is_recorded_fits_and_is_of_each_program() -> Result<()> {
        let recorded: Sizes = serde_json::from_str(&fs::read_to_string(recorded())?)?;
        // What was added since is recorded with the next package.
        assert!(
            recorded
                .0
                .keys()
                .all(|name| PROGRAMS.contains(&name.as_str()))
        );
        recorded.fits()
    }

    #[test]
    fn what_is_too_large_is_named() {
        let weighing = |guard, guardd| {
            let size = |all| Size {
                all,
                code: BTreeMap::new(),
            };
            let sizes = [("guard", guard), ("guardd", guardd)];
            let said = Sizes(sizes.map(|(name, all)| (name.to_owned(), size(all))).into()).fits();
            said.map_err(|problem| problem.to_string())
        };
        assert_eq!(weighing(MOST - 10_240, 10_240), Ok(()));
        let said = weighing(1, 10_241);
        assert_eq!(
            said,
            Err("guardd has 10241 KiB, and may have 10240".to_owned())
        );
        assert!(weighing(MOST, 1).is_err_and(|said| said.contains("8 MiB")));
    }

    #[test]
    fn code_is_told_from_what_else_has_a_name() {
        assert_eq!(
            symbol("00001 00032 t core::fmt::write"),
            Some(("core::fmt::write", 32))
        );
        assert_eq!(symbol("00001 00032 r core::TABLE"), None);
        assert_eq!(symbol("00001 t no_size"), None);
    }
}
