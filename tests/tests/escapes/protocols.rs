//! Another protocol, and other ways through the network.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Result, ensure};
use guard_lab::network::DEV_V4;
use guard_lab::{AGENT, Attempt, Daemon, Extended, Network, Report, Unowned};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::escapes::scene::{EscapeScene, WayAddresses, both, either};
use crate::escapes::way::{Came, Tried, closed, family};

const SOCKET: &str = "`sock_create`";
const RIGHTS: &str = "no capability; `sock_create`";

family! { "Another protocol, another road";
    alone: subflow, tun, tunnel, extensions;
    dns: closed("DNS over TCP, to a name server not allowed", "EPERM", "`connect`") => || both("tcp", 53);
    udp_lite: closed("UDP-Lite", "EPERM (socket", SOCKET).where_there_is("UDP-Lite") => || both("udplite", 53);
    echo: closed("ICMP echo (`ping`)", "", "egress") => || both("ping", 0);
    multipath: closed("MPTCP", "EPERM", "`connect`").where_there_is("MPTCP") => || both("mptcp", 443);
    subflow: closed(
        "an MPTCP server asks for a path to production", "",
        "`connect`, egress",
    ).where_there_is("MPTCP") => subflow;
    raw: closed("a raw socket, with `CAP_NET_RAW`", "EPERM (socket", RIGHTS) => || {
        let place = WayAddresses::new()?;
        let tried = |to: &str| place.scene.with_rights(&["net_raw"], &Attempt::new("raw", to, 0), to);
        Ok(either(tried(&place.v4)?, tried(&place.v6)?))
    };
    raw_header: closed(
        "a raw socket that writes its own IP header",
        "EPERM (socket", RIGHTS,
    ) => || {
        let place = WayAddresses::new()?;
        let attempt = Attempt::new("raw-header", &place.v4, 53).other(&place.open_v4);
        place.scene.with_rights(&["net_raw"], &attempt, &place.v4)
    };
    borrowed: closed(
        "a datagram from production's address (`IPV6_FREEBIND`), which the kernel answers there",
        "Operation not permitted", "seccomp",
    ).where_there_is("Python") => || {
        let place = WayAddresses::new()?;
        let script = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(41, 78, 1)";
        let script = format!("{script}; s.bind(('{}', 0)); s.sendto(b'!', ('::1', 9))", place.v6);
        place.scene.scripted(&[], &format!("exec python3 -c \"{script}\""), &place.v6)
    };
    later: closed(
        "a datagram that is judged now and sent later (`SO_TXTIME`)", "Operation not permitted", "seccomp",
    ).where_there_is("Python") => || queued("61, struct.pack('ii', 1, 0)");
    slower: closed(
        "the same by a rate (`SO_MAX_PACING_RATE`)", "Operation not permitted", "seccomp",
    ).where_there_is("Python") => || queued("47, 1000");
    packet: closed(
        "a packet socket, below IP, with `CAP_NET_RAW`", "EPERM (socket",
        "seccomp",
    ) => || {
        let place = WayAddresses::new()?;
        place.scene.with_rights(&["net_raw"], &Attempt::new("packet", &place.v4, 53), &place.v4)
    };
    packet_of_i386: closed(
        "the same by a 32-bit system call", "the process is ended",
        "seccomp",
    ).where_there_is("x86-64 with 32-bit calls") => packet_of_i386;
    sctp: closed("SCTP", "EPERM", SOCKET).where_there_is("SCTP") => || first_packet("sctp", 443);
    dccp: closed("DCCP", "EPERM", SOCKET).where_there_is("DCCP") => || first_packet("dccp", 443);
    l2tp: closed("L2TP", "EPERM", SOCKET).where_there_is("L2TP") => || first_packet("l2tp", 0);
    smc: closed("SMC as a protocol of TCP's family", "EPERM", SOCKET).where_there_is("SMC")
        => || first_packet("smc", 443);
    vsock: closed("vsock", "EPERM (socket", "seccomp")
        .where_there_is("a vsock transport").without("is answered") => vsock;
    tun: closed(
        "a TUN device that root made for the user", "EPERM (TUNSETIFF",
        "seccomp",
    ).where_there_is("TUN") => tun;
    tunnel: closed(
        "a VXLAN tunnel's outer packets, with `CAP_NET_ADMIN`",
        "Operation not permitted", "the session has no capability",
    ).where_there_is("VXLAN") => tunnel;
    routing_header: closed(
        "an IPv6 routing header: production first, last hop allowed", "",
        "egress",
    ).where_there_is("segment routing") => || {
        let place = WayAddresses::new()?;
        place.denied(&Attempt::new("rthdr", &place.open_v6, 443).other(&place.v6), &place.v6)
    };
    routing_header_behind: closed(
        "an IPv6 routing header: an allowed router first, last hop production", "EPERM",
        "`connect`, egress",
    ).where_there_is("segment routing") => || {
        let place = WayAddresses::new()?;
        place.denied(&Attempt::new("rthdr", &place.v6, 443).other(&place.open_v6), &place.open_v6)
    };
    source_route: closed(
        "an IPv4 source route of a root service: production first, last hop allowed",
        "EPERM (sendto", "egress",
    ) => || {
        let place = WayAddresses::new()?;
        by_service(&place, &Attempt::new("lsrr", &place.open_v4, 53).other(&place.v4), &place.v4)
    };
    source_route_behind: closed(
        "the same: allowed first, last hop production",
        "EPERM (sendto", "`sendmsg`, egress",
    ) => || {
        let place = WayAddresses::new()?;
        by_service(&place, &Attempt::new("lsrr", &place.v4, 53).other(&place.open_v4), &place.open_v4)
    };
    extensions: closed(
        "a port behind six IPv6 extension headers",
        "EPERM", "egress",
    ) => extensions;
}

