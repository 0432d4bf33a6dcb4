//! Each single bit, and each end that comes too early.

use super::{ORIGIN, PAGE, Page, answer, passkeys, signed, ssh_keys};
use crate::{
    Answer, AnswerRefusal, Document as _, NAMESPACE,
    approvers::Key,
    ssh::SshPublicKey,
    webauthn::{self, Assertion},
};

/// The same with one bit turned, for each bit; and each beginning of it, and one byte too many.
fn altered(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flips = (0..bytes.len() * 8).map(|bit| {
        let mut one = bytes.to_vec();
        one[bit / 8] ^= 1 << (bit % 8);
        one
    });
    let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let longer = [0, b' '].map(|more| [bytes, &[more]].concat());
    flips.chain(cuts).chain(longer)
}

#[test]
fn no_altered_signature_of_ssh_is_taken() {
    let message = answer().to_bytes().unwrap();
    for key in ssh_keys() {
        let public = SshPublicKey::parse(&key.line()).unwrap();
        let sealed = key.seal(NAMESPACE, &message, 1);
        assert_eq!(public.verify(NAMESPACE, &message, &sealed), Ok(()));
        for one in altered(&sealed) {
            assert!(
                public.verify(NAMESPACE, &message, &one).is_err(),
                "{}",
                key.line()
            );
        }
        for one in altered(&message).step_by(7) {
            let refused = public.verify(NAMESPACE, &one, &sealed);
            assert_eq!(refused, Err(AnswerRefusal::Forged));
        }
    }
}

#[test]
fn no_altered_assertion_of_a_passkey_is_taken() {
    let challenge = Answer::challenge(&answer().to_bytes().unwrap());
    let origins = vec![ORIGIN.to_owned()];
    for passkey in passkeys() {
        let spki = crate::signature::decoded(Some(&passkey.key.public)).unwrap();
        let public = webauthn::PasskeyPublicKey::parse(&spki).unwrap();
        let parts = passkey.assert(&challenge, &PAGE);
        let check = |challenge: &[u8; 32], parts: &[Vec<u8>; 3]| {
            let [authenticator_data, client_data, signature] = parts;
            let assertion = Assertion {
                authenticator_data,
                client_data,
                signature,
            };
            public.verify(challenge, &origins, assertion)
        };
        assert_eq!(check(&challenge, &parts), Ok(()));
        for at in 0..parts.len() {
            for one in altered(&parts[at]) {
                let mut altered = parts.clone();
                altered[at] = one;
                assert!(check(&challenge, &altered).is_err(), "part {at}");
            }
        }
        for one in altered(&challenge) {
            if let Ok(other) = <[u8; 32]>::try_from(one) {
                assert!(check(&other, &parts).is_err());
            }
        }
        // Another key's signature, and this key's public half altered.
        for one in altered(&spki) {
            let other = webauthn::PasskeyPublicKey::parse(&one);
            let [authenticator_data, client_data, signature] = &parts;
            let assertion = Assertion {
                authenticator_data,
                client_data,
                signature,
            };
            let taken = other.and_then(|other| other.verify(&challenge, &origins, assertion));
            assert!(taken.is_err());
        }
    }
}

#[test]
fn a_passkey_has_to_be_touched_by_its_owner_on_the_right_page() {
    let answer = answer();
    for passkey in passkeys() {
        let verified = |page: &Page<'_>| {
            let signed = passkey.sign(&answer, page);
            signed.verify(&passkey.key, &[ORIGIN.to_owned()])
        };
        assert_eq!(verified(&PAGE), Ok(answer.clone()));
        let page = |change: fn(&mut Page<'_>)| {
            let mut page = Page { ..PAGE };
            change(&mut page);
            page
        };
        for (page, why) in [
            (page(|page| page.flags = 0x04), AnswerRefusal::Untouched),
            (page(|page| page.flags = 0x01), AnswerRefusal::Unverified),
            (
                page(|page| page.kind = "webauthn.create"),
                AnswerRefusal::Purpose,
            ),
            (
                page(|page| page.origin = "https://guard.example.net:444"),
                AnswerRefusal::Origin,
            ),
            (
                page(|page| page.origin = "https://guard.example.org"),
                AnswerRefusal::Origin,
            ),
            (
                page(|page| page.host = "example.net"),
                AnswerRefusal::Origin,
            ),
            (
                page(|page| page.more = r#","crossOrigin":true"#),
                AnswerRefusal::Framed,
            ),
            (
                page(|page| page.more = r#","topOrigin":"https://a.example""#),
                AnswerRefusal::Framed,
            ),
        ] {
            assert_eq!(verified(&page), Err(why), "{}", page.more);
        }
        let twice = page(|page| page.more = r#","origin":"https://guard.example.net""#);
        assert!(matches!(verified(&twice), Err(AnswerRefusal::Malformed(_))));
        let more = page(|page| page.more = r#","other_keys_can_be_added_here":"do not compare""#);
        assert!(verified(&more).is_ok());
    }
}

#[test]
fn an_answer_is_by_the_key_that_it_names() {
    let answer = answer();
    let keys = ssh_keys();
    let enrolled: Vec<_> = keys
        .iter()
        .map(|key| Key::ssh(&key.line()).unwrap())
        .collect();
    for (at, key) in keys.iter().enumerate() {
        let signed = signed(key, &answer);
        for (other, enrolled) in enrolled.iter().enumerate() {
            let expected = if at == other {
                Ok(answer.clone())
            } else {
                Err(AnswerRefusal::OtherKey)
            };
            assert_eq!(signed.verify(enrolled, &[]), expected);
            // Even where it says that it is by that key.
            let claimed = crate::Signed {
                key: enrolled.id.clone(),
                ..signed.clone()
            };
            assert_eq!(claimed.verify(enrolled, &[]), expected);
        }
    }
}
