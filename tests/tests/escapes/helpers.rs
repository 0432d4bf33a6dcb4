//! A helper outside.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Attempt, Report, Running, Shell, bins, eventually, patience};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::escapes::layer::Layer;
use crate::escapes::scene::{DENIED, EscapeScene, PATIENCE, WayAddresses, line};
use crate::escapes::way::{Came, Tried, Way, closed, family, open};

pub(super) const USER: &str = "run the agent as a user of its own (`sudo guard run --user agent`)";
pub(super) const LISTENERS: &str =
    "unix sockets reach only the session's own, and what its policy names";
pub(super) const DOMAIN: &str = "the session's Landlock domain";
pub(super) const SIGNALS: &str = "that domain, or a security hook";
const MIGRATION: &str = "`sysctl net.ipv4.tcp_migrate_req=0`, as kernels have it";
const SHARED: &str = "egress lets no data go to a listener at a port that is shared";
const MACHINE: &str = "another program's server is this machine, which the policy asks about";

family! { "A helper outside";
    alone: shared_by_cookie, shared_by_fast_open, shared_by_migration;
    path: unheard("a unix socket by path (Docker, an IDE, a build daemon)")
        => || helper("relay", false);
    abstract_name: unheard("an abstract unix socket").by_layers(&[Layer::UnixSockets, Layer::Scopes])
        => || helper("relay", true);
    message: unheard("a datagram to a unix socket") => || helper("message", false);
    link: unheard("a hard link to such a socket") => || asked(
        "ln $at $at.link && trap \"rm $at.link\" EXIT; $probe probe by-helper $to 443 relay:$at.link",
    );
    by_descriptor: unheard("the same socket by `/proc/self/fd`") => || asked(
        "exec 9<${at%/*}; exec $probe probe by-helper $to 443 relay:/proc/self/fd/9/${at##*/}",
    );
    link_to_self: unheard("a link through `/proc/self`") => || asked(
        "ln -s /proc/self/root$at $at.self && trap \"rm $at.self\" EXIT; $probe probe by-helper $to 443 relay:$at.self",
    );
    namespaces: unheard("the same socket from own namespaces and root directory")
        .where_there_is("user namespaces") => || asked(
        "own='unshare --user --map-root-user --mount --net --pid --fork --mount-proc'; $own true || exit; mkdir -p $at.root; \
         $own sh -c \"mount --rbind / $at.root && exec chroot $at.root $probe probe by-helper $to 443 relay:$at\"",
    );
    planted: open(
        "an earlier session's link to such a socket, in an allowed place",
        "allow sockets only in directories that the agent cannot write to",
    ) => planted;
    netlink: closed(
        "netlink between processes (`NETLINK_USERSOCK`)",
        "Operation not permitted", "seccomp",
    ) => netlink;
    fifo: open("a FIFO, file or message queue that a reader outside obeys", USER) => fifo;
    loopback: closed(
        "a forwarder on the loopback that dials on use (`ssh -L`), and a debugger's port there (`node --inspect`)",
        "EPERM", MACHINE,
    ).without("is answered") => loopback;
    loopback_datagram: closed("the same by UDP", "EPERM", MACHINE).without("is answered")
        => loopback_datagram;
    shared_by_cookie: shared(
        "such a port, shared with the session (`SO_REUSEPORT`) and handed a connection of its own (SYN cookies)",
    ).where_there_is("SYN cookies") => || shared_port("cookie", "tcp_syncookies", 1);
    shared_by_fast_open: shared("the same by its first packet (`TCP_FASTOPEN`)")
        .where_there_is("`TCP_FASTOPEN`") => || shared_port("fast_open", "tcp_fastopen", FAST_OPEN);
    shared_by_migration: open(
        "such a connection that nobody has accepted yet, where `net.ipv4.tcp_migrate_req` is 1", MIGRATION,
    ).without("is answered").where_there_is("`net.ipv4.tcp_migrate_req`")
        => || shared_port("migration", "tcp_migrate_req", 1);
    tmux: unheard("tmux: a command in a server outside").seen("Operation not permitted").where_there_is("tmux") => tmux;
    bus: unheard("D-Bus: a service that the bus starts outside").seen("refused").where_there_is("D-Bus") => bus;
    ssh_agent: unheard("ssh agent: a signature with the user's key").seen("No private key found")
        .where_there_is("OpenSSH").without("signs") => ssh_agent;
    memory: untouched("writing a process's memory (`/proc/PID/mem`)", "EACCES") => || poked("mem");
    memory_call: untouched("the same by `process_vm_writev`", "EPERM") => || poked("vm");
    ptrace: untouched("the same by `ptrace`", "EPERM") => || poked("ptrace");
    memory_read: untouched("reading it (`process_vm_readv`)", "EPERM")
        .without("is read") => peeked;
    other_session: unheard(
        "a server in another session that may reach production",
    ) => || {
        let place = WayAddresses::new()?;
        in_session(&place, |scene, at, policy| {
            let mut shell = Shell::start(&scene.daemon, policy)?;
            shell.begin(&Attempt::new("helper", &place.v4, 443).other(at))?;
            shell.line_with("listening")?;
            Ok(shell)
        })
    };
    terminal: open("writing to another terminal of the user's", USER).without("is shown there")
        => || on_terminal("echo painted >$terminal", |keys| {
            let mut shown = [0; 64];
            let length = keys.read(&mut shown).unwrap_or(0);
            String::from_utf8_lossy(&shown[..length]).contains("painted")
        });
    keys: open("reading what is typed there", USER).without("is read")
        => || on_terminal("read -r -t 2 typed <$terminal; [ \"$typed\" = secret ]", |_| true);
    signal: closed(
        "ending a process of the user by a signal", "Operation not permitted",
        SIGNALS,
    ).by_layers(&[Layer::Signals]).without("ends it") => || ended("exec sleep 60", "kill -TERM");
    limits: closed(
        "ending one by its time limit (`prlimit`)", "Operation not permitted",
        "seccomp",
    ).without("ends it") => || ended("while :; do :; done", "prlimit --cpu=1 --pid");
    first: closed(
        "`guard pending --follow` killed first when memory is short (`oom_score_adj`)",
        "Permission denied", "not dumpable",
    ).without("is set") => || first_to_end(true);
    first_of_all: open("the same of any other process", USER).without("is set") => || first_to_end(false);
}

