//! What TAB offers: verbs and options, and what only this machine knows: ids of guardd's, policies, commands, users.
//!
//! The scripts of `guard completions` call `guard` with [`VARIABLE`] set, and clap's engine asks the functions here.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use clap_complete::env::{CompleteEnv, Shells};
use serde::de::DeserializeOwned;

use super::args::Cli;
use super::client::Client;
use super::error::Exit;
use super::policy::named;
use super::reference::{errors, rows};
use super::render::escape::{escaped, visible};
use super::render::time::Clock;
use super::render::{command_line, holes as hole_words, requests as request_words};
use guard_proto::{
    Call, HolesReply, Request, RequestsReply, SessionsReply, Status, varlink::DEFAULT_SOCKET,
};

/// Which shell asks, in the environment of `guard`. Not clap's own `COMPLETE`, which may be there for another reason.
const VARIABLE: &str = "GUARD_COMPLETE";

/// A guardd that has not answered by then is not waited for: somebody has pressed a key.
const TIMEOUT: Duration = Duration::from_millis(700);

/// How much of a description is shown.
const LONGEST: usize = 70;

/// Returns the exit status if a script of `guard completions` asks what may stand at the cursor. A script calls `guard -- WORDS`,
/// which is no command line of a person: the variable alone changes nothing.
pub(super) fn answer(words: &[OsString]) -> Option<Exit> {
    std::env::var_os(VARIABLE)?;
    if words.len() < 3 || words[1] != "--" {
        return None;
    }
    let directory = std::env::current_dir().ok();
    let engine = CompleteEnv::with_factory(|| offered(words)).var(VARIABLE);
    // Below a command line that somebody is typing an error would only be in the way.
    let answered = engine.try_complete(words.iter().cloned(), directory.as_deref());
    Some(answered.map_or(Exit::FAILED, |_| Exit::DONE))
}

/// What registers them with a shell.
pub(super) fn script(shell: Shell) -> std::io::Result<String> {
    let name = shell.to_string();
    let mut script = Vec::new();
    if let Some(known) = Shells::builtins().completer(&name) {
        known.write_registration(VARIABLE, "guard", "guard", "guard", &mut script)?;
    }
    let script = String::from_utf8_lossy(&script).trim_start().to_owned();
    Ok(match shell {
        Shell::Bash => script + BASH,
        Shell::Zsh => script + ZSH,
        Shell::Fish => script + FISH,
        _ => script,
    })
}

