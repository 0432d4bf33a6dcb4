//! A policy, as a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Range,
    time::Duration,
};

use guard_common::{Protocol, Verdict};
use serde::{Deserialize, Serialize};

use super::{
    group::Group,
    name::DomainName,
    ports::PortSpec,
    prefix::Prefix,
    profile::{Profile, ProfileLists},
    socket::SocketName,
    target::Target,
};

/// What a rule does.
pub type Action = Verdict;

/// No hole lasts longer where neither rule nor policy says otherwise.
pub const DEFAULT_MAX_HOLE: Duration = Duration::from_secs(3_600);

/// How long a connection waits where the policy does not say.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(60);

/// The longest that a connection or a question for a name waits for an answer, whatever a policy says: the kernel stops trying. HTTP
/// requests and SQL statements wait as long as it says.
pub const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// A policy as its file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name: what the file says, else the file's own name without its extension.
    pub name: String,
    /// The file, as it was named when it was given.
    pub file: String,
    /// What holds where no rule matches; `deny` where the file does not say.
    pub default: Action,
    /// Where the file says so.
    pub default_line: Option<usize>,
    /// How long a connection may wait for an answer; zero means that it never waits.
    pub hold: Duration,
    /// Whether replies on TCP connections that came in from outside pass, but where a rule denies.
    pub inbound: bool,
    /// No hole lasts longer, where the rule does not say otherwise.
    pub max_hole: Option<Duration>,
    /// Unix sockets of others that it may connect to.
    pub unix: Vec<SocketName>,
    /// What happens to questions for names that no rule names; absent, see [`Policy::names_asked`].
    pub dns_names: Option<DnsNames>,
    /// Whether names that the search list may have made are refused where a person would be asked about them.
    pub dns_search_silent: bool,
    /// Its rules, in the order of the file, which means nothing.
    pub rules: Vec<Rule>,
    /// Whether it only narrows a policy that it lies around or beside: what it does not name is that one's matter, other programs'
    /// listeners on the loopback included. No file says so.
    pub is_layer: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: what the file says, else `rule N`, counted from 1.
    pub name: String,
    /// Where to. Never empty.
    pub to: Vec<Target>,
    /// Which ports; empty means every protocol and port.
    pub ports: Vec<PortSpec>,
    /// What it does.
    pub action: Action,
    /// No hole here lasts longer; absent, the policy's holds.
    pub max_hole: Option<Duration>,
    /// Why it is there, in the author's words.
    pub reason: Option<String>,
    /// What passes to a `read-only` destination beyond reading.
    pub http: Vec<HttpRule>,
    /// The protocols that are spoken there, under `read-only`.
    pub profiles: Vec<Profile>,
    /// What those profiles have to know.
    pub lists: ProfileLists,
    /// The names in `to` may have addresses of `@private` and `@on-link`, whatever they had at first.
    pub private: bool,
    /// Where TLS is spoken, the server's name that it shows has to be one of `to` (`tls = "name"`), under `allow`.
    pub by_sni: bool,
    /// The line of its header, counted from 1.
    pub line: usize,
    /// Its name in the source, or its header.
    pub place: SourceSpan,
}

/// What happens to a DNS question for a name that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnsNames {
    /// It passes.
    Any,
    /// A person is asked.
    Ask,
    /// It is refused.
    Rules,
}

/// Which HTTP requests a `read-only` rule treats differently. Absent conditions hold for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRule {
    /// Methods, in upper case; empty means all.
    pub method: Vec<String>,
    /// The path of the request; `*` stands for any text.
    pub path: Option<String>,
    /// The query of the request; `*` stands for any text.
    pub query: Option<String>,
    /// The media type of its body; `*` stands for any text.
    pub content_type: Option<String>,
    /// What happens to such a request.
    pub action: HttpAction,
}

/// What an HTTP rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpAction {
    /// It passes, whatever it does.
    Allow,
    /// A person is asked, though it may only read.
    Confirm,
    /// It is refused, and nobody can allow it.
    Deny,
}

/// A piece of the source that a later step may complain about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceSpan {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// In bytes from the start.
    pub span: Range<usize>,
    /// What stands there.
    pub text: String,
}

impl Policy {
    /// A rule by its index; none for [`guard_common::DEFAULT_RULE`].
    #[must_use]
    pub fn rule(&self, index: u16) -> Option<&Rule> {
        self.rules.get(usize::from(index))
    }

    /// Whether TLS has to show a name anywhere.
    #[must_use]
    pub fn looks_at_sni(&self) -> bool {
        self.rules.iter().any(|rule| rule.by_sni)
    }

    /// Whether it says anything of names: then the questions of its sessions go through the guard's resolver.
    #[must_use]
    pub fn has_patterns(&self) -> bool {
        let targets = self.rules.iter().flat_map(|rule| &rule.to);
        self.dns_names.is_some()
            || targets
                .into_iter()
                .any(|target| matches!(target, Target::Name(_) | Target::Wildcard(_)))
    }

    /// Lets pass what no rule names, for a session that is observed.
    pub fn observe(&mut self) {
        self.default = Verdict::Allow;
        self.dns_names = Some(DnsNames::Any);
    }

    /// Has it lie around policies of others: its rules, `default`, `max_hole` and `[dns]` count. How long connections wait, whether replies
    /// pass, and which Unix sockets may be used is theirs to say.
    pub fn lie_around(&mut self) {
        self.hold = LONGEST_HOLD;
        self.inbound = true;
    }

