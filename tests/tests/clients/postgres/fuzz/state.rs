//! All that a statement could change, as the server's superuser sees it.

/// Each table, sequence and catalogue of the database, but for what everybody may write; what is there beside them, in the
/// server and in files; and the next transaction's number, for whoever writes takes one.
pub(super) const STATE: &str = r"
\set QUIET on
SELECT format('SELECT %L, count(*), md5(string_agg(ROW(x.*)::text, %L ORDER BY ROW(x.*)::text)) FROM %s x', oid::regclass, ',', oid::regclass)
  FROM pg_class WHERE relkind IN ('r', 'm', 'S') AND relname <> 'scratch' AND relpersistence <> 't'
  ORDER BY oid::regclass::text \gexec
SELECT 'advisory locks', count(*) FROM pg_locks WHERE locktype = 'advisory';
SELECT 'replication slots', count(*) FROM pg_replication_slots;
SELECT 'prepared transactions', count(*) FROM pg_prepared_xacts;
SELECT 'settings in files', md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_file_settings x;
SELECT 'loaded', pg_conf_load_time();
SELECT 'WAL', pg_walfile_name(pg_current_wal_lsn() + 1);
SELECT 'backup', pg_ls_dir FROM pg_ls_dir('.') WHERE pg_ls_dir LIKE 'backup%';
SELECT 'files', dir, count(*) FROM unnest('{pg_replslot, pg_snapshots, pg_twophase, pg_tblspc}'::text[]) dir, pg_ls_dir(dir) GROUP BY 2 ORDER BY 2;
SELECT 'written', size FROM pg_stat_file('guard-fuzz', true);
SELECT 'reset', stats_reset FROM pg_stat_bgwriter;
SELECT 'reset', stats_reset FROM pg_stat_archiver;
SELECT 'reset', max(stats_reset) FROM pg_stat_database;
SELECT 'reset', max(stats_reset) FROM pg_stat_slru;
SELECT 'statistics', sum(n_tup_ins), sum(n_tup_upd) FROM pg_stat_user_tables WHERE relname <> 'scratch';
SELECT 'temporary', count(*) FROM pg_class WHERE relpersistence = 't';
SELECT 'next transaction', pg_current_snapshot();
";

/// Beside what [`STATE`] says, what a transaction that may write takes by itself.
pub(super) fn but_for_numbers(state: &str) -> String {
    let lines = state
        .lines()
        .filter(|line| !line.starts_with("next transaction"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The lines that are in one of them only.
pub(super) fn difference(before: &str, after: &str) -> String {
    let only = |of: &str, other: &str| {
        let lines = of
            .lines()
            .filter(|line| !other.lines().any(|one| one == *line));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    format!(
        "before:\n{}\nafter:\n{}",
        only(before, after),
        only(after, before)
    )
}
