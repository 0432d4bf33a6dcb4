//! What is published where, and who may do that.
//!
//! | subject | what | published by | read by |
//! |---|---|---|---|
//! | `guard.GROUP.here.MACHINE` | that a machine is there, each half minute | that machine | people |
//! | `guard.GROUP.question.MACHINE.REQUEST` | a question; empty: it is over | that machine | people |
//! | `guard.GROUP.look` | that somebody looks, each five seconds | people | machines |
//! | `guard.GROUP.answer.MACHINE.REQUEST` | a signed answer, until there is a receipt | people | that machine |
//! | `guard.GROUP.receipt.MACHINE.REQUEST` | what guardd said of it | that machine | people |
//! | `guard.GROUP.no.MACHINE.REQUEST` | a no that nobody signed, until there is a receipt; in the place of a request a hole, which is to be closed, or `flows`: what sessions have reached | consoles | that machine |
//! | `guard.GROUP.approvers.MACHINE` | who may answer there, and while somebody looks its sessions and holes, when asked and when that changes; what sessions have reached, when asked | that machine | consoles |
//! | `guard.GROUP.removed.MACHINE` | that it is in the fleet no more | who keeps the list | consoles |
//! | `guard.GROUP.who` | that a console wants to know | consoles | machines |
//! | `guard.GROUP.log.MACHINE` | a record of its audit log, as it stands there; the server keeps them | that machine | people who may, out of the server's stream |
//! | `guard.GROUP.policies` | a signed bundle of policies | people who may, who keeps the list | machines, who keeps the list |
//! | `guard.GROUP.want` | that a machine wants the last one | machines | who keeps the list |
//! | `guard.GROUP.join.INVITATION` | a machine would join | whoever has that key | who keeps the list |
//! | `guard.GROUP.joined.INVITATION` | what came of it | who keeps the list | whoever has that key |
//!
//! A server that gives each its rights (`rights.rs`) lets a machine speak for itself alone.

use std::{fmt, str::FromStr};

use nkeys::{KeyPair, KeyPairType};
use serde::{Deserialize, Serialize};

/// The public key of a user of NATS: a machine, a person, or an invitation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct NatsKey(String);

/// Machines that the same people look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct Group(String);

/// A machine, as guardd calls it in questions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct Machine(String);

/// Something that a machine says, or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectKind {
    Here,
    Question,
    Answer,
    Receipt,
    No,
    Approvers,
    Log,
    Removed,
}

impl SubjectKind {
    const ALL: [Self; 8] = [
        Self::Here,
        Self::Question,
        Self::Answer,
        Self::Receipt,
        Self::No,
        Self::Approvers,
        Self::Log,
        Self::Removed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Question => "question",
            Self::Answer => "answer",
            Self::Receipt => "receipt",
            Self::No => "no",
            Self::Approvers => "approvers",
            Self::Log => "log",
            Self::Removed => "removed",
        }
    }

    /// Whether it is about what `text` is: a request, or a hole where one can be closed.
    fn is_about(self, text: &str) -> bool {
        is_request(text) || matches!(self, Self::No | Self::Receipt) && is_hole(text)
    }

    /// Whether it is about a machine, and no request of it.
    fn is_of_a_machine(self) -> bool {
        matches!(
            self,
            Self::Here | Self::Approvers | Self::Log | Self::Removed
        )
    }
}

/// A subject about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) group: Group,
    pub(crate) what: SubjectKind,
    pub(crate) machine: Machine,
    /// Or a hole; none: it is about neither.
    pub(crate) request: Option<String>,
}

