//! What is in messages: JSON. Whatever comes from a server may be anybody's words.

use anyhow::{Context as _, Result};
use async_nats::Message;
use bytes::Bytes;
use guard_proto::{
    ApproverShown, Failure, Hole, Presence,
    approvers::{Approvers, Taken},
    central::{HoleThere, ReachedThere, SessionThere, Untold},
};
use guard_signed::{Document as _, Question};
use nkeys::KeyPair;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    link::LONGEST,
    subjects::{Machine, NatsKey, Subject, SubjectKind},
};

/// That somebody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// A server's own word, which whoever asks it may have sent here, is none.
#[serde(default, deny_unknown_fields)]
pub(crate) struct PublishAgain {
    /// Somebody has just come: publish all that is open again.
    pub(crate) anew: bool,
}

/// That a machine is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MachineHere {
    /// guard-fleet's version.
    pub(crate) version: String,
    /// Whether the machine goes: it says so when it is stopped.
    #[serde(default)]
    pub(crate) leaves: bool,
    /// guardd's own words; none: it does not answer.
    pub(crate) guardd: Option<Presence>,
    /// How far its audit log has come; none: it goes nowhere.
    #[serde(default)]
    pub(crate) log: Option<LogSent>,
}

/// How far a machine's audit log has come to the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogSent {
    /// The number of the last record that they have.
    pub(crate) number: u64,
    /// Why it goes no further.
    pub(crate) problem: Option<String>,
}

/// Who may answer on a machine, and what there is to look at: for consoles alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct There {
    #[serde(flatten)]
    pub(crate) known: Approvers,
    /// Its sessions; none: nobody looks.
    #[serde(default)]
    pub(crate) sessions: Option<Vec<SessionThere>>,
    /// Its holes; none: nobody looks.
    #[serde(default)]
    pub(crate) holes: Option<Vec<HoleThere>>,
    /// What of these had no room.
    #[serde(default)]
    pub(crate) left_out: Vec<Untold>,
    /// How many of those who may answer had none.
    #[serde(default)]
    pub(crate) approvers_left_out: usize,
}

/// What came of a signed answer, of a no, or of closing a hole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// Of which: SHA-256 of its message, in hex.
    pub(crate) answer: String,
    /// Taken, as guardd has it.
    pub(crate) taken: Option<Taken>,
    /// Not taken, and why.
    pub(crate) refused: Option<Failure>,
}

/// A no of somebody who is logged in at a console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct No {
    /// The approver, as the machine knows them.
    pub(crate) by: String,
    /// The hash of the question that it is for.
    pub(crate) question: String,
}

/// That a hole be closed, by somebody who is logged in at a console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Close {
    /// The approver, as the machine knows them.
    pub(crate) by: String,
    /// What the machine has reported of it: another hole of that name is not meant.
    session: String,
    destination: String,
    ports: Option<String>,
}

impl Close {
    pub(crate) fn of(by: &str, hole: &HoleThere) -> Self {
        Self {
            by: by.to_owned(),
            session: hole.session.clone(),
            destination: hole.destination.clone(),
            ports: hole.ports.clone(),
        }
    }

    /// Whether a hole is still what was reported of it.
    pub(crate) fn means(&self, hole: &Hole) -> bool {
        (&self.session, &self.destination, &self.ports)
            == (&hole.session, &hole.destination, &hole.ports)
    }
}

/// A console asks what the sessions have reached of those for whom somebody answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AskReached {
    /// The approver, as the machine knows them.
    pub(crate) by: String,
    /// Fingerprints of the keys by which somebody is that one there: another one of that name may be there by now.
    keys: Vec<String>,
    /// Random: what answers it answers nothing else.
    once: String,
}

impl AskReached {
    /// For the approver who has these keys.
    ///
    /// # Errors
    ///
    /// That there are no random numbers.
    pub(crate) fn of(by: String, keys: Vec<String>) -> Result<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .context("there are no random numbers")?;
        let once = data_encoding::HEXLOWER.encode(&bytes);
        Ok(Self { by, keys, once })
    }

    /// Whether it is for that approver.
    pub(crate) fn means(&self, person: &ApproverShown) -> bool {
        let mut keys = person.keys.iter();
        person.name == self.by && keys.any(|key| self.keys.contains(&key.fingerprint))
    }
}

