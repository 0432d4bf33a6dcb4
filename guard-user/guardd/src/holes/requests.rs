//! Holes for HTTP requests and SQL statements, which guardd keeps and the kernel half does not know.

use guard_common::{Address, BootTime, HoleId, SessionId};
use guard_policy::Prefix;
use guard_proto::{HttpHole, HttpRequest};

use super::{
    covers::Covers,
    hole::{Hole, Scope},
    known::Holes,
};
use crate::requests::RequestKey;

/// What a hole for requests lets through, and how often.
#[derive(Clone, Debug)]
pub(crate) struct RequestScope {
    /// The address.
    pub(crate) to: Address,
    /// The TCP port.
    pub(crate) port: u16,
    /// The request that a person saw when they opened it: `r1`.
    pub(crate) request: String,
    /// The requests that it covers.
    pub(crate) covers: Covers,
    /// How many more requests may pass; `None`: any number.
    pub(crate) left: Option<u64>,
    /// Bytes that their bodies may still have; `None`: any number.
    pub(crate) bytes: Option<u64>,
    /// How many requests have passed.
    pub(crate) passed: u64,
}

impl RequestScope {
    /// The destination, as people see it.
    #[must_use]
    pub(crate) fn destination(&self) -> String {
        Prefix::host(self.to).to_string()
    }

    /// Which requests, as people see it.
    #[must_use]
    pub(crate) fn shown(&self) -> HttpHole {
        self.covers.shown(self.left)
    }

    /// Whether a number of requests or bytes is counted, so that one may use up what another needs.
    #[must_use]
    pub(crate) fn is_counted(&self) -> bool {
        self.left.is_some() || self.bytes.is_some()
    }

    /// Whether it is for that request, leaving aside whose it is, when and how often.
    fn is_for(&self, key: &RequestKey) -> bool {
        let is_there = (self.to, self.port) == (key.destination, key.port);
        let http = key.http.as_deref();
        is_there && http.is_some_and(|http| self.covers.covers(http))
    }

    /// Whether a client that is held for that request may use it. A counted hole is only for the request that it was opened
    /// for.
    fn is_free_for(&self, request: &str) -> bool {
        !self.is_counted() || self.covers.is_one() || self.request == request
    }

    /// Whether it has room for a body of that length. A body of unknown length does not fit.
    #[must_use]
    pub(crate) fn has_room_for(&self, request: &HttpRequest) -> bool {
        let fits = |left| request.bytes.is_some_and(|bytes| bytes <= left);
        self.bytes.is_none_or(fits)
    }

    /// How specific it is: the lowest is the most.
    const fn breadth(&self) -> u8 {
        match self.covers {
            Covers::Waiting(..) => 0,
            Covers::Digest(_) => 1,
            Covers::Path { .. } => 2,
            Covers::Writes { .. } => 3,
        }
    }
}

impl Hole {
    /// What requests it is for, if it is.
    #[must_use]
    pub(crate) fn requests(&self) -> Option<&RequestScope> {
        match &self.scope {
            Scope::Requests(requests) => Some(requests),
            Scope::Connections(_) | Scope::Questions(_) => None,
        }
    }

    /// Whether it is for that request, leaving aside when and how often.
    #[must_use]
    pub(crate) fn is_for(&self, key: &RequestKey) -> bool {
        self.session == key.session && self.requests().is_some_and(|one| one.is_for(key))
    }
}

impl Holes {
    /// The hole that a request would use: of several the most specific, so that wider ones are left for other requests.
    /// `held_for`: the request for whose answer its client is held, if it is.
    #[must_use]
    pub(crate) fn for_request(
        &self,
        key: &RequestKey,
        held_for: Option<&str>,
        now: BootTime,
    ) -> Option<(HoleId, &RequestScope)> {
        let http = key.http.as_deref()?;
        let usable = self.all().filter_map(|(id, hole)| {
            let requests = hole.requests()?;
            let is_free = held_for.is_none_or(|request| requests.is_free_for(request));
            let has_any = requests.left != Some(0) && requests.has_room_for(&http.request);
            let is_usable = hole.expires > now && has_any && is_free && hole.is_for(key);
            is_usable.then_some((id, requests))
        });
        usable.min_by_key(|(id, requests)| (requests.breadth(), *id))
    }

