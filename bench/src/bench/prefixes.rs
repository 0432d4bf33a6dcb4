//! The destinations of a comparison: prefixes with gaps of their own size in between, so that none of them can
//! be joined, and addresses in both. All lie in 10.0.0.0/8, which only production of the lab answers for.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Where production listens.
pub(super) const PORT: u16 = 8080;
/// Where it speaks HTTP.
pub(super) const HTTP_PORT: u16 = PORT + 1;
/// Addresses that connects take turns with at most, far apart.
const TURNS: u32 = 1000;

/// So many prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefixes {
    pub(super) count: u32,
    /// Addresses from one to the next: twice a prefix's size.
    step: u32,
}

/// Addresses in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    first: u32,
    step: u32,
    size: u32,
}

impl Prefixes {
    pub(super) const TEN: Self = Self::new(10);
    pub(super) const MANY: Self = Self::new(100_000);
    pub(super) const MOST: Self = Self::new(1_000_000);

    /// As large as they can be, up to a /27.
    const fn new(count: u32) -> Self {
        let step = if count > 200_000 { 16 } else { 64 };
        Self { count, step }
    }

    fn base(self, index: u32) -> u32 {
        0x0a00_0000 + index * self.step
    }

    /// One of them, as text.
    pub(super) fn text(self, index: u32) -> String {
        let length = 32 - (self.step / 2).trailing_zeros();
        format!("{}/{length}", Ipv4Addr::from_bits(self.base(index)))
    }

    /// All of them, as text.
    pub(super) fn texts(self) -> impl Iterator<Item = String> {
        (0..self.count).map(move |index| self.text(index))
    }

    /// A policy of ten rules that asks about these prefixes and allows all else, without those that `skip`
    /// names.
    pub(super) fn policy(self, name: &str, skip: impl Fn(u32) -> bool) -> String {
        let mut text = format!("version = 1\nname = \"{name}\"\ndefault = \"allow\"\n");
        let share = self.count.div_ceil(10);
        for rule in 0..10 {
            text.push_str(&format!("\n[[rule]]\nname = \"part-{rule}\"\nto = [\n"));
            let all = (rule * share..(rule + 1) * share).take_while(|index| *index < self.count);
            for index in all.filter(|index| !skip(*index)) {
                text.push_str(&format!("  \"{}\",\n", self.text(index)));
            }
            text.push_str("]\naction = \"confirm\"\n");
        }
        text
    }

    /// Addresses in the prefixes.
    pub(super) fn inside(self) -> Pool {
        self.pool(1)
    }

    /// Addresses in the gaps.
    pub(super) fn between(self) -> Pool {
        self.pool(self.step / 2 + 1)
    }

    fn pool(self, offset: u32) -> Pool {
        let size = self.count.min(TURNS);
        Pool {
            first: self.base(0) + offset,
            step: self.count / size * self.step,
            size,
        }
    }

    /// One address in one of the prefixes; there are some in each.
    pub(super) fn one(self, index: u32, which: u32) -> Pool {
        Pool {
            first: self.base(index) + 1 + which % (self.step / 2 - 1),
            step: 0,
            size: 1,
        }
    }
}

impl Pool {
    /// An order to a client, about these addresses.
    pub(super) fn order(self, what: &str) -> Value {
        self.order_to(what, PORT)
    }

    /// The same, at another port.
    pub(super) fn order_to(self, what: &str, port: u16) -> Value {
        let first = Ipv4Addr::from_bits(self.first);
        json!({
            "do": what,
            "to": format!("{first}:{port}"),
            "step": self.step,
            "size": self.size,
        })
    }

    /// All of them, as text.
    pub(super) fn texts(self) -> impl Iterator<Item = String> {
        (0..self.size).map(move |turn| {
            let address = Ipv4Addr::from_bits(self.first + turn * self.step);
            address.to_string()
        })
    }

    /// Its first address.
    pub(super) fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_gaps_between_them() {
        assert_eq!(Prefixes::TEN.text(1), "10.0.0.64/27");
        assert_eq!(Prefixes::TEN.inside().first(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(Prefixes::TEN.between().first(), Ipv4Addr::new(10, 0, 0, 33));
        assert_eq!(Prefixes::MOST.text(999_999), "10.244.35.240/29");
    }

    #[test]
    fn a_policy_names_each_once() {
        let text = Prefixes::TEN.policy("ten", |index| index == 3);
        assert_eq!(text.matches("/27").count(), 9);
        assert_eq!(text.matches("[[rule]]").count(), 10);
    }
}
