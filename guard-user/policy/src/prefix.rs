//! Prefixes of the one address space that IPv4 and IPv6 share here.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use guard_common::{Address, Mask, Ticket};
use serde::{Deserialize, Serialize};

use super::{
    invalid::{Invalid, quoted},
    target::Ambiguous,
};

/// A prefix of canonical addresses, without host bits. Its length counts IPv6 bits: the IPv4 prefix
/// `192.0.2.0/24` is 120 bits long, since IPv4 lies in `::ffff:0:0/96`.
///
/// Prefixes are ordered by address, then by length, so that a prefix comes right before all those
/// that it contains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    // Two halves, not a `u128`: its alignment would cost a quarter more memory per prefix.
    high: u64,
    low: u64,
    len: u8,
}

/// Bits before the address in an IPv4-mapped IPv6 address.
const V4_OFFSET: u8 = 96;
const MAPPED: u128 = 0xffff << 32;
/// 64:ff9b::/96, behind which a translator reaches IPv4 addresses (RFC 6052 2.1).
const TRANSLATED: u128 = 0x0064_ff9b << 96;

impl Prefix {
    /// Every address of both families.
    pub const EVERYTHING: Self = Self::new(0, 0);
    /// Every IPv4 address.
    pub const IPV4: Self = Self::v4([0, 0, 0, 0], 0);

    /// The prefix of `len` bits (128 at most) that an address with these bits lies in.
    #[must_use]
    pub const fn new(bits: u128, len: u8) -> Self {
        let len = if len > 128 { 128 } else { len };
        let bits = bits & Address::mask(len).to_u128();
        Self {
            high: (bits >> 64) as u64,
            low: bits as u64,
            len,
        }
    }

    /// An IPv4 prefix, its length counted as IPv4 does.
    #[must_use]
    pub const fn v4(address: [u8; 4], len: u8) -> Self {
        let bits = u32::from_be_bytes(address) as u128;
        Self::new(MAPPED | bits, V4_OFFSET + len)
    }

    /// An IPv6 prefix.
    #[must_use]
    pub const fn v6(address: [u16; 8], len: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = address;
        Self::new(Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits(), len)
    }

    /// The prefix that holds one address only.
    #[must_use]
    pub fn host(address: Address) -> Self {
        Self::new(address.to_u128(), 128)
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> Address {
        Address::from_u128(self.bits())
    }

    /// Its first address as a number, most significant bit first.
    #[must_use]
    pub const fn bits(&self) -> u128 {
        ((self.high as u128) << 64) | self.low as u128
    }

    /// Its last address as a number.
    #[must_use]
    pub const fn last_bits(&self) -> u128 {
        self.bits() | !Address::mask(self.len).to_u128()
    }

    /// Which bits of an address it compares.
    #[must_use]
    pub const fn mask(&self) -> Mask {
        Address::mask(self.len)
    }

    /// Its length in IPv6 bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.len
    }

    /// Whether an address lies in it.
    #[must_use]
    pub const fn covers(&self, address: &Address) -> bool {
        address.matches(&self.address(), &self.mask())
    }

    /// Whether an address lies in both: then one of them contains the other.
    #[must_use]
    pub const fn meets(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// Whether all of `other` lies in it.
    #[must_use]
    pub const fn contains(&self, other: &Self) -> bool {
        self.len <= other.len && (other.bits() & self.mask().to_u128()) == self.bits()
    }

    /// What a translator makes of it, if it is IPv4's.
    pub(super) fn translated(&self) -> Option<Self> {
        let bits = TRANSLATED | (self.bits() & u128::from(u32::MAX));
        Self::IPV4
            .contains(self)
            .then(|| Self::new(bits, self.length()))
    }

    /// Whether it is one address.
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.len == 128
    }

    /// The prefix one bit shorter, unless this one is everything.
    #[must_use]
    pub const fn parent(&self) -> Option<Self> {
        match self.len {
            0 => None,
            len => Some(Self::new(self.bits(), len - 1)),
        }
    }

    /// Its two halves, unless it is one address.
    #[must_use]
    pub const fn halves(&self) -> Option<[Self; 2]> {
        if self.len >= 128 {
            return None;
        }
        let len = self.len + 1;
        let upper = self.bits() | (1 << (128 - len));
        Some([Self::new(self.bits(), len), Self::new(upper, len)])
    }

    /// What is left of it without `others`, as few prefixes as possible.
    #[must_use]
    pub fn without(&self, others: &[Self]) -> Vec<Self> {
        if others.iter().any(|other| other.contains(self)) {
            return Vec::new();
        }
        match self.halves() {
            Some(halves) if others.iter().any(|other| self.contains(other)) => halves
                .iter()
                .flat_map(|half| half.without(others))
                .collect(),
            _ => vec![*self],
        }
    }

    /// As people write it, but one address without its length, unless its end would read as a port.
    #[must_use]
    pub fn to_short(&self) -> String {
        let address = self.address().to_ip().to_string();
        if self.is_host() && Ambiguous::of(&address).is_none() {
            address
        } else {
            self.to_string()
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::host(address.into())
    }
}

/// The addresses that stand for other programs' listeners on the loopback.
pub(super) const LISTENERS: Prefix = Prefix::v6([0x0100, 0, 0, 1, 0, 0, 0, 0], 64);

impl Prefix {
    /// Of a loopback address, all listeners of other programs there.
    #[must_use]
    pub fn listeners(&self) -> Self {
        let first = self.address().of_listener(Ticket(0));
        let length = if self.address().is_v4() { 25 } else { 1 };
        Self::new(first.to_u128(), LISTENERS.len + length)
    }

