//! `guard discover --write`: a policy of the person's own, with a rule for each place that is wanted stricter.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Component, Path, PathBuf};

use guard_discover::Discovery;
use guard_policy::{self as policy, DnsNames, NamePattern, Policy, Rule};
use guard_proto::Failure;
use jiff::Timestamp;
use serde::Serialize;
use toml_edit::{DocumentMut, value};

use super::dismissals::Dismissals;
use super::items::{Discovered, InReach, Proposed, seen};
use super::page::toml;
use crate::ask::yes;
use crate::change::Change;
use crate::diff;
use crate::error::CliError;
use crate::person::Person;
use crate::policy::apply::note_of;
use crate::policy::valid;
use crate::policy_file::{PolicyFile, is_file, is_machines, or_default};
use crate::render::escape::visible;
use crate::render::page::{GOOD, HEAD, Page, STRONG, WARN};
use crate::render::{Output, columns, command_line, path_word, time::Clock};
use crate::report::markdown::count;

/// What became of it.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    /// The policy's name.
    policy: String,
    /// Its file.
    file: PathBuf,
    /// As `diff -u` prints it.
    diff: String,
    /// Whether it was written.
    written: bool,
    /// Whether no rule was to be added.
    #[serde(skip)]
    is_complete: bool,
    /// The places that have a rule now, by their numbers.
    rules: Vec<usize>,
    /// The places that have none.
    left_out: Vec<LeftOut>,
}

/// A place without a rule.
#[derive(Clone, Debug, Serialize)]
struct LeftOut {
    /// Its number.
    number: usize,
    /// The place.
    place: String,
    /// Why.
    why: &'static str,
}

/// A rule that may be added.
struct RuleLine<'i> {
    item: &'i InReach,
    name: String,
    proposed: Proposed,
    /// With it programs may ask for its name, and without it they may not, or a person is asked: what a name says leaves with it.
    opens_name: bool,
    /// Its name has the number of another one's.
    is_twin: bool,
}

/// Why such a line is none: guardd would take no policy with both.
const TWIN: &str = "its name has the number that another one has, which nobody's has by chance";

/// How a policy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// A person says yes to each line that may widen, and to all of it; where nobody is there, only what narrows is written.
    Ask,
    /// The same, where somebody is there.
    Offer,
    /// Only what narrows.
    Narrow,
    /// Nothing: it is only shown.
    Print,
}

impl WriteMode {
    /// Whether a person is asked.
    fn is_asked(self, output: Output) -> bool {
        match self {
            Self::Ask => !output.is_json() && is_terminal(),
            Self::Offer => true,
            Self::Narrow | Self::Print => false,
        }
    }
}

/// A policy that a person wants to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    /// Its name.
    pub(super) name: &'w str,
    /// What a new one begins with, and one that is there already is compared with.
    pub(super) base: Option<&'w str>,
    /// What one that is there says, where a person has agreed to build on that.
    pub(super) agreed: Option<&'w str>,
    /// Whether its file may lie where the agent works.
    pub(super) here: bool,
    /// How it is written.
    pub(super) mode: WriteMode,
}

