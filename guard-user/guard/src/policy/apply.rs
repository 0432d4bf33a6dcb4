//! `guard policy apply`: gives sessions the text that a policy's file has now. Whatever runs as a person may write to that file, a
//! session too, so guardd never follows it: the person says so, outside, and is shown what it would let through.

mod outcome;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use guard_policy::Parsed;
use guard_proto::{Applied, Call, Failure, PolicyRef, Session, SessionsReply, calls::Apply};
use rustix::process::geteuid;
use serde::de::DeserializeOwned;

use self::outcome::{Outcome, is_not_found};
use crate::args::PolicyApplyArgs;
use crate::ask::yes;
use crate::change;
use crate::diff;
use crate::error::{CliError, Exit};
use crate::person::Person;
use crate::policy_file::{PolicyFile, ask, is_file, is_machines, personal, whole, without_sudo};
use crate::project::hash;
use crate::render::page::{COMMAND, GOOD, Page, STRONG, WARN};
use crate::render::time::Clock;
use crate::render::{Output, command_line};
use crate::sudo;

/// How a person says that sessions are to have another policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consent {
    /// At the terminal, once they have seen what changes.
    There,
    /// By `--yes`, for what only narrows.
    Narrow,
    /// By `--widen`.
    Widen,
}

/// `guard policy apply`: no where a person said so.
pub(crate) fn apply(args: &PolicyApplyArgs, output: Output) -> Result<Exit, CliError> {
    let file = file(&args.policy).map_err(|failure| with_file(failure, &args.policy))?;
    file.parse(output)?;
    let said = match (args.widen, args.yes) {
        (true, _) => Consent::Widen,
        (false, true) => Consent::Narrow,
        (false, false) => Consent::There,
    };
    let all: SessionsReply = asked(&Call::Sessions {})?;
    let meant = meant(&all.sessions, args, &file)?;
    let older = meant.into_iter().filter(|one| is_older(one, &file));
    let older: Vec<_> = older.collect();
    if older.is_empty() {
        output.print(&[] as &[Applied], |_, _| {
            Page::of(format_args!(
                "No session runs under an older text of {}.",
                args.policy
            ))
        })?;
        return Ok(Exit::DONE);
    }
    match have(&file, &args.policy, &older, said, output)? {
        Some(outcome) => outcome.tell(&args.policy, output)?,
        None => return Ok(Exit::NO),
    }
    Ok(Exit::DONE)
}

/// Behind `guard policy edit` of a person's own: asks whether sessions that run under it are to have it as it is now.
pub(super) fn offer(path: &Path, name: &str, output: Output) -> Result<(), CliError> {
    // Without a guardd nothing runs under it.
    let Some(Ok(SessionsReply { sessions, .. })) = ask(&Call::Sessions {}) else {
        return Ok(());
    };
    let file = PolicyFile::read_kept(path)?;
    let of_file = sessions.iter().filter(|one| names(one, path));
    let older: Vec<_> = of_file.filter(|one| is_older(one, &file)).collect();
    if older.is_empty() {
        return Ok(());
    }
    let outcome = have(&file, name, &older, Consent::There, output)?;
    outcome.map_or(Ok(()), |outcome| outcome.tell(name, output))
}

/// The same of one file, which was written just now. Without a guardd nothing runs under it.
pub(crate) fn note_of(page: &mut Page, file: &Path) {
    let asked = ask(&Call::Sessions {}).and_then(Result::ok);
    let SessionsReply { mut sessions, .. } = asked.unwrap_or_default();
    sessions.retain(|session| names(session, file));
    note(page, &sessions);
}

/// Says which sessions of the person's run under a text that its file does not have any more.
pub(crate) fn note(page: &mut Page, sessions: &[Session]) {
    let mut older: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let own = geteuid().as_raw();
    for session in sessions.iter().filter(|session| session.uid == own) {
        let path = session.policy_file.as_deref().map(Path::new);
        let Some(path) = path.filter(|path| path.is_absolute()) else {
            continue;
        };
        // Of one that is gone there is nothing newer.
        let file = PolicyFile::read_kept(path);
        if file.is_ok_and(|file| is_older(session, &file)) {
            let sessions = older.entry(path.to_str().unwrap_or_default());
            sessions.or_default().push(&session.id);
        }
    }
    for (path, sessions) in older {
        let (verb, them) = match sessions.len() {
            1 => ("runs", "it"),
            _ => ("run", "them"),
        };
        page.styled(STRONG, sessions.join(", ")).line(format_args!(
            " {verb} under an older text of {path}. To have {them} judged by what that says now:"
        ));
        page.commands(format_args!("guard policy apply {}", called(path)));
    }
}

/// As a person names it: by its name where it is one of their own.
fn called(path: &str) -> String {
    let own = Person::own().policies();
    let below = own.and_then(|own| Path::new(path).strip_prefix(own).ok().map(PathBuf::from));
    let name = below.and_then(|below| Some(below.to_str()?.strip_suffix(".toml")?.to_owned()));
    let name = name.filter(|name| !is_file(name) && !is_machines(name));
    name.unwrap_or_else(|| path.to_owned())
}

