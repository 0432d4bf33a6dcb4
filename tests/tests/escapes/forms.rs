//! Another form of the address.

use std::fs;

use anyhow::Result;
use guard_lab::{AGENT, Attempt, Report, Running, bins};
use serde_json::Value;

use crate::escapes::scene::{LINK, NEIGHBOUR, PATIENCE, WayAddresses, both, either};
use crate::escapes::way::{Came, Tried, closed, family};

family! { "Another form of the address";
    plain: closed(
        "TCP to a denied address, IPv4 and IPv6", "EPERM", "`connect`",
    ) => || both("tcp", 443);
    mapped_tcp: closed(
        "IPv4-mapped IPv6, `::ffff:192.0.2.10`, TCP",
        "EPERM", "one key for both",
    ) => || mapped("mapped", 443);
    mapped_udp: closed(
        "the same, UDP without a connection", "EPERM", "one key for both",
    ) => || mapped("mapped-udp", 53);
    compatible: closed(
        "IPv4-compatible IPv6, `::192.0.2.10`",
        "EPERM", "judged as the IPv6 address that it is",
    ) => || embedded(|at| format!("::c000:2{at:02x}"));
    nat64: closed(
        "NAT64's well-known prefix, `64:ff9b::192.0.2.10`", "EPERM",
        "judged as the IPv6 address that it is",
    ) => || embedded(|at| format!("64:ff9b::c000:2{at:02x}"));
    nat64_private: closed(
        "NAT64 before a private network, `64:ff9b::10.0.0.10`, under `default`", "EPERM",
        "a rule of it",
    ) => || under_default(|at| format!("64:ff9b::a00:{at:x}"));
    nat64_local: closed(
        "NAT64's local-use prefix, `64:ff9b:1::…`, under `default`", "EPERM",
        "a rule of it",
    ) => || under_default(|at| format!("64:ff9b:1::{at:x}"));
    six_to_four: closed(
        "6to4, `2002:c000:20a::1`", "EPERM",
        "judged as the IPv6 address that it is",
    ) => || embedded(|at| format!("2002:c000:2{at:02x}::1"));
    siit: closed(
        "a translated address (SIIT), `::ffff:0:192.0.2.10`", "EPERM",
        "judged as the IPv6 address that it is",
    ) => || embedded(|at| format!("::ffff:0:c000:2{at:02x}"));
    scoped: closed(
        "link-local with a scope, `fe80::53%eth0`", "EPERM",
        "a rule for `fe80::/10`",
    ) => || {
        let place = WayAddresses::new()?;
        place.denied(&Attempt::tcp(&format!("{LINK}%prod0"), 443), LINK)
    };
    on_link: closed(
        "your own network's global address, under `default`", "EPERM",
        "its rule for `@on-link`",
    ) => || {
        let place = WayAddresses::new()?;
        place.scene.tried("default", &Attempt::tcp(NEIGHBOUR, 443), NEIGHBOUR)
    };
    number: closed(
        "an address as one number, `http://3221225994/`, in octal or hexadecimal", "EPERM",
        "judged by address",
    ) => as_number;
    name: closed(
        "a harmless name for production", "EPERM",
        "judged by address",
    ) => by_name;
    any_v4: closed(
        "`0.0.0.0`: this host", "EPERM", "judged as loopback",
    ).without("is answered") => || this_host("0.0.0.0", "127.0.0.1");
    any_v6: closed(
        "`::`: this host", "EPERM", "judged as loopback",
    ).without("is answered") => || this_host("::", "::1");
    broadcast: closed(
        "broadcast to `255.255.255.255`", "EPERM", "in `@multicast`",
    ) => || to_all("255.255.255.255");
    subnet_broadcast: closed(
        "the network's broadcast address", "EPERM",
        "an address like others",
    ) => || to_all("203.0.113.255");
    multicast: closed(
        "multicast, as mDNS: `224.0.0.251`, `ff02::fb`", "EPERM",
        "in `@multicast`",
    ) => || Ok(either(to_all("224.0.0.251")?, to_all("ff02::fb%prod0")?));
    device: closed(
        "loopback by another device (`SO_BINDTODEVICE`)", "EPERM",
        "egress",
    ) => || elsewhere("device");
    unicast_interface: closed(
        "the same by `IP_UNICAST_IF`", "",
        "egress",
    ) => || elsewhere("unicast-if");
}

