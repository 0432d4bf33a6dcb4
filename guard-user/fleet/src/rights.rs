//! What each may publish and read, as nats-server's settings have it.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nkeys::{KeyPair, KeyPairType};
use serde::Deserialize;

use crate::{
    settings::text_of,
    subjects::{Group, Machine, What},
};

/// Machines and people.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct List {
    machine: Vec<Listed>,
    person: Vec<Person>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    id: Machine,
    key: String,
    #[serde(default)]
    group: Group,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    key: String,
    groups: Vec<Group>,
}

/// The rights of those that a file lists.
///
/// # Errors
///
/// That it cannot be read, or lists something else.
pub(crate) fn of(file: &Path) -> Result<String> {
    written(&text_of(file)?).with_context(|| format!("{} lists no rights", file.display()))
}

fn written(text: &str) -> Result<String> {
    let list: List = toml::from_str(text).map_err(|error| anyhow!("{error}"))?;
    // Where nobody is listed, nats-server lets everybody in.
    ensure!(
        !list.machine.is_empty() || !list.person.is_empty(),
        "it lists no machine and no person"
    );
    let mut keys = BTreeSet::new();
    let mut machines = BTreeSet::new();
    let mut users = String::new();
    for one in &list.machine {
        check(&one.key, &mut keys)?;
        ensure!(machines.insert(&one.id), "{} is there twice", one.id);
        let (group, machine) = (&one.group, Some(&one.id));
        let own = [What::Here, What::Question, What::Receipt].map(|what| group.all(what, machine));
        let told = [group.all(What::Answer, machine), group.look()];
        user(&mut users, &one.key, &own, &told);
    }
    for one in &list.person {
        check(&one.key, &mut keys)?;
        ensure!(!one.groups.is_empty(), "{} has no groups", one.key);
        let of_all = |whats: &[What]| -> Vec<_> {
            let groups = one.groups.iter();
            groups
                .flat_map(|group| whats.iter().map(|what| group.all(*what, None)))
                .collect()
        };
        let own = of_all(&[What::Answer]).into_iter();
        let own: Vec<_> = own.chain(one.groups.iter().map(Group::look)).collect();
        let told = of_all(&[What::Here, What::Question, What::Receipt]);
        user(&mut users, &one.key, &own, &told);
    }
    Ok(format!("authorization {{\n  users = [\n{users}  ]\n}}\n"))
}

/// That it is a key, and nobody else's here.
fn check<'a>(key: &'a str, keys: &mut BTreeSet<&'a str>) -> Result<()> {
    match KeyPair::from_public_key(key).map(|pair| pair.key_pair_type()) {
        Ok(KeyPairType::User) => {}
        _ => bail!("{key:?} is no public key of a user: guard-fleet key prints one"),
    }
    ensure!(keys.insert(key), "{key} is there twice");
    Ok(())
}

fn user(users: &mut String, key: &str, publishes: &[String], reads: &[String]) {
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
    use super::*;

    #[test]
    fn each_speaks_for_itself_alone() -> Result<()> {
        let (machine, person) = (KeyPair::new_user(), KeyPair::new_user());
        let (machine, person) = (machine.public_key(), person.public_key());
        let id = "m-0123456789abcdef0123";
        let list = format!(
            "[[machine]]\nid = \"{id}\"\nkey = \"{machine}\"\ngroup = \"ci\"\n[[person]]\nkey = \"{person}\"\ngroups = [\"ci\", \"dev\"]\n"
        );
        assert_eq!(
            written(&list)?,
            format!(
                "authorization {{\n  users = [\n    {{ nkey: {machine}, permissions: {{ publish: [\"guard.ci.here.{id}\", \"guard.ci.question.{id}.*\", \"guard.ci.receipt.{id}.*\"], subscribe: [\"guard.ci.answer.{id}.*\", \"guard.ci.look\"] }} }}\n    {{ nkey: {person}, permissions: {{ publish: [\"guard.ci.answer.*.*\", \"guard.dev.answer.*.*\", \"guard.ci.look\", \"guard.dev.look\"], subscribe: [\"guard.ci.here.*\", \"guard.ci.question.*.*\", \"guard.ci.receipt.*.*\", \"guard.dev.here.*\", \"guard.dev.question.*.*\", \"guard.dev.receipt.*.*\"] }} }}\n  ]\n}}\n"
            )
        );
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
            let refused = written(&list).map_err(|error| format!("{error:#}"));
            assert!(
                refused.as_ref().is_err_and(|said| said.contains(why)),
                "{why}: {refused:?}"
            );
        }
    }
}
