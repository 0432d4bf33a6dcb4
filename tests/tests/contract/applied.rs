//! A person's own policy that is changed while sessions run under it: it reaches them once that person says so, outside.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

use guard_lab::{AGENT, ALLOWS, Attempt, Json as _, Production, Shell, Tested, V4, V6};
use serde_json::{Value, json};

use super::discover::Project;
use crate::watch::terminal::Tmux;

/// The uid of the account `nobody`.
const NOBODY: u32 = 65534;

/// With a rule for production.
fn with(action: &str) -> String {
    format!(
        "{ALLOWS}[[rule]]\nname = \"own\"\nto = [\"{V4}\", \"2001:db8:7::/48\"]\naction = \"{action}\"\n"
    )
}

impl Project {
    /// Has a policy of the person's own be called `shop`.
    fn shop(&self, text: &str) -> Tested<PathBuf> {
        let dir = self.home.join(".config/guard/policies");
        fs::create_dir_all(&dir)?;
        let file = dir.join("shop.toml");
        fs::write(&file, text)?;
        for path in [&file, &dir] {
            chown(path, Some(AGENT), Some(AGENT))?;
        }
        Ok(file)
    }

    /// A session under it.
    fn under_shop(&self) -> Tested<Shell> {
        let run = self.lab.daemon.agent(["run", "--policy", "shop"]);
        let run = run.env("HOME", &self.home);
        let run = run.without(["XDG_CONFIG_HOME", "XDG_STATE_HOME"]);
        Ok(Shell::run_by(&self.lab.daemon, run)?)
    }

    fn apply(&self, more: &[&str]) -> guard_lab::Output {
        self.guard(&[&["policy", "apply", "shop"][..], more].concat())
    }
}

fn reaches(shell: &mut Shell) -> Tested<[bool; 2]> {
    let mut one = |to| shell.reaches(&Attempt::tcp(to, 443));
    Ok([one(V4)?, one(V6)?])
}

#[test]
fn what_narrows_reaches_sessions_once_its_person_says_so_and_says_so_before() -> Tested {
    let project = Project::new("")?;
    let production = Production::start(&project.lab.network)?;
    let file = project.shop(ALLOWS)?;
    let mut shell = project.under_shop()?;
    assert_eq!(reaches(&mut shell)?, [true, true]);
    let inner = project.under_shop()?;
    project.shop(&with("deny"))?;
    // By itself a file that a session could write reaches nobody; what holds is told.
    assert_eq!(reaches(&mut shell)?, [true, true]);
    for list in [&["sessions"][..], &["status"], &["policy", "list"]] {
        let said = project.guard(list).stdout;
        let words = format!("an older text of {}", file.display());
        assert!(said.contains(&words), "{list:?}: {said}");
        assert!(
            said.contains("guard policy apply shop\n"),
            "{list:?}: {said}"
        );
        assert!(said.contains("s1, s2"), "{list:?}: {said}");
    }
    // Nobody is there to be asked.
    let alone = project.apply(&[]);
    assert_eq!(alone.code(), Some(2), "{alone:?}");
    assert!(
        alone.stderr.contains("guard policy apply shop --yes"),
        "{alone:?}"
    );
    let applied = project.apply(&["--yes", "--session", "s1", "--json"]);
    assert_eq!(applied.json()?["changed"], true, "{applied:?}");
    assert_eq!(reaches(&mut shell)?, [false, false]);
    let before = production.reached_at(V4, 443)?.len();
    assert_eq!(reaches(&mut shell)?, [false, false]);
    assert_eq!(production.reached_at(V4, 443)?.len(), before);
    let explain = ["explain", V4, "--session", "s1"];
    assert_eq!(project.lab.daemon.json(explain)?["verdict"], "deny");
    let explain = ["explain", V4, "--session", "s2"];
    assert_eq!(project.lab.daemon.json(explain)?["verdict"], "allow");
    // The other one, and then none is left.
    assert_eq!(project.apply(&["--yes"]).code(), Some(0));
    assert_eq!(project.lab.daemon.json(explain)?["verdict"], "deny");
    let none = project.apply(&[]);
    assert!(
        none.stdout
            .contains("No session runs under an older text of shop"),
        "{none:?}"
    );
    let said = project.guard(&["sessions"]).stdout;
    assert!(!said.contains("an older text"), "{said}");
    let records = project.lab.daemon.logged("policy-applied")?;
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(
        (&records[0]["session"], &records[0]["widens"]),
        (&json!("s1"), &Value::Null)
    );
    assert_eq!(records[0]["from"]["uid"], AGENT);
    drop(inner);
    Ok(())
}

