//! A bundle of policies to all machines of its groups, and what each says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use guard_proto::fleet::FleetPolicies;
use guard_signed::{Bundle, Document as _, SignedBundle};
use tokio::time::{Instant, timeout_at};

use super::{
    gather,
    heard::{Fleet, KnownChange, State},
    known::At,
    print, show,
};
use crate::{
    VerbOutcome,
    args::PushArgs,
    link::NatsLink,
    messages,
    settings::Settings,
    subjects::{Bundles, Group},
};

/// `guard-fleet push`
///
/// # Errors
///
/// That it is no bundle, or no server takes the key.
pub(crate) async fn push(settings: &Settings, args: PushArgs) -> Result<VerbOutcome> {
    let (signed, bundle) = read(&args.bundle)?;
    let groups = groups(settings, &bundle)?;
    let mut fleet = Fleet::begin(NatsLink::of_a_person(settings).await?, groups.clone()).await?;
    gather(&mut fleet).await?;
    for group in &groups {
        let subject = Bundles::Policies.of(group);
        fleet.link.publish(subject, messages::bytes(&signed)).await;
    }
    // A server that refuses it says so before it answers this.
    fleet
        .link
        .client
        .flush()
        .await
        .context("the server has gone")?;
    let deadline = Instant::now() + Duration::try_from(args.lasts)?;
    let mut pushed = Pushed::new(&signed, bundle.serial);
    let there = fleet.machines();
    let there = there.map(|(group, machine, _)| (group.clone(), machine.clone()));
    for at in there.collect::<Vec<_>>() {
        pushed.look_at(&fleet, at)?;
    }
    while !pushed.is_whole() {
        let Ok(news) = timeout_at(deadline, fleet.next()).await else {
            break;
        };
        if let Some(at) = whose(news?) {
            pushed.look_at(&fleet, at)?;
        }
    }
    pushed.end()
}

/// The machine of which something has changed.
fn whose(news: KnownChange) -> Option<At> {
    match news {
        KnownChange::Machine(group, machine) | KnownChange::Removed(group, machine) => {
            Some((group, machine))
        }
        KnownChange::Asked(of) => Some((of.group, of.machine)),
        KnownChange::Over(_)
        | KnownChange::Receipt(_)
        | KnownChange::Reached(_)
        | KnownChange::Link => None,
    }
}

fn read(file: &Path) -> Result<(SignedBundle, Bundle)> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let signed: SignedBundle = messages::read(&text).with_context(|| {
        format!(
            "{} is no bundle: guard policy sign prints one",
            file.display()
        )
    })?;
    let bundle = Bundle::from_bytes(signed.bundle.as_bytes())
        .with_context(|| format!("{} is no bundle", file.display()))?;
    Ok((signed, bundle))
}

/// The groups that the bundle and the settings name.
fn groups(settings: &Settings, bundle: &Bundle) -> Result<Vec<Group>> {
    let named = bundle.groups.iter().map(|group| group.parse::<Group>());
    let named = named.collect::<Result<BTreeSet<_>, _>>();
    let named = named.map_err(anyhow::Error::msg)?;
    let groups: Vec<_> = settings
        .looked_at()
        .into_iter()
        .filter(|one| named.contains(one))
        .collect();
    ensure!(
        !groups.is_empty(),
        "it is for {}, and the settings name none of these: write groups = [\"{}\"]",
        bundle.groups.join(", "),
        bundle.groups.join("\", \"")
    );
    Ok(groups)
}

/// A bundle that was published, and what the machines have said of it.
struct Pushed {
    hash: String,
    serial: u64,
    /// By machine, whether the bundle is in force there.
    told: BTreeMap<At, bool>,
    /// Machines that are there, and have not said whether they took it. Counted as each speaks: where thousands do, looking at all of
    /// them for each takes longer than they do.
    silent: BTreeSet<At>,
}

impl Pushed {
    fn new(signed: &SignedBundle, serial: u64) -> Self {
        Self {
            hash: Bundle::hash(&signed.bundle),
            serial,
            told: BTreeMap::new(),
            silent: BTreeSet::new(),
        }
    }

    /// Prints what a machine has newly said.
    fn look_at(&mut self, fleet: &Fleet, at: At) -> Result<()> {
        let state = fleet.machine(&at.0, &at.1);
        match self.take(at, state) {
            Some(text) => print(&text).map(drop),
            None => Ok(()),
        }
    }

