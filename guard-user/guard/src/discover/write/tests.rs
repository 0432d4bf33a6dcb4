use std::fs;

use super::super::tests::{SETTINGS, Tested, discovered, look_at, shipped};
use super::*;

fn target(dir: &Path, text: Option<&str>) -> Tested<WriteTarget> {
    let file = dir.join("shop.toml");
    if let Some(text) = text {
        fs::write(&file, text)?;
    }
    let policy = |text: &str| PolicyFile {
        name: "default.toml".into(),
        text: text.into(),
    };
    Ok(WriteTarget {
        name: "shop".into(),
        file,
        base: policy(text.unwrap_or(shipped())),
        base_name: "default".into(),
        beside: text.map(|_| policy(shipped())),
    })
}

/// Writes what is found with these files, and gives the file's text.
fn written(target: &WriteTarget, files: &[(&str, &str)], is_asked: bool) -> Tested<String> {
    let all = discovered(files, &target.base.text, false)?;
    let parsed = policy::parse("shop.toml", &target.base.text).map_err(|all| format!("{all:?}"))?;
    let mut lines = lines(&all, &parsed.policy, is_asked);
    if !is_asked {
        let wanted = Wanted {
            name: "shop",
            base: None,
            agreed: None,
            here: false,
            mode: WriteMode::Narrow,
        };
        lines = wanted.narrowing(lines).0;
    }
    let change = target.change(&lines)?;
    target.is_as_agreed(&change, &parsed.policy, &lines, Output::new(true))?;
    change.write()?;
    Ok(fs::read_to_string(&target.file)?)
}

fn without_days(text: &str) -> String {
    text.replace(&today(), "DAY")
}

