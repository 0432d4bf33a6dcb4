//! Who is in a fleet: a file that people edit, and that invited machines are written into.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::subjects::{Group, Key, Machine};

/// Machines and people, and who may still become one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct List {
    pub(crate) machine: Vec<Listed>,
    pub(crate) person: Vec<Person>,
    pub(crate) invitation: Vec<Invitation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) id: Machine,
    pub(crate) key: Key,
    #[serde(default)]
    pub(crate) group: Group,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Person {
    pub(crate) key: Key,
    pub(crate) groups: Vec<Group>,
}

/// One machine may join, whoever has the other half of the key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    pub(crate) key: Key,
    #[serde(default)]
    pub(crate) group: Group,
    pub(crate) until: Until,
    /// None: whichever machine is first.
    pub(crate) id: Option<Machine>,
}

/// A moment, as the file has it: `2026-11-26T10:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::value::Datetime")]
pub(crate) struct Until(pub(crate) Timestamp);

impl TryFrom<toml::value::Datetime> for Until {
    type Error = String;

    fn try_from(read: toml::value::Datetime) -> Result<Self, String> {
        let moment = read.to_string().parse();
        moment
            .map(Self)
            .map_err(|_| format!("{read} is no moment: expected one such as 2026-11-26T10:00:00Z"))
    }
}

impl List {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// That it says something else, or somebody is there twice.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text).map_err(|error| anyhow!("{error}"))?;
        let machines = list.machine.iter().map(|one| &one.key);
        let people = list.person.iter().map(|one| &one.key);
        let invitations = list.invitation.iter().map(|one| &one.key);
        let mut keys: Vec<_> = machines.chain(people).chain(invitations).collect();
        keys.sort_unstable();
        let mut ids: Vec<_> = list.machine.iter().map(|one| &one.id).collect();
        ids.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|two| two[0] == two[1]) {
            bail!("{} is there twice", twice[0]);
        }
        if let Some(twice) = ids.windows(2).find(|two| two[0] == two[1]) {
            bail!("{} is there twice", twice[0]);
        }
        for one in &list.person {
            ensure!(!one.groups.is_empty(), "{} has no groups", one.key);
        }
        Ok(list)
    }
}

/// The file, which nobody else of this program changes meanwhile.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    text: String,
    pub(crate) list: List,
    _lock: File,
}

impl Held {
    /// Reads it; waits for whoever else has it.
    ///
    /// # Errors
    ///
    /// That it cannot be read, or lists something else.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().context("the list has no name")?;
        let lock = path.with_file_name(format!(".{}.lock", name.to_string_lossy()));
        // Whoever may read it could hold it.
        let mut how = File::options();
        let made = how.create(true).append(true).mode(0o600).open(&lock);
        let made = made.with_context(|| format!("cannot make {}", lock.display()))?;
        flock(&made, FlockOperation::LockExclusive).context("cannot wait for another")?;
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let list = List::parse(&text).with_context(|| format!("{} is wrong", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            text,
            list,
            _lock: made,
        })
    }

    /// Adds an invitation.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub(crate) fn invite(self, invitation: &Invitation) -> Result<()> {
        self.change(|document| {
            let mut table = Table::new();
            table["key"] = value(invitation.key.to_string());
            table["group"] = value(invitation.group.to_string());
            let until: toml_edit::Datetime = invitation.until.0.to_string().parse()?;
            table["until"] = value(until);
            if let Some(id) = &invitation.id {
                table["id"] = value(id.to_string());
            }
            tables(document, "invitation")?.push(table);
            Ok(())
        })
    }

    /// Has a machine in the place of its invitation, which counts no more.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub(crate) fn admit(self, invitation: &Key, machine: &Listed) -> Result<()> {
        self.change(|document| {
            let is_it = |table: &Table| {
                let key = table.get("key").and_then(Item::as_str);
                key == Some(invitation.as_str())
            };
            tables(document, "invitation")?.retain(|table| !is_it(table));
            let mut table = Table::new();
            table["id"] = value(machine.id.to_string());
            table["key"] = value(machine.key.to_string());
            table["group"] = value(machine.group.to_string());
            tables(document, "machine")?.push(table);
            Ok(())
        })
    }

    fn change(self, change: impl FnOnce(&mut DocumentMut) -> Result<()>) -> Result<()> {
        let mut document: DocumentMut = self.text.parse()?;
        change(&mut document)?;
        let invitations = tables(&mut document, "invitation")?;
        invitations.retain(|one| !is_over(one, Timestamp::now()));
        let text = document.to_string();
        List::parse(&text).with_context(|| format!("{} would be wrong", self.path.display()))?;
        replace(&self.path, &text)
    }
}

