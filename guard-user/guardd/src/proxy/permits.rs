//! Permits: the holes for HTTP requests and SQL statements, which guardd keeps and the kernel half does not know.

use std::collections::BTreeMap;

use guard_common::{Address, BootTime, HoleId, Protocol, SessionId};
use guard_policy::Prefix;
use guard_proto::{self as proto, HttpHole, HttpRequest};
use guard_sys::clock::Clocks;

use crate::{
    config::stands_for,
    control::ids,
    grants::holes::About,
    requests::{HttpRequestKey, RequestKey},
};

/// The requests that a permit is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Exactly this one, by its digest.
    Digest(HttpRequest),
    /// This one, whose client is held, and which nothing else tells from others.
    Waiting(HttpRequest, u64),
    /// All with this method and a path like this, if nothing else in them names another method or path: many servers obey
    /// `X-HTTP-Method-Override: DELETE`.
    Path {
        /// `http` or `https`.
        scheme: String,
        /// The host: behind one address there may be several.
        host: Option<String>,
        /// The method.
        method: String,
        /// A `*` stands for any text. A pattern without a `?` is about the path alone.
        pattern: String,
        /// The headers of the request that a person saw, as by [`said`].
        headers: Vec<String>,
    },
    /// All writes.
    Writes,
}

impl Covers {
    /// Whether that request is covered.
    #[must_use]
    pub fn covers(&self, http: &HttpRequestKey) -> bool {
        let request = &http.request;
        match self {
            Self::Digest(one) => one.digest.is_some() && one.digest == request.digest,
            Self::Waiting(_, number) => http.alone == Some(*number),
            Self::Path {
                scheme,
                host,
                method,
                pattern,
                headers,
            } => {
                let is_there = *scheme == request.scheme && *host == request.host;
                let says_so = says(request, headers);
                let is_method = *method == request.method;
                let is_like = match request.is_statement() {
                    true => is_like_statement,
                    false => is_like,
                };
                let is_one = is_there && is_method && says_so;
                http.plain && is_one && is_like(pattern, &request.path)
            }
            Self::Writes => true,
        }
    }

    /// Whether it can cover one request only.
    fn is_one(&self) -> bool {
        matches!(self, Self::Digest(_) | Self::Waiting(..))
    }

    fn shown(&self, requests_left: Option<u64>) -> HttpHole {
        let none = HttpHole {
            host: None,
            method: None,
            path: None,
            requests_left,
            digest: None,
        };
        match self {
            Self::Digest(one) | Self::Waiting(one, _) => HttpHole {
                host: one.host.clone(),
                method: Some(one.method.clone()),
                path: Some(one.path.clone()),
                digest: one.digest.clone(),
                ..none
            },
            Self::Path {
                host,
                method,
                pattern,
                ..
            } => HttpHole {
                host: host.clone(),
                method: Some(method.clone()),
                path: Some(pattern.clone()),
                ..none
            },
            Self::Writes => none,
        }
    }
}

/// The headers of a request that say what it does. A condition's header counts by its name alone, since its value differs each
/// time; but a `*` stays.
pub fn said(request: &HttpRequest) -> Vec<String> {
    let headers = request.headers.iter();
    let said = headers.map(|header| match header.split_once(": ") {
        Some((name, value)) if name.starts_with(CONDITION) && value != "*" => name,
        _ => header,
    });
    said.map(str::to_owned).collect()
}

const CONDITION: &str = "if-";

/// Whether a request has the same headers and conditions. More conditions let it do less.
fn says(request: &HttpRequest, seen: &[String]) -> bool {
    let is_condition = |header: &String| header.starts_with(CONDITION);
    let (conditions, rest): (Vec<_>, Vec<_>) = said(request).into_iter().partition(is_condition);
    let (wanted, same): (Vec<_>, Vec<_>) = seen.iter().partition(|header| is_condition(header));
    rest.iter().eq(same) && wanted.into_iter().all(|one| conditions.contains(one))
}

