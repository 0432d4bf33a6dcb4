//! Keys and signatures that the tests make by themselves, FIDO's among them, which no device has to be there for.

mod bits;
mod bundles;
mod documents;
mod edited;
mod edits;
mod people;
mod recorded;
mod ssh;
mod strange;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::{
    digest::{SHA256, SHA512, digest},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _,
    },
};

use crate::{
    Answer, Document as _, Kind, NAMESPACE, Question, Signed, SignedVerdict, approvers::Key,
    sha256, wire::string,
};

pub(crate) fn question() -> Question {
    Question {
        asked_at: 1_795_439_000,
        boot: "9f2c".to_owned(),
        code_by: Some("desktop".to_owned()),
        expires_at: 1_795_442_600,
        kind: "connect".to_owned(),
        machine: "m-7fq3".to_owned(),
        nonce: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        offers: ["for=900", "connections=1"].map(str::to_owned).to_vec(),
        policy: "homelab".to_owned(),
        request: "r1".to_owned(),
        rule: Some("photos".to_owned()),
        session: "s1".to_owned(),
        shown_whole: true,
        shows: vec![r#"curl (4711) wants "größe" \u{1b} at 192.0.2.10"#.to_owned()],
        user: "dev".to_owned(),
        v: 1,
    }
}

pub(crate) fn answer() -> Answer {
    Answer {
        by: "alice".to_owned(),
        bytes: None,
        code: String::new(),
        connections: None,
        seconds: Some(900),
        machine: "m-7fq3".to_owned(),
        question: Question::hash(&question().to_bytes().unwrap()),
        read_only: false,
        requests: None,
        scope: "one".to_owned(),
        v: 1,
        verdict: SignedVerdict::Yes,
    }
}

/// A key pair of either algorithm.
enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

/// An SSH key, perhaps one that a FIDO device would have.
pub(crate) struct SshKey {
    pair: Pair,
    application: Option<&'static str>,
}

/// What a signature of SSH says of itself.
pub(crate) struct Seal<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) reserved: &'a str,
    pub(crate) hash: &'a str,
    pub(crate) flags: u8,
}

/// All kinds of SSH keys.
pub(crate) fn ssh_keys() -> Vec<SshKey> {
    let mut keys = Vec::new();
    for application in [None, Some("ssh:")] {
        for pair in [ed25519(), p256(true)] {
            keys.push(SshKey { pair, application });
        }
    }
    keys
}

fn ed25519() -> Pair {
    let random = SystemRandom::new();
    let made = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    Pair::Ed25519(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap())
}

fn p256(is_ssh: bool) -> Pair {
    let algorithm = if is_ssh {
        &ECDSA_P256_SHA256_FIXED_SIGNING
    } else {
        &ECDSA_P256_SHA256_ASN1_SIGNING
    };
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap();
    Pair::P256(pair, random)
}

impl Pair {
    fn public(&self) -> &[u8] {
        match self {
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::P256(pair, _) => pair.public_key().as_ref(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::P256(pair, random) => pair.sign(random, message).unwrap().as_ref().to_vec(),
        }
    }
}

impl SshKey {
    fn name(&self) -> &'static str {
        match (&self.pair, self.application) {
            (Pair::Ed25519(_), None) => "ssh-ed25519",
            (Pair::P256(..), None) => "ecdsa-sha2-nistp256",
            (Pair::Ed25519(_), Some(_)) => "sk-ssh-ed25519@openssh.com",
            (Pair::P256(..), Some(_)) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        string(&mut blob, self.name().as_bytes());
        if matches!(self.pair, Pair::P256(..)) {
            string(&mut blob, b"nistp256");
        }
        string(&mut blob, self.pair.public());
        if let Some(application) = self.application {
            string(&mut blob, application.as_bytes());
        }
        blob
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.name(), BASE64.encode(&self.blob()))
    }

    /// As `ssh-keygen -Y sign` would, with these flags of a FIDO device.
    pub(crate) fn seal(&self, namespace: &str, message: &[u8], flags: u8) -> Vec<u8> {
        let seal = Seal {
            namespace,
            reserved: "",
            hash: "sha512",
            flags,
        };
        self.seal_as(&seal, message)
    }

