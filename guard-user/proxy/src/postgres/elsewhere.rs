//! Whether a database reads from other servers: the lock does not hold those to reading, and no text shows which view reads
//! there.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{super::wire::Entry, client::PostgresClient};

/// Wrappers by which there are foreign tables, and extensions that connect to other servers.
const QUESTION: &str = "(SELECT 'foreign tables of ' OPERATOR(pg_catalog.||) w.fdwname::pg_catalog.text \
     FROM pg_catalog.pg_foreign_table t \
     JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) t.ftserver \
     JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw \
     GROUP BY 1 ORDER BY 1 LIMIT 8) \
     UNION ALL SELECT 'the extension dblink' FROM pg_catalog.pg_extension \
     WHERE extname OPERATOR(pg_catalog.=) 'dblink'";
/// Bytes of a name in the warning.
const MAX_NAME: usize = 64;

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Asks a server once for each session, user and database whether it reads from other servers, and warns of it.
    pub(super) async fn look_elsewhere(&mut self) -> io::Result<()> {
        let can_tell = {
            let ledger = self.shared.ledger.borrow();
            // Some replication connections know no SELECT.
            ledger.status == b'I' && !ledger.replicates
        };
        let terms = self.terms().await?;
        if !can_tell || terms.is_open() {
            return Ok(());
        }
        let at = self.login.at();
        if !self.across.is_first_look(self.context.target, &at) {
            return Ok(());
        }
        let told = self.asked(&[QUESTION.into()]).await?;
        // A server that fails here is older than that, or hides it.
        let found = self.told(told).await?.unwrap_or_default();
        if !found.is_empty() {
            self.context.log(Entry {
                outcome: "warned".to_owned(),
                sql: true,
                host: Some(at),
                rule: terms.rules().first().and_then(|rules| rules.name.clone()),
                ..Entry::refused(&warning(&found))
            });
        }
        Ok(())
    }
}

/// The text of the audit entry.
fn warning(found: &[Bytes]) -> String {
    let name = |bytes: &Bytes| {
        let text = String::from_utf8_lossy(bytes);
        text[..text.floor_char_boundary(MAX_NAME)].to_owned()
    };
    let found: Vec<_> = found.iter().map(name).collect();
    format!(
        "this database has {}: what reads may write elsewhere by them, which nothing here stops",
        found.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_named() {
        let found = [
            Bytes::from("foreign tables of postgres_fdw"),
            Bytes::from("the extension dblink"),
        ];
        assert_eq!(
            warning(&found),
            "this database has foreign tables of postgres_fdw and the extension dblink: \
             what reads may write elsewhere by them, which nothing here stops"
        );
    }

    #[test]
    fn the_question_reads() {
        let judged =
            super::super::judge::judge(QUESTION.as_bytes(), super::super::judge::Extra::default())
                .unwrap();
        assert!(
            judged
                .statements
                .iter()
                .all(|one| one.effect == super::super::judge::Effect::Reads)
        );
    }
}
