//! What a pressed button does, and who else has answered: calls of guardd, each of which may take its time.

use std::path::Path;

use guard_proto::{Call, HoleTerms, HolesReply, LogRecord, RequestsReply, record::Record};

use super::buttons::{ButtonChoice, YesExtent};
use crate::client::Client;
use crate::render::time::Clock;

/// Where it is looked up who has answered: not older than this, in seconds.
const LATELY: f64 = 120.0;

/// What came of something that was asked of guardd.
#[derive(Debug)]
pub(super) enum CallOutcome {
    /// A button was pressed.
    Answered {
        request: String,
        text: Result<String, String>,
    },
    /// A request is gone that was shown there; perhaps it is known who has answered.
    Gone {
        request: String,
        notification: u32,
        by: Option<String>,
    },
}

/// Answers a request, as the verbs do. What came of it, in words.
///
/// # Errors
///
/// Why it was not answered.
pub(super) fn tell(socket: &Path, request: &str, answer: ButtonChoice) -> Result<String, String> {
    let done = Client::connect(socket).and_then(|mut client| match answer {
        ButtonChoice::Yes { offer, extent } => {
            let terms = HoleTerms {
                seconds: Some(offer.seconds),
                connections: offer.connections,
                ..HoleTerms::default()
            };
            let (prefix, tried) = match extent {
                YesExtent::Asked => (false, None),
                YesExtent::Tried(count) => (false, Some(count)),
                YesExtent::Prefix => (true, None),
            };
            let (id, path, writes) = (request.to_owned(), None, false);
            let opened: HolesReply = client.call(&Call::Approve {
                id,
                path,
                writes,
                prefix,
                tried,
                address: false,
                always: false,
                terms,
            })?;
            let clock = Clock::system();
            let until = opened
                .holes
                .iter()
                .map(|hole| format!("open until {}", clock.at(hole.expires_at)));
            Ok(until
                .chain(opened.warnings.iter().cloned())
                .collect::<Vec<_>>()
                .join("; "))
        }
        ButtonChoice::No => {
            let (id, seconds) = (request.to_owned(), None);
            client.call::<RequestsReply>(&Call::Deny {
                id,
                seconds,
                by: None,
            })?;
            Ok("no, and it is not asked again for 15 min".to_owned())
        }
    });
    done.map_err(|error| match error.failure() {
        Some(failure) => format!("{}: {}\n{}", failure.what, failure.why, failure.fix),
        None => error.to_string(),
    })
}

/// The approver of a request and the answer, from the audit log.
pub(super) fn who_answered(socket: &Path, session: &str, request: &str) -> Option<String> {
    let call = Call::Log {
        follow: false,
        session: Some(session.to_owned()),
        since: Some(LATELY),
    };
    let records = Client::connect(socket)
        .ok()?
        .stream::<LogRecord>(&call)
        .ok()?;
    let records = records.map_while(Result::ok);
    let mut answers = records.filter_map(|record| match record.record() {
        Record::Answered(one) if one.request.is(request) => Some(one),
        _ => None,
    });
    let one = answers.next()?;
    Some(format!("{}, by {}", one.answer.get()?, one.by.get()?))
}
