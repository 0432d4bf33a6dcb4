//! Pages of many machines. A question is shown by its own bytes, which a yes signs: whatever carries them can show no other.

use std::rc::Rc;

use guard_courier::day::HOURS;
use guard_proto::{
    ApproverShown,
    approvers::Taken,
    central::{
        HeardMachine, HoleThere, Hour, MachineState, Over, ReachedThere, SessionThere, Untold,
    },
};
use guard_signed::Question;
use jiff::Timestamp;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Frame, browsers, keyboard_of_one, letters, lists, log, moment, none,
    question::yes,
    questions::{QuestionLine, link, list},
    revoked::revoked,
    shown as seen, shown_long as seen_long,
};
use crate::{
    central::mirror::{MirroredMachine, Open},
    files::Identity,
};

/// Machines on the page.
const MOST: usize = 500;

/// A question, and where it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedQuestion<'s> {
    pub(crate) seen: &'s MirroredMachine,
    pub(crate) open: &'s Open,
}

impl<'s> AskedQuestion<'s> {
    /// All that somebody is asked, the oldest first.
    pub(crate) fn all(machines: &'s [Rc<MirroredMachine>], identity: &Identity) -> Vec<Self> {
        let machines = machines.iter();
        let all = machines.flat_map(|seen| {
            let open = seen.asks(identity);
            open.map(move |open| Self { seen, open })
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|one| one.open.question.asked_at);
        all
    }

    fn machine(&self) -> &'s str {
        &self.seen.told.machine
    }

    fn line(&self) -> QuestionLine {
        let (question, asks) = (&self.open.question, Asks::of(&self.open.question));
        QuestionLine {
            id: format!("{}/{}", self.machine(), question.request),
            link: link(self.machine(), &question.request),
            verb: seen(asks.verb),
            what: seen(asks.what),
            to: String::new(),
            who: format!(
                "{} in {} of {} on {}",
                seen(asks.who),
                seen(&question.session),
                seen(&question.user),
                seen(self.machine())
            ),
            beware: warnings(question).next().map(seen),
            waits_until: None,
            asked_at: asked_at(question).to_string(),
            asks: self.open.asked.hash.clone(),
        }
    }
}

/// The lines of a list.
pub(crate) fn lines(all: Vec<AskedQuestion<'_>>) -> Vec<QuestionLine> {
    all.iter().map(AskedQuestion::line).collect()
}

/// What the first line of a question says: `curl (4711) wants PUT http://…`.
#[derive(Debug, PartialEq, Eq)]
struct Asks<'q> {
    who: &'q str,
    verb: &'q str,
    /// All behind that.
    what: &'q str,
}

impl<'q> Asks<'q> {
    fn of(question: &'q Question) -> Self {
        let first = question.shows.first().map_or("", String::as_str);
        let at = name_end(first);
        let wants = first[at..].find(" wants ").map(|found| at + found);
        let (who, wants) = match wants {
            Some(at) => (&first[..at], &first[at + " wants ".len()..]),
            None => ("A process", first),
        };
        let (verb, what) = wants.split_once(' ').unwrap_or((wants, ""));
        Self { who, verb, what }
    }
}

/// The names behind that, each once: of the URL that it begins with, and in brackets at its end. The words between may be a statement's,
/// which a program has written: a line for each would take the place of what looks dangerous.
fn names(what: &str) -> impl Iterator<Item = &str> {
    let url = what
        .split(' ')
        .next()
        .and_then(|word| word.split_once("://"));
    let of_url = url.map(|(_, place)| place.split_once('/').map_or(place, |(host, _)| host));
    let last = what
        .rsplit(' ')
        .next()
        .and_then(|word| word.strip_prefix('('));
    let of_address = last.and_then(|word| word.strip_suffix(')'));
    let other = of_address.filter(|name| of_url != Some(*name));
    of_url.into_iter().chain(other)
}