    /// The loopback's addresses that these are listeners at.
    fn listened_at(&self) -> Option<Self> {
        let length = self.len.checked_sub(LISTENERS.len + 1)?;
        let first = self.address().connected();
        let area = if first.is_v4() { V4_OFFSET + 8 } else { 128 };
        LISTENERS
            .contains(self)
            .then(|| Self::new(first.to_u128(), (area + length).min(128)))
    }
}

impl fmt::Display for Prefix {
    /// Listeners by the addresses that they are reached at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(loopback) = self.listened_at() {
            return loopback.fmt(f);
        }
        if Self::IPV4.contains(self) {
            let address = Ipv4Addr::from_bits(self.bits() as u32);
            write!(f, "{address}/{}", self.len - V4_OFFSET)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from_bits(self.bits()), self.len)
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = Invalid;

    /// An address, or a prefix without host bits.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| bad_address(address))?;
        let bits = Address::from(ip).to_u128();
        let Some(len) = len else {
            return Ok(Self::new(bits, 128));
        };
        if len.is_empty() {
            return Err(
                Invalid::new(format!("{} has no length", quoted(text))).help(format!(
                    "write `{ip}` for that one address, or the length of the prefix behind the `/`"
                )),
            );
        }
        let prefix = Self::new(bits, parse_length(ip, len)?);
        if prefix.bits() == bits {
            Ok(prefix)
        } else {
            Err(Invalid::new(format!("{} has host bits set", quoted(text)))
                .help(format!("write `{prefix}`, or `{ip}` for that one address")))
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

fn bad_address(address: &str) -> Invalid {
    let invalid = Invalid::new(format!(
        "{} is not an IPv4 or IPv6 address",
        quoted(address)
    ));
    match address.split_once('%') {
        Some((plain, _)) => invalid.help(format!(
            "write {}: a rule holds on every network interface",
            quoted(plain)
        )),
        None => invalid.help("write an address or a prefix, like `192.0.2.10` or `2001:db8::/32`"),
    }
}

/// The length of a prefix in IPv6 bits, from the text behind the slash.
fn parse_length(ip: IpAddr, text: &str) -> Result<u8, Invalid> {
    let (family, longest, offset) = match ip {
        IpAddr::V4(_) => ("IPv4", 32, V4_OFFSET),
        IpAddr::V6(_) => ("IPv6", 128, 0),
    };
    // `u8` takes a leading plus sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u8>() {
        Ok(len) if digits && len <= longest => Ok(offset + len),
        _ => {
            let invalid = Invalid::new(format!("{} is not the length of a prefix", quoted(text)));
            Err(match (ip, as_mask(text)) {
                (IpAddr::V4(_), Some(len)) => invalid.help(format!("write `{ip}/{len}`")),
                _ => invalid.help(format!("an {family} prefix is 0 to {longest} bits long")),
            })
        }
    }
}

/// The length that a mask such as `255.255.255.0` stands for.
fn as_mask(text: &str) -> Option<u32> {
    let mask = text.parse::<Ipv4Addr>().ok()?.to_bits();
    (mask.leading_ones() + mask.trailing_zeros() == u32::BITS).then(|| mask.leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn people_and_mapped_forms_are_one() {
        for (given, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:c000:20a", "192.0.2.10/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(prefix(given).to_string(), shown);
            assert_eq!(prefix(shown), prefix(given));
        }
        assert_eq!(prefix("192.0.2.10").to_short(), "192.0.2.10");
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for (given, said) in [
            (
                "192.0.2.10/24",
                "`192.0.2.10/24` has host bits set: write `192.0.2.0/24`, or `192.0.2.10` for that one address",
            ),
            (
                "::ffff:192.0.2.1/90",
                "`::ffff:192.0.2.1/90` has host bits set: write `::ffc0:0:0/90`, or `::ffff:192.0.2.1` for that one address",
            ),
            (
                "192.0.2.0/33",
                "`33` is not the length of a prefix: an IPv4 prefix is 0 to 32 bits long",
            ),
            (
                "::/129",
                "`129` is not the length of a prefix: an IPv6 prefix is 0 to 128 bits long",
            ),
            (
                "192.0.2.0/255.255.255.0",
                "`255.255.255.0` is not the length of a prefix: write `192.0.2.0/24`",
            ),
            (
                "192.0.2.1:443",
                "`192.0.2.1:443` is not an IPv4 or IPv6 address: write an address or a prefix, like `192.0.2.10` or `2001:db8::/32`",
            ),
            (
                "::/+1",
                "`+1` is not the length of a prefix: an IPv6 prefix is 0 to 128 bits long",
            ),
            (
                "fe80::1%eth0",
                "`fe80::1%eth0` is not an IPv4 or IPv6 address: write `fe80::1`: a rule holds on every network interface",
            ),
            (
                "192.0.2.0/",
                "`192.0.2.0/` has no length: write `192.0.2.0` for that one address, or the length of the prefix behind the `/`",
            ),
        ] {
            assert_eq!(given.parse::<Prefix>().unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn without_leaves_the_rest() {
        let rest =
            prefix("192.0.2.0/24").without(&[prefix("192.0.2.64/26"), prefix("192.0.3.0/24")]);
        assert_eq!(rest, [prefix("192.0.2.0/26"), prefix("192.0.2.128/25")]);
        assert!(prefix("192.0.2.0/24").without(&[Prefix::IPV4]).is_empty());
    }
}
