//! What names in the path cost: a look-up through the guard's resolver beside one without, and a connection that a name allows.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use guard_lab::bench::monotonic;
use guard_lab::kernel::Timing;
use guard_lab::{Daemon, Network, Running};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::memory;
use super::name_server::{DNS, NameServer};
use super::prefixes::{PORT, Prefixes};
use super::rounds::{interleave, take_turns};
use super::samples::Samples;
use super::traffic;

/// Questions in a round.
const QUESTIONS: u64 = 1000;
/// Connections in a round.
const CONNECTS: u64 = 400;
/// The same where each takes long, or leaves something behind.
const FEW_QUESTIONS: u64 = 100;
/// Answers of 32 addresses that fill a session's share of what the kernel keeps.
const ANSWERS: u64 = 16_384 / 32;
/// Names that a session asks for, in zones of 64 each: as many as it may have in a minute.
const MANY_NAMES: u64 = 16_000;
const ZONES: u64 = MANY_NAMES / 64;
/// Rules that name something, those zones among them.
const RULES: u64 = 1000;
const MICROSECOND: f64 = 1e3;
const MIB: f64 = 1024.0 * 1024.0;
const SECOND: f64 = 1e9;

/// What stands in the way of a look-up.
const WAY: &str = "two more processes and their wake-ups are in the path";

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
    _network: Network,
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
            _network: network,
        })
    }
}

fn order(what: &str, count: u64) -> Value {
    json!({"do": what, "to": DNS, "count": count})
}

/// What the middle question took, and the one slower than 99 of 100.
fn look_up(client: &mut Client) -> Result<[f64; 2]> {
    took(client, &order("ask", QUESTIONS))
}

/// What the middle question for an address of a name took; of IPv6 there are always others.
fn look_up_of(client: &mut Client, name: &str, is_v6: bool) -> Result<f64> {
    let mut order = order("ask", FEW_QUESTIONS);
    order["name"] = name.into();
    order["v6"] = is_v6.into();
    Ok(took(client, &order)?[0])
}

fn took(client: &mut Client, order: &Value) -> Result<[f64; 2]> {
    let answer = client.ask(order)?;
    let number = |key: &str| answer[key].as_f64().context("no time");
    Ok([number("ns")?, number("p99")?])
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
    figures.push(among_rules(plan, &mut stage)?);
    figures.push(of_new_addresses(plan, &mut stage)?);
    figures.push(a_second(plan, &mut stage)?);
    figures.push(beside_a_flood(plan, &mut stage)?);
    figures.push(connects(plan, &mut stage)?);
    figures.push(connect_program(plan, &mut stage)?);
    figures.push(resident(&mut stage)?);
    figures.push(resident_names(&mut stage)?);
    figures.push(again(&mut stage)?);
    Ok(figures)
}

fn look_ups(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let [free, named] = take_turns(
        plan.few,
        stage,
        [
            &mut |stage: &mut NamesStage| look_up(&mut stage.free),
            &mut |stage: &mut NamesStage| look_up(&mut stage.named),
        ],
    )?;
    let of = |all: &[[f64; 2]], at: usize| Samples(all.iter().map(|one| one[at]).collect());
    let figure = |name, at, most: f64| {
        Figure::alone(
            name,
            Unit::Time,
            of(&named, at),
            Target::More(most * MICROSECOND),
        )
        .beside(Other::Measured("no guard", of(&free, at)))
        .remark(WAY)
    };
    Ok(vec![
        figure("look-up", 0, 25.0),
        figure("look-up, the 99th of 100", 1, 100.0),
    ])
}

/// A name server of a machine, which has to think, and one that is elsewhere.
fn of_slower_servers(plan: &Plan, stage: &mut NamesStage) -> Result<Vec<Figure>> {
    let servers = [
        ("look-up, a server of 55 µs", "s1", 1.5),
        ("look-up, a server of 1 ms", "t1", 1.05),
    ];
    let measured = servers.into_iter().map(|(figure, name, most)| {
        let [free, named] = interleave(
            plan.few,
            stage,
            [
                &mut |stage: &mut NamesStage| look_up_of(&mut stage.free, name, false),
                &mut |stage: &mut NamesStage| look_up_of(&mut stage.named, name, false),
            ],
        )?;
        let figure = Figure::alone(figure, Unit::Time, named, Target::Ratio(most));
        Ok(figure.beside(Other::Measured("no guard", free)).remark(WAY))
    });
    measured.collect()
}

/// What judging a name takes that has a thousand rules beside its own.
fn among_rules(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
    let [one, many] = interleave(
        plan.few,
        stage,
        [
            &mut |stage: &mut NamesStage| Ok(look_up(&mut stage.named)?[0]),
            &mut |stage: &mut NamesStage| Ok(look_up(&mut stage.many)?[0]),
        ],
    )?;
    let figure = Figure::alone(
        "look-up, 1,000 rules",
        Unit::Time,
        many,
        Target::More(MICROSECOND),
    );
    let remark = "rounds of the same side differ by more";
    Ok(figure
        .beside(Other::Measured("two rules", one))
        .remark(remark))
}

/// What it takes that the kernel knows eight addresses before the program does, beside one.
fn of_new_addresses(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
    let [one, eight] = interleave(
        plan.few,
        stage,
        [
            &mut |stage: &mut NamesStage| look_up_of(&mut stage.other, "v1", true),
            &mut |stage: &mut NamesStage| look_up_of(&mut stage.other, "v8", true),
        ],
    )?;
    let figure = Figure::alone(
        "look-up, 8 new addresses",
        Unit::Time,
        eight,
        Target::More(10.0 * MICROSECOND),
    );
    let remark = "each is looked up in the kernel's map, written there, and told to guardd";
    Ok(figure.beside(Other::Measured("one", one)).remark(remark))
}

/// One session's, beside having no guard: the server is one thread.
fn a_second(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
    let rate = |client: &mut Client| {
        let answer = client.ask(&order("ask-at-once", 10 * QUESTIONS))?;
        answer["a_second"].as_f64().context("no rate")
    };
    let [free, named] = interleave(
        plan.fewest,
        stage,
        [
            &mut |stage: &mut NamesStage| rate(&mut stage.free),
            &mut |stage: &mut NamesStage| rate(&mut stage.named),
        ],
    )?;
    let remark = "a session sends 4,000 a second at most";
    let figure = Figure::alone(
        "look-ups, 32 at once",
        Unit::Requests,
        named,
        Target::AtLeast(20_000.0),
    );
    Ok(figure
        .beside(Other::Measured("no guard", free))
        .remark(remark))
}

/// A look-up while another session sends questions as fast as it can.
fn beside_a_flood(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
    let flooded = |stage: &mut NamesStage| {
        let mut flood = order("ask-flood", 0);
        flood["ms"] = 500.into();
        stage.other.tell(&flood)?;
        let mut few = order("ask", QUESTIONS);
        few["count"] = 500.into();
        let answer = stage.named.ask(&few)?;
        stage.other.answer()?;
        answer["ns"].as_f64().context("no time")
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
fn connect_program(plan: &Plan, stage: &mut NamesStage) -> Result<Figure> {
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
    let figure = Figure::alone(
        "connect program, by name",
        Unit::Time,
        named,
        Target::More(100.0),
    );
    let remark = "two look-ups more: of the address, and of what the policy says of its pattern";
    Ok(figure
        .beside(Other::Measured("by prefix", plain))
        .remark(remark))
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
        "guard-resolver, 16,000 names more",
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
