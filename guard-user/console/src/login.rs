//! Logging in with a passkey that is enrolled: a browser signs what the console has just made up. What is signed so begins with
//! other words than an answer, so that neither is ever the other.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use data_encoding::BASE64URL_NOPAD;
use guard_proto::approvers::Approvers;
use guard_signed::webauthn::{Assertion, PasskeyPublicKey};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::{
    files::{Identity, secret},
    settings::Origin,
};

/// How long a challenge counts, and how many are open at once.
const LIFE: Duration = Duration::from_secs(120);
const MOST: usize = 64;

/// What was made up lately.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    open: RefCell<Vec<(String, Instant)>>,
}

/// What a browser signed. Bytes are base64url.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginSigned {
    nonce: String,
    key: String,
    signature: String,
    authenticator_data: String,
    client_data: String,
}

impl LoginSigned {
    /// The id of the key, as the browser says.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

impl Challenges {
    /// Something to sign, once; none: there are no random numbers.
    pub(crate) fn begin(&self) -> Option<String> {
        let mut open = self.open.borrow_mut();
        open.retain(|(_, since)| since.elapsed() < LIFE);
        if open.len() >= MOST {
            open.remove(0);
        }
        let nonce = secret().ok()?;
        open.push((nonce.clone(), Instant::now()));
        Some(nonce)
    }

    /// Whose passkey has signed it; none: nobody's that is enrolled.
    pub(crate) fn person(
        &self,
        signed: &LoginSigned,
        known: &Approvers,
        origin: &Origin,
    ) -> Option<Identity> {
        let mut open = self.open.borrow_mut();
        let is_open =
            |(nonce, since): &(String, Instant)| *nonce == signed.nonce && since.elapsed() < LIFE;
        let at = open.iter().position(is_open)?;
        // It counts once, whatever was signed.
        open.remove(at);
        let keys = known
            .approvers
            .iter()
            .flat_map(|one| one.keys.iter().map(move |key| (one, key)));
        let mut keys = keys.filter(|(_, key)| key.kind == "passkey" && key.id == signed.key);
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let assertion = Assertion {
            authenticator_data: &bytes(&signed.authenticator_data)?,
            client_data: &bytes(&signed.client_data)?,
            signature: &bytes(&signed.signature)?,
        };
        let origins = [origin.as_str().to_owned()];
        let challenge = challenge(&signed.nonce);
        // Of many machines one may say that the id is another key's.
        keys.find_map(|(person, key)| {
            let public = PasskeyPublicKey::parse(&bytes(&key.public_key)?).ok()?;
            public.verify(&challenge, &origins, assertion).ok()?;
            Some(Identity::of(person, [key]))
        })
    }
}

/// What is signed.
fn challenge(nonce: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, format!("guard login v1\n{nonce}").as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::tests::person;
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
    };

    const SPKI: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];

    fn key() -> EcdsaKeyPair {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap()
    }

    fn known(key: &EcdsaKeyPair) -> Approvers {
        let public = [&SPKI, key.public_key().as_ref()].concat();
        let mut alice = person("alice", &[], "SHA256:k");
        alice.keys[0].public_key = BASE64URL_NOPAD.encode(&public);
        Approvers {
            approvers: vec![alice],
            ..Approvers::default()
        }
    }

    fn signed(key: &EcdsaKeyPair, nonce: &str, challenge: &[u8], origin: &str) -> LoginSigned {
        let client = format!(
            r#"{{"type":"webauthn.get","challenge":"{}","origin":"{origin}"}}"#,
            BASE64URL_NOPAD.encode(challenge)
        );
        let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
        let data = [hash(b"localhost"), vec![5, 0, 0, 0, 1]].concat();
        let message = [data.clone(), hash(client.as_bytes())].concat();
        let signature = key.sign(&SystemRandom::new(), &message).unwrap();
        LoginSigned {
            nonce: nonce.to_owned(),
            key: "k".to_owned(),
            signature: BASE64URL_NOPAD.encode(signature.as_ref()),
            authenticator_data: BASE64URL_NOPAD.encode(&data),
            client_data: BASE64URL_NOPAD.encode(client.as_bytes()),
        }
    }

    #[test]
    fn an_enrolled_passkey_logs_in_once_for_what_was_made_up() {
        let (mine, other) = (key(), key());
        let (known, here) = (known(&mine), "http://localhost:4827");
        let origin: Origin = here.parse().unwrap();
        let challenges = Challenges::default();
        let by = |signed: &LoginSigned| challenges.person(signed, &known, &origin);
        let fresh = || challenges.begin().unwrap();

        let nonce = fresh();
        let good = signed(&mine, &nonce, &challenge(&nonce), here);
        let alice = Identity {
            name: "alice".to_owned(),
            keys: vec!["SHA256:k".to_owned()],
        };
        assert_eq!(by(&good), Some(alice));
        assert_eq!(by(&good), None, "it counts once");

        let nonce = fresh();
        assert_eq!(by(&signed(&other, &nonce, &challenge(&nonce), here)), None);
        let nonce = fresh();
        assert_eq!(
            by(&signed(
                &mine,
                &nonce,
                &challenge(&nonce),
                "http://localhost:1"
            )),
            None
        );
        let nonce = fresh();
        let answer = guard_signed::Answer::challenge(nonce.as_bytes());
        assert_eq!(
            by(&signed(&mine, &nonce, &answer, here)),
            None,
            "an answer is no login"
        );
        assert_eq!(
            by(&signed(
                &mine,
                "made up elsewhere",
                &challenge("made up elsewhere"),
                here
            )),
            None
        );
    }

    #[test]
    fn there_are_only_so_many() {
        let challenges = Challenges::default();
        for _ in 0..MOST * 2 {
            challenges.begin().unwrap();
        }
        assert_eq!(challenges.open.borrow().len(), MOST);
    }
}
