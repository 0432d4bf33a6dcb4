//! `guard run`: asks guardd for a session, and starts the command in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guard_launch::{
    self as session, Ask, CommandIdentity, Entered, LaunchError, Listening, RefusedSocket,
    SessionSockets, ToldRoot, Trust, landlock::AbstractNames,
};
use guard_policy::{LONGEST_HOLD, Parsed, SocketName};
use guard_proto::{
    Call, ErrorName, Failure, LogRecord, PolicyRef, Session, Started,
    calls::Run,
    sockets::{HasSocket, SocketAddress},
};
use serde::Deserialize;

use super::args::{Global, RunArgs};
use super::client::Client;
use super::discover::before::Before;
use super::discover::drift::Drift;
use super::doctor;
use super::embedded::Embedded;
use super::error::{CliError, Exit};
use super::held::HeldTeller;
use super::person::Person;
use super::policy_file::{
    PolicyFile, none_by_settings, none_of_that_name, or_default, personal, policy_ref,
};
use super::project::{Project, project};
use super::records::Teller;
use super::render::Output;
use super::render::page::Page;
use super::report::run::RunSummary;
use super::sudo;

/// Limit of the command line's bytes that guardd gets. It is shown to people, and never run.
const SHOWN: usize = 4096;

/// Answer to [`Call::Enter`].
#[derive(Deserialize)]
struct Moved {}

/// The same refusal is reported once in this time.
const SAME: Duration = Duration::from_secs(10);
/// Different ones in that time, at most.
const MOST_TOLD: usize = 32;

/// Runs the command and exits as it does. Every error means that it never ran.
pub(crate) fn run(args: &RunArgs, global: &Global, output: Output) -> Result<Exit, CliError> {
    check_hold(args.hold)?;
    let identity = CommandIdentity::choose(args.user.as_deref())?;
    let policy = args
        .policy
        .as_deref()
        .map(|policy| policy_ref(policy, |file| PolicyFile::read_as(file, &identity), output))
        .transpose()?;
    in_session(args, global, output, identity, policy, false)
}

/// The policy of the project, if the command starts in one that has it.
fn projects(
    args: &RunArgs,
    socket: &Path,
    identity: &CommandIdentity,
    output: Output,
) -> Result<Option<Project>, CliError> {
    let project = project(identity, args.policy.as_deref(), socket, output)?;
    if let Some(project) = project.as_ref().filter(|_| is_told(args, output)) {
        tell(&project.says);
    }
    Ok(project)
}

/// Tells a person a line. That nobody reads it keeps no command from running.
fn tell(line: impl Display) {
    let line = Page::of(format_args!("guard: {line}"));
    let _ = anstream::stderr().write_all(line.as_str().as_bytes());
}

/// Whether a person at this terminal is shown what is no warning.
fn is_told(args: &RunArgs, output: Output) -> bool {
    !args.quiet && !output.is_json() && io::stderr().is_terminal()
}

/// That the user who typed the command may not answer what its session asks: that is for its own user, and root.
fn answered_by_root(typed: Option<u32>, session: &Session) -> Option<String> {
    let is_own = typed.is_none_or(|typed| typed == session.uid);
    (!is_own).then(|| {
        let user = &session.user;
        format!("requests of {user}'s sessions are answered by root: sudo guard watch")
    })
}

/// The same, once the user and the policy are known. A scratch session is one that [`doctor`] looks with: it is
/// had however much is open.
pub(super) fn in_session(
    args: &RunArgs,
    global: &Global,
    output: Output,
    identity: CommandIdentity,
    policy: Option<PolicyRef>,
    is_scratch: bool,
) -> Result<Exit, CliError> {
    let (mut client, embedded) = reach(global)?;
    let socket = global.socket();
    let project = if is_scratch {
        None
    } else {
        projects(args, &socket, &identity, output)?
    };
    let (run, policies) = with_policies(wanted(args, &identity), policy, project);
    let is_told = !is_scratch && is_told(args, output);
    let started = start(&mut client, run, &identity, output, is_told);
    // The command gets a connection of its own to enter with, and this one is not left for it to find.
    drop(client);
    let started: Started = started?;
    warn(&started, output);
    let by_root = answered_by_root(sudo::caller(), &started.session);
    if let Some(by_root) = by_root.as_ref().filter(|_| is_told) {
        output.note(by_root);
    }
    let held = HeldTeller::of(&started.session, &socket, by_root.is_some());
    let held = held.filter(|_| is_told);
    let before = Before {
        identity: &identity,
        quiet: args.quiet,
        output,
    };
    let drift = ready(before, &started, policies, &socket, is_scratch)
        .inspect_err(|why| abandon(&socket, &started.session.id, why))?;
    let beside = BesideCommand { drift, held };
    let ended = launch(args, global, output, identity, beside, &started);
    if ended.is_ok() && !args.quiet {
        sum_up(&socket, &started.session, embedded.is_some(), output);
    }
    if let Some(embedded) = embedded {
        embedded.finish(&started.session.cgroup);
    }
    ended
}

