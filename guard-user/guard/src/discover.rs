//! `guard discover`: what looks like production and is in reach, and what a policy does with it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use guard_discover::{Bounds, Discovery, Finding, Inputs, Label, Routes, Seen};
use guard_policy::{Destination, Prefix, Target};
use guard_proto::Failure;
use rustix::process::geteuid;
use serde::Serialize;

use self::dismissals::{Dismissals, Dismissed};
use self::items::{Discovered, InReach};
use super::args::DiscoverArgs;
use super::around::Fleet;
use super::error::{CliError, Exit};
use super::inside;
use super::person::Person;
use super::policy_file::{PolicyFile, or_default};
use super::render::Output;
use super::render::page::{Page, STRONG};

pub(crate) mod before;
mod dismissals;
pub(crate) mod drift;
mod items;
pub(crate) mod judge;
mod page;
mod write;

/// What was found, and what the person has said of it before.
struct Looked {
    found: Discovery,
    dismissals: Dismissals,
}

/// Looks, and says what the policy does with what was found.
pub(crate) fn discover(
    args: &DiscoverArgs,
    socket: &Path,
    output: Output,
) -> Result<Exit, CliError> {
    is_persons(socket)?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let person = Person::own();
    let Looked { found, dismissals } = looked(&dir, &person, socket)?;
    if let Some(name) = &args.write {
        let wanted = write::Wanted {
            name,
            base: args.policy.as_deref(),
            here: args.here,
            mode: match (args.print, args.yes) {
                (true, _) => write::Mode::Print,
                (false, true) => write::Mode::Narrow,
                (false, false) => write::Mode::Ask,
            },
        };
        let written = wanted.write(&dir, found, &dismissals, output)?;
        output.print(&written, write::ended)?;
        return Ok(Exit::DONE);
    }
    let file = PolicyFile::named(or_default(args.policy.as_deref()))?;
    let parsed = file.parse(output)?;
    let discovered = Discovered::of(found, &parsed, &dismissals, args.all)
        .map_err(|diagnostics| file.invalid(&diagnostics, output))?;
    let discovered = within(discovered, output)?;
    if let Some(number) = args.why {
        let one = numbered(&discovered, number, "explain")?;
        let is_around = discovered.around.is_some();
        output.print(one, |one, _| page::why(one, is_around))?;
        return Ok(Exit::DONE);
    }
    if let Some(number) = args.dismiss {
        let one = numbered(&discovered, number, "dismiss")?;
        return dismiss(one, &dir, (&person, socket, args.withdraw), output);
    }
    output.print(&discovered, |discovered, _| page::page(discovered))?;
    Ok(Exit::answer(!args.check || discovered.is_clean()))
}

/// A step of `guard setup`: shows what is in reach from here. How many places have no rule that a policy could have.
///
/// # Errors
///
/// Those of [`discover`].
pub(crate) fn list(policy: Option<&str>, socket: &Path, output: Output) -> Result<usize, CliError> {
    let Looked { found, dismissals } = looked(Path::new("."), &Person::own(), socket)?;
    let file = PolicyFile::named(or_default(policy))?;
    let parsed = file.parse(output)?;
    let discovered = Discovered::of(found, &parsed, &dismissals, false)
        .map_err(|diagnostics| file.invalid(&diagnostics, output))?;
    let discovered = within(discovered, output)?;
    output.print(&discovered, |discovered, _| page::list(discovered))?;
    let missing = discovered.items.iter().filter(|one| one.is_missing());
    Ok(missing.count())
}

/// A step of `guard setup`: shows the policy that would be written, and writes it after a yes. Its name where it is there then.
///
/// # Errors
///
/// Those of [`discover`].
pub(crate) fn offer(
    name: &str,
    base: Option<&str>,
    print: bool,
    (socket, output): (&Path, Output),
) -> Result<Option<String>, CliError> {
    let Looked { found, dismissals } = looked(Path::new("."), &Person::own(), socket)?;
    let wanted = write::Wanted {
        name,
        base,
        here: false,
        mode: match print {
            true => write::Mode::Print,
            false => write::Mode::Offer,
        },
    };
    let written = wanted.write(Path::new("."), found, &dismissals, output)?;
    output.print(&written, write::ended_step)?;
    Ok(written.is_there(wanted.mode).then(|| name.to_owned()))
}

/// With what the fleet has around each session; a person is told where that is not known.
fn within(discovered: Discovered, output: Output) -> Result<Discovered, CliError> {
    let Some(base) = Fleet::known().base(output)? else {
        return Ok(discovered);
    };
    let within = discovered.within(&base);
    within.map_err(|_| {
        CliError::Local(Failure {
            what: "it is not known what a session may reach".to_owned(),
            why: format!("the fleet's policy {} does not fit here", base.name),
            fix: "guard status".to_owned(),
        })
    })
}

fn looked(dir: &Path, person: &Person, socket: &Path) -> Result<Looked, CliError> {
    Ok(Looked {
        found: look(dir, person, Bounds::default()).map_err(|error| unseen(dir, &error))?,
        dismissals: Dismissals::known(socket, None, person)?,
    })
}

fn unseen(dir: &Path, error: &std::io::Error) -> Failure {
    Failure {
        what: format!("cannot look through {}", dir.display()),
        why: error.to_string(),
        fix: "name a directory that you may open:\nguard discover DIR".into(),
    }
}

fn numbered<'d>(all: &'d Discovered, number: u32, verb: &str) -> Result<&'d InReach, Failure> {
    all.numbered(number).ok_or_else(|| Failure {
        what: format!("cannot {verb} {number}"),
        why: format!("{} places are listed", all.items.len()),
        fix: "list them:\nguard discover".into(),
    })
}

