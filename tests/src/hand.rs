//! `guard-lab hand`: something from outside as a program's standard input.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::stdio::dup2_stdin;
use socket2::{Domain, Socket, Type};

use crate::probe::RING;
use crate::sys::uring::Ring;

/// Makes a `datagram` or `stream` socket or a `ring`, and becomes the rest of the arguments, with that as its input.
///
/// # Errors
///
/// That it cannot be made, or the command not be started.
pub fn hand(mut args: impl Iterator<Item = String>) -> Result<()> {
    let kind = args.next().context("hand what?")?;
    let mut command = Command::new(args.next().context("hand it to whom?")?);
    command.args(args);
    let socket = |kind| Socket::new(Domain::IPV4, kind, None);
    match kind.as_str() {
        "datagram" => dup2_stdin(socket(Type::DGRAM)?)?,
        "stream" => dup2_stdin(socket(Type::STREAM)?)?,
        "ring" => {
            let ring = Ring::new()?;
            command.env(RING, ring.tell());
            dup2_stdin(&ring)?;
            // What is mapped here ends with this program; the descriptor lives on.
            return Err(command.exec()).context("cannot start the command");
        }
        _ => bail!("datagram, stream or ring, not {kind}"),
    }
    Err(command.exec()).context("cannot start the command")
}
