//! While a command runs: what looks like production and comes into reach by what is written meanwhile.
//!
//! The files that were read before it started are watched, and the kernel's routes, and looked through again where one has changed. Whoever writes without
//! end costs no more than [`SHARE`] says, and is told of in a few lines. Where the settings have it asked about, nothing starts that
//! nobody would see come.

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guard_discover::{Bounds, Changes, Linked, home_dirs, is_read, linked};
use guard_launch::CommandIdentity;
use guard_proto::{
    Call, Failure,
    production::{Appeared, Place},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use super::before::{Judging, looked, settle, threads, word};
use super::items::{Discovered, InReach, seen};
use super::unless;
use crate::client::Client;
use crate::error::CliError;
use crate::person::Person;
use crate::render::page::{COMMAND, GOOD, Page};
use crate::render::{Output, is_new};

/// What is written together is looked at together.
const PAUSE: Duration = Duration::from_millis(300);
/// So many times as long as a look took, none follows.
const SHARE: u32 = 20;
/// Where there are more directories than are watched, all are looked through again after this time; and guardd is told again of what it
/// does not know.
const AGAIN: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};
/// Places that are shown on the terminal; of more it is said once that there are.
const LINES: usize = 8;
/// Places that are recorded. Where it is to be asked about what comes into reach, each new connection is once there are more.
const RECORDS: usize = 64;
/// Changes that are read at once; the kernel keeps no more either, by default.
const CHANGES: usize = 16_384;
/// A file's time is the kernel's of a moment ago.
const TICK: Duration = Duration::from_millis(10);
/// The nicest.
const NICE: i32 = 19;

/// By which a directory's file, or one within it, is made, written (and left open), renamed into place, or may be read from then on.
const CHANGED: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// Tells of what comes into reach.
pub(crate) struct Drift {
    identity: CommandIdentity,
    audience: Audience,
    watched: Watched,
    socket: PathBuf,
    session: String,
    judging: Judging,
    /// Host and ports of what was reported.
    known: HashSet<(String, String)>,
    count: usize,
    /// Files with more places than are kept.
    full: HashSet<String>,
    beyond: Beyond,
    /// Where not all was looked at before the command, what has not changed since was there.
    there_before: Option<SystemTime>,
}

/// What comes beyond the places that are recorded.
#[derive(Debug)]
enum Beyond {
    /// Nothing that the policy leaves open.
    Nothing,
    /// guardd does not know of it yet.
    Untold(Box<Place>),
    /// guardd knows, and needs to know of no other.
    Told,
}

/// Who gets the report, and whether that is all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audience {
    /// Whether a person is, on the terminal.
    pub(super) is_shown: bool,
    /// Whether it is asked about, too.
    pub(super) asks: bool,
    /// How it is printed.
    pub(super) output: Output,
}

/// The session of the command beside which it is watched.
pub(super) struct SessionToWatch<'s> {
    /// As whom the command runs.
    pub(super) identity: CommandIdentity,
    /// guardd's.
    pub(super) socket: &'s Path,
    /// The session's id.
    pub(super) id: &'s str,
}

impl Audience {
    /// That nothing of what comes into reach is seen. Where it is to be asked about, nothing may start then.
    fn unseen(self, unseen: Unseen) -> Result<(), CliError> {
        if self.asks {
            return Err(unseen.failure().into());
        }
        let why = unseen.why;
        let said = format!("what comes into reach while the command runs is not told: {why}");
        self.output.warnings(&[said]);
        Ok(())
    }
}

/// Why nobody sees what comes into reach, and what to do about it.
#[derive(Debug)]
pub(super) struct Unseen {
    why: String,
    fix: String,
}

/// How many instances of inotify(7) a user may have.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// As many are enough for an editor, an agent and more beside it.
const ENOUGH: u32 = 1_024;

impl Unseen {
    pub(super) fn of(why: impl ToString) -> Self {
        Self {
            why: why.to_string(),
            fix: "look yourself, as the user of the command:\nguard discover --check".into(),
        }
    }

