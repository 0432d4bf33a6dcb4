//! Who may sign: invited, accepted, added and removed by root. The audit log gets each public key, so that its own chain says
//! by which keys its answers may be signed.

use std::time::Duration;

use guard_policy::format_duration;
use guard_proto::{
    self as proto,
    approvers::{Enrolment, PresentedKey},
    record::{ApproverAdded, ApproverRemoved, Field},
};
use guard_signed::{
    Kind,
    approvers::{ApproverList, Key, PASSKEY, SigningApprover as Person},
    bundle::Endorsed,
};
use guard_sys::{accounts::UserAccount, clock::Clocks};

use super::{INVITED, SignedAnswers, question_bytes::switched_off};
use crate::{
    config::Config,
    control::{answering::Answering, failure::CallError},
    holes::checked,
    machine::{DecidedBy, Machine},
    record::Recorder,
    times::after,
};

/// What it takes to enrol somebody.
#[derive(Debug)]
pub(crate) struct Enrolling<'s> {
    /// Those who are enrolled by now.
    pub(crate) signed_answers: &'s mut SignedAnswers,
    /// The names of those who decide.
    pub(crate) machine: &'s mut Machine,
    /// The audit log.
    pub(crate) recorder: &'s mut Recorder,
    /// The settings.
    pub(crate) config: &'s Config,
    /// The fingerprints of keys that the fleet's policies revoke.
    pub(crate) revoked: &'s [String],
}

