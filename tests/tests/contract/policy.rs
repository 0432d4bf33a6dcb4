//! The language of policies, as `guard check` and `guard explain` know it.

use std::path::{Path, PathBuf};

use guard_lab::{Json as _, Output, Tested, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Lab, POLICY, V4};
use crate::together::{cases, each_from};
use crate::watch::terminal::Tmux;

/// No daemon, and no network: only files.
struct Files {
    lab: Lab,
}

impl Files {
    fn new() -> Tested<Self> {
        Ok(Self { lab: Lab::new()? })
    }

    fn check(&self, text: &str) -> Tested<Output> {
        let file = self.file(text)?;
        self.lab.agent(&["check", file.to_str().unwrap()])
    }

    fn file(&self, text: &str) -> Tested<PathBuf> {
        self.lab.file("policy.toml", text)
    }

    /// The verdict and the rule under a policy's text.
    fn explain(&self, text: &str, to: &[&str]) -> Tested<(String, Value)> {
        let file = self.file(text)?;
        let policy = ["--policy", file.to_str().unwrap()];
        let explain = [&["explain"], to, &policy].concat();
        let answer = self.lab.daemon.json(explain)?;
        Ok((answer["verdict"].text()?.to_owned(), answer["rule"].clone()))
    }
}

fn rule(name: &str, to: &str, more: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nto = {to}\n{more}\naction = \"{action}\"\n")
}

fn a_policy_of_guardds_own_directory_is_found_by_its_name(files: &Files) -> Tested {
    let lab = &files.lab;
    let dir = lab.daemon.policy_dir().display().to_string();
    let checked = lab.daemon.json(["check", "asks"])?;
    assert_eq!(checked[0]["valid"], true, "{checked}");
    assert!(checked[0]["file"].text()?.starts_with(&dir), "{checked}");
    let same = lab.root(&["diff", "asks", "asks"])?;
    assert_eq!(same.code(), Some(0), "{same:?}");
    for args in [
        &["diff", "asks", "default"][..],
        &["policy", "show", "asks"],
    ] {
        let said = lab.root(args)?;
        assert_ne!(said.code(), Some(2), "{args:?}: {said:?}");
    }
    let found = lab.daemon.agent(["discover", "--policy", "asks", &dir]);
    let found = found.env("HOME", dir.as_str()).run()?;
    assert_ne!(found.code(), Some(2), "{found:?}");
    let listed = lab.root(&["policy", "list"])?.stdout;
    assert!(listed.contains("asks"), "{listed}");
    let unknown = lab.root(&["check", "no-such-policy"])?;
    assert!(unknown.stderr.contains(&dir), "{unknown:?}");
    // Without a guardd there is no such directory, and the machine's has none of that name.
    let policies = lab.daemon.policy_dir();
    let alone = policies.join("of-one-guardd.toml");
    std::fs::copy(policies.join("asks.toml"), &alone)?;
    assert_eq!(lab.root(&["check", "of-one-guardd"])?.code(), Some(0));
    let without = ["check", "of-one-guardd", "--socket", "/no/such/guardd.sock"];
    let without = lab.root(&without)?;
    std::fs::remove_file(alone)?;
    assert_eq!(without.code(), Some(2), "{without:?}");
    Ok(())
}

