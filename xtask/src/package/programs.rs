//! The programs as the packages carry them: the same bytes wherever they are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::{EPOCH, work};
use crate::build::{PROGRAMS, of_one, of_programs};
use crate::ebpf;
use crate::install::apt_install;
use crate::shell::{cargo, read, remapped_paths, run, rust_flags, say, which};

/// For distributions: with their own C library, which knows their users from wherever they come.
pub(super) const GNU: &str = "x86_64-unknown-linux-gnu";
/// For every other Linux: with a C library inside.
pub(super) const MUSL: &str = "x86_64-unknown-linux-musl";

const PROFILE: &str = "dist";

/// The headers of its C library, from musl-dev. libclang knows the compiler's for other targets, and for this one none.
const MUSL_HEADERS: (&str, &str) = (
    "BINDGEN_EXTRA_CLANG_ARGS_x86_64_unknown_linux_musl",
    "-isystem/usr/include/x86_64-linux-musl",
);

/// Builds them for `target`, and says in which directory they are.
///
/// # Errors
///
/// That the target could not be had, or that something does not compile.
pub(super) fn build(target: &str, epoch: &str) -> Result<PathBuf> {
    crate::build::prepare()?;
    obtain_target(target)?;
    if target == MUSL && which("x86_64-linux-musl-gcc").is_none() {
        apt_install(&["musl-tools"], "it compiles the cryptography of TLS")?;
    }
    run(&mut building(target, epoch)?)?;
    Ok(work().join(target).join(PROFILE))
}

/// Builds one that has a package of its own likewise. Apart, so that what it is made of changes nothing in the others.
///
/// # Errors
///
/// As for [`build`].
pub(super) fn build_one(name: &str, target: &str, epoch: &str) -> Result<PathBuf> {
    obtain_target(target)?;
    run(&mut building_one(name, target, epoch)?)?;
    Ok(work().join(target).join(PROFILE))
}

fn building_one(name: &str, target: &str, epoch: &str) -> Result<Command> {
    let mut cargo = cargo();
    of_one(&mut cargo, "build", name);
    as_people_get_them(cargo, target, epoch)
}

fn building(target: &str, epoch: &str) -> Result<Command> {
    let mut cargo = cargo();
    of_programs(&mut cargo, "build").env("GUARD_EBPF_OBJECT", ebpf::object());
    as_people_get_them(cargo, target, epoch)
}

/// The same bytes wherever that is.
fn as_people_get_them(mut cargo: Command, target: &str, epoch: &str) -> Result<Command> {
    let (flags, value) = rust_flags(&remapped_paths(&mut Command::new("rustc"))?);
    cargo
        .args(["--profile", PROFILE, "--target", target, "--target-dir"])
        .arg(work())
        .env(flags, value)
        .env(MUSL_HEADERS.0, MUSL_HEADERS.1)
        .env(EPOCH, epoch);
    Ok(cargo)
}

/// Sees to it that the compiler has a standard library for `target`.
///
/// # Errors
///
/// That it could not be had.
pub(super) fn obtain_target(target: &str) -> Result<()> {
    let libraries =
        read(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    say(&format!(
        "installing Rust's standard library for {target}: the packages need it"
    ));
    run(Command::new("rustup").args(["target", "add", target]))
}

/// That programs need nothing of the machine that they run on: neither a loader nor a library.
///
/// # Errors
///
/// That one does.
pub(super) fn check_static(programs: &Path) -> Result<()> {
    for program in PROGRAMS {
        let path = programs.join(program);
        let headers = read(
            Command::new("readelf")
                .args(["--program-headers", "--dynamic"])
                .arg(&path),
        )?;
        let needs = |what| headers.lines().any(|line| line.contains(what));
        ensure!(
            !needs("INTERP") && !needs("NEEDED"),
            "{} is not static",
            path.display()
        );
    }
    Ok(())
}
