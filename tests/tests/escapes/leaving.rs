//! Leaving the cgroup.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Attempt, Cgroup, Report, Running, Shell, bins, mounts};
use rustix::fs::{XattrFlags, setxattr};

use serde_json::Value;

use crate::escapes::scene::{EscapeScene, PATIENCE, WayAddresses, line, said};
use crate::escapes::way::{Came, Tried, closed, family};

pub(super) const ROOTS: &str = "the session's cgroup, and all above it, are root's";
const INHERITED: &str = "a cgroup is inherited";
pub(super) const NO_NEW_PRIVS: &str = "it runs with the rights of the agent";

family! { "Leaving the cgroup";
    alone: others_network, forwarded;
    procs: closed("itself into a delegated cgroup (`cgroup.procs`)", "EPERM", ROOTS)
        => || moving("echo $$ >$other/cgroup.procs");
    threads: closed("a thread of it (`cgroup.threads`)", "EPERM", ROOTS) => threads;
    new_cgroup: closed("into a new cgroup below its own", "EPERM", ROOTS)
        => || moving("own=$root/$(sed -n 's/^0:://p' /proc/self/cgroup); mkdir $own/other; echo $$ >$own/other/cgroup.procs");
    namespace: closed(
        "own namespaces (user, mount, cgroup), with the hierarchy mounted", "EPERM",
        "root's cgroups",
    ).where_there_is("user namespaces") => || moving(
        "in_namespace='mount -t cgroup2 none /mnt && mkdir /mnt/other && echo $PPID >/mnt/other/cgroup.procs; exec sleep 0.2'
         unshare --user --map-root-user --mount --cgroup sh -c \"$in_namespace\"",
    );
    clone_into: closed("a child made in another cgroup (`clone3`, `CLONE_INTO_CGROUP`)", "EACCES (clone3", ROOTS)
        => || in_tree(|tree, place| {
            let attempt = Attempt::new("clone-into", &place.v4, 443).other(&tree.other.display().to_string());
            format!("exec $probe {}", attempt.args().join(" "))
        });
    pulled: closed("a process of the user outside moves one out", "EPERM", ROOTS) => pulled;
    orphan: closed("an orphan (double fork, `setsid`)", "EPERM", INHERITED) => || {
        let place = WayAddresses::new()?;
        let attempt = Attempt::tcp(&place.v4, 443).args().join(" ");
        place.scene.scripted(&[], &format!("setsid --fork setsid --fork $probe {attempt}; exit 0"), &place.v4)
    };
    outlives: closed(
        "going on after `guard run` was killed", "the session has ended",
        "by guardd",
    ) => outlives;
    others_network: closed(
        "the network namespace of a container of the user's", "",
        "judged by the socket's cgroup",
    ).where_there_is("user namespaces") => others_network;
    forwarded: closed(
        "the same entered (`setns`), with a tunnel (VXLAN) made there",
        "Operation not permitted", "seccomp",
    ).where_there_is("user namespaces, VXLAN") => forwarded;
    set_user_id: closed("a set-user-ID program of root's, as `sudo`, `at`", "EPERM (socket", NO_NEW_PRIVS)
        => || by_program(|file| {
            Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o4755))?)
        });
    file_capabilities: closed("a program whose file has capabilities, as `ping`", "EPERM", NO_NEW_PRIVS)
        => || by_program(|file| {
            // struct vfs_ns_cap_data of linux/capability.h: revision 2, effective, CAP_NET_RAW permitted.
            let words = [0x0200_0001_u32, 1 << 13, 0, 0, 0];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            Ok(setxattr(file, "security.capability", &bytes, XattrFlags::empty())?)
        });
}

/// A tree that is delegated to the ordinary user, with two cgroups in it.
struct Tree {
    _all: Cgroup,
    first: PathBuf,
    other: PathBuf,
}

impl Tree {
    fn new() -> Result<Self> {
        let all = Cgroup::new()?;
        Ok(Self {
            first: all.delegate("first", AGENT)?,
            other: all.delegate("other", AGENT)?,
            _all: all,
        })
    }
}

/// A script that moves its shell, and then connects. Without the guard it begins in a delegated cgroup, where it may, and
/// must find itself in `other`.
fn moving(script: &str) -> Result<Tried> {
    in_tree(|_, place| {
        let attempt = Attempt::tcp(&place.v4, 443).args().join(" ");
        format!(
            "{script}; grep -q /other /proc/self/cgroup || [ -n \"$GUARD_SESSION\" ] || exit 3; exec $probe {attempt}"
        )
    })
}

fn in_tree(script: impl Fn(&Tree, &WayAddresses) -> String) -> Result<Tried> {
    tried_in(&Tree::new()?, script)
}

