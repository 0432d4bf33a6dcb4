//! What was found, beside what a policy does with it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use guard_common::Verdict;
use guard_discover::{
    Discovery, Finding, Ground, Host, KeyAlone, Label, PassedOver, Proposal, ROUTES, Service,
    Sighting, Tunnel, is_platform,
};
use guard_policy::{Diagnostic, ExplainedVerdict, HttpAction, HttpRule, Parsed, PortSpec};
use guard_proto::decisions::Dismissal;
use serde::{Serialize, Serializer};

use super::dismissals::{Dismissals, Dismissed, DismissedSeal, SealedFile};
use super::judge::{Judge, verdict};
use super::unless::{RuleByName, Unless};
use crate::around::Base;

/// All ports of all protocols.
pub(super) const ANY: &str = "any";

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Discovered {
    /// The places, the gravest first.
    pub(super) items: Vec<InReach>,
    /// How many places are not among them, as they do not look like production.
    pub(super) unlisted: usize,
    /// Where a placeholder stands in place of a host.
    pub(super) placeholders: Vec<Sighting>,
    /// Credentials whose host no file here says.
    pub(super) keys: Vec<KeyAlone>,
    /// `device`, `kind`, `networks`, `default`.
    pub(super) tunnels: Vec<Tunnel>,
    /// `host`, `port`, `label`, `at`, `by`.
    pub(super) dismissed_apart: Vec<Dismissal>,
    /// `file`, `line`, `why`, `sha256` (null: not dismissable), `dismissed`.
    pub(super) passed_over: Vec<Unread>,
    /// Whether nothing was passed over but what is dismissed.
    pub(super) complete: bool,
    /// The policy.
    pub(super) policy: String,
    /// The fleet's policy around each session; null: none is.
    pub(super) around: Option<String>,
    /// Files read in the home.
    pub(super) home_files: usize,
    /// Files read in the directory.
    pub(super) project_files: usize,
    /// Milliseconds.
    pub(super) ms: u128,
    /// Whether places that do not look like production are listed, too.
    #[serde(skip)]
    pub(super) lists_all: bool,
}

/// What was not read.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Unread {
    #[serde(flatten)]
    pub(super) one: PassedOver,
    /// When, and by whom it was said that nobody has to know what is in it; null: by nobody.
    pub(super) dismissed: Option<DismissedSeal>,
}

impl Unread {
    fn of(one: PassedOver, dismissals: &Dismissals) -> Self {
        let file = &one.file;
        let sha256 = one.sha256.as_deref();
        let dismissed = sha256.and_then(|sha256| dismissals.of_file(SealedFile { file, sha256 }));
        Self::with(one, dismissed)
    }

    /// A file that was passed over, with what its owner dismissed.
    pub(super) fn with(one: PassedOver, dismissed: Option<DismissedSeal>) -> Self {
        let dismissed = dismissed.map(|seal| seal.said_of(one.why));
        Self { one, dismissed }
    }
}

