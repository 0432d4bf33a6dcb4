//! What changes something does not happen before a person says yes, and then does.

use std::thread;

use guard_lab::{Json as _, Tested, eventually};

use super::database::{log, psql};
use super::{A_WHILE, Database, each_in_a_new_shop, everything, query, renew};
use crate::clients::agent::Agent;
use crate::clients::scene::ClientScene;
use crate::together::cases;

/// What changes something, what a person is asked about it, and what is to be seen of it.
const WRITES: &[(&str, &str)] = &[
    ("insert into people values (101, 'new')", "INSERT"),
    ("update people set name = 'x'", "UPDATE"),
    ("delete from orders where id = 10", "DELETE"),
    (
        "merge into people p using (values (1)) v(id) on p.id = v.id when matched then update set name = 'merged'",
        "MERGE",
    ),
    ("truncate orders", "TRUNCATE"),
    ("create table t (i int)", "CREATE"),
    ("create index on people (name)", "CREATE"),
    ("alter table people add column age int", "ALTER"),
    ("drop view sneaky", "DROP"),
    ("create table copied as select * from people", "CREATE"),
    ("select * into copied2 from people", "SELECT"),
    (
        "with gone as (delete from orders where id = 1 returning *) select * from gone",
        "DELETE",
    ),
    ("select nextval('numbers')", ""),
    ("select setval('numbers', 40)", ""),
    ("select sneak()", ""),
    (
        "do \\$\\$ begin delete from orders where id = 5; end \\$\\$",
        "DO",
    ),
    (
        "create function f() returns int language sql as 'select 1'",
        "CREATE",
    ),
    ("explain analyze delete from orders where id = 9", ""),
    ("select 1; delete from orders where id = 8", "DELETE"),
    ("begin; delete from orders where id = 7; commit", "DELETE"),
    (
        "prepare p as delete from orders where id = 6; execute p",
        "",
    ),
];

fn a_write_waits_for_a_person_and_happens_after_a_yes(scene: &ClientScene) -> Tested {
    for chunk in WRITES.chunks(7) {
        renew(scene)?;
        let mut agent = scene.agent()?;
        for (text, command) in chunk {
            let before = everything(scene)?;
            agent.run(&query(text))?.refused();
            assert_eq!(everything(scene)?, before, "{text}");
            let asked = scene.pending()?;
            assert_eq!(asked.len(), 1, "{text}: {asked:?}");
            let http = &asked[0]["http"];
            assert!(
                http["method"].text()?.starts_with(command),
                "{text}: {http}"
            );
            assert_eq!(http["scheme"], "postgres", "{http}");
            let shown = http["body_preview"].text()?;
            assert!(shown.contains(&text.replace("\\$", "$")), "{text}: {shown}");
            if command == &"UPDATE" {
                let warnings = http["warnings"].to_string();
                assert!(
                    warnings.contains("rows, as the server plans it"),
                    "{warnings}"
                );
            }
            scene.say_yes()?;
            agent.run(&query(text))?.ok();
            assert_ne!(everything(scene)?, before, "{text} did nothing");
            // Once, and what comes after it only reads again.
            agent.run(&query("delete from people"))?.refused();
            say_no(scene)?;
        }
    }
    Ok(())
}

/// A person says no to all that waits.
fn say_no(scene: &ClientScene) -> Tested {
    for one in scene.pending()? {
        scene.answer(&["deny", one["id"].text()?])?;
    }
    Ok(())
}

/// What has no effect that a table shows, and must not pass for all that.
const OTHERS: &[&str] = &[
    "copy people from stdin",
    "copy people to program 'cat'",
    "copy people to '/tmp/people'",
    "select * from people for update",
    "lock table people",
    "grant all on people to public",
    "vacuum people",
    "set transaction_read_only = off",
    "begin read write",
    "start transaction read write",
    "select set_config('default_transaction_read_only', 'off', false)",
    "set standard_conforming_strings = off",
    "set client_encoding = sjis",
    "set role postgres",
    "set session authorization postgres",
    "alter system set work_mem = '1GB'",
    "select pg_terminate_backend(1)",
    "select pg_advisory_lock(1)",
    "select pg_notify('a', 'b')",
    "notify a",
    "select lo_create(0)",
    "create temp table t (i int)",
    "select pg_read_file('/etc/passwd')",
    "checkpoint",
    "analyze people",
    "reindex table people",
    "comment on table people is 'x'",
    "call f()",
    "not sql at all",
];

