//! One question to the server that was meant, by UDP or TCP as it came.

use std::{cell::RefCell, io, net::SocketAddr};

use guard_sys::readiness::Readable;
use rustix::{
    net::{RecvFlags, SendFlags, recv, send},
    rand::{GetRandomFlags, getrandom},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    common::Common,
    networks::Network,
    question::{HEADER, Question, is_answered},
};

/// What a server has answered.
#[derive(Debug)]
pub(super) struct ServersAnswer {
    /// The message.
    pub(super) message: Vec<u8>,
    /// What a datagram came by. To close it takes two system calls, which the program need not wait for: drop it once that has its
    /// answer.
    pub(super) socket: Option<Readable>,
}

/// How often a question is sent by UDP.
const TRIES: u32 = 2;

/// TC, in the third byte of a header.
const TC: u8 = 0x02;

/// Asks a server, by TCP where `is_stream`: what a policy lets pass by TCP alone does not leave by UDP, and where UDP goes nowhere a
/// program asks by TCP.
///
/// # Errors
///
/// The system's; `TimedOut` where no answer came.
pub(super) async fn ask(
    common: &Common,
    network: &Network,
    server: SocketAddr,
    question: &Question,
    is_stream: bool,
) -> io::Result<ServersAnswer> {
    if !is_stream {
        return by_datagram(common, network, server, question).await;
    }
    let longest = common.times.server * TRIES;
    let message = timeout(longest, by_stream(common, network, server, question))
        .await
        .map_err(|_| not_answered())??;
    Ok(ServersAnswer {
        message,
        socket: None,
    })
}

/// Whether an answer is only a part.
pub(super) fn is_cut(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|bits| bits & TC != 0)
}

/// The socket is for this question alone: an attacker who forges an answer has to know its port and the id.
async fn by_datagram(
    common: &Common,
    network: &Network,
    server: SocketAddr,
    question: &Question,
) -> io::Result<ServersAnswer> {
    let socket = network.datagrams(&common.link, server).await?;
    let id = common.ids.next()?;
    let message = question.rebuilt(id);
    // A new socket always has room.
    send(&socket, &message, SendFlags::empty())?;
    common.pulse.beat();
    network.prepare(server);
    for tries in 1..=TRIES {
        let received = receive(common, &socket, id, question);
        if let Ok(received) = timeout(common.times.server, received).await {
            return Ok(ServersAnswer {
                message: received?,
                socket: Some(socket),
            });
        }
        if tries < TRIES {
            send(&socket, &message, SendFlags::empty())?;
        }
    }
    Err(not_answered())
}

/// The first datagram that answers; others are passed over.
async fn receive(
    common: &Common,
    socket: &Readable,
    id: u16,
    question: &Question,
) -> io::Result<Vec<u8>> {
    loop {
        let received = socket.read(|socket| {
            let mut buffer = common.buffer.borrow_mut();
            let (length, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
            let message = &buffer[..length];
            Ok(is_answered(message, id, question).then(|| message.to_vec()))
        });
        if let Some(answer) = received.await? {
            return Ok(answer);
        }
    }
}

async fn by_stream(
    common: &Common,
    network: &Network,
    server: SocketAddr,
    question: &Question,
) -> io::Result<Vec<u8>> {
    let mut stream = network.connect(&common.link, server).await?;
    let id = common.ids.next()?;
    let message = question.rebuilt(id);
    let length = message.len() as u16;
    let framed = [&length.to_be_bytes()[..], &message].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = Vec::with_capacity(HEADER);
    let mut rest = stream.take(u64::from(length));
    rest.read_to_end(&mut answer).await?;
    let is_whole = answer.len() == usize::from(length);
    if is_whole && is_answered(&answer, id, question) {
        return Ok(answer);
    }
    let why = "the server has answered something else";
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Random ids, of which the kernel gives many at once.
#[derive(Debug, Default)]
pub(super) struct Ids(RefCell<Vec<u16>>);

impl Ids {
    const AT_ONCE: usize = 128;

    /// One that nobody can know.
    ///
    /// # Errors
    ///
    /// There are no random numbers.
    fn next(&self) -> io::Result<u16> {
        let mut left = self.0.borrow_mut();
        if let Some(id) = left.pop() {
            return Ok(id);
        }
        let mut bytes = [0; 2 * Self::AT_ONCE];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
        if filled < bytes.len() {
            return Err(io::Error::other("there are no random numbers"));
        }
        let (pairs, _) = bytes.as_chunks::<2>();
        left.extend(pairs.iter().copied().map(u16::from_ne_bytes));
        left.pop()
            .ok_or_else(|| io::Error::other("there are no random numbers"))
    }
}

fn not_answered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server gave no answer")
}
