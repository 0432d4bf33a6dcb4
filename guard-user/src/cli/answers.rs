//! What people answer: requests, and the holes that come of them.

use std::collections::HashSet;

use super::args::{ApproveArgs, CloseArgs, DenyArgs, OpenArgs, PendingArgs, TermsArgs};
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};
use crate::proto::{Call, Holes, Request, Requests, Terms};

/// `guard pending`
pub(crate) fn pending(
    mut client: Client,
    args: &PendingArgs,
    output: Output,
) -> Result<Exit, CliError> {
    if args.follow {
        super::keep_to_itself();
        return follow(client, output);
    }
    let answer: Requests = client.call(&Call::Pending {})?;
    output.print(answer.requests.as_slice(), render::requests::list)?;
    Ok(Exit::DONE)
}

/// Prints each request when it comes up: a script may answer what it reads. Once more where it has become one about many
/// destinations, which is another question.
fn follow(client: Client, output: Output) -> Result<Exit, CliError> {
    let mut known = HashSet::new();
    for answer in client.stream::<Requests>(&Call::Pending {})? {
        let requests = answer?.requests;
        let key = |request: &Request| (request.id.clone(), request.size());
        let current: HashSet<_> = requests.iter().map(key).collect();
        for request in requests
            .iter()
            .filter(|request| !known.contains(&key(request)))
        {
            output.print(request, render::requests::one)?;
        }
        known = current;
    }
    Ok(Exit::DONE)
}

/// `guard approve`
pub(crate) fn approve(
    mut client: Client,
    args: ApproveArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let call = Call::Approve {
        id: args.id,
        path: args.path,
        writes: args.writes,
        prefix: args.prefix,
        tried: args.tried,
        terms: args.terms.into(),
    };
    opened(&client.call(&call)?, output)
}

/// `guard deny`
pub(crate) fn deny(mut client: Client, args: DenyArgs, output: Output) -> Result<Exit, CliError> {
    let seconds = args.duration.map(|duration| duration.as_secs_f64());
    let answer: Requests = client.call(&Call::Deny {
        id: args.id,
        seconds,
    })?;
    output.print_things(&answer.requests, render::requests::denied)?;
    Ok(Exit::DONE)
}

/// `guard open`
pub(crate) fn open(mut client: Client, args: OpenArgs, output: Output) -> Result<Exit, CliError> {
    let call = Call::Open {
        destination: args.to.destination,
        ports: args.to.ports,
        session: args.session,
        reason: args.reason,
        terms: args.terms.into(),
    };
    opened(&client.call(&call)?, output)
}

fn opened(answer: &Holes, output: Output) -> Result<Exit, CliError> {
    output.warnings(&answer.warnings);
    output.print_things(&answer.holes, render::holes::opened)?;
    Ok(Exit::DONE)
}

/// `guard holes`
pub(crate) fn holes(mut client: Client, output: Output) -> Result<Exit, CliError> {
    let answer: Holes = client.call(&Call::Holes {})?;
    output.warnings(&answer.warnings);
    output.print(answer.holes.as_slice(), render::holes::list)?;
    Ok(Exit::DONE)
}

/// `guard close`
pub(crate) fn close(mut client: Client, args: CloseArgs, output: Output) -> Result<Exit, CliError> {
    let all = args.all;
    let answer: Holes = client.call(&Call::Close { ids: args.ids, all })?;
    output.warnings(&answer.warnings);
    if all {
        output.print(answer.holes.as_slice(), render::holes::all_closed)?;
    } else {
        output.print_things(&answer.holes, render::holes::closed)?;
    }
    Ok(Exit::DONE)
}

impl From<TermsArgs> for Terms {
    fn from(args: TermsArgs) -> Self {
        Self {
            seconds: args.duration.map(|duration| duration.as_secs_f64()),
            connections: args.connections,
            requests: args.requests,
            bytes: args.bytes,
            read_only: args.read_only,
        }
    }
}
