//! What pipelines are told: GitHub's workflows and GitLab's file. Which environment a job deploys to is said by a person.

use crate::dsn::{Dsn, host_alone, is_placeholder, scan};
use crate::host::Host;
use crate::service::Service;
use crate::tokens::{Said, said};

use super::Sink;
use super::settings::{Around, Variable, variables_in};
use super::yaml::{Node, get, items, load, pairs, string, text};

/// Mappings in each other.
const DEPTH: usize = 10;
/// What is run.
const SCRIPTS: [&str; 4] = ["run", "script", "before_script", "after_script"];
/// Clients of databases: what they speak, and how they are told the host.
const CLIENTS: [(&str, Service, u16); 6] = [
    ("psql", Service::Postgres, 5432),
    ("pg_dump", Service::Postgres, 5432),
    ("pg_restore", Service::Postgres, 5432),
    ("mysql", Service::Mysql, 3306),
    ("mysqldump", Service::Mysql, 3306),
    ("redis-cli", Service::Redis, 6379),
];

/// What holds for a job and all in it.
#[derive(Clone, Copy)]
struct Job<'n> {
    /// Its name, or that of the environment that it deploys to.
    name: &'n str,
    data: Said,
}

pub(super) fn pipeline(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        let job = Job {
            name: "-",
            data: Said::default(),
        };
        walk(sink, document, job, &[], DEPTH);
    }
}

fn walk<'n>(sink: &mut Sink, node: &'n Node<'_>, job: Job<'n>, own: &[&'n str], depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        sink.pass_over(Some(node.span.start.line()), "too deep");
        return;
    };
    for item in items(Some(node)) {
        walk(sink, item, job, own, depth);
    }
    let environment = get(node, "environment");
    let named = environment.map_or("", |environment| match text(environment) {
        Some(name) => name,
        None => string(get(environment, "name")),
    });
    let job = match named.is_empty() {
        true => job,
        false => Job {
            name: named,
            data: said(named),
        },
    };
    let services = get(node, "services").map(|services| {
        let names = pairs(services).map(|(name, _)| name);
        own.iter().copied().chain(names).collect::<Vec<_>>()
    });
    let own = services.as_deref().unwrap_or(own);
    let uses_ssh = ["ssh", "scp", "rsync"]
        .iter()
        .any(|word| string(get(node, "uses")).contains(word));
    for (key, value) in pairs(node) {
        match key {
            "env" | "variables" => environment_of(sink, value, job, own),
            "with" if uses_ssh => deploys(sink, value, job),
            _ if SCRIPTS.contains(&key) => {
                let alone = text(value).map(|_| value);
                for one in alone.into_iter().chain(items(Some(value))) {
                    script(sink, one, job, own);
                }
            }
            _ => {
                // What stands below `jobs`, or in GitLab's file at the top, is called so.
                let job = match job.name {
                    "-" if key != "jobs" => Job { name: key, ..job },
                    _ => job,
                };
                walk(sink, value, job, own, depth);
            }
        }
    }
}

fn environment_of(sink: &mut Sink, node: &Node<'_>, job: Job<'_>, own: &[&str]) {
    let all: Vec<_> = pairs(node)
        .filter_map(|(key, value)| {
            Some(Variable {
                line: Some(value.span.start.line()),
                key,
                value: text(value)?,
                dormant: false,
            })
        })
        .collect();
    let around = Around {
        own,
        data: job.data,
    };
    variables_in(sink, &all, &around);
}

/// The inputs of an action that goes somewhere by ssh.
fn deploys(sink: &mut Sink, node: &Node<'_>, job: Job<'_>) {
    for (key, value) in pairs(node) {
        let host = text(value).unwrap_or_default();
        if ["host", "hostname", "remote_host", "server"].contains(&key) && !is_placeholder(host) {
            let line = value.span.start.line();
            let at = host_alone(host, 22);
            sink.named(line, job.name, Service::Ssh, at, job.data);
        }
    }
}

/// Where the lines of a script go: by ssh, by a client of a database, or by a connection string.
fn script(sink: &mut Sink, node: &Node<'_>, job: Job<'_>, own: &[&str]) {
    let first = node.span.start.line();
    for (line, command) in (first..).zip(text(node).unwrap_or_default().lines()) {
        if sink.is_full() {
            return;
        }
        let words: Vec<_> = command
            .split_whitespace()
            .map(|word| word.trim_matches(|c| "\"'`();|&".contains(c)))
            .collect();
        let goes_by_ssh = words
            .iter()
            .any(|word| ["ssh", "scp", "rsync", "sftp"].contains(word));
        let client = CLIENTS.iter().find(|(name, _, _)| words.contains(name));
        for (at, word) in words.iter().enumerate() {
            if goes_by_ssh && let Some(host) = after_user(word) {
                sink.named(
                    line,
                    job.name,
                    Service::Ssh,
                    Some((Some(host), 22)),
                    job.data,
                );
            }
            if let (Some((_, service, port)), "-h" | "--host") = (client, *word)
                && let Some(host) = words.get(at + 1)
                && !is_placeholder(host)
                && !own.contains(host)
            {
                sink.named(line, job.name, *service, host_alone(host, *port), job.data);
            }
            if let Dsn::Targets(targets) = scan(word) {
                // What is only fetched is no place that a job changes.
                for target in targets
                    .into_iter()
                    .filter(|one| one.service != Service::Http)
                {
                    let is_own = target
                        .host
                        .as_ref()
                        .is_some_and(|host| own.contains(&host.as_str()));
                    let at = Some((target.host, target.port));
                    let data = job.data.and(target.data);
                    if let Some(clue) = sink.named(line, job.name, target.service, at, data) {
                        clue.is_own = is_own;
                    }
                }
            }
        }
    }
}

/// The host of `user@host` and `user@host:path`.
fn after_user(word: &str) -> Option<Host> {
    let (user, rest) = word.split_once('@')?;
    let is_user = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if user.is_empty() || !user.chars().all(is_user) {
        return None;
    }
    Host::parse(rest.split(':').next()?)
}
