//! How it reads. What machines say of themselves may be anybody's words, and steers no terminal.

use std::fmt::Write as _;

use guard_signed::{
    Question,
    visible::{is_unseen, visible},
};
use serde_json::{Value, json};

use super::heard::{Fleet, OfMachine};

/// Characters of a line that are shown.
const LINE: usize = 1024;

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
        let _ = writeln!(text, "    {}", visible(line, LINE));
    }
    text
}

/// That a question is over.
pub(super) fn over(of: &OfMachine, json: bool) -> String {
    match json {
        true => object(of, "over"),
        false => format!("{} {} is over\n", of.machine, of.asked.question.request),
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
fn line(value: &Value) -> String {
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

/// `3 machines`
pub(super) fn machines_of(fleet: &Fleet) -> String {
    match fleet.machines().count() {
        0 => "any machine: none is there".to_owned(),
        1 => "1 machine".to_owned(),
        many => format!("{many} machines"),
    }
}

/// All machines that were heard.
pub(super) fn machines(fleet: &Fleet, json: bool) -> String {
    let mut text = String::new();
    if !json {
        let _ = writeln!(
            text,
            "{:<22}  {:<12}  {:<9}  {:>8}  {:>8}  {:>5}  VERSION",
            "MACHINE", "GROUP", "ENFORCES", "SESSIONS", "ASKED", "HOLES"
        );
    }
    for (group, machine, state) in fleet.machines() {
        let guardd = state.here.as_ref().and_then(|here| here.guardd.as_ref());
        if json {
            let object = json!({
                "group": group,
                "machine": machine,
                "version": state.here.as_ref().map(|here| &here.version),
                "guardd": guardd,
                "questions": state.open(),
            });
            text.push_str(&line(&object));
            continue;
        }
        let enforces = match guardd {
            Some(guardd) if guardd.enforcing => "yes".to_owned(),
            Some(guardd) => {
                let problem = guardd.problem.as_deref().unwrap_or_default();
                format!("no: {}", visible(problem, LINE))
            }
            None => "not known".to_owned(),
        };
        let count = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let _ = writeln!(
            text,
            "{:<22}  {:<12}  {:<9}  {:>8}  {:>8}  {:>5}  {}",
            machine.to_string(),
            group.to_string(),
            enforces,
            count(guardd.map(|guardd| guardd.sessions)),
            state.open(),
            count(guardd.map(|guardd| guardd.holes)),
            guardd.map_or_else(String::new, |guardd| visible(&guardd.version, 32)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
