//! All of it: what is read, in which order, and what comes of it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::bounds::{Bounds, IN_DIRECTORY, MORE_FILES, OUT_OF_TIME, PassedOver};
use crate::host::Host;
use crate::label::Label;
use crate::named::Places;
use crate::open::{Content, ContentText, Tree};
use crate::readers::{
    EACH, Format, HOME_ENDINGS, MORE, Sink, Source, dirs_of_home, has_seals, inventories, is_match,
    is_platform, of_environment, of_home, routes,
};
use crate::routes::{Routes, Tunnel};
use crate::score::{Clue, Ground, Judged, KeyAlone, OWN_AUTHORITY, Sighting, find_siblings, judge};
use crate::service::{Proposal, Service, is_cloud, is_shared, others, propose};
use crate::walk::walk;

/// What stands in place of a file's name for what the environment has.
pub const ENVIRONMENT: &str = "the environment";
/// Why something was passed over that nobody reads without its key.
const ENCRYPTED: &str = "encrypted";
/// Why something is listed that is called so, and anybody can read.
pub const PLAIN: &str = "named encrypted, but plain";

/// Limit of the entries of such a directory that are looked at by their names.
const ENTRIES: usize = 20_000;

/// What is looked at.
#[derive(Debug)]
pub struct Inputs<'i> {
    /// Where the agent is to work.
    pub project: &'i Path,
    /// The home of the user who starts it.
    pub home: Option<&'i Path>,
    /// Which names are which addresses here, as in `/etc/hosts`.
    pub hosts: Option<&'i Path>,
    /// What it inherits.
    pub environment: &'i [(String, String)],
    /// Where its connections may be routed; none: that is not looked at.
    pub routes: Option<&'i Routes>,
    /// The user whose files are read, beside root's.
    pub uid: u32,
    /// How much.
    pub bounds: Bounds,
}

/// One place that is in reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub label: Label,
    /// The sum of the reasons.
    pub points: u8,
    /// The heaviest first.
    pub because: Vec<Ground>,
    /// What answers there.
    pub service: Service,
    /// Where.
    pub host: Host,
    /// Its port, of TCP; 0 where that is not said.
    pub port: u16,
    /// Where it is a name, the addresses elsewhere that this machine's own list has for it.
    pub addresses: Vec<IpAddr>,
    /// Whether others, of another stage perhaps, have the same address.
    pub is_shared: bool,
    /// Where it was found, the weightiest first.
    pub found: Vec<Sighting>,
    /// Which kind of credential is beside it.
    pub credential: Option<&'static str>,
    /// Names of the other APIs that the same credential opens, which the rule is for as well. A `*` stands for what is below.
    pub others: Vec<String>,
    /// The rule for it.
    pub proposed: Option<Proposal>,
}

impl Finding {
    /// Why nothing here needs it, where that is so: a rule may refuse all of it. Never of what shares its address with others.
    fn unneeded(&self) -> Option<&'static str> {
        let is_platforms = self.service == Service::Platform && is_platform(&self.host);
        // A cloud's names are those of much that no credential of the person's is for.
        let is_account = is_platforms && !is_cloud(&self.host);
        let is_persons = |seen: &Sighting| !seen.is_projects && seen.file.starts_with("~/");
        match &self.found[..] {
            _ if self.label != Label::Production || self.is_shared => None,
            found if found.iter().all(|seen| seen.dormant) => Some("commented out wherever it is"),
            found if is_account && found.iter().all(is_persons) => {
                Some("a login of the home, and the project has no link to it")
            }
            _ => None,
        }
    }
}

/// The result of a discovery.
#[derive(Debug)]
pub struct Discovery {
    /// The gravest first.
    pub findings: Vec<Finding>,
    /// Where a placeholder stands in place of a host.
    pub placeholders: Vec<Sighting>,
    /// Keys to elsewhere.
    pub keys: Vec<KeyAlone>,
    /// Tunnels that connections may be routed through.
    pub tunnels: Vec<Tunnel>,
    /// What was not read: while there is any, that nothing was found means little.
    pub passed_over: Vec<PassedOver>,
    /// How many files of the home were read.
    pub home_files: usize,
    /// How many of the project.
    pub project_files: usize,
    /// How long it took.
    pub took: Duration,
    /// The directories of the project that were looked through; beyond the first thousand they are not listed.
    pub dirs: Vec<PathBuf>,
}

