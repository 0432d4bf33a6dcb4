//! Files on nginx, by WebDAV, with curl, Python's requests and Node's fetch.

use std::fs;
use std::path::PathBuf;

use guard_lab::{Json as _, Tested, bins, eventually};

use crate::clients::agent::Done;
use crate::clients::scene::{ClientScene, HOST_V6, url, url_at};
use crate::clients::server::Server;

/// HTTP/1.1, and HTTP/2 by prior knowledge.
pub(crate) const PORT: u16 = 8080;
pub(crate) const PORT_2: u16 = 8082;

/// What of WebDAV reads is in a profile.
const WEBDAV: &str = "profile = \"webdav\"\n";

/// nginx, with a directory of files.
pub(crate) struct Files {
    dir: PathBuf,
    _server: Server,
}

impl Files {
    pub(crate) fn start(scene: &ClientScene) -> Tested<Self> {
        let dir = scene.dir().join("nginx");
        fs::create_dir_all(dir.join("www"))?;
        fs::write(dir.join("www/photo.txt"), "a photo\n")?;
        let clients = bins::clients()?;
        let config = config(&dir.display().to_string(), &clients.display().to_string());
        fs::write(dir.join("nginx.conf"), config)?;
        let mut nginx = scene.on_production(clients.join("usr/sbin/nginx"))?;
        nginx
            .arg("-p")
            .arg(&dir)
            .args(["-c", "nginx.conf", "-e", "stderr"]);
        let _server = Server::start(scene, &mut nginx, PORT)?;
        Ok(Self { dir, _server })
    }

