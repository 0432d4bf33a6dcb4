//! Which tests run, in the words of cargo-nextest.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::shell::root;

/// Tests that were asked for.
#[derive(Default)]
pub(super) struct Selection {
    /// What their names begin with; none: all.
    pub(super) names: Vec<String>,
    /// Only those that are ignored otherwise.
    pub(super) ignored: bool,
    /// Arguments of `cargo nextest run`.
    pub(super) args: Vec<String>,
}

/// Returns an argument that can begin the name of a test.
pub(super) fn name(argument: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if !argument.is_empty() && argument.chars().all(fits) {
        Ok(argument.to_owned())
    } else {
        Err("names of tests have letters, digits, _ and ::, as in `holes::udp`".to_owned())
    }
}

/// Splits a name that begins with a crate of guard-user into its directory and the rest.
fn of_crate(name: &str) -> Option<(PathBuf, String, &str)> {
    let (first, rest) = name.split_once("::").unwrap_or((name, ""));
    let package = first.replace('_', "-");
    let dir = match package.strip_prefix("guard-") {
        None if !["guard", "guardd"].contains(&&*package) => return None,
        dir => dir.unwrap_or(&package),
    };
    let dir = root().join("guard-user").join(dir);
    dir.is_dir().then_some((dir, package, rest))
}

impl Selection {
    /// Returns true if tests of a suite may be among them.
    pub(super) fn has(&self, suite: &str) -> Result<bool> {
        let may_be = |name: &String| match name.split_once("::") {
            _ if of_crate(name).is_some() => false,
            Some((first, _)) => first == suite,
            None => suite.starts_with(&**name),
        };
        Ok(self.names.is_empty() || self.names.iter().any(may_be))
    }

    /// Returns true if tests of any suite may be among them.
    pub(super) fn has_suites(&self) -> Result<bool> {
        let is_of_crate = |name: &String| of_crate(name).is_some();
        Ok(self.names.is_empty() || !self.names.iter().all(is_of_crate))
    }

    pub(super) fn arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = Vec::new();
        if !self.has_suites()? {
            // The programs and the suites need not be built.
            arguments.push("--lib".into());
            for (dir, ..) in self.names.iter().filter_map(|name| of_crate(name)) {
                let tests = fs::read_dir(dir.join("tests"))
                    .into_iter()
                    .flatten()
                    .flatten();
                let programs = tests.filter(|test| {
                    test.path().extension().is_some_and(|end| end == "rs")
                        || test.path().join("main.rs").exists()
                });
                let stems = programs.filter_map(|test| test.path().file_stem().map(OsString::from));
                arguments.extend(stems.flat_map(|stem| ["--test".into(), stem]));
            }
        }
        if !self.names.is_empty() {
            let expressions = self.names.iter().map(|name| match of_crate(name) {
                Some((_, package, rest)) => format!("(package(={package}) & test(/^{rest}/))"),
                None => format!("test(/^{name}/)"),
            });
            arguments.extend([
                "-E".into(),
                expressions.collect::<Vec<_>>().join(" | ").into(),
            ]);
        }
        if self.ignored {
            arguments.extend(["--run-ignored", "only"].map(OsString::from));
        }
        arguments.extend(self.args.iter().map(OsString::from));
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_a_module_builds_no_suite() -> Result<()> {
        let of = |names: &[&str]| Selection {
            names: names.iter().map(ToString::to_string).collect(),
            ..Selection::default()
        };
        assert!(
            of(&[]).has_suites()?
                && of(&["hol"]).has("holes")?
                && !of(&["holes::udp"]).has("clients")?
        );
        let of_crates = of(&["guard::watch", "guardd", "guard_discover::dsn"]);
        assert!(!of_crates.has_suites()? && !of_crates.has("watch")?);
        let arguments = of_crates.arguments()?;
        assert!(arguments.contains(&"reading".into()), "{arguments:?}");
        let expression = "(package(=guard) & test(/^watch/)) | (package(=guardd) & test(/^/)) | (package(=guard-discover) & test(/^dsn/))";
        assert!(arguments.contains(&expression.into()), "{arguments:?}");
        assert!(name("holes::udp").is_ok() && name("x)|test(/").is_err());
        Ok(())
    }
}
