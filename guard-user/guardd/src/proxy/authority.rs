//! The certificate authority, as guardd has it: a file that it keeps and does not read, and what sessions are to trust.

use std::{
    collections::HashMap,
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
use guard_policy::{Prefix, Rule, Target};
use guard_proto::wire::{Number, Scope, ToProxy};
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use super::{Proxy, is_read_only};
use crate::{
    config::{Config, MAX_CA},
    control::ids,
    policies::{InForce, Policies},
    shared::Shared,
};

/// Whoever starts a session waits for its certificate no longer than this.
const PATIENCE: Duration = Duration::from_secs(3);
/// Names, or prefixes, that one certificate is limited to. Where there are more it is not.
const MAX_LIMITS: usize = 64;
/// Bits before the address in an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2).
const MAPPED: u8 = 96;

/// Sessions that wait for a certificate.
#[derive(Debug, Default)]
pub struct Vouching {
    serial: u64,
    waiting: HashMap<Number, oneshot::Sender<String>>,
}

impl Vouching {
    /// The proxy has signed one.
    pub fn told(&mut self, number: Number, certificate: String) {
        if let Some(tell) = self.waiting.remove(&number) {
            // Whoever waited may be gone.
            let _ = tell.send(certificate);
        }
    }

    /// There is no proxy any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// The certificate that a new session is to trust, where it has read-only destinations; a warning where there should be one.
pub async fn trusted(shared: &Shared, session: &str) -> (Option<String>, Option<String>) {
    let told = shared.with(|state| {
        let id = ids::parse_session(session).ok()?;
        let chain = &state.sessions.live(id)?.chain;
        state.proxy.ask_to_vouch(&state.policies, chain)
    });
    let Some(told) = told else {
        return (None, None);
    };
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(certificate)) => (Some(certificate), None),
        _ => {
            let warning = "the proxy has made no certificate for the session to trust, so HTTPS to read-only \
                           destinations fails in it";
            (None, Some(warning.to_owned()))
        }
    }
}

impl Proxy {
    /// Asks the proxy for a certificate under which a chain's read-only destinations are; none where it has none.
    fn ask_to_vouch(
        &mut self,
        policies: &Policies,
        chain: &[PolicyId],
    ) -> Option<oneshot::Receiver<String>> {
        let scope = scope(policies, chain)?;
        self.vouching.serial += 1;
        let number = Number(self.vouching.serial);
        let (tell, told) = oneshot::channel();
        // A proxy that is not up hears nothing, and whoever waits is told so by this being dropped.
        if self.is_up {
            self.vouching.waiting.insert(number, tell);
            self.say(ToProxy::Vouch { number, scope }, Vec::new());
        }
        Some(told)
    }

    /// The files that the proxy gets: the one for the key, and those of certificates that destinations may have.
    ///
    /// # Errors
    ///
    /// That the first cannot be made.
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

/// For root to keep, and for nobody else to open.
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

/// What a chain of policies makes read-only, as far as a certificate can be limited to that; `None` where nothing is.
fn scope(policies: &Policies, chain: &[PolicyId]) -> Option<Scope> {
    let all = chain.iter().filter_map(|slot| policies.get(*slot));
    let all: Vec<_> = all.filter(|policy| is_read_only(policy)).collect();
    if all.is_empty() {
        return None;
    }
    if all
        .iter()
        .any(|policy| policy.policy.default == Verdict::ReadOnly)
    {
        return Some(Scope::default());
    }
    let (mut names, mut prefixes) = (Some(Vec::new()), Vec::new());
    for policy in all {
        for target in targets(policy) {
            prefixes.extend(target.prefixes(&policy.fitted));
            match (target, &mut names) {
                (Target::Name(name), Some(names)) => names.push(name.as_str().to_owned()),
                (Target::Wildcard(all), Some(names)) => names.push(all.below().as_str().to_owned()),
                // Nobody knows by which names people call an address.
                _ => names = None,
            }
        }
    }
    let names = names.filter(|names| names.len() <= MAX_LIMITS);
    let prefixes: Vec<_> = prefixes.iter().flat_map(limits).collect();
    let prefixes = Some(prefixes).filter(|prefixes| prefixes.len() <= MAX_LIMITS);
    Some(Scope { names, prefixes })
}

fn targets(policy: &InForce) -> impl Iterator<Item = &Target> {
    let rules = policy.policy.rules.iter();
    let rules = rules.filter(|rule: &&Rule| rule.action == Verdict::ReadOnly);
    rules.flat_map(|rule| &rule.to)
}

/// A prefix in the family that it is of; one around all of IPv4 is of both.
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