impl Enrolling<'_> {
    /// Those who may answer from elsewhere, as `may` says by a person's list of users.
    #[must_use]
    pub(crate) fn approvers(&self, may: impl Fn(&[String]) -> bool) -> proto::approvers::Approvers {
        let people = self.signed_answers.people.known().all.iter();
        let people = people.filter(|one| may(&one.answers_for));
        let is_off = self.config.answers.couriers.is_none();
        let off = is_off.then(|| {
            let off = switched_off().failure;
            format!("{}: {}", off.what, off.why)
        });
        proto::approvers::Approvers {
            approvers: people.map(shown).collect(),
            warnings: off.into_iter().collect(),
            origins: self.config.answers.origins.clone(),
            revoked: self.revoked.to_vec(),
        }
    }

    /// Invites somebody to present a key.
    ///
    /// # Errors
    ///
    /// That the invitation cannot be for such a person.
    pub(crate) fn invite(
        &mut self,
        who: &Enrolment,
        seconds: Option<f64>,
    ) -> Result<proto::approvers::Invited, CallError> {
        if self.config.answers.couriers.is_none() {
            return Err(switched_off());
        }
        self.signed_answers.may_be_changed()?;
        let about = self.signed_answers.person(who)?;
        about.check()?;
        are_users(&about)?;
        let wanted = match seconds {
            Some(_) => checked::term(seconds)?,
            None => INVITED,
        };
        let time = wanted.min(INVITED);
        let warnings = (wanted > time).then(|| {
            let (time, wanted) = (format_duration(time), format_duration(wanted));
            format!("the invitation counts for {time} instead of {wanted}: no longer than that")
        });
        let not_carried = not_carried(&about);
        let invitation = self.signed_answers.invite(about, time)?;
        let clocks = Clocks::read();
        let origins = self.config.answers.origins.iter();
        Ok(proto::approvers::Invited {
            name: who.name.clone(),
            links: origins
                .map(|origin| format!("{origin}/enrol/{invitation}"))
                .collect(),
            invitation,
            expires_at: clocks.calendar(after(guard_sys::clock::now(), time)),
            warnings: warnings.into_iter().chain(not_carried).collect(),
        })
    }

    /// Enrols the key that somebody has presented.
    ///
    /// # Errors
    ///
    /// That nobody has, or another one.
    pub(crate) fn accept(
        &mut self,
        by: &Answering,
        name: &str,
        fingerprint: &str,
        plain: bool,
    ) -> Result<proto::approvers::Approvers, CallError> {
        let presented = self.signed_answers.presented(name).cloned();
        let (about, key) = presented
            .and_then(|one| Some((one.about, one.key?)))
            .ok_or_else(|| nothing_presented(name))?;
        if key.fingerprint != fingerprint {
            return Err(another_key(name, &key.fingerprint));
        }
        let done = self.enrolled(by, &about, &key, plain)?;
        self.signed_answers.end_invitation(name);
        Ok(done)
    }

    /// Enrols a key by its line.
    ///
    /// # Errors
    ///
    /// That it is none, or may not be enrolled.
    pub(crate) fn enrol(
        &mut self,
        by: &Answering,
        who: &Enrolment,
        line: &str,
        plain: bool,
    ) -> Result<proto::approvers::Approvers, CallError> {
        if self.config.answers.couriers.is_none() {
            return Err(switched_off());
        }
        let about = self.signed_answers.person(who)?;
        about.check()?;
        let key = Key::of_line(line).map_err(|why| {
            if line.starts_with(PASSKEY) {
                no_passkey(&why.to_string())
            } else {
                no_key(&why.to_string())
            }
        })?;
        self.enrolled(by, &about, &key, plain)
    }

    /// Writes it to the audit log, and then to the file.
    fn enrolled(
        &mut self,
        by: &Answering,
        about: &Person,
        key: &Key,
        plain: bool,
    ) -> Result<proto::approvers::Approvers, CallError> {
        self.signed_answers.may_be_changed()?;
        if !key.is_fido() && !plain {
            return Err(without_touch());
        }
        if self.revoked.contains(&key.fingerprint) {
            return Err(revoked(&key.fingerprint));
        }
        are_users(about)?;
        let mut now = self.signed_answers.people.known().clone();
        now.add(about, key)?;
        let DecidedBy { by, from } = self.machine.decided_by(Some(by));
        let record = ApproverAdded {
            approver: about.name.clone().into(),
            key: key.id.clone().into(),
            key_kind: kind(key).into(),
            public_key: key.public.clone().into(),
            fido: key.is_fido().into(),
            answers_for: about.answers_for.clone().into(),
            policies: about.policies.clone().into(),
            max_for: about.max_for.map(|most| most.as_secs_f64()).into(),
            by,
            from,
        };
        self.recorder.reserve()?;
        self.recorder.write(record)?;
        self.recorder.sync()?;
        let replaced = self.signed_answers.people.replace(now);
        replaced.map_err(|error| not_written(&error))?;
        let known = self.signed_answers.people.known().all.iter();
        let person = known.filter(|one| one.name == about.name);
        Ok(proto::approvers::Approvers {
            approvers: person.map(shown).collect(),
            warnings: (!key.is_fido())
                .then(could_sign)
                .into_iter()
                .chain(not_carried(about))
                .collect(),
            ..proto::approvers::Approvers::default()
        })
    }

    /// Takes keys back: the next answer by one of them is refused.
    ///
    /// # Errors
    ///
    /// That there is none, or the file cannot be written.
    pub(crate) fn remove_approver(
        &mut self,
        by: &Answering,
        called: &str,
    ) -> Result<proto::approvers::Approvers, CallError> {
        self.signed_answers.may_be_changed()?;
        let mut now = self.signed_answers.people.known().clone();
        let gone = now.remove(called);
        if gone.is_empty() {
            return Err(nobody(called));
        }
        let decided = self.machine.decided_by(Some(by));
        self.take_back(now, &gone, &decided)?;
        let synced = self.recorder.sync().err();
        let warnings = synced.map(|error| format!("removed, but: {error}"));
        let mut people: Vec<proto::ApproverShown> = Vec::new();
        for (name, key) in gone {
            match people.iter_mut().find(|one| one.name == name) {
                Some(one) => one.keys.push(key_shown(&key)),
                None => people.push(proto::ApproverShown {
                    name,
                    answers_for: Vec::new(),
                    policies: Vec::new(),
                    max_for: None,
                    keys: vec![key_shown(&key)],
                }),
            }
        }
        Ok(proto::approvers::Approvers {
            approvers: people,
            warnings: warnings.into_iter().collect(),
            ..proto::approvers::Approvers::default()
        })
    }

    /// Takes back the keys that the fleet's policies revoke, as those say who are known to have signed them. Whatever comes of the
    /// policies, and later: whose key that is, root has to enrol again.
    ///
    /// # Errors
    ///
    /// That the file cannot be written.
    pub(crate) fn revoke(&mut self, revoking: &Endorsed) -> Result<(), CallError> {
        let mut now = self.signed_answers.people.known().clone();
        let revoked = revoking.bundle.revoked.iter();
        let gone: Vec<_> = revoked.flat_map(|key| now.remove(key)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let by = format!(
            "the fleet's policies {}, signed by {}",
            revoking.bundle.serial,
            revoking.by.join(", ")
        );
        tracing::warn!(by, keys = gone.len(), "keys of approvers are revoked");
        let decided = DecidedBy {
            by: by.into(),
            from: Field::Absent,
        };
        self.take_back(now, &gone, &decided)
    }

    /// Has `now` be who may answer, which is without these.
    fn take_back(
        &mut self,
        now: ApproverList,
        gone: &[(String, Key)],
        decided: &DecidedBy,
    ) -> Result<(), CallError> {
        // The key first: what is not written down is gone all the same.
        let replaced = self.signed_answers.people.replace(now);
        replaced.map_err(|error| not_written(&error))?;
        for (approver, key) in gone {
            self.recorder.note(ApproverRemoved {
                approver: approver.clone().into(),
                key: key.id.clone().into(),
                key_kind: kind(key).into(),
                public_key: key.public.clone().into(),
                by: decided.by.clone(),
                from: decided.from.clone(),
            });
        }
        Ok(())
    }
}