    /// Of an inotify that could not be had. The kernel has one error for a process' files and for a user's instances.
    fn of_inotify(error: Errno) -> Self {
        let limit = fs::read_to_string(INSTANCES).ok();
        let limit = limit.and_then(|text| text.trim().parse::<u32>().ok());
        match (error, limit, fs::File::open("/dev/null")) {
            (Errno::MFILE, Some(limit), Ok(_)) => Self {
                why: format!(
                    "all inotify instances of this user are in use, and fs.inotify.max_user_instances is {limit}"
                ),
                fix: format!(
                    "end what watches so many files, such as an editor or an agent, or allow more:\nguard sessions\nsudo sysctl fs.inotify.max_user_instances={}",
                    limit.saturating_mul(2).max(ENOUGH)
                ),
            },
            _ => Self::of(io::Error::from(error)),
        }
    }

    /// Of a working directory that has no path.
    fn of_dir(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self {
                why: "the working directory has been removed".into(),
                fix: "go to a directory that is there, and start the command again:\ncd DIR".into(),
            },
            _ => Self::of(error),
        }
    }

    /// That nothing starts, as it is to be asked about.
    pub(super) fn failure(self) -> Failure {
        let Self { why, fix } = self;
        Failure {
            what: "the command was not started".into(),
            why: format!(
                "the settings say that what comes into reach is asked about, and nobody could look for it: {why}"
            ),
            fix,
        }
    }
}

/// The directories that are watched.
struct Watched {
    inotify: OwnedFd,
    dirs: HashMap<i32, PathBuf>,
    /// What is read by links of the home, and where: in a directory that may be one of `dirs`, too.
    linked: HashMap<i32, HashSet<Option<OsString>>>,
    /// What is routed through tunnels; none where that cannot be watched.
    routes: Option<Changes>,
    project: PathBuf,
    home: Option<PathBuf>,
    /// Whether there are more.
    is_cut: bool,
}

impl Drift {
    /// After what was found before the command, `since` then. None where nothing can be watched, and nobody is to be asked about it.
    ///
    /// # Errors
    ///
    /// The same where somebody is.
    pub(super) fn new(
        session: SessionToWatch<'_>,
        audience: Audience,
        all: &Discovered,
        judging: Judging,
        since: SystemTime,
    ) -> Result<Option<Self>, CliError> {
        let SessionToWatch {
            identity,
            socket,
            id,
        } = session;
        // A thread that cannot be had now is none to be had beside the command.
        let watched = Watched::new(&Person::of(&identity)).and_then(|watched| {
            let before = threads();
            let spawned = thread::scope(|scope| thread().spawn_scoped(scope, || ()).map(drop));
            spawned.map_err(Unseen::of)?;
            settle(before);
            Ok(watched)
        });
        let watched = match watched {
            Ok(watched) => watched,
            Err(unseen) => return audience.unseen(unseen).map(|()| None),
        };
        let production = all.items.iter().filter(|one| one.is_production());
        Ok(Some(Self {
            identity,
            audience,
            watched,
            socket: socket.to_owned(),
            session: id.to_owned(),
            judging,
            known: production.map(place).collect(),
            count: 0,
            full: full(all).map(str::to_owned).collect(),
            beyond: Beyond::Nothing,
            there_before: (!all.complete).then_some(since),
        }))
    }

    /// Goes on beside the command, on a thread of its own, and ends with this process.
    ///
    /// # Errors
    ///
    /// That there can be none, and it is to be asked about what comes into reach.
    pub(crate) fn begin(self) -> Result<(), CliError> {
        let audience = self.audience;
        match thread().spawn(move || self.follow()) {
            Ok(_) => Ok(()),
            Err(why) => audience.unseen(Unseen::of(why)),
        }
    }

