//! What is put into a cluster: values of Helm's charts, manifests, and what kustomize puts together. Hosts that only the cluster
//! itself knows count as its own; templates are not filled in.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

use crate::dsn::{Dsn, HostPort, host_alone, scan};
use crate::host::Host;
use crate::score::Clue;
use crate::service::Service;
use crate::tokens::{StageWords, said};

use super::Sink;
use super::settings::{ServicePort, Setting, by_driver, told};
use super::yaml::{Node, get, items, load, pairs, scalar, string, text};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KubernetesFile {
    Kustomization,
    Manifest,
    Values,
}

/// Mappings in each other.
const DEPTH: usize = 24;
/// Directories of manifests.
const MANIFESTS: [&str; 7] = [
    "base",
    "bases",
    "k8s",
    "kubernetes",
    "kustomize",
    "manifests",
    "overlays",
];

impl KubernetesFile {
    /// The kind, by a file's path and name.
    pub(super) fn of(path: &Path, name: &str) -> Option<Self> {
        let stem = name
            .strip_suffix(".yaml")
            .or_else(|| name.strip_suffix(".yml"))?;
        let is_below = |dirs: &[&str]| {
            let mut above = path.iter().rev().skip(1);
            above.any(|dir| dirs.iter().any(|known| dir == OsStr::new(known)))
        };
        match stem {
            "kustomization" => Some(Self::Kustomization),
            // What a chart makes manifests of is no YAML yet.
            _ if is_below(&["templates"]) => None,
            _ if stem == "values"
                || ["values-", "values.", "values_"]
                    .iter()
                    .any(|start| stem.starts_with(start))
                || ["-values", ".values", "_values"]
                    .iter()
                    .any(|end| stem.ends_with(end)) =>
            {
                Some(Self::Values)
            }
            _ if is_below(&MANIFESTS) => Some(Self::Manifest),
            // App Engine's files have variables as charts' values have.
            "app" if name.ends_with(".yaml") => Some(Self::Values),
            _ => None,
        }
    }

    /// Reads one.
    pub(super) fn read(self, sink: &mut Sink, source: &str) {
        for document in &load(sink, source) {
            if sink.is_full() {
                return;
            }
            let from = sink.clues.len();
            match self {
                Self::Kustomization => kustomization(sink, document),
                Self::Manifest => manifest(sink, document),
                Self::Values => values(sink, document),
            }
            for clue in &mut sink.clues[from..] {
                clue.is_own |= clue.host.as_ref().is_some_and(is_the_clusters);
            }
        }
    }
}

/// A short name, or one of the cluster's own zone: from here it leads nowhere.
fn is_the_clusters(host: &Host) -> bool {
    let name = host.as_str();
    let is_short = host.address().is_none() && !name.contains('.');
    is_short || name.ends_with(".svc") || name.ends_with(".svc.cluster.local")
}

/// Names in names; lists of `name` and `value`, as environments have them, by the first.
fn values(sink: &mut Sink, document: &Node<'_>) {
    let mut values = ChartValues::default();
    let is_whole = flatten(sink, document, "", DEPTH, &mut values);
    if !is_whole {
        sink.pass_over(None, "too deep");
    }
    told(sink, &values.settings, StageWords::default());
    for host in values.websites {
        let Setting { line, key, value } = host;
        website(sink, line, &key, &value, StageWords::default());
    }
}

/// What a chart's values hold.
#[derive(Default)]
struct ChartValues<'n> {
    settings: Vec<Setting<'n>>,
    /// The hosts by which others find what runs in the cluster.
    websites: Vec<Setting<'n>>,
}

/// Whether all of it was there to be read.
fn flatten<'n>(
    sink: &mut Sink,
    node: &'n Node<'_>,
    path: &str,
    depth: usize,
    values: &mut ChartValues<'n>,
) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let mut is_whole = true;
    for item in items(Some(node)) {
        if let Some(setting) = setting(item) {
            values.settings.push(setting);
        } else {
            is_whole &= flatten(sink, item, path, depth, values);
        }
        let is_website = path.ends_with("ingress.hosts");
        if let (true, Some(host)) = (is_website, text(item)) {
            values.websites.push(Setting {
                line: item.span.start.line(),
                key: path.to_owned(),
                value: Cow::Borrowed(host),
            });
        }
    }
    for (key, value) in pairs(node) {
        let Some(path) = sink.path_below(path, key, || value.span.start.line()) else {
            continue;
        };
        match scalar(value) {
            Some(text) => {
                let line = value.span.start.line();
                let ends = ["ingress.host", "ingress.hostname", "ingress.hosts.host"];
                let found = if ends.iter().any(|end| path.ends_with(end)) {
                    &mut values.websites
                } else {
                    &mut values.settings
                };
                found.push(Setting {
                    line,
                    key: path,
                    value: text,
                });
            }
            None => is_whole &= flatten(sink, value, &path, depth, values),
        }
    }
    is_whole
}