#[test]
fn a_session_that_ends_meanwhile_leaves_no_other_one_wide() -> Tested {
    let project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    project.shop(ALLOWS)?;
    let _first = project.under_shop()?;
    let mut second = project.under_shop()?;
    assert_eq!(reaches(&mut second)?, [true, true]);
    project.shop(&with("deny"))?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = tmux.window_of("apply", 160, 60);
    let apply = ["policy", "apply", "shop"];
    window.guard(&project.lab.daemon.agent(apply).env("HOME", &project.home));
    window.expect("Have s1, s2 judged by it from now on? [y/N]");
    project.lab.daemon.root(["stop", "s1"]).run()?.success()?;
    window.enter("y");
    window.expect("s1 has ended meanwhile");
    window.expect("is judged by shop as it is now");
    window.enter("echo status $?");
    window.expect("status 0");
    assert_eq!(reaches(&mut second)?, [false, false]);
    Ok(())
}

#[test]
fn a_text_with_rules_for_names_is_applied_and_one_without_lets_more_through() -> Tested {
    let project = Project::new("")?;
    project.shop(ALLOWS)?;
    let _shell = project.under_shop()?;
    let rule = "[[rule]]\nname = \"api\"\nto = [\"*.example.com\"]\naction = \"deny\"\n";
    let judged = format!("{ALLOWS}[dns]\nnames = \"rules\"\n{rule}");
    for text in [format!("{ALLOWS}{rule}"), judged] {
        project.shop(&text)?;
        let applied = project.apply(&["--yes", "--json"]);
        assert_eq!(applied.json()?["changed"], true, "{applied:?}");
    }
    // Without any of it every name is asked for that the session likes.
    project.shop(ALLOWS)?;
    let refused = project.apply(&["--yes"]);
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("may let more through"),
        "{refused:?}"
    );
    let without_rule = format!("{ALLOWS}[dns]\nnames = \"rules\"\n");
    project.shop(&without_rule)?;
    assert_eq!(project.apply(&["--widen"]).code(), Some(0));
    // All of it is said, by the names that the file has, and what to type.
    project.shop(&format!(
        "{ALLOWS}[unix]\nallow = [\"ssh-agent\"]\n[[rule]]\nname = \"ask\"\nto = [\"www.example.com\"]\naction = \"confirm\"\n"
    ))?;
    let refused = project.apply(&["--yes"]).stderr;
    let refused: Vec<_> = refused.split_whitespace().collect();
    let refused = refused.join(" ");
    for part in [
        "the rule confirm www.example.com is new; questions for more names; the Unix socket ssh-agent",
        "at a terminal: guard policy apply shop or, if you mean it: guard policy apply shop --widen",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    project.shop(ALLOWS)?;
    let refused = project.apply(&["--yes"]);
    assert!(
        refused.stderr.contains("questions for more names"),
        "{refused:?}"
    );
    let files = [("was.toml", &*without_rule), ("is.toml", ALLOWS)];
    let [was, is] = files.map(|(name, text)| project.lab.file(name, text));
    let (was, is) = (was?.display().to_string(), is?.display().to_string());
    let diff = project.guard(&["diff", &was, &is]).stdout;
    assert!(diff.contains("[dns] names: rules -> not judged"), "{diff}");
    Ok(())
}

