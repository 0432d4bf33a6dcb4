//! What the compilers link into every program, which no crate names.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::programs;
use crate::shell::read;
use crate::toolchain::Compiler;

/// A library that comes with a compiler.
pub(super) struct Library {
    pub(super) name: &'static str,
    pub(super) version: String,
    /// Where it is from, as a package URL without the version: <https://github.com/package-url/purl-spec>
    pub(super) from: &'static str,
    pub(super) licence: &'static str,
    pub(super) copyright: &'static str,
    pub(super) description: &'static str,
}

impl Library {
    pub(super) fn purl(&self) -> String {
        let subpath = match self.name {
            "std" | "core" => format!("#library/{}", self.name),
            _ => String::new(),
        };
        format!("{}@{}{subpath}", self.from, self.version)
    }

    /// As CycloneDX has it.
    pub(super) fn component(&self) -> Value {
        json!({
            "type": "library",
            "bom-ref": self.purl(),
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "scope": "required",
            "licenses": [{ "expression": self.licence }],
            "copyright": self.copyright,
            "purl": self.purl(),
        })
    }
}

/// Rust's own: of the programs, and of the eBPF object, which another compiler may have made.
///
/// # Errors
///
/// That a compiler does not say its version.
pub(super) fn of_rust() -> Result<Vec<Library>> {
    let library = |name, version, description| Library {
        name,
        version,
        from: "pkg:github/rust-lang/rust",
        licence: "MIT OR Apache-2.0",
        copyright: "Copyright (c) The Rust Project contributors",
        description,
    };
    let user = says(&mut Command::new("rustc"), "release: ")?;
    let kernel = says(&mut Compiler::obtain()?.rustc(), "release: ")?;
    Ok(vec![
        library("std", user, "Rust's standard library, in the programs"),
        library("core", kernel, "Rust's core library, in the eBPF object"),
    ])
}

/// What makes programs static.
///
/// # Errors
///
/// That the compiler's own cannot be looked at.
pub(super) fn of_musl() -> Result<Vec<Library>> {
    Ok(vec![
        Library {
            name: "musl",
            version: musl_version()?,
            from: "pkg:generic/musl",
            licence: "MIT",
            copyright: "Copyright (c) 2005-2020 Rich Felker, et al.",
            description: "The C library, in the static programs",
        },
        Library {
            name: "libunwind",
            version: says(&mut Command::new("rustc"), "LLVM version: ")?,
            from: "pkg:generic/llvm-libunwind",
            licence: "Apache-2.0 WITH LLVM-exception",
            copyright: "Copyright (c) The LLVM Project contributors",
            description: "LLVM's unwinder, in the static programs",
        },
    ])
}

fn says(rustc: &mut Command, what: &str) -> Result<String> {
    let text = read(rustc.arg("-vV"))?;
    let said = text.lines().find_map(|line| line.strip_prefix(what));
    Ok(said
        .with_context(|| format!("rustc -vV does not say its {what}"))?
        .to_owned())
}

/// The compiler brings musl along; that says itself which it is (`__libc_version`), and rustc does not.
fn musl_version() -> Result<String> {
    // Where the programs were built in another way, nobody has needed it yet.
    programs::obtain_target(programs::MUSL)?;
    let target = ["--print", "target-libdir", "--target", programs::MUSL];
    let libraries = read(Command::new("rustc").args(target))?;
    let library = Path::new(libraries.trim()).join("self-contained/libc.a");
    let member = read(Command::new("ar").arg("p").arg(&library).arg("version.lo"))?;
    let mut texts = member.split(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER);
    let version = texts.find(|text| {
        let mut parts = text.split('.');
        text.contains('.') && parts.all(|part| part.parse::<u16>().is_ok())
    });
    let version = version.with_context(|| format!("{} has no version", library.display()))?;
    Ok(version.to_owned())
}