    /// Returns true if a transaction that begins there may write, though it reads first: a yes to one of its statements would come
    /// too late for it.
    #[must_use]
    pub(crate) fn begins_to_write(
        &self,
        session: SessionId,
        to: Address,
        port: u16,
        now: BootTime,
    ) -> bool {
        self.all().any(|(_, hole)| {
            let is_open = hole.session == session && hole.expires > now;
            is_open
                && hole.requests().is_some_and(|one| {
                    let is_there = (one.to, one.port) == (to, port);
                    // Others may use up what is counted.
                    let is_sure = one.covers.is_one() || !one.is_counted();
                    is_there && is_sure && one.left != Some(0) && one.covers.begins()
                })
        })
    }

    /// When those of a session that are open there end.
    pub(crate) fn ends_of_requests(
        &self,
        session: SessionId,
        to: Address,
        port: u16,
        now: BootTime,
    ) -> impl Iterator<Item = BootTime> {
        let open = self.all().filter(move |(_, hole)| {
            let is_there = |one: &RequestScope| (one.to, one.port) == (to, port);
            hole.session == session && hole.expires > now && hole.requests().is_some_and(is_there)
        });
        open.map(|(_, hole)| hole.expires)
    }

    /// Counts a request with a body of that length. True if it was the last.
    pub(crate) fn spend(&mut self, id: HoleId, length: u64) -> bool {
        let Some(Scope::Requests(one)) = self.get_mut(id).map(|hole| &mut hole.scope) else {
            return false;
        };
        one.passed += 1;
        one.left = one.left.map(|left| left.saturating_sub(1));
        one.bytes = one.bytes.map(|left| left.saturating_sub(length));
        [one.left, one.bytes].contains(&Some(0))
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, rc::Rc};

    use guard_sys::clock::Clocks;
    use jiff::Timestamp;

    use super::*;
    use crate::{
        holes::{
            covers::{is_like, is_like_statement, said},
            hole::HoleOrigin,
        },
        requests::HttpRequestKey,
    };

    const NOW: BootTime = BootTime(10);

