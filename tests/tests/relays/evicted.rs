//! Open connections to listeners that guardd has evicted, or that others have replaced at their port, where these connect elsewhere later.

use guard_lab::{Shell, Tested};

use super::scene::{DENIED, RelayScene, ToldRelay, tcp};

/// The outermost sessions of a flood, and the listeners that each connects to: together more than guardd knows at once. Each session has
/// few of those at a time, so that one with a client that says nothing new is soon the least recently used of its own.
const SESSIONS: u16 = 16;
const LISTENERS: u16 = 160;
const FIRST: u16 = 20_000;

/// Sees that a kept connection stalls, and that nothing passes on it any more once its relay has connected to what is denied. Nobody is told
/// of that: guardd does not know the relay any more.
fn passes_nothing_more(scene: &RelayScene, shell: &mut Shell, relay: &mut ToldRelay) -> Tested {
    shell.line_with("stalled")?;
    relay.dial(DENIED)?;
    ends(shell)?;
    assert!(!scene.says_denied(DENIED)?, "the relay was known still");
    Ok(())
}

/// Sees that a connection that has stalled ends, without another byte.
fn ends(shell: &mut Shell) -> Tested {
    shell.tell("")?;
    let ended = shell.line_with("ended")?;
    assert!(!ended.contains("passed"), "{ended}");
    Ok(())
}

/// Before a session connects to the one that has its port, a scan of the first finds that one's process.
#[test]
fn a_connection_to_a_closed_listener_is_judged_by_what_its_relay_connects_to_once_another_has_its_port()
-> Tested {
    let scene = RelayScene::new()?;
    let mut relay = scene.told(5432, &[])?;
    let mut shell = scene.shell("asks")?;
    scene.keep(&mut shell, 5432)?;
    relay.close()?;
    let _server = scene.server("127.0.0.1", 5432)?;
    // A session under another policy has all of them scanned again; so they are once it gets to one that is new.
    let _other = scene.server("127.0.0.1", 5433)?;
    let mut other = scene.shell("reads")?;
    assert!(other.reaches(&tcp("127.0.0.1", 5433))?);
    relay.gets_more()?;
    relay.dial(DENIED)?;
    shell.line_with("stalled")?;
    ends(&mut shell)
}

/// The relay that the client's connection got counts, and not the one that has its port. Nobody has to answer before the client is told.
#[test]
fn a_held_write_is_judged_by_what_its_relay_connects_to_once_another_has_its_port() -> Tested {
    let scene = RelayScene::new()?;
    let _watcher = scene.watcher()?;
    let mut relay = scene.told(7080, &["http"])?;
    let mut shell = scene.shell("reads")?;
    scene.write(&mut shell)?;
    let id = scene.held()?;
    scene.daemon.root(["approve", &id]).run()?.success()?;
    let passed = shell.line_with("ended")?;
    assert!(passed.contains("status 200"), "{passed}");
    scene.write(&mut shell)?;
    scene.held()?;
    relay.close()?;
    let _server = scene.server("127.0.0.1", 7080)?;
    // That one is scanned, and has taken the relay's place.
    let mut other = scene.shell("asks")?;
    assert!(other.reaches(&tcp("127.0.0.1", 7080))?);
    relay.dial(DENIED)?;
    let ended = shell.line_with("ended")?;
    assert!(ended.contains("nothing may pass there any more"), "{ended}");
    Ok(())
}

/// Whoever connects to very many listeners has guardd evict the relay that it is connected to.
#[test]
#[ignore = "it takes half a minute"]
fn a_flood_of_listeners_gets_nothing_through_a_relay() -> Tested {
    let scene = RelayScene::new()?;
    let _many = scene.many(FIRST, usize::from(SESSIONS * LISTENERS))?;
    let mut relay = scene.told(5432, &[])?;
    let _server = scene.told(7080, &["http"])?;
    let mut shells = Vec::new();
    for nth in 0..SESSIONS {
        let mut shell = scene.shell("reads")?;
        scene.flood(&mut shell, FIRST + nth * LISTENERS, usize::from(LISTENERS))?;
        shells.push(shell);
    }
    let [keeper, reader, ..] = shells.as_mut_slice() else {
        unreachable!("there are more sessions");
    };
    scene.keep(keeper, 5432)?;
    scene.read_on(reader)?;
    scene.let_flood()?;
    passes_nothing_more(&scene, keeper, &mut relay)?;
    reader.line_with("ended")?;
    Ok(())
}
