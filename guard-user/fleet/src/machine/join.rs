//! `guard-fleet join`: has the keeper write this machine into the list.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::StreamExt as _;
use guard_courier::Guardd;
use guard_proto::{Call, Presence};
use guard_signed::visible::visible;
use nkeys::{KeyPair, KeyPairType};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    VerbOutcome,
    keeper::line_of_stdin,
    key,
    link::NatsLink,
    messages::{self, Join, Joined},
    people::print,
    settings::Settings,
    subjects::{Joining, Machine, NatsKey},
};

/// How long the keeper may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked again.
const REPEATED: Duration = Duration::from_secs(1);
/// How long a server may take to know an invitation, and then the key.
const KNOWS: Duration = Duration::from_secs(3);
const KNOWN: Duration = Duration::from_secs(15);
/// How often it is asked meanwhile.
const AGAIN: Duration = Duration::from_millis(300);

/// Joins by the token on standard input.
///
/// # Errors
///
/// That it is none, or counts no more, or nobody keeps a list, and guardd's.
pub(crate) async fn join(settings: &Settings) -> Result<VerbOutcome> {
    let token = token(settings)?;
    let parse = |public: String| public.parse::<NatsKey>().map_err(|why| anyhow!(why));
    let invitation = parse(token.public_key())?;
    let own = parse(key::public(&settings.key)?)?;
    let machine = id_of_this_machine(settings).await?;
    let join = Join::signed(
        &invitation,
        machine.clone(),
        own,
        &key::pair(&settings.key)?,
    )?;
    let link = connected(settings, &token).await?;
    let answer = answer(&link, settings, &invitation, &join).await?;
    if let Some(refused) = answer.refused {
        bail!("not let in: {}", visible(&refused, 512));
    }
    drop(link);
    let latest = Instant::now() + KNOWN;
    while let Err(error) = NatsLink::of_a_person(settings).await {
        if Instant::now() >= latest {
            return Err(error);
        }
        sleep(AGAIN).await;
    }
    print(&format!("{machine} is in {}\n", settings.group))
}

/// The one on standard input, which is for this group.
fn token(settings: &Settings) -> Result<KeyPair> {
    let line = line_of_stdin()?;
    let (group, seed) = line.split_once('.').unwrap_or_default();
    let token = KeyPair::from_seed(seed).ok();
    let token = token.filter(|pair| pair.key_pair_type() == KeyPairType::User);
    let token = token.context("standard input has no token: guard-fleet invite prints one")?;
    ensure!(
        group == settings.group.to_string(),
        "the token is for the group {}: write group = {:?} into {}",
        visible(group, 64),
        visible(group, 64),
        settings.file.display()
    );
    Ok(token)
}

/// What the keeper says.
async fn answer(
    link: &NatsLink,
    settings: &Settings,
    invitation: &NatsKey,
    join: &Join,
) -> Result<Joined> {
    let answered = Joining::Joined.of(&settings.group, invitation);
    let mut answers = link.client.subscribe(answered).await;
    let answers = answers.as_mut().map_err(|error| anyhow!("{error}"))?;
    let subject = Joining::Join.of(&settings.group, invitation);
    let latest = Instant::now() + TIMEOUT;
    loop {
        // They may have much to do.
        link.publish(subject.clone(), messages::bytes(join)).await;
        let again = latest.min(Instant::now() + REPEATED);
        let heard = timeout_at(again, answers.next()).await.ok().flatten();
        let heard = heard.filter(messages::is_published);
        match heard.and_then(|heard| messages::read(&heard.payload)) {
            Some(answer) => return Ok(answer),
            None => ensure!(
                Instant::now() < latest,
                "nobody has answered: guard-fleet keep has to run beside the server. The token may have been used all the same"
            ),
        }
    }
}

/// A server may hear of an invitation a moment late.
async fn connected(settings: &Settings, token: &KeyPair) -> Result<NatsLink> {
    let latest = Instant::now() + KNOWS;
    loop {
        match NatsLink::of_a_token(settings, token).await {
            Err(_) if Instant::now() < latest => sleep(AGAIN).await,
            done => return done,
        }
    }
}

/// This machine's id, as questions and the list have it.
///
/// # Errors
///
/// guardd's, or that it does not answer.
pub(crate) async fn id_of_this_machine(settings: &Settings) -> Result<Machine> {
    let guardd = Guardd::at(settings.socket.clone());
    let said = guardd.call::<Presence>(&Call::Presence {}).await;
    let said = said.map_err(|refusal| {
        let failure = refusal.failure;
        anyhow!("{}: {}\n{}", failure.what, failure.why, failure.fix)
    })?;
    said.machine
        .parse()
        .map_err(|_| anyhow!("this machine has no id of its own: systemd-machine-id-setup makes one, then restart guardd"))
}
