//! What takes its time: events, bodies that wait to be wanted, trailers.

use crate::clients::scene::{ClientScene, HOST, PATIENCE, url};
use crate::clients::server::Server;
use guard_lab::Tested;

pub(crate) const PORT: u16 = 8090;

pub(crate) fn scene() -> Tested<(ClientScene, Server)> {
    let scene = ClientScene::new("")?;
    let server = Server::python(&scene, "streams.py", &[], PORT)?;
    Ok((scene, server))
}

#[test]
fn each_event_arrives_before_the_next_is_sent() -> Tested {
    let (scene, _server) = scene()?;
    each_event_arrives(&scene, |path| url(PORT, path))?;
    Ok(())
}

/// Somebody asks for events, and for the next one by another connection.
pub(crate) fn each_event_arrives(scene: &ClientScene, at: impl Fn(&str) -> String) -> Tested {
    let mut agent = scene.agent()?;
    agent.tell(&format!("curl -sSN {} &", at("/events")))?;
    for number in 1..=3 {
        agent.line_with(&format!("data: event {number}"))?;
        agent.tell(&format!("curl -sS -o next {}", at("/next")))?;
    }
    agent.tell("wait $!; echo ended with $?")?;
    agent.line_with("ended with 0")?;
    Ok(())
}

#[test]
fn trailers_of_an_answer_arrive() -> Tested {
    let (scene, _server) = scene()?;
    let line = format!(
        "curl -sS -H 'TE: trailers' -H 'Connection: TE' -D - {} | grep -v ^Date:",
        url(PORT, "/trailers")
    );
    let expected = scene.unguarded()?.run(&line)?.ok();
    assert!(expected.contains("X-Sum: 42"), "{expected}");
    // Names are compared as they are not written: HTTP does not tell their cases apart.
    let lower = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_lowercase).collect();
        lines.sort();
        lines
    };
    let got = scene.agent()?.run(&line)?.ok();
    assert_eq!(lower(&got), lower(&expected));
    Ok(())
}

#[test]
fn a_body_that_waits_to_be_wanted_is_not_sent_before_a_yes() -> Tested {
    let (scene, mut server) = scene()?;
    scene.write("small", b"small\n")?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let line = format!(
        "curl -sS -w '%{{http_code}}' -H 'Expect: 100-continue' --expect100-timeout 30 --data-binary @small {}",
        url(PORT, "/upload")
    );
    let expected = without.run(&line)?.ok();
    assert!(expected.ends_with("200"), "{expected}");
    server.lines.line_with("POST /upload", PATIENCE)?;
    agent.run(&line)?.stopped();
    assert_eq!(scene.asked()?, ["POST /upload"]);
    assert_eq!(agent.run_with_yes(&line, &["POST /upload"])?.ok(), expected);
    assert_eq!(server.lines.line(PATIENCE)?.split(' ').next(), Some("POST"));
    Ok(())
}

/// A request in chunks of which the second comes a while after the first, with a trailer.
#[test]
fn what_is_sent_bit_by_bit_arrives_so_once_allowed() -> Tested {
    let scene = ClientScene::new(
        "[[rule.http]]\nmethod = [\"POST\"]\npath = \"/bits\"\naction = \"allow\"\n",
    )?;
    let _server = Server::python(&scene, "streams.py", &[], PORT)?;
    let mut agent = scene.agent()?;
    // It has connections of its own (/dev/tcp).
    agent.tell("exec bash -c 'echo in bash; exec bash'")?;
    agent.line_with("in bash")?;
    agent.tell(&format!("exec 3<>/dev/tcp/{HOST}/{PORT}; cat <&3 &"))?;
    let head = "POST /bits HTTP/1.1\\r\\nHost: photos\\r\\nContent-Type: text/x\\r\\nTransfer-Encoding: chunked\\r\\nTrailer: X-Sum\\r\\n\\r\\n";
    agent.tell(&format!("printf '{head}4\\r\\none\\n\\r\\n' >&3"))?;
    agent.line_with("chunk one")?;
    agent.tell("printf '4\\r\\ntwo\\n\\r\\n' >&3")?;
    agent.line_with("chunk two")?;
    agent.tell("printf '0\\r\\nX-Sum: 42\\r\\n\\r\\n' >&3")?;
    let trailer = agent.line_with("trailer")?.to_lowercase();
    assert_eq!(trailer.trim(), "trailer x-sum: 42");
    Ok(())
}
