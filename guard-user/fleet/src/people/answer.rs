//! `guard-fleet answer`: has a key sign by `guard sign`, and sees to it that the machine has heard.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use guard_signed::{Answer, Document as _, Question, Signed};
use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    gather,
    heard::{Fleet, KnownChange, OfMachine},
    print,
};
use crate::{
    VerbOutcome,
    args::AnswerArgs,
    link::{LONGEST, NatsLink},
    messages::{self, Receipt},
    settings::Settings,
    subjects::{Machine, Subject, SubjectKind, is_request},
};

/// Characters that tell a machine from others: `m-` and four digits.
pub(crate) const SHORTEST: usize = 6;
/// How long a machine may take to say what it asks.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for a receipt, and after which time the answer is published again.
const RECEIPT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1));

/// Answers one question.
///
/// # Errors
///
/// That there is no such question, nothing was signed, no receipt has come, or guardd does not take the answer.
pub(crate) async fn answer(settings: &Settings, args: AnswerArgs) -> Result<VerbOutcome> {
    ensure!(
        is_request(&args.request),
        "{:?} is no request: expected one such as r7, as guard-fleet pending lists them",
        args.request
    );
    let signed = args.signed.as_deref().map(read).transpose()?;
    let mut fleet =
        Fleet::begin(NatsLink::of_a_person(settings).await?, settings.looked_at()).await?;
    let of = find(&mut fleet, &args).await?;
    let signed = match signed {
        Some(signed) => Some(signed),
        None => {
            // Machines go on hearing that somebody looks: their connections wait for this.
            let signing = sign(&args, &of);
            tokio::pin!(signing);
            loop {
                tokio::select! {
                    signed = &mut signing => break signed?,
                    news = fleet.next() => {
                        news?;
                    }
                }
            }
        }
    };
    let Some(signed) = signed else {
        return Ok(VerbOutcome::No);
    };
    let message = checked(&signed, &of)?;
    let receipt = hand_in(&mut fleet, &of, message).await?;
    said(receipt, &typed(&of))
}

/// What answers that question here.
fn typed(of: &OfMachine) -> String {
    format!(
        "guard-fleet answer {} {}",
        of.machine, of.asked.question.request
    )
}

async fn find(fleet: &mut Fleet, args: &AnswerArgs) -> Result<OfMachine> {
    let is_whole = args.machine.parse::<Machine>().is_ok();
    if !is_whole {
        ensure!(
            args.machine.len() >= SHORTEST,
            "{:?} may be any machine: type {SHORTEST} characters of it at least",
            args.machine
        );
        // Another that begins so may come later.
        gather(fleet).await?;
    }
    let latest = Instant::now() + TIMEOUT;
    loop {
        let is_it = |one: &&OfMachine| {
            one.machine.begins(&args.machine) && one.asked.question.request == args.request
        };
        let found: Vec<_> = fleet.questions().filter(is_it).take(2).collect();
        match found[..] {
            [one] => return Ok(one.clone()),
            [_, ..] => bail!(
                "several machines begin with {}: type more of it",
                args.machine
            ),
            [] => {}
        }
        let news = if is_whole {
            timeout_at(latest, fleet.next()).await.ok()
        } else {
            None
        };
        match news {
            Some(news) => news?,
            None => bail!("{}", not_asked(fleet, args)),
        };
    }
}

/// Why there is nothing to answer: as far as the machine has said.
fn not_asked(fleet: &Fleet, args: &AnswerArgs) -> String {
    let mut machines = fleet.machines();
    let found = machines.find(|(_, id, _)| id.begins(&args.machine));
    let heard = found.map(|(_, id, state)| {
        let guardd = state.here.as_ref().and_then(|here| here.guardd.as_ref());
        let asked = state.questions().map(|one| one.question.request.clone());
        HeardAsking {
            id: id.to_string(),
            waiting: guardd.map(|guardd| guardd.requests),
            asked: asked.collect(),
        }
    });
    why_not_asked(heard, &args.machine, &args.request)
}

/// What a machine has said of its requests.
struct HeardAsking {
    id: String,
    /// How many wait there; none: its guardd was not heard.
    waiting: Option<usize>,
    /// The ids of the requests that it asks here.
    asked: Vec<String>,
}

fn why_not_asked(heard: Option<HeardAsking>, machine: &str, request: &str) -> String {
    let Some(HeardAsking { id, waiting, asked }) = heard else {
        return format!(
            "{machine} was not heard, so it is not known whether it asks {request}: guard-fleet machines lists who is there"
        );
    };
    match waiting {
        _ if !asked.is_empty() => format!(
            "{id} does not ask {request}, but {}: guard-fleet pending lists what is asked",
            asked.join(", ")
        ),
        Some(waiting @ 1..) => format!(
            "{id} asks nothing here, though {waiting} of its requests wait: nobody is enrolled there to answer for who asks, they can be \
             answered there alone, or it has not said so yet. On that machine: guard approver list; else try again in a moment"
        ),
        _ => format!(
            "{id} does not ask {request}, and nothing else: guard-fleet pending lists what is asked"
        ),
    }
}