impl Wanted<'_> {
    /// Writes it, once a person has agreed to each line that may widen.
    pub(super) fn write(
        self,
        dir: &Path,
        found: Discovery,
        dismissals: &Dismissals,
        output: Output,
    ) -> Result<Written, CliError> {
        let file = file(self.name, dir, self.here)?;
        let target = WriteTarget::of(self.name, file, self.base)?;
        let parsed = target.base.parse(output)?;
        self.is_built_on_agreed(&target, output)?;
        let all = Discovered::of(found, &parsed, dismissals, false)
            .map_err(|diagnostics| target.base.invalid(&diagnostics, output))?;
        let is_asked = self.mode.is_asked(output);
        let lines = lines(&all, &parsed.policy, is_asked);
        let (twins, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.is_twin);
        let seen = is_asked.then(|| target.show(&lines, output)).transpose()?;
        let (lines, mut left_out) = if is_asked {
            agreed(lines)?
        } else {
            self.narrowing(lines)
        };
        left_out.extend(twins.iter().map(|line| LeftOut::of(line.item, TWIN)));
        let change = target.change(&lines)?;
        target.is_as_read(&change)?;
        // After a no it is another text.
        let is_seen = seen.is_some_and(|seen| seen == change.diff() || lines.is_empty());
        if !is_seen && !output.is_json() {
            target.show(&lines, output)?;
        }
        if !lines.is_empty() {
            target.is_as_agreed(&change, &parsed.policy, &lines, output)?;
        }
        let is_written = !lines.is_empty() && self.is_meant(is_asked)?;
        if is_written {
            change.write()?;
        }
        Ok(Written {
            policy: self.name.to_owned(),
            diff: change.diff(),
            file: change.file.clone(),
            written: is_written,
            is_complete: lines.is_empty(),
            rules: lines.iter().map(|line| line.item.number).collect(),
            left_out,
        })
    }

    /// Where a policy of that name is there already, whether a person has agreed to build on it, or does now.
    fn is_built_on_agreed(self, target: &WriteTarget, output: Output) -> Result<(), CliError> {
        if let Some(beside) = &target.beside
            && self.agreed != Some(target.base.text.as_str())
        {
            let called = [&*target.base_name, self.name];
            build_on([beside, &target.base], called, self.mode, output)?;
        }
        Ok(())
    }

    /// Whether what was shown is to be written.
    fn is_meant(self, is_asked: bool) -> Result<bool, CliError> {
        match self.mode {
            WriteMode::Print => Ok(false),
            _ if is_asked => yes("Write this?"),
            WriteMode::Ask | WriteMode::Offer | WriteMode::Narrow => Ok(true),
        }
    }

    /// The lines that narrow, without anybody who is asked about the others.
    fn narrowing(self, lines: Vec<RuleLine<'_>>) -> (Vec<RuleLine<'_>>, Vec<LeftOut>) {
        let (mut narrow, mut left_out) = (Vec::new(), Vec::new());
        for line in lines {
            match self.why_not(&line) {
                Some(why) => left_out.push(LeftOut::of(line.item, why)),
                None => narrow.push(line),
            }
        }
        (narrow, left_out)
    }

    /// Why a line is left out where nobody is asked.
    fn why_not(self, line: &RuleLine<'_>) -> Option<&'static str> {
        let is_shown = self.mode == WriteMode::Print;
        line.may_widen_as_it_is().then_some(if is_shown {
            "it may widen the policy, so you would be asked"
        } else {
            "it may widen the policy, and nobody was asked"
        })
    }
}

/// A person's own policy may be by anything that runs as them, an agent too. What one that is there lets through more than what a new
/// one begins with is shown, and nothing is built on it without a yes.
///
/// # Errors
///
/// That the person says no, or is not there to be asked; and what is wrong with one of the two.
pub(super) fn build_on(
    [base, there]: [&PolicyFile; 2],
    called: [&str; 2],
    mode: WriteMode,
    output: Output,
) -> Result<(), CliError> {
    let [base_name, name] = called;
    let ways = diff::widening(base.clone(), there.clone(), output)?;
    if ways.is_empty() {
        output.note(&format!(
            "{name} is there already, and lets through no more than {base_name}"
        ));
        return Ok(());
    }
    let page = wider(&ways, called, there);
    let why = match mode {
        WriteMode::Print if output.is_json() => return Ok(()),
        WriteMode::Print => return output.print(&(), |(), _| page),
        _ if !mode.is_asked(output) => Unbuilt::Unasked,
        _ => match page.height(columns(io::stderr()).unwrap_or(COLUMNS)) {
            lines if lines > LINES => Unbuilt::TooLong(lines),
            _ if is_agreed(&page, &ways, name)? => return Ok(()),
            _ => Unbuilt::SaidNo,
        },
    };
    Err(CliError::Local(left(called, why)))
}

/// So many lines are asked about at once: what does not fit on a screen has nobody seen who says yes.
const LINES: usize = 60;
/// A terminal has so many columns that does not say how many.
const COLUMNS: usize = 80;

/// All in which it is wider, each by itself. What it stops beside would only hide that.
fn wider(ways: &[String], [base_name, name]: [&str; 2], there: &PolicyFile) -> Page {
    let mut page = Page::default();
    page.styled(HEAD, name).line(format_args!(
        " is there already, in {}. Beside {base_name} it is wider in {}:",
        there.name,
        count(ways.len() as u64, "way")
    ));
    for way in ways {
        page.text("  ").rest_of_line(way, 4);
    }
    page
}

