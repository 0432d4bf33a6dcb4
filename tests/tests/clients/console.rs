//! The console behind nginx with TLS, as phones reach it: a real browser enrols, logs in, is asked, and answers.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
};

use anyhow::Context as _;
use data_encoding::BASE64;
use guard_lab::{
    Attempt, Company, Json as _, Network, PATIENCE, Production, Running, Tested, V4, bins,
    eventually, exec,
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    console::{browser::enrol, webdriver::Browser},
    signed::scene::{COURIER, SignedScene},
};

const NAME: &str = "guard.example.net";
const ORIGIN: &str = "https://guard.example.net";
/// As whom nginx runs, and somebody else.
const WEB: u32 = 61241;
const OTHER: u32 = 61242;

/// What a program in Python says of a socket.
const CONNECT: &str = "import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print('open')
except OSError as error:
    print(type(error).__name__)
";

/// A console that listens at a Unix socket, and nginx in front of it.
struct Proxied<'n> {
    network: &'n Network,
    scene: SignedScene,
    dir: PathBuf,
    company: Company,
    _console: Running,
    _nginx: Running,
}

impl<'n> Proxied<'n> {
    fn new(network: &'n Network) -> Tested<Self> {
        let scene = SignedScene::new(network, &format!("origins = [\"{ORIGIN}\"]"));
        let dir = scene.daemon.dir().join("proxied");
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        for (name, user) in [("console", COURIER), ("nginx", WEB)] {
            let own = dir.join(name);
            fs::create_dir(&own)?;
            // Whoever cannot open the socket can see it.
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
            chown(&own, Some(user), Some(user))?;
        }
        let socket = dir.join("console/console.sock");
        let settings = dir.join("console.toml");
        let text = format!(
            "listen = \"unix:{}\"\norigin = \"{ORIGIN}\"\nsocket = {:?}\nstate_dir = {:?}\n",
            socket.display(),
            scene.daemon.socket(),
            dir.join("console/state")
        );
        fs::write(&settings, text)?;
        let program = bins::for_everybody("guard-console", scene.daemon.tag())?;
        let mut console = scene.daemon.on_machine(COURIER, program);
        console.arg("--config").arg(&settings);
        let console = Running::start(&mut console)?;
        eventually("the console listens", || socket.exists())?;

        let company = Company::new("Home")?;
        let pem = dir.join("nginx/server.pem");
        fs::write(dir.join("ca.pem"), company.pem())?;
        // With the company's own, by which the browser is told to trust it.
        fs::write(&pem, company.issue(&[NAME])? + &company.pem())?;
        let program = dir.join("nginx/nginx");
        fs::copy(bins::clients()?.join("usr/sbin/nginx"), &program)?;
        let (own, pem, socket) = (dir.join("nginx"), pem.display(), socket.display());
        let own = own.display();
        let config = format!(
            "daemon off; master_process off; pid {own}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{\n\
             access_log off;\n\
             client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi;\n\
             uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi;\n\
             server {{ listen 127.0.0.1:443 ssl; ssl_certificate {pem}; ssl_certificate_key {pem};\n\
             location / {{ proxy_pass http://unix:{socket}; proxy_set_header Host $http_host; }} }}\n}}\n"
        );
        fs::write(dir.join("nginx/nginx.conf"), config)?;
        let mut nginx = network.dev().command("setpriv");
        nginx.args([format!("--reuid={WEB}"), format!("--regid={WEB}")]);
        nginx.arg(format!("--groups={COURIER}"));
        nginx.args(
            ["--inh-caps", "--ambient-caps"].map(|kind| format!("{kind}=-all,+net_bind_service")),
        );
        nginx
            .arg("--")
            .arg(program)
            .arg("-p")
            .arg(dir.join("nginx"));
        nginx.args(["-c", "nginx.conf", "-e", "stderr"]);
        let nginx = Running::start(&mut nginx)?;
        let proxied = Self {
            network,
            scene,
            dir,
            company,
            _console: console,
            _nginx: nginx,
        };
        eventually("nginx passes on", || {
            proxied
                .status(NAME, "/login")
                .is_ok_and(|status| status == "200")
        })?;
        Ok(proxied)
    }

    fn curl(&self, args: &[&str]) -> std::process::Command {
        let mut curl = self.network.dev().command("curl");
        curl.args(["-sS", "-N", "--noproxy", "*", "--cacert"]);
        curl.arg(self.dir.join("ca.pem"));
        curl.args(["--resolve", &format!("{NAME}:443:127.0.0.1")]);
        curl.args(args);
        curl
    }

    /// What comes of a page that is asked for by that name.
    fn status(&self, host: &str, page: &str) -> anyhow::Result<String> {
        let (host, url) = (format!("Host: {host}"), format!("{ORIGIN}{page}"));
        let args = [
            "-m",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &host,
            &url,
        ];
        exec::run(&mut self.curl(&args))
    }

