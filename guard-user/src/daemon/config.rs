//! guardd's settings: `/etc/guard/guardd.toml`.

use std::{fs, io, net::SocketAddr, path::Path, time::Duration};

use serde::Deserialize;

/// The settings. Every one has a default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What `guard run` without `--policy` uses, and what an unowned cgroup under the root is judged
    /// by. Absent: `default` for the one, denial for the other.
    pub default_policy: Option<String>,
    /// Where names are looked up; absent: where the system does.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// Requests that may wait at once, of all sessions together.
    pub max_requests: usize,
    /// A name is not looked up again sooner than this, in seconds, whatever its TTL.
    pub name_refresh_floor: u64,
    /// An address that a name has lost still stands for it this long, in seconds.
    pub name_grace: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_policy: None,
            resolvers: None,
            max_requests: 1024,
            name_refresh_floor: 30,
            name_grace: 300,
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings in {file}: {why}")]
    Read {
        /// Which file.
        file: String,
        /// The system's word.
        why: io::Error,
    },
    /// The file does not say what settings are.
    #[error("the settings in {file} are wrong:\n{why}")]
    Invalid {
        /// Which file.
        file: String,
        /// Where, and what was expected.
        why: toml::de::Error,
    },
}

impl Config {
    /// The policy that a session has that names none.
    #[must_use]
    pub fn session_policy(&self) -> &str {
        self.default_policy.as_deref().unwrap_or("default")
    }

    /// [`Self::name_refresh_floor`], at least a second.
    #[must_use]
    pub fn refresh_floor(&self) -> Duration {
        Duration::from_secs(self.name_refresh_floor.max(1))
    }

    /// [`Self::name_grace`].
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.name_grace)
    }

    /// Reads the settings from `file`; where it is absent and `may_be_absent`, the defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn read(file: &Path, may_be_absent: bool) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(why) => {
                return Err(ConfigError::Read {
                    file: file.display().to_string(),
                    why,
                });
            }
        };
        toml::from_str(&text).map_err(|why| ConfigError::Invalid {
            file: file.display().to_string(),
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_is_the_defaults_unless_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        assert_eq!(Config::read(&file, true).unwrap(), Config::default());
        let error = Config::read(&file, false).unwrap_err().to_string();
        assert!(error.contains("guardd.toml"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        fs::write(
            &file,
            "resolvers = [\"192.0.2.53:53\"]\ndefualt_policy = \"ci\"\n",
        )
        .unwrap();
        let error = Config::read(&file, true).unwrap_err().to_string();
        assert!(error.contains("defualt_policy"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }
}
