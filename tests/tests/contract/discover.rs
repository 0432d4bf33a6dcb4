//! `guard discover`: what it writes holds, and what is open keeps commands from starting where the settings say so.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use guard_lab::{
    AGENT, ALLOWS, Json as _, Output, Production, Running, Scene, Tested, V4, eventually,
};
use serde_json::{Value, json};

use super::{Lab, POLICY, say};
use crate::agents::scene::Mcp;
use crate::names::scene::DNS;
use crate::names::server::NameServer;
use crate::resolver::ASK;
use crate::watch::terminal::{Tmux, Window};

pub(super) const COVERED: &str = "discover = { require = \"covered\" }\n";
pub(super) const ASKS: &str = "discover = { drift = \"ask\" }\n";

/// A project with settings of production, and a home.
pub(super) struct Project {
    pub(super) lab: Lab,
    pub(super) project: PathBuf,
    pub(super) home: PathBuf,
    open: String,
}

impl Project {
    pub(super) fn new(config: &str) -> Tested<Self> {
        let open = ALLOWS;
        let scene = Scene::with(|daemon| daemon.policy("open", open).config(config))?;
        let lab = Lab { scene };
        let [project, home] = ["project", "home"].map(|name| {
            let dir = lab.daemon.dir().join(name);
            fs::create_dir(&dir).unwrap();
            chown(&dir, Some(AGENT), Some(AGENT)).unwrap();
            dir
        });
        let env = project.join(".env");
        fs::write(&env, format!("CACHE_URL=redis://:word@{V4}:8080\n"))?;
        chown(&env, Some(AGENT), Some(AGENT))?;
        let open = lab.file("plain.toml", open)?;
        let open = open.display().to_string();
        Ok(Self {
            lab,
            project,
            home,
            open,
        })
    }

    /// `guard` in the project, as the user who starts the agent.
    pub(super) fn guard(&self, args: &[&str]) -> Output {
        self.guard_in(&self.project, args)
    }

    /// The same in another directory.
    pub(super) fn guard_in(&self, dir: &Path, args: &[&str]) -> Output {
        self.command(dir, args).output().unwrap().into()
    }

    pub(super) fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let guard = self.lab.daemon.agent(args.iter().copied());
        let guard = guard.env("HOME", &self.home);
        let guard = guard.without(["XDG_CONFIG_HOME", "XDG_STATE_HOME"]);
        let mut command = guard.command().unwrap();
        command.current_dir(dir);
        command
    }

    pub(super) fn reaches(&self, policy: &str) -> Tested<bool> {
        let probe = self.lab.program("guard-lab")?;
        let run = [
            "run", "--policy", policy, "--", &probe, "probe", "tcp", V4, "8080",
        ];
        Ok(self.guard(&run).stdout.contains("\"ok\":true"))
    }

    fn write(&self) {
        let written = self.guard(&[
            "discover", "--write", "shop", "--yes", "--policy", &self.open,
        ]);
        assert_eq!(written.code(), Some(0), "{written:?}");
        assert!(written.stdout.contains("Written: "), "{written:?}");
    }
}

#[test]
fn a_policy_that_was_written_is_found_by_its_name_and_holds() -> Tested {
    let project = Project::new("")?;
    let _production = project.lab.production()?;
    assert!(project.reaches("open")?);
    assert_eq!(
        project
            .guard(&["run", "--policy", "shop", "--", "true"])
            .code(),
        Some(125)
    );
    project.write();
    let file = project.home.join(".config/guard/policies/shop.toml");
    assert!(fs::read_to_string(&file)?.contains(V4));
    assert!(!project.reaches("shop")?);
    let explained = project.guard(&[
        "explain",
        &format!("{V4}:8080"),
        "--policy",
        "shop",
        "--json",
    ]);
    assert_eq!(explained.json()?["verdict"], "confirm", "{explained:?}");
    let again = ["discover", "--write", "shop", "--policy", &project.open];
    let again = project.guard(&[&again[..], &["--json"]].concat());
    assert_eq!(again.json()?["written"], json!(false), "{again:?}");
    // Nor is a person asked about what guard itself has written for a name.
    let env = project.project.join(".env");
    let mut env = fs::File::options().append(true).open(env)?;
    writeln!(env, "CRM_URL=postgres://u:word@crm-prod.example.net/crm")?;
    project.write();
    assert!(fs::read_to_string(&file)?.contains("crm-prod.example.net"));
    writeln!(env, "ERP_URL=postgres://u:word@erp-prod.example.net/erp")?;
    project.write();
    assert!(fs::read_to_string(&file)?.contains("erp-prod.example.net"));
    // Root's word for it counts, and not what anybody may write who runs as that user.
    let all = ALLOWS;
    project.lab.daemon.write_policy("shop", all)?;
    assert!(project.reaches("shop")?);
    Ok(())
}

#[test]
fn production_that_is_only_commented_out_is_denied_where_that_is_wanted() -> Tested {
    let project = Project::new("")?;
    let _production = project.lab.production()?;
    let env = format!("# CACHE_URL=redis://:word@{V4}:8080\n");
    fs::write(project.project.join(".env"), env)?;
    assert!(project.reaches("open")?);
    let place = format!("{V4}:8080");
    let probe = project.lab.program("guard-lab")?;
    // The second shows that a question would be there, had there been one.
    for (name, more, verdict, requests) in [
        ("strict", &["--strict"][..], "deny", 0),
        ("usual", &[], "confirm", 1),
    ] {
        let write = [
            "discover",
            "--write",
            name,
            "--yes",
            "--policy",
            &project.open,
        ];
        let written = project.guard(&[&write[..], more].concat());
        assert_eq!(written.code(), Some(0), "{written:?}");
        let explain = ["explain", &place, "--policy", name, "--json"];
        let explained = project.guard(&explain);
        assert_eq!(explained.json()?["verdict"], verdict, "{explained:?}");
        let mut session = project.in_session(&["--policy", name])?;
        let said = say(&mut session, &format!("{probe} probe tcp {V4} 8080"))?;
        assert!(said.text.contains("\"ok\":false"), "{name}: {}", said.text);
        let pending = project.lab.pending()?;
        assert_eq!(pending.len(), requests, "{name}: {pending:?}");
    }
    // One line that is not commented out, anywhere, and it is needed.
    fs::create_dir(project.project.join("api"))?;
    let line = format!("CACHE_URL=redis://:word@{V4}:8080\n");
    fs::write(project.project.join("api/.env"), line)?;
    let found = project.guard(&["discover", "--strict", "--json", "--policy", &project.open]);
    let found = found.json()?;
    let action = &found["items"][0]["proposed"]["action"];
    assert_eq!(action, "confirm", "{found}");
    Ok(())
}

/// A rule for a name has the name asked for, even one that denies it at a port: what it says would leave.
#[test]
fn a_name_that_a_comment_has_planted_is_asked_for_no_more_than_before() -> Tested {
    const PLANTED: &str = "secret.planted.example.net";
    let project = Project::new(&format!("resolvers = [\"{DNS}:53\"]\n"))?;
    let server = NameServer::start_at(project.lab.network.prod(), &format!("{DNS}:53"))?;
    server.set(PLANTED, &[V4]);
    let lines = format!(
        "# LEDGER_URL=postgres://u:word@{PLANTED}/a\n# CACHE_URL=redis://:word@{V4}:8080\n"
    );
    fs::write(project.project.join(".env"), lines)?;
    let base = "version = 1\ndefault = \"allow\"\n[dns]\nnames = \"rules\"\n";
    let listed = project.lab.file("listed.toml", base)?.display().to_string();
    let policies = project.home.join(".config/guard/policies");
    let written = |name: &str, base: &str, more: &[&str]| -> Tested<(String, Value)> {
        let write = [
            "discover", "--write", name, "--yes", "--json", "--policy", base,
        ];
        let written = project.guard(&[&write[..], more].concat());
        assert_eq!(written.code(), Some(0), "{written:?}");
        let text = fs::read_to_string(policies.join(format!("{name}.toml")))?;
        Ok((text, written.json()?["left_out"].clone()))
    };
    let ask = project.lab.daemon.write_for_agents("ask.py", ASK)?;
    let ask = ask.display().to_string();
    let told = |policy: &str| {
        let run = ["run", "--policy", policy, "--", "python3", &ask, DNS];
        let told = project.guard(&[&run[..], &[PLANTED, "A", "connected"]].concat());
        told.stdout.trim().to_owned()
    };
    for (name, more) in [("usual", &[][..]), ("strict", &["--strict"])] {
        let (text, left_out) = written(name, &listed, more)?;
        assert!(text.contains(V4) && !text.contains(PLANTED), "{text}");
        assert_eq!(
            left_out[0]["place"],
            format!("{PLANTED}:5432"),
            "{left_out}"
        );
        assert_eq!(told(name), format!("answer 3 {DNS}"), "{name}");
    }
    assert!(!server.was_asked("secret"));
    // With the rule in place it leaves; and where each name may be asked for, what denies is written.
    let rule =
        format!("[[rule]]\nto = [\"{PLANTED}\"]\nports = [\"tcp/5432\"]\naction = \"deny\"\n");
    let with = project.lab.file("with.toml", &format!("{base}{rule}"))?;
    let with = with.display().to_string();
    assert_eq!(told(&with), format!("answer 0 {DNS} {V4}"));
    assert!(server.was_asked("secret"));
    let (text, left_out) = written("open-names", &project.open, &["--strict"])?;
    assert_eq!(text.matches("action = \"deny\"").count(), 2, "{text}");
    assert_eq!(left_out, json!([]));
    Ok(())
}

