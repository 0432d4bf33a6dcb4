//! What listens on the loopback: a session's own servers pass, another program's server is this machine.

use guard_lab::{
    AGENT, Attempt, Json as _, PATIENCE, Report, Running, Scene, Shell, Tested, eventually,
    holds_scene,
};
use serde_json::Value;

const SERVER: &str = include_str!("server.py");
const AGAIN: &str = include_str!("again.py");
const SHARED: &str = include_str!("shared.py");
/// The developer's machine, where production has its route to.
const HERE: &str = "203.0.113.253";
const PYTHON: &str = "/usr/bin/python3";

/// As the shipped `default`, and a port that a rule settles.
const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "30s"

[[rule]]
name = "near"
to = ["@guarded-host"]
action = "confirm"

[[rule]]
name = "database"
to = ["@guarded-host"]
ports = ["tcp/5432", "udp/5432"]
action = "allow"

[[rule]]
name = "debuggers"
to = ["@loopback"]
ports = ["tcp/9229"]
action = "deny"
"#;

/// Nothing passes.
const SHUT: &str = "version = 1\nname = \"shut\"\ndefault = \"deny\"\ninbound = false\n";
/// No rule names this machine.
const UNNAMED: &str = "version = 1\nname = \"unnamed\"\ndefault = \"allow\"\n\
    [[rule]]\nto = [\"@loopback\"]\naction = \"allow\"\n";

struct Listening {
    scene: Scene,
}

holds_scene!(Listening);

impl Listening {
    fn new() -> Tested<Self> {
        let scene = Scene::with(|daemon| {
            let daemon = daemon.policy("asks", POLICY).policy("shut", SHUT);
            daemon.policy("unnamed", UNNAMED)
        })?;
        Ok(Self { scene })
    }

    fn script(&self, name: &str, text: &str) -> Tested<String> {
        let file = self.daemon.dir().join(name);
        std::fs::write(&file, text)?;
        Ok(format!("{PYTHON} {}", file.display()))
    }

    /// Another program's server, which the session's user runs.
    fn other(&self, args: &[&str]) -> Tested<Running> {
        self.script("server.py", SERVER)?;
        let mut command = self.network.dev().command_as(AGENT, PYTHON);
        let command = command.arg(self.daemon.dir().join("server.py")).args(args);
        let mut running = Running::start(command)?;
        running.line_with("listening", PATIENCE)?;
        Ok(running)
    }

    /// A server of the session's own.
    fn own(&self, shell: &mut Shell, args: &str) -> Tested {
        let server = self.script("server.py", SERVER)?;
        shell.tell(&format!("{server} {args} &"))?;
        shell.line_with("listening")?;
        Ok(())
    }

    /// The only request that waits, once guardd knows whom it is about.
    fn request(&self) -> Tested<Value> {
        eventually("a person is asked", || Ok(!self.pending()?.is_empty()))?;
        let mut pending = self.pending()?;
        assert_eq!(pending.len(), 1, "{pending:?}");
        Ok(pending.remove(0))
    }
}

fn tcp(to: &str, port: u16) -> Attempt {
    Attempt::tcp(to, port)
}

/// The error of a connection that is refused at once.
const AT_ONCE: Option<&str> = Some("EPERM");

#[test]
fn a_server_of_the_sessions_own_is_always_reached() -> Tested {
    let mut scene = Listening::new()?;
    let mut shell = scene.shell("shut")?;
    scene.own(
        &mut shell,
        "127.0.0.1 6001 127.0.0.2 6002 ::1 6003 0.0.0.0 6004 :: 6005",
    )?;
    scene.own(&mut shell, "mptcp 127.0.0.1 6006")?;
    scene.own(&mut shell, "shared 127.0.0.1 6007")?;
    let here = HERE;
    let own = [
        ("127.0.0.1", 6001),
        ("127.0.0.2", 6002),
        ("::1", 6003),
        ("127.0.0.3", 6004),
        ("::ffff:127.0.0.1", 6001),
        ("127.0.0.1", 6005),
        ("0.0.0.0", 6004),
        ("127.0.0.1", 6006),
        ("127.0.0.1", 6007),
        // At this machine's own address, too.
        (here, 6004),
    ];
    let reach = |shell: &mut Shell| -> Tested {
        for (to, port) in own {
            let reached = shell.attempt(&tcp(to, port))?;
            assert!(reached.ok, "{to} {port}: {reached:?}");
        }
        Ok(())
    };
    reach(&mut shell)?;
    let again = scene.script("again.py", AGAIN)?;
    shell.tell(&again)?;
    assert_eq!(shell.line_with("ended")?.trim(), "ended: reached");
    // Another program's server is not, and that of another session neither.
    let _other = scene.other(&["0.0.0.0", "6100"])?;
    let mut another = scene.shell("shut")?;
    for (is_own, to, port) in [
        (true, "127.0.0.1", 6100),
        (true, here, 6100),
        (false, "127.0.0.1", 6001),
    ] {
        let shell = if is_own { &mut shell } else { &mut another };
        // Of the other session nobody outside is answered.
        assert_eq!(
            tcp(to, port).outside(scene.network.dev(), AGENT)?.ok,
            is_own
        );
        let refused = shell.attempt(&tcp(to, port))?;
        // A session that uses MPTCP is refused by its first packet.
        assert!(!refused.ok, "{to} {port}: {refused:?}");
    }
    // The kernel needs nobody for it.
    scene.daemon.kill()?;
    reach(&mut shell)
}

