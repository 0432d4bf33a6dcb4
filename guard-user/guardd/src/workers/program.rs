//! Finds the program of a worker.

use std::{
    env,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags, open};

/// The proxy's name, which `guardd proxy` becomes.
const PROXY: &str = "guard-proxy";
/// Where the packages put it: it is no command for people.
const LIBEXEC: &str = "/usr/libexec/guard";

/// The program, held open: when the files are replaced, guardd goes on with the proxy of its own version.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    file: Option<OwnedFd>,
}

impl Program {
    /// The program that is there now.
    ///
    /// # Errors
    ///
    /// If there is none, with the places where it was searched for.
    pub(crate) fn find(name: &'static str) -> Result<Self> {
        let (_, file) = find(&places(name)?, name)?;
        Ok(Self {
            name,
            file: Some(file),
        })
    }

    /// One that is to be searched for when it is needed.
    #[must_use]
    pub(crate) const fn missing(name: &'static str) -> Self {
        Self { name, file: None }
    }

    /// A path by which this process's children can run it. Searches for it if it was not found before.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub(crate) fn path(&mut self) -> Result<PathBuf> {
        if self.file.is_none() {
            *self = Self::find(self.name)?;
        }
        let file = self.file.as_ref().context("it was not found")?;
        Ok(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
    }
}

/// Becomes the proxy, for units that still run `guardd proxy`, as when guardd had the proxy in itself.
#[must_use]
pub(crate) fn become_it(arguments: &[std::ffi::OsString]) -> ExitCode {
    let found = places(PROXY).and_then(|places| find(&places, PROXY));
    let error = match found {
        Ok((path, _)) => Command::new(path).args(arguments).exec().into(),
        Err(error) => error,
    };
    tracing::error!("the proxy cannot start: {error:#}");
    ExitCode::from(2)
}

/// Beside guardd's own program, as it is built and unpacked; then the packages' place.
fn places(name: &str) -> Result<[PathBuf; 2]> {
    let own = env::current_exe().context("cannot tell where guardd's own program is")?;
    let dir = own.parent().unwrap_or(Path::new("/"));
    Ok([dir, Path::new(LIBEXEC)].map(|dir| dir.join(name)))
}

fn find(places: &[PathBuf], name: &str) -> Result<(PathBuf, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut files = places.iter().map(|place| {
        let file = open(place, flags, Mode::empty());
        file.map(|file| (place.clone(), file))
    });
    files.find_map(Result::ok).with_context(|| {
        let places: Vec<_> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        format!(
            "its program is neither {}: install guard again, or put {name} beside guardd",
            places.join(" nor ")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_looked_for_beside_guardd_first() {
        let dir = tempfile::tempdir().unwrap();
        let places = ["beside", "libexec"].map(|name| dir.path().join(name));
        let find = |places: &[PathBuf]| super::find(places, PROXY);
        let error = find(&places).unwrap_err().to_string();
        assert!(error.contains("beside nor "), "{error}");
        assert!(error.contains("put guard-proxy beside guardd"), "{error}");
        fs::write(&places[1], "").unwrap();
        assert_eq!(find(&places).unwrap().0, places[1]);
        fs::write(&places[0], "").unwrap();
        assert_eq!(find(&places).unwrap().0, places[0]);
    }

    #[test]
    fn what_is_held_is_what_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(PROXY);
        fs::write(&place, "first").unwrap();
        let found = find(std::slice::from_ref(&place), PROXY);
        let mut program = Program {
            name: PROXY,
            file: Some(found.unwrap().1),
        };
        let other = dir.path().join("other");
        fs::write(&other, "second").unwrap();
        fs::rename(&other, &place).unwrap();
        assert_eq!(
            fs::read_to_string(program.path().unwrap()).unwrap(),
            "first"
        );
    }
}
