//! The guard itself.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, ALLOWS, Attempt, Daemon, Running, Shell, bins};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::escapes::scene::{EscapeScene, WayAddresses, line, said};
use crate::escapes::way::{Came, Tried, closed, family};

pub(super) const INSIDE: &str = "guardd asks the kernel for the caller's cgroup at each call";

const WRITER: &str = "only the connecting process is answered";

family! { "The guard itself";
    alone: other_guardd, kill, unpin, steering, long_reason, flood, deaf;
    open: closed("`guard open` for its own session", "EPERM", INSIDE) => || opened(|scene, _| {
        Ok(format!("{} open $to --all-ports --session $GUARD_SESSION", guard(scene)?))
    });
    open_by_hand: closed("the same written to guardd's socket by hand", "EPERM", INSIDE) => || opened(by_hand);
    open_in_namespaces: closed("the same from own namespaces", "EPERM", INSIDE)
        .where_there_is("user namespaces") => || opened(|scene, to| {
            let own = "unshare --user --map-root-user --pid --fork --mount-proc";
            Ok(format!("{own} true && {own} {}", by_hand(scene, to)?))
        });
    handed_in: closed("a connection to guardd, fetched from outside", "EPERM", WRITER)
        => || over_anothers("helper", "by-helper");
    brought_in: closed("the same brought in by a willing process", "EPERM", WRITER)
        => || over_anothers("bring", "brought");
    nested: closed("`guard run` inside, under a policy that allows all", "EPERM", "all policies count")
        => || wider(None);
    other_guardd: closed("the same by another guardd", "", "inside one guard's session is inside for all")
        => || {
            let scene = EscapeScene::new()?;
            let other = Daemon::in_network(&scene.network).policy("open", ALLOWS).start()?;
            wider_by(&scene, "192.0.2.200", Some(&other))
        };
    policy_file: closed("changing the policy file while in force", "EPERM", "read once, at the start")
        => policy_file;
    take_over: closed("reaching into `guard run`, its parent", "Permission denied", "not dumpable")
        .without("is in its memory") => || {
            let place = WayAddresses::new()?;
            let script = "exec 3<>/proc/$PPID/mem";
            let outside = format!("bash -c '{script}' && true");
            let report = said(&mut place.scene.bash(&[], None, &outside)?)?;
            let without = Came::of(&report, report.ok.then(|| "opened".to_owned()));
            let report = place.scene.script(&[], Some("denied"), script)?;
            Ok(Tried { without, with: Came::of(&report, report.ok.then(|| "opened".to_owned())) })
        };
    kill: closed("killing guardd, with `CAP_KILL`", "Operation not permitted", "the session has no capability")
        .without("kills it") => kill;
    memory: closed("reaching into guardd, with `CAP_SYS_PTRACE`, `CAP_DAC_OVERRIDE`", "Permission denied", "the session has no capability")
        .without("is in its memory") => || {
            let place = WayAddresses::new()?;
            let pid = place.scene.daemon.pid().context("guardd does not run")?;
            with_capabilities(place.scene, &["sys_ptrace", "dac_override"], &format!("exec 3<>/proc/{pid}/mem"))
        };
    pin: closed("opening guardd's pins (`bpf`), with `CAP_BPF`, `CAP_DAC_OVERRIDE`", "EACCES", "root's; no capability")
        .without("opens it") => || {
            let place = WayAddresses::new()?;
            let pin = place.scene.daemon.pin_dir().join("live/link_connect4");
            let attempt = Attempt::new("open-pin", "::", 0).other(&pin.to_string_lossy()).args().join(" ");
            with_capabilities(place.scene, &["bpf", "sys_admin", "dac_override", "dac_read_search"], &format!("exec $probe {attempt}"))
        };
    unpin: closed("removing guardd's pins, with `CAP_DAC_OVERRIDE`", "Permission denied", "root's; no capability")
        .without("removes it") => || {
            let scene = EscapeScene::new()?;
            let pins = scene.daemon.pin_dir().to_owned();
            let script = format!("rm {}/live/link_*", pins.display());
            // The other order: once it is done, it is done.
            let report = scene.script(&["dac_override", "dac_read_search"], Some("denied"), &script)?;
            let is_gone = || !pins.join("live/link_connect4").exists();
            let with = Came::of(&report, is_gone().then(|| "removed".to_owned()));
            let report = scene.script(&["dac_override", "dac_read_search"], None, &script)?;
            Ok(Tried { without: Came::of(&report, is_gone().then(|| "removed".to_owned())), with })
        };
    typing: closed("typing into the starter's terminal (`TIOCSTI`)", "EPERM", "seccomp")
        .where_there_is("`dev.tty.legacy_tiocsti`").without("is typed") => typing;
    steering: closed("control characters in what a person is shown", "shown escaped", "as all from sessions")
        .without("reaches the terminal") => steering;
    long_reason: closed("a reason of 30 KiB, burying the rest", "shown shortened", "as all from sessions, or refused")
        .without("fills the terminal") => long_reason;
    flood: closed("a flood of requests", "guardd answers", "limits per session")
        .without("reaches guardd") => flood;
    deaf: closed("connections to guardd that never read", "guardd answers", "nobody waits for another's")
        .without("reaches guardd") => deaf;
}

