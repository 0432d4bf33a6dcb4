//! How it reads. What machines say of themselves may be anybody's words, and steers no terminal.

use std::{collections::BTreeMap, fmt::Write as _};

use guard_proto::fleet::FleetPolicies;
use guard_signed::{
    Question,
    visible::{is_unseen, visible, visible_again},
};
use serde_json::{Value, json};

use super::heard::{Fleet, OfMachine, State};
use crate::{
    list::ListedMachine,
    subjects::{Group, Machine},
};

/// Characters of a line that are shown, and of a server's version.
const LINE: usize = 1024;
const VERSION: usize = 32;

/// Servers before this one have lost streams that they had said to keep.
const KEEPS: [u64; 3] = [2, 10, 23];

/// A question: for people what to type and what is asked, for programs all of it.
pub(super) fn question(of: &OfMachine, json: bool) -> String {
    let question = &of.asked.question;
    if json {
        return object(of, "open");
    }
    let mut text = format!(
        "guard-fleet answer {} {}    {}'s {}, policy {}\n",
        of.machine,
        question.request,
        visible(&question.user, 64),
        visible(&question.session, 64),
        visible(&question.policy, 64)
    );
    for line in &question.shows {
        let _ = writeln!(text, "    {}", visible_again(line, LINE));
    }
    text
}

/// That a question is over.
pub(super) fn over(of: &OfMachine, json: bool) -> String {
    if json {
        object(of, "over")
    } else {
        format!("{} {} is over\n", of.machine, of.asked.question.request)
    }
}

fn object(of: &OfMachine, state: &str) -> String {
    line(&json!({
        "group": of.group,
        "machine": of.machine,
        "request": of.asked.question.request,
        "state": state,
        "hash": Question::hash(&of.asked.bytes),
        "question": String::from_utf8_lossy(&of.asked.bytes),
    }))
}

/// A line of JSON in which all can be seen: what a terminal would take for its own is written as an escape, which says the same.
pub(super) fn line(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text.push('\n');
    text
}

/// Behind the questions: that there are none, and that more waits than is asked.
pub(super) fn rest(fleet: &Fleet) -> String {
    let open = fleet.questions().count();
    let waiting = fleet.machines().map(|(_, _, state)| of_all(state));
    rest_of(fleet.machines().count(), open, waiting.sum())
}

fn rest_of(machines: usize, open: usize, waiting: usize) -> String {
    let none = match (open, machines) {
        (0, 0) => "nothing is asked on any machine: none is there\n".to_owned(),
        (0, _) => format!(
            "nothing is asked on {}\n",
            count(machines, "machine", "machines")
        ),
        _ => String::new(),
    };
    none + &unasked(waiting, open)
}

/// "1 machine", "3 machines"
fn count(number: usize, one: &str, more: &str) -> String {
    let what = if number == 1 { one } else { more };
    format!("{number} {what}")
}

/// How many requests wait there, asked or not.
fn of_all(state: &State) -> usize {
    waiting(state).unwrap_or(0).max(state.open())
}

/// All machines that were heard, and those that should have been.
pub(super) fn machines(fleet: &Fleet, silent: &[ListedMachine], json: bool) -> String {
    let mut text = String::new();
    if !json {
        let _ = writeln!(
            text,
            "{:<22}  {:<12}  {:<9}  {:>8}  {:>8}  {:>5}  {:<10}  VERSION",
            "MACHINE", "GROUP", "ENFORCES", "SESSIONS", "ASKED", "HOLES", "POLICIES"
        );
    }
    for (group, machine, state) in fleet.machines() {
        text.push_str(&if json {
            line(&as_object(group, machine, state))
        } else {
            as_row(group, machine, state)
        });
    }
    for ListedMachine { id, group, .. } in silent {
        text.push_str(&if json {
            line(&json!({"group": group, "machine": id, "silent": true}))
        } else {
            format!(
                "{:<22}  {:<12}  listed, and silent\n",
                id.to_string(),
                group.to_string()
            )
        });
    }
    text
}

fn as_object(group: &Group, machine: &Machine, state: &State) -> Value {
    let here = state.here.as_ref();
    json!({
        "group": group,
        "machine": machine,
        "version": here.map(|here| &here.version),
        "guardd": here.and_then(|here| here.guardd.as_ref()),
        "questions": state.open(),
        "requests": waiting(state),
        "asks_more": state.asks_more(),
        "log": here.and_then(|here| here.log.as_ref()),
    })
}

