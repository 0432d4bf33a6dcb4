//! Sockets outside whose owners do what they are asked to: start containers, type into shells, sign, connect.
//!
//! None is connected to, for that would start those that wait for a first connection: access(2) says what connect(2) would.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use guard_proto::Row;
use rustix::fs::{Access, access};
use rustix::process::getuid;
use serde::{Deserialize, Serialize};

use super::devices::below;
use super::{Check, Family, ProbeResult};

/// A kind of helper, and its sockets that the user may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helper {
    /// The name in the row's name.
    pub name: String,
    /// Its sockets; abstract ones begin with `@`.
    pub sockets: Vec<PathBuf>,
}

/// Each kind of helper has a row, with its name behind this.
pub const HELPER: Check = Check::way(
    Family::Helper,
    "a helper outside",
    "run agents as a user of their own, who may not open it: sudo guard run --user agent -- CMD",
);

/// The rows, given whether a session was kept from a unix socket outside that anybody may connect to.
#[must_use]
pub fn rows(helpers: &[Helper], closed: &ProbeResult) -> Vec<Row> {
    let row = |helper: &Helper| {
        let sockets = helper.sockets.iter().map(|path| path.display().to_string());
        let sockets = sockets.collect::<Vec<_>>().join(", ");
        let name = format!("{}: {}", HELPER.name, helper.name);
        let answer = match closed {
            ProbeResult::Yes(_) => ProbeResult::yes(format!(
                "{sockets}: a session is kept from it, as from guard's own, unless its policy allows it"
            )),
            ProbeResult::No(_) => ProbeResult::no(format!(
                "{sockets}: the user may connect, and so may a session"
            )),
            ProbeResult::Unclear(_) => {
                ProbeResult::unclear(format!("{sockets}: the user may connect; {}", said(closed)))
            }
        };
        HELPER.row_named(&name, answer)
    };
    helpers.iter().map(row).collect()
}

fn said(answer: &ProbeResult) -> &str {
    match answer {
        ProbeResult::Yes(text) | ProbeResult::No(text) | ProbeResult::Unclear(text) => text,
    }
}

/// The helpers that this process's user may connect to. `environment`: whether the variables are that user's own.
#[must_use]
pub fn found(environment: bool) -> Vec<Helper> {
    let places = Places::new(environment);
    let abstract_names = abstract_names();
    let all = places.all().into_iter().map(|(name, paths)| {
        let mut sockets: Vec<_> = paths.into_iter().filter(|path| may_connect(path)).collect();
        if name == "X11" {
            let named = abstract_names.iter();
            let named = named.filter(|name| name.starts_with("@/tmp/.X11-unix/"));
            sockets.extend(named.map(PathBuf::from));
        }
        // One may have several paths: /var/run is a link.
        let mut seen = HashSet::new();
        sockets.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
        let name = name.to_owned();
        Helper { name, sockets }
    });
    all.filter(|helper| !helper.sockets.is_empty()).collect()
}

/// The names of all kinds there are.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let all = Places::new(false).all().into_iter();
    all.map(|(name, _)| name).collect()
}

fn may_connect(path: &Path) -> bool {
    let is_socket = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket && access(path, Access::WRITE_OK).is_ok()
}

/// The names of abstract sockets in this network namespace. proc_net(5)
fn abstract_names() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let names = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7));
    names
        .filter(|name| name.starts_with('@'))
        .map(str::to_owned)
        .collect()
}

/// Where a user's sockets are.
struct Places {
    uid: u32,
    run: PathBuf,
    home: Option<PathBuf>,
    own: bool,
}

impl Places {
    fn new(own: bool) -> Self {
        let uid = getuid().as_raw();
        let variable = |name| env::var_os(name).filter(|_| own).map(PathBuf::from);
        Self {
            uid,
            run: variable("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{uid}").into()),
            home: variable("HOME"),
            own,
        }
    }

    /// What a variable of the user's environment names, without what comes before and after the path there.
    fn variable(&self, name: &str) -> Option<PathBuf> {
        let value = env::var(name).ok().filter(|_| self.own)?;
        let value = value.strip_prefix("unix:path=").unwrap_or(&value);
        let value = value.strip_prefix("unix://").unwrap_or(value);
        let end = value.find([',', ';']).unwrap_or(value.len());
        Some(value[..end].into())
    }

    fn all(&self) -> Vec<(&'static str, Vec<PathBuf>)> {
        let with = |mut paths: Vec<PathBuf>, more: Option<PathBuf>| {
            paths.extend(more);
            paths
        };
        let run = |path: &str| self.run.join(path);
        let fixed = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let home = |path: &str| self.home.as_ref().map(|home| home.join(path));
        let screens = below("/run/screen", "S-").into_iter();
        let screens = screens.flat_map(|dir| below(dir, ""));
        let agents = below("/tmp", "ssh-").into_iter();
        let agents = agents.flat_map(|dir| below(dir, "agent."));
        let docker = with(
            fixed(&["/run/docker.sock", "/var/run/docker.sock"]),
            self.variable("DOCKER_HOST"),
        );
        let tmux = below(format!("/tmp/tmux-{}", self.uid), "");
        let keys = with(
            with(agents.collect(), self.variable("SSH_AUTH_SOCK")),
            Some(run("keyring/ssh")),
        );
        let bus = with(vec![run("bus")], self.variable("DBUS_SESSION_BUS_ADDRESS"));
        vec![
            ("docker", with(docker, Some(run("docker.sock")))),
            (
                "podman",
                vec!["/run/podman/podman.sock".into(), run("podman/podman.sock")],
            ),
            (
                "containerd",
                fixed(&["/run/containerd/containerd.sock", "/run/crio/crio.sock"]),
            ),
            (
                "libvirt",
                fixed(&["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"]),
            ),
            ("session bus", bus),
            ("system bus", fixed(&["/run/dbus/system_bus_socket"])),
            ("systemd --user", vec![run("systemd/private")]),
            ("tmux", with(tmux, self.variable("TMUX"))),
            ("screen", screens.collect()),
            ("ssh-agent", keys),
            (
                "gpg-agent",
                with(vec![run("gnupg/S.gpg-agent")], home(".gnupg/S.gpg-agent")),
            ),
            ("X11", below("/tmp/.X11-unix", "")),
            ("Wayland", below(&self.run, "wayland-")),
        ]
    }
}
