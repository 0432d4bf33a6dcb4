//! What is not as the RFCs have it, and works nevertheless: answers of servers, and queries of clients.

use guard_lab::{Tested, eventually};

use crate::clients::files::{self, Files, curl};
use crate::clients::scene::{ClientScene, url};
use crate::clients::server::Server;

const PORT: u16 = 8084;

/// How servers answer, with the status that curl tells.
const ANSWERS: [(&str, &str); 10] = [
    ("/blanks", "200"),
    ("/colon", "200"),
    ("/extensions", "200"),
    ("/twice", "200"),
    ("/both", "200"),
    ("/lf", "200"),
    ("/folded", "200"),
    ("/nothing", "204"),
    ("/many", "200"),
    ("/status", "999"),
];

#[test]
fn answers_that_curl_takes_are_the_same_with_the_guard() -> Tested {
    let scene = ClientScene::new("")?;
    let _server = Server::python(&scene, "odd.py", &[], PORT)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for (path, status) in ANSWERS {
        let line = format!(
            "curl -sS -m 60 -w '%{{http_code}} %header{{x-folded}}\\n' {}",
            url(PORT, path)
        );
        let expected = without.run(&line)?;
        let code = format!("{status} ");
        assert!(expected.text.contains(&code), "{path}: {expected:?}");
        assert_eq!(agent.run(&line)?, expected, "{path}");
    }
    Ok(())
}

/// RFC 3986 has these percent-encoded, and curl sends what it is given.
#[test]
fn queries_that_curl_sends_as_they_are_typed_arrive_encoded() -> Tested {
    let scene = ClientScene::new("[[rule.http]]\nquery = \"*q=\\\"no\\\"*\"\naction = \"deny\"\n")?;
    let files = Files::start(&scene)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let at = |query: &str| curl(&format!("-g '{}?{query}'", url(files::PORT, "/photo.txt")));
    let queries = [
        ("query=up{job=\"x\"}", "query=up{job=%22x%22}"),
        ("q=a<b>c", "q=a%3Cb%3Ec"),
        ("q=gr\u{fc}n", "q=gr%C3%BCn"),
    ];
    for (raw, encoded) in queries {
        let expected = without.run(&at(raw))?;
        assert!(
            expected.text.ends_with("\n200 1.1\n"),
            "{raw}: {expected:?}"
        );
        assert_eq!(agent.run(&at(raw))?, expected, "{raw}");
        let last = Some(format!("GET /photo.txt?{encoded}"));
        // The server writes it down when it has answered.
        eventually(encoded, || Ok(files.arrived()?.pop() == last))?;
    }
    // HTTP/2 has no second reading of a head that is wrong.
    let before = files.arrived()?;
    let two = url(files::PORT_2, "/photo.txt?q=\"a\"");
    let reset = agent.run(&curl(&format!("--http2-prior-knowledge -g '{two}'")))?;
    assert!(reset.text.contains("PROTOCOL_ERROR"), "{reset:?}");
    agent.run(&at("q=\"no\""))?.stopped();
    assert_eq!(files.arrived()?, before);
    Ok(())
}