/// Where a program's name ends that stands in quotes: it may have the word in it.
fn name_end(line: &str) -> usize {
    let Some(quoted) = line.strip_prefix('"') else {
        return 0;
    };
    let mut is_escaped = false;
    let end = quoted.find(|c: char| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    end.map_or(0, |end| end + 2)
}

/// What looks dangerous.
fn warnings(question: &Question) -> impl Iterator<Item = &str> {
    let lines = question.shows.iter().skip(1);
    lines.filter_map(|line| line.strip_prefix("beware "))
}

fn asked_at(question: &Question) -> Timestamp {
    let seconds = i64::try_from(question.asked_at).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// All that is asked.
pub(crate) fn questions(
    frame: &Frame<'_>,
    machines: &[Rc<MirroredMachine>],
    identity: &Identity,
) -> Markup {
    let is_known = machines.iter().any(|one| one.person(identity).is_some());
    let nothing = if is_known {
        none(
            "Nothing is asked.",
            "What a session of any machine wants and no rule allows appears here while you look.",
        )
    } else {
        no_key(identity)
    };
    let own = machines.iter().filter(|one| one.person(identity).is_some());
    let more = html! { @for one in own.filter(|one| one.told.asks_more) { (asks_more(one)) } };
    list(
        frame,
        &lines(AskedQuestion::all(machines, identity)),
        &nothing,
        &more,
    )
}

/// That not all of what a machine asks is here.
fn asks_more(one: &MirroredMachine) -> Markup {
    html! { p.note { (seen(&one.told.machine)) " asks more than is shown of one machine. On it: " code { "guard pending" } } }
}

/// That no machine knows who looks.
fn no_key(identity: &Identity) -> Markup {
    html! {
        div.empty {
            p.what { "No machine that is there knows the key of " (seen(&identity.name)) }
            p { "Each lists for itself who answers. " a href="/enrol" { "Make a passkey" } ", and have root enrol it there." }
        }
    }
}

/// One question: what is dangerous in it is the largest.
pub(crate) fn question(
    frame: &Frame<'_>,
    place: AskedQuestion<'_>,
    identity: &Identity,
    origin: &str,
) -> Markup {
    let (question, asks) = (&place.open.question, Asks::of(&place.open.question));
    let over = place.seen.over(&place.open.asked.hash);
    let content = html! {
        p.crumbs { a href="/" { "Questions" } span aria-hidden="true" { "/" } (seen(place.machine())) span aria-hidden="true" { "/" } (seen(&question.request)) }
        article.asking id="asking" tabindex="-1" data-id={ (place.machine()) "/" (question.request) } data-asks=(place.open.asked.hash) {
            p.asks {
                b { (seen(asks.who)) } " in " (seen(&question.session)) " of " b { (seen(&question.user)) } " on "
                b { (seen(place.machine())) } " wants"
            }
            h1 { span.verb { (seen(asks.verb)) } " " span.what { (seen_long(asks.what)) } }
            (letters(names(asks.what)))
            @let all: Vec<_> = warnings(question).collect();
            @if !all.is_empty() {
                ul.beware aria-label="Beware" { @for one in all { li { (seen_long(one)) } } }
            }
            section.body {
                h2 { "What a yes signs" span.size { "asked " (moment(asked_at(question))) } }
                ol.signed id="shows" { @for line in &question.shows { li { (line) } } }
                p.form { "Policy " (seen(&question.policy)) ", question " code { (place.open.asked.hash) } }
            }
            @if let Some(over) = over { p.note { (over.approvals) " of " (over.wanted) " have said yes, the last of them " (seen(&over.by)) } }
            (answer(place, identity, origin))
            (keyboard_of_one())
        }
    };
    frame.page(
        &format!("{}?", seen(&question.request)),
        "question",
        &content,
    )
}

fn answer(place: AskedQuestion<'_>, identity: &Identity, origin: &str) -> Markup {
    let (question, asked) = (&place.open.question, &place.open.asked);
    let at = link(place.machine(), &question.request);
    let people = place.seen.approvers.iter();
    let people: Vec<_> = people.filter(|one| may(one, question)).collect();
    html! {
        section.answer aria-label="Answer" {
            @if !question.shown_whole {
                p.note { "Not all of it can be shown, so a yes has to be given at the machine." }
            } @else if place.seen.takes(origin) == Some(false) {
                p.note { "That machine takes no passkey of this page. As root there, in /etc/guard/guardd.toml:" }
                pre { "[answers]\norigins = [\"" (origin) "\"]" }
            } @else if people.is_empty() {
                p.note {
                    "Nobody with a passkey answers for " (seen(&question.user)) " there. "
                    a href="/enrol" { "Make one" } ", and have root enrol it for " (seen(&identity.name)) "."
                }
            } @else if question.offers.is_empty() {
                p.note { "Nothing can be opened for it from here." }
            } @else {
                (yes(&at, question, asked, &people))
            }
            form.no method="post" action={ (at) "/no" } {
                input type="hidden" name="question" value=(asked.hash);
                button.no type="submit" { "No" }
                span.hint { "is not asked again for 15 min" }
            }
            p.said role="alert" id="said" {}
        }
    }
}

/// Whether somebody's passkey may answer it; guardd looks at the policy, too.
fn may(one: &ApproverShown, question: &Question) -> bool {
    one.answers_for.contains(&question.user) && one.keys.iter().any(|key| key.kind == "passkey")
}

/// What became of a question that waits no more: the machine's receipt, if there was one.
pub(crate) fn over(
    frame: &Frame<'_>,
    at: &MirroredMachine,
    id: &str,
    over: Option<&Over>,
) -> Markup {
    let content = html! {
        p.crumbs { a href="/" { "Questions" } span aria-hidden="true" { "/" } (seen(&at.told.machine)) span aria-hidden="true" { "/" } (seen(id)) }
        @match over {
            Some(over) => {
                h1 { (verdict(over)) }
                p { (moment(over.at)) ", as " (seen(&at.told.machine)) " says" }
                @if over.answer == "yes" { p { (holes(over.holes)) } }
                @for warning in &over.warnings { p.note { (seen_long(warning)) } }
            },
            None => {
                h1 { "It does not wait" }
                p { (seen(&at.told.machine)) " asks no " (seen(id)) " now: it was answered there, or has ended, or the machine is away." }
            },
        }
        p { a href="/" { "All questions" } }
    };
    frame.page(&format!("{} is over", seen(id)), "over", &content)
}

fn verdict(over: &Over) -> String {
    let by = seen(&over.by);
    match over.answer.as_str() {
        "yes" => format!("Yes, by {by}"),
        "no" => format!("No, by {by}"),
        _ => format!("Answered by {by}"),
    }
}

fn holes(count: usize) -> String {
    match count {
        0 => "No hole was wanted.".to_owned(),
        1 => "A hole is open.".to_owned(),
        many => format!("{many} holes are open."),
    }
}

/// A machine that is not here, or knows nobody who looks.
pub(crate) fn no_machine(frame: &Frame<'_>, machine: &str) -> Markup {
    let content = html! {
        h1 { "No such machine" }
        p { "None that was heard is called " (seen(machine)) " and lists your key." }
        p { a href="/machines" { "All machines" } }
    };
    frame.page("No such machine", "over", &content)
}

/// A no to what is not asked.
pub(crate) fn no_question(frame: &Frame<'_>, id: &str) -> Markup {
    let content = html! {
        h1 { "It does not wait" }
        p { (seen(id)) " is not asked now, or asks something else." }
        p { a href="/" { "All questions" } }
    };
    frame.page("It does not wait", "over", &content)
}

/// All machines that know who looks; what is wrong comes first.
pub(crate) fn machines(
    frame: &Frame<'_>,
    all: &[Rc<MirroredMachine>],
    identity: &Identity,
    origin: &str,
) -> Markup {
    let (mut own, other): (Vec<_>, Vec<_>) =
        all.iter().partition(|one| one.person(identity).is_some());
    own.sort_by_key(|one| (rank(one), one.told.machine.clone()));
    let count = |rank: fn(&MirroredMachine) -> bool| own.iter().filter(|one| rank(one)).count();
    let here = count(|one| one.told.away_since.is_none());
    let enforce = count(enforces);
    let asked = AskedQuestion::all(all, identity).len();
    let left_out = own.len().saturating_sub(MOST);
    let content = html! {
        h1 { "Machines" }
        @if own.is_empty() {
            (no_key(identity))
        } @else {
            p.sum {
                b { (here) } " there, " b { (enforce) } " of them enforce; " b { (own.len() - here) } " away; "
                b { (asked) } " questions wait"
            }
            div.scroll tabindex="0" role="region" aria-label="Machines" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Machine" } th scope="col" { "Enforces" } th.number scope="col" { "Asked" }
                            th.number scope="col" { "Sessions" } th.number scope="col" { "Holes" }
                            th.number scope="col" { "Policies" } th scope="col" { "Group" } th scope="col" { "Version" }
                        }
                    }
                    tbody { @for one in own.iter().take(MOST) { (machine(one, identity, origin)) } }
                }
            }
            @if left_out > 0 { p.more { (left_out) " more: " code { "guard fleet machines" } } }
        }
        (revoked(all, identity))
        @if !other.is_empty() {
            p.more {
                (other.len()) " more machines do not list your key."
                @let short = other.iter().filter(|one| one.told.approvers_left_out > 0).count();
                @if short > 0 { " " (short) " of them list more people than their message has room for: you may be one." }
            }
        }
        (browsers(false))
    };
    frame.page("Machines", "machines", &content)
}

