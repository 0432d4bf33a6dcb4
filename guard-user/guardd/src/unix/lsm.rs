//! The programs at the kernel's security hooks: what guardd writes to their maps, and their events.

use std::os::fd::AsFd;

use guard_common::{LsmEvent, LsmHook, SessionId};
use guard_datapath::Datapath;
use guard_policy::SocketName;
use guard_proto::{Started, sockets::NamedSocket};
use rustix::net::sockopt::socket_cookie;

use crate::{
    control::{auth::Approver, failure::CallError, ids},
    machine::Machine,
    policies::Policies,
    process::Thread,
    record::{Recorder, audit::LogEntry},
    sessions::{LifeStage, Session, Sessions},
    unix::{Sockets, Withheld},
};

/// Sockets of others to which one session may connect.
const MAX_NAMED: usize = 256;

/// Allows a session to connect to sockets that its policy names.
///
/// # Errors
///
/// `NotFound` for a session that the caller does not answer for; `Refused` if its command has started, or the policy does
/// not name them.
pub(crate) fn name_sockets(
    kernel: &mut Datapath,
    sessions: &Sessions,
    policies: &Policies,
    who: Approver,
    session: &str,
    sockets: &[NamedSocket],
) -> Result<(), CallError> {
    let live = sessions.called(session, |owner| who.answers_for(owner))?;
    may_name(policies, live, session, sockets)?;
    let cgroup = live.cgroup.cgroup_id;
    for socket in sockets {
        kernel.allow_socket(Some(cgroup), socket.cookie)?;
    }
    Ok(())
}

fn may_name(
    policies: &Policies,
    live: &Session,
    session: &str,
    sockets: &[NamedSocket],
) -> Result<(), CallError> {
    let refused = |why: &str| {
        let fix = "name them in its policy, and start it again";
        CallError::refused(format!("{session} gets no more sockets"), why, fix)
    };
    if !matches!(live.stage, LifeStage::Empty { .. }) || live.about.parent.is_some() {
        return Err(refused("its command has started, or runs inside another's"));
    }
    let allowed = policies.allowed_sockets(&live.chain);
    let is_named = |socket: &NamedSocket| allowed.contains(&socket.name);
    if sockets.len() > MAX_NAMED || !sockets.iter().all(is_named) {
        return Err(refused(
            "its policy does not allow them, or they are too many",
        ));
    }
    Ok(())
}

impl Sockets {
    /// Records what the kernel half has stopped.
    pub(crate) fn record_stop(
        &mut self,
        machine: &Machine,
        sessions: &Sessions,
        recorder: &mut Recorder,
        event: &LsmEvent,
    ) {
        let Ok(hook) = u8::try_from(event.hook) else {
            return;
        };
        let (Some(hook), Some(session)) =
            (LsmHook::from_u8(hook), sessions.of_cgroup(event.cgroup))
        else {
            return;
        };
        let (id, uid) = (session.cgroup.id, session.about.uid);
        let (kept, from) = kept(hook, event);
        self.note_stop(id, kept, &from, event.at);
        let Some(admitted) = sessions.admit(recorder, id, event.at) else {
            return;
        };
        let thread = Thread {
            tgid: event.tgid,
            tid: event.pid,
        };
        let seen = machine.thread_behind(sessions.live(id), thread, &event.comm);
        let record = kept.denied(&from, hook.as_str(), seen);
        let entry = LogEntry::of(ids::session(id), uid, record);
        recorder.note(entry.admitted(admitted));
    }
}

/// Allows every session to connect to the control socket, at whatever path.
pub(crate) fn allow_control(kernel: &mut Datapath, control: &impl AsFd) {
    let allowed = socket_cookie(control)
        .map_err(|why| why.to_string())
        .and_then(|cookie| {
            let allowed = kernel.allow_socket(None, cookie);
            allowed.map_err(|why| why.to_string())
        });
    if let Err(why) = allowed {
        tracing::warn!(why, "sessions cannot ask guardd");
    }
}

/// Writes to the kernel which names a session may connect to, and tells its launcher which sockets to look up.
pub(super) fn judge(
    kernel: &mut Datapath,
    sessions: &Sessions,
    policies: &Policies,
    id: SessionId,
    started: &mut Started,
) -> Result<(), CallError> {
    let session = sessions.live(id);
    // A session inside another gets none: its launcher, which looks names up, is inside.
    let is_outer = |one: &&Session| one.cgroup.is_ours() && one.about.parent.is_none();
    let Some(session) = session.filter(is_outer) else {
        return Ok(());
    };
    let (cgroup, allowed) = (
        session.cgroup.cgroup_id,
        policies.allowed_sockets(&session.chain),
    );
    for name in &allowed {
        if let SocketName::Abstract(name) = name {
            kernel.allow_abstract(cgroup, name)?;
        }
    }
    started.name_sockets = allowed;
    Ok(())
}

