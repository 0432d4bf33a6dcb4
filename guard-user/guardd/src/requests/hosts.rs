//! What the policies say of the host that a request names. Names share addresses: beside what decides about the address, the host's own
//! rules judge a request ([`guard_proto::wire::ToProxy::Name`]), so people are told of these.

use std::time::Duration;

use guard_common::{PolicyId, Verdict};
use guard_proto::HttpRequest;

use super::RequestKey;
use crate::policies::{ChainVerdict, Policies};

/// What each policy of a chain says of the host that a request names; none where it has no rule for that name, and nothing at all where
/// no host is named.
pub(crate) fn judged<'p>(
    policies: &'p Policies,
    chain: &[PolicyId],
    key: &RequestKey,
) -> Vec<Option<ChainVerdict<'p>>> {
    let http = key.http.as_deref();
    let Some(name) = http.and_then(|http| name_of(&http.request)) else {
        return Vec::new();
    };
    policies.judge_name(chain, key.destination, key.port, name)
}

/// How long a yes to a request holds at most by the rules for the host that it names; none where no such rule stops anything.
pub(crate) fn longest_hole(
    policies: &Policies,
    chain: &[PolicyId],
    key: &RequestKey,
) -> Option<Duration> {
    let judged = judged(policies, chain, key).into_iter().flatten();
    let stops = judged.filter(|one| one.verdict != Verdict::Allow);
    let longest = stops.map(|one| one.policy.policy.longest_hole(one.rule));
    longest.min()
}

/// Puts each verdict on the host in the place of the same policy's on the address, where that is no stricter: who is asked about a host
/// reads the words of the rule for it. Returns what stops the request besides, policy by policy.
pub(super) fn put_first<'p>(
    each: &mut [ChainVerdict<'p>],
    of_host: Vec<Option<ChainVerdict<'p>>>,
) -> Vec<Option<ChainVerdict<'p>>> {
    let both = each.iter_mut().zip(of_host);
    let others = both.map(|(of_address, of_host)| {
        let of_host = of_host.filter(|one| stops_too(one, of_address))?;
        let is_stricter = of_address.verdict.strictness() > of_host.verdict.strictness();
        Some(if is_stricter {
            of_host
        } else {
            std::mem::replace(of_address, of_host)
        })
    });
    others.collect()
}

/// Whether a host's rule stops requests, and is another than the one that decides about the address.
fn stops_too(of_host: &ChainVerdict<'_>, of_address: &ChainVerdict<'_>) -> bool {
    let rules = of_host.rule.zip(of_address.rule);
    let is_same = rules.is_some_and(|(host, address)| std::ptr::eq(host, address));
    of_host.verdict != Verdict::Allow && !is_same
}

/// The name that a request shows: by TLS it is verified on both sides, in clear text whoever sends it chooses it. None of an address.
pub(super) fn shown_name(request: &HttpRequest) -> Option<&str> {
    name_of(request).filter(|name| {
        let address = name.trim_matches(['[', ']']);
        !name.is_empty() && address.parse::<std::net::IpAddr>().is_err()
    })
}

/// The warning of a name that a request in clear text shows, and that nothing else leads to that address.
pub(super) fn as_it_says(name: &str, address: &str) -> String {
    format!("its host is {name} as it says: nothing else that guard knows calls {address} so")
}

