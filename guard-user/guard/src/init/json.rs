//! Settings in JSON, with or without comments: what is not guard's keeps its place and its form.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode};
use serde_json::Value;

use super::program::{Program, is_hook, is_server};

/// The MCP servers, as Claude Code and Gemini CLI have them.
const SERVERS: &str = "mcpServers";
/// The name of guard's.
const NAME: &str = "guard";
const HOOKS: &str = "hooks";

/// A hook after commands.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgentHook {
    /// The events that it is for.
    pub(super) events: &'static [&'static str],
    /// The tool that runs commands.
    pub(super) matcher: &'static str,
    /// What the agent takes for ten seconds.
    pub(super) timeout: &'static str,
}

/// What shall stand there, or no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonEdit<'a> {
    /// Whether the server is in this file.
    pub(super) server: bool,
    /// The hook, if it is in this file.
    pub(super) hook: Option<AgentHook>,
    /// How guard is called; none: it is taken out.
    pub(super) program: Option<&'a Program>,
}

impl JsonEdit<'_> {
    /// The text as it shall be; none where nothing is left of it.
    ///
    /// # Errors
    ///
    /// What in the text is not as settings are. Then nothing is to be written.
    pub(super) fn apply(self, text: Option<&str>) -> Result<Option<String>, String> {
        let Some(program) = self.program else {
            return text.map_or(Ok(None), |text| self.remove(text));
        };
        let root = parse(text.unwrap_or_default())?;
        let top = root
            .object_value_or_create()
            .ok_or("it is no JSON object")?;
        if self.server {
            add_server(&top, program)?;
        }
        for event in self.hook.map_or(&[][..], |hook| hook.events) {
            let hook = self.hook.ok_or("it has no hook")?;
            add_hook(&top, event, hook, &program.hook())?;
        }
        Ok(Some(ended(root.to_string())))
    }

    fn remove(self, text: &str) -> Result<Option<String>, String> {
        let root = parse(text)?;
        let Some(top) = root.object_value() else {
            return Ok(Some(text.to_owned()));
        };
        if self.server {
            remove_server(&top);
        }
        for event in self.hook.map_or(&[][..], |hook| hook.events) {
            remove_hook(&top, event);
        }
        let left = root.to_string();
        let is_changed = left != text;
        let is_empty =
            root.children_exclude_trivia_and_tokens().len() == 1 && top.properties().is_empty();
        let has_comments = left.contains("//") || left.contains("/*");
        Ok((!(is_changed && is_empty) || has_comments).then_some(left))
    }
}

fn parse(text: &str) -> Result<CstRootNode, String> {
    CstRootNode::parse(text, &ParseOptions::default())
        .map_err(|error| format!("it is not JSON: {error}"))
}

fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn add_server(top: &CstObject, program: &Program) -> Result<(), String> {
    let servers = top.object_value_or_create(SERVERS);
    let servers = servers.ok_or_else(|| format!("{SERVERS:?} in it is no object"))?;
    let entry = object(vec![
        ("command", CstInputValue::String(program.command())),
        (
            "args",
            CstInputValue::Array(vec![CstInputValue::String("mcp".to_owned())]),
        ),
    ]);
    match servers.get(NAME) {
        None => drop(servers.append(NAME, entry)),
        Some(known) => {
            let value = known.to_serde_value().unwrap_or_default();
            if !is_ours(&value) {
                return Err(format!("it has another MCP server that is called {NAME:?}"));
            }
            if value["command"] != program.command().as_str() {
                known.set_value(entry);
            }
        }
    }
    Ok(())
}

fn is_ours(server: &Value) -> bool {
    let args = server["args"].as_array().into_iter().flatten();
    let args: Vec<_> = args.map(|arg| arg.as_str().unwrap_or_default()).collect();
    is_server(server["command"].as_str(), &args)
}

fn remove_server(top: &CstObject) {
    let Some(servers) = top.object_value(SERVERS) else {
        return;
    };
    let Some(known) = servers.get(NAME) else {
        return;
    };
    if known.to_serde_value().is_some_and(|value| is_ours(&value)) {
        known.remove();
        if servers.properties().is_empty() {
            servers_gone(top, SERVERS);
        }
    }
}

fn servers_gone(of: &CstObject, name: &str) {
    if let Some(property) = of.get(name) {
        property.remove();
    }
}

fn add_hook(top: &CstObject, event: &str, hook: AgentHook, command: &str) -> Result<(), String> {
    let hooks = top.object_value_or_create(HOOKS);
    let hooks = hooks.ok_or_else(|| format!("{HOOKS:?} in it is no object"))?;
    let groups = hooks.array_value_or_create(event);
    let groups = groups.ok_or_else(|| format!("the hooks for {event:?} in it are no list"))?;
    for handler in groups.elements().iter().flat_map(handlers) {
        let Some(known) = own_command(&handler) else {
            continue;
        };
        if known != command
            && let Some(property) = handler
                .as_object()
                .and_then(|handler| handler.get("command"))
        {
            property.set_value(CstInputValue::String(command.to_owned()));
        }
        return Ok(());
    }
    groups.append(group(hook, command));
    Ok(())
}

fn group(hook: AgentHook, command: &str) -> CstInputValue {
    let text = |text: &str| CstInputValue::String(text.to_owned());
    let handler = object(vec![
        ("type", text("command")),
        ("command", text(command)),
        ("timeout", CstInputValue::Number(hook.timeout.to_owned())),
    ]);
    object(vec![
        ("matcher", text(hook.matcher)),
        (HOOKS, CstInputValue::Array(vec![handler])),
    ])
}

