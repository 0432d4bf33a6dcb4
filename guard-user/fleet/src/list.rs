//! Who is in a fleet: a file that people edit, and that invited machines are written into.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::Deserialize;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::subjects::{Group, Machine, NatsKey};

/// A list is shorter.
pub(crate) const LONGEST: u64 = 16 * 1024 * 1024;
/// How often a list is tried that another holds, and the pause between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Machines and people, and who may still become one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct List {
    pub(crate) machine: Vec<ListedMachine>,
    pub(crate) person: Vec<ListedPerson>,
    pub(crate) invitation: Vec<Invitation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedMachine {
    pub(crate) id: Machine,
    pub(crate) key: NatsKey,
    #[serde(default)]
    pub(crate) group: Group,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedPerson {
    pub(crate) key: NatsKey,
    pub(crate) groups: Vec<Group>,
    /// Whether they bring policies, which others may have signed.
    #[serde(default)]
    pub(crate) policies: bool,
    /// Whether that is a console: it hears who may answer, and says no and closes holes for them without a signature.
    #[serde(default)]
    pub(crate) console: bool,
    /// Whether they may read the audit logs of machines.
    #[serde(default)]
    pub(crate) log: bool,
}

/// One machine may join: the one that has the other half of the key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    pub(crate) key: NatsKey,
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
            ensure!(
                !(one.console && one.policies),
                "{} is a console, which brings no policies: use another key for them",
                one.key
            );
        }
        Ok(list)
    }

    /// The machines that such a file lists; without one none.
    ///
    /// # Errors
    ///
    /// That it cannot be read, or lists something else.
    pub(crate) fn machines_in(file: Option<&Path>) -> Result<Vec<ListedMachine>> {
        let Some(file) = file else {
            return Ok(Vec::new());
        };
        let list = Self::parse(&read_plain(file, LONGEST)?);
        let list = list.with_context(|| format!("{} is wrong", file.display()))?;
        Ok(list.machine)
    }
}

/// The file, which nobody else of this program changes meanwhile.
#[derive(Debug)]
pub(crate) struct LockedList {
    path: PathBuf,
    text: String,
    pub(crate) list: List,
    _lock: File,
}

impl LockedList {
    /// Reads it, where nobody else has it.
    ///
    /// # Errors
    ///
    /// That it cannot be read, lists something else, or somebody else has it for long.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let text = read_plain(path, LONGEST)?;
        let list = List::parse(&text).with_context(|| format!("{} is wrong", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            text,
            list,
            _lock: lock,
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
    pub(crate) fn admit(self, invitation: &NatsKey, machine: &ListedMachine) -> Result<()> {
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

    /// Takes a machine out, and with it the invitations that are for it alone.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub(crate) fn remove(self, machine: &Machine) -> Result<()> {
        let id = machine.to_string();
        let is_its = |table: &Table| table.get("id").and_then(Item::as_str) == Some(&*id);
        self.change(|document| {
            for name in ["machine", "invitation"] {
                tables(document, name)?.retain(|table| !is_its(table));
            }
            Ok(())
        })
    }

    /// Takes out the invitations whose time is over: a clock that is set back has none of them count again.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub(crate) fn drop_ended(self) -> Result<()> {
        self.change(|_| Ok(()))
    }

    fn change(self, change: impl FnOnce(&mut DocumentMut) -> Result<()>) -> Result<()> {
        let mut document: DocumentMut = self.text.parse()?;
        change(&mut document)?;
        let invitations = tables(&mut document, "invitation")?;
        invitations.retain(|one| !is_over(one, Timestamp::now()));
        let text = document.to_string();
        List::parse(&text).with_context(|| format!("{} would be wrong", self.path.display()))?;
        replace(&self.path, &text, Some(&self.text))
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

/// Whoever changes a list holds this one, which is its owner's alone: others could hold it for ever.
fn lock(list: &Path) -> Result<File> {
    let name = list.file_name().context("the list has no name")?;
    let path = list.with_file_name(format!(".{}.lock", name.to_string_lossy()));
    let wrong = || format!("cannot hold {}", path.display());
    let mut how = File::options();
    let plain = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let how = how
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(plain);
    let lock = how.open(&path).with_context(wrong)?;
    let (owner, found) = (
        fs::symlink_metadata(list).with_context(|| format!("cannot read {}", list.display()))?,
        lock.metadata()?,
    );
    ensure!(found.is_file(), "{}: it is no file", wrong());
    if (owner.uid(), owner.gid()) != (found.uid(), found.gid()) {
        fchown(&lock, Some(owner.uid()), Some(owner.gid())).with_context(wrong)?;
    }
    for _ in 0..TRIES {
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(lock);
        }
        thread::sleep(PAUSE);
    }
    bail!("{}: another has it", wrong())
}

/// Reads a file that is one, and no link to one: its directory may be another user's.
///
/// # Errors
///
/// That it is none, is too long, or cannot be read.
pub(crate) fn read_plain(path: &Path, longest: u64) -> Result<String> {
    let wrong = || format!("cannot read {}", path.display());
    let plain = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(plain).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            anyhow!("{} is a link: name the file itself", path.display())
        }
        _ => anyhow!("{}: {error}", wrong()),
    })?;
    let found = file.metadata().with_context(wrong)?;
    ensure!(
        found.is_file() && found.len() <= longest,
        "{}: it is no file, or has more than {longest} bytes",
        wrong()
    );
    let mut text = String::new();
    file.take(longest)
        .read_to_string(&mut text)
        .with_context(wrong)?;
    Ok(text)
}

