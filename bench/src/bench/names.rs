//! What names in the path cost: a look-up through the guard's resolver beside one without, and a connection that a name allows.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guard_common::{Address, BootTime, Learned, NameId, NamedKey, PolicyId, SessionId};
use guard_lab::bench::{Awake, monotonic};
use guard_lab::kernel::{self, Timing};
use guard_lab::{Daemon, Network, Running};
use guard_sys::bpf::NamedMap;
use guard_sys::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::crowd::cpu_of;
use super::figure::{Figure, Other, Target, Unit};
use super::memory;
use super::name_server::{DNS, NameServer};
use super::prefixes::{PORT, Prefixes};
use super::rounds::{interleave, take_turns};
use super::samples::Samples;
use super::traffic;

/// Questions in a round: no more than a session may send at once, however soon each is answered.
const QUESTIONS: u64 = 250;
/// Fewer where each takes long, or leaves something behind.
const FEW_QUESTIONS: u64 = 100;
/// After that it may send as many again.
const REST: Duration = Duration::from_millis(100);
/// Connections in a round.
const CONNECTS: u64 = 400;
/// Sessions that ask at once, and the questions of each. One alone may send 4,000 a second.
const ASKING: usize = 8;
const MANY_QUESTIONS: u64 = 10_000;
/// Answers of 32 addresses that fill a session's share of what the kernel keeps.
const ANSWERS: u64 = 16_384 / 32;
/// Names that a session asks for, in zones of 64 each: no more of one are new in a minute. With the usual one, which it has asked for
/// before, they are as many as the resolver counts of a session, and their addresses fill its share.
const MANY_NAMES: u64 = 16_383;
const ZONES: u64 = MANY_NAMES.div_ceil(64);
/// Answers that are written into the kernel in a round, and the addresses of each.
const WRITTEN: u32 = 1000;
const ADDRESSES: u32 = 8;
/// Rules that name something, those zones among them.
const RULES: u64 = 1000;
const MICROSECOND: f64 = 1e3;
const MIB: f64 = 1024.0 * 1024.0;
const SECOND: f64 = 1e9;

/// What stands in the way of a look-up.
const WAY: &str = "the resolver is woken twice, by the question and by its answer, and a CPU that sleeps wakes slowly; see the \
                   look-up with no CPU asleep";

/// What programs connect to is by one policy open by its prefix, and by the other by its name.
fn policy(name: &str, to: &str) -> String {
    format!(
        "version = 1\nname = \"{name}\"\ndefault = \"deny\"\n\
         [[rule]]\nname = \"resolvers\"\nto = [\"@dns\"]\nports = [\"udp/53\", \"tcp/53\"]\naction = \"allow\"\n\
         [[rule]]\nname = \"bench\"\nto = [\"{to}\"]\nports = [\"tcp/{PORT}\"]\naction = \"allow\"\n"
    )
}

/// The second of those, with as many rules more.
fn with_rules(named: &str) -> String {
    let mut policy = named.replace("name = \"named\"", "name = \"many\"");
    for rule in 0..RULES {
        let zone = if rule < ZONES {
            "bench.example.com"
        } else {
            "example.net"
        };
        // Nothing fails to be written into a string.
        let _ = write!(
            policy,
            "[[rule]]\nname = \"r{rule}\"\nto = [\"*.z{rule:03}.{zone}\"]\naction = \"allow\"\n"
        );
    }
    policy
}

struct NamesStage {
    free: Client,
    plain: Client,
    named: Client,
    many: Client,
    other: Client,
    daemon: Daemon,
    _server: NameServer,
    _sink: Running,
    network: Network,
}

