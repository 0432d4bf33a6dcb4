//! Devices are told by Web Push: a push service that stands in for browsers' own takes what is sent, and another implementation
//! than the console's reads it.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use data_encoding::BASE64URL_NOPAD;
use guard_lab::{Company, Json as _, Network, Running, Tested, V4, bins, eventually};
use serde_json::{Value, json};

use super::{
    OTHER,
    http::Response,
    notify::{Got, Taker, shows},
    passkey::Passkey,
    scene::{HOST, Looked, ORIGIN},
};

const PHONE: &str = "Mozilla/5.0 (Android 14; Mobile; rv:125.0) Gecko/125.0 Firefox/125.0";

/// A browser's part of a push, without a browser: its keys, and how it reads.
fn browser(arg: &str, input: &Value) -> Tested<Value> {
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/console/programs/device.js"
    );
    let mut node = Command::new("node")
        .args([program, arg])
        .env("NODE_PATH", bins::browsers()?.join("node_modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    write!(node.stdin.take().context("no standard input")?, "{input}")?;
    let output = node.wait_with_output()?;
    assert!(output.status.success());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Push services at this machine, whom it trusts.
struct Services<'n> {
    network: &'n Network,
    company: Company,
}

impl<'n> Services<'n> {
    fn new(network: &'n Network) -> Tested<Self> {
        let company = Company::new("A company")?;
        Ok(Self { network, company })
    }

    fn start(&self) -> Tested<Taker> {
        let bound = || Ok(TcpListener::bind("127.0.0.1:0")?);
        let listener = self.network.dev().enter(bound)?;
        Taker::start(listener, Some(shows(&self.company)?))
    }

    /// Has whoever looks told, until what this gives is dropped.
    fn tell(&self, looked: &Looked<'_>) -> Tested<Running> {
        let trusted = looked.scene.daemon.dir().join("trusted");
        fs::write(&trusted, self.company.pem())?;
        let mut command = looked.command(&["push"]);
        command.env("SSL_CERT_FILE", trusted);
        Ok(Running::start(&mut command)?)
    }
}

/// A console that tells by one push service, where alice is logged in.
struct Told<'n> {
    looked: Looked<'n>,
    service: Taker,
    services: Services<'n>,
    cookie: String,
}

impl<'n> Told<'n> {
    /// With more settings of the console.
    fn begin(network: &'n Network, more: &str) -> Tested<Self> {
        let services = Services::new(network)?;
        let service = services.start()?;
        let looked = Looked::with(network, "", &settings(&[&service], more))?;
        looked.enrol("alice", &Passkey::new("alice"))?;
        let cookie = looked.log_in()?;
        Ok(Self {
            looked,
            service,
            services,
            cookie,
        })
    }

    fn parts(&self) -> (&Services<'n>, &Taker, &Looked<'n>, &str) {
        (&self.services, &self.service, &self.looked, &self.cookie)
    }
}

/// The console's settings, with these push services and more.
fn settings(services: &[&Taker], more: &str) -> String {
    let hosts: Vec<_> = services
        .iter()
        .map(|one| format!("localhost:{}", one.port))
        .collect();
    format!(
        "push = [\"webpush\"]\npush_hosts = {}\n{more}\n",
        json!(hosts)
    )
}

/// A browser that is told.
struct Device {
    keys: Value,
    endpoint: String,
}

impl Device {
    fn at(service: &Taker, path: &str) -> Tested<Self> {
        Ok(Self {
            keys: browser("new", &Value::Null)?,
            endpoint: format!("https://localhost:{}/{path}", service.port),
        })
    }

    fn subscription(&self) -> Value {
        json!({
            "endpoint": self.endpoint, "expirationTime": null,
            "keys": { "p256dh": self.keys["p256dh"], "auth": self.keys["auth"] },
        })
    }

    fn add(&self, looked: &Looked<'_>, cookie: &str) -> Result<Response> {
        add(looked, cookie, &self.subscription())
    }

    /// What it was told, and who said so.
    fn reads(&self, got: &Got) -> Tested<Value> {
        let body = BASE64URL_NOPAD.encode(&got.bytes);
        let input = json!({ "device": self.keys, "body": body, "authorization": got.header("authorization") });
        browser("read", &input)
    }
}

