//! Who says what arrived.

use guard_lab::Tested;
use std::collections::BTreeSet;

use crate::clients::agent::Agent;
use crate::clients::scene::{ClientScene, HOST, PATIENCE, url};
use crate::clients::server::Server;

/// Searching is allowed, and so the shell for what is smuggled: all else that changes something waits.
const RULE: &str = "[[rule.http]]\nmethod = [\"POST\"]\npath = \"/search\"\naction = \"allow\"\n";

/// Where the one listens that believes lengths, and the one that believes codings.
const PORTS: [u16; 2] = [7001, 7002];

pub(crate) fn scene() -> Tested<ClientScene> {
    ClientScene::new(RULE)
}

/// What is smuggled in the case of a number.
pub(crate) fn smuggled(number: usize) -> String {
    format!("DELETE /smuggled/{number} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// What a judge took for requests.
#[derive(Debug)]
pub(crate) struct Arrived(Vec<String>);

impl Arrived {
    /// The numbers of the cases that got theirs through.
    pub(crate) fn smuggled(&self) -> BTreeSet<usize> {
        let number = |one: &String| one.strip_prefix("DELETE /smuggled/")?.parse().ok();
        self.0.iter().filter_map(number).collect()
    }

    /// What the policy allows nobody without being asked.
    pub(crate) fn forbidden(&self) -> Vec<&String> {
        let reads = ["GET ", "HEAD ", "OPTIONS "];
        let allowed = |one: &&String| {
            *one == "POST /search" || reads.iter().any(|read| one.starts_with(read))
        };
        self.0.iter().filter(|one| !allowed(one)).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Both.
pub(crate) struct Judges(Vec<Server>);

impl Judges {
    pub(crate) fn start(scene: &ClientScene) -> Self {
        let start = |(port, kind)| Server::python(scene, "naive.py", &[kind], port).unwrap();
        Self(
            PORTS
                .into_iter()
                .zip(["length", "coding"])
                .map(start)
                .collect(),
        )
    }

    /// Has an agent send each case to both, and gives what each took for requests, and what the client was told.
    pub(crate) fn hear(
        &mut self,
        scene: &ClientScene,
        agent: &mut Agent<'_>,
        cases: &[Vec<u8>],
    ) -> Tested<([Arrived; 2], String)> {
        scene.write("cases", lines(cases).as_bytes())?;
        let [one, other] = PORTS;
        agent.tell(&format!(
            "/usr/bin/python3 $PROGRAMS/raw.py {HOST} {one} {other} <cases >told; echo sent $?"
        ))?;
        assert_eq!(agent.line_with("sent ")?.trim(), "sent 0");
        // The last that each hears of is from somebody who waits for the answer.
        let arrived = [0, 1].map(|at| {
            agent
                .run(&format!("curl -sS {}", url(PORTS[at], "/end")))
                .unwrap()
                .ok();
            let mut all = Vec::new();
            loop {
                match self.0[at].lines.line(PATIENCE).unwrap() {
                    end if end == "GET /end" => break Arrived(all),
                    other => all.push(other),
                }
            }
        });
        let told = String::from_utf8(scene.read("told")?)?;
        Ok((arrived, told))
    }
}

/// In hexadecimal, a case a line.
fn lines(cases: &[Vec<u8>]) -> String {
    let hex = |case: &Vec<u8>| {
        case.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    cases.iter().map(|case| hex(case) + "\n").collect()
}

/// A case as people read it.
pub(crate) fn text(case: &[u8]) -> String {
    case.escape_ascii().to_string()
}
