//! The server's messages, on their way to the client.

use std::{cell::RefCell, io, rc::Rc};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufWriter},
    sync::{Notify, SetOnce},
};

use super::{
    super::{client::ConnectionContext, wire::Entry},
    frame::{Fields, HEAD, MAX_READ, MessageHead, Reader, invalid},
    judge::{self, Release},
    ledger::{Expected, Ledger, OwnReply},
    refusal::{MARK, message},
};

/// Rows of an answer to the guard itself that are kept.
const MAX_ROWS: usize = 64;
/// Bytes of them.
const MAX_KEPT: usize = 1024 * 1024;
/// `AuthenticationSASL` (PostgreSQL's documentation, 55.7).
const SASL: i32 = 10;
/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// The state that both directions share.
#[derive(Debug)]
pub(super) struct BothDirections {
    pub(super) ledger: RefCell<Ledger>,
    /// Wakes when the server has answered something.
    pub(super) answered: Notify,
    /// Set when something has passed because a hole for everything is open.
    by_hole: SetOnce<()>,
}

impl BothDirections {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            ledger: RefCell::new(Ledger::new()),
            answered: Notify::new(),
            by_hole: SetOnce::new(),
        })
    }

    /// Notes that a hole for everything lets something pass.
    pub(super) fn goes_by_hole(&self) {
        // It may be set already.
        let _ = self.by_hole.set(());
    }

    /// Waits for that.
    pub(super) async fn has_gone_by_hole(&self) {
        self.by_hole.wait().await;
    }

    /// Waits until the server has answered everything.
    pub(super) async fn idle(&self) {
        while !self.ledger.borrow().is_idle() {
            self.answered.notified().await;
        }
    }
}

/// Relays the server's messages, until its end.
///
/// # Errors
///
/// The system's; violations of the protocol.
pub(super) async fn serve<R, W>(
    context: &ConnectionContext,
    from: Reader<R>,
    to: &mut W,
    shared: &BothDirections,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // Each write wakes the client, and an answer is many messages.
    let mut to = BufWriter::new(to);
    let ended = pass(context, from, &mut to, shared).await;
    // What came before the end was for the client.
    let flushed = to.flush().await;
    ended.and(flushed)
}

async fn pass<R, W>(
    context: &ConnectionContext,
    mut from: Reader<R>,
    to: &mut W,
    shared: &BothDirections,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut heard = Ok(Vec::new());
    loop {
        // Messages without a meaning to the guard go on in one piece.
        let passes = passing(from.ahead(), &shared.ledger.borrow());
        if passes > 0 {
            let bytes = from.ahead().split_to(passes);
            to.write_all(&bytes).await?;
        }
        if from.ahead().len() < HEAD {
            // Nothing is held back from the client during a wait.
            to.flush().await?;
        }
        if from.ahead().len() < HEAD && !from.ahead().is_empty() {
            if !from.fill(READ).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        }
        let Some(head) = from.head().await? else {
            return Ok(());
        };
        if from.ahead().len() < HEAD + head.body {
            to.flush().await?;
        }
        if is_plain(head.tag) && !shared.ledger.borrow().is_own() {
            if from.ahead().len() >= HEAD + head.body {
                continue;
            }
            from.pass(head, to).await?;
            continue;
        }
        if head.body > MAX_READ {
            pass_too_long(&mut from, head, to, shared, &mut heard).await?;
            continue;
        }
        let message = from.message(head).await?;
        let is_own = shared.ledger.borrow().is_own();
        let mut said = hear(head, &message, &shared.ledger, &mut heard)?;
        if !is_own && head.tag == b'E' && contains(&message, HELD_TO_READ) {
            let why = format!(
                "what is behind a statement would have changed something: {}",
                told(&message)
            );
            context.log(super::of_sql(Entry::refused(&why)));
            said = said.map(|message| held_to_read(&message));
        }
        let is_aside = matches!(head.tag, b'N' | b'A');
        if let (Some(said), true) = (said, !is_own || is_aside) {
            to.write_all(&said).await?;
        }
        shared.answered.notify_one();
    }
}

/// Passes on, or skips, a message that is longer than what is read at once.
async fn pass_too_long<R, W>(
    from: &mut Reader<R>,
    head: MessageHead,
    to: &mut W,
    shared: &BothDirections,
    heard: &mut OwnReply,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if shared.ledger.borrow().is_own() {
        from.skip(head).await?;
        *heard = Err("more than is read at once".to_owned());
        return Ok(());
    }
    if head.tag != b'E' {
        return Err(invalid("the server says more at once than can be read"));
    }
    // A refused statement fails with a shorter message.
    shared.ledger.borrow_mut().failed();
    from.pass(head, to).await?;
    shared.answered.notify_one();
    Ok(())
}

/// Whether a message means nothing to the guard.
fn is_plain(tag: u8) -> bool {
    !matches!(
        tag,
        b'1' | b'2' | b'3' | b'E' | b'G' | b'K' | b'R' | b'S' | b'W' | b'Z'
    )
}

