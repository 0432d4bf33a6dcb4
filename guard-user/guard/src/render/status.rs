//! What is enforced.

use std::path::PathBuf;

use guard_proto::{
    Status,
    fleet::{FleetLink, FleetPolicies},
    status::{PolicyStatus, UnservedNetwork},
};

use serde::Serialize;

use super::page::{BAD, COMMAND, GOOD, HEAD, Page, WARN};
use super::path_word;
use super::time::Clock;

/// A file that is to be a policy, and is none.
#[derive(Debug, Serialize)]
pub(crate) struct Broken {
    /// Its name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) file: PathBuf,
    /// What is wrong with it first, and where.
    pub(crate) error: String,
}

/// The file, as guardd has it, of what judges one session alone beside its policy.
const BESIDE: &str = "(for this session)/";

/// What the caller sees of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnView {
    /// How many of the requests that wait are the caller's to answer.
    pub(crate) own: usize,
    /// Also what it rests on, hook by hook.
    pub(crate) all: bool,
}

/// The verdict first, then what a person looks for.
pub(crate) fn page(status: &Status, broken: &[Broken], view: OwnView, clock: &Clock) -> Page {
    let mut page = Page::default();
    headline(&mut page, status);
    let since = status.since.map_or_else(String::new, |since| {
        format!(", since {} ({})", clock.at(since), clock.ago(since))
    });
    page.field(
        "guardd",
        format_args!("{} on Linux {}{since}", status.version, status.kernel),
    );
    if view.all {
        page.field("cgroup", status.cgroup_root.display());
    }
    page.field("sessions", status.sessions)
        .field("requests", status.requests)
        .field("holes", status.holes)
        .field("refused", status.refused);
    if let Some(of_fleet) = &status.fleet {
        fleet(&mut page, of_fleet, clock);
    }
    if let Some(link) = &status.fleet_link {
        page.field("servers", reached(link, clock));
    }
    losses(&mut page, status);
    for warning in &status.warnings {
        page.styled(WARN, format_args!("    warning  {warning}"))
            .end();
    }
    for network in &status.unserved_networks {
        unserved(&mut page, network);
    }
    page.line("");
    policies(&mut page, &status.policies, view.all, clock);
    for one in broken {
        self::broken(&mut page, one, &status.policies);
    }
    hooks(&mut page, status, view.all);
    waiting(&mut page, status, view.own);
    page
}

/// That requests wait, and how they are answered.
fn waiting(page: &mut Page, status: &Status, own: usize) {
    match (status.requests, own) {
        (0, _) => {}
        (_, 0) => drop(
            page.line("")
                .line("Requests of other users wait; root answers all:")
                .commands("sudo guard pending"),
        ),
        _ => drop(
            page.line("")
                .line("Requests wait for an answer:")
                .commands("guard pending"),
        ),
    }
}

/// A network in which a session resolves no names, and what to do.
fn unserved(page: &mut Page, one: &UnservedNetwork) {
    let UnservedNetwork {
        session,
        pid,
        network,
        why,
        fix,
    } = one;
    let said = format!("{session} resolves no names in net:[{network}] of process {pid}: {why}");
    page.styled(WARN, format_args!("    network  {said}")).end();
    page.styled(HEAD, format_args!("             {fix}")).end();
}

/// A file that is no policy, and who still has its text of before.
fn broken(page: &mut Page, one: &Broken, known: &[PolicyStatus]) {
    let file = one.file.display();
    let mut known = known.iter();
    let held = known.find(|policy| policy.name == one.name && policy.sessions > 0);
    page.styled(BAD, format_args!("{}: ", one.name));
    match held.map(|policy| policy.sessions) {
        None => page.line(format_args!("nothing runs under it, {file} is broken:")),
        Some(sessions) => page.line(format_args!(
            "nothing new starts under it, {file} is broken, and {} its text of before:",
            match sessions {
                1 => "1 session keeps".to_owned(),
                more => format!("{more} sessions keep"),
            }
        )),
    };
    page.styled(HEAD, format_args!("    {}", one.error)).end();
    page.commands(format_args!("guard check {}", path_word(&one.file)));
}

/// In a line, unless one is missing or each is wanted.
fn hooks(page: &mut Page, status: &Status, all: bool) {
    if status.hooks.is_empty() {
        return;
    }
    page.line("");
    if !all && status.hooks.iter().all(|hook| hook.attached) {
        let count = status.hooks.len();
        page.text(format_args!("All {count} hooks are attached: "))
            .styled(COMMAND, "guard status --all")
            .end();
        return;
    }
    let hooks = status.hooks.iter().map(|hook| {
        let program = hook
            .program_id
            .map_or_else(|| "-".into(), |id| id.to_string());
        [
            hook.name.clone(),
            if hook.attached { "yes" } else { "NO" }.into(),
            program,
        ]
    });
    page.table(["HOOK", "ATTACHED", "PROGRAM"], hooks);
}

