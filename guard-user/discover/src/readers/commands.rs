//! Commands as people type them: in pipelines, Makefiles, scripts. Words are read, and no shell: what a variable stands for says nothing.

use crate::dsn::{Dsn, HostPort, host_alone, is_placeholder, scan};
use crate::host::Host;
use crate::score::Clue;
use crate::service::{self, Service};
use crate::tokens::{StageWords, said};

use super::settings::{Around, TOGETHER, Variable, unquoted, variables_in};
use super::{LINE, Sink, lines, links};

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

/// Short options behind which there is a word of theirs, and the one that has the port.
const WITH_WORD: [(&str, &str, char); 5] = [
    ("mosh", "p", ' '),
    ("rsync", "BefMT", ' '),
    ("scp", "cDFiJloPSX", 'P'),
    ("sftp", "BbcDFiJloPRSsX", 'P'),
    ("ssh", "BbcDEeFIiJLlmOoPpQRSWw", 'p'),
];

/// The same of rsync's long ones.
const RSYNC_WITH_WORD: [&str; 12] = [
    "--chown",
    "--exclude",
    "--exclude-from",
    "--filter",
    "--groupmap",
    "--include",
    "--include-from",
    "--log-file-format",
    "--out-format",
    "--rsh",
    "--rsync-path",
    "--usermap",
];

/// Quotes in quotes.
const QUOTES: usize = 3;

/// Programs that take a context by its name.
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

/// Commands of platforms, and the API that stands for each platform.
const PLATFORMS: [(&str, &str); 12] = [
    ("aws", service::AWS),
    ("az", service::AZURE),
    ("firebase", service::GOOGLE),
    ("fly", links::FLY),
    ("flyctl", links::FLY),
    ("gcloud", service::GOOGLE),
    ("heroku", links::HEROKU),
    ("netlify", links::NETLIFY),
    ("railway", links::RAILWAY),
    ("supabase", links::SUPABASE),
    ("vercel", links::VERCEL),
    ("wrangler", links::CLOUDFLARE),
];

/// Programs that run the package behind them.
const RUNNERS: [&str; 3] = ["bunx", "npx", "pnpx"];

/// What a command is a part of.
#[derive(Clone, Copy)]
pub(super) struct Script<'n> {
    /// The key that is shown.
    pub(super) name: &'n str,
    /// What is said of where it goes.
    pub(super) data: StageWords,
    /// Services that run beside it.
    pub(super) own: &'n [&'n str],
    /// Whether a person runs it here, with logins that no file may show.
    pub(super) is_here: bool,
}

/// Where a line of commands goes: by ssh, by a client of a database, by a connection string, or to what has a name elsewhere.
pub(super) fn line(sink: &mut Sink, line: usize, commands: &str, script: Script<'_>) {
    read(sink, line, commands, script, QUOTES, false);
}

/// The same within quotes, which may be a command of what is run here, or only said.
fn read(
    sink: &mut Sink,
    line: usize,
    text: &str,
    script: Script<'_>,
    depth: usize,
    is_only_said: bool,
) {
    let commands = split(text);
    let mut all: Vec<&str> = Vec::new();
    for words in &commands {
        if sink.is_full() {
            return;
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let is_said = is_only_said || !command(sink, line, &words, script);
        for word in words
            .iter()
            .filter(|word| word.contains(char::is_whitespace))
        {
            let set = word.split_once('=').filter(|(key, _)| is_variable(key));
            let inner = set.map_or(*word, |(_, value)| value);
            if let Some(depth) = depth.checked_sub(1) {
                read(sink, line, inner, script, depth, is_said);
            }
        }
        all.extend(words);
    }
    assignments(sink, line, &all, script);
    for word in all {
        if sink.is_full() {
            return;
        }
        address(sink, line, word, script);
    }
}

/// Commands, each with its words: what stands in quotes is of one word, and a comment is none of it.
fn split(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut words): (Vec<Vec<String>>, Vec<String>) = Default::default();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = chars.next().map(|(_, c)| c);
                word.get_or_insert_default().extend(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '#') if word.is_none() => {
                chars = text[at..]
                    .find('\n')
                    .map_or("", |end| &text[at + end..])
                    .char_indices();
            }
            (None, '(') => match name_in(&text[at..], word.as_deref()) {
                // A variable of make's, and no command of its own.
                Some(name) => {
                    word.get_or_insert_default().push_str(name);
                    let end = at + name.len();
                    while chars.clone().next().is_some_and(|(at, _)| at < end) {
                        chars.next();
                    }
                }
                None => {
                    words.extend(word.take());
                    all.push(std::mem::take(&mut words));
                }
            },
            (None, ';' | '&' | '|' | '`' | ')' | '\n') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

/// `(NAME)` at the beginning of a text, where a dollar sign stands before it.
fn name_in<'t>(text: &'t str, before: Option<&str>) -> Option<&'t str> {
    let inner = text.get(1..)?.split(')').next()?;
    let is_name = before.is_some_and(|word| word.ends_with('$')) && is_variable(inner);
    let end = inner.len() + 2;
    (is_name && text.len() >= end).then(|| &text[..end])
}

