//! The questions whose bytes were given out, and which of them are used. Both are in files: bytes that somebody is about to
//! sign are the same after a restart of guardd, and a signature counts once, whenever that is killed.

use std::{collections::HashMap, io};

use guard_common::BootTime;
use guard_proto::record::Signature;
use guard_signed::{Answer, Document as _, Question};
use serde::{Deserialize, Serialize};

use super::AnswerFiles;
use crate::record::shelf::Shelf;

/// Wrong codes after which a question is closed.
pub(crate) const MOST_WRONG: u8 = 3;
/// How often a request is announced again because it asks something else, and so has another code. What changes without end would have
/// people told without end.
const MOST_CHANGES: u32 = 8;

/// A question that was given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenQuestion {
    /// Its bytes, as text.
    pub(crate) bytes: String,
    /// Their hash, as answers have it.
    pub(crate) hash: String,
    /// Until when it counts, in nanoseconds of boot time.
    pub(crate) until: u64,
    /// The code that an answer has to say; empty: none.
    pub(crate) code: String,
    /// How many codes answers had to say before this one: each is for one answer.
    #[serde(default)]
    pub(crate) codes: u32,
    /// How many said another.
    pub(crate) wrong: u8,
    /// The approvers who have said yes, where several have to.
    pub(crate) given: Vec<PartialYes>,
    /// The process that it names.
    #[serde(default)]
    pub(crate) pid: Option<u32>,
    /// Whether its code was announced to `on_request`.
    #[serde(default)]
    pub(crate) told: bool,
    /// How many questions about the same request there were before this one, each in the time of the next.
    #[serde(default)]
    pub(crate) changes: u32,
}

/// An approver's yes, which alone is not enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartialYes {
    /// What was said.
    pub(crate) answer: Answer,
    /// The signature under it.
    pub(crate) signed: Signature,
}

impl PartialYes {
    /// Whether another answer says the same.
    #[must_use]
    pub(crate) fn says(&self, other: &Answer) -> bool {
        let what = |one: &Answer| Answer {
            by: String::new(),
            code: String::new(),
            ..one.clone()
        };
        what(&self.answer) == what(other)
    }
}

impl GivenQuestion {
    /// What it asks. These are guardd's own bytes.
    #[must_use]
    pub(crate) fn question(&self) -> Option<Question> {
        Question::from_bytes(self.bytes.as_bytes()).ok()
    }

    /// A question with these bytes that nobody has answered.
    #[must_use]
    pub(crate) fn new(bytes: String, until: BootTime, code: String) -> Self {
        Self {
            hash: Question::hash(bytes.as_bytes()),
            bytes,
            until: until.0,
            code,
            codes: 0,
            wrong: 0,
            given: Vec::new(),
            pid: None,
            told: false,
            changes: 0,
        }
    }

    /// The same in place of an earlier one about the same request: codes are guessed for a request, which may ask something else each
    /// time.
    #[must_use]
    pub(crate) fn in_place_of(self, earlier: Option<&Self>, now: BootTime) -> Self {
        let Some(earlier) = earlier else {
            return self;
        };
        let changes = if earlier.is_over(now) {
            0
        } else {
            earlier.changes.saturating_add(1)
        };
        Self {
            wrong: earlier.wrong,
            codes: earlier.codes,
            changes,
            ..self
        }
    }

    /// Whether it has a code that is still to be announced to `on_request`.
    #[must_use]
    pub(crate) fn has_code_to_tell(&self) -> bool {
        !self.code.is_empty() && !self.told && !self.is_closed() && self.changes <= MOST_CHANGES
    }

    /// Whether its time is up.
    #[must_use]
    pub(crate) fn is_over(&self, now: BootTime) -> bool {
        self.until <= now.0
    }

    /// Whether too many said a wrong code.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.wrong >= MOST_WRONG
    }
}

/// Owns the questions, by the ids of their requests.
#[derive(Debug)]
pub(crate) struct Questions {
    kept: HashMap<String, GivenQuestion>,
    files: Shelf<GivenQuestion>,
    used: Shelf<u64>,
}