/// A place.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InReach {
    /// `p` and its number.
    pub(super) id: String,
    /// For `--why` and `--dismiss`.
    pub(super) number: usize,
    /// `production`, `maybe`, `unknown`, `staging`, `dev`, `local`, `tool`, `placeholder` or `template`.
    pub(super) label: Label,
    /// The sum of the reasons; 55 is production, 30 maybe.
    pub(super) points: u8,
    /// Why it has its label, the heaviest reason first.
    #[serde(serialize_with = "texts")]
    pub(super) because: Vec<Ground>,
    /// The same with the `points` of each `text`.
    pub(super) reasons: Vec<Ground>,
    /// What answers there.
    pub(super) service: String,
    /// An address, a network or a name.
    pub(super) host: String,
    /// In `/etc/hosts`.
    pub(super) addresses: Vec<IpAddr>,
    /// `tcp/5432`; `tcp`: unknown; `any`: a network's.
    pub(super) ports: String,
    /// Names of the other APIs that the same credential opens; the rule is for them as well.
    pub(super) others: Vec<String>,
    /// Whether places of another stage may have its address.
    pub(super) shared: bool,
    /// `file`, `line`, `key`, `dormant` (commented out).
    pub(super) found: Vec<Sighting>,
    /// The kind of credential beside it; null: none.
    pub(super) credential: Option<String>,
    /// What the policy does.
    pub(super) now: Now,
    /// The rule for it; null: none.
    pub(super) proposed: Option<Proposed>,
    /// `narrows` or `same`; null without a rule.
    pub(super) effect: Option<&'static str>,
    /// When, and by whom it was said not to be production; null: by nobody.
    pub(super) dismissed: Option<Dismissed>,
    /// The same of what was said while no guardd ran, and the one that runs does not know.
    pub(super) unkept: Option<Dismissed>,
    /// Whether the author of the project's files may have put it there to open something: a rule by a name holds for whatever
    /// addresses its owner gives it, and where a rule for their prefix asks, reads would pass unasked.
    #[serde(skip)]
    pub(super) is_planted: bool,
    /// A stricter rule by name that the one for it would beat, if the name has its address.
    #[serde(skip)]
    pub(super) beats: Option<RuleByName>,
    /// Whether it is known which addresses it has, or that they are a platform's.
    #[serde(skip)]
    pub(super) is_looked_up: bool,
}

/// Reasons in words.
fn texts<S: Serializer>(all: &[Ground], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(all.iter().map(|reason| &reason.text))
}

/// What a policy does with a place.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Now {
    /// The least strict verdict for it.
    pub(super) verdict: &'static str,
    /// The rule; null: the policy's default.
    pub(super) rule: Option<String>,
    /// The policy that says so.
    pub(super) policy: Option<String>,
    /// What may hold in its place of a name that nobody looked up.
    #[serde(skip)]
    pub(super) unless: Option<Unless>,
}

impl Now {
    /// The least strict of them.
    fn of(explained: &[ExplainedVerdict]) -> Self {
        let loosest = explained
            .iter()
            .min_by_key(|one| verdict(&one.verdict).strictness());
        Self {
            verdict: loosest
                .map_or(Verdict::Allow, |one| verdict(&one.verdict))
                .as_str(),
            rule: loosest.and_then(|one| one.rule.clone()),
            policy: loosest.map(|one| one.policy.clone()),
            unless: None,
        }
    }

    /// "public: allow"
    pub(super) fn words(&self) -> String {
        let only = self.unless.map_or("", Unless::only);
        format!("{only}{}", self.verdict)
    }
}

/// A rule.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Proposed {
    /// `read-only` or `confirm`; `deny` with `--strict`.
    pub(super) action: &'static str,
    /// Protocols under `read-only`.
    pub(super) profile: Vec<&'static str>,
    /// No hole is longer; null: the policy's.
    pub(super) max_hole: Option<&'static str>,
}

impl Discovered {
    pub(super) fn of(
        found: Discovery,
        parsed: &Parsed,
        dismissals: &Dismissals,
        all: bool,
    ) -> Result<Self, Vec<Diagnostic>> {
        let places = found.findings.iter();
        let places: Vec<_> = places.map(|one| (one.host.as_str(), one.port)).collect();
        let dismissed_apart = dismissals.apart_from(&places);
        let (shown, unlisted): (Vec<_>, Vec<_>) = found
            .findings
            .into_iter()
            .partition(|one| all || one.label >= Label::Maybe);
        let others: Vec<_> = shown.iter().flat_map(|one| hosts(&one.others)).collect();
        let own = shown.iter().map(|one| (&one.host, &one.addresses[..]));
        let judge = Judge::new(
            parsed,
            own.chain(others.iter().map(|other| (other, &[][..]))),
        )?;
        let passed_over = found.passed_over.into_iter();
        let passed_over: Vec<_> = passed_over.map(|one| Unread::of(one, dismissals)).collect();
        let items = shown.into_iter().enumerate();
        let items = items.map(|(at, one)| InReach::of(at + 1, one, &judge, dismissals));
        Ok(Self {
            items: items.collect(),
            unlisted: unlisted.len(),
            placeholders: found.placeholders,
            keys: found.keys,
            dismissed_apart,
            tunnels: found.tunnels,
            complete: passed_over.iter().all(|one| one.dismissed.is_some()),
            passed_over,
            policy: parsed.policy.name.clone(),
            around: None,
            home_files: found.home_files,
            project_files: found.project_files,
            ms: found.took.as_millis(),
            lists_all: all,
        })
    }

