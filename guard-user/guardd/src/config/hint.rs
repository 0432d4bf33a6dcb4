//! What to write in the settings, where a message says what is wrong and no more.

use guard_policy::{nearest, parse_duration};
use serde::de::DeserializeOwned;

use super::{AnswersTable, Approve, Config, Discover, FleetTable, ProxyTable, TlsTable};

/// Keys of a policy, which some look for here.
const POLICYS: [&str; 8] = [
    "rule", "default", "hold", "inbound", "max_hole", "unix", "dns", "version",
];

/// A line that tells it; none where nothing is to be added.
pub(super) fn line(message: &str) -> String {
    hint(message).map_or_else(String::new, |hint| format!("{hint}\n"))
}

fn hint(message: &str) -> Option<String> {
    let begins = |part: &str| message.starts_with(part);
    if begins("unknown field") {
        return elsewhere(message).or_else(|| meant(message));
    }
    if begins("unknown variant") {
        return meant(message);
    }
    if begins("invalid socket address") {
        return Some("write an address with its port, as \"192.0.2.53:53\"".to_owned());
    }
    if begins("duplicate key") {
        return Some("it stands above already: keep one of the two, with what both say".to_owned());
    }
    if begins("cannot extend value of type inline table") {
        return Some("it stands above already: write it between the braces there".to_owned());
    }
    let (found, expected) = message
        .strip_prefix("invalid type: ")?
        .split_once(", expected ")?;
    match expected {
        "a boolean" => Some("write true or false, without quotes".to_owned()),
        "a sequence" if found == "map" => {
            Some("write a list; tables of rules have two brackets: [[assign]]".to_owned())
        }
        "a sequence" => Some(format!("write a list: [{}]", entries(inside(found)?))),
        "a string" => {
            let number = found.strip_prefix("integer `")?.strip_suffix('`')?;
            Some(format!(
                "write it in quotes: \"{number}\"; a time has a unit: \"{number}m\""
            ))
        }
        "u64" | "usize" => Some(number(inside(found)?)),
        _ => None,
    }
}

/// What the quotes of a string have in them.
fn inside(found: &str) -> Option<&str> {
    found.strip_prefix("string \"")?.strip_suffix('"')
}

/// The words of a string, each as an entry of a list: a program and its arguments are no one line.
fn entries(text: &str) -> String {
    let words = text.split_whitespace().map(|word| format!("\"{word}\""));
    words.collect::<Vec<_>>().join(", ")
}

/// Of a number in quotes, or a time with its unit.
fn number(text: &str) -> String {
    const HOW: &str = "write a number without quotes, a time in seconds";
    let seconds = || parse_duration(text).ok().map(|time| time.as_secs());
    match text.parse().ok().or_else(seconds) {
        Some(number) => format!("{HOW}: {number}"),
        None => HOW.to_owned(),
    }
}

/// The words in back quotes.
fn words(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// Of an unknown word, and those that are known.
fn meant(message: &str) -> Option<String> {
    let mut words = words(message);
    let unknown = words.next()?;
    let known: Vec<_> = words.collect();
    let nearest = nearest(unknown, &known)?;
    Some(format!("did you mean `{nearest}`?"))
}

/// Of a key that is none where it stands, and is one elsewhere.
fn elsewhere(message: &str) -> Option<String> {
    let key = words(message).next()?;
    let has = |keys: &[String]| keys.iter().any(|known| known == key);
    if has(&keys::<Config>()) {
        return Some(format!(
            "`{key}` is in no table: write it above the first line that begins with `[`"
        ));
    }
    if POLICYS.contains(&key) {
        return Some(format!(
            "`{key}` is a policy's: /etc/guard/policies/NAME.toml"
        ));
    }
    let mut tables = [
        ("approve", keys::<Approve>()),
        ("answers", keys::<AnswersTable>()),
        ("fleet", keys::<FleetTable>()),
        ("discover", keys::<Discover>()),
        ("proxy", keys::<ProxyTable>()),
        ("tls", keys::<TlsTable>()),
    ]
    .into_iter();
    let (table, _) = tables.find(|(_, keys)| has(keys))?;
    Some(format!("`{key}` is in a table: write it under [{table}]"))
}

/// The keys of a table, as the error for one that it has not lists them.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let error = toml::from_str::<T>("\"\" = 0").err();
    let message = error.as_ref().map_or("", toml::de::Error::message);
    words(message).skip(1).map(str::to_owned).collect()
}
