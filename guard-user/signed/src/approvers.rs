//! `approvers.toml`: who may answer from elsewhere, for whom, and with which keys. guardd alone writes it.

use std::{fmt::Write as _, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use guard_policy::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer};

use crate::{
    sha256,
    signature::{AnswerRefusal, Kind, decoded},
    ssh, webauthn,
};

/// Approvers at most, and keys of one.
pub const MAX_APPROVERS: usize = 256;
/// Keys of one approver at most.
pub const MAX_KEYS: usize = 16;
/// Characters of a name, and names or patterns in a list, at most.
const LONGEST_NAME: usize = 64;
const MAX_NAMES: usize = 64;
/// How the line of a passkey begins.
pub const PASSKEY: &str = "passkey ";

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproverList {
    /// In the order in which they were added.
    #[serde(default, rename = "approver")]
    pub all: Vec<SigningApprover>,
}

/// A person who may answer from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningApprover {
    /// The name that answers are signed with.
    pub name: String,
    /// Whose sessions: users.
    pub answers_for: Vec<String>,
    /// Under which policies; `*` stands for any text.
    pub policies: Vec<String>,
    /// How long a hole of theirs lasts at most; none: as the settings say.
    #[serde(default, deserialize_with = "duration")]
    pub max_for: Option<Duration>,
    /// The keys.
    #[serde(default, rename = "key")]
    pub keys: Vec<Key>,
}

/// An enrolled key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StoredKey")]
pub struct Key {
    /// A passkey's credential id, or an SSH key's fingerprint.
    pub id: String,
    /// The line of an SSH key, or a passkey's `SubjectPublicKeyInfo` in base64url.
    pub public: String,
    /// What people compare: `SHA256:…`.
    pub fingerprint: String,
    kind: Kind,
    is_fido: bool,
    synced: Option<bool>,
}

/// A key as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    kind: Kind,
    #[serde(default)]
    id: Option<String>,
    public: String,
    #[serde(default)]
    synced: Option<bool>,
}

impl TryFrom<StoredKey> for Key {
    type Error = AnswerRefusal;

    fn try_from(stored: StoredKey) -> Result<Self, AnswerRefusal> {
        let key = match (stored.kind, stored.id, stored.synced) {
            (Kind::Ssh, None, None) => Self::ssh(&stored.public)?,
            (Kind::Passkey, Some(id), _) => Self::passkey(&id, &stored.public)?,
            _ => return Err(AnswerRefusal::Malformed("enrolled key")),
        };
        Ok(Self {
            synced: stored.synced,
            ..key
        })
    }
}

impl Key {
    /// An SSH key, by its line.
    ///
    /// # Errors
    ///
    /// Where it is none that is understood.
    pub fn ssh(line: &str) -> Result<Self, AnswerRefusal> {
        let public = ssh::SshPublicKey::parse(line)?;
        Ok(Self {
            id: public.fingerprint(),
            fingerprint: public.fingerprint(),
            is_fido: public.is_fido(),
            public: public.line(),
            kind: Kind::Ssh,
            synced: None,
        })
    }

    /// A passkey, by its credential id and its `SubjectPublicKeyInfo`, both in base64url.
    ///
    /// # Errors
    ///
    /// Where it is none that is understood.
    pub fn passkey(id: &str, public: &str) -> Result<Self, AnswerRefusal> {
        let part = |text| {
            let bytes = decoded(Some(text));
            bytes.map_err(|_| {
                AnswerRefusal::Malformed("passkey: its id and its key are in base64url")
            })
        };
        let (credential, spki) = (part(id)?, part(public)?);
        if credential.is_empty() || credential.len() > 1023 {
            return Err(AnswerRefusal::Malformed("credential id"));
        }
        webauthn::PasskeyPublicKey::parse(&spki)?;
        Ok(Self {
            id: id.to_owned(),
            public: public.to_owned(),
            fingerprint: format!("SHA256:{}", BASE64URL_NOPAD.encode(&sha256(&spki))),
            kind: Kind::Passkey,
            is_fido: true,
            synced: None,
        })
    }

