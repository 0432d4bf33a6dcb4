//! Names that sessions ask for, as the resolver writes them: labels with dots between, and a dot in a label as `\\.`.
//!
//! A *pattern* here is a name, or `*.` and a zone for all names below that.

/// Labels before a common ending are a zone's own where the ending is one of these: `co.uk` belongs to nobody who answers.
const SHARED: [&str; 9] = ["ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"];
/// Letters of a country's own ending (ISO 3166-1).
const COUNTRY: usize = 2;

/// Whether a pattern is for a name, or for all names of another pattern.
#[must_use]
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(zone) => name == pattern || is_below(name, zone),
        None => name == pattern,
    }
}

/// Whether a name has a label, or more, in front of another's.
#[must_use]
pub(crate) fn is_below(name: &str, zone: &str) -> bool {
    let own = name
        .strip_suffix(zone)
        .and_then(|own| own.strip_suffix('.'));
    own.is_some_and(|own| !own.is_empty() && is_whole(own))
}

/// The zone that a name is asked about in, together with others: its last two labels, or three where two are a country's shared
/// ending. `None` where it has no label of its own in front of that.
#[must_use]
pub(crate) fn zone_of(name: &str) -> Option<&str> {
    let zone = last(name, 2)?;
    let is_shared = zone
        .split_once('.')
        .is_some_and(|(second, first)| first.len() == COUNTRY && SHARED.contains(&second));
    if is_shared { last(name, 3) } else { Some(zone) }
}

/// The last so many labels, where there are more.
fn last(name: &str, count: usize) -> Option<&str> {
    let dots = name
        .char_indices()
        .rev()
        .filter(|(at, c)| *c == '.' && is_whole(&name[..*at]));
    let (at, _) = dots.take(count).nth(count.checked_sub(1)?)?;
    Some(&name[at + 1..])
}

/// Whether a dot behind these is one between labels.
fn is_whole(labels: &str) -> bool {
    let slashes = labels.len() - labels.trim_end_matches('\\').len();
    slashes.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Label by label, from the front.
    fn plainly(name: &str) -> Vec<String> {
        let (mut labels, mut escaped) = (vec![String::new()], false);
        for c in name.chars() {
            match (c, escaped) {
                ('.', false) => labels.push(String::new()),
                (c, _) => labels.last_mut().unwrap().push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        labels
    }

    fn names() -> impl Strategy<Value = String> {
        let label =
            prop::sample::select(vec!["a", "b", "co", "uk", "evil", r"a\.b", r"a\\", r"\027"]);
        prop::collection::vec(label, 1..6).prop_map(|labels| labels.join("."))
    }

    #[test]
    fn zones_are_whole_labels() {
        assert!(covers("*.evil.example", "x.evil.example"));
        assert!(covers("*.evil.example", "a.b.evil.example"));
        assert!(covers("*.evil.example", "*.evil.example"));
        assert!(covers("x.evil.example", "x.evil.example"));
        for other in [
            "evil.example",
            "devil.example",
            r"x\.evil.example",
            ".evil.example",
            "x.evil.example.net",
        ] {
            assert!(!covers("*.evil.example", other), "{other}");
        }
        // The slash is an odd byte's own.
        assert!(covers("*.evil.example", r"x\\.evil.example"));
        assert_eq!(zone_of("a.b.evil.example"), Some("evil.example"));
        assert_eq!(zone_of("www.shop.co.uk"), Some("shop.co.uk"));
        assert_eq!(zone_of("shop.co.uk"), None);
        assert_eq!(zone_of("evil.example"), None);
    }

    proptest! {
        #[test]
        fn labels_are_compared_one_by_one(name in names(), zone in names()) {
            let (own, of_zone) = (plainly(&name), plainly(&zone));
            let wanted = own.len() > of_zone.len() && own.ends_with(&of_zone);
            prop_assert_eq!(is_below(&name, &zone), wanted);
            prop_assert_eq!(covers(&format!("*.{zone}"), &name), wanted);
        }

        #[test]
        fn a_name_is_below_its_zone(name in names()) {
            if let Some(zone) = zone_of(&name) {
                prop_assert!(is_below(&name, zone));
                prop_assert!([2, 3].contains(&plainly(zone).len()));
            }
        }
    }
}
