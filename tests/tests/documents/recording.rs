//! What the documents show of guard is what it prints: recorded again, and compared.
//!
//! `cargo xtask docs --record` has these tests write it. What differs from run to run (numbers, times, what curl says of
//! itself) is not compared.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use guard_lab::{
    AGENT, Daemon, Network, PATIENCE, Production, Running, Shell, Tested, Watcher, eventually,
};
use serde_json::Value;

use crate::watch::terminal::Tmux;

/// The environment variable by which documents are written and not compared.
const WRITE: &str = "GUARD_LAB_WRITE_DOCUMENTS";

/// Production's photo server, and the request that must not get there unasked.
const SERVER: &str = "192.0.2.10";
const PORT: u16 = 2283;
const JOB: &str = "/api/jobs/thumbnailGeneration";

const POLICY: &str = r#"version = 1
name = "demo"
default = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
reason = "production photo server"
"#;

/// Compares what was recorded with what a document shows under a name, or writes it there.
fn compare(file: &str, name: &str, recorded: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let document = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- recorded by cargo xtask docs --record: {name} -->\n```text\n");
    let (_, rest) = document
        .split_once(&begin)
        .expect("nothing is shown under that name");
    let (shown, _) = rest.split_once("```\n").expect("it ends nowhere");
    if env::var_os(WRITE).is_some() {
        let old = format!("{begin}{shown}```\n");
        let new = format!("{begin}{}\n```\n", recorded.trim_end());
        fs::write(path, document.replacen(&old, &new, 1)).unwrap();
        return;
    }
    let [shown, recorded] =
        [shown, recorded].map(|text| text.lines().map(same).collect::<Vec<_>>());
    let [shown, recorded] = [shown, recorded].map(|lines| lines.join("\n").trim_end().to_owned());
    assert_eq!(
        shown, recorded,
        "{file} shows something else than what comes: `cargo xtask docs --record` writes it again"
    );
}

/// A line without what differs from run to run.
fn same(line: &str) -> String {
    // curl's own words differ from version to version.
    let line = match line.split_once("curl: (") {
        Some((before, rest)) => {
            format!("{before}curl:{}", rest.split(')').next().unwrap_or(rest))
        }
        None => line.to_owned(),
    };
    let line = line.replace("just now", "0 s ago");
    // How many are left when a hole is shown depends on who was sooner.
    let line = line.replace("connections", "connection");
    let mut words: Vec<String> = line.split_whitespace().map(without_number).collect();
    if line.trim_end().ends_with('…') {
        // Where it is cut depends on how long a number was.
        words.truncate(5);
    }
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        let is_unit = matches!(&*word, "s" | "min" | "h");
        match kept.last_mut() {
            Some(last) if is_unit && last == "#" => *last = "#t".to_owned(),
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}

/// Numbers that are no addresses, ports or paths differ.
fn without_number(word: &str) -> String {
    let is_id = word
        .chars()
        .all(|c| c.is_ascii_digit() || "(),.:-".contains(c));
    let is_address = word.matches('.').count() >= 3;
    if is_id && word.contains(|c: char| c.is_ascii_digit()) && !is_address {
        "#".to_owned()
    } else {
        word.to_owned()
    }
}

/// Reads lines to the last command that answers a request.
fn asked_line(watching: &mut Running) -> Tested<String> {
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.contains("guard deny"))
    {
        lines.push(watching.line(PATIENCE)?);
    }
    Ok(lines.join("\n"))
}

fn indented(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect()
}

/// Waits until a connection waits for an answer.
fn held(daemon: &Daemon) {
    eventually("a connection waits", || {
        let pending = daemon.json(["pending"]).unwrap_or_default();
        pending
            .as_array()
            .into_iter()
            .flatten()
            .any(|one: &Value| one["held"] == true)
    })
    .unwrap();
}

/// A command of the agent's, which says when it has ended; and all that it says.
fn told(shell: &mut Shell, command: &str) {
    shell
        .tell(&format!("{command} 2>&1; echo; echo ended"))
        .unwrap();
}

fn heard(shell: &mut Shell) -> String {
    let mut said = String::new();
    loop {
        let line = shell.line_with("").unwrap();
        if line == "ended" {
            return said.trim_end().to_owned();
        }
        said += &(line + "\n");
    }
}

