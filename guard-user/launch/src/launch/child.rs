//! The new process, up to where it becomes the command.

use std::convert::Infallible;
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use guard_proto::Failure;
use guard_sys::process::exit_at_once;

use super::handing::ToHand;
use super::{ABOUT_TO_EXECUTE, Command, Entered, WHAT, not_started};
use crate::contain::contain;
use crate::{LaunchError, NOT_EXECUTABLE, NOT_FOUND, failure};

/// Becomes the command, or reports to the parent why not. Never returns: the stack belongs to the parent.
pub(super) fn become_command(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
    to_hand: Option<ToHand>,
    mut to_parent: File,
) -> ! {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        execute(command, enter, to_hand, &mut to_parent).map(|never| match never {})
    }));
    let error = match tried {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => failure(WHAT, "guard has a fault", "please report it").into(),
    };
    if let Ok(text) = serde_json::to_vec(&error) {
        // A parent that is gone needs no report.
        let _ = to_parent.write_all(&text);
    }
    exit_at_once(error.code)
}

fn execute(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
    to_hand: Option<ToHand>,
    to_parent: &mut File,
) -> Result<Infallible, LaunchError> {
    let (program, arguments) = match command.argv.split_first() {
        Some(parts) => parts,
        None => return Err(failure(WHAT, "there is none", "guard run -- COMMAND").into()),
    };
    let entered = enter()?;
    contain(
        &command.identity,
        &entered.cgroup,
        entered.told_root,
        command.names,
    )?;
    if let Some(to_hand) = to_hand {
        to_hand.hand_over().map_err(not_started)?;
    }
    let environment = command.identity.environment();
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path
        .and_then(|(_, value)| value.clone())
        .or_else(|| env::var_os("PATH"));
    let mut prepared = std::process::Command::new(program);
    prepared.args(arguments);
    for (variable, value) in environment {
        match value {
            Some(value) => prepared.env(variable, value),
            None => prepared.env_remove(variable),
        };
    }
    let more = command.environment.iter().chain(&entered.environment);
    prepared.envs(more.map(|(name, value)| (name, value)));
    to_parent.write_all(ABOUT_TO_EXECUTE).map_err(not_started)?;
    // Gives SIGPIPE, which Rust programs ignore, its default action back.
    let why = prepared.exec();
    Err(not_executed(
        Path::new(program),
        &path.unwrap_or_default(),
        &why,
    ))
}

/// execvp(3) reports the last error in PATH, even of a directory that this user may not enter; so the program is searched for
/// again, as a shell does.
fn not_executed(program: &Path, path: &OsStr, why: &io::Error) -> LaunchError {
    let name = program.display();
    let missing = why.kind() == io::ErrorKind::NotFound;
    let by_path = program.as_os_str().as_bytes().contains(&b'/');
    let found = if by_path {
        !missing || program.exists()
    } else {
        env::split_paths(path).any(|dir| dir.join(program).is_file())
    };
    let (code, why, fix) = match (found, missing) {
        (false, _) if by_path => (
            NOT_FOUND,
            "there is no such file".to_owned(),
            format!("see what there is: ls -l {name}"),
        ),
        (false, _) if program.as_os_str().as_bytes().contains(&b' ') => (
            NOT_FOUND,
            "no directory in PATH has it, and it is several words in one".to_owned(),
            format!(
                "leave out the quotes, or give it to a shell:\nguard run -- {name}\nguard run -- sh -c '{name}'"
            ),
        ),
        (false, _) if env::var_os("SUDO_UID").is_some() => (
            NOT_FOUND,
            "no directory in PATH has it, and sudo has replaced PATH".to_owned(),
            // Root's own programs are not to be found by a PATH in which a session may write.
            format!(
                "give the command yours, behind the same options:\nsudo guard run -- env \"PATH=$PATH\" {name}"
            ),
        ),
        (false, _) => (
            NOT_FOUND,
            "no directory in PATH has it".to_owned(),
            format!("check the name, or give its path:\ncommand -v {name}"),
        ),
        (true, true) => (
            NOT_EXECUTABLE,
            "the interpreter that it names does not exist".to_owned(),
            format!("see which one it names: head -n 1 {name}"),
        ),
        (true, false) if program.is_dir() => (
            NOT_EXECUTABLE,
            "it is a directory".to_owned(),
            format!("give a program in it: ls {name}"),
        ),
        (true, false) => (
            NOT_EXECUTABLE,
            why.to_string(),
            format!("see whether you may execute it: ls -l {name}"),
        ),
    };
    LaunchError {
        code,
        failure: failure(&format!("cannot execute {name}"), why, &fix),
    }
}
