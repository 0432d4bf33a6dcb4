//! The control socket: guardd's own, or the one that systemd made before guardd was there.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use guard_sys::pidfd;
use rustix::net::sockopt::{set_socket_passcred, socket_passcred};

use crate::control::{failure::CallError, frames::error_frame};

/// The flag in `/proc/net/unix` of a socket that listens (`__SO_ACCEPTCON` in Linux).
const LISTENS: &str = "00010000";
/// Waiting callers that get an error reply.
const MAX_WAITING: usize = 32;
/// Bytes that are read of a call before it is refused.
const MAX_CALL: usize = 64 * 1024;
/// How long one caller may take to send its call.
const TIMEOUT: Duration = Duration::from_millis(200);
/// How long all of them together may delay the next attempt.
const TIMEOUT_OF_ALL: Duration = Duration::from_secs(1);

/// Listens on the socket that was `passed`, else at `path`, where it replaces an earlier guardd's socket. Everybody may
/// connect: each call is authorised by itself.
///
/// # Errors
///
/// The system's.
pub(crate) fn listen(path: &Path, passed: Option<UnixListener>) -> Result<UnixListener> {
    let listener = match passed {
        Some(passed) => take(passed),
        None => bind(path),
    };
    listener.with_context(|| format!("cannot listen at {}", path.display()))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    remove(&new)?;
    let listener = UnixListener::bind(&new)?;
    // Accepted sockets inherit it.
    set_socket_passcred(&listener, true)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o666))?;
    fs::rename(&new, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Closes the connections that were made before guardd was there; `guard` connects again. Before Linux 6.5 a peer's process is
/// known by its number alone, which may be another's by now if the peer has waited for long. And the writer of what was written
/// before the socket had `SO_PASSCRED`, which guardd.socket gives it, is unknown.
fn take(listener: UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    let knew_writers = socket_passcred(&listener)?;
    set_socket_passcred(&listener, true)?;
    if !knew_writers || !pidfd::is_told_by_the_kernel() {
        // None is closed before all are counted: those that connect again are not among them.
        let early: Vec<_> = listener.incoming().map_while(io::Result::ok).collect();
        tracing::debug!(early = early.len(), "sent away");
    }
    Ok(listener)
}

/// Tells the callers that wait at a passed socket why guardd does not start: they called, or it would not have been started.
/// Else they would wait for a later attempt.
pub(crate) fn turn_away(listener: &UnixListener, error: &anyhow::Error) {
    let why = error.to_string();
    let refusal = CallError::failed(
        "guardd cannot start",
        why.lines().next().unwrap_or_default().trim_end_matches(':'),
        "see all of what it says, and correct it:\nsystemctl status guardd\njournalctl -u guardd -n 20",
    );
    let Ok(mut frame) = error_frame(refusal.into()) else {
        return;
    };
    frame.push(0);
    // The start may have had another cause than a call.
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    let until = Instant::now() + TIMEOUT_OF_ALL;
    for caller in listener
        .incoming()
        .map_while(io::Result::ok)
        .take(MAX_WAITING)
    {
        // A caller that cannot be read or written to is no reason to skip the others.
        let _ = hear_out(&caller, until);
        let _ = (&caller).write_all(&frame);
    }
}

/// Reads a caller's call, within the time limits for one and for all of them.
fn hear_out(caller: &UnixStream, until: Instant) -> io::Result<()> {
    let until = until.min(Instant::now() + TIMEOUT);
    let mut left = MAX_CALL;
    let mut some = [0; 4096];
    while let Some(rest) = until.checked_duration_since(Instant::now())
        && !rest.is_zero()
        && left > 0
    {
        caller.set_read_timeout(Some(rest))?;
        let read = (&mut &*caller).read(&mut some)?;
        if read == 0 || some[..read].contains(&0) {
            break;
        }
        left = left.saturating_sub(read);
    }
    Ok(())
}

/// Removes the socket, unless another process listens there.
pub(crate) fn unlisten(path: &Path) {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    if is_listened_at(&sockets, path) {
        return tracing::info!(path = %path.display(), "stays: somebody listens there, such as guardd.socket");
    }
    if let Err(error) = remove(path) {
        tracing::warn!(%error, path = %path.display(), "cannot be removed");
    }
}

/// Whether a line of `/proc/net/unix` (`unix_seq_show` in Linux) is of a socket that listens at `path`.
fn is_listened_at(sockets: &str, path: &Path) -> bool {
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.nth(3) == Some(LISTENS) && words.nth(3).is_some_and(|at| Path::new(at) == path)
    })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_somebody_listens_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guardd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        unlisten(&path);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        unlisten(&path);
        assert!(!path.exists());
    }

    #[test]
    fn those_who_wait_are_told_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guardd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        turn_away(&listener, &anyhow::anyhow!("nobody hears it"));
        let mut callers: Vec<_> = (0..3)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        callers[0].write_all(b"{}\0").unwrap();
        callers.remove(1);
        turn_away(
            &listener,
            &anyhow::anyhow!("the settings are wrong:\nline 3"),
        );
        for caller in &mut callers {
            let mut answer = String::new();
            caller.read_to_string(&mut answer).unwrap();
            assert!(answer.contains("the settings are wrong\""), "{answer}");
            assert!(answer.contains("org.guardd.Control.Failed"), "{answer}");
        }
    }

    #[test]
    fn who_says_little_at_a_time_holds_up_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guardd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let slow: Vec<_> = (0..8)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let drip = std::thread::spawn(move || {
            while slow.iter().any(|mut one| one.write_all(b"x").is_ok()) {
                std::thread::sleep(TIMEOUT / 8);
            }
        });
        // They go on until their call is read: that this ends shows that it has left them.
        turn_away(&listener, &anyhow::anyhow!("nobody hears it"));
        drop(listener);
        drip.join().unwrap();
    }

    #[test]
    fn a_passed_socket_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guardd.sock");
        let passed = UnixListener::bind(&path).unwrap();
        set_socket_passcred(&passed, true).unwrap();
        let early = UnixStream::connect(&path).unwrap();
        let listener = listen(&dir.path().join("other"), Some(passed)).unwrap();
        assert_eq!(listener.accept().is_ok(), pidfd::is_told_by_the_kernel());
        drop(early);
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
    }
    #[test]
    fn who_came_before_writers_were_known_is_sent_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guardd.sock");
        let passed = UnixListener::bind(&path).unwrap();
        let early = UnixStream::connect(&path).unwrap();
        let listener = listen(&dir.path().join("other"), Some(passed)).unwrap();
        assert!(listener.accept().is_err());
        assert_eq!((&early).read(&mut [0]).unwrap(), 0);
        let mut late = UnixStream::connect(&path).unwrap();
        late.write_all(b"x").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let read = guard_sys::writer::read_from(&accepted, &mut [0; 8]).unwrap();
        assert_eq!((read.length, read.process), (1, std::process::id()));
    }
}
