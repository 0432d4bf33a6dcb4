//! Replication connections: a person is asked before one begins. Its own commands are not SQL, and are not judged.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::wire::{AskAnswer, TransactionState},
    asking::AskedStatement,
    beside::Beside,
    client::PostgresClient,
    judge::SqlWrite,
    ledger::Parameters,
    meaning::Meaning,
    refusal::Refusal,
    sum::digest,
    unit::Unit,
};

/// The parameter of the start-up packet, and below the values that mean no replication (PostgreSQL's documentation, 55.4).
const PARAMETER: &str = "replication";
const NONE: [&str; 4] = ["false", "off", "no", "0"];
/// The commands of such connections, as they are spelled there. None of them is valid SQL.
const COMMANDS: [&[u8]; 9] = [
    b"ALTER_REPLICATION_SLOT",
    b"BASE_BACKUP",
    b"CREATE_REPLICATION_SLOT",
    b"DROP_REPLICATION_SLOT",
    b"IDENTIFY_SYSTEM",
    b"READ_REPLICATION_SLOT",
    b"START_REPLICATION",
    b"TIMELINE_HISTORY",
    b"UPLOAD_MANIFEST",
];

/// Whether a connection with these parameters replicates.
pub(super) fn is_wanted(parameters: &[(String, String)]) -> bool {
    let wants = |(name, value): &(String, String)| name == PARAMETER && !NONE.contains(&&**value);
    parameters.iter().any(wants)
}

/// Whether a query is a command of such a connection.
pub(super) fn is_command(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    let end = text.iter().position(|byte| !is_part(byte));
    COMMANDS.contains(&&text[..end.unwrap_or(text.len())])
}

/// Such a connection, as a statement for a person.
fn unit() -> Unit {
    let text = Bytes::from_static(b"a replication connection");
    let does =
        "copies all of the server, onto itself if it likes, and makes, changes and drops slots";
    let write = SqlWrite::new("REPLICATION", does)
        .because("a replication connection does not only read")
        .warn("what it does as such a connection is not asked about, until it ends")
        .warn("for a slot a server keeps its log until it is read, or its disk is full");
    let normalised = String::from_utf8_lossy(&text).into_owned();
    Unit {
        normalised,
        write: Some(write),
        ..Unit::unknown(&text, "")
    }
}

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Why the client may not have such a connection; none if it may.
    ///
    /// # Errors
    ///
    /// If it has left, or nothing passes there any more.
    pub(super) async fn may_replicate(&mut self) -> io::Result<Option<Refusal>> {
        let terms = self.terms().await?;
        let unit = unit();
        let Some(write) = unit.write.as_ref().filter(|_| !terms.is_open()) else {
            return Ok(None);
        };
        let statement = AskedStatement {
            login: &self.login,
            unit: &unit,
            write,
            parameters: &Parameters::default(),
            meaning: &Meaning::usual(),
            beside: &Beside::nothing(),
            digest: Some(&digest(&self.login, &[&unit.sum])),
            transaction: TransactionState::Able,
        };
        let answer = tokio::select! {
            answer = statement.ask(self.context, &terms) => answer,
            () = self.from.left() => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        Ok(match answer {
            AskAnswer::Yes => None,
            AskAnswer::No { why, fix, .. } => {
                let why = format!("{}; {why}", write.because);
                self.context.log(statement.entry("refused", &terms, &why));
                Some(Refusal::stopped(&terms, &why, &fix))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_commands_are_known_by_their_first_word() {
        for text in [
            "IDENTIFY_SYSTEM",
            " \n START_REPLICATION 0/1",
            "BASE_BACKUP(x)",
            "BASE_BACKUP;",
        ] {
            assert!(is_command(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "start_replication 0/1",
            "START_REPLICATIONS",
            "START_REPLICATION$",
            "START_REPLICATIONé",
            "/**/ IDENTIFY_SYSTEM",
            "drop table people",
            "SHOW all",
        ] {
            assert!(!is_command(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_connection_replicates_unless_it_says_that_it_does_not() {
        let with = |value: &str| vec![("replication".to_owned(), value.to_owned())];
        for value in ["database", "true", "1", "on", "", "nonsense"] {
            assert!(is_wanted(&with(value)), "{value}");
        }
        for value in NONE {
            assert!(!is_wanted(&with(value)), "{value}");
        }
        assert!(!is_wanted(&[]));
    }
}
