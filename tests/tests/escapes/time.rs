//! Time: holes and their ends.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use guard_lab::{AGENT, Attempt, PATIENCE, Report, Running, Shell, eventually, patience};

use crate::escapes::scene::{EscapeScene, WayAddresses, line};
use crate::escapes::way::{Came, Tried, closed, family};

pub(super) const CLOCK: &str = "the kernel compares with its own clock, for each packet";

family! { "Time, and the ends of holes";
    alone: connection, datagrams, many, killed, killed_connection, closed_hole, stopped, sendfile, splice;
    connection: closed("a connection that outlives its hole", "nothing arrives", CLOCK)
        .without("goes on") => || outliving("hold-open", 443, ended);
    datagrams: closed("datagrams past the hole's end", "nothing arrives", CLOCK)
        .without("goes on") => || outliving("flood", 53, ended);
    many: closed("connections in turn past the hole's end", "nothing arrives", CLOCK)
        .without("goes on") => || outliving("keep", 443, ended);
    killed: closed("the same, with guardd killed (`SIGKILL`) meanwhile", "nothing arrives", CLOCK)
        .without("goes on") => || outliving("flood", 53, |scene, _| {
            scene.daemon.kill()?;
            wait_for_the_end()
        });
    killed_connection: closed("a connection, with guardd killed meanwhile", "nothing arrives", CLOCK)
        .without("goes on") => || outliving("hold-open", 443, |scene, _| {
            scene.daemon.kill()?;
            wait_for_the_end()
        });
    closed_hole: closed("a connection after a person closed the hole", "nothing arrives", "guardd cuts it")
        .without("goes on") => || outliving("hold-open", 443, |scene, hole| {
            scene.daemon.root(["close", hole]).run()?.success().map(drop)
        });
    stopped: closed("a session after a person stopped it", "nothing arrives", "`guard stop`")
        .without("goes on") => || outliving("flood", 53, |scene, _| {
            scene.daemon.root(["stop", "s1"]).run()?.success().map(drop)
        });
    sendfile: closed("`sendfile` to an ended hole's connection, with guardd killed", "", "egress")
        => || late("sendfile");
    splice: closed("`splice` to one", "", "egress")
        => || late("splice");
    namespace: closed("a time namespace that has just started", "EPERM", "the kernel's clock")
        .where_there_is("time and user namespaces") => namespace;
    connections: closed("twenty connections at once through a hole for one", "one", "the kernel counts each")
        .without("twenty arrive") => connections;
    bytes: closed("a megabyte by a hole for 64 KiB", "ECONNABORTED", "the packet that does not fit ends it")
        => bytes;
}

/// How long holes last here.
const HOLE: Duration = Duration::from_secs(10);
const FOR: &str = "10s";

/// Nothing is done: it ends by itself.
fn ended(_: &mut EscapeScene, _: &str) -> Result<()> {
    wait_for_the_end()
}

fn wait_for_the_end() -> Result<()> {
    // guardd may be gone, and nobody else says when the kernel's clock has come there. The hole began before this does.
    thread::sleep(HOLE);
    Ok(())
}

/// Something that goes on, by a hole that ends meanwhile; and the same without a guard, where nothing ends.
fn outliving(
    kind: &str,
    port: u16,
    end: impl Fn(&mut EscapeScene, &str) -> Result<()>,
) -> Result<Tried> {
    let mut scene = EscapeScene::new()?;
    let (outside, inside) = ("192.0.2.201", "192.0.2.202");
    let mut running = scene.outside(&Attempt::new(kind, outside, port))?;
    let before = scene.packets_of_sockets_to(outside)?;
    eventually("it goes on without the guard", || {
        let now = scene.packets_of_sockets_to(outside);
        now.is_ok_and(|now| now > before)
    })?;
    let without = Came::Through("goes on".to_owned());
    drop(running.signal(rustix::process::Signal::KILL));
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    let hole = scene
        .daemon
        .root(["open", inside, "--all-ports", "--for", FOR])
        .json()?;
    shell.begin(&Attempt::new(kind, inside, port))?;
    eventually("it arrives while it may", || {
        scene.packets_to(inside).is_ok_and(|count| count > 0)
    })?;
    end(&mut scene, hole["id"].as_str().unwrap_or_default())?;
    // What was on its way arrives: production tells of a mark that was sent behind it.
    scene.packets_to(inside)?;
    let with = goes_on(&scene, inside)?;
    Ok(Tried { without, with })
}

