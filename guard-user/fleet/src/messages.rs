//! What is in messages: JSON. Whatever comes from a server may be anybody's words.

use anyhow::{Context as _, Result};
use async_nats::Message;
use guard_proto::{
    Failure, Presence,
    approvers::{Approvers, Taken},
    central::{HoleThere, SessionThere, Untold},
};
use guard_signed::{Document as _, Question};
use nkeys::KeyPair;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    link::LONGEST,
    subjects::{Key, Machine, Subject, SubjectKind},
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
    /// Whether the machine goes: it says so when it is told to end.
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

/// What came of a signed answer.
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
    pub(crate) key: Key,
    /// That it has the other half of the key: base64 of what that signs.
    proof: String,
}

impl Join {
    /// Of the machine that has this key.
    ///
    /// # Errors
    ///
    /// That the key cannot sign.
    pub(crate) fn signed(invitation: &Key, id: Machine, key: Key, pair: &KeyPair) -> Result<Self> {
        let signature = pair.sign(&Self::bytes(invitation, &id, &key));
        let signature = signature.context("the machine's key cannot sign")?;
        let proof = data_encoding::BASE64.encode(&signature);
        Ok(Self { id, key, proof })
    }

    /// Whether whoever has its key has signed it for this invitation.
    pub(crate) fn is_signed(&self, invitation: &Key) -> bool {
        let signature = data_encoding::BASE64.decode(self.proof.as_bytes());
        let pair = KeyPair::from_public_key(self.key.as_str());
        let (Ok(signature), Ok(pair)) = (signature, pair) else {
            return false;
        };
        let bytes = Self::bytes(invitation, &self.id, &self.key);
        pair.verify(&bytes, &signature).is_ok()
    }

    fn bytes(invitation: &Key, id: &Machine, key: &Key) -> Vec<u8> {
        format!("guard-fleet join 1\n{invitation}\n{id}\n{key}\n").into_bytes()
    }
}

/// What came of it.
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
        let parse = |pair: &KeyPair| pair.public_key().parse::<Key>();
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
