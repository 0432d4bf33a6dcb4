//! Ten thousand machines on one server of NATS, as guard-fleet is one: each with a key, TLS and the rights of `guard-fleet
//! rights`. What the server pays for hearing that all are there, and how long a signed policy takes to be with all, verified.
//!
//! All of them are one process here, on the server's own processors. A machine verifies one signature, on a processor of its own:
//! ten thousand of them one after the other, beside the server, would say how fast this process is. So a policy is pushed twice.
//! The first time machines say at once that they have it, as they do once it is in force, and verify nothing; what one of them
//! takes to verify is measured alone, and added to when the last has it. The second time each verifies what it gets, and what that
//! takes is stated beside it.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt as _;
use guard_lab::{Nats, Network, PATIENCE, SshKey, bins, exec};
use guard_signed::{SignedBundle, bundle::Signers};
use nkeys::KeyPair;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::Plan;
use super::crowd::cpu_of;
use super::figure::{Figure, Target, Unit};
use super::samples::Samples;
use super::starts::resident_of;

const MIB: f64 = 1024.0 * 1024.0;
const MANY: usize = 10_000;
const FEW: usize = 1_000;
/// How often each says that it is there, as guard-fleet has it, and bytes of that.
const EVERY: Duration = Duration::from_secs(30);
const HERE: usize = 400;
/// The policy that all get, in bytes at least.
const POLICY: usize = 8 * 1024;
/// Machines that connect at once.
const AT_ONCE: usize = 32;
/// For how long the server is looked at.
const LOOKED: Duration = Duration::from_secs(60);
/// After a push: nothing of it is on its way any more.
const QUIET: Duration = Duration::from_secs(2);
/// How often one machine's look at a policy is measured.
const VERIFIED: usize = 100;
/// What a machine says of itself begins with this where it has just got a policy.
const HAS_IT: u8 = b'!';

struct SimulatedMachine {
    id: String,
    key: KeyPair,
}

/// A policy as somebody brings it, and who may sign such.
struct SignedPolicy {
    bytes: Vec<u8>,
    signers: Signers,
}

impl SignedPolicy {
    /// Signed by the program that people have.
    fn new(dir: &Path) -> Result<Self> {
        let policies = dir.join("policies");
        fs::create_dir(&policies)?;
        let mut text = "version = 1\nname = \"floor\"\ndefault = \"allow\"\n".to_owned();
        let mut number = 0;
        while text.len() < POLICY {
            number += 1;
            writeln!(
                text,
                "[[rule]]\nname = \"never-{number}\"\nto = [\"192.0.2.{number}\"]\naction = \"deny\""
            )?;
        }
        fs::write(policies.join("floor.toml"), text)?;
        let key = SshKey::new(dir.join("alice"))?;
        let signers = format!("alice {}", fs::read_to_string(key.public())?);
        let signers = Signers::parse(&signers).map_err(anyhow::Error::msg)?;
        let mut sign = Command::new(bins::find("guard")?);
        sign.args(["policy", "sign", "--yes", "--group", "ci"]);
        sign.args(["--base", "floor", "--serial", "1", "--key"]);
        let bytes = exec::run(sign.arg(&key.file).arg(&policies))?.into_bytes();
        let policy = Self { bytes, signers };
        ensure!(
            is_signed(&policy.bytes, &policy.signers),
            "it is not signed"
        );
        Ok(policy)
    }
}

impl SignedPolicy {
    /// How long one machine takes to verify it.
    fn verifying(&self) -> Result<Samples> {
        let mut took = Samples::default();
        for _ in 0..VERIFIED {
            let begun = Instant::now();
            let is_signed = is_signed(black_box(&self.bytes), &self.signers);
            took.0.push(begun.elapsed().as_nanos() as f64);
            ensure!(is_signed, "it is not signed");
        }
        Ok(took)
    }
}

/// What guardd looks at before it puts a policy in force.
fn is_signed(bytes: &[u8], signers: &Signers) -> bool {
    let bundle = serde_json::from_slice::<SignedBundle>(bytes);
    bundle.is_ok_and(|bundle| bundle.verify(signers, 1).is_ok())
}

