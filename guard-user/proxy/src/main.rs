//! `guard-proxy`: gives up all rights that its start gave it, and then becomes the proxy.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use guard_launch::{Identity, give_up};
use guard_proxy::Guardd;
use guard_sys::accounts::Account;
use rustix::{
    fs::{Mode, OFlags},
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, getrlimit, getuid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit, setsid,
    },
};

/// Connections take two descriptors each, and pools of sockets some more.
const DESCRIPTORS: u64 = 16 * 1024;

/// Be the process through which read-only destinations are reached: guardd starts it
#[derive(Clone, Debug, Parser)]
#[command(name = "guard-proxy", version)]
struct ProxyArgs {
    /// The conversation with guardd that was left open: 0, standard input
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    fd: Option<u32>,
    /// Where guardd listens for it
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    socket: Option<PathBuf>,
    /// As whom, where it is started as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Gives up all that a proxy needs not, and serves until guardd ends.
fn main() -> ExitCode {
    let args = ProxyArgs::parse();
    guard_log::begin(false);
    match prepare(&args) {
        Ok(guardd) => guard_proxy::main(guardd),
        Err(error) => {
            tracing::error!("the proxy cannot start: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn prepare(args: &ProxyArgs) -> Result<Guardd> {
    let guardd = match (&args.socket, args.fd) {
        (Some(path), _) => Guardd::At(path.clone()),
        (None, Some(0)) => Guardd::Inherited(take_standard_input()?),
        (None, _) => bail!("give it --fd 0, or --socket PATH"),
    };
    raise_descriptors();
    std::env::set_current_dir("/").context("cannot leave its directory")?;
    // If it leads a session already, as a service does, this fails, and is not needed.
    let _ = setsid();
    let identity = identity(args.user.as_deref())?;
    give_up(&identity)?;
    // Each of these is reset when a process becomes another user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("others may look into its memory")?;
    if args.socket.is_none() {
        set_parent_process_death_signal(Some(Signal::KILL)).context("it may outlive guardd")?;
    }
    Ok(guardd)
}

/// The user that it runs as: its own, unless that is root.
fn identity(user: Option<&str>) -> Result<Identity> {
    if !getuid().is_root() {
        return Ok(Identity::own()?);
    }
    let user = user.context("it does not run as root: give it --user")?;
    let account = Account::named(user)?.with_context(|| format!("there is no user {user}"))?;
    ensure!(
        account.uid != 0,
        "it does not run as root: give it another --user"
    );
    Ok(Identity::without_groups(account)?)
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
