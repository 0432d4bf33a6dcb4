//! On a machine where the guard works.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::thread;

use guard_lab::{AGENT, Daemon, Json as _, Output, Shell, Tested};
use serde_json::Value;

use crate::doctor::{Rows, started};
use crate::together::{cases, each};

/// What has to be so for any other test of this project to work.
const SURE: [&str; 18] = [
    "guardd",
    "one version",
    "hook egress",
    "hook connect4",
    "hook connect6",
    "hook sendmsg4",
    "hook sendmsg6",
    "hook sock_create",
    "maps",
    "programs at cgroups",
    "cgroup v2",
    "root owns the cgroups",
    "connections are cut",
    "control verbs",
    "TIOCSTI",
    "ptrace",
    "process_vm_readv",
    "/proc/PID/mem",
];

#[test]
fn what_it_tries_is_in_no_report() -> Tested {
    let (_network, daemon) = started()?;
    assert!(!Rows::by_agent(&daemon).all.is_empty());
    let report = |args: &[&str]| {
        let args = [&["report", "--json"], args].concat();
        daemon.agent(args).run().unwrap().json().unwrap()
    };
    let all: Value = report(&[]);
    assert_eq!(all["sessions"], serde_json::json!([]), "{all}");
    assert_eq!(all["refused"], 0, "{all}");
    let ask = |args: &[&str]| {
        daemon
            .agent(args.iter().copied())
            .run()
            .unwrap()
            .json()
            .unwrap()
    };
    let status = ask(&["status", "--json"]);
    assert_eq!(
        (&status["sessions"], &status["refused"]),
        (&0.into(), &0.into()),
        "{status}"
    );
    let policies = status["policies"].list()?;
    assert!(
        policies.iter().all(|one| one["name"] != "doctor"),
        "{status}"
    );
    // The log has it, and so has a report of it alone.
    let own = report(&["--name", "guard doctor"]);
    assert_ne!(own["refused"], 0, "{own}");
    Ok(())
}

fn what_holds_is_ok_and_was_tried(daemon: &Daemon) -> Tested {
    for rows in [Rows::by_root(daemon), Rows::by_agent(daemon)] {
        for check in SURE {
            rows.ok(check);
        }
        for check in ["TCP over IPv4", "TCP over IPv6", "UDP"] {
            assert_eq!(rows.ok(check), "in a session EPERM; outside it works");
        }
        // Without a control that works a refusal might be the kernel's word about anything.
        for check in ["ptrace", "process_vm_readv", "/proc/PID/mem"] {
            assert!(rows.ok(check).ends_with("; outside it works"), "{check}");
        }
        for check in ["packet sockets", "vsock", "io_uring"] {
            assert!(rows.ok(check).starts_with("in a session EPERM"), "{check}");
        }
        for check in ["cgroup.procs", "a user namespace"] {
            rows.ok(check);
        }
        let expected = if rows.all_open().is_empty() { 0 } else { 1 };
        assert_eq!(rows.code, Some(expected), "{:?}", rows.all_open());
    }
    // What it looked with is gone.
    assert_eq!(daemon.json(["sessions"])?, serde_json::json!([]));
    Ok(())
}

fn each_row_has_the_same_fields_and_a_fix_where_it_is_not_ok(daemon: &Daemon) -> Tested {
    let rows = Rows::by_root(daemon);
    let fields = [
        "check", "detail", "family", "fix", "ok", "required", "state",
    ];
    for row in &rows.all {
        let found: BTreeSet<_> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(found, BTreeSet::from(fields), "{row}");
        assert!(!row["detail"].text()?.is_empty(), "{row}");
        assert_eq!(row["fix"].is_null(), row["ok"] == true, "{row}");
        let states = if row["ok"] == true {
            &["ok"][..]
        } else {
            &["open", "missing"]
        };
        assert!(states.contains(&row["state"].text()?), "{row}");
    }
    let checks: BTreeSet<_> = rows
        .all
        .iter()
        .map(|row| row["check"].to_string())
        .collect();
    assert_eq!(checks.len(), rows.all.len(), "two rows have one name");
    Ok(())
}

fn each_row_is_explained(daemon: &Daemon) -> Tested {
    for rows in [Rows::by_root(daemon), Rows::by_agent(daemon)] {
        for row in &rows.all {
            let check = row["check"].text()?;
            let told = daemon.agent(["doctor", "--explain", check]).json()?;
            let name = told["check"].text()?;
            assert_eq!(check.split(": ").next(), Some(name), "{row}");
            assert_eq!(told["required"], row["required"], "{row}");
            assert!(told["text"].text()?.ends_with('.'), "{told}");
            // What nobody could look at takes somebody who can.
            let is_seen = !row["detail"].text()?.starts_with("could not tell: ");
            if is_seen && !row["fix"].is_null() {
                assert_eq!(told["fix"], row["fix"], "{row}");
            }
            assert!(told["fix"].text()?.len() > 5, "{told}");
        }
    }
    let unknown = daemon.agent(["doctor", "--explain", "no such row"]);
    let unknown = unknown.run()?;
    assert_eq!(unknown.code(), Some(2));
    assert!(unknown.stderr.contains("guard doctor --explain"));
    Ok(())
}

