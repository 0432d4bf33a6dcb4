//! The messages between the resolver and guardd: JSON, one in each packet (`guard_sys::packets`).
//!
//! The resolver has no right to open anything. It notes in the kernel under which patterns of a policy a session has learned an
//! address; what such a pattern opens, the policy alone says. All that it can ask guardd for is a person's answer.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use super::wire::{NetworkId, Number, Tgid, VERSION};

/// The verdict on a name that was asked for, where no answer was passed on: no rule refuses it.
pub const FAILED: &str = "failed";

/// From guardd to the resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToResolver {
    /// The first of all. With it come the descriptors of the maps `ORIGINS`, `QUESTIONS`, `NAMED` and `DRAINED`.
    Hello {
        /// guardd's version.
        version: String,
        /// Seconds for which an address is known at least, where that is not as usual.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        least: Option<u32>,
    },
    /// Take questions there. With it come, bound to the loopback, a UDP socket and a TCP listener of IPv4, and where the network
    /// has IPv6 the same two of IPv6.
    Listen {
        /// In which network.
        network: NetworkId,
        /// Its cookie, by which the kernel's map knows it (`SO_NETNS_COOKIE`).
        cookie: u64,
        /// Those of IPv6 are there.
        ipv6: bool,
        /// It is root's, as guardd's own is: nobody else could have taken a name server's place there.
        is_roots: bool,
    },
    /// Unconnected sockets come with it, for questions out of a network that the resolver is not in, in this order; none where
    /// they could not be made.
    Sockets {
        /// In which.
        network: NetworkId,
        /// How many are UDP sockets of IPv4.
        udp4: usize,
        /// UDP sockets of IPv6.
        udp6: usize,
        /// TCP sockets of IPv4.
        tcp4: usize,
        /// TCP sockets of IPv6.
        tcp6: usize,
    },
    /// That network is gone.
    Forget {
        /// Which.
        network: NetworkId,
    },
    /// What a policy says of names: instead of what it said before.
    Policy {
        /// The policy's slot in the kernel's map.
        slot: u32,
        /// What holds for a name that no pattern covers.
        names: Names,
        /// The patterns of its rules.
        patterns: Vec<Pattern>,
        /// Names that a search list may have made are refused where a person would be asked about them.
        silent: bool,
        /// TLS has to show names under it, so that what hides them (ECH) is taken out of answers.
        #[serde(default)]
        without_ech: bool,
    },
    /// That policy is in force no more.
    ForgetPolicy {
        /// Its slot.
        slot: u32,
    },
    /// Whose policies hold for a session: instead of what was said before.
    Session {
        /// The session's number.
        session: u32,
        /// On whose account its questions are: the number of the session around it that a person started, or its own.
        account: u32,
        /// The slots of its own policy first, and of the outermost session's last.
        policies: Vec<u32>,
        /// Names with an open hole: guardd is told of their addresses before the program ([`FromResolver::Opens`]).
        opened: Vec<String>,
    },
    /// That session has ended, or its policies speak of no names any more. What it has learned is still in the kernel.
    ForgetSession {
        /// Its number.
        session: u32,
    },
    /// Nothing of that session is in the kernel any more: it has ended a while ago.
    ForgetNames {
        /// Its number.
        session: u32,
    },
    /// The only servers whose answers teach: those of `@dns`, and an engine's own where there is one.
    Servers {
        /// All of them: instead of those that were named before.
        addresses: Vec<IpAddr>,
        /// The search list of this machine's resolvers.
        search: Vec<String>,
        /// On which links those are that have an address of a link alone (`fe80::1%eth0`).
        #[serde(default)]
        links: Vec<OnLink>,
    },
    /// Say [`FromResolver::Marked`] now: from then on no program gets an answer by what was said before this.
    Mark {
        /// Which one this is.
        number: Number,
    },
    /// The answer to [`FromResolver::Ask`] and [`FromResolver::Opens`].
    Answer {
        /// Which question this answers.
        number: Number,
        /// Whether it may leave.
        yes: bool,
    },
}

/// On which link of guardd's own network a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnLink {
    /// Its address, which is of the link alone.
    pub address: Ipv6Addr,
    /// The number of the interface.
    pub link: u32,
}

/// What holds for a name that no pattern of a policy covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// It may be asked for.
    Any,
    /// A person is asked.
    Ask,
    /// It is refused: only what rules name may be asked for.
    Rules,
}

