//! `cargo xtask vm`: the privileged tests in throw-away machines, with real kernels and systemd as PID 1.
//!
//! The machines are made from Debian's packages and have no network. In each the package is installed as a user
//! would, then test binaries run; what they say comes back through a serial port.

mod debian;
mod disk;
mod heard;
mod image;
mod kernels;
mod list;
mod machine;
mod matrix;
mod passed;
mod payload;
mod plan;
mod qemu;
mod qmp;
mod reboot;
mod report;
mod run;
mod shell;
mod snapshot;
mod sources;
mod suites;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cache::{self, Cache};
use crate::checkout::Checkout;
use crate::shell::{beside, say, target};
use crate::test::outcome::Outcome;
use crate::timings::Timings;
use crate::{build, dependencies, install, lab, room};
use image::Image;
use kernels::Kernel;
pub(crate) use matrix::{
    DOCUMENT as MATRIX_DOCUMENT, FILE as MATRIX_FILE, today, write as write_whole,
};
use matrix::{Matrix, Writer};
use passed::PassedRecord;
use payload::{Payload, Programs, TestsProgram};
use plan::{Cell, Shard};
use qemu::{Accel, Qemu};
use report::Ran;
pub(crate) use run::TestRecord;
use run::{Runner, Talk};
use snapshot::Maker;
use suites::{Contents, Kind, Suite};

/// How long the whole of it may take, on two processors without KVM.
const WHOLE: Duration = Duration::from_secs(3 * 3600);
/// How long the gate's part may take, on a slow and busy machine.
const GATE: Duration = Duration::from_secs(20 * 60);
/// How many machines the gate has at once: one boots again for `reboot`, then helps the other, which does all else.
const GATE_MACHINES: usize = 2;
/// The exit status where a machine broke: of the tests nothing is known.
const BROKEN: u8 = 125;
/// Where the logs are, below `target`; those of the gate in a directory of their own there.
const LOGS: &str = "vm-log";
const OF_THE_GATE: &str = "gate";
/// What has to be free for the cache, in MiB, where it has no saved machine, and where it has one: root file systems, kernels,
/// and a saved machine of each kind; and for the disks of machines that run.
const FOR_CACHE: u64 = 4096;
const FOR_MORE_CACHE: u64 = 1024;
const FOR_DISKS: u64 = 2048;

/// `cargo xtask vm`
#[derive(Args)]
pub(crate) struct VmArgs {
    /// Only machines with this kernel [default: each in turn]
    #[arg(long, value_enum)]
    kernel: Option<KernelArg>,
    /// How processors are made
    #[arg(long, value_enum, default_value = "auto")]
    accel: Accel,
    /// Boot every machine instead of resuming one that was saved when it had booted, and install the packages that people
    /// get
    #[arg(long)]
    cold: bool,
    /// Only this kind of machine
    #[arg(long, value_enum, value_name = "KIND")]
    machine: Option<Kind>,
    /// Only what `cargo xtask test --gate` runs in machines
    #[arg(long, conflicts_with_all = ["cold", "kernel", "list", "machine", "missing", "resume", "shard", "shell", "tests", "write"])]
    gate: bool,
    /// How many machines run at once [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only list the suites, their machines and how many tests they have
    #[arg(long, conflicts_with_all = ["shell", "missing", "resume", "write", "shard"])]
    list: bool,
    /// Leave out what has passed at this commit, with these programs
    #[arg(long)]
    resume: bool,
    /// Only one of N parts, which are about as long as each other: 1/3
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Only open a shell in a machine that has guard installed: you are root, with no user account beside (`useradd
    /// --create-home NAME` makes one) and no network; the package is /payload/packages/guard.deb
    #[arg(long, conflicts_with_all = ["tests", "missing", "resume", "write", "shard"])]
    shell: bool,
    /// Only measure this group of figures of `cargo xtask bench` in a machine; may be given more than once
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tests", "missing", "resume", "write", "shard", "shell"])]
    bench: Vec<String>,
    /// Leave out what docs/kernels.md says has passed, at whichever commit
    #[arg(long)]
    missing: bool,
    /// Write whole suites that passed into docs/kernels.md, with the commit, and take out those that did not; refused where
    /// files differ from the commit
    #[arg(long)]
    write: bool,
    /// Only these: SUITE, or SUITE::FILTER for tests whose names contain FILTER [default: all]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
}

