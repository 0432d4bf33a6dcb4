//! A fleet's policies, as guardd has them: they go before others of the same name, and one may lie around each session. Without guardd
//! they are not known here, since it alone verifies who signed them.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use guard_policy::{self as policy, Parsed};
use guard_proto::{Call, Failure, PolicyRef, fleet::FleetTexts, varlink::DEFAULT_SOCKET};
use toml_edit::DocumentMut;

use super::error::CliError;
use super::policy_file::{self, PolicyFile};
use super::render::Output;

/// The settings of the guardd that listens at [`DEFAULT_SOCKET`].
const SETTINGS: &str = "/etc/guard/guardd.toml";

/// What guardd says of them, once that was wanted.
static SAID: OnceLock<Fleet> = OnceLock::new();
/// Whether it was said that they are not known.
static TOLD: AtomicBool = AtomicBool::new(false);

/// What is known of a fleet.
#[derive(Debug)]
pub(crate) enum Fleet {
    /// The machine is in none.
    None,
    /// What guardd has of it.
    Of(FleetTexts),
    /// Why nobody says.
    Unknown(String),
}

/// The policy around each session, as it judges there.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// What it is called.
    pub(crate) name: String,
    /// It.
    pub(crate) parsed: Parsed,
}

impl Base {
    /// The policy of that text, of which only some counts where it lies around others.
    ///
    /// # Errors
    ///
    /// That it is not understood here.
    pub(crate) fn of(of_fleet: &PolicyRef) -> Result<Self, String> {
        let name = called(of_fleet);
        let text = of_fleet.text.as_deref().unwrap_or_default();
        let parsed = policy::parse(&shown_file(of_fleet), text);
        let mut parsed =
            parsed.map_err(|_| format!("the fleet's policy {name} is not understood here"))?;
        parsed.policy.lie_around();
        Ok(Self { name, parsed })
    }
}

impl Fleet {
    /// What the guardd that is meant has of it.
    pub(crate) fn known() -> &'static Self {
        SAID.get_or_init(|| match policy_file::ask(&Call::FleetTexts {}) {
            None => Self::None,
            Some(Ok(FleetTexts { group: None, .. })) => Self::None,
            Some(Ok(texts)) => Self::Of(texts),
            // One of an older version has no texts, and mostly no fleet.
            Some(Err(_)) if policy_file::is_in_no_fleet() => Self::None,
            Some(Err(error)) => Self::Unknown(reason(&error)),
        })
    }

    /// Its policy of that name; none: it has none, or it is not known.
    ///
    /// # Errors
    ///
    /// That guardd does not know what any name means.
    pub(crate) fn policy(&self, name: &str) -> Result<Option<PolicyFile>, Failure> {
        let Self::Of(texts) = self else {
            return Ok(None);
        };
        if let Some(why) = &texts.problem {
            return Err(Failure {
                what: format!("it is not known what the policy {name} is"),
                why: format!("the fleet's policies cannot be verified any more: {why}"),
                fix: "have them signed and offered again, or give a file: ./NAME.toml".to_owned(),
            });
        }
        let mut all = texts.policies.iter().chain(&texts.base);
        let found = all.find(|one| one.name.as_deref() == Some(name));
        Ok(found.map(|one| PolicyFile {
            name: shown_file(one),
            text: one.text.clone().unwrap_or_default(),
        }))
    }

    /// The names of its policies, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let Self::Of(texts) = self else {
            return Vec::new();
        };
        let mut names: Vec<_> = texts
            .policies
            .iter()
            .chain(&texts.base)
            .map(called)
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// What the policy around each session is called.
    pub(crate) fn around(&self) -> Option<String> {
        match self {
            Self::Of(texts) => texts.base.as_ref().map(called),
            Self::None | Self::Unknown(_) => None,
        }
    }

    /// The file of that, as it is shown.
    pub(crate) fn file_around(&self) -> Option<String> {
        match self {
            Self::Of(texts) => texts.base.as_ref().map(shown_file),
            Self::None | Self::Unknown(_) => None,
        }
    }

    /// The policy around each session, if it is known and understood.
    pub(crate) fn base_alone(&self) -> Option<Base> {
        match self {
            Self::Of(texts) => texts.base.as_ref().and_then(|base| Base::of(base).ok()),
            Self::None | Self::Unknown(_) => None,
        }
    }

    /// The same; warns where it is not known.
    ///
    /// # Errors
    ///
    /// That it is not understood here.
    pub(crate) fn base(&self, output: Output) -> Result<Option<Base>, Failure> {
        self.tell(output);
        let Self::Of(FleetTexts {
            base: Some(base), ..
        }) = self
        else {
            return Ok(None);
        };
        Base::of(base).map(Some).map_err(|why| Failure {
            what: "it is not known what a session may reach".to_owned(),
            why,
            fix: "let guard and guardd be of one version:\nguard status".to_owned(),
        })
    }

    /// Tells a person, once, that it is not known which policies the fleet has.
    pub(crate) fn tell(&self, output: Output) {
        let Some(warning) = self.warning() else {
            return;
        };
        if !TOLD.swap(true, Ordering::Relaxed) {
            output.warnings(&[warning]);
        }
    }

    fn warning(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Unknown(why) => Some(format!(
                "whether a fleet has policies here, and one around each session, is left aside: {why}"
            )),
            Self::Of(texts) => texts.problem.as_ref().map(|why| {
                format!(
                    "no session starts, as the fleet's policies cannot be verified any more: {why}"
                )
            }),
        }
    }
}