    /// The requests that arrived, each with the length of its body; nginx writes them when they have ended.
    pub(crate) fn arrived(&self) -> Tested<Vec<String>> {
        let log = fs::read_to_string(self.dir.join("arrived"))?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// Nothing else arrived than these, once so many are written down.
    fn had(&self, expected: &[&str]) -> Tested {
        eventually("they are written down", || {
            Ok(self.arrived()?.len() >= expected.len())
        })
        .unwrap_or_else(|_| {
            panic!(
                "{expected:?} should have arrived, and {:?}",
                self.arrived().unwrap()
            )
        });
        assert_eq!(self.arrived()?, expected);
        Ok(())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join("www").join(name)
    }
}

fn config(dir: &str, clients: &str) -> String {
    format!(
        "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr;\n\
         load_module {clients}/usr/lib/nginx/modules/ngx_http_dav_ext_module.so;\n\
         events {{}}\n\
         http {{\n\
         log_format arrived '$request_method $request_uri'; access_log {dir}/arrived arrived;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; client_max_body_size 0;\n\
         server {{\n\
         listen {PORT}; listen [::]:{PORT}; listen {PORT_2} http2; root {dir}/www; autoindex on;\n\
         dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS;\n\
         }}\n}}\n"
    )
}

/// `curl`, as people type it, with the status and version of HTTP behind what it was answered.
pub(crate) fn curl(rest: &str) -> String {
    format!("curl -sS -m 60 -w '\\n%{{http_code}} %{{http_version}}\\n' {rest}")
}

#[test]
fn what_reads_is_the_same_with_the_guard() -> Tested {
    let scene = ClientScene::new(WEBDAV)?;
    let files = Files::start(&scene)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let photo = url(PORT, "/photo.txt");
    for rest in [
        photo.clone(),
        format!("-I {photo} | grep -v '^Date:\\|^Connection:' | sort"),
        format!("-X OPTIONS {photo}"),
        format!("-X PROPFIND -H 'Depth: 1' {}", url(PORT, "/")),
        format!("-r 2-4 {photo}"),
        format!("--compressed {}", url(PORT, "/")),
        format!("{photo} {}", url(PORT, "/missing")),
        url_at(HOST_V6, PORT, "/photo.txt"),
        format!("--http1.0 -w '' {photo} -w '%{{http_code}}'"),
        format!("--http2-prior-knowledge {}", url(PORT_2, "/photo.txt")),
    ] {
        let line = curl(&rest);
        let expected = without.run(&line)?;
        assert!(
            ["200", "206", "207", "404"]
                .iter()
                .any(|status| expected.text.contains(status)),
            "{line}: {expected:?}"
        );
        assert_eq!(agent.run(&line)?, expected, "{line}");
    }
    assert_eq!(scene.pending()?, [""; 0]);
    eventually("all is written down", || Ok(files.arrived()?.len() == 22))?;
    Ok(())
}

/// Whether a write is to be seen.
type Seen = fn(&Files) -> bool;

/// What changes files, and what is to be seen of it.
fn writes() -> [(&'static str, String, Seen); 5] {
    let at = |path| url(PORT, path);
    [
        (
            "MKCOL /album/",
            format!("-X MKCOL {}", at("/album/")),
            |files| files.file("album").is_dir(),
        ),
        (
            "PUT /new.txt",
            format!("-T ~/new {}", at("/new.txt")),
            |files| files.file("new.txt").exists(),
        ),
        (
            "COPY /photo.txt",
            format!(
                "-X COPY -H 'Destination: {}' {}",
                at("/copy.txt"),
                at("/photo.txt")
            ),
            |files| files.file("copy.txt").exists(),
        ),
        (
            "MOVE /photo.txt",
            format!(
                "-X MOVE -H 'Destination: {}' {}",
                at("/moved.txt"),
                at("/photo.txt")
            ),
            |files| files.file("moved.txt").exists() && !files.file("photo.txt").exists(),
        ),
        (
            "DELETE /album/",
            format!("-X DELETE {}", at("/album/")),
            |files| !files.file("album").exists(),
        ),
    ]
}

#[test]
fn what_changes_files_does_so_without_the_guard_and_after_a_yes_alone() -> Tested {
    for guarded in [false, true] {
        let scene = ClientScene::new(WEBDAV)?;
        let files = Files::start(&scene)?;
        scene.write("new", b"new\n")?;
        let mut agent = if guarded {
            scene.agent()?
        } else {
            scene.unguarded()?
        };
        for (request, rest, has_happened) in writes() {
            let line = curl(&rest);
            if guarded {
                let before = files.arrived()?;
                agent.run(&line)?.stopped();
                assert_eq!(files.arrived()?, before, "{line}");
                assert_eq!(scene.asked()?, [request]);
                scene.say_yes()?;
            }
            let done = agent.run(&line)?;
            assert!(done.text.contains("\n20"), "{line}: {done:?}");
            // nginx writes it down once it has answered.
            let is_last =
                || -> Tested<_> { Ok(files.arrived()?.last().is_some_and(|last| last == request)) };
            eventually("it is written down", is_last)?;
            assert!(has_happened(&files), "{line}");
        }
    }
    Ok(())
}

/// What a person has seen of the request that waits.
fn headers(scene: &ClientScene) -> Tested<Vec<String>> {
    let [one] = <[_; 1]>::try_from(scene.pending()?).unwrap();
    let headers = one["http"]["headers"].list()?.iter();
    Ok(headers
        .map(|one| one.as_str().unwrap().to_owned())
        .collect())
}

/// A person's yes to what waits, for all that is like it; whether that could be said.
fn say_yes_to_all_like(scene: &ClientScene, pattern: &str) -> Tested<bool> {
    let id = scene.pending()?[0]["id"].text()?.to_owned();
    let words = ["approve", &id, "--path", pattern, "--for", "5m"];
    Ok(scene.daemon.agent(words).run()?.code() == Some(0))
}

#[test]
fn what_a_copy_overwrites_is_shown_and_no_pattern_lets_it_choose() -> Tested {
    for guarded in [false, true] {
        let scene = ClientScene::new("")?;
        let files = Files::start(&scene)?;
        let precious = files.file("precious.txt");
        fs::write(&precious, "precious\n")?;
        let copy = |to: &str| {
            let to = match to {
                "" => String::new(),
                to => format!("-H 'Destination: {}'", url(PORT, to)),
            };
            curl(&format!("-X COPY {to} {}", url(PORT, "/photo.txt")))
        };
        let overwrite = copy("/precious.txt");
        if !guarded {
            let done = scene.unguarded()?.run(&overwrite)?;
            assert!(done.text.contains("\n20"), "{done:?}");
            assert_eq!(fs::read_to_string(&precious)?, "a photo\n");
            continue;
        }
        let mut agent = scene.agent()?;
        agent.run(&overwrite)?.stopped();
        let to = format!("destination: {}", url(PORT, "/precious.txt"));
        assert_eq!(headers(&scene)?, std::slice::from_ref(&to));
        let shown = scene.daemon.agent(["pending"]).run()?;
        assert!(shown.stdout.contains(&to), "{}", shown.stdout);
        let log = scene.daemon.root(["log"]).run()?;
        assert!(log.stdout.contains(&to), "{}", log.stdout);
        assert!(!say_yes_to_all_like(&scene, "/photo.txt")?);
        let id = scene.pending()?[0]["id"].text()?.to_owned();
        scene.answer(&["deny", &id])?;

        // A yes to what names no other file is for none that does.
        agent.run(&copy(""))?.stopped();
        assert_eq!(headers(&scene)?, [""; 0]);
        assert!(say_yes_to_all_like(&scene, "/photo.txt")?);
        let done = agent.run(&copy(""))?;
        assert!(done.text.contains("\n400 "), "nginx wants one: {done:?}");
        agent.run(&copy("/other.txt"))?.stopped();
        assert_eq!(fs::read_to_string(&precious)?, "precious\n");
        assert!(!files.file("other.txt").exists());
        scene.say_yes()?;
        let done = agent.run(&copy("/other.txt"))?;
        assert!(done.text.contains("\n20"), "{done:?}");
        assert!(files.file("other.txt").exists());
    }
    Ok(())
}

#[test]
fn a_pattern_is_for_requests_that_say_the_same() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let delete = |tenant: &str| {
        let credentials = "-H 'Authorization: Bearer sesame' -H 'X-Vault-Token: sesame'";
        curl(&format!(
            "-X DELETE {credentials} -H 'X-Tenant: {tenant}' {}",
            url(PORT, "/none.txt")
        ))
    };
    let mut agent = scene.agent()?;
    agent.run(&delete("dev"))?.stopped();
    let [tenant, token, signer] = <[String; 3]>::try_from(headers(&scene)?).unwrap();
    assert_eq!(tenant, "x-tenant: dev");
    assert!(token.starts_with("x-vault-token: (left out"), "{token}");
    assert!(signer.starts_with("authorization: (left out"), "{signer}");
    assert!(!scene.pending()?[0].to_string().contains("sesame"));
    assert!(say_yes_to_all_like(&scene, "/*")?);
    for _ in 0..2 {
        let done = agent.run(&delete("dev"))?;
        assert!(done.text.contains("\n404 "), "{done:?}");
    }
    agent.run(&delete("shop"))?.stopped();
    files.had(&["DELETE /none.txt"; 2])?;
    // What no list knows may be anything, and is in no file.
    let log = scene.daemon.root(["log"]).run()?;
    assert!(!log.stdout.contains("x-tenant"), "{}", log.stdout);
    Ok(())
}

#[test]
fn tokens_in_a_query_are_shown_to_nobody_and_kept_nowhere() -> Tested {
    let denied = "[[rule.http]]\npath = \"/denied*\"\naction = \"deny\"\n";
    let scene = ClientScene::new(denied)?;
    let files = Files::start(&scene)?;
    let delete = |path: &str| curl(&format!("-X DELETE '{}'", url(PORT, path)));
    let query = "a=1&token=sesame&X-Amz-Signature=sesame&api%5Fkey=sesame";
    let asked = format!("/none.txt?{query}");
    let mut agent = scene.agent()?;
    agent.run(&delete(&asked))?.stopped();
    agent.run(&delete(&format!("/denied?{query}")))?.stopped();
    let left = "?a=1&token=***&X-Amz-Signature=***&api%5Fkey=***";
    assert_eq!(scene.asked()?, [format!("DELETE /none.txt{left}")]);
    assert!(say_yes_to_all_like(&scene, "/none.txt?a=1&token=*")?);
    let done = agent.run(&delete(&asked))?;
    assert!(done.text.contains("\n404 "), "{done:?}");
    files.had(&[&format!("DELETE {asked}")])?;
    for words in [&["log"][..], &["log", "--json"]] {
        let log = scene.daemon.root(words.iter().copied()).run()?;
        let log = log.success()?.stdout;
        assert!(!log.contains("sesame"), "{log}");
        for kept in ["/none.txt", "/denied"] {
            assert!(log.contains(&format!("{kept}{left}")), "{log}");
        }
        assert!(log.contains("/none.txt?a=1&token=***"), "{log}");
    }
    for text in [
        fs::read_to_string(scene.daemon.audit())?,
        scene.daemon.log(),
    ] {
        assert!(!text.contains("sesame"), "{text}");
    }
    Ok(())
}

/// One that every byte occurs in, and which is too long for the guard to know it again.
fn photo(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * at / 7 + at) as u8).collect()
}