/// Policies that are built in, without a guardd, and beside files that are called like them.
fn what_is_built_in_is_checked_by_its_name_where_no_guardd_runs(files: &Files) -> Tested {
    let lab = &files.lab;
    let dir = lab.daemon.dir().join("here");
    std::fs::create_dir(&dir)?;
    let guard = |args: &[&str]| -> Tested<Output> {
        let args = [args, &["--socket", "/no/such/guardd.sock"]].concat();
        let mut command = lab
            .daemon
            .agent(args)
            .env("HOME", dir.as_path())
            .command()?;
        Ok(command.current_dir(&dir).output()?.into())
    };
    let valid = |name: &str| -> Tested {
        let said = guard(&["check", name])?;
        let is_valid = format!("valid: policy {name}, ");
        assert!(
            said.code() == Some(0) && said.stdout.contains(&is_valid),
            "{said:?}"
        );
        Ok(())
    };
    for name in ["default", "homelab", "aws-prod", "ci"] {
        valid(name)?;
    }
    // What lies there under that name is said, and is not it.
    std::fs::write(dir.join("homelab"), "nonsense")?;
    std::fs::write(dir.join("homelab.toml"), "nonsense")?;
    valid("homelab")?;
    let said = guard(&["check", "homelab"])?;
    assert!(said.stderr.contains("guard check ./homelab"), "{said:?}");
    let file = guard(&["check", "homelab.toml"])?;
    assert_eq!(file.code(), Some(1), "{file:?}");
    for args in [
        &["diff", "homelab", "homelab"][..],
        &["explain", "192.0.2.10:443", "--policy", "homelab"],
        &["policy", "show", "homelab"],
    ] {
        let said = guard(args)?;
        assert_eq!(said.code(), Some(0), "{args:?}: {said:?}");
    }
    Ok(())
}

fn the_whole_of_it_is_valid(files: &Files) -> Tested {
    let text = r#"version = 1
name = "homelab"
default = "allow"
hold = "60s"

[[rule]]
name = "photos"
to = ["192.0.2.10", "192.0.2.64/26", "2001:db8:7::/48", "db.example.com", "@metadata"]
ports = ["tcp/443", "tcp/8000-8100", "udp/53", "icmp"]
action = "confirm"
max_hole = "30m"
reason = "production photo server"

[[rule]]
to = ["@loopback", "@private", "@link-local", "@on-link", "@multicast", "@public", "@dns", "@guarded-host"]
action = "allow"
"#;
    let output = files.check(text)?;
    assert_eq!(output.code(), Some(0), "{output:?}");
    assert!(output.stdout.contains("valid"), "{output:?}");
    Ok(())
}

#[test]
fn an_error_has_its_place_and_what_was_expected() -> Tested {
    let files = Files::new()?;
    let a = |to: &str, more: &str, action: &str| rule("a", to, more, action);
    let one = "[\"192.0.2.10\"]";
    for (text, line, column, underlined) in [
        (a(one, "", "deny") + &a(one, "", "deny"), 8, 8, "\"a\""),
        (a(one, "colour = 1", "deny"), 5, 1, "colour"),
        (
            a("[\"192.0.2.10\", \"192.0.2.1/24\"]", "", "deny"),
            4,
            21,
            "\"192.0.2.1/24\"",
        ),
        (
            a("[\"2001:db8::1/32\"]", "", "deny"),
            4,
            7,
            "\"2001:db8::1/32\"",
        ),
        (a("[]", "", "deny"), 4, 6, "[]"),
        (a("[\"@nowhere\"]", "", "deny"), 4, 7, "\"@nowhere\""),
        (a("[\"192.0.2.256\"]", "", "deny"), 4, 7, "\"192.0.2.256\""),
        (
            a(one, "ports = [\"tcp/8100-8000\"]", "deny"),
            5,
            10,
            "\"tcp/8100-8000\"",
        ),
        (
            a(one, "ports = [\"tcp/65536\"]", "deny"),
            5,
            10,
            "\"tcp/65536\"",
        ),
        (
            a(one, "ports = [\"quic/443\"]", "deny"),
            5,
            10,
            "\"quic/443\"",
        ),
        (a(one, "max_hole = \"soon\"", "deny"), 5, 12, "\"soon\""),
        (a(one, "", "refuse"), 6, 10, "\"refuse\""),
        ("default = \"maybe\"\n".into(), 2, 11, "\"maybe\""),
    ] {
        let text = format!("version = 1\n{text}");
        let output = files.check(&text)?;
        assert_eq!(output.code(), Some(1), "{text}: {output:?}");
        let place = format!("policy.toml:{line}:{column}");
        assert!(output.stderr.contains(&place), "{text}: {}", output.stderr);
        let marks = "^".repeat(underlined.len());
        let said: Vec<_> = output.stderr.lines().collect();
        let at = said
            .iter()
            .position(|line| line.ends_with(&format!(" {marks}")));
        let at = at.unwrap_or_else(|| panic!("{text}: {}", output.stderr));
        let start = said[at].find('^').unwrap();
        assert_eq!(&said[at - 1][start..start + marks.len()], underlined);
    }
    Ok(())
}

