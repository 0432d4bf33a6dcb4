//! What people answer: requests, and the holes that come of them.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use guard_policy::Destination;
use guard_proto::{
    Call, Failure, Hole, HoleTerms, HolesReply, LogRecord, Request, RequestsReply,
    holes::AlwaysReply, record::Record, requests::Denied,
};
use jiff::Timestamp;

use super::args::{ApproveArgs, CloseArgs, DenyArgs, HolesArgs, OpenArgs, PendingArgs, TermsArgs};
use super::ask::yes;
use super::client::{Client, ReplyStream};
use super::error::{CliError, Exit, read_or_not};
use super::gone;
use super::ids::{are_ids, with_a_port};
use super::render::ended::EndedRequest;
use super::render::endpoint;
use super::render::page::Page;
use super::render::seen::ListScope;
use super::render::time::Clock;
use super::render::{self, Output, command_line};
use super::sessions::{is_carried, seen};

/// What is written down at one moment, and shown at another.
const MOMENT: Duration = Duration::from_secs(5);

/// A guardd that is gone is looked for this often.
const RETRY: Duration = Duration::from_millis(500);

/// Age limit of a hole that is told of.
const OPENED: Duration = Duration::from_hours(8);

/// `guard pending`
pub(crate) fn pending(socket: &Path, args: &PendingArgs, output: Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(socket)?;
    if args.follow {
        super::keep_to_itself();
        let ends = !output.is_json() || args.ends;
        return follow(client, socket, ends, output);
    }
    let answer: RequestsReply = client.call(&Call::Pending {})?;
    is_carried(answer.carried, output);
    let seen = seen(&mut client, answer.requests.len(), |all| all.requests);
    output.print(
        answer.requests.as_slice(),
        |requests, clock| match requests {
            [] => render::requests::none(seen),
            requests => render::requests::list(requests, clock),
        },
    )?;
    if answer.requests.is_empty() && !output.is_json() {
        // What has gone is worth a word, and no error.
        if let Ok(gone) = gone::lately(client) {
            output.print(&gone, render::requests::gone)?;
        }
    }
    Ok(Exit::DONE)
}

/// Prints each request when it comes up: a script may answer what it reads. A guardd that is gone, as for an upgrade, is waited for:
/// connections are held for the approver who follows.
fn follow(client: Client, socket: &Path, ends: bool, output: Output) -> Result<Exit, CliError> {
    let mut followed = Followed {
        known: HashSet::new(),
        waiting: Vec::new(),
        ends: ends.then_some(socket),
        carried: false,
        output,
    };
    let mut answers = client.stream::<RequestsReply>(&Call::Pending {})?;
    if !output.is_json() {
        let socket = socket.to_owned();
        thread::spawn(move || tell_uses(&socket, output));
    }
    loop {
        let lost = loop {
            match answers.next() {
                Some(Ok(answer)) => {
                    followed.is_carried(answer.carried);
                    followed.take(answer.requests)?;
                }
                Some(Err(refused @ CliError::Answer { .. })) => return Err(refused),
                Some(Err(lost)) => break lost.to_string(),
                None => break "guardd has ended what it told".to_owned(),
            }
        };
        output.warn(&format!(
            "{lost}; connections that wait there still do, and are followed again once guardd is back"
        ));
        followed.loses_guardd()?;
        answers = again(socket)?;
        output.note("guardd is back");
    }
}

/// Tells of what passes by holes for all writes, from whichever guardd is there.
fn tell_uses(socket: &Path, output: Output) {
    let began = Timestamp::now();
    let call = Call::Log {
        follow: true,
        session: None,
        since: Some(OPENED.as_secs_f64()),
    };
    loop {
        let mut broad = HashSet::new();
        let records = Client::connect(socket).and_then(|client| client.stream::<LogRecord>(&call));
        for record in records.into_iter().flatten().map_while(Result::ok) {
            match record.record() {
                Record::HoleOpen(one)
                    if one.http.get().is_some_and(|http| http.method.is_none()) =>
                {
                    broad.extend(one.hole.take());
                }
                Record::Http(one) if record.at >= began => {
                    let is_pass = one.outcome.get().is_some_and(|outcome| outcome == "passed");
                    let is_broad = one.hole.get().is_some_and(|hole| broad.contains(hole));
                    if is_pass && is_broad && output.print(&record, render::log::line).is_err() {
                        return;
                    }
                }
                _ => {}
            }
        }
        thread::sleep(RETRY);
    }
}

/// The stream of the guardd that comes next.
fn again(socket: &Path) -> Result<ReplyStream<RequestsReply>, CliError> {
    loop {
        thread::sleep(RETRY);
        let client = Client::connect(socket);
        match client.and_then(|client| client.stream(&Call::Pending {})) {
            Err(CliError::NoDaemon(_) | CliError::Local(_)) => {}
            answers => return answers,
        }
    }
}

