//! Web Push: a device of an approver's is notified that a session asks, whether or not a page is open.
//!
//! Two processes of one user do it. The console, which browsers reach, keeps devices and speaks to this machine alone.
//! `guard-console push`, which nobody reaches, speaks to push services. What they share is files.

mod devices;
mod endpoint;
pub(crate) mod pages;
mod seal;
mod send;
mod vapid;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::File,
    path::Path,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use guard_courier::{Guardd, Refusal};
use guard_proto::{
    Call, LogRecord, Request, RequestsReply, Session, SessionsReply, approvers::Approvers,
    record::Record,
};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    devices::Device,
    send::{PushOutcome, send},
};
pub(crate) use self::{devices::Devices, vapid::Vapid};
use crate::{
    Console, Settings,
    notify::{
        GATHER, StateFile,
        message::{Message, RequestLine},
        seconds,
        told::{Notices, Turn},
    },
    scope::Scope,
};

/// How soon it is looked again: where something is to be sent later, while something waits, and otherwise.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
/// Where no device is notified.
const NOBODY: Duration = Duration::from_secs(5);
/// From when on the log is read, and no's that are kept until the next look.
const SINCE: Duration = Duration::from_secs(900);
const MOST_NOES: usize = 256;
/// How long to wait before guardd is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Seconds until what no service has taken is tried again; twice that the next time, and so on.
const RETRY: u64 = 15;
const RETRIES: u32 = 6;

