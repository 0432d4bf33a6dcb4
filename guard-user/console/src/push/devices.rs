//! Browsers that are notified, each a file: of whom it is, and where and with what it is notified.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use guard_proto::approvers::Approvers;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::seal::{AUTH, POINT};
use crate::{files::Identity, notify::replace, scope::Scope};

/// Devices of one approver, and of all.
const OF_ONE: usize = 8;
pub(super) const OF_ALL: usize = 64;

/// A browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    /// Who had it added. It is notified while one of these keys is enrolled.
    pub(super) identity: Identity,
    pub(super) endpoint: String,
    /// Its key and its secret, as browsers have them.
    pub(super) p256dh: String,
    pub(super) auth: String,
    /// "Firefox on Android"
    pub(crate) name: String,
    pub(crate) since: Timestamp,
}

impl Device {
    /// As files and pages have it: only who knows the URL can say it.
    pub(crate) fn id(&self) -> String {
        id_of(&self.endpoint)
    }

    /// Its key and its secret.
    ///
    /// # Errors
    ///
    /// That they are none.
    pub(super) fn keys(&self) -> Result<DeviceKeys> {
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes());
        let (key, auth) = (bytes(&self.p256dh)?, bytes(&self.auth)?);
        ensure!(
            key.len() == POINT && auth.len() == AUTH,
            "these are no keys of a browser"
        );
        Ok(DeviceKeys { key, auth })
    }
}

/// What is sent to a browser is sealed with.
pub(super) struct DeviceKeys {
    pub(super) key: Vec<u8>,
    /// Its secret.
    pub(super) auth: Vec<u8>,
}

/// As files and pages have the one at that endpoint.
pub(super) fn id_of(endpoint: &str) -> String {
    let named = format!("guard console device\n{endpoint}");
    BASE64URL_NOPAD.encode(digest(&SHA256, named.as_bytes()).as_ref())
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    dir: PathBuf,
}

