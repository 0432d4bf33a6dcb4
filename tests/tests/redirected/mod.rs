//! Connections to read-only destinations are redirected to a proxy on the loopback of their network namespace, which learns
//! where they were going.

mod holes;
pub(crate) mod scene;

use crate::half::before;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;

use aya::maps::{HashMap, Map, MapData};
use guard_common::{OriginKey, Reason, Verdict};
use guard_datapath::{Object, Start};
use guard_lab::{AGENT, Attempt, OPEN, Production, Tested};
use guard_sys::bpf::Origins;
use scene::{KernelHalf, PATIENCE, Proxy, READ};
use zerocopy::IntoBytes as _;

/// What the probe says of the peer that it has.
fn peer(of: &str) -> Tested<String> {
    Ok(std::net::SocketAddr::new(of.parse()?, 443).to_string())
}

#[test]
fn the_proxy_is_reached_in_place_of_a_read_only_destination() -> Tested {
    let mut scene = KernelHalf::new()?;
    let production = Production::start(&scene.network)?;
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    for to in READ {
        let attempt = Attempt::new("peer", to, 443);
        let report = scene.attempt(&attempt)?;
        assert!(report.ok, "{to}: {report:?}");
        assert_eq!(
            report.detail,
            peer(to)?,
            "the program sees what it asked for"
        );
        let client = proxy.client()?;
        assert!(client.peer.ip().is_loopback(), "{client:?}");
        let [origin, again] = client.taken;
        let origin = origin.unwrap();
        let asked: IpAddr = to.parse::<IpAddr>()?.to_canonical();
        assert_eq!(origin.destination.to_ip(), asked);
        assert_eq!((origin.port, origin.session), (443, scene.session.id));
        assert_ne!(origin.at.0, 0);
        assert_eq!(again, None, "it is told once");
        assert!(production.reached_at(&asked.to_string(), 443)?.is_empty());
        // Without the guard.
        let outside = attempt.outside(scene.network.dev(), AGENT)?;
        assert_eq!((outside.ok, outside.detail), (true, peer(to)?));
        assert!(!production.reached_at(&asked.to_string(), 443)?.is_empty());
        assert!(proxy.is_alone());
    }
    // What is allowed goes its way.
    let report = scene.attempt(&Attempt::new("peer", OPEN, 443))?;
    assert_eq!((report.ok, report.detail), (true, peer(OPEN)?));
    assert!(!production.reached_at(OPEN, 443)?.is_empty());
    assert!(proxy.is_alone());
    Ok(())
}

#[test]
fn every_way_to_begin_a_connection_is_redirected() -> Tested {
    let mut scene = KernelHalf::new()?;
    let production = Production::start(&scene.network)?;
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    for kind in ["tcp", "mapped", "fastopen", "mptcp"] {
        let report = scene.attempt(&Attempt::new(kind, READ[0], 80))?;
        assert!(report.ok, "{kind}: {report:?}");
        let origin = proxy.client()?.taken[0].unwrap();
        assert_eq!(origin.destination.to_ip().to_string(), READ[0], "{kind}");
        assert_eq!(origin.port, 80, "{kind}");
    }
    assert!(production.reached_at(READ[0], 80)?.is_empty());
    Ok(())
}

