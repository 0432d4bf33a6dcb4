//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use guard_cli::Synonym;
use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::subjects::{Group, Machine};

/// Words in the place of a verb, as other programs have them.
pub const SYNONYMS: [Synonym; 9] = [
    (
        &["list", "ls", "nodes", "hosts", "machine"],
        "machines are listed by machines, and what they ask by pending",
        "guard-fleet machines\nguard-fleet pending",
    ),
    (
        &["approve", "deny", "sign"],
        "an answer is signed with a key of yours, once you have seen what is asked",
        "guard-fleet pending\nguard-fleet answer MACHINE REQUEST",
    ),
    (
        &["watch", "follow", "tail"],
        "what is listed or shown goes on with --follow",
        "guard-fleet pending --follow\nguard-fleet log --follow",
    ),
    (
        &["enable", "start", "up", "run"],
        "it is a service on each machine, and serve is what that runs",
        "sudo systemctl enable --now guard-fleet",
    ),
    (
        &["disable", "stop", "down"],
        "it is a service on each machine; without it nobody there is asked from elsewhere",
        "sudo systemctl disable --now guard-fleet",
    ),
    (
        &["restart", "reload"],
        "it is a service on each machine",
        "sudo systemctl restart guard-fleet",
    ),
    (
        &["add", "enroll", "enrol", "register", "token"],
        "a machine joins by a token, once",
        "guard-fleet invite FILE > token\nand on that machine:\nsudo -u guard-fleet guard-fleet join < token",
    ),
    (
        &["rm", "delete", "del", "leave", "kick"],
        "a machine is taken out of the list beside a server",
        "guard-fleet remove MACHINE FILE",
    ),
    (
        &["policy", "policies", "deploy", "publish", "apply"],
        "policies are signed as one bundle, which push brings to machines",
        "guard policy sign --group GROUP --base base policies/ > bundle && guard-fleet push bundle",
    ),
];

/// Carry what sessions ask from many machines to the people who answer, over NATS
#[derive(Clone, Debug, Parser)]
#[command(
    name = "guard-fleet",
    version,
    after_help = "Examples:\n  guard-fleet pending --follow\n  guard-fleet answer m-1f2e r7\n  guard-fleet push bundle\n  guard-fleet status"
)]
pub struct Args {
    /// Settings [default: ~/.config/guard/fleet.toml, else /etc/guard/fleet.toml; of serve the latter, of console and keep fleet-console.toml and fleet-keep.toml beside it]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where guardd listens, as GUARD_SOCKET says it, too
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Carry this machine's questions, until it is told to end
    Serve,
    /// Print the public key, for whoever keeps the server's settings; make the key where there is none
    Key,
    /// Join a fleet by a token of guard-fleet invite, which is read from standard input
    #[command(
        after_help = "Example:\n  sudo systemctl enable --now guard-fleet && sudo -u guard-fleet guard-fleet join < token"
    )]
    Join,
    /// Beside a server: have it know whom FILE lists, and let machines in that are invited, until it is told to end
    Keep(KeepArgs),
    /// Beside a server: write an invitation into FILE, and print its token, by which one machine can join once
    #[command(
        after_help = "Example:\n  guard-fleet invite --group ci /etc/nats/fleet.list > token"
    )]
    Invite(InviteArgs),
    /// Beside a server: take a machine out of FILE, so that servers and consoles know it no more
    #[command(
        after_help = "What it may, ends once guard-fleet keep has followed the list; without keep: guard-fleet rights FILE.\n\nExample:\n  guard-fleet remove m-1f2e /etc/nats/fleet.list"
    )]
    Remove(RemoveArgs),
    /// Print the rights of machines and people that FILE lists, for the settings of nats-server
    #[command(
        after_help = "FILE:\n  [[machine]]\n  id = \"m-…\"        # guard question ID has it; guard-fleet serve logs it\n  key = \"U…\"         # guard-fleet key, on that machine\n  group = \"ci\"\n\n  [[person]]\n  key = \"U…\"\n  groups = [\"ci\"]\n\nExample:\n  guard-fleet rights fleet.list > new.conf && mv new.conf /etc/nats/guard.conf && systemctl reload nats-server"
    )]
    Rights {
        /// Machines and people
        file: PathBuf,
    },
    /// List what sessions of all machines ask
    Pending {
        /// Go on, and have connections wait meanwhile
        #[arg(long)]
        follow: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// List the machines that are there
    Machines(MachinesArgs),
    /// Sum up the machines that are there: how many enforce, and which policies they have
    #[command(
        after_help = "Examples:\n  guard-fleet status --json | jq .policies\n  guard-fleet status --list fleet.list || echo 'not all are there'"
    )]
    Status(MachinesArgs),
    /// Bring a signed bundle of policies to the machines of its groups, and say which have it in force
    #[command(
        after_help = "Example:\n  guard policy sign --group ci --base base policies/ > bundle && guard-fleet push bundle"
    )]
    Push(PushArgs),
    /// Beside a console: show it all machines of the groups, and carry what it hands in, until it is told to end
    #[command(
        after_help = "Example:\n  guard-fleet --config /etc/guard/fleet-console.toml console\n\nguard-console shows them with fleet = \"/run/guard-fleet/console.sock\" in its settings."
    )]
    Console(ConsoleSocketArgs),
    /// Show the audit logs that machines have sent to the servers, or check that they are whole
    #[command(
        after_help = "Examples:\n  guard-fleet log --machine m-1f2e --since 1h --follow\n  guard-fleet log --verify --signatures --approvers approvers.toml --list fleet.list"
    )]
    Log(LogArgs),
    /// Show what a machine asks, have a key of yours sign the answer by guard sign, and hand it in
    Answer(AnswerArgs),
}

