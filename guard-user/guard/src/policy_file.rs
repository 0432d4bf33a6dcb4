//! A policy that the user names as a file: read with the user's own rights, and shown where it is wrong.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use guard_launch::CommandIdentity;
use guard_policy::{self as policy, Diagnostic, Parsed, Severity};
use guard_proto::{Call, Failure, PolicyRef, Status, varlink::MAX_POLICY_FRAME};
use rustix::fs::OFlags;
use serde::de::DeserializeOwned;

use super::around::{self, Fleet};
use super::client::Client;
use super::error::CliError;
use super::person::Person;
use super::policy::called_as_another;
use super::render::{Output, command_line, is_new, path_word};
use super::size;
use super::sudo;

/// Mode bits: writable by the group, or by everybody.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where policies are installed.
pub(crate) const INSTALLED: [&str; 2] = ["/etc/guard/policies", "/usr/share/guard/policies"];

/// The socket of the guardd to talk to, once the command line is read.
static SOCKET: OnceLock<PathBuf> = OnceLock::new();
/// What a guardd says of policies, once that was wanted.
static SAID: OnceLock<Option<Status>> = OnceLock::new();
/// Where policies are looked for, once that was wanted.
static DIRS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Has the guardd at that socket say where policies are and which one is meant without a name, once one is looked for.
pub(crate) fn look_where_said_at(socket: &Path) {
    // There is one command line.
    let _ = SOCKET.set(socket.to_owned());
}

/// Where policies are looked for by name: where guardd does, if one runs, else where they are installed.
pub(crate) fn dirs() -> &'static [PathBuf] {
    let said = || said().map(|status| status.policy_dirs.clone());
    let said = || said().filter(|dirs| !dirs.is_empty());
    DIRS.get_or_init(|| said().unwrap_or_else(|| INSTALLED.map(PathBuf::from).into()))
}

/// Where guardd looks for policies; none if none runs.
pub(crate) fn dirs_of_guardd() -> Option<&'static [PathBuf]> {
    said().map(|status| &status.policy_dirs[..])
}

/// The policy that is named; else that of a `guard run` that names none, as the settings of guardd have it, if one runs.
pub(crate) fn or_default(named: Option<&str>) -> &str {
    let usual = || said()?.session_policy.as_deref();
    named.or_else(usual).unwrap_or("default")
}

fn said() -> Option<&'static Status> {
    SAID.get_or_init(|| ask(&Call::Status {})?.ok()).as_ref()
}

/// What the guardd that is meant answers; none: it is not said which that is.
pub(crate) fn ask<Answer: DeserializeOwned>(call: &Call) -> Option<Result<Answer, CliError>> {
    let socket = SOCKET.get()?;
    Some(Client::connect(socket).and_then(|mut client| client.call(call)))
}

/// Whether guardd, or else its settings, name no fleet.
pub(crate) fn is_in_no_fleet() -> bool {
    match said() {
        Some(status) => status.fleet.is_none(),
        None => SOCKET
            .get()
            .is_none_or(|socket| around::settings_name_none(socket)),
    }
}

/// Whether `--policy` means a file and not one of guardd's own policies.
pub(crate) fn is_file(policy: &str) -> bool {
    policy.contains('/') || policy.ends_with(".toml")
}

/// The file of an installed policy.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let mut files = dirs().iter().map(|dir| dir.join(format!("{name}.toml")));
    files.find(|path| path.exists())
}

/// Whether a policy of that name is the fleet's, installed or built in.
pub(crate) fn is_machines(name: &str) -> bool {
    let is_fleets = || Fleet::known().names().iter().any(|known| known == name);
    installed(name).is_some()
        || policy::SHIPPED.iter().any(|(known, _)| *known == name)
        || is_fleets()
}

/// Whether every machine has a policy of that name, or this one where they are installed. No guardd is asked: where none runs, one may
/// be started yet.
pub(crate) fn is_usual(name: &str) -> bool {
    let mut dirs = INSTALLED.iter().map(Path::new);
    policy::SHIPPED.iter().any(|(known, _)| *known == name)
        || dirs.any(|dir| dir.join(format!("{name}.toml")).exists())
}

/// Whether there is a policy of that name, one of the person's own perhaps.
pub(crate) fn is_policy(name: &str) -> bool {
    is_machines(name) || personal(name, &Person::own()).is_some()
}

