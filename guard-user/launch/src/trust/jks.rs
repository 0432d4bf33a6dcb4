//! Java's own format of key stores: `sun.security.provider.JavaKeyStore` in OpenJDK. All numbers are big-endian.
//!
//! ```text
//! magic FEEDFEED, version 2, count
//! of each certificate: tag 2, alias, time (8 bytes, ms), type "X.509", length, DER
//! SHA-1 of the password as UTF-16, "Mighty Aphrodite" and all of the above
//! ```
//!
//! Every Java reads it, whatever its default: the format follows from the first bytes (JEP 229). Java checks the
//! digest only where it has the password.

use sha1::{Digest, Sha1};

/// Magic number and version.
const HEAD: [u8; 8] = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
/// Where the entries begin, behind the number of them.
const ENTRIES: usize = HEAD.len() + 4;
const DIGEST: usize = 20;

/// The password that Java's own store has, and so all that read it try.
pub(super) const PASSWORD: &str = "changeit";

/// The alias of the certificate. Aliases are lower case.
const ALIAS: &str = "guard read-only ca";

/// Whether it is in this format.
pub(super) fn is_one(store: &[u8]) -> bool {
    store.starts_with(&HEAD)
}

/// The store with one more certificate. `None` if it is cut short.
pub(super) fn with(store: &[u8], certificate: &[u8], password: &str) -> Option<Vec<u8>> {
    let body = store.get(..store.len().checked_sub(DIGEST)?)?;
    let (head, entries) = body.split_at_checked(ENTRIES)?;
    let (_, count) = head.split_at(HEAD.len());
    let count = u32::from_be_bytes(count.try_into().ok()?).checked_add(1)?;
    let mut all = [&HEAD, &count.to_be_bytes()[..], entries].concat();
    all.extend(entry(ALIAS, certificate));
    Some(sealed(all, password))
}

/// A store of these certificates.
pub(super) fn of<'a>(certificates: impl Iterator<Item = &'a [u8]>, password: &str) -> Vec<u8> {
    let mut count = 0_u32;
    let mut entries = Vec::new();
    for certificate in certificates {
        entries.extend(entry(&format!("trusted {count}"), certificate));
        count += 1;
    }
    let all = [&HEAD, &count.to_be_bytes()[..], &entries].concat();
    sealed(all, password)
}

/// A trusted certificate. Its time is not used.
fn entry(alias: &str, certificate: &[u8]) -> Vec<u8> {
    let length = (certificate.len() as u32).to_be_bytes();
    [
        &[0, 0, 0, 2][..],
        &text(alias),
        &[0; 8],
        &text("X.509"),
        &length,
        certificate,
    ]
    .concat()
}

/// As `DataOutput.writeUTF` has it, for ASCII.
fn text(ascii: &str) -> Vec<u8> {
    [&(ascii.len() as u16).to_be_bytes(), ascii.as_bytes()].concat()
}

fn sealed(mut all: Vec<u8>, password: &str) -> Vec<u8> {
    let mut digest = Sha1::new();
    for unit in password.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&all);
    all.extend(digest.finalize());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_javas() {
        let store = of([&[0x30, 0][..]].into_iter(), PASSWORD);
        let mut expected = vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1];
        expected.extend(b"\0\0\0\x02\0\x09trusted 0\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x02\x30\0");
        assert_eq!(&store[..store.len() - DIGEST], expected);
        assert!(is_one(&store));
    }

    #[test]
    fn an_empty_store_is_the_one_that_java_writes() {
        // `KeyStore.getInstance("JKS")`, loaded from nothing and stored with the password "changeit".
        let java = [
            0xfe, 0xed, 0xfe, 0xed, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0xe2, 0x68,
            0x6e, 0x45, 0xfb, 0x43, 0xdf, 0xa4, 0xd9, 0x92, 0xdd, 0x41, 0xce, 0xb6, 0xb2, 0x1c,
            0x63, 0x30, 0xd7, 0x92,
        ];
        assert_eq!(of(std::iter::empty(), PASSWORD), java);
    }

    #[test]
    fn one_more_is_one_more() {
        let store = of([&[1_u8, 2][..], &[3]].into_iter(), PASSWORD);
        let more = with(&store, &[4], PASSWORD).unwrap();
        assert_eq!(more[8..12], [0, 0, 0, 3]);
        assert!(more.starts_with(&HEAD));
        let entries = &store[ENTRIES..store.len() - DIGEST];
        assert_eq!(more[ENTRIES..][..entries.len()], *entries);
        assert_ne!(more, with(&store, &[4], "other").unwrap());
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let store = of(std::iter::empty(), PASSWORD);
        for length in 0..store.len() {
            assert_eq!(with(&store[..length], &[4], PASSWORD), None);
        }
    }
}
