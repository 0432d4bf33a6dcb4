//! guardd's settings: `/etc/guard/guardd.toml`.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use guard_sys::accounts::UserAccount;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny},
};

mod hint;

/// The settings. Every one has a default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Policy for `guard run` without `--policy`, and for cgroups under the root that no session owns. Absent:
    /// `default` for the first, denial for the second.
    pub default_policy: Option<String>,
    /// Where names in policies are looked up, and what `@dns` stands for, as `["192.0.2.53:53"]`. Absent: the
    /// system's.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// Requests that may wait at once, of all sessions together.
    #[serde(deserialize_with = "at_least_one")]
    pub max_requests: usize,
    /// Seconds before a name is looked up again, whatever its TTL, or retried if it did not resolve; at least 1.
    pub name_refresh_floor: u64,
    /// Seconds that an address still stands for a name after the last answer with it has expired.
    pub name_grace: u64,
    /// From the command line: seconds for which an answer to a session counts at least, and half as many more.
    #[serde(skip)]
    pub name_least: Option<u32>,
    /// A program, by its path, and its arguments: told of each new request.
    pub on_request: Option<Vec<String>>,
    /// User to run it as: a name or uid, never root. Absent: `nobody`.
    pub on_request_user: Option<String>,
    /// Whether that counts as an approver who watches, so that connections are held.
    pub on_request_answers: bool,
    /// What an approval takes.
    pub approve: Approve,
    /// Answers that people sign elsewhere.
    pub answers: AnswersTable,
    /// Policies that people sign elsewhere.
    pub fleet: FleetTable,
    /// Whether nothing runs while a required row of `guard doctor` is not ok.
    pub strict: bool,
    /// Whether `guard run --user root` is allowed.
    pub run_as_root: bool,
    /// Whether `guard run --observe` is allowed.
    pub observe: bool,
    /// What `guard run` looks for first.
    pub discover: Discover,
    /// Ignored, with a warning: `systemctl enable --now guard-metrics.socket` serves metrics.
    #[serde(deserialize_with = "anything")]
    pub metrics: bool,
    /// The process that read-only destinations are reached through.
    pub proxy: ProxyTable,
    /// Who looks at TLS.
    pub tls: TlsTable,
    /// Policies of units and containers in the slice that bring none. The first that matches counts.
    pub assign: Vec<AssignRule>,
}

/// None at all would keep anybody from being asked.
fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        0 => Err(D::Error::custom(
            "nobody could be asked: expected 1 or more",
        )),
        count => Ok(count),
    }
}

/// A setting of the last release that is ignored must not keep guardd from enforcing. Returns true.
fn anything<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

/// A browser says each as it is: a page without its scheme, or with a path, is none that anybody signs on.
fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let origins = Vec::<String>::deserialize(from)?;
    let is_origin = |origin: &String| {
        let host = ["http://", "https://"]
            .into_iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        host.is_some_and(|host| !host.is_empty() && !host.contains('/'))
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        None => Ok(origins),
        Some(wrong) => Err(D::Error::custom(format_args!(
            "{wrong:?} is no page's origin: expected its scheme and host, as \"https://guard.example.net\""
        ))),
    }
}

/// The table `[approve]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table: [approve]")]
pub struct Approve {
    /// Whether polkit is asked before a hole is opened; off by default.
    pub polkit: bool,
}

/// The table `[fleet]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table: [fleet]")]
pub struct FleetTable {
    /// The group of machines that this one is in. Absent: it takes no policies from elsewhere
    pub group: Option<String>,
    /// Who may sign policies: a file, each line a name and a public key of SSH
    pub signers: PathBuf,
    /// How many of them have to
    pub signatures: SignatureCount,
    /// How long policies hold after they were last offered; then everything is denied. Absent: for ever
    pub lasts: Option<Longest>,
    /// The courier that may read all of the audit log, to keep it elsewhere. Absent: none
    pub log: Option<CourierUser>,
}

impl Default for FleetTable {
    fn default() -> Self {
        Self {
            group: None,
            signers: "/etc/guard/policy_signers".into(),
            signatures: SignatureCount(1),
            lasts: None,
            log: None,
        }
    }
}

/// People who have to sign policies, from 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct SignatureCount(pub usize);

impl TryFrom<usize> for SignatureCount {
    type Error = String;

