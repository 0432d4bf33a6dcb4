//! Logging in with a passkey that is enrolled: a browser signs what the console has just made up. What is signed so begins with
//! other words than an answer, so that neither is ever the other.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use data_encoding::BASE64URL_NOPAD;
use guard_proto::approvers::Approvers;
use guard_signed::webauthn::{Assertion, PasskeyPublicKey};
use ring::{
    digest::{SHA256, digest},
    hmac::{HMAC_SHA256, Key, sign, verify},
    rand::SystemRandom,
};
use serde::Deserialize;

use crate::{files::Identity, settings::WebOrigin};

/// How long a challenge counts.
const LIFE: Duration = Duration::from_secs(120);

/// What is made up says itself when that was, under a key that this process alone has: whoever may load the page may load it as
/// often as it likes, and takes nothing from others by that.
#[derive(Debug)]
pub(crate) struct Challenges {
    key: Key,
    begun: Instant,
    /// How many were made up: each is another.
    count: Cell<u64>,
    /// What somebody was logged in by, until it is too old anyway.
    used: RefCell<Vec<(String, Instant)>>,
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
    /// None: there are no random numbers.
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            key: Key::generate(HMAC_SHA256, &SystemRandom::new()).ok()?,
            begun: Instant::now(),
            count: Cell::default(),
            used: RefCell::default(),
        })
    }

    /// Something to sign, once.
    pub(crate) fn begin(&self) -> String {
        let count = self.count.get();
        self.count.set(count + 1);
        self.sealed(self.begun.elapsed(), count)
    }

    fn sealed(&self, at: Duration, count: u64) -> String {
        let what = format!("{}-{count}", at.as_millis());
        let seal = sign(&self.key, what.as_bytes());
        format!("{what}-{}", BASE64URL_NOPAD.encode(seal.as_ref()))
    }

    /// Whether it was made up here, and lately, and nobody was logged in by it.
    fn is_open(&self, nonce: &str) -> bool {
        let known = || {
            let mut parts = nonce.splitn(3, '-');
            let (at, count, seal) = (parts.next()?, parts.next()?, parts.next()?);
            let seal = BASE64URL_NOPAD.decode(seal.as_bytes()).ok()?;
            verify(&self.key, format!("{at}-{count}").as_bytes(), &seal).ok()?;
            Some(Duration::from_millis(at.parse().ok()?))
        };
        let is_recent = |at: Duration| self.begun.elapsed().saturating_sub(at) < LIFE;
        known().is_some_and(is_recent) && !self.used.borrow().iter().any(|(one, _)| one == nonce)
    }

    /// Whose passkey has signed it; none: nobody's that is enrolled.
    pub(crate) fn person(
        &self,
        signed: &LoginSigned,
        known: &Approvers,
        origin: &WebOrigin,
    ) -> Option<Identity> {
        if !self.is_open(&signed.nonce) {
            return None;
        }
        let identity = signer(signed, known, origin)?;
        let mut used = self.used.borrow_mut();
        used.retain(|(_, since)| since.elapsed() < LIFE);
        used.push((signed.nonce.clone(), Instant::now()));
        Some(identity)
    }
}

/// Whose passkey has signed that.
fn signer(signed: &LoginSigned, known: &Approvers, origin: &WebOrigin) -> Option<Identity> {
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
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

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
        let origin: WebOrigin = here.parse().unwrap();
        let challenges = Challenges::new().unwrap();
        let by = |signed: &LoginSigned| challenges.person(signed, &known, &origin);
        let fresh = || challenges.begin();

        let nonce = fresh();
        let good = signed(&mine, &nonce, &challenge(&nonce), here);
        let alice = Identity {
            name: "alice".to_owned(),
            keys: vec!["SHA256:k".to_owned()],
            by_key: false,
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
    fn what_others_make_up_takes_nothing_from_anybody() {
        let challenges = Challenges::new().unwrap();
        let (mine, origin) = (key(), "http://localhost:4827");
        let nonce = challenges.begin();
        let mut others: Vec<_> = (0..1000).map(|_| challenges.begin()).collect();
        others.push(nonce.clone());
        others.sort();
        others.dedup();
        assert_eq!(others.len(), 1001, "each is another");
        let wrong = signed(&key(), &nonce, &challenge(&nonce), origin);
        let good = signed(&mine, &nonce, &challenge(&nonce), origin);
        let (known, here) = (known(&mine), origin.parse().unwrap());
        for _ in 0..1000 {
            assert_eq!(challenges.person(&wrong, &known, &here), None);
        }
        assert!(challenges.person(&good, &known, &here).is_some());
        assert_eq!(challenges.used.borrow().len(), 1, "only that is kept");
    }

    #[test]
    fn only_what_was_made_up_here_and_lately_is_open() {
        let challenges = Challenges::new().unwrap();
        let nonce = challenges.begin();
        assert!(challenges.is_open(&nonce));
        assert!(!Challenges::new().unwrap().is_open(&nonce), "another key's");
        for index in 0..nonce.len() {
            let mut other = nonce.clone().into_bytes();
            other[index] ^= 1;
            let other = String::from_utf8(other).unwrap();
            assert!(!challenges.is_open(&other), "{other}");
        }
        for other in ["", "-", "--", "1-1-", "0-0-AAAA", &nonce[..nonce.len() - 1]] {
            assert!(!challenges.is_open(other), "{other}");
        }
        let mut later = Challenges::new().unwrap();
        let old = later.sealed(Duration::ZERO, 0);
        assert!(later.is_open(&old));
        later.begun = later.begun.checked_sub(LIFE).unwrap();
        assert!(!later.is_open(&old));
    }
}
