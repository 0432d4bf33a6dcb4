//! What people use over HTTP/1.1 and HTTP/2, by HTTPS and by name.

use crate::clients::files::{self, Files, curl};
use crate::clients::scene::{ClientScene, secure};
use crate::clients::server::Server;
use crate::clients::{git, prometheus, sockets, streams};
use guard_lab::Tested;

use super::front::{Front, PORT};

#[test]
fn curl_reads_and_waits_in_both_versions() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let front = Front::of(&scene, Some(files::PORT))?;
    scene.write("new", b"new\n")?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let mut expected = 0;
    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let line = |rest: &str| curl(&format!("{version} {rest}"));
        for rest in [
            secure(PORT, "/photo.txt"),
            format!(
                "-I {} | grep -vi '^date:\\|^connection:' | sort",
                secure(PORT, "/photo.txt")
            ),
            format!("-r 2-4 {}", secure(PORT, "/photo.txt")),
            format!("{} {}", secure(PORT, "/missing"), secure(PORT, "/")),
        ] {
            let same = without.run(&line(&rest))?;
            assert!(same.text.contains(&format!(" {spoken}\n")), "{same:?}");
            assert_eq!(agent.run(&line(&rest))?, same, "{rest}");
            expected += 2 * rest.matches("https:").count();
        }
        let name = format!("new-{spoken}");
        let put = line(&format!("-T ~/new {}", secure(PORT, &format!("/{name}"))));
        agent.run(&put)?.stopped();
        assert_eq!(front.arrived(expected)?.len(), expected);
        assert_eq!(scene.asked()?, [format!("PUT /{name}")]);
        scene.say_yes()?;
        let done = agent.run(&put)?.ok();
        assert!(done.ends_with(&format!("\n201 {spoken}\n")), "{done}");
        assert!(files.file(&name).exists());
        expected += 1;
        let last = front.arrived(expected)?.pop();
        let version = match spoken {
            "2" => "2.0",
            other => other,
        };
        assert_eq!(last.unwrap(), format!("PUT /{name} HTTP/{version}"));
    }
    Ok(())
}

/// curl offers `http/1.0` by name. nginx takes that for nothing it knows.
#[test]
fn http_1_0_goes_by_https_too() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let _front = Front::of(&scene, Some(files::PORT))?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let at = secure(PORT, "/photo.txt");
    let line = |rest: &str| curl(&format!("--http1.0 {rest} {at}"));
    let expected = without.run(&line(""))?;
    let told = agent.run(&line(""))?.ok();
    assert!(told.starts_with("a photo\n\n200 1"), "{told}: {expected:?}");
    agent.run(&line("-X DELETE"))?.stopped();
    assert!(files.file("photo.txt").exists());
    Ok(())
}

#[test]
fn programs_are_told_and_go_on_after_a_yes() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let _front = Front::of(&scene, Some(files::PORT))?;
    let [requests, node] = files::PROGRAMS;
    let standard = "/usr/bin/python3 $PROGRAMS/standard.py";
    let programs = [requests, standard, node];
    files::told_and_go_on(&scene, &files, &programs, |name| secure(PORT, name))?;
    Ok(())
}

#[test]
fn a_clone_passes_and_a_push_waits() -> Tested {
    let scene = ClientScene::new(git::RULE)?;
    let _server = git::start(&scene)?;
    let _front = Front::of(&scene, Some(git::PORT))?;
    git::clones_and_pushes(&scene, &secure(PORT, "/photos.git"))?;
    Ok(())
}

#[test]
fn a_websocket_waits_for_a_yes_and_then_goes_both_ways() -> Tested {
    let scene = ClientScene::new("")?;
    let server = Server::python(&scene, "echo.py", &[], sockets::PORT)?;
    let _front = Front::of(&scene, Some(sockets::PORT))?;
    sockets::waits_and_goes_both_ways(&scene, server, &secure(PORT, "/live"))?;
    Ok(())
}

#[test]
fn each_event_arrives_before_the_next_is_sent() -> Tested {
    let (scene, _server) = streams::scene()?;
    let _front = Front::of(&scene, Some(streams::PORT))?;
    streams::each_event_arrives(&scene, |path| secure(PORT, path))?;
    Ok(())
}

/// Its client is written in Go.
#[test]
fn queries_of_prometheus_pass_and_its_administrator_is_asked() -> Tested {
    let scene = ClientScene::new("profile = \"prometheus\"\n")?;
    let _server = prometheus::start(&scene)?;
    let front = Front::of(&scene, Some(prometheus::PORT))?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let query = format!(
        "promtool query instant {} 'vector(2) + 40'",
        secure(PORT, "")
    );
    for agent in [&mut without, &mut agent] {
        let told = agent.run(&query)?.ok();
        assert!(told.contains("42"), "{told}");
    }
    let request = "POST /api/v1/query HTTP/1.1";
    assert_eq!(front.arrived(2)?, [request, request]);
    let reload = curl(&format!("-X POST {}", secure(PORT, "/-/reload")));
    agent.run(&reload)?.stopped();
    assert_eq!(front.arrived(2)?.len(), 2);
    scene.say_yes()?;
    assert!(agent.run(&reload)?.ok().ends_with("200 2\n"));
    Ok(())
}