fn machine(one: &MirroredMachine, identity: &Identity, origin: &str) -> Markup {
    let (told, state) = (&one.told, one.told.state.as_ref());
    let number = |count: Option<usize>| count.map_or_else(|| "–".to_owned(), |n| n.to_string());
    html! {
        tr data-id=(told.machine) {
            th scope="row" {
                a.host href={ "/machines/" (told.machine) } { (seen(&told.machine)) }
                @if one.takes(origin) == Some(false) { br; span.address { "takes no yes of this page: origins in its guardd.toml" } }
            }
            td { (enforcing(one)) }
            td.number { (one.asks(identity).count()) }
            td.number { (number(state.map(|state| state.sessions))) }
            td.number { (number(state.map(|state| state.holes))) }
            td.number { (policies(state)) }
            td { (seen(&told.group)) }
            td { (state.map_or_else(String::new, |state| seen(&state.version))) }
        }
    }
}

/// One of them: how it is, and the sessions and holes of those for whom somebody answers there.
pub(crate) fn one_machine(
    frame: &Frame<'_>,
    one: &MirroredMachine,
    identity: &Identity,
    origin: &str,
) -> Markup {
    let (told, state) = (&one.told, one.told.state.as_ref());
    let person = one.person(identity);
    let is_own = |user: &String| person.is_some_and(|person| person.answers_for.contains(user));
    let sessions: Vec<_> = one.sessions(identity).collect();
    let holes: Vec<_> = one.holes(identity).collect();
    let more = left_out(told.left_out.iter().filter(|one| is_own(&one.user)));
    let asked = one.asks(identity).count();
    let content = html! {
        p.crumbs { a href="/machines" { "Machines" } span aria-hidden="true" { "/" } (seen(&told.machine)) }
        h1 { (seen(&told.machine)) }
        dl.row {
            div { dt { "Enforces" } dd { (enforcing(one)) } }
            div { dt { "Group" } dd { (seen(&told.group)) } }
            div { dt { "Policies" } dd { (policies(state)) } }
            @if let Some(state) = state { div { dt { "Version" } dd { (seen(&state.version)) } } }
            div { dt { "Asked" } dd { a href="/" { (asked) " wait" } } }
        }
        @if one.takes(origin) == Some(false) { p.note { "It takes no yes of this page: origins in its guardd.toml." } }
        @if told.asks_more { (asks_more(one)) }
        @match (&told.away_since, &told.sessions) {
            (None, None) => p.note { "It has not said yet what there is. Load the page again." },
            (Some(_), _) => p.note { "It is away: what runs there now, it does not say." },
            (None, Some(_)) => {
                h2 { "Sessions" }
                @if sessions.is_empty() { p { "None of those for whom you answer there." } }
                ul.cards { @for one in &sessions { (session(one)) } }
                (more_of(more[0], "guard sessions"))
                h2 { "Holes" }
                @if holes.is_empty() { p { "None is open for those for whom you answer there." } }
                ul.cards { @for hole in &holes { (hole_card(told, hole)) } }
                (more_of(more[1], "guard holes"))
            },
        }
        (keys(one, identity))
        @if told.away_since.is_none() {
            p.more { a href={ "/machines/" (told.machine) "/flows" } { "What was reached there, and the last day" } }
        }
        p.more {
            "Its audit log, if it sends that: "
            code { "guard-fleet log --machine " (seen(&told.machine)) }
        }
    };
    frame.page(&seen(&told.machine), "machines", &content)
}

