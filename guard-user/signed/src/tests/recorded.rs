//! Answers that were signed once, by a key of each kind: what was a signature stays one. `cargo xtask bench` checks them as well.

use std::{fs, path::PathBuf};

use data_encoding::BASE64URL_NOPAD;

use super::{ORIGIN, PAGE, Page, answer, passkeys, signed, ssh_keys};
use crate::{
    Signed,
    approvers::{ApproverList, Key, SigningApprover},
};

/// Whose key is of which kind.
const NAMES: [&str; 6] = [
    "ed25519",
    "p256",
    "fido-ed25519",
    "fido-p256",
    "passkey-ed25519",
    "passkey-p256",
];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("recorded")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

#[test]
fn what_was_recorded_is_taken() {
    let approvers = ApproverList::parse(&read("approvers.toml")).unwrap();
    let all: Vec<Signed> = serde_json::from_str(&read("answers.json")).unwrap();
    let origins = [ORIGIN.to_owned()];
    let mut names = Vec::new();
    for one in all {
        let (owner, key) = approvers.owner_of(&one.key).unwrap();
        names.push(owner.name.clone());
        assert_eq!(one.verify(key, &origins), Ok(answer()), "{}", owner.name);
        let other = Signed {
            answer: one.answer.replace(":900", ":901"),
            ..one
        };
        assert!(other.verify(key, &origins).is_err(), "{}", owner.name);
    }
    assert_eq!(names, NAMES);
}

#[test]
fn what_an_authenticator_says_of_other_devices_is_read() {
    for passkey in passkeys() {
        for (flags, is_synced) in [(0x05, false), (0x0d, true), (0x1d, true)] {
            let one = passkey.sign(&answer(), &Page { flags, ..PAGE });
            let taken = one.verify(&passkey.key, &[ORIGIN.to_owned()]);
            assert_eq!(taken, Ok(answer()), "{flags}");
            assert_eq!(one.is_synced(), is_synced, "{flags}");
        }
    }
    for key in ssh_keys() {
        assert!(!signed(&key, &answer()).is_synced());
    }
}

#[test]
#[ignore = "it writes them again, where an answer has another form"]
fn record() {
    let by_ssh = ssh_keys().into_iter().map(|key| {
        let enrolled = Key::ssh(&key.line()).unwrap();
        (enrolled, signed(&key, &answer()))
    });
    let by_passkeys = passkeys().into_iter().zip(1_u8..).map(|(mut passkey, id)| {
        let id = BASE64URL_NOPAD.encode(&[id; 16]);
        passkey.key = Key::passkey(&id, &passkey.key.public).unwrap();
        (passkey.key.clone(), passkey.sign(&answer(), &PAGE))
    });
    let (mut approvers, mut answers) = (ApproverList::default(), Vec::new());
    for (name, (key, signed)) in NAMES.into_iter().zip(by_ssh.chain(by_passkeys)) {
        let who = SigningApprover {
            name: name.to_owned(),
            answers_for: vec!["dev".to_owned()],
            policies: vec!["*".to_owned()],
            max_for: None,
            keys: Vec::new(),
        };
        approvers.add(&who, &key).unwrap();
        answers.push(signed);
    }
    fs::create_dir_all(file("")).unwrap();
    fs::write(file("approvers.toml"), approvers.to_toml()).unwrap();
    let answers = serde_json::to_string_pretty(&answers).unwrap();
    fs::write(file("answers.json"), answers + "\n").unwrap();
}
