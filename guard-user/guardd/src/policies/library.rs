//! Where policies come from: guardd's directories, the built-in policies, or a session's own text.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use guard_policy::{Policy, SHIPPED, format_duration, nearest};
use guard_proto::PolicyRef;
use guard_signed::Bundle;
use serde::{Deserialize, Serialize};

use crate::control::failure::CallError;

/// The longest text of a policy, in bytes.
const MAX_TEXT: u64 = 256 * 1024 * 1024;
/// Where the fleet's policies are, as it is shown.
const FLEET: &str = "(fleet)";
/// Characters that are kept of the name that a session gives its policy's file, for the audit log.
const MAX_FILE: usize = 256;

/// A policy's text, and its source. It is kept in a file, which outlives guardd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyText {
    /// guardd's name for it; none if a session brought its own text.
    pub(crate) name: Option<String>,
    /// Its file, as it is shown; none if it is built in.
    pub(crate) file: Option<String>,
    /// The text.
    pub(crate) text: String,
    /// It lets pass what no rule of it names.
    #[serde(default)]
    pub(crate) observe: bool,
    /// It is the fleet's, and lies around each session.
    #[serde(default)]
    pub(crate) base: bool,
    /// It is a project's, which judges beside a policy: an agent may have written it.
    #[serde(default)]
    pub(crate) project: bool,
    /// It judges one session alone beside a policy.
    #[serde(default)]
    pub(crate) apart: bool,
    /// Its names are not looked up: the name server that answers for a name reads it.
    #[serde(default)]
    pub(crate) unasked: bool,
}

impl PolicyText {
    /// A text that is enforced, and not only observed.
    fn new(name: Option<&str>, file: Option<String>, text: String) -> Self {
        Self {
            name: name.map(str::to_owned),
            file,
            text,
            observe: false,
            base: false,
            project: false,
            apart: false,
            unasked: false,
        }
    }

    /// A text that a session brought. The name of its file is shown, and never opened.
    #[must_use]
    pub(crate) fn brought(file: Option<String>, text: String) -> Self {
        let file = file.unwrap_or_else(|| "policy.toml".to_owned());
        let file = file.chars().take(MAX_FILE).collect();
        Self::new(None, Some(file), text)
    }

    /// One of the fleet's.
    #[must_use]
    pub(crate) fn of_fleet(name: &str, text: &str) -> Self {
        let file = format!("{FLEET}/{name}.toml");
        Self::new(Some(name), Some(file), text.to_owned())
    }

    /// The same as a project's beside others, which let every name be asked for, or do not: then guardd asks for none of it.
    #[must_use]
    pub(crate) fn of_project(self, may_ask: bool) -> Self {
        Self {
            project: true,
            unasked: !may_ask,
            ..self
        }
    }

    /// A reason of one of its rules, for the approver who is asked about it. What a project says is told as its words.
    #[must_use]
    pub(crate) fn told(&self, reason: String) -> String {
        if self.project {
            format!("the project says {reason:?}")
        } else {
            reason
        }
    }

    /// The same policy, which lies around each session. It has no name of guardd's: a session is not started under it by that.
    #[must_use]
    pub(crate) fn around(self) -> Self {
        Self {
            name: None,
            base: true,
            ..self
        }
    }

    /// The same policy, which lets pass what no rule of it names.
    #[must_use]
    pub(crate) fn observing(self) -> Self {
        Self {
            observe: true,
            ..self
        }
    }

    /// What judges one session alone beside a policy, and allows all, until [`Self::narrowed`] adds rules. How the text of the policy
    /// is written does not matter to these, nor what its own rules say. What is no matter of rules is as there: both must allow. However
    /// wide a rule is that is added, the machine itself and its name servers are left to the policy. An agent may have written the names
    /// in these rules: where what judges the session does not let it ask for every name (`may_ask`), guardd asks for none of them.
    #[must_use]
    pub(crate) fn apart(policy: &Policy, nonce: &str, may_ask: bool) -> Self {
        let max_hole = policy.max_hole.map_or_else(String::new, |most| {
            format!("max_hole = \"{}\"\n", format_duration(most))
        });
        let sockets = policy.unix.iter().map(ToString::to_string);
        // The names are printable, and so in JSON as in TOML.
        let unix = if policy.unix.is_empty() {
            String::new()
        } else {
            format!(
                "[unix]\nallow = {}\n",
                serde_json::Value::from_iter(sockets)
            )
        };
        let (hold, inbound) = (format_duration(policy.hold), policy.inbound);
        // Its name is this without directory and ending, as the policy's. No file of a policy has its rules.
        let file = format!("(for this session)/{}.toml", policy.name);
        let text = format!(
            "# For one session: {nonce}.\nversion = 1\ndefault = \"allow\"\nhold = \"{hold}\"\n\
             inbound = {inbound}\n{max_hole}{unix}\n\
             [[rule]]\nname = \"this machine\"\nto = [\"@loopback\"]\naction = \"allow\"\n\n\
             [[rule]]\nname = \"name servers\"\nto = [\"@dns\"]\nports = [\"tcp/53\", \"udp/53\"]\naction = \"allow\"\n"
        );
        Self {
            apart: true,
            unasked: !may_ask,
            ..Self::new(None, Some(file), text)
        }
    }

