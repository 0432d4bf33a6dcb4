//! Names: a look-up through the guard's resolver beside one without, and a connection that a name allows.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use guard_lab::{Daemon, Network};
use serde_json::json;

use super::Plan;
use super::client::{Client, Side, compare, sink};
use super::figure::{Figure, Unit};
use super::prefixes::{PORT, TEN};

const DNS: &str = "192.0.2.53:53";
/// Questions in a round: no more than a session may send at once.
const QUESTIONS: u64 = 250;
/// Pause after which a session may send as many again.
const REST: Duration = Duration::from_millis(100);
/// Connections in a round.
const CONNECTS: u64 = 400;

/// Returns a policy that opens what clients connect to, by its prefix or by its name.
fn policy(name: &str, to: &str) -> String {
    format!(
        "version = 1\nname = \"{name}\"\ndefault = \"deny\"\n\
         [[rule]]\nname = \"resolvers\"\nto = [\"@dns\"]\nports = [\"udp/53\", \"tcp/53\"]\naction = \"allow\"\n\
         [[rule]]\n{to}\nname = \"bench\"\nports = [\"tcp/{PORT}\"]\naction = \"allow\"\n"
    )
}

/// # Errors
///
/// That something could not be measured.
pub(super) fn names(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    serve(&network)?;
    let sink = sink(&network)?;
    let daemon = Daemon::in_network(&network)
        .config(&format!("resolvers = [\"{DNS}\"]\n"))
        .policy("plain", &policy("plain", "to = [\"10.0.0.0/8\"]"))
        .policy(
            "named",
            &policy("named", "to = [\"*.bench.example.com\"]\nprivate = true"),
        )
        .start()?;
    let mut named = Client::guarded(&daemon, "named")?;
    named.ask(&json!({"do": "ask", "to": DNS, "count": 1}))?;
    let mut sides = [
        Side::new("by name", named, ()),
        Side::new("no guard", Client::free(&network)?, ()),
    ];
    let mut figures = Vec::new();
    for (name, key) in [("look-up", "ns"), ("look-up, the 99th of 100", "p99")] {
        let order = json!({"do": "ask", "to": DNS, "count": QUESTIONS});
        figures.extend(compare(
            (name, Unit::Time),
            plan.rounds,
            &mut sides,
            |client| {
                thread::sleep(REST);
                client.number(&order, key)
            },
        )?);
    }
    sides[1] = Side::new("by prefix", Client::guarded(&daemon, "plain")?, ());
    // All go to one address, and each keeps its port for a minute: so there are few rounds.
    figures.extend(compare(
        ("connect + close, by name", Unit::Time),
        plan.few,
        &mut sides,
        |client| client.connect(TEN.inside().one(), CONNECTS, true),
    )?);
    drop((sides, daemon, sink));
    Ok(figures)
}

/// Starts a name server in production, which answers each question with one address until this program ends.
fn serve(network: &Network) -> Result<()> {
    let socket = network.prod().enter(|| Ok(UdpSocket::bind(DNS)?))?;
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length]) {
                // The asker may be gone.
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(())
}

/// Returns an answer of one IPv4 address: a header, the question and a record whose name points at the question's.
fn answer(asked: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let name = asked.get(HEADER..)?.iter().position(|byte| *byte == 0)?;
    let mut answer = asked.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(asked.get(HEADER..HEADER + name + 5)?);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(TEN.inside().first().octets());
    Some(answer)
}
