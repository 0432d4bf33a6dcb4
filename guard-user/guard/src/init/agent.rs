//! Where agents have their settings, and what guard is called there.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use guard_proto::Failure;

use super::json::{self, AgentHook};
use super::program::Program;
use super::toml;
use crate::args::AgentKind;
use crate::change::Change;
use crate::error::CliError;
use crate::person::Person;
use crate::render::page::Page;
use crate::sudo;

/// For which projects.
#[derive(Debug)]
pub(super) enum Scope {
    /// The one in this directory.
    Project(PathBuf),
    /// All of the person with this home directory.
    User(PathBuf),
}

impl Scope {
    /// The working directory's project.
    ///
    /// # Errors
    ///
    /// Where there is no such directory any more.
    pub(super) fn project() -> Result<Self, CliError> {
        let dir = env::current_dir()
            .map_err(|error| nowhere("the working directory is not there", &error.to_string()))?;
        Ok(Self::Project(dir))
    }

    /// A person's own.
    ///
    /// # Errors
    ///
    /// Where neither HOME nor the list of users says where that is.
    pub(super) fn user(person: &Person) -> Result<Self, CliError> {
        let home = person.home().map(Path::to_owned);
        let home = home.ok_or_else(|| {
            nowhere(
                "the home directory is not known",
                "HOME is not set to a path, and this user has no other",
            )
        })?;
        Ok(Self::User(home))
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Project(dir) | Self::User(dir) => dir,
        }
    }

    /// Returns the first change to a file outside of the project: a link of the project leads there.
    pub(super) fn outside<'c>(&self, changes: &'c [Change]) -> Option<&'c Change> {
        let Self::Project(dir) = self else {
            return None;
        };
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
        changes.iter().find(|change| !change.file.starts_with(&dir))
    }

    /// Whether root would write another user's settings there.
    pub(super) fn is_anothers(&self) -> bool {
        sudo::is_root() && fs::metadata(self.dir()).is_ok_and(|about| about.uid() != 0)
    }
}

/// After commands of Claude Code's, the failed ones included.
const CLAUDE_CODE: AgentHook = AgentHook {
    events: &["PostToolUse", "PostToolUseFailure"],
    matcher: "Bash",
    timeout: "10",
};
/// The same for Codex, in a file of hooks.
const CODEX: AgentHook = AgentHook {
    events: &["PostToolUse"],
    matcher: "^Bash$",
    timeout: "10",
};
/// The same for Gemini CLI, which counts milliseconds.
const GEMINI: AgentHook = AgentHook {
    events: &["AfterTool"],
    matcher: "run_shell_command",
    timeout: "10000",
};

/// What is to be done to an agent's settings, so that it calls `program`; none: guard is taken out.
///
/// # Errors
///
/// Where they cannot be read or understood.
pub(super) fn changes(
    agent: AgentKind,
    scope: &Scope,
    program: Option<&Program>,
) -> Result<Vec<Change>, CliError> {
    match agent {
        AgentKind::ClaudeCode => claude_code(scope, program),
        AgentKind::Codex => codex(scope, program),
        AgentKind::Gemini => {
            let file = scope.dir().join(".gemini/settings.json");
            Ok(vec![in_json(file, true, Some(GEMINI), program)?])
        }
    }
}

/// The servers are in a file of their own.
fn claude_code(scope: &Scope, program: Option<&Program>) -> Result<Vec<Change>, CliError> {
    let servers = match scope {
        Scope::Project(dir) => dir.join(".mcp.json"),
        Scope::User(home) => home.join(".claude.json"),
    };
    let settings = scope.dir().join(".claude/settings.json");
    Ok(vec![
        in_json(servers, true, None, program)?,
        in_json(settings, false, Some(CLAUDE_CODE), program)?,
    ])
}

/// Hooks are in a file of their own where there is one: Codex warns of hooks in both.
fn codex(scope: &Scope, program: Option<&Program>) -> Result<Vec<Change>, CliError> {
    let dir = match (scope, env::var_os("CODEX_HOME")) {
        (Scope::User(_), Some(dir)) if !dir.is_empty() => PathBuf::from(dir),
        _ => scope.dir().join(".codex"),
    };
    let hooks = dir.join("hooks.json");
    let has_file = hooks.exists();
    let edit = toml::TomlEdit {
        hook: !has_file,
        program,
    };
    let mut changes = vec![Change::of(dir.join("config.toml"), |text| {
        edit.apply(text)
    })?];
    if has_file {
        changes.push(in_json(hooks, false, Some(CODEX), program)?);
    }
    Ok(changes)
}

