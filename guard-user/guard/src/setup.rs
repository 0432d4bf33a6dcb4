//! `guard setup`: what a person does before the first guarded command. Each step is a verb of its own, and asks before it changes
//! anything.

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::ValueEnum as _;
use guard_proto::Failure;

use super::args::{AgentKind, Global, SetupArgs};
use super::client::Client;
use super::discover;
use super::doctor;
use super::error::{CliError, Exit};
use super::init;
use super::person::Person;
use super::policy_file::{is_machines, or_default, personal};
use super::render::page::{COMMAND, HEAD, Page};
use super::render::{Output, command_line};

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

    let found = steps.production(&name, &socket)?;
    let used = steps.policy(&name, &found, &socket)?;
    let agents = steps.settings()?;

    let first = FirstCommand {
        // Named in any case: guardd knows none of a person's own policies, of which the settings may name one.
        policy: or_default(used.as_deref()),
        program: steps.program(&agents),
        is_to_be_written: args.print && used.as_ref() == Some(&name) && found.own.is_none(),
        starts: match Client::connect(&socket) {
            Err(CliError::NoDaemon(none)) => Some(none.fix),
            _ => None,
        },
    };
    output.print(&(), |(), _| first.page())?;
    Ok(machine)
}

/// What to type once all is set up.
struct FirstCommand<'a> {
    policy: &'a str,
    program: &'a str,
    /// Whether there is no such policy yet.
    is_to_be_written: bool,
    /// What starts guardd, where none runs.
    starts: Option<String>,
}

impl FirstCommand<'_> {
    fn page(&self) -> Page {
        let mut page = Page::default();
        page.end();
        if let Some(starts) = &self.starts {
            page.styled(HEAD, "Before, as no guardd runs:").end();
            page.commands(starts);
        }
        if self.is_to_be_written {
            page.styled(HEAD, "Once guard setup, without --print, has written that:")
                .end();
        }
        page.styled(
            HEAD,
            "The first guarded command; `guard watch` in another terminal answers its requests:",
        );
        let run = ["guard", "run", "--policy", self.policy, "--", self.program];
        let run = command_line(&run.map(str::to_owned));
        page.end().commands(format_args!("{run}\nguard watch"));
        page
    }
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

/// What the second step has found.
struct FoundOpen {
    /// The text of the person's own policy of that name, where there is one: they use it here.
    own: Option<String>,
    /// How many places have no rule.
    missing: usize,
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

    /// Shows what is in reach.
    fn production(&self, name: &str, socket: &Path) -> Result<FoundOpen, CliError> {
        self.head(
            2,
            "Production in reach of what you start here",
            "guard discover",
        )?;
        let policy = self.args.policy.as_deref();
        // One that is there is what the person uses here, once they know what it says: whatever runs as them may have written it.
        let own = personal(name, &Person::own()).filter(|_| policy.is_none());
        let own = own.map(|file| discover::take_over(name, &file, self.args.print, self.output));
        let own = own.transpose()?;
        let measured = policy.or(own.as_ref().map(|_| name));
        let missing = discover::list(measured, self.args.print, socket, self.output)?;
        Ok(FoundOpen { own, missing })
    }

    /// Offers a policy for it. The name of the one that is used then; none: that of the settings.
    fn policy(
        &self,
        name: &str,
        found: &FoundOpen,
        socket: &Path,
    ) -> Result<Option<String>, CliError> {
        let write = format!("guard discover --write {name}");
        self.head(3, "A policy for it", &write)?;
        let base = self.args.policy.as_deref();
        let measured = base.or(found.own.as_ref().map(|_| name));
        let measured = measured.map(str::to_owned);
        if found.missing == 0 {
            self.say("Nothing is left open that looks like production: no rule is missing.")?;
            return Ok(measured);
        }
        let offered = discover::OfferedPolicy {
            name,
            base,
            agreed: found.own.as_deref(),
        };
        let offered = discover::offer(offered, self.args.print, socket, self.output)?;
        Ok(offered.or(measured))
    }

    /// Enters guard into the settings of agents; those.
    fn settings(&self) -> Result<Vec<AgentKind>, CliError> {
        self.head(4, "Your agent's settings", "guard init AGENT")?;
        let agents = self.agents();
        if agents.is_empty() {
            self.say(
                "No agent is installed that has settings for guard: any command can be guarded.",
            )?;
        }
        for agent in &agents {
            init::offer(*agent, self.args.print, self.output)?;
        }
        Ok(agents)
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

    /// What to start: the agent that was named; else one that is installed; else what every machine has.
    fn program(&self, agents: &[AgentKind]) -> &'static str {
        let is_one =
            |agent: &&AgentKind| !self.args.agent.is_empty() || is_installed(agent.program());
        agents
            .iter()
            .find(is_one)
            .map_or("sh", |agent| agent.program())
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
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = directory.chars().map(plain).take(40).collect();
    let name = name.trim_matches('-');
    if name.is_empty() || is_machines(name) {
        format!("my-{}", if name.is_empty() { "project" } else { name })
    } else {
        name.to_owned()
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

    fn first(policy: &str) -> FirstCommand<'_> {
        FirstCommand {
            policy,
            program: "claude",
            is_to_be_written: false,
            starts: None,
        }
    }

    #[test]
    fn the_first_command_is_told_as_it_works() {
        let told = first("shop").page().plain();
        insta::assert_snapshot!(told.trim_start(), @r"
        The first guarded command; `guard watch` in another terminal answers its requests:
            guard run --policy shop -- claude
            guard watch
        ");
        let file = first("./my shop.toml").page().plain();
        assert!(file.contains("    guard run --policy './my shop.toml' -- claude\n"));
    }

    #[test]
    fn what_the_first_command_needs_before_is_said_before() {
        let first = FirstCommand {
            is_to_be_written: true,
            starts: Some("start it:\nsudo systemctl start guardd".into()),
            ..first("shop")
        };
        let told = first.page().plain();
        insta::assert_snapshot!(told.trim_start(), @r"
        Before, as no guardd runs:
            start it:
            sudo systemctl start guardd
        Once guard setup, without --print, has written that:
        The first guarded command; `guard watch` in another terminal answers its requests:
            guard run --policy shop -- claude
            guard watch
        ");
    }
}
