//! What a person has let through for a while.

use guard_proto::{DnsQuestion, Hole, HttpHole, holes::Remembered, record::HoleOpen};

use super::page::{Page, STRONG, WARN};
use super::seen::ListScope;
use super::time::Clock;
use crate::size;

/// The programs on the loopback that are reached without a question.
pub(crate) fn always(all: &[Remembered]) -> Page {
    if all.is_empty() {
        return Page::of("No program on the loopback is reached without a question.");
    }
    let mut page = Page::default();
    let rows = all.iter().map(|one| {
        let port = format!("{}/{}", one.protocol, one.port);
        [&one.id, &one.user, &one.program, &one.owner, &port].map(String::clone)
    });
    page.table(["ID", "SESSIONS OF", "PROGRAM", "OWNER", "PORT"], rows);
    page
}

/// That programs are asked about again.
pub(crate) fn forgotten(all: &[Remembered]) -> Page {
    let mut page = Page::default();
    for one in all {
        page.styled(STRONG, &one.id)
            .line(format_args!(" {} is asked about again.", one.program));
    }
    page
}

/// All of them, those that are used up apart, and how to close the first.
pub(crate) fn list(holes: &[Hole], clock: &Clock) -> Page {
    let (used_up, open): (Vec<_>, Vec<_>) = holes.iter().partition(|hole| hole.is_used_up());
    let mut page = Page::default();
    let heads = [
        "ID",
        "SESSION",
        "DESTINATION",
        "PORTS",
        "ENDS",
        "LEFT",
        "BY",
        "REASON",
    ];
    if open.is_empty() {
        page.line(NONE);
    } else {
        page.table(heads, open.iter().map(|hole| row(hole, clock)))
    }
    for hole in open.iter().filter(|hole| begins(hole)) {
        page.styled(STRONG, &hole.id)
            .line(format_args!(": {BEGINS}"));
    }
    for hole in &open {
        if let Some(by) = &hole.shut_by {
            page.styled(WARN, &hole.id)
                .line(format_args!(" lets nothing through now: {by} denies it."));
        }
    }
    for hole in &used_up {
        page.styled(STRONG, &hole.id).line(format_args!(
            " is used up: {} opens nothing more at {} {}; what it has open there may go on, and ends {}.",
            hole.session,
            hole.destination,
            ports(hole),
            clock.until(hole.expires_at)
        ));
    }
    if let Some(first) = open.first().or(used_up.first()) {
        let words = if open.is_empty() {
            "End what it has open with:"
        } else {
            "Close one with:"
        };
        page.line("")
            .line(words)
            .commands(format_args!("guard close {}", first.id));
    }
    page
}

const NONE: &str = "No holes are open.";

/// None of them.
pub(crate) fn none(seen: ListScope) -> Page {
    let mut page = seen.none("holes", "are open.");
    seen.others(&mut page, "holes");
    page
}

/// One that has just been opened.
pub(crate) fn opened(hole: &Hole, clock: &Clock) -> Page {
    let mut page = Page::default();
    if let Some(http) = hole
        .http
        .as_ref()
        .filter(|one| one.requests_left == Some(0))
    {
        page.styled(STRONG, &hole.id)
            .line(format_args!(
                " is the yes that a client of {} waited for: {} to {} {}",
                hole.session,
                requests(http),
                hole.destination,
                ports(hole),
            ))
            .line("    whether it passed:")
            .commands(format_args!("guard log --session {}", hole.session));
        return page;
    }
    page.styled(STRONG, &hole.id).line(format_args!(
        " open for {}: {}{} {}{}, ends {} ({})",
        hole.session,
        hole.destination,
        addresses(hole),
        ports(hole),
        limits(hole),
        clock.until(hole.expires_at),
        clock.at(hole.expires_at),
    ));
    if begins(hole) {
        page.line(format_args!("    {BEGINS}"));
    }
    page.commands(format_args!("guard close {}", hole.id));
    page
}

/// Whether a transaction that begins there may write: for one statement, which may come late in it.
fn begins(hole: &Hole) -> bool {
    let one = hole.http.as_ref();
    one.is_some_and(|one| one.sql && one.digest.is_some() && one.requests_left != Some(0))
}

const BEGINS: &str =
    "until it has passed, a transaction of the session that begins there may write, also by views";