/// What was reached there by those for whom somebody answers, and their last day, as the machine has just said.
pub(crate) fn reached(frame: &Frame<'_>, at: &MirroredMachine, there: &ReachedThere) -> Markup {
    let hours = there.hours.as_deref();
    let hours = hours.and_then(|all| <[Hour; HOURS]>::try_from(all).ok());
    let flows: Vec<_> = there.flows.iter().collect();
    let content = html! {
        (crumbs_of(at, "Flows"))
        h1 { "Flows" span.of { (seen(&at.told.machine)) } }
        p { "Of those for whom you answer there, as it says, " (moment(there.at)) ". " a href="" { "Look again" } }
        div data-reading[there.is_reading] {
            @match (&hours, there.is_reading) {
                (Some(hours), _) => { (log::chart_of(hours, there.at, there.late)) },
                (None, true) => { (log::is_read("")) },
                (None, false) => p.note { "Its guardd does not tell what is in its log. On the machine: " code { "guard log" } },
            }
        }
        @for warning in &there.warnings { p.note { (seen_long(warning)) } }
        @if flows.is_empty() {
            (none("Nothing was reached.", "Here is each destination that a session has connected to, by program."))
        } @else {
            (lists::reached(&flows, seen, |one| html! { (seen(&one.session)) }))
        }
        (more_of(there.left_out, "guard flows"))
    };
    frame.page("Flows", "reached", &content)
}

