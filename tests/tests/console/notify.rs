//! A phone or a chat room is told, over real HTTP, of what a real guardd is asked.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::Context as _;
use guard_lab::{
    Attempt, Company, Daemon, Json as _, Network, PATIENCE, STRANGER, Shell, Tested, V4, bins,
    eventually, patience,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};

const ORIGIN: &str = "https://guard.example.net";

/// What was sent there.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(super) line: String,
    headers: Vec<(String, String)>,
    /// As text, where it is one.
    body: String,
    pub(super) bytes: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut all = self.headers.iter();
        all.find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// All of it.
    fn whole(&self) -> String {
        format!("{} {:?} {}", self.line, self.headers, self.body)
    }
}

/// A server that takes messages, as ntfy, Slack and Matrix do, and writes down what it got.
pub(crate) struct Taker {
    pub(crate) port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    /// What it answers.
    status: Arc<Mutex<u16>>,
}

impl Taker {
    pub(crate) fn start(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Tested<Self> {
        let port = listener.local_addr()?.port();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let status = Arc::new(Mutex::new(200));
        let (all, answers) = (Arc::clone(&got), Arc::clone(&status));
        // It ends with the process of this test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let took = match &tls {
                    None => take(stream, &all, &answers),
                    Some(config) => ServerConnection::new(Arc::clone(config))
                        .map_err(io::Error::other)
                        .and_then(|tls| take(StreamOwned::new(tls, stream), &all, &answers)),
                };
                // Whoever trusts it not ends the connection.
                drop(took);
            }
        });
        Ok(Self { port, got, status })
    }

    fn here() -> Tested<Self> {
        Self::start(TcpListener::bind("127.0.0.1:0")?, None)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(super) fn answer(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }
}

