//! `console.toml`: where to listen, and what browsers call it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::civil::Time;
use serde::Deserialize;

/// All that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `localhost:PORT`, or `unix:PATH` for a proxy in front of it. Never another address
    pub listen: Listen,
    /// What browsers call it: `http://guard.localhost:PORT`, or `https://NAME`. The same as in guardd's `[answers] origins`.
    /// A name of its own: browsers give a cookie of `localhost` to whoever serves any port there
    pub origin: WebOrigin,
    /// guardd's socket
    pub socket: PathBuf,
    /// guard-fleet's socket: all machines of a fleet are shown, and no guardd of this one
    pub fleet: Option<PathBuf>,
    /// Where links and sessions are kept
    pub state_dir: PathBuf,
    /// How devices are told that a session asks: `webpush`, which takes guard-console-push
    pub push: Vec<Push>,
    /// When nobody is told: `22:00-07:00`, by the machine's clock. What waits then is told later
    pub quiet: Option<Quiet>,
    /// Whether connections wait while a device could be told
    pub push_waits: bool,
    /// Whether devices are told the address and the port as well
    pub push_address: bool,
    /// Push services that are not on the internet: `NAME`, or `NAME:PORT`
    pub push_hosts: Vec<PushHost>,
}

impl Settings {
    /// Where packages put it.
    pub const FILE: &str = "/etc/guard/console.toml";

    /// Reads the file; one that is absent says nothing.
    ///
    /// # Errors
    ///
    /// That it cannot be read, or says something else.
    pub fn read(file: &Path) -> Result<Self> {
        match fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| anyhow!("{} cannot be understood: {error}", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Whether devices are told by Web Push.
    #[must_use]
    pub fn pushes(&self) -> bool {
        self.push.contains(&Push::Webpush)
    }

    /// Whether nobody is to be told now.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let now = jiff::Zoned::now().time();
        self.quiet.is_some_and(|quiet| quiet.has(now))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen::Localhost(4827),
            origin: WebOrigin {
                text: "http://guard.localhost:4827".to_owned(),
            },
            socket: PathBuf::from(guard_proto::varlink::DEFAULT_SOCKET),
            fleet: None,
            state_dir: PathBuf::from("/var/lib/guard-console"),
            push: Vec::new(),
            quiet: None,
            push_waits: false,
            push_address: false,
            push_hosts: Vec::new(),
        }
    }
}

/// Where to listen: nowhere that another machine reaches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// A port of 127.0.0.1 and ::1.
    Localhost(u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Listen {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text
            .strip_prefix("unix:")
            .filter(|path| path.starts_with('/'))
        {
            return Ok(Self::Unix(path.into()));
        }
        let port = text
            .strip_prefix("localhost:")
            .and_then(|port| port.parse().ok());
        match port.filter(|port| *port != 0) {
            Some(port) => Ok(Self::Localhost(port)),
            None => bail!(
                "cannot listen at {text:?}: expected localhost:PORT or unix:/PATH; for other machines put a proxy with TLS in front"
            ),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map_err(|error: anyhow::Error| error.to_string())
    }
}

/// A way to tell. Of ntfy, Slack and Matrix `guard-console notify` has the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Push {
    /// To browsers, by their makers' services.
    Webpush,
}

/// Hours of each day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Quiet {
    from: Time,
    until: Time,
}

impl Quiet {
    fn has(self, now: Time) -> bool {
        if self.from < self.until {
            self.from <= now && now < self.until
        } else {
            self.from <= now || now < self.until
        }
    }
}

impl TryFrom<String> for Quiet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let number = |text: &str| {
                let is_two = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
                is_two.then(|| text.parse().ok()).flatten()
            };
            Time::new(number(hours)?, number(minutes)?, 0, 0).ok()
        };
        let times = text.split_once('-');
        let times = times.and_then(|(from, until)| Some((time(from)?, time(until)?)));
        match times {
            Some((from, until)) if from != until => Ok(Self { from, until }),
            _ => Err(format!(
                "{text:?} is no time of the day: expected 22:00-07:00"
            )),
        }
    }
}

/// A push service's name, with its port where that is another than 443.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PushHost {
    name: String,
    port: u16,
}

impl PushHost {
    pub(crate) fn is(&self, name: &str, port: u16) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.port == port
    }
}

impl TryFrom<String> for PushHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed: Option<http::uri::Authority> = text.parse().ok();
        let parsed = parsed.filter(|parsed| !parsed.as_str().contains('@'));
        let port = parsed.as_ref().map(|parsed| (parsed.host(), parsed.port()));
        match port {
            Some((host, None)) if host == text => Ok(Self {
                name: host.to_owned(),
                port: 443,
            }),
            Some((host, Some(port))) => Ok(Self {
                name: host.to_owned(),
                port: port.as_u16(),
            }),
            _ => Err(format!(
                "{text:?} is no push service: expected NAME or NAME:PORT"
            )),
        }
    }
}

/// What browsers call the console.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebOrigin {
    text: String,
}

