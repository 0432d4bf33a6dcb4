//! Settings that a session may make for itself: what SET, set_config and the start-up packet may say.

use super::options::boolean;

/// Settings that change the meaning of a statement's text, of all versions. The first is the search path; people see the
/// values of the next ones.
pub const MEANING: [&str; 21] = [
    "search_path",
    "datestyle",
    "role",
    "client_encoding",
    "timezone",
    "intervalstyle",
    "array_nulls",
    "bytea_output",
    "check_function_bodies",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "extra_float_digits",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "row_security",
    "session_authorization",
    "session_replication_role",
    "xmlbinary",
    "xmloption",
];

/// Those that change how things are shown, how long they may take, how they are planned, or how strictly they are
/// looked at. Sorted. Of the planner's, `enable_…` pass as well.
const HARMLESS: &[&str] = &[
    "application_name",
    "array_nulls",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_min_messages",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    // pg_dump sets it, on servers before 12.
    "default_with_oids",
    "effective_cache_size",
    "effective_io_concurrency",
    "escape_string_warning",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "geqo_threshold",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "max_parallel_workers_per_gather",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "restrict_nonsystem_relation_kind",
    // Off, it makes errors of what would be left out: it shows no more.
    "row_security",
    "seq_page_cost",
    "statement_timeout",
    "synchronize_seqscans",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_timeout",
    // Memory is the session's own; how much there is, the server's business.
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Encodings in which a byte below 0x80 is always ASCII, so that the server reads the text as it was read here. Letters
/// and digits only, for PostgreSQL looks at nothing else. In SJIS, BIG5, GBK, UHC, GB18030 and JOHAB, a character may
/// end in a backslash.
const ENCODINGS: &[&str] = &[
    "utf8", "unicode", "sqlascii", "euccn", "eucjp", "euckr", "euctw", "koi8", "koi8r", "koi8u",
    "win866", "win874", "alt", "abc", "tcvn", "tcvn5712", "vscii", "win",
];

/// Whether a setting may be set to these values, as SET has them: of a list, each by itself.
pub(super) fn set(name: &str, values: &[String]) -> Result<(), String> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "search_path" => search_path(values.iter().map(String::as_str)),
        _ => set_one(&name, values),
    }
}

/// [`set`], where all values are one text.
pub(super) fn set_text(name: &str, value: &str) -> Result<(), String> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "search_path" => search_path(value.split(',').map(unquoted)),
        _ => set_one(&name, &[value.to_owned()]),
    }
}

/// Whether a rule lets a setting be set. None of the server's own is among them, whatever a rule says: those have no dot.
pub(super) fn is_extra(name: &str, extra: &[String]) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('.') && lets_through(&name, extra)
}

/// Whether all that an entry of such a list lets through others let through.
pub(super) fn lets_through(entry: &str, others: &[String]) -> bool {
    super::functions::lets_through(entry, others)
}

/// Whether a setting may be set to whatever a statement comes up with: a parameter, or what an expression gives.
pub(super) fn set_to_anything(name: &str) -> Result<(), String> {
    let name = name.to_ascii_lowercase();
    if is_harmless(&name) {
        Ok(())
    } else {
        Err(format!(
            "it is not known what {} is set to, and not every value of it is harmless",
            shown(&name)
        ))
    }
}

/// Whether a setting may go back to what it was when the session began.
pub(super) fn reset(name: &str) -> Result<(), String> {
    match name.to_ascii_lowercase().as_str() {
        name @ ("transaction_read_only" | "default_transaction_read_only") => {
            Err(format!("going back with {name} may let the session write"))
        }
        _ => Ok(()),
    }
}

fn set_one(name: &str, values: &[String]) -> Result<(), String> {
    match name {
        "transaction_read_only" | "default_transaction_read_only" => read_only(name, values),
        "standard_conforming_strings" => only_on(name, values),
        "client_encoding" => encoding(values),
        _ if is_harmless(name) => Ok(()),
        _ => Err(format!("{} is not known to be harmless", shown(name))),
    }
}