/// In words.
fn shown(dirs: &[PathBuf]) -> String {
    let dirs = dirs.iter().map(|dir| dir.display().to_string());
    dirs.collect::<Vec<_>>().join(" or ")
}

/// The file of a policy that a person keeps under that name. One that guardd has is taken first: what runs as that person, a
/// session too, may write there, and must not change what a name means that root has given.
pub(crate) fn personal(name: &str, person: &Person) -> Option<PathBuf> {
    let file = person.policies()?.join(format!("{name}.toml"));
    // What opened a pipe would wait for its other end.
    (!is_file(name) && file.is_file()).then_some(file)
}

/// The names of the policies that a person keeps, and that no policy of the machine's has.
fn personal_names(person: &Person) -> Vec<String> {
    let files = person.policies().into_iter().flat_map(fs::read_dir);
    let files = files
        .flatten()
        .flatten()
        .filter(|file| file.path().is_file());
    let names = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        Some(name.strip_suffix(".toml")?.to_owned())
    });
    let mut names: Vec<_> = names.filter(|name| !is_machines(name)).collect();
    names.sort();
    names
}

/// guardd's word that it has no policy of that name: it does not know of the person's own.
pub(crate) fn none_of_that_name(unknown: CliError, policy: &str, person: &Person) -> CliError {
    let own = personal_names(person);
    match unknown {
        CliError::Answer { name, mut failure } => {
            failure.why.push_str(&nor_ones_own(person));
            if let Some(file) = beside(policy) {
                failure.fix = format!("name the file that is here: {file}\nor {}", failure.fix);
            }
            if !own.is_empty() {
                failure.fix = format!("{}; or of your own: {}", failure.fix, own.join(", "));
            }
            CliError::Answer { name, failure }
        }
        unknown => unknown,
    }
}

/// guardd's word that it has no policy of the `name` that its settings have for commands without one. One of the person's own that is
/// called so is named, and not taken: the settings mean the machine's, and whatever runs as that person may have written theirs.
pub(crate) fn none_by_settings(
    unknown: CliError,
    name: &str,
    command: &[String],
    person: &Person,
) -> CliError {
    let CliError::Answer {
        name: kind,
        failure,
    } = unknown
    else {
        return unknown;
    };
    let own = personal(name, person);
    let policy = own.as_ref().map_or("default", |_| name);
    let run = ["guard", "run", "--policy", policy, "--"].map(str::to_owned);
    let run = command_line(&[&run[..], command].concat());
    let of_ones_own = own.map_or_else(String::new, |file| {
        format!(
            "; {} is your own, which --policy alone means",
            file.display()
        )
    });
    let failure = Failure {
        what: failure.what,
        why: format!(
            "guardd's settings name it for commands without --policy (default_policy), and {}{of_ones_own}",
            failure.why
        ),
        fix: format!(
            "{run}\nor have root correct default_policy in /etc/guard/guardd.toml, and then:\nsudo systemctl restart guardd"
        ),
    };
    CliError::Answer {
        name: kind,
        failure,
    }
}

/// The file in this directory that may be meant by a name, as it is to be named.
fn beside(name: &str) -> Option<String> {
    let file = format!("./{name}.toml");
    Path::new(&file).is_file().then_some(file)
}

/// Where a person's own policies were looked for in vain, behind where the machine's were.
fn nor_ones_own(person: &Person) -> String {
    let dir = person.policies();
    // Of a command that root starts for somebody, it is theirs.
    let is_roots = sudo::caller().is_some() && *person == Person::own();
    let whose = if is_roots { ROOTS } else { "" };
    dir.map_or_else(String::new, |dir| {
        format!(", nor in {}{whose}", dir.display())
    })
}

/// Why a person's own policies are not found under sudo.
const ROOTS: &str = ", as sudo makes this root: your own are found without it";

/// How a person's own policy is found that root does not have, where this is root by sudo.
pub(crate) fn without_sudo() -> String {
    match sudo::caller() {
        Some(_) => format!("{}\nor one of these:\n", sudo::as_that_person()),
        None => String::new(),
    }
}

/// What guardd gets for `--policy`: a name of its own, or a file's text.
///
/// # Errors
///
/// `read`'s, or that the policy is invalid, once all that is wrong with it is shown.
pub(crate) fn policy_ref(
    policy: &str,
    read: impl FnOnce(&Path) -> Result<PolicyFile, Failure>,
    output: Output,
) -> Result<PolicyRef, CliError> {
    if !is_file(policy) {
        return Ok(PolicyRef {
            name: Some(policy.to_owned()),
            file: None,
            text: None,
        });
    }
    let file = read(Path::new(policy))?;
    let parsed = file.parse(output)?;
    Ok(file.to_wire(&parsed))
}