impl NamesStage {
    fn start() -> Result<Self> {
        let network = Network::new()?;
        let server = NameServer::start(&network)?;
        let sink = sink(&network)?;
        let named = policy("named", "*.bench.example.com").replace(
            "[[rule]]\nname = \"bench\"",
            "[[rule]]\nprivate = true\nname = \"bench\"",
        );
        let daemon = Daemon::in_network(&network)
            .config(&format!("resolvers = [\"{DNS}\"]\n"))
            .policy("plain", &policy("plain", "10.0.0.0/8"))
            .policy("named", &named)
            .policy("many", &with_rules(&named))
            .start()?;
        Ok(Self {
            free: Client::free(&network)?,
            plain: Client::guarded(&daemon, "plain")?,
            named: Client::guarded(&daemon, "named")?,
            many: Client::guarded(&daemon, "many")?,
            other: Client::guarded(&daemon, "named")?,
            daemon,
            _server: server,
            _sink: sink,
            network,
        })
    }
}

fn order(what: &str, count: u64) -> Value {
    json!({"do": what, "to": DNS, "count": count})
}

/// For an address of a name; of IPv6 there are always others.
fn order_of(name: &str, is_v6: bool) -> Value {
    let mut order = order("ask", FEW_QUESTIONS);
    order["name"] = name.into();
    order["v6"] = is_v6.into();
    order
}

/// What the middle question took, and the one slower than 99 of 100.
fn look_up(client: &mut Client) -> Result<[f64; 2]> {
    took(client, &order("ask", QUESTIONS))
}

/// The same while no CPU sleeps.
fn look_up_awake(client: &mut Client) -> Result<[f64; 2]> {
    let _awake = Awake::start()?;
    look_up(client)
}

fn took(client: &mut Client, order: &Value) -> Result<[f64; 2]> {
    thread::sleep(REST);
    times(&client.ask(order)?)
}

/// What a client says of its questions.
fn times(answer: &Value) -> Result<[f64; 2]> {
    let number = |key: &str| answer[key].as_f64().context("no time");
    Ok([number("ns")?, number("p99")?])
}

/// What a look-up takes of the resolver's own time, in nanoseconds: nothing that it waits for, and no wake-up. It is the mean of a
/// round, so beside it is what the question took that is slower than 99 of 100.
fn own_time(daemon: &Daemon, client: &mut Client, order: &Value) -> Result<[f64; 2]> {
    let resolver = memory::child(daemon, "guard-resolver")?;
    let count = order["count"].as_f64().context("no count")?;
    thread::sleep(REST);
    let before = cpu_of(resolver)?;
    let [_, slow] = times(&client.ask(order)?)?;
    let own = cpu_of(resolver)?.saturating_sub(before);
    Ok([own.as_nanos() as f64 / count, slow])
}

/// One number of each round.
fn column<const N: usize>(rounds: &[[f64; N]], at: usize) -> Samples {
    Samples(rounds.iter().map(|one| one[at]).collect())
}

/// Look-ups, connections, memory, and the time without a resolver.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn names(plan: &Plan) -> Result<Vec<Figure>> {
    let mut stage = NamesStage::start()?;
    let mut figures = look_ups(plan, &mut stage)?;
    figures.extend(of_slower_servers(plan, &mut stage)?);
    figures.extend(among_rules(plan, &mut stage)?);
    figures.extend(of_new_addresses(plan, &mut stage)?);
    figures.push(beside_a_flood(plan, &mut stage)?);
    figures.push(connects(plan, &mut stage)?);
    figures.extend(connect_program(plan, &mut stage)?);
    figures.push(resident(&mut stage)?);
    figures.push(resident_names(&mut stage)?);
    figures.push(written(plan, &stage)?);
    figures.extend(a_second(plan, &stage)?);
    figures.push(again(&mut stage)?);
    Ok(figures)
}

fn look_ups(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let [free, named, free_awake, named_awake] = take_turns(
        plan.rounds,
        stage,
        [
            &mut |stage: &mut NamesStage| look_up(&mut stage.free),
            &mut |stage: &mut NamesStage| look_up(&mut stage.named),
            &mut |stage: &mut NamesStage| look_up_awake(&mut stage.free),
            &mut |stage: &mut NamesStage| look_up_awake(&mut stage.named),
        ],
    )?;
    let more = |most: f64| Target::More(most * MICROSECOND);
    let figure = |name, at, target| {
        Figure::alone(name, Unit::Time, column(&named, at), target)
            .beside(Other::Measured("no guard", column(&free, at)))
            .remark(WAY)
    };
    let awake = Figure::alone(
        "look-up, no CPU asleep",
        Unit::Time,
        column(&named_awake, 0),
        Target::Stated,
    );
    let remark = "on each CPU a thread runs whenever no other wants to";
    Ok(vec![
        figure("look-up", 0, more(25.0)),
        figure("look-up, the 99th of 100", 1, more(100.0)),
        awake
            .beside(Other::Measured("no guard", column(&free_awake, 0)))
            .remark(remark),
    ])
}

