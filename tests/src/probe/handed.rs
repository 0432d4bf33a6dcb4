//! Sockets from elsewhere, and those who hand them over.

use std::fs;
use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::pipe::{SpliceFlags, splice};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{Failure, LINE, Outcome, Step as _, Target, icmp, say, tcp, udp};
use crate::sys;
use crate::sys::uring::Ring;

/// What a ring's maker says of it to whoever inherits it.
pub(crate) const RING: &str = "GUARD_LAB_RING";

/// With the socket that this process was started with, at the descriptor OTHER.
pub(super) fn given(target: &Target) -> anyhow::Result<Outcome> {
    let number = target
        .other
        .as_deref()
        .context("which descriptor?")?
        .parse()?;
    Ok(sys::inherited(number)
        .step("descriptor")
        .and_then(|fd| use_it(target, &Socket::from(fd))))
}

/// Sends over what is connected, and connects what is not.
fn use_it(target: &Target, socket: &Socket) -> Outcome {
    let timeout = Some(target.timeout);
    socket.set_read_timeout(timeout).step("socket")?;
    socket.set_write_timeout(timeout).step("socket")?;
    if socket.r#type().step("socket")? == Type::DGRAM {
        socket.send_to(LINE, &target.address()).step("sendto")?;
        return udp::receive(socket);
    }
    if socket.peer_addr().is_err() {
        socket.connect(&target.address()).step("connect")?;
    }
    tcp::exchange(socket)
}

/// A datagram by the ring that this process was started with as standard input.
pub(super) fn given_ring(target: &Target) -> anyhow::Result<Outcome> {
    let told = std::env::var(RING).context("nobody says what the ring is like")?;
    let ring = sys::inherited(0).and_then(|fd| Ring::told(fd, &told));
    let send = || {
        let mut ring = ring.step("descriptor")?;
        let socket = target.socket(Type::DGRAM, None)?;
        ring.send_to(&socket, LINE, &target.address())
            .step("sendmsg")?;
        udp::receive(&socket)
    };
    Ok(send())
}

/// Something that others connect to: at OTHER, a path or `@` and an abstract name, with `.d` behind it for datagrams. It
/// has each of them reach the target.
pub(super) fn helper(target: &Target) -> anyhow::Result<Outcome> {
    let at = target.other.as_deref().context("where?")?;
    let listener = UnixListener::bind_addr(&address(at)?)?;
    let datagrams = UnixDatagram::bind_addr(&address(&format!("{at}.d"))?)?;
    if !at.starts_with('@') {
        for path in [at, &format!("{at}.d")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        }
    }
    say(&json!({"listening": at}));
    thread::scope(|scope| {
        scope.spawn(|| forward_datagrams(target, &datagrams));
        for client in listener.incoming().flatten() {
            // One that asks for nonsense gets nothing.
            let _ = serve(target, client);
        }
    });
    Ok(Ok("served".to_owned()))
}

fn address(at: &str) -> io::Result<SocketAddr> {
    match at.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(at),
    }
}

fn forward_datagrams(target: &Target, from: &UnixDatagram) {
    let mut buffer = [0; 256];
    while let Ok(length) = from.recv(&mut buffer) {
        let sent = Socket::new(Domain::for_address(target.to), Type::DGRAM, None)
            .and_then(|socket| socket.send_to(&buffer[..length], &target.address()));
        let _ = sent;
    }
}

/// Somebody willing: connects to the program that listens at OTHER, whenever somebody does, and brings what is asked for.
pub(super) fn bring(target: &Target) -> anyhow::Result<Outcome> {
    let at = address(target.other.as_deref().context("to whom?")?)?;
    say(&json!({"waiting": true}));
    loop {
        // Whoever asks for nonsense, or for nothing, gets nothing.
        let _ = UnixStream::connect_addr(&at).and_then(|listener| serve(target, listener));
        thread::sleep(Duration::from_millis(10));
    }
}

/// With what is brought to AT: OTHER is `VERB:AT`.
pub(super) fn brought(target: &Target) -> anyhow::Result<Outcome> {
    let other = target.other.as_deref().context("what is brought?")?;
    let (verb, at) = other.rsplit_once(':').context("VERB:AT")?;
    let listener = UnixListener::bind_addr(&address(at)?)?;
    let (stream, _) = listener.accept()?;
    drop(listener);
    fs::remove_file(at)?;
    Ok(ask(target, verb, stream))
}