/// A session for the command, as the command line has it; without a policy.
fn wanted(args: &RunArgs, identity: &CommandIdentity) -> Run {
    Run {
        policy: None,
        name: args.name.clone(),
        hold: args.hold.map(|hold| hold.as_secs_f64()),
        command: shown(&args.command),
        uid: identity.uid(),
        root: identity.becomes_root(),
        connects: true,
        scoped: session::landlock::has_scopes(),
        observe: args.observe,
        beside: None,
        agreed: false,
    }
}

/// The same under a policy, as the project changes that or lies beside it.
fn with_policies(
    run: Run,
    policy: Option<PolicyRef>,
    project: Option<Project>,
) -> (Run, JudgingTexts) {
    let (changed, beside, narrows) = match project {
        Some(project) => (project.policy, Some(project.beside), Some(project.parsed)),
        None => (None, None, None),
    };
    let agreed = changed.is_some();
    let policy = changed.or(policy);
    let policies = JudgingTexts {
        text: policy.as_ref().and_then(|policy| policy.text.clone()),
        beside: narrows,
    };
    let run = Run {
        policy,
        beside: beside.map(Box::new),
        agreed,
        ..run
    };
    (run, policies)
}

/// Tells what guardd warns of, and that the session is not refused what no rule names.
fn warn(started: &Started, output: Output) {
    output.warnings(&started.warnings);
    if started.session.observed {
        let id = &started.session.id;
        output.warnings(&[format!(
            "what no rule of the policy names passes, and is recorded: guard suggest --from-flows --session {id}"
        )]);
    }
}

/// The policies of a session, as far as they are not guardd's.
struct JudgingTexts {
    /// The text that the client brought.
    text: Option<String>,
    /// The project's.
    beside: Option<Parsed>,
}

/// Sees that all is as the settings want it before the command starts, and gives what watches for more meanwhile.
fn ready(
    before: Before<'_>,
    started: &Started,
    policies: JudgingTexts,
    socket: &Path,
    is_scratch: bool,
) -> Result<Option<Drift>, CliError> {
    if started.strict && !is_scratch {
        doctor::is_closed(before.identity, socket)?;
    }
    name_sockets(before.identity, socket, started)?;
    if is_scratch {
        return Ok(None);
    }
    before.tell(started, policies.text.as_deref(), policies.beside, socket)
}

/// Has guardd make the session. A name that it has no policy of may be one of the person's own: whatever runs as them may have written
/// that, so it is said.
fn start(
    client: &mut Client,
    run: Run,
    identity: &CommandIdentity,
    output: Output,
    is_told: bool,
) -> Result<Started, CliError> {
    let unknown = match client.call(&Call::Run(run.clone())) {
        Err(error) if error.name() == Some(ErrorName::NotFound) => error,
        answer => return answer,
    };
    if run.policy.is_none() && has_no_policy(&unknown) {
        let person = Person::of(identity);
        let name = or_default(None);
        return Err(none_by_settings(unknown, name, &run.command, &person));
    }
    let named = run.policy.as_ref().filter(|policy| policy.text.is_none());
    let Some(name) = named.and_then(|policy| policy.name.as_deref()) else {
        return Err(unknown);
    };
    let person = Person::of(identity);
    let Some(path) = personal(name, &person) else {
        return Err(none_of_that_name(unknown, name, &person));
    };
    let file = PolicyFile::read_as(&path, identity)?;
    if is_told {
        tell(format_args!(
            "policy {name} is your own: {}",
            path.display()
        ));
    }
    let policy = Some(file.to_wire(&file.parse(output)?));
    client.call(&Call::Run(Run { policy, ..run }))
}

/// Whether it is a policy that guardd has none of that name of.
fn has_no_policy(unknown: &CliError) -> bool {
    let failure = unknown.failure();
    failure.is_some_and(|failure| failure.what.starts_with("there is no policy"))
}

