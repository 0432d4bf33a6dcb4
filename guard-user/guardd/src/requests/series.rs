//! Series: requests in a row, merged into one. Statements as of a migration are answered together, like requests one by one.
//!
//! Each part has an id. Of statements the request has that of the newest, and an answer is for those up to its id: later ones were not
//! on the approver's screen. Of like requests, as mails to many addressees or announcements to several groups, it has that of the oldest,
//! and a yes is for the one with its id.

use guard_common::BootTime;
use guard_proto::{
    self as proto, HttpRequest,
    requests::Alike,
    wire::{MAX_PATH, MAX_PREVIEW},
};

use crate::requests::{Pending, RequestKey};

/// The longest pause between two parts of a series, in nanoseconds.
const PAUSE: u64 = 60_000_000_000;
/// Parts that one series has at most. Of like requests the oldest but the first makes place for the next.
const MAX_PARTS: usize = 32;
/// Like requests of which is shown what is different.
const MAX_DIFFER: usize = 8;
/// Characters of what is different in one.
const MAX_DIFFERENT: usize = 60;
/// Bytes of the summary of a series.
const MAX_WORD: usize = 256;
/// Between two statements; their whole texts are separated by a line's end, since they may end in a comment.
const BETWEEN: &str = HttpRequest::BETWEEN;
const BETWEEN_TEXTS: &str = ";\n";

/// The parts of one request, oldest first, if there are several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    parts: Vec<(RequestKey, proto::Request)>,
    /// Parts that made place for later ones.
    dropped: usize,
}

impl Series {
    /// Returns true if there are several parts, or were.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The key of each part.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &RequestKey> {
        self.parts.iter().map(|(key, _)| key)
    }

    /// The id of each part.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(_, shown)| shown.id.as_str())
    }

    /// All parts as one, as people see them; `now` is what is shown so far.
    fn shown(&self, now: &proto::Request) -> Option<proto::Request> {
        let (_, newest) = self.parts.last()?;
        let (key, first) = self.parts.first()?;
        if !is_definition(key) {
            // What is known by now of the one that is shown, as its name.
            let base = if now.id == first.id { now } else { first };
            return Some(proto::Request {
                last_at: newest.last_at,
                alike: self.alike(),
                ..base.clone()
            });
        }
        let requests = self.parts.iter().filter_map(|(_, one)| one.http.as_ref());
        let mut all = requests.cloned().reduce(together)?;
        if self.parts.len() > 1 {
            let told = format!(
                "{} definitions in a row, as of a migration: a yes is for all that are shown",
                self.parts.len()
            );
            all.warnings.insert(0, told);
        }
        Some(proto::Request {
            id: newest.id.clone(),
            http: Some(all),
            pid: newest.pid,
            asked_at: first.asked_at,
            last_at: newest.last_at,
            ..now.clone()
        })
    }

    fn alike(&self) -> Option<Alike> {
        let texts: Vec<_> = self.parts.iter().map(|(_, shown)| text(shown)).collect();
        let skipped = texts.len().saturating_sub(MAX_DIFFER);
        (texts.len() > 1).then(|| Alike {
            count: texts.len() + self.dropped,
            ids: self.ids().map(str::to_owned).collect(),
            differ: differences(&texts).into_iter().skip(skipped).collect(),
        })
    }
}

/// Returns true if a request is about a statement of a migration.
fn is_definition(key: &RequestKey) -> bool {
    let http = key.http.as_deref();
    http.is_some_and(|http| http.request.is_statement())
}

/// What two like requests may differ in.
fn text(shown: &proto::Request) -> String {
    match &shown.http {
        Some(http) => {
            let body = http.body_preview.as_deref().unwrap_or_default();
            format!("{} {body}", http.path)
        }
        None => shown.destination.place(),
    }
}

