//! A server with something in front of it that drops what the start-up packet says: guard holds it to reading all the same.

use super::database::{PORT, psql};
use super::{each_in_a_new_shop, everything};
use crate::clients::scene::ClientScene;
use crate::clients::server::Server;
use crate::together::cases;
use guard_lab::{Json as _, Tested};

const POOLER: u16 = 6432;

/// What stands in front of it.
fn pooler(scene: &ClientScene) -> Tested<Server> {
    let mut command = scene.on_production("sh")?;
    let line = format!("exec /usr/bin/python3 $PROGRAMS/pooler.py {POOLER} {PORT}");
    command.args(["-c", &line]);
    Server::start(scene, &mut command, POOLER)
}

/// By it, each of these as a query of its own on one connection.
fn queries(texts: &[&str]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| format!("-c \"{text}\"")).collect();
    psql(&format!(
        "-p {POOLER} -v ON_ERROR_STOP=1 -At {}",
        texts.join(" ")
    ))
}

fn the_server_is_held_to_reading_and_nothing_takes_that_back(scene: &ClientScene) -> Tested {
    let _pooler = pooler(scene)?;
    let mut agent = scene.agent()?;
    let count = agent.run(&queries(&["select count(*) from people"]))?;
    assert_eq!(count.ok(), "100\n");
    let before = everything(scene)?;
    let sneaky = "select * from sneaky";
    for texts in [
        &[sneaky][..],
        &["reset all", sneaky],
        &["discard all", sneaky],
        &["reset all; commit; select * from sneaky"],
        &["begin", "reset all", "commit", sneaky],
    ] {
        let done = agent.run(&queries(texts))?;
        assert_ne!(done.code, 0, "{texts:?}: {done:?}");
        let why = if texts[0] == sneaky {
            "in a read-only transaction"
        } else {
            "has dropped what guard said first"
        };
        assert!(done.text.contains(why), "{texts:?}: {done:?}");
    }
    assert_eq!(everything(scene)?, before);
    // So it is without the guard.
    scene.unguarded()?.run(&queries(&[sneaky]))?.ok();
    assert_ne!(everything(scene)?, before);
    Ok(())
}

fn what_a_person_has_allowed_is_done(scene: &ClientScene) -> Tested {
    let _pooler = pooler(scene)?;
    let mut agent = scene.agent()?;
    let create = ["create table made (i int)"];
    agent.run(&queries(&create))?.refused();
    let asked = scene.pending()?.remove(0);
    let yes = ["approve", asked["id"].text()?, "--writes"];
    scene.answer(&yes)?;
    let insert = "insert into made values (1)";
    agent
        .run(&queries(&[create[0], insert, "select 1", insert]))?
        .ok();
    let file = "begin;\nset datestyle = iso;\ndelete from made;\ncopy made from stdin;\n7\n\\.\ncommit;\nselect i from made;\n";
    scene.write("file", file.as_bytes())?;
    let done = agent.run(&psql(&format!(
        "-p {POOLER} -v ON_ERROR_STOP=1 -qAt -f ~/file"
    )))?;
    assert_eq!(done.ok(), "7\n");
    Ok(())
}

fn an_older_server_behind_it_is_asked_nothing_that_only_a_later_one_has(
    scene: &ClientScene,
) -> Tested {
    let _pooler = pooler(scene)?;
    let mut agent = scene.agent()?;
    let (call, older) = ("select gcd(4, 6)", "set application_name = older");
    let (prepare, execute) = ("prepare p as select gcd(4, 6)", "execute p");
    for texts in [&[call, call][..], &[prepare, execute]] {
        agent.run(&queries(texts))?.ok();
    }
    for texts in [&[call, older, call][..], &[prepare, older, execute]] {
        agent.run(&queries(texts))?.refused();
    }
    agent
        .run(&queries(&[older, "select lower(name) from people limit 1"]))?
        .ok();
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        the_server_is_held_to_reading_and_nothing_takes_that_back,
        what_a_person_has_allowed_is_done,
        an_older_server_behind_it_is_asked_nothing_that_only_a_later_one_has,
    ])
}
