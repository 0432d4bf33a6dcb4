//! Has a worker run for as long as something in force needs it.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Worker, converse::converse, process, program::Program, socket::WorkerSocket};
use crate::{process::may_start, shared::Shared};

/// The pause after a worker that ended at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause after many.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that has lived for this long did not end at once.
const STEADY: Duration = Duration::from_secs(60);
/// The timeout for a worker that has ended to be waited for.
const GLANCE: Duration = Duration::from_millis(10);

/// Has a worker run whenever one is needed, for ever. `door`: the socket for one that guardd may not start itself.
pub(crate) async fn follow<W: Worker>(shared: Rc<Shared>, door: PathBuf) {
    let mut pause = SHORTEST_PAUSE;
    // If it is not found, it is searched for again when it is needed.
    let mut program = Program::find(W::NAME).unwrap_or_else(|_| Program::missing(W::NAME));
    loop {
        needed::<W>(&shared).await;
        let began = Instant::now();
        let lived = if may_start() {
            live::<W>(&shared, &mut program).await
        } else {
            receive::<W>(&shared, &door).await
        };
        let problem = lived.err().map(|error| format!("{error:#}"));
        shared.with(|state| state.worker_down::<W>(problem.clone()));
        let Some(problem) = problem else {
            tracing::info!("{} is not needed any more", W::NAME);
            continue;
        };
        tracing::error!("{}: {problem}", W::GONE);
        if began.elapsed() >= STEADY {
            pause = SHORTEST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until something in force needs a worker.
async fn needed<W: Worker>(shared: &Shared) {
    let stir = shared.with(|state| W::link(state).stirs());
    while !shared.with(|state| W::is_needed(state)) {
        stir.notified().await;
    }
}

/// Starts a worker, and serves it until none is needed.
async fn live<W: Worker>(shared: &Shared, program: &mut Program) -> Result<()> {
    let user = shared.with(|state| W::user(state));
    let account = process::account(user.as_deref(), W::NAME)?;
    let started = process::start(&program.path()?, W::NAME, &account);
    let mut started = started.context("it cannot be started")?;
    let lived = {
        let process::RunningWorker { packets, .. } = &started;
        converse::<W>(shared, packets).await
    };
    // Before its ports can be another process's.
    shared.with(|state| state.worker_down::<W>(None));
    let status = tokio::time::timeout(GLANCE, started.ended()).await;
    let _ = started.end().await;
    match (lived, status) {
        (Err(error), Ok(Ok(status))) => Err(error.context(status.to_string())),
        (lived, _) => lived,
    }
}

/// Waits for a worker that the service manager starts, and serves it until none is needed.
async fn receive<W: Worker>(shared: &Shared, at: &Path) -> Result<()> {
    let door =
        WorkerSocket::open(at).with_context(|| format!("cannot listen at {}", at.display()))?;
    let hint = format!("none has come yet; see: systemctl status {}", W::NAME);
    shared.with(|state| state.worker_down::<W>(Some(hint)));
    loop {
        let packets = tokio::select! {
            packets = door.next::<W>(shared) => packets?,
            () = not_needed::<W>(shared) => return Ok(()),
        };
        match converse::<W>(shared, &packets).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let problem = format!("{error:#}; see: systemctl status {}", W::NAME);
                tracing::error!("{}: {error:#}", W::GONE);
                shared.with(|state| state.worker_down::<W>(Some(problem)));
            }
        }
    }
}

async fn not_needed<W: Worker>(shared: &Shared) {
    let stir = shared.with(|state| W::link(state).stirs());
    while shared.with(|state| W::is_needed(state)) {
        stir.notified().await;
    }
}