/// A name server of a machine, which has to think, and one that is elsewhere.
fn of_slower_servers(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let servers = [
        ("look-up, a server of 55 µs", "s1", 1.5),
        ("look-up, a server of 1 ms", "t1", 1.05),
    ];
    let measured = servers.into_iter().map(|(figure, name, most)| {
        let order = order_of(name, false);
        let [free, named] = interleave(
            plan.few,
            stage,
            [
                &mut |stage: &mut NamesStage| Ok(took(&mut stage.free, &order)?[0]),
                &mut |stage: &mut NamesStage| Ok(took(&mut stage.named, &order)?[0]),
            ],
        )?;
        let figure = Figure::alone(figure, Unit::Time, named, Target::Ratio(most));
        Ok(figure.beside(Other::Measured("no guard", free)).remark(WAY))
    });
    measured.collect()
}

/// What judging a name takes that has a thousand rules beside its own.
fn among_rules(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let order = order("ask", QUESTIONS);
    let [one, many] = take_turns(
        plan.rounds,
        stage,
        [
            &mut |stage: &mut NamesStage| own_time(&stage.daemon, &mut stage.named, &order),
            &mut |stage: &mut NamesStage| own_time(&stage.daemon, &mut stage.many, &order),
        ],
    )?;
    let figure = |name, at, target| {
        Figure::alone(name, Unit::Time, column(&many, at), target)
            .beside(Other::Measured("two rules", column(&one, at)))
    };
    let name = "guard-resolver's own time for a look-up, 1,000 rules";
    let remark = "it is the mean of a round, with all else that the resolver does for a look-up";
    let slow = "look-up, 1,000 rules, the 99th of 100";
    Ok(vec![
        figure(name, 0, Target::More(MICROSECOND)).remark(remark),
        figure(slow, 1, Target::Stated).remark(WAY),
    ])
}

/// What a look-up takes whose answer has eight addresses that the session has not had, beside one.
fn of_new_addresses(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let orders = [order_of("v1", true), order_of("v8", true)];
    let [one, eight] = take_turns(
        plan.few,
        stage,
        [
            &mut |stage: &mut NamesStage| own_time(&stage.daemon, &mut stage.other, &orders[0]),
            &mut |stage: &mut NamesStage| own_time(&stage.daemon, &mut stage.other, &orders[1]),
        ],
    )?;
    let figure = |name, at| {
        Figure::alone(name, Unit::Time, column(&eight, at), Target::Stated)
            .beside(Other::Measured("one", column(&one, at)))
    };
    let name = "guard-resolver's own time for a look-up, 8 new addresses";
    let remark = "each is read, looked up in the kernel's map, written there, and told to guardd; the mean of a round";
    let slow = "look-up, 8 new addresses, the 99th of 100";
    Ok(vec![
        figure(name, 0).remark(remark),
        figure(slow, 1).remark(WAY),
    ])
}

/// What of that the kernel takes until it knows them, of which a program has its answer so much later. The map has what the sessions
/// of this stage know.
fn written(plan: &Plan, stage: &NamesStage) -> Result<Figure> {
    let pinned = kernel::pinned(&stage.daemon.pin_dir().join("live/named"))?;
    let mut map = NamedMap::new(pinned).context("it is another map")?;
    let [one, eight] = interleave(
        plan.few,
        &mut map,
        [
            &mut |map: &mut NamedMap| note(map, 1),
            &mut |map: &mut NamedMap| note(map, ADDRESSES),
        ],
    )?;
    let figure = Figure::alone(
        "8 addresses written into the kernel, the 99th of 100",
        Unit::Time,
        eight,
        Target::AtMost(10.0 * MICROSECOND),
    );
    let remark = "a system call looks for each in the map, and another one writes it";
    Ok(figure.beside(Other::Measured("one", one)).remark(remark))
}

