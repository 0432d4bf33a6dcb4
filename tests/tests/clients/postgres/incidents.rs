//! What people have lost databases by, done again.

use super::database::psql;
use super::{Database, everything, keep, query, renew};
use guard_lab::Tested;

/// A schema that is pushed by force: many definitions at once, over everything that is there.
const PUSH: &str = "drop schema public cascade; create schema public; create table people (id int)";
/// An agent's own agent, which has been told to tidy up.
const TIDY: &str = "do \\$\\$ declare t text; begin for t in select tablename from pg_tables where schemaname = 'public' order by 1 loop execute 'delete from ' || t; end loop; end \\$\\$";
/// Tests that begin with an empty database, and take it from DATABASE_URL.
const TRUNCATE: &str = "truncate people, orders restart identity cascade";

#[test]
fn what_people_have_lost_databases_by_waits_for_a_person() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    keep(&scene)?;
    for text in [PUSH, TIDY, TRUNCATE] {
        renew(&scene)?;
        let mut agent = scene.agent()?;
        let before = everything(&scene)?;
        agent.run(&query(text))?.refused();
        // And as most tools do it, one by one, going on whatever fails.
        let lines = text.replace("\\$", "$").replace("; ", ";\n") + ";\n";
        scene.write("lines", lines.as_bytes())?;
        agent.run(&psql("-f ~/lines"))?;
        assert_eq!(everything(&scene)?, before, "{text}");
        assert!(!scene.pending()?.is_empty(), "{text}");
        if text == PUSH {
            let last = scene.pending()?.pop().unwrap()["http"]["warnings"].to_string();
            assert!(last.contains("definitions in a row"), "{last}");
        }

        // Without the guard it is done.
        scene.unguarded()?.run(&query(text))?.ok();
        let after = scene
            .unguarded()?
            .run(&query("select count(*) from people"))?;
        assert_eq!(after.text, "0\n", "{text}");
    }
    Ok(())
}
