//! Questions and answers over three servers of NATS: from a connection to the question in front of a person, in a terminal and on
//! the page of all machines, and from the signed answer to the connection; beside the same at the machine.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use guard_lab::bench::monotonic;
use guard_lab::{AGENT, Daemon, Nats, Network, Running, SshKey, bins, exec};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::prefixes::Prefixes;
use super::samples::Samples;
use super::starts::resident_of;

const MILLISECOND: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;
const SERVERS: u16 = 3;
const PATIENCE: Duration = Duration::from_secs(20);
/// As whom the console runs, and where.
const CONSOLE: u32 = 61242;
const HOST: &str = "guard.localhost";
/// Where the page of all machines is, and that of one.
const ALL: u16 = 4827;
const ONE: u16 = 4828;
/// Pages at once, of each.
const PAGES: usize = 200;

/// A machine, whose questions a person sees here and there.
struct FleetScene<'n> {
    client: Client,
    /// At the machine.
    here: Running,
    /// Over the servers.
    there: Running,
    /// On the page of all machines, and on that of this one.
    pages: [Page; 2],
    carrier: Running,
    _beside: Running,
    config: PathBuf,
    key: SshKey,
    daemon: Daemon,
    _nats: Nats<'n>,
    _sink: Running,
}

impl<'n> FleetScene<'n> {
    fn start(network: &'n Network) -> Result<Self> {
        let policy = Prefixes::TEN.policy("bench", |_| false);
        let policy = policy.replacen("version = 1", "version = 1\nhold = \"60s\"", 1);
        let daemon = Daemon::in_network(network)
            .policy("bench", &policy)
            .config("[answers]\ncouriers = [\"61242\"]\ncode = \"never\"\n")
            .start()?;
        let dir = daemon.dir().join("fleet");
        fs::create_dir(&dir)?;
        let key = SshKey::new(dir.join("alice"))?;
        let public = key.public();
        let public = public.to_str().context("a path that is no text")?;
        let agent = AGENT.to_string();
        let add = ["approver", "add", "alice", "--plain", "--ssh-key", public];
        let add = daemon.root(add).args(["--answers-for", &agent]);
        add.run()?.success()?;

        let mut nats = Nats::start(network.dev(), dir.join("nats"), SERVERS, "")?;
        let config = dir.join("fleet.toml");
        let settings = |key: &str| {
            format!(
                "servers = {:?}\nca = {:?}\nkey = {:?}\n",
                nats.urls(),
                nats.ca(),
                dir.join(key)
            )
        };
        // The machine and the person are one user here: root, whose rights are not what is measured.
        fs::write(&config, settings("key.nk"))?;
        let fleet = |args: &[&str]| -> Result<Command> {
            let mut command = daemon.on_machine(0, bins::find("guard-fleet")?);
            command.arg("--config").arg(&config).args(args);
            command.arg("--socket").arg(daemon.socket());
            Ok(command)
        };
        let public = exec::run(&mut fleet(&["key"])?)?;
        nats.reload(&format!(
            "authorization {{ users = [ {{ nkey: {} }} ] }}\n",
            public.trim()
        ))?;
        let carrier = Running::start(&mut fleet(&["serve"])?)?;
        let there = Running::start(&mut fleet(&["pending", "--follow", "--json"])?)?;
        let here = daemon.root(["pending", "--follow", "--json"]).spawn()?;
        let at = dir.join("console.sock");
        let mut beside = fleet(&["console", "--user", &CONSOLE.to_string(), "--at"])?;
        let beside = Running::start(beside.arg(&at))?;
        let all = Page::start(network, &daemon, ALL, ["--fleet".as_ref(), at.as_ref()])?;
        let socket = daemon.socket();
        let one = Page::start(
            network,
            &daemon,
            ONE,
            ["--socket".as_ref(), socket.as_ref()],
        )?;
        let sink = sink(network)?;
        let client = Client::guarded(&daemon, "bench")?;
        // Nobody is told anything before there is something.
        thread::sleep(Duration::from_secs(2));
        Ok(Self {
            client,
            here,
            there,
            pages: [all, one],
            carrier,
            _beside: beside,
            config,
            key,
            daemon,
            _nats: nats,
            _sink: sink,
        })
    }

