//! Thousands of requests: answered, left to their time, or given up by whoever asked, with a reader who keeps up and one who
//! does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use guard_lab::{
    AGENT, Attempt, Daemon, Json as _, Network, Production, Shell, Tested, eventually, is_sampled,
    is_slow, joined,
};
use serde_json::{Value, json};

const POLICY: &str = "version = 1\nname = \"soak\"\ndefault = \"allow\"\nhold = \"20s\"\n\
     [[rule]]\nname = \"asked\"\nto = [\"10.64.0.0/10\"]\naction = \"confirm\"\n";
/// Where the requests begin, as a number.
const FIRST: u32 = Ipv4Addr::new(10, 64, 0, 1).to_bits();
/// The next is in another network: what lies in one is one request.
const STRIDE: u32 = 256;
/// Where those before the others begin.
const WARM: u32 = FIRST + 15_000 * STRIDE;
/// Requests of one session: what it may write into the audit log at once is enough for three records about each.
const EACH: u32 = 20;
/// Sessions at a time.
const AT_ONCE: usize = 8;
/// By how much guardd may grow, in KiB.
const GROWTH: u64 = 16 << 10;

#[test]
fn a_thousand_requests_leave_nothing_behind() -> Tested {
    // In the gate there is time for some of them; another run goes through all.
    soak(match (is_slow(), is_sampled()) {
        (true, _) => 200,
        (false, true) => 400,
        (false, false) => 1000,
    })?;
    Ok(())
}

#[test]
#[ignore = "a soak: two minutes and more"]
fn soak_of_ten_thousand_requests() -> Tested {
    soak(10_000)?;
    Ok(())
}

fn soak(requests: u32) -> Tested {
    let network = Network::new()?;
    network.answer_for(&["10.64.0.0/10"])?;
    let production = Production::launch(&network, &[443], &[], true)?;
    let daemon = Daemon::in_network(&network)
        .policy("soak", POLICY)
        .start()?;
    // What it needs once and for all is there after a few.
    let warm = Shell::start(&daemon, "soak")?;
    let warmed = ask(&daemon, WARM, "60000")?.then_some(WARM);
    let before = memory(&daemon)?;
    let over = AtomicBool::new(false);
    let (most, unwatched) = thread::scope(|scope| -> Tested<_> {
        let readers = [
            scope.spawn(|| answer(&daemon, &over)),
            scope.spawn(|| dawdle(&daemon, &over)),
        ];
        let highest = scope.spawn(|| highest(&daemon, &over));
        let unwatched = ask_all(&daemon, requests);
        // They end then, however that went.
        over.store(true, Ordering::Relaxed);
        readers.into_iter().try_for_each(joined)?;
        Ok((joined(highest)?, unwatched?))
    })?;
    let unwatched: BTreeSet<_> = unwatched.into_iter().chain(warmed.map(number)).collect();
    drop(warm);
    eventually("all have ended", || {
        Ok(daemon.list(["sessions"])?.is_empty())
    })?;
    eprintln!("guardd had {before} KiB, and {most} KiB at most");
    assert!(
        most < before + GROWTH,
        "it had {before} KiB, and then {most} KiB"
    );
    let trail = Trail::read(&daemon)?;
    assert_eq!(trail.of("request").len() as u32, requests + EACH);
    each_has_an_end(&trail, &unwatched)?;
    nothing_else_passed(&trail, &production)?;
    still_answers(&daemon)
}

/// All requests, in sessions of which some run at a time. Every third gives up before anybody can answer all.
/// Gives the numbers of those some of whose connections ended by themselves.
fn ask_all(daemon: &Daemon, requests: u32) -> Tested<BTreeSet<u32>> {
    let next = AtomicU32::new(0);
    let ask_in_turn = || -> Tested<Vec<u32>> {
        let mut unwatched = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number * EACH >= requests {
                return Ok(unwatched);
            }
            let patience = if gives_up(number) { "1500" } else { "60000" };
            if ask(daemon, FIRST + number * EACH * STRIDE, patience)? || gives_up(number) {
                unwatched.push(number);
            }
        }
    };
    thread::scope(|scope| -> Tested<_> {
        let all: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(ask_in_turn)).collect();
        let mut unwatched = BTreeSet::new();
        for one in all {
            unwatched.extend(joined(one)?);
        }
        Ok(unwatched)
    })
}

