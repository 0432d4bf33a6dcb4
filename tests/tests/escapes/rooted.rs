//! Root of a session that `--user root` has made: each way as root outside, where nothing stands against it, and as root there.

use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use guard_lab::{Attempt, Cgroup, Report, bins};

use crate::escapes::helpers::LISTENERS;
use crate::escapes::layer::Layer;
use crate::escapes::scene::{EscapeScene, WayAddresses, said};
use crate::escapes::way::{Came, Tried, closed, family};

pub(super) const OWNERS: &str = "root there is an ordinary user outside";
pub(super) const FILES: &str = "no `CAP_SYS_ADMIN`, and cgroups are read-only";
pub(super) const COVERED: &str = "the bpffs is covered there; pins and bpf() are root's";
pub(super) const NONE: &str = "root there has seven capabilities, over its user's files";

/// Who has mounts of its own where that takes root, so that nothing is left outside.
const OWN: &str =
    "own() { if [ -n \"$GUARD_SESSION\" ]; then \"$@\"; else unshare --mount \"$@\"; fi; };";

family! { "Root of a session (`--user root`)";
    alone: detach, unpin, uncover;
    detach: closed("detaching guard's program (`BPF_LINK_DETACH`) by its pin", "ENOENT", COVERED).without("is taken off") => || {
        let scene = EscapeScene::with_root()?;
        let pin = scene.daemon.pin_dir().join("live/link_connect4");
        // The other order: once it is done, it is done.
        let script = probe("detach-pin", &pin.to_string_lossy());
        tried(&scene, &script)
    };
    map: closed("opening guard's map of sessions by its pin", "ENOENT", COVERED).without("opens it") => || {
        let scene = shared()?;
        tried(scene, &probe("open-pin", &scene.daemon.pin_dir().join("live/sessions").to_string_lossy()))
    };
    by_id: closed("opening a program's link by number", "EPERM", NONE).without("opens it") => || tried(shared()?, &probe("link-by-id", "x"));
    unpin: closed("removing a pin of guardd's", "No such file", COVERED).without("removes it") => || {
        let scene = EscapeScene::with_root()?;
        tried(&scene, &format!("rm {}/live/link_connect4", scene.daemon.pin_dir().display()))
    };
    uncover: closed("the same, in a further user namespace", "umount", "mounts are locked there")
        .without("removes it") => || {
            let scene = EscapeScene::with_root()?;
            let pin = scene.daemon.pin_dir().join("live/link_connect4");
            tried(&scene, &format!("[ -z \"$GUARD_SESSION\" ] || exec unshare --user --map-root-user --mount sh -ec 'umount /sys/fs/bpf; rm {0}'; rm {0}", pin.display()))
        };
    sibling: closed("itself into another cgroup", "Read-only file system", FILES).without("is in it") => || {
        let other = Cgroup::new()?;
        tried(shared()?, &format!("echo $$ >{}/cgroup.procs", other.path().display()))
    };
    top: closed("itself into the topmost cgroup", "Read-only file system", FILES).without("is in it")
        => || tried(shared()?, &format!("echo $$ >{}/cgroup.procs", top()?));
    guards: closed("itself into guard's root cgroup", "Read-only file system", FILES).without("is in it") => || {
        let scene = shared()?;
        tried(scene, &format!("echo $$ >{}/cgroup.procs", scene.daemon.cgroup_root().display()))
    };
    new_cgroup: closed("making a cgroup", "Read-only file system", FILES).without("makes it") => || {
        let other = Cgroup::new()?;
        tried(shared()?, &format!("mkdir {0}/x && rmdir {0}/x", other.path().display()))
    };
    born: closed("a child made in another cgroup (`CLONE_INTO_CGROUP`)", "EACCES", OWNERS) => || {
        let (scene, other, to) = (shared()?, Cgroup::new()?, "192.0.2.11");
        let attempt = Attempt::new("clone-into", to, 443).other(&other.path().to_string_lossy()).args().join(" ");
        reached(scene, to, &format!("exec $probe {attempt}"))
    };
    remount: closed("remounting the cgroups writable", "permission denied", FILES).without("mounts them")
        => || tried(shared()?, &format!("{OWN} own mount -o remount,bind,rw {}", top()?));
    mount_cgroup: closed("mounting cgroups elsewhere", "permission denied", FILES).without("mounts them")
        => || tried(shared()?, &format!("{OWN} own mount -t cgroup2 none /mnt"));
    mount_bpf: closed("mounting a bpffs", "permission denied", FILES).without("mounts it")
        => || tried(shared()?, &format!("{OWN} own mount -t bpf none /mnt"));
    further: closed("cgroups mounted by a further user namespace", "Permission denied", OWNERS)
        .without("is in the topmost") => || tried(shared()?, &format!(
            "[ -n \"$GUARD_SESSION\" ] || exec sh -c 'echo $$ >{}/cgroup.procs'; \
             exec unshare --user --map-root-user --mount --cgroup sh -c 'mount -t cgroup2 none /mnt; echo $$ >/mnt/cgroup.procs'", top()?));
    nft: closed("a firewall rule", "Operation not permitted", NONE).without("adds it")
        => || tried(shared()?, "nft add table inet guard_way && nft delete table inet guard_way");
    route: closed("a route", "Operation not permitted", NONE).without("adds it")
        => || tried(shared()?, "ip route add 203.0.113.77/32 dev lo && ip route del 203.0.113.77/32 dev lo");
    veth: closed("a pair of network devices, one outside", "Operation not permitted", NONE).without("makes it")
        => || tried(shared()?, "ip link add way0 type veth peer name way1 && ip link del way0");
    other_network: closed("entering another network namespace", "Operation not permitted", NONE).without("enters it") => || {
        let scene = shared()?;
        tried(scene, &format!("nsenter --net={} true", scene.network.prod().path().display()))
    };
    raw: closed("a raw socket", "EPERM", NONE) => || reached(shared()?, "192.0.2.12", "exec $probe probe raw 192.0.2.12 0");
    packet: closed("a packet socket", "EPERM", NONE) => || reached(shared()?, "192.0.2.13", "exec $probe probe packet 192.0.2.13 443");
    network: closed("a raw socket in a further user namespace's network", "", "`sock_create`")
        .without("makes the socket") => || tried(shared()?,
            "exec unshare --user --map-root-user --net sh -c 'ip link set lo up; exec $probe probe raw 127.0.0.1 0'");
    module: closed("loading a kernel module", "EPERM", NONE).where_there_is("modules").without("may") => || tried(shared()?, &probe("ask-kernel", "module"));
    kexec: closed("loading another kernel (`kexec_load`)", "EPERM", NONE).where_there_is("kexec").without("may") => || tried(shared()?, &probe("ask-kernel", "kexec"));
    reboot: closed("restarting the machine", "EPERM", NONE).without("may") => || tried(shared()?, &probe("ask-kernel", "reboot"));
    log: closed("the kernel's log (`/dev/kmsg`)", "Permission denied", OWNERS).without("writes to it") => || tried(shared()?, "exec 3>>/dev/kmsg");
    node: closed("a device (`mknod`)", "Operation not permitted", NONE).without("makes it")
        => || tried(shared()?, "at=$(mktemp -u); mknod $at c 1 11 && rm $at");
    setting: closed("a kernel setting", "Permission denied", OWNERS).without("writes it")
        => || tried(shared()?, "old=$(cat /proc/sys/kernel/core_pattern) && echo \"$old\" >/proc/sys/kernel/core_pattern");
    trace: closed("reaching into guardd", "Permission denied", OWNERS).without("is in its memory")
        => || tried(shared()?, &format!("exec 3<>/proc/{}/mem", guardd()?));
    signal: closed("killing guardd", "Operation not permitted", OWNERS).without("may") => || tried(shared()?, &format!("kill -0 {}", guardd()?));
    disk: closed("a disk, by its device", "Permission denied", OWNERS).without("reads it") => || tried(shared()?,
        "for disk in /dev/[hsv]da /dev/nvme0n1 /dev/loop0; do [ -b $disk ] && exec 3<$disk && exit; done; exit 1");
    enter: closed("entering the mounts of a process outside", "Permission denied", OWNERS).without("enters them")
        => || tried(shared()?, &format!("nsenter --mount=/proc/{}/ns/mnt true", guardd()?));
    root: closed("the root directory of a process outside (`/proc/PID/root`)", "Permission denied", OWNERS).without("is there")
        => || tried(shared()?, &format!("cd /proc/{}/root/", guardd()?));
    chroot: closed("changing the root directory", "Operation not permitted", NONE).without("changes it") => || tried(shared()?, "chroot / true");
    shadow: closed("the system's passwords", "Permission denied", OWNERS).without("reads them") => || tried(shared()?, "exec 3</etc/shadow");
    sockets: closed("a Unix socket bound over guardd's path in a further user namespace", "EPERM", LISTENERS)
        .by_layers(&[Layer::UnixSockets])
        .without("connects") => || {
            let place = WayAddresses::new()?;
            let scene = shared()?;
            let at = scene.socket(&place)?;
            let helper = Attempt::new("helper", "192.0.2.15", 443).other(&at);
            let mut helper = scene.outside(&helper)?;
            crate::escapes::scene::line(&mut helper)?;
            let socket = scene.daemon.socket();
            reached(scene, "192.0.2.15", &format!(
                "own=--mount; [ -z \"$GUARD_SESSION\" ] || own='--user --map-root-user --mount'; \
                 exec unshare $own sh -ec 'mount --bind {at} {0}; exec $probe probe by-helper 192.0.2.15 443 relay:{0}'",
                socket.display()
            ))
        };
}

