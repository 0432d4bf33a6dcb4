//! What a server has answered: the addresses of a name, by all names on the way to them.

use std::{collections::HashMap, net::IpAddr};

use hickory_proto::{
    op::Message,
    rr::{
        DNSClass, Name, RData, Record,
        rdata::{
            SVCB,
            svcb::{SvcParamKey, SvcParamValue},
        },
    },
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use super::{name::WireName, question::Question};

/// Links of a chain of `CNAME`s at most.
pub(super) const MAX_LINKS: usize = 16;
/// A week: what resolvers keep at most (RFC 8767 4).
const MAX_TTL: u32 = 7 * 24 * 60 * 60;
/// Longer times count as none (RFC 2181 8).
const NEGATIVE_TTL: u32 = 1 << 31;

/// What a session learns by an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsAnswer {
    /// The name that was asked for, then each that `CNAME` leads to, in order.
    pub(super) names: Vec<WireName>,
    /// Names that `SVCB` and `HTTPS` lead to. The owner of the name that was asked for says so, and of which address: it counts
    /// against these names only, never for them.
    pub(super) targets: Vec<WireName>,
    /// The addresses, of hints too, each once.
    pub(super) addresses: Vec<IpAddr>,
    /// For how long programs may keep them, in seconds: the shortest time on the way.
    pub(super) ttl: u32,
}

/// Why an answer is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Odd {
    /// Records are not as they should be.
    #[error("the server's answer cannot be read")]
    Unreadable,
    /// A name has two, or a chain of them is too long or leads back.
    #[error("the server's answer leads from name to name without end")]
    Chain,
}

/// Reads all of an answer to a question.
///
/// # Errors
///
/// It cannot be read in one way.
pub(super) fn read(message: &[u8], question: &Question) -> Result<DnsAnswer, Odd> {
    let message = decode(message)?;
    let records = message.answers.iter();
    let records: Vec<_> = records
        .filter(|record| record.dns_class == DNSClass::IN)
        .map(|record| Some((wire_name(&record.name)?, record)))
        .collect::<Option<_>>()
        .ok_or(Odd::Unreadable)?;
    let mut shortest = None;
    let names = chain(&question.name, &records, &mut shortest)?;
    let mut answer = DnsAnswer {
        names,
        targets: Vec::new(),
        addresses: Vec::new(),
        ttl: 0,
    };
    for (owner, record) in &records {
        if answer.names.contains(owner) && answer.learn(&record.data) {
            shorten(&mut shortest, record.ttl);
        }
    }
    answer.addresses.sort_unstable();
    answer.addresses.dedup();
    answer.ttl = shortest.unwrap_or(0);
    Ok(answer)
}

/// A whole message, and nothing behind it.
fn decode(message: &[u8]) -> Result<Message, Odd> {
    let mut decoder = BinDecoder::new(message);
    let read = Message::read(&mut decoder).map_err(|_| Odd::Unreadable)?;
    decoder.is_empty().then_some(read).ok_or(Odd::Unreadable)
}

/// The name, and all that `CNAME` leads to.
fn chain(
    asked: &WireName,
    records: &[(WireName, &Record)],
    shortest: &mut Option<u32>,
) -> Result<Vec<WireName>, Odd> {
    let mut links = HashMap::new();
    for (owner, record) in records {
        if let RData::CNAME(target) = &record.data {
            let target = wire_name(target).ok_or(Odd::Unreadable)?;
            let known = links.insert(owner, (target.clone(), record.ttl));
            if known.is_some_and(|(known, _)| known != target) {
                return Err(Odd::Chain);
            }
        }
    }
    let mut names = vec![asked.clone()];
    while let Some((target, ttl)) = names.last().and_then(|last| links.get(last)) {
        if names.len() > MAX_LINKS || names.contains(target) {
            return Err(Odd::Chain);
        }
        shorten(shortest, *ttl);
        names.push(target.clone());
    }
    Ok(names)
}

impl DnsAnswer {
    /// What a record of one of its names says; `false` if nothing about addresses.
    fn learn(&mut self, data: &RData) -> bool {
        match data {
            RData::A(address) => self.addresses.push(IpAddr::V4(address.0)),
            RData::AAAA(address) => self.addresses.push(IpAddr::V6(address.0)),
            RData::SVCB(svcb) => self.learn_hints(svcb),
            RData::HTTPS(https) => self.learn_hints(&https.0),
            _ => return false,
        }
        true
    }

    fn learn_hints(&mut self, svcb: &SVCB) {
        for (_, value) in &svcb.svc_params {
            match value {
                SvcParamValue::Ipv4Hint(hint) => {
                    let addresses = hint.0.iter().map(|address| IpAddr::V4(address.0));
                    self.addresses.extend(addresses);
                }
                SvcParamValue::Ipv6Hint(hint) => {
                    let addresses = hint.0.iter().map(|address| IpAddr::V6(address.0));
                    self.addresses.extend(addresses);
                }
                _ => {}
            }
        }
        let target = wire_name(&svcb.target_name);
        self.targets.extend(target.filter(|target| {
            target.bytes() != [0] && !self.names.contains(target) && !self.targets.contains(target)
        }));
    }
}

fn shorten(shortest: &mut Option<u32>, ttl: u32) {
    let ttl = if ttl >= NEGATIVE_TTL {
        0
    } else {
        ttl.min(MAX_TTL)
    };
    *shortest = Some(shortest.map_or(ttl, |so_far| so_far.min(ttl)));
}

fn wire_name(name: &Name) -> Option<WireName> {
    WireName::of_labels(name.iter())
}

/// The same answer without the keys for encrypting a server's name (`ech`), so that the name stays readable to the kernel half.
/// A record that must not be used without is left out. Signatures do not hold any more.
///
/// # Errors
///
/// It cannot be read, or written again.
pub(super) fn without_ech(message: &[u8]) -> Result<Vec<u8>, Odd> {
    let mut read = decode(message)?;
    let before = read.clone();
    for section in [
        &mut read.answers,
        &mut read.authorities,
        &mut read.additionals,
    ] {
        section.retain_mut(|record| match &mut record.data {
            RData::SVCB(svcb) => take_ech(svcb),
            RData::HTTPS(https) => take_ech(&mut https.0),
            _ => true,
        });
    }
    if read == before {
        Ok(message.to_vec())
    } else {
        read.to_vec().map_err(|_| Odd::Unreadable)
    }
}

/// `false` where the record is of no use without it.
fn take_ech(svcb: &mut SVCB) -> bool {
    svcb.svc_params
        .retain(|(key, _)| *key != SvcParamKey::EchConfigList);
    !svcb.svc_params.iter().any(|(_, value)| {
        matches!(value, SvcParamValue::Mandatory(keys) if keys.0.contains(&SvcParamKey::EchConfigList))
    })
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
