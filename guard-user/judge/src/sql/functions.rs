//! Functions: those of `pg_catalog` that only read, and what some others do.

use super::{Release, SqlWrite};
use std::{collections::HashMap, sync::LazyLock};

use guard_policy::contrib;

/// One name a line.
const LIST: &str = include_str!("functions.txt");

/// The release that has each.
static READS: LazyLock<HashMap<&'static str, Release>> = LazyLock::new(|| {
    let entry = |line: &'static str| {
        let (name, comment) = line.split_once('#').unwrap_or((line, ""));
        let since = comment
            .split_once("since ")
            .map(|(_, since)| Release::of(since));
        (name.trim(), since.unwrap_or_default())
    };
    let named = LIST.lines().map(entry);
    named.filter(|(name, _)| !name.is_empty()).collect()
});

/// The names of a list, without comments (`#`).
pub(super) fn names(list: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines.map(str::trim).filter(|name| !name.is_empty())
}

/// What JDBC's drivers ask with.
const INFORMATION_SCHEMA: &[&str] = &[
    "_pg_char_max_length",
    "_pg_char_octet_length",
    "_pg_datetime_precision",
    "_pg_expandarray",
    "_pg_index_position",
    "_pg_interval_type",
    "_pg_numeric_precision",
    "_pg_numeric_precision_radix",
    "_pg_numeric_scale",
    "_pg_truetypid",
    "_pg_truetypmod",
];

/// The release that has a function of the list, if that is a later one.
pub(super) fn since(name: &[&str], release: Release) -> Option<Release> {
    let ([name] | ["pg_catalog", name]) = name else {
        return None;
    };
    READS.get(name).copied().filter(|since| *since > release)
}

/// Whether a function is on the list of what that release has: qualified with `pg_catalog`, or with nothing, for then that is
/// searched first. A function of somebody's that has the name, and takes other types, may be called all the same: what a text
/// does not tell, the second lock is for.
pub(super) fn reads(name: &[&str], release: Release) -> bool {
    match name {
        [name] | ["pg_catalog", name] => READS.get(name).is_some_and(|since| *since <= release),
        ["information_schema", name] => INFORMATION_SCHEMA.contains(name),
        _ => false,
    }
}

/// Whether all that an entry of such a list lets through others let through.
pub(super) fn lets_through(entry: &str, others: &[String]) -> bool {
    if let Some(functions) = contrib::functions(entry) {
        let is_whole = others.iter().any(|other| other == entry);
        let all = |name: &&str| lets_through(name, others);
        return is_whole || functions.iter().all(all);
    }
    let stem = entry.strip_suffix('*').unwrap_or(entry);
    others.iter().any(|other| match other.strip_suffix('*') {
        Some(start) => stem
            .strip_prefix(start)
            .is_some_and(|end| !end.contains('.')),
        None => entry == other || is_of(&entry.split('.').collect::<Vec<_>>(), other),
    })
}

/// Whether a function is of a list of an extension, in the schema where that mostly is or in none that is named.
fn is_of(name: &[&str], list: &str) -> bool {
    let ([name] | ["public", name]) = name else {
        return false;
    };
    contrib::functions(list).is_some_and(|functions| functions.contains(name))
}

/// Whether the caller lets a function through.
pub(super) fn is_extra(name: &[&str], extra: &[String]) -> bool {
    // A dot within a name would make two names of one.
    if name
        .iter()
        .any(|part| part.is_empty() || part.contains('.'))
    {
        return false;
    }
    if extra.iter().any(|list| is_of(name, list)) {
        return true;
    }
    let name = name.join(".");
    extra.iter().any(|pattern| match pattern.strip_suffix('*') {
        // The end is any, but of one name: no schema is let through by a pattern that names none.
        Some(start) => name
            .strip_prefix(start)
            .is_some_and(|end| !end.contains('.')),
        None => *pattern == name,
    })
}

