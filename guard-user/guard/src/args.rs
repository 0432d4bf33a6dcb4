//! The command line of `guard`, as clap derives it: help, completions and man pages come from here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use guard_proto::varlink::DEFAULT_SOCKET;
use guard_trail::ChainHead;

use super::complete;
use super::size::{
    parse_count, parse_number, parse_requests, parse_serial, parse_size, parse_tried,
};

mod examples;
mod when;

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
    // Not by clap's `env`: it would name the option in each usage line where the variable is set.
    /// The control socket of the guardd to talk to [env: GUARD_SOCKET] [default: /run/guard/guardd.sock]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command under the guard
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Give a unit or a container in the guard's slice its policy
    #[command(after_help = examples::ASSIGN)]
    Assign(AssignArgs),
    /// List the requests that wait for an answer
    #[command(after_help = examples::PENDING, aliases = ["requests", "questions"])]
    Pending(PendingArgs),
    /// Answer a request with yes: open a hole that ends by itself
    #[command(after_help = examples::APPROVE, aliases = ["allow", "yes"])]
    Approve(ApproveArgs),
    /// Answer a request with no, and stop asking about it for a while
    #[command(after_help = examples::DENY, aliases = ["reject", "refuse", "no"])]
    Deny(DenyArgs),
    /// Show what guardd asks about a request, to be answered elsewhere; with --bytes as it is to be signed
    #[command(after_help = examples::QUESTION)]
    Question(QuestionArgs),
    /// On any machine: show a question, and sign your answer with your SSH key; 1 if nothing was signed
    #[command(after_help = examples::SIGN)]
    Sign(SignArgs),
    /// Hand in an answer that somebody has signed
    #[command(after_help = examples::ANSWER)]
    Answer(AnswerArgs),
    /// Say who may sign answers, and with which keys
    #[command(after_help = examples::APPROVER, aliases = ["approvers"])]
    Approver {
        /// What.
        #[command(subcommand)]
        verb: ApproverVerb,
    },
    /// Of many machines: list what they ask, answer, bring policies; guard-fleet does it
    #[command(after_help = examples::FLEET, disable_help_flag = true)]
    Fleet {
        /// As guard-fleet takes it
        #[arg(
            value_name = "ARG",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        args: Vec<OsString>,
    },
    /// Show each request on your desktop, and answer with its buttons
    #[command(after_help = examples::NOTIFY)]
    Notify(NotifyArgs),
    /// Open a hole that nobody has asked for yet
    #[command(after_help = examples::OPEN)]
    Open(OpenArgs),
    /// List the open holes, as the kernel has them
    #[command(after_help = examples::HOLES)]
    Holes(HolesArgs),
    /// Close holes before they end by themselves
    #[command(after_help = examples::CLOSE, aliases = ["revoke"])]
    Close(CloseArgs),
    /// List what runs under the guard
    #[command(after_help = examples::SESSIONS, aliases = ["ls", "list", "ps"])]
    Sessions,
    /// List what sessions have reached, by program and destination; those that ended lately, too
    #[command(after_help = examples::FLOWS, aliases = ["connections", "reached"])]
    Flows(FlowsArgs),
    /// End a session and every process in it
    #[command(after_help = examples::STOP, aliases = ["kill", "end"])]
    Stop(StopArgs),
    /// Show what is enforced, read back from the kernel; 1 if nothing is
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// As root: print how much was refused, asked and opened, for Prometheus
    #[command(after_help = examples::METRICS)]
    Metrics(MetricsArgs),
    /// Show what this machine can enforce, what it cannot, and how to fix it; 1 if a required row is not ok
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Validate policies; 1 if one is invalid
    #[command(after_help = examples::CHECK, aliases = ["validate", "lint"])]
    Check(CheckArgs),
    /// List the policies that are there by name, show one, or edit a copy of one
    #[command(after_help = examples::POLICY, aliases = ["policies"])]
    Policy(PolicyArgs),
    /// Show what becomes more and less open from one policy to another; 1 if anything does
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Show the verdict for a destination, and the rule and line that give it
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Find what looks like production and is in reach of whoever is started here; connects to nothing
    #[command(after_help = examples::DISCOVER)]
    Discover(DiscoverArgs),
    /// Agree to what a project's policy lets through beyond yours, as its file is now
    #[command(after_help = examples::TRUST)]
    Trust(TrustArgs),
    /// Look at this machine, find production, write a policy and enter guard into your agent's settings, one by one
    #[command(after_help = examples::SETUP)]
    Setup(SetupArgs),
    /// Say more about an error than its message does
    #[command(after_help = examples::EXPLAIN_ERROR)]
    ExplainError(ExplainErrorArgs),
    /// A terminal screen: sessions, requests, holes; answer with a key
    #[command(after_help = examples::WATCH, aliases = ["top", "ui"])]
    Watch(WatchArgs),
    /// Show the audit log
    #[command(after_help = examples::LOG, aliases = ["logs", "audit"])]
    Log(LogArgs),
    /// Sum up what was stopped, asked and opened, for a person or a CI job
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Offer the policy lines that would make the answers of people permanent, or a policy of what was reached
    #[command(after_help = examples::SUGGEST)]
    Suggest(SuggestArgs),
    /// Inside a session: show what was stopped, and what to do about it
    #[command(after_help = examples::WHY)]
    Why(WhyArgs),
    /// Inside a session: ask a person for a destination
    #[command(after_help = examples::REQUEST)]
    Request(RequestArgs),
    /// Enter guard into an agent's settings, so that its model is told what was stopped and can ask
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// Inside a session: serve an agent over the Model Context Protocol, on standard input and output
    #[command(after_help = examples::MCP)]
    Mcp,
    /// For root: what helps to find out why guard decides as it does
    #[command(after_help = examples::DEBUG)]
    Debug {
        /// What.
        #[command(subcommand)]
        verb: DebugVerb,
    },
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

