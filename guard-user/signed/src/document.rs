//! The documents, as bytes: JSON in the canonical form of RFC 8785.
//!
//! All are closed: their keys are ASCII, and their values text, booleans, null, lists of text, text by name and integers below 2^53.
//! Such a document has one canonical form, without white space and with its keys in order, which is the order of the fields here.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{hash_of, signature::AnswerRefusal};

/// The version of documents.
const VERSION: u64 = 1;
/// Above this, not every program has the same integer.
const LARGEST: u64 = 1 << 53;
/// Bytes of a question or an answer at most.
const LONGEST: usize = 48 * 1024;

/// What guardd asks about one request. Its bytes are made once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// When the question was made, in seconds since 1970.
    pub asked_at: u64,
    /// A number of the machine's state, which ends with it: at a reboot at the latest.
    pub boot: String,
    /// The channel by which a code comes; none: no code is wanted.
    pub code_by: Option<String>,
    /// When it ends, in seconds since 1970. guardd's own clock decides.
    pub expires_at: u64,
    /// `connect`, `http` or `sql`.
    pub kind: String,
    /// Which machine asks.
    pub machine: String,
    /// 128 random bits: no other question has these bytes.
    pub nonce: String,
    /// What may be answered: `for=900`, `connections=1`, `scope=prefix`, `path=/api/jobs/7`, …
    pub offers: Vec<String>,
    /// The policy that stops it.
    pub policy: String,
    /// The request's id.
    pub request: String,
    /// The rule that stops it; none: the policy's default.
    pub rule: Option<String>,
    /// The session that asks.
    pub session: String,
    /// Whether the lines show all of it.
    pub shown_whole: bool,
    /// What a person is shown, line by line, with what cannot be seen written out.
    pub shows: Vec<String>,
    /// Whose session it is.
    pub user: String,
    /// 1.
    pub v: u64,
}

/// What a person signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The approver's name; empty: whose the key is.
    pub by: String,
    /// How many bytes may be sent.
    pub bytes: Option<u64>,
    /// The code that came by another channel; empty: none.
    pub code: String,
    /// How many connections may be made.
    pub connections: Option<u64>,
    /// For how long, in seconds.
    #[serde(rename = "for")]
    pub seconds: Option<u64>,
    /// The machine that asked.
    pub machine: String,
    /// The question's hash ([`Question::hash`]).
    pub question: String,
    /// Reads alone.
    pub read_only: bool,
    /// How many HTTP requests may be sent.
    pub requests: Option<u64>,
    /// `one`, `prefix`, `path` or `writes`.
    pub scope: String,
    /// 1.
    pub v: u64,
    /// Yes or no.
    pub verdict: SignedVerdict,
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedVerdict {
    /// Open it.
    Yes,
    /// Leave it closed.
    No,
}

/// A document that has one form in bytes.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const NAME: &'static str;
    /// Its bytes at most.
    const LONGEST: usize = LONGEST;

    /// Its version, and its other numbers.
    fn numbers(&self) -> (u64, Vec<u64>);

    /// The version that it has to have, by what is in it.
    fn version(&self) -> u64 {
        VERSION
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// Where a number is too large, or the whole too long.
    fn to_bytes(&self) -> Result<Vec<u8>, AnswerRefusal> {
        let (version, numbers) = self.numbers();
        if version != self.version() || numbers.iter().any(|number| *number >= LARGEST) {
            return Err(AnswerRefusal::Malformed(Self::NAME));
        }
        // The fields stand in the order of their keys, and serde_json writes text as RFC 8785 does.
        let bytes = serde_json::to_vec(self).map_err(|_| AnswerRefusal::Malformed(Self::NAME))?;
        if bytes.len() <= Self::LONGEST {
            Ok(bytes)
        } else {
            Err(AnswerRefusal::Malformed(Self::NAME))
        }
    }

    /// The document of these bytes, where they are its canonical form and no other.
    ///
    /// # Errors
    ///
    /// Where they are not.
    fn from_bytes(bytes: &[u8]) -> Result<Self, AnswerRefusal> {
        if bytes.len() > Self::LONGEST {
            return Err(AnswerRefusal::Malformed(Self::NAME));
        }
        let read: Self =
            serde_json::from_slice(bytes).map_err(|_| AnswerRefusal::Malformed(Self::NAME))?;
        if read.to_bytes()? == bytes {
            Ok(read)
        } else {
            Err(AnswerRefusal::NotCanonical(Self::NAME))
        }
    }
}

impl Document for Question {
    const NAME: &'static str = "question";

    fn numbers(&self) -> (u64, Vec<u64>) {
        (self.v, vec![self.asked_at, self.expires_at])
    }
}

impl Document for Answer {
    const NAME: &'static str = "answer";

    fn numbers(&self) -> (u64, Vec<u64>) {
        let counts = [self.bytes, self.connections, self.seconds, self.requests];
        (self.v, counts.into_iter().flatten().collect())
    }
}

impl Question {
    /// The hash of a question's bytes, as answers have it: SHA-256 in base64url without padding.
    #[must_use]
    pub fn hash(bytes: &[u8]) -> String {
        BASE64URL_NOPAD.encode(&hash_of("guard question v1", bytes))
    }
}

impl Answer {
    /// Whether it may be that of an approver, whose key has signed it.
    #[must_use]
    pub fn is_by(&self, name: &str) -> bool {
        self.by.is_empty() || self.by == name
    }

    /// What a passkey signs of an answer's bytes.
    #[must_use]
    pub fn challenge(bytes: &[u8]) -> [u8; 32] {
        hash_of("guard answer v1", bytes)
    }
}