fn mapped(kind: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    place.denied(&Attempt::new(kind, &place.v4, port), &place.v4)
}

/// An IPv4 address of production within an IPv6 one, by TCP and by UDP.
fn embedded(form: impl Fn(u8) -> String) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let to = form(place.at);
    let tcp = place.unlisted(&Attempt::tcp(&to, 443), &to)?;
    Ok(either(tcp, place.unlisted(&Attempt::udp(&to, 53), &to)?))
}

fn under_default(form: impl Fn(u8) -> String) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let to = form(place.at);
    place.scene.tried("default", &Attempt::tcp(&to, 443), &to)
}

fn as_number() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let tried = |form: String| {
        let attempt = Attempt::new("named", &place.v4, 443).other(&form);
        place.denied(&attempt, &place.v4)
    };
    let number = tried(format!("{}", 0xc000_0200_u32 + u32::from(place.at)))?;
    let octal = tried(format!("0300.0.02.0{:o}", place.at))?;
    let hexadecimal = tried(format!("0xc00002{:02x}", place.at))?;
    Ok(either(number, either(octal, hexadecimal)))
}

fn by_name() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let file = scene.daemon.dir().join("hosts");
    fs::write(&file, format!("{to} harmless.example\n"))?;
    let attempt = Attempt::new("named", to, 443).other("harmless.example");
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let mut without = scene.daemon.on_machine(AGENT, &probe);
    without.args(attempt.args());
    let run = scene.daemon.agent(["run", "--policy", "denied", "--"]);
    let with = run.args([probe]).args(attempt.args()).hosts(&file);
    Ok(Tried {
        with: scene.came(to, || Report::of(&mut with.command()?))?,
        without: scene.without(to, || {
            Report::of(&mut guard_lab::mounts::with_hosts(&without, &file))
        })?,
    })
}

/// A server on loopback, outside of the session, whom a policy without loopback denies.
fn this_host(form: &str, listens_at: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (dev, daemon) = (place.scene.network.dev(), &place.scene.daemon);
    let probe = bins::for_everybody("guard-lab", daemon.tag())?;
    let tried = |run: &dyn Fn(&Attempt) -> Result<Report>| -> Result<Came> {
        let mut server = dev.command_as(AGENT, &probe);
        let listen = Attempt::new("listen", listens_at, 0);
        let mut server = Running::start(server.args(listen.args()))?;
        let line: Value = serde_json::from_str(&server.line(PATIENCE)?)?;
        let port = u16::try_from(line["listening"].as_u64().unwrap_or_default())?;
        let report = run(&Attempt::tcp(form, port))?;
        Ok(Came::of(&report, report.ok.then(|| report.detail.clone())))
    };
    Ok(Tried {
        with: tried(&|attempt| attempt.under(daemon, "listed"))?,
        without: tried(&|attempt| attempt.outside(dev, AGENT))?,
    })
}

fn to_all(to: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    // Nothing else in this suite sends there.
    let seen = to.split('%').next().unwrap_or(to);
    place.unlisted(
        &Attempt::new("broadcast", to, 5000 + u16::from(place.at)),
        seen,
    )
}

fn elsewhere(kind: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let v4 = format!("127.0.0.{}", place.at);
    let v4 = place.denied(&Attempt::new(kind, &v4, 53), &v4)?;
    Ok(either(
        v4,
        place.denied(&Attempt::new(kind, "::1", 53), "::1")?,
    ))
}