/// At the security hooks a session is let connect to abstract names that its policy allows, and its Landlock domain would not.
fn names(started: &Started) -> AbstractNames {
    let is_abstract = |name: &SocketName| matches!(name, SocketName::Abstract(_));
    if started.name_sockets.iter().any(is_abstract) {
        AbstractNames::Judged
    } else {
        AbstractNames::Scoped
    }
}

/// Tells guardd which sockets the policy means: those that the command's user finds under its names.
fn name_sockets(
    identity: &CommandIdentity,
    socket: &Path,
    started: &Started,
) -> Result<(), CliError> {
    let named = identity.with_rights(|| session::named(&started.name_sockets));
    let sockets = named.map_err(|error| Failure {
        what: "cannot find the sockets that the policy allows".into(),
        why: format!("root cannot become the command's user: {error}"),
        fix: "leave out [unix] allow, or start the command as that user".into(),
    })?;
    if sockets.is_empty() {
        return Ok(());
    }
    let call = Call::NameSockets {
        session: started.session.id.clone(),
        sockets,
    };
    Client::connect(socket)?.call::<Moved>(&call).map(drop)
}

/// What goes on beside a command, on threads of its own.
struct BesideCommand {
    drift: Option<Drift>,
    held: Option<HeldTeller>,
}

/// The command, and the user that it runs as.
fn command(
    args: &RunArgs,
    global: &Global,
    identity: CommandIdentity,
    started: &Started,
) -> session::Command {
    let (socket, session) = (global.socket(), &started.session);
    session::Command {
        argv: args.command.clone(),
        sockets: started.sockets.clone().map(|terms| {
            let guardd = std::path::absolute(&socket).unwrap_or_else(|_| socket.clone());
            SessionSockets::of(session.cgroup.clone(), terms, &identity, guardd)
        }),
        ask: ASK,
        names: names(started),
        identity,
        environment: environment(global, &session.id),
    }
}

/// Starts the command in its session, and waits for it.
fn launch(
    args: &RunArgs,
    global: &Global,
    output: Output,
    identity: CommandIdentity,
    BesideCommand { drift, held }: BesideCommand,
    started: &Started,
) -> Result<Exit, CliError> {
    let socket = global.socket();
    let session = &started.session;
    let trust = trust(started, &identity, &socket, output);
    let command = command(args, global, identity, started);
    let mut enter = || {
        let told_root = enter(&socket, session)?;
        let effect = trust.as_ref().map(Trust::take_effect).unwrap_or_default();
        output.warnings(&effect.warnings);
        Ok(Entered {
            cgroup: session.cgroup.clone(),
            environment: effect.environment,
            told_root,
        })
    };
    let tell = teller(socket.clone(), session.id.clone());
    let launched = session::launch(&command, &mut enter, tell, |notes| {
        if let (Some(held), Some(notes)) = (held, notes) {
            held.begin(notes);
        }
        if let Some(Err(why)) = drift.map(Drift::begin) {
            // Nobody would be asked who is to be.
            output.warnings(&[why.to_string()]);
            abandon(&socket, &session.id, &why);
        }
    });
    if let Some(trust) = trust {
        trust.finish(&session.cgroup);
    }
    let status = launched.map(|outcome| Exit(outcome.status()));
    status
        .map_err(CliError::from)
        .inspect_err(|error| abandon(&socket, &session.id, error))
}

/// Has guardd write down that a connection to a Unix socket was refused, unless the same was reported a moment ago.
fn teller(socket: PathBuf, session: String) -> impl FnMut(&RefusedSocket) + Send + 'static {
    let mut told: HashMap<RefusedSocket, Instant> = HashMap::new();
    move |refused| {
        let now = Instant::now();
        told.retain(|_, at| now.duration_since(*at) < SAME);
        if told.len() >= MOST_TOLD || told.insert(refused.clone(), now).is_some() {
            return;
        }
        let call = Call::SocketRefused {
            session: session.clone(),
            socket: refused.socket.clone(),
            pid: refused.pid,
            comm: refused.comm.clone(),
            unknown: refused.listener == Listening::Unknown,
        };
        // Without guardd there is nobody to tell: refused it is all the same.
        let _ = Client::connect(&socket).and_then(|mut client| client.call::<Moved>(&call));
    }
}

