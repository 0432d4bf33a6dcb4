//! Replication connections: a person is asked before one begins.

use super::Database;
use crate::clients::scene::HOST;
use guard_lab::{Json as _, Tested};

#[test]
fn a_person_is_asked_about_replication_and_about_what_writes_in_it() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    // With one connection for the files, and one more for what is written meanwhile.
    let backup = format!(
        "rm -rf ~/copy; pg_basebackup -h {HOST} -U postgres -c fast -X stream -D ~/copy && cat ~/copy/PG_VERSION"
    );
    let version = without.run(&backup)?.ok();
    agent.run(&backup)?.refused();
    let asked = scene.pending()?.remove(0);
    assert_eq!(asked["http"]["method"], "REPLICATION", "{asked}");
    let id = asked["id"].text()?;
    scene.answer(&["approve", id, "--requests", "2"])?;
    assert_eq!(agent.run(&backup)?.ok(), version);

    let within = format!(
        "psql -XAt 'host={HOST} user=postgres dbname=shop replication=database' -c IDENTIFY_SYSTEM -c 'delete from people'"
    );
    assert!(agent.run(&within)?.text.contains("replication connection"));
    scene.say_yes()?;
    let done = agent.run(&within)?;
    assert!(done.text.contains("|shop\n"), "{done:?}");
    done.refused();
    assert!(done.text.contains("DELETE does not only read"), "{done:?}");
    Ok(())
}
