//! Ten thousand machines on one server of NATS, as guard-fleet is one: each with a key, TLS and the rights of `guard-fleet
//! rights`. What the server pays for hearing that all are there, and how long a signed policy takes to be with all, verified.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt as _;
use guard_lab::{Nats, Network, SshKey, bins, exec};
use guard_signed::{SignedBundle, bundle::Signers};
use nkeys::KeyPair;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc};
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
const PATIENCE: Duration = Duration::from_secs(60);

struct SimulatedMachine {
    id: String,
    key: KeyPair,
}

/// A policy as somebody brings it, and who may sign such.
struct SignedPolicy {
    bytes: Vec<u8>,
    signers: Arc<Signers>,
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
        let policy = Self {
            bytes,
            signers: Arc::new(signers),
        };
        ensure!(
            is_signed(&policy.bytes, &policy.signers),
            "it is not signed"
        );
        Ok(policy)
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
    let policy = SignedPolicy::new(dir.path())?;
    let nats = Nats::start(network.dev(), dir.path().join("nats"), 1, &users)?;
    let server = fs::read_to_string(nats.pid_file(0))?;
    let server: u32 = server.trim().parse().context("no number of a server")?;
    let (url, ca) = (nats.urls().remove(0), nats.ca());
    let [connected, percent, last, memory] = network.dev().enter(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(measured(&machines, (&person, &policy), &url, &ca, server))
    })?;
    let figure = |name: &str, unit, measured, target| {
        let name = format!("{name}, {count} machines");
        Figure::alone(&name, unit, Samples(vec![measured]), target)
    };
    Ok(vec![
        figure("all connected", Unit::Time, connected, Target::Stated),
        figure(
            "presence, nats-server",
            Unit::Cpu,
            percent,
            Target::AtMost(5.0),
        ),
        figure(
            "signed policy of 8 KiB, verified by the last",
            Unit::Time,
            last,
            Target::AtMost(2e9),
        ),
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

    /// Says that it is there, again and again, and tells when it has verified a policy.
    async fn go_on(
        mut self,
        begins: Duration,
        signers: Arc<Signers>,
        verified: mpsc::UnboundedSender<Instant>,
    ) {
        sleep(begins).await;
        loop {
            let here = vec![b' '; HERE];
            let said = self.client.publish(self.here.clone(), here.into());
            if said.await.is_err() {
                return;
            }
            match timeout(EVERY, self.policies.next()).await {
                Err(_) => {}
                Ok(None) => return,
                Ok(Some(policy)) => {
                    if is_signed(&policy.payload, &signers) {
                        let _ = verified.send(Instant::now());
                    }
                }
            }
        }
    }
}

/// Seconds until all are connected, percent of a CPU of the server's, seconds until the last has verified the policy, and the
/// server's bytes.
async fn measured(
    machines: &[SimulatedMachine],
    (person, policy): (&KeyPair, &SignedPolicy),
    url: &str,
    ca: &Path,
    server: u32,
) -> Result<[f64; 4]> {
    let begun = Instant::now();
    let turns = Semaphore::new(AT_ONCE);
    let connecting = machines.iter().map(|machine| async {
        let _turn = turns.acquire().await?;
        ConnectedMachine::of(machine, url, ca).await
    });
    let connected = futures_util::future::try_join_all(connecting).await?;
    let took = begun.elapsed();
    let (verified, all_verified) = mpsc::unbounded_channel();
    let count = connected.len();
    for (number, machine) in connected.into_iter().enumerate() {
        // Spread over the time, as those are that begin when they like.
        let begins = EVERY.mul_f64(number as f64 / count as f64);
        let signers = Arc::clone(&policy.signers);
        tokio::spawn(machine.go_on(begins, signers, verified.clone()));
    }
    let person = connect(person, url, ca).await?;
    let percent = presence(&person, count, server).await?;
    let last = pushed(&person, policy, count, all_verified).await?;
    let nanoseconds = |time: Duration| time.as_nanos() as f64;
    Ok([
        nanoseconds(took),
        percent,
        nanoseconds(last),
        resident_of(server)?,
    ])
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

/// How long it takes until all have a policy that somebody brings, and have verified it.
async fn pushed(
    person: &Client,
    policy: &SignedPolicy,
    count: usize,
    mut verified: mpsc::UnboundedReceiver<Instant>,
) -> Result<Duration> {
    let begun = Instant::now();
    let bytes = policy.bytes.clone();
    person.publish("guard.ci.policies", bytes.into()).await?;
    let mut last = begun;
    for _ in 0..count {
        let one = timeout(PATIENCE, verified.recv()).await;
        let one = one.context("not all have verified it")?;
        last = last.max(one.context("all are gone")?);
    }
    Ok(last - begun)
}
