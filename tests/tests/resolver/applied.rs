//! Another text for a session that knows addresses by names: what it was told counts on, from the moment on at which the other text
//! judges it.

use std::{fs, os::fd::AsFd as _, path::PathBuf};

use aya::maps::MapData;
use guard_common::{Address, Named, NamedKey, PolicyId, SessionId};
use guard_lab::{Json as _, Output, Shell, SshKey, Tested, eventually};
use guard_sys::bpf::{delete_batch, update_batch};
use serde_json::json;
use zerocopy::IntoBytes as _;

use crate::names::scene::{DNS, NameScene, Names, reaches, with_resolvers};

/// All is open but what has names of one zone.
const POLICY: &str = r#"
version = 1
default = "allow"
hold = "0s"

[[rule]]
name = "shop"
to = ["*.example.com"]
action = "confirm"
"#;

/// More of it.
const NARROWER: &str = "\n[[rule]]\nto = [\"*.shop.example.com\"]\naction = \"deny\"\n";

const NAME: &str = "db.shop.example.com";
const ADDRESS: &str = "192.0.2.30";
const OTHER_NAME: &str = "www.example.com";
const OTHER: &str = "192.0.2.31";
const NAMES: Names<'_> = &[(NAME, &[ADDRESS]), (OTHER_NAME, &[OTHER])];

/// Connects again and again until it reads a line. Says how often it came there, and how often it was refused.
const TRIES: &str = r#"
import socket, sys, threading
to = sys.argv[1], int(sys.argv[2])
is_over = threading.Event()

def wait():
    sys.stdin.readline()
    is_over.set()

threading.Thread(target=wait).start()
passed = refused = 0
print("tries", flush=True)
while not is_over.is_set():
    with socket.socket() as s:
        try:
            s.connect(to)
            passed += 1
        except PermissionError:
            refused += 1
print("tried", passed, refused, flush=True)
"#;

/// Looks up names of its own: `SERVER COUNT`.
const FILLS: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.connect((sys.argv[1], 53))
found = 0
for number in range(int(sys.argv[2])):
    label = b"n%d" % number
    question = struct.pack(">HH4H", number, 0x100, 1, 0, 0, 1) + bytes([len(label)]) + label
    question += b"\3own\4test\0\0\1\0\1" + b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
    s.send(question)
    found += struct.unpack(">H", s.recv(4096)[6:8])[0]
print("found", found, flush=True)
"#;

/// A session under a text that is a file's.
struct Applying {
    scene: NameScene,
    file: PathBuf,
    shell: Shell,
}

impl Applying {
    /// One that knows an address by its name, and is refused there for it.
    fn new() -> Tested<Self> {
        let scene = NameScene::new("listed", "version = 1\nname = \"listed\"\n", NAMES)?;
        for to in [ADDRESS, OTHER] {
            scene.assert_open(to, 443)?;
        }
        let file = scene
            .daemon
            .write_for_agents("own.toml", &with_resolvers(POLICY))?;
        let run = scene.daemon.agent(["run", "--policy"]).args([&file]);
        let mut shell = Shell::run_by(&scene.daemon, run)?;
        assert!(
            reaches(&mut shell, ADDRESS, 443)?,
            "by its address it is open"
        );
        let told = scene.asked(&mut shell, NAME, "connected")?;
        assert_eq!(told, format!("0 {DNS} {ADDRESS}"));
        assert!(!reaches(&mut shell, ADDRESS, 443)?);
        Ok(Self { scene, file, shell })
    }

    /// Has the file have more rules, and the session be judged by it.
    fn apply(&self, more: &str, how: &str) -> Tested<Output> {
        fs::write(&self.file, with_resolvers(&format!("{POLICY}{more}")))?;
        let apply = self.scene.daemon.agent(["policy", "apply"]);
        Ok(apply.args([&self.file]).args([how, "--json"]).run()?)
    }

    fn applied(&self, more: &str) -> Tested {
        let applied = self.apply(more, "--yes")?;
        assert_eq!(applied.json()?["changed"], true, "{applied:?}");
        Ok(())
    }

    fn verdict(&self, to: &str) -> Tested<String> {
        let explain = ["explain", to, "--session", self.shell.session()];
        let explained = self.scene.daemon.root(explain).json()?;
        Ok(explained["verdict"].as_str().unwrap_or_default().to_owned())
    }

    /// What it is told of a name.
    fn asked(&mut self, name: &str) -> Tested<String> {
        self.scene.asked(&mut self.shell, name, "connected")
    }

