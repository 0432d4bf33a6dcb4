//! Settings of agents: the servers of the Model Context Protocol that they start or connect to, and the variables that they give to
//! what they run. In JSON, but for Codex, which has TOML.

use jsonc_parser::ast::{Object, Value};

use crate::dsn::{Dsn, scan};
use crate::score::shown_key;
use crate::tokens::StageWords;

use super::commands::{self, Script, bare, is_variable};
use super::json::{Lines, get, object, string, with_root};
use super::settings::{Variable, variables};
use super::{Sink, lines};

/// Objects in each other.
const DEPTH: usize = 64;

/// What agents call their servers: `mcp` OpenCode and, with `servers` in it, VS Code; `context_servers` Zed.
const SERVERS: [&str; 5] = [
    "mcpServers",
    "servers",
    "mcp_servers",
    "mcp",
    "context_servers",
];
/// The keys of a server's address.
const URLS: [&str; 3] = ["url", "httpUrl", "serverUrl"];
/// The keys of a server's variables.
const VARIABLES: [&str; 2] = ["env", "environment"];
/// The keys of a server's arguments. OpenCode has the program there, too.
const ARGUMENTS: [&str; 2] = ["args", "command"];
/// The keys of headers that are sent with each request.
const HEADERS: [&str; 4] = ["headers", "http_headers", "env_http_headers", "requestInit"];

/// The servers, wherever in the file they are, and variables that are for all that is run.
pub(super) fn settings(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| of_root(sink, &source, root));
}

/// The same of what is read for other things, too.
pub(super) fn of_root(sink: &mut Sink, source: &Lines, root: &Object<'_>) {
    let all = variables_of(source, root);
    variables(sink, &all, &[]);
    servers(sink, source, root, DEPTH);
}

fn servers(sink: &mut Sink, source: &Lines, object: &Object<'_>, depth: usize) {
    for property in &object.properties {
        let Value::Object(inner) = &property.value else {
            continue;
        };
        if sink.is_full() {
            return;
        }
        if SERVERS.contains(&property.name.as_str()) {
            for one in &inner.properties {
                if let Value::Object(server) = &one.value {
                    self::server(sink, source, one.name.as_str(), server);
                }
            }
        }
        if let Some(depth) = depth.checked_sub(1) {
            servers(sink, source, inner, depth);
        } else {
            sink.pass_over(Some(source.of(inner.range.start)), "too deep");
        }
    }
}

fn variables_of<'v>(source: &Lines, object: &'v Object<'_>) -> Vec<Variable<'v>> {
    let found = VARIABLES
        .iter()
        .filter_map(|key| self::object(get(object, key)));
    let found = found.flat_map(|all| &all.properties);
    let found = found.filter_map(|one| match &one.value {
        Value::StringLit(value) => Some(Variable {
            line: Some(source.of(one.range.start)),
            key: one.name.as_str(),
            value: &value.value,
            dormant: false,
        }),
        _ => None,
    });
    found.collect()
}

fn server(sink: &mut Sink, source: &Lines, name: &str, server: &Object<'_>) {
    let mut all = variables_of(source, server);
    // A connection string, or a URL, may be an argument.
    let arguments = ARGUMENTS.iter().flat_map(|key| match get(server, key) {
        Some(Value::Array(arguments)) => &arguments.elements[..],
        _ => &[],
    });
    let command = string(get(server, "command")).split_whitespace();
    let words = arguments
        .clone()
        .flat_map(|one| string(Some(one)).split_whitespace());
    let words: Vec<_> = command.chain(words).map(bare).collect();
    commands::platform(sink, source.of(server.range.start), &words, started(name));
    for argument in arguments.chain(URLS.iter().filter_map(|key| get(server, key))) {
        if let Value::StringLit(value) = argument {
            let line = source.of(value.range.start);
            all.extend(of_argument(line, name, &value.value));
        }
    }
    let mut headers = HEADERS.iter().filter_map(|key| object(get(server, key)));
    let has_secret = headers.any(has_secret);
    told(sink, name, &all, has_secret);
}

/// A server that an agent starts here.
fn started(name: &str) -> Script<'_> {
    Script {
        name,
        data: StageWords::default(),
        own: &[],
        is_here: true,
    }
}

/// Returns the connection strings and the variables of an argument: all of it (`URL`), behind an option's or a variable's name
/// (`--dsn=URL`, `NAME=URL`), or in words of a shell's text.
fn of_argument<'t>(line: usize, server: &'t str, argument: &'t str) -> Vec<Variable<'t>> {
    let variable = |key, value| Variable {
        line: Some(line),
        key,
        value,
        dormant: false,
    };
    if !matches!(scan(argument), Dsn::Other) {
        return vec![variable(server, argument)];
    }
    let words = argument.split_whitespace().map(bare);
    let words = words.map(|word| match word.split_once('=') {
        Some((key, value)) if is_variable(key) => (key, bare(value)),
        Some((option, value)) if option.starts_with('-') => (server, bare(value)),
        _ => (server, word),
    });
    let says = |(key, value): &(&str, &str)| *key != server || !matches!(scan(value), Dsn::Other);
    let words = words.filter(says);
    words.map(|(key, value)| variable(key, value)).collect()
}

