//! Statements for a database that change rows and define tables, and do no more than their text says.

/// Those that change rows.
const ROWS: [&str; 5] = ["COPY FROM", "DELETE", "INSERT", "MERGE", "UPDATE"];

/// Those that define something that runs no code, and changes nobody's rights.
const DEFINITIONS: [&str; 27] = [
    "ALTER DOMAIN",
    "ALTER SEQUENCE",
    "ALTER STATISTICS",
    "ALTER TABLE",
    "ALTER TYPE",
    "ALTER … RENAME",
    "ALTER … SET SCHEMA",
    "BEGIN READ WRITE",
    "CLUSTER",
    "COMMENT",
    "CREATE DOMAIN",
    "CREATE INDEX",
    "CREATE SCHEMA",
    "CREATE SEQUENCE",
    "CREATE STATISTICS",
    "CREATE TABLE",
    "CREATE TABLE AS",
    "CREATE TYPE",
    "CREATE VIEW",
    "LOCK",
    "NOTIFY",
    "REFRESH MATERIALIZED VIEW",
    "REINDEX",
    "SELECT FOR UPDATE",
    "SELECT INTO",
    "VACUUM or ANALYZE",
    "sequence or lock",
];

/// Returns true for a command that changes rows or defines tables. All others drop something, run code that nobody sees, or change who may
/// do what, or the server: a yes to all writes is not for them.
#[must_use]
pub fn is_ordinary(command: &str) -> bool {
    ROWS.contains(&command) || DEFINITIONS.contains(&command)
}
