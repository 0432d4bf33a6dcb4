//! `guard discover`: what looks like production and is in reach, and what a policy does with it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use guard_discover::{Bounds, Discovery, Finding, Host, Inputs, Label, Routes, Sighting};
use guard_policy::{Destination, Parsed, Prefix, Target};
use guard_proto::Failure;
use rustix::process::geteuid;
use serde::Serialize;

use self::dismissals::{Dismissals, LabelledPlace};
use self::items::{Discovered, InReach};
use self::looks::Looks;
use super::args::{DiscoverArgs, Listed};
use super::around::Fleet;
use super::ask::yes;
use super::client::Client;
use super::error::{CliError, Exit};
use super::inside;
use super::person::Person;
use super::policy_file::{PolicyFile, or_default};
use super::project;
use super::render::Output;
use super::render::escape::visible;
use super::render::page::{Page, STRONG};
use super::render::time::Clock;
use super::sudo;

pub(crate) mod before;
mod dismissals;
pub(crate) mod drift;
mod files;
mod items;
pub(crate) mod judge;
pub(crate) mod looks;
mod page;
pub(crate) mod proxies;
pub(crate) mod suggested;
mod unless;
mod write;

pub(crate) use self::unless::RuleByName;
pub(crate) use self::write::is_name;

/// What was found, and what the person has said of it before.
struct Findings {
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
    is_no_number(args)?;
    let wish = Wish {
        deep: args.deep,
        strict: args.strict,
        is_kept: !args.print,
    };
    let Findings { found, dismissals } = looked(&dir, &person, socket, wish)?;
    if let Some(name) = &args.write {
        let written = wanted(args, name).write(&dir, found, &dismissals, output)?;
        output.print(&written, write::ended)?;
        return Ok(Exit::DONE);
    }
    let judging = PolicyJudge::of(args.policy.as_deref(), &dir, socket, output)?;
    let discovered = judging.judge(found, &dismissals, args.all, output)?;
    if let Some(which) = &args.why {
        let is_around = discovered.around.is_some();
        for place in listed(&discovered, which, "explain")? {
            output.print(place, |one, _| page::why(one, is_around))?;
        }
        return Ok(Exit::DONE);
    }
    let to_keep = Keeping {
        dir: &dir,
        person: &person,
        socket,
        dismissals: &dismissals,
    };
    if let Some(exit) = to_keep.decide(args, &discovered, output)? {
        return Ok(exit);
    }
    let told = output.print(&discovered, |discovered, _| page::page(discovered));
    Exit::answer(!args.check || discovered.is_clean()).once_told(told)
}

/// The policy that is to be written.
fn wanted<'a>(args: &'a DiscoverArgs, name: &'a str) -> write::Wanted<'a> {
    write::Wanted {
        name,
        base: args.policy.as_deref(),
        agreed: None,
        here: args.here,
        mode: match (args.print, args.yes) {
            (true, _) => write::WriteMode::Print,
            (false, true) => write::WriteMode::Narrow,
            (false, false) => write::WriteMode::Ask,
        },
    }
}

/// A step of `guard setup`: shows what is in reach from here. How many places have no rule that a policy could have.
///
/// # Errors
///
/// Those of [`discover`].
pub(crate) fn list(
    policy: Option<&str>,
    print: bool,
    socket: &Path,
    output: Output,
) -> Result<usize, CliError> {
    let wish = Wish {
        is_kept: !print,
        ..Wish::default()
    };
    let Findings { found, dismissals } = looked(Path::new("."), &Person::own(), socket, wish)?;
    let judging = PolicyJudge::of(policy, Path::new("."), socket, output)?;
    let discovered = judging.judge(found, &dismissals, false, output)?;
    output.print(&discovered, |discovered, _| page::list(discovered))?;
    let missing = discovered.items.iter().filter(|one| one.is_missing());
    Ok(missing.count())
}

/// A step of `guard setup`: shows what a policy of the person's that is there lets through more than a new one, and asks
/// whether they want it. What it says.
///
/// # Errors
///
/// That they do not; and that it is none.
pub(crate) fn take_over(
    name: &str,
    file: &Path,
    print: bool,
    output: Output,
) -> Result<String, CliError> {
    let base_name = or_default(None);
    let base = PolicyFile::named(base_name)?;
    let there = PolicyFile::read_kept(file)?;
    let mode = offering(print);
    write::build_on([&base, &there], [base_name, name], mode, output)?;
    Ok(there.text)
}