fn add(looked: &Looked<'_>, cookie: &str, subscription: &Value) -> Result<Response> {
    let headers = [
        ("host", HOST),
        ("origin", ORIGIN),
        ("cookie", cookie),
        ("user-agent", PHONE),
    ];
    looked
        .http
        .send("POST /devices", &headers, &subscription.to_string())
}

/// How many devices are kept.
fn count(looked: &Looked<'_>) -> usize {
    let dir = fs::read_dir(looked.state.join("push/devices"));
    dir.map_or(0, |dir| dir.count())
}

fn keys_page(looked: &Looked<'_>, cookie: &str) -> Response {
    let page = looked.http.get("/approvers", Some(cookie));
    assert_eq!(page.status, 200, "{}", page.body);
    page
}

#[test]
fn a_device_is_told_where_to_look_and_only_it_can_read_that() -> Tested {
    let network = Network::new()?;
    let one = Told::begin(&network, "")?;
    let (services, service, looked, cookie) = one.parts();
    let device = Device::at(service, "push/secret-path")?;
    let page = keys_page(looked, cookie);
    let vapid = page.between("data-key=\"", "\"");
    assert!(
        page.body.contains("enable --now guard-console-push"),
        "{}",
        page.body
    );
    for without in [None, Some("guard=AAAA")] {
        let refused = looked
            .http
            .json("/devices", &device.subscription(), without);
        assert_eq!(refused.status, 401, "{}", refused.body);
    }
    let added = device.add(looked, cookie)?;
    assert_eq!(added.status, 200, "{}", added.body);
    assert_eq!(
        device.add(looked, cookie)?.status,
        200,
        "it is the same one"
    );
    assert_eq!(count(looked), 1);
    let page = keys_page(looked, cookie);
    assert!(page.body.contains("Firefox on Android"), "{}", page.body);
    assert!(!page.body.contains("secret-path"), "{}", page.body);
    for (file, mode) in [("push/devices", 0o700), ("push/vapid.key", 0o600)] {
        let now = fs::metadata(looked.state.join(file))?.permissions();
        assert_eq!(now.mode() & 0o777, mode, "{file}");
    }

    let told = services.tell(looked)?;
    eventually("somebody tells", || {
        !keys_page(looked, cookie).body.contains("enable --now")
    })?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    eventually("it is told", || service.got().len() == 1)?;
    let got = service.got().pop().context("nothing came")?;
    assert_eq!(got.line, "POST /push/secret-path HTTP/1.1");
    for (header, value) in [
        ("content-encoding", "aes128gcm"),
        ("ttl", "900"),
        ("urgency", "high"),
    ] {
        assert_eq!(got.header(header), value);
    }
    let clear = String::from_utf8_lossy(&got.bytes).into_owned();
    assert!(!clear.contains("guard") && !clear.contains(&id), "{clear}");
    let read = device.reads(&got)?;
    assert_eq!(read["signed"], true);
    assert_eq!(
        read["vapid"],
        vapid.as_str(),
        "the key that the browser was given"
    );
    assert_eq!(read["head"], json!({ "typ": "JWT", "alg": "ES256" }));
    let audience = format!("https://localhost:{}", service.port);
    assert_eq!(read["claims"]["aud"], audience);
    let told_of = &read["told"];
    assert_eq!(told_of["text"], format!("Request {id} asks for an answer"));
    let link = told_of["link"].text()?;
    assert!(
        link.starts_with(&format!("{ORIGIN}/q/m")) && link.ends_with(&id),
        "{link}"
    );
    assert!(!told_of.to_string().contains(V4), "{told_of}");
    assert_eq!(told_of.as_object().unwrap().len(), 3, "it carries no yes");
    let listed = looked.scene.daemon.root(["pending"]).json()?;
    assert_eq!(listed[0]["held"], false, "a device alone has nothing wait");

    // What comes soon after is in one message a little later, also where somebody else tells it.
    drop(told);
    looked.scene.request(&mut shell, 1000);
    let _told = services.tell(looked)?;
    looked.scene.request(&mut shell, 1001);
    eventually("it is told of the others", || service.got().len() == 2)?;
    let read = device.reads(&service.got()[1])?;
    assert_eq!(read["told"]["text"], "Requests r2 and r3 ask for an answer");
    assert_eq!(read["told"]["link"], format!("{ORIGIN}/"));
    assert_eq!(read["vapid"], vapid.as_str());
    Ok(())
}