/// A kernel or all of them.
#[derive(Clone, Copy, clap::ValueEnum)]
enum KernelArg {
    /// Debian 12, systemd 252
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13, systemd 257
    #[value(name = "6.12")]
    V6_12,
    /// Each in turn
    All,
}

/// What machines are made with, and the packages that it is in.
const PROGRAMS: [(&str, &str); 7] = [
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("find", "findutils"),
    ("mmdebstrap", "mmdebstrap"),
    ("setpriv", "util-linux"),
    ("strip", "binutils"),
    ("tar", "tar"),
];

/// Runs tests in machines; the exit status tells how that went.
pub(crate) fn vm(args: &VmArgs) -> ExitCode {
    match try_vm(args) {
        Ok(code) => code,
        Err(problem) => {
            say(&format!("{problem:#}"));
            ExitCode::from(BROKEN)
        }
    }
}

/// In machines, what no other place can tell, of what is built.
///
/// # Errors
///
/// That no machine could be had.
pub(crate) fn gate(timings: &Timings) -> Result<Outcome> {
    let begun = Instant::now();
    let newest = Kernel::ALL[Kernel::ALL.len() - 1];
    let cells = plan::of_the_gate(newest);
    let tests = TestsProgram::built()?;
    fit()?;
    let cache = Cache::open()?;
    let (made, payload) = timings.stage("machine: image and package", || {
        made(&cache, Accel::Auto, &cells, &tests, Programs::Developers)
    })?;
    let logs = target().join(LOGS).join(OF_THE_GATE);
    let _lock = alone(&logs)?;
    let runner = Runner {
        payload: &payload,
        tests: &tests,
        saved: true,
        deadline: begun + GATE,
        logs: &logs,
        talk: Talk::Nothing,
        is_brief: true,
        record: None,
        writer: None,
        each: None,
    };
    let makers = made.makers(&cache);
    let queue = plan::Queue::new(&makers, &cells, &plan::Times::of_the_gate(newest));
    let all = timings.stage("machine: tests", || Ok(runner.run(&queue, GATE_MACHINES)))?;
    for ran in &all {
        for (name, seconds) in ran.tests.iter().flat_map(|tests| &tests.passed) {
            timings.test(&format!("{} (machine)", ran.suite), name, *seconds);
        }
    }
    Ok(report::sum(all))
}

/// The names of the tests in a suite, as its sources have them.
///
/// # Errors
///
/// That those cannot be read.
pub(crate) fn tests_in(suite: &str) -> Result<Vec<String>> {
    sources::tests_in(suite)
}

/// Builds the program with the suites, and says where it is.
///
/// # Errors
///
/// That it cannot be built.
pub(crate) fn build_suites() -> Result<PathBuf> {
    Ok(TestsProgram::build()?.into_path())
}

/// Runs some in machines with the newest kernel. `each` gets what came of each as soon as that is known.
///
/// # Errors
///
/// That no machine could be had.
pub(crate) fn these(tests: Vec<String>, each: Option<&dyn TestRecord>) -> Result<Outcome> {
    let args = VmArgs {
        kernel: Some(KernelArg::V6_12),
        accel: Accel::Auto,
        cold: false,
        machine: None,
        gate: false,
        jobs: None,
        list: false,
        resume: false,
        shard: None,
        shell: false,
        bench: Vec::new(),
        missing: false,
        write: false,
        tests,
    };
    let suites = plan::select(&args.tests)?;
    let mut cells = plan::cells(&suites, &args.kernels(), args.machine);
    let tests = TestsProgram::build()?;
    leave_out_empty(&mut cells, &tests)?;
    fit()?;
    let cache = Cache::open()?;
    let logs = target().join(LOGS);
    let _lock = alone(&logs)?;
    let records = Records {
        each,
        ..Records::default()
    };
    Ok(report::sum(run(
        &args, &cache, &cells, &tests, &logs, records,
    )?))
}