impl Discovery {
    /// Has the rule of what nothing here needs refuse it, and not ask: production that is commented out wherever it is, and platforms
    /// that a login of the home opens and the project has no link to. Where there was no time or no room for all, none is known to be
    /// such. What else was not read, as it lies too deep, lifts none: whoever plants that has no rule made less strict by it.
    pub fn be_strict(&mut self) {
        let is_cut_off = |one: &PassedOver| [OUT_OF_TIME, MORE_FILES, MORE].contains(&one.why);
        if self.passed_over.iter().any(is_cut_off) {
            return;
        }
        for one in &mut self.findings {
            let why = one.unneeded().filter(|_| one.proposed.is_some());
            if let Some(why) = why {
                one.proposed = Some(Proposal::DENY);
                one.because.push(Ground::without_points(why));
            }
        }
    }
}

/// Looks.
///
/// # Errors
///
/// Where the project is no directory that may be opened.
pub fn discover(inputs: &Inputs<'_>) -> io::Result<Discovery> {
    let began = Instant::now();
    let deadline = inputs.bounds.time.map(|time| began + time);
    let project = Tree::project(inputs.project, inputs.uid)?;
    let mut sink = Sink::until(deadline);
    sink.begin(ENVIRONMENT.to_owned());
    of_environment(&mut sink, inputs.environment);
    let tunnels = inputs.routes.map(|all| routes(&mut sink, all));
    let mut home_files = match inputs.home {
        Some(home) => of_the_home(&mut sink, home, inputs, deadline),
        None => {
            sink.begin("~".to_owned());
            sink.pass_over(None, "it is not known where that is");
            0
        }
    };
    let mut places = Places::of(inputs, &project);
    let own = places.read(&mut sink, deadline);
    home_files += own.home;
    let names = inputs.hosts.map(|file| names(&mut sink, file));
    let walked = walk(inputs.project, &inputs.bounds, deadline);
    for one in walked.left_out {
        sink.begin(project.shown(&one.path));
        sink.leave_out(None, one.why, one.sha256);
    }
    sink.is_projects = true;
    let mut project_files = read(&mut sink, &project, &walked.files, deadline);
    let named = inventories(&mut sink, &project, &walked.files);
    project_files += read(&mut sink, &project, &named, deadline);
    let by_project = places.read(&mut sink, deadline);
    home_files += by_project.home;
    project_files += own.project + by_project.project;
    sink.finish();
    sink.settle_links();
    sink.keys_of_forges();
    find_siblings(&mut sink.clues);
    let without = sink.clues.iter().filter(|clue| clue.host.is_none());
    let placeholders = without.map(|clue| clue.seen.clone()).collect();
    Ok(Discovery {
        findings: findings(sink.clues, &names.unwrap_or_default()),
        placeholders,
        keys: sink.keys,
        tunnels: tunnels.unwrap_or_default(),
        passed_over: sink.passed_over,
        home_files,
        project_files,
        took: began.elapsed(),
        dirs: walked.dirs,
    })
}

fn of_the_home(
    sink: &mut Sink,
    path: &Path,
    inputs: &Inputs<'_>,
    deadline: Option<Instant>,
) -> usize {
    let Ok(home) = Tree::home(path, inputs.uid) else {
        sink.begin("~".to_owned());
        sink.pass_over(None, "it cannot be opened");
        return 0;
    };
    let mut files: Vec<_> = of_home()
        .map(|(path, format)| (path.to_owned(), format))
        .collect();
    for (dir, inner, format) in dirs_of_home() {
        files.extend(in_dir(sink, &home, Path::new(dir), inner, format));
    }
    for (dir, ending, format) in HOME_ENDINGS {
        let found = ending_so(sink, &home, dir, ending).into_iter();
        // What has a reader of its own is no other's: `.pg_service.conf`.
        let found = found.filter(|file| !of_home().any(|(own, _)| own == file));
        files.extend(found.map(|file| (file, format)));
    }
    let mut count = read(sink, &home, &files, deadline);
    let known = files.into_iter().map(|(file, _)| file).collect();
    count += included(sink, &home, known, deadline);
    count
}

