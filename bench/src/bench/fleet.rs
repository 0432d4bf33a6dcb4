//! Questions and answers over three servers of NATS: from a connection to the question in front of a person, in a terminal and on
//! the page of all machines, and from the signed answer to the connection; beside the same at the machine. And what a machine's
//! guard-fleet takes while nothing happens.

mod failover;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::bench::monotonic;
use guard_lab::{AGENT, Daemon, Nats, Network, PATIENCE, Running, SshKey, bins, exec};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::crowd::cpu_of;
use super::figure::{Figure, Other, Target, Unit};
use super::pages::{CONSOLE, Page};
use super::prefixes::Prefixes;
use super::samples::Samples;
use super::starts::resident_of;

const MILLISECOND: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;
const SERVERS: u16 = 3;
/// For how long consoles are looked at whose pages are open: two streams of each page; and where that is to be quick.
const LOOKED: [Duration; 2] = [Duration::from_secs(41), Duration::from_secs(5)];
/// For how long guard-fleet is looked at while nobody looks, which says every thirty seconds that it is there; and quickly.
const IDLE: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(30)];
/// After so long it counts no more that somebody has looked, and a little longer.
const UNLOOKED: Duration = Duration::from_secs(20);
/// Where the page of all machines is, and that of one.
const ALL: u16 = 4827;
const ONE: u16 = 4828;

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
    nats: Nats<'n>,
    /// The request that the person saw last.
    last: Value,
    _sink: Running,
}

/// A connection that waits, and that somebody is asked about.
struct SeenQuestion {
    /// When it began.
    at: u64,
    /// When it was seen at the machine, over the servers, on the page of all machines and on that of this one.
    seen: [u64; 4],
    /// As the person sees it.
    asked: Value,
}