    /// The same, where another policy judges beside it, and has to allow, too.
    ///
    /// # Errors
    ///
    /// What is wrong with that policy.
    fn beside(self, parsed: &Parsed) -> Result<Self, Vec<Diagnostic>> {
        self.beside_but(parsed, |_| false)
    }

    /// The same, where what it says counts as `allow` if it `passes` all the same.
    fn beside_but(
        mut self,
        parsed: &Parsed,
        passes: impl Fn(&ExplainedVerdict) -> bool,
    ) -> Result<Self, Vec<Diagnostic>> {
        let own = self.items.iter();
        let mut all: Vec<_> = own
            .filter_map(|one| Some((Host::parse(&one.host)?, one.addresses.clone())))
            .collect();
        let others = self.items.iter().flat_map(|one| hosts(&one.others));
        all.extend(others.map(|other| (other, Vec::new())));
        let judge = Judge::new(parsed, all.iter().map(|(host, known)| (host, &known[..])))?;
        for one in &mut self.items {
            let mut said = explained(&judge, &one.host, &one.others, &one.ports);
            for passing in said.iter_mut().filter(|one| passes(one)) {
                Verdict::Allow.as_str().clone_into(&mut passing.verdict);
            }
            let loosest = Now::of(&said);
            let of_address = |now: &Now| {
                if one.is_looked_up {
                    None
                } else {
                    Unless::of(&parsed.policy, &one.host, &one.ports, now)
                }
            };
            let both = [one.now.unless, of_address(&loosest)];
            let strictness = |now: &Now| verdict(now.verdict).strictness();
            if strictness(&loosest) > strictness(&one.now) {
                one.now = loosest;
            }
            one.now.unless = Unless::beside(both, verdict(one.now.verdict));
        }
        Ok(self)
    }

    /// The same of a project's policy, which is an agent's to write. Where a `read-only` rule of it has an HTTP rule that allows, it
    /// may let everything through unasked, and counts as one that does.
    ///
    /// # Errors
    ///
    /// What is wrong with that policy.
    pub(super) fn beside_project(self, parsed: &Parsed) -> Result<Self, Vec<Diagnostic>> {
        let allows = |http: &HttpRule| http.action == HttpAction::Allow;
        let rules = parsed.policy.rules.iter();
        let passing = rules.filter(|rule| rule.http.iter().any(allows));
        let passing: BTreeSet<_> = passing.map(|rule| rule.name.as_str()).collect();
        self.beside_but(parsed, |one| {
            let rule = one.rule.as_deref();
            rule.is_some_and(|rule| passing.contains(rule))
                && one.verdict == Verdict::ReadOnly.as_str()
        })
    }

    /// The same, where the fleet's policy lies around each session.
    ///
    /// # Errors
    ///
    /// What is wrong with that policy.
    pub(super) fn within(self, base: &Base) -> Result<Self, Vec<Diagnostic>> {
        let around = Some(base.name.clone());
        Ok(Self {
            around,
            ..self.beside(&base.parsed)?
        })
    }

    /// "policy default", with what lies around it.
    pub(super) fn judged_by(&self) -> String {
        let around = self.around.as_ref();
        let around = around.map_or_else(String::new, |base| {
            format!(" with the fleet's {base} around it")
        });
        format!("policy {}{around}", self.policy)
    }

    /// Whether all was read, and the policy lets not everything through to any of it that looks like production. What was not
    /// read may be the place that matters.
    pub(super) fn is_clean(&self) -> bool {
        self.complete && !self.items.iter().any(InReach::is_open)
    }