/// Shows it where the question is, and asks.
fn is_agreed(page: &Page, ways: &[String], name: &str) -> Result<bool, CliError> {
    anstream::stderr()
        .write_all(page.as_str().as_bytes())
        .map_err(|error| CliError::output(&error))?;
    let many = count(ways.len() as u64, "way");
    yes(format_args!("Go on with {name} as it is, wider in {many}?"))
}

/// Why nothing is built on a policy that is there.
enum Unbuilt {
    /// The person does not want it.
    SaidNo,
    /// Nobody is there who could.
    Unasked,
    /// In so many lines nobody reads it.
    TooLong(usize),
}

/// Nothing is built on it.
fn left([base_name, name]: [&str; 2], why: Unbuilt) -> Failure {
    let both = command_line(&[base_name.to_owned(), name.to_owned()]);
    let again = format!("guard discover --write {name}");
    let (why, fix) = match why {
        Unbuilt::SaidNo => (
            "you said no".to_owned(),
            format!(
                "or take another name:\nguard diff {both}\nguard policy edit {name}\nguard discover --write NAME"
            ),
        ),
        Unbuilt::Unasked => (
            "nobody was asked about it".to_owned(),
            format!(
                "and say at a terminal that you want it, or which of the machine's it began with:\nguard diff {both}\n{again}\n{again} --policy BASE --yes"
            ),
        ),
        Unbuilt::TooLong(lines) => (
            format!("with {lines} lines it is too much to agree to"),
            format!(
                "and take out what you do not want, or say which of the machine's it began with:\nguard diff {both}\nguard policy edit {name}\n{again} --policy BASE --yes"
            ),
        ),
    };
    Failure {
        what: format!("{name} was left as it is"),
        why: format!("it is there already, lets more through than {base_name}, and {why}"),
        fix: format!("look at what it says, {fix}"),
    }
}

/// The lines that narrow, and those that a person says yes to.
fn agreed(lines: Vec<RuleLine<'_>>) -> Result<(Vec<RuleLine<'_>>, Vec<LeftOut>), CliError> {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for mut line in lines {
        let is_yes = !line.may_widen() || asked(&line)?;
        match (is_yes, line.has_no_question()) {
            (false, true) => {
                left_out.push(LeftOut::of(line.item, "you said no"));
                continue;
            }
            (false, false) => line.proposed = Proposed::question(),
            (true, _) => {}
        }
        kept.push(line);
    }
    Ok((kept, left_out))
}

fn refused(name: &str, why: String, fix: String) -> Failure {
    Failure {
        what: format!("cannot write a policy {name}"),
        why,
        fix,
    }
}

/// Whether a policy can have that name; else with what to type, of another name.
///
/// # Errors
///
/// That it cannot.
pub(crate) fn is_name(name: &str, fix: &str) -> Result<(), Failure> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_fine)
        && !name.ends_with(".toml");
    let why = "a name has letters, digits, -, _ and ., and no .toml at its end";
    if is_name {
        Ok(())
    } else {
        Err(refused(name, why.to_owned(), fix.to_owned()))
    }
}

/// The file of a person's policy.
///
/// # Errors
///
/// Where there is none, the machine has a policy of that name, or the agent that is started here could write to it.
fn file(name: &str, dir: &Path, here: bool) -> Result<PathBuf, Failure> {
    let refuse = |why: String, fix: String| Err(refused(name, why, fix));
    is_name(name, "guard discover --write shop")?;
    if is_machines(name) {
        return refuse(
            "one of that name is installed or built in, and that would be taken instead of yours"
                .into(),
            format!(
                "give yours another name, and say which it begins with:\nguard discover --write my-{name} --policy {name}"
            ),
        );
    }
    let Some(policies) = Person::own().policies() else {
        return refuse(
            "your home is not known".into(),
            "set HOME, or XDG_CONFIG_HOME, to a directory of yours".into(),
        );
    };
    let file = policies.join(format!("{name}.toml"));
    if is_below(&file, dir) && !here {
        refuse(
            format!(
                "{} lies below {}, where the agent works: it could change the policy that is to hold it",
                file.display(),
                dir.display()
            ),
            format!(
                "start it in the project's own directory; or, if no agent writes there:\nguard discover --write {name} --here"
            ),
        )
    } else {
        Ok(file)
    }
}

/// Whether a file is, or would be, below a directory or the one that this runs in. What is not known counts as below.
pub(super) fn is_below(file: &Path, dir: &Path) -> bool {
    let Some(file) = real(file) else { return true };
    let dirs = [dir.canonicalize(), std::env::current_dir()];
    dirs.iter()
        .any(|dir| dir.as_ref().map_or(true, |dir| file.starts_with(dir)))
}

