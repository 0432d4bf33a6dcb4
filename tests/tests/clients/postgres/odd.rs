//! Clients that speak the protocol as no library does: refused or asked, never passed unread.

use guard_lab::{Json as _, Tested, eventually};
use serde_json::Value;

use super::database::{log, psql};
use super::{each_in_a_new_shop, everything, query, renew};
use crate::clients::agent::Agent;
use crate::clients::scene::ClientScene;
use crate::together::cases;

/// What `wire.py` does, and what it is to see of it.
const ODD: &[(&str, &str)] = &[
    ("garbage", "closed"),
    ("long_startup", "closed"),
    ("short_startup", "closed"),
    ("negative_length", "closed"),
    ("before_login", "closed"),
    ("unlocked_by_startup", "25006"),
    ("unlocked_by_options", "25006"),
    ("sjis_by_startup", "25006"),
    ("replication", "25006"),
    ("call", "25006"),
    ("huge_query", "25006"),
    ("two_strings", "closed"),
    ("no_end", "closed"),
    ("unknown_message", "closed"),
    ("lying_bind", "closed"),
    ("renamed", "25006"),
    ("renamed_after_failure", "25006"),
    ("renamed_in_flight", "25006"),
    ("executed_later", "25006"),
    ("executed_by_sql", "25006"),
    ("in_a_pipeline", "25006"),
    ("after_flush", "25006"),
    ("split", "25006"),
    ("invalid_text", "25006"),
    ("copied_out_of_turn", "1"),
    ("reads_in_a_pipeline", "1 2 3"),
    ("goes_on_after_refusal", "25006 2"),
    ("suspended", "1 2"),
    ("cancelled", "57014"),
    ("own_portal", "25006 25006"),
    ("long_names", "closed"),
    ("other_names", "closed"),
    ("executed_before_prepared", "25006"),
    ("fetched", "25006 25006"),
    ("query_in_a_batch", "closed"),
    ("query_behind_what_is_prepared", "42703 2"),
    ("call_in_a_batch", "closed"),
    ("big_sync", "closed"),
    ("two_users", "closed"),
    ("write_behind_flush", "1 25006"),
    ("many_syncs", "ready"),
    ("prepared_and_executed", "7"),
    ("long_error", "22P02 2"),
    ("two_at_once", "25006"),
    ("bound", "25006"),
    ("copied_in_a_batch", "25006"),
    ("copied_beside", "25006"),
    ("copied", "25006 0"),
    ("nested", "25006 25006 25006"),
    ("bound_earlier", "25006"),
    ("table_as_execute", "25006"),
    ("unnamed", "25006"),
    ("many_executes", "25006"),
    ("long_execute", "25006"),
    ("executes_a_setting", "25006"),
    ("behind_an_error", "22012 2"),
    ("behind_an_early_error", "22012 2"),
    ("long_pipeline", "22012 2"),
    ("shapes", "3 4 25006 25006 25006 25006"),
];

fn what_is_odd_is_refused_or_asked_and_nothing_changes(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    let before = everything(scene)?;
    for (what, expected) in ODD {
        let done = agent.run(&format!("/usr/bin/python3 $PROGRAMS/wire.py {what} 9"))?;
        assert_eq!(done.text.trim(), *expected, "{what}: {}", log(scene)?);
        assert_eq!(everything(scene)?, before, "{what}");
    }
    Ok(())
}

/// The same without the guard does change something, or is what a server answers.
fn without_the_guard_it_would(scene: &ClientScene) -> Tested {
    for what in [
        "unlocked_by_options",
        "renamed",
        "executed_later",
        "in_a_pipeline",
        "after_flush",
        "split",
    ] {
        renew(scene)?;
        let before = everything(scene)?;
        scene
            .unguarded()?
            .run(&format!("/usr/bin/python3 $PROGRAMS/wire.py {what}"))?;
        assert_ne!(everything(scene)?, before, "{what}");
    }
    Ok(())
}

