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
use std::mem::take;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::shell::{read, run, say, target, which};
use crate::{build, cache, install, lab, room};
use machine::{Machine, Qemu, image};
use suites::{GATE, KINDS, Kernel, Kind, REBOOT};

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
/// Program in a machine that has the package installed, and the lab's programs.
const INSTALL: &str = "/vm/install";

/// `cargo xtask vm`
#[derive(Args, Default)]
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
    let kinds = KINDS.iter();
    let mut kinds = kinds.filter(|kind| args.machine.as_ref().is_none_or(|name| name == kind.name));
    if args.shell {
        return shell(args, kinds.next().context("there is no such kind")?);
    }
    let kernels = args.kernel.map_or(Kernel::ALL.to_vec(), |one| vec![one]);
    tests(args, &kernels, &kinds.collect::<Vec<_>>(), &args.tests)
}

/// Runs in machines what no other place can tell, or one boot and the page for newcomers, of what is built.
///
/// # Errors
///
/// As [`vm`].
pub(crate) fn gate(all: bool) -> Result<()> {
    let wanted = if all { &GATE[..] } else { &GATE[..1] };
    let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
    let kinds = KINDS.iter();
    let kinds: Vec<_> = kinds
        .filter(|kind| ["plain", REBOOT].contains(&kind.name))
        .collect();
    tests(&VmArgs::default(), &[Kernel::V6_12], &kinds, &wanted)
}

/// A machine of a kind with a kernel, and the tests that it runs, by suite.
struct VmRun<'a> {
    kernel: Kernel,
    kind: &'a Kind,
    suites: BTreeMap<String, Vec<String>>,
}

/// Outcome of tests.
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
        let mut suites: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for test in all.iter().filter(|test| kind.runs(kernel, test, wanted)) {
            let suite = test.split("::").next().unwrap_or(test).to_owned();
            suites.entry(suite).or_default().push(test.clone());
        }
        if !suites.is_empty() {
            places.push(VmRun {
                kernel,
                kind,
                suites,
            });
        }
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
    let is_other = |test: &String| {
        test.starts_with("packages::rpm::") || test.starts_with("packages::tarball::")
    };
    let mut tests = places.iter().flat_map(|place| place.suites.values());
    let has_others = tests.any(|tests| tests.iter().any(is_other));
    let runner = Runner {
        qemu: Qemu::obtain(args.emulate)?,
        payload: payload::pack(args.released, has_others)?,
        logs,
        places: Mutex::new(places),
        results: Mutex::default(),
    };
    let workers = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(|| runner.work()))));
    take(&mut *locked(&runner.results)).verdict()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Results {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.flaky.extend(other.flaky);
        self.problems.extend(other.problems);
    }

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
    payload: PathBuf,
    logs: PathBuf,
    places: Mutex<Vec<VmRun<'a>>>,
    results: Mutex<Results>,
}

