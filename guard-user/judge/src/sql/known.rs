//! Statements that pass by their text alone, letter by letter: what could not be known of them else.

/// `set_config` with a setting that is read from a table, on every start of `pg_dump` since August 2024. It takes away
/// from what the session may do.
const PG_DUMP: &str = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings \
     WHERE name = 'restrict_nonsystem_relation_kind'";

/// Whether a text is such a statement.
pub(super) fn reads(text: &str) -> bool {
    text == PG_DUMP
}