/// The first line says what is wanted.
fn serve(target: &Target, client: UnixStream) -> io::Result<()> {
    let mut verb = String::new();
    let mut input = BufReader::new(client.try_clone()?);
    input.read_line(&mut verb)?;
    let new = |kind| Socket::new(Domain::for_address(target.to), kind, None);
    match verb.trim() {
        "" => Err(io::ErrorKind::UnexpectedEof.into()),
        "connected" => give(&client, TcpStream::connect(target.to)?.as_fd()),
        "stream" => give(&client, new(Type::STREAM)?.as_fd()),
        "datagram" => give(&client, new(Type::DGRAM)?.as_fd()),
        "ping" => give(&client, made(icmp::socket(target, Type::DGRAM))?.as_fd()),
        "lite" => give(&client, made(udp::lite_socket(target))?.as_fd()),
        verb if verb.starts_with("dial ") => {
            let dialled = UnixStream::connect(verb.trim_start_matches("dial "))?;
            give(&client, dialled.as_fd())
        }
        _ => relay(&mut input, &client, TcpStream::connect(target.to)?),
    }
}

fn made(socket: Result<Socket, Failure>) -> io::Result<Socket> {
    socket.map_err(|failure| failure.error)
}

fn relay(
    mut input: impl io::Read,
    mut output: impl io::Write,
    server: TcpStream,
) -> io::Result<()> {
    let mut data = [0; LINE.len()];
    input.read_exact(&mut data)?;
    (&server).write_all(&data)?;
    (&server).read_exact(&mut data)?;
    output.write_all(&data)
}

fn give(client: &UnixStream, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    rights.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        client,
        &[IoSlice::new(b"x")],
        &mut rights,
        SendFlags::empty(),
    )?;
    Ok(())
}

fn take(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut byte)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let taken = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    // The kernel leaves out what a security module refuses.
    taken.ok_or_else(|| match message.bytes {
        0 => io::ErrorKind::UnexpectedEof.into(),
        _ => rustix::io::Errno::PERM.into(),
    })
}

/// By a helper: OTHER is `VERB:AT`.
pub(super) fn by_helper(target: &Target) -> anyhow::Result<Outcome> {
    let other = target.other.as_deref().context("it wants a helper")?;
    let (verb, at) = other.split_once(':').context("VERB:AT")?;
    let at = match verb {
        "message" => address(&format!("{at}.d"))?,
        _ => address(at)?,
    };
    Ok(ask_helper(target, verb, &at))
}

fn ask_helper(target: &Target, verb: &str, at: &SocketAddr) -> Outcome {
    if verb == "message" {
        let socket = UnixDatagram::unbound().step("socket")?;
        socket.send_to_addr(LINE, at).step("sendto")?;
        return Ok("sent".to_owned());
    }
    let helper = UnixStream::connect_addr(at).step("connect to the helper")?;
    ask(target, verb, helper)
}

fn ask(target: &Target, verb: &str, mut helper: UnixStream) -> Outcome {
    helper
        .set_read_timeout(Some(target.timeout))
        .step("helper")?;
    helper
        .write_all(format!("{verb}\n").as_bytes())
        .step("helper")?;
    if verb == "relay" {
        helper.write_all(LINE).step("send")?;
        helper.read_exact(&mut [0; LINE.len()]).step("receive")?;
        return Ok("echoed".to_owned());
    }
    let socket = take(&helper).step("SCM_RIGHTS")?;
    if verb.starts_with("dial ") {
        return super::guards::open_by(target, UnixStream::from(socket));
    }
    let socket = Socket::from(socket);
    match verb {
        "ping" => icmp::ping_by(target, &socket, Type::DGRAM),
        "lite" => udp::lite_by(target, &socket),
        _ => use_it(target, &socket),
    }
}

/// Listens at the port OTHER of loopback, or at any, and forwards whoever comes and has something to say: as `ssh -L` does.
pub(super) fn forward(target: &Target) -> anyhow::Result<Outcome> {
    let port: u16 = target.other.as_deref().unwrap_or("0").parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    say(&json!({"listening": listener.local_addr()?.port()}));
    for client in listener.incoming().flatten() {
        let served = client
            .peek(&mut [0])
            .and_then(|_| TcpStream::connect(target.to))
            .and_then(|server| relay(&client, &client, server));
        let _ = served;
    }
    Ok(Ok("forwarded".to_owned()))
}

/// A connection that is used once, and then held until the input ends.
pub(super) fn hold(target: &Target) -> Outcome {
    let socket = tcp::open(target)?;
    tcp::exchange(&socket)?;
    say(&json!({"pid": std::process::id(), "fd": socket.as_raw_fd()}));
    io::stdin().read_to_end(&mut Vec::new()).step("wait")?;
    Ok("held".to_owned())
}

