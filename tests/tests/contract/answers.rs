//! `pending`, `approve`, `deny`, `open`, `holes`, `close`, `stop`: what a person answers, and what it does.

use guard_lab::{Tested, V6, eventually};
use serde_json::json;

use super::{Lab, V4, id, say};
use crate::watch::terminal::Tmux;

#[test]
fn a_session_whose_command_has_ended_is_nobodys_only_one() -> Tested {
    let lab = Lab::new()?;
    let leave = "sleep 300 > /dev/null 2>&1 &";
    let run = [
        "run", "--policy", "asks", "--name", "deploy", "--quiet", "--", "sh", "-c", leave,
    ];
    lab.daemon.agent(run).run()?.success()?;
    eventually("the end of its command is noticed", || {
        Ok(lab.daemon.json(["sessions"])?[0]["command_ended_at"].is_string())
    })?;
    let session = lab.daemon.json(["sessions"])?[0].clone();
    assert_eq!(session["left"][0]["comm"], "sleep");
    let listed = lab.root(&["sessions"])?.stdout;
    let left = format!("left: sleep ({})", session["left"][0]["pid"]);
    assert!(
        listed.contains("s1: command ended ") && listed.contains(&left),
        "{listed}"
    );
    let refused = lab.root(&["open", "192.0.2.10:443"])?;
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused
            .stderr
            .contains("the command has ended of what is left: s1"),
        "{}",
        refused.stderr
    );
    // Nor does its name mean it: whoever types that may mean the next one.
    let refused = lab.root(&["open", "192.0.2.10:443", "--session", "deploy"])?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--session s1"), "{refused:?}");
    // Who gives its id gets it; and one whose command runs is the only one beside it.
    assert_eq!(
        lab.daemon
            .json(["open", "192.0.2.10:443", "--session", "s1"])?["session"],
        "s1"
    );
    let _shell = lab.shell()?;
    assert_eq!(
        lab.daemon.json(["open", "192.0.2.10:443"])?["session"],
        "s2"
    );
    assert_eq!(lab.daemon.json(["sessions"])?[1]["left"], json!([]));
    assert_eq!(lab.root(&["stop", "s1"])?.code(), Some(0));
    Ok(())
}

/// A program that has the terminal for itself is left alone: it reads keys, or draws.
#[test]
fn what_waits_is_told_at_the_terminal_of_its_command_alone() -> Tested {
    let lab = Lab::new()?;
    let _watcher = lab.watcher()?;
    let tmux = Tmux::start(lab.daemon.dir());
    let window = tmux.window_of("run", 200, 50);
    let (raw, plain) = (lab.tcp(V4)?, lab.tcp(V6)?);
    let script = format!("stty -icanon -echo; {raw}; stty icanon echo; {plain}");
    let run = ["run", "--policy", "asks", "--", "sh", "-c", &script];
    window.guard(&lab.daemon.agent(run));
    eventually("the first waits", || {
        Ok(lab.daemon.json(["pending"])?[0]["held"] == true)
    })?;
    assert_eq!(lab.root(&["deny", "r1"])?.code(), Some(0));
    // What is told comes in the order in which it was asked.
    let words = "(request r2): guard watch, in another terminal";
    window.expect(&format!("guard: waits for a yes to tcp [{V6}]:443 {words}"));
    assert_eq!(lab.root(&["deny", "r2"])?.code(), Some(0));
    let screen = window.expect("guard report --session s1");
    assert_eq!(screen.matches("waits for a yes").count(), 1, "{screen}");
    Ok(())
}

#[test]
fn what_was_refused_first_and_is_held_later_is_told_at_the_terminal_too() -> Tested {
    let lab = Lab::new()?;
    let tmux = Tmux::start(lab.daemon.dir());
    let window = tmux.window_of("run", 200, 50);
    let tcp = lab.tcp(V4)?;
    let script = format!("{tcp}; read line; {tcp}");
    let run = ["run", "--policy", "asks", "--", "sh", "-c", &script];
    window.guard(&lab.daemon.agent(run));
    eventually("the first is refused", || Ok(lab.pending()?.len() == 1))?;
    assert_eq!(lab.pending()?[0]["held"], false);
    let _watcher = lab.watcher()?;
    window.press(&["Enter"]);
    let words = "(request r1): guard watch, in another terminal";
    window.expect(&format!("guard: waits for a yes to tcp {V4}:443 {words}"));
    assert_eq!(lab.root(&["deny", "r1"])?.code(), Some(0));
    let screen = window.expect("guard report --session s1");
    assert_eq!(screen.matches("waits for a yes").count(), 1, "{screen}");
    Ok(())
}