    /// A key by its line: that of an SSH key, or `passkey ID:PUBLIC_KEY`.
    ///
    /// # Errors
    ///
    /// Where it is none that is understood.
    pub fn of_line(line: &str) -> Result<Self, AnswerRefusal> {
        let passkey = line.strip_prefix(PASSKEY);
        match passkey.map(|made| made.trim().split_once(':')) {
            Some(Some((id, public))) => Self::passkey(id, public),
            Some(None) => Err(AnswerRefusal::Malformed("passkey: expected ID:PUBLIC_KEY")),
            None => Self::ssh(line),
        }
    }

    /// What kind of key it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether no program can sign with it alone: somebody has to touch a device.
    #[must_use]
    pub fn is_fido(&self) -> bool {
        self.is_fido
    }

    /// Whether a passkey may be on other devices, too, as its authenticator has said with an answer; none: it has not yet, or the key is
    /// of SSH. What a page gives when the key is made says so as well, but nobody has signed that.
    #[must_use]
    pub fn is_synced(&self) -> Option<bool> {
        self.synced
    }

    /// Whether it would be news that its authenticator says so. Once it has said yes, that stays: a copy may be anywhere by now.
    fn learns(&self, is_synced: bool) -> bool {
        let is_known = self.synced == Some(true) || self.synced == Some(is_synced);
        self.kind == Kind::Passkey && !is_known
    }

    /// Whether somebody means it by its id or fingerprint.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.id == name || self.fingerprint == name
    }
}

/// Why approvers cannot be as somebody wants them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoApprover {
    /// A name that is none.
    #[error("{0:?} is no name: letters, digits and . _ - @ are, 64 at most")]
    Name(String),
    /// A list with nothing in it, or too much.
    #[error("{0} has to have 1 to {MAX_NAMES} entries")]
    List(&'static str),
    /// Too many.
    #[error("there are {MAX_APPROVERS} approvers with {MAX_KEYS} keys each at most")]
    Full,
    /// Two persons with one key would be one.
    #[error("the key {0} is enrolled for {1} already")]
    Twice(String, String),
    /// The file does not say what approvers are.
    #[error("{0}")]
    File(String),
}

