//! What the eBPF half is built with: a compiler that has a core library for BPF, and the linker.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::install::{apt_install, cargo_install, path_with_tools};
use crate::shell::{cargo_alone, read, run, say, started_by, which};

/// The target of everything that runs in the kernel, on a little-endian machine.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The last bpf-linker that reads what LLVM 22, and so rustc up to 1.97, writes.
const LINKER_VERSION: &str = "0.10.3";
/// The newest LLVM whose bitcode that linker reads.
const LINKER_LLVM: u32 = 22;
/// Installed where there is no nightly yet. A later one may come with a newer LLVM.
const NIGHTLY: &str = "nightly-2026-05-20";
/// Debian builds browsers with it; it comes with a core library for BPF.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The clippy of that compiler, and the package that it is in.
const DEBIAN_CLIPPY: (&str, &str) = ("/usr/bin/cargo-clippy", "rust-web-clippy");

/// A compiler for [`BPF_TARGET`].
pub(crate) enum Compiler {
    /// A rustup toolchain that builds core from its own sources.
    Nightly(String),
    /// A compiler for whose target core is installed ready made.
    System(PathBuf),
}

impl Compiler {
    /// The best one on this machine; installs one where there is none.
    ///
    /// # Errors
    ///
    /// That none could be had, and what to type to change that.
    pub(crate) fn obtain() -> Result<Self> {
        if let Some(compiler) = Self::find() {
            return Ok(compiler);
        }
        say(&format!(
            "the eBPF half needs a compiler with a core library for {BPF_TARGET}, and none is installed"
        ));
        install();
        let Some(compiler) = Self::find() else {
            bail!(
                "no compiler for {BPF_TARGET}: run `rustup toolchain install {NIGHTLY} --profile minimal \
                 --component rust-src`, or on Debian `apt-get install {}`",
                DEBIAN_PACKAGES.join(" ")
            );
        };
        Ok(compiler)
    }

    fn find() -> Option<Self> {
        let nightly = nightlies().into_iter().find(|name| has_core_source(name));
        nightly.map(Self::Nightly).or_else(|| {
            let rustc = PathBuf::from(DEBIAN_RUSTC);
            has_bpf_core(&rustc).then_some(Self::System(rustc))
        })
    }

    /// A cargo that builds for [`BPF_TARGET`] with it: `cargo VERB --target …`.
    pub(crate) fn cargo(&self, verb: &str) -> Result<Command> {
        let mut command = cargo_alone();
        command.env("PATH", path_with_tools()?);
        match self {
            Self::Nightly(toolchain) => {
                // rustup's own cargo on PATH, not the stable one that runs this.
                let rustup = which("rustup").unwrap_or_else(|| "rustup".into());
                command = started_by(&command, Command::new(&rustup));
                command.args(["run", toolchain, "cargo", verb, "-Zbuild-std=core"]);
            }
            Self::System(rustc) => {
                // A stable compiler lets nobody use what the BPF target needs (E0554) without a flag.
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                command.arg(verb);
            }
        }
        command.env_remove("RUSTUP_TOOLCHAIN");
        command.args(["--target", BPF_TARGET]);
        Ok(command)
    }

    /// Itself.
    pub(crate) fn rustc(&self) -> Command {
        match self {
            Self::Nightly(toolchain) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", toolchain, "rustc"]);
                rustup
            }
            Self::System(rustc) => Command::new(rustc),
        }
    }

    /// The same for `cargo clippy`, which must be of the very compiler that built core.
    ///
    /// # Errors
    ///
    /// That it could not be had.
    pub(crate) fn clippy(&self) -> Result<Command> {
        let cargo = self.cargo("clippy")?;
        match self {
            Self::Nightly(toolchain) => {
                obtain_nightly_clippy(toolchain)?;
                Ok(cargo)
            }
            Self::System(_) => {
                let (clippy, package) = DEBIAN_CLIPPY;
                if !Path::new(clippy).exists() {
                    apt_install(&[package], "it lints the eBPF half")?;
                }
                // It runs the clippy-driver beside it, through the cargo that it is told.
                let mut command = started_by(&cargo, Command::new(clippy));
                command.env("CARGO", cargo.get_program());
                Ok(command)
            }
        }
    }
}

fn obtain_nightly_clippy(toolchain: &str) -> Result<()> {
    if read(Command::new("rustup").args(["run", toolchain, "cargo-clippy", "--version"])).is_ok() {
        return Ok(());
    }
    say(&format!(
        "installing clippy for {toolchain}: it lints the eBPF half"
    ));
    run(Command::new("rustup").args(["component", "add", "clippy", "--toolchain", toolchain]))
}

fn nightlies() -> Vec<String> {
    let list = read(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect()
}

/// Whether the toolchain has the sources of core. What rustup lists as a component may not be there.
fn has_core_source(toolchain: &str) -> bool {
    let rustc = || {
        let mut rustup = Command::new("rustup");
        rustup.args(["run", toolchain, "rustc"]);
        rustup
    };
    let Ok(sysroot) = read(rustc().args(["--print", "sysroot"])) else {
        return false;
    };
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    core.is_file() && suits(&mut rustc())
}

fn has_bpf_core(rustc: &Path) -> bool {
    let Ok(dir) =
        read(Command::new(rustc).args(["--print", "target-libdir", "--target", BPF_TARGET]))
    else {
        return false;
    };
    let Ok(files) = fs::read_dir(dir.trim()) else {
        return false;
    };
    let is_core = |name: OsString| name.to_string_lossy().starts_with("libcore-");
    files.flatten().any(|file| is_core(file.file_name())) && suits(&mut Command::new(rustc))
}

/// Whether this compiler is recent enough for the sources, and the linker understands what it writes.
fn suits(rustc: &mut Command) -> bool {
    let version = read(rustc.arg("-vV")).unwrap_or_default();
    let number = |name: &str| {
        version
            .lines()
            .find_map(|line| two_parts(line.strip_prefix(name)?))
    };
    let wanted = two_parts(env!("CARGO_PKG_RUST_VERSION"));
    let llvm = number("LLVM version: ");
    number("release: ") >= wanted && llvm.is_some_and(|(major, _)| major <= LINKER_LLVM)
}

/// The first two numbers of a version.
fn two_parts(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Tries each way to install a compiler. Whether one worked is seen by looking for it.
fn install() {
    if let Err(why) = install_from_debian().or_else(|_| install_nightly()) {
        say(&format!("{why:#}"));
    }
}

fn install_from_debian() -> Result<()> {
    apt_install(
        &DEBIAN_PACKAGES,
        "a Rust compiler with a core library for BPF",
    )
}

fn install_nightly() -> Result<()> {
    say(&format!(
        "installing {NIGHTLY} with rust-src beside your toolchains, to build core for BPF"
    ));
    run(Command::new("rustup").args([
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]))
}

/// Sees to it that the linker is there.
///
/// # Errors
///
/// That it could not be built.
pub(crate) fn obtain_linker() -> Result<()> {
    let version = Command::new("bpf-linker")
        .arg("--version")
        .env("PATH", path_with_tools()?)
        .output();
    if version.is_ok_and(|v| {
        String::from_utf8_lossy(&v.stdout).trim() == format!("bpf-linker {LINKER_VERSION}")
    }) {
        return Ok(());
    }
    cargo_install("bpf-linker", LINKER_VERSION, "it links eBPF objects")
}