#[test]
fn a_large_upload_arrives_byte_for_byte_after_a_yes() -> Tested {
    let scene = ClientScene::new(WEBDAV)?;
    let files = Files::start(&scene)?;
    let bytes = photo(32 << 20);
    scene.write("photo", &bytes)?;
    let mut agent = scene.agent()?;
    // curl says Expect: 100-continue with the first; the second comes in chunks, and the last over HTTP/2.
    for (name, port, rest) in [
        ("expects", PORT, "-T ~/photo"),
        (
            "chunks",
            PORT,
            "-T - -H 'Transfer-Encoding: chunked' <~/photo",
        ),
        ("two", PORT_2, "--http2-prior-knowledge -T ~/photo"),
    ] {
        let line = curl(&format!("{} {rest}", url(port, &format!("/{name}"))));
        let stopped = agent.run(&line)?;
        assert!(stopped.text.contains("403"), "{name}: {stopped:?}");
        assert!(!files.file(name).exists(), "{name}");
        let done = agent.run_with_yes(&line, &[&format!("PUT /{name}")])?;
        assert!(done.text.contains("\n201 "), "{name}: {done:?}");
        assert!(fs::read(files.file(name))? == bytes, "{name} differs");
    }
    files.had(&["PUT /expects", "PUT /chunks", "PUT /two"])?;
    Ok(())
}