/// Where a comment begins.
fn comment(text: &str) -> Option<usize> {
    let (mut quote, mut is_begin): (Option<char>, _) = (None, true);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, '#') if is_begin => return Some(at),
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None | Some('"'), '\\') => {
                chars.next();
            }
            _ => {}
        }
        is_begin = quote.is_none() && (c.is_whitespace() || ";&|()".contains(c));
    }
    None
}

/// A word without quotes and brackets around it.
pub(super) fn bare(word: &str) -> &str {
    word.trim_matches(|c| "\"'`();|&".contains(c))
}

/// `KEY=value`, alone, behind `export`, or before what is run. What is fetched says nothing.
fn assignments(sink: &mut Sink, line: usize, words: &[&str], script: Script<'_>) {
    let all: Vec<_> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(key, value)| is_variable(key) && !value.contains("://"))
        .take(TOGETHER + 1)
        .map(|(key, value)| Variable {
            line: Some(line),
            key,
            value: bare(value),
            dormant: false,
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let around = Around {
        own: script.own,
        data: script.data.and(said(script.name)),
    };
    variables_in(sink, &all, &around);
}

pub(super) fn is_variable(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !key.is_empty() && key.bytes().all(plain)
}

/// One command; whether it is one, and not only said.
fn command(sink: &mut Sink, line: usize, words: &[&str], script: Script<'_>) -> bool {
    let begins = words.iter().take_while(|word| is_before(word)).count();
    let words = &words[begins..];
    let Some(program) = words
        .first()
        .map(|word| word.trim_start_matches(['@', '-', '+']))
    else {
        return true;
    };
    let program = program.rsplit('/').next().unwrap_or_default();
    if ["echo", "printf"].contains(&program) {
        return false;
    }
    let command = ProgramWords { program, words };
    over_ssh(sink, line, command, script);
    if let Some(&(_, service, usual)) = CLIENTS
        .iter()
        .find(|(name, _, _)| program == *name || words.contains(name))
    {
        database(sink, line, service, usual, words, script);
    }
    contexts(sink, line, command, script);
    platform(sink, line, words, script);
    true
}

/// The platform that a command drives. Its words say the stage: `--app shop-staging`.
pub(super) fn platform(sink: &mut Sink, line: usize, words: &[&str], script: Script<'_>) {
    let runner = words.iter().position(|word| RUNNERS.contains(word));
    let mut run = words[runner.map_or(0, |at| at + 1)..].iter();
    let Some(program) = run.find(|word| !word.starts_with('-')) else {
        return;
    };
    // A package may have a scope and a version: `@supabase/server@latest`.
    let name = program.trim_start_matches('@').split(['/', '@']).next();
    if let Some((_, host)) = PLATFORMS.iter().find(|(known, _)| Some(*known) == name) {
        let data = script.data.and(said(&words.join(" ")));
        sink.link(line, script.name, Host::parse(host), data, script.is_here);
    }
}

/// A program that a command runs, and the command's words.
#[derive(Clone, Copy)]
struct ProgramWords<'c, 'w> {
    program: &'c str,
    words: &'c [&'w str],
}

impl<'c, 'w> ProgramWords<'c, 'w> {
    /// The program at that word, with the words behind it.
    fn run_at(self, program: &'c str, at: usize) -> Self {
        Self {
            program,
            words: &self.words[at + 1..],
        }
    }
}

/// Whether a word may stand before a command.
fn is_before(word: &str) -> bool {
    let before = [
        "", "sudo", "exec", "time", "env", "export", "then", "do", "else", "if", "-",
    ];
    let is_assignment = || {
        let pair = word.split_once('=');
        pair.is_some_and(|(key, _)| is_variable(key))
    };
    before.contains(&word) || is_assignment()
}

/// Where a command goes by ssh, if it does.
fn over_ssh(sink: &mut Sink, line: usize, command: ProgramWords<'_, '_>, script: Script<'_>) {
    let ProgramWords { program, words } = command;
    let by_ssh = words.iter().position(|word| SSH.contains(word));
    // `sshpass -p word ssh host`: what is no program here is none of theirs.
    let is_ssh = |at: usize| at == 0 || program == "sshpass" || program == "timeout";
    let (ssh, is_sure) = match by_ssh {
        _ if SSH.contains(&program) => (command.run_at(program, 0), true),
        Some(at) => (command.run_at(words[at], at), is_ssh(at)),
        None => return,
    };
    for (at, port) in destinations(ssh) {
        // Whatever runs it, `user@host` is where it goes.
        if is_sure || at.contains('@') {
            place(sink, line, at, port, script);
        }
    }
}

