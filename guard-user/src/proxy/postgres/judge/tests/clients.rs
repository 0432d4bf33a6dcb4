//! What PostgreSQL's own clients send: written down by a server of version 15.

use super::assert_reads;

#[test]
fn whatever_psql_asks_for_its_own_commands_passes() {
    for statement in include_str!("fixtures/psql.sql").split("\n---\n") {
        assert_reads(statement);
    }
}

#[test]
fn a_whole_pg_dump_passes() {
    for statement in include_str!("fixtures/pg_dump.sql").split("\n---\n") {
        assert_reads(statement.trim_end());
    }
}
