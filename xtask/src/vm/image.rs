//! What a machine boots: a kernel, and a root file system that is an initramfs.
//!
//! Debian's cloud kernels have no 9p, and the older ones have virtio as modules: an initramfs needs no driver at
//! all. The kernel unpacks archives that lie one behind the other, so what is made at different times stays apart.
//! They are not compressed: unpacking costs an emulated machine more than copying.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::debian::{self, Debian};
use super::kernels::Kernel;
use super::suites::Contents;
use crate::cache::{self, Cache};
use crate::shell::{ending_with_us, read, run, say};
use crate::{lab, tools};

/// What the guest has beside Debian's essential packages.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "curl",
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "e2fsprogs",
    "iproute2",
    // What people type who follow the documents.
    "jq",
    "kmod",
    "logrotate",
    "make",
    "nftables",
    "openssh-client",
    "openssl",
    "polkitd",
    "procps",
    "python3",
    // The package for Fedora is tested here, too.
    "rpm",
    "socat",
    "sudo",
    "tmux",
    "wget",
    "xz-utils",
];
/// What developers use, of Debian 13: what is small, and runs in an emulated machine in some seconds.
const TOOLS: &[&str] = &[
    "ccache",
    "docker-cli",
    "gcc",
    "gdb",
    "git",
    "gnupg",
    "kubernetes-client",
    "libc6-dev",
    "libnss-resolve",
    "nodejs",
    "openssh-server",
    "podman",
    "postgresql",
    "python3-pip",
    "python3-pytest-xdist",
    "python3-venv",
    "redis-server",
    "redis-tools",
    "screen",
    "sqlite3",
    "strace",
    "sudo",
    "systemd-resolved",
    "uidmap",
];
/// Documents, a Perl that nothing here runs, and what engines for containers have for other occasions: a third of
/// the whole. Documents of packages that are installed later stay. And what would make units of disks and consoles that
/// are not there, at each reload again: an emulated machine takes a second for it. The one for debugging reads what the
/// kernel was told.
const LEFT_OUT: &[&str] = &[
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "usr/bin/containerd-shim",
    "usr/bin/containerd-shim-runc-v1",
    "usr/bin/containerd-stress",
    "usr/bin/ctr",
    "usr/lib/systemd/system-generators/systemd-[!d]*",
    "usr/libexec/podman/podman-testing",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/share/perl",
    "var/cache/apt",
    "var/lib/apt/lists",
];
/// What nothing here needs at boot, devices and consoles above all: half of the work of a boot, and of each reload of
/// the units, which takes an emulated machine most of a second.
const UNITS_LEFT_OUT: &[&str] = &[
    // It starts where a test wants it.
    "etc/systemd/system/*.wants/systemd-resolved*",
    "etc/systemd/system/dbus-org.freedesktop.resolve1.service",
    "etc/systemd/system/getty.target.wants",
    "etc/systemd/system/timers.target.wants",
    "usr/lib/systemd/system/apt-daily*",
    "usr/lib/systemd/system/dpkg-db-backup*",
    "usr/lib/systemd/system/e2scrub*",
    "usr/lib/systemd/system/fstrim*",
    "usr/lib/systemd/system/initrd*",
    "usr/lib/systemd/system/multi-user.target.wants/getty.target",
    "usr/lib/systemd/system/sockets.target.wants/systemd-resolved*",
    "usr/lib/systemd/system/sockets.target.wants/systemd-udevd-*",
    "usr/lib/systemd/system/sysinit.target.wants/dev-*",
    "usr/lib/systemd/system/sysinit.target.wants/kmod-*",
    "usr/lib/systemd/system/sysinit.target.wants/ldconfig*",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-[abfhmpru]*",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-journal-*",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-tpm2*",
    "usr/lib/systemd/system/systemd-networkd*",
    "usr/lib/systemd/system/systemd-pcr*",
];
/// While mmdebstrap works, this keeps packages from starting services.
const NO_STARTS: &str = "./usr/sbin/policy-rc.d";
/// What tests may want to be loaded; with all that these need.
const MODULES: &[&str] = &[
    "bridge",
    "cls_bpf",
    "dummy",
    "inet_diag",
    "nf_conntrack",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib_inet",
    "nft_masq",
    "nft_nat",
    "nft_reject_inet",
    "nft_socket",
    "overlay",
    "raw_diag",
    "sch_ingress",
    "tcp_diag",
    "tun",
    "udp_diag",
    "veth",
    "virtio_blk",
    "virtio_pci",
    "virtio_rng",
    "wireguard",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_multiport",
    "xt_nat",
    "xt_tcpudp",
    "unix_diag",
];
/// Part of the keys: raise it when the way in which these are made changes.
const RECIPE: &str = "2";