    /// Whether it is said that not many more addresses can be looked up.
    fn is_warned(&self) -> Tested<bool> {
        let status = self.scene.daemon.json(["status"])?;
        Ok(status["warnings"]
            .to_string()
            .contains("of 262144 that the kernel keeps"))
    }

    /// How many connections have come there.
    fn reached(&self) -> Tested<usize> {
        Ok(self.scene.production.reached_at(ADDRESS, 443)?.len())
    }
}

/// A rule that is about none of them.
fn denies(last: u8) -> String {
    format!("\n[[rule]]\nto = [\"198.51.100.{last}\"]\naction = \"deny\"\n")
}

#[test]
fn a_text_that_narrows_opens_nothing_that_a_name_shuts() -> Tested {
    let mut applying = Applying::new()?;
    let before = applying.reached()?;
    let file = applying.scene.daemon.write_for_agents("tries.py", TRIES)?;
    let tries = format!("python3 {} {ADDRESS} 443", file.display());
    applying.shell.tell(&tries)?;
    applying.shell.line_with("tries")?;
    let mut more = String::new();
    for last in 70..78 {
        more += &denies(last);
        applying.applied(&more)?;
        assert_eq!(applying.verdict(&format!("198.51.100.{last}"))?, "deny");
    }
    applying.shell.tell("stop")?;
    let said = applying.shell.line_with("tried ")?;
    let words: Vec<_> = said.split_whitespace().collect();
    assert!(words[1] == "0" && words[2] != "0", "{said}");
    assert_eq!(applying.reached()?, before);
    // What it is told from now on counts as well.
    let told = applying
        .scene
        .asked(&mut applying.shell, OTHER_NAME, "connected")?;
    assert_eq!(told, format!("0 {DNS} {OTHER}"));
    for to in [ADDRESS, OTHER] {
        assert!(!reaches(&mut applying.shell, to, 443)?, "{to}");
        assert_eq!(applying.verdict(to)?, "confirm", "{to}");
    }
    Ok(())
}

#[test]
fn what_was_told_before_guardd_was_started_again_counts_on_under_another_text() -> Tested {
    let mut applying = Applying::new()?;
    applying.scene.daemon.kill()?;
    applying.scene.daemon.start()?;
    assert!(!reaches(&mut applying.shell, ADDRESS, 443)?);
    applying.applied(&denies(70))?;
    assert!(!reaches(&mut applying.shell, ADDRESS, 443)?);
    assert_eq!(applying.verdict(ADDRESS)?, "confirm");
    // Which name it was nobody knows any more, so the strictest of what it may be holds.
    applying.applied(&format!("{}{NARROWER}", denies(70)))?;
    assert_eq!(applying.verdict(ADDRESS)?, "deny");
    assert!(!reaches(&mut applying.shell, ADDRESS, 443)?);
    Ok(())
}

#[test]
fn what_a_session_knows_beside_too_much_else_counts_on_under_another_text() -> Tested {
    const COUNT: u32 = 330;
    const EACH: u32 = 60;
    let mut applying = Applying::new()?;
    for number in 0..COUNT {
        let addresses = (0..EACH).map(|nth| {
            let [.., a, b] = (number * EACH + nth).to_be_bytes();
            format!("203.0.{a}.{b}")
        });
        let addresses: Vec<_> = addresses.collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        applying
            .scene
            .server
            .set(&format!("n{number}.own.test"), &addresses);
    }
    let file = applying.scene.daemon.write_for_agents("fills.py", FILLS)?;
    let fills = format!("python3 {} {DNS} {COUNT}", file.display());
    applying.shell.tell(&fills)?;
    let said = applying.shell.line_with("found")?;
    assert_eq!(said.trim(), format!("found {}", COUNT * EACH));
    // guardd has no room for it any more.
    let told = applying
        .scene
        .asked(&mut applying.shell, OTHER_NAME, "connected")?;
    assert_eq!(told, format!("0 {DNS} {OTHER}"));
    assert!(!reaches(&mut applying.shell, OTHER, 443)?);
    applying.applied(&denies(70))?;
    for to in [ADDRESS, OTHER] {
        assert!(!reaches(&mut applying.shell, to, 443)?, "{to}");
    }
    Ok(())
}