/// Whether an invitation counts no more.
fn is_over(invitation: &Table, now: Timestamp) -> bool {
    let until = invitation.get("until").and_then(Item::as_datetime);
    let until = until.and_then(|until| until.to_string().parse::<Timestamp>().ok());
    until.is_some_and(|until| until <= now)
}

/// The tables of that name, none at first.
fn tables<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut ArrayOfTables> {
    let item = document
        .entry(name)
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut()
        .with_context(|| format!("nothing is written beside {name} = […]: have it as [[{name}]]"))
}

/// Writes a file whole or not at all, and lets it be whose it was.
///
/// # Errors
///
/// That it cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let wrong = || format!("cannot write {}", path.display());
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let mut new = tempfile::NamedTempFile::new_in(dir).with_context(wrong)?;
    new.write_all(text.as_bytes()).with_context(wrong)?;
    let file = new.as_file();
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())
            .with_context(wrong)?;
        let is_others =
            (old.uid(), old.gid()) != file.metadata().map(|new| (new.uid(), new.gid()))?;
        if is_others {
            fchown(file, Some(old.uid()), Some(old.gid())).with_context(wrong)?;
        }
    } else {
        // Public keys: whoever runs the server is to read it.
        let readable = fs::Permissions::from_mode(0o644);
        file.set_permissions(readable).with_context(wrong)?;
    }
    new.as_file().sync_all().with_context(wrong)?;
    new.persist(path).with_context(wrong)?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.with_context(wrong)
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::*;

    fn key() -> Key {
        let made = KeyPair::new_user().public_key();
        made.parse().unwrap_or_else(|why| panic!("{why}"))
    }

    fn invitation(until: &str) -> Result<Invitation> {
        Ok(Invitation {
            key: key(),
            group: Group::default(),
            until: Until(until.parse()?),
            id: None,
        })
    }

    const FAR: &str = "2200-01-01T00:00:00Z";

    #[test]
    fn an_invitation_becomes_a_machine_and_what_people_wrote_stays() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("fleet.list");
        let person = key();
        let written = format!(
            "# ours\n[[person]]\nkey = \"{person}\" # Monday to Friday\ngroups = [\"ci\"]\n"
        );
        fs::write(&file, &written)?;
        let one = invitation(FAR)?;
        Held::open(&file)?.invite(&one)?;
        Held::open(&file)?.invite(&invitation("2000-01-01T00:00:00Z")?)?;
        Held::open(&file)?.invite(&invitation(FAR)?)?;
        let held = Held::open(&file)?;
        assert_eq!(held.list.invitation[0], one);
        let machine = Listed {
            id: "m-0123456789abcdef0123"
                .parse()
                .map_err(|why: String| anyhow!(why))?,
            key: key(),
            group: one.group.clone(),
        };
        held.admit(&one.key, &machine)?;
        let held = Held::open(&file)?;
        assert_eq!(held.list.machine, [machine]);
        assert_eq!(held.list.invitation.len(), 1);
        assert!(held.text.starts_with(&written), "{}", held.text);
        Ok(())
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("fleet.list");
        let written = "invitation = []\n";
        fs::write(&file, written)?;
        let refused = Held::open(&file)?.invite(&invitation(FAR)?);
        assert!(refused.is_err_and(|why| why.to_string().contains("[[invitation]]")));
        assert_eq!(fs::read_to_string(&file)?, written);
        fs::write(&file, "[[machine]]\nid = 1\n")?;
        assert!(Held::open(&file).is_err());
        Ok(())
    }

    #[test]
    fn a_moment_says_where() {
        let list = |until: &str| {
            List::parse(&format!(
                "[[invitation]]\nkey = \"{}\"\nuntil = {until}\n",
                key()
            ))
        };
        assert!(list("2026-11-26T10:00:00Z").is_ok());
        assert!(list("2026-11-26T10:00:00+01:00").is_ok());
        for wrong in ["2026-11-26T10:00:00", "2026-11-26", "10:00:00", "\"soon\""] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }
}
