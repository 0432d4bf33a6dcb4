//! Policies of a fleet: signed elsewhere, brought by whatever carries them, and in force only as a whole.
//!
//! `offering.rs` takes a bundle: signatures, group and serial first, then each policy is compiled, then it is on the disk, then in
//! the kernel, and only what is read back from there is said to be in force. `around.rs` lays the base around sessions. What was
//! taken once stands without the network, and is verified again when guardd starts.

mod around;
pub mod offering;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use guard_common::BootTime;
use guard_proto::fleet::FleetPolicies;
use guard_signed::{
    Bundle, SignedBundle, Signers,
    bundle::{Endorsed, LONGEST},
};
use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    config,
    control::failure::CallError,
    policies::library::PolicyText,
    record::kept::{Kept, KeptFile},
};

/// The text of the base once the fleet has been silent for too long.
const SILENT: &str = "# Nobody has offered the fleet's policies for longer than the settings let them last.\n\
                      version = 1\nname = \"fleet-is-silent\"\ndefault = \"deny\"\n";
/// What is heard of the same bundle again is written down so often, in seconds.
const NOTED: i64 = 600;
/// How far ahead of the clock the last offer may have been.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// A record of what was refused is written no sooner after another, in nanoseconds.
const TOLD: u64 = 10_000_000_000;
/// Bytes of the file with the signers at most.
const MAX_SIGNERS: u64 = 256 * 1024;

/// What was taken last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptBundle {
    signed: Option<SignedBundle>,
    heard_at: Option<Timestamp>,
}

impl Kept for KeptBundle {
    const WITHOUT: &'static str = "no session starts: the fleet's policies are not known";

    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Owns `fleet.json`, and knows what of it is in force.
#[derive(Debug)]
pub struct Fleet {
    settings: config::Fleet,
    file: KeptFile<KeptBundle>,
    /// When it was last offered. On the disk it may be an older time.
    heard_at: Option<Timestamp>,
    /// What was verified; none: nothing was taken yet.
    verified: Option<Endorsed>,
    /// Why what was kept is not in force. Nothing starts then, and what stands stands.
    broken: Option<String>,
    /// What was wrong with what was offered last, and the hash of its bytes.
    refused: Option<(String, String)>,
    /// Why the base is not around all that it should be around.
    unlaid: Option<String>,
    /// When a record was last written of what was refused: whoever may offer fills no log.
    told_at: Option<BootTime>,
    /// Whether the base is [`SILENT`].
    is_silent: bool,
}

/// What has to be as it was where a bundle stays out.
#[derive(Clone, Debug)]
struct Before {
    /// None: the file could not be read.
    kept: Option<KeptBundle>,
    heard_at: Option<Timestamp>,
    verified: Option<Endorsed>,
    is_silent: bool,
}

impl Fleet {
    /// With what is on the disk, verified again.
    #[must_use]
    pub fn new(file: PathBuf, settings: config::Fleet) -> Self {
        let file: KeptFile<KeptBundle> = KeptFile::read(file);
        let mut fleet = Self {
            heard_at: file.known().heard_at,
            file,
            settings,
            verified: None,
            broken: None,
            refused: None,
            unlaid: None,
            told_at: None,
            is_silent: false,
        };
        if !fleet.is_named() {
            return fleet;
        }
        let kept = match (fleet.file.is_whole(), &fleet.file.known().signed) {
            (Err(unread), _) => Err(unread.to_string()),
            (Ok(()), None) => Ok(None),
            (Ok(()), Some(signed)) => verify(&fleet.settings, signed).map(Some),
        };
        match kept {
            Ok(verified) => fleet.verified = verified,
            Err(why) => {
                tracing::error!(
                    why,
                    "no session starts until the fleet's policies are offered anew"
                );
                fleet.broken = Some(why);
            }
        }
        fleet.is_silent = fleet.is_overdue();
        fleet
    }

    /// Whether the settings name a group.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.settings.group.is_some()
    }

