//! The audit log out: each record as it stands there, in their order, into the stream that servers keep.
//!
//! The truth is the machine's own log: what the servers have of it is a copy, and a cursor on the disk says up to where. It moves when
//! a server has said that it keeps a record, and moves back to what the servers still have where they lost some. So a record may be
//! sent twice, which its number and hash show, and none is left out silently.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use async_nats::jetstream::{
    self,
    context::{PublishError, PublishErrorKind},
    message::PublishMessage,
    publish::PublishAck,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use guard_courier::{CourierReplies, Refusal};
use guard_proto::{Call, record::LogLine};
use guard_signed::visible::visible;
use guard_trail::{ChainHead, chain::Line, verify::collected::Missing};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::Carrier;
use crate::{
    link::{self, NatsLink},
    list::replace,
    messages::{self, LogSent},
    settings::Settings,
    stream,
    subjects::SubjectKind,
};

/// Records at once, and their bytes, at most.
const MOST: (usize, usize) = (128, 1024 * 1024);
/// How long a server may take to keep a record.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest and the longest pause after something went wrong.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// While nothing happens: how often the servers are asked whether they still have what they had.
const ASKED: Duration = Duration::from_secs(60);
/// Nothing is to be sent where nothing has come for so long.
const CALM: Duration = Duration::from_secs(1);
/// Beside a record, a message has a subject and headers.
const BESIDE: usize = 1024;
/// Places that are cached, and the least number of records between two of them.
const MARKS: (usize, u64) = (256, 64);
/// No message has this number: what publishes behind it hears which the last one is.
const NEVER: u64 = i64::MAX as u64;
/// Characters of what a server says that are shown.
const LINE: usize = 256;

/// How far the log has come, as the disk has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Cursor {
    /// The last record that servers have; none: they have none.
    head: Option<ChainHead>,
    /// The number of its message in the stream.
    sequence: u64,
    /// The same of earlier ones, the oldest first: servers may lose the last that they had.
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    sequence: u64,
    head: ChainHead,
}

/// Why it goes no further for now.
#[derive(Debug)]
enum Stopped {
    /// The servers have less or more than the cursor says: it has moved.
    Moved,
    /// This.
    By(String),
}

/// Something to publish.
#[derive(Debug)]
struct Item {
    /// The record that it is, or the one before which some are missing.
    head: ChainHead,
    /// What the server tells the same thing by.
    id: String,
    payload: Bytes,
    /// Whether servers have the record when they have this.
    is_record: bool,
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        let failure = refusal.failure;
        Self::By(format!(
            "{}: {}\n{}",
            failure.what, failure.why, failure.fix
        ))
    }
}

/// Sends it, if the settings say so, for as long as this runs.
pub(super) async fn carry(carrier: &Carrier, settings: &Settings) {
    if !settings.log {
        return std::future::pending().await;
    }
    // A server knows the key, once it has taken that.
    carrier.link.clone().standing().await;
    let link = match NatsLink::for_log(settings).await {
        Ok(link) => link,
        Err(error) => {
            tracing::error!("the audit log does not go out: {error:#}");
            return std::future::pending().await;
        }
    };
    let mut sender = Sender::new(carrier, link, settings.key.with_file_name("log.cursor"));
    let mut failed = 0;
    let mut said = None;
    loop {
        let Err(stopped) = sender.send().await;
        if std::mem::take(&mut sender.has_moved) {
            failed = 0;
            said = None;
        }
        let Stopped::By(why) = stopped else {
            continue;
        };
        if said.as_ref() != Some(&why) {
            tracing::warn!("the audit log does not go out: {why}");
        }
        sender.tell(Some(&why));
        said = Some(why);
        let whole = (PAUSES.0 * 2_u32.pow(failed)).min(PAUSES.1);
        failed = (failed + 1).min(16);
        // One that is back is asked at once.
        let mut link = sender.link.clone();
        let _ = timeout(whole.mul_f64(0.5 + link::random() / 2.0), link.change()).await;
    }
}

#[derive(Debug)]
struct Sender<'c> {
    carrier: &'c Carrier,
    /// Of its own.
    link: NatsLink,
    servers: jetstream::Context,
    subject: String,
    file: PathBuf,
    cursor: Cursor,
    /// Whether servers have taken something lately.
    has_moved: bool,
    /// Whether the cursor could not be written.
    is_unwritten: bool,
}

