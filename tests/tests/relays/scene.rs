//! Production, a guardd beside it, and what listens on the developer's machine.

use std::path::PathBuf;

pub(crate) use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, Attempt, Production, Running, Scene, Shell, Tested, eventually, exec, holds_scene,
    patience,
};

/// Is to be confirmed, and what is denied.
pub(crate) const PRODUCTION: &str = "192.0.2.10";
pub(crate) const DENIED: &str = "192.0.2.99";

pub(crate) const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "30s"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
reason = "it is production"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;

/// The same, where a port of this machine may only be read from.
pub(crate) const READS: &str = r#"
[[rule]]
name = "reads"
to = ["127.0.0.1"]
ports = ["tcp/7080"]
action = "read-only"
"#;

/// That policy, where a port of this machine is to be confirmed.
pub(crate) const NEAR: &str = r#"
[[rule]]
name = "near"
to = ["127.0.0.1", "::1"]
ports = ["tcp/5432"]
action = "confirm"
"#;

/// What reading 20 times says where each was answered.
pub(crate) const READ_ALL: &str = "ended: as it wished, after 20";

/// That policy whole.
fn reads() -> String {
    format!("{POLICY}{READS}").replace("\"asks\"", "\"reads\"")
}

fn near() -> String {
    format!("{POLICY}{NEAR}").replace("\"asks\"", "\"near\"")
}

/// Nothing passes, to the loopback neither.
pub(crate) const SHUT: &str = "version = 1\nname = \"shut\"\ndefault = \"deny\"\ninbound = false\n";

const RELAY: &str = include_str!("relay.py");
const SERVER: &str = include_str!("server.py");
const REVERSE: &str = include_str!("reverse.py");
const READER: &str = include_str!("reader.py");
const AGAIN: &str = include_str!("again.py");
const TOLD: &str = include_str!("told.py");
const KEEPER: &str = include_str!("keeper.py");
const WRITER: &str = include_str!("writer.py");
const LATE: &str = include_str!("late.py");
const MANY: &str = include_str!("many.py");
const FLOOD: &str = include_str!("flood.py");
const PYTHON: &str = "/usr/bin/python3";

/// One with production, and programs that listen.
pub(crate) struct RelayScene {
    scene: Scene,
    pub(crate) production: Production,
    relay: PathBuf,
    server: PathBuf,
}

holds_scene!(RelayScene);

impl RelayScene {
    pub(crate) fn new() -> Tested<Self> {
        let (reads, near) = (reads(), near());
        let scene = Scene::with(|daemon| {
            let daemon = daemon.policy("asks", POLICY).policy("shut", SHUT);
            daemon.policy("reads", &reads).policy("near", &near)
        })?;
        let relay = scene.daemon.dir().join("relay.py");
        std::fs::write(&relay, RELAY)?;
        let server = scene.daemon.dir().join("server.py");
        std::fs::write(&server, SERVER)?;
        Ok(Self {
            production: scene.production()?,
            scene,
            relay,
            server,
        })
    }

    /// A relay outside that no command line tells of, to an address and, behind a blank, a port.
    pub(crate) fn relay(&self, at: &str, port: u16, to: &str, more: &[&str]) -> Tested<Running> {
        let mut command = self.network.dev().command_as(AGENT, PYTHON);
        command.arg(&self.relay);
        let (to, to_port) = to.split_once(' ').unwrap_or((to, "5432"));
        command
            .args([at, &port.to_string(), to, to_port])
            .args(more);
        let is_early = more.contains(&"early");
        let before = if is_early { self.reached(to)? } else { 0 };
        let mut running = Running::start(&mut command)?;
        running.line_with("listening", PATIENCE)?;
        if is_early {
            // Its own connection is not counted for anybody else's.
            eventually("it is connected", || Ok(self.reached(to)? > before))?;
        }
        Ok(running)
    }