#[test]
fn a_browser_that_has_gone_is_removed_and_so_is_one_whose_owners_key_is() -> Tested {
    let network = Network::new()?;
    let services = Services::new(&network)?;
    let (gone, other, last) = (services.start()?, services.start()?, services.start()?);
    let all = settings(&[&gone, &other, &last], "");
    let mut looked = Looked::with(&network, "", &all)?;
    let root = |looked: &Looked<'_>, args: &[&str]| -> Tested {
        looked.scene.daemon.root(args).run()?.success()?;
        Ok(())
    };
    looked.enrol("alice", &Passkey::new("alice"))?;
    looked.enrol("carol", &Passkey::new("carol"))?;
    looked.enrol_for("bob", &Passkey::new("bob"), OTHER)?;
    let cookies = ["alice", "carol", "bob"].map(|name| looked.log_in_as(name).unwrap());
    for (service, cookie) in [&gone, &other, &last].into_iter().zip(&cookies) {
        let added = Device::at(service, "x")?.add(&looked, cookie)?;
        assert_eq!(added.status, 200, "{}", added.body);
    }
    // They are one's own to see and to remove, and outlive the console.
    let [alice, carol, bob] = cookies;
    let place = |cookie: &str| {
        let page = keys_page(&looked, cookie);
        assert_eq!(
            page.body.matches("<li data-id=").count(),
            1,
            "{}",
            page.body
        );
        page.between("action=\"/devices/", "\"")
    };
    let of_bob = format!("/devices/{}", place(&bob));
    assert_eq!(looked.http.form(&of_bob, "", Some(&alice)).status, 404);
    let spare = Device::at(&other, "spare")?;
    assert_eq!(spare.add(&looked, &bob)?.status, 200);
    let list = keys_page(&looked, &bob);
    let removed = list.body.split("action=\"/devices/").nth(2).unwrap();
    let removed = format!("/devices/{}", removed.split('"').next().unwrap());
    let answer = looked.http.form(&removed, "", Some(&bob));
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/approvers"))
    );
    assert_eq!(count(&looked), 3);
    looked.kill();
    looked.start()?;
    assert_eq!(count(&looked), 3);

    gone.answer(410);
    let _told = services.tell(&looked)?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 443);
    eventually("carol is told", || other.got().len() == 1)?;
    eventually("alice's browser is removed", || count(&looked) == 2)?;
    assert!(last.got().is_empty(), "bob answers for somebody else");
    assert!(!keys_page(&looked, &alice).body.contains("<li data-id="));

    root(&looked, &["approver", "remove", "carol"])?;
    looked.scene.request(&mut shell, 1000);
    eventually("carol's is removed", || count(&looked) == 1)?;
    assert_eq!(other.got().len(), 1);
    assert_eq!(looked.http.get("/approvers", Some(&carol)).status, 303);
    Ok(())
}

#[test]
fn who_logs_out_everywhere_has_no_device_told_and_takes_nobody_elses() -> Tested {
    let network = Network::new()?;
    let services = Services::new(&network)?;
    let (own, other) = (services.start()?, services.start()?);
    let looked = Looked::with(&network, "", &settings(&[&own, &other], ""))?;
    for name in ["alice", "carol"] {
        looked.enrol(name, &Passkey::new(name))?;
    }
    let [alice, carol] = ["alice", "carol"].map(|name| looked.log_in_as(name).unwrap());
    for (service, cookie) in [(&own, &alice), (&other, &carol)] {
        let added = Device::at(service, "x")?.add(&looked, cookie)?;
        assert_eq!(added.status, 200, "{}", added.body);
    }
    let _told = services.tell(&looked)?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 443);
    eventually("both are told", || {
        own.got().len() == 1 && other.got().len() == 1
    })?;

    let done = looked.http.form("/logout/everywhere", "", Some(&alice));
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(count(&looked), 1);
    assert!(keys_page(&looked, &carol).body.contains("<li data-id="));
    looked.scene.request(&mut shell, 1000);
    eventually("carol is told", || other.got().len() == 2)?;
    assert_eq!(own.got().len(), 1, "alice is not");

    // So it is where the machine logs somebody out.
    for (name, left) in [("alice", 1), ("carol", 0)] {
        let mut logout = looked.command(&["logout", name]);
        assert!(guard_lab::exec::output(&mut logout)?.status.success());
        assert_eq!(count(&looked), left, "{name}");
    }
    Ok(())
}

