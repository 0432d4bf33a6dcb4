//! What this machine can enforce.

use guard_probe::{Family, ONE_LINE, UNCLEAR};
use guard_proto::Row;

use super::page::{BAD, COMMAND, GOOD, HEAD, Page, STRONG, WARN};

/// Where the words of a row begin, and how many of them fit into 80 columns.
const DETAIL: usize = 38;
const WIDTH: usize = 80 - DETAIL;
/// Where a fix begins, among all rows and among problems.
const FIX: usize = 11;
const BELOW: usize = 9;

/// Each row with what was seen.
const ALL: &str = "guard doctor --all";

/// What is wrong, and what could be better, each with what to do about it.
pub(crate) fn page(rows: &[Row]) -> Page {
    let mut page = Page::default();
    let not_ok = NotOk::of(rows);
    not_ok.problems(&mut page);
    page.line(if not_ok.others.is_empty() { "." } else { ":" });
    for row in &not_ok.others {
        other(&mut page, row);
    }
    said_more(&mut page);
    page
}

/// What is wrong, with what to do about it; of what could be better how much it is, and who says more.
pub(crate) fn brief(rows: &[Row]) -> Page {
    let mut page = Page::default();
    let not_ok = NotOk::of(rows);
    not_ok.problems(&mut page);
    if not_ok.others.is_empty() {
        page.line(".")
    } else {
        page.text(": ").styled(COMMAND, "guard doctor").end()
    };
    said_more(&mut page);
    page
}

fn said_more(page: &mut Page) {
    page.text("Each with what was seen: ");
    page.styled(COMMAND, ALL).end();
}

/// Rows that are not ok.
struct NotOk<'r> {
    required: Vec<&'r Row>,
    /// Those that need not be.
    others: Vec<&'r Row>,
    /// How many could not be looked at, for want of a guardd: that is one problem, and not twenty.
    unseen: usize,
}

impl<'r> NotOk<'r> {
    fn of(rows: &'r [Row]) -> Self {
        let all: Vec<&Row> = rows.iter().filter(|row| !row.ok).collect();
        let is_blind = all.iter().any(|row| row.required && row.check == "guardd");
        let (unseen, seen): (Vec<&Row>, Vec<&Row>) = all
            .into_iter()
            .partition(|row| is_blind && row.detail.starts_with(UNCLEAR));
        let (required, others) = seen.into_iter().partition(|row| row.required);
        Self {
            required,
            others,
            unseen: unseen.len(),
        }
    }

    /// The required ones, each with what to do about it, and how much is well: a line that is not ended.
    fn problems(&self, page: &mut Page) {
        for (fix, rows) in by_fix(&self.required) {
            problem(page, &rows, fix);
        }
        let (open, others) = (self.required.len(), self.others.len());
        if self.unseen == 0 {
            verdict(page, open, others);
            return;
        }
        page.styled(BAD, count(open)).text(format_args!(
            "; {} more could not be looked at without a guardd",
            self.unseen
        ));
        if others > 0 {
            page.line(".").text(better(others));
        }
    }
}

/// One line of a row that need not be ok: what to do for it, or where that stands.
fn other(page: &mut Page, row: &Row) {
    let room = ONE_LINE.saturating_sub(row.check.chars().count());
    // One of another version of guardd, or of what could not be looked at, may be long.
    let fix = row.fix.as_deref();
    let fix = fix.filter(|fix| fix.chars().count() <= room);
    page.text("  ").styled(WARN, &row.check).text(": ");
    page.styled(COMMAND, fix.unwrap_or(ALL)).end();
}

/// Rows with the same fix are one problem. In the order of the first of each.
fn by_fix<'r>(rows: &[&'r Row]) -> Vec<(&'r str, Vec<&'r Row>)> {
    let mut problems: Vec<(&str, Vec<&Row>)> = Vec::new();
    for &row in rows {
        let fix = row.fix.as_deref().unwrap_or(&row.detail);
        match problems.iter_mut().find(|(known, _)| *known == fix) {
            Some((_, rows)) => rows.push(row),
            None => problems.push((fix, vec![row])),
        }
    }
    problems
}

fn count(open: usize) -> String {
    match open {
        1 => "1 required row is not ok".to_owned(),
        open => format!("{open} required rows are not ok"),
    }
}

/// A line of it with its fix, which stands below where it is long.
fn problem(page: &mut Page, rows: &[&Row], fix: &str) {
    let state = rows.first().map_or("", |row| &*row.state);
    let names: Vec<_> = rows.iter().map(|row| &*row.check).collect();
    let names = names.join(", ");
    let begun = BELOW + names.chars().count();
    let is_short = begun + "  fix: ".len() + fix.chars().count() <= 80;
    let label = format!("{state:<8} ");
    for (number, line) in broken(&names, 80 - BELOW).into_iter().enumerate() {
        match number {
            0 => page.styled(BAD, &label).text(line),
            _ => page.text(format_args!("{:BELOW$}{line}", "")),
        };
        if !is_short {
            page.end();
        }
    }
    if !is_short {
        fix_below(page, fix, BELOW);
        return;
    }
    page.styled(HEAD, "  fix: ").styled(COMMAND, fix).end();
}

/// What to do, in lines that begin there.
fn fix_below(page: &mut Page, fix: &str, begin: usize) {
    for (number, line) in broken(fix, 80 - begin - 5).into_iter().enumerate() {
        let label = if number == 0 { "fix: " } else { "     " };
        page.styled(HEAD, format_args!("{:begin$}{label}", ""));
        page.styled(COMMAND, line).end();
    }
}

