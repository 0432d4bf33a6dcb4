//! Policies of a fleet: signed elsewhere, brought by whatever carries them, and in force only as a whole.
//!
//! `offering.rs` takes a bundle: signatures, group and serial first, then each policy is compiled, then it is on the disk, then in
//! the kernel, and only what is read back from there is said to be in force. `around.rs` lays the base around sessions. What was
//! taken once stands without the network, and is verified again when guardd starts.

mod around;
pub(crate) mod heard;
pub(crate) mod link;
pub(crate) mod offering;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use guard_common::BootTime;
use guard_proto::fleet::{FleetPolicies, FleetTexts};
use guard_signed::{
    Bundle, SignedBundle, Signers,
    bundle::{Endorsed, LONGEST},
};
use heard::{HeardAt, Uptime};
use jiff::{SignedDuration, Timestamp};
use link::CourierLink;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    config,
    control::failure::CallError,
    policies::library::PolicyText,
    record::kept::{FileState, KeptFile},
};

/// The text of the base once the fleet has been silent for too long. Its rule is there for its name and reason, which are shown with each refusal.
const SILENT: &str = "# Nobody has offered the fleet's policies for longer than the settings let them last.\n\
                      version = 1\nname = \"fleet-is-silent\"\ndefault = \"deny\"\n\
                      [[rule]]\nname = \"the fleet is silent\"\nto = [\"::/0\", \"0.0.0.0/0\"]\naction = \"deny\"\n\
                      reason = \"nobody has offered its policies for longer than `lasts` in guardd.toml; until somebody does \
                      (guard-fleet push BUNDLE, or sudo guard policy offer BUNDLE) all is denied\"\n";
/// What is heard of the same bundle again is written down so often, in seconds.
const NOTED: i64 = 600;
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
    /// The same by the clock of the boot that it was in; none: not known.
    #[serde(default)]
    heard_up: Option<Uptime>,
}

impl KeptBundle {
    fn heard(&self) -> Option<HeardAt> {
        let up = self.heard_up.clone();
        self.heard_at.map(|at| HeardAt { at, up })
    }

    fn set_heard(&mut self, now: &HeardAt) {
        (self.heard_at, self.heard_up) = (Some(now.at), now.up.clone());
    }
}

impl FileState for KeptBundle {
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
pub(crate) struct Fleet {
    settings: config::FleetTable,
    file: KeptFile<KeptBundle>,
    /// What the file should say, where it could not be written: it has a bundle that is not in force.
    owed: Option<KeptBundle>,
    /// When it was last offered. On the disk it may be an older time.
    heard: Option<HeardAt>,
    /// What was verified; none: nothing was taken yet.
    verified: Option<Endorsed>,
    /// Why what was kept is not in force. Nothing starts then, and what stands stands.
    broken: Option<String>,
    /// What was offered last, and stays out.
    refused: Option<RefusedOffer>,
    /// Why nobody can sign, or the settings take no policies at all, when that was last looked at.
    unready: Option<String>,
    /// Why the base is not around all that it should be around.
    unlaid: Option<String>,
    /// When a record was last written of what was refused: a caller that may offer fills no log.
    told_at: Option<BootTime>,
    /// Whether the base is [`SILENT`].
    is_silent: bool,
    /// Whether its servers are reached.
    link: CourierLink,
}

/// A bundle that stays out.
#[derive(Clone, Debug)]
struct RefusedOffer {
    why: String,
    /// Of its bytes.
    hash: String,
    /// When it was last offered.
    at: Timestamp,
}

/// What has to be as it was where a bundle stays out.
#[derive(Clone, Debug)]
struct BundleBefore {
    /// None: the file could not be read.
    kept: Option<KeptBundle>,
    heard: Option<HeardAt>,
    verified: Option<Endorsed>,
    is_silent: bool,
}

impl Fleet {
    /// Whether its servers are reached.
    #[must_use]
    pub(crate) fn link(&self) -> &CourierLink {
        &self.link
    }

    /// The same, to note what a courier says of them.
    pub(crate) fn link_mut(&mut self) -> &mut CourierLink {
        &mut self.link
    }