/// What is known of those that are not on the list: how the name begins, what it does, and a warning.
const KNOWN: &[(&str, &str, Option<&str>)] = &[
    (
        "pg_terminate_backend",
        "ends a connection",
        Some("ends a connection of somebody else"),
    ),
    (
        "pg_cancel_backend",
        "cancels a query",
        Some("cancels a query of somebody else"),
    ),
    (
        "pg_reload_conf",
        "makes the server read its settings again",
        None,
    ),
    ("pg_rotate_logfile", "rotates the server's log", None),
    ("pg_switch_wal", "begins a new WAL file", None),
    (
        "pg_promote",
        "makes a standby the primary",
        Some("cannot be undone"),
    ),
    ("pg_wal_replay_", "stops or goes on with replication", None),
    (
        "pg_create_",
        "creates a restore point or a replication slot",
        None,
    ),
    ("pg_copy_", "copies a replication slot", None),
    (
        "pg_drop_replication_slot",
        "drops a replication slot",
        Some("cannot be undone"),
    ),
    ("pg_replication_", "changes replication", None),
    ("pg_logical_", "reads or writes what is replicated", None),
    (
        "pg_stat_reset",
        "resets statistics",
        Some("the statistics are lost"),
    ),
    (
        "pg_stat_statements_reset",
        "resets statistics",
        Some("the statistics are lost"),
    ),
    ("pg_backup_", "begins or ends a backup", None),
    ("pg_start_backup", "begins a backup", None),
    ("pg_stop_backup", "ends a backup", None),
    (
        "pg_advisory_",
        "takes an advisory lock, which ends with its connection",
        None,
    ),
    (
        "pg_try_advisory_",
        "takes an advisory lock, which ends with its connection",
        None,
    ),
    ("pg_notify", "notifies other sessions", None),
    (
        "pg_read_",
        "reads a file of the server",
        Some("reads a file of the server"),
    ),
    (
        "pg_ls_",
        "lists files of the server",
        Some("reads a directory of the server"),
    ),
    (
        "pg_stat_file",
        "looks at a file of the server",
        Some("looks at a file of the server"),
    ),
    (
        "pg_file_",
        "writes a file of the server",
        Some("writes a file of the server"),
    ),
    (
        "lo_export",
        "writes a file of the server",
        Some("writes a file of the server"),
    ),
    (
        "lo_import",
        "reads a file of the server",
        Some("reads a file of the server"),
    ),
    ("lo_get", "reads a large object", None),
    ("lo_", "uses large objects", None),
    ("lowrite", "writes a large object", None),
    ("loread", "reads a large object", None),
    ("nextval", "takes a number from a sequence", None),
    ("setval", "sets a sequence", None),
    (
        "dblink",
        "connects to another server",
        Some("what it does there is not judged"),
    ),
    (
        "query_to_xml",
        "runs a query that is given as text",
        Some("that query is not judged"),
    ),
    ("cursor_to_xml", "reads from a cursor", None),
    (
        "ts_stat",
        "runs a query that is given as text",
        Some("that query is not judged"),
    ),
    (
        "ts_rewrite",
        "may run a query that is given as text",
        Some("that query is not judged"),
    ),
    ("txid_current", "takes a transaction number", None),
    ("pg_current_xact_id", "takes a transaction number", None),
];

/// Functions that take or set a number of a sequence, or take a lock, and nothing else.
const PLAIN: &[&str] = &[
    "nextval",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "setval",
];

/// What a person reads of a call of a function that is not on the list.
pub(super) fn write(name: &str) -> SqlWrite {
    let bare = name.strip_prefix("pg_catalog.").unwrap_or(name);
    let is_plain = PLAIN.contains(&bare);
    of_command(
        if is_plain {
            "sequence or lock"
        } else {
            "function call"
        },
        name,
    )
}

/// Returns the call of a name behind a dot: a function of that name may be anybody's.
pub(super) fn write_dotted(name: &str) -> SqlWrite {
    of_command("function call", name)
}

fn of_command(command: &'static str, name: &str) -> SqlWrite {
    let bare = name.strip_prefix("pg_catalog.").unwrap_or(name);
    let known = KNOWN.iter().find(|(start, ..)| bare.starts_with(start));
    let kind = match known {
        Some((_, what, _)) => format!("calls {name}: {what}"),
        None => format!("calls the function {name}"),
    };
    let warning = known.and_then(|(.., warning)| *warning);
    let mut write = SqlWrite::new(command, kind).because(format!(
        "{name} is not on the list of functions that only read"
    ));
    write.warnings.extend(warning.map(str::to_owned));
    write.definition(bare.starts_with("pg_advisory") || bare.starts_with("pg_try_advisory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lets_through_what_another_does() {
        let all = |entry: &str, others: &[&str]| {
            let others: Vec<_> = others.iter().map(|&other| other.to_owned()).collect();
            lets_through(entry, &others)
        };
        assert!(all("total", &["x", "total"]) && all("st_area", &["st_*"]));
        assert!(all("st_a*", &["st_*"]) && all("st_*", &["st_*"]));
        assert!(!all("st_*", &["st_a*"]) && !all("st_*", &["st_area"]));
        assert!(!all("public.total", &["p*"]) && all("public.total", &["public.*"]));
        assert!(!all("total", &[]));
        assert!(all("@hstore", &["@hstore"]) && all("skeys", &["@hstore"]));
        assert!(all("public.skeys", &["@hstore"]) && !all("other.skeys", &["@hstore"]));
        assert!(!all("@hstore", &["@ltree", "skeys"]) && !all("skeys", &["@dblink"]));
        assert!(all("@uuid-ossp", &["uuid_*"]));
    }

    #[test]
    fn the_list_is_sorted_and_has_nothing_twice() {
        let names = LIST
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let names: Vec<_> = names.collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert_eq!(names.len(), READS.len());
    }

    #[test]
    fn nothing_that_is_known_to_do_more_is_on_the_list() {
        for (start, ..) in KNOWN {
            let mut found = READS.keys().filter(|name| name.starts_with(start));
            let reads =
                |name: &&&str| name.ends_with("_if_assigned") || name.ends_with("_snapshot");
            let slots = |name: &&&str| **name == "pg_replication_origin_oid";
            let gives_back = |name: &&&str| name.starts_with("pg_advisory_unlock");
            let is_fine = |name: &&&str| reads(name) || slots(name) || gives_back(name);
            assert_eq!(found.find(|name| !is_fine(name)), None);
        }
    }
}
