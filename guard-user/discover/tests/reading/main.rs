//! What is read of files as people have them, and of files that are made to hurt.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use guard_discover::{Bounds, Discovery, Finding, Inputs, Label, discover};
use guard_rounds::rounds;
use rustix::process::Uid;
use rustix::thread::set_thread_uid;
use tempfile::TempDir;

mod elsewhere;
mod formats;
mod hostile;
mod incidents;
mod keys;
mod labelled;
mod quiet;
mod sealed;
mod secrets;
mod sources;
mod tools;

type Tested<T = ()> = Result<T, Box<dyn Error>>;

/// As long as it takes.
const WITHOUT_END: Bounds = Bounds {
    files: 2_000,
    depth: 12,
    time: None,
    deep: false,
};

/// The same, with what is written for people.
const DEEP: Bounds = Bounds {
    deep: true,
    ..WITHOUT_END
};

/// A project and a home.
struct Scene {
    project: TempDir,
    home: TempDir,
    environment: Vec<(String, String)>,
    hosts: Option<PathBuf>,
}

impl Scene {
    fn new() -> Tested<Self> {
        let (project, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
        Ok(Self {
            project,
            home,
            environment: Vec::new(),
            hosts: None,
        })
    }

    /// Writes a file: below the home where its path begins with `~/`.
    fn with(self, path: &str, text: impl AsRef<[u8]>) -> Tested<Self> {
        let path = match path.strip_prefix("~/") {
            Some(below) => self.home.path().join(below),
            None => self.project.path().join(path),
        };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, text)?;
        Ok(self)
    }

    fn look(&self) -> Tested<Discovery> {
        self.look_within(WITHOUT_END)
    }

    fn look_within(&self, bounds: Bounds) -> Tested<Discovery> {
        self.look_at(self.project.path(), bounds)
    }

    /// The same of another project.
    fn look_at(&self, project: &Path, bounds: Bounds) -> Tested<Discovery> {
        Ok(discover(&Inputs {
            project,
            home: Some(self.home.path()),
            hosts: self.hosts.as_deref(),
            environment: &self.environment,
            routes: None,
            uid: rustix::process::geteuid().as_raw(),
            bounds,
        })?)
    }
}

/// Root reads whatever it likes: a thread that is somebody else does not.
fn as_nobody(scene: &Scene) -> Tested<Discovery> {
    let found = thread::scope(|scope| {
        let look = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = set_thread_uid(Uid::from_raw(65_534));
                nobody.map_err(|error| error.to_string())?;
            }
            scene.look().map_err(|error| error.to_string())
        });
        look.join()
    });
    Ok(found.map_err(|_| "the thread has panicked")??)
}

/// "production db.example.net:5432 postgres, DATABASE_URL .env:1"
fn line(one: &Finding) -> String {
    let seen = one.found.iter().map(|seen| {
        let line = seen
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        let dormant = if seen.dormant { " dormant" } else { "" };
        format!(", {} {}{line}{dormant}", seen.key, seen.file)
    });
    let seen: String = seen.collect();
    format!(
        "{} {}:{} {}{seen}",
        one.label.as_str(),
        one.host,
        one.port,
        one.service.as_str()
    )
}

fn lines(found: &Discovery) -> Vec<String> {
    found.findings.iter().map(line).collect()
}

fn passed_over(found: &Discovery) -> Vec<String> {
    let all = found.passed_over.iter().map(|one| {
        let line = one.line.map_or_else(String::new, |line| format!(":{line}"));
        format!("{}{line}: {}", one.file, one.why)
    });
    all.collect()
}
