//! Running other programs.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where everything is built, whatever `CARGO_TARGET_DIR` says: the paths are part of what is promised.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Says what is about to be done, and why.
pub(crate) fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// The cargo that runs this, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    for name in inherited_from_cargo() {
        cargo.env_remove(name);
    }
    cargo
}

/// What the cargo that runs this sets, or is told, for the host build, and another cargo must not inherit.
fn inherited_from_cargo() -> impl Iterator<Item = OsString> {
    const KEEP: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO") && !KEEP.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// The variable, with its value, that tells cargo which flags to start the compiler with.
pub(crate) fn rust_flags(flags: &[String]) -> (&'static str, String) {
    ("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
}

/// What makes a compiler, which `rustc` starts, forget where this machine keeps sources, so that the same sources
/// become the same bytes elsewhere.
///
/// # Errors
///
/// That the compiler does not say where its own are.
pub(crate) fn remapped_paths(rustc: &mut Command) -> Result<Vec<String>> {
    let sysroot = read(rustc.args(["--print", "sysroot"]))?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME says where cargo keeps sources")?;
    // Of several that fit, the compiler takes the last.
    let paths = [
        (Path::new(sysroot.trim()), "/rust"),
        (&*home, "/cargo"),
        (root(), "/guard"),
    ];
    let flag = |(path, name): (&Path, _)| format!("--remap-path-prefix={}={name}", path.display());
    Ok(paths.map(flag).to_vec())
}

/// Runs `command`, whose output goes to the terminal.
///
/// # Errors
///
/// That it cannot be started, or that it failed; both name the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", text(command)))?;
    ensure!(status.success(), "{} failed ({status})", text(command));
    Ok(())
}

/// The standard output of `command`.
///
/// # Errors
///
/// That it cannot be started, or that it failed, with what it wrote to standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", text(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", text(command), stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program of this name lies on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command line, about as a person would type it.
pub(crate) fn text(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut text = name.to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
