//! What each may publish and read, as nats-server's settings have it.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use crate::{
    list::{List, ListedMachine, ListedPerson},
    settings::text_of,
    stream,
    subjects::{Bundles, Group, Joining, NatsKey, SubjectKind},
};

/// The rights of those that a file lists. Invitations are for the keeper: without them, they have none.
///
/// # Errors
///
/// That it cannot be read, or lists something else.
pub(crate) fn of(file: &Path) -> Result<String> {
    let list = List::parse(&text_of(file)?).and_then(|list| {
        // Where nobody is listed, nats-server lets everybody in.
        let is_empty = list.machine.is_empty() && list.person.is_empty();
        ensure!(!is_empty, "it lists no machine and no person");
        Ok(list)
    });
    let list = list.with_context(|| format!("{} lists no rights", file.display()))?;
    Ok(written(&users_of(&list)))
}

/// The same for the keeper, who is let in as well, as are those who are invited now.
///
/// # Errors
///
/// That the keeper is listed as somebody else.
pub(crate) fn kept_by(keeper: &NatsKey, list: &List, now: Timestamp) -> Result<String> {
    let machines = list.machine.iter().map(|one| &one.key);
    let mut listed = machines.chain(list.person.iter().map(|one| &one.key));
    ensure!(
        listed.all(|key| key != keeper),
        "{keeper}, which keeps the list, is in it: keep it by a key of its own"
    );
    let mut users = users_of(list);
    for one in list.invitation.iter().filter(|one| one.until.0 > now) {
        let [join, joined] =
            [Joining::Join, Joining::Joined].map(|what| what.of(&one.group, &one.key));
        user(&mut users, &one.key, &[join], &[joined]);
    }
    let [join, joined] = [Joining::Join, Joining::Joined].map(Joining::all);
    let [policies, want] = [Bundles::Policies, Bundles::Want].map(Bundles::all);
    let removed = Group::every(SubjectKind::Removed);
    user(
        &mut users,
        keeper,
        &[&[joined, policies.clone(), removed][..], &stream::kept_by()].concat(),
        &[join, policies, want, stream::inbox(keeper)],
    );
    Ok(written(&users))
}

fn users_of(list: &List) -> String {
    let mut users = String::new();
    for one in &list.machine {
        machine(&mut users, one);
    }
    for one in &list.person {
        person(&mut users, one);
    }
    users
}

fn machine(users: &mut String, one: &ListedMachine) {
    let (group, machine) = (&one.group, Some(&one.id));
    let own = [
        SubjectKind::Here,
        SubjectKind::Question,
        SubjectKind::Receipt,
        SubjectKind::Approvers,
        SubjectKind::Log,
    ];
    let own = own.map(|what| group.all(what, machine));
    let own: Vec<_> = own.into_iter().chain([Bundles::Want.of(group)]).collect();
    let told = [
        group.all(SubjectKind::Answer, machine),
        group.all(SubjectKind::No, machine),
        group.look(),
        group.who(),
        Bundles::Policies.of(group),
        // The server says there what it has kept.
        stream::inbox(&one.key),
    ];
    user(users, &one.key, &own, &told);
}

fn person(users: &mut String, one: &ListedPerson) {
    let of_all = |whats: &[SubjectKind]| -> Vec<_> {
        let groups = one.groups.iter();
        groups
            .flat_map(|group| whats.iter().map(|what| group.all(*what, None)))
            .collect()
    };
    let own = of_all(&[SubjectKind::Answer]).into_iter();
    let own = own.chain(one.groups.iter().map(Group::look));
    let sets = one.groups.iter().filter(|_| one.policies);
    let mut own: Vec<_> = own
        .chain(sets.map(|group| Bundles::Policies.of(group)))
        .collect();
    let mut told = of_all(&[
        SubjectKind::Here,
        SubjectKind::Question,
        SubjectKind::Receipt,
    ]);
    if one.console {
        own.extend(of_all(&[SubjectKind::No]));
        own.extend(one.groups.iter().map(Group::who));
        told.extend(of_all(&[SubjectKind::Approvers, SubjectKind::Removed]));
    }
    if one.log {
        own.extend(stream::read_in(&one.groups));
        told.push(stream::inbox(&one.key));
    }
    user(users, &one.key, &own, &told);
}

