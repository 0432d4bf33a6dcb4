//! Policies of a fleet: what is signed once, elsewhere, and put in force on many machines.
//!
//! A [`Bundle`] is a document as questions and answers are. So many people sign its bytes by `ssh-keygen -Y sign`; who they may
//! be, the machine's own list says ([`Signers`]). Whatever carries it can withhold it, and cannot change it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::{AnswerRefusal, Document, sha256, ssh};

/// What OpenSSH signatures of policies are made for.
pub const POLICY_NAMESPACE: &str = "policy@guardd.org";
/// Bytes of a bundle at most. As text within JSON it is twice as long at worst, and still fits into one message of NATS.
pub const LONGEST: usize = 60 * 1024;
/// Signatures of a bundle at most.
const MAX_SIGNATURES: usize = 16;
/// Keys that a bundle revokes at most.
pub const MAX_REVOKED: usize = 64;

/// What whoever sets policy signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The policy that lies around each session; none: no policy does.
    pub base: Option<String>,
    /// The groups of machines that it is for.
    pub groups: Vec<String>,
    /// The texts of policies, by name.
    pub policies: BTreeMap<String, String>,
    /// The fingerprints of keys by which nobody may answer any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<String>,
    /// Higher than that of any bundle before.
    pub serial: u64,
    /// 1; 2 with revoked keys, so that no guardd that cannot revoke them puts the rest in force.
    pub v: u64,
}

impl Document for Bundle {
    const NAME: &'static str = "bundle of policies";
    const LONGEST: usize = LONGEST;

    fn numbers(&self) -> (u64, Vec<u64>) {
        (self.v, vec![self.serial])
    }

    fn version(&self) -> u64 {
        if self.revoked.is_empty() { 1 } else { 2 }
    }
}

impl Bundle {
    /// Whether a text can be the name of a policy: ASCII, so that all programs put names in the same order.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(is_fine)
    }

    /// Whether a text can be the name of a group of machines: a part of a subject of NATS.
    #[must_use]
    pub fn is_group(name: &str) -> bool {
        let is_fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        matches!(name.len(), 1..=32) && name.bytes().all(is_fine)
    }

    /// Whether a text can be the fingerprint of a key: `SHA256:` and 32 bytes in base64, of passkeys in base64url.
    #[must_use]
    pub fn is_fingerprint(text: &str) -> bool {
        let is_fine = |c: u8| c.is_ascii_alphanumeric() || b"+/-_".contains(&c);
        text.strip_prefix("SHA256:")
            .is_some_and(|hash| hash.len() == 43 && hash.bytes().all(is_fine))
    }

    /// The SHA-256 of a bundle's bytes, in hexadecimal, by which machines name it.
    #[must_use]
    pub fn hash(text: &str) -> String {
        HEXLOWER.encode(&sha256(text.as_bytes()))
    }

    /// Whether the bundle itself is valid, apart from its signatures.
    ///
    /// # Errors
    ///
    /// What is wrong with the bundle.
    pub fn is_sound(&self) -> Result<(), AnswerRefusal> {
        let is_there = |base: &String| self.policies.contains_key(base);
        let sound = self.policies.keys().all(|name| Self::is_name(name))
            && self.groups.iter().all(|group| Self::is_group(group))
            && !self.groups.is_empty()
            && self.revoked.len() <= MAX_REVOKED
            && self.revoked.iter().all(|key| Self::is_fingerprint(key))
            && self.base.as_ref().is_none_or(is_there);
        sound
            .then_some(())
            .ok_or(AnswerRefusal::Malformed(Self::NAME))
    }
}

/// A bundle with its signatures, as it is carried and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBundle {
    /// The bundle's bytes, as text.
    pub bundle: String,
    /// Signatures, as base64url without padding.
    pub signatures: Vec<String>,
}

/// A bundle that enough people have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsed {
    /// It.
    pub bundle: Bundle,
    /// Who signed it, in the order of the alphabet.
    pub by: Vec<String>,
}

impl SignedBundle {
    /// The key of each signature, all of which are of these bytes.
    ///
    /// # Errors
    ///
    /// Why one is not.
    pub fn keys(&self) -> Result<Vec<ssh::SshPublicKey>, AnswerRefusal> {
        let keys = self.signatures.iter().map(|signature| {
            let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
            let signature = signature.map_err(|_| AnswerRefusal::Malformed("signature of SSH"))?;
            let key = ssh::SshPublicKey::of_signature(&signature)?;
            key.verify(POLICY_NAMESPACE, self.bundle.as_bytes(), &signature)?;
            Ok(key)
        });
        keys.collect()
    }

    /// The bundle, if it is signed by at least `needed` people of the list, each counted once. A signature by somebody who is not
    /// listed counts for nothing; one that is listed and wrong refuses the whole.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn verify(&self, signers: &Signers, needed: usize) -> Result<Endorsed, AnswerRefusal> {
        // The cheap before the dear: whoever brings it may bring it all day.
        let once: BTreeSet<_> = self.signatures.iter().collect();
        if self.signatures.len() > MAX_SIGNATURES || once.len() < self.signatures.len() {
            return Err(AnswerRefusal::Malformed(Bundle::NAME));
        }
        if self.signatures.len() < needed.max(1) {
            return Err(AnswerRefusal::Unsigned {
                by: self.signatures.len(),
                needed: needed.max(1),
                others: Vec::new(),
            });
        }
        let bytes = self.bundle.as_bytes();
        let bundle = Bundle::from_bytes(bytes)?;
        bundle.is_sound()?;
        let (mut by, mut others) = (BTreeSet::new(), Vec::new());
        for signature in &self.signatures {
            let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
            let signature = signature.map_err(|_| AnswerRefusal::Malformed("signature of SSH"))?;
            let key = ssh::SshPublicKey::of_signature(&signature)?;
            let Some(name) = signers.name_of(&key) else {
                others.push(key.fingerprint());
                continue;
            };
            key.verify(POLICY_NAMESPACE, bytes, &signature)?;
            by.insert(name.to_owned());
        }
        // Nobody's word is never enough.
        if by.len() >= needed.max(1) {
            Ok(Endorsed {
                bundle,
                by: by.into_iter().collect(),
            })
        } else {
            Err(AnswerRefusal::Unsigned {
                by: by.len(),
                needed: needed.max(1),
                others,
            })
        }
    }
}

/// Who may sign: lines of a name and a public key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers(Vec<(String, ssh::SshPublicKey)>);

impl Signers {
    /// Those of such a text.
    ///
    /// # Errors
    ///
    /// Which line is none, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let signers = lines.map(|(at, line)| {
            let wrong = |why: String| format!("line {}: {why}", at + 1);
            let (name, key) = line
                .trim()
                .split_once(|c: char| c.is_ascii_whitespace())
                .ok_or_else(|| wrong("it has no name and key".to_owned()))?;
            let key =
                ssh::SshPublicKey::parse(key).map_err(|refusal| wrong(refusal.to_string()))?;
            Ok((name.to_owned(), key))
        });
        signers.collect::<Result<_, _>>().map(Self)
    }

    /// Whether it names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many people it names.
    #[must_use]
    pub fn people(&self) -> usize {
        let names: BTreeSet<_> = self.0.iter().map(|(name, _)| name).collect();
        names.len()
    }

    fn name_of(&self, key: &ssh::SshPublicKey) -> Option<&str> {
        let found = self.0.iter().find(|(_, known)| known == key);
        found.map(|(name, _)| name.as_str())
    }
}
