//! Suites in machines: several machines at once, each with its share.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::heard::{EndedTest, Results, TestReader};
use super::machine::{Console, Machine};
use super::matrix::Writer;
use super::passed::PassedRecord;
use super::payload::{self, NATS, PACKAGES, Payload, TESTS};
use super::plan::{MachineSpec, Queue, Worker};
use super::qemu::Accel;
use super::reboot;
use super::report::{Ran, SuiteStatus, TestsOutcome};
use super::suites::{ALONE, Kind, Suite, limit};
use crate::shell::say;
use crate::test::outcome::Flaky;

/// How long the package may take to be installed.
const INSTALL: Duration = Duration::from_secs(300);
/// How much longer than it may take a suite is waited for, until the machine counts as broken.
const SLACK: Duration = Duration::from_secs(60);
/// Tests at once: many wait for something to end by itself.
const THREADS: usize = 2;
/// How many times slower than others an emulated machine is, on a host that has other things to do.
const SLOWNESS: u32 = 5;
/// What `timeout` ends with where it has ended what it ran.
const ENDED_BY_US: [i32; 2] = [124, 137];
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
    pub(super) tests: &'a payload::TestsProgram,
    pub(super) saved: bool,
    pub(super) deadline: Instant,
    pub(super) logs: &'a Path,
    pub(super) talk: Talk,
    /// Whether whatever holds across a boot is tried once, and not after the power was cut as well.
    pub(super) is_brief: bool,
    /// Where what passed is kept.
    pub(super) record: Option<&'a PassedRecord>,
    /// What writes it where everybody sees it.
    pub(super) writer: Option<&'a Writer>,
    /// Where what came of each test is kept.
    pub(super) each: Option<&'a dyn TestRecord>,
}

/// What is kept of each test as soon as it is known: its machine may break, and the run be ended, before the rest of its suite has run.
pub(crate) trait TestRecord: Sync {
    /// Whether it has passed in this run. Where a machine broke, the next need not run it again.
    fn has_passed(&self, test: &str) -> bool;

    /// Takes in that it passed, or failed twice.
    fn add(&self, test: &str, passed: bool);
}

/// What a person who watches reads, beside what came of each suite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Talk {
    /// Every line.
    All,
    /// The same, with the machine before it: several talk at once.
    Several,
    /// Nothing: it is all in the logs.
    Nothing,
}