    /// A server in a session.
    pub(crate) fn serve(&self, shell: &mut Shell, args: &str) -> Tested {
        let server = self.server.display();
        shell.tell(&format!("{PYTHON} {server} {args} &"))?;
        shell.line_with("listening")?;
        Ok(())
    }

    /// A server in a session inside a session, whose shell has its process as `$server`.
    pub(crate) fn serve_further_inside(&self, shell: &mut Shell, args: &str) -> Tested {
        let guard = self.daemon.program("guard")?;
        // One that is not narrower makes no session.
        let narrower = "[[rule]]\nto = [\"198.51.100.77\"]\naction = \"deny\"\n";
        let policy = format!("{POLICY}\n{narrower}");
        let policy = self.daemon.write_for_agents("narrower", &policy)?;
        let serve = format!(
            "{} run -q --policy {} -- sh -c 'echo pid $$; exec {PYTHON} {} {args}' &",
            guard.display(),
            policy.display(),
            self.server.display()
        );
        shell.tell(&serve)?;
        let line = shell.line_with("pid ")?;
        shell.line_with("listening")?;
        let pid = line.split_whitespace().nth(1).unwrap();
        shell.tell(&format!("server={pid}"))?;
        Ok(())
    }

    /// A relay in a session.
    pub(crate) fn relay_in(&self, shell: &mut Shell, args: &str) -> Tested {
        let before = self.reached(args.split(' ').nth(2).unwrap())?;
        let relay = self.relay.display();
        shell.tell(&format!("{PYTHON} {relay} {args} &"))?;
        shell.line_with("listening")?;
        if args.ends_with("early") {
            let to = args.split(' ').nth(2).unwrap();
            eventually("it is connected", || Ok(self.reached(to)? > before))?;
        }
        Ok(())
    }

    /// A server outside.
    pub(crate) fn server(&self, at: &str, port: u16) -> Tested<Running> {
        let mut command = self.network.dev().command_as(AGENT, PYTHON);
        command.arg(&self.server).args([at, &port.to_string()]);
        let mut running = Running::start(&mut command)?;
        running.line_with("listening", PATIENCE)?;
        Ok(running)
    }

    /// A web server outside, at the port that may only be read from, which asks production for `/prod`.
    pub(crate) fn reads_from_production(&self) -> Tested<Running> {
        let server = self.daemon.dir().join("reverse.py");
        std::fs::write(&server, REVERSE)?;
        self.listens(7080, &[PYTHON, server.to_str().unwrap()])
    }

    /// How a session's reads from that port end: `/prod` over and over, or with `own` `/`.
    pub(crate) fn read(&self, shell: &mut Shell, what: &str) -> Tested<String> {
        let reader = self.daemon.dir().join("reader.py");
        std::fs::write(&reader, READER)?;
        shell.tell(&format!("{PYTHON} {} {what}", reader.display()))?;
        Ok(shell.line_with("ended")?.trim().to_owned())
    }

    /// Has a session read `/` from that port over one connection, until that ends.
    pub(crate) fn read_on(&self, shell: &mut Shell) -> Tested {
        let reader = self.script("reader.py", READER)?;
        shell.tell(&format!("{reader} on"))?;
        shell.line_with("began")?;
        Ok(())
    }

    /// Has a session read `/` from that port, and then write there over the same connection.
    pub(crate) fn write(&self, shell: &mut Shell) -> Tested {
        let writer = self.script("writer.py", WRITER)?;
        shell.tell(&writer)?;
        shell.line_with("began")?;
        Ok(())
    }

    /// The id of the request whose client is held, once one is.
    pub(crate) fn held(&self) -> Tested<String> {
        let mut id = None;
        eventually("a client is held", || {
            let pending = self.pending()?;
            let held = pending.iter().find(|one| one["held"] == true);
            id = held.and_then(|one| one["id"].as_str()).map(str::to_owned);
            Ok(id.is_some())
        })?;
        Ok(id.unwrap())
    }