/// Whether a path with its query is like a pattern.
fn is_like(pattern: &str, target: &str) -> bool {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    match pattern.contains('?') {
        _ if !is_plain(path) => false,
        true => stands_for(pattern, target),
        false => stands_for(pattern, path),
    }
}

/// The same for a statement, in which a `?` is an operator, and all of which must match. A pattern with several `*` matches
/// nothing, since each could stand for anything. A literal one is `\*`.
fn is_like_statement(pattern: &str, text: &str) -> bool {
    // Stands for the literal ones on both sides. A text that has it in a name matches no pattern.
    const MEANT: &str = "\u{1}";
    let is_odd = text.contains([';', '\u{1}']);
    !is_odd && stands_for(&pattern.replace(r"\*", MEANT), &text.replace('*', MEANT))
}

/// Whether a path means to every server what it looks like: a server may take `/api/%2e%2e/admin` for `/admin`, which a pattern
/// that begins with `/api/` was not meant for.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c", "%25", "%00", "\\", "//", ";"];
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    !hidden.iter().any(|one| lower.contains(one)) && !path.split('/').any(is_dots)
}

/// A hole for HTTP requests.
#[derive(Clone, Debug)]
pub struct Permit {
    /// Its session.
    pub session: SessionId,
    /// The address.
    pub to: Address,
    /// The TCP port.
    pub port: u16,
    /// The request that a person saw when they opened it: `r1`.
    pub request: String,
    /// The requests that it covers.
    pub covers: Covers,
    /// How many more requests may pass; `None`: any number.
    pub left: Option<u64>,
    /// Bytes that their bodies may still have; `None`: any number.
    pub bytes: Option<u64>,
    /// How many requests have passed.
    pub passed: u64,
    /// When it ends.
    pub expires: BootTime,
    /// Who opened it, and why.
    pub about: About,
}

impl Permit {
    /// Whether it is for that request, leaving aside when and how often.
    #[must_use]
    pub fn is_for(&self, key: &RequestKey) -> bool {
        let (to, port) = (key.destination, key.port);
        let is_there = self.session == key.session && self.to == to && self.port == port;
        let http = key.http.as_deref();
        is_there && http.is_some_and(|http| self.covers.covers(http))
    }

    /// Whether a client that is held for that request may use it. A counted permit is only for the request that it was opened
    /// for.
    fn is_free_for(&self, request: &str) -> bool {
        let is_counted = self.left.is_some() || self.bytes.is_some();
        !is_counted || self.covers.is_one() || self.request == request
    }

    /// Whether it has room for a body of that length. A body of unknown length does not fit.
    #[must_use]
    pub fn has_room_for(&self, request: &HttpRequest) -> bool {
        let fits = |left| request.bytes.is_some_and(|bytes| bytes <= left);
        self.bytes.is_none_or(fits)
    }

    /// As `guard holes` shows it.
    #[must_use]
    pub fn shown(&self, id: HoleId, clocks: &Clocks) -> proto::Hole {
        proto::Hole {
            id: ids::hole(id),
            session: ids::session(self.session),
            destination: Prefix::host(self.to).to_string(),
            ports: Some(format!("tcp/{}", self.port)),
            opened_by: Some(self.about.opened_by.clone()),
            reason: self.about.reason.clone(),
            opened_at: Some(self.about.opened_at),
            expires_at: clocks.calendar(self.expires),
            connections_left: None,
            bytes_left: self.bytes,
            read_only: false,
            http: Some(self.covers.shown(self.left)),
            addresses: Vec::new(),
        }
    }
}

/// The permits that have not ended.
#[derive(Debug, Default)]
pub struct Permits(BTreeMap<HoleId, Permit>);

impl Permits {
    /// Adds a permit.
    pub fn add(&mut self, id: HoleId, permit: Permit) {
        self.0.insert(id, permit);
    }

