//! What most tests begin with.

use anyhow::Result;
use serde_json::Value;

use crate::{Daemon, DaemonBuilder, Network, Production, Shell, Watcher};

/// All is open.
pub const ALLOWS: &str = "version = 1\ndefault = \"allow\"\n";

/// The same under a name of its own, `open`, for where a policy is known by what it says.
pub const ALLOWS_NAMED: &str = "version = 1\nname = \"open\"\ndefault = \"allow\"\n\
[[rule]]\nname = \"here\"\nto = [\"@guarded-host\"]\naction = \"allow\"\n";

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

/// A network that plays production and the developer's machine, and a guardd on the latter. What a room of tests has
/// besides stands in a type of its own that holds one; see [`holds_scene`](crate::holds_scene).
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
        Self::on(Network::new()?, build)
    }

    /// The same on a network that is there already, with what serves in it.
    ///
    /// # Errors
    ///
    /// What fails to start.
    pub fn on(
        network: Network,
        build: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    ) -> Result<Self> {
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

    /// Somebody follows the requests that wait, until this is dropped.
    ///
    /// # Errors
    ///
    /// That guardd does not answer.
    pub fn watcher(&self) -> Result<Watcher> {
        Watcher::start(&self.daemon)
    }

    /// The requests that wait.
    ///
    /// # Errors
    ///
    /// That guardd does not tell them.
    pub fn pending(&self) -> Result<Vec<Value>> {
        self.daemon.list(["pending"])
    }

    /// The holes that are open.
    ///
    /// # Errors
    ///
    /// That guardd does not tell them.
    pub fn holes(&self) -> Result<Vec<Value>> {
        self.daemon.list(["holes"])
    }
}

/// Gives a room's type, which holds a [`Scene`] as `scene`, all that this has.
#[macro_export]
macro_rules! holds_scene {
    ($room:ty) => {
        impl std::ops::Deref for $room {
            type Target = $crate::Scene;

            fn deref(&self) -> &Self::Target {
                &self.scene
            }
        }

        impl std::ops::DerefMut for $room {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.scene
            }
        }
    };
}
