//! What waits for an answer.

use super::escape::{self, claimed, escaped, quoted, visible};
use super::page::{Page, STRONG, WARN};
use super::seen::ListScope;
use super::time::Clock;
use super::{command_line, endpoint, names};
use crate::report::summary::SettledByPolicy;
use guard_common::Verdict;
use guard_policy::format_duration;
use guard_proto::{
    Burst, DnsQuestion, Failure, HttpRequest, Offer, Request,
    destination::{Listener, NameTold},
    requests::{Alike, ChainLink},
};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// All of them, and how to answer the one that gives up first; where none does, the first.
pub(crate) fn list(requests: &[Request], clock: &Clock) -> Page {
    let held = requests.iter().filter(|one| one.held);
    let urgent = held.min_by_key(|one| one.waits_until);
    let Some(first) = urgent.or(requests.first()) else {
        return none(ListScope::All);
    };
    let mut page = Page::default();
    for request in requests {
        block(&mut page, request, clock);
    }
    page.line("").line("Answer with:").commands(answers(first));
    page
}

/// None of them.
pub(crate) fn none(seen: ListScope) -> Page {
    let mut page = seen.none("requests", "wait for an answer.");
    seen.others(&mut page, "pending");
    page
}

/// Requests that nobody answered while their session ran.
#[derive(Debug, Serialize)]
pub(crate) struct Gone {
    pub(crate) session: String,
    pub(crate) ids: Vec<String>,
    /// Where the last few wanted to go, in words.
    pub(crate) wanted: Vec<String>,
    /// Where the last of them wanted to go, as `guard open` takes it.
    pub(crate) argument: Option<String>,
}