impl<'c> Sender<'c> {
    fn new(carrier: &'c Carrier, link: NatsLink, file: PathBuf) -> Self {
        let servers = jetstream::ContextBuilder::new()
            .timeout(TIMEOUT)
            .build(link.client.clone());
        let cursor = Cursor::read(&file).unwrap_or_else(|error| {
            // Servers say what they have: it may be sent again.
            tracing::warn!(
                "{}: {error}: the audit log is sent from its beginning",
                file.display()
            );
            Cursor::default()
        });
        let sender = Self {
            carrier,
            link,
            servers,
            subject: carrier.subject(SubjectKind::Log, None),
            file,
            cursor,
            has_moved: false,
            is_unwritten: false,
        };
        sender.tell(None);
        sender
    }

    /// What others hear of it.
    fn tell(&self, problem: Option<&str>) {
        let sent = LogSent {
            number: self.cursor.head.map_or(0, |head| head.number),
            problem: problem.map(|why| visible(why.lines().next().unwrap_or_default(), LINE)),
        };
        self.carrier.log.replace(Some(sent));
    }

    /// Sends all that comes, until something is in the way.
    async fn send(&mut self) -> Result<std::convert::Infallible, Stopped> {
        let mut link = self.link.clone();
        link.standing().await;
        let last = self.last_kept().await?;
        self.compare(last)?;
        let mut from = self.cursor.head;
        let call = Call::LogLines {
            from: from.map(|head| head.number),
            follow: true,
        };
        let mut lines = self.carrier.guardd.stream::<LogLine>(&call).await?;
        // What was in the way is, until servers have kept something, or there is nothing to be sent.
        let mut is_calm = false;
        loop {
            let first = tokio::select! {
                first = lines.next() => first?,
                () = link.change() => {
                    link.standing().await;
                    let last = self.last_kept().await?;
                    self.compare(last)?;
                    continue;
                }
                () = sleep(CALM), if !is_calm => {
                    is_calm = true;
                    self.tell(None);
                    continue;
                }
                () = sleep(ASKED) => {
                    let last = self.last_kept().await?;
                    self.compare(last)?;
                    continue;
                }
            };
            let first = first.ok_or_else(|| Stopped::By("guardd has ended its log".to_owned()))?;
            let (items, stopped) = self.items(&mut from, batch(first, &mut lines)?)?;
            self.publish(items).await?;
            if let Some(stopped) = stopped {
                return Err(stopped);
            }
        }
    }

    /// What is to be published: the records, and that some are missing before one. `from`: the record that the first line is, if this is
    /// the log that the cursor is of. And what is in the way of the rest.
    fn items(
        &mut self,
        from: &mut Option<ChainHead>,
        lines: Vec<String>,
    ) -> Result<(Vec<Item>, Option<Stopped>), Stopped> {
        let mut items = Vec::with_capacity(lines.len());
        let mut before = self.cursor.head;
        for line in lines {
            let Line::Chained(one) = Line::of(line.as_bytes()) else {
                return Err(Stopped::By("guardd sends what is no record".to_owned()));
            };
            let head = one.head;
            if let Some(asked) = from.take() {
                if head == asked {
                    continue;
                }
                if head.number == asked.number {
                    // It is another log, of which all is to be sent.
                    self.cursor.head = None;
                    return Err(Stopped::Moved);
                }
            }
            let gap = before.map(|before| (before.number + 1, head.number.saturating_sub(1)));
            if let Some((from, to)) = gap.filter(|(from, to)| from <= to) {
                let why =
                    "they were not in the machine's log any more, or not as they were written";
                items.push(self.missing(from, to, why, head));
            }
            before = Some(head);
            match self.item(head, line) {
                Ok(item) => items.push(item),
                Err(stopped) => return Ok((items, Some(stopped))),
            }
        }
        Ok((items, None))
    }

    /// What a record is published as.
    fn item(&self, head: ChainHead, line: String) -> Result<Item, Stopped> {
        let takes = self.link.client.server_info().max_payload;
        let (takes, longest) = (takes.saturating_sub(BESIDE), link::LONGEST - BESIDE);
        if line.len() > longest {
            let why = format!("it has {} bytes, and {longest} go out", line.len());
            return Ok(Item {
                is_record: true,
                ..self.missing(head.number, head.number, &why, head)
            });
        }
        // What a server says of itself anybody in the path may have said: no record is left out for that.
        if line.len() > takes {
            return Err(Stopped::By(format!(
                "record {} has {} bytes, and the server takes {takes}: max_payload in nats-server.conf",
                head.number,
                line.len()
            )));
        }
        Ok(Item {
            head,
            // A log that was begun again has the same numbers.
            id: format!("{}-{}-{}", self.carrier.machine, head.number, short(&head)),
            payload: line.into(),
            is_record: true,
        })
    }