#[test]
fn without_a_proxy_it_is_refused() -> Tested {
    let mut scene = KernelHalf::new()?;
    let production = Production::start(&scene.network)?;
    let proxy = Proxy::start(&mut scene)?;
    let is_refused = |scene: &KernelHalf, attempt: &Attempt| -> Tested<_> {
        let report = scene.attempt(attempt)?;
        Ok(report.errno.as_deref() == Some("EPERM") && report.detail.starts_with("connect"))
    };
    let tcp = Attempt::tcp(READ[0], 443);
    assert!(is_refused(&scene, &tcp)?);
    let session = scene.session.clone();
    assert_eq!(scene.refused(&session, READ[0], 443)?, [Verdict::ReadOnly]);
    // That of another network namespace is none.
    let elsewhere = guard_common::NetnsCookie(proxy.netns.0 + 1);
    let port = proxy.port;
    scene
        .datapath()
        .set_proxy(elsewhere, port, &proxy.listeners)?;
    assert!(is_refused(&scene, &tcp)?);
    scene.redirect_to(&proxy)?;
    let mut both = scene.datapath().proxies()?;
    both.sort();
    assert_eq!(both, [(proxy.netns, proxy.port), (elsewhere, proxy.port)]);
    assert!(scene.attempt(&tcp)?.ok);
    proxy.client()?;
    // It speaks TCP alone. Whoever connects by UDP has sent nothing yet.
    for (kind, step) in [("udp-connect", "send"), ("udp-send", "sendto")] {
        let report = scene.attempt(&Attempt::new(kind, READ[0], 443))?;
        assert_eq!(report.errno.as_deref(), Some("EPERM"), "{kind}");
        assert!(report.detail.starts_with(step), "{kind}: {report:?}");
    }
    scene.datapath().clear_proxy(proxy.netns)?;
    assert!(is_refused(&scene, &tcp)?);
    assert!(production.reached_at(READ[0], 443)?.is_empty());
    assert!(proxy.is_alone());
    Ok(())
}

#[test]
fn a_policy_that_changes_holds_for_what_was_redirected() -> Tested {
    let mut scene = KernelHalf::new()?;
    let session = scene.session.clone();
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    for (reads, goes_on) in [
        (Verdict::ReadOnly, true),
        (Verdict::Allow, true),
        (Verdict::Confirm, false),
        (Verdict::Deny, false),
    ] {
        scene.set(Verdict::ReadOnly, Verdict::Deny)?;
        let mut held = scene.begin(&Attempt::new("hold-open", READ[0], 443))?;
        held.line_with("echo", PATIENCE)?;
        scene.set(reads, Verdict::Deny)?;
        if goes_on {
            for _ in 0..20 {
                held.line_with("echo", PATIENCE)?;
            }
            assert!(scene.refused(&session, READ[0], 443)?.is_empty());
            continue;
        }
        let end = held.line_with("\"ok\"", PATIENCE)?;
        assert!(end.contains("receive") || end.contains("send"), "{end}");
        // It is refused what it asked for, not the proxy.
        let refused = scene.refused(&session, READ[0], 443)?;
        assert!(refused.contains(&reads), "{reads:?}: {refused:?}");
        assert!(
            scene
                .refused(&session, "127.0.0.1", proxy.port.get())?
                .is_empty()
        );
    }
    Ok(())
}

#[test]
fn a_proxy_that_goes_takes_its_connections_with_it() -> Tested {
    let mut scene = KernelHalf::new()?;
    let proxy = Proxy::start(&mut scene)?;
    let tcp = Attempt::tcp(READ[0], 443);
    for adopted in [false, true] {
        scene.redirect_to(&proxy)?;
        let mut held = scene.begin(&Attempt::new("hold-open", READ[0], 443))?;
        held.line_with("echo", PATIENCE)?;
        if adopted {
            // Nobody knows what has become of it meanwhile.
            assert_eq!(scene.start_again(&Object::built_in())?, Start::Adopted);
        } else {
            scene.datapath().clear_proxy(proxy.netns)?;
        }
        assert!(scene.datapath().proxies()?.is_empty());
        held.line_with("\"ok\":false", PATIENCE)?;
        assert_eq!(scene.attempt(&tcp)?.errno.as_deref(), Some("EPERM"));
    }
    // Another takes its place.
    scene.redirect_to(&proxy)?;
    let mut held = scene.begin(&Attempt::new("hold-open", READ[0], 443))?;
    held.line_with("echo", PATIENCE)?;
    let next = Proxy::start(&mut scene)?;
    scene.redirect_to(&next)?;
    held.line_with("\"ok\":false", PATIENCE)?;
    assert!(scene.attempt(&tcp)?.ok);
    assert!(next.client()?.taken[0].is_some());
    Ok(())
}