impl Subject {
    /// Reads one; none: it is another.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        if parts.next()? != "guard" {
            return None;
        }
        let group = parts.next()?.parse().ok()?;
        let what = parts.next()?;
        let what = SubjectKind::ALL
            .into_iter()
            .find(|one| one.as_str() == what)?;
        let machine = parts.next()?.parse().ok()?;
        let request = parts.next().map(str::to_owned);
        let is_about_one = !what.is_of_a_machine();
        let is_right = request.is_some() == is_about_one
            && parts.next().is_none()
            && request.as_deref().is_none_or(|one| what.is_about(one));
        is_right.then_some(Self {
            group,
            what,
            machine,
            request,
        })
    }

    /// The hole that it is about.
    pub(crate) fn hole(&self) -> Option<&str> {
        self.request.as_deref().filter(|one| is_hole(one))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, what, machine) = (&self.group, self.what.as_str(), &self.machine);
        write!(f, "guard.{group}.{what}.{machine}")?;
        match &self.request {
            Some(request) => write!(f, ".{request}"),
            None => Ok(()),
        }
    }
}

/// A request's id: `r7`.
pub(crate) fn is_request(text: &str) -> bool {
    is_id('r', text)
}

/// A hole's id: `h7`.
pub(crate) fn is_hole(text: &str) -> bool {
    is_id('h', text)
}

fn is_id(letter: char, text: &str) -> bool {
    let digits = text.strip_prefix(letter);
    digits.is_some_and(|digits| {
        matches!(digits.len(), 1..=20) && digits.bytes().all(|c| c.is_ascii_digit())
    })
}

impl NatsKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NatsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NatsKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match KeyPair::from_public_key(text).map(|pair| pair.key_pair_type()) {
            Ok(KeyPairType::User) => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "{text:?} is no public key of a user: guard-fleet key prints one"
            )),
        }
    }
}

impl TryFrom<String> for NatsKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A machine would join, or what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    Join,
    Joined,
}

impl Joining {
    /// The subject for an invitation.
    pub(crate) fn of(self, group: &Group, invitation: &NatsKey) -> String {
        self.subject(&group.0, &invitation.0)
    }

    /// All of them.
    pub(crate) fn all(self) -> String {
        self.subject("*", "*")
    }

    fn subject(self, group: &str, invitation: &str) -> String {
        let what = match self {
            Self::Join => "join",
            Self::Joined => "joined",
        };
        format!("guard.{group}.{what}.{invitation}")
    }

    /// Of which invitation a subject is, and of which group; none: it is another.
    pub(crate) fn parse(self, subject: &str) -> Option<(Group, NatsKey)> {
        let mut parts = subject.split('.').skip(1);
        let group: Group = parts.next()?.parse().ok()?;
        let invitation: NatsKey = parts.nth(1)?.parse().ok()?;
        (self.of(&group, &invitation) == subject).then_some((group, invitation))
    }
}

/// Policies of a group, or that a machine wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bundles {
    Policies,
    Want,
}

impl Bundles {
    pub(crate) fn of(self, group: &Group) -> String {
        self.subject(&group.0)
    }

    /// Those of all groups.
    pub(crate) fn all(self) -> String {
        self.subject("*")
    }

    fn subject(self, group: &str) -> String {
        let what = match self {
            Self::Policies => "policies",
            Self::Want => "want",
        };
        format!("guard.{group}.{what}")
    }

    /// Of which group a subject is; none: it is another.
    pub(crate) fn parse(self, subject: &str) -> Option<Group> {
        let group: Group = subject.split('.').nth(1)?.parse().ok()?;
        (self.of(&group) == subject).then_some(group)
    }
}

impl Group {
    /// That somebody looks at it.
    pub(crate) fn look(&self) -> String {
        format!("guard.{self}.look")
    }

    /// That a console of it wants to know who may answer.
    pub(crate) fn who(&self) -> String {
        format!("guard.{self}.who")
    }

    /// That a console asks what sessions of a machine have reached: that machine alone hears it, and one that is older takes it for
    /// nothing.
    pub(crate) fn reached(&self, machine: &Machine) -> String {
        format!("guard.{self}.no.{machine}.flows")
    }

    /// All of a kind about machines of all groups.
    pub(crate) fn every(what: SubjectKind) -> String {
        Self("*".to_owned()).all(what, None)
    }

