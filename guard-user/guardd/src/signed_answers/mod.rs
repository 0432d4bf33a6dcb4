//! Signed answers: a yes that an approver has signed elsewhere over the bytes of guardd's question, whichever courier hands it in. Those at
//! the machine are in `requests/approve_or_deny.rs`.
//!
//! `question_bytes.rs` makes a question's bytes, once, and `shows.rs` what people read of it. `taking.rs` checks a signed answer, one
//! condition after the other, and notes on the disk that it is used before anything opens; `stopping.rs` says what a yes opens, by
//! whose rules several have to sign. `enrolling.rs` is who may sign, `scope.rs` whose requests a courier carries.
//! guardd reads signatures with `guard-signed`, and opens by the same functions as for a yes at the machine.

pub(crate) mod couriers;
pub(crate) mod enrolling;
pub(crate) mod meter;
pub(crate) mod people;
pub(crate) mod question_bytes;
pub(crate) mod questions;
mod refusals;
pub(crate) mod scope;
pub(crate) mod shows;
pub(crate) mod stopping;
mod taking;

use std::{fs, io, time::Duration};

use guard_common::BootTime;
use guard_signed::approvers::{Key, SigningApprover};
use guard_sys::{accounts::UserAccount, clock};
use ring::digest::{SHA256, digest};

use self::{
    meter::Meter,
    people::People,
    questions::{GivenQuestion, Questions},
};
use crate::{
    config::{Config, CourierUser as Named},
    control::{auth::Courier, failure::CallError},
    record::shelf::Shelf,
    times::after,
};

/// How long an invitation counts at most, and if nobody says for how long.
pub(crate) const INVITED: Duration = Duration::from_secs(600);
/// Invitations at once.
const MAX_INVITED: usize = 16;

/// Owns who may sign answers, the questions that were made, and what is used.
#[derive(Debug)]
pub(crate) struct SignedAnswers {
    /// Who may answer.
    people: People,
    /// The questions whose bytes were given out.
    questions: Questions,
    /// What came that was wrong.
    meter: Meter,
    invited: Vec<OpenInvitation>,
    /// The users that are couriers.
    couriers: Vec<u32>,
    /// The one of them that may read all of the audit log.
    keeps_log: Option<u32>,
    machine: String,
    boot: String,
}

/// The files that outlive guardd, but not the kernel's state.
#[derive(Clone, Debug)]
pub(crate) struct AnswerFiles {
    /// Questions, by the request's id.
    pub(crate) questions: Shelf<GivenQuestion>,
    /// Used nonces, and until when their questions were open.
    pub(crate) used: Shelf<u64>,
    /// The number of the kernel's state.
    pub(crate) boot: Shelf<String>,
}

/// Somebody who may present a key.
#[derive(Clone, Debug)]
pub(crate) struct OpenInvitation {
    /// What is to be said of that person.
    pub(crate) about: SigningApprover,
    /// The hash of the invitation.
    token: [u8; 32],
    until: BootTime,
    /// The key, once it was presented.
    pub(crate) key: Option<Key>,
}

/// The number of the kernel's state, made where there is none yet.
fn number(files: &AnswerFiles) -> io::Result<String> {
    const KEY: &str = "boot";
    if let Some(boot) = files.boot.get(KEY) {
        return Ok(boot);
    }
    let boot = random()?;
    files.boot.put_synced(KEY, &boot)?;
    Ok(boot)
}

impl SignedAnswers {
    /// With what is on the disk of people; of the rest nothing, until [`Self::begin`].
    #[must_use]
    pub(crate) fn new(people: People, files: &AnswerFiles, config: &Config) -> Self {
        Self {
            people,
            questions: Questions::new(files),
            meter: Meter::default(),
            invited: Vec::new(),
            couriers: users(config.answers.couriers.iter().flatten()),
            keeps_log: users(config.fleet.log.iter()).pop(),
            machine: machine_id(),
            boot: String::new(),
        }
    }

