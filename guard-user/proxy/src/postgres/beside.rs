//! The other statements of a batch with a statement that a person is asked about: a yes lets all of them act, in a transaction
//! that may write.

use std::{collections::HashMap, io, rc::Rc};

use bytes::Bytes;
use guard_proto::HttpRequest;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::wire::TargetTerms,
    client::PostgresClient,
    frame::KeptMessage,
    ledger::{Bound, Parameters},
    parts::{Part, ShownText},
    sum::sum,
    unit::Unit,
};
/// Bytes of them that a person is shown, and below of each statement.
const MAX_SHOWN: usize = 768;
const MAX_STATEMENT: usize = 256;

/// The meaning of names before a batch.
#[derive(Default)]
pub(super) struct NamesBefore {
    statements: HashMap<Bytes, Option<Rc<Unit>>>,
    portals: HashMap<Bytes, Option<Bound>>,
}

/// The other statements of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Their texts, and their parameters.
    shown: String,
    /// Those about which no person is asked, and which may do more than their text shows.
    unasked: usize,
    /// Whether some is not shown.
    is_cut: bool,
    /// SHA-256 of each; none if one has none.
    sums: Option<Vec<Bytes>>,
}

/// One executed statement of a batch.
#[derive(Clone)]
struct Executed {
    unit: Rc<Unit>,
    /// All of it if this batch has prepared it, else the part that is kept.
    text: Bytes,
    is_whole: bool,
    parameters: Parameters,
    /// Of text, types and parameters; none if one of them is unknown.
    sum: Option<Bytes>,
}

impl Beside {
    /// No other statement.
    pub(super) fn nothing() -> Self {
        Self {
            sums: Some(Vec::new()),
            ..Self::default()
        }
    }

    fn of<'e>(others: impl Iterator<Item = &'e Executed>) -> Self {
        let mut beside = Self::nothing();
        let mut more = 0;
        for other in others {
            match (&mut beside.sums, &other.sum) {
                (Some(sums), Some(sum)) => sums.push(sum.clone()),
                (sums, _) => *sums = None,
            }
            beside.unasked += usize::from(!other.is_told_by_its_text());
            let shown = other.shown();
            beside.is_cut |= !shown.is_whole;
            if more > 0 || beside.shown.len() + shown.text.len() > MAX_SHOWN {
                more += 1;
                continue;
            }
            let between = if beside.shown.is_empty() { "" } else { "; " };
            beside.shown.push_str(between);
            beside.shown.push_str(&shown.text);
        }
        if more > 0 {
            beside.is_cut = true;
            beside.shown.push_str(&format!("; and {more} more"));
        }
        beside
    }

    /// The text to show after the statement's own, of at most `room` bytes.
    pub(super) fn shown(&self, room: usize) -> ShownText {
        let mut text = match &*self.shown {
            "" => String::new(),
            shown => format!(" -- its batch executes as well: {shown}"),
        };
        let has_room = text.len() <= room;
        if !has_room {
            text.truncate(text.floor_char_boundary(room.saturating_sub("…".len())));
            text.push('…');
        }
        ShownText {
            text,
            is_whole: has_room && !self.is_cut,
        }
    }

    /// The warnings, by whether all is shown.
    pub(super) fn warnings(&self, is_whole: bool) -> Vec<String> {
        let some = match self.unasked {
            1 => "1 more statement".to_owned(),
            many => format!("{many} more statements"),
        };
        let unasked = format!("{some} in its batch: what those read by may change something, too");
        let cut = HttpRequest::CUT_BATCH.to_owned();
        let warnings = [(self.unasked > 0, unasked), (!is_whole, cut)];
        let told = warnings.into_iter().filter(|(is_so, _)| *is_so);
        told.map(|(_, warning)| warning).collect()
    }

    /// Whether a yes to similar statements covers it: no other statement may do more than its text shows.
    pub(super) fn is_plain(&self) -> bool {
        self.unasked == 0
    }

    /// Its digest, if it can have one. Empty without other statements.
    pub(super) fn sum(&self) -> Option<Bytes> {
        match self.sums.as_deref()? {
            [] => Some(Bytes::new()),
            sums => Some(sum(sums)),
        }
    }
}