    fn follow(mut self) {
        // The threads that look have the same. Where nobody sits at it, all of the machine may be one busy processor, and the kernel
        // waits for each thread that is not let run before it attaches a program: there none is put off.
        if self.audience.is_shown {
            let _ = setpriority_process(Some(gettid()), NICE);
        }
        loop {
            let began = Instant::now();
            let has_new = self.look();
            thread::sleep((began.elapsed() * SHARE).max(PAUSE));
            // What was written in a new directory before it was watched is seen only then.
            if !has_new {
                let is_untold = matches!(self.beyond, Beyond::Untold(_));
                self.watched.wait(is_untold);
            }
        }
    }

    /// Looks, and tells. Whether there are directories that were not watched.
    fn look(&mut self) -> bool {
        let identity = self.identity.clone();
        let person = Person::of(&identity);
        let watched = &mut self.watched;
        let found = identity.with_rights(|| {
            let mut found = looked(&person, Bounds::default().time).ok()?;
            let has_new = watched.watch(std::mem::take(&mut found.dirs));
            Some((has_new, found))
        });
        let Ok(Some((has_new, found))) = found else {
            return false;
        };
        // While guardd cannot be asked, nothing counts as dismissed: it may be reported in vain, and nothing is left out.
        let dismissals = self.judging.dismissals(&self.socket, &person);
        let Some(all) = self.judging.judge(found, &dismissals.unwrap_or_default()) else {
            return has_new;
        };
        let since = self.there_before.take();
        let mut new = Vec::new();
        for one in all.items.iter().filter(|one| one.is_production()) {
            let is_new = self.known.insert(place(one));
            if is_new && since.is_none_or(|since| self.watched.has_changed(one, since)) {
                new.push(one);
            }
        }
        self.note_full(&all, since);
        self.tell_all(new);
        has_new
    }

    /// Where it is to be asked about what comes into reach, and a file has more places by now than are kept, anything may be among them.
    fn note_full(&mut self, all: &Discovered, since: Option<SystemTime>) {
        if !self.audience.asks {
            return;
        }
        for file in full(all) {
            let is_new = self.full.insert(file.to_owned());
            let is_news =
                is_new && since.is_none_or(|since| self.watched.has_file_changed(file, since));
            if is_news && matches!(self.beyond, Beyond::Nothing) {
                self.beyond = Beyond::Untold(Box::new(unread(file)));
            }
        }
    }

    /// Names may take long to be looked up, as their owner likes: what is asked about without comes first.
    fn tell_all(&mut self, mut new: Vec<&InReach>) {
        new.sort_by_key(|one| one.host.parse::<IpAddr>().is_err());
        let room = RECORDS.saturating_sub(self.count).min(new.len());
        let mut beyond = new[room..].iter().filter(|one| one.is_open());
        if let (Beyond::Nothing, Some(one)) = (&self.beyond, beyond.next()) {
            self.beyond = Beyond::Untold(Box::new(recorded(one)));
        }
        self.tell_beyond();
        for one in new {
            self.tell(one);
        }
    }

    /// Tells guardd, until it knows, that more came than is recorded.
    fn tell_beyond(&mut self) {
        let Beyond::Untold(place) = &self.beyond else {
            return;
        };
        let told = self.appeared(place.clone(), true);
        if self.audience.asks && is_new(&beyond(&told)) {
            self.say(&beyond(&told));
        }
        self.beyond = match told {
            // That one was dismissed meanwhile: the next one counts.
            Ok(Appeared { asks: false }) if self.audience.asks => Beyond::Nothing,
            Ok(_) => Beyond::Told,
            Err(_) => return,
        };
    }

    fn say(&self, said: &str) {
        if self.audience.is_shown {
            show(&Page::of(format_args!("guard: {said}")))
        } else {
            self.audience.output.warn(said)
        }
    }

    fn tell(&mut self, one: &InReach) {
        self.count += 1;
        let is_recorded = self.count <= RECORDS;
        let told = is_recorded.then(|| self.appeared(Box::new(recorded(one)), false));
        if !self.audience.is_shown {
            return self.warn(one, told);
        }
        if self.count <= LINES + 1 {
            show(&line(one, told.as_ref(), self.count > LINES));
        }
    }