    /// A relay outside that connects to where it is told to; with `http`, a web server that does.
    pub(crate) fn told(&self, port: u16, more: &[&str]) -> Tested<ToldRelay> {
        self.script("told.py", TOLD)?;
        let mut command = self.network.dev().command_as(AGENT, PYTHON);
        command.arg(self.daemon.dir().join("told.py"));
        let mut running = Running::start(command.arg(port.to_string()).args(more))?;
        running.line_with("listening", PATIENCE)?;
        Ok(ToldRelay(running))
    }

    /// Has a session keep a connection to a port, which was answered.
    pub(crate) fn keep(&self, shell: &mut Shell, port: u16) -> Tested {
        let keeper = self.script("keeper.py", KEEPER)?;
        shell.tell(&format!("{keeper} {port}"))?;
        shell.line_with("kept")?;
        Ok(())
    }

    /// A client outside of the port that may only be read from, of which nothing was sent yet.
    pub(crate) fn late(&self) -> Tested<Running> {
        self.script("late.py", LATE)?;
        let mut command = self.network.dev().command_as(AGENT, PYTHON);
        let mut running = Running::start(command.arg(self.daemon.dir().join("late.py")))?;
        running.line_with("connected", PATIENCE)?;
        Ok(running)
    }

    /// The same in a session.
    pub(crate) fn connect_late(&self, shell: &mut Shell) -> Tested {
        let late = self.script("late.py", LATE)?;
        shell.tell(&late)?;
        shell.line_with("connected")?;
        Ok(())
    }

    /// A program outside that listens at many ports.
    pub(crate) fn many(&self, first: u16, count: usize) -> Tested<Running> {
        self.script("many.py", MANY)?;
        let mut command = self.network.dev().command_as(AGENT, PYTHON);
        command.arg(self.daemon.dir().join("many.py"));
        let args = [first.to_string(), count.to_string()];
        let mut running = Running::start(command.args(args))?;
        running.line_with("listening", PATIENCE)?;
        Ok(running)
    }

    /// Has a session connect to many ports, over and over, beside all else, from [`Self::let_flood`] on.
    pub(crate) fn flood(&self, shell: &mut Shell, first: u16, count: usize) -> Tested {
        let flood = self.script("flood.py", FLOOD)?;
        let begun = self.begun();
        shell.tell(&format!("{flood} {first} {count} {} &", begun.display()))?;
        Ok(())
    }

    /// Lets them begin.
    pub(crate) fn let_flood(&self) -> Tested {
        Ok(std::fs::write(self.begun(), "")?)
    }

    /// The file that is there once sessions are to connect to many ports.
    fn begun(&self) -> PathBuf {
        self.daemon.dir().join("begun")
    }

    /// Whether the log says that somebody was refused that address.
    pub(crate) fn says_denied(&self, address: &str) -> Tested<bool> {
        let denied = self.daemon.logged("denied")?;
        Ok(denied
            .iter()
            .any(|one| one["destination"]["address"] == address))
    }

    /// The command that runs a script.
    fn script(&self, name: &str, text: &str) -> Tested<String> {
        let file = self.daemon.dir().join(name);
        std::fs::write(&file, text)?;
        Ok(format!("{PYTHON} {}", file.display()))
    }

    /// How it ends that a session's client comes to its own server over and over, from one port.
    pub(crate) fn reach_again(&self, shell: &mut Shell) -> Tested<String> {
        let again = self.daemon.dir().join("again.py");
        std::fs::write(&again, AGAIN)?;
        shell.tell(&format!("{PYTHON} {}", again.display()))?;
        Ok(shell.line_with("ended")?.trim().to_owned())
    }

