//! Calls of each function that a server has, with arguments of its types.

use super::maker::Chance;

/// The functions, with their types.
pub(super) const ALL: &str = "SELECT DISTINCT proname || E'\\t' || oidvectortypes(proargtypes) FROM pg_proc \
     WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p' ORDER BY 1";

/// A call of one of them, in one of the ways that there are. `line`: one of what [`ALL`] gives.
pub(super) fn call(line: &str, chance: &mut Chance) -> Option<String> {
    let (name, types) = line.split_once('\t')?;
    let types: Vec<_> = types.split(", ").filter(|kind| !kind.is_empty()).collect();
    // Nobody has one.
    if types.contains(&"internal") {
        return None;
    }
    let which = chance.next(3);
    let args: Vec<_> = types.iter().map(|kind| argument(kind, which)).collect();
    let all = args.join(", ");
    Some(match (&args[..], chance.next(5)) {
        ([first, ..], 0) => format!("SELECT ({first}).\"{name}\""),
        ([first, ..], 1) => format!("SELECT i.\"{name}\" FROM unnest(ARRAY[{first}]) i"),
        (_, 2) => format!("SELECT * FROM pg_catalog.\"{name}\"({all})"),
        _ => format!("SELECT \"{name}\"({all})"),
    })
}

fn argument(kind: &str, which: usize) -> String {
    let value = match kind {
        "bigint" | "integer" | "smallint" | "numeric" | "real" | "double precision" => {
            ["1", "4242", "0"][which]
        }
        "oid" => ["1259", "4242", "10"][which],
        "boolean" => ["t", "f", "t"][which],
        "regclass" => ["users", "s", "users_id_seq"][which],
        "text" | "name" | "cstring" | "character varying" | "\"char\"" => {
            ["users", "s", "1"][which]
        }
        "bytea" => ["\\x00", "\\xff", ""][which],
        "date" | "timestamp without time zone" | "timestamp with time zone" => "2020-01-01",
        "interval" => ["1 day", "0", "1 second"][which],
        "json" | "jsonb" => ["{}", "[1]", "{\"a\": 1}"][which],
        "xml" => "<a/>",
        "pg_lsn" => "0/1",
        "anyelement" | "anycompatible" | "\"any\"" => {
            return ["1", "'x'::text", "'users'::regclass"][which].to_owned();
        }
        "anyarray" | "anycompatiblearray" => return "ARRAY[1, 2]".to_owned(),
        "anyrange" => return "int4range(1, 2)".to_owned(),
        "record" => return "ROW(1, 'a')".to_owned(),
        array if array.ends_with("[]") => "{}",
        _ => return format!("'1'::{kind}"),
    };
    format!("'{}'::{kind}", value)
}
