//! `config/deploy.yml` of Kamal: the servers that a project is put on, and its variables there.

use crate::dsn::host_alone;
use crate::service::Service;
use crate::tokens::{StageWords, said};

use super::Sink;
use super::kubernetes::pairs_told;
use super::yaml::{Node, get, items, load, pairs, text};

pub(super) fn deploy(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        if let Some(servers) = get(document, "servers") {
            hosts(sink, servers);
            for (_, role) in pairs(servers) {
                hosts(sink, get(role, "hosts").unwrap_or(role));
            }
        }
        let accessories = get(document, "accessories").into_iter().flat_map(pairs);
        for (name, accessory) in accessories {
            if let Some(host) = get(accessory, "host") {
                server(sink, host, name);
            }
        }
        let clear = get(document, "env").map(|env| get(env, "clear").unwrap_or(env));
        pairs_told(sink, clear, StageWords::default());
    }
}

/// A list of them, of which each may have tags behind it.
fn hosts(sink: &mut Sink, list: &Node<'_>) {
    for host in items(Some(list)) {
        if sink.is_full() {
            return;
        }
        server(sink, host, "servers");
    }
}

fn server(sink: &mut Sink, node: &Node<'_>, key: &str) {
    let tagged = || pairs(node).next().map(|(host, _)| host);
    let Some(host) = text(node).or_else(tagged) else {
        return;
    };
    let host = host.rsplit('@').next().unwrap_or_default();
    let at = host_alone(host, 22);
    let line = node.span.start.line();
    if let Some(clue) = sink.named(line, key, Service::Ssh, at, said("")) {
        // Nobody develops there.
        clue.has_sibling = false;
    }
}
