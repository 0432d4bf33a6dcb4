//! `fleet.toml`: the servers, and the key to connect with.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use async_nats::ServerAddr;
use serde::Deserialize;

use crate::{Args, Verb, subjects::Group};

/// All that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `tls://HOST:PORT`; `nats://` on this machine alone
    #[serde(default)]
    pub servers: Vec<ServerAddress>,
    /// The file of certificates that servers are believed by; absent: the system's
    pub ca: Option<PathBuf>,
    /// The file of the key that this machine, or person, is known by
    #[serde(default)]
    pub key: PathBuf,
    /// Of a machine: its group
    #[serde(default)]
    pub(crate) group: Group,
    /// Of a person: whose questions to look at; absent: those of the group
    pub(crate) groups: Option<Vec<Group>>,
    /// Of a machine: whether its audit log goes to the servers, too
    #[serde(default)]
    pub log: bool,
    /// guardd's socket
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// The file that says so.
    #[serde(skip)]
    pub(crate) file: PathBuf,
    /// Whether that is a person's own.
    #[serde(skip)]
    pub(crate) is_own: bool,
}

/// Where a server is.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerAddress(pub(crate) ServerAddr);

impl Settings {
    /// Where packages put it.
    const FILE: &str = "/etc/guard/fleet.toml";
    /// Where a machine's key is.
    const KEY: &str = "/var/lib/guard-fleet/machine.nk";

    /// Reads the file that the command line says, or the usual one.
    ///
    /// # Errors
    ///
    /// That it cannot be read, or says something else.
    pub fn read(args: &Args) -> Result<Self> {
        let persons = own_dir()
            .map(|dir| dir.join("fleet.toml"))
            .filter(|_| !args.serves() && args.config.is_none());
        let own = persons.as_ref().filter(|file| file.exists());
        let is_own = own.is_some();
        let of_verb = Own::of(&args.verb);
        let machines = PathBuf::from(Self::FILE);
        let of_it = of_verb.as_ref().map(|one| PathBuf::from(one.file));
        let of_it = of_it.filter(|file| file.exists() || !machines.exists());
        let file = args.config.as_ref().or(own).cloned();
        let file = file.or(of_it).unwrap_or(machines);
        let mut read = Self::of(&file, persons.as_deref().filter(|_| !is_own))?;
        read.is_own = is_own;
        if matches!(args.verb, Verb::Serve | Verb::Join) {
            read.is_of_a_machine()?;
        }
        if let Some(own) = of_verb {
            own.check(&read)?;
        }
        if read.key.as_os_str().is_empty() {
            read.key = match own_dir().filter(|_| is_own) {
                Some(dir) => dir.join("fleet.nk"),
                None => PathBuf::from(Self::KEY),
            };
        }
        let said = || env::var_os("GUARD_SOCKET").filter(|path| !path.is_empty());
        if let Some(socket) = args.socket.clone().or_else(|| said().map(PathBuf::from)) {
            read.socket = socket;
        }
        Ok(read)
    }

    /// `persons`: where a person's own would be, which is not there.
    fn of(file: &Path, persons: Option<&Path>) -> Result<Self> {
        let text = fs::read_to_string(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let persons = persons.map_or_else(String::new, |own| {
                    format!("{}, or for the machine into ", own.display())
                });
                anyhow!(
                    "there are no settings: write servers = [\"tls://HOST:4222\"] into {persons}{}",
                    file.display()
                )
            }
            _ => anyhow!(
                "cannot read {}: {error}; whoever runs guard-fleet has to read it",
                file.display()
            ),
        })?;
        let mut read: Self = toml::from_str(&text)
            .map_err(|error| anyhow!("{} cannot be understood: {error}", file.display()))?;
        ensure!(
            !read.servers.is_empty(),
            "{}: servers names no server: write servers = [\"tls://HOST:4222\"]",
            file.display()
        );
        read.file = file.to_owned();
        Ok(read)
    }

    /// Those of a person, or a console, are not to make a machine of another group, with another key.
    fn is_of_a_machine(&self) -> Result<()> {
        ensure!(
            self.groups.is_none(),
            "{}: groups is for a person, or a console, who looks at several: a machine is in one, as group says. Name the machine's file: \
             guard-fleet --config {} serve",
            self.file.display(),
            Self::FILE
        );
        Ok(())
    }

    /// The servers, in words.
    pub(crate) fn servers(&self) -> String {
        let servers = self.servers.iter().map(|one| {
            let at = &one.0;
            format!("{}://{}:{}", at.scheme(), at.host(), at.port())
        });
        servers.collect::<Vec<_>>().join(", ")
    }

    /// Whether they are a person's, or a console's: a machine looks at no groups.
    #[must_use]
    pub(crate) fn is_persons(&self) -> bool {
        self.is_own || self.groups.is_some()
    }

    /// Whose questions a person looks at.
    #[must_use]
    pub(crate) fn looked_at(&self) -> Vec<Group> {
        match &self.groups {
            Some(groups) => groups.clone(),
            None => vec![self.group.clone()],
        }
    }
}

