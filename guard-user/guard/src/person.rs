//! Where a person keeps what is neither the project's nor the machine's: by the XDG base directories.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use guard_launch::CommandIdentity;

/// The directories of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    home: Option<PathBuf>,
    config: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl Person {
    /// The user that runs this process.
    pub(crate) fn own() -> Self {
        let home = env::home_dir().filter(|home| home.is_absolute());
        Self::with(home, |key| env::var_os(key))
    }

    /// Whom a command runs as: the variables of this process are another's where root becomes that user.
    pub(crate) fn of(identity: &CommandIdentity) -> Self {
        match identity.account() {
            Some((account, _)) => Self::with(Some(account.home.clone()), |_| None),
            None => Self::own(),
        }
    }

    fn with(home: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // One that is relative counts for none, as the specification has it: it would lie below the project.
        let named = |key| {
            let path = PathBuf::from(variable(key)?);
            path.is_absolute().then_some(path)
        };
        let below = |dir: &str| home.as_ref().map(|home| home.join(dir));
        Self {
            config: named("XDG_CONFIG_HOME").or_else(|| below(".config")),
            state: named("XDG_STATE_HOME").or_else(|| below(".local/state")),
            home,
        }
    }

    /// Whose home that is, without any variable.
    #[cfg(test)]
    pub(crate) fn of_home(home: &Path) -> Self {
        Self::with(Some(home.to_owned()), |_| None)
    }

    /// The home.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The person's own policies.
    pub(crate) fn policies(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|dir| dir.join("guard/policies"))
    }

    /// What the person said is not production.
    pub(crate) fn dismissals(&self) -> Option<PathBuf> {
        self.state
            .as_ref()
            .map(|dir| dir.join("guard/discover.json"))
    }

    /// When this person looked for production, and where.
    pub(crate) fn looks(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|dir| dir.join("guard/looked.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(variables: &[(&str, &str)]) -> Person {
        Person::with(Some("/home/a".into()), |key| {
            let found = variables.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn directories_are_those_of_the_variables_or_of_the_home() {
        let plain = person(&[]);
        assert_eq!(
            plain.policies().unwrap(),
            Path::new("/home/a/.config/guard/policies")
        );
        assert_eq!(
            plain.dismissals().unwrap(),
            Path::new("/home/a/.local/state/guard/discover.json")
        );
        assert_eq!(
            plain.looks().unwrap(),
            Path::new("/home/a/.local/state/guard/looked.json")
        );
        let other = person(&[("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "relative")]);
        assert_eq!(other.policies().unwrap(), Path::new("/c/guard/policies"));
        assert_eq!(other.dismissals(), plain.dismissals());
    }
}