/// The requests that were shown.
struct Followed<'s> {
    known: HashSet<(String, String, u32, Option<String>)>,
    waiting: Vec<Request>,
    /// Where to ask how each has ended.
    ends: Option<&'s Path>,
    /// Whether this user is a courier.
    carried: bool,
    output: Output,
}

impl Followed<'_> {
    /// A client that has become a courier does not get what still waits.
    fn is_carried(&mut self, carried: bool) {
        if carried && !self.carried {
            is_carried(carried, self.output);
            self.waiting.clear();
        }
        self.carried = carried;
    }

    /// What its proxy or its resolver held has failed. The kernel holds connections on: the next guardd finds out only then that they
    /// wait, so that it has not said so is no end, and what does is shown once more.
    fn loses_guardd(&mut self) -> Result<(), CliError> {
        for one in &mut self.waiting {
            let is_connection = one.http.is_none() && one.question.is_none();
            if one.held && !is_connection && !self.output.is_json() {
                self.output.print(&*one, render::ended::lost)?;
            }
            one.held = false;
        }
        Ok(())
    }

    /// Tells what is new in the list: once more what has become one about many destinations, which is another question, is said to be for
    /// something, or has a connection wait again; and how each has ended.
    fn take(&mut self, requests: Vec<Request>) -> Result<(), CliError> {
        let (output, mut waiting) = (self.output, std::mem::take(&mut self.waiting));
        let held = waiting.iter().filter(|one| one.held);
        let held: HashSet<_> = held.map(|one| one.id.clone()).collect();
        // In JSON an object with `ended` has ended, and these wait.
        if !output.is_json() {
            let waits_no_more = |was: &&Request| {
                let mut now = requests.iter();
                was.held && now.any(|one| was.id == one.id && !one.held)
            };
            for given_up in waiting.iter().filter(waits_no_more) {
                output.print(given_up, render::ended::given_up)?;
            }
        }
        let waits = |was: &Request| requests.iter().any(|one| one.id == was.id);
        waiting.retain(|was| !waits(was));
        if let Some(socket) = self.ends.filter(|_| !waiting.is_empty()) {
            for ended in ended(socket, waiting, &requests) {
                output.print(&ended, render::ended::line)?;
            }
        }
        // An agent may say why it asks once the request is there. After a teardown another one has the same id.
        let key = |request: &Request| {
            let (to, note) = (endpoint::words(&request.destination), request.note.clone());
            (request.id.clone(), to, request.size(), note)
        };
        let current: HashSet<_> = requests.iter().map(key).collect();
        for request in &requests {
            let waits_again = request.held && !held.contains(&request.id);
            if waits_again || !self.known.contains(&key(request)) {
                output.print(request, render::requests::one)?;
            }
        }
        self.known = current;
        self.waiting = requests;
        Ok(())
    }
}

/// How requests have ended that were waiting a moment ago, of which `waiting` still do. That nobody knows it any more is no error.
fn ended(socket: &Path, requests: Vec<Request>, waiting: &[Request]) -> Vec<EndedRequest> {
    let now = Timestamp::now();
    let since = requests.iter().map(|one| one.last_at).min().unwrap_or(now);
    let call = Call::Log {
        follow: false,
        session: None,
        since: Some(now.duration_since(since).as_secs_f64().max(0.0) + MOMENT.as_secs_f64()),
    };
    let records = Client::connect(socket).and_then(|client| {
        let records = client.stream::<LogRecord>(&call)?;
        records.collect::<Result<Vec<_>, CliError>>()
    });
    let records = records.unwrap_or_default();
    let all = requests.into_iter();
    all.map(|request| EndedRequest::of(request, &records, waiting, now))
        .collect()
}

/// `guard approve`: of several requests, those are answered that can be.
pub(crate) fn approve(
    mut client: Client,
    args: ApproveArgs,
    output: Output,
) -> Result<Exit, CliError> {
    are_ids("approve", 'r', args.ids.iter())?;
    let reads = args.terms.read_only;
    let terms = HoleTerms::from(args.terms);
    let (mut all, mut failed) = (HolesReply::default(), Vec::new());
    for id in args.ids {
        let call = Call::Approve {
            id: id.clone(),
            path: args.path.clone(),
            writes: args.writes,
            prefix: args.prefix,
            tried: args.tried,
            address: args.address,
            always: args.always,
            terms,
        };
        match client.call::<HolesReply>(&call) {
            Ok(answer) => {
                all.holes.extend(answer.holes);
                all.warnings.extend(answer.warnings);
            }
            Err(CliError::Answer { name, mut failure })
                if reads && failure.fix.contains(LEAVE_OUT) =>
            {
                failure.fix.push_str(&format!(":\nguard approve {id}"));
                failed.push((id, CliError::Answer { name, failure }));
            }
            Err(error) => failed.push((id, error)),
        }
    }
    if !all.holes.is_empty() || failed.is_empty() {
        read_or_not(opened(&all, output).map(drop))?;
    }
    all_said(gone::explained(client, failed), output)
}

