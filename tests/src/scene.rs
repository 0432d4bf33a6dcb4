//! What most tests begin with.

use anyhow::Result;

use crate::{Daemon, DaemonBuilder, Network, Production, Shell};

/// Production is asked about; all else is open.
pub const CONFIRMS: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
"#;

/// Production is asked about, and one address of it is denied; all else is open.
pub const ASKS: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;

/// A network, and a guardd on the developer's machine there.
#[derive(Debug)]
pub struct Scene {
    /// The guardd.
    pub daemon: Daemon,
    /// Its network, which outlives it.
    pub network: Network,
}

impl Scene {
    /// One whose guardd has a policy of that name.
    ///
    /// # Errors
    ///
    /// What fails to start.
    pub fn new(name: &str, policy: &str) -> Result<Self> {
        Self::with(|daemon| daemon.policy(name, policy))
    }

    /// One whose guardd is built on like this.
    ///
    /// # Errors
    ///
    /// What fails to start.
    pub fn with(build: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> Result<Self> {
        let network = Network::new()?;
        let daemon = build(Daemon::in_network(&network)).start()?;
        Ok(Self { daemon, network })
    }

    /// An agent's shell under a policy.
    ///
    /// # Errors
    ///
    /// That it does not start.
    pub fn shell(&self, policy: &str) -> Result<Shell> {
        Shell::start(&self.daemon, policy)
    }

    /// Production, which answers from now on.
    ///
    /// # Errors
    ///
    /// That it does not start.
    pub fn production(&self) -> Result<Production> {
        Production::start(&self.network)
    }
}