fn try_vm(args: &VmArgs) -> Result<ExitCode> {
    let suites = plan::select(&args.tests)?;
    if args.list {
        list::print(&suites)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.shell || !args.bench.is_empty() {
        return by_hand(args);
    }
    let outcome = if args.gate {
        TestsProgram::build()?;
        let timings = Timings::begin();
        let outcome = gate(&timings)?;
        timings.end()?;
        outcome
    } else {
        cells_of(args, &suites)?
    };
    outcome.print();
    Ok(verdict(&outcome))
}

/// Runs these suites in each machine that they are for.
fn cells_of(args: &VmArgs, suites: &[Suite]) -> Result<Outcome> {
    // A part that somebody asks for says nothing about the whole suite.
    let is_whole = args.tests.iter().all(|test| !test.contains("::"));
    ensure!(
        is_whole || !(args.write || args.missing),
        "--write and --missing are for whole suites: leave out what follows ::"
    );
    // Said before hours have passed: each row that is written names one commit.
    let commit = if args.write {
        Some(Checkout::read()?.commit_for(MATRIX_FILE)?)
    } else {
        None
    };
    let mut cells = plan::cells(suites, &args.kernels(), args.machine);
    ensure!(
        !cells.is_empty(),
        "no machine of these kinds runs these suites: see `cargo xtask vm --list`"
    );
    if let Some(shard) = args.shard {
        cells = shard.share(cells);
    }
    let tests = TestsProgram::build()?;
    leave_out_empty(&mut cells, &tests)?;
    fit()?;
    let cache = Cache::open()?;
    let logs = target().join(LOGS);
    let _lock = alone(&logs)?;
    let record = PassedRecord::begin(&logs, tests.key()?, args.resume)?;
    let machines = plan::machines(&cells);
    let matrix = Matrix::read()?;
    if args.missing {
        cells.retain(|cell| !matrix.has(cell));
    }
    let all = cells.len();
    cells.retain(|cell| !(is_whole && record.has(cell)));
    let skipped = said_to_be_left_out(all - cells.len(), all, &record);
    let writer = match commit {
        Some(commit) => {
            let mut whole = plan::cells(&plan::select(&[])?, &Kernel::ALL, None);
            leave_out_empty(&mut whole, &tests)?;
            Some(Writer::new(matrix, whole, commit)?)
        }
        None => None,
    };
    let records = Records {
        passed: is_whole.then_some(&record),
        writer: writer.as_ref(),
        each: None,
    };
    let ran = if cells.is_empty() {
        Vec::new()
    } else {
        run(args, &cache, &cells, &tests, &logs, records)?
    };
    print_results(&ran, &logs, &record.table(&machines))?;
    let mut outcome = report::sum(ran);
    outcome.skipped = skipped + plan::left_out(&cells, &tests);
    Ok(outcome)
}

/// Prints what came of each cell, and where the list of what passed is.
fn print_results(ran: &[Ran], logs: &Path, passed: &str) -> Result<()> {
    println!();
    for ran in ran {
        println!("{ran}");
    }
    let table = logs.join("table.md");
    fs::write(&table, passed)?;
    println!("what passed, as a list: {}", table.display());
    Ok(())
}

/// How many tests the cells have that passed already, and are left out.
fn said_to_be_left_out(left_out: usize, all: usize, record: &PassedRecord) -> usize {
    if left_out == 0 {
        return 0;
    }
    say(&format!(
        "{left_out} of {all} have passed at this commit with these programs, and are left out"
    ));
    record.tests()
}

/// Without machines for which none of the tests is that were asked for.
fn leave_out_empty(cells: &mut Vec<Cell>, tests: &TestsProgram) -> Result<()> {
    cells.retain(|cell| !tests.wanted(&cell.suite).is_empty());
    ensure!(!cells.is_empty(), "no test has such a name");
    Ok(())
}

/// Where it is kept what came of suites and of tests.
#[derive(Clone, Copy, Default)]
struct Records<'a> {
    /// Of suites, for `--resume`,
    passed: Option<&'a PassedRecord>,
    /// and for the documents.
    writer: Option<&'a Writer>,
    /// Of each test.
    each: Option<&'a dyn TestRecord>,
}