/// What a machine answers. It is none of [`There`], nor is that one of these: both come by the same subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SaidReached {
    /// To which, all of one approver: SHA-256 of the message of each, in hex.
    pub(crate) asked: Vec<String>,
    pub(crate) reached: Option<ReachedThere>,
    /// Why there is nothing.
    pub(crate) refused: Option<Failure>,
}

/// The same as it came: of what nobody has asked no more is read than that.
#[derive(Clone, Debug)]
pub(crate) struct HeardReached {
    pub(crate) asked: Vec<String>,
    pub(crate) payload: Bytes,
}

impl HeardReached {
    /// None: it is something else.
    pub(crate) fn read(payload: &Bytes) -> Option<Self> {
        #[derive(Deserialize)]
        struct Asked {
            asked: Vec<String>,
        }
        let Asked { asked } = read(payload)?;
        Some(Self {
            asked,
            payload: payload.clone(),
        })
    }
}

/// What a receipt calls an answer, or a no.
pub(crate) fn name_of(answer: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest(&SHA256, answer).as_ref())
}

/// What machines say of themselves is shorter.
const LONGEST_HERE: usize = 4096;

impl MachineHere {
    /// Reads one; none: it is something else.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        read(payload).filter(|_| payload.len() <= LONGEST_HERE)
    }
}

/// A machine would join, by an invitation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) id: Machine,
    pub(crate) key: NatsKey,
    /// That it has the other half of the key: base64 of what that signs.
    proof: String,
}

impl Join {
    /// Of the machine that has this key.
    ///
    /// # Errors
    ///
    /// That the key cannot sign.
    pub(crate) fn signed(
        invitation: &NatsKey,
        id: Machine,
        key: NatsKey,
        pair: &KeyPair,
    ) -> Result<Self> {
        let signature = pair.sign(&Self::bytes(invitation, &id, &key));
        let signature = signature.context("the machine's key cannot sign")?;
        let proof = data_encoding::BASE64.encode(&signature);
        Ok(Self { id, key, proof })
    }

    /// Whether whoever has its key has signed it for this invitation.
    pub(crate) fn is_signed(&self, invitation: &NatsKey) -> bool {
        let signature = data_encoding::BASE64.decode(self.proof.as_bytes());
        let pair = KeyPair::from_public_key(self.key.as_str());
        let (Ok(signature), Ok(pair)) = (signature, pair) else {
            return false;
        };
        let bytes = Self::bytes(invitation, &self.id, &self.key);
        pair.verify(&bytes, &signature).is_ok()
    }

    fn bytes(invitation: &NatsKey, id: &Machine, key: &NatsKey) -> Vec<u8> {
        format!("guard-fleet join 1\n{invitation}\n{id}\n{key}\n").into_bytes()
    }
}

/// The reply to a machine that would join.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Joined {
    /// Why it has not; none: it has.
    pub(crate) refused: Option<String>,
}

/// Whether somebody of the fleet has published it: what a server sends out of its stream, to wherever whoever asks for it says, has
/// more than a subject and what it says. And where it acknowledges what it keeps, to wherever whoever publishes that says, it does so in words of its own.
pub(crate) fn is_published(heard: &Message) -> bool {
    heard.headers.is_none() && heard.reply.is_none() && !acknowledges(&heard.payload)
}

/// Whether these are a server's own words for what it keeps, or does not: none of our messages names a stream.
fn acknowledges(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Acknowledgement {
        #[serde(rename = "stream")]
        _stream: String,
    }
    payload.len() <= LONGEST && serde_json::from_slice::<Acknowledgement>(payload).is_ok()
}

/// The same of one whose subject says all.
pub(crate) fn is_empty(heard: &Message) -> bool {
    is_published(heard) && heard.payload.is_empty()
}

/// Reads a message; none: it is something else.
pub(crate) fn read<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    if payload.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

/// Its bytes.
pub(crate) fn bytes(message: &impl Serialize) -> Vec<u8> {
    // None of these has a key that is no text.
    serde_json::to_vec(message).unwrap_or_default()
}

/// A question as its machine published it: the bytes that guardd made, and what they say.
#[derive(Clone, Debug)]
pub(crate) struct PublishedQuestion {
    pub(crate) bytes: Vec<u8>,
    pub(crate) question: Question,
}

