//! The files of requests, so that they outlive guardd: of those that are pending, and of each no.

use std::{collections::HashSet, net::IpAddr, rc::Rc};

use guard_common::{BootTime, Protocol, SessionId};
use guard_proto as proto;
use serde::{Deserialize, Serialize};

use super::{
    Pending, Requests,
    bursts::Burst,
    key::{HttpRequestKey, RequestKey},
    noes::KeptNo,
    questions::NameBurst,
};
use crate::control::ids;

/// A request in a file, so that it outlives guardd: pending, or answered with no.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredRequest {
    /// The session.
    pub(crate) session: u32,
    /// The destination.
    pub(crate) destination: IpAddr,
    /// The number of the protocol.
    pub(crate) protocol: u8,
    /// The port.
    pub(crate) port: u16,
    /// What people see of it.
    pub(crate) shown: proto::Request,
    /// [`HttpRequestKey::plain`].
    #[serde(default)]
    pub(crate) plain: bool,
    /// [`HttpRequestKey::series`].
    #[serde(default)]
    pub(crate) series: bool,
    /// [`HttpRequestKey::matter`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) matter: Option<String>,
    /// Until when a person's no is valid, in nanoseconds of boot time. These files do not outlive the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused_until: Option<u64>,
    /// The burst, if it is about several addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) burst: Option<Burst>,
    /// [`RequestKey::question`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<String>,
    /// The names, if it is about several questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) names: Option<NameBurst>,
    /// When it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<RequestTimes>,
}

/// When a request was asked, in nanoseconds of boot time, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestTimes {
    /// [`Pending::asked`](super::Pending::asked).
    pub(crate) asked: u64,
    /// [`Pending::last`](super::Pending::last).
    pub(crate) last: u64,
    /// [`Pending::tried`](super::Pending::tried).
    pub(crate) tried: u64,
}

impl StoredRequest {
    fn of(key: &RequestKey, shown: &proto::Request, refused_until: Option<u64>) -> Self {
        Self {
            session: key.session.0,
            destination: key.destination.as_ip(),
            protocol: key.protocol.0,
            port: key.port,
            // The next guardd holds no connection for it.
            shown: proto::Request {
                held: false,
                waits_until: None,
                ..shown.clone()
            },
            plain: key.http.as_deref().is_some_and(|http| http.plain),
            series: key.http.as_deref().is_some_and(|http| http.series),
            matter: key.http.as_deref().and_then(|http| http.matter.clone()),
            refused_until,
            burst: None,
            question: key.question.as_deref().map(str::to_owned),
            names: None,
            times: None,
        }
    }

    fn with(self, burst: Option<Burst>) -> Self {
        Self { burst, ..self }
    }

    fn with_names(self, names: Option<NameBurst>) -> Self {
        Self { names, ..self }
    }

    fn with_times(self, asked: &Pending) -> Self {
        let times = RequestTimes {
            asked: asked.asked.0,
            last: asked.last.0,
            tried: asked.tried,
        };
        let times = Some(times);
        Self { times, ..self }
    }

    /// What the request is about.
    #[must_use]
    pub(crate) fn key(&self) -> RequestKey {
        RequestKey {
            session: SessionId(self.session),
            destination: self.destination.into(),
            protocol: Protocol(self.protocol),
            port: self.port,
            http: self.shown.http.clone().map(|request| {
                Rc::new(HttpRequestKey {
                    request,
                    alone: None,
                    plain: self.plain,
                    series: self.series,
                    matter: self.matter.clone(),
                })
            }),
            question: self.question.as_deref().map(Rc::from),
        }
    }
}

impl Requests {
    /// Takes over when an adopted request was asked.
    pub(crate) fn put_times(&mut self, id: &str, times: &RequestTimes) {
        if let Some(known) = self.pending.iter_mut().find(|one| one.shown.id == id) {
            known.asked = BootTime(times.asked);
            known.last = BootTime(times.last);
            known.tried = times.tried;
        }
    }

    /// Writes and removes files so that they match the pending requests and each no that holds.
    pub(crate) fn keep(&mut self) {
        let mut kept = HashSet::new();
        let grown = self.take_grown();
        for (key, asked) in self.to_keep() {
            if !self.kept.contains(&key) || grown.contains(&key) {
                self.files.keep(&key, &asked);
            }
            kept.insert(key);
        }
        for gone in self.kept.difference(&kept) {
            self.files.remove(gone);
        }
        self.kept = kept;
    }

    /// What outlives guardd, by file name. A no has another file than the request that it answers, so that it is there before
    /// the request's file goes.
    #[must_use]
    pub(crate) fn to_keep(&self) -> Vec<(String, StoredRequest)> {
        let waiting = self.pending.iter().flat_map(|one| {
            let keep = |(key, shown): (&RequestKey, &proto::Request)| {
                let asked = StoredRequest::of(key, shown, None);
                let asked = asked.with(one.burst.clone()).with_times(one);
                (shown.id.clone(), asked.with_names(one.names.clone()))
            };
            one.each().map(keep).collect::<Vec<_>>()
        });
        // One no may hold for several sessions.
        let file = |key: &RequestKey, no: &KeptNo| {
            let (id, session) = (&no.shown.id, ids::session(key.session));
            if no.shown.session == session {
                format!("no-{id}")
            } else {
                format!("no-{id}-{session}")
            }
        };
        let refused = self.noes.iter().map(|(key, no)| {
            let asked = StoredRequest::of(key, &no.shown, Some(no.until.0));
            (file(key, no), asked)
        });
        let wide = self.wide.iter().map(|one| {
            let asked = StoredRequest::of(&one.key, &one.no.shown, Some(one.no.until.0));
            let asked = asked.with(Some(one.burst.clone()));
            (file(&one.key, &one.no), asked)
        });
        waiting.chain(refused).chain(wide).collect()
    }
}
