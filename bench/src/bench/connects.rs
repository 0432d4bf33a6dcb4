//! What it costs to open a connection, beside having no guard, nftables and sandlock, and to be refused one.

use anyhow::Result;
use guard_lab::{Daemon, Network, Running};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::peers::{Nft, sandlock};
use super::prefixes::Prefixes;
use super::rounds::interleave;
use super::samples::Samples;

/// Connections on each side in a round.
const COUNT: u64 = 400;

/// How many times as long as without the guard a connection may take where programs at the kernel's security hooks judge Unix
/// sockets, and where each connect(2) waits for a word of the supervisor, since it may be one to a Unix socket.
const MOST_BY_KERNEL: f64 = 1.05;
const MOST_BY_SUPERVISOR: f64 = 1.4;
/// How much longer connect(2) of a datagram socket may take, in nanoseconds: nothing is sent, so that the supervisor is most of it.
const MOST_OF_UDP: f64 = 10_000.0;

/// With a policy of so many prefixes on all sides.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn connects(plan: &Plan, prefixes: Prefixes, what: &str) -> Result<Vec<Figure>> {
    let mut sides = ConnectSides::start(prefixes)?;
    let most = most(sides.kernel_judges);
    let allowed = sides.measure(plan.rounds, true)?;
    let denied = sides.measure(plan.rounds, false)?;
    let [udp_none, udp_guard] = sides.measure_udp(plan.rounds)?;
    let peers = "guard judges a connection when it is asked for and again by its first packet, for the two may \
                 come from different sessions, and remembers the verdict on the socket; nftables looks each packet up";
    let name = format!("connect + close, {what}");
    let refused = format!("refused connect, {what}");
    let time = |name: &str, guard: &Samples, other: Other, target| {
        Figure::alone(name, Unit::Time, guard.clone(), target).beside(other)
    };
    let none = Other::Measured("no guard", allowed.none.clone());
    let own = Other::Measured("allowed", allowed.guard.clone());
    Ok(vec![
        time(&name, &allowed.guard, none, Target::Ratio(most)).remark(way(sides.kernel_judges)),
        time(&name, &allowed.guard, allowed.nft(), Target::Ratio(1.0)).remark(peers),
        time(
            &name,
            &allowed.guard,
            allowed.sandlock(),
            Target::Ratio(1.0),
        )
        .remark(peers),
        time(&refused, &denied.guard, own, Target::Ratio(1.0)),
        time(&refused, &denied.guard, denied.nft(), Target::Ratio(1.0)).remark(peers),
        time(
            &refused,
            &denied.guard,
            denied.sandlock(),
            Target::Ratio(1.0),
        )
        .remark(peers),
        time(
            &format!("UDP connect + close, {what}"),
            &udp_guard,
            Other::Measured("no guard", udp_none),
            Target::More(MOST_OF_UDP),
        )
        .remark(way(sides.kernel_judges)),
    ])
}

/// How many times as long as without the guard a connection may take.
fn most(kernel_judges: bool) -> f64 {
    if kernel_judges {
        MOST_BY_KERNEL
    } else {
        MOST_BY_SUPERVISOR
    }
}

/// What stands in the way of a connection.
fn way(kernel_judges: bool) -> &'static str {
    if kernel_judges {
        "about six runs of a program, of which the connect and the first packet judge in full, on a connection that is \
             all kernel and no wire"
    } else {
        "no programs at security hooks judge here: each connect waits for the supervisor, since it may be one to a Unix \
             socket"
    }
}

/// A client on each side, and what keeps it there.
struct ConnectSides {
    prefixes: Prefixes,
    /// Unix sockets are judged without a supervisor.
    kernel_judges: bool,
    none: Client,
    guard: Client,
    nft: Result<Nft>,
    sandlock: Result<Client>,
    _sink: Running,
    _daemon: Daemon,
    _network: Network,
}

/// What a connection took on each side.
struct Took {
    none: Samples,
    guard: Samples,
    /// Of both, or why it could not be measured.
    nft: Result<Samples, String>,
    sandlock: Result<Samples, String>,
}

impl ConnectSides {
    fn start(prefixes: Prefixes) -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy("bench", &prefixes.policy("bench", |_| false))
            .start()?;
        Ok(Self {
            prefixes,
            kernel_judges: daemon.has_hook("unix_stream_connect")?,
            none: Client::free(&network)?.pinned()?,
            guard: Client::guarded(&daemon, "bench")?.pinned()?,
            nft: Nft::start(prefixes),
            sandlock: sandlock(&network, prefixes),
            _sink: sink,
            _daemon: daemon,
            _network: network,
        })
    }

    /// Sockets for datagrams, on both sides: nothing is sent.
    fn measure_udp(&mut self, rounds: usize) -> Result<[Samples; 2]> {
        let pool = self.prefixes.between();
        interleave(
            rounds,
            self,
            [
                &mut |sides| sides.none.connect_udp(pool, COUNT),
                &mut |sides| sides.guard.connect_udp(pool, COUNT),
            ],
        )
    }

    /// Without a guard there is nothing refused to measure: then that side connects all the same.
    fn measure(&mut self, rounds: usize, allowed: bool) -> Result<Took> {
        let free = self.prefixes.between();
        let pool = if allowed {
            free
        } else {
            self.prefixes.inside()
        };
        let [none, guard, nft, sandlock] = interleave(
            rounds,
            self,
            [
                &mut |sides| sides.none.connect(free, COUNT, true),
                &mut |sides| sides.guard.connect(pool, COUNT, allowed),
                &mut |sides| match &mut sides.nft {
                    Ok(nft) => nft.client.connect(pool, COUNT, allowed),
                    Err(_) => Ok(f64::NAN),
                },
                &mut |sides| match &mut sides.sandlock {
                    Ok(client) => client.connect(pool, COUNT, allowed),
                    Err(_) => Ok(f64::NAN),
                },
            ],
        )?;
        Ok(Took {
            none,
            guard,
            nft: or_why(&self.nft, nft),
            sandlock: or_why(&self.sandlock, sandlock),
        })
    }
}

/// What was measured with a peer, or why there is none.
fn or_why<T>(peer: &Result<T>, samples: Samples) -> Result<Samples, String> {
    match peer {
        Ok(_) => Ok(samples),
        Err(why) => Err(format!("{why:#}")),
    }
}

impl Took {
    fn nft(&self) -> Other {
        beside("nftables", &self.nft)
    }

    fn sandlock(&self) -> Other {
        beside("sandlock", &self.sandlock)
    }
}

fn beside(name: &'static str, took: &Result<Samples, String>) -> Other {
    match took {
        Ok(samples) => Other::Measured(name, samples.clone()),
        Err(why) => Other::Missing(name, why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_may_take_longer_where_a_supervisor_is_asked() {
        assert_eq!(most(true), 1.05);
        assert_eq!(most(false), 1.4);
        assert!(way(false).contains("supervisor") && !way(true).contains("supervisor"));
    }
}