impl PublishedQuestion {
    /// Reads one; none: it is no question, or another's than the subject says.
    pub(crate) fn read(subject: &Subject, payload: &[u8]) -> Option<Self> {
        let question = Question::from_bytes(payload).ok()?;
        let is_its = subject.what == SubjectKind::Question
            && question.machine == subject.machine.to_string()
            && Some(&question.request) == subject.request.as_ref();
        is_its.then(|| Self {
            bytes: payload.to_owned(),
            question,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use guard_proto::approvers::KeyShown;

    use super::*;

    pub(crate) fn question(machine: &str, request: &str) -> Question {
        Question {
            asked_at: 1,
            boot: "b".to_owned(),
            code_by: None,
            expires_at: 2,
            kind: "connect".to_owned(),
            machine: machine.to_owned(),
            nonce: "n".to_owned(),
            offers: vec!["for=900".to_owned()],
            policy: "asks".to_owned(),
            request: request.to_owned(),
            rule: None,
            session: "s1".to_owned(),
            shown_whole: true,
            shows: vec!["curl wants tcp 192.0.2.10:443".to_owned()],
            user: "dev".to_owned(),
            v: 1,
        }
    }

    /// Somebody with one key.
    pub(crate) fn approver(name: &str, fingerprint: &str, users: &[&str]) -> ApproverShown {
        ApproverShown {
            name: name.to_owned(),
            answers_for: users.iter().map(|user| (*user).to_owned()).collect(),
            policies: vec![],
            max_for: None,
            keys: vec![KeyShown {
                id: String::new(),
                kind: "passkey".to_owned(),
                fingerprint: fingerprint.to_owned(),
                fido: true,
                public_key: String::new(),
                synced: None,
            }],
        }
    }

    #[test]
    fn a_question_counts_where_its_machine_may_publish_alone() {
        let (one, other) = ("m-0123456789abcdef0123", "m-0123456789abcdef9999");
        let subject = |text: &str| Subject::parse(text);
        let bytes = question(one, "r1").to_bytes().unwrap_or_default();
        let at = |text: &str| {
            let subject = subject(text)?;
            PublishedQuestion::read(&subject, &bytes)
        };
        assert!(at(&format!("guard.ci.question.{one}.r1")).is_some());
        for wrong in [
            format!("guard.ci.question.{other}.r1"),
            format!("guard.ci.question.{one}.r2"),
            format!("guard.ci.answer.{one}.r1"),
        ] {
            assert!(at(&wrong).is_none(), "{wrong}");
        }
        // Another form of the same question has another hash.
        let spaced = [&bytes[..], b" "].concat();
        let here = subject(&format!("guard.ci.question.{one}.r1"));
        assert!(here.is_some_and(|here| PublishedQuestion::read(&here, &spaced).is_none()));
    }

    #[test]
    fn who_joins_has_the_key_and_that_invitation() -> Result<()> {
        let parse = |pair: &KeyPair| pair.public_key().parse::<NatsKey>();
        let wrong = |why: String| anyhow::anyhow!(why);
        let [machine, one, other] = [(); 3].map(|()| KeyPair::new_user());
        let (key, one) = (parse(&machine).map_err(wrong)?, parse(&one).map_err(wrong)?);
        let stranger = parse(&other).map_err(wrong)?;
        let id = |id: &str| id.parse::<Machine>().map_err(wrong);
        let join = Join::signed(&one, id("m-0123456789abcdef0123")?, key, &machine)?;
        assert!(join.is_signed(&one));
        assert!(!join.is_signed(&stranger), "by another invitation");
        let altered = [
            Join {
                id: id("m-0123456789abcdef9999")?,
                ..join.clone()
            },
            Join {
                key: stranger,
                ..join.clone()
            },
            Join {
                proof: String::new(),
                ..join
            },
        ];
        for join in altered {
            assert!(!join.is_signed(&one), "{join:?}");
        }
        Ok(())
    }

    #[test]
    fn what_a_server_sends_out_of_its_stream_nobody_has_published() {
        let message = |reply: Option<&str>, headers| Message {
            subject: "guard.ci.answer.m-0123456789abcdef0123.r1".into(),
            reply: reply.map(Into::into),
            payload: "{}".into(),
            headers,
            status: None,
            description: None,
            length: 0,
        };
        assert!(is_published(&message(None, None)));
        let acknowledged = "$JS.ACK.GUARD_LOG.c.1.2.3.4.0";
        assert!(!is_published(&message(Some(acknowledged), None)));
        let named = async_nats::HeaderMap::new();
        assert!(!is_published(&message(None, Some(named))));
        let mut says = message(None, None);
        assert!(!is_empty(&says));
        for words in [
            r#"{"stream":"GUARD_LOG","seq":7}"#,
            r#"{"stream":"GUARD_LOG","seq":7,"duplicate":true}"#,
            r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"GUARD_LOG","seq":0}"#,
        ] {
            says.payload = words.into();
            assert!(!is_published(&says), "{words}");
        }
        says.payload = Vec::new().into();
        assert!(is_empty(&says));
    }

    #[test]
    fn only_the_hole_that_was_told_of_is_closed() {
        let told = HoleThere {
            id: "h7".to_owned(),
            session: "s1".to_owned(),
            user: "dev".to_owned(),
            destination: "192.0.2.10/32".to_owned(),
            ports: Some("tcp/443".to_owned()),
            opened_by: None,
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            is_narrow: false,
            shut_by: None,
        };
        let close = bytes(&Close::of("alice", &told));
        let close = read::<Close>(&close);
        let hole = |session: &str, destination: &str, ports: Option<&str>| Hole {
            id: "h7".to_owned(),
            session: session.to_owned(),
            destination: destination.to_owned(),
            ports: ports.map(str::to_owned),
            opened_by: None,
            reason: None,
            opened_at: None,
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            connections_left: None,
            bytes_left: None,
            read_only: false,
            http: None,
            addresses: vec![],
            shut_by: None,
        };
        let means = |hole: &Hole| close.as_ref().is_some_and(|close| close.means(hole));
        assert!(means(&hole("s1", "192.0.2.10/32", Some("tcp/443"))));
        for other in [
            hole("s2", "192.0.2.10/32", Some("tcp/443")),
            hole("s1", "192.0.2.11/32", Some("tcp/443")),
            hole("s1", "192.0.2.10/32", None),
        ] {
            assert!(!means(&other), "{other:?}");
        }
        // What is a no is nothing else.
        let no = bytes(&No {
            by: "alice".to_owned(),
            question: "q".to_owned(),
        });
        assert!(read::<Close>(&no).is_none());
    }

    #[test]
    fn what_was_reached_is_not_who_may_answer_nor_the_other_way_round() -> Result<()> {
        let refused = Failure {
            what: "a".to_owned(),
            why: "b".to_owned(),
            fix: "c".to_owned(),
        };
        let said = bytes(&SaidReached {
            asked: vec!["x".to_owned()],
            reached: None,
            refused: Some(refused),
        });
        assert!(read::<SaidReached>(&said).is_some() && read::<There>(&said).is_none());
        let heard = HeardReached::read(&said.into());
        assert_eq!(heard.map(|heard| heard.asked), Some(vec!["x".to_owned()]));
        let there = bytes(&There::default());
        assert!(read::<There>(&there).is_some() && read::<SaidReached>(&there).is_none());
        assert!(HeardReached::read(&there.into()).is_none());
        // Nor is what asks for it anything else that comes to a machine, and the same is never asked twice.
        let [ask, again] = [
            AskReached::of("alice".to_owned(), vec!["SHA256:a".to_owned()])?,
            AskReached::of("alice".to_owned(), vec!["SHA256:a".to_owned()])?,
        ];
        assert_ne!(ask, again);
        for (name, fingerprint, is_meant) in [
            ("alice", "SHA256:a", true),
            ("alice", "SHA256:b", false),
            ("bob", "SHA256:a", false),
        ] {
            let person = approver(name, fingerprint, &["dev"]);
            assert_eq!(ask.means(&person), is_meant, "{name} {fingerprint}");
        }
        let ask = bytes(&ask);
        assert!(read::<AskReached>(&ask).is_some());
        assert!(read::<No>(&ask).is_none() && read::<Close>(&ask).is_none());
        let no = bytes(&No {
            by: "alice".to_owned(),
            question: "q".to_owned(),
        });
        assert!(read::<AskReached>(&no).is_none());
        Ok(())
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let long = format!("{{\"anew\":true{}}}", " ".repeat(LONGEST));
        assert_eq!(read::<PublishAgain>(long.as_bytes()), None);
        assert_eq!(
            read::<PublishAgain>(b"{\"anew\":true}"),
            Some(PublishAgain { anew: true })
        );
        assert_eq!(
            read::<PublishAgain>(b"{}"),
            Some(PublishAgain { anew: false })
        );
        assert_eq!(read::<PublishAgain>(b""), None);
        let kept = b"{\"stream\":\"GUARD_LOG\",\"seq\":1}";
        assert_eq!(read::<PublishAgain>(kept), None);
        assert!(read::<Joined>(kept).is_none());
    }
}