/// "r3, r7 to r9": three and more in a row by the first and the last.
fn in_short(ids: &[String]) -> String {
    let number = |id: &String| id.strip_prefix('r')?.parse::<u32>().ok();
    let follows = |one: &String, next: &String| {
        let next = number(next).and_then(|next| next.checked_sub(1));
        number(one).is_some() && number(one) == next
    };
    let runs = ids.chunk_by(follows).map(|run| match run {
        [first, _, .., last] => format!("{first} to {last}"),
        few => few.join(", "),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// What is to be said about them, and how to be quicker the next time.
pub(crate) fn gone(all: &Vec<Gone>, _clock: &Clock) -> Page {
    let mut page = Page::default();
    for gone in all {
        let (ids, session) = (in_short(&gone.ids), &gone.session);
        page.line(format_args!("{ids} went with {session}, which has ended."));
        for wanted in &gone.wanted {
            page.text("    ").line(wanted);
        }
    }
    if let Some(last) = all.last() {
        page.line("The next time, while it runs:");
        if let Some(argument) = &last.argument {
            page.commands(format_args!("guard open {argument}"));
        }
        page.commands("guard watch");
    }
    page
}

/// That one cannot be answered any more, and how to be quicker the next time. `argument`: where it wanted to go.
pub(crate) fn went(
    id: &str,
    argument: Option<&str>,
    session: &str,
    ended_at: Timestamp,
    clock: &Clock,
) -> Failure {
    let open = argument.map_or_else(String::new, |argument| format!("guard open {argument}\n"));
    let (ago, at) = (clock.ago(ended_at), clock.at(ended_at));
    Failure {
        what: format!("there is no request {id}"),
        why: format!(
            "it went with {session}, which ended {ago} ({at}) before anybody had answered"
        ),
        fix: format!("the next time, while it runs:\n{open}guard watch"),
    }
}

/// What a changed policy, whose verdict that is now, has done about a request; without a verdict it was about a name.
pub(super) fn policy_did(policy: Option<&str>, verdict: Option<&str>) -> String {
    let policy = policy.map_or_else(|| "its policy".to_owned(), |name| format!("policy {name}"));
    let did = match verdict {
        Some("allow") => "allowed it",
        Some("deny") => "denied it",
        _ => "was changed",
    };
    format!("{policy} {did}")
}

/// That a changed policy has settled one, before anybody did. `again`: what to ask about, while its session lives.
pub(crate) fn settled(
    id: &str,
    again: Option<&str>,
    session: &str,
    by: &SettledByPolicy,
    clock: &Clock,
) -> Failure {
    let verdict = by.verdict.as_deref();
    let did = policy_did(by.policy.as_deref(), verdict);
    let (ago, at) = (clock.ago(by.at), clock.at(by.at));
    let since = match verdict {
        Some("allow" | "deny") => "",
        Some(_) => ": trying again makes another request",
        None => ", and asks nobody about it any more",
    };
    Failure {
        what: format!("{id} waits no more"),
        why: format!("{did} {ago} ({at}), before anybody had answered{since}"),
        fix: match again {
            Some(argument) => format!("guard explain {argument} --session {session}"),
            None => format!("guard log --session {session}"),
        },
    }
}

/// One that has just come up.
pub(crate) fn one(request: &Request, clock: &Clock) -> Page {
    let mut page = Page::default();
    block(&mut page, request, clock);
    page.commands(answers(request));
    page
}

/// Characters of where it wants to go that are shown in a line beside what a command says.
const BESIDE: usize = 160;

/// That one waits or was refused, in a line beside what its command says. `sudo` stands before what is to be typed, which answers nothing: a command can
/// write such a line itself, with another request's id, and there is no room for all that a person is to see.
pub(crate) fn waits(request: &Request, sudo: &str) -> String {
    let wanted = match (&request.http, &request.question) {
        // Where it really goes stands first: the rest may be left out.
        (Some(http), _) if goes_elsewhere(request) => {
            format!("{}: {}", target(request), line(http))
        }
        (Some(http), _) => line(http),
        (None, Some(_)) => format!("ask {}", target(request)),
        (None, None) => target(request),
    };
    let (wanted, id) = (visible(wanted, BESIDE), &request.id);
    let what = match (request.held, &request.note) {
        (true, _) => "waits for a yes to",
        (false, Some(_)) => "the agent asks for",
        (false, None) => "stopped, as nobody watches:",
    };
    format!("guard: {what} {wanted} (request {id}): {sudo}guard watch, in another terminal")
}

/// One that was answered with no.
pub(crate) fn denied(request: &Request, until: Option<Timestamp>, clock: &Clock) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, &request.id).line(format_args!(
        " denied: {} in {} may not {}",
        program(request),
        request.session,
        match &request.http {
            Some(http) => format!("send {}", line(http)),
            None if request.question.is_some() => asks(request),
            None => match &request.burst {
                Some(burst) => format!("reach {} in {}", service(request), burst.prefix),
                None => format!("reach {}", target(request)),
            },
        }
    ));
    if let Some(until) = until {
        page.line(format_args!(
            "    not asked again until {}, {}",
            clock.at(until),
            clock.until(until)
        ));
    }
    page
}

/// What may not be asked. A no to many names below a zone is one to all of them.
fn asks(request: &Request) -> String {
    let zone = request.question.as_ref().and_then(DnsQuestion::zone);
    match zone {
        Some(zone) => format!("ask for any name below {}", names::short(zone)),
        None => format!("ask {}", target(request)),
    }
}

fn answers(request: &Request) -> String {
    if request.http.as_ref().is_some_and(HttpRequest::is_statement) {
        return format!("guard approve {id}\nguard deny {id}", id = request.id);
    }
    if let Some(http) = &request.http {
        let id = &request.id;
        let alone = if request.held || http.digest.is_some() {
            format!("guard approve {id}")
        } else {
            "# not it alone: its body was not read to its end, and its client has gone".to_owned()
        };
        return format!("{alone}\nguard approve {id} --path PATTERN --for 15m\nguard deny {id}");
    }
    let (id, terms) = (&request.id, terms(request));
    if opens_writes(request) {
        let to = endpoint::argument(&request.destination);
        return format!(
            "guard open {to} --session {}\nguard deny {id}",
            request.session
        );
    }
    match &request.burst {
        Some(burst) if burst.count <= burst.addresses.len() => format!(
            "guard approve {id} --prefix {terms}\nguard approve {id} --tried {} {terms}\nguard deny {id}{}",
            burst.count,
            all_below(request)
        ),
        Some(_) => format!(
            "guard approve {id} --prefix {terms}\nguard deny {id}{}",
            all_below(request)
        ),
        None => format!("guard approve {id} {terms}\nguard deny {id}"),
    }
}

/// That a no to some names is one to more.
fn all_below(request: &Request) -> String {
    let zone = request.question.as_ref().and_then(DnsQuestion::zone);
    zone.map_or_else(String::new, |zone| {
        format!("    # no to every name below {}", names::short(zone))
    })
}

/// Whether it is about connections to where requests are judged one by one: a yes would let everything through, so that
/// takes a command which says so.
pub(crate) fn opens_writes(request: &Request) -> bool {
    request.http.is_none() && request.verdict == Verdict::ReadOnly.as_str()
}

/// What is offered first, as options.
fn terms(request: &Request) -> String {
    let offer = request.offers.first();
    offer.map_or_else(|| "--for 15m".to_owned(), options)
}

fn options(offer: &Offer) -> String {
    let time = format!("--for {}", lasting(offer));
    match offer.connections {
        Some(count) => format!("{time} --connections {count}"),
        None => time,
    }
}

/// How long what is offered would last, as people type it.
pub(crate) fn lasting(offer: &Offer) -> String {
    let time = Duration::try_from_secs_f64(offer.seconds.ceil()).unwrap_or_default();
    format_duration(time)
}

/// Where it wants to go: one destination, or how many of which prefix; or what it wants to know.
pub(crate) fn target(request: &Request) -> String {
    if let Some(question) = &request.question {
        let count = request.burst.as_ref().map_or(0, |burst| burst.count);
        return names::asked(question, count);
    }
    match &request.burst {
        Some(burst) => format!(
            "{} at {} addresses of {}",
            service(request),
            burst.count,
            burst.prefix
        ),
        None => match &request.named {
            Some(told) => names::reached(&request.destination, told),
            None => endpoint::words(&request.destination),
        },
    }
}

/// Returns true for a request of a kind that reads: a rule asks about it all the same.
fn is_read(http: &HttpRequest) -> bool {
    http.kind.starts_with("reads ")
}

/// The verb between the program and the [`target`].
pub(crate) fn wants(request: &Request) -> &'static str {
    match (&request.http, &request.question) {
        (Some(http), _) if is_read(http) => "wants to send a request to",
        (Some(_), _) => "wants to change something at",
        (None, Some(_)) => "asks",
        (None, None) => "wants",
    }
}