/// A connection that is silent until its hole has ended, and nobody is there who could cut it.
fn late(how: &str) -> Result<Tried> {
    let mut scene = EscapeScene::new()?;
    let to = "192.0.2.202";
    let attempt = Attempt::new("late", to, 443);
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    scene
        .daemon
        .root(["open", to, "--all-ports", "--for", FOR])
        .run()?
        .success()?;
    shell.begin(&attempt)?;
    shell.line_with("connected")?;
    scene.daemon.kill()?;
    wait_for_the_end()?;
    let with = scene.came(to, || {
        shell.tell(how)?;
        Report::parse(&shell.line_with("\"ok\"")?)
    })?;
    let mut outside = scene.outside(&attempt)?;
    line(&mut outside)?;
    let without = scene.without(to, || {
        outside.write(&format!("{how}\n"))?;
        Report::parse(&outside.line(PATIENCE)?)
    })?;
    Ok(Tried { without, with })
}

/// Whether packets of it arrive for a second. Resets do not count: where a hole ends in the middle of a handshake, production
/// repeats its half of it, and to a segment for a connection that is gone the kernel itself says so.
fn goes_on(scene: &EscapeScene, to: &str) -> Result<Came> {
    let before = scene.packets_of_sockets_to(to)?;
    // That nothing comes has no event. Each of them sends every 50 ms or more often.
    thread::sleep(patience(Duration::from_secs(1)));
    Ok(match scene.packets_of_sockets_to(to)? - before {
        0 => Came::Stopped("nothing arrives".to_owned()),
        more => Came::Through(format!("{more} packets in a second")),
    })
}

/// A session, and a hole for it with these terms.
fn through_hole(scene: &EscapeScene, to: &str, terms: &[&str]) -> Result<Shell> {
    let shell = scene.shell("asks")?;
    let open = ["open", to, "--all-ports", "--session", shell.session()];
    let open = [&open, terms].concat();
    scene.daemon.root(open).run()?.success()?;
    Ok(shell)
}

/// The hole has ended; for a process in that namespace it is as if it had not.
fn namespace() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let attempt = Attempt::tcp(to, 443);
    let script = format!(
        "exec unshare --user --map-root-user --time --boottime -$(($(cut -d. -f1 /proc/uptime) / 2)) --fork $probe {}",
        attempt.args().join(" ")
    );
    let without = scene.came(to, || scene.script(&[], None, &script))?;
    let without = match without {
        Came::Stopped(why) if why.contains("unshare") => Came::Missing(why),
        other => other,
    };
    let mut shell = through_hole(scene, to, &["--for", FOR])?;
    ensure!(shell.reaches(&attempt)?, "the hole lets nothing through");
    wait_for_the_end()?;
    let probe = guard_lab::bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let script = script
        .replace("$probe", &probe.to_string_lossy())
        .replace("exec ", "");
    let with = scene.came(to, || {
        shell.tell(&script)?;
        Report::parse(&shell.line_with("\"ok\"")?)
    })?;
    Ok(Tried { without, with })
}

fn connections() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let attempt = Attempt::new("at-once", to, 443).other("20");
    let came = |connected: u64| match connected {
        0 | 1 => Came::Stopped(if connected == 1 { "one" } else { "none" }.to_owned()),
        more => Came::Through(format!("{more} connections")),
    };
    let mut outside: Running = scene.outside(&attempt)?;
    let without = came(line(&mut outside)?["connected"].as_u64().unwrap_or(0));
    let mut shell = through_hole(scene, to, &["--connections", "1"])?;
    shell.begin(&attempt)?;
    let said = shell.line_with("connected")?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    Ok(Tried {
        without,
        with: came(said["connected"].as_u64().unwrap_or(0)),
    })
}

fn bytes() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let attempt = Attempt::new("upload", to, 443).timeout(patience(PATIENCE));
    let came = |report: Report| Came::of(&report, report.ok.then(|| "all of it".to_owned()));
    let without = came(attempt.outside(scene.network.dev(), AGENT)?);
    let mut shell = through_hole(scene, to, &["--bytes", "64KiB"])?;
    Ok(Tried {
        without,
        with: came(shell.attempt(&attempt)?),
    })
}
