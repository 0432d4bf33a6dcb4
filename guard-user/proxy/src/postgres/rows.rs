//! What a person sees of a statement beside its text, by what the server says: how many rows it would change by its plan, and
//! whether a table is there that it would create.

use std::io;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::wire::TargetTerms,
    client::{About, PostgresClient},
    judge::SqlWrite,
    refusal::OwnQuery,
    unit::Unit,
};

/// The commands that change rows. For others a plan says nothing, or there is none.
const CHANGES: [&str; 4] = ["DELETE", "INSERT", "MERGE", "UPDATE"];

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// A statement for a person, with what the server can tell of it without doing anything.
    pub(super) async fn described(
        &mut self,
        terms: &TargetTerms,
        unit: &Unit,
        write: &SqlWrite,
        about: About<'_>,
    ) -> io::Result<SqlWrite> {
        let mut write = write.clone();
        let is_one = unit.is_whole() && unit.statements == 1 && unit.controls.is_empty();
        // What comes before it in its batch would be done in a transaction that may write by then.
        if !is_one || !about.is_first {
            return Ok(write);
        }
        if let Some(table) = &write.unless_there
            && self.is_there(table).await?
        {
            let name = table.1.clone();
            return Ok(write.doing(format!("creates nothing: the table {name} is there")));
        }
        if let Some(rows) = self.rows(terms, unit, &write, about.bind).await? {
            let some = if rows == 1 { "row" } else { "rows" };
            let told = format!("about {rows} {some}, as the server plans it");
            write.warnings.insert(0, told);
        }
        Ok(write)
    }

    /// Whether a table is there that is created if it is not.
    async fn is_there(&mut self, (schema, name): &(Option<String>, String)) -> io::Result<bool> {
        let schema = match schema {
            Some(schema) => literal(schema),
            None => "pg_catalog.current_schema()".to_owned(),
        };
        let name = literal(name);
        let question =
            format!("{RELATIONS} WHERE n.nspname {EQUALS} {schema} AND c.relname {EQUALS} {name}");
        let rows = self.peeked((&*question).into()).await?;
        Ok(rows.is_some_and(|rows| !rows.is_empty()))
    }

    async fn rows(
        &mut self,
        terms: &TargetTerms,
        unit: &Unit,
        write: &SqlWrite,
        bind: &Bytes,
    ) -> io::Result<Option<u64>> {
        let is_change = CHANGES.contains(&write.command);
        let (true, Ok(text)) = (is_change, std::str::from_utf8(&unit.text)) else {
            return Ok(None);
        };
        let text = format!("EXPLAIN (VERBOSE, FORMAT JSON) {text}");
        // Planning may call functions: known ones, and those behind views, which must fail if they write.
        if !self.judged(terms, &Bytes::from(text.clone())).reads() {
            return Ok(None);
        }
        let question = OwnQuery {
            text,
            types: unit.types.clone(),
            values: bind.clone(),
        };
        let Some(PlannedRows { rows, tables }) = self.peeked(question).await?.and_then(planned)
        else {
            return Ok(None);
        };
        if tables.is_empty() {
            return Ok(Some(rows));
        }
        // Of a table that was never analysed a plan is a guess.
        let question = format!(
            "{RELATIONS} WHERE c.reltuples OPERATOR(pg_catalog.<=) '0'::pg_catalog.float4 AND ({})",
            tables.join(" OR ")
        );
        let unknown = self.peeked((&*question).into()).await?;
        Ok(unknown.filter(Vec::is_empty).map(|_| rows))
    }
}

const RELATIONS: &str = "SELECT '1' FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";
const EQUALS: &str = "OPERATOR(pg_catalog.=)";

/// A text as a constant of type name.
fn literal(text: &str) -> String {
    format!("'{}'::pg_catalog.name", text.replace('\'', "''"))
}

/// What a plan says of one change.
#[derive(Debug, PartialEq, Eq)]
struct PlannedRows {
    rows: u64,
    /// A condition for each table that it reads.
    tables: Vec<String>,
}

/// The rows that the only change of a plan gets from what it reads; none if it is one of several.
fn planned(rows: Vec<Bytes>) -> Option<PlannedRows> {
    let plan: Value = serde_json::from_slice(&rows.concat()).ok()?;
    let mut changes = Vec::new();
    collect(
        &plan[0]["Plan"],
        &|plan| plan["Node Type"] == "ModifyTable",
        &mut changes,
    );
    let [change] = changes[..] else {
        return None;
    };
    let below = change["Plans"].as_array()?.iter();
    // What it is joined with is a part of its plan; other parts are queries by themselves.
    let read: Vec<_> = below
        .filter(|plan| {
            matches!(
                plan["Parent Relationship"].as_str(),
                Some("Outer" | "Member")
            )
        })
        .collect();
    let number = |plan: &&Value| plan["Plan Rows"].as_u64();
    let rows = read.iter().map(number).sum::<Option<u64>>()?;
    let mut scans = Vec::new();
    for plan in read {
        collect(plan, &|plan| plan["Relation Name"].is_string(), &mut scans);
    }
    let tables = scans.iter().map(|scan| {
        let [schema, name] =
            ["Schema", "Relation Name"].map(|part| scan[part].as_str().map(literal));
        Some(format!(
            "n.nspname {EQUALS} {} AND c.relname {EQUALS} {}",
            schema?, name?
        ))
    });
    let tables = tables.collect::<Option<_>>()?;
    Some(PlannedRows { rows, tables })
}

/// The nodes of a plan that are of a kind.
fn collect<'p>(plan: &'p Value, is_one: &impl Fn(&Value) -> bool, found: &mut Vec<&'p Value>) {
    found.extend(is_one(plan).then_some(plan));
    for below in plan["Plans"].as_array().into_iter().flatten() {
        collect(below, is_one, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_change_are_those_that_it_reads() {
        let rows = |plan: &str| {
            planned(vec![Bytes::from(format!("[{{\"Plan\": {plan}}}]"))])
                .map(|plan| (plan.rows, plan.tables.len()))
        };
        let scan = r#"{"Parent Relationship": "Outer", "Plan Rows": 43000, "Schema": "public", "Relation Name": "t"}"#;
        let change = format!(
            r#"{{"Node Type": "ModifyTable", "Plan Rows": 0, "Relation Name": "t", "Plans": [{scan}, {{"Parent Relationship": "InitPlan", "Plan Rows": 7}}]}}"#
        );
        assert_eq!(rows(&change), Some((43_000, 1)));
        // Within a query it is the same.
        let within =
            format!(r#"{{"Node Type": "Result", "Plan Rows": 1, "Plans": [{change}, {scan}]}}"#);
        assert_eq!(rows(&within), Some((43_000, 1)));
        let values = r#"{"Node Type": "ModifyTable", "Plans": [{"Parent Relationship": "Outer", "Plan Rows": 1}]}"#;
        assert_eq!(rows(values), Some((1, 0)));
        assert_eq!(rows(&format!(r#"{{"Plans": [{change}, {change}]}}"#)), None);
        assert_eq!(rows("{}"), None);
        assert_eq!(planned(Vec::new()), None);
        assert_eq!(literal("a'b"), "'a''b'::pg_catalog.name");
    }
}
