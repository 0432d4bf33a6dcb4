//! Commands as people type them: in pipelines, Makefiles, scripts. Words are read, and no shell: what a variable stands for says nothing.

use crate::dsn::{Dsn, host_alone, is_placeholder, scan};
use crate::host::Host;
use crate::score::Clue;
use crate::service::Service;
use crate::tokens::{Said, said};

use super::settings::{Around, Variable, unquoted, variables_in};
use super::{LINE, Sink, lines};

/// Clients of databases: what they speak, and the port that they mean.
const CLIENTS: [(&str, Service, u16); 24] = [
    ("psql", Service::Postgres, 5432),
    ("pgcli", Service::Postgres, 5432),
    ("pg_dump", Service::Postgres, 5432),
    ("pg_dumpall", Service::Postgres, 5432),
    ("pg_restore", Service::Postgres, 5432),
    ("createdb", Service::Postgres, 5432),
    ("dropdb", Service::Postgres, 5432),
    ("vacuumdb", Service::Postgres, 5432),
    ("mysql", Service::Mysql, 3306),
    ("mycli", Service::Mysql, 3306),
    ("mysqladmin", Service::Mysql, 3306),
    ("mysqldump", Service::Mysql, 3306),
    ("mysqlimport", Service::Mysql, 3306),
    ("mariadb", Service::Mysql, 3306),
    ("mariadb-dump", Service::Mysql, 3306),
    ("redis-cli", Service::Redis, 6379),
    ("valkey-cli", Service::Redis, 6379),
    ("mongo", Service::Mongodb, 27017),
    ("mongosh", Service::Mongodb, 27017),
    ("mongodump", Service::Mongodb, 27017),
    ("mongorestore", Service::Mongodb, 27017),
    ("mongoimport", Service::Mongodb, 27017),
    ("clickhouse-client", Service::Clickhouse, 9000),
    ("influx", Service::Influxdb, 8086),
];

/// What goes by ssh.
const SSH: [&str; 5] = ["ssh", "scp", "rsync", "sftp", "mosh"];

/// Options of ssh behind which there is a word of theirs.
const WITH_WORD: &str = "BbcDEeFIiJLlmOopQRSWw";

/// What is told a context by its name.
const CONTEXTS: [(&str, Service, &[&str]); 6] = [
    (
        "kubectl",
        Service::Kubernetes,
        &["--context", "use-context"],
    ),
    ("helm", Service::Kubernetes, &["--kube-context"]),
    ("helmfile", Service::Kubernetes, &["--kube-context"]),
    ("flux", Service::Kubernetes, &["--context"]),
    ("k9s", Service::Kubernetes, &["--context"]),
    ("docker", Service::Docker, &["--context"]),
];

/// What a command is a part of.
#[derive(Clone, Copy)]
pub(super) struct Script<'n> {
    /// The key that is shown.
    pub(super) name: &'n str,
    /// What is said of where it goes.
    pub(super) data: Said,
    /// Services that run beside it.
    pub(super) own: &'n [&'n str],
}

/// Where a line of commands goes: by ssh, by a client of a database, by a connection string, or to what has a name elsewhere.
pub(super) fn line(sink: &mut Sink, line: usize, commands: &str, script: Script<'_>) {
    let words: Vec<_> = commands.split_whitespace().map(bare).collect();
    let is_end = |word: &str| ["&&", "||", "|", ";", "&"].contains(&word) || word.ends_with(';');
    let raw: Vec<_> = commands.split_whitespace().collect();
    let mut first = 0;
    for at in 0..=raw.len() {
        if at == raw.len() || is_end(raw[at]) {
            let end = (at + 1).min(raw.len());
            command(sink, line, &words[first..end], script);
            first = end;
        }
    }
    assignments(sink, line, &words, script);
    for word in words {
        if sink.is_full() {
            return;
        }
        let value = match word.split_once('=') {
            // One in an address is no variable's.
            Some((before, value)) if !before.contains(':') => value,
            _ => word,
        };
        address(sink, line, bare(value), script);
    }
}

fn bare(word: &str) -> &str {
    word.trim_matches(|c| "\"'`();|&".contains(c))
}

/// `KEY=value`, alone, behind `export`, or before what is run. What is fetched says nothing.
fn assignments(sink: &mut Sink, line: usize, words: &[&str], script: Script<'_>) {
    let all: Vec<_> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(key, value)| is_variable(key) && !value.contains("://"))
        .map(|(key, value)| Variable {
            line: Some(line),
            key,
            value: bare(value),
            dormant: false,
        })
        .collect();
    let around = Around {
        own: script.own,
        data: script.data.and(said(script.name)),
    };
    variables_in(sink, &all, &around);
}

fn is_variable(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !key.is_empty() && key.bytes().all(plain)
}