#[test]
fn a_narrower_rule_holds_for_the_names_that_it_is_about() -> Tested {
    let mut applying = Applying::new()?;
    let told = applying
        .scene
        .asked(&mut applying.shell, OTHER_NAME, "connected")?;
    assert_eq!(told, format!("0 {DNS} {OTHER}"));
    for to in [ADDRESS, OTHER] {
        assert!(!reaches(&mut applying.shell, to, 443)?, "{to}");
    }
    eventually("guardd knows the names", || {
        let pending = applying.scene.daemon.root(["pending"]).json()?;
        let hosts = pending
            .list()?
            .iter()
            .map(|one| &one["destination"]["host"]);
        let hosts: Vec<_> = hosts.collect();
        Ok([NAME, OTHER_NAME]
            .iter()
            .all(|name| hosts.iter().any(|host| *host == name)))
    })?;
    applying.applied(NARROWER)?;
    assert_eq!(applying.verdict(ADDRESS)?, "deny");
    assert_eq!(applying.verdict(OTHER)?, "confirm");
    // Back again is wider, and a person has to say so.
    let refused = applying.apply("", "--yes")?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let wider = applying.apply("", "--widen")?;
    assert_eq!(wider.json()?["changed"], true, "{wider:?}");
    assert_eq!(applying.verdict(ADDRESS)?, "confirm");
    Ok(())
}

/// The kernel's map, in which there is no room left.
struct Full {
    map: MapData,
    keys: Vec<u8>,
}

impl Full {
    const KEY: usize = size_of::<NamedKey>();

    fn new(scene: &NameScene) -> Tested<Self> {
        const VALUE: usize = size_of::<Named>();
        let map = MapData::from_pin(scene.daemon.pin_dir().join("live/named"))?;
        let keys = (0..300_000_u128).map(|number| {
            NamedKey::new(SessionId(u32::MAX), PolicyId(1), Address::from_u128(number))
        });
        let keys: Vec<_> = keys.flat_map(|key| key.as_bytes().to_vec()).collect();
        let values = vec![0; keys.len() / Self::KEY * VALUE];
        let full = update_batch(map.fd().as_fd(), &keys, &values, Self::KEY, VALUE);
        assert!(full.is_err(), "there is room left");
        Ok(Self { map, keys })
    }

    fn empty(self) -> Tested {
        delete_batch(self.map.fd().as_fd(), &self.keys, Self::KEY)?;
        Ok(())
    }
}

#[test]
fn what_the_kernel_has_no_room_for_is_not_answered_and_what_is_known_goes_on() -> Tested {
    let mut applying = Applying::new()?;
    assert!(!applying.is_warned()?);
    let full = Full::new(&applying.scene)?;
    let failed = format!("2 {DNS}");
    assert_eq!(applying.asked(OTHER_NAME)?, failed, "SERVFAIL");
    assert!(applying.is_warned()?);
    // By its address it is open, as before.
    assert!(reaches(&mut applying.shell, OTHER, 443)?);
    assert_eq!(applying.verdict(OTHER)?, "allow");
    let known = format!("0 {DNS} {ADDRESS}");
    assert_eq!(applying.asked(NAME)?, known);
    assert!(!reaches(&mut applying.shell, ADDRESS, 443)?);
    assert_eq!(applying.verdict(ADDRESS)?, "confirm");
    eventually("it is written down", || {
        let denied = applying.scene.daemon.logged("denied")?;
        Ok(denied.iter().any(|record| {
            let why = record["why"].as_str().unwrap_or_default();
            record["destination"]["host"] == OTHER_NAME
                && record["verdict"] == "failed"
                && why.contains("the kernel keeps no more addresses")
        }))
    })?;
    full.empty()?;
    let answered = format!("0 {DNS} {OTHER}");
    assert_eq!(applying.asked(OTHER_NAME)?, answered);
    assert!(!reaches(&mut applying.shell, OTHER, 443)?);
    assert!(!applying.is_warned()?);
    Ok(())
}

#[test]
fn what_the_kernel_cannot_take_over_is_not_applied() -> Tested {
    let mut applying = Applying::new()?;
    assert!(!applying.is_warned()?);
    let full = Full::new(&applying.scene)?;
    assert!(applying.is_warned()?, "guardd has never heard of any of it");
    let refused = applying.apply(&denies(70), "--yes")?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        said.contains("does not take over what it has looked up"),
        "{said}"
    );
    assert_eq!(applying.verdict("198.51.100.70")?, "allow");
    assert_eq!(applying.verdict(ADDRESS)?, "confirm");
    assert!(!reaches(&mut applying.shell, ADDRESS, 443)?);
    assert!(applying.scene.daemon.logged("policy-applied")?.is_empty());
    full.empty()?;
    applying.applied(&denies(70))?;
    assert_eq!(applying.verdict("198.51.100.70")?, "deny");
    assert!(!reaches(&mut applying.shell, ADDRESS, 443)?);
    Ok(())
}