impl Executed {
    /// Whether a person is asked about it, or sees all that it can do: it begins or ends a transaction, or sets something.
    fn is_told_by_its_text(&self) -> bool {
        let unit = &self.unit;
        !unit.reads() || unit.only_controls() || unit.only_sets()
    }

    /// The text to show.
    fn shown(&self) -> ShownText {
        let text = String::from_utf8_lossy(&self.text);
        let cut = &text[..text.floor_char_boundary(MAX_STATEMENT)];
        let is_whole = self.is_whole && cut.len() == text.len();
        let more = if is_whole { "" } else { "…" };
        let with = match &*self.parameters.shown {
            "" => String::new(),
            parameters => format!(" ({parameters})"),
        };
        ShownText {
            text: format!("{cut}{more}{with}"),
            is_whole: is_whole && !self.parameters.is_cut,
        }
    }

    /// The meaning of a name since an earlier batch.
    fn earlier(unit: Rc<Unit>) -> Self {
        let sum = if unit.sum.is_empty() {
            unit.is_whole().then(|| sum([&unit.text]))
        } else {
            Some(unit.sum.clone())
        };
        Self {
            text: unit.text.clone(),
            is_whole: unit.is_whole(),
            unit,
            parameters: Parameters::default(),
            sum,
        }
    }