/// Behind `guard run … --` stands a command, which has completions of its own.
const BASH: &str = r#"
# Behind `guard run ... --` the command's own completions count, where bash-completion is there to find them.
_guard_or_command() {
    local at
    if [[ ${COMP_WORDS[1]-} == run ]] && declare -F _command_offset > /dev/null; then
        for ((at = 2; at < COMP_CWORD; at++)); do
            if [[ ${COMP_WORDS[at]} == -- ]]; then
                compopt +o nospace 2> /dev/null
                _command_offset $((at + 1))
                return
            fi
        done
    fi
    _clap_complete_guard "$@"
    # bash writes what is offered into the command line as it is, and a file may be called `$(...)`.
    if [[ ${COMP_WORDS[COMP_CWORD]-} == *[\'\"]* ]]; then
        # What is in quotes readline can quote itself, since bash 4.
        compopt -o filenames 2> /dev/null || COMPREPLY=()
        return
    fi
    local home quoted
    for at in "${!COMPREPLY[@]}"; do
        home='' quoted=${COMPREPLY[at]}
        if [[ $quoted == '~/'* ]]; then
            home='~/' quoted=${quoted:2}
        fi
        [[ -z $quoted ]] || printf -v quoted %q "$quoted"
        COMPREPLY[at]=$home$quoted
    done
}
complete -o nospace -o bashdefault -F _guard_or_command guard
"#;

const ZSH: &str = r#"
# Behind `guard run ... --` the command's own completions count.
_guard_or_command() {
    local at=${words[(i)--]}
    if [[ ${words[2]} == run ]] && (( at < CURRENT )); then
        shift $at words
        (( CURRENT -= at ))
        _normal
    else
        _clap_dynamic_completer_guard "$@"
    fi
}
compdef _guard_or_command guard
# A file of $fpath is read when the first completion is wanted, and has to give it.
[[ ${funcstack[1]} == _guard ]] && _guard_or_command "$@"
"#;

const FISH: &str = r#"
# Behind `guard run ... --` the command's own completions count.
function __guard_command
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    test "$words[2]" = run; or return 1
    contains -- -- $words; or return 1
    while test "$words[1]" != --
        set -e words[1]
    end
    set -e words[1]
    string join -- ' ' (string escape -- $words) (string escape -- (commandline --current-token))
end
complete --command guard --condition __guard_command --arguments '(complete -C (__guard_command))'
"#;

/// The command line as it is offered: options only where one is begun, or nothing else could stand there.
fn offered(words: &[OsString]) -> Command {
    let command = Cli::command();
    if at_cursor(words).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-")) {
        command
    } else {
        without_options(command)
    }
}

fn without_options(command: Command) -> Command {
    let command = command
        .mut_args(|arg| {
            if arg.is_positional() {
                arg
            } else {
                arg.hide(true)
            }
        })
        .disable_help_flag(true)
        .disable_version_flag(true);
    command.mut_subcommands(without_options)
}

/// The words of the command line that is being typed, its program first.
fn typed(words: &[OsString]) -> &[OsString] {
    let end = words.iter().position(|word| word == "--");
    end.and_then(|end| words.get(end + 1..)).unwrap_or_default()
}

/// Which word is completed.
fn cursor(typed: &[OsString]) -> usize {
    let told = std::env::var("_CLAP_COMPLETE_INDEX").ok();
    told.and_then(|index| index.parse().ok())
        .unwrap_or_else(|| typed.len().saturating_sub(1))
}

fn at_cursor(words: &[OsString]) -> Option<&OsString> {
    let typed = typed(words);
    typed.get(cursor(typed))
}

/// The socket that the command line, the environment or the default names.
fn socket(words: &[OsString]) -> PathBuf {
    let typed = typed(words);
    let named = typed.iter().enumerate().find_map(|(at, word)| {
        let text = word.to_str()?;
        match text.strip_prefix("--socket") {
            Some("") => typed.get(at + 1).cloned(),
            Some(value) => value.strip_prefix('=').map(OsString::from),
            None => None,
        }
    });
    let named = named.or_else(|| std::env::var_os("GUARD_SOCKET"));
    named.map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// guardd's reply, if a guardd is there and replies at once.
fn asked<Reply: DeserializeOwned>(call: &Call) -> Option<Reply> {
    let words: Vec<_> = std::env::args_os().collect();
    let client = Client::connect(&socket(&words)).ok()?;
    client.within(TIMEOUT).call(call).ok()
}

fn candidate(value: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(escaped(value, usize::MAX)).help(Some(visible(help, LONGEST).into()))
}

/// Requests that wait.
pub(super) fn requests() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let answer: RequestsReply = asked(&Call::Pending {}).unwrap_or_default();
        let requests = answer.requests.iter();
        requests
            .map(|one| candidate(&one.id, &wanted(one)))
            .collect()
    })
}

fn wanted(request: &Request) -> String {
    let program = request_words::called(request).unwrap_or_else(|| "a process".to_owned());
    let what = match &request.http {
        Some(http) => request_words::line(http),
        None => request_words::target(request),
    };
    let wants = request_words::wants(request);
    format!("{}: {program} {wants} {what}", request.session)
}

/// Holes that are open.
pub(super) fn holes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let answer: HolesReply = asked(&Call::Holes {}).unwrap_or_default();
        let clock = Clock::system();
        let holes = answer.holes.iter().map(|one| {
            let (to, ports) = (&one.destination, hole_words::ports(one));
            let ends = clock.until(one.expires_at);
            candidate(
                &one.id,
                &format!("{}: {to} {ports}, ends {ends}", one.session),
            )
        });
        holes.collect()
    })
}

/// Sessions that live.
pub(super) fn sessions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let answer: SessionsReply = asked(&Call::Sessions {}).unwrap_or_default();
        let sessions = answer.sessions.iter().map(|one| {
            let what = if one.command.is_empty() {
                one.name.clone()
            } else {
                command_line(&one.command)
            };
            candidate(
                &one.id,
                &format!("{what}, of {}, policy {}", one.user, one.policy),
            )
        });
        sessions.collect()
    })
}

