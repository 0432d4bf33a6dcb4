//! A bundle of policies to all machines of its groups, and what each says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use guard_signed::{Bundle, Document as _, SignedBundle};
use tokio::time::{Instant, timeout_at};

use super::{gather, heard::Fleet, print, show};
use crate::{
    VerbOutcome,
    args::PushArgs,
    link::NatsLink,
    messages,
    settings::Settings,
    subjects::{Bundles, Group, Machine},
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
    let mut pushed = Pushed {
        hash: Bundle::hash(&signed.bundle),
        serial: bundle.serial,
        told: BTreeMap::new(),
    };
    loop {
        pushed.tell(&fleet)?;
        let is_whole = !pushed.told.is_empty() && pushed.silent(&fleet) == 0;
        if is_whole || timeout_at(deadline, fleet.next()).await.is_err() {
            break;
        }
    }
    pushed.end(&fleet)
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
    told: BTreeMap<(Group, Machine), bool>,
}

impl Pushed {
    /// Prints what machines have newly said.
    fn tell(&mut self, fleet: &Fleet) -> Result<()> {
        for (group, machine, state) in fleet.machines() {
            let at = (group.clone(), machine.clone());
            // What a machine says of another bundle is about that one.
            let Some(known) = show::policies_of(state) else {
                continue;
            };
            let is_in_force = known.bundle.as_ref() == Some(&self.hash);
            let is_refused = known.refused.as_ref() == Some(&self.hash);
            if (is_in_force || is_refused) && self.told.get(&at) != Some(&is_in_force) {
                print(&show::pushed(machine, known, is_in_force, self.serial))?;
                self.told.insert(at, is_in_force);
            }
        }
        Ok(())
    }

    /// How many machines are there that have not said whether they took it.
    fn silent(&self, fleet: &Fleet) -> usize {
        let is_silent = |group: &Group, machine: &Machine| {
            !self.told.contains_key(&(group.clone(), machine.clone()))
        };
        let silent = fleet
            .machines()
            .filter(|(group, machine, _)| is_silent(group, machine));
        silent.count()
    }

    fn end(&self, fleet: &Fleet) -> Result<VerbOutcome> {
        let silent = self.silent(fleet);
        if self.told.is_empty() && silent == 0 {
            print("no machine is there that could say so\n")?;
        } else if silent > 0 {
            print(&format!(
                "{silent} of the machines that are there have not said so yet; guard-fleet machines lists them\n"
            ))?;
        }
        let refused = self.told.values().any(|is_in_force| !is_in_force);
        Ok(match refused || silent > 0 || self.told.is_empty() {
            true => VerbOutcome::No,
            false => VerbOutcome::Done,
        })
    }
}