fn take(stream: impl Read + Write, all: &Mutex<Vec<Got>>, status: &Mutex<u16>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let status = *status.lock().unwrap();
    if status == 200 {
        all.lock().unwrap().push(Got {
            line: line.trim().to_owned(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            bytes: body,
        });
    }
    let to = stream.get_mut();
    write!(
        to,
        "HTTP/1.1 {status} x\r\nlocation: /elsewhere\r\ncontent-length: 2\r\n\r\nok"
    )?;
    to.flush()
}

/// The command, run by hand for requests that guardd has told of.
struct Notify {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Notify {
    fn new() -> Tested<Self> {
        Ok(Self {
            program: bins::find("guard-console")?,
            dir: tempfile::tempdir()?,
        })
    }

    fn file(&self, name: &str, text: &str) -> io::Result<String> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        Ok(format!("@{}", path.display()))
    }

    fn run(&self, args: &[&str], request: &Value, authority: Option<&Path>) -> Tested<Output> {
        let mut command = Command::new(&self.program);
        command
            .args(["--config", "/nonexistent", "--origin", ORIGIN, "notify"])
            .args(args)
            .env_clear()
            .env("RUNTIME_DIRECTORY", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(file) = authority {
            command.env("SSL_CERT_FILE", file);
        }
        let mut child = command.spawn()?;
        let mut to = child.stdin.take().context("no standard input")?;
        // It may end without reading.
        let _ = writeln!(to, "{request}");
        drop(to);
        Ok(child.wait_with_output()?)
    }
}

/// A request, as guardd tells of one, of a session inside another, with all that is nobody's business on the way.
fn request(id: &str) -> Value {
    json!({
        "id": id, "session": "s2", "policy": "secret-policy", "user": "secret-user", "pid": 4711, "comm": "secret-comm",
        "exe": "/secret-exe", "command": ["secret-command"], "rule": "secret-rule", "reason": "secret-reason",
        "destination": { "address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": "secret-host.example" },
        "verdict": "confirm", "held": true, "count": 1, "note": "secret-note", "code": "123",
        "asked_at": "2026-11-20T12:00:00Z", "last_at": "2026-11-20T12:00:00Z", "waits_until": null,
        "programs": ["secret-program"], "warnings": ["secret-warning"], "through": null, "offers": [],
        "chain": [{ "session": "s1", "policy": "p", "rule": null, "verdict": "confirm", "reason": null }],
        "http": null, "question": null, "named": null, "burst": null,
    })
}

fn tells_nothing_else(got: &Got) {
    for secret in ["secret", "192.0.2.10", "4711", "\"s2\"", "123"] {
        assert!(!got.whole().contains(secret), "{secret}: {}", got.whole());
    }
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn ntfy_slack_and_matrix_are_told_where_to_look_and_nothing_else() -> Tested {
    let taker = Taker::here()?;
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", taker.port);

    let notify = Notify::new()?;
    let topic = notify.file("topic", &at("/my-topic\n"))?;
    let token = notify.file("token", "tk_secret\n")?;
    let told = notify.run(&["--ntfy", &topic, "--token", &token], &request("r7"), None)?;
    assert_eq!(code(&told), Some(0), "{told:?}");
    let got = taker.got().pop().context("nothing came")?;
    assert_eq!(got.line, "POST /my-topic HTTP/1.1");
    assert_eq!(got.header("authorization"), "Bearer tk_secret");
    assert!(got.header("title").starts_with("guard on "), "{got:?}");
    let link = got.header("click");
    assert!(
        link.starts_with(&format!("{ORIGIN}/q/m")) && link.ends_with("/r7"),
        "{link}"
    );
    let said = "Request r7 asks for an answer. A yes takes a code, which guard pending shows on the machine";
    assert_eq!(got.body, said);
    assert_eq!(got.header("actions"), "", "it carries no yes");
    let without = Got {
        headers: got
            .headers
            .iter()
            .filter(|(name, _)| name != "authorization")
            .cloned()
            .collect(),
        ..got
    };
    tells_nothing_else(&without);

    let notify = Notify::new()?;
    let hook = notify.file("hook", &at("/services/T0/B0/x"))?;
    assert_eq!(
        code(&notify.run(&["--slack", &hook], &request("r7"), None)?),
        Some(0)
    );
    let got = taker.got().pop().context("nothing came")?;
    assert_eq!(got.line, "POST /services/T0/B0/x HTTP/1.1");
    let body: Value = serde_json::from_str(&got.body)?;
    assert_eq!(body.as_object().unwrap().len(), 1, "no buttons: {body}");
    let text = body["text"].text()?;
    assert!(
        text.contains("Request r7") && text.ends_with("/r7|Look and answer>"),
        "{text}"
    );
    tells_nothing_else(&got);

    let notify = Notify::new()?;
    let server = at("");
    let room = [
        "--matrix",
        &server,
        "--room",
        "!a/b:example.org",
        "--token",
        &token,
    ];
    assert_eq!(code(&notify.run(&room, &request("r7"), None)?), Some(0));
    let got = taker.got().pop().context("nothing came")?;
    let place = "PUT /_matrix/client/v3/rooms/%21a%2Fb%3Aexample%2Eorg/send/m.room.message/";
    assert!(got.line.starts_with(place), "{got:?}");
    assert_eq!(got.header("authorization"), "Bearer tk_secret");
    let body: Value = serde_json::from_str(&got.body)?;
    assert_eq!(body["msgtype"], "m.text");
    assert!(body["body"].text()?.ends_with("/r7"), "{body}");

    // What it goes to is told where that is wanted, by its address: the name is the agent's word.
    let notify = Notify::new()?;
    let told = notify.run(&["--ntfy", &topic, "--address"], &request("r8"), None)?;
    assert_eq!(code(&told), Some(0));
    let got = taker.got().pop().context("nothing came")?;
    assert!(got.body.contains("r8 (tcp 192.0.2.10:443)"), "{}", got.body);
    assert!(!got.whole().contains("secret"), "{}", got.whole());
    assert_eq!(taker.got().len(), 4);
    Ok(())
}

#[test]
fn what_does_not_arrive_is_tried_again_and_nothing_is_told_twice() -> Tested {
    let (taker, notify) = (Taker::here()?, Notify::new()?);
    let topic = format!("http://127.0.0.1:{}/my-topic", taker.port);
    let run = |id: &str| notify.run(&["--ntfy", &topic], &request(id), None).unwrap();
    for status in [500, 403, 302] {
        taker.answer(status);
        let failed = run("r1");
        assert_eq!(code(&failed), Some(75), "{failed:?}");
        let said = String::from_utf8(failed.stderr)?;
        assert!(said.contains(&status.to_string()), "{said}");
        assert!(
            !said.contains("my-topic"),
            "who knows it may write there: {said}"
        );
    }
    taker.answer(200);
    assert_eq!(code(&run("r1")), Some(0));
    assert_eq!(code(&run("r1")), Some(0));
    // Another is told a little later: it is gathered until then.
    assert_eq!(code(&run("r2")), Some(75));
    assert_eq!(code(&run("r3")), Some(75));
    assert_eq!(taker.got().len(), 1);
    eventually("it is time", || code(&run("r2")) == Some(0))?;
    assert_eq!(code(&run("r3")), Some(0));
    let got = taker.got();
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(
        got[1].body.starts_with("Requests r2 and r3 ask"),
        "{}",
        got[1].body
    );
    assert_eq!(got[1].header("click"), format!("{ORIGIN}/"));

    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")?;
    let port = gone.local_addr()?.port();
    drop(gone);
    let notify = Notify::new()?;
    let topic = format!("http://127.0.0.1:{port}/x");
    assert_eq!(
        code(&notify.run(&["--ntfy", &topic], &request("r1"), None)?),
        Some(75)
    );
    Ok(())
}

#[test]
fn options_that_make_no_sense_are_refused() -> Tested {
    let notify = Notify::new()?;
    let none = format!("@{}", notify.dir.path().join("none").display());
    for args in [
        &[][..],
        &["--ntfy", "http://192.0.2.1/topic"],
        &[
            "--ntfy",
            "https://a.example/",
            "--slack",
            "https://b.example/",
        ],
        &["--matrix", "https://a.example"],
        &["--room", "!a:b"],
        &["--ntfy", none.as_str()],
    ] {
        let refused = notify.run(args, &request("r1"), None)?;
        assert_eq!(code(&refused), Some(2), "{args:?}: {refused:?}");
        assert!(!refused.stderr.is_empty());
    }
    let refused = notify.run(&["--ntfy", "http://127.0.0.1:1/x"], &json!({}), None)?;
    assert_eq!(code(&refused), Some(2), "{refused:?}");
    Ok(())
}

/// What a server shows that is localhost, by a company's word.
pub(super) fn shows(company: &Company) -> Tested<Arc<ServerConfig>> {
    let pem = company.issue(&["localhost"])?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

#[test]
fn only_a_server_that_this_machine_trusts_is_told() -> Tested {
    let (company, notify) = (Company::new("A company")?, Notify::new()?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let taker = Taker::start(listener, Some(shows(&company)?))?;
    let topic = format!("https://localhost:{}/my-topic", taker.port);
    let (own, other) = (
        notify.dir.path().join("own"),
        notify.dir.path().join("other"),
    );
    fs::write(&own, company.pem())?;
    fs::write(&other, Company::new("Another")?.pem())?;
    let run = |authority: &Path| {
        notify
            .run(&["--ntfy", &topic], &request("r1"), Some(authority))
            .unwrap()
    };
    let refused = run(&other);
    assert_eq!(code(&refused), Some(75), "{refused:?}");
    assert!(taker.got().is_empty());
    let told = run(&own);
    assert_eq!(code(&told), Some(0), "{told:?}");
    assert_eq!(taker.got().len(), 1);
    Ok(())
}

/// Has guardd tell ntfy at a port of what it is asked, with links to that console; and more settings.
pub(crate) fn has_told(daemon: &mut Daemon, origin: &str, port: u16, settings: &str) -> Tested {
    let program = bins::for_everybody("guard-console", daemon.tag())?;
    let state = daemon.dir().join("told");
    fs::create_dir(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777))?;
    let topic = format!("http://127.0.0.1:{port}/my-topic");
    let (program, state) = (program.display(), state.display());
    let words = format!(
        "{program} --config /nonexistent --origin {origin} --state-dir {state} notify --ntfy {topic}"
    );
    let words: Vec<_> = words.split(' ').collect();
    daemon.stop()?;
    daemon.write_config(&format!(
        "on_request = {words:?}\non_request_user = \"{STRANGER}\"\non_request_answers = true\n{settings}"
    ))?;
    Ok(daemon.start()?)
}

#[test]
fn guardd_has_a_phone_told_and_a_burst_is_a_few_messages() -> Tested {
    let network = Network::new()?;
    let listener = network
        .dev()
        .enter(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let taker = Taker::start(listener, None)?;
    let policy = "version = 1\nname = \"asks\"\ndefault = \"confirm\"\nhold = \"10m\"\n";
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", policy)
        .start()?;
    has_told(&mut daemon, ORIGIN, taker.port, "")?;
    let mut shell = Shell::start(&daemon, "asks")?;
    let waits = Attempt::tcp(V4, 443).timeout(patience(PATIENCE));
    shell.begin(&waits)?;
    eventually("the phone is told", || taker.got().len() == 1)?;
    let got = taker.got().pop().context("nothing came")?;
    assert!(got.body.starts_with("Request r1 asks"), "{}", got.body);
    assert!(!got.whole().contains(V4), "{}", got.whole());
    let pending = daemon.root(["pending"]).json()?;
    assert_eq!(pending[0]["held"], true, "it waits for whoever was told");

    let mut other = Shell::start(&daemon, "asks")?;
    let probe = bins::for_everybody("guard-lab", daemon.tag())?;
    for to in ["198.51.100.10", "203.0.113.10", "2001:db8:7::10"] {
        let probe = probe.display();
        let timeout = "--timeout 600000";
        other.tell(&format!("{probe} probe tcp {to} 443 {timeout} &"))?;
    }
    eventually("it is told of the others", || taker.got().len() == 2)?;
    let got = taker.got().pop().context("nothing came")?;
    assert!(
        got.body.starts_with("Requests r2, r3 and r4 ask"),
        "{}",
        got.body
    );
    assert_eq!(got.header("click"), format!("{ORIGIN}/"));
    Ok(())
}
