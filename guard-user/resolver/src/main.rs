//! `guard-resolver`: from what guardd or a service manager starts to a process that is nobody, and then the resolver.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use guard_launch::{Identity, give_up};
use guard_resolver::Guardd;
use guard_sys::accounts::Account;
use rustix::{
    fs::{Mode, OFlags},
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, getrlimit, getuid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit, setsid,
    },
};

/// Questions and connections take one descriptor or two each, and pools of sockets some more.
const DESCRIPTORS: u64 = 16 * 1024;

/// Be the name server of every session: guardd starts it
#[derive(Clone, Debug, Parser)]
#[command(name = "guard-resolver", version)]
struct ResolverArgs {
    /// The conversation with guardd that was left open: 0, standard input
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    fd: Option<u32>,
    /// Where guardd listens for it
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    socket: Option<PathBuf>,
    /// As whom, where it is started as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Take the keys for encrypting a server's name (ECH) out of answers
    #[arg(long)]
    without_ech: bool,
}

/// Gives up all that a resolver needs not, and serves until guardd ends.
fn main() -> ExitCode {
    let args = ResolverArgs::parse();
    guard_log::begin(false);
    match prepare(&args) {
        Ok(guardd) => guard_resolver::main(guardd, args.without_ech),
        Err(error) => {
            tracing::error!("the resolver cannot start: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn prepare(args: &ResolverArgs) -> Result<Guardd> {
    let guardd = match (&args.socket, args.fd) {
        (Some(path), _) => Guardd::At(path.clone()),
        (None, Some(0)) => Guardd::Inherited(take_standard_input()?),
        (None, _) => bail!("give it --fd 0, or --socket PATH"),
    };
    raise_descriptors();
    std::env::set_current_dir("/").context("cannot leave its directory")?;
    // Where it leads one already, as a service does, this is refused, and needless.
    let _ = setsid();
    let identity = identity(args.user.as_deref())?;
    give_up(&identity)?;
    // Each of these ends where a process becomes another user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("others may look into its memory")?;
    if args.socket.is_none() {
        set_parent_process_death_signal(Some(Signal::KILL)).context("it may outlive guardd")?;
    }
    Ok(guardd)
}

/// As whom it runs: as it is, unless that is root.
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

/// The conversation that guardd has left open as standard input, and nothing in its place.
fn take_standard_input() -> Result<OwnedFd> {
    let theirs = std::io::stdin().as_fd().try_clone_to_owned();
    let theirs = theirs.context("there is no standard input")?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let nothing = nothing.context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).context("cannot let go of standard input")?;
    Ok(theirs)
}

/// As many as it may have; fewer only mean fewer connections at once.
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