/// What the machine has of its fleet.
pub(crate) fn fleet(page: &mut Page, fleet: &FleetPolicies, clock: &Clock) {
    let base = match &fleet.base {
        Some(base) => format!("{base} around each session"),
        None => "none around sessions".to_owned(),
    };
    let said = match (fleet.serial, fleet.heard_at) {
        (Some(serial), Some(at)) => format!(
            "group {}, serial {serial} by {}, {base}, offered {}",
            fleet.group,
            fleet.by.join(", "),
            clock.ago(at)
        ),
        _ if fleet.problem.is_some() => {
            format!("group {}, not known: see the warning", fleet.group)
        }
        _ => format!("group {}, no policies yet", fleet.group),
    };
    page.field("fleet", said);
}

/// Whether the fleet hears the machine.
fn reached(link: &FleetLink, clock: &Clock) -> String {
    let word = if link.connected { "reached" } else { "away" };
    let by = link.by.as_deref().map(|by| format!(", as {by} says"));
    let by = by.unwrap_or_default();
    match link.since {
        Some(since) => format!("of the fleet: {word} since {}{by}", clock.at(since)),
        None => "of the fleet: no courier has said that it reaches one".to_owned(),
    }
}

fn headline(page: &mut Page, status: &Status) {
    if status.enforcing {
        page.styled(GOOD, "Enforcing")
            .line(": every hook is attached and every map is loaded.");
    } else {
        let problem = status
            .problem
            .as_deref()
            .unwrap_or("guardd does not say why");
        page.styled(BAD, "NOT enforcing")
            .line(format_args!(": {problem}"))
            .commands("journalctl -u guardd -n 20");
    }
}

fn losses(page: &mut Page, status: &Status) {
    if status.events_summed_up > 0 {
        page.field(
            "events",
            format_args!(
                "{} refusals were summed up in counts",
                status.events_summed_up
            ),
        );
    }
    if status.names_summed_up > 0 {
        page.field(
            "names",
            format_args!(
                "{} more were refused than are told one by one",
                status.names_summed_up
            ),
        );
    }
    if status.events_lost > 0 {
        let lost = status.events_lost;
        page.styled(
            WARN,
            format_args!("    lost     {lost} refusals were not reported; all were refused"),
        )
        .end();
    }
}

fn policies(page: &mut Page, policies: &[PolicyStatus], all: bool, clock: &Clock) {
    if policies.is_empty() {
        page.line("No policy is in force: nothing runs under the guard.");
        return;
    }
    let rows = policies.iter().map(|policy| {
        let file = policy.file.clone().unwrap_or_else(|| "built in".into());
        let is_beside = file.starts_with(BESIDE);
        [
            match (policy.observed, is_beside) {
                (true, _) => format!("{} (observed)", policy.name),
                (_, true) => format!("beside {}", policy.name),
                _ => policy.name.clone(),
            },
            policy.sessions.to_string(),
            policy.prefixes.to_string(),
            clock.ago(policy.loaded_at),
            if is_beside {
                "asks one session about what came into reach".to_owned()
            } else {
                file
            },
        ]
    });
    if all {
        page.table(["POLICY", "SESSIONS", "PREFIXES", "LOADED", "FILE"], rows)
    } else {
        let rows = rows.map(|[name, sessions, _, loaded, file]| [name, sessions, loaded, file]);
        page.table(["POLICY", "SESSIONS", "LOADED", "FILE"], rows);
    }
    for policy in policies {
        if let Some(error) = &policy.error {
            page.styled(BAD, format_args!("{}: ", policy.name))
                .line("its newer text was refused, and the one before stands:")
                .styled(HEAD, format_args!("    {error}"))
                .end();
            page.commands(format_args!(
                "guard check {}",
                path_word(argument(policy).as_ref())
            ));
        }
        for warning in &policy.warnings {
            page.styled(WARN, format_args!("{}: ", policy.name))
                .line(warning);
        }
    }
}

