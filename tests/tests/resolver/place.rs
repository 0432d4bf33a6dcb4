//! Where names are asked for in odd ways: a developer's machine, a name server of its own, one that anybody may run, and
//! production.

use std::{net::IpAddr, path::PathBuf, process::Command};

use guard_lab::{
    AGENT, Daemon, DaemonBuilder, Network, Production, Scene, Shell, Tested, exec, holds_scene,
};
use hickory_proto::op::Message;

use super::server::{self, OwnServer};
use crate::names::scene::with_resolvers;

/// The machine's name server, over IPv4 and IPv6.
pub(crate) const DNS: &str = "192.0.2.53";
pub(crate) const DNS_V6: &str = "2001:db8:7::53";
/// A name server in the internet, which says what it likes.
pub(crate) const PUBLIC: &str = "198.51.100.53";
/// Where allowed names are.
pub(crate) const API: &str = "192.0.2.10";
pub(crate) const API_V6: &str = "2001:db8:7::10";
/// Where another one is.
pub(crate) const OTHER: &str = "192.0.2.12";
/// Where a denied one is.
pub(crate) const DB: &str = "192.0.2.11";
const DB_V6: &str = "2001:db8:7::11";
const DENIED: &str = "db.example.com";

/// Nothing passes but names of one zone, and questions to both servers.
pub(crate) const POLICY: &str = r#"
version = 1
name = "names"
default = "deny"

[dns]
names = "rules"

[[rule]]
name = "public"
to = ["198.51.100.53"]
ports = ["udp/53", "tcp/53"]
action = "allow"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "database"
to = ["db.example.com", "*.db.api.example.com"]
action = "deny"
"#;
/// One zone less.
pub(crate) const NARROWER: &str = r#"
version = 1
name = "narrower"
default = "deny"

[[rule]]
name = "one"
to = ["one.api.example.com"]
ports = ["tcp/443"]
action = "allow"
"#;

const ODD: &str = include_str!("programs/odd.py");

pub(crate) struct ResolverScene {
    scene: Scene,
    pub(crate) dns: OwnServer,
    pub(crate) public: OwnServer,
    pub(crate) odd: PathBuf,
}

holds_scene!(ResolverScene);

/// What the machine's server says of names that have no other answer: that they are where the API is, but for one that guardd
/// itself asks for, since a rule spells it out.
pub(crate) fn usual(asked: &Message, _: bool) -> Vec<Vec<u8>> {
    let name = server::name_in(asked);
    let at = if name == DENIED {
        [DB, DB_V6]
    } else {
        [API, API_V6]
    };
    let at = at.map(|text| text.parse::<IpAddr>().unwrap());
    let records = server::addresses(asked, &name, &at, 60);
    vec![server::answer(asked, records).to_vec().unwrap()]
}

impl ResolverScene {
    pub(crate) fn new() -> Tested<Self> {
        Self::serving(usual)
    }

    /// One whose own server answers so.
    pub(crate) fn serving(
        serving: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Tested<Self> {
        Self::build(serving, |daemon| daemon)
    }

    /// The same, with more said to guardd.
    pub(crate) fn build(
        serving: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
        more: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    ) -> Tested<Self> {
        let network = Network::new()?;
        let serves = move |asked: &Message, is_stream| {
            if server::name_in(asked) == DENIED {
                usual(asked, is_stream)
            } else {
                serving(asked, is_stream)
            }
        };
        let dns = OwnServer::start(network.prod(), &format!("{DNS}:53"), serves)?;
        let public = OwnServer::start(network.prod(), &format!("{PUBLIC}:53"), usual)?;
        let config = format!("resolvers = [\"{DNS}:53\", \"[{DNS_V6}]:53\"]\n");
        let scene = Scene::on(network, |daemon| {
            let daemon = daemon
                .policy("names", &with_resolvers(POLICY))
                .policy("narrower", &with_resolvers(NARROWER));
            more(daemon.config(&config))
        })?;
        Ok(Self {
            odd: scene.daemon.write_for_agents("odd.py", ODD)?,
            scene,
            dns,
            public,
        })
    }

    /// The usual one, and a session under a policy of that name and text.
    pub(crate) fn under(policy: &'static str, text: &str) -> Tested<(Self, Shell)> {
        let place = Self::build(usual, |daemon| daemon.policy(policy, text))?;
        let shell = Shell::start(&place.daemon, policy)?;
        Ok((place, shell))
    }

    /// Production, at the ports that these tests use.
    pub(crate) fn production(&self) -> Tested<Production> {
        Ok(Production::launch(
            &self.network,
            &[80, 443, 853],
            &[853],
            true,
        )?)
    }

    /// What the program says without the guard.
    pub(crate) fn outside(&self, words: &[&str]) -> Tested<String> {
        let mut python = self.network.dev().command_as(AGENT, "/usr/bin/python3");
        python.arg(&self.odd).args(words);
        said(&mut python)
    }

    /// What it says in a session of its own.
    pub(crate) fn within(&self, policy: &str, words: &[&str]) -> String {
        let run = self
            .daemon
            .agent(["run", "--policy", policy, "--", "/usr/bin/python3"]);
        let run = run.args([&self.odd]).args(words.iter().copied());
        said(&mut run.command().unwrap()).unwrap()
    }

    /// What it says in a session that goes on.
    pub(crate) fn asked(&self, shell: &mut Shell, words: &str) -> Tested<String> {
        asked(shell, &self.odd, words)
    }

    /// The resolver's process.
    pub(crate) fn resolver(&self) -> Option<u32> {
        resolver(&self.daemon)
    }
}

/// What the program says in a session that goes on.
pub(crate) fn asked(shell: &mut Shell, odd: &std::path::Path, words: &str) -> Tested<String> {
    let line = format!("/usr/bin/python3 {} {words}", odd.display());
    shell.tell(&line)?;
    let said = shell.line_with("answer")?;
    Ok(said.trim().trim_start_matches("answer").trim().to_owned())
}

/// The resolver's process, where one runs.
pub(crate) fn resolver(daemon: &Daemon) -> Option<u32> {
    let process = daemon.child("guard-resolver")?;
    process.file_name()?.to_str()?.parse().ok()
}

fn said(command: &mut Command) -> Tested<String> {
    let output = exec::output(command)?;
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told.lines().rfind(|line| line.starts_with("answer"));
    let line = line.unwrap_or_else(|| panic!("{command:?} said nothing: {output:?}"));
    Ok(line.trim_start_matches("answer").trim().to_owned())
}