    fn bound_with(self, parameters: Parameters, values: &Bytes) -> Self {
        Self {
            parameters,
            sum: self.sum.map(|text| sum([&text, values])),
            ..self
        }
    }
}

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// The meaning of names before a batch, if that executes several statements.
    pub(super) fn before(&self, batch: &[KeptMessage]) -> NamesBefore {
        let executes = batch.iter().filter(|one| one.head.tag == b'E');
        match executes.count() {
            0 | 1 => NamesBefore::default(),
            _ => NamesBefore {
                statements: self.statements.clone(),
                portals: self.portals.clone(),
            },
        }
    }

    /// The executed statements of a batch, but for the message at one index.
    ///
    /// # Errors
    ///
    /// The violations of the protocol.
    pub(super) fn beside(
        &mut self,
        terms: &TargetTerms,
        before: &NamesBefore,
        batch: &[KeptMessage],
        at: usize,
    ) -> io::Result<Beside> {
        let (mut prepared, mut bound) = (HashMap::new(), HashMap::new());
        let mut executed = Vec::new();
        for (index, KeptMessage { head, bytes }) in batch.iter().enumerate() {
            // A message that is too long is refused, with all of the batch.
            if bytes.is_empty() || !matches!(head.tag, b'P' | b'B' | b'E') {
                continue;
            }
            match Part::of(head.tag, bytes)? {
                Part::Parse { name, text, types } => {
                    let one = Executed {
                        unit: self.judged(terms, &text),
                        sum: Some(sum([&text, &types])),
                        parameters: Parameters::default(),
                        is_whole: true,
                        text,
                    };
                    prepared.insert(name, one);
                }
                Part::Bind {
                    portal,
                    statement,
                    parameters,
                    values,
                    ..
                } => {
                    let known = prepared.get(&statement).cloned();
                    let one = known.unwrap_or_else(|| self.prepared_before(before, &statement));
                    bound.insert(portal, one.bound_with(parameters, &values));
                }
                Part::Execute { portal } if index != at => {
                    let known = bound.get(&portal).cloned();
                    executed.push(known.unwrap_or_else(|| self.bound_before(before, &portal)));
                }
                _ => {}
            }
        }
        Ok(Beside::of(executed.iter()))
    }

    fn prepared_before(&self, before: &NamesBefore, name: &Bytes) -> Executed {
        Executed::earlier(self.prepared_among(&before.statements, name))
    }

    fn bound_before(&self, before: &NamesBefore, name: &Bytes) -> Executed {
        let bound = self.bound_among(&before.portals, name);
        let values = bound.values;
        let one = Executed::earlier(bound.unit);
        // Parameters of a reading statement are not kept.
        let sum = one.sum.clone().filter(|_| !values.is_empty());
        Executed { sum, ..one }.bound_with(bound.parameters, &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executed(text: &'static str, parameters: &str) -> Executed {
        let text = Bytes::from_static(text.as_bytes());
        let unit = Unit::of(&text, &[], super::super::judge::Release::default());
        let one = Executed {
            sum: Some(sum([&text])),
            parameters: Parameters::default(),
            is_whole: true,
            text,
            unit,
        };
        let values = Bytes::copy_from_slice(parameters.as_bytes());
        let parameters = Parameters {
            shown: parameters.into(),
            is_cut: false,
        };
        one.bound_with(parameters, &values)
    }

    #[test]
    fn all_that_a_batch_executes_is_shown() {
        let all = [
            executed("begin", ""),
            executed("select * from sneaky", ""),
            executed("select * from v where id = $1", "$1 = '7'"),
            executed("commit", ""),
        ];
        let beside = Beside::of(all.iter());
        assert_eq!(
            beside.shown(1000).text,
            " -- its batch executes as well: begin; select * from sneaky; \
             select * from v where id = $1 ($1 = '7'); commit"
        );
        assert_eq!(
            beside.warnings(true),
            ["2 more statements in its batch: what those read by may change something, too"]
        );
        assert!(!beside.is_plain());
        let nothing = Beside::nothing();
        let shown = nothing.shown(0);
        assert!(shown.text.is_empty() && shown.is_whole, "{shown:?}");
        assert_eq!(nothing.warnings(true), [""; 0]);
        assert!(nothing.is_plain() && nothing.sum() == Some(Bytes::new()));
    }

    #[test]
    fn what_is_asked_about_itself_or_says_all_that_it_does_takes_nothing_from_a_pattern() {
        for text in [
            "begin",
            "commit",
            "rollback",
            "set statement_timeout = 7",
            "insert into t values (1)",
        ] {
            assert!(Beside::of([executed(text, "")].iter()).is_plain(), "{text}");
        }
        for text in [
            "select 1",
            "begin; select * from sneaky",
            "set statement_timeout = 7; select * from sneaky",
            "select set_config('jit', 'off', false) from sneaky",
            "execute a",
            "fetch c",
            "explain analyze select * from sneaky",
            "copy (select * from sneaky) to stdout",
            "declare c cursor with hold for select * from sneaky",
        ] {
            assert!(
                !Beside::of([executed(text, "")].iter()).is_plain(),
                "{text}"
            );
        }
    }

    #[test]
    fn another_batch_is_another_one() {
        let sum = |text, parameters| Beside::of([executed(text, parameters)].iter()).sum();
        let one = sum("select * from v where id = $1", "$1 = '7'");
        assert!(one.is_some());
        assert_eq!(one, sum("select * from v where id = $1", "$1 = '7'"));
        assert_ne!(one, sum("select * from v where id = $1", "$1 = '8'"));
        assert_ne!(one, sum("select * from w where id = $1", "$1 = '7'"));
        assert_ne!(one, Some(Bytes::new()));
        // Of a reading statement that was prepared earlier, only the beginning is kept.
        let long = Bytes::from(format!("select * from v -- {}", "x".repeat(2000)));
        let long = Executed::earlier(Unit::of(
            &long,
            &[],
            super::super::judge::Release::default(),
        ));
        let beside = Beside::of([long].iter());
        assert_eq!(beside.sum(), None);
        assert!(beside.is_cut && beside.shown.ends_with('…'));
    }

    #[test]
    fn there_is_room_for_some_of_many() {
        let many: Vec<_> = (0..50)
            .map(|_| executed("select * from sneaky", ""))
            .collect();
        let beside = Beside::of(many.iter());
        let ShownText { text, is_whole } = beside.shown(2000);
        assert!(text.len() < MAX_SHOWN + 64 && text.ends_with(" more") && !is_whole);
        let told = beside.warnings(is_whole);
        assert_eq!((told.len(), told[1].as_str()), (2, HttpRequest::CUT_BATCH));
        let ShownText { text, is_whole } = beside.shown(100);
        assert!(text.len() <= 100 && text.ends_with('…') && !is_whole);
    }
}
