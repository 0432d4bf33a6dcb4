//! What runs under the guard, and how to end it.

use guard_proto::{Call, ErrorName, SessionsReply, Status};

use super::args::StopArgs;
use super::client::Client;
use super::error::{CliError, Exit, read_or_not};
use super::ids::not_an_id;
use super::policy::apply::note;
use super::render::seen::ListScope;
use super::render::{self, Output};

/// `guard sessions`
pub(crate) fn sessions(mut client: Client, output: Output) -> Result<Exit, CliError> {
    let answer: SessionsReply = client.call(&Call::Sessions {})?;
    is_carried(answer.carried, output);
    let seen = seen(&mut client, answer.sessions.len(), |all| all.sessions);
    output.print(answer.sessions.as_slice(), |sessions, clock| {
        let mut page = match sessions {
            [] => render::sessions::none(seen),
            sessions => render::sessions::list(sessions, clock),
        };
        note(&mut page, sessions);
        page
    })?;
    Ok(Exit::DONE)
}

/// What a list of so many has of all there is. Whoever sees none may believe that there are none.
pub(crate) fn seen(client: &mut Client, listed: usize, count: fn(&Status) -> usize) -> ListScope {
    ListScope::here(|| {
        let status = (listed == 0).then(|| client.call::<Status>(&Call::Status {}));
        // A courier does not learn it.
        let status = status.and_then(Result::ok);
        status.map_or(0, |status| count(&status))
    })
}

/// Tells a courier why it may miss something.
pub(crate) fn is_carried(carried: bool, output: Output) {
    if carried {
        output.note(
            "this user is a courier (guardd.toml, [answers]), and is told of no others than those for whom somebody is enrolled",
        );
    }
}

/// `guard stop`
pub(crate) fn stop(mut client: Client, args: StopArgs, output: Output) -> Result<Exit, CliError> {
    let (mut stopped, mut failed) = (Vec::new(), None);
    for session in args.sessions {
        let call = Call::Stop {
            session: session.clone(),
            refused: None,
        };
        match client.call::<SessionsReply>(&call) {
            Ok(answer) => stopped.extend(answer.sessions),
            // A name may look like any id, so guardd is asked first.
            Err(CliError::Answer {
                name: ErrorName::NotFound,
                failure: unknown,
            }) => {
                let failure = not_an_id("stop", 's', &session).unwrap_or(unknown);
                failed = failed.or(Some(CliError::Local(failure)));
            }
            // The others are ended all the same; an error of one is that of all.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if !stopped.is_empty() || failed.is_none() {
        read_or_not(output.print_things(&stopped, render::sessions::stopped))?;
    }
    failed.map_or(Ok(Exit::DONE), Err)
}