#[test]
fn a_new_policy_is_the_old_one_with_rules() -> Tested {
    let dir = tempfile::tempdir()?;
    let text = written(&target(dir.path(), None)?, &[(".env", SETTINGS)], false)?;
    assert!(text.contains("name = \"shop\""), "{text}");
    assert!(
        text.contains("# One packet here reaches many machines."),
        "{text}"
    );
    // Nothing that is true of `default` alone.
    assert!(!text.contains("that names no other"), "{text}");
    let (_, block) = text.split_once("\n\n# >>> ").ok_or("no block")?;
    insta::assert_snapshot!(without_days(block), @r#"
    guard discover: rules are added between these lines, and none is taken away
    # guard discover DAY: DATABASE_URL in .env:1
    [[rule]]
    name = "db.example.net postgres"
    to = ["db.example.net"]
    ports = ["tcp/5432"]
    action = "confirm"
    reason = "looks like production"

    # <<< guard discover
    "#);
    Ok(())
}

#[test]
fn a_policy_that_is_there_keeps_all_that_is_in_it_and_its_rules() -> Tested {
    let dir = tempfile::tempdir()?;
    let mine = "# mine\nversion = 1\ndefault = 'allow' # so\n\n[[rule]]\nto = [\"192.0.2.1\"]\naction = \"deny\"";
    let first = written(
        &target(dir.path(), Some(mine))?,
        &[(".env", SETTINGS)],
        true,
    )?;
    assert!(first.starts_with(mine), "{first}");
    let more = first.clone() + "\n[[rule]]\nto = [\"192.0.2.2\"] # behind\naction = \"deny\"\n";
    let files = [(".env", "A_URL=redis://:p@cache.example.net\n")];
    let second = written(&target(dir.path(), Some(&more))?, &files, true)?;
    assert!(
        second.starts_with(mine) && second.contains("# behind"),
        "{second}"
    );
    for name in [
        "db.example.net postgres",
        "192.168.7.20 immich",
        "cache.example.net redis",
    ] {
        assert_eq!(
            second.matches(&format!("name = \"{name}\"")).count(),
            1,
            "{second}"
        );
    }
    assert_eq!(second.matches(policy::WRITTEN[0]).count(), 1);
    // What is covered is not added again.
    let third = discovered(&files, &second, false)?;
    let parsed = policy::parse("shop.toml", &second).map_err(|all| format!("{all:?}"))?;
    assert!(lines(&third, &parsed.policy, true).is_empty());
    Ok(())
}

#[test]
fn without_a_person_nothing_is_built_on_what_lets_more_through() -> Tested {
    let shipped = PolicyFile {
        name: "default.toml".into(),
        text: shipped().into(),
    };
    let built = |text: String, mode| {
        let there = PolicyFile {
            name: "/home/a/.config/guard/policies/shop.toml".into(),
            text,
        };
        let called = ["default", "shop"];
        build_on([&shipped, &there], called, mode, Output::new(true))
    };
    let open = || "version = 1\ndefault = \"allow\"\n".to_owned();
    for mode in [WriteMode::Narrow, WriteMode::Ask] {
        let error = built(open(), mode).unwrap_err();
        let failure = error.failure().ok_or("no failure")?;
        assert!(failure.why.contains("lets more through than default"));
        assert!(failure.fix.contains("\nguard diff default shop\n"));
    }
    built(open(), WriteMode::Print)?;
    let narrower = "[[rule]]\nname = \"no\"\nto = [\"192.0.2.7\"]\naction = \"deny\"\n";
    for more in ["", narrower] {
        built(format!("{}\n{more}", shipped.text), WriteMode::Narrow)?;
    }
    Ok(())
}

#[test]
fn what_is_in_too_many_lines_is_not_asked_about() -> Tested {
    let shipped = PolicyFile {
        name: "default.toml".into(),
        text: shipped().into(),
    };
    let built = |hosts: usize, mode| {
        let rule = |host: usize| {
            format!("[[rule]]\nname = \"h{host}\"\nto = [\"10.0.0.{host}\"]\naction = \"allow\"\n")
        };
        let rules: String = (1..=hosts).map(|host| rule(2 * host)).collect();
        let there = PolicyFile {
            name: "shop.toml".into(),
            text: format!("{}\n{rules}", shipped.text),
        };
        let called = ["default", "shop"];
        build_on([&shipped, &there], called, mode, Output::new(false))
    };
    let error = built(LINES, WriteMode::Offer).unwrap_err();
    let failure = error.failure().ok_or("no failure")?;
    assert!(failure.why.contains("lines it is too much"), "{failure}");
    // As many as are read are no reason by themselves.
    let error = built(1, WriteMode::Narrow).unwrap_err();
    let failure = error.failure().ok_or("no failure")?;
    assert!(
        failure.why.ends_with("nobody was asked about it"),
        "{failure}"
    );
    Ok(())
}

#[test]
fn each_way_in_which_it_is_wider_has_a_line_and_is_counted() {
    let there = PolicyFile {
        name: "shop.toml".into(),
        text: String::new(),
    };
    let ways = ["the Unix socket /run/a", "the Unix socket /run/b"].map(str::to_owned);
    let page = wider(&ways, ["default", "shop"], &there);
    insta::assert_snapshot!(page.plain(), @r"
    shop is there already, in shop.toml. Beside default it is wider in 2 ways:
      the Unix socket /run/a
      the Unix socket /run/b
    ");
}

#[test]
fn what_was_changed_since_it_was_read_is_not_written() -> Tested {
    let dir = tempfile::tempdir()?;
    for text in [None, Some("version = 1\ndefault = \"confirm\"\n")] {
        let target = target(dir.path(), text)?;
        target.is_as_read(&target.change(&[])?)?;
        fs::write(&target.file, "version = 1\ndefault = \"allow\"\n")?;
        let changed = target.is_as_read(&target.change(&[])?).unwrap_err();
        assert!(changed.why.contains("changed"), "{changed}");
        fs::remove_file(&target.file)?;
    }
    Ok(())
}

#[test]
fn without_a_person_nothing_is_opened() -> Tested {
    let dir = tempfile::tempdir()?;
    let files = [
        (
            ".env",
            "IMMICH_URL=http://192.168.7.20:2283/api\nPROD_API_URL=https://u:p@api.example.net\nPROD_DB_URL=postgres://u:p@203.0.113.8/a\n\
         VAULT_ADDR=https://vault.example.io:8200\nVAULT_TOKEN=hunter2hunter2\nDIGITALOCEAN_TOKEN=hunter2hunter2\nHCLOUD_TOKEN=hunter2hunter2\n\
         LEDGER_URL=postgres://u:p@ledger.example.io/a\n",
        ),
        (
            // No home's, whatever it is called.
            "./~/.env",
            "ORDERS_URL=postgres://u:p@orders.example.io/a\n",
        ),
        ("~/.pgpass", "own.example.io:5432:production:u:p\n"),
    ];
    let text = written(&target(dir.path(), None)?, &files, false)?;
    assert!(!text.contains("192.168.7.20"), "{text}");
    // The name's owner decides where it leads: no reads either.
    let rule = |host: &str| {
        let (_, rest) = text.split_once(&format!("to = [\"{host}\"]\n")).unwrap();
        rest.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(rule("api.example.net"), "action = \"confirm\"");
    assert_eq!(rule("203.0.113.8"), "action = \"read-only\"");
    // A platform that the file has named belongs to the owner that it names; one that is known is not.
    assert_eq!(rule("vault.example.io"), "action = \"confirm\"");
    assert_eq!(rule("api.digitalocean.com"), "action = \"read-only\"");
    // No profile knows what reads there.
    assert_eq!(
        rule("api.hetzner.cloud\", \"api.hetzner.com"),
        "action = \"confirm\""
    );
    // So may a name for PostgreSQL lead where a rule for a prefix asks.
    for host in ["ledger.example.io", "orders.example.io"] {
        assert_eq!(rule(host), "action = \"confirm\"", "{host}");
    }
    // And one of the home: an agent may write there as well.
    assert_eq!(rule("own.example.io"), "action = \"confirm\"");
    Ok(())
}

/// What a rule by name stops may be at that address, and of equal prefixes the narrower ports decide.
#[test]
fn without_a_person_no_address_opens_what_a_rule_by_name_stops() -> Tested {
    let address = (".env", "A_URL=postgres://u:p@203.0.113.8/a\n");
    opens_nothing_that_a_rule_by_name_stops(address, "203.0.113.8")
}

/// Its owner has it lead where they like.
#[test]
fn without_a_person_no_name_opens_what_a_rule_for_another_stops() -> Tested {
    let name = ("~/.pgpass", "own.example.io:5432:production:u:p\n");
    opens_nothing_that_a_rule_by_name_stops(name, "own.example.io")
}

fn opens_nothing_that_a_rule_by_name_stops(settings: (&str, &str), host: &str) -> Tested {
    let settings = [settings];
    let to = format!("to = [\"{host}\"]\n");
    let asked = |action: &str, ports: &str| -> Tested<_> {
        let dir = tempfile::tempdir()?;
        let rule = format!(
            "[[rule]]\nname = \"never\"\nto = [\"db.prod.example.com\"]\n{ports}action = \"{action}\"\n"
        );
        let base = format!("version = 1\ndefault = \"allow\"\n{rule}");
        let target = target(dir.path(), Some(&base))?;
        let all = discovered(&settings, &base, false)?;
        let parsed = policy::parse("shop.toml", &base).map_err(|all| format!("{all:?}"))?;
        let is_asked = lines(&all, &parsed.policy, true)[0].may_widen();
        let why = super::super::page::why(&all.items[0], false).plain();
        let text = written(&target, &settings, false).unwrap_or_default();
        let action = text.split_once(&to).and_then(|(_, rest)| {
            let action = rest.lines().nth(1)?.strip_prefix("action = ")?;
            Some(action.trim_matches('"').to_owned())
        });
        assert_eq!(why.contains("rule never"), is_asked, "{why}");
        Ok((is_asked, action))
    };
    let read_only = || Some("read-only".to_owned());
    assert_eq!(asked("confirm", "")?, (true, Some("confirm".to_owned())));
    assert_eq!(asked("deny", "")?, (true, None));
    assert_eq!(asked("deny", "ports = [\"tcp\"]\n")?, (true, None));
    // Of equal ports the stricter rule decides; and what is for others decides nothing.
    for ports in ["tcp/5432", "tcp/443", "udp"] {
        let ports = format!("ports = [\"{ports}\"]\n");
        assert_eq!(asked("deny", &ports)?, (false, read_only()), "{ports}");
    }
    assert_eq!(asked("allow", "")?, (false, read_only()));
    Ok(())
}

/// Nor is a person asked about a private network that nothing may reach.
#[test]
fn without_a_person_a_name_asks_about_nothing_that_is_denied() -> Tested {
    let base =
        "version = 1\ndefault = \"allow\"\n[[rule]]\nto = [\"@private\"]\naction = \"deny\"\n";
    let dir = tempfile::tempdir()?;
    let target = target(dir.path(), Some(base))?;
    let files = [
        (".env", "A_URL=postgres://u:p@db.example.net/a\n"),
        ("~/.pgpass", "own.example.io:5432:production:u:p\n"),
    ];
    let all = discovered(&files, base, false)?;
    let parsed = policy::parse("shop.toml", base).map_err(|all| format!("{all:?}"))?;
    let wanted = |mode| Wanted {
        name: "shop",
        base: None,
        here: false,
        mode,
        agreed: None,
    };
    let (kept, left_out) = wanted(WriteMode::Narrow).narrowing(lines(&all, &parsed.policy, false));
    assert!(kept.is_empty());
    let whys: Vec<_> = left_out.iter().map(|one| one.why).collect();
    assert_eq!(whys, ["it may widen the policy, and nobody was asked"; 2]);
    assert!(target.change(&kept)?.diff().is_empty());
    Ok(())
}

/// A rule for a name has it asked for, whatever it does at its ports: where no other name may be, a person says so.
#[test]
fn without_a_person_no_name_is_asked_for_that_was_not() -> Tested {
    let settings = [(
        ".env",
        "#A_URL=postgres://u:p@planted.example.net/a\n#B_URL=postgres://u:p@203.0.113.8/b\n",
    )];
    let (name, address) = ("planted.example.net", "203.0.113.8");
    let ruled = "[dns]\nnames = \"rules\"\n[[rule]]\nto = [\"planted.example.net\"]\nports = [\"tcp/22\"]\naction = \"confirm\"\n";
    for (more, is_strict, kept, is_left_out) in [
        ("", true, vec![(address, "deny"), (name, "deny")], false),
        (
            "",
            false,
            vec![(address, "read-only"), (name, "confirm")],
            false,
        ),
        (
            "[dns]\nnames = \"any\"\n",
            true,
            vec![(address, "deny"), (name, "deny")],
            false,
        ),
        (
            "[dns]\nnames = \"rules\"\n",
            true,
            vec![(address, "deny")],
            true,
        ),
        (
            "[dns]\nnames = \"rules\"\n",
            false,
            vec![(address, "read-only")],
            true,
        ),
        (
            "[dns]\nnames = \"ask\"\n",
            true,
            vec![(address, "deny")],
            true,
        ),
        // It may be asked for already.
        (ruled, true, vec![(address, "deny"), (name, "deny")], false),
    ] {
        let base = format!("version = 1\ndefault = \"allow\"\n{more}");
        let parsed = policy::parse("shop.toml", &base).map_err(|all| format!("{all:?}"))?;
        let mut found = look_at(&settings)?;
        if is_strict {
            found.be_strict();
        }
        let all = Discovered::of(found, &parsed, &Dismissals::default(), false);
        let all = all.map_err(|all| format!("{all:?}"))?;
        let asked = lines(&all, &parsed.policy, true);
        let asked = asked.iter().find(|line| line.item.host == name);
        let asked = asked.ok_or("no line")?;
        assert_eq!(asked.has_no_question(), is_left_out, "{base}");
        assert_eq!(asked.may_widen(), is_left_out || !is_strict, "{base}");
        let wanted = Wanted {
            name: "shop",
            base: None,
            here: false,
            mode: WriteMode::Narrow,
            agreed: None,
        };
        let (lines, left_out) = wanted.narrowing(lines(&all, &parsed.policy, false));
        let mut actions: Vec<_> = lines
            .iter()
            .map(|line| (&*line.item.host, line.proposed.action))
            .collect();
        actions.sort_unstable();
        assert_eq!(actions, kept, "{base}");
        assert_eq!(left_out.len(), usize::from(is_left_out), "{base}");
    }
    Ok(())
}

#[test]
fn what_is_no_policy_afterwards_is_not_written() -> Tested {
    let dir = tempfile::tempdir()?;
    for text in [
        // No table may be added to such a list.
        "version = 1\ndefault = \"allow\"\nrule = [{ to = [\"192.0.2.1\"], action = \"deny\" }]\n",
        // The rules would stand in a text.
        "version = 1\ndefault = \"allow\"\n[[rule]]\nto = [\"192.0.2.1\"]\naction = \"deny\"\nreason = '''\n# >>> guard discover\n\
         # <<< guard discover\n'''\n",
        // And here a key would belong to another rule.
        "version = 1\ndefault = \"allow\"\n# >>> guard discover\n[[rule]]\nto = [\"192.0.2.1\"]\naction = \"deny\"\n\
         # <<< guard discover\nreason = \"r\"\n",
    ] {
        let target = target(dir.path(), Some(text))?;
        assert!(
            written(
                &target,
                &[(".env", "A_URL=redis://:p@cache.example.net\n")],
                true
            )
            .is_err(),
            "{text}"
        );
        assert_eq!(fs::read_to_string(&target.file)?, text);
    }
    Ok(())
}

#[test]
fn what_files_are_called_stays_in_its_comment() -> Tested {
    let dir = tempfile::tempdir()?;
    let name = "a\n[[rule]]\nto = ['0.0.0.0']\n#.env";
    let text = written(
        &target(dir.path(), None)?,
        &[(name, "A_URL=redis://:p@cache.example.net\n")],
        false,
    )?;
    assert!(!text.contains("0.0.0.0'"), "{text}");
    assert!(text.contains("A_URL in a??"), "{text}");
    Ok(())
}

#[test]
fn names_and_places_that_would_not_hold_are_refused() -> Tested {
    let dir = tempfile::tempdir()?;
    for name in ["default", "a/b", "..", "shop.toml", "", "a b", "homelab"] {
        assert!(file(name, dir.path(), true).is_err(), "{name}");
    }
    let below = dir.path().join("home/.config/guard/policies/shop.toml");
    assert!(is_below(&below, dir.path()));
    assert!(is_below(Path::new("/a/../b"), dir.path()));
    let other = tempfile::tempdir()?;
    assert!(!is_below(&below, other.path()));
    std::os::unix::fs::symlink(dir.path(), other.path().join("link"))?;
    assert!(is_below(&other.path().join("link/x/shop.toml"), dir.path()));
    Ok(())
}

#[test]
fn places_of_one_service_have_rules_of_their_own() -> Tested {
    let dir = tempfile::tempdir()?;
    let files = [(
        ".env",
        "A_URL=redis://:p@cache.example.net\nB_URL=redis://:p@cache.example.net:6380\n",
    )];
    let text = written(&target(dir.path(), None)?, &files, false)?;
    assert!(text.contains("cache.example.net redis tcp/"), "{text}");
    Ok(())
}

/// A pair of names with one number costs whoever writes to the project some minutes: it keeps no rule from being written.
#[test]
fn a_name_that_has_anothers_number_keeps_no_rule_from_being_written() -> Tested {
    let base = "version = 1\ndefault = \"allow\"\n";
    let dir = tempfile::tempdir()?;
    let target = target(dir.path(), Some(base))?;
    let settings = [(
        ".env",
        "A_URL=postgres://u:p@un6gp47ko6osk.example.net/a\nB_URL=postgres://u:p@cdi3mmi6xh4yk.example.net/b\nC_URL=postgres://u:p@db.example.net/c\n",
    )];
    let all = discovered(&settings, base, false)?;
    assert_eq!(all.items.len(), 3);
    let parsed = policy::parse("shop.toml", base).map_err(|all| format!("{all:?}"))?;
    let lines = lines(&all, &parsed.policy, false);
    let twins: Vec<_> = lines.iter().filter(|line| line.is_twin).collect();
    assert_eq!(twins.len(), 1);
    let (twins, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.is_twin);
    assert!(twins[0].item.host.ends_with(".example.net"));
    let change = target.change(&lines)?;
    target.is_as_agreed(&change, &parsed.policy, &lines, Output::new(true))?;
    Ok(())
}