    /// Whether what it does not name is another policy's matter, or is only observed.
    #[must_use]
    pub(crate) const fn is_layer(&self) -> bool {
        self.base || self.project || self.apart || self.observe
    }

    /// With one more rule, unless it has one of that name already.
    #[must_use]
    pub(crate) fn narrowed(&self, name: &str, rule: &str) -> Option<Self> {
        let text = format!("{}\n[[rule]]\nname = \"{name}\"\n{rule}", self.text);
        let is_new = !self.text.contains(&format!("\nname = \"{name}\"\n"));
        is_new.then(|| Self {
            text,
            ..self.clone()
        })
    }

    /// The text with what it is called, for those who judge by it.
    #[must_use]
    pub(crate) fn shown(self) -> PolicyRef {
        let stem = self.file.as_deref().map(Path::new);
        let stem = stem.and_then(Path::file_stem);
        let called = stem.map(|stem| stem.to_string_lossy().into_owned());
        PolicyRef {
            name: self.name.or(called),
            file: self.file,
            text: Some(self.text),
        }
    }

    /// The name of its file in messages.
    #[must_use]
    pub(crate) fn shown_file(&self) -> String {
        match (&self.file, &self.name) {
            (Some(file), _) => file.clone(),
            (None, Some(name)) => format!("{name}.toml"),
            (None, None) => "policy.toml".to_owned(),
        }
    }
}

/// The directories with guardd's policies, the first of them first.
#[derive(Clone, Debug)]
pub(crate) struct Library {
    dirs: Vec<PathBuf>,
    /// The fleet's policies, by name, which come first; or why they are not known. Then no name means anything: it might be one of
    /// those.
    fleet: Result<BTreeMap<String, String>, String>,
}

impl Library {
    /// A library of these directories; built-in policies come last.
    #[must_use]
    pub(crate) fn new(dirs: Vec<PathBuf>) -> Self {
        Self {
            dirs,
            fleet: Ok(BTreeMap::new()),
        }
    }

    /// Has the fleet's policies be these, or not be known.
    pub(crate) fn set_fleet(&mut self, policies: Result<BTreeMap<String, String>, String>) {
        self.fleet = policies;
    }

    /// Whether it is known what names mean.
    #[must_use]
    pub(crate) fn is_known(&self) -> bool {
        self.fleet.is_ok()
    }

    /// The directories.
    #[must_use]
    pub(crate) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The policy that a client names or brings.
    ///
    /// # Errors
    ///
    /// `NotFound`, or `Invalid` if it names none or the text cannot be a name.
    pub(crate) fn resolve(&self, asked: PolicyRef) -> Result<PolicyText, CallError> {
        match asked {
            PolicyRef {
                text: Some(text),
                file,
                name,
            } => Ok(PolicyText::brought(file.or(name), text)),
            PolicyRef {
                name: Some(name), ..
            } => self.find(&name),
            PolicyRef { .. } => Err(CallError::invalid(
                "cannot tell which policy is meant",
                "it has neither a name nor a text",
                "give one of them",
            )),
        }
    }

    /// guardd's policy of that name.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, `Invalid` if the text cannot be a name, `Failed` if its file cannot be read.
    pub(crate) fn find(&self, name: &str) -> Result<PolicyText, CallError> {
        if !is_name(name) {
            return Err(CallError::invalid(
                format!("{name:?} is no policy's name"),
                "a name has letters, digits, `-`, `_` and `.`, and starts with a letter or digit",
                "give a file with a slash in it to use a file: ./policy.toml",
            ));
        }
        match &self.fleet {
            Err(why) => {
                return Err(CallError::failed(
                    format!("it is not known what the policy {name:?} is"),
                    format!("the fleet's policies cannot be verified any more: {why}"),
                    "have them signed and offered again",
                ));
            }
            Ok(fleet) => {
                if let Some(text) = fleet.get(name) {
                    return Ok(PolicyText::of_fleet(name, text));
                }
            }
        }
        for dir in &self.dirs {
            let file = dir.join(format!("{name}.toml"));
            if let Some(text) = read_text(&file)? {
                let file = file.display().to_string();
                return Ok(PolicyText::new(Some(name), Some(file), text));
            }
        }
        self.shipped(name)
    }

    fn shipped(&self, name: &str) -> Result<PolicyText, CallError> {
        let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
        let (_, text) = found.ok_or_else(|| self.unknown(name))?;
        Ok(PolicyText::new(Some(name), None, (*text).to_owned()))
    }

    fn unknown(&self, name: &str) -> CallError {
        let dirs: Vec<_> = self
            .dirs
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        let names = self.names();
        let all: Vec<_> = names.iter().map(String::as_str).collect();
        // A person's own names are added at its end.
        let list = format!("guard policy list\nor use one of: {}", names.join(", "));
        let fix = match nearest(name, &all) {
            Some(meant) => format!("did you mean {meant}?\n{list}"),
            None => list,
        };
        CallError::not_found(
            format!("there is no policy {name:?}"),
            format!("none of that name is in {} or built in", dirs.join(", ")),
            fix,
        )
    }

