//! What a person sees of a statement beside its text: how many rows it would change, by the server's plan, and that it may
//! begin a migration.

use std::{io, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::wire::TargetTerms, client::PostgresClient, judge::SqlWrite, lock::Lock, unit::Unit,
};

/// How long a plan may take: another client may hold the table.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The note on definitions: a migration waits for the answer to each before it sends the next.
const MIGRATION: &str = "if it begins a migration: a yes with --writes --for 5m is for all of that";
/// The commands that change rows. For others a plan says nothing, or there is none.
const CHANGES: [&str; 4] = ["DELETE", "INSERT", "MERGE", "UPDATE"];

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// A statement for a person, with the number of rows if the server can tell it without doing anything: for one statement
    /// without parameters, outside of a transaction, which an error would end.
    pub(super) async fn described(
        &mut self,
        terms: &TargetTerms,
        unit: &Unit,
        write: &SqlWrite,
    ) -> io::Result<SqlWrite> {
        let mut write = write.clone();
        if write.is_definition {
            write.warnings.push(MIGRATION.to_owned());
        }
        if let Some(rows) = self.rows(terms, unit, &write).await? {
            let some = if rows == 1 { "row" } else { "rows" };
            let told = format!("about {rows} {some}, as the server plans it");
            write.warnings.insert(0, told);
        }
        Ok(write)
    }

    async fn rows(
        &mut self,
        terms: &TargetTerms,
        unit: &Unit,
        write: &SqlWrite,
    ) -> io::Result<Option<u64>> {
        // Planning may call functions: known ones, and those behind views, which must fail if they write.
        let is_free = self.lock == Lock::On && {
            let ledger = self.shared.ledger.borrow();
            ledger.is_idle() && ledger.status == b'I' && !ledger.skips()
        };
        // A part of a batch has parameters, and a transaction that has begun.
        let is_batch = self.is_open || !self.statements.is_empty() || !self.portals.is_empty();
        let is_alone = !is_batch && unit.is_whole();
        let is_plain = unit.statements == 1 && unit.controls.is_empty();
        let is_change = is_plain && CHANGES.contains(&write.command);
        let (true, Ok(text)) = (
            is_free && is_alone && is_change,
            std::str::from_utf8(&unit.text),
        ) else {
            return Ok(None);
        };
        let explain = format!("EXPLAIN (FORMAT JSON) {text}");
        if !self.judged(terms, &Bytes::from(explain.clone())).reads() {
            return Ok(None);
        }
        let told = self.asked(&[explain]).await?;
        Ok(match tokio::time::timeout(TIMEOUT, told).await {
            Ok(Ok(Ok(rows))) => planned(&rows),
            _ => None,
        })
    }
}

/// The rows that the change gets from its subplan; none if it is one of several changes.
fn planned(rows: &[Bytes]) -> Option<u64> {
    let plan: Value = serde_json::from_slice(&rows.concat()).ok()?;
    if changes(&plan[0]["Plan"]) > 1 {
        return None;
    }
    let below = plan[0]["Plan"]["Plans"].as_array()?.iter();
    let number = |plan: &Value| plan["Plan Rows"].as_u64();
    Some(below.filter_map(number).fold(0, u64::saturating_add))
}

/// How many changes a plan has.
fn changes(plan: &Value) -> usize {
    let below = plan["Plans"].as_array().into_iter().flatten();
    let own = usize::from(plan["Node Type"] == "ModifyTable");
    own + below.map(changes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_change_are_those_below_it() {
        let plan = br#"[{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": [{"Plan Rows": 43000}]}}]"#;
        assert_eq!(planned(&[Bytes::from_static(plan)]), Some(43_000));
        let two = br#"[{"Plan": {"Node Type": "ModifyTable", "Plans": [{"Node Type": "ModifyTable"}, {"Plan Rows": 1}]}}]"#;
        assert_eq!(planned(&[Bytes::from_static(two)]), None);
        assert_eq!(planned(&[]), None);
        assert_eq!(planned(&[Bytes::from_static(b"[{}]")]), None);
    }
}