    /// Takes what is known of a machine; none: it has gone. Gives what is new of it.
    fn take(&mut self, at: At, state: Option<&State>) -> Option<String> {
        let Some(state) = state else {
            self.silent.remove(&at);
            return None;
        };
        let known = show::policies_of(state);
        let said = known.and_then(|known| Some((known, self.is_in_force(known)?)));
        let Some((known, is_in_force)) = said else {
            if !self.told.contains_key(&at) {
                self.silent.insert(at);
            }
            return None;
        };
        self.silent.remove(&at);
        let is_new = self.told.get(&at) != Some(&is_in_force);
        let text = is_new.then(|| show::pushed(&at.1, known, is_in_force, self.serial));
        self.told.insert(at, is_in_force);
        text
    }

    /// Whether the bundle is in force there; none: what the machine says is about another one.
    fn is_in_force(&self, known: &FleetPolicies) -> Option<bool> {
        let is_in_force = known.bundle.as_ref() == Some(&self.hash);
        let is_refused = known.refused.as_ref() == Some(&self.hash);
        (is_in_force || is_refused).then_some(is_in_force)
    }

    /// Whether all that are there have said so.
    fn is_whole(&self) -> bool {
        !self.told.is_empty() && self.silent.is_empty()
    }

    fn end(&self) -> Result<VerbOutcome> {
        let silent = self.silent.len();
        if self.told.is_empty() && silent == 0 {
            print("no machine is there that could say so\n")?;
        } else if silent > 0 {
            print(&format!(
                "{silent} of the machines that are there have not said so yet; guard-fleet machines lists them\n"
            ))?;
        }
        let refused = self.told.values().any(|is_in_force| !is_in_force);
        Ok(if refused || silent > 0 || self.told.is_empty() {
            VerbOutcome::No
        } else {
            VerbOutcome::Done
        })
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::{Presence, status::AuditHead};

    use super::*;
    use crate::{messages::MachineHere, subjects::Machine};

    fn at(number: usize) -> Result<At> {
        let group = "ci".parse::<Group>();
        let machine = format!("m-{number:020x}").parse::<Machine>();
        Ok((
            group.map_err(anyhow::Error::msg)?,
            machine.map_err(anyhow::Error::msg)?,
        ))
    }

    /// A machine that has that bundle in force, or has refused it.
    fn says(bundle: Option<&str>, refused: Option<&str>) -> State {
        let policies = FleetPolicies {
            bundle: bundle.map(str::to_owned),
            refused: refused.map(str::to_owned),
            ..FleetPolicies::default()
        };
        let mut state = State::default();
        state.here = Some(MachineHere {
            version: "0.3.0".to_owned(),
            leaves: false,
            guardd: Some(Presence {
                machine: String::new(),
                version: "0.3.0".to_owned(),
                enforcing: true,
                problem: None,
                sessions: 0,
                requests: 0,
                holes: 0,
                audit: AuditHead {
                    number: 0,
                    hash: String::new(),
                },
                fleet: Some(policies),
            }),
            log: None,
        });
        state
    }

    #[test]
    fn each_machine_is_told_of_once_and_none_is_missed() -> Result<()> {
        let signed = SignedBundle {
            bundle: "{}".to_owned(),
            signatures: Vec::new(),
        };
        let hash = Bundle::hash(&signed.bundle);
        let mut pushed = Pushed::new(&signed, 7);
        assert!(!pushed.is_whole(), "nobody has said anything");
        for number in 0..100 {
            assert_eq!(pushed.take(at(number)?, Some(&says(None, None))), None);
        }
        assert_eq!(pushed.silent.len(), 100);
        // One goes, and what one says of another bundle is about that.
        assert_eq!(pushed.take(at(0)?, None), None);
        assert_eq!(pushed.take(at(1)?, Some(&says(Some("other"), None))), None);
        assert_eq!(pushed.silent.len(), 99);
        for number in 1..100 {
            let text = pushed.take(at(number)?, Some(&says(Some(&hash), None)));
            assert!(text.is_some_and(|text| text.ends_with(" has 7 in force\n")));
            assert_eq!(pushed.is_whole(), number == 99);
        }
        // Said again, it is nothing new; refused, it is.
        let again = pushed.take(at(5)?, Some(&says(Some(&hash), None)));
        assert_eq!(again, None);
        let refused = pushed.take(at(5)?, Some(&says(None, Some(&hash))));
        assert!(refused.is_some_and(|text| text.contains(" has not 7 ")));
        assert!(pushed.is_whole());
        // One that comes later is waited for.
        assert_eq!(pushed.take(at(200)?, Some(&says(None, None))), None);
        assert!(!pushed.is_whole());
        Ok(())
    }
}
