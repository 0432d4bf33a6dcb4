//! Kubeconfigs and compose files. What is an alias counts as what it stands for, within the parser's limits.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use saphyr_parser::{Event, Parser};

use crate::dsn::{Dsn, HostPort, host_and_port, scan};
use crate::host::Host;
use crate::score::OWN_AUTHORITY;
use crate::service::{Service, home};
use crate::tokens::said;

use super::Sink;
use super::settings::{TOGETHER, Variable, variables};

pub(super) type Node<'t> = MarkedYaml<'t>;

/// What aliases stand for is copied for each: so many bytes at most, if each stood for all of the text.
const COPIED: usize = 64 << 20;

/// Nodes in each other. Nodes are built and dropped by recursion, and an overflow of the stack ends the process.
const DEPTH: usize = 64;

/// Returns true if nodes would lie deeper in each other than [`DEPTH`], each alias with the node that it stands for.
fn is_too_deep(text: &str) -> bool {
    // Each open node's anchor, and the height of what it holds by now.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut heights = HashMap::new();
    for (event, _) in Parser::new_from_str(text).map_while(Result::ok) {
        let height = match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, 0));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((anchor, height)) = open.pop() else {
                    continue;
                };
                heights.insert(anchor, height + 1);
                height + 1
            }
            Event::Alias(anchor) => heights.get(&anchor).copied().unwrap_or_default(),
            _ => 0,
        };
        if open.len() + height > DEPTH {
            return true;
        }
        if let Some((_, highest)) = open.last_mut() {
            *highest = height.max(*highest);
        }
    }
    false
}

/// How many words of a text may be aliases.
fn aliases(text: &str) -> usize {
    let mut before = ' ';
    let mut count = 0;
    for c in text.chars() {
        count += usize::from(c == '*' && (before.is_whitespace() || "[{,".contains(before)));
        before = c;
    }
    count
}

pub(super) fn load<'t>(sink: &mut Sink, text: &'t str) -> Vec<Node<'t>> {
    if aliases(text).saturating_mul(text.len()) > COPIED {
        sink.pass_over(None, "more aliases than are read");
        return Vec::new();
    }
    if is_too_deep(text) {
        sink.pass_over(None, "too deep");
        return Vec::new();
    }
    match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        // The parser's own words have the file's.
        Err(_) => {
            sink.pass_over(None, "unreadable YAML");
            Vec::new()
        }
    }
}

pub(super) fn get<'n, 't>(node: &'n Node<'t>, key: &str) -> Option<&'n Node<'t>> {
    pairs(node)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

pub(super) fn pairs<'n, 't>(node: &'n Node<'t>) -> impl Iterator<Item = (&'n str, &'n Node<'t>)> {
    let mapping = match &node.data {
        YamlData::Mapping(mapping) => Some(mapping),
        _ => None,
    };
    mapping
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((text(key)?, value)))
}

pub(super) fn items<'n, 't>(node: Option<&'n Node<'t>>) -> &'n [Node<'t>] {
    match node.map(|node| &node.data) {
        Some(YamlData::Sequence(items)) => items,
        _ => &[],
    }
}

pub(super) fn text<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn string<'n>(node: Option<&'n Node<'_>>) -> &'n str {
    node.and_then(text).unwrap_or_default()
}

/// A text, or a number as text.
pub(super) fn scalar<'n>(node: &'n Node<'_>) -> Option<Cow<'n, str>> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(Cow::Borrowed(text)),
        YamlData::Value(Scalar::Integer(number)) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Whether it says yes, or no, in the words of YAML 1.1, too; nothing where it says neither.
