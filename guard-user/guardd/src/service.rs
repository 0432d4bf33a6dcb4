//! guardd's life: starts, runs a task for each source of work until a signal or an error ends it, and stops.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::ExitCode,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use guard_datapath::{DatapathError, Object, Start, TornDown, teardown};
use guard_proto::record::{DaemonStart, DaemonStop};
use guard_sys::{passed, readiness::Readiness, threads};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinSet, LocalSet},
};

use crate::{
    args::{Cli, Paths, Verb},
    config::Config,
    control::{
        listening::{listen, turn_away, unlisten},
        server,
        status_line::{self, notify, one_line, status_line},
    },
    doctor, listeners,
    policies::load,
    proxy::worker::ProxyWorker,
    record::{audit::LogEntry, kernel_log},
    requests::on_request,
    resolver::worker::ResolverWorker,
    sessions::{arrivals, launchers, slice, units},
    shared::Shared,
    start::{self, Begun},
    state::{Shelves, State},
    unix::allow_control,
    watch::FileChange,
    workers::{self, life},
};

/// How long a daemon that ends when idle waits for its first session.
const FIRST_SESSION: Duration = Duration::from_secs(10);
/// The longest interval between two checks of names; each is looked up by its own TTL.
const NAMES: Duration = Duration::from_secs(10);
/// How many times aborted connections may finish before guardd ends.
const MAX_LOOKS: usize = 1000;
/// The longest interval between two reports to the service manager.
const REPORTS: Duration = Duration::from_secs(5);
/// Grace period after the cgroup root disappears: clients still get an error reply, and SIGTERM from systemd (if it removed the
/// slice) arrives within it.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// An editor's several steps to save a file count as one change.
const SETTLE: Duration = Duration::from_millis(50);

/// Runs what the command line asks for, with this kernel half.
#[must_use]
pub fn main(cli: &Cli, object: &Object) -> ExitCode {
    let done = match &cli.verb {
        // Whatever else is said: a caller that asks whether a file is good wants nothing done.
        _ if cli.check => tell_settings(&cli.paths),
        Some(Verb::Teardown { force }) => take_down(cli, *force),
        Some(Verb::Proxy { arguments }) => return workers::program::become_it(arguments),
        Some(Verb::Probe) => return doctor::main(),
        None => enforce(cli, object),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = format!("{error:#}");
            say(&error);
            notify(&[NotifyState::Status(&one_line(&error))]);
            ExitCode::from(2)
        }
    }
}

/// Logs why guardd ends: as an error to the journal, and to a person as `guard` would.
fn say(error: &str) {
    if guard_log::has_stderr() {
        tracing::error!("{error}");
        return;
    }
    let said = error.replace('\n', "\n    ");
    // That nobody reads it changes nothing.
    let _ = writeln!(io::stderr(), "guardd: {said}");
}

/// Says that the settings are good, to the administrator who has changed them and is about to restart guardd.
fn tell_settings(paths: &Paths) -> Result<()> {
    let said = checked(paths)?;
    // That nobody reads it changes nothing.
    let _ = writeln!(io::stdout(), "{said}");
    Ok(())
}

fn checked(paths: &Paths) -> Result<String> {
    let (file, may_be_absent) = paths.config();
    let config = Config::read(&file, may_be_absent)?;
    let shown = file.display();
    Ok(if let Some(warning) = config.warning() {
        format!("{shown}: {warning}")
    } else if file.exists() {
        format!("{shown}: the settings are good")
    } else {
        format!("{shown}: there is no such file, and without settings the defaults hold")
    })
}

fn take_down(cli: &Cli, force: bool) -> Result<()> {
    start::as_root()?;
    let places = cli.paths.places()?;
    let down = teardown(&places, force, || slice::stop(&places.cgroup_root))
        .map_err(|error| anyhow::anyhow!("{error}\n{}", error.fix()))?;
    tell(&down);
    unlisten(&cli.paths.socket());
    let dir = cli.paths.run_dir();
    if dir.is_dir()
        && let Ok(shelves) = Shelves::open(dir)
    {
        shelves.destroy();
    }
    Ok(())
}

fn tell(down: &TornDown) {
    for session in &down.ended {
        tracing::info!(session = %session.display(), "ended");
    }
    if down.anything {
        tracing::info!("taken down: nothing is guarded any more")
    } else {
        tracing::info!("there was nothing to take down")
    }
}

fn enforce(cli: &Cli, object: &Object) -> Result<()> {
    let passed = passed::listener().context("cannot listen on what the service manager passed")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let waiting = passed.as_ref().map(UnixListener::try_clone).transpose()?;
    let lived = LocalSet::new().block_on(&runtime, live(cli, object, passed));
    if let (Err(error), Some(waiting)) = (&lived, waiting) {
        turn_away(&waiting, error);
    }
    lived
}