/// The agent that machines of one kind have, as npm has it for their architecture: Claude Code.
const AGENT: (&str, &str) = ("@anthropic-ai/claude-code-linux-x64", tools::CLAUDE_CODE);
/// Where machines have tools of npm's: `tests/tests/tools/scene.rs`.
const OF_NPM: &str = "usr/local/lib/guard-tools";
/// qemu takes no more than 2 GiB of all archives, and these are a gigabyte. It is the last: the kernel finds the end of what is not
/// compressed by itself.
const SMALLER: [&str; 4] = ["zstd", "--quiet", "--rm", "-3"];
const COMPRESSED: &str = "npm.cpio.zst";
/// Where its program is in the package, and in a machine.
const AGENT_PROGRAM: (&str, &str) = ("claude", "usr/local/bin/claude");

/// What turns Debian's files into the machine's.
const GUEST: &[(&str, &str, u32)] = &[
    ("etc/fstab", "", 0o644),
    ("etc/hostname", "guard-vm\n", 0o644),
    ("etc/hosts", "127.0.0.1 localhost guard-vm\n", 0o644),
    // Set, so that no boot is the first.
    (
        "etc/machine-id",
        "0123456789abcdef0123456789abcdef\n",
        0o444,
    ),
    // mmdebstrap puts this machine's there. Nothing leads to this one.
    ("etc/resolv.conf", "nameserver 192.0.2.53\n", 0o644),
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
    ("vm/init-bind", include_str!("guest/init-bind.sh"), 0o755),
    ("vm/init-disk", include_str!("guest/init-disk.sh"), 0o755),
];

/// The files that machines of one kernel boot.
pub(super) struct Image {
    pub(super) kernel: Kernel,
    pub(super) contents: Contents,
    /// What all of it was made from.
    pub(super) key: String,
    pub(super) vmlinuz: PathBuf,
    pub(super) initrd: PathBuf,
}

impl Image {
    /// From the cache, or made: about a minute.
    pub(super) fn obtain(cache: &Cache, kernel: Kernel, contents: Contents) -> Result<Self> {
        let debian = Debian::open(cache, kernel.codename())?;
        let release = debian.release()?;
        let recipe = format!("{RECIPE}{}", left_out()).into_bytes();
        let mut parts = vec![root_of(
            cache,
            &debian,
            kernel,
            contents,
            &[&recipe, &release],
        )?];
        let linux = kernel_of(cache, &debian, kernel, &[&recipe, &release])?;
        let vmlinuz = linux.archive.with_file_name("vmlinuz");
        parts.extend([linux, of_guest(cache)?]);
        parts.extend(of_npm(cache, contents)?);
        let keys: Vec<_> = parts.iter().map(|part| &part.key).collect();
        let key = cache::key(&keys)?;
        let name = format!("image-{}", named(kernel, contents));
        let image = cache.entry(&name, &key, |dir| join(&parts, &dir.join("initrd")))?;
        Ok(Self {
            kernel,
            contents,
            key,
            vmlinuz,
            initrd: image.join("initrd"),
        })
    }
}

/// An archive of the files that machines boot, and its key in the cache.
struct ImagePart {
    archive: PathBuf,
    key: String,
}

fn named(kernel: Kernel, contents: Contents) -> String {
    let kernel = kernel.name();
    match contents {
        Contents::Plain => kernel.to_owned(),
        Contents::Engines => format!("{kernel}-engines"),
        Contents::Agent => format!("{kernel}-agent"),
        Contents::Tools => format!("{kernel}-tools"),
    }
}

/// Debian's files, and those that the contents want.
fn root_of(
    cache: &Cache,
    debian: &Debian,
    kernel: Kernel,
    contents: Contents,
    made_from: &[&[u8]],
) -> Result<ImagePart> {
    let (name, packages) = match contents {
        Contents::Plain | Contents::Agent => (kernel.name().to_owned(), PACKAGES.to_vec()),
        Contents::Engines => (
            named(kernel, contents),
            [PACKAGES, kernel.engines()].concat(),
        ),
        Contents::Tools => (named(kernel, contents), [PACKAGES, TOOLS].concat()),
    };
    let listed = packages.join(" ");
    let key = cache::key(&[made_from, &[listed.as_bytes()]].concat())?;
    let root = cache.entry(&format!("root-{name}"), &key, |dir| {
        say(&format!(
            "making a root file system of Debian {}",
            debian.codename
        ));
        root_archive(debian, &packages, dir)
    })?;
    let archive = root.join("root.cpio");
    Ok(ImagePart { archive, key })
}

