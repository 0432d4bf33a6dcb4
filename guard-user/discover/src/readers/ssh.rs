//! `ssh_config(5)`: the hosts that somebody has named. `Match` depends on what only ssh knows, and counts for none.

use crate::dsn::{HostPort, host_alone, host_and_port, is_placeholder};
use crate::host::Host;
use crate::service::Service;
use crate::tokens::said;

use super::ansible::words;
use super::settings::by_driver;
use super::{Include, KEY, Sink, lines};

struct HostBlock<'t> {
    line: usize,
    /// None of a `Match`.
    patterns: Vec<&'t str>,
    options: Vec<SshOption<'t>>,
}

/// An option, in lower case, with what it says.
struct SshOption<'t> {
    number: usize,
    key: String,
    value: &'t str,
}

/// The hosts, each as the first value that holds for it says.
pub(super) fn config(sink: &mut Sink, text: &str) {
    let blocks = blocks(sink, text);
    for block in &blocks {
        for name in block
            .patterns
            .iter()
            .filter(|name| !name.contains(['*', '?', '!']))
        {
            if sink.is_full() {
                return;
            }
            // It is held against each pattern.
            if name.len() > KEY {
                sink.pass_over(Some(block.line), "an unreadable host");
                continue;
            }
            let at = place(&blocks, name);
            sink.named(block.line, name, Service::Ssh, at, said(""));
        }
        for line in &block.options {
            if sink.is_full() {
                return;
            }
            match line.key.as_str() {
                "localforward" => forward(sink, &blocks, block, line),
                "proxyjump" => jumps(sink, &blocks, block, line),
                _ => {}
            }
        }
    }
}

/// The first that a block is for by name.
fn name_of<'t>(block: &HostBlock<'t>) -> Option<&'t str> {
    let mut plain = block.patterns.iter();
    let plain = plain.find(|name| !name.contains(['*', '?', '!']) && name.len() <= KEY);
    plain.copied()
}

/// Where a name leads, as the first value that holds for it says.
fn place(blocks: &[HostBlock<'_>], name: &str) -> Option<HostPort> {
    let first = |key: &str| {
        let holding = blocks.iter().filter(|block| holds(&block.patterns, name));
        let mut options = holding.flat_map(|block| &block.options);
        options.find(|line| line.key == key).map(|line| line.value)
    };
    let host = first("hostname").map_or(name.to_owned(), |host| host.replace("%h", name));
    let port = first("port").and_then(|port| port.parse().ok());
    host_alone(&host, port.unwrap_or(22))
}

/// A server that is reached through the host: `[address:]port host:port`. What is on the host itself is there under its name.
fn forward(sink: &mut Sink, blocks: &[HostBlock<'_>], block: &HostBlock<'_>, line: &SshOption<'_>) {
    let mut parts = line.value.split_whitespace();
    let (Some(_), Some(to)) = (parts.next(), parts.next()) else {
        return;
    };
    // A socket's path, or one that ssh fills in.
    if to.starts_with('/') || is_placeholder(to) {
        return;
    }
    let (host, port) = match to.rsplit_once([':', '/']) {
        Some((host, port)) => (host, port.parse().ok()),
        None => (to, None),
    };
    let Some(port) = port else {
        return sink.pass_over(Some(line.number), "an unreadable host");
    };
    let name = name_of(block);
    let at = host_alone(host, port).map(|to| {
        let is_there = to.host.as_ref().is_some_and(Host::is_local);
        let on = name
            .filter(|_| is_there)
            .and_then(|name| place(blocks, name));
        HostPort::new(on.map_or(to.host, |on| on.host), to.port)
    });
    let service = match (by_driver("", Some(port)).service, port) {
        (_, 22) => Service::Ssh,
        (_, 6443) => Service::Kubernetes,
        (_, 9200) => Service::Elasticsearch,
        (Service::Database, _) => Service::Http,
        (service, _) => service,
    };
    // Its own name would say that this is a local one.
    let name = name.unwrap_or("forward");
    sink.named(line.number, name, service, at, said(""));
}

/// The hosts by which another is reached, which whoever reaches them goes on from.
fn jumps(sink: &mut Sink, blocks: &[HostBlock<'_>], block: &HostBlock<'_>, line: &SshOption<'_>) {
    let name = name_of(block).unwrap_or("jump");
    for hop in line.value.split(',').map(str::trim) {
        if sink.is_full() {
            return;
        }
        let hop = hop.strip_prefix("ssh://").unwrap_or(hop);
        let hop = hop.rsplit('@').next().unwrap_or_default();
        let is_none = hop.is_empty() || hop.eq_ignore_ascii_case("none");
        if is_none || hop.len() > KEY || is_placeholder(hop) {
            continue;
        }
        let has_block = |block: &HostBlock<'_>| block.patterns.contains(&hop);
        let at = if blocks.iter().any(has_block) {
            place(blocks, hop)
        } else {
            host_and_port(hop, 22)
        };
        sink.named(line.number, name, Service::Ssh, at, said(""));
    }
}

fn blocks<'t>(sink: &mut Sink, text: &'t str) -> Vec<HostBlock<'t>> {
    let begin = |line, patterns| HostBlock {
        line,
        patterns,
        options: Vec::new(),
    };
    let mut blocks = vec![begin(1, vec!["*"])];
    for (line, text) in lines(sink, text) {
        let bare = text.trim();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let (key, value) = bare
            .split_once(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or((bare, ""));
        let all = value
            .trim_start_matches(|c: char| c.is_whitespace() || c == '=')
            .trim();
        let value = all.trim_matches('"');
        match key.to_ascii_lowercase().as_str() {
            "host" => {
                let names = value.split_whitespace();
                let names = names.map(|name| name.trim_matches('"'));
                blocks.push(begin(line, names.collect()));
            }
            "match" => blocks.push(begin(line, Vec::new())),
            "include" => include(sink, line, all),
            key => {
                if let Some(block) = blocks.last_mut() {
                    let (number, key) = (line, key.to_owned());
                    block.options.push(SshOption { number, key, value });
                }
            }
        }
    }
    blocks
}

/// Keeps the files that are to be read as if they stood there.
fn include(sink: &mut Sink, line: usize, paths: &str) {
    let Some(paths) = words(paths) else {
        return sink.pass_over(Some(line), "an Include that is not followed");
    };
    let file = sink.file.clone();
    let paths = paths.into_iter().map(|path| Include {
        file: file.clone(),
        line,
        path,
    });
    sink.includes.extend(paths);
}

fn holds(patterns: &[&str], name: &str) -> bool {
    let matches = |pattern: &str| is_match(pattern.as_bytes(), name.as_bytes());
    let excluded = patterns
        .iter()
        .filter_map(|pattern| pattern.strip_prefix('!'))
        .any(matches);
    !excluded && patterns.iter().any(|pattern| matches(pattern))
}

/// `*` and `?`, in time that grows with the product of both lengths at most.
pub(crate) fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}
