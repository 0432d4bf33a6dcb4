//! A bundle of policies to all machines of its groups, and what each says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

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
    let hash = Bundle::hash(&signed.bundle);
    let deadline = Instant::now() + Duration::try_from(args.lasts)?;
    // By machine, whether it has taken it.
    let mut told = BTreeMap::new();
    loop {
        for (group, machine, state) in fleet.machines() {
            let at = (group.clone(), machine.clone());
            // What a machine says of another bundle is about that one.
            let Some(known) = show::policies_of(state) else {
                continue;
            };
            let is_in_force = known.bundle.as_ref() == Some(&hash);
            let is_refused = known.refused.as_ref() == Some(&hash);
            if (is_in_force || is_refused) && told.get(&at) != Some(&is_in_force) {
                print(&show::pushed(machine, known, is_in_force, bundle.serial))?;
                told.insert(at, is_in_force);
            }
        }
        let is_told = |at| told.contains_key(&at);
        let all = fleet
            .machines()
            .all(|(group, machine, _)| is_told((group.clone(), machine.clone())));
        if all && !told.is_empty() {
            break;
        }
        if timeout_at(deadline, fleet.next()).await.is_err() {
            break;
        }
    }
    let refused = told.values().filter(|is_in_force| !**is_in_force).count();
    let is_silent = |(group, machine): (&Group, &Machine)| {
        !told.contains_key(&(group.clone(), machine.clone()))
    };
    let silent = fleet
        .machines()
        .filter(|(group, machine, _)| is_silent((group, machine)));
    let silent = silent.count();
    if told.is_empty() && silent == 0 {
        print("no machine is there that could say so\n")?;
    } else if silent > 0 {
        print(&format!(
            "{silent} of the machines that are there have not said so yet; guard-fleet machines lists them\n"
        ))?;
    }
    Ok(match silent + refused {
        0 if !told.is_empty() => Outcome::Done,
        _ => Outcome::No,
    })
}
