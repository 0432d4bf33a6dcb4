//! guardd's part of the certificate authority: the key's file, which it does not read, and the certificates that sessions
//! trust.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, OpenOptions, Permissions},
    io,
    net::{IpAddr, Ipv6Addr},
    os::{
        fd::OwnedFd,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use guard_common::{PolicyId, Verdict};
use guard_policy::{NamePattern, Prefix, Rule, Target};
use guard_proto::wire::{AuthorityScope, Number, ToProxy};
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use super::Proxy;
use crate::{
    config::{Config, MAX_CA},
    control::ids,
    policies::{InForce, Policies},
    shared::Shared,
};

/// How long the start of a session waits for its certificate.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Names, or prefixes, that limit one certificate. With more it has no limit.
const MAX_LIMITS: usize = 64;
/// Bits before the address in an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2).
const MAPPED: u8 = 96;

/// The warning to a session that has none.
const NO_CERTIFICATE: &str = "the proxy has made no certificate for the session to trust, so HTTPS to read-only destinations fails in it";

/// Sessions that wait for a certificate.
#[derive(Debug, Default)]
pub(crate) struct Vouching {
    serial: u64,
    waiting: HashMap<Number, oneshot::Sender<String>>,
}

impl Vouching {
    /// The proxy has signed a certificate.
    pub(crate) fn told(&mut self, number: Number, certificate: String) {
        if let Some(tell) = self.waiting.remove(&number) {
            // The start that waited may be gone.
            let _ = tell.send(certificate);
        }
    }

    /// The proxy has gone.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// What a new session is to trust.
#[derive(Debug, Default)]
pub(crate) struct SessionTrust {
    /// The certificate, if it has read-only destinations.
    pub(crate) certificate: Option<String>,
    /// The warning, if it should have one and has none.
    pub(crate) warning: Option<String>,
}

/// The certificate that a new session is to trust, if it has read-only destinations; a warning if it should have one.
pub(crate) async fn trusted(shared: &Shared, session: &str) -> SessionTrust {
    let told = shared.with(|state| {
        let id = ids::parse_session(session).ok()?;
        let chain = &state.sessions.live(id)?.chain;
        state.proxy.ask_to_vouch(&state.policies, chain)
    });
    let Some(told) = told else {
        return SessionTrust::default();
    };
    match tokio::time::timeout(TIMEOUT, told).await {
        Ok(Ok(certificate)) => SessionTrust {
            certificate: Some(certificate),
            warning: None,
        },
        _ => SessionTrust {
            certificate: None,
            warning: Some(NO_CERTIFICATE.to_owned()),
        },
    }
}

impl Proxy {
    /// Asks the proxy for a certificate that is limited to a chain's read-only destinations; none if there are none.
    fn ask_to_vouch(
        &mut self,
        policies: &Policies,
        chain: &[PolicyId],
    ) -> Option<oneshot::Receiver<String>> {
        let scope = scope(policies, chain)?;
        self.vouching.serial += 1;
        let number = Number(self.vouching.serial);
        let (tell, told) = oneshot::channel();
        // Without a proxy no answer comes, and the drop of this tells the waiting start.
        if self.is_up() {
            self.vouching.waiting.insert(number, tell);
            self.say(ToProxy::Vouch { number, scope });
        }
        Some(told)
    }

    /// The proxy's files: the one for the key, and those of certificates that destinations may have.
    ///
    /// # Errors
    ///
    /// If the first cannot be made.
    pub(super) fn authority_files(&self, config: &Config) -> Result<Vec<OwnedFd>> {
        let key = &self.key;
        let mut files =
            vec![open_key(key).with_context(|| format!("cannot open {}", key.display()))?];
        for path in config.proxy.ca.iter().take(MAX_CA) {
            match File::open(path) {
                Ok(file) => files.push(file.into()),
                Err(error) => tracing::error!(
                    %error, file = %path.display(),
                    "[proxy] ca cannot be read, so destinations that need it are not trusted"
                ),
            }
        }
        Ok(files)
    }
}

/// Opens the key's file, which only root can open.
fn open_key(path: &Path) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file.into())
}

/// What the proxy serves under a chain of policies, as far as a certificate can be limited to it; `None` if nothing is read-only.
fn scope(policies: &Policies, chain: &[PolicyId]) -> Option<AuthorityScope> {
    let all = chain.iter().filter_map(|slot| policies.get(*slot));
    let all: Vec<_> = all.filter(|policy| policy.is_read_only()).collect();
    if all.is_empty() {
        return None;
    }
    let names = policies.may_be_shown(chain).map(|patterns| {
        let names: BTreeSet<_> = patterns.iter().map(above).collect();
        names.into_iter().collect()
    });
    let names = names.filter(|names: &Vec<_>| names.len() <= MAX_LIMITS);
    if all
        .iter()
        .any(|policy| policy.policy.default == Verdict::ReadOnly)
    {
        return Some(AuthorityScope {
            names,
            prefixes: None,
        });
    }
    let prefixes = all.iter().flat_map(|policy| {
        let prefixes = targets(policy).flat_map(|target| target.prefixes(&policy.fitted));
        prefixes.flat_map(|prefix| limits(&prefix))
    });
    let prefixes = Some(prefixes.collect::<Vec<_>>());
    let prefixes = prefixes.filter(|prefixes| prefixes.len() <= MAX_LIMITS);
    Some(AuthorityScope { names, prefixes })
}

/// The name that a pattern is, or below which it has all: a name constraint covers both.
fn above(pattern: &NamePattern) -> String {
    let name = match pattern {
        NamePattern::Name(name) => name,
        NamePattern::Below(wildcard) => wildcard.below(),
    };
    name.as_str().to_owned()
}

fn targets(policy: &InForce) -> impl Iterator<Item = &Target> {
    let rules = policy.policy.rules.iter();
    let rules = rules.filter(|rule: &&Rule| rule.action == Verdict::ReadOnly);
    rules.flat_map(|rule| &rule.to)
}

/// A prefix in its own family; one around all of IPv4 is in both.
fn limits(prefix: &Prefix) -> Vec<(IpAddr, u8)> {
    let address = IpAddr::from(Ipv6Addr::from_bits(prefix.bits())).to_canonical();
    match (address, prefix.length().checked_sub(MAPPED)) {
        (IpAddr::V4(_), Some(length)) => vec![(address, length)],
        _ if prefix.contains(&Prefix::IPV4) => {
            vec![(address, prefix.length()), (IpAddr::from([0; 4]), 0)]
        }
        _ => vec![(address, prefix.length())],
    }
}
