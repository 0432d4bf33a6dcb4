//! From arguments to a daemon that enforces.

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use guard_common::PolicyId;
use guard_datapath::{Datapath, Object, Start, TlsBy};
use guard_sys::{
    bpf::lock_dir,
    cgroup2::{Hierarchy, own_path},
    memory,
    readiness::Readiness,
};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::{
    args::Paths,
    changes::Change,
    config::{Config, GateBy},
    control::failure::CallError,
    decisions::Decisions,
    fleet::Fleet,
    flows::Flows,
    holds::Holds,
    holes::known::Holes,
    listeners::Listeners,
    machine::Machine,
    policies::{
        self, Policies,
        library::{Library, PolicyText},
        names::NameServers,
    },
    proxy::Proxy,
    record::{Recorder, audit::Audit},
    requests::{Requests, followers::Followers, turns::Events},
    resolver,
    sessions::{Sessions, launchers::Launchers},
    signed_answers::{SignedAnswers, people::People},
    state::{Shelves, State},
    tick::Schedule,
    unix::Sockets,
    watch::Watches,
};

/// A daemon that has begun, but does not answer yet.
pub(crate) struct Begun {
    /// Its state.
    pub(crate) state: State,
    /// The files beside the kernel's state.
    pub(crate) shelves: Shelves,
    /// Becomes ready when inotify has events.
    pub(crate) watching: Readiness,
    /// Becomes ready when a launcher has ended.
    pub(crate) attending: Readiness,
    /// Whether it attached the kernel half or adopted it.
    pub(crate) start: Start,
    /// Held for as long as it runs.
    pub(crate) lock: OwnedFd,
}

/// Descriptors for all connections and sessions at their limits, and some more.
const DESCRIPTORS: u64 = 8192;

/// Asks for [`DESCRIPTORS`]; fewer only mean that fewer callers are answered at once.
fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now
        .maximum
        .map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    if now.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot have more descriptors");
        }
    }
}

/// Reads the settings, makes the directories, attaches or adopts the kernel half, and adopts what
/// runs under it.
///
/// # Errors
///
/// What prevents the start. What was enforced before still is.
pub(crate) fn begin(paths: &Paths, object: &Object) -> Result<Begun> {
    as_root()?;
    let run_dir = paths.run_dir();
    let is_new = !run_dir.exists();
    begin_in(paths, object).inspect_err(|_| {
        if is_new {
            clear_away(paths);
        }
    })
}

/// Removes what a daemon that could not begin has made: directories, and an empty audit log.
fn clear_away(paths: &Paths) {
    let [shelf, ..] = Shelves::DIRS;
    let held = lock_dir(&paths.run_dir().join(shelf));
    // Another guardd that started at the same time has them.
    if matches!(held, Ok(None)) {
        return;
    }
    for shelf in Shelves::DIRS {
        let _ = fs::remove_dir(paths.run_dir().join(shelf));
    }
    let audit = paths.audit();
    if fs::metadata(&audit).is_ok_and(|log| log.len() == 0) {
        let _ = fs::remove_file(&audit);
    }
    let _ = fs::remove_dir(paths.run_dir());
}

/// guardd removes files that it does not know from its own directories, so a person's policies must not be there.
fn policies_are_apart(paths: &Paths) -> Result<()> {
    let real = |path: &Path| {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // The state directory may still have to be made.
        let there = whole
            .ancestors()
            .find_map(|above| Some((above, above.canonicalize().ok()?)));
        there.map_or(whole.clone(), |(above, real)| {
            match whole.strip_prefix(above) {
                Ok(below) => real.join(below),
                Err(_) => real,
            }
        })
    };
    let own = real(paths.run_dir());
    for dir in paths.policy_dirs() {
        if real(&dir).starts_with(&own) {
            let (dir, own) = (dir.display(), own.display());
            bail!(
                "--policy-dir {dir} is inside of the state directory {own}, where guardd deletes files that are not its own\n\
                 move your policies elsewhere, and say where: guardd --state-dir {own} --policy-dir /etc/guard/policies"
            );
        }
    }
    Ok(())
}

/// Named directories of policies that do not exist. They may come later, as on a file system that is mounted late: guardd
/// starts and reads them then. Until then a name such as `default` means the built-in policy, which may allow more.
fn absent_policies(named: &[PathBuf]) -> impl Iterator<Item = &Path> {
    named
        .iter()
        .map(PathBuf::as_path)
        .filter(|dir| !dir.is_dir())
}

/// Refuses a state directory that others may write to: by a link they could have guardd write to root's files.
fn is_roots_alone(run_dir: &Path) -> Result<()> {
    let meta = fs::metadata(run_dir).with_context(|| cannot_use(run_dir))?;
    let mode = meta.mode();
    let others = mode & 0o002 != 0 || (mode & 0o020 != 0 && meta.gid() != 0);
    if others || meta.uid() != geteuid().as_raw() {
        bail!(
            "the state directory {} is not root's alone: others may put links there that lead guardd elsewhere\n\
             name one of root's: guardd --state-dir /run/guard-mine",
            run_dir.display()
        );
    }
    Ok(())
}