/// The contexts of kubectl and Docker that a command uses.
fn contexts(sink: &mut Sink, line: usize, command: ProgramWords<'_, '_>, script: Script<'_>) {
    let ProgramWords { program, words } = command;
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

/// `ssh [options] host`, and `host:path` of what copies, each with its port: what stands behind the host of ssh is run there.
fn destinations<'w>(command: ProgramWords<'_, 'w>) -> Vec<(&'w str, u16)> {
    let ProgramWords { program, words } = command;
    let copies = ["scp", "rsync"].contains(&program);
    let (mut all, mut port) = (Vec::new(), 22);
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        if word.starts_with("--") {
            if program == "rsync" && RSYNC_WITH_WORD.contains(&word) {
                words.next();
            }
        } else if let Some(options) = word.strip_prefix('-') {
            let Some((is_port, own)) = with_word(program, options) else {
                continue;
            };
            let own = if own.is_empty() {
                words.next()
            } else {
                Some(own)
            };
            if is_port {
                port = own.and_then(|own| own.parse().ok()).unwrap_or(port);
            }
        } else if !copies {
            return vec![(word, port)];
        } else if let Some((at, _)) = word.split_once(':') {
            let is_path = |c: char| c.is_whitespace() || "/=".contains(c);
            if !at.contains(is_path) {
                all.push((at, port));
            }
        }
    }
    all
}

/// Of short options that stand together, whether the one that has a word has the port, and the word, where it is not the next.
fn with_word<'w>(program: &str, options: &'w str) -> Option<(bool, &'w str)> {
    let (_, known, port) = WITH_WORD.iter().find(|(name, _, _)| *name == program)?;
    let (at, option) = options.char_indices().find(|(_, c)| known.contains(*c))?;
    Some((option == *port, &options[at + 1..]))
}

/// `user@host`, where `host` may be what `~/.ssh/config` calls another.
fn place(sink: &mut Sink, line: usize, word: &str, port: u16, script: Script<'_>) {
    let (word, port) = match word.strip_prefix("ssh://") {
        Some(rest) => {
            let rest = rest.split('/').next().unwrap_or_default();
            let own = rest.rsplit_once(':');
            own.and_then(|(at, port)| Some((at, port.parse().ok()?)))
                .unwrap_or((rest, port))
        }
        None => (word, port),
    };
    let (user, at) = word.rsplit_once('@').unwrap_or(("", word));
    let is_user = |c: char| c.is_ascii_alphanumeric() || "-_.${}()".contains(c);
    let host = Host::parse(at).filter(|_| user.chars().all(is_user));
    let Some(host) = host.filter(|_| !is_placeholder(at)) else {
        return;
    };
    // A word alone may be any: it has to be what somebody has named.
    let is_sure = !user.is_empty() || host.as_str().contains(['.', ':']);
    let host = is_sure.then_some(host);
    let clue = clue(sink, line, HostPort::new(host, port), Service::Ssh, script);
    sink.mention(at, clue);
}

fn context_of(sink: &mut Sink, line: usize, service: Service, name: &str, script: Script<'_>) {
    if !is_placeholder(name) {
        let clue = clue(sink, line, HostPort::new(None, 0), service, script);
        sink.mention(name, clue);
    }
}

/// The host that a client gets, with the port and the database.
fn database(
    sink: &mut Sink,
    line: usize,
    service: Service,
    usual: u16,
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

/// A connection string, or a variable's. What is only fetched is no place that a command changes.
pub(super) fn address(sink: &mut Sink, line: usize, word: &str, script: Script<'_>) {
    let value = match word.split_once('=') {
        // One in an address is no variable's.
        Some((before, value)) if !before.contains(':') => value,
        _ => word,
    };
    let targets = [word, value]
        .into_iter()
        .find_map(|text| match scan(bare(text)) {
            Dsn::Targets(targets) => Some(targets),
            _ => None,
        });
    let Some(targets) = targets else {
        return;
    };
    let is_meant = |service| !matches!(service, Service::Http | Service::Ssh | Service::Git);
    for target in targets.into_iter().filter(|one| is_meant(one.service)) {
        let is_own = target
            .host
            .as_ref()
            .is_some_and(|host| script.own.contains(&host.as_str()));
        let at = Some(HostPort::new(target.host, target.port));
        let data = script.data.and(target.data);
        if let Some(clue) = sink.named(line, script.name, target.service, at, data) {
            clue.is_own = is_own;
        }
    }
}

fn clue(sink: &Sink, line: usize, at: HostPort, service: Service, script: Script<'_>) -> Clue {
    Clue {
        host: at.host,
        port: at.port,
        service,
        seen: sink.seen(Some(line), script.name),
        data: script.data,
        credential: Some("login"),
        has_sibling: true,
        is_own: false,
    }
}

/// Lines, of which one that ends with a backslash goes on in the next; a comment does not.
pub(super) fn joined(sink: &mut Sink, text: &str) -> Vec<(usize, String)> {
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
        goes_on = more && comment(line).is_none();
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
        is_here: true,
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
                data: StageWords::default(),
                ..of_target("-")
            };
            self::line(sink, *number, bare, script);
        }
    }
}

/// `name: command`.
pub(super) fn procfile(sink: &mut Sink, text: &str) {
    for (number, line) in lines(sink, text) {
        if sink.is_full() {
            return;
        }
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
            if sink.is_full() {
                return;
            }
            if let Value::StringLit(command) = &script.value {
                // `db:migrate:prod`, with what a key may have.
                let name = script.name.as_str().replace(':', ".");
                let line = source.of(script.range.start);
                self::line(sink, line, &command.value, of_target(&name));
            }
        }
    });
}
