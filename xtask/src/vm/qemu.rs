//! The emulator: which one, with what arguments, and whether this machine can do better than emulate.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::debian::Debian;
use super::disk::Disk;
use super::image::Image;
use crate::cache::{self, Cache};
use crate::shell::{read, say, which};

const NAME: &str = "qemu-system-x86_64";
/// Older ones corrupt emulated machines now and then: they translate code that another processor changes
/// ("accel/tcg: Always lock pages before translation").
const VERSION: (u32, u32) = (8, 1);
/// Where a newer one comes from; it runs from where it is unpacked, with its own libraries.
const RELEASE: &str = "trixie";
const PACKAGE: &str = "qemu-system-x86";
/// How long a kernel may take to say its first words, where KVM works.
const PROBE: Duration = Duration::from_secs(8);

/// How a machine's processor is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Accel {
    /// KVM where a machine was seen to boot with it, else emulation
    Auto,
    /// The kernel's virtualisation
    Kvm,
    /// Emulation: slower, and works everywhere
    Tcg,
}

/// A program that runs machines.
pub(super) struct Qemu {
    command: Vec<OsString>,
    pub(super) version: String,
    accel: Accel,
}

impl Qemu {
    /// The one on PATH if it is recent enough, else Debian's, unpacked in the cache.
    pub(super) fn obtain(cache: &Cache, accel: Accel) -> Result<Self> {
        let mut qemu = Self {
            command: vec![NAME.into()],
            version: String::new(),
            accel,
        };
        let on_path = which(NAME).and_then(|_| qemu.ask_version().ok());
        if !is_recent(on_path.as_deref()) {
            qemu.command = unpacked(cache)?;
        }
        qemu.version = qemu.ask_version()?;
        Ok(qemu)
    }

    fn ask_version(&self) -> Result<String> {
        let text = read(self.program().arg("--version"))?;
        let first = text.lines().next().context("qemu tells no version")?;
        Ok(first.to_owned())
    }

    fn program(&self) -> Command {
        let mut program = Command::new(&self.command[0]);
        program.args(&self.command[1..]);
        program
    }

    /// Settles for KVM or emulation: a /dev/kvm may be there and abort, or hang.
    pub(super) fn settle(&mut self, cache: &Cache, image: &Image) -> Result<Accel> {
        if self.accel == Accel::Auto {
            let why = why_not(Path::new("/dev/kvm"), || self.kvm_works(cache, image))?;
            self.accel = if why.is_none() {
                Accel::Kvm
            } else {
                Accel::Tcg
            };
            if let Some(why) = why {
                say(&format!(
                    "{why}: machines are emulated, and their tests wait longer"
                ));
            }
        }
        Ok(self.accel)
    }

    /// What a probe found since this machine started, with this qemu and that kernel.
    fn kvm_works(&self, cache: &Cache, image: &Image) -> Result<bool> {
        let key = cache::key(&[
            &fs::read("/proc/sys/kernel/random/boot_id")?,
            self.version.as_bytes(),
            image.key.as_bytes(),
        ])?;
        let probe = cache.entry("kvm", &key, |dir| {
            Ok(fs::write(
                dir.join("works"),
                self.kvm_boots(&image.vmlinuz, PROBE)?.to_string(),
            )?)
        })?;
        Ok(fs::read_to_string(probe.join("works"))? == "true")
    }

