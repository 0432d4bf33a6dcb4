//! Answers from elsewhere: who may give them, and what became of one.

use std::time::Duration;

use guard_policy::format_duration;
use guard_proto::{
    ApproverShown,
    approvers::{Invited, Presented, Taken},
};
use guard_signed::Question;

use super::page::{GOOD, HEAD, Page, STRONG, WARN};
use super::time::Clock;

/// Everybody, with their keys.
pub(crate) fn list(all: &[ApproverShown], _clock: &Clock) -> Page {
    if all.is_empty() {
        return Page::of("Nobody may answer from elsewhere.");
    }
    let mut page = Page::default();
    for one in all {
        page.styled(STRONG, &one.name).text(format_args!(
            "  answers for {}, policies {}",
            one.answers_for.join(", "),
            one.policies.join(", ")
        ));
        let most = one
            .max_for
            .and_then(|most| Duration::try_from_secs_f64(most).ok());
        if let Some(most) = most {
            page.text(format_args!(", for {} at most", format_duration(most)));
        }
        page.end();
        for key in &one.keys {
            page.styled(HEAD, format_args!("    {:<8} ", key.kind))
                .text(&key.fingerprint);
            if !key.fido {
                page.styled(WARN, "  a program that reaches it can sign with it");
            }
            if key.synced == Some(true) {
                page.text("  synced: it may be on other devices");
            }
            page.end();
        }
    }
    page
}

/// What is gone.
pub(crate) fn removed(all: &[ApproverShown], _clock: &Clock) -> Page {
    let mut page = Page::default();
    for one in all {
        for key in &one.keys {
            page.styled(STRONG, &one.name)
                .line(format_args!("  answers no more with {}", key.fingerprint));
        }
    }
    page
}

/// What to tell whom.
pub(crate) fn invited(one: &Invited, clock: &Clock) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, &one.name)
        .line(format_args!(
            " may present a key {}:",
            clock.until(one.expires_at)
        ))
        .commands(format_args!(
            "guard approver present {} --ssh-key ~/.ssh/id_ed25519_sk.pub",
            one.invitation
        ));
    if !one.links.is_empty() {
        page.line("Or a passkey, on this page:")
            .commands(one.links.join("\n"));
    }
    page.line("Then, with the fingerprint that its owner sees:")
        .commands(format_args!(
            "sudo guard approver accept {} SHA256:…",
            one.name
        ));
    page
}

/// What to tell root.
pub(crate) fn presented(one: &Presented, _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.line(format_args!("The key of {} waits for root:", one.name))
        .commands(format_args!(
            "sudo guard approver accept {} {}",
            one.name, one.fingerprint
        ));
    page
}

/// What is asked, as somebody elsewhere sees it.
pub(crate) fn question(question: &Question) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, &question.request).line(format_args!(
        "  {} of {}, policy {}, on {}",
        question.session, question.user, question.policy, question.machine
    ));
    for line in &question.shows {
        page.shown(format_args!("    {line}"));
    }
    page.field("offered", question.offers.join(", "));
    if !question.shown_whole {
        page.styled(
            WARN,
            "    not all of it is shown: a yes has to be given here",
        )
        .end();
    }
    page.line("Sign it elsewhere:").commands(format_args!(
        "ssh HOST guard question {} --bytes | guard sign | ssh HOST guard answer --signed -",
        question.request
    ));
    page
}

/// What became of an answer.
pub(crate) fn taken(taken: &Taken, _clock: &Clock) -> Page {
    let mut page = Page::default();
    match taken.answer.as_str() {
        "part" => {
            page.styled(WARN, &taken.request).line(format_args!(
                " has {} of {} signatures: another approver has to say yes, too",
                taken.approvals, taken.wanted
            ));
            page
        }
        "no" => {
            page.styled(STRONG, &taken.request)
                .line(format_args!(" denied, as {} has signed", taken.by));
            page
        }
        _ => {
            page.styled(GOOD, &taken.request)
                .line(format_args!(" approved, as {} has signed", taken.by));
            page
        }
    }
}