/// How many sessions and holes are not listed.
fn left_out<'a>(of: impl Iterator<Item = &'a Untold>) -> [usize; 2] {
    of.fold([0, 0], |[sessions, holes]: [usize; 2], one| {
        [
            sessions.saturating_add(one.sessions),
            holes.saturating_add(one.holes),
        ]
    })
}

/// That there are more, and what lists them on the machine.
fn more_of(count: usize, command: &str) -> Markup {
    html! { @if count > 0 { p.more { (count) " more, the older ones. On the machine: " code { (command) } } } }
}

fn session(one: &SessionThere) -> Markup {
    html! {
        li {
            p.title { b { (seen(&one.name)) } span.id { (seen(&one.id)) } }
            dl.row {
                div { dt { "Policy" } dd { (seen(&one.policy)) } }
                div { dt { "User" } dd { (seen(&one.user)) } }
                div { dt { "Since" } dd { (moment(one.started_at)) } }
            }
        }
    }
}

/// Who answers there for the same users, and with what; nobody is made one from here.
fn keys(one: &MirroredMachine, identity: &Identity) -> Markup {
    let person = one.person(identity);
    let meets = |other: &&ApproverShown| {
        let mut users = other.answers_for.iter();
        person.is_some_and(|person| users.any(|user| person.answers_for.contains(user)))
    };
    html! {
        h2 { "Keys" }
        ul.cards {
            @for other in one.approvers.iter().filter(meets) { (lists::approver(other, seen)) }
        }
        @if one.told.approvers_left_out > 0 {
            p.more { (one.told.approvers_left_out) " more answer there. On the machine: " code { "guard approver list" } }
        }
    }
}

