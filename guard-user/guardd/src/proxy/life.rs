//! Has a proxy run for as long as something in force needs one.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{link::converse, process, program::Program, socket::ProxySocket};
use crate::{process::may_start, shared::Shared};

/// The pause after a proxy that ended at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause after many.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A proxy that has lived for this long did not end at once.
const STEADY: Duration = Duration::from_secs(60);
/// The timeout for a new session to wait for its proxy.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interval of checks whether it is there.
const GLANCE: Duration = Duration::from_millis(10);

/// Has a proxy run whenever one is needed, for ever. `door`: the socket for a proxy that guardd may not start itself.
pub async fn follow(shared: Rc<Shared>, door: PathBuf) {
    let mut pause = SHORTEST_PAUSE;
    // If it is not found, it is searched for again when it is needed.
    let mut program = Program::find().unwrap_or_default();
    loop {
        needed(&shared).await;
        let began = Instant::now();
        let lived = match may_start() {
            true => live(&shared, &mut program).await,
            false => receive(&shared, &door).await,
        };
        let problem = lived.err().map(|error| format!("{error:#}"));
        shared.with(|state| {
            let (kernel, requests) = (&mut state.datapath, &mut state.requests);
            state.proxy.down(kernel, requests, problem.clone());
        });
        let Some(problem) = problem else {
            tracing::info!("nothing is read-only any more: the proxy is not needed");
            continue;
        };
        tracing::error!("the proxy is gone, and read-only destinations are closed: {problem}");
        if began.elapsed() >= STEADY {
            pause = SHORTEST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until something in force needs a proxy.
async fn needed(shared: &Shared) {
    let stir = shared.with(|state| state.proxy.stirs());
    while !shared.with(|state| state.needs_proxy()) {
        stir.notified().await;
    }
}

/// Starts a proxy, and serves it until none is needed.
async fn live(shared: &Shared, program: &mut Program) -> Result<()> {
    let user = shared.with(|state| state.config.proxy.user.clone());
    let account = process::account(user.as_deref())?;
    let mut started = process::start(&program.path()?, &account).context("it cannot be started")?;
    let lived = {
        let process::Started { packets, .. } = &started;
        converse(shared, packets).await
    };
    // Before its ports can be another process's.
    shared.with(|state| {
        let (kernel, requests) = (&mut state.datapath, &mut state.requests);
        state.proxy.down(kernel, requests, None);
    });
    let status = tokio::time::timeout(GLANCE, started.ended()).await;
    let _ = started.end().await;
    match (lived, status) {
        (Err(error), Ok(Ok(status))) => Err(error.context(status.to_string())),
        (lived, _) => lived,
    }
}

/// Waits for a proxy that the service manager starts, and serves it until none is needed.
async fn receive(shared: &Shared, at: &Path) -> Result<()> {
    let door =
        ProxySocket::open(at).with_context(|| format!("cannot listen at {}", at.display()))?;
    let hint = "none has come yet; see: systemctl status guard-proxy";
    shared.with(|state| {
        let (kernel, requests) = (&mut state.datapath, &mut state.requests);
        state.proxy.down(kernel, requests, Some(hint.to_owned()));
    });
    loop {
        let packets = tokio::select! {
            packets = door.next(shared) => packets?,
            () = not_needed(shared) => return Ok(()),
        };
        match converse(shared, &packets).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let problem = format!("{error:#}; see: systemctl status guard-proxy");
                tracing::error!(
                    "the proxy is gone, and read-only destinations are closed: {error:#}"
                );
                shared.with(|state| {
                    let (kernel, requests) = (&mut state.datapath, &mut state.requests);
                    state.proxy.down(kernel, requests, Some(problem));
                });
            }
        }
    }
}

async fn not_needed(shared: &Shared) {
    let stir = shared.with(|state| state.proxy.stirs());
    while shared.with(|state| state.needs_proxy()) {
        stir.notified().await;
    }
}

/// Waits a while for the proxy, if a new policy needs one. Returns why there is none.
pub async fn ready(shared: &Shared) -> Option<String> {
    let is_there = async {
        while shared.with(|state| state.proxy_warning()).is_some() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, is_there).await {
        Ok(()) => None,
        Err(_) => shared.with(|state| state.proxy_warning()),
    }
}
