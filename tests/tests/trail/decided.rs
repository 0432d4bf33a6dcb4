//! Who decided, from where, what they saw, and what used the hole.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use guard_lab::{
    AGENT, Attempt, CONFIRMS, Daemon, Json as _, Production, Scene, Shell, Tested, bins, eventually,
};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{ASKED, OTHER, ask};

/// A terminal: whoever holds it, its other side, and its name below /dev.
fn terminal() -> (OwnedFd, OwnedFd, String) {
    let holder = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&holder).unwrap();
    unlockpt(&holder).unwrap();
    let path = ptsname(&holder, Vec::new()).unwrap().into_string().unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let side = rustix::fs::open(path.as_str(), flags, Mode::empty()).unwrap();
    (holder, side, path.trim_start_matches("/dev/").to_owned())
}

fn answer_at(daemon: &Daemon, side: OwnedFd, args: &[&str]) {
    let mut setsid = Command::new("setsid");
    setsid
        .args(["--ctty", "--wait"])
        .arg(bins::find("guard").unwrap());
    setsid.arg("--socket").arg(daemon.socket()).args(args);
    setsid.stdin(Stdio::from(side)).stdout(Stdio::null());
    assert!(setsid.status().unwrap().success());
}

#[test]
fn an_answer_says_who_from_where_and_what_they_saw() -> Tested {
    let Scene { network, daemon } = Scene::new("asks", CONFIRMS)?;
    let _production = Production::start(&network)?;
    let mut shell = Shell::start(&daemon, "asks")?;
    let yes = ask(&daemon, &mut shell, ASKED, 443);
    let (_holder, side, name) = terminal();
    answer_at(&daemon, side, &["approve", &yes]);
    let no = ask(&daemon, &mut shell, OTHER, 22);
    daemon.agent(["deny", &no]).json()?;
    let answered = daemon.logged("answered")?;
    let [yes, no] = &answered[..] else {
        panic!("{answered:?}")
    };
    assert_eq!(
        (&yes["answer"], &yes["by"]),
        (&"yes".into(), &"root".into())
    );
    let from = &yes["from"];
    assert_eq!(from["terminal"], name, "{from}");
    assert_eq!((&from["uid"], &from["right"]), (&0.into(), &"root".into()));
    assert_eq!(from["comm"], "guard");
    assert!(from["exe"].text()?.ends_with("/guard"), "{from}");
    assert!(from["pid"].as_u64() > Some(1));
    assert!(from["command"].list()?.contains(&"approve".into()));
    let shown = &yes["shown"];
    assert_eq!(shown["destination"]["address"], ASKED);
    assert_eq!(
        (&shown["rule"], &shown["verdict"]),
        (&"production".into(), &"confirm".into())
    );
    assert_eq!(shown["comm"], "guard-lab");
    assert_eq!(
        (&no["answer"], &no["from"]["right"]),
        (&"no".into(), &"owner".into())
    );
    assert_eq!(no["from"]["uid"], AGENT);
    assert_eq!(no["shown"]["destination"]["port"], 22);
    let opened = &daemon.logged("hole-open")?[0];
    assert_eq!(opened["from"]["terminal"], name);
    Ok(())
}

#[test]
fn the_end_of_a_hole_says_what_used_it() -> Tested {
    let Scene { network, daemon } = Scene::new("asks", CONFIRMS)?;
    let _production = Production::start(&network)?;
    let mut shell = Shell::start(&daemon, "asks")?;
    for (times, args) in [
        (3, &["open", ASKED, "--all-ports"][..]),
        (0, &["open", OTHER, "--ports", "tcp/443"]),
    ] {
        let hole = daemon.json(args)?;
        for _ in 0..times {
            assert!(shell.reaches(&Attempt::tcp(ASKED, 443))?);
        }
        daemon.json(["close", hole["id"].text()?])?;
        let closed = daemon.logged("hole-close")?;
        let closed = closed.last().unwrap();
        assert_eq!(closed["hole"], hole["id"]);
        assert_eq!(closed["connections"], times, "{closed}");
        assert_eq!(closed["from"]["comm"], "guard");
    }
    let hole = daemon.json(["open", ASKED, "--all-ports", "--for", "10s"])?;
    assert!(shell.reaches(&Attempt::tcp(ASKED, 443))?);
    let expired = || {
        daemon
            .logged("hole-close")
            .unwrap()
            .into_iter()
            .find(|one| one["hole"] == hole["id"])
    };
    eventually("it expires", || expired().is_some())?;
    let expired = expired().unwrap();
    assert_eq!(
        (&expired["connections"], &expired["by"]),
        (&1.into(), &().into()),
        "{expired}"
    );
    Ok(())
}
