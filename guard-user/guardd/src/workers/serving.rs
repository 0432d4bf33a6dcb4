//! The networks that a worker serves: guardd's own, and those in which a process of a session was seen that needs it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    time::Instant,
};

use anyhow::{Context as _, Result};
use guard_common::{NetnsCookie, SessionId};
use guard_datapath::{Datapath, DatapathError};
use guard_proto::wire::NetworkId;
use rustix::net::SocketType;

use super::{
    Worker,
    link::WorkerLink,
    networks::{self, Inode, Network},
    sockets::{self, WorkerListeners},
};
use crate::{quota::Account, sessions::Session, state::State};

/// What a worker serves networks with.
pub(crate) trait Serves {
    /// The messages to it.
    type Message;

    /// The kinds of sockets that it listens with, all at one port.
    const LISTENS: &'static [SocketType];

    /// What guardd knows of it.
    fn link(state: &State) -> &WorkerLink<Self::Message>;
    /// The same.
    fn link_mut(state: &mut State) -> &mut WorkerLink<Self::Message>;
    /// Whether a session needs it.
    fn serves(state: &State, session: &Session) -> bool;

    /// Has the kernel half redirect to these listeners.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn redirect(kernel: &mut Datapath, made: &WorkerListeners) -> Result<(), DatapathError>;
    /// Has the kernel half refuse what it redirected in a network.
    fn close(kernel: &mut Datapath, network: NetnsCookie);

    /// That it is to listen in a network, with these sockets.
    fn listen(network: &Network, made: &WorkerListeners) -> Self::Message;
    /// That a network is gone.
    fn forget(network: NetworkId) -> Self::Message;
    /// Gives it sockets in a network that it is not in.
    fn stock(state: &mut State, network: NetworkId);
}

impl State {
    /// Scans all processes of the sessions that need a worker: their networks are served, and no others.
    pub(crate) fn survey_networks<W: Worker>(&mut self) {
        if !W::link(self).is_up() {
            return;
        }
        let mut found = self.networks_of::<W>();
        let link = W::link_mut(self);
        let is_in_use = |inode| found.contains_key(&inode);
        let left = link.networks.take_left(Instant::now(), is_in_use);
        for network in &left {
            link.say(W::forget(network.id), Vec::new());
        }
        found.retain(|inode, _| !link.networks.has(*inode));
        for network in left {
            W::close(&mut self.datapath, network.cookie);
        }
        for (session, pid) in found.into_values() {
            self.notice_network::<W>(session, pid);
        }
    }

    /// The networks that processes of such sessions are in, with one process of each: others would fail in the same way.
    fn networks_of<W: Worker>(&self) -> HashMap<Inode, (SessionId, u32)> {
        let live = self.sessions.all_live();
        let live = live.filter(|session| W::serves(self, session));
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

    /// Has the network of a session's process served. True if it is now, and was not.
    pub(crate) fn notice_network<W: Worker>(&mut self, session: SessionId, pid: u32) -> bool {
        if !W::link(self).is_up() {
            return false;
        }
        let live = self.sessions.live(session);
        let Some(live) = live.filter(|session| W::serves(self, session)) else {
            return false;
        };
        let Some(cgroup) = self.machine.kernel_path(&live.cgroup.path) else {
            return false;
        };
        let account = live.account();
        let new = W::link_mut(self).networks.new_at(account, &cgroup, pid);
        let Some((inode, way)) = new else {
            return false;
        };
        let served = self.serve::<W>(inode, Some(way), Some(account));
        if let Err(error) = &served {
            let networks = &mut W::link_mut(self).networks;
            networks.note_failed(account, pid, inode, error);
            // Its loopback may be down. A refusal there has this tried again, a moment later.
            tracing::debug!(%error, worker = W::NAME, ?account, pid, "its network is not served");
        }
        served.is_ok()
    }

    /// A worker is connected from now on: it gets its listeners.
    ///
    /// # Errors
    ///
    /// The kernel's; then there is no worker.
    pub(super) fn worker_up<W: Worker>(&mut self) -> Result<()> {
        W::link_mut(self).up();
        W::begin(self);
        let inode = fs::metadata("/proc/self/ns/net").map(|meta| Inode::of(&meta));
        let served = inode.and_then(|inode| self.serve::<W>(inode, None, None));
        served.context("it cannot listen on the loopback")?;
        self.survey_networks::<W>();
        Ok(())
    }

    /// Has the kernel half redirect to listeners in a network, and the worker accept there: what comes in between waits in the backlog.
    fn serve<W: Worker>(
        &mut self,
        inode: Inode,
        way: Option<File>,
        account: Option<Account>,
    ) -> io::Result<()> {
        let made = networks::there(way.as_ref(), || sockets::listeners(W::LISTENS))?;
        W::redirect(&mut self.datapath, &made).map_err(io::Error::other)?;
        let link = W::link_mut(self);
        let (id, is_foreign) = (link.networks.next_id(), way.is_some());
        let network = Network {
            id,
            inode,
            cookie: made.cookie,
            way,
            account,
            is_dry: false,
            left: None,
        };
        link.say(W::listen(&network, &made), made.sockets);
        link.networks.add(network);
        if is_foreign {
            W::stock(self, id);
        }
        Ok(())
    }
}