fn guard(scene: &EscapeScene) -> Result<String> {
    let guard = bins::for_everybody("guard", scene.daemon.tag())?;
    Ok(format!(
        "GUARD_SOCKET={} {}",
        scene.daemon.socket().display(),
        guard.display()
    ))
}

fn by_hand(scene: &EscapeScene, to: &str) -> Result<String> {
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let attempt =
        Attempt::new("ask-to-open", to, 443).other(&scene.daemon.socket().to_string_lossy());
    Ok(format!("{} {}", probe.display(), attempt.args().join(" ")))
}

/// The owner of a session opens its way to production from outside; and the session itself does.
fn opened(open: impl Fn(&EscapeScene, &str) -> Result<String>) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let open = open(place.scene, &place.v4)?;
    opened_at(&place, [&open, &open])
}

/// Over a connection of somebody outside, who is there both times. Without the guard the one asks who has connected.
fn over_anothers(other: &str, asks: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(&place)?;
    let mut other = scene.outside(&Attempt::new(other, to, 443).other(&at))?;
    line(&mut other)?;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let verb = format!("dial {}:{at}", scene.daemon.socket().display());
    let asks = format!("{} probe {asks} {to} 443 '{verb}'", probe.display());
    opened_at(&place, [&asks, &by_hand(scene, to)?])
}

/// By the one script inside, and by the other outside.
fn opened_at(place: &WayAddresses, [inside, outside]: [&str; 2]) -> Result<Tried> {
    let (scene, to) = (place.scene, &place.v4);
    let attempt = Attempt::tcp(to, 443);
    let with = scene.came(to, || {
        let mut shell = Shell::start(&scene.daemon, "asks")?;
        shell.status_of(&format!("to={to}; {inside} >/dev/null 2>&1"))?;
        shell.attempt(&attempt)
    })?;
    let without = scene.came(to, || {
        let mut shell = Shell::start(&scene.daemon, "asks")?;
        let mut outside = scene.bash(&[], None, &format!("to={to}; {outside}"))?;
        let opened = said(outside.env("GUARD_SESSION", shell.session()))?;
        if opened.detail.contains("unshare") {
            return Ok(opened);
        }
        ensure!(opened.ok, "without the guard: {opened:?}");
        shell.attempt(&attempt)
    })?;
    let without = match without {
        Came::Stopped(why) if why.contains("unshare") => Came::Missing(why),
        other => other,
    };
    Ok(Tried { without, with })
}

fn wider(other: Option<&Daemon>) -> Result<Tried> {
    let place = WayAddresses::new()?;
    wider_by(place.scene, &place.v4, other)
}