    /// Says where nobody is asked about a place, although somebody is to be.
    fn warn(&self, one: &InReach, told: Option<Result<Appeared, CliError>>) {
        if let (true, Some(Err(why))) = (self.audience.asks, told) {
            let said = format!(
                "{} came into reach, and nobody is asked about it: {why}",
                one.at()
            );
            self.audience.output.warnings(&[said]);
        }
    }

    fn appeared(&self, place: Box<Place>, more: bool) -> Result<Appeared, CliError> {
        Client::connect(&self.socket)?.call(&Call::Appeared {
            session: self.session.clone(),
            place,
            more,
        })
    }
}

impl Watched {
    fn new(person: &Person) -> Result<Self, Unseen> {
        let project = env::current_dir().map_err(|error| Unseen::of_dir(&error))?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        Ok(Self {
            inotify: inotify.map_err(Unseen::of_inotify)?,
            dirs: HashMap::new(),
            linked: HashMap::new(),
            routes: Changes::from_now().ok(),
            project,
            home: person.home().map(Path::to_owned),
            is_cut: false,
        })
    }

    /// Watches these directories of the project, and those of the home. Whether some were not watched.
    fn watch(&mut self, dirs: Vec<PathBuf>) -> bool {
        self.is_cut = dirs.len() >= guard_discover::DIRS;
        let of_home = self.home.iter().flat_map(|home| home_dirs(home));
        let of_project = dirs.into_iter().map(|dir| self.project.join(dir));
        let mut has_new = false;
        for dir in of_project.chain(of_home).collect::<Vec<_>>() {
            let id = self.add(&dir);
            has_new |= id.is_some_and(|id| self.dirs.insert(id, dir).is_none());
        }
        let of_links = self.home.iter().flat_map(|home| linked(home));
        for Linked { dir, name } in of_links.collect::<Vec<_>>() {
            // Those of links that are gone count, too: who changes links without end has no more watched.
            if self.linked.values().map(HashSet::len).sum::<usize>() >= guard_discover::DIRS {
                self.is_cut = true;
                break;
            }
            let id = self.add(&dir);
            has_new |= id.is_some_and(|id| self.linked.entry(id).or_default().insert(name));
        }
        has_new
    }

    fn add(&mut self, dir: &Path) -> Option<i32> {
        let added = inotify::add_watch(&self.inotify, dir, CHANGED);
        self.is_cut |= added == Err(rustix::io::Errno::NOSPC);
        added.ok()
    }

    /// Returns when something has changed that is read; where it `is_untold` what came, after a time, too.
    fn wait(&mut self, is_untold: bool) {
        loop {
            let timeout = (self.is_cut || is_untold).then_some(&AGAIN);
            let mut ready = vec![PollFd::new(&self.inotify, PollFlags::IN)];
            let routes = self.routes.as_ref();
            ready.extend(routes.map(|routes| PollFd::new(routes, PollFlags::IN)));
            if matches!(poll(&mut ready, timeout), Ok(0)) {
                return;
            }
            thread::sleep(PAUSE);
            let has_route = self
                .routes
                .as_mut()
                .is_some_and(Changes::has_tunnel_changed);
            if self.has_read_change() || has_route {
                return;
            }
        }
    }

    /// Whether one of the changes until now is one of a file that is read.
    fn has_read_change(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut found = false;
        for _ in 0..CHANGES {
            let Ok(event) = reader.next() else { break };
            let (id, flags) = (event.wd(), event.events());
            if flags.contains(ReadFlags::IGNORED) {
                self.dirs.remove(&id);
                self.linked.remove(&id);
            }
            // What was lost may have been one.
            found |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            // Without a name it is of the directory itself.
            let name = event.file_name().map(|name| name.to_bytes());
            let name = OsStr::from_bytes(name.unwrap_or_default());
            let is_dir = flags.contains(ReadFlags::ISDIR);
            found |= self.dirs.get(&id).is_some_and(|dir| {
                let path = dir.join(name);
                is_read(&path, is_dir, &self.project, self.home.as_deref())
            });
            found |= self.linked.get(&id).is_some_and(|names| {
                names.contains(&None) || names.contains(&Some(name.to_owned()))
            });
        }
        found
    }

