//! What the resolver says.

use std::cell::OnceCell;

use guard_common::{Address, BootTime, SessionId};
use guard_proto::names::FromResolver;
use guard_sys::clock;

use super::held_questions::NameQuestion;
use crate::{
    policies::{NameAnswer, NameAsker, UsedName},
    process::{SeenProcess, Thread, name_of_thread},
    requests::RequestKey,
    state::State,
};

/// An answer counts for so long at least, whatever its TTL, and for [`GRACE`] longer than that: as the resolver has it.
const SHORTEST: u64 = 60;
const GRACE: u64 = 30;
const SECOND: u64 = 1_000_000_000;

/// Until when an answer with that TTL counts.
fn counts_until(ttl: u32) -> BootTime {
    let time = u64::from(ttl).max(SHORTEST) + GRACE;
    BootTime(clock::now().0 + time * SECOND)
}

impl State {
    /// Handles a message of the resolver. True where policies are to be compiled again for what it says of names.
    pub(super) fn resolver_says(&mut self, said: FromResolver) -> bool {
        match said {
            FromResolver::Hello { .. } => {}
            FromResolver::Gone { number } => self.question_gone(number),
            FromResolver::Marked { number } => self.resolver.marked(number),
            FromResolver::Sockets {
                network,
                udp4,
                udp6,
                tcp4,
                tcp6,
            } => self.resolver.stock(network, [udp4, udp6, tcp4, tcp6]),
            taught @ (FromResolver::Learned { .. } | FromResolver::Untold { .. }) => {
                return self.note_taught(taught);
            }
            FromResolver::Opens {
                number,
                session,
                name,
                addresses,
            } => {
                let addresses: Vec<_> = addresses.into_iter().map(Address::from).collect();
                let widened = self.widening().widen(SessionId(session), &name, &addresses);
                if let Some(change) = widened {
                    self.apply(change);
                }
                self.resolver.answer_question(number, true);
            }
            question @ (FromResolver::Ask { .. }
            | FromResolver::Refused { .. }
            | FromResolver::More { .. }) => self.note_question(question),
        }
        false
    }

    /// A session has learned addresses. True where policies are to be compiled again for that.
    fn note_taught(&mut self, taught: FromResolver) -> bool {
        match taught {
            FromResolver::Learned {
                session,
                name,
                asked,
                addresses,
                ttl,
                at,
                tgid,
            } => {
                let answered = NameAnswer {
                    session: SessionId(session),
                    asked: asked.as_deref().unwrap_or(&name),
                    name: &name,
                    addresses: addresses.into_iter().map(Address::from).collect(),
                    at: BootTime(at.min(clock::now().0)),
                    until: counts_until(ttl),
                    asker: self.asker(SessionId(session), tgid.0),
                };
                self.session_learns(&answered)
            }
            FromResolver::Untold { session, ttl } => {
                let session = SessionId(session);
                if self.sessions.live(session).is_some() {
                    self.policies.miss_answers(session, counts_until(ttl));
                }
                false
            }
            _ => false,
        }
    }

    /// A question that the policies do not simply let pass: a person is to be asked, or it was refused.
    fn note_question(&mut self, question: FromResolver) {
        match question {
            FromResolver::Ask {
                number,
                session,
                tgid,
                name,
                kind,
                server,
            } => {
                let asked = NameQuestion {
                    session: SessionId(session),
                    tgid,
                    name,
                    kind,
                    server,
                };
                self.resolver_asks(number, asked);
            }
            FromResolver::Refused {
                session,
                tgid,
                name,
                kind,
                server,
                why,
                failed,
                searched,
            } => {
                let asked = NameQuestion {
                    session: SessionId(session),
                    tgid,
                    name,
                    kind,
                    server,
                };
                self.note_unanswered_name(&asked, &why, failed, searched);
            }
            FromResolver::More {
                session,
                refused,
                failed,
            } => {
                let (sessions, recorder) = (&self.sessions, &mut self.recorder);
                let session = SessionId(session);
                self.resolver
                    .note_more_names(sessions, recorder, session, refused, failed);
            }
            _ => {}
        }
    }

    fn session_learns(&mut self, answered: &NameAnswer<'_>) -> bool {
        let Some(session) = self.sessions.live(answered.session) else {
            return false;
        };
        let kernel = &mut self.datapath;
        self.policies.learn_answer(kernel, answered, &session.chain);
        let (policies, id, subject) = (&self.policies, answered.session, session.subject());
        let machine = &self.machine;
        // Of one moment for all of its addresses.
        let now = OnceCell::new();
        let told = |key: &RequestKey, who: &NameAsker| {
            let to = key.destination;
            let Some(judged) = policies.judge(subject, to, key.protocol, key.port) else {
                return UsedName::default();
            };
            let used = policies.used_name(id, to, judged.rule, who);
            let now = || now.get_or_init(|| policies.environment(machine.host()));
            used.opened_where(|name| {
                key.is_connection() && policies.opens_name(subject, to, &[key.ports()], name, now())
            })
        };
        for to in &answered.addresses {
            self.requests.show_name(id, *to, answered.at, told);
        }
        // Where the resolver did not know of the hole yet.
        let widened = self
            .widening()
            .widen(id, answered.asked, &answered.addresses);
        if let Some(change) = widened {
            self.apply(change);
        }
        let names = [answered.asked, answered.name];
        let unanswered = names.map(|name| self.policies.is_unanswered(name).then_some(name));
        let mut unanswered = unanswered.into_iter().flatten().peekable();
        if unanswered.peek().is_none() {
            return false;
        }
        let machine = self.environment();
        self.policies
            .note_told(unanswered, &answered.addresses, &machine)
    }

    fn asker(&self, session: SessionId, tgid: u32) -> NameAsker {
        let SeenProcess { pid, process } =
            (self.machine).process_of(self.sessions.live(session), tgid);
        let comm = process.comm;
        // Of a process that is another one by now, it is another's.
        let is_known = comm.is_some();
        let thread = pid.filter(|_| is_known);
        NameAsker {
            pid,
            comm,
            thread: thread.and_then(|pid| name_of_thread(Thread::main(pid))),
        }
    }
}