/// Each file of a directory, or a file of each directory in it, or in those in it.
pub(crate) fn in_dir(
    sink: &mut Sink,
    tree: &Tree,
    dir: &Path,
    inner: &str,
    format: Format,
) -> Vec<(PathBuf, Format)> {
    if let Some(inner) = inner.strip_prefix(EACH) {
        return in_each(sink, tree, dir, inner, format);
    }
    let Some(entries) = entries(sink, tree, dir) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries.take(IN_DIRECTORY + 1).collect();
    if found.len() > IN_DIRECTORY {
        found.truncate(IN_DIRECTORY);
        sink.begin(tree.shown(dir));
        sink.pass_over(None, MORE_FILES);
    }
    let mut found: Vec<_> = found
        .iter()
        .map(|(name, _)| {
            let file = dir.join(name);
            // A slash at its end would make a directory of it.
            match inner {
                "" => file,
                inner => file.join(inner),
            }
        })
        .collect();
    found.sort();
    found.into_iter().map(|file| (file, format)).collect()
}

/// The same of each directory in it.
fn in_each(
    sink: &mut Sink,
    tree: &Tree,
    dir: &Path,
    inner: &str,
    format: Format,
) -> Vec<(PathBuf, Format)> {
    let Some(entries) = entries(sink, tree, dir) else {
        return Vec::new();
    };
    let mut dirs: Vec<_> = entries
        .map(|(name, _)| dir.join(name))
        .take(IN_DIRECTORY + 1)
        .collect();
    let is_over = dirs.len() > IN_DIRECTORY;
    dirs.truncate(IN_DIRECTORY);
    dirs.sort();
    let mut found = Vec::new();
    for one in &dirs {
        found.extend(in_dir(sink, tree, one, inner, format));
        if found.len() > IN_DIRECTORY {
            break;
        }
    }
    if is_over || found.len() > IN_DIRECTORY {
        found.truncate(IN_DIRECTORY);
        sink.begin(tree.shown(dir));
        sink.pass_over(None, MORE_FILES);
    }
    found
}

/// What is in a directory, where it is there.
fn entries(
    sink: &mut Sink,
    tree: &Tree,
    dir: &Path,
) -> Option<impl Iterator<Item = (OsString, bool)> + use<>> {
    let why = match tree.entries(dir) {
        Ok(entries) => return Some(entries),
        Err(Errno::NOENT | Errno::NOTDIR) => return None,
        Err(Errno::LOOP | Errno::XDEV) => "a link",
        Err(_) => "it may not be listed",
    };
    sink.begin(tree.shown(dir));
    sink.pass_over(None, why);
    None
}

/// Files that include each other.
const INCLUDED: usize = 16;

/// What settings of ssh include, and what that includes.
fn included(
    sink: &mut Sink,
    home: &Tree,
    mut known: HashSet<PathBuf>,
    deadline: Option<Instant>,
) -> usize {
    let mut count = 0;
    for _ in 0..INCLUDED {
        let mut files = Vec::new();
        for one in std::mem::take(&mut sink.includes) {
            sink.begin(one.file);
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                sink.pass_over(Some(one.line), OUT_OF_TIME);
                return count;
            }
            match within(home, &one.path).and_then(|path| matching(home, &path)) {
                Ok(found) => {
                    files.extend(found.into_iter().filter(|file| known.insert(file.clone())))
                }
                Err(why) => sink.pass_over(Some(one.line), why),
            }
            if files.len() > IN_DIRECTORY {
                files.truncate(IN_DIRECTORY);
                sink.pass_over(Some(one.line), MORE_FILES);
            }
        }
        if files.is_empty() {
            return count;
        }
        let files: Vec<_> = files.into_iter().map(|file| (file, Format::Ssh)).collect();
        count += read(sink, home, &files, deadline);
    }
    if let Some(one) = sink.includes.pop() {
        sink.begin(one.file);
        sink.pass_over(Some(one.line), "too deep");
    }
    count
}

