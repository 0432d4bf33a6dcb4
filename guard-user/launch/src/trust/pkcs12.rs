//! The certificates in Java's other format of key stores: PKCS #12 (RFC 7292) without a password, as JDK 18 and later
//! have theirs (JDK-8275252).

/// Deeper than any such file nests.
const DEPTH: usize = 16;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
/// `[0]`, explicit.
const EXPLICIT: u8 = 0xa0;

/// 1.2.840.113549.1.7.6: content that is encrypted.
const ENCRYPTED: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
/// 1.2.840.113549.1.12.10.1.3: a bag with a certificate.
const CERTIFICATE_BAG: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03,
];
/// 1.2.840.113549.1.9.22.1: an X.509 certificate.
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 2.16.840.1.113894.746875.1.1: for Java, an attribute of what is trusted.
const TRUSTED: &[u8] = &[
    0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01,
];

/// The certificates that Java trusts by this store. `None` if it has none, or some that need a password.
pub(super) fn certificates(store: &[u8]) -> Option<Vec<&[u8]>> {
    if memchr::memmem::find(store, ENCRYPTED).is_some() {
        return None;
    }
    let mut found = Vec::new();
    collect(store, DEPTH, &mut found);
    (!found.is_empty()).then_some(found)
}

fn collect<'a>(der: &'a [u8], depth: usize, found: &mut Vec<&'a [u8]>) {
    for (tag, content) in Elements(der) {
        match tag {
            SEQUENCE if is_certificate_bag(content) => found.extend(trusted(content)),
            // The content of an octet string is DER again, but for a digest and the like.
            SEQUENCE | EXPLICIT | OCTETS if depth > 0 => collect(content, depth - 1, found),
            _ => {}
        }
    }
}

fn is_certificate_bag(bag: &[u8]) -> bool {
    Elements(bag).next() == Some((OID, CERTIFICATE_BAG))
}

fn trusted(bag: &[u8]) -> Option<&[u8]> {
    let mut parts = Elements(bag).skip(1);
    let certificate = expect(Elements(expect(parts.next(), EXPLICIT)?).next(), SEQUENCE)?;
    let attributes = expect(parts.next(), SET)?;
    memchr::memmem::find(attributes, TRUSTED)?;
    let mut parts = Elements(certificate);
    let is_x509 = parts.next() == Some((OID, X509));
    let wrapped = expect(parts.next(), EXPLICIT).filter(|_| is_x509)?;
    expect(Elements(wrapped).next(), OCTETS)
}

fn expect(element: Option<(u8, &[u8])>, tag: u8) -> Option<&[u8]> {
    element.filter(|(has, _)| *has == tag).map(|(_, of)| of)
}

/// The elements of a DER value (X.690), up to the first invalid one. Only definite lengths, as DER requires.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let more = usize::from(length & 0x7f);
        let (length, rest) = match length {
            0..=0x7f => (more, rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(more)?;
                let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
                (length.iter().fold(0, add), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = (content.len() as u16).to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    fn bag(certificate: &[u8], attribute: &[u8]) -> Vec<u8> {
        let wrapped = element(EXPLICIT, &[&element(OCTETS, &[certificate])]);
        let x509 = element(SEQUENCE, &[&element(OID, &[X509]), &wrapped]);
        let attributes = element(SEQUENCE, &[&element(OID, &[attribute])]);
        let oid = element(OID, &[CERTIFICATE_BAG]);
        let value = element(EXPLICIT, &[&x509]);
        element(SEQUENCE, &[&oid, &value, &element(SET, &[&attributes])])
    }

    fn store(bags: &[&[u8]]) -> Vec<u8> {
        let safe = element(EXPLICIT, &[&element(OCTETS, &[&element(SEQUENCE, bags)])]);
        let safes = element(SEQUENCE, &[&element(SEQUENCE, &[&safe])]);
        let all = element(EXPLICIT, &[&element(OCTETS, &[&safes])]);
        element(SEQUENCE, &[&[2, 1, 3], &element(SEQUENCE, &[&all])])
    }

    #[test]
    fn what_java_trusts_is_found() {
        let (one, two, key) = (bag(b"one", TRUSTED), bag(b"two", TRUSTED), bag(b"k", X509));
        let all = store(&[&one, &key, &two]);
        assert_eq!(certificates(&all).unwrap(), [b"one", b"two"]);
        assert_eq!(certificates(&store(&[&key])), None);
        let encrypted = element(OID, &[ENCRYPTED]);
        assert_eq!(certificates(&store(&[&one, &encrypted])), None);
    }

    #[test]
    fn what_is_broken_ends_there() {
        let all = store(&[&bag(b"one", TRUSTED)]);
        for length in 0..all.len() {
            assert_eq!(certificates(&all[..length]), None);
        }
        let deep = (0..200).fold(Vec::new(), |inner, _| element(OCTETS, &[&inner]));
        assert_eq!(certificates(&deep), None);
        assert_eq!(certificates(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
        assert_eq!(certificates(&[0x30, 0x80, 0, 0]), None);
    }
}