/// Returns what is different in each text: what the others have before and behind it is left out, up to whole words.
fn differences(texts: &[String]) -> Vec<String> {
    let Some(first) = texts.first() else {
        return Vec::new();
    };
    let common = |one: &str, other: &str| {
        let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
        same.count()
    };
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    let backwards = reversed(first);
    let before = texts.iter().map(|text| common(first, text)).min();
    let behind = texts
        .iter()
        .map(|text| common(&backwards, &reversed(text)))
        .min();
    let is_of_word = |c: &char| c.is_alphanumeric() || "@._-%+".contains(*c);
    let (before, behind) = (before.unwrap_or(0), behind.unwrap_or(0));
    let letters: Vec<char> = first.chars().collect();
    let word = |letters: &[char]| letters.iter().rev().take_while(|c| is_of_word(c)).count();
    let before = before - word(&letters[..before]);
    let end: Vec<char> = backwards.chars().take(behind).collect();
    let behind = behind - word(&end);
    let cut = |text: &String| {
        let length = text.chars().count().saturating_sub(before + behind);
        let different = text.chars().skip(before).take(length.min(MAX_DIFFERENT));
        different.collect()
    };
    texts.iter().map(cut).collect()
}

/// A path with `*` for each part that has a digit, and for the values of its query.
fn shape(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts = path.split('/').map(|part| {
        let is_number = part.contains(|c: char| c.is_ascii_digit());
        if is_number { "*" } else { part }
    });
    let names = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default());
    format!(
        "{}?{}",
        parts.collect::<Vec<_>>().join("/"),
        names.collect::<Vec<_>>().join("&")
    )
}

/// A JSON body without its values; another one as it is shown.
fn body_shape(request: &HttpRequest) -> String {
    let body = request.body_preview.as_deref().unwrap_or_default();
    match serde_json::from_str(body) {
        Ok(serde_json::Value::Object(fields)) => {
            fields.keys().cloned().collect::<Vec<_>>().join("\n")
        }
        _ => body.to_owned(),
    }
}

impl Pending {
    /// Whether an attempt continues this series: it follows in time, by the same program, and a person sees all of both.
    #[must_use]
    pub(crate) fn is_followed_by(
        &self,
        key: &RequestKey,
        shown: &proto::Request,
        now: BootTime,
    ) -> bool {
        let program = |of: &proto::Request| (of.exe.clone(), of.comm.clone());
        let is_soon = now.0.saturating_sub(self.last.0) <= PAUSE;
        // A client that is held gets its own answer.
        if !is_soon || self.shown.held {
            return false;
        }
        let (Some(own), Some(other)) = (&self.shown.http, &shown.http) else {
            return self.is_beside_group(key, shown);
        };
        let is_in_row = |one: &RequestKey| one.http.as_deref().is_some_and(|http| http.series);
        let is_there =
            self.key.is_there(key) && (&own.scheme, &own.host) == (&other.scheme, &other.host);
        let is_its = program(&self.shown) == program(shown);
        if !(is_there && is_its && is_in_row(&self.key) && is_in_row(key)) {
            return false;
        }
        if !own.is_statement() {
            return own.method == other.method
                && own.headers == other.headers
                && shape(&own.path) == shape(&other.path)
                && body_shape(own) == body_shape(other);
        }
        let fits = |text: fn(&HttpRequest) -> usize, most: usize| {
            text(own) + BETWEEN.len() + text(other) < most
        };
        let fits = fits(
            |one| one.body_preview.as_ref().map_or(0, String::len),
            MAX_PREVIEW,
        ) && fits(|one| one.path.len(), MAX_PATH);
        fits && self.series.parts.len() < MAX_PARTS
    }

    /// Returns true if both are about groups of multicast that one rule asks about: a program announces itself to several.
    fn is_beside_group(&self, key: &RequestKey, shown: &proto::Request) -> bool {
        let is_group =
            |one: &RequestKey| one.is_connection() && one.destination.to_ip().is_multicast();
        let is_alone = self.burst.is_none() && self.shown.note.is_none() && shown.note.is_none();
        is_alone
            && is_group(&self.key)
            && is_group(key)
            && self.key.session == key.session
            && self.shown.rule == shown.rule
    }