/// The policy as `guard check` takes it: what is in parentheses is no file.
fn argument(policy: &PolicyStatus) -> &str {
    let Some(file) = policy.file.as_deref() else {
        return &policy.name;
    };
    let inner = file.strip_prefix('(').and_then(|file| file.split_once('/'));
    match inner {
        Some((_, file)) => file.strip_suffix(".toml").unwrap_or(file),
        None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{clock, status};
    use super::*;

    /// Of an approver of so many.
    fn short(own: usize) -> OwnView {
        OwnView { own, all: false }
    }

    #[test]
    fn a_sound_guard_says_so_first() {
        insta::assert_snapshot!(page(&status(), &[], short(1), &clock()).plain(), @r"
        Enforcing: every hook is attached and every map is loaded.
            guardd   0.1.0 on Linux 6.12.0, since 2026-11-20 09:00:00 (3 h ago)
            sessions 1
            requests 1
            holes    0
            refused  17

        POLICY   SESSIONS  LOADED     FILE
        homelab  1         3 min ago  /etc/guard/policies/homelab.toml

        All 2 hooks are attached: guard status --all

        Requests wait for an answer:
            guard pending
        ");
        let others = page(&status(), &[], short(0), &clock()).plain();
        let hint = "\n\nRequests of other users wait; root answers all:\n    sudo guard pending\n";
        assert!(others.ends_with(hint), "{others}");
    }

    #[test]
    fn what_it_rests_on_is_shown_to_who_asks() {
        let mut status = status();
        (status.requests, status.since) = (0, None);
        let all = OwnView { own: 0, all: true };
        insta::assert_snapshot!(page(&status, &[], all, &clock()).plain(), @r"
        Enforcing: every hook is attached and every map is loaded.
            guardd   0.1.0 on Linux 6.12.0
            cgroup   /sys/fs/cgroup/guard
            sessions 1
            requests 0
            holes    0
            refused  17

        POLICY   SESSIONS  PREFIXES  LOADED     FILE
        homelab  1         14        3 min ago  /etc/guard/policies/homelab.toml

        HOOK      ATTACHED  PROGRAM
        connect4  yes       31
        connect6  yes       32
        ");
    }

    #[test]
    fn a_machine_that_its_fleet_does_not_hear_says_since_when() {
        let clock = clock();
        let said = |connected, since: Option<_>| {
            let by = since.map(|_| "guard-fleet".to_owned());
            let link = FleetLink {
                connected,
                since,
                by,
            };
            reached(&link, &clock)
        };
        let at = clock.at(clock.now);
        let now = Some(clock.now);
        for (connected, word) in [(true, "reached"), (false, "away")] {
            let expected = format!("of the fleet: {word} since {at}, as guard-fleet says");
            assert_eq!(said(connected, now), expected);
        }
        assert!(said(false, None).ends_with("no courier has said that it reaches one"));
    }

    #[test]
    fn what_judges_one_session_beside_its_policy_is_no_second_one_of_that_name() {
        let mut status = status();
        let beside = PolicyStatus {
            file: Some(format!("{BESIDE}homelab.toml")),
            prefixes: 1,
            ..status.policies[0].clone()
        };
        status.policies.push(beside);
        let text = page(&status, &[], short(1), &clock()).plain();
        let row =
            "beside homelab  1         3 min ago  asks one session about what came into reach";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn what_is_the_fleets_is_checked_by_its_name() {
        let mut policy = status().policies.remove(0);
        assert_eq!(argument(&policy), "/etc/guard/policies/homelab.toml");
        policy.file = Some("(fleet)/floor.toml".into());
        assert_eq!(argument(&policy), "floor");
        policy.file = None;
        assert_eq!(argument(&policy), "homelab");
    }

    #[test]
    fn a_broken_guard_says_so_first() {
        let mut broken = status();
        broken.enforcing = false;
        broken.problem = Some("connect6 is not attached to /sys/fs/cgroup/guard".into());
        broken.hooks[1].attached = false;
        broken.hooks[1].program_id = None;
        broken.requests = 0;
        broken.events_lost = 3;
        broken.events_summed_up = 1200;
        broken.names_summed_up = 1204;
        broken.unserved_networks = vec![UnservedNetwork {
            session: "s1".into(),
            pid: 4711,
            network: 4026532281,
            why: "no port of its loopback is free".into(),
            fix: "free a port there".into(),
        }];
        broken.policies[0].error = Some("line 12: \"192.0.2.1/24\" has host bits set".into());
        broken.policies[0].warnings = vec!["db.example.com does not resolve".into()];
        let file = Broken {
            name: "lab".into(),
            file: "/etc/guard/policies/lab.toml".into(),
            error: "line 3: this key means nothing here".into(),
        };
        let kept = Broken {
            name: "homelab".into(),
            file: "/etc/guard/policies/homelab.toml".into(),
            error: "line 6: invalid basic string".into(),
        };
        insta::assert_snapshot!(page(&broken, &[file, kept], short(1), &clock()).plain(), @r#"
        NOT enforcing: connect6 is not attached to /sys/fs/cgroup/guard
            journalctl -u guardd -n 20
            guardd   0.1.0 on Linux 6.12.0, since 2026-11-20 09:00:00 (3 h ago)
            sessions 1
            requests 0
            holes    0
            refused  17
            events   1200 refusals were summed up in counts
            names    1204 more were refused than are told one by one
            lost     3 refusals were not reported; all were refused
            network  s1 resolves no names in net:[4026532281] of process 4711: no port of its loopback is free
                     free a port there

        POLICY   SESSIONS  LOADED     FILE
        homelab  1         3 min ago  /etc/guard/policies/homelab.toml
        homelab: its newer text was refused, and the one before stands:
            line 12: "192.0.2.1/24" has host bits set
            guard check /etc/guard/policies/homelab.toml
        homelab: db.example.com does not resolve
        lab: nothing runs under it, /etc/guard/policies/lab.toml is broken:
            line 3: this key means nothing here
            guard check /etc/guard/policies/lab.toml
        homelab: nothing new starts under it, /etc/guard/policies/homelab.toml is broken, and 1 session keeps its text of before:
            line 6: invalid basic string
            guard check /etc/guard/policies/homelab.toml

        HOOK      ATTACHED  PROGRAM
        connect4  yes       31
        connect6  NO        -
        "#);
    }
}