#[test]
fn k9s_calls_a_cluster_production_and_pages_are_read_where_that_is_wanted() -> Tested {
    let project = Project::new("")?;
    let write = |path: PathBuf, text: &str| -> Tested {
        fs::create_dir_all(path.parent().unwrap())?;
        Ok(fs::write(path, text)?)
    };
    let label = |host: &str, more: &[&str]| -> Tested<Value> {
        let discover = ["discover", "--all", "--json"];
        let found = project.guard(&[&discover[..], more].concat()).json()?;
        let mut items = found["items"].list()?.iter();
        let one = items.find(|one| one["host"] == host);
        Ok(one.map_or(Value::Null, |one| one["label"].clone()))
    };
    let page = "Look with `psql -h db1.example.net shop`.\n";
    write(project.project.join("README.md"), page)?;
    assert_eq!(label("db1.example.net", &[])?, Value::Null);
    assert!(label("db1.example.net", &["--deep"])?.is_string());
    let cluster = "clusters: [{name: a, cluster: {server: 'https://203.0.113.1:6443'}}]\n\
        contexts: [{name: shop, context: {cluster: a}}]\n";
    write(project.home.join(".kube/config"), cluster)?;
    assert_eq!(label("203.0.113.1", &[])?, "maybe");
    let context = project.home.join(".config/k9s/clusters/a/shop/config.yaml");
    write(context, "k9s:\n  readOnly: true\n")?;
    assert_eq!(label("203.0.113.1", &[])?, "production");
    Ok(())
}

#[test]
fn nothing_starts_while_production_is_open_where_the_settings_say_so() -> Tested {
    let project = Project::new(COVERED)?;
    let run = |policy: &str| {
        let witness = project.project.join("witness");
        let witness = witness.to_str().unwrap();
        let output = project.guard(&["run", "--policy", policy, "--quiet", "--", "touch", witness]);
        let ran = fs::remove_file(witness).is_ok();
        assert_eq!(ran, output.code() == Some(0), "{output:?}");
        output
    };
    let refused = run("open");
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains(V4), "{refused:?}");
    assert_eq!(project.lab.daemon.json(["sessions"])?, json!([]));
    // No session began.
    for kind in ["session-start", "session-end"] {
        assert!(project.lab.daemon.logged(kind)?.is_empty(), "{kind}");
    }
    let records = project.lab.daemon.logged("start-refused")?;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["session"], json!(null));
    assert_eq!(records[0]["uid"], AGENT);
    assert_eq!(records[0]["policy"], "open");
    assert_eq!(records[0]["command"][0], "touch");
    let why = records[0]["why"].as_str().unwrap_or_default();
    assert!(why.contains(V4), "{why}");
    project.write();
    assert_eq!(run("shop").code(), Some(0));
    for kind in ["session-start", "session-end"] {
        assert_eq!(project.lab.daemon.logged(kind)?.len(), 1, "{kind}");
    }
    assert_eq!(run("open").code(), Some(125));
    // A session says nothing of the kind by itself, neither by a variable that it takes away.
    let guard = project.lab.guard()?;
    let inside = format!("env -u GUARD_SESSION {guard} discover --dismiss 1; {guard} discover");
    let inside = project.guard(&["run", "--policy", "shop", "--", "sh", "-c", &inside]);
    assert_eq!(inside.code(), Some(2), "{inside:?}");
    assert!(inside.stderr.contains("inside of a session"), "{inside:?}");
    let dismissed = project.guard(&["discover", "--dismiss", "1", "--json"]);
    assert_eq!(dismissed.code(), Some(0), "{dismissed:?}");
    assert!(dismissed.json()?["dismissed"]["at"].is_string());
    assert_eq!(run("open").code(), Some(0));
    // Who said so of what is in the audit log, once.
    let again = project.guard(&["discover", "--dismiss", "1"]);
    assert_eq!(again.code(), Some(0), "{again:?}");
    let records = project.lab.daemon.logged("dismissed")?;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["host"], V4);
    assert_eq!(records[0]["port"], 8080);
    assert_eq!(records[0]["from"]["uid"], AGENT);
    assert_eq!(records[0]["withdrawn"], false);
    Ok(())
}

/// Both say the same, whatever the project says: what only narrows covers, and what lets all through by HTTP covers nothing.
#[test]
fn a_projects_policy_counts_for_a_check_as_it_does_for_a_run() -> Tested {
    let project = Project::new(COVERED)?;
    let top = project.project.clone();
    let file = top.join(".guard.toml");
    let codes = |rule: &str| -> Tested<_> {
        fs::write(&file, rule)?;
        chown(&file, Some(AGENT), Some(AGENT))?;
        let run = project.guard(&["run", "--policy", "open", "--quiet", "--", "true"]);
        let check = ["discover", "--check", "--policy", "open"];
        let here = project.guard(&check);
        let dir = top.display().to_string();
        let elsewhere = [&check[..], &[dir.as_str()]].concat();
        let there = project.guard_in(&project.home, &elsewhere);
        assert_eq!(here.code(), there.code(), "{here:?} {there:?}");
        Ok((run.code(), here.code(), here.stderr))
    };
    let all = "[[rule]]\nname = \"all\"\nto = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\n";
    let reads = format!("{all}action = \"read-only\"\n");
    let (run, check, said) = codes(&reads)?;
    assert_eq!((run, check), (Some(0), Some(0)), "{said}");
    assert!(
        said.contains(".guard.toml narrows the policy open"),
        "{said}"
    );
    let writes = format!("{reads}[[rule.http]]\naction = \"allow\"\n");
    let (run, check, said) = codes(&writes)?;
    assert_eq!((run, check), (Some(125), Some(1)), "{said}");
    let (run, check, said) = codes(&format!("{all}action = \"confirm\"\n"))?;
    assert_eq!((run, check), (Some(0), Some(0)), "{said}");
    let (run, check, said) = codes("")?;
    assert_eq!((run, check), (Some(125), Some(1)), "{said}");
    Ok(())
}

/// Whether the `guard VERB` that has a word among its arguments is none that the kernel dumps: its files in /proc are root's.
fn leaves_no_core_dump(verb: &str, word: &str) -> Tested<bool> {
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments: Vec<_> = arguments.split(|byte| *byte == 0).collect();
        let is_guard = arguments
            .first()
            .is_some_and(|own| own.ends_with(b"/guard"));
        if is_guard
            && [verb, word]
                .iter()
                .all(|word| arguments.contains(&word.as_bytes()))
        {
            return Ok(fs::metadata(process.join("environ"))?.uid() == 0);
        }
    }
    Err(std::io::Error::other("no such guard runs").into())
}