/// `guard debug`
#[derive(Debug, Subcommand)]
pub enum DebugVerb {
    /// Have the kernel half log each of its decisions with what decided it, to guardd's own log; off: no more
    #[command(after_help = examples::KERNEL_LOG)]
    KernelLog {
        /// Whose decisions
        #[arg(value_name = "SESSION|all|off", add = complete::sessions())]
        of: String,
    },
}

/// `guard run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A policy's name, or a file: whatever has a slash in it or ends in .toml
    #[arg(long, value_name = "NAME|FILE", add = complete::policies())]
    pub policy: Option<String>,
    /// What to call the session [default: the command's name]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Run the command as this user [default: you; under sudo, who called sudo]. As root: of a user namespace, with your own
    /// rights, where the settings say `run_as_root = true`
    #[arg(long, add = complete::users(), value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
    /// How long a connection may wait for an answer, such as 60s; 5m at most, and 0s for not at all [default: the policy's]
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    pub hold: Option<Duration>,
    /// Let pass what no rule of the policy names, and record it, to write a policy of: `guard suggest --from-flows`. Rules hold,
    /// and nobody inside a session can ask for it
    #[arg(long)]
    pub observe: bool,
    /// Do not sum up at the end what was stopped and asked
    #[arg(long, short)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD", add = complete::command())]
    pub command: Vec<OsString>,
}

/// `guard assign`
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// A policy's name, or a file: whatever has a slash in it or ends in .toml
    #[arg(long, value_name = "NAME|FILE", add = complete::policies())]
    pub policy: String,
    /// What to call the session [default: the unit's name]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Who may answer for it, beside root [default: the unit's User=]
    #[arg(long, value_name = "USER", add = complete::users())]
    pub owner: Option<String>,
    /// A unit that runs already, or its cgroup [default: the one that this is started in]
    pub unit: Option<String>,
}

/// `guard pending`
#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Go on, and print each request when it comes up, and how it ended
    #[arg(long, short)]
    pub follow: bool,
    /// With --follow: in JSON, too, how each ended: its object, with `ended`
    #[arg(long, requires = "follow")]
    pub ends: bool,
}