fn a_policy_that_is_built_in_is_checked_shown_and_asked_by_its_name(files: &Files) -> Tested {
    let lab = &files.lab;
    let checked = lab.daemon.json(["check", "default", "homelab"])?;
    for (at, name) in ["default", "homelab"].iter().enumerate() {
        assert_eq!(checked[at]["valid"], true, "{checked}");
        assert_eq!(checked[at]["name"], *name);
    }
    let unknown = lab.agent(&["check", "no-such-policy"])?;
    assert_eq!(unknown.code(), Some(2));
    assert!(
        unknown.stderr.contains("guard policy list"),
        "{}",
        unknown.stderr
    );
    let listed = lab.daemon.json(["policy", "list"])?;
    let names = listed
        .list()?
        .iter()
        .map(|one| one["name"].as_str().unwrap());
    assert!(
        ["aws-prod", "ci", "default", "homelab"]
            .iter()
            .all(|name| names.clone().any(|one| one == *name)),
        "{listed}"
    );
    let shown = lab.agent(&["policy", "show", "homelab"])?;
    // What is shown is what there is: as a file it is the same policy.
    let file = lab.file("shown.toml", &shown.stdout)?;
    let same = lab.agent(&["diff", "homelab", file.to_str().unwrap()])?;
    assert_eq!(same.code(), Some(0), "{}", same.stdout);
    // Without any guardd.
    let nowhere = ["--socket", "/no/such/guardd.sock"];
    let explain = [
        "explain", "10.0.0.1", "--ports", "tcp/443", "--policy", "homelab", "--json",
    ];
    let alone = lab.agent(&[&explain[..], &nowhere].concat())?;
    assert_eq!(alone.code(), Some(0), "{}", alone.stderr);
    let asked = lab.daemon.json(&explain[..6])?;
    assert_eq!(alone.json()?["verdict"], asked["verdict"]);
    Ok(())
}

#[test]
fn a_file_that_is_no_policy_is_listed_as_broken() -> Tested {
    let files = Files::new()?;
    let lab = &files.lab;
    lab.daemon
        .write_policy("broken", "version = 1\n\ncolour = 2\n")?;
    let listed = lab.daemon.json(["policy", "list"])?;
    for one in listed.list()? {
        let says = one["error"].as_str().unwrap_or_default();
        assert_eq!(
            says.starts_with("line 3: "),
            one["name"] == "broken",
            "{one}"
        );
    }
    let status = lab.daemon.json(["status"])?;
    assert_eq!(status["broken"][0]["name"], "broken", "{status}");
    for verb in [&["policy", "list"][..], &["status"]] {
        let said = lab.root(verb)?;
        assert_eq!(said.code(), Some(0), "{said:?}");
        assert!(said.stdout.contains("broken.toml"), "{said:?}");
        assert!(said.stdout.contains("line 3: "), "{said:?}");
    }
    Ok(())
}

fn what_is_built_in_is_not_named_as_a_file(files: &Files) -> Tested {
    let lab = &files.lab;
    let said = |args: &[&str]| {
        let output = lab.agent(args)?;
        Tested::Ok([output.stdout, output.stderr].concat())
    };
    let explained = said(&["explain", "169.254.169.254", "--policy", "homelab"])?;
    assert!(
        explained.contains("homelab (built in), line ")
            && explained.contains("guard policy show homelab"),
        "{explained}"
    );
    let shell = lab.shell_under("homelab")?;
    let refused = said(&["open", "169.254.169.254:80"])?;
    assert!(
        refused.contains("homelab (built in), line ")
            && refused.contains("guard policy edit homelab"),
        "{refused}"
    );
    drop(shell);
    let checked = said(&["check", "homelab"])?;
    assert!(
        checked.starts_with("homelab (built in): valid"),
        "{checked}"
    );
    Ok(())
}