/// The number of bytes that are whole messages without a meaning to the guard.
fn passing(ahead: &[u8], ledger: &Ledger) -> usize {
    let mut at = 0;
    if ledger.is_own() {
        return at;
    }
    while let Some([tag, a, b, c, d]) = ahead[at..].first_chunk::<HEAD>() {
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        let Ok(length) = usize::try_from(length) else {
            return at;
        };
        let next = at.saturating_add(length).saturating_add(1);
        if !is_plain(*tag) || length < 4 || next > ahead.len() {
            return at;
        }
        at = next;
    }
    at
}

/// Notes a message. Returns what the client gets, if anything.
fn hear(
    head: MessageHead,
    message: &Bytes,
    ledger: &RefCell<Ledger>,
    heard: &mut OwnReply,
) -> io::Result<Option<Bytes>> {
    let mut ledger = ledger.borrow_mut();
    match head.tag {
        // Only rows of the guard's own query come here.
        b'D' => keep_row(message, heard)?,
        b'1' | b'2' | b'3' if ledger.is_own() => {}
        b'1' => ledger.parsed()?,
        b'2' => ledger.bound()?,
        b'3' => ledger.closed()?,
        b'G' => ledger.copies()?,
        b'W' if ledger.replicates => ledger.copies()?,
        b'W' => return Err(invalid("the server begins a replication")),
        b'K' => ledger.cancel_key = Bytes::copy_from_slice(&message[HEAD..]),
        b'S' => setting(message, &mut ledger)?,
        b'R' => ledger.asks_sasl = Fields::of(message).number()? == SASL,
        b'E' => {
            let refusal = ledger.failed();
            let is_of_refused = contains(message, MARK.as_bytes());
            if ledger.is_own() {
                *heard = Err(told(message));
            }
            if let (Some(refusal), true) = (refusal, is_of_refused) {
                return Ok(Some(refusal.message("ERROR")));
            }
        }
        b'Z' => {
            let status = Fields::of(message).byte()?;
            match ledger.ready(status)? {
                Expected::Own(tell) => {
                    // The waiter may be gone.
                    let _ = tell.send(std::mem::replace(heard, Ok(Vec::new())));
                }
                Expected::Quiet => return Ok(None),
                _ => {}
            }
        }
        _ => {}
    }
    Ok(Some(message.clone()))
}

/// Keeps what a row of the guard's own query says, as far as there is room.
fn keep_row(message: &Bytes, heard: &mut OwnReply) -> io::Result<()> {
    if let Ok(rows) = heard
        && rows.len() < MAX_ROWS
    {
        let column = first_column(message)?;
        let kept: usize = rows.iter().map(Bytes::len).sum();
        if kept + column.len() <= MAX_KEPT {
            // Not as a part of what was read, which would stay.
            rows.push(Bytes::copy_from_slice(&column))
        } else {
            *heard = Err("the server answers with too much".to_owned())
        }
    }
    Ok(())
}

/// In an error of a server that a transaction only reads (in PostgreSQL's utility.c), whatever its language. A standby's
/// names another function.
const HELD_TO_READ: &[u8] = b"\0RPreventCommandIfReadOnly\0";
const HINT: &str = "guard holds this connection to reading, and what is behind this statement, as a function of a view, would \
     have changed something. Go on without it, and say so in your answer.";

/// Such an error with a hint for the client.
fn held_to_read(error: &Bytes) -> Bytes {
    let fields = error[HEAD..].strip_suffix(&[0]).unwrap_or(&error[HEAD..]);
    message(b'E', &[fields, b"H", HINT.as_bytes(), &[0, 0]].concat())
}

/// The text of an error: the field `M`.
fn told(message: &Bytes) -> String {
    let mut fields = message[HEAD..].split(|byte| *byte == 0);
    let said = fields.find_map(|field| field.strip_prefix(b"M"));
    String::from_utf8_lossy(said.unwrap_or_default()).into_owned()
}

/// The first column of a row; empty if it is NULL.
fn first_column(message: &Bytes) -> io::Result<Bytes> {
    let mut fields = Fields::of(message);
    fields.count()?;
    match usize::try_from(fields.number()?) {
        Ok(length) => fields.bytes(length),
        Err(_) => Ok(Bytes::new()),
    }
}

/// The server reports a setting: some change how it parses its input.
fn setting(message: &Bytes, ledger: &mut Ledger) -> io::Result<()> {
    let mut fields = Fields::of(message);
    let (name, value) = (fields.string()?, fields.string()?);
    let said = String::from_utf8_lossy(&value);
    if &name[..] == b"server_version" {
        ledger.note_release(Release::of(&said));
        return Ok(());
    }
    let is_odd = match &name[..] {
        b"standard_conforming_strings" => {
            judge::startup("standard_conforming_strings", &said).is_err()
        }
        b"client_encoding" => judge::startup("client_encoding", &said).is_err(),
        // Set by a function, if not by the guard itself.
        b"default_transaction_read_only" => said != "on" && !ledger.is_own(),
        _ => return Ok(()),
    };
    if &name[..] == b"default_transaction_read_only" {
        ledger.is_locked = said == "on";
    }
    ledger.note_odd(name, is_odd);
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
