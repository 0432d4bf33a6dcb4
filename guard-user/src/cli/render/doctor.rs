//! What this machine can enforce.

use super::page::{BAD, COMMAND, GOOD, HEAD, Page, STRONG, WARN};
use crate::probe::Family;
use crate::proto::Row;

/// Where the words of a row begin, and how many of them fit into 80 columns.
const DETAIL: usize = 38;
const WIDTH: usize = 80 - DETAIL;
/// Where a fix begins.
const FIX: usize = 11;

/// All of it, family by family: what is not ok with what to do about it.
pub(crate) fn page(rows: &[Row]) -> Page {
    let mut page = Page::default();
    for family in Family::ALL {
        let of_family = rows.iter().filter(|row| row.family == family.as_str());
        let of_family: Vec<_> = of_family.collect();
        if of_family.is_empty() {
            continue;
        }
        page.styled(STRONG, capital(family.as_str())).end();
        for row in of_family {
            one(&mut page, row);
        }
    }
    page.line("");
    verdict(&mut page, rows);
    page
}

fn one(page: &mut Page, row: &Row) {
    let style = match (row.ok, row.required) {
        (true, _) => GOOD,
        (false, true) => BAD,
        (false, false) => WARN,
    };
    let mut details = broken(&row.detail, WIDTH).into_iter();
    let name_fits = row.check.chars().count() < DETAIL - FIX;
    page.text("  ")
        .styled(style, format_args!("{:<8}", row.state));
    page.text(" ");
    if name_fits {
        let width = DETAIL - FIX;
        let first = details.next().unwrap_or_default();
        page.line(
            format_args!("{:<width$}{first}", row.check)
                .to_string()
                .trim_end(),
        );
    } else {
        page.line(&row.check);
    }
    for detail in details {
        page.line(format_args!("{:DETAIL$}{detail}", ""));
    }
    let Some(fix) = &row.fix else { return };
    for (number, line) in broken(fix, 80 - FIX - 5).into_iter().enumerate() {
        let label = if number == 0 { "fix: " } else { "     " };
        page.styled(HEAD, format_args!("{:FIX$}{label}", ""));
        page.styled(COMMAND, line).end();
    }
}

fn verdict(page: &mut Page, rows: &[Row]) {
    let not_ok = |required| {
        let rows = rows
            .iter()
            .filter(|row| !row.ok && row.required == required);
        rows.count()
    };
    let others = match not_ok(false) {
        0 => String::new(),
        1 => ", and 1 other".to_owned(),
        more => format!(", and {more} others"),
    };
    match (not_ok(true), others.as_str()) {
        (0, "") => page.styled(GOOD, "All rows are ok").line("."),
        (0, _) => {
            let others = others.trim_start_matches(", and ");
            page.styled(GOOD, "Every required row is ok")
                .line(format_args!("; {others} not."))
        }
        (1, _) => page
            .styled(BAD, "1 required row is not ok")
            .line(format_args!("{others}.")),
        (open, _) => page
            .styled(BAD, format_args!("{open} required rows are not ok"))
            .line(format_args!("{others}.")),
    };
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Text in lines of that many characters, broken between words where that is possible.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let line = lines.last_mut().map_or(0, |line| line.chars().count());
            let needed = if line == 0 { 0 } else { line + 1 };
            if line > 0 && needed + word.len() > width {
                lines.push(String::new());
                continue;
            }
            let rest = word.split_off(word.len().min(width));
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.extend(word);
            }
            word = rest;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Answer, Check};

    const CONNECT: Check = Check::part(
        Family::Guard,
        "hook connect4",
        "sudo systemctl restart guardd",
    );
    const UNIX: Check = Check::way(
        Family::Helper,
        "unix sockets by path",
        "run agents as a user of their own: sudo guard run --user agent -- CMD",
    );
    const LONG: Check =
        Check::way(Family::Helper, "a helper outside: somebody's", "close it").optional();

    #[test]
    fn rows_stand_in_columns_with_what_to_do() {
        let rows = [
            CONNECT.row(Answer::yes("read back: program 31")),
            UNIX.row(Answer::no("in a session it works; outside it works")),
            LONG.row(Answer::unclear(format!("/{} is\nlong", "x".repeat(50)))),
        ];
        let text = page(&rows).plain();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        insta::assert_snapshot!(text, @r"
        The guard itself
          ok       hook connect4              read back: program 31
        A helper outside
          open     unix sockets by path       in a session it works; outside it works
                   fix: run agents as a user of their own: sudo guard run --user agent
                        -- CMD
          open     a helper outside: somebody's
                                              could not tell:
                                              /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
                                              xxxxxxxxx is long
                   fix: close it

        1 required row is not ok, and 1 other.
        ");
    }
}