/// From the first access to the kernel to the last.
async fn live(cli: &Cli, object: &Object, passed: Option<UnixListener>) -> Result<()> {
    // Before guardd can be reached, so that an early signal is not lost.
    let mut signals = Signals::new()?;
    let Begun {
        mut state,
        shelves,
        watching,
        attending,
        start,
        lock,
    } = start::begin(&cli.paths, object)?;
    state.config.name_least = cli.name_least;
    if let Some(of) = &cli.kernel_log {
        kernel_log::switch(&mut state, Some(of.clone())).context("cannot do --kernel-log")?;
    }
    let socket = cli.paths.socket();
    let is_passed = passed.is_some();
    let listener = tokio::net::UnixListener::from_std(listen(&socket, passed)?)?;
    let shared = Rc::new(Shared::new(state));
    shared.with(|state| allow_control(&mut state.datapath, &listener));
    ready(&shared, start, &socket)?;
    let listening = shared.with(|state| Readiness::of(&state.events));
    let listening = listening.context("cannot wait for events")?;
    let sources = Sources {
        listener,
        listening,
        watching,
        attending,
    };
    let mut tasks = tasks(cli, &shared, sources);
    let idle = until_end(cli, &shared, &mut signals, &mut tasks).await;
    // Before the proxy's ports can be another process's.
    shared.with(|state| {
        state.worker_down::<ProxyWorker>(None);
        state.worker_down::<ResolverWorker>(None);
    });
    tasks.shutdown().await;
    if !is_passed {
        unlisten(&socket);
    }
    stop(cli, &shared, idle.as_ref().err());
    drop(lock);
    if idle? && cli.until_idle {
        undo(cli, shared, shelves).await
    } else {
        Ok(())
    }
}

/// Waits until guardd has to end: whether that is as no session is left.
async fn until_end(
    cli: &Cli,
    shared: &Shared,
    signals: &mut Signals,
    tasks: &mut JoinSet<()>,
) -> Result<bool> {
    tokio::select! {
        idle = end(shared, cli.until_idle, signals) => Ok(idle),
        // The programs went with it. The next start attaches them again.
        () = root_gone(shared) => Err(remake_root(shared).await),
        // No task ends by itself. Without one the daemon does half its work: a restart is better.
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of guardd has ended: {ended:?}")),
    }
}

/// Where work comes from that the kernel tells of.
struct Sources {
    /// The control socket.
    listener: tokio::net::UnixListener,
    /// The kernel half's events.
    listening: Readiness,
    /// Files that have changed.
    watching: Readiness,
    /// Launchers that have ended.
    attending: Readiness,
}

/// The tasks, one for each source of work. None ends by itself.
fn tasks(cli: &Cli, shared: &Rc<Shared>, sources: Sources) -> JoinSet<()> {
    let Sources {
        listener,
        listening,
        watching,
        attending,
    } = sources;
    let mut tasks = JoinSet::new();
    tasks.spawn_local(server::serve(Rc::clone(shared), listener));
    tasks.spawn_local(hear(Rc::clone(shared), listening));
    tasks.spawn_local(notice(Rc::clone(shared), watching));
    tasks.spawn_local(launchers::follow(Rc::clone(shared), attending));
    tasks.spawn_local(arrivals::follow(Rc::clone(shared)));
    tasks.spawn_local(units::follow(Rc::clone(shared)));
    tasks.spawn_local(listeners::follow(Rc::clone(shared)));
    tasks.spawn_local(tick(Rc::clone(shared)));
    tasks.spawn_local(follow_policies(Rc::clone(shared)));
    tasks.spawn_local(kernel_log::follow(Rc::clone(shared)));
    tasks.spawn_local(report(Rc::clone(shared)));
    tasks.spawn_local(doctor::follow(Rc::clone(shared)));
    tasks.spawn_local(status_line::tell(Rc::clone(shared)));
    let told = on_request::Notified::until_now(shared);
    tasks.spawn_local(on_request::follow(Rc::clone(shared), told));
    let door = cli.paths.proxy_socket();
    tasks.spawn_local(life::follow::<ProxyWorker>(Rc::clone(shared), door));
    let door = cli.paths.resolver_socket();
    tasks.spawn_local(life::follow::<ResolverWorker>(Rc::clone(shared), door));
    tasks
}

