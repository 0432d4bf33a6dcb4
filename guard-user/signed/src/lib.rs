//! Answers from elsewhere: what guardd asks, what a person signs, and whether a signature is one. Pure: no files, no network,
//! no clock.
//!
//! guardd makes the bytes of a [`Question`] once. An [`Answer`] has their hash, and a person's key signs the answer's bytes:
//! a FIDO or plain SSH key by `ssh-keygen -Y sign` ([`ssh`]), a passkey by a browser ([`webauthn`]). Whatever carries the two
//! can lose or delay a yes, and cannot make one.
//!
//! Bytes that come from elsewhere are hashed as they came, and are read in one way or not at all ([`Document`]).

pub mod approvers;
pub mod bundle;
pub mod document;
mod marks;
pub mod signature;
pub mod ssh;
#[cfg(test)]
mod tests;
pub mod visible;
pub mod webauthn;
mod wire;

pub use bundle::{Bundle, SignedBundle, Signers};
pub use document::{Answer, Document, Question, SignedVerdict};
pub use signature::{AnswerRefusal, Kind, Signed};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

/// What OpenSSH signatures of answers are made for; no signature for another purpose is one.
pub const NAMESPACE: &str = "answer@guardd.org";

/// What a machine is called in questions, by the text of its machine-id(5), which nobody is told by it.
#[must_use]
pub fn machine(id: &str) -> String {
    let kept = match id.trim() {
        // A question of a machine without one differs by its nonce and the boot alone.
        "" => return "m-unknown".to_owned(),
        id => hash_of("guard machine v1", id.as_bytes()),
    };
    format!("m-{}", HEXLOWER.encode(&kept[..10]))
}

/// The SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The SHA-256 of bytes behind a line that says what they are: a hash of one kind is never one of another.
fn hash_of(domain: &str, bytes: &[u8]) -> [u8; 32] {
    sha256(&[domain.as_bytes(), b"\n", bytes].concat())
}