/// Has the person see the question's bytes and sign; none: nothing was signed.
async fn sign(args: &AnswerArgs, of: &OfMachine) -> Result<Option<Vec<u8>>> {
    let mut command = Command::new("guard");
    command.args(["sign", "--typed", &typed(of)]);
    if let Some(key) = &args.key {
        command.arg("--key").arg(key);
    }
    if let Some(name) = &args.name {
        command.arg("--as").arg(name);
    }
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| anyhow!("cannot start guard sign: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // That it does not read, its status says.
        let _ = stdin.write_all(&of.asked.bytes).await;
    }
    let done = child.wait_with_output().await;
    let done = done.context("guard sign has not ended")?;
    match done.status.code() {
        Some(0) => Ok(Some(done.stdout)),
        Some(1) => Ok(None),
        _ => bail!("guard sign has signed nothing"),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = LONGEST as u64;
    let read = if file == Path::new("-") {
        io::stdin().take(limit).read_to_end(&mut text)
    } else {
        let opened = File::open(file);
        opened.and_then(|opened| opened.take(limit).read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text)
}

/// The message of a signed answer, where it is one to that question.
fn checked(signed: &[u8], of: &OfMachine) -> Result<Vec<u8>> {
    let read: Signed = messages::read(signed).context("guard sign has printed no signed answer")?;
    let answer = Answer::from_bytes(read.answer.as_bytes()).map_err(|why| anyhow!("{why}"))?;
    ensure!(
        answer.question == Question::hash(&of.asked.bytes),
        "it has changed, or the answer is to another: look again with guard-fleet pending"
    );
    Ok(messages::bytes(&read))
}

/// Publishes it until there is a receipt.
async fn hand_in(fleet: &mut Fleet, of: &OfMachine, message: Vec<u8>) -> Result<Receipt> {
    let subject = Subject {
        group: of.group.clone(),
        what: SubjectKind::Answer,
        machine: of.machine.clone(),
        request: Some(of.asked.question.request.clone()),
    };
    let name = messages::name_of(&message);
    let latest = Instant::now() + RECEIPT.0;
    let mut again = Instant::now();
    loop {
        if Instant::now() >= latest {
            bail!(
                "{} has not said that it has the answer: it may still count. guard-fleet machines lists who is there",
                of.machine
            );
        }
        if Instant::now() >= again {
            fleet
                .link
                .publish(subject.to_string(), message.clone())
                .await;
            again = Instant::now() + RECEIPT.1;
        }
        tokio::select! {
            news = fleet.next() => {
                if let KnownChange::Receipt(news) = news?
                    && let (from, receipt) = *news
                    && (&from.machine, &from.request) == (&subject.machine, &subject.request)
                    && receipt.answer == name
                {
                    return Ok(receipt);
                }
            }
            () = sleep_until(again.min(latest)) => {}
        }
    }
}

/// Says what guardd has said. Of signing it knows `guard sign` alone; here another command does it.
fn said(receipt: Receipt, typed: &str) -> Result<VerbOutcome> {
    let Some(taken) = receipt.taken else {
        let failure = receipt.refused.context("the receipt says nothing")?;
        let shown = |text: &str| guard_signed::visible::visible(text, 2048);
        bail!(
            "{}: {}\n{}",
            shown(&failure.what),
            shown(&failure.why),
            shown(&failure.fix.replace("guard sign", typed))
        );
    };
    let words = match taken.answer.as_str() {
        "part" => format!(
            "{} of {} have said yes: others must, too",
            taken.approvals, taken.wanted
        ),
        "no" => "no: it stays closed".to_owned(),
        _ => match taken.holes.len() {
            0 => "yes".to_owned(),
            1 => "yes: a hole is open".to_owned(),
            many => format!("yes: {many} holes are open"),
        },
    };
    print(&format!("{words}\n"))?;
    for warning in &taken.warnings {
        print(&format!(
            "{}\n",
            guard_signed::visible::visible(warning, 2048)
        ))?;
    }
    Ok(VerbOutcome::Done)
}

#[cfg(test)]
mod tests {
    use guard_proto::Failure;

    use super::*;

    #[test]
    fn what_guardd_advises_is_said_in_the_words_of_this_command() {
        let receipt = Receipt {
            answer: String::new(),
            taken: None,
            refused: Some(Failure {
                what: "the signed answer is not taken".to_owned(),
                why: "it is by \"root\", and the key is alice's".to_owned(),
                fix: "guard sign --as alice".to_owned(),
            }),
        };
        let error = said(receipt, "guard-fleet answer m-0123 r7");
        let error = error.map_err(|error| error.to_string());
        let line = "guard-fleet answer m-0123 r7 --as alice";
        assert!(
            error.as_ref().is_err_and(|said| said.ends_with(line)),
            "{error:?}"
        );
    }

    #[test]
    fn what_cannot_be_answered_says_as_much_as_is_known() {
        let said = |heard| why_not_asked(heard, "m-0123", "r6");
        let of = |waiting, asked: &[&str]| {
            let asked = asked.iter().map(|one| (*one).to_owned());
            Some(HeardAsking {
                id: "m-0123".to_owned(),
                waiting,
                asked: asked.collect(),
            })
        };
        assert!(said(None).contains("was not heard"));
        for (waiting, asked, words) in [
            (
                Some(3),
                &[][..],
                "though 3 of its requests wait: nobody is enrolled",
            ),
            (Some(0), &[], "does not ask r6, and nothing else"),
            (None, &[], "does not ask r6, and nothing else"),
            (Some(3), &["r7", "r8"], "does not ask r6, but r7, r8:"),
        ] {
            let said = said(of(waiting, asked));
            assert!(said.contains(words), "{said}");
        }
    }
}
