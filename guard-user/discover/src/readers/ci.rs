//! What pipelines run: GitHub's workflows and GitLab's file, and the tasks of a Taskfile. Which environment a job deploys to is said by a person.

use crate::dsn::{host_alone, is_placeholder};
use crate::service::Service;
use crate::tokens::{StageWords, said};

use super::Sink;
use super::commands::{self, Script};
use super::settings::{Around, TOGETHER, Variable, variables_in};
use super::yaml::{Node, get, items, load, pairs, string, text};

/// Mappings in each other.
const DEPTH: usize = 10;
/// What is run.
const SCRIPTS: [&str; 6] = [
    "run",
    "script",
    "before_script",
    "after_script",
    "cmd",
    "cmds",
];
/// What holds for a job and all in it.
#[derive(Clone, Copy)]
struct Job<'n> {
    /// Its name, or that of the environment that it deploys to.
    name: &'n str,
    data: StageWords,
}

impl<'n> Job<'n> {
    /// The same, or the environment that it says it deploys to.
    fn deployed(self, node: &'n Node<'_>) -> Self {
        let environment = get(node, "environment");
        let name = environment.map_or("", |environment| match text(environment) {
            Some(name) => name,
            None => string(get(environment, "name")),
        });
        if name.is_empty() {
            self
        } else {
            Self {
                name,
                data: said(name),
            }
        }
    }
}

pub(super) fn pipeline(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        let job = Job {
            name: "-",
            data: StageWords::default(),
        };
        walk(sink, document, job, &[], DEPTH);
    }
}

fn walk<'n>(sink: &mut Sink, node: &'n Node<'_>, job: Job<'n>, own: &[&'n str], depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        sink.pass_over(Some(node.span.start.line()), "too deep");
        return;
    };
    if sink.is_full() {
        return;
    }
    for item in items(Some(node)) {
        walk(sink, item, job, own, depth);
    }
    let job = job.deployed(node);
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
            "env" | "variables" | "vars" => environment_of(sink, value, job, own),
            "with" if uses_ssh => deploys(sink, value, job),
            _ if SCRIPTS.contains(&key) => {
                let alone = text(value).map(|_| value);
                for one in alone.into_iter().chain(items(Some(value))) {
                    script(sink, one, job, own);
                }
            }
            _ => {
                // What stands below `jobs` or `tasks`, or in GitLab's file at the top, is called so.
                let job = match job.name {
                    "-" if !["jobs", "tasks"].contains(&key) => Job { name: key, ..job },
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
        .take(TOGETHER + 1)
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

/// Where the lines of a script go.
fn script(sink: &mut Sink, node: &Node<'_>, job: Job<'_>, own: &[&str]) {
    // A task's command may be one of several settings.
    let node = get(node, "cmd").unwrap_or(node);
    let first = node.span.start.line();
    let script = Script {
        name: job.name,
        data: job.data,
        own,
        is_here: false,
    };
    for (line, command) in (first..).zip(text(node).unwrap_or_default().lines()) {
        if sink.is_full() {
            return;
        }
        commands::line(sink, line, command, script);
    }
}