/// Where others find what runs in the cluster.
fn website(sink: &mut Sink, line: usize, key: &str, name: &str, data: StageWords) {
    // `*.example.com` is for what is below.
    let Some(HostPort { host, port }) = host_alone(name.strip_prefix("*.").unwrap_or(name), 443)
    else {
        if !name.is_empty() {
            sink.pass_over(Some(line), "an unreadable host");
        }
        return;
    };
    let seen = sink.seen(Some(line), key);
    sink.push(Clue {
        host,
        port,
        service: Service::Http,
        seen,
        data,
        credential: None,
        has_sibling: true,
        is_own: false,
    });
}

fn manifest(sink: &mut Sink, document: &Node<'_>) {
    let about = get(document, "metadata");
    let of = |key: &str| about.map_or("", |about| string(get(about, key)));
    let (name, data) = (of("name"), said(of("namespace")));
    let spec = get(document, "spec");
    match string(get(document, "kind")) {
        "ConfigMap" => pairs_told(sink, get(document, "data"), data),
        "Secret" => {
            pairs_told(sink, get(document, "stringData"), data);
            if let Some(encoded) = get(document, "data") {
                let line = encoded.span.start.line();
                sink.pass_over(Some(line), "a Secret's values, in base64");
            }
        }
        "Ingress" => {
            for rule in items(spec.and_then(|spec| get(spec, "rules"))) {
                if let Some(host) = get(rule, "host") {
                    website(sink, host.span.start.line(), name, string(Some(host)), data);
                }
            }
        }
        "Application" => {
            let to = spec.and_then(|spec| get(spec, "destination"));
            if let Some(server) = to.and_then(|to| get(to, "server")) {
                cluster(sink, server, name);
            }
        }
        "Service" => {
            if let Some(spec) = spec {
                elsewhere(sink, spec, name, data);
            }
        }
        _ => {
            if !containers(sink, document, data, DEPTH) {
                sink.pass_over(None, "too deep");
            }
        }
    }
}

/// The cluster that Argo CD puts an application into.
fn cluster(sink: &mut Sink, server: &Node<'_>, name: &str) {
    let line = server.span.start.line();
    match scan(string(Some(server))) {
        Dsn::Targets(targets) => {
            for target in targets {
                let at = Some(HostPort::new(target.host, target.port));
                let clue = sink.named(line, name, Service::Kubernetes, at, said(name));
                // What opens it is Argo CD's.
                if let Some(clue) = clue {
                    clue.credential = None;
                }
            }
        }
        Dsn::Other | Dsn::Unreadable => sink.pass_over(Some(line), "an unreadable server"),
    }
}

/// A service that is a name elsewhere.
fn elsewhere(sink: &mut Sink, spec: &Node<'_>, name: &str, data: StageWords) {
    let Some(external) = get(spec, "externalName") else {
        return;
    };
    let port = items(get(spec, "ports")).first();
    let port = port.and_then(|one| scalar(get(one, "port")?)?.parse().ok());
    let ServicePort { service, usual } = by_driver(name, port);
    let at = host_alone(string(Some(external)), port.unwrap_or(usual));
    let clue = sink.named(external.span.start.line(), name, service, at, data);
    if let Some(clue) = clue {
        clue.credential = None;
    }
}

/// Settings that are a mapping of names and texts.
pub(super) fn pairs_told(sink: &mut Sink, node: Option<&Node<'_>>, data: StageWords) {
    let all: Vec<_> = node
        .into_iter()
        .flat_map(pairs)
        .filter_map(|(key, value)| {
            Some(Setting {
                line: value.span.start.line(),
                key: key.to_owned(),
                value: scalar(value)?,
            })
        })
        .collect();
    told(sink, &all, data);
}

/// The environments of containers, wherever a workload has them. Whether all of it was there to be read.
fn containers(sink: &mut Sink, node: &Node<'_>, data: StageWords, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    if sink.is_full() {
        return true;
    }
    let mut is_whole = true;
    for (key, value) in pairs(node) {
        let environment: Vec<_> = match key {
            "env" => items(Some(value)).iter().filter_map(setting).collect(),
            _ => Vec::new(),
        };
        if environment.is_empty() {
            is_whole &= containers(sink, value, data, depth)
        } else {
            told(sink, &environment, data)
        }
    }
    for item in items(Some(node)) {
        is_whole &= containers(sink, item, data, depth);
    }
    is_whole
}

/// `name` and `value` of an environment's list.
fn setting<'n>(item: &'n Node<'_>) -> Option<Setting<'n>> {
    let name = text(get(item, "name")?)?;
    Some(Setting {
        line: item.span.start.line(),
        key: name.to_owned(),
        value: scalar(get(item, "value")?)?,
    })
}

/// What ConfigMaps and Secrets are made of.
fn kustomization(sink: &mut Sink, document: &Node<'_>) {
    let data = said(string(get(document, "namespace")));
    for generator in ["configMapGenerator", "secretGenerator"] {
        for one in items(get(document, generator)) {
            let all: Vec<_> = items(get(one, "literals"))
                .iter()
                .filter_map(|literal| {
                    let (key, value) = text(literal)?.split_once('=')?;
                    Some(Setting {
                        line: literal.span.start.line(),
                        key: key.to_owned(),
                        value: Cow::Borrowed(value.trim_matches(['"', '\''])),
                    })
                })
                .collect();
            told(sink, &all, data);
        }
    }
}
