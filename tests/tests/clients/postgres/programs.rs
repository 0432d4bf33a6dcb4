//! Drivers and their object-relational mappers: what they read is the same, and what they write waits.

use super::database::psql;
use super::{Database, RULE, everything};
use crate::scene::Scene;

fn python(driver: &str, what: &str) -> String {
    format!("/usr/bin/python3 $PROGRAMS/drivers.py {driver} {what}")
}

fn node(what: &str) -> String {
    format!("NODE_PATH=$CLIENTS/usr/share/nodejs node $PROGRAMS/driver.mjs {what}")
}

fn drivers() -> [(String, String); 4] {
    let of = |driver: &str| (python(driver, "read"), python(driver, "write"));
    [
        of("psycopg"),
        of("psycopg2"),
        of("sqlalchemy"),
        (node("read"), node("write")),
    ]
}

#[test]
fn drivers_read_as_before_and_their_writes_wait() {
    let scene = Scene::new(RULE);
    let _database = Database::start(&scene);
    let (mut without, mut agent) = (scene.unguarded(), scene.agent());
    for (read, write) in drivers() {
        let expected = without.run(&read).ok();
        assert_eq!(agent.run(&read).ok(), expected, "{read}");
        assert_eq!(scene.pending(), [""; 0], "{read}");

        let before = everything(&scene);
        let stopped = agent.run(&write);
        assert_ne!(stopped.code, 0, "{stopped:?}");
        assert!(stopped.text.contains("stopped by guard"), "{stopped:?}");
        assert_eq!(everything(&scene), before, "{write}");
        scene.say_yes();
        let mut done = agent.run(&write);
        if done.text.contains("begun as one that only reads") {
            // It has read in the same transaction.
            done = agent.run(&write);
        }
        done.ok();
        assert_ne!(everything(&scene), before, "{write}");
    }
}

/// As most servers of companies are: TLS with a password.
#[test]
fn passwords_and_tls_work_and_a_stranger_does_not() {
    let scene = Scene::new(RULE);
    let _database = Database::secured(&scene);
    let (mut without, mut agent) = (scene.unguarded(), scene.agent());
    for mode in ["require", "verify-full"] {
        let line = format!(
            "PGSSLMODE={mode} PGSSLROOTCERT=$SSL_CERT_FILE {}",
            psql(
                "-At -c 'select count(*) from people, pg_stat_ssl where ssl and pid = pg_backend_pid()'"
            )
        );
        assert_eq!(without.run(&line).ok(), "100\n", "{mode}");
        assert_eq!(agent.run(&line).ok(), "100\n", "{mode}");
    }
    let plain = format!("PGSSLMODE=disable {}", psql("-c 'select 1'"));
    assert!(agent.run(&plain).text.contains("no pg_hba.conf entry"));
    let wrong = psql("-c 'select 1'").replace("hunter2", "wrong");
    let wrong = agent.run(&wrong);
    assert!(
        wrong.text.contains("password authentication failed"),
        "{wrong:?}"
    );
}