fn where_there_is_no_policy_of_a_name_ones_own_are_offered_too(files: &Files) -> Tested {
    let home = files.lab.daemon.dir().join("home");
    let own = home.join(".config/guard/policies");
    std::fs::create_dir_all(&own)?;
    std::fs::write(own.join("shop.toml"), "version = 1\n")?;
    for args in [
        &["run", "--policy", "shpo", "--", "true"][..],
        &["explain", "192.0.2.1", "--policy", "shpo"],
    ] {
        let guard = files.lab.daemon.agent(args.iter().copied());
        let said = guard.env("HOME", &home).run()?.stderr;
        assert!(said.contains("use one of: asks, aws-prod"), "{said}");
        assert!(said.contains("or of your own: shop"), "{said}");
        let nor = format!("or built in, nor in {}", own.display());
        assert!(said.contains(&nor), "{said}");
    }
    Ok(())
}

#[test]
fn a_command_that_runs_under_a_policy_of_ones_own_says_so() -> Tested {
    let files = Files::new()?;
    let home = files.lab.daemon.dir().join("home");
    let own = home.join(".config/guard/policies");
    std::fs::create_dir_all(&own)?;
    // Of the second name the machine has one, which goes before.
    for name in ["shop", "asks"] {
        std::fs::write(own.join(format!("{name}.toml")), "version = 1\n")?;
    }
    let tmux = Tmux::start(files.lab.daemon.dir());
    let said = |name: &str, how: &[&str]| {
        let command = &["--", "expr", "123456", "+", "654321"][..];
        let args = [&["run"][..], how, command].concat();
        let window = tmux.window_of(name, 160, 60);
        window.guard(&files.lab.daemon.agent(args).env("HOME", &home));
        let screen = window.expect("777777");
        screen.contains("is your own: ")
    };
    assert!(said("own", &["--policy", "shop"]));
    assert!(!said("quiet", &["--quiet", "--policy", "shop"]));
    assert!(!said("machines", &["--policy", "asks"]));
    Ok(())
}

fn a_policy_of_ones_own_is_edited_where_it_is(files: &Files) -> Tested {
    let home = files.lab.daemon.dir().join("home-of-editor");
    let own = home.join(".config/guard/policies");
    std::fs::create_dir_all(&own)?;
    let file = own.join("shop.toml");
    std::fs::write(&file, "version = 1\nname = \"shop\"\n")?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let edit = files.lab.daemon.agent(["policy", "edit", "shop", "--json"]);
    let edited = edit.env("HOME", &home).run()?;
    assert_eq!(edited.code(), Some(0), "{edited:?}");
    let edited = edited.json()?;
    assert_eq!(edited["file"], file.to_str().unwrap());
    assert_eq!(edited["copied"], false);
    Ok(())
}