/// How long a hole lives.
#[derive(Clone, Debug, Args)]
pub struct TermsArgs {
    /// How long the hole stays open, such as 90s, 15m or 1h [default: 15m]
    #[arg(long = "for", value_name = "DURATION", value_parser = when::lasting)]
    pub duration: Option<Duration>,
    /// How many connections it lets through, or HTTP requests [default: any number; of one HTTP request, that one]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub connections: Option<u32>,
    /// How many HTTP requests it lets through, where it is for requests [default: of one that waits, that one; else any number]
    #[arg(long, value_name = "N", value_parser = parse_requests, conflicts_with = "connections")]
    pub requests: Option<u32>,
    /// How much may be sent through it, such as 64KiB or 10MB: packets of connections, bodies of HTTP requests
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "read_only")]
    pub bytes: Option<u64>,
    /// Let reads over HTTP through only; each other request waits for a person
    #[arg(long)]
    pub read_only: bool,
}

/// `guard approve`
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Which requests, as `guard pending` lists them; each gets a hole of its own
    #[arg(required = true, value_name = "ID", add = complete::requests())]
    pub ids: Vec<String>,
    /// Of an HTTP request: let through all with its method and a path like this, in which * stands for any text
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["writes", "read_only"])]
    pub path: Option<String>,
    /// Of an HTTP request: let through all that change something at its host
    #[arg(long, conflicts_with = "read_only")]
    pub writes: bool,
    /// Of a burst: open all of the prefix that is offered, as one hole [default: the one address that ID asked about alone]
    #[arg(long, conflicts_with_all = ["path", "writes"])]
    pub prefix: bool,
    /// Of a burst: open the first N of the addresses that were tried, 16 at most
    #[arg(long, value_name = "N", value_parser = parse_tried, conflicts_with_all = ["prefix", "path", "writes"])]
    pub tried: Option<u32>,
    /// Of a connection to an address that has a name: open that address alone [default: the name, whatever its addresses become]
    #[arg(long, conflicts_with_all = ["prefix", "tried", "path", "writes"])]
    pub address: bool,
    /// Of a connection to another program on the loopback: also ask no more about this program, owner and port
    #[arg(long, conflicts_with_all = ["prefix", "tried", "path", "writes", "address"])]
    pub always: bool,
    /// How long.
    #[command(flatten)]
    pub terms: TermsArgs,
}

/// `guard deny`
#[derive(Debug, Args)]
pub struct DenyArgs {
    /// Which requests, as `guard pending` lists them; the id of a session stands for all that wait of it, and of those inside it
    #[arg(required = true, value_name = "ID", add = complete::requests())]
    pub ids: Vec<String>,
    /// For how long it is not asked again; `n` in guard watch is for 1m [default: 15m]
    #[arg(long = "for", value_name = "DURATION", value_parser = when::lasting)]
    pub duration: Option<Duration>,
}

/// `guard question`
#[derive(Debug, Args)]
pub struct QuestionArgs {
    /// Which request, as `guard pending` lists it
    #[arg(add = complete::requests())]
    pub id: String,
    /// Print the bytes and nothing else
    #[arg(long, conflicts_with = "json")]
    pub bytes: bool,
}

/// `guard sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The key's file, or its .pub where ssh-agent has it [default: the only key, or the only FIDO key, of ssh-agent, else one of
    /// the usual files in ~/.ssh]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// The name that you are enrolled with, where the answer is to count under no other [default: whose the key is]
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// What the person typed, of a program that has this sign
    #[arg(long, hide = true, value_name = "COMMAND")]
    pub typed: Option<String>,
}

/// `guard answer`
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The signed answer, as `guard sign` writes it; - for standard input
    #[arg(long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub signed: PathBuf,
}