/// All of it.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn machines(plan: &Plan) -> Result<Vec<Figure>> {
    bins::nats_in(xtask::nats::obtain("guard is measured with it")?);
    let count = if plan.quick { FEW } else { MANY };
    have_files(count)?;
    let machine = |number| SimulatedMachine {
        id: format!("m-{number:020x}"),
        key: KeyPair::new_user(),
    };
    let machines: Vec<_> = (0..count).map(machine).collect();
    let person = KeyPair::new_user();
    let dir = tempfile::tempdir()?;
    let network = Network::new()?;
    let users = rights(&machines, &person, dir.path())?;
    let policy = Arc::new(SignedPolicy::new(dir.path())?);
    let nats = Nats::start(network.dev(), dir.path().join("nats"), 1, &users)?;
    let server = fs::read_to_string(nats.pid_file(0))?;
    let server: u32 = server.trim().parse().context("no number of a server")?;
    let (url, ca) = (nats.urls().remove(0), nats.ca());
    let measured = network.dev().enter(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(measured(&machines, &person, &policy, &url, &ca, server))
    })?;
    let verifying = policy.verifying()?;
    let figure = |name: &str, unit, measured, target| {
        let name = format!("{name}, {count} machines");
        Figure::alone(&name, unit, Samples(vec![measured]), target)
    };
    let time = |name: &str, took: Duration, target| {
        figure(name, Unit::Time, took.as_nanos() as f64, target)
    };
    let FleetCosts {
        connected,
        percent,
        carried,
        verified,
        memory,
    } = measured;
    let alone = verifying.median();
    let at_the_last = carried.last + Duration::from_nanos(alone as u64);
    Ok(vec![
        time("all connected", connected, Target::Stated),
        figure(
            "presence, nats-server",
            Unit::Cpu,
            percent,
            Target::AtMost(5.0),
        ),
        time(
            "signed policy of 8 KiB, with the last and verified there",
            at_the_last,
            Target::AtMost(2e9),
        )
        .remark("nats-server and all machines share this machine's processors"),
        Figure::alone(
            "signed policy of 8 KiB, verified by one machine",
            Unit::Time,
            verifying,
            Target::Stated,
        ),
        time(
            "signed policy of 8 KiB, said to be there by the last",
            carried.said,
            Target::Stated,
        )
        .remark("as whoever pushes hears it; what guardd takes to put it in force is not in it"),
        time(
            "signed policy of 8 KiB, nats-server's processor time",
            carried.server,
            Target::Stated,
        )
        .remark("with what all say then, and that they are there"),
        time(
            "signed policy of 8 KiB, this process's processor time",
            carried.own,
            Target::Stated,
        )
        .remark("of all machines and whoever pushes"),
        time(
            "signed policy of 8 KiB, verified by all in one process",
            verified.last,
            Target::Stated,
        )
        .remark("what real machines do on a processor of their own"),
        figure(
            "nats-server",
            Unit::Memory,
            memory,
            Target::AtMost(400.0 * MIB),
        )
        .remark("each connection has TLS, rights and what it hears of its own"),
    ])
}

/// Has as many connections as there are machines here, and at the server.
fn have_files(count: usize) -> Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    ensure!(
        hard.is_none_or(|hard| hard > count as u64 + 100),
        "{count} machines want as many open files, and {hard:?} may be had: ulimit -Hn"
    );
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, limit).context("cannot have as many connections")
}

/// What the server is told, by the program that people have.
fn rights(machines: &[SimulatedMachine], person: &KeyPair, dir: &Path) -> Result<String> {
    let mut list = format!(
        "[[person]]\nkey = \"{}\"\ngroups = [\"ci\"]\npolicies = true\n",
        person.public_key()
    );
    for SimulatedMachine { id, key } in machines {
        let key = key.public_key();
        writeln!(
            list,
            "[[machine]]\nid = \"{id}\"\nkey = \"{key}\"\ngroup = \"ci\""
        )?;
    }
    let file = dir.join("fleet.list");
    fs::write(&file, list)?;
    let mut command = Command::new(bins::find("guard-fleet")?);
    exec::run(command.arg("rights").arg(file))
}

async fn connect(key: &KeyPair, url: &str, ca: &Path) -> Result<Client> {
    let options = ConnectOptions::with_nkey(key.seed()?)
        .add_root_certificates(ca.to_owned())
        .ignore_discovered_servers()
        .connection_timeout(PATIENCE);
    Ok(options.connect(url).await?)
}

/// A machine with all that guard-fleet hears.
struct ConnectedMachine {
    client: Client,
    here: String,
    policies: Subscriber,
    _others: Vec<Subscriber>,
}

impl ConnectedMachine {
    async fn of(machine: &SimulatedMachine, url: &str, ca: &Path) -> Result<Self> {
        let client = connect(&machine.key, url, ca).await?;
        let id = &machine.id;
        let policies = client.subscribe("guard.ci.policies").await?;
        let mut others = Vec::new();
        for subject in [
            "guard.ci.look".to_owned(),
            "guard.ci.who".to_owned(),
            format!("guard.ci.answer.{id}.*"),
            format!("guard.ci.no.{id}.*"),
        ] {
            others.push(client.subscribe(subject).await?);
        }
        client.flush().await?;
        Ok(Self {
            client,
            here: format!("guard.ci.here.{id}"),
            policies,
            _others: others,
        })
    }