fn offering(print: bool) -> write::WriteMode {
    if print {
        write::WriteMode::Print
    } else {
        write::WriteMode::Offer
    }
}

/// A policy that `guard setup` would write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfferedPolicy<'p> {
    /// Its name.
    pub(crate) name: &'p str,
    /// The policy that it is written beside.
    pub(crate) base: Option<&'p str>,
    /// What one says that was taken over.
    pub(crate) agreed: Option<&'p str>,
}

/// A step of `guard setup`: shows the policy that would be written, and writes it after a yes. Its name where it is there then.
///
/// # Errors
///
/// Those of [`discover`].
pub(crate) fn offer(
    policy: OfferedPolicy<'_>,
    print: bool,
    socket: &Path,
    output: Output,
) -> Result<Option<String>, CliError> {
    let OfferedPolicy { name, base, agreed } = policy;
    let Findings { found, dismissals } =
        looked(Path::new("."), &Person::own(), socket, Wish::default())?;
    let wanted = write::Wanted {
        name,
        base,
        agreed,
        here: false,
        mode: offering(print),
    };
    let written = wanted.write(Path::new("."), found, &dismissals, output)?;
    output.print(&written, write::ended_step)?;
    Ok(written.is_there(wanted.mode).then(|| name.to_owned()))
}

/// What judges a session that a person starts in a directory: as `guard run` has it, so that both say the same.
struct PolicyJudge {
    file: PolicyFile,
    parsed: Parsed,
    /// The project's policy.
    beside: Option<Parsed>,
}

impl PolicyJudge {
    /// Says that the project's policy judges, too. Without guardd, nobody has agreed to what widens.
    fn of(
        policy: Option<&str>,
        dir: &Path,
        socket: &Path,
        output: Output,
    ) -> Result<Self, CliError> {
        let mut file = PolicyFile::named(or_default(policy))?;
        let alone = || project::narrowing(dir, &file, policy, output);
        let project = match Client::connect(socket) {
            Ok(mut client) => match project::judging(dir, policy, &mut client, output) {
                // One of another version may know no such call.
                Err(error) if !matches!(error, CliError::Local(_)) => alone(),
                judging => judging,
            },
            Err(_) => alone(),
        };
        let project = project::said(project, output)?;
        let (in_place, beside) = project.map_or((None, None), |project| {
            (project.policy, Some(project.parsed))
        });
        if let Some(text) = in_place.and_then(|policy| policy.text) {
            file.text = text;
        }
        let parsed = file.parse(output)?;
        Ok(Self {
            file,
            parsed,
            beside,
        })
    }

    /// What was found, with what becomes of it.
    fn judge(
        &self,
        found: Discovery,
        dismissals: &Dismissals,
        all: bool,
        output: Output,
    ) -> Result<Discovered, CliError> {
        let invalid = |diagnostics: Vec<_>| self.file.invalid(&diagnostics, output);
        let discovered = Discovered::of(found, &self.parsed, dismissals, all).map_err(invalid)?;
        let discovered = match &self.beside {
            Some(beside) => discovered.beside_project(beside).map_err(invalid)?,
            None => discovered,
        };
        within(discovered, output)
    }
}

/// With what the fleet has around each session; warns where that is not known.
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

/// How a person wants it looked for.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    /// Whether what is written for people is read, too.
    deep: bool,
    /// Whether what nothing here needs gets a rule that refuses it.
    strict: bool,
    /// Whether it is kept that somebody looked.
    is_kept: bool,
}

fn looked(dir: &Path, person: &Person, socket: &Path, wish: Wish) -> Result<Findings, CliError> {
    let bounds = Bounds {
        deep: wish.deep,
        ..Bounds::default()
    };
    let mut found = look(dir, person, bounds).map_err(|error| unseen(dir, &error))?;
    if let Some(file) = person.looks().filter(|_| wish.is_kept) {
        // It is said by guard doctor, and nothing goes by it.
        let _ = Looks::add(&file, dir, &found);
    }
    if wish.strict {
        found.be_strict();
    }
    Ok(Findings {
        found,
        dismissals: Dismissals::known(socket, None, person, dir)?,
    })
}