impl Runner<'_> {
    /// Runs all, so many at a time, and gives what came of each suite.
    pub(super) fn run(&self, queue: &Queue<'_>, jobs: usize) -> Vec<Ran> {
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

    fn work(&self, queue: &Queue<'_>) -> Vec<Ran> {
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

    /// One suite. A machine that breaks is made again, and the suite begun again.
    fn with_retries(
        &self,
        place: MachineSpec<'_>,
        suite: &Suite,
        mut run: impl FnMut(&mut Log) -> Result<TestsOutcome>,
    ) -> Ran {
        let mut broken = 0;
        loop {
            let begun = Instant::now();
            let mut log = Log::new(self, place, &suite.name, broken);
            let tests = run(&mut log);
            if let Err(problem) = &tests {
                log.line(&format!("the machine broke: {problem:#}"));
                broken += 1;
                if broken <= RETRIES && Instant::now() < self.deadline {
                    log.line("the suite begins again in another");
                    continue;
                }
            }
            let seconds = begun.elapsed().as_secs_f64();
            let ran = Ran {
                kernel: place.maker.image.kernel.name(),
                kind: place.kind,
                suite: suite.name.clone(),
                tests: tests.map_err(|problem| first_line(&format!("{problem:#}"))),
                seconds: log.seconds.unwrap_or(seconds),
                log: log.path,
            };
            println!("{ran}");
            if let Some(record) = self.record {
                record.add(&ran);
            }
            if let Some(Err(problem)) = self.writer.map(|writer| writer.add(&ran)) {
                say(&format!("what came of it is not written: {problem:#}"));
            }
            return ran;
        }
    }

    fn suite(
        &self,
        place: MachineSpec<'_>,
        suite: &Suite,
        running: &mut Option<Machine>,
        log: &mut Log,
    ) -> Result<TestsOutcome> {
        // One that breaks does not come back.
        let mut machine = match running.take() {
            Some(mut machine) => {
                // Tests of packages may have taken it away.
                install(&mut machine)?;
                machine
            }
            None => self.start(place, suite, log)?,
        };
        let tests = self.tests(&mut machine, place.maker.accel, suite, log)?;
        if tests.status() == SuiteStatus::Failed {
            self.journal(&mut machine, log)?;
        }
        *running = Some(machine);
        Ok(tests)
    }

    fn start(&self, place: MachineSpec<'_>, suite: &Suite, log: &mut Log) -> Result<Machine> {
        let begun = Instant::now();
        let console = self.console(place, suite);
        let console = Console::File(&console);
        let mut machine = if self.saved {
            place
                .maker
                .resume(place.kind, &self.payload.path(), &console)?
        } else {
            place
                .maker
                .boot(place.kind, &self.payload.path(), None, &console)?
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
    pub(super) fn console(&self, place: MachineSpec<'_>, suite: &Suite) -> PathBuf {
        let name = &suite.name;
        let (kernel, kind) = (place.maker.image.kernel.name(), place.kind.name());
        self.logs.join(format!("{kernel}-{kind}-{name}.console"))
    }

    /// Runs tests of a suite, and those that fail once more, each alone.
    pub(super) fn tests(
        &self,
        machine: &mut Machine,
        accel: Accel,
        suite: &Suite,
        log: &mut Log,
    ) -> Result<TestsOutcome> {
        let begun = Instant::now();
        let deadline = self.deadline.min(begun + limit(&suite.name));
        let mut names = self.tests.wanted(suite);
        ensure!(
            !names.is_empty(),
            "no test of {} has such a name",
            suite.name
        );
        names.retain(|name| !self.each.is_some_and(|each| each.has_passed(name)));
        let mut tests = TestsOutcome::default();
        let mut failed = Vec::new();
        while !names.is_empty() {
            let results = self.first(machine, accel, &names, deadline, log)?;
            for ended in results.ended {
                if ended.passed {
                    self.keep(&ended.name, true);
                    tests.passed.push((ended.name, ended.seconds));
                } else {
                    failed.push(ended);
                }
            }
            failed.extend(results.running.into_iter().map(|name| EndedTest {
                said: "It had not ended when the program did, or was ended.".to_owned(),
                name,
                passed: false,
                seconds: 0.0,
            }));
            names = results.waiting;
        }
        for test in failed {
            self.again(machine, accel, test, &mut tests, log)?;
        }
        log.seconds = Some(log.seconds.unwrap_or_default() + begun.elapsed().as_secs_f64());
        for (name, seconds) in &tests.passed {
            log.note(&format!("{seconds:7.1} s {name}"));
        }
        Ok(tests)
    }

    /// Runs some for the first time.
    fn first(
        &self,
        machine: &mut Machine,
        accel: Accel,
        names: &[String],
        deadline: Instant,
        log: &mut Log,
    ) -> Result<Results> {
        let limit = deadline.saturating_duration_since(Instant::now());
        ensure!(
            !limit.is_zero(),
            "the time is up, and {} tests have not run",
            names.len()
        );
        let command = command(accel, names, THREADS, limit);
        let mut heard = TestReader::new(names, THREADS);
        let status = machine.tell(&command, limit + SLACK, |line| {
            log.line(line);
            if let Some(name) = heard.line(line) {
                self.keep(name, true);
            }
        })?;
        if ENDED_BY_US.contains(&status) {
            log.line(&format!("not ended after {} s", limit.as_secs()));
        }
        Ok(heard.end(status))
    }

    /// Runs one that has failed once more, alone: only then is that believed.
    fn again(
        &self,
        machine: &mut Machine,
        accel: Accel,
        failed: EndedTest,
        tests: &mut TestsOutcome,
        log: &mut Log,
    ) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = ALONE.min(left);
        ensure!(
            !limit.is_zero(),
            "the time is up, and {} has failed once",
            failed.name
        );
        log.line(&format!(
            "{} failed, and runs once more, alone",
            failed.name
        ));
        let names = [failed.name];
        let command = command(accel, &names, 1, limit) + " --show-output";
        let begun = Instant::now();
        let mut said = String::new();
        let status = machine.tell(&command, limit + SLACK, |line| {
            said.push_str(line);
            said.push('\n');
            log.line(line);
        })?;
        let [name] = names;
        self.keep(&name, status == 0);
        if status == 0 {
            tests
                .passed
                .push((name.clone(), begun.elapsed().as_secs_f64()));
            tests.flaky.push(Flaky {
                name,
                failed: failed.said,
                passed: said,
            });
        } else {
            tests.failed.push(name);
        }
        Ok(())
    }

    fn keep(&self, test: &str, passed: bool) {
        if let Some(each) = self.each {
            each.add(test, passed);
        }
    }

    /// Keeps what the machine's journal says, for who looks for the reason.
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

/// What has a machine run tests of these names, so many at once, and no longer than that.
fn command(accel: Accel, names: &[String], threads: usize, limit: Duration) -> String {
    let slowness = if accel == Accel::Kvm { 1 } else { SLOWNESS };
    let (limit, names) = (limit.as_secs().max(1), names.join(" "));
    format!(
        "cd /tmp && GUARD_BIN_DIR=/usr/bin GUARD_PACKAGES={PACKAGES} GUARD_NATS={NATS} RUST_TEST_THREADS={threads} {SLOWNESS_NAME}={slowness} \
         timeout --kill-after=10 {limit} {TESTS} --color never --include-ignored --exact {names}",
    )
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Has the package in a machine.
pub(super) fn install(machine: &mut Machine) -> Result<()> {
    machine
        .must(INSTALL_IT, INSTALL)
        .context("the package cannot be installed")
}

/// What is said of a suite: to a person who watches, and with the seconds since it began to a file.
pub(super) struct Log {
    prefix: Option<String>,
    file: Option<File>,
    path: PathBuf,
    begun: Instant,
    /// How long its tests took, without the machine.
    seconds: Option<f64>,
}

impl Log {
    /// That of a suite, where so many machines have broken already.
    fn new(runner: &Runner<'_>, place: MachineSpec<'_>, suite: &str, broken: u32) -> Self {
        let (kernel, kind) = (place.maker.image.kernel.name(), place.kind.name());
        let path = runner.logs.join(format!("{kernel}-{kind}-{suite}.log"));
        // An earlier run's, whose output is replaced. What the machine said that broke stays before it.
        let _ = fs::remove_file(path.with_extension("journal"));
        let file = match broken {
            0 => File::create(&path),
            _ => File::options().append(true).open(&path),
        };
        Self {
            prefix: match runner.talk {
                Talk::All => Some(String::new()),
                Talk::Several => Some(format!("{kernel} {kind} {suite} | ")),
                Talk::Nothing => None,
            },
            // Who cannot write logs can still watch.
            file: file.ok(),
            path,
            begun: Instant::now(),
            seconds: None,
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        if let Some(prefix) = &self.prefix {
            println!("{prefix}{line}");
        }
        self.note(line);
    }

    /// What is for whoever reads the log.
    fn note(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            let seconds = self.begun.elapsed().as_secs_f64();
            let _ = writeln!(file, "{seconds:7.1} {line}");
        }
    }
}
