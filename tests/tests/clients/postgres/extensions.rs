//! What a rule names of extensions and applications: functions by the extension, and settings.

use guard_lab::Tested;
use std::collections::BTreeSet;

use super::database::{Database, psql, query};
use crate::clients::scene::ClientScene;

const LISTS: &str = include_str!("../../../../guard-user/policy/src/contrib.rs");
const CORE: &str = include_str!("../../../../guard-user/judge/src/sql/functions.txt");

const EXTENSIONS: [&str; 6] = [
    "citext",
    "hstore",
    "intarray",
    "ltree",
    "pgcrypto",
    "uuid-ossp",
];

/// The functions of an extension that anybody may call, and that change nothing. Of these two they may give something else each
/// time.
fn functions(extension: &str) -> String {
    let harmless = match extension {
        "pgcrypto" | "uuid-ossp" => "true",
        _ => "bool_and(provolatile <> 'v')",
    };
    format!(
        "select proname from pg_proc p join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid \
         and d.deptype = 'e' join pg_extension e on d.refobjid = e.oid and d.refclassid = 'pg_extension'::regclass \
         where extname = '{extension}' and prokind = 'f' group by 1 having {harmless} and not bool_or(prorettype in \
         ('internal'::regtype, 'cstring'::regtype, 'trigger'::regtype) or 'internal'::regtype = any (proargtypes) \
         or 'cstring'::regtype = any (proargtypes))"
    )
}

/// What is listed of it here.
fn listed(extension: &str) -> BTreeSet<&str> {
    let list = LISTS.split(&format!("\"@{extension}\",")).nth(1).unwrap();
    let list = list.split(']').next().unwrap();
    list.lines()
        .filter_map(|line| line.split('"').nth(1))
        .collect()
}

fn with_extensions(rule: &str) -> Tested<(ClientScene, Database)> {
    let scene = ClientScene::new(&format!("profile = \"postgres\"\n{rule}"))?;
    let database = Database::start(&scene)?;
    for extension in EXTENSIONS {
        let made = query(&format!("create extension \\\"{extension}\\\""));
        scene
            .unguarded()?
            .run(&made.replace("-U app", "-U postgres"))?
            .ok();
    }
    Ok((scene, database))
}

#[test]
fn the_lists_are_what_the_server_says() -> Tested {
    let (scene, _database) = with_extensions("")?;
    let core: BTreeSet<_> = CORE
        .lines()
        .map(|line| line.split(" #").next().unwrap())
        .collect();
    for extension in EXTENSIONS {
        scene.write("all", functions(extension).as_bytes())?;
        let all = scene.unguarded()?.run(&psql("-At -f ~/all"))?.ok();
        let all: BTreeSet<_> = all.lines().filter(|name| !core.contains(name)).collect();
        let listed = listed(extension);
        // Another release may have more, and none of these less.
        let gone: Vec<_> = listed.difference(&all).collect();
        assert!(gone.is_empty(), "{extension}: {gone:?}");
    }
    Ok(())
}

const READS: &[&str] = &[
    "select skeys('a=>1'::hstore), ('a=>1'::hstore) -> 'a'",
    "select encode(digest('a', 'md5'), 'hex'), length(gen_salt('bf'))",
    "select nlevel('a.b'::ltree), public.subpath('a.b.c'::ltree, 1)",
    "select sort(array[3, 1]), 'A'::citext = 'a'",
    "select length(uuid_generate_v4()::text)",
];

#[test]
fn functions_of_extensions_pass_by_its_name() -> Tested {
    let lists = EXTENSIONS.map(|name| format!("\"@{name}\"")).join(", ");
    let (scene, _database) = with_extensions(&format!("postgres_functions = [{lists}]\n"))?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for text in READS {
        assert_eq!(
            agent.run(&query(text))?.ok(),
            without.run(&query(text))?.ok()
        );
    }
    assert_eq!(scene.pending()?, [""; 0]);
    agent.run(&query("select total()"))?.refused();
    Ok(())
}

#[test]
fn functions_of_extensions_are_asked_about_where_no_rule_names_them() -> Tested {
    let (scene, _database) = with_extensions("")?;
    let mut agent = scene.agent()?;
    for text in &READS[..4] {
        agent.run(&query(text))?.refused();
    }
    Ok(())
}

#[test]
fn settings_that_a_rule_names_may_be_set() -> Tested {
    let rule = "profile = \"postgres\"\npostgres_settings = [\"myapp.user_id\", \"request.*\"]\n";
    let scene = ClientScene::new(rule)?;
    let _database = Database::start(&scene)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for text in [
        "set myapp.user_id = 7; show myapp.user_id",
        "begin; set local request.role = 'x'; select current_setting('request.role'); commit",
        "select set_config('myapp.user_id', name, false) from people where id = 1",
    ] {
        assert_eq!(
            agent.run(&query(text))?.ok(),
            without.run(&query(text))?.ok()
        );
    }
    assert_eq!(scene.pending()?, [""; 0]);
    for text in [
        "set other.user_id = 7",
        "set role clerk",
        "set session authorization postgres",
        "select set_config('transaction_read_only', 'off', true)",
        "select set_config('client_encoding', name, true) from people",
    ] {
        without.run(&query(text))?;
        agent.run(&query(text))?.refused();
    }
    // Who is asked is told that the agent may have done so.
    agent
        .run(&query("delete from orders where id = 3"))?
        .refused();
    let asked = scene.pending()?;
    let delete = asked.iter().find(|one| one["http"]["method"] == "DELETE");
    let warnings = delete.unwrap()["http"]["warnings"].to_string();
    assert!(
        warnings.contains("the agent may have set myapp.user_id"),
        "{warnings}"
    );
    Ok(())
}
