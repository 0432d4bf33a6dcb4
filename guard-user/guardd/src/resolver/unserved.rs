//! Why a question got no answer.

use guard_common::SessionId;
use guard_proto::status::UnservedNetwork;

use super::worker::ResolverWorker;
use crate::{
    control::ids,
    state::State,
    workers::networks::{Unserved, WhyUnserved},
};

/// Why questions are refused where the resolver listens nowhere.
const NOT_YET: &str =
    "guard's resolver did not listen in its network yet: it does now, so ask again";
const NOT_AT_ALL: &str = "guard's resolver does not listen there: its process is gone, the network has no free port on its \
                          loopback, too many networks are served for the session, or its socket is bound to a device";

impl State {
    /// The networks in which sessions' questions are refused, and what to do.
    pub(crate) fn unserved_networks(&self) -> Vec<UnservedNetwork> {
        let all = self.resolver.link.networks.unserved().iter();
        let all = all.filter_map(|one| {
            let session = one.account.session()?;
            self.sessions.live(session).map(|_| shown(session, one))
        });
        all.collect()
    }

    /// Why a question of a process got no answer. Has its network served from now on, if that can be.
    pub(crate) fn why_unserved(&mut self, session: SessionId, pid: u32) -> String {
        if let Some(warning) = self.resolver_warning() {
            return warning;
        }
        let why = if self.notice_network::<ResolverWorker>(session, pid) {
            NOT_YET
        } else {
            NOT_AT_ALL
        };
        why.to_owned()
    }
}

fn shown(session: SessionId, one: &Unserved) -> UnservedNetwork {
    let (why, fix) = match &one.why {
        WhyUnserved::NoPort => (
            "no port of its loopback is free".to_owned(),
            "free a port there, or have more (net.ipv4.ip_local_port_range), and ask again"
                .to_owned(),
        ),
        WhyUnserved::NoLoopback => (
            "its loopback is down".to_owned(),
            format!(
                "where it is to have names: sudo nsenter -t {} -n ip link set lo up",
                one.pid
            ),
        ),
        WhyUnserved::TooMany => (
            "16 networks of the session are served, 64 of its user's sessions, or 128 in all"
                .to_owned(),
            "end what runs in other networks of the session, and ask again".to_owned(),
        ),
        WhyUnserved::Other(why) => (
            why.clone(),
            "journalctl -u guardd -n 20 may say more; ask again once that is mended".to_owned(),
        ),
    };
    UnservedNetwork {
        session: ids::session(session),
        pid: one.pid,
        network: one.inode.number(),
        why,
        fix,
    }
}
