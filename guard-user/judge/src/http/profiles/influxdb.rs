//! `InfluxDB` 1: statements of `InfluxQL` in `q`. To GET it says that those which change something are deprecated there, and does
//! them: `GET /query?q=DROP MEASUREMENT m`.
//! <https://docs.influxdata.com/influxdb/v1/tools/api/>

use super::{
    super::{headers::shown, query::pairs},
    Opinion, View,
};
use guard_policy::Profile;

const PROFILE: Profile = Profile::Influxdb;
const KIND: &str = "InfluxQL that is not known to read";
const FORM: &[&str] = &["application/x-www-form-urlencoded"];

/// What statements begin with that read: `SELECT` does without an `INTO`.
const READS: &[&str] = &["select", "show", "explain"];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let is_query = view
        .words()
        .last()
        .is_some_and(|last| last.eq_ignore_ascii_case("query"));
    let judged = match is_query {
        true if view.is_safe() => in_query(view),
        true if view.is_post() && view.segments() == ["query"] && view.has_media_type(FORM) => {
            posted(view)
        }
        _ => return Opinion::None,
    };
    judged.unwrap_or_else(|opinion| opinion)
}

fn in_query(view: &View<'_>) -> Result<Opinion, Opinion> {
    match view.facts.query.values("q").next() {
        None => Ok(Opinion::None),
        Some(_) => of(view.facts.query.one("q").ok_or_else(|| doubt(TWICE))?),
    }
}

const TWICE: &str = "`q` is there twice, or has more than one reading";

/// In the body, or in the query of the URL.
fn posted(view: &View<'_>) -> Result<Opinion, Opinion> {
    let body = view.body(PROFILE, KIND)?;
    let fields = pairs(body);
    let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("q");
    let mut given = fields
        .iter()
        .filter(named)
        .map(|(_, statement)| statement.as_str());
    let (in_body, more) = (given.next(), given.next().is_some());
    match (in_body, view.facts.query.values("q").next()) {
        (Some(statement), None) if !more && !body.contains(&b';') => of(statement),
        (None, Some(_)) => of(view.facts.query.one("q").ok_or_else(|| doubt(TWICE))?),
        _ => Err(doubt(TWICE)),
    }
}

/// Statements are parted by `;`. One within quotes parts here as well, as does an `INTO` anywhere stop: a person is asked rather.
fn of(statements: &str) -> Result<Opinion, Opinion> {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect()
    };
    let mut parts = statements
        .split(';')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .peekable();
    if parts.peek().is_none() {
        return Err(doubt("there is no statement"));
    }
    for part in parts {
        let all = words(part);
        // A comment, say, begins with no letter.
        let begins = part.starts_with(|c: char| c.is_ascii_alphabetic());
        let reads = all
            .first()
            .is_some_and(|first| READS.contains(&first.as_str()));
        if !begins || !reads || all.iter().any(|word| is_into(word)) {
            let what = all[..all.len().min(2)].join(" ").to_ascii_uppercase();
            return Err(Opinion::write(
                PROFILE,
                format!("InfluxQL {}", shown(&what)),
            ));
        }
    }
    Ok(Opinion::read(PROFILE, "its statements"))
}

/// A number ends behind its fraction, and a word may begin right there: `SELECT v*1.0INTO n`.
fn is_into(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit()) == "into"
}

fn doubt(why: &str) -> Opinion {
    Opinion::doubt(PROFILE, KIND, why)
}
