//! Drivers and their object-relational mappers: what they read is the same, and what they write waits.

use std::fs;

use guard_lab::{Json as _, Tested, eventually};

use super::database::{PASSWORD, psql};
use super::{Database, RULE, everything};
use crate::clients::agent::Agent;
use crate::clients::scene::{ClientScene, HOST};

const DJANGO: &str = "/usr/bin/python3 $PROGRAMS/manage.py";

/// A program by a driver, which is told what to do.
struct Driver {
    program: String,
    /// What it is told to do to change something.
    writes: &'static [&'static str],
}

impl Driver {
    fn of(program: impl Into<String>, writes: &'static [&'static str]) -> Self {
        Self {
            program: program.into(),
            writes,
        }
    }

    fn to(&self, what: &str) -> String {
        format!("{} {what}", self.program)
    }
}

fn drivers(scene: &ClientScene) -> Tested<[Driver; 9]> {
    let python = |driver: &str, writes| {
        let program = format!("/usr/bin/python3 $PROGRAMS/drivers.py {driver}");
        Driver::of(program, writes)
    };
    let node = "NODE_PATH=$CLIENTS/usr/share/nodejs node $PROGRAMS/driver.mjs";
    let sqlx = format!("DATABASE_URL=postgres://app:{PASSWORD}@{HOST}/shop $PROGRAMS/with_sqlx");
    put_example(scene, "with_sqlx")?;
    Ok([
        python("psycopg", &["write", "copy"]),
        python("psycopg2", &["write"]),
        python("sqlalchemy", &["write"]),
        python("asyncpg", &["write", "copy"]),
        // It flushes what it has bound before it executes that: nobody can be asked then.
        python("pg8000", &[]),
        Driver::of(DJANGO, &["write"]),
        Driver::of(node, &["write"]),
        Driver::of("pgx", &["write", "copy"]),
        Driver::of(sqlx, &["write"]),
    ])
}

/// `cargo test` builds examples beside the tests, where an agent may not be let.
fn put_example(scene: &ClientScene, name: &str) -> Tested {
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).unwrap().join("examples").join(name);
    fs::copy(built, scene.dir().join(name))?;
    Ok(())
}

#[test]
fn drivers_read_as_before_and_their_writes_wait() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for driver in drivers(&scene)? {
        let read = driver.to("read");
        let expected = without.run(&read)?.ok();
        assert_eq!(agent.run(&read)?.ok(), expected, "{read}");
        assert_eq!(scene.pending()?, [""; 0], "{read}");

        if driver.writes.is_empty() {
            let stopped = stopped(&scene, &mut agent, &driver.to("write"))?;
            assert!(stopped.contains("Send it in a batch of its own"));
        }
        for write in driver.writes.iter().map(|what| driver.to(what)) {
            let before = everything(&scene)?;
            stopped(&scene, &mut agent, &write)?;
            scene.say_yes()?;
            agent.run(&write)?.ok();
            assert_ne!(everything(&scene)?, before, "{write}");
        }
    }
    Ok(())
}

/// To ask about a type, it turns the compiler off, and on again by a parameter.
#[test]
fn asyncpg_reads_types_that_it_does_not_know_where_a_server_compiles() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _database = Database::compiling(&scene)?;
    let read = "/usr/bin/python3 $PROGRAMS/drivers.py asyncpg read";
    let expected = scene.unguarded()?.run(read)?.ok();
    assert_eq!(scene.agent()?.run(read)?.ok(), expected);
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

/// That the guard stops a write, and nothing has happened. What its program says of that.
fn stopped(scene: &ClientScene, agent: &mut Agent<'_>, write: &str) -> Tested<String> {
    let before = everything(scene)?;
    let done = agent.run(write)?;
    assert_ne!(done.code, 0, "{done:?}");
    assert!(done.text.contains("stopped by guard"), "{done:?}");
    assert_eq!(everything(scene)?, before, "{write}");
    Ok(done.text)
}

/// What `migrate` has made, and what it has noted of that.
const MIGRATED: &str = "select table_name, column_name, data_type from information_schema.columns \
     where table_name ~ '^(auth|django)_' union all select app, name, '' from django_migrations order by 1, 2";