fn hole_card(at: &HeardMachine, one: &HoleThere) -> Markup {
    let id = utf8_percent_encode(&one.id, NON_ALPHANUMERIC).to_string();
    html! {
        li {
            p.title {
                b { (seen(&one.destination)) } @if let Some(ports) = &one.ports { span.ports { (seen(ports)) } }
                span.id { (seen(&one.id)) " for " (seen(&one.session)) }
            }
            (shut(one.shut_by.as_deref()))
            dl.row {
                div { dt { "Ends" } dd { (moment(one.expires_at)) } }
                div { dt { "Opened by" } dd { (seen(one.opened_by.as_deref().unwrap_or("somebody"))) } }
                @if one.is_narrow { div { dt { "For" } dd { "some requests, or reads, alone" } } }
            }
            form method="post" action={ "/machines/" (at.machine) "/holes/" (id) "/close" } {
                input type="hidden" name="session" value=(seen(&one.session));
                button.no type="submit" aria-label={ "Close " (seen(&one.id)) } { "Close" }
            }
        }
    }
}

/// That a machine has closed a hole, as it says, and what it says to that.
pub(crate) fn closed(frame: &Frame<'_>, at: &MirroredMachine, hole: &str, taken: &Taken) -> Markup {
    let content = html! {
        (crumbs_of(at, hole))
        h1 { (seen(hole)) " is closed" }
        p { "By " (seen(&taken.by)) ", as " (seen(&at.told.machine)) " says. Its audit log has it as unsigned." }
        @for warning in &taken.warnings { p.note { (seen_long(warning)) } }
        p { a href={ "/machines/" (at.told.machine) } { "What is open there" } }
    };
    frame.page(&format!("{} is closed", seen(hole)), "over", &content)
}

/// That no such hole of those for whom somebody answers is open.
pub(crate) fn no_hole(frame: &Frame<'_>, at: &MirroredMachine, hole: &str) -> Markup {
    let content = html! {
        (crumbs_of(at, hole))
        h1 { "No such hole is open" }
        p { (seen(&at.told.machine)) " tells of no " (seen(hole)) " of those for whom you answer there: it has ended, or the machine is away." }
        p { a href={ "/machines/" (at.told.machine) } { "What is open there" } }
    };
    frame.page("No such hole is open", "over", &content)
}

fn crumbs_of(at: &MirroredMachine, hole: &str) -> Markup {
    html! {
        p.crumbs {
            a href="/machines" { "Machines" } span aria-hidden="true" { "/" }
            a href={ "/machines/" (at.told.machine) } { (seen(&at.told.machine)) } span aria-hidden="true" { "/" } (seen(hole))
        }
    }
}

/// That nothing passes through a hole any more, and why.
pub(super) fn shut(by: Option<&str>) -> Markup {
    html! { @if let Some(by) = by { p.note { "Lets nothing through now: " (seen(by)) " denies it." } } }
}

fn enforcing(one: &MirroredMachine) -> Markup {
    html! {
        @if let Some(since) = one.told.away_since {
            span.wrong { "away" } " since " (moment(since))
        } @else {
            @match &one.told.state {
                Some(state) if state.enforcing => "yes",
                Some(state) => {
                    span.wrong { "no" } @if let Some(problem) = &state.problem { ": " (seen(problem)) }
                },
                None => { span.wrong { "not known" } ": its guardd does not answer" },
            }
        }
    }
}