/// Where in the home that is, as ssh reads it.
fn within(home: &Tree, path: &str) -> Result<PathBuf, &'static str> {
    let is_steps = |path: &Path| {
        let mut steps = path.components();
        steps.all(|step| matches!(step, Component::Normal(_)))
    };
    let below = match (path.strip_prefix("~/"), Path::new(path).is_absolute()) {
        (Some(below), _) => PathBuf::from(below),
        (None, true) => Path::new(path)
            .strip_prefix(&home.path)
            .map_err(|_| "an Include outside of the home")?
            .to_owned(),
        (None, false) if path.starts_with('~') => return Err("an Include that is not followed"),
        (None, false) => Path::new(".ssh").join(path),
    };
    if is_steps(&below) && !path.contains(['%', '$', '[', '\\']) {
        Ok(below)
    } else {
        Err("an Include that is not followed")
    }
}

/// The files whose names are as the last of a path says.
fn matching(home: &Tree, path: &Path) -> Result<Vec<PathBuf>, &'static str> {
    let is_pattern = |path: &Path| {
        path.as_os_str()
            .as_encoded_bytes()
            .iter()
            .any(|byte| b"*?".contains(byte))
    };
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("an Include that is not followed");
    };
    if is_pattern(dir) {
        return Err("an Include that is not followed");
    }
    if !is_pattern(path) {
        return Ok(vec![path.to_owned()]);
    }
    let names = match home.list(dir, IN_DIRECTORY + 1) {
        Ok(names) => names,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(_) => return Err("an Include that may not be listed"),
    };
    let pattern = name.as_encoded_bytes();
    // As a shell has it: what begins with a dot has to be named so.
    let is_hidden = |name: &[u8]| name.starts_with(b".") && !pattern.starts_with(b".");
    let found = names.into_iter().filter(|name| {
        let name = name.as_encoded_bytes();
        is_match(pattern, name) && !is_hidden(name)
    });
    Ok(found.map(|name| dir.join(name)).collect())
}

/// The files of a directory of the home whose names end so.
fn ending_so(sink: &mut Sink, home: &Tree, dir: &str, ending: &str) -> Vec<PathBuf> {
    let Some(entries) = entries(sink, home, Path::new(dir)) else {
        return Vec::new();
    };
    let (mut looked, mut found) = (0, Vec::new());
    for (name, is_dir) in entries.take(ENTRIES + 1) {
        looked += 1;
        let is_so = name.as_encoded_bytes().ends_with(ending.as_bytes());
        if is_so && !is_dir && found.len() <= IN_DIRECTORY {
            found.push(Path::new(dir).join(name));
        }
    }
    if looked > ENTRIES || found.len() > IN_DIRECTORY {
        found.truncate(IN_DIRECTORY);
        sink.begin(home.shown(Path::new(dir)));
        sink.pass_over(None, MORE_FILES);
    }
    found.sort();
    found
}

/// How many of the files were read.
pub(crate) fn read(
    sink: &mut Sink,
    tree: &Tree,
    files: &[(PathBuf, Format)],
    deadline: Option<Instant>,
) -> usize {
    let mut count = 0;
    for (at, (path, format)) in files.iter().enumerate() {
        sink.begin(tree.shown(path));
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            if let more @ 1.. = files.len() - at - 1 {
                sink.begin(format!("{} and {more} more", tree.shown(path)));
            }
            sink.pass_over(None, OUT_OF_TIME);
            break;
        }
        match format {
            Format::Source(Source::Kept(what)) => {
                if tree.has(path) {
                    sink.kept(what);
                    count += 1;
                }
                continue;
            }
            Format::Source(Source::Vault) => {
                if tree.has(path) {
                    sink.vault();
                    count += 1;
                }
                continue;
            }
            _ => {}
        }
        match tree.read(path, format.limit()) {
            Ok(None) => {}
            Ok(Some(content)) => count += usize::from(read_one(sink, path, *format, &content)),
            Err(why) => sink.pass_over(None, why),
        }
    }
    count
}