    /// Whether a file that says so was changed since then, by the clock that nobody sets back for a file alone.
    fn has_changed(&self, one: &InReach, since: SystemTime) -> bool {
        let mut found = one.found.iter();
        found.any(|seen| self.has_file_changed(&seen.file, since))
    }

    fn has_file_changed(&self, file: &str, since: SystemTime) -> bool {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = since.saturating_sub(TICK);
        let path = match (file.strip_prefix("~/"), &self.home) {
            (Some(below), Some(home)) => home.join(below),
            _ => self.project.join(file),
        };
        // A link may be older than what it leads to.
        let about = [fs::symlink_metadata(&path), fs::metadata(&path)];
        let mut about = about.iter().flatten();
        about.any(|about| {
            let of_second = Duration::from_nanos(about.ctime_nsec().cast_unsigned());
            Duration::from_secs(about.ctime().cast_unsigned()) + of_second >= since
        })
    }
}

fn thread() -> thread::Builder {
    thread::Builder::new().name("guard-drift".to_owned())
}

fn place(one: &InReach) -> (String, String) {
    (one.host.clone(), one.ports.clone())
}

fn recorded(one: &InReach) -> Place {
    let seen = one.found.first();
    Place {
        host: one.host.clone(),
        ports: one.ports.clone(),
        service: one.service.clone(),
        file: seen.map_or_else(String::new, |seen| seen.file.clone()),
        line: seen
            .and_then(|seen| seen.line)
            .and_then(|line| line.try_into().ok()),
        key: seen.map_or_else(String::new, |seen| seen.key.clone()),
        verdict: one.now.verdict.to_owned(),
    }
}

/// The files that have more places than are kept.
fn full(all: &Discovered) -> impl Iterator<Item = &str> {
    let full = all.unread().filter(|one| one.why == guard_discover::MORE);
    full.map(|one| one.file.as_str())
}

/// What stands for all that was not kept of a file.
fn unread(file: &str) -> Place {
    Place {
        host: String::new(),
        ports: String::new(),
        service: String::new(),
        file: file.to_owned(),
        line: None,
        key: String::new(),
        verdict: String::new(),
    }
}

/// On the terminal. The command may have it as it is drawn.
fn show(page: &Page) {
    let text = page.as_str().replace('\n', "\r\n");
    let _ = anstream::stderr().write_all(format!("\r{text}").as_bytes());
}

/// What is said where more came than is recorded, and it is to be asked about.
fn beyond(told: &Result<Appeared, CliError>) -> String {
    let then = match told {
        Ok(_) => "each new connection is asked about from now on".to_owned(),
        Err(why) => format!("nobody is asked about it: {why}"),
    };
    format!("more that looks like production came into reach than is told one by one, and {then}")
}

