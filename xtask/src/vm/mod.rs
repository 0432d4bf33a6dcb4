//! `cargo xtask vm`: the privileged tests in throw-away machines, with real kernels and systemd as PID 1.
//!
//! The machines are made from Debian's packages and have no network. In each the package is installed as a user would, then test
//! programs run; what they say comes back through a serial port.

mod machine;
mod payload;
mod suites;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cache;
use crate::shell::{read, run, say, target};
use crate::{build, install, lab, room};
use machine::{Image, Machine, Qemu};
use payload::Payload;
use suites::{Contents, GATE, KINDS, Kernel, Kind, REBOOT};

/// Environment variable by which tests wait longer: `guard_lab::SLOWNESS`.
const SLOWNESS: &str = "GUARD_LAB_SLOWNESS";
/// Time limit of a suite, on a slow and busy machine, and of one test alone.
const SUITE: Duration = Duration::from_secs(2400);
const ALONE: Duration = Duration::from_secs(300);
/// Time after a limit until the machine counts as broken.
const SLACK: Duration = Duration::from_secs(60);
/// Most tests of a run that may fail and pass when they run again.
const MAX_FLAKY: usize = 3;
/// Programs that machines are made with, and their packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("mmdebstrap", "mmdebstrap"),
    ("setpriv", "util-linux"),
    ("strip", "binutils"),
    ("tar", "tar"),
    ("zstd", "zstd"),
];
/// MiB that have to be free for the cache.
const FOR_CACHE: u64 = 4096;
/// Bytes of the disk of a machine that boots more than once; sparse.
const DISK: u64 = 4 << 30;

/// `cargo xtask vm`
#[derive(Args)]
pub(crate) struct VmArgs {
    /// Only machines with this kernel [default: each]
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Only this kind of machine
    #[arg(long, value_name = "KIND", value_parser = KINDS.map(|kind| kind.name))]
    machine: Option<String>,
    /// Emulate processors, even where there is KVM
    #[arg(long)]
    emulate: bool,
    /// Install the packages that people get, in place of the tests' programs
    #[arg(long)]
    released: bool,
    /// How many machines run at once [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only open a shell in a machine that has guard installed: you are root, with no user account beside (`useradd
    /// --create-home NAME` makes one) and no network; the package is /payload/packages/guard.deb
    #[arg(long, conflicts_with_all = ["tests", "jobs"])]
    shell: bool,
    /// Only tests whose names begin so: SUITE or SUITE::PART [default: all]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
}

/// Runs tests in machines, or opens a shell in one.
///
/// # Errors
///
/// That no machine could be had, or which tests failed twice.
pub(crate) fn vm(args: &VmArgs) -> Result<()> {
    build::prepare()?;
    build::build_tests()?;
    let is_wanted = |kind: &&Kind| args.machine.as_ref().is_none_or(|name| name == kind.name);
    if args.shell {
        let kind = KINDS
            .iter()
            .find(is_wanted)
            .context("there is no such kind")?;
        return shell(args, kind);
    }
    let kernels = args
        .kernel
        .map_or(Kernel::ALL.to_vec(), |kernel| vec![kernel]);
    let kinds: Vec<_> = KINDS.iter().filter(is_wanted).collect();
    tests(args, &kernels, &kinds, &args.tests)
}

/// Runs in machines what no other place can tell, of what is built.
///
/// # Errors
///
/// As [`vm`].
pub(crate) fn gate() -> Result<()> {
    let args = VmArgs {
        kernel: None,
        machine: None,
        emulate: false,
        released: false,
        jobs: None,
        shell: false,
        tests: Vec::new(),
    };
    let is_wanted = |kind: &&Kind| ["plain", REBOOT].contains(&kind.name);
    let kinds: Vec<_> = KINDS.iter().filter(is_wanted).collect();
    tests(&args, &[Kernel::V6_12], &kinds, &GATE.map(str::to_owned))
}

/// Tests of a suite in a kind of machine.
struct Job<'a> {
    image: &'a Image,
    kernel: Kernel,
    kind: &'a Kind,
    suite: String,
    tests: Vec<String>,
}

