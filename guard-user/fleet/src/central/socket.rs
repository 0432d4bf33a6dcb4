//! The socket of a console: frames as Varlink has them, from its user alone.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use guard_proto::{
    ErrorName, Failure,
    approvers::Taken,
    central::{self, FleetCall, FleetUpdate},
    varlink,
};
use guard_signed::{Kind, Signed};
use guard_sys::{accounts::UserAccount, pidfd::Credentials};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{
    carried::{Handed, Handing},
    desk::Desk,
    reached::Asking,
    unanswered::Reply,
};
use crate::{link::LONGEST, messages::No};

/// Connections at once: what is one too many waits.
const MOST: usize = 128;
/// How long a call may take to come.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error that `accept` cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// A call, as it came in.
#[derive(Debug, Deserialize)]
struct Incoming {
    #[serde(flatten)]
    call: FleetCall,
    #[serde(default)]
    more: bool,
}

/// Where what comes from a console goes.
#[derive(Clone, Debug)]
pub(super) struct ToMachines {
    pub(super) hand: mpsc::Sender<Handing>,
    pub(super) ask: mpsc::Sender<Asking>,
}

/// The number of the console's user.
///
/// # Errors
///
/// That there is no such user.
pub(super) fn user(name: &str) -> Result<u32> {
    let found = UserAccount::uid_of(name).with_context(|| format!("cannot look {name:?} up"))?;
    found.with_context(|| {
        format!("there is no user {name:?}: install guard-console here, or name its user by --user")
    })
}

/// Listens there, also where a killed one left its socket.
///
/// # Errors
///
/// That it cannot.
pub(super) fn listen(at: &Path) -> Result<UnixListener> {
    let wrong = || format!("cannot listen at {}", at.display());
    match fs::symlink_metadata(at) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(at).with_context(wrong)?,
        Ok(_) => bail!("{}: something else is there", wrong()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(wrong),
    }
    let listener = UnixListener::bind(at).with_context(wrong)?;
    // Who may be heard the kernel tells with each connection.
    fs::set_permissions(at, fs::Permissions::from_mode(0o666)).with_context(wrong)?;
    Ok(listener)
}

/// Serves that user, and root.
pub(super) async fn serve(listener: UnixListener, user: u32, desk: Rc<Desk>, to: ToMachines) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(BREATH).await;
                continue;
            }
        };
        let is_heard = Credentials::of(&stream)
            .is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == user);
        if !is_heard {
            tracing::debug!("somebody else than the console has connected");
            continue;
        }
        let (desk, to) = (Rc::clone(&desk), to.clone());
        tokio::task::spawn_local(async move {
            // A console that goes away is answered no more.
            let _ = answer(stream, &desk, &to).await;
            drop(place);
        });
    }
}

async fn answer(stream: UnixStream, desk: &Rc<Desk>, to: &ToMachines) -> io::Result<()> {
    let (from, mut out) = stream.into_split();
    let mut from = BufReader::new(from);
    let Some(frame) = read(&mut from).await? else {
        return Ok(());
    };
    let Ok(Incoming { call, more }) = serde_json::from_slice(&frame) else {
        return refuse(&mut out, ErrorName::Invalid, &not_understood()).await;
    };
    let handing = match call {
        FleetCall::Follow {} | FleetCall::Look {} if !more => {
            let expected = varlink::WireError::expected_more();
            return write(&mut out, &serde_json::to_vec(&expected)?).await;
        }
        FleetCall::Follow {} => return follow(&mut from, &mut out, desk).await,
        FleetCall::Look {} => {
            let _looking = desk.look();
            write(&mut out, &varlink::answer(&json!({}), true)?).await?;
            ended(&mut from).await;
            return Ok(());
        }
        FleetCall::AnswerSigned {
            machine,
            request,
            answer,
            key,
            signature,
            authenticator_data,
            client_data,
        } => {
            let signed = Signed {
                answer,
                key,
                kind: Kind::Passkey,
                signature,
                authenticator_data: Some(authenticator_data),
                client_data: Some(client_data),
            };
            Handing::new(machine, request, Handed::Answer(signed))
        }
        FleetCall::Deny {
            machine,
            request,
            question,
            by,
        } => Handing::new(machine, request, Handed::No(No { by, question })),
        FleetCall::Close {
            machine,
            hole,
            session,
            by,
        } => Handing::new(machine, hole, Handed::Close { by, session }),
        FleetCall::Reached {
            group,
            machine,
            by,
            keys,
        } => {
            let (reply, said) = oneshot::channel();
            let asking = Asking {
                group,
                machine,
                by,
                keys,
                reply,
            };
            return ask(asking, said, &mut out, &to.ask).await;
        }
    };
    let (handing, said) = handing;
    hand(handing, said, &mut out, &to.hand).await
}

fn not_understood() -> Failure {
    Failure {
        what: "the call is not understood".to_owned(),
        why: "guard-fleet does not know it".to_owned(),
        fix: "install the programs of guard in one version".to_owned(),
    }
}

