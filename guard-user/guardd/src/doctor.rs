//! What guardd knows of what this machine can enforce, and that nothing runs where that is too little and the settings
//! are strict.

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{ExitCode, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use guard_datapath::{Datapath, DatapathError};
use guard_probe::{
    self as probe, ProbeResult, UNIX_LAYER, UnixLayer,
    daemon::{FLEET, HELPER_HOOK, HOOK, MAPS, OWNER, POLKIT, PROXY, RESOLVER, SLICE, UNITS, UNIX},
    kernel,
};
use guard_proto::{HookStatus, Row, doctor::Found};
use tokio::{
    process::Command,
    sync::{Mutex, Notify},
};

use crate::{
    control::failure::CallError, fleet, proxy::worker::ProxyWorker, sessions::slice,
    shared::Shared, state::State,
};

/// How long a result is reused: callers that ask often get the same answer.
const FRESH: Duration = Duration::from_secs(5);
/// With strict settings, nothing starts on an older result, even a good one.
const RECENT: Duration = Duration::from_secs(60);
/// How old a result `guard status` may show.
const KNOWN: Duration = Duration::from_secs(600);
/// Delay of the first probe after a status call, so that the caller does not wait for it.
const LATER: Duration = Duration::from_secs(1);
/// All probes together take a tenth of a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Hooks without which nothing more is open: programs get wrong addresses, wait longer, or are refused.
const HELPERS: [&str; 9] = [
    "getpeername4",
    "getpeername6",
    "ingress",
    "recvmsg4",
    "recvmsg6",
    "hold",
    "gate_ops",
    "gate_hello",
    "listen",
];

/// The last result of the probes.
#[derive(Debug, Default)]
pub(crate) struct Doctor {
    /// Held while the probes run: one run at a time.
    looked: Mutex<Option<(Instant, Vec<Row>)>>,
    /// Wakes the task that probes.
    wanted: Notify,
}

impl Doctor {
    /// Has the machine probed, unless that was done lately.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }
}

/// `guardd probe`: what takes root, and a process with one thread, as JSON on standard output.
#[must_use]
pub(crate) fn main() -> ExitCode {
    match serde_json::to_string(&kernel::rows()) {
        Ok(text) => println!("{text}"),
        Err(_) => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// What guardd finds.
pub(crate) async fn found(shared: &Shared) -> Found {
    fleet::offering::look_again(shared).await;
    Found {
        rows: rows(shared, FRESH).await,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        strict: shared.with(|state| state.config.strict),
    }
}

/// The rows of the machine, not older than `oldest`, and those of the guard, as they are now.
async fn rows(shared: &Shared, oldest: Duration) -> Vec<Row> {
    let mut looked = shared.doctor.looked.lock().await;
    let machine = match &*looked {
        Some((at, rows)) if at.elapsed() <= oldest => rows.clone(),
        _ => {
            let rows = probe().await;
            *looked = Some((Instant::now(), rows.clone()));
            rows
        }
    };
    drop(looked);
    shared.with(|state| {
        let mut rows = state.guard_rows();
        rows.extend(machine);
        let open = open(&rows).map(|row| row.check);
        state.machine.note_open_rows(open.collect());
        rows
    })
}

/// The required ones that are not ok, among them what follows from several.
fn open(rows: &[Row]) -> impl Iterator<Item = Row> {
    let layer = UNIX_LAYER.row(match UnixLayer::at_best(rows) {
        UnixLayer::None => {
            ProbeResult::no("this kernel lets nobody refuse a connection to a unix socket")
        }
        _ => ProbeResult::yes("as tried"),
    });
    let rows = rows.iter().cloned().chain([layer]);
    rows.filter(|row| row.required && !row.ok)
}

/// Runs the probes in a process of its own: they would change this one.
async fn probe() -> Vec<Row> {
    let mut probe = Command::new("/proc/self/exe");
    // It ends by itself and removes what it made; if killed, it could not.
    probe.arg("probe").kill_on_drop(false);
    probe.stdin(Stdio::null()).stderr(Stdio::null());
    let done = match tokio::time::timeout(TIMEOUT, probe.output()).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => return kernel::unseen(&format!("guardd cannot look: {error}")),
        Err(_) => return kernel::unseen("it took too long"),
    };
    let rows = serde_json::from_slice(&done.stdout);
    rows.unwrap_or_else(|_| kernel::unseen(&format!("guardd probe ended: {}", done.status)))
}

/// Refuses to let anything run, where the settings are strict and a required row is open.
///
/// # Errors
///
/// Which, and what to do about each.
pub(crate) async fn is_closed(shared: &Shared) -> Result<(), CallError> {
    if !shared.with(|state| state.config.strict) {
        return Ok(());
    }
    // An open row may have been closed since; the others are probed less often.
    let was_open = shared.with(|state| !state.machine.open_rows().is_empty());
    let oldest = if was_open { FRESH } else { RECENT };
    let open: Vec<_> = open(&rows(shared, oldest).await).collect();
    match probe::refusal(&open) {
        None => Ok(()),
        Some(failure) => Err(CallError::refused(failure.what, failure.why, failure.fix)),
    }
}

/// Probes again, as at a start, for a guardd whose settings are strict. Logs what is open.
pub(crate) async fn probe_again(shared: &Shared) {
    if !shared.with(|state| state.config.strict) {
        return;
    }
    let open: Vec<_> = open(&rows(shared, Duration::ZERO).await).collect();
    for row in &open {
        let (row, detail, fix) = (&row.check, &row.detail, &row.fix);
        tracing::error!(row, detail, fix, "is open, so nothing runs (strict = true)");
    }
    if open.is_empty() {
        tracing::info!("strict: every required row that guardd can see is closed");
    }
}

/// Probes the machine on demand, and at the start if the settings are strict.
pub(crate) async fn follow(shared: Rc<Shared>) {
    probe_again(&shared).await;
    loop {
        shared.doctor.wanted.notified().await;
        tokio::time::sleep(LATER).await;
        rows(&shared, KNOWN).await;
    }
}

impl State {
    /// The open rows, for `guard status`.
    pub(crate) fn doctor_warning(&self) -> Option<String> {
        // The status says these in words of its own.
        let is_said = |row: &&String| row.starts_with(HOOK.name) || *row == UNITS.name;
        let open: Vec<_> = self
            .machine
            .open_rows()
            .iter()
            .filter(|row| !is_said(row))
            .collect();
        let names: Vec<_> = open.iter().map(|row| row.as_str()).collect();
        let (rows, names) = (open.len(), names.join(", "));
        let refused = if self.config.strict {
            ", so nothing runs (strict = true)"
        } else {
            ""
        };
        match rows {
            0 => None,
            1 => Some(format!("1 row is open{refused}: {names}: guard doctor")),
            rows => Some(format!(
                "{rows} rows are open{refused}: {names}: guard doctor"
            )),
        }
    }

    /// The rows that only guardd can know.
    fn guard_rows(&self) -> Vec<Row> {
        let mut rows = hook_rows(&self.datapath);
        let root = self.machine.cgroup_root();
        rows.push(OWNER.row(owned(root)));
        rows.push(SLICE.row(match slice::without_unit(root) {
            Some(warning) => ProbeResult::no(warning),
            None if slice::at(root).is_some() => ProbeResult::yes("its file is there"),
            None => ProbeResult::yes("no slice of systemd's is in use"),
        }));
        let mut warnings = self.sessions.packet_warnings(&self.datapath);
        warnings.extend(self.sessions.astray_warnings());
        rows.push(UNITS.row(if warnings.is_empty() {
            ProbeResult::yes("looked at the rights and places of their processes")
        } else {
            ProbeResult::no(warnings.join("; "))
        }));
        rows.push(UNIX.row(judges_unix(&self.datapath)));
        rows.push(PROXY.row(match self.worker_warning::<ProxyWorker>() {
            Some(warning) => ProbeResult::no(warning),
            None => ProbeResult::yes("it runs, or nothing needs it"),
        }));
        rows.push(RESOLVER.row(match self.resolver_warning() {
            Some(warning) => ProbeResult::no(warning),
            None => ProbeResult::yes("it runs, or nothing needs it"),
        }));
        rows.push(FLEET.row(match self.fleet.warning() {
            Some(warning) => ProbeResult::no(warning),
            None => ProbeResult::yes("as they were signed, or there is no fleet"),
        }));
        rows.push(POLKIT.row(if self.config.approve.polkit {
            ProbeResult::yes("polkit is asked each time, and without its yes nothing opens")
        } else {
            ProbeResult::no("polkit is not asked")
        }));
        rows
    }
}

fn hook_rows(datapath: &Datapath) -> Vec<Row> {
    match datapath.read_back() {
        Ok(hooks) => {
            let mut rows: Vec<_> = hooks.iter().map(hook_row).collect();
            rows.push(MAPS.row(ProbeResult::yes("each was opened at its pin")));
            rows
        }
        Err(DatapathError::NotEnforced { hooks, .. }) => hooks.iter().map(hook_row).collect(),
        Err(error) => vec![MAPS.row(ProbeResult::no(format!("{error}; {}", error.fix())))],
    }
}

/// What guardd has tried or attached since it started; the rows of the hooks say whether it is still there.
fn judges_unix(datapath: &Datapath) -> ProbeResult {
    match (datapath.lsm_problem(), datapath.unix_problem()) {
        (None, _) => ProbeResult::yes(
            "at the security hooks, as tried: one refused guardd a connection; guard run connects none",
        ),
        (Some(_), None) => ProbeResult::yes(
            "by programs at the top of the cgroups, which refuse; guard run connects what may be",
        ),
        (Some(_), Some(problem)) => ProbeResult::no(problem),
    }
}

fn hook_row(hook: &HookStatus) -> Row {
    let check = if HELPERS.contains(&hook.name.as_str()) {
        HELPER_HOOK
    } else {
        HOOK
    };
    let name = format!("{} {}", HOOK.name, hook.name);
    let answer = match (hook.attached, hook.program_id) {
        (true, Some(id)) => ProbeResult::yes(format!("read back: program {id} is attached")),
        _ => ProbeResult::no("read back: no program is attached"),
    };
    check.row_named(&name, answer)
}

/// Whether only root can move a process into or out of the guard's cgroup, by the modes of its files. The session that doctor
/// runs tries it.
fn owned(root: &Path) -> ProbeResult {
    for file in [
        "",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
    ] {
        let path = root.join(file);
        match path.metadata() {
            Ok(meta) if meta.uid() == 0 && meta.mode() & 0o022 == 0 => {}
            Ok(meta) => {
                let (uid, mode) = (meta.uid(), meta.mode() & 0o777);
                return ProbeResult::no(format!(
                    "{} is of uid {uid}, mode {mode:o}",
                    path.display()
                ));
            }
            Err(error) => return ProbeResult::unclear(format!("{}: {error}", path.display())),
        }
    }
    ProbeResult::yes("its files' owner and modes say so")
}