/// Programs that people write, and how each is run.
pub(crate) const PROGRAMS: [&str; 2] = [
    "/usr/bin/python3 $PROGRAMS/asked.py",
    "node $PROGRAMS/fetch.mjs",
];

#[test]
fn programs_are_told_and_go_on_after_a_yes() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    told_and_go_on(&scene, &files, &PROGRAMS, |name| url(PORT, name))?;
    Ok(())
}

/// Each looks at the files and then puts one there, at the URL of its name.
pub(crate) fn told_and_go_on(
    scene: &ClientScene,
    files: &Files,
    programs: &[&str],
    at: impl Fn(&str) -> String,
) -> Tested {
    let bytes = photo(60_000);
    scene.write("photo", &bytes)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for (number, program) in programs.iter().enumerate() {
        let put = |name: &str| format!("{program} PUT {} ~/photo", at(name));
        let done = without.run(&put(&format!("/without{number}")))?.ok();
        assert!(done.contains("GET 200\nPUT 201"), "{program}: {done}");

        let name = format!("/with{number}");
        let done = agent.run(&put(&name))?.ok();
        let expected = "GET 200\nPUT 403 application/problem+json\nurn:guard:stopped\n";
        assert_eq!(done, expected, "{program}");
        assert!(!files.file(&name[1..]).exists());
        assert_eq!(scene.asked()?, [format!("PUT {name}")]);
        scene.say_yes()?;
        let done: Done = agent.run(&put(&name))?;
        assert!(
            done.text.contains("GET 200\nPUT 201"),
            "{program}: {done:?}"
        );
        assert!(fs::read(files.file(&name[1..]))? == bytes);
    }
    Ok(())
}