impl Runner<'_> {
    /// Runs one machine after the other; one that breaks is made once more.
    fn work(&self) {
        loop {
            let Some(place) = locked(&self.places).pop() else {
                return;
            };
            let done = self.run(&place).or_else(|problem| {
                say(&format!("{place} begins again: {problem:#}"));
                self.run(&place)
            });
            let results = done.unwrap_or_else(|problem| Results {
                problems: vec![format!("{place}: {problem:#}")],
                ..Results::default()
            });
            locked(&self.results).add(results);
        }
    }

    fn run(&self, place: &VmRun<'_>) -> Result<Results> {
        let log = self.logs.join(format!("{place}.log"));
        let mut log =
            File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        if place.kind.name == REBOOT {
            return self.reboot(place, &mut log);
        }
        let (mut machine, mut results) = (self.boot(place, None)?, Results::default());
        for tests in place.suites.values() {
            // Tests of packages may have taken it away.
            machine.must(INSTALL)?;
            results.add(self.tests(place, tests, &mut machine, &mut log)?);
        }
        Ok(results)
    }

    fn boot(&self, place: &VmRun<'_>, disk: Option<&Path>) -> Result<Machine> {
        let image = image(place.kernel, place.kind.contents)?;
        let console = self.logs.join(format!("{place}.console"));
        self.qemu.boot(|| {
            let mut qemu = self.qemu.machine(&image, place.kind, &self.payload, "");
            qemu.args(disk.map(disk_argument).into_iter().flatten());
            let mut machine = Machine::boot(qemu, &console)?;
            machine.must(place.kind.prepare)?;
            machine.must(INSTALL)?;
            Ok(machine)
        })
    }

    /// Runs tests before a reboot, after it, and after the power was cut.
    fn reboot(&self, place: &VmRun<'_>, log: &mut File) -> Result<Results> {
        let disk = disk()?;
        let of = |module: &str| -> Vec<String> {
            let tests = place.suites.values().flatten();
            tests
                .filter(|test| test.starts_with(module))
                .cloned()
                .collect()
        };
        let mut machine = self.boot(place, Some(disk.path()))?;
        let mut results = self.tests(place, &of("reboot::before::"), &mut machine, log)?;
        machine.reboot()?;
        for _ in ["reboot", "power cut"] {
            let mut machine = self.boot(place, Some(disk.path()))?;
            results.add(self.tests(place, &of("reboot::after::"), &mut machine, log)?);
            machine.must("sync")?;
        }
        Ok(results)
    }

    /// Runs tests, and those that fail once more, each alone.
    fn tests(
        &self,
        place: &VmRun<'_>,
        names: &[String],
        machine: &mut Machine,
        log: &mut File,
    ) -> Result<Results> {
        let mut passed = Vec::new();
        let status = self.tell(machine, names, 2, SUITE, log, |line| {
            // A child of another test may have written before it.
            let named = |name: &&String| line.ends_with(&format!("test {name} ... ok"));
            passed.extend(names.iter().find(named).cloned());
        })?;
        let mut results = Results::default();
        let suite = names.first().and_then(|name| name.split("::").next());
        for name in names {
            if status == 0 || passed.contains(name) {
                results.passed += 1;
                continue;
            }
            let again = self.tell(machine, std::slice::from_ref(name), 1, ALONE, log, |_| {})?;
            let named = format!("{place} {name}");
            if again == 0 {
                results.passed += 1;
                results.flaky.push(named);
            } else {
                results.failed.push(named);
            }
        }
        let failed = results.failed.len();
        say(&format!(
            "{place} {}: {} passed, {failed} failed",
            suite.unwrap_or_default(),
            results.passed
        ));
        if failed + results.flaky.len() > 0 {
            writeln!(log, "\nthe machine's journal:")?;
            let journal = "journalctl --no-pager --boot -o short-monotonic -n 3000";
            machine.tell(journal, SLACK, |line| drop(writeln!(log, "{line}")))?;
        }
        Ok(results)
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

impl std::fmt::Display for VmRun<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.kernel.name(), self.kind.name)
    }
}

/// Makes a disk that outlives a machine.
fn disk() -> Result<tempfile::NamedTempFile> {
    let disk = tempfile::NamedTempFile::new()
        .context("no disk can be made: set TMPDIR to a directory with room")?;
    disk.as_file().set_len(DISK)?;
    Ok(disk)
}

fn disk_argument(disk: &Path) -> [String; 2] {
    let file = disk.display();
    [
        "-drive".to_owned(),
        format!("file={file},format=raw,if=virtio,cache=writeback"),
    ]
}

/// Opens a shell in a machine on this terminal; the machine is gone when the shell ends.
fn shell(args: &VmArgs, kind: &Kind) -> Result<()> {
    fit()?;
    let qemu = Qemu::obtain(args.emulate)?;
    let image = image(args.kernel.unwrap_or(Kernel::V6_12), kind.contents)?;
    let payload = payload::pack(args.released, false)?;
    let size = read(Command::new("sh").args(["-c", "stty size </dev/tty"]))
        .unwrap_or_else(|_| "24 80".to_owned());
    let term = env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    let append = format!("guard.shell={},{term}", size.trim().replace(' ', ","));
    say(
        "root's shell in the machine, without a network; `exit` ends both; its package is /payload/packages/guard.deb",
    );
    let disk = disk()?;
    qemu.boot(|| {
        let mut qemu = qemu.machine(&image, kind, &payload, &append);
        qemu.args(disk_argument(disk.path()));
        qemu.args(["-chardev", "stdio,id=console,signal=off"]);
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
        which("apt-get").is_some() && which("dpkg-deb").is_some(),
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
    if !Path::new(machine::KEYRING).exists() {
        install::apt_install(&["debian-archive-keyring"], "it signs Debian's packages")?;
    }
    Ok(())
}
