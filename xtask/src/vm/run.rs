//! Suites in machines: several machines at once, each with its share.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::machine::{Console, Machine};
use super::payload::{PACKAGES, Payload, TESTS, Tests};
use super::plan::{Place, Queue, Worker};
use super::qemu::Accel;
use super::reboot;
use super::report::{Counts, Outcome, Status};
use super::suites::{Kind, LIMIT, Suite};

/// How long the package may take to be installed.
const INSTALL: Duration = Duration::from_secs(180);
/// How much longer than it may take a suite is waited for, until the machine counts as broken.
const SLACK: Duration = Duration::from_secs(60);
/// Tests at once: many wait for something to end by itself.
const THREADS: u32 = 2;
/// How many times slower than others an emulated machine is, on a host that has other things to do.
const SLOWNESS: u32 = 5;
/// The environment variable that says so: `guard_lab::SLOWNESS`.
const SLOWNESS_NAME: &str = "GUARD_LAB_SLOWNESS";
/// A machine that breaks gets so many more chances.
const RETRIES: u32 = 1;

/// Installs the package as a user would, unless it is; the lab's own programs lie beside it.
const INSTALL_IT: &str = "test \"$(dpkg-query -Wf '${db:Status-Status}' guard 2>/dev/null)\" = installed || \
     { dpkg -i /payload/packages/guard.deb && install /payload/bin/* /usr/bin; }";

/// How to run them.
pub(super) struct Runner<'a> {
    pub(super) payload: &'a Payload,
    pub(super) tests: &'a Tests,
    pub(super) saved: bool,
    pub(super) deadline: Instant,
    pub(super) logs: &'a Path,
    /// Whether more than one machine talks at once.
    pub(super) several: bool,
}

impl Runner<'_> {
    /// Runs all, so many at a time, and gives what came of each suite.
    pub(super) fn run(&self, queue: &Queue<'_>, jobs: usize) -> Vec<Outcome> {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs)
                .map(|_| scope.spawn(|| self.work(queue)))
                .collect();
            let outcomes = workers.into_iter().map(|worker| match worker.join() {
                Ok(outcomes) => outcomes,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            outcomes.flatten().collect()
        })
    }

    fn work(&self, queue: &Queue<'_>) -> Vec<Outcome> {
        let mut worker = Worker::default();
        let mut running = None;
        let mut outcomes = Vec::new();
        while let Some((place, suite)) = queue.next(&mut worker, &mut running) {
            outcomes.push(self.with_retries(place, &suite, |log| match place.kind {
                Kind::Reboot => reboot::run(self, place, &suite, log),
                _ => self.suite(place, &suite, &mut running, log),
            }));
        }
        outcomes
    }

    /// One suite. A machine that breaks is made anew, and the suite begun again.
    fn with_retries(
        &self,
        place: Place<'_>,
        suite: &Suite,
        mut run: impl FnMut(&mut Log) -> Result<(Status, Counts)>,
    ) -> Outcome {
        let kernel = place.maker.image.kernel.name();
        let mut broken = 0;
        loop {
            let begun = Instant::now();
            let mut log = Log::new(self, place, &suite.name);
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
                kind: place.kind,
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
        place: Place<'_>,
        suite: &Suite,
        running: &mut Option<Machine>,
        log: &mut Log,
    ) -> Result<(Status, Counts)> {
        // One that breaks does not come back.
        let mut machine = match running.take() {
            Some(mut machine) => {
                // Tests of packages may have taken it away. Where they left what keeps it out, that is its fault.
                if let Err(problem) = install(&mut machine) {
                    log.line(&format!("{problem:#}"));
                    return Ok((Status::Failed, Counts::default()));
                }
                machine
            }
            None => self.start(place, suite, log)?,
        };
        let ended = self.tests(&mut machine, place.maker.accel, suite, log)?;
        if ended.0 == Status::Failed {
            self.journal(&mut machine, log)?;
        }
        *running = Some(machine);
        Ok(ended)
    }

    fn start(&self, place: Place<'_>, suite: &Suite, log: &mut Log) -> Result<Machine> {
        let begun = Instant::now();
        let console = self.console(place, suite);
        let console = Console::File(&console);
        let mut machine = if self.saved {
            place
                .maker
                .resume(place.kind, &self.payload.disk, &console)?
        } else {
            place
                .maker
                .boot(place.kind, &self.payload.disk, None, &console)?
        };
        let booted = begun.elapsed().as_secs_f64();
        install(&mut machine)?;
        log.line(&format!(
            "machine {} {} up in {booted:.1} s, package installed after {:.1} s",
            place.maker.image.kernel.name(),
            place.kind.name(),
            begun.elapsed().as_secs_f64()
        ));
        Ok(machine)
    }

    /// The console of the machine that was started for a suite.
    pub(super) fn console(&self, place: Place<'_>, suite: &Suite) -> PathBuf {
        let name = &suite.name;
        let (kernel, kind) = (place.maker.image.kernel.name(), place.kind.name());
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
        let names = self
            .tests
            .tests_in(&suite.name)
            .filter(|name| suite.has(name));
        let names = names.collect::<Vec<_>>().join(" ");
        ensure!(
            !names.is_empty(),
            "no test of {} has such a name",
            suite.name
        );
        let command = format!(
            "cd /tmp && GUARD_BIN_DIR=/usr/bin GUARD_PACKAGES={PACKAGES} RUST_TEST_THREADS={THREADS} {SLOWNESS_NAME}={slowness} \
             timeout --kill-after=10 {} {TESTS} --color never --include-ignored --exact {names}",
            limit.as_secs(),
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

/// Has the package in a machine.
pub(super) fn install(machine: &mut Machine) -> Result<()> {
    machine
        .must(INSTALL_IT, INSTALL)
        .context("the package cannot be installed")
}

/// What is said of a suite: to whoever watches, and with the seconds since it began to a file.
pub(super) struct Log {
    prefix: Option<String>,
    file: Option<File>,
    path: PathBuf,
    begun: Instant,
    /// How long its tests took, without the machine.
    seconds: Option<f64>,
}

impl Log {
    fn new(runner: &Runner<'_>, place: Place<'_>, suite: &str) -> Self {
        let (kernel, kind) = (place.maker.image.kernel.name(), place.kind.name());
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
            begun: Instant::now(),
            seconds: None,
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        println!("{}{line}", self.prefix.as_deref().unwrap_or_default());
        if let Some(file) = &mut self.file {
            let seconds = self.begun.elapsed().as_secs_f64();
            let _ = writeln!(file, "{seconds:7.1} {line}");
        }
    }
}

/// The directory for the logs. What another run writes there meanwhile stays.
pub(super) fn logs(dir: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
