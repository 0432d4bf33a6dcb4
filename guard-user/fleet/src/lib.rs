//! `guard-fleet`: carries what the sessions of many machines ask to the people who answer, over NATS.
//!
//! It is a courier: on each machine a user without rights that publishes guardd's questions, and hands signed answers in. guardd
//! checks each signature itself, so that an attacker who takes a server, or this program, can hide a question or delay a yes, and
//! cannot make one of what a session has not asked. Machines are where questions live: a server keeps none, and whoever comes
//! later has them published again.
//!
//! `subjects.rs` says what is published where and by whom, `messages.rs` in which form; `machine/` is the side of a machine, and
//! `people/` that of a person; `central/` is beside a console, which shows all machines; `keeper/` is beside a server, and says
//! who may do what (`list.rs`, `rights.rs`).

mod args;
mod central;
mod keeper;
mod key;
mod link;
mod list;
mod machine;
mod messages;
mod people;
mod rights;
mod settings;
mod stream;
mod subjects;

use anyhow::{Context as _, Result};

pub use args::{Args, SYNONYMS, Verb};
pub use settings::Settings;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerbOutcome {
    /// As asked.
    Done,
    /// Nothing was signed.
    No,
    /// What a machine carries with has ended: it is to be started again.
    Lost,
}

/// Does what the command line says.
///
/// # Errors
///
/// What failed, on what, and what to type next.
pub fn run(args: Args) -> Result<VerbOutcome> {
    if let Verb::Rights { file } = &args.verb {
        return people::print(&rights::of(file)?);
    }
    if let Verb::Invite(invite) = &args.verb {
        return keeper::invite(invite);
    }
    if let Verb::Remove(remove) = &args.verb {
        return keeper::remove(remove);
    }
    let settings = Settings::read(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("cannot begin")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        match args.verb {
            Verb::Serve => machine::serve(&settings).await,
            Verb::Join => machine::join(&settings).await,
            Verb::Console(console) => central::console(&settings, &console).await,
            Verb::Keep(keep) => keeper::keep(&settings, &keep).await,
            Verb::Pending { follow, json } => people::pending(&settings, follow, json).await,
            Verb::Machines(args) => people::machines(&settings, &args).await,
            Verb::Status(args) => people::status(&settings, &args).await,
            Verb::Push(push) => people::push(&settings, push).await,
            Verb::Log(log) => people::log(&settings, log).await,
            Verb::Answer(answer) => people::answer(&settings, answer).await,
            Verb::Key => print_key(&settings).await,
            Verb::Rights { .. } | Verb::Invite(_) | Verb::Remove(_) => Ok(VerbOutcome::Done),
        }
    })
}

/// The key alone on standard output; beside it whose it is, and which entry of the list has it.
async fn print_key(settings: &Settings) -> Result<VerbOutcome> {
    let key = key::public(&settings.key)?;
    let whose = if settings.is_persons() {
        "your key, for a [[person]] of the list:".to_owned()
    } else {
        machines_key(machine::id_of_this_machine(settings).await)
    };
    eprintln!("guard-fleet: {whose}");
    people::print(&format!("{key}\n"))
}

/// Of a machine there is the id, too, that the list has it by.
fn machines_key(id: Result<subjects::Machine>) -> String {
    match id {
        Ok(id) => format!("the key of the machine {id}, for a [[machine]] of the list:"),
        Err(why) => {
            let why = why.to_string();
            let why = why.lines().next().unwrap_or_default();
            format!(
                "the key of this machine, for a [[machine]] of the list; guardd does not say its id: {why}"
            )
        }
    }
}