/// Asks guardd about processes of a session that its own user may not look at.
pub(super) const ASK: Ask = Ask {
    address: socket_address,
    has_open: has_socket,
    has_bound,
};

fn socket_address(guardd: &Path, session: &str, thread: u32) -> Option<SocketAddress> {
    let call = Call::SocketAddress {
        session: session.to_owned(),
        thread,
    };
    Client::connect(guardd).ok()?.call(&call).ok()
}

fn has_socket(guardd: &Path, session: &str, number: u64, cookie: u64) -> Option<bool> {
    let call = Call::HasSocket {
        session: session.to_owned(),
        number,
        cookie,
    };
    let answer = Client::connect(guardd).and_then(|mut client| client.call(&call));
    answer.ok().map(|HasSocket { open }| open)
}

fn has_bound(guardd: &Path, session: &str, inode: u64, device: u64) -> bool {
    let call = Call::HasBound {
        session: session.to_owned(),
        inode,
        device,
    };
    let answer = Client::connect(guardd).and_then(|mut client| client.call(&call));
    answer.is_ok_and(|HasSocket { open }| open)
}

/// Says what was stopped and asked, if anything was. Whatever keeps it from that is nothing to the command, which has
/// ended. A guardd that is alone with it ends as well, if nothing goes on.
fn sum_up(socket: &Path, session: &Session, is_alone: bool, output: Output) {
    // A guardd that was alone with it may have ended by now, with all of it in the audit log.
    let records = || Teller::at(socket, output)?.records(Some(session.id.clone()), None);
    let records = || records().or_else(|_| records());
    // The id may have been another session's before a reboot.
    let is_its = |record: &LogRecord| record.at >= session.started_at;
    if let Ok(mut records) = records() {
        records.retain(is_its);
        let goes_on = goes_on(session);
        let summary = RunSummary::of(&records, goes_on);
        let summary = match answered_by_root(sudo::caller(), session) {
            Some(_) => summary.answered_by_root(),
            None => summary,
        };
        let summary = match session.parent {
            Some(_) => summary.inside(),
            None if is_alone && !goes_on => summary.left_to_root(),
            None => summary,
        };
        summary.tell(output);
    }
}

/// Whether processes are left of a session whose command has ended.
fn goes_on(session: &Session) -> bool {
    let events = std::fs::read_to_string(session.cgroup.join("cgroup.events"));
    events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// What makes the session trust the authority that guardd names, if it names one and that can be done.
fn trust(
    started: &Started,
    identity: &CommandIdentity,
    socket: &Path,
    output: Output,
) -> Option<Trust> {
    let authority = started.authority.as_deref()?;
    let state = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    let state = state.parent().unwrap_or(Path::new("/"));
    let (trust, warnings) = Trust::prepare(authority, identity, state, &started.session.cgroup);
    output.warnings(&warnings);
    trust
}

/// Called by the process that is about to become the command: guardd moves the caller. Gives what to do when it has become
/// root: the same call once more, over the same connection, for there it could make none yet.
fn enter(socket: &Path, session: &Session) -> Result<ToldRoot, Failure> {
    let call = Call::Enter {
        session: session.id.clone(),
    };
    let id = session.id.clone();
    let failed = move |error: CliError| {
        error.failure().cloned().unwrap_or_else(|| Failure {
            what: format!("cannot enter session {id}"),
            why: error.to_string(),
            fix: "guard status".into(),
        })
    };
    let mut client = Client::connect(socket).map_err(&failed)?;
    let Moved {} = client.call(&call).map_err(&failed)?;
    Ok(Box::new(move || {
        client.call(&call).map(|Moved {}| ()).map_err(failed)
    }))
}

/// Ends a session whose command could not be started. Where it ended by itself, guardd knows none: all is well.
/// Where it is not to start as the settings say, no session has begun, and `why` is written down in place of it.
fn abandon(socket: &Path, session: &str, why: &CliError) {
    let stop = |refused| {
        let call = Call::Stop {
            session: session.to_owned(),
            refused,
        };
        Client::connect(socket)?.call::<guard_proto::SessionsReply>(&call)
    };
    // guardd 0.3.0 does not take it.
    let _ = stop(Some(why.to_string())).or_else(|_| stop(None));
}

/// guardd; where none runs, root starts one that lasts as long as its sessions.
fn reach(global: &Global) -> Result<(Client, Option<Embedded>), CliError> {
    match Client::connect(&global.socket()) {
        Ok(client) => Ok((client, None)),
        Err(CliError::NoDaemon(_)) if sudo::is_root() => {
            Ok(Embedded::start(global.socket.as_deref())?)
        }
        Err(CliError::NoDaemon(failure)) => Err(CliError::NoDaemon(or_as_root(failure))),
        Err(error) => Err(error),
    }
}

/// Root needs none that runs already.
fn or_as_root(failure: Failure) -> Failure {
    let fix = format!(
        "{}\nor, with one that lasts as long as the command, which runs as you all the same:\nsudo guard run -- CMD",
        failure.fix
    );
    Failure { fix, ..failure }
}

fn check_hold(hold: Option<Duration>) -> Result<(), CliError> {
    if hold.is_none_or(|hold| hold <= LONGEST_HOLD) {
        return Ok(());
    }
    Err(CliError::Local(Failure {
        what: "cannot let connections wait for so long".into(),
        why: "the kernel tries for five minutes and a bit".into(),
        fix: "guard run --hold 5m -- CMD".into(),
    }))
}

/// What the command finds in its environment, beside all that it inherits.
fn environment(global: &Global, session: &str) -> Vec<(OsString, OsString)> {
    let mut environment = vec![("GUARD_SESSION".into(), session.into())];
    if let Some(socket) = &global.socket {
        let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.clone());
        environment.push(("GUARD_SOCKET".into(), socket.into()));
    }
    environment
}

