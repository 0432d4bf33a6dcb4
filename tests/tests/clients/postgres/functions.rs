//! The list of functions that only read, by what the server says of its own.

use super::Database;
use super::database::{psql, query};
use guard_lab::Tested;
use std::collections::HashMap;

const LIST: &str = include_str!("../../../../guard-user/judge/src/sql/functions.txt");

/// Each name, and whether it is one of the list's by the rule that stands there, or volatile.
const ALL: &str = r"
SELECT proname, CASE
  WHEN bool_or('internal'::regtype = ANY (prorettype::oid || proargtypes::oid[])
    OR EXISTS (SELECT FROM pg_type t WHERE p.oid IN (typinput, typreceive)) OR proname IN ('enum_in', 'shell_in')
    OR proname ~ '_to_xml|_validator$|^pg_(event_trigger|ddl_command)_'
    OR proname IN ('txid_current', 'pg_current_xact_id')) THEN 'other'
  WHEN bool_or(provolatile = 'v') THEN 'volatile' ELSE 'reads' END
FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p' GROUP BY 1;
";

/// Of another release they take internal values.
const OTHERWISE: &[&str] = &["interval_avg"];
/// The first release of those that the list is of.
const FIRST: u32 = 15;
/// How many are listed for every name that a server has for sure.
const LEAST: usize = 1900;

/// The release from which on there is what has that comment.
fn since(comment: &str) -> Option<u32> {
    comment.split_once("since ")?.1.parse().ok()
}

#[test]
fn the_list_is_what_the_server_says() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    scene.write("all", ALL.as_bytes())?;
    let all = scene.unguarded()?.run(&psql("-At -f ~/all"))?.ok();
    let release = scene.unguarded()?.run(&query("show server_version_num"))?;
    let release = release.ok().trim().parse::<u32>()? / 10_000;
    let entries = LIST.lines().filter(|line| !line.starts_with('#'));
    let entries = entries.map(|line| line.split_once(" # ").unwrap_or((line, "")));
    let entries: HashMap<_, _> = entries.collect();
    // An older server calls anybody's functions of these names.
    for (name, comment) in &entries {
        let is_there = all.lines().any(|line| line.split('|').next() == Some(name));
        let is_later = since(comment) > Some(release);
        assert!(
            is_there || is_later || release > FIRST || name.is_empty(),
            "{name} is of a later release"
        );
    }
    let mut listed = 0;
    for line in all.lines() {
        let (name, kind) = line.split_once('|').unwrap();
        let entry = entries.get(name);
        let marked = entry.is_some_and(|comment| comment.starts_with("volatile"));
        let plain = entry.is_some() && !marked;
        listed += usize::from(plain || marked);
        let since = entry.and_then(|comment| since(comment));
        assert!(since <= Some(release), "{name} is in this release");
        match kind {
            "reads" => assert!(
                plain || OTHERWISE.contains(&name),
                "{name} is not on the list, or as volatile"
            ),
            "volatile" => assert!(!plain, "{name} is volatile"),
            _ => assert!(!plain && !marked, "{name} is on the list"),
        }
    }
    assert!(listed > LEAST, "{listed}");
    Ok(())
}