/// What `guard approver` does.
#[derive(Debug, Subcommand)]
pub enum ApproverVerb {
    /// List who may sign answers
    #[command(after_help = examples::APPROVER_LIST)]
    List,
    /// As root: let somebody present a key
    #[command(after_help = examples::APPROVER_INVITE)]
    Invite {
        /// The name to sign with
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// How long the invitation counts, 10m at most [default: 10m]
        #[arg(long = "for", value_name = "DURATION", value_parser = when::lasting)]
        duration: Option<Duration>,
        /// For what.
        #[command(flatten)]
        person: EnrolmentArgs,
    },
    /// With an invitation: present the key that root may accept
    #[command(after_help = examples::APPROVER_PRESENT)]
    Present {
        /// The invitation
        // Its text is random: it may begin with a dash.
        #[arg(allow_hyphen_values = true)]
        invitation: String,
        /// The public half of an SSH key
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        ssh_key: PathBuf,
    },
    /// As root: enrol the key that somebody has presented
    #[command(after_help = examples::APPROVER_ACCEPT)]
    Accept {
        /// Whose
        name: String,
        /// The fingerprint that its owner sees: SHA256:…
        fingerprint: String,
        /// Also a key that a program can sign with alone; for keys that are never on this machine
        #[arg(long)]
        plain: bool,
    },
    /// As root: enrol a key
    #[command(after_help = examples::APPROVER_ADD)]
    Add {
        /// The name to sign with
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The public half of an SSH key
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "passkey")]
        ssh_key: Option<PathBuf>,
        /// A passkey, as the page says on which it was made
        // An id is random: it may begin with a dash.
        #[arg(
            long,
            value_name = "ID:KEY",
            conflicts_with = "ssh_key",
            allow_hyphen_values = true
        )]
        passkey: Option<String>,
        /// Also a key that a program can sign with alone; for keys that are never on this machine
        #[arg(long)]
        plain: bool,
        /// For what.
        #[command(flatten)]
        person: EnrolmentArgs,
    },
    /// As root: take a key back, or all of a person's
    #[command(after_help = examples::APPROVER_REMOVE)]
    Remove {
        /// A name, or a key's id or fingerprint
        #[arg(value_name = "NAME|KEY", value_parser = NonEmptyStringValueParser::new())]
        called: String,
    },
}

/// For what somebody may answer.
#[derive(Clone, Debug, Args)]
pub struct EnrolmentArgs {
    /// Whose sessions; may be given several times [default: as before; at first the user of that name]
    #[arg(long, value_name = "USER", add = complete::users())]
    pub answers_for: Vec<String>,
    /// Under which policies, with * for any text; may be given several times [default: as before; at first all]
    #[arg(long = "policy", value_name = "PATTERN")]
    pub policies: Vec<String>,
    /// How long a hole of theirs lasts at most [default: as before; at first as guardd.toml says]
    #[arg(long, value_name = "DURATION", value_parser = when::lasting)]
    pub max_for: Option<Duration>,
}

/// `guard notify`
#[derive(Debug, Args)]
pub struct NotifyArgs {
    /// Ring this terminal's bell and print the request instead
    #[arg(long)]
    pub bell: bool,
}

/// A destination and its ports.
#[derive(Clone, Debug, Args)]
pub struct DestinationArgs {
    /// 192.0.2.10, 192.0.2.10:443 (of TCP), [2001:db8::1]:443, a prefix, a name, or a group such as @private
    #[arg(value_name = "DEST", value_parser = parse_destination)]
    pub destination: String,
    /// Ports, such as tcp/443, tcp/8000-8100, udp/53 or icmp; where none are named, explain takes all of them, and open none.
    /// A request is for one
    #[arg(long, value_name = "SPEC", value_delimiter = ',')]
    pub ports: Vec<String>,
}

/// What no destination is: ports alone, or behind it as other programs have them. The rest is for whoever judges it.
fn parse_destination(text: &str) -> Result<String, String> {
    let protocols = ["tcp", "udp"];
    match text.split_once('/') {
        Some((protocol, _)) if protocols.contains(&protocol) => Err(ports_alone(text)),
        Some((port, protocol)) if protocols.contains(&protocol) && is_number(port) => {
            Err(ports_alone(&format!("{protocol}/{port}")))
        }
        Some((place, protocol)) if protocols.contains(&protocol) => {
            Err(match place.rsplit_once(':') {
                Some((host, port)) => format!("write `{host} --ports {protocol}/{port}`"),
                None => format!(
                    "write `{place}`, and its ports behind it, such as `--ports {protocol}/443`"
                ),
            })
        }
        _ => Ok(text.to_owned()),
    }
}

