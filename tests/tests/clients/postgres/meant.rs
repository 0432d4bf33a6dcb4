//! A yes is for what a person has seen, and for nothing else that the same text may mean.

use guard_lab::{Json as _, Tested};
use serde_json::Value;

use super::{each_in_a_new_shop, everything, query};
use crate::clients::agent::Agent;
use crate::clients::scene::ClientScene;
use crate::together::cases;

/// A table of the same name elsewhere, and one that depends on how dates are read.
const ELSEWHERE: &str = "create schema archive; create table archive.people as select * from people; \
    create table days (day date); insert into days values ('2026-01-02'), ('2026-02-01')";

struct Shop<'s> {
    scene: &'s ClientScene,
    agent: Agent<'s>,
}

impl<'s> Shop<'s> {
    fn new(scene: &'s ClientScene) -> Tested<Self> {
        scene.unguarded()?.run(&query(ELSEWHERE))?.ok();
        let agent = scene.agent()?;
        Ok(Self { scene, agent })
    }

    /// What somebody sees who is not guarded.
    fn sees(&self, text: &str) -> Tested<String> {
        Ok(self.scene.unguarded()?.run(&query(text))?.ok())
    }

    fn wire(&mut self, what: &str) -> Tested<String> {
        let done = self
            .agent
            .run(&format!("/usr/bin/python3 $PROGRAMS/wire.py {what}"))?;
        Ok(done.text.trim().to_owned())
    }

    /// The one request that waits.
    fn asked(&self) -> Tested<Value> {
        let mut pending = self.scene.pending()?;
        assert_eq!(pending.len(), 1, "{pending:?}");
        Ok(pending.remove(0))
    }

    /// Says yes to that, and to as much as these options say.
    fn approve(&self, options: &[&str]) -> Tested {
        let asked = self.asked()?;
        let yes = ["approve", asked["id"].text()?];
        self.scene.answer(&[&yes, options].concat())
    }

    fn deny(&self) -> Tested {
        let asked = self.asked()?;
        self.scene.answer(&["deny", asked["id"].text()?])?;
        Ok(())
    }
}

/// Sent by psql with these settings from the beginning.
fn set(options: &str, text: &str) -> String {
    format!("PGOPTIONS='{options}' {}", query(text))
}

fn a_yes_is_for_the_tables_that_its_names_meant(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let delete = "delete from people where id = 9";
    let elsewhere = set("-c search_path=archive", delete);
    shop.agent.run(&elsewhere)?.refused();
    let asked = shop.asked()?;
    let warnings = asked["http"]["warnings"].to_string();
    assert!(warnings.contains("search_path = archive"), "{warnings}");
    assert_eq!(asked["http"]["host"], "app@shop?search_path=archive");
    shop.approve(&[])?;
    shop.agent.run(&query(delete))?.refused();
    shop.agent.run(&elsewhere)?.ok();
    assert_eq!(
        shop.sees("select count(*) from people where id = 9")?,
        "1\n"
    );
    assert_eq!(
        shop.sees("select count(*) from archive.people where id = 9")?,
        "0\n"
    );

    // One for statements like it is for the same tables, too.
    shop.approve(&["--path", "delete from people where id = $1", "--for", "5m"])?;
    shop.agent
        .run(&query("delete from people where id = 60"))?
        .ok();
    let other = "delete from people where id = 61";
    shop.agent
        .run(&set("-c search_path=archive", other))?
        .refused();
    shop.deny()?;
    assert_eq!(shop.wire("bound_earlier")?, "25006");
    assert_eq!(scene.pending()?, [""; 0]);
    assert_eq!(shop.wire("set_in_its_batch")?, "25006");
    let unknown = shop.asked()?["http"]["host"].to_string();
    assert!(unknown.contains("search_path=…"), "{unknown}");
    assert_eq!(shop.sees("select count(*) from archive.people")?, "99\n");
    Ok(())
}

fn a_yes_is_for_the_role_that_it_would_have_been_done_by(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let delete = |id: u32| query(&format!("delete from people where id = {id}"));
    shop.sees("grant delete, select on people to clerk")?;
    shop.agent.run(&delete(70))?.refused();
    shop.approve(&["--path", "delete from people where id = $1", "--for", "5m"])?;
    shop.sees("alter role app set role = clerk")?;
    shop.agent.run(&delete(70))?.refused();
    let asked = shop.asked()?;
    assert_eq!(asked["http"]["host"], "app@shop?role=clerk");
    let warnings = asked["http"]["warnings"].to_string();
    assert!(warnings.contains("role = clerk"), "{warnings}");
    shop.approve(&[])?;
    shop.sees("set role none; alter role app reset role")?;
    shop.agent.run(&delete(70))?.ok();
    assert_eq!(
        shop.sees("select count(*) from people where id = 70")?,
        "0\n"
    );
    Ok(())
}

