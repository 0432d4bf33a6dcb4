//! Bundles of policies: who has signed them, and that no other bytes are taken for them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use guard_rounds::rounds;
use proptest::prelude::*;

use super::{SshKey, ssh_keys};
use crate::{
    AnswerRefusal, Bundle, Document as _, NAMESPACE, SignedBundle, Signers,
    bundle::{LONGEST, MAX_REVOKED, POLICY_NAMESPACE},
    ssh::SshPublicKey,
};

/// The same in all of a test.
static KEYS: LazyLock<Vec<SshKey>> = LazyLock::new(ssh_keys);

fn bundle() -> Bundle {
    let text = "version = 1\nname = \"floor\"\ndefault = \"deny\"\n";
    Bundle {
        base: Some("floor".to_owned()),
        groups: vec!["ci".to_owned()],
        policies: BTreeMap::from([("floor".to_owned(), text.to_owned())]),
        revoked: Vec::new(),
        serial: 7,
        v: 1,
    }
}

/// By these keys, for that purpose.
fn signed(text: &str, keys: &[usize], namespace: &str) -> SignedBundle {
    let sign =
        |key: &usize| BASE64URL_NOPAD.encode(&KEYS[*key].seal(namespace, text.as_bytes(), 1));
    SignedBundle {
        bundle: text.to_owned(),
        signatures: keys.iter().map(sign).collect(),
    }
}

/// The first two keys are one person's.
fn signers() -> Signers {
    let names = ["alice", "alice", "bob"];
    let lines = names.iter().zip(&*KEYS);
    let lines: String = lines
        .map(|(name, key)| format!("{name} {} a comment\n", key.line()))
        .collect();
    Signers::parse(&format!("# Who may.\n\n{lines}")).unwrap()
}

#[test]
fn so_many_people_of_the_list_have_signed_it() {
    let text = String::from_utf8(bundle().to_bytes().unwrap()).unwrap();
    let by = |keys: &[usize], needed| {
        let verified = signed(&text, keys, POLICY_NAMESPACE).verify(&signers(), needed);
        verified.map(|one| (one.bundle, one.by))
    };
    let few_of = |by, needed, others| Err(AnswerRefusal::Unsigned { by, needed, others });
    let few = |by, needed| few_of(by, needed, Vec::new());
    assert_eq!(by(&[0], 1), Ok((bundle(), vec!["alice".to_owned()])));
    assert_eq!(by(&[], 0), few(0, 1), "nobody's word is never enough");
    let strangers = SshPublicKey::parse(&KEYS[3].line()).unwrap().fingerprint();
    let unlisted = by(&[3], 1);
    assert_eq!(unlisted, few_of(0, 1, vec![strangers.clone()]));
    assert_eq!(
        unlisted.unwrap_err().to_string(),
        format!("0 of the people who may sign it have, and 1 have to; not listed: {strangers}")
    );
    assert_eq!(by(&[0, 1], 2), few(1, 2), "each counts once");
    let malformed = Err(AnswerRefusal::Malformed(Bundle::NAME));
    assert_eq!(by(&[0, 1, 0], 2), malformed, "twice the same");
    let both = by(&[3, 2, 1], 2).unwrap().1;
    assert_eq!(both, ["alice", "bob"]);
    let other = signed(&text, &[0], NAMESPACE).verify(&signers(), 1);
    assert_eq!(other, Err(AnswerRefusal::Purpose));
    // One that is wrong refuses the whole, no matter who else has signed.
    let mut half = signed(&text, &[0, 2], POLICY_NAMESPACE);
    half.signatures[1] =
        signed(&text.replace('7', "8"), &[2], POLICY_NAMESPACE).signatures[0].clone();
    assert_eq!(half.verify(&signers(), 1), Err(AnswerRefusal::Forged));
}

#[test]
fn no_other_bytes_are_taken_for_it() {
    let text = String::from_utf8(bundle().to_bytes().unwrap()).unwrap();
    let whole = signed(&text, &[0], POLICY_NAMESPACE);
    assert!(whole.verify(&signers(), 1).is_ok());
    for at in 0..text.len() {
        for bit in 0..7 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let bundle = String::from_utf8(bytes).unwrap();
            let one = SignedBundle {
                bundle,
                ..whole.clone()
            };
            assert!(one.verify(&signers(), 1).is_err(), "{at}.{bit}");
        }
        let bundle = text[..at].to_owned();
        let one = SignedBundle {
            bundle,
            ..whole.clone()
        };
        assert!(one.verify(&signers(), 1).is_err(), "{at}");
    }
}