    /// Says that it is there, again and again, and at once where it gets a policy, of which it tells when that was.
    async fn go_on(
        mut self,
        begins: Duration,
        policy: Arc<SignedPolicy>,
        verifies: watch::Receiver<bool>,
        got: mpsc::UnboundedSender<Instant>,
    ) {
        sleep(begins).await;
        let mut first = b' ';
        loop {
            let mut here = vec![b' '; HERE];
            here[0] = std::mem::replace(&mut first, b' ');
            let said = self.client.publish(self.here.clone(), here.into());
            if said.await.is_err() {
                return;
            }
            match timeout(EVERY, self.policies.next()).await {
                Err(_) => {}
                Ok(None) => return,
                Ok(Some(came)) => {
                    let at = Instant::now();
                    let verifies = *verifies.borrow();
                    let (is_it, at) = if verifies {
                        (is_signed(&came.payload, &policy.signers), Instant::now())
                    } else {
                        (came.payload == policy.bytes, at)
                    };
                    if is_it {
                        first = HAS_IT;
                        let _ = got.send(at);
                    }
                }
            }
        }
    }
}

/// What a fleet of so many machines costs.
struct FleetCosts {
    /// Until all are connected.
    connected: Duration,
    /// Of a processor of the server's, while all say that they are there.
    percent: f64,
    /// A policy that each gets and none verifies.
    carried: Pushed,
    /// A policy that each gets and verifies.
    verified: Pushed,
    /// The server's bytes.
    memory: f64,
}

/// How a policy came to all.
struct Pushed {
    /// Until the last has it.
    last: Duration,
    /// Until whoever pushed has heard of all that they have it.
    said: Duration,
    /// The server's processor time until then.
    server: Duration,
    /// The same of this process.
    own: Duration,
}

async fn measured(
    machines: &[SimulatedMachine],
    person: &KeyPair,
    policy: &Arc<SignedPolicy>,
    url: &str,
    ca: &Path,
    server: u32,
) -> Result<FleetCosts> {
    let begun = Instant::now();
    let turns = Semaphore::new(AT_ONCE);
    let connecting = machines.iter().map(|machine| async {
        let _turn = turns.acquire().await?;
        ConnectedMachine::of(machine, url, ca).await
    });
    let all = futures_util::future::try_join_all(connecting).await?;
    let connected = begun.elapsed();
    let (got, mut all_got) = mpsc::unbounded_channel();
    let (verify, verifies) = watch::channel(false);
    let count = all.len();
    for (number, machine) in all.into_iter().enumerate() {
        // Spread over the time, as those are that begin when they like.
        let begins = EVERY.mul_f64(number as f64 / count as f64);
        let policy = Arc::clone(policy);
        tokio::spawn(machine.go_on(begins, policy, verifies.clone(), got.clone()));
    }
    let person = connect(person, url, ca).await?;
    let percent = presence(&person, count, server).await?;
    let carried = pushed(&person, policy, count, &mut all_got, server).await?;
    sleep(QUIET).await;
    verify.send_replace(true);
    let verified = pushed(&person, policy, count, &mut all_got, server).await?;
    Ok(FleetCosts {
        connected,
        percent,
        carried,
        verified,
        memory: resident_of(server)?,
    })
}

/// The share of a processor that the server has while so many say that they are there.
async fn presence(person: &Client, count: usize, server: u32) -> Result<f64> {
    let mut here = person.subscribe("guard.ci.here.*").await?;
    person.flush().await?;
    sleep(EVERY).await;
    let (before, since) = (cpu_of(server)?, Instant::now());
    let mut messages = 0;
    while let Ok(Some(_)) = timeout(LOOKED.saturating_sub(since.elapsed()), here.next()).await {
        messages += 1;
    }
    let percent = (cpu_of(server)? - before).as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
    let expected = count as f64 * LOOKED.as_secs_f64() / EVERY.as_secs_f64();
    ensure!(
        f64::from(messages) > expected * 0.9,
        "{messages} messages came, and not {expected}"
    );
    Ok(percent)
}

/// The processor time of this process, with that of threads that have ended.
fn own_cpu() -> Result<Duration> {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec)?,
    ))
}

/// Brings all a policy, and waits until all have it and have said so.
async fn pushed(
    person: &Client,
    policy: &SignedPolicy,
    count: usize,
    all_got: &mut mpsc::UnboundedReceiver<Instant>,
    server: u32,
) -> Result<Pushed> {
    let mut here = person.subscribe("guard.ci.here.*").await?;
    person.flush().await?;
    let cpu = || -> Result<[Duration; 2]> { Ok([cpu_of(server)?, own_cpu()?]) };
    let (before, begun) = (cpu()?, Instant::now());
    let bytes = policy.bytes.clone();
    person.publish("guard.ci.policies", bytes.into()).await?;
    let mut said = 0;
    while said < count {
        let one = timeout(PATIENCE, here.next()).await;
        let one = one.context("not all have said that they have it")?;
        let one = one.context("the connection has ended")?;
        said += usize::from(one.payload.first() == Some(&HAS_IT));
    }
    let heard = begun.elapsed();
    let after = cpu()?;
    let mut last = begun;
    for _ in 0..count {
        // Each has told it before it has said so.
        let one = all_got.try_recv().context("not all have it")?;
        last = last.max(one);
    }
    let [server, own] = [0, 1].map(|of| after[of].saturating_sub(before[of]));
    Ok(Pushed {
        last: last - begun,
        said: heard,
        server,
        own,
    })
}