/// All of it, family by family.
pub(crate) fn all(rows: &[Row]) -> Page {
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
    let not_ok = |required: bool| {
        let rows = rows
            .iter()
            .filter(|row| !row.ok && row.required == required);
        rows.count()
    };
    page.line("");
    verdict(&mut page, not_ok(true), not_ok(false));
    page.line(".");
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
    if let Some(fix) = &row.fix {
        fix_below(page, fix, FIX);
    }
}

/// How much is well, in a line that is not ended.
fn verdict(page: &mut Page, open: usize, others: usize) {
    match (open, others) {
        (0, 0) => page.styled(GOOD, "All rows are ok"),
        (0, _) => page.styled(GOOD, "Every required row is ok"),
        (open, _) => page.styled(BAD, count(open)),
    };
    if others > 0 {
        page.text(format_args!("; {}", better(others)));
    }
}

fn better(others: usize) -> String {
    match others {
        1 => "1 other could be better".to_owned(),
        others => format!("{others} others could be better"),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Text in lines of that many characters, broken between words where that is possible.
pub(crate) fn broken(text: &str, width: usize) -> Vec<String> {
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
    use guard_probe::{Check, ProbeResult};

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
            CONNECT.row(ProbeResult::yes("read back: program 31")),
            UNIX.row(ProbeResult::no("in a session it works; outside it works")),
            LONG.row(ProbeResult::unclear(format!(
                "/{} is\nlong",
                "x".repeat(50)
            ))),
        ];
        let text = all(&rows).plain();
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

        1 required row is not ok; 1 other could be better.
        ");
        insta::assert_snapshot!(page(&rows).plain(), @r"
        open     unix sockets by path
                 fix: run agents as a user of their own: sudo guard run --user agent --
                      CMD
        1 required row is not ok; 1 other could be better:
          a helper outside: somebody's: close it
        Each with what was seen: guard doctor --all
        ");
        insta::assert_snapshot!(page(&rows[..1]).plain(), @r"
        All rows are ok.
        Each with what was seen: guard doctor --all
        ");
    }

    #[test]
    fn three_lines_at_most_say_that_all_is_well() {
        let well = [CONNECT.row(ProbeResult::yes("read back: program 31"))];
        assert!(page(&well).plain().lines().count() <= 3);
        let rows = [&well[..], &[LONG.row(ProbeResult::no("it is there"))]].concat();
        insta::assert_snapshot!(brief(&rows).plain(), @r"
        Every required row is ok; 1 other could be better: guard doctor
        Each with what was seen: guard doctor --all
        ");
        assert_eq!(brief(&well).plain(), page(&well).plain());
    }

    #[test]
    fn what_could_be_better_is_a_line_each_with_its_fix() {
        const POLKIT: Check = Check::way(
            Family::Guard,
            "a yes costs a password",
            "[approve] polkit = true in /etc/guard/guardd.toml",
        )
        .optional();
        let rows = [
            CONNECT.row(ProbeResult::yes("read back: program 31")),
            POLKIT.row(ProbeResult::no("polkit is not asked")),
            LONG.unseen("no guardd", &"sudo guard doctor, or another ".repeat(3)),
        ];
        let text = page(&rows).plain();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        insta::assert_snapshot!(text, @r"
        Every required row is ok; 2 others could be better:
          a yes costs a password: [approve] polkit = true in /etc/guard/guardd.toml
          a helper outside: somebody's: guard doctor --all
        Each with what was seen: guard doctor --all
        ");
    }

    #[test]
    fn what_one_step_mends_is_one_problem() {
        const HOOK: Check = Check::part(
            Family::Guard,
            "hook connect6",
            "sudo systemctl restart guardd",
        );
        let rows = [
            CONNECT.row(ProbeResult::no("read back: no program is attached")),
            HOOK.row(ProbeResult::no("read back: no program is attached")),
        ];
        insta::assert_snapshot!(page(&rows).plain(), @r"
        missing  hook connect4, hook connect6  fix: sudo systemctl restart guardd
        2 required rows are not ok.
        Each with what was seen: guard doctor --all
        ");
    }

    #[test]
    fn without_a_guardd_that_is_the_problem() {
        const RUNS: Check = Check::part(Family::Guard, "guardd", "sudo systemctl start guardd");
        let rows = [
            RUNS.row(ProbeResult::no("no guardd listens there")),
            UNIX.row(ProbeResult::unclear("no guardd")),
            CONNECT.row(ProbeResult::unclear("no guardd")),
            LONG.row(ProbeResult::unclear("no guardd")),
        ];
        insta::assert_snapshot!(page(&rows).plain(), @r"
        missing  guardd  fix: sudo systemctl start guardd
        1 required row is not ok; 3 more could not be looked at without a guardd.
        Each with what was seen: guard doctor --all
        ");
        let seen = [&rows[..], &[LONG.row(ProbeResult::no("it is there"))]].concat();
        insta::assert_snapshot!(page(&seen).plain(), @r"
        missing  guardd  fix: sudo systemctl start guardd
        1 required row is not ok; 3 more could not be looked at without a guardd.
        1 other could be better:
          a helper outside: somebody's: close it
        Each with what was seen: guard doctor --all
        ");
    }
}
