//! The labels of places: how much each looks like production.

use serde::Serialize;

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// In a file that shows others what to write.
    Template,
    /// To be replaced by whoever copies it.
    Placeholder,
    /// What an agent works with all day.
    Tool,
    /// On this machine.
    Local,
    /// Said to be a developer's.
    Dev,
    /// Said to be a copy.
    Staging,
    /// Nothing says much.
    Unknown,
    /// It may be production.
    Maybe,
    /// It looks like production.
    Production,
}

impl Label {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Placeholder => "placeholder",
            Self::Tool => "tool",
            Self::Local => "local",
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Unknown => "unknown",
            Self::Maybe => "maybe",
            Self::Production => "production",
        }
    }
}
