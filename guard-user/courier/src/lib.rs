//! Talks to guardd, as a courier does: a user without rights, who carries questions and signed answers. And to guard-fleet, which
//! has those of many machines.
//!
//! Each call has a connection of its own, and only a guardd that runs as root is believed. A caller gets guardd's own words where
//! it refuses, and words of the same form where it is not reached, so that it shows both alike.
//!
//! `day.rs` reads the audit log's last day, for pages.

pub mod day;

use std::{io, marker::PhantomData, path::PathBuf, time::Duration};

use guard_proto::{
    Call, ErrorName, Failure,
    central::{self, FleetCall},
    varlink::{self, INTERFACE, Reply},
};
use guard_sys::pidfd::Credentials;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

/// An answer is at most this long.
pub const LONGEST: u64 = 16 * 1024 * 1024;
/// How long guardd may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where guardd listens.
#[derive(Clone, Debug)]
pub struct Guardd(KnownSocket);

/// Where guard-fleet tells of many machines, as the settings name it: whoever may make that file is believed.
#[derive(Clone, Debug)]
pub struct FleetSocket(KnownSocket);

/// A socket, and whose it is.
#[derive(Clone, Debug)]
struct KnownSocket {
    socket: PathBuf,
    whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Guardd,
    Fleet,
}

/// Why guardd did not do something.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its kind; none: guardd was not reached.
    pub name: Option<ErrorName>,
    /// What to tell a person.
    pub failure: Failure,
}

impl Guardd {
    /// The one that listens at `socket`. Nothing is connected yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        let whose = Whose::Guardd;
        Self(KnownSocket { socket, whose })
    }

    /// Makes a call that has one answer.
    ///
    /// # Errors
    ///
    /// guardd's, or that it was not reached.
    pub async fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Refusal> {
        self.0.call(call, TIMEOUT, LONGEST).await
    }

    /// The same of a caller that has little memory: an answer of more bytes is not read to its end.
    ///
    /// # Errors
    ///
    /// guardd's, that it was not reached, or that its answer is longer.
    pub async fn call_at_most<T: DeserializeOwned>(
        &self,
        call: &Call,
        longest: u64,
    ) -> Result<T, Refusal> {
        self.0.call(call, TIMEOUT, longest).await
    }

    /// Makes a call that has several.
    ///
    /// # Errors
    ///
    /// That guardd was not reached.
    pub async fn stream<T: DeserializeOwned>(
        &self,
        call: &Call,
    ) -> Result<CourierReplies<T>, Refusal> {
        self.0.stream(call).await
    }
}

impl FleetSocket {
    /// The one that listens at `socket`. Nothing is connected yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        let whose = Whose::Fleet;
        Self(KnownSocket { socket, whose })
    }

    /// Makes a call that has one answer, which a machine may have to give.
    ///
    /// # Errors
    ///
    /// guardd's there, or guard-fleet's, or that it was not reached.
    pub async fn call<T: DeserializeOwned>(&self, call: &FleetCall) -> Result<T, Refusal> {
        self.0.call(call, TIMEOUT * 2, LONGEST).await
    }

    /// Makes a call that has several.
    ///
    /// # Errors
    ///
    /// That guard-fleet was not reached.
    pub async fn stream<T: DeserializeOwned>(
        &self,
        call: &FleetCall,
    ) -> Result<CourierReplies<T>, Refusal> {
        self.0.stream(call).await
    }
}

impl KnownSocket {
    async fn call<C: Serialize, T: DeserializeOwned>(
        &self,
        call: &C,
        within: Duration,
        longest: u64,
    ) -> Result<T, Refusal> {
        let answer = async {
            let mut replies = self.begin::<C, T>(call, false).await?;
            replies.longest = longest;
            replies.next().await
        };
        let answer = timeout(within, answer).await;
        answer
            .unwrap_or_else(|_| Err(self.away("it takes too long to answer")))?
            .ok_or_else(|| self.away("it ended without an answer"))
    }

    async fn stream<C: Serialize, T: DeserializeOwned>(
        &self,
        call: &C,
    ) -> Result<CourierReplies<T>, Refusal> {
        let begun = timeout(TIMEOUT, self.begin(call, true)).await;
        begun.unwrap_or_else(|_| Err(self.away("it takes too long to answer")))
    }

    async fn begin<C: Serialize, T: DeserializeOwned>(
        &self,
        call: &C,
        more: bool,
    ) -> Result<CourierReplies<T>, Refusal> {
        let broken = |error: io::Error| self.away(&error.to_string());
        let mut stream = UnixStream::connect(&self.socket).await.map_err(broken)?;
        let peer = Credentials::of(&stream).map_err(broken)?;
        if self.whose == Whose::Guardd && !peer.uid.is_root() {
            return Err(self.away("another user than root listens there"));
        }
        let frame = varlink::call(call, more).map_err(|error| self.away(&error.to_string()))?;
        stream.write_all(&frame).await.map_err(broken)?;
        Ok(CourierReplies {
            place: self.clone(),
            stream: BufReader::new(stream),
            frame: Vec::new(),
            longest: LONGEST,
            is_over: false,
            of: PhantomData,
        })
    }

    /// That nobody was reached.
    fn away(&self, why: &str) -> Refusal {
        let (what, fix) = match self.whose {
            Whose::Guardd => (
                "guardd does not answer",
                "systemctl status guardd. What it has judged stands meanwhile",
            ),
            Whose::Fleet => (
                "guard-fleet does not answer",
                "systemctl status guard-fleet-console. Machines go on meanwhile",
            ),
        };
        Refusal {
            name: None,
            failure: Failure {
                what: what.to_owned(),
                why: format!("{}: {why}", self.socket.display()),
                fix: fix.to_owned(),
            },
        }
    }
}