/// Who is another than the machine that it runs on: what a machine may, it may not, and the other way round.
struct Own {
    /// Its settings, as its unit names them.
    file: &'static str,
    /// Its key.
    key: &'static str,
}

impl Own {
    fn of(verb: &Verb) -> Option<Self> {
        match verb {
            Verb::Console(_) => Some(Self {
                file: "/etc/guard/fleet-console.toml",
                key: "/var/lib/guard-fleet-console/console.nk",
            }),
            Verb::Keep(_) => Some(Self {
                file: "/etc/guard/fleet-keep.toml",
                key: "/var/lib/guard-fleet-keep/keeper.nk",
            }),
            _ => None,
        }
    }

    /// Whether the settings name a key of its own.
    fn check(&self, read: &Settings) -> Result<()> {
        let wrong = match read.key.as_os_str().is_empty() {
            true => "is missing",
            false if read.key == Path::new(Settings::KEY) => "is the machine's",
            false => return Ok(()),
        };
        let file = if read.file == Path::new(Settings::FILE) {
            // The machine's own.
            Path::new(self.file)
        } else {
            &read.file
        };
        bail!(
            "{}: key {wrong}: write key = \"{}\" into {}",
            read.file.display(),
            self.key,
            file.display()
        )
    }
}

/// Where a person's own settings are.
fn own_dir() -> Option<PathBuf> {
    let set = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let set = set.filter(|dir| dir.is_absolute());
    let dir = set.or_else(|| Some(env::home_dir()?.join(".config")))?;
    Some(dir.join("guard"))
}

fn socket() -> PathBuf {
    PathBuf::from(guard_proto::varlink::DEFAULT_SOCKET)
}

impl TryFrom<String> for ServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no server: {why}");
        let at: ServerAddr = text
            .parse()
            .map_err(|error: io::Error| wrong(&error.to_string()))?;
        if at.has_user_pass() {
            return Err(wrong("who one is, the key says"));
        }
        // Without TLS anybody on the way reads what sessions ask, and delays what they like.
        let is_here = matches!(at.host(), "127.0.0.1" | "[::1]" | "::1" | "localhost");
        match at.scheme() {
            "tls" => Ok(Self(at)),
            "nats" if is_here && text.contains("://") => Ok(Self(at)),
            _ => Err(wrong(
                "expected tls://HOST:PORT; nats:// is for servers on this machine alone",
            )),
        }
    }
}