impl Questions {
    /// None yet.
    #[must_use]
    pub(crate) fn new(files: &AnswerFiles) -> Self {
        Self {
            kept: HashMap::new(),
            files: files.questions.clone(),
            used: files.used.clone(),
        }
    }

    /// Takes over those of an earlier guardd: none of another boot, and none that is used, for such a request is asked again.
    pub(crate) fn recall(&mut self, boot: &str, now: BootTime) {
        self.forget_used(now);
        for (id, kept) in self.files.all() {
            let question = kept.question();
            let counts = question.is_some_and(|one| one.boot == boot && !self.is_used(&one.nonce));
            if counts && !kept.is_over(now) {
                drop(self.kept.insert(id, kept))
            } else {
                self.files.remove(&id)
            }
        }
    }

    /// The question about a request.
    #[must_use]
    pub(crate) fn of(&self, id: &str) -> Option<&GivenQuestion> {
        self.kept.get(id)
    }

    /// The question with that hash, and its request.
    #[must_use]
    pub(crate) fn with_hash(&self, hash: &str) -> Option<(&str, &GivenQuestion)> {
        let mut kept = self.kept.iter();
        let found = kept.find(|(_, kept)| kept.hash == hash);
        found.map(|(id, kept)| (id.as_str(), kept))
    }

    /// Keeps a question.
    ///
    /// # Errors
    ///
    /// That its file cannot be written; then it is not kept.
    pub(crate) fn keep(&mut self, id: &str, kept: GivenQuestion) -> io::Result<()> {
        self.files.put(id, &kept)?;
        self.kept.insert(id.to_owned(), kept);
        Ok(())
    }

    /// Notes that the code of a request's question was told. Where that cannot be kept, the next guardd tells it once more.
    pub(crate) fn note_told(&mut self, id: &str) {
        if let Some(kept) = self.kept.get_mut(id).filter(|kept| !kept.told) {
            kept.told = true;
            self.files.keep(id, kept);
        }
    }

    /// Drops the question about a request.
    pub(crate) fn drop_of(&mut self, id: &str) {
        if self.kept.remove(id).is_some() {
            self.files.remove(id);
        }
    }

    /// Drops those whose requests are gone, and those whose time is up.
    pub(crate) fn retain(&mut self, now: BootTime, is_open: impl Fn(&str) -> bool) {
        let gone = self
            .kept
            .extract_if(|id, kept| kept.is_over(now) || !is_open(id));
        let gone: Vec<_> = gone.map(|(id, _)| id).collect();
        for id in &gone {
            self.files.remove(id);
        }
        if !gone.is_empty() {
            self.forget_used(now);
        }
    }

    /// Whether that nonce is used; also where it cannot be told.
    #[must_use]
    pub(crate) fn is_used(&self, nonce: &str) -> bool {
        self.used.has(nonce)
    }

    /// Notes on the disk that a question is used. From then on no answer to it counts, whatever becomes of this one.
    ///
    /// # Errors
    ///
    /// That it cannot be noted: then nothing may open.
    pub(crate) fn spend(&self, nonce: &str, until: u64) -> io::Result<()> {
        self.used.put_synced(nonce, &until)
    }

