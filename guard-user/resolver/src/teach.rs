//! Notes in the kernel under which patterns a session has learned addresses, before the session has them.

use std::{collections::BTreeSet, net::IpAddr, rc::Rc};

use guard_common::{BootTime, Learned, MAX_PATTERNS, NameId, Named, NamedKey, PolicyId, SessionId};

use super::{
    answer::DnsAnswer,
    common::{Common, Times},
    judge::NamePolicy,
};

const SECOND: u64 = 1_000_000_000;
/// Addresses that are written before others get their turn.
const AT_ONCE: usize = 64;

const ENDED: &str = "the session has ended";
const PATTERNS: &str = "more patterns of a policy cover its address than are kept of one";
const FULL: &str = "the kernel keeps no more addresses";

/// Notes an answer, in each policy of a session's that has a pattern for one of the names: all of it where the session has room for that,
/// else nothing.
///
/// # Errors
///
/// Why that is not to be had. Then the answer must not be passed on. What was noted all the same, as where the kernel has no room, stays:
/// another question may have found it known.
pub(super) async fn teach(
    common: &Common,
    session: SessionId,
    policies: &[(PolicyId, Rc<NamePolicy>)],
    answer: &DnsAnswer,
) -> Result<(), &'static str> {
    let now = (common.now)();
    let [lasts, grace] = [answer.ttl.max(common.times.least), common.times.grace].map(u64::from);
    let until = BootTime(now.0 + (lasts + grace) * SECOND);
    let mut notes = Vec::new();
    for (slot, policy) in policies {
        let patterns = patterns(policy, answer);
        if patterns.len() > MAX_PATTERNS {
            return Err(PATTERNS);
        }
        if !patterns.is_empty() {
            let keys = answer.addresses.iter();
            let keys = keys.map(|address| NamedKey::new(session, *slot, key_of(*address)));
            notes.push((patterns, keys.collect::<Vec<_>>()));
        }
    }
    let keys: Vec<_> = notes.iter().flat_map(|(_, keys)| keys).copied().collect();
    count(common, session, &keys, until, now)?;
    let mut had_others_turns = false;
    for (patterns, keys) in &notes {
        for some in keys.chunks(AT_ONCE) {
            for key in some {
                // The session may have ended since, or be judged by other policies.
                if had_others_turns {
                    count(common, session, &[*key], until, now)?;
                }
                note(common, *key, patterns, until, now)?;
            }
            if some.len() == AT_ONCE {
                tokio::task::yield_now().await;
                had_others_turns = true;
            }
        }
    }
    Ok(())
}

/// Counts addresses of a session, which makes room where what it knew is over.
fn count(
    common: &Common,
    session: SessionId,
    keys: &[NamedKey],
    until: BootTime,
    now: BootTime,
) -> Result<(), &'static str> {
    let learned = common.sessions.learned(session.0).ok_or(ENDED)?;
    let over = learned.borrow_mut().count(keys, until, now)?;
    // What stays there only takes room until the session ends.
    if !over.is_empty()
        && let Err(error) = common.maps.remove_named(&over)
    {
        tracing::warn!(%error, "cannot evict addresses that are over");
    }
    Ok(())
}

fn key_of(address: IpAddr) -> guard_common::Address {
    address.into()
}

/// Those that cover the name that was asked for, or one that it leads to by `CNAME`; and of those that cover a name that it
/// leads to otherwise, what is denied.
fn patterns(policy: &NamePolicy, answer: &DnsAnswer) -> BTreeSet<NameId> {
    let rules = answer.names.iter().filter_map(|name| policy.rule(name));
    let targets = answer.targets.iter().filter_map(|name| policy.rule(name));
    rules
        .chain(targets.filter(|rule| rule.denied))
        .map(|rule| rule.pattern)
        .collect()
}

/// Whether all of them are noted for so long, or a little less: a session that asks each second costs one write in ten.
fn is_known(
    known: &Named,
    key: &NamedKey,
    patterns: &BTreeSet<NameId>,
    until: BootTime,
    times: &Times,
) -> bool {
    let enough = until.0.saturating_sub(u64::from(times.grace / 3) * SECOND);
    let is_whole = [known.head, known.tail] == [key.mark(); 2];
    is_whole
        && patterns.iter().all(|pattern| {
            let mut noted = known.patterns.iter();
            noted.any(|noted| noted.pattern == *pattern && noted.until.0 >= enough)
        })
}

/// In one write, with what is known already.
fn note(
    common: &Common,
    key: NamedKey,
    patterns: &BTreeSet<NameId>,
    until: BootTime,
    now: BootTime,
) -> Result<(), &'static str> {
    let unknown = |error| {
        common.warn_full(&error);
        FULL
    };
    let known = common.maps.named(&key).map_err(unknown)?;
    let is_known = |known: Named| is_known(&known, &key, patterns, until, &common.times);
    if known.is_some_and(is_known) {
        return Ok(());
    }
    let named = patterns
        .iter()
        .try_fold(known.unwrap_or_default(), |named, pattern| {
            let learned = Learned {
                pattern: *pattern,
                until,
            };
            named.with(&key, learned, now)
        });
    common
        .maps
        .put_named(&key, &named.ok_or(PATTERNS)?)
        .map_err(unknown)
}