    /// When a connection was seen here and there, and on both pages; and its question.
    fn asked(&mut self) -> Result<([f64; 4], Value)> {
        for page in &self.pages {
            while page.events.try_recv().is_ok() {}
        }
        let mut order = Prefixes::TEN.inside().order("wait-begin");
        order["count"] = 1.into();
        let at = self.client.ask(&order)?["at"]
            .as_u64()
            .context("no moment")?;
        self.here.line_with("\"held\":true", PATIENCE)?;
        let here = monotonic();
        let line = self.there.line_with("\"state\":\"open\"", PATIENCE)?;
        let there = monotonic();
        let [all, one] = [&self.pages[0], &self.pages[1]].map(|page| page.asked_since(at));
        let since = |moment: u64| moment.saturating_sub(at) as f64;
        let seen = [here, there, all?, one?].map(since);
        Ok((seen, serde_json::from_str(&line)?))
    }

    /// From the answer to the connection.
    fn answered(&mut self, command: &mut Command) -> Result<f64> {
        self.client.tell(&json!({"do": "wait-end", "ms": 20_000}))?;
        let yes = monotonic();
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{command:?}: {status}");
        let ended = self.client.answer()?;
        let at = ended["at"][0].as_u64().filter(|at| *at != 0);
        let at = at.context("a connection failed that was approved")?;
        self.daemon.ask(["close", "--all"])?.success()?;
        Ok(at.saturating_sub(yes) as f64)
    }

    /// The person's command, with an answer that is signed already.
    fn over_servers(&self, asked: &Value) -> Result<Command> {
        let text = |name: &str| asked[name].as_str().context("a line that says less");
        let (machine, request) = (text("machine")?, text("request")?);
        let answer = format!(
            "{{\"by\":\"alice\",\"bytes\":null,\"code\":\"\",\"connections\":null,\"for\":60,\"machine\":\"{machine}\",\"question\":\"{}\",\"read_only\":false,\"requests\":null,\"scope\":\"one\",\"v\":1,\"verdict\":\"yes\"}}",
            text("hash")?
        );
        let signed = self.key.sign(&answer, "answer@guardd.org")?;
        let file = self.config.with_file_name("signed");
        fs::write(&file, signed.to_string())?;
        let mut command = self.daemon.on_machine(0, bins::find("guard-fleet")?);
        command.arg("--config").arg(&self.config);
        command
            .args(["answer", machine, request, "--signed"])
            .arg(file);
        Ok(command)
    }

    fn at_the_machine(&self, asked: &Value) -> Result<Command> {
        let request = asked["request"].as_str().context("no request")?;
        let mut command = self.daemon.on_machine(0, bins::find("guard")?);
        command.args(["approve", request, "--for", "60s"]);
        command.env("GUARD_SOCKET", self.daemon.socket());
        Ok(command)
    }
}

/// A console, and somebody who looks at it.
struct Page {
    console: Running,
    /// Each event, and when it came.
    events: Receiver<(u64, String)>,
    looks: Looks,
}

/// What it takes to look.
#[derive(Clone)]
struct Looks {
    netns: PathBuf,
    port: u16,
    cookie: String,
}

impl Page {
    /// Starts it, logs in, and looks at it from then on.
    fn start(network: &Network, daemon: &Daemon, port: u16, of: [&OsStr; 2]) -> Result<Self> {
        let state = daemon.dir().join(format!("pages{port}"));
        fs::create_dir(&state)?;
        chown(&state, Some(CONSOLE), Some(CONSOLE))?;
        let program = bins::for_everybody("guard-console", daemon.tag())?;
        let origin = format!("http://{HOST}:{port}");
        let console = |args: &[&str]| {
            let mut command = daemon.on_machine(CONSOLE, &program);
            command.args(["--config", "/nonexistent", "--origin", &origin, "--listen"]);
            command.arg(format!("localhost:{port}")).args(of);
            command.arg("--state-dir").arg(&state).args(args);
            command
        };
        let running = Running::start(&mut console(&[]))?;
        let mut looks = Looks {
            netns: network.dev().path(),
            port,
            cookie: String::new(),
        };
        guard_lab::eventually("the console serves", || looks.connect().is_ok())?;
        let mut link = String::new();
        guard_lab::eventually("a link is made", || -> guard_lab::Tested<bool> {
            let made = exec::output(&mut console(&["login", "alice"]))?;
            link = String::from_utf8(made.stdout)?.trim().to_owned();
            Ok(!link.is_empty())
        })?;
        looks.log_in(&link)?;
        let (to, events) = channel();
        let looking = looks.clone();
        thread::spawn(move || {
            // Until the console ends.
            while looking.follow(&to).is_ok() {}
        });
        Ok(Self {
            console: running,
            events,
            looks,
        })
    }

