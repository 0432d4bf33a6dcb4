//! Bytes of any kind: each is read or refused, and none is too strange.

use guard_rounds::rounds;
use proptest::prelude::*;

use super::{NAMESPACE, ORIGIN, answer, passkeys, ssh_keys};
use crate::{
    Answer, Document as _, Question,
    approvers::ApproverList,
    ssh::{SshPublicKey, unarmour},
    visible::{escaped, is_right_to_left, is_unseen, visible, visible_again},
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
        let _ = ApproverList::parse(&text);
    }

    #[test]
    fn nothing_unseen_comes_out(text in any::<String>(), limit in 0_usize..500) {
        let shown = visible(&text, limit);
        let bare = shown.replace([ISOLATE, END], "");
        prop_assert!(!bare.chars().any(|c| is_unseen(c) || c.is_control()));
        // It is what is shown, and is shown again as it is.
        prop_assert_eq!(visible_again(&shown, usize::MAX), shown);
        prop_assert_eq!(bare, escaped(&text, limit));
    }

    #[test]
    fn nothing_of_a_line_is_turned(text in "[אש٣ܐࢠ\u{64b}\u{2068}\u{2069}\u{202e} a.1]{0,20}") {
        let line = format!("r1  {} (4711) wants 15 17", visible(&text, 30));
        let mut inside = false;
        for c in line.chars() {
            match c {
                ISOLATE => prop_assert!(!std::mem::replace(&mut inside, true)),
                END => prop_assert!(std::mem::replace(&mut inside, false)),
                c => prop_assert_eq!(inside && c != ' ', is_right_to_left(c)),
            }
        }
        prop_assert!(!inside);
    }
}

const ISOLATE: char = '\u{2068}';
const END: char = '\u{2069}';

#[test]
fn letters_from_right_to_left_stand_in_isolates() {
    for (text, shown) in [
        ("אבג 15 17", "\u{2068}אבג\u{2069} 15 17"),
        ("a אבג דהו b", "a \u{2068}אבג דהו\u{2069} b"),
        ("אבג  דהו", "\u{2068}אבג\u{2069}  \u{2068}דהו\u{2069}"),
        ("שלום, tcp", "\u{2068}שלום\u{2069}, tcp"),
        ("שָׁלוֹם", "\u{2068}שָׁלוֹם\u{2069}"),
        ("\u{2068}a\u{2069}", "\\u{2068}a\\u{2069}"),
        ("\u{2068}אa\u{2069}", "\\u{2068}\u{2068}א\u{2069}a\\u{2069}"),
        // It is another text than the bare letter.
        ("\u{2068}א\u{2069}", "\\u{2068}\u{2068}א\u{2069}\\u{2069}"),
    ] {
        assert_eq!(visible(text, 99), shown);
        assert_eq!(visible_again(shown, 99), shown);
    }
    assert_eq!(escaped("\u{2068}א\u{2069}", 99), "\\u{2068}א\\u{2069}");
    assert_eq!(visible("אבג", 2), "\u{2068}אב\u{2069}…");
}

#[test]
fn every_letter_from_right_to_left_is_known() {
    use unicode_bidi::BidiClass::{AL, AN, R};
    for c in ('\0'..=char::MAX).filter(|c| matches!(unicode_bidi::bidi_class(*c), AL | AN | R)) {
        assert!(is_right_to_left(c) || is_unseen(c), "{c:?}");
    }
}

#[test]
fn every_mark_is_known_and_nothing_else_is_one() {
    for c in '\0'..=char::MAX {
        let is_mark = unicode_bidi::bidi_class(c) == unicode_bidi::BidiClass::NSM;
        assert_eq!(crate::marks::is_mark(c), is_mark, "{c:?}");
    }
}

#[test]
fn what_only_formats_or_fills_is_written_out() {
    let more = ['\u{70f}', '\u{16fe4}', '\u{1bc9d}', '\u{1d159}'];
    for c in ('\u{13430}'..='\u{1345f}').chain(more) {
        let shown = visible(format_args!("a{c}b"), 99);
        assert_eq!(shown, format!("a{}b", c.escape_unicode()));
    }
}

#[test]
fn marks_stand_on_letters_and_not_in_stacks() {
    for (text, shown) in [
        ("e\u{301}", "e\u{301}"),
        ("Việt ড়ীং ที่ བསྒྲུབས", "Việt ড়ীং ที่ བསྒྲུབས"),
        ("e\u{301}\u{302}\u{303}\u{304}\u{305}x", r"é̂̃\u{304}\u{305}x"),
        ("\"\u{338} \u{20dd}", r#""\u{338} \u{20dd}"#),
        ("\u{336}a", r"\u{336}a"),
    ] {
        let plain = shown.replace('é', "e\u{301}");
        assert_eq!(visible(text, 99), plain);
        assert_eq!(visible_again(&plain, 99), plain);
    }
}
