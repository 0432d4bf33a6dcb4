//! Another call.

use anyhow::Result;
use guard_lab::Attempt;

use crate::escapes::scene::{Place, both, either};
use crate::escapes::way::{Tried, closed, family};

const SENDMSG: &str = "the `sendmsg` hooks";
const CONNECT: &str = "the `connect` hooks";
const ANEW: &str = "judged anew each time: what was allowed before does not count";

family! { "Another call";
    sendto: closed("a datagram without a connection (`sendto`)", "EPERM", SENDMSG) => || both("udp-send", 53);
    sendmsg: closed("the same by `sendmsg`, with a source of its own choice", "EPERM", SENDMSG)
        => || both("udp-sendmsg", 53);
    sendmmsg: closed("many at once by `sendmmsg`", "EPERM", SENDMSG) => || both("udp-sendmmsg", 53);
    connected_datagram: closed("`connect` and `send` on a UDP socket", "EPERM", CONNECT) => || both("udp-connect", 53);
    datagram_elsewhere: closed(
        "a UDP socket that is connected to an allowed address, and a `sendto` past it", "EPERM", SENDMSG,
    ) => || by_way_of_open("udp-elsewhere", 53);
    datagram_again: closed("a UDP socket connected again, elsewhere", "EPERM", ANEW)
        => || by_way_of_open("udp-reconnect", 53);
    stream_again: closed(
        "a TCP connection to an allowed address, dissolved (`AF_UNSPEC`) and connected again, elsewhere", "EPERM", ANEW,
    ) => || by_way_of_open("reconnect", 443);
    no_family: closed("`sendto` with an address of no family (`AF_UNSPEC`), which the kernel takes for IPv4", "EPERM", SENDMSG)
        => || v4("udp-unspec", 53);
    other_family: closed("an IPv4 address given to an IPv6 socket", "EPERM", SENDMSG) => || v4("udp-v4-on-v6", 53);
    changed_family: closed("an IPv6 socket turned into an IPv4 one (`IPV6_ADDRFORM`)", "EPERM", SENDMSG)
        => || {
            let place = Place::new()?;
            place.denied(&Attempt::new("udp-addrform", &place.v4, 53).other(&place.open_v4), &place.v4)
        };
    segmented: closed("several datagrams in one (`UDP_SEGMENT`)", "EPERM", SENDMSG) => || both("udp-segment", 53);
    fast_open: closed("TCP fast open by `MSG_FASTOPEN`: data with the first packet, without `connect`", "EPERM", CONNECT)
        => || both("fastopen", 443);
    fast_open_option: closed("TCP fast open by socket option (`TCP_FASTOPEN_CONNECT`)", "EPERM", CONNECT)
        => || both("fastopen-connect", 443);
    by_device: closed("a TCP connection by a device of its choice (`SO_BINDTODEVICE`)", "EPERM", CONNECT)
        => || both("tcp-device", 443);
    ring_connect: closed("`io_uring`: a TCP connection that no system call makes", "EPERM", "seccomp: no ring is set up")
        .where_there_is("`io_uring`") => || both("uring-connect", 443);
    ring_send: closed("`io_uring`: a datagram", "EPERM", "seccomp: no ring is set up")
        .where_there_is("`io_uring`") => || both("uring-send", 53);
}

/// On production's addresses, after the same socket was used with the open ones.
fn by_way_of_open(kind: &str, port: u16) -> Result<Tried> {
    let place = Place::new()?;
    let v4 = Attempt::new(kind, &place.v4, port).other(&place.open_v4);
    let v6 = Attempt::new(kind, &place.v6, port).other(&place.open_v6);
    Ok(either(
        place.denied(&v4, &place.v4)?,
        place.denied(&v6, &place.v6)?,
    ))
}

fn v4(kind: &str, port: u16) -> Result<Tried> {
    let place = Place::new()?;
    place.denied(&Attempt::new(kind, &place.v4, port), &place.v4)
}
