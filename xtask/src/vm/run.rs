//! Suites in machines: several machines at once, each with its share.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::machine::{Console, Machine};
use super::payload::{PACKAGES, Payload, TESTS};
use super::qemu::Accel;
use super::reboot;
use super::report::{Counts, Outcome, Status};
use super::snapshot::Maker;
use super::suites::{Kind, LIMIT};

/// How long the package may take to be installed.
const INSTALL: Duration = Duration::from_secs(180);
/// How much longer than it may take a suite is waited for, until the machine counts as broken.
const SLACK: Duration = Duration::from_secs(60);
/// Tests at once: many wait for something to end by itself.
const THREADS: u32 = 2;
/// How many times slower than others an emulated machine is, on a host that has other things to do.
const SLOWNESS: u32 = 5;
/// A machine that breaks gets so many more chances.
const RETRIES: u32 = 1;

/// Installs the package as a user would; the lab's own programs lie beside it.
pub(super) const INSTALL_IT: &str =
    "dpkg -i /payload/packages/guard.deb && install /payload/bin/* /usr/bin";

/// Some suites for one machine.
pub(super) struct Batch<'a> {
    pub(super) maker: &'a Maker<'a>,
    pub(super) kind: Kind,
    pub(super) suites: Vec<Suite>,
}

/// A test binary, and which of its tests; none: all.
#[derive(Clone)]
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) filters: Vec<String>,
}

/// How to run them.
pub(super) struct Runner<'a> {
    pub(super) payload: &'a Payload,
    pub(super) saved: bool,
    pub(super) deadline: Instant,
    pub(super) logs: &'a Path,
    /// Whether more than one machine talks at once.
    pub(super) several: bool,
}

