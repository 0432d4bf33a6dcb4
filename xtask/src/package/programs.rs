//! The programs as the packages carry them: the same bytes wherever they are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::{EPOCH, Package, work};
use crate::build;
use crate::ebpf;
use crate::install::apt_install;
use crate::shell::{read, remapped_paths, run, rust_flags, say, which};

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

/// Builds a package's programs for `target`, and returns their directory.
///
/// # Errors
///
/// That the target could not be had, or that something does not compile.
pub(super) fn build(package: &Package, target: &str, epoch: &str) -> Result<PathBuf> {
    build::prepare()?;
    obtain_target(target)?;
    if target == MUSL && which("x86_64-linux-musl-gcc").is_none() {
        apt_install(&["musl-tools"], "it compiles the cryptography of TLS")?;
    }
    let (flags, value) = rust_flags(&remapped_paths(&mut Command::new("rustc"))?);
    run(build::programs(package.programs)
        .args(["--profile", PROFILE, "--target", target, "--target-dir"])
        .arg(work())
        .env("GUARD_EBPF_OBJECT", ebpf::object())
        .env(flags, value)
        .env(MUSL_HEADERS.0, MUSL_HEADERS.1)
        .env(EPOCH, epoch))?;
    let built = work().join(target).join(PROFILE);
    if target == MUSL {
        check_static(package, &built)?;
    }
    Ok(built)
}

/// Sees to it that the compiler has a standard library for `target`.
fn obtain_target(target: &str) -> Result<()> {
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

/// Checks that programs need neither a loader nor a library of the machine that they run on.
fn check_static(package: &Package, programs: &Path) -> Result<()> {
    for program in package.programs {
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
