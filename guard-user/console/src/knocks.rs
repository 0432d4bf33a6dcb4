//! Who was refused, for the log: one that knocks again and again fills it with a line now and then.

use std::{
    cell::Cell,
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use http::{Method, StatusCode, header, request::Parts};

use crate::reply::Reply;

/// A line in this time.
const PACE: Duration = Duration::from_secs(5);
/// What a path may begin with to be named: others may be a secret, or anybody's words.
const PAGES: [&str; 13] = [
    "approvers",
    "assets",
    "devices",
    "enrol",
    "events",
    "flows",
    "holes",
    "log",
    "login",
    "logout",
    "machines",
    "q",
    "sessions",
];
/// `ESTABLISHED`, as the kernel lists it: of connections that have ended it says no owner.
const ESTABLISHED: &str = "01";

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over loopback, from that address to that one.
    Tcp { from: SocketAddr, to: SocketAddr },
    /// Over a Unix socket, from a process of that user.
    Unix(Option<u32>),
}

impl Peer {
    /// Whose process it is, if that can be said.
    fn uid(self) -> Option<u32> {
        match self {
            Self::Unix(uid) => uid,
            Self::Tcp { from, to } => {
                let list = match from {
                    SocketAddr::V4(_) => "/proc/self/net/tcp",
                    SocketAddr::V6(_) => "/proc/self/net/tcp6",
                };
                owner(&fs::read_to_string(list).ok()?, from, to)
            }
        }
    }
}

/// Whose socket at `from` is connected to `to`, by the kernel's list.
fn owner(list: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let [from, to] = [from, to].map(listed);
    let mut lines = list.lines().map(|line| line.split_ascii_whitespace());
    lines.find_map(|mut words| {
        let is_it = words.nth(1)? == from && words.next()? == to && words.next()? == ESTABLISHED;
        is_it.then(|| words.nth(3)?.parse().ok())?
    })
}

/// An address as it stands there: words of the machine's own byte order.
fn listed(at: SocketAddr) -> String {
    let words = |bytes: &[u8]| -> String {
        let words = bytes.chunks_exact(4);
        let words = words.map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        words.map(|word| format!("{word:08X}")).collect()
    };
    let address = match at.ip() {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    format!("{address}:{:04X}", at.port())
}

/// Tells it.
#[derive(Debug, Default)]
pub(crate) struct Knocks {
    told: Cell<Option<Instant>>,
    /// How many were refused since then.
    untold: Cell<u64>,
}

impl Knocks {
    /// Tells of an answer that is a refusal.
    pub(crate) fn note(&self, peer: Peer, parts: &Parts, reply: &Reply) {
        if !is_refusal(parts, reply) {
            return;
        }
        let is_soon = |told: Instant| told.elapsed() < PACE;
        if self.told.get().is_some_and(is_soon) {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.told.set(Some(Instant::now()));
        tracing::warn!(
            status = reply.status().as_u16(),
            method = known_method(&parts.method),
            page = page_of(parts.uri.path()),
            uid = peer.uid(),
            more_before = self.untold.take(),
            "refused a request"
        );
    }
}

/// Whether somebody was not let in, or not let do something. Whoever comes to the front door without a session was not.
fn is_refusal(parts: &Parts, reply: &Reply) -> bool {
    match reply.status() {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::MISDIRECTED_REQUEST => true,
        StatusCode::SEE_OTHER => {
            let to = reply.headers().get(header::LOCATION);
            let is_sent_to_log_in = to.is_some_and(|to| to == "/login");
            is_sent_to_log_in && parts.method != Method::POST && parts.uri.path() != "/"
        }
        _ => false,
    }
}

fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST => method.as_str(),
        _ => "other",
    }
}

/// Which of the pages a path is for.
fn page_of(path: &str) -> &'static str {
    let first = path.trim_start_matches('/').split('/').next();
    match first {
        Some("") | None => "/",
        Some(first) => PAGES.iter().find(|one| **one == first).unwrap_or(&"other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply;

    #[test]
    fn whose_a_connection_is_stands_in_the_kernels_list() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(to).unwrap();
        let from = stream.local_addr().unwrap();
        let peer = Peer::Tcp { from, to };
        assert_eq!(peer.uid(), Some(rustix::process::geteuid().as_raw()));
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(
            Peer::Tcp {
                from: elsewhere,
                to
            }
            .uid(),
            None
        );
        assert_eq!(Peer::Unix(Some(7)).uid(), Some(7));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_list_is_read_as_it_is() {
        let list = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:12DB 06 00000000:00000000 00:00000000 00000000     0        0 0
   1: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:12DB 01 00000000:00000000 00:00000000 00000000  1001        0 4711
nonsense";
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(owner(list, at("[::1]:40000"), at("[::1]:4827")), Some(1001));
        assert_eq!(owner(list, at("[::1]:4827"), at("[::1]:40000")), None);
        assert_eq!(listed(at("127.0.0.1:4827")), "0100007F:12DB");
    }

    fn asked(method: &str, path: &str) -> Parts {
        let request = http::Request::builder().method(method).uri(path);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_refused_is_told_at_a_pace_and_what_is_not_is_not() {
        let knocks = Knocks::default();
        let peer = Peer::Unix(None);
        let fine = reply::text(StatusCode::OK, "");
        knocks.note(peer, &asked("GET", "/"), &fine);
        knocks.note(peer, &asked("GET", "/"), &reply::to("/login"));
        knocks.note(peer, &asked("POST", "/logout"), &reply::to("/login"));
        assert!(knocks.told.get().is_none());
        for (method, path, reply) in [
            ("GET", "/q/m/r1", reply::to("/login")),
            (
                "POST",
                "/q/m/r1/no",
                reply::text(StatusCode::UNAUTHORIZED, ""),
            ),
            ("GET", "/login/AAAA", reply::text(StatusCode::FORBIDDEN, "")),
            ("BREW", "/", reply::text(StatusCode::METHOD_NOT_ALLOWED, "")),
        ] {
            knocks.note(peer, &asked(method, path), &reply);
            assert!(knocks.told.get().is_some());
        }
        assert_eq!(knocks.untold.get(), 3);
    }

    #[test]
    fn of_a_path_nothing_is_told_that_somebody_made_up() {
        for (path, page) in [
            ("/", "/"),
            ("", "/"),
            ("/login/secret", "login"),
            ("//q/m", "q"),
            ("/q/m/r1/no", "q"),
            ("/%0auid=0", "other"),
            ("/loginx", "other"),
        ] {
            assert_eq!(page_of(path), page);
        }
    }
}