/// What came of all.
#[derive(Default)]
struct Results {
    passed: usize,
    failed: Vec<String>,
    flaky: Vec<String>,
    problems: Vec<String>,
}

fn tests(args: &VmArgs, kernels: &[Kernel], kinds: &[&Kind], wanted: &[String]) -> Result<()> {
    let all = payload::tests()?;
    let mut places = Vec::new();
    for (kernel, kind) in kernels
        .iter()
        .flat_map(|kernel| kinds.iter().map(move |kind| (*kernel, *kind)))
    {
        let mut suites: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for test in all.iter().filter(|test| kind.runs(kernel, test, wanted)) {
            suites
                .entry(test.split("::").next().unwrap_or(test))
                .or_default()
                .push(test.clone());
        }
        places.extend(
            suites
                .into_iter()
                .map(|(suite, tests)| (kernel, kind, suite.to_owned(), tests)),
        );
    }
    ensure!(
        !places.is_empty(),
        "no machine of these kinds runs such tests"
    );
    let logs = target().join("vm-log");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let _lock = cache::lock_file(
        &logs.join("lock"),
        "waiting for another run in this clone, which has machines",
    )?;
    fit()?;
    let qemu = Qemu::obtain(args.emulate)?;
    let is_of = |test: &&String| {
        test.starts_with("packages::rpm::") || test.starts_with("packages::tarball::")
    };
    let has_others = places
        .iter()
        .any(|(.., tests)| tests.iter().any(|test| is_of(&test)));
    let payload = Payload::pack(args.released, has_others)?;
    let mut images: Vec<(Kernel, Contents, Image)> = Vec::new();
    for (kernel, kind, ..) in &places {
        if !images
            .iter()
            .any(|(of, contents, _)| of == kernel && *contents == kind.contents)
        {
            images.push((
                *kernel,
                kind.contents,
                Image::obtain(*kernel, kind.contents)?,
            ));
        }
    }
    let jobs = places
        .into_iter()
        .filter_map(|(kernel, kind, suite, tests)| {
            let image = images
                .iter()
                .find(|(of, contents, _)| *of == kernel && *contents == kind.contents);
            Some(Job {
                image: &image?.2,
                kernel,
                kind,
                suite,
                tests,
            })
        });
    let runner = Runner {
        qemu,
        payload,
        logs,
        jobs: Mutex::new(jobs.collect()),
        results: Mutex::default(),
    };
    let workers = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(|| runner.work()))));
    runner
        .results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .verdict()
}

impl Results {
    fn verdict(self) -> Result<()> {
        let (flaky, failed) = (self.flaky.len(), self.failed.len());
        println!(
            "in machines: {} passed, {failed} failed, {flaky} flaky",
            self.passed
        );
        let named = [
            ("flaky", &self.flaky),
            ("failed twice", &self.failed),
            ("not known", &self.problems),
        ];
        for (what, names) in named {
            names.iter().for_each(|name| println!("{what}: {name}"));
        }
        ensure!(
            failed == 0 && self.problems.is_empty() && flaky <= MAX_FLAKY,
            "not all is well in machines: target/vm-log has what they said"
        );
        Ok(())
    }
}

/// What all machines share.
struct Runner<'a> {
    qemu: Qemu,
    payload: Payload,
    logs: PathBuf,
    jobs: Mutex<Vec<Job<'a>>>,
    results: Mutex<Results>,
}

