//! Connections to a port that may only be read from, whose first packet comes long after `connect`.

use guard_lab::Tested;

use super::scene::{PATIENCE, RelayScene};

/// By what its `connect` found it was redirected; what the proxy would connect to by now nobody has scanned.
#[test]
fn a_connection_that_begins_late_gets_no_listener_but_that_of_its_connect() -> Tested {
    for had_listener in [true, false] {
        let scene = RelayScene::new()?;
        let mut outside = scene.late()?;
        let first = scene.told(7080, &["http"])?;
        outside.write("\n")?;
        let ended = outside.line_with("ended", PATIENCE)?;
        assert!(ended.contains("answered"), "without the guard: {ended}");
        let mut shell = scene.shell("reads")?;
        scene.connect_late(&mut shell)?;
        shell.tell("")?;
        let ended = shell.line_with("ended")?;
        assert!(ended.contains("answered"), "the same one: {ended}");
        if had_listener {
            scene.connect_late(&mut shell)?;
            drop(first);
        } else {
            drop(first);
            scene.connect_late(&mut shell)?;
        }
        let _second = scene.told(7080, &["http"])?;
        shell.tell("")?;
        let ended = shell.line_with("ended")?;
        assert!(!ended.contains("answered"), "{had_listener}: {ended}");
        // Whoever connects by now gets it.
        scene.connect_late(&mut shell)?;
        shell.tell("")?;
        let ended = shell.line_with("ended")?;
        assert!(ended.contains("answered"), "the second one: {ended}");
    }
    Ok(())
}
