//! Ansible: the hosts of its inventories, by groups in groups, and the variables of both. A program that makes an inventory is not
//! run, and what a vault has is not read.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use crate::dsn::{host_alone, host_and_port};
use crate::open::Tree;
use crate::service::Service;
use crate::tokens::{StageWords, said};

use super::frameworks::flatten;
use super::settings::{Around, Variable, told, variables_in};
use super::yaml::{Node, get, load, pairs, scalar};
use super::{Format, Sink, lines, sections};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AnsibleFile {
    /// `ansible.cfg`, which names inventories.
    Config,
    Inventory,
    InventoryYaml,
    /// Variables of a group or a host.
    Variables,
}

/// Groups in each other.
const DEPTH: usize = 32;
/// Hosts of one pattern, and files that settings name.
const MANY: usize = 64;
/// Limit of the bytes of a pattern.
const PATTERN: usize = 1_024;
const TOO_MANY: &str = "more inventories than are read";
/// Connections that lead to no other machine.
const HERE: [&str; 6] = ["buildah", "chroot", "docker", "jail", "local", "podman"];

impl AnsibleFile {
    /// The kind, by a file's path and name.
    pub(super) fn of(path: &Path, name: &str) -> Option<Self> {
        let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
        let is_plain = name.ends_with(".ini") || !name.contains('.');
        let is_below = |dirs: [&str; 2]| {
            let mut above = path.iter().rev().skip(1);
            above.any(|dir| dirs.iter().any(|known| dir == OsStr::new(known)))
        };
        match name {
            "ansible.cfg" => Some(Self::Config),
            // Of most files the name alone says that they are none.
            _ if !is_yaml && !is_plain => None,
            _ if is_below(["group_vars", "host_vars"]) => {
                (is_yaml || !name.contains('.')).then_some(Self::Variables)
            }
            "hosts" | "inventory" | "hosts.ini" | "inventory.ini" => Some(Self::Inventory),
            "hosts.yml" | "hosts.yaml" | "inventory.yml" | "inventory.yaml" => {
                Some(Self::InventoryYaml)
            }
            _ if is_below(["inventory", "inventories"]) => Some(if is_yaml {
                Self::InventoryYaml
            } else {
                Self::Inventory
            }),
            _ => None,
        }
    }

    /// Whether a part of it says nothing.
    pub(super) const fn is_whole(self) -> bool {
        matches!(self, Self::InventoryYaml | Self::Variables)
    }

    /// Reads one.
    pub(super) fn read(self, sink: &mut Sink, text: &str) {
        if text.starts_with("#!") {
            sink.pass_over(None, "a program, which is not run");
        } else {
            match self {
                Self::Config => config(sink, text),
                Self::Inventory => inventory(sink, text),
                Self::InventoryYaml => inventory_yaml(sink, text),
                Self::Variables => vars(sink, text),
            }
        }
    }
}

/// Notes which inventories are named. They are read once all files are known.
fn config(sink: &mut Sink, text: &str) {
    for (_, name, pairs) in sections(sink, text) {
        let named = pairs
            .iter()
            .filter(|(key, _)| name == "defaults" && key == "inventory");
        for path in named.flat_map(|(_, value)| value.split(',')).map(str::trim) {
            if !path.is_empty() && sink.inventories.len() >= MANY {
                return sink.pass_over(None, TOO_MANY);
            }
            if !path.is_empty() {
                sink.inventories.push((sink.file.clone(), path.to_owned()));
            }
        }
    }
}

/// The files of the project that are named as inventories and were not read by their own names.
pub(crate) fn inventories(
    sink: &mut Sink,
    project: &Tree,
    read: &[(PathBuf, Format)],
) -> Vec<(PathBuf, Format)> {
    let mut known: HashSet<_> = read.iter().map(|(known, _)| known.clone()).collect();
    let mut all = Vec::new();
    for (config, path) in std::mem::take(&mut sink.inventories) {
        let Some(path) = within(Path::new(&config), Path::new(&path)) else {
            sink.begin(config);
            sink.pass_over(None, "an inventory outside of the project");
            continue;
        };
        let mut files = match project.list(&path, MANY + 1) {
            Ok(names) => names.iter().map(|name| path.join(name)).collect(),
            Err(Errno::ACCESS | Errno::PERM) => {
                sink.begin(config);
                sink.pass_over(None, "an inventory that may not be read");
                continue;
            }
            Err(_) => vec![path],
        };
        if files.len() > MANY {
            files.truncate(MANY);
            sink.begin(config.clone());
            sink.pass_over(None, TOO_MANY);
        }
        for file in files.into_iter().filter(|file| known.insert(file.clone())) {
            if all.len() >= MANY {
                sink.begin(config);
                sink.pass_over(None, TOO_MANY);
                break;
            }
            let is_yaml =
                [Some("yml"), Some("yaml")].contains(&file.extension().and_then(OsStr::to_str));
            let kind = if is_yaml {
                AnsibleFile::InventoryYaml
            } else {
                AnsibleFile::Inventory
            };
            all.push((file, Format::Ansible(kind)));
        }
    }
    all
}

