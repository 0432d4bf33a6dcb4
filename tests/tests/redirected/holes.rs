//! Holes for reads: what is to be confirmed is redirected to the proxy while one is open.

use guard_common::Verdict;
use guard_datapath::{Object, Start};
use guard_lab::{AGENT, Attempt, Production, Tested};

use crate::half::before;
use crate::redirected::scene::{KernelHalf, PATIENCE, Proxy, READ};

#[test]
fn what_is_to_be_confirmed_is_redirected_while_it_is_open() -> Tested {
    let mut scene = KernelHalf::new()?;
    let production = Production::start(&scene.network)?;
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    scene.set(Verdict::Confirm, Verdict::Deny)?;
    let tcp = |to| Attempt::tcp(to, 443);
    assert_eq!(
        scene.attempt(&tcp(READ[0]))?.errno.as_deref(),
        Some("EPERM")
    );
    let hole = scene.open(None, true)?;
    for to in READ {
        assert!(scene.attempt(&tcp(to))?.ok, "{to}");
        let origin = proxy.client()?.taken[0].unwrap();
        assert_eq!((origin.port, origin.session), (443, scene.session.id));
    }
    for kind in ["udp-send", "udp-connect", "ping"] {
        assert!(
            !scene.attempt(&Attempt::new(kind, READ[0], 443))?.ok,
            "{kind}"
        );
    }
    // It is that session's.
    let other = scene.other.clone();
    let report = scene.attempt_as_root(&other, &tcp(READ[0]))?;
    assert_eq!(report.errno.as_deref(), Some("EPERM"));
    // What is denied stays so.
    scene.set(Verdict::Deny, Verdict::Deny)?;
    assert_eq!(
        scene.attempt(&tcp(READ[0]))?.errno.as_deref(),
        Some("EPERM")
    );
    scene.set(Verdict::Confirm, Verdict::Deny)?;

    // Where it ends, the packets do, whether or not anybody cuts the connection.
    let mut held = scene.begin(&Attempt::new("hold-open", READ[0], 443))?;
    held.line_with("echo", PATIENCE)?;
    proxy.client()?;
    let another = scene.open(None, true)?;
    scene.close(hole)?;
    held.line_with("\"ok\":false", PATIENCE)?;
    // New ones go by the other.
    assert!(scene.attempt(&tcp(READ[0]))?.ok);
    proxy.client()?;
    scene.close(another)?;
    assert_eq!(
        scene.attempt(&tcp(READ[0]))?.errno.as_deref(),
        Some("EPERM")
    );
    assert!(proxy.is_alone());
    assert!(production.reached_at(READ[0], 443)?.is_empty());
    assert!(tcp(READ[0]).outside(scene.network.dev(), AGENT)?.ok);
    Ok(())
}

#[test]
fn connections_are_counted_where_they_are_redirected() -> Tested {
    let mut scene = KernelHalf::new()?;
    let production = Production::start(&scene.network)?;
    scene.set(Verdict::Confirm, Verdict::Deny)?;
    scene.open(Some(1), true)?;
    let tcp = Attempt::tcp(READ[0], 443);
    // No proxy: none is taken.
    assert_eq!(scene.attempt(&tcp)?.errno.as_deref(), Some("EPERM"));
    assert_eq!(scene.left()?, [Some(1)]);
    assert!(!scene.attempt(&Attempt::udp(READ[0], 443))?.ok);
    assert_eq!(scene.left()?, [Some(1)]);
    // Nor where reads pass without.
    let proxy = Proxy::start(&mut scene)?;
    scene.redirect_to(&proxy)?;
    scene.set(Verdict::ReadOnly, Verdict::Deny)?;
    assert!(scene.attempt(&tcp)?.ok);
    assert_eq!(scene.left()?, [Some(1)]);
    scene.set(Verdict::Confirm, Verdict::Deny)?;
    // Many packets are one connection.
    let mut held = scene.begin(&Attempt::new("hold-open", READ[0], 443))?;
    for _ in 0..5 {
        held.line_with("echo", PATIENCE)?;
    }
    assert_eq!(scene.left()?, [Some(0)]);
    assert_eq!(scene.attempt(&tcp)?.errno.as_deref(), Some("EPERM"));
    held.line_with("echo", PATIENCE)?;
    // One for all comes first, and takes nothing from it.
    scene.open(Some(1), false)?;
    assert!(scene.attempt(&tcp)?.ok);
    assert_eq!(scene.left()?, [Some(0), Some(0)]);
    assert!(!production.reached_at(READ[0], 443)?.is_empty());
    Ok(())
}

#[test]
fn they_go_on_over_an_upgrade_and_a_downgrade() -> Tested {
    let (before, today) = (before::kernel_half(), Object::built_in());
    let mut scene = KernelHalf::with(&before)?;
    let production = Production::start(&scene.network)?;
    scene.set(Verdict::Confirm, Verdict::Deny)?;
    let first = scene.open(Some(4), true)?;
    let tcp = Attempt::tcp(READ[0], 443);
    for (left, next) in [(4, &today), (3, &before), (2, &today)] {
        assert_eq!(scene.left()?, [Some(left)]);
        let proxy = Proxy::start(&mut scene)?;
        scene.redirect_to(&proxy)?;
        assert!(scene.attempt(&tcp)?.ok);
        // The half before names a connection by less, by which today's proxy takes none.
        let is_todays = std::ptr::eq(next, &raw const before);
        assert_eq!(proxy.client()?.taken[0].is_some(), is_todays);
        // It is for reads alone, no matter who has the programs.
        assert!(!scene.attempt(&Attempt::udp(READ[0], 443))?.ok);
        assert_eq!(scene.left()?, [Some(left - 1)]);
        assert_eq!(scene.start_again(next)?, Start::Replaced);
        assert_eq!(scene.attempt(&tcp)?.errno.as_deref(), Some("EPERM"));
    }
    scene.close(first)?;
    assert!(production.reached_at(READ[0], 443)?.is_empty());
    assert!(tcp.outside(scene.network.dev(), AGENT)?.ok);
    Ok(())
}