    fn try_from(count: usize) -> Result<Self, String> {
        if (1..=16).contains(&count) {
            Ok(Self(count))
        } else {
            Err(format!(
                "{count} people cannot sign policies: expected 1 to 16"
            ))
        }
    }
}

/// The table `[answers]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table: [answers]")]
pub struct AnswersTable {
    /// Users, by name or uid and never root, whose programs carry questions and signed answers. `[]`: only root and
    /// owners hand them in. Absent: no signed answer is taken
    pub couriers: Option<Vec<CourierUser>>,
    /// How long a hole lasts at most that a signed yes opens
    pub max_for: Longest,
    /// What may be opened: `one` (once, or one connection), `offers` (the times that the question offers), `prefix`, `path`,
    /// `writes`, `read-only`
    pub scopes: Vec<SignedScope>,
    /// Whether an answer needs a code that `guard pending` and `guard watch` show: `never`, `warned` (requests with
    /// `beware`) or `always`
    pub code: Code,
    /// How many people have to sign a yes: a number, or numbers by the rule's name, as `{ "prod-*" = 2 }`
    pub approvals: Approvals,
    /// Whether passkeys may say yes that can be on other devices, too, as their owners' accounts copy them
    pub synced: bool,
    /// Pages that passkeys sign on, as `["https://guard.example.net"]`. Absent: none
    #[serde(deserialize_with = "origins")]
    pub origins: Vec<String>,
}

impl Default for AnswersTable {
    fn default() -> Self {
        Self {
            couriers: None,
            max_for: Longest(Duration::from_secs(3600)),
            scopes: vec![SignedScope::One, SignedScope::Offers],
            code: Code::default(),
            approvals: Approvals::All(PeopleCount(1)),
            synced: true,
            origins: Vec::new(),
        }
    }
}

/// A user whose programs carry answers, by name or uid.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CourierUser(pub String);

impl TryFrom<String> for CourierUser {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match UserAccount::uid_of(&text) {
            Ok(Some(0)) => Err(format!(
                "{text:?} is root, who is no courier and may do more: take it out, `couriers = []` lets root hand answers in"
            )),
            // One that is not there yet is warned of.
            _ => Ok(Self(text)),
        }
    }
}

/// A time after which something is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Longest(pub Duration);

impl TryFrom<String> for Longest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = guard_policy::parse_duration(&text).map_err(|error| error.to_string())?;
        if time.is_zero() {
            Err("it would be over at once: expected a time such as \"1h\"".to_owned())
        } else {
            Ok(Self(time))
        }
    }
}

/// What a signed yes may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignedScope {
    /// What was asked, once.
    One,
    /// What was asked, for a time that is offered.
    Offers,
    /// All of a burst's prefix.
    Prefix,
    /// HTTP requests with that method and path.
    Path,
    /// All HTTP requests there that change something.
    Writes,
    /// Reads alone.
    ReadOnly,
}

/// When a code is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// At no request.
    Never,
    /// At those with a warning.
    #[default]
    Warned,
    /// At each.
    Always,
}

/// How many people have to say yes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of people from 1 to 16, or such numbers by the rule's name: { \"prod-*\" = 2 }"
)]
pub enum Approvals {
    /// To each request.
    All(PeopleCount),
    /// By patterns of rules' names; the most of those that match.
    ByRule(BTreeMap<String, PeopleCount>),
}

/// People, from 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "u32")]
pub struct PeopleCount(pub u32);

impl TryFrom<u32> for PeopleCount {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        if (1..=16).contains(&count) {
            Ok(Self(count))
        } else {
            Err(format!("{count} people cannot say yes: expected 1 to 16"))
        }
    }
}

impl AnswersTable {
    /// How many people have to say yes where that rule decides; of a policy's default the name is empty.
    #[must_use]
    pub(crate) fn wanted(&self, rule: &str) -> u32 {
        match &self.approvals {
            Approvals::All(count) => count.0,
            Approvals::ByRule(counts) => {
                let matching = counts.iter().filter(|(name, _)| stands_for(name, rule));
                matching.map(|(_, count)| count.0).max().unwrap_or(1)
            }
        }
    }
}

