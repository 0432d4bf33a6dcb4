//! Requests of the proxy's clients that are no reads: answered at once, or made a request for an approver and held.

use std::{collections::HashMap, rc::Rc, time::Duration};

use guard_common::{BootTime, HoleId, SessionId};
use guard_proto::{
    self as proto, HttpRequest,
    wire::{
        AskAnswer, HttpAttempt, MAX_HEADER, MAX_HEADERS, MAX_KIND, MAX_PATH, MAX_PREVIEW, Number,
        RedirectTarget, Tgid, ToProxy, TransactionState,
    },
};
use guard_sys::clock::{self, Clocks};

use super::{
    Proxy,
    held::HeldClient,
    record_pass::{self, PassedBy, rule_of},
    terms::{HolesOnce, TargetAccess},
};
use crate::{
    changes::Change,
    control::advice,
    listeners::destination,
    requests::{HttpRequestKey, Noted, RequestKey, Requests, drafts::AskersWords},
    sessions::Session,
    state::State,
    times::after,
};

/// Characters that are kept of other texts.
const MAX_WORD: usize = 256;
/// The same of a host: a statement's has a user's name (189, escaped), a server's (253), and then a database's.
const MAX_HOST: usize = 512;
/// Warnings that are shown.
const MAX_WARNINGS: usize = 8;
/// Hexadecimal digits of a SHA-256.
const DIGEST: usize = 64;

impl State {
    /// Answers the proxy whether a request may pass: now, or by [`Self::settle_held_clients`] later.
    pub(crate) fn proxy_asks(
        &mut self,
        number: Number,
        target: &RedirectTarget,
        asked: HttpAttempt,
    ) {
        if let Some(answer) = self.answer_now(number, target, asked) {
            self.proxy.answer(number, answer);
        }
    }

    /// The answer; none where the client is held for an approver.
    fn answer_now(
        &mut self,
        number: Number,
        target: &RedirectTarget,
        asked: HttpAttempt,
    ) -> Option<AskAnswer> {
        let hold = match self.targets().access(target) {
            TargetAccess::Closed => return Some(closed()),
            TargetAccess::Open => None,
            TargetAccess::Judged { hold, .. } => Some(hold),
        };
        let (tgid, is_open) = (asked.tgid, hold.is_none());
        let transaction = asked.transaction;
        // A yes comes too late for what has failed.
        let hold = hold.filter(|_| transaction != TransactionState::HasFailed);
        let session = self.sessions.live(SessionId(target.session));
        let hold = hold.and_then(|hold| {
            let session = session?;
            let is_followed = self.requests.is_followed(session.about.uid);
            self.proxy.hold_for(session, hold, is_followed, number)
        });
        let Some(key) = self.proxy.key_of(target, asked, hold.is_some()) else {
            return Some(unreadable());
        };
        if is_open {
            // The terms have changed since the proxy got them.
            return Some(self.pass(&key, target, None, None));
        }
        self.put_write(number, tgid, *target, key, hold, transaction)
    }

    fn put_write(
        &mut self,
        number: Number,
        tgid: Tgid,
        target: RedirectTarget,
        key: RequestKey,
        hold: Option<Duration>,
        transaction: TransactionState,
    ) -> Option<AskAnswer> {
        let now = clock::now();
        if let Some(answer) = self.spend_hole(&key, &target, transaction, None, now) {
            return Some(answer);
        }
        let is_new = self.requests.find(&key).is_none();
        let account = self.sessions.account_of(key.session);
        if is_new && !self.proxy.paces.writes.take(account, 1, now) {
            return Some(too_many());
        }
        let is_known_again = can_be_known_again(&key);
        let live = self.sessions.live(key.session);
        // Without its command line: headers with secrets may be in it.
        let asker = self.machine.process_of(live, tgid.0);
        match self.ask(key.clone(), now, asker, AskersWords::default()) {
            Ok(Noted::New(id) | Noted::Again(id)) => {
                self.apply(Change::Requests);
                match hold {
                    Some(hold) => {
                        let client = HeldClient {
                            tgid,
                            target,
                            key,
                            account,
                            transaction,
                            request: id,
                            until: after(now, hold),
                        };
                        self.proxy.hold_client(&mut self.requests, number, client);
                    }
                    None => return Some(ask_a_person(id, is_known_again)),
                }
                None
            }
            Ok(Noted::SaidNo) => Some(refused()),
            Ok(Noted::Full) => Some(full()),
            Err(error) => {
                tracing::warn!(%error, session = key.session.0, "cannot ask about a request");
                Some(closed())
            }
        }
    }