    /// The names of all policies there are.
    #[must_use]
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.dirs.iter().filter_map(|dir| fs::read_dir(dir).ok());
        let found = files.flatten().flatten().filter_map(|entry| {
            let file = entry.file_name();
            Some(file.to_str()?.strip_suffix(".toml")?.to_owned())
        });
        let shipped = SHIPPED.iter().map(|(name, _)| (*name).to_owned());
        let found = found.filter(|name| is_name(name));
        let mut names: Vec<_> = found
            .chain(self.fleet.iter().flat_map(BTreeMap::keys).cloned())
            .chain(shipped)
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The file that a policy of the fleet was signed from, if that is one of the fleet's as it is shown.
#[must_use]
pub(crate) fn fleets(file: &str) -> Option<&str> {
    file.strip_prefix(FLEET)?.strip_prefix('/')
}

/// Whether a text can be the name of a file in a policy directory, and of nothing outside of it.
fn is_name(name: &str) -> bool {
    Bundle::is_name(name)
}

/// A file's text; `None` if there is no such file.
fn read_text(file: &Path) -> Result<Option<String>, CallError> {
    let fail = |why: String| {
        let file = file.display();
        CallError::failed(
            format!("cannot read the policy {file}"),
            why,
            format!("ls -l {file}"),
        )
    };
    match fs::metadata(file) {
        // A process that opens a pipe waits for its other end.
        Ok(is) if !is.is_file() => Err(fail("it is no file".to_owned())),
        Ok(is) if is.len() > MAX_TEXT => Err(fail(format!("it is longer than {MAX_TEXT} bytes"))),
        Ok(_) => fs::read_to_string(file)
            .map(Some)
            .map_err(|error| fail(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard_proto::ErrorName;

    #[test]
    fn the_first_directory_wins_and_what_ships_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, usr) = (dir.path().join("etc"), dir.path().join("usr"));
        for (at, text) in [(&etc, "etc"), (&usr, "usr")] {
            fs::create_dir(at).unwrap();
            fs::write(at.join("homelab.toml"), text).unwrap();
        }
        fs::write(usr.join("mine.toml"), "mine").unwrap();
        let library = Library::new(vec![etc, usr]);
        assert_eq!(library.find("homelab").unwrap().text, "etc");
        assert_eq!(library.find("mine").unwrap().text, "mine");
        assert_eq!(library.find("default").unwrap().file, None);
        let error = library.find("nope").unwrap_err();
        assert_eq!(error.name, ErrorName::NotFound);
        assert!(error.failure.fix.contains("mine"), "{error:?}");
    }

    #[test]
    fn what_is_beside_a_policy_takes_rules_however_that_is_written() {
        const INLINE: &str = r#"
name = "shop"
hold = "5s"
inbound = false
max_hole = "3h"
unix = { allow = ["/run/a \"b\".sock", "ssh-agent", "@x"] }
rule = [ { to = ["192.0.2.0/24"], action = "allow" } ]
"#;
        for text in [INLINE, "default = \"allow\"\n", SHIPPED[0].1] {
            let base = guard_policy::parse("shop.toml", text).unwrap().policy;
            let mut beside = PolicyText::apart(&base, "1", true);
            for name in ["one", "two"] {
                let rule = "to = [\"192.0.2.10\"]\naction = \"confirm\"\n";
                beside = beside.narrowed(name, rule).unwrap();
                assert_eq!(beside.narrowed(name, rule), None);
            }
            let parsed = guard_policy::parse(&beside.shown_file(), &beside.text);
            let narrowed = parsed.unwrap().policy;
            let names: Vec<_> = narrowed.rules.iter().map(|rule| &rule.name).collect();
            assert_eq!(names, ["this machine", "name servers", "one", "two"]);
            assert_eq!(narrowed.default, guard_common::Verdict::Allow);
            let of = |policy: &Policy| {
                (
                    policy.name.clone(),
                    policy.hold,
                    policy.inbound,
                    policy.max_hole,
                    policy.unix.clone(),
                )
            };
            assert_eq!(of(&narrowed), of(&base));
        }
    }

    /// Whatever rules are added: an agent has chosen their names.
    #[test]
    fn what_is_beside_a_policy_that_asks_for_no_names_goes_on_asking_for_none() {
        let base = guard_policy::parse("a.toml", "").unwrap().policy;
        let rule = "to = [\"db.example.net\"]\naction = \"confirm\"\n";
        for may_ask in [true, false] {
            let beside = PolicyText::apart(&base, "1", may_ask);
            let narrowed = beside.narrowed("one", rule).unwrap();
            assert_eq!((beside.unasked, narrowed.unasked), (!may_ask, !may_ask));
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let library = Library::new(vec!["/etc".into()]);
        for name in ["", "../passwd", "a/b", ".hidden", "a\0b", "-x"] {
            let error = library.find(name).unwrap_err();
            assert_eq!(error.name, ErrorName::Invalid, "{name}");
        }
    }
}
