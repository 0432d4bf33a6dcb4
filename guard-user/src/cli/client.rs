//! Talks to guardd: a blocking Varlink client over one Unix stream socket.
//!
//! Each side's frames are JSON objects, ended by a NUL byte. The client believes only a socket that root or
//! its own user listens on: another user's would learn a policy from it, and could tell it anything.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Uid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CliError;
use crate::proto::{Call, ErrorName, Failure, INTERFACE, MAX_FRAME, MAX_POLICY_FRAME};

/// An answer is at most this long: lists are long, and come from a daemon that is trusted with more.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// A call that is not a stream is answered within this time. Names may have to be resolved for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to guardd.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

/// One frame from guardd.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    error: Option<String>,
    #[serde(default)]
    parameters: Value,
    #[serde(default)]
    continues: bool,
}

impl Client {
    /// Connects to the guardd that listens at `socket`.
    ///
    /// # Errors
    ///
    /// [`CliError::NoDaemon`] where none listens; [`CliError::Local`] where the socket cannot be used or
    /// belongs to somebody who is not to be believed.
    pub(crate) fn connect(socket: &Path) -> Result<Self, CliError> {
        Self::connect_to(socket, Trust::Strict)
    }

    /// The same for a process inside a session, which may be in a user namespace of its own.
    ///
    /// Root has no uid in such a namespace: the kernel shows the overflow uid for it, as for every stranger.
    /// What is said inside gives away no more than what the agent asks for, so that is good enough here.
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub(crate) fn connect_inside(socket: &Path) -> Result<Self, CliError> {
        Self::connect_to(socket, Trust::Overflow)
    }

    fn connect_to(socket: &Path, trust: Trust) -> Result<Self, CliError> {
        let stream = UnixStream::connect(socket).map_err(|error| cannot_connect(socket, &error))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|error| {
            failed(
                socket,
                format!("the kernel does not say who listens: {error}"),
            )
        })?;
        trust.check(socket, peer.uid)?;
        Ok(Self::over(stream, socket))
    }

    fn over(stream: UnixStream, socket: &Path) -> Self {
        Self {
            stream: BufReader::new(stream),
            socket: socket.to_owned(),
        }
    }

    /// Makes a call that has one answer.
    ///
    /// # Errors
    ///
    /// guardd's own, as [`CliError::Answer`]; [`CliError::Local`] where it is not understood.
    pub(crate) fn call<Reply: DeserializeOwned>(&mut self, call: &Call) -> Result<Reply, CliError> {
        self.patience(Some(PATIENCE))?;
        self.send(call, false)?;
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
    ) -> Result<Stream<Reply>, CliError> {
        self.patience(None)?;
        self.send(call, true)?;
        Ok(Stream {
            client: self,
            ended: false,
            reply: PhantomData,
        })
    }

    fn patience(&self, patience: Option<Duration>) -> Result<(), CliError> {
        let stream = self.stream.get_ref();
        // A guardd that does not read has to be given up on too, even by a stream.
        stream
            .set_read_timeout(patience)
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(|error| self.broken(&error.to_string()))
    }

    fn send(&mut self, call: &Call, more: bool) -> Result<(), CliError> {
        let frame = frame(call, more).map_err(|error| self.broken(&error.to_string()))?;
        check_length(call, frame.len())?;
        self.stream
            .get_mut()
            .write_all(&frame)
            .map_err(|error| self.broken(&io_reason(&error)))
    }

    /// The next answer; none where guardd has closed the connection.
    fn answer(&mut self) -> Result<Option<Answer>, CliError> {
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
        let answer: Answer =
            serde_json::from_slice(&frame).map_err(|error| self.not_understood(&error))?;
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
        serde_json::from_value(parameters).map_err(|error| self.not_understood(&error))
    }

    fn not_understood(&self, error: &serde_json::Error) -> CliError {
        CliError::Local(Failure {
            what: format!("cannot understand guardd at {}", self.socket.display()),
            why: error.to_string(),
            fix:
                "check that guard and guardd are of one version:\nguard --version\nguardd --version"
                    .into(),
        })
    }

    fn broken(&self, why: &str) -> CliError {
        failed(&self.socket, why.to_owned())
    }
}

/// The answers to one call.
#[derive(Debug)]
pub(crate) struct Stream<Reply> {
    client: Client,
    ended: bool,
    reply: PhantomData<Reply>,
}

