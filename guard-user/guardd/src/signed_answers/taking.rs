//! Taking a signed answer. Each condition is checked by itself, and says what is wrong:
//!
//! 1. the signature is of these bytes, by an enrolled key of whom it names
//! 2. the question is open here: its bytes are ours, of this machine and boot, unused, in time, and say what would be asked now
//! 3. the approver answers for that user under that policy
//! 4. a yes is for what was offered, within the settings, the approver's limit and the rule's
//! 5. the code is right, where one is wanted
//! 6. enough people say so
//!
//! Then the question's nonce is written to the disk as used, and only then something opens.

use std::{rc::Rc, time::Duration};

use guard_proto::{
    self as proto, HoleTerms,
    record::{AnswerRefused, AnsweredInPart, DecisionOrigin, Signature},
};
use guard_signed::{
    Answer, Kind, Question, Signed, SignedVerdict, approvers::SigningApprover as Person,
    signature::is_synced,
};
use guard_sys::clock;

use super::{
    SignedAnswers, no_random, other_digits,
    question_bytes::{closed, not_kept, switched_off},
    questions::{GivenQuestion, MOST_WRONG, PartialYes},
    refusals,
    stopping::Stopping,
};
use crate::{
    config::{SignedScope, stands_for},
    control::{
        answering::{Answering, SignedBy},
        auth::Approver,
        failure::CallError,
    },
    proxy::approve::Widening,
    record::audit::LogEntry,
    requests::{Pending, bursts::BurstExtent},
    state::State,
};

/// Why an answer is refused.
struct Doubt {
    /// Whether nobody is known to have signed it.
    is_forged: bool,
    /// The request, if that is known.
    request: Option<String>,
    error: CallError,
}

impl Doubt {
    fn forged(error: CallError) -> Self {
        Self {
            is_forged: true,
            request: None,
            error,
        }
    }
}

/// An answer that an approver has signed, to a question that is open.
struct Meant {
    asked: Pending,
    kept: GivenQuestion,
    question: Question,
    /// What stops it.
    stopping: Stopping,
    person: Person,
    answer: Answer,
}

/// A question that is open here.
struct FoundQuestion {
    asked: Pending,
    kept: GivenQuestion,
    question: Question,
}

/// What a yes opens.
struct WantedHole {
    widening: Widening,
    extent: BurstExtent,
    terms: HoleTerms,
}

impl State {
    /// Takes an answer that an approver has signed, from the caller that hands it in.
    ///
    /// # Errors
    ///
    /// Which condition does not hold; then the request still waits.
    pub(crate) fn answer_signed(
        &mut self,
        from: &DecisionOrigin,
        signed: &Signed,
    ) -> Result<proto::approvers::Taken, CallError> {
        if self.config.answers.couriers.is_none() {
            return Err(switched_off());
        }
        match self.try_signed(from, signed) {
            Ok(taken) => Ok(taken),
            Err(doubt) => {
                self.note_refused(from, signed, &doubt);
                Err(doubt.error)
            }
        }
    }

    fn try_signed(
        &mut self,
        from: &DecisionOrigin,
        signed: &Signed,
    ) -> Result<proto::approvers::Taken, Doubt> {
        let mut meant = self.meant_by(signed)?;
        let request = meant.asked.shown.id.clone();
        let is_known = [0, meant.asked.owner].contains(&from.uid);
        if !is_known && !self.signed_answers.is_courier(from.uid) {
            return Err(Doubt {
                is_forged: false,
                request: Some(request),
                error: refusals::no_courier(),
            });
        }
        let taken = match meant.answer.verdict {
            SignedVerdict::No => self.say_no(from, signed, &meant),
            SignedVerdict::Yes => self.say_yes(from, signed, &mut meant),
        };
        self.learn(signed);
        taken.map_err(|error| Doubt {
            is_forged: false,
            request: Some(request),
            error,
        })
    }

    /// Keeps with a passkey what its authenticator says of it in an answer that was verified. It is for people to see: the answer counts
    /// by itself, whatever comes of this.
    fn learn(&mut self, signed: &Signed) {
        let known = self.signed_answers.people.known();
        let Some(now) = known.learned(&signed.key, signed.is_synced()) else {
            return;
        };
        if let Err(error) = self.signed_answers.people.replace(now) {
            tracing::warn!(%error, "whether a passkey is synced cannot be kept");
        }
    }