fn a_yes_is_for_the_dates_that_its_constants_meant(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let delete = "delete from days where day = '01/02/2026'";
    shop.agent.run(&query(delete))?.refused();
    shop.approve(&[])?;
    shop.agent.run(&set("-c datestyle=DMY", delete))?.refused();
    let warnings = shop.asked()?["http"]["warnings"].to_string();
    assert!(warnings.contains("datestyle = ISO, DMY"), "{warnings}");
    shop.agent.run(&query(delete))?.ok();
    assert_eq!(shop.sees("select day from days")?, "2026-02-01\n");
    Ok(())
}

fn a_star_of_a_statement_stands_for_itself_in_a_yes(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let insert = |what: &str| query(&format!("insert into archive.people select {what}"));
    shop.agent
        .run(&insert("* from people where id = 1"))?
        .refused();
    let shown = shop.asked()?["http"]["path"].text()?.to_owned();
    shop.approve(&["--path", &shown, "--for", "5m"])?;
    shop.agent.run(&insert("* from people where id = 2"))?.ok();
    let other = insert("id, total::text from orders union all select * from people where id = 3");
    shop.agent.run(&other)?.refused();
    Ok(())
}

fn what_is_executed_is_shown(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    assert_eq!(shop.wire("table_as_execute")?, "25006");
    let text = shop.asked()?["http"]["body_preview"].to_string();
    assert!(text.contains("delete from orders"), "{text}");
    Ok(())
}

fn the_row_of_a_cursor_is_nobodys_to_know_again(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    assert_eq!(shop.wire("current_of asc")?, "1 25006");
    let asked = shop.asked()?;
    assert!(asked["http"]["warnings"].to_string().contains("CURRENT OF"));
    let approve = scene.daemon.agent(["approve", asked["id"].text()?]);
    let refused = approve.run()?;
    assert!(
        !refused.status.success() && refused.stderr.contains("--writes"),
        "{refused:?}"
    );
    Ok(())
}

fn what_drivers_send_in_several_batches_is_done_as_by_a_server(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let before = everything(scene)?;
    assert_eq!(shop.wire("unnamed")?, "25006");
    assert_eq!(everything(scene)?, before);
    shop.approve(&[])?;
    assert_eq!(shop.wire("unnamed")?, "");
    assert_eq!(
        shop.sees("select id from people where name = 'unnamed'")?,
        "9\n"
    );

    shop.wire("past_an_error")?;
    shop.approve(&["--writes", "--for", "5m"])?;
    assert_eq!(shop.wire("past_an_error")?, "22P02 0");
    Ok(())
}

fn a_yes_to_what_executes_is_for_all_of_it(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    assert_eq!(shop.wire("long_execute 70")?, "25006");
    let text = shop.asked()?["http"]["body_preview"].to_string();
    assert!(text.contains("x', 70) -- executes: delete"), "{text}");
    shop.approve(&[])?;
    assert_eq!(shop.wire("long_execute 71")?, "25006");
    shop.deny()?;
    assert_eq!(shop.wire("long_execute 70")?, "");
    assert_eq!(shop.sees("select count(*) from people")?, "99\n");
    Ok(())
}

fn constants_mean_what_they_meant_when_they_were_read(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    assert_eq!(shop.wire("dates MDY")?, "25006");
    shop.approve(&[])?;
    assert_eq!(shop.wire("dates DMY")?, "25006");
    let warnings = shop.asked()?["http"]["warnings"].to_string();
    assert!(
        warnings.contains("by which settings its names and values are read"),
        "{warnings}"
    );
    shop.deny()?;
    // It is the same to a person, who has just said no.
    assert_eq!(shop.wire("dates_read_anew")?, "25006");
    assert_eq!(shop.wire("dates MDY")?, "");
    assert_eq!(shop.sees("select day from days")?, "2026-02-01\n");
    Ok(())
}