fn begin_in(paths: &Paths, object: &Object) -> Result<Begun> {
    policies_are_apart(paths)?;
    let (file, may_be_absent) = paths.config();
    let config = Config::read(&file, may_be_absent)?;
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    raise_descriptors();
    let run_dir = paths.run_dir();
    make_dir(run_dir)?;
    is_roots_alone(run_dir)?;
    let shelves = Shelves::open(run_dir).with_context(|| cannot_use(run_dir))?;
    let lock = lock(run_dir)?;
    let audit = open_audit(&paths.audit())?;
    let places = paths.places()?;
    let hierarchy = Hierarchy::find()?;
    stay_outside(&hierarchy, &places.cgroup_root)?;
    let tls = match config.tls.gate {
        GateBy::Proxy => TlsBy::Proxy,
        GateBy::Kernel => TlsBy::Kernel,
    };
    let (datapath, start) = Datapath::start(&places, object, tls)
        .map_err(|error| anyhow::anyhow!("{error}\n{}", error.fix()))?;
    let (mut watches, watching) = Watches::new().context("cannot watch for changes")?;
    if let Err(error) = watches.root(&places.cgroup_root) {
        tracing::warn!(%error, "units that come and go, and a root that is removed, will be noticed late");
    }
    let (launchers, attending) = Launchers::new().context("cannot watch over sessions")?;
    let library = library(paths, &mut watches);
    let machine = Machine::new(places, hierarchy, watches);
    let opened = OpenedAtStart {
        datapath,
        machine,
        library,
        launchers,
        audit,
    };
    let mut state = owners(paths, config, &shelves, opened)?;
    state.take_up(start, &shelves, &paths.socket())?;
    // The kernel's types were read, some ten megabytes.
    memory::give_back();
    Ok(Begun {
        state,
        shelves,
        watching,
        attending,
        start,
        lock,
    })
}

/// What of the kernel's and the disk's is open before guardd's state is there.
struct OpenedAtStart {
    datapath: Datapath,
    machine: Machine,
    library: Library,
    launchers: Launchers,
    audit: Audit,
}

/// All owners of guardd's state, with what is on the disk beside the kernel's.
fn owners(
    paths: &Paths,
    config: Config,
    shelves: &Shelves,
    opened: OpenedAtStart,
) -> Result<State> {
    let OpenedAtStart {
        datapath,
        machine,
        library,
        launchers,
        audit,
    } = opened;
    Ok(State {
        events: Events::of(datapath.events()?),
        datapath,
        machine,
        sockets: Sockets::default(),
        policies: Policies::new(
            library,
            NameServers::new(config.resolvers.clone()),
            shelves.policies.clone(),
            shelves.names.clone(),
        ),
        sessions: Sessions::new(shelves.sessions.clone(), launchers),
        holes: Holes::new(shelves.holes.clone(), shelves.named.clone()),
        requests: Requests::new(
            config.max_requests,
            Followers::new(config.on_request.is_some() && config.on_request_answers),
            shelves.requests.clone(),
            shelves.choices.clone(),
        ),
        signed_answers: SignedAnswers::new(
            People::read(paths.approvers()),
            &shelves.signed_answers,
            &config,
        ),
        decisions: Decisions::read(paths.decisions()),
        listeners: Listeners::new(paths.always()),
        fleet: Fleet::new(paths.fleet(), config.fleet.clone()),
        recorder: Recorder::new(audit),
        holds: Holds::default(),
        proxy: Proxy::new(shelves.key.clone()),
        resolver: resolver::Resolver::default(),
        flows: Flows::new(shelves.flows.clone()),
        schedule: Schedule::default(),
        config,
    })
}

/// Where policies are, which is watched for changes.
fn library(paths: &Paths, watches: &mut Watches) -> Library {
    for dir in absent_policies(&paths.policy_dir) {
        tracing::warn!(
            dir = %dir.display(),
            "--policy-dir names no directory: a policy's name means what the other directories or guard itself have for it, until it is there"
        );
    }
    let library = Library::new(paths.policy_dirs());
    for dir in library.dirs() {
        if let Err(error) = watches.policies(dir) {
            tracing::warn!(%error, dir = %dir.display(), "cannot be watched for changes");
        }
    }
    library
}

fn open_audit(path: &Path) -> Result<Audit> {
    make_dir(path.parent().unwrap_or(Path::new("/")))?;
    Ok(Audit::open(path)?)
}

/// Makes a directory that everybody may look into and only its owner changes.
fn make_dir(dir: &Path) -> Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir);
    made.with_context(|| cannot_use(dir))
}