    /// Why what was kept is not in force.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn before(&self) -> Before {
        let whole = self.file.is_whole();
        Before {
            kept: whole.ok().map(|()| self.file.known().clone()),
            heard_at: self.heard_at,
            verified: self.verified.clone(),
            is_silent: self.is_silent,
        }
    }

    /// What was before is again, on the disk too: but for a file that could not be read, in whose place the bundle stays that those
    /// have signed who may.
    fn restore(&mut self, before: Before) {
        if let Some(kept) = before.kept
            && kept != *self.file.known()
            && let Err(error) = self.file.replace(kept)
        {
            tracing::error!(%error, "the bundle that is not in force is still on the disk");
        }
        self.heard_at = before.heard_at;
        self.verified = before.verified;
        self.is_silent = before.is_silent;
    }

    fn bundle(&self) -> Option<&Bundle> {
        self.verified.as_ref().map(|verified| &verified.bundle)
    }

    /// The fleet's policies, by name.
    #[must_use]
    pub fn policies(&self) -> BTreeMap<String, String> {
        self.bundle()
            .map_or_else(BTreeMap::new, |bundle| bundle.policies.clone())
    }

    /// The policy that lies around each session.
    ///
    /// # Errors
    ///
    /// Where it is not known whether one does: then no session may start.
    pub fn base(&self) -> Result<Option<PolicyText>, CallError> {
        if let Some(why) = &self.broken {
            return Err(CallError::failed(
                "no session starts",
                format!("the fleet's policies cannot be verified any more: {why}"),
                format!(
                    "have them signed and offered anew; or leave the fleet: take [fleet] out of guardd.toml, remove {}, and restart guardd",
                    self.file.file().display()
                ),
            ));
        }
        if self.is_silent {
            return Ok(Some(
                PolicyText::of_fleet("fleet-is-silent", SILENT).around(),
            ));
        }
        Ok(self.bundle().and_then(base_of))
    }

    /// Whether nobody has offered it for longer than the settings say. A time that is not known, or has not come yet, is none: clocks
    /// are set.
    fn is_overdue(&self) -> bool {
        let (Some(lasts), Some(_)) = (&self.settings.lasts, &self.verified) else {
            return false;
        };
        let Some(heard) = self.heard_at else {
            return true;
        };
        let silent = Timestamp::now().duration_since(heard);
        let lasts = SignedDuration::try_from(lasts.0).unwrap_or(SignedDuration::MAX);
        silent > lasts || silent < -AHEAD
    }

    /// Whether [`Self::base`] is another one now because of the time alone.
    pub fn turns_silent(&mut self) -> bool {
        let is_now = self.is_overdue();
        std::mem::replace(&mut self.is_silent, is_now) != is_now
    }

    /// What the machine says of it; none: it is in no fleet.
    #[must_use]
    pub fn shown(&self) -> Option<FleetPolicies> {
        let group = self.settings.group.clone()?;
        let silent = self.is_silent.then(|| {
            "it was not offered for longer than the settings let it last: all is denied".to_owned()
        });
        let bundle = self.bundle();
        Some(FleetPolicies {
            group,
            serial: bundle.map(|bundle| bundle.serial),
            base: bundle.and_then(|bundle| bundle.base.clone()),
            policies: self.policies().into_keys().collect(),
            by: self
                .verified
                .as_ref()
                .map_or_else(Vec::new, |one| one.by.clone()),
            heard_at: self.heard_at,
            bundle: self.kept_hash().filter(|_| self.verified.is_some()),
            refused: self.refused.as_ref().map(|(_, hash)| hash.clone()),
            problem: self
                .broken
                .clone()
                .or(self.unlaid.clone())
                .or(silent)
                .or(self.refused.as_ref().map(|(why, _)| why.clone())),
        })
    }

    fn kept_hash(&self) -> Option<String> {
        let kept = self.file.known().signed.as_ref()?;
        Some(Bundle::hash(&kept.bundle))
    }

    /// A warning for `guard status`.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let problem = self.shown()?.problem?;
        Some(format!("policies of the fleet: {problem}"))
    }

    /// What is kept once that is in force.
    fn kept(&mut self, signed: &SignedBundle) -> io::Result<()> {
        let now = Some(Timestamp::now());
        self.file.replace(KeptBundle {
            signed: Some(signed.clone()),
            heard_at: now,
        })?;
        self.heard_at = now;
        Ok(())
    }

    /// The same bytes were offered again, perhaps with other signatures: those count from now on, so that keys can change.
    fn heard(&mut self, signed: &SignedBundle, verified: Endorsed) {
        let mut taken = self.file.known().clone();
        let now = Timestamp::now();
        self.heard_at = Some(now);
        let noted = self.settings.lasts.as_ref().map_or(NOTED, |lasts| {
            i64::try_from(lasts.0.as_secs() / 4)
                .unwrap_or(NOTED)
                .min(NOTED)
        });
        let is_due = taken
            .heard_at
            .is_none_or(|at| (now.as_second() - at.as_second()).abs() >= noted);
        if !is_due && self.verified.as_ref() == Some(&verified) {
            return;
        }
        (taken.signed, taken.heard_at) = (Some(signed.clone()), Some(now));
        match self.file.replace(taken) {
            Ok(()) => self.verified = Some(verified),
            Err(error) => {
                tracing::warn!(%error, "when the fleet's policies were last offered cannot be kept");
            }
        }
    }
}

