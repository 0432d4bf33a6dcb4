//! Why a signed answer is not taken, in words.

use std::time::Duration;

use super::{question_bytes::lasting, questions::PartialYes};
use crate::control::failure::CallError;

/// What every refusal says first.
const WHAT: &str = "the signed answer is not taken";

fn refused(why: impl Into<String>, fix: impl Into<String>) -> CallError {
    CallError::refused(WHAT, why, fix)
}

pub(super) fn no_key(key: &str) -> CallError {
    let key: String = key.chars().take(80).collect();
    refused(
        format!("no key {key:?} is enrolled"),
        "guard approver list; as root: guard approver add NAME --ssh-key FILE",
    )
}

pub(super) fn no_courier() -> CallError {
    refused(
        "only root, the session's owner and the couriers of the settings hand answers in",
        "as root, in /etc/guard/guardd.toml, under [answers]: couriers = [\"USER\"]\nsystemctl restart guardd",
    )
}

pub(super) fn not_signed(why: &str) -> CallError {
    refused(why, "sign the question again: guard sign")
}

pub(super) fn synced() -> CallError {
    refused(
        "the passkey may be on other devices, too, and the settings take no yes by such a key",
        "answer by a key that stays on its device, such as a security key's\nas root, in /etc/guard/guardd.toml, under [answers]: synced = true",
    )
}

pub(super) fn another_name(said: &str, owner: &str) -> CallError {
    let said: String = said.chars().take(80).collect();
    refused(
        format!("it is by {said:?}, and the key is {owner}'s"),
        format!("guard sign --as {owner}"),
    )
}

pub(super) fn another_machine(said: &str, own: &str) -> CallError {
    let said: String = said.chars().take(80).collect();
    refused(
        format!("it is for the machine {said:?}, and this is {own}"),
        "hand it in where the question came from",
    )
}

pub(super) fn unknown_question() -> CallError {
    CallError::not_found(
        WHAT,
        "no question that is open here has these bytes: it was answered, has changed, or was asked before a restart of the machine",
        "look again: guard pending; guard question ID --bytes",
    )
}

pub(super) fn not_known(id: &str) -> CallError {
    refused(
        format!("what stops {id} cannot be told: the text of a policy of its session is gone"),
        format!("answer it at the machine: guard approve {id}, or guard deny {id}"),
    )
}

pub(super) fn used(id: &str) -> CallError {
    refused(
        format!("the question about {id} was answered already, and a signature counts once"),
        format!("look again: guard pending; guard question {id} --bytes"),
    )
}

pub(super) fn too_late(id: &str) -> CallError {
    refused(
        format!("the time to answer {id} is up"),
        format!("look again: guard question {id} --bytes"),
    )
}

pub(super) fn changed(id: &str) -> CallError {
    refused(
        format!("{id} has changed since it was shown"),
        format!("look again: guard question {id} --bytes"),
    )
}

pub(super) fn not_theirs(name: &str, what: &str) -> CallError {
    refused(
        format!("{name} does not answer for {what}"),
        "guard approver list says who does",
    )
}

pub(super) fn not_shown(id: &str) -> CallError {
    refused(
        format!("the question does not show all of {id}"),
        format!("answer it at the machine: guard approve {id}"),
    )
}

pub(super) fn not_offered(id: &str, scope: &str) -> CallError {
    let scope: String = scope.chars().take(40).collect();
    refused(
        format!("{scope:?} is not offered for {id}"),
        "answer with what the question offers; the settings say what is: scopes under [answers]",
    )
}

pub(super) fn no_time() -> CallError {
    refused("it does not say for how long", "guard sign")
}

pub(super) fn nothing_to_open(id: &str) -> CallError {
    refused(
        format!(
            "nothing can be opened for {id}: a policy denies it by now, or all of it is allowed"
        ),
        "guard pending",
    )
}

pub(super) fn too_long(time: Duration, longest: Duration) -> CallError {
    refused(
        format!(
            "{} is longer than the {} that may be opened so",
            lasting(time),
            lasting(longest)
        ),
        "answer for a shorter time: max_for of the settings, of the approver, and the rule's max_hole count",
    )
}

pub(super) fn wrong_code(id: &str, left: u8) -> CallError {
    let times = if left == 1 { "time" } else { "times" };
    refused(
        "its code is not the one of this request",
        format!(
            "compare the request with what guard watch shows beside the code; {id} can be tried {left} {times} more"
        ),
    )
}

pub(super) fn said_already(name: &str) -> CallError {
    refused(
        format!("{name} has said yes already, and somebody else has to as well"),
        "ask another approver: guard approver list",
    )
}

pub(super) fn signed_already(name: &str) -> CallError {
    refused(
        format!("this key has signed it already, when it was {name}'s"),
        "sign with another key, or ask another approver: guard approver list",
    )
}

pub(super) fn says_otherwise(others: &[PartialYes]) -> CallError {
    let who: Vec<_> = others.iter().map(|one| one.signed.by.as_str()).collect();
    let said = others.first().and_then(|one| one.answer.seconds);
    refused(
        format!("{} said yes to something else", who.join(" and ")),
        format!(
            "say the same, for {} seconds, or no",
            said.unwrap_or_default()
        ),
    )
}

pub(super) fn not_spent(error: &std::io::Error) -> CallError {
    CallError::failed(
        WHAT,
        format!("it cannot be written down that it is used: {error}"),
        "make room on the disk of guardd's state directory",
    )
}