#[test]
fn what_changes_other_things_waits_as_well() -> Tested {
    let (scene, _database) = Database::with_scene()?;
    let mut agent = scene.agent()?;
    for text in OTHERS {
        let line = query(text) + " </dev/null";
        let done = agent.run(&line)?;
        assert_ne!(done.code, 0, "{text}: {done:?}");
        done.refused();
        // Nothing of it has arrived.
        assert!(
            !log(&scene)?.contains(&format!("statement: {text}")),
            "{text}: {}",
            log(&scene)?
        );
        say_no(&scene)?;
    }
    Ok(())
}

fn a_client_that_waits_goes_on_after_a_yes_and_after_a_no(scene: &ClientScene) -> Tested {
    let mut agent = Agent::holding(scene, "5m", "holding")?;
    let before = everything(scene)?;
    agent.begin(&query("delete from orders where id = 3"))?;
    thread::sleep(A_WHILE);
    assert_eq!(everything(scene)?, before);
    scene.say_yes_to("DELETE")?;
    assert_eq!(agent.end()?.ok(), "DELETE 1\n");

    // One that waits in the middle of a session: what it was told no about fails, and it goes on.
    let lines = "delete from people;\nselect count(*) from people;\n";
    scene.write("lines", lines.as_bytes())?;
    agent.begin(&psql("-At -f ~/lines"))?;
    let mut pending = Vec::new();
    guard_lab::eventually("it waits", || {
        pending = scene.pending()?;
        Ok(pending.iter().any(|one| one["held"] == true))
    })?;
    let id = pending[0]["id"].text()?;
    scene.answer(&["deny", id])?;
    let done = agent.end()?;
    assert!(done.text.contains("stopped by guard"), "{done:?}");
    assert!(done.text.contains("\n100\n"), "{done:?}");
    Ok(())
}

fn a_transaction_that_has_read_is_done_again_after_a_yes(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    let text = query("begin").replace(
        "\"begin\"",
        "\"begin\" -c \"select 1\" -c \"update people set name = 'z' where id = 1\" -c \"commit\"",
    );
    agent.run(&text)?.refused();
    let warnings = scene.pending()?.remove(0)["http"]["warnings"].to_string();
    assert!(
        warnings.contains("its transaction has already read"),
        "{warnings}"
    );
    scene.say_yes()?;
    let holes = scene.daemon.agent(["holes"]).run()?.success()?.stdout;
    assert!(
        holes.contains("a transaction of the session that begins there may write"),
        "{holes}"
    );
    let done = agent.run(&text)?;
    assert!(done.text.contains("UPDATE 1\nCOMMIT"), "{done:?}");
    let name = query("select name from people where id = 1");
    assert_eq!(agent.run(&name)?.ok(), "z\n");
    // That was for once.
    agent.run(&text)?.refused();
    let sneaky = psql("-c begin -c \"select * from sneaky\"");
    assert!(agent.run(&sneaky)?.text.contains("read-only transaction"));
    say_no(scene)?;

    // One that waits is told that it has its yes, and not passed yet.
    let mut held = Agent::holding(scene, "5m", "has-read")?;
    held.begin(&text)?;
    let mut pending = Vec::new();
    eventually("it waits", || {
        pending = scene.pending()?;
        Ok(pending.iter().any(|one| one["held"] == true))
    })?;
    let id = pending[0]["id"].text()?;
    let approved = scene.daemon.agent(["approve", id]).run()?.success()?.stdout;
    assert!(approved.contains("open for"), "{approved}");
    let told = held.end()?;
    assert!(
        told.text
            .contains("a person has said yes, but its transaction has begun"),
        "{told:?}"
    );
    let log = scene.daemon.agent(["log"]).run()?.success()?.stdout;
    let passed = log.lines().filter(|line| line.contains("sql passed"));
    let of_it = |line: &&str| line.ends_with(&format!("request={id}"));
    assert_eq!(passed.filter(of_it).count(), 0, "{log}");
    assert!(held.run(&text)?.text.contains("UPDATE 1\nCOMMIT"));
    Ok(())
}