    /// All of a kind about a machine, or about all of them.
    pub(crate) fn all(&self, what: SubjectKind, machine: Option<&Machine>) -> String {
        let machine = machine.map_or("*", |machine| &machine.0);
        let (name, is_of_a_machine) = (what.as_str(), what.is_of_a_machine());
        if is_of_a_machine {
            format!("guard.{self}.{name}.{machine}")
        } else {
            format!("guard.{self}.{name}.{machine}.*")
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self("all".to_owned())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_one = matches!(text.len(), 1..=32)
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if is_one {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no group: expected 1 to 32 of a-z, 0-9 and -"
            ))
        }
    }
}

impl TryFrom<String> for Group {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Machine {
    /// Whether its id begins so.
    pub(crate) fn begins(&self, with: &str) -> bool {
        self.0.starts_with(with)
    }
}

impl FromStr for Machine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("m-").unwrap_or_default();
        let is_one = digits.len() == 20
            && digits
                .bytes()
                .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if is_one {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no machine: expected m- and 20 digits of hex"
            ))
        }
    }
}

impl TryFrom<String> for Machine {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subject_reads_as_it_was_written() -> Result<(), String> {
        let machine: Machine = "m-0123456789abcdef0123".parse()?;
        for (what, request) in [
            (SubjectKind::Here, None),
            (SubjectKind::Approvers, None),
            (SubjectKind::No, Some("r7")),
            (SubjectKind::No, Some("h7")),
            (SubjectKind::Receipt, Some("h7")),
            (SubjectKind::Log, None),
            (SubjectKind::Removed, None),
            (SubjectKind::Question, Some("r7")),
            (SubjectKind::Answer, Some("r18446744073709551615")),
        ] {
            let subject = Subject {
                group: "ci".parse()?,
                what,
                machine: machine.clone(),
                request: request.map(str::to_owned),
            };
            assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_subject_is_none() {
        for text in [
            "",
            "guard",
            "guard.ci.here",
            "guard.ci.here.m-0123",
            "guard.ci.here.m-0123456789abcdef0123.r1",
            "guard.ci.question.m-0123456789abcdef0123",
            "guard.ci.no.m-0123456789abcdef0123",
            "guard.ci.no.m-0123456789abcdef0123.h",
            "guard.ci.no.m-0123456789abcdef0123.h1.h2",
            "guard.ci.no.m-0123456789abcdef0123.s1",
            "guard.ci.no.m-0123456789abcdef0123.flows",
            "guard.ci.answer.m-0123456789abcdef0123.h1",
            "guard.ci.question.m-0123456789abcdef0123.h1",
            "guard.ci.approvers.m-0123456789abcdef0123.r1",
            "guard.ci.question.m-0123456789abcdef0123.r1.r2",
            "guard.ci.question.m-0123456789abcdef0123.*",
            "guard.ci.question.m-0123456789abcdef0123.r",
            "guard.ci.question.*.r1",
            "guard.*.question.m-0123456789abcdef0123.r1",
            "guard.CI.question.m-0123456789abcdef0123.r1",
            "guard.ci.else.m-0123456789abcdef0123.r1",
            "other.ci.question.m-0123456789abcdef0123.r1",
        ] {
            assert_eq!(Subject::parse(text), None, "{text}");
        }
    }

    #[test]
    fn who_would_join_says_with_which_invitation() -> Result<(), String> {
        let (group, key): (Group, NatsKey) =
            ("ci".parse()?, KeyPair::new_user().public_key().parse()?);
        let subject = Joining::Join.of(&group, &key);
        assert_eq!(Joining::Join.parse(&subject), Some((group, key.clone())));
        assert_eq!(Joining::Joined.parse(&subject), None);
        for other in [
            format!("guard.*.join.{key}"),
            "guard.ci.join.*".to_owned(),
            format!("guard.ci.join.{key}.more"),
            format!("other.ci.join.{key}"),
            "guard.ci.join".to_owned(),
        ] {
            assert_eq!(Joining::Join.parse(&other), None, "{other}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(text in "(guard|x)\\.[a-z*]{0,4}\\.(here|question|answer|no|approvers)\\.(m-[0-9a-f]{19,21}|\\*)(\\.[rh][0-9]{0,3})?") {
            if let Some(read) = Subject::parse(&text) {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
