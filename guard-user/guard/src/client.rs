//! Talks to guardd: a blocking Varlink client over one Unix stream socket.
//!
//! Each side's frames are JSON objects, ended by a NUL byte. The client believes only a socket that root
//! listens on: another user's would learn a policy from it, and could tell it anything; one of its own user, whom an agent
//! may be, could say of a command that it is guarded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard_proto::{
    Call,
    varlink::{self, Reply},
};
use guard_sys::{pidfd::Credentials, user_namespace};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::failure::{cannot_connect, error_answer, failed, io_reason, not_understood};
use self::frame::check_length;
use self::peer::TrustedPeer;
use super::error::CliError;

mod failure;
mod frame;
mod peer;

/// An answer is at most this long: lists are long, and come from a daemon that is trusted with more.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// A call that is not a stream is answered within this time. Names may have to be resolved for it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to guardd.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    trust: TrustedPeer,
    timeout: Duration,
}

impl Client {
    /// Connects to the guardd that listens at `socket`.
    ///
    /// # Errors
    ///
    /// [`CliError::NoDaemon`] where none listens; [`CliError::Local`] where the socket cannot be used or
    /// belongs to somebody who is not to be believed.
    pub(crate) fn connect(socket: &Path) -> Result<Self, CliError> {
        // Root of a user namespace sees root outside as everybody there does.
        let trust = match user_namespace::root_is() {
            Some(_) => TrustedPeer::Overflow,
            None => TrustedPeer::Root,
        };
        Self::connect_to(socket, trust)
    }

    /// The same for a process inside a session, which may be in a user namespace of its own.
    ///
    /// Root has no uid in such a namespace: the kernel shows the overflow uid for it, as for every stranger.
    /// What is said inside gives away no more than what the agent asks for, so that is good enough here, as is the own user.
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub(crate) fn connect_inside(socket: &Path) -> Result<Self, CliError> {
        Self::connect_to(socket, TrustedPeer::Inside)
    }

    fn connect_to(socket: &Path, trust: TrustedPeer) -> Result<Self, CliError> {
        let stream = connect(socket, trust)?;
        Ok(Self::over(stream, socket, trust))
    }

    fn over(stream: UnixStream, socket: &Path, trust: TrustedPeer) -> Self {
        Self {
            stream: BufReader::new(stream),
            socket: socket.to_owned(),
            trust,
            timeout: TIMEOUT,
        }
    }

    /// The same, with answers that have to come within this time.
    pub(crate) fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Makes a call that has one answer.
    ///
    /// # Errors
    ///
    /// guardd's own, as [`CliError::Answer`]; [`CliError::Local`] where it is not understood.
    pub(crate) fn call<Reply: DeserializeOwned>(&mut self, call: &Call) -> Result<Reply, CliError> {
        self.send(call, false, Some(self.timeout))?;
        let answer = self
            .answer()?
            .ok_or_else(|| self.broken("it closed the connection without an answer"))?;
        self.reply(answer.parameters)
    }

    /// Makes a call whose answers go on until guardd ends them.
    ///
    /// # Errors
    ///
    /// [`CliError::Local`] where the call cannot be sent; the answers bring errors of their own.
    pub(crate) fn stream<Reply: DeserializeOwned>(
        mut self,
        call: &Call,
    ) -> Result<ReplyStream<Reply>, CliError> {
        self.send(call, true, None)?;
        Ok(ReplyStream {
            client: self,
            ended: false,
            reply: PhantomData,
        })
    }

    /// Sends a call, and waits for the first of the answer: once more where nobody has read it, since guardd stopped
    /// or had only begun to listen.
    fn send(&mut self, call: &Call, more: bool, timeout: Option<Duration>) -> Result<(), CliError> {
        let frame = varlink::call(call, more).map_err(|error| self.broken(&error.to_string()))?;
        check_length(&frame)?;
        let answered = match self.ask(&frame, timeout) {
            Err(error) if is_unread(&error) => {
                self.stream = BufReader::new(connect(&self.socket, self.trust)?);
                self.ask(&frame, timeout)
            }
            answered => answered,
        };
        answered.map_err(|error| self.broken(&io_reason(&error)))
    }

    fn ask(&mut self, frame: &[u8], timeout: Option<Duration>) -> io::Result<()> {
        let write_within = self.timeout;
        let stream = self.stream.get_mut();
        // A guardd that does not read has to be given up on too, even by a stream.
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(Some(write_within))?;
        match stream.write_all(frame) {
            // A guardd that turns callers away has said why before it closes.
            Err(error) if is_unread(&error) => match self.wait() {
                Ok(true) => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
            Ok(()) => self.wait().map(drop),
        }
    }

    /// Waits for the first of an answer. False where there is none. A signal ends a read that has a timeout, whatever its handler
    /// wants (signal(7)).
    fn wait(&mut self) -> io::Result<bool> {
        loop {
            match self.stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map(|read| !read.is_empty()),
            }
        }
    }

    /// The next answer; none where guardd has closed the connection.
    fn answer(&mut self) -> Result<Option<Reply>, CliError> {
        let mut frame = Vec::new();
        let length = (&mut self.stream)
            .take(MAX_ANSWER)
            .read_until(0, &mut frame)
            .map_err(|error| self.broken(&io_reason(&error)))?;
        match frame.pop() {
            None => return Ok(None),
            Some(0) => {}
            Some(_) if length as u64 == MAX_ANSWER => {
                return Err(self.broken("its answer does not end"));
            }
            Some(_) => {
                return Err(self.broken("it closed the connection in the middle of an answer"));
            }
        }
        let answer: Reply =
            serde_json::from_slice(&frame).map_err(|error| not_understood(&self.socket, &error))?;
        match answer.error {
            Some(name) => Err(error_answer(&name, answer.parameters)),
            None => Ok(Some(answer)),
        }
    }

    fn reply<Reply: DeserializeOwned>(&self, parameters: Value) -> Result<Reply, CliError> {
        let parameters = if parameters.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            parameters
        };
        serde_json::from_value(parameters).map_err(|error| not_understood(&self.socket, &error))
    }

    fn broken(&self, why: &str) -> CliError {
        failed(&self.socket, why.to_owned())
    }
}

/// Connects, and looks who listens there.
fn connect(socket: &Path, trust: TrustedPeer) -> Result<UnixStream, CliError> {
    let stream = loop {
        match UnixStream::connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            connected => break connected.map_err(|error| cannot_connect(socket, &error))?,
        }
    };
    let peer = Credentials::of(&stream).map_err(|error| {
        failed(
            socket,
            format!("the kernel does not say who listens: {error}"),
        )
    })?;
    trust.check(socket, peer.uid)?;
    Ok(stream)
}

/// Whether the connection was closed before the call was read to its end, so that nothing has come of it: unix(7)
/// reports that as a reset, and an end after it as an end.
fn is_unread(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// The answers to one call.
#[derive(Debug)]
pub(crate) struct ReplyStream<Reply> {
    client: Client,
    ended: bool,
    reply: PhantomData<Reply>,
}

impl<Reply: DeserializeOwned> Iterator for ReplyStream<Reply> {
    type Item = Result<Reply, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let answer = match self.client.answer() {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                self.ended = true;
                return Some(Err(self
                    .client
                    .broken("it ended before all was said, and may have stopped")));
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(error));
            }
        };
        self.ended = !answer.continues;
        // A stream may end with an answer that only says so.
        if self.ended
            && answer
                .parameters
                .as_object()
                .is_none_or(serde_json::Map::is_empty)
        {
            return None;
        }
        Some(self.client.reply(answer.parameters))
    }
}

#[cfg(test)]
mod tests;
