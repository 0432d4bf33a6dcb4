//! The audit logs of machines, as servers keep them: read, or checked.

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::{
    self, ErrorCode, Message,
    consumer::{
        Consumer, DeliverPolicy,
        pull::{Ordered, OrderedConfig},
    },
    stream::ConsumerErrorKind,
};
use futures_util::{StreamExt as _, stream::select_all};
use guard_signed::{
    approvers::ApproverList,
    visible::{escaped, visible},
};
use guard_trail::{
    chain::Line,
    verify::{
        collected::{Collected, Collector, LogFinding, Missing},
        signatures::{CheckedSignature, Signatures},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{print, show};
use crate::{
    VerbOutcome,
    args::LogArgs,
    link::NatsLink,
    list::{self, List, ListedMachine},
    settings::Settings,
    stream,
    subjects::{Group, Machine, Subject, SubjectKind},
};

/// How long a server may take to answer, and to send the next of what it has.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a line that are shown.
const LINE: usize = 1024;
/// Records that are checked at once: of each some sixty bytes stay in memory.
const MOST: u64 = 10_000_000;

/// `guard-fleet log`
///
/// # Errors
///
/// That no server takes the key, or keeps logs, or this key may not read them.
pub(crate) async fn log(settings: &Settings, args: LogArgs) -> Result<VerbOutcome> {
    // What is wrong with these needs no server.
    let approvers = approvers(&args)?;
    let listed = List::machines_in(args.list.as_deref())?;
    let link = NatsLink::of_a_person(settings).await?;
    let reader = LogReader::new(&link, args, approvers);
    let mut checked = BTreeMap::new();
    let mut followed = Vec::new();
    let mut is_empty = true;
    for group in settings.looked_at() {
        let (consumer, waiting) = reader.consumer(&group).await?;
        if reader.args.follow {
            followed.push(messages(consumer).await?);
            continue;
        }
        is_empty &= waiting == 0;
        read(consumer, waiting, |message| {
            reader.take(message, &mut checked)
        })
        .await?;
    }
    if reader.args.verify {
        reader.expect(listed, &settings.looked_at(), &mut checked);
        return reader.tell(checked);
    }
    if !reader.args.follow {
        if is_empty && !reader.args.json {
            print("the servers keep nothing of that\n")?;
        }
        return Ok(VerbOutcome::Done);
    }
    let mut all = select_all(followed);
    while let Some(message) = all.next().await {
        let message = message.map_err(|error| anyhow!("the server has gone: {error}"))?;
        reader.take(&message, &mut checked)?;
    }
    Ok(VerbOutcome::Done)
}

/// What was found, by machine.
type Checked = BTreeMap<(Group, Machine), Collector>;

struct LogReader {
    servers: jetstream::Context,
    args: LogArgs,
    /// Whose keys count; none: the logs say it.
    approvers: Option<ApproverList>,
    since: Option<Timestamp>,
    room: Room,
}

/// What may still be checked.
struct Room(Cell<u64>);

impl Room {
    /// Takes a record's.
    fn take(&self) -> Result<()> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.with_context(|| {
            format!(
                "these are more than {MOST} records: check one machine after the other, by --machine, or what is no older than --since"
            )
        })?);
        Ok(())
    }
}

/// Who may sign, as somebody has kept it elsewhere.
fn approvers(args: &LogArgs) -> Result<Option<ApproverList>> {
    let Some(file) = &args.approvers else {
        return Ok(None);
    };
    let text = list::read_plain(file, list::LONGEST)?;
    let known = ApproverList::parse(&text);
    let known = known.with_context(|| format!("{} lists no approvers", file.display()))?;
    Ok(Some(known))
}

impl LogReader {
    fn new(link: &NatsLink, args: LogArgs, approvers: Option<ApproverList>) -> Self {
        let servers = jetstream::ContextBuilder::new()
            .timeout(TIMEOUT)
            .build(link.client.clone());
        let since = args
            .since
            .and_then(|ago| Timestamp::now().checked_sub(ago).ok());
        Self {
            servers,
            args,
            approvers,
            since,
            room: Room(Cell::new(MOST)),
        }
    }

