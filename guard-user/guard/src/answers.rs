//! What people answer: requests, and the holes that come of them.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use guard_policy::{Destination, Target, parse_duration};
use guard_proto::{
    Call, Failure, Hole, HoleTerms, HolesReply, LogRecord, Request, RequestsReply, requests::Denied,
};
use jiff::Timestamp;

use super::args::{ApproveArgs, CloseArgs, DenyArgs, OpenArgs, PendingArgs, TermsArgs};
use super::ask::yes;
use super::client::{Client, ReplyStream};
use super::error::{CliError, Exit, read_or_not};
use super::policy_file::or_default;
use super::render::ended::EndedRequest;
use super::render::endpoint;
use super::render::page::Page;
use super::render::requests::Gone;
use super::render::seen::Seen;
use super::render::{self, Output, command_line};
use super::report::summary::Report;
use super::sessions::{is_carried, seen};

/// What is written down at one moment, and shown at another.
const MOMENT: Duration = Duration::from_secs(5);

/// A guardd that is gone is looked for this often.
const RETRY: Duration = Duration::from_millis(500);

/// What went with its session in this time is told where nothing waits.
const LATELY: Duration = Duration::from_secs(3600);

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
        if let Ok(gone) = gone(client) {
            output.print(&gone, render::requests::gone)?;
        }
    }
    Ok(Exit::DONE)
}

/// The sessions that have ended lately and took requests with them.
fn gone(client: Client) -> Result<Vec<Gone>, CliError> {
    let call = Call::Log {
        follow: false,
        session: None,
        since: Some(LATELY.as_secs_f64()),
    };
    let records = client.stream::<LogRecord>(&call)?;
    let records = records.collect::<Result<Vec<_>, CliError>>()?;
    let report = Report::of(&records);
    let ended = report.sessions.iter().filter(|one| one.ended_at.is_some());
    let gone = ended.filter_map(|session| {
        let its = report
            .requests
            .iter()
            .filter(|one| one.answer.is_none() && one.session.as_deref() == Some(&session.id));
        let its: Vec<_> = its.collect();
        let last = its.last()?;
        Some(Gone {
            session: session.id.clone(),
            ids: its.iter().map(|one| one.id.clone()).collect(),
            argument: last.argument.clone(),
        })
    });
    Ok(gone.collect())
}