/// Whether a header of these is one that opens something; `requestInit` has them in it.
fn has_secret(headers: &Object<'_>) -> bool {
    headers.properties.iter().any(|one| match &one.value {
        Value::Object(inner) => has_secret(inner),
        value => is_secret(one.name.as_str()) && !string(Some(value)).is_empty(),
    })
}

fn is_secret(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    ["auth", "cookie", "key", "secret", "token"]
        .iter()
        .any(|word| header.contains(word))
}

/// A server's variables and addresses. What its headers have is beside the addresses.
fn told(sink: &mut Sink, name: &str, all: &[Variable<'_>], has_secret: bool) {
    let from = sink.clues.len();
    variables(sink, all, &[]);
    let name = shown_key(name);
    for clue in &mut sink.clues[from..] {
        if has_secret && clue.seen.key == name && clue.credential.is_none() {
            clue.credential = Some("token");
        }
    }
}

/// One server of Codex's, as far as it was read.
#[derive(Default)]
struct Server<'t> {
    name: &'t str,
    all: Vec<Variable<'t>>,
    has_secret: bool,
}

/// `config.toml` of Codex: `[mcp_servers.NAME]`, with its variables in it or in a table of their own.
pub(super) fn codex(sink: &mut Sink, text: &str) {
    let (mut section, mut server, mut list) = (Vec::new(), Server::default(), None);
    for (line, text) in lines(sink, text) {
        let bare = text.trim();
        if bare.starts_with('#') {
            continue;
        }
        if let Some(head) = bare.strip_prefix('[').filter(|_| list.is_none()) {
            section = keys(
                head.trim_start_matches('[')
                    .split(']')
                    .next()
                    .unwrap_or_default(),
            );
            if let ["mcp_servers", name, ..] = section[..]
                && name != server.name
            {
                end(sink, &std::mem::take(&mut server));
                server.name = name;
            }
            continue;
        }
        // A list goes on until it is closed.
        let (key, value) = match (list, bare.split_once('=')) {
            (Some(key), _) => (key, bare),
            (None, Some((key, value))) => (key.trim().trim_matches(['"', '\'']), value.trim()),
            (None, None) => continue,
        };
        let is_open = value.starts_with('[') || list.is_some();
        list = (is_open && !value.trim_end_matches(',').ends_with(']')).then_some(key);
        match section[..] {
            ["mcp_servers", _] => of_server(&mut server, line, key, value),
            ["mcp_servers", _, "env"] => server.all.extend(variable(line, key, value)),
            ["mcp_servers", _, "http_headers" | "env_http_headers"] => {
                server.has_secret |= is_secret(key);
            }
            ["shell_environment_policy", "set"] => {
                let all: Vec<_> = variable(line, key, value).into_iter().collect();
                variables(sink, &all, &[]);
            }
            ["shell_environment_policy"] if key == "set" => {
                variables(sink, &table(line, value), &[])
            }
            _ => {}
        }
    }
    end(sink, &server);
}

fn end(sink: &mut Sink, server: &Server<'_>) {
    told(sink, server.name, &server.all, server.has_secret);
}

/// The names of a table, each in quotes or not.
fn keys(head: &str) -> Vec<&str> {
    let names = head
        .split('.')
        .map(|name| name.trim().trim_matches(['"', '\'']));
    names.collect()
}

fn of_server<'t>(server: &mut Server<'t>, line: usize, key: &str, value: &'t str) {
    match key {
        "env" => server.all.extend(table(line, value)),
        "args" | "command" | "url" => {
            let texts = quoted(value).into_iter();
            let name = server.name;
            let all = texts.flat_map(|(_, text)| of_argument(line, name, text));
            server.all.extend(all);
        }
        "bearer_token_env_var" | "bearer_token" => server.has_secret = true,
        "http_headers" | "env_http_headers" => {
            server.has_secret |= table(line, value).iter().any(|one| is_secret(one.key));
        }
        _ => {}
    }
}

/// `KEY = "value"`.
fn variable<'t>(line: usize, key: &'t str, value: &'t str) -> Option<Variable<'t>> {
    let (_, value) = quoted(value).first().copied()?;
    Some(Variable {
        line: Some(line),
        key,
        value,
        dormant: false,
    })
}

/// `{ KEY = "value", … }`.
fn table(line: usize, value: &str) -> Vec<Variable<'_>> {
    let all = quoted(value).into_iter();
    let all = all.filter_map(|(before, text)| {
        let key = before.trim().strip_suffix('=')?.trim();
        let key = key
            .trim_start_matches(['{', ',', ' '])
            .trim_matches(['"', '\'']);
        Some(Variable {
            line: Some(line),
            key,
            value: text,
            dormant: false,
        })
    });
    all.collect()
}

/// The texts in quotes, each with what stands before it.
fn quoted(text: &str) -> Vec<(&str, &str)> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, open) = rest.split_at(at);
        let Some(end) = end_of(open) else {
            return all;
        };
        all.push((before, &open[1..end]));
        rest = &open[end + 1..];
    }
    all
}

/// Where a text in quotes ends. In double ones a backslash takes the next letter along.
fn end_of(open: &str) -> Option<usize> {
    let mut bytes = open.bytes().enumerate();
    let (_, quote) = bytes.next()?;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quote == b'"' => _ = bytes.next(),
            byte if byte == quote => return Some(at),
            _ => {}
        }
    }
    None
}
