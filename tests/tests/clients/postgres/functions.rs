//! The list of functions that only read, by what the server says of its own.

use super::Database;
use super::database::psql;
use guard_lab::Tested;

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
/// How many are listed for every name that a server has for sure.
const LEAST: usize = 1900;

#[test]
fn the_list_is_what_the_server_says() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    scene.write("all", ALL.as_bytes())?;
    let all = scene.unguarded()?.run(&psql("-At -f ~/all"))?.ok();
    let mut listed = 0;
    for line in all.lines() {
        let (name, kind) = line.split_once('|').unwrap();
        let volatile = format!("{name} # volatile");
        let [plain, marked] = [name, &volatile].map(|one| LIST.lines().any(|line| line == one));
        listed += usize::from(plain || marked);
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
