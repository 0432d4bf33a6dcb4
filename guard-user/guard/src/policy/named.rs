//! Which policies have a name here, and where each is. Nothing of them is read: a completion wants no more.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;
use guard_policy as policy;

use crate::around::Fleet;
use crate::person::Person;
use crate::policy_file::{dirs, installed, is_machines};

/// A policy that has a name.
#[derive(Debug)]
pub(crate) struct NamedPolicy {
    pub(crate) name: String,
    /// None: it is built in, or the fleet's.
    pub(crate) file: Option<PathBuf>,
    pub(crate) is_fleets: bool,
    /// Whether it lies around each session.
    pub(crate) is_around: bool,
}

impl NamedPolicy {
    pub(crate) fn of(name: String, of_fleet: &Fleet) -> Self {
        let is_fleets = of_fleet.names().contains(&name);
        // Of one's own, also what is no file that a policy can be in.
        let own = || Some(Person::own().policies()?.join(format!("{name}.toml")));
        let file = match is_machines(&name) {
            _ if is_fleets => None,
            true => installed(&name),
            false => own().filter(|file| file.exists()),
        };
        Self {
            is_around: of_fleet.around().as_ref() == Some(&name),
            is_fleets,
            name,
            file,
        }
    }

    /// Where it is, in words.
    pub(crate) fn place(&self) -> String {
        match &self.file {
            _ if self.is_around => "the fleet, around each session".to_owned(),
            _ if self.is_fleets => "the fleet".to_owned(),
            Some(file) => file.display().to_string(),
            None => "built in".to_owned(),
        }
    }
}

/// All of them, by name.
pub(crate) fn all(of_fleet: &Fleet) -> Vec<NamedPolicy> {
    let shipped = policy::SHIPPED.iter().map(|(name, _)| (*name).to_owned());
    let dirs = dirs().iter().cloned();
    let dirs = dirs.chain(Person::own().policies());
    let files = dirs.flat_map(fs::read_dir).flatten().flatten();
    let files = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        Some(name.strip_suffix(".toml")?.to_owned())
    });
    let names: BTreeSet<String> = shipped.chain(files).chain(of_fleet.names()).collect();
    let named = |name| NamedPolicy::of(name, of_fleet);
    names.into_iter().map(named).collect()
}

/// All of them, as completions have them.
pub(crate) fn candidates() -> Vec<CompletionCandidate> {
    let all = all(Fleet::known()).into_iter();
    let candidates = all.map(|one| {
        let place = one.place();
        CompletionCandidate::new(one.name).help(Some(place.into()))
    });
    candidates.collect()
}
