//! Two network namespaces: a developer's machine, and production behind it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

use crate::reap::Reaper;
use crate::{Production, Tag, exec, fit, patience};

/// The developer's machine, as production sees it.
pub const DEV_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 253);
/// The same over IPv6.
pub const DEV_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
/// A server of production, of which policies of tests ask.
pub const V4: &str = "192.0.2.10";
/// The same over IPv6.
pub const V6: &str = "2001:db8:7::10";
/// A server of production which policies of tests deny.
pub const NEVER: &str = "192.0.2.99";
/// A server that everybody may reach.
pub const OPEN: &str = "198.51.100.7";
/// Production's router, and the developer's way to everywhere.
pub const PROD_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
/// The same over IPv6.
pub const PROD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 2);
/// The name of the developer's network device, behind which production is.
pub const DEV_DEVICE: &str = "prod0";

/// Where production answers at every address: the documentation ranges of RFC 5737 and RFC 3849,
/// the latter but for the link between the two.
const PRODUCTION: [&str; 4] = [
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "2001:db8::/33",
];

/// Settings below `/proc/sys/net`, and their values.
type Settings<'s> = &'s [(&'s str, &'s str)];
/// Ping sockets for every user, as distributions have it; link-local addresses that are there at once.
const DEV_SETTINGS: Settings<'_> = &[
    ("ipv4/ping_group_range", "0 2147483647"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
];
/// Segment routing and source routes work, so that a refusal is the guard's doing.
const PROD_SETTINGS: Settings<'_> = &[
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/seg6_enabled", "1"),
    ("ipv6/conf/default/seg6_enabled", "1"),
    ("ipv4/conf/all/accept_source_route", "1"),
    ("ipv4/conf/default/accept_source_route", "1"),
];

/// A network that lives as long as this value, and each copy of it. Nothing in it reaches the machine's own.
#[derive(Clone, Debug)]
pub struct Network(Arc<Sides>);

#[derive(Debug)]
struct Sides {
    tag: Tag,
    dev: Side,
    prod: Side,
    _reaper: Reaper,
}

/// How long an answer may take, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(10);

impl Network {
    /// Makes one: about a tenth of a second.
    ///
    /// # Errors
    ///
    /// That this machine is not fit, or what `ip` said.
    pub fn new() -> Result<Self> {
        fit()?;
        let tag = Tag::new();
        let mut reaper = Reaper::start()?;
        reaper.dir(&tag.dir())?;
        let dev = Side::new(&tag, "dev", &mut reaper)?;
        let prod = Side::new(&tag, "prod", &mut reaper)?;
        let network = Self(Arc::new(Sides {
            tag,
            dev,
            prod,
            _reaper: reaper,
        }));
        network.dev().set(DEV_SETTINGS)?;
        network.prod().set(PROD_SETTINGS)?;
        network.link()?;
        Ok(network)
    }

    /// One, and production that answers in it.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; and that production does not start.
    pub fn with_production() -> Result<(Self, Production)> {
        let network = Self::new()?;
        let production = Production::start(&network)?;
        Ok((network, production))
    }

    fn link(&self) -> Result<()> {
        self.dev().ip(&format!(
            "link set lo up
link add {DEV_DEVICE} type veth peer name dev0 netns {prod}
addr add {DEV_V4}/30 dev {DEV_DEVICE}
addr add {DEV_V6}/64 dev {DEV_DEVICE} nodad
link set {DEV_DEVICE} up",
            prod = self.prod().name
        ))?;
        // The local table is asked first, and holds the whole range that the link is part of.
        self.prod().ip(&format!(
            "link set lo up
addr add {PROD_V4}/30 dev dev0
addr add {PROD_V6}/64 dev dev0 nodad
link set dev0 up
route add {DEV_V4}/32 dev dev0 table local
{}",
            answering(&PRODUCTION)
        ))?;
        self.dev().ip(&format!(
            "route add default via {PROD_V4}
route add default via {PROD_V6}"
        ))
    }

    /// Makes production answer at each address of more prefixes.
    ///
    /// # Errors
    ///
    /// What `ip` said.
    pub fn answer_for(&self, prefixes: &[&str]) -> Result<()> {
        self.prod().ip(&answering(prefixes))
    }