    /// What reads a group's, and how much there is now.
    async fn consumer(&self, group: &Group) -> Result<(Consumer<OrderedConfig>, u64)> {
        // Whoever types a whole id has the server look for it.
        let machine = self.args.machine.as_deref();
        let machine = machine.and_then(|machine| machine.parse().ok());
        let deliver_policy = match self.since {
            None => DeliverPolicy::All,
            // A record is written before it is sent.
            Some(since) => DeliverPolicy::ByStartTime {
                start_time: SystemTime::from(since).into(),
            },
        };
        let config = OrderedConfig {
            name: Some(name()?),
            filter_subject: group.all(SubjectKind::Log, machine.as_ref()),
            deliver_policy,
            ..OrderedConfig::default()
        };
        let made = self.servers.create_consumer_on_stream(config, stream::NAME);
        let made = made.await.map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                anyhow!("no server keeps logs: guard-fleet keep --log makes the stream")
            }
            ConsumerErrorKind::TimedOut => anyhow!(
                "no server lets this key read logs of {group}: log = true beside the person in the list, and guard-fleet keep --log; or too few of the servers are there"
            ),
            _ => anyhow!("the server gives no logs: {}", visible(&error, LINE)),
        })?;
        let waiting = made.cached_info().num_pending;
        Ok((made, waiting))
    }

    /// Takes a message.
    fn take(&self, message: &Message, checked: &mut Checked) -> Result<()> {
        let Some(subject) = Subject::parse(&message.subject) else {
            return Ok(());
        };
        let (group, machine) = (subject.group, subject.machine);
        if !self.is_wanted(&machine) {
            return Ok(());
        }
        if self.args.verify {
            self.room.take()?;
            let signatures = || self.signatures(&machine);
            let collector = checked.entry((group, machine.clone()));
            let collector = collector.or_insert_with(|| Collector::new(signatures()));
            collector.take(&message.payload);
            return Ok(());
        }
        if let Some(text) = self.shown(&group, &machine, &message.payload) {
            print(&text)?;
        }
        Ok(())
    }

    fn is_wanted(&self, machine: &Machine) -> bool {
        let wanted = self.args.machine.as_deref();
        wanted.is_none_or(|wanted| machine.begins(wanted))
    }

    /// By which keys a machine's signatures are checked, if they are.
    fn signatures(&self, machine: &Machine) -> Option<Signatures> {
        let by = match &self.approvers {
            Some(known) => Signatures::by(known),
            None => Signatures::by_log(),
        };
        let of = by.of(&machine.to_string());
        self.args.signatures.then_some(of)
    }

    /// Of each that is listed there has to be something.
    fn expect(&self, listed: Vec<ListedMachine>, groups: &[Group], checked: &mut Checked) {
        for one in listed {
            if groups.contains(&one.group) && self.is_wanted(&one.id) {
                let at = (one.group, one.id);
                checked.entry(at).or_insert_with(|| Collector::new(None));
            }
        }
    }

    fn shown(&self, group: &Group, machine: &Machine, payload: &[u8]) -> Option<String> {
        let record = match Line::of(payload) {
            Line::Chained(one) => one.record,
            Line::Plain(record) => record,
            Line::Nothing => {
                let text = match serde_json::from_slice::<Missing>(payload) {
                    Ok(Missing { from, to, why }) => {
                        format!("records {from} to {to} are missing: {why}")
                    }
                    Err(_) => "what it sent is no record".to_owned(),
                };
                return Some(if self.args.json {
                    show::line(&json!({"group": group, "machine": machine, "problem": text}))
                } else {
                    format!("{machine}  {}\n", visible(&text, LINE))
                });
            }
        };
        if self.since.is_some_and(|since| record.at < since) {
            return None;
        }
        if self.args.json {
            let record: Value = serde_json::from_slice(payload).ok()?;
            return Some(show::line(
                &json!({"group": group, "machine": machine, "record": record}),
            ));
        }
        let kind = serde_json::to_value(record.kind).ok()?;
        let kind = kind.as_str().unwrap_or_default();
        let session = record.session.as_deref().unwrap_or("-");
        let is_shown = |name: &str| !matches!(name, "number" | "hash" | "previous");
        let fields = record
            .fields
            .iter()
            .filter(|(name, value)| is_shown(name) && !value.is_null());
        let mut text = format!(
            "{:.0}  {machine}  {kind}  {}",
            record.at,
            escaped(session, 64)
        );
        for (name, value) in fields {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("  {name}={value}"));
        }
        Some(format!("{}\n", visible(&text, LINE)))
    }

    /// What was found of each machine.
    fn tell(&self, checked: Checked) -> Result<VerbOutcome> {
        let mut all_whole = !checked.is_empty();
        for ((group, machine), collector) in checked {
            let found = collector.finish();
            all_whole &= found.whole;
            print(&if self.args.json {
                let mut object = serde_json::to_value(&found)?;
                object["group"] = serde_json::to_value(&group)?;
                object["machine"] = serde_json::to_value(&machine)?;
                show::line(&object)
            } else {
                page(&group, &machine, &found)
            })?;
        }
        if !all_whole && !self.args.json {
            print("not all is whole\n")?;
        }
        Ok(if all_whole {
            VerbOutcome::Done
        } else {
            VerbOutcome::No
        })
    }
}

