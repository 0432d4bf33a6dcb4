//! Foreign tables: what is done at their other end nobody stops, and a person is told that they are there.

use guard_lab::{Tested, eventually};

use super::database::{Database, psql, query};
use crate::clients::scene::ClientScene;

/// A foreign table of which the other end is the view that changes something.
const FOREIGN: [&str; 6] = [
    "create function reach() returns int language sql volatile \
     as 'insert into public.people values (0, ''reached'') returning id'",
    "create view reaching as select public.reach() as id",
    "create extension postgres_fdw",
    "create server other foreign data wrapper postgres_fdw options (host '127.0.0.1', dbname 'shop')",
    "create user mapping for public server other options (user 'postgres')",
    "create foreign table far (id int) server other options (table_name 'reaching')",
];

/// How many records of the audit log warn of something.
fn warned(scene: &ClientScene) -> Tested<usize> {
    let trail = std::fs::read_to_string(scene.daemon.audit())?;
    let is_one = |line: &&str| line.contains("\"warned\"") && line.contains("postgres_fdw");
    Ok(trail.lines().filter(is_one).count())
}

#[test]
fn a_database_with_foreign_tables_is_told_of_once() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    let mut agent = scene.agent()?;
    let one = query("select 1");
    assert_eq!(agent.run(&one)?.ok(), "1\n");
    assert_eq!(warned(&scene)?, 0);
    let as_owner = |text: &str| query(text).replace("-U app", "-U postgres");
    let mut without = scene.unguarded()?;
    for text in FOREIGN {
        without.run(&as_owner(text))?.ok();
    }
    without.run(&as_owner("grant select on far to app"))?.ok();
    without
        .run(&as_owner(
            "alter user mapping for public server other options (password_required 'false')",
        ))?
        .ok();
    without.run(&as_owner("create database empty"))?.ok();

    // It was looked at before there were any: one who comes later sees them.
    let mut later = crate::clients::agent::Agent::holding(&scene, "5m", "later")?;
    for _ in 0..3 {
        assert_eq!(later.run(&one)?.ok(), "1\n");
    }
    eventually("it is told of", || Ok(warned(&scene)? == 1))?;
    let empty = psql("-At -c 'select 1'").replace("-d shop", "-d empty");
    assert_eq!(later.run(&empty)?.ok(), "1\n");
    // The limit itself, as the page has it.
    let before = query("select count(*) from people where id = 0");
    assert_eq!(without.run(&before)?.ok(), "0\n");
    assert_eq!(later.run(&query("select * from far"))?.ok(), "0\n");
    assert_eq!(without.run(&before)?.ok(), "1\n");
    assert_eq!(warned(&scene)?, 1);
    Ok(())
}