    /// What was passed over, and nobody has dismissed.
    pub(super) fn unread(&self) -> impl Iterator<Item = &PassedOver> {
        let unread = self
            .passed_over
            .iter()
            .filter(|one| one.dismissed.is_none());
        unread.map(|one| &one.one)
    }

    /// The place with that number.
    pub(super) fn numbered(&self, number: u32) -> Option<&InReach> {
        self.items.get((number as usize).checked_sub(1)?)
    }
}

/// Returns `narrows` or `same`; none where the rule would be less strict than one of the verdicts: no proposal widens a policy.
fn effect(explained: &[ExplainedVerdict], action: &str) -> Option<&'static str> {
    let proposed = verdict(action).strictness();
    let now = explained
        .iter()
        .map(|one| verdict(&one.verdict).strictness());
    let (mut widens, mut narrows) = (false, false);
    for now in now {
        widens |= proposed < now;
        narrows |= proposed > now;
    }
    match (widens, narrows) {
        (true, _) => None,
        (false, true) => Some("narrows"),
        (false, false) => Some("same"),
    }
}

/// The rule by name that beats the proposed one, where the name has that address as well.
fn beats(one: &Finding, proposed: Proposal, judge: &Judge<'_>, ports: &str) -> Option<RuleByName> {
    let by = verdict(proposed.action);
    let ports = ports.parse::<PortSpec>().ok();
    RuleByName::beaten(judge.policy(), by, one.host.as_str(), ports.iter())
}

impl InReach {
    fn of(number: usize, one: Finding, judge: &Judge<'_>, dismissals: &Dismissals) -> Self {
        let ports = one.service.ports(one.port);
        let ports = ports.unwrap_or_else(|| ANY.to_owned());
        let explained = explained(judge, one.host.as_str(), &one.others, &ports);
        let is_name = !one.host.as_str().contains('/') && one.host.address().is_none();
        // What is known as a platform's API is no one else's.
        let is_known = one.service == Service::Platform && is_platform(&one.host);
        let is_planted = is_name && !is_known && one.found.iter().all(|seen| seen.is_projects);
        let is_looked_up = !is_name || is_known || !one.addresses.is_empty();
        let mut now = Now::of(&explained);
        if !is_looked_up {
            now.unless = Unless::of(judge.policy(), one.host.as_str(), &ports, &now);
        }
        // A network has no name, and a platform's API no other.
        let may_have_another = !one.host.as_str().contains('/') && !is_known;
        let stricter = one.proposed.map(|_| Proposal::CONFIRM);
        let mut proposed = [one.proposed, stricter].into_iter().flatten();
        let proposed = proposed.find_map(|rule| Some((rule, effect(&explained, rule.action)?)));
        let (proposed, effect) = proposed.unzip();
        let by_another = proposed.filter(|_| may_have_another);
        let beats = by_another.and_then(|rule| beats(&one, rule, judge, &ports));
        Self {
            id: format!("p{number}"),
            number,
            effect,
            dismissed: dismissals.of(one.host.as_str(), one.port, one.label),
            unkept: dismissals.unkept(one.host.as_str(), one.port, one.label),
            is_planted,
            beats,
            is_looked_up,
            label: one.label,
            points: one.points,
            reasons: one.because.clone(),
            because: one.because,
            service: one.service.as_str().to_owned(),
            host: one.host.as_str().to_owned(),
            addresses: one.addresses,
            ports,
            others: one.others,
            shared: one.is_shared,
            found: one.found,
            credential: one.credential.map(str::to_owned),
            now,
            proposed: proposed.map(|proposed| Proposed {
                action: proposed.action,
                profile: proposed.profile.to_vec(),
                max_hole: proposed.max_hole,
            }),
        }
    }

    /// Whether it looks like production, nobody has said that it is none, and the policy lets everything through to it.
    pub(super) fn is_open(&self) -> bool {
        self.is_production() && self.now.verdict == Verdict::Allow.as_str()
    }

