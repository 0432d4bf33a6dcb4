//! Destinations of a comparison: prefixes with gaps of their own size between them, and addresses in both. All lie in
//! 10.0.0.0/8, which only production of the lab answers for.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Port where production listens.
pub(super) const PORT: u16 = 8080;
/// Port where production speaks HTTP.
pub(super) const HTTP_PORT: u16 = PORT + 1;
/// Most addresses that connects take turns with.
const TURNS: u32 = 1000;
/// Addresses from one prefix to the next: twice a /27.
const STEP: u32 = 64;

pub(super) const TEN: Prefixes = Prefixes(10);
pub(super) const MANY: Prefixes = Prefixes(100_000);

/// That many prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefixes(u32);

/// Addresses used in turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    first: u32,
    step: u32,
    size: u32,
}

impl Prefixes {
    /// Returns all of them, as text.
    pub(super) fn texts(self) -> Vec<String> {
        let text = |index| format!("{}/27", Ipv4Addr::from_bits(0x0a00_0000 + index * STEP));
        (0..self.0).map(text).collect()
    }

    /// Returns a policy, `bench`, that asks about the prefixes in ten rules and allows all else.
    pub(super) fn policy(self) -> String {
        let mut text = "version = 1\nname = \"bench\"\ndefault = \"allow\"\n".to_owned();
        for (rule, part) in self
            .texts()
            .chunks(self.0.div_ceil(10) as usize)
            .enumerate()
        {
            let rule = format!(
                "\n[[rule]]\nname = \"part-{rule}\"\nto = {part:?}\naction = \"confirm\"\n"
            );
            text.push_str(&rule);
        }
        text
    }

    /// Returns addresses in the prefixes.
    pub(super) fn inside(self) -> Pool {
        self.pool(1)
    }

    /// Returns addresses in the gaps.
    pub(super) fn between(self) -> Pool {
        self.pool(STEP / 2 + 1)
    }

    fn pool(self, offset: u32) -> Pool {
        let size = self.0.min(TURNS);
        Pool {
            first: 0x0a00_0000 + offset,
            step: self.0 / size * STEP,
            size,
        }
    }
}

impl Pool {
    pub(super) fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// Returns the first address alone.
    pub(super) fn one(self) -> Self {
        Self { size: 1, ..self }
    }

    /// Returns an order to a client about these addresses, with how much it is to do.
    pub(super) fn order(self, what: &str, port: u16, amount: (&str, u64)) -> Value {
        let to = format!("{}:{port}", self.first());
        let mut order = json!({"do": what, "to": to, "step": self.step, "size": self.size});
        order[amount.0] = amount.1.into();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_gaps_between_them_and_a_policy_names_each_once() {
        assert_eq!(TEN.texts()[1], "10.0.0.64/27");
        assert_eq!(TEN.inside().first(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(TEN.between().first(), Ipv4Addr::new(10, 0, 0, 33));
        let text = TEN.policy();
        assert_eq!(
            (
                text.matches("/27").count(),
                text.matches("[[rule]]").count()
            ),
            (10, 10)
        );
    }
}
