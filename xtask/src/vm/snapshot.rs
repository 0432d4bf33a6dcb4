//! Machines that start: booted, or resumed from where one was saved when it had booted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::image::Image;
use super::machine::{BOOT, Console, Machine};
use super::payload::DISK;
use super::qemu::{Accel, Qemu};
use super::suites::Kind;
use crate::cache::{self, Cache};
use crate::shell::say;

/// How long saving or resuming may take.
const MOVE: Duration = Duration::from_secs(60);

/// What machines of one kernel are made from.
pub(super) struct Maker<'a> {
    pub(super) cache: &'a Cache,
    pub(super) qemu: &'a Qemu,
    pub(super) accel: Accel,
    pub(super) image: &'a Image,
}

impl Maker<'_> {
    /// Starts a machine of a kind that reads `payload`, and waits until it takes commands. A disk is one
    /// that is to outlive it.
    pub(super) fn boot(
        &self,
        kind: Kind,
        payload: &Path,
        disk: Option<&Path>,
        console: &Console,
    ) -> Result<Machine> {
        let mut qemu = self.machine(kind, payload);
        if let Some(disk) = disk {
            qemu.arg("-drive");
            qemu.arg(format!(
                "file={},format=raw,if=virtio,cache=writeback",
                disk.display()
            ));
        }
        let mut machine = Machine::start(qemu, console)?;
        machine.ready()?;
        if let Some(command) = kind.prepare() {
            machine.must(command, BOOT)?;
        }
        unpack_payload(&mut machine)?;
        Ok(machine)
    }

    /// The same from a saved machine, which is saved first where there is none. One that does not go on is not tried again.
    pub(super) fn resume(&self, kind: Kind, payload: &Path, console: &Console) -> Result<Machine> {
        let saved = self.saved(kind)?;
        let made = cache::made_at(&saved);
        let resumed = self.resume_from(&saved.join("state"), kind, payload, console);
        if resumed.is_err() {
            say(&format!(
                "the machine in {} does not go on: the next one is saved anew",
                saved.display()
            ));
            // Others resume from it, too: the first whose machine does not go on has it saved again for all.
            let of = self.kind_in_cache(kind);
            self.cache.discard(&of, &saved, made)?;
        }
        let mut machine = resumed?;
        unpack_payload(&mut machine)?;
        Ok(machine)
    }

    fn resume_from(
        &self,
        state: &Path,
        kind: Kind,
        payload: &Path,
        console: &Console,
    ) -> Result<Machine> {
        let mut qemu = self.machine(kind, payload);
        qemu.args(["-incoming", &format!("exec:cat '{}'", state.display())]);
        let mut machine = Machine::start(qemu, console)?;
        wait_for(
            &mut machine,
            "query-status",
            &["paused", "running", "postmigrate"],
        )?;
        machine.qmp()?.ask("cont", &json!({}))?;
        // It believes that no time has passed, and would draw the same random numbers each time.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let seed: [u8; 32] = {
            let mut seed = [0; 32];
            std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut seed)?;
            seed
        };
        let seed: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        let command = format!(
            "date -s @{} >/dev/null; echo {seed} >/dev/urandom",
            now.as_secs()
        );
        machine.must(&command, MOVE)?;
        Ok(machine)
    }

    /// What the cache calls saved machines of a kind.
    fn kind_in_cache(&self, kind: Kind) -> String {
        format!("saved-{}-{}", self.image.kernel.name(), kind.name())
    }

    /// The directory with the saved machine. It fits the same emulator, processor, memory and devices only.
    fn saved(&self, kind: Kind) -> Result<PathBuf> {
        let arguments = format!("{:?}", self.machine(kind, Path::new("payload")));
        let prepare = kind.prepare().unwrap_or_default();
        let disk = DISK.to_string();
        let key = cache::key(&[
            self.image.key.as_str(),
            self.qemu.version.as_str(),
            arguments.as_str(),
            disk.as_str(),
            prepare,
        ])?;
        let entry = self.kind_in_cache(kind);
        self.cache.entry(&entry, &key, |dir| {
            say(&format!("saving a booted machine ({entry})"));
            self.save(kind, dir)
        })
    }

    fn save(&self, kind: Kind, dir: &Path) -> Result<()> {
        let (empty, console) = (dir.join("empty"), dir.join("console"));
        File::create(&empty)?.set_len(DISK)?;
        let console = Console::File(&console);
        let qemu = self.machine(kind, &empty);
        let mut machine = Machine::start(qemu, &console)?;
        machine.ready()?;
        if let Some(command) = kind.prepare() {
            machine.must(command, BOOT)?;
        }
        let qmp = machine.qmp()?;
        qmp.ask("stop", &json!({}))?;
        qmp.ask(
            "migrate-set-parameters",
            &json!({ "max-bandwidth": 1_u64 << 34 }),
        )?;
        // It has its name once all of it is written: qemu may be done before.
        let (state, part) = (dir.join("state"), dir.join("state.part"));
        let uri = format!(
            "exec:cat >'{part}' && mv '{part}' '{state}'",
            part = part.display(),
            state = state.display()
        );
        qmp.ask("migrate", &json!({ "uri": uri }))?;
        wait_for(&mut machine, "query-migrate", &["completed"])?;
        wait_until_there(&state)?;
        fs::remove_file(&empty)?;
        Ok(())
    }

    fn machine(&self, kind: Kind, payload: &Path) -> Command {
        let mut qemu = self
            .qemu
            .machine(self.accel, &self.image.vmlinuz, kind.memory());
        // Nothing in it is to be kept from anything else, by what real processors do wrong or by what was freed.
        let append = format!(
            "console=ttyS0 panic=-1 quiet audit=0 mitigations=off init_on_alloc=0 systemd.show_status=0 {}",
            kind.append()
        );
        qemu.arg("-initrd").arg(&self.image.initrd);
        qemu.args(["-append", append.as_str(), "-drive"]);
        qemu.arg(format!(
            "file={},format=raw,if=virtio,readonly=on",
            payload.display()
        ));
        qemu
    }
}

fn unpack_payload(machine: &mut Machine) -> Result<()> {
    // Past the cache: a saved machine may have looked at the disk that was there then.
    let command = "mkdir -p /payload && dd if=/dev/vda bs=1M iflag=direct status=none | \
                   tar -C /payload -xf -";
    machine
        .must(command, BOOT)
        .context("the payload cannot be unpacked")
}

fn wait_until_there(file: &Path) -> Result<()> {
    let deadline = Instant::now() + MOVE;
    while !file.exists() {
        ensure!(
            Instant::now() < deadline,
            "{} was not written",
            file.display()
        );
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks until the status is one of `wanted`.
fn wait_for(machine: &mut Machine, question: &str, wanted: &[&str]) -> Result<()> {
    let deadline = Instant::now() + MOVE;
    loop {
        let answer = machine.qmp()?.ask(question, &json!({}))?;
        let status = answer["status"].as_str().unwrap_or_default();
        if wanted.contains(&status) {
            return Ok(());
        }
        if status == "failed" || status == "internal-error" {
            bail!("qemu could not save or resume the machine: {answer}");
        }
        ensure!(
            Instant::now() < deadline,
            "qemu takes too long: {question} says {status}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}
