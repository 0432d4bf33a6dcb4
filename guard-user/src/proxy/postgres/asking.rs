//! A person is asked about a statement.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        client::Way,
        wire::{Answer, Asked, Entry, MAX_PATH, MAX_PREVIEW, Terms},
    },
    judge::Write,
    unit::Unit,
};
use crate::proto::HttpRequest;

/// Who speaks with which database.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) database: String,
}

impl Login {
    /// As in a URL, without the host.
    pub(super) fn at(&self) -> String {
        format!("{}@{}", self.user, self.database)
    }
}

/// A statement to be asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement<'a> {
    pub(super) login: &'a Login,
    pub(super) unit: &'a Unit,
    pub(super) write: &'a Write,
    /// As a person is shown them; empty where there are none.
    pub(super) parameters: &'a str,
    /// Those, and all of the text.
    pub(super) digest: &'a str,
}

impl Statement<'_> {
    /// Asks a person.
    pub(super) async fn ask(&self, way: &Way, terms: &Terms) -> Answer {
        way.link
            .ask(way.target, self.asked(way, terms))
            .answer()
            .await
    }

    fn asked(&self, way: &Way, terms: &Terms) -> Asked {
        let rule = terms.rules.first().and_then(|rules| rules.name.clone());
        Asked {
            tgid: way.tgid,
            method: self.write.command.to_owned(),
            scheme: HttpRequest::POSTGRES.to_owned(),
            host: Some(self.login.at()),
            path: self.path(),
            bytes: u64::try_from(self.unit.text.len()).ok(),
            body_preview: Some(self.preview()),
            plain: !self.unit.normalised.is_empty(),
            digest: Some(self.digest.to_owned()),
            rule: rule.unwrap_or_default(),
            kind: self.write.kind.clone(),
            warnings: self.write.warnings.clone(),
        }
    }

    /// The text, and behind it its parameters, for which there is always room.
    fn preview(&self) -> String {
        let parameters = match self.parameters {
            "" => String::new(),
            parameters => format!(" -- with what the agent has sent: {parameters}"),
        };
        let text = String::from_utf8_lossy(&self.unit.text);
        let room = MAX_PREVIEW.saturating_sub(parameters.len() + "…".len());
        let cut = &text[..text.floor_char_boundary(room)];
        let more = if cut.len() < text.len() { "…" } else { "" };
        format!("{cut}{more}{parameters}")
    }

    /// What stands in the place of a URL's path: the text without its constants, which is what the audit trail keeps.
    fn path(&self) -> String {
        let text = match self.unit.normalised.as_str() {
            "" => "(not read)",
            text => text,
        };
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text[..text.floor_char_boundary(MAX_PATH)].to_owned()
    }

    /// For the audit trail.
    pub(super) fn entry(&self, outcome: &str, terms: &Terms, why: &str) -> Entry {
        Entry {
            method: Some(self.write.command.to_owned()),
            path: Some(self.path()),
            host: Some(self.login.at()),
            rule: terms.rules.first().and_then(|rules| rules.name.clone()),
            why: Some(why.to_owned()),
            outcome: outcome.to_owned(),
            status: None,
        }
    }
}

/// What a statement is known by again: who sends it where, and every byte of it.
pub(super) fn digest(login: &Login, parts: &[&Bytes]) -> String {
    let mut sum = Sha256::new();
    let mut add = |part: &[u8]| {
        sum.update(part.len().to_be_bytes());
        sum.update(part);
    };
    add(login.user.as_bytes());
    add(login.database.as_bytes());
    for part in parts {
        add(part);
    }
    let mut text = String::new();
    for byte in sum.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