/// Returns the id of the first request, hole or session, if a guardd has any.
pub(super) fn first_of(what: &str) -> Option<String> {
    let all = match what {
        "request" => requests(),
        "hole" => holes(),
        _ => sessions(),
    };
    let first = all.candidates().into_iter().next()?;
    Some(first.get_value().to_string_lossy().into_owned())
}

/// Codes of errors.
pub(super) fn codes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        errors::all()
            .map(|one| candidate(one.code, one.message))
            .collect()
    })
}

/// Rows of `guard doctor`.
pub(super) fn rows() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        rows::all()
            .map(|one| candidate(one.check, &one.text))
            .collect()
    })
}

/// Policies that have a name here.
pub(super) fn names() -> ArgValueCandidates {
    ArgValueCandidates::new(named::candidates)
}

/// The same, guardd's own, and files.
pub(super) fn policies() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let mut named = named::candidates();
        let status: Option<Status> = asked(&Call::Status {});
        for policy in status.into_iter().flat_map(|status| status.policies) {
            if !named
                .iter()
                .any(|one| one.get_value() == policy.name.as_str())
            {
                named.push(candidate(&policy.name, "guardd's"));
            }
        }
        let begun_text = begun.to_string_lossy();
        named.retain(|one| one.get_value().to_string_lossy().starts_with(&*begun_text));
        named.extend(files(begun, "toml"));
        named
    })
}

/// Policies by name, and files, where no guardd is asked.
pub(super) fn policy_files() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let begun_text = begun.to_string_lossy();
        let mut named = named::candidates();
        named.retain(|one| one.get_value().to_string_lossy().starts_with(&*begun_text));
        named.extend(files(begun, "toml"));
        named
    })
}

/// Files that end so, and the directories on the way to others where nothing else begins like this.
fn files(begun: &OsStr, extension: &'static str) -> Vec<CompletionCandidate> {
    let found = PathCompleter::any()
        .filter(move |path| path.extension().is_some_and(|end| end == extension))
        .complete(begun);
    let is_path = begun.as_encoded_bytes().contains(&b'/');
    let found = found.into_iter().map(|one| {
        let is_directory = one.get_value().as_encoded_bytes().ends_with(b"/");
        let is_hidden = one.is_hide_set() || (is_directory && !is_path);
        one.hide(is_hidden)
    });
    found.collect()
}

/// A command and its arguments.
pub(super) fn command() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let words: Vec<_> = std::env::args_os().collect();
        let typed = typed(&words);
        let escape = typed.iter().position(|word| word == "--");
        let is_argument = escape.is_some_and(|at| at + 1 < cursor(typed));
        let is_path = begun.as_encoded_bytes().contains(&b'/');
        if is_argument || is_path {
            PathCompleter::any().complete(begun)
        } else {
            programs(begun)
        }
    })
}

fn programs(begun: &OsStr) -> Vec<CompletionCandidate> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let begun = begun.as_encoded_bytes();
    let files = std::env::split_paths(&path).flat_map(fs::read_dir);
    let files = files.flatten().flatten();
    let programs = files.filter(|file| {
        let is_begun = file.file_name().as_encoded_bytes().starts_with(begun);
        // `fs::metadata` follows links.
        let meta = || fs::metadata(file.path()).ok();
        is_begun
            && meta().is_some_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    });
    let names: BTreeSet<_> = programs.map(|file| file.file_name()).collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Users that this machine lists.
pub(super) fn users() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let listed = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let names = listed.lines().filter_map(|line| line.split(':').next());
        names.map(CompletionCandidate::new).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_rows_are_offered() {
        for (line, expected) in [
            ("guard explain-error no-g", "no-guardd"),
            ("guard doctor --explain ptr", "ptrace"),
        ] {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let at = words.len() - 1;
            let found = clap_complete::engine::complete(&mut Cli::command(), words, at, None);
            let found = found.unwrap();
            assert!(
                found.iter().any(|one| one.get_value() == expected),
                "{line}: {found:?}"
            );
        }
    }
}