/// A name of a rule, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// In lower case: `db.example.com`, or `*.example.com`.
    pub pattern: String,
    /// A rule denies it: it is not asked for.
    pub denied: bool,
}

/// From the resolver to guardd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromResolver {
    /// The first of all, when [`ToResolver::Hello`] has been heard.
    Hello {
        /// The resolver's version. Where it is not guardd's own, they do not understand each other.
        version: String,
    },
    /// The resolver has fewer sockets left in a network than it likes: so many of each kind are wanted. Always answered with one
    /// [`ToResolver::Sockets`].
    Sockets {
        /// In which.
        network: NetworkId,
        /// UDP sockets of IPv4.
        udp4: usize,
        /// UDP sockets of IPv6.
        udp6: usize,
        /// TCP sockets of IPv4.
        tcp4: usize,
        /// TCP sockets of IPv6.
        tcp6: usize,
    },
    /// A session has learned addresses of a name. The kernel knows already; long answers are told in several parts.
    Learned {
        /// The session's number.
        session: u32,
        /// The name that has the addresses.
        name: String,
        /// The name that was asked for, where that led here by `CNAME`.
        asked: Option<String>,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// For how long programs may keep them, in seconds: the shortest time of the records on the way.
        ttl: u32,
        /// When it was told, in nanoseconds of boot time: guardd may hear of it later.
        at: u64,
        /// Who asked.
        tgid: Tgid,
    },
    /// A session has learned more addresses in a moment than are told. The kernel knows.
    Untold {
        /// The session's number.
        session: u32,
        /// For how long programs may keep them, in seconds.
        ttl: u32,
    },
    /// So many more names of a session were refused, or not answered, than were told one by one since this was said last.
    More {
        /// The session's number.
        session: u32,
        /// Those that were not asked for.
        refused: u64,
        /// Those that were, in vain.
        failed: u64,
    },
    /// Asks whether a name may be asked for. Answered with [`ToResolver::Answer`]: soon, for programs wait for some seconds only.
    Ask {
        /// Which question this is.
        number: Number,
        /// The session's number.
        session: u32,
        /// Who asks.
        tgid: Tgid,
        /// The name; `*.zone.example` where so many names below that zone were asked for that they are asked about as one.
        name: String,
        /// The type, such as `AAAA`.
        kind: String,
        /// The server that was meant.
        server: IpAddr,
    },
    /// A session is about to learn addresses of a name that has an open hole. Answered with [`ToResolver::Answer`] when the
    /// kernel has them in the hole, as far as they belong there.
    Opens {
        /// Which message this is.
        number: Number,
        /// The session's number.
        session: u32,
        /// The name.
        name: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// [`ToResolver::Mark`] was heard, and all before it.
    Marked {
        /// Which one.
        number: Number,
    },
    /// Nobody waits for the answer any more.
    Gone {
        /// Which question that was.
        number: Number,
    },
    /// A name was not asked for; or there was no answer, or none that was passed on.
    Refused {
        /// The session's number.
        session: u32,
        /// Who asked.
        tgid: Tgid,
        /// The name.
        name: String,
        /// The type, such as `AAAA`.
        kind: String,
        /// The server that was meant.
        server: IpAddr,
        /// Why: a clause without a full stop.
        why: String,
        /// It was asked for: the program hears that this has failed, not that there is no such name.
        #[serde(default)]
        failed: bool,
        /// A search list made it of a name that may be asked for.
        #[serde(default)]
        searched: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_they_are_written() {
        let policy = ToResolver::Policy {
            slot: 3,
            names: Names::Rules,
            patterns: vec![Pattern {
                pattern: "*.example.com".to_owned(),
                denied: true,
            }],
            silent: false,
            without_ech: false,
        };
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(
            text,
            r#"{"say":"policy","slot":3,"names":"rules","patterns":[{"pattern":"*.example.com","denied":true}],"silent":false,"without_ech":false}"#
        );
        assert_eq!(serde_json::from_str::<ToResolver>(&text).unwrap(), policy);
        let learned = FromResolver::Learned {
            session: 7,
            name: "a.example.net".to_owned(),
            asked: Some("a.example.com".to_owned()),
            addresses: vec![[192, 0, 2, 1].into()],
            ttl: 60,
            at: 9,
            tgid: Tgid(4711),
        };
        let text = serde_json::to_string(&learned).unwrap();
        assert!(
            text.starts_with(r#"{"say":"learned","session":7"#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<FromResolver>(&text).unwrap(),
            learned
        );
    }
}
