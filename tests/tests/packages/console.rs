//! The console's package, by the commands that docs/console.md says, under a real systemd.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Output,
};

use guard_lab::{Json as _, Tested, eventually};
use serde_json::json;

use crate::{
    console::passkey::Passkey,
    documents::block::{CONSOLE, text},
    packages::{
        SETTINGS,
        machine::{self, Machine, files, guard, property, quiet, said, succeeds},
    },
};

const UNITS: [&str; 2] = ["guard-console.service", "guard-console.socket"];
/// Off also where the console is on.
const PUSH: &str = "guard-console-push.service";
const HOST: &str = "guard.localhost:4827";

/// Runs a block as root.
pub(super) fn typed(block: &str) -> String {
    typed_in(Path::new("/"), block)
}

/// The same in a directory.
pub(super) fn typed_in(dir: &Path, block: &str) -> String {
    let block = block
        .replace("sudo -u guard-fleet", "runuser -u guard-fleet --")
        .replace("sudo -u guard-console", "runuser -u guard-console --")
        .replace("sudo ", "");
    let mut bash = quiet("bash");
    bash.args(["-euo", "pipefail", "-c", &block]);
    succeeds(bash.current_dir(dir))
}

/// What the console answers.
fn send(line: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:4827")?;
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: {HOST}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn get(place: &str) -> Tested<String> {
    Ok(send(&format!("GET {place}"), &[], "")?)
}

fn post(place: &str, kind: &str, body: &str) -> Tested<String> {
    let origin = format!("http://{HOST}");
    let headers = [("origin", &*origin), ("content-type", kind)];
    Ok(send(&format!("POST {place}"), &headers, body)?)
}

fn dpkg(args: &[&str]) -> Output {
    machine::dpkg(args)
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_console_is_off_until_somebody_wants_it_and_then_serves() -> Tested {
    let _machine = Machine::with_guard();
    // Whoever `dev` is: the user that agents run as.
    if !quiet("id").arg("dev").output()?.status.success() {
        succeeds(quiet("useradd").args(["--create-home", "dev"]));
    }
    let (before, settings) = (files(), fs::read_to_string(SETTINGS)?);
    let release = machine::release("guard-console");
    typed_in(release.path(), &text(CONSOLE, "sh", "sudo apt install"));
    for unit in UNITS.into_iter().chain([PUSH]) {
        assert_eq!(property(unit, "UnitFileState"), "disabled", "{unit}");
        assert_eq!(property(unit, "ActiveState"), "inactive", "{unit}");
    }
    assert!(
        TcpStream::connect("127.0.0.1:4827").is_err(),
        "it serves nobody"
    );
    fs::write(
        SETTINGS,
        settings.clone() + &text(CONSOLE, "toml", "couriers"),
    )?;
    typed(&text(CONSOLE, "sh", "enable --now guard-console"));
    for unit in UNITS {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
    }
    assert!(get("/login")?.contains("Log in to guard"));
    it_brings_its_documents_and_has_no_rights()?;
    enrols()?;
    let cookie = logs_in()?;
    it_comes_back(&cookie)?;

    let purged = dpkg(&["--purge", "guard-console"]);
    assert!(purged.status.success(), "{}", said(&purged));
    for unit in UNITS {
        assert_ne!(property(unit, "ActiveState"), "active", "{unit}");
    }
    assert!(TcpStream::connect("127.0.0.1:4827").is_err());
    assert_eq!(guard(&["status"])["enforcing"], true, "guard stays");
    fs::write(SETTINGS, settings)?;
    succeeds(quiet("guard").args(["approver", "remove", "alice"]));
    // The users stay, as is the custom of the distribution.
    let of_users = [
        "/etc/passwd-",
        "/etc/shadow-",
        "/etc/group-",
        "/etc/gshadow-",
        "/etc/.pwd.lock",
    ];
    let after = files();
    let left = after.difference(&before);
    let left: Vec<_> = left
        .filter(|file| !of_users.contains(&&***file) && !file.starts_with("/var/lib/guard/"))
        .filter(|file| !file.starts_with("/var/log/guard"))
        // guardd was restarted.
        .filter(|file| !file.starts_with("/run/guard/") && !file.contains("-guardd.service-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// What runs is nobody: neither by its user nor by what systemd leaves it.
fn it_brings_its_documents_and_has_no_rights() -> Tested {
    let listed = succeeds(quiet("dpkg-query").args(["--listfiles", "guard-console"]));
    for file in [
        "/usr/share/man/man8/guard-console.8.gz",
        "/usr/share/doc/guard-console/copyright",
    ] {
        assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
    }
    let pid = property(UNITS[0], "MainPID");
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (line("NoNewPrivs:"), line("Seccomp:")),
        ("1".into(), "2".into())
    );
    let uid = succeeds(quiet("id").args(["--user", "guard-console"]));
    assert_eq!(line("Uid:").split(' ').next(), Some(uid.trim()));
    Ok(())
}

/// Alice enrols by what root was told.
fn enrols() -> Tested {
    let invite = text(CONSOLE, "sh", "approver invite");
    let (invite, accept) = invite.split_once('\n').unwrap();
    let invited: serde_json::Value = serde_json::from_str(&typed(&format!("{invite} --json")))?;
    let token = invited["invitation"].text()?;
    assert!(get(&format!("/enrol/{token}"))?.contains("Make a passkey for guard"));
    let key = Passkey::new("alice");
    let made = json!({ "invitation": token, "id": key.id(), "public_key": key.public() });
    let presented = post("/enrol", "application/json", &made.to_string())?;
    let fingerprint = presented.split("\"fingerprint\":\"").nth(1).unwrap();
    let fingerprint = fingerprint.split('"').next().unwrap();
    typed(&accept.replace("SHA256:…", fingerprint));
    assert_eq!(
        guard(&["approver", "list"])[0]["answers_for"],
        json!(["dev"])
    );
    assert!(get(&format!("/enrol/{token}"))?.contains("counts no more"));
    Ok(())
}

/// Alice logs in by a link; gives her cookie.
fn logs_in() -> Tested<String> {
    let link = typed(&text(CONSOLE, "sh", "guard-console login alice"));
    let secret = link.trim().rsplit('/').next().unwrap();
    let form = "application/x-www-form-urlencoded";
    let entered = post("/login", form, &format!("secret={secret}"))?;
    let cookie = entered.split("set-cookie: ").nth(1).unwrap();
    Ok(cookie.split(';').next().unwrap().to_owned())
}

/// Killed, it comes back by itself; stopped, its socket holds the address and starts it. Who was logged in still is.
fn it_comes_back(cookie: &str) -> Tested {
    let service = UNITS[0];
    let looks = || -> Tested<_> { Ok(send("GET /", &[("cookie", cookie)], "")?) };
    assert!(looks()?.contains("Nothing is asked."), "{}", looks()?);
    let pid = property(service, "MainPID");
    succeeds(quiet("kill").args(["-KILL", &pid]));
    eventually("it is back", || {
        let now = property(service, "MainPID");
        now != "0" && now != pid && property(service, "ActiveState") == "active"
    })?;
    assert!(
        looks()?.contains("Nothing is asked."),
        "who was logged in still is"
    );
    succeeds(quiet("systemctl").args(["stop", service]));
    assert!(looks()?.contains("Nothing is asked."));
    assert_eq!(property(service, "ActiveState"), "active");

    // The same package again, as an upgrade: what runs is replaced.
    let pid = property(service, "MainPID");
    succeeds(&mut machine::install(&machine::package("guard-console")));
    assert_ne!(property(service, "MainPID"), pid);
    assert!(looks()?.contains("Nothing is asked."));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_phone_is_told_by_a_unit_of_its_own_that_remembers() -> Tested {
    let _machine = Machine::with_guard();
    succeeds(&mut machine::install(&machine::package("guard-console")));
    let settings = fs::read_to_string(SETTINGS)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/topic", listener.local_addr()?);
    let told = text(CONSOLE, "toml", "notify").replace("@/etc/guard/ntfy", &url);
    fs::write(SETTINGS, settings.clone() + &told)?;
    succeeds(quiet("systemctl").args(["restart", "guardd"]));
    let network = guard_lab::Network::new()?;
    let mut agent = crate::packages::agent::Agent::start(&network);
    agent.begin(&guard_lab::Attempt::tcp(guard_lab::V4, 443));
    // Whoever answers before it has read is not believed to have answered.
    let answer = |status: &str| -> Tested<String> {
        let (mut stream, _) = listener.accept()?;
        let mut text = [0; 4096];
        let length = stream.read(&mut text)?;
        write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n")?;
        Ok(String::from_utf8_lossy(&text[..length]).into_owned())
    };
    let text = answer("503")?;
    assert!(text.starts_with("POST /topic HTTP/1.1"), "{text}");
    assert!(!text.contains(guard_lab::V4), "{text}");
    // It failed: the same unit's directory is there for the next run.
    answer("200")?;
    let kept = "/run/guard-on-request/told.json";
    eventually("it is kept", || {
        fs::read_to_string(kept).is_ok_and(|kept| kept.contains("\"messages\":[{"))
    })?;
    let owner = succeeds(quiet("stat").args(["--format=%U %a", "/run/guard-on-request"]));
    assert_eq!(owner.trim(), "guard-notify 700");
    drop(agent);
    fs::write(SETTINGS, settings)?;
    succeeds(quiet("systemctl").args(["restart", "guardd"]));
    let purged = dpkg(&["--purge", "guard-console"]);
    assert!(purged.status.success(), "{}", said(&purged));
    let _ = fs::remove_dir_all("/run/guard-on-request");
    Ok(())
}
