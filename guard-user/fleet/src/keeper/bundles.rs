//! The last bundle of policies of each group, for machines that come later. A server keeps none.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use guard_signed::{Bundle, Document as _, SignedBundle, Signers, bundle::Endorsed};

use crate::{
    link::NatsLink,
    list::replace,
    messages,
    subjects::{Bundles, Group},
};

/// One that is wanted by many at once is published so often.
const EVERY: Duration = Duration::from_secs(1);

const DAMAGED: &str = "what is kept of a group is damaged, and might be later than this: remove it, and push the last bundle";

/// Owns the directory.
#[derive(Debug)]
pub(super) struct KeptBundles {
    dir: PathBuf,
    signers: PathBuf,
    /// How many of them have to have signed.
    needed: usize,
    told: HashMap<Group, Instant>,
}

impl KeptBundles {
    /// In that directory, what those have signed.
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
        // Of one serial, that which more people have signed.
        let known = self.kept(group)?.map(|kept| self.standing(&kept));
        let known = known.transpose()?;
        if known.is_some_and(|known| known >= (new.serial, by.len())) {
            return Ok(());
        }
        replace(&self.file(group), &String::from_utf8_lossy(payload), None)?;
        tracing::info!(%group, serial = new.serial, "keeps its policies");
        Ok(())
    }

    /// Its serial, and how many have signed it who may. Where too few may any more, nothing older takes its place all the same:
    /// a machine that comes later would be given that.
    fn standing(&self, kept: &SignedBundle) -> Result<(u64, usize)> {
        let by = self.verified(kept).map_or(0, |kept| kept.by.len());
        let bundle = Bundle::from_bytes(kept.bundle.as_bytes());
        Ok((bundle.context(DAMAGED)?.serial, by))
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

    /// Publishes a group's for whoever wants it.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub(super) async fn tell(&mut self, link: &NatsLink, group: &Group) -> Result<()> {
        let told = self.told.get(group);
        if told.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        let Some(kept) = self.kept(group)? else {
            return Ok(());
        };
        self.told.insert(group.clone(), Instant::now());
        let subject = Bundles::Policies.of(group);
        link.publish(subject, messages::bytes(&kept)).await;
        Ok(())
    }
}
