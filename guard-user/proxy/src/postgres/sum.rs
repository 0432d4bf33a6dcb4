//! The SHA-256 digests of statements.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::asking::Login;

/// Of several parts, each with its length.
pub(super) fn sum<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Bytes {
    let mut sum = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        sum.update(part.len().to_be_bytes());
        sum.update(part);
    }
    Bytes::copy_from_slice(&sum.finalize())
}

/// The digest of a statement: of user, database, server, and every byte of it. In hex.
pub(super) fn digest(login: &Login, parts: &[&Bytes]) -> String {
    let server = login.server.as_deref().map(str::as_bytes);
    let who = [login.user.as_bytes(), login.database.as_bytes()];
    let who = who.into_iter().chain(server);
    let mut text = String::new();
    let parts = parts.iter().map(|part| &part[..]);
    for byte in sum(who.chain(parts)) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
