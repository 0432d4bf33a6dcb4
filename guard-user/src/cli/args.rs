//! The command line of `guard`, as clap derives it: help, completions and man pages come from here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use super::duration::Seconds;

/// Where guardd listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/guard/guardd.sock";

/// Let a program run, and decide what it may reach
#[derive(Debug, Parser)]
#[command(
    name = "guard",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = examples::GUARD
)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// The control socket of the guardd to talk to [default: /run/guard/guardd.sock]
    #[arg(long, global = true, value_name = "PATH", env = "GUARD_SOCKET", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command under the guard
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// List the requests that wait for an answer
    #[command(after_help = examples::PENDING)]
    Pending(PendingArgs),
    /// Answer a request with yes: open a hole that ends by itself
    #[command(after_help = examples::APPROVE)]
    Approve(ApproveArgs),
    /// Answer a request with no, and stop asking about it for a while
    #[command(after_help = examples::DENY)]
    Deny(DenyArgs),
    /// Open a hole that nobody has asked for yet
    #[command(after_help = examples::OPEN)]
    Open(OpenArgs),
    /// List the open holes, as the kernel has them
    #[command(after_help = examples::HOLES)]
    Holes,
    /// Close holes before they end by themselves
    #[command(after_help = examples::CLOSE)]
    Close(CloseArgs),
    /// List what runs under the guard
    #[command(after_help = examples::SESSIONS)]
    Sessions,
    /// End a session and every process in it
    #[command(after_help = examples::STOP)]
    Stop(StopArgs),
    /// Show what is enforced, read back from the kernel; 1 if nothing is
    #[command(after_help = examples::STATUS)]
    Status,
    /// Validate policy files; 1 if one is invalid
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Show the verdict for a destination, and the rule and line that give it
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Show the audit trail
    #[command(after_help = examples::LOG)]
    Log(LogArgs),
    /// Inside a session: show what was stopped, and what to do about it
    #[command(after_help = examples::WHY)]
    Why,
    /// Inside a session: ask a person for a destination
    #[command(after_help = examples::REQUEST)]
    Request(RequestArgs),
    /// Print a shell's completions
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the man pages, one for each verb, into a directory
    #[command(hide = true, after_help = examples::MAN)]
    Man {
        /// Where to
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// `guard run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A policy's name, or a file: whatever has a slash in it or ends in .toml
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<String>,
    /// What to call the session [default: the command's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Run the command as this user [default: you; under sudo, who called sudo]
    #[arg(long, value_hint = ValueHint::Username)]
    pub user: Option<String>,
    /// How long a connection may wait for an answer, such as 60s [default: the policy's]
    #[arg(long, value_name = "DURATION")]
    pub hold: Option<Seconds>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `guard pending`
#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Go on, and print each request when it comes up
    #[arg(long, short)]
    pub follow: bool,
}

/// How long a hole lives.
#[derive(Clone, Debug, Args)]
pub struct TermsArgs {
    /// How long the hole stays open, such as 90s, 15m or 1h [default: 15m]
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<Seconds>,
    /// How many connections it lets through [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: Option<u32>,
    /// Let reads through only
    #[arg(long)]
    pub read_only: bool,
}

/// `guard approve`
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Which request, as `guard pending` lists it
    pub id: String,
    /// How long.
    #[command(flatten)]
    pub terms: TermsArgs,
}

/// `guard deny`
#[derive(Debug, Args)]
pub struct DenyArgs {
    /// Which request, as `guard pending` lists it
    pub id: String,
    /// For how long it is not asked again [default: 15m]
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<Seconds>,
}

/// A destination and its ports.
#[derive(Clone, Debug, Args)]
pub struct DestinationArgs {
    /// 192.0.2.10, 192.0.2.10:443, [2001:db8::1]:443, a prefix, a name, or a group such as @private
    #[arg(value_name = "DEST")]
    pub destination: String,
    /// Ports, such as tcp/443, tcp/8000-8100, udp/53 or icmp [default: all]
    #[arg(long, value_name = "SPEC", value_delimiter = ',')]
    pub ports: Vec<String>,
}