/// A path that a file names, from the project's top; none where it leads out.
fn within(file: &Path, named: &Path) -> Option<PathBuf> {
    let mut path = file.parent()?.to_owned();
    for step in named.components() {
        match step {
            Component::Normal(step) if !step.as_encoded_bytes().starts_with(b"~") => {
                path.push(step)
            }
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    Some(path)
}

#[derive(Default)]
struct Group<'t> {
    parents: Vec<&'t str>,
    said: StageWords,
}

/// A host's line.
struct HostLine<'t> {
    number: usize,
    group: &'t str,
    words: Vec<String>,
}

/// An inventory's lines.
#[derive(Default)]
struct InventoryLines<'t> {
    groups: BTreeMap<&'t str, Group<'t>>,
    hosts: Vec<HostLine<'t>>,
    vars: BTreeMap<&'t str, Vec<Variable<'t>>>,
    /// Whether anything in the file shows that it is an inventory.
    is_one: bool,
    unreadable: Vec<usize>,
}

impl<'t> InventoryLines<'t> {
    fn of(lines: Vec<(usize, &'t str)>) -> Self {
        let mut all = Self::default();
        let (mut group, mut part) = ("ungrouped", "");
        for (number, line) in lines {
            let bare = line.trim();
            if bare.is_empty() || bare.starts_with(['#', ';']) {
                continue;
            }
            if let Some((head, _)) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                (group, part) = head.split_once(':').unwrap_or((head, ""));
                all.is_one = true;
                all.groups.entry(group).or_default();
                continue;
            }
            match part {
                "children" => {
                    let child = bare.split_whitespace().next().unwrap_or_default();
                    all.groups.entry(child).or_default().parents.push(group);
                }
                "vars" => all.variable(number, bare, group),
                _ => all.host(number, bare, group),
            }
        }
        all
    }

    fn variable(&mut self, number: usize, line: &'t str, group: &'t str) {
        let Some((key, value)) = line.split_once('=') else {
            return;
        };
        self.vars.entry(group).or_default().push(Variable {
            line: Some(number),
            key: key.trim(),
            value: value.trim().trim_matches(['"', '\'']),
            dormant: false,
        });
    }

    fn host(&mut self, number: usize, line: &str, group: &'t str) {
        let Some(words) = words(line) else {
            return self.unreadable.push(number);
        };
        self.is_one |= words.iter().any(|word| word.starts_with("ansible_"));
        self.hosts.push(HostLine {
            number,
            group,
            words,
        });
    }
}

/// `[group]`, `[group:children]` and `[group:vars]`. Without any of them, and without one of Ansible's own variables, a file of that
/// name is something else.
fn inventory(sink: &mut Sink, text: &str) {
    let mut all = InventoryLines::of(lines(sink, text));
    if !all.is_one {
        return;
    }
    for number in all.unreadable {
        sink.pass_over(Some(number), "an unreadable line");
    }
    spread(sink, &mut all.groups);
    let of = |group: &str| {
        let known = all.groups.get(group);
        known.map_or_else(|| said(group), |one| one.said)
    };
    for line in &all.hosts {
        if sink.is_full() {
            return;
        }
        host_line(sink, line, of(line.group));
    }
    for (group, variables) in &all.vars {
        let around = Around {
            data: of(group),
            ..Around::default()
        };
        variables_in(sink, variables, &around);
    }
}

/// What the groups around a group say holds for it as well.
fn spread(sink: &mut Sink, groups: &mut BTreeMap<&str, Group<'_>>) {
    for (name, group) in &mut *groups {
        group.said = said(name);
    }
    for round in 0..=DEPTH {
        let before: BTreeMap<_, _> = groups
            .iter()
            .map(|(name, group)| (*name, group.said))
            .collect();
        let mut is_same = true;
        for group in groups.values_mut() {
            for parent in &group.parents {
                let with = group
                    .said
                    .and(before.get(parent).copied().unwrap_or_default());
                is_same &= with == group.said;
                group.said = with;
            }
        }
        if is_same {
            return;
        }
        if round == DEPTH {
            sink.pass_over(None, "too deep");
        }
    }
}

/// Words as a shell has them; none where a quote has no end.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let (mut all, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) =
        (Vec::new(), None, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '#') => break,
            (None, c) if c.is_whitespace() => all.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    quote.is_none().then_some(all)
}

fn host_line(sink: &mut Sink, line: &HostLine<'_>, data: StageWords) {
    let Some((pattern, rest)) = line.words.split_first() else {
        return;
    };
    let of = |keys: [&str; 2]| {
        let mut found = rest.iter().filter_map(|word| word.split_once('='));
        found
            .find(|(key, _)| keys.contains(key))
            .map(|(_, value)| value)
    };
    let about = About {
        host: of(["ansible_host", "ansible_ssh_host"]),
        port: of(["ansible_port", "ansible_ssh_port"]),
        connection: of(["ansible_connection", ""]),
    };
    let Expanded { names, is_cut } = expanded(pattern);
    if is_cut {
        sink.pass_over(Some(line.number), "more hosts than are read");
    }
    for name in &names {
        host(sink, line.number, name, &about, data);
    }
}