/// Whether the settings name no fleet. Those of another guardd are not known here.
pub(crate) fn settings_name_none(socket: &Path) -> bool {
    socket == Path::new(DEFAULT_SOCKET) && names_none(Path::new(SETTINGS))
}

fn names_none(settings: &Path) -> bool {
    match fs::read_to_string(settings) {
        Err(error) => error.kind() == ErrorKind::NotFound,
        Ok(text) => text.parse::<DocumentMut>().is_ok_and(|settings| {
            let fleet = settings.get("fleet");
            fleet.and_then(|fleet| fleet.get("group")).is_none()
        }),
    }
}

fn reason(error: &CliError) -> String {
    match error.failure() {
        Some(failure) => failure.what.clone(),
        None => error.to_string(),
    }
}

fn called(of_fleet: &PolicyRef) -> String {
    of_fleet.name.clone().unwrap_or_default()
}

fn shown_file(of_fleet: &PolicyRef) -> String {
    of_fleet
        .file
        .clone()
        .unwrap_or_else(|| format!("{}.toml", called(of_fleet)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fleet with that policy around each session.
    pub(crate) fn around(base: &str) -> Fleet {
        fleet(Some(of("floor", base)), None)
    }

    fn of(name: &str, text: &str) -> PolicyRef {
        PolicyRef {
            name: Some(name.to_owned()),
            file: Some(format!("(fleet)/{name}.toml")),
            text: Some(text.to_owned()),
        }
    }

    fn fleet(base: Option<PolicyRef>, problem: Option<&str>) -> Fleet {
        Fleet::Of(FleetTexts {
            group: Some("ci".to_owned()),
            base,
            policies: vec![of("builds", "default = \"deny\"\n"), of("floor", "")],
            problem: problem.map(str::to_owned),
        })
    }

    #[test]
    fn its_policies_have_names_and_one_is_around() {
        let known = fleet(Some(of("floor", "hold = \"5s\"\n")), None);
        assert_eq!(known.names(), ["builds", "floor"]);
        assert_eq!(known.around().as_deref(), Some("floor"));
        let builds = known.policy("builds").unwrap().unwrap();
        assert_eq!(builds.name, "(fleet)/builds.toml");
        assert!(known.policy("homelab").unwrap().is_none());
        let base = known.base(Output::new(false)).unwrap().unwrap();
        let own = policy::parse("floor.toml", "hold = \"5s\"\n").unwrap();
        assert!(
            base.parsed.policy.hold > own.policy.hold,
            "it has no say in it"
        );
        // What denies all where nobody has heard of the fleet is in no bundle.
        let silent = fleet(Some(of("fleet-is-silent", "default = \"deny\"\n")), None);
        assert_eq!(silent.names(), ["builds", "fleet-is-silent", "floor"]);
        assert!(silent.policy("fleet-is-silent").unwrap().is_some());
    }

    #[test]
    fn what_is_not_known_is_said() {
        let broken = fleet(None, Some("nobody may sign"));
        let refused = broken.policy("default").unwrap_err();
        assert!(refused.why.contains("nobody may sign"), "{refused}");
        assert!(broken.warning().unwrap().contains("no session starts"));
        let unknown = Fleet::Unknown("cannot reach guardd".to_owned());
        assert!(unknown.policy("default").unwrap().is_none());
        assert!(unknown.warning().unwrap().contains("cannot reach guardd"));
        assert_eq!(Fleet::None.warning(), None);
    }

    #[test]
    fn settings_without_a_group_name_no_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guardd.toml");
        assert!(names_none(&file));
        for (text, is_none) in [
            ("strict = true\n", true),
            ("[fleet]\nsignatures = 2\n", true),
            ("[fleet]\ngroup = \"ci\"\n", false),
            ("fleet.group = \"ci\"\n", false),
            ("[fleet\n", false),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(names_none(&file), is_none, "{text}");
        }
    }
}