/// Reads a file that root, or its owner, alone may write.
///
/// # Errors
///
/// That it cannot be read.
pub(crate) fn text_of(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("fleet.toml");
        fs::write(&file, text)?;
        Settings::of(&file, None)
    }

    #[test]
    fn whoever_has_no_settings_is_told_of_their_own_file_first() {
        let said = |persons: Option<&str>| {
            let file = Path::new("/nonexistent/fleet.toml");
            let read = Settings::of(file, persons.map(Path::new));
            read.map(|_| ()).map_err(|error| error.to_string())
        };
        let own = said(Some("/home/alice/.config/guard/fleet.toml"));
        assert!(
            own.is_err_and(|why| why.ends_with(
                "into /home/alice/.config/guard/fleet.toml, or for the machine into /nonexistent/fleet.toml"
            ))
        );
        let machines = said(None);
        assert!(machines.is_err_and(|why| why.ends_with("into /nonexistent/fleet.toml")));
    }

    #[test]
    fn who_is_another_than_the_machine_has_a_key_of_its_own() -> Result<()> {
        use clap::Parser as _;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("own.toml");
        let read = |verb: &str, key: &str| {
            fs::write(&file, format!("servers = [\"tls://a\"]\n{key}"))?;
            let keep = ["keep", "list", "--rights", "r", "--pid-file", "p"];
            let words = if verb == "keep" { &keep[..] } else { &[verb] };
            let config = ["guard-fleet", "--config", file.to_str().unwrap_or_default()];
            let args = Args::try_parse_from(config.iter().chain(words))?;
            Settings::read(&args)
        };
        for (verb, key) in [("console", "console.nk"), ("keep", "keeper.nk")] {
            for (said, why) in [
                ("", "key is missing"),
                (
                    "key = \"/var/lib/guard-fleet/machine.nk\"",
                    "is the machine's",
                ),
            ] {
                let refused = read(verb, said).map_err(|error| error.to_string());
                let is_said = refused.as_ref().is_err_and(|all| {
                    all.contains(why) && all.contains(key) && all.contains("own.toml")
                });
                assert!(is_said, "{verb} {said}: {refused:?}");
            }
            assert!(read(verb, "key = \"/k.nk\"").is_ok(), "{verb}");
        }
        assert_eq!(read("serve", "")?.key, Path::new(Settings::KEY));
        for verb in ["serve", "join"] {
            let refused = read(verb, "groups = [\"ci\"]").map_err(|error| error.to_string());
            let is_said = refused.as_ref().is_err_and(|why| {
                why.contains("own.toml: groups is for a person") && why.contains(Settings::FILE)
            });
            assert!(is_said, "{verb}: {refused:?}");
        }
        assert!(read("pending", "groups = [\"ci\"]").is_ok());
        Ok(())
    }

    #[test]
    fn the_packages_files_name_no_server_and_else_what_is_wanted() -> Result<()> {
        for (text, key) in [
            (include_str!("../../../packaging/fleet/fleet.toml"), ""),
            (
                include_str!("../../../packaging/fleet/fleet-console.toml"),
                "/var/lib/guard-fleet-console/console.nk",
            ),
            (
                include_str!("../../../packaging/fleet/fleet-keep.toml"),
                "/var/lib/guard-fleet-keep/keeper.nk",
            ),
        ] {
            let refused = read(text).map_err(|error| error.to_string());
            assert!(refused.is_err_and(|why| why.contains("names no server")));
            // What is commented out, too.
            let lines = text.lines().filter(|line| !line.starts_with("# "));
            let lines = lines.map(|line| line.trim_start_matches('#'));
            let whole = lines.collect::<Vec<_>>().join("\n");
            let whole: Settings = toml::from_str(&whole)?;
            assert!(!whole.servers.is_empty(), "{text}");
            if !key.is_empty() {
                assert_eq!(whole.key, Path::new(key));
            }
        }
        Ok(())
    }

    #[test]
    fn elsewhere_there_is_a_server_by_tls_alone() {
        for server in [
            "tls://nats1.example.net:4222",
            "tls://192.0.2.1:4222",
            "nats://127.0.0.1:4222",
            "nats://localhost",
        ] {
            assert!(read(&format!("servers = [{server:?}]")).is_ok(), "{server}");
        }
        for server in [
            "nats://nats1.example.net:4222",
            "nats1.example.net",
            "127.0.0.1:4222",
            "ws://127.0.0.1",
            "tls://alice:secret@nats1.example.net",
            "nats://127.0.0.1.example.net:4222",
            "",
        ] {
            assert!(
                read(&format!("servers = [{server:?}]")).is_err(),
                "{server}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "names no server"),
            ("servers = []", "names no server"),
            ("servers = [\"tls://a\"]\ngroup = \"A b\"", "no group"),
            ("servers = [\"tls://a\"]\npassword = \"x\"", "unknown field"),
            ("servers = \"", "cannot be understood"),
        ] {
            let refused = read(text).map_err(|error| error.to_string());
            assert!(
                refused.as_ref().is_err_and(|said| said.contains(why)),
                "{why}: {refused:?}"
            );
        }
    }
}