/// The modules, with the kernel beside them.
fn kernel_of(
    cache: &Cache,
    debian: &Debian,
    kernel: Kernel,
    made_from: &[&[u8]],
) -> Result<ImagePart> {
    let modules = MODULES.join(" ");
    let key = cache::key(&[made_from, &[modules.as_bytes()]].concat())?;
    let linux = cache.entry(&format!("linux-{}", kernel.name()), &key, |dir| {
        let package = debian.behind("linux-image-cloud-amd64", "linux-image-")?;
        say(&format!("unpacking {package}"));
        unpack_kernel(debian, &package, dir)
    })?;
    let archive = linux.join("modules.cpio");
    Ok(ImagePart { archive, key })
}

/// What of this workspace is in each machine.
fn of_guest(cache: &Cache) -> Result<ImagePart> {
    let guest: Vec<_> = GUEST
        .iter()
        .flat_map(|(path, text, _)| [*path, *text])
        .collect();
    let key = cache::key(&guest)?;
    let archive = cache
        .entry("guest", &key, guest_archive)?
        .join("guest.cpio");
    Ok(ImagePart { archive, key })
}

/// What machines with these contents have of npm's.
fn of_npm(cache: &Cache, contents: Contents) -> Result<Option<ImagePart>> {
    let (archive, key) = match contents {
        Contents::Plain | Contents::Engines => return Ok(None),
        Contents::Agent => {
            let key = cache::key(&[AGENT.0, AGENT.1])?;
            let agent = cache.entry("agent", &key, agent_archive)?;
            (agent.join("agent.cpio"), key)
        }
        Contents::Tools => {
            let mut made_from = tools::of_machines();
            made_from.extend(SMALLER.map(str::to_owned));
            let key = cache::key(&made_from)?;
            let npm = cache.entry("npm", &key, npm_archive)?;
            (npm.join(COMPRESSED), key)
        }
    };
    Ok(Some(ImagePart { archive, key }))
}

fn join(parts: &[ImagePart], whole: &Path) -> Result<()> {
    let mut whole = File::create(whole)?;
    for ImagePart { archive, .. } in parts {
        io::copy(&mut File::open(archive)?, &mut whole)
            .with_context(|| format!("cannot copy {}", archive.display()))?;
    }
    Ok(())
}

