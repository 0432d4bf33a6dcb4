//! What is not as the RFCs have it, and works nevertheless: queries of clients.

use crate::clients::files::{self, Files, curl};
use crate::clients::scene::{Scene, url};

/// RFC 3986 has these percent-encoded, and curl sends what it is given.
#[test]
fn queries_that_curl_sends_as_they_are_typed_arrive_encoded() {
    let scene = Scene::new("[[rule.http]]\nquery = \"*q=\\\"no\\\"*\"\naction = \"deny\"\n");
    let files = Files::start(&scene);
    let (mut without, mut agent) = (scene.unguarded(), scene.agent());
    let at = |query: &str| curl(&format!("-g '{}?{query}'", url(files::PORT, "/photo.txt")));
    let queries = [
        ("query=up{job=\"x\"}", "query=up{job=%22x%22}"),
        ("q=a<b>c", "q=a%3Cb%3Ec"),
        ("q=gr\u{fc}n", "q=gr%C3%BCn"),
    ];
    for (raw, encoded) in queries {
        let expected = without.run(&at(raw));
        assert!(
            expected.text.ends_with("\n200 1.1\n"),
            "{raw}: {expected:?}"
        );
        assert_eq!(agent.run(&at(raw)), expected, "{raw}");
        let last = files.arrived().pop().unwrap();
        assert_eq!(last, format!("GET /photo.txt?{encoded}"));
    }
    let before = files.arrived();
    agent.run(&at("q=\"no\"")).stopped();
    assert_eq!(files.arrived(), before);
}