    fn missing(&self, from: u64, to: u64, why: &str, before: ChainHead) -> Item {
        let missing = Missing {
            from,
            to,
            why: why.to_owned(),
        };
        Item {
            head: before,
            id: format!(
                "{}-missing-{from}-{to}-{}",
                self.carrier.machine,
                short(&before)
            ),
            payload: messages::bytes(&missing).into(),
            is_record: false,
        }
    }

    /// Publishes, and moves the cursor up to what servers have said that they keep.
    async fn publish(&mut self, items: Vec<Item>) -> Result<(), Stopped> {
        let mut items = items.into_iter();
        let Some(first) = items.next() else {
            return Ok(());
        };
        // Where they have something else than the cursor says, this one is refused, and nothing comes after it.
        let expected = message(&first).expected_last_subject_sequence(self.cursor.sequence);
        match self.kept(expected).await {
            Ok(kept) => self.cursor.advance(&first, &kept)?,
            Err(error) => {
                let last = last_of(&error).ok_or_else(|| refused(&error))?;
                self.compare(last)?;
                return Err(refused(&error));
            }
        }
        let mut sent = Vec::new();
        for item in items {
            let message = message(&item);
            match self
                .servers
                .send_publish(self.subject.clone(), message)
                .await
            {
                Ok(kept) => sent.push((item, Ok(kept))),
                Err(error) => {
                    sent.push((item, Err(error)));
                    break;
                }
            }
        }
        let mut done = Ok(());
        for (item, kept) in sent {
            let kept = match kept {
                Ok(kept) => kept.await,
                Err(error) => Err(error),
            };
            let kept = kept.map_err(|error| refused(&error));
            done = kept.and_then(|kept| self.cursor.advance(&item, &kept));
            if done.is_err() {
                break;
            }
        }
        self.has_moved = true;
        self.save();
        self.tell(None);
        done
    }

    async fn kept(&self, message: PublishMessage) -> Result<PublishAck, PublishError> {
        let kept = self.servers.send_publish(self.subject.clone(), message);
        kept.await?.await
    }

    /// The number of the last message that servers have of this machine; 0: none.
    async fn last_kept(&self) -> Result<u64, Stopped> {
        let nothing = PublishMessage::build().expected_last_subject_sequence(NEVER);
        match self.kept(nothing).await {
            Ok(kept) => Ok(kept.sequence),
            Err(error) => last_of(&error).ok_or_else(|| refused(&error)),
        }
    }

    /// Has the cursor be where the servers are.
    fn compare(&mut self, last: u64) -> Result<(), Stopped> {
        if last == self.cursor.sequence {
            return Ok(());
        }
        if last < self.cursor.sequence {
            self.cursor.go_back(last);
            let from = self.cursor.head.map_or(0, |head| head.number);
            tracing::warn!(from, "the servers have lost records: they are sent again");
        } else {
            // An earlier one has sent more than it could write down: its name shows what is sent twice.
            self.cursor.sequence = last;
        }
        self.save();
        Err(Stopped::Moved)
    }

    fn save(&mut self) {
        let text = String::from_utf8(messages::bytes(&self.cursor)).unwrap_or_default();
        match replace(&self.file, &text, None) {
            Ok(()) => self.is_unwritten = false,
            // It goes on: what is sent again after a restart differs from what is new.
            Err(error) if !std::mem::replace(&mut self.is_unwritten, true) => {
                tracing::error!("how far the audit log has come is not written down: {error:#}");
            }
            Err(_) => {}
        }
    }
}

/// The first, and others that are there, up to so many.
fn batch(first: LogLine, lines: &mut CourierReplies<LogLine>) -> Result<Vec<String>, Stopped> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(LogLine { line }) = next {
        bytes += line.len();
        some.push(line);
        next = if some.len() >= MOST.0 || bytes >= MOST.1 {
            None
        } else {
            more(lines)?
        };
    }
    Ok(some)
}

/// What has come beside the first, without waiting for it.
fn more(lines: &mut CourierReplies<LogLine>) -> Result<Option<LogLine>, Stopped> {
    match lines.next().now_or_never() {
        Some(line) => Ok(line?),
        None => Ok(None),
    }
}

fn message(item: &Item) -> PublishMessage {
    PublishMessage::build()
        .payload(item.payload.clone())
        .message_id(&item.id)
        .expected_stream(stream::NAME)
}

fn short(head: &ChainHead) -> String {
    head.hash.to_string().chars().take(16).collect()
}

/// Where a server has another last message than was expected: its number.
fn last_of(error: &PublishError) -> Option<u64> {
    if error.kind() != PublishErrorKind::WrongLastSequence {
        return None;
    }
    last_in(&std::error::Error::source(error)?.to_string())
}