impl<'n> FleetScene<'n> {
    fn start(network: &'n Network) -> Result<Self> {
        let daemon = guardd(network)?;
        let dir = daemon.dir().join("fleet");
        fs::create_dir(&dir)?;
        let key = approver(&daemon, dir.join("alice"))?;
        let mut nats = Nats::start(network.dev(), dir.join("nats"), SERVERS, "")?;
        // The machine and the person are one user here: root, whose rights are not what is measured.
        let config = dir.join("fleet.toml");
        let (urls, ca, key_file) = (nats.urls(), nats.ca(), dir.join("key.nk"));
        let settings = format!("servers = {urls:?}\nca = {ca:?}\nkey = {key_file:?}\n");
        fs::write(&config, settings)?;
        let fleet = |args: &[&str]| -> Result<Command> {
            let mut command = daemon.on_machine(0, bins::find("guard-fleet")?);
            command.arg("--config").arg(&config);
            command.arg("--socket").arg(daemon.socket()).args(args);
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
        let (beside_it, socket) = (["--fleet".as_ref(), at.as_ref()], daemon.socket());
        let all = Page::start(network, &daemon, ALL, beside_it)?;
        let at_it = ["--socket".as_ref(), socket.as_ref()];
        let one = Page::start(network, &daemon, ONE, at_it)?;
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
            nats,
            last: Value::Null,
            _sink: sink,
        })
    }

    /// After how long a connection was seen here and there, and on both pages; and its question.
    fn asked(&mut self) -> Result<([f64; 4], Value)> {
        let SeenQuestion { at, seen, asked } = self.question()?;
        let since = |moment: u64| moment.saturating_sub(at) as f64;
        Ok((seen.map(since), asked))
    }

    /// Has a connection wait until it is seen.
    fn question(&mut self) -> Result<SeenQuestion> {
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
        let asked = self.next_open()?;
        let there = monotonic();
        let [all, one] = [&self.pages[0], &self.pages[1]].map(|page| page.asked_since(at));
        Ok(SeenQuestion {
            at,
            seen: [here, there, all?, one?],
            asked,
        })
    }

    /// The next question that the person sees. One that comes again, as a server has gone, is not the next.
    fn next_open(&mut self) -> Result<Value> {
        loop {
            let line = self.there.line_with("\"state\":\"open\"", PATIENCE)?;
            let asked: Value = serde_json::from_str(&line)?;
            if asked["request"] != self.last {
                self.last = asked["request"].clone();
                return Ok(asked);
            }
        }
    }

    /// From the answer to the connection.
    fn answered(&mut self, command: &mut Command) -> Result<f64> {
        let [yes, _, at] = self.answered_at(command)?;
        Ok(at.saturating_sub(yes) as f64)
    }

    /// When the answer was given, when its command had heard that it was taken, and when the connection was there.
    fn answered_at(&mut self, command: &mut Command) -> Result<[u64; 3]> {
        self.client.tell(&json!({"do": "wait-end", "ms": 20_000}))?;
        let yes = monotonic();
        let status = command.stdout(Stdio::null()).status()?;
        let taken = monotonic();
        ensure!(status.success(), "{command:?}: {status}");
        let ended = self.client.answer()?;
        let at = ended["at"][0].as_u64().filter(|at| *at != 0);
        let at = at.context("a connection failed that was approved")?;
        self.daemon.ask(["close", "--all"])?.success()?;
        Ok([yes, taken, at])
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

    /// What consoles take of a processor with so many pages, and the machine's guard-fleet, while nothing happens and while
    /// questions come and go.
    fn busy(&mut self, looked: Duration) -> Result<Vec<Figure>> {
        self.pages.iter().try_for_each(Page::fill)?;
        let (idle, _) = self.percent_while(|_| {
            thread::sleep(looked);
            Ok(0.0)
        })?;
        let (asked, rate) = self.percent_while(|scene| {
            let (begun, mut count) = (Instant::now(), 0.0);
            while begun.elapsed() < looked {
                let (_, asked) = scene.asked()?;
                let mut command = scene.at_the_machine(&asked)?;
                scene.answered(&mut command)?;
                count += 1.0;
            }
            Ok(count / begun.elapsed().as_secs_f64())
        })?;
        let remark = format!("{rate:.1} questions a second come, are answered and go");
        let names = ["guard-console of all", "guard-console of a machine"];
        let figures = names.into_iter().enumerate().flat_map(|(at, console)| {
            let figure = |what: &str, percent: f64, target| {
                let name = format!("{console}, 200 pages, {what}");
                Figure::alone(&name, Unit::Cpu, Samples(vec![percent]), target)
            };
            [
                figure("nothing asked", idle[at], Target::AtMost(3.0)),
                figure("while it is asked", asked[at], Target::Stated).remark(&*remark),
            ]
        });
        let carrier = Samples(vec![idle[2]]);
        let carrier = Figure::alone(
            "guard-fleet serve, nothing asked",
            Unit::Cpu,
            carrier,
            Target::AtMost(0.1),
        )
        .remark("while a person and a console look: it hears that each five seconds");
        Ok(figures.chain([carrier]).collect())
    }

    /// The share of a processor that each console has, and guard-fleet, while that goes on, and what comes of that.
    fn percent_while(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<f64>,
    ) -> Result<([f64; 3], f64)> {
        let cpu = |scene: &Self| -> Result<[Duration; 3]> {
            Ok([
                scene.pages[0].cpu()?,
                scene.pages[1].cpu()?,
                cpu_of(scene.carrier.pid())?,
            ])
        };
        let (before, begun) = (cpu(self)?, Instant::now());
        let came = work(self)?;
        let (after, took) = (cpu(self)?, begun.elapsed());
        let percent = |at: usize| {
            let had: Duration = after[at] - before[at];
            had.as_secs_f64() / took.as_secs_f64() * 100.0
        };
        Ok(([0, 1, 2].map(percent), came))
    }

    /// What guard-fleet takes of a processor and sends and hears while nobody looks at anything.
    fn idle(self, network: &Network, looked: Duration) -> Result<Vec<Figure>> {
        // The last of these ends first.
        let Self {
            nats: _nats,
            daemon: _daemon,
            carrier,
            here: _here,
            client: _client,
            there,
            pages,
            _beside: beside,
            ..
        } = self;
        drop((there, pages, beside));
        thread::sleep(UNLOOKED);
        let pid = carrier.pid();
        let taken = || -> Result<(f64, f64)> {
            Ok((cpu_of(pid)?.as_secs_f64(), carried_by(network, pid)?))
        };
        let (before, begun) = (taken()?, Instant::now());
        thread::sleep(looked);
        let (after, took) = (taken()?, begun.elapsed().as_secs_f64());
        let figure = |what: &str, unit, number: f64, target| {
            let name = format!("guard-fleet serve, {what}nobody looks");
            Figure::alone(&name, unit, Samples(vec![number]), target)
        };
        Ok(vec![
            figure(
                "",
                Unit::Cpu,
                (after.0 - before.0) / took * 100.0,
                Target::AtMost(0.1),
            ),
            figure(
                "bytes while ",
                Unit::Throughput,
                (after.1 - before.1) / took,
                Target::AtMost(20.0),
            )
            .remark("both ways, with what TLS adds: that it is there, and whether the server is"),
        ])
    }

    fn at_the_machine(&self, asked: &Value) -> Result<Command> {
        let request = asked["request"].as_str().context("no request")?;
        let mut command = self.daemon.on_machine(0, bins::find("guard")?);
        command.args(["approve", request, "--for", "60s"]);
        command.env("GUARD_SOCKET", self.daemon.socket());
        Ok(command)
    }
}