/// Of `keep`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeepArgs {
    /// Machines and people, as for guard-fleet rights
    #[arg(value_name = "FILE")]
    pub list: PathBuf,
    /// What nats-server includes: it is rewritten
    #[arg(long, value_name = "FILE")]
    pub rights: PathBuf,
    /// Where nats-server writes its number: its pid_file
    #[arg(long, value_name = "FILE")]
    pub pid_file: PathBuf,
    /// Keep the last bundle of policies of each group there, for machines that come later
    #[arg(long, value_name = "DIR", requires = "signers")]
    pub policies: Option<PathBuf>,
    /// Who may sign policies, as on machines: of others none is kept
    #[arg(long, value_name = "FILE", requires = "policies")]
    pub signers: Option<PathBuf>,
    /// How many of them have to, as on machines
    #[arg(long, value_name = "N", default_value_t = 1, requires = "policies", value_parser = signatures)]
    pub signatures: usize,
    /// Have the servers keep audit logs that machines send, each record for so long, as 90d
    #[arg(long, value_name = "TIME", value_parser = lasts)]
    pub(crate) log: Option<SignedDuration>,
    /// Of each machine so many of them: what it writes beyond that waits there until older ones are gone
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "log"
    )]
    pub log_records: u32,
    /// On so many servers [default: 3, or the one that there is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5), requires = "log")]
    pub log_copies: Option<u8>,
}

/// Of `machines` and `status`.
#[derive(Clone, Debug, clap::Args)]
pub struct MachinesArgs {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Also say which machines of this list are silent, as guard-fleet keep has it; 1 if there are any
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
}

/// Of `log`.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Only of that machine, or of those whose ids begin so
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// Only what is no older, as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = lasts)]
    pub(crate) since: Option<SignedDuration>,
    /// Go on
    #[arg(long, conflicts_with = "verify")]
    pub follow: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Check that each machine's records are as they were written, and none is missing
    #[arg(long)]
    pub verify: bool,
    /// With it: check each signed answer, by the keys that the logs say were added
    #[arg(long, requires = "verify")]
    pub signatures: bool,
    /// With --signatures: the keys that may sign, as approvers.toml has them; what logs say of keys does not count then
    #[arg(long, value_name = "FILE", requires = "signatures")]
    pub approvers: Option<PathBuf>,
    /// With --verify: machines and people, as for guard-fleet rights: each machine has to have records here
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub list: Option<PathBuf>,
}

/// As many as guardd's settings take.
fn signatures(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=16) => Ok(count),
        _ => Err("expected 1 to 16".to_owned()),
    }
}

/// Of `invite`.
#[derive(Clone, Debug, clap::Args)]
pub struct InviteArgs {
    /// Machines and people, as for guard-fleet rights
    #[arg(value_name = "FILE")]
    pub list: PathBuf,
    /// The group that the machine will be in
    #[arg(long, default_value_t)]
    pub(crate) group: Group,
    /// Only that machine, by its id
    #[arg(long, value_name = "ID")]
    pub(crate) machine: Option<Machine>,
    /// How long the token counts, as 10m or 2h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = lasts)]
    pub(crate) lasts: SignedDuration,
}