impl Devices {
    /// Makes what is missing of their directory. Gives it, and that of all that is kept for telling.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn open(state: &Path) -> Result<(Self, PathBuf)> {
        let of_all = state.join("push");
        let there = Self::at(state);
        let dir = &there.dir;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("cannot make {}", dir.display()))?;
        Ok((there, of_all))
    }

    /// Those that are kept, if any ever were: nothing is made.
    pub(crate) fn at(state: &Path) -> Self {
        Self {
            dir: state.join("push").join("devices"),
        }
    }

    /// The oldest first. What cannot be understood is none.
    pub(crate) fn all(&self) -> Vec<Device> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        // One that is being written has another name.
        let files = files.filter(|file| is_id(&file.file_name().to_string_lossy()));
        let read = files.filter_map(|file| fs::read(file.path()).ok());
        let read = read.filter_map(|text| serde_json::from_slice::<Device>(&text).ok());
        let mut all: Vec<_> = read.collect();
        all.sort_by_key(|one| one.since);
        all
    }

    /// Those of whom is enrolled still; the others are removed.
    pub(crate) fn enrolled(&self, known: &Approvers) -> Vec<Device> {
        let is_enrolled = |one: &Device| Scope::of(&one.identity, known).is_some();
        let (enrolled, gone): (Vec<_>, Vec<_>) = self.all().into_iter().partition(is_enrolled);
        for one in gone {
            tracing::info!(
                name = one.identity.name,
                "a device is told no more: its key is enrolled no more"
            );
            self.remove(&one.id());
        }
        enrolled
    }

    /// Adds one, in place of what the same browser was before. Another's stays that: who has learned its URL takes it from nobody.
    ///
    /// # Errors
    ///
    /// That it is another's, there are too many, its keys are none, or it cannot be kept.
    pub(super) fn add(&self, device: &Device) -> Result<()> {
        device.keys()?;
        let id = device.id();
        let (same, others): (Vec<_>, Vec<_>) =
            self.all().into_iter().partition(|one| one.id() == id);
        let is_own = |one: &Device| one.identity.name == device.identity.name;
        ensure!(
            same.iter().all(is_own),
            "this browser is told what another approver is asked: who that is has to remove it first"
        );
        let own = others.iter().filter(|one| is_own(one));
        ensure!(
            own.count() < OF_ONE && others.len() < OF_ALL,
            "too many devices are told already: remove one"
        );
        let text = serde_json::to_vec(device)?;
        replace(&self.dir.join(id), &text)
            .context("the device cannot be kept: see the console's log")
    }

    /// The same in place of another of the same approver's: a browser has another subscription. One that was removed comes not back so.
    ///
    /// # Errors
    ///
    /// As for [`Self::add`], and that there is no such other.
    pub(super) fn replace(&self, before: &str, device: &Device) -> Result<()> {
        let is_before =
            |one: &Device| one.id() == before && one.identity.name == device.identity.name;
        let before = self.all().into_iter().find(is_before);
        let before = before.context("what it was before is told nothing any more")?;
        device.keys()?;
        // There may be room for no more.
        self.remove(&before.id());
        self.add(device)
    }

    /// Removes a device, if it is there.
    pub(super) fn remove(&self, id: &str) {
        if let Err(error) = self.try_remove(id) {
            tracing::warn!(%error, "a device cannot be removed");
        }
    }

    /// Removes all of those who are meant.
    ///
    /// # Errors
    ///
    /// That one of them cannot be removed, or nobody can say whose one is; all others are.
    pub(crate) fn remove_all(&self, is_meant: impl Fn(&Identity) -> bool) -> io::Result<()> {
        let files = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files?,
        };
        let mut removed = Ok(());
        for file in files {
            let id = file.map(|file| file.file_name().to_string_lossy().into_owned());
            removed = removed.and(id.and_then(|id| self.remove_if(&id, &is_meant)));
        }
        removed
    }

    fn remove_if(&self, id: &str, is_meant: impl Fn(&Identity) -> bool) -> io::Result<()> {
        if !is_id(id) {
            return Ok(());
        }
        let text = match fs::read(self.dir.join(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text?,
        };
        // What cannot be understood is none.
        match serde_json::from_slice::<Device>(&text) {
            Ok(one) if is_meant(&one.identity) => self.try_remove(id),
            _ => Ok(()),
        }
    }

    fn try_remove(&self, id: &str) -> io::Result<()> {
        if !is_id(id) {
            return Ok(());
        }
        match fs::remove_file(self.dir.join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether that is a hash: no other file has such a name.
fn is_id(text: &str) -> bool {
    text.len() == 43 && BASE64URL_NOPAD.decode(text.as_bytes()).is_ok()
}

/// What a browser calls itself, in two words.
pub(super) fn named(agent: &str) -> String {
    let first = |all: &[(&str, &'static str)], none| {
        let found = all.iter().find(|(part, _)| agent.contains(part));
        found.map_or(none, |(_, name)| *name)
    };
    let browsers = [
        ("Firefox/", "Firefox"),
        ("Edg", "Edge"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS", "Mac"),
        ("Windows", "Windows"),
        ("Linux", "Linux"),
    ];
    format!(
        "{} on {}",
        first(&browsers, "A browser"),
        first(&systems, "a device")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::tests::person;
    use std::os::unix::fs::PermissionsExt as _;

    fn device(of: &str, number: usize) -> Device {
        Device {
            identity: Identity {
                name: of.to_owned(),
                keys: vec![format!("SHA256:{of}")],
                by_key: false,
            },
            endpoint: format!("https://push.example.com/{of}/{number}"),
            p256dh: BASE64URL_NOPAD.encode(&[4; POINT]),
            auth: BASE64URL_NOPAD.encode(&[7; AUTH]),
            name: "x".to_owned(),
            since: Timestamp::now(),
        }
    }

    #[test]
    fn there_are_only_so_many_for_their_user_alone_and_they_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (devices, of_all) = Devices::open(dir.path()).unwrap();
        for number in 0..OF_ONE {
            devices.add(&device("alice", number)).unwrap();
        }
        assert!(devices.add(&device("alice", OF_ONE)).is_err());
        devices.add(&device("alice", 0)).expect("the same again");
        devices.add(&device("bob", 0)).expect("another's");
        let taken = Device {
            endpoint: device("alice", 0).endpoint,
            ..device("bob", 1)
        };
        assert!(devices.add(&taken).is_err());
        let all = Devices::open(dir.path()).unwrap().0.all();
        assert_eq!(all.len(), OF_ONE + 1);
        for (path, mode) in [
            (of_all.join("devices").join(all[0].id()), 0o600),
            (of_all.join("devices"), 0o700),
            (of_all, 0o700),
        ] {
            let now = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(now & 0o777, mode);
        }
        for id in ["", "..", "../vapid.key", "x", &"x".repeat(43)] {
            devices.remove(id);
        }
        assert_eq!(devices.all().len(), OF_ONE + 1);
        devices.remove(&device("alice", 3).id());
        assert_eq!(devices.all().len(), OF_ONE);
        devices
            .add(&device("alice", OF_ONE))
            .expect("there is room");
        for number in 0..OF_ALL {
            let _ = devices.add(&device(&format!("a{number}"), 0));
        }
        assert_eq!(devices.all().len(), OF_ALL);
    }

    #[test]
    fn a_browsers_next_subscription_takes_the_place_of_the_one_before_and_of_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (devices, _) = Devices::open(dir.path()).unwrap();
        for number in 0..OF_ONE {
            devices.add(&device("alice", number)).unwrap();
        }
        devices.add(&device("bob", 0)).unwrap();
        let next = device("alice", OF_ONE);
        for before in [device("bob", 0), device("alice", OF_ONE + 1)] {
            assert!(devices.replace(&before.id(), &next).is_err());
        }
        let broken = Device {
            auth: String::new(),
            ..next.clone()
        };
        let before = device("alice", 0).id();
        assert!(devices.replace(&before, &broken).is_err());
        assert_eq!(devices.all().len(), OF_ONE + 1, "nothing has changed");
        devices.replace(&before, &next).unwrap();
        let now: Vec<_> = devices.all().iter().map(Device::id).collect();
        assert!(now.contains(&next.id()) && !now.contains(&before));
        assert_eq!(now.len(), OF_ONE + 1);
        assert!(devices.replace(&before, &next).is_err(), "once");
    }

    #[test]
    fn no_keys_no_device() {
        let dir = tempfile::tempdir().unwrap();
        let (devices, _) = Devices::open(dir.path()).unwrap();
        let good = device("alice", 0);
        for (p256dh, auth) in [
            ("", &*good.auth),
            (&*good.p256dh, ""),
            (&good.auth, &good.p256dh),
            (&good.p256dh, "!"),
        ] {
            let wrong = Device {
                p256dh: p256dh.to_owned(),
                auth: auth.to_owned(),
                ..good.clone()
            };
            assert!(devices.add(&wrong).is_err(), "{p256dh} {auth}");
        }
        let padded = format!("{}=", good.p256dh);
        devices
            .add(&Device {
                p256dh: padded,
                ..good
            })
            .unwrap();
    }

    #[test]
    fn whose_key_is_removed_is_told_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (devices, _) = Devices::open(dir.path()).unwrap();
        devices.add(&device("alice", 0)).unwrap();
        devices.add(&device("bob", 0)).unwrap();
        // bob has another key now.
        let known = Approvers {
            approvers: vec![
                person("alice", &["dev"], "SHA256:alice"),
                person("bob", &["dev"], "SHA256:later"),
            ],
            ..Approvers::default()
        };
        let left = devices.enrolled(&known);
        assert_eq!(left, devices.all());
        assert_eq!((left.len(), &*left[0].identity.name), (1, "alice"));
    }

    #[test]
    fn those_of_whom_is_meant_are_removed_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let none = Devices::at(dir.path());
        none.remove_all(|_| true).unwrap();
        assert!(!dir.path().join("push").exists(), "nothing is made");
        let (devices, _) = Devices::open(dir.path()).unwrap();
        for (of, number) in [("alice", 0), ("alice", 1), ("bob", 0)] {
            devices.add(&device(of, number)).unwrap();
        }
        devices.remove_all(|one| one.goes_by("carol")).unwrap();
        assert_eq!(devices.all().len(), 3);
        devices
            .remove_all(|one| one.goes_by("SHA256:alice"))
            .unwrap();
        let left: Vec<_> = devices
            .all()
            .into_iter()
            .map(|one| one.identity.name)
            .collect();
        assert_eq!(left, ["bob"]);
        // One that cannot be read, also by root.
        let unread = dir.path().join("push/devices").join("A".repeat(43));
        fs::create_dir(unread).unwrap();
        assert!(devices.remove_all(|_| true).is_err());
        assert!(devices.all().is_empty(), "the others are gone");
    }

    #[test]
    fn a_browser_has_a_name() {
        for (agent, name) in [
            (
                "Mozilla/5.0 (Android 14; Mobile; rv:125.0) Gecko/125.0 Firefox/125.0",
                "Firefox on Android",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
                "Chrome on Linux",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605 Version/17.4 Mobile Safari/604.1",
                "Safari on iPhone",
            ),
            ("<b>curl", "A browser on a device"),
        ] {
            assert_eq!(named(agent), name);
        }
    }
}