/// Bytes that a process has sent and heard over TCP, as the kernel counts them: with those of TLS.
fn carried_by(network: &Network, pid: u32) -> Result<f64> {
    let mut list = network.dev().command("ss");
    let listed = exec::run(list.args(["-tinpHO", "state", "established"]))?;
    let own = format!("pid={pid},");
    let own: Vec<_> = listed.lines().filter(|line| line.contains(&own)).collect();
    ensure!(
        !own.is_empty(),
        "ss lists no connection of guard-fleet: {listed}"
    );
    let words = own.iter().flat_map(|line| line.split_whitespace());
    let counts = words.filter_map(|word| match word.split_once(':')? {
        ("bytes_sent" | "bytes_received", count) => count.parse::<f64>().ok(),
        _ => None,
    });
    Ok(counts.sum())
}

/// One that has connections wait.
fn guardd(network: &Network) -> Result<Daemon> {
    let policy = Prefixes::TEN.policy("bench", |_| false);
    let policy = policy.replacen("version = 1", "version = 1\nhold = \"60s\"", 1);
    let daemon = Daemon::in_network(network).policy("bench", &policy);
    let answers = format!("[answers]\ncouriers = [\"{CONSOLE}\"]\ncode = \"never\"\n");
    daemon.config(&answers).start()
}

/// A key of somebody who may answer.
fn approver(daemon: &Daemon, file: PathBuf) -> Result<SshKey> {
    let key = SshKey::new(file)?;
    let add = daemon.root(["approver", "add", "alice", "--plain", "--ssh-key"]);
    let add = add.args([key.public()]);
    let add = add.args(["--answers-for", &AGENT.to_string()]);
    add.run()?.success()?;
    Ok(key)
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
    let mut figures = vec![
        time("connect to request, three servers", there, most(300.0))
            .beside(at_the_machine(here.clone())),
        time("connect to request on the page of all", all, most(300.0))
            .beside(at_the_machine(here.clone())),
        time("connect to request on a machine's page", one, most(300.0))
            .beside(at_the_machine(here)),
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
    ];
    figures.extend(scene.busy(LOOKED[usize::from(plan.quick)])?);
    figures.extend(scene.idle(&network, IDLE[usize::from(plan.quick)])?);
    figures.extend(failover::failover(plan)?);
    Ok(figures)
}
