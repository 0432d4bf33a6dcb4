//! What a person has decided once: what is no production, which files may stay encrypted, and whose policies are trusted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::moment;

/// Answer to [`Call::DecisionsReply`], [`Call::Dismiss`], [`Call::DismissFile`] and [`Call::Trust`]: all that one user has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionsReply {
    /// Places that are not what they look like.
    #[serde(default)]
    pub dismissed: Vec<Dismissal>,
    /// Policies of projects that may widen, the latest last.
    #[serde(default)]
    pub trusted: Vec<TrustedFile>,
    /// Encrypted files whose contents are not known, which is all right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<DismissedFile>,
}

/// A place that is not what it looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dismissal {
    /// An address or a name.
    pub host: String,
    /// Its port, of TCP; 0 where that is not known.
    pub port: u16,
    /// What it looked like then.
    pub label: String,
    /// The project that it is so in; absent: wherever it is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// When that was said.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Who said it.
    pub by: String,
}

impl Dismissal {
    /// Whether it is about the same place, as the same, and as widely.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let about = |one: &Self| {
            (
                one.host.clone(),
                one.port,
                one.label.clone(),
                one.dir.clone(),
            )
        };
        about(self) == about(other)
    }
}

/// A file that somebody has encrypted. Its contents are not known, and a person says that this is all right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DismissedFile {
    /// The file: below the project as `a/b`, below the home as `~/a`. Never opened.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal: with others it is another file, of which nobody has said anything.
    pub sha256: String,
    /// The project that it is in; absent: it is the home's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// When that was said.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Who said it.
    pub by: String,
}

impl DismissedFile {
    /// Whether it is the same file of the same place, with the same bytes.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.file, &self.sha256, &self.dir) == (&other.file, &other.sha256, &other.dir)
    }
}

/// The policy of a project that may widen another policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedFile {
    /// The file, as it is shown; never opened.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the text of the policy that it widens.
    pub policy: String,
    /// SHA-256 of what a person was shown and has agreed to: in another network the same text may come to something else.
    #[serde(default)]
    pub shown: String,
}
