//! Commands of PostgreSQL that change rows and define tables, and do no more than their text says.

/// Sorted.
const COMMANDS: [&str; 32] = [
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
    "COPY FROM",
    "CREATE DOMAIN",
    "CREATE INDEX",
    "CREATE SCHEMA",
    "CREATE SEQUENCE",
    "CREATE STATISTICS",
    "CREATE TABLE",
    "CREATE TABLE AS",
    "CREATE TYPE",
    "CREATE VIEW",
    "DELETE",
    "INSERT",
    "LOCK",
    "MERGE",
    "NOTIFY",
    "REFRESH MATERIALIZED VIEW",
    "REINDEX",
    "SELECT FOR UPDATE",
    "SELECT INTO",
    "UPDATE",
    "VACUUM or ANALYZE",
    "sequence or lock",
];

/// Returns true for a command that changes rows or defines tables. All others drop something, run code that nobody sees, or change rights
/// or the server: a yes to all writes is not for them.
#[must_use]
pub fn is_ordinary(command: &str) -> bool {
    COMMANDS.contains(&command)
}
