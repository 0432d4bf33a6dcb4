//! Another call.

use anyhow::Result;
use guard_lab::Attempt;

use crate::escapes::scene::{WayAddresses, both, either};
use crate::escapes::way::{Tried, closed, family};

const SENDMSG: &str = "`sendmsg`";
const CONNECT: &str = "`connect`";
const EGRESS: &str = "egress";
const ANEW: &str = "judged anew each time";

family! { "Another call";
    sendto: closed("a datagram without a connection (`sendto`)", "EPERM", SENDMSG) => || both("udp-send", 53);
    sendmsg: closed("`sendmsg`, choosing its source", "EPERM", SENDMSG)
        => || both("udp-sendmsg", 53);
    sendmmsg: closed("many at once (`sendmmsg`)", "EPERM", SENDMSG) => || both("udp-sendmmsg", 53);
    connected_datagram: closed("`connect` and `send`, UDP", "EPERM", CONNECT) => || both("udp-connect", 53);
    asked_datagram: closed("the same under `confirm`", "EPERM (send", EGRESS) => asked;
    datagram_elsewhere: closed(
        "`sendto` past a UDP socket's allowed connection", "EPERM", SENDMSG,
    ) => || by_way_of_open("udp-elsewhere", 53);
    datagram_again: closed("a UDP socket connected again, elsewhere", "EPERM", ANEW)
        => || by_way_of_open("udp-reconnect", 53);
    stream_again: closed(
        "an allowed TCP connection, dissolved (`AF_UNSPEC`) and connected elsewhere", "EPERM", ANEW,
    ) => || by_way_of_open("reconnect", 443);
    no_family: closed("`sendto` without an address family (`AF_UNSPEC`)", "EPERM", SENDMSG)
        => || v4("udp-unspec", 53);
    other_family: closed("an IPv4 address on an IPv6 socket", "EPERM", SENDMSG) => || v4("udp-v4-on-v6", 53);
    changed_family: closed("an IPv6 socket made IPv4 (`IPV6_ADDRFORM`)", "EPERM", SENDMSG)
        => || {
            let place = WayAddresses::new()?;
            place.denied(&Attempt::new("udp-addrform", &place.v4, 53).other(&place.open_v4), &place.v4)
        };
    segmented: closed("several datagrams at once (`UDP_SEGMENT`)", "EPERM", SENDMSG) => || both("udp-segment", 53);
    fast_open: closed("fast open by `MSG_FASTOPEN`, without `connect`", "EPERM", CONNECT)
        => || both("fastopen", 443);
    fast_open_option: closed("fast open by option (`TCP_FASTOPEN_CONNECT`)", "EPERM", CONNECT)
        => || both("fastopen-connect", 443);
    by_device: closed("TCP by a chosen device (`SO_BINDTODEVICE`)", "EPERM", CONNECT)
        => || both("tcp-device", 443);
    ring_connect: closed("`io_uring`: TCP without a system call", "EPERM", "seccomp")
        .where_there_is("`io_uring`") => || both("uring-connect", 443);
    ring_send: closed("`io_uring`: a datagram", "EPERM", "seccomp")
        .where_there_is("`io_uring`") => || both("uring-send", 53);
}

/// `connect` sends nothing, and nobody is asked about it.
fn asked() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let tried = |to: &str| {
        let attempt = Attempt::new("udp-connect", to, 443);
        place.scene.tried("asks", &attempt, to)
    };
    Ok(either(tried(&place.v4)?, tried(&place.v6)?))
}

/// On production's addresses, after the same socket was used with the open ones.
fn by_way_of_open(kind: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let v4 = Attempt::new(kind, &place.v4, port).other(&place.open_v4);
    let v6 = Attempt::new(kind, &place.v6, port).other(&place.open_v6);
    Ok(either(
        place.denied(&v4, &place.v4)?,
        place.denied(&v6, &place.v6)?,
    ))
}

fn v4(kind: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    place.denied(&Attempt::new(kind, &place.v4, port), &place.v4)
}