/// A policy that allows all, asked for outside and inside.
fn wider_by(scene: &EscapeScene, to: &str, other: Option<&Daemon>) -> Result<Tried> {
    let socket = other.unwrap_or(&scene.daemon).socket();
    let program = bins::for_everybody("guard", scene.daemon.tag())?;
    let attempt = Attempt::tcp(to, 443).args().join(" ");
    let script = format!(
        "GUARD_SOCKET={} exec {} run --policy open -- $probe {attempt}",
        socket.display(),
        program.display()
    );
    scene.scripted(&[], &script, to)
}

fn policy_file() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let file = PathBuf::from(scene.socket(&place)?).with_extension("toml");
    fs::write(&file, crate::escapes::scene::DENIED)?;
    chown(&file, Some(AGENT), Some(AGENT))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let path = file.to_string_lossy().into_owned();
    let with = scene.came(to, || {
        let run = scene.daemon.agent(["run", "--policy", &path]);
        let mut shell = Shell::run_by(&scene.daemon, run)?;
        let write = format!("printf 'version = 1\\ndefault = \"allow\"\\n' >{path}");
        ensure!(
            shell.status_of(&write)? == 0,
            "the file could not be changed"
        );
        shell.attempt(&Attempt::tcp(to, 443))
    })?;
    // Without a session that is in force, what it has become decides.
    let without = scene.without(to, || Attempt::tcp(to, 443).under(&scene.daemon, &path))?;
    Ok(Tried { without, with })
}