fn as_row(group: &Group, machine: &Machine, state: &State) -> String {
    let guardd = state.here.as_ref().and_then(|here| here.guardd.as_ref());
    let enforces = match guardd {
        Some(guardd) if guardd.enforcing => "yes".to_owned(),
        Some(guardd) => {
            let problem = guardd.problem.as_deref().unwrap_or_default();
            format!("no: {}", visible(problem, LINE))
        }
        None => "not known".to_owned(),
    };
    let count = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
    format!(
        "{:<22}  {:<12}  {:<9}  {:>8}  {:>8}  {:>5}  {:<10}  {}\n",
        machine.to_string(),
        group.to_string(),
        enforces,
        count(guardd.map(|guardd| guardd.sessions)),
        asked(state),
        count(guardd.map(|guardd| guardd.holes)),
        serial_of(policies_of(state)),
        guardd.map_or_else(String::new, |guardd| visible(&guardd.version, 32)),
    )
}

/// How many requests wait there, by its own word.
fn waiting(state: &State) -> Option<usize> {
    let guardd = state.here.as_ref()?.guardd.as_ref()?;
    Some(guardd.requests)
}

/// How many questions it asks, and of how many requests, where nobody is enrolled to answer the others.
fn asked(state: &State) -> String {
    let more = if state.asks_more() { "+" } else { "" };
    let of = waiting(state).filter(|waiting| *waiting > state.open());
    let of = of.map_or_else(String::new, |waiting| format!(" of {waiting}"));
    format!("{}{more}{of}", state.open())
}

/// What a machine says of its fleet's policies.
pub(super) fn policies_of(state: &State) -> Option<&FleetPolicies> {
    state.here.as_ref()?.guardd.as_ref()?.fleet.as_ref()
}

/// The number of the bundle that is in force, and whether something is wrong.
fn serial_of(of: Option<&FleetPolicies>) -> String {
    let Some(of) = of else {
        return "-".to_owned();
    };
    let serial = of
        .serial
        .map_or_else(|| "none".to_owned(), |serial| serial.to_string());
    match of.problem {
        Some(_) => format!("{serial} !"),
        None => serial,
    }
}

/// What a machine has made of a bundle.
pub(super) fn pushed(
    machine: &Machine,
    of: &FleetPolicies,
    is_in_force: bool,
    serial: u64,
) -> String {
    let mut text = if is_in_force {
        format!("{machine} has {serial} in force\n")
    } else {
        format!("{machine} has not {serial} but {}\n", serial_of(Some(of)))
    };
    if let Some(problem) = &of.problem {
        let _ = writeln!(text, "    {}", visible(problem, LINE));
    }
    text
}

/// How far the audit logs of machines have come.
#[derive(Debug, Default)]
struct Logs {
    /// How many send theirs.
    machines: usize,
    /// Records that servers do not have yet.
    behind: u64,
    /// Machines that cannot.
    problems: usize,
}

impl Logs {
    fn add(&mut self, state: &State) {
        let Some(here) = &state.here else { return };
        let Some(sent) = &here.log else { return };
        self.machines += 1;
        self.problems += usize::from(sent.problem.is_some());
        let written = here.guardd.as_ref().map(|guardd| guardd.audit.number);
        let behind = written.unwrap_or(0).saturating_sub(sent.number);
        self.behind = self.behind.saturating_add(behind);
    }
}

/// All machines in a few lines, and those that should be there.
pub(super) fn status(fleet: &Fleet, silent: &[ListedMachine], json: bool) -> String {
    let counts = FleetCounts::of(fleet);
    if json {
        counts.json(silent)
    } else {
        counts.text(silent)
    }
}

/// What all machines have together.
#[derive(Default)]
struct FleetCounts {
    all: usize,
    enforce: usize,
    /// Questions that wait.
    asked: usize,
    /// Requests, whether anybody is asked here or not.
    requests: usize,
    /// Machines whose policies have problems.
    wrong: usize,
    /// How many machines of a group have the policies of that serial.
    serials: BTreeMap<(Group, Option<u64>), usize>,
    logs: Logs,
    /// The server's version.
    server: String,
}

impl FleetCounts {
    fn of(fleet: &Fleet) -> Self {
        let mut counts = Self {
            server: fleet.link.client.server_info().version,
            ..Self::default()
        };
        for (group, _, state) in fleet.machines() {
            let guardd = state.here.as_ref().and_then(|here| here.guardd.as_ref());
            counts.all += 1;
            counts.enforce += usize::from(guardd.is_some_and(|guardd| guardd.enforcing));
            counts.asked += state.open();
            counts.requests += of_all(state);
            counts.logs.add(state);
            let policies = policies_of(state);
            counts.wrong += usize::from(policies.is_some_and(|of| of.problem.is_some()));
            let serial = policies.and_then(|of| of.serial);
            *counts.serials.entry((group.clone(), serial)).or_default() += 1;
        }
        counts
    }

    fn json(&self, silent: &[ListedMachine]) -> String {
        let serials = self.serials.iter();
        let policies = serials.map(|((group, serial), machines)| {
            json!({"group": group, "serial": serial, "machines": machines})
        });
        let logs = &self.logs;
        line(&json!({
            "machines": self.all,
            "enforcing": self.enforce,
            "questions": self.asked,
            "requests": self.requests,
            "policies": policies.collect::<Vec<_>>(),
            "policies_with_problems": self.wrong,
            "silent": silent.iter().map(|one| &one.id).collect::<Vec<_>>(),
            "logs": {"machines": logs.machines, "behind": logs.behind, "problems": logs.problems},
            "server": self.server,
        }))
    }

