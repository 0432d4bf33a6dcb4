//! A signed answer, as it is handed in and as the audit log keeps it.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    Answer, Document, NAMESPACE,
    approvers::Key,
    ssh,
    webauthn::{self, Assertion},
};

/// Why something is no signed answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefusal {
    /// It cannot be read.
    #[error("it is no {0}")]
    Malformed(&'static str),
    /// It is ambiguous.
    #[error("its {0} is not in the canonical form of RFC 8785")]
    NotCanonical(&'static str),
    /// A kind of key that is not understood.
    #[error(
        "keys of the kind {0} are not understood: Ed25519 and P-256 are, and both in FIDO devices"
    )]
    Algorithm(String),
    /// By another key than it says.
    #[error("it is signed by another key than it says")]
    OtherKey,
    /// A signature for something else.
    #[error("it was signed for another purpose")]
    Purpose,
    /// The signature is not of these bytes, or not by that key.
    #[error("the signature is not of these bytes")]
    Forged,
    /// Too few people of the list have signed it.
    #[error("{by} of the people who may sign it have, and {needed} have to{}", strangers(.others))]
    Unsigned {
        /// How many have.
        by: usize,
        /// How many have to.
        needed: usize,
        /// Fingerprints of the keys that have, and are in no list.
        others: Vec<String>,
    },
    /// Nobody touched the key.
    #[error("nobody touched the key")]
    Untouched,
    /// The authenticator did not ask for a finger or a PIN.
    #[error("the passkey's owner did not prove to be that: no finger, no PIN")]
    Unverified,
    /// It was made on another page.
    #[error("it was made on a page that the settings do not name in `origins`")]
    Origin,
    /// The page was in a frame of another.
    #[error("it was made on a page inside of another")]
    Framed,
}

fn strangers(keys: &[String]) -> String {
    match keys {
        [] => String::new(),
        keys => format!("; not listed: {}", keys.join(", ")),
    }
}

/// The kind of a key, and so of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A key of OpenSSH.
    Ssh,
    /// A passkey.
    Passkey,
}

/// A signed answer. Bytes are base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The answer's bytes, as text.
    pub answer: String,
    /// The key's id.
    pub key: String,
    /// The key's kind.
    pub kind: Kind,
    /// The signature.
    pub signature: String,
    /// What a passkey's authenticator says; none for SSH.
    #[serde(default)]
    pub authenticator_data: Option<String>,
    /// What a passkey's browser says; none for SSH.
    #[serde(default)]
    pub client_data: Option<String>,
}

impl Signed {
    /// The origin of the page that a passkey was asked on, as its browser says.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        let client_data = decoded(self.client_data.as_deref()).ok()?;
        webauthn::origin(&client_data)
    }

    /// Whether a passkey has signed it that may be on other devices, too, by its owner's account: its authenticator's word, which the
    /// signature covers.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        is_synced(self.authenticator_data.as_deref())
    }

    /// The answer, if it was signed by that key; on a page of one of these origins, if it is a passkey.
    ///
    /// # Errors
    ///
    /// Why it was not.
    pub fn verify(&self, key: &Key, origins: &[String]) -> Result<Answer, AnswerRefusal> {
        if self.key != key.id || self.kind != key.kind() {
            return Err(AnswerRefusal::OtherKey);
        }
        let bytes = self.answer.as_bytes();
        let answer = Answer::from_bytes(bytes)?;
        let signature = decoded(Some(&self.signature))?;
        match key.kind() {
            Kind::Ssh => {
                let public = ssh::SshPublicKey::parse(&key.public)?;
                if self.authenticator_data.is_some() || self.client_data.is_some() {
                    return Err(AnswerRefusal::Malformed("signature of SSH"));
                }
                public.verify(NAMESPACE, bytes, &signature)?;
            }
            Kind::Passkey => {
                let spki = decoded(Some(&key.public))?;
                let assertion = Assertion {
                    authenticator_data: &decoded(self.authenticator_data.as_deref())?,
                    client_data: &decoded(self.client_data.as_deref())?,
                    signature: &signature,
                };
                let challenge = Answer::challenge(bytes);
                webauthn::PasskeyPublicKey::parse(&spki)?.verify(&challenge, origins, assertion)?;
            }
        }
        Ok(answer)
    }
}

/// The same by what its authenticator says, as [`Signed`] has it.
#[must_use]
pub fn is_synced(authenticator_data: Option<&str>) -> bool {
    decoded(authenticator_data).is_ok_and(|data| webauthn::is_synced(&data))
}

pub(crate) fn decoded(text: Option<&str>) -> Result<Vec<u8>, AnswerRefusal> {
    let text = text.ok_or(AnswerRefusal::Malformed("signed answer"))?;
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
    bytes.map_err(|_| AnswerRefusal::Malformed("signed answer"))
}