/// Tells of each that has failed: the last one is what the command ends with.
pub(crate) fn all_said(mut failed: Vec<CliError>, output: Output) -> Result<Exit, CliError> {
    let last = failed.pop();
    for error in failed {
        output.error(&error);
    }
    last.map_or(Ok(Exit::DONE), Err)
}

/// How guardd says of any command that it is to let through more than reads.
const LEAVE_OUT: &str = "leave out --read-only";

/// `guard deny`: of several requests, those are answered that can be.
pub(crate) fn deny(mut client: Client, args: DenyArgs, output: Output) -> Result<Exit, CliError> {
    let seconds = args.duration.map(|duration| duration.as_secs_f64());
    let (mut all, mut failed) = (Denied::default(), Vec::new());
    let mut below = BTreeSet::new();
    for id in to_deny(&mut client, args.ids)? {
        // A no to one may have answered others with it.
        if all.requests.iter().any(|one| one.id == id) {
            continue;
        }
        let call = Call::Deny {
            id: id.clone(),
            seconds,
            by: None,
        };
        match client.call::<Denied>(&call) {
            Ok(answer) => {
                all.requests.extend(answer.requests);
                all.until = answer.until;
                below.extend(answer.below);
            }
            Err(error) => failed.push((id, error)),
        }
    }
    if !all.requests.is_empty() || failed.is_empty() {
        read_or_not(output.print_things(&all.requests, |request, clock| {
            render::requests::denied(request, all.until, clock)
        }))?;
    }
    for zone in below {
        let zone = render::names::short(&zone);
        output.note(&format!(
            "after these noes no name below {zone} is asked about: all of them are refused"
        ));
    }
    all_said(gone::explained(client, failed), output)
}