#[test]
fn another_programs_server_is_asked_about_and_a_yes_ends_with_it() -> Tested {
    let scene = Listening::new()?;
    let mut shell = scene.shell("asks")?;
    let server = scene.other(&["127.0.0.1", "6000"])?;
    let to = tcp("127.0.0.1", 6000);
    assert!(to.outside(scene.network.dev(), AGENT)?.ok);
    assert_eq!(shell.attempt(&to)?.errno.as_deref(), AT_ONCE);
    let asked = scene.request()?;
    assert_eq!(asked["destination"]["address"], "127.0.0.1");
    assert_eq!(
        (&asked["destination"]["port"], &asked["rule"]),
        (&6000.into(), &"near".into())
    );
    let listener = &asked["listener"];
    assert!(listener["program"].text()?.contains("python"), "{listener}");
    assert!(
        listener["command"].to_string().contains("server.py"),
        "{listener}"
    );
    assert_eq!(listener["pid"], server.pid());
    assert_eq!(listener["forwards"], false);
    scene
        .daemon
        .root(["approve", asked["id"].text()?])
        .run()?
        .success()?;
    assert!(shell.attempt(&to)?.ok);
    assert_eq!(
        scene.daemon.list(["holes"])?[0]["destination"],
        "127.0.0.1/32"
    );
    // Another program has the port.
    drop(server);
    let _server = scene.other(&["127.0.0.1", "6000"])?;
    assert_eq!(shell.attempt(&to)?.errno.as_deref(), AT_ONCE);
    assert_ne!(scene.request()?["id"], asked["id"]);
    // Where nobody listens the kernel says so, as anywhere.
    let nobody = shell.attempt(&tcp("127.0.0.1", 6999))?;
    assert_eq!(nobody.errno.as_deref(), Some("ECONNREFUSED"));
    Ok(())
}

#[test]
fn rules_settle_what_listens_on_the_loopback() -> Tested {
    let scene = Listening::new()?;
    let _server = scene.other(&[
        "127.0.0.1",
        "5432",
        "127.0.0.1",
        "9229",
        "127.0.0.1",
        "6000",
    ])?;
    for (policy, port, passes, asked) in [
        ("asks", 5432, true, 0),
        // A rule for the loopback's own address is stricter.
        ("asks", 9229, false, 0),
        ("asks", 6000, false, 1),
        // What no rule names is asked about, whatever the default lets pass.
        ("unnamed", 6000, false, 2),
        ("shut", 6000, false, 2),
    ] {
        let mut shell = scene.shell(policy)?;
        let reached = shell.attempt(&tcp("127.0.0.1", port))?;
        assert_eq!(reached.ok, passes, "{policy} {port}: {reached:?}");
        eventually("who is to be asked is", || {
            Ok(scene.daemon.logged("request")?.len() == asked)
        })?;
    }
    Ok(())
}

#[test]
fn a_program_that_is_remembered_is_reached_without_a_question() -> Tested {
    let scene = Listening::new()?;
    let server = scene.other(&["127.0.0.1", "6000"])?;
    let to = tcp("127.0.0.1", 6000);
    let mut shell = scene.shell("asks")?;
    assert!(!shell.attempt(&to)?.ok);
    let id = scene.request()?["id"].text()?.to_owned();
    scene
        .daemon
        .root(["approve", &id, "--always"])
        .run()?
        .success()?;
    assert!(shell.attempt(&to)?.ok);
    // Of the same program, owner and port: in another session, and with another listener.
    drop(server);
    let _server = scene.other(&["127.0.0.1", "6000", "127.0.0.1", "6001"])?;
    let mut later = scene.shell("asks")?;
    let reached = later.attempt(&to)?;
    assert!(reached.ok, "{reached:?}");
    assert!(scene.pending()?.is_empty());
    assert!(!later.attempt(&tcp("127.0.0.1", 6001))?.ok, "another port");
    let known = scene.daemon.list(["holes", "--always"])?;
    assert_eq!(
        (known.len(), &known[0]["port"]),
        (1, &6000.into()),
        "{known:?}"
    );
    scene
        .daemon
        .root(["close", known[0]["id"].text()?])
        .run()?
        .success()?;
    let reached = to.under(&scene.daemon, "asks")?;
    assert_eq!(reached.errno.as_deref(), AT_ONCE, "{reached:?}");
    Ok(())
}

