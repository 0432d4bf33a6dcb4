//! Signatures by OpenSSH's keys, as `ssh-keygen -Y sign` and ssh-agent make them.
//!
//! The formats: <https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig>, `PROTOCOL.u2f` beside it, and RFC
//! 5656 and 8709 for the keys.

use data_encoding::{BASE64, BASE64_NOPAD};
use ring::{
    digest::{SHA512, digest},
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey},
};

use crate::{
    sha256,
    signature::AnswerRefusal,
    visible::escaped,
    wire::{Wire, string},
};

/// How a signature begins.
const MAGIC: &[u8] = b"SSHSIG";
/// The version of its format.
const VERSION: u32 = 1;
/// The bit in a FIDO signature that says that somebody touched the key.
const TOUCHED: u8 = 0x01;
/// Bytes of a signature at most; those of these keys have some hundred.
const LONGEST: usize = 4096;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshPublicKey {
    /// As the wire has it.
    blob: Vec<u8>,
    kind: KeyKind,
    /// 32 bytes of Ed25519, or a point of P-256.
    point: Vec<u8>,
    /// What a FIDO key was made for, such as `ssh:`.
    application: Option<Vec<u8>>,
}

/// The kinds of keys that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Ed25519,
    P256,
    SkEd25519,
    SkP256,
}

impl KeyKind {
    const ALL: [Self; 4] = [Self::Ed25519, Self::P256, Self::SkEd25519, Self::SkP256];

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SkP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    const fn is_ed25519(self) -> bool {
        matches!(self, Self::Ed25519 | Self::SkEd25519)
    }

    const fn is_fido(self) -> bool {
        matches!(self, Self::SkEd25519 | Self::SkP256)
    }
}

impl SshPublicKey {
    /// The key of a line as `~/.ssh/id_ed25519_sk.pub` has one: kind, base64, and perhaps a comment.
    ///
    /// # Errors
    ///
    /// Where it is none, or of a kind that is not understood.
    pub fn parse(line: &str) -> Result<Self, AnswerRefusal> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(text)) = (words.next(), words.next()) else {
            return Err(AnswerRefusal::Malformed("public key of SSH"));
        };
        let kind = KeyKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| AnswerRefusal::Algorithm(escaped(name, 64)))?;
        let blob = BASE64.decode(text.as_bytes());
        let blob = blob.map_err(|_| AnswerRefusal::Malformed("public key of SSH"))?;
        Self::of(kind, blob)
    }

    /// The key that a signature says it is by. Whether it is, [`Self::verify`] says.
    ///
    /// # Errors
    ///
    /// Where it is no signature, or by a kind of key that is not understood.
    pub fn of_signature(signature: &[u8]) -> Result<Self, AnswerRefusal> {
        let blob = Sealed::parse(signature)?.key;
        let name = String::from_utf8_lossy(Wire::new(blob).string()?).into_owned();
        let kind = KeyKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| AnswerRefusal::Algorithm(escaped(&name, 64)))?;
        Self::of(kind, blob.to_vec())
    }

    fn of(kind: KeyKind, blob: Vec<u8>) -> Result<Self, AnswerRefusal> {
        let mut wire = Wire::new(&blob);
        let is_named = wire.string()? == kind.name().as_bytes();
        let is_curve = kind.is_ed25519() || wire.string()? == b"nistp256";
        let point = wire.string()?.to_vec();
        let is_point = if kind.is_ed25519() {
            point.len() == 32
        } else {
            point.len() == 65 && point[0] == 4
        };
        let application = if kind.is_fido() {
            Some(wire.string()?.to_vec())
        } else {
            None
        };
        wire.end()?;
        if !is_named || !is_curve || !is_point {
            return Err(AnswerRefusal::Malformed("public key of SSH"));
        }
        Ok(Self {
            blob,
            kind,
            point,
            application,
        })
    }

    /// Whether it is in a FIDO device, which says in each signature that somebody touched it.
    #[must_use]
    pub fn is_fido(&self) -> bool {
        self.kind.is_fido()
    }

    /// As `ssh-keygen -l` shows it: `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_NOPAD.encode(&sha256(&self.blob)))
    }

    /// Its line, without a comment.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.kind.name(), BASE64.encode(&self.blob))
    }

    /// Whether `signature` is of `message`, by this key and for that purpose. That of a FIDO key says that it was touched.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn verify(
        &self,
        namespace: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), AnswerRefusal> {
        let sealed = Sealed::parse(signature)?;
        if sealed.key != self.blob {
            return Err(AnswerRefusal::OtherKey);
        }
        if sealed.namespace != namespace.as_bytes() {
            return Err(AnswerRefusal::Purpose);
        }
        let signed = sealed.signed(message)?;
        let mut wire = Wire::new(sealed.signature);
        if wire.string()? != self.kind.name().as_bytes() {
            return Err(AnswerRefusal::OtherKey);
        }
        let raw = wire.string()?;
        let signed = match &self.application {
            None => signed,
            Some(application) => {
                let (flags, counter) = (wire.byte()?, wire.take(4)?);
                if flags & TOUCHED == 0 {
                    return Err(AnswerRefusal::Untouched);
                }
                let (to, of) = (sha256(application), sha256(&signed));
                [&to[..], &[flags], counter, &of[..]].concat()
            }
        };
        wire.end()?;
        self.check(&signed, raw)
    }

    fn check(&self, signed: &[u8], raw: &[u8]) -> Result<(), AnswerRefusal> {
        let checked = if self.kind.is_ed25519() {
            UnparsedPublicKey::new(&ED25519, &self.point).verify(signed, raw)
        } else {
            let mut wire = Wire::new(raw);
            let scalars = [wire.scalar()?, wire.scalar()?].concat();
            wire.end()?;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).verify(signed, &scalars)
        };
        checked.map_err(|_| AnswerRefusal::Forged)
    }
}