/// That others let the same through already, which no new one has changed.
pub(crate) fn open_before(opened: &[Hole], all: &[Hole], clock: &Clock) -> Vec<String> {
    let is_new = |hole: &Hole| opened.iter().any(|new| new.id == hole.id);
    let before = all.iter().filter(|hole| !is_new(hole));
    let pairs = before.filter_map(|hole| {
        let new = opened.iter().find(|new| lets_through(hole, new))?;
        Some(format!(
            "{} was open for {} {} already, and ends {} ({}): {} is beside it, and each ends by itself",
            hole.id,
            hole.destination,
            ports(hole),
            clock.until(hole.expires_at),
            clock.at(hole.expires_at),
            new.id,
        ))
    });
    pairs.collect()
}

/// Whether a hole lets through all that another one of the same destination is for.
fn lets_through(hole: &Hole, other: &Hole) -> bool {
    let is_same = (&hole.session, &hole.destination) == (&other.session, &other.destination);
    let has_ports = hole.ports.is_none() || hole.ports == other.ports;
    let has_scope = hole.http.is_none() && (other.read_only || !hole.read_only);
    is_same && has_ports && has_scope && hole.shut_by.is_none() && !hole.is_used_up()
}

/// All that were open, which have just been closed.
pub(crate) fn all_closed(holes: &[Hole]) -> Page {
    let mut page = Page::default();
    for hole in holes {
        close(&mut page, hole);
    }
    page
}

/// One that has just been closed.
pub(crate) fn closed(hole: &Hole, _clock: &Clock) -> Page {
    let mut page = Page::default();
    close(&mut page, hole);
    page
}

fn close(page: &mut Page, hole: &Hole) {
    let what = match &hole.http {
        Some(http) => format!("send {} to", requests(http)),
        None if asks(hole) => "ask for".to_owned(),
        None => "reach".to_owned(),
    };
    page.styled(STRONG, &hole.id).line(format_args!(
        " closed: {} may not {what} {} {} through it any more",
        hole.session,
        hole.destination,
        ports(hole)
    ));
}

/// What a name that is opened stands for now.
fn addresses(hole: &Hole) -> String {
    if hole.addresses.is_empty() {
        String::new()
    } else {
        format!(" ({})", hole.addresses.join(", "))
    }
}

/// Whether nothing but questions for a name pass through it.
fn asks(hole: &Hole) -> bool {
    hole.ports.as_deref() == Some(DnsQuestion::PROTOCOL)
}

fn row(hole: &Hole, clock: &Clock) -> [String; 8] {
    [
        hole.id.clone(),
        hole.session.clone(),
        hole.destination.clone(),
        match &hole.http {
            Some(http) => format!("{}, {}", ports(hole), requests(http)),
            None if hole.read_only => format!("{}, reads only", ports(hole)),
            None => ports(hole).to_owned(),
        },
        clock.until(hole.expires_at),
        left(hole).unwrap_or_else(|| "any".into()),
        hole.opened_by.clone().unwrap_or_else(|| "unknown".into()),
        hole.reason.clone().unwrap_or_default(),
    ]
}

