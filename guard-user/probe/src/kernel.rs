//! What takes root: programs in the kernel, and cgroups.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use guard_datapath as datapath;
use guard_proto::Row;
use guard_sys::bpf::{
    ANSWER_0, MapLayout, ProgramKind, attach_to_cgroup, create_map, is_compiled, load_program,
};
use guard_sys::sock_destroy;
use rustix::net::sockopt::socket_cookie;

use super::{Check, Family, ProbeResult, child::tried, errno, scratch::Scratch};

const CONNECT4: Check = Check::part(
    Family::Guard,
    "programs at cgroups",
    "boot a kernel with CONFIG_CGROUP_BPF=y (Linux 6.1 or later), and see that no lockdown forbids bpf(2)",
);
const COMPILER: Check = Check::part(
    Family::Guard,
    "programs are compiled",
    "sudo sysctl net.core.bpf_jit_enable=1",
);
const RING_BUFFER: Check =
    Check::part(Family::Guard, "ring buffer", "boot Linux 6.1 or later").optional();
const TYPES: Check = Check::part(
    Family::Helper,
    "the kernel's types (BTF)",
    "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
)
.optional();
/// Programs at the kernel's security hooks.
pub const SECURITY_HOOKS: Check = Check::part(
    Family::Helper,
    "programs at security hooks",
    "boot as /usr/share/doc/guard/docs/kernels.md says",
)
.optional();
/// A program at `cgroup/connect_unix`.
pub const CONNECT_UNIX: Check = Check::part(
    Family::Helper,
    "refuse connect to unix sockets",
    "boot Linux 6.7 or later",
)
.optional();
/// A program at `cgroup/sendmsg_unix`.
pub const SENDMSG_UNIX: Check = Check::part(
    Family::Helper,
    "refuse datagrams to unix sockets",
    "boot Linux 6.7 or later",
)
.optional();
const CUTTING: Check = Check::part(
    Family::Time,
    "connections are cut",
    "boot a kernel with CONFIG_INET_DIAG_DESTROY=y",
)
.optional();
const SCRATCH: Check = Check::part(
    Family::Leaving,
    "cgroup v2",
    "sudo mount -t cgroup2 none /sys/fs/cgroup, where none is mounted",
);

/// `enum bpf_attach_type`
const INET4_CONNECT: u32 = 10;
const UNIX_CONNECT: u32 = 49;
const UNIX_SENDMSG: u32 = 50;

/// What each is.
pub const CHECKS: [Check; 9] = [
    CONNECT4,
    COMPILER,
    RING_BUFFER,
    SCRATCH,
    SECURITY_HOOKS,
    CONNECT_UNIX,
    SENDMSG_UNIX,
    TYPES,
    CUTTING,
];

/// All of them. To be called by root, in a process with one thread.
#[must_use]
pub fn rows() -> Vec<Row> {
    let scratch = Scratch::new();
    let scratch = scratch.as_ref();
    let at = |attach, call: Call| match scratch {
        Ok(scratch) => refuses(scratch, attach, call),
        Err(error) => ProbeResult::unclear(format!("no cgroup to try it in: {}", errno(error))),
    };
    vec![
        CONNECT4.row(at(INET4_CONNECT, Call::Tcp)),
        COMPILER.row(compiles()),
        RING_BUFFER.row(ring_buffer()),
        SCRATCH.row(match scratch {
            Ok(scratch) => enters(scratch),
            Err(error) => ProbeResult::no(format!("none could be made: {}", errno(error))),
        }),
        SECURITY_HOOKS.row(security_hooks()),
        CONNECT_UNIX.row(at(UNIX_CONNECT, Call::Stream)),
        SENDMSG_UNIX.row(at(UNIX_SENDMSG, Call::Datagram)),
        TYPES.row(types()),
        CUTTING.row(cuts()),
    ]
}

/// The same rows, where nobody could look.
#[must_use]
pub fn unseen(why: &str) -> Vec<Row> {
    let fix = "sudo guard doctor, or with a guardd that runs: sudo systemctl start guardd";
    let rows = CHECKS.iter().map(|check| check.unseen(why, fix));
    rows.collect()
}

fn enters(scratch: &Scratch) -> ProbeResult {
    match tried(|| scratch.enter()) {
        Ok(Ok(())) => ProbeResult::yes("made one, and moved a process there"),
        Ok(Err(error)) => {
            ProbeResult::no(format!("a process could not be moved: {}", errno(&error)))
        }
        Err(error) => ProbeResult::unclear(error),
    }
}

/// What a process in a cgroup tries.
#[derive(Clone, Copy, Debug)]
enum Call {
    Tcp,
    Stream,
    Datagram,
}

