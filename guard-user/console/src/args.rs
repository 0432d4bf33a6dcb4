//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use guard_cli::Synonym;

use crate::NotifyArgs;

/// Words in the place of a verb, as other programs have them.
pub const SYNONYMS: [Synonym; 6] = [
    (
        &["serve", "run", "listen"],
        "it serves pages where no verb is named",
        "sudo -u guard-console guard-console",
    ),
    (
        &["enable", "start", "up"],
        "it is a service",
        "sudo systemctl enable --now guard-console",
    ),
    (
        &["disable", "stop", "down"],
        "it is a service",
        "sudo systemctl disable --now guard-console",
    ),
    (
        &["restart", "reload"],
        "it is a service",
        "sudo systemctl restart guard-console",
    ),
    (
        &["invite", "enroll", "enrol", "register", "add", "passkey"],
        "guardd knows who answers: a passkey is made on the link of an invitation",
        "sudo guard approver invite NAME",
    ),
    (
        &["link", "signin", "url"],
        "a browser is logged in by a link, which login prints",
        "sudo -u guard-console guard-console login NAME",
    ),
];

/// Pages on which people see what sessions ask, sign a yes with a passkey, and say no
#[derive(Clone, Debug, Parser)]
#[command(name = "guard-console", version)]
pub struct ConsoleArgs {
    /// Settings
    #[arg(long, global = true, value_name = "FILE", default_value = crate::Settings::FILE)]
    pub config: PathBuf,
    /// Serve only this: localhost:PORT, or unix:PATH
    #[arg(long, global = true, value_name = "PLACE")]
    pub listen: Option<String>,
    /// What browsers call it: http://guard.localhost:PORT, or https://NAME
    #[arg(long, global = true, value_name = "URL")]
    pub origin: Option<String>,
    /// Where guardd listens
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Show all machines of which guard-fleet console tells there
    #[arg(long, global = true, value_name = "PATH")]
    pub fleet: Option<PathBuf>,
    /// Where links and sessions are kept
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What to do; none: serve.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Print a link that logs an approver's browser in, once, within ten minutes
    Login {
        /// The approver, as guard approver list has it
        name: String,
    },
    /// Log an approver out of all browsers, take back links that nobody has used, and tell its devices nothing more
    Logout {
        /// The approver's name, or a key's fingerprint
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Log everybody out
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Tell devices of approvers by Web Push that sessions ask, until it is told to end
    ///
    /// It takes push = ["webpush"] in the settings. Each device is one of a browser that somebody who is logged in has had told, on
    /// the console's page of keys. What is told, and how often, is as notify has it.
    Push,
    /// Tell a phone or a chat room of the request on standard input: for on_request in guardd's settings
    ///
    /// It tells the request's number, this machine and the link of its page, never a yes. What comes at once is one message,
    /// and there are three in five minutes about a session at most; the rest comes with a later one. It ends with 75 where it
    /// is to be run again later.
    Notify(NotifyArgs),
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_word_that_is_no_verb_leads_to_those_that_are() {
        for (line, fix) in [
            ("guard-console lgoin alice", "guard-console login alice\n"),
            ("guard-console invite bob", "sudo guard approver invite"),
            ("guard-console up", "sudo systemctl enable"),
            ("guard-console frobnicate", "guard-console --help"),
        ] {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let mut error = ConsoleArgs::try_parse_from(&words).unwrap_err();
            let command = ConsoleArgs::command();
            let told = guard_cli::meant(&command, &words, &mut error, &SYNONYMS).unwrap();
            assert!(told.fix.contains(fix), "{line}: {told:?}");
        }
    }

    #[test]
    fn no_word_of_others_is_a_verb_by_itself() {
        let command = ConsoleArgs::command();
        for word in SYNONYMS.iter().flat_map(|(words, ..)| words.iter()) {
            assert!(command.find_subcommand(word).is_none(), "{word}");
        }
    }
}
