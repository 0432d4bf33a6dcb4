//! `guard why --hook`, as agents run it after a command.

use guard_lab::{Json as _, Tested, V4};
use serde_json::Value;

use crate::agents::scene::{AgentScene, PATIENCE};

#[test]
fn a_model_is_told_after_a_command_that_was_stopped_and_after_no_other() -> Tested {
    let scene = AgentScene::new()?;
    let (guard, attempt) = (scene.program("guard")?, scene.attempt(V4)?);
    let input = r#"{"hook_event_name": "PostToolUseFailure", "tool_name": "Bash", "duration_ms": 1000, "error": "x"}"#;
    let hook = format!("echo '{input}' | {guard} why --hook; echo ended $?");
    let mut session = scene.session(&format!("{hook}; {attempt}; {hook}; sleep 5; {hook}"))?;
    assert_eq!(session.line(PATIENCE)?, "ended 0");
    let answer: Value = serde_json::from_str(&session.line(PATIENCE)?)?;
    let told = &answer["hookSpecificOutput"];
    assert_eq!(told["hookEventName"], "PostToolUseFailure");
    let text = told["additionalContext"].text()?;
    for words in [V4, "production", "A person has been asked (request r1)"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(session.line(PATIENCE)?, "ended 0");
    // That was another command's.
    assert_eq!(session.line(PATIENCE)?, "ended 0");
    Ok(())
}

#[test]
fn it_is_silent_outside_and_where_there_is_no_guardd() -> Tested {
    let mut scene = AgentScene::new()?;
    for _ in 0..2 {
        for input in ["{}", "", "no JSON"] {
            let output = scene.daemon.agent(["why", "--hook"]).input(input).run()?;
            let said = (
                output.code(),
                output.stdout.as_str(),
                output.stderr.as_str(),
            );
            assert_eq!(said, (Some(0), "", ""));
        }
        if scene.daemon.pid().is_some() {
            scene.daemon.kill()?;
        }
    }
    Ok(())
}
