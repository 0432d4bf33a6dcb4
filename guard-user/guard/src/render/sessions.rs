//! What runs under the guard.

use guard_proto::Session;

use super::command_line;
use super::escape::program;
use super::page::{Page, STRONG};
use super::seen::ListScope;
use super::time::Clock;

/// All of them.
pub(crate) fn list(sessions: &[Session], clock: &Clock) -> Page {
    if sessions.is_empty() {
        return none(ListScope::All);
    }
    let mut page = Page::default();
    let heads = ["ID", "NAME", "POLICY", "USER", "PID", "STARTED", "COMMAND"];
    page.table(heads, sessions.iter().map(|session| row(session, clock)));
    for session in sessions.iter().filter(|session| !session.left.is_empty()) {
        page.styled(STRONG, &session.id)
            .line(format_args!(": {}", left(session, clock)));
    }
    for session in sessions.iter().filter(|session| session.all_asked) {
        page.styled(STRONG, &session.id).line(format_args!(
            ": {} places that look like production came into reach, more than are told: each new connection is asked about",
            session.appeared
        ));
        page.line("What is there when a command starts is looked at again. So, when it has ended:");
        page.commands("guard run -- CMD");
    }
    page
}

/// None of them.
pub(crate) fn none(seen: ListScope) -> Page {
    let mut page = seen.none("sessions", "run. Start one with:");
    page.commands("guard run -- CMD");
    seen.others(&mut page, "sessions");
    page
}

/// "command ended 12 min ago; left: gpg-agent (3409)"
fn left(session: &Session, clock: &Clock) -> String {
    let when = session.command_ended_at.map(|at| clock.ago(at));
    let left = session.left.iter().map(|process| {
        let name = process.comm.as_deref();
        let name = name.map_or_else(|| "process".to_owned(), program);
        format!("{name} ({})", process.pid)
    });
    let left: Vec<_> = left.collect();
    let when = when.map_or_else(String::new, |when| format!(" {when}"));
    format!("command ended{when}; left: {}", left.join(", "))
}

/// A unit's.
pub(crate) fn assigned(session: &Session, _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, &session.id).line(format_args!(
        ": {} is under {}, and {} may answer for it",
        session.name, session.policy, session.user
    ));
    page
}

/// One that has just been ended.
pub(crate) fn stopped(session: &Session, _clock: &Clock) -> Page {
    // A container's command is not known.
    let what = if session.command.is_empty() {
        session.name.clone()
    } else {
        command_line(&session.command)
    };
    let mut page = Page::default();
    page.styled(STRONG, &session.id).line(format_args!(
        " stopped: {what} and every process it started"
    ));
    page
}

/// The id behind the parent session's, as `s1/s3`.
pub(crate) fn place(session: &Session) -> String {
    match &session.parent {
        Some(parent) => format!("{parent}/{}", session.id),
        None => session.id.clone(),
    }
}

fn row(session: &Session, clock: &Clock) -> [String; 7] {
    [
        place(session),
        session.name.clone(),
        if session.observed {
            format!("{} (observed)", session.policy)
        } else {
            session.policy.clone()
        },
        session.user.clone(),
        session
            .pid
            .map_or_else(|| "-".into(), |pid| pid.to_string()),
        clock.ago(session.started_at),
        command_line(&session.command),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::examples::{clock, session};
    use super::*;
    use guard_proto::sessions::LeftProcess;

    #[test]
    fn no_sessions_say_how_to_start_one() {
        insta::assert_snapshot!(list(&[], &clock()).plain(), @r"
        No sessions run. Start one with:
            guard run -- CMD
        ");
        insta::assert_snapshot!(none(ListScope::Own(1)).plain(), @r"
        No sessions of yours run. Start one with:
            guard run -- CMD
        Other users have 1; root is shown all:
            sudo guard sessions
        ");
    }

    #[test]
    fn sessions_align() {
        let fresh = Session {
            id: "s12".into(),
            pid: None,
            command: vec!["sh".into(), "-c".into(), "echo 'a b'".into()],
            started_at: "2026-11-20T12:00:00Z".parse().unwrap(),
            ..session()
        };
        insta::assert_snapshot!(list(&[session(), fresh], &clock()).plain(), @r"
        ID   NAME    POLICY   USER   PID   STARTED        COMMAND
        s1   claude  homelab  alice  4700  2 h 5 min ago  claude --continue
        s12  claude  homelab  alice  -     just now       sh -c 'echo '\''a b'\'''
        ");
    }

    #[test]
    fn what_a_command_left_is_named() {
        let left = |pid, comm: &str| LeftProcess {
            pid,
            comm: Some(comm.into()),
        };
        let ended = Session {
            command_ended_at: Some("2026-11-20T11:48:00Z".parse().unwrap()),
            left: vec![left(3409, "gpg-agent"), left(3410, "make")],
            ..session()
        };
        insta::assert_snapshot!(list(&[ended], &clock()).plain(), @r"
        ID  NAME    POLICY   USER   PID   STARTED        COMMAND
        s1  claude  homelab  alice  4700  2 h 5 min ago  claude --continue
        s1: command ended 12 min ago; left: gpg-agent (3409), make (3410)
        ");
    }

    #[test]
    fn that_each_connection_of_one_is_asked_about_is_said() {
        let asked = Session {
            appeared: 65,
            all_asked: true,
            ..session()
        };
        insta::assert_snapshot!(list(&[asked], &clock()).plain(), @r"
        ID  NAME    POLICY   USER   PID   STARTED        COMMAND
        s1  claude  homelab  alice  4700  2 h 5 min ago  claude --continue
        s1: 65 places that look like production came into reach, more than are told: each new connection is asked about
        What is there when a command starts is looked at again. So, when it has ended:
            guard run -- CMD
        ");
    }

    #[test]
    fn a_unit_is_named_with_its_policy() {
        let unit = Session {
            name: "agent.service".into(),
            ..session()
        };
        insta::assert_snapshot!(assigned(&unit, &clock()).plain(), @"s1: agent.service is under homelab, and alice may answer for it");
    }

    #[test]
    fn stopping_names_the_command() {
        insta::assert_snapshot!(stopped(&session(), &clock()).plain(), @"s1 stopped: claude --continue and every process it started");
        let container = Session {
            name: "docker-4f1d0c9a8b7e.scope".into(),
            command: Vec::new(),
            ..session()
        };
        insta::assert_snapshot!(stopped(&container, &clock()).plain(), @"s1 stopped: docker-4f1d0c9a8b7e.scope and every process it started");
    }
}
