//! Settings of frameworks: Rails, Spring and .NET.

use std::collections::HashMap;

use crate::dsn::{Dsn, HostPort, host_and_port, scan};
use crate::tokens::said;

use super::settings::{ServicePort, Setting, by_driver, told};
use super::yaml::{Node, load, pairs, scalar};
use super::{Sink, lines};

/// Mappings in each other.
const DEPTH: usize = 16;

/// Mappings that are merged into one.
const MERGED: usize = 4;

/// A mapping of `database.yml`, which need not be YAML before Ruby has filled it in.
struct YamlSection<'t> {
    indent: usize,
    /// The section at the top that it belongs to, and its own line.
    top: &'t str,
    line: usize,
    /// `&name`
    anchor: &'t str,
    pairs: Vec<(&'t str, &'t str)>,
}

/// `config/database.yml`: sections by environment.
pub(super) fn rails(sink: &mut Sink, text: &str) {
    let mut all: Vec<YamlSection<'_>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for (line, text) in lines(sink, text) {
        let bare = text.trim();
        let indent = text.len() - text.trim_start().len();
        let Some((key, value)) = bare.split_once(':') else {
            continue;
        };
        if bare.starts_with(['#', '-']) || bare.starts_with("<%") {
            continue;
        }
        while open.last().is_some_and(|at| all[*at].indent >= indent) {
            open.pop();
        }
        let value = value.trim();
        let anchor = value.strip_prefix('&').unwrap_or_default();
        if value.is_empty() || !anchor.is_empty() {
            let top = open.first().map_or(key, |at| all[*at].top);
            open.push(all.len());
            all.push(YamlSection {
                indent,
                top,
                line,
                anchor,
                pairs: Vec::new(),
            });
        } else if let Some(at) = open.last() {
            all[*at].pairs.push((key, value.trim_matches(['"', '\''])));
        }
    }
    let anchors: HashMap<_, _> = all
        .iter()
        .map(|section| (section.anchor, section))
        .collect();
    for section in &all {
        if sink.is_full() {
            return;
        }
        server(sink, section, &anchors);
    }
}

fn server(sink: &mut Sink, section: &YamlSection<'_>, anchors: &HashMap<&str, &YamlSection<'_>>) {
    let merged = section.pairs.iter().filter(|(key, _)| *key == "<<");
    let merged = merged.take(MERGED).filter_map(|(_, name)| {
        let name = name.strip_prefix('*')?;
        anchors.get(name).copied()
    });
    let merged: Vec<_> = merged.flat_map(|other| &other.pairs).collect();
    let value = |keys: &[&str]| {
        let mut pairs = section.pairs.iter().chain(merged.iter().copied());
        let found = pairs.find(|(key, _)| keys.contains(key));
        found.map_or("", |(_, value)| *value)
    };
    // What others are merged from says nothing by itself.
    let (url, host) = (value(&["url"]), value(&["host", "hostname"]));
    let (line, key) = (section.line, section.top);
    if !url.is_empty() {
        match scan(url) {
            Dsn::Targets(targets) => {
                for target in targets {
                    let at = Some(HostPort::new(target.host, target.port));
                    sink.named(line, key, target.service, at, target.data);
                }
            }
            Dsn::Other => {}
            Dsn::Unreadable => sink.pass_over(Some(line), "an unreadable connection string"),
        }
        return;
    }
    if host.is_empty() || host.starts_with('/') || !section.anchor.is_empty() {
        return;
    }
    let port: Option<u16> = value(&["port"]).parse().ok();
    let ServicePort { service, usual } = by_driver(value(&["adapter"]), port);
    let at = host_and_port(host, port.unwrap_or(usual));
    sink.named(line, key, service, at, said(value(&["database"])));
}

/// `application.yml`: documents, of which each may be for a profile.
pub(super) fn spring(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        let mut all = Vec::new();
        flatten(sink, document, "", DEPTH, &mut all);
        let profiles: String = all
            .iter()
            .filter(|one| {
                ["spring.config.activate.on-profile", "spring.profiles"].contains(&one.key.as_str())
            })
            .map(|one| format!("{} ", one.value))
            .collect();
        told(sink, &all, said(&profiles));
    }
}

pub(super) fn flatten<'n>(
    sink: &mut Sink,
    node: &'n Node<'_>,
    path: &str,
    depth: usize,
    all: &mut Vec<Setting<'n>>,
) {
    let mut pairs = pairs(node).peekable();
    let Some(depth) = depth.checked_sub(1) else {
        if pairs.peek().is_some() {
            sink.pass_over(Some(node.span.start.line()), "too deep");
        }
        return;
    };
    for (key, value) in pairs {
        let Some(path) = sink.path_below(path, key, || value.span.start.line()) else {
            continue;
        };
        match scalar(value) {
            Some(text) => all.push(Setting {
                line: value.span.start.line(),
                key: path,
                value: text,
            }),
            None => flatten(sink, value, &path, depth, all),
        }
    }
}