#[test]
fn a_browser_that_has_another_subscription_is_told_in_place_of_the_one_before() -> Tested {
    let network = Network::new()?;
    let one = Told::begin(&network, "")?;
    let (services, service, looked, cookie) = one.parts();
    let [before, next] = ["before", "next"].map(|path| Device::at(service, path).unwrap());
    assert_eq!(before.add(looked, cookie)?.status, 200);
    let mut said = next.subscription();
    said["replaces"] = json!(before.endpoint);
    let refused = add(looked, "guard=AAAA", &said)?;
    assert_eq!(refused.status, 401, "{}", refused.body);
    assert_eq!(add(looked, cookie, &said)?.status, 200);
    assert_eq!(count(looked), 1);
    // One that somebody has removed comes not back so.
    let again = add(looked, cookie, &said)?;
    assert_eq!(again.status, 400, "{}", again.body);
    let _told = services.tell(looked)?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 443);
    eventually("it is told", || service.got().len() == 1)?;
    assert_eq!(service.got()[0].line, "POST /next HTTP/1.1");
    assert_eq!(next.reads(&service.got()[0])?["signed"], true);
    Ok(())
}

#[test]
fn the_worker_has_the_console_know_its_next_subscription_or_says_that_it_is_told_no_more() -> Tested
{
    let changed = |known: &Value, answer: u16, event: &Value| -> Tested<Value> {
        let dir = env!("CARGO_MANIFEST_DIR");
        let mut node = Command::new("node")
            .arg(format!("{dir}/tests/console/programs/worker.js"))
            .arg(format!("{dir}/../guard-user/console/assets/push.js"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = json!({ "known": known, "answer": answer, "event": event });
        write!(node.stdin.take().context("no standard input")?, "{input}")?;
        let output = node.wait_with_output()?;
        assert!(output.status.success());
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let known = json!({ "endpoint": "https://push.example/before", "key": "BKey" });
    // Browsers differ in what they say: of both subscriptions, of one, or of none.
    for (event, next, subscribed) in [
        (json!({}), "https://push.example/next", 1),
        (
            json!({ "old": "https://push.example/before", "next": "https://push.example/given" }),
            "https://push.example/given",
            0,
        ),
    ] {
        let done = changed(&known, 200, &event)?;
        assert_eq!(done["sent"].list()?.len(), 1, "{done}");
        let sent = &done["sent"][0];
        assert_eq!(
            (&sent["place"], &sent["method"]),
            (&json!("/devices"), &json!("POST"))
        );
        assert_eq!(sent["body"]["endpoint"], next);
        assert_eq!(sent["body"]["replaces"], known["endpoint"]);
        assert_eq!(done["kept"]["endpoint"], next, "for the time after that");
        assert_eq!(done["subscribed"].list()?.len(), subscribed);
        assert_eq!(done["shown"], json!([]));
    }
    let done = changed(
        &Value::Null,
        200,
        &json!({ "old": "https://push.example/old" }),
    )?;
    assert_eq!(
        done["sent"][0]["body"]["replaces"],
        "https://push.example/old"
    );
    // Nobody is logged in there any more.
    let done = changed(&known, 401, &json!({}))?;
    assert_eq!(done["kept"], known, "{done}");
    let shown = &done["shown"][0];
    assert!(shown["body"].text()?.contains("told no more"), "{done}");
    assert_eq!(shown["data"], "https://guard.example/approvers");
    // What it was told by is not known.
    let done = changed(&Value::Null, 200, &json!({}))?;
    assert_eq!(done["sent"], json!([]));
    Ok(())
}

#[test]
fn after_two_noes_nobody_is_told_of_that_session() -> Tested {
    let network = Network::new()?;
    let one = Told::begin(&network, "")?;
    let (services, service, looked, cookie) = one.parts();
    let device = Device::at(service, "x")?;
    assert_eq!(device.add(looked, cookie)?.status, 200);
    let _told = services.tell(looked)?;
    let (mut shell, mut other) = (looked.scene.shell(), looked.scene.shell());
    for (count, port) in [(1, 443), (2, 1000)] {
        let id = looked.scene.request(&mut shell, port);
        eventually("it is told", || service.got().len() == count)?;
        looked.scene.daemon.root(["deny", &id]).run()?.success()?;
    }
    looked.scene.request(&mut shell, 1001);
    let id = looked.scene.request(&mut other, 1000);
    eventually("it is told of the other", || service.got().len() == 3)?;
    let read = device.reads(&service.got()[2])?;
    assert_eq!(
        read["told"]["text"],
        format!("Request {id} asks for an answer")
    );
    Ok(())
}

#[test]
fn nobody_waits_for_anothers_device_that_does_not_answer() -> Tested {
    let network = Network::new()?;
    let services = Services::new(&network)?;
    let good = services.start()?;
    let bound = || Ok(TcpListener::bind("127.0.0.1:0")?);
    let silent = network.dev().enter(bound)?;
    let port = silent.local_addr()?.port();
    let hosts = [port, good.port].map(|port| format!("localhost:{port}"));
    let all = format!("push = [\"webpush\"]\npush_hosts = {}\n", json!(hosts));
    let looked = Looked::with(&network, "", &all)?;
    for name in ["alice", "carol"] {
        looked.enrol(name, &Passkey::new(name))?;
    }
    let [alice, carol] = ["alice", "carol"].map(|name| looked.log_in_as(name).unwrap());
    let stuck = Device {
        endpoint: format!("https://localhost:{port}/x"),
        ..Device::at(&good, "y")?
    };
    assert_eq!(stuck.add(&looked, &alice)?.status, 200);
    assert_eq!(Device::at(&good, "x")?.add(&looked, &carol)?.status, 200);
    let _told = services.tell(&looked)?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 443);
    let (mut held, _) = silent.accept()?;
    eventually("carol is told", || good.got().len() == 1)?;
    held.set_nonblocking(true)?;
    let end = loop {
        match held.read(&mut [0; 4096]) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    let open = Some(io::ErrorKind::WouldBlock);
    assert_eq!(end, open, "alice's server still says nothing");
    Ok(())
}

#[test]
fn a_subscription_leads_nowhere_but_to_push_services() -> Tested {
    let network = Network::new()?;
    let services = Services::new(&network)?;
    let (listed, later) = (services.start()?, services.start()?);
    let looked = Looked::with(&network, "", &settings(&[&listed, &later], ""))?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let cookie = looked.log_in()?;
    let device = Device::at(&listed, "x")?;
    let with = |field: &str, value: Value| {
        let mut subscription = device.subscription();
        *subscription.pointer_mut(field).unwrap() = value;
        add(&looked, &cookie, &subscription).unwrap()
    };
    for inside in [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:192.168.0.1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://printer/x",
        "https://fcm.googleapis.com:22/x",
        "http://fcm.googleapis.com/x",
        "https://a@fcm.googleapis.com/x",
        "unix:/run/guard/guardd.sock",
    ] {
        let refused = with("/endpoint", json!(inside));
        assert_eq!(refused.status, 400, "{inside}: {}", refused.body);
    }
    for (field, wrong) in [
        ("/keys/p256dh", json!(BASE64URL_NOPAD.encode(&[4; 65]))),
        ("/keys/p256dh", json!("")),
        ("/keys/auth", json!("AAAA")),
        ("/keys", Value::Null),
    ] {
        assert_eq!(with(field, wrong).status, 400, "{field}");
    }
    assert_eq!(count(&looked), 0);

    // What was fine when it came is looked at each time.
    for one in [&device, &Device::at(&later, "x")?] {
        assert_eq!(one.add(&looked, &cookie)?.status, 200);
    }
    looked.set(&settings(&[&listed], ""))?;
    let told = services.tell(&looked)?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 443);
    eventually("one is told", || listed.got().len() == 1)?;
    assert!(later.got().is_empty());
    drop(told);
    // The control: it is told as soon as the settings name it.
    looked.set(&settings(&[&later], ""))?;
    let _told = services.tell(&looked)?;
    looked.scene.request(&mut shell, 1000);
    eventually("the other is", || later.got().len() == 1)?;
    assert_eq!(listed.got().len(), 1);
    Ok(())
}

/// The setting of hours that it is now among.
fn quiet_now() -> String {
    let hour = |later: i64| {
        let now = jiff::Zoned::now() + jiff::SignedDuration::from_hours(later);
        now.strftime("%H:%M").to_string()
    };
    format!("quiet = \"{}-{}\"", hour(-1), hour(2))
}

#[test]
fn connections_wait_for_a_device_only_where_that_is_wanted_and_never_in_quiet_hours() -> Tested {
    let network = Network::new()?;
    let quiet = format!("{}\npush_waits = true", quiet_now());
    let one = Told::begin(&network, &quiet)?;
    let (services, service, looked, cookie) = one.parts();
    let device = Device::at(service, "x")?;
    assert_eq!(device.add(looked, cookie)?.status, 200);
    let told = services.tell(looked)?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 1000);
    let pending = || looked.scene.daemon.root(["pending"]).json().unwrap();
    assert_eq!(pending()[0]["held"], false);
    assert!(service.got().is_empty());
    drop(told);

    // Then it is told of what waits.
    looked.set(&settings(
        &[service],
        "push_waits = true\npush_address = true",
    ))?;
    let told = services.tell(looked)?;
    eventually("it is told", || service.got().len() == 1)?;
    let read = device.reads(&service.got()[0])?;
    let text = format!("Request r1 (tcp {V4}:1000) asks for an answer");
    assert_eq!(read["told"]["text"], text);
    // A program that tries again and again waits as soon as guardd knows that somebody could be told.
    let probe = bins::for_everybody("guard-lab", looked.scene.daemon.tag())?;
    let probe = probe.display();
    let tries = format!(
        "for n in $(seq 300); do {probe} probe tcp {V4} 443 --timeout 600000; sleep 0.1; done &"
    );
    shell.tell(&tries)?;
    eventually("it waits", || {
        pending()
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["held"] == true))
    })?;
    drop(told);
    Ok(())
}