#[test]
fn a_person_at_a_terminal_is_told_first_and_asked_about_what_widens() -> Tested {
    let project = Project::new("")?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let types = |name: &str, args: &[&str]| project.types(&tmux, name, [200, 60], args);
    let told = "1 place that looks like production is in reach; policy open leaves 1 open";
    // On a busy machine the time may be up before all was looked at, and then it says that.
    let mut tries = 0;
    guard_lab::eventually("a person is told", || {
        tries += 1;
        let run = ["run", "--policy", "open", "--", "echo", "it", "ran"];
        let window = types(&format!("run{tries}"), &run);
        window.expect("it ran\n").contains(told)
    })?;
    let run = [
        "run", "--quiet", "--policy", "open", "--", "echo", "it", "ran",
    ];
    let quiet = types("quiet", &run);
    let screen = quiet.expect("it ran\n");
    assert!(!screen.contains("looks like production"), "{screen}");

    // Reading where a rule asks would widen that policy, so nothing is proposed there but what it does.
    let env = project.project.join(".env");
    fs::write(env, format!("DATABASE_URL=postgres://app:word@{V4}/app\n"))?;
    let asks = project.lab.file("asks.toml", POLICY)?.display().to_string();
    let same = types("same", &["discover", "--policy", &asks]);
    same.expect("confirm (same)");

    // A name may lead anywhere: where no rule asks yet, and where one does.
    let env = project.project.join(".env");
    fs::write(env, "DATABASE_URL=postgres://app:word@db.example.net/app\n")?;
    let policies = project.home.join(".config/guard/policies");
    for verb in [&["discover", "--write"][..], &["setup"]] {
        for (answer, action) in [("n", "confirm"), ("y", "read-only")] {
            let name = format!("{}-{answer}", verb[0]);
            let words = [&name, "--policy", &project.open];
            let window = types(&name, &[verb, &words].concat());
            window.expect("has reads pass wherever the name's owner lets it lead. Write this rule (no: confirm in its place)? [y/N]");
            assert!(leaves_no_core_dump(verb[0], &project.open)?);
            window.enter(answer);
            // What is asked about is what was shown last.
            let screen = window.expect("Write this? [y/N]");
            let shown = format!("+action = \"{action}\"");
            assert!(screen.contains(&shown), "{screen}");
            let file = policies.join(format!("{name}.toml"));
            assert!(!file.exists());
            window.enter("y");
            window.expect("Written: ");
            let text = fs::read_to_string(file)?;
            assert!(text.contains(&format!("action = \"{action}\"")), "{text}");
        }
    }

    // Whoever says no to all of it has nothing written.
    let none = ["discover", "--write", "none", "--policy", &project.open];
    let window = types("none", &none);
    window.expect("Write this rule (no: confirm in its place)? [y/N]");
    window.enter("n");
    window.expect("Write this? [y/N]");
    window.enter("n");
    window.expect("Nothing was written.");
    assert!(!policies.join("none.toml").exists());
    Ok(())
}

/// What holds it is its terminal, which takes nothing that it says: by then it has read, and its command has not begun.
#[test]
fn a_guard_run_that_has_looked_leaves_no_core_dump_and_its_command_may() -> Tested {
    let project = Project::new("")?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = tmux.window_of("run", 160, 40);
    let witness = project.project.join("witness");
    let command = format!(
        "touch {}; stat -c owned-by-%u /proc/self/environ",
        witness.display()
    );
    let run = ["run", "--policy", "open", "--", "sh", "-c", &command];
    let guard = project.lab.daemon.agent(run).env("HOME", &project.home);
    let dir = project.project.display();
    window.type_text(&format!("cd '{dir}'; echo rea''dy; read line; "));
    window.guard(&guard);
    window.expect("ready\n");
    window.press(&["C-s", "Enter"]);
    guard_lab::eventually("it leaves no core dump", || {
        Ok(leaves_no_core_dump("run", &command).unwrap_or(false))
    })?;
    assert!(!witness.exists());
    window.press(&["C-q"]);
    window.expect(&format!("owned-by-{AGENT}\n"));
    Ok(())
}

/// The project is where the command is typed, and called `.`.
#[test]
fn a_link_within_the_project_leads_nowhere_else() -> Tested {
    let project = Project::new("")?;
    let check = || {
        project
            .guard(&["discover", "--check", "--policy", &project.open])
            .code()
    };
    let open = || -> Tested<Value> {
        let listed = project.guard(&["discover", "--policy", &project.open, "--json"]);
        Ok(serde_json::from_str::<Value>(&listed.stdout)?["passed_over"].clone())
    };
    fs::remove_file(project.project.join(".env"))?;
    fs::create_dir_all(project.project.join("settings/one"))?;
    let at = |name: &str| project.project.join(name);
    symlink("settings", at("conf"))?;
    symlink("../../settings", at("settings/one/all"))?;
    symlink(at("settings"), at("whole"))?;
    assert_eq!(open()?, json!([]));
    assert_eq!(check(), Some(0));
    symlink("../home", at("shop"))?;
    let listed = open()?;
    assert_eq!(listed[0]["file"], "shop", "{listed}");
    assert_eq!(listed[0]["why"], "a link to elsewhere", "{listed}");
    assert_eq!(check(), Some(1));
    let dismissed = project.guard(&["discover", "--dismiss-file", "shop"]);
    assert_eq!(dismissed.code(), Some(0), "{dismissed:?}");
    assert_eq!(check(), Some(0));
    fs::remove_file(at("shop"))?;
    symlink("../other", at("shop"))?;
    assert_eq!(check(), Some(1));
    Ok(())
}

#[test]
fn an_explanation_that_has_looked_leaves_no_core_dump() -> Tested {
    let project = Project::new("")?;
    let place = format!("{V4}:8080");
    let tmux = Tmux::start(project.lab.daemon.dir());
    let dir = project.project.display();
    // On a busy machine the time may be up before it has looked.
    let mut tries = 0;
    guard_lab::eventually("it says what it has seen", || {
        tries += 1;
        let window = tmux.window_of(&format!("explain{tries}"), 160, 40);
        let guard = ["explain", &place, "--policy", "open"];
        let guard = project.lab.daemon.agent(guard);
        window.type_text(&format!("cd '{dir}'; echo rea''dy; read line; "));
        window.guard(&guard.env("HOME", &project.home));
        window.expect("ready\n");
        // What it says is held up by its terminal: by then it has read.
        window.press(&["C-s", "Enter"]);
        guard_lab::eventually("it leaves no core dump", || {
            Ok(leaves_no_core_dump("explain", &place).unwrap_or(false))
        })?;
        window.press(&["C-q"]);
        window.type_text("echo en''ded");
        window.press(&["Enter"]);
        Ok(window.expect("ended\n").contains("CACHE_URL"))
    })?;
    Ok(())
}

#[test]
fn what_has_no_address_yet_is_not_told_to_be_covered() -> Tested {
    let project = Project::new("resolvers = [\"127.0.0.1:1\"]\n")?;
    let env = project.project.join(".env");
    fs::write(
        env,
        "DATABASE_URL=postgres://app:word@db.prod.example.net/app\n",
    )?;
    let rule = "[[rule]]\nto = [\"db.prod.example.net\"]\naction = \"confirm\"\n";
    let text = format!("version = 1\nname = \"named\"\ndefault = \"allow\"\n{rule}");
    let named = project.lab.file("named.toml", &text)?.display().to_string();
    let run = ["run", "--policy", &named, "--", "echo", "it", "ran"];
    let told = "policy named leaves none open, but db.prod.example.net does not resolve: its rule covers no address yet";
    let tmux = Tmux::start(project.lab.daemon.dir());
    // On a busy machine the time may be up before all was looked at, and then it says that.
    let mut tries = 0;
    guard_lab::eventually("a person is told", || {
        tries += 1;
        let window = project.types(&tmux, &format!("run{tries}"), [200, 60], &run);
        window.expect("it ran\n").contains(told)
    })?;
    Ok(())
}

/// Settings of places that look like production.
fn settings(hosts: impl Iterator<Item = String>) -> String {
    let lines = hosts.enumerate();
    let lines = lines.map(|(at, host)| format!("A{at}_URL=postgres://app:hunter2@{host}/app\n"));
    lines.collect()
}