/// A helper that cannot be asked.
pub(crate) const fn unheard(how: &'static str) -> Way {
    closed(how, "EPERM (", LISTENERS).by_layers(&[Layer::UnixSockets])
}

/// A relay that gets a connection to a listener of the session's own, and does not answer it.
const fn shared(how: &'static str) -> Way {
    closed(how, "not answered", SHARED).without("is answered")
}

/// A process that cannot be reached into.
pub(crate) const fn untouched(how: &'static str, seen: &'static str) -> Way {
    closed(how, seen, DOMAIN).by_layers(&[Layer::Domain])
}

/// How long something that was started may take until it has sent a packet.
const SOON: Duration = Duration::from_secs(5);

/// One that serves whoever asks, at a path or an abstract name.
fn helper(verb: &str, has_name: bool) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(&place)?;
    let at = if has_name { format!("@{at}") } else { at };
    let port = if verb == "message" { 53 } else { 443 };
    let mut helper = scene.outside(&Attempt::new("helper", to, port).other(&at))?;
    line(&mut helper)?;
    let attempt = Attempt::new("by-helper", to, port).other(&format!("{verb}:{at}"));
    Ok(Tried {
        with: scene.came(to, || {
            settled(attempt.under(&scene.daemon, "denied")?, scene, to)
        })?,
        without: scene.without(to, || {
            settled(attempt.outside(scene.network.dev(), AGENT)?, scene, to)
        })?,
    })
}

/// One that serves whoever asks, asked by a script: `$at` is where it listens, and `$to` whom it connects to.
fn asked(script: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(&place)?;
    let mut helper = scene.outside(&Attempt::new("helper", to, 443).other(&at))?;
    line(&mut helper)?;
    let tried = scene.scripted(&[], &format!("at={at}; to={to}; {script}"), to)?;
    Ok(match tried.without {
        Came::Stopped(why) if why.contains("unshare") => Tried::missing(why),
        _ => tried,
    })
}

