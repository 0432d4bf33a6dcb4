//! WebSockets: anything can be sent through one, so its beginning is what a person is asked about.

use crate::clients::scene::{ClientScene, PATIENCE, url};
use crate::clients::server::Server;
use guard_lab::Tested;

pub(crate) const PORT: u16 = 8765;

#[test]
fn a_websocket_waits_for_a_yes_and_then_goes_both_ways() -> Tested {
    let scene = ClientScene::new("")?;
    let server = Server::python(&scene, "echo.py", &[], PORT)?;
    waits_and_goes_both_ways(&scene, server, &url(PORT, "/live"))?;
    Ok(())
}

/// By a server that is to be come to by this URL.
pub(crate) fn waits_and_goes_both_ways(
    scene: &ClientScene,
    mut server: Server,
    url: &str,
) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let at = url.replacen("http", "ws", 1);
    let talk = format!("/usr/bin/python3 $PROGRAMS/talk.py {at}");
    let said = "told one\ntold two\ntold 1000000\nbytes\n";
    assert_eq!(without.run(&talk)?.ok(), said);
    server.lines.line_with("opened", PATIENCE)?;
    server.lines.line_with("got 256", PATIENCE)?;

    let stopped = agent.run(&talk)?;
    stopped.stopped();
    assert_ne!(stopped.code, 0);
    assert_eq!(scene.asked()?, ["GET /live"]);
    // The next that production hears of is the one that a person has seen.
    scene.say_yes()?;
    assert_eq!(agent.run(&talk)?.ok(), said);
    assert_eq!(server.lines.line(PATIENCE)?, "opened");
    server.lines.line_with("got 256", PATIENCE)?;
    // Or sees, while it waits.
    assert_eq!(agent.run_with_yes(&talk, &["GET /live"])?.ok(), said);
    assert_eq!(server.lines.line(PATIENCE)?, "opened");
    agent.run(&talk)?.stopped();
    Ok(())
}