/// What is left of its budgets: of connections, or HTTP requests, and of bytes. `None`: it has none.
pub(crate) fn left(hole: &Hole) -> Option<String> {
    let count = match &hole.http {
        Some(http) => http.requests_left,
        None => hole.connections_left,
    };
    let count = count.map(|left| left.to_string());
    let bytes = hole.bytes_left.map(size::shown);
    let both: Vec<_> = count.into_iter().chain(bytes).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

/// What a yes to all writes of a database is for.
const ALL_STATEMENTS: &str = "rows and tables, DELETE too; what drops or runs code is asked about";

/// Which HTTP requests.
pub(crate) fn requests(http: &HttpHole) -> String {
    match (&http.method, &http.path) {
        (Some(method), Some(path)) => {
            let host = http.host.as_deref().unwrap_or_default();
            // A statement stands where a path would, and is none.
            let blank = if path.starts_with('/') { "" } else { " " };
            format!("{method} {host}{blank}{path}")
        }
        _ => match &http.host {
            Some(host) => format!("all writes for {host}"),
            None if http.sql => ALL_STATEMENTS.to_owned(),
            None => "all writes".to_owned(),
        },
    }
}

pub(crate) fn ports(hole: &Hole) -> &str {
    match hole.ports.as_deref() {
        Some(DnsQuestion::PROTOCOL) => "only questions",
        Some(ports) => ports,
        None => "all ports",
    }
}

/// What of all that a hole leads to passes; empty: all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HoleScope<'h> {
    pub(crate) http: Option<&'h HttpHole>,
    pub(crate) read_only: bool,
    pub(crate) connections: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl<'h> HoleScope<'h> {
    /// As it was opened.
    pub(crate) fn of(record: &'h HoleOpen) -> Self {
        Self {
            http: record.http.get(),
            read_only: record.read_only.get() == Some(&true),
            connections: record.connections.get().copied(),
            bytes: record.bytes.get().copied(),
        }
    }

    /// ", reads only, 1 connection"
    pub(crate) fn words(self) -> String {
        let mut words = match self.http {
            Some(http) => format!(", {}{}", requests(http), times(http.requests_left)),
            None => String::new(),
        };
        if self.http.is_none() && self.read_only {
            words.push_str(", reads only");
        }
        match self.connections.filter(|_| self.http.is_none()) {
            Some(1) => words.push_str(", 1 connection"),
            Some(left) => words.push_str(&format!(", {left} connections")),
            None => {}
        }
        if let Some(left) = self.bytes {
            words.push_str(&format!(", {}", size::shown(left)));
        }
        words
    }
}

fn times(left: Option<u64>) -> String {
    match left {
        Some(1) => ", once".to_owned(),
        Some(left) => format!(", {left} times"),
        None => String::new(),
    }
}

fn limits(hole: &Hole) -> String {
    let scope = HoleScope {
        http: hole.http.as_ref(),
        read_only: hole.read_only,
        connections: hole.connections_left,
        bytes: hole.bytes_left,
    };
    scope.words()
}

#[cfg(test)]
mod tests {
    use super::super::examples::{clock, hole, http_hole};
    use super::*;

    #[test]
    fn no_holes_say_so() {
        assert_eq!(none(ListScope::All).plain(), "No holes are open.\n");
        insta::assert_snapshot!(none(ListScope::Own(2)).plain(), @r"
        No holes of yours are open.
        Other users have 2; root is shown all:
            sudo guard holes
        ");
    }

    #[test]
    fn holes_align() {
        let wide = Hole {
            id: "h12".into(),
            destination: "2001:db8:7::/48".into(),
            ports: None,
            opened_by: None,
            opened_at: None,
            connections_left: Some(3),
            bytes_left: None,
            read_only: true,
            reason: Some("migrate\nthe schema".into()),
            ..hole()
        };
        insta::assert_snapshot!(list(&[hole(), wide], &clock()).plain(), @r"
        ID   SESSION  DESTINATION      PORTS                  ENDS       LEFT  BY       REASON
        h1   s1       192.0.2.10/32    tcp/443                in 14 min  any   alice
        h12  s1       2001:db8:7::/48  all ports, reads only  in 14 min  3     unknown  migrate\nthe schema

        Close one with:
            guard close h1
        ");
    }

    #[test]
    fn what_is_used_up_is_not_among_the_open_ones() {
        let used_up = Hole {
            id: "h2".into(),
            connections_left: Some(0),
            ..hole()
        };
        insta::assert_snapshot!(list(&[hole(), used_up.clone()], &clock()).plain(), @r"
        ID  SESSION  DESTINATION    PORTS    ENDS       LEFT  BY     REASON
        h1  s1       192.0.2.10/32  tcp/443  in 14 min  any   alice
        h2 is used up: s1 opens nothing more at 192.0.2.10/32 tcp/443; what it has open there may go on, and ends in 14 min.

        Close one with:
            guard close h1
        ");
        insta::assert_snapshot!(list(&[used_up], &clock()).plain(), @r"
        No holes are open.
        h2 is used up: s1 opens nothing more at 192.0.2.10/32 tcp/443; what it has open there may go on, and ends in 14 min.

        End what it has open with:
            guard close h2
        ");
    }

    #[test]
    fn a_hole_that_is_shut_says_by_what() {
        let shut = Hole {
            shut_by: Some("rule never of floor".into()),
            ..hole()
        };
        insta::assert_snapshot!(list(&[shut], &clock()).plain(), @r"
        ID  SESSION  DESTINATION    PORTS    ENDS       LEFT  BY     REASON
        h1  s1       192.0.2.10/32  tcp/443  in 14 min  any   alice
        h1 lets nothing through now: rule never of floor denies it.

        Close one with:
            guard close h1
        ");
    }

    #[test]
    fn holes_for_http_requests_say_for_which() {
        let writes = HttpHole {
            host: None,
            method: None,
            path: None,
            requests_left: None,
            digest: None,
            sql: false,
        };
        let writes = Hole {
            id: "h2".into(),
            http: Some(writes),
            ..hole()
        };
        let once = http_hole(Some(1));
        insta::assert_snapshot!(list(&[once.clone(), writes.clone()], &clock()).plain(), @r"
        ID  SESSION  DESTINATION    PORTS                                    ENDS       LEFT  BY     REASON
        h1  s1       192.0.2.10/32  tcp/443, DELETE photos/api/jobs/7?now=1  in 14 min  1     alice
        h2  s1       192.0.2.10/32  tcp/443, all writes                      in 14 min  any   alice

        Close one with:
            guard close h1
        ");
        insta::assert_snapshot!(opened(&once, &clock()).plain(), @r"
        h1 open for s1: 192.0.2.10/32 tcp/443, DELETE photos/api/jobs/7?now=1, once, ends in 14 min (2026-11-20 12:14:58)
            guard close h1
        ");
        insta::assert_snapshot!(opened(&http_hole(Some(0)), &clock()).plain(), @r"
        h1 is the yes that a client of s1 waited for: DELETE photos/api/jobs/7?now=1 to 192.0.2.10/32 tcp/443
            whether it passed:
            guard log --session s1
        ");
        let statement = HttpHole {
            host: Some("app@shop".into()),
            method: Some("DELETE".into()),
            path: Some("delete from people where id = $1".into()),
            ..writes.http.clone().unwrap()
        };
        assert_eq!(
            requests(&statement),
            "DELETE app@shop delete from people where id = $1"
        );
        let statements = HttpHole {
            sql: true,
            ..writes.http.clone().unwrap()
        };
        assert_eq!(requests(&statements), ALL_STATEMENTS);
        let of_host = HttpHole {
            host: Some("photos".into()),
            ..writes.http.clone().unwrap()
        };
        assert_eq!(requests(&of_host), "all writes for photos");
        insta::assert_snapshot!(closed(&writes, &clock()).plain(), @"h2 closed: s1 may not send all writes to 192.0.2.10/32 tcp/443 through it any more");
    }

    #[test]
    fn opening_says_when_it_ends() {
        let once = Hole {
            connections_left: Some(1),
            bytes_left: None,
            ..hole()
        };
        insta::assert_snapshot!(opened(&hole(), &clock()).plain(), @r"
        h1 open for s1: 192.0.2.10/32 tcp/443, ends in 14 min (2026-11-20 12:14:58)
            guard close h1
        ");
        insta::assert_snapshot!(opened(&once, &clock()).plain(), @r"
        h1 open for s1: 192.0.2.10/32 tcp/443, 1 connection, ends in 14 min (2026-11-20 12:14:58)
            guard close h1
        ");
    }

    #[test]
    fn opening_again_says_what_is_open_already() {
        let named = |id: &str| Hole {
            id: id.into(),
            ..hole()
        };
        let new = [named("h2")];
        let told = |before: Hole| open_before(&new, &[before, named("h2")], &clock());
        insta::assert_snapshot!(told(hole()).join("\n"), @"h1 was open for 192.0.2.10/32 tcp/443 already, and ends in 14 min (2026-11-20 12:14:58): h2 is beside it, and each ends by itself");
        let all_ports = Hole {
            ports: None,
            ..hole()
        };
        assert_eq!(told(all_ports).len(), 1);
        let others = [
            Hole {
                session: "s2".into(),
                ..hole()
            },
            Hole {
                ports: Some("tcp/80".into()),
                ..hole()
            },
            Hole {
                read_only: true,
                ..hole()
            },
            Hole {
                connections_left: Some(0),
                ..hole()
            },
            Hole {
                shut_by: Some("rule never of floor".into()),
                ..hole()
            },
            http_hole(None),
        ];
        for other in others {
            assert_eq!(told(other.clone()), Vec::<String>::new(), "{other:?}");
        }
    }

    #[test]
    fn closing_says_what_ends() {
        insta::assert_snapshot!(closed(&hole(), &clock()).plain(), @"h1 closed: s1 may not reach 192.0.2.10/32 tcp/443 through it any more");
    }
}