    /// Adds a part.
    pub(crate) fn follow(&mut self, key: RequestKey, shown: proto::Request, now: BootTime) {
        let series = &mut self.series;
        if series.parts.is_empty() {
            series.parts.push((self.key.clone(), self.shown.clone()));
        }
        if series.parts.len() >= MAX_PARTS {
            series.parts.remove(1);
            series.dropped += 1;
        }
        series.parts.push((key, shown));
        self.last = now;
        self.tried += 1;
        self.show();
    }

    /// Each part's key, with its own request as people would see it.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&RequestKey, &proto::Request)> {
        let own = self.series.is_empty();
        let own = own.then_some((&self.key, &self.shown));
        let series = self.series.parts.iter().map(|(key, shown)| (key, shown));
        own.into_iter().chain(series)
    }

    /// The parts that a yes by that id is for: the statements up to it, or that one of like requests. None if it is no part's.
    pub(crate) fn each_up_to(
        &self,
        id: &str,
    ) -> impl Iterator<Item = (&RequestKey, &proto::Request)> {
        let up_to = self.each().position(|(_, shown)| shown.id == id);
        let first = up_to.filter(|_| !is_definition(&self.key)).unwrap_or(0);
        self.each().take(up_to.map_or(0, |at| at + 1)).skip(first)
    }

    /// The id of the part with that key, of several like requests; else that of the request.
    pub(super) fn id_for(&self, key: &RequestKey) -> &str {
        let mut parts = self.each().filter(|_| self.shown.alike.is_some());
        let part = parts.find(|(own, _)| *own == key);
        part.map_or(&self.shown.id, |(_, shown)| &shown.id)
    }

    /// What people see of the part with that id alone, or of a request that has no parts.
    pub(super) fn shown_mut(&mut self, id: &str) -> &mut proto::Request {
        let is_alike = !is_definition(&self.key) && self.shown.id != id;
        let mut parts = self.series.parts.iter_mut().filter(|_| is_alike);
        match parts.find(|(_, shown)| shown.id == id) {
            Some((_, shown)) => shown,
            None => &mut self.shown,
        }
    }

    /// Takes the part with that id out of several like requests.
    pub(super) fn split_off(&mut self, id: &str) -> Option<Self> {
        let is_part = self.shown.alike.is_some() && self.series.ids().any(|one| one == id);
        if !is_part {
            return None;
        }
        let own = self.clone().alone(id);
        let is_own = |(_, shown): &(RequestKey, proto::Request)| shown.id == id;
        self.series.parts.retain(|part| !is_own(part));
        self.key = self.series.parts.first()?.0.clone();
        self.show();
        Some(own)
    }

    /// The request as if it were about one of them alone.
    #[must_use]
    pub(crate) fn alone(mut self, id: &str) -> Self {
        let mut series = std::mem::take(&mut self.series).parts.into_iter();
        let is_shown = self.shown.alike.take().is_some() && self.shown.id == id;
        if let Some((key, shown)) = series.find(|(_, shown)| shown.id == id && !is_shown) {
            (self.key, self.shown) = (key, shown);
        }
        self
    }

    /// What is left when some have been answered; their ids are added to `ids`.
    #[must_use]
    pub(crate) fn unless(
        mut self,
        is_answered: impl Fn(&RequestKey, &str) -> bool,
        ids: &mut Vec<String>,
    ) -> Option<Self> {
        if !self.each().any(|(key, shown)| is_answered(key, &shown.id)) {
            return Some(self);
        }
        let (answered, left): (Vec<_>, Vec<_>) = self
            .each()
            .map(|(key, shown)| (key.clone(), shown.clone()))
            .partition(|(key, shown)| is_answered(key, &shown.id));
        ids.extend(answered.into_iter().map(|(_, shown)| shown.id));
        self.key = left.first()?.0.clone();
        if !self.series.is_empty() {
            self.series.parts = left;
            self.show();
        }
        Some(self)
    }

    pub(super) fn show(&mut self) {
        if let Some(shown) = self.series.shown(&self.shown) {
            self.shown = shown;
        }
    }
}