    /// The answer yes, if something may pass at `target` still and it can be written to the audit log. `request` is the request that a
    /// person answered, and `hole` what that opened; without both, the policy has come to allow all.
    #[must_use]
    pub(super) fn pass(
        &mut self,
        key: &RequestKey,
        target: &RedirectTarget,
        request: Option<&str>,
        hole: Option<HoleId>,
    ) -> AskAnswer {
        let access = self.targets().access(target);
        // A yes is for a request, not for where the listener that its connection got has come to lead.
        if matches!(access, TargetAccess::Closed) {
            return closed();
        }
        let by = PassedBy {
            rule: rule_of(access),
            request,
            hole,
        };
        record_pass::pass(&mut self.recorder, &self.sessions, key, by)
    }

    /// Settles held clients where requests have changed since, or the time of some is up. What else changes settles them by itself.
    pub(crate) fn settle_due_clients(&mut self, now: BootTime) {
        if self.proxy.held.are_due(self.requests.version(), now) {
            self.settle_held_clients();
        }
    }

    /// Answers the held clients whose requests were answered, or whose time is up. Each target is judged once, by the kernel's holes as read
    /// once.
    pub(crate) fn settle_held_clients(&mut self) {
        let now = clock::now();
        let clients = self.proxy.held.all();
        let mut judged: HashMap<RedirectTarget, TargetAccess> = HashMap::new();
        if !clients.is_empty() {
            let read = HolesOnce::of(&self.datapath);
            let targets = self.targets().with(&read);
            for (_, client) in &clients {
                let access = || targets.access(&client.target);
                judged.entry(client.target).or_insert_with(access);
            }
        }
        for (number, client) in clients {
            let access = judged.get(&client.target);
            if let Some(answer) = self.settled(&client, access, now) {
                self.proxy.held.remove(number);
                self.proxy.show_held(&mut self.requests, &client.request);
                self.proxy.answer(number, answer);
            }
        }
        self.proxy.held.set_settled(self.requests.version());
    }

    fn settled(
        &mut self,
        client: &HeldClient,
        access: Option<&TargetAccess>,
        now: BootTime,
    ) -> Option<AskAnswer> {
        let key = &client.key;
        let request = Some(client.request.as_str());
        match access {
            None | Some(TargetAccess::Closed) => return Some(closed()),
            Some(TargetAccess::Open) => {
                return Some(self.pass(key, &client.target, request, None));
            }
            Some(TargetAccess::Judged { .. }) => {}
        }
        if let Some(answer) = self.spend_hole(key, &client.target, client.transaction, request, now)
        {
            return Some(answer);
        }
        client.given_up(&self.requests, now)
    }

    /// Makes new requests for the held clients whose common request was answered for one of them only.
    pub(super) fn ask_again(&mut self, request: &str) {
        for (number, client) in self.proxy.held.all() {
            if client.request != request {
                continue;
            }
            let left = client.until.0.saturating_sub(clock::now().0);
            self.proxy.held.remove(number);
            let hold = Some(Duration::from_nanos(left));
            let HeldClient {
                tgid,
                target,
                key,
                transaction,
                ..
            } = client;
            if let Some(answer) = self.put_write(number, tgid, target, key, hold, transaction) {
                self.proxy.answer(number, answer);
            }
        }
    }
}

impl HeldClient {
    /// Why it is held no longer, where nothing lets its request pass; none where an approver may answer yet.
    fn given_up(&self, requests: &Requests, now: BootTime) -> Option<AskAnswer> {
        if requests.is_refused(&self.key, now) {
            return Some(refused());
        }
        let is_asked = requests.get(&self.request).is_some();
        match (is_asked, self.until <= now) {
            (false, _) => Some(dropped()),
            (true, true) => Some(too_late(
                self.request.clone(),
                can_be_known_again(&self.key),
            )),
            (true, false) => None,
        }
    }
}