/// A script that succeeds or not.
fn with_capabilities(scene: &EscapeScene, capabilities: &[&str], script: &str) -> Result<Tried> {
    let came = |policy| -> Result<Came> {
        let report = scene.script(capabilities, policy, script)?;
        Ok(Came::of(&report, report.ok.then(|| "done".to_owned())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

fn kill() -> Result<Tried> {
    let mut scene = EscapeScene::new()?;
    let pid = scene.daemon.pid().context("guardd does not run")?;
    let script = format!("kill -KILL {pid}");
    let report = scene.script(&["kill"], Some("denied"), &script)?;
    let with = Came::of(&report, report.ok.then(|| "killed".to_owned()));
    let report = scene.script(&["kill"], None, &script)?;
    ensure!(report.ok, "without the guard: {report:?}");
    let ended = scene.daemon.wait()?;
    Ok(Tried {
        without: Came::Through(ended.to_string()),
        with,
    })
}

/// On a terminal, whose input is looked at afterwards.
fn typing() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let came = |policy| -> Result<Came> {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&keys)?;
        unlockpt(&keys)?;
        let path = ptsname(&keys, Vec::new())?.into_string()?;
        let terminal = File::options().read(true).write(true).open(&path)?;
        let script = "exec setsid --ctty --wait $guard $probe probe type :: 0 echo-typed";
        let mut command = place.scene.bash(&[], policy, script)?;
        let report = said(command.stdin(terminal.try_clone()?))?;
        rustix::io::ioctl_fionbio(&terminal, true)?;
        let mut typed = vec![0; 64];
        let length = (&terminal).read(&mut typed).unwrap_or(0);
        let is_typed = String::from_utf8_lossy(&typed[..length]).contains("echo-typed");
        if report.errno.as_deref() == Some("EIO") {
            return Ok(Came::Missing(report.detail));
        }
        Ok(Came::of(&report, is_typed.then(|| "typed".to_owned())))
    };
    Ok(Tried {
        with: came(Some("denied"))?,
        without: came(None)?,
    })
}

/// What a person's `guard pending` shows of a session that asks with this reason.
fn asked(scene: &EscapeScene, to: &str, reason: &str) -> Result<String> {
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    let session = shell.session().to_owned();
    shell.status_of(&format!(
        "{} request {to}:443 --reason \"$(printf '{reason}')\" >/dev/null 2>&1",
        guard(scene)?
    ))?;
    let pending = scene.daemon.root(["pending"]).run()?.success()?;
    scene.daemon.root(["stop", &session]).run()?;
    Ok(pending.stdout)
}

fn steering() -> Result<Tried> {
    const REASON: &str = "\\033]0;title\\007\\033[2Jsteering";
    let scene = EscapeScene::new()?;
    let printed = scene
        .bash(&[], None, &format!("printf '{REASON}'"))?
        .stdin(std::process::Stdio::null())
        .output()?;
    let has_controls = |text: &str| {
        text.contains(['\u{1b}', '\u{7}'])
            .then(|| "control characters".to_owned())
    };
    let shown = asked(&scene, "192.0.2.200", REASON)?;
    ensure!(
        shown.contains("steering"),
        "it is not shown at all: {shown}"
    );
    let came = |text: &str, what: &str| {
        has_controls(text).map_or(Came::Stopped(what.to_owned()), Came::Through)
    };
    Ok(Tried {
        with: came(&shown, "shown escaped"),
        without: came(&String::from_utf8_lossy(&printed.stdout), "nothing"),
    })
}

fn long_reason() -> Result<Tried> {
    /// Far more than a person reads.
    const SCREEN: usize = 4000;
    let scene = EscapeScene::new()?;
    let reason = "buried ".repeat(30 * 1024 / 7);
    let shown = asked(&scene, "192.0.2.200", &reason)?;
    let came = |length: usize| match length {
        ..SCREEN => Came::Stopped("shown shortened".to_owned()),
        _ => Came::Through(format!("{length} bytes")),
    };
    let printed = scene
        .bash(&[], None, &format!("printf '{reason}'"))?
        .stdin(std::process::Stdio::null())
        .output()?;
    Ok(Tried {
        with: came(shown.len()),
        without: came(printed.stdout.len()),
    })
}

/// Whether guardd answers a person while that goes on.
fn answers(scene: &EscapeScene) -> Result<Came> {
    let mut asks = scene.daemon.root(["pending"]).spawn()?;
    let answered = guard_lab::eventually("guardd answers", || asks.has_ended());
    Ok(if answered.is_ok() && asks.wait()?.success() {
        Came::Stopped("guardd answers".to_owned())
    } else {
        Came::Through("no answer".to_owned())
    })
}

fn flood() -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    let requests = format!(
        "for i in $(seq 1 40); do {0} request 192.0.2.$i:443 --reason x >/dev/null 2>&1 & {0} request 192.0.2.$i:80 >/dev/null 2>&1 & done; wait; echo done",
        guard(&scene)?
    );
    shell.tell(&requests)?;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let attempts = "192.0.2.100 443 150x1 --timeout 500";
    let with = answers(&scene)?;
    shell.line_with("done")?;
    shell.status_of(&format!("{} probe spread {attempts}", probe.display()))?;
    let with = match answers(&scene)? {
        Came::Stopped(_) => with,
        slow => slow,
    };
    let pending = scene.daemon.root(["pending"]).json()?;
    let count = pending.as_array().map_or(0, Vec::len);
    let without = match count {
        0 => Came::Stopped("no request came".to_owned()),
        _ => Came::Through(format!("{count} requests")),
    };
    Ok(Tried { without, with })
}

fn deaf() -> Result<Tried> {
    let scene = EscapeScene::new()?;
    let attempt = Attempt::new("deaf", "::", 0).other(&scene.daemon.socket().to_string_lossy());
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let run = scene.daemon.agent(["run", "--policy", "denied", "--"]);
    let mut inside: Running = run.args([probe]).args(attempt.args()).spawn()?;
    let count = line(&mut inside)?["deaf"].as_u64().unwrap_or(0);
    let without = match count {
        0 => Came::Stopped("no connection".to_owned()),
        _ => Came::Through(format!("{count} connections")),
    };
    Ok(Tried {
        without,
        with: answers(&scene)?,
    })
}
