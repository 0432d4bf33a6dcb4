//! PostgreSQL: what reads passes, and a person is asked about the rest.

mod beside;
mod database;
mod elsewhere;
mod extensions;
mod functions;
mod fuzz;
mod incidents;
mod large;
mod meant;
mod migrations;
mod odd;
mod pooled;
mod programs;
mod reads;
mod replicas;
mod writes;

use guard_lab::Tested;
use std::time::Duration;

pub(crate) use database::{Database, RULE, each_in_a_new_shop, identity, keep, query, renew};

use crate::clients::agent::Done;
use crate::clients::scene::ClientScene;

impl Done {
    /// That the guard stopped it, in a way that tells an agent what to do.
    fn refused(&self) {
        assert_ne!(self.code, 0, "{self:?}");
        assert!(self.text.contains("stopped by guard"), "{self:?}");
        assert!(self.text.contains("HINT:"), "{self:?}");
    }
}

/// Long enough for nothing to be seen of what must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// Everything in the tables, sequences and the catalogue, as the server's own owner sees it.
fn everything(scene: &ClientScene) -> Tested<String> {
    let rows = query(
        "select 'people', count(*), sum(id), md5(string_agg(id || name, ',' order by id)) from people \
         union all select 'orders', count(*), sum(id), md5(string_agg(id || ':' || total, ',' order by id)) from orders \
         union all select 'numbers', last_value, is_called::int, '' from numbers \
         union all select 'catalogue', count(*), sum(oid::bigint), '' from pg_class \
         union all select 'columns', count(*), sum(attnum), '' from pg_attribute \
         union all select 'functions', count(*), sum(oid::bigint), '' from pg_proc \
         union all select 'roles', count(*), sum(oid::bigint), '' from pg_roles",
    );
    Ok(scene.unguarded()?.run(&rows)?.ok())
}