fn ports_alone(ports: &str) -> String {
    format!("it names ports and no destination: write one, and `--ports {ports}` behind it")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `guard open`
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Where to.
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Every protocol and port, where neither DEST nor --ports names one
    #[arg(long, conflicts_with = "ports")]
    pub all_ports: bool,
    /// Also prefixes wider than /8, or /32 in IPv6, without a question
    #[arg(long)]
    pub wide: bool,
    /// Of a loopback address and a port: also ask no more about the program that listens there, its owner and port
    #[arg(long)]
    pub always: bool,
    /// For which session [default: the only one]
    #[arg(long, value_name = "ID", add = complete::sessions())]
    pub session: Option<String>,
    /// How long.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `guard holes`
#[derive(Debug, Args)]
pub struct HolesArgs {
    /// List the programs on the loopback that are reached without a question; guard close forgets them
    #[arg(long)]
    pub always: bool,
}

/// `guard close`
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Which holes, as `guard holes` lists them, or programs, as `guard holes --always` does
    #[arg(required_unless_present = "all", value_name = "ID", add = complete::holes())]
    pub ids: Vec<String>,
    /// All that you may close
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

/// `guard flows`
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Of this session only, and of those that were started in it
    #[arg(long, value_name = "ID", add = complete::sessions())]
    pub session: Option<String>,
    /// Only where a connection began or ended in this time, or since then
    #[arg(long, value_name = "DURATION|TIME", value_parser = when::since)]
    pub since: Option<Duration>,
}

/// `guard stop`
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Which sessions, as `guard sessions` lists them: an id, or a name where no other has that
    #[arg(required = true, value_name = "ID", add = complete::sessions())]
    pub sessions: Vec<String>,
}

/// `guard doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// For commands of this user [default: you; under sudo, who called sudo; for root itself, nobody]
    #[arg(long, add = complete::users())]
    pub user: Option<String>,
    /// Each row with what was seen, and not only what is wrong
    #[arg(long)]
    pub all: bool,
    /// Say what a row is about and what mends it, and look at nothing; without ROW, list the rows
    #[arg(
        long,
        value_name = "ROW",
        num_args = 0..,
        conflicts_with_all = ["user", "all"],
        add = complete::rows()
    )]
    pub explain: Option<Vec<String>>,
    /// In the session that it looks with: what to try there
    #[arg(long, hide = true, value_name = "JSON")]
    pub attempts: Option<String>,
}

/// `guard check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The policies: names, or files. What may be either is the name; ./NAME is the file
    #[arg(required = true, value_name = "FILE|NAME", add = complete::policy_files())]
    pub files: Vec<PathBuf>,
}

/// `guard policy`
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PolicyVerb,
}

/// What `guard policy` does.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// List the policies that have a name, and where each comes from
    #[command(after_help = examples::POLICY_LIST)]
    List,
    /// As `guard check`
    #[command(hide = true, after_help = examples::CHECK, aliases = ["validate", "lint"])]
    Check(CheckArgs),
    /// Print a policy's text
    #[command(after_help = examples::POLICY_SHOW)]
    Show {
        /// Its name
        #[arg(add = complete::names())]
        name: String,
    },
    /// Sign policies for a fleet of machines, or a bundle that somebody else has signed as well; prints the signed bundle
    #[command(after_help = examples::POLICY_SIGN)]
    Sign(PolicySignArgs),
    /// As root: put the policies of a signed bundle in force on this machine, all of them or none
    #[command(after_help = examples::POLICY_OFFER)]
    Offer {
        /// The bundle; -: standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Change a policy in $EDITOR: your own, or a copy where this machine's are, kept once you change it
    #[command(after_help = examples::POLICY_EDIT)]
    Edit {
        /// Its name
        #[arg(add = complete::names())]
        name: String,
        /// Where to [default: where guardd looks first, which is /etc/guard/policies]
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        policy_dir: Option<PathBuf>,
    },
    /// Give running sessions the text that the file of their policy has now; 1 if you said no
    #[command(after_help = examples::POLICY_APPLY)]
    Apply(PolicyApplyArgs),
}