/// Notes so many addresses that nobody knows as the resolver does, for answer after answer, and takes them out again: what the answer
/// took that is slower than 99 of 100. They are of a session that does not exist.
fn note(map: &NamedMap, addresses: u32) -> Result<f64> {
    let mut took = Samples::default();
    let now = clock::now();
    let learned = Learned {
        pattern: NameId::of("*.bench.example.com"),
        until: BootTime(now.0 + SECOND as u64),
    };
    for turn in 0..WRITTEN {
        let key = |nth: u32| {
            let address = u128::from(turn * addresses + nth);
            NamedKey::new(
                SessionId(u32::MAX),
                PolicyId(u32::MAX),
                Address::from_u128(0x2001_0db8_u128 << 96 | address),
            )
        };
        let keys: Vec<_> = (0..addresses).map(key).collect();
        let start = monotonic();
        for key in &keys {
            let known = map.get(key)?.unwrap_or_default();
            let named = known.with(key, learned, now);
            map.put(key, &named.context("it has no room for a pattern")?)?;
        }
        took.0.push((monotonic() - start) as f64);
        map.remove(&keys)?;
    }
    Ok(took.quantile(0.99))
}

/// What sessions get that ask at once, beside as many programs without a guard. The server is one thread, and so is the resolver.
fn a_second(plan: &Plan, stage: &NamesStage) -> Result<Vec<Figure>> {
    let mut sides = [
        several(|| Client::free(&stage.network))?,
        several(|| Client::guarded(&stage.daemon, "named"))?,
    ];
    let resolver = memory::child(&stage.daemon, "guard-resolver")?;
    let [free, named] = take_turns(
        plan.fewest,
        &mut sides,
        [
            &mut |[free, _]: &mut [Vec<Client>; 2]| together(free, resolver),
            &mut |[_, named]: &mut [Vec<Client>; 2]| together(named, resolver),
        ],
    )?;
    let figure = |name, at| {
        let least = Target::AtLeast(20_000.0);
        Figure::alone(name, Unit::Requests, column(&named, at), least)
    };
    let remark =
        "sessions, server and resolver share the CPUs; a session sends 4,000 a second at most";
    Ok(vec![
        figure("look-ups, 8 sessions, 32 of each at once", 0)
            .beside(Other::Measured("no guard", column(&free, 0)))
            .remark(remark),
        figure("the same, in a second of guard-resolver's own time", 1),
    ])
}

fn several(start: impl Fn() -> Result<Client>) -> Result<Vec<Client>> {
    (0..ASKING).map(|_| start()).collect()
}

/// How many questions are answered in a second, and in one of the resolver's own.
fn together(clients: &mut [Client], resolver: u32) -> Result<[f64; 2]> {
    let order = order("ask-at-once", MANY_QUESTIONS);
    let (start, before) = (Instant::now(), cpu_of(resolver)?);
    for client in &mut *clients {
        client.tell(&order)?;
    }
    for client in &mut *clients {
        client.answer()?;
    }
    let (took, own) = (start.elapsed(), cpu_of(resolver)?.saturating_sub(before));
    let answered = clients.len() as f64 * MANY_QUESTIONS as f64;
    Ok([took, own].map(|time| answered / time.as_secs_f64()))
}