/// `guard open`
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Where to.
    #[command(flatten)]
    pub to: DestinationArgs,
    /// For which session [default: the only one]
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// How long.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `guard close`
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Which holes, as `guard holes` lists them
    #[arg(required_unless_present = "all", value_name = "ID")]
    pub ids: Vec<String>,
    /// All that you may close
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

/// `guard stop`
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Which session, as `guard sessions` lists it
    pub session: String,
}

/// `guard check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The policies
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

/// `guard explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Where to.
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Under this policy: a name, or a file, which needs no guardd
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "session", value_hint = ValueHint::FilePath)]
    pub policy: Option<String>,
    /// Under this session's policy and holes
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
}

/// `guard log`
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Go on, and print each record when it is made
    #[arg(long, short)]
    pub follow: bool,
    /// Of this session only
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Not older than this, such as 10m or 2h
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Seconds>,
}

/// `guard request`
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// Where to.
    #[command(flatten)]
    pub to: DestinationArgs,
    /// What for: the person who answers reads it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl Global {
    /// The socket to talk to.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }
}

/// What `--help` ends with.
mod examples {
    pub(super) const GUARD: &str = "\
Examples:
  guard run -- claude                     run an agent under the default policy
  guard pending                           what it was stopped from doing
  guard approve r1 --for 15m              let it, for a quarter of an hour
  guard status                            what is enforced right now

Exit status: 0 done or yes; 1 the answer is no; 2 it could not be done.
`guard run` exits as the command does; 125 if the guard could not start it.";

    pub(super) const RUN: &str = "\
Examples:
  guard run -- claude
  guard run --policy homelab -- codex --full-auto
  guard run --policy ./agent.toml --name nightly -- make deploy
  sudo guard run -- claude                as you, with a guardd of its own if none runs

Exit status: the command's, 128+n if signal n ended it; 125 the guard could not start it,
and then it never ran; 126 it is not executable; 127 it was not found.";

    pub(super) const PENDING: &str = "\
Examples:
  guard pending
  guard pending --follow
  guard pending --json | jq -r '.[].id'";

    pub(super) const APPROVE: &str = "\
Examples:
  guard approve r1
  guard approve r1 --for 1h
  guard approve r1 --for 5m --connections 1";

    pub(super) const DENY: &str = "\
Examples:
  guard deny r1
  guard deny r1 --for 8h";

    pub(super) const OPEN: &str = "\
Examples:
  guard open 192.0.2.10:443
  guard open db.example.com --ports tcp/5432 --for 10m --reason 'migrate the schema'
  guard open 192.0.2.64/26 --session s2 --connections 3";

    pub(super) const HOLES: &str = "\
Examples:
  guard holes
  guard holes --json";

    pub(super) const CLOSE: &str = "\
Examples:
  guard close h1
  guard close h1 h2
  guard close --all";

    pub(super) const SESSIONS: &str = "\
Examples:
  guard sessions
  guard sessions --json";

    pub(super) const STOP: &str = "\
Examples:
  guard stop s1";

    pub(super) const STATUS: &str = "\
Examples:
  guard status
  guard status --json | jq .enforcing";

    pub(super) const CHECK: &str = "\
Examples:
  guard check agent.toml
  guard check /etc/guard/policies/*.toml";

    pub(super) const EXPLAIN: &str = "\
Examples:
  guard explain 192.0.2.10:443
  guard explain 192.0.2.0/24 --ports tcp/22 --policy homelab
  guard explain 169.254.169.254 --policy ./agent.toml
  guard explain db.example.com --session s1";

    pub(super) const LOG: &str = "\
Examples:
  guard log --since 1h
  guard log --follow --session s1
  guard log --json | jq 'select(.kind == \"hole-open\")'";

    pub(super) const WHY: &str = "\
Examples:
  guard why
  guard why --json";

    pub(super) const REQUEST: &str = "\
Examples:
  guard request 192.0.2.10:443 --reason 'read the job queue'
  guard request db.example.com --ports tcp/5432";

    pub(super) const COMPLETIONS: &str = "\
Examples:
  guard completions bash > /etc/bash_completion.d/guard
  guard completions zsh > ~/.zfunc/_guard";

    pub(super) const MAN: &str = "\
Examples:
  guard man /usr/share/man/man1";
}
