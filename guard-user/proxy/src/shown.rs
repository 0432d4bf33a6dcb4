//! Connections that a rule allows by the name that TLS shows, where the kernel does not look at it: the ClientHello is read, and
//! from then on bytes go both ways as they are. TLS does not end here.

use std::{rc::Rc, time::Duration};

use guard_common::tls::{self, Heard, LONGEST};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
    time::timeout,
};

use super::{
    client::ConnectionContext, name_cache::RefusedBy, networks::ConnectionSlot, process::reset,
    upstream::Upstream, wire::Entry,
};

/// How long a client may take for its ClientHello.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why nothing of a connection passes.
struct Refused {
    by: RefusedBy,
    entry: Entry,
}

/// Whatever is no name's has a record each time.
impl From<Entry> for Refused {
    fn from(entry: Entry) -> Self {
        let by = RefusedBy::Policies;
        Self { by, entry }
    }
}

/// Serves a client of an account until its end, or until the policies judge it otherwise.
pub(super) async fn serve(
    context: ConnectionContext,
    account: u32,
    mut stream: TcpStream,
    upstream: Rc<Upstream>,
    _place: Option<ConnectionSlot>,
) {
    let passed = async {
        let begun = begun(&context, account, &mut stream).await?;
        let opened = upstream.stream().await;
        let mut other = opened.map_err(|why| Entry::refused(&why.to_string()))?;
        other
            .write_all(&begun)
            .await
            .map_err(|error| Entry::refused(&error.to_string()))?;
        Ok::<_, Refused>(other)
    };
    match passed.await {
        Ok(mut other) => tokio::select! {
            // What ends it is of no interest.
            _ = copy_bidirectional(&mut stream, &mut other) => {}
            () = context.link.closes(context.target) => reset(&stream),
        },
        Err(Refused { by, entry }) => {
            context.log_name(by, entry);
            reset(&stream);
        }
    }
}

/// What the client has sent first, which shows a name that the policies allow; else why not.
async fn begun(
    context: &ConnectionContext,
    account: u32,
    stream: &mut TcpStream,
) -> Result<Vec<u8>, Refused> {
    let mut begun = Vec::new();
    loop {
        let wanted = match tls::hear(&begun) {
            Err(odd) => return Err(Entry::denied(odd.as_str()).into()),
            Ok(Heard::More(wanted)) => wanted,
            Ok(Heard::Name(name)) => {
                let link = &context.link;
                return match link.refuses_name(context.target, account, name).await {
                    Some(refusal) => {
                        let why = format!("the name that TLS shows (SNI): {}", refusal.why);
                        Err(Refused {
                            by: refusal.by,
                            entry: refusal.entry(&why),
                        })
                    }
                    None => Ok(begun),
                };
            }
        };
        let length = begun.len();
        begun.resize((wanted.min(LONGEST) as usize).max(length), 0);
        let read = timeout(TIMEOUT, stream.read(&mut begun[length..])).await;
        let read = read.map_err(|_| Entry::refused("the client says nothing"))?;
        match read {
            Ok(0) => {
                let why = "the client has ended before its ClientHello was there";
                return Err(Entry::refused(why).into());
            }
            Ok(read) => begun.truncate(length + read),
            Err(error) => return Err(Entry::refused(&error.to_string()).into()),
        }
    }
}

#[cfg(test)]
mod tests;