/// A number behind those of `--dismiss` is one of them, and not the directory that the command line takes it for.
fn is_no_number(args: &DiscoverArgs) -> Result<(), Failure> {
    let dir = args.dir.as_deref().filter(|dir| !dir.exists());
    let number = dir.and_then(|dir| dir.to_str()?.parse::<u32>().ok());
    let Some(number) = number.filter(|_| !args.dismiss.is_empty()) else {
        return Ok(());
    };
    let withdraw = if args.withdraw { " --withdraw" } else { "" };
    let numbers = args.dismiss.iter().map(ToString::to_string);
    let numbers: Vec<_> = numbers.chain([number.to_string()]).collect();
    Err(Failure {
        what: "nothing is dismissed or withdrawn".into(),
        why: format!("{number} is taken for a directory, and there is none of that name"),
        fix: format!(
            "put a comma between the numbers:\nguard discover --dismiss {}{withdraw}",
            numbers.join(",")
        ),
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
        why: format!("{} places are listed, and {number} is none of their numbers", all.items.len()),
        fix: format!(
            "list them:\nguard discover\nor of what --all lists, with --all again: guard discover --all {} {number}",
            option(verb)
        ),
    })
}

/// What was typed before the number or the name.
fn option(verb: &str) -> &'static str {
    match verb {
        "explain" => "--why",
        _ => "--dismiss",
    }
}

/// The one with that number, or the places of that name. Only one is explained: what a project holds is not to make a list of it.
fn listed<'d>(
    all: &'d Discovered,
    which: &Listed,
    verb: &str,
) -> Result<Vec<&'d InReach>, Failure> {
    match which {
        Listed::Number(number) => Ok(vec![numbered(all, *number, verb)?]),
        Listed::Place(host, port) => placed(all, host, *port, verb),
    }
}

/// The places of that name; without a port, the only one there.
fn placed<'d>(
    all: &'d Discovered,
    host: &str,
    port: u16,
    verb: &str,
) -> Result<Vec<&'d InReach>, Failure> {
    let known = Host::parse(host);
    let host = known.as_ref().map_or(host, Host::as_str);
    let places = all.items.iter().filter(|one| one.host == host);
    let exactly: Vec<_> = places.clone().filter(|one| one.port() == port).collect();
    let found = if exactly.is_empty() && port == 0 {
        places.collect()
    } else {
        exactly
    };
    let refuse = |why: String, fix: String| {
        Err(Failure {
            what: format!("cannot {verb} {}", items::at(host, port)),
            why,
            fix,
        })
    };
    let option = option(verb);
    let Some(first) = found.first() else {
        let why = "it is none of the places that are listed".to_owned();
        let fix = format!(
            "list them:\nguard discover\nor of what --all lists, with --all again: guard discover --all {option} HOST:PORT"
        );
        return refuse(why, fix);
    };
    match found.iter().find(|one| one.port() != first.port()) {
        None if found.len() == 1 || option == "--dismiss" => Ok(found),
        None => refuse(
            format!("{} places are listed there", found.len()),
            format!(
                "name one by its number:\nguard discover {}--why {}",
                if all.lists_all { "--all " } else { "" },
                first.number
            ),
        ),
        Some(other) => refuse(
            format!("{} and {} are listed", first.at(), other.at()),
            format!("name its port, too:\nguard discover {option} HOST:PORT"),
        ),
    }
}

/// Whether a place is the one that its number was typed for. The list may have changed since, as whoever writes to the project likes:
/// a person is shown what it is now. Where nobody can be asked, what is said of it afterwards has the place.
fn is_meant(one: &InReach, output: Output) -> Result<bool, CliError> {
    if output.is_json() || !write::is_terminal() {
        return Ok(true);
    }
    let place = format!("{} ({})", one.at(), one.reached_by());
    yes(format_args!("Dismiss {}?", visible(place, 400)))
}

/// Where it is kept that places are not what they look like.
struct Keeping<'k> {
    dir: &'k Path,
    person: &'k Person,
    socket: &'k Path,
    dismissals: &'k Dismissals,
}

/// What was said of a place.
#[derive(Debug, Serialize)]
struct DismissedNow {
    #[serde(flatten)]
    one: InReach,
    /// Who keeps it.
    #[serde(skip)]
    kept: String,
}

