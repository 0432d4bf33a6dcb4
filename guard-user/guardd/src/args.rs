//! guardd's command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use guard_datapath::{Places, default_root};

/// Enforces what programs may reach: the daemon behind `guard`
///
/// It runs in the foreground. When it stops, what it enforces stays in force; `guardd teardown`
/// takes it down. The service is systemd's: `systemctl start guardd`, stop, restart, reload, status.
#[derive(Clone, Debug, Parser)]
#[command(name = "guardd", version, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// Where everything is.
    #[command(flatten)]
    pub paths: Paths,
    /// Read the settings, say whether they are good, and end: before a restart
    #[arg(long)]
    pub check: bool,
    /// Log what the kernel half decides for a session, or for all, and by what: for whoever debugs a verdict
    #[arg(long, value_name = "SESSION|all")]
    pub kernel_log: Option<String>,
    /// Take everything down and end with the last session, or after 10 s without one
    #[arg(long, hide = true)]
    pub until_idle: bool,
    /// Have what a session was told of names count for so many seconds at least: for tests that wait for its end
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub name_least: Option<u32>,
    /// What else to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What `guardd` does other than enforce.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Take down what guardd put into the kernel; refused while sessions live
    Teardown {
        /// End the sessions that live
        #[arg(long)]
        force: bool,
    },
    /// Become guard-proxy, as units say that were written when it was a part of guardd
    #[command(hide = true)]
    Proxy {
        /// What that is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Try out what this machine can enforce, and print that as JSON
    #[command(hide = true)]
    Probe,
}

/// Where everything is.
#[derive(Clone, Debug, Args)]
pub struct Paths {
    /// The settings [default: /etc/guard/guardd.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// For the socket, the audit log and all else [default: /run/guard and /var/log/guard]
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// For the pins, on a bpffs
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/sys/fs/bpf/guard",
        global = true
    )]
    pub pin_dir: PathBuf,
    /// The root of the guarded cgroups [default: guard.slice or guard, below the cgroup v2 mount]
    #[arg(long, value_name = "DIR", global = true)]
    pub cgroup_root: Option<PathBuf>,
    /// The policies; may be given several times [default: /etc/guard/policies, then /usr/share/guard/policies]
    #[arg(long, value_name = "DIR", global = true)]
    pub policy_dir: Vec<PathBuf>,
}

impl Paths {
    /// The settings' file, and whether it may be absent.
    #[must_use]
    pub(crate) fn config(&self) -> (PathBuf, bool) {
        match &self.config {
            Some(file) => (file.clone(), false),
            None => ("/etc/guard/guardd.toml".into(), true),
        }
    }

    /// The directory of the socket and the files beside the kernel's state.
    #[must_use]
    pub(crate) fn run_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new("/run/guard"))
    }

    /// The audit log.
    #[must_use]
    pub(crate) fn audit(&self) -> PathBuf {
        let dir = self.state_dir.as_deref();
        dir.unwrap_or(Path::new("/var/log/guard"))
            .join("audit.jsonl")
    }

    /// Who may answer from elsewhere. It outlives the boot.
    #[must_use]
    pub(crate) fn approvers(&self) -> PathBuf {
        let dir = self.state_dir.as_deref();
        dir.unwrap_or(Path::new("/var/lib/guard"))
            .join("approvers.toml")
    }

    /// The programs on the loopback that people's sessions reach without a question. It outlives the boot.
    #[must_use]
    pub(crate) fn always(&self) -> PathBuf {
        let dir = self.state_dir.as_deref();
        dir.unwrap_or(Path::new("/var/lib/guard"))
            .join("always.json")
    }

    /// What people have decided about what is not production, and about the policies of projects. It outlives the boot.
    #[must_use]
    pub(crate) fn decisions(&self) -> PathBuf {
        let dir = self.state_dir.as_deref();
        dir.unwrap_or(Path::new("/var/lib/guard"))
            .join("decisions.json")
    }

    /// The policies of the machine's fleet, as they were signed. They outlive the boot.
    #[must_use]
    pub(crate) fn fleet(&self) -> PathBuf {
        let dir = self.state_dir.as_deref();
        dir.unwrap_or(Path::new("/var/lib/guard"))
            .join("fleet.json")
    }

    /// The control socket.
    #[must_use]
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_dir().join("guardd.sock")
    }

    /// Where a proxy comes that a service manager has started.
    #[must_use]
    pub(crate) fn proxy_socket(&self) -> PathBuf {
        self.run_dir().join("proxy.sock")
    }

    /// Where a resolver comes that a service manager has started.
    #[must_use]
    pub(crate) fn resolver_socket(&self) -> PathBuf {
        self.run_dir().join("resolver.sock")
    }

    /// The policy directories, the first of them first.
    #[must_use]
    pub(crate) fn policy_dirs(&self) -> Vec<PathBuf> {
        if self.policy_dir.is_empty() {
            return vec![
                "/etc/guard/policies".into(),
                "/usr/share/guard/policies".into(),
            ];
        }
        self.policy_dir.clone()
    }

    /// Where the kernel half lives.
    ///
    /// # Errors
    ///
    /// Where no cgroup v2 hierarchy is mounted.
    pub(crate) fn places(&self) -> std::io::Result<Places> {
        Ok(Places {
            pin_dir: self.pin_dir.clone(),
            cgroup_root: match &self.cgroup_root {
                Some(root) => root.clone(),
                None => default_root()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["guardd", "teardown", "--force", "--pin-dir", "/p"]);
        assert!(matches!(cli.verb, Some(Verb::Teardown { force: true })));
        assert_eq!(cli.paths.pin_dir, Path::new("/p"));
    }

    #[test]
    fn settings_are_checked_by_their_file() {
        let cli = Cli::parse_from(["guardd", "--config", "/s.toml", "--check"]);
        assert!(cli.check && cli.verb.is_none());
        assert_eq!(cli.paths.config(), ("/s.toml".into(), false));
        assert!(!Cli::parse_from(["guardd"]).check);
    }

    #[test]
    fn a_state_directory_holds_everything() {
        let cli = Cli::parse_from(["guardd", "--state-dir", "/s"]);
        assert_eq!(cli.paths.socket(), Path::new("/s/guardd.sock"));
        assert_eq!(cli.paths.audit(), Path::new("/s/audit.jsonl"));
    }
}