/// What is said of a place; of one too many, that there are more.
fn line(one: &InReach, recorded: Option<&Result<Appeared, CliError>>, is_too_many: bool) -> Page {
    let mut page = Page::default();
    if is_too_many {
        page.text("guard: more came into reach that looks like production: ");
        page.styled(COMMAND, "guard discover").end();
        return page;
    }
    let (style, word) = match recorded {
        Some(Ok(Appeared { asks: true })) => (GOOD, "asks from now on"),
        _ => word(one),
    };
    let found = one.found.first().map_or_else(String::new, seen);
    page.text(format_args!(
        "guard: {} looks like production and came into reach: {found} (",
        one.at()
    ));
    page.styled(style, word);
    if word == "open" {
        page.text(unless::of_all([&one.now].into_iter()));
    }
    page.text(")  ");
    page.styled(COMMAND, format_args!("guard discover --why {}", one.at()));
    // What asks already needs no rule before the next time.
    if word == "open" {
        page.text("  ")
            .styled(COMMAND, "guard discover --write NAME");
    }
    page.end();
    if let Some(Err(why)) = recorded {
        page.line(format_args!(
            "guard: it may be in no log, and nobody is asked about it: {why}"
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SETTINGS, Tested, discovered, shipped};
    use super::*;

    #[test]
    fn a_place_is_said_in_a_line_and_one_too_many_once() -> Tested {
        let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
        insta::assert_snapshot!(line(&all.items[1], None, false).plain(), @"guard: db.example.net:5432 looks like production and came into reach: DATABASE_URL  .env:1 (open, unless private)  guard discover --why db.example.net:5432  guard discover --write NAME");
        insta::assert_snapshot!(line(&all.items[1], Some(&Ok(Appeared { asks: true })), false).plain(), @"guard: db.example.net:5432 looks like production and came into reach: DATABASE_URL  .env:1 (asks from now on)  guard discover --why db.example.net:5432");
        insta::assert_snapshot!(line(&all.items[1], None, true).plain(), @"guard: more came into reach that looks like production: guard discover");
        let why = Failure {
            what: "cannot load the policy open.toml".to_owned(),
            why: "it does not fit".to_owned(),
            fix: "write fewer rules".to_owned(),
        };
        let failed = Err(CliError::Local(why));
        insta::assert_snapshot!(line(&all.items[1], Some(&failed), false).plain(), @r"
        guard: db.example.net:5432 looks like production and came into reach: DATABASE_URL  .env:1 (open, unless private)  guard discover --why db.example.net:5432  guard discover --write NAME
        guard: it may be in no log, and nobody is asked about it: cannot load the policy open.toml: it does not fit
        ");
        Ok(())
    }

    #[test]
    fn that_more_came_than_is_told_says_what_becomes_of_connections() {
        let told = Ok(Appeared { asks: true });
        insta::assert_snapshot!(beyond(&told), @"more that looks like production came into reach than is told one by one, and each new connection is asked about from now on");
        let away = Err(CliError::Local(Failure {
            what: "no guardd".to_owned(),
            why: "it has gone".to_owned(),
            fix: String::new(),
        }));
        insta::assert_snapshot!(beyond(&away), @"more that looks like production came into reach than is told one by one, and nobody is asked about it: no guardd: it has gone");
    }

    #[test]
    fn what_cannot_be_watched_starts_nothing_that_is_to_be_asked_about() {
        let audience = |asks| Audience {
            is_shown: false,
            asks,
            output: Output::new(false),
        };
        let why = "no file descriptor is left";
        let refused = audience(true)
            .unseen(Unseen::of(why))
            .map_err(|error| error.to_string());
        assert!(refused.is_err_and(|said| said.contains(why)));
        assert!(audience(false).unseen(Unseen::of(why)).is_ok());
    }

    #[test]
    fn what_cannot_be_watched_says_which_limit_or_directory_it_is() {
        let limit = fs::read_to_string(INSTANCES).unwrap();
        let used_up = Unseen::of_inotify(Errno::MFILE).failure();
        let said = format!("fs.inotify.max_user_instances is {}", limit.trim());
        assert!(used_up.why.ends_with(&said), "{used_up}");
        assert!(
            used_up
                .fix
                .contains("sudo sysctl fs.inotify.max_user_instances=")
        );
        let full = Unseen::of_inotify(Errno::NFILE).failure();
        assert!(!full.fix.contains("sysctl"), "{full}");
        let gone = Unseen::of_dir(&io::ErrorKind::NotFound.into()).failure();
        assert!(gone.why.ends_with("has been removed") && gone.fix.ends_with("cd DIR"));
    }

    #[test]
    fn what_is_recorded_says_where_it_is_and_nothing_secret() -> Tested {
        let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
        let json = serde_json::to_string(&recorded(&all.items[1]))?;
        assert_eq!(
            json,
            r#"{"host":"db.example.net","ports":"tcp/5432","service":"postgres","file":".env","line":1,"key":"DATABASE_URL","verdict":"allow"}"#
        );
        Ok(())
    }
}
