use std::fs;

use guard_policy as policy;
use serde_json::json;

use super::dismissals::SealedFile;
use super::page::{page, toml, why};
use super::*;

pub(super) type Tested<T = ()> = Result<T, Box<dyn std::error::Error>>;

pub(super) const SETTINGS: &str = "\
DATABASE_URL=postgres://app:hunter2@db.example.net/app
IMMICH_URL=http://192.168.7.20:2283/api
IMMICH_API_KEY=hunter2
CACHE_URL=redis://localhost
";

pub(super) fn discovered(files: &[(&str, &str)], policy: &str, all: bool) -> Tested<Discovered> {
    let found = look_at(files)?;
    let parsed = policy::parse("agent.toml", policy).map_err(|all| format!("{all:?}"))?;
    let dismissals = Dismissals::default();
    Ok(Discovered::of(found, &parsed, &dismissals, all).map_err(|all| format!("{all:?}"))?)
}

fn sealed<'f>(file: &'f str, sha256: &'f str) -> SealedFile<'f> {
    SealedFile { file, sha256 }
}

/// What is found with these files, and the variables of `env`.
pub(super) fn look_at(files: &[(&str, &str)]) -> Tested<Discovery> {
    let dir = tempfile::tempdir()?;
    let (project, home) = (dir.path().join("project"), dir.path().join("home"));
    let mut environment = Vec::new();
    for (name, text) in files {
        let file = match (*name, name.strip_prefix("~/")) {
            ("env", _) => {
                let variables = text.lines().filter_map(|line| line.split_once('='));
                environment
                    .extend(variables.map(|(key, value)| (key.to_owned(), value.to_owned())));
                continue;
            }
            (_, Some(below)) => home.join(below),
            (name, None) => project.join(name),
        };
        fs::create_dir_all(file.parent().unwrap_or(&project))?;
        fs::write(file, text)?;
    }
    fs::create_dir_all(&project)?;
    fs::create_dir_all(&home)?;
    look_in(&project, &home, &environment)
}

fn look_in(project: &Path, home: &Path, environment: &[(String, String)]) -> Tested<Discovery> {
    Ok(guard_discover::discover(&Inputs {
        project,
        home: Some(home),
        hosts: None,
        environment,
        routes: None,
        uid: geteuid().as_raw(),
        bounds: Bounds {
            time: None,
            ..Bounds::default()
        },
    })?)
}

pub(super) fn shipped() -> &'static str {
    policy::SHIPPED
        .iter()
        .find(|(name, _)| *name == "default")
        .map_or("", |(_, text)| text)
}

