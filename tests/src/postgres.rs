//! A real PostgreSQL in production.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{Running, Side, bins, exec};

/// It runs as a user that has nothing: as root it does not run.
pub const USER: u32 = 65534;
/// Who may do everything in it.
pub const SUPERUSER: &str = "postgres";

const INITDB: [&str; 8] = [
    "-A",
    "trust",
    "-E",
    "UTF8",
    "--locale=C",
    // Nothing of it has to outlive the machine.
    "-N",
    "-U",
    SUPERUSER,
];
/// Settings of each one.
const SETTINGS: [&str; 3] = ["listen_addresses=*", "fsync=off", "jit=off"];

/// The files of a server, and the programs that use them.
#[derive(Debug)]
pub struct Cluster<'n> {
    prod: &'n Side,
    programs: PathBuf,
    dir: PathBuf,
}

impl<'n> Cluster<'n> {
    /// Makes one in a directory that is not there yet, below one that everybody can reach.
    ///
    /// # Errors
    ///
    /// That there is no PostgreSQL here, or what `initdb` said.
    pub fn new(prod: &'n Side, dir: PathBuf) -> Result<Self> {
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        chown(&dir, Some(USER), Some(USER))?;
        let programs = bins::postgres()?;
        let cluster = Self {
            prod,
            programs,
            dir,
        };
        let mut initdb = cluster.program("initdb");
        exec::run(initdb.args(INITDB).arg("-D").arg(cluster.data()))?;
        Ok(cluster)
    }

    /// Says who may log in, and how: the lines of `pg_hba.conf`. Whoever comes by the Unix socket may.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub fn admit(&self, lines: &str) -> Result<()> {
        let file = self.data().join("pg_hba.conf");
        let text = format!("local all all trust\n{lines}\n");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The server, to be started.
    #[must_use]
    pub fn server(&self) -> Command {
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(&self.dir);
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        server
    }

    /// Has a server that runs do these, one after the other.
    ///
    /// # Errors
    ///
    /// What it said.
    pub fn execute(&self, user: &str, database: &str, texts: &[&str]) -> Result<()> {
        let mut psql = self.program("psql");
        psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(&self.dir)
            .args(["-U", user, "-d", database]);
        for text in texts {
            psql.args(["-c", text]);
        }
        exec::run(&mut psql).map(drop)
    }

    /// One of PostgreSQL's programs, on production and as the server's user. They find its Unix socket in [`Self::dir`].
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut program = self.prod.command_as(USER, self.programs.join(name));
        program.current_dir(&self.dir).env("LC_ALL", "C");
        program
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

/// Ends a server. Killed, it would leave its shared memory to the machine.
pub fn stop(server: &mut Running) {
    // An immediate shutdown, which waits five seconds for its processes at most.
    if server.signal(Signal::QUIT).is_ok() {
        // It is gone, or is killed on drop.
        let _ = server.wait();
    }
}