/// Says that guardd enforces, after reading that back from the kernel.
fn ready(shared: &Shared, start: Start, socket: &Path) -> Result<()> {
    shared.with(|state| {
        let hooks = state.datapath.read_back()?;
        let began = match start {
            Start::Fresh => "fresh",
            Start::Adopted => "adopted",
            Start::Replaced => "replaced",
        };
        let sessions = state.sessions.all_live().count();
        state.recorder.note(DaemonStart {
            version: env!("CARGO_PKG_VERSION").into(),
            start: began.into(),
            sessions: sessions.into(),
        });
        let root = state.machine.cgroup_root().display();
        let socket = socket.display();
        tracing::info!(
            hooks = hooks.len(),
            sessions,
            start = began,
            "ready: enforcing on {root}; listening at {socket}"
        );
        Ok::<_, anyhow::Error>(())
    })?;
    let line = shared.with(|state| status_line(state));
    notify(&[NotifyState::Ready, NotifyState::Status(&line)]);
    Ok(())
}

/// Waits for the end. True if it may take everything down: it was told to end when idle, and no session lives.
async fn end(shared: &Shared, until_idle: bool, signals: &mut Signals) -> bool {
    let is_idle = |first: Duration| {
        shared.with(|state| {
            let may_end = state.sessions.had_any() || shared.started.elapsed() >= first;
            may_end && state.sessions.all_live().next().is_none()
        })
    };
    loop {
        tokio::select! {
            told = signals.next() => match told {
                SignalAction::Stop => return is_idle(Duration::ZERO),
                SignalAction::Reload => reload(shared).await,
            },
            () = tokio::time::sleep(Duration::from_millis(20)), if until_idle => {
                if is_idle(FIRST_SESSION) {
                    return true;
                }
            }
        }
    }
}

/// Waits until the cgroup root is gone. systemd removes it when it stops the slice, and is about to stop guardd then, which is
/// no error.
async fn root_gone(shared: &Shared) {
    shared.root_gone().await;
    let root = shared.with(|state| state.machine.cgroup_root().to_owned());
    let stands = threads::run(move || slice::stands(&root));
    if !matches!(
        tokio::time::timeout(LAST_ANSWERS, stands).await,
        Ok(Ok(Ok(true)))
    ) {
        tokio::time::sleep(LAST_ANSWERS).await;
    }
}

/// Makes the cgroup root again, and waits until clients have got an error reply. Nothing is enforced, and no session is left;
/// but until guardd is back, the next unit in the slice would run in a cgroup without the hooks.
async fn remake_root(shared: &Shared) -> anyhow::Error {
    let root = shared.with(|state| state.machine.cgroup_root().to_owned());
    let error = anyhow::anyhow!(
        "NOT enforcing: the cgroup {} was removed, and what was attached to it\n\
         start it again: guardd makes a new one, and attaches to that",
        root.display()
    );
    let begun = threads::run(move || slice::restart(&root));
    match tokio::time::timeout(LAST_ANSWERS, begun).await {
        Ok(Ok(Err(error))) => tracing::error!(%error, "units of the slice may start unguarded"),
        Ok(Err(error)) => tracing::error!(%error, "units of the slice may start unguarded"),
        Ok(Ok(Ok(()))) | Err(_) => {}
    }
    tokio::time::sleep(LAST_ANSWERS).await;
    error
}