/// Whether a program that says no makes a call fail that works without it.
fn refuses(scratch: &Scratch, attach: u32, call: Call) -> ProbeResult {
    let kind = ProgramKind::address_hook(attach);
    let program = match load_program(kind, "guard_probe", &ANSWER_0) {
        Ok(program) => program,
        Err(error) => return ProbeResult::no(format!("it does not load: {}", errno(&error))),
    };
    match compared(scratch, &program, attach, call) {
        Ok((Ok(()), Err(error))) if error.raw_os_error() == Some(libc::EPERM) => {
            ProbeResult::yes("a program refused one in a scratch cgroup")
        }
        Ok((Ok(()), Ok(()))) => ProbeResult::no("a program was attached, and never asked"),
        Ok((Err(error), _)) => ProbeResult::unclear(format!("without it: {}", errno(&error))),
        Ok((_, Err(error))) => ProbeResult::unclear(format!("with it: {}", errno(&error))),
        Err(error) => ProbeResult::no(format!("it is not attached: {}", errno(&error))),
    }
}

type Outcome = io::Result<()>;

/// What the call came to before and after the program was attached.
fn compared(
    scratch: &Scratch,
    program: &std::os::fd::OwnedFd,
    attach: u32,
    call: Call,
) -> io::Result<(Outcome, Outcome)> {
    let there = AttemptListeners::new()?;
    let inside = || {
        tried(|| {
            scratch.enter()?;
            there.reach(call)
        })
    };
    let before = inside()?;
    let dir = scratch.open()?;
    let _link = attach_to_cgroup(program.as_fd(), dir.as_fd(), attach)?;
    Ok((before, inside()?))
}

/// The listeners that an attempt would reach.
struct AttemptListeners {
    tcp: TcpListener,
    stream: SocketAddr,
    datagram: SocketAddr,
    _listens: (UnixListener, UnixDatagram),
}

impl AttemptListeners {
    fn new() -> io::Result<Self> {
        let name = |what: &str| {
            let name = format!("guard-probe-{what}-{}", std::process::id());
            SocketAddr::from_abstract_name(name)
        };
        let (stream, datagram) = (name("stream")?, name("datagram")?);
        let listens = UnixListener::bind_addr(&stream)?;
        let receives = UnixDatagram::bind_addr(&datagram)?;
        Ok(Self {
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            stream,
            datagram,
            _listens: (listens, receives),
        })
    }

    fn reach(&self, call: Call) -> io::Result<()> {
        match call {
            Call::Tcp => {
                let second = Duration::from_secs(1);
                TcpStream::connect_timeout(&self.tcp.local_addr()?, second).map(drop)
            }
            Call::Stream => UnixStream::connect_addr(&self.stream).map(drop),
            Call::Datagram => {
                let socket = UnixDatagram::unbound()?;
                socket.send_to_addr(b"?", &self.datagram).map(drop)
            }
        }
    }
}

fn compiles() -> ProbeResult {
    let kind = ProgramKind::address_hook(INET4_CONNECT);
    match load_program(kind, "guard_probe", &ANSWER_0).and_then(|program| is_compiled(&program)) {
        Ok(true) => ProbeResult::yes("the kernel says so of one that was loaded"),
        Ok(false) => ProbeResult::no("the kernel interprets one that was loaded"),
        Err(error) => ProbeResult::unclear(errno(&error)),
    }
}

fn ring_buffer() -> ProbeResult {
    let layout = MapLayout {
        kind: 27,
        key_size: 0,
        value_size: 0,
        // A power of two of whole pages, whatever the size of a page.
        max_entries: 1 << 16,
        flags: 0,
    };
    match create_map("guard_probe", layout) {
        Ok(_) => ProbeResult::yes("made one"),
        Err(error) => ProbeResult::no(format!("none is made: {}", errno(&error))),
    }
}

fn security_hooks() -> ProbeResult {
    match datapath::security_hooks() {
        Ok(place) => ProbeResult::yes(format!(
            "one that only counts was called {}",
            place.as_str()
        )),
        Err(why) => ProbeResult::no(why),
    }
}

fn types() -> ProbeResult {
    match datapath::has_types() {
        Ok(()) => ProbeResult::yes("read, and the type of sockets is in it"),
        Err(why) => ProbeResult::no(why),
    }
}

/// Cuts a connection of this very process.
fn cuts() -> ProbeResult {
    let cut = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let cookies = [socket_cookie(&client)?].into();
        sock_destroy::destroy_tcp(&cookies)?;
        drop(server);
        client.take_error()
    };
    match cut() {
        Ok(Some(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {
            ProbeResult::yes("cut one of its own: ECONNABORTED")
        }
        Ok(_) => ProbeResult::no("one of its own was told to end, and did not"),
        Err(error) => ProbeResult::no(format!("one of its own was not cut: {}", errno(&error))),
    }
}