/// Notifies devices until it is stopped.
///
/// # Errors
///
/// That the settings do not want it, another does it, or nothing can be kept.
pub fn push(settings: Settings) -> Result<()> {
    ensure!(
        settings.pushes(),
        "no device is to be told: put push = [\"webpush\"] into console.toml"
    );
    let (devices, dir) = Devices::open(&settings.state_dir)?;
    let _alone = alone(&dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Each looks up a name, and goes on when its time is up: of every device twice.
        .max_blocking_threads(2 * devices::OF_ALL)
        .build()
        .context("cannot begin")?;
    let guardd = Guardd::at(settings.socket.clone());
    let sender = Sender {
        vapid: Rc::new(Vapid::open(&dir)?),
        settings: Rc::new(settings),
        guardd: guardd.clone(),
        devices,
        kept: StateFile::at(dir),
        failed: BTreeMap::new(),
    };
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let mut terminated = signal(SignalKind::terminate())?;
        let news = Rc::new(News::default());
        tokio::task::spawn_local(follow(guardd, Rc::clone(&news)));
        tracing::info!("tells devices");
        // Nobody may have asked for it.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::select! {
            () = sender.run(&news) => Ok(()),
            _ = terminated.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// The file that is locked while devices are notified.
const LOCK: &str = "sender";

/// Nobody else notifies them while this is there: each would be notified twice.
fn alone(dir: &Path) -> Result<File> {
    let file = File::create(dir.join(LOCK)).context("cannot keep what is told")?;
    // A page may be looking whether it is locked.
    for _ in 0..20 {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("another guard-console push runs here")
}

/// Whether somebody tells devices now.
pub(crate) fn is_told(dir: &Path) -> bool {
    let file = File::open(dir.join(LOCK));
    file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

/// Removes devices of those who are enrolled no more.
pub(crate) fn remove_unenrolled(console: &Console, known: &Approvers) {
    if !console.settings.pushes() {
        return;
    }
    if let Ok((devices, _)) = Devices::open(&console.settings.state_dir) {
        devices.enrolled(known);
    }
}

/// That something may be asked, and that somebody has said no.
#[derive(Debug, Default)]
struct News {
    came: Notify,
    noes: RefCell<VecDeque<No>>,
    /// Whether connections are to wait meanwhile.
    waits: watch::Sender<bool>,
}

impl News {
    /// Somebody has said no. Of too many the first go.
    fn said_no(&self, no: No) {
        let mut noes = self.noes.borrow_mut();
        noes.push_back(no);
        while noes.len() > MOST_NOES {
            noes.pop_front();
        }
    }

    /// These could not be noted: they are still to be.
    fn put_back(&self, noes: VecDeque<No>) {
        let later = self.noes.replace(noes);
        later.into_iter().for_each(|no| self.said_no(no));
    }
}

/// A no of somebody's.
#[derive(Debug)]
struct No {
    request: String,
    session: String,
    at: Timestamp,
}

/// Follows guardd. It holds connections for a courier that follows requests, and for none that follows the log.
async fn follow(guardd: Guardd, news: Rc<News>) {
    let ended = async |ended: Result<(), Refusal>| {
        if let Err(refusal) = ended {
            tracing::debug!(why = refusal.failure.why, "guardd is away");
        }
        sleep(PAUSE).await;
        news.came.notify_one();
    };
    let all = async {
        loop {
            ended(log(&guardd, &news).await).await;
        }
    };
    let waiting = async {
        let mut waits = news.waits.subscribe();
        loop {
            // Its other end lives in `news`.
            let _ = waits.wait_for(|waits| *waits).await;
            tokio::select! {
                done = requests(&guardd, &news) => ended(done).await,
                _ = waits.wait_for(|waits| !waits) => {}
            }
        }
    };
    tokio::join!(all, waiting);
}

async fn requests(guardd: &Guardd, news: &News) -> Result<(), Refusal> {
    let mut answers = guardd.stream::<RequestsReply>(&Call::Pending {}).await?;
    while answers.next().await?.is_some() {
        news.came.notify_one();
    }
    Ok(())
}

async fn log(guardd: &Guardd, news: &News) -> Result<(), Refusal> {
    let call = Call::Log {
        follow: true,
        session: None,
        // What came before this was heard is looked at, too: no's for as long as they count.
        since: Some(SINCE.as_secs_f64()),
    };
    let mut records = guardd.stream::<LogRecord>(&call).await?;
    while let Some(record) = records.next().await? {
        match record.record() {
            Record::Request(_) => news.came.notify_one(),
            Record::Answered(one) if one.answer.is("no") => {
                if let (Some(request), Some(session)) = (one.request.get(), &record.session) {
                    news.said_no(No {
                        request: request.clone(),
                        session: session.clone(),
                        at: record.at,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends to devices.
struct Sender {
    settings: Rc<Settings>,
    guardd: Guardd,
    devices: Devices,
    vapid: Rc<Vapid>,
    /// By approver: what one gets another does not miss.
    kept: StateFile<BTreeMap<String, Notices>>,
    /// How often no device of an approver's was reached, and until when none is tried.
    failed: BTreeMap<String, (u32, u64)>,
}

/// An approver with devices.
struct Person {
    scope: Scope,
    devices: Vec<Device>,
}

impl Person {
    fn lines(&self, asked: &[Request], tells_address: bool) -> Vec<RequestLine> {
        let own = asked.iter().filter(|one| self.scope.has(&one.user));
        own.map(|one| RequestLine::of(one, tells_address)).collect()
    }
}

/// Whom it is time to tell.
struct DuePeople {
    names: Vec<String>,
    /// Whether there is more for later.
    is_left: bool,
}

/// What a look has found.
struct NextLook {
    waits: bool,
    next: Duration,
}

impl Sender {
    async fn run(mut self, news: &News) {
        let mut is_said = false;
        loop {
            let found = self.look(news).await;
            let is_broken = found.is_err();
            let found = found.unwrap_or_else(|error| {
                if !is_said {
                    tracing::warn!("no device is told: {error:#}");
                }
                NextLook {
                    waits: *news.waits.borrow(),
                    next: SOON,
                }
            });
            is_said = is_broken;
            news.waits.send_if_modified(|now| {
                let is_other = *now != found.waits;
                *now = found.waits;
                is_other
            });
            // Also without news: a time has come, or a device.
            let _ = timeout(found.next, news.came.notified()).await;
        }
    }

    /// Looks what is asked, and sends what is due.
    async fn look(&mut self, news: &News) -> Result<NextLook> {
        let nobody = NextLook {
            waits: false,
            next: NOBODY,
        };
        if self.devices.all().is_empty() {
            return Ok(nobody);
        }
        let known = self.guardd.call::<Approvers>(&Call::Approvers {}).await;
        let known = known.map_err(away)?;
        let people = self.people(&known);
        if people.is_empty() {
            return Ok(nobody);
        }
        let noes = news.noes.take();
        if let Err(error) = self.note_noes(&people, &noes).await {
            news.put_back(noes);
            return Err(error);
        }
        if self.settings.is_quiet() {
            return Ok(nobody);
        }
        let asked = self.asked().await?;
        let DuePeople {
            names: due,
            is_left,
        } = self.due(&people, &asked)?;
        if !due.is_empty() {
            sleep(GATHER).await;
            let asked = self.asked().await?;
            self.tell(&due, &people, &asked).await?;
        }
        let next = match is_left || !due.is_empty() {
            true => SOON,
            false if asked.is_empty() => IDLE,
            false => LATER,
        };
        let waits = self.settings.push_waits;
        Ok(NextLook { waits, next })
    }

    /// Who said no twice gets no more of that session for a while: nor do the others.
    async fn note_noes(
        &self,
        people: &BTreeMap<String, Person>,
        noes: &VecDeque<No>,
    ) -> Result<()> {
        if noes.is_empty() {
            return Ok(());
        }
        let live = self.guardd.call::<SessionsReply>(&Call::Sessions {}).await;
        let live = live.map_err(away)?.sessions;
        let wall = Timestamp::now();
        let (now, mut outermost) = (seconds(), Vec::new());
        for No {
            request,
            session,
            at,
        } in noes
        {
            let ago = u64::try_from(wall.duration_since(*at).as_secs()).unwrap_or(0);
            outermost.push((
                request,
                outermost_of(&live, session.clone()),
                now.saturating_sub(ago),
            ));
        }
        self.kept.change(|all| {
            for name in people.keys() {
                let told = all.entry(name.clone()).or_default();
                for (request, session, at) in &outermost {
                    told.note_no(request, session, *at, now);
                }
            }
        })
    }

    async fn asked(&self) -> Result<Vec<Request>> {
        let asked = self.guardd.call::<RequestsReply>(&Call::Pending {}).await;
        Ok(asked.map_err(away)?.requests)
    }

    fn people(&self, known: &Approvers) -> BTreeMap<String, Person> {
        let mut people = BTreeMap::<String, Person>::new();
        for device in self.devices.enrolled(known) {
            let Some(scope) = Scope::of(&device.identity, known) else {
                continue;
            };
            let person = people.entry(scope.name.clone()).or_insert(Person {
                scope,
                devices: Vec::new(),
            });
            person.devices.push(device);
        }
        people
    }

    /// Whom it is time to tell.
    fn due(&self, people: &BTreeMap<String, Person>, asked: &[Request]) -> Result<DuePeople> {
        let now = seconds();
        self.kept.change(|all| {
            all.retain(|name, _| people.contains_key(name));
            let (mut names, is_left) = (Vec::new(), Cell::new(false));
            for (name, person) in people {
                let told = all.entry(name.clone()).or_default();
                let lines = person.lines(asked, self.settings.push_address);
                told.keep(&keys(&lines), now);
                if self.failed.get(name).is_some_and(|(_, until)| now < *until) {
                    is_left.set(true);
                    continue;
                }
                let turns = lines.iter().map(|line| told.is_due(line, now));
                let is_due = |turn: Turn| {
                    is_left.set(is_left.get() || turn == Turn::NotYet);
                    turn == Turn::Now
                };
                if turns.map(is_due).fold(false, |is, one| is | one) {
                    names.push(name.clone());
                }
            }
            DuePeople {
                names,
                is_left: is_left.get(),
            }
        })
    }

    /// Notifies approvers' devices of what is asked and was not sent. All at once: none waits for another's that do not answer.
    async fn tell(
        &mut self,
        due: &[String],
        people: &BTreeMap<String, Person>,
        asked: &[Request],
    ) -> Result<()> {
        let mut untold = Vec::new();
        for name in due {
            let lines = self.untold(name, &people[name], asked)?;
            untold.push((&**name, lines));
        }
        let told = self.send(people, &untold).await;
        for (name, lines) in untold {
            self.note(name, &lines, told.contains(name))?;
        }
        Ok(())
    }

    fn untold(&self, name: &str, person: &Person, asked: &[Request]) -> Result<Vec<RequestLine>> {
        self.kept.change(|all| {
            let told = all.entry(name.to_owned()).or_default();
            let (now, lines) = (seconds(), person.lines(asked, self.settings.push_address));
            told.keep(&keys(&lines), now);
            for line in &lines {
                // One that came meanwhile is in the same message.
                told.is_due(line, now);
            }
            told.waiting()
        })
    }

    fn note(&mut self, name: &str, lines: &[RequestLine], is_told: bool) -> Result<()> {
        let now = seconds();
        self.kept.change(|all| {
            let told = all.entry(name.to_owned()).or_default();
            if is_told {
                told.note_sent(lines, now)
            } else {
                told.note_failed()
            }
        })?;
        if is_told || lines.is_empty() {
            self.failed.remove(name);
        } else {
            let (count, until) = self.failed.entry(name.to_owned()).or_default();
            *until = now + (RETRY << *count);
            *count = (*count + 1).min(RETRIES);
        }
        Ok(())
    }

    /// The names of those of whom a device was notified. Devices that have gone are removed.
    async fn send(
        &self,
        people: &BTreeMap<String, Person>,
        untold: &[(&str, Vec<RequestLine>)],
    ) -> BTreeSet<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        // Some of them may have been removed meanwhile.
        let kept: BTreeSet<_> = self.devices.all().iter().map(Device::id).collect();
        let mut sending = JoinSet::new();
        for (name, lines) in untold.iter().filter(|(_, lines)| !lines.is_empty()) {
            let Message { title, text, link } =
                Message::of(lines, &self.settings, crate::machine::machine());
            let text: Rc<str> = json!({ "title": title, "text": text, "link": link })
                .to_string()
                .into();
            let devices = people[*name].devices.iter();
            for device in devices.filter(|one| kept.contains(&one.id())).cloned() {
                let (name, text) = ((*name).to_owned(), Rc::clone(&text));
                let (vapid, settings) = (Rc::clone(&self.vapid), Rc::clone(&self.settings));
                sending.spawn_local(async move {
                    let sent = send(&device, text.as_bytes(), &vapid, &settings, now).await;
                    (name, device, sent)
                });
            }
        }
        let mut told = BTreeSet::new();
        while let Some(Ok((name, device, sent))) = sending.join_next().await {
            match sent {
                Ok(PushOutcome::Taken) => {
                    told.insert(name);
                }
                Ok(PushOutcome::Gone) => {
                    tracing::info!(name, "a device is told no more: its browser has gone");
                    self.devices.remove(&device.id());
                }
                Err(error) => tracing::warn!(name, "a device is not told: {error:#}"),
            }
        }
        told
    }
}

/// The outermost session around one.
fn outermost_of(live: &[Session], mut session: String) -> String {
    // However often one is inside another, there are no more than all of them.
    for _ in 0..live.len() {
        let known = live.iter().find(|one| one.id == session);
        match known.and_then(|one| one.parent.clone()) {
            Some(parent) => session = parent,
            None => break,
        }
    }
    session
}

fn away(refusal: Refusal) -> anyhow::Error {
    let failure = refusal.failure;
    anyhow!("{}: {}", failure.what, failure.why)
}

fn keys(lines: &[RequestLine]) -> BTreeSet<&str> {
    lines.iter().map(|line| &*line.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(number: usize) -> No {
        No {
            request: format!("r{number}"),
            session: "s1".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn requests(noes: &VecDeque<No>) -> Vec<&str> {
        noes.iter().map(|no| &*no.request).collect()
    }

    #[test]
    fn noes_that_could_not_be_noted_come_before_later_ones() {
        let news = News::default();
        news.said_no(no(1));
        let taken = news.noes.take();
        news.said_no(no(2));
        news.put_back(taken);
        assert_eq!(requests(&news.noes.borrow()), ["r1", "r2"]);
    }

    #[test]
    fn of_too_many_noes_the_latest_are_kept() {
        let news = News::default();
        (0..MOST_NOES + 5).for_each(|number| news.said_no(no(number)));
        let noes = news.noes.borrow();
        assert_eq!((noes.len(), requests(&noes)[0]), (MOST_NOES, "r5"));
    }
}