/// A name that no rule is about, as yet.
const OWN_NAME: &str = "www.own.test";
const OWN: &str = "192.0.2.32";

#[test]
fn what_the_kernel_cannot_take_over_is_not_reloaded() -> Tested {
    let scene = NameScene::new("listed", OPEN, &[(OWN_NAME, &[OWN])])?;
    let mut shell = scene.shell()?;
    let told = scene.asked(&mut shell, OWN_NAME, "connected")?;
    assert_eq!(told, format!("0 {DNS} {OWN}"));
    assert!(reaches(&mut shell, OWN, 443)?);
    eventually("guardd knows of it", || {
        let explain = ["explain", OWN_NAME, "--session", shell.session()];
        let explained = scene.daemon.root(explain).json()?;
        Ok(!explained["addresses"].list()?.is_empty())
    })?;
    let narrower = format!("{OPEN}\n[[rule]]\nto = [\"*.own.test\"]\naction = \"deny\"\n");
    let write = |text: &str| scene.daemon.write_policy("listed", &with_resolvers(text));
    let full = Full::new(&scene)?;
    write(&narrower)?;
    eventually("the version before it stands", || {
        let status = scene.daemon.json(["status"])?;
        let policies = status["policies"].list()?.iter();
        let errors: Vec<_> = policies.map(|one| one["error"].to_string()).collect();
        Ok(errors.iter().any(|error| error.contains("NAMED")))
    })?;
    assert!(reaches(&mut shell, OWN, 443)?, "whole");
    full.empty()?;
    write(&format!("{narrower}# again\n"))?;
    eventually("the newer one is in force", || {
        Ok(!reaches(&mut shell, OWN, 443)?)
    })?;
    Ok(())
}

/// Some of the zone is denied by the fleet.
const BASE: &str = r#"
version = 1
name = "floor"
default = "allow"

[[rule]]
name = "never"
to = ["*.shop.example.com"]
action = "deny"
"#;
/// Under which all of it is open.
const OPEN: &str = r#"
version = 1
name = "listed"
default = "allow"

[[rule]]
name = "shop"
to = ["*.example.com"]
action = "allow"
"#;

/// Has the fleet's policy lie around sessions, if guardd takes it.
fn offer(scene: &NameScene, key: &SshKey) -> Tested<Output> {
    let policies = json!({"floor": BASE});
    let bundle =
        format!(r#"{{"base":"floor","groups":["ci"],"policies":{policies},"serial":1,"v":1}}"#);
    let signature = key.sign(&bundle, "policy@guardd.org")?["signature"].take();
    let signed = json!({"bundle": bundle, "signatures": [signature]});
    let offer = scene.daemon.root(["policy", "offer", "-"]);
    Ok(offer.input(signed.to_string()).run()?)
}

#[test]
fn what_comes_around_a_session_holds_for_what_it_has_looked_up_or_does_not_come() -> Tested {
    let mut scene = NameScene::new("listed", OPEN, NAMES)?;
    let dir = scene.daemon.dir().to_owned();
    let signers = dir.join("signers");
    let key = SshKey::new(dir.join("alice"))?;
    fs::write(
        &signers,
        format!("alice {}", fs::read_to_string(key.public())?),
    )?;
    scene.daemon.stop()?;
    scene.daemon.write_config(&format!(
        "resolvers = [\"{DNS}:53\"]\n[fleet]\ngroup = \"ci\"\nsigners = {signers:?}\n"
    ))?;
    scene.daemon.start()?;
    let mut shell = scene.shell()?;
    for (name, to) in [(NAME, ADDRESS), (OTHER_NAME, OTHER)] {
        let told = scene.asked(&mut shell, name, "connected")?;
        assert_eq!(told, format!("0 {DNS} {to}"));
        assert!(reaches(&mut shell, to, 443)?);
    }
    let full = Full::new(&scene)?;
    let refused = offer(&scene, &key)?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let why = "does not take over what they have looked up";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    let status = scene.daemon.json(["status"])?;
    assert!(status["fleet"]["base"].is_null(), "{status}");
    assert!(reaches(&mut shell, ADDRESS, 443)?, "as before");

    full.empty()?;
    offer(&scene, &key)?.success()?;
    assert!(!reaches(&mut shell, ADDRESS, 443)?, "its name is denied");
    assert!(reaches(&mut shell, OTHER, 443)?);
    Ok(())
}
