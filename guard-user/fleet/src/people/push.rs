//! A bundle of policies to all machines of its groups, and what each says of it.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use guard_signed::{Bundle, Document as _, SignedBundle};
use tokio::time::{Instant, timeout_at};

use super::{gather, heard::Fleet, print, show};
use crate::{
    Outcome,
    args::PushArgs,
    link::Link,
    messages,
    settings::Settings,
    subjects::{Bundles, Group, Machine},
};

/// `guard-fleet push`
///
/// # Errors
///
/// That it is no bundle, or no server takes the key.
pub(crate) async fn push(settings: &Settings, args: PushArgs) -> Result<Outcome> {
    let file = &args.bundle;
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let signed: SignedBundle = messages::read(&text).with_context(|| {
        format!(
            "{} is no bundle: guard policy sign prints one",
            file.display()
        )
    })?;
    let bundle = Bundle::from_bytes(signed.bundle.as_bytes())
        .with_context(|| format!("{} is no bundle", file.display()))?;
    let looked_at = settings.looked_at();
    let named = bundle.groups.iter().map(|group| group.parse::<Group>());
    let named = named.collect::<Result<BTreeSet<_>, _>>();
    let named = named.map_err(anyhow::Error::msg)?;
    let groups: Vec<_> = looked_at
        .into_iter()
        .filter(|one| named.contains(one))
        .collect();
    ensure!(
        !groups.is_empty(),
        "it is for {}, and the settings name none of these: write groups = [\"{}\"]",
        bundle.groups.join(", "),
        bundle.groups.join("\", \"")
    );
    let mut fleet = Fleet::begin(Link::of_a_person(settings).await?, groups.clone()).await?;
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
    let mut told = BTreeSet::new();
    let mut refused = 0;
    loop {
        let said: Vec<_> = fleet
            .machines()
            .map(|(group, machine, state)| {
                (group.clone(), machine.clone(), show::policies_of(state))
            })
            .collect();
        for (group, machine, known) in &said {
            let known = known
                .as_ref()
                .filter(|known| known.serial == Some(bundle.serial) || known.problem.is_some());
            let Some(known) = known else { continue };
            let at = (group.clone(), machine.clone(), known.problem.clone());
            if told.insert(at) {
                refused += usize::from(known.problem.is_some());
                print(&show::pushed(machine, known, bundle.serial))?;
            }
        }
        let has_it =
            |at: &(Group, Machine, _)| told.iter().any(|one| one.0 == at.0 && one.1 == at.1);
        if !said.is_empty()
            && said
                .iter()
                .all(|(group, machine, _)| has_it(&(group.clone(), machine.clone(), ())))
        {
            break;
        }
        if timeout_at(deadline, fleet.next()).await.is_err() {
            break;
        }
    }
    let silent = fleet
        .machines()
        .filter(|(group, machine, _)| {
            !told
                .iter()
                .any(|one| one.0 == **group && one.1 == **machine)
        })
        .count();
    if silent > 0 || told.is_empty() {
        print(&format!(
            "{silent} of the machines that are there have not said so yet; guard-fleet machines lists them\n"
        ))?;
    }
    Ok(match silent + refused {
        0 if !told.is_empty() => Outcome::Done,
        _ => Outcome::No,
    })
}