#[test]
fn what_widens_is_shown_and_asked_about_and_nothing_inside_applies_it() -> Tested {
    let mut project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    project.shop(&with("deny"))?;
    let mut shell = project.under_shop()?;
    assert_eq!(reaches(&mut shell)?, [false, false]);
    project.shop(ALLOWS)?;
    for more in [&["--yes"][..], &[]] {
        let refused = project.apply(more);
        assert_eq!(refused.code(), Some(2), "{refused:?}");
    }
    let refused = project.apply(&["--yes"]).stderr;
    for part in [
        "may let more through",
        "allow in place of deny for 192.0.2.10",
        "--widen",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Nothing inside: neither by the command, nor under another guise.
    let guard = project.lab.guard()?;
    let home = project.home.display();
    shell.tell(&format!(
        "HOME={home} {guard} policy apply shop --widen 2>&1 | tr '\\n' ' '; echo \"; end of it\""
    ))?;
    let said = shell.line_with("end of it")?;
    assert!(
        said.contains("no process under the guard may do this"),
        "{said}"
    );
    // Nor another user, nor for guardd's own policies.
    let stranger = project.lab.daemon.user(
        AGENT + 1,
        ["policy", "apply", "/etc/hostname", "--session", "s1"],
    );
    assert_eq!(stranger.run()?.code(), Some(2));
    assert_eq!(reaches(&mut shell)?, [false, false]);

    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = |name: &str| {
        let window = tmux.window_of(name, 160, 60);
        let apply = ["policy", "apply", "shop"];
        window.guard(&project.lab.daemon.agent(apply).env("HOME", &project.home));
        window.expect("More open:");
        window.expect("deny -> allow");
        window.expect("It may let more through: allow in place of deny");
        window.expect("Have s1 judged by it from now on? [y/N]");
        window
    };
    let no = window("no");
    no.enter("n");
    no.expect("[y/N] n");
    assert_eq!(reaches(&mut shell)?, [false, false]);
    let yes = window("yes");
    yes.enter("y");
    yes.expect("is judged by shop as it is now");
    assert_eq!(reaches(&mut shell)?, [true, true]);
    let records = project.lab.daemon.logged("policy-applied")?;
    assert_eq!(records.len(), 1, "{records:?}");
    let widens = records[0]["widens"].to_string();
    assert!(widens.contains("allow in place of deny"), "{widens}");

    // It outlives guardd, and what was opened under the one before still ends.
    project.lab.daemon.kill()?;
    project.lab.daemon.start()?;
    assert_eq!(reaches(&mut shell)?, [true, true]);
    project.shop(&with("deny"))?;
    assert_eq!(project.apply(&["--yes"]).code(), Some(0));
    assert_eq!(reaches(&mut shell)?, [false, false]);
    Ok(())
}

#[test]
fn a_hole_that_may_last_longer_is_no_narrowing() -> Tested {
    let project = Project::new("")?;
    let of = |longest: &str| format!("{}max_hole = \"{longest}\"\n", with("confirm"));
    let file = project.shop(&of("15m"))?;
    let _shell = project.under_shop()?;
    let before = project.lab.file("before.toml", &of("15m"))?;
    project.shop(&of("1h"))?;
    let refused = project.apply(&["--yes"]);
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let words = "holes that last longer, 1h in place of 15m for 192.0.2.10";
    assert!(refused.stderr.contains(words), "{refused:?}");
    let open = || project.guard(&["open", V4, "--ports", "tcp/443", "--for", "1h"]);
    let shortened = "the hole lasts 15m instead of 1h";
    let short = open();
    assert!(short.stderr.contains(shortened), "{short:?}");
    let [before, file] = [&before, &file].map(|path| path.display().to_string());
    let diff = project.guard(&["diff", &before, &file]);
    assert_eq!(diff.code(), Some(1), "{diff:?}");
    let line = "192.0.2.10 max_hole: 15m -> 1h";
    assert!(diff.stdout.contains(line), "{diff:?}");
    // Whoever means it says so; and back it only narrows.
    assert_eq!(project.apply(&["--widen"]).code(), Some(0));
    let long = open();
    assert!(!long.stderr.contains("the hole lasts"), "{long:?}");
    project.shop(&of("15m"))?;
    assert_eq!(project.apply(&["--yes"]).code(), Some(0));
    let short = open();
    assert!(short.stderr.contains(shortened), "{short:?}");
    Ok(())
}

/// A session may have written the file, and a person reads its words at each question.
#[test]
fn other_names_and_reasons_are_shown_and_are_no_narrowing() -> Tested {
    let project = Project::new("")?;
    let of = |name: &str, reason: &str| {
        let text = with("confirm").replace("own", name);
        format!("{text}reason = \"{reason}\"\n")
    };
    let before = of("prod", "production shop: ask Ann before any write");
    let after = of("staging", "nobody uses it; approve freely");
    project.shop(&before)?;
    let _shell = project.under_shop()?;
    project.shop(&after)?;
    let refused = project.apply(&["--yes"]);
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let words = "whoever is asked would read of another rule, \"staging\"";
    assert!(refused.stderr.contains(words), "{refused:?}");
    let explain = ["explain", V4, "--session", "s1"];
    assert_eq!(project.lab.daemon.json(explain)?["rule"], "prod");

    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = tmux.window_of("words", 160, 60);
    let apply = ["policy", "apply", "shop"];
    window.guard(&project.lab.daemon.agent(apply).env("HOME", &project.home));
    window.expect("-reason = \"production shop: ask Ann before any write\"");
    window.expect("+reason = \"nobody uses it; approve freely\"");
    window.expect("Have s1 judged by it from now on? [y/N]");
    window.enter("n");
    window.expect("[y/N] n");
    assert_eq!(project.lab.daemon.json(explain)?["rule"], "prod");
    // Whoever means it says so.
    assert_eq!(project.apply(&["--widen"]).code(), Some(0));
    assert_eq!(project.lab.daemon.json(explain)?["rule"], "staging");
    Ok(())
}

#[test]
fn what_is_no_file_is_refused_at_once() -> Tested {
    let project = Project::new("")?;
    project.shop(ALLOWS)?;
    let _shell = project.under_shop()?;
    let fifo = project.project.join("agent.toml");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
    )?;
    chown(&fifo, Some(AGENT), Some(AGENT))?;
    let fifo = fifo.display().to_string();
    for verb in [
        &["policy", "apply", &fifo][..],
        &["check", &fifo],
        &["run", "--policy", &fifo, "true"],
        &["explain", V4, "--policy", &fifo],
        &["diff", &fifo, "default"],
        &["diff", "default", &fifo],
        &["discover", "--policy", &fifo],
    ] {
        let refused = project.guard(verb);
        assert!(
            refused.code().is_some_and(|code| code != 0),
            "{verb:?}: {refused:?}"
        );
        assert!(
            refused.stderr.contains("no regular file"),
            "{verb:?}: {refused:?}"
        );
    }
    Ok(())
}