/// By an earlier session; the next one's policy allows the name. Without the guard anybody connects there.
fn planted() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(&place)?;
    let mut helper = scene.outside(&Attempt::new("helper", to, 443).other(&at))?;
    line(&mut helper)?;
    let allowed = format!("{at}.allowed");
    let left = scene.script(&[], Some("denied"), &format!("ln -s {at} {allowed}"))?;
    ensure!(left.ok, "{left:?}");
    let policy = PathBuf::from(&at).with_extension("toml");
    fs::write(
        &policy,
        format!("{DENIED}\n[unix]\nallow = [\"{allowed}\"]\n"),
    )?;
    let policy = policy.to_string_lossy().into_owned();
    let attempt = Attempt::new("by-helper", to, 443).other(&format!("relay:{allowed}"));
    scene.tried(&policy, &attempt, to)
}

/// Its reader connects to whatever address is written there.
fn netlink() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let new = "import socket; s = socket.socket(16, socket.SOCK_RAW, 2)";
    let listens = format!(
        "exec python3 -c \"{new}; s.bind((0, 0)); print(s.getsockname()[0], flush=True)
while True: socket.create_connection((s.recv(99).decode(), 443), 5).close()\""
    );
    let mut helper = Running::start(&mut scene.bash(&[], None, &listens)?)?;
    let at = line(&mut helper)?;
    let asks = format!("exec python3 -c \"{new}; s.sendto(b'{to}', ({at}, 0))\"");
    let came = |policy| scene.came(to, || settled(scene.script(&[], policy, &asks)?, scene, to));
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

fn fifo() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(&place)?;
    // It has both ends open, so that no writer waits for it, and goes on where it cannot connect.
    let reads = format!(
        "mkfifo {at} && exec 4<>{at} && echo reads && while read -r to <&4; do true 3<>/dev/tcp/$to/443; done"
    );
    let mut reader = Running::start(&mut scene.bash(&[], None, &reads)?)?;
    reader.line_with("reads", PATIENCE)?;
    let came = |policy| {
        scene.came(to, || {
            let report = scene.script(&[], policy, &format!("echo {to} >{at}"))?;
            settled(report, scene, to)
        })
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// A helper in a session that may reach all, asked from one that may not; and the same outside.
fn in_session(
    place: &WayAddresses,
    begin: impl Fn(&EscapeScene, &str, &str) -> Result<Shell>,
) -> Result<Tried> {
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(place)?;
    let shell = begin(scene, &at, "open")?;
    let asked = |at: &str| Attempt::new("by-helper", to, 443).other(&format!("relay:{at}"));
    let with = scene.came(to, || asked(&at).under(&scene.daemon, "denied"))?;
    drop(shell);
    let at = format!("{at}.outside");
    let mut helper = scene.outside(&Attempt::new("helper", to, 443).other(&at))?;
    line(&mut helper)?;
    Ok(Tried {
        with,
        without: scene.without(to, || asked(&at).outside(scene.network.dev(), AGENT))?,
    })
}

/// A script that does something to a terminal of the same user's, into which `secret` is typed; and whether that was done.
fn on_terminal(script: &str, is_done: impl Fn(&mut File) -> bool) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let came = |policy| -> Result<Came> {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&keys)?;
        unlockpt(&keys)?;
        let path = ptsname(&keys, Vec::new())?.into_string()?;
        std::os::unix::fs::chown(&path, Some(AGENT), None)?;
        // What nobody has open is not shown anywhere.
        let terminal = File::options().read(true).write(true).open(&path)?;
        let mut keys = File::from(keys);
        let script = format!("terminal={path}; {script}");
        if script.contains("read") {
            keys.write_all(b"secret\n")?;
        }
        let report = place.scene.script(&[], policy, &script)?;
        rustix::io::ioctl_fionbio(&keys, true)?;
        let done = report.ok && is_done(&mut keys);
        drop(terminal);
        Ok(Came::of(&report, done.then(|| "done".to_owned())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// A helper may take a moment for what nobody waits for.
fn settled(report: Report, scene: &EscapeScene, to: &str) -> Result<Report> {
    let before = scene.packets_to(to)?;
    let is_there = || scene.packets_to(to).is_ok_and(|now| now > before);
    let begun = Instant::now();
    // That nothing comes has no event.
    while report.ok && !is_there() && begun.elapsed() < patience(SOON) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(report)
}

/// Another program's server on the loopback: a debugger that runs what it is told is one, and so is a forwarder.
fn loopback() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (_forwarder, port) = forwarded(&place)?;
    place.scene.answer(&Attempt::tcp("127.0.0.1", port))
}

/// The same by datagrams.
fn loopback_datagram() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let server = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))\n\
        print(s.getsockname()[1], flush=True)\nwhile True: s.sendto(*s.recvfrom(9000))";
    let mut command = place
        .scene
        .network
        .dev()
        .command_as(AGENT, "/usr/bin/python3");
    let mut server = Running::start(command.args(["-c", server]))?;
    let port = server.line(PATIENCE)?.trim().parse()?;
    place.scene.answer(&Attempt::udp("127.0.0.1", port))
}

