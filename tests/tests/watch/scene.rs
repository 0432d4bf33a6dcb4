//! A guardd, production, and a shell in a session.

use anyhow::Result;
use guard_lab::{Attempt, Daemon, Network, Production, Shell, Tested};
use serde_json::Value;

use crate::watch::terminal::{Tmux, Window};
use crate::watch::{POLICY, PORT, READ_ONLY};

pub(crate) struct Scene {
    pub(crate) network: Network,
    pub(crate) daemon: Daemon,
    pub(crate) tmux: Tmux,
}

impl Scene {
    pub(crate) fn new() -> Tested<Self> {
        let network = Network::new()?;
        let daemon = Daemon::in_network(&network)
            .policy("asks", POLICY)
            .policy("reads", READ_ONLY)
            .start()?;
        let tmux = Tmux::start(daemon.dir());
        Ok(Self {
            network,
            daemon,
            tmux,
        })
    }

    pub(crate) fn production(&self) -> Result<Production> {
        Production::start(&self.network)
    }

    pub(crate) fn shell(&self) -> Result<Shell> {
        Shell::start(&self.daemon, "asks")
    }

    /// A screen that follows already.
    pub(crate) fn watch(&self, name: &str) -> Window<'_> {
        self.watch_with(name, &[])
    }

    pub(crate) fn watch_with(&self, name: &str, args: &[&str]) -> Window<'_> {
        let window = self.tmux.window(name);
        window.guard(&self.daemon.root(["watch"]).args(args.to_vec()));
        window.expect("Requests");
        window.expect_no("asking guardd");
        window
    }

    pub(crate) fn holes(&self) -> Vec<Value> {
        self.daemon.list(["holes"]).unwrap()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.daemon.list(["pending"]).unwrap().len()
    }
}

/// Tries production at an address, which is refused and asked about unless a hole lets it through.
pub(crate) fn reaches(shell: &mut Shell, address: &str) -> Result<bool> {
    shell.reaches(&Attempt::tcp(address, PORT))
}

/// A person looks before a key is pressed: what has just come up takes no answer, for 300 ms from when it was drawn.
pub(crate) fn look() {
    std::thread::sleep(std::time::Duration::from_millis(600));
}

/// For how long a hole is, in seconds.
pub(crate) fn seconds(hole: &Value) -> f64 {
    let time = |key: &str| {
        hole[key]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    (time("expires_at") - time("opened_at"))
        .total(jiff::Unit::Second)
        .unwrap()
}