fn cannot_use(dir: &Path) -> String {
    let dir = dir.display();
    format!("cannot use the directory {dir} (see to it, or give another --state-dir)")
}

/// Refuses to run as anybody but root.
///
/// # Errors
///
/// If this is not root.
pub(crate) fn as_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "guardd puts programs into the kernel, and so needs root\nrun it with sudo, or as a service"
        );
    }
    Ok(())
}

/// Makes this the only guardd there. Everybody may open the directory itself, and so lock it; only root can open a shelf.
fn lock(dir: &Path) -> Result<OwnedFd> {
    let [shelf, ..] = Shelves::DIRS;
    let locked = lock_dir(&dir.join(shelf)).with_context(|| cannot_use(dir))?;
    locked.with_context(|| {
        format!(
            "another guardd uses {}\nstop it (`sudo systemctl stop guardd`), or give this one its own --state-dir, --pin-dir and --cgroup-root",
            dir.display()
        )
    })
}

/// The daemon must not be inside its own cgroup root: it would be cut off itself.
fn stay_outside(hierarchy: &Hierarchy, root: &Path) -> Result<()> {
    let own = own_path().context("cannot tell in which cgroup guardd runs")?;
    let root = hierarchy.path(root);
    if root.is_some_and(|root| own.starts_with(root)) {
        bail!(
            "guardd runs inside a guarded cgroup, {}\nstart it from a shell outside of every session",
            own.display()
        );
    }
    Ok(())
}

impl State {
    /// Adopts what runs under the kernel half, and has it judged as the settings say now. In this order: what judges sessions is put in
    /// place before slots that judge nothing are emptied.
    fn take_up(&mut self, start: Start, shelves: &Shelves, socket: &Path) -> Result<()> {
        let judges_names = self.datapath.knows_names() && resolver::worker::can_run();
        self.policies.set_judges_names(judges_names);
        let by = self.config.tls.gate;
        self.policies.set_gate(&mut self.datapath, by)?;
        self.sockets.allow(&mut self.datapath, socket);
        self.adopt(start, shelves)?;
        if self.config.answers.couriers.is_some() {
            self.signed_answers.begin(&shelves.signed_answers);
        }
        self.apply(Change::Requests);
        self.datapath.judge_at_security_hooks()?;
        self.tell_library();
        if let Err(error) = self.revoke_again() {
            tracing::error!(%error, "keys that the fleet's policies revoke may still answer");
        }
        self.set_base();
        self.set_default();
        let (policies, used) = (&mut self.policies, self.sessions.slots());
        policies.drop_stray(&mut self.datapath, &used)?;
        Ok(())
    }

    /// Puts the default policy in place for cgroups that no session owns. If it is absent or invalid, they are denied
    /// everything, or stay under the policy that an earlier guardd put in place.
    fn set_default(&mut self) {
        let Some(name) = self.config.default_policy.clone() else {
            if let Err(error) = self.datapath.set_default(&[]) {
                tracing::error!(%error, "cgroups that no session owns are judged by an older policy");
            }
            return;
        };
        match self.default(&name) {
            Ok(()) => tracing::info!(policy = name, "holds for cgroups that no session owns"),
            Err(error) => {
                tracing::error!(%error, "cgroups that no session owns are denied everything");
            }
        }
    }

    fn default(&mut self, name: &str) -> Result<(), CallError> {
        // Without the fleet's around it nothing is judged by it.
        if self.fleet.base()?.is_some() && self.policies.base_slot().is_none() {
            return Err(CallError::failed(
                "the default policy is not put in place",
                "the fleet's policy is not around it",
                "guard status says why",
            ));
        }
        let known = self.policies.named(name, false);
        let slot = match (self.policies.library().find(name), known) {
            (Ok(source), Some(known)) if self.policies.is_same(known, &source) => known,
            (Ok(source), known) => self.renew_default(known, source)?,
            // It stands, as nothing newer was refused.
            (Err(_), Some(known)) if !self.policies.library().is_known() => known,
            (Err(refusal), Some(known)) => {
                self.policies
                    .refuse(&mut self.recorder, known, name, &refusal);
                known
            }
            (Err(refusal), None) => return Err(refusal),
        };
        self.policies.set_default(&mut self.datapath, slot)
    }

    /// Puts the default policy in place; if it is invalid, the `known` version stays.
    fn renew_default(
        &mut self,
        known: Option<PolicyId>,
        source: PolicyText,
    ) -> Result<PolicyId, CallError> {
        let file = source.shown_file();
        let read = policies::parse(&source);
        let prepared = read.and_then(|read| policies::compile(source, read, &self.environment()));
        let installed = prepared.and_then(|prepared| self.install(known, prepared));
        match (installed, known) {
            (Err(error), Some(known)) => {
                self.policies
                    .refuse(&mut self.recorder, known, &file, &error);
                Ok(known)
            }
            (done, _) => done,
        }
    }
}