/// How the session came to know the address, and whether a yes is for the name.
pub(crate) fn named(request: &Request, told: &NameTold, clock: &Clock) -> String {
    let is_connection = request.http.is_none() && request.question.is_none();
    let alone = if is_connection && !request.opens_name {
        "; a yes opens this address alone"
    } else {
        ""
    };
    format!("{}{alone}", names::told(told, clock))
}

/// That nothing of a question has left, and how much it would be; a long name in full.
pub(crate) fn name(request: &Request, question: &DnsQuestion) -> String {
    let shown = names::short(&question.name);
    let whole = if shown.ends_with(')') {
        format!("; all of it: {}", escaped(&question.name, usize::MAX))
    } else {
        String::new()
    };
    let read = names::in_letters(&question.name);
    let read = read.map_or_else(String::new, |read| format!("; in letters: {read}"));
    let server = &request.destination.address;
    format!(
        "nothing of it has left this machine, {} bytes for {server}{whole}{read}",
        question.bytes
    )
}

/// "tcp/443"
fn service(request: &Request) -> String {
    let to = &request.destination;
    match to.port {
        Some(port) => format!("{}/{port}", to.protocol),
        None => to.protocol.clone(),
    }
}

/// Another program that listens on the loopback: what it is, its command line, and that it leads on.
pub(crate) fn listener(listener: &Listener) -> Vec<(&'static str, String)> {
    let program = match (&listener.program, listener.pid) {
        (Some(program), Some(pid)) => format!("{}, pid {pid}", escape::program(program)),
        (None, Some(pid)) => format!("pid {pid}"),
        _ => "another program: which one cannot be told".to_owned(),
    };
    let mut said = vec![("listener", program)];
    if !listener.command.is_empty() {
        said.push(("runs", command_line(&listener.command)));
    }
    if listener.forwards {
        said.push(("leads on", LEADS_ON.to_owned()));
    }
    said
}

/// What is said of a known forwarder.
const LEADS_ON: &str = "it passes on what it gets to another place";

