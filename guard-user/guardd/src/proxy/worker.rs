//! What guardd's proxy is among its workers: whether it is needed, what it listens with, and its first messages.

use anyhow::Result;
use guard_common::NetnsCookie;
use guard_datapath::{Datapath, DatapathError};
use guard_proto::wire::{NetworkId, ToDaemon, ToProxy, VERSION};
use guard_sys::packets::MAX_MESSAGE;
use rustix::net::{AddressFamily, SocketType};

use super::{Proxy, is_needed, reads_only, serves_session};
use crate::{
    changes::Change,
    sessions::Session,
    shared::Shared,
    state::State,
    workers::{
        self, Worker,
        link::{Outgoing, WorkerLink},
        networks::Network,
        serving::Serves,
        sockets::{WorkerListeners, max_pool, pool},
    },
};

/// The kinds of its sockets.
const KINDS: [(AddressFamily, SocketType); 2] = [
    (AddressFamily::INET, SocketType::STREAM),
    (AddressFamily::INET6, SocketType::STREAM),
];

/// Why a name may not be shown whose rules are longer than a message.
const TOO_MANY_RULES: &str =
    "the policies have more HTTP rules for it than the proxy can be told of";

/// guard-proxy.
#[derive(Debug)]
pub(crate) struct ProxyWorker;

impl Serves for ProxyWorker {
    type Message = ToProxy;

    const LISTENS: &'static [SocketType] = &[SocketType::STREAM];

    fn link(state: &State) -> &WorkerLink<ToProxy> {
        &state.proxy.link
    }

    fn link_mut(state: &mut State) -> &mut WorkerLink<ToProxy> {
        &mut state.proxy.link
    }

    fn serves(state: &State, session: &Session) -> bool {
        reads_only(&state.holes, &state.policies, session)
    }

    fn redirect(kernel: &mut Datapath, made: &WorkerListeners) -> Result<(), DatapathError> {
        kernel.set_proxy(made.cookie, made.port, &made.sockets)
    }

    fn close(kernel: &mut Datapath, network: NetnsCookie) {
        if let Err(error) = kernel.clear_proxy(network) {
            tracing::error!(%error, "connections are redirected to a proxy that is not there");
        }
    }

    fn listen(network: &Network, _: &WorkerListeners) -> ToProxy {
        ToProxy::Listen {
            network: network.id,
            cookie: network.cookie.0,
        }
    }

    fn forget(network: NetworkId) -> ToProxy {
        ToProxy::Forget { network }
    }

    fn stock(state: &mut State, network: NetworkId) {
        state.proxy.stock(network, [max_pool(KINDS.len()); 2]);
    }
}

impl Worker for ProxyWorker {
    type Said = ToDaemon;

    const NAME: &'static str = "guard-proxy";
    const RUNS: &'static str = "the proxy runs: what is read-only can be read";
    const GONE: &'static str = "the proxy is gone, and read-only destinations are closed";
    const MISSING: &'static str = "the proxy does not run, so read-only destinations are closed";

    fn is_needed(state: &State) -> bool {
        is_needed(&state.holes, &state.policies)
    }

    fn user(state: &State) -> Option<String> {
        state.config.proxy.user.clone()
    }

    fn hello(state: &State) -> Result<Outgoing<ToProxy>> {
        Ok(Outgoing {
            message: ToProxy::Hello {
                version: Some(VERSION.to_owned()),
            },
            descriptors: state.proxy.files(&state.datapath, &state.config)?,
        })
    }

    fn version(said: &ToDaemon) -> Option<&str> {
        match said {
            ToDaemon::Hello { version } => Some(version),
            _ => None,
        }
    }

    fn encode(message: &ToProxy) -> serde_json::Result<Vec<u8>> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() <= MAX_MESSAGE {
            return Ok(bytes);
        }
        closing(message).map_or(Ok(bytes), |instead| serde_json::to_vec(&instead))
    }

    fn refresh(state: &mut State) {
        state.apply(Change::Terms);
        state.proxy.say(ToProxy::Renew);
    }

    fn hear(shared: &Shared, said: ToDaemon) {
        shared.with(|state| state.proxy_says(said));
    }

    fn gone(state: &mut State) {
        state.proxy.gone(&mut state.requests);
    }
}

/// What the proxy is told in place of an answer that is too long for a message: that nothing passes there. An agent may have chosen it,
/// and a message that cannot be sent would end the proxy's connection, and with it those of all sessions.
fn closing(message: &ToProxy) -> Option<ToProxy> {
    match message {
        ToProxy::Terms { number, .. } => {
            tracing::error!(
                "a policy has more HTTP rules than the proxy can be told of: it stays closed"
            );
            Some(ToProxy::Terms {
                number: *number,
                terms: None,
                until: None,
            })
        }
        // The audit log has why.
        ToProxy::Name { number, .. } => Some(ToProxy::Name {
            number: *number,
            why: Some(TOO_MANY_RULES.to_owned()),
            rules: Vec::new(),
            until: None,
        }),
        _ => None,
    }
}

/// Whether connections of the session with that id go to the proxy.
#[must_use]
pub(crate) fn serves(shared: &Shared, session: &str) -> bool {
    shared.with(|state| serves_session(&state.holes, &state.policies, &state.sessions, session))
}

/// Waits a while for the proxy, if a new policy needs one. Returns why there is none.
pub(crate) async fn ready(shared: &Shared) -> Option<String> {
    workers::ready::<ProxyWorker>(shared).await
}

impl Proxy {
    /// Gives the proxy sockets in a network that it is not in; none if they cannot be made, so that it may ask again.
    pub(super) fn stock(&mut self, network: NetworkId, wanted: [usize; 2]) {
        let make = || pool(KINDS, wanted);
        let [ipv4, ipv6] = self.link.networks.sockets(network, "proxy", make);
        let sockets = ToProxy::Sockets {
            network,
            ipv4: ipv4.len(),
        };
        self.link
            .say(sockets, ipv4.into_iter().chain(ipv6).collect());
    }
}

#[cfg(test)]
mod tests {
    use guard_judge::http::Rules;
    use guard_proto::wire::{Number, Passing, TargetTerms};

    use super::*;

    #[test]
    fn an_answer_that_no_message_has_room_for_closes_what_it_is_about_alone() -> Result<()> {
        let long = Rules {
            reason: Some("x".repeat(MAX_MESSAGE)),
            ..Rules::default()
        };
        let number = Number(7);
        let terms = TargetTerms {
            passing: Passing::Judged(vec![long.clone()]),
            account: 1,
            writes: false,
            by_sni: false,
            names: true,
            until: None,
        };
        let all = [
            ToProxy::Terms {
                number,
                terms: Some(terms),
                until: None,
            },
            ToProxy::Name {
                number,
                why: None,
                rules: vec![long],
                until: None,
            },
        ];
        let mut closed = 0;
        for message in &all {
            let sent = ProxyWorker::encode(message)?;
            assert!(sent.len() <= MAX_MESSAGE, "{}", sent.len());
            closed += match serde_json::from_slice(&sent)? {
                ToProxy::Terms {
                    number: Number(7),
                    terms: None,
                    until: None,
                } => 1,
                ToProxy::Name {
                    number: Number(7),
                    why: Some(_),
                    rules,
                    until: None,
                } if rules.is_empty() => 1,
                _ => 0,
            };
        }
        assert_eq!(closed, all.len());
        Ok(())
    }
}
