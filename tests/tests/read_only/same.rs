//! What counts as the same request: a no is not worn down by what a client says of itself, and a yes is not for one client alone.

use guard_lab::{Json as _, Shell, Tested};

use super::scene::{JOB, PHOTOS, PhotoScene, START, url};
use crate::https::scene::POLICY;

/// A shell in a session whose `curl` says the status alone.
fn agent(scene: &PhotoScene) -> Tested<Shell> {
    let mut agent = scene.shell()?;
    agent.tell("c() { curl -s -o /dev/null -m 20 -w 'status=%{http_code}\\n' \"$@\"; }")?;
    Ok(agent)
}

fn status(agent: &mut Shell, line: &str) -> Tested<String> {
    agent.tell(line)?;
    let line = agent.line_with("status=")?;
    let (_, status) = line.trim().rsplit_once('=').unwrap_or_default();
    Ok(status.to_owned())
}

fn ids(scene: &PhotoScene) -> Tested<Vec<String>> {
    let pending = scene.pending()?;
    let ids = pending.iter().map(|one| Ok(one["id"].text()?.to_owned()));
    ids.collect()
}

#[test]
fn a_no_holds_whatever_a_client_says_of_itself() -> Tested {
    let scene = PhotoScene::new()?;
    let job = url(PHOTOS, JOB);
    assert_eq!(
        scene.outside(&["-X", "PUT", "-d", START, &job])?.status,
        200
    );
    let put = |with: &str| format!("c -X PUT -d '{START}' {with} {job}");
    let mut agent = agent(&scene)?;
    assert_eq!(status(&mut agent, &put(""))?, "403");
    let request = scene.request()?;
    scene
        .daemon
        .agent(["deny", request["id"].text()?])
        .run()?
        .success()?;
    for header in [
        "",
        "-A other",
        "-H 'Accept: a/b'",
        "-H 'Accept-Encoding: gzip'",
        "-H 'Accept-Language: de'",
        "-H 'Referer: http://x/'",
        "-H 'X-Request-Id: 7'",
    ] {
        assert_eq!(status(&mut agent, &put(header))?, "403", "{header}");
        assert_eq!(ids(&scene)?, [""; 0], "{header}");
    }
    // Another body, and what nobody knows, make another request.
    assert_eq!(
        status(&mut agent, &format!("c -X PUT -d '{{}}' {job}"))?,
        "403"
    );
    let [other] = <[_; 1]>::try_from(ids(&scene)?).unwrap();
    for header in ["X-Kind: 1", "Authorization: Bearer a"] {
        assert_eq!(status(&mut agent, &put(&format!("-H '{header}'")))?, "403");
    }
    let pending = scene.pending()?;
    let headers: Vec<_> = pending[1..]
        .iter()
        .map(|one| one["http"]["headers"].to_string())
        .collect();
    assert!(headers[0].contains("x-kind: 1"), "{headers:?}");
    assert!(
        headers[1].contains("authorization: (left out, as "),
        "{headers:?}"
    );
    // The second no to one method, URL and body is a no to all of them.
    let kind = pending[1]["id"].text()?;
    scene.daemon.agent(["deny", kind]).run()?.success()?;
    assert_eq!(ids(&scene)?, [other.as_str()]);
    assert_eq!(status(&mut agent, &put("-H 'X-Kind: 2'"))?, "403");
    assert_eq!(ids(&scene)?, [other]);
    assert_eq!(scene.arrived()?, [format!("PUT {JOB}")]);
    Ok(())
}

#[test]
fn a_yes_is_for_whichever_client_sends_it_once() -> Tested {
    const ASSET: &str = "/api/assets/1";
    let scene = PhotoScene::with(POLICY)?;
    let asset = url(PHOTOS, ASSET);
    let mut agent = agent(&scene)?;
    let delete = format!("c -X DELETE {asset}");
    assert_eq!(status(&mut agent, &delete)?, "403");
    assert_eq!(
        status(&mut agent, &format!("{delete} -H 'Accept: a/b'"))?,
        "403"
    );
    let request = scene.request()?;
    assert_eq!(request["count"], 2, "{request}");
    scene
        .daemon
        .agent(["approve", request["id"].text()?])
        .run()?
        .success()?;
    // Python's urllib without what makes an error of a 403.
    let python = format!(
        "python3 -c 'import urllib.request as u; o = u.OpenerDirector(); o.add_handler(u.HTTPHandler()); \
         print(\"status=%d\" % o.open(u.Request(\"{asset}\", method=\"DELETE\")).status)'"
    );
    assert_eq!(status(&mut agent, &python)?, "200");
    assert_eq!(scene.arrived()?, [format!("DELETE {ASSET}")]);
    for line in [&python, &delete] {
        assert_eq!(status(&mut agent, line)?, "403", "{line}");
    }
    assert_eq!(scene.request()?["count"], 2);
    assert_eq!(scene.arrived()?, [format!("DELETE {ASSET}")]);
    Ok(())
}

#[test]
fn several_requests_are_answered_in_one_line_and_all_of_a_session() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = agent(&scene)?;
    let mut other = scene.shell()?;
    // None is like another: those are one request.
    for name in ["a", "b", "c", "d", "e", "f"] {
        let delete = format!(
            "c -X DELETE {}",
            url(PHOTOS, &format!("/api/assets/{name}"))
        );
        assert_eq!(status(&mut agent, &delete)?, "403");
    }
    other.tell(&format!(
        "curl -s -X DELETE {}; echo status=$?",
        url(PHOTOS, "/api/albums/1")
    ))?;
    other.line_with("status=")?;
    let all = ids(&scene)?;
    let [first, second, third, fourth, .., last] = all.as_slice() else {
        return Err(anyhow::anyhow!("{all:?}").into());
    };
    let holes = scene.daemon.list(["approve", first, second])?;
    assert_eq!(holes.len(), 2, "{holes:?}");
    let denied = scene.daemon.list(["deny", third, fourth])?;
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert_eq!(
        (&denied[0]["id"], &denied[1]["id"]),
        (&third.as_str().into(), &fourth.as_str().into())
    );
    // One that is answered does not keep the others from their answers.
    let session = agent.session().to_owned();
    let some = scene.daemon.agent(["deny", third, &session]).run()?;
    assert_eq!(some.code(), Some(2), "{some:?}");
    assert!(
        some.stderr.contains(&format!("{third} waits no more")),
        "{some:?}"
    );
    assert_eq!(some.stdout.matches(" denied: ").count(), 2, "{some:?}");
    assert_eq!(ids(&scene)?, [last.as_str()]);
    let none = scene.daemon.agent(["deny", &session]).run()?;
    assert_eq!(none.code(), Some(2), "{none:?}");
    assert!(
        none.stderr.contains(&format!("what waits of {session}")),
        "{none:?}"
    );
    assert_eq!(scene.arrived()?, [""; 0]);
    Ok(())
}