/// A whole frame, unless the console has gone before its end.
async fn read(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut frame = Vec::new();
    let mut some = from.take(LONGEST as u64);
    timeout(TIMEOUT, some.read_until(0, &mut frame)).await??;
    Ok((frame.pop() == Some(0)).then_some(frame))
}

/// Hands an answer, or what is to be closed, on to its machine, and replies with what came of it.
async fn hand(
    handing: Handing,
    said: oneshot::Receiver<Reply<Taken>>,
    out: &mut OwnedWriteHalf,
    to: &mpsc::Sender<Handing>,
) -> io::Result<()> {
    if to.send(handing).await.is_err() {
        return Ok(());
    }
    match said.await {
        Ok(Ok(taken)) => write(out, &varlink::answer(&taken, false)?).await,
        Ok(Err((name, failure))) => refuse(out, name, &failure).await,
        Err(_) => Ok(()),
    }
}

/// Asks a machine what sessions have reached, and replies with what it says.
async fn ask(
    asking: Asking,
    said: oneshot::Receiver<Reply<central::ReachedThere>>,
    out: &mut OwnedWriteHalf,
    to: &mpsc::Sender<Asking>,
) -> io::Result<()> {
    if to.send(asking).await.is_err() {
        return Ok(());
    }
    match said.await {
        Ok(Ok(reached)) => write(out, &varlink::answer(&reached, false)?).await,
        Ok(Err((name, failure))) => refuse(out, name, &failure).await,
        Err(_) => Ok(()),
    }
}

/// All machines, and what changes.
async fn follow(
    from: &mut BufReader<OwnedReadHalf>,
    out: &mut OwnedWriteHalf,
    desk: &Desk,
) -> io::Result<()> {
    let mut now = desk.now();
    let (mut seen, mut generation) = (0, None);
    loop {
        let told = *now.borrow_and_update();
        let mut frames = Vec::new();
        let mut say = |told: &FleetUpdate| -> io::Result<()> {
            frames.extend(varlink::answer(told, true)?);
            frames.push(0);
            Ok(())
        };
        let connected = told.is_connected;
        if generation != Some(told.generation) {
            (seen, generation) = (0, Some(told.generation));
            say(&FleetUpdate {
                connected,
                anew: true,
                ..FleetUpdate::default()
            })?;
        }
        for machine in desk.since(seen) {
            say(&FleetUpdate {
                connected,
                machine: Some(machine.as_ref().clone()),
                ..FleetUpdate::default()
            })?;
        }
        say(&FleetUpdate {
            connected,
            whole: true,
            ..FleetUpdate::default()
        })?;
        seen = told.version;
        out.write_all(&frames).await?;
        tokio::select! {
            changed = now.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = ended(from) => return Ok(()),
        }
    }
}

/// Until the other side has gone, or says something that nobody asked for.
async fn ended(from: &mut BufReader<OwnedReadHalf>) {
    let _ = from.read_u8().await;
}

async fn refuse(out: &mut OwnedWriteHalf, name: ErrorName, failure: &Failure) -> io::Result<()> {
    #[derive(Serialize)]
    struct RefusedCall<'f> {
        error: String,
        parameters: &'f Failure,
    }
    let refused = RefusedCall {
        error: format!("{}.{}", central::INTERFACE, name.as_str()),
        parameters: failure,
    };
    write(out, &serde_json::to_vec(&refused)?).await
}

/// A frame.
async fn write(out: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    out.write_all(frame).await?;
    out.write_all(&[0]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_it_is_written() -> Result<()> {
        let calls = [
            FleetCall::Follow {},
            FleetCall::Deny {
                machine: "m-1".to_owned(),
                request: "r1".to_owned(),
                question: "q".to_owned(),
                by: "alice".to_owned(),
            },
            FleetCall::Close {
                machine: "m-1".to_owned(),
                hole: "h1".to_owned(),
                session: "s1".to_owned(),
                by: "alice".to_owned(),
            },
            FleetCall::Reached {
                group: "ci".to_owned(),
                machine: "m-1".to_owned(),
                by: "alice".to_owned(),
                keys: vec!["SHA256:a".to_owned()],
            },
        ];
        for call in calls {
            for more in [false, true] {
                let mut frame = varlink::call(&call, more)?;
                assert_eq!(frame.pop(), Some(0));
                let read: Incoming = serde_json::from_slice(&frame)?;
                assert_eq!((read.call, read.more), (call.clone(), more));
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().join("console.sock");
        drop(listen(&at)?);
        drop(listen(&at)?);
        fs::remove_file(&at)?;
        fs::write(&at, "mine")?;
        assert!(listen(&at).is_err());
        assert_eq!(fs::read_to_string(&at)?, "mine");
        assert!(user("61236").is_ok_and(|uid| uid == 61236) && user("no-such-user").is_err());
        Ok(())
    }
}
