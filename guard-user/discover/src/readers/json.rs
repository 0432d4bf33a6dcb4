//! Contexts of Docker, and the servers of the Model Context Protocol that agents start.

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::{ParseOptions, parse_to_ast};

use crate::dsn::{Dsn, host_and_port, scan};
use crate::service::Service;
use crate::tokens::said;

use super::Sink;
use super::settings::{Variable, variables};

/// How deep servers are looked for: `.claude.json` has them below projects.
const DEPTH: usize = 6;

fn object<'v, 't>(value: Option<&'v Value<'t>>) -> Option<&'v Object<'t>> {
    match value {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn get<'v, 't>(object: &'v Object<'t>, key: &str) -> Option<&'v Value<'t>> {
    let found = object
        .properties
        .iter()
        .find(|one| one.name.as_str() == key);
    found.map(|one| &one.value)
}

fn string<'v>(value: Option<&'v Value<'_>>) -> &'v str {
    match value {
        Some(Value::StringLit(text)) => &text.value,
        _ => "",
    }
}

/// Reads it, or says so: the parser's own words have the file's.
fn with_root(sink: &mut Sink, text: &str, read: impl FnOnce(&mut Sink, &Object<'_>)) {
    let parsed = parse_to_ast(text, &Default::default(), &ParseOptions::default());
    let value = parsed.ok().and_then(|parsed| parsed.value);
    match object(value.as_ref()) {
        Some(root) => read(sink, root),
        None => sink.pass_over(None, "unreadable JSON"),
    }
}

/// Where an engine listens.
pub(super) fn docker_context(sink: &mut Sink, text: &str) {
    with_root(sink, text, |sink, root| {
        let name = string(get(root, "Name"));
        let engine = object(get(root, "Endpoints")).and_then(|all| object(get(all, "docker")));
        let host = engine.map_or("", |engine| string(get(engine, "Host")));
        let (scheme, rest) = host.split_once("://").unwrap_or_default();
        let port = match scheme {
            "ssh" => 22,
            "tcp" => 2375,
            _ => return,
        };
        let at = rest.rsplit('@').next().and_then(|at| at.split('/').next());
        let at = at.and_then(|at| host_and_port(at, port));
        sink.named(1, name, Service::Docker, at, said(""));
    });
}

/// The servers, wherever in the file they are.
pub(super) fn mcp(sink: &mut Sink, text: &str) {
    with_root(sink, text, |sink, root| servers(sink, text, root, DEPTH));
}

fn servers(sink: &mut Sink, text: &str, object: &Object<'_>, depth: usize) {
    for property in &object.properties {
        let Value::Object(inner) = &property.value else {
            continue;
        };
        if ["mcpServers", "servers", "mcp_servers"].contains(&property.name.as_str()) {
            for one in &inner.properties {
                if let Value::Object(server) = &one.value {
                    self::server(sink, text, one.name.as_str(), server);
                }
            }
        } else if let Some(depth) = depth.checked_sub(1) {
            servers(sink, text, inner, depth);
        }
    }
}

fn server(sink: &mut Sink, source: &str, name: &str, server: &Object<'_>) {
    let line = |at: usize| {
        let before = source.as_bytes().get(..at).unwrap_or_default();
        Some(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    };
    let mut all = Vec::new();
    for property in object(get(server, "env")).map_or(&[][..], |env| &env.properties) {
        if let Value::StringLit(value) = &property.value {
            let key = property.name.as_str();
            all.push(Variable {
                line: line(property.range.start),
                key,
                value: &value.value,
                dormant: false,
            });
        }
    }
    // A connection string, or a URL, may be an argument.
    let arguments = match get(server, "args") {
        Some(Value::Array(arguments)) => &arguments.elements[..],
        _ => &[],
    };
    for argument in arguments.iter().chain(get(server, "url")) {
        if let Value::StringLit(value) = argument
            && !matches!(scan(&value.value), Dsn::Other)
        {
            all.push(Variable {
                line: line(value.range.start),
                key: name,
                value: &value.value,
                dormant: false,
            });
        }
    }
    variables(sink, &all, &[]);
}