fn what_its_client_has_withdrawn_is_gone(scene: &ClientScene) -> Tested {
    let mut agent = Agent::holding(scene, "5m", "withdraws")?;
    let before = everything(scene)?;
    let delete = query("delete from orders where id > 0");
    // What is not withdrawn passes.
    agent.begin(&query("delete from orders where id = 1"))?;
    scene.say_yes_to("DELETE")?;
    agent.end()?.ok();
    assert_ne!(everything(scene)?, before);
    let before = everything(scene)?;
    // ^C in psql sends a request to cancel.
    agent.begin(&format!("timeout -s INT 3 env {delete}"))?;
    let mut pending = Vec::new();
    eventually("it waits", || {
        pending = scene.pending()?;
        Ok(pending.iter().any(|one| one["held"] == true))
    })?;
    let done = agent.end()?;
    assert!(
        done.text
            .contains("canceling statement due to user request"),
        "{done:?}"
    );
    assert_eq!(scene.pending()?, [""; 0]);
    let late = scene.daemon.agent(["approve", pending[0]["id"].text()?]);
    assert!(late.run()?.success().is_err());
    assert_eq!(everything(scene)?, before);
    Ok(())
}

fn rows_are_those_that_a_change_reads_or_are_not_told(scene: &ClientScene) -> Tested {
    let fresh = query("create table fresh as select * from people");
    scene.unguarded()?.run(&fresh)?.ok();
    let mut agent = scene.agent()?;
    let update = "update people set name = 'x'";
    let within = "with gone as (delete from people returning *) select 1 from gone limit 1";
    for (command, rows) in [
        (query(update), Some("about 100 rows,")),
        (
            psql(&format!(
                "-c begin -c \"select 1\" -c \"{}\"",
                update.replace('x', "y")
            )),
            Some("about 100 rows,"),
        ),
        (
            psql(&format!("-c begin -c \"{}\"", update.replace('x', "z"))),
            Some("about 100 rows,"),
        ),
        (
            "/usr/bin/python3 $PROGRAMS/wire.py bound_at_once".to_owned(),
            // Of a hundred, by the statistics.
            Some("about 5"),
        ),
        (query(within), Some("about 100 rows,")),
        // Nobody has analysed it.
        (query("delete from fresh"), None),
        (
            query("with a as (delete from people), b as (delete from orders) select 1"),
            None,
        ),
    ] {
        let before = everything(scene)?;
        agent.run(&command)?;
        let pending = scene.pending()?;
        assert_eq!(pending.len(), 1, "{command}: {pending:?}");
        let warnings = pending[0]["http"]["warnings"].to_string();
        match rows {
            Some(rows) => assert!(warnings.contains(rows), "{command}: {warnings}"),
            None => assert!(!warnings.contains(" rows,"), "{command}: {warnings}"),
        }
        assert_eq!(everything(scene)?, before, "{command}");
        say_no(scene)?;
    }
    Ok(())
}

/// A pool switches the connections that it gives back.
fn a_session_that_would_write_by_itself_is_held_to_reading(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    for switch in [
        "set session characteristics as transaction read write",
        "set default_transaction_read_only = off",
    ] {
        let lines = format!(
            "-At -c \"{switch}\" -c \"show default_transaction_read_only\" -c \"select * from sneaky\""
        );
        let done = agent.run(&psql(&lines))?;
        assert!(done.text.starts_with("SET\non\n"), "{done:?}");
        assert!(
            done.text.contains("guard holds this connection to reading"),
            "{done:?}"
        );
    }
    let prepared = agent.run("/usr/bin/python3 $PROGRAMS/wire.py switched")?;
    assert_eq!(prepared.text.trim(), "on");
    assert_eq!(scene.pending()?, [""; 0]);
    // Why is told inside, too.
    let log = scene.daemon.agent(["log"]).run()?.success()?.stdout;
    assert!(log.contains("sql refused"), "{log}");
    Ok(())
}