#[test]
fn the_readme_shows_what_comes() -> Tested {
    let (network, production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network)
        .policy("demo", POLICY)
        .start()?;
    let url = format!("http://{SERVER}:{PORT}{JOB}");
    let requests = || {
        let mut reached = production.reached_at(SERVER, PORT).unwrap();
        reached.retain(|one| one.kind == "http");
        reached.len()
    };
    let policy = daemon.policy_dir().join("demo.toml");
    let run = daemon.user(AGENT, ["run", "--policy"]).args([policy]);
    let mut shell = Shell::run_by(&daemon, run)?;
    let mut all = "developer$ guard run --policy demo.toml -- sh\n".to_owned();

    let watcher = Watcher::start(&daemon)?;
    let mut watching = daemon.user(AGENT, ["pending", "--follow"]).spawn()?;
    let waits = format!("curl -sS -m 20 -X PUT {url}");
    told(&mut shell, &waits);
    let asked = asked_line(&mut watching)?;
    held(&daemon);
    assert_eq!(requests(), 0, "production saw a request that waits");
    let id = asked.split_whitespace().next().unwrap().to_owned();
    let approve = daemon
        .user(AGENT, ["approve", &id, "--connections", "1"])
        .run()?;
    let answer = approve.success()?.stdout;
    let passed = heard(&mut shell);
    assert_eq!(requests(), 1, "production saw no request");
    all += &format!(
        "agent$ {waits}\n\n    it waits; meanwhile, in another terminal:\n\n{}\n{}{}\n    and curl goes on:\n\n{passed}\n",
        indented(&format!("developer$ guard pending --follow\n{asked}")),
        indented(&format!("developer$ guard approve {id} --connections 1")),
        indented(&answer),
    );

    drop(watcher);
    watching.signal(rustix::process::Signal::INT)?;
    watching.wait()?;
    // What it is asked after the end of a connection it answers after it has seen that end.
    daemon.user(AGENT, ["pending"]).run()?.success()?;
    let fails = format!("curl -sS -m 5 -X PUT {url}");
    told(&mut shell, &fails);
    let refused = heard(&mut shell);
    assert_eq!(requests(), 1, "production saw a request");
    all += &format!(
        "\n    while nobody watches, it fails at once, and leaves a request:\n\nagent$ {fails}\n{refused}\n"
    );
    compare("README.md", "readme", &all);
    Ok(())
}

#[test]
fn getting_started_shows_the_request_that_comes() -> Tested {
    const ROUTER: &str = "192.168.1.1";
    let network = Network::new()?;
    network.answer_for(&["192.168.1.1/32"])?;
    let production = Production::start(&network)?;
    let daemon = Daemon::in_network(&network).start()?;
    let _watcher = Watcher::start(&daemon)?;
    let mut watching = daemon.user(AGENT, ["pending", "--follow"]).spawn()?;
    let mut run = daemon.user(AGENT, ["run", "--policy", "default", "--", "curl"]);
    run = run.args(["-sS", "-m", "60", &format!("http://{ROUTER}/")]);
    let mut running = run.spawn()?;
    let asked = asked_line(&mut watching)?;
    assert!(production.reached_at(ROUTER, 80)?.is_empty());
    held(&daemon);
    daemon.user(AGENT, ["approve", "r1"]).run()?.success()?;
    assert!(running.wait()?.success());
    compare("docs/start.md", "start", &asked);
    Ok(())
}

/// A policy of a network at home: a photo server to look at, and databases to ask about.
const HOME: &str = r#"version = 1
name = "homelab"
default = "allow"

[[rule]]
name = "databases"
to = ["192.0.2.64/28"]
action = "confirm"

[[rule]]
name = "photos"
to = ["192.0.2.10"]
action = "read-only"
reason = "production photo server"
"#;