/// Somebody who says no at night is not asked by the same session in the morning.
#[test]
fn noes_in_quiet_hours_count() -> Tested {
    let network = Network::new()?;
    let one = Told::begin(&network, &quiet_now())?;
    let (services, service, looked, cookie) = one.parts();
    let device = Device::at(service, "x")?;
    assert_eq!(device.add(looked, cookie)?.status, 200);
    let told = services.tell(looked)?;
    let (mut shell, mut other) = (looked.scene.shell(), looked.scene.shell());
    for port in [443, 1000] {
        let id = looked.scene.request(&mut shell, port);
        looked.scene.daemon.root(["deny", &id]).run()?.success()?;
    }
    let kept = looked.state.join("push/told.json");
    eventually("both are noted", || {
        let kept = fs::read_to_string(&kept).unwrap_or_default();
        let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
        kept["alice"]["noes"]
            .as_object()
            .is_some_and(|noes| noes.len() == 2)
    })?;
    assert!(service.got().is_empty());
    drop(told);

    looked.set(&settings(&[service], ""))?;
    let _told = services.tell(looked)?;
    looked.scene.request(&mut shell, 1001);
    let id = looked.scene.request(&mut other, 1000);
    eventually("it is told of the other", || service.got().len() == 1)?;
    let read = device.reads(&service.got()[0])?;
    let text = format!("Request {id} asks for an answer");
    assert_eq!(read["told"]["text"], text);
    Ok(())
}

#[test]
fn nobody_is_told_where_the_settings_do_not_want_it() -> Tested {
    let network = Network::new()?;
    let services = Services::new(&network)?;
    let service = services.start()?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let cookie = looked.log_in()?;
    assert!(!keys_page(&looked, &cookie).body.contains("Your devices"));
    let refused = Device::at(&service, "x")?.add(&looked, &cookie)?;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let status = looked.command(&["push"]).stderr(Stdio::null()).status();
    assert_eq!(status?.code(), Some(2));
    assert!(!looked.state.join("push").exists());
    // The page's own parts need no session, and no policy is loosened for them.
    let worker = looked.http.get("/push.js", None);
    assert_eq!(
        worker.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let manifest = looked.http.get("/manifest.webmanifest", None);
    let manifest: Value = serde_json::from_str(&manifest.body)?;
    let icon = manifest["icons"][0]["src"].text()?;
    assert_eq!(looked.http.get(icon, None).status, 200);
    let policy = keys_page(&looked, &cookie);
    let policy = policy.header("content-security-policy").unwrap();
    for part in [
        "worker-src 'self'",
        "manifest-src 'self'",
        "trusted-types guard",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    Ok(())
}
