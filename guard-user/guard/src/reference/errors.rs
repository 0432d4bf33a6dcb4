//! What messages leave out.

use std::fmt::Write as _;

use guard_proto::{ErrorName, Failure};
use serde::Serialize;

/// A message, what it is called, and what there is to know about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageHelp {
    /// What is typed behind `guard explain-error`, and `code` of an error as JSON.
    pub code: &'static str,
    /// The message as it is printed; `…` stands for what differs.
    pub message: &'static str,
    /// The background, as Markdown.
    pub text: &'static str,
}

const fn message(code: &'static str, message: &'static str, text: &'static str) -> MessageHelp {
    MessageHelp {
        code,
        message,
        text,
    }
}

/// The messages that have a background to explain.
pub const MESSAGES: [MessageHelp; 18] = [
    message(
        "cannot-start",
        "guardd cannot start: …",
        "This call started it. What was enforced still is. `systemctl status guardd` has the rest.",
    ),
    message(
        "no-guardd",
        "cannot reach guardd at …",
        "Live sessions are still guarded. Start guardd, or name another socket with `--socket`.",
    ),
    message(
        "not-roots-socket",
        "will not talk to whoever listens at …",
        "Root must own guardd's socket: any other program could claim to guard. Find out who set `GUARD_SOCKET`; leave the user namespace.",
    ),
    message(
        "other-policy",
        "… has another policy already",
        "A session keeps its policy until its cgroup goes.",
    ),
    message(
        "outside-slice",
        "… belongs in the slice, but its main process … runs elsewhere",
        "Nothing guards it: PAM moved it, or it ran before its unit got `Slice=guard.slice`.",
    ),
    message(
        "no-hole",
        "no hole can be opened there",
        "A `deny` rule or default decides; only a policy change helps.",
    ),
    message(
        "no-policy",
        "there is no policy …",
        "`guard policy list` lists them. Files need a slash or `.toml`: `guard run --policy ./agent.toml -- CMD`.",
    ),
    message(
        "no-address",
        "does not resolve",
        "The name's last addresses stand, or its rules cover nothing.",
    ),
    message(
        "no-cgroup2",
        "… is not in a cgroup v2 hierarchy",
        "`findmnt -t cgroup2`, then `--cgroup-root`.",
    ),
    message(
        "not-roots-cgroup",
        "root does not own …, so what is in it could leave it",
        "`chown -R root:`, or another `--cgroup-root`.",
    ),
    message(
        "map-gone",
        "… is gone, so what is enforced cannot be read or changed",
        "A map's pin was removed. Enforcement is as before. End the sessions, `guardd teardown`, start.",
    ),
    message(
        "no-programs",
        "cannot … the eBPF programs",
        "No root, no capabilities (containers have none), or a kernel without a feature: the message names its release. BTF and LSM are \
         not needed.",
    ),
    message(
        "other-version",
        "the pins in … have layout version …",
        "Another version made them. End the sessions, `guardd teardown`, start.",
    ),
    message(
        "other-cgroup",
        "the pins in … guard another cgroup than …",
        "`--pin-dir` and `--cgroup-root` do not belong together.",
    ),
    message(
        "slice-stays",
        "systemd does not stop guard.slice",
        "Otherwise teardown would leave a slice in which units start unguarded.",
    ),
    message(
        "raw-packets",
        "… has CAP_NET_RAW, and may send packets that nothing judges",
        "Take that from the unit or container: `CapabilityBoundingSet=`, `--cap-drop=NET_RAW`.",
    ),
    message(
        "packets-elsewhere",
        "… has CAP_NET_ADMIN, and may send packets elsewhere once they are judged",
        "The same, with `CAP_NET_ADMIN`.",
    ),
    message(
        "unknown-caller",
        "cannot tell who is asking",
        "The caller ended; or, before Linux 6.5, too many callers: try again in a minute.",
    ),
];

/// What guardd calls an error on the control socket, by which every answer of its that has no message of its own here is known.
#[must_use]
pub const fn named(name: ErrorName) -> MessageHelp {
    match name {
        ErrorName::Refused => message("refused", "Refused", "The caller may not do this."),
        ErrorName::NotFound => message(
            "not-found",
            "NotFound",
            "There is no such session, request, hole or policy.",
        ),
        ErrorName::Invalid => message("invalid", "Invalid", "The call's parameters are wrong."),
        ErrorName::No => message("no", "No", "The policy or a person says no. Status 1."),
        ErrorName::Failed => message("failed", "Failed", "It could not be done."),
    }
}

const NAMES: [ErrorName; 5] = [
    ErrorName::Refused,
    ErrorName::NotFound,
    ErrorName::Invalid,
    ErrorName::No,
    ErrorName::Failed,
];

/// All of them, as lists and pages have them.
pub fn all() -> impl Iterator<Item = MessageHelp> {
    MESSAGES.into_iter().chain(NAMES.into_iter().map(named))
}

/// The one of that code.
#[must_use]
pub fn find(code: &str) -> Option<MessageHelp> {
    let is_it = |one: &MessageHelp| {
        one.code.eq_ignore_ascii_case(code) || one.message.eq_ignore_ascii_case(code)
    };
    all().find(is_it)
}

/// The code of what a person is told, if there is more to say about it.
#[must_use]
pub fn code_of(failure: &Failure) -> Option<&'static str> {
    let told = failure.to_string();
    let found = MESSAGES.iter().find(|one| is_in(one.message, &told));
    found.map(|one| one.code)
}

/// Whether the parts of a message are in a text, one behind the other.
fn is_in(message: &str, text: &str) -> bool {
    let mut rest = text;
    message.split('…').map(str::trim).all(|part| {
        let found = rest.split_once(part);
        rest = found.map_or("", |(_, rest)| rest);
        found.is_some()
    })
}

/// The list of docs/reference/errors.md.
#[must_use]
pub fn page() -> String {
    let mut list = String::new();
    for one in all() {
        let _ = writeln!(list, "- `{}`, “{}”: {}", one.code, one.message, one.text);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(what: &str, why: &str) -> Failure {
        Failure {
            what: what.to_owned(),
            why: why.to_owned(),
            fix: String::new(),
        }
    }

    #[test]
    fn each_code_stands_for_one_message_and_is_found() {
        let mut codes: Vec<_> = all().map(|one| one.code).collect();
        for one in all() {
            assert_eq!(find(one.code), Some(one));
            assert!(!one.text.is_empty() && one.text.ends_with('.'), "{one:?}");
            let typed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(one.code.chars().all(typed), "{}", one.code);
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all().count());
        assert_eq!(find("NotFound").map(|one| one.code), Some("not-found"));
    }

    #[test]
    fn what_is_said_of_a_policy_that_is_not_there_can_be_typed() {
        let text = find("no-policy").unwrap().text;
        for typed in [
            "`guard policy list`",
            "`guard run --policy ./agent.toml -- CMD`",
        ] {
            assert!(text.contains(typed), "{text}");
        }
    }

    #[test]
    fn a_failure_is_known_by_its_message() {
        let code = |what, why| code_of(&failure(what, why));
        assert_eq!(
            code("cannot reach guardd at /x.sock", "nobody listens"),
            Some("no-guardd")
        );
        assert_eq!(
            code("cannot load", "the pins in /x have layout version 7"),
            Some("other-version")
        );
        assert_eq!(
            code("cannot load", "the pins in /x guard another cgroup than /y"),
            Some("other-cgroup")
        );
        assert_eq!(code("layout version", "the pins in"), None);
        assert_eq!(code("cannot approve r1", "there is no request r1"), None);
    }
}