/// The answers to one call.
#[derive(Debug)]
pub struct CourierReplies<T> {
    place: KnownSocket,
    stream: BufReader<UnixStream>,
    /// What has come of the next one.
    frame: Vec<u8>,
    /// Bytes of one, with its end.
    longest: u64,
    is_over: bool,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> CourierReplies<T> {
    /// The next one; none: that was the last. Nothing is lost where this is dropped before it is ready.
    ///
    /// # Errors
    ///
    /// guardd's, or that it has ended in between.
    pub async fn next(&mut self) -> Result<Option<T>, Refusal> {
        if self.is_over {
            return Ok(None);
        }
        let left = self.longest.saturating_sub(self.frame.len() as u64);
        let read = (&mut self.stream)
            .take(left)
            .read_until(0, &mut self.frame)
            .await;
        read.map_err(|error| self.place.away(&error.to_string()))?;
        let mut frame = std::mem::take(&mut self.frame);
        let is_full = frame.len() as u64 >= self.longest;
        if frame.pop() != Some(0) {
            let why = if is_full {
                format!("its answer is longer than {} bytes", self.longest)
            } else {
                "it ended in the middle of an answer".to_owned()
            };
            return Err(self.place.away(&why));
        }
        let answer: Reply =
            serde_json::from_slice(&frame).map_err(|error| self.place.away(&error.to_string()))?;
        if let Some(name) = answer.error {
            return Err(refusal(&name, answer.parameters));
        }
        self.is_over = !answer.continues;
        // The last answer of a stream may only say that.
        if self.is_over
            && answer
                .parameters
                .as_object()
                .is_some_and(serde_json::Map::is_empty)
        {
            return Ok(None);
        }
        let read = serde_json::from_value(answer.parameters);
        read.map(Some)
            .map_err(|error| self.place.away(&error.to_string()))
    }
}

/// guardd's own word.
fn refusal(name: &str, parameters: serde_json::Value) -> Refusal {
    use ErrorName::{Failed, Invalid, No, NotFound, Refused};
    let said = name
        .strip_prefix(INTERFACE)
        .or_else(|| name.strip_prefix(central::INTERFACE))
        .and_then(|name| name.strip_prefix('.'));
    let mut names = [Refused, NotFound, Invalid, No, Failed].into_iter();
    let known = names.find(|known| said == Some(known.as_str()));
    let failure = serde_json::from_value(parameters).unwrap_or_else(|_| Failure {
        what: "guardd could not do that".to_owned(),
        why: format!("it answered {name}"),
        fix: "install the programs of guard in one version".to_owned(),
    });
    Refusal {
        name: Some(known.unwrap_or(Failed)),
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(stream: UnixStream, longest: u64) -> CourierReplies<Vec<u32>> {
        CourierReplies {
            place: Guardd::at("/nowhere".into()).0,
            stream: BufReader::new(stream),
            frame: Vec::new(),
            longest,
            is_over: false,
            of: PhantomData,
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_not_read_to_its_end() -> io::Result<()> {
        let frame = b"{\"parameters\":[7]}\0";
        let length = frame.len() as u64;
        for (longest, is_read) in [(length, true), (length - 1, false)] {
            let (here, mut there) = UnixStream::pair()?;
            there.write_all(frame).await?;
            let said = replies(here, longest).next().await;
            match said {
                Ok(said) => assert!(is_read && said == Some(vec![7]), "{longest}: {said:?}"),
                Err(refusal) => {
                    let why = refusal.failure.why;
                    let words = format!("longer than {longest} bytes");
                    assert!(!is_read && why.contains(&words), "{longest}: {why}");
                }
            }
        }
        // One that ends early is not called long.
        let (here, mut there) = UnixStream::pair()?;
        there.write_all(&frame[..9]).await?;
        drop(there);
        let said = replies(here, length)
            .next()
            .await
            .map_err(|it| it.failure.why);
        assert!(said.is_err_and(|why| why.contains("in the middle of an answer")));
        Ok(())
    }

    #[tokio::test]
    async fn a_caller_that_looks_away_in_the_middle_of_an_answer_hears_it_whole() -> io::Result<()>
    {
        let (here, mut there) = UnixStream::pair()?;
        let mut answers = replies(here, LONGEST);
        let frame = b"{\"parameters\":[7],\"continues\":true}\0";
        let (first, second) = frame.split_at(9);
        there.write_all(first).await?;
        // It reads what there is, and is dropped.
        let looked_away = timeout(Duration::from_millis(20), answers.next()).await;
        assert!(looked_away.is_err());
        there.write_all(second).await?;
        let whole = answers.next().await;
        assert_eq!(whole.ok().flatten(), Some(vec![7]));
        Ok(())
    }

    #[test]
    fn guardds_own_words_are_told_as_they_are() {
        let failure = serde_json::json!({"what": "a", "why": "b", "fix": "c"});
        let said = refusal("org.guardd.Control.Refused", failure);
        assert_eq!(said.name, Some(ErrorName::Refused));
        assert_eq!(said.failure.fix, "c");
    }

    #[test]
    fn an_error_that_is_not_known_says_what_to_install() {
        for name in [
            "org.guardd.Control.Newer",
            "org.varlink.service.MethodNotFound",
        ] {
            let said = refusal(
                name,
                serde_json::json!({"method": "org.guardd.Control.Newer"}),
            );
            assert_eq!(said.name, Some(ErrorName::Failed));
            assert!(said.failure.why.contains(name), "{}", said.failure.why);
            assert!(
                said.failure.fix.contains("one version"),
                "{}",
                said.failure.fix
            );
        }
    }
}