impl WebOrigin {
    /// `localhost:4827`: what requests have to say in `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text
            .split_once("://")
            .map_or("", |(_, authority)| authority)
    }

    /// Whether a browser reaches it by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https://")
    }

    /// As browsers write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for WebOrigin {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, authority) = text.split_once("://").unwrap_or(("", text));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let is_port = |port: &str| {
            port.parse::<u16>()
                .is_ok_and(|number| number.to_string() == port)
        };
        let usual = if scheme == "https" { "443" } else { "80" };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        // Passkeys are for names. Without TLS a browser takes them on this machine alone.
        let is_host = host.contains(|c: char| c.is_ascii_lowercase()) && host.chars().all(is_name);
        let is_here = host == "localhost" || host.ends_with(".localhost");
        let is_safe = scheme == "https" || (scheme == "http" && is_here);
        if is_host && is_safe && port.is_none_or(|port| is_port(port) && port != usual) {
            Ok(Self {
                text: text.to_owned(),
            })
        } else {
            bail!(
                "{text:?} is no origin for passkeys: expected https://NAME, or http://guard.localhost:PORT on this machine"
            )
        }
    }
}

impl TryFrom<String> for WebOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map_err(|error: anyhow::Error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_this_machine_alone() {
        assert_eq!(
            "localhost:80".parse::<Listen>().unwrap(),
            Listen::Localhost(80)
        );
        let socket = "unix:/run/x".parse::<Listen>().unwrap();
        assert_eq!(socket, Listen::Unix("/run/x".into()));
        for other in [
            "0.0.0.0:80",
            "127.0.0.1:80",
            "[::]:80",
            "localhost:0",
            "localhost",
            "unix:x",
            ":80",
        ] {
            assert!(other.parse::<Listen>().is_err(), "{other}");
        }
    }

    #[test]
    fn an_origin_is_one_that_passkeys_are_made_for() {
        for fine in [
            "http://localhost:4827",
            "http://guard.localhost:4827",
            "https://guard.example.net",
            "https://a.b:8443",
        ] {
            let origin: WebOrigin = fine.parse().unwrap();
            assert_eq!(origin.as_str(), fine);
            assert_eq!(origin.is_https(), fine.starts_with("https"));
        }
        for other in [
            "http://guard.example.net",
            "http://notlocalhost",
            "http://127.0.0.1:4827",
            "https://192.0.2.1",
            "https://guard.example.net/",
            "https://guard.example.net:443",
            "https://guard.example.net:0443",
            "https://Guard.example.net",
            "https://a@b",
            "localhost:4827",
            "",
        ] {
            assert!(other.parse::<WebOrigin>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_packages_file_has_each_key_with_its_default() {
        let file = include_str!("../../../packaging/console/console.toml");
        let keys = file.lines().filter_map(|line| line.strip_prefix('#'));
        let keys: Vec<_> = keys.filter(|line| !line.starts_with(' ')).collect();
        let mut settings: Settings = toml::from_str(&keys.join("\n")).unwrap();
        assert!(settings.quiet.take().is_some() && settings.fleet.take().is_some());
        assert_eq!(settings, Settings::default());
        assert_eq!(keys.len(), 10);
    }

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let quiet = |text: &str| Quiet::try_from(text.to_owned()).unwrap();
        let at = |hour| Time::constant(hour, 0, 0, 0);
        let (night, noon) = (quiet("22:00-07:00"), quiet("12:00-13:00"));
        for hour in 0..24 {
            assert_eq!(night.has(at(hour)), !(7..22).contains(&hour), "{hour}");
            assert_eq!(noon.has(at(hour)), hour == 12, "{hour}");
        }
        let hosts = "push_hosts = [\"push.example\", \"localhost:8443\"]";
        let settings: Settings = toml::from_str(hosts).unwrap();
        let is = |name, port| settings.push_hosts.iter().any(|one| one.is(name, port));
        assert!(is("push.example", 443) && is("LOCALHOST", 8443));
        assert!(!is("localhost", 443) && !is("a.push.example", 443));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.toml");
        assert_eq!(Settings::read(&file).unwrap(), Settings::default());
        fs::write(&file, "listen = \"unix:/run/x\"\n").unwrap();
        assert_eq!(
            Settings::read(&file).unwrap().listen,
            Listen::Unix("/run/x".into())
        );
        for (text, named) in [
            ("listn = 1", "listn"),
            ("listen = \"0.0.0.0:80\"", "localhost:PORT"),
            ("push = [\"ntfy\"]", "webpush"),
            ("quiet = \"22:00\"", "22:00-07:00"),
            ("quiet = \"07:00-07:00\"", "22:00-07:00"),
            ("quiet = \"7:00-25:00\"", "22:00-07:00"),
            ("push_hosts = [\"https://a\"]", "NAME:PORT"),
            ("push_hosts = [\"a@b\"]", "NAME:PORT"),
            ("push_hosts = [\"a:x\"]", "NAME:PORT"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Settings::read(&file).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
