//! Terraform's files, and Prisma's: `key = "value"` in blocks. Lines are read and not the language, so that each has its number and
//! nothing is evaluated: what is no literal says nothing here.

use crate::dsn::{Dsn, HostPort, host_alone, scan};
use crate::service::Service;
use crate::tokens::said;

use super::settings::{Around, Variable, variables_in};
use super::{KEY, Sink, lines};

/// Blocks in each other.
const DEPTH: usize = 64;

#[derive(Default)]
struct HclBlock {
    line: usize,
    /// `provider`, and `postgresql` beside it.
    kind: String,
    label: String,
    /// The line, key and value of each.
    pairs: Vec<(usize, String, String)>,
}

impl HclBlock {
    fn value(&self, key: &str) -> &str {
        let found = self.pairs.iter().find(|(_, own, _)| own == key);
        found.map_or("", |(_, _, value)| value)
    }
}

pub(super) fn blocks(sink: &mut Sink, text: &str) {
    within(sink, text, HclBlock::default());
}

/// `*.tfbackend`: what stands in a backend's block elsewhere.
pub(super) fn backend_settings(sink: &mut Sink, text: &str) {
    within(sink, text, HclBlock::of(1, "backend s3"));
}

/// `.terraform/environment`: the workspace that was chosen here.
pub(super) fn workspace(sink: &mut Sink, text: &str) {
    let file = sink.file.clone();
    let dir = file.strip_suffix(".terraform/environment");
    let dir = dir.map(|dir| dir.trim_end_matches('/').to_owned());
    sink.workspace(dir, text.trim());
}

/// Blocks, and what stands in none of them.
fn within(sink: &mut Sink, text: &str, around: HclBlock) {
    let mut open = vec![around];
    let mut prose = HclProse::default();
    for (number, line) in lines(sink, text) {
        let bare = line.trim();
        if prose.has(bare) {
            continue;
        }
        if bare.starts_with('}') {
            if open.len() > 1
                && let Some(block) = open.pop()
            {
                flush(sink, &block);
            }
            continue;
        }
        let head = bare.strip_suffix('{').map(str::trim_end);
        match (head, bare.split_once('=')) {
            (Some(head), _) => {
                if open.len() > DEPTH {
                    sink.pass_over(Some(number), "too deep");
                    return;
                }
                open.push(HclBlock::of(number, head));
            }
            (None, Some((key, value))) => {
                if let Some(end) = heredoc(value) {
                    prose.ends = Some(end);
                } else if let (Some(value), Some(block)) = (literal(value), open.last_mut()) {
                    let key = key.trim().trim_matches('"').to_owned();
                    block.pairs.push((number, key, value.to_owned()));
                }
            }
            (None, None) => {}
        }
    }
    // What is not closed says what it says all the same.
    for block in open.iter().rev() {
        flush(sink, block);
    }
}

/// Lines that are no settings: comments, and texts of several lines.
#[derive(Default)]
struct HclProse {
    /// What ends the text.
    ends: Option<String>,
    in_comment: bool,
}

impl HclProse {
    /// Whether the next line is part of one.
    fn has(&mut self, line: &str) -> bool {
        if let Some(end) = &self.ends {
            if line == end {
                self.ends = None;
            }
            return true;
        }
        if self.in_comment || line.starts_with("/*") {
            self.in_comment = !line.contains("*/");
            return true;
        }
        line.starts_with('#') || line.starts_with("//")
    }
}

impl HclBlock {
    /// `provider "postgresql"`, `resource "aws_instance" "web"`, `datasource db`, `settings =`.
    fn of(line: usize, head: &str) -> Self {
        let mut words = head
            .split(|c: char| c.is_whitespace() || c == '=')
            .map(|word| word.trim_matches('"'))
            .filter(|word| !word.is_empty());
        let kind = words.next().unwrap_or_default().to_owned();
        let labels: Vec<_> = words.collect();
        let label = if labels.is_empty() {
            kind.clone()
        } else {
            labels.join(".")
        };
        Self {
            line,
            label: if label.len() > KEY {
                "-".to_owned()
            } else {
                label
            },
            kind,
            pairs: Vec::new(),
        }
    }
}

fn heredoc(value: &str) -> Option<String> {
    let end = value.trim().strip_prefix("<<")?.trim_start_matches('-');
    Some(end.trim().to_owned())
}

/// A text or a number, where nothing in it stands for something else.
fn literal(value: &str) -> Option<&str> {
    let value = value.trim();
    match value.strip_prefix('"') {
        Some(rest) => rest.split_once('"').map(|(inner, _)| inner),
        None => {
            let word = value.split_whitespace().next()?;
            word.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(word)
        }
    }
}

fn flush(sink: &mut Sink, block: &HclBlock) {
    match (block.kind.as_str(), block.label.as_str()) {
        ("backend", "s3") => return backend(sink, block),
        ("connection", _) if block.value("type") != "winrm" => return connection(sink, block),
        ("provider", "kubernetes" | "helm") => return cluster(sink, block),
        _ => {}
    }
    let is_provider = block.kind == "provider";
    let keys: Vec<String> = block
        .pairs
        .iter()
        .map(|(_, key, _)| match key.as_str() {
            "endpoint" if is_provider => format!("{}.host", block.label),
            key if block.label.is_empty() => key.to_owned(),
            key => format!("{}.{key}", block.label),
        })
        .collect();
    let all: Vec<_> = keys
        .iter()
        .zip(&block.pairs)
        .map(|(key, (line, _, value))| Variable {
            line: Some(*line),
            key,
            value,
            dormant: false,
        })
        .collect();
    variables_in(sink, &all, &Around::default());
}

/// Where the state is kept: who writes there says what there is.
fn backend(sink: &mut Sink, block: &HclBlock) {
    let host = match (block.value("endpoint"), block.value("region")) {
        ("", "") => return,
        ("", region) => format!("https://s3.{region}.amazonaws.com"),
        (endpoint, _) => endpoint.to_owned(),
    };
    let data = said(&format!("{} {}", block.value("bucket"), block.value("key")));
    leads(sink, block.line, "backend.s3", Service::S3, &host, data);
}

fn connection(sink: &mut Sink, block: &HclBlock) {
    let host = block.value("host");
    if !host.is_empty() {
        let port = block.value("port").parse().unwrap_or(22);
        let at = host_alone(host, port);
        sink.named(block.line, "connection", Service::Ssh, at, said(""));
    }
}

fn cluster(sink: &mut Sink, block: &HclBlock) {
    let host = block.value("host");
    let data = said(block.value("config_context"));
    if !host.is_empty() {
        leads(
            sink,
            block.line,
            &block.label,
            Service::Kubernetes,
            host,
            data,
        );
    }
}

fn leads(
    sink: &mut Sink,
    line: usize,
    key: &str,
    service: Service,
    url: &str,
    data: crate::tokens::StageWords,
) {
    match scan(url) {
        Dsn::Targets(targets) => {
            for target in targets {
                let at = Some(HostPort::new(target.host, target.port));
                sink.named(line, key, service, at, data);
            }
        }
        Dsn::Other => {}
        Dsn::Unreadable => sink.pass_over(Some(line), "an unreadable address"),
    }
}