#[test]
fn a_policy_is_copied_once_to_be_edited() -> Tested {
    let files = Files::new()?;
    let dir = files.lab.daemon.dir().join("own");
    let dir = dir.to_str().unwrap();
    let edit = ["policy", "edit", "homelab", "--policy-dir", dir];
    let file = format!("{dir}/homelab.toml");
    // Where nobody can change it, no copy is made.
    for json in [&["--json"][..], &[]] {
        let alone = files.lab.root(&[&edit[..], json].concat())?;
        assert_eq!(alone.code(), Some(2), "{alone:?}");
        let said = [&*alone.stdout, &alone.stderr].concat();
        for words in [
            &*format!("{file} was not written"),
            "sudo guard policy edit homelab --policy-dir",
            &format!("sudoedit {file}"),
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!Path::new(dir).exists());
    }
    let tmux = Tmux::start(files.lab.daemon.dir());
    let window = tmux.window_of("edit", 160, 60);
    let edit_with = |editor: &str| {
        window.guard(&files.lab.daemon.root(edit).env("EDITOR", editor));
    };
    // A person's editor takes longer than one that leaves its window to them.
    let looked = files.lab.file("look", "#!/bin/sh\nsleep 3\n")?;
    edit_with(&format!("sh {}", looked.display()));
    window.expect("homelab is as it was: no copy is kept in");
    assert!(!Path::new(dir).exists());
    edit_with("true");
    let screen = window.expect("remove the copy");
    for words in ["your editor came back at once", "EDITOR=\"code --wait\""] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    std::fs::remove_file(&file)?;
    std::fs::remove_dir(dir)?;
    let editor = files
        .lab
        .file("add", "#!/bin/sh\necho '# mine' >> \"$1\"\n")?;
    edit_with(&format!("sh {}", editor.display()));
    window.expect("guardd does not look there");
    let shown = files.lab.agent(&["policy", "show", "homelab"])?.stdout;
    assert_eq!(std::fs::read_to_string(&file)?, shown + "# mine\n");

    std::fs::write(&file, "version = 1\nname = \"homelab\"\n")?;
    let there = files.lab.daemon.json(edit)?;
    for key in ["copied", "opened", "read"] {
        assert_eq!(there[key], false, "{key}: {there}");
    }
    assert!(
        std::fs::read_to_string(&file)?.len() < 100,
        "it is not written over"
    );
    // Where guardd does not look, that is said; without a directory it is where that guardd looks first.
    let told = files.lab.daemon.root(edit).run()?.success()?;
    let first = files.lab.daemon.json(["status"])?["policy_dirs"][0].clone();
    let first = first.text()?;
    let says = format!("guardd does not look there: its policies are in {first}");
    assert!(told.stdout.contains(&says), "{told:?}");
    let ci = files.lab.agent(&["policy", "show", "ci"])?.stdout;
    files.lab.daemon.write_policy("ci", &ci)?;
    let there = files.lab.daemon.json(["policy", "edit", "ci"])?;
    assert_eq!(there["file"], format!("{first}/ci.toml"));
    assert_eq!(there["read"], true, "{there}");
    let told = files.lab.daemon.root(["policy", "edit", "ci"]).run()?;
    assert!(
        told.stdout.contains("A guardd that runs reads it"),
        "{told:?}"
    );
    // Whoever may not write there is told who may.
    let refused = files.lab.agent(&edit)?;
    assert_eq!(refused.code(), Some(2));
    for words in ["it takes root", "sudo guard policy edit homelab"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    Ok(())
}

fn an_ipv6_address_that_ends_like_a_port_is_warned_of(files: &Files) -> Tested {
    let text = |to: &str| {
        let rule = rule("db", &format!("[\"{to}\"]"), "", "deny");
        format!("version = 1\nname = \"x\"\ndefault = \"deny\"\n{rule}")
    };
    let warned = files.check(&text("fd91::2:443"))?;
    assert_eq!(warned.code(), Some(0), "{}", warned.stderr);
    assert!(
        warned.stderr.contains("did you mean `[fd91::2]:443`?"),
        "{}",
        warned.stderr
    );
    for plain in ["fd91:0:0:0:0:0:2:443", "fd91::2:443/128", "fd91::2"] {
        let checked = files.check(&text(plain))?;
        assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    }
    Ok(())
}

fn a_file_that_cannot_be_read_is_no_answer(files: &Files) -> Tested {
    assert_eq!(
        files.lab.agent(&["check", "/no/such/file.toml"])?.code(),
        Some(2)
    );
    assert_eq!(files.lab.agent(&["check"])?.code(), Some(2));
    Ok(())
}

fn what_is_read_only_may_have_rules_about_requests(files: &Files) -> Tested {
    let rule = |action| {
        rule("a", "[\"192.0.2.10\"]", "", action)
            + "[[rule.http]]\nmethod = [\"PUT\"]\npath = \"/api/jobs/*\"\naction = \"deny\"\n"
    };
    assert_eq!(files.check(&rule("read-only"))?.code(), Some(0));
    let elsewhere = files.check(&rule("confirm"))?;
    assert_eq!(elsewhere.code(), Some(1));
    assert!(elsewhere.stderr.contains("read-only"), "{elsewhere:?}");
    Ok(())
}

fn the_most_specific_prefix_wins_in_any_order(files: &Files) -> Tested {
    let wide = rule("wide", "[\"192.0.2.0/24\"]", "", "deny");
    let narrow = rule("narrow", "[\"192.0.2.64/26\"]", "", "confirm");
    let host = rule("host", "[\"192.0.2.70\"]", "", "allow");
    for rules in [
        [&wide, &narrow, &host],
        [&host, &narrow, &wide],
        [&narrow, &host, &wide],
    ] {
        let text = rules.map(String::as_str).concat();
        for (to, verdict, rule) in [
            ("192.0.2.1", "deny", "wide"),
            ("192.0.2.65", "confirm", "narrow"),
            ("192.0.2.70", "allow", "host"),
            ("::ffff:192.0.2.70", "allow", "host"),
        ] {
            assert_eq!(
                files.explain(&text, &[to])?,
                (verdict.into(), json!(rule)),
                "{to}"
            );
        }
    }
    Ok(())
}

fn then_the_narrower_ports_and_then_the_stricter_action(files: &Files) -> Tested {
    let to = "[\"192.0.2.10\"]";
    let rules = [
        rule("all", to, "", "deny"),
        rule("tcp", to, "ports = [\"tcp\"]", "confirm"),
        rule("range", to, "ports = [\"tcp/8000-8100\"]", "allow"),
        rule("port", to, "ports = [\"tcp/8080\"]", "confirm"),
        rule("same", to, "ports = [\"tcp/8080\"]", "allow"),
    ];
    let backwards: String = rules.iter().rev().map(String::as_str).collect();
    for text in [rules.concat(), backwards] {
        for (port, verdict, rule) in [
            ("tcp/8080", "confirm", "port"),
            ("tcp/8000", "allow", "range"),
            ("tcp/22", "confirm", "tcp"),
            ("udp/8080", "deny", "all"),
            ("icmp", "deny", "all"),
        ] {
            let answer = files.explain(&text, &["192.0.2.10", "--ports", port])?;
            assert_eq!(answer, (verdict.into(), json!(rule)), "{port}");
        }
    }
    Ok(())
}

fn the_stricter_of_two_equal_rules_wins(files: &Files) -> Tested {
    let order = ["allow", "confirm", "deny"];
    for (weak, strong) in [(0, 1), (0, 2), (1, 2)] {
        let [weak, strong] = [order[weak], order[strong]];
        let first = rule(weak, "[\"192.0.2.0/24\"]", "", weak);
        let second = rule(strong, "[\"192.0.2.0/24\"]", "", strong);
        for text in [format!("{first}{second}"), format!("{second}{first}")] {
            let answer = files.explain(&text, &["192.0.2.1"])?;
            assert_eq!(answer, (strong.into(), json!(strong)));
        }
    }
    Ok(())
}

fn what_no_rule_matches_has_the_default(files: &Files) -> Tested {
    // Doubt is denial.
    assert_eq!(files.explain("version = 1\n", &["192.0.2.1"])?.0, "deny");
    for default in ["allow", "deny", "confirm"] {
        let text = format!("version = 1\ndefault = \"{default}\"\n");
        for to in ["192.0.2.1", "2001:db8::1", "10.0.0.1"] {
            assert_eq!(files.explain(&text, &[to])?, (default.into(), Value::Null));
        }
    }
    Ok(())
}

fn groups_stand_for_what_they_are_called(files: &Files) -> Tested {
    for (group, inside, outside) in [
        ("loopback", &["127.0.0.1", "::1"][..], "192.0.2.1"),
        (
            "private",
            &[
                "10.1.2.3",
                "172.31.0.1",
                "192.168.9.9",
                "100.64.0.1",
                "fd00::1",
            ],
            "8.8.8.8",
        ),
        ("link-local", &["169.254.1.1", "fe80::1"], "192.0.2.1"),
        (
            "metadata",
            &["169.254.169.254", "fd00:ec2::254"],
            "169.254.1.1",
        ),
        ("multicast", &["224.0.0.251", "ff02::1"], "192.0.2.1"),
        ("public", &["8.8.8.8", "2600::1"], "10.0.0.1"),
    ] {
        let rule = rule("group", &format!("[\"@{group}\"]"), "", "deny");
        let text = format!("default = \"allow\"\n{rule}");
        for to in inside {
            assert_eq!(files.explain(&text, &[to])?.0, "deny", "@{group} {to}");
        }
        assert_eq!(
            files.explain(&text, &[outside])?.0,
            "allow",
            "@{group} {outside}"
        );
    }
    Ok(())
}

#[test]
fn the_policies_that_ship_do_what_they_say() -> Tested {
    let files = Files::new()?;
    let lab = &files.lab;
    let verdict = |policy: &str, to: &str| {
        let explained = lab.daemon.json(["explain", to, "--policy", policy])?;
        Tested::Ok(explained["verdict"].clone())
    };
    for (to, expected) in [
        ("93.184.216.34:443", "allow"),
        ("10.0.0.1:443", "confirm"),
        ("169.254.169.254:80", "deny"),
        ("127.0.0.1:8080", "allow"),
        ("[::1]:8080", "allow"),
    ] {
        assert_eq!(verdict("default", to)?, expected, "{to}");
    }
    assert_eq!(verdict("ci", "203.0.113.9:443")?, "deny");
    for policy in ["homelab", "aws-prod", "ci"] {
        assert_eq!(verdict(policy, "169.254.169.254:80")?, "deny", "{policy}");
    }
    Ok(())
}

#[test]
fn a_bad_file_is_reported_and_the_old_policy_stands() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    lab.daemon
        .write_policy("asks", "version = 1\ncolour = \"red\"\n")?;
    // Nobody uses this one: that is no reason to keep quiet about it.
    lab.daemon
        .write_policy("open", "version = 1\ndefault = \"maybe\"\n")?;
    lab.daemon.signal(Signal::HUP)?;
    for text in ["unknown key `colour`", "`maybe`"] {
        lab.daemon.wait_for_log(text)?;
    }
    let status = lab.daemon.json(["status"])?;
    let error = status["policies"][0]["error"].text()?;
    assert!(error.contains("colour"), "{status}");
    let warning = status["warnings"][0].text()?;
    assert!(
        warning.contains("open") && warning.contains("maybe"),
        "{status}"
    );
    assert!(!lab.reaches(&mut shell, V4)?, "the old one stands");
    assert_eq!(lab.daemon.json(["pending"])?[0]["rule"], "production");
    let loads = lab.root(&["log", "--json"])?.json_lines()?.into_iter();
    let mut loads = loads.filter(|record| record["kind"] == "policy-load");
    assert!(loads.any(|record| record["error"].is_string()));
    lab.daemon
        .write_policy("asks", &POLICY.replace("\"confirm\"", "\"deny\""))?;
    lab.daemon.signal(Signal::HUP)?;
    lab.daemon.wait_for_log("policies read again")?;
    eventually("the mended one is in force", || {
        Ok(lab.daemon.json(["explain", V4, "--session", "s1"])?["verdict"] == "deny")
    })?;
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Files::new()?,
        cases![
            a_policy_of_guardds_own_directory_is_found_by_its_name,
            what_is_built_in_is_checked_by_its_name_where_no_guardd_runs,
            the_whole_of_it_is_valid,
            a_policy_that_is_built_in_is_checked_shown_and_asked_by_its_name,
            what_is_built_in_is_not_named_as_a_file,
            where_there_is_no_policy_of_a_name_ones_own_are_offered_too,
            a_policy_of_ones_own_is_edited_where_it_is,
            an_ipv6_address_that_ends_like_a_port_is_warned_of,
            a_file_that_cannot_be_read_is_no_answer,
            what_is_read_only_may_have_rules_about_requests,
            the_most_specific_prefix_wins_in_any_order,
            then_the_narrower_ports_and_then_the_stricter_action,
            the_stricter_of_two_equal_rules_wins,
            what_no_rule_matches_has_the_default,
            groups_stand_for_what_they_are_called,
        ],
        |files| files.lab.end_sessions(),
    )
}