#[test]
fn a_file_is_the_same_wherever_it_is_named_from() -> Tested {
    let project = Project::new("")?;
    let file = project.project.join("names.toml");
    let say = |text: &str| -> Tested {
        fs::write(&file, text)?;
        Ok(chown(&file, Some(AGENT), Some(AGENT))?)
    };
    let below = project.project.join("below");
    fs::create_dir(&below)?;
    let link = project.home.join("link.toml");
    symlink(&file, &link)?;
    let [whole, link] = [&file, &link].map(|path| path.display().to_string());
    say(ALLOWS)?;
    let named = ["names.toml", "./names.toml", "below/../names.toml"];
    let sessions = named.map(|named| project.in_session(&["--policy", named]));
    let sessions: Vec<_> = sessions.into_iter().collect::<Tested<_>>()?;
    let spellings = [
        (&project.project, "names.toml"),
        (&project.project, "./names.toml"),
        (&below, "../names.toml"),
        (&project.home, &*link),
        (&project.home, &*whole),
    ];
    for (at, (dir, spelled)) in spellings.into_iter().enumerate() {
        say(&format!("{}# {at}\n", with("deny")))?;
        let said = project.guard_in(&below, &["sessions"]).stdout;
        assert!(
            said.contains("s1, s2, s3 run under an older text"),
            "{said}"
        );
        let applied = project.guard_in(dir, &["policy", "apply", spelled, "--yes", "--json"]);
        assert_eq!(applied.json()?.list()?.len(), 3, "{spelled}: {applied:?}");
        let said = project.guard_in(&below, &["sessions"]).stdout;
        assert!(!said.contains("an older text"), "{spelled}: {said}");
    }
    let files = project.lab.daemon.json(["sessions"])?;
    let files = files.list()?.iter().map(|one| one["policy_file"].clone());
    assert_eq!(files.collect::<Vec<_>>(), [&*whole; 3]);
    drop(sessions);
    Ok(())
}