    /// Conditions 1 to 3.
    fn meant_by(&self, signed: &Signed) -> Result<Meant, Doubt> {
        let people = self.signed_answers.people.known();
        let owner = people.owner_of(&signed.key);
        let (person, key) = owner.ok_or_else(|| Doubt::forged(refusals::no_key(&signed.key)))?;
        let answer = signed.verify(key, &self.config.answers.origins);
        let answer = answer.map_err(|why| Doubt::forged(refusals::not_signed(&why.to_string())))?;
        if !answer.is_by(&person.name) {
            return Err(Doubt::forged(refusals::another_name(
                &answer.by,
                &person.name,
            )));
        }
        let open = self.open_question(&answer);
        let FoundQuestion {
            asked,
            kept,
            question,
        } = open.map_err(|error| Doubt {
            is_forged: false,
            request: None,
            error,
        })?;
        let doubt = |error| Doubt {
            is_forged: false,
            request: Some(asked.shown.id.clone()),
            error,
        };
        let stopping = self.judging().stopping(&asked);
        let stopping = stopping.ok_or_else(|| doubt(refusals::not_known(&asked.shown.id)))?;
        may_answer(person, &asked.shown.user, &stopping).map_err(doubt)?;
        Ok(Meant {
            asked,
            kept,
            question,
            stopping,
            person: person.clone(),
            answer,
        })
    }

    /// Condition 2.
    fn open_question(&self, answer: &Answer) -> Result<FoundQuestion, CallError> {
        if answer.machine != self.signed_answers.machine() {
            return Err(refusals::another_machine(
                &answer.machine,
                self.signed_answers.machine(),
            ));
        }
        let found = self.signed_answers.questions.with_hash(&answer.question);
        let (id, kept) = found.ok_or_else(refusals::unknown_question)?;
        let question = kept.question().ok_or_else(refusals::unknown_question)?;
        if question.boot != self.signed_answers.boot()
            || question.machine != self.signed_answers.machine()
        {
            return Err(refusals::unknown_question());
        }
        if self.signed_answers.questions.is_used(&question.nonce) {
            return Err(refusals::used(id));
        }
        if kept.is_over(clock::now()) {
            return Err(refusals::too_late(id));
        }
        let asked = self.requests.get(id).filter(|one| one.shown.id == id);
        let asked = asked.ok_or_else(refusals::unknown_question)?;
        if !self.is_unchanged(asked, kept) {
            return Err(refusals::changed(id));
        }
        Ok(FoundQuestion {
            asked: asked.clone(),
            kept: kept.clone(),
            question,
        })
    }

    fn say_no(
        &mut self,
        from: &DecisionOrigin,
        signed: &Signed,
        meant: &Meant,
    ) -> Result<proto::approvers::Taken, CallError> {
        let by = answering(from, signed, meant, Vec::new());
        self.recorder.reserve()?;
        self.signed_answers.spend(meant)?;
        let seconds = meant
            .answer
            .seconds
            .map(|seconds| Duration::from_secs(seconds).as_secs_f64());
        self.deny(&by, &meant.asked.shown.id, seconds)?;
        let nothing = proto::HolesReply::default();
        Ok(taken(meant, "no", ApprovalCount::default(), nothing))
    }

    /// Conditions 4 to 6, and the hole.
    fn say_yes(
        &mut self,
        from: &DecisionOrigin,
        signed: &Signed,
        meant: &mut Meant,
    ) -> Result<proto::approvers::Taken, CallError> {
        // Its owner's account may be somebody else's by now. A no makes things stricter, whichever approver says it.
        if signed.is_synced() && !self.config.answers.synced {
            return Err(refusals::synced());
        }
        let lasting = self.is_offered(meant)?;
        self.signed_answers.has_code(meant)?;
        if !meant.kept.code.is_empty() {
            self.requests.note_signed_question();
        }
        let id = &meant.asked.shown.id;
        // Of each policy that it opens: a fleet's base that asks as well takes no rule of the machine's own away.
        let rules = meant.stopping.rules.iter();
        let wanted = rules.map(|rule| self.config.answers.wanted(rule)).max();
        let wanted = wanted.unwrap_or(1);
        let is_wanted = |one: &Signature| {
            self.config.answers.synced || !is_synced(one.authenticator_data.as_deref())
        };
        let others = (self.signed_answers).others_who_said_so(&signed.key, meant, is_wanted)?;
        let given = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
        let approvals = ApprovalCount { given, wanted };
        if given < wanted {
            self.keep_in_part(from, signed, meant, approvals)?;
            let nothing = proto::HolesReply::default();
            return Ok(taken(meant, "part", approvals, nothing));
        }
        let lasting = self
            .signed_answers
            .longest_of(&others)
            .unwrap_or(lasting)
            .min(lasting);
        let by = answering(from, signed, meant, others);
        let WantedHole {
            widening,
            extent,
            terms,
        } = WantedHole::of(&meant.answer, &meant.question, lasting);
        self.recorder.reserve()?;
        self.signed_answers.spend(meant)?;
        let opened = self.approve(&by, id, &widening, extent, &terms);
        // Whatever came of it: the next question has other bytes.
        self.signed_answers.questions.drop_of(id);
        Ok(taken(meant, "yes", approvals, opened?))
    }