/// The requests that are meant: a session stands for all that wait of it now.
fn to_deny(client: &mut Client, ids: Vec<String>) -> Result<Vec<String>, CliError> {
    let is_session = |id: &String| {
        let number = id.strip_prefix('s').unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    are_ids("deny", 'r', ids.iter().filter(|id| !is_session(id)))?;
    let mut meant = Vec::new();
    for id in ids {
        if !is_session(&id) {
            meant.push(id);
            continue;
        }
        let pending: RequestsReply = client.call(&Call::Pending {})?;
        let is_inside = |one: &Request| one.chain.iter().any(|link| link.session == id);
        let is_its = |one: &Request| one.session == id || is_inside(one);
        let its = pending.requests.into_iter().filter(is_its);
        let its: Vec<_> = its.map(|one| one.id).collect();
        if its.is_empty() {
            return Err(nothing_of(&id).into());
        }
        meant.extend(its);
    }
    Ok(meant)
}

fn nothing_of(session: &str) -> Failure {
    Failure {
        what: format!("cannot deny what waits of {session}"),
        why: "no request of it waits that is yours to answer".to_owned(),
        fix: "guard pending".to_owned(),
    }
}

/// `guard open`
pub(crate) fn open(mut client: Client, args: OpenArgs, output: Output) -> Result<Exit, CliError> {
    has_ports(&args)?;
    let session = args.session.as_ref();
    let session = session.map_or_else(String::new, |session| format!(" --session {session}"));
    let explain = format!("guard explain {}{session}", args.to.destination);
    let to_open = |wide| Call::Open {
        destination: args.to.destination.clone(),
        ports: args.to.ports.clone(),
        session: args.session.clone(),
        reason: args.reason.clone(),
        wide,
        always: args.always,
        terms: args.terms.clone().into(),
    };
    let mut answer = client.call(&to_open(args.wide));
    if let Err(CliError::Answer { failure, .. }) = &answer
        && failure.fix.contains(WIDE)
        && let Some(is_meant) = is_meant(failure, output)?
    {
        if !is_meant {
            let told = output.print(&[] as &[Hole], |_, _| Page::of("Nothing is opened."));
            return Exit::NO.once_told(told);
        }
        answer = client.call(&to_open(true));
    }
    let answer = answer.map_err(|error| match error {
        CliError::Answer { name, mut failure } => {
            // guardd says it of any destination.
            failure.fix = failure
                .fix
                .replace("guard explain DEST --session S", &explain);
            CliError::Answer { name, failure }
        }
        other => other,
    });
    let answer = answer?;
    let exit = opened(&answer, output)?;
    // What is open is open, whether or not the others are shown.
    if let Ok(open) = client.call::<HolesReply>(&Call::Holes {}) {
        let told = render::holes::open_before(&answer.holes, &open.holes, &Clock::system());
        output.warnings(&told);
    }
    Ok(exit)
}

/// How guardd says that a hole is wider than most are.
const WIDE: &str = "--wide";

/// Whether a person says at the terminal that they mean a hole of which guardd has its doubts; none where nobody can be asked.
fn is_meant(failure: &Failure, output: Output) -> Result<Option<bool>, CliError> {
    let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if output.is_json() || !is_terminal {
        return Ok(None);
    }
    let said = Page::of(format_args!("{}: {}.", failure.what, failure.why));
    let _ = anstream::stderr().write_all(said.as_str().as_bytes());
    yes("Open all of that?").map(Some)
}

/// A hole for all ports is one that somebody wanted. One for reads lets HTTP through alone.
fn has_ports(args: &OpenArgs) -> Result<(), Failure> {
    let text = &args.to.destination;
    let is_said = args.all_ports || args.terms.read_only || !args.to.ports.is_empty();
    // guardd says what is wrong with one that is none.
    let Some(to) = text
        .parse::<Destination>()
        .ok()
        .filter(|to| !is_said && to.port.is_none())
    else {
        return Ok(());
    };
    let one = with_a_port(to, text);
    Err(Failure {
        what: format!("cannot tell which ports of {text} to open"),
        why: "it names none, and a hole for all of them lets more through than most need"
            .to_owned(),
        fix: format!(
            "guard open {one}\nguard open {} --all-ports",
            command_line(std::slice::from_ref(text))
        ),
    })
}

fn opened(answer: &HolesReply, output: Output) -> Result<Exit, CliError> {
    output.warnings(&answer.warnings);
    output.print_things(&answer.holes, render::holes::opened)?;
    Ok(Exit::DONE)
}

/// `guard holes`
pub(crate) fn holes(
    mut client: Client,
    args: &HolesArgs,
    output: Output,
) -> Result<Exit, CliError> {
    if args.always {
        let answer: AlwaysReply = client.call(&Call::Always { forget: Vec::new() })?;
        output.print(answer.always.as_slice(), |all, _| {
            render::holes::always(all)
        })?;
        return Ok(Exit::DONE);
    }
    let answer: HolesReply = client.call(&Call::Holes {})?;
    output.warnings(&answer.warnings);
    let seen = seen(&mut client, answer.holes.len(), |all| all.holes);
    output.print(answer.holes.as_slice(), |holes, clock| match holes {
        [] => render::holes::none(seen),
        holes => render::holes::list(holes, clock),
    })?;
    Ok(Exit::DONE)
}

/// `guard close`: of several holes, those are closed that are open.
pub(crate) fn close(
    mut client: Client,
    mut args: CloseArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let is_program = |id: &mut String| {
        let number = id.strip_prefix('a').unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let forget: Vec<_> = args.ids.extract_if(.., is_program).collect();
    if !forget.is_empty() {
        let answer: AlwaysReply = client.call(&Call::Always { forget })?;
        output.print(answer.always.as_slice(), |all, _| {
            render::holes::forgotten(all)
        })?;
        if args.ids.is_empty() {
            return Ok(Exit::DONE);
        }
    }
    are_ids("close", 'h', args.ids.iter())?;
    let mut close = |ids, all| client.call::<HolesReply>(&Call::Close { ids, all, by: None });
    if args.all {
        let answer = close(Vec::new(), true)?;
        output.warnings(&answer.warnings);
        output.print(answer.holes.as_slice(), |holes, _| match holes {
            [] => render::holes::none(ListScope::here(|| 0)),
            holes => render::holes::all_closed(holes),
        })?;
        return Ok(Exit::DONE);
    }
    let (mut all, mut failed) = (HolesReply::default(), Vec::new());
    for id in args.ids {
        match close(vec![id], false) {
            Ok(answer) => {
                all.holes.extend(answer.holes);
                all.warnings.extend(answer.warnings);
            }
            Err(error) => failed.push(error),
        }
    }
    all.warnings.dedup();
    // That another one is open, which was closed after it.
    let closed: Vec<_> = all
        .holes
        .iter()
        .map(|one| format!("{} still ", one.id))
        .collect();
    all.warnings
        .retain(|one| !closed.iter().any(|id| one.starts_with(id)));
    output.warnings(&all.warnings);
    if !all.holes.is_empty() || failed.is_empty() {
        read_or_not(output.print_things(&all.holes, render::holes::closed))?;
    }
    all_said(failed, output)
}

impl From<TermsArgs> for HoleTerms {
    fn from(args: TermsArgs) -> Self {
        Self {
            seconds: args.duration.map(|duration| duration.as_secs_f64()),
            connections: args.connections,
            requests: args.requests,
            bytes: args.bytes,
            read_only: args.read_only,
        }
    }
}