/// The path without links, as far as it is there.
fn real(file: &Path) -> Option<PathBuf> {
    if file.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    file.ancestors().find_map(|there| {
        let rest = file.strip_prefix(there).ok()?;
        Some(there.canonicalize().ok()?.join(rest))
    })
}

/// Whether it is one of the person's own by name, which may be by whoever wrote the other one.
fn is_own(base: &str) -> bool {
    !is_file(base) && !is_machines(base)
}

fn incomparable(name: &str, base: &str) -> Failure {
    Failure {
        what: format!("{name} was left as it is"),
        why: format!(
            "it is there already, and {base} is a policy of yours, too: what runs as you may have written both"
        ),
        fix: format!(
            "compare it with one of the machine's, or with a file that you know:\nguard policy list\nguard discover --write {name} --policy ./FILE.toml"
        ),
    }
}

/// The file that is written, and the policy that it begins with.
struct WriteTarget {
    name: String,
    file: PathBuf,
    base: PolicyFile,
    base_name: String,
    /// The policy of that name, where the file is there and is its own base.
    beside: Option<PolicyFile>,
}

impl WriteTarget {
    fn of(name: &str, file: PathBuf, base: Option<&str>) -> Result<Self, CliError> {
        let base_name = or_default(base).to_owned();
        let base = PolicyFile::named(&base_name)?;
        let (base, beside) = match file.exists() {
            true if is_own(&base_name) => return Err(incomparable(name, &base_name).into()),
            true => (PolicyFile::read(&file)?, Some(base)),
            false => (base, None),
        };
        Ok(Self {
            name: name.to_owned(),
            file,
            base,
            base_name,
            beside,
        })
    }

    /// Whether the file says what was read, and shown: what runs as the person may have written it since.
    fn is_as_read(&self, change: &Change) -> Result<(), Failure> {
        let read = self.beside.as_ref().map(|_| &self.base.text);
        if change.before.as_ref() == read {
            Ok(())
        } else {
            Err(Failure {
                what: format!("{} was not written", change.file.display()),
                why: "somebody has changed it since it was read".into(),
                fix: "look at it again, with the same command".into(),
            })
        }
    }

