//! What names say of the stage that something belongs to: by whole words, so that `products` says nothing.

use serde::Serialize;

/// How serious a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// People depend on it.
    Production,
    /// A copy of it, for trying.
    Staging,
    /// A developer's.
    Development,
}

/// The words, and what they say.
const WORDS: [(Stage, &[&str]); 3] = [
    (Stage::Production, &["prod", "prd", "production", "live"]),
    (
        Stage::Staging,
        &[
            "staging",
            "stage",
            "stg",
            "preprod",
            "preproduction",
            "uat",
            "qa",
            "preview",
            "canary",
            "acceptance",
        ],
    ),
    (
        Stage::Development,
        &[
            "dev",
            "devel",
            "development",
            "local",
            "test",
            "tests",
            "testing",
            "ci",
            "e2e",
            "sandbox",
            "demo",
            "scratch",
            "tmp",
            "nonprod",
            "nonproduction",
            "fixture",
            "fixtures",
            // Clusters on a developer's own machine.
            "minikube",
            "k3d",
        ],
    ),
];

/// Two words that are one.
const JOINED: [(&str, &str, &str); 8] = [
    ("pre", "prod", "preprod"),
    ("pre", "production", "preproduction"),
    ("non", "prod", "nonprod"),
    ("non", "production", "nonproduction"),
    ("no", "prod", "nonprod"),
    ("no", "production", "nonproduction"),
    ("not", "prod", "nonprod"),
    ("not", "production", "nonproduction"),
];

/// The words of one text that say a stage. They are this program's own, never the text's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageWords {
    /// The first that says production.
    pub production: Option<&'static str>,
    /// The first that says staging.
    pub staging: Option<&'static str>,
    /// The first that says development.
    pub development: Option<&'static str>,
}

impl StageWords {
    /// What either says.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            production: self.production.or(other.production),
            staging: self.staging.or(other.staging),
            development: self.development.or(other.development),
        }
    }
}

/// What a text says.
#[must_use]
pub fn said(text: &str) -> StageWords {
    let mut said = StageWords::default();
    for (stage, word) in stages(&words(text)) {
        let at = match stage {
            Stage::Production => &mut said.production,
            Stage::Staging => &mut said.staging,
            Stage::Development => &mut said.development,
        };
        at.get_or_insert(word);
    }
    said
}

fn stages(words: &[String]) -> Vec<(Stage, &'static str)> {
    let words = joined(words.to_vec());
    words.iter().filter_map(|word| known(word)).collect()
}

fn joined(words: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let before = out.last().map(String::as_str);
        let join = JOINED
            .iter()
            .find(|(first, second, _)| before == Some(first) && *second == word);
        match join {
            Some((_, _, both)) => {
                out.pop();
                out.push((*both).to_owned());
            }
            None => out.push(word),
        }
    }
    out
}

fn known(word: &str) -> Option<(Stage, &'static str)> {
    let of = |word: &str| {
        WORDS.iter().find_map(|(stage, words)| {
            let found = words.iter().find(|known| **known == word);
            found.map(|known| (*stage, *known))
        })
    };
    let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = word.len() - bare.len();
    of(word).or_else(|| (digits <= 3).then(|| of(bare)).flatten())
}

/// Split at what is no letter or digit, and where a capital begins a word: `appsettingsProd`, `HTTPSProd`.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut word = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if (begins || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_stages_and_their_pieces_do_not() {
        let production = |text| said(text).production.is_some();
        for text in [
            "prod-eu",
            "PROD_API_URL",
            "web.prod2",
            "appsettings.Production.json",
            "shopProd",
            "HTTPSProd",
        ] {
            assert!(production(text), "{text}");
        }
        for text in [
            "products",
            "reproduction",
            "livekit",
            "pre-prod",
            "nonprod",
            "not_prod",
            "prod12345",
            "delivery",
        ] {
            assert!(!production(text), "{text}");
        }
        assert_eq!(said("pre-prod").staging, Some("preprod"));
        assert_eq!(said("noProd").development, Some("nonprod"));
        assert_eq!(said("e2e").development, Some("e2e"));
    }
}