#[test]
fn who_has_the_port_of_a_proxy_that_is_gone_is_not_reached() -> Tested {
    let mut scene = KernelHalf::new()?;
    // It listens where the map says that there is a proxy, as whoever comes after one that was killed.
    let somebody = Proxy::that_does_not_ask(&scene)?;
    let (netns, port) = (somebody.netns, somebody.port);
    let none: &[TcpListener] = &[];
    scene.datapath().set_proxy(netns, port, none)?;
    let session = scene.session.clone();
    for (attempt, to) in [("tcp", READ[0]), ("tcp", READ[1]), ("mapped", "192.0.2.20")] {
        let report = scene.attempt(&Attempt::new(attempt, to, 443))?;
        assert_eq!(report.errno.as_deref(), Some("EPERM"), "{to}: {report:?}");
        assert_eq!(scene.refused(&session, to, 443)?, [Verdict::ReadOnly]);
    }
    assert!(somebody.is_alone());
    // With one of the listeners, the family of that one.
    let [v4, _] = &somebody.listeners;
    scene.datapath().set_proxy(netns, port, &[v4])?;
    assert!(scene.attempt(&Attempt::tcp(READ[0], 443))?.ok);
    assert!(scene.attempt(&Attempt::new("mapped", READ[0], 443))?.ok);
    let v6 = scene.attempt(&Attempt::tcp(READ[1], 443))?;
    assert_eq!(v6.errno.as_deref(), Some("EPERM"));
    Ok(())
}

#[test]
fn a_socket_that_is_connected_anew_goes_where_it_asks() -> Tested {
    let mut scene = KernelHalf::new()?;
    let production = Production::start(&scene.network)?;
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    let report = scene.attempt(&Attempt::new("peer", OPEN, 443).other(READ[0]))?;
    assert_eq!((report.ok, report.detail), (true, peer(OPEN)?));
    assert!(!production.reached_at(OPEN, 443)?.is_empty());
    assert_eq!(proxy.client()?.taken[0].unwrap().port, 443);
    assert!(proxy.is_alone());
    // And back.
    let report = scene.attempt(&Attempt::new("peer", READ[0], 443).other(OPEN))?;
    assert_eq!((report.ok, report.detail), (true, peer(READ[0])?));
    assert!(proxy.client()?.taken[0].is_some());
    assert!(production.reached_at(READ[0], 443)?.is_empty());
    Ok(())
}

/// Whether the kernel has noted where a client with that port was going.
fn is_noted(scene: &mut KernelHalf, proxy: &Proxy, from: IpAddr, port: u16) -> Tested<bool> {
    let map = MapData::from_fd(scene.datapath().origins()?)?;
    let map: HashMap<_, [u8; 32], [u8; 40]> = match Map::from_map_data(map)? {
        map @ Map::LruHashMap(_) => map.try_into()?,
        other => panic!("{other:?}"),
    };
    let key = OriginKey::new(proxy.netns, from.into(), port, proxy.port.get());
    Ok(map.get(&key.as_bytes().try_into()?, 0).is_ok())
}

#[test]
fn two_connections_from_one_port_are_told_apart_by_their_listeners() -> Tested {
    let mut scene = KernelHalf::new()?;
    let workers = [(); 2].map(|()| Proxy::that_does_not_ask(&scene));
    let [proxy, resolver] = workers;
    let (proxy, resolver) = (proxy?, resolver?);
    scene.redirect_to(&proxy)?;
    scene.redirect_questions_to(&resolver)?;
    let origins = Origins::new(scene.datapath().origins()?)?;
    let (mine, theirs) = (scene.session.clone(), scene.other.clone());
    let destinations = [
        (READ[0], 443, &proxy, Reason::REDIRECTED),
        (OPEN, 53, &resolver, Reason::QUESTION),
    ];
    let mut from = 4100;
    for second in [&mine, &theirs] {
        for order in [[0, 1], [1, 0]] {
            from += 1;
            for (nth, session) in order.into_iter().zip([&mine, second]) {
                let (to, port, ..) = destinations[nth];
                let attempt = Attempt::new("from", to, port).other(&from.to_string());
                let report = scene.attempt_in(session, &attempt)?;
                assert!(report.ok, "{to}:{port}: {report:?}");
            }
            // Neither worker has taken its entry yet.
            for (nth, session) in order.into_iter().zip([&mine, second]) {
                let (to, port, worker, reason) = destinations[nth];
                let client = worker.client()?.peer;
                assert_eq!(client.port(), from);
                let key = OriginKey::new(proxy.netns, client.ip().into(), from, worker.port.get());
                let origin = origins.take(&key)?.unwrap();
                let told = (origin.destination.to_ip(), origin.port, origin.session);
                assert_eq!(told, (to.parse::<IpAddr>()?, port, session.id), "{order:?}");
                assert_eq!(origin.reason, reason);
            }
        }
    }
    Ok(())
}

