//! How agents call guard, and how that is known again.

use std::env;
use std::path::Path;

/// What follows the program in the command of the hook.
const HOOK: &str = " why --hook";

/// The program under test or in use, as an agent's settings name it.
#[derive(Clone, Debug)]
pub(super) struct Program(String);

impl Program {
    /// `guard` where that is this program by PATH; else where it is.
    pub(super) fn own() -> Self {
        let Ok(own) = env::current_exe() else {
            return Self("guard".to_owned());
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path)
            .map(|dir| dir.join("guard"))
            .find(|file| file.is_file());
        let is_own = found.and_then(|file| file.canonicalize().ok()) == own.canonicalize().ok();
        Self(if is_own {
            "guard".to_owned()
        } else {
            own.to_string_lossy().into_owned()
        })
    }

    /// The program of the MCP server.
    pub(super) fn command(&self) -> String {
        self.0.clone()
    }

    /// The hook, as a shell reads it.
    pub(super) fn hook(&self) -> String {
        crate::render::command_line(std::slice::from_ref(&self.0)) + HOOK
    }
}

/// Whether an MCP server of that command and these arguments is one that was entered here.
pub(super) fn is_server(command: Option<&str>, args: &[&str]) -> bool {
    command.is_some_and(is_guard) && args == ["mcp"]
}

/// Whether a hook with that command is one that was entered here.
pub(super) fn is_hook(command: Option<&str>) -> bool {
    let program = command.and_then(|command| command.trim().strip_suffix(HOOK));
    program.is_some_and(|program| is_guard(program.trim_matches('\'')))
}

fn is_guard(program: &str) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == "guard")
}

#[cfg(test)]
impl Program {
    pub(super) fn called(name: &str) -> Self {
        Self(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_is_known_again() {
        for name in ["guard", "/usr/bin/guard", "/opt/a dir/guard"] {
            let program = Program::called(name);
            assert!(is_hook(Some(&program.hook())), "{}", program.hook());
            assert!(is_server(Some(&program.command()), &["mcp"]));
        }
        for other in [
            "guard why",
            "vanguard why --hook",
            "guard why --hook; rm x",
            "guard request a",
        ] {
            assert!(!is_hook(Some(other)), "{other}");
        }
        assert!(!is_hook(None) && !is_server(Some("guard"), &["mcp", "x"]));
        assert!(!is_server(Some("npx"), &["mcp"]));
    }
}