/// `guard policy apply`
#[derive(Debug, Args)]
pub struct PolicyApplyArgs {
    /// The policy: the name of one of your own, or a file: whatever has a slash in it or ends in .toml
    #[arg(value_name = "NAME|FILE", add = complete::policy_files())]
    pub policy: String,
    /// To these sessions only; may be given more than once [default: all that were started under it]
    #[arg(long = "session", value_name = "ID", add = complete::sessions())]
    pub sessions: Vec<String>,
    /// Without a question, where it only narrows
    #[arg(long)]
    pub yes: bool,
    /// Without a question, also where it lets more through
    #[arg(long)]
    pub widen: bool,
}

/// `guard policy sign`
#[derive(Debug, Args)]
pub struct PolicySignArgs {
    /// For machines of this group; may be given more than once
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// The policy of them that lies around each session
    #[arg(long, value_name = "NAME")]
    pub base: Option<String>,
    /// The number of the bundle, which has to rise [default: seconds since 1970]
    #[arg(long, value_name = "N", value_parser = parse_serial)]
    pub serial: Option<u64>,
    /// Nobody answers by the key of that fingerprint any more, on any machine of the group; may be given more than once
    #[arg(long = "revoke", value_name = "SHA256:…")]
    pub revoked: Vec<String>,
    /// The key, or its public half where ssh-agent has it [default: as guard sign]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// Sign without a question
    #[arg(long)]
    pub yes: bool,
    /// A directory with policies, or a bundle
    #[arg(value_name = "DIR|BUNDLE", value_hint = ValueHint::AnyPath)]
    pub from: PathBuf,
}

/// `guard diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Take OLD as it is under `guard run --observe`: what no rule of it names passes
    #[arg(long)]
    pub observed: bool,
    /// The policy before: a name, or a file: whatever has a slash in it or ends in .toml
    #[arg(value_name = "OLD", add = complete::policy_files())]
    pub old: String,
    /// The policy after
    #[arg(value_name = "NEW", add = complete::policy_files())]
    pub new: String,
}

/// `guard explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Where to.
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Under this policy: a name, or a file; needs no guardd
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "session", add = complete::policies())]
    pub policy: Option<String>,
    /// Under this session's policy and holes
    #[arg(long, value_name = "ID", add = complete::sessions())]
    pub session: Option<String>,
}

/// `guard discover`
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// The directory that an agent is to work in [default: this one]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Say what this policy does with each place: a name, or a file; needs no guardd [default: that of guard run]
    #[arg(long, value_name = "NAME|FILE", add = complete::policies())]
    pub policy: Option<String>,
    /// Say why this place is listed, and show the rule for it. A number is that of the list as it is now
    #[arg(long, value_name = "HOST:PORT|N")]
    pub why: Option<Listed>,
    /// Exit with 1 where the policy lets everything through to something that looks like production, or something was passed over
    #[arg(long, conflicts_with = "why")]
    pub check: bool,
    /// List also what does not look like production
    #[arg(long)]
    pub all: bool,
    /// Read Markdown, too: the commands and connection strings in it
    #[arg(long)]
    pub deep: bool,
    /// Propose to deny production that is commented out wherever it is found, and platforms that only logins in your home open and
    /// the project has no link to
    #[arg(long)]
    pub strict: bool,
    /// Write a policy of yours with this name: one that is there, else that of --policy, and a rule for each place. Asks about
    /// each that widens it
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["why", "check", "all", "dismissing"],
        group = "changing",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub write: Option<String>,
    /// With --write: ask nothing, and write only what narrows. With --dismiss: ask nothing
    #[arg(long, requires = "changing")]
    pub yes: bool,
    /// With --write: also where the file lies below the working directory or DIR
    #[arg(long, requires = "write")]
    pub here: bool,
    /// With --write: show what would be written, and write nothing
    #[arg(long, requires = "write", conflicts_with = "yes")]
    pub print: bool,
    /// Say that these places are not what they look like; they stay listed as dismissed. A number is that of the list as it is now: at
    /// a terminal you are asked whether you mean what it is
    #[arg(long, value_name = "HOST:PORT|N", value_delimiter = ',', groups = ["dismissing", "changing"], conflicts_with_all = ["why", "check"])]
    pub dismiss: Vec<Listed>,
    /// Say that nobody has to know what is in this encrypted file, or behind this link, as long as its bytes, or target, are the same
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "dismissing", conflicts_with_all = ["why", "check"])]
    pub dismiss_file: Vec<PathBuf>,
    /// With --dismiss: they are, after all, also of a place that is not found any more. With --dismiss-file FILE: somebody has to,
    /// after all
    #[arg(long, requires = "dismissing")]
    pub withdraw: bool,
}