pub(super) fn yes(node: &Node<'_>) -> Option<bool> {
    match &node.data {
        YamlData::Value(Scalar::Boolean(says)) => Some(*says),
        YamlData::Value(Scalar::Null) => Some(false),
        YamlData::Value(Scalar::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" => Some(true),
            "false" | "no" | "n" | "off" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Each context with its cluster's server; the one that is used now is a choice, not a name of a list.
pub(super) fn kubeconfig(sink: &mut Sink, text: &str) {
    for document in &load(sink, text) {
        let current = string(get(document, "current-context"));
        let mut clusters: HashMap<&str, &Node<'_>> = HashMap::new();
        for one in items(get(document, "clusters")) {
            clusters.entry(string(get(one, "name"))).or_insert(one);
        }
        for one in items(get(document, "contexts")) {
            if sink.is_full() {
                return;
            }
            context(sink, one, &clusters, current);
        }
        talos(sink, document);
    }
}

/// The endpoints of each context of Talos' settings, in which contexts have names, and no list.
fn talos(sink: &mut Sink, document: &Node<'_>) {
    let current = string(get(document, "context"));
    for (name, context) in get(document, "contexts").into_iter().flat_map(pairs) {
        for endpoint in items(get(context, "endpoints")) {
            let at = host_and_port(string(Some(endpoint)), 50000);
            let line = endpoint.span.start.line();
            if let Some(clue) = sink.named(line, name, Service::Other, at, said("")) {
                clue.has_sibling = name != current;
            }
        }
    }
}

/// A context, with the clusters of its file and the context that is used now.
fn context(
    sink: &mut Sink,
    context: &Node<'_>,
    clusters: &HashMap<&str, &Node<'_>>,
    current: &str,
) {
    let name = string(get(context, "name"));
    let line = context.span.start.line();
    let Some(inner) = get(context, "context") else {
        return;
    };
    let cluster = string(get(inner, "cluster"));
    let at = clusters.get(cluster).and_then(|one| get(one, "cluster"));
    let value = |key: &str| at.map_or("", |at| string(get(at, key)));
    let server = value("server");
    let names = [
        string(get(inner, "namespace")),
        cluster,
        value("tls-server-name"),
    ];
    let data = said(&names.join(" "));
    let has_authority = ["certificate-authority-data", "certificate-authority"]
        .iter()
        .any(|key| !value(key).is_empty());
    if !value("proxy-url").is_empty() {
        // A rule for the server would stop nothing.
        sink.key(
            "a proxy before that server: a rule for it is what counts",
            Some(line),
            name,
        );
    }
    match scan(server) {
        Dsn::Targets(targets) => {
            for target in targets {
                let at = Some(HostPort::new(target.host, target.port));
                let clue = sink.named(line, name, Service::Kubernetes, at, data);
                if let Some(clue) = clue {
                    clue.has_sibling &= name != current;
                    if has_authority {
                        clue.credential = Some(OWN_AUTHORITY);
                    }
                    sink.context(cluster, name);
                }
            }
        }
        Dsn::Other if server.is_empty() => {}
        _ => sink.pass_over(Some(line), "an unreadable server"),
    }
}

/// Files of variables: one, or a list, each by its name alone or as `path`.
fn files<'n, 't>(node: Option<&'n Node<'t>>) -> impl Iterator<Item = &'n Node<'t>> {
    let one = node.filter(|node| text(node).is_some());
    let listed = items(node).iter();
    one.into_iter()
        .chain(listed.map(|item| get(item, "path").unwrap_or(item)))
}

/// A port of this machine at which a server of the file listens: `2283:2283`, `127.0.0.1:5432:5432/tcp`. It is local.
fn published(sink: &mut Sink, port: &Node<'_>) {
    let mut ends = text(port).unwrap_or_default().rsplit(':').skip(1);
    let Some(number) = ends.next().and_then(|end| end.parse().ok()) else {
        return;
    };
    let service = home("", number).unwrap_or(Service::Other);
    let at = Some(HostPort::new(Host::parse("localhost"), number));
    sink.named(port.span.start.line(), "ports", service, at, said(""));
}

/// What variables say to services; the services of the same file are here.
pub(super) fn compose(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        let Some(services) = get(document, "services") else {
            continue;
        };
        let own: Vec<&str> = pairs(services).map(|(name, _)| name).collect();
        for (_, service) in pairs(services) {
            if sink.is_full() {
                return;
            }
            for file in files(get(service, "env_file")) {
                sink.name_file(file.span.start.line(), "env_file", string(Some(file)));
            }
            for port in items(get(service, "ports")) {
                published(sink, port);
            }
            let Some(environment) = get(service, "environment") else {
                continue;
            };
            let of_list = items(Some(environment)).iter().filter_map(|item| {
                let (key, value) = text(item)?.split_once('=')?;
                Some((item, key, value))
            });
            let of_mapping =
                pairs(environment).filter_map(|(key, value)| Some((value, key, text(value)?)));
            let all: Vec<_> = of_list
                .chain(of_mapping)
                .take(TOGETHER + 1)
                .map(|(node, key, value)| Variable {
                    line: Some(node.span.start.line()),
                    key,
                    value,
                    dormant: false,
                })
                .collect();
            variables(sink, &all, &own);
        }
    }
}
