//! When a person looked for production last, and what was there then, for `guard doctor`. Whatever runs as that person may write it:
//! it is shown, with its words made harmless, and nothing goes by it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use guard_discover::{Discovery, Label};
use guard_probe::{Check, Family, ProbeResult};
use guard_proto::Row;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dismissals::{now, read};
use crate::person::Person;
use crate::project::top;
use crate::render::escape::visible;
use crate::render::time::Clock;

/// Its row.
pub(crate) const LOOKED: Check = Check::part(
    Family::Guard,
    "production was looked for",
    "guard discover, in the directory of each project",
)
.optional();

/// So many projects are kept.
const KEPT: usize = 64;
/// So much of a directory is shown.
const SHOWN: usize = 200;

/// Each project's last look, the newest first.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Looks {
    looks: Vec<Look>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    /// The project.
    dir: String,
    at: Timestamp,
    /// How many places looked like production.
    production: usize,
    /// How many may have been.
    maybe: usize,
    /// How much was passed over.
    passed_over: usize,
}

impl Looks {
    /// Keeps that somebody looked. What was in the file and is none of it is gone then.
    pub(super) fn add(file: &Path, dir: &Path, found: &Discovery) -> io::Result<()> {
        let Some(dir) = top(dir) else {
            return Ok(());
        };
        let count = |label| {
            let all = found.findings.iter();
            all.filter(|one| one.label == label).count()
        };
        let look = Look {
            dir: dir.to_string_lossy().into_owned(),
            at: now(),
            production: count(Label::Production),
            maybe: count(Label::Maybe),
            passed_over: found.passed_over.len(),
        };
        let mut all = Self::read(file).unwrap_or_default().unwrap_or_default();
        all.looks.retain(|one| one.dir != look.dir);
        all.looks.insert(0, look);
        all.looks.truncate(KEPT);
        all.write(file)
    }

    /// Those of a file; none where there is no such file.
    fn read(file: &Path) -> io::Result<Option<Self>> {
        let text = read(file)?;
        let all = text.map(|text| serde_json::from_str(&text)).transpose();
        // The parser's words have the file's.
        all.map_err(|_| io::Error::other("what is kept of it is damaged"))
    }

    /// For this user alone; whoever reads it meanwhile reads the one or the other, whole.
    fn write(&self, file: &Path) -> io::Result<()> {
        let dir = file.parent().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(dir)?;
        let mut new = tempfile::Builder::new()
            .prefix(".guard-")
            .tempfile_in(dir)?;
        new.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        new.persist(file).map_err(|failed| failed.error)?;
        Ok(())
    }

    /// That of a project, else the newest.
    fn last(&self, dir: Option<&str>) -> Option<&Look> {
        let of_it = self.looks.iter().find(|one| Some(&*one.dir) == dir);
        of_it.or_else(|| self.looks.first())
    }
}

impl Look {
    /// "3 d 4 h ago in /home/ann/shop: 4 looked like production, 1 may be, 2 passed over"
    fn words(&self, clock: &Clock) -> String {
        format!(
            "{} in {}: {} looked like production, {} may be, {} passed over",
            clock.ago(self.at),
            visible(&self.dir, SHOWN),
            self.production,
            self.maybe,
            self.passed_over
        )
    }
}

/// The row of `guard doctor`.
pub(crate) fn row(person: &Person) -> Row {
    LOOKED.row(match person.looks() {
        Some(file) => said(&file, top(Path::new(".")).as_deref(), &Clock::system()),
        None => ProbeResult::unclear("your home is not known"),
    })
}

fn said(file: &Path, dir: Option<&Path>, clock: &Clock) -> ProbeResult {
    let dir = dir.map(|dir| dir.to_string_lossy());
    match Looks::read(file) {
        Ok(all) => match all.unwrap_or_default().last(dir.as_deref()) {
            Some(look) if look.at > now() => {
                ProbeResult::unclear("what is kept of it is of the future")
            }
            Some(look) => ProbeResult::yes(look.words(clock)),
            None => ProbeResult::no("never, as far as is known"),
        },
        Err(why) => ProbeResult::unclear(why),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::discover::tests::look_at;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn what_was_found_last_is_said_of_this_project_or_of_another() -> Tested {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("state/guard/looked.json");
        let clock = Clock::system();
        assert_eq!(
            said(&file, None, &clock),
            ProbeResult::no("never, as far as is known")
        );
        let production = look_at(&[(".env", "A=redis://:hunter2@cache.example.net\n")])?;
        let nothing = look_at(&[])?;
        let [shop, other] = ["shop", "other"].map(|name| dir.path().join(name));
        for project in [&shop, &other] {
            fs::create_dir(project)?;
        }
        // Each project counts once, as it was last.
        for (project, found) in [(&shop, &nothing), (&shop, &production), (&other, &nothing)] {
            Looks::add(&file, project, found)?;
        }
        let [shop, other] = [top(&shop).ok_or("no top")?, top(&other).ok_or("no top")?];
        for (at, named, counted) in [
            (&*shop, &shop, 1),
            (&*other, &other, 0),
            (dir.path(), &other, 0),
        ] {
            let expected = format!(
                "in {}: {counted} looked like production, 0 may be, 0 passed over",
                named.display()
            );
            let said = said(&file, Some(at), &clock);
            assert!(
                matches!(&said, ProbeResult::Yes(text) if text.ends_with(&expected)),
                "{said:?}"
            );
        }
        let text = fs::read_to_string(&file)?;
        assert!(
            !text.contains("hunter2") && !text.contains("example.net"),
            "{text}"
        );
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(file.parent().ok_or("no directory")?)?.count(),
            1
        );
        Ok(())
    }

    #[test]
    fn what_anybody_may_have_written_is_doubted_or_made_harmless() -> Tested {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("looked.json");
        let clock = Clock::system();
        let one = |dir: &str| {
            format!(
                "{{\"looks\": [{{\"dir\": {dir:?}, \"at\": \"2026-11-25T12:00:00Z\", \"production\": 1, \"maybe\": 0, \"passed_over\": 0}}]}}"
            )
        };
        fs::write(&file, one("/a"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        assert!(said(&file, None, &clock).is_yes());
        // The same that others may write to.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o622))?;
        assert_eq!(
            said(&file, None, &clock),
            ProbeResult::unclear("others may write to it")
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        for damaged in ["", "{", "[]", "{\"looks\": [{\"dir\": \"\u{1b}[2J\"}]}"] {
            fs::write(&file, damaged)?;
            assert_eq!(
                said(&file, None, &clock),
                ProbeResult::unclear("what is kept of it is damaged"),
                "{damaged}"
            );
        }
        fs::write(&file, one("/a").replace("/a", "/a\\u001b[2J\\n ok"))?;
        let shown = said(&file, None, &clock);
        let is_plain = |text: &str| !text.contains(['\u{1b}', '\n']);
        assert!(
            matches!(&shown, ProbeResult::Yes(text) if is_plain(text)),
            "{shown:?}"
        );
        // It is written again with the next look, and no link is written through.
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "theirs")?;
        fs::remove_file(&file)?;
        symlink(&elsewhere, &file)?;
        Looks::add(&file, dir.path(), &look_at(&[])?)?;
        assert_eq!(fs::read_to_string(&elsewhere)?, "theirs");
        assert!(said(&file, None, &clock).is_yes());
        Ok(())
    }
}