/// An attempt of root's: in a unit that is a session it keeps its rights.
fn by_service(place: &WayAddresses, attempt: &Attempt, to: &str) -> Result<Tried> {
    let scene = place.scene;
    let unit = Unowned::named(&scene.daemon, &format!("unit{}.service", place.at))?;
    let path = unit.path().to_string_lossy().into_owned();
    let assign = ["assign", "--policy", "denied", &path];
    scene.daemon.ask(assign)?.success()?;
    Ok(Tried {
        with: scene.came(to, || unit.attempt(attempt))?,
        without: scene.without(to, || attempt.outside(scene.network.dev(), 0))?,
    })
}

/// A process that is ended says nothing.
fn packet_of_i386() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let script = format!(
        "$probe {}",
        Attempt::new("packet-i386", to, 53).args().join(" ")
    );
    let tried = |policy| -> Result<Came> {
        scene.came(to, || {
            let report = scene.script(&["net_raw"], policy, &script)?;
            let is_ended = report.errno.is_none() && !report.ok;
            Ok(if is_ended {
                Report {
                    detail: "the process is ended".to_owned(),
                    ..report
                }
            } else {
                report
            })
        })
    };
    let with = tried(Some("denied"))?;
    Ok(Tried {
        without: match tried(None)? {
            Came::Stopped(why) if why.contains("the process is ended") => Came::Missing(why),
            other => other,
        },
        with,
    })
}

/// A datagram of a socket with such an option, by its number and value.
fn queued(option: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let script = "import socket, struct; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)";
    let script = format!(
        "{script}; s.setsockopt(socket.SOL_SOCKET, {option}); s.sendto(b'!', ('{}', 443))",
        place.v6
    );
    let command = format!("exec python3 -c \"{script}\"");
    place.scene.scripted(&[], &command, &place.v6)
}

/// What such a socket sends first need not be answered.
fn first_packet(kind: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let attempt = Attempt::new(kind, &place.v4, port);
    let scene = place.scene;
    Ok(Tried {
        with: scene.came(&place.v4, || attempt.under(&scene.daemon, "denied"))?,
        without: scene.came(&place.v4, || {
            attempt.outside(scene.network.dev(), guard_lab::AGENT)
        })?,
    })
}

/// The client connects to the allowed address; the server offers production's beside it.
fn subflow() -> Result<Tried> {
    const MPTCP: i32 = 262;
    let scene = EscapeScene::new()?;
    let (to, open) = ("192.0.2.200", "198.51.100.200");
    let limits = "ip mptcp limits set subflow 4 add_addr_accepted 4";
    if let Err(missing) = scene.root(limits) {
        return Ok(Tried::missing(format!("{missing:#}")));
    }
    let script = format!("{limits} && ip mptcp endpoint add {to} signal");
    let mut offers = scene.network.prod().command("sh");
    ensure!(
        offers.args(["-ec", &script]).status()?.success(),
        "{script}"
    );
    let listener = scene.network.prod().enter(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(MPTCP)))?;
        listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7777)).into())?;
        listener.listen(8)?;
        Ok(listener)
    })?;
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            thread::spawn(move || echo(&client));
        }
    });
    let attempt = Attempt::new("mptcp-wait", open, 7777);
    scene.tried("denied", &attempt, to)
}

fn echo(mut client: &Socket) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let _ = client.write_all(&buffer[..length]);
    }
}

