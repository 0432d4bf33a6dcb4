//! A terminal's bell, where there is no desktop.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::PathBuf;

use guard_proto::Request;

use super::follow::{self, GuarddNews};
use super::say;
use crate::error::{CliError, Exit};
use crate::render::{self, Output};

/// Rings once for each new request, and for one that has become one about many destinations, and prints it with how to
/// answer.
///
/// # Errors
///
/// guardd's refusal, and where nobody reads the output.
pub(super) fn ring(socket: PathBuf, output: Output) -> Result<Exit, CliError> {
    crate::keep_to_itself();
    let mut news = follow::start(socket);
    let (mut known, mut is_lost) = (HashSet::new(), false);
    while let Some(one) = news.blocking_recv() {
        match one {
            GuarddNews::Waiting(requests) => {
                if std::mem::take(&mut is_lost) {
                    say("guardd is back");
                }
                // An agent may say why it asks once the request is there.
                let key = |request: &Request| {
                    let note = request.note.clone();
                    (request.id.clone(), request.size(), note)
                };
                let now: HashSet<_> = requests.iter().map(key).collect();
                for request in requests
                    .iter()
                    .filter(|request| !known.contains(&key(request)))
                {
                    write!(std::io::stderr(), "\x07").map_err(|error| CliError::output(&error))?;
                    output.print(request, render::requests::one)?;
                }
                known = now;
            }
            GuarddNews::Appeared(record) => {
                write!(std::io::stderr(), "\x07").map_err(|error| CliError::output(&error))?;
                output.print(&*record, render::log::line)?;
            }
            GuarddNews::Lost(why) => {
                if !std::mem::replace(&mut is_lost, true) {
                    say(&format!("waits for guardd: {why}"));
                }
            }
            GuarddNews::Refused(error) => return Err(error),
        }
    }
    Ok(Exit::DONE)
}
