//! A question's way: judged, asked about, sent to the server that was meant; the answer learned, then given back.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, SocketAddrV6},
    rc::Rc,
    time::Duration,
};

use guard_common::{Origin, SessionId};
use guard_proto::names::Tgid;
use guard_sys::readiness::Readable;
use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    answer::{self, DnsAnswer},
    common::Common,
    exchange::{self, ServersAnswer},
    judge::{self, Judgement, NameVerdict},
    kinds,
    link::{Asker, Awaited},
    name::WireName,
    networks::Network,
    question::{Question, give_back},
    refusal::Says,
    reports::{Reports, ToTell},
    sessions::Session,
    teach::teach,
};

/// How long after the first name that is not reported guardd hears how many there were.
const MOMENT: Duration = Duration::from_millis(500);

/// Why a server is not asked whose address is one of its link alone: the kernel half does not see the link that a program names.
const NO_LINK: &str =
    "on which link that server is no setting and no resolv.conf of this machine says";

/// What a program gets, and what is reported to guardd behind it.
#[derive(Debug)]
pub(super) struct Reply {
    /// The message.
    pub(super) message: Vec<u8>,
    told: ForGuardd,
    /// [`ServersAnswer::socket`].
    socket: Option<Readable>,
}

/// What is reported to guardd.
#[derive(Debug)]
enum ForGuardd {
    Nothing,
    Refused {
        why: String,
        /// The program hears that it has failed.
        failed: bool,
        /// A search list made it of a name that may be asked for.
        searched: bool,
    },
    Learned(DnsAnswer),
}

/// Why a question gets an answer of the guard's own.
#[derive(Debug)]
struct Stopped {
    says: Says,
    /// For guardd, unless it knows.
    why: Option<String>,
    searched: bool,
}

impl Stopped {
    fn silently(says: Says) -> Self {
        Self {
            says,
            why: None,
            searched: false,
        }
    }

    fn because(says: Says, why: impl ToString) -> Self {
        Self {
            says,
            why: Some(why.to_string()),
            searched: false,
        }
    }
}

/// The server that a question was meant for.
pub(super) fn server(origin: &Origin) -> SocketAddr {
    SocketAddr::new(origin.destination.to_ip(), origin.port)
}

/// The same with its link, where its address is one of a link alone: the one on which the machine's own server of that address is.
fn on_link(common: &Common, network: &Network, server: SocketAddr) -> Result<SocketAddr, Stopped> {
    let SocketAddr::V6(at) = server else {
        return Ok(server);
    };
    if !at.ip().is_unicast_link_local() {
        return Ok(server);
    }
    let known = common.sessions.link_of(at.ip());
    match known.filter(|_| network.is_own()) {
        Some(link) => Ok(SocketAddrV6::new(*at.ip(), at.port(), 0, link).into()),
        None => Err(Stopped::because(Says::Failed, NO_LINK)),
    }
}

/// Who asked it.
pub(super) fn asker(origin: &Origin, question: &Question) -> Asker {
    Asker {
        session: origin.session.0,
        tgid: Tgid(origin.tgid),
        name: question.name.clone(),
        kind: question.kind,
        server: server(origin).ip(),
    }
}

/// Answers a question. `is_stream`: it came by TCP.
pub(super) async fn reply(
    common: &Common,
    network: &Network,
    origin: &Origin,
    question: &Question,
    is_stream: bool,
) -> Reply {
    let asker = asker(origin, question);
    let answered = async {
        admit(common, &asker).await?;
        fetch(common, network, origin, question, is_stream).await
    };
    match answered.await {
        Ok(reply) => reply,
        Err(Stopped {
            says,
            why,
            searched,
        }) => Reply {
            message: says.to(question),
            told: why.map_or(ForGuardd::Nothing, |why| ForGuardd::Refused {
                why,
                failed: says == Says::Failed,
                searched,
            }),
            socket: None,
        },
    }
}

/// Tells guardd about it, when the program has its answer, or by TCP is sent it.
pub(super) async fn tell(common: &Common, asker: &Asker, reply: Reply) {
    drop(reply.socket);
    let sessions = &common.sessions;
    let (reports, paces) = (
        sessions.reports(asker.session),
        sessions.paces(asker.session),
    );
    let (Some(reports), Some(paces)) = (reports, paces) else {
        return;
    };
    let now = (common.now)();
    match reply.told {
        ForGuardd::Nothing => {}
        ForGuardd::Refused {
            why,
            failed,
            searched,
        } => {
            let is_told = reports
                .borrow_mut()
                .is_refusal_told(&mut paces.borrow_mut(), now);
            if is_told {
                common.link.refused(asker, &why, failed, searched).await;
            } else if !searched {
                count_more(common, asker.session, reports, failed);
            }
        }
        ForGuardd::Learned(answer) => {
            let to_tell =
                reports
                    .borrow_mut()
                    .telling(&answer, asker.kind, &mut paces.borrow_mut(), now);
            match to_tell {
                ToTell::Nothing => {}
                ToTell::Answer => common.link.learned(asker, &answer).await,
                ToTell::Untold(lasts) => common.link.untold(asker.session, lasts).await,
            }
        }
    }
}