fn written(users: &str) -> String {
    format!("authorization {{\n  users = [\n{users}  ]\n}}\n")
}

fn user(users: &mut String, key: &NatsKey, publishes: &[String], reads: &[String]) {
    let list = |subjects: &[String]| {
        let quoted: Vec<_> = subjects.iter().map(|one| format!("\"{one}\"")).collect();
        quoted.join(", ")
    };
    let (publishes, reads) = (list(publishes), list(reads));
    // Writing into text does not fail.
    let _ = writeln!(
        users,
        "    {{ nkey: {key}, permissions: {{ publish: [{publishes}], subscribe: [{reads}] }} }}"
    );
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::*;

    fn rights(list: &str) -> Result<String> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("fleet.list");
        std::fs::write(&file, list)?;
        of(&file)
    }

    #[test]
    fn an_invitation_counts_for_a_time_and_for_nothing_else() -> Result<()> {
        let [keeper, invited, late] = [(); 3].map(|()| KeyPair::new_user().public_key());
        let list = format!(
            "[[invitation]]\nkey = \"{invited}\"\ngroup = \"ci\"\nuntil = 2026-11-26T10:00:01Z\n[[invitation]]\nkey = \"{late}\"\nuntil = 2026-11-26T10:00:00Z\n"
        );
        let (now, parsed) = ("2026-11-26T10:00:00Z".parse()?, List::parse(&list)?);
        let key: NatsKey = keeper.parse().map_err(|why: String| anyhow::anyhow!(why))?;
        assert_eq!(
            kept_by(&key, &parsed, now)?,
            format!(
                "authorization {{\n  users = [\n    {{ nkey: {invited}, permissions: {{ publish: [\"guard.ci.join.{invited}\"], subscribe: [\"guard.ci.joined.{invited}\"] }} }}\n    {{ nkey: {keeper}, permissions: {{ publish: [\"guard.*.joined.*\", \"guard.*.policies\", \"guard.*.removed.*\", \"$JS.API.STREAM.INFO.GUARD_LOG\", \"$JS.API.STREAM.CREATE.GUARD_LOG\", \"$JS.API.STREAM.UPDATE.GUARD_LOG\"], subscribe: [\"guard.*.join.*\", \"guard.*.policies\", \"guard.*.want\", \"_INBOX.{keeper}.>\"] }} }}\n  ]\n}}\n"
            )
        );
        assert!(rights(&list).is_err(), "without a keeper nobody is let in");
        let itself = format!("[[person]]\nkey = \"{keeper}\"\ngroups = [\"ci\"]\n");
        assert!(kept_by(&key, &List::parse(&itself)?, now).is_err());
        Ok(())
    }

    #[test]
    fn each_speaks_for_itself_alone() -> Result<()> {
        let (machine, person) = (KeyPair::new_user(), KeyPair::new_user());
        let (machine, person) = (machine.public_key(), person.public_key());
        let id = "m-0123456789abcdef0123";
        let list = format!(
            "[[machine]]\nid = \"{id}\"\nkey = \"{machine}\"\ngroup = \"ci\"\n[[person]]\nkey = \"{person}\"\ngroups = [\"ci\", \"dev\"]\n"
        );
        assert_eq!(
            rights(&list)?,
            format!(
                "authorization {{\n  users = [\n    {{ nkey: {machine}, permissions: {{ publish: [\"guard.ci.here.{id}\", \"guard.ci.question.{id}.*\", \"guard.ci.receipt.{id}.*\", \"guard.ci.approvers.{id}\", \"guard.ci.log.{id}\", \"guard.ci.want\"], subscribe: [\"guard.ci.answer.{id}.*\", \"guard.ci.no.{id}.*\", \"guard.ci.look\", \"guard.ci.who\", \"guard.ci.policies\", \"_INBOX.{machine}.>\"] }} }}\n    {{ nkey: {person}, permissions: {{ publish: [\"guard.ci.answer.*.*\", \"guard.dev.answer.*.*\", \"guard.ci.look\", \"guard.dev.look\"], subscribe: [\"guard.ci.here.*\", \"guard.ci.question.*.*\", \"guard.ci.receipt.*.*\", \"guard.dev.here.*\", \"guard.dev.question.*.*\", \"guard.dev.receipt.*.*\"] }} }}\n  ]\n}}\n"
            )
        );
        Ok(())
    }

    #[test]
    fn a_console_says_no_and_hears_who_answers_and_sets_no_policy() -> Result<()> {
        let key = KeyPair::new_user().public_key();
        let list = format!("[[person]]\nkey = \"{key}\"\ngroups = [\"ci\"]\nconsole = true\n");
        assert_eq!(
            rights(&list)?,
            format!(
                "authorization {{\n  users = [\n    {{ nkey: {key}, permissions: {{ publish: [\"guard.ci.answer.*.*\", \"guard.ci.look\", \"guard.ci.no.*.*\", \"guard.ci.who\"], subscribe: [\"guard.ci.here.*\", \"guard.ci.question.*.*\", \"guard.ci.receipt.*.*\", \"guard.ci.approvers.*\", \"guard.ci.removed.*\"] }} }}\n  ]\n}}\n"
            )
        );
        let refused =
            rights(&format!("{list}policies = true\n")).map_err(|error| format!("{error:#}"));
        assert!(refused.is_err_and(|why| why.contains("brings no policies")));
        Ok(())
    }

    #[test]
    fn whoever_may_read_logs_reads_those_of_their_groups_alone() -> Result<()> {
        let person = KeyPair::new_user().public_key();
        let list = format!("[[person]]\nkey = \"{person}\"\ngroups = [\"ci\"]\nlog = true\n");
        let rights = rights(&list)?;
        for right in [
            "\"$JS.API.CONSUMER.CREATE.GUARD_LOG.*.guard.ci.log.*\"",
            "\"$JS.API.CONSUMER.MSG.NEXT.GUARD_LOG.*\"",
            &format!("\"_INBOX.{person}.>\""),
        ] {
            assert!(rights.contains(right), "{right}: {rights}");
        }
        for wrong in ["STREAM", "DELETE", "PURGE", "\"$JS.API.>\"", "ACK"] {
            assert!(!rights.contains(wrong), "{wrong}: {rights}");
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_gives_nobody_a_right() {
        let key = KeyPair::new_user().public_key();
        let account = KeyPair::new_account().public_key();
        for (list, why) in [
            (
                format!("[[person]]\nkey = \"{account}\"\ngroups = [\"ci\"]"),
                "no public key",
            ),
            (
                "[[person]]\nkey = \"U\\\" } }\"\ngroups = [\"ci\"]".to_owned(),
                "no public key",
            ),
            (
                format!("[[person]]\nkey = \"{key}\"\ngroups = []"),
                "no groups",
            ),
            (
                format!("[[person]]\nkey = \"{key}\"\ngroups = [\"*\"]"),
                "no group",
            ),
            (
                format!("[[machine]]\nid = \"*\"\nkey = \"{key}\""),
                "no machine",
            ),
            (
                format!(
                    "[[person]]\nkey = \"{key}\"\ngroups = [\"ci\"]\n[[person]]\nkey = \"{key}\"\ngroups = [\"ci\"]"
                ),
                "twice",
            ),
            ("people = 1".to_owned(), "unknown field"),
            (String::new(), "no machine and no person"),
            ("# nobody".to_owned(), "no machine and no person"),
        ] {
            let refused = rights(&list).map_err(|error| format!("{error:#}"));
            assert!(
                refused.as_ref().is_err_and(|said| said.contains(why)),
                "{why}: {refused:?}"
            );
        }
    }
}
