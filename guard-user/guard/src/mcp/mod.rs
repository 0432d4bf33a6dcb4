//! `guard mcp`: the verbs for agents as tools of the Model Context Protocol, on standard input and output.
//!
//! It is a client of guardd's like `guard why` and `guard request`, and may do what those may: an agent cannot widen
//! anything by it. Everything that it reads and says is bounded.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use guard_proto::{Failure, varlink::MAX_FRAME};
use rmcp::ServiceExt as _;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::io::stdio_pipes;

use self::server::Server;
use super::error::{CliError, Exit};

mod server;
mod tools;

/// Calls that wait for guardd at once, and what reads and writes.
const THREADS: usize = 10;

/// `guard mcp`: serves until the agent closes standard input.
///
/// # Errors
///
/// Where a person has typed it, and where it cannot start.
pub(crate) fn mcp(socket: PathBuf) -> Result<Exit, CliError> {
    if io::stdin().is_terminal() {
        return Err(CliError::Local(for_agents()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .build()
        .map_err(|error| cannot(&error.to_string()))?;
    let served = runtime.block_on(serve(socket));
    // A call that was given up still waits for guardd.
    runtime.shutdown_background();
    served.map(|()| Exit::DONE)
}

async fn serve(socket: PathBuf) -> Result<(), CliError> {
    let (read, write) = stdio_pipes();
    let transport = AsyncRwTransport::new_server(read, write).with_max_line_length(MAX_FRAME);
    let serving = match Server::new(socket).serve(transport).await {
        Ok(serving) => serving,
        // An agent that leaves before it has begun has asked for nothing.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(cannot(&error.to_string())),
    };
    serving
        .waiting()
        .await
        .map_err(|error| cannot(&error.to_string()))?;
    Ok(())
}

fn for_agents() -> Failure {
    Failure {
        what: "guard mcp is not for a terminal".into(),
        why: "an agent starts it, and speaks the Model Context Protocol with it".into(),
        fix: "enter it into the agent's settings:\nguard init claude-code\nor ask yourself, inside a session:\nguard why"
            .into(),
    }
}

fn cannot(why: &str) -> CliError {
    CliError::Local(Failure {
        what: "cannot serve the agent".into(),
        why: why.to_owned(),
        fix: "see what the agent says of it, or ask without it:\nguard why".into(),
    })
}