/// Runs it, and keeps what passed.
fn run(
    args: &VmArgs,
    cache: &Cache,
    cells: &[Cell],
    tests: &TestsProgram,
    logs: &Path,
    records: Records<'_>,
) -> Result<Vec<Ran>> {
    let programs = if args.cold {
        Programs::Released
    } else {
        Programs::Developers
    };
    let (made, payload) = made(cache, args.accel, cells, tests, programs)?;
    let makers = made.makers(cache);
    let jobs = args.jobs.unwrap_or_else(processors).max(1);
    let times = plan::Times::read(cache);
    let queue = plan::Queue::new(&makers, cells, &times);
    let how = if args.cold { "booted" } else { "resumed" };
    say(&format!("{jobs} machines at a time, {how}"));
    let begun = Instant::now();
    let runner = Runner {
        payload: &payload,
        tests,
        saved: !args.cold,
        deadline: begun + WHOLE,
        logs,
        talk: if jobs > 1 { Talk::Several } else { Talk::All },
        is_brief: false,
        record: records.passed,
        writer: records.writer,
        each: records.each,
    };
    let mut all = runner.run(&queue, jobs);
    all.sort_by(|a, b| (a.kernel, a.kind, &a.suite).cmp(&(b.kernel, b.kind, &b.suite)));
    if records.passed.is_some() {
        times.write(cache, &all);
    }
    println!("in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(all)
}

/// A machine without tests: for a person, or to measure in.
fn by_hand(args: &VmArgs) -> Result<ExitCode> {
    // What is compiled here is less than all that the cache has.
    let _ = dependencies::restore()?;
    build::prepare()?;
    build::build_programs()?;
    let measures = !args.bench.is_empty();
    if measures {
        build::build_bench()?;
    }
    fit()?;
    let cache = Cache::open()?;
    let kernel = args.kernels().pop().unwrap_or(Kernel::V6_12);
    let kind = args.machine.unwrap_or(Kind::Plain);
    let programs = if args.cold {
        Programs::Released
    } else {
        Programs::Developers
    };
    let made = Made::obtain(&cache, args.accel, &[(kernel, kind.contents())])?;
    let payload = Payload::without_tests(programs, measures)?;
    let maker = &made.makers(&cache)[0];
    if measures {
        shell::measure(maker, &payload, kind, !args.cold, &args.bench)
    } else {
        shell::open(maker, &payload, kind, !args.cold)
    }
}

/// What machines are made from.
struct Made {
    qemu: Qemu,
    accel: Accel,
    /// At least one.
    images: Vec<Image>,
}

impl Made {
    fn obtain(cache: &Cache, accel: Accel, wanted: &[(Kernel, Contents)]) -> Result<Self> {
        let mut qemu = Qemu::obtain(cache, accel)?;
        let images = wanted
            .iter()
            .map(|(kernel, contents)| Image::obtain(cache, *kernel, *contents))
            .collect::<Result<Vec<_>>>()?;
        let first = images.first().context("no machine is wanted")?;
        let accel = qemu.settle(cache, first)?;
        Ok(Self {
            qemu,
            accel,
            images,
        })
    }

    fn makers<'a>(&'a self, cache: &'a Cache) -> Vec<Maker<'a>> {
        let maker = |image| Maker {
            cache,
            qemu: &self.qemu,
            accel: self.accel,
            image,
        };
        self.images.iter().map(maker).collect()
    }
}

/// What the machines boot, and what they run. The one waits for a mirror and unpacks, the other makes packages.
fn made(
    cache: &Cache,
    accel: Accel,
    cells: &[Cell],
    tests: &TestsProgram,
    programs: Programs,
) -> Result<(Made, Payload)> {
    let mut wanted: Vec<_> = cells
        .iter()
        .map(|cell| (cell.kernel, cell.kind.contents()))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let suites: Vec<Suite> = cells.iter().map(|cell| cell.suite.clone()).collect();
    let (payload, made) = beside(
        || tests.pack(&suites, programs),
        || Made::obtain(cache, accel, &wanted),
    );
    Ok((made?, payload?))
}

/// Lets nobody else in who would write the same logs, until it is dropped.
fn alone(logs: &Path) -> Result<File> {
    fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let waiting = format!(
        "waiting for another run in this clone, whose logs are in {}",
        logs.display()
    );
    cache::lock_file(&logs.join("lock"), &waiting)
}

impl VmArgs {
    fn kernels(&self) -> Vec<Kernel> {
        match self.kernel.unwrap_or(KernelArg::All) {
            KernelArg::V6_1 => vec![Kernel::V6_1],
            KernelArg::V6_12 => vec![Kernel::V6_12],
            KernelArg::All => Kernel::ALL.to_vec(),
        }
    }
}

/// Whether machines can be made here; obtains what that takes.
fn fit() -> Result<()> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the machines are x86-64, and what is built here would not run in them"
    );
    debian::fit()?;
    have_room()?;
    ensure!(
        crate::shell::is_root(),
        "making a root file system needs root: put `sudo -E env \"PATH=$PATH\"` before the command"
    );
    lab::obtain(&PROGRAMS, "machines for tests are made with it")?;
    if !std::path::Path::new(debian::KEYRING).exists() {
        install::apt_install(&["debian-archive-keyring"], "it signs Debian's packages")?;
    }
    Ok(())
}

