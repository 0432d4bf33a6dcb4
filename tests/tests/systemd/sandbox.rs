//! Everything that guardd does, in the sandbox that its unit puts it into.

use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread;

use guard_lab::{Json as _, Tested, eventually};
use serde_json::Value;

use super::machine::{Machine, Target, UID, as_user, journal, ok, text};

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "db.example.com"]
action = "confirm"
"#;

/// A network namespace of this test's, in which 192.0.2.10 is an address of loopback.
struct Elsewhere;

impl Elsewhere {
    fn new() -> Tested<Self> {
        ok("ip", &["netns", "add", "elsewhere"])?;
        ok(
            "ip",
            &[
                "-n",
                "elsewhere",
                "address",
                "add",
                "192.0.2.10/32",
                "dev",
                "lo",
            ],
        )?;
        ok("ip", &["-n", "elsewhere", "link", "set", "lo", "up"])?;
        Ok(Self)
    }

    /// Starts something there, as the user; what it prints goes to a file.
    fn spawn(&self, log: &str, args: &[&str]) -> Tested<Running> {
        let id = UID.to_string();
        // `ip netns exec` would hide the cgroups.
        let mut command = Command::new("nsenter");
        command.args(["--net=/run/netns/elsewhere", "setpriv", "--reuid", &id]);
        command.args(["--regid", &id, "--clear-groups"]);
        let out = fs::File::create(log)?;
        command
            .args(args)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out);
        Ok(Running(command.spawn()?))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        ok("ip", &["netns", "delete", "elsewhere"]).unwrap();
    }
}

const SERVER: &str = "/run/server.log";
const SESSION: &str = "/run/session.log";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers each question about an IPv4 address with 198.51.100.7, and others with nothing.
fn name_server() -> Tested<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // RFC 1035: the header is 12 bytes, then a name that ends with a zero, a type and a class.
            let name = buffer[12..length]
                .iter()
                .position(|byte| *byte == 0)
                .unwrap();
            let question = 12 + name + 5;
            let is_a = buffer[question - 3] == 1;
            let mut answer = buffer[..question].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 7]);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    Ok(port)
}

fn told(args: &[&str]) -> Tested<Value> {
    Ok(serde_json::from_str(&ok("guard", args)?)?)
}

fn said(log: &str) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn it_can_do_all_of_its_work() -> Tested {
    let machine = Machine::new()?;
    // Other tests have it complain.
    let before = journal("guardd.service")?.len();
    let resolver = name_server()?;
    machine.settings(&format!("resolvers = [\"127.0.0.1:{resolver}\"]\n"))?;
    fs::create_dir_all("/etc/guard/policies")?;
    fs::write("/etc/guard/policies/asks.toml", POLICY)?;
    ok("systemctl", &["restart", "guardd.service"])?;
    let elsewhere = Elsewhere::new()?;
    let _server = listens(&elsewhere)?;
    let _session = tries(&elsewhere)?;
    let request = it_sees_which_program_was_stopped()?;
    it_opens_a_hole_and_cuts_what_goes_through(&request)?;
    it_looks_names_up_and_follows_a_policy()?;
    sessions_nest_and_end()?;
    it_sees_who_listens_on_the_loopback()?;
    Target::new()?.is_out_of_reach()?;

    let said = journal("guardd.service")?;
    let complaints: Vec<_> = said[before..]
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| line.contains("permitted") || line.contains("ermission"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}

fn listens(elsewhere: &Elsewhere) -> Tested<Running> {
    let server = elsewhere.spawn(
        SERVER,
        &["guard-lab", "probe", "listen", "192.0.2.10", "7000"],
    )?;
    eventually("it listens", || said(SERVER).contains("listening"))?;
    Ok(server)
}

/// A session in which one program gives up, and the next does not.
fn tries(elsewhere: &Elsewhere) -> Tested<Running> {
    // The first one lives for long enough to be looked at.
    let script = "guard-lab probe loop 192.0.2.10 7000 20000; \
                  until guard-lab probe hold-open 192.0.2.10 7000; do sleep .3; done";
    let run = ["guard", "run", "--policy", "asks", "--name", "held", "--"];
    elsewhere.spawn(SESSION, &[&run[..], &["sh", "-c", script]].concat())
}

/// And whose; gives the question.
fn it_sees_which_program_was_stopped() -> Tested<String> {
    let pending = || told(&["pending", "--json"]);
    eventually("there is a question", || Ok(!pending()?.list()?.is_empty()))?;
    let request = pending()?[0].clone();
    assert_eq!(request["exe"], "/usr/bin/guard-lab", "{request}");
    assert_eq!(request["destination"]["address"], "192.0.2.10");
    let is_over = || said(SESSION).contains("\"connected\":0");
    eventually("the first one gives up", is_over)?;
    Ok(request["id"].text()?.to_owned())
}

/// In the session's own network namespace.
fn it_opens_a_hole_and_cuts_what_goes_through(request: &str) -> Tested {
    ok("guard", &["approve", request, "--for", "2s"])?;
    eventually("it connects", || said(SESSION).contains("\"echo\""))?;
    eventually("it is cut", || said(SESSION).contains("ECONNABORTED"))?;
    Ok(())
}

/// It sees a policy change, and puts it in place under a session that lives.
fn it_looks_names_up_and_follows_a_policy() -> Tested {
    let explained = || told(&["explain", "198.51.100.7", "--policy", "asks", "--json"]);
    eventually("the name is known", || {
        Ok(explained()?["rule"] == "production")
    })?;
    let opened = POLICY.replace("\"confirm\"", "\"allow\"");
    fs::write("/etc/guard/policies/asks.toml", opened)?;
    eventually("it is read", || Ok(explained()?["verdict"] == "allow"))?;
    Ok(())
}

fn sessions_nest_and_end() -> Tested {
    let nested = as_user(&[
        "guard", "run", "--policy", "asks", "--", "guard", "run", "--policy", "ci", "--", "id",
        "-u",
    ])?;
    assert_eq!(text(&nested.stdout).trim(), UID.to_string());
    let sessions = told(&["sessions", "--json"])?;
    let mut sessions = sessions.list()?.iter();
    let held = sessions.find(|one| one["name"] == "held").unwrap();
    ok("guard", &["stop", held["id"].text()?])?;
    Ok(())
}

/// Though it is somebody else than root.
fn it_sees_who_listens_on_the_loopback() -> Tested {
    let log = "/run/listener.log";
    let id = UID.to_string();
    let out = fs::File::create(log)?;
    let mut listener = Command::new("setpriv");
    listener
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .args(["guard-lab", "probe", "listen", "127.0.0.1", "7070"]);
    let listener = listener.stdin(Stdio::null()).stdout(out).spawn();
    let listener = Running(listener?);
    eventually("it listens", || said(log).contains("listening"))?;
    let explained = told(&["explain", "127.0.0.1:7070", "--policy", "asks", "--json"])?;
    assert_eq!(explained["listener"]["pid"], listener.0.id(), "{explained}");
    Ok(())
}