/// Whether every value of a setting is.
fn is_harmless(name: &str) -> bool {
    HARMLESS.binary_search(&name).is_ok() || is_planner(name)
}

/// What a person is shown of a name that anybody made up.
fn shown(name: &str) -> String {
    super::objects::shown(name)
}

fn is_planner(name: &str) -> bool {
    let rest = name.strip_prefix("enable_").unwrap_or_default();
    !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn read_only(name: &str, values: &[String]) -> Result<(), String> {
    if is(values, true) {
        Ok(())
    } else {
        Err(format!("{name} is what keeps the server from writing"))
    }
}

fn only_on(name: &str, values: &[String]) -> Result<(), String> {
    if is(values, true) {
        Ok(())
    } else {
        Err(format!(
            "without {name}, the server reads strings in another way"
        ))
    }
}

fn is(values: &[String], wanted: bool) -> bool {
    matches!(values, [value] if boolean(value) == Some(wanted))
}

fn encoding(values: &[String]) -> Result<(), String> {
    let [value] = values else {
        return Err("an encoding has one name".to_owned());
    };
    let letters = value.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    let is_numbered = |start| {
        let number = name.strip_prefix(start).unwrap_or_default();
        !number.is_empty() && number.chars().all(|c: char| c.is_ascii_digit())
    };
    if ENCODINGS.contains(&name.as_str())
        || ["latin", "iso8859", "win125", "windows125"]
            .into_iter()
            .any(is_numbered)
    {
        Ok(())
    } else {
        Err("in this encoding, the server may read the text in another way".to_owned())
    }
}

/// First, `pg_temp` is made by whoever asks for the schema that things are made in. Anywhere but first, `pg_catalog` lets
/// functions of other schemas take the places of PostgreSQL's own. Where it is not named it is searched first.
fn search_path<'a>(schemas: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut schemas = schemas.peekable();
    if schemas
        .peek()
        .is_some_and(|first| first.eq_ignore_ascii_case("pg_temp"))
    {
        return Err("a schema for temporary tables would be made".to_owned());
    }
    let mut later = schemas.skip(1);
    if later.any(|schema| schema.eq_ignore_ascii_case("pg_catalog")) {
        Err("functions of other schemas would come before those of pg_catalog".to_owned())
    } else {
        Ok(())
    }
}

fn unquoted(schema: &str) -> &str {
    schema.trim_matches(|c: char| c.is_ascii_whitespace() || c == '"' || c == '\u{b}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted() {
        assert!(super::HARMLESS.is_sorted());
    }

    /// Each of these has a value that lifts a lock, has text read in another way, or changes the user.
    #[test]
    fn what_some_value_makes_harmful_may_not_be_set_to_anything() {
        for name in [
            "search_path",
            "client_encoding",
            "role",
            "session_authorization",
            "session_replication_role",
            "transaction_read_only",
            "default_transaction_read_only",
            "standard_conforming_strings",
            "backslash_quote",
            "local_preload_libraries",
            "session_preload_libraries",
            "temp_tablespaces",
            "is_superuser",
            "enable_",
            "myapp.user",
            "",
        ] {
            for name in [name.to_owned(), name.to_uppercase()] {
                assert!(super::set_to_anything(&name).is_err(), "{name}");
            }
        }
        assert_eq!(super::set_to_anything("JIT"), Ok(()));
    }

    #[test]
    fn a_rule_names_settings_of_applications_alone() {
        let extra = ["myapp.user", "request.jwt.*", "role", "search_path", "*"].map(str::to_owned);
        let is_extra = |name| super::is_extra(name, &extra);
        assert!(is_extra("myapp.user") && is_extra("MyApp.User") && is_extra("request.jwt.claim"));
        for name in [
            "myapp.users",
            "myapp",
            "role",
            "search_path",
            "session_authorization",
            "default_transaction_read_only",
            "transaction_read_only",
            "client_encoding",
            "request.jwt.claim.sub",
            "other.user",
        ] {
            assert!(!is_extra(name), "{name}");
        }
    }
}