/// Counts a name that is not reported to guardd. In a moment it hears how many there were.
fn count_more(common: &Common, session: u32, reports: Rc<RefCell<Reports>>, failed: bool) {
    if !reports.borrow_mut().counts_more(failed) {
        return;
    }
    let link = Rc::clone(&common.link);
    spawn_local(async move {
        sleep(MOMENT).await;
        let more = reports.borrow_mut().take_more();
        link.more(session, more).await;
    });
}

/// What holds for the session, and what that says of the name.
fn judge(common: &Common, asker: &Asker) -> Result<(Session, Judgement), Stopped> {
    let unknown = || Stopped::silently(Says::Failed);
    let session = common.sessions.get(asker.session).ok_or_else(unknown)?;
    let policies = session.policies.as_ref().ok_or_else(unknown)?;
    let policies = policies.iter().map(|(_, policy)| &**policy);
    let judgement = match asker.kind {
        kinds::SRV => judge::judge_service(policies, &asker.name),
        _ => judge::judge(policies, &asker.name),
    };
    match judgement.verdict {
        NameVerdict::Refused(why) => Err(Stopped {
            searched: why == judge::UNNAMED && is_made(common, &session, &asker.name),
            ..Stopped::because(Says::NoName, why)
        }),
        NameVerdict::Passes | NameVerdict::Ask => Ok((session, judgement)),
    }
}

/// Whether a search list makes it of a name that may be asked for.
fn is_made(common: &Common, session: &Session, name: &WireName) -> bool {
    let policies = || {
        session
            .policies
            .iter()
            .flatten()
            .map(|(_, policy)| &**policy)
    };
    let before = common.sessions.before_search(name);
    let mut judged = before.iter().map(|own| judge::judge(policies(), own));
    judged.any(|judged| judged.verdict == NameVerdict::Passes)
}

/// Whether the question may leave: as policies and budget say, or a person.
async fn admit(common: &Common, asker: &Asker) -> Result<(), Stopped> {
    if judge::is_canary(&asker.name) {
        return Err(Stopped::silently(Says::NoName));
    }
    let (session, judgement) = judge(common, asker)?;
    if judgement.verdict == NameVerdict::Ask
        && judgement.is_silent
        && common.sessions.is_searched(&asker.name)
    {
        let why = "no rule names it, and a search list makes such names";
        return Err(Stopped {
            searched: is_made(common, &session, &asker.name),
            ..Stopped::because(Says::NoName, why)
        });
    }
    if !asker.kind.is_known() {
        let why = "records of that type are not asked for";
        return Err(Stopped::because(Says::NoData, why));
    }
    if let Some(zone) = &judgement.zone
        && !spend(common, asker, zone, judgement.is_free)
    {
        let asked = ask(common, asker, format!("*.{zone}")).await?;
        if asked.is_first() {
            renew(common, asker, zone);
        }
        // Of those who waited for this answer, as many pass as the budget has room for.
        if !spend(common, asker, zone, judgement.is_free) {
            return Err(Stopped::silently(Says::Failed));
        }
    } else if judgement.verdict == NameVerdict::Ask {
        ask(common, asker, asker.name.to_string()).await?;
    }
    Ok(())
}

/// Whether the budget has room for it.
fn spend(common: &Common, asker: &Asker, zone: &WireName, only_odd: bool) -> bool {
    let budget = common.sessions.budget(asker.session);
    let now = (common.now)();
    budget.is_some_and(|budget| {
        let mut budget = budget.borrow_mut();
        budget.take(&asker.name, zone, asker.kind, only_odd, now)
    })
}

/// A person has let names of the zone pass.
fn renew(common: &Common, asker: &Asker, zone: &WireName) {
    if let Some(budget) = common.sessions.budget(asker.session) {
        budget.borrow_mut().renew(zone);
    }
}

