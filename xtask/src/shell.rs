//! Running other programs.

use std::env;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

/// The root of the workspace.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where everything is built, whatever `CARGO_TARGET_DIR` says: the paths are part of what is promised.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Says what is about to be done, and why.
pub fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// The cargo that runs this, in the root of the workspace. It ends with this run, however that ends: cargo would go on with nobody to wait
/// for it.
pub fn cargo() -> Command {
    if which("setpriv").is_none() {
        return cargo_alone();
    }
    let mut by = Command::new("setpriv");
    by.args(["--pdeathsig", "TERM"]);
    cargo_by(by)
}

/// The same, which goes on where this run is killed: for what puts another program in cargo's place.
pub fn cargo_alone() -> Command {
    forget_cargo(Command::new(cargo_program()))
}

/// The same, started by another program, which has its own arguments already.
pub fn cargo_by(program: Command) -> Command {
    let mut program = forget_cargo(program);
    program.arg(cargo_program());
    program
}

/// A command as it is, but that it ends with this run, however that ends.
pub(crate) fn ending_with_us(command: &Command) -> Command {
    let program = command.get_program();
    let bound = match which("setpriv") {
        Some(_) => {
            let mut by = Command::new("setpriv");
            by.args(["--pdeathsig", "TERM"]).arg(program);
            by
        }
        None => Command::new(program),
    };
    started_by(command, bound)
}

/// A command's arguments, after those that `program` has already, environment and directory.
pub(crate) fn started_by(command: &Command, mut program: Command) -> Command {
    program.args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        program.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => program.env(name, value),
            None => program.env_remove(name),
        };
    }
    program
}

fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// In the root of the workspace, and without what would have it rebuild what is there.
fn forget_cargo(mut command: Command) -> Command {
    command.current_dir(root());
    for name in inherited_from_cargo() {
        command.env_remove(name);
    }
    command
}

/// What the cargo that runs this sets, or is told, for the host build, and another cargo must not inherit.
fn inherited_from_cargo() -> impl Iterator<Item = OsString> {
    const KEEP: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_INCREMENTAL",
        "CARGO_NET_",
        "CARGO_PROFILE_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO") && !KEEP.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// The variable, with its value, that tells cargo which flags to start the compiler with.
pub fn rust_flags(flags: &[String]) -> (&'static str, String) {
    ("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
}

/// What makes a compiler, which `rustc` starts, forget where this machine keeps sources, so that the same sources
/// become the same bytes elsewhere.
///
/// # Errors
///
/// That the compiler does not say where its own are.
pub fn remapped_paths(rustc: &mut Command) -> Result<Vec<String>> {
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

/// Does two things beside each other, and gives what came of either.
pub(crate) fn beside<A, B: Send>(
    one: impl FnOnce() -> A,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        (one, other)
    })
}

/// Runs `command`, whose output goes to the terminal.
///
/// # Errors
///
/// That it cannot be started, or that it failed; both name the command.
pub fn run(command: &mut Command) -> Result<()> {
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
pub fn read(command: &mut Command) -> Result<String> {
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
pub fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Whether this runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command line, about as a person would type it.
pub fn text(command: &Command) -> String {
    let mut words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .collect();
    if words.starts_with(&["setpriv".as_ref(), "--pdeathsig".as_ref()]) {
        words.drain(..3);
    }
    let program = Path::new(words[0]);
    words[0] = program.file_name().unwrap_or(words[0]);
    let words = words.iter().map(|word| word.to_string_lossy());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_people_would_type_is_without_what_ends_it() {
        let mut build = cargo();
        assert_eq!(
            text(build.args(["build", "--locked"])),
            "cargo build --locked"
        );
        let mut other = Command::new("/usr/bin/setpriv");
        assert_eq!(
            text(other.args(["--reuid", "1", "true"])),
            "setpriv --reuid 1 true"
        );
        let alone = Command::new("/bin/true");
        assert_eq!(text(&alone), "true");
    }

    /// The variable by which this program, started once more, is told that it is another run.
    const IS_ANOTHER_RUN: &str = "GUARD_TEST_RUN";
    /// Says that it has begun, and goes on for longer than any test may.
    const GOES_ON: &str = "echo begun; exec sleep 7200";

    /// What another run does, where this is one.
    #[test]
    fn another_run() -> Result<()> {
        if env::var_os(IS_ANOTHER_RUN).is_none() {
            return Ok(());
        }
        run(&mut ending_with_us(
            Command::new("sh").args(["-c", GOES_ON]),
        ))
    }

    #[test]
    fn what_a_killed_run_has_started_ends_with_it() -> Result<()> {
        let mut run = Command::new(env::current_exe()?)
            .args(["--exact", "shell::tests::another_run"])
            .env("RUST_TEST_NOCAPTURE", "1")
            .env(IS_ANOTHER_RUN, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(run.stdout.take().context("it has no stdout")?);
        let mut line = String::new();
        while !line.contains("begun") {
            line.clear();
            ensure!(said.read_line(&mut line)? > 0, "it began nothing");
        }
        run.kill()?;
        run.wait()?;
        // The end comes once nobody has the pipe any more.
        said.read_to_string(&mut line)?;
        Ok(())
    }

    #[test]
    fn what_ends_with_a_run_is_the_same_command() {
        let mut command = Command::new("cargo");
        command.args(["build", "--locked"]).current_dir("/");
        command.env("SET", "1").env_remove("UNSET");
        let bound = ending_with_us(&command);
        assert_eq!(text(&bound), text(&command));
        assert_eq!(bound.get_current_dir(), command.get_current_dir());
        assert!(bound.get_envs().eq(command.get_envs()));
    }
}
