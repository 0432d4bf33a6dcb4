//! Series: statements in a row, as of a migration, merged into one request.
//!
//! Each statement has an id, and the request has that of the newest. An answer by one of the ids is for the statements up to
//! that one: later ones were not on the approver's screen.

use guard_common::BootTime;
use guard_proto::{
    self as proto, HttpRequest,
    wire::{MAX_PATH, MAX_PREVIEW},
};

use crate::requests::{Pending, RequestKey};

/// The longest pause between two statements of a series, in nanoseconds.
const PAUSE: u64 = 60_000_000_000;
/// Statements that one series has at most.
const MAX_STATEMENTS: usize = 32;
/// Bytes of the summary of a series.
const MAX_WORD: usize = 256;
/// Between two statements; their whole texts are separated by a line's end, since they may end in a comment.
const BETWEEN: &str = HttpRequest::BETWEEN;
const BETWEEN_TEXTS: &str = ";\n";

/// The statements of one request, oldest first, if there are several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<(RequestKey, proto::Request)>);

impl Series {
    /// The key of each statement.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &RequestKey> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The id of each statement.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, shown)| shown.id.as_str())
    }

    /// All statements as one, as people see them; `now` is what is shown so far.
    fn shown(&self, now: &proto::Request) -> Option<proto::Request> {
        let (_, newest) = self.0.last()?;
        let (_, first) = self.0.first()?;
        let requests = self.0.iter().filter_map(|(_, one)| one.http.as_ref());
        let mut all = requests.cloned().reduce(together)?;
        if self.0.len() > 1 {
            let told = format!(
                "{} definitions in a row, as of a migration: a yes is for all that are shown",
                self.0.len()
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
        let (Some(own), Some(other)) = (&self.shown.http, &shown.http) else {
            return false;
        };
        let is_in_row = |one: &RequestKey| one.http.as_deref().is_some_and(|http| http.series);
        let program = |of: &proto::Request| (of.exe.clone(), of.comm.clone());
        let is_there = self.key.is_there(key)
            && (&own.scheme, &own.host) == (&other.scheme, &other.host)
            && program(&self.shown) == program(shown);
        let fits = |text: fn(&HttpRequest) -> usize, most: usize| {
            text(own) + BETWEEN.len() + text(other) < most
        };
        let fits = fits(
            |one| one.body_preview.as_ref().map_or(0, String::len),
            MAX_PREVIEW,
        ) && fits(|one| one.path.len(), MAX_PATH);
        let is_soon = now.0.saturating_sub(self.last.0) <= PAUSE;
        let is_in_row = is_in_row(&self.key) && is_in_row(key);
        // A client that is held gets its own answer.
        let has_room = self.series.0.len() < MAX_STATEMENTS;
        is_in_row && is_there && fits && is_soon && has_room && !self.shown.held
    }

    /// Adds a statement.
    pub(crate) fn follow(&mut self, key: RequestKey, shown: proto::Request, now: BootTime) {
        if self.series.0.is_empty() {
            self.series.0.push((self.key.clone(), self.shown.clone()));
        }
        self.series.0.push((key, shown));
        self.last = now;
        self.tried += 1;
        self.show();
    }

    /// Each statement's key, with its own request as people would see it.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&RequestKey, &proto::Request)> {
        let own = self.series.0.is_empty();
        let own = own.then_some((&self.key, &self.shown));
        let series = self.series.0.iter().map(|(key, shown)| (key, shown));
        own.into_iter().chain(series)
    }

    /// The statements that an answer by that id is for; none if the id is not one of theirs.
    pub(crate) fn each_up_to(
        &self,
        id: &str,
    ) -> impl Iterator<Item = (&RequestKey, &proto::Request)> {
        let up_to = self.each().position(|(_, shown)| shown.id == id);
        self.each().take(up_to.map_or(0, |at| at + 1))
    }

    /// The request as if it were about one of them alone.
    #[must_use]
    pub(crate) fn alone(mut self, id: &str) -> Self {
        let mut series = std::mem::take(&mut self.series).0.into_iter();
        if let Some((key, shown)) = series.find(|(_, shown)| shown.id == id) {
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
        if !self.series.0.is_empty() {
            self.series.0 = left;
            self.show();
        }
        Some(self)
    }

    fn show(&mut self) {
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
    let kind = joined(&first.kind, BETWEEN, &second.kind);
    let previews = first.body_preview.zip(second.body_preview);
    HttpRequest {
        path: joined(&first.path, BETWEEN, &second.path),
        body_preview: previews.map(|(one, other)| joined(&one, BETWEEN_TEXTS, &other)),
        bytes: first
            .bytes
            .zip(second.bytes)
            .map(|(one, other)| one + other),
        kind: kind[..kind.floor_char_boundary(MAX_WORD)].to_owned(),
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
        let table = of(&texts[..MAX_STATEMENTS + 1]);
        assert_eq!(ids(&table), ["r32", "r33"]);
        let table = of(&texts);
        let kept: usize = table.pending().iter().map(|one| one.each().count()).sum();
        assert!(kept as u64 <= most, "{kept}");
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
