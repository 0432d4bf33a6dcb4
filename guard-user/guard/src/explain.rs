//! `guard explain-error` and `guard doctor --explain`: what the pages of the reference say of errors and rows.

use guard_proto::Failure;

use super::error::{CliError, Exit};
use super::reference::errors::{self, MessageHelp};
use super::reference::rows::{self, Explained};
use super::render::page::{Page, STRONG};
use super::render::{Output, command_line, doctor::broken};

/// `guard explain-error`: one of them, or all.
pub(crate) fn error(code: Option<&str>, output: Output) -> Result<Exit, CliError> {
    let Some(code) = code else {
        let all: Vec<_> = errors::all().collect();
        output.print(&all, |all, _| messages(all))?;
        return Ok(Exit::DONE);
    };
    let found = errors::find(code).ok_or_else(|| Failure {
        what: format!("cannot explain the error {code}"),
        why: "none has that code".to_owned(),
        fix: "list them, with their messages:\nguard explain-error".to_owned(),
    })?;
    output.print(&found, |found, _| message(found))?;
    Ok(Exit::DONE)
}

/// `guard doctor --explain`: one of them, or all where it has no name.
pub(crate) fn row(name: &str, output: Output) -> Result<Exit, CliError> {
    if name.is_empty() {
        let all: Vec<_> = rows::all().collect();
        output.print(&all, |_, _| checks())?;
        return Ok(Exit::DONE);
    }
    let found = rows::find(name).ok_or_else(|| Failure {
        what: format!(
            "cannot explain the row {}",
            command_line(&[name.to_owned()])
        ),
        why: "guard doctor has none of that name".to_owned(),
        fix: "list them:\nguard doctor --explain".to_owned(),
    })?;
    output.print(&found, |found, _| check(found))?;
    Ok(Exit::DONE)
}

fn messages(all: &[MessageHelp]) -> Page {
    let mut page = Page::default();
    let rows = all
        .iter()
        .map(|one| [one.code.to_owned(), one.message.to_owned()]);
    page.table(["CODE", "MESSAGE"], rows);
    page
}

fn message(one: &MessageHelp) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, one.code).end();
    page.field("message", one.message);
    page.paragraph("more", one.text);
    page
}

/// Where what is said of a row begins.
const SAYS: usize = 36;

/// Each row by its whole name: those that doctor prints one of for each helper are here as often.
fn checks() -> Page {
    let mut page = Page::default();
    for group in &rows::GROUPS {
        page.styled(STRONG, group.about).end();
        for row in group.rows {
            let mut says = broken(row.says, 80 - SAYS).into_iter();
            for name in rows::names(row) {
                let line = format!("  {name:<0$}{1}", SAYS - 2, says.next().unwrap_or_default());
                page.line(line.trim_end());
            }
            for more in says {
                page.line(format_args!("{:SAYS$}{more}", ""));
            }
        }
    }
    page
}

fn check(one: &Explained) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, one.check).end();
    page.paragraph("about", &one.text);
    page.paragraph(
        "not ok",
        if one.required {
            "traffic can escape: `guard doctor` exits with 1"
        } else {
            "what guard claims holds without it"
        },
    );
    page.paragraph("fix", one.fix);
    page.field("here", "guard doctor --all");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_explained() {
        let page = message(&errors::find("no-guardd").unwrap());
        insta::assert_snapshot!(page.plain(), @r"
        no-guardd
            message  cannot reach guardd at …
            more     Live sessions are still guarded. Start guardd, or name another
                     socket with `--socket`.
        ");
    }

    #[test]
    fn a_row_is_explained() {
        let page = check(&rows::find("cgroup.procs").unwrap());
        insta::assert_snapshot!(page.plain(), @r"
        cgroup.procs
            about    done by a session to what is outside: leaving the cgroup.
            not ok   traffic can escape: `guard doctor` exits with 1
            fix      let root own the guard's cgroup and all above it: sudo chown -R
                     root: the directory that the row names
            here     guard doctor --all
        ");
    }

    #[test]
    fn lists_have_all() {
        let all: Vec<_> = errors::all().collect();
        assert_eq!(messages(&all).plain().lines().count(), all.len() + 1);
        let all: Vec<_> = rows::all().collect();
        let page = checks().plain();
        for row in all {
            let is_its = |line: &&str| {
                let line = line.trim_start();
                line.starts_with(row.check)
            };
            assert!(page.lines().any(|line| is_its(&line)), "{row:?}");
        }
        assert!(
            page.lines().all(|line| line.chars().count() <= 80),
            "{page}"
        );
        for helper in ["docker", "ssh-agent"] {
            let whole = format!("  a helper outside: {helper}");
            assert!(page.lines().any(|line| line.starts_with(&whole)), "{page}");
        }
    }

    #[test]
    fn what_is_unknown_is_told_what_to_type() {
        let output = Output::new(false);
        for (failed, fix) in [
            (error(Some("nonsense"), output), "guard explain-error"),
            (row("nonsense", output), "guard doctor --explain"),
        ] {
            let failed = failed.unwrap_err();
            assert_eq!(failed.exit(), Exit::FAILED);
            assert!(failed.failure().unwrap().fix.ends_with(fix));
        }
    }
}
