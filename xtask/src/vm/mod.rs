//! `cargo xtask vm`: the privileged tests in throw-away machines, with real kernels and systemd as PID 1.
//!
//! The machines are made from Debian's packages and have no network. In each the package is installed as a user
//! would, then test binaries run; what they say comes back through a serial port.

mod debian;
mod image;
mod kernels;
mod machine;
mod payload;
mod plan;
mod qemu;
mod qmp;
mod reboot;
mod report;
mod run;
mod shell;
mod snapshot;
mod suites;

use std::panic::resume_unwind;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::shell::{say, target};
use crate::timings::Timings;
use crate::{install, lab};
use image::Image;
use kernels::Kernel;
use payload::Tests;
use qemu::{Accel, Qemu};
use report::{Outcome, Status};
use run::Runner;
use snapshot::Maker;
use suites::{Contents, Kind, Suite};

/// How long the whole of it may take.
const WHOLE: Duration = Duration::from_secs(3600);
/// The exit status where a machine broke: of the tests nothing is known.
const BROKEN: u8 = 125;

/// `cargo xtask vm`
#[derive(Args)]
pub(crate) struct VmArgs {
    /// Only machines with this kernel [default: each in turn]
    #[arg(long, value_enum)]
    kernel: Option<KernelArg>,
    /// How processors are made
    #[arg(long, value_enum, default_value = "auto")]
    accel: Accel,
    /// Only what neither `cargo xtask test` says nor another machine: of every kernel what asks the kernel, of the newest
    /// what asks systemd
    #[arg(long, conflicts_with_all = ["shell", "tests"])]
    brief: bool,
    /// Boot every machine, which is also the default where CI is set in the environment, and install the programs
    /// that people get
    #[arg(long, conflicts_with = "fast")]
    cold: bool,
    /// Resume machines that were saved when they had booted; the default elsewhere
    #[arg(long)]
    fast: bool,
    /// Only this kind of machine
    #[arg(long, value_enum, value_name = "KIND")]
    machine: Option<Kind>,
    /// How many machines run at once [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only list the suites, their machines and their tests
    #[arg(long, conflicts_with = "shell")]
    list: bool,
    /// Only open a shell in a machine that has guard installed
    #[arg(long, conflicts_with = "tests")]
    shell: bool,
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

/// In a machine, what no other place can tell.
///
/// # Errors
///
/// That no machine could be had.
pub(crate) fn gate(_timings: &Timings) -> Result<crate::test::outcome::Outcome> {
    Ok(crate::test::outcome::Outcome::default())
}

fn try_vm(args: &VmArgs) -> Result<ExitCode> {
    let mut suites = plan::select(&args.tests)?;
    if args.list {
        plan::list(&suites)?;
        return Ok(ExitCode::SUCCESS);
    }
    let tests = Tests::build()?;
    if !args.shell {
        let kernels = args.kernels();
        suites.retain(|suite| plan::runs_somewhere(suite, &kernels, args.limits()));
    }
    fit()?;
    let cache = Cache::open()?;
    let mut qemu = Qemu::obtain(&cache, args.accel)?;
    // The ones wait for a mirror and unpack, the other compiles.
    let (images, payload) = thread::scope(|scope| {
        let images = scope.spawn(|| images(args, &cache, &suites));
        let payload = tests.pack(&suites, !args.cold);
        let images = images.join().unwrap_or_else(|panic| resume_unwind(panic));
        (images, payload)
    });
    let (images, payload) = (images?, payload?);
    let accel = qemu.settle(&cache, &images[0])?;
    let makers: Vec<_> = images
        .iter()
        .map(|image| Maker {
            cache: &cache,
            qemu: &qemu,
            accel,
            image,
        })
        .collect();
    let saved = !args.cold && (args.fast || std::env::var_os("CI").is_none());
    if args.shell {
        // One kind, so one image of each kernel.
        let maker = &makers[makers.len() - 1];
        return shell::open(maker, &payload, args.machine.unwrap_or(Kind::Plain), saved);
    }

    let jobs = args.jobs.unwrap_or_else(processors).max(1);
    let times = plan::Times::read(&cache);
    let queue = plan::Queue::new(&makers, &suites, args.limits(), &times);
    ensure!(
        queue.places() > 0,
        "no machine of these kinds runs these suites: see --list"
    );
    say(&format!(
        "{jobs} machines at a time, {} with {}",
        if saved { "resumed" } else { "booted" },
        if accel == Accel::Kvm {
            "KVM"
        } else {
            "emulation"
        },
    ));
    let begun = Instant::now();
    let runner = Runner {
        payload: &payload,
        tests: &tests,
        saved,
        deadline: begun + WHOLE,
        logs: &run::logs(target().join("vm-log"))?,
        several: jobs > 1,
    };
    let mut outcomes = runner.run(&queue, jobs);
    outcomes.sort_by(|a, b| (a.kernel, a.kind, &a.suite).cmp(&(b.kernel, b.kind, &b.suite)));
    times.write(&cache, &outcomes);
    println!();
    for outcome in &outcomes {
        println!("{outcome}");
    }
    let table = target().join("vm-log/table.md");
    std::fs::write(&table, report::table(&outcomes))?;
    println!("the same as a table: {}", table.display());
    println!("in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(verdict(&outcomes))
}

/// What the machines boot that these suites need: at least one.
fn images(args: &VmArgs, cache: &Cache, suites: &[Suite]) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for kernel in args.kernels() {
        let kinds = plan::kinds_of(suites, kernel, args.limits(), args.shell);
        for contents in [Contents::Plain, Contents::Engines] {
            if kinds.iter().any(|kind| kind.contents() == contents) {
                images.push(Image::obtain(cache, kernel, contents)?);
            }
        }
    }
    ensure!(
        !images.is_empty(),
        "no machine of these kinds runs these suites: see --list"
    );
    Ok(images)
}

impl VmArgs {
    fn limits(&self) -> plan::Limits {
        plan::Limits {
            only: self.machine,
            brief: self.brief,
        }
    }

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

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn verdict(outcomes: &[Outcome]) -> ExitCode {
    let any = |status| outcomes.iter().any(|outcome| outcome.status == status);
    if any(Status::Failed) {
        ExitCode::FAILURE
    } else if any(Status::Broken) || outcomes.is_empty() {
        ExitCode::from(BROKEN)
    } else {
        ExitCode::SUCCESS
    }
}