/// One command, without what is only said.
fn command(sink: &mut Sink, line: usize, words: &[&str], script: Script<'_>) {
    let is_before = |word: &&str| {
        let before = [
            "", "sudo", "exec", "time", "env", "export", "then", "do", "else", "if", "-",
        ];
        before.contains(word)
            || word
                .split_once('=')
                .is_some_and(|(key, _)| is_variable(key))
    };
    let begins = words.iter().take_while(|word| is_before(word)).count();
    let words = &words[begins..];
    let Some(program) = words
        .first()
        .map(|word| word.trim_start_matches(['@', '-', '+']))
    else {
        return;
    };
    let program = program.rsplit('/').next().unwrap_or_default();
    if ["echo", "printf", "#"].contains(&program) {
        return;
    }
    let by_ssh = words.iter().position(|word| SSH.contains(word));
    // `sshpass -p word ssh host`: what is no program here is none of theirs.
    let is_ssh = |at: usize| at == 0 || program == "sshpass" || program == "timeout";
    match by_ssh {
        _ if SSH.contains(&program) => ssh(sink, line, (program, &words[1..]), script),
        Some(at) if is_ssh(at) => ssh(sink, line, (words[at], &words[at + 1..]), script),
        Some(at) => with_user(sink, line, &words[at + 1..], script),
        None => {}
    }
    if let Some(client) = CLIENTS
        .iter()
        .find(|(name, _, _)| program == *name || words.contains(name))
    {
        database(sink, line, (client.1, client.2), words, script);
    }
    for (name, service, options) in CONTEXTS {
        if program == name {
            for context in values(words, options) {
                context_of(sink, line, service, context, script);
            }
        }
    }
    match (program, words) {
        ("docker", [_, "context", "use", name, ..]) => {
            context_of(sink, line, Service::Docker, name, script);
        }
        ("kubectx", [_, name, ..]) => {
            context_of(sink, line, Service::Kubernetes, name, script);
        }
        _ => {}
    }
}

/// The words behind options, or in them: `--context a` and `--context=a`.
fn values<'w>(words: &[&'w str], options: &[&str]) -> Vec<&'w str> {
    let pairs = words.iter().zip(words.iter().skip(1));
    let behind = pairs
        .filter(|(option, _)| options.contains(option))
        .map(|(_, value)| *value);
    let inside = words.iter().filter_map(|word| {
        let (option, value) = word.split_once('=')?;
        options.contains(&option).then_some(value)
    });
    let all = behind.chain(inside).map(bare);
    all.filter(|value| !value.is_empty() && !value.starts_with('-'))
        .collect()
}

/// `ssh [options] host`, and `host:path` of what copies.
fn ssh(sink: &mut Sink, line: usize, (program, words): (&str, &[&str]), script: Script<'_>) {
    if ["scp", "rsync"].contains(&program) {
        for word in words {
            let at = word.split_once(':').map(|(at, _)| at);
            let at = at.filter(|at| !at.contains(['/', '=']) && !at.starts_with('-'));
            if let Some(at) = at {
                place(sink, line, at, script);
            }
        }
        return;
    }
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some(option) if option.len() == 1 && WITH_WORD.contains(option) => {
                words.next();
            }
            Some(_) => {}
            None => return place(sink, line, word, script),
        }
    }
}

/// Whatever runs it, `user@host` behind a word that is ssh's is where it goes.
fn with_user(sink: &mut Sink, line: usize, words: &[&str], script: Script<'_>) {
    for word in words.iter().filter(|word| word.contains('@')) {
        place(
            sink,
            line,
            word.split(':').next().unwrap_or_default(),
            script,
        );
    }
}

/// `user@host`, where `host` may be what `~/.ssh/config` calls another.
fn place(sink: &mut Sink, line: usize, word: &str, script: Script<'_>) {
    let word = word.strip_prefix("ssh://").unwrap_or(word);
    let (user, at) = word.rsplit_once('@').unwrap_or(("", word));
    let is_user = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
    let host = Host::parse(at).filter(|_| user.chars().all(is_user));
    let Some(host) = host.filter(|_| !is_placeholder(at)) else {
        return;
    };
    // A word alone may be any: it has to be what somebody has named.
    let is_sure = !user.is_empty() || host.as_str().contains(['.', ':']);
    let host = is_sure.then_some(host);
    let clue = clue(sink, line, (host, 22), (Service::Ssh, script.data), script);
    sink.mention(at, clue);
}

fn context_of(sink: &mut Sink, line: usize, service: Service, name: &str, script: Script<'_>) {
    if !is_placeholder(name) {
        let clue = clue(sink, line, (None, 0), (service, script.data), script);
        sink.mention(name, clue);
    }
}

/// The host that a client is told, with the port and the database.
fn database(
    sink: &mut Sink,
    line: usize,
    (service, usual): (Service, u16),
    words: &[&str],
    script: Script<'_>,
) {
    let attached = words
        .iter()
        .filter_map(|word| word.strip_prefix("-h"))
        .filter(|rest| rest.contains('.') && !rest.starts_with('='));
    let hosts = values(words, &["-h", "--host"]);
    let port = match service {
        Service::Mysql => values(words, &["-P", "--port"]),
        _ => values(words, &["-p", "--port"]),
    };
    let port = port.first().and_then(|port| port.parse().ok());
    let names = values(words, &["-d", "--dbname", "--database", "-D"]);
    let data = script.data.and(said(&names.join(" ")));
    for host in hosts.into_iter().chain(attached.map(bare)) {
        if is_placeholder(host) || host.contains('/') || script.own.contains(&host) {
            continue;
        }
        let at = host_alone(host, port.unwrap_or(usual));
        sink.named(line, script.name, service, at, data);
    }
}