    /// What happens to questions for names that no rule names: what the file says, else they pass where anything in the
    /// internet may be reached by its address, and are refused where nothing may. A policy without rules by name leaves them to the
    /// others of its session: alone it has nobody judge them.
    #[must_use]
    pub fn names_asked(&self) -> DnsNames {
        let is_open = || self.default != Verdict::Deny || self.names_opened_by().is_some();
        self.dns_names.unwrap_or_else(|| {
            if !self.has_patterns() || is_open() {
                DnsNames::Any
            } else {
                DnsNames::Rules
            }
        })
    }

    /// The first rule by which they pass, where neither the file nor the default says so. One that asks a person lets nothing pass by
    /// itself: it counts where it is about all of the internet, of which nothing could be asked for without names.
    #[must_use]
    pub fn names_opened_by(&self) -> Option<&Rule> {
        let opens = |rule: &&Rule| {
            let is_wide = |target: &Target| {
                let is_prefix = matches!(target, Target::Prefix(_));
                target.is_internet() || (is_prefix && rule.action != Verdict::Confirm)
            };
            rule.action != Verdict::Deny && rule.to.iter().any(is_wide)
        };
        let is_said = self.dns_names.is_some() || self.default != Verdict::Deny;
        self.rules.iter().find(opens).filter(|_| !is_said)
    }

    /// How long a hole may last at most where this rule stops, or where the default does.
    #[must_use]
    pub fn longest_hole(&self, rule: Option<&Rule>) -> Duration {
        rule.and_then(|rule| rule.max_hole)
            .or(self.max_hole)
            .unwrap_or(DEFAULT_MAX_HOLE)
    }

    /// The names that have to be resolved, each once.
    pub fn names(&self) -> impl Iterator<Item = &DomainName> {
        let names: BTreeSet<_> = self.rules.iter().flat_map(Rule::names).collect();
        names.into_iter()
    }

    /// The names that no address is known for: their rules do not hold for them.
    pub fn unresolved<'p>(
        &'p self,
        environment: &'p Environment,
    ) -> impl Iterator<Item = (&'p Rule, &'p DomainName)> {
        let named = |rule: &'p Rule| rule.names().map(move |name| (rule, name));
        self.rules
            .iter()
            .flat_map(named)
            .filter(|(_, name)| environment.resolved(name).next().is_none())
    }
}

/// HTTPS, and over QUIC HTTP/3.
const HTTPS: u16 = 443;

impl Rule {
    /// The TCP ports at which TLS has to show a name, under `tls = "name"`: that of HTTPS, and where it does not hold for that,
    /// all of its TCP ports.
    #[must_use]
    pub fn sni_ports(&self) -> Vec<PortSpec> {
        if !self.by_sni {
            return Vec::new();
        }
        let holds = |spec: &PortSpec| spec.covers(Protocol::TCP, HTTPS);
        if self.ports.is_empty() || self.ports.iter().any(holds) {
            return vec![PortSpec::one(Protocol::TCP, HTTPS)];
        }
        let tcp = self.ports.iter().copied();
        tcp.filter(|spec| spec.protocol == Protocol::TCP).collect()
    }

    /// Whether its `to` has that name, or a wildcard that covers it.
    #[must_use]
    pub fn has_name(&self, name: &DomainName) -> bool {
        self.to.iter().any(|target| match target {
            Target::Name(one) => one == name,
            Target::Wildcard(wildcard) => wildcard.covers(name),
            Target::Prefix(_) | Target::Group(_) => false,
        })
    }

    /// What it says to the approver: its name and its reason.
    #[must_use]
    pub fn words(&self) -> (&str, Option<&str>) {
        (&self.name, self.reason.as_deref())
    }

    /// The names in its `to`.
    pub fn names(&self) -> impl Iterator<Item = &DomainName> {
        self.to.iter().filter_map(|target| match target {
            Target::Name(name) => Some(name),
            _ => None,
        })
    }
}

/// What names and groups stand for on this machine, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The addresses of names, by the name as [`DomainName::as_str`] writes it.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// The names that had a public address among their first: those of its networks that such a one has later open nothing, unless its
    /// rules say [`Rule::private`].
    pub public: BTreeSet<String>,
    /// The resolvers of this machine: `@dns`.
    pub dns: Vec<IpAddr>,
    /// The addresses of this machine: `@guarded-host`.
    pub host: Vec<IpAddr>,
    /// The networks that this machine has a global address in: `@on-link`.
    pub on_link: Vec<Prefix>,
    /// The guard's resolver judges names: wildcards hold, and a name counts for the addresses that a session learned of it.
    pub judges_names: bool,
}

impl Environment {
    /// The addresses of a name.
    pub fn resolved(&self, name: &DomainName) -> impl Iterator<Item = Prefix> {
        let known = self.names.get(name.as_str()).into_iter().flatten();
        known.map(|address| Prefix::from(*address))
    }

    /// Whether one of the addresses is neither this machine's nor of its networks. A name that has both kinds belongs to somebody outside.
    #[must_use]
    pub fn has_public(&self, addresses: &[IpAddr]) -> bool {
        let inside = Group::INSIDE.iter().flat_map(|group| group.prefixes(self));
        let inside: Vec<_> = inside.collect();
        let is_inside = |address: &IpAddr| inside.iter().any(|all| all.covers(&(*address).into()));
        !addresses.iter().all(is_inside)
    }
}
