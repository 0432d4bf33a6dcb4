//! Which networks the resolver serves: guardd's own, and those in which a process of a session is seen whose policies speak of
//! names.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result};
use guard_common::{NetnsCookie, SessionId};
use guard_datapath::Datapath;
use guard_proto::names::{NetworkId, ToResolver};
use guard_sys::netns;

use super::{
    Resolver,
    sockets::{self, MAX_POOL},
};
use crate::{
    proxy::networks::{self, Inode, Network},
    sessions::Session,
    state::State,
};

/// Why questions are refused where the resolver listens nowhere.
const NOT_YET: &str =
    "guard's resolver did not listen in its network yet: it does now, so ask again";
const NOT_AT_ALL: &str = "guard's resolver does not listen there: its process is gone, too many networks are served for the \
                          session, or its socket is bound to a device";

/// Has questions refused in a network namespace.
pub(super) fn close_questions(kernel: &mut Datapath, network: NetnsCookie) {
    if let Err(error) = kernel.clear_resolver(network) {
        tracing::error!(%error, "questions are redirected to a resolver that is not there");
    }
}

/// Whether nobody but root is root of a network: any user can make one in a user namespace, and be every server there.
fn is_roots(network: &File) -> bool {
    netns::is_of_own_user_namespace(network.as_fd()).unwrap_or(false)
}

impl State {
    /// Looks at all processes of the sessions that need it: their networks are served, and no others.
    pub fn survey_for_questions(&mut self) {
        if !self.resolver.is_up {
            return;
        }
        let needs = |session: &Session| self.policies.speaks_of_names(&session.chain);
        let mut found = self.networks_of(needs);
        let is_in_use = |inode| found.contains_key(&inode);
        let left = self.resolver.networks.take_left(is_in_use);
        for network in left {
            close_questions(&mut self.datapath, network.cookie);
            let network = network.id;
            self.resolver
                .say(ToResolver::Forget { network }, Vec::new());
        }
        found.retain(|inode, _| !self.resolver.networks.has(*inode));
        for (session, pid) in found.into_values() {
            self.notice_network_for_questions(session, pid);
        }
    }

    /// Why a question of a process got no answer. Has its network served from now on, if that can be.
    pub(crate) fn why_unserved(&mut self, session: SessionId, pid: u32) -> String {
        if let Some(warning) = self.resolver_warning() {
            return warning;
        }
        let why = match self.notice_network_for_questions(session, pid) {
            true => NOT_YET,
            false => NOT_AT_ALL,
        };
        why.to_owned()
    }

    /// Has the network of a process of a session served. True where it is now, and was not.
    pub fn notice_network_for_questions(&mut self, session: SessionId, pid: u32) -> bool {
        if !self.resolver.is_up {
            return false;
        }
        let live = self.sessions.live(session);
        let live = live.filter(|session| self.policies.speaks_of_names(&session.chain));
        let Some(live) = live else {
            return false;
        };
        let Some(cgroup) = self.machine.kernel_path(&live.cgroup.path) else {
            return false;
        };
        let account = live.outermost();
        let new = self.resolver.networks.new_at(account, &cgroup, pid);
        let Some((inode, way)) = new else {
            return false;
        };
        let served = self
            .resolver
            .serve(&mut self.datapath, inode, Some(way), Some(account));
        if let Err(error) = &served {
            // Its loopback may be down. A refused question has it tried again.
            tracing::debug!(%error, session = account.0, pid, "questions of its network are not served");
        }
        served.is_ok()
    }
}

impl Resolver {
    /// Has the resolver serve the network that guardd is in.
    pub(super) fn serve_own_network(&mut self, kernel: &mut Datapath) -> Result<()> {
        let inode = fs::metadata("/proc/self/ns/net").map(|meta| Inode::of(&meta));
        let served = inode.and_then(|inode| self.serve(kernel, inode, None, None));
        served.context("the resolver cannot listen on the loopback")
    }

    /// Has the resolver take questions there, and the kernel half redirect them.
    fn serve(
        &mut self,
        kernel: &mut Datapath,
        inode: Inode,
        way: Option<File>,
        session: Option<SessionId>,
    ) -> io::Result<()> {
        let made = networks::there(way.as_ref(), sockets::listeners)?;
        let told = kernel.set_resolver(made.cookie, made.port, &made.sockets);
        told.map_err(io::Error::other)?;
        let (id, cookie) = (self.networks.next_id(), made.cookie);
        let listen = ToResolver::Listen {
            network: id,
            cookie: cookie.0,
            ipv6: made.sockets.len() > 2,
            is_roots: way.as_ref().is_none_or(is_roots),
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
            self.stock(id, [MAX_POOL, MAX_POOL, MAX_POOL / 2, MAX_POOL / 2]);
        }
        Ok(())
    }

    /// Gives the resolver so many sockets of each kind in a network that it is not in; none where they cannot be made, so that it
    /// may ask again.
    pub(super) fn stock(&mut self, id: NetworkId, wanted: [usize; 4]) {
        let make = || sockets::pool(wanted);
        let pools = self.networks.sockets(id, "resolver", make);
        let [udp4, udp6, tcp4, tcp6] = pools.each_ref().map(Vec::len);
        let sockets = ToResolver::Sockets {
            network: id,
            udp4,
            udp6,
            tcp4,
            tcp6,
        };
        self.say(sockets, pools.into_iter().flatten().collect());
    }
}