fn remove_hook(top: &CstObject, event: &str) {
    let Some(hooks) = top.object_value(HOOKS) else {
        return;
    };
    let Some(groups) = hooks.array_value(event) else {
        return;
    };
    let mut removed = false;
    for group in groups.elements() {
        let own: Vec<_> = handlers(&group)
            .into_iter()
            .filter(|one| own_command(one).is_some())
            .collect();
        if own.is_empty() {
            continue;
        }
        removed = true;
        own.into_iter().for_each(CstNode::remove);
        if handlers(&group).is_empty() {
            group.remove();
        }
    }
    if removed && groups.elements().is_empty() {
        servers_gone(&hooks, event);
    }
    if removed && hooks.properties().is_empty() {
        servers_gone(top, HOOKS);
    }
}

/// What a group of hooks runs.
fn handlers(group: &CstNode) -> Vec<CstNode> {
    let handlers = group.as_object().and_then(|group| group.array_value(HOOKS));
    handlers
        .as_ref()
        .map(CstArray::elements)
        .unwrap_or_default()
}

/// The command of a handler that was entered here.
fn own_command(handler: &CstNode) -> Option<String> {
    let value = handler.to_serde_value()?;
    let command = value["command"].as_str();
    is_hook(command).then(|| command.unwrap_or_default().to_owned())
}

fn object(entries: Vec<(&str, CstInputValue)>) -> CstInputValue {
    let entries = entries.into_iter();
    CstInputValue::Object(
        entries
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: AgentHook = AgentHook {
        events: &["PostToolUse", "PostToolUseFailure"],
        matcher: "Bash",
        timeout: "10",
    };

    /// What a person has there.
    const THEIRS: &str = "{\n    // mine\n    \"model\": \"large\",\n    \"hooks\": {\n        \"PostToolUse\": [{\"matcher\": \
                          \"Edit\", \"hooks\": [{\"type\": \"command\", \"command\": \"make fmt\"}]}]\n    },\n    \"zeta\": \
                          1,\n    \"alpha\": [1,2]\n}\n";

    fn apply(text: Option<&str>, program: Option<&str>) -> Result<Option<String>, String> {
        let program = program.map(Program::called);
        let edit = JsonEdit {
            server: true,
            hook: Some(HOOK),
            program: program.as_ref(),
        };
        edit.apply(text)
    }

    #[test]
    fn a_new_file_has_just_that() {
        let text = apply(None, Some("guard")).unwrap().unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "mcpServers": {
            "guard": {
              "command": "guard",
              "args": ["mcp"]
            }
          },
          "hooks": {
            "PostToolUse": [
              {
                "matcher": "Bash",
                "hooks": [
                  {
                    "type": "command",
                    "command": "guard why --hook",
                    "timeout": 10
                  }
                ]
              }
            ],
            "PostToolUseFailure": [
              {
                "matcher": "Bash",
                "hooks": [
                  {
                    "type": "command",
                    "command": "guard why --hook",
                    "timeout": 10
                  }
                ]
              }
            ]
          }
        }
        "#);
        assert_eq!(
            apply(Some(&text), Some("guard")).unwrap().unwrap(),
            text,
            "again"
        );
        assert_eq!(apply(Some(&text), None).unwrap(), None);
    }

    #[test]
    fn what_others_have_there_stays() {
        let with = apply(Some(THEIRS), Some("guard")).unwrap().unwrap();
        for line in THEIRS.lines().filter(|line| line.contains(['1', '/', 'l'])) {
            let kept = line.trim_end_matches([']', '}', ',']);
            assert!(with.contains(kept), "{line}\n{with}");
        }
        assert!(with.find("zeta") < with.find("alpha"), "{with}");
        assert_eq!(apply(Some(&with), Some("guard")).unwrap().unwrap(), with);
        let without = apply(Some(&with), None).unwrap().unwrap();
        let value = |text: &str| parse(text).unwrap().to_serde_value().unwrap();
        assert_eq!(value(&without), value(THEIRS));
        assert!(without.contains("// mine") && without.contains("make fmt"));
    }

    #[test]
    fn another_program_is_entered_in_the_place_of_the_first() {
        let first = apply(None, Some("/opt/old dir/guard")).unwrap().unwrap();
        let second = apply(Some(&first), Some("guard")).unwrap().unwrap();
        assert_eq!(second, apply(None, Some("guard")).unwrap().unwrap());
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (text, named) in [
            ("{", "not JSON"),
            ("[]", "no JSON object"),
            ("{\"mcpServers\": []}", "mcpServers"),
            ("{\"hooks\": {\"PostToolUse\": {}}}", "PostToolUse"),
            (
                "{\"mcpServers\": {\"guard\": {\"command\": \"npx\", \"args\": [\"guard\"]}}}",
                "another MCP server",
            ),
        ] {
            let error = apply(Some(text), Some("guard")).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        // What is not there need not be taken out.
        let other = "{\"mcpServers\": {\"guard\": {\"command\": \"npx\"}}, \"hooks\": {}}";
        assert_eq!(apply(Some(other), None).unwrap().as_deref(), Some(other));
        assert_eq!(apply(Some("{}"), None).unwrap().as_deref(), Some("{}"));
    }
}