    /// The hole that a request would use.
    fn used(holes: &Holes, key: &RequestKey, held_for: Option<&str>) -> Option<HoleId> {
        let found = holes.for_request(key, held_for, NOW);
        found.map(|(id, _)| id)
    }

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
            matter: None,
        }
    }

    fn asked(session: u32, port: u16, request: HttpRequest, alone: Option<u64>) -> RequestKey {
        let to = IpAddr::from([192, 0, 2, 1]).into();
        let http = Rc::new(plain(request, alone));
        RequestKey::of_http(SessionId(session), to, port, http)
    }

    fn hole(covers: Covers, left: Option<u64>) -> Hole {
        counted(covers, left, None)
    }

    /// All writes to a host.
    fn writes(host: Option<&str>) -> Covers {
        Covers::Writes {
            sql: false,
            host: host.map(str::to_owned),
        }
    }

    fn counted(covers: Covers, left: Option<u64>, bytes: Option<u64>) -> Hole {
        let scope = RequestScope {
            to: IpAddr::from([192, 0, 2, 1]).into(),
            port: 443,
            request: "r1".to_owned(),
            covers,
            left,
            bytes,
            passed: 0,
        };
        Hole {
            session: SessionId(1),
            expires: BootTime(100),
            scope: Scope::Requests(Box::new(scope)),
            about: Some(HoleOrigin {
                session: 1,
                owner: 1000,
                opened_by: "alice".to_owned(),
                reason: None,
                opened_at: Timestamp::UNIX_EPOCH,
                bytes: None,
            }),
        }
    }

    #[test]
    fn a_yes_is_for_one_request_once_and_nothing_else() {
        let mut holes = Holes::nowhere();
        let put = request("PUT", "/a", Some("d1"));
        holes.add(HoleId(1), hole(Covers::Digest(put.clone()), Some(1)));
        let find = |holes: &Holes, key: &RequestKey| used(holes, key, None);
        let other = request("PUT", "/a", Some("d2"));
        let unknown = request("PUT", "/a", None);
        for wrong in [
            asked(1, 443, other, None),
            asked(1, 443, unknown, None),
            asked(1, 80, put.clone(), None),
            asked(2, 443, put.clone(), None),
        ] {
            assert_eq!(find(&holes, &wrong), None, "{wrong:?}");
        }
        let right = asked(1, 443, put, None);
        assert_eq!(find(&holes, &right), Some(HoleId(1)));
        assert!(holes.for_request(&right, None, BootTime(100)).is_none());
        assert!(holes.spend(HoleId(1), 0));
        assert_eq!(find(&holes, &right), None);
    }

    #[test]
    fn what_has_no_digest_is_known_by_who_waits_alone() {
        let mut holes = Holes::nowhere();
        let put = request("PUT", "/a", None);
        holes.add(HoleId(1), hole(Covers::Waiting(put.clone(), 7), Some(1)));
        assert!(used(&holes, &asked(1, 443, put.clone(), Some(7)), None).is_some());
        for other in [None, Some(8)] {
            let key = asked(1, 443, put.clone(), other);
            assert_eq!(used(&holes, &key, None), None);
        }
        // Two requests without a digest are not the same one.
        holes.add(HoleId(2), hole(Covers::Digest(put.clone()), Some(1)));
        assert_eq!(used(&holes, &asked(1, 443, put, None), None), None);
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
            // As servers of Windows may read them.
            ("/api/*", "/api/..%20/admin", false),
            ("/api/*", "/api/.../admin", false),
            ("/api/*", "/api/..%3b/admin", false),
            ("/api/*", "/api/%EF%BC%8E%ef%bc%8e/admin", false),
            ("/api/*", "/api/%EF%BD%A1%ef%bd%a1/admin", false),
            ("/api/*", "/api/\u{ff61}\u{ff61}/admin", false),
            ("/api/*", "/api/.well-known/x", true),
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
    fn a_star_of_the_url_is_no_pattern() {
        let asked = request("POST", "/api/*?all=*", None);
        let pattern = asked.as_pattern();
        assert_eq!(pattern, r"/api/\*");
        assert!(is_like(&pattern, "/api/*") && is_like(&pattern, "/api/*?now=1"));
        for other in ["/api/", "/api/users", r"/api/\*", "/api/\u{1}"] {
            assert!(!is_like(&pattern, other), "{other}");
        }
        assert!(is_like("/api/*", "/api/users") && is_like("/api/*", "/api/*"));
        let both = r"/api/\*/jobs/*";
        assert!(is_like(both, "/api/*/jobs/7") && !is_like(both, "/api/x/jobs/7"));
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
        let mut holes = Holes::nowhere();
        let put = request("PUT", "/a", Some("d1"));
        holes.add(HoleId(1), hole(writes(None), None));
        holes.add(HoleId(2), hole(Covers::Digest(put.clone()), Some(2)));
        let key = asked(1, 443, put, None);
        assert_eq!(used(&holes, &key, None), Some(HoleId(2)));
        assert!(!holes.spend(HoleId(2), 0) && holes.spend(HoleId(2), 0));
        assert_eq!(used(&holes, &key, None), Some(HoleId(1)));
        assert!(!holes.spend(HoleId(1), 0));
        assert_eq!(holes.next_expiry(), Some(BootTime(100)));
        assert!(holes.take_session(SessionId(2)).is_empty());
        assert!(holes.remove(HoleId(2)).is_some());
        assert_eq!(holes.take_expired(BootTime(100)).len(), 1);
        assert_eq!(holes.all().count(), 0);
    }

    #[test]
    fn a_transaction_begins_to_write_for_all_statements_or_for_one() {
        let statements = || Covers::Writes {
            host: None,
            sql: true,
        };
        let all = |covers: Covers, left, now| {
            let mut holes = Holes::nowhere();
            holes.add(HoleId(1), hole(covers, left));
            move |session, last: u8, port| {
                let to = IpAddr::from([192, 0, 2, last]).into();
                holes.begins_to_write(SessionId(session), to, port, now)
            }
        };
        let open = all(statements(), None, NOW);
        assert!(open(1, 1, 443));
        assert!(!open(2, 1, 443) && !open(1, 2, 443) && !open(1, 1, 80));
        assert!(!all(statements(), Some(9), NOW)(1, 1, 443));
        assert!(!all(statements(), None, BootTime(100))(1, 1, 443));
        let one = HttpRequest {
            scheme: HttpRequest::POSTGRES.to_owned(),
            ..request("ALTER TABLE", "alter table t", Some("d1"))
        };
        assert!(all(Covers::Digest(one.clone()), Some(1), NOW)(1, 1, 443));
        assert!(!all(Covers::Digest(one), Some(0), NOW)(1, 1, 443));
        assert!(!all(writes(None), None, NOW)(1, 1, 443));
        let one = Covers::Digest(request("PUT", "/a", Some("d1")));
        assert!(!all(one, None, NOW)(1, 1, 443));
        assert!(!all(writes(Some("staging")), None, NOW)(1, 1, 443));
    }

    #[test]
    fn all_writes_are_those_to_the_host_that_was_asked_about() {
        let to = |host: Option<&str>, scheme: &str| {
            let request = HttpRequest {
                host: host.map(str::to_owned),
                scheme: scheme.to_owned(),
                ..request("DELETE", "/x", None)
            };
            asked(1, 443, request, None)
        };
        let statements = Covers::Writes {
            host: None,
            sql: true,
        };
        let drop = HttpRequest {
            scheme: HttpRequest::POSTGRES.to_owned(),
            ..request("DROP TABLE", "drop table t", None)
        };
        for (covers, wanted) in [
            (writes(Some("staging")), [true, false, false, false, false]),
            (writes(None), [false, false, true, false, false]),
            (statements, [false, false, false, true, false]),
        ] {
            let mut holes = Holes::nowhere();
            holes.add(HoleId(1), hole(covers.clone(), None));
            let passes = [
                to(Some("staging"), "https"),
                to(Some("production"), "https"),
                to(None, "https"),
                to(Some("app@shop"), HttpRequest::POSTGRES),
                asked(1, 443, drop.clone(), None),
            ]
            .map(|key| used(&holes, &key, None).is_some());
            assert_eq!(passes, wanted, "{covers:?}");
        }
    }

    #[test]
    fn all_writes_to_a_host_are_none_that_a_header_may_send_to_another() {
        let covers = |headers: &[&str], warnings: &[&str]| {
            let owned = |texts: &[&str]| -> Vec<String> {
                texts.iter().map(|one| (*one).to_owned()).collect()
            };
            let request = HttpRequest {
                host: Some("staging:8443".to_owned()),
                headers: owned(headers),
                warnings: owned(warnings),
                ..request("DELETE", "/x", None)
            };
            let of_host = Covers::writes_to_host_of(&request);
            of_host.covers(&plain(request, None))
        };
        for (header, is_covered) in [
            ("x-forwarded-host: Staging", true),
            ("x-forwarded-host: staging:8443", true),
            ("x-forwarded-host: production", false),
            ("x-forwarded-host: staging, production", false),
            ("forwarded: for=192.0.2.1;host=production", false),
            ("forwarded: for=192.0.2.1", true),
            ("x-tenant: production", true),
        ] {
            assert_eq!(covers(&[header], &[]), is_covered, "{header}");
        }
        // Nobody has seen the others.
        assert!(!covers(&[], &[HttpRequest::CUT_HEADERS]));
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
        let holes = |covers: Covers, left| {
            let mut holes = Holes::nowhere();
            holes.add(HoleId(1), hole(covers, left));
            holes
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
            (writes(None), Some(2), None),
            (like(), None, Some(HoleId(1))),
            (Covers::Digest(put), Some(1), Some(HoleId(1))),
        ] {
            let holes = holes(covers, left);
            let find = |held_for| used(&holes, &key, held_for);
            assert_eq!(find(Some("r1")), Some(HoleId(1)));
            assert_eq!(find(None), Some(HoleId(1)));
            assert_eq!(find(Some("r2")), other);
        }
    }

    #[test]
    fn a_hole_for_requests_is_shown_as_one() {
        let put = request("PUT", "/a", Some("d1"));
        let shown = hole(Covers::Digest(put), Some(1))
            .shown(HoleId(3), &Clocks::read())
            .unwrap();
        assert_eq!(shown.id, "h3");
        assert_eq!(shown.ports.as_deref(), Some("tcp/443"));
        let http = shown.http.unwrap();
        assert_eq!(http.digest.as_deref(), Some("d1"));
        assert_eq!(http.requests_left, Some(1));
        let all = hole(writes(Some("photos")), None)
            .shown(HoleId(4), &Clocks::read())
            .unwrap();
        let all = all.http.unwrap();
        assert_eq!(all.host.as_deref(), Some("photos"));
        assert_eq!(
            (all.method, all.path, all.requests_left),
            (None, None, None)
        );
    }

    #[test]
    fn bodies_are_counted_and_none_of_unknown_length_passes() {
        let mut holes = Holes::nowhere();
        holes.add(HoleId(1), counted(writes(None), None, Some(10)));
        let of = |bytes| {
            let request = HttpRequest {
                bytes,
                ..request("PUT", "/a", None)
            };
            asked(1, 443, request, None)
        };
        let find = |holes: &Holes, bytes| used(holes, &of(bytes), None);
        assert_eq!(find(&holes, None), None);
        assert_eq!(find(&holes, Some(11)), None);
        assert_eq!(find(&holes, Some(10)), Some(HoleId(1)));
        assert!(!holes.spend(HoleId(1), 4));
        assert_eq!(find(&holes, Some(7)), None);
        assert_eq!(find(&holes, Some(6)), Some(HoleId(1)));
        assert!(holes.spend(HoleId(1), 6));
    }
}