    /// When it had a question that was asked since.
    fn asked_since(&self, at: u64) -> Result<u64> {
        loop {
            let (moment, event) = self.events.recv_timeout(PATIENCE)?;
            if moment >= at && event.contains("\"questions\":[{") {
                return Ok(moment);
            }
        }
    }

    /// What the console has in memory with one page, and with so many.
    fn memory(&self) -> Result<[f64; 2]> {
        let one = resident_of(self.console.pid())?;
        let streams = (0..PAGES).map(|_| self.looks.stream());
        let mut streams: Vec<_> = streams.collect::<Result<_>>()?;
        for stream in &mut streams {
            stream.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("data: ")));
        }
        Ok([one, resident_of(self.console.pid())?])
    }
}

impl Looks {
    fn connect(&self) -> Result<TcpStream> {
        let (netns, port) = (fs::File::open(&self.netns)?, self.port);
        let connected = thread::spawn(move || -> Result<TcpStream> {
            rustix::thread::move_into_link_name_space(
                netns.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
        });
        connected.join().map_err(|_| anyhow!("no thread"))?
    }

    fn log_in(&mut self, link: &str) -> Result<()> {
        let secret = link.rsplit('/').next().context("no link")?;
        let (host, body) = (format!("{HOST}:{}", self.port), format!("secret={secret}"));
        let mut stream = self.connect()?;
        write!(
            stream,
            "POST /login HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let mut lines = answer.lines();
        let cookie = lines.find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|set| set.split(';').next());
        cookie.context("no session")?.clone_into(&mut self.cookie);
        Ok(())
    }

    /// One stream of events, line by line.
    fn stream(&self) -> Result<Lines<BufReader<TcpStream>>> {
        let mut stream = self.connect()?;
        write!(
            stream,
            "GET /events HTTP/1.1\r\nhost: {HOST}:{}\r\ncookie: {}\r\nconnection: close\r\n\r\n",
            self.port, self.cookie
        )?;
        Ok(BufReader::new(stream).lines())
    }

    /// One, which ends by itself.
    fn follow(&self, to: &Sender<(u64, String)>) -> Result<()> {
        for line in self.stream()? {
            if let Some(data) = line?.strip_prefix("data: ") {
                to.send((monotonic(), data.to_owned()))?;
            }
        }
        Ok(())
    }
}

/// All of it.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn fleet(plan: &Plan) -> Result<Vec<Figure>> {
    bins::nats_in(xtask::nats::obtain("guard is measured with it")?);
    let network = Network::new()?;
    let mut scene = FleetScene::start(&network)?;
    let mut all_seen: [Vec<f64>; 4] = Default::default();
    let (mut at_once, mut carried) = (Vec::new(), Vec::new());
    for _ in 0..plan.few {
        let (seen, asked) = scene.asked()?;
        for (all, one) in all_seen.iter_mut().zip(seen) {
            all.push(one);
        }
        let mut command = scene.over_servers(&asked)?;
        carried.push(scene.answered(&mut command)?);
        let (_, asked) = scene.asked()?;
        let mut command = scene.at_the_machine(&asked)?;
        at_once.push(scene.answered(&mut command)?);
    }
    let [here, there, all, one] = all_seen;
    let memory = resident_of(scene.carrier.pid())?;
    let [of_all, of_one] = [&scene.pages[0], &scene.pages[1]].map(Page::memory);
    let console = |name, [idle, many]: [f64; 2]| {
        let many = Samples(vec![many]);
        Figure::alone(name, Unit::Memory, many, Target::AtMost(20.0 * MIB))
            .beside(Other::Measured("one page", Samples(vec![idle])))
    };
    let most = |milliseconds: f64| Target::AtMost(milliseconds * MILLISECOND);
    let time = |name, samples, target| Figure::alone(name, Unit::Time, Samples(samples), target);
    let at_the_machine = |samples| Other::Measured("at the machine", Samples(samples));
    Ok(vec![
        time("connect to question, three servers", there, most(300.0)).beside(at_the_machine(here)),
        time("connect to question on the page of all", all, most(300.0)),
        time("connect to question on a machine's page", one, most(300.0)),
        time("answer to connected, three servers", carried, most(500.0))
            .beside(at_the_machine(at_once)),
        Figure::alone(
            "guard-fleet serve",
            Unit::Memory,
            Samples(vec![memory]),
            Target::AtMost(12.0 * MIB),
        ),
        console("guard-console of all, 200 pages", of_all?),
        console("guard-console of a machine, 200 pages", of_one?),
    ])
}