fn root_archive(debian: &Debian, packages: &[&str], dir: &Path) -> Result<()> {
    // Whatever ends this program ends all of it, mounts included, and what it leaves is removed with what is unfinished.
    let mut mmdebstrap = Command::new("setpriv");
    mmdebstrap
        .env("TMPDIR", dir)
        .args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid"])
        .args(["--fork", "--kill-child", "--", "mmdebstrap"])
        .args(["--quiet", "--variant=minbase", "--components=main"])
        .arg(format!("--include={}", packages.join(",")))
        .arg(format!("--keyring={}", debian::KEYRING))
        .arg("--aptopt=Acquire::Languages \"none\"");
    for documents in ["doc", "info", "locale", "man"] {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{documents}/*"));
    }
    let archive = dir.join("root.cpio");
    mmdebstrap
        .arg(format!("--customize-hook=cd \"$1\" && rm -rf{}", left_out()))
        .arg("--customize-hook=ln -sf usr/lib/systemd/systemd \"$1/init\"")
        .arg(format!(
            "--customize-hook=cd \"$1\" && find . -xdev \\( -path './dev/*' -o -path {NO_STARTS} \\) \
             -prune -o -print0 | cpio --null --create --format=newc --quiet >'{}'",
            archive.display()
        ))
        .args(["--format=null", debian.codename, "/dev/null"])
        .arg(debian::archive());
    run(&mut mmdebstrap)?;
    ensure!(
        fs::metadata(&archive)?.len() > 1 << 20,
        "mmdebstrap left no archive"
    );
    Ok(())
}

/// For a shell, whose patterns these are.
fn left_out() -> String {
    let paths = LEFT_OUT.iter().chain(UNITS_LEFT_OUT);
    paths.map(|path| format!(" {path}")).collect()
}

/// `vmlinuz`, and an archive of the few modules.
fn unpack_kernel(debian: &Debian, package: &str, dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    debian.unpack(package, false, &tree)?;
    let version = package.trim_start_matches("linux-image-");
    fs::copy(
        tree.join(format!("boot/vmlinuz-{version}")),
        dir.join("vmlinuz"),
    )?;
    // Where /usr is merged with / and where it is not, both ways lead there.
    let (plain, merged) = (tree.join("lib"), tree.join("usr/lib"));
    if merged.join("modules").is_dir() {
        std::os::unix::fs::symlink("usr/lib", &plain)?;
    } else {
        fs::create_dir_all(tree.join("usr"))?;
        fs::rename(&plain, &merged)?;
        std::os::unix::fs::symlink("usr/lib", &plain)?;
    }
    let modules = format!("usr/lib/modules/{version}");
    let depmod = |base: &Path| {
        run(Command::new("depmod")
            .arg("--basedir")
            .arg(base)
            .arg(version))
    };
    depmod(&tree)?;
    let kept = dir.join("kept");
    for file in modules_needed(&tree, version)? {
        let (from, to) = (
            tree.join(&modules).join(&file),
            kept.join(&modules).join(&file),
        );
        fs::create_dir_all(to.parent().unwrap_or(&kept))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    for list in ["order", "builtin", "builtin.modinfo"] {
        let list = format!("modules.{list}");
        fs::copy(
            tree.join(&modules).join(&list),
            kept.join(&modules).join(&list),
        )?;
    }
    std::os::unix::fs::symlink("usr/lib", kept.join("lib"))?;
    depmod(&kept)?;
    fs::remove_file(kept.join("lib"))?;
    pack(&kept, "usr/lib/modules", &dir.join("modules.cpio"))?;
    fs::remove_dir_all(&kept)?;
    fs::remove_dir_all(&tree)?;
    Ok(())
}

/// Paths of modules, and of what they need. What the kernel has built in is no file.
fn modules_needed(tree: &Path, version: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for module in MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("--dirname").arg(tree).args(["-S", version]);
        let lines = read(modprobe.args(["--show-depends", module])).unwrap_or_default();
        let part = format!("/lib/modules/{version}/");
        files.extend(lines.lines().filter_map(|line| {
            let (_, file) = line.strip_prefix("insmod ")?.split_once(&part)?;
            // Options of the module follow.
            Some(file.split(' ').next()?.to_owned())
        }));
    }
    files.sort_unstable();
    files.dedup();
    ensure!(
        files.iter().any(|file| file.contains("/veth.")),
        "the kernel package of {version} has no module veth, or modprobe did not find it"
    );
    Ok(files)
}

/// The agent's program alone, out of the package of npm.
fn agent_archive(dir: &Path) -> Result<()> {
    let (package, version) = AGENT;
    lab::obtain(
        &[("npm", "npm")],
        "the machines in which an agent runs have it from there",
    )?;
    say(&format!("fetching {package} {version} with npm"));
    let made = dir.join("npm");
    fs::create_dir(&made)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&made)
        .arg(format!("{package}@{version}"));
    run(&mut ending_with_us(&npm))?;
    let program = made.join("node_modules").join(package);
    let tree = dir.join("tree");
    let to = tree.join(AGENT_PROGRAM.1);
    fs::create_dir_all(to.parent().unwrap_or(&tree))?;
    fs::rename(program.join(AGENT_PROGRAM.0), &to)
        .with_context(|| format!("{package} {version} has no {}", AGENT_PROGRAM.0))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    pack(&tree, "usr", &dir.join("agent.cpio"))?;
    fs::remove_dir_all(&tree)?;
    fs::remove_dir_all(&made)?;
    Ok(())
}

/// What tests use of npm's, as it is used on the machine that this runs on.
fn npm_archive(dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    for (name, from) in tools::obtain_for_machines()? {
        let to = tree.join(OF_NPM).join(name);
        fs::create_dir_all(&to)?;
        let modules = from.join("node_modules");
        run(Command::new("cp").arg("-a").args([&modules, &to]))?;
    }
    let archive = dir.join("npm.cpio");
    pack(&tree, "usr", &archive)?;
    fs::remove_dir_all(&tree)?;
    lab::obtain(&[("zstd", "zstd")], "machines have large tools, compressed")?;
    let smaller = dir.join(COMPRESSED);
    run(Command::new(SMALLER[0])
        .args(&SMALLER[1..])
        .arg(&archive)
        .arg("-o")
        .arg(smaller))
}

fn guest_archive(dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    for (path, text, mode) in GUEST {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&tree))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    pack(&tree, ".", &dir.join("guest.cpio"))?;
    fs::remove_dir_all(&tree)?;
    Ok(())
}

/// Makes an archive of what is at `path` in `tree`, all of it root's.
pub(super) fn pack(tree: &Path, path: &str, archive: &Path) -> Result<()> {
    let mut find = Command::new("find")
        .args([path, "-print0"])
        .current_dir(tree)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start find")?;
    let names = find.stdout.take().context("find says nothing")?;
    let done = run(Command::new("cpio")
        .args([
            "--null",
            "--create",
            "--format=newc",
            "--owner=0:0",
            "--quiet",
        ])
        .current_dir(tree)
        .stdin(names)
        .stdout(File::create(archive)?));
    ensure!(find.wait()?.success(), "find failed");
    done
}