/// Behind `wrong last sequence: ` there is a number, and behind that are those of the error.
fn last_in(said: &str) -> Option<u64> {
    let mut digits = said.split(|c: char| !c.is_ascii_digit());
    digits.find(|text| !text.is_empty())?.parse().ok()
}

fn refused(error: &PublishError) -> Stopped {
    Stopped::By(match error.kind() {
        PublishErrorKind::StreamNotFound => {
            // A server that is alone of several says no more than one that has no stream.
            "no server keeps logs: too few of the servers are there, or guard-fleet keep --log has to be told beside one that has jetstream".to_owned()
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            "no server says that it has kept a record: it may have no right to it, or too few of the servers are there".to_owned()
        }
        _ => {
            let source = std::error::Error::source(error);
            let said = source.map_or_else(|| error.to_string(), ToString::to_string);
            format!("the server keeps no record: {}", visible(&said, LINE))
        }
    })
}

impl Cursor {
    fn read(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Servers have that, too.
    fn advance(&mut self, item: &Item, kept: &PublishAck) -> Result<(), Stopped> {
        let sequence = kept.sequence;
        if !kept.duplicate && sequence <= self.sequence {
            // The sequence restarted at one: the stream was removed a moment ago.
            *self = Self {
                sequence,
                ..Self::default()
            };
            return Err(Stopped::Moved);
        }
        self.sequence = self.sequence.max(sequence);
        if !item.is_record {
            return Ok(());
        }
        let head = item.head;
        self.head = Some(head);
        let last = self.marks.last();
        let is_far = last.is_none_or(|last| {
            head.number < last.head.number || head.number >= last.head.number + MARKS.1
        });
        if is_far {
            self.marks.push(Mark { sequence, head });
        }
        if self.marks.len() > MARKS.0 {
            self.marks.remove(0);
        }
        Ok(())
    }

    /// The last message that servers have is this.
    fn go_back(&mut self, sequence: u64) {
        self.marks.retain(|mark| mark.sequence <= sequence);
        self.head = self.marks.last().map(|mark| mark.head);
        self.sequence = sequence;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u64) -> Item {
        let hash = format!("{number:064x}").parse();
        Item {
            head: ChainHead {
                number,
                hash: hash.unwrap_or_else(|error| panic!("{error}")),
            },
            id: String::new(),
            payload: Bytes::new(),
            is_record: true,
        }
    }

    fn kept(sequence: u64, duplicate: bool) -> PublishAck {
        PublishAck {
            sequence,
            duplicate,
            ..PublishAck::default()
        }
    }

    #[test]
    fn a_refusal_says_what_is_there() {
        let said = "wrong last sequence: 12 (code 400, error code 10071)";
        assert_eq!(last_in(said), Some(12));
        assert_eq!(last_in("wrong last sequence: 0"), Some(0));
        assert_eq!(last_in("wrong"), None);
    }

    #[test]
    fn a_stream_that_counts_anew_has_nothing() {
        let mut cursor = Cursor::default();
        assert!(cursor.advance(&item(1), &kept(70, false)).is_ok());
        assert!(cursor.advance(&item(2), &kept(60, true)).is_ok());
        assert_eq!(cursor.sequence, 70, "it was there before");
        assert!(cursor.advance(&item(3), &kept(4, false)).is_err());
        assert_eq!((cursor.head, cursor.sequence), (None, 4));
    }

    #[test]
    fn where_servers_lost_some_it_goes_back_to_what_they_have() {
        let mut cursor = Cursor::default();
        for number in 1..=500 {
            assert!(
                cursor
                    .advance(&item(number), &kept(number * 10, false))
                    .is_ok()
            );
        }
        assert_eq!(cursor.sequence, 5000);
        cursor.go_back(2005);
        let back = cursor.head.map(|head| head.number);
        assert!(
            back.is_some_and(|back| (200 - MARKS.1..=200).contains(&back)),
            "{back:?}"
        );
        cursor.go_back(0);
        assert_eq!(cursor, Cursor::default());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_reads_as_it_was_written() -> Result<()> {
        let mut cursor = Cursor::default();
        for number in 1..=100_000 {
            assert!(cursor.advance(&item(number), &kept(number, false)).is_ok());
        }
        assert_eq!(cursor.marks.len(), MARKS.0);
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("log.cursor");
        assert_eq!(Cursor::read(&file)?, Cursor::default());
        fs::write(&file, messages::bytes(&cursor))?;
        assert_eq!(Cursor::read(&file)?, cursor);
        fs::write(&file, "half")?;
        assert!(Cursor::read(&file).is_err());
        Ok(())
    }
}
