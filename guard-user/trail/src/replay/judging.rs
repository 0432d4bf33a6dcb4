//! What a policy says of something that was recorded.

use std::{collections::BTreeSet, net::IpAddr};

use guard_common::{
    BootTime, Learned, Named, NamedKey, PolicyId, Protocol, Verdict, named_verdict, said_of,
};
use guard_judge::http::{self as judge, Judgement, Rules};
use guard_policy::{DomainName, PortSpec, Prefix, Rule, over, protocol_number};

use super::{
    JudgedRecord, RecordedKind, ReplayPolicy,
    seen::{ConnectionKey, HoleKey, HttpKey, SeenHole, Tried},
};

impl ReplayPolicy<'_> {
    pub(super) fn connection(&self, key: &ConnectionKey, tried: &Tried) -> Option<JudgedRecord> {
        let ConnectionKey {
            address,
            protocol,
            port,
            said: before,
        } = key;
        let (number, port_number) = (protocol_number(protocol)?, port.unwrap_or(0));
        let (verdict, rule) = self.verdict(address, number, port_number, tried)?;
        let port = port.map_or_else(String::new, |port| format!("/{port}"));
        Some(JudgedRecord {
            what: RecordedKind::Connection,
            destination: format!("{address} {protocol}{port}"),
            host: tried.host.clone(),
            request: None,
            before: before.clone(),
            before_rule: tried.rule.clone(),
            after: verdict.as_str().to_owned(),
            after_rule: rule.map(|rule| rule.name.clone()),
            times: tried.times,
            opens: rank(before)
                .zip(rank(verdict.as_str()))
                .map(|(was, is)| is > was),
        })
    }

    fn verdict(
        &self,
        address: &str,
        protocol: Protocol,
        port: u16,
        tried: &Tried,
    ) -> Option<(Verdict, Option<&Rule>)> {
        let address: IpAddr = address.parse().ok()?;
        let to = guard_common::Connection::new(address.into(), protocol, port);
        let lookup = self.compiled.lookup();
        let says = |pattern| said_of(&lookup, PolicyId(1), pattern, &to);
        let named = tried.host.as_deref().and_then(|host| self.known_as(host));
        let said = named_verdict(says, named.as_ref(), BootTime(0));
        Some((said.verdict, self.policy.rule(said.rule)))
    }

    /// What a session knows an address by that it learned for a name: the narrowest pattern of the policy that covers the name.
    fn known_as(&self, host: &str) -> Option<Named> {
        let name = host.parse::<DomainName>().ok()?;
        let learned = Learned {
            pattern: self.compiled.pattern_of(&name)?.id(),
            until: BootTime(u64::MAX),
        };
        Named::default().with(&NamedKey::default(), learned, BootTime(0))
    }

    pub(super) fn http(&self, key: &HttpKey, tried: &Tried) -> Option<JudgedRecord> {
        let HttpKey {
            address,
            port,
            method,
            path,
            outcome: before,
        } = key;
        let (verdict, rule) = self.verdict(address, Protocol::TCP, *port, tried)?;
        let after = match verdict {
            Verdict::Allow => "read",
            Verdict::Deny => "deny",
            // The connection is asked about, before there is any request.
            Verdict::Confirm => "ask",
            Verdict::ReadOnly => self.request(rule, method, path),
        };
        // What it was is another word where it comes to the same.
        let (was_open, is_same) = match (before.as_str(), after) {
            ("passed" | "refused" | "asked", "ask") | ("failed", _) => (true, true),
            ("passed", _) => (true, after == "read"),
            _ => (false, false),
        };
        Some(JudgedRecord {
            what: RecordedKind::Http,
            destination: format!("{address} tcp/{port}"),
            host: None,
            request: Some(format!("{method} {path}")),
            before: if is_same {
                after.to_owned()
            } else {
                before.clone()
            },
            before_rule: tried.rule.clone(),
            after: after.to_owned(),
            after_rule: rule.map(|rule| rule.name.clone()),
            times: tried.times,
            opens: match after {
                "by its body" => None,
                "deny" => Some(false),
                _ => Some(after == "read" && !was_open),
            },
        })
    }

    /// What a read-only rule says of a request of which nothing else is known.
    fn request(&self, rule: Option<&Rule>, method: &str, path: &str) -> &'static str {
        let rules = rule.map_or_else(|| Rules::plain(None), Rules::of);
        let (Ok(method), Ok(uri)) = (method.parse(), path.parse()) else {
            return "ask";
        };
        let headers = http::HeaderMap::new();
        let judged = |has_body| {
            let request = judge::RequestHead {
                method: &method,
                uri: &uri,
                headers: &headers,
                has_body,
                is_secure: true,
            };
            match judge::judge(&rules, &request, None) {
                Judgement::Read { .. } => "read",
                Judgement::Write(_) => "ask",
                Judgement::Denied { .. } => "deny",
                Judgement::NeedsBody { .. } => "by its body",
            }
        };
        match (judged(false), judged(true)) {
            (one, other) if one == other => one,
            _ => "by its body",
        }
    }

    pub(super) fn hole(&self, key: &HoleKey, hole: &SeenHole) -> Option<JudgedRecord> {
        let HoleKey { to, ports } = key;
        let prefix: Prefix = to.parse().ok()?;
        let specs = ports
            .as_ref()
            .map(|ports| ports.parse::<PortSpec>())
            .transpose()
            .ok()?;
        let specs: Vec<_> = specs.into_iter().collect();
        let met = over(self.policy, self.compiled, &prefix, &specs).met;
        let verdicts: BTreeSet<_> = met.iter().map(|met| met.verdict.as_str()).collect();
        let only = |verdict: &str| verdicts.len() == 1 && verdicts.contains(verdict);
        let (after, opens) = match () {
            () if only("allow") => ("allow", true),
            () if only("deny") => ("deny", false),
            // What is denied was never open.
            () if verdicts.contains("deny") => ("in part", false),
            // Somebody would have been asked, as somebody was.
            () => ("opened", false),
        };
        let ports = ports
            .as_ref()
            .map_or_else(String::new, |ports| format!(" {ports}"));
        let by: Vec<_> = hole.by.iter().cloned().collect();
        Some(JudgedRecord {
            what: RecordedKind::Hole,
            destination: format!("{to}{ports}"),
            host: None,
            request: (!by.is_empty()).then(|| format!("opened by {}", by.join(", "))),
            before: "opened".to_owned(),
            before_rule: None,
            after: after.to_owned(),
            after_rule: met
                .first()
                .and_then(|met| met.rule)
                .map(|rule| rule.name.clone()),
            times: hole.times,
            opens: Some(opens),
        })
    }
}

/// How open a verdict is.
fn rank(verdict: &str) -> Option<u8> {
    ["deny", "confirm", "read-only", "allow"]
        .iter()
        .position(|one| *one == verdict)
        .map(|at| at as u8)
}