impl Keeping<'_> {
    /// Keeps or takes back what is dismissed, if anything is to be.
    fn decide(
        &self,
        args: &DiscoverArgs,
        all: &Discovered,
        output: Output,
    ) -> Result<Option<Exit>, CliError> {
        let (places, own) = (&args.dismiss[..], &args.dismiss_file[..]);
        match (places, own, args.withdraw) {
            ([], [], _) => return Ok(None),
            ([], own, true) => {
                output.print_things(&self.withdrawn_files(own)?, files::withdrawn_page)?;
            }
            ([], own, false) => {
                output.print_things(&self.dismissed_files(own, all)?, files::dismissed_page)?;
            }
            (places, _, true) => {
                output.print_things(&self.withdrawn(places, all)?, withdrawn_page)?;
            }
            (places, _, false) => {
                let dismissed = self.dismissed(places, all, args.yes, output)?;
                if dismissed.is_empty() {
                    output.print(&(), |(), _| Page::of("Nothing is dismissed."))?;
                    return Ok(Some(Exit::answer(false)));
                }
                output.print_things(&dismissed, dismissed_page)?;
            }
        }
        Ok(Some(Exit::DONE))
    }

    fn dismissed(
        &self,
        which: &[Listed],
        all: &Discovered,
        is_sure: bool,
        output: Output,
    ) -> Result<Vec<DismissedNow>, CliError> {
        let mut found = Vec::new();
        for which in which {
            let by_number = matches!(which, Listed::Number(_));
            let places = listed(all, which, "dismiss")?.into_iter();
            found.extend(places.map(|one| (one, by_number)));
        }
        // All of them are there, and meant, before any is kept.
        let mut meant = Vec::new();
        for (one, by_number) in found {
            if !by_number || is_sure || is_meant(one, output)? {
                meant.push(one);
            } else {
                output.note(&format!("{} stays what it looks like", one.at()));
            }
        }
        meant.into_iter().map(|one| self.dismiss(one)).collect()
    }

    fn dismiss(&self, one: &InReach) -> Result<DismissedNow, CliError> {
        let said = |dismissed, kept| {
            let mut one = one.clone();
            (one.dismissed, one.unkept) = (dismissed, None);
            DismissedNow { one, kept }
        };
        let place = LabelledPlace {
            host: &one.host,
            port: one.port(),
            label: one.label,
        };
        let dir = if one.is_everywhere() {
            None
        } else {
            Some(self.project(&one.at())?)
        };
        if let Some(dismissed) = self.dismissals.keep(self.socket, place, dir, false)? {
            return Ok(said(dismissed, "guardd keeps that".to_owned()));
        }
        let file = self.file(&one.at())?;
        let dismissed = Dismissals::add(file.clone(), place, dir)?;
        let kept = format!(
            "in {}, until a guardd runs, which is told again",
            file.display()
        );
        Ok(said(Some(dismissed), kept))
    }

    /// The project that a place is found in: what is said of it holds there alone.
    fn project(&self, at: &str) -> Result<&str, Failure> {
        self.dismissals.project().ok_or_else(|| Failure {
            what: format!("cannot dismiss {at}"),
            why: "it is not known which project this is".to_owned(),
            fix: "name its directory:\nguard discover DIR --dismiss HOST:PORT".to_owned(),
        })
    }

    /// The person's own file.
    fn file(&self, at: &str) -> Result<PathBuf, Failure> {
        let refuse = |why: String, fix: &str| {
            Err(Failure {
                what: format!("cannot dismiss {at}"),
                why,
                fix: fix.into(),
            })
        };
        let Some(file) = self.person.dismissals() else {
            return refuse(
                "your home is not known".into(),
                "set HOME, or XDG_STATE_HOME, to a directory of yours",
            );
        };
        if write::is_below(&file, self.dir) {
            return refuse(
                format!(
                    "{} lies below the directory where the agent works: it could dismiss places itself",
                    file.display()
                ),
                "start it in the project's own directory",
            );
        }
        Ok(file)
    }

    fn withdrawn(&self, which: &[Listed], all: &Discovered) -> Result<Vec<Withdrawn>, CliError> {
        let place = |which: &Listed| match which {
            Listed::Number(number) => {
                let one = numbered(all, *number, "withdraw")?.clone();
                Ok(TakenBack::Found(Box::new(InReach {
                    dismissed: None,
                    unkept: None,
                    ..one
                })))
            }
            Listed::Place(host, port) => Ok(TakenBack::Gone {
                host: host.clone(),
                port: *port,
            }),
        };
        let all: Vec<_> = which.iter().map(place).collect::<Result<_, Failure>>()?;
        all.into_iter().map(|place| self.withdraw(place)).collect()
    }

    /// Whatever it was dismissed as: it may look graver by now. By its number what holds here, by its name wherever that was said.
    fn withdraw(&self, place: TakenBack) -> Result<Withdrawn, CliError> {
        let (host, port) = place.host_and_port();
        let at = items::at(host, port);
        let anywhere = matches!(place, TakenBack::Gone { .. });
        let said = self.dismissals.said(host, port, anywhere);
        if said.is_empty() {
            return Err(CliError::Local(Failure {
                what: format!("nothing is withdrawn of {at}"),
                why: "it is not dismissed".into(),
                fix: "list what is:\nguard discover --all".into(),
            }));
        }
        let mut labels = Vec::new();
        for one in &said {
            let Some(label) = KNOWN.into_iter().find(|known| known.as_str() == one.label) else {
                continue;
            };
            let place = LabelledPlace { host, port, label };
            let dir = one.dir.as_deref();
            self.dismissals.keep(self.socket, place, dir, true)?;
            labels.push(label);
        }
        if let Some(file) = self.person.dismissals() {
            Dismissals::remove(file, &said)?;
        }
        Ok(Withdrawn { at, place, labels })
    }
}