/// Whether it is a text that could be read.
fn read_one(sink: &mut Sink, path: &Path, format: Format, content: &Content) -> bool {
    let is_named = format == Format::Encrypted;
    if is_named && content.is_opaque() {
        sink.seal(ENCRYPTED, content);
        return false;
    }
    // A name encrypts nothing.
    let format = if is_named {
        Format::within_seal(path)
    } else {
        format
    };
    let is_sealed = content.is_sealed();
    if is_sealed {
        sink.seal(ENCRYPTED, content);
        // Who puts such a beginning above lines that anybody can read hides none of them.
        if !format.is_by_lines() {
            return false;
        }
    }
    let ContentText { text, is_cut } = match content.text(format.limit()) {
        Ok(text) => text,
        Err(_) if is_sealed => return false,
        Err(why) => {
            sink.pass_over(None, why);
            return false;
        }
    };
    let has_seals = has_seals(&text, is_named);
    if is_named && has_seals {
        sink.read_around(format, &text, is_cut)
    } else {
        sink.read(format, &text, is_cut)
    }
    match (is_named, has_seals) {
        _ if is_sealed => {}
        (true, true) => sink.seal(ENCRYPTED, content),
        (true, false) => sink.seal(PLAIN, content),
        (false, true) => sink.seal("values that are encrypted", content),
        (false, false) => {}
    }
    format != Format::Encrypted
}

/// Limit of the list of names, in bytes.
const NAMES: u64 = 256 << 10;

/// Names with addresses elsewhere, as in hosts(5). What is on this machine is not: it may lead anywhere.
fn names(sink: &mut Sink, file: &Path) -> BTreeMap<Host, Vec<IpAddr>> {
    let mut names: BTreeMap<Host, Vec<IpAddr>> = BTreeMap::new();
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(NAMES + 1).read_to_end(&mut bytes));
    sink.begin(file.to_string_lossy().into_owned());
    match read {
        Ok(_) if bytes.len() as u64 > NAMES => sink.pass_over(None, "too long: the rest of it"),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            sink.pass_over(None, "it cannot be read");
        }
        _ => {}
    }
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let Some(host) = words.next().and_then(Host::parse) else {
            continue;
        };
        let Some(address) = host.address().filter(|_| !host.is_local()) else {
            continue;
        };
        for name in words.filter_map(Host::parse) {
            let known = names.entry(name).or_default();
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
    names
}

/// One for each place, with all that was found of it: the gravest clue decides, so that no other makes it less.
fn findings(clues: Vec<Clue>, names: &BTreeMap<Host, Vec<IpAddr>>) -> Vec<Finding> {
    let mut places: BTreeMap<(Host, u16, Service), Vec<(Judged, Clue)>> = BTreeMap::new();
    for clue in clues {
        let judged = judge(&clue);
        if let Some(host) = &clue.host {
            let place = (host.clone(), clue.port, clue.service);
            places.entry(place).or_default().push((judged, clue));
        }
    }
    let mut findings: Vec<_> = places
        .into_iter()
        .filter_map(|((host, port, service), mut clues)| {
            clues.sort_by_key(|(judged, _)| std::cmp::Reverse((judged.label, judged.points)));
            let Judged {
                label,
                points,
                because,
            } = clues.first()?.0.clone();
            let found = clues.iter().map(|(_, clue)| clue.seen.clone()).collect();
            let credential = clues.iter().find_map(|(_, clue)| clue.credential);
            let mut proposed = propose(label, service, &host);
            let mut because = because;
            let mut credentials = clues.iter().filter_map(|(_, clue)| clue.credential);
            if credentials.any(|one| one == OWN_AUTHORITY)
                && proposed.is_some_and(|one| !one.profile.is_empty())
            {
                proposed = Some(Proposal::CONFIRM);
                because.push(Ground::without_points(
                    "its client trusts its own certificate authority alone, so read-only would close it",
                ));
            }
            let is_shared = is_shared(&host);
            let others = match service {
                Service::Platform => others(&host),
                _ => Vec::new(),
            };
            let addresses = names.get(&host).cloned().unwrap_or_default();
            Some(Finding {
                addresses,
                label,
                points,
                because,
                service,
                host,
                port,
                is_shared,
                found,
                credential,
                others,
                proposed,
            })
        })
        .collect();
    findings.sort_by_key(|one| std::cmp::Reverse((one.label, one.points)));
    findings
}