    /// Changes the policy `reads`, and sees it in force.
    pub(crate) fn deny_also(&self, address: &str) -> Tested {
        let also = format!("\n[[rule]]\nto = [\"{address}\"]\naction = \"deny\"\n");
        self.daemon.write_policy("reads", &(reads() + &also))?;
        let explain = ["explain", address, "--policy", "reads"];
        eventually("it is in force", || {
            Ok(self.daemon.json(explain)?["verdict"] == "deny")
        })?;
        Ok(())
    }

    /// A program outside that listens at a port.
    pub(crate) fn listens(&self, port: u16, command: &[&str]) -> Tested<Running> {
        let mut running = self.network.dev().command_as(AGENT, command[0]);
        let running = Running::start(running.args(&command[1..]))?;
        self.await_listener(port)?;
        Ok(running)
    }

    fn await_listener(&self, port: u16) -> Tested {
        let wanted = format!(":{port:04X} ");
        eventually("it listens", || {
            let listed = |of: &str| -> Tested<bool> {
                let output = exec::output(self.network.dev().command("cat").arg(of))?;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let mut lines = text.lines();
                Ok(lines.any(|line| line.contains(&wanted) && line.contains(" 0A ")))
            };
            Ok(listed("/proc/thread-self/net/tcp")? || listed("/proc/thread-self/net/tcp6")?)
        })?;
        Ok(())
    }

    /// Whether an attempt gets through without the guard.
    pub(crate) fn outside(&self, to: &str, port: u16) -> Tested<bool> {
        Ok(Attempt::tcp(to, port)
            .outside(self.network.dev(), AGENT)?
            .ok)
    }

    /// Opens a hole with a budget of connections, and gives its warnings.
    pub(crate) fn open_counted(&self, to: &str, ports: &str, connections: &str) -> Tested<String> {
        let open = ["open", to, "--ports", ports, "--connections", connections];
        Ok(self.daemon.root(open).run()?.success()?.stderr)
    }

    /// How many connections each open hole has left, the oldest first.
    pub(crate) fn left(&self) -> Tested<Vec<Option<u64>>> {
        let mut holes = self.daemon.list(["holes"])?;
        holes.sort_by_key(|hole| hole["id"].to_string());
        let left = holes.iter().map(|hole| hole["connections_left"].as_u64());
        Ok(left.collect())
    }

    /// Whether the log says of a refusal that too many of its holes have a budget.
    pub(crate) fn says_many_budgets(&self) -> Tested<bool> {
        let denied = self.daemon.logged("denied")?;
        let mut reasons = denied.iter().filter_map(|one| one["why"].as_str());
        Ok(reasons.any(|why| why.contains("have a budget")))
    }

    /// How many connections to there production has taken.
    pub(crate) fn reached(&self, to: &str) -> Tested<usize> {
        let all = self.production.reached_at(to, 5432)?;
        Ok(all.iter().filter(|one| one.kind == "tcp").count())
    }
}

/// A relay that does as it is told.
pub(crate) struct ToldRelay(Running);

impl ToldRelay {
    fn tell(&mut self, line: &str) -> Tested {
        self.0.write(&format!("{line}\n"))?;
        self.0.line_with("done", PATIENCE)?;
        Ok(())
    }

    /// Has it connect to an address, and keep that connection.
    pub(crate) fn dial(&mut self, address: &str) -> Tested {
        self.tell(&format!("dial {address}"))
    }

    /// Has it listen no more. It goes on with its clients.
    pub(crate) fn close(&mut self) -> Tested {
        self.tell("close")
    }

    /// Waits until it gets something that its clients send from now on.
    pub(crate) fn gets_more(&mut self) -> Tested {
        self.0.write("next\n")?;
        self.0.line_with("got", PATIENCE)?;
        Ok(())
    }
}

/// An attempt that may wait for guardd to look, which takes ten seconds at most. It gives up before its shell is given up.
pub(crate) fn tcp(to: &str, port: u16) -> Attempt {
    Attempt::tcp(to, port).timeout(patience(PATIENCE) / 3)
}