/// The parts of a signature.
struct Sealed<'b> {
    key: &'b [u8],
    namespace: &'b [u8],
    hash: &'b [u8],
    signature: &'b [u8],
}

impl<'b> Sealed<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, AnswerRefusal> {
        let mut wire = Wire::new(bytes);
        if bytes.len() > LONGEST || wire.take(MAGIC.len())? != MAGIC || wire.number()? != VERSION {
            return Err(AnswerRefusal::Malformed("signature of SSH"));
        }
        let (key, namespace, reserved) = (wire.string()?, wire.string()?, wire.string()?);
        let (hash, signature) = (wire.string()?, wire.string()?);
        wire.end()?;
        if reserved.is_empty() {
            Ok(Self {
                key,
                namespace,
                hash,
                signature,
            })
        } else {
            Err(AnswerRefusal::Malformed("signature of SSH"))
        }
    }

    /// What the key has signed, if it was for that message.
    fn signed(&self, message: &[u8]) -> Result<Vec<u8>, AnswerRefusal> {
        let hashed = match self.hash {
            b"sha512" => digest(&SHA512, message).as_ref().to_vec(),
            b"sha256" => sha256(message).to_vec(),
            _ => return Err(AnswerRefusal::Malformed("signature of SSH")),
        };
        let mut signed = MAGIC.to_vec();
        for part in [self.namespace, b"", self.hash, &hashed] {
            string(&mut signed, part);
        }
        Ok(signed)
    }
}

/// The bytes of a signature as `ssh-keygen -Y sign` writes it: base64 between two lines.
///
/// # Errors
///
/// Where it is none.
pub fn unarmour(text: &str) -> Result<Vec<u8>, AnswerRefusal> {
    let body = text.trim().strip_prefix(BEGIN);
    let body = body.and_then(|rest| rest.strip_suffix(END));
    let body = body.ok_or(AnswerRefusal::Malformed("signature of SSH"))?;
    let body: String = body.split_ascii_whitespace().collect();
    BASE64
        .decode(body.as_bytes())
        .map_err(|_| AnswerRefusal::Malformed("signature of SSH"))
}