impl Proxy {
    /// What an attempt is about; none if people could not read it. `is_held`: its client is to be held for an answer.
    fn key_of(
        &mut self,
        target: &RedirectTarget,
        asked: HttpAttempt,
        is_held: bool,
    ) -> Option<RequestKey> {
        let (id, to) = (SessionId(target.session), destination(target));
        let is_cut = asked
            .host
            .as_ref()
            .is_some_and(|host| host.len() > MAX_HOST)
            || asked.headers.len() > MAX_HEADERS
            || asked.headers.iter().any(|one| one.len() > MAX_HEADER);
        // A cut text could be that of another request.
        let plain = asked.plain && !is_cut;
        let is_definition = asked.definition;
        let matter = asked.matter.clone().filter(|text| is_digest(text));
        let request = understood(asked)?;
        let is_in_row = is_definition || !request.is_statement();
        let waits_unknown = is_held && request.digest.is_none();
        let alone = waits_unknown.then(|| self.held.next_serial());
        let http = Rc::new(HttpRequestKey {
            request,
            alone,
            plain,
            series: is_in_row && !is_held,
            matter,
        });
        Some(RequestKey::of_http(id, to, target.port, http))
    }

    /// Notes that a held client has gone. If it was the last one, its request is withdrawn.
    pub(super) fn leaves(&mut self, requests: &mut Requests, number: Number) {
        if let Some(client) = self.held.remove(number) {
            self.show_held(requests, &client.request);
            if self.held.until(&client.request).is_none() {
                requests.withdraw(&client.request);
            }
        }
    }

    fn answer(&mut self, number: Number, answer: AskAnswer) {
        self.say(ToProxy::Answer { number, answer });
    }

    /// How long a client is held; none if no approver follows (`is_followed`), or too many are held already. `hold` is the time
    /// by the policies.
    fn hold_for(
        &self,
        session: &Session,
        hold: Duration,
        is_followed: bool,
        number: Number,
    ) -> Option<Duration> {
        let about = &session.about;
        let held = &self.held;
        let has_room = !held.has(number) && held.has_room(session.account());
        let asked_to = about.hold();
        let hold = asked_to.unwrap_or(hold);
        let may_hold = asked_to.is_some() || is_followed;
        (may_hold && has_room && !hold.is_zero()).then_some(hold)
    }

    fn hold_client(&mut self, requests: &mut Requests, number: Number, client: HeldClient) {
        let request = client.request.clone();
        self.held.add(number, client);
        self.show_held(requests, &request);
    }

    /// Shows on a request whether, and until when, a client is held for its answer.
    fn show_held(&self, requests: &mut Requests, request: &str) {
        let until = self.held.until(request);
        let until = until.map(|until| Clocks::read().calendar(until));
        requests.show_held_until(request, until);
    }

    /// The same for what is left of series of which a part was answered.
    fn show_all_held(&self, requests: &mut Requests) {
        let clocks = Clocks::read();
        let held = requests.pending().iter();
        let held = held.filter(|one| one.shown.held && one.key.http.is_some());
        let shown = held.map(|one| {
            let all = one.each();
            let until = all.filter_map(|(key, _)| self.held.until_of(key));
            let until = until.max().map(|until| clocks.calendar(until));
            (one.shown.id.clone(), until)
        });
        for (id, until) in shown.collect::<Vec<_>>() {
            requests.show_held_until(&id, until);
        }
    }

    /// Answers a held client; after a yes, its request is removed.
    pub(super) fn end_hold(
        &mut self,
        requests: &mut Requests,
        number: Number,
        client: &HeldClient,
        answer: AskAnswer,
    ) {
        self.held.remove(number);
        match answer {
            AskAnswer::Yes => {
                requests.take_those(|one, _| *one == client.key);
                self.show_all_held(requests);
            }
            AskAnswer::No { .. } => self.show_held(requests, &client.request),
        }
        self.answer(number, answer);
    }
}