    /// Condition 4. Returns for how long it opens.
    fn is_offered(&self, meant: &Meant) -> Result<Duration, CallError> {
        let (answer, question) = (&meant.answer, &meant.question);
        if !question.shown_whole {
            return Err(refusals::not_shown(&question.request));
        }
        if !is_scope_offered(meant) {
            return Err(refusals::not_offered(&question.request, &answer.scope));
        }
        let counts = [answer.connections, answer.requests, answer.bytes];
        let is_http = question.kind != "connect";
        if counts.contains(&Some(0)) || (answer.requests.is_some() && !is_http) {
            return Err(refusals::not_offered(&question.request, "that number"));
        }
        // Of two numbers it would not be clear which one counts.
        if answer.connections.is_some() && answer.requests.is_some() {
            return Err(refusals::not_offered(&question.request, "two numbers"));
        }
        let count = answer.connections.or(answer.requests);
        let is_once = count.map_or(is_http, |count| count == 1);
        let may = |scope: SignedScope| self.config.answers.scopes.contains(&scope);
        // A wider scope is offered by itself, as reads are, which was looked at above.
        let is_wider = answer.scope != "one" || answer.read_only;
        if !(may(SignedScope::Offers) || is_wider || (may(SignedScope::One) && is_once)) {
            return Err(refusals::not_offered(&question.request, "more than once"));
        }
        self.signed_term(meant, count == Some(1))
    }

    /// For how long a signed yes opens; `says_once`: for one connection or request.
    fn signed_term(&self, meant: &Meant, says_once: bool) -> Result<Duration, CallError> {
        let time = meant.answer.seconds.map(Duration::from_secs);
        let time = time
            .filter(|time| !time.is_zero())
            .ok_or_else(refusals::no_time)?;
        let longest = self.longest_signed(&meant.asked);
        let longest = longest.ok_or_else(|| refusals::nothing_to_open(&meant.question.request))?;
        let longest = meant
            .person
            .max_for
            .map_or(longest, |most| most.min(longest));
        // Who says "once" has chosen no time: that is the usual one.
        if time <= longest || says_once {
            Ok(time.min(longest))
        } else {
            Err(refusals::too_long(time, longest))
        }
    }

    /// Keeps a yes that alone is not enough.
    fn keep_in_part(
        &mut self,
        from: &DecisionOrigin,
        signed: &Signed,
        meant: &Meant,
        approvals: ApprovalCount,
    ) -> Result<(), CallError> {
        let signature = signature(signed, meant);
        let record = AnsweredInPart {
            request: meant.asked.shown.id.clone().into(),
            approvals: approvals.given.into(),
            wanted: approvals.wanted.into(),
            by: meant.person.name.clone().into(),
            from: by_signature(from).into(),
            signed: signature.clone().into(),
        };
        let entry = LogEntry::of(&meant.asked.shown.session, meant.asked.owner, record);
        self.recorder.reserve()?;
        self.recorder.write(entry)?;
        self.recorder.sync()?;
        let mut kept = meant.kept.clone();
        kept.given.push(PartialYes {
            answer: meant.answer.clone(),
            signed: signature,
        });
        let kept = self
            .signed_answers
            .questions
            .keep(&meant.asked.shown.id, kept);
        kept.map_err(|error| not_kept(&error))
    }

    /// Writes to the audit log that an answer was refused: one record a second for each who hands them in.
    fn note_refused(&mut self, from: &DecisionOrigin, signed: &Signed, doubt: &Doubt) {
        let meter = &mut self.signed_answers.meter;
        let Some(count) = meter.refused(from.uid, doubt.is_forged, clock::now()) else {
            return;
        };
        let key = (!doubt.is_forged).then(|| signed.key.clone());
        let record = AnswerRefused {
            request: doubt.request.clone().into(),
            why: doubt.error.failure.why.clone().into(),
            key: key.into(),
            count: count.into(),
            from: from.clone().into(),
            ..AnswerRefused::default()
        };
        self.recorder.note(record);
    }

