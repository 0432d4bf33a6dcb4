//! A machine: what it boots, the emulator, and what it is told.
//!
//! The root file system is an initramfs, not compressed: Debian's cloud kernels have no 9p, the older ones have virtio as modules, and
//! unpacking costs an emulated machine more than copying.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::suites::{Contents, Kernel, Kind};
use crate::cache;
use crate::shell::{read, run, say, which};
use crate::{install, tools};

/// Signs Debian's releases.
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";
/// Packages beside Debian's essential ones.
const PACKAGES: &str = "ca-certificates,curl,systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,e2fsprogs,iproute2,jq,kmod,\
                        logrotate,make,nftables,openssh-client,openssl,polkitd,procps,python3,rpm,socat,sudo,tmux,wget,xz-utils";
const ENGINES: &str =
    ",aardvark-dns,apparmor,busybox-static,catatonit,crun,docker.io,netavark,podman";
const ENGINES_AND_CLIENT: &str =
    ",aardvark-dns,apparmor,busybox-static,catatonit,crun,docker-cli,docker.io,netavark,podman";
/// What developers use, of Debian 13.
const TOOLS: &str = ",ccache,docker-cli,gcc,gdb,git,gnupg,kubernetes-client,libc6-dev,libnss-resolve,nodejs,openssh-server,podman,\
                     postgresql,python3-pip,python3-pytest-xdist,python3-venv,redis-server,redis-tools,screen,sqlite3,strace,\
                     systemd-resolved,uidmap";
/// A third of the whole that nothing here wants, and units that an emulated machine spends half of a boot on: devices and consoles above
/// all. systemd-resolved starts where a test wants it.
const LEFT_OUT: &str = "etc/dpkg/dpkg.cfg.d/99mmdebstrap usr/bin/containerd-shim usr/bin/containerd-shim-runc-v1 \
    usr/bin/containerd-stress usr/bin/ctr usr/lib/systemd/system-generators/systemd-[!d]* usr/libexec/podman/podman-testing \
    usr/lib/x86_64-linux-gnu/perl usr/share/perl var/cache/apt var/lib/apt/lists etc/systemd/system/*.wants/systemd-resolved* \
    etc/systemd/system/dbus-org.freedesktop.resolve1.service etc/systemd/system/getty.target.wants \
    etc/systemd/system/timers.target.wants usr/lib/systemd/system/apt-daily* usr/lib/systemd/system/dpkg-db-backup* \
    usr/lib/systemd/system/e2scrub* usr/lib/systemd/system/fstrim* usr/lib/systemd/system/initrd* \
    usr/lib/systemd/system/multi-user.target.wants/getty.target usr/lib/systemd/system/sockets.target.wants/systemd-resolved* \
    usr/lib/systemd/system/sockets.target.wants/systemd-udevd-* usr/lib/systemd/system/sysinit.target.wants/dev-* \
    usr/lib/systemd/system/sysinit.target.wants/kmod-* usr/lib/systemd/system/sysinit.target.wants/ldconfig* \
    usr/lib/systemd/system/sysinit.target.wants/systemd-[abfhmpru]* usr/lib/systemd/system/sysinit.target.wants/systemd-journal-* \
    usr/lib/systemd/system/sysinit.target.wants/systemd-tpm2* usr/lib/systemd/system/systemd-networkd* \
    usr/lib/systemd/system/systemd-pcr*";