fn asked<T: DeserializeOwned>(call: &Call) -> Result<T, CliError> {
    ask(call).unwrap_or_else(|| {
        Err(CliError::Local(Failure {
            what: "no guardd was asked".to_owned(),
            why: "it is not known where one is".to_owned(),
            fix: "guard status".to_owned(),
        }))
    })
}

/// What the file says now.
fn file(policy: &str) -> Result<PolicyFile, Failure> {
    if is_file(policy) {
        let path = Path::new(policy);
        let file = PolicyFile::read(path)?;
        return Ok(PolicyFile {
            name: whole(path).to_string_lossy().into_owned(),
            ..file
        });
    }
    let refused = |why: &str, fix: String| Failure {
        what: format!("cannot apply the policy {policy}"),
        why: why.to_owned(),
        fix,
    };
    if is_machines(policy) {
        return Err(refused(
            "it is the machine's: sessions are judged by what its file says once that is saved",
            "guard status".to_owned(),
        ));
    }
    match personal(policy, &Person::own()) {
        Some(path) => PolicyFile::read_kept(&path),
        None => Err(refused(
            match sudo::caller() {
                Some(_) => "root, which sudo makes this, has none of that name",
                None => "you have none of that name",
            },
            format!(
                "{}guard policy list\nor name a file, with a slash in it or .toml at its end: ./agent.toml",
                without_sudo()
            ),
        )),
    }
}

/// What `guard sessions` calls a policy may be the name of a file that a session was started under.
fn with_file(failure: Failure, policy: &str) -> Failure {
    let sessions = ask(&Call::Sessions {}).and_then(Result::ok);
    let SessionsReply { sessions, .. } = sessions.unwrap_or_default();
    let mut named = sessions.iter().filter(|one| one.policy == policy);
    match named.find_map(|one| Some((&one.id, one.policy_file.as_ref()?))) {
        Some((id, path)) => Failure {
            why: format!(
                "{}, and {id} runs under a file that is called so",
                failure.why
            ),
            fix: format!(
                "guard policy apply {}",
                command_line(std::slice::from_ref(path))
            ),
            ..failure
        },
        None => with_session(failure, policy, &sessions),
    }
}

/// It may be a session's id or name, too.
fn with_session(failure: Failure, called: &str, sessions: &[Session]) -> Failure {
    let is_it = |one: &&Session| one.name == called || one.id == called;
    match sessions.iter().find(is_it) {
        Some(one) => Failure {
            why: format!(
                "{}; {called} is a session, under the policy {}",
                failure.why, one.policy
            ),
            fix: format!("guard policy apply {} --session {}", one.policy, one.id),
            ..failure
        },
        None => failure,
    }
}

/// The sessions that are to have it: those that were named, or all that were started under that file.
fn meant<'s>(
    sessions: &'s [Session],
    args: &PolicyApplyArgs,
    file: &PolicyFile,
) -> Result<Vec<&'s Session>, Failure> {
    if args.sessions.is_empty() {
        let path = Path::new(&file.name);
        let meant: Vec<_> = sessions.iter().filter(|one| names(one, path)).collect();
        return match sessions.iter().find(|one| may_name(one, path)) {
            None => Ok(meant),
            Some(same) => Err(Failure {
                what: format!("cannot tell whether {} runs under this file", same.id),
                why: "it was started with a relative path, in whichever directory".to_owned(),
                fix: format!("guard policy apply {} --session {}", args.policy, same.id),
            }),
        };
    }
    let named = args.sessions.iter().map(|id| {
        let mut found = sessions.iter();
        found
            .find(|one| one.id == *id || one.name == *id)
            .ok_or_else(|| Failure {
                what: format!("there is no session {id}"),
                why: "none of yours that lives is called so".to_owned(),
                fix: "guard sessions".to_owned(),
            })
    });
    named.collect()
}

/// Whether it is the file that the session was started under. One's own may be called by another path that leads there; another
/// person's session could make that lead anywhere.
fn names(session: &Session, file: &Path) -> bool {
    let Some(path) = session.policy_file.as_deref().map(Path::new) else {
        return false;
    };
    let is_own = session.uid == geteuid().as_raw() && path.is_absolute();
    let leads_there = || Some(path.canonicalize().ok()? == file.canonicalize().ok()?);
    path == file || (is_own && leads_there().unwrap_or(false))
}

/// Whether it may be the file of a session whose client gave guardd no whole path.
fn may_name(session: &Session, file: &Path) -> bool {
    let path = session.policy_file.as_deref().map(Path::new);
    path.is_some_and(|path| path.is_relative() && path.file_name() == file.file_name())
}

fn is_older(session: &Session, file: &PolicyFile) -> bool {
    let now = hash(file.text.as_bytes());
    session.policy_sha256.as_ref() != Some(&now)
}