    fn change(&self, lines: &[RuleLine<'_>]) -> Result<Change, CliError> {
        let rules: String = lines.iter().map(RuleLine::toml).collect();
        Change::of(self.file.clone(), |before| {
            if lines.is_empty() {
                return Ok(before.map(str::to_owned));
            }
            let text = match before {
                Some(text) => text.to_owned(),
                None => self.begun()?,
            };
            Ok(Some(with_rules(&text, &rules)))
        })
    }

    /// Shows a person what is added, and returns it.
    fn show(&self, lines: &[RuleLine<'_>], output: Output) -> Result<String, CliError> {
        let change = self.change(lines)?;
        output.print(&(), |(), _| self.shown(&change, lines))?;
        Ok(change.diff())
    }

    /// What is added, for a person: of a new file not all that it begins with.
    fn shown(&self, change: &Change, lines: &[RuleLine<'_>]) -> Page {
        if change.before.is_some() || lines.is_empty() {
            return diff(change);
        }
        let mut page = Page::default();
        page.styled(HEAD, format_args!("A new file, {}: ", self.file.display()));
        page.line(format_args!("all that {} says, and", self.base_name));
        for line in lines.iter().map(RuleLine::toml) {
            for line in line.lines() {
                page.styled(GOOD, format_args!("+{line}")).end();
            }
        }
        page
    }

    /// A new file's text: that of the policy that it begins with, under its own name.
    fn begun(&self) -> Result<String, String> {
        let mut document: DocumentMut = without_heading(&self.base.text)
            .parse()
            .map_err(|error| format!("{} is not TOML: {error}", self.base.name))?;
        if document.contains_key("name") {
            document["name"] = value(self.name.as_str());
        }
        Ok(format!(
            "# The policy {}, begun by `guard discover --write {}` on {} with what {} says.\n\n{document}",
            self.name,
            self.name,
            today(),
            plain(&self.base_name),
        ))
    }

    /// Whether the new text is a policy, and the old one but for the rules that were agreed to.
    fn is_as_agreed(
        &self,
        change: &Change,
        before: &Policy,
        lines: &[RuleLine<'_>],
        output: Output,
    ) -> Result<(), CliError> {
        let file = PolicyFile {
            name: self.file.display().to_string(),
            text: change.after.clone().unwrap_or_default(),
        };
        let parsed = valid(&file).map_err(|diagnostics| file.invalid(&diagnostics, output))?;
        let ours: BTreeSet<_> = lines.iter().map(|line| line.name.as_str()).collect();
        let added = |rule: &&Rule| ours.contains(rule.name.as_str());
        let after = &parsed.policy;
        let kept = after.rules.iter().filter(|rule| !added(rule)).map(bare);
        let is_same = kept.eq(before.rules.iter().map(bare))
            && after.rules.iter().filter(added).count() == lines.len()
            && (after.default, after.hold, after.inbound, after.max_hole)
                == (before.default, before.hold, before.inbound, before.max_hole)
            && after.unix == before.unix;
        if is_same {
            Ok(())
        } else {
            Err(CliError::Local(Failure {
                what: format!("{} was left as it is", self.file.display()),
                why: "with the rules in it, others in it would say something else".into(),
                fix: format!(
                    "paste each at its end yourself, where this shows it:\nguard discover --policy {} --why 1",
                    path_word(&self.file)
                ),
            }))
        }
    }
}

/// A rule without where it stands: one that has no name is called by its place.
fn bare(rule: &Rule) -> Rule {
    let is_unnamed = rule.place.text.starts_with('[');
    Rule {
        name: if is_unnamed {
            String::new()
        } else {
            rule.name.clone()
        },
        line: 0,
        place: policy::SourceSpan::default(),
        ..rule.clone()
    }
}

/// The text with more rules at the end of the marked block, which is made where there is none.
fn with_rules(text: &str, rules: &str) -> String {
    match policy::written(text).map(|written| written.end) {
        Some(at) => format!("{}{rules}{}", &text[..at], &text[at..]),
        None => {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            let [begins, ends] = policy::WRITTEN;
            format!(
                "{text}{end}\n{begins}: rules are added between these lines, and none is taken away\n{rules}{ends}\n"
            )
        }
    }
}

/// What may be added. Where nobody is asked, a place gets no more than a question if a stricter rule may hold there now, and if reads
/// would pass to a name that the project's files alone have: its owner says which address it is. A name that may not be asked for
/// gets nothing.
fn lines<'i>(all: &'i Discovered, policy: &Policy, is_asked: bool) -> Vec<RuleLine<'i>> {
    let mut names: BTreeSet<String> = policy.rules.iter().map(|rule| rule.name.clone()).collect();
    let patterns = policy.rules.iter().flat_map(|rule| &rule.to);
    let patterns: BTreeSet<_> = patterns.filter_map(NamePattern::of).collect();
    let numbers = patterns.iter().map(|one| (one.id(), one.clone()));
    let mut numbers: HashMap<_, _> = numbers.collect();
    let is_judged = policy.names_asked() != DnsNames::Any;
    let mut lines = Vec::new();
    for item in all.items.iter().filter(|item| item.dismissed.is_none()) {
        let (Some(proposed), Some("narrows")) = (&item.proposed, item.effect) else {
            continue;
        };
        let short = item.name();
        // The same service may listen at several ports, and a rule of that name may be one that the person has changed.
        let more = (1..).map(|number| match number {
            1 => short.clone(),
            2 => format!("{short} {}", item.ports),
            number => format!("{short} {} {number}", item.ports),
        });
        let Some(name) = more.into_iter().find(|name| !names.contains(name)) else {
            continue;
        };
        names.insert(name.clone());
        let mut line = RuleLine {
            item,
            name,
            proposed: proposed.clone(),
            opens_name: false,
            is_twin: false,
        };
        let pattern = item.host.parse().ok();
        if let Some(own) = pattern.and_then(|to| NamePattern::of(&to)) {
            let known = numbers.entry(own.id()).or_insert_with(|| own.clone());
            line.is_twin = *known != own;
            let is_ruled =
                patterns.contains(&own) || own.around().any(|one| patterns.contains(&one));
            line.opens_name = is_judged && !is_ruled && !item.is_looked_up;
        }
        if !is_asked && line.may_widen() {
            line.proposed = Proposed::question();
        }
        lines.push(line);
    }
    lines
}

impl Proposed {
    /// What lets nothing through by itself.
    const fn question() -> Self {
        Self {
            action: "confirm",
            profile: Vec::new(),
            max_hole: None,
        }
    }
}

impl RuleLine<'_> {
    /// Whether it narrows what is there now, as far as that is known, and lets reads through wherever else the name leads, or where a
    /// name leads that has a stricter rule; or has its name asked for.
    fn may_widen(&self) -> bool {
        self.opens_name || self.is_by_planted_name() || self.item.may_widen()
    }

    /// The same of what it proposes now, which may be a question.
    fn may_widen_as_it_is(&self) -> bool {
        self.opens_name || self.item.may_widen_by(&self.proposed)
    }

    /// Whether a question in its place may let through what is stopped now, too.
    fn has_no_question(&self) -> bool {
        self.opens_name || self.item.may_widen_by(&Proposed::question())
    }

    /// A name that the project has chosen: reads go wherever it leads. What refuses it lets nothing through.
    fn is_by_planted_name(&self) -> bool {
        self.item.is_planted && self.proposed.action == "read-only"
    }

    fn toml(&self) -> String {
        let found = self.item.found.first().map_or_else(String::new, |seen| {
            let line = seen
                .line
                .map_or_else(String::new, |line| format!(":{line}"));
            format!(": {} in {}{line}", plain(&seen.key), plain(&seen.file))
        });
        format!(
            "# guard discover {}{found}\n{}\n",
            today(),
            toml(self.item, &self.name, &self.proposed)
        )
    }
}

/// A policy's text; of the shipped `default` without what that says of itself at its beginning, which is true of no other.
fn without_heading(text: &str) -> &str {
    let is_default = policy::SHIPPED.contains(&("default", text));
    match text.split_once("\n\n") {
        Some((heading, rest)) if is_default && heading.starts_with('#') => rest,
        _ => text,
    }
}

/// A file's name may have anything in it, and a comment ends where the line does.
fn plain(text: &str) -> String {
    let shown = |c: char| {
        if c.is_ascii_alphanumeric() || " ~/._-+@".contains(c) {
            c
        } else {
            '?'
        }
    };
    text.chars().map(shown).take(200).collect()
}

fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

impl Written {
    /// Whether there is a policy of that name now, or would be.
    pub(super) fn is_there(&self, mode: WriteMode) -> bool {
        self.written || self.file.exists() || (mode == WriteMode::Print && !self.is_complete)
    }
}

impl LeftOut {
    fn of(item: &InReach, why: &'static str) -> Self {
        Self {
            number: item.number,
            place: item.at(),
            why,
        }
    }
}

/// Whether a person may be asked.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the person at the terminal says yes.
fn asked(line: &RuleLine<'_>) -> Result<bool, CliError> {
    let item = line.item;
    let found = item.found.first().map_or_else(String::new, seen);
    let why = match &item.beats {
        Some(by) => format!("may widen the policy: {}", by.words()),
        None if line.opens_name => "has programs ask for the name, wherever it leads".to_owned(),
        None => "has reads pass wherever the name's owner lets it lead".to_owned(),
    };
    let question = format!(
        "{}  {} ({}, {found}): {} {why}.",
        item.number,
        item.at(),
        item.service,
        line.proposed.action,
    );
    let no = if line.has_no_question() {
        ""
    } else {
        " (no: confirm in its place)"
    };
    yes(format_args!(
        "{} Write this rule{no}?",
        visible(question, 400)
    ))
}

fn diff(change: &Change) -> Page {
    let mut page = Page::default();
    page.diff(change.diff().lines());
    page
}

pub(super) fn ended(written: &Written, clock: &Clock) -> Page {
    let mut page = ended_step(written, clock);
    if written.written {
        page.commands(format!("guard run --policy {} -- CMD", written.policy));
    }
    page
}

/// The same, where another step follows.
pub(super) fn ended_step(written: &Written, _clock: &Clock) -> Page {
    let mut page = Page::default();
    for one in &written.left_out {
        page.styled(WARN, "left out  ");
        page.line(format_args!("{} {}: {}", one.number, one.place, one.why));
    }
    match (written.written, written.is_complete) {
        (true, _) => {
            page.text("Written: ")
                .styled(STRONG, written.file.display())
                .end();
            note_of(&mut page, &written.file);
        }
        (false, true) => {
            page.line("Nothing was written: no rule is missing that would narrow the policy.");
        }
        (false, false) => {
            page.line("Nothing was written.");
        }
    }
    page
}

#[cfg(test)]
mod tests;