/// A policy as its file has it.
#[derive(Clone, Debug)]
pub(crate) struct PolicyFile {
    /// The file, as the user wrote it, or its whole path.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) text: String,
}

impl PolicyFile {
    /// Reads `path` with the rights of this process.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, is too long, or is no text.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Self::new(path, read(path))
    }

    /// The same of a file that lies where policies are kept: of anything but a regular file nothing is read, nor waited for.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::read`].
    pub(crate) fn read_kept(path: &Path) -> Result<Self, Failure> {
        Self::new(path, read_kept(path))
    }

    /// Reads a file, or the policy of that name: the fleet's, then of those that are installed, and of those that ship, as guardd
    /// does; and then the person's own.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::read`]; and where there is none of that name.
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        if is_file(name) {
            return Self::read(name.as_ref());
        }
        if let Some(file) = Self::machines(name)? {
            return Ok(file);
        }
        let own = Person::own();
        if let Some(path) = personal(name, &own) {
            return Self::read_kept(&path);
        }
        Err(Failure {
            what: format!("there is no policy {name}"),
            why: format!(
                "it is neither in {} nor built in{}",
                shown(dirs()),
                nor_ones_own(&own)
            ),
            fix: format!(
                "{}guard policy list\nor name a file, with a slash in it or .toml at its end: {}",
                without_sudo(),
                beside(name).unwrap_or_else(|| "./agent.toml".to_owned())
            ),
        })
    }

    /// The policy of that name that is the fleet's, installed or built in; none: the machine has none.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::read`]; and that it is not known what the fleet has.
    pub(crate) fn machines(name: &str) -> Result<Option<Self>, Failure> {
        if let Some(file) = Fleet::known().policy(name)? {
            return Ok(Some(file));
        }
        if let Some(path) = installed(name) {
            return Self::read_kept(&path).map(Some);
        }
        let shipped = policy::SHIPPED.iter().find(|(known, _)| *known == name);
        Ok(shipped.map(|(name, text)| Self {
            name: format!("{name}.toml"),
            text: (*text).to_owned(),
        }))
    }

    /// Reads `path` for a unit: its agent, which has a home and perhaps more to write to, has no hand in it.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::read`]; and where somebody else than root could change what is read there.
    pub(crate) fn read_of_root(path: &Path) -> Result<Self, Failure> {
        let file = path.display();
        let refuse = |why| {
            Failure {
            what: format!("the policy {file} is not taken for a unit"),
            why,
            fix: "put it where only root may be able to change it, and give its whole path; or give the name of an \
                  installed policy:\nls /etc/guard/policies /usr/share/guard/policies"
                .into(),
        }
        };
        match unsafe_part(path) {
            Ok(None) => Self::read(path),
            Ok(Some(why)) => Err(refuse(why)),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Reads `path` with the rights of the user that the command will run as, who may have root's for the moment. It is called by its
    /// whole path: wherever somebody looks at the session later, that is the file.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::read`]; and where root cannot become that user.
    pub(crate) fn read_as(path: &Path, identity: &CommandIdentity) -> Result<Self, Failure> {
        let (text, whole) = identity
            .with_rights(|| (read(path), whole(path)))
            .unwrap_or_else(|error| (Err(error), path.to_owned()));
        let file = Self::new(path, text)?;
        Ok(Self {
            name: whole.to_string_lossy().into_owned(),
            ..file
        })
    }

    fn new(path: &Path, text: io::Result<String>) -> Result<Self, Failure> {
        let mut name = path.to_string_lossy().into_owned();
        if policy::built_in(&name).is_some() {
            name.insert_str(0, "./");
        }
        match text {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// The policy, once its warnings are shown.
    ///
    /// # Errors
    ///
    /// Where it is invalid, once all that is wrong with it is shown.
    pub(crate) fn parse(&self, output: Output) -> Result<Parsed, CliError> {
        let parsed = policy::parse(&self.name, &self.text)
            .map_err(|diagnostics| self.invalid(&diagnostics, output))?;
        if !output.is_json() {
            let unasked = policy::unasked(&parsed.policy, &self.text);
            let called = called_as_another(self, &parsed.policy);
            let warnings = parsed.warnings.iter().cloned();
            self.show(&warnings.chain(unasked).chain(called).collect::<Vec<_>>());
        }
        Ok(parsed)
    }

    /// Shows all that is wrong with it, for people; as an error, the first of it.
    pub(crate) fn invalid(&self, diagnostics: &[Diagnostic], output: Output) -> CliError {
        if !output.is_json() {
            self.show(diagnostics);
        }
        let first = diagnostics
            .iter()
            .find(|one| one.severity == Severity::Error);
        let why = first.map_or_else(String::new, |first| {
            format!(
                "line {}, column {}: {}",
                first.line, first.column, first.message
            )
        });
        CliError::Local(Failure {
            what: format!("the policy {} is invalid", self.name),
            why,
            fix: format!(
                "correct it, until this finds nothing:\nguard check {}",
                path_word(self.name.as_ref())
            ),
        })
    }

    /// Shows, on standard error, what is to be said about it, each warning once. That nobody reads it changes nothing.
    pub(crate) fn show(&self, diagnostics: &[Diagnostic]) {
        let shown = policy::render(&untold(diagnostics), &self.text, true);
        let _ = anstream::stderr().write_all(shown.as_bytes());
    }

    /// What guardd gets.
    pub(crate) fn to_wire(&self, parsed: &Parsed) -> PolicyRef {
        PolicyRef {
            name: Some(parsed.policy.name.clone()),
            file: Some(self.name.clone()),
            text: Some(self.text.clone()),
        }
    }
}

/// A file from the root on, by the directory that it really lies in. A link in its last part stays one: what it leads to may change.
pub(crate) fn whole(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parts = whole.parent().zip(whole.file_name());
    let real = parts.and_then(|(dir, name)| Some(dir.canonicalize().ok()?.join(name)));
    real.unwrap_or(whole)
}

/// Without warnings that were printed, in the words that guardd has for them.
fn untold(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let is_untold = |one: &&Diagnostic| {
        let place = policy::place(&one.file, Some(one.line));
        one.severity == Severity::Error || is_new(&format!("{place}: {}", one.message))
    };
    diagnostics.iter().filter(is_untold).cloned().collect()
}

/// The first part of `path` through which somebody else than root decides what is read there, and why; none if root alone does.
fn unsafe_part(path: &Path) -> io::Result<Option<String>> {
    // A relative one depends on the unit's WorkingDirectory=.
    if !path.is_absolute() {
        return Ok(Some("it does not begin with a slash".into()));
    }
    // A link in it may lead by way of places that are not looked at.
    if path.canonicalize()? != path {
        return Ok(Some("there is a link, or a .., in its path".into()));
    }
    for part in path.ancestors() {
        let meta = fs::symlink_metadata(part)?;
        if meta.uid() != 0 || meta.mode() & WRITABLE_BY_OTHERS != 0 {
            let part = part.display();
            return Ok(Some(format!("others than root may write to {part}")));
        }
    }
    Ok(None)
}

/// Why a file gives no policy, and what to do about it.
fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let (file, word) = (path.display(), path_word(path));
    let list = "guard policy list";
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let named = stem.filter(|name| is_machines(name));
    let (why, fix) = match (error.kind(), named) {
        (io::ErrorKind::NotFound, Some(name)) => (
            "there is no such file".to_owned(),
            format!(
                "the policy of that name is called without .toml and directory:\n{name}\n{list}"
            ),
        ),
        (io::ErrorKind::NotFound, None) if file.to_string().contains('*') => (
            "there is no file that it stands for".to_owned(),
            format!("name files that are there, or a policy:\n{list}"),
        ),
        (io::ErrorKind::NotFound, None) => (
            "there is no such file".to_owned(),
            format!("give a file that is there, or the name of a policy:\n{list}"),
        ),
        (io::ErrorKind::PermissionDenied, _) => (
            "you may not read it".to_owned(),
            format!("look at who may, or give the name of a policy:\nls -l {word}\n{list}"),
        ),
        (io::ErrorKind::IsADirectory, _) => (
            "it is a directory".to_owned(),
            format!("give a file in it, or the name of a policy:\nls {word}\n{list}"),
        ),
        (io::ErrorKind::InvalidInput, _) => (
            error.to_string(),
            format!(
                "a pipe, a socket or a device has no text that stays; look at what it is:\nls -l {word}\n{list}"
            ),
        ),
        (io::ErrorKind::InvalidData, _) => (
            error.to_string(),
            format!("a policy is TOML, in UTF-8; this tells what it is:\nfile {word}"),
        ),
        (io::ErrorKind::FileTooLarge, _) => (
            error.to_string(),
            format!("a policy has 65534 rules at most; look at what it is:\nls -l {word}\n{list}"),
        ),
        _ => (
            error.to_string(),
            format!("give a policy file that you may read, or the name of a policy:\n{list}"),
        ),
    };
    Failure {
        what: format!("cannot read the policy {file}"),
        why,
        fix,
    }
}

/// The text of a regular file, or of a pipe that was handed over, such as `<(…)` gives, that is no longer than guardd takes.
fn read(path: &Path) -> io::Result<String> {
    if is_handed(path) {
        text_of(&File::open(path)?)
    } else {
        read_kept(path)
    }
}

/// Whether it is what this process has open already: nothing that lies where a session writes.
fn is_handed(path: &Path) -> bool {
    let dirs = ["/dev/fd", "/proc/self/fd"].map(Path::new);
    path == Path::new("/dev/stdin") || path.parent().is_some_and(|dir| dirs.contains(&dir))
}

/// The text of a regular file. A process that opens a pipe otherwise waits for its other end.
fn read_kept(path: &Path) -> io::Result<String> {
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() || meta.is_dir() {
        text_of(&file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ))
    }
}

fn text_of(file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = MAX_POLICY_FRAME as u64;
    let length = file.take(limit + 1).read_to_end(&mut bytes)?;
    if length as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {}", size::shown(limit)),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let what = match error.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16, as some editors of Windows write",
            bytes if bytes.contains(&0) => "it is no text",
            _ => "it is no text in UTF-8",
        };
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use guard_proto::ErrorName;

    use super::*;

    #[test]
    fn files_are_told_from_names() {
        for file in ["./agent", "agent.toml", "/etc/agent.toml", "a/b"] {
            assert!(is_file(file), "{file}");
        }
        for name in ["homelab", "aws-prod", "toml"] {
            assert!(!is_file(name), "{name}");
        }
    }

    #[test]
    fn a_warning_is_told_once_and_an_error_whenever_it_is_one() {
        let text =
            "default = \"allow\"\n[[rule]]\nto = [\"*.once.example.com\"]\naction = \"confirm\"\n";
        let warnings = policy::parse("agent.toml", text).unwrap().warnings;
        assert_eq!(untold(&warnings), warnings);
        assert_eq!(untold(&warnings), []);
        // As guardd says it of the same file.
        let again = format!("agent.toml:3: {}", warnings[0].message);
        assert!(!is_new(&again), "{again}");
        let errors = policy::parse("agent.toml", "colour = 2\n").unwrap_err();
        assert_eq!(untold(&errors), untold(&errors));
        assert!(!errors.is_empty());
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let missing = PolicyFile::read(Path::new("/nonexistent/agent.toml")).unwrap_err();
        insta::assert_snapshot!(missing, @"cannot read the policy /nonexistent/agent.toml: there is no such file");
        assert!(PolicyFile::read(Path::new("/")).is_err());
        assert!(PolicyFile::read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn what_is_too_long_is_not_said_to_be_kept_from_anybody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        let long = File::create(&file).unwrap();
        long.set_len(MAX_POLICY_FRAME as u64 + 1).unwrap();
        let failure = PolicyFile::read(&file).unwrap_err();
        assert_eq!(failure.why, "it is longer than 2.0 MiB");
        assert!(failure.fix.contains("65534 rules"), "{}", failure.fix);
    }

    #[test]
    fn what_may_never_end_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("agent.toml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for odd in [fifo.as_path(), &link, Path::new("/dev/null")] {
            let refused = PolicyFile::read(odd).unwrap_err();
            assert!(refused.why.contains("no regular file"), "{refused}");
        }
        for handed in ["/dev/fd/63", "/proc/self/fd/0", "/dev/stdin"] {
            assert!(is_handed(Path::new(handed)), "{handed}");
        }
        for other in ["/dev/zero", "/proc/self/fd/0/x", "fd/63", "/dev/fd"] {
            assert!(!is_handed(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_file_that_is_called_as_what_is_built_in_is_told_from_it() {
        let named = |path: &str| PolicyFile::new(Path::new(path), Ok(String::new()));
        assert_eq!(named("homelab.toml").unwrap().name, "./homelab.toml");
        assert_eq!(named("agent.toml").unwrap().name, "agent.toml");
    }

    #[test]
    fn where_there_is_no_policy_of_a_name_ones_own_are_listed_too() {
        let home = tempfile::tempdir().unwrap();
        let policies = home.path().join(".config/guard/policies");
        fs::create_dir_all(&policies).unwrap();
        // What the machine has is guardd's to list, and taken first.
        for file in ["shop.toml", "attic.toml", "homelab.toml", "notes.txt"] {
            fs::write(policies.join(file), "version = 1\n").unwrap();
        }
        let unknown = || CliError::Answer {
            name: ErrorName::NotFound,
            failure: Failure {
                what: String::new(),
                why: "none of that name is in /etc/guard/policies or built in".to_owned(),
                fix: "use one of: ci, default".to_owned(),
            },
        };
        let why = format!(
            "none of that name is in /etc/guard/policies or built in, nor in {}",
            policies.display()
        );
        let fix = |person| {
            let error = none_of_that_name(unknown(), "hop", &person);
            let failure = error.failure().unwrap();
            assert_eq!(failure.why, why);
            failure.fix.clone()
        };
        let person = Person::of_home(home.path());
        assert_eq!(
            fix(person),
            "use one of: ci, default; or of your own: attic, shop"
        );
        fs::remove_dir_all(&policies).unwrap();
        let person = Person::of_home(home.path());
        assert_eq!(fix(person), "use one of: ci, default");
    }

    #[test]
    fn where_the_settings_name_no_policy_of_the_machines_it_is_said_what_to_type() {
        let home = tempfile::tempdir().unwrap();
        let policies = home.path().join(".config/guard/policies");
        fs::create_dir_all(&policies).unwrap();
        let told = || {
            let unknown = CliError::Answer {
                name: ErrorName::NotFound,
                failure: Failure {
                    what: "there is no policy \"mine\"".to_owned(),
                    why: "none of that name is in /etc/guard/policies or built in".to_owned(),
                    fix: "guard policy list".to_owned(),
                },
            };
            let command = ["make", "a b"].map(str::to_owned);
            let person = Person::of_home(home.path());
            none_by_settings(unknown, "mine", &command, &person)
        };
        let none = told();
        let failure = none.failure().unwrap();
        assert!(failure.why.contains("(default_policy)"), "{failure}");
        assert!(!failure.why.contains("your own"), "{failure}");
        let other = "guard run --policy default -- make 'a b'\n";
        assert!(failure.fix.starts_with(other), "{}", failure.fix);
        let file = policies.join("mine.toml");
        fs::write(&file, "version = 1\n").unwrap();
        let own = told();
        let failure = own.failure().unwrap();
        let words = format!("{} is your own, which --policy alone means", file.display());
        assert!(failure.why.ends_with(&words), "{failure}");
        let named = "guard run --policy mine -- make 'a b'\n";
        assert!(failure.fix.starts_with(named), "{}", failure.fix);
    }

    #[test]
    fn a_unit_has_a_file_that_only_root_changes() {
        let why = |path: &str| unsafe_part(Path::new(path)).unwrap().unwrap_or_default();
        assert!(why("agent.toml").contains("slash"));
        assert!(why("./agent.toml").contains("slash"));
        assert!(why("/proc/self/../version").contains("link"));
        assert!(why("/proc/self/status").contains("link"));
        assert_eq!(why("/proc/version"), "");
        assert_eq!(why("/tmp"), "others than root may write to /tmp");
        assert!(unsafe_part(Path::new("/nonexistent/agent.toml")).is_err());
        let none = PolicyFile::read_of_root(Path::new("agent.toml")).unwrap_err();
        insta::assert_snapshot!(none, @"the policy agent.toml is not taken for a unit: it does not begin with a slash");
    }

    #[test]
    fn another_user_reads_what_it_may_only() {
        if !rustix::process::geteuid().is_root() {
            // Only root has rights to lend.
            assert!(CommandIdentity::choose(None).unwrap().account().is_none());
            return;
        }
        let nobody = CommandIdentity::choose(Some("nobody")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.toml");
        fs::write(&file, "version = 1").unwrap();
        let permit = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        permit(directory.path(), 0o755);
        permit(&file, 0o644);
        let read = PolicyFile::read_as(&file, &nobody).unwrap();
        assert_eq!(read.text, "version = 1");
        permit(&file, 0o600);
        assert!(PolicyFile::read_as(&file, &nobody).is_err());
        assert!(PolicyFile::read(&file).is_ok(), "the caller's rights stay");
    }
}
