//! The networks that the proxy serves: guardd's own, and those in which a session's process was seen.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use guard_common::{BootTime, SessionId};
use guard_datapath::Datapath;
use guard_proto::wire::{NetworkId, ToProxy};

use super::{
    Proxy,
    kernel::{close_read_only, turn_to},
    networks::{self, Inode, MAX_POOL, Network},
    reads_only,
};
use crate::{sessions::Session, state::State, times::is_past};

/// The interval between two scans of all processes of sessions.
const SURVEYS: Duration = Duration::from_secs(5);

impl State {
    /// Has the network of a session's process served. True if it is now, and was not.
    pub fn notice_network(&mut self, session: SessionId, pid: u32) -> bool {
        if !self.proxy.is_up() {
            return false;
        }
        let live = self.sessions.live(session);
        let live = live.filter(|session| reads_only(&self.holes, &self.policies, session));
        let Some(live) = live else {
            return false;
        };
        let Some(cgroup) = self.machine.kernel_path(&live.cgroup.path) else {
            return false;
        };
        let on = (live.outermost(), cgroup.as_path());
        self.proxy.notice(&mut self.datapath, on, pid)
    }

    /// Scans all processes of the sessions that need the proxy: their networks are served, and no others.
    pub fn survey_networks(&mut self) {
        if !self.proxy.is_up() {
            return;
        }
        let needs = |session: &Session| reads_only(&self.holes, &self.policies, session);
        let mut networks = self.networks_of(needs);
        let is_in_use = |inode| networks.contains_key(&inode);
        self.proxy.forget_networks(&mut self.datapath, is_in_use);
        networks.retain(|inode, _| !self.proxy.networks.has(*inode));
        for (session, pid) in networks.into_values() {
            self.notice_network(session, pid);
        }
    }
}

impl State {
    /// The networks that processes of some sessions are in, with one process of each: others would fail in the same way.
    pub(crate) fn networks_of(
        &self,
        needs: impl Fn(&Session) -> bool,
    ) -> HashMap<Inode, (SessionId, u32)> {
        let live = self.sessions.all_live().filter(|session| needs(session));
        let processes = live.flat_map(|session| {
            let processes = self.datapath.processes(&session.cgroup).into_iter();
            processes.map(|pid| (session.cgroup.id, pid))
        });
        let mut networks = HashMap::new();
        for (session, pid) in processes {
            if let Ok(meta) = fs::metadata(networks::namespace(pid)) {
                networks.entry(Inode::of(&meta)).or_insert((session, pid));
            }
        }
        networks
    }
}

impl Proxy {
    /// Has the proxy serve guardd's own network.
    pub(super) fn serve_own_network(&mut self, kernel: &mut Datapath) -> Result<()> {
        let inode = fs::metadata("/proc/self/ns/net").map(|meta| Inode::of(&meta));
        let served = inode.and_then(|inode| self.serve(kernel, inode, None, None));
        served.context("the proxy cannot listen on the loopback")
    }

    /// Has the kernel half redirect connections there, and the proxy accept them: a connection in between waits in the backlog.
    fn serve(
        &mut self,
        kernel: &mut Datapath,
        inode: Inode,
        way: Option<File>,
        session: Option<SessionId>,
    ) -> io::Result<()> {
        let made = networks::there(way.as_ref(), networks::listeners)?;
        turn_to(kernel, &made)?;
        let (id, cookie) = (self.networks.next_id(), made.cookie);
        let listen = ToProxy::Listen {
            network: id,
            cookie: cookie.0,
        };
        self.say(listen, made.sockets);
        let is_foreign = way.is_some();
        self.networks.add(Network {
            id,
            inode,
            cookie,
            way,
            session,
            is_dry: false,
        });
        if is_foreign {
            self.stock(id, MAX_POOL, MAX_POOL);
        }
        Ok(())
    }

    /// Gives the proxy sockets in a network that it is not in; none if they cannot be made, so that it may ask again.
    pub(super) fn stock(&mut self, id: NetworkId, ipv4: usize, ipv6: usize) {
        let make = || networks::pool(ipv4, ipv6);
        let [ipv4, ipv6] = self.networks.sockets(id, "proxy", make);
        let sockets = ToProxy::Sockets {
            network: id,
            ipv4: ipv4.len(),
        };
        self.say(sockets, ipv4.into_iter().chain(ipv6).collect());
    }

    /// Whether the processes of all sessions are due to be scanned. If so, that counts as done.
    pub fn takes_survey(&mut self, now: BootTime) -> bool {
        let is_due = is_past(self.surveyed, SURVEYS, now);
        if is_due {
            self.surveyed = now;
        }
        is_due
    }

    /// Has a process's network served, if the process is in that cgroup; `account`: its outermost session. True if it is served
    /// now, and was not.
    fn notice(
        &mut self,
        kernel: &mut Datapath,
        (account, cgroup): (SessionId, &Path),
        pid: u32,
    ) -> bool {
        let Some((inode, way)) = self.networks.new_at(account, cgroup, pid) else {
            return false;
        };
        let served = self.serve(kernel, inode, Some(way), Some(account));
        if let Err(error) = &served {
            // Its loopback may be down. A refusal there has this tried again.
            tracing::debug!(%error, session = account.0, pid, "its network is not served");
        }
        served.is_ok()
    }

    fn forget_networks(&mut self, kernel: &mut Datapath, is_in_use: impl Fn(Inode) -> bool) {
        for network in self.networks.take_left(is_in_use) {
            close_read_only(kernel, network.cookie);
            let network = network.id;
            self.say(ToProxy::Forget { network }, Vec::new());
        }
    }
}