/// A connection string. What is only fetched is no place that a command changes.
fn address(sink: &mut Sink, line: usize, word: &str, script: Script<'_>) {
    let Dsn::Targets(targets) = scan(word) else {
        return;
    };
    let is_meant = |service| !matches!(service, Service::Http | Service::Ssh | Service::Git);
    for target in targets.into_iter().filter(|one| is_meant(one.service)) {
        let is_own = target
            .host
            .as_ref()
            .is_some_and(|host| script.own.contains(&host.as_str()));
        let at = Some((target.host, target.port));
        let data = script.data.and(target.data);
        if let Some(clue) = sink.named(line, script.name, target.service, at, data) {
            clue.is_own = is_own;
        }
    }
}

fn clue(
    sink: &Sink,
    line: usize,
    (host, port): (Option<Host>, u16),
    (service, data): (Service, Said),
    script: Script<'_>,
) -> Clue {
    Clue {
        host,
        port,
        service,
        seen: sink.seen(Some(line), script.name),
        data,
        credential: Some("login"),
        has_sibling: true,
        is_own: false,
    }
}

/// Lines, of which one that ends with a backslash goes on in the next.
fn joined(sink: &mut Sink, text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in lines(sink, text) {
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match all
            .last_mut()
            .filter(|(_, last)| goes_on && last.len() < LINE)
        {
            Some((_, last)) => {
                last.push(' ');
                last.push_str(line.trim_start());
            }
            None => all.push((number, line.to_owned())),
        }
        goes_on = more;
    }
    all
}

/// Makefiles and justfiles: variables, and below the name of a target what it runs.
pub(super) fn recipes(sink: &mut Sink, text: &str) {
    let all = joined(sink, text);
    let mut target = "-";
    let mut variables = Vec::new();
    for (number, line) in &all {
        if sink.is_full() {
            return;
        }
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let is_recipe = line.starts_with('\t') || (line.starts_with(' ') && target != "-");
        if is_recipe {
            let script = of_target(target);
            self::line(
                sink,
                *number,
                bare.trim_start_matches(['@', '-', '+']),
                script,
            );
        } else if let Some((key, value)) = variable(bare) {
            variables.push(Variable {
                line: Some(*number),
                key,
                value: unquoted(value),
                dormant: false,
            });
        } else if let Some((head, _)) = bare.split_once(':') {
            target = head.split_whitespace().next().unwrap_or("-");
            target = target.trim_start_matches('@');
        }
    }
    let is_fetched = |value: &str| value.starts_with("http:") || value.starts_with("https:");
    variables.retain(|one| !is_fetched(one.value));
    variables_in(sink, &variables, &Around::default());
}

fn of_target(name: &str) -> Script<'_> {
    Script {
        name,
        data: said(name),
        own: &[],
    }
}

/// `KEY = value`, `KEY := value`, `KEY ?= value`, `export KEY := value`.
fn variable(line: &str) -> Option<(&str, &str)> {
    let line = ["export ", "override "]
        .iter()
        .find_map(|word| line.strip_prefix(word))
        .unwrap_or(line);
    let (key, value) = line.split_once('=')?;
    let key = key.trim_end_matches([':', '?', '+']).trim();
    is_variable(key).then(|| (key, value.trim()))
}

/// A shell's script.
pub(super) fn shell(sink: &mut Sink, text: &str) {
    let all = joined(sink, text);
    for (number, line) in &all {
        let bare = line.trim();
        if sink.is_full() {
            return;
        }
        if !bare.starts_with('#') {
            let script = Script {
                data: Said::default(),
                ..of_target("-")
            };
            self::line(sink, *number, bare, script);
        }
    }
}

/// `name: command`.
pub(super) fn procfile(sink: &mut Sink, text: &str) {
    for (number, line) in lines(sink, text) {
        if let Some((name, command)) = line.split_once(':')
            && !name.trim_start().starts_with('#')
        {
            self::line(sink, number, command, of_target(name.trim()));
        }
    }
}

/// The scripts of a `package.json`.
pub(super) fn package(sink: &mut Sink, text: &str) {
    use super::json::{Lines, get, object, with_root};
    use jsonc_parser::ast::Value;

    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        let scripts = object(get(root, "scripts"));
        for script in scripts.map_or(&[][..], |scripts| &scripts.properties) {
            if let Value::StringLit(command) = &script.value {
                // `db:migrate:prod`, with what a key may have.
                let name = script.name.as_str().replace(':', ".");
                let line = source.of(script.range.start);
                self::line(sink, line, &command.value, of_target(&name));
            }
        }
    });
}