#[test]
fn what_comes_into_reach_while_it_runs_is_told_at_once_and_recorded() -> Tested {
    let project = Project::new("")?;
    let write = |file: &str, text: &str| {
        let path = project.project.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        chown(&path, Some(AGENT), Some(AGENT)).unwrap();
        path
    };
    let tmux = Tmux::start(project.lab.daemon.dir());
    let run = ["run", "--policy", "open", "--", "sh"];
    let window = project.types(&tmux, "run", [160, 60], &run);
    window.expect("1 place that looks like production");
    let appeared = || project.appeared();
    assert_eq!(appeared()?.len(), 0);

    let said = "db1.example.net:5432 looks like production and came into reach: A0_URL  .env.new:1";
    write(
        ".env.new",
        &settings(["db1.example.net".to_owned()].into_iter()),
    );
    let screen = window.expect(said);
    assert!(!screen.contains("hunter2"), "{screen}");
    // In a directory that was not there, and by a rename, as editors write.
    write(
        "deploy/prod/.env",
        &settings(["db2.example.net".to_owned()].into_iter()),
    );
    window.expect("(open)  guard discover --why db2.example.net:5432");
    window.expect("db2.example.net:5432 looks like production");
    let other = write(
        "other",
        &settings(["db3.example.net".to_owned()].into_iter()),
    );
    fs::rename(other, project.project.join("deploy/.env"))?;
    window.expect("db3.example.net:5432 looks like production");
    // What was there before is no news, in another file neither.
    write(
        ".env.local",
        &settings(["db1.example.net".to_owned()].into_iter()),
    );
    // And in the home, in a directory that is new.
    let kube = project.home.join(".kube");
    fs::create_dir(&kube)?;
    let cluster = "current-context: shop\n\
        clusters: [{name: shop, cluster: {server: 'https://prod.example.org:6443'}}]\n\
        contexts: [{name: shop, context: {cluster: shop, user: admin}}]\n\
        users: [{name: admin, user: {token: hunter2}}]\n";
    let file = kube.join("config");
    fs::write(&file, cluster)?;
    chown(&kube, Some(AGENT), Some(AGENT))?;
    chown(&file, Some(AGENT), Some(AGENT))?;
    window.expect("prod.example.org:6443 looks like production");
    let records = appeared()?;
    let hosts: Vec<_> = records.iter().map(|one| one["host"].clone()).collect();
    let all = [
        "db1.example.net",
        "db2.example.net",
        "db3.example.net",
        "prod.example.org",
    ];
    assert_eq!(hosts, all, "{records:?}");
    assert_eq!(records[0]["file"], ".env.new");
    assert_eq!(records[0]["verdict"], "allow");

    // Whoever writes without end is told of in few lines.
    for at in 0..300 {
        let host = format!("many{at}.example.net");
        write(&format!("many/{at}/.env"), &settings([host].into_iter()));
    }
    window.expect("more came into reach that looks like production: guard discover");
    window.enter("exit");
    let screen = window.expect("look like production came into reach (guard discover)");
    let lines = screen
        .matches("looks like production and came into reach")
        .count();
    assert_eq!(lines, 8, "{screen}");
    // Of those beyond the first 64 one says that there are more.
    let records = appeared()?;
    assert!((5..=65).contains(&records.len()), "{}", records.len());
    let more = records.iter().filter(|one| one["more"] == true).count();
    assert!(more <= 1, "{records:?}");
    let text = project.lab.root(&["log", "--json"])?.stdout;
    assert!(!text.contains("hunter2"), "{text}");
    Ok(())
}

#[test]
fn what_is_written_and_left_open_made_readable_or_put_behind_a_link_is_told() -> Tested {
    let project = Project::new("")?;
    let own = |path: &Path| -> Tested<_> { Ok(chown(path, Some(AGENT), Some(AGENT))?) };
    let write = |path: &Path, host: &str| {
        fs::write(path, settings([host.to_owned()].into_iter())).unwrap();
        own(path).unwrap();
    };
    let held = project.project.join(".env.held");
    let mut open = fs::File::create(&held)?;
    own(&held)?;
    let locked = project.project.join(".env.locked");
    write(&locked, "locked.example.net");
    let rights = |mode| -> Tested<_> {
        Ok(fs::set_permissions(
            &locked,
            fs::Permissions::from_mode(mode),
        )?)
    };
    rights(0)?;
    // By links of the home, to a file that is there and to one that is not, nor its directory.
    let dots = project.lab.daemon.dir().join("dots");
    fs::create_dir(&dots)?;
    fs::create_dir(project.home.join(".kube"))?;
    fs::write(dots.join("env"), "")?;
    own(&dots.join("env"))?;
    symlink("../dots/env", project.home.join(".env"))?;
    symlink("../../dots/kube/config", project.home.join(".kube/config"))?;
    for dir in [dots.as_path(), &project.home.join(".kube")] {
        own(dir)?;
    }

    let tmux = Tmux::start(project.lab.daemon.dir());
    let run = ["run", "--policy", "open", "--", "sh"];
    let window = project.types(&tmux, "run", [160, 60], &run);
    window.expect("1 place that looks like production");
    let told = |host: &str| window.expect(&format!("{host} looks like production and came"));
    // From then on they are watched.
    for name in ["first", "second"] {
        let host = format!("{name}.example.net");
        write(&project.project.join(format!(".env.{name}")), &host);
        told(&format!("{host}:5432"));
    }
    let text = settings(["held.example.net".to_owned()].into_iter());
    open.write_all(text.as_bytes())?;
    told("held.example.net:5432");
    rights(0o600)?;
    told("locked.example.net:5432");
    write(&dots.join("env"), "linked.example.net");
    told("linked.example.net:5432");
    fs::create_dir(dots.join("kube"))?;
    let cluster = "current-context: shop\n\
        clusters: [{name: shop, cluster: {server: 'https://prod.example.org:6443'}}]\n\
        contexts: [{name: shop, context: {cluster: shop, user: admin}}]\n\
        users: [{name: admin, user: {token: hunter2}}]\n";
    let config = dots.join("kube/config");
    fs::write(&config, cluster)?;
    own(&dots.join("kube"))?;
    own(&config)?;
    told("prod.example.org:6443");
    drop(open);
    Ok(())
}

#[test]
fn what_comes_into_reach_is_asked_about_from_then_on_where_the_settings_say_so() -> Tested {
    let mut project = Project::new(ASKS)?;
    // Rules in a list, to which no `[[rule]]` can be added.
    let listed = "default = \"allow\"\nrule = [{ to = [\"192.0.2.77\"], action = \"deny\" }]\n";
    project.lab.daemon.write_policy("listed", listed)?;
    let _production = Production::start(&project.lab.network)?;
    let env = project.project.join(".env");
    let settings = fs::read_to_string(&env)?;
    fs::remove_file(&env)?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let run = ["run", "--policy", "listed", "--hold", "0s", "--", "sh"];
    let window = project.types(&tmux, "run", [200, 60], &run);
    let probe = project.lab.program("guard-lab")?;
    let probe = |said: &str| {
        window.enter(&format!(
            "clear; {probe} probe tcp {V4} 8080; echo said''{said}"
        ));
        window.expect(&format!("said{said}\n"))
    };
    let screen = probe("first");
    assert!(screen.contains("\"ok\":true"), "{screen}");

    fs::write(&env, settings)?;
    chown(&env, Some(AGENT), Some(AGENT))?;
    window.expect("came into reach: CACHE_URL  .env:1 (asks from now on)");
    let screen = probe("second");
    assert!(screen.contains("\"ok\":false"), "{screen}");
    // guardd comes and goes, and it is as it was.
    project.lab.daemon.stop()?;
    project.lab.daemon.start()?;
    let screen = probe("later");
    assert!(screen.contains("\"ok\":false"), "{screen}");
    let pending = project.lab.daemon.json(["pending"])?;
    let request = &pending[0];
    assert_eq!(
        request["rule"],
        format!("in reach: {V4} tcp/8080"),
        "{pending}"
    );
    assert_eq!(request["policy"], "listed", "{pending}");
    let chain = request["chain"].list()?;
    assert_eq!(chain.len(), 1, "{pending}");
    assert_eq!(chain[0]["verdict"], "confirm", "{pending}");
    let id = request["id"].text()?.to_owned();
    project.lab.daemon.json(["approve", &id])?;
    let screen = probe("third");
    assert!(screen.contains("\"ok\":true"), "{screen}");
    // Another session is none of it.
    assert!(project.reaches("open")?);
    Ok(())
}

/// By name and verdict: neither files nor keys, which would be a map to credentials.
#[test]
fn an_agent_that_asks_is_told_where_production_is_and_what_the_policy_says() -> Tested {
    let project = Project::new(ASKS)?;
    let mut mcp = project.mcp()?;
    let (status, done) = mcp.tool("status", json!({}))?;
    let place = format!("- {V4} tcp/8080 (redis): allow, nothing is stopped there");
    assert!(done && status.contains(&place), "{status}");
    // What comes into reach is there at once, with what holds by then.
    let file = project.project.join(".env.new");
    let held = "203.0.113.9".to_owned();
    fs::write(&file, settings([held].into_iter()))?;
    chown(&file, Some(AGENT), Some(AGENT))?;
    let mut status = String::new();
    eventually("it is told of what came into reach", || {
        status = mcp.tool("status", json!({}))?.0;
        Ok(status.contains("- 203.0.113.9 tcp/5432 (postgres): confirm, a person is asked"))
    })?;
    for hidden in [".env", "CACHE_URL", "A0_URL", "word", "hunter2"] {
        assert!(!status.contains(hidden), "{hidden}: {status}");
    }
    // Where nobody has looked, it says so.
    let project = Project::new("")?;
    let (status, done) = project.mcp()?.tool("status", json!({}))?;
    assert!(done && status.contains("Nobody has looked"), "{status}");
    Ok(())
}