    fn text(&self, silent: &[ListedMachine]) -> String {
        let mut text = format!(
            "{}, {}; {}\n",
            count(self.all, "machine is there", "machines are there"),
            count(self.enforce, "of them enforces", "of them enforce"),
            count(self.asked, "question waits", "questions wait")
        );
        text += &unasked(self.requests, self.asked);
        for ((group, serial), machines) in &self.serials {
            let has = match serial {
                Some(serial) => format!("policies {serial}"),
                None => "no policies of the fleet".to_owned(),
            };
            let machines = count(*machines, "has", "have");
            let _ = writeln!(text, "group {group}: {machines} {has}");
        }
        if self.logs.machines > 0 && may_lose(&self.server) {
            let _ = writeln!(
                text,
                "the server is nats-server {}, which may lose records that it has kept: take 2.10.23 or later",
                visible(&self.server, VERSION)
            );
        }
        text + &amiss(&self.logs, self.wrong, silent)
    }
}

/// Whether a server of that version may lose what it has said to keep. What is no version says nothing.
fn may_lose(version: &str) -> bool {
    let parts = version.split(['.', '-']).map(str::parse::<u64>);
    let parts: Vec<u64> = parts.map_while(Result::ok).collect();
    parts.len() >= KEEPS.len() && parts[..KEEPS.len()] < KEEPS[..]
}

/// That more waits than is asked.
fn unasked(requests: usize, asked: usize) -> String {
    match requests.saturating_sub(asked) {
        0 => String::new(),
        more => format!(
            "{} on the machines, and nobody is asked here: nobody is enrolled there to answer, or {} answered there alone\n",
            count(more, "request waits", "requests wait"),
            if more == 1 { "it is" } else { "they are" }
        ),
    }
}

/// What is not out, or wrong, or not there.
fn amiss(logs: &Logs, wrong: usize, silent: &[ListedMachine]) -> String {
    let mut text = String::new();
    if logs.machines > 0 {
        let _ = writeln!(
            text,
            "{}: {} not out yet",
            count(
                logs.machines,
                "sends its audit log",
                "send their audit logs"
            ),
            match logs.behind {
                1 => "1 record is".to_owned(),
                more => format!("{more} records are"),
            }
        );
    }
    if logs.problems > 0 {
        let _ = writeln!(
            text,
            "{}: guard-fleet machines --json",
            count(logs.problems, "cannot send its own", "cannot send theirs")
        );
    }
    if wrong > 0 {
        let _ = writeln!(
            text,
            "{}: guard-fleet machines --json",
            count(
                wrong,
                "says that something is wrong with its policies",
                "say that something is wrong with their policies"
            )
        );
    }
    for ListedMachine { id, group, .. } in silent {
        let _ = writeln!(text, "{id} of {group} is listed, and silent");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_without_being_asked_is_said_where_nothing_is_asked() {
        assert_eq!(
            rest_of(0, 0, 0),
            "nothing is asked on any machine: none is there\n"
        );
        assert_eq!(rest_of(1, 0, 0), "nothing is asked on 1 machine\n");
        assert_eq!(rest_of(2, 2, 2), "");
        let why = "and nobody is asked here: nobody is enrolled there to answer, or";
        assert_eq!(
            rest_of(1, 0, 1),
            format!(
                "nothing is asked on 1 machine\n1 request waits on the machines, {why} it is answered there alone\n"
            )
        );
        assert_eq!(
            rest_of(3, 1, 3),
            format!("2 requests wait on the machines, {why} they are answered there alone\n")
        );
    }

    #[test]
    fn a_server_that_may_lose_what_it_keeps_is_known_by_its_version() {
        for (version, may) in [
            ("2.9.10", true),
            ("2.10.22", true),
            ("2.10.22-RC.1", true),
            ("2.10.23", false),
            ("2.10.27", false),
            ("2.11.0", false),
            ("3.0.0", false),
            ("", false),
            ("2.9", false),
            ("latest", false),
        ] {
            assert_eq!(may_lose(version), may, "{version}");
        }
    }

    #[test]
    fn json_says_the_same_and_steers_no_terminal() -> serde_json::Result<()> {
        let value = json!({ "a": "\u{9b}31m \u{202e} \u{7f} \u{e0041} \n ä", "b": 1 });
        let line = line(&value);
        let (last, shown) = (line.ends_with('\n'), line.trim_end());
        assert!(last && !shown.chars().any(is_unseen), "{shown:?}");
        assert_eq!(serde_json::from_str::<Value>(shown)?, value);
        Ok(())
    }
}
