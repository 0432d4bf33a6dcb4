//! What to write in the settings, where a message says what is wrong and no more.

use guard_policy::nearest;

/// A line that tells it; none where nothing is to be added.
pub(super) fn line(message: &str) -> String {
    hint(message).map_or_else(String::new, |hint| format!("{hint}\n"))
}

fn hint(message: &str) -> Option<String> {
    let begins = |part: &str| message.starts_with(part);
    if begins("unknown field") || begins("unknown variant") {
        return meant(message);
    }
    if begins("invalid socket address") {
        return Some("write an address with its port, as \"192.0.2.53:53\"".to_owned());
    }
    let (found, expected) = message
        .strip_prefix("invalid type: ")?
        .split_once(", expected ")?;
    match expected {
        "a boolean" => Some("write true or false, without quotes".to_owned()),
        "a sequence" if found == "map" => {
            Some("write a list; tables of rules have two brackets: [[assign]]".to_owned())
        }
        "a sequence" => Some(format!(
            "write a list: [{}]",
            found.strip_prefix("string ")?
        )),
        "a string" => {
            let number = found.strip_prefix("integer `")?.strip_suffix('`')?;
            Some(format!(
                "write it in quotes, a time with its unit: \"{number}m\""
            ))
        }
        _ => None,
    }
}

/// Of an unknown word, and those that are known, each in back quotes.
fn meant(message: &str) -> Option<String> {
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let known: Vec<_> = words.collect();
    let nearest = nearest(unknown, &known)?;
    Some(format!("did you mean `{nearest}`?"))
}
