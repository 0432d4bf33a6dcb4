//! `guard setup`: what a person does before the first guarded command. Each step is a verb of its own, and asks before it changes
//! anything.

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::ValueEnum as _;
use guard_proto::Failure;

use super::args::{AgentKind, Global, SetupArgs};
use super::discover;
use super::doctor;
use super::error::{CliError, Exit};
use super::init;
use super::person::Person;
use super::policy_file::{is_machines, personal};
use super::render::Output;
use super::render::page::{COMMAND, HEAD, Page};

/// Looks at the machine, finds production, writes a policy and enters guard into the agents' settings.
///
/// # Errors
///
/// Where nobody can be asked, and those of the steps.
pub(crate) fn setup(args: &SetupArgs, global: &Global, output: Output) -> Result<Exit, CliError> {
    let socket = global.socket();
    discover::is_persons(&socket)?;
    if let Some(name) = &args.name {
        discover::is_name(name, "guard setup shop")?;
    }
    is_asked(args, output)?;
    let steps = Steps { args, output };
    let name = args.name.clone().unwrap_or_else(of_the_directory);

    steps.head(1, "This machine", "guard doctor")?;
    let machine = doctor::problems(global, output)?;

    steps.head(
        2,
        "Production in reach of what you start here",
        "guard discover",
    )?;
    let policy = args.policy.as_deref();
    // One that is there is what the person uses here, once they know what it says: whatever runs as them may have written it.
    let own = personal(&name, &Person::own()).filter(|_| policy.is_none());
    let taken = own.as_ref();
    let taken = taken.map(|file| discover::take_over(&name, file, args.print, output));
    let taken = taken.transpose()?;
    let measured = policy.or(own.as_ref().map(|_| name.as_str()));
    let missing = discover::list(measured, args.print, &socket, output)?;

    let write = format!("guard discover --write {name}");
    steps.head(3, "A policy for it", &write)?;
    let used = match missing {
        0 => {
            steps.say("Nothing is left open that looks like production: no rule is missing.")?;
            measured.map(str::to_owned)
        }
        _ => {
            let own = (&*name, taken.as_deref());
            let offered = discover::offer(own, policy, args.print, (&socket, output))?;
            offered.or(measured.map(str::to_owned))
        }
    };

    steps.head(4, "Your agent's settings", "guard init AGENT")?;
    let agents = steps.agents();
    if agents.is_empty() {
        steps.say(
            "No agent is installed that has settings for guard: any command can be guarded.",
        )?;
    }
    for agent in &agents {
        init::offer(*agent, args.print, output)?;
    }

    let first = agents.first().map_or("CMD", |agent| agent.program());
    output.print(&(), |(), _| last_words(used.as_deref(), first))?;
    Ok(machine)
}

/// What to type once all is set up.
fn last_words(policy: Option<&str>, program: &str) -> Page {
    let policy = policy.map_or_else(String::new, |name| format!("--policy {name} "));
    let mut page = Page::default();
    page.end();
    page.styled(
        HEAD,
        "The first guarded command; `guard watch` in another terminal answers its requests:",
    );
    page.end()
        .commands(format_args!("guard run {policy}-- {program}\nguard watch"));
    page
}

/// Each step asks a person, unless nothing is to be changed.
fn is_asked(args: &SetupArgs, output: Output) -> Result<(), Failure> {
    let why = match (output.is_json(), io::stdin().is_terminal()) {
        (true, _) => "it is for people, and each step has its own JSON",
        (false, false) if !args.print => "standard input is no terminal, so nobody can be asked",
        _ => return Ok(()),
    };
    Err(Failure {
        what: "cannot set up guard".into(),
        why: why.into(),
        fix: "look at what it would change, or take the steps one by one:\nguard setup --print\nguard doctor\nguard discover --write NAME --yes\nguard init AGENT --yes".into(),
    })
}

struct Steps<'a> {
    args: &'a SetupArgs,
    output: Output,
}

impl Steps<'_> {
    fn head(&self, number: u8, title: &str, command: &str) -> Result<(), CliError> {
        let mut page = Page::default();
        if number > 1 {
            page.end();
        }
        page.styled(HEAD, format_args!("{number}/4  {title}"));
        page.text("  ").styled(COMMAND, command).end();
        self.output.print(&(), |(), _| page)
    }

    fn say(&self, text: &str) -> Result<(), CliError> {
        self.output.print(&(), |(), _| Page::of(text))
    }

    /// The agents that were named; else those that are installed, or have settings in this directory.
    fn agents(&self) -> Vec<AgentKind> {
        if !self.args.agent.is_empty() {
            return self.args.agent.clone();
        }
        let is_here = |agent: &&AgentKind| {
            is_installed(agent.program()) || Path::new(agent.directory()).is_dir()
        };
        AgentKind::value_variants()
            .iter()
            .filter(is_here)
            .copied()
            .collect()
    }
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.is_absolute() && dir.join(program).is_file())
}

/// A policy's name: that of the directory, as far as a name may have its characters.
fn of_the_directory() -> String {
    let dir = env::current_dir().unwrap_or_default();
    let name = dir
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().to_lowercase());
    named_after(&name)
}

fn named_after(directory: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '-',
    };
    let name: String = directory.chars().map(plain).take(40).collect();
    let name = name.trim_matches('-');
    match name.is_empty() || is_machines(name) {
        true => format!("my-{}", if name.is_empty() { "project" } else { name }),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_named_after_the_directory() {
        assert_eq!(named_after("shop"), "shop");
        assert_eq!(named_after("My Shop (2)"), "My-Shop--2");
        // Built in: that one would be taken in its place.
        assert_eq!(named_after("homelab"), "my-homelab");
        assert_eq!(named_after("…"), "my-project");
    }
}