/// Holds the question until guardd says what a person says of it, at once where nobody is there. More than a person could read
/// are refused.
async fn ask(common: &Common, asker: &Asker, name: String) -> Result<Rc<Awaited>, Stopped> {
    let sessions = &common.sessions;
    let (reports, paces) = (
        sessions.reports(asker.session),
        sessions.paces(asker.session),
    );
    let (Some(reports), Some(paces)) = (reports, paces) else {
        return Err(Stopped::silently(Says::NoName));
    };
    let now = (common.now)();
    let is_told = reports
        .borrow_mut()
        .is_question_told(&mut paces.borrow_mut(), now);
    if !is_told {
        count_more(common, asker.session, reports, false);
        return Err(Stopped::silently(Says::NoName));
    }
    let failed = || Stopped::silently(Says::Failed);
    let asked = common.link.ask(asker, name).ok_or_else(failed)?;
    let yes = timeout(common.times.person, asked.answer())
        .await
        .map_err(|_| failed())?;
    if !yes {
        return Err(Stopped::silently(Says::NoName));
    }
    // The policy may have become another meanwhile.
    judge(common, asker).map(|_| asked)
}

/// Has the session learn an answer under the policies that judge it when that is done: others may have come meanwhile.
async fn learn(common: &Common, asker: &Asker, answer: &DnsAnswer) -> Result<(), Stopped> {
    loop {
        let (session, _) = judge(common, asker)?;
        let policies = session.policies.unwrap_or_default();
        let taught = teach(common, SessionId(asker.session), &policies, answer).await;
        taught.map_err(|why| Stopped::because(Says::Failed, why))?;
        let now = common.sessions.get(asker.session);
        let now = now.and_then(|session| session.policies).unwrap_or_default();
        let mut both = policies.iter().zip(&now);
        let is_same = |((slot, old), (other, new)): (&_, &_)| slot == other && Rc::ptr_eq(old, new);
        if policies.len() == now.len() && both.all(is_same) {
            return Ok(());
        }
    }
}

/// Has a hole for the name cover the addresses, where there is one, before the program has them. Only the name that was asked for
/// counts: where it leads its owner decides.
async fn open(common: &Common, asker: &Asker, answer: &DnsAnswer) -> Result<(), Stopped> {
    if !common.sessions.is_opened(asker.session, &asker.name) {
        return Ok(());
    }
    let failed = || Stopped::silently(Says::Failed);
    let (paces, now) = (common.sessions.paces(asker.session), (common.now)());
    let is_told = paces.is_some_and(|paces| {
        let mut paces = paces.borrow_mut();
        paces.admits_opened(answer.addresses.len(), now)
    });
    if !is_told {
        return Err(failed());
    }
    let opens = common.link.opens(asker, &answer.addresses);
    let opens = opens.ok_or_else(failed)?;
    let told = timeout(common.times.server, opens.answer()).await;
    // guardd says which it has left out by opening the others.
    told.map(drop).map_err(|_| failed())
}

/// Why there is no answer of the server's.
fn unanswered(error: &io::Error) -> Stopped {
    let why = match error.kind() {
        io::ErrorKind::TimedOut => error.to_string(),
        _ => format!("the server gave no answer ({error})"),
    };
    Stopped::because(Says::Failed, why)
}

/// Has the server answer, and the session learn.
async fn fetch(
    common: &Common,
    network: &Network,
    origin: &Origin,
    question: &Question,
    is_stream: bool,
) -> Result<Reply, Stopped> {
    let server = on_link(common, network, server(origin))?;
    let exchange = exchange::ask(common, network, server, question, is_stream);
    let ServersAnswer {
        mut message,
        socket,
    } = exchange.await.map_err(|error| unanswered(&error))?;
    let odd = |odd| Stopped::because(Says::Failed, odd);
    let session = common.sessions.get(origin.session.0);
    if common.without_ech || session.is_some_and(|session| session.without_ech) {
        message = answer::without_ech(&message).map_err(odd)?;
    }
    let is_cut = exchange::is_cut(&message);
    let answer = match answer::read(&message, question) {
        // What was cut off in the middle of a record is asked for again by TCP.
        Err(_) if is_cut && !is_stream => return Err(Stopped::silently(Says::TooLong)),
        read => read.map_err(odd)?,
    };
    let asker = asker(origin, question);
    let is_trusted = common.sessions.is_trusted(server.ip()) && network.has_machines(server.ip());
    let is_learned = is_trusted && !answer.addresses.is_empty();
    // Policies may have changed meanwhile.
    if is_learned {
        learn(common, &asker, &answer).await?;
        open(common, &asker, &answer).await?;
    } else {
        judge(common, &asker)?;
    }
    if !is_stream && message.len() > question.datagram() {
        return Err(Stopped::silently(Says::TooLong));
    }
    give_back(&mut message, question);
    let told = if is_learned {
        ForGuardd::Learned(answer)
    } else {
        ForGuardd::Nothing
    };
    Ok(Reply {
        message,
        told,
        socket,
    })
}
