//! Bytes of any kind: each is read or refused, and none is too strange.

use guard_rounds::rounds;
use proptest::prelude::*;

use super::{NAMESPACE, ORIGIN, answer, passkeys, ssh_keys};
use crate::{
    Answer, Document as _, Question,
    approvers::Approvers,
    ssh::{SshPublicKey, unarmour},
    visible::{is_unseen, visible},
    webauthn::{self, Assertion},
};

proptest! {
    #![proptest_config(rounds(256))]

    #[test]
    fn documents(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            prop_assert!(Question::from_bytes(bytes).is_err());
            prop_assert!(Answer::from_bytes(bytes).is_err());
        }
    }

    #[test]
    fn signatures_and_keys_of_ssh(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in "\\PC{0,200}",
        at in any::<prop::sample::Index>(),
    ) {
        let message = answer().to_bytes().unwrap();
        let key = &ssh_keys()[2];
        let public = SshPublicKey::parse(&key.line()).unwrap();
        prop_assert!(public.verify(NAMESPACE, &message, &bytes).is_err());
        // Something else in the middle of what would be one.
        let mut sealed = key.seal(NAMESPACE, &message, 1);
        let at = at.index(sealed.len());
        let end = (at + bytes.len()).min(sealed.len());
        if sealed[at..end] != bytes[..end - at] || at + bytes.len() > end {
            sealed.splice(at..end, bytes);
            prop_assert!(public.verify(NAMESPACE, &message, &sealed).is_err());
        }
        prop_assert!(SshPublicKey::parse(&text).is_err());
        prop_assert!(unarmour(&text).is_err());
    }

    #[test]
    fn assertions(
        data in prop::collection::vec(any::<u8>(), 0..80),
        client in "\\PC{0,100}",
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        for passkey in passkeys() {
            let spki = crate::signature::decoded(Some(&passkey.key.public)).unwrap();
            let public = webauthn::PasskeyPublicKey::parse(&spki).unwrap();
            let assertion = Assertion {
                authenticator_data: &data,
                client_data: client.as_bytes(),
                signature: &signature,
            };
            prop_assert!(public.verify(&[0; 32], &[ORIGIN.to_owned()], assertion).is_err());
            prop_assert!(webauthn::PasskeyPublicKey::parse(&data).is_err());
        }
    }

    #[test]
    fn files_of_approvers(text in "\\PC{1,200}") {
        // Whatever it is, it is understood or refused.
        let _ = Approvers::parse(&text);
    }

    #[test]
    fn nothing_unseen_comes_out(text in any::<String>(), limit in 0_usize..500) {
        let shown = visible(&text, limit);
        prop_assert!(!shown.chars().any(|c| is_unseen(c) || c.is_control()));
    }
}
