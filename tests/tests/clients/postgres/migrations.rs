//! Migrations: many definitions in a row, of which a person is asked once.

use std::fs;

use guard_lab::{Json as _, SshKey, Tested};
use serde_json::Value;

use super::database::{psql, query};
use super::{Database, each_in_a_new_shop, everything};
use crate::clients::agent::Agent;
use crate::clients::scene::ClientScene;
use crate::signed::scene::{COURIER, agent, answer_to};
use crate::together::cases;

const MIGRATION: &str = "create table parts (id int primary key, name text);
create index parts_by_name on parts (name);
alter table people add column part int references parts;
comment on table parts is 'what there is';
";

/// As a tool does it that goes on whatever fails.
fn all(agent: &mut Agent<'_>) -> Tested<String> {
    Ok(agent.run(&psql("-q -f ~/migration 2>&1"))?.text)
}

/// The only request that waits.
pub(super) fn the_one(scene: &ClientScene) -> Tested<Value> {
    let mut pending = scene.pending()?;
    assert_eq!(pending.len(), 1, "{pending:?}");
    Ok(pending.remove(0))
}

fn many_definitions_in_a_row_are_one_request(scene: &ClientScene) -> Tested {
    scene.write("migration", MIGRATION.as_bytes())?;
    let mut agent = scene.agent()?;
    let before = everything(scene)?;
    let said = all(&mut agent)?;
    assert_eq!(said.matches("stopped by guard").count(), 4, "{said}");
    assert_eq!(everything(scene)?, before);
    let asked = the_one(scene)?;
    let shown = asked["http"]["body_preview"].text()?;
    for text in MIGRATION.trim().lines() {
        assert!(shown.contains(text.trim_end_matches(';')), "{shown}");
    }
    let id = asked["id"].text()?;

    // What comes after a person has looked is not what they said yes to.
    agent.run(&psql("-c 'create table late (id int)'"))?;
    scene.answer(&["approve", id])?;
    assert_eq!(all(&mut agent)?, "");
    assert_ne!(everything(scene)?, before);
    let late = the_one(scene)?;
    assert_eq!(late["http"]["path"], "create table late (id int)");
    agent
        .run(&psql("-c 'create table late (id int)'"))?
        .refused();

    // And each of them was for once.
    assert_eq!(all(&mut agent)?.matches("stopped by guard").count(), 4);
    scene.answer(&["deny", the_one(scene)?["id"].text()?])?;
    assert_eq!(scene.pending()?, [""; 0]);
    let said = all(&mut agent)?;
    assert_eq!(said.matches("said no").count(), 4, "{said}");
    Ok(())
}

fn a_migration_that_stops_at_the_first_error_passes_after_one_yes(scene: &ClientScene) -> Tested {
    scene.write("migration", MIGRATION.as_bytes())?;
    let mut agent = scene.agent()?;
    let migrate = psql("-q -1 -v ON_ERROR_STOP=1 -f ~/migration");
    agent.run(&migrate)?.refused();
    let asked = the_one(scene)?;
    let warnings = asked["http"]["warnings"].to_string();
    assert!(!warnings.contains("--writes"), "{warnings}");
    let id = asked["id"].text()?;
    let approve = ["approve", id, "--writes", "--for", "5m"];
    let said = scene.daemon.agent(approve).run()?.success()?.stdout;
    assert!(
        said.contains("what drops or runs code is asked about"),
        "{said}"
    );
    agent.run(&migrate)?.ok();
    assert_eq!(scene.pending()?, [""; 0]);
    // What destroys, or may do anything, is asked about each time.
    for text in [
        "drop table parts",
        "truncate orders",
        "do 'begin end'",
        "alter table people drop column part",
    ] {
        agent.run(&query(text))?.refused();
    }
    agent.run(&query("delete from orders where id = 1"))?.ok();
    Ok(())
}

/// Each of them has a record with the one signature, which counts once.
#[test]
fn a_signed_yes_to_many_definitions_is_one_in_the_audit_log() -> Tested {
    let (mut scene, _database) = Database::with_scene()?;
    let config = fs::read_to_string(scene.daemon.config())?;
    let answers = format!("[answers]\ncouriers = [\"{COURIER}\"]\ncode = \"never\"\n");
    scene.daemon.stop()?;
    scene.daemon.write_config(&(config + &answers))?;
    scene.daemon.start()?;
    let key = SshKey::new(scene.daemon.dir().join("alice"))?;
    let add = [
        "approver",
        "add",
        "alice",
        "--plain",
        "--answers-for",
        &agent(),
    ];
    let add = scene.daemon.root(add).args(["--ssh-key"]);
    add.args([key.public()]).run()?.success()?;
    scene.write("migration", MIGRATION.as_bytes())?;
    let mut agent = scene.agent()?;
    let said = all(&mut agent)?;
    assert_eq!(said.matches("stopped by guard").count(), 4, "{said}");
    let id = the_one(&scene)?["id"].text()?.to_owned();
    let question = scene.daemon.json(["question", &id])?;
    let signed = key.sign(&answer_to(&question, "alice", &[]), "answer@guardd.org")?;
    let hand_in = scene.daemon.user(COURIER, ["answer", "--signed", "-"]);
    hand_in.input(signed.to_string()).run()?.success()?;
    assert_eq!(all(&mut agent)?, "");

    let verify = ["log", "--verify", "--signatures"];
    let verified = scene.daemon.ask(verify)?.success()?.stdout;
    let count = |text: &str| verified.matches(text).count();
    assert_eq!(count("yes by alice, signed"), 4, "{verified}");
    assert_eq!(
        count("yes by alice, signed as a part of record"),
        3,
        "{verified}"
    );
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        many_definitions_in_a_row_are_one_request,
        a_migration_that_stops_at_the_first_error_passes_after_one_yes,
    ])
}
