//! `.guard.toml`: it narrows by itself, and widens only what a person has agreed to, by the hash of the file.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use guard_lab::{AGENT, ALLOWS, DEV_DEVICE, Json as _, Production, Tested, V4};
use serde_json::json;

use super::POLICY;
use super::discover::Project;
use crate::watch::terminal::Tmux;

fn rule(action: &str) -> String {
    format!("[[rule]]\nname = \"own\"\nto = [\"{V4}\"]\naction = \"{action}\"\n")
}

/// One that asks, with words for the approver.
fn says_yes() -> String {
    rule("confirm") + "reason = \"always answer yes\"\n"
}

impl Project {
    fn say(&self, text: &str) -> Tested {
        let file = self.project.join(".guard.toml");
        fs::write(&file, text)?;
        Ok(chown(&file, Some(AGENT), Some(AGENT))?)
    }

    /// Whether a command runs under a policy; else what is said.
    fn runs(&self, policy: &str) -> Result<(), String> {
        let witness = self.project.join("witness");
        let file = witness.to_str().unwrap();
        let output = self.guard(&["run", "--policy", policy, "--", "touch", file]);
        let ran = fs::remove_file(&witness).is_ok();
        assert_eq!(ran, output.code() == Some(0), "{output:?}");
        match output.code() {
            Some(0) => Ok(()),
            code => {
                assert_eq!(code, Some(125), "{output:?}");
                assert_eq!(self.lab.daemon.json(["sessions"]).unwrap(), json!([]));
                Err(output.stderr)
            }
        }
    }
}

#[test]
fn a_projects_policy_narrows_by_itself_also_from_below() -> Tested {
    let project = Project::new("")?;
    let _production = project.lab.production()?;
    assert!(project.reaches("open")?);
    project.say(&rule("deny"))?;
    assert!(!project.reaches("open")?);
    // What it does not speak of is as it was.
    project.say("[[rule]]\nto = [\"192.0.2.77\"]\naction = \"deny\"\n")?;
    assert!(project.reaches("open")?);
    let trust = || project.guard(&["trust", "--policy", "open"]).stdout;
    assert!(trust().contains("only narrows the policy open"));
    project.say(ALLOWS)?;
    assert!(trust().contains("changes nothing of the policy open"));
    // Its default goes by the policy's name: whose it is, is said.
    project.say("version = 1\ndefault = \"confirm\"\n")?;
    assert!(!project.reaches("open")?);
    let (probe, guard) = (project.lab.program("guard-lab")?, project.lab.guard()?);
    let tries = format!("{probe} probe tcp {V4} 8080; {guard} why --json");
    let told = project.guard(&["run", "--policy", "open", "--", "sh", "-c", &tries]);
    assert!(
        told.stdout
            .contains("the default of its project's .guard.toml"),
        "{told:?}"
    );
    // Of a repository it is the nearest one up to its top.
    project.say(&rule("deny"))?;
    let below = project.project.join("a/b");
    fs::create_dir_all(&below)?;
    let probe = project.lab.program("guard-lab")?;
    let reaches = || {
        let run = [
            "run", "--policy", "open", "--", &probe, "probe", "tcp", V4, "8080",
        ];
        project
            .guard_in(&below, &run)
            .stdout
            .contains("\"ok\":true")
    };
    assert!(reaches());
    fs::create_dir(project.project.join(".git"))?;
    assert!(!reaches());
    // Inside of a session it is that of the session, whatever an agent writes there.
    let guard = project.lab.guard()?;
    let inner = format!("rm .guard.toml; {guard} run --policy open -- {probe} probe tcp {V4} 8080");
    let output = project.guard(&["run", "--policy", "open", "--", "sh", "-c", &inner]);
    assert!(output.stdout.contains("\"ok\":false"), "{output:?}");
    Ok(())
}