/// Unpacks Debian's kernel into `$1`, and leaves it as `$2`. Drivers of what no machine here has are left out.
const KERNEL: &str = r#"
package=$(chroot "$1" apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
chroot "$1" sh -c "cd /tmp && apt-get -qq -o APT::Sandbox::User=root download $package"
dpkg-deb --fsys-tarfile "$1"/tmp/linux-image-*.deb | tar -x -C "$1" --keep-directory-symlink
mv "$1"/boot/vmlinuz-* "$2"
rm -rf "$1"/tmp/*.deb "$1"/boot/*
depmod --basedir "$1" "${package#linux-image-}"
"#;
/// Packs `$1` into `$2`, without what mmdebstrap puts there while it works.
const PACK: &str = r#"
ln -sf usr/lib/systemd/systemd "$1/init"
cd "$1" && find . -xdev \( -path './dev/*' -o -path ./usr/sbin/policy-rc.d \) -prune -o -print0 |
    cpio --null --create --format=newc --quiet >"$2"
"#;
/// Files that turn Debian's into a machine's, and their modes. The ID is set, so that no boot is the first.
const GUEST: [(&str, &str, u32); 10] = [
    ("etc/fstab", "", 0o644),
    ("etc/hostname", "guard-vm\n", 0o644),
    ("etc/hosts", "127.0.0.1 localhost guard-vm\n", 0o644),
    (
        "etc/machine-id",
        "0123456789abcdef0123456789abcdef\n",
        0o444,
    ),
    (
        "etc/systemd/system/vm.service",
        include_str!("guest/vm.service"),
        0o644,
    ),
    (
        "etc/systemd/system/vm.target",
        include_str!("guest/vm.target"),
        0o644,
    ),
    ("vm/agent", include_str!("guest/agent.sh"), 0o755),
    ("vm/install", include_str!("guest/install.sh"), 0o755),
    ("vm/init-bind", include_str!("guest/init-bind.sh"), 0o755),
    ("vm/init-disk", include_str!("guest/init-disk.sh"), 0o755),
];
/// mmdebstrap puts this machine's there. Nothing leads to this one.
const RESOLVER: &str = "nameserver 192.0.2.53\n";
/// Older emulators corrupt machines now and then: they translate code that another processor changes.
const QEMU: (&str, u32) = ("qemu-system-x86_64", 9);

/// The agent's words in a machine: it waits, or has ended something.
const READY: &str = "@vm ready";
const DONE: &str = "@vm done ";
/// Time limit of a boot, and of an installation.
const BOOT: Duration = Duration::from_secs(300);

/// Returns the directory of what machines of one kernel with the same contents boot. It is made in a minute or two, and anew each week, for
/// Debian's kernels change.
///
/// # Errors
///
/// That Debian's packages could not be had.
pub(super) fn image(kernel: Kernel, contents: Contents) -> Result<PathBuf> {
    let more = match (contents, kernel) {
        (Contents::Plain | Contents::Agent, _) => "",
        // Before, docker-cli was a part of docker.io.
        (Contents::Engines, Kernel::V6_12) => ENGINES_AND_CLIENT,
        (Contents::Engines, Kernel::V6_1) => ENGINES,
        (Contents::Tools, _) => TOOLS,
    };
    let packages = format!("{PACKAGES}{more}");
    let guest = GUEST.map(|(path, text, _)| format!("{path}\n{text}"));
    let name = format!("image-{}-{contents:?}", kernel.name()).to_lowercase();
    let program = tools::CLAUDE_CODE_PROGRAM;
    let made_from = [&cache::week()?, &packages, program, LEFT_OUT, KERNEL, PACK].join("\n");
    cache::entry(&name, &(made_from + &guest.concat()), |dir| {
        say(&format!(
            "making a root file system of Debian {}",
            kernel.codename()
        ));
        make(kernel, contents, &packages, dir)
    })
}

/// Makes `initrd` and `vmlinuz` in a directory. Whatever ends this program ends all of it, mounts included.
fn make(kernel: Kernel, contents: Contents, packages: &str, dir: &Path) -> Result<()> {
    let more = dir.join("more");
    for (path, text, mode) in GUEST
        .into_iter()
        .chain([("etc/resolv.conf", RESOLVER, 0o644)])
    {
        let path = more.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&more))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    match contents {
        Contents::Plain | Contents::Engines => {}
        Contents::Agent => {
            let why = "machines in which an agent runs have it";
            let modules = install::obtain_of_npm("agent", &[tools::CLAUDE_CODE_PROGRAM], why)?;
            let program = modules.join("node_modules/@anthropic-ai/claude-code-linux-x64/claude");
            run(Command::new("install")
                .arg("-D")
                .arg(program)
                .arg(more.join("usr/local/bin/claude")))?;
        }
        Contents::Tools => {
            let to = more.join("usr/local/lib/guard-tools/npm");
            fs::create_dir_all(&to)?;
            run(Command::new("cp")
                .arg("-a")
                .arg(tools::obtain_for_machines()?.join("node_modules"))
                .arg(to))?;
        }
    }
    let sites = read(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
        "Origin: Debian",
    ]));
    let sites = sites.unwrap_or_default();
    let site = sites
        .lines()
        .find(|site| !site.contains("security"))
        .unwrap_or(MIRROR);
    let mut mmdebstrap = Command::new("setpriv");
    mmdebstrap
        .env("TMPDIR", dir)
        .args(["--pdeathsig", "KILL", "--", "unshare", "--mount"])
        .args(["--pid", "--fork", "--kill-child", "--", "mmdebstrap"])
        .args(["--quiet", "--variant=minbase", "--components=main"])
        .args(["--format=null", "--aptopt=Acquire::Languages \"none\""])
        .arg(format!("--include={packages}"))
        .arg(format!("--keyring={KEYRING}"));
    for documents in ["doc", "info", "locale", "man"] {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{documents}/*"));
    }
    let hook = |script: &str, file: &str| {
        let script = script.replace("$2", &dir.join(file).display().to_string());
        format!("--customize-hook=set -e; {script}")
    };
    mmdebstrap.arg(hook(KERNEL, "vmlinuz"));
    mmdebstrap.arg(hook(
        &format!("cp -a \"$2/.\" \"$1\" && cd \"$1\" && rm -rf {LEFT_OUT}"),
        "more",
    ));
    mmdebstrap.arg(hook(PACK, "initrd"));
    run(mmdebstrap.args([kernel.codename(), "/dev/null", site]))?;
    if contents == Contents::Tools {
        // qemu takes no more than 2 GiB.
        let initrd = dir.join("initrd");
        run(Command::new("zstd")
            .args(["--quiet", "--rm", "-3"])
            .arg(&initrd))?;
        fs::rename(initrd.with_extension("zst"), initrd)?;
    }
    Ok(fs::remove_dir_all(more)?)
}

/// The emulator, and how it makes processors.
pub(super) struct Qemu {
    command: Vec<PathBuf>,
    has_kvm: AtomicBool,
}

impl Qemu {
    /// Returns the one of this machine, or Debian's, unpacked into the cache.
    ///
    /// # Errors
    ///
    /// That none could be had.
    pub(super) fn obtain(emulate: bool) -> Result<Self> {
        let version = read(Command::new(QEMU.0).arg("--version")).unwrap_or_default();
        let number = version
            .split_once("version ")
            .and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
        let command =
            match which(QEMU.0).filter(|_| number.is_some_and(|number| number + 1 >= QEMU.1)) {
                Some(qemu) => vec![qemu],
                None => unpacked()?,
            };
        let kvm = File::options().read(true).write(true).open("/dev/kvm");
        if let (Err(why), false) = (&kvm, emulate) {
            say(&format!(
                "/dev/kvm cannot be opened ({why}): machines are emulated, and their tests wait longer"
            ));
        }
        Ok(Self {
            command,
            has_kvm: AtomicBool::new(!emulate && kvm.is_ok()),
        })
    }

    fn has_kvm(&self) -> bool {
        self.has_kvm.load(Ordering::Relaxed)
    }

    /// Does something with a machine, and once more with an emulated one where no kernel boots with KVM.
    ///
    /// # Errors
    ///
    /// What that says.
    pub(super) fn boot<T>(&self, boot: impl Fn() -> Result<T>) -> Result<T> {
        let had_kvm = self.has_kvm();
        let booted = boot();
        if let (Err(problem), true) = (&booted, had_kvm) {
            say(&format!(
                "no kernel boots with /dev/kvm ({problem:#}): machines are emulated, and their tests wait longer"
            ));
            self.has_kvm.store(false, Ordering::Relaxed);
            return boot();
        }
        booted
    }

    /// Returns how many times slower than others a machine is, on a host that has other things to do.
    pub(super) fn slowness(&self) -> u32 {
        if self.has_kvm() { 1 } else { 5 }
    }

    /// Returns what every machine has; nothing of it leads to this machine's disks or network.
    pub(super) fn machine(
        &self,
        image: &Path,
        kind: &Kind,
        payload: &Path,
        append: &str,
    ) -> Command {
        // A second processor makes an emulated boot slower, and so do wide vectors.
        let (accel, cpu, processors) = if self.has_kvm() {
            ("kvm", "host", "2")
        } else {
            ("tcg,thread=multi", "Nehalem,+rdrand", "1")
        };
        let memory = kind.memory.to_string();
        let mut qemu = Command::new("setpriv");
        // qemu ends with the thread that started qemu, also where that thread is killed.
        qemu.args(["--pdeathsig", "KILL", "--"]).args(&self.command);
        qemu.args(["-M", "q35", "-accel", accel, "-cpu", cpu])
            .args(["-smp", processors, "-m", &memory, "-nodefaults"])
            .args(["-no-user-config", "-display", "none", "-nic", "none"])
            .args(["-no-reboot", "-kernel"]);
        qemu.arg(image.join("vmlinuz"))
            .arg("-initrd")
            .arg(image.join("initrd"));
        // Nothing in it is to be kept from anything else, by what real processors do wrong or by what was freed.
        let quiet = "console=ttyS0 panic=-1 quiet audit=0 mitigations=off init_on_alloc=0 systemd.show_status=0";
        qemu.args([
            "-append",
            &format!("{quiet} {} {append}", kind.append),
            "-drive",
        ]);
        qemu.arg(format!(
            "file={},format=raw,if=virtio,readonly=on",
            payload.display()
        ));
        qemu
    }
}

/// Unpacks an emulator of Debian 13 with its own libraries.
fn unpacked() -> Result<Vec<PathBuf>> {
    let tree = cache::entry("qemu", "trixie", |dir| {
        say("unpacking the qemu-system-x86 of Debian trixie: emulated machines need 8.1 or later");
        run(Command::new("mmdebstrap")
            .args([
                "--quiet",
                "--variant=extract",
                "--include=qemu-system-x86",
                &format!("--keyring={KEYRING}"),
                "trixie",
            ])
            .arg(dir.join("tree"))
            .arg(MIRROR))
    })?;
    let usr = tree.join("tree/usr");
    let in_usr = |path: &str| usr.join(path);
    Ok(vec![
        in_usr("lib64/ld-linux-x86-64.so.2"),
        "--library-path".into(),
        in_usr("lib/x86_64-linux-gnu"),
        in_usr("bin").join(QEMU.0),
        "-L".into(),
        in_usr("share/qemu"),
        "-L".into(),
        in_usr("share/seabios"),
    ])
}

/// A running machine. It is gone when this is dropped.
pub(super) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    /// Boots one, with its console in a file, and waits until it takes commands.
    ///
    /// # Errors
    ///
    /// That it does not boot.
    pub(super) fn boot(mut qemu: Command, console: &Path) -> Result<Self> {
        qemu.args(["-serial", &format!("file:{}", console.display())])
            .args(["-chardev", "stdio,id=tty,signal=off"])
            .args(["-serial", "chardev:tty"]);
        let mut qemu = qemu
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu")?;
        let output = BufReader::new(qemu.stdout.take().context("qemu has no output")?);
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                let _ = send.send(line.trim_end_matches('\r').to_owned());
            }
        });
        let mut machine = Self {
            qemu,
            lines,
            console: console.to_owned(),
        };
        let deadline = Instant::now() + BOOT;
        while !machine.line(deadline)?.contains(READY) {}
        Ok(machine)
    }

    /// Has a shell in it do something, and returns the exit status. `hear` gets the lines of output.
    ///
    /// # Errors
    ///
    /// That the machine broke, or did not answer in time.
    pub(super) fn tell(
        &mut self,
        command: &str,
        limit: Duration,
        mut hear: impl FnMut(&str),
    ) -> Result<i32> {
        self.write(command)?;
        let deadline = Instant::now() + limit;
        loop {
            let line = self.line(deadline)?;
            match line.split_once(DONE) {
                None => hear(&line),
                Some((rest, status)) => {
                    hear(rest);
                    return status.trim().parse().context("no status");
                }
            }
        }
    }

    /// Has it do something that has to succeed.
    ///
    /// # Errors
    ///
    /// What that says.
    pub(super) fn must(&mut self, command: &str) -> Result<()> {
        let mut said = String::new();
        let status = self.tell(command, BOOT, |line| said += &format!("{line}\n"))?;
        ensure!(
            status == 0,
            "{command:?} failed ({status}) in the machine:\n{said}"
        );
        Ok(())
    }

    /// Reboots it, which ends the emulator.
    ///
    /// # Errors
    ///
    /// That it does not end.
    pub(super) fn reboot(mut self) -> Result<()> {
        self.write("systemctl reboot")?;
        let deadline = Instant::now() + BOOT;
        while self.qemu.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the machine does not end");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn write(&mut self, line: &str) -> Result<()> {
        let mut input = self.qemu.stdin.as_ref().context("qemu has no input")?;
        writeln!(input, "{line}").context("the machine has ended")
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|why| match why {
            RecvTimeoutError::Timeout => anyhow!("the machine says nothing more: its time is up"),
            RecvTimeoutError::Disconnected => {
                anyhow!("the machine ended: see {}", self.console.display())
            }
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
