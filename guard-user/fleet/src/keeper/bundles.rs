//! The last bundle of policies of each group, for machines that come later. A server keeps none.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use guard_signed::{Bundle, Document as _, SignedBundle, Signers, bundle::Endorsed};
use tokio::time::Instant;

use crate::{
    link::NatsLink,
    list::replace,
    messages,
    subjects::{Bundles, Group},
};

/// One that is wanted by many at once is published so often, and a long one more rarely: all machines of the group hear it, and one
/// of them, which says a word each second, has each be sent so many bytes a second at most.
const EVERY: Duration = Duration::from_secs(1);
const BYTES_A_SECOND: usize = 4096;

const DAMAGED: &str = "what is kept of a group is damaged, and might be later than this: remove it, and push the last bundle";

/// Owns the directory.
#[derive(Debug)]
pub(super) struct KeptBundles {
    dir: PathBuf,
    signers: PathBuf,
    /// How many of them have to have signed.
    needed: usize,
    told: HashMap<Group, ToldBundle>,
}

/// When a group's was published.
#[derive(Debug)]
struct ToldBundle {
    /// When it may be again.
    next: Instant,
    /// Whether somebody has wanted it since.
    is_wanted: bool,
}

/// Which of two bundles takes the other's place: of one serial, that which more people have signed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct BundleRank {
    serial: u64,
    /// How many have signed it who may.
    signers: usize,
}

impl KeptBundles {
    /// Keeps bundles in `dir` that `signers` have signed.
    ///
    /// # Errors
    ///
    /// That it cannot be used.
    pub(super) fn new(dir: &Path, signers: &Path, needed: usize) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot use {}", dir.display()))?;
        let kept = Self {
            dir: dir.to_owned(),
            signers: signers.to_owned(),
            needed,
            told: HashMap::new(),
        };
        kept.signers()?;
        Ok(kept)
    }

    fn signers(&self) -> Result<Signers> {
        let file = &self.signers;
        let read = fs::read_to_string(file).map_err(anyhow::Error::from);
        let signers = read.and_then(|text| Signers::parse(&text).map_err(anyhow::Error::msg));
        let signers = signers.with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(!signers.is_empty(), "{} names nobody", file.display());
        Ok(signers)
    }

    fn file(&self, group: &Group) -> PathBuf {
        self.dir.join(format!("{group}.bundle"))
    }

    fn verified(&self, signed: &SignedBundle) -> Result<Endorsed> {
        Ok(signed.verify(&self.signers()?, self.needed)?)
    }

    /// Keeps what was published, if somebody has signed it who may, and it is later than what is kept.
    ///
    /// # Errors
    ///
    /// Why it is not kept.
    pub(super) fn take(&self, group: &Group, payload: &[u8]) -> Result<()> {
        let signed: SignedBundle = messages::read(payload).context("it is no bundle")?;
        let Endorsed { bundle: new, by } = self.verified(&signed)?;
        let is_its = new.groups.iter().any(|one| *one == group.to_string());
        ensure!(is_its, "it is for other groups");
        let known = self.kept(group)?.map(|kept| self.rank_of(&kept));
        let known = known.transpose()?;
        let offered = BundleRank {
            serial: new.serial,
            signers: by.len(),
        };
        if known.is_some_and(|known| known >= offered) {
            return Ok(());
        }
        replace(&self.file(group), &String::from_utf8_lossy(payload), None)?;
        tracing::info!(%group, serial = new.serial, "keeps its policies");
        Ok(())
    }

    /// What it counts against another. Where too few may any more, nothing older takes its place all the same:
    /// a machine that comes later would be given that.
    fn rank_of(&self, kept: &SignedBundle) -> Result<BundleRank> {
        let signers = self.verified(kept).map_or(0, |kept| kept.by.len());
        let bundle = Bundle::from_bytes(kept.bundle.as_bytes());
        Ok(BundleRank {
            serial: bundle.context(DAMAGED)?.serial,
            signers,
        })
    }

    fn kept(&self, group: &Group) -> Result<Option<SignedBundle>> {
        let file = self.file(group);
        match fs::read(&file) {
            Ok(bytes) => {
                let kept = messages::read(&bytes);
                let kept = kept.context(DAMAGED);
                Ok(Some(kept.with_context(|| {
                    format!("cannot use {}", file.display())
                })?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Publishes a group's for whoever wants it, now or once it may be published again.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub(super) async fn tell(&mut self, link: &NatsLink, group: &Group) -> Result<()> {
        let now = Instant::now();
        let told = self.told.get_mut(group);
        if let Some(told) = told.filter(|told| now < told.next) {
            told.is_wanted = true;
            return Ok(());
        }
        let Some(kept) = self.kept(group)? else {
            return Ok(());
        };
        let bundle = messages::bytes(&kept);
        let told = ToldBundle {
            next: now + pause(bundle.len()),
            is_wanted: false,
        };
        self.told.insert(group.clone(), told);
        link.publish(Bundles::Policies.of(group), bundle).await;
        Ok(())
    }

    /// When the next is published that was wanted too soon after the last time.
    pub(super) fn due(&self) -> Option<Instant> {
        let wanted = self.told.values().filter(|told| told.is_wanted);
        wanted.map(|told| told.next).min()
    }

    /// The groups whose is due.
    pub(super) fn take_due(&mut self) -> Vec<Group> {
        let now = Instant::now();
        // Also where it cannot be read: it is not tried again until somebody wants it.
        let is_due =
            |told: &mut ToldBundle| told.next <= now && std::mem::take(&mut told.is_wanted);
        let due = self.told.iter_mut();
        let due = due.filter_map(|(group, told)| is_due(told).then(|| group.clone()));
        due.collect()
    }
}

/// How long one of so many bytes is not published again.
fn pause(bytes: usize) -> Duration {
    let millis = bytes.saturating_mul(1000) / BYTES_A_SECOND;
    EVERY.max(Duration::from_millis(millis as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LONGEST;

    #[test]
    fn a_long_bundle_is_published_more_rarely() {
        assert_eq!(pause(0), EVERY);
        assert_eq!(pause(BYTES_A_SECOND), EVERY);
        assert_eq!(pause(10 * BYTES_A_SECOND), Duration::from_secs(10));
        // Machines whose policies hold for some minutes hear it in time all the same.
        assert!(pause(LONGEST) < Duration::from_secs(60));
    }

    #[test]
    fn whoever_wants_one_too_soon_is_told_later() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let signers = dir.path().join("signers");
        fs::write(
            &signers,
            "alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKs3ULRy3vxDYvU4qRrWRZLKLbBGZBtO7Y7ZkYqgB8jX\n",
        )?;
        let mut kept = KeptBundles::new(dir.path(), &signers, 1)?;
        assert_eq!(kept.due(), None);
        let next = Instant::now() + Duration::from_secs(9);
        for (group, is_wanted) in [("ci", false), ("lab", true)] {
            let group: Group = group.parse().map_err(anyhow::Error::msg)?;
            kept.told.insert(group, ToldBundle { next, is_wanted });
        }
        assert_eq!(kept.due(), Some(next));
        assert!(kept.take_due().is_empty(), "not yet");
        for told in kept.told.values_mut() {
            told.next = Instant::now();
        }
        let due: Vec<_> = kept.take_due().iter().map(Group::to_string).collect();
        assert_eq!(due, ["lab"]);
        assert_eq!(kept.due(), None);
        Ok(())
    }
}
