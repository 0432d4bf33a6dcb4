//! `.guard.toml`: what a project says of its own sessions. It is an agent's to write, so it can only narrow: its rules judge beside the
//! policy, and both have to allow. Where one would let more through, the command does not start, until a person has agreed to these
//! very bytes under that very policy, and to what they come to in this network.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use data_encoding::HEXLOWER;
use guard_launch::CommandIdentity;
use guard_policy::Parsed;
use guard_proto::{
    Call, Failure, PolicyRef, Status,
    decisions::{DecisionsReply, TrustedFile},
};
use rustix::process::geteuid;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::file::ReadFile;
use self::widening::{Widens, beside, merged, stops_nothing_more, widens};
use crate::args::TrustArgs;
use crate::ask::yes;
use crate::client::Client;
use crate::error::{CliError, Exit};
use crate::inside;
use crate::person::Person;
use crate::policy::valid;
use crate::policy_file::{PolicyFile, is_file, personal};
use crate::render::page::{BAD, GOOD, HEAD, Page, STRONG};
use crate::render::{Output, command_line};
use crate::sudo;

mod file;
mod widening;

pub(crate) use self::file::{NAME, top};

/// Lines that are shown of what widens; of more it is said how many there are, and nothing is agreed to.
const LINES: usize = 40;

/// What judges a session that starts in the project.
#[derive(Debug)]
pub(crate) struct Project {
    /// In place of the policy: with what a person has agreed to. None: the policy as it is.
    pub(crate) policy: Option<PolicyRef>,
    /// Beside it.
    pub(crate) beside: PolicyRef,
    /// The same, parsed.
    pub(crate) parsed: Parsed,
    /// What is printed for a person.
    pub(crate) says: String,
    /// What it would open is left out, since nobody has agreed to that.
    pub(crate) lacks: bool,
}

/// The project's policy, beside the one that it is to narrow.
struct Compared {
    found: ReadFile,
    project: PolicyFile,
    own: Parsed,
    base: PolicyFile,
    base_parsed: Parsed,
    widens: Widens,
}

/// The project's policy for a session of that user; none where there is none, and inside of a session, which has it already.
///
/// # Errors
///
/// Where it is no policy, cannot be read safely, or widens, and nobody has agreed to that.
pub(crate) fn project(
    identity: &CommandIdentity,
    policy: Option<&str>,
    socket: &Path,
    output: Output,
) -> Result<Option<Project>, CliError> {
    let looked = identity
        .with_rights(|| file::look(Path::new(".")))
        .map_err(|error| file::unreadable(Path::new(NAME), &error.to_string()))?;
    if matches!(looked, Ok(None)) {
        return Ok(None);
    }
    let mut client = Client::connect(socket)?;
    if inside::is_known_inside(&mut client) {
        return Ok(None);
    }
    let Some(found) = looked? else {
        return Ok(None);
    };
    let read = |path: &Path| PolicyFile::read_as(path, identity);
    let person = Person::of(identity);
    let compared = Compared::of(found, policy, &mut client, &person, &read, output)?;
    let is_agreed = if compared.widens.is_empty() {
        true
    } else {
        compared.is_agreed(&mut client, uid(identity), policy, output)?
    };
    if is_agreed {
        compared.project().map(Some)
    } else {
        Err(compared.refused("you said no".to_owned(), policy).into())
    }
}

/// What would judge a session that a person starts in a directory, for whoever only asks: nobody is asked to agree to anything. What nobody
/// has agreed to is left out, and said.
///
/// # Errors
///
/// As [`project`], but for what widens.
pub(crate) fn judging(
    dir: &Path,
    policy: Option<&str>,
    client: &mut Client,
    output: Output,
) -> Result<Option<Project>, CliError> {
    let whose = Whose::of_command();
    let Some(found) = whose.project(dir)? else {
        return Ok(None);
    };
    if found.is_named(policy) || inside::is_known_inside(client) {
        return Ok(None);
    }
    let read = |path: &Path| whose.read(path);
    let compared = Compared::of(found, policy, client, &whose.person(), &read, output)?;
    let is_known = compared.widens.is_empty() || {
        let uid = whose.0.as_ref().and_then(uid);
        let known: DecisionsReply = client.call(&Call::Decisions { uid })?;
        known.trusted.contains(&compared.trusted())
    };
    if is_known {
        compared.project()
    } else {
        compared.narrowing(policy)
    }
    .map(Some)
}

