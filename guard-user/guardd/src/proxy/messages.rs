//! What the proxy says.

use guard_common::{BootTime, SessionId, Verdict};
use guard_proto::record::{Field, Http, RecordedDestination};
use guard_proto::wire::{Entry, RedirectTarget, ToDaemon, ToProxy};
use guard_sys::clock;

use super::{Proxy, closings::Closing, record_pass::rule_of, terms::ShownName};
use crate::{
    control::ids, listeners::destination, record::audit::LogEntry, requests::RequestKey,
    state::State,
};

/// Bytes that the audit log keeps of each text.
const MAX_WORD: usize = 1024;

impl State {
    /// Handles a message of the proxy.
    pub(super) fn proxy_says(&mut self, said: ToDaemon) {
        match said {
            // Sent once, and received before.
            ToDaemon::Hello { .. } => {}
            ToDaemon::Terms {
                number,
                target,
                again,
            } => match self.proxy.refuses_target(&self.sessions, &target, again) {
                None => {
                    let terms = self.targets().terms(&target);
                    self.proxy.say(ToProxy::Terms {
                        number,
                        terms,
                        until: None,
                    });
                }
                Some(end) => self.proxy.say(ToProxy::Terms {
                    number,
                    terms: None,
                    until: Some(end.0),
                }),
            },
            ToDaemon::Reached { number, target } => self.proxy_reached(number, target),
            ToDaemon::Name {
                number,
                target,
                name,
                again,
            } => {
                let too_fast = self.proxy.name_too_fast(&self.sessions, &target, again);
                let said = too_fast.unwrap_or_else(|| self.targets().name(&target, &name));
                let ShownName { why, rules, until } = said;
                let until = until.map(|end| end.0);
                self.proxy.say(ToProxy::Name {
                    number,
                    why,
                    rules,
                    until,
                });
            }
            ToDaemon::Ask {
                number,
                target,
                request,
            } => self.proxy_asks(number, &target, request),
            ToDaemon::Gone { number } => self.proxy.leaves(&mut self.requests, number),
            ToDaemon::Log { target, entry } => self.proxy_tells(&target, entry),
            ToDaemon::Reads { target, count } => self.flows.note_reads(&target, count),
            ToDaemon::LeftOut { session, count } => {
                let id = SessionId(session);
                if self.sessions.get(id).is_some() {
                    self.recorder.note_left_out(id, count);
                }
            }
            ToDaemon::Sockets {
                network,
                ipv4,
                ipv6,
            } => self.proxy.stock(network, [ipv4, ipv6]),
            ToDaemon::Vouched {
                number,
                certificate,
            } => self.proxy.vouching.told(number, certificate),
        }
    }

    /// Writes the outcome of a request to the audit log, as the proxy reports it.
    fn proxy_tells(&mut self, target: &RedirectTarget, entry: Entry) {
        self.recorder.count_http(&entry.outcome);
        let id = SessionId(target.session);
        self.proxy.note_closing(target, &entry, clock::now());
        let Some(owner) = self.sessions.get(id).map(|session| session.about.uid) else {
            return;
        };
        let (recorder, now) = (&mut self.recorder, clock::now());
        let Some(admitted) = self.sessions.admit(recorder, id, now) else {
            return;
        };
        let key = RequestKey::new(
            id,
            destination(target),
            guard_common::Protocol::TCP,
            target.port,
        );
        let denied = entry.denied.then_some(Verdict::Deny);
        // Of what was closed before a request was read no rule is told.
        let rule = if entry.no_rule {
            None
        } else {
            entry
                .rule
                .or_else(|| rule_of(self.targets().access(target)))
        };
        let record = Http {
            destination: RecordedDestination::Endpoint(key.endpoint(None)).into(),
            outcome: cut(Some(entry.outcome)).into(),
            method: cut(entry.method).into(),
            path: cut(entry.path).into(),
            host: cut(entry.host).into(),
            rule: cut(rule).into(),
            why: cut(entry.why).into(),
            verdict: denied.map(|deny| deny.as_str().to_owned()).into(),
            status: entry.status.into(),
            sql: if entry.sql {
                true.into()
            } else {
                Field::Absent
            },
            ..Http::default()
        };
        let entry = LogEntry::of(ids::session(id), owner, record);
        self.recorder.note(entry.admitted(admitted));
    }
}

impl Proxy {
    /// Notes what was closed without asking anybody, if that is what the entry is about.
    fn note_closing(&mut self, target: &RedirectTarget, entry: &Entry, now: BootTime) {
        if let (None, Some(why)) = (&entry.method, &entry.why)
            && entry.outcome == "refused"
        {
            let closing = Closing {
                to: destination(target),
                port: target.port,
                why: why.clone(),
            };
            let session = SessionId(target.session);
            self.closings.note(session, closing, (), now);
        }
    }
}

fn cut(text: Option<String>) -> Option<String> {
    text.map(|mut text| {
        text.truncate(text.floor_char_boundary(MAX_WORD));
        text
    })
}