    /// Connects from an address of production's to the developer's machine, and waits for a byte's echo.
    ///
    /// # Errors
    ///
    /// That the namespace cannot be entered. Whether somebody answered is in what this gives.
    pub fn call(&self, from: IpAddr, to: SocketAddr) -> Result<io::Result<()>> {
        self.call_from((from, 0).into(), to)
    }

    /// The same from that port.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn call_from(&self, from: SocketAddr, to: SocketAddr) -> Result<io::Result<()>> {
        let limit = patience(LIMIT);
        self.prod().enter(|| {
            let tried = || {
                let mut socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
                socket.set_read_timeout(Some(limit))?;
                if from.is_ipv6() {
                    // Production answers for a whole range, but has one address of it.
                    socket.set_freebind_v6(true)?;
                }
                // A connection from there may have ended just before.
                socket.set_reuse_address(true)?;
                socket.bind(&from.into())?;
                socket.connect_timeout(&to.into(), limit)?;
                socket.write_all(b"?")?;
                socket.read_exact(&mut [0])
            };
            Ok(tried())
        })
    }

    /// The developer's machine.
    #[must_use]
    pub fn dev(&self) -> &Side {
        &self.0.dev
    }

    /// Production.
    #[must_use]
    pub fn prod(&self) -> &Side {
        &self.0.prod
    }

    /// What its names carry.
    #[must_use]
    pub fn tag(&self) -> &Tag {
        &self.0.tag
    }
}

/// One of the machines.
#[derive(Debug)]
pub struct Side {
    tag: Tag,
    name: String,
}

impl Side {
    pub(crate) fn new(tag: &Tag, side: &str, reaper: &mut Reaper) -> Result<Self> {
        let name = format!("{}-{side}", tag.name());
        // Before it is there: this may be killed in between.
        reaper.netns(&name)?;
        exec::run(Command::new("ip").args(["netns", "add", &name]))?;
        let tag = tag.clone();
        Ok(Self { tag, name })
    }

    /// What the names of its network carry.
    #[must_use]
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The name of its namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its namespace is pinned.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A command on this machine, as root. `/sys` stays as it is, unlike under `ip netns exec`, which
    /// would hide cgroups and pins.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// A command on this machine, as an ordinary user without privileges.
    #[must_use]
    pub fn command_as(&self, uid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if uid == 0 {
            return self.command(program);
        }
        let mut command = self.command("setpriv");
        command
            .args([format!("--reuid={uid}"), format!("--regid={uid}")])
            .args(["--clear-groups", "--inh-caps=-all", "--"])
            .arg(program);
        command
    }

    /// Runs `work` in this namespace, on a thread of its own. Sockets that it makes stay there.
    ///
    /// # Errors
    ///
    /// That the namespace cannot be entered, or what `work` gives.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into(&path)?;
                work()
            });
            match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The same of work that goes on, and needs nothing of this value's.
    pub(crate) fn spawn(
        &self,
        work: impl FnOnce() + Send + 'static,
    ) -> thread::JoinHandle<Result<()>> {
        let path = self.path();
        thread::spawn(move || {
            move_into(&path)?;
            work();
            Ok(())
        })
    }

    pub(crate) fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-netns", &self.name, "-batch", "-"]);
        exec::run_with(&mut ip, lines).map(drop)
    }

    /// Each test makes networks: a thread in one costs less than a shell there.
    fn set(&self, settings: Settings<'_>) -> Result<()> {
        self.enter(|| {
            for (name, value) in settings {
                let file = Path::new("/proc/sys/net").join(name);
                fs::write(&file, value)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            Ok(())
        })
    }
}

/// What has production answer at each address of some prefixes, as `ip` has it.
fn answering(prefixes: &[&str]) -> String {
    let route = |prefix| format!("route add local {prefix} dev lo\n");
    prefixes.iter().map(route).collect()
}

/// Has this thread be in a network namespace.
fn move_into(path: &Path) -> Result<()> {
    let netns = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", path.display()))
}