/// A server on this machine, for whoever comes by vsock.
fn vsock() -> Result<Tried> {
    /// `VMADDR_CID_LOCAL` in linux/vm_sockets.h.
    const LOCAL: &str = "1";
    let place = WayAddresses::new()?;
    let port = 20_000 + std::process::id() % 20_000;
    let listener = Socket::new(Domain::VSOCK, Type::STREAM, None).and_then(|listener| {
        listener.bind(&SockAddr::vsock(libc::VMADDR_CID_ANY, port))?;
        listener.listen(8)?;
        Ok(listener)
    });
    let scene = place.scene;
    let attempt = Attempt::new("vsock", LOCAL, u16::try_from(port)?);
    let outside = attempt.outside(scene.network.dev(), guard_lab::AGENT)?;
    let inside = attempt.under(&scene.daemon, "denied")?;
    drop(listener);
    Ok(Tried {
        // Without a transport for it nobody hears that there is a server.
        without: if outside.ok {
            Came::Through(outside.detail)
        } else {
            Came::Missing(outside.detail)
        },
        with: Came::of(&inside, inside.ok.then(|| inside.detail.clone())),
    })
}

fn tun() -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let to = "192.0.2.200";
    let made = scene.root(&format!(
        "ip tuntap add dev tun7 mode tun user {} && ip addr add 10.88.0.1/24 dev tun7 && ip link set tun7 up && \
         echo 1 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/conf/tun7/rp_filter",
        guard_lab::AGENT
    ));
    if let Err(missing) = made {
        return Ok(Tried::missing(format!("{missing:#}")));
    }
    let node = tun_node(scene.daemon.dir())?;
    let attempt = Attempt::new("tun", to, 53).other(&format!("{}:tun7", node.display()));
    scene.tried("denied", &attempt, to)
}

/// The device's node, which most distributions let everybody open; where this one does not, one of the test's own.
fn tun_node(dir: &Path) -> Result<PathBuf> {
    let usual = PathBuf::from("/dev/net/tun");
    if fs::metadata(&usual).is_ok_and(|node| node.permissions().mode() & 0o006 == 0o006) {
        return Ok(usual);
    }
    let node = dir.join("tun");
    let mut mknod = Command::new("mknod");
    mknod
        .args(["-m", "666"])
        .arg(&node)
        .args(["c", "10", "200"]);
    ensure!(mknod.status()?.success(), "{mknod:?} failed");
    Ok(node)
}

fn tunnel() -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let to = "192.0.2.200";
    let script = format!(
        "ip link add vx0 type vxlan id 7 remote {to} dstport 4789 local {DEV_V4} || exit 1
         ip addr add 10.99.0.1/24 dev vx0; ip link set vx0 up
         ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev vx0
         exec $probe probe broadcast 10.99.0.2 53"
    );
    let with = scene.came(to, || scene.script(&["net_admin"], Some("denied"), &script))?;
    let without = scene.came(to, || scene.script(&["net_admin"], None, &script))?;
    let without = match without {
        Came::Stopped(why) if why.contains("Unknown device type") => Came::Missing(why),
        other => other,
    };
    Ok(Tried { without, with })
}

fn extensions() -> Result<Tried> {
    const PORT: &str = "version = 1\ndefault = \"deny\"\n[[rule]]\nname = \"port\"\nto = [\"2001:db8:8::7\"]\n\
                        ports = [\"udp/443\"]\naction = \"allow\"\n";
    const HIDDEN: (&str, u16) = ("2001:db8:8::7", 53);
    let (network, production) = Network::with_production()?;
    // So that the next machine's address is known, and no packet waits for it.
    let known = Attempt::udp(HIDDEN.0, HIDDEN.1).outside(network.dev(), AGENT)?;
    ensure!(known.ok, "{known:?}");
    let mut daemon = Daemon::in_network(&network)
        .policy("port", PORT)
        .prepare()?;
    fs::create_dir(daemon.cgroup_root())?;
    let unit = Unowned::named(&daemon, "early.service")?;
    let mut sender = Extended::start(&unit, &daemon)?;
    let mut send = |headers| -> Result<Came> {
        let (said, arrived) = sender.send(&production, HIDDEN, headers)?;
        let through = (arrived > 0).then(|| format!("{arrived} packets"));
        Ok(through.map_or(Came::Stopped(said), Came::Through))
    };
    let without = send(6)?;
    daemon.start()?;
    let path = unit.path().to_string_lossy().into_owned();
    daemon
        .ask(["assign", "--policy", "port", &path])?
        .success()?;
    Ok(Tried {
        without,
        with: send(6)?,
    })
}