/// A connection that is used once, and again when a line of input says how: by `write`, `sendfile` or `splice`.
pub(super) fn use_late(target: &Target) -> anyhow::Result<Outcome> {
    let begin = || {
        let socket = tcp::open(target)?;
        tcp::exchange(&socket)?;
        Ok(socket)
    };
    let socket = match begin() {
        Ok(socket) => socket,
        Err(failure) => return Ok(Err(failure)),
    };
    say(&json!({"connected": true}));
    let how = io::stdin().lines().next().context("how?")??;
    let sent = match how.as_str() {
        "write" => (&socket).write_all(LINE),
        "sendfile" => send_file(&socket),
        "splice" => splice_in(&socket),
        _ => anyhow::bail!("write, sendfile or splice?"),
    };
    Ok(sent.step("send").and_then(|()| tcp::receive(&socket)))
}

/// Out of a file that is in memory only.
fn send_file(socket: &Socket) -> io::Result<()> {
    let file = memfd_create("line", MemfdFlags::CLOEXEC)?;
    let mut file = fs::File::from(file);
    file.write_all(LINE)?;
    sendfile(socket, &file, Some(&mut 0), LINE.len())?;
    Ok(())
}

fn splice_in(socket: &Socket) -> io::Result<()> {
    let (output, mut input) = io::pipe()?;
    input.write_all(LINE)?;
    splice(
        &output,
        None,
        socket,
        None,
        LINE.len(),
        SpliceFlags::empty(),
    )?;
    Ok(())
}

/// With a socket out of another process: OTHER is `PID:FD`.
pub(super) fn steal(target: &Target) -> anyhow::Result<Outcome> {
    let other = target.other.as_deref().context("whose?")?;
    let (pid, fd) = other.split_once(':').context("PID:FD")?;
    let pid = Pid::from_raw(pid.parse()?).context("no process")?;
    let fd = fd.parse()?;
    let stolen = || {
        let process = pidfd_open(pid, PidfdFlags::empty()).step("pidfd_open")?;
        let socket = pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).step("pidfd_getfd")?;
        use_it(target, &Socket::from(socket))
    };
    Ok(stolen())
}

/// Connects, once it is told to, to the address that stands in its memory then.
pub(super) fn obey(target: &Target) -> anyhow::Result<Outcome> {
    let memory = sys::Shared::new(&target.to.ip().to_string());
    say(&json!({"pid": std::process::id(), "at": memory.place()}));
    io::stdin().lines().next().transpose()?;
    let to = std::net::SocketAddr::new(memory.text().parse()?, target.to.port());
    Ok(tcp::connect(&Target {
        to,
        other: None,
        timeout: target.timeout,
    }))
}

/// Writes ADDRESS into the memory of another process: OTHER is `HOW:PID:PLACE`.
pub(super) fn poke(target: &Target) -> anyhow::Result<Outcome> {
    let other = target.other.as_deref().context("whose?")?;
    let words: Vec<_> = other.split(':').collect();
    let [how, pid, place] = words[..] else {
        anyhow::bail!("HOW:PID:PLACE");
    };
    let (pid, place) = (pid.parse()?, place.parse()?);
    let text = sys::Shared::padded(&target.to.ip().to_string());
    let done = match how {
        "mem" => write_file(pid, place, &text).step("/proc/PID/mem"),
        "vm" => sys::write_memory(pid, place, &text).step("process_vm_writev"),
        "ptrace" => sys::trace::poke(pid, place, &text).step("ptrace"),
        _ => anyhow::bail!("mem, vm or ptrace?"),
    };
    Ok(done.map(|()| "written".to_owned()))
}

/// Reads ADDRESS out of the memory of another process: OTHER is `PID:PLACE`.
pub(super) fn peek(target: &Target) -> anyhow::Result<Outcome> {
    let other = target.other.as_deref().context("whose?")?;
    let (pid, place) = other.split_once(':').context("PID:PLACE")?;
    let wanted = sys::Shared::padded(&target.to.ip().to_string());
    let read = sys::read_memory(pid.parse()?, place.parse()?, wanted.len());
    Ok(read.step("process_vm_readv").and_then(|read| {
        let is_it = if read == wanted {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidData))
        };
        is_it.step("what was read").map(|()| "read".to_owned())
    }))
}

fn write_file(pid: i32, place: u64, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let memory = fs::File::options()
        .write(true)
        .open(format!("/proc/{pid}/mem"))?;
    memory.write_all_at(text, place)
}
