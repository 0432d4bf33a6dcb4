//! `guard why --hook`: what an agent runs after each command, so that its model is told why one was stopped.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use guard_proto::{Stopped, inside::WhyReport};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::error::{CliError, Exit};
use super::inside;
use super::render::{endpoint, escape};

/// What an agent says of a command is read up to here: its output may be in it.
const MAX_INPUT: u64 = 16 * 1024 * 1024;
/// Where the agent does not say how long its command took, it is taken for this long.
const COMMAND: Duration = Duration::from_secs(30);
/// A refusal may be reported so much later than it was.
const LATE: Duration = Duration::from_secs(3);
/// Limit of the refusals that are reported: a model reads all of it after each command.
const MAX_TOLD: usize = 3;
/// Characters of each.
const MAX_ADVICE: usize = 1000;

/// What an agent says of the command that has ended, as Claude Code, Codex and Gemini CLI write it.
#[derive(Debug, Default, Deserialize)]
struct Input {
    /// Why the hook runs: `PostToolUse`, `AfterTool`.
    hook_event_name: Option<String>,
    /// How long the command took, in milliseconds.
    duration_ms: Option<u64>,
}

impl Input {
    /// In which time the command ran.
    fn time(&self) -> Duration {
        let took = self.duration_ms.map_or(COMMAND, Duration::from_millis);
        took.saturating_add(LATE)
    }
}

/// What they read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HookOutput {
    hook_specific_output: Context,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    hook_event_name: String,
    additional_context: String,
}

/// `guard why --hook`: silent where nothing was stopped, outside of sessions, and whatever fails. An agent whose hook
/// fails is disturbed, and `guard why` itself says what is wrong.
///
/// # Errors
///
/// Where the answer cannot be written.
pub(crate) fn after_command(socket: &Path, since: Option<Duration>) -> Result<Exit, CliError> {
    let input = read();
    let since = since.unwrap_or_else(|| input.time());
    let report =
        Client::connect_inside(socket).and_then(|client| inside::stopped(client, Some(since)));
    let Some(text) = report.ok().and_then(|report| words(&report)) else {
        return Ok(Exit::DONE);
    };
    let event = input.hook_event_name;
    let answer = HookOutput {
        hook_specific_output: Context {
            hook_event_name: event.unwrap_or_else(|| "PostToolUse".to_owned()),
            additional_context: text,
        },
    };
    let answer = serde_json::to_string(&answer).map_err(|error| CliError::output(&error.into()))?;
    writeln!(io::stdout(), "{}", escape::json(&answer))
        .map_err(|error| CliError::output(&error))?;
    Ok(Exit::DONE)
}

/// What the agent says; nothing where it says something else.
fn read() -> Input {
    let mut text = Vec::new();
    let read = io::stdin().lock().take(MAX_INPUT).read_to_end(&mut text);
    let said = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    said.unwrap_or_default()
}

/// What a model reads; none where nothing was stopped.
fn words(report: &WhyReport) -> Option<String> {
    // What waited for an answer and then passed was not stopped.
    let stopped: Vec<_> = report
        .stopped
        .iter()
        .filter(|one| !one.has_passed())
        .collect();
    let told = stopped.iter().take(MAX_TOLD);
    let told: Vec<_> = told.map(|stopped| one(stopped)).collect();
    if told.is_empty() {
        return None;
    }
    let rest = if report.more || stopped.len() > MAX_TOLD {
        "\nThere is more: `guard why` has all of it."
    } else {
        ""
    };
    Some(format!(
        "guard, which decides what this session may reach, has just stopped this. It is a policy's decision, and no fault \
         of the network:\n{}{rest}",
        told.join("\n"),
    ))
}

fn one(stopped: &Stopped) -> String {
    let times = match stopped.count {
        0 | 1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let to = escape::escaped(endpoint::words(&stopped.destination), MAX_ADVICE);
    let advice = escape::escaped(&stopped.advice, MAX_ADVICE);
    format!("- {to}{times}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::super::render::examples::{session, stopped};
    use super::*;

    fn report(count: usize) -> WhyReport {
        WhyReport {
            session: session(),
            stopped: vec![stopped(); count],
            more: false,
        }
    }

    #[test]
    fn a_model_is_told_what_to_do_and_not_too_much() {
        assert_eq!(words(&report(0)), None);
        insta::assert_snapshot!(words(&report(1)).unwrap(), @r"
        guard, which decides what this session may reach, has just stopped this. It is a policy's decision, and no fault of the network:
        - tcp 192.0.2.10:443 (photos.example.com) (2 times): ask for it with guard request, and try again once it is approved
        ");
        let many = words(&report(20)).unwrap();
        assert_eq!(many.matches("\n- ").count(), MAX_TOLD);
        assert!(many.contains("`guard why` has all of it"));
        let long = Stopped {
            advice: "\u{1b}".repeat(100_000),
            ..stopped()
        };
        let stopped = vec![long; 20];
        let text = words(&WhyReport {
            stopped,
            ..report(0)
        })
        .unwrap();
        assert!(text.len() < 30_000 && !text.contains('\u{1b}'));
    }

    #[test]
    fn a_command_is_looked_at_for_as_long_as_it_took() {
        let read = |text: &str| serde_json::from_str::<Input>(text).unwrap();
        let said = read(
            r#"{"hook_event_name": "PostToolUse", "duration_ms": 60000, "tool_name": "Bash"}"#,
        );
        assert_eq!(said.time(), Duration::from_secs(60) + LATE);
        assert_eq!(read("{}").time(), COMMAND + LATE);
    }
}