fn while_all_writes_pass_a_transaction_may_read_first(scene: &ClientScene) -> Tested {
    let mut agent = scene.agent()?;
    let of = |texts: &[&str]| {
        let options: Vec<_> = texts.iter().map(|text| format!("-c \"{text}\"")).collect();
        psql(&format!("-v ON_ERROR_STOP=1 -At {}", options.join(" ")))
    };
    let update = "update people set name = 'w' where id = 1";
    let transaction = of(&["begin", "select 1", update, "commit"]);
    agent.run(&transaction)?.refused();
    let pending = scene.pending()?;
    let id = pending[0]["id"].text()?;
    let approve = scene
        .daemon
        .agent(["approve", id, "--writes", "--for", "5m"]);
    approve.run()?.success()?;
    assert_eq!(
        agent.run(&transaction)?.ok(),
        "BEGIN\n1\nUPDATE 1\nCOMMIT\n"
    );
    // What begins no transaction is still held to reading.
    let sneaky = agent.run(&query("select * from sneaky"))?;
    assert!(sneaky.text.contains("read-only transaction"), "{sneaky:?}");
    // So is all of it, once that is over.
    let close = scene.daemon.agent(["close", "--all"]);
    close.run()?.success()?;
    let sneaky = agent.run(&of(&["begin", "select * from sneaky", "commit"]))?;
    assert!(sneaky.text.contains("read-only transaction"), "{sneaky:?}");
    agent.run(&transaction)?.refused();
    Ok(())
}

fn a_yes_may_be_for_all_statements_like_it_and_no_parameter_is_in_the_trail(
    scene: &ClientScene,
) -> Tested {
    let mut agent = scene.agent()?;
    let update = |secret: &str, id: u32| {
        query(&format!(
            "update people set name = '{secret}' where id = {id}"
        ))
    };
    agent.run(&update("correct horse", 1))?.refused();
    let asked = &scene.pending()?[0];
    let path = asked["http"]["path"].text()?;
    assert!(path.starts_with("update people set name = $1"), "{path}");
    let id = asked["id"].text()?;
    scene.answer(&["approve", id, "--path", path, "--for", "5m"])?;
    for id in 1..4 {
        agent.run(&update("battery staple", id))?.ok();
    }
    agent.run(&query("update people set name = 'x'"))?.refused();
    agent
        .run(&query("create role eve password 'tell-nobody'"))?
        .refused();
    let trail = std::fs::read_to_string(scene.daemon.audit())?;
    assert!(trail.contains("update people set name = $1"), "{trail}");
    for secret in [
        "correct horse",
        "battery staple",
        "tell-nobody",
        super::database::PASSWORD,
    ] {
        assert!(!trail.contains(secret), "{secret} is in {trail}");
    }
    Ok(())
}

fn what_began_under_a_hole_for_everything_is_judged_by_what_is_open_at_its_end(
    scene: &ClientScene,
) -> Tested {
    let mut agent = scene.agent()?;
    let rows = || -> Tested<_> {
        scene
            .unguarded()?
            .run(&query("select count(*) from people"))
    };
    for (number, hole, said) in [("70", "1m", ""), ("71", "10s", "25006")] {
        agent.begin(&format!(
            "/usr/bin/python3 $PROGRAMS/wire.py head_first {number}"
        ))?;
        let waits = |name: &str| -> Tested {
            let at = scene.home().join(format!("{name}{number}"));
            eventually("it waits", || at.exists())?;
            Ok(())
        };
        let goes_on = |name: &str| scene.write(&format!("{name}{number}.go"), b"");
        waits("head")?;
        scene.answer(&["open", "192.0.2.10:5432", "--for", hole])?;
        goes_on("head")?;
        waits("body")?;
        if !said.is_empty() {
            eventually("the hole ends", || Ok(holes(scene)? == 0))?;
        }
        goes_on("body")?;
        assert_eq!(agent.end()?.text.trim(), said);
        scene.daemon.root(["close", "--all"]).run()?;
    }
    assert_eq!(rows()?.text, "99\n");
    Ok(())
}

fn holes(scene: &ClientScene) -> Tested<usize> {
    let list = scene.daemon.root(["holes", "--json"]).run()?.stdout;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    Ok(list.list()?.len())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        a_write_waits_for_a_person_and_happens_after_a_yes,
        a_client_that_waits_goes_on_after_a_yes_and_after_a_no,
        a_transaction_that_has_read_is_done_again_after_a_yes,
        what_its_client_has_withdrawn_is_gone,
        rows_are_those_that_a_change_reads_or_are_not_told,
        a_session_that_would_write_by_itself_is_held_to_reading,
        while_all_writes_pass_a_transaction_may_read_first,
        a_yes_may_be_for_all_statements_like_it_and_no_parameter_is_in_the_trail,
        what_began_under_a_hole_for_everything_is_judged_by_what_is_open_at_its_end,
    ])
}