impl SignedAnswers {
    /// Whether a key can be presented with an invitation. No try counts: nobody guesses its 128 bits, and the holder of
    /// an old link would keep the console from carrying answers.
    ///
    /// # Errors
    ///
    /// That it counts no more, or never did.
    pub(crate) fn invitation(
        &mut self,
        text: &str,
    ) -> Result<proto::approvers::Invitation, CallError> {
        let invited = self.invited_by(text).ok_or_else(not_invited)?;
        let name = invited.about.name.clone();
        Ok(proto::approvers::Invitation { name })
    }

    /// Takes the key of somebody who was invited, to be accepted by root. No try counts here either: a client that reaches the
    /// console's page presents keys without a login, and would stop all answers that come through it.
    ///
    /// # Errors
    ///
    /// That nobody was, or that it is no key.
    pub(crate) fn present(
        &mut self,
        invitation: &str,
        key: &PresentedKey,
    ) -> Result<proto::approvers::Presented, CallError> {
        let key = match key {
            PresentedKey {
                ssh: Some(line),
                passkey: None,
            } => Key::ssh(line),
            PresentedKey {
                ssh: None,
                passkey: Some(passkey),
            } => Key::passkey(&passkey.id, &passkey.public_key),
            _ => return Err(no_key("give one key: of SSH, or a passkey")),
        };
        let key = key.map_err(|why| no_key(&why.to_string()))?;
        let invited = self.invited_by(invitation).ok_or_else(not_invited)?;
        let presented = proto::approvers::Presented {
            name: invited.about.name.clone(),
            fingerprint: key.fingerprint.clone(),
        };
        invited.key = Some(key);
        Ok(presented)
    }

