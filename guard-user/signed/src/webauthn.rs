//! Assertions of passkeys, as a browser gives them to a page: <https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion>.
//!
//! Of the authenticator's data only what has a fixed place is read. The key comes as `getPublicKey()` gives it, so that nothing
//! here reads CBOR.

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use serde::Deserialize;

use crate::{sha256, signature::AnswerRefusal};

/// How the `SubjectPublicKeyInfo` of a key on P-256 begins; its point follows (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same of Ed25519 (RFC 8410).
const ED: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// The authenticator's data: a hash, flags, a counter.
const HASH: usize = 32;
const DATA: usize = 37;
/// Its flags: somebody was there; it was that person; the key may be on other devices; new key data follows; extensions follow.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const COPIED: u8 = 0x08;
const ATTESTED: u8 = 0x40;
const EXTENDED: u8 = 0x80;
/// Bytes of each part at most.
const LONGEST: usize = 4096;

/// A passkey's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasskeyPublicKey {
    /// A point of P-256 (`ES256`).
    P256(Vec<u8>),
    /// Of Ed25519 (`EdDSA`).
    Ed25519(Vec<u8>),
}

/// What a browser gives for a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// What the authenticator says.
    pub authenticator_data: &'a [u8],
    /// What the browser says, as JSON.
    pub client_data: &'a [u8],
    /// The key's signature over both.
    pub signature: &'a [u8],
}

/// What the browser says. It may say more, which the signature covers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: Option<bool>,
    #[serde(default)]
    top_origin: Option<String>,
}

impl PasskeyPublicKey {
    /// The key of a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    ///
    /// Where it is of another kind.
    pub fn parse(spki: &[u8]) -> Result<Self, AnswerRefusal> {
        let point = spki.strip_prefix(&P256);
        if let Some(point) = point.filter(|point| point.len() == 65 && point[0] == 4) {
            return Ok(Self::P256(point.to_vec()));
        }
        let key = spki.strip_prefix(&ED).filter(|key| key.len() == 32);
        key.map(|key| Self::Ed25519(key.to_vec()))
            .ok_or_else(|| AnswerRefusal::Algorithm("this passkey's".to_owned()))
    }

    /// Whether the assertion is by this key, for that challenge, made on a page of one of these origins by somebody whom the
    /// authenticator knew.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn verify(
        &self,
        challenge: &[u8; 32],
        origins: &[String],
        assertion: Assertion<'_>,
    ) -> Result<(), AnswerRefusal> {
        let Assertion {
            authenticator_data,
            client_data,
            signature,
        } = assertion;
        let parts = [authenticator_data, client_data, signature];
        if parts.iter().any(|part| part.len() > LONGEST) {
            return Err(AnswerRefusal::Malformed("assertion of a passkey"));
        }
        let origin = on_a_page(client_data, challenge, origins)?;
        by_a_person(authenticator_data, &origin)?;
        let signed = [authenticator_data, &sha256(client_data)].concat();
        let checked = match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(&signed, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(&signed, signature),
        };
        checked.map_err(|_| AnswerRefusal::Forged)
    }
}

/// The origin that a browser says.
pub(crate) fn origin(client_data: &[u8]) -> Option<String> {
    Some(said(client_data)?.origin)
}

/// A browser says an object: a list of the same values would be read as one, too.
fn said(client_data: &[u8]) -> Option<ClientData> {
    let is_object = client_data.starts_with(b"{");
    is_object.then(|| serde_json::from_slice(client_data).ok())?
}

/// The origin of the page that asked for the challenge.
fn on_a_page(
    client_data: &[u8],
    challenge: &[u8; 32],
    origins: &[String],
) -> Result<String, AnswerRefusal> {
    let said = said(client_data).ok_or(AnswerRefusal::Malformed("assertion of a passkey"))?;
    if said.r#type != "webauthn.get" {
        return Err(AnswerRefusal::Purpose);
    }
    if said.challenge != BASE64URL_NOPAD.encode(challenge) {
        return Err(AnswerRefusal::Forged);
    }
    if said.cross_origin == Some(true) || said.top_origin.is_some() {
        return Err(AnswerRefusal::Framed);
    }
    if origins.contains(&said.origin) {
        Ok(said.origin)
    } else {
        Err(AnswerRefusal::Origin)
    }
}

/// That the authenticator signed for that origin's host, and that a person was there whom it knew.
fn by_a_person(data: &[u8], origin: &str) -> Result<(), AnswerRefusal> {
    let (Some(for_host), Some(flags)) = (data.get(..HASH), data.get(HASH).copied()) else {
        return Err(AnswerRefusal::Malformed("assertion of a passkey"));
    };
    let is_long = data.len() > DATA;
    if data.len() < DATA || flags & ATTESTED != 0 || is_long != (flags & EXTENDED != 0) {
        return Err(AnswerRefusal::Malformed("assertion of a passkey"));
    }
    if for_host != sha256(host_of(origin).as_bytes()) {
        return Err(AnswerRefusal::Origin);
    }
    match (flags & PRESENT != 0, flags & VERIFIED != 0) {
        (true, true) => Ok(()),
        (false, _) => Err(AnswerRefusal::Untouched),
        (true, false) => Err(AnswerRefusal::Unverified),
    }
}

/// Whether the authenticator says that the key may be on other devices, too: an account keeps it, and whoever gets into that
/// account has it (`BE`). It says the same each time, for as long as there is that key.
pub(crate) fn is_synced(authenticator_data: &[u8]) -> bool {
    let flags = authenticator_data.get(HASH);
    flags.is_some_and(|flags| flags & COPIED != 0)
}

/// The host of an origin, which passkeys are made for.
#[must_use]
pub fn host_of(origin: &str) -> &str {
    let rest = origin
        .split_once("://")
        .map_or(origin, |(_, authority)| authority);
    rest.split(':').next().unwrap_or(rest)
}