/// What a place may have been dismissed as.
const KNOWN: [Label; 2] = [Label::Production, Label::Maybe];

fn dismissed_page(said: &DismissedNow, _clock: &Clock) -> Page {
    let mut page = Page::default();
    let DismissedNow { one, kept } = said;
    if let Some(dismissed) = &one.dismissed {
        page.text("Dismissed: ")
            .styled(STRONG, one.at())
            .line(format_args!(
                " is not production{}, says {}; {kept}.",
                match &dismissed.dir {
                    Some(dir) => format!(" in {dir}"),
                    None => ", wherever it is found".to_owned(),
                },
                dismissed.by
            ));
    }
    page
}

/// A place that is what it looks like after all.
#[derive(Debug, Serialize)]
struct Withdrawn {
    #[serde(skip)]
    at: String,
    #[serde(flatten)]
    place: TakenBack,
    /// As what it had been dismissed.
    #[serde(rename = "withdrawn")]
    labels: Vec<Label>,
}

/// A place that was dismissed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum TakenBack {
    /// It is found.
    Found(Box<InReach>),
    /// It is not, or not here.
    Gone { host: String, port: u16 },
}

impl TakenBack {
    fn host_and_port(&self) -> (&str, u16) {
        match self {
            Self::Found(one) => (&one.host, one.port()),
            Self::Gone { host, port } => (host, *port),
        }
    }
}

fn withdrawn_page(one: &Withdrawn, _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.text("Not dismissed any more: ")
        .styled(STRONG, &one.at)
        .line(" counts as what it looks like.");
    page
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
            &sudo::as_that_person(),
        );
    }
    Ok(())
}

/// Where something says that a destination is, and what it looks like.
#[derive(Debug, Serialize)]
pub(crate) struct FoundAt {
    label: Label,
    #[serde(flatten)]
    seen: Sighting,
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
            let mut own = [one.host.as_str()].into_iter().chain(others);
            own.any(|own| match own.parse() {
                Ok(Target::Wildcard(all)) => all.covers(name),
                _ => own == name.as_str(),
            })
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

/// This process's environment. What is no text in it makes no other host of one.
fn variables() -> Vec<(String, String)> {
    let text = |one: OsString| one.to_string_lossy().into_owned();
    let all = env::vars_os().map(|(key, value)| (text(key), text(value)));
    all.collect()
}

/// Looks as the user of this thread.
fn look(dir: &Path, person: &Person, bounds: Bounds) -> std::io::Result<Discovery> {
    // What is read has secrets in it, of which nothing is to be in a core dump.
    super::keep_to_itself();
    guard_discover::discover(&Inputs {
        project: dir,
        home: person.home(),
        hosts: Some(Path::new("/etc/hosts")),
        environment: &variables(),
        routes: Some(&Routes::own()),
        uid: geteuid().as_raw(),
        bounds,
    })
}

#[cfg(test)]
mod platforms;
#[cfg(test)]
mod tests;