/// The host's name, without its port and the dot at its end; of a statement the one that was shown in TLS, where that counts
/// (`app@db.example.com/shop`).
fn name_of(request: &HttpRequest) -> Option<&str> {
    let host = request.host.as_deref()?;
    if request.is_statement() {
        let (_, at) = host.split_once('@')?;
        return at.split_once('/').map(|(name, _)| name);
    }
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    Some(name.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, rc::Rc};

    use guard_common::{Protocol, SessionId};

    use super::*;
    use crate::{
        policies::{self, library::PolicyText},
        requests::HttpRequestKey,
    };

    const TEXT: &str = r#"
version = 1
default = "confirm"

[[rule]]
name = "staging"
to = ["staging.example.com", "192.0.2.1"]
action = "read-only"
reason = "nobody uses it"

[[rule]]
name = "production"
to = ["production.example.com"]
action = "read-only"
max_hole = "5m"
reason = "customers use it"

[[rule]]
name = "open"
to = ["open.example.com"]
action = "allow"
tls = "name"
"#;

    fn in_force() -> Policies {
        let source = PolicyText::brought(None, TEXT.to_owned());
        let read = policies::parse(&source).unwrap();
        let environment = guard_policy::Environment {
            judges_names: true,
            ..guard_policy::Environment::default()
        };
        let mut policies = policies::none();
        let prepared = policies::compile(source, read, &environment).unwrap();
        policies.put(PolicyId(1), prepared.into());
        policies
    }

    fn request(scheme: &str, host: &str) -> HttpRequest {
        HttpRequest {
            scheme: scheme.to_owned(),
            host: Some(host.to_owned()),
            ..HttpRequest::default()
        }
    }

    /// A write to a host at the last address.
    fn write(last: u8, host: &str) -> RequestKey {
        let http = HttpRequestKey {
            request: request("https", host),
            alone: None,
            plain: true,
            series: false,
            matter: None,
        };
        let to = IpAddr::from([192, 0, 2, last]).into();
        RequestKey::of_http(SessionId(1), to, 443, Rc::new(http))
    }

    /// The rules that a person is told of one: first and besides.
    fn told(last: u8, host: &str) -> (Option<String>, Vec<String>) {
        let policies = in_force();
        let chain = [PolicyId(1)];
        let key = write(last, host);
        let to = key.destination;
        let each = policies.judge_each(&chain[..], to, Protocol::TCP, 443);
        let mut each = each.unwrap();
        let others = put_first(&mut each, judged(&policies, &chain, &key));
        let others = others.into_iter().flatten();
        let name = |one: ChainVerdict<'_>| one.rule.map(|rule| rule.name.clone());
        (name(each[0]), others.filter_map(name).collect())
    }

    #[test]
    fn a_person_reads_the_rule_for_the_host_first() {
        let staging = ["staging".to_owned()].to_vec();
        let production = Some("production".to_owned());
        assert_eq!(told(1, "production.example.com"), (production, staging));
        for host in [
            "staging.example.com",
            "open.example.com",
            "other.example.com",
            "192.0.2.1",
        ] {
            assert_eq!(
                told(1, host),
                (Some("staging".to_owned()), vec![]),
                "{host}"
            );
        }
        // A connection that only a yes lets through is stopped by more than what lets its reads through.
        let besides = ["production".to_owned()].to_vec();
        assert_eq!(told(2, "production.example.com:443"), (None, besides));
    }

    #[test]
    fn a_yes_holds_no_longer_than_the_rule_for_the_host_lets_it() {
        let policies = in_force();
        let longest = |host: &str| longest_hole(&policies, &[PolicyId(1)], &write(1, host));
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(longest("production.example.com"), minutes(5));
        assert_eq!(longest("staging.example.com"), minutes(60));
        for host in ["open.example.com", "other.example.com", "192.0.2.1"] {
            assert_eq!(longest(host), None, "{host}");
        }
    }

    #[test]
    fn a_host_is_a_name_whatever_stands_behind_it() {
        for host in [
            "db.example",
            "db.example.",
            "db.example:8443",
            "db.example.:",
        ] {
            let request = request("https", host);
            assert_eq!(name_of(&request), Some("db.example"), "{host}");
        }
        let shown = request(HttpRequest::POSTGRES, "app@db.example/shop?role=x");
        assert_eq!(name_of(&shown), Some("db.example"));
        for unshown in ["app@shop", "app@db.example?search_path=…"] {
            let request = request(HttpRequest::POSTGRES, unshown);
            assert_eq!(name_of(&request), None, "{unshown}");
        }
    }
}