    /// Takes over what an earlier guardd has kept, once it is known whether the kernel's state is the same: a question ends
    /// with that at the latest. Where the number of the state cannot be kept, no question is made: an answer could count twice.
    pub(crate) fn begin(&mut self, files: &AnswerFiles) {
        match number(files) {
            Ok(boot) => {
                self.questions.recall(&boot, clock::now());
                self.boot = boot;
            }
            Err(error) => tracing::warn!(
                "signed answers are not taken until guardd is restarted: the number of its state cannot be kept: {error}"
            ),
        }
    }

    /// The question about a request, if its bytes were given out.
    #[must_use]
    pub(crate) fn question(&self, request: &str) -> Option<&GivenQuestion> {
        self.questions.of(request)
    }

    /// Whether a user has tried too many signatures in this second.
    #[must_use]
    pub(crate) fn has_too_many_wrong(&self, uid: u32, now: BootTime) -> bool {
        self.meter.is_over(uid, now)
    }

    /// Whether the approvers may be changed on the disk.
    fn may_be_changed(&self) -> Result<(), CallError> {
        let whole = self.people.is_whole();
        whole.map_err(|file| CallError::unread("the approvers cannot be changed", &file))
    }

    /// What this machine is called in questions.
    #[must_use]
    pub(crate) fn machine(&self) -> &str {
        &self.machine
    }

    /// The number of the kernel's state; empty: it could not be kept.
    #[must_use]
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// Whether that user is a courier.
    #[must_use]
    pub(crate) fn is_courier(&self, uid: u32) -> bool {
        self.couriers.contains(&uid)
    }

    /// Whether that courier may read all of the audit log, no matter whose sessions it is about.
    #[must_use]
    pub(crate) fn keeps_log(&self, who: Courier) -> bool {
        self.keeps_log == Some(who.uid())
    }

    /// Keeps an invitation, and returns it: it is told once.
    ///
    /// # Errors
    ///
    /// That there are too many, or no random numbers.
    pub(crate) fn invite(
        &mut self,
        about: SigningApprover,
        time: Duration,
    ) -> Result<String, CallError> {
        let now = clock::now();
        self.invited
            .retain(|one| one.until > now && one.about.name != about.name);
        if self.invited.len() >= MAX_INVITED {
            return Err(CallError::invalid(
                "nobody was invited",
                format!("{MAX_INVITED} people are invited already"),
                "wait until an invitation ends",
            ));
        }
        let token = random().map_err(|error| no_random(&error))?;
        self.invited.push(OpenInvitation {
            about,
            token: hash(&token),
            until: after(now, time),
            key: None,
        });
        Ok(token)
    }

    /// The invitation with that text, for which no key was presented yet.
    pub(crate) fn invited_by(&mut self, token: &str) -> Option<&mut OpenInvitation> {
        let (now, token) = (clock::now(), hash(token));
        let mut invited = self.invited.iter_mut();
        invited.find(|one| one.token == token && one.until > now && one.key.is_none())
    }

    /// The person of that name, with the key that was presented.
    #[must_use]
    pub(crate) fn presented(&self, name: &str) -> Option<&OpenInvitation> {
        let now = clock::now();
        let mut invited = self.invited.iter();
        invited.find(|one| one.about.name == name && one.until > now && one.key.is_some())
    }

    /// Ends a person's invitation.
    pub(crate) fn end_invitation(&mut self, name: &str) {
        self.invited.retain(|one| one.about.name != name);
    }
}

/// The users that the settings name as couriers. Root is none: it may do more.
fn users<'c>(named: impl Iterator<Item = &'c Named>) -> Vec<u32> {
    let known = named.filter_map(|Named(name)| match UserAccount::uid_of(name) {
        Ok(Some(0)) => {
            tracing::error!("root is no courier: take it out of couriers under [answers]");
            None
        }
        Ok(Some(uid)) => Some(uid),
        Ok(None) => {
            tracing::warn!(user = name, "is no courier: there is no such user");
            None
        }
        Err(error) => {
            tracing::error!(%error, user = name, "is no courier: cannot be looked up");
            None
        }
    });
    known.collect()
}