/// Of `remove`.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoveArgs {
    /// The machine, or how its id begins
    pub machine: String,
    /// Machines and people, as for guard-fleet rights
    #[arg(value_name = "FILE")]
    pub list: PathBuf,
}

/// Longer than nothing.
fn lasts(text: &str) -> Result<SignedDuration, String> {
    let span = text.parse::<Span>();
    let time = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    match time {
        Ok(time) if time.is_positive() => Ok(time),
        _ => Err("expected a time such as 10m, 2h or 7d".to_owned()),
    }
}

/// Of `push`.
#[derive(Clone, Debug, clap::Args)]
pub struct PushArgs {
    /// What guard policy sign has printed
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// How long machines are waited for, as 10s
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = lasts)]
    pub(crate) lasts: SignedDuration,
}

/// Of `console`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConsoleSocketArgs {
    /// Where the console finds it
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/guard-fleet/console.sock"
    )]
    pub at: PathBuf,
    /// The console's user, by name or number: nobody else is heard there, but root
    #[arg(long, value_name = "USER", default_value = "guard-console")]
    pub user: String,
}

/// Of `answer`.
#[derive(Clone, Debug, clap::Args)]
pub struct AnswerArgs {
    /// The machine, or how its id begins
    pub machine: String,
    /// The request's id
    pub request: String,
    /// A key's file, as guard sign takes it
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The name that you are enrolled with, as guard sign takes it
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// What guard sign has printed elsewhere; -: standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "name"])]
    pub signed: Option<PathBuf>,
}

impl Args {
    /// Whether it runs until it is told to end.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.verb, Verb::Serve | Verb::Keep(_) | Verb::Console(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::ffi::OsString;

    #[test]
    fn help_has_what_people_look_for() {
        let help = Args::command().render_help().to_string();
        for wanted in [
            "GUARD_SOCKET",
            "guard-fleet push bundle",
            "guard-fleet status",
        ] {
            assert!(help.contains(wanted), "{wanted}: {help}");
        }
    }

    #[test]
    fn a_word_that_is_no_verb_leads_to_those_that_are() {
        let told = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let mut error = Args::try_parse_from(&words).unwrap_err();
            guard_cli::meant(&Args::command(), &words, &mut error, &SYNONYMS).unwrap()
        };
        let misspelt = told("guard-fleet --socket /x pendign --json");
        assert_eq!(misspelt.why, "did you mean pending?");
        assert!(
            misspelt
                .fix
                .starts_with("guard-fleet --socket /x pending --json\n")
        );
        for (line, fix) in [
            ("guard-fleet ls", "guard-fleet machines\n"),
            ("guard-fleet approve r7", "guard-fleet answer"),
            ("guard-fleet restart", "sudo systemctl restart guard-fleet"),
            ("guard-fleet frobnicate", "guard-fleet --help"),
        ] {
            let told = told(line);
            assert!(told.fix.contains(fix), "{line}: {told:?}");
        }
    }

    #[test]
    fn no_word_of_others_is_a_verb_by_itself() {
        let command = Args::command();
        for word in SYNONYMS.iter().flat_map(|(words, ..)| words.iter()) {
            assert!(command.find_subcommand(word).is_none(), "{word}");
        }
    }

    #[test]
    fn times_are_taken_as_help_and_documents_write_them() {
        for (text, seconds) in [
            ("30s", 30),
            ("10m", 600),
            ("2h", 7200),
            ("7d", 7 * 86_400),
            ("90d", 90 * 86_400),
            ("1d12h", 129_600),
        ] {
            assert_eq!(
                lasts(text),
                Ok(SignedDuration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["", "0s", "-1h", "1", "1y", "1mo", "soon"] {
            assert!(lasts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_is_too_few_to_sign() {
        let keep = |count: &str| {
            let args = [
                "guard-fleet",
                "keep",
                "list",
                "--rights",
                "r",
                "--pid-file",
                "p",
            ];
            let policies = ["--policies", "d", "--signers", "s", "--signatures", count];
            Args::try_parse_from(args.into_iter().chain(policies)).is_ok()
        };
        assert!(keep("1") && keep("16"));
        assert!(!keep("0") && !keep("17"));
    }
}