fn in_json(
    file: PathBuf,
    server: bool,
    hook: Option<AgentHook>,
    program: Option<&Program>,
) -> Result<Change, CliError> {
    let edit = json::JsonEdit {
        server,
        hook,
        program,
    };
    Change::of(file, |text| edit.apply(text))
}

/// What a person meets at the agent's next start.
pub(super) fn at_first(agent: AgentKind) -> String {
    let first = match agent {
        AgentKind::ClaudeCode => "At its first start it asks whether to use the MCP server.",
        AgentKind::Codex => "It runs the hook once you have looked at it: type /hooks there.",
        AgentKind::Gemini => "It says at its start that there is a new hook.",
    };
    format!("{first} Outside of guard neither does anything.")
}

/// How the agent is started from now on.
pub(super) fn start(agent: AgentKind, page: &mut Page) {
    page.line(format_args!("{} Start the agent so:", at_first(agent)))
        .commands(format_args!("guard run -- {}", agent.program()));
}

fn nowhere(what: &str, why: &str) -> CliError {
    CliError::Local(Failure {
        what: what.into(),
        why: why.into(),
        fix: "go to the project's directory, or set HOME, and try again".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(changes: &[Change], dir: &Path) -> Vec<String> {
        let files = changes
            .iter()
            .map(|change| change.file.strip_prefix(dir).unwrap());
        files.map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn each_agent_has_its_own_files() {
        let guard = Program::called("guard");
        let dir = tempfile::tempdir().unwrap();
        let scopes = [
            Scope::Project(dir.path().to_owned()),
            Scope::User(dir.path().to_owned()),
        ];
        for (agent, project, user) in [
            (
                AgentKind::ClaudeCode,
                vec![".mcp.json", ".claude/settings.json"],
                vec![".claude.json", ".claude/settings.json"],
            ),
            (
                AgentKind::Codex,
                vec![".codex/config.toml"],
                vec![".codex/config.toml"],
            ),
            (
                AgentKind::Gemini,
                vec![".gemini/settings.json"],
                vec![".gemini/settings.json"],
            ),
        ] {
            for (scope, expected) in scopes.iter().zip([project, user]) {
                let changes = changes(agent, scope, Some(&guard)).unwrap();
                assert_eq!(names(&changes, dir.path()), expected);
                assert!(changes.iter().all(Change::is_one));
            }
        }
    }

    #[test]
    fn what_was_written_is_taken_out_again() {
        let guard = Program::called("guard");
        for agent in [AgentKind::ClaudeCode, AgentKind::Codex, AgentKind::Gemini] {
            let dir = tempfile::tempdir().unwrap();
            let scope = Scope::Project(dir.path().to_owned());
            let written = changes(agent, &scope, Some(&guard)).unwrap();
            written.iter().for_each(|change| change.write().unwrap());
            assert!(
                !changes(agent, &scope, Some(&guard))
                    .unwrap()
                    .iter()
                    .any(Change::is_one)
            );
            let removed = changes(agent, &scope, None).unwrap();
            removed.iter().for_each(|change| change.write().unwrap());
            assert!(
                written.iter().all(|change| !change.file.exists()),
                "{agent:?}"
            );
        }
    }

    #[test]
    fn codex_has_its_hooks_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".codex")).unwrap();
        let hooks = dir.path().join(".codex/hooks.json");
        fs::write(&hooks, "{\n  \"hooks\": {}\n}\n").unwrap();
        let scope = Scope::Project(dir.path().to_owned());
        let changes = changes(AgentKind::Codex, &scope, Some(&Program::called("guard"))).unwrap();
        assert_eq!(
            names(&changes, dir.path()),
            [".codex/config.toml", ".codex/hooks.json"]
        );
        assert!(!changes[0].after.as_deref().unwrap().contains("hooks"));
        assert!(
            changes[1]
                .after
                .as_deref()
                .unwrap()
                .contains("guard why --hook")
        );
    }
}