fn page(group: &Group, machine: &Machine, found: &Collected) -> String {
    let whole = if found.whole { "whole" } else { "NOT WHOLE" };
    let mut text = format!("{machine}  {group}: {whole}, {} records", found.records);
    if let (Some(first), Some(head)) = (found.first, found.head) {
        text.push_str(&format!(" from {first} to {head}"));
    }
    text.push('\n');
    let mut add = |line: String| text.push_str(&format!("    {}\n", visible(&line, LINE)));
    if found.records == 0 && found.findings.is_empty() {
        add("nothing that it has sent is kept".to_owned());
    }
    if found.doubles > 0 {
        add(format!("{} came twice and are the same", found.doubles));
    }
    if found.lost > 0 {
        add(format!(
            "{} could not be written on the machine",
            found.lost
        ));
    }
    found.findings.iter().map(finding).for_each(&mut add);
    if found.more > 0 {
        add(format!("and {} more", found.more));
    }
    let signatures = found.signatures.iter().flatten();
    signatures.map(signature).for_each(add);
    text
}

fn finding(one: &LogFinding) -> String {
    match one {
        LogFinding::Gap { from, to, why } => {
            let why = why.as_ref().map(|why| format!(": {why}"));
            format!(
                "records {from} to {to} are missing{}",
                why.unwrap_or_default()
            )
        }
        LogFinding::Altered { number } => format!("record {number} is not as it was written"),
        LogFinding::WentBack { number, after } => format!(
            "the log begins again at {number}, after {after}: it was removed there, or brought back from earlier"
        ),
        LogFinding::NoRecord => "something that is no record".to_owned(),
    }
}

fn signature(one: &CheckedSignature) -> String {
    let ok = match (&one.why, one.part_of) {
        (Some(why), _) => format!("NOT SIGNED: {why}"),
        (None, Some(first)) => format!("signed, as a part of record {first}"),
        (None, None) => "signed".to_owned(),
    };
    format!("record {}: {} by {}, {ok}", one.number, one.answer, one.by)
}

async fn messages(consumer: Consumer<OrderedConfig>) -> Result<Ordered> {
    consumer
        .messages()
        .await
        .map_err(|error| anyhow!("cannot read logs: {}", visible(&error, LINE)))
}

/// Reads the messages that the stream had when the consumer began.
async fn read(
    consumer: Consumer<OrderedConfig>,
    waiting: u64,
    mut take: impl FnMut(&Message) -> Result<()>,
) -> Result<()> {
    if waiting == 0 {
        return Ok(());
    }
    let mut messages = messages(consumer).await?;
    for _ in 0..waiting {
        let message = timeout(TIMEOUT, messages.next()).await;
        let message = message.context("the server sends no more of what it has")?;
        let message = message.context("the connection has ended")?;
        let message = message.map_err(|error| anyhow!("the server has gone: {error}"))?;
        take(&message)?;
        let left = message
            .info()
            .map_err(|error| anyhow!("the server does not say how much there is: {error}"))?;
        // Some may have got too old meanwhile.
        if left.pending == 0 {
            break;
        }
    }
    Ok(())
}

/// A name that nobody guesses: whoever knows it could take messages out of it.
fn name() -> Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("there are no random numbers")?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_much_to_check_at_once_is_said_how_to_check_it() {
        let room = Room(Cell::new(2));
        assert!(room.take().is_ok() && room.take().is_ok());
        let error = room.take().map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("--machine")));
    }
}