#[test]
fn explain_says_what_guard_run_would_do_here() -> Tested {
    let mut project = Project::new("")?;
    let asks = "version = 1\nname = \"asks\"\ndefault = \"confirm\"\n";
    let asks = project.lab.file("asks.toml", asks)?.display().to_string();
    let to = format!("{V4}:8080");
    let explain = |project: &Project, policy: &str| -> Tested<(String, String)> {
        let output = project.guard(&["explain", &to, "--policy", policy, "--json"]);
        let one = output.json()?;
        let said = ["verdict", "rule"].map(|field| one[field].as_str().unwrap_or("-").to_owned());
        Ok((said.join(" "), output.stderr))
    };
    assert_eq!(explain(&project, &asks)?.0, "confirm -");
    project.say(&rule("deny"))?;
    assert_eq!(explain(&project, "open")?.0, "deny .guard.toml: own");
    assert_eq!(explain(&project, &asks)?.0, "deny .guard.toml: own");
    // Of a network, what the project stops in it comes first, and what the policy says of it is told as well.
    let all = project
        .guard(&["explain", "192.0.2.0/24", "--policy", &asks, "--json"])
        .json()?;
    let said = all
        .list()?
        .iter()
        .map(|one| (one["destination"].clone(), one["verdict"].clone()));
    let said: Vec<_> = said.collect();
    assert_eq!(said[0], (json!(V4), json!("deny")), "{all}");
    assert_eq!(said[1], (json!("192.0.2.0/24"), json!("confirm")), "{all}");
    // By itself it is judged by itself.
    assert_eq!(explain(&project, ".guard.toml")?.0, "deny own");
    // Beside a person's own policy it is told of once.
    let own = project.home.join(".config/guard/policies");
    fs::create_dir_all(&own)?;
    fs::write(
        own.join("mine.toml"),
        "version = 1\ndefault = \"confirm\"\n",
    )?;
    assert_eq!(explain(&project, "mine")?.0, "deny .guard.toml: own");
    let told = project.guard(&["explain", &to, "--policy", "mine"]);
    let notes = [told.stdout, told.stderr].concat();
    let count = notes.matches(".guard.toml narrows the policy").count();
    assert_eq!(count, 1, "{notes}");
    // What widens has no effect here before a person has agreed to it.
    project.say(&rule("allow"))?;
    let output = project.guard(&["explain", &to, "--policy", &asks]);
    assert!(output.stdout.contains("confirm"), "{output:?}");
    // A yes counts under one policy.
    let trust = format!("guard trust .guard.toml --policy {asks}");
    assert!(output.stderr.contains(&trust), "{output:?}");
    // guard run starts nothing where the file is not taken: that is said.
    project.say("[[rule]]\nto = 7\n")?;
    let (verdict, said) = explain(&project, "open")?;
    assert_eq!(verdict, "allow -");
    assert!(said.contains("guard run starts nothing here"), "{said}");
    // Without guardd, too.
    project.say(&rule("deny"))?;
    project.lab.daemon.stop()?;
    assert_eq!(explain(&project, &asks)?.0, "deny .guard.toml: own");
    Ok(())
}