/// Whether the disks have room.
fn have_room() -> Result<()> {
    let cache = Cache::open()?.path("");
    let entries = fs::read_dir(&cache)?.flatten();
    let is_filled = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("saved-");
    let wanted = if entries.into_iter().any(is_filled) {
        FOR_MORE_CACHE
    } else {
        FOR_CACHE
    };
    room::ensure_free(
        &cache,
        wanted,
        "what machines boot is kept there",
        "set GUARD_CACHE to a directory with room",
    )?;
    room::ensure_free(
        &std::env::temp_dir(),
        FOR_DISKS,
        "machines have their disks there",
        "set TMPDIR to a directory with room",
    )
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// 1 where a test failed, also where a machine broke as well.
fn verdict(outcome: &Outcome) -> ExitCode {
    if !outcome.failed.is_empty() {
        return ExitCode::FAILURE;
    }
    if !outcome.problems.is_empty() || outcome.ran() + outcome.skipped == 0 {
        return ExitCode::from(BROKEN);
    }
    match outcome.verdict() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&format!("{problem:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever opens a shell knows as whom it is, and what there is.
    #[test]
    fn the_help_says_what_a_shell_has() {
        let command = VmArgs::augment_args(clap::Command::new("vm"));
        let shell = command.get_arguments().find(|arg| arg.get_id() == "shell");
        let help = shell.and_then(clap::Arg::get_help).unwrap().to_string();
        let deb = format!("{}/guard.deb", payload::PACKAGES);
        for said in ["you are root", "no user account", "no network", &*deb] {
            assert!(help.contains(said), "{said}: {help}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_success() {
        let unknown = |failed: &[&str], problems: &[&str]| Outcome {
            passed: 1,
            failed: failed.iter().map(|&name| name.to_owned()).collect(),
            problems: problems.iter().map(|&name| name.to_owned()).collect(),
            ..Outcome::default()
        };
        let code = |outcome| format!("{:?}", verdict(&outcome));
        let is = |code: ExitCode| format!("{code:?}");
        assert_eq!(code(unknown(&[], &[])), is(ExitCode::SUCCESS));
        assert_eq!(code(unknown(&[], &["broken"])), is(ExitCode::from(BROKEN)));
        assert_eq!(code(unknown(&["a"], &["broken"])), is(ExitCode::FAILURE));
        assert_eq!(code(Outcome::default()), is(ExitCode::from(BROKEN)));
    }
}