/// Keeps that a place is not what it looks like.
fn dismiss(
    one: &InReach,
    dir: &Path,
    (person, socket, withdraw): (&Person, &Path, bool),
    output: Output,
) -> Result<Exit, CliError> {
    let place = (one.host.as_str(), one.port(), one.label);
    if let Some(dismissed) = Dismissals::keep(socket, place, withdraw)? {
        return said(one, dismissed, "guardd keeps that", output);
    }
    let refuse = |why: String, fix: &str| {
        CliError::Local(Failure {
            what: format!("cannot dismiss {}", one.at()),
            why,
            fix: fix.into(),
        })
    };
    let Some(file) = person.dismissals() else {
        return Err(refuse(
            "your home is not known".into(),
            "set HOME, or XDG_STATE_HOME, to a directory of yours",
        ));
    };
    if withdraw {
        return Err(refuse(
            "no guardd runs that keeps it".into(),
            &format!("delete its lines in {}", file.display()),
        ));
    }
    if write::is_below(&file, dir) {
        return Err(refuse(
            format!(
                "{} lies below the directory where the agent works: it could dismiss places itself",
                file.display()
            ),
            "start it in the project's own directory",
        ));
    }
    let dismissed = Dismissals::add(file.clone(), &one.host, one.port(), one.label)?;
    let kept = format!("in {}, while no guardd runs", file.display());
    said(one, Some(dismissed), &kept, output)
}

fn said(
    one: &InReach,
    dismissed: Option<Dismissed>,
    kept: &str,
    output: Output,
) -> Result<Exit, CliError> {
    let mut after = one.clone();
    after.dismissed = dismissed;
    output.print(&after, |one, _| {
        let mut page = Page::default();
        let label = one.label.as_str();
        match &one.dismissed {
            Some(dismissed) => {
                page.text("Dismissed: ")
                    .styled(STRONG, one.at())
                    .line(format_args!(
                        " is not {label}, says {}; {kept}.",
                        dismissed.by
                    ))
            }
            None => page
                .text("Not dismissed any more: ")
                .styled(STRONG, one.at())
                .line(format_args!(" looks like {label}.")),
        };
        page
    })?;
    Ok(Exit::DONE)
}

/// An agent would get a map to credentials, and root reads what its user may not.
///
/// # Errors
///
/// Where this runs inside of a session, or as root.
pub(crate) fn is_persons(socket: &Path) -> Result<(), Failure> {
    let refuse = |why: &str, fix: &str| {
        Err(Failure {
            what: "cannot look for what is in reach".into(),
            why: why.into(),
            fix: fix.into(),
        })
    };
    if inside::is_inside_of(socket) {
        return refuse(
            "this is inside of a session",
            "ask the person who started it to run it outside:\nguard discover",
        );
    }
    if geteuid().is_root() {
        return refuse(
            "it reads as whoever starts the agent, and never as root",
            "run it as that user:\nsudo -u USER guard discover",
        );
    }
    Ok(())
}

/// Where something says that a destination is, and what it looks like.
#[derive(Debug, Serialize)]
pub(crate) struct FoundAt {
    label: Label,
    #[serde(flatten)]
    seen: Seen,
}

impl FoundAt {
    /// "DATABASE_URL  .env:3 (production)"
    pub(crate) fn words(&self) -> String {
        format!("{} ({})", items::seen(&self.seen), self.label.as_str())
    }
}

/// For `guard explain`: where a destination is found by whoever may look. Nothing in a session, and nothing as root.
pub(crate) fn found(to: &Destination) -> Vec<FoundAt> {
    if inside::is_inside() || geteuid().is_root() {
        return Vec::new();
    }
    let bounds = Bounds {
        time: Some(before::TIME),
        ..Bounds::default()
    };
    let all = look(Path::new("."), &Person::own(), bounds).map(|found| found.findings);
    let places = all.unwrap_or_default().into_iter();
    let places = places.filter(|one| one.label >= Label::Maybe && is_at(one, to));
    let seen = places.flat_map(|one| one.found.into_iter().map(move |seen| (one.label, seen)));
    seen.map(|(label, seen)| FoundAt { label, seen })
        .take(FOUND)
        .collect()
}

/// No more places of one destination are shown.
const FOUND: usize = 8;

fn is_at(one: &Finding, to: &Destination) -> bool {
    let is_host = match &to.target {
        Target::Name(name) => {
            let others = one.others.iter().map(String::as_str);
            [one.host.as_str()]
                .into_iter()
                .chain(others)
                .any(|own| own == name.as_str())
        }
        Target::Prefix(prefix) => {
            let own = one.host.address().into_iter();
            let network = one.host.as_str().parse::<Prefix>();
            network.is_ok_and(|network| network.contains(prefix))
                || own
                    .chain(one.addresses.iter().copied())
                    .any(|address| Prefix::from(address) == *prefix)
        }
        Target::Group(_) | Target::Wildcard(_) => false,
    };
    is_host && (one.port == 0 || to.port.is_none_or(|port| port == one.port))
}

/// Looks as whoever this thread is.
fn look(dir: &Path, person: &Person, bounds: Bounds) -> std::io::Result<Discovery> {
    // What is no text in them makes no other host of one.
    let text = |one: OsString| one.to_string_lossy().into_owned();
    let variables = env::vars_os().map(|(key, value)| (text(key), text(value)));
    guard_discover::discover(&Inputs {
        project: dir,
        home: person.home(),
        hosts: Some(Path::new("/etc/hosts")),
        environment: &variables.collect::<Vec<_>>(),
        routes: Some(&Routes::own()),
        uid: geteuid().as_raw(),
        bounds,
    })
}

#[cfg(test)]
mod platforms;
#[cfg(test)]
mod tests;