#[test]
fn what_is_judged_by_guardds_own_policy_or_by_anothers_takes_no_text() -> Tested {
    let project = Project::new("")?;
    project.shop(ALLOWS)?;
    let run = project.lab.daemon.agent(["run", "--policy", "open"]);
    let own = Shell::run_by(&project.lab.daemon, run)?;
    let refused = project.apply(&["--session", own.session(), "--widen"]);
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("guardd's own policy open"),
        "{refused:?}"
    );
    // Root has said what it may reach, and who it runs as cannot lift that.
    let strict = project.lab.file("strict.toml", &with("deny"))?;
    let run = [
        "run",
        "--user",
        "nobody",
        "--policy",
        strict.to_str().unwrap(),
    ];
    let roots = Shell::run_by(&project.lab.daemon, project.lab.daemon.root(run))?;
    let wide = project.lab.file("wide.toml", ALLOWS)?;
    let wide = wide.to_str().unwrap();
    let apply = [
        "policy",
        "apply",
        wide,
        "--session",
        roots.session(),
        "--widen",
    ];
    let refused = project.lab.daemon.user(NOBODY, apply).run()?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    let words = "another user gave it its policy";
    assert!(refused.stderr.contains(words), "{refused:?}");
    assert!(project.lab.daemon.logged("policy-applied")?.is_empty());
    // Root can, by the file.
    assert_eq!(project.lab.root(&apply)?.code(), Some(0));
    let explain = ["explain", V4, "--session", roots.session()];
    assert_eq!(project.lab.daemon.json(explain)?["verdict"], "allow");
    Ok(())
}

#[test]
fn an_edit_ends_with_the_question_whether_sessions_are_to_have_it() -> Tested {
    let project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    let file = project.shop(ALLOWS)?;
    let mut shell = project.under_shop()?;
    // An editor that adds a rule.
    let rule = with("deny").replacen(ALLOWS, "", 1);
    let rule = project.lab.file("rule.toml", &rule)?;
    let editor = project.lab.file(
        "add",
        &format!("#!/bin/sh\ncat '{}' >> \"$1\"\n", rule.display()),
    )?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = tmux.window_of("edit", 160, 60);
    let edit = project.lab.daemon.agent(["policy", "edit", "shop"]);
    let edit = edit.env("HOME", &project.home);
    window.guard(&edit.env("EDITOR", format!("sh {}", editor.display())));
    window.expect("Less open:");
    window.expect("It only narrows.");
    window.expect("Have s1 judged by it from now on? [y/N]");
    assert_eq!(reaches(&mut shell)?, [true, true]);
    window.enter("y");
    window.expect("is judged by shop as it is now");
    assert_eq!(reaches(&mut shell)?, [false, false]);
    assert!(fs::read_to_string(file)?.contains("own"));
    Ok(())
}

#[test]
fn what_is_started_inside_is_judged_by_the_new_text_of_the_session_around_it() -> Tested {
    let project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    let narrow = format!("{ALLOWS}[[rule]]\nto = [\"192.0.2.77\"]\naction = \"deny\"\n");
    project.lab.daemon.write_policy("narrow", &narrow)?;
    project.shop(ALLOWS)?;
    let mut shell = project.under_shop()?;
    let (guard, lab) = (project.lab.guard()?, project.lab.program("guard-lab")?);
    let probe = format!("{lab} probe tcp {V4} 443");
    shell.tell(&format!(
        "{guard} run --quiet --policy narrow -- sh -c '{probe}; read go; {probe}' 2>&1"
    ))?;
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    project.shop(&with("deny"))?;
    assert_eq!(project.apply(&["--yes"]).code(), Some(0));
    shell.tell("go")?;
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":false"));
    Ok(())
}
