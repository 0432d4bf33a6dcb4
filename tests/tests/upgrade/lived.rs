//! What lives under a guard while it is upgraded: two sessions, a hole with a budget, a request.

use std::fs;

use guard_lab::{
    AGENT, Attempt, Daemon, Json as _, NEVER, Network, Production, Shell, Tested, eventually,
};
use serde_json::Value;

/// The policies that it has.
const POLICY: &str = include_str!("upgrade.toml");
const OWN: &str = include_str!("own.toml");

/// A hole is open there for the first session, for nine connections.
const OPEN: &str = "192.0.2.10";
/// The second session has asked for that.
pub(crate) const ASKED: &str = "192.0.2.20";
/// The first session's policy allows it.
pub(crate) const ALLOWED: &str = "198.51.100.7";

/// The first of them with something in it that the version before does not know.
pub(crate) fn later() -> String {
    let renamed = POLICY.replace("name = \"upgrade\"", "name = \"later\"");
    renamed + "\n[unix]\nallow = [\"/run/later.sock\"]\n"
}

/// A daemon with the first of the policies.
pub(crate) fn prepared(network: &Network) -> Tested<Daemon> {
    Ok(Daemon::in_network(network)
        .policy("upgrade", POLICY)
        .prepare()?)
}

pub(crate) struct Lived {
    work: Shell,
    migration: Shell,
    /// Tries all the time what no policy allows.
    _loop: Shell,
    /// Their sessions.
    ids: [String; 3],
    hole: String,
    request: String,
    connections: u64,
    expires: f64,
}

impl Lived {
    /// Makes all of it.
    pub(crate) fn begin(daemon: &Daemon) -> Tested<Self> {
        let own = daemon.dir().join("own.toml");
        fs::write(&own, OWN)?;
        let run = |policy: &str, name| {
            let run = daemon.agent(["run", "--policy", policy, "--name", name]);
            Shell::run_by(daemon, run).unwrap()
        };
        let work = run("upgrade", "work");
        let mut migration = run(own.to_str().unwrap(), "migration");
        let mut looping = run("upgrade", "loop");
        let probe = daemon.program("guard-lab")?;
        let words = Attempt::new("keep", NEVER, 443).args();
        let line = format!("{} {}", probe.display(), words.join(" "));
        looping.tell(&line)?;
        // After others that have been here, ids go on.
        let sessions = daemon.json(["sessions"])?;
        let ids = [0, 1, 2].map(|at| sessions[at]["id"].as_str().unwrap_or_default().to_owned());
        let open = [
            "open",
            OPEN,
            "--ports",
            "tcp/443",
            "--session",
            &ids[0],
            "--connections",
            "9",
            "--for",
            "1h",
        ];
        daemon.root(open).args(["--reason", "a migration"]).json()?;
        assert!(!migration.reaches(&Attempt::tcp(ASKED, 443))?);
        eventually("it is asked", || Ok(requests(daemon, &ids[1])?.len() == 1))?;
        let request = requests(daemon, &ids[1])?[0]["id"].text()?.to_owned();
        let hole = daemon.json(["holes"])?[0].clone();
        Ok(Self {
            ids,
            hole: hole["id"].text()?.to_owned(),
            request,
            work,
            migration,
            _loop: looping,
            connections: 9,
            expires: seconds(&hole["expires_at"])?,
        })
    }

    /// All of it is there as it was, and does what it did.
    pub(crate) fn goes_on(&mut self, daemon: &Daemon) -> Tested {
        let sessions = daemon.json(["sessions"])?;
        for (at, name, policy) in [
            (0, "work", "upgrade"),
            (1, "migration", "own"),
            (2, "loop", "upgrade"),
        ] {
            let session = &sessions[at];
            assert_eq!(session["id"], self.ids[at], "{sessions}");
            assert_eq!(
                (&session["name"], &session["policy"]),
                (&name.into(), &policy.into())
            );
            assert_eq!(session["uid"], AGENT);
        }
        let holes = daemon.json(["holes"])?;
        assert_eq!(holes.list()?.len(), 1, "{holes}");
        let hole = &holes[0];
        let [first, second, _] = self.ids.clone();
        assert_eq!(hole["id"], self.hole);
        assert_eq!(hole["session"], first);
        assert_eq!(hole["reason"], "a migration");
        assert_eq!(hole["connections_left"], self.connections, "{hole}");
        assert!(
            (seconds(&hole["expires_at"])? - self.expires).abs() < 1.0,
            "{hole}"
        );
        let asked = requests(daemon, &second)?;
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(asked[0]["id"], self.request);
        assert_eq!(asked[0]["destination"]["address"], ASKED);
        self.is_guarded();
        // Ids go on.
        let more = ["open", "192.0.2.11:443", "--session", &first];
        let more = daemon.json(more)?["id"].clone();
        assert_ne!(more, self.hole);
        daemon.ask(["close", more.text()?])?.success()?;
        Ok(())
    }

    /// The kernel decides as it did; the hole has one connection less.
    pub(crate) fn is_guarded(&mut self) {
        let mut reaches = |to| self.work.reaches(&Attempt::tcp(to, 443)).unwrap();
        assert!(reaches(OPEN) && reaches(ALLOWED));
        assert!(!reaches(NEVER) && !reaches(ASKED));
        self.connections -= 1;
        // Its own policy asks about everything else.
        let mut reaches = |to| self.migration.reaches(&Attempt::tcp(to, 443)).unwrap();
        assert!(!reaches(OPEN) && !reaches(ASKED) && !reaches(NEVER));
    }

    /// What no version allowed has never got through, though it would have without the guard.
    pub(crate) fn check(self, network: &Network, production: &Production) -> Tested {
        for to in [NEVER, ASKED] {
            assert!(production.reached_at(to, 443)?.is_empty());
            let outside = Attempt::tcp(to, 443).outside(network.dev(), AGENT);
            assert!(outside?.ok);
        }
        Ok(())
    }
}

fn requests(daemon: &Daemon, session: &str) -> Tested<Vec<Value>> {
    let pending = daemon.json(["pending"])?;
    let pending = pending.list()?.iter();
    // What the tests try themselves is asked about, too.
    let asked =
        pending.filter(|one| one["destination"]["address"] == ASKED && one["session"] == session);
    Ok(asked.cloned().collect())
}

fn seconds(time: &Value) -> Tested<f64> {
    let time: jiff::Timestamp = time.text()?.parse()?;
    Ok(time.as_millisecond() as f64 / 1000.0)
}
