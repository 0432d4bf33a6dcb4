use std::fs;

use super::*;

type Tested<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SETTINGS: &str = "\
DATABASE_URL=postgres://app:hunter2@db.example.net/app
IMMICH_URL=http://192.168.7.20:2283/api
IMMICH_API_KEY=hunter2
CACHE_URL=redis://localhost
";

fn discovered(files: &[(&str, &str)], policy: &str, all: bool) -> Tested<Discovered> {
    let dir = tempfile::tempdir()?;
    for (name, text) in files {
        fs::write(dir.path().join(name), text)?;
    }
    let found = guard_discover::discover(&Inputs {
        project: dir.path(),
        home: None,
        hosts: None,
        environment: &[],
        uid: geteuid().as_raw(),
        bounds: Bounds {
            time: None,
            ..Bounds::default()
        },
    })?;
    let parsed = policy::parse("agent.toml", policy).map_err(|all| format!("{all:?}"))?;
    Ok(Discovered::of(found, &parsed, all).map_err(|all| format!("{all:?}"))?)
}

fn shipped() -> &'static str {
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

    N  LOOKS LIKE  PLACE                SERVICE   REACHED BY            NOW      PROPOSED
    1  production  192.168.7.20:2283    immich    IMMICH_URL  .env:2    confirm  read-only (widens)
    2  production  db.example.net:5432  postgres  DATABASE_URL  .env:1  allow    read-only, postgres
    The policy default lets everything through to 1 that looks like production.
        guard discover --why 1
    ");
    assert!(!all.is_clean() && all.complete);
    let text = serde_json::to_string(&all)?;
    assert!(!text.contains("hunter2"));
    Ok(())
}

#[test]
fn a_place_is_explained_with_a_valid_rule() -> Tested {
    let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
    insta::assert_snapshot!(why(&all.items[0]).plain(), @r#"
    192.168.7.20:2283  immich  production
        found    IMMICH_URL  .env:2
        because  an address elsewhere (25 points)
        because  holds data (10 points)
        because  credential beside it (10 points)
        because  no dev sibling (10 points)
        now      confirm, by rule private
        rule     read-only: it widens

    [[rule]]
    name = "192.168.7.20 immich"
    to = ["192.168.7.20"]
    ports = ["tcp/2283"]
    action = "read-only"
    reason = "looks like production"
    "#);
    for one in &all.items {
        let Some(proposed) = &one.proposed else {
            continue;
        };
        let text = format!("version = 1\n{}", toml(one, proposed));
        assert!(policy::parse("agent.toml", &text).is_ok(), "{text}");
    }
    Ok(())
}

#[test]
fn what_a_rule_covers_is_not_open() -> Tested {
    let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
    let mut text = shipped().to_owned();
    for one in &all.items {
        if let Some(proposed) = &one.proposed {
            text.push_str(&toml(one, proposed));
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
    assert!(denied.items.iter().all(|one| one.effect == Some("widens")));
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