    /// Writes to the audit log how many more were refused that no record stands for yet.
    pub(crate) fn write_refused_answers(&mut self) {
        for (uid, count) in self.signed_answers.meter.take_untold(clock::now()) {
            let record = AnswerRefused {
                why: "more of them".into(),
                by: self.machine.user(uid).into(),
                count: count.into(),
                ..AnswerRefused::default()
            };
            self.recorder.note(record);
        }
    }
}

/// How many approvers have said yes, and how many have to.
#[derive(Clone, Copy, Default)]
struct ApprovalCount {
    given: u32,
    wanted: u32,
}

fn answering(
    from: &DecisionOrigin,
    signed: &Signed,
    meant: &Meant,
    others: Vec<PartialYes>,
) -> Answering {
    let signed = SignedBy {
        signature: signature(signed, meant),
        with: others.into_iter().map(|one| one.signed.by).collect(),
    };
    Answering {
        who: Approver::on_behalf_of(meant.asked.owner),
        from: by_signature(from),
        name: Some(meant.person.name.clone()),
        signed: Some(Rc::new(signed)),
    }
}

/// Condition 3: of all policies that a yes opens.
fn may_answer(person: &Person, user: &str, stopping: &Stopping) -> Result<(), CallError> {
    if !person.answers_for.iter().any(|one| one == user) {
        return Err(refusals::not_theirs(
            &person.name,
            &format!("sessions of {user}"),
        ));
    }
    for policy in &stopping.policies {
        if !answers_under(person, policy) {
            return Err(refusals::not_theirs(
                &person.name,
                &format!("the policy {policy}"),
            ));
        }
    }
    Ok(())
}

impl SignedAnswers {
    /// Who may answer for a user's sessions under a policy of one name, and not under one of another: its author chooses the name.
    pub(crate) fn newly_answering(&self, user: &str, old: &str, new: &str) -> Vec<String> {
        let people = &self.people;
        if old != new && people.is_whole().is_err() {
            let file = people.file().display();
            return vec![format!("whoever {file} has, which cannot be read,")];
        }
        let more = people.known().all.iter().filter(|one| {
            let is_theirs = one.answers_for.iter().any(|own| own == user);
            is_theirs && answers_under(one, new) && !answers_under(one, old)
        });
        more.map(|one| one.name.clone()).collect()
    }

    /// For how long those who have said so may open anything at most; none: as long as the settings say.
    fn longest_of(&self, others: &[PartialYes]) -> Option<Duration> {
        let people = &self.people.known().all;
        let is_one = |name: &str| others.iter().any(|one| one.signed.by == name);
        let theirs = people.iter().filter(|person| is_one(&person.name));
        theirs.filter_map(|person| person.max_for).min()
    }

    /// Condition 5. Each wrong code counts, also over a restart. The right one counts once: the courier that carries an answer reads the code in
    /// it, so another approver has to be told another. An answer that was taken is handed in again where nobody heard what became of
    /// it: its code was right, and is no guess.
    fn has_code(&mut self, meant: &mut Meant) -> Result<(), CallError> {
        let (id, kept) = (&meant.asked.shown.id, &mut meant.kept);
        if kept.is_closed() {
            return Err(closed(id));
        }
        let is_right = kept.code == meant.answer.code;
        if is_right && kept.code.is_empty() {
            return Ok(());
        }
        let person = &meant.person.name;
        let is_again = |one: &PartialYes| one.signed.by == *person && one.answer == meant.answer;
        if kept.given.iter().any(is_again) {
            return Err(refusals::said_already(person));
        }
        if is_right {
            kept.code = other_digits(&kept.code).map_err(|error| no_random(&error))?;
            kept.codes += 1;
            kept.told = false;
        } else {
            kept.wrong += 1
        }
        let noted = self.questions.keep(id, kept.clone());
        noted.map_err(|error| not_kept(&error))?;
        match (is_right, kept.is_closed()) {
            (true, _) => Ok(()),
            (false, true) => Err(closed(id)),
            (false, false) => Err(refusals::wrong_code(id, MOST_WRONG - kept.wrong)),
        }
    }