/// Prints each request when it comes up: a script may answer what it reads. A guardd that is gone, as for an upgrade, is waited for:
/// whoever follows is who connections wait for.
fn follow(client: Client, socket: &Path, ends: bool, output: Output) -> Result<Exit, CliError> {
    let mut followed = Followed {
        known: HashSet::new(),
        waiting: Vec::new(),
        ends: ends.then_some(socket),
        carried: false,
        output,
    };
    let mut answers = client.stream::<RequestsReply>(&Call::Pending {})?;
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

/// The requests that were told.
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
    /// Whoever has become a courier is not told of what still waits.
    fn is_carried(&mut self, carried: bool) {
        if carried && !self.carried {
            is_carried(carried, self.output);
            self.waiting.clear();
        }
        self.carried = carried;
    }

    /// What its proxy or its resolver held has failed. The kernel holds connections on: the next guardd finds out only then that they
    /// wait, so that it has not said so is no end, and what does is told once more.
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
    all.map(|request| EndedRequest::of(request, &records, (waiting, now)))
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
                failed.push(CliError::Answer { name, failure });
            }
            Err(error) => failed.push(error),
        }
    }
    if !all.holes.is_empty() || failed.is_empty() {
        read_or_not(opened(&all, output).map(drop))?;
    }
    all_said(failed, output)
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
        let by = None;
        match client.call::<Denied>(&Call::Deny { id, seconds, by }) {
            Ok(answer) => {
                all.requests.extend(answer.requests);
                all.until = answer.until;
                below.extend(answer.below);
            }
            Err(error) => failed.push(error),
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
    all_said(failed, output)
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
    opened(&answer?, output)
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

/// Ids by their letter: what they are of, and what lists them.
const KINDS: [(char, &str, &str); 3] = [
    ('r', "request", "guard pending"),
    ('h', "hole", "guard holes"),
    ('s', "session", "guard sessions"),
];

/// Whether all may be ids of that kind, which guardd alone knows: of a line that is not understood nothing is done.
fn are_ids<'i>(
    verb: &str,
    letter: char,
    ids: impl Iterator<Item = &'i String>,
) -> Result<(), Failure> {
    let ids: Vec<_> = ids.collect();
    let mut wrong = ids
        .iter()
        .map(|id| not_an_id(verb, letter, id).or_else(|| not_a_time(verb, &ids, id)));
    let failed = wrong.find_map(|wrong| wrong);
    if let Some(failed) = failed {
        return Err(failed);
    }
    let is_one = |id: &&&String| {
        let number = id.strip_prefix(letter).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    // guardd says what is wrong with one that stands alone.
    let Some(other) = ids.iter().find(|id| !is_one(id)).filter(|_| ids.len() > 1) else {
        return Ok(());
    };
    let (_, of, list) = KINDS
        .iter()
        .find(|(one, ..)| *one == letter)
        .unwrap_or(&KINDS[0]);
    Err(Failure {
        what: format!("{other} is no id, and nothing was done"),
        why: format!("that of a {of} is {letter} and a number"),
        fix: (*list).to_owned(),
    })
}

/// That a person looks at each request before the answer.
pub(super) fn one_by_one(verb: &str) -> Failure {
    let (why, some) = match verb {
        "deny" => (
            "each is named, or the session of which all that waits is denied",
            "guard deny s1",
        ),
        _ => ("each is named", "guard approve r1 r2"),
    };
    Failure {
        what: format!("cannot {verb} all requests at once"),
        why: why.to_owned(),
        fix: format!("guard pending\n{some}\nor one after the other, by a key:\nguard watch"),
    }
}

/// That sessions are ended one by one, too.
pub(super) fn stop_all() -> Failure {
    Failure {
        what: "cannot stop all sessions at once".to_owned(),
        why: "each is named by its id; several in one line".to_owned(),
        fix: "guard sessions\nguard stop ID…".to_owned(),
    }
}

/// What is to be said about all of them, a destination, a number alone, another case, or an id of another kind.
pub(super) fn not_an_id(verb: &str, letter: char, id: &str) -> Option<Failure> {
    all_of_them(verb, id)
        .or_else(|| several(verb, id))
        .or_else(|| a_destination(verb, id))
        .or_else(|| nearly_an_id(verb, letter, id))
}

fn all_of_them(verb: &str, id: &str) -> Option<Failure> {
    if !id.eq_ignore_ascii_case("all") {
        return None;
    }
    match verb {
        "approve" | "deny" => Some(one_by_one(verb)),
        "stop" => Some(stop_all()),
        "close" => Some(Failure {
            what: format!("cannot close {id}"),
            why: "that is no id, and all holes are closed by an option".to_owned(),
            fix: "guard close --all".to_owned(),
        }),
        _ => None,
    }
}

/// Where somebody wants a session to get to, or not: what nobody has asked for has no id.
fn a_destination(verb: &str, text: &str) -> Option<Failure> {
    // A word alone may be an id that is misspelt.
    let to: Destination = text.parse().ok()?;
    let is_one = text.contains(['.', ':', '/', '@']);
    let what = format!("{text} is a destination, and no request's id");
    let word = command_line(&[text.to_owned()]);
    match verb {
        "approve" if is_one => Some(Failure {
            what,
            why: "guard approve answers what was asked".to_owned(),
            fix: format!("guard open {}", with_a_port(to, text)),
        }),
        "deny" if is_one => Some(Failure {
            what,
            why: "guard deny answers what was asked, and what nobody has asked for is denied by a policy"
                .to_owned(),
            fix: format!(
                "guard explain {word}\nsudo guard policy edit {}",
                or_default(None)
            ),
        }),
        _ => None,
    }
}

/// It, and the port that is meant mostly, where it has none.
fn with_a_port(to: Destination, text: &str) -> String {
    let word = |to: String| command_line(&[to]);
    match (&to.target, to.port) {
        (_, Some(_)) => word(text.to_owned()),
        (Target::Prefix(prefix), None) if prefix.is_host() => {
            let port = Some(443);
            word(Destination { port, ..to }.to_string())
        }
        _ => format!("{} --ports tcp/443", word(text.to_owned())),
    }
}

/// `1`, `#1`, `R1`, `r01`, `r-1`, `request1`, and the id of another kind.
fn nearly_an_id(verb: &str, letter: char, id: &str) -> Option<Failure> {
    let (begins, number) = kind_and_number(id)?;
    let meant = format!("{letter}{number}");
    if id == meant {
        return None;
    }
    let kind = |begins: &str| KINDS.iter().find(|(_, of, _)| of.starts_with(begins));
    let is_no_id = |meant: &str| {
        Some(Failure {
            what: format!("{id} is no id"),
            why: format!("did you mean {meant}?"),
            fix: format!("guard {verb} {meant}"),
        })
    };
    if begins.is_empty() {
        return is_no_id(&meant);
    }
    let ((other, other_of, _), (_, wanted, list)) = (kind(&begins)?, kind(&letter.to_string())?);
    let typed = format!("{other}{number}");
    if *other == letter || (verb == "deny" && *other == 's') {
        return is_no_id(&typed);
    }
    Some(Failure {
        what: format!("cannot {verb} {id}"),
        why: format!(
            "{id} is the id of a {other_of}, and this takes that of a {wanted}, such as {meant}"
        ),
        fix: match (verb, *other_of) {
            ("close", "request") => format!("{list}\nor answer the request:\nguard deny {typed}"),
            ("stop" | "deny" | "approve", "hole") => {
                format!("{list}\nor close the hole:\nguard close {typed}")
            }
            ("close", "session") => format!("{list}\nor end the session:\nguard stop {typed}"),
            _ => (*list).to_owned(),
        },
    })
}

/// The letters that an id begins with, as they were meant, and its number.
fn kind_and_number(id: &str) -> Option<(String, &str)> {
    let id = id.trim_start_matches('#');
    let end = id.find(|c: char| !c.is_ascii_alphabetic())?;
    let (begins, number) = id.split_at(end);
    let number = number.trim_start_matches(['#', '-', '0']);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (begins.to_ascii_lowercase(), number))
}