/// What most share: nothing that root does there changes it.
fn shared() -> Result<&'static EscapeScene> {
    static SHARED: LazyLock<Result<EscapeScene>> = LazyLock::new(EscapeScene::with_root);
    SHARED
        .as_ref()
        .map_err(|error| anyhow::anyhow!("no scene: {error:#}"))
}

/// Its process, which is outside and root's.
fn guardd() -> Result<u32> {
    shared()?.daemon.pid().context("guardd does not run")
}

/// Where the hierarchy is mounted.
fn top() -> Result<String> {
    let hierarchy = guard_sys::cgroup2::Hierarchy::find()?;
    Ok(hierarchy.mount().display().to_string())
}

fn probe(kind: &str, other: &str) -> String {
    format!("exec $probe probe {kind} :: 0 {other}")
}

/// A script that does what it is for or not: as root of a session first, for outside it may do harm that lasts.
fn tried(scene: &EscapeScene, script: &str) -> Result<Tried> {
    let came = |report: &Report| Came::of(report, report.ok.then(|| "done".to_owned()));
    let with = came(&inside(scene, script)?);
    let without = came(&outside(scene, script)?);
    Ok(Tried { without, with })
}

/// A script that makes packets for `to`.
fn reached(scene: &EscapeScene, to: &str, script: &str) -> Result<Tried> {
    Ok(Tried {
        with: scene.came(to, || inside(scene, script))?,
        without: scene.came(to, || outside(scene, script))?,
    })
}

fn inside(scene: &EscapeScene, script: &str) -> Result<Report> {
    let run = scene
        .daemon
        .agent(["run", "--policy", "denied", "--user", "root", "-q"]);
    let run = run.args(["--", "bash", "-c", script]);
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    said(&mut run.env("probe", probe).command()?)
}

fn outside(scene: &EscapeScene, script: &str) -> Result<Report> {
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let mut bash = scene.network.dev().command("bash");
    said(
        bash.args(["-c", script])
            .env("probe", probe)
            .env("GUARD_SOCKET", scene.daemon.socket()),
    )
}