/// The bundle, if enough of those have signed it who may, and this machine is in one of its groups. Reads a file, and may take long.
fn verify(settings: &config::Fleet, signed: &SignedBundle) -> Result<Endorsed, String> {
    let group = settings.group.as_deref().unwrap_or_default();
    let verified = signed
        .verify(&signers(settings)?, settings.signatures)
        .map_err(|refusal| refusal.to_string())?;
    match verified.bundle.groups.iter().any(|one| one == group) {
        true => Ok(verified),
        false => Err(format!("it is for other groups than {group}")),
    }
}

/// Those who may sign. A list that others may write, or put another one in place of, is nobody's.
fn signers(settings: &config::Fleet) -> Result<Signers, String> {
    let file = &settings.signers;
    let wrong = |why: String| format!("who may sign is not known: {}: {why}", file.display());
    let is_roots = |meta: &fs::Metadata| {
        // In a sticky directory nobody replaces root's file.
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        meta.uid() == 0 && (meta.mode() & 0o022 == 0 || sticky)
    };
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(file)
        .and_then(|opened| Ok((opened.metadata()?, opened)));
    let (meta, opened) = opened.map_err(|error| wrong(error.to_string()))?;
    let real = file
        .canonicalize()
        .map_err(|error| wrong(error.to_string()))?;
    let above = real.ancestors().skip(1).chain(file.ancestors().skip(1));
    let above = above.filter(|dir| *dir != Path::new(""));
    let mut above = above.map(|dir| fs::metadata(dir).is_ok_and(|meta| is_roots(&meta)));
    if !is_roots(&meta) || !above.all(|is_roots| is_roots) {
        return Err(wrong("it is not root's alone to write".to_owned()));
    }
    let mut text = String::new();
    let read = opened.take(MAX_SIGNERS + 1).read_to_string(&mut text);
    read.map_err(|error| wrong(error.to_string()))?;
    if !meta.is_file() || text.len() as u64 > MAX_SIGNERS {
        return Err(wrong(format!(
            "it is no file of {MAX_SIGNERS} bytes at most"
        )));
    }
    let signers = Signers::parse(&text).map_err(wrong)?;
    match signers.people() >= settings.signatures.max(1) {
        true => Ok(signers),
        false => Err(wrong(format!(
            "it names {} people, and {} have to sign",
            signers.people(),
            settings.signatures.max(1)
        ))),
    }
}

/// The base of a bundle.
fn base_of(bundle: &Bundle) -> Option<PolicyText> {
    let name = bundle.base.as_ref()?;
    let text = bundle.policies.get(name)?;
    Some(PolicyText::of_fleet(name, text).around())
}

/// Bytes of what is offered at most, with its signatures.
pub const MAX_OFFERED: usize = 2 * LONGEST;