    /// A browser that believes the company.
    fn browser(&self) -> Tested<Browser<'n>> {
        let ca = self.company.pem();
        let mut openssl = std::process::Command::new("openssl");
        let public = exec::output_with(openssl.args(["x509", "-noout", "-pubkey"]), &ca)?;
        let lines = String::from_utf8(public.stdout)?;
        let lines: String = lines
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let hash = digest(&SHA256, &BASE64.decode(lines.as_bytes())?);
        Browser::start_with(
            self.network,
            &[
                &format!("--host-resolver-rules=MAP {NAME} 127.0.0.1"),
                &format!(
                    "--ignore-certificate-errors-spki-list={}",
                    BASE64.encode(hash.as_ref())
                ),
            ],
        )
    }
}

#[test]
fn behind_nginx_with_tls_somebody_is_asked_at_once_and_answers() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let proxied = Proxied::new(&network)?;
    let scene = &proxied.scene;
    let browser = proxied.browser()?;
    browser.add_authenticator()?;
    enrol(scene, &browser)?;
    browser.go(&format!("{ORIGIN}/login"))?;
    browser.press("#login button")?;
    browser.expect("Nothing is asked.");
    let cookies = browser.developer("Network.getCookies", &json!({ "urls": [ORIGIN] }))?;
    let [cookie] = &cookies["cookies"].list()?[..] else {
        panic!("{cookies}");
    };
    assert_eq!(
        (&cookie["name"], &cookie["path"], &cookie["sameSite"]),
        (&json!("__Host-guard"), &json!("/"), &json!("Strict"))
    );
    assert_eq!(
        (&cookie["secure"], &cookie["httpOnly"]),
        (&json!(true), &json!(true))
    );

    // Events come as they happen, and not when the stream ends.
    let held = format!("Cookie: __Host-guard={}", cookie["value"].text()?);
    let mut events =
        Running::start(&mut proxied.curl(&["-H", &held, &format!("{ORIGIN}/events")]))?;
    let mut until = |text: &str| -> Tested<Value> {
        loop {
            let line = events
                .line(PATIENCE)
                .with_context(|| format!("no {text}"))?;
            if let Some(data) = line
                .strip_prefix("data: ")
                .filter(|data| data.contains(text))
            {
                return Ok(serde_json::from_str(data)?);
            }
        }
    };
    until("\"connected\":true")?;
    let mut shell = scene.shell();
    shell.begin(&Attempt::tcp(V4, 443).timeout(PATIENCE))?;
    until("192.0.2.10:443")?;

    browser.expect("192.0.2.10:443");
    browser.press("#questions a")?;
    browser.expect("Yes, sign with passkey");
    browser.press("button.yes")?;
    browser.expect("Yes, by alice");
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    assert_eq!(scene.holes(), ["tcp/443"]);
    assert_eq!(scene.log("answered")[0]["signed"]["kind"], "passkey");

    assert!(!shell.reaches(&Attempt::tcp(V4, 1000).timeout(std::time::Duration::from_secs(1)))?);
    browser.go(&format!("{ORIGIN}/"))?;
    browser.press("#questions a")?;
    browser.press("form.no button")?;
    browser.expect("Nothing is asked.");
    assert_eq!(
        scene.log("answered").pop().context("no answer")?["answer"],
        "no"
    );
    assert_eq!(scene.holes(), ["tcp/443"]);
    Ok(())
}

#[test]
fn nginx_brings_no_other_name_and_nobody_else_opens_the_socket() -> Tested {
    let network = Network::new()?;
    let proxied = Proxied::new(&network)?;
    let scene = &proxied.scene;
    for host in [
        "evil.example",
        "guard.localhost",
        "127.0.0.1",
        "guard.example.net.evil.example",
    ] {
        for page in ["/", "/login", "/events"] {
            assert_eq!(proxied.status(host, page)?, "421", "{host}{page}");
        }
    }
    assert_eq!(
        proxied.status(NAME, "/")?,
        "303",
        "it is for who is logged in"
    );

    let socket = proxied.dir.join("console/console.sock");
    let script = scene.daemon.write_for_agents("connect.py", CONNECT)?;
    for (user, said) in [
        (OTHER, "PermissionError"),
        (guard_lab::AGENT, "PermissionError"),
        (COURIER, "open"),
    ] {
        let mut python = scene.daemon.on_machine(user, "/usr/bin/python3");
        assert_eq!(
            exec::run(python.arg(&script).arg(&socket))?.trim(),
            said,
            "{user}"
        );
    }
    let mut shell = scene.shell();
    let line = format!(
        "python3 {} {} | grep -qx PermissionError",
        script.display(),
        socket.display()
    );
    assert_eq!(shell.status_of(&line)?, 0);
    Ok(())
}