/// Ids with commas between, or in one word.
fn several(verb: &str, ids: &str) -> Option<Failure> {
    let apart = ids.split([',', ' ']).filter(|id| !id.is_empty());
    let apart: Vec<_> = apart.collect();
    let are_ids = || apart.len() > 1 && apart.iter().all(|id| kind_and_number(id).is_some());
    (ids.contains(',') || are_ids()).then(|| Failure {
        what: format!("{ids} is no id"),
        why: "several stand with blanks between".to_owned(),
        fix: format!("guard {verb} {}", apart.join(" ")),
    })
}

/// `15m` without its option.
fn not_a_time(verb: &str, ids: &[&String], id: &str) -> Option<Failure> {
    let is_time =
        |id: &str| id.ends_with(|c: char| c.is_ascii_alphabetic()) && parse_duration(id).is_ok();
    let takes_time = ["approve", "deny"].contains(&verb);
    let others = ids.iter().filter(|other| !is_time(other));
    let others: String = others.map(|other| format!(" {other}")).collect();
    (takes_time && is_time(id)).then(|| Failure {
        what: format!("{id} is no id, and nothing was done"),
        why: format!("did you mean --for {id}?"),
        fix: match others.is_empty() {
            true => format!("guard {verb} --help"),
            false => format!("guard {verb}{others} --for {id}"),
        },
    })
}

fn opened(answer: &HolesReply, output: Output) -> Result<Exit, CliError> {
    output.warnings(&answer.warnings);
    output.print_things(&answer.holes, render::holes::opened)?;
    Ok(Exit::DONE)
}

/// `guard holes`
pub(crate) fn holes(mut client: Client, output: Output) -> Result<Exit, CliError> {
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
pub(crate) fn close(mut client: Client, args: CloseArgs, output: Output) -> Result<Exit, CliError> {
    are_ids("close", 'h', args.ids.iter())?;
    let mut close = |ids, all| client.call::<HolesReply>(&Call::Close { ids, all, by: None });
    if args.all {
        let answer = close(Vec::new(), true)?;
        output.warnings(&answer.warnings);
        output.print(answer.holes.as_slice(), |holes, _| match holes {
            [] => render::holes::none(Seen::here(|| 0)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_an_id_is_told_what_was_meant() {
        for (verb, letter, id, fix) in [
            ("approve", 'r', "1", "guard approve r1"),
            ("approve", 'r', "#1", "guard approve r1"),
            ("approve", 'r', "R-1", "guard approve r1"),
            ("approve", 'r', "r01", "guard approve r1"),
            ("approve", 'r', "req12", "guard approve r12"),
            ("approve", 'r', "request#3", "guard approve r3"),
            ("approve", 'r', "r1 r2", "guard approve r1 r2"),
            ("approve", 'r', "r1, r2", "guard approve r1 r2"),
            ("deny", 'r', "S2", "guard deny s2"),
            ("stop", 's', "session7", "guard stop s7"),
            ("stop", 's', "all", "guard stop ID"),
            ("close", 'h', "ALL", "guard close --all"),
            ("close", 'h', "R7", "guard deny r7"),
            ("approve", 'r', "h2", "guard close h2"),
            ("log --session", 's', "r1", "guard sessions"),
        ] {
            let told = not_an_id(verb, letter, id);
            let told = told.map_or_else(String::new, |failure| failure.fix);
            assert!(told.contains(fix), "{verb} {id}: {told:?}");
        }
        for (letter, id) in [
            ('r', "r1"),
            ('s', "claude"),
            ('s', "job1"),
            ('s', "my job"),
            ('r', "r"),
            ('r', "r0"),
            ('r', "15m"),
        ] {
            assert_eq!(not_an_id("stop", letter, id), None, "{id}");
        }
    }

    #[test]
    fn a_destination_is_no_request() {
        for (verb, to, fix) in [
            (
                "approve",
                "db.example.com:5432",
                "guard open db.example.com:5432",
            ),
            ("approve", "192.0.2.10", "guard open 192.0.2.10:443"),
            (
                "approve",
                "192.0.2.0/24",
                "guard open 192.0.2.0/24 --ports tcp/443",
            ),
            ("approve", "2001:db8::a", "guard open '[2001:db8::a]:443'"),
            ("deny", "10.0.0.0/8", "guard explain 10.0.0.0/8"),
            ("deny", "@private", "guard explain @private"),
        ] {
            let told = not_an_id(verb, 'r', to).unwrap();
            assert!(told.what.contains("is a destination"), "{told}");
            assert!(told.fix.starts_with(fix), "{verb} {to}: {}", told.fix);
        }
        let told = not_an_id("deny", 'r', "10.0.0.0/8").unwrap();
        assert!(told.fix.ends_with("\nsudo guard policy edit default"));
        for (verb, text) in [("approve", "claude"), ("close", "192.0.2.10:443")] {
            assert_eq!(not_an_id(verb, 'r', text), None, "{text}");
        }
    }
}
