//! Who may decide, and for whom.

use guard_proto::{
    self as proto,
    decisions::{Dismissal, TrustedFile},
};
use jiff::Timestamp;

use super::PRODUCTION;
use crate::{
    control::{auth::Approver, failure::CallError},
    state::State,
};

/// Characters of a host, and of a file's name.
const MAX_TEXT: usize = 256;
/// What a place may look like.
const LABELS: [&str; 2] = [PRODUCTION, "maybe"];

impl State {
    /// What the caller has decided, or for root another user.
    ///
    /// # Errors
    ///
    /// `Refused` for another user's.
    pub fn decided_by(
        &self,
        who: Approver,
        uid: Option<u32>,
    ) -> Result<proto::decisions::Decisions, CallError> {
        Ok(self.decisions.of(whose(who, uid)?))
    }

    /// Keeps that a place is not what it looks like to the caller, or is after all.
    ///
    /// # Errors
    ///
    /// That it is none, or it cannot be kept.
    pub fn dismiss(
        &mut self,
        who: Approver,
        (host, port): (String, u16),
        label: String,
        withdraw: bool,
    ) -> Result<proto::decisions::Decisions, CallError> {
        if withdraw {
            let place = (&*host, port, &*label);
            return self.decisions.dismiss_no_more(who.uid(), place);
        }
        let is_place = (1..=MAX_TEXT).contains(&host.len()) && host.is_ascii();
        if !is_place || !LABELS.contains(&label.as_str()) {
            return Err(CallError::invalid(
                "nothing was dismissed",
                "it is no place that looks like production, or may be",
                "guard discover, and the number of a place: guard discover --dismiss N",
            ));
        }
        let new = Dismissal {
            host,
            port,
            label,
            at: Timestamp::now(),
            by: self.machine.user(who.uid()),
        };
        self.decisions.dismiss(who.uid(), new)
    }

    /// Keeps that a project's policy may widen a policy, or that it may widen none any more.
    ///
    /// # Errors
    ///
    /// `Refused` for another user's; `Invalid` where it has no hashes; or it cannot be kept.
    pub fn trust(
        &mut self,
        who: Approver,
        uid: Option<u32>,
        file: TrustedFile,
        withdraw: bool,
    ) -> Result<proto::decisions::Decisions, CallError> {
        let uid = whose(who, uid)?;
        if withdraw {
            return self.decisions.withdraw(uid, &file.sha256);
        }
        if ![&file.sha256, &file.policy]
            .into_iter()
            .all(|hash| is_hash(hash))
        {
            return Err(CallError::invalid(
                "nothing is trusted",
                "a file is trusted by the SHA-256 of its bytes, in hexadecimal",
                "guard trust",
            ));
        }
        if self.config.approve.polkit && !who.is_root() {
            return Err(CallError::refused(
                "nothing is trusted",
                "polkit is to be asked before anything opens, and is not asked about a project's policy",
                "take out what widens, or write it into a policy of your own:\nsudo guard policy edit default",
            ));
        }
        let file = TrustedFile {
            file: file.file.chars().take(MAX_TEXT).collect(),
            ..file
        };
        self.decisions.trust(uid, file)
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
}

/// Whose decisions are meant.
fn whose(who: Approver, uid: Option<u32>) -> Result<u32, CallError> {
    match uid {
        Some(uid) if uid != who.uid() && !who.is_root() => Err(CallError::refused(
            format!("you do not decide for uid {uid}"),
            "each user decides for themselves",
            "leave it to that user",
        )),
        uid => Ok(uid.unwrap_or(who.uid())),
    }
}