fn a_thousand_names_take_no_memory_that_stays(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    let done = agent.run("/usr/bin/python3 $PROGRAMS/wire.py many_names")?;
    assert_eq!(done.text.trim(), "25006");
    eventually("others are served", || {
        Ok(agent.run(&query("select 1"))?.text == "1\n")
    })?;
    Ok(())
}

/// Does one of them, is told no, and gives what a person was asked.
fn asked(scene: &ClientScene, agent: &mut Agent<'_>, what: &str) -> Tested<Value> {
    let done = agent.run(&format!("/usr/bin/python3 $PROGRAMS/wire.py {what}"))?;
    assert!(done.text.starts_with("25006"), "{what}: {done:?}");
    Ok(scene.pending()?.pop().unwrap()["http"].take())
}

fn a_yes_is_for_what_a_person_has_seen(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    let both = asked(scene, &mut agent, "two_at_once")?;
    let text = both["body_preview"].text()?;
    assert!(
        text.contains("update people") && text.contains("delete from orders"),
        "{text}"
    );

    let before = everything(scene)?;
    let one = asked(scene, &mut agent, "bound 9")?;
    let text = one["body_preview"].text()?;
    assert!(text.ends_with("$1 = '9'"), "{text}");
    scene.say_yes()?;
    // Of another parameter nobody has said yes.
    asked(scene, &mut agent, "bound 15")?;
    assert_eq!(everything(scene)?, before);
    agent.run("/usr/bin/python3 $PROGRAMS/wire.py bound 9")?;
    assert_ne!(everything(scene)?, before);
    Ok(())
}

fn one_yes_lets_one_transaction_write_and_no_other(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    let lines = |texts: &[&str]| {
        let texts = texts.iter().map(|text| format!("-c \"{text}\""));
        psql(&format!("-At {}", texts.collect::<Vec<_>>().join(" ")))
    };
    let update = "update people set name = 'y' where id = 2";
    let chained = lines(&[
        "begin",
        update,
        "commit and chain",
        "select * from sneaky",
        "commit",
    ]);
    agent.run(&chained)?;
    // The chain of a transaction that has failed is asked about too: nobody says yes to that.
    let mut pending = scene.pending()?.into_iter();
    let first = pending.find(|one| one["http"]["method"] == "UPDATE");
    let id = first.expect("it is asked about")["id"].text()?.to_owned();
    scene.answer(&["approve", &id])?;
    let done = agent.run(&chained)?;
    assert!(done.text.contains("UPDATE 1"), "{done:?}");
    assert!(
        done.text.contains("ends a transaction that may write"),
        "{done:?}"
    );
    let count = query("select count(*) from people where id = 0");
    assert_eq!(scene.unguarded()?.run(&count)?.text, "0\n", "{done:?}");

    // Two, each with a yes of its own.
    let other = "update people set name = 'z' where id = 3";
    let two = lines(&["begin", update, "commit", "begin", other, "commit"]);
    agent.run(&two)?;
    let id = scene.pending()?.pop().unwrap()["id"].text()?.to_owned();
    scene.answer(&["approve", &id, "--writes", "--for", "5m"])?;
    let done = agent.run(&two)?;
    assert_eq!(
        done.text,
        "BEGIN\nUPDATE 1\nCOMMIT\nBEGIN\nUPDATE 1\nCOMMIT\n"
    );
    for (what, expected) in [
        ("copied", "1"),
        ("copied_beside", "25006"),
        ("copied_in_a_batch", "25006"),
    ] {
        let done = agent.run(&format!("/usr/bin/python3 $PROGRAMS/wire.py {what}"))?;
        assert_eq!(done.text.trim(), expected, "{what}");
    }
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        what_is_odd_is_refused_or_asked_and_nothing_changes,
        without_the_guard_it_would,
        a_thousand_names_take_no_memory_that_stays,
        a_yes_is_for_what_a_person_has_seen,
        one_yes_lets_one_transaction_write_and_no_other,
    ])
}