fn what_is_set_in_front_of_a_change_is_part_of_what_nobody_can_tell(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let text = |set: &str, id: u32| query(&format!("{set}; delete from people where id = {id}"));
    shop.agent
        .run(&text("set search_path = archive", 1))?
        .refused();
    let host = shop.asked()?["http"]["host"].to_string();
    assert!(host.contains("search_path=…"), "{host}");
    shop.deny()?;
    // How long it waits is no part of what it means.
    shop.agent
        .run(&text("set lock_timeout = 1000", 70))?
        .refused();
    shop.approve(&[])?;
    shop.agent.run(&text("set lock_timeout = 1000", 70))?.ok();
    assert_eq!(shop.sees("select count(*) from people")?, "99\n");
    Ok(())
}

fn what_sql_has_prepared_is_executed_after_a_yes_to_each(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    // What was not prepared nobody knows.
    let answer = || -> Tested {
        for one in scene.pending()? {
            let is_known = one["http"]["method"] == "DELETE";
            let verb = if is_known { "approve" } else { "deny" };
            scene.answer(&[verb, one["id"].text()?])?;
        }
        Ok(())
    };
    for (at, said) in ["25006 25006", "25006", "25006 25006", ""]
        .iter()
        .enumerate()
    {
        assert_eq!(shop.wire("prepared_by_sql 70")?, *said, "{at}");
        answer()?;
    }
    assert_eq!(shop.sees("select count(*) from people")?, "99\n");
    Ok(())
}

fn where_something_is_set_by_a_name_nobody_can_tell_where_names_lead(
    scene: &ClientScene,
) -> Tested {
    let mut shop = Shop::new(scene)?;
    for what in [
        "fetches_a_setting 9",
        "executes_a_setting 10",
        "renamed_to_a_setting 11",
    ] {
        assert_eq!(shop.wire(what)?, "25006");
        let host = shop.asked()?["http"]["host"].to_string();
        assert!(host.contains("search_path=…"), "{what}: {host}");
        shop.deny()?;
    }
    Ok(())
}

fn what_looks_like_a_space_is_none(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let insert = "insert into archive.people select * from people where active";
    shop.agent.run(&query(insert))?.refused();
    let shown = shop.asked()?["http"]["path"].text()?.to_owned();
    shop.approve(&["--path", &shown, "--for", "5m"])?;
    // The same for all that is shown, had guard looked at it as people do.
    assert_eq!(shop.wire("no_space")?, "25006");
    let list = scene.daemon.root(["pending"]).run()?.stdout;
    assert!(list.contains(r"where\u{a0}active"), "{list}");
    let failed = shop.agent.run(&query(insert))?;
    assert!(failed.text.contains("active"), "{failed:?}");
    Ok(())
}

fn where_a_transaction_may_write_nothing_is_planned_unasked(scene: &ClientScene) -> Tested {
    let mut shop = Shop::new(scene)?;
    let function = "create function stably() returns int language plpgsql stable as 'begin return sneak(); end'";
    scene.unguarded()?.run(&query(function))?.ok();
    let sneaked = "select count(*) from people where id = 0";
    for (what, number) in [
        ("bound_where_it_may_write", "9"),
        ("explained_where_it_may_write", "10"),
        ("bound_twice_where_it_may_write", "11"),
        ("begun_in_the_batch_that_binds", "12"),
    ] {
        let call = format!("{what} {number}");
        // Where it may not write, the server holds it.
        assert!(shop.wire(&call)?.starts_with("25006"), "{what}");
        let asked = scene.pending()?;
        for one in &asked[1..] {
            scene.answer(&["deny", one["id"].text()?])?;
        }
        scene.answer(&["approve", asked[0]["id"].text()?])?;
        assert!(shop.wire(&call)?.ends_with("25006"), "{what}");
        assert_eq!(shop.sees(sneaked)?, "0\n", "{what}");
        for one in scene.pending()? {
            scene.answer(&["deny", one["id"].text()?])?;
        }
    }
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        a_yes_is_for_the_tables_that_its_names_meant,
        a_yes_is_for_the_role_that_it_would_have_been_done_by,
        a_yes_is_for_the_dates_that_its_constants_meant,
        a_star_of_a_statement_stands_for_itself_in_a_yes,
        what_is_executed_is_shown,
        the_row_of_a_cursor_is_nobodys_to_know_again,
        what_drivers_send_in_several_batches_is_done_as_by_a_server,
        a_yes_to_what_executes_is_for_all_of_it,
        constants_mean_what_they_meant_when_they_were_read,
        what_is_set_in_front_of_a_change_is_part_of_what_nobody_can_tell,
        what_sql_has_prepared_is_executed_after_a_yes_to_each,
        where_something_is_set_by_a_name_nobody_can_tell_where_names_lead,
        what_looks_like_a_space_is_none,
        where_a_transaction_may_write_nothing_is_planned_unasked,
    ])
}