/// The table `[discover]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table: [discover]")]
pub struct Discover {
    /// `"covered"`: `guard run` starts nothing where `guard discover --check` would say no. `"nothing"`: it only tells.
    pub require: Require,
    /// `"ask"`: what looks like production and comes into reach while a command of `guard run` runs is asked about from then on, where
    /// the policy allows it. `"tell"`: it is told and recorded.
    pub drift: OnDrift,
}

/// What becomes of a place that comes into reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// It is told.
    #[default]
    Tell,
    /// It is asked about, too.
    Ask,
}

/// What is required of a policy before a command runs under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Nothing.
    #[default]
    Nothing,
    /// That it lets not everything through to what looks like production.
    Covered,
}

/// The table `[proxy]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table: [proxy]")]
pub struct ProxyTable {
    /// User to run it as: a name or uid, never root. Absent: `guard-proxy`, else `nobody`.
    pub user: Option<String>,
    /// Up to 16 files of certificates (PEM) of read-only destinations or their issuers, beside those that this machine
    /// trusts.
    pub ca: Vec<PathBuf>,
}

/// The table `[tls]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table: [tls]")]
pub struct TlsTable {
    /// Who reads the first record under `tls = "name"`: `"proxy"`, or `"kernel"` where it can, which a program can evade
    /// on purpose.
    pub gate: GateBy,
}

/// Who looks at the server's name in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateBy {
    /// guard-proxy.
    #[default]
    Proxy,
    /// The kernel half, where its programs load.
    Kernel,
}

/// Files in [`ProxyTable::ca`] at most.
pub(crate) const MAX_CA: usize = 16;

/// A policy for units of some name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignRule {
    /// Units, such as `docker-*.scope`; the first match counts.
    pub unit: UnitPattern,
    /// The policy's name.
    pub policy: String,
    /// User or uid that answers for them. Absent: root.
    pub owner: Option<String>,
}

/// A unit's name in which each `*` stands for any characters, or none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UnitPattern(String);

impl TryFrom<String> for UnitPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*".contains(c);
        if text.is_empty() || !text.chars().all(is_fine) {
            return Err(format!(
                "{text:?} matches no unit: expected a name such as docker-*.scope, of letters, digits and :-_.\\@*"
            ));
        }
        Ok(Self(text))
    }
}

impl UnitPattern {
    /// Whether it stands for that name.
    #[must_use]
    pub(crate) fn matches(&self, name: &str) -> bool {
        stands_for(&self.0, name)
    }
}

/// Whether that is what the pattern stands for, each `*` of which is any text, or none.
#[must_use]
pub(crate) fn stands_for(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    // Each as early as can be, so that the most is left for those that follow.
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_policy: None,
            resolvers: None,
            max_requests: 1024,
            name_refresh_floor: 30,
            name_grace: 300,
            name_least: None,
            on_request: None,
            on_request_user: None,
            on_request_answers: false,
            approve: Approve::default(),
            answers: AnswersTable::default(),
            fleet: FleetTable::default(),
            strict: false,
            run_as_root: false,
            observe: true,
            discover: Discover::default(),
            metrics: false,
            proxy: ProxyTable::default(),
            tls: TlsTable::default(),
            assign: Vec::new(),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the settings in {file}: {why}\ngive another file with --config, or leave it out: without settings the defaults hold"
    )]
    Read {
        /// Which file.
        file: String,
        /// The system's word.
        why: io::Error,
    },
    /// The file does not say what settings are.
    #[error("the settings in {file} are wrong:\n{why}{}", hint::line(.why.message()))]
    Invalid {
        /// Which file.
        file: String,
        /// Where, and what was expected.
        why: toml::de::Error,
    },
}

impl Config {
    /// The policy that a session has that names none.
    #[must_use]
    pub(crate) fn session_policy(&self) -> &str {
        self.default_policy.as_deref().unwrap_or("default")
    }