    /// With what is on the disk, verified again.
    #[must_use]
    pub(crate) fn new(file: PathBuf, settings: config::FleetTable) -> Self {
        let file: KeptFile<KeptBundle> = KeptFile::read(file);
        let mut fleet = Self {
            link: CourierLink::new(settings.log.is_some()),
            heard: file.known().heard(),
            file,
            owed: None,
            settings,
            verified: None,
            broken: None,
            refused: None,
            unready: None,
            unlaid: None,
            told_at: None,
            is_silent: false,
        };
        fleet.unready = readiness(&fleet.settings);
        if let Some(why) = &fleet.unready {
            tracing::error!(why, "no policies are taken from the fleet");
        }
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
                    "no session starts until the fleet's policies are offered again"
                );
                fleet.broken = Some(why);
            }
        }
        fleet.is_silent = fleet.is_overdue();
        fleet
    }

    /// Whether the settings name a group.
    #[must_use]
    pub(crate) fn is_named(&self) -> bool {
        self.settings.group.is_some()
    }

    /// Why what was kept is not in force.
    #[must_use]
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Writes what the file should say, until it does.
    fn write_owed(&mut self) {
        let Some(owed) = self.owed.take() else {
            return;
        };
        if let Err(error) = self.file.replace(owed.clone()) {
            tracing::error!(%error, "the bundle that is not in force is still on the disk");
            self.owed = Some(owed);
        }
    }

    /// What was kept last, though the file may not say so yet.
    fn known(&self) -> &KeptBundle {
        self.owed.as_ref().unwrap_or_else(|| self.file.known())
    }

    fn before(&self) -> BundleBefore {
        let whole = self.file.is_whole();
        BundleBefore {
            kept: whole.ok().map(|()| self.known().clone()),
            heard: self.heard.clone(),
            verified: self.verified.clone(),
            is_silent: self.is_silent,
        }
    }

    /// What was before is again, on the disk too: but for a file that could not be read, in whose place the bundle stays that those
    /// have signed who may.
    fn restore(&mut self, before: BundleBefore) {
        self.owed = before.kept.filter(|kept| kept != self.file.known());
        self.write_owed();
        self.heard = before.heard;
        self.verified = before.verified;
        self.is_silent = before.is_silent;
    }

    fn bundle(&self) -> Option<&Bundle> {
        self.verified.as_ref().map(|verified| &verified.bundle)
    }

    /// The fleet's policies, by name.
    #[must_use]
    pub(crate) fn policies(&self) -> BTreeMap<String, String> {
        self.bundle()
            .map_or_else(BTreeMap::new, |bundle| bundle.policies.clone())
    }

    /// The fingerprints of keys by which nobody may answer.
    #[must_use]
    pub(crate) fn revoked(&self) -> &[String] {
        self.bundle().map_or(&[][..], |bundle| &bundle.revoked)
    }

    /// What is in force, with who has signed it.
    #[must_use]
    pub(crate) fn verified(&self) -> Option<&Endorsed> {
        self.verified.as_ref()
    }

    /// The policy that lies around each session.
    ///
    /// # Errors
    ///
    /// Where it is not known whether one does: then no session may start.
    pub(crate) fn base(&self) -> Result<Option<PolicyText>, CallError> {
        if let Some(why) = &self.broken {
            return Err(CallError::failed(
                "no session starts",
                format!("the fleet's policies cannot be verified any more: {why}"),
                format!(
                    "have them signed and offered again; or leave the fleet: take [fleet] out of guardd.toml, remove {}, and restart guardd",
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

    /// The texts of the fleet's policies, for callers that judge by them.
    #[must_use]
    pub(crate) fn texts(&self) -> FleetTexts {
        let base = self.base().ok().flatten();
        let all = self.bundle().into_iter().flat_map(|one| &one.policies);
        FleetTexts {
            group: self.settings.group.clone(),
            base: base.map(PolicyText::shown),
            policies: all
                .map(|(name, text)| PolicyText::of_fleet(name, text).shown())
                .collect(),
            problem: self.broken.clone(),
        }
    }

    /// Whether nobody has offered it for longer than the settings say. A time that is not known is none.
    fn is_overdue(&self) -> bool {
        let (Some(lasts), Some(_)) = (&self.settings.lasts, &self.verified) else {
            return false;
        };
        let lasts = SignedDuration::try_from(lasts.0).unwrap_or(SignedDuration::MAX);
        let heard = self.heard.as_ref();
        heard.is_none_or(|heard| heard.is_overdue(lasts, &HeardAt::now()))
    }

    /// Whether [`Self::base`] is another one now because of the time alone.
    pub(crate) fn turns_silent(&mut self) -> bool {
        let is_now = self.is_overdue();
        std::mem::replace(&mut self.is_silent, is_now) != is_now
    }

    /// What the machine says of it; none: it is in no fleet.
    #[must_use]
    pub(crate) fn shown(&self) -> Option<FleetPolicies> {
        let group = self.settings.group.clone()?;
        let silent = self.is_silent.then(|| {
            "it was not offered for longer than the settings let it last: all is denied".to_owned()
        });
        let owed = self.owed.as_ref().map(|_| {
            format!(
                "{} cannot be written, and has a bundle that is not in force: make room on that file system before guardd starts again",
                self.file.file().display()
            )
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
            heard_at: self.heard.as_ref().map(|heard| heard.at),
            lasts: self.settings.lasts.as_ref().map(|lasts| lasts.0.as_secs()),
            bundle: self.kept_hash().filter(|_| self.verified.is_some()),
            refused: self.refused.as_ref().map(|one| one.hash.clone()),
            refused_at: self.refused.as_ref().map(|one| one.at),
            problem: self
                .broken
                .clone()
                .or(self.unlaid.clone())
                .or(owed)
                .or(silent)
                .or(self.unready.clone())
                .or(self.refused.as_ref().map(|one| one.why.clone())),
        })
    }

    fn kept_hash(&self) -> Option<String> {
        let kept = self.known().signed.as_ref()?;
        Some(Bundle::hash(&kept.bundle))
    }

    /// A warning for `guard status`.
    #[must_use]
    pub(crate) fn warning(&self) -> Option<String> {
        let problem = self.shown().and_then(|shown| shown.problem);
        let problem = problem.or(self.unready.clone())?;
        let refused = self.refused.as_ref();
        // Of the last offer only: all else is so now.
        let offered = refused.filter(|one| one.why == problem);
        let offered = offered.map_or_else(String::new, |one| {
            format!(" (offered {})", ago(Timestamp::now(), one.at))
        });
        let advice = match self.broken {
            Some(_) => {
                "; what is in force stands, and no session starts: sudo guard policy offer BUNDLE"
            }
            None => "",
        };
        Some(format!("policies of the fleet: {problem}{offered}{advice}"))
    }

    /// What is kept once that is in force.
    fn kept(&mut self, signed: &SignedBundle) -> io::Result<()> {
        let now = HeardAt::now();
        let mut kept = KeptBundle {
            signed: Some(signed.clone()),
            ..KeptBundle::default()
        };
        kept.set_heard(&now);
        self.file.replace(kept)?;
        self.owed = None;
        self.heard = Some(now);
        Ok(())
    }

    /// The same bytes were offered again, perhaps with other signatures: those count from now on, so that keys can change.
    fn heard(&mut self, signed: &SignedBundle, verified: Endorsed) {
        let mut taken = self.known().clone();
        let now = HeardAt::now();
        self.heard = Some(now.clone());
        let noted = self.settings.lasts.as_ref().map_or(NOTED, |lasts| {
            i64::try_from(lasts.0.as_secs() / 4)
                .unwrap_or(NOTED)
                .min(NOTED)
        });
        let is_due = taken
            .heard()
            .is_none_or(|heard| heard.until(&now).as_secs().abs() >= noted);
        if !is_due && self.verified.as_ref() == Some(&verified) {
            return;
        }
        taken.signed = Some(signed.clone());
        taken.set_heard(&now);
        match self.file.replace(taken) {
            Ok(()) => {
                self.owed = None;
                self.verified = Some(verified);
            }
            Err(error) => {
                tracing::warn!(%error, "when the fleet's policies were last offered cannot be kept");
            }
        }
    }
}

/// Why no bundle can be taken here, no matter who signs it. Reads a file, and may take long.
fn readiness(settings: &config::FleetTable) -> Option<String> {
    match &settings.group {
        None if *settings == config::FleetTable::default() => None,
        None => Some(
            "[fleet] in guardd.toml names no group, so that this machine is in no fleet: write group = \"NAME\", and restart guardd"
                .to_owned(),
        ),
        Some(group) if !Bundle::is_group(group) => Some(format!(
            "no bundle is for the group {group:?}: a group has 1 to 32 of a-z, 0-9 and -"
        )),
        Some(_) => signers(settings).err(),
    }
}

/// How long ago that was, in words.
fn ago(now: Timestamp, at: Timestamp) -> String {
    match now.as_second().saturating_sub(at.as_second()).max(0) {
        0..60 => "just now".to_owned(),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// The bundle, if enough of those have signed it who may, and this machine is in one of its groups. Reads a file, and may take long.
fn verify(settings: &config::FleetTable, signed: &SignedBundle) -> Result<Endorsed, String> {
    let group = settings.group.as_deref().unwrap_or_default();
    let verified = signed
        .verify(&signers(settings)?, settings.signatures.0)
        .map_err(|refusal| refusal.to_string())?;
    if verified.bundle.groups.iter().any(|one| one == group) {
        Ok(verified)
    } else {
        Err(format!("it is for other groups than {group}"))
    }
}

/// Those who may sign. A list that others may write, or put another one in place of, is nobody's.
fn signers(settings: &config::FleetTable) -> Result<Signers, String> {
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
    if signers.people() >= settings.signatures.0 {
        Ok(signers)
    } else {
        Err(wrong(format!(
            "it names {} people, and {} have to sign",
            signers.people(),
            settings.signatures.0
        )))
    }
}

/// The base of a bundle.
fn base_of(bundle: &Bundle) -> Option<PolicyText> {
    let name = bundle.base.as_ref()?;
    let text = bundle.policies.get(name)?;
    Some(PolicyText::of_fleet(name, text).around())
}

/// Bytes of what is offered at most, with its signatures.
pub(crate) const MAX_OFFERED: usize = 2 * LONGEST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_by_which_nothing_can_come_are_said_to_be_so() {
        let said = |text: &str| readiness(&toml::from_str(text).unwrap()).unwrap_or_default();
        assert_eq!(said(""), "");
        assert!(said("signatures = 2").contains("names no group"));
        assert!(said("group = \"CI runners\"").contains("a group has 1 to 32 of"));
        let absent = said("group = \"ci\"\nsigners = \"/nonexistent/signers\"");
        assert!(
            absent.starts_with("who may sign is not known: /nonexistent/signers: No such file"),
            "{absent}"
        );
    }

    #[test]
    fn a_bundle_that_is_not_in_force_leaves_the_disk_as_soon_as_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let (lib, file) = (dir.path().join("lib"), dir.path().join("lib/fleet.json"));
        let settings = toml::from_str("group = \"ci\"").unwrap();
        let mut fleet = Fleet::new(file.clone(), settings);
        let bundle = |text: &str| SignedBundle {
            bundle: text.to_owned(),
            signatures: Vec::new(),
        };
        let on_the_disk = || KeptFile::<KeptBundle>::read(file.clone()).known().clone();
        fleet.kept(&bundle("old")).unwrap();
        let before = fleet.before();
        fleet.kept(&bundle("new")).unwrap();
        fs::rename(&lib, dir.path().join("away")).unwrap();
        fs::write(&lib, "in its place").unwrap();
        fleet.restore(before);
        let problem = fleet.shown().and_then(|shown| shown.problem);
        assert!(problem.unwrap().contains("make room"));
        assert_eq!(fleet.kept_hash(), Some(Bundle::hash("old")));
        fs::remove_file(&lib).unwrap();
        fs::rename(dir.path().join("away"), &lib).unwrap();
        assert_eq!(on_the_disk().signed, Some(bundle("new")));
        fleet.write_owed();
        assert_eq!(on_the_disk().signed, Some(bundle("old")));
        assert!(fleet.owed.is_none());
    }

    #[test]
    fn an_offer_has_an_age() {
        let at = Timestamp::UNIX_EPOCH;
        let after = |seconds| ago(at + SignedDuration::from_secs(seconds), at);
        assert_eq!(after(-5), "just now");
        assert_eq!(after(59), "just now");
        assert_eq!(after(3599), "59 min ago");
        assert_eq!(after(7200), "2 h ago");
        assert_eq!(after(3 * 86_400), "3 days ago");
    }

    #[test]
    fn silence_says_what_it_is_and_what_to_do() {
        let text = PolicyText::of_fleet("fleet-is-silent", SILENT);
        let parsed = guard_policy::parse(&text.shown_file(), &text.text).unwrap();
        assert_eq!(parsed.warnings, []);
        let [rule] = &parsed.policy.rules[..] else {
            panic!("one rule: {:?}", parsed.policy.rules);
        };
        let reason = rule.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("guard-fleet push"), "{reason}");
    }
}