/// One of the places that are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// By its number.
    Number(u32),
    /// By its host, and its port where it is known.
    Place(String, u16),
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Place(host, 0) => host.fmt(f),
            Self::Place(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Place(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Listed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Behind a comma, as in "1, 2".
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return parse_number(text).map(Self::Number);
        }
        let (host, port) = match text.rsplit_once(':') {
            // An IPv6 address has more of them.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("{port} is no port"))?;
                (host, port)
            }
            _ => (text, 0),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self::Place(host.to_owned(), port))
    }
}

/// `guard trust`
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// The project's policy [default: .guard.toml]
    #[arg(value_name = "FILE", add = complete::policy_files())]
    pub file: Option<PathBuf>,
    /// The policy that it would widen: a name, or a file [default: that of a `guard run` without --policy]
    #[arg(long, value_name = "NAME|FILE", add = complete::policies())]
    pub policy: Option<String>,
    /// Take back every yes to it: it widens no policy any more
    #[arg(long, conflicts_with = "policy")]
    pub withdraw: bool,
}

/// `guard setup`
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// The name of the policy of yours that is written [default: that of the directory]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// What a new policy begins with: a name, or a file [default: that of guard run]
    #[arg(long, value_name = "NAME|FILE", add = complete::policies())]
    pub policy: Option<String>,
    /// Whose settings guard is entered into; may be given several times [default: each that is installed or used here]
    #[arg(long, value_enum, value_name = "AGENT")]
    pub agent: Vec<AgentKind>,
    /// Show what each step would change, and change nothing
    #[arg(long)]
    pub print: bool,
}

/// `guard explain-error`
#[derive(Debug, Args)]
pub struct ExplainErrorArgs {
    /// Its code, as an error's last line and its JSON have it [default: list all]
    #[arg(value_name = "CODE", add = complete::codes())]
    pub code: Option<String>,
}

/// `guard watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Do not ring when a request comes up; the key b switches that
    #[arg(long)]
    pub no_bell: bool,
}

/// `guard status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Also each hook, each policy's prefixes, and the cgroup that they are for
    #[arg(long, short)]
    pub all: bool,
}

/// `guard metrics`
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Answer one HTTP request on standard input and output instead, for guard-metrics.socket
    #[arg(long)]
    pub serve: bool,
}

/// `guard log`
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Go on, and print each record when it is made
    #[arg(long, short)]
    pub follow: bool,
    /// Of this session only
    #[arg(long, value_name = "ID", add = complete::sessions())]
    pub session: Option<String>,
    /// Not older than this, such as 10m, yesterday or 14:30
    #[arg(long, value_name = "DURATION|TIME", value_parser = when::since)]
    pub since: Option<Duration>,
    /// The last N of these records only
    #[arg(long, short = 'n', aliases = ["tail", "lines"], value_name = "N", conflicts_with_all = ["follow", "verify"],
        value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,
    /// Check that the audit log is whole: no record edited, missing, moved or put in; 1 if it is not
    #[arg(long, conflicts_with_all = ["follow", "session", "since"])]
    pub verify: bool,
    /// With --verify: that this record, noted before, is still in it; may be given several times
    #[arg(long, value_name = "N:HASH", requires = "verify")]
    pub head: Vec<ChainHead>,
    /// With --verify: check each signature that a yes was given by, too: who signed what
    #[arg(long, requires = "verify")]
    pub signatures: bool,
    /// With --signatures: the keys that may sign, as approvers.toml has them [default: those that the audit log says were added]
    #[arg(long, value_name = "FILE", requires = "signatures", value_hint = ValueHint::FilePath)]
    pub approvers: Option<PathBuf>,
    /// With --verify: the audit log's files, such as copies of them [default: those of guardd]
    #[arg(value_name = "FILE", requires = "verify", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

