//! `ssh_config(5)`: the hosts that somebody has named. `Match` depends on what only ssh knows, and counts for none.

use crate::dsn::host_alone;
use crate::service::Service;
use crate::tokens::said;

use super::ansible::words;
use super::{Include, KEY, Sink, lines};

struct Block<'t> {
    line: usize,
    /// None of a `Match`.
    patterns: Vec<&'t str>,
    options: Vec<(String, &'t str)>,
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
            let first = |key: &str| {
                let holding = blocks.iter().filter(|block| holds(&block.patterns, name));
                let mut options = holding.flat_map(|block| &block.options);
                options.find(|(own, _)| own == key).map(|(_, value)| *value)
            };
            let host =
                first("hostname").map_or((*name).to_owned(), |host| host.replace("%h", name));
            let port = first("port")
                .and_then(|port| port.parse().ok())
                .unwrap_or(22);
            let at = host_alone(&host, port);
            sink.named(block.line, name, Service::Ssh, at, said(""));
        }
    }
}

fn blocks<'t>(sink: &mut Sink, text: &'t str) -> Vec<Block<'t>> {
    let everywhere = Block {
        line: 1,
        patterns: vec!["*"],
        options: Vec::new(),
    };
    let mut blocks = vec![everywhere];
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
                let patterns = value
                    .split_whitespace()
                    .map(|name| name.trim_matches('"'))
                    .collect();
                blocks.push(Block {
                    line,
                    patterns,
                    options: Vec::new(),
                });
            }
            "match" => blocks.push(Block {
                line,
                patterns: Vec::new(),
                options: Vec::new(),
            }),
            "include" => {
                let Some(paths) = words(all) else {
                    sink.pass_over(Some(line), "an Include that is not followed");
                    continue;
                };
                let file = sink.file.clone();
                let paths = paths.into_iter().map(|path| Include {
                    file: file.clone(),
                    line,
                    path,
                });
                sink.includes.extend(paths);
            }
            key => {
                if let Some(block) = blocks.last_mut() {
                    block.options.push((key.to_owned(), value));
                }
            }
        }
    }
    blocks
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