#[test]
fn what_comes_into_reach_is_asked_about_where_nobody_sits_at_a_terminal() -> Tested {
    let mut project = Project::new(ASKS)?;
    let _production = project.lab.production()?;
    let env = project.project.join(".env");
    let settings = fs::read_to_string(&env)?;
    fs::remove_file(&env)?;
    let probe = project.lab.program("guard-lab")?;
    let reaches = |session: &mut Running| -> Tested<bool> {
        session.write(&format!("{probe} probe tcp {V4} 8080\n"))?;
        let said = session.line_with("\"ok\":", guard_lab::PATIENCE)?;
        Ok(said.contains("\"ok\":true"))
    };
    let mut session = project.in_session(&["--policy", "open", "--quiet", "--hold", "0s"])?;
    assert!(reaches(&mut session)?);
    fs::write(&env, settings)?;
    chown(&env, Some(AGENT), Some(AGENT))?;
    guard_lab::eventually("it is recorded", || Ok(!project.appeared()?.is_empty()))?;
    assert!(!reaches(&mut session)?);
    let pending = project.lab.daemon.json(["pending"])?;
    assert_eq!(
        pending[0]["rule"],
        format!("in reach: {V4} tcp/8080"),
        "{pending}"
    );
    let by = format!("the guard's own rule \"in reach: {V4} tcp/8080\" (looks like production");
    for _ in 0..2 {
        let said = say(&mut session, &format!("{} why", project.lab.guard()?))?;
        let words: Vec<_> = said.text.split_whitespace().collect();
        assert!(words.join(" ").contains(&by), "{words:?}");
        project.lab.daemon.kill()?;
        project.lab.daemon.start()?;
    }
    // Another session is none of it: there it was before.
    assert!(project.reaches("open")?);
    Ok(())
}