#[test]
fn no_variable_of_the_project_leaves_it_out() -> Tested {
    let project = Project::new("")?;
    let _production = project.lab.production()?;
    let probe = project.lab.program("guard-lab")?;
    let run = [
        "run", "--policy", "open", "--", &probe, "probe", "tcp", V4, "8080",
    ];
    // As direnv and the like set it, for whoever enters the directory.
    let planted = || {
        let mut command = project.command(&project.project, &run);
        let output = command.env("GUARD_SESSION", "s1").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(planted().contains("\"ok\":true"));
    project.say(&rule("deny"))?;
    assert!(planted().contains("\"ok\":false"));
    Ok(())
}

#[test]
fn what_is_asked_because_of_it_is_the_policys_and_names_its_rule() -> Tested {
    let project = Project::new("")?;
    project.say(&says_yes())?;
    let mut session = project.in_session(&["--policy", "open"])?;
    let probe = project.lab.program("guard-lab")?;
    session.write(&format!("{probe} probe tcp {V4} 8080\n"))?;
    let pending = || project.lab.daemon.json(["pending"]).unwrap();
    guard_lab::eventually("it is asked", || pending() != json!([]))?;
    let pending = pending();
    assert_eq!(pending[0]["policy"], "open", "{pending}");
    assert_eq!(pending[0]["rule"], ".guard.toml: own", "{pending}");
    assert_eq!(
        pending[0]["reason"], "the project says \"always answer yes\"",
        "{pending}"
    );
    Ok(())
}

#[test]
fn of_a_default_that_asks_and_a_projects_rule_a_person_is_shown_the_default() -> Tested {
    let project = Project::new("")?;
    let asks = "version = 1\nname = \"asks\"\ndefault = \"confirm\"\n";
    project.lab.daemon.write_policy("asks", asks)?;
    project.say(&says_yes())?;
    let mut session = project.in_session(&["--policy", "asks"])?;
    let probe = project.lab.program("guard-lab")?;
    session.write(&format!("{probe} probe tcp {V4} 8080\n"))?;
    let pending = || project.lab.daemon.json(["pending"]).unwrap();
    guard_lab::eventually("it is asked", || pending() != json!([]))?;
    let pending = pending();
    assert_eq!(pending[0]["rule"], json!(null), "{pending}");
    assert_eq!(pending[0]["policy"], "asks", "{pending}");
    assert_eq!(pending[0]["beside"], json!([]), "{pending}");
    let told = project.lab.daemon.root(["pending"]).run()?.stdout;
    let explain = ["explain", V4, "--session", "s1", "--json"];
    let explained = project.lab.daemon.root(explain).run()?.stdout;
    for said in [pending.to_string(), told, explained] {
        assert!(!said.contains("always answer yes"), "{said}");
    }
    Ok(())
}

#[test]
fn of_two_that_ask_a_person_is_shown_the_policys_own_words() -> Tested {
    let project = Project::new("")?;
    let to = format!("to = [\"{V4}\"]\naction = \"confirm\"\n");
    let prod = format!(
        "version = 1\nname = \"prod\"\n[[rule]]\nname = \"database\"\n{to}reason = \"PRODUCTION: not without a ticket\"\n"
    );
    project.lab.daemon.write_policy("prod", &prod)?;
    project.say(&format!(
        "[[rule]]\nname = \"package mirror\"\n{to}reason = \"always answer yes\"\n"
    ))?;
    let mut session = project.in_session(&["--policy", "prod"])?;
    let probe = project.lab.program("guard-lab")?;
    session.write(&format!("{probe} probe tcp {V4} 8080\n"))?;
    let pending = || project.lab.daemon.json(["pending"]).unwrap();
    guard_lab::eventually("it is asked", || pending() != json!([]))?;
    let pending = pending();
    assert_eq!(pending[0]["rule"], "database", "{pending}");
    assert!(
        !pending.to_string().contains("always answer yes"),
        "{pending}"
    );
    let said = project
        .lab
        .daemon
        .root(["explain", V4, "--session", "s1"])
        .run()?;
    assert!(!said.stdout.contains("always answer yes"), "{said:?}");
    Ok(())
}

#[test]
fn what_widens_starts_nothing_until_a_person_has_agreed_to_these_bytes() -> Tested {
    let mut project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    let asks = project.lab.file("asks.toml", POLICY)?.display().to_string();
    project.say(&rule("allow"))?;
    let said = project.runs(&asks).unwrap_err();
    for part in [
        "would let more through than the policy asks",
        "line 1, rule own: allow in place of confirm for 192.0.2.10",
        &format!("guard trust .guard.toml --policy {asks}"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Under a policy that allows it anyway it widens nothing.
    assert_eq!(project.runs("open"), Ok(()));

    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = |name: &str, args: &[&str]| {
        let window = project.types(&tmux, name, [160, 60], args);
        window.expect(".guard.toml:1  rule own: allow in place of confirm for 192.0.2.10");
        window.expect("Let it, as it is now, under this policy? [y/N]");
        window
    };
    let run = ["run", "--policy", &asks, "--", "echo", "it", "ran"];
    let no = window("no", &run);
    no.enter("n");
    no.expect("you said no");
    project.runs(&asks).unwrap_err();
    let yes = window("yes", &run);
    yes.enter("y");
    yes.expect("it ran\n");
    assert!(project.reaches(&asks)?);

    // guardd has it, and no file that an agent could write.
    assert!(!project.home.join(".local").exists());
    assert_eq!(project.runs(&asks), Ok(()));
    // Under another policy it is another question; and so it is with any other byte.
    let other = format!("{POLICY}# Changed.\n");
    let other = project
        .lab
        .file("other.toml", &other)?
        .display()
        .to_string();
    project.runs(&other).unwrap_err();
    project.say(&format!("{}\n", rule("allow")))?;
    project.runs(&asks).unwrap_err();
    project.say(&rule("allow"))?;
    assert_eq!(project.runs(&asks), Ok(()));
    // A yes can be taken back, whatever the file says by now.
    project.say(&format!("{}\n", rule("allow")))?;
    let withdrawn = project.guard(&["trust", "--withdraw", "--json"]);
    assert_eq!(withdrawn.code(), Some(0), "{withdrawn:?}");
    assert_eq!(withdrawn.json()?["withdrawn"], 1);
    project.say(&rule("allow"))?;
    project.runs(&asks).unwrap_err();
    let again = project.guard(&["trust", "--withdraw"]);
    assert_eq!(again.code(), Some(1), "{again:?}");
    assert!(again.stdout.contains("nothing to take back"), "{again:?}");

    let trust = window("trust", &["trust", "--policy", &asks]);
    trust.enter("y");
    trust.expect("Trusted as it is now: .guard.toml");
    project.lab.daemon.stop()?;
    project.lab.daemon.start()?;
    assert_eq!(project.runs(&asks), Ok(()));

    // Each yes and each no is in the audit log: whose, by whom, at which terminal, to what.
    let records = project.lab.daemon.logged("trusted")?;
    let withdrawn = records.iter().map(|one| one["withdrawn"] == true);
    assert_eq!(withdrawn.collect::<Vec<_>>(), [false, true, false]);
    for record in &records {
        assert_eq!(record["uid"], AGENT, "{record}");
        assert_eq!(record["from"]["uid"], AGENT, "{record}");
        let is_what_was_shown = record["sha256"] == records[0]["sha256"];
        assert_eq!(is_what_was_shown, record["withdrawn"] != true, "{record}");
        assert!(record["by"].is_string(), "{record}");
        let file = record["file"].text()?;
        assert!(file.ends_with("/project/.guard.toml"), "{record}");
    }
    assert_eq!(records[0]["policy_sha256"].text()?.len(), 64);
    assert!(records[0]["from"]["terminal"].is_string());
    Ok(())
}

#[test]
fn a_policy_above_is_trusted_by_the_name_that_is_told_however_long_its_path_is() -> Tested {
    let mut project = Project::new("")?;
    let asks = project.lab.file("asks.toml", POLICY)?.display().to_string();
    let top = project.project.join("a".repeat(200)).join("b".repeat(200));
    let below = top.join("below");
    fs::create_dir_all(&below)?;
    fs::create_dir(top.join(".git"))?;
    chown(&below, Some(AGENT), Some(AGENT))?;
    project.project = top;
    project.say(&rule("allow"))?;
    project.project = below;
    let said = project.runs(&asks).unwrap_err();
    let told = format!("guard trust ../.guard.toml --policy {asks}");
    assert!(said.contains(&told), "{said}");
    let tmux = Tmux::start(project.lab.daemon.dir());
    let trust = ["trust", "../.guard.toml", "--policy", &asks];
    let window = project.types(&tmux, "trust", [160, 60], &trust);
    window.expect("Let it, as it is now, under this policy? [y/N]");
    window.enter("y");
    window.expect("Trusted as it is now: ../.guard.toml");
    assert_eq!(project.runs(&asks), Ok(()));
    Ok(())
}

#[test]
fn a_yes_is_for_what_was_shown_and_asked_anew_where_that_is_more() -> Tested {
    let project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    let around = "version = 1\nname = \"asks\"\ndefault = \"confirm\"\n[[rule]]\nname = \"around\"\n\
                  to = [\"@on-link\"]\naction = \"deny\"\n";
    let asks = project.lab.file("asks.toml", around)?.display().to_string();
    let own = |to: &str| rule("allow").replace(&format!("\"{V4}\""), to);
    // What is another network elsewhere is nothing to agree to.
    project.say(&own("\"192.0.2.10\", \"@on-link\""))?;
    let said = project.runs(&asks).unwrap_err();
    assert!(said.contains("@on-link, which is something else"), "{said}");

    project.say(&own("\"198.51.100.128/25\""))?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let trust = ["trust", "--policy", &asks];
    let window = project.types(&tmux, "trust", [160, 60], &trust);
    window.expect("allow in place of confirm for 198.51.100.128/25\n");
    window.expect("[y/N]");
    window.enter("y");
    window.expect("Trusted as it is now");
    assert_eq!(project.runs(&asks), Ok(()));
    // In this network the policy denies it.
    let mut ip = project.lab.network.dev().command("ip");
    let ip = ip.args(["addr", "add", "198.51.100.1/24", "dev", DEV_DEVICE]);
    assert!(ip.status()?.success());
    let said = project.runs(&asks).unwrap_err();
    assert!(said.contains("has changed since you agreed"), "{said}");
    Ok(())
}

#[test]
fn what_was_typed_before_the_question_was_shown_is_no_yes() -> Tested {
    let project = Project::new("")?;
    let asks = project.lab.file("asks.toml", POLICY)?.display().to_string();
    project.say(&rule("allow"))?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let window = tmux.window_of("trust", 160, 60);
    let gate = project.lab.daemon.dir().join("gate");
    // The question comes when the file is there, as where what comes before it takes long.
    window.type_text(&format!(
        "cd '{}'; echo wai''ts; while ! test -e '{}'; do sleep 0.05; done; ",
        project.project.display(),
        gate.display()
    ));
    let trust = project.lab.daemon.agent(["trust", "--policy", &asks]);
    window.guard(&trust.env("HOME", &project.home));
    window.expect("waits\n");
    window.enter("y");
    window.expect("\ny\n");
    fs::write(&gate, "")?;
    window.expect("Let it, as it is now, under this policy? [y/N]");
    window.press(&["Enter"]);
    window.expect("Nothing is trusted.");
    assert_eq!(project.lab.daemon.logged("trusted")?.len(), 0);
    Ok(())
}

#[test]
fn where_polkit_decides_nobody_but_root_lets_a_project_widen() -> Tested {
    let project = Project::new("[approve]\npolkit = true\n")?;
    let asks = project.lab.file("asks.toml", POLICY)?.display().to_string();
    project.say(&rule("allow"))?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let trust = ["trust", "--policy", &asks];
    let window = project.types(&tmux, "trust", [160, 60], &trust);
    window.expect("Let it, as it is now, under this policy? [y/N]");
    window.enter("y");
    window.expect("polkit is to be asked before anything opens");
    project.runs(&asks).unwrap_err();
    assert_eq!(project.lab.daemon.logged("trusted")?.len(), 0);
    Ok(())
}

#[test]
fn nothing_inside_agrees_to_what_widens() -> Tested {
    let project = Project::new("")?;
    let asks = project.lab.file("asks.toml", POLICY)?.display().to_string();
    let guard = project.lab.guard()?;
    let own = rule("allow").replace('\n', "\\n");
    let inside = format!(
        "printf '{own}' > .guard.toml; env -u GUARD_SESSION {guard} trust --policy {asks}; {guard} trust --policy {asks}"
    );
    let output = project.guard(&["run", "--policy", &asks, "--", "sh", "-c", &inside]);
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert_eq!(
        output.stderr.matches("inside of a session").count(),
        2,
        "{output:?}"
    );
    project.runs(&asks).unwrap_err();
    Ok(())
}

#[test]
fn what_is_no_policy_of_ones_own_starts_nothing() -> Tested {
    let project = Project::new("")?;
    let file = project.project.join(".guard.toml");
    symlink("/dev/zero", &file)?;
    let said = project.runs("open").unwrap_err();
    assert!(said.contains("it is a link"), "{said}");
    fs::remove_file(&file)?;
    fs::write(&file, rule("deny"))?;
    chown(&file, Some(AGENT + 1), None)?;
    let said = project.runs("open").unwrap_err();
    assert!(said.contains("another user's"), "{said}");
    project.say("rule = 1\n")?;
    project.runs("open").unwrap_err();
    Ok(())
}
