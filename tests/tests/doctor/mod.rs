//! `guard doctor` tells the truth: a row is ok where the thing holds, and is not where it was broken for real; and
//! strict settings let nothing run meanwhile.
//!
//! Needs root and a kernel that the lab finds fit.
mod absent;
mod broken;
mod rows;
mod strict;

use std::fs;
use std::path::PathBuf;

use guard_lab::{Daemon, DaemonBuilder, Guard, Network, Output, Tested};
use serde_json::Value;

const POLICY: &str = "version = 1\nname = \"asks\"\ndefault = \"confirm\"\n";

fn built(network: &Network) -> DaemonBuilder {
    Daemon::in_network(network).policy("asks", POLICY)
}

fn started() -> Tested<(Network, Daemon)> {
    let network = Network::new()?;
    let daemon = built(&network).start()?;
    Ok((network, daemon))
}

/// All rows of one call, in their order.
#[derive(Debug)]
struct Rows {
    all: Vec<Value>,
    code: Option<i32>,
}

impl Rows {
    /// What root is told, about nobody's commands.
    fn by_root(daemon: &Daemon) -> Self {
        let guard = daemon.root(["doctor", "--json"]);
        Self::of(&guard.without(["SUDO_UID"]))
    }

    /// What the agent's user is told.
    fn by_agent(daemon: &Daemon) -> Self {
        Self::of(&daemon.agent(["doctor", "--json"]))
    }

    fn of(guard: &Guard<'_>) -> Self {
        Self::said(&guard.run().unwrap())
    }

    fn said(output: &Output) -> Self {
        let all = output.json().unwrap();
        let all = all.as_array().unwrap().clone();
        let code = output.code();
        Self { all, code }
    }

    fn find(&self, check: &str) -> Option<&Value> {
        self.all.iter().find(|row| row["check"] == check)
    }

    #[track_caller]
    fn row(&self, check: &str) -> &Value {
        let row = self.find(check);
        row.unwrap_or_else(|| panic!("there is no row {check}: {:#?}", self.all))
    }

    #[track_caller]
    fn is_ok(&self, check: &str) -> bool {
        self.row(check)["ok"].as_bool().unwrap()
    }

    /// The detail of a row that is ok.
    #[track_caller]
    fn ok(&self, check: &str) -> &str {
        let row = self.row(check);
        assert_eq!(row["ok"], true, "{row}");
        row["detail"].as_str().unwrap()
    }

    /// The detail and the fix of a required row that is not ok.
    #[track_caller]
    fn open(&self, check: &str) -> (&str, &str) {
        let row = self.row(check);
        assert_eq!(
            (&row["ok"], &row["required"]),
            (&false.into(), &true.into()),
            "{row}"
        );
        assert_eq!(self.code, Some(1), "{row}");
        (
            row["detail"].as_str().unwrap(),
            row["fix"].as_str().unwrap(),
        )
    }

    /// The names of the required rows that are not ok.
    fn all_open(&self) -> Vec<&str> {
        let open = |row: &&Value| row["required"] == true && row["ok"] == false;
        let open = self.all.iter().filter(open);
        open.map(|row| row["check"].as_str().unwrap()).collect()
    }
}

fn link(daemon: &Daemon, hook: &str) -> PathBuf {
    daemon.pin_dir().join("live").join(format!("link_{hook}"))
}

/// Takes a program away, as somebody with root's rights may.
pub(crate) fn detach(daemon: &Daemon, hook: &str) {
    fs::remove_file(link(daemon, hook)).unwrap();
}