#[test]
fn who_asks_for_the_proxy_itself_is_not_taken_for_another() -> Tested {
    let mut scene = KernelHalf::new()?;
    let proxy = Proxy::that_does_not_ask(&scene)?;
    scene.redirect_to(&proxy)?;
    let port = proxy.port.get();
    for (localhost, to, from) in [("127.0.0.1", READ[0], 4001), ("::1", READ[1], 4002)] {
        let ip: IpAddr = localhost.parse()?;
        scene.set(Verdict::ReadOnly, Verdict::Deny)?;
        let redirected = Attempt::new("from", to, 443).other(&from.to_string());
        assert!(scene.attempt(&redirected)?.ok);
        assert_eq!(proxy.client()?.peer, (ip, from).into());
        assert!(is_noted(&mut scene, &proxy, ip, from)?);
        // It is nobody's destination, whatever the policies say of it.
        let itself = Attempt::new("from", localhost, port).other(&from.to_string());
        assert_eq!(scene.attempt(&itself)?.errno.as_deref(), Some("EPERM"));
        assert!(is_noted(&mut scene, &proxy, ip, from)?);
        for verdict in [Verdict::ReadOnly, Verdict::Allow] {
            scene.set(Verdict::ReadOnly, verdict)?;
            assert_eq!(scene.attempt(&itself)?.errno.as_deref(), Some("EPERM"));
        }
        assert!(proxy.is_alone());
    }
    Ok(())
}

#[test]
fn a_socket_of_one_session_that_another_connects_is_refused() -> Tested {
    let mut scene = KernelHalf::new()?;
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    let (session, other) = (scene.session.clone(), scene.other.clone());
    let moved = |to: &PathBuf| Attempt::new("moved", READ[0], 443).other(to.to_str().unwrap());
    let report = scene.attempt_as_root(&session, &moved(&other.path))?;
    assert!(
        !report.ok && report.detail.starts_with("connect"),
        "{report:?}"
    );
    assert!(proxy.is_alone());
    // Egress is where it is stopped, by the session that the socket was made in.
    assert_eq!(scene.refused(&session, READ[0], 443)?, [Verdict::Deny]);
    assert!(scene.refused(&other, READ[0], 443)?.is_empty());
    // It is not the going that is in its way.
    let report = scene.attempt_as_root(&other, &moved(&other.path))?;
    assert!(report.ok, "{report:?}");
    assert_eq!(proxy.client()?.taken[0].unwrap().session, other.id);
    Ok(())
}

#[test]
fn an_upgrade_and_a_downgrade_refuse_what_was_redirected_until_there_is_another_proxy() -> Tested {
    let (before, today) = (before::kernel_half(), Object::built_in());
    let mut scene = KernelHalf::with(&before)?;
    let production = Production::start(&scene.network)?;
    let tcp = Attempt::tcp(READ[0], 443);
    for next in [&today, &before, &today] {
        assert!(scene.datapath().proxies()?.is_empty());
        assert_eq!(scene.attempt(&tcp)?.errno.as_deref(), Some("EPERM"));
        let proxy = Proxy::start(&mut scene)?;
        scene.redirect_to(&proxy)?;
        let mut held = scene.begin(&Attempt::new("hold-open", READ[0], 443))?;
        held.line_with("echo", PATIENCE)?;
        // The half before names a connection by less, by which today's proxy takes none.
        let is_todays = std::ptr::eq(next, &raw const before);
        assert_eq!(proxy.client()?.taken[0].is_some(), is_todays);
        assert_eq!(scene.start_again(next)?, Start::Replaced);
        held.line_with("\"ok\":false", PATIENCE)?;
        assert!(scene.attempt(&Attempt::tcp(OPEN, 443))?.ok);
    }
    assert!(production.reached_at(READ[0], 443)?.is_empty());
    assert!(tcp.outside(scene.network.dev(), AGENT)?.ok);
    Ok(())
}
