//! The suite that outlives its machine.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::disk::Disk;
use super::machine::{Console, Machine};
use super::plan::MachineSpec;
use super::report::{SuiteStatus, TestsOutcome};
use super::run::{Log, Runner, install};
use super::suites::Suite;

/// Sparse; the root file system takes a tenth of it.
const SIZE: u64 = 4 << 30;
/// How long a machine may take to go down in good order.
const SHUTDOWN: Duration = Duration::from_secs(120);

/// Tests whose names begin with this run when the package was just installed,
const BEFORE: &str = "before::";
/// and these after each boot that follows: one after a reboot, one after the power was cut.
const AFTER: &str = "after::";

pub(super) fn run(
    runner: &Runner<'_>,
    place: MachineSpec<'_>,
    suite: &Suite,
    log: &mut Log,
) -> Result<TestsOutcome> {
    let disk = Disk::new(SIZE)?;
    let disk = disk.path();
    let mut sum = TestsOutcome::default();

    log.line("first boot");
    let mut machine = boot(runner, place, suite, &disk)?;
    install(&mut machine)?;
    let mut phase = |machine: &mut Machine, name: &str, log: &mut Log| -> Result<()> {
        let suite = Suite {
            name: suite.name.clone(),
            filters: vec![name.to_owned()],
            within: &[],
            without: &[],
        };
        let tests = runner.tests(machine, place.maker.accel, &suite, log)?;
        if tests.status() == SuiteStatus::Failed {
            runner.journal(machine, log)?;
        }
        sum.add(tests);
        Ok(())
    };
    phase(&mut machine, BEFORE, log)?;

    log.line("reboot");
    machine.write("systemctl reboot")?;
    machine.ended(SHUTDOWN)?;
    drop(machine);
    let mut machine = boot(runner, place, suite, &disk)?;
    phase(&mut machine, AFTER, log)?;
    if runner.is_brief {
        return Ok(sum);
    }

    log.line("the power is cut");
    machine.must("sync", SHUTDOWN)?;
    drop(machine);
    let mut machine = boot(runner, place, suite, &disk)?;
    phase(&mut machine, AFTER, log)?;
    Ok(sum)
}

fn boot(
    runner: &Runner<'_>,
    place: MachineSpec<'_>,
    suite: &Suite,
    disk: &Path,
) -> Result<Machine> {
    let console = runner.console(place, suite);
    let payload = &runner.payload.path();
    place
        .maker
        .boot(place.kind, payload, Some(disk), &Console::File(&console))
}
