use super::super::startup;

#[test]
fn harmless_parameters_pass() {
    for (name, value) in [
        ("user", "postgres"),
        ("database", "x"),
        ("application_name", "psql"),
        ("client_encoding", "UTF8"),
        ("client_encoding", "'utf-8'"),
        ("DateStyle", "ISO"),
        ("TimeZone", "Europe/Berlin"),
        ("extra_float_digits", "2"),
        ("search_path", "a, \"b\""),
        ("default_transaction_read_only", "on"),
        ("_pq_.anything", "1"),
        ("options", ""),
        ("options", "-c statement_timeout=5s"),
        ("options", "-cstatement_timeout=5s --search_path=a,b"),
        ("options", "--statement-timeout=5s"),
        ("options", r"-c application_name=a\ b -c search_path=a,\ b"),
    ] {
        assert_eq!(startup(name, value), Ok(()), "{name}={value}");
    }
}

#[test]
fn others_do_not() {
    for (name, value) in [
        ("Replication", "database"),
        ("default_transaction_read_only", "off"),
        ("Default_Transaction_Read_Only", "off"),
        ("client_encoding", "SJIS"),
        ("standard_conforming_strings", "off"),
        ("search_path", "public, pg_catalog"),
        ("session_replication_role", "replica"),
        ("role", "postgres"),
        ("local_preload_libraries", "x"),
        ("_pq", "x"),
        ("options", "-c"),
        ("options", "-c x"),
        ("options", "-c default_transaction_read_only=off"),
        ("options", "--default-transaction-read-only=off"),
        ("options", r"-c default_transaction_read\_only=off"),
        ("options", "-cdefault_transaction_read_only=off"),
        ("options", r"-c\ default_transaction_read_only=off"),
        ("options", r"-c search_path=a,\ pg_catalog"),
        ("options", "-c statement_timeout=1 -c role=postgres"),
        ("options", "-e"),
        ("options", "-fs"),
        ("options", "-ec x=y"),
        ("options", "--"),
        ("options", "x"),
        ("options", "\\"),
    ] {
        assert!(startup(name, value).is_err(), "{name}={value}");
    }
}
