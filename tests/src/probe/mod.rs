//! `guard-lab probe`: one attempt to reach the network, and what came of it.

mod calls;
mod errno;
mod extended;
mod guards;
mod handed;
mod icmp;
mod late;
mod leaving;
mod long;
mod odd;
mod spread;
mod tcp;
mod turn;
mod udp;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub use errno::name as errno_name;
pub(crate) use handed::RING;

use crate::patience;

/// What `guard-lab probe --help` prints.
pub const HELP: &str = "\
guard-lab probe KIND ADDRESS PORT [OTHER] [--timeout MILLISECONDS]

Makes one attempt to reach the network. Prints {ok, errno, detail}; exits with 0 where it was answered,
or taken by the kernel where there can be no answer; else with 1, or with 2 if it could not be tried.

tcp            a connection, a line and its echo
mapped         the same from an IPv6 socket to ::ffff:ADDRESS
fastopen       the same, with the line in the sendto that connects
fastopen-connect  the same by the option TCP_FASTOPEN_CONNECT
tcp-device     the same as tcp, from a socket bound to the device prod0
uring-connect  the same as tcp, connected and sent by an io_uring
named          the same as tcp, to what the system's resolver makes of OTHER
mptcp          the same over MPTCP
upload         a connection, OTHER bytes (1048576) in pieces, each sent when the one before has come back
put            a connection, an HTTP PUT of the path OTHER, and the answer's first line
peer           a connection, after one of the same socket to OTHER if there is that; the detail is what getpeername says
from           the same as tcp from the port OTHER, ended by a reset so that the port is free again
moved          the same as tcp, by a socket that was made before this process went into the cgroup OTHER
reconnect      the same as tcp, after a connection of the same socket to OTHER was dissolved
udp-send       a datagram by sendto, and its echo
udp-sendmsg    the same by sendmsg, with a source address
udp-segment    the same, cut in two by the kernel (UDP_SEGMENT)
udp-unspec     the same by sendto, to an address of no family
udp-v4-on-v6   the same by sendto, to an IPv4 address from an IPv6 socket
udp-addrform   a datagram from an IPv6 socket that was connected to OTHER and turned into an IPv4 one
udp-elsewhere  a datagram by sendto, after an exchange of the same connected socket with OTHER
uring-send     a datagram by an io_uring, and its echo
broadcast      a datagram to whom SO_BROADCAST allows
unicast-if     a datagram to ADDRESS by the device prod0 (IP_UNICAST_IF), whatever the routes say
udp-connect    the same by connect and send
udp-sendmmsg   the same by sendmmsg
mapped-udp     the same by sendto from an IPv6 socket to ::ffff:ADDRESS
udp-reconnect  the same by connect and send, after an exchange of the same socket with OTHER
udplite        a UDP-Lite datagram by connect and send
ping           an ICMP echo from a ping socket, and its reply
raw            the same from a raw socket
raw-header     a UDP datagram in an IPv4 packet to ADDRESS, from a raw socket whose sendto names OTHER
tun            the same, written to the TUN device OTHER (NODE:NAME)
sctp, dccp, l2tp, smc  whatever such a socket sends first
mptcp-wait     a connection over MPTCP, a line and its echo, a wait, and another
packet         a UDP datagram in an IPv4 packet, put on the device OTHER (prod0)
packet-i386    the same, from a packet socket that a 32-bit system call has made
vsock          a connection to the context ADDRESS (2, the host)
rthdr          a datagram to ADDRESS by way of OTHER, with an IPv6 segment routing header
device         a datagram to ADDRESS by the device OTHER (prod0), whatever the routes say
lsrr           a datagram to ADDRESS by way of OTHER, with an IPv4 loose source route
extended       a raw IPv6 socket; for each line `ADDRESS PORT HEADERS` that it reads it puts a UDP datagram behind
               so many extension headers, sends it, and prints {sent, errno}
io-uring       a ring, by which network calls need no system call
hold-open      a connection with a byte each 50 ms; prints {echo: N} for each echo; ends with the connection
loop           OTHER (100) connections one after the other
spread         connections to OTHER IPv4 addresses from ADDRESS on, all at once; prints {connected, errors, left}
keep           connections one after the other, for as long as it lives
open-pin       opens the pin OTHER of a bpffs
detach-pin     detaches the program of the link that is pinned at OTHER
link-by-id     opens a program's link by its number, whoever's it is
ask-kernel     asks for OTHER with arguments that mean nothing, of module, kexec, reboot and log; reached where that is all
               that the kernel says against it
