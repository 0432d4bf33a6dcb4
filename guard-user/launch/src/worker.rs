//! Becoming a program that is nobody: what guard-proxy and guard-resolver do before they read anything.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use guard_proto::wire::VERSION;
use guard_sys::{
    accounts::UserAccount,
    packets::{Packet, Packets},
};
use rustix::{
    fs::{Mode, OFlags},
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, getrlimit, getuid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit, setsid,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{CommandIdentity, give_up};

/// What such a program may have open: a connection takes two descriptors or one, and pools of sockets some more.
const DESCRIPTORS: u64 = 16 * 1024;

/// The connection to guardd.
#[derive(Debug)]
pub enum GuarddConnection {
    /// guardd left a socket open for this process.
    Inherited(OwnedFd),
    /// It listens at a path.
    At(PathBuf),
}

impl GuarddConnection {
    /// This process's end of it.
    ///
    /// # Errors
    ///
    /// The system's, such as that nobody listens there.
    pub fn packets(self) -> Result<Packets> {
        let packets = match self {
            Self::Inherited(socket) => Packets::of(socket),
            Self::At(path) => Packets::connect(&path),
        };
        packets.context("cannot speak with guardd")
    }
}

/// Waits for guardd's first message, and returns it with the descriptors that came with it.
///
/// # Errors
///
/// That guardd has ended before, or has said what this program does not know.
pub async fn first_message<M: DeserializeOwned>(packets: &Packets) -> Result<(M, Vec<OwnedFd>)> {
    let first = packets.receive().await.context("cannot hear guardd")?;
    let Some(Packet { bytes, descriptors }) = first else {
        bail!("guardd has ended before it said anything");
    };
    let message = serde_json::from_slice(&bytes).context("cannot understand guardd")?;
    Ok((message, descriptors))
}

/// Tells guardd the version of `program` by its first message, `own`, and holds guardd to the same one. `theirs`: what guardd says of
/// itself, which one before 0.3.0 did not. guardd hears it in any case: people ask guardd.
///
/// # Errors
///
/// That guardd is of another version, or cannot be reached.
pub async fn exchange_versions<M: Serialize>(
    packets: &Packets,
    program: &str,
    own: &M,
    theirs: Option<&str>,
) -> Result<()> {
    let sent = packets.send(&serde_json::to_vec(own)?, &[]).await;
    if theirs != Some(VERSION) {
        let theirs = theirs.unwrap_or("earlier than 0.3.0");
        bail!("guardd is of version {theirs}, and {program} of {VERSION}: restart guardd");
    }
    sent.context("cannot speak with guardd")
}

/// Gives up all rights that the start gave, and returns the connection to guardd: standard input where `fd` is 0, or `socket`.
/// `user`: whom to become where it is started as root.
///
/// # Errors
///
/// What could not be given up; then this process must end.
pub fn become_nobody(
    fd: Option<u32>,
    socket: Option<&Path>,
    user: Option<&str>,
) -> Result<GuarddConnection> {
    let guardd = match (socket, fd) {
        (Some(path), _) => GuarddConnection::At(path.to_owned()),
        (None, Some(0)) => GuarddConnection::Inherited(take_standard_input()?),
        (None, _) => bail!("give it --fd 0, or --socket PATH"),
    };
    raise_descriptors();
    std::env::set_current_dir("/").context("cannot leave its directory")?;
    // If it leads a session already, as a service does, this fails, and is not needed.
    let _ = setsid();
    let identity = identity(user)?;
    give_up(&identity)?;
    // Each of these is reset when a process becomes another user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("others may look into its memory")?;
    if socket.is_none() {
        set_parent_process_death_signal(Some(Signal::KILL)).context("it may outlive guardd")?;
    }
    Ok(guardd)
}

/// The user that it runs as: its own, unless that is root.
fn identity(user: Option<&str>) -> Result<CommandIdentity> {
    if !getuid().is_root() {
        return Ok(CommandIdentity::own()?);
    }
    let user = user.context("it does not run as root: give it --user")?;
    let account = UserAccount::named(user)?.with_context(|| format!("there is no user {user}"))?;
    ensure!(
        account.uid != 0,
        "it does not run as root: give it another --user"
    );
    Ok(CommandIdentity::without_groups(account)?)
}

/// The connection that guardd has left open as standard input, which is replaced by nothing.
fn take_standard_input() -> Result<OwnedFd> {
    let theirs = std::io::stdin().as_fd().try_clone_to_owned();
    let theirs = theirs.context("there is no standard input")?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let nothing = nothing.context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).context("cannot let go of standard input")?;
    Ok(theirs)
}

/// Raises the limit as far as allowed; less only means fewer connections at once.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    for most in [
        DESCRIPTORS.max(maximum.unwrap_or(0)),
        maximum.unwrap_or(DESCRIPTORS),
    ] {
        let limit = Rlimit {
            current: Some(most.min(DESCRIPTORS)),
            maximum: Some(most),
        };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return;
        }
    }
}