    /// The same of what may be production.
    pub(super) fn may_be_open(&self) -> bool {
        let is_maybe = self.label == Label::Maybe && self.dismissed.is_none();
        is_maybe && self.now.verdict == Verdict::Allow.as_str()
    }

    /// Whether it looks like production, and nobody has said that it is none.
    pub(super) fn is_production(&self) -> bool {
        self.label == Label::Production && self.dismissed.is_none()
    }

    /// Returns true if a rule would narrow the policy, and nobody has said that it is not wanted.
    pub(super) fn is_missing(&self) -> bool {
        self.dismissed.is_none() && self.effect == Some("narrows")
    }

    /// Whether the rule is less strict than one that may hold by the name's address, or by a name of its address.
    pub(super) fn may_widen(&self) -> bool {
        let proposed = self.proposed.as_ref();
        proposed.is_some_and(|proposed| self.may_widen_by(proposed))
    }

    /// The same of another rule for it.
    pub(super) fn may_widen_by(&self, proposed: &Proposed) -> bool {
        let it = verdict(proposed.action);
        let unless = self.now.unless;
        unless.is_some_and(|unless| unless.is_stricter_than(it))
            || self
                .beats
                .as_ref()
                .is_some_and(|by| by.is_stricter_than(it))
    }

    /// What a rule for it is called.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.host, self.service)
    }

    /// Whether it is not the project's alone: the home has it, or the kernel, wherever an agent is started. The environment may be a
    /// project's, and so is a file of the home that a project alone has named.
    pub(super) fn is_everywhere(&self) -> bool {
        let mut found = self.found.iter();
        found.any(|seen| !seen.is_projects && (seen.file.starts_with("~/") || seen.file == ROUTES))
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        let port = self.ports.split_once('/').map(|(_, port)| port);
        port.and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    pub(super) fn at(&self) -> String {
        at(&self.host, self.port())
    }

    /// "DATABASE_URL  .env:3, and 2 more"
    pub(super) fn reached_by(&self) -> String {
        let first = self.found.first().map_or_else(String::new, seen);
        match self.found.len() {
            0 | 1 => first,
            more => format!("{first}, and {} more", more - 1),
        }
    }

    pub(super) fn rule(&self) -> String {
        let Some(proposed) = self.proposed.as_ref().filter(|_| self.dismissed.is_none()) else {
            return "-".to_owned();
        };
        let profile: String = proposed
            .profile
            .iter()
            .map(|one| format!(", {one}"))
            .collect();
        let effect = match self.effect {
            Some("same") => " (same)",
            _ => "",
        };
        format!("{}{profile}{effect}", proposed.action)
    }
}

/// "db.example.net:5432"; without a port where that is 0.
pub(super) fn at(host: &str, port: u16) -> String {
    match (port, host.contains(':')) {
        (0, _) => host.to_owned(),
        (_, true) => format!("[{host}]:{port}"),
        (_, false) => format!("{host}:{port}"),
    }
}

/// Those that are hosts; for all that is below one, a name there that no rule of anybody's is about.
fn hosts(names: &[String]) -> impl Iterator<Item = Host> {
    names
        .iter()
        .filter_map(|name| match name.strip_prefix("*.") {
            Some(zone) => Host::parse(&format!("whichever.{zone}")),
            None => Host::parse(name),
        })
}

/// What `guard explain` says of a place, and of all that its credential opens as well.
fn explained(
    judge: &Judge<'_>,
    host: &str,
    others: &[String],
    ports: &str,
) -> Vec<ExplainedVerdict> {
    let mut all = judge.explained(host, ports);
    for other in hosts(others) {
        all.extend(judge.explained(other.as_str(), ports));
    }
    all
}

/// "DATABASE_URL  .env:3"
pub(super) fn seen(seen: &Sighting) -> String {
    let line = seen
        .line
        .map_or_else(String::new, |line| format!(":{line}"));
    let dormant = if seen.dormant { " (commented out)" } else { "" };
    format!("{}  {}{line}{dormant}", seen.key, seen.file)
}