/// The command line for people to see, cut where it is too long for that.
fn shown(command: &[OsString]) -> Vec<String> {
    let mut left = SHOWN;
    let mut words = Vec::new();
    for word in command {
        let word = word.to_string_lossy();
        if word.len() > left {
            words.push(format!("{}…", &word[..word.floor_char_boundary(left)]));
            break;
        }
        left -= word.len();
        words.push(word.into_owned());
    }
    words
}

impl From<LaunchError> for CliError {
    fn from(error: LaunchError) -> Self {
        Self::Launch {
            exit: Exit(error.code),
            failure: error.failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_for_ever() {
        assert!(check_hold(None).is_ok());
        assert!(check_hold(Some(Duration::ZERO)).is_ok());
        assert!(check_hold(Some(Duration::from_secs(300))).is_ok());
        let refused = check_hold(Some(Duration::from_secs(301))).unwrap_err();
        insta::assert_snapshot!(refused, @"cannot let connections wait for so long: the kernel tries for five minutes and a bit");
        assert_eq!(refused.not_started().exit(), Exit::NOT_STARTED);
    }

    #[test]
    fn who_starts_a_command_as_somebody_else_is_told_who_answers() {
        let session = crate::render::examples::session();
        assert_eq!(answered_by_root(None, &session), None);
        assert_eq!(answered_by_root(Some(session.uid), &session), None);
        let told = answered_by_root(Some(session.uid + 1), &session).unwrap();
        insta::assert_snapshot!(told, @"requests of alice's sessions are answered by root: sudo guard watch");
    }

    #[test]
    fn long_command_lines_are_cut() {
        let command = [
            OsString::from("x".repeat(SHOWN - 1)),
            "ä".into(),
            "z".into(),
        ];
        let shown = shown(&command);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[1], "…");
    }

    #[test]
    fn the_command_learns_its_session_and_socket() {
        let global = |socket| Global {
            json: false,
            socket,
        };
        let plain = environment(&global(None), "s1");
        assert_eq!(plain, [("GUARD_SESSION".into(), "s1".into())]);
        let other = environment(&global(Some("/run/x/guardd.sock".into())), "s1");
        assert_eq!(
            other[1],
            ("GUARD_SOCKET".into(), "/run/x/guardd.sock".into())
        );
    }

    #[test]
    fn a_policy_that_is_invalid_starts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).unwrap();
        let file = directory.path().join("agent.toml");
        std::fs::write(&file, "version = 1\ncolour = 2\n").unwrap();
        let root = rustix::process::geteuid().is_root();
        let identity = CommandIdentity::choose(root.then_some("nobody")).unwrap();
        let read = |file: &Path| PolicyFile::read_as(file, &identity);
        let error = policy_ref(file.to_str().unwrap(), read, Output::new(true)).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
        assert_eq!(error.not_started().exit(), Exit::NOT_STARTED);
        assert_eq!(
            policy_ref("homelab", read, Output::new(true))
                .unwrap()
                .name
                .as_deref(),
            Some("homelab")
        );
    }
}