impl<'a> Runner<'a> {
    /// Runs one suite after the other, and keeps the machine while the next one runs in the same kind.
    fn work(&self) {
        let mut last: Option<(Job<'a>, Machine)> = None;
        while let Some(job) = self.next(last.as_ref().map(|(job, _)| job)) {
            let mut kept = last
                .take()
                .filter(|(last, _)| job.is_like(last))
                .map(|(_, machine)| machine);
            let first = self.run(&job, &mut kept);
            // A machine that breaks is made once more.
            let done = first.or_else(|problem| {
                say(&format!(
                    "{} begins again in another machine: {problem:#}",
                    job.name()
                ));
                kept = None;
                self.run(&job, &mut kept)
            });
            if let Err(problem) = done {
                self.note(|results| {
                    results
                        .problems
                        .push(format!("{}: {problem:#}", job.name()))
                });
                kept = None;
            }
            last = kept.map(|machine| (job, machine));
        }
    }

    fn next(&self, last: Option<&Job<'_>>) -> Option<Job<'a>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let like = jobs
            .iter()
            .position(|job| last.is_some_and(|last| job.is_like(last)));
        (!jobs.is_empty()).then(|| jobs.remove(like.unwrap_or_default()))
    }

    fn note(&self, change: impl FnOnce(&mut Results)) {
        change(&mut self.results.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn run(&self, job: &Job<'_>, machine: &mut Option<Machine>) -> Result<()> {
        let log = self.logs.join(format!("{}.log", job.name()));
        let mut log =
            File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        if job.kind.name == REBOOT {
            return self.reboot(job, &mut log);
        }
        let machine = match machine {
            Some(machine) => machine,
            none => none.insert(self.boot(job, None)?),
        };
        // Tests of packages may have taken it away.
        machine.install()?;
        self.tests(job, &job.tests, machine, &mut log)
    }

    fn boot(&self, job: &Job<'_>, disk: Option<&Path>) -> Result<Machine> {
        let console = self.logs.join(format!("{}.console", job.name()));
        self.qemu.boot(|| {
            let qemu = self
                .qemu
                .machine(job.image, job.kind, self.payload.path(), "");
            Machine::boot(qemu, job.kind, disk, &console)
        })
    }

    /// Runs tests before a reboot, after it, and after the power was cut.
    fn reboot(&self, job: &Job<'_>, log: &mut File) -> Result<()> {
        let disk = tempfile::NamedTempFile::new()
            .context("no disk can be made: set TMPDIR to a directory with room")?;
        disk.as_file().set_len(DISK)?;
        let of = |module: &str| -> Vec<String> {
            job.tests
                .iter()
                .filter(|test| test.starts_with(module))
                .cloned()
                .collect()
        };
        let mut machine = self.boot(job, Some(disk.path()))?;
        self.tests(job, &of("reboot::before::"), &mut machine, log)?;
        machine.write("systemctl reboot")?;
        machine.ended()?;
        for _ in ["reboot", "power cut"] {
            let mut machine = self.boot(job, Some(disk.path()))?;
            self.tests(job, &of("reboot::after::"), &mut machine, log)?;
            machine.must("sync")?;
        }
        Ok(())
    }

    /// Runs tests, and those that fail once more, each alone.
    fn tests(
        &self,
        job: &Job<'_>,
        names: &[String],
        machine: &mut Machine,
        log: &mut File,
    ) -> Result<()> {
        let (mut passed, mut failed) = (Vec::new(), Vec::new());
        let status = self.tell(machine, names, 2, SUITE, log, |line| {
            for (end, of) in [(" ... ok", &mut passed), (" ... FAILED", &mut failed)] {
                // A child of another test may have written before it.
                let named = |name: &&String| line.ends_with(&format!("test {name}{end}"));
                of.extend(names.iter().find(named).cloned());
            }
        })?;
        let unknown = names
            .iter()
            .filter(|name| status != 0 && !passed.contains(name) && !failed.contains(name));
        let again: Vec<_> = failed.iter().chain(unknown).cloned().collect();
        let is_broken = !again.is_empty();
        let (mut flaky, mut wrong) = (Vec::new(), Vec::new());
        for name in again {
            let done = self.tell(machine, std::slice::from_ref(&name), 1, ALONE, log, |_| {})?;
            if done == 0 { &mut flaky } else { &mut wrong }.push(format!("{} {name}", job.name()));
        }
        say(&format!(
            "{}: {} passed, {} failed",
            job.name(),
            names.len() - wrong.len(),
            wrong.len()
        ));
        self.note(|results| {
            results.passed += names.len() - wrong.len();
            results.failed.extend(wrong);
            results.flaky.extend(flaky);
        });
        if is_broken {
            writeln!(log, "\nthe machine's journal:")?;
            machine.tell(
                "journalctl --no-pager --boot -o short-monotonic -n 3000",
                SLACK,
                |line| {
                    let _ = writeln!(log, "{line}");
                },
            )?;
        }
        Ok(())
    }

    /// Has a machine run tests of these names, so many at once, and returns the exit status.
    fn tell(
        &self,
        machine: &mut Machine,
        names: &[String],
        threads: usize,
        limit: Duration,
        log: &mut File,
        mut hear: impl FnMut(&str),
    ) -> Result<i32> {
        let (slowness, seconds, names) = (self.qemu.slowness(), limit.as_secs(), names.join(" "));
        let command = format!(
            "cd /tmp && GUARD_BIN_DIR=/usr/bin GUARD_PACKAGES=/payload/packages GUARD_NATS=/payload/nats RUST_TEST_THREADS={threads} \
             {SLOWNESS}={slowness} timeout --kill-after=10 {seconds} /payload/debug/deps/suites --color never --include-ignored \
             --exact {names}"
        );
        machine.tell(&command, limit + SLACK, |line| {
            let _ = writeln!(log, "{line}");
            hear(line);
        })
    }
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{}-{}-{}", self.kernel.name(), self.kind.name, self.suite)
    }

    /// Returns true if a machine of the other runs this one.
    fn is_like(&self, other: &Self) -> bool {
        self.kernel == other.kernel && self.kind.name == other.kind.name && self.kind.name != REBOOT
    }
}

/// Opens a shell in a machine on this terminal; the machine is gone when the shell ends.
fn shell(args: &VmArgs, kind: &Kind) -> Result<()> {
    fit()?;
    let qemu = Qemu::obtain(args.emulate)?;
    let kernel = args.kernel.unwrap_or(Kernel::V6_12);
    let image = Image::obtain(kernel, kind.contents)?;
    let payload = Payload::pack(args.released, false)?;
    let size = read(Command::new("sh").args(["-c", "stty size </dev/tty"]))
        .unwrap_or_else(|_| "24 80".to_owned());
    let term = env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    let append = format!("guard.shell={},{term}", size.trim().replace(' ', ","));
    say(
        "root's shell in the machine, without a network; `exit` ends both; its package is /payload/packages/guard.deb",
    );
    let disk = tempfile::NamedTempFile::new()?;
    disk.as_file().set_len(DISK)?;
    let disk = format!("file={},format=raw,if=virtio", disk.path().display());
    qemu.boot(|| {
        let mut qemu = qemu.machine(&image, kind, payload.path(), &append);
        qemu.args(["-drive", &disk, "-chardev", "stdio,id=console,signal=off"]);
        run(qemu.args(["-serial", "chardev:console", "-serial", "null"]))
    })
}

/// Sees to it that machines can be made here.
fn fit() -> Result<()> {
    ensure!(
        env::consts::ARCH == "x86_64",
        "the machines are x86-64, and what is built here would not run in them"
    );
    ensure!(
        crate::shell::which("apt-get").is_some() && crate::shell::which("dpkg-deb").is_some(),
        "machines are made from Debian's packages, with apt and dpkg, which are not here: run it on Debian or Ubuntu, or in \
         a container: `podman run --rm --privileged -v \"$PWD:/guard\" -w /guard docker.io/library/rust:1.95-bookworm cargo \
         xtask vm`"
    );
    lab::fit()?;
    let or = "set GUARD_CACHE to a directory with room";
    room::ensure_free(
        &cache::dir()?,
        FOR_CACHE,
        "what machines boot is kept there",
        or,
    )?;
    lab::obtain(&PROGRAMS, "machines for tests are made with it")?;
    if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        install::apt_install(&["debian-archive-keyring"], "it signs Debian's packages")?;
    }
    Ok(())
}
