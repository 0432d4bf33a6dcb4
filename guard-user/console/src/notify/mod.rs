//! `guard-console notify`: tells a phone or a chat room that something is asked, with a link to its page. guardd runs it for each
//! request (`on_request`), and again a little later while that waits, where it ends with [`LATER`].
//!
//! What it tells is the request's number, the machine and the link: all else is an agent's words, or is nobody's business on the
//! way. It never carries a yes, nor a code. A session that asks and asks is notified of once ([`told`]).

pub(crate) mod message;
mod send;
pub(crate) mod told;

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    marker::PhantomData,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{ArgGroup, Args};
use guard_proto::Request;
use guard_sys::clock;
use rustix::fs::{FlockOperation, flock};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use self::{
    message::{Message, RequestLine},
    send::Service,
    told::Notices,
};
use crate::Settings;

/// The exit status that has guardd run it again (`EX_TEMPFAIL` of sysexits.h).
pub const LATER: u8 = 75;

/// Requests that come within this time are one message.
pub(crate) const GATHER: Duration = Duration::from_secs(1);
/// A request's JSON is no longer.
const LONGEST: u64 = 1024 * 1024;

/// Whom to tell, and of how much.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("service").required(true)))]
pub struct NotifyArgs {
    /// A topic of ntfy: https://ntfy.sh/TOPIC. With @FILE it is in a file
    #[arg(long, value_name = "URL", group = "service")]
    ntfy: Option<Text>,
    /// An incoming webhook of Slack: https://hooks.slack.com/…, or @FILE
    #[arg(long, value_name = "URL", group = "service")]
    slack: Option<Text>,
    /// A server of Matrix: https://matrix.example.org
    #[arg(long, value_name = "URL", group = "service", requires_all = ["room", "token"])]
    matrix: Option<Text>,
    /// A room of Matrix: !ID:SERVER
    #[arg(long, value_name = "ROOM", requires = "matrix")]
    room: Option<String>,
    /// The access token of ntfy or Matrix: @FILE
    #[arg(long, value_name = "TOKEN")]
    token: Option<Text>,
    /// Tell the address and the port as well
    #[arg(long)]
    address: bool,
}

/// A text, or a file whose first line is it: what is secret is in no command line.
#[derive(Clone, Debug)]
struct Text(String);

impl FromStr for Text {
    type Err = anyhow::Error;

    fn from_str(said: &str) -> Result<Self> {
        let Some(file) = said.strip_prefix('@') else {
            return Ok(Self(said.to_owned()));
        };
        let text =
            fs::read_to_string(file).map_err(|error| anyhow!("cannot read {file}: {error}"))?;
        match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => bail!("{file} is empty"),
        }
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// No.
    Told,
    /// Run it again later, if the request still waits then.
    Later,
}

/// Tells of the request on standard input, if it is time for that.
///
/// # Errors
///
/// What is wrong with the options or the request. That a message did not arrive is none: it is said, and tried again.
pub fn notify(args: NotifyArgs, settings: &Settings, state: Option<PathBuf>) -> Result<Done> {
    let service = Service::of(args)?;
    let dir = state.or_else(|| env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from));
    let dir = dir.context("nothing says where to keep what was told: give --state-dir DIR")?;
    let mut text = String::new();
    io::stdin().take(LONGEST).read_to_string(&mut text)?;
    let wrong = "standard input has no request, as on_request gives one";
    let told: Value = serde_json::from_str(&text).context(wrong)?;
    // What comes into reach asks for no answer: the log and guard watch tell of it.
    if told["kind"] == "appeared" {
        return Ok(Done::Told);
    }
    let request: Request = serde_json::from_value(told).context(wrong)?;
    if settings.is_quiet() {
        return Ok(Done::Later);
    }
    let kept = StateFile::<Notices>::at(dir);
    let line = RequestLine::of(&request, service.tells_address());
    let is_due = kept.change(|told| told.is_due(&line, seconds()))?;
    match is_due {
        told::Turn::Known => return Ok(Done::Told),
        told::Turn::NotYet => return Ok(Done::Later),
        told::Turn::Now => {}
    }
    std::thread::sleep(GATHER);
    let lines = kept.change(|told| told.waiting())?;
    let message = Message::of(&lines, settings, crate::machine::machine());
    let sent = service.send(&message);
    kept.change(|told| match &sent {
        Ok(()) => told.note_sent(&lines, seconds()),
        Err(_) => told.note_failed(),
    })?;
    match sent {
        Ok(()) => Ok(Done::Told),
        Err(error) => {
            tracing::warn!("not told: {error:#}");
            Ok(Done::Later)
        }
    }
}

/// Since boot: what the calendar says may jump.
pub(crate) fn seconds() -> u64 {
    clock::now().0 / 1_000_000_000
}

/// Where it is kept what was sent: several of these may run at once.
pub(crate) struct StateFile<T> {
    dir: PathBuf,
    of: PhantomData<T>,
}

impl<T: Default + Clone + PartialEq + Serialize + DeserializeOwned> StateFile<T> {
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self {
            dir,
            of: PhantomData,
        }
    }

    /// Changes it, alone.
    ///
    /// # Errors
    ///
    /// That it cannot be read or written.
    pub(crate) fn change<R>(&self, work: impl FnOnce(&mut T) -> R) -> Result<R> {
        let broken = || format!("cannot keep in {} what was told", self.dir.display());
        let lock = File::create(self.dir.join("lock")).with_context(broken)?;
        flock(&lock, FlockOperation::LockExclusive).with_context(broken)?;
        let file = self.dir.join("told.json");
        let before: T = read(&file).with_context(broken)?;
        let mut told = before.clone();
        let done = work(&mut told);
        if told != before {
            replace(&file, &serde_json::to_vec(&told)?).with_context(broken)?;
        }
        Ok(done)
    }
}

/// What cannot be parsed was written by another version, and counts for nothing.
fn read<T: Default + DeserializeOwned>(file: &Path) -> io::Result<T> {
    match fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    }
}

/// Has a file of the caller's own say that: all of it, or what it said before.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = file.with_extension("new");
    let mut open = OpenOptions::new();
    let open = open.write(true).create(true).truncate(true).mode(0o600);
    open.open(&next)?.write_all(bytes)?;
    fs::rename(&next, file)
}
