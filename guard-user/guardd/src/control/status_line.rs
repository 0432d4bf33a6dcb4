//! guardd's status in one line, for the service manager.

use std::{env, rc::Rc, time::Duration};

use guard_proto::Status;
use sd_notify::NotifyState;

use crate::{shared::Shared, state::State};

/// A longer line is cut: the log has the whole text.
const LONGEST: usize = 400;
/// The shortest interval between two changes of the line.
const PAUSE: Duration = Duration::from_secs(1);
/// The interval of checks for what causes no event, such as a hook that was removed.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the service manager's line up to date, if there is one.
pub(crate) async fn tell(shared: Rc<Shared>) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    // Whatever changes the line is written to the audit log, or changes the requests.
    let mut written = shared.with(|state| state.recorder.audit().reached());
    let mut requests = shared.changes();
    let mut told = String::new();
    loop {
        written.mark_unchanged();
        requests.mark_unchanged();
        let now = shared.with(|state| status_line(state));
        if now != told && has_told(&[NotifyState::Status(&now)]) {
            told = now;
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            _ = written.changed() => {}
            _ = requests.changed() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// The current line, made of what `guard status` shows.
#[must_use]
pub(crate) fn status_line(state: &State) -> String {
    line(&state.status())
}

/// A status as a line: the verdict first, then the numbers, then other problems.
#[must_use]
fn line(status: &Status) -> String {
    if !status.enforcing {
        let problem = status.problem.as_deref();
        let problem = problem.unwrap_or("it is not known why");
        return one_line(&format!("NOT enforcing: {problem}"));
    }
    let mut line = format!("enforcing: {}", numbers(status));
    for policy in &status.policies {
        if let Some(error) = &policy.error {
            let place = place(error).map(|place| format!(" ({place})"));
            let place = place.unwrap_or_default();
            line += &format!("; policy {}: new text refused{place}", policy.name);
        }
    }
    for warning in &status.warnings {
        line += &format!("; {warning}");
    }
    one_line(&line)
}

fn numbers(status: &Status) -> String {
    let sessions = count(status.sessions, "session", "sessions");
    let requests = count(status.requests, "request waits", "requests wait");
    let holes = count(status.holes, "hole", "holes");
    let mut numbers = format!(
        "{sessions}, {requests}, {holes}, {} refused",
        status.refused
    );
    if status.events_lost > 0 {
        numbers += &format!(", {} of them not reported", status.events_lost);
    }
    numbers
}

fn count(number: usize, one: &str, more: &str) -> String {
    let what = if number == 1 { one } else { more };
    format!("{number} {what}")
}

/// The `line 3` of a policy's error, if it names one.
fn place(error: &str) -> Option<&str> {
    let start = error.find("line ")?;
    let digits = error[start + 5..].find(|c: char| !c.is_ascii_digit());
    let end = digits.map_or(error.len(), |at| start + 5 + at);
    (end > start + 5).then(|| &error[start..end])
}

/// A text as one line: the service manager's protocol ends at a newline, and control characters are dropped.
#[must_use]
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c == ' ');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    if line.len() > LONGEST {
        format!("{}…", &line[..line.floor_char_boundary(LONGEST)])
    } else {
        line
    }
}

/// Notifies the service manager, if there is one.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    has_told(state);
}

/// The same. It fails if the service manager has too much to read yet.
fn has_told(state: &[NotifyState<'_>]) -> bool {
    let told = sd_notify::notify(state);
    if let Err(error) = &told {
        tracing::debug!(%error, "the service manager was not told");
    }
    told.is_ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use guard_proto::status::PolicyStatus;

    fn status() -> Status {
        Status {
            enforcing: true,
            problem: None,
            warnings: vec![],
            version: "0.1.0".to_owned(),
            kernel: "6.12.0".to_owned(),
            cgroup_root: "/sys/fs/cgroup/guard".into(),
            policy_dirs: Vec::new(),
            session_policy: None,
            policies: vec![],
            sessions: 3,
            requests: 1,
            holes: 2,
            refused: 17,
            hooks: vec![],
            events_lost: 0,
            events_summed_up: 0,
            names_summed_up: 0,
            unserved_networks: Vec::new(),
            fleet: None,
            fleet_link: None,
            since: None,
            audit: None,
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_status() {
        let expected = "enforcing: 3 sessions, 1 request waits, 2 holes, 17 refused";
        assert_eq!(line(&status()), expected);
        let mut lost = status();
        lost.events_lost = 5;
        assert_eq!(line(&lost), format!("{expected}, 5 of them not reported"));
    }

    #[test]
    fn what_is_wrong_stands_in_the_same_line() {
        let mut wrong = status();
        wrong.policies.push(PolicyStatus {
            name: "homelab".to_owned(),
            file: None,
            observed: false,
            sessions: 1,
            prefixes: 3,
            loaded_at: Timestamp::UNIX_EPOCH,
            error: Some("the policy x is not valid: line 3, column 7: no such key".to_owned()),
            warnings: vec![],
        });
        wrong.warnings.push("the disk\nREADY=1".to_owned());
        let said = line(&wrong);
        let expected = "17 refused; policy homelab: new text refused (line 3); the disk READY=1";
        assert!(said.ends_with(expected), "{said}");
        wrong.enforcing = false;
        wrong.problem = Some("connect4 is not attached".to_owned());
        assert_eq!(line(&wrong), "NOT enforcing: connect4 is not attached");
    }
}