async fn reload(shared: &Shared) {
    let now = NotifyState::monotonic_usec_now();
    match now {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    load::reload(shared).await;
    doctor::probe_again(shared).await;
    let line = shared.with(|state| status_line(state));
    notify(&[NotifyState::Ready, NotifyState::Status(&line)]);
    tracing::info!("policies read again");
}

fn stop(cli: &Cli, shared: &Shared, error: Option<&anyhow::Error>) {
    notify(&[NotifyState::Stopping]);
    shared.with(|state| {
        state.holds.stop_all(&mut state.datapath);
        state.policies.keep_names(true);
        state.read_last_events();
        state.with_flows(|flows, kernel, known| flows.read_and_keep(kernel, known));
        let sessions = state.sessions.all_live().count();
        let stop = LogEntry::from(DaemonStop {
            sessions: sessions.into(),
            error: error.map(|error| format!("{error:#}")).into(),
        });
        // The next guardd does not know of them.
        let left_out = state.recorder.take_all_starts_left_out();
        state.recorder.note(stop.starts_left_out(left_out));
        if let Err(error) = state.recorder.sync() {
            tracing::warn!(%error);
        }
        if !cli.until_idle && error.is_none() {
            let audit = state.recorder.audit().head();
            tracing::info!(sessions, %audit, "stops; what is in the kernel stays in force");
        }
    });
}

/// Takes down what a daemon that ends when idle put up.
async fn undo(cli: &Cli, shared: Rc<Shared>, shelves: Shelves) -> Result<()> {
    // Aborted connections release the state when they are next polled.
    for _ in 0..MAX_LOOKS {
        if Rc::strong_count(&shared) == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    if Rc::try_unwrap(shared).is_err() {
        anyhow::bail!("something is still going on; run `guardd teardown` to take all down");
    }
    shelves.destroy();
    let places = cli.paths.places()?;
    match teardown(&places, false, || slice::stop(&places.cgroup_root)) {
        // Units of the slice, which are no sessions of this guardd.
        Err(error @ DatapathError::SessionsLive { .. }) => {
            tracing::info!("{error}: what is in the kernel stays in force");
        }
        Err(error) => anyhow::bail!("{error}\n{}", error.fix()),
        Ok(down) => tell(&down),
    }
    Ok(())
}

/// Handles the kernel half's events as they come: `State::read_some_events` in `requests/events.rs`.
async fn hear(shared: Rc<Shared>, listening: Readiness) {
    let stir = shared.with(|state| state.events.stirs());
    loop {
        let mut is_empty = false;
        let heard = listening.drained(|| is_empty = shared.with(State::read_some_events));
        let heard = tokio::select! {
            heard = heard => heard,
            () = stir.notified() => Ok(()),
        };
        if let Err(error) = heard {
            return tracing::error!(%error, "no more events are heard");
        }
        while !is_empty {
            // A session may cause events without end: what is due has its turn between them.
            shared.reschedule();
            tokio::task::yield_now().await;
            is_empty = shared.with(State::read_some_events);
        }
    }
}

/// Handles what inotify reports: ended sessions, changed policy files, the cgroup root.
async fn notice(shared: Rc<Shared>, watching: Readiness) {
    loop {
        let mut changes = Vec::new();
        let noticed =
            watching.drained(|| changes = shared.with(|state| state.machine.file_changes()));
        if let Err(error) = noticed.await {
            return tracing::error!(%error, "changes of files are not noticed any more");
        }
        let mut policies = false;
        for change in changes {
            match change {
                FileChange::Policies => policies = true,
                FileChange::Session(id) => shared.with(|state| state.check_session(id)),
                FileChange::Root => {
                    shared.check_root();
                    shared.with(|state| state.check_units());
                    shared.arrivals.notify_one();
                }
            }
        }
        // A session whose cgroup could not be removed is tried again.
        shared.reschedule();
        if policies {
            tokio::time::sleep(SETTLE).await;
            load::reload(&shared).await;
        }
    }
}

/// Does what is due, when it is: `State::tick` in `tick.rs`.
async fn tick(shared: Rc<Shared>) {
    loop {
        let nap = shared.with(|state| state.tick());
        shared.check_root();
        shared.wait(nap).await;
    }
}

/// Reloads the policies, which may have changed while no guardd ran; then keeps the addresses of names up to date.
async fn follow_policies(shared: Rc<Shared>) {
    load::reload(&shared).await;
    loop {
        load::refresh(&shared).await;
        let due = shared.with(|state| {
            let of_people = state.sessions.peoples_slots();
            state.policies.names_due(&of_people)
        });
        // Sooner where there is news.
        let _ = tokio::time::timeout(due.min(NAMES), shared.names_moved.notified()).await;
    }
}

/// Reports to the service manager while the daemon enforces.
async fn report(shared: Rc<Shared>) {
    let watchdog = sd_notify::watchdog_enabled();
    let nap = watchdog.map_or(REPORTS, |time| (time / 3).min(REPORTS));
    loop {
        let enforced = shared.with(|state| state.datapath.read_back());
        shared.check_root();
        match enforced {
            Ok(_) => notify(&[NotifyState::Watchdog]),
            // No sign of life: a restart attaches what is missing.
            Err(error) => tracing::error!(%error, "NOT enforcing"),
        }
        tokio::time::sleep(nap).await;
    }
}

/// The signals that mean something here.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    /// Handled so that a file over the limit is an error, and does not end guardd.
    _file_limit: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            _file_limit: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.hangup.recv() => SignalAction::Reload,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.terminate.recv() => SignalAction::Stop,
        }
    }
}

/// What a signal asks for.
enum SignalAction {
    Reload,
    Stop,
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, fs};

    use clap::Parser as _;

    use super::*;

    fn said(file: &Path) -> Result<String> {
        let typed = [
            OsStr::new("guardd"),
            OsStr::new("--config"),
            file.as_os_str(),
        ];
        checked(&Cli::parse_from(typed).paths)
    }

    #[test]
    fn settings_are_good_or_it_is_said_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        assert!(said(&file).is_err(), "a file that was named is there");
        fs::write(&file, "strict = true\n").unwrap();
        assert!(said(&file).unwrap().ends_with(": the settings are good"));
        fs::write(&file, "[approve]\nstrict = true\n").unwrap();
        let wrong = said(&file).unwrap_err().to_string();
        assert!(wrong.contains("line 2"), "{wrong}");
    }
}
