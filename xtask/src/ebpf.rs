//! Builds the kernel half.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::install::apt_install;
use crate::shell::{ending_with_us, read, remapped_paths, run, rust_flags, target, which};
use crate::toolchain::{BPF_TARGET, Compiler, obtain_linker};

/// Debug information, for it becomes BTF; and the instructions of Linux 5.12, for atomics that give
/// back the old value. rustc passes the CPU on to the linker.
const RUSTFLAGS: [&str; 3] = ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"];

/// Where guard-datapath's build script looks for the object.
pub(crate) fn object() -> PathBuf {
    target().join("bpf/guard-ebpf.o")
}

/// Sees to it that what it is built and linted with is here.
///
/// # Errors
///
/// That what it is built with could not be had; of the other its lint tells.
pub(crate) fn obtain() -> Result<()> {
    obtain_linker()?;
    let _ = Compiler::obtain()?.clippy();
    Ok(())
}

/// Builds the object. It is written only where it changes, so that what embeds it is built again only then.
///
/// # Errors
///
/// That a tool could not be had, or that it does not compile.
pub(crate) fn build() -> Result<()> {
    obtain_linker()?;
    let compiler = Compiler::obtain()?;
    let mut cargo = compiler.cargo("build")?;
    let build = of_the_kernel_half(&mut cargo, &compiler)?.arg("--release");
    run(&mut ending_with_us(build))?;
    let built = target()
        .join("bpf")
        .join(BPF_TARGET)
        .join("release/guard-ebpf");
    let stripped = built.with_extension("stripped");
    run(strip()?.arg(&built).arg(&stripped))?;
    publish(&stripped, modified(&built)?, &object())
}

/// Takes DWARF out of an object: BTF has been made of it, and five sixths of the object are in every `guardd` otherwise. GNU's
/// objcopy knows no eBPF.
fn strip() -> Result<Command> {
    let sysroot = read(Command::new("rustc").args(["--print", "sysroot"]))?;
    let lib = Path::new(sysroot.trim()).join("lib");
    let host = format!("rustlib/{}-unknown-linux-gnu/bin", std::env::consts::ARCH);
    let of_rust = lib.join(host).join("rust-objcopy");
    let mut strip = if of_rust.exists() {
        let mut strip = Command::new(of_rust);
        strip.env("LD_LIBRARY_PATH", lib);
        strip
    } else {
        if which("llvm-objcopy").is_none() {
            apt_install(
                &["llvm"],
                "it takes the debug information out of eBPF objects",
            )?;
        }
        Command::new("llvm-objcopy")
    };
    strip.arg("--strip-debug");
    Ok(strip)
}

/// Lints it, for the target that it is for.
///
/// # Errors
///
/// That clippy could not be had, or what it found.
pub(crate) fn lint() -> Result<()> {
    let compiler = Compiler::obtain()?;
    let mut clippy = compiler.clippy()?;
    let lint = of_the_kernel_half(&mut clippy, &compiler)?;
    // Of the same profile as the build: both are made with the same macros.
    run(&mut ending_with_us(lint.args([
        "--release",
        "--",
        "--deny",
        "warnings",
    ])))
}

fn of_the_kernel_half<'a>(cargo: &'a mut Command, compiler: &Compiler) -> Result<&'a mut Command> {
    // The object has the paths of its sources in it, and nothing of this machine's belongs there.
    let mut flags = remapped_paths(&mut compiler.rustc())?;
    flags.extend(RUSTFLAGS.map(str::to_owned));
    let (flags, value) = rust_flags(&flags);
    Ok(cargo
        .args(["--locked", "--package", "guard-ebpf", "--target-dir"])
        .arg(target().join("bpf"))
        // It is the same whatever haste the other half is built in.
        .env_remove("CARGO_PROFILE_RELEASE_OPT_LEVEL")
        .env(flags, value))
}

/// `built`: when cargo has built it last. What is stripped is written each time.
fn publish(stripped: &Path, built: SystemTime, object: &Path) -> Result<()> {
    let bytes =
        fs::read(stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return mark_fresh(built, object)
            .with_context(|| format!("cannot touch {}", object.display()));
    }
    fs::write(object, bytes).with_context(|| format!("cannot write {}", object.display()))
}

/// Makes the object newer than its sources, as guard-datapath's build script wants it, where those have only
/// been touched: cargo has built it again then.
fn mark_fresh(built: SystemTime, object: &Path) -> io::Result<()> {
    if built <= fs::metadata(object)?.modified()? {
        return Ok(());
    }
    let object = File::options().append(true).open(object)?;
    object.set_modified(SystemTime::now())
}

fn modified(file: &Path) -> Result<SystemTime> {
    let modified = fs::metadata(file).and_then(|meta| meta.modified());
    modified.with_context(|| format!("cannot see when {} was written", file.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_the_same_is_written_or_touched_only_where_it_was_built_again() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (stripped, object) = (dir.path().join("stripped"), dir.path().join("object"));
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::write(&stripped, "the same")?;
        publish(&stripped, long_ago, &object)?;
        let written = long_ago + Duration::from_secs(60);
        File::options()
            .append(true)
            .open(&object)?
            .set_modified(written)?;
        fs::write(&stripped, "the same")?;
        publish(&stripped, long_ago, &object)?;
        assert_eq!(modified(&object)?, written);
        publish(&stripped, written + Duration::from_secs(1), &object)?;
        assert!(modified(&object)? > written);
        fs::write(&stripped, "another")?;
        publish(&stripped, long_ago, &object)?;
        assert_eq!(fs::read(&object)?, b"another");
        Ok(())
    }
}
