//! Large objects: they are read by functions that are called by their numbers, and written by others of those.

use super::database::psql;
use super::{each_in_a_new_shop, query};
use crate::clients::scene::ClientScene;
use crate::together::cases;
use guard_lab::Tested;

/// Makes one of them.
fn make_an_object(scene: &ClientScene) -> Tested {
    let made = query("select lo_from_bytea(0, 'large object')");
    scene.unguarded()?.run(&made)?.ok();
    Ok(())
}

fn wire(what: &str) -> String {
    format!("/usr/bin/python3 $PROGRAMS/wire.py {what}")
}

/// What is in it, and how many there are.
fn objects(scene: &ClientScene) -> Tested<String> {
    let all = query("select oid, lo_get(oid) from pg_largeobject_metadata");
    Ok(scene.unguarded()?.run(&all)?.ok())
}

fn a_dump_has_large_objects_in_it(scene: &ClientScene) -> Tested {
    make_an_object(scene)?;
    let dump = psql("")
        .replace("psql -X", "pg_dump")
        .replace("PGPASSWORD", "TZ=UTC PGPASSWORD");
    // Some releases write a key that is new each time.
    let dump = format!("{dump} | grep -v restrict");
    let whole = scene.unguarded()?.run(&dump)?.ok();
    assert!(whole.contains("lowrite(0"), "{whole}");
    assert_eq!(scene.agent()?.run(&dump)?.ok(), whole);
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

fn a_large_object_is_read_as_without_the_guard(scene: &ClientScene) -> Tested {
    make_an_object(scene)?;
    let expected = scene.unguarded()?.run(&wire("reads_large_object"))?.ok();
    assert_eq!(expected, "larg 4 1 1 5  object 0 2\n");
    let mut agent = scene.agent()?;
    assert_eq!(agent.run(&wire("reads_large_object"))?.ok(), expected);
    let export = query("select oid from pg_largeobject_metadata");
    let object = scene.unguarded()?.run(&export)?.ok();
    let export = psql(&format!("-c '\\lo_export {} exported'", object.trim()));
    agent.run(&export)?.ok();
    assert_eq!(scene.read("exported")?, b"large object");
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

fn no_other_function_is_called_by_its_number(scene: &ClientScene) -> Tested {
    make_an_object(scene)?;
    let before = objects(scene)?;
    let mut agent = scene.agent()?;
    let refused = agent.run(&wire("calls"))?.ok();
    assert_eq!(refused.trim(), ["25006"; 10].join(" "));
    agent.run(&wire("writes_large_object"))?;
    assert_eq!(objects(scene)?, before);
    // Without the guard it would.
    scene.unguarded()?.run(&wire("writes_large_object"))?;
    assert_ne!(objects(scene)?, before);
    Ok(())
}

/// What reads by its number has the server hold the client to reading again, as what reads by its text does.
fn a_write_that_is_allowed_lets_no_call_write(scene: &ClientScene) -> Tested {
    make_an_object(scene)?;
    let mut agent = scene.agent()?;
    agent.run(&wire("reads_behind_a_write"))?.ok();
    scene.say_yes()?;
    let done = agent.run(&wire("reads_behind_a_write"))?.ok();
    assert_eq!(done.trim(), "larg 25006 on");
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        a_dump_has_large_objects_in_it,
        a_large_object_is_read_as_without_the_guard,
        no_other_function_is_called_by_its_number,
        a_write_that_is_allowed_lets_no_call_write,
    ])
}