    /// Somebody as root describes him: what is not said stays as it is, or is the usual.
    fn person(&self, who: &Enrolment) -> Result<Person, CallError> {
        let mut known = self.people.known().all.iter();
        let known = known.find(|one| one.name == who.name);
        let said = who.answers_for.clone();
        let answers_for = said.or_else(|| known.map(|one| one.answers_for.clone()));
        let policies = who.policies.clone();
        let policies = policies.or_else(|| known.map(|one| one.policies.clone()));
        let longest = who
            .max_for
            .map(|most| checked::term(Some(most)))
            .transpose()?;
        Ok(Person {
            name: who.name.clone(),
            answers_for: answers_for.unwrap_or_else(|| vec![who.name.clone()]),
            policies: policies.unwrap_or_else(|| vec!["*".to_owned()]),
            max_for: longest.or_else(|| known.and_then(|one| one.max_for)),
            keys: Vec::new(),
        })
    }
}

/// Whether all are there whose sessions somebody is to answer for.
fn are_users(about: &Person) -> Result<(), CallError> {
    let unknown = about.answers_for.iter().find_map(|user| {
        let why = match UserAccount::uid_of(user) {
            Ok(Some(_)) => return None,
            Ok(None) => "on this machine there is none of that name".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(format!("they are to answer for the user {user:?}: {why}"))
    });
    unknown.map_or(Ok(()), |why| Err(no_user(&about.name, why)))
}

/// The warning for an approver who is to answer for root.
fn not_carried(about: &Person) -> Option<String> {
    let is_for_root = |user: &String| matches!(UserAccount::uid_of(user), Ok(Some(0)));
    about.answers_for.iter().any(is_for_root).then(|| {
        "no courier carries requests of root's sessions: root answers those at the machine"
            .to_owned()
    })
}

fn no_user(name: &str, why: String) -> CallError {
    CallError::invalid(
        format!("{name} cannot be enrolled"),
        why,
        format!(
            "say as which user the agents run, such as:\nsudo guard approver invite {name} --answers-for dev"
        ),
    )
}

fn shown(one: &Person) -> proto::ApproverShown {
    proto::ApproverShown {
        name: one.name.clone(),
        answers_for: one.answers_for.clone(),
        policies: one.policies.clone(),
        max_for: one.max_for.map(|most: Duration| most.as_secs_f64()),
        keys: one.keys.iter().map(key_shown).collect(),
    }
}

fn key_shown(key: &Key) -> proto::approvers::KeyShown {
    proto::approvers::KeyShown {
        id: key.id.clone(),
        kind: kind(key).to_owned(),
        fingerprint: key.fingerprint.clone(),
        fido: key.is_fido(),
        public_key: key.public.clone(),
        synced: key.is_synced(),
    }
}

fn kind(key: &Key) -> &'static str {
    match key.kind() {
        Kind::Ssh => "ssh",
        Kind::Passkey => "passkey",
    }
}

fn no_key(why: &str) -> CallError {
    CallError::invalid(
        "that is no key that can be enrolled",
        why,
        "ssh-keygen -t ed25519-sk, and give the .pub file",
    )
}

fn no_passkey(why: &str) -> CallError {
    CallError::invalid(
        "that is no passkey that can be enrolled",
        why,
        "copy the whole line from the page on which it was made:\nsudo guard approver add NAME --passkey ID:KEY",
    )
}

fn not_invited() -> CallError {
    CallError::refused(
        "this invitation counts no more",
        "it was used, is older than its ten minutes, or guardd has been restarted since",
        "ask root for another, on the machine:\nsudo guard approver invite NAME --answers-for USER",
    )
}

fn nothing_presented(name: &str) -> CallError {
    CallError::not_found(
        "nobody was enrolled",
        format!("no key of {name} waits to be accepted"),
        format!("guard approver invite {name}, and have the key presented within its time"),
    )
}

fn another_key(name: &str, fingerprint: &str) -> CallError {
    CallError::refused(
        "nobody was enrolled",
        format!("the key that was presented for {name} is {fingerprint}"),
        "compare it with what its owner sees; where it is another, somebody else has presented one: invite again",
    )
}

