//! The certificate that a session is to trust beside all others.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The certificate of the guard's own authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthorityCertificate {
    pem: String,
    der: CertificateDer<'static>,
}

impl AuthorityCertificate {
    /// Parses guardd's text. `None` if it is not exactly one certificate.
    pub(super) fn parse(pem: &str) -> Option<Self> {
        let mut certificates = certificates(pem.as_bytes());
        let (der, None) = (certificates.next()?, certificates.next()) else {
            return None;
        };
        let pem = format!("{}\n", pem.trim_end());
        Some(Self { pem, der })
    }

    pub(super) fn pem(&self) -> &[u8] {
        self.pem.as_bytes()
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// These certificates and this one. All else in the file stays too: comments, trust settings of OpenSSL.
    /// `None` where it is among them already.
    pub(super) fn beside(&self, bundle: &[u8]) -> Option<Vec<u8>> {
        if certificates(bundle).any(|one| one == self.der) {
            return None;
        }
        let mut all = bundle.to_vec();
        if !all.is_empty() && !all.ends_with(b"\n") {
            all.push(b'\n');
        }
        all.extend(self.pem());
        Some(all)
    }
}

/// The certificates in a file as PEM (RFC 7468). What is none, or broken, is passed over, as readers of it do.
pub(super) fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

/// Certificates for tests: what is in them does not matter to what handles them.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `AQID`
    pub(in super::super) const OURS: &str =
        "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    pub(in super::super) const THEIRS: &str =
        "# theirs\n-----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----";

    pub(in super::super) fn ours() -> AuthorityCertificate {
        AuthorityCertificate::parse(OURS).unwrap()
    }

    #[test]
    fn it_is_one_certificate() {
        assert_eq!(ours().der(), [1, 2, 3]);
        let untidy = format!("x\n{}\n\n", OURS.trim());
        assert_eq!(
            AuthorityCertificate::parse(&untidy).unwrap().der(),
            [1, 2, 3]
        );
        for none in ["", "x", &format!("{OURS}{THEIRS}"), &OURS[..30]] {
            assert_eq!(AuthorityCertificate::parse(none), None, "{none}");
        }
    }

    #[test]
    fn what_was_trusted_stays_byte_for_byte() {
        let all = ours().beside(THEIRS.as_bytes()).unwrap();
        assert_eq!(all, format!("{THEIRS}\n{OURS}").into_bytes());
        let trusted =
            b"-----BEGIN TRUSTED CERTIFICATE-----\nBAUG\n-----END TRUSTED CERTIFICATE-----\n";
        assert!(ours().beside(trusted).unwrap().starts_with(trusted));
        assert_eq!(ours().beside(b"").unwrap(), OURS.as_bytes());
        assert_eq!(certificates(&all).count(), 2);
    }

    #[test]
    fn it_is_never_there_twice() {
        let all = ours().beside(THEIRS.as_bytes()).unwrap();
        assert_eq!(ours().beside(&all), None);
        let other_lines = OURS.replace("AQID", "A\r\nQI\nD").into_bytes();
        assert_eq!(ours().beside(&other_lines), None);
    }

    #[test]
    fn what_is_broken_hides_nothing() {
        let broken = format!("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n{OURS}");
        assert_eq!(ours().beside(broken.as_bytes()), None);
        assert_eq!(certificates(&[0xff; 4096]).count(), 0);
    }
}