/// How long a request waits: long enough for an answer to some of them on any machine, and over for the others.
fn hold() -> &'static str {
    if is_slow() { "20s" } else { "4s" }
}

/// Whether a session's client does.
fn gives_up(number: u32) -> bool {
    number % 3 == 2
}

/// A session that asks about so many addresses, for as long as it has patience, in milliseconds. Whether the kernel ended some
/// of them before guardd came to it, as on a busy machine.
fn ask(daemon: &Daemon, first: u32, patience: &str) -> Tested<bool> {
    let attempt = Attempt::new("spread", &Ipv4Addr::from(first).to_string(), 443)
        .other(&format!("{EACH}x{STRIDE}"))
        .timeout(Duration::from_millis(patience.parse()?));
    let probe = daemon.program("guard-lab")?;
    // Of several users: the records of one have a limit.
    let user = AGENT + first / (EACH * STRIDE) % 16;
    let run = daemon.user(user, ["run", "--policy", "soak", "--hold", hold(), "--"]);
    let run = run.args([probe]).args(attempt.args()).run()?;
    assert!(run.stdout.contains("tried all"), "{run:?}");
    Ok(run.stdout.contains("ETIMEDOUT"))
}

/// Follows the requests, and answers some: of ten a yes, three times no, and nothing for the others.
fn answer(daemon: &Daemon, over: &AtomicBool) -> Tested {
    let follow = daemon.root(["pending", "--follow", "--json"]);
    let mut follow = follow.spawn()?;
    let mut seen = BTreeSet::new();
    while !over.load(Ordering::Relaxed) {
        let Ok(line) = follow.line(Duration::from_millis(200)) else {
            assert!(!follow.has_ended());
            continue;
        };
        let told: Value = serde_json::from_str(&line)?;
        for request in told
            .as_array()
            .map_or(vec![&told], |all| all.iter().collect())
        {
            let id = request["id"].text()?.to_owned();
            let verb = match wanted(&request["destination"]) {
                Some(verb) if seen.insert(id.clone()) => verb,
                _ => continue,
            };
            tell(daemon, verb, &id)?;
        }
    }
    Ok(())
}

/// As `guard` does, and faster. Who asked may have given up by now.
fn tell(daemon: &Daemon, verb: &str, id: &str) -> Tested {
    let call =
        json!({ "method": format!("org.guardd.Control.{verb}"), "parameters": { "id": id } });
    let mut stream = UnixStream::connect(daemon.socket())?;
    let patience = guard_lab::patience(guard_lab::PATIENCE);
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{call}\0").as_bytes())?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(0, &mut answer)?;
    assert!(!answer.is_empty());
    Ok(())
}

fn wanted(destination: &Value) -> Option<&'static str> {
    let address: Ipv4Addr = destination["address"].as_str()?.parse().unwrap();
    match (address.to_bits() / STRIDE) % 10 {
        0 => Some("Approve"),
        1..4 => Some("Deny"),
        _ => None,
    }
}

/// Follows the requests as somebody whose terminal hangs.
fn dawdle(daemon: &Daemon, over: &AtomicBool) -> Tested {
    let follow = daemon.root(["pending", "--follow", "--json"]);
    let mut follow = follow.command()?;
    let follow = follow.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut follow = follow.spawn()?;
    let output = follow.stdout.take().context("no output")?;
    let mut lines = BufReader::with_capacity(1, output).lines();
    lines.next().context("it has ended")??;
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(300));
    }
    // It goes on from where it was.
    lines.next().context("it has ended")??;
    follow.kill()?;
    follow.wait()?;
    Ok(())
}

/// The most memory that guardd has until it is over.
fn highest(daemon: &Daemon, over: &AtomicBool) -> Tested<u64> {
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        most = memory(daemon)?.max(most);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(most)
}