impl Runner<'_> {
    /// Runs all, so many at a time, and gives what came of each suite.
    pub(super) fn run(&self, batches: Vec<Batch<'_>>, jobs: usize) -> Vec<Outcome> {
        let queue = Mutex::new(batches);
        let outcomes = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    // Not in the loop's head, where it would be held for as long as the machine runs.
                    let next = || lock(&queue).pop();
                    while let Some(batch) = next() {
                        let done = self.batch(&batch);
                        lock(&outcomes).extend(done);
                    }
                });
            }
        });
        outcomes.into_inner().unwrap_or_default()
    }

    fn batch(&self, batch: &Batch<'_>) -> Vec<Outcome> {
        if batch.kind == Kind::Reboot {
            return vec![
                self.with_retries(batch, &batch.suites[0], |log| reboot::run(self, batch, log)),
            ];
        }
        let mut machine = None;
        let run = |suite| {
            self.with_retries(batch, suite, |log| {
                self.suite(batch, suite, &mut machine, log)
            })
        };
        batch.suites.iter().map(run).collect()
    }

    /// One suite. A machine that breaks is made anew, and the suite begun again.
    fn with_retries(
        &self,
        batch: &Batch<'_>,
        suite: &Suite,
        mut run: impl FnMut(&mut Log) -> Result<(Status, Counts)>,
    ) -> Outcome {
        let kernel = batch.maker.image.kernel.name();
        let mut broken = 0;
        loop {
            let begun = Instant::now();
            let mut log = Log::new(self, batch, &suite.name);
            let ended = run(&mut log);
            let seconds = begun.elapsed().as_secs_f64();
            let (status, counts) = match ended {
                Ok(both) => both,
                Err(problem) => {
                    log.line(&format!("the machine broke: {problem:#}"));
                    broken += 1;
                    if broken <= RETRIES && Instant::now() < self.deadline {
                        continue;
                    }
                    (Status::Broken, Counts::default())
                }
            };
            let outcome = Outcome {
                kernel,
                kind: batch.kind,
                suite: suite.name.clone(),
                status,
                counts,
                seconds: log.seconds.unwrap_or(seconds),
                log: log.path,
            };
            println!("{outcome}");
            return outcome;
        }
    }

    fn suite(
        &self,
        batch: &Batch<'_>,
        suite: &Suite,
        running: &mut Option<Machine>,
        log: &mut Log,
    ) -> Result<(Status, Counts)> {
        // One that breaks does not come back.
        let mut machine = match running.take() {
            Some(machine) => machine,
            None => self.start(batch, log)?,
        };
        let ended = self.tests(&mut machine, batch.maker.accel, suite, log)?;
        if ended.0 == Status::Failed {
            self.journal(&mut machine, log)?;
        }
        *running = Some(machine);
        Ok(ended)
    }

    fn start(&self, batch: &Batch<'_>, log: &mut Log) -> Result<Machine> {
        let begun = Instant::now();
        let console = self.console(batch);
        let console = Console::File(&console);
        let mut machine = if self.saved {
            batch
                .maker
                .resume(batch.kind, &self.payload.disk, &console)?
        } else {
            batch
                .maker
                .boot(batch.kind, &self.payload.disk, None, &console)?
        };
        let booted = begun.elapsed().as_secs_f64();
        machine
            .must(INSTALL_IT, INSTALL)
            .context("the package cannot be installed")?;
        log.line(&format!(
            "machine {} {} up in {booted:.1} s, package installed after {:.1} s",
            batch.maker.image.kernel.name(),
            batch.kind.name(),
            begun.elapsed().as_secs_f64()
        ));
        Ok(machine)
    }

    pub(super) fn console(&self, batch: &Batch<'_>) -> PathBuf {
        let name = batch.suites.first().map_or("none", |suite| &suite.name);
        let (kernel, kind) = (batch.maker.image.kernel.name(), batch.kind.name());
        self.logs.join(format!("{kernel}-{kind}-{name}.console"))
    }

    /// Runs a test binary.
    pub(super) fn tests(
        &self,
        machine: &mut Machine,
        accel: Accel,
        suite: &Suite,
        log: &mut Log,
    ) -> Result<(Status, Counts)> {
        let slowness = if accel == Accel::Kvm { 1 } else { SLOWNESS };
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = LIMIT.min(left);
        ensure!(!limit.is_zero(), "the time of the whole run is up");
        let filters: String = suite.filters.iter().map(|f| format!(" '{f}'")).collect();
        let command = format!(
            "cd /tmp && GUARD_BIN_DIR=/usr/bin GUARD_PACKAGES={PACKAGES} RUST_TEST_THREADS={THREADS} {}={slowness} \
             timeout --kill-after=10 {} {TESTS}/{} --color never{filters}",
            guard_lab::SLOWNESS,
            limit.as_secs(),
            suite.name
        );
        let begun = Instant::now();
        let mut counts = Counts::default();
        let status = machine.tell(&command, limit + SLACK, |line| {
            counts.read(line);
            log.line(line);
        })?;
        log.seconds = Some(log.seconds.unwrap_or_default() + begun.elapsed().as_secs_f64());
        let status = match status {
            0 if counts.passed > 0 => Status::Passed,
            0 => {
                log.line("no test was run");
                Status::Failed
            }
            124 | 137 => {
                log.line(&format!("not ended after {} s", limit.as_secs()));
                Status::Failed
            }
            _ => Status::Failed,
        };
        Ok((status, counts))
    }

    /// Keeps what the machine's journal says, for whoever looks for the reason.
    pub(super) fn journal(&self, machine: &mut Machine, log: &mut Log) -> Result<()> {
        const LINES: u32 = 3000;
        let path = log.path.with_extension("journal");
        let mut file = File::create(&path)?;
        let command = format!("journalctl --no-pager --boot -o short-monotonic -n {LINES}");
        let mut written = Ok(());
        machine.tell(&command, SLACK, |line| {
            if written.is_ok() {
                written = writeln!(file, "{line}");
            }
        })?;
        written?;
        log.line(&format!("the machine's journal: {}", path.display()));
        Ok(())
    }
}

/// What is said of a suite: to whoever watches, and to a file.
pub(super) struct Log {
    prefix: Option<String>,
    file: Option<File>,
    path: PathBuf,
    /// How long its tests took, without the machine.
    seconds: Option<f64>,
}

impl Log {
    fn new(runner: &Runner<'_>, batch: &Batch<'_>, suite: &str) -> Self {
        let (kernel, kind) = (batch.maker.image.kernel.name(), batch.kind.name());
        let path = runner.logs.join(format!("{kernel}-{kind}-{suite}.log"));
        // An earlier run's, whose output is replaced.
        let _ = fs::remove_file(path.with_extension("journal"));
        Self {
            prefix: runner
                .several
                .then(|| format!("{kernel} {kind} {suite} | ")),
            // Who cannot write logs can still watch.
            file: File::create(&path).ok(),
            path,
            seconds: None,
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        println!("{}{line}", self.prefix.as_deref().unwrap_or_default());
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{line}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The directory for the logs. What another run writes there meanwhile stays.
pub(super) fn logs(dir: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
