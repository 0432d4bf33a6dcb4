//! Codex's settings in TOML: what is not guard's keeps its place, its form and its comments.

use toml_edit::{
    Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value, value,
};

use super::program::{Program, is_hook, is_server};

const SERVERS: &str = "mcp_servers";
/// The name of guard's.
const NAME: &str = "guard";
const HOOKS: &str = "hooks";
/// After a command, whether it failed or not.
const EVENT: &str = "PostToolUse";
const MATCHER: &str = "^Bash$";
/// In seconds.
const TIMEOUT: i64 = 10;
/// Codex hands a server only variables that are named.
const VARIABLES: [&str; 1] = ["GUARD_SOCKET"];

/// What shall stand there, or no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct TomlEdit<'a> {
    /// Whether the hook is in this file.
    pub(super) hook: bool,
    /// How guard is called; none: it is taken out.
    pub(super) program: Option<&'a Program>,
}

impl TomlEdit<'_> {
    /// The text as it shall be; none where nothing is left of it.
    ///
    /// # Errors
    ///
    /// What in the text is not as settings are. Then nothing is to be written.
    pub(super) fn apply(self, text: Option<&str>) -> Result<Option<String>, String> {
        let before = text.unwrap_or_default();
        let mut document: DocumentMut = before.parse().map_err(|error| not_toml(before, &error))?;
        let Some(program) = self.program else {
            let changed = remove(&mut document);
            let left = document.to_string();
            return Ok(match changed {
                true if left.trim().is_empty() => None,
                true => Some(left),
                false => text.map(str::to_owned),
            });
        };
        add_server(&mut document, program)?;
        if self.hook {
            add_hook(&mut document, &program.hook())?;
        }
        Ok(Some(document.to_string()))
    }
}

/// In one line: the error's own has the text below it.
fn not_toml(text: &str, error: &TomlError) -> String {
    let before = error.span().and_then(|at| text.get(..at.start));
    let line = before.unwrap_or_default().matches('\n').count() + 1;
    format!("it is not TOML: {}, in line {line}", error.message())
}

/// The table of that name, made where it is absent, without a head of its own.
fn table<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut dyn TableLike, String> {
    let item = document.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_like_mut()
        .ok_or_else(|| format!("{name:?} in it is no table"))
}

fn add_server(document: &mut DocumentMut, program: &Program) -> Result<(), String> {
    let servers = table(document, SERVERS)?;
    match servers.get_mut(NAME) {
        None => {
            let mut entry = Table::new();
            entry.insert("command", value(program.command()));
            entry.insert("args", value(Array::from_iter(["mcp"])));
            entry.insert("env_vars", value(Array::from_iter(VARIABLES)));
            servers.insert(NAME, Item::Table(entry));
        }
        Some(known) if !is_ours(known) => {
            return Err(format!("it has another MCP server that is called {NAME:?}"));
        }
        Some(known) if known["command"].as_str() != Some(&program.command()) => {
            known["command"] = value(program.command());
        }
        Some(_) => {}
    }
    Ok(())
}

fn is_ours(server: &Item) -> bool {
    let text = |name: &str| server.get(name).and_then(Item::as_str);
    let args = server.get("args").and_then(Item::as_array);
    let args: Vec<_> = args
        .into_iter()
        .flatten()
        .map(|arg| arg.as_str().unwrap_or_default())
        .collect();
    is_server(text("command"), &args)
}

fn add_hook(document: &mut DocumentMut, command: &str) -> Result<(), String> {
    let hooks = table(document, HOOKS)?;
    let groups = hooks
        .entry(EVENT)
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    if let Some(known) = own_command(groups) {
        *known = Value::from(command);
        return Ok(());
    }
    match groups {
        Item::ArrayOfTables(groups) => groups.push(group(command)),
        Item::Value(Value::Array(groups)) => {
            groups.push(Value::InlineTable(group(command).into_inline_table()))
        }
        _ => return Err(format!("the hooks for {EVENT:?} in it are no list")),
    }
    Ok(())
}

fn group(command: &str) -> Table {
    let mut handler = Table::new();
    handler.insert("type", value("command"));
    handler.insert("command", value(command));
    handler.insert("timeout", value(TIMEOUT));
    let mut group = Table::new();
    group.insert("matcher", value(MATCHER));
    group.insert(
        HOOKS,
        Item::ArrayOfTables(ArrayOfTables::from_iter([handler])),
    );
    group
}

/// The command that was entered here, among those of all groups.
fn own_command(groups: &mut Item) -> Option<&mut Value> {
    let handlers = tables(groups)
        .into_iter()
        .filter_map(|group| group.get_mut(HOOKS))
        .flat_map(tables);
    let mut commands = handlers.filter_map(|handler| handler.get_mut("command")?.as_value_mut());
    commands.find(|command| is_hook(command.as_str()))
}