#[test]
fn nothing_starts_that_nobody_would_see_come_into_reach_where_it_is_to_be_asked_about() -> Tested {
    // It is too long to be handed on, and its file is root's, so that nobody can say what it leaves open.
    let long = format!(
        "version = 1\ndefault = \"allow\"\n{}",
        "# as it is\n".repeat(4_000)
    );
    let run = |config: &str| -> Tested<Output> {
        let project = Project::new(config)?;
        let file = project.lab.daemon.write_policy("long", &long)?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        let run = ["run", "--policy", "long", "--quiet", "--", "echo", "it ran"];
        Ok(project.guard(&run))
    };
    let free = run("")?;
    assert!(free.stdout.contains("it ran"), "{free:?}");
    let refused = run(ASKS)?;
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(!refused.stdout.contains("it ran"), "{refused:?}");
    for said in ["nobody could look for it", "guard discover --check"] {
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    Ok(())
}

/// Programs that somebody may look for by their names, or that files name.
const PROGRAMS: [&str; 14] = [
    "aws", "bash", "direnv", "docker", "gcloud", "getent", "git", "helper", "kubectl", "op",
    "psql", "python3", "sh", "ssh",
];

/// Files that have their own programs run others: `%RUN` stands for one that leaves a mark, `%AT` for where production is.
const RUNNING: [(&str, &str); 9] = [
    (
        "~/.kube/config",
        "clusters: [{name: a, cluster: {server: 'https://%AT:6443'}}]\n\
         contexts: [{name: prod, context: {cluster: a, user: b}}]\n\
         users: [{name: b, user: {exec: {command: %RUN, apiVersion: client.authentication.k8s.io/v1}}}]\n",
    ),
    (
        "~/.aws/config",
        "[profile live]\ncredential_process = %RUN\n",
    ),
    (
        "~/.ssh/config",
        "Match exec \"%RUN\"\nHost prod\nHostName %AT\nProxyCommand %RUN %h\nLocalForward 5433 %AT:5432\n",
    ),
    (
        "~/.bashrc",
        "%RUN\nexport DATABASE_URL=$(%RUN)\nexport PATH=\n",
    ),
    (
        ".git/config",
        "[core]\nfsmonitor = %RUN\nsshCommand = %RUN\npager = %RUN\n[credential]\nhelper = %RUN\n\
         [remote \"production\"]\nurl = me@%AT:a\nuploadpack = %RUN\n",
    ),
    (
        "app/.env",
        "A=$(%RUN)\nB=`%RUN`\nREDIS_URL=redis://:$(%RUN)@%AT:6379\n",
    ),
    (".envrc", "source_env %RUN\nexport A=$(%RUN)\n"),
    ("hosts", "#!%RUN\n[web]\n%AT\n"),
    (
        ".mcp.json",
        "{\"mcpServers\": {\"a\": {\"command\": \"%RUN\", \"args\": [\"postgres://a:word@%AT/a\"]}}}",
    ),
];

#[test]
fn nothing_that_files_name_is_run_and_nothing_is_sent() -> Tested {
    let project = Project::new("")?;
    let production = project.lab.production()?;
    let (programs, marks) = (project.home.join("bin"), project.home.join("marks"));
    for dir in [&programs, &marks] {
        fs::create_dir(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    }
    let marked = || -> Tested<usize> { Ok(fs::read_dir(&marks)?.count()) };
    for name in PROGRAMS {
        let program = programs.join(name);
        fs::write(
            &program,
            format!("#!/bin/sh\n: >'{}'/${{0##*/}}\n", marks.display()),
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let ran = Command::new(&program).status()?;
        assert!(
            ran.success() && fs::remove_file(marks.join(name)).is_ok(),
            "{name}"
        );
    }
    let helper = programs.join("helper").display().to_string();
    for (path, text) in RUNNING {
        let file = match path.strip_prefix("~/") {
            Some(below) => project.home.join(below),
            None => project.project.join(path),
        };
        fs::create_dir_all(file.parent().unwrap())?;
        fs::write(&file, text.replace("%RUN", &helper).replace("%AT", V4))?;
        chown(&file, Some(AGENT), Some(AGENT))?;
    }
    let path = format!("{}:/usr/bin:/bin", programs.display());
    for args in [
        &["discover", "--json"][..],
        &["discover", "--check"],
        &["discover", "--write", "shop", "--yes"],
        &["setup", "--agent", "claude-code", "--print"],
    ] {
        let mut command = project.command(&project.project, args);
        let output = command.env("PATH", &path).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_ne!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(said.contains(V4), "{args:?}: {output:?}");
        assert_eq!(
            marked()?,
            0,
            "{args:?}: {:?}",
            fs::read_dir(&marks)?.collect::<Vec<_>>()
        );
    }
    let to_production = || -> Tested<usize> {
        let reached = production.reached()?;
        Ok(reached
            .iter()
            .filter(|one| one.to.to_string() == V4)
            .count())
    };
    assert_eq!(to_production()?, 0);
    // What is sent is seen.
    assert!(project.reaches("open")?);
    assert_ne!(to_production()?, 0);
    Ok(())
}

#[test]
fn a_name_that_does_not_resolve_here_is_told_where_it_was_found() -> Tested {
    let project = Project::new("")?;
    let env = "DATABASE_URL=postgres://app:word@db.example.invalid/shop\n";
    fs::write(project.project.join(".env"), env)?;
    let explain = |name: &str| project.guard(&["explain", name, "--policy", "open"]);
    let found = explain("db.example.invalid:5432");
    assert_eq!(found.code(), Some(2), "{found:?}");
    for said in [
        "found in DATABASE_URL  .env:1 (production)",
        "guard discover --write NAME",
    ] {
        assert!(found.stderr.contains(said), "{found:?}");
    }
    let unknown = explain("other.example.invalid");
    assert_eq!(unknown.code(), Some(2), "{unknown:?}");
    assert!(!unknown.stderr.contains("found in"), "{unknown:?}");
    Ok(())
}

#[test]
fn what_is_open_is_what_the_policy_leaves_open_that_commands_get() -> Tested {
    let shut = "version = 1\ndefault = \"confirm\"\n";
    let project = Project::new("default_policy = \"open\"\n")?;
    let discovered = |args: &[&str]| -> Tested<_> {
        let args = [&["discover", "--json"], args].concat();
        let found = project.guard(&args).json()?;
        Ok((found["policy"].clone(), found["items"][0]["now"].clone()))
    };
    let (policy, now) = discovered(&[])?;
    assert_eq!((policy, &now["verdict"]), (json!("open"), &json!("allow")));
    // One that was written for this project is what its commands are to run under.
    let own = project.home.join(".config/guard/policies");
    fs::create_dir_all(&own)?;
    fs::write(own.join("project.toml"), shut)?;
    let setup = project.guard(&["setup", "--agent", "claude-code", "--print"]);
    for said in ["no rule is missing", "guard run --policy project -- claude"] {
        assert!(setup.stdout.contains(said), "{setup:?}");
    }
    Ok(())
}

#[test]
fn the_first_command_of_a_setup_works_where_the_settings_name_a_policy_of_ones_own() -> Tested {
    let project = Project::new("default_policy = \"mine\"\n")?;
    let own = project.home.join(".config/guard/policies");
    fs::create_dir_all(&own)?;
    fs::write(
        own.join("mine.toml"),
        "version = 1\ndefault = \"confirm\"\n",
    )?;
    let run = |policy: &[&str]| {
        let args = [&["run"], policy, &["--", "true"]].concat();
        project.guard(&args)
    };
    // guardd has none of that name, and an agent may have written this one.
    let refused = run(&[]);
    assert_eq!(refused.code(), Some(125));
    for said in ["(default_policy)", "    guard run --policy mine -- true\n"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert_eq!(run(&["--policy", "mine"]).code(), Some(0));
    let setup = project.guard(&["setup", "--agent", "claude-code", "--print"]);
    let told = "    guard run --policy mine -- claude\n";
    assert!(setup.stdout.contains(told), "{setup:?}");
    Ok(())
}

#[test]
fn a_policy_that_is_there_already_is_not_built_on_unseen() -> Tested {
    let project = Project::new("")?;
    let own = project.home.join(".config/guard/policies");
    fs::create_dir_all(&own)?;
    let file = own.join("project.toml");
    // As an agent may have written it elsewhere: what is found here is denied, and all else is open.
    let rule = format!("[[rule]]\nname = \"cache\"\nto = [\"{V4}\"]\naction = \"deny\"\n");
    let planted = format!("version = 1\ndefault = \"allow\"\n{rule}");
    fs::write(&file, &planted)?;
    let write = ["discover", "--write", "project"];
    for mode in ["--yes", "--json"] {
        let refused = project.guard(&[&write[..], &[mode]].concat());
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        let said = [&*refused.stdout, &refused.stderr].concat();
        for words in [
            "lets more through than default",
            "guard diff default project",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let shown = project.guard(&["setup", "--agent", "claude-code", "--print"]);
    let wider = "Beside default it is wider in ";
    assert!(shown.stdout.contains(wider), "{shown:?}");
    assert!(
        shown.stdout.contains("\n  allow in place of confirm for "),
        "{shown:?}"
    );

    let tmux = Tmux::start(project.lab.daemon.dir());
    for (verb, then) in [
        (&["setup", "--agent", "claude-code"][..], "3/4"),
        (&write[..], "Nothing was written: no rule is missing"),
    ] {
        for (answer, then) in [("n", "guard diff default project"), ("y", then)] {
            let name = format!("{}-{answer}", verb[0]);
            let window = project.types(&tmux, &name, [160, 120], verb);
            let screen = window.expect("ways? [y/N]");
            for words in [wider, "Go on with project as it is, wider in "] {
                assert!(screen.contains(words), "{words}: {screen}");
            }
            window.enter(answer);
            window.expect(then);
        }
    }
    assert_eq!(fs::read_to_string(&file)?, planted);

    // What only narrows is gone on with.
    let shipped = project.guard(&["policy", "show", "default"]).stdout;
    fs::write(&file, format!("{shipped}\n{rule}"))?;
    let narrows = project.guard(&[&write[..], &["--yes"]].concat());
    assert_eq!(narrows.code(), Some(0), "{narrows:?}");
    Ok(())
}

#[test]
fn what_is_dismissed_is_guardds_to_keep_and_no_news() -> Tested {
    let mut project = Project::new(COVERED)?;
    let run = |policy: &str| {
        project
            .guard(&["run", "--policy", policy, "--", "true"])
            .code()
    };
    assert_eq!(run("open"), Some(125));
    // What runs as that user may write there, a session too.
    let file = project.home.join(".local/state/guard/discover.json");
    let own = format!(
        "{{\"dismissed\": [{{\"host\": \"{V4}\", \"port\": 8080, \"label\": \"production\", \
         \"at\": \"2026-11-25T12:00:00Z\", \"by\": \"agent\"}}]}}"
    );
    fs::create_dir_all(file.parent().unwrap())?;
    fs::write(&file, own)?;
    chown(&file, Some(AGENT), Some(AGENT))?;
    assert_eq!(run("open"), Some(125));
    let dismissed = project.guard(&["discover", "--dismiss", "1"]);
    assert_eq!(dismissed.code(), Some(0), "{dismissed:?}");
    fs::remove_file(&file)?;
    assert_eq!(run("open"), Some(0));
    // It outlives guardd, and is no drift where it appears again.
    project.lab.daemon.stop()?;
    project.lab.daemon.start()?;
    let env = project.project.join(".env");
    let text = fs::read_to_string(&env)?;
    let other = format!(
        "{text}{}",
        settings(["db1.example.net".to_owned()].into_iter())
    );
    fs::remove_file(&env)?;
    let mut session = project.in_session(&["--policy", &project.asks()?])?;
    session.write(&format!("printf '{}' > .env\n", other.replace('\n', "\\n")))?;
    let appeared = || project.appeared();
    guard_lab::eventually("the other is told", || Ok(!appeared()?.is_empty()))?;
    let hosts: Vec<_> = appeared()?.iter().map(|one| one["host"].clone()).collect();
    assert_eq!(hosts, ["db1.example.net"]);
    Ok(())
}

/// Whoever writes to the project chooses which place has which number by the time that one is typed.
#[test]
fn a_place_is_dismissed_as_it_was_listed_or_a_person_is_asked() -> Tested {
    let project = Project::new("")?;
    let place = format!("{V4}:8080");
    let listed = || -> Tested<Vec<Value>> {
        let listed = project.guard(&["discover", "--json"]).json()?;
        Ok(listed["items"].list()?.clone())
    };
    assert_eq!(listed()?[0]["host"], V4);
    let env = project.project.join(".env");
    let before = "PROD_DB_URL=postgres://app:hunter2@db.prod.example.net/app\n";
    fs::write(&env, format!("{before}{}", fs::read_to_string(&env)?))?;
    assert_eq!(listed()?[0]["host"], "db.prod.example.net");
    let is_dismissed = || -> Tested<Vec<_>> {
        let dismissed = |one: &Value| one["dismissed"].is_object();
        Ok(listed()?.iter().map(dismissed).collect())
    };
    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = project.types(&tmux, "no", [200, 60], &["discover", "--dismiss", "1"]);
    window.expect("Dismiss db.prod.example.net:5432 (PROD_DB_URL  .env:1)? [y/N]");
    window.enter("n");
    window.expect("Nothing is dismissed.");
    assert_eq!(is_dismissed()?, [false, false]);
    let window = project.types(
        &tmux,
        "place",
        [200, 60],
        &["discover", "--dismiss", &place],
    );
    window.expect(&format!("{place} is not production"));
    assert_eq!(is_dismissed()?, [false, true]);
    let window = project.types(&tmux, "yes", [200, 60], &["discover", "--dismiss", "1"]);
    window.expect("Dismiss db.prod.example.net:5432");
    window.enter("y");
    window.expect("db.prod.example.net:5432 is not production");
    assert_eq!(is_dismissed()?, [true, true]);
    for (typed, why) in [
        ("db.example.net:5432", "none of the places that are listed"),
        (
            "db.prod.example.net:5433",
            "none of the places that are listed",
        ),
    ] {
        let refused = project.guard(&["discover", "--dismiss", typed]);
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    // A script is told what it was.
    for typed in ["1", "DB.prod.example.net"] {
        let place = "db.prod.example.net:5432";
        let withdrawn = project.guard(&["discover", "--dismiss", place, "--withdraw"]);
        assert_eq!(withdrawn.code(), Some(0), "{withdrawn:?}");
        assert_eq!(is_dismissed()?, [false, true]);
        let said = project.guard(&["discover", "--dismiss", typed]);
        assert!(said.stdout.contains(place), "{said:?}");
        assert_eq!(is_dismissed()?, [true, true]);
    }
    Ok(())
}

#[test]
fn a_place_that_is_dismissed_keeps_its_number_and_each_has_a_name_that_stays() -> Tested {
    let project = Project::new("")?;
    let env = project.project.join(".env");
    let more = (1..4).map(|number| format!("db{number}.example.net"));
    fs::write(&env, settings(more))?;
    let listed = || -> Tested<Vec<_>> {
        let found = project.guard(&["discover", "--json"]).json()?;
        let items = found["items"].list()?.clone();
        let row = |one: Value| {
            (
                one["id"].clone(),
                one["number"].clone(),
                one["host"].clone(),
            )
        };
        Ok(items.into_iter().map(row).collect())
    };
    let before = listed()?;
    assert_eq!(before.len(), 3);
    assert_eq!(before[1], (json!("p2"), json!(2), json!("db2.example.net")));
    project.guard(&["discover", "--dismiss", "1"]);
    assert_eq!(listed()?, before);
    // Something graver comes before them, and every number is another's.
    let settings = fs::read_to_string(&env)?;
    fs::write(
        &env,
        format!("PROD_DB_URL=postgres://a:b@db.prod.example.net/app\n{settings}"),
    )?;
    assert_eq!(listed()?[0].2, "db.prod.example.net");
    let why = |which: &str| {
        project
            .guard(&["discover", "--json", "--why", which])
            .json()
    };
    assert_eq!(why("2")?["host"], "db1.example.net");
    assert_eq!(why("db2.example.net:5432")?["host"], "db2.example.net");
    assert_eq!(why("db2.example.net")?["number"], 3);
    let refused = project.guard(&["discover", "--why", "db2.example.net:5433"]);
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("cannot explain db2.example.net:5433"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn numbers_of_places_take_a_comma_between_them() -> Tested {
    let project = Project::new("")?;
    let env = project.project.join(".env");
    let more = settings(["db1.example.net".to_owned()].into_iter());
    fs::write(&env, format!("{}{more}", fs::read_to_string(&env)?))?;
    for more in [&[][..], &["--withdraw"]] {
        let spaced = [&["discover", "--dismiss", "1", "2"], more].concat();
        let spaced = project.guard(&spaced);
        assert_eq!(spaced.code(), Some(2), "{spaced:?}");
        let advice = ["guard discover --dismiss 1,2", more.first().unwrap_or(&"")].join(" ");
        assert!(spaced.stderr.contains(advice.trim_end()), "{spaced:?}");
        let both = [&["discover", "--json", "--dismiss", "1,2"], more].concat();
        let both = project.guard(&both);
        assert_eq!(both.json()?.list()?.len(), 2, "{both:?}");
    }
    Ok(())
}

#[test]
fn what_is_dismissed_in_one_project_is_found_in_another_and_in_the_home_it_is_the_same() -> Tested {
    let project = Project::new("")?;
    let other = project.lab.daemon.dir().join("other");
    fs::create_dir(&other)?;
    chown(&other, Some(AGENT), Some(AGENT))?;
    let env = project.project.join(".env");
    fs::copy(&env, other.join(".env"))?;
    let dismissed = |dir: &Path| -> Tested<_> {
        let found = project.guard_in(dir, &["discover", "--json"]).json()?;
        Ok(found["items"][0]["dismissed"].clone())
    };
    assert!(dismissed(&project.project)?.is_null() && dismissed(&other)?.is_null());
    let said = project.guard(&["discover", "--dismiss", "1"]);
    let here = project.project.canonicalize()?.display().to_string();
    let words = format!("is not production in {here}");
    assert!(said.stdout.contains(&words), "{said:?}");
    assert_eq!(dismissed(&project.project)?["dir"], here);
    assert!(dismissed(&other)?.is_null());
    let withdraw = ["discover", "--dismiss", "1", "--withdraw"];
    let nothing = project.guard_in(&other, &withdraw);
    assert!(
        nothing.stderr.contains("it is not dismissed"),
        "{nothing:?}"
    );
    // Below a repository's top it is the same project.
    fs::create_dir(project.project.join(".git"))?;
    let below = project.project.join("api");
    fs::create_dir(&below)?;
    fs::copy(&env, below.join(".env"))?;
    assert_eq!(dismissed(&below)?["dir"], here);

    // The home is there in every project.
    project.guard(&withdraw);
    let shell = project.home.join(".zshrc");
    fs::write(&shell, format!("export {}", fs::read_to_string(&env)?))?;
    chown(&shell, Some(AGENT), Some(AGENT))?;
    let said = project.guard(&["discover", "--dismiss", "1"]);
    assert!(said.stdout.contains("wherever it is found"), "{said:?}");
    for dir in [&project.project, &other] {
        let dismissed = dismissed(dir)?;
        assert!(
            dismissed.is_object() && dismissed["dir"].is_null(),
            "{dismissed}"
        );
    }
    Ok(())
}

/// A project may lie in the home, and name its own files by the home's name.
#[test]
fn what_a_hostile_project_has_dismissed_counts_nowhere_else() -> Tested {
    let project = Project::new("")?;
    let files = [
        ("evil/.env", "PGPASSFILE=~/evil/pgp\n".to_owned()),
        ("evil/pgp", format!("{V4}:5432:bank_live:u:word\n")),
        (
            "bank/.env",
            format!("DATABASE_URL=postgres://u:word@{V4}:5432/bank\n"),
        ),
    ];
    for (path, text) in files {
        let path = project.home.join(path);
        let dir = path.parent().unwrap();
        fs::create_dir_all(dir)?;
        fs::write(&path, text)?;
        for path in [dir, path.as_path()] {
            chown(path, Some(AGENT), Some(AGENT))?;
        }
    }
    let [evil, bank] = ["evil", "bank"].map(|name| project.home.join(name));
    let check = |dir: &Path| {
        let checked = project.guard_in(dir, &["discover", "--check", "--policy", "open"]);
        checked.code()
    };
    assert_eq!((check(&evil), check(&bank)), (Some(1), Some(1)));
    let said = project.guard_in(&evil, &["discover", "--dismiss", "1"]);
    assert!(said.stdout.contains("is not production in "), "{said:?}");
    assert_eq!((check(&evil), check(&bank)), (Some(0), Some(1)));
    Ok(())
}

#[test]
fn what_was_dismissed_without_guardd_is_told_and_withdrawn_wherever_it_is_kept() -> Tested {
    let mut project = Project::new("")?;
    let place = format!("{V4}:8080");
    let dismissed = |project: &Project| -> Tested<_> {
        Ok(project.guard(&["discover", "--json"]).json()?["items"][0]["dismissed"].clone())
    };
    let says = |output: Output, words: &[&str]| {
        assert_eq!(output.code(), Some(0), "{output:?}");
        for words in words {
            assert!(output.stdout.contains(words), "{words}: {output:?}");
        }
    };
    project.lab.daemon.stop()?;
    let first = project.guard(&["discover", "--dismiss", "1"]);
    says(first, &["is not production", "until a guardd runs"]);
    assert!(dismissed(&project)?.is_object());
    let withdrawn = project.guard(&["discover", "--dismiss", "1", "--withdraw"]);
    says(withdrawn, &["Not dismissed any more"]);
    assert!(dismissed(&project)?.is_null());
    project.guard(&["discover", "--dismiss", "1"]);

    project.lab.daemon.start()?;
    assert!(dismissed(&project)?.is_null());
    let told = project.guard(&["discover"]);
    let advice = format!("guard discover --dismiss {place}\n");
    let word = ["dismissed without guardd", &advice];
    says(told, &[word[0], word[1], &place]);
    says(
        project.guard(&["discover", "--dismiss", &place]),
        &["guardd keeps that"],
    );
    let told = project.guard(&["discover"]);
    assert!(!told.stdout.contains(word[0]), "{told:?}");

    // It is gone from the project, and can be taken back all the same.
    fs::remove_file(project.project.join(".env"))?;
    let all = project.guard(&["discover", "--all"]);
    says(all, &["dismissed, not found", &place]);
    let withdraw = ["discover", "--dismiss", &place, "--withdraw"];
    says(
        project.guard(&withdraw),
        &["Not dismissed any more", &place],
    );
    let again = project.guard(&withdraw);
    assert_eq!(again.code(), Some(2), "{again:?}");
    assert!(again.stderr.contains("it is not dismissed"), "{again:?}");
    project.lab.daemon.stop()?;
    let all = project.guard(&["discover", "--all"]);
    assert!(!all.stdout.contains("dismissed, not found"), "{all:?}");
    Ok(())
}

#[test]
fn what_comes_into_reach_is_told_where_people_are() -> Tested {
    let (project, _told, file) = Project::telling()?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let [watch, bell] = project.screens(&tmux);
    let mut session = project.in_session(&["--policy", &project.asks()?])?;
    watch.expect("policy quiet");
    let new = settings(["db1.example.net".to_owned()].into_iter()).replace('\n', "\\n");
    session.write(&format!("printf '{new}' > .env.new\n"))?;
    watch.expect("1 came into reach");
    watch.expect("db1.example.net tcp/5432 came into reach of s1");
    bell.expect("db1.example.net tcp/5432 (postgres), by A0_URL in .env.new:1");
    let lines = || fs::read_to_string(&file).unwrap_or_default();
    guard_lab::eventually("the command is told", || lines().ends_with('\n'))?;
    let one: serde_json::Value = serde_json::from_str(&lines())?;
    assert_eq!(one["kind"], "appeared", "{one}");
    assert_eq!(one["host"], "db1.example.net", "{one}");
    assert!(!lines().contains("hunter2"), "{one}");
    assert_eq!(project.lab.daemon.json(["sessions"])?[0]["appeared"], 1);
    Ok(())
}

impl Project {
    /// Records of what came into reach.
    pub(super) fn appeared(&self) -> Tested<Vec<serde_json::Value>> {
        Ok(self.lab.daemon.logged("appeared")?)
    }

    /// One whose person is told by a command, which writes into a file; and the directory of that.
    pub(super) fn telling() -> Tested<(Self, tempfile::TempDir, PathBuf)> {
        let told = tempfile::tempdir()?;
        fs::set_permissions(told.path(), fs::Permissions::from_mode(0o777))?;
        let file = told.path().join("told");
        let project = Self::new(&format!(
            "on_request = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n{COVERED}",
            file.display()
        ))?;
        Ok((project, told, file))
    }

    /// A terminal in it, of that many columns and lines, at which its person types a command of `guard`.
    pub(super) fn types<'t>(
        &self,
        tmux: &'t Tmux,
        name: &str,
        size: [u16; 2],
        args: &[&str],
    ) -> Window<'t> {
        let window = tmux.window_of(name, size[0], size[1]);
        window.enter(&format!("cd '{}'", self.project.display()));
        let guard = self.lab.daemon.agent(args.iter().copied());
        window.guard(&guard.env("HOME", &self.home));
        window
    }

    /// What its person watches, and where the bell rings.
    pub(super) fn screens<'t>(&self, tmux: &'t Tmux) -> [Window<'t>; 2] {
        [&["watch"][..], &["notify", "--bell"]].map(|words| {
            let window = tmux.window_of(words[0], 160, 40);
            window.guard(&self.lab.daemon.agent(words));
            window
        })
    }

    /// A policy under which nothing is open.
    pub(super) fn asks(&self) -> Tested<String> {
        let policy = "version = 1\nname = \"quiet\"\ndefault = \"confirm\"\n";
        let file = self.lab.file("quiet.toml", policy)?;
        Ok(file.display().to_string())
    }

    /// An agent in a session in the project, which speaks with `guard mcp`.
    fn mcp(&self) -> Tested<Mcp> {
        let guard = self.lab.program("guard")?;
        let run = ["run", "--policy", "open", "--", &guard, "mcp"];
        let mut run = self.command(&self.project, &run);
        // Where it is a terminal, guard looks for production of itself.
        run.stderr(Stdio::piped());
        let mut mcp = Mcp::over(Running::start(&mut run)?);
        mcp.begin()?;
        Ok(mcp)
    }

    /// A shell that runs in a session in the project.
    pub(super) fn in_session(&self, args: &[&str]) -> Tested<Running> {
        let words: Vec<_> = ["run"]
            .into_iter()
            .chain(args.iter().copied())
            .chain(["--", "sh"])
            .collect();
        let mut session = Running::start(&mut self.command(&self.project, &words))?;
        session.write("echo begun\n")?;
        session.line_with("begun", guard_lab::PATIENCE)?;
        Ok(session)
    }
}

#[test]
fn a_session_under_the_policy_that_was_written_is_named_and_how_it_gets_it() -> Tested {
    let project = Project::new("")?;
    let apply = "guard policy apply shop";
    let write = [
        "discover",
        "--write",
        "shop",
        "--yes",
        "--policy",
        &project.open,
    ];
    let first = project.guard(&write);
    assert_eq!(first.code(), Some(0), "{first:?}");
    assert!(!first.stdout.contains(apply), "{first:?}");
    let _session = project.in_session(&["--policy", "shop"])?;
    let env = project.project.join(".env");
    fs::write(env, format!("CACHE_URL=redis://:word@{V4}:8081\n"))?;
    let more = project.guard(&write);
    assert_eq!(more.code(), Some(0), "{more:?}");
    assert!(
        more.stdout.contains("s1 runs under an older text of"),
        "{more:?}"
    );
    assert!(more.stdout.contains(apply), "{more:?}");
    Ok(())
}

#[test]
fn setup_takes_a_person_to_a_policy_and_an_agent_that_knows_guard() -> Tested {
    let project = Project::new("")?;
    let policy = project.home.join(".config/guard/policies/project.toml");
    let settings = project.project.join(".mcp.json");
    // Nobody is there to be asked: nothing is written, and it says what would be.
    let alone = project.guard(&["setup"]);
    assert_eq!(alone.code(), Some(2), "{alone:?}");
    assert!(alone.stderr.contains("guard setup --print"), "{alone:?}");
    let shown = project.guard(&["setup", "--agent", "claude-code", "--print"]);
    for text in [
        "action = \"confirm\"",
        "mcpServers",
        "Once guard setup, without --print, has written that:",
        "guard run --policy project -- claude",
    ] {
        assert!(shown.stdout.contains(text), "{shown:?}");
    }
    assert!(!policy.exists() && !settings.exists());
    // Where the machine can do all that is required, its page is short.
    let required = project.guard(&["doctor", "--json"]).json()?;
    let required = required
        .list()?
        .iter()
        .filter(|row| row["required"] == true);
    let open = required.filter(|row| row["ok"] == false).count();
    let (_, machine) = shown.stdout.split_once("1/4").unwrap();
    let (machine, _) = machine.split_once("2/4").unwrap();
    let lines = machine.trim_end().lines().skip(1).count();
    assert!(lines > 0 && (lines <= 3 || open > 0), "{machine}");

    let tmux = Tmux::start(project.lab.daemon.dir());
    for answer in ["n", "y"] {
        let args = ["setup", "--policy", &project.open, "--agent", "claude-code"];
        let window = project.types(&tmux, answer, [160, 120], &args);
        for (asked, then) in [
            ("+ports = ", "3/4"),
            ("mcpServers", "first guarded command"),
        ] {
            window.expect(asked);
            window.expect_that("a question at the end", |screen| {
                screen.trim_end().ends_with("Write this? [y/N]")
            });
            assert!(leaves_no_core_dump("setup", &project.open)?);
            window.enter(answer);
            window.expect(then);
        }
        assert_eq!(
            (policy.exists(), settings.exists()),
            (answer == "y", answer == "y")
        );
    }
    // What it wrote is what the next command runs under.
    let _production = project.lab.production()?;
    assert!(project.reaches("open")?);
    assert!(!project.reaches("project")?);
    Ok(())
}

#[test]
fn a_rule_that_is_suggested_for_production_is_warned_of() -> Tested {
    let project = Project::new("")?;
    let _production = project.lab.production()?;
    assert!(project.reaches("open")?);
    let suggest = |dir: &Path| project.guard_in(dir, &["suggest", "--from-flows"]);
    let warning = format!(
        "lets everything pass to {V4}:8080, which looks like production (CACHE_URL  .env:1)"
    );
    eventually("the flow is known", || {
        suggest(&project.project).stdout.contains(V4)
    })?;
    let warned = suggest(&project.project);
    assert!(warned.stderr.contains(&warning), "{warned:?}");
    // The policy is what would have let exactly that pass.
    assert!(warned.stdout.contains("action = \"allow\""), "{warned:?}");
    let elsewhere = suggest(&project.home);
    assert!(elsewhere.stdout.contains(V4), "{elsewhere:?}");
    assert!(!elsewhere.stderr.contains("production"), "{elsewhere:?}");

    let dismissed = project.guard(&["discover", "--dismiss", "1"]);
    assert_eq!(dismissed.code(), Some(0), "{dismissed:?}");
    let after = suggest(&project.project);
    assert!(!after.stderr.contains("production"), "{after:?}");
    Ok(())
}
