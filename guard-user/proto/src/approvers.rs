//! Who answers from elsewhere: their keys, how they are enrolled, and what comes of a signed answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{holes::Hole, moment};

/// A person who is to answer from elsewhere. What is absent stays as it is; of somebody new it is the usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The name to sign with.
    pub name: String,
    /// Whose sessions: users; of somebody new the one of that name.
    pub answers_for: Option<Vec<String>>,
    /// Under which policies, with `*` for any text; of somebody new all.
    pub policies: Option<Vec<String>>,
    /// How long a hole lasts at most, in seconds; of somebody new as the settings say.
    pub max_for: Option<f64>,
}

/// A key that somebody presents: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresentedKey {
    /// The line of an SSH key.
    pub ssh: Option<String>,
    /// A passkey.
    pub passkey: Option<Passkey>,
}

/// A passkey, as `navigator.credentials.create()` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// The credential's id, in base64url.
    pub id: String,
    /// `getPublicKey()`: a `SubjectPublicKeyInfo`, in base64url.
    pub public_key: String,
}

/// Answer to [`Call::Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The request's id.
    pub request: String,
    /// The question's bytes, as text: JSON by RFC 8785.
    pub question: String,
    /// SHA-256 of `guard question v1`, a newline and the bytes, in base64url.
    pub hash: String,
}

/// Answer to [`Call::AnswerSigned`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The request's id.
    pub request: String,
    /// `yes`, `no`, or `part`: others must say yes, too.
    pub answer: String,
    /// Who signed it.
    pub by: String,
    /// How many have said yes.
    pub approvals: u32,
    /// How many have to.
    pub wanted: u32,
    /// What was opened.
    pub holes: Vec<Hole>,
    /// What the person should know, such as a hole that is for reads alone.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer to calls about approvers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Approvers {
    /// In the order in which they were added.
    pub approvers: Vec<ApproverShown>,
    /// What the person should know, such as that a program could sign.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Of [`Call::Approvers`]: the origins of pages whose passkeys are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// The same: fingerprints of the keys that the fleet's policies revoke.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<String>,
}

/// Somebody who may answer from elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApproverShown {
    /// The name to sign with.
    pub name: String,
    /// Users whose sessions.
    pub answers_for: Vec<String>,
    /// Policies; `*` stands for any text.
    pub policies: Vec<String>,
    /// Seconds that a hole lasts at most; null: as the settings say.
    pub max_for: Option<f64>,
    /// The keys.
    pub keys: Vec<KeyShown>,
}

/// An enrolled key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShown {
    /// A credential's id, or an SSH key's fingerprint.
    pub id: String,
    /// `ssh` or `passkey`.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Whether somebody has to touch a device for each signature.
    pub fido: bool,
    /// The line of an SSH key, or a passkey's `SubjectPublicKeyInfo` in base64url.
    pub public_key: String,
    /// Whether its owner's account copies a passkey to other devices, as its authenticator has signed; null until its first answer, and of
    /// SSH keys.
    pub synced: Option<bool>,
}

/// Answer to [`Call::Invite`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Whom.
    pub name: String,
    /// Presents one key, once.
    pub invitation: String,
    /// Until when.
    #[serde(serialize_with = "moment::write")]
    pub expires_at: Timestamp,
    /// Pages on which a passkey can be made for it: one for each origin of the settings.
    #[serde(default)]
    pub links: Vec<String>,
    /// What the person should know, such as a shortened time.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer to [`Call::Invitation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Who was invited.
    pub name: String,
}

/// Answer to [`Call::Present`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// Who was invited.
    pub name: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}
