//! XML: data sources of JetBrains' programs, connections of MySQL Workbench, and settings of .NET and Java. A document type, and with it
//! entities of its own, is refused.

use std::collections::HashMap;

use roxmltree::{Document, Node, NodeId, ParsingOptions};

use crate::dsn::host_alone;
use crate::service::Service;
use crate::tokens::said;

use super::Sink;
use super::clients::registry;
use super::json::Lines;
use super::servers::{ServerBlock, block};

/// Namespaces in one file.
const NAMESPACES: usize = 64;
/// Attributes of one element: the parser holds each against all others.
const ATTRIBUTES: usize = 1_024;

/// Elements, attributes and texts.
const NODES: u32 = 65_536;
/// How far above an element its name may stand.
const ABOVE: usize = 3;

pub(super) fn settings(sink: &mut Sink, text: &str) {
    elements(sink, text, |sink, line, element, names| {
        match element.tag_name().name() {
            "sshConfig" | "fileTransfer" => server(sink, line, element),
            _ if element.attribute("key") == Some("parameterValues") => {
                workbench(sink, line, element, names);
            }
            _ => address(sink, line, element),
        }
    });
}

/// Maven's: where artifacts come from, and are published to.
pub(super) fn maven(sink: &mut Sink, text: &str) {
    elements(sink, text, |sink, line, element, _| {
        if element.tag_name().name() == "url"
            && let Some(url) = element.text()
        {
            registry(sink, line, "url", url.trim());
        }
    });
}

/// Each element with its line, and names that some stand beside.
fn elements(
    sink: &mut Sink,
    text: &str,
    mut read: impl for<'a> FnMut(&mut Sink, usize, Node<'a, '_>, &mut HashMap<NodeId, &'a str>),
) {
    let options = ParsingOptions {
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    // Each element has all those of the ones around it.
    if text.matches("xmlns").count() > NAMESPACES {
        return sink.pass_over(None, "more namespaces than are read");
    }
    let mut elements = text.split('<');
    if elements.any(|element| element.matches('=').count() > ATTRIBUTES) {
        return sink.pass_over(None, "more attributes than are read");
    }
    // The parser's own words have the file's.
    let Ok(document) = Document::parse_with_options(text, options) else {
        return sink.pass_over(None, "unreadable XML");
    };
    let lines = Lines::of_text(text);
    let mut names = HashMap::new();
    for element in document.descendants().filter(Node::is_element) {
        if sink.is_full() {
            return;
        }
        let line = lines.of(element.range().start);
        read(sink, line, element, &mut names);
    }
}

/// What it is called, or else what it is in.
fn name<'a>(element: Node<'a, '_>) -> &'a str {
    let above = element.ancestors().take(ABOVE);
    let mut names = above.filter_map(|one| {
        let names = ["name", "key", "id"];
        names.iter().find_map(|name| one.attribute(*name))
    });
    names.next().unwrap_or_else(|| element.tag_name().name())
}

/// A connection string, as a text or an attribute.
fn address(sink: &mut Sink, line: usize, element: Node<'_, '_>) {
    // What a file is written by is no place.
    let attributes = element.attributes();
    let attributes = attributes.filter(|one| one.name() != "schemaLocation");
    let attributes = attributes.map(|one| one.value());
    let texts = element.text().into_iter();
    let mut all = attributes
        .chain(texts)
        .filter(|text| text.contains("://") || text.contains(';'))
        .peekable();
    if all.peek().is_none() {
        return;
    }
    let mut settings = ServerBlock::default();
    let name = name(element);
    for text in all {
        settings.push(line, name, Some(text.trim()));
    }
    block(sink, &settings);
}

/// A server that programs of JetBrains' deploy to, or have a shell at.
fn server(sink: &mut Sink, line: usize, element: Node<'_, '_>) {
    let host = element.attribute("host").unwrap_or_default();
    let kind = element.attribute("accessType").unwrap_or("SFTP");
    if host.is_empty() || kind != "SFTP" {
        return;
    }
    let port = element.attribute("port").and_then(|port| port.parse().ok());
    let name = name(element);
    let at = host_alone(host, port.unwrap_or(22));
    sink.named(line, name, Service::Ssh, at, said(""));
}

/// The text of the child that has that key.
fn child<'a>(parent: Node<'a, '_>, key: &str) -> &'a str {
    let mut children = parent.children();
    let found = children.find(|one| one.attribute("key") == Some(key));
    found.and_then(|one| one.text()).unwrap_or_default().trim()
}

/// A connection of MySQL Workbench's, with the name that stands beside its parameters: many may stand beside one name.
fn workbench<'a>(
    sink: &mut Sink,
    line: usize,
    element: Node<'a, '_>,
    names: &mut HashMap<NodeId, &'a str>,
) {
    let parameter = |key| child(element, key);
    let name = element.parent().map_or("", |parent| {
        let known = names.entry(parent.id());
        known.or_insert_with(|| child(parent, "name"))
    });
    let host = parameter("hostName");
    if !host.is_empty() {
        let port = parameter("port").parse().unwrap_or(3306);
        let at = host_alone(host, port);
        let data = said(&format!("{name} {}", parameter("schema")));
        sink.named(line, name, Service::Mysql, at, data);
    }
    // The server through which it goes.
    let through = parameter("sshHost");
    if !through.is_empty() {
        let (host, port) = through.split_once(':').unwrap_or((through, ""));
        let at = host_alone(host, port.parse().unwrap_or(22));
        sink.named(line, name, Service::Ssh, at, said(name));
    }
}
