//! Attempts on the guard itself, and on what a person sees of it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use socket2::Type;

use super::{LINE, Outcome, Step as _, Target, say, tcp};
use crate::sys;

/// Opens the pin OTHER.
pub(super) fn open_pin(target: &Target) -> anyhow::Result<Outcome> {
    let pin = target.other.as_deref().context("which pin?")?;
    let opened = sys::bpf::open_pin(Path::new(pin)).step("BPF_OBJ_GET");
    Ok(opened.map(|_| "opened".to_owned()))
}

/// Takes the program of the link at the pin OTHER off its cgroup.
pub(super) fn detach_pin(target: &Target) -> anyhow::Result<Outcome> {
    let pin = target.other.as_deref().context("which pin?")?;
    let opened = sys::bpf::open_pin(Path::new(pin)).step("BPF_OBJ_GET");
    Ok(opened.and_then(|link| {
        sys::bpf::detach(link).step("BPF_LINK_DETACH")?;
        Ok("detached".to_owned())
    }))
}

/// Opens the first link that there is.
pub(super) fn link_by_id() -> Outcome {
    loop {
        let id = sys::bpf::first_link().step("BPF_LINK_GET_NEXT_ID")?;
        match sys::bpf::open_link(id) {
            // Whoever had it, somebody else on the machine, has taken it away since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => {
                return opened
                    .step("BPF_LINK_GET_FD_BY_ID")
                    .map(|_| format!("link {id}"));
            }
        }
    }
}

/// Asks for OTHER, and for nothing that the kernel could do.
pub(super) fn ask_kernel(target: &Target) -> anyhow::Result<Outcome> {
    let what = target.other.as_deref().context("for what?")?;
    let asked = sys::ask_kernel(what).with_context(|| format!("what is {what}?"))?;
    Ok(match asked {
        Err(why)
            if why.raw_os_error() != Some(libc::EPERM)
                && why.raw_os_error() != Some(libc::ENOSYS) =>
        {
            Ok(why.to_string())
        }
        Err(why) => Err(why).step("ask"),
        Ok(()) => Ok("done".to_owned()),
    })
}

/// Asks guardd at its socket, OTHER, to open ADDRESS for the session that `GUARD_SESSION` names: without `guard`, which has
/// doubts of its own.
pub(super) fn ask_to_open(target: &Target) -> anyhow::Result<Outcome> {
    let socket = target.other.as_deref().context("where does it listen?")?;
    let connected = UnixStream::connect(socket).step("connect to guardd");
    Ok(connected.and_then(|stream| open_by(target, stream)))
}

/// The same, over a connection to guardd.
pub(super) fn open_by(target: &Target, mut stream: UnixStream) -> Outcome {
    let session = std::env::var("GUARD_SESSION")
        .map_err(io::Error::other)
        .step("GUARD_SESSION")?;
    let parameters = json!({"destination": target.to.ip(), "session": session});
    let call = json!({"method": "org.guardd.Control.Open", "parameters": parameters});
    stream
        .set_read_timeout(Some(target.timeout))
        .step("socket")?;
    stream
        .write_all(format!("{call}\0").as_bytes())
        .step("send")?;
    let mut answer = Vec::new();
    BufReader::new(stream)
        .read_until(0, &mut answer)
        .step("receive")?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.contains("\"error\"") {
        Err(io::Error::other(answer)).step("guardd")
    } else {
        Ok(answer)
    }
}

/// Types OTHER and a line's end into the terminal that is its standard input.
pub(super) fn type_in(target: &Target) -> anyhow::Result<Outcome> {
    let text = target.other.as_deref().context("type what?")?;
    let typed = format!("{text}\n")
        .bytes()
        .try_for_each(|key| sys::type_key(io::stdin(), key));
    Ok(typed.step("TIOCSTI").map(|()| "typed".to_owned()))
}

/// Connections to guardd's socket, OTHER, that ask much and read nothing, until the input ends.
pub(super) fn be_deaf(target: &Target) -> anyhow::Result<Outcome> {
    const ASK: &[u8] = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\
                         \"parameters\":{\"interface\":\"org.guardd.Control\"}}\0";
    let socket = target.other.as_deref().context("whose?")?;
    let fill = || -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        // Until both directions are full.
        while stream.write(ASK).is_ok() {}
        Ok(stream)
    };
    let deaf: Vec<_> = (0..50).filter_map(|_| fill().ok()).collect();
    say(&json!({"deaf": deaf.len()}));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(Ok("filled".to_owned()))
}

/// Datagrams, one each millisecond, for as long as it lives.
pub(super) fn flood(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    loop {
        // One that is refused changes nothing: the next may pass.
        let _ = socket.send_to(LINE, &target.address());
        thread::sleep(Duration::from_millis(1));
    }
}

/// A connection that is there without a handshake (`TCP_REPAIR`), and a packet on it.
pub(super) fn repair(target: &Target) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    let set = |value: i32| {
        sys::set_option(
            &socket,
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            &value.to_ne_bytes(),
        )
    };
    set(1).step("TCP_REPAIR")?;
    socket.connect(&target.address()).step("connect")?;
    // Its end has the kernel probe the other side's window: a packet.
    set(0).step("TCP_REPAIR")?;
    Ok("sent".to_owned())
}

/// Each of OTHER threads makes a connection, all at the same moment.
pub(super) fn at_once(target: &Target) -> anyhow::Result<Outcome> {
    let count: usize = target.other.as_deref().unwrap_or("20").parse()?;
    let start = std::sync::Barrier::new(count);
    let connected = thread::scope(|scope| {
        let all: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    tcp::connect(target).is_ok()
                })
            })
            .collect();
        all.into_iter()
            .filter_map(|one| one.join().ok())
            .filter(|ok| *ok)
            .count()
    });
    say(&json!({"connected": connected}));
    Ok(Ok(format!("{connected} connected")))
}