impl<Reply: DeserializeOwned> Iterator for Stream<Reply> {
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

/// Whom to believe.
#[derive(Clone, Copy, Debug)]
enum Trust {
    /// Root and the caller's own user.
    Strict,
    /// These, and in a user namespace where root has no uid, whoever has none there.
    Overflow,
}

impl Trust {
    fn check(self, socket: &Path, peer: Uid) -> Result<(), CliError> {
        if peer.is_root() || peer == rustix::process::getuid() {
            return Ok(());
        }
        if matches!(self, Self::Overflow)
            && root_is_unmapped()
            && Some(peer.as_raw()) == overflow_uid()
        {
            return Ok(());
        }
        Err(CliError::Local(Failure {
            what: format!("will not talk to whoever listens at {}", socket.display()),
            why: format!(
                "it is uid {peer}, neither root nor you",
                peer = peer.as_raw()
            ),
            fix: "start guardd as root, and name its socket:\nguard --socket PATH …".into(),
        }))
    }
}

/// Whether this process is in a user namespace that has no uid for the uid 0 outside.
fn root_is_unmapped() -> bool {
    // Lines of: the first uid inside, the first uid in the parent, how many. user_namespaces(7)
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    !map.lines()
        .any(|line| line.split_whitespace().nth(1) == Some("0"))
}

fn overflow_uid() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid")
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// A call on the wire. The method comes first: guardd tells by it how long the frame may become.
#[derive(Serialize)]
struct Frame<'a> {
    #[serde(flatten)]
    call: &'a Call,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

/// The bytes of a call, its NUL included.
fn frame(call: &Call, more: bool) -> serde_json::Result<Vec<u8>> {
    let mut frame = serde_json::to_vec(&Frame { call, more })?;
    frame.push(0);
    Ok(frame)
}

/// guardd closes the connection on a frame that is too long: say so before.
fn check_length(call: &Call, length: usize) -> Result<(), CliError> {
    let (limit, fix) = match call {
        Call::Run(_) => (
            MAX_POLICY_FRAME,
            "put the policy into /etc/guard/policies, and give its name instead of its file",
        ),
        _ => (MAX_FRAME, "shorten it"),
    };
    if length <= limit {
        return Ok(());
    }
    Err(CliError::Local(Failure {
        what: "cannot send that to guardd".into(),
        why: format!("it is {length} bytes long, and guardd reads {limit} at most"),
        fix: fix.into(),
    }))
}

/// An error that guardd answered with.
fn error_answer(name: &str, parameters: Value) -> CliError {
    let known = name
        .strip_prefix(INTERFACE)
        .and_then(|name| error_name(name.strip_prefix('.')?));
    match (known, serde_json::from_value(parameters)) {
        (Some(name), Ok(failure)) => CliError::Answer { name, failure },
        _ => CliError::Local(Failure {
            what: "guardd could not do that".into(),
            why: format!("it answered {name}"),
            fix:
                "check that guard and guardd are of one version:\nguard --version\nguardd --version"
                    .into(),
        }),
    }
}

fn error_name(name: &str) -> Option<ErrorName> {
    [
        ErrorName::Refused,
        ErrorName::NotFound,
        ErrorName::Invalid,
        ErrorName::No,
        ErrorName::Failed,
    ]
    .into_iter()
    .find(|known| known.as_str() == name)
}

fn cannot_connect(socket: &Path, error: &io::Error) -> CliError {
    let what = format!("cannot reach guardd at {}", socket.display());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CliError::NoDaemon(Failure {
            what,
            why: "no guardd listens there".into(),
            fix: start_commands(socket),
        }),
        io::ErrorKind::PermissionDenied => CliError::Local(Failure {
            what,
            why: "you may not use that socket".into(),
            fix: format!("look at who may:\nls -l {}", socket.display()),
        }),
        _ => CliError::Local(Failure {
            what,
            why: error.to_string(),
            fix: "name the socket of a guardd that runs:\nguard --socket PATH …".into(),
        }),
    }
}

/// The two ways to start the guardd that would listen at `socket`.
fn start_commands(socket: &Path) -> String {
    if socket == Path::new(super::args::DEFAULT_SOCKET) {
        return "start it:\nsudo systemctl start guardd\nor, where no systemd runs:\nsudo guardd"
            .into();
    }
    let directory = socket.parent().unwrap_or(Path::new(".")).display();
    format!(
        "start it:\nsudo guardd --state-dir {directory}\nor use the machine's own, without --socket and GUARD_SOCKET:\nsudo systemctl start guardd"
    )
}

fn failed(socket: &Path, why: String) -> CliError {
    CliError::Local(Failure {
        what: format!("cannot talk to guardd at {}", socket.display()),
        why,
        fix: "see what guardd says about it:\njournalctl -u guardd -n 20".into(),
    })
}

/// An I/O error in words; the kernel reports a timeout as "try again".
fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it has not answered for {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