    /// Returns the warning about settings that are ignored.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        self.metrics.then_some(
            "[metrics] in the settings is ignored: take it out, and: systemctl enable --now guard-metrics.socket",
        )
    }

    /// Whether the launcher of a command looks first if it may start.
    #[must_use]
    pub(crate) fn may_refuse_starts(&self) -> bool {
        self.strict || self.discover.require == Require::Covered
    }

    /// What it has for a unit of that name.
    #[must_use]
    pub(crate) fn rule_for(&self, unit: &str) -> Option<AssignRule> {
        let mut rules = self.assign.iter();
        rules.find(|rule| rule.unit.matches(unit)).cloned()
    }

    /// [`Self::name_refresh_floor`], at least a second.
    #[must_use]
    pub(crate) fn refresh_floor(&self) -> Duration {
        Duration::from_secs(self.name_refresh_floor.max(1))
    }

    /// [`Self::name_grace`].
    #[must_use]
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.name_grace)
    }

    /// Reads the settings from `file`; where it is absent and `may_be_absent`, the defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn read(file: &Path, may_be_absent: bool) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(why) => {
                return Err(ConfigError::Read {
                    file: file.display().to_string(),
                    why,
                });
            }
        };
        toml::from_str(&text).map_err(|why| ConfigError::Invalid {
            file: file.display().to_string(),
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_is_the_defaults_unless_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        assert_eq!(Config::read(&file, true).unwrap(), Config::default());
        let error = Config::read(&file, false).unwrap_err().to_string();
        assert!(error.contains("guardd.toml"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        fs::write(
            &file,
            "resolvers = [\"192.0.2.53:53\"]\ndefualt_policy = \"ci\"\n",
        )
        .unwrap();
        let error = Config::read(&file, true).unwrap_err().to_string();
        assert!(error.contains("defualt_policy"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn metrics_of_the_last_release_are_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        assert_eq!(Config::default().warning(), None);
        for old in ["[metrics]\nlisten = \"0.0.0.0:9478\"", "metrics = 9478"] {
            fs::write(&file, format!("strict = true\n{old}\n")).unwrap();
            let read = Config::read(&file, true).unwrap();
            assert!(read.strict);
            let warning = read.warning().unwrap();
            assert!(warning.contains("guard-metrics.socket"), "{warning}");
        }
    }

    #[test]
    fn a_fleets_settings_say_what_they_mean() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        let read = |settings: &str| {
            fs::write(&file, format!("[fleet]\n{settings}\n")).unwrap();
            Config::read(&file, true)
        };
        for (wrong, shown) in [
            ("signatures = 0", "0 people cannot sign policies"),
            ("signatures = 17", "expected 1 to 16"),
            ("lasts = \"0s\"", "it would be over at once"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(shown), "{error}");
            assert!(error.contains("line 2"), "{error}");
            assert!(!error.contains("hole"), "{error}");
        }
        let two = read("signatures = 2").unwrap().fleet;
        assert_eq!(two.signatures, SignatureCount(2));
    }

    #[test]
    fn root_is_no_courier() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        let read = |couriers: &str| {
            fs::write(&file, format!("[answers]\ncouriers = [{couriers}]\n")).unwrap();
            Config::read(&file, true)
        };
        for root in ["\"root\"", "\"0\"", "\"4711\", \"root\""] {
            let error = read(root).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
            assert!(error.contains("is root, who is no courier"), "{error}");
        }
        for other in ["", "\"4711\"", "\"no-such-user\""] {
            assert!(read(other).unwrap().answers.couriers.is_some(), "{other}");
        }
    }

    #[test]
    fn the_proxy_has_a_user_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        fs::write(&file, "[proxy]\nuser = \"www-data\"\n").unwrap();
        let proxy = Config::read(&file, true).unwrap().proxy;
        assert_eq!(proxy.user.as_deref(), Some("www-data"));
        fs::write(&file, "[proxy]\nport = 8080\n").unwrap();
        let error = Config::read(&file, true).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        for (text, shown) in [
            ("strcit = true", "did you mean `strict`?"),
            ("[proxy]\nusr = \"x\"", "did you mean `user`?"),
            ("tls = { gate = \"kernal\" }", "did you mean `kernel`?"),
            ("strict = \"yes\"", "write true or false, without quotes"),
            ("strict = 1", "write true or false, without quotes"),
            (
                "resolvers = \"192.0.2.53:53\"",
                "write a list: [\"192.0.2.53:53\"]",
            ),
            (
                "resolvers = [\"192.0.2.53\"]",
                "write an address with its port",
            ),
            (
                "on_request = \"/usr/local/bin/x --channel y\"",
                "write a list: [\"/usr/local/bin/x\", \"--channel\", \"y\"]",
            ),
            (
                "[answers]\nmax_for = 15",
                "in quotes: \"15\"; a time has a unit: \"15m\"",
            ),
            ("answers = { couriers = [1000] }", "in quotes: \"1000\";"),
            (
                "name_grace = \"5m\"",
                "a number without quotes, a time in seconds: 300",
            ),
            (
                "max_requests = \"64\"",
                "a number without quotes, a time in seconds: 64",
            ),
            (
                "[approve]\nstrict = true",
                "`strict` is in no table: write it above the first line that begins with `[`",
            ),
            (
                "couriers = []",
                "`couriers` is in a table: write it under [answers]",
            ),
            (
                "[answers]\npolkit = true",
                "`polkit` is in a table: write it under [approve]",
            ),
            (
                "max_hole = \"1h\"",
                "`max_hole` is a policy's: /etc/guard/policies/NAME.toml",
            ),
            (
                "[answers]\ncouriers = []\n[answers]\ncode = \"never\"",
                "keep one of the two, with what both say",
            ),
            (
                "discover = { drift = \"ask\" }\ndiscover.require = \"covered\"",
                "write it between the braces there",
            ),
            (
                "[answers]\napprovals = 0",
                "expected a number of people from 1 to 16",
            ),
            (
                "[answers]\norigins = [\"guard.example.net\"]",
                "is no page's origin",
            ),
            (
                "[answers]\norigins = [\"https://a.example/\"]",
                "is no page's origin",
            ),
            ("max_requests = 0", "expected 1 or more"),
            (
                "assign = { unit = \"a.scope\", policy = \"ci\" }",
                "[[assign]]",
            ),
        ] {
            fs::write(&file, format!("{text}\n")).unwrap();
            let error = Config::read(&file, true).unwrap_err().to_string();
            assert!(error.contains(shown), "{text}: {error}");
            assert!(error.contains("line "), "{text}: {error}");
        }
        let right = "[answers]\napprovals = 2\norigins = [\"http://guard.localhost:4827\"]\n";
        fs::write(&file, right).unwrap();
        let read = Config::read(&file, true).unwrap().answers;
        assert_eq!(read.origins, ["http://guard.localhost:4827"]);
        assert_eq!(read.approvals, Approvals::All(PeopleCount(2)));
        assert!(read.synced, "as most passkeys are");
    }

    #[test]
    fn what_the_documents_have_people_add_goes_together() {
        let admin = include_str!("../../../docs/admin.md");
        let blocks = admin.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        fs::write(&file, blocks.collect::<String>()).unwrap();
        let read = Config::read(&file, false).unwrap();
        assert!(read.approve.polkit && read.strict && !read.observe);
        assert_eq!(
            (read.discover.require, read.discover.drift),
            (Require::Covered, OnDrift::Ask)
        );
    }

    #[test]
    fn patterns_stand_for_whole_names() {
        for (pattern, name, expected) in [
            ("docker-*.scope", "docker-0f3a.scope", true),
            ("docker-*.scope", "docker-.scope", true),
            ("docker-*.scope", "docker-0f3a.scope.d", false),
            ("docker-*.scope", "my-docker-0f3a.scope", false),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "anything.service", true),
            ("agent.service", "agent.service", true),
            ("agent.service", "agent.services", false),
            ("agent@*.service", "agent@alice.service", true),
        ] {
            let pattern = UnitPattern::try_from(pattern.to_owned()).unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        }
    }

    #[test]
    fn a_rule_that_is_wrong_is_shown_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        for (rule, shown) in [
            ("unit = \"a/b\"\npolicy = \"ci\"", "a/b"),
            ("unit = \"\"\npolicy = \"ci\"", "matches no unit"),
            ("unit = \"a.scope\"\npolice = \"ci\"", "police"),
            ("unit = \"a.scope\"", "policy"),
        ] {
            fs::write(&file, format!("max_requests = 1\n[[assign]]\n{rule}\n")).unwrap();
            let error = Config::read(&file, true).unwrap_err().to_string();
            assert!(error.contains(shown), "{error}");
            assert!(error.contains("line "), "{error}");
        }
        fs::write(
            &file,
            "[[assign]]\nunit = \"docker-*.scope\"\npolicy = \"ci\"\nowner = \"alice\"\n",
        )
        .unwrap();
        let read = Config::read(&file, true).unwrap();
        assert_eq!(read.assign[0].owner.as_deref(), Some("alice"));
    }
}