/// The serial of the fleet's policies.
fn policies(state: Option<&MachineState>) -> Markup {
    let serial = state.and_then(|state| state.serial);
    let serial = serial.map_or_else(|| "–".to_owned(), |serial| serial.to_string());
    let problem = state.and_then(|state| state.policies_problem.as_deref());
    html! {
        (serial)
        @if let Some(problem) = problem { " " span.wrong title=(seen(problem)) { "!" } br; span.address { (seen(problem)) } }
    }
}

fn enforces(one: &MirroredMachine) -> bool {
    let state = one.told.state.as_ref();
    one.told.away_since.is_none() && state.is_some_and(|state| state.enforcing)
}

/// What has to be looked at first.
fn rank(one: &MirroredMachine) -> u8 {
    match (enforces(one), one.told.away_since) {
        (false, None) => 0,
        (false, Some(_)) => 1,
        (true, _) => 2,
    }
}

/// A visitor without a passkey of this page.
pub(crate) fn enrol(frame: &Frame<'_>) -> Markup {
    let content = html! {
        h1 { "Make a passkey for guard" }
        p { "With it you sign each yes: by your finger, your face or a PIN. It stays in this device, or with who keeps your passkeys." }
        div.passkey id="enrol" {
            button.main type="button" disabled { "Make a passkey" }
            p.said role="status" {}
            noscript { p { "A passkey takes script." } }
        }
        div id="presented" hidden {
            h2 { "Nearly done" }
            p { "It counts on each machine where root has enrolled it. NAME is you, USER is who runs the agents there:" }
            pre id="accept" {}
            p { "Then " a href="/login" { "log in with it" } "." }
        }
    };
    frame.page("Make a passkey", "enter", &content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::central::mirror::tests::question;

    #[test]
    fn a_first_line_is_read_and_hides_nothing() {
        let asks = |line: &str| {
            let asked = question("m-1", "r1", &[line]);
            let asks = Asks::of(&asked);
            [asks.who, asks.verb, asks.what].map(str::to_owned)
        };
        assert_eq!(
            asks("curl (4711) wants PUT http://photos/api at tcp/443 at 192.0.2.1"),
            [
                "curl (4711)",
                "PUT",
                "http://photos/api at tcp/443 at 192.0.2.1"
            ]
        );
        assert_eq!(
            asks("a wants tcp/80 (1) wants tcp/22 at 192.0.2.1"),
            ["a", "tcp/80", "(1) wants tcp/22 at 192.0.2.1"],
            "what it really wants is there"
        );
        let name = r#""a\" wants tcp/80 \\""#;
        assert_eq!(
            asks(&format!("{name} (1) wants tcp/22 at 192.0.2.1")),
            [&format!("{name} (1)"), "tcp/22", "at 192.0.2.1"]
        );
        assert_eq!(asks("odd"), ["A process", "odd", ""]);
        assert_eq!(asks(""), ["A process", "", ""]);
    }

    #[test]
    fn names_are_found_in_a_first_line() {
        let found = |what: &str, name: &str| names(what).any(|one| one == name);
        assert!(found(
            "http://photos.example/api at tcp/443 at 192.0.2.1",
            "photos.example"
        ));
        assert!(found("at 192.0.2.1 (photos.example)", "photos.example"));
        assert!(!found(
            "http://photos.example/other.example at tcp/443",
            "other.example"
        ));
        let both = "http://photos.example/ at tcp/443 at 192.0.2.1 (photos.example)";
        assert_eq!(names(both).collect::<Vec<_>>(), ["photos.example"]);
        let written = "a.example (b.example) (postgres://db) at tcp/5432 at 192.0.2.1";
        assert_eq!(names(written).count(), 0);
    }

    #[test]
    fn a_program_gives_no_warnings_and_hides_none() {
        let asked = question(
            "m-1",
            "r1",
            &[
                "beware (1) wants tcp/1 at 192.0.2.1",
                "beware a",
                "command beware b",
                "beware c",
            ],
        );
        assert_eq!(warnings(&asked).collect::<Vec<_>>(), ["a", "c"]);
    }
}