#[test]
fn djangos_migrations_wait_as_a_whole() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let scratch = psql("-c 'create database scratch owner app'").replace("-U app", "-U postgres");
    without.run(&scratch)?.ok();
    let there = format!("DATABASE=scratch {DJANGO} migrate");
    without.run(&there)?.ok();

    for question in [
        "migrate --plan",
        "showmigrations",
        "inspectdb",
        "check --database default",
    ] {
        let question = format!("{DJANGO} {question}");
        let expected = without.run(&question)?.ok();
        assert_eq!(agent.run(&question)?.ok(), expected, "{question}");
    }
    assert_eq!(scene.pending()?, [""; 0]);

    let migrate = format!("{DJANGO} migrate");
    stopped(&scene, &mut agent, &migrate)?;
    let asked = scene.pending()?;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0]["http"]["method"], "CREATE TABLE", "{asked:?}");
    let id = asked[0]["id"].text()?;
    let approve = scene
        .daemon
        .agent(["approve", id, "--writes", "--for", "5m"]);
    approve.run()?.success()?;
    // Each DROP COLUMN of a migration is asked about.
    for _ in 0..9 {
        if agent.run(&migrate)?.code == 0 {
            break;
        }
        let asked = scene.pending()?;
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(asked[0]["http"]["method"], "DROP COLUMN", "{asked:?}");
        scene.say_yes()?;
    }
    let made = psql(&format!("-At -c \"{MIGRATED}\""));
    let expected = made.replace("-d shop", "-d scratch");
    assert_eq!(without.run(&made)?.ok(), without.run(&expected)?.ok());
    let nothing = agent.run(&format!("{migrate} --check"))?;
    assert_eq!(nothing.code, 0, "{nothing:?}");
    Ok(())
}

/// As most servers of companies are: TLS with a password.
#[test]
fn passwords_and_tls_work_and_a_stranger_does_not() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _database = Database::secured(&scene)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for mode in ["require", "verify-full"] {
        let line = format!(
            "PGSSLMODE={mode} PGSSLROOTCERT=$SSL_CERT_FILE {}",
            psql(
                "-At -c 'select count(*) from people, pg_stat_ssl where ssl and pid = pg_backend_pid()'"
            )
        );
        assert_eq!(without.run(&line)?.ok(), "100\n", "{mode}");
        assert_eq!(agent.run(&line)?.ok(), "100\n", "{mode}");
    }
    let bound = format!(
        "PGSSLMODE=require PGCHANNELBINDING=prefer {}",
        psql("-At -c 'select 1'")
    );
    assert_eq!(without.run(&bound)?.ok(), "1\n");
    let told = agent.run(&bound)?;
    assert!(told.text.contains("stopped by guard"), "{told:?}");
    assert!(told.text.contains("PGCHANNELBINDING=disable"), "{told:?}");
    let has_record = || -> Tested<_> {
        let trail = fs::read_to_string(scene.daemon.audit())?;
        Ok(trail.contains("channel binding"))
    };
    eventually("the audit log has it", has_record)?;
    let plain = format!("PGSSLMODE=disable {}", psql("-c 'select 1'"));
    assert!(agent.run(&plain)?.text.contains("no pg_hba.conf entry"));
    let wrong = psql("-c 'select 1'").replace("hunter2", "wrong");
    let wrong = agent.run(&wrong)?;
    assert!(
        wrong.text.contains("password authentication failed"),
        "{wrong:?}"
    );
    Ok(())
}

#[test]
fn a_server_may_ask_for_a_password_in_other_ways() -> Tested {
    for login in ["password", "md5"] {
        let scene = ClientScene::new(RULE)?;
        let _database = Database::asking(&scene, login)?;
        let count = psql("-At -c 'select count(*) from people'");
        assert_eq!(scene.unguarded()?.run(&count)?.ok(), "100\n", "{login}");
        let mut agent = scene.agent()?;
        assert_eq!(agent.run(&count)?.ok(), "100\n", "{login}");
        let wrong = agent.run(&count.replace("hunter2", "wrong"))?;
        assert!(
            wrong.text.contains("password authentication failed"),
            "{wrong:?}"
        );
    }
    Ok(())
}
