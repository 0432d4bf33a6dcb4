//! Whether a policy may let more through than another one, in whose place it is to judge a session. In doubt it may.

use guard_policy::{self as policy, Side};

use super::InForce;

/// Ways in which it may let more through that are listed; of more, how many.
const MOST: usize = 6;

/// What it may let through that the other one does not, in words; none: it only narrows.
#[must_use]
pub(crate) fn widens(old: &InForce, new: &InForce) -> Option<String> {
    let mut all = policy::widens(side(old), side(new), &new.fitted);
    let more = match all.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    all.truncate(MOST);
    (!all.is_empty()).then(|| all.join("; ") + &more)
}

fn side(policy: &InForce) -> Side<'_> {
    Side {
        policy: &policy.policy,
        compiled: &policy.compiled,
    }
}

#[cfg(test)]
mod tests {
    use guard_common::PolicyId;

    use super::{super::of_texts, *};

    fn said(old: &str, new: &str) -> Option<String> {
        let texts = [old, new].map(|text| format!("version = 1\n{text}"));
        let policies = of_texts(&texts);
        let of = |slot| policies.get(PolicyId(slot)).unwrap();
        widens(of(1), of(2))
    }

    #[test]
    fn what_widens_is_told_up_to_a_number_and_what_narrows_is_not() {
        let hosts = |number: usize| {
            let rule = |host| {
                format!(
                    "[[rule]]\nto = [\"192.0.2.{}\"]\naction = \"allow\"\n",
                    2 * host + 1
                )
            };
            (0..number).map(rule).collect::<String>()
        };
        assert_eq!(said(&hosts(20), &hosts(1)), None);
        let one = said("", &hosts(1)).unwrap();
        assert!(
            one.starts_with("allow in place of deny for 192.0.2.1, by the rule"),
            "{one}"
        );
        assert!(!one.contains("more"), "{one}");
        let all = said("", &hosts(20)).unwrap();
        assert!(all.ends_with("; and 14 more"), "{all}");
    }
}