#[test]
fn what_names_what_it_has_not_is_none() {
    let refused = |change: &dyn Fn(&mut Bundle)| {
        let mut one = bundle();
        change(&mut one);
        let text = String::from_utf8(one.to_bytes().unwrap()).unwrap();
        signed(&text, &[0], POLICY_NAMESPACE).verify(&signers(), 1)
    };
    let malformed = Err(AnswerRefusal::Malformed(Bundle::NAME));
    assert_eq!(
        refused(&|one| one.base = Some("roof".to_owned())),
        malformed
    );
    assert_eq!(refused(&|one| one.groups.clear()), malformed);
    assert_eq!(refused(&|one| one.groups.push("a b".to_owned())), malformed);
    for name in ["", "../floor", ".floor", "a/b", "ä"] {
        let add = |one: &mut Bundle| {
            one.policies.insert(name.to_owned(), String::new());
        };
        assert_eq!(refused(&add), malformed, "{name}");
    }
    // Two policies of one name are no bundle, whichever a reader would take.
    let text = String::from_utf8(bundle().to_bytes().unwrap()).unwrap();
    let twice = text.replace("\"floor\":\"", "\"floor\":\"\",\"floor\":\"");
    let twice = signed(&twice, &[0], POLICY_NAMESPACE).verify(&signers(), 1);
    assert_eq!(twice, Err(AnswerRefusal::NotCanonical(Bundle::NAME)));
    let mut long = bundle();
    long.policies.insert("a".to_owned(), "x".repeat(LONGEST));
    assert_eq!(long.to_bytes(), Err(AnswerRefusal::Malformed(Bundle::NAME)));
}

/// What revokes keys has another version, which guardds that cannot revoke any refuse, and nothing else has it.
#[test]
fn keys_are_revoked_by_their_fingerprints_in_a_version_of_its_own() {
    let plain = String::from_utf8(bundle().to_bytes().unwrap()).unwrap();
    assert!(!plain.contains("revoked") && plain.ends_with(r#""serial":7,"v":1}"#));
    let key = SshPublicKey::parse(&KEYS[1].line()).unwrap().fingerprint();
    let of = |revoked: &[&str], v: u64| Bundle {
        revoked: revoked.iter().map(|&one| one.to_owned()).collect(),
        v,
        ..bundle()
    };
    let verified = |one: &Bundle| {
        let text = String::from_utf8(one.to_bytes().unwrap()).unwrap();
        signed(&text, &[0], POLICY_NAMESPACE).verify(&signers(), 1)
    };
    let revoking = of(&[&key], 2);
    let text = String::from_utf8(revoking.to_bytes().unwrap()).unwrap();
    let end = format!(r#""revoked":["{key}"],"serial":7,"v":2}}"#);
    assert!(text.ends_with(&end), "{text}");
    assert_eq!(verified(&revoking).unwrap().bundle, revoking);
    let malformed = AnswerRefusal::Malformed(Bundle::NAME);
    for wrong in [of(&[&key], 1), of(&[], 2), of(&[&key], 3)] {
        assert_eq!(wrong.to_bytes(), Err(malformed.clone()), "{wrong:?}");
    }
    let emptied = plain.replace(r#""serial""#, r#""revoked":[],"serial""#);
    let emptied = signed(&emptied, &[0], POLICY_NAMESPACE).verify(&signers(), 1);
    assert_eq!(emptied, Err(AnswerRefusal::NotCanonical(Bundle::NAME)));
    for none in [
        "",
        "alice",
        "SHA256:",
        &key[..49],
        &format!("{key}A"),
        &key.replace(':', " "),
    ] {
        assert_eq!(verified(&of(&[none], 2)), Err(malformed.clone()), "{none}");
    }
    let many = vec![key.as_str(); MAX_REVOKED + 1];
    assert_eq!(verified(&of(&many, 2)), Err(malformed));
    assert!(verified(&of(&many[1..], 2)).is_ok());
}

#[test]
fn a_list_that_is_not_understood_is_none() {
    let key = KEYS[0].line();
    assert_eq!(signers().people(), 2);
    assert!(Signers::parse("\n# Nobody.\n").unwrap().is_empty());
    for text in [
        "alice",
        "alice ssh-rsa AAAA",
        &format!("alice cert-authority {key}"),
        &key,
    ] {
        let refused = Signers::parse(&format!("# One.\n{text}\n")).unwrap_err();
        assert!(refused.starts_with("line 2: "), "{refused}");
    }
}

proptest! {
    #![proptest_config(rounds(256))]

    /// Whatever is in it, reading gives it back, and a second reader finds the same in the same bytes.
    #[test]
    fn it_has_one_form(
        names in proptest::collection::btree_map("[a-z][a-z0-9._-]{0,8}", ".{0,40}", 0..4),
        revoked in proptest::collection::vec(".{0,60}", 0..3),
        serial in 0_u64..1 << 53,
    ) {
        let base = names.keys().next().cloned();
        let v = if revoked.is_empty() { 1 } else { 2 };
        let one = Bundle { base, groups: vec!["ci".to_owned()], policies: names, revoked, serial, v };
        let bytes = one.to_bytes().unwrap();
        prop_assert_eq!(Bundle::from_bytes(&bytes), Ok(one.clone()));
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        // serde_json's own maps are in the order of their keys.
        prop_assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
    }

    #[test]
    fn nothing_that_is_read_panics(text in ".{0,200}") {
        let _ = Bundle::from_bytes(text.as_bytes());
        let _ = Signers::parse(&text);
        let one = SignedBundle { bundle: text.clone(), signatures: vec![text] };
        prop_assert!(one.verify(&signers(), 1).is_err());
    }
}