/// A look-up while another session sends questions as fast as it can.
fn beside_a_flood(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
    let flooded = |stage: &mut NamesStage| -> Result<f64> {
        let mut flood = order("ask-flood", 0);
        flood["ms"] = 500.into();
        stage.other.tell(&flood)?;
        let [middle, _] = look_up(&mut stage.named)?;
        stage.other.answer()?;
        Ok(middle)
    };
    let [quiet, flooded] = interleave(
        plan.fewest,
        stage,
        [
            &mut |stage: &mut NamesStage| Ok(look_up(&mut stage.named)?[0]),
            &mut |stage: &mut NamesStage| flooded(stage),
        ],
    )?;
    let figure = Figure::alone(
        "look-up, another session floods",
        Unit::Time,
        flooded,
        Target::Ratio(1.1),
    );
    let remark = "the flood takes a CPU by itself, and the resolver reads 4,000 of it a second";
    Ok(figure
        .beside(Other::Measured("nobody does", quiet))
        .remark(remark))
}

fn connects(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
    stage.named.ask(&order("ask", 1))?;
    let to = Prefixes::TEN.one(0, 1);
    let [plain, named] = interleave(
        // All go to one address, and each keeps its port for a minute.
        plan.few,
        stage,
        [
            &mut |stage: &mut NamesStage| stage.plain.connect(to, CONNECTS, true),
            &mut |stage: &mut NamesStage| stage.named.connect(to, CONNECTS, true),
        ],
    )?;
    let figure = Figure::alone(
        "connect + close, by name",
        Unit::Time,
        named,
        Target::Ratio(1.05),
    );
    let remark = "what the session knows of the address is looked up, and what the policy says of the pattern";
    Ok(figure
        .beside(Other::Measured("by prefix", plain))
        .remark(remark))
}

/// The connect program's own time.
fn connect_program(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let program = traffic::program(&stage.daemon, "connect4")?;
    let _timing = Timing::enable()?;
    let to = Prefixes::TEN.one(0, 1);
    let connect =
        |client: &mut Client| traffic::timed(&program, || client.connect(to, CONNECTS, true));
    let [plain, named] = interleave(
        plan.fewest,
        stage,
        [
            &mut |stage: &mut NamesStage| connect(&mut stage.plain),
            &mut |stage: &mut NamesStage| connect(&mut stage.named),
        ],
    )?;
    let remark = "two look-ups more: of the address, and of what the policy says of its pattern";
    let figure = |target| {
        Figure::alone(
            "connect program, by name",
            Unit::Time,
            named.clone(),
            target,
        )
        .remark(remark)
    };
    Ok(vec![
        figure(Target::More(100.0)).beside(Other::Measured("by prefix", plain)),
        figure(Target::AtMost(500.0)),
    ])
}

/// A session that knows as many addresses as it may.
fn resident(stage: &mut NamesStage) -> Result<Figure> {
    let mut many = order("ask", ANSWERS - 1);
    many["name"] = "v32".into();
    many["v6"] = true.into();
    stage.named.ask(&many)?;
    let memory = memory::resolver(&stage.daemon)?;
    let figure = Figure::alone(
        "guard-resolver, 16,384 addresses",
        Unit::Memory,
        Samples(vec![memory]),
        Target::AtMost(32.0 * MIB),
    );
    Ok(figure)
}

/// One more that has asked for as many names, and learned an address of each.
fn resident_names(stage: &mut NamesStage) -> Result<Figure> {
    stage.many.ask(&order("ask-each", MANY_NAMES))?;
    let memory = memory::resolver(&stage.daemon)?;
    Ok(Figure::alone(
        "guard-resolver, 16,384 names more",
        Unit::Memory,
        Samples(vec![memory]),
        Target::AtMost(32.0 * MIB),
    ))
}

/// From the resolver's end to the next answer.
fn again(stage: &mut NamesStage) -> Result<Figure> {
    let resolver = memory::child(&stage.daemon, "guard-resolver")?;
    let pid = Pid::from_raw(resolver.cast_signed()).context("no process")?;
    let start = monotonic();
    kill_process(pid, Signal::KILL)?;
    let mut until = order("ask-until", 1);
    until["ms"] = 30_000.into();
    let answer = stage.named.ask(&until)?;
    let at = answer["at"].as_u64().context("no moment")?;
    let took = at.saturating_sub(start) as f64;
    Ok(Figure::alone(
        "resolver killed, to the next answer",
        Unit::Time,
        Samples(vec![took]),
        Target::AtMost(SECOND),
    ))
}
