//! The task that scans listeners when they are due, beside all else: to read all processes takes a while.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use guard_common::{NetnsCookie, Ticket};
use guard_sys::threads;

use super::{
    now,
    scan::{self, Listener, ScanResult},
    terms,
    ways::LiveSessions,
};
use crate::{changes::Change, shared::Shared, state::State};

/// Nothing is due: how long to wait, unless something comes.
const IDLE: Duration = Duration::from_secs(60);

/// Scans the listeners that are due, and evicts those that no scan is about any more, for ever.
pub(crate) async fn follow(shared: Rc<Shared>) {
    let stir = shared.with(|state| state.relays.stirs());
    loop {
        let (due, terms) = shared.with(|state| {
            if let Some(change) = state.relays.evict_due(&mut state.datapath, now()) {
                state.apply(change);
            }
            let (kernel, sessions) = (&state.datapath, &state.sessions);
            let due = state.relays.due_scans(kernel, sessions, now());
            let terms = (!due.is_empty()).then(|| terms(&state.machine, &state.policies, sessions));
            (due, terms.unwrap_or_default())
        });
        let (tickets, places): (Vec<_>, Vec<_>) = due.into_iter().unzip();
        if !places.is_empty() {
            let at: Vec<_> = places.iter().map(named).collect();
            let work = move || scan::scan_all(&places, &terms);
            match threads::run(work).await {
                Ok(scanned) => {
                    let of = tickets.into_iter().zip(at);
                    note_scanned(&shared, of.zip(scanned));
                }
                Err(error) => {
                    tracing::error!(%error, at = at.join(", "), "cannot scan listeners");
                    shared.with(|state| state.relays.note_undone(&tickets, now()));
                }
            }
            shared.with(State::tell_scanned);
        }
        let next = shared.with(|state| state.relays.next_deadline());
        let wait = next.map_or(IDLE, |at| {
            Duration::from_nanos(at.0.saturating_sub(now().0))
        });
        // A timeout is as good as a call.
        let _ = tokio::time::timeout(wait, stir.notified()).await;
    }
}

/// Notes the results of scans, each with the listener's ticket and address.
fn note_scanned(
    shared: &Shared,
    scanned: impl Iterator<Item = ((Ticket, String), io::Result<ScanResult>)>,
) {
    let live = shared.with(|state| LiveSessions::of(&state.sessions));
    let mut are_news = false;
    for ((ticket, at), found) in scanned {
        match found {
            Ok(found) => {
                are_news |= shared.with(|state| {
                    let (kernel, sessions) = (&mut state.datapath, &state.sessions);
                    let policies = &state.policies;
                    (state.relays).note_found(kernel, sessions, policies, ticket, found)
                });
            }
            Err(error) => {
                if shared.with(|state| state.relays.note_failed(&live, ticket, now())) {
                    tracing::debug!(%error, at, "a listener's network is tried by another process");
                } else {
                    tracing::warn!(%error, at, "cannot scan a listener");
                }
            }
        }
    }
    if are_news {
        shared.with(|state| state.apply(Change::Listeners));
    }
}

/// The listener's address and port, as people write them.
fn named(place: &Listener) -> String {
    SocketAddr::new(place.address.to_ip(), place.port).to_string()
}

/// Scans a port of guardd's own loopback, to explain it. Upstreams that earlier scans found count, too. It takes a while.
///
/// # Errors
///
/// The system's.
pub(crate) async fn scan_now(
    shared: &Shared,
    address: IpAddr,
    port: u16,
) -> io::Result<ScanResult> {
    let place = Listener {
        way: None,
        netns: NetnsCookie(0),
        address: address.into(),
        port,
        dialed: Vec::new(),
    };
    let terms = shared.with(|state| terms(&state.machine, &state.policies, &state.sessions));
    let scanned = threads::run(move || scan::scan(&place, &terms)).await;
    let mut found = scanned??;
    shared.with(|state| state.relays.add_known(&mut found, address.into(), port));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_by_its_address() {
        let at = |address: &str| {
            named(&Listener {
                way: None,
                netns: NetnsCookie(0),
                address: address.parse::<IpAddr>().unwrap().into(),
                port: 8080,
                dialed: Vec::new(),
            })
        };
        assert_eq!(at("127.0.0.1"), "127.0.0.1:8080");
        assert_eq!(at("::1"), "[::1]:8080");
    }
}