/// The same without guardd, which alone knows what a person has agreed to.
///
/// # Errors
///
/// As [`judging`].
pub(crate) fn narrowing(
    dir: &Path,
    base: &PolicyFile,
    policy: Option<&str>,
    output: Output,
) -> Result<Option<Project>, CliError> {
    match Whose::of_command().project(dir)? {
        Some(found) if !found.is_named(policy) && !inside::is_inside() => {
            let compared = Compared::under(found, base.clone(), output)?;
            compared.narrowing(policy).map(Some)
        }
        _ => Ok(None),
    }
}

/// The project's policy, once that is printed. `guard run` starts nothing where it is not taken.
///
/// # Errors
///
/// What kept it from being known, but for what is wrong with it.
pub(crate) fn said(
    judging: Result<Option<Project>, CliError>,
    output: Output,
) -> Result<Option<Project>, CliError> {
    match judging {
        Ok(project) => {
            match &project {
                Some(project) if project.lacks => {
                    output.warnings(std::slice::from_ref(&project.says));
                }
                Some(project) => output.note(&project.says),
                None => {}
            }
            Ok(project)
        }
        Err(CliError::Local(failure)) => {
            output.warnings(&[format!(
                "{}: {}; where it is so for whom the command runs as, guard run starts nothing here",
                failure.what, failure.why
            )]);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whom a command of `guard run` would run as here: under sudo whoever called that. None: root has to say whom.
struct Whose(Option<CommandIdentity>);

impl Whose {
    fn of_command() -> Self {
        Self(CommandIdentity::choose(None).ok())
    }

    fn project(&self, dir: &Path) -> Result<Option<ReadFile>, Failure> {
        let look = || file::look(dir);
        let found = match &self.0 {
            Some(identity) => identity
                .with_rights(look)
                .map_err(|error| file::unreadable(Path::new(NAME), &error.to_string()))?,
            None => look(),
        };
        // From elsewhere it is called by that directory.
        let from_here = |found: ReadFile| {
            if dir == Path::new(".") {
                found
            } else {
                ReadFile {
                    shown: dir.join(&found.shown),
                    ..found
                }
            }
        };
        found.map(|found| found.map(from_here))
    }

    fn read(&self, path: &Path) -> Result<PolicyFile, Failure> {
        match &self.0 {
            Some(identity) => PolicyFile::read_as(path, identity),
            None => PolicyFile::read(path),
        }
    }

    fn person(&self) -> Person {
        self.0.as_ref().map_or_else(Person::own, Person::of)
    }
}

/// `guard trust`
pub(crate) fn trust(args: &TrustArgs, socket: &Path, output: Output) -> Result<Exit, CliError> {
    let refuse = |why: &str, fix: &str| {
        Err(CliError::Local(Failure {
            what: "nothing is trusted".into(),
            why: why.into(),
            fix: fix.into(),
        }))
    };
    if inside::is_inside_of(socket) {
        return refuse(
            "this is inside of a session, where nothing can widen what it may reach",
            "ask the person who started it to type it outside:\nguard trust",
        );
    }
    if sudo::is_root() {
        return refuse(
            "each user decides for their own sessions, and this is root",
            &sudo::as_that_person(),
        );
    }
    let path = args.file.clone().unwrap_or_else(|| NAME.into());
    if args.withdraw {
        return withdraw(&path, &mut Client::connect(socket)?, output);
    }
    let found = file::read(&path)?;
    let mut client = Client::connect(socket)?;
    let (policy, read) = (args.policy.as_deref(), PolicyFile::read);
    let compared = Compared::of(found, policy, &mut client, &Person::own(), &read, output)?;
    if compared.widens.is_empty() {
        return compared.say_that_it_narrows(output);
    }
    let is_agreed = compared.is_agreed(&mut client, None, policy, output)?;
    let said = Trusted::new(
        &compared.found,
        if is_agreed { "trusted" } else { "refused" },
    );
    // It may have been changed while the person read it.
    let is_same = file::read(&path).is_ok_and(|now| hash(&now.bytes) == said.sha256);
    let told = output.print(&said, |said, _| {
        let (file, sha256) = (&said.file, &said.sha256);
        Page::of(match (is_agreed, is_same) {
            (true, true) => format!("Trusted as it is now: {file} ({sha256})"),
            (true, false) => format!(
                "Trusted as it was shown: {file} ({sha256}). The file has changed since, and is not trusted as it is now."
            ),
            (false, _) => "Nothing is trusted.".to_owned(),
        })
    });
    Exit::answer(is_agreed).once_told(told)
}

/// Takes back each yes for a file, whatever it says by now: it may have been changed, or be gone.
fn withdraw(path: &Path, client: &mut Client, output: Output) -> Result<Exit, CliError> {
    let found = file::read(path).unwrap_or_else(|_| ReadFile::unread(path));
    let before: DecisionsReply = client.call(&Call::Decisions { uid: None })?;
    let call = Call::Trust {
        file: found.trusted("", ""),
        uid: None,
        withdraw: true,
    };
    let now: DecisionsReply = client.call(&call)?;
    let said = Trusted {
        withdrawn: Some(before.trusted.len().saturating_sub(now.trusted.len())),
        ..Trusted::new(&found, "withdrawn")
    };
    let is_any = said.withdrawn != Some(0);
    let told = output.print(&said, |said, _| {
        Page::of(match said.withdrawn {
            Some(0) => format!(
                "Nobody has said yes to {}: nothing to take back.",
                said.file
            ),
            _ => format!("{} widens no policy any more.", said.file),
        })
    });
    Exit::answer(is_any).once_told(told)
}

/// What became of a file.
#[derive(Debug, Serialize)]
struct Trusted {
    /// The file.
    file: String,
    /// SHA-256 of its bytes.
    sha256: String,
    /// `narrows`, `trusted`, `refused` or `withdrawn`.
    is: &'static str,
    /// Whether the policy stops all that it would without the file, and no more.
    unchanged: bool,
    /// How often a yes was taken back, with `--withdraw`.
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn: Option<usize>,
}

impl Trusted {
    fn new(found: &ReadFile, is: &'static str) -> Self {
        Self {
            file: found.shown.display().to_string(),
            sha256: hash(&found.bytes),
            is,
            unchanged: false,
            withdrawn: None,
        }
    }
}

/// Reads a policy by its path.
type PolicyReader<'r> = &'r dyn Fn(&Path) -> Result<PolicyFile, Failure>;

impl Compared {
    fn of(
        found: ReadFile,
        policy: Option<&str>,
        client: &mut Client,
        person: &Person,
        read: PolicyReader<'_>,
        output: Output,
    ) -> Result<Self, CliError> {
        let base = base(policy, client, person, read)?;
        Self::under(found, base, output)
    }

    fn under(found: ReadFile, base: PolicyFile, output: Output) -> Result<Self, CliError> {
        let text = String::from_utf8(found.bytes.clone())
            .map_err(|_| file::unreadable(&found.shown, "it is no text in UTF-8"))?;
        let project = PolicyFile {
            name: found.shown.display().to_string(),
            text,
        };
        let own = project.parse(output)?;
        let base_parsed = base.parse(output)?;
        let widens =
            widens(&base_parsed, &own).map_err(|why| file::unreadable(&found.shown, &why))?;
        Ok(Self {
            found,
            project,
            own,
            base,
            base_parsed,
            widens,
        })
    }

    /// Says that nobody has to agree to it.
    fn say_that_it_narrows(&self, output: Output) -> Result<Exit, CliError> {
        let mut said = Trusted::new(&self.found, "narrows");
        said.unchanged = self.changes_nothing()?;
        let does = if said.unchanged {
            "changes nothing of"
        } else {
            "only narrows"
        };
        output.print(&said, |said, _| {
            Page::of(format_args!(
                "{} {does} the policy {}: nobody has to agree to it.",
                said.file, self.base_parsed.policy.name
            ))
        })?;
        Ok(Exit::DONE)
    }

    /// Whether a person has agreed to it, or does now.
    fn is_agreed(
        &self,
        client: &mut Client,
        uid: Option<u32>,
        policy: Option<&str>,
        output: Output,
    ) -> Result<bool, CliError> {
        let file = self.trusted();
        let known: DecisionsReply = client.call(&Call::Decisions { uid })?;
        if known.trusted.contains(&file) {
            return Ok(true);
        }
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        if output.is_json() || !is_terminal {
            let why = self.not_agreed(&known.trusted, &file);
            return Err(self.refused(why.to_owned(), policy).into());
        }
        if self.widens.lines.len() > LINES {
            let why = format!(
                "with {} lines it is too much to agree to",
                self.widens.lines.len()
            );
            return Err(self.refused(why, policy).into());
        }
        let _ = anstream::stderr().write_all(self.page(&file).as_str().as_bytes());
        if !yes("Let it, as it is now, under this policy?")? {
            return Ok(false);
        }
        let withdraw = false;
        let call = Call::Trust {
            file,
            uid,
            withdraw,
        };
        client.call::<DecisionsReply>(&call).map(|_| true)
    }

    /// Why the yes to a file does not count: there is none, or something has changed since.
    fn not_agreed(&self, known: &[TrustedFile], now: &TrustedFile) -> &'static str {
        let its: Vec<_> = known.iter().filter(|one| one.file == now.file).collect();
        match its.as_slice() {
            [] => "nobody has agreed to that",
            its if its.iter().any(|one| one.sha256 == now.sha256) => {
                "the policy has changed since you agreed to it"
            }
            its if its.iter().any(|one| one.shown == now.shown) => {
                "the file has changed since you agreed to it, in lines that widen nothing"
            }
            _ => "the file has changed since you agreed to it, in lines that widen",
        }
    }

    /// What a person agrees to.
    fn trusted(&self) -> TrustedFile {
        let shown = hash(self.widens.agreed().as_bytes());
        self.found.trusted(&hash(self.base.text.as_bytes()), &shown)
    }

    fn page(&self, file: &TrustedFile) -> Page {
        let mut page = Page::default();
        page.styled(STRONG, self.found.shown.display());
        page.line(format_args!(
            " would let more through than the policy {}:",
            self.base_parsed.policy.name
        ));
        for line in &self.widens.lines {
            page.text("  ").styled(BAD, "widens").text("  ");
            let (file, number) = (self.found.shown.display(), line.number);
            page.rest_of_line(format_args!("{file}:{number}  {}", line.says), 10);
        }
        for line in &self.widens.narrow {
            page.text("  ").styled(GOOD, "narrows").text(" ");
            page.rest_of_line(format_args!("{}:{}", self.found.shown.display(), line), 10);
        }
        for line in &self.widens.neither {
            page.styled(HEAD, "  neither").text(" ");
            page.rest_of_line(format_args!("{}:{}", self.found.shown.display(), line), 10);
        }
        page.styled(HEAD, format_args!("  SHA-256 {}", file.sha256));
        page.end();
        page
    }

    fn refused(&self, why: String, policy: Option<&str>) -> Failure {
        let (shown, name) = (self.found.shown.display(), &self.base_parsed.policy.name);
        let lines = self.widens.lines.iter();
        let lines = lines.map(|line| format!("line {}, {}", line.number, line.says));
        let lines: Vec<_> = lines.take(LINES).collect();
        let more = match self.widens.lines.len().saturating_sub(LINES) {
            0 => String::new(),
            count => format!("; and {count} more"),
        };
        let trust = self.to_trust(policy);
        Failure {
            what: format!("{shown} would let more through than the policy {name}"),
            why: format!("{why}: {}{more}", lines.join("; ")),
            fix: format!(
                "look at it, and agree to it as it is, at a terminal; or take these lines out:\n{trust}"
            ),
        }
    }

    /// What a person types to agree to it: a yes counts under one policy.
    fn to_trust(&self, policy: Option<&str>) -> String {
        let mut words = vec!["guard".to_owned(), "trust".to_owned()];
        words.push(self.found.shown.display().to_string());
        words.extend(
            policy
                .iter()
                .flat_map(|policy| ["--policy".to_owned(), (*policy).to_owned()]),
        );
        command_line(&words)
    }

    /// What judges beside the policy.
    fn beside(&self) -> Result<(PolicyFile, Parsed), String> {
        let beside = PolicyFile {
            name: self.project.name.clone(),
            text: beside(&self.project.text, &self.base_parsed.policy)?,
        };
        let parsed = parsed_of(&beside)?;
        Ok((beside, parsed))
    }

    /// Whether all is as without it, where nothing widens.
    fn changes_nothing(&self) -> Result<bool, Failure> {
        let unreadable = |why: String| file::unreadable(&self.found.shown, &why);
        let (_, beside) = self.beside().map_err(unreadable)?;
        let (base, own) = (&self.base_parsed.policy, &self.own.policy);
        stops_nothing_more(base, own, &beside.policy).map_err(unreadable)
    }

    /// What judges without anything that widens.
    fn narrowing(self, policy: Option<&str>) -> Result<Project, CliError> {
        let not_toml = |why: String| file::unreadable(&self.found.shown, &why);
        let (beside, parsed) = self.beside().map_err(not_toml)?;
        let (shown, name) = (self.found.shown.display(), &self.base_parsed.policy.name);
        let says = if self.widens.is_empty() {
            format!("{shown} judges beside the policy {name}")
        } else {
            format!(
                "{shown} would let more through than the policy {name}; what follows is without that: guard run starts nothing \
                 here until a person agrees ({})",
                self.to_trust(policy)
            )
        };
        Ok(Project {
            policy: None,
            beside: beside.to_wire(&parsed),
            parsed,
            says,
            lacks: !self.widens.is_empty(),
        })
    }

    fn project(self) -> Result<Project, CliError> {
        let not_toml = |why: String| file::unreadable(&self.found.shown, &why);
        let base = &self.base_parsed.policy;
        let (beside, parsed) = self.beside().map_err(not_toml)?;
        let policy = if self.widens.is_empty() {
            None
        } else {
            let merged = merged(&self.base.text, base, &self.project.text, &self.widens);
            let file = PolicyFile {
                name: self.base.name.clone(),
                text: merged.map_err(not_toml)?,
            };
            let parsed = parsed_of(&file).map_err(not_toml)?;
            Some(file.to_wire(&parsed))
        };
        let verb = match policy {
            Some(_) => "changes the policy, as you agreed to",
            None if self.changes_nothing()? => "changes nothing of the policy",
            None => "narrows the policy",
        };
        Ok(Project {
            says: format!("{} {verb} {}", self.found.shown.display(), base.name),
            lacks: false,
            policy,
            beside: beside.to_wire(&parsed),
            parsed,
        })
    }
}

/// A policy that was made here: what is wrong with it is nothing that a person wrote.
fn parsed_of(file: &PolicyFile) -> Result<Parsed, String> {
    valid(file).map_err(|wrong| {
        let first = wrong.first().map(|one| one.message.clone());
        first.unwrap_or_else(|| "it does not fit into the policy".to_owned())
    })
}

impl ReadFile {
    /// Whether `--policy` names this very file.
    fn is_named(&self, policy: Option<&str>) -> bool {
        let file = policy.filter(|policy| is_file(policy));
        let file = file.and_then(|file| Path::new(file).canonicalize().ok());
        file.is_some_and(|file| file == self.path)
    }

    fn trusted(&self, policy: &str, shown: &str) -> TrustedFile {
        TrustedFile {
            file: self.path.display().to_string(),
            sha256: hash(&self.bytes),
            policy: policy.to_owned(),
            shown: shown.to_owned(),
        }
    }
}

/// SHA-256, in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Whose decisions count: root asks for another user, whom the command runs as.
fn uid(identity: &CommandIdentity) -> Option<u32> {
    geteuid().is_root().then_some(identity.uid())
}

/// The policy that the session would have by itself.
fn base(
    policy: Option<&str>,
    client: &mut Client,
    person: &Person,
    read: PolicyReader<'_>,
) -> Result<PolicyFile, CliError> {
    let name = match policy {
        Some(file) if is_file(file) => return Ok(read(Path::new(file))?),
        Some(name) => name.to_owned(),
        None => {
            let status: Status = client.call(&Call::Status {})?;
            status.session_policy.unwrap_or_else(|| "default".into())
        }
    };
    match PolicyFile::machines(&name)? {
        Some(file) => Ok(file),
        None => match personal(&name, person) {
            Some(file) => Ok(read(&file)?),
            None => Ok(PolicyFile::named(&name)?),
        },
    }
}