    /// Removes what is noted of questions whose time is up.
    fn forget_used(&self, now: BootTime) {
        for (nonce, until) in self.used.all() {
            if until <= now.0 {
                self.used.remove(&nonce);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn question(request: &str, nonce: &str) -> Question {
        Question {
            asked_at: 1,
            boot: "b1".to_owned(),
            code_by: None,
            expires_at: 2,
            kind: "connect".to_owned(),
            machine: "m-1".to_owned(),
            nonce: nonce.to_owned(),
            offers: Vec::new(),
            policy: "homelab".to_owned(),
            request: request.to_owned(),
            rule: None,
            session: "s1".to_owned(),
            shown_whole: true,
            shows: Vec::new(),
            user: "dev".to_owned(),
            v: 1,
        }
    }

    fn kept(request: &str, nonce: &str, until: u64) -> GivenQuestion {
        let bytes = question(request, nonce).to_bytes().unwrap();
        let bytes = String::from_utf8(bytes).unwrap();
        GivenQuestion::new(bytes, BootTime(until), String::new())
    }

    #[test]
    fn a_code_is_told_once_and_again_with_each_change_up_to_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let files = AnswerFiles {
            questions: Shelf::open(dir.path().join("q")).unwrap(),
            used: Shelf::open(dir.path().join("u")).unwrap(),
            boot: Shelf::open(dir.path().join("b")).unwrap(),
        };
        let (mut questions, now) = (Questions::new(&files), BootTime(50));
        let with_code = |nonce: &str| GivenQuestion {
            code: "123".to_owned(),
            ..kept("r1", nonce, 100)
        };
        assert!(!kept("r1", "n", 100).has_code_to_tell(), "it has none");
        questions.keep("r1", with_code("n")).unwrap();
        let mut told = 0;
        for change in 1..=20 {
            if questions.of("r1").unwrap().has_code_to_tell() {
                questions.note_told("r1");
                told += 1;
            }
            assert!(!questions.of("r1").unwrap().has_code_to_tell());
            let next = with_code(&format!("n{change}"));
            let next = next.in_place_of(questions.of("r1"), now);
            questions.keep("r1", next).unwrap();
        }
        assert_eq!(told, 1 + MOST_CHANGES);
        // One whose time was up is none that the agent has changed.
        let last = questions.of("r1");
        let later = with_code("later").in_place_of(last, BootTime(100));
        assert!(later.has_code_to_tell());
        let closed = GivenQuestion {
            wrong: MOST_WRONG,
            ..with_code("closed")
        };
        assert!(!closed.has_code_to_tell());
        let next = with_code("next").in_place_of(Some(&closed), BootTime(100));
        assert!(next.is_closed(), "guesses count for the request");
        // What was told is so after a restart.
        questions.keep("r1", with_code("again")).unwrap();
        questions.note_told("r1");
        let mut after = Questions::new(&files);
        after.recall("b1", now);
        assert!(!after.of("r1").unwrap().has_code_to_tell());
    }

    #[test]
    fn a_question_outlives_guardd_until_it_is_used_or_over_or_of_another_boot() {
        let dir = tempfile::tempdir().unwrap();
        let files = AnswerFiles {
            questions: Shelf::open(dir.path().join("q")).unwrap(),
            used: Shelf::open(dir.path().join("u")).unwrap(),
            boot: Shelf::open(dir.path().join("b")).unwrap(),
        };
        let mut questions = Questions::new(&files);
        for (id, nonce, until) in [("r1", "n1", 100), ("r2", "n2", 100), ("r3", "n3", 10)] {
            questions.keep(id, kept(id, nonce, until)).unwrap();
        }
        let hash = kept("r1", "n1", 100).hash;
        assert_eq!(questions.with_hash(&hash).unwrap().0, "r1");
        questions.spend("n2", 100).unwrap();
        assert!(questions.is_used("n2") && !questions.is_used("n1"));
        let mut next = Questions::new(&files);
        next.recall("b1", BootTime(50));
        assert_eq!(next.of("r1"), questions.of("r1"));
        assert!(next.of("r2").is_none(), "its answer was taken");
        assert!(next.of("r3").is_none(), "its time is up");
        assert!(next.is_used("n2"));
        next.retain(BootTime(50), |id| id != "r1");
        assert!(next.of("r1").is_none());
        questions.keep("r1", kept("r1", "n1", 100)).unwrap();
        let mut other = Questions::new(&files);
        other.recall("b2", BootTime(50));
        assert!(other.of("r1").is_none(), "it is another boot");
        other.keep("r4", kept("r4", "n4", 100)).unwrap();
        other.retain(BootTime(100), |_| true);
        assert!(
            !other.is_used("n2"),
            "what is noted of it goes with the next one"
        );
    }
}