#[test]
fn the_screen_in_the_documents_is_what_comes() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network)
        .policy("homelab", HOME)
        .start()?;
    let tmux = Tmux::start(daemon.dir());
    let run = daemon.agent(["run", "--policy", "homelab", "--name", "claude"]);
    let mut shell = Shell::run_by(&daemon, run)?;
    let open = [
        "open",
        "192.0.2.64",
        "--ports",
        "tcp/5432",
        "--reason",
        "compare the schemas",
        "--session",
        shell.session(),
    ];
    daemon.root(open).run()?.success()?;
    // It is still there when guardd looks.
    shell
        .tell("bash -c 'echo > /dev/tcp/192.0.2.70/5432; echo tried; sleep 60; :' 2>/dev/null &")?;
    shell.line_with("tried")?;
    let window = tmux.window_of("watch", 96, 26);
    window.guard(&daemon.root(["watch"]));
    window.expect("> r1");
    let body = r#"{"command":"start","force":true}"#;
    let url = format!("http://{SERVER}:{PORT}{JOB}");
    shell.tell(&format!(
        "curl -sS -m 60 -X PUT -d '{body}' {url} > /dev/null &"
    ))?;
    // The cursor goes to what waits.
    window.expect("> r2");
    let screen = window.expect("\"force\":true}");
    compare("docs/use.md", "watch", &screen);
    Ok(())
}

/// The files of three incidents: a home's photo server, a hosted database, and a platform's token.
const SHOP: [(&str, &str); 3] = [
    (
        "shop/.env",
        "IMMICH_URL=http://192.168.7.20:2283/api\nIMMICH_API_KEY=hunter2hunter2\n",
    ),
    (
        "shop/apps/web/.env.local",
        "DATABASE_URL=postgres://postgres:hunter2@example.railway.app:27063/railway\n",
    ),
    ("home/.zshrc", "export DO_PAT_TF=hunter2hunter2\n"),
];

#[test]
fn setting_up_a_project_shows_what_comes() -> Tested {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network).start()?;
    let dir = daemon.dir();
    for (file, text) in SHOP {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().unwrap())?;
        fs::write(&file, text)?;
        for made in file.ancestors().take_while(|made| *made != dir) {
            chown(made, Some(AGENT), Some(AGENT))?;
        }
    }
    let tmux = Tmux::start(dir);
    let window = tmux.window_of("setup", 130, 120);
    window.enter(&format!("cd '{}'", dir.join("shop").display()));
    let setup = daemon.agent(["setup", "--agent", "claude-code"]);
    window.guard(&setup.env("HOME", dir.join("home")));
    for (after, question) in [
        ("3/4", "Write this rule (no: confirm in its place)? [y/N]"),
        ("[y/N] y", "Write this? [y/N]"),
        ("mcpServers", "Write this? [y/N]"),
    ] {
        window.expect_that("a question at the end", |screen| {
            screen.contains(after) && screen.trim_end().ends_with(question)
        });
        window.enter("y");
    }
    let screen = window.expect("    guard watch\n");
    let screen = screen.replace(&dir.join("home").display().to_string(), "~");
    // What the machine can enforce is another machine's own, and one rule is like the next.
    let part = |from: &str, to: &str| {
        let (_, rest) = screen.split_once(from).expect(from);
        let (part, _) = rest.split_once(to).expect(to);
        format!("{from}{part}")
    };
    let shown = [
        "developer$ guard setup\n…\n".to_owned(),
        part("2/4", "+#"),
        format!("…\n{}", part("2  example.railway.app:27063 (", "4/4")),
        part("4/4", "\n"),
        format!("\n…\n{}", part("The first guarded", "    guard watch")),
    ]
    .concat();
    compare("docs/use.md", "setup", &shown);
    Ok(())
}

#[test]
fn what_differs_from_run_to_run_is_not_compared() -> Tested {
    let as_one = [
        (
            "r1  curl (8773) wants tcp 192.0.2.10:2283",
            "r1 curl (12) wants tcp 192.0.2.10:2283",
        ),
        ("asked    just now", "asked    2 s ago"),
        ("curl: (7) Couldn't connect", "curl: (7) Could not connect"),
        ("gives up in 1 min", "gives up in 59 s"),
        (
            "ends in 15 min (2026-11-24 01:07:54)",
            "ends in 15 min (2026-11-25 11:07:54)",
        ),
    ];
    for (one, other) in as_one {
        assert_eq!(same(one), same(other));
    }
    assert_ne!(
        same("wants tcp 192.0.2.10:2283"),
        same("wants tcp 192.0.2.11:2283")
    );
    assert_ne!(same("curl: (7) x"), same("curl: (28) x"));
    assert_ne!(same("waits for an answer"), same("waits for a person"));
    Ok(())
}