    /// As it would where it says that.
    pub(crate) fn seal_as(&self, seal: &Seal<'_>, message: &[u8]) -> Vec<u8> {
        let flags = seal.flags;
        let [namespace, reserved, name] =
            [seal.namespace, seal.reserved, seal.hash].map(str::as_bytes);
        let algorithm = match seal.hash {
            "sha256" => &SHA256,
            _ => &SHA512,
        };
        let hash = digest(algorithm, message);
        let mut signed = b"SSHSIG".to_vec();
        for part in [namespace, reserved, name, hash.as_ref()] {
            string(&mut signed, part);
        }
        let counter = 7_u32.to_be_bytes();
        let signed = match self.application {
            None => signed,
            Some(application) => {
                let (to, of) = (sha256(application.as_bytes()), sha256(&signed));
                [&to[..], &[flags], &counter, &of[..]].concat()
            }
        };
        let raw = self.pair.sign(&signed);
        let raw = match &self.pair {
            Pair::Ed25519(_) => raw,
            Pair::P256(..) => raw.chunks(32).flat_map(mpint).collect(),
        };
        let mut signature = Vec::new();
        string(&mut signature, self.name().as_bytes());
        string(&mut signature, &raw);
        if self.application.is_some() {
            signature.push(flags);
            signature.extend(counter);
        }
        let mut sealed = b"SSHSIG\0\0\0\x01".to_vec();
        for part in [&self.blob(), namespace, reserved, name, &signature] {
            string(&mut sealed, part);
        }
        sealed
    }
}

fn mpint(scalar: &[u8]) -> Vec<u8> {
    let start = scalar.iter().position(|byte| *byte != 0).unwrap();
    let mut digits = scalar[start..].to_vec();
    if digits[0] >= 0x80 {
        digits.insert(0, 0);
    }
    let mut out = Vec::new();
    string(&mut out, &digits);
    out
}

/// A passkey, with the authenticator and the browser around it.
pub(crate) struct Passkey {
    pair: Pair,
    pub(crate) key: Key,
}

pub(crate) const ORIGIN: &str = "https://guard.example.net";

pub(crate) fn passkeys() -> Vec<Passkey> {
    [ed25519(), p256(false)]
        .into_iter()
        .map(|pair| {
            let begin: &[u8] = match pair {
                Pair::Ed25519(_) => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
                Pair::P256(..) => {
                    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
                }
            };
            let spki = BASE64URL_NOPAD.encode(&[begin, pair.public()].concat());
            let id = BASE64URL_NOPAD.encode(b"credential");
            let key = Key::passkey(&id, &spki).unwrap();
            Passkey { pair, key }
        })
        .collect()
}

/// What a browser and an authenticator say.
pub(crate) struct Page<'a> {
    pub(crate) origin: &'a str,
    pub(crate) host: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) more: &'a str,
    pub(crate) flags: u8,
}

pub(crate) const PAGE: Page<'static> = Page {
    origin: ORIGIN,
    host: "guard.example.net",
    kind: "webauthn.get",
    more: r#","crossOrigin":false"#,
    flags: 0x05,
};

impl Passkey {
    /// An assertion for that challenge: authenticator data, client data, signature.
    pub(crate) fn assert(&self, challenge: &[u8; 32], page: &Page<'_>) -> [Vec<u8>; 3] {
        let challenge = BASE64URL_NOPAD.encode(challenge);
        let client = format!(
            r#"{{"type":"{}","challenge":"{challenge}","origin":"{}"{}}}"#,
            page.kind, page.origin, page.more
        );
        let client = client.into_bytes();
        let data = [
            &sha256(page.host.as_bytes())[..],
            &[page.flags],
            &[0, 0, 0, 9],
        ]
        .concat();
        let signature = self.pair.sign(&[&data[..], &sha256(&client)].concat());
        [data, client, signature]
    }

    pub(crate) fn sign(&self, answer: &Answer, page: &Page<'_>) -> Signed {
        let bytes = answer.to_bytes().unwrap();
        let [data, client, signature] = self
            .assert(&Answer::challenge(&bytes), page)
            .map(|part| BASE64URL_NOPAD.encode(&part));
        Signed {
            answer: String::from_utf8(bytes).unwrap(),
            key: self.key.id.clone(),
            kind: Kind::Passkey,
            signature,
            authenticator_data: Some(data),
            client_data: Some(client),
        }
    }
}

/// An answer signed by an SSH key.
pub(crate) fn signed(key: &SshKey, answer: &Answer) -> Signed {
    let bytes = answer.to_bytes().unwrap();
    Signed {
        key: Key::ssh(&key.line()).unwrap().id,
        kind: Kind::Ssh,
        signature: BASE64URL_NOPAD.encode(&key.seal(NAMESPACE, &bytes, 1)),
        answer: String::from_utf8(bytes).unwrap(),
        authenticator_data: None,
        client_data: None,
    }
}
