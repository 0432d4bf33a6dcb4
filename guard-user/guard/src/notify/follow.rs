//! The requests that wait, from whichever guardd is there.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use guard_proto::{Call, ErrorName, LogKind, LogRecord, Request, RequestsReply};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::client::Client;
use crate::error::CliError;

/// After a guardd that has gone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// After many that have not come.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What came into reach so many seconds before is news.
const LATELY: f64 = 1.0;
/// What is not taken at once waits here; guardd waits behind it.
const WAITING: usize = 4;

/// What guardd says.
#[derive(Debug)]
pub(super) enum GuarddNews {
    /// All requests that wait now.
    Waiting(Vec<Request>),
    /// Something that looks like production has come into reach: its record.
    Appeared(Box<LogRecord>),
    /// The connection to guardd is gone, and why; it is tried again.
    Lost(String),
    /// It refuses, and would again.
    Refused(CliError),
}

/// Follows the guardd at `socket` and those that come after it. The client of it is a blocking one.
pub(super) fn start(socket: PathBuf) -> Receiver<GuarddNews> {
    let (news, received) = channel(WAITING);
    let (tell, at) = (news.clone(), socket.clone());
    thread::spawn(move || {
        while places(&at, &tell).is_ok() && !tell.is_closed() {
            thread::sleep(SHORTEST_PAUSE);
        }
    });
    thread::spawn(move || {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match until_lost(&socket, &news) {
                Ok(told) => {
                    if told {
                        pause = SHORTEST_PAUSE;
                    }
                }
                Err(Stop) => return,
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
    received
}

/// Follows what comes into reach. That guardd is gone is what the stream of requests tells.
fn places(socket: &Path, news: &Sender<GuarddNews>) -> Result<(), Stop> {
    let call = Call::Log {
        follow: true,
        session: None,
        since: Some(LATELY),
    };
    let records = Client::connect(socket).and_then(|client| client.stream::<LogRecord>(&call));
    for record in records.into_iter().flatten().map_while(Result::ok) {
        if record.kind == LogKind::Appeared {
            send(news, GuarddNews::Appeared(Box::new(record)))?;
        }
    }
    Ok(())
}

/// The notifier is gone, or the stream has ended.
struct Stop;

/// Follows one guardd to its end. Whether anything came of it.
fn until_lost(socket: &Path, news: &Sender<GuarddNews>) -> Result<bool, Stop> {
    let mut told = false;
    let answers = Client::connect(socket)
        .and_then(|client| client.stream::<RequestsReply>(&Call::Pending {}));
    let error = match answers {
        Ok(mut answers) => loop {
            match answers.next() {
                Some(Ok(answer)) => {
                    told = true;
                    send(news, GuarddNews::Waiting(answer.requests))?;
                }
                Some(Err(error)) => break error,
                None => return Ok(told),
            }
        },
        Err(error) => error,
    };
    if let CliError::Answer {
        name: ErrorName::Refused | ErrorName::Invalid,
        ..
    } = error
    {
        send(news, GuarddNews::Refused(error))?;
        return Err(Stop);
    }
    send(news, GuarddNews::Lost(error.to_string()))?;
    Ok(told)
}

fn send(news: &Sender<GuarddNews>, one: GuarddNews) -> Result<(), Stop> {
    news.blocking_send(one).map_err(|_| Stop)
}