/// Relays, and what shares their ports.
const SHARED_PORT: &str = include_str!("shared_port.py");

/// `net.ipv4.tcp_fastopen`: clients and servers do it, both without a cookie of its own (ip-sysctl).
const FAST_OPEN: u32 = 0x207;

/// Attempts of which one passes, where guardd's scan may come first.
const PASSES_ONCE_IN: usize = 5;

/// A port that a relay outside shares with the session, on a machine with that setting of TCP's.
fn shared_port(how: &str, setting: &str, value: u32) -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let to = "192.0.2.200";
    let set = format!("echo {value} >/proc/sys/net/ipv4/{setting}");
    if let Err(missing) = scene.root(&set) {
        return Ok(Tried::missing(format!("{missing:#}")));
    }
    let role = |args: &str| format!("exec python3 - {args} <<'END'\n{SHARED_PORT}\nEND\n");
    let came = |policy: Option<&str>| -> Result<Came> {
        // One for each: what chooses between the listeners of a port stays with it.
        let mut relay =
            Running::start(&mut scene.bash(&[], None, &role(&format!("relay {to}")))?)?;
        let port = u16::try_from(line(&mut relay)?["listening"].as_u64().unwrap_or(0))?;
        if let Some(policy) = policy {
            // It is known, and judged by where it leads.
            let alone = Attempt::tcp("127.0.0.1", port).under(&scene.daemon, policy)?;
            ensure!(!alone.ok, "nobody shares it: {alone:?}");
        }
        let report = scene.script(&[], policy, &role(&format!("{how} {port}")))?;
        Ok(Came::of(&report, report.ok.then(|| report.detail.clone())))
    };
    let mut with = came(Some("denied"))?;
    // Whether such a connection passes depends on when guardd scans its listener: what passes now and then is open.
    for _ in 1..PASSES_ONCE_IN {
        if how != "migration" || !matches!(with, Came::Stopped(_)) {
            break;
        }
        with = came(Some("denied"))?;
    }
    Ok(Tried {
        with,
        without: came(None)?,
    })
}

/// A forwarded port.
fn forwarded(place: &WayAddresses) -> Result<(Running, u16)> {
    let mut relay = place
        .scene
        .outside(&Attempt::new("forward", &place.v4, 443))?;
    let port = u16::try_from(line(&mut relay)?["listening"].as_u64().unwrap_or(0))?;
    Ok((relay, port))
}