/// What stands beside a host's name.
struct About<'t> {
    host: Option<&'t str>,
    port: Option<&'t str>,
    connection: Option<&'t str>,
}

fn host(sink: &mut Sink, line: usize, name: &str, about: &About<'_>, data: StageWords) {
    let connection = about.connection.unwrap_or("ssh");
    if HERE.contains(&connection) {
        return;
    }
    let usual = match connection {
        "winrm" | "psrp" => 5986,
        _ => 22,
    };
    let port = about
        .port
        .and_then(|port| port.parse().ok())
        .unwrap_or(usual);
    // A name may have its port behind it, where it is no IPv6 address.
    let (at, name) = match (about.host, host_alone(name, port)) {
        (Some(host), _) => (host_alone(host, port), name),
        (None, Some(at)) => (Some(at), name),
        (None, None) => {
            let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
            (host_and_port(name, port), bare)
        }
    };
    sink.named(line, name, Service::Ssh, at, data);
}

/// The hosts of a pattern.
struct Expanded {
    /// As many as are read.
    names: Vec<String>,
    /// Whether there are more.
    is_cut: bool,
}

/// `web[01:20].example.com` and `db-[a:c]` are many.
fn expanded(pattern: &str) -> Expanded {
    let (mut all, mut is_cut) = (vec![String::new()], false);
    let mut rest = pattern;
    // What is longer is the name of no host, whatever is put in.
    while let Some((before, parts, behind)) = range(rest).filter(|_| pattern.len() <= PATTERN) {
        is_cut |= all.len() * parts.len() > MANY;
        let with = all.iter().flat_map(|one| {
            let parts = parts.iter();
            parts.map(move |part| format!("{one}{before}{part}"))
        });
        all = with.take(MANY).collect();
        rest = behind;
    }
    for one in &mut all {
        one.push_str(rest);
    }
    all.sort();
    Expanded { names: all, is_cut }
}

/// The first range of a pattern, and what stands around it. At most one part more than is read.
fn range(pattern: &str) -> Option<(&str, Vec<String>, &str)> {
    let (before, rest) = pattern.split_once('[')?;
    let (inner, behind) = rest.split_once(']')?;
    let mut parts = inner.split(':');
    let (first, last) = (parts.next()?, parts.next()?);
    let step: usize = match parts.next() {
        Some(step) => step.parse().ok().filter(|step| *step > 0)?,
        None => 1,
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = if is_number(first) && is_number(last) {
        let (from, to): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let width = first.len();
        (from..=to)
            .step_by(step)
            .take(MANY + 1)
            .map(|number| format!("{number:0width$}"))
            .collect()
    } else {
        let (from, to) = (first.parse::<char>().ok()?, last.parse::<char>().ok()?);
        (from..=to)
            .step_by(step)
            .take(MANY + 1)
            .map(String::from)
            .collect()
    };
    Some((before, parts, behind))
}

fn inventory_yaml(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        // What configures a plugin has none.
        for (name, group) in pairs(document) {
            self::group(sink, group, name, StageWords::default(), DEPTH);
        }
    }
}

fn group(sink: &mut Sink, node: &Node<'_>, name: &str, around: StageWords, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        sink.pass_over(Some(node.span.start.line()), "too deep");
        return;
    };
    if sink.is_full() {
        return;
    }
    let data = said(name).and(around);
    for (name, vars) in get(node, "hosts").into_iter().flat_map(pairs) {
        if sink.is_full() {
            return;
        }
        let of = |keys: [&str; 2]| {
            let found = pairs(vars).find(|(key, _)| keys.contains(key));
            found.and_then(|(_, value)| scalar(value))
        };
        let (address, port) = (
            of(["ansible_host", "ansible_ssh_host"]),
            of(["ansible_port", "ansible_ssh_port"]),
        );
        let connection = of(["ansible_connection", ""]);
        let about = About {
            host: address.as_deref(),
            port: port.as_deref(),
            connection: connection.as_deref(),
        };
        let line = vars.span.start.line();
        let Expanded { names, is_cut } = expanded(name);
        if is_cut {
            sink.pass_over(Some(line), "more hosts than are read");
        }
        for name in &names {
            host(sink, line, name, &about, data);
        }
    }
    if let Some(vars) = get(node, "vars") {
        names(sink, vars, data);
    }
    for (name, child) in get(node, "children").into_iter().flat_map(pairs) {
        group(sink, child, name, data, depth);
    }
}

fn vars(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        names(sink, document, StageWords::default());
        if let Some(address) = get(document, "ansible_host").and_then(scalar) {
            let line = get(document, "ansible_host").map_or(1, |node| node.span.start.line());
            let at = host_alone(&address, 22);
            sink.named(
                line,
                "ansible_host",
                Service::Ssh,
                at,
                StageWords::default(),
            );
        }
    }
}

/// Variables by their names in names.
fn names(sink: &mut Sink, node: &Node<'_>, data: StageWords) {
    let mut all = Vec::new();
    flatten(sink, node, "", DEPTH, &mut all);
    told(sink, &all, data);
}
