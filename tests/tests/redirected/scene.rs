//! A kernel half without a guardd, two sessions, and what plays the proxy.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use guard_common::{
    Address, BootTime, HoleId, NetnsCookie, Origin, OriginKey, PolicyId, Protocol, Verdict,
};
use guard_datapath::{
    Datapath, DatapathError, NewHole, Object, Places, SessionCgroup, Start, TlsBy,
};
pub(crate) use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, Attempt, Cgroup, Daemon, Network, Report, Running, Tested, bins, eventually,
};
use guard_policy::{Compiled, Environment, compile, parse};
use guard_sys::{bpf::Origins, netns};
use rustix::process::{Gid, Uid};

/// May be read from: IPv4, IPv6, IPv4-mapped.
pub(crate) const READ: [&str; 3] = ["192.0.2.10", "2001:db8:7::10", "::ffff:192.0.2.20"];

/// What there is to be read from is to be confirmed as long as the language has no word for it that is taken.
const POLICY: &str = r#"
version = 1
default = "deny"

[dns]
names = "rules"

[[rule]]
name = "reads"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"

[[rule]]
name = "open"
to = ["198.51.100.7", "127.0.0.1", "::1"]
action = "allow"
"#;

/// The policy in which `reads` and `loopback` are what those rules say.
pub(crate) fn policy(reads: Verdict, loopback: Verdict) -> Compiled {
    let parsed = parse("redirected.toml", POLICY).unwrap();
    let environment = Environment {
        judges_names: true,
        ..Environment::default()
    };
    let mut compiled = compile(&parsed.policy, &environment).unwrap();
    for (prefix, value) in &mut compiled.prefixes {
        if value.verdict == Verdict::Confirm {
            value.verdict = reads;
        } else if prefix.address().is_localhost() {
            value.verdict = loopback;
        }
    }
    compiled
}

pub(crate) struct KernelHalf {
    /// Its directories; nothing runs.
    daemon: Daemon,
    datapath: Option<Datapath>,
    policy: PolicyId,
    pub(crate) session: SessionCgroup,
    pub(crate) other: SessionCgroup,
    pub(crate) network: Network,
}

impl KernelHalf {
    pub(crate) fn new() -> Tested<Self> {
        Self::with(&Object::built_in())
    }

    /// With that kernel half.
    pub(crate) fn with(object: &Object) -> Tested<Self> {
        let network = Network::new()?;
        let daemon = Daemon::in_network(&network).prepare()?;
        let (mut datapath, start) = Datapath::start(&places(&daemon), object, TlsBy::Proxy)?;
        assert_eq!(start, Start::Fresh);
        let compiled = policy(Verdict::ReadOnly, Verdict::Deny);
        let policy = datapath.install_policy(None, &compiled)?;
        let [session, other] = [(); 2].map(|()| datapath.add_session(&[policy]).unwrap());
        Ok(Self {
            network,
            daemon,
            datapath: Some(datapath),
            policy,
            session,
            other,
        })
    }

    pub(crate) fn datapath(&mut self) -> &mut Datapath {
        self.datapath.as_mut().unwrap()
    }

    /// Goes, and comes back with that kernel half.
    pub(crate) fn start_again(&mut self, object: &Object) -> Tested<Start> {
        self.datapath = None;
        let (datapath, start) = Datapath::start(&places(&self.daemon), object, TlsBy::Proxy)?;
        self.datapath = Some(datapath);
        Ok(start)
    }

    /// What its destinations are from now on.
    pub(crate) fn set(&mut self, reads: Verdict, loopback: Verdict) -> Tested {
        let slot = Some(self.policy);
        let compiled = policy(reads, loopback);
        self.datapath().install_policy(slot, &compiled)?;
        Ok(())
    }

    /// Opens a hole for the session: over IPv4 and IPv6, for every port of TCP.
    pub(crate) fn open(&mut self, connections: Option<u32>, read_only: bool) -> Tested<HoleId> {
        let hole = NewHole {
            prefix: Address::default(),
            prefix_len: 0,
            protocol: Protocol::TCP,
            low: 0,
            high: u16::MAX,
            expires: BootTime(u64::MAX),
            bytes: None,
            connections,
            read_only,
        };
        let session = self.session.id;
        Ok(self.datapath().open_hole(session, hole)?)
    }

    /// Closes it, and cuts nothing.
    pub(crate) fn close(&mut self, hole: HoleId) -> Tested {
        let session = self.session.id;
        self.datapath().close_hole(session, hole)?;
        Ok(())
    }

    /// How many connections its holes still let through, in their order.
    pub(crate) fn left(&mut self) -> Tested<Vec<Option<u64>>> {
        let holes = self.datapath().holes()?.into_iter();
        Ok(holes.map(|hole| hole.connections_left).collect())
    }

    /// Has connections redirected to a proxy.
    pub(crate) fn redirect_to(&mut self, proxy: &Proxy) -> Tested {
        let (netns, port) = (proxy.netns, proxy.port);
        self.datapath().set_proxy(netns, port, &proxy.listeners)?;
        Ok(())
    }

    /// Has questions by TCP redirected to what plays the resolver.
    pub(crate) fn redirect_questions_to(&mut self, resolver: &Proxy) -> Tested {
        let (netns, port) = (resolver.netns, resolver.port);
        self.datapath()
            .set_resolver(netns, port, &resolver.listeners)?;
        Ok(())
    }