    /// The others who have said the same, and may still; `is_wanted`: by a key that the settings take a yes by.
    fn others_who_said_so(
        &self,
        key: &str,
        meant: &Meant,
        is_wanted: impl Fn(&Signature) -> bool,
    ) -> Result<Vec<PartialYes>, CallError> {
        // Also where another approver had the key then: one signature is one yes.
        let mut given = meant.kept.given.iter().map(|one| &one.signed);
        if let Some(one) = given.find(|one| one.key == key && one.by != meant.person.name) {
            return Err(refusals::signed_already(&one.by));
        }
        let people = self.people.known();
        let user = &meant.asked.shown.user;
        // Root may have narrowed since then for whom, and under which policies, somebody answers.
        let counts = |one: &&PartialYes| {
            let owner = people.owner_of(&one.signed.key);
            owner.is_some_and(|(person, _)| {
                person.name == one.signed.by && may_answer(person, user, &meant.stopping).is_ok()
            }) && is_wanted(&one.signed)
        };
        let others: Vec<_> = meant.kept.given.iter().filter(counts).cloned().collect();
        if others.iter().any(|one| one.signed.by == meant.person.name) {
            return Err(refusals::said_already(&meant.person.name));
        }
        if others.iter().all(|one| one.says(&meant.answer)) {
            Ok(others)
        } else {
            Err(refusals::says_otherwise(&others))
        }
    }

    /// Writes to the disk that the question is used.
    fn spend(&mut self, meant: &Meant) -> Result<(), CallError> {
        let nonce = &meant.question.nonce;
        let spent = self.questions.spend(nonce, meant.kept.until);
        spent.map_err(|error| refusals::not_spent(&error))
    }
}

impl WantedHole {
    /// As a person would say it at the machine.
    fn of(answer: &Answer, question: &Question, lasting: Duration) -> Self {
        let offers = question.offers.iter();
        let mut paths = offers.filter_map(|one| one.strip_prefix("path="));
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            widening: Widening {
                path: paths
                    .next()
                    .filter(|_| answer.scope == "path")
                    .map(str::to_owned),
                writes: answer.scope == "writes",
            },
            extent: BurstExtent {
                prefix: answer.scope == "prefix",
                tried: None,
                address: false,
            },
            terms: HoleTerms {
                seconds: Some(lasting.as_secs_f64()),
                connections: answer.connections.map(narrow),
                requests: answer.requests.map(narrow),
                bytes: answer.bytes,
                read_only: answer.read_only,
            },
        }
    }
}

fn signature(signed: &Signed, meant: &Meant) -> Signature {
    let kind = match signed.kind {
        Kind::Ssh => "ssh",
        Kind::Passkey => "passkey",
    };
    Signature {
        by: meant.person.name.clone(),
        key: signed.key.clone(),
        kind: kind.to_owned(),
        question: meant.kept.bytes.clone(),
        answer: signed.answer.clone(),
        authenticator_data: signed.authenticator_data.clone(),
        client_data: signed.client_data.clone(),
        signature: signed.signature.clone(),
    }
}

fn by_signature(from: &DecisionOrigin) -> DecisionOrigin {
    DecisionOrigin {
        right: "signature".to_owned(),
        ..from.clone()
    }
}

fn taken(
    meant: &Meant,
    answer: &str,
    approvals: ApprovalCount,
    opened: proto::HolesReply,
) -> proto::approvers::Taken {
    proto::approvers::Taken {
        request: meant.asked.shown.id.clone(),
        answer: answer.to_owned(),
        by: meant.person.name.clone(),
        approvals: approvals.given,
        wanted: approvals.wanted,
        holes: opened.holes,
        warnings: opened.warnings,
    }
}

/// Whether the question offers what the answer opens.
fn is_scope_offered(meant: &Meant) -> bool {
    let (answer, offers) = (&meant.answer, &meant.question.offers);
    let has = |offer: &str| offers.iter().any(|one| one == offer);
    let is_scope = match answer.scope.as_str() {
        "one" => true,
        "prefix" => has("scope=prefix"),
        "writes" => has("scope=writes"),
        "path" => offers.iter().any(|one| one.starts_with("path=")),
        _ => false,
    };
    is_scope && (!answer.read_only || has("read-only"))
}

/// Whether that person may answer under a policy of that name.
fn answers_under(person: &Person, policy: &str) -> bool {
    let mut patterns = person.policies.iter();
    patterns.any(|pattern| stands_for(pattern, policy))
}
