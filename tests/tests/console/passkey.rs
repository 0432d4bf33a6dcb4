//! A passkey without a browser: what one would sign, and what it would not.

use data_encoding::BASE64URL_NOPAD;
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

pub(crate) struct Passkey {
    key: EcdsaKeyPair,
    id: String,
    /// What its authenticator says: somebody was there, and it was that person.
    flags: u8,
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

impl Passkey {
    pub(crate) fn new(name: &str) -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self {
            key: EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap(),
            id: BASE64URL_NOPAD.encode(name.as_bytes()),
            flags: 0x05,
        }
    }

    /// One that an account copies to other devices, and has.
    pub(crate) fn synced(name: &str) -> Self {
        Self {
            flags: 0x05 | 0x08 | 0x10,
            ..Self::new(name)
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn public(&self) -> String {
        BASE64URL_NOPAD.encode(&[&SPKI, self.key.public_key().as_ref()].concat())
    }

    /// What people compare.
    pub(crate) fn fingerprint(&self) -> String {
        let public = [&SPKI, self.key.public_key().as_ref()].concat();
        format!("SHA256:{}", BASE64URL_NOPAD.encode(&sha256(&public)))
    }

    /// What a browser gives the script for an answer's bytes, on a page of that origin.
    pub(crate) fn sign(&self, answer: &str, origin: &str) -> Value {
        let mut signed = self.signed("guard answer v1", answer, origin);
        signed["answer"] = json!(answer);
        signed
    }

    /// The same for what a login page has made up.
    pub(crate) fn log_in(&self, nonce: &str, origin: &str) -> Value {
        let mut signed = self.signed("guard login v1", nonce, origin);
        signed["nonce"] = json!(nonce);
        signed
    }

    fn signed(&self, domain: &str, text: &str, origin: &str) -> Value {
        let challenge = sha256(format!("{domain}\n{text}").as_bytes());
        let client = json!({
            "type": "webauthn.get", "challenge": BASE64URL_NOPAD.encode(&challenge), "origin": origin, "crossOrigin": false,
        });
        let client = client.to_string();
        let host = origin
            .split_once("://")
            .unwrap()
            .1
            .split(':')
            .next()
            .unwrap();
        let data = [sha256(host.as_bytes()), vec![self.flags, 0, 0, 0, 1]].concat();
        let message = [data.clone(), sha256(client.as_bytes())].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        json!({
            "key": self.id,
            "signature": BASE64URL_NOPAD.encode(signature.as_ref()),
            "authenticator_data": BASE64URL_NOPAD.encode(&data),
            "client_data": BASE64URL_NOPAD.encode(client.as_bytes()),
        })
    }
}
