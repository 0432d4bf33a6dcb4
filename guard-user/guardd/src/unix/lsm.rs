//! The programs at the kernel's security hooks: what guardd writes to their maps, and their events.

use std::os::fd::AsFd;

use guard_common::{LsmEvent, LsmHook, SessionId};
use guard_datapath::Datapath;
use guard_policy::SocketName;
use guard_proto::{Started, sockets::NamedSocket};
use rustix::net::sockopt::socket_cookie;

use crate::{
    control::{auth::Approver, failure::CallError, ids},
    policies::Policies,
    process::Thread,
    record::audit::LogEntry,
    sessions::{LifeStage, Session, Sessions},
    state::State,
    unix::Withheld,
};

/// Sockets of others to which one session may connect.
const MAX_NAMED: usize = 256;

impl State {
    /// Allows a session to connect to sockets that its policy names.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for; `Refused` if its command has started, or the policy does
    /// not name them.
    pub(crate) fn name_sockets(
        &mut self,
        who: Approver,
        session: &str,
        sockets: &[NamedSocket],
    ) -> Result<(), CallError> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let refused = |why: &str| {
            let fix = "name them in its policy, and start it again";
            CallError::refused(format!("{session} gets no more sockets"), why, fix)
        };
        if !matches!(live.stage, LifeStage::Empty { .. }) || live.about.parent.is_some() {
            return Err(refused("its command has started, or runs inside another's"));
        }
        let allowed = self.policies.allowed_sockets(&live.chain);
        let is_named = |socket: &NamedSocket| allowed.contains(&socket.name);
        if sockets.len() > MAX_NAMED || !sockets.iter().all(is_named) {
            return Err(refused(
                "its policy does not allow them, or they are too many",
            ));
        }
        let cgroup = live.cgroup.cgroup_id;
        for socket in sockets {
            self.datapath.allow_socket(Some(cgroup), socket.cookie)?;
        }
        Ok(())
    }

    /// Records what the kernel half has stopped.
    pub(crate) fn note_stop(&mut self, event: &LsmEvent) {
        let Ok(hook) = u8::try_from(event.hook) else {
            return;
        };
        let (Some(hook), Some(session)) = (
            LsmHook::from_u8(hook),
            self.sessions.of_cgroup(event.cgroup),
        ) else {
            return;
        };
        let (id, uid) = (session.cgroup.id, session.about.uid);
        let (kept, from) = kept(hook, event);
        self.sockets.note_stop(id, kept, &from, event.at);
        let Some(admitted) = self.admit(id, event.at) else {
            return;
        };
        let thread = Thread {
            tgid: event.tgid,
            tid: event.pid,
        };
        let live = self.sessions.live(id);
        let seen = self.machine.thread_behind(live, thread, &event.comm);
        let record = kept.denied(&from, hook.as_str(), seen);
        let entry = LogEntry::of(ids::session(id), uid, record);
        self.recorder.note(entry.admitted(admitted));
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
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        assert_eq!(socket_name(b"/run/x.sock\0\0"), "/run/x.sock");
        assert_eq!(socket_name(b"\0a\0b\0\0"), "@a\0b");
        assert_eq!(socket_name(&[0; 8]), "a socket without a name");
    }
}