    /// Makes an attempt in the session, as the agent.
    pub(crate) fn attempt(&self, attempt: &Attempt) -> Tested<Report> {
        self.attempt_in(&self.session, attempt)
    }

    /// The same in another session.
    pub(crate) fn attempt_in(&self, session: &SessionCgroup, attempt: &Attempt) -> Tested<Report> {
        Ok(Report::of(&mut self.command(session, attempt, AGENT)?)?)
    }

    /// Begins one that goes on.
    pub(crate) fn begin(&self, attempt: &Attempt) -> Tested<Running> {
        Ok(Running::start(&mut self.command(
            &self.session,
            attempt,
            AGENT,
        )?)?)
    }

    /// As root, who may go from cgroup to cgroup.
    pub(crate) fn attempt_as_root(
        &self,
        from: &SessionCgroup,
        attempt: &Attempt,
    ) -> Tested<Report> {
        Ok(Report::of(&mut self.command(from, attempt, 0)?)?)
    }

    fn command(&self, session: &SessionCgroup, attempt: &Attempt, uid: u32) -> Tested<Command> {
        let program = bins::for_everybody("guard-lab", self.network.tag())?;
        let mut probe = self.network.dev().command_as(uid, program);
        Ok(Cgroup::wrap_in(&session.path, probe.args(attempt.args())))
    }

    /// The verdicts with which a session was refused that destination over TCP.
    pub(crate) fn refused(
        &mut self,
        session: &SessionCgroup,
        to: &str,
        port: u16,
    ) -> Tested<Vec<Verdict>> {
        let to = Address::from(to.parse::<std::net::IpAddr>()?);
        let attempts = self.datapath().attempts(session.id)?.into_iter();
        let mut verdicts: Vec<_> = attempts
            .filter(|(key, _)| key.destination == to && key.port == port && key.protocol.0 == 6)
            .map(|(key, _)| Verdict::from_u8(key.verdict))
            .collect();
        verdicts.sort_by_key(|verdict| verdict.strictness());
        Ok(verdicts)
    }
}

impl Drop for KernelHalf {
    fn drop(&mut self) {
        self.datapath = None;
        let places = places(&self.daemon);
        let teardown = || guard_datapath::teardown(&places, true, || Ok(()));
        // A process that another test is about to start has a copy of the lock until it runs its program.
        let mut done = teardown();
        let free = eventually("nobody has the lock", || {
            let is_busy = matches!(done, Err(DatapathError::Busy { .. }));
            if is_busy {
                done = teardown();
            }
            !is_busy
        });
        if !thread::panicking() {
            free.unwrap();
            done.unwrap();
        }
    }
}

pub(crate) fn places(daemon: &Daemon) -> Places {
    Places {
        pin_dir: daemon.pin_dir().to_owned(),
        cgroup_root: daemon.cgroup_root().to_owned(),
    }
}

/// What plays the proxy on the loopback of the developer's machine: it echoes.
pub(crate) struct Proxy {
    pub(crate) netns: NetnsCookie,
    pub(crate) port: NonZeroU16,
    pub(crate) listeners: [TcpListener; 2],
    clients: Receiver<Client>,
}

/// Who came.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// Where it was going, as the kernel has it; and asked again.
    pub(crate) taken: [Option<Origin>; 2],
}

impl Proxy {
    /// One that asks where each client was going, as a user without privileges.
    pub(crate) fn start(scene: &mut KernelHalf) -> Tested<Self> {
        let origins = Origins::new(scene.datapath().origins()?)?;
        Self::listen(&scene.network, Some(origins))
    }

    /// One that does not ask.
    pub(crate) fn that_does_not_ask(scene: &KernelHalf) -> Tested<Self> {
        Self::listen(&scene.network, None)
    }

    fn listen(network: &Network, origins: Option<Origins>) -> Tested<Self> {
        let (netns, listeners) = network.dev().enter(|| {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, v4.local_addr()?.port()))?;
            Ok((netns::cookie(&v4)?, [v4, v6]))
        })?;
        let port = listeners[0].local_addr()?.port();
        let origins = Arc::new(origins);
        let (sender, clients) = channel();
        for listener in &listeners {
            let listener = listener.try_clone()?;
            let (sender, origins) = (sender.clone(), Arc::clone(&origins));
            thread::spawn(move || serve(&listener, netns, (*origins).as_ref(), &sender));
        }
        Ok(Self {
            netns,
            port: NonZeroU16::new(port).unwrap(),
            listeners,
            clients,
        })
    }

    /// The next that came.
    pub(crate) fn client(&self) -> Tested<Client> {
        Ok(self.clients.recv_timeout(PATIENCE)?)
    }

    /// That nobody else came.
    pub(crate) fn is_alone(&self) -> bool {
        self.clients.try_recv().is_err()
    }
}

fn serve(
    listener: &TcpListener,
    netns: NetnsCookie,
    origins: Option<&Origins>,
    clients: &Sender<Client>,
) {
    // Of this thread alone.
    let (uid, gid) = (Uid::from_raw(AGENT), Gid::from_raw(AGENT));
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        let peer = stream.peer_addr().unwrap();
        let key = OriginKey::between(netns, peer, stream.local_addr().unwrap());
        let taken = [(); 2].map(|()| origins.and_then(|origins| origins.take(&key).unwrap()));
        let _ = clients.send(Client { peer, taken });
        thread::spawn(move || echo(stream));
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 256];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