/// `guard report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Of this session only, and of those that were started in it
    #[arg(long, value_name = "ID", add = complete::sessions())]
    pub session: Option<String>,
    /// Of sessions with this name only, and of those that were started in them
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Not older than this, such as 10m, yesterday or 14:30
    #[arg(long, value_name = "DURATION|TIME", value_parser = when::since)]
    pub since: Option<Duration>,
    /// For whom
    #[arg(long, value_enum, default_value_t, conflicts_with = "json")]
    pub format: ReportFormat,
    /// Exit with 1 if there was any: what a rule denied, or whatever was stopped
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<FailOn>,
}

/// `guard suggest`
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// Print a policy that lets pass what sessions have reached, and nothing else
    #[arg(long)]
    pub from_flows: bool,
    /// With --from-flows: what `guard flows --json` wrote, here or on other machines, in place of what this one knows
    #[arg(value_name = "FILE", requires = "from_flows", conflicts_with_all = ["session", "name"], value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Of this session only
    #[arg(long, value_name = "ID", add = complete::sessions())]
    pub session: Option<String>,
    /// With --from-flows: of sessions with this name only, and of those that were started in them
    #[arg(long, requires = "from_flows")]
    pub name: Option<String>,
    /// Not older than this, such as 12h, 7d or a date
    #[arg(long, value_name = "DURATION|TIME", value_parser = when::since)]
    pub since: Option<Duration>,
}

/// What a report looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a terminal
    #[default]
    Text,
    /// For a page or a comment
    Markdown,
    /// Annotations, and a page added to $GITHUB_STEP_SUMMARY
    Github,
    /// A folded section of a job's log
    Gitlab,
}

/// What makes a report fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// What was refused for good
    Denied,
    /// That, and what waited for a yes
    Stopped,
}

/// `guard why`
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// What was stopped in this time alone, such as 30s [default: the latest, whenever that was]
    #[arg(long, value_name = "DURATION|TIME", value_parser = when::since)]
    pub since: Option<Duration>,
    /// As a hook of an agent's that runs after a command: read what the agent says of it, and answer, as JSON, only where
    /// something was stopped meanwhile
    #[arg(long, conflicts_with = "json")]
    pub hook: bool,
}

/// `guard init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Whose settings
    #[arg(value_enum, value_name = "AGENT")]
    pub agent: AgentKind,
    /// Your own settings, for all projects [default: those of the project in this directory]
    #[arg(long)]
    pub user: bool,
    /// Take out what was entered, and nothing else
    #[arg(long)]
    pub remove: bool,
    /// Write without asking
    #[arg(long, short, conflicts_with = "print")]
    pub yes: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub print: bool,
}

impl AgentKind {
    /// The program that people start.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }

    /// The directory of a project's settings.
    pub(crate) const fn directory(self) -> &'static str {
        match self {
            Self::ClaudeCode => ".claude",
            Self::Codex => ".codex",
            Self::Gemini => ".gemini",
        }
    }
}

/// An agent whose settings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgentKind {
    /// .mcp.json and .claude/settings.json; with --user ~/.claude.json and ~/.claude/settings.json
    ClaudeCode,
    /// .codex/config.toml, and .codex/hooks.json where that is there
    Codex,
    /// .gemini/settings.json
    Gemini,
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
    /// Takes the environment's value where the command line has none.
    pub(super) fn or_environment(self) -> Self {
        let named = || std::env::var_os("GUARD_SOCKET").filter(|path| !path.is_empty());
        Self {
            socket: self.socket.or_else(|| named().map(PathBuf::from)),
            ..self
        }
    }

    /// The socket to talk to.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }
}