    /// Whether a kernel gets past its first instructions.
    fn kvm_boots(&self, vmlinuz: &Path, limit: Duration) -> Result<bool> {
        let said = Disk::new(0)?;
        let mut probe = self.machine(Accel::Kvm, vmlinuz, 256);
        probe
            .args(["-append", "earlyprintk=ttyS0 panic=-1"])
            .args(["-serial", &format!("file:{}", said.path().display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = probe.spawn().context("cannot start qemu")?;
        let deadline = Instant::now() + limit;
        let speaks = loop {
            let text = fs::read(said.path())?;
            if String::from_utf8_lossy(&text).contains("Linux version") {
                break true;
            }
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                break false;
            }
            thread::sleep(Duration::from_millis(50));
        };
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()?;
        Ok(speaks)
    }

    /// What every machine has; nothing of it leads to this machine's disks or network.
    pub(super) fn machine(&self, accel: Accel, vmlinuz: &Path, memory: u32) -> Command {
        // A second processor makes an emulated boot slower, not faster. So does one with wide vectors, which the C
        // library would use for whatever it copies: without them a start of guardd takes three quarters of the time.
        let (accel, cpu, processors) = match accel {
            Accel::Kvm => ("kvm", "host", "2"),
            Accel::Tcg | Accel::Auto => ("tcg,thread=multi", "Nehalem,+rdrand", "1"),
        };
        // It ends with the thread that started it, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.command);
        command
            .args(["-M", "q35", "-accel", accel, "-cpu", cpu])
            .args(["-smp", processors, "-m", &memory.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-nic", "none", "-no-reboot", "-kernel"])
            .arg(vmlinuz);
        command
    }
}

/// Why machines cannot have that device's processors; none where they can, which `works` tries.
fn why_not(device: &Path, works: impl FnOnce() -> Result<bool>) -> Result<Option<String>> {
    let opened = fs::File::options().read(true).write(true).open(device);
    let device = device.display();
    Ok(match opened {
        Err(why) => Some(format!("{device} cannot be opened ({why})")),
        Ok(_) if works()? => None,
        Ok(_) => Some(format!("{device} is there, but no kernel boots with it")),
    })
}

/// Whether the emulator of this machine, by what it says of its version, can be used; none: there is none.
fn is_recent(version: Option<&str>) -> bool {
    version.and_then(numbers) >= Some(VERSION)
}

fn unpacked(cache: &Cache) -> Result<Vec<OsString>> {
    let debian = Debian::open(cache, RELEASE)?;
    let key = cache::key(&[debian.release()?, PACKAGE.into()])?;
    let tree = cache.entry("qemu", &key, |dir| {
        say(&format!(
            "unpacking the {PACKAGE} of Debian {RELEASE}: emulated machines need {}.{} or later",
            VERSION.0, VERSION.1
        ));
        debian.unpack(PACKAGE, true, dir)
    })?;
    let usr = tree.join("usr");
    Ok(vec![
        usr.join("lib64/ld-linux-x86-64.so.2").into(),
        "--library-path".into(),
        usr.join("lib/x86_64-linux-gnu").into(),
        usr.join("bin").join(NAME).into(),
        "-L".into(),
        usr.join("share/qemu").into(),
        "-L".into(),
        usr.join("share/seabios").into(),
    ])
}

/// The first two numbers behind "version".
fn numbers(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("version ")?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_emulators_are_told_from_new_ones() {
        let old = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)";
        let new = "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)";
        assert!(!is_recent(Some(old)));
        assert!(is_recent(Some(new)));
        assert!(is_recent(Some("QEMU emulator version 8.1.0")));
        // One that says nothing, and none.
        assert!(!is_recent(Some("")));
        assert!(!is_recent(None));
    }

    #[test]
    fn without_kvm_it_is_said_why() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (none, device) = (dir.path().join("none"), dir.path().join("kvm"));
        let why = why_not(&none, || panic!("nothing is tried"))?;
        let why = why.context("there is one")?;
        assert!(why.contains("none cannot be opened (No such file"), "{why}");
        fs::write(&device, "")?;
        let why = why_not(&device, || Ok(false))?.context("it works")?;
        assert!(
            why.ends_with("is there, but no kernel boots with it"),
            "{why}"
        );
        assert_eq!(why_not(&device, || Ok(true))?, None);
        Ok(())
    }

    #[test]
    fn kvm_works_where_a_kernel_says_its_first_words() -> Result<()> {
        let dir = tempfile::tempdir()?;
        // Where its serial port leads is behind `-serial file:`.
        let find = "for arg; do case $arg in file:*) out=${arg#file:};; esac; done\n";
        let boots = |does: &str, limit| {
            let script = dir.path().join("qemu");
            fs::write(&script, format!("{find}{does}\n"))?;
            let qemu = Qemu {
                command: vec!["sh".into(), script.into()],
                version: String::new(),
                accel: Accel::Auto,
            };
            qemu.kvm_boots(Path::new("vmlinuz"), limit)
        };
        let long = Duration::from_secs(600);
        assert!(boots(
            "echo 'Linux version 6.12' >\"$out\"; exec sleep 600",
            long
        )?);
        // One that aborts, and one that hangs.
        assert!(!boots("exit 134", long)?);
        assert!(!boots("exec sleep 600", Duration::from_millis(50))?);
        Ok(())
    }
}