/// What a session was kept from, and its name.
fn kept(hook: LsmHook, event: &LsmEvent) -> (Withheld, String) {
    match hook {
        LsmHook::UnixConnect | LsmHook::UnixSend => (Withheld::Socket, socket_name(&event.name)),
        LsmHook::Receive => (Withheld::Receive, "a socket made outside".to_owned()),
        LsmHook::Kill => (Withheld::Kill, format!("process {}", event.subject)),
    }
}

/// A path, or an abstract name after an `@`.
fn socket_name(name: &[u8]) -> String {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let until_nul = |name: &[u8]| text(name.split(|byte| *byte == 0).next().unwrap_or(&[]));
    match name {
        [0, rest @ ..] => match rest.iter().rposition(|byte| *byte != 0) {
            Some(last) => format!("@{}", text(&rest[..=last])),
            None => "a socket without a name".to_owned(),
        },
        path => until_nul(path),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use guard_common::BootTime;

    use super::*;
    use crate::{machine::machine, policies::of_texts, record::recorder, sessions::none_but};

    #[tokio::test]
    async fn what_the_kernel_stops_is_noted_and_recorded_of_sessions_that_are_known() {
        let (mut recorder, _dir) = recorder();
        let machine = machine(Path::new("/nonexistent"));
        let sessions = none_but(&[(1, None)]);
        let mut sockets = Sockets::default();
        let mut name = [0; guard_common::NAME_SIZE];
        name[..11].copy_from_slice(b"/run/x.sock");
        for (at, cgroup) in [(1, 101), (2, 999)] {
            let event = LsmEvent {
                at: BootTime(at),
                cgroup,
                pid: 0,
                tgid: 0,
                subject: 0,
                hook: LsmHook::UnixConnect as u32,
                comm: [0; 16],
                name,
                pad: [0; 4],
            };
            sockets.record_stop(&machine, &sessions, &mut recorder, &event);
        }
        let told = sockets.stops.of(SessionId(1));
        let told: Vec<_> = told.map(|one| (&*one.what.1, one.count)).collect();
        assert_eq!(told, [("/run/x.sock", 1)]);
        let log = fs::read_to_string(recorder.audit().path()).unwrap();
        assert_eq!(log.matches("/run/x.sock").count(), 1, "{log}");
    }

    #[test]
    fn a_session_gets_the_sockets_that_its_policy_names_until_its_command_starts() {
        let text = "version = 1\ndefault = \"deny\"\n[unix]\nallow = [\"/run/x.sock\"]\n";
        let policies = of_texts(&[text.to_owned(), text.to_owned()]);
        let sessions = none_but(&[(1, None), (2, Some(1))]);
        let [runs, inside] = [1, 2].map(|id| sessions.live(SessionId(id)).unwrap());
        let starts = |one: &Session| Session {
            stage: LifeStage::Empty { since: BootTime(0) },
            ..one.clone()
        };
        let named = policies.allowed_sockets(&runs.chain).into_iter();
        let named = named.map(|name| NamedSocket { name, cookie: 7 });
        let named: Vec<_> = named.collect();
        assert_eq!(named.len(), 1);
        let many: Vec<_> = named.iter().cycle().take(MAX_NAMED + 1).cloned().collect();
        let other = NamedSocket {
            name: SocketName::Abstract("other".to_owned()),
            cookie: 8,
        };
        let may = |session: &Session, sockets: &[NamedSocket]| {
            may_name(&policies, session, "s", sockets).is_ok()
        };
        assert!(may(&starts(runs), &named));
        assert!(!may(&starts(runs), &[other]));
        assert!(!may(&starts(runs), &many));
        assert!(!may(runs, &named), "its command runs");
        assert!(!may(&starts(inside), &named), "it is inside another");
    }

    #[test]
    fn names_read_as_they_are_written() {
        assert_eq!(socket_name(b"/run/x.sock\0\0"), "/run/x.sock");
        assert_eq!(socket_name(b"\0a\0b\0\0"), "@a\0b");
        assert_eq!(socket_name(&[0; 8]), "a socket without a name");
    }
}