ask-to-open    asks guardd at the socket OTHER to open ADDRESS for the session GUARD_SESSION
type           types OTHER into the terminal that is its standard input (TIOCSTI)
deaf           connections to the socket OTHER that ask much and read nothing; prints {deaf: N}
flood          a datagram each millisecond, for as long as it lives
repair         a TCP connection without a handshake (TCP_REPAIR), and a packet on it
at-once        OTHER (20) connections at the same moment; prints {connected}
given          what can be done with the socket at the descriptor OTHER, which it was started with
given-ring     a datagram by the io_uring that is its standard input, as `guard-lab hand` gives it
helper         listens at OTHER, a path or `@` and a name, and reaches ADDRESS for whoever asks
by-helper      has it do so: OTHER is VERB:AT, of relay, connected, stream, datagram, message and
               `dial GUARDD`, over which it has guardd open ADDRESS for the session GUARD_SESSION
bring          connects to whoever listens at OTHER, whenever somebody does, and brings what is asked for
brought        has that brought to AT, and uses it: OTHER is VERB:AT, of connected, stream, datagram, ping, lite and
               `dial GUARDD`
forward        listens at the port OTHER of loopback, and forwards whoever comes
hold           a connection, held until the input ends; prints {pid, fd}
late           a line and its echo, and the same again when the input says write, sendfile or splice; prints {connected}
steal          a line and its echo over a socket of another process: OTHER is PID:FD
obey           connects, on a line of input, to the address in its memory; prints {pid, at}
poke           writes ADDRESS there: OTHER is HOW:PID:AT, of mem, vm and ptrace
peek           reads ADDRESS there: OTHER is PID:AT
clone-into     the same as tcp, by a child made in the cgroup OTHER
turn           serves one client at the port OTHER, then connects the socket of that connection to ADDRESS
turn-listener  the same with the socket that listened
turn-late      for OTHER (5) seconds: listens and is connected to, then connects the socket that listened to ADDRESS, while
               its answer may be on its way; prints {tries, connected, refused}
pour           a connection, OTHER bytes sent, and an end that waits for none of them to arrive
listen         listens at ADDRESS, prints {listening: PORT}, echoes what one client sends
";

/// How long each wait may take, on a machine that has other things to do.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is sent.
const LINE: &[u8] = b"guard-lab probe\n";

/// What to try it on.
struct Target {
    to: SocketAddr,
    other: Option<String>,
    timeout: Duration,
}

/// An attempt that came to nothing.
struct Failure {
    step: &'static str,
    error: io::Error,
}

/// What the answer was, or which step failed.
type Outcome = Result<String, Failure>;

/// Names the step that an error came from.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step,
            error: error.into(),
        })
    }
}

/// Makes the attempt that the arguments describe, and prints the report. Gives whether it succeeded.
///
/// # Errors
///
/// That the arguments are wrong.
pub fn probe(args: impl Iterator<Item = String>) -> Result<bool> {
    let (kind, target) = parse(args)?;
    let outcome = attempt(&kind, &target)?;
    let ok = outcome.is_ok();
    say(&report(&outcome));
    Ok(ok)
}

fn report(outcome: &Outcome) -> Value {
    match outcome {
        Ok(detail) => json!({"ok": true, "errno": null, "detail": detail}),
        Err(failure) => json!({
            "ok": false,
            "errno": errno::of(&failure.error),
            "detail": format!("{}: {}", failure.step, failure.error),
        }),
    }
}