/// Writes a file whole or not at all, and lets it be whose it was; only where it still has the text `old`, if one is given.
///
/// # Errors
///
/// That it cannot be written, and is as it was.
pub(crate) fn replace(path: &Path, text: &str, old: Option<&str>) -> Result<()> {
    let wrong = || format!("cannot write {}", path.display());
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let opened = File::open(dir).with_context(wrong)?;
    let mut new = tempfile::NamedTempFile::new_in(dir).with_context(wrong)?;
    new.write_all(text.as_bytes()).with_context(wrong)?;
    let file = new.as_file();
    if let Ok(old) = fs::symlink_metadata(path) {
        ensure!(old.is_file(), "{}: it is no file, or a link", wrong());
        let mode = fs::Permissions::from_mode(old.mode() & 0o666);
        file.set_permissions(mode).with_context(wrong)?;
        let made = file.metadata().with_context(wrong)?;
        if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid())).with_context(wrong)?;
        }
    } else {
        // Public keys: the server's user is to read it.
        let readable = fs::Permissions::from_mode(0o644);
        file.set_permissions(readable).with_context(wrong)?;
    }
    file.sync_all().with_context(wrong)?;
    if let Some(old) = old {
        let now = read_plain(path, LONGEST)?;
        ensure!(now == old, "{}: it was changed meanwhile", wrong());
    }
    new.persist(path).with_context(wrong)?;
    // It is written: that it may not outlive a power cut changes nothing of that.
    if let Err(error) = opened.sync_all() {
        tracing::warn!(%error, "{} may be lost with the power", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::*;

    fn key() -> NatsKey {
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
        LockedList::open(&file)?.invite(&one)?;
        LockedList::open(&file)?.invite(&invitation("2000-01-01T00:00:00Z")?)?;
        LockedList::open(&file)?.invite(&invitation(FAR)?)?;
        let held = LockedList::open(&file)?;
        assert_eq!(held.list.invitation[0], one);
        let machine = ListedMachine {
            id: "m-0123456789abcdef0123"
                .parse()
                .map_err(|why: String| anyhow!(why))?,
            key: key(),
            group: one.group.clone(),
        };
        held.admit(&one.key, &machine)?;
        let held = LockedList::open(&file)?;
        assert_eq!(held.list.machine, [machine]);
        assert_eq!(held.list.invitation.len(), 1);
        assert!(held.text.starts_with(&written), "{}", held.text);
        Ok(())
    }

    #[test]
    fn what_is_over_is_taken_out_and_all_else_stays() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("fleet.list");
        let (person, over) = (key(), invitation("2000-01-01T00:00:00Z")?);
        let written = format!(
            "# ours\n[[person]]\nkey = \"{person}\"\ngroups = [\"ci\"]\n\n[[invitation]]\nkey = \"{}\"\nuntil = {}\n",
            over.key, over.until.0
        );
        fs::write(&file, &written)?;
        LockedList::open(&file)?.drop_ended()?;
        let left = fs::read_to_string(&file)?;
        assert!(
            written.starts_with(&left) && left.contains("groups"),
            "{left}"
        );
        assert!(!left.contains("invitation"), "{left}");
        Ok(())
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("fleet.list");
        let written = "invitation = []\n";
        fs::write(&file, written)?;
        let refused = LockedList::open(&file)?.invite(&invitation(FAR)?);
        assert!(refused.is_err_and(|why| why.to_string().contains("[[invitation]]")));
        assert_eq!(fs::read_to_string(&file)?, written);
        fs::write(&file, "[[machine]]\nid = 1\n")?;
        assert!(LockedList::open(&file).is_err());
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
