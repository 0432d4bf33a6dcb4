//! The file of approvers.

use std::time::Duration;

use super::{passkeys, ssh_keys};
use crate::{
    Kind,
    approvers::{ApproverList, Key, MAX_KEYS, NoApprover, SigningApprover},
};

fn alice() -> SigningApprover {
    SigningApprover {
        name: "alice".to_owned(),
        answers_for: vec!["dev".to_owned(), "agent".to_owned()],
        policies: vec!["*".to_owned(), "prod-*".to_owned()],
        max_for: Some(Duration::from_secs(3600)),
        keys: Vec::new(),
    }
}

#[test]
fn the_file_says_what_was_written() {
    let mut approvers = ApproverList::default();
    assert_eq!(
        ApproverList::parse(&approvers.to_toml()).unwrap(),
        approvers
    );
    for key in ssh_keys() {
        approvers
            .add(&alice(), &Key::ssh(&key.line()).unwrap())
            .unwrap();
    }
    let bob = SigningApprover {
        name: "bob".to_owned(),
        max_for: None,
        ..alice()
    };
    approvers.add(&bob, &passkeys()[0].key).unwrap();
    let text = approvers.to_toml();
    assert_eq!(ApproverList::parse(&text).unwrap(), approvers, "{text}");
    let kinds: Vec<_> = approvers.all.iter().map(|one| one.keys[0].kind()).collect();
    assert_eq!(kinds, [Kind::Ssh, Kind::Passkey]);
    assert!(text.contains("max_for = \"1h\""), "{text}");
}

#[test]
fn nobody_is_two_people_and_no_name_is_more_than_one() {
    let mut approvers = ApproverList::default();
    let key = Key::ssh(&ssh_keys()[0].line()).unwrap();
    approvers.add(&alice(), &key).unwrap();
    let bob = SigningApprover {
        name: "bob".to_owned(),
        ..alice()
    };
    let twice = NoApprover::Twice(key.id.clone(), "alice".to_owned());
    assert_eq!(approvers.add(&bob, &key), Err(twice));
    for wrong in ["", "a\nb", "a\"b", "ä", &"a".repeat(65), "a b"] {
        let who = SigningApprover {
            name: wrong.to_owned(),
            ..alice()
        };
        let other = Key::ssh(&ssh_keys()[1].line()).unwrap();
        assert!(
            matches!(approvers.add(&who, &other), Err(NoApprover::Name(_))),
            "{wrong:?}"
        );
        let who = SigningApprover {
            answers_for: vec![wrong.to_owned()],
            ..alice()
        };
        assert!(approvers.add(&who, &other).is_err());
    }
    let text = approvers.to_toml().replace("alice", "a\\nb");
    assert!(
        ApproverList::parse(&text).is_err(),
        "a file is no better than a call"
    );
    for _ in 1..MAX_KEYS {
        let key = Key::ssh(&ssh_keys()[0].line()).unwrap();
        approvers.add(&alice(), &key).unwrap();
    }
    let more = Key::ssh(&ssh_keys()[0].line()).unwrap();
    assert_eq!(approvers.add(&alice(), &more), Err(NoApprover::Full));
}

#[test]
fn people_and_keys_are_removed() {
    let mut approvers = ApproverList::default();
    let keys: Vec<_> = ssh_keys()
        .iter()
        .map(|key| Key::ssh(&key.line()).unwrap())
        .collect();
    for key in &keys[..2] {
        approvers.add(&alice(), key).unwrap();
    }
    assert!(approvers.remove("bob").is_empty());
    assert_eq!(
        approvers.remove(&keys[0].id),
        [("alice".to_owned(), keys[0].clone())]
    );
    assert!(approvers.owner_of(&keys[0].id).is_none());
    let (owner, key) = approvers.owner_of(&keys[1].id).unwrap();
    assert_eq!((&*owner.name, &key.id), ("alice", &keys[1].id));
    assert_eq!(approvers.remove("alice").len(), 1);
    assert!(approvers.all.is_empty());
}

#[test]
fn what_a_passkey_s_authenticator_has_said_is_kept_and_a_copy_is_never_forgotten() {
    let mut approvers = ApproverList::default();
    let (passkey, ssh) = (
        passkeys()[0].key.clone(),
        Key::ssh(&ssh_keys()[0].line()).unwrap(),
    );
    for key in [&passkey, &ssh] {
        approvers.add(&alice(), key).unwrap();
    }
    let is_synced = |all: &ApproverList| all.owner_of(&passkey.id).unwrap().1.is_synced();
    assert_eq!(is_synced(&approvers), None);
    assert!(approvers.learned(&ssh.id, false).is_none());
    assert!(approvers.learned("another", true).is_none());
    for (said, now) in [(false, false), (true, true)] {
        approvers = approvers.learned(&passkey.id, said).unwrap();
        assert_eq!(is_synced(&approvers), Some(now));
        assert!(approvers.learned(&passkey.id, said).is_none(), "no news");
        let text = approvers.to_toml();
        assert_eq!(ApproverList::parse(&text).unwrap(), approvers, "{text}");
    }
    assert!(approvers.learned(&passkey.id, false).is_none());
    let of_ssh = approvers.to_toml().replace(
        "[[approver.key]]\nkind = \"ssh\"\n",
        "[[approver.key]]\nkind = \"ssh\"\nsynced = true\n",
    );
    assert!(ApproverList::parse(&of_ssh).is_err(), "{of_ssh}");
}