/// What this machine is called.
fn machine_id() -> String {
    guard_signed::machine(&fs::read_to_string("/etc/machine-id").unwrap_or_default())
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// 128 random bits, as text.
///
/// # Errors
///
/// The system's.
pub(crate) fn random() -> io::Result<String> {
    let mut bits = [0_u8; 16];
    fill(&mut bits)?;
    Ok(data_encoding::BASE64URL_NOPAD.encode(&bits))
}

/// Three random digits.
///
/// # Errors
///
/// The system's.
pub(crate) fn digits() -> io::Result<String> {
    let mut bits = [0_u8; 8];
    fill(&mut bits)?;
    // Of 64 bits, each of a thousand is as likely as another.
    Ok(format!("{:03}", u64::from_ne_bytes(bits) % 1000))
}

/// Three random digits that are not those.
///
/// # Errors
///
/// The system's.
pub(crate) fn other_digits(than: &str) -> io::Result<String> {
    loop {
        let drawn = digits()?;
        if drawn != than {
            return Ok(drawn);
        }
    }
}

fn fill(bits: &mut [u8]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let length = bits.len();
    match getrandom(bits, GetRandomFlags::empty())? {
        filled if filled == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

pub(crate) fn no_random(error: &io::Error) -> CallError {
    CallError::failed(
        "there are no random numbers",
        error.to_string(),
        "report it as a bug",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AnswersTable as Settings;

    fn answers(config: &Config) -> SignedAnswers {
        let files = AnswerFiles {
            questions: Shelf::nowhere(),
            used: Shelf::nowhere(),
            boot: Shelf::nowhere(),
        };
        SignedAnswers::new(
            People::read("/nonexistent/approvers.toml".into()),
            &files,
            config,
        )
    }

    fn alice() -> SigningApprover {
        SigningApprover {
            name: "alice".to_owned(),
            answers_for: vec!["dev".to_owned()],
            policies: vec!["*".to_owned()],
            max_for: None,
            keys: Vec::new(),
        }
    }

    #[test]
    fn an_invitation_is_for_one_key_and_a_while() {
        let mut answers = answers(&Config::default());
        let key = Key::ssh(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKs3ULRy3vxDYvU4qRrWRZLKLbBGZBtO7Y7ZkYqgB8jX",
        );
        let token = answers.invite(alice(), INVITED).unwrap();
        assert!(answers.invited_by("another").is_none());
        assert!(answers.presented("alice").is_none());
        answers.invited_by(&token).unwrap().key = Some(key.unwrap());
        assert!(answers.invited_by(&token).is_none(), "it was used");
        assert!(answers.presented("alice").is_some());
        answers.end_invitation("alice");
        assert!(answers.presented("alice").is_none());
        let token = answers.invite(alice(), Duration::ZERO).unwrap();
        assert!(answers.invited_by(&token).is_none(), "it is over");
    }

    #[test]
    fn a_wrong_invitation_stops_no_answers() {
        let mut answers = answers(&Config::default());
        let key = guard_proto::approvers::PresentedKey {
            ssh: Some(
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKs3ULRy3vxDYvU4qRrWRZLKLbBGZBtO7Y7ZkYqgB8jX"
                    .to_owned(),
            ),
            passkey: None,
        };
        let now = clock::now();
        for _ in 0..=meter::MOST {
            assert!(answers.present("AAAAAAAAAAAAAAAAAAAAAA", &key).is_err());
        }
        assert!(
            answers
                .meter
                .take_untold(after(now, Duration::from_secs(9)))
                .is_empty()
        );
        let token = answers.invite(alice(), INVITED).unwrap();
        assert!(answers.present(&token, &key).is_ok());
    }

    #[test]
    fn root_is_no_courier() {
        let config = Config {
            answers: Settings {
                couriers: Some(["0", "4711"].map(|one| Named(one.to_owned())).into()),
                ..Settings::default()
            },
            ..Config::default()
        };
        let answers = answers(&config);
        assert!(answers.is_courier(4711) && !answers.is_courier(0));
        assert_eq!(answers.keeps_log, None);
    }

    #[test]
    fn random_text_is_of_its_length_and_not_twice_the_same() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert!(one.len() == 22 && one != other);
        assert!((0..100).all(|_| digits().unwrap().len() == 3));
        assert!((0..5000).all(|_| other_digits("007").unwrap() != "007"));
    }
}
