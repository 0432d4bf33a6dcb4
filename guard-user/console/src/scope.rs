//! What somebody who is logged in may see and do, as guardd has it now: a session is worth what its approver still is.

use guard_courier::{Guardd, Refusal};
use guard_proto::{ApproverShown, Call, approvers::Approvers};
use guard_sys::accounts::UserAccount;

use crate::{
    Console,
    files::{Files, Identity},
};

/// An approver's users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The approver.
    pub(crate) name: String,
    users: Vec<String>,
    /// The same, as the audit log has them. Never root: its right would be one to all.
    pub(crate) uids: Vec<u32>,
}

impl Scope {
    /// That of somebody whose key is enrolled still.
    pub(crate) fn of(identity: &Identity, known: &Approvers) -> Option<Self> {
        let mut people = known.approvers.iter();
        let person = people.find(|one| one.name == identity.name)?;
        let mut keys = person.keys.iter();
        keys.any(|key| identity.keys.contains(&key.fingerprint))
            .then(|| Self::of_person(person))
    }

    /// That of an approver.
    pub(crate) fn of_person(person: &ApproverShown) -> Self {
        let uids = person.answers_for.iter();
        let uids = uids.filter_map(|name| UserAccount::uid_of(name).ok().flatten());
        Self {
            name: person.name.clone(),
            users: person.answers_for.clone(),
            uids: uids.filter(|uid| *uid != 0).collect(),
        }
    }

    /// Whether the scope includes that user.
    pub(crate) fn has(&self, user: &str) -> bool {
        self.users.iter().any(|one| one == user)
    }

    /// Its users, as they were named.
    pub(crate) fn users(&self) -> &[String] {
        &self.users
    }

    /// Whether none of its users is one of this machine.
    pub(crate) fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Whether that approver answers for one of its users, too.
    pub(crate) fn meets(&self, other: &ApproverShown) -> bool {
        other.answers_for.iter().any(|user| self.has(user))
    }
}

/// A browser with a session.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    guardd: Guardd,
    files: Files,
    secret: String,
}

impl Visitor {
    /// The visitor who has that secret; none: it is none of a session.
    pub(crate) fn of(console: &Console, secret: &str) -> Option<Self> {
        console.files.session(secret)?;
        Some(Self {
            guardd: console.guardd.clone(),
            files: console.files.clone(),
            secret: secret.to_owned(),
        })
    }

    /// Who has logged in there.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.files.session(&self.secret)
    }

    /// What it may see now; none: its session has ended.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(crate) async fn scope(&self) -> Result<Option<Scope>, Refusal> {
        let known = self.guardd.call::<Approvers>(&Call::Approvers {}).await?;
        let Some(identity) = self.files.session(&self.secret) else {
            return Ok(None);
        };
        let scope = Scope::of(&identity, &known);
        if scope.is_none() {
            tracing::info!(
                name = identity.name,
                "a session ends: its key is enrolled no more"
            );
            self.end();
        }
        Ok(scope)
    }

    /// Ends its session.
    pub(crate) fn end(&self) {
        self.files.end_session(&self.secret);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use guard_proto::approvers::KeyShown;

    /// An approver with one passkey.
    pub(crate) fn person(name: &str, users: &[&str], key: &str) -> ApproverShown {
        ApproverShown {
            name: name.to_owned(),
            answers_for: users.iter().map(|&user| user.to_owned()).collect(),
            policies: vec![],
            max_for: None,
            keys: vec![KeyShown {
                id: "k".to_owned(),
                kind: "passkey".to_owned(),
                fingerprint: key.to_owned(),
                fido: true,
                public_key: String::new(),
                synced: None,
            }],
        }
    }

    fn known(approvers: Vec<ApproverShown>) -> Approvers {
        Approvers {
            approvers,
            ..Approvers::default()
        }
    }

    #[test]
    fn a_session_is_worth_what_its_approver_still_is() {
        let alice = person("alice", &["61234", "0", "dev"], "SHA256:a");
        let bob = person("bob", &["61235"], "SHA256:b");
        let identity = Identity::of(&alice, &alice.keys);
        let now = known(vec![bob.clone(), alice.clone()]);
        let scope = Scope::of(&identity, &now).unwrap();
        assert!(scope.has("61234") && scope.has("dev") && !scope.has("61235"));
        assert!(!scope.has("*") && !scope.has(""));
        assert!(scope.uids.contains(&61234) && !scope.uids.contains(&0));
        assert!(scope.meets(&alice) && !scope.meets(&bob));

        assert_eq!(Scope::of(&identity, &known(vec![bob])), None);
        let another = person("alice", &["61234"], "SHA256:c");
        assert_eq!(
            Scope::of(&identity, &known(vec![another])),
            None,
            "her later key is another login"
        );
        let thief = person("mallory", &["61234"], "SHA256:a");
        assert_eq!(Scope::of(&identity, &known(vec![thief])), None);
        let less = person("alice", &["61235"], "SHA256:a");
        let scope = Scope::of(&identity, &known(vec![less])).unwrap();
        assert!(scope.has("61235") && !scope.has("61234") && !scope.is_empty());
        let nobody = person("alice", &["no-such-user", "0"], "SHA256:a");
        assert!(Scope::of_person(&nobody).is_empty());
    }
}