/// Has them judged by it, all that live; none where the person says no.
fn have(
    file: &PolicyFile,
    called: &str,
    sessions: &[&Session],
    said: Consent,
    output: Output,
) -> Result<Option<Outcome>, CliError> {
    let ids: Vec<_> = sessions.iter().map(|one| one.id.as_str()).collect();
    let ids = ids.join(", ");
    let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    match said {
        Consent::There if output.is_json() || !is_terminal => {
            return Err(CliError::Local(Failure {
                what: format!("{called} is not applied to {ids}"),
                why: "nobody can be asked here whether it may let more through".to_owned(),
                fix: format!(
                    "at a terminal: guard policy apply {called}\nor where it only narrows: guard policy apply {called} --yes"
                ),
            }));
        }
        Consent::There => {
            show(file, called, sessions, output)?;
            if !yes(format_args!("Have {ids} judged by it from now on?"))? {
                return Ok(None);
            }
        }
        Consent::Narrow | Consent::Widen => {}
    }
    let parsed = file.parse(output)?;
    let give = |session: &Session| {
        let done: Applied = asked(&Call::Apply(Apply {
            session: session.id.clone(),
            policy: file.to_wire(&parsed),
            widen: said != Consent::Narrow,
            look: false,
        }))
        .map_err(|error| as_called(error, called))?;
        output.warnings(&done.warnings);
        Ok(done)
    };
    Ok(Some(Outcome::of_each(sessions, give, lives)))
}

/// Whether guardd still has it. Where nobody knows, it may.
fn lives(session: &Session) -> bool {
    let now = ask(&Call::Sessions {}).and_then(Result::ok);
    now.is_none_or(|now: SessionsReply| now.sessions.iter().any(|one| one.id == session.id))
}

/// An answer of guardd's, which does not know how the person calls the policy.
fn as_called(error: CliError, called: &str) -> CliError {
    match error {
        CliError::Answer { name, failure } => {
            let fix = failure
                .fix
                .replace("policy apply NAME", &format!("policy apply {called}"));
            let failure = Failure { fix, ..failure };
            CliError::Answer { name, failure }
        }
        other => other,
    }
}

/// Shows what it changes: once for each text that sessions have.
fn show(
    file: &PolicyFile,
    called: &str,
    sessions: &[&Session],
    output: Output,
) -> Result<(), CliError> {
    let mut by_text: BTreeMap<Option<&str>, Vec<&Session>> = BTreeMap::new();
    for session in sessions {
        let text = session.policy_sha256.as_deref();
        by_text.entry(text).or_default().push(session);
    }
    let parsed = file.parse(output)?;
    for sessions in by_text.values() {
        let Some((old, looked)) = looked_at(file, &parsed, sessions)? else {
            continue;
        };
        let ids = sessions
            .iter()
            .map(|one| format!("{} ({})", one.id, one.name));
        let heading = heading(&ids.collect::<Vec<_>>(), called);
        let old = PolicyFile {
            name: old.file.or(old.name).unwrap_or_else(|| called.to_owned()),
            text: old.text.unwrap_or_default(),
        };
        let new = PolicyFile {
            name: file.name.clone(),
            text: file.text.clone(),
        };
        let texts = change::unified([&old.text, &new.text], ["the one before", called]);
        let changes = diff::between(old, new, ["the one before", called], output)?;
        let judged = judged(looked);
        // Names and reasons are what a person reads at each question: a session may have written them.
        let mut lines = Page::default();
        lines.diff(texts.lines());
        for page in [heading, changes, lines, judged] {
            let _ = anstream::stderr().write_all(page.as_str().as_bytes());
        }
    }
    Ok(())
}

/// Of which sessions it is, by their ids.
fn heading(ids: &[String], called: &str) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, ids.join(", ")).line(format_args!(
        ": {called} as it is now, beside what judges {} so far:",
        if ids.len() == 1 { "it" } else { "them" }
    ));
    page
}

/// Whether it may let more through.
fn judged(looked: Applied) -> Page {
    let mut page = Page::default();
    match looked.widens {
        None => page.styled(GOOD, "It only narrows").line("."),
        Some(what) => page
            .styled(WARN, "It may let more through")
            .rest_of_line(format_args!(": {what}."), 4),
    };
    page
}

/// What judges sessions of one text so far, and what the newer one may let through: by the first that has not ended meanwhile.
fn looked_at(
    file: &PolicyFile,
    parsed: &Parsed,
    sessions: &[&Session],
) -> Result<Option<(PolicyRef, Applied)>, CliError> {
    let look = |session: &Session| {
        let old = asked(&Call::PolicyText {
            session: session.id.clone(),
        })?;
        let looked = asked(&Call::Apply(Apply {
            session: session.id.clone(),
            policy: file.to_wire(parsed),
            widen: false,
            look: true,
        }))?;
        Ok((old, looked))
    };
    let mut looked = sessions.iter().map(|session| look(session));
    let found = looked.find(|one| !one.as_ref().is_err_and(is_not_found));
    found.transpose()
}

fn page(applied: &Applied, _clock: &Clock) -> Page {
    let mut page = Page::default();
    let session = &applied.session;
    page.styled(STRONG, &session.id).line(format_args!(
        ": {} is judged by {} as it is now",
        session.name, session.policy
    ));
    page.text("    ")
        .styled(
            COMMAND,
            format_args!("guard explain DEST --session {}", session.id),
        )
        .end();
    page
}