/// The tables in a list, whichever form it has.
fn tables(list: &mut Item) -> Vec<&mut dyn TableLike> {
    match list {
        Item::ArrayOfTables(list) => list
            .iter_mut()
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        Item::Value(Value::Array(list)) => {
            let tables = list.iter_mut().filter_map(Value::as_inline_table_mut);
            tables
                .map(|table: &mut InlineTable| table as &mut dyn TableLike)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Takes guard out; whether it was there.
fn remove(document: &mut DocumentMut) -> bool {
    let server = remove_server(document);
    remove_hook(document) || server
}

fn remove_server(document: &mut DocumentMut) -> bool {
    let Some(servers) = document.get_mut(SERVERS).and_then(Item::as_table_like_mut) else {
        return false;
    };
    if !servers.get(NAME).is_some_and(is_ours) {
        return false;
    }
    servers.remove(NAME);
    if servers.is_empty() {
        document.remove(SERVERS);
    }
    true
}

fn remove_hook(document: &mut DocumentMut) -> bool {
    let Some(hooks) = document.get_mut(HOOKS).and_then(Item::as_table_like_mut) else {
        return false;
    };
    let Some(groups) = hooks.get_mut(EVENT) else {
        return false;
    };
    if own_command(groups).is_none() {
        return false;
    }
    for group in tables(groups) {
        if let Some(handlers) = group.get_mut(HOOKS) {
            keep(handlers, |handler| {
                !is_hook(handler.get("command").and_then(Item::as_str))
            });
        }
    }
    keep(groups, |group| {
        group.get(HOOKS).is_none_or(|handlers| count(handlers) > 0)
    });
    if count(groups) == 0 {
        hooks.remove(EVENT);
    }
    if hooks.is_empty() {
        document.remove(HOOKS);
    }
    true
}

/// Keeps those tables of a list that are so.
fn keep(list: &mut Item, is_kept: impl Fn(&dyn TableLike) -> bool) {
    match list {
        Item::ArrayOfTables(list) => list.retain(|table| is_kept(table)),
        Item::Value(Value::Array(list)) => {
            list.retain(|one| one.as_inline_table().is_none_or(|table| is_kept(table)));
        }
        _ => {}
    }
}

fn count(list: &Item) -> usize {
    match list {
        Item::ArrayOfTables(list) => list.len(),
        Item::Value(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a person has there.
    const THEIRS: &str = "# mine\nmodel = \"large\"   # the best\n\n[mcp_servers.docs]\ncommand = \"npx\"\nargs = [ \"-y\", \
                          \"docs\" ]\n\n[[hooks.PostToolUse]]\nmatcher = \"^apply_patch$\"\n\n[[hooks.PostToolUse.hooks]]\n\
                          type = \"command\"\ncommand = \"make fmt\"\n\n[tui]\ntheme = \"dark\"\n";

    fn apply(text: Option<&str>, program: Option<&str>) -> Result<Option<String>, String> {
        let program = program.map(Program::called);
        let edit = TomlEdit {
            hook: true,
            program: program.as_ref(),
        };
        edit.apply(text)
    }

    #[test]
    fn a_new_file_has_just_that() {
        let text = apply(None, Some("guard")).unwrap().unwrap();
        insta::assert_snapshot!(text, @r#"
        [mcp_servers.guard]
        command = "guard"
        args = ["mcp"]
        env_vars = ["GUARD_SOCKET"]

        [[hooks.PostToolUse]]
        matcher = "^Bash$"

        [[hooks.PostToolUse.hooks]]
        type = "command"
        command = "guard why --hook"
        timeout = 10
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
        for line in THEIRS.lines() {
            assert!(with.contains(line), "{line}\n{with}");
        }
        assert!(with.contains("guard why --hook"), "{with}");
        assert_eq!(apply(Some(&with), Some("guard")).unwrap().unwrap(), with);
        assert_eq!(apply(Some(&with), None).unwrap().unwrap(), THEIRS);
        assert_eq!(apply(Some(THEIRS), None).unwrap().unwrap(), THEIRS);
    }

    #[test]
    fn lists_in_a_line_are_added_to_as_well() {
        let line = "hooks = { PostToolUse = [{ matcher = \"x\", hooks = [{ type = \"command\", command = \"a\" }] }] }\n";
        let with = apply(Some(line), Some("guard")).unwrap().unwrap();
        let read: toml_edit::DocumentMut = with.parse().unwrap();
        let groups = read["hooks"]["PostToolUse"].as_array().unwrap();
        assert_eq!(groups.len(), 2, "{with}");
        let without = apply(Some(&with), None).unwrap().unwrap();
        let read: toml_edit::DocumentMut = without.parse().unwrap();
        assert_eq!(
            read["hooks"]["PostToolUse"].as_array().unwrap().len(),
            1,
            "{without}"
        );
        assert!(!without.contains("guard"), "{without}");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (text, named) in [
            ("a = ", "not TOML"),
            ("mcp_servers = 1", "mcp_servers"),
            ("[hooks]\nPostToolUse = 1", "PostToolUse"),
            (
                "[mcp_servers.guard]\nurl = \"https://example.com\"",
                "another MCP server",
            ),
        ] {
            let error = apply(Some(text), Some("guard")).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