    /// All permits, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (HoleId, &Permit)> {
        self.0.iter().map(|(id, permit)| (*id, permit))
    }

    /// The permit with that id.
    #[must_use]
    pub fn get(&self, id: HoleId) -> Option<&Permit> {
        self.0.get(&id)
    }

    /// Removes a permit.
    pub fn remove(&mut self, id: HoleId) -> Option<Permit> {
        self.0.remove(&id)
    }

    /// The permit that a request would use: of several the most specific, so that wider ones are left for other requests.
    /// `waits_for`: the request for whose answer its client is held, if it is.
    #[must_use]
    pub fn find(&self, key: &RequestKey, waits_for: Option<&str>, now: BootTime) -> Option<HoleId> {
        let breadth = |permit: &Permit| match permit.covers {
            Covers::Waiting(..) => 0,
            Covers::Digest(_) => 1,
            Covers::Path { .. } => 2,
            Covers::Writes => 3,
        };
        let usable = self.0.iter().filter(|(_, permit)| {
            let is_free = waits_for.is_none_or(|request| permit.is_free_for(request));
            let has_room =
                (key.http.as_deref()).is_some_and(|http| permit.has_room_for(&http.request));
            let has_any = permit.left != Some(0) && has_room;
            permit.expires > now && has_any && is_free && permit.is_for(key)
        });
        let first = usable.min_by_key(|(id, permit)| (breadth(permit), **id));
        first.map(|(id, _)| *id)
    }

    /// Whether every write passes there: a counted permit does not count, since other requests may use it up.
    #[must_use]
    pub fn all_writes(&self, session: SessionId, to: Address, port: u16, now: BootTime) -> bool {
        self.0.values().any(|permit| {
            let is_there = (permit.session, permit.to, permit.port) == (session, to, port);
            let is_counted = permit.left.is_some() || permit.bytes.is_some();
            is_there && permit.covers == Covers::Writes && !is_counted && permit.expires > now
        })
    }

    /// Counts a request with a body of that length. True if it was the last.
    pub fn spend(&mut self, id: HoleId, length: u64) -> bool {
        let Some(permit) = self.0.get_mut(&id) else {
            return false;
        };
        permit.passed += 1;
        permit.left = permit.left.map(|left| left.saturating_sub(1));
        permit.bytes = permit.bytes.map(|left| left.saturating_sub(length));
        [permit.left, permit.bytes].contains(&Some(0))
    }

    /// Removes the permits that have expired, and returns them.
    pub fn take_expired(&mut self, now: BootTime) -> Vec<(HoleId, Permit)> {
        let is_over = |_: &HoleId, permit: &mut Permit| permit.expires <= now;
        self.0.extract_if(.., is_over).collect()
    }

    /// Removes the permits of a session, and returns them.
    pub fn take_session(&mut self, session: SessionId) -> Vec<(HoleId, Permit)> {
        let is_of = |_: &HoleId, permit: &mut Permit| permit.session == session;
        self.0.extract_if(.., is_of).collect()
    }

    /// When the next permit ends.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.0.values().map(|permit| permit.expires).min()
    }
}