fn without_touch() -> CallError {
    CallError::refused(
        "the key was not enrolled",
        "a program that can use it, or reaches its ssh-agent, signs with it alone: nobody has to touch anything",
        "take a FIDO key (ssh-keygen -t ed25519-sk); or --plain, for a key that is never on this machine",
    )
}

fn revoked(fingerprint: &str) -> CallError {
    CallError::refused(
        "the key was not enrolled",
        format!("the fleet's policies revoke {fingerprint}"),
        "enrol another one; or have policies pushed that do not revoke it: guard policy sign, guard-fleet push",
    )
}

fn could_sign() -> String {
    "a program that reaches this key or its ssh-agent can say yes with it: keep both off this machine".to_owned()
}

fn nobody(called: &str) -> CallError {
    let called: String = called.chars().take(80).collect();
    CallError::not_found(
        "nobody was removed",
        format!("there is no approver and no key {called:?}"),
        "guard approver list",
    )
}

fn not_written(error: &std::io::Error) -> CallError {
    CallError::failed(
        "the approvers stay as they were",
        format!("their file cannot be written: {error}"),
        "see to the directory of approvers.toml, and try again",
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        config::AnswersTable,
        machine::machine,
        record::{recorder, shelf::Shelf},
        signed_answers::{AnswerFiles, people::People},
    };

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKs3ULRy3vxDYvU4qRrWRZLKLbBGZBtO7Y7ZkYqgB8jX";

    fn root() -> Answering {
        Answering::by(0, "root", "root")
    }

    fn alice() -> Enrolment {
        Enrolment {
            name: "alice".to_owned(),
            answers_for: Some(vec!["root".to_owned()]),
            policies: None,
            max_for: None,
        }
    }

    #[tokio::test]
    async fn who_is_enrolled_or_removed_is_in_the_log_and_nobody_whose_key_is_revoked()
    -> Result<(), CallError> {
        let (mut recorder, dir) = recorder();
        let config = Config {
            answers: AnswersTable {
                couriers: Some(Vec::new()),
                ..AnswersTable::default()
            },
            ..Config::default()
        };
        let files = AnswerFiles {
            questions: Shelf::nowhere(),
            used: Shelf::nowhere(),
            boot: Shelf::nowhere(),
        };
        let people = People::read(dir.path().join("approvers.toml"));
        let mut signed_answers = SignedAnswers::new(people, &files, &config);
        let mut machine = machine(Path::new("/nonexistent"));
        let log = recorder.audit().path().to_owned();
        let records = || {
            let text = fs::read_to_string(&log);
            text.unwrap_or_default().lines().count()
        };
        let by = root();
        let mut enrolling = Enrolling {
            signed_answers: &mut signed_answers,
            machine: &mut machine,
            recorder: &mut recorder,
            config: &config,
            revoked: &[],
        };
        // Without --plain nobody has to touch it.
        assert!(enrolling.enrol(&by, &alice(), KEY, false).is_err());
        assert_eq!(records(), 0);
        let done = enrolling.enrol(&by, &alice(), KEY, true)?;
        assert_eq!(done.approvers[0].name, "alice");
        let revoked = [done.approvers[0].keys[0].fingerprint.clone()];
        assert_eq!(
            (enrolling.approvers(|_| true).approvers.len(), records()),
            (1, 1)
        );
        enrolling.remove_approver(&by, "alice")?;
        assert!(enrolling.remove_approver(&by, "alice").is_err());
        assert_eq!(
            (enrolling.approvers(|_| true).approvers.len(), records()),
            (0, 2)
        );
        let mut enrolling = Enrolling {
            revoked: &revoked,
            ..enrolling
        };
        assert!(enrolling.enrol(&by, &alice(), KEY, true).is_err());
        assert_eq!(records(), 2);
        Ok(())
    }
}