/// A request as people see it; none if they could not.
fn understood(asked: HttpAttempt) -> Option<HttpRequest> {
    if asked.path.len() > MAX_PATH || asked.method.len() > MAX_WORD {
        return None;
    }
    let mut warnings: Vec<_> = asked
        .warnings
        .iter()
        .map(|one| shortened(one, MAX_WORD))
        .collect();
    if warnings.len() > MAX_WARNINGS {
        let more = warnings.split_off(MAX_WARNINGS - 1).len();
        warnings.push(format!("and {more} more like these: look at all of it"));
    }
    let headers = asked.headers.iter().take(MAX_HEADERS);
    let headers = headers.map(|one| cut(one, MAX_HEADER)).collect();
    Some(HttpRequest {
        method: asked.method,
        scheme: cut(&asked.scheme, MAX_WORD),
        path: asked.path,
        host: asked.host.map(|host| cut(&host, MAX_HOST)),
        bytes: asked.bytes,
        body_preview: asked.body_preview.map(|body| cut(&body, MAX_PREVIEW)),
        body_form: asked.body_form.map(|form| cut(&form, MAX_WORD)),
        headers,
        kind: shortened(&asked.kind, MAX_KIND),
        warnings,
        digest: asked.digest.filter(|text| is_digest(text)),
    })
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGEST && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// The same, with a mark where it is cut.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        text.to_owned()
    } else {
        format!("{}…", cut(text, most - "…".len()))
    }
}

/// A no without a request.
fn no(why: &str, fix: &str) -> AskAnswer {
    AskAnswer::No {
        request: None,
        why: why.to_owned(),
        fix: fix.to_owned(),
    }
}

fn closed() -> AskAnswer {
    no(
        "nothing may pass there any more",
        "run guard why, and go on without it",
    )
}

fn unreadable() -> AskAnswer {
    no(
        "its path is too long for a person to read",
        "send a shorter one, with what is long in its body",
    )
}

fn refused() -> AskAnswer {
    no(
        "a person was asked about this request and said no",
        "go on without it, and say in your answer that it was refused",
    )
}

/// Why a statement that has its yes does not pass: it is in the wrong transaction.
pub(super) fn too_late_for(transaction: TransactionState) -> Option<AskAnswer> {
    let why = match transaction {
        TransactionState::Able => return None,
        TransactionState::HasRead => {
            "a person has said yes, but its transaction has begun as one that only reads"
        }
        TransactionState::HasFailed => "a person has said yes, but its transaction has failed",
    };
    Some(no(
        why,
        "roll back, and do the whole transaction again: it may write then",
    ))
}

fn full() -> AskAnswer {
    no(
        "as many requests wait for a person as guardd keeps",
        "ask the person to answer some: guard pending",
    )
}

fn too_many() -> AskAnswer {
    no(
        "too many requests that would change something came in a short time",
        "send fewer, and this one again in a while",
    )
}

fn dropped() -> AskAnswer {
    no(
        "so many requests came after it that it is not asked about any more",
        "send fewer that change something, and try this one again",
    )
}

/// Returns true if a yes can be for exactly this request after its client has gone.
fn can_be_known_again(key: &RequestKey) -> bool {
    let http = key.http.as_deref().map(|http| &http.request);
    http.is_some_and(|http| http.digest.is_some() || http.is_statement())
}

fn advice_for(is_known_again: bool) -> String {
    let advice = if is_known_again {
        advice::HTTP_ASKED
    } else {
        advice::HTTP_ASKED_WHILE_IT_WAITS
    };
    advice.to_owned()
}

fn ask_a_person(id: String, is_known_again: bool) -> AskAnswer {
    AskAnswer::No {
        why: format!("it would change something, so a person has to confirm it: {id}"),
        fix: advice_for(is_known_again),
        request: Some(id),
    }
}

fn too_late(id: String, is_known_again: bool) -> AskAnswer {
    AskAnswer::No {
        why: format!("it would change something, and nobody has confirmed it in time: {id}"),
        fix: advice_for(is_known_again),
        request: Some(id),
    }
}