/// What a program that runs outside is told to start, and where to look for what came of it.
fn started(
    place: &WayAddresses,
    tell: impl Fn(&Path, &str, Option<&str>) -> Result<Report>,
) -> Result<Tried> {
    let (scene, to) = (place.scene, &place.v4);
    let socket = scene.socket(place)?;
    let dir = Path::new(&socket).parent().context("no directory")?;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let command = format!("{} probe tcp {to} 443", probe.display());
    let came = |policy| -> Result<Came> {
        let before = scene.packets_to(to)?;
        let report = tell(dir, &command, policy)?;
        // What it starts is not waited for by whoever asked.
        let has_come = || scene.packets_to(to).is_ok_and(|now| now > before);
        let begun = Instant::now();
        while report.ok && !has_come() && begun.elapsed() < patience(SOON) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let arrived = has_come();
        Ok(Came::of(&report, arrived.then(|| "packets".to_owned())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

fn tmux() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let socket = scene.socket(&place)?;
    let server = scene.script(
        &[],
        None,
        &format!("tmux -f /dev/null -S {socket} new-session -d sleep 60"),
    )?;
    if server.detail.contains("not found") {
        return missing("tmux");
    }
    let tried = started(&place, |_, command, policy| {
        scene.script(
            &[],
            policy,
            &format!("tmux -S {socket} new-window -d '{command}'"),
        )
    });
    scene.script(&[], None, &format!("tmux -S {socket} kill-server"))?;
    tried
}

const NO_BUS: &str = "there is no bus";

/// Each time by a bus of its own: one that waits for a service to come does not start it again.
fn bus() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let tried = started(&place, |dir, command, policy| {
        ask_bus(place.scene, dir, command, policy)
    });
    match tried {
        Err(error) if error.to_string() == NO_BUS => missing("dbus-daemon"),
        other => other,
    }
}

fn ask_bus(scene: &EscapeScene, dir: &Path, command: &str, policy: Option<&str>) -> Result<Report> {
    const NAME: &str = "org.example.Escape";
    let name = policy.unwrap_or("none");
    let socket = dir.join(format!("{name}.bus"));
    let services = dir.join(name);
    fs::create_dir(&services)?;
    let service = format!("[D-BUS Service]\nName={NAME}\nExec={command}\n");
    fs::write(services.join("escape.service"), service)?;
    let config = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen><servicedir>{}</servicedir><policy context=\"default\">\
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>",
        socket.display(),
        services.display()
    );
    let file = services.join("bus.conf");
    fs::write(&file, config)?;
    let daemon = format!(
        "exec dbus-daemon --nofork --config-file={} 2>/dev/null",
        file.display()
    );
    let mut bus = Running::start(&mut scene.bash(&[], None, &daemon)?)?;
    let is_there = || socket.exists() || bus.has_ended();
    ensure!(
        eventually("the bus listens", is_there).is_ok() && socket.exists(),
        NO_BUS
    );
    // The service never takes its name, so a call that comes as far as the bus has no reply in the end.
    let call = format!(
        "DBUS_SESSION_BUS_ADDRESS=unix:path={} dbus-send --session --print-reply --reply-timeout=1500 --dest={NAME} / \
         org.freedesktop.DBus.Peer.Ping 2>&1 | grep -v NoReply | grep -q 'Failed to open' && echo refused >&2 && exit 1; exit 0",
        socket.display()
    );
    scene.script(&[], policy, &call)
}

fn ssh_agent() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let socket = scene.socket(&place)?;
    let mut agent =
        Running::start(&mut scene.bash(&[], None, &format!("exec ssh-agent -D -a {socket}"))?)?;
    if eventually("the agent listens", || {
        Path::new(&socket).exists() || agent.has_ended()
    })
    .is_err()
        || agent.has_ended()
    {
        return missing("ssh-agent");
    }
    let key = format!(
        "export SSH_AUTH_SOCK={socket}; ssh-keygen -q -t ed25519 -N '' -f {socket}.key && ssh-add -q {socket}.key && rm {socket}.key"
    );
    let made = scene.script(&[], None, &key)?;
    ensure!(made.ok, "{made:?}");
    let came = |policy: Option<&str>| -> Result<Came> {
        let at = format!("{socket}.{}", policy.unwrap_or("none"));
        let sign = format!(
            "export SSH_AUTH_SOCK={socket}; echo text >{at} && ssh-keygen -q -Y sign -n file -f {socket}.key.pub {at}"
        );
        let report = scene.script(&[], policy, &sign)?;
        let has_signed = Path::new(&format!("{at}.sig")).exists();
        Ok(Came::of(&report, has_signed.then(|| "signed".to_owned())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// A machine without that program has no such way.
fn missing(program: &str) -> Result<Tried> {
    Ok(Tried::missing(format!("{program} is not installed")))
}

/// A process outside that connects to what stands in its memory, when it is told to.
fn poked(how: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let came = |policy: Option<&str>| {
        scene.came(to, || {
            let mut victim = scene.outside(&Attempt::new("obey", &place.open_v4, 443))?;
            let there = line(&mut victim)?;
            let which = format!("{how}:{}:{}", there["pid"], there["at"]);
            let attempt = Attempt::new("poke", to, 443).other(&which);
            let report = match policy {
                Some(policy) => attempt.under(&scene.daemon, policy)?,
                None => attempt.outside(scene.network.dev(), AGENT)?,
            };
            victim.write("go\n")?;
            victim.line(PATIENCE)?;
            Ok(report)
        })
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// Reading what another process has in its memory, at a place that it tells.
fn peeked() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let came = |policy: Option<&str>| -> Result<Came> {
        let mut victim = scene.outside(&Attempt::new("obey", &place.open_v4, 443))?;
        let there = line(&mut victim)?;
        let which = format!("{}:{}", there["pid"], there["at"]);
        // The probe is told what is there, and is content with nothing else.
        let attempt = Attempt::new("peek", &place.open_v4, 443).other(&which);
        let report = match policy {
            Some(policy) => attempt.under(&scene.daemon, policy)?,
            None => attempt.outside(scene.network.dev(), AGENT)?,
        };
        Ok(Came::of(&report, report.ok.then(|| report.detail.clone())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// A process outside that goes on like that, and what might end it.
fn first_to_end(follows: bool) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let came = |policy, victim: &mut Command| -> Result<Came> {
        let victim = Running::start(victim)?;
        let at = format!("/proc/{}/oom_score_adj", victim.pid());
        let name = format!("/proc/{}/comm", victim.pid());
        eventually("it runs", || {
            let name = fs::read_to_string(&name).unwrap_or_default();
            ["guard", "sleep"].contains(&name.trim())
        })?;
        std::thread::sleep(SOON / 10);
        let report = scene.script(&[], policy, &format!("echo 1000 >{at}"))?;
        let is_set = fs::read_to_string(&at)?.trim() == "1000";
        Ok(Came::of(&report, is_set.then(|| "set".to_owned())))
    };
    let mut sleeps = Command::new("setpriv");
    sleeps.args([
        &format!("--reuid={AGENT}"),
        &format!("--regid={AGENT}"),
        "--clear-groups",
        "sleep",
        "60",
    ]);
    let with = if follows {
        let mut pending = scene.daemon.agent(["pending", "--follow"]).command()?;
        came(Some("denied"), &mut pending)?
    } else {
        came(Some("denied"), &mut sleeps)?
    };
    Ok(Tried {
        with,
        without: came(None, &mut sleeps)?,
    })
}

fn ended(goes_on: &str, end: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let came = |policy| -> Result<Came> {
        let mut victim = Command::new("setpriv");
        victim.args([
            format!("--reuid={AGENT}"),
            format!("--regid={AGENT}"),
            "--clear-groups".to_owned(),
        ]);
        let mut victim = victim
            .args(["sh", "-c", &format!("echo ready; {goes_on}")])
            .stdout(Stdio::piped())
            .spawn()?;
        std::io::Read::read_exact(victim.stdout.as_mut().context("no output")?, &mut [0])?;
        let report = scene.script(&[], policy, &format!("{end} {}", victim.id()))?;
        let has_ended = eventually("it ends", || {
            matches!(victim.try_wait(), Ok(Some(_))) || !report.ok
        });
        let is_gone = has_ended.is_ok() && victim.try_wait()?.is_some();
        victim.kill()?;
        victim.wait()?;
        Ok(Came::of(&report, is_gone.then(|| "ended".to_owned())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}
