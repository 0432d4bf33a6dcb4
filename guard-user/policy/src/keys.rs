//! What to do about a key that means nothing where it stands.

use super::{
    http::HTTP_KEYS,
    invalid::{is_nearly, nearest},
    parse::POLICY_KEYS,
    rules::RULE_KEYS,
};

/// What to write in place of a key that is none of those known in its table.
pub(super) fn help(key: &str, known: &[&str]) -> String {
    let slip = known.iter().find(|known| is_nearly(key, known));
    let meant = || slip.copied().or_else(|| nearest(key, known));
    match (slip, elsewhere(key, known)) {
        (None, Some(place)) => place.to_owned(),
        _ => match meant() {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here are {}", known.join(", ")),
        },
    }
}

/// What to write instead of a key that means something in another table, or has another name here.
fn elsewhere(key: &str, known: &[&str]) -> Option<&'static str> {
    let is_of_policy = known == POLICY_KEYS;
    let is_of_rule = known == RULE_KEYS;
    let place = match key {
        "http" if !is_of_rule => "write `[[rule.http]]`, below the `[[rule]]` that it is for",
        "dns" if !is_of_policy => "it belongs to the whole policy: write `[dns]`",
        "unix" if !is_of_policy => "it belongs to the whole policy: write `[unix]`",
        "rule" if !is_of_policy => "write `[[rule]]`",
        _ if known == HTTP_KEYS && RULE_KEYS.contains(&key) => {
            "it belongs to the rule: write it above `[[rule.http]]`"
        }
        _ if !is_of_policy && POLICY_KEYS.contains(&key) => {
            "it belongs to the whole policy: write it above the first line that begins with `[`"
        }
        _ if is_of_policy && RULE_KEYS.contains(&key) => {
            "it belongs to a rule: write it below a line `[[rule]]`"
        }
        _ if !is_of_rule && RULE_KEYS.contains(&key) => {
            "it belongs to a rule: write it right below its line `[[rule]]`"
        }
        _ if is_of_policy => return of_a_policy(key),
        _ if is_of_rule => return of_a_rule(key),
        _ => return None,
    };
    Some(place)
}

/// What other tools write instead of `[[rule]]`.
fn of_a_policy(key: &str) -> Option<&'static str> {
    Some(match key {
        "allow" | "permit" | "accept" | "egress" | "outbound" => {
            "rules are `[[rule]]` with `action = \"allow\"`"
        }
        "deny" | "block" | "drop" => "rules are `[[rule]]` with `action = \"deny\"`",
        "confirm" | "ask" => "rules are `[[rule]]` with `action = \"confirm\"`",
        _ => return None,
    })
}

/// What other tools call the keys of a rule.
fn of_a_rule(key: &str) -> Option<&'static str> {
    Some(match key {
        "comment" | "description" | "note" => "write `reason`",
        "address" | "addresses" | "cidr" | "dest" | "destination" | "destinations" | "dst"
        | "host" | "hosts" => "write `to`",
        "proto" | "protocol" => "write it in `ports`, as in `ports = [\"tcp/443\"]`",
        "allow" => "write `action = \"allow\"`",
        "deny" => "write `action = \"deny\"`",
        "confirm" => "write `action = \"confirm\"`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_where_it_means_something() {
        let policys =
            "it belongs to the whole policy: write it above the first line that begins with `[`";
        let dns = &["names", "search"][..];
        for (key, known, wanted) in [
            ("default", RULE_KEYS, policys),
            ("default", dns, policys),
            ("hold", HTTP_KEYS, policys),
            ("max_hole", dns, policys),
            (
                "max_hole",
                HTTP_KEYS,
                "it belongs to the rule: write it above `[[rule.http]]`",
            ),
            (
                "reason",
                HTTP_KEYS,
                "it belongs to the rule: write it above `[[rule.http]]`",
            ),
            (
                "http",
                POLICY_KEYS,
                "write `[[rule.http]]`, below the `[[rule]]` that it is for",
            ),
            (
                "ports",
                POLICY_KEYS,
                "it belongs to a rule: write it below a line `[[rule]]`",
            ),
            (
                "ports",
                dns,
                "it belongs to a rule: write it right below its line `[[rule]]`",
            ),
            (
                "dns",
                RULE_KEYS,
                "it belongs to the whole policy: write `[dns]`",
            ),
            (
                "unix",
                RULE_KEYS,
                "it belongs to the whole policy: write `[unix]`",
            ),
            ("name", dns, "did you mean `names`?"),
            ("rules", POLICY_KEYS, "did you mean `rule`?"),
            ("port", RULE_KEYS, "did you mean `ports`?"),
            (
                "allow",
                POLICY_KEYS,
                "rules are `[[rule]]` with `action = \"allow\"`",
            ),
            ("description", RULE_KEYS, "write `reason`"),
            ("cidr", RULE_KEYS, "write `to`"),
            (
                "protocol",
                RULE_KEYS,
                "write it in `ports`, as in `ports = [\"tcp/443\"]`",
            ),
            ("colour", dns, "known here are names, search"),
        ] {
            assert_eq!(help(key, known), wanted, "{key}");
        }
    }
}