/// The key of the request for an approver.
#[must_use]
pub fn key(
    session: SessionId,
    to: Address,
    port: u16,
    http: std::rc::Rc<HttpRequestKey>,
) -> RequestKey {
    RequestKey {
        session,
        destination: to,
        protocol: Protocol::TCP,
        port,
        http: Some(http),
        question: None,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, rc::Rc};

    use jiff::Timestamp;

    use super::*;

    const NOW: BootTime = BootTime(10);

    fn request(method: &str, path: &str, digest: Option<&str>) -> HttpRequest {
        HttpRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            digest: digest.map(str::to_owned),
            ..HttpRequest::default()
        }
    }

    fn plain(request: HttpRequest, alone: Option<u64>) -> HttpRequestKey {
        HttpRequestKey {
            request,
            alone,
            plain: true,
            series: false,
        }
    }

    fn asked(session: u32, port: u16, request: HttpRequest, alone: Option<u64>) -> RequestKey {
        let to = IpAddr::from([192, 0, 2, 1]).into();
        let http = Rc::new(plain(request, alone));
        key(SessionId(session), to, port, http)
    }

    fn permit(covers: Covers, left: Option<u64>) -> Permit {
        Permit {
            session: SessionId(1),
            to: IpAddr::from([192, 0, 2, 1]).into(),
            port: 443,
            request: "r1".to_owned(),
            covers,
            left,
            bytes: None,
            passed: 0,
            expires: BootTime(100),
            about: About {
                session: 1,
                owner: 1000,
                opened_by: "alice".to_owned(),
                reason: None,
                opened_at: Timestamp::UNIX_EPOCH,
                bytes: None,
            },
        }
    }

    #[test]
    fn a_yes_is_for_one_request_once_and_nothing_else() {
        let mut permits = Permits::default();
        let put = request("PUT", "/a", Some("d1"));
        permits.add(HoleId(1), permit(Covers::Digest(put.clone()), Some(1)));
        let find = |permits: &Permits, key: &RequestKey| permits.find(key, None, NOW);
        let other = request("PUT", "/a", Some("d2"));
        let unknown = request("PUT", "/a", None);
        for wrong in [
            asked(1, 443, other, None),
            asked(1, 443, unknown, None),
            asked(1, 80, put.clone(), None),
            asked(2, 443, put.clone(), None),
        ] {
            assert_eq!(find(&permits, &wrong), None, "{wrong:?}");
        }
        let right = asked(1, 443, put, None);
        assert_eq!(find(&permits, &right), Some(HoleId(1)));
        assert_eq!(permits.find(&right, None, BootTime(100)), None);
        assert!(permits.spend(HoleId(1), 0));
        assert_eq!(find(&permits, &right), None);
    }

    #[test]
    fn what_has_no_digest_is_known_by_who_waits_alone() {
        let mut permits = Permits::default();
        let put = request("PUT", "/a", None);
        permits.add(HoleId(1), permit(Covers::Waiting(put.clone(), 7), Some(1)));
        assert!(
            permits
                .find(&asked(1, 443, put.clone(), Some(7)), None, NOW)
                .is_some()
        );
        for other in [None, Some(8)] {
            let key = asked(1, 443, put.clone(), other);
            assert_eq!(permits.find(&key, None, NOW), None);
        }
        // Two requests without a digest are not the same one.
        permits.add(HoleId(2), permit(Covers::Digest(put.clone()), Some(1)));
        assert_eq!(permits.find(&asked(1, 443, put, None), None, NOW), None);
    }

    #[test]
    fn a_pattern_is_for_its_method_and_for_plain_paths() {
        let covers = |pattern: &str, method: &str, path: &str| {
            let pattern = pattern.to_owned();
            let covers = Covers::Path {
                scheme: String::new(),
                host: None,
                method: "POST".to_owned(),
                pattern,
                headers: Vec::new(),
            };
            let mut http = plain(request(method, path, None), None);
            let is_covered = covers.covers(&http);
            http.plain = false;
            assert!(!covers.covers(&http), "its headers say something else");
            is_covered
        };
        for (pattern, path, expected) in [
            ("/api/jobs/*", "/api/jobs/7", true),
            ("/api/jobs/*", "/api/jobs/7?now=1", true),
            ("/api/jobs/*", "/api/jobs", false),
            ("/api/jobs", "/api/jobs/7", false),
            ("/api/jobs?now=*", "/api/jobs?now=1", true),
            ("/api/jobs?now=*", "/api/jobs?then=1", false),
            ("/api/*", "/api/../admin", false),
            ("/api/*", "/api/%2E%2e/admin", false),
            ("/api/*", "/api/x%2f..%2fadmin", false),
            ("/api/*", "/api//admin", false),
            ("/api/*", "/api/..;/admin", false),
            ("/api/*", "/api/a%252e", false),
            ("*", "/./x", false),
            ("*", "*", true),
        ] {
            assert_eq!(covers(pattern, "POST", path), expected, "{pattern} {path}");
        }
        assert!(!covers("*", "DELETE", "/api/jobs"));
    }

    #[test]
    fn a_pattern_is_for_all_of_a_statement() {
        let covers = |pattern: &str, text: &str| {
            let covers = Covers::Path {
                scheme: HttpRequest::POSTGRES.to_owned(),
                host: None,
                method: "DELETE".to_owned(),
                pattern: pattern.to_owned(),
                headers: Vec::new(),
            };
            let request = HttpRequest {
                scheme: HttpRequest::POSTGRES.to_owned(),
                ..request("DELETE", text, None)
            };
            covers.covers(&plain(request, None))
        };
        let asked = "delete from t where flag = $1";
        for (pattern, text, expected) in [
            (asked, asked, true),
            (asked, "delete from t where flag = $1?$2 or true", false),
            ("delete from t *", "delete from t where a ? $1", true),
            (
                "delete from t *",
                "delete from t where a = $1; delete from u",
                false,
            ),
            (
                "delete from t where a // $1",
                "delete from t where a // $1",
                true,
            ),
        ] {
            assert_eq!(covers(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_of_the_statement_is_no_pattern() {
        let text = "insert into log select * from people where id = $1";
        let request = HttpRequest {
            scheme: HttpRequest::POSTGRES.to_owned(),
            ..request("INSERT", text, None)
        };
        let pattern = request.as_pattern();
        assert!(is_like_statement(&pattern, text), "{pattern}");
        let other = text.replace('*', "secret from vault union select *");
        assert!(!is_like_statement(&pattern, &other), "{pattern}");
        assert!(is_like_statement("insert into log *", &other));
    }

    #[test]
    fn a_pattern_is_for_its_host_and_scheme() {
        let covers = Covers::Path {
            scheme: "https".to_owned(),
            host: Some("staging".to_owned()),
            method: "POST".to_owned(),
            pattern: "*".to_owned(),
            headers: Vec::new(),
        };
        for (scheme, host, expected) in [
            ("https", Some("staging"), true),
            ("https", Some("production"), false),
            ("https", None, false),
            ("http", Some("staging"), false),
        ] {
            let request = HttpRequest {
                scheme: scheme.to_owned(),
                host: host.map(str::to_owned),
                ..request("POST", "/x", None)
            };
            assert_eq!(covers.covers(&plain(request, None)), expected);
        }
    }

    #[test]
    fn the_narrowest_is_used_first_and_all_end() {
        let mut permits = Permits::default();
        let put = request("PUT", "/a", Some("d1"));
        permits.add(HoleId(1), permit(Covers::Writes, None));
        permits.add(HoleId(2), permit(Covers::Digest(put.clone()), Some(2)));
        let key = asked(1, 443, put, None);
        assert_eq!(permits.find(&key, None, NOW), Some(HoleId(2)));
        assert!(!permits.spend(HoleId(2), 0) && permits.spend(HoleId(2), 0));
        assert_eq!(permits.find(&key, None, NOW), Some(HoleId(1)));
        assert!(!permits.spend(HoleId(1), 0));
        assert_eq!(permits.next_expiry(), Some(BootTime(100)));
        assert!(permits.take_session(SessionId(2)).is_empty());
        assert!(permits.remove(HoleId(2)).is_some());
        assert_eq!(permits.take_expired(BootTime(100)).len(), 1);
        assert_eq!(permits.iter().count(), 0);
    }

    #[test]
    fn all_writes_pass_where_none_is_counted() {
        let all = |covers: Covers, left, now| {
            let mut permits = Permits::default();
            permits.add(HoleId(1), permit(covers, left));
            move |session, last: u8, port| {
                let to = IpAddr::from([192, 0, 2, last]).into();
                permits.all_writes(SessionId(session), to, port, now)
            }
        };
        let writes = all(Covers::Writes, None, NOW);
        assert!(writes(1, 1, 443));
        assert!(!writes(2, 1, 443) && !writes(1, 2, 443) && !writes(1, 1, 80));
        assert!(!all(Covers::Writes, Some(9), NOW)(1, 1, 443));
        assert!(!all(Covers::Writes, None, BootTime(100))(1, 1, 443));
        let one = Covers::Digest(request("PUT", "/a", Some("d1")));
        assert!(!all(one, None, NOW)(1, 1, 443));
    }

    #[test]
    fn a_pattern_is_for_what_says_the_same_in_its_headers() {
        let says = |headers: &[&str]| HttpRequest {
            headers: headers.iter().map(|one| (*one).to_owned()).collect(),
            ..request("PUT", "/a", None)
        };
        let seen = says(&["if-match: 1", "x-tenant: dev"]);
        let covers = Covers::Path {
            scheme: String::new(),
            host: None,
            method: "PUT".to_owned(),
            pattern: "/*".to_owned(),
            headers: said(&seen),
        };
        for (headers, is_one) in [
            (&["if-match: 1", "x-tenant: dev"][..], true),
            (&["if-match: 2", "if-none-match: 2", "x-tenant: dev"], true),
            // Without the condition it would do more.
            (&["if-none-match: 2", "x-tenant: dev"], false),
            (&["x-tenant: dev"], false),
            (&["x-tenant: shop"], false),
            (&["x-cascade: true", "x-tenant: dev"], false),
            (&[], false),
        ] {
            let one = plain(says(headers), None);
            assert_eq!(covers.covers(&one), is_one, "{headers:?}");
        }
    }

    #[test]
    fn what_is_counted_is_for_the_client_that_waits_for_that_answer() {
        let permits = |covers: Covers, left| {
            let mut permits = Permits::default();
            permits.add(HoleId(1), permit(covers, left));
            permits
        };
        let like = || Covers::Path {
            scheme: String::new(),
            host: None,
            method: "PUT".to_owned(),
            pattern: "/*".to_owned(),
            headers: Vec::new(),
        };
        let put = request("PUT", "/a", Some("d1"));
        let key = asked(1, 443, put.clone(), None);
        for (covers, left, other) in [
            (like(), Some(1), None),
            (Covers::Writes, Some(2), None),
            (like(), None, Some(HoleId(1))),
            (Covers::Digest(put), Some(1), Some(HoleId(1))),
        ] {
            let permits = permits(covers, left);
            let find = |waits_for| permits.find(&key, waits_for, NOW);
            assert_eq!(find(Some("r1")), Some(HoleId(1)));
            assert_eq!(find(None), Some(HoleId(1)));
            assert_eq!(find(Some("r2")), other);
        }
    }

    #[test]
    fn a_permit_is_shown_as_a_hole() {
        let put = request("PUT", "/a", Some("d1"));
        let shown = permit(Covers::Digest(put), Some(1)).shown(HoleId(3), &Clocks::read());
        assert_eq!(shown.id, "h3");
        assert_eq!(shown.ports.as_deref(), Some("tcp/443"));
        let http = shown.http.unwrap();
        assert_eq!(http.digest.as_deref(), Some("d1"));
        assert_eq!(http.requests_left, Some(1));
        let all = permit(Covers::Writes, None).shown(HoleId(4), &Clocks::read());
        let all = all.http.unwrap();
        assert_eq!(
            (all.method, all.path, all.requests_left),
            (None, None, None)
        );
    }

    #[test]
    fn bodies_are_counted_and_none_of_unknown_length_passes() {
        let mut permits = Permits::default();
        let counted = Permit {
            bytes: Some(10),
            ..permit(Covers::Writes, None)
        };
        permits.add(HoleId(1), counted);
        let of = |bytes| {
            let request = HttpRequest {
                bytes,
                ..request("PUT", "/a", None)
            };
            asked(1, 443, request, None)
        };
        let find = |permits: &Permits, bytes| permits.find(&of(bytes), None, NOW);
        assert_eq!(find(&permits, None), None);
        assert_eq!(find(&permits, Some(11)), None);
        assert_eq!(find(&permits, Some(10)), Some(HoleId(1)));
        assert!(!permits.spend(HoleId(1), 4));
        assert_eq!(find(&permits, Some(7)), None);
        assert_eq!(find(&permits, Some(6)), Some(HoleId(1)));
        assert!(permits.spend(HoleId(1), 6));
    }
}
