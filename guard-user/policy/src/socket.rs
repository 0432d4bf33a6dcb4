//! The Unix sockets outside of a session that a policy lets it connect to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, printable, quoted};

/// `sun_path` of unix(7) holds so many bytes and a NUL.
const LONGEST: usize = 107;

const WHAT_TO_WRITE: &str =
    "write an absolute path, with `*` for any text, `@name` for an abstract socket, or `ssh-agent`";

/// One entry of `allow` under `[unix]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SocketName {
    /// The sockets at such paths when the session starts; `*` stands for any text but `/`.
    Path(String),
    /// An abstract name, without the NUL that it begins with.
    Abstract(String),
    /// What `SSH_AUTH_SOCK` names when the session starts.
    SshAgent,
}

impl FromStr for SocketName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = printable(text)?;
        let wrong =
            |why: &str| Err(Invalid::new(format!("{} {why}", quoted(&text))).help(WHAT_TO_WRITE));
        match text.as_bytes() {
            b"ssh-agent" => Ok(Self::SshAgent),
            _ if text.len() > LONGEST => wrong("is longer than a socket's name can be"),
            [b'@'] => wrong("has no name"),
            [b'@', ..] => Ok(Self::Abstract(text[1..].to_owned())),
            [b'/', ..]
                if text
                    .split('/')
                    .any(|part| matches!(part, "." | ".." | "**")) =>
            {
                wrong("is no plain path")
            }
            [b'/', ..] => Ok(Self::Path(text)),
            _ => Err(Invalid::new(format!("{} names no socket", quoted(&text))).help(meant(&text))),
        }
    }
}

/// What to write in place of a name that shells and programs would understand.
fn meant(text: &str) -> &'static str {
    let is_agent = |text: &str| {
        ["ssh-agent", "ssh_agent", "ssh_auth_sock"].contains(&text.to_ascii_lowercase().as_str())
    };
    match text.strip_prefix('$').unwrap_or(text) {
        text if is_agent(text) => "write `ssh-agent`",
        _ if text.starts_with(['~', '$']) => {
            "write the whole path, from `/`: `~` and variables mean nothing here"
        }
        _ => WHAT_TO_WRITE,
    }
}

impl SocketName {
    /// Whether a `*` of it stands for what anybody can make.
    pub(super) fn is_anybodys(&self) -> bool {
        let Self::Path(path) = self else { return false };
        let fixed = path.split('*').next().filter(|fixed| *fixed != path);
        let is_below = |directory: &&str| fixed.is_some_and(|fixed| fixed.starts_with(*directory));
        ["/tmp/", "/var/tmp/", "/dev/shm/"].iter().any(is_below)
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Abstract(name) => write!(f, "@{name}"),
            Self::SshAgent => f.write_str("ssh-agent"),
        }
    }
}

impl TryFrom<String> for SocketName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|invalid: Invalid| invalid.to_string())
    }
}

impl From<SocketName> for String {
    fn from(name: SocketName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for text in [
            "/run/user/*/gnupg/S.gpg-agent",
            "@/tmp/.X11-unix/X0",
            "ssh-agent",
        ] {
            assert_eq!(text.parse::<SocketName>().unwrap().to_string(), text);
        }
        for (text, help) in [
            ("ssh_agent", "write `ssh-agent`"),
            ("SSH-Agent", "write `ssh-agent`"),
            ("$SSH_AUTH_SOCK", "write `ssh-agent`"),
            ("~/x", "write the whole path"),
            ("$XDG_RUNTIME_DIR/bus", "write the whole path"),
            ("agent", WHAT_TO_WRITE),
        ] {
            let invalid = text.parse::<SocketName>().unwrap_err();
            assert!(invalid.help.unwrap().starts_with(help), "{text}");
        }
        let long = format!("/{}", "x".repeat(LONGEST));
        for text in [
            "",
            "@",
            "agent",
            "run/x",
            "/run/../x",
            "/run/./x",
            "/**/x",
            &long,
            "/a\n",
        ] {
            assert!(text.parse::<SocketName>().is_err(), "{text:?}");
        }
    }
}