/// `VmRSS` of guardd, in KiB.
fn memory(daemon: &Daemon) -> Tested<u64> {
    let guardd = daemon.pid().context("guardd does not run")?;
    let status = fs::read_to_string(format!("/proc/{guardd}/status"))?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Of which session a request to that address is.
fn number(address: u32) -> u32 {
    (address - FIRST) / STRIDE / EACH
}

/// The audit log by kinds of records.
struct Trail(BTreeMap<String, Vec<Value>>);

impl Trail {
    fn read(daemon: &Daemon) -> Tested<Self> {
        let read = |option| daemon.root(["log", option]).run()?.success();
        read("--verify")?;
        let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in read("--json")?.json_lines()? {
            assert!(record["left_out"].as_u64().unwrap_or(0) == 0, "{record}");
            kinds
                .entry(text(&record["kind"]).to_owned())
                .or_default()
                .push(record);
        }
        Ok(Self(kinds))
    }

    fn of(&self, kind: &str) -> &[Value] {
        self.0.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The requests that records are about.
    fn requests<'t>(&'t self, kind: &str, is_meant: impl Fn(&Value) -> bool) -> BTreeSet<&'t str> {
        let meant = self.of(kind).iter().filter(|one| is_meant(one));
        meant.map(|one| text(&one["request"])).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Where a record's request leads, and whose it is.
fn about(record: &Value) -> (&str, &str) {
    (
        text(&record["session"]),
        text(&record["destination"]["address"]),
    )
}

/// That each was asked, and how it ended: answered, in vain, or with its session, where guardd could not see it end.
fn each_has_an_end(trail: &Trail, unwatched: &BTreeSet<u32>) -> Tested {
    let answered = trail.requests("answered", |_| true);
    let in_vain: BTreeSet<_> = trail.of("denied").iter().map(about).collect();
    let ended: BTreeSet<_> = trail
        .of("session-end")
        .iter()
        .map(|one| text(&one["session"]))
        .collect();
    let mut gone = 0;
    for request in trail.of("request") {
        let (session, address) = about(request);
        if answered.contains(text(&request["request"])) || in_vain.contains(&(session, address)) {
            continue;
        }
        let number = number(address.parse::<Ipv4Addr>()?.to_bits());
        assert!(
            unwatched.contains(&number) && ended.contains(session),
            "{request} has no end"
        );
        gone += 1;
    }
    eprintln!(
        "{} answered, {} in vain, {gone} given up",
        answered.len(),
        in_vain.len()
    );
    assert!(!answered.is_empty() && !in_vain.is_empty() && gone > 0);
    Ok(())
}

/// That holes were opened by a person's yes alone, and that nothing else has reached production.
fn nothing_else_passed(trail: &Trail, production: &Production) -> Tested {
    let yes = trail.requests("answered", |one| one["answer"] == "yes");
    assert!(!yes.is_empty());
    assert_eq!(trail.requests("hole-open", |_| true), yes);
    assert_eq!(trail.of("hole-close").len(), yes.len());
    let opened = trail
        .of("request")
        .iter()
        .filter(|one| yes.contains(text(&one["request"])));
    let opened: BTreeSet<_> = opened.map(|one| about(one).1).collect();
    let reached = production.reached()?;
    let reached = reached.iter().map(|one| one.to.to_string());
    let reached: BTreeSet<_> = reached.filter(|to| to.starts_with("10.")).collect();
    eprintln!("{} opened, {} of them reached", opened.len(), reached.len());
    assert!(
        !reached.is_empty() && reached.iter().all(|to| opened.contains(to.as_str())),
        "{reached:?}"
    );
    Ok(())
}

fn still_answers(daemon: &Daemon) -> Tested {
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true);
    assert_eq!(daemon.json(["pending"])?, json!([]));
    assert_eq!(daemon.json(["holes"])?, json!([]));
    let mut shell = Shell::start(daemon, "soak")?;
    let attempt = Attempt::tcp("10.127.255.1", 443);
    assert!(!shell.reaches(&attempt)?);
    let pending = daemon.json(["pending"])?;
    let id = pending[0]["id"].text()?;
    daemon.root(["approve", id]).run()?.success()?;
    assert!(shell.reaches(&attempt)?);
    Ok(())
}