#[test]
fn it_says_when_production_was_looked_for() -> Tested {
    let (_network, daemon) = started()?;
    let [home, project] = ["home", "project"].map(|name| {
        let dir = daemon.dir().join(name);
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(AGENT), Some(AGENT)).unwrap();
        dir
    });
    let env = project.join(".env");
    fs::write(&env, "CACHE_URL=redis://:word@cache.example.net\n")?;
    chown(&env, Some(AGENT), Some(AGENT))?;
    let guard = |args: &[&str]| -> Tested<Output> {
        let guard = daemon.agent(args.iter().copied()).env("HOME", &home);
        let guard = guard.without(["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"]);
        let mut command = guard.command()?;
        Ok(command.current_dir(&project).output()?.into())
    };
    let row = || -> Tested<Value> {
        let rows = Rows::said(&guard(&["doctor", "--json"])?);
        let row = rows.find("production was looked for");
        Ok(row.cloned().unwrap())
    };
    let before = row()?;
    assert_eq!(before["ok"], false, "{before}");
    assert_eq!(before["required"], false, "{before}");
    let found = guard(&["discover", "--json"])?;
    assert_eq!(found.code(), Some(0), "{found:?}");
    let after = row()?;
    assert_eq!(after["ok"], true, "{after}");
    let whole = project.canonicalize()?;
    let words = format!("in {}: 1 looked like production, ", whole.display());
    assert!(after["detail"].text()?.contains(&words), "{after}");
    let file = home.join(".local/state/guard/looked.json");
    assert!(!fs::read_to_string(&file)?.contains("example.net"));
    // What somebody else has written counts for nothing.
    chown(&file, Some(AGENT + 1), None)?;
    let doubted = row()?;
    assert_eq!(doubted["ok"], false, "{doubted}");
    assert!(
        doubted["detail"].text()?.starts_with("could not tell"),
        "{doubted}"
    );
    Ok(())
}

fn the_text_fits_a_terminal_and_says_all_that_the_json_does(daemon: &Daemon) -> Tested {
    let rows = Rows::by_agent(daemon);
    let short = daemon.agent(["doctor"]).run()?;
    assert_eq!(short.code(), rows.code);
    let text = daemon.agent(["doctor", "--all"]).run()?;
    assert_eq!(text.code(), rows.code);
    assert!(!text.stdout.contains('\u{1b}'), "a pipe has no colours");
    for line in text.stdout.lines().chain(short.stdout.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let words = short
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    // What is required, with what to do, comes first; each of the others in one line, with its fix.
    let is_open = |row: &&Value| row["ok"] == false;
    let (required, others): (Vec<_>, Vec<_>) = rows
        .all
        .iter()
        .filter(is_open)
        .partition(|row| row["required"] == true);
    for row in &required {
        for said in [row["check"].text()?, row["fix"].text()?] {
            assert!(words.contains(said), "{row}: {words}");
        }
    }
    let lines: Vec<_> = short.stdout.lines().collect();
    for (at, row) in others.iter().enumerate() {
        let line = lines[lines.len() - 1 - others.len() + at];
        let start = format!("  {}: ", row["check"].text()?);
        let fix = line.strip_prefix(&start).unwrap_or_default();
        // What nobody could look at may have more to say than fits.
        let is_unclear = row["detail"].text()?.starts_with("could not tell: ");
        let is_told = fix == row["fix"].text()?;
        assert!(
            is_told || (is_unclear && fix == "guard doctor --all"),
            "{row}: {line}"
        );
    }
    assert!(
        !required.is_empty() || lines.len() == 2 + others.len(),
        "{words}"
    );
    for row in &rows.all {
        let start = format!("  {:<8} ", row["state"].text()?);
        let check = row["check"].text()?;
        let is_its = |line: &str| {
            line.strip_prefix(&start)
                .is_some_and(|line| line.starts_with(check))
        };
        assert!(text.stdout.lines().any(is_its), "{row}: {}", text.stdout);
    }
    let fixes = text
        .stdout
        .lines()
        .filter(|line| line.trim_start().starts_with("fix: "));
    let not_ok = rows.all.iter().filter(|row| row["ok"] == false);
    assert_eq!(fixes.count(), not_ok.count());
    Ok(())
}

fn whoever_is_inside_is_told_nothing(daemon: &Daemon) -> Tested {
    let mut shell = Shell::start(daemon, "asks")?;
    let guard = daemon.program("guard")?;
    let said = daemon.dir().join("said");
    std::fs::write(&said, "")?;
    std::os::unix::fs::chown(&said, Some(AGENT), None)?;
    for (form, word) in [("", "guard why"), ("--json", "{\"error\":{")] {
        let line = format!(
            "{} doctor {form} > {} 2>&1",
            guard.display(),
            said.display()
        );
        assert_eq!(shell.status_of(&line)?, 2);
        let said = std::fs::read_to_string(&said)?;
        assert!(
            said.contains("inside a guarded cgroup") && said.contains(word),
            "{said}"
        );
        assert!(!said.contains("hook"), "{said}");
    }
    Ok(())
}

#[test]
fn several_may_ask_at_once() -> Tested {
    let (_network, daemon) = started()?;
    let all: Vec<_> = thread::scope(|scope| {
        let ask = |_| scope.spawn(|| Rows::by_agent(&daemon));
        let asked: Vec<_> = (0..4).map(ask).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for rows in &all {
        for check in SURE.into_iter().chain(["TCP over IPv4", "UDP"]) {
            rows.ok(check);
        }
    }
    Ok(())
}

#[test]
fn together() -> Tested {
    let (_network, daemon) = started()?;
    each(
        &daemon,
        cases![
            what_holds_is_ok_and_was_tried,
            each_row_has_the_same_fields_and_a_fix_where_it_is_not_ok,
            each_row_is_explained,
            the_text_fits_a_terminal_and_says_all_that_the_json_does,
            whoever_is_inside_is_told_nothing,
        ],
    )
}
