//! Asks an approver about a statement.

use std::fmt::Write as _;

use guard_proto::HttpRequest;

use super::{
    super::{
        client::ConnectionContext,
        wire::{
            AskAnswer, Entry, HttpAttempt, MAX_PATH, MAX_PREVIEW, TargetTerms, TransactionState,
        },
    },
    beside::Beside,
    judge::SqlWrite,
    ledger::Parameters,
    meaning::Meaning,
    unit::Unit,
};

/// A user and a database, and at which of the servers that share an address.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) database: String,
    /// The name shown in TLS, where rules for names count: servers that share an address may go by it.
    pub(super) server: Option<String>,
}

impl Login {
    /// As in a URL, without a host where the client has named none.
    pub(super) fn at(&self) -> String {
        let (user, database) = (escaped(&self.user), escaped(&self.database));
        match &self.server {
            Some(server) => format!("{user}@{}/{database}", escaped(server)),
            None => format!("{user}@{database}"),
        }
    }
}

/// A name that an agent has chosen, escaped as in a URL, so that nothing of it looks like another part.
pub(super) fn escaped(name: &str) -> String {
    let mut shown = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b',' | b'$' => {
                shown.push(char::from(byte));
            }
            _ => {
                let _ = write!(shown, "%{byte:02X}");
            }
        }
    }
    shown
}

/// Returns what a person has to know of a transaction before the answer.
fn of_transaction(state: TransactionState) -> Option<&'static str> {
    match state {
        TransactionState::Able => None,
        TransactionState::HasRead => Some(
            "its transaction has already read: after a yes its program has to do all of it again",
        ),
        TransactionState::HasFailed => {
            Some("its transaction has failed: after a yes its program has to do all of it again")
        }
    }
}

/// A statement to be asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedStatement<'a> {
    pub(super) login: &'a Login,
    pub(super) unit: &'a Unit,
    pub(super) write: &'a SqlWrite,
    pub(super) parameters: &'a Parameters,
    /// Its meaning beyond its text.
    pub(super) meaning: &'a Meaning,
    /// The other statements of its batch.
    pub(super) beside: &'a Beside,
    /// Its digest, if it can have one.
    pub(super) digest: Option<&'a str>,
    pub(super) transaction: TransactionState,
}

/// What an approver is shown of a statement.
struct StatementPreview {
    text: String,
    /// How many bytes of the statement are in it.
    bytes: usize,
    /// Whether the other statements of its batch are complete.
    is_all_beside: bool,
}

impl AskedStatement<'_> {
    /// Asks an approver.
    pub(super) async fn ask(&self, context: &ConnectionContext, terms: &TargetTerms) -> AskAnswer {
        context
            .link
            .ask(context.target, self.asked(context, terms))
            .answer()
            .await
    }

    fn asked(&self, context: &ConnectionContext, terms: &TargetTerms) -> HttpAttempt {
        let rule = terms.rules().first().and_then(|rules| rules.name.clone());
        let preview = self.preview();
        let mut warnings = self.beside.warnings(preview.is_all_beside);
        warnings.extend_from_slice(&self.write.warnings);
        if preview.bytes < self.unit.bytes {
            let told = format!(
                "only the first {} of {} bytes are shown",
                preview.bytes, self.unit.bytes
            );
            warnings.insert(0, told);
        }
        if let Some(told) = of_transaction(self.transaction) {
            warnings.insert(0, told.to_owned());
        }
        if self.parameters.is_cut {
            warnings.insert(0, HttpRequest::CUT_PARAMETERS.to_owned());
        }
        HttpAttempt {
            tgid: context.tgid,
            method: self.write.command.to_owned(),
            scheme: HttpRequest::POSTGRES.to_owned(),
            host: Some(self.meaning.at(self.login)),
            path: self.path(),
            bytes: u64::try_from(self.unit.bytes).ok(),
            body_preview: Some(preview.text),
            body_form: None,
            headers: Vec::new(),
            plain: self.is_plain(),
            definition: self.write.is_definition,
            digest: self.digest.map(str::to_owned),
            matter: None,
            rule: rule.unwrap_or_default(),
            kind: self.write.kind(),
            warnings,
            transaction: self.transaction,
        }
    }

    /// Whether the path shows all of the text but for constants, and the text has one meaning.
    fn is_plain(&self) -> bool {
        let text = &self.unit.normalised;
        let is_cut = text.ends_with('…') || text.len() > MAX_PATH;
        // In quotes, the number of spaces is part of a name, and some spaces are none to a server.
        let is_said = !text.is_empty() && !is_cut && self.path() == *text;
        is_said && self.meaning.is_known() && self.write.has_values && self.beside.is_plain()
    }

    /// The text, followed by its parameters, for which there is always room, and the other statements of its batch, for which
    /// there is half of the remaining room.
    fn preview(&self) -> StatementPreview {
        let parameters = match &*self.parameters.shown {
            "" => String::new(),
            parameters => format!(" -- with what the agent has sent: {parameters}"),
        };
        let text = String::from_utf8_lossy(&self.unit.text);
        let room = MAX_PREVIEW.saturating_sub(parameters.len() + "…".len());
        let beside = self.beside.shown(room / 2);
        let room = room - beside.text.len();
        let cut = &text[..text.floor_char_boundary(room)];
        let more = if cut.len() < text.len() { "…" } else { "" };
        StatementPreview {
            text: format!("{cut}{more}{parameters}{}", beside.text),
            bytes: cut.len(),
            is_all_beside: beside.is_whole,
        }
    }

    /// In place of a URL's path: the text without its constants, which is what the audit log keeps.
    fn path(&self) -> String {
        let text = match self.unit.normalised.as_str() {
            "" => "(not read)",
            text => text,
        };
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text[..text.floor_char_boundary(MAX_PATH)].to_owned()
    }

    /// For the audit log.
    pub(super) fn entry(&self, outcome: &str, terms: &TargetTerms, why: &str) -> Entry {
        Entry {
            method: Some(self.write.command.to_owned()),
            path: Some(self.path()),
            host: Some(self.meaning.at(self.login)),
            rule: terms.rules().first().and_then(|rules| rules.name.clone()),
            why: Some(why.to_owned()),
            sql: true,
            ..Entry::of(outcome)
        }
    }
}
