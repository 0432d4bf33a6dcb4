//! What reads is the same with the guard and without.

use super::database::psql;
use super::{Database, each_in_a_new_shop, query};
use crate::clients::scene::ClientScene;
use crate::together::cases;
use guard_lab::Tested;

/// Texts, as an agent would send them with psql.
const READS: &[&str] = &[
    "select count(*) from people",
    "select p.name, sum(o.total) from people p left join lateral (select total from orders where person = p.id) o on true group by 1 order by 1 limit 3",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select * from n",
    "select row_number() over (order by id desc), name from people order by 1 limit 2",
    "table orders limit 2",
    "values (1, 'a'), (2, 'b')",
    "show server_version_num",
    "explain (costs off) select * from people where id = 7",
    "explain (costs off) delete from people",
    "explain (analyze, costs off, timing off, summary off) select count(*) from people where id < 7",
    "copy people to stdout with (format csv, header)",
    "copy (select name from people where id = 3) to stdout",
    "begin; select 1; commit",
    "set statement_timeout = '5s'; select name from people where id = 1",
    "begin; declare c cursor for select id from people order by id; fetch 3 from c; close c; rollback",
    "prepare p(int) as select name from people where id = \\$1; execute p(5)",
    "select /* ; drop table people */ 1 -- delete from people",
    "select \\$tag\\$ delete from people \\$tag\\$",
    "select 1 / 0",
    "select * from missing",
];

/// psql's own commands, each of which sends queries of its own. Not `\dconfig`: that shows the second lock.
const COMMANDS: &[&str] = &[
    "conninfo",
    "d",
    "d people",
    "d+ orders",
    "dA",
    "dAc",
    "da",
    "db",
    "dC",
    "dc",
    "dD",
    "dd",
    "ddp",
    "dE",
    "des",
    "det",
    "deu",
    "dew",
    "df",
    "df+ sneak",
    "dF",
    "dFd",
    "dFp",
    "dFt",
    "dg",
    "di+",
    "dL",
    "dl",
    "dm",
    "dn+",
    "dO",
    "do",
    "dP",
    "dp",
    "drds",
    "ds",
    "dt+",
    "dT",
    "du+",
    "dv+",
    "dx",
    "dX",
    "dy",
    "l",
    "sf total",
    "sv sneaky",
    "z",
];

fn what_reads_is_the_same_with_the_guard(scene: &ClientScene) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for text in READS {
        let line = query(text);
        assert_eq!(agent.run(&line)?, without.run(&line)?, "{text}");
    }
    for command in COMMANDS {
        let line = format!("-c '\\{command}'");
        let line = psql(&line);
        // Another release may lack one.
        assert_eq!(agent.run(&line)?, without.run(&line)?, "{line}");
    }
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

fn pg_dump_works(scene: &ClientScene) -> Tested {
    let dump = psql("")
        .replace("psql -X", "pg_dump")
        .replace("PGPASSWORD", "TZ=UTC PGPASSWORD");
    // Some releases write a key that is new each time.
    let dump = format!("{dump} | grep -v restrict");
    let whole = scene.unguarded()?.run(&dump)?.ok();
    assert!(whole.contains("COPY public.people"), "{whole}");
    assert_eq!(scene.agent()?.run(&dump)?.ok(), whole);
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

/// Many at once, and much of it.
fn long_answers_and_many_statements_pass(scene: &ClientScene) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let long =
        query("copy (select i, repeat('x', 1000) from generate_series(1, 50000) i) to stdout")
            + " | md5sum";
    assert_eq!(agent.run(&long)?.ok(), without.run(&long)?.ok());
    let many = "for i in $(seq 300); do echo \"select $i;\"; done | ".to_owned()
        + &psql("-At")
        + " | md5sum";
    assert_eq!(agent.run(&many)?.ok(), without.run(&many)?.ok());
    Ok(())
}

#[test]
fn functions_that_a_policy_names_read() -> Tested {
    let scene = ClientScene::new(
        "profile = \"postgres\"\npostgres_functions = [\"total\", \"public.sn*\"]\n",
    )?;
    let _database = Database::start(&scene)?;
    let mut agent = scene.agent()?;
    let total = query("select total()");
    assert_eq!(agent.run(&total)?, scene.unguarded()?.run(&total)?);
    // A policy can be wrong about one: the server is held to reading, too.
    let sneak = agent.run(&query("select public.sneak()"))?;
    assert!(sneak.text.contains("read-only transaction"), "{sneak:?}");
    let sneaky = agent.run(&query("select * from sneaky"))?;
    assert!(sneaky.text.contains("read-only transaction"), "{sneaky:?}");
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

/// What a later release reads by, and the arguments that a function of the name takes in an older one.
const LATER: &[(&str, &str, &str, u32)] = &[
    ("any_value", "text", "'a'", 16),
    ("json_array", "text", "'a'", 16),
    ("json_scalar", "text", "'a'", 17),
    ("json_serialize", "text", "'a'", 17),
    ("json_query", "text, text", "'a', 'b'", 17),
];

fn what_the_server_has_not_yet_is_a_function_of_anybodys(scene: &ClientScene) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let release = without.run(&query("show server_version_num"))?.ok();
    let release = release.trim().parse::<u32>()? / 10_000;
    without.run(&query("create table written (by text)"))?.ok();
    let count = query("select count(*) from written");
    for (name, takes, gets, since) in LATER {
        if *since <= release {
            continue;
        }
        let made = format!(
            "create function {name}({takes}) returns text language sql as 'insert into written values (''x'') returning by'"
        );
        without.run(&query(&made))?.ok();
        let call = query(&format!("select {name}({gets})"));
        let before = without.run(&count)?.ok();
        agent.run(&call)?.refused();
        assert_eq!(without.run(&count)?.ok(), before, "{name}");
        without.run(&call)?.ok();
        assert_ne!(without.run(&count)?.ok(), before, "{name}");
    }
    let passes = match release {
        ..17 => "select json_object('{a,1}')",
        17.. => "select json_scalar('a'), any_value(id) from people",
    };
    assert_eq!(
        agent.run(&query(passes))?.ok(),
        without.run(&query(passes))?.ok()
    );
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        what_reads_is_the_same_with_the_guard,
        pg_dump_works,
        long_answers_and_many_statements_pass,
        what_the_server_has_not_yet_is_a_function_of_anybodys,
    ])
}