fn tried_in(tree: &Tree, script: impl Fn(&Tree, &WayAddresses) -> String) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let script = script(tree, &place);
    let script = format!(
        "other={} root={}; {script}",
        tree.other.display(),
        mounts::cgroup2()?.display()
    );
    let with = scene.came(to, || scene.script(&[], Some("denied"), &script))?;
    let outside = scene.bash(&[], None, &script)?;
    let mut outside = Cgroup::wrap_in(&tree.first, &outside);
    let without = scene.came(to, || said(&mut outside))?;
    let without = match without {
        Came::Stopped(why) if why.contains("unshare") => Came::Missing(why),
        other => other,
    };
    Ok(Tried { without, with })
}

/// Threads move between the cgroups of one threaded domain.
fn threads() -> Result<Tried> {
    let tree = Tree::new()?;
    for dir in [&tree.first, &tree.other] {
        fs::write(dir.join("cgroup.type"), "threaded")?;
    }
    tried_in(&tree, |_, place| {
        let attempt = Attempt::tcp(&place.v4, 443).args().join(" ");
        format!(
            "echo $$ >$other/cgroup.threads; grep -q /other /proc/self/cgroup || [ -n \"$GUARD_SESSION\" ] || exit 3; \
             exec $probe {attempt}"
        )
    })
}

fn pulled() -> Result<Tried> {
    let tree = Tree::new()?;
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let attempt = Attempt::tcp(to, 443);
    let pull = |pid: &str| {
        let script = format!("echo {pid} >{}/cgroup.procs", tree.other.display());
        said(&mut Cgroup::wrap_in(
            &tree.first,
            &scene.bash(&[], None, &script)?,
        ))
    };
    let with = scene.came(to, || {
        let mut shell = Shell::start(&scene.daemon, "denied")?;
        shell.tell("echo pid $$")?;
        let said = shell.line_with("pid ")?;
        let pulled = pull(said.trim_start_matches("pid "))?;
        ensure!(!pulled.ok, "it was pulled out: {pulled:?}");
        shell.attempt(&attempt)
    })?;
    let without = scene.came(to, || {
        let script = format!(
            "echo $$; read -r line; exec $probe {}",
            attempt.args().join(" ")
        );
        let shell = scene.bash(&[], None, &script)?;
        let mut shell = Running::start(&mut Cgroup::wrap_in(&tree.first, &shell))?;
        let pulled = pull(&line(&mut shell)?.to_string())?;
        ensure!(pulled.ok, "without the guard: {pulled:?}");
        shell.write("go\n")?;
        Report::parse(&shell.line(PATIENCE)?)
    })?;
    Ok(Tried { without, with })
}

/// It waits until its parent is gone, tries, and writes down what came of it.
fn outlives() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let attempt = Attempt::tcp(to, 443).args().join(" ");
    let left_behind = |at: &Path, policy: Option<&str>, command: &str| -> Result<Running> {
        let script = format!(
            "echo ready; while [ -d /proc/$PPID ]; do sleep 0.02; done; $probe {attempt} >{0}.part; mv {0}.part {0}",
            at.display()
        );
        let mut parent = Running::start(scene.bash(&[], policy, command)?.env("script", &script))?;
        parent.line_with("ready", PATIENCE)?;
        Ok(parent)
    };
    let kill = |mut parent: Running| -> Result<()> {
        parent.signal(rustix::process::Signal::KILL)?;
        parent.wait().map(drop)
    };
    let at = PathBuf::from(scene.socket(&place)?);
    let is_listed = || -> Result<bool> {
        let sessions = scene.daemon.root(["sessions"]).json()?;
        let all = sessions.as_array().context("no list")?;
        let path = at.display().to_string();
        let is_ours = |session: &Value| session["command"].to_string().contains(&path);
        Ok(all.iter().any(is_ours))
    };
    let before = scene.packets_to(to)?;
    let parent = left_behind(&at, Some("denied"), "exec $guard bash -c \"$script\"")?;
    ensure!(is_listed()?, "the session is not in the list");
    kill(parent)?;
    guard_lab::eventually("the session ends", || matches!(is_listed(), Ok(false)))?;
    // It may have tried before it was ended, too.
    let with = match scene.packets_to(to)? - before {
        0 => Came::Stopped("the session has ended".to_owned()),
        arrived => Came::Through(format!("{arrived} packets")),
    };
    let at = at.with_extension("without");
    let without = scene.without(to, || {
        kill(left_behind(&at, None, "bash -c \"$script\"; true")?)?;
        guard_lab::eventually("it has tried", || at.exists())?;
        Report::parse(&fs::read_to_string(&at)?)
    })?;
    Ok(Tried { without, with })
}