#[test]
fn places_are_listed_with_what_the_policy_does() -> Tested {
    let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
    insta::assert_snapshot!(page(&all).plain(), @r"
    Files read: 1 (home 0, directory 1). Nothing was connected to.

    N  LOOKS LIKE  PLACE                SERVICE   REACHED BY            NOW            PROPOSED
    1  production  192.168.7.20:2283    immich    IMMICH_URL  .env:2    confirm        confirm (same)
    2  production  db.example.net:5432  postgres  DATABASE_URL  .env:1  public: allow  read-only, postgres
    Not listed: 1 place that does not look like production (guard discover --all).
    The policy default lets everything through to 1 that looks like production, unless private.
        guard discover --why 1
        guard discover --write NAME
    ");
    assert!(!all.is_clean() && all.complete);
    let text = serde_json::to_string(&all)?;
    assert!(!text.contains("hunter2"));
    Ok(())
}

/// Each path that scripts ask for is there, and is what it was.
#[test]
fn the_json_of_a_place_has_the_paths_of_the_contract() -> Tested {
    let env = "DATABASE_URL=postgres://app:hunter2@db.example.net/app\n# OLD=redis://:hunter2@old.example.net\n";
    let all = discovered(&[(".env", env), (".env.vault", "x")], shipped(), false)?;
    let json = serde_json::to_value(&all)?;
    let at = |path: &str| json.pointer(path).cloned().ok_or(path.to_owned());
    for (path, value) in [
        ("/items/0/id", json!("p1")),
        ("/items/1/id", json!("p2")),
        ("/items/0/number", json!(1)),
        ("/items/0/label", json!("production")),
        ("/items/0/service", json!("postgres")),
        ("/items/0/host", json!("db.example.net")),
        ("/items/0/ports", json!("tcp/5432")),
        ("/items/0/addresses", json!([])),
        ("/items/0/shared", json!(false)),
        ("/items/0/found/0/file", json!(".env")),
        ("/items/0/found/0/line", json!(1)),
        ("/items/0/found/0/key", json!("DATABASE_URL")),
        ("/items/0/found/0/dormant", json!(false)),
        ("/items/1/found/0/dormant", json!(true)),
        ("/items/0/credential", json!("password")),
        ("/items/0/now/verdict", json!("allow")),
        ("/items/0/now/rule", json!(null)),
        ("/items/0/proposed/action", json!("read-only")),
        ("/items/0/proposed/profile", json!(["postgres"])),
        ("/items/0/effect", json!("narrows")),
        ("/items/0/dismissed", json!(null)),
        ("/passed_over/0/file", json!(".env.vault")),
        ("/complete", json!(false)),
    ] {
        assert_eq!(at(path)?, value, "{path}");
    }
    for path in ["/items/0/points", "/ms"] {
        assert!(at(path)?.is_u64(), "{path}");
    }
    let because = at("/items/0/because")?;
    let because = because.as_array().ok_or("no list")?;
    assert!(!because.is_empty() && because.iter().all(serde_json::Value::is_string));
    Ok(())
}

/// What a project holds would change the shape of the JSON.
#[test]
fn a_name_with_two_services_at_one_port_is_explained_by_a_number() -> Tested {
    let settings =
        "A_URL=postgres://u:p@h.example.net:443/a\nB_URL=https://u:p@h.example.net:443/\n";
    let all = discovered(&[(".env", settings)], shipped(), true)?;
    let place = Listed::Place("h.example.net".to_owned(), 443);
    assert_eq!(listed(&all, &place, "dismiss")?.len(), 2);
    let refused = listed(&all, &place, "explain").unwrap_err();
    assert_eq!(refused.what, "cannot explain h.example.net:443");
    assert!(
        refused.fix.ends_with("guard discover --all --why 1"),
        "{refused:?}"
    );
    assert_eq!(listed(&all, &Listed::Number(2), "explain")?.len(), 1);
    // The hint is for what was typed.
    let refused = listed(&all, &Listed::Number(99), "dismiss").unwrap_err();
    assert!(
        refused.fix.ends_with("guard discover --all --dismiss 99"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn what_is_not_listed_is_counted_and_shown_with_all() -> Tested {
    let settings = "A_URL=postgres://user:pass@localhost/a\nB_URL=postgres://u:p@${DB_HOST}/b\nC_URL=postgres://u:p@your-host/c\n";
    let few = discovered(&[(".env", settings)], shipped(), false)?;
    insta::assert_snapshot!(page(&few).plain(), @r"
    Files read: 1 (home 0, directory 1). Nothing was connected to.
    Nothing that looks like production was found.
    Not listed: 1 place that does not look like production, 2 placeholders in place of a host (guard discover --all).
    ");
    assert_eq!(
        (few.items.len(), few.unlisted, few.placeholders.len()),
        (0, 1, 2)
    );
    let all = discovered(&[(".env", settings)], shipped(), true)?;
    let text = page(&all).plain();
    for line in [
        "placeholder  B_URL  .env:2",
        "placeholder  C_URL  .env:3",
        "localhost:5432",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("Not listed"), "{text}");
    Ok(())
}

#[test]
fn a_place_is_explained_with_a_valid_rule() -> Tested {
    let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
    insta::assert_snapshot!(why(&all.items[0], false).plain(), @r#"
    192.168.7.20:2283  immich  production
        found    IMMICH_URL  .env:2
        because  an address elsewhere (25 points)
        because  holds data (10 points)
        because  credential beside it (10 points)
        because  no dev sibling under its key (10 points)
        now      confirm, by rule private
        rule     confirm: it changes nothing

    [[rule]]
    name = "192.168.7.20 immich"
    to = ["192.168.7.20"]
    ports = ["tcp/2283"]
    action = "confirm"
    reason = "looks like production"
    "#);
    for one in &all.items {
        let Some(proposed) = &one.proposed else {
            continue;
        };
        let text = format!("version = 1\n{}", toml(one, &one.name(), proposed));
        assert!(policy::parse("agent.toml", &text).is_ok(), "{text}");
    }
    Ok(())
}

#[test]
fn what_nothing_here_needs_is_denied_where_that_is_wanted_and_nothing_gets_wider() -> Tested {
    let settings =
        "#A_URL=postgres://u:word@old.example.net/a\nB_URL=postgres://u:word@db.example.net/a\n";
    let judged = |text: &str, is_strict: bool| -> Tested<Discovered> {
        let parsed = policy::parse("agent.toml", text).map_err(|all| format!("{all:?}"))?;
        let mut found = look_at(&[(".env", settings)])?;
        if is_strict {
            found.be_strict();
        }
        let all = Discovered::of(found, &parsed, &Dismissals::default(), false);
        Ok(all.map_err(|all| format!("{all:?}"))?)
    };
    let rules = |all: &Discovered| -> Vec<String> {
        let rules = all.items.iter();
        let rules = rules.map(|one| format!("{} {}", one.host, one.rule()));
        rules.collect()
    };
    assert_eq!(
        rules(&judged(shipped(), false)?),
        [
            "db.example.net read-only, postgres",
            "old.example.net read-only, postgres"
        ]
    );
    let strict = judged(shipped(), true)?;
    assert_eq!(
        rules(&strict),
        ["db.example.net read-only, postgres", "old.example.net deny"]
    );
    let old = &strict.items[1];
    assert_eq!(old.effect, Some("narrows"));
    let proposed = old.proposed.as_ref().ok_or("no rule")?;
    let rule = toml(old, &old.name(), proposed);
    // With it in place it changes nothing, and no policy is wider by it.
    let with = judged(&format!("version = 1\ndefault = \"allow\"\n{rule}"), true)?;
    assert_eq!(with.items[1].now.verdict, "deny");
    assert_eq!(with.items[1].effect, Some("same"));
    Ok(())
}

#[test]
fn of_a_name_that_nobody_looked_up_what_is_not_known_is_said() -> Tested {
    let said = |files: &[(&str, &str)], policy: &str| -> Tested<(String, String)> {
        let all = discovered(files, policy, false)?;
        let one = all.items.first().ok_or("nothing is found")?;
        let lines = why(one, false).plain();
        let mut lines = lines.lines().filter_map(|line| {
            let known = ["now ", "rule "]
                .iter()
                .any(|key| line.trim_start().starts_with(key));
            known.then(|| line.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        let [now, rule] = [lines.next(), lines.next()].map(Option::unwrap_or_default);
        Ok((format!("{}, {now}", one.now.words()), rule))
    };
    let database = [(
        ".env",
        "DATABASE_URL=postgres://app:hunter2@db.example.net/app\n",
    )];
    let cache = [(".env", "CACHE_URL=redis://:hunter2@cache.example.net\n")];
    let token = [("env", "DO_PAT_TF=hunter2hunter2\n")];
    let by_rule =
        "version = 1\ndefault = \"allow\"\n[[rule]]\nname = \"net\"\nto = [\"203.0.113.0/24\"]\n";
    let deny = format!("{by_rule}action = \"deny\"\n");
    let elsewhere = format!("{by_rule}ports = [\"tcp/22\"]\naction = \"deny\"\n");
    let allowed = format!(
        "{}[[rule]]\nto = [\"db.example.net\"]\naction = \"allow\"\n",
        shipped()
    );
    let is = "now allow, by the policy's default";
    let not = "it was not looked up";
    for (files, policy, now, rule) in [
        (
            &database,
            shipped(),
            format!("public: allow, {is}, unless private: {not}"),
            "rule read-only: it narrows, and widens if private",
        ),
        // A rule that asks is no wider than one that does.
        (
            &cache,
            shipped(),
            format!("public: allow, {is}, unless private: {not}"),
            "rule confirm: it narrows",
        ),
        (
            &database,
            &deny,
            format!("by name: allow, {is}, unless ruled by address: {not}"),
            "rule read-only: it narrows, and widens if ruled by address",
        ),
        (
            &database,
            &elsewhere,
            format!("allow, {is}"),
            "rule read-only: it narrows",
        ),
        // A rule for the name holds wherever it leads, and a platform is nowhere but on the internet.
        (
            &database,
            &allowed,
            "allow, now allow, by rule rule 8".to_owned(),
            "rule read-only: it narrows",
        ),
        (
            &token,
            shipped(),
            format!("allow, {is}"),
            "rule read-only: it narrows",
        ),
    ] {
        assert_eq!(said(files, policy)?, (now, rule.to_owned()), "{policy}");
    }
    Ok(())
}

#[test]
fn what_a_rule_covers_is_not_open() -> Tested {
    let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
    let mut text = shipped().to_owned();
    for one in &all.items {
        if let Some(proposed) = &one.proposed {
            text.push_str(&toml(one, &one.name(), proposed));
        }
    }
    let covered = discovered(&[(".env", SETTINGS)], &text, false)?;
    assert!(covered.is_clean());
    assert!(
        covered.items.iter().all(|one| one.effect == Some("same")),
        "{covered:?}"
    );
    let denied = discovered(&[(".env", SETTINGS)], "version = 1\n", false)?;
    assert!(denied.is_clean());
    // Nothing is less strict, so nothing is proposed.
    assert!(
        denied
            .items
            .iter()
            .all(|one| one.proposed.is_none() && one.effect.is_none())
    );
    Ok(())
}

#[test]
fn what_was_passed_over_is_said() -> Tested {
    let files = [
        (".env.vault", "x"),
        (".env", "A=postgres://u:1/2@db.example.net/a\n"),
    ];
    let all = discovered(&files, shipped(), true)?;
    assert!(!all.complete && all.items.is_empty() && !all.is_clean());
    let text = page(&all).plain();
    assert!(
        text.contains("encrypted") && text.contains("not all that there is"),
        "{text}"
    );
    assert!(!text.contains("db.example.net"), "{text}");
    Ok(())
}

#[test]
fn an_encrypted_file_that_is_dismissed_leaves_the_rest_complete_until_it_has_other_bytes() -> Tested
{
    let dir = tempfile::tempdir()?;
    let own = dir.path().join("discover.json");
    let looked = |text: &str, dismissals: &Dismissals| -> Tested<Discovered> {
        let found = look_at(&[(".env.vault", text)])?;
        let parsed = policy::parse("a.toml", shipped()).map_err(|all| format!("{all:?}"))?;
        Ok(Discovered::of(found, &parsed, dismissals, true).map_err(|all| format!("{all:?}"))?)
    };
    let before = looked("DOTENV_VAULT=hunter2", &Dismissals::default())?;
    assert!(!before.complete && !before.is_clean());
    let sha256 = before.passed_over[0].one.sha256.clone().ok_or("no hash")?;
    let text = page(&before).plain();
    assert!(
        text.contains("guard discover --dismiss-file .env.vault\n"),
        "{text}"
    );
    Dismissals::add_file(own.clone(), sealed(".env.vault", &sha256), None)?;
    let dismissals = Dismissals::read(&own)?;
    let after = looked("DOTENV_VAULT=hunter2", &dismissals)?;
    assert!(after.complete && after.is_clean());
    let text = page(&after).plain();
    let said = "its contents are not known, and a person says that this is all right";
    assert!(
        text.contains(said) && !text.contains("--dismiss-file"),
        "{text}"
    );
    let json = serde_json::to_value(&after)?;
    let one = &json["passed_over"][0];
    assert_eq!(one["file"], ".env.vault");
    assert_eq!(one["dismissed"]["says"], said);
    assert_eq!(one["sha256"], sha256);
    assert!(!looked("DOTENV_VAULT=other", &dismissals)?.complete);
    Ok(())
}

#[test]
fn a_link_out_of_the_project_is_dismissed_until_it_leads_elsewhere() -> Tested {
    let dir = tempfile::tempdir()?;
    let own = dir.path().join("discover.json");
    let looked = |to: &str, dismissals: &Dismissals| -> Tested<Discovered> {
        let [project, home] = [tempfile::tempdir()?, tempfile::tempdir()?];
        std::os::unix::fs::symlink(to, project.path().join("settings"))?;
        let found = look_in(project.path(), home.path(), &[])?;
        let parsed = policy::parse("a.toml", shipped()).map_err(|all| format!("{all:?}"))?;
        Ok(Discovered::of(found, &parsed, dismissals, true).map_err(|all| format!("{all:?}"))?)
    };
    let before = looked("/srv/shop", &Dismissals::default())?;
    assert!(!before.complete && !before.is_clean());
    let text = page(&before).plain();
    assert!(
        text.contains("No link is followed") && text.contains("--dismiss-file settings\n"),
        "{text}"
    );
    let sha256 = before.passed_over[0].one.sha256.clone().ok_or("no hash")?;
    Dismissals::add_file(own.clone(), sealed("settings", &sha256), None)?;
    let dismissals = Dismissals::read(&own)?;
    assert!(looked("/srv/shop", &dismissals)?.is_clean());
    assert!(!looked("/srv/other", &dismissals)?.complete);
    Ok(())
}

/// What happened to people, with the file that led there, as the reading's own tests have it.
const INCIDENTS: &str = include_str!("../../../discover/tests/incidents.txt");

#[test]
fn each_incident_is_open_without_the_rule_that_is_proposed_and_not_with_it() -> Tested {
    let open = "version = 1\ndefault = \"allow\"\n";
    let mut count = 0;
    for incident in INCIDENTS.split("== ").skip(1) {
        let (head, files) = incident.split_once('\n').ok_or("no files")?;
        let (thread, expected) = head.split_once(" | ").ok_or("nothing expected")?;
        let mut words = expected.split(' ');
        let (Some("production" | "maybe"), Some(place)) = (words.next(), words.next()) else {
            continue;
        };
        let files: Vec<_> = files
            .split("-- ")
            .skip(1)
            .filter_map(|file| file.split_once('\n'))
            .collect();
        let of = |policy: &str| -> Tested<InReach> {
            let all = discovered(&files, policy, false)?;
            let mut items = all.items.into_iter();
            Ok(items.find(|one| one.at() == place).ok_or(thread)?)
        };
        let control = of(open)?;
        assert_eq!(control.now.verdict, "allow", "{thread}");
        let proposed = control.proposed.clone().ok_or(thread)?;
        let rule = toml(&control, &control.name(), &proposed);
        let after = of(&format!("{open}{rule}"))?;
        assert_eq!(after.now.verdict, proposed.action, "{thread}: {rule}");
        count += 1;
    }
    assert_eq!(count, 26);
    Ok(())
}

#[test]
fn a_name_that_looks_private_is_judged_as_both() -> Tested {
    let files = [(
        ".env",
        "A_URL=http://u:p@nas.local/a\nDB_URL=postgres://u:p@db.internal/a\n",
    )];
    let all = discovered(&files, shipped(), false)?;
    for one in &all.items {
        // It may be public, where nothing asks, and it may be private, where a rule for reads would open something.
        assert_eq!(one.now.verdict, "allow", "{one:?}");
        let action = one.proposed.as_ref().map(|rule| rule.action);
        assert_eq!(
            (action, one.effect),
            (Some("confirm"), Some("narrows")),
            "{one:?}"
        );
    }
    Ok(())
}

#[test]
fn a_destination_is_found_by_its_host_and_port() -> Tested {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join(".env"), SETTINGS)?;
    fs::write(dir.path().join("wg0.conf"), WIREGUARD)?;
    let found = guard_discover::discover(&Inputs {
        project: dir.path(),
        home: None,
        hosts: None,
        environment: &[],
        routes: None,
        uid: geteuid().as_raw(),
        bounds: Bounds::default(),
    })?;
    let at = |to: &str| -> Tested<Vec<String>> {
        let to: Destination = to.parse()?;
        let places = found.findings.iter().filter(|one| is_at(one, &to));
        Ok(places.map(|one| items::seen(&one.found[0])).collect())
    };
    for to in ["db.example.net", "db.example.net:5432"] {
        assert_eq!(at(to)?, ["DATABASE_URL  .env:1"], "{to}");
    }
    assert_eq!(at("192.168.7.20:2283")?, ["IMMICH_URL  .env:2"]);
    for to in ["db.example.net:443", "192.168.7.21", "192.168.7.0/24"] {
        assert_eq!(at(to)?, [""; 0], "{to}");
    }
    // All that is in a network is found by it.
    for (to, count) in [("10.20.3.4:22", 1), ("10.20.0.0/24", 1), ("10.21.0.1", 0)] {
        assert_eq!(at(to)?.len(), count, "{to}");
    }
    Ok(())
}

const WIREGUARD: &str = "[Interface]\nPrivateKey = hunter2\n\
    [Peer]\nEndpoint = vpn.example.net:51820\nAllowedIPs = 10.20.0.0/16\n";

#[test]
fn a_network_is_judged_as_a_whole_and_its_rule_is_for_all_of_it() -> Tested {
    let files = [("~/.config/wireguard/prod.conf", WIREGUARD)];
    let open = "version = 1\ndefault = \"allow\"\n";
    // What somebody has said of one address there stays as it is.
    let one = "[[rule]]\nto = [\"10.20.0.5\"]\naction = \"deny\"\n\
        [[rule]]\nto = [\"10.20.0.6\"]\naction = \"allow\"\n";
    let policy = format!("{open}{one}");
    let before = discovered(&files, &policy, false)?;
    let told: Vec<_> = before
        .items
        .iter()
        .map(|one| (one.at(), one.ports.as_str(), one.now.verdict, one.rule()))
        .collect();
    let is_open = |at: &str, ports| (at.to_owned(), ports, "allow", "confirm".to_owned());
    assert_eq!(
        told,
        [
            is_open("vpn.example.net:51820", "udp/51820"),
            is_open("10.20.0.0/16", "any"),
        ]
    );
    assert!(!page(&before).plain().contains("hunter2"));
    let mut rules = policy.clone();
    for one in &before.items {
        let proposed = one.proposed.as_ref().ok_or("no rule")?;
        rules.push_str(&toml(one, &one.name(), proposed));
    }
    assert!(rules.contains("to = [\"10.20.0.0/16\"]\naction"), "{rules}");
    let after = discovered(&files, &rules, false)?;
    assert!(after.is_clean(), "{rules}");
    let effects: Vec<_> = after.items.iter().map(|one| one.effect).collect();
    assert_eq!(effects, [Some("same"); 2]);
    Ok(())
}

/// Credentials of clouds: a file, with a name there that each opens, in whichever region.
const CLOUDS: [((&str, &str), [&str; 2]); 4] = [
    (
        (
            "~/.aws/config",
            "[default]\nregion = eu-west-1\nsso_session = a\n",
        ),
        ["*.amazonaws.com", "rds.eu-west-3.amazonaws.com"],
    ),
    (
        ("~/.aws/credentials", "[default]\naws_access_key_id = A\n"),
        ["*.amazonaws.com.cn", "ec2.cn-north-1.amazonaws.com.cn"],
    ),
    (
        (
            "env",
            "AWS_ACCESS_KEY_ID=hunter2hunter2\nAWS_REGION=us-east-1\n",
        ),
        ["*.api.aws", "lambda.eu-west-1.api.aws"],
    ),
    (
        (
            "~/.config/gcloud/application_default_credentials.json",
            "{\"refresh_token\": \"p\"}",
        ),
        ["*.googleapis.com", "alloydb.googleapis.com"],
    ),
];

#[test]
fn a_clouds_credential_gets_a_rule_that_is_as_wide() -> Tested {
    let open = "version = 1\ndefault = \"allow\"\n";
    for (file, [all, name]) in CLOUDS {
        let files = [file];
        let before = discovered(&files, open, false)?;
        let [one] = &before.items[..] else {
            return Err(format!("{before:?}").into());
        };
        let proposed = one.proposed.as_ref().ok_or("no rule")?;
        let rule = toml(one, &one.name(), proposed);
        assert!(rule.contains(&format!("\"{all}\"")), "{rule}");
        // All of it is shown, to be pasted.
        assert!(why(one, false).plain().ends_with(&rule), "{rule}");
        let policy = format!("{open}{rule}");
        let after = discovered(&files, &policy, false)?;
        assert!(after.is_clean(), "{rule}");
        assert_eq!(after.items[0].effect, Some("same"));
        // What is for one name of them, or for one region, leaves the others open.
        for narrow in [name, "*.eu-west-1.amazonaws.com"] {
            let narrow = policy.replace(&format!("\"{all}\""), &format!("\"{narrow}\""));
            let found = discovered(&files, &narrow, false)?;
            assert!(!found.is_clean(), "{narrow}");
        }
        // A destination of it is told where its credential lies.
        let place = name.parse::<Destination>()?;
        let found = look_at(&files)?;
        assert!(
            found.findings.iter().any(|one| is_at(one, &place)),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn what_opens_a_forge_is_listed_and_has_no_rule() -> Tested {
    let files = [("env", "GH_TOKEN=hunter2hunter2\n")];
    let all = discovered(&files, shipped(), false)?;
    insta::assert_snapshot!(page(&all).plain(), @r"
    Files read: 0 (home 0, directory 0). Nothing was connected to.
    Nothing that looks like production was found.
    Not listed: 1 place that does not look like production (guard discover --all).
    key to elsewhere  token of a forge (no rule: each push and pull request would ask): GH_TOKEN  the environment
    ");
    assert!(all.is_clean());
    Ok(())
}