fn attempt(kind: &str, target: &Target) -> Result<Outcome> {
    Ok(match kind {
        "tcp" => tcp::connect(target),
        "mapped" => tcp::connect(&target.mapped()),
        "fastopen" => tcp::fast_open(target),
        "fastopen-connect" => calls::fast_open_option(target),
        "tcp-device" => calls::stream_by_device(target),
        "uring-connect" => calls::ring_connect(target),
        "named" => calls::named(target)?,
        "udp-sendmsg" => calls::send_message(target),
        "udp-segment" => calls::send_segmented(target),
        "udp-unspec" => calls::send_without_family(target),
        "udp-v4-on-v6" => calls::send_from_other_family(target),
        "udp-addrform" => calls::change_family(target, target.other_address()?),
        "udp-elsewhere" => calls::send_elsewhere(target, target.other_address()?),
        "uring-send" => calls::ring_send(target),
        "broadcast" => calls::broadcast(target),
        "unicast-if" => calls::by_interface(target),
        "mptcp" => tcp::multipath(target),
        "put" => tcp::put(target),
        "upload" => tcp::upload(target)?,
        "peer" => tcp::peer(target)?,
        "from" => tcp::from(target)?,
        "moved" => tcp::moved(target)?,
        "reconnect" => tcp::reconnect(target, target.other_address()?),
        "udp-send" => udp::send(target),
        "udp-connect" => udp::connect(target),
        "udp-sendmmsg" => udp::send_many(target),
        "mapped-udp" => udp::send(&target.mapped()),
        "udp-reconnect" => udp::reconnect(target, target.other_address()?),
        "udplite" => udp::lite(target),
        "ping" => icmp::ping(target, Type::DGRAM),
        "raw" => icmp::ping(target, Type::RAW),
        "raw-header" => odd::raw_header(target, target.other_address()?),
        "tun" => odd::tun(target)?,
        "sctp" => odd::by_protocol(target, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        "dccp" => odd::by_protocol(target, libc::SOCK_DCCP, libc::IPPROTO_DCCP),
        "l2tp" => odd::by_protocol(target, libc::SOCK_DGRAM, 115),
        "smc" => odd::by_protocol(target, libc::SOCK_STREAM, 256),
        "mptcp-wait" => tcp::multipath_waiting(target),
        "packet-i386" => odd::packet_of_i386(target),
        "packet" => odd::packet(target),
        "vsock" => odd::vsock(target),
        "rthdr" => odd::routing_header(target, target.other_address()?),
        "device" => odd::by_device(target),
        "lsrr" => odd::source_route(target, target.other_address()?),
        "extended" => extended::send_as_told()?,
        "io-uring" => odd::io_uring(),
        "hold-open" => long::hold_open(target),
        "loop" => long::connect_often(target)?,
        "spread" => spread::connect_to_all(target)?,
        "keep" => long::keep_connecting(target),
        "open-pin" => guards::open_pin(target)?,
        "detach-pin" => guards::detach_pin(target)?,
        "link-by-id" => guards::link_by_id(),
        "ask-kernel" => guards::ask_kernel(target)?,
        "ask-to-open" => guards::ask_to_open(target)?,
        "type" => guards::type_in(target)?,
        "deaf" => guards::be_deaf(target)?,
        "flood" => guards::flood(target),
        "repair" => guards::repair(target),
        "at-once" => guards::at_once(target)?,
        "given" => handed::given(target)?,
        "given-ring" => handed::given_ring(target)?,
        "helper" => handed::helper(target)?,
        "bring" => handed::bring(target)?,
        "brought" => handed::brought(target)?,
        "by-helper" => handed::by_helper(target)?,
        "forward" => handed::forward(target)?,
        "hold" => handed::hold(target),
        "late" => handed::use_late(target)?,
        "steal" => handed::steal(target)?,
        "obey" => handed::obey(target)?,
        "poke" => handed::poke(target)?,
        "peek" => handed::peek(target)?,
        "clone-into" => leaving::clone_into(target)?,
        "turn" => turn::turn_around(target, false)?,
        "turn-listener" => turn::turn_around(target, true)?,
        "turn-late" => late::connect_listeners(target)?,
        "pour" => turn::pour(target)?,
        "listen" => long::listen(target),
        _ => bail!("there is no probe {kind}: see guard-lab probe --help"),
    })
}

fn parse(args: impl Iterator<Item = String>) -> Result<(String, Target)> {
    let mut timeout = patience(TIMEOUT);
    let mut words = Vec::new();
    let mut args = args;
    while let Some(arg) = args.next() {
        if arg == "--timeout" {
            let value = args.next().context("--timeout wants milliseconds")?;
            timeout = Duration::from_millis(value.parse()?);
        } else {
            words.push(arg);
        }
    }
    let [kind, address, port, other @ ..] = &words[..] else {
        bail!("{HELP}");
    };
    // A vsock context is a number, which stands for the same IPv4 address here.
    let to = match address.parse::<u32>() {
        Ok(context) => (IpAddr::from(context.to_be_bytes()), port.parse()?).into(),
        Err(_) => socket_address(address, port.parse()?)?,
    };
    let other = other.first().cloned();
    Ok((kind.clone(), Target { to, other, timeout }))
}

/// Reads an address, also one with a scope: `fe80::1%prod0`.
fn socket_address(address: &str, port: u16) -> Result<SocketAddr> {
    let (address, device) = address.split_once('%').unwrap_or((address, ""));
    let ip: IpAddr = address
        .parse()
        .with_context(|| format!("{address} is no address"))?;
    Ok(match ip {
        IpAddr::V6(ip) if !device.is_empty() => {
            SocketAddrV6::new(ip, port, 0, odd::device_index(device)?).into()
        }
        _ => (ip, port).into(),
    })
}

impl Target {
    fn socket(&self, kind: Type, protocol: Option<Protocol>) -> Result<Socket, Failure> {
        let socket = Socket::new(Domain::for_address(self.to), kind, protocol).step("socket")?;
        socket.set_read_timeout(Some(self.timeout)).step("socket")?;
        // It bounds a blocking connect, too (socket(7)).
        socket
            .set_write_timeout(Some(self.timeout))
            .step("socket")?;
        Ok(socket)
    }

    fn address(&self) -> SockAddr {
        self.to.into()
    }

    fn mapped(&self) -> Self {
        let ip = match self.to.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self {
            to: (ip, self.to.port()).into(),
            other: None,
            timeout: self.timeout,
        }
    }

    fn other_address(&self) -> Result<SocketAddr> {
        let other = self.other.as_ref().context("it wants another address")?;
        socket_address(other, self.to.port())
    }
}

/// Prints one line, at once.
fn say(line: &Value) {
    let mut stdout = io::stdout().lock();
    // Nobody reading is no reason to stop trying.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