/// The addresses that were tried, as far as they are known.
pub(crate) fn tried(burst: &Burst) -> String {
    let shown = burst.addresses.join(", ");
    match burst.count.saturating_sub(burst.addresses.len()) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn block(page: &mut Page, request: &Request, clock: &Clock) {
    let wants = wants(request);
    page.styled(STRONG, &request.id)
        .text(format_args!("  {} {wants} ", program(request)))
        .styled(STRONG, target(request))
        .end();
    destination_fields(page, request, clock);
    if !request.command.is_empty() {
        page.field("command", command_line(&request.command));
    } else if request.exe.is_none() && request.comm.is_some() {
        page.field(
            "command",
            "not known: its process had ended, and the name is the one that it gave itself",
        );
    }
    page.field("asked", asked(request, clock))
        .field("rule", rule(request));
    for inside in inside(request) {
        page.field("inside", inside);
    }
    page.field(
        "session",
        format_args!(
            "{}, policy {}, user {}",
            whose(request),
            policy(request),
            request.user
        ),
    );
    for warning in &request.warnings {
        page.styled(WARN, format_args!("    beware   {warning}"))
            .end();
    }
    if let Some(http) = &request.http {
        http_fields(page, http);
    }
    if let Some(code) = &request.code {
        page.field("code", format_args!("{code}, for a signed answer"));
    }
    if let Some(until) = request.waits_until.filter(|_| request.held) {
        page.styled(
            WARN,
            format_args!(
                "    waits    for an answer: gives up {}",
                clock.until(until)
            ),
        )
        .end();
    }
    if let Some(note) = &request.note {
        page.field("it says", quoted(note));
    }
}

/// How many like requests there are, by which ids, and what is different in the last few.
pub(crate) fn alike(alike: &Alike) -> String {
    let (count, ids) = (alike.count, in_short(&alike.ids));
    let differ = alike.differ.iter().map(|one| quoted(one));
    let differ = differ.collect::<Vec<_>>().join(", ");
    format!(
        "{count} like this ({ids}): a yes is for the one with its id, a no for all; they differ in {differ}"
    )
}

/// What is known of the destination beside its address.
fn destination_fields(page: &mut Page, request: &Request, clock: &Clock) {
    if let Some(all) = &request.alike {
        page.paragraph("alike", alike(all));
    }
    if let Some(burst) = &request.burst {
        page.paragraph("tried", tried(burst));
    }
    if let Some(question) = &request.question {
        page.paragraph("name", name(request, question));
    }
    if let Some(told) = &request.named {
        page.paragraph("name", named(request, told, clock));
    }
    for (label, words) in request.listener.iter().flat_map(listener) {
        page.paragraph(label, words);
    }
}

fn http_fields(page: &mut Page, http: &HttpRequest) {
    // The approver sees all of it.
    let names = names(http);
    page.paragraph(names.line, format_args!("{}{}", line(http), size(http)));
    if !http.kind.is_empty() {
        page.field("kind", &http.kind);
    }
    for header in &http.headers {
        page.paragraph("header", header);
    }
    if let Some(body) = body(http) {
        page.paragraph(names.body, body);
    }
    for warning in &http.warnings {
        page.styled(WARN, format_args!("    beware   {warning}"))
            .end();
    }
}

/// What is said of a request, by name.
pub(crate) struct Names {
    /// [`line`], with the size.
    pub(crate) line: &'static str,
    /// [`body`].
    pub(crate) body: &'static str,
}

/// The names for that request, or statement.
pub(crate) fn names(http: &HttpRequest) -> Names {
    let (line, body) = if http.is_statement() {
        ("sql", "text")
    } else {
        ("http", "body")
    };
    Names { line, body }
}

/// Method and URL; of a statement the text without constants, and where it goes.
pub(crate) fn line(http: &HttpRequest) -> String {
    let host = http.host.as_deref().unwrap_or_default();
    if http.is_statement() {
        return format!("{} ({}://{host})", http.path, http.scheme);
    }
    let scheme = match (http.scheme.as_str(), host) {
        ("", _) | (_, "") => String::new(),
        (scheme, _) => format!("{scheme}://"),
    };
    format!("{} {scheme}{host}{}", http.method, http.path)
}

/// Whether the host of a request is neither the name nor the address of where it really goes: whoever sends it chooses the host.
pub(crate) fn goes_elsewhere(request: &Request) -> bool {
    let Some(http) = &request.http else {
        return false;
    };
    let to = &request.destination;
    let host = http.host.as_deref().unwrap_or_default();
    let is_its = |place: &str| {
        let bracketed = format!("[{place}]");
        let places = [place, &*bracketed];
        let rest = places.iter().find_map(|place| host.strip_prefix(*place));
        let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
        rest.is_some_and(|rest| rest.is_empty() || rest == port)
    };
    !is_its(&to.address) && !to.host.as_deref().is_some_and(is_its)
}

/// Bytes that guardd shows at least of what is longer: 2,048, but for a character that is not whole.
const CUT: u64 = 2045;

/// What there is to see of the body; `…` where it goes on.
pub(crate) fn body(http: &HttpRequest) -> Option<String> {
    let form = http.body_form.as_ref().map(|form| format!(" ({form})"));
    let Some(seen) = &http.body_preview else {
        let form = form.unwrap_or_default();
        return match http.bytes {
            Some(0) => None,
            Some(bytes) => Some(format!("{}, not text{form}", rounded(bytes))),
            None => Some(format!(
                "not shown: it is not text, or has not come yet{form}"
            )),
        };
    };
    if let Some(form) = form {
        return Some(format!("{seen}{form}"));
    }
    let there = seen.len() as u64;
    if http.is_statement() {
        let more = if there < CUT { "" } else { "…" };
        return Some(format!("{seen}{more}"));
    }
    Some(match http.bytes {
        Some(bytes) if bytes == there => seen.clone(),
        // The client may wait for the answer with it.
        bytes if there < CUT.min(bytes.unwrap_or(CUT)) => {
            format!("{seen}… (the first {there} bytes; it holds back the rest)")
        }
        Some(_) => format!("{seen}…"),
        None => format!("{seen}… (nobody knows how long it is)"),
    })
}

/// A length as people say it: `1.2 kB`.
fn rounded(bytes: u64) -> String {
    const STEP: u64 = 1000;
    let unit = ["kB", "MB", "GB", "TB"].iter().zip(1..);
    let unit = unit
        .take_while(|(_, power)| bytes >= STEP.pow(*power))
        .last();
    match unit {
        Some((unit, power)) => {
            let tenths = bytes / (STEP.pow(power) / 10);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

pub(crate) fn size(http: &HttpRequest) -> String {
    // A statement is shown whole, or with the number of bytes left out.
    let bytes = http.bytes.filter(|_| !http.is_statement());
    let bytes = bytes.map(|bytes| format!(", {bytes} bytes"));
    bytes.unwrap_or_default()
}

/// What runs there: the executable's name, as far as it is known.
pub(crate) fn program(request: &Request) -> String {
    let name = called(request).unwrap_or_else(|| "a process".to_owned());
    match request.pid {
        Some(pid) => format!("{name} ({pid})"),
        None => name,
    }
}

/// What a program is called.
pub(crate) fn called(request: &Request) -> Option<String> {
    let comm = request.comm.as_deref()?;
    Some(match request.exe {
        Some(_) => escape::program(comm),
        None => claimed(comm),
    })
}

pub(crate) fn asked(request: &Request, clock: &Clock) -> String {
    match request.count {
        0 | 1 => clock.ago(request.asked_at),
        count => format!(
            "{}, {count} times{}, last {}",
            clock.ago(request.asked_at),
            by_programs(&request.programs),
            clock.ago(request.last_at)
        ),
    }
}

/// The names of the programs, if there are several.
fn by_programs(programs: &[String]) -> String {
    match programs {
        [] | [_] => String::new(),
        several => {
            let names: Vec<_> = several.iter().map(|name| escape::program(name)).collect();
            format!(" by {}", names.join(", "))
        }
    }
}

pub(crate) fn rule(request: &Request) -> String {
    if let (Some(question), None | Some(0)) = (&request.question, stops(request)) {
        return match question.zone().filter(|_| request.burst.is_none()) {
            Some(_) => "names that a session may ask for in a while (confirm)".to_owned(),
            None => "[dns] names = \"ask\"".to_owned(),
        };
    }
    let rule = request.rule.as_deref();
    let rule = rule.map_or_else(|| escape::DEFAULT.to_owned(), escape::rule);
    let link = stops(request).map(|at| (at, &request.chain[at]));
    let verdict = link.map_or(&request.verdict, |(_, link)| &link.verdict);
    match (link, &request.reason) {
        (Some((1.., link)), reason) => own_words(link, request.rule.as_deref(), reason.as_deref()),
        (_, Some(reason)) => format!("{rule} ({verdict}): {reason}"),
        (_, None) => format!("{rule} ({verdict})"),
    }
}

/// What a session inside another says by its policy, which is its word and nobody else's.
fn own_words(link: &ChainLink, rule: Option<&str>, reason: Option<&str>) -> String {
    let rule = rule.map_or_else(|| "its default".to_owned(), quoted);
    let reason = reason.map_or_else(String::new, |reason| format!(": {}", quoted(reason)));
    let (session, policy) = (&link.session, quoted(&link.policy));
    format!(
        "{rule} ({}) of the policy {policy} that {session} brought itself{reason}",
        link.verdict
    )
}

/// Which link of the chain the request's rule is of: the outermost that does not allow it.
fn stops(request: &Request) -> Option<usize> {
    let mut chain = request.chain.iter();
    chain.position(|link| link.verdict != "allow")
}

/// The session, with those around it.
pub(crate) fn whose(request: &Request) -> String {
    let around = request.chain.iter().rev().skip(1);
    let around = around.map(|link| format!(" inside {}", link.session));
    std::iter::once(request.session.clone())
        .chain(around)
        .collect()
}

/// The policy that stops it, in quotes where a session inside has brought it.
pub(crate) fn policy(request: &Request) -> String {
    match (stops(request), &request.own_policy) {
        (Some(1..), _) => quoted(&request.policy),
        (_, Some(own)) => format!("{own}, stopped by {} around it", request.policy),
        (_, None) => request.policy.clone(),
    }
}

/// What policies further inside say, where they stop it as well: a session inside has brought them, and all of that is its word.
pub(crate) fn inside(request: &Request) -> Vec<String> {
    let further = stops(request).map_or(usize::MAX, |at| at + 1);
    let links = request.chain.iter().skip(further.max(1));
    let stopping = links.filter(|link| link.verdict != "allow");
    stopping
        .map(|link| own_words(link, link.rule.as_deref(), link.reason.as_deref()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples::{burst, clock, http, request};
    use super::*;

    #[test]
    fn no_words_from_inside_end_their_quotes() {
        let link = |session: &str, verdict: &str, rule: &str| ChainLink {
            session: session.into(),
            policy: "homelab".into(),
            rule: Some(rule.into()),
            verdict: verdict.into(),
            reason: None,
        };
        let forged = "photos\" (read-only): fine\\";
        let asked = Request {
            chain: vec![link("s1", "allow", "x"), link("s2", "confirm", forged)],
            rule: Some(forged.into()),
            reason: Some("a\" b".into()),
            note: Some("\" c".into()),
            ..request()
        };
        assert_eq!(
            rule(&asked),
            r#""photos\" (read-only): fine\\" (confirm) of the policy "homelab" that s2 brought itself: "a\" b""#
        );
        let shown = list(&[asked], &clock()).plain();
        assert!(shown.contains(r#""\" c""#), "{shown}");
    }

    /// The names of files that would tell of another connection, and what stands for them.
    const FORGED: [(&str, &str); 3] = [
        (
            "node (14570) wants tcp a.example:443",
            r#""node (14570) wants tcp a.example:443" (4711)"#,
        ),
        (r#"a" (1) \"#, r#""a\" (1) \\" (4711)"#),
        (
            "curl (4711) wants tcp api.example.com:443                               ",
            r#""curl (4711) wants tcp api.example.com:44…" (4711)"#,
        ),
    ];

    #[test]
    fn a_request_about_another_program_says_which_and_whether_it_leads_on() {
        let of = |listener: Listener| {
            let mut asked = request();
            asked.listener = Some(listener);
            one(&asked, &clock()).plain()
        };
        let ssh = of(Listener {
            pid: Some(4711),
            program: Some("ssh".into()),
            command: vec!["ssh".into(), "-L".into(), "5432:db:5432".into()],
            forwards: true,
        });
        for words in ["ssh, pid 4711", "ssh -L 5432:db:5432", LEADS_ON] {
            assert!(ssh.contains(words), "{ssh}");
        }
        let unknown = of(Listener::default());
        assert!(unknown.contains("which one cannot be told"), "{unknown}");
        assert!(!unknown.contains(LEADS_ON), "{unknown}");
    }

    #[test]
    fn a_programs_name_is_taken_for_no_words_of_ours() {
        for (name, shown) in FORGED {
            let way = Listener {
                pid: Some(4711),
                program: Some(name.into()),
                ..Listener::default()
            };
            let asked = Request {
                comm: Some(name.into()),
                listener: Some(way),
                programs: vec![name.into(), "curl".into()],
                ..request()
            };
            let page = one(&asked, &clock()).plain();
            let first = format!("r1  {shown} wants tcp 192.0.2.10:443");
            assert!(page.starts_with(&first), "{page}");
            let quoted = shown.trim_end_matches(" (4711)");
            for words in [format!("{quoted}, pid 4711"), format!("by {quoted}, curl")] {
                assert!(page.contains(&words), "{page}");
            }
            assert!(denied(&asked, None, &clock()).plain().contains(shown));
        }
        let plain = Request {
            comm: Some("g++-13.2_x".into()),
            ..request()
        };
        assert_eq!(program(&plain), "g++-13.2_x (4711)");
    }

    #[test]
    fn no_requests_say_so() {
        assert_eq!(
            list(&[], &clock()).plain(),
            "No requests wait for an answer.\n"
        );
        assert_eq!(
            none(ListScope::Own(0)).plain(),
            "No requests of yours wait for an answer.\n"
        );
        insta::assert_snapshot!(none(ListScope::Own(3)).plain(), @r"
        No requests of yours wait for an answer.
        Other users have 3; root is shown all:
            sudo guard pending
        ");
    }

    #[test]
    fn what_went_with_its_session_is_named() {
        let gone = Gone {
            session: "s1".into(),
            ids: ["r3", "r7", "r8", "r9"].map(str::to_owned).into(),
            wanted: vec!["r9: tcp 192.0.2.10:443 (photos.example.com)".into()],
            argument: Some("192.0.2.10:443".into()),
        };
        insta::assert_snapshot!(super::gone(&vec![gone], &clock()).plain(), @r"
        r3, r7 to r9 went with s1, which has ended.
            r9: tcp 192.0.2.10:443 (photos.example.com)
        The next time, while it runs:
            guard open 192.0.2.10:443
            guard watch
        ");
        let ended = clock().now - Duration::from_mins(3);
        let told = went("r9", None, "s1", ended, &clock());
        insta::assert_snapshot!(told, @"there is no request r9: it went with s1, which ended 3 min ago (2026-11-20 11:57:00) before anybody had answered");
        assert_eq!(told.fix, "the next time, while it runs:\nguard watch");
    }

    #[test]
    fn what_a_policy_settled_is_said_so_and_not_that_it_went_with_its_session() {
        let by = |policy: Option<&str>, verdict: Option<&str>| SettledByPolicy {
            at: clock().now - Duration::from_mins(3),
            policy: policy.map(str::to_owned),
            verdict: verdict.map(str::to_owned),
        };
        let told = |by: &SettledByPolicy| settled("r9", None, "s1", by, &clock());
        let homelab = Some("homelab");
        insta::assert_snapshot!(told(&by(homelab, Some("allow"))), @"r9 waits no more: policy homelab allowed it 3 min ago (2026-11-20 11:57:00), before anybody had answered");
        insta::assert_snapshot!(told(&by(homelab, Some("deny"))), @"r9 waits no more: policy homelab denied it 3 min ago (2026-11-20 11:57:00), before anybody had answered");
        insta::assert_snapshot!(told(&by(homelab, Some("confirm"))), @"r9 waits no more: policy homelab was changed 3 min ago (2026-11-20 11:57:00), before anybody had answered: trying again makes another request");
        insta::assert_snapshot!(told(&by(None, None)), @"r9 waits no more: its policy was changed 3 min ago (2026-11-20 11:57:00), before anybody had answered, and asks nobody about it any more");
        assert_eq!(told(&by(None, None)).fix, "guard log --session s1");
        let denied = by(homelab, Some("deny"));
        let lives = settled("r9", Some("192.0.2.10:443"), "s1", &denied, &clock());
        assert_eq!(lives.fix, "guard explain 192.0.2.10:443 --session s1");
    }

    #[test]
    fn requests_end_with_what_to_type() {
        let plain = Request {
            id: "r2".into(),
            pid: None,
            comm: None,
            command: Vec::new(),
            rule: None,
            ..request()
        };
        let plain = Request {
            reason: None,
            note: None,
            count: 1,
            ..plain
        };
        insta::assert_snapshot!(list(&[request(), plain], &clock()).plain(), @r#"
        r1  curl (4711) wants tcp 192.0.2.10:443 (photos.example.com)
            command  curl 'https://photos.example.com/?q=a b'
            asked    10 s ago, 2 times, last 3 s ago
            rule     photos (confirm): production photo server
            session  s1, policy homelab, user alice
            it says  "need the list of albums"
        r2  a process wants tcp 192.0.2.10:443 (photos.example.com)
            asked    10 s ago
            rule     the policy's default (confirm)
            session  s1, policy homelab, user alice

        Answer with:
            guard approve r1 --for 15m
            guard deny r1
        "#);
    }

    #[test]
    fn what_is_to_be_typed_is_about_the_one_that_gives_up_first() {
        let waits = |id: &str, seconds| Request {
            id: id.into(),
            held: true,
            waits_until: Some(clock().now + jiff::SignedDuration::from_secs(seconds)),
            ..request()
        };
        let all = [request(), waits("r7", 50), waits("r8", 20)];
        let shown = list(&all, &clock()).plain();
        let words = "Answer with:\n    guard approve r8 ";
        assert!(shown.contains(words), "{shown}");
    }

    #[test]
    fn a_burst_shows_its_prefix_and_what_was_tried() {
        let request = Request {
            note: None,
            command: Vec::new(),
            ..burst(5)
        };
        insta::assert_snapshot!(one(&request, &clock()).plain(), @r"
        r1  curl (4711) wants tcp/443 at 5 addresses of 192.0.2.0/24
            tried    192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5
            asked    10 s ago, 2 times, last 3 s ago
            rule     photos (confirm): production photo server
            session  s1, policy homelab, user alice
            guard approve r1 --prefix --for 30m --connections 1
            guard approve r1 --tried 5 --for 30m --connections 1
            guard deny r1
        ");
        let many = Request {
            burst: burst(17).burst,
            ..request
        };
        let page = list(std::slice::from_ref(&many), &clock()).plain();
        assert!(page.contains("17 addresses of 192.0.2.0/24"), "{page}");
        let words: Vec<_> = page.split_whitespace().collect();
        assert!(words.join(" ").contains("192.0.2.16 and 1 more"), "{page}");
        assert!(
            !page.contains("--tried"),
            "that would not be all of them: {page}"
        );
        let until = clock().now + Duration::from_mins(15);
        insta::assert_snapshot!(denied(&many, Some(until), &clock()).plain(), @r"
        r1 denied: curl (4711) in s1 may not reach tcp/443 in 192.0.2.0/24
            not asked again until 2026-11-20 12:15:00, in 15 min
        ");
    }

    #[test]
    fn letters_of_a_name_stand_behind_what_was_sent_of_it() {
        let name = "xn--bcher-kva.example";
        let request = Request {
            question: Some(DnsQuestion {
                name: name.into(),
                types: vec!["A".into()],
                bytes: 22,
            }),
            ..request()
        };
        let page = one(&request, &clock()).plain();
        // However its lines are wrapped.
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(&format!("what {name} is (A)")), "{page}");
        assert!(page.contains("in letters: bücher.example"), "{page}");
    }

    #[test]
    fn a_no_to_many_names_is_said_to_be_one_to_their_zone() {
        let names = Request {
            question: Some(DnsQuestion {
                name: "*.evil.example".into(),
                types: vec!["TXT".into()],
                bytes: 60,
            }),
            burst: Some(Burst {
                prefix: "*.evil.example".into(),
                addresses: vec!["a.evil.example".into(), "b.evil.example".into()],
                count: 2,
            }),
            ..request()
        };
        let page = one(&names, &clock()).plain();
        assert!(
            page.contains("guard deny r1    # no to every name below evil.example"),
            "{page}"
        );
        let denied = denied(&names, None, &clock()).plain();
        assert!(
            denied.contains("may not ask for any name below evil.example"),
            "{denied}"
        );
    }

    #[test]
    fn an_http_request_shows_what_it_would_do() {
        let waits_until = Some("2026-11-20T12:00:40Z".parse().unwrap());
        let held = Request {
            http: Some(http()),
            verdict: "read-only".into(),
            held: true,
            waits_until,
            ..request()
        };
        insta::assert_snapshot!(one(&held, &clock()).plain(), @r#"
        r1  curl (4711) wants to change something at tcp 192.0.2.10:443 (photos.example.com)
            command  curl 'https://photos.example.com/?q=a b'
            asked    10 s ago, 2 times, last 3 s ago
            rule     photos (read-only): production photo server
            session  s1, policy homelab, user alice
            http     DELETE https://photos.example.com/api/jobs/7?now=1, 12 bytes
            kind     DELETE removes something
            header   x-cascade: \u{1b}true
            body     {"force":\u{7}1}
            beware   it cannot be undone
            waits    for an answer: gives up in 40 s
            it says  "need the list of albums"
            guard approve r1
            guard approve r1 --path PATTERN --for 15m
            guard deny r1
        "#);
    }

    #[test]
    fn a_statement_is_shown_as_one() {
        let request = Request {
            http: Some(HttpRequest {
                scheme: HttpRequest::POSTGRES.into(),
                path: "delete from people where id = $1".into(),
                host: Some("app@shop".into()),
                body_preview: Some("delete from people where id = 7".into()),
                headers: Vec::new(),
                kind: "deletes rows of people".into(),
                warnings: vec!["about 1 row, as the server plans it".into()],
                ..http()
            }),
            ..request()
        };
        insta::assert_snapshot!(one(&request, &clock()).plain(), @r#"
        r1  curl (4711) wants to change something at tcp 192.0.2.10:443 (photos.example.com)
            command  curl 'https://photos.example.com/?q=a b'
            asked    10 s ago, 2 times, last 3 s ago
            rule     photos (confirm): production photo server
            session  s1, policy homelab, user alice
            sql      delete from people where id = $1 (postgres://app@shop)
            kind     deletes rows of people
            text     delete from people where id = 7
            beware   about 1 row, as the server plans it
            it says  "need the list of albums"
            guard approve r1
            guard deny r1
        "#);
    }

    #[test]
    fn what_is_not_seen_of_a_body_is_said() {
        let shown = |bytes, body_preview: Option<&str>| {
            body(&HttpRequest {
                bytes,
                body_preview: body_preview.map(str::to_owned),
                ..http()
            })
        };
        assert_eq!(shown(Some(5), Some("whole")).unwrap(), "whole");
        assert_eq!(
            shown(Some(5000), Some("a part")).unwrap(),
            "a part… (the first 6 bytes; it holds back the rest)"
        );
        let most = "x".repeat(2045);
        let cut = shown(Some(5000), Some(&most)).unwrap();
        assert_eq!(cut, format!("{most}…"));
        assert_eq!(
            shown(None, Some("a part")).unwrap(),
            "a part… (the first 6 bytes; it holds back the rest)"
        );
        let endless = shown(None, Some(&most)).unwrap();
        assert!(endless.ends_with("x… (nobody knows how long it is)"));
        assert_eq!(shown(Some(1234), None).unwrap(), "1.2 kB, not text");
        assert_eq!(shown(Some(12), None).unwrap(), "12 bytes, not text");
        assert_eq!(shown(Some(0), None), None);
        assert!(shown(None, None).unwrap().contains("not text"));
        let packed = |body_preview: Option<&str>| {
            body(&HttpRequest {
                body_preview: body_preview.map(str::to_owned),
                body_form: Some("unpacked from gzip, 3 bytes".to_owned()),
                ..http()
            })
        };
        assert_eq!(
            packed(Some("a=1")).unwrap(),
            "a=1 (unpacked from gzip, 3 bytes)"
        );
        assert_eq!(
            packed(None).unwrap(),
            "12 bytes, not text (unpacked from gzip, 3 bytes)"
        );
    }

    #[test]
    fn lengths_are_rounded_down() {
        for (bytes, said) in [
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (2_500_000, "2.5 MB"),
            (u64::MAX, "18446744.0 TB"),
        ] {
            assert_eq!(rounded(bytes), said);
        }
    }

    #[test]
    fn a_line_beside_a_command_says_what_waits_and_where_it_is_seen() {
        let write = Request {
            http: Some(http()),
            held: true,
            ..request()
        };
        insta::assert_snapshot!(waits(&write, "sudo "), @"guard: waits for a yes to DELETE https://photos.example.com/api/jobs/7?now=1 (request r1): sudo guard watch, in another terminal");
        let asks = Request {
            question: Some(DnsQuestion {
                name: "x.example".into(),
                types: vec!["TXT".into()],
                bytes: 14,
            }),
            held: true,
            ..request()
        };
        let said = waits(&asks, "");
        assert!(
            said.contains("yes to ask what x.example is (TXT) (request r1): guard watch,"),
            "{said}"
        );
        let elsewhere = Request {
            http: Some(HttpRequest {
                host: Some("trusted.example".into()),
                ..http()
            }),
            ..request()
        };
        let said = waits(&elsewhere, "");
        let wanted = "tcp 192.0.2.10:443 (photos.example.com): DELETE https://trusted.example/";
        assert!(said.contains(wanted), "{said}");
        let many = Request {
            burst: Some(Burst {
                prefix: "192.0.2.0/24".into(),
                count: 3,
                addresses: Vec::new(),
            }),
            ..request()
        };
        let said = waits(&many, "");
        let wanted = "tcp/443 at 3 addresses of 192.0.2.0/24 (request r1): guard watch,";
        assert!(said.contains(wanted), "{said}");
        // What a program has chosen begins no line, and leaves room for what is to be typed.
        let hostile = Request {
            http: Some(HttpRequest {
                path: format!("/\n\u{1b}[2J{}", "x".repeat(2000)),
                ..http()
            }),
            ..request()
        };
        let said = waits(&hostile, "");
        assert!(!said.chars().any(super::super::escape::is_unseen), "{said}");
        assert!(
            said.ends_with("… (request r1): guard watch, in another terminal"),
            "{said}"
        );
    }

    #[test]
    fn a_denial_names_what_was_denied() {
        insta::assert_snapshot!(denied(&request(), None, &clock()).plain(), @"r1 denied: curl (4711) in s1 may not reach tcp 192.0.2.10:443 (photos.example.com)");
    }

    #[test]
    fn a_denied_http_request_is_named_by_what_it_would_do() {
        let request = Request {
            http: Some(http()),
            pid: None,
            comm: None,
            ..request()
        };
        insta::assert_snapshot!(denied(&request, None, &clock()).plain(), @"r1 denied: a process in s1 may not send DELETE https://photos.example.com/api/jobs/7?now=1");
    }

    #[test]
    fn the_agents_words_cannot_steer_the_terminal() {
        let hostile = "\u{1b}[1A\u{1b}[2Kr1  apt-get wants tcp 203.0.113.1:80\n\u{202e}".to_owned();
        let request = Request {
            comm: Some(hostile.clone()),
            command: vec![hostile.clone()],
            note: Some(hostile.repeat(100)),
            reason: Some(hostile.clone()),
            http: Some(HttpRequest {
                method: hostile.clone(),
                scheme: hostile.clone(),
                path: hostile.clone(),
                host: Some(hostile.clone()),
                bytes: None,
                body_preview: Some(hostile.repeat(100)),
                body_form: Some(hostile.clone()),
                headers: vec![hostile.clone()],
                kind: hostile.clone(),
                warnings: vec![hostile],
                digest: None,
            }),
            ..request()
        };
        let page = one(&request, &clock()).plain();
        assert!(
            !page
                .chars()
                .any(|c| c != '\n' && super::super::escape::is_unseen(c))
        );
        // What it says may be long, but no line of it is taken for one of ours.
        let is_ours = |line: &str| line.starts_with("r1  ") || line.starts_with("    ");
        assert!(page.lines().all(is_ours), "{page}");
        let forged = |line: &&str| line.starts_with("r1  ");
        assert_eq!(page.lines().filter(forged).count(), 1);
        assert!(page.len() < 20_000);
    }
}