/// Two statements as one, without a digest: that identifies one statement alone.
fn together(first: HttpRequest, second: HttpRequest) -> HttpRequest {
    let joined = HttpRequest::in_a_row;
    let mut warnings = first.warnings;
    for warning in second.warnings {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let mut kind = joined(&first.kind, BETWEEN, &second.kind);
    if kind.len() > MAX_WORD {
        kind.truncate(kind.floor_char_boundary(MAX_WORD - "…".len()));
        kind.push('…');
    }
    let previews = first.body_preview.zip(second.body_preview);
    HttpRequest {
        path: joined(&first.path, BETWEEN, &second.path),
        body_preview: previews.map(|(one, other)| joined(&one, BETWEEN_TEXTS, &other)),
        bytes: first
            .bytes
            .zip(second.bytes)
            .map(|(one, other)| one + other),
        kind,
        warnings,
        digest: None,
        ..first
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::IpAddr, rc::Rc};

    use guard_common::{Protocol, SessionId};

    use super::*;
    use crate::{
        quota::Account,
        requests::{HttpRequestKey, Noted, Requests, tests},
    };

    const SECOND: u64 = 1_000_000_000;
    const OWNER: Account = Account::inside(1000, SessionId(1));

    fn definition(text: &str) -> HttpRequest {
        HttpRequest {
            method: "CREATE TABLE".to_owned(),
            scheme: HttpRequest::POSTGRES.to_owned(),
            path: text.to_owned(),
            host: Some("app@shop".to_owned()),
            bytes: Some(text.len() as u64),
            body_preview: Some(text.to_owned()),
            body_form: None,
            headers: Vec::new(),
            kind: "creates something".to_owned(),
            warnings: vec!["beware".to_owned()],
            digest: Some(text.to_owned()),
        }
    }

    fn note(table: &mut Requests, request: &HttpRequest, series: bool, now: u64, id: u32) -> Noted {
        note_by("psql", table, request, series, now, id)
    }

    fn note_by(
        program: &str,
        table: &mut Requests,
        request: &HttpRequest,
        series: bool,
        now: u64,
        id: u32,
    ) -> Noted {
        let key = RequestKey {
            session: SessionId(1),
            destination: IpAddr::from([192, 0, 2, 1]).into(),
            protocol: Protocol::TCP,
            port: 5432,
            http: Some(Rc::new(HttpRequestKey {
                request: request.clone(),
                alone: None,
                plain: true,
                series,
                matter: None,
            })),
            question: None,
        };
        let shown = proto::Request {
            http: Some(request.clone()),
            comm: Some(program.to_owned()),
            ..tests::shown(id)
        };
        let Ok(noted) = table.note(key, OWNER, BootTime(now), || Ok::<_, Infallible>(shown));
        noted
    }

    fn of(texts: &[&str]) -> Requests {
        let mut table = Requests::without_files(100);
        for (text, id) in texts.iter().zip(1..) {
            let new = Noted::New(format!("r{id}"));
            assert_eq!(note(&mut table, &definition(text), true, SECOND, id), new);
        }
        table
    }

    fn ids(table: &Requests) -> Vec<&str> {
        let pending = table.pending().iter();
        pending.map(|one| one.shown.id.as_str()).collect()
    }

    #[test]
    fn definitions_in_a_row_are_one_request_which_shows_all_of_them() {
        let mut table = of(&["create a", "create b", "create c"]);
        assert_eq!(ids(&table), ["r3"]);
        let shown = table.get("r1").unwrap().shown.clone();
        let http = shown.http.unwrap();
        assert_eq!(http.path, "create a; create b; create c");
        // A comment at the end of one hides none of the next.
        assert_eq!(http.body_preview.unwrap(), "create a;\ncreate b;\ncreate c");
        assert_eq!((http.bytes, http.digest), (Some(24), None));
        assert!(
            http.warnings[0].starts_with("3 definitions"),
            "{:?}",
            http.warnings
        );
        assert_eq!(http.warnings[1..], ["beware"]);
        let again = Noted::Again("r3".to_owned());
        let first = definition("create a");
        assert_eq!(note(&mut table, &first, true, SECOND, 9), again);
    }

    #[test]
    fn an_answer_is_for_what_had_come_when_it_went_by_that_id() {
        let mut table = of(&["create a", "create b", "create c"]);
        let asked = table.get("r2").unwrap().clone();
        let answered: Vec<_> = asked.each_up_to("r2").map(|(_, one)| &*one.id).collect();
        assert_eq!(answered, ["r1", "r2"]);
        assert_eq!(asked.each_up_to("r9").count(), 0);
        let mut take = |those: &[&str]| table.take_those(|_, id| those.contains(&id));
        assert_eq!(take(&["r2", "r1"]), ["r1", "r2"]);
        assert_eq!(take(&["r1"]), [""; 0]);
        assert_eq!(ids(&table), ["r3"]);
        let left = table.get("r3").unwrap();
        assert_eq!(left.shown.http.as_ref().unwrap().path, "create c");
        assert!(table.get("r1").is_none());
        table.take_those(|_, id| id == "r3");
        assert_eq!(ids(&table), [""; 0]);
    }

    #[test]
    fn what_is_not_answered_is_asked_on() {
        let mut table = of(&["create a", "create b", "create c"]);
        table.show_held_until("r3", Some(jiff::Timestamp::UNIX_EPOCH));
        let of_b = |key: &RequestKey| {
            let http = key.http.as_deref();
            http.is_some_and(|http| http.request.path == "create b")
        };
        assert_eq!(table.take_those(|key, _| of_b(key)), ["r2"]);
        let left = table.get("r1").unwrap();
        assert_eq!(left.shown.http.as_ref().unwrap().path, "create a; create c");
        assert!(left.shown.held, "somebody waits for it still");
        assert!(left.is_about(&left.key) && table.get("r2").is_none());
    }

    #[test]
    fn one_of_them_alone_is_what_came_by_that_id() {
        let table = of(&["create a", "create b"]);
        let asked = table.get("r2").unwrap();
        for (id, text) in [("r1", "create a"), ("r2", "create b")] {
            let alone = asked.clone().alone(id);
            assert_eq!(alone.shown.id, id);
            assert_eq!(alone.shown.http.unwrap().path, text);
            assert_eq!(alone.key.http.unwrap().request.path, text);
        }
    }

    #[test]
    fn what_is_no_part_of_it_is_a_request_of_its_own() {
        let elsewhere = HttpRequest {
            host: Some("app@staging".to_owned()),
            ..definition("create b")
        };
        let long = definition(&"x".repeat(MAX_PREVIEW));
        let other = definition("create b");
        for (request, series, now) in [
            (&elsewhere, true, SECOND),
            (&long, true, SECOND),
            (&other, false, SECOND),
            (&other, true, SECOND + PAUSE + 1),
        ] {
            let mut table = of(&["create a"]);
            note(&mut table, request, series, now, 2);
            assert_eq!(ids(&table), ["r1", "r2"]);
        }
        let mut table = of(&["create a"]);
        note_by("other", &mut table, &other, true, SECOND, 2);
        assert_eq!(ids(&table), ["r1", "r2"]);
        // The client that waits for the answer to the first gets it.
        let mut table = of(&["create a"]);
        table.show_held_until("r1", Some(jiff::Timestamp::UNIX_EPOCH));
        note(&mut table, &other, true, SECOND, 2);
        assert_eq!(ids(&table), ["r1", "r2"]);
    }

    #[test]
    fn a_row_has_an_end_and_each_in_it_counts() {
        let texts: Vec<_> = (0..100).map(|number| format!("d{number}")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let most = crate::requests::MAX_PER_ACCOUNT;
        let table = of(&texts[..MAX_PARTS + 1]);
        assert_eq!(ids(&table), ["r32", "r33"]);
        let table = of(&texts);
        let kept: usize = table.pending().iter().map(|one| one.each().count()).sum();
        assert!(kept as u64 <= most, "{kept}");
    }

    #[test]
    fn like_requests_are_one_with_its_size_and_a_yes_to_one_is_for_that_one() {
        let mail = |path: &str, to: u32| HttpRequest {
            method: "POST".to_owned(),
            scheme: "https".to_owned(),
            body_preview: Some(format!(
                "{{\"to\": \"u{to}@example.net\", \"subject\": \"s\"}}"
            )),
            digest: Some(format!("{path} {to}")),
            path: path.to_owned(),
            ..definition("")
        };
        let mut table = Requests::without_files(100);
        for id in 1..=35 {
            note(&mut table, &mail("/emails", id), true, SECOND, id);
        }
        assert_eq!(ids(&table), ["r1"]);
        let shown = table.get("r1").unwrap().shown.clone();
        assert_eq!(shown.http.unwrap().digest.as_deref(), Some("/emails 1"));
        let alike = shown.alike.unwrap();
        assert_eq!((alike.count, alike.ids.len()), (35, MAX_PARTS));
        assert_eq!(alike.differ.last().unwrap(), "u35@example.net");
        let asked = table.get("r20").unwrap();
        let answered: Vec<_> = asked.each_up_to("r20").map(|(_, one)| &*one.id).collect();
        assert_eq!(answered, ["r20"]);
        // A client that is held is shown by itself.
        table.show_held_until("r20", Some(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(ids(&table), ["r1", "r20"]);
        table.take_those(|_, id| id == "r1");
        assert_eq!(ids(&table), ["r5", "r20"]);
        // Other requests are none of them.
        for (path, is_like) in [
            ("/emails?to=7", false),
            ("/jobs/8", false),
            ("/jobs/9", true),
        ] {
            let count = ids(&table).len();
            note(&mut table, &mail(path, 9), true, SECOND, 90);
            assert_eq!(ids(&table).len() == count, is_like, "{path}");
        }
    }

    #[test]
    fn announcements_to_several_groups_are_one_request() {
        let mut table = Requests::without_files(100);
        for (id, (to, port)) in (1..).zip([("ff02::1", 9), ("224.0.0.251", 5353), ("192.0.2.1", 9)])
        {
            let to: IpAddr = to.parse().unwrap();
            let key = RequestKey::new(SessionId(1), to.into(), Protocol::UDP, port);
            let shown = tests::shown(id);
            let Ok(_) = table.note(key, OWNER, BootTime(SECOND), || Ok::<_, Infallible>(shown));
        }
        assert_eq!(ids(&table), ["r1", "r3"]);
        assert_eq!(
            table.get("r2").unwrap().shown.alike.as_ref().unwrap().count,
            2
        );
    }

    #[test]
    fn each_of_them_survives_the_daemon() {
        let table = of(&["create a", "create b"]);
        let mut next = Requests::without_files(100);
        for (id, asked) in table.to_keep() {
            assert_eq!(asked.shown.id, id);
            let (key, shown) = (asked.key(), asked.shown);
            let Ok(_) = next.note(key, OWNER, BootTime(SECOND), || Ok::<_, Infallible>(shown));
        }
        assert_eq!(ids(&next), ["r2"]);
        let [one, other] = [&table, &next].map(|table| table.get("r2").unwrap());
        assert_eq!(one.shown.http, other.shown.http);
    }
}
