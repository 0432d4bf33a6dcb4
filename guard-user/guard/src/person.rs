//! Where a person keeps what is neither the project's nor the machine's: by the XDG base directories.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use guard_launch::Identity;

/// The directories of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    config: Option<PathBuf>,
}

impl Person {
    /// Whoever runs this process.
    pub(crate) fn own() -> Self {
        let home = env::home_dir().filter(|home| home.is_absolute());
        Self::with(home, |key| env::var_os(key))
    }

    /// Whom a command runs as: the variables of this process are another's where root becomes that user.
    pub(crate) fn of(identity: &Identity) -> Self {
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
        }
    }

    /// The person's own policies.
    pub(crate) fn policies(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|dir| dir.join("guard/policies"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let other = person(&[("XDG_CONFIG_HOME", "/c")]);
        assert_eq!(other.policies().unwrap(), Path::new("/c/guard/policies"));
    }
}
