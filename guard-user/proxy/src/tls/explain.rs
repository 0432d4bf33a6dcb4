//! TLS errors, in words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, pki_types::ServerName};

/// The advice for a destination that is not trusted.
const OWN: &str = "if it is the right one, put its certificate, or its authority's, into a file that [proxy] ca in \
                   guardd.toml names";

/// For a client that has done the handshake and sent no request.
pub(crate) const GONE: &str = "the client ends TLS before it asks for anything: where it pins the \
                                         destination's certificate, a rule of action = \"allow\" lets it pass unseen";

/// For a destination that asks for a client certificate.
pub(super) fn certificate_asked(name: &str) -> String {
    format!(
        "{name} asks for a certificate of the client's, and got none: only the client has its key, and guard's proxy cannot \
         pass that on; use a token there, or let the client pass unseen with a rule of action = \"allow\""
    )
}

/// Why TLS with a destination failed, which has asked for a client certificate before or not.
pub(super) fn upstream(name: &ServerName<'_>, error: &io::Error, was_asked: bool) -> String {
    let name = name.to_str();
    match behind(error) {
        Some(Error::InvalidCertificate(why)) => {
            format!(
                "the certificate of {name} is not valid: {}; {OWN}",
                certificate(why)
            )
        }
        Some(Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            certificate_asked(&name)
        }
        Some(Error::AlertReceived(_)) if was_asked => certificate_asked(&name),
        Some(Error::AlertReceived(alert)) => {
            format!("{name} ends the TLS handshake with {}", words(*alert))
        }
        // As an HTTP server without TLS does, which takes the handshake for a request.
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            format!("no TLS with {name}: it answered without TLS; is it http:// there?")
        }
        Some(other) => format!("no TLS with {name}: {other}"),
        None => format!("{name} breaks the TLS handshake off: {error}"),
    }
}

/// Why TLS with a client failed.
pub(super) fn client(error: &io::Error) -> String {
    const PINNED: &str = "the client does not take the certificate that guard shows it";
    const WHY: &str = "it pins the destination's, or has a list of authorities of its own; a rule of action = \"allow\" \
                       lets it pass unseen";
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA,
        UnsupportedCertificate,
    };
    match behind(error) {
        Some(Error::AlertReceived(
            alert @ (AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate),
        )) => format!("{PINNED} ({}): {WHY}", words(*alert)),
        Some(Error::AlertReceived(alert)) => {
            format!("the client ends the TLS handshake with {}", words(*alert))
        }
        Some(other) => format!("no TLS with the client: {other}"),
        None => format!("{PINNED}, or has gone: {WHY}"),
    }
}

/// The rustls error in an I/O error.
fn behind(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn words(alert: AlertDescription) -> String {
    format!("the alert {alert:?} ({})", u8::from(alert))
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "nobody whom this machine trusts has issued it".to_owned()
        }
        CertificateError::BadSignature => {
            "whoever it names, and this machine trusts, has not signed it".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().map(|name| plain(name)).collect();
            format!("it is for {}", names.join(", "))
        }
        other => other.to_string(),
    }
}

/// A name as people write it. rustls gives it with its kind: `DnsName("photos.example")`.
fn plain(name: &str) -> &str {
    let within = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    within.map_or(name, |name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring::default_provider};

    use super::*;

    #[test]
    fn a_server_without_tls_is_told_from_one_whose_tls_is_broken() {
        let name = ServerName::try_from("photos.example").unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let config = Arc::new(config);
        let said = |mut answer: &[u8]| {
            let mut client = ClientConnection::new(Arc::clone(&config), name.clone()).unwrap();
            client.read_tls(&mut answer).unwrap();
            let error = client.process_new_packets().unwrap_err();
            upstream(&name, &io::Error::other(error), false)
        };
        let plain = said(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(plain.ends_with("is it http:// there?"), "{plain}");
        // A handshake's message, and of none that there is.
        let broken = said(&[0x16, 3, 3, 0, 4, 0xff, 0, 0, 0]);
        assert!(!broken.contains("http://"), "{broken}");
    }
}