impl ApproverList {
    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// Where it says something else.
    pub fn parse(text: &str) -> Result<Self, NoApprover> {
        let read: Self =
            toml::from_str(text).map_err(|error| NoApprover::File(error.to_string()))?;
        let mut checked = Self::default();
        for one in &read.all {
            for key in &one.keys {
                checked.add(one, key)?;
            }
        }
        Ok(read)
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = "# Written by guardd: see guard approver --help\n".to_owned();
        for one in &self.all {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[approver]]\nname = {}\nanswers_for = {}\npolicies = {}\n",
                quoted(&one.name),
                list(&one.answers_for),
                list(&one.policies),
            );
            if let Some(longest) = one.max_for {
                let _ = writeln!(text, "max_for = {}", quoted(&format_duration(longest)));
            }
            for key in &one.keys {
                let _ = write!(text, "[[approver.key]]\nkind = ");
                let _ = match key.kind {
                    Kind::Ssh => writeln!(text, "\"ssh\""),
                    Kind::Passkey => writeln!(text, "\"passkey\"\nid = {}", quoted(&key.id)),
                };
                let _ = writeln!(text, "public = {}", quoted(&key.public));
                if let Some(is_synced) = key.synced {
                    let _ = writeln!(text, "synced = {is_synced}");
                }
            }
        }
        text
    }

    /// Adds a key of a person, or a person with a first key. What is said of somebody who is there already replaces what was.
    ///
    /// # Errors
    ///
    /// Where that cannot be.
    pub fn add(&mut self, about: &SigningApprover, key: &Key) -> Result<(), NoApprover> {
        about.check()?;
        // A passkey's id is what its presenter says.
        let is_same = |own: &Key| own.id == key.id || own.public == key.public;
        if let Some(other) = self.all.iter().find(|one| one.keys.iter().any(is_same)) {
            return Err(NoApprover::Twice(key.id.clone(), other.name.clone()));
        }
        let people = self.all.len();
        let known = self.all.iter_mut().find(|one| one.name == about.name);
        let keys = known.as_ref().map_or(0, |one| one.keys.len());
        if keys >= MAX_KEYS || (known.is_none() && people >= MAX_APPROVERS) {
            return Err(NoApprover::Full);
        }
        match known {
            Some(known) => {
                let mut keys = std::mem::take(&mut known.keys);
                keys.push(key.clone());
                *known = SigningApprover {
                    keys,
                    ..about.clone()
                };
            }
            None => self.all.push(SigningApprover {
                keys: vec![key.clone()],
                ..about.clone()
            }),
        }
        Ok(())
    }

    /// Removes a person with all keys, or one key; whoever has none left goes with it. Returns what is gone.
    pub fn remove(&mut self, called: &str) -> Vec<(String, Key)> {
        let mut gone = Vec::new();
        for one in &mut self.all {
            let is_meant = one.name == called;
            let keys = one
                .keys
                .extract_if(.., |key| is_meant || key.is_called(called));
            gone.extend(keys.map(|key| (one.name.clone(), key)));
        }
        self.all.retain(|one| !one.keys.is_empty());
        gone
    }

    /// All of them, where a passkey's authenticator has said with an answer whether that may be on other devices, too; none: that is
    /// known already.
    #[must_use]
    pub fn learned(&self, id: &str, is_synced: bool) -> Option<Self> {
        let (_, key) = self.owner_of(id)?;
        key.learns(is_synced).then(|| {
            let mut now = self.clone();
            let mut keys = now.all.iter_mut().flat_map(|one| &mut one.keys);
            if let Some(key) = keys.find(|key| key.id == id) {
                key.synced = Some(is_synced);
            }
            now
        })
    }

    /// The person who has that key, and the key.
    #[must_use]
    pub fn owner_of(&self, id: &str) -> Option<(&SigningApprover, &Key)> {
        let mut keys = self.all.iter().flat_map(|one| {
            let keys = one.keys.iter();
            keys.map(move |key| (one, key))
        });
        keys.find(|(_, key)| key.id == id)
    }
}

impl SigningApprover {
    /// Whether what is said of them can be said of anybody.
    ///
    /// # Errors
    ///
    /// Which name or list cannot be.
    pub fn check(&self) -> Result<(), NoApprover> {
        name(&self.name, false)?;
        for (what, all) in [
            ("answers_for", &self.answers_for),
            ("policies", &self.policies),
        ] {
            if all.is_empty() || all.len() > MAX_NAMES {
                return Err(NoApprover::List(what));
            }
            all.iter()
                .try_for_each(|one| name(one, what == "policies"))?;
        }
        Ok(())
    }
}

/// Checks a name; a pattern may have stars in it.
fn name(text: &str, is_pattern: bool) -> Result<(), NoApprover> {
    let is_fine = |c: char| {
        c.is_ascii_alphanumeric() || ".-_@".contains(c) || (is_pattern && "* ".contains(c))
    };
    if (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(is_fine) {
        Ok(())
    } else {
        Err(NoApprover::Name(text.to_owned()))
    }
}

/// A string of TOML: what is in it is ASCII, and JSON's strings are the same there.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(all: &[String]) -> String {
    let quoted: Vec<_> = all.iter().map(|one| quoted(one)).collect();
    format!("[{}]", quoted.join(", "))
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let read = parse_duration(&text);
    read.map(Some).map_err(serde::de::Error::custom)
}