/// What pasta or slirp4netns does for a rootless container, a veth pair does here. A process of the same user's that has such
/// a network; none where users have no namespaces.
fn container(scene: &EscapeScene) -> Result<Option<(Running, String)>> {
    let script = "echo $$; exec unshare --user --map-root-user --net sleep 60";
    let mut container = Running::start(&mut scene.bash(&[], None, script)?)?;
    let pid = line(&mut container)?.to_string();
    let is_in = || {
        let net = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own = fs::metadata(scene.network.dev().path()).ok();
        let inode = own.map(|own| format!("net:[{}]", std::os::unix::fs::MetadataExt::ino(&own)));
        net(&pid).is_some_and(|link| Some(link.display().to_string()) != inode)
    };
    if guard_lab::eventually("it has a network", is_in).is_err() {
        return Ok(None);
    }
    scene.root(&format!(
        "ip link add c0 type veth peer name c1 netns {pid} && ip addr add 10.77.0.1/24 dev c0 && ip link set c0 up
         echo 1 >/proc/sys/net/ipv4/ip_forward
         nsenter --net -t {pid} sh -ec 'ip addr add 10.77.0.2/24 dev c1; ip link set c1 up; ip link set lo up
         ip route add default via 10.77.0.1'"
    ))?;
    Ok(Some((container, pid)))
}

fn others_network() -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let to = "192.0.2.200";
    let Some((_container, pid)) = container(&scene)? else {
        return Ok(Tried::missing("unshare failed".to_owned()));
    };
    // A datagram that nobody needs to answer: production knows no way back.
    let script = format!(
        "exec nsenter --user --net --preserve-credentials -t {pid} $probe probe udp-connect {to} 53"
    );
    scene.scripted(&[], &script, to)
}

/// What is forwarded, or packed into a tunnel's packets, no socket of the session's sends.
fn forwarded() -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let to = "192.0.2.200";
    let Some((_container, pid)) = container(&scene)? else {
        return Ok(Tried::missing("unshare failed".to_owned()));
    };
    let tunnel = format!("ip link add vx type vxlan id 7 remote {to} dstport 443 dev c1");
    let there = format!("nsenter --net -t {pid} sh -ec '{tunnel}; ip link del vx'");
    if scene.root(&there).is_err() {
        return Ok(Tried::missing("no VXLAN".to_owned()));
    }
    // Under names of their own, as those of `ip netns` are: `/proc/PID` is refused already.
    let names = ["user", "net"].map(|name| scene.daemon.dir().join(name));
    for name in &names {
        fs::write(name, "")?;
    }
    let [user, net] = names.each_ref().map(|name| name.display().to_string());
    let script = format!(
        "exec nsenter --user={user} --net={net} --preserve-credentials sh -ec '{tunnel}
         ip addr add 10.99.0.1/24 dev vx; ip link set vx up; ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:01 dev vx
         exec $probe probe udp-connect 10.99.0.2 9'"
    );
    let came = |policy: Option<&str>| {
        let started = match policy {
            Some(_) => "exec $guard bash -c \"$script\"",
            None => "exec bash -c \"$script\"",
        };
        scene.came(to, || {
            let mut command = scene.bash(&[], policy, started)?;
            command.env("script", &script);
            for (of, name) in ["user", "net"].iter().zip([&user, &net]) {
                let namespace = PathBuf::from(format!("/proc/{pid}/ns/{of}"));
                command = mounts::with_file(&command, &namespace, name);
            }
            said(&mut command)
        })
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// The probe as a program that gives rights to whoever starts it.
fn by_program(give: impl Fn(&Path) -> Result<()>) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    // Unlike /tmp, it is no file system that has its own ideas about such programs.
    let dir = tempfile::Builder::new()
        .prefix("guard-")
        .tempdir_in("/var/tmp")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let probe = dir.path().join("probe");
    let mut copy = Command::new("cp");
    copy.arg(bins::find("guard-lab")?).arg(&probe);
    ensure!(copy.status()?.success(), "{copy:?} failed");
    give(&probe).context("cannot give rights to a program")?;
    let attempt = Attempt::new("raw", to, 0).args();
    let mut outside = scene.network.dev().command_as(AGENT, &probe);
    outside.args(&attempt);
    let inside = scene.daemon.agent(["run", "--policy", "denied", "--"]);
    let inside = inside.args([&probe]).args(&attempt);
    Ok(Tried {
        with: scene.came(to, || Report::of(&mut inside.command()?))?,
        without: scene.without(to, || Report::of(&mut outside))?,
    })
}