#[test]
fn a_hole_may_be_for_reads_alone() -> Tested {
    let lab = Lab::new()?;
    let production = lab.production()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let mut send = |method| {
        let url = format!("http://{V4}:443/");
        let curl = format!("curl -s -o /dev/null -m 60 -w '%{{http_code}}' -X {method} {url}");
        Tested::Ok(say(&mut shell, &curl)?.text)
    };
    for verb in [&["approve", id(&request)][..], &["open", V4, "--all-ports"]] {
        let hole = lab.daemon.json([verb, &["--read-only"]].concat())?;
        assert_eq!(hole["read_only"], true);
        assert_eq!(lab.daemon.json(["holes"])?[0]["read_only"], true);
        assert!(send("GET")?.contains("200"));
        assert!(send("PUT")?.contains("403"));
        lab.daemon.json(["close", id(&hole)])?;
    }
    let requests = production.requests()?;
    let methods: Vec<_> = requests.iter().map(|one| one.text("method")).collect();
    assert_eq!(methods, ["GET", "GET"]);
    let hole = lab.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(hole["read_only"], false);
    assert!(lab.reaches(&mut shell, V4)?);
    assert!(!production.reached_at(V4, 443)?.is_empty());
    Ok(())
}

#[test]
fn all_are_closed_at_once() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    assert_eq!(lab.daemon.json(["close", "--all"])?, json!([]));
    lab.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(lab.daemon.json(["close", "--all"])?[0]["id"], "h1");
    lab.daemon.json(["open", V4, "--all-ports"])?;
    lab.daemon.json(["open", V6, "--all-ports"])?;
    let both = lab.daemon.json(["close", "h2", "h3"])?;
    assert_eq!(both[1]["id"], "h3", "{both}");
    // One that has ended keeps the others from nothing; of what is no id nothing is closed.
    for _ in 0..2 {
        lab.daemon.json(["open", V4, "--all-ports"])?;
    }
    assert_eq!(lab.root(&["close", "h4", "5m"])?.code(), Some(2));
    assert_eq!(lab.daemon.json(["holes"])?[0]["id"], "h4");
    let closed = lab.root(&["close", "h98", "h4", "h99", "h5"])?;
    assert_eq!(closed.code(), Some(2));
    for gone in ["h98", "h99"] {
        assert!(
            closed.stderr.contains(&format!("no hole {gone}")),
            "{closed:?}"
        );
    }
    assert!(!closed.stderr.contains("still lets pass"), "{closed:?}");
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    // Of two for one place each lets pass what the other did.
    lab.daemon.json(["open", V4, "--all-ports"])?;
    lab.daemon.json(["open", "192.0.2.10:443"])?;
    let closed = lab.root(&["close", "h7"])?;
    assert!(
        closed
            .stderr
            .contains("h6 still lets pass what h7 did: guard close h6"),
        "{closed:?}"
    );
    let closed = lab.root(&["close", "h6"])?;
    assert!(!closed.stderr.contains("still"), "{closed:?}");
    Ok(())
}

#[test]
fn a_session_is_stopped_with_all_its_processes() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    say(
        &mut shell,
        "setsid sleep 300 > /dev/null 2>&1 < /dev/null &",
    )?;
    let stopped = lab.daemon.json(["stop", "s1"])?;
    assert_eq!(stopped["id"], "s1");
    assert_eq!(shell.wait()?.code(), Some(137));
    assert_eq!(lab.daemon.json(["sessions"])?, json!([]));
    assert!(!lab.daemon.cgroup_root().join("s1").exists());
    assert_eq!(lab.root(&["stop", "s1"])?.code(), Some(2));
    Ok(())
}

#[test]
fn a_hole_as_wide_as_the_internet_is_asked_about_at_a_terminal() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    let tmux = Tmux::start(lab.daemon.dir());
    let asked = |name: &str, answer: &str| {
        let window = tmux.window_of(name, 160, 40);
        let open = ["open", "0.0.0.0/0", "--ports", "tcp/443"];
        window.guard(&lab.daemon.agent(open));
        window.expect("4294967296 addresses");
        window.expect("Open all of that? [y/N]");
        window.enter(answer);
        window
    };
    asked("no", "n").expect("Nothing is opened.");
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    asked("yes", "y").expect("open for s1: 0.0.0.0/0 tcp/443");
    assert_eq!(lab.daemon.json(["holes"])?[0]["id"], "h1");
    Ok(())
}