#[test]
fn a_held_connection_goes_on_with_the_yes() -> Tested {
    let scene = Listening::new()?;
    let _server = scene.other(&["127.0.0.1", "6000"])?;
    let _watcher = scene.watcher()?;
    let mut shell = scene.shell("asks")?;
    shell.begin(&tcp("127.0.0.1", 6000))?;
    eventually("it is held", || {
        Ok(scene.pending()?.iter().any(|one| one["held"] == true))
    })?;
    let asked = scene.request()?;
    assert!(asked["listener"]["pid"].is_u64(), "{asked}");
    scene
        .daemon
        .root(["approve", asked["id"].text()?])
        .run()?
        .success()?;
    assert!(Report::parse(&shell.line_with("\"ok\"")?)?.ok);
    Ok(())
}

#[test]
fn datagrams_to_another_program_are_asked_about() -> Tested {
    let scene = Listening::new()?;
    let _server = scene.other(&["udp", "127.0.0.1", "6000", "127.0.0.1", "5432"])?;
    let mut shell = scene.shell("asks")?;
    scene.own(&mut shell, "udp 127.0.0.1 6001")?;
    let udp = |port| Attempt::udp("127.0.0.1", port);
    for port in [6000, 5432] {
        assert!(udp(port).outside(scene.network.dev(), AGENT)?.ok);
    }
    for (port, passes) in [(6001, true), (5432, true), (6000, false)] {
        let sent = shell.attempt(&udp(port))?;
        assert_eq!(sent.ok, passes, "{port}: {sent:?}");
    }
    let asked = scene.request()?;
    assert_eq!(asked["destination"]["protocol"], "udp");
    assert!(asked["listener"]["pid"].is_u64(), "{asked}");
    scene
        .daemon
        .root(["approve", asked["id"].text()?])
        .run()?
        .success()?;
    assert!(shell.attempt(&udp(6000))?.ok);
    Ok(())
}

#[test]
fn what_holds_on_the_loopback_is_explained_for_both() -> Tested {
    let scene = Listening::new()?;
    let explained = scene
        .daemon
        .json(["explain", "127.0.0.1:6000", "--policy", "asks"])?;
    assert_eq!(explained["verdict"], "allow", "{explained}");
    assert_eq!(
        explained["other_program"]["verdict"], "confirm",
        "{explained}"
    );
    assert_eq!(explained["other_program"]["rule"], "near", "{explained}");
    Ok(())
}

/// The kernel looks a socket up by more than its address: who shares the port, and who hears a broadcast.
#[test]
fn no_datagram_gets_to_another_program_by_how_the_kernel_delivers_it() -> Tested {
    let scene = Listening::new()?;
    let program = scene.script("shared.py", SHARED)?;
    let got = scene.daemon.dir().join("got");
    std::fs::write(&got, "")?;
    std::os::unix::fs::chown(&got, Some(AGENT), Some(AGENT))?;
    let mut server = scene.network.dev().command_as(AGENT, PYTHON);
    let file = scene.daemon.dir().join("shared.py");
    server.arg(&file).arg("serve").arg(&got);
    let mut server = Running::start(&mut server)?;
    server.line_with("listening", PATIENCE)?;
    let outside = |word: &str| -> Tested {
        let mut tries = scene.network.dev().command_as(AGENT, PYTHON);
        tries.arg(&file).args(["try", word]);
        assert!(tries.output()?.status.success());
        Ok(())
    };
    outside("before")?;
    server.line_with("got broadcast-before", PATIENCE)?;
    let heard = |word: &str| -> Tested<Vec<String>> {
        let all = std::fs::read_to_string(&got)?;
        let its = all.lines().filter_map(|line| line.strip_suffix(word));
        let mut its: Vec<_> = its.map(str::to_owned).collect();
        its.sort();
        its.dedup();
        Ok(its)
    };
    assert_eq!(heard("-before")?, ["broadcast", "shared"]);
    let mut shell = scene.shell("asks")?;
    shell.tell(&format!("{program} try inside"))?;
    shell.line_with("tried")?;
    outside("after")?;
    server.line_with("got broadcast-after", PATIENCE)?;
    assert_eq!(heard("-after")?, ["broadcast", "shared"]);
    assert_eq!(heard("-inside")?, Vec::<String>::new());
    Ok(())
}
