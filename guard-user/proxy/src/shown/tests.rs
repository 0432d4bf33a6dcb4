//! The walk through a ClientHello, against rustls' own reading of the same bytes.

use std::sync::Arc;

use guard_common::tls::{self, Heard};
use guard_rounds::rounds;
use proptest::prelude::*;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, crypto::ring::default_provider, server::Acceptor,
};

/// What rustls sends first.
fn hello(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    sent
}

/// The name that rustls finds; `None` where it refuses the bytes, or wants more.
fn read_by_rustls(mut bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            return Some(hello.server_name().map(str::to_owned));
        }
    }
    None
}

fn names() -> impl Strategy<Value = String> {
    let label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?";
    prop::collection::vec(label, 1..6).prop_map(|labels| format!("{}.example", labels.join(".")))
}

proptest! {
    #![proptest_config(rounds(512))]

    #[test]
    fn what_rustls_sends_is_read_as_rustls_reads_it(name in names()) {
        let sent = hello(&name);
        prop_assert_eq!(tls::hear(&sent), Ok(Heard::Name(&name)));
        prop_assert_eq!(read_by_rustls(&sent), Some(Some(name.to_ascii_lowercase())));
        for length in [0, 4, 5, sent.len() / 2, sent.len() - 1] {
            prop_assert!(matches!(tls::hear(&sent[..length]), Ok(Heard::More(_))));
        }
    }

    #[test]
    fn no_changed_hello_shows_another_name_than_rustls_reads(
        name in names(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut sent = hello(&name);
        for (at, byte) in changes {
            let at = at.index(sent.len());
            sent[at] = byte;
        }
        if is_cut {
            sent.truncate(cut.index(sent.len()));
        }
        if let Ok(Heard::Name(shown)) = tls::hear(&sent) {
            // What rustls refuses is nobody's.
            if let Some(read) = read_by_rustls(&sent) {
                prop_assert_eq!(read, Some(shown.to_ascii_lowercase()));
            }
        }
    }
}