/// A request in one line, as in `DELETE photos.example.com/api/jobs/7`.
#[must_use]
pub(crate) fn in_words(http: &proto::HttpRequest, address: &str) -> String {
    let host = http.host.as_deref().unwrap_or(address);
    let blank = if http.is_statement() { " " } else { "" };
    format!("{} {host}{blank}{}", http.method, http.path)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::IpAddr};

    use guard_common::{Address, Protocol};

    use super::*;
    use crate::{quota::Account, requests::tests::shown};

    fn asked(path: &str) -> HttpAttempt {
        HttpAttempt {
            tgid: Tgid::default(),
            body_form: Some("x".repeat(MAX_PREVIEW)),
            headers: vec!["x-tenant: shop".to_owned(); MAX_HEADERS + 1],
            plain: true,
            definition: false,
            method: "PUT".to_owned(),
            scheme: "http".to_owned(),
            host: Some("photos.example.com".to_owned()),
            path: path.to_owned(),
            bytes: Some(3),
            body_preview: Some("é".repeat(MAX_PREVIEW)),
            digest: Some("ab".repeat(32)),
            matter: None,
            rule: "photos".to_owned(),
            kind: "changes something".to_owned(),
            warnings: vec!["bulky".to_owned(); 20],
            transaction: TransactionState::Able,
        }
    }

    #[test]
    fn what_the_proxy_says_is_kept_within_bounds() {
        let kept = understood(asked("/a")).unwrap();
        assert_eq!(kept.body_preview.unwrap().len(), MAX_PREVIEW);
        assert_eq!(kept.warnings.len(), MAX_WARNINGS);
        assert_eq!(shortened("éé", 4), "éé");
        assert_eq!(shortened("ééé", 5), "é…");
        assert_eq!(kept.headers.len(), MAX_HEADERS);
        assert_eq!(kept.body_form.unwrap().len(), MAX_WORD);
        assert!(kept.digest.is_some());
        assert!(understood(asked(&"/a".repeat(MAX_PATH))).is_none());
        let odd = HttpAttempt {
            digest: Some("not a digest".to_owned()),
            ..asked("/a")
        };
        assert_eq!(understood(odd).unwrap().digest, None);
    }

    #[test]
    fn a_request_that_cannot_be_known_again_is_another_while_its_client_is_held() {
        let mut proxy = Proxy::default();
        let target = RedirectTarget {
            session: 1,
            address: IpAddr::from([192, 0, 2, 1]),
            port: 80,
            listener: 0,
        };
        let unknown = || HttpAttempt {
            digest: None,
            headers: Vec::new(),
            definition: true,
            ..asked("/a")
        };
        let mut http = |asked: HttpAttempt, is_held: bool| {
            let key = proxy.key_of(&target, asked, is_held)?;
            key.http
                .map(|http| (http.alone.is_some(), http.plain, http.series))
        };
        assert_eq!(http(unknown(), true), Some((true, true, false)));
        assert_eq!(http(unknown(), false), Some((false, true, true)));
        // This one has its digest, and more headers than are shown.
        assert_eq!(http(asked("/a"), true), Some((false, false, false)));
        assert_eq!(http(asked(&"/a".repeat(MAX_PATH)), true), None);
    }

    #[test]
    fn a_client_is_held_until_an_approver_answers_or_its_time_is_over() -> Result<(), Infallible> {
        let mut requests = Requests::without_files(10);
        let key = RequestKey::new(SessionId(1), Address::default(), Protocol::TCP, 443);
        let client = HeldClient {
            tgid: Tgid::default(),
            target: record_pass::target(&key),
            key: key.clone(),
            account: Account::inside(1000, SessionId(1)),
            transaction: TransactionState::Able,
            request: "r1".to_owned(),
            until: BootTime(10),
        };
        assert_eq!(client.given_up(&requests, BootTime(5)), Some(dropped()));
        let owner = Account::inside(1000, SessionId(1));
        let ask = || Ok::<_, Infallible>(shown(1));
        requests.note(key.clone(), owner, BootTime(1), ask)?;
        assert_eq!(client.given_up(&requests, BootTime(5)), None);
        let late = client.given_up(&requests, BootTime(10));
        assert_eq!(late, Some(too_late("r1".to_owned(), false)));
        requests.refuse(key, None, shown(1), BootTime(100));
        assert_eq!(client.given_up(&requests, BootTime(5)), Some(refused()));
        Ok(())
    }
}
