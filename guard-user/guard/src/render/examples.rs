//! Values for the renderers' tests.

use guard_proto::{
    Burst, Endpoint, Flow, Hole, HookStatus, HttpHole, HttpRequest, Offer, Request, Session,
    Status, Stopped, explain::Explanation, status::PolicyStatus,
};
use jiff::tz::TimeZone;

use super::time::Clock;

/// Noon, UTC.
pub(crate) fn clock() -> Clock {
    Clock {
        now: "2026-11-20T12:00:00Z".parse().unwrap(),
        zone: TimeZone::UTC,
    }
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        address: "192.0.2.10".into(),
        port: Some(443),
        protocol: "tcp".into(),
        host: Some("photos.example.com".into()),
    }
}

pub(crate) fn request() -> Request {
    Request {
        id: "r1".into(),
        session: "s1".into(),
        policy: "homelab".into(),
        user: "alice".into(),
        pid: Some(4711),
        comm: Some("curl".into()),
        exe: Some("/usr/bin/curl".into()),
        command: vec!["curl".into(), "https://photos.example.com/?q=a b".into()],
        destination: endpoint(),
        rule: Some("photos".into()),
        reason: Some("production photo server".into()),
        verdict: "confirm".into(),
        chain: Vec::new(),
        held: false,
        asked_at: "2026-11-20T11:59:50Z".parse().unwrap(),
        last_at: "2026-11-20T11:59:57Z".parse().unwrap(),
        waits_until: None,
        count: 2,
        programs: Vec::new(),
        warnings: Vec::new(),
        http: None,
        note: Some("need the list of albums".into()),
        burst: None,
        question: None,
        named: None,
        opens_name: false,
        listener: None,
        code: None,
        own_policy: None,
        alike: None,
        beside: Vec::new(),
        offers: Vec::new(),
    }
}

pub(crate) fn flow() -> Flow {
    Flow {
        session: "s1".into(),
        host: Some("pypi.org".into()),
        names: vec!["pypi.org".into()],
        address: "192.0.2.10".into(),
        protocol: "tcp".into(),
        port: Some(443),
        program: Some("pip".into()),
        first_at: "2026-11-20T11:50:00Z".parse().unwrap(),
        last_at: "2026-11-20T11:59:00Z".parse().unwrap(),
        connections: 12,
        reads: None,
        bytes_sent: Some(2048),
        bytes_received: Some(3 << 20),
        verdict: "allow".into(),
        rule: None,
    }
}

/// One of several addresses.
pub(crate) fn burst(count: usize) -> Request {
    let addresses = (1..=count.min(16)).map(|last| format!("192.0.2.{last}"));
    Request {
        burst: Some(Burst {
            prefix: "192.0.2.0/24".into(),
            addresses: addresses.collect(),
            count,
        }),
        offers: vec![
            Offer {
                seconds: 1800.0,
                connections: Some(1),
            },
            Offer {
                seconds: 900.0,
                connections: None,
            },
        ],
        ..request()
    }
}

/// One that changes something.
pub(crate) fn http() -> HttpRequest {
    HttpRequest {
        method: "DELETE".into(),
        scheme: "https".into(),
        path: "/api/jobs/7?now=1".into(),
        host: Some("photos.example.com".into()),
        bytes: Some(12),
        body_preview: Some("{\"force\":\u{7}1}".into()),
        body_form: None,
        headers: vec!["x-cascade: \u{1b}true".into()],
        kind: "DELETE removes something".into(),
        warnings: vec!["it cannot be undone".into()],
        digest: Some("ab".repeat(32)),
    }
}

/// A hole for one like that.
pub(crate) fn http_hole(requests_left: Option<u64>) -> Hole {
    let http = HttpHole {
        host: Some("photos".into()),
        method: Some("DELETE".into()),
        path: Some("/api/jobs/7?now=1".into()),
        requests_left,
        digest: Some("ab".repeat(32)),
        sql: false,
    };
    Hole {
        http: Some(http),
        ..hole()
    }
}

pub(crate) fn hole() -> Hole {
    Hole {
        id: "h1".into(),
        session: "s1".into(),
        destination: "192.0.2.10/32".into(),
        ports: Some("tcp/443".into()),
        opened_by: Some("alice".into()),
        reason: None,
        opened_at: Some("2026-11-20T11:59:58Z".parse().unwrap()),
        expires_at: "2026-11-20T12:14:58Z".parse().unwrap(),
        connections_left: None,
        bytes_left: None,
        read_only: false,
        http: None,
        addresses: Vec::new(),
        shut_by: None,
    }
}

pub(crate) fn session() -> Session {
    Session {
        id: "s1".into(),
        name: "claude".into(),
        policy: "homelab".into(),
        user: "alice".into(),
        uid: 1000,
        cgroup: "/sys/fs/cgroup/guard/s1".into(),
        pid: Some(4700),
        command: vec!["claude".into(), "--continue".into()],
        started_at: "2026-11-20T09:55:00Z".parse().unwrap(),
        command_ended_at: None,
        left: Vec::new(),
        parent: None,
        observed: false,
        appeared: 0,
        all_asked: false,
        policy_file: None,
        policy_sha256: None,
    }
}

pub(crate) fn explanation() -> Explanation {
    Explanation {
        destination: "192.0.2.10".into(),
        ports: None,
        name: None,
        addresses: vec!["192.0.2.10".into()],
        known: Vec::new(),
        question: None,
        leaves: None,
        unheard: None,
        verdict: "confirm".into(),
        rule: Some("photos".into()),
        reason: Some("production photo server".into()),
        policy: "homelab".into(),
        file: Some("/etc/guard/policies/homelab.toml".into()),
        line: Some(12),
        hole: None,
        matched: Some("192.0.2.0/24".into()),
        tls: None,
        barred: None,
        other_program: None,
        listener: None,
    }
}

pub(crate) fn stopped() -> Stopped {
    let at = "2026-11-20T11:59:57Z".parse().unwrap();
    let advice = "ask for it with guard request, and try again once it is approved".into();
    Stopped {
        rule: Some("photos".into()),
        reason: Some("production photo server".into()),
        count: 2,
        ..Stopped::new(at, endpoint(), "confirm", advice)
    }
}

pub(crate) fn status() -> Status {
    let hook = |name: &str, id| HookStatus {
        name: name.into(),
        attached: true,
        program_id: Some(id),
    };
    Status {
        enforcing: true,
        problem: None,
        warnings: Vec::new(),
        version: "0.1.0".into(),
        kernel: "6.12.0".into(),
        cgroup_root: "/sys/fs/cgroup/guard".into(),
        policy_dirs: Vec::new(),
        session_policy: Some("default".into()),
        policies: vec![PolicyStatus {
            name: "homelab".into(),
            file: Some("/etc/guard/policies/homelab.toml".into()),
            observed: false,
            sessions: 1,
            prefixes: 14,
            loaded_at: "2026-11-20T11:57:00Z".parse().unwrap(),
            error: None,
            warnings: Vec::new(),
        }],
        sessions: 1,
        requests: 1,
        holes: 0,
        refused: 17,
        hooks: vec![hook("connect4", 31), hook("connect6", 32)],
        events_lost: 0,
        events_summed_up: 0,
        names_summed_up: 0,
        unserved_networks: Vec::new(),
        fleet: None,
        fleet_link: None,
        since: Some("2026-11-20T09:00:00Z".parse().unwrap()),
        audit: None,
    }
}
