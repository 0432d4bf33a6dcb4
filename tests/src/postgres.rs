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

const INITDB: [&str; 9] = [
    "-A",
    "trust",
    "-E",
    "UTF8",
    "--locale=C",
    // Nothing of it has to outlive the machine.
    "-N",
    "-U",
    SUPERUSER,
    "--wal-segsize=1",
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
        cluster.fill()?;
        Ok(cluster)
    }

    /// Makes its files: a copy of those that an earlier run of `initdb` made, which takes a tenth of its time.
    fn fill(&self) -> Result<()> {
        let made = bins::beside(&self.name())?;
        if made.is_dir() {
            return copy(&made, &self.data());
        }
        let mut initdb = self.program("initdb");
        exec::run(initdb.args(INITDB).arg("-D").arg(self.data()))?;
        // It is whole or not there. Where it can't be kept, or another test was first, nothing is lost.
        let unfinished = made.with_extension(std::process::id().to_string());
        let kept =
            copy(&self.data(), &unfinished).is_ok_and(|()| fs::rename(&unfinished, &made).is_ok());
        if !kept {
            let _ = fs::remove_dir_all(&unfinished);
        }
        Ok(())
    }

    /// What `initdb` made depends on: PostgreSQL's release and the arguments.
    fn name(&self) -> String {
        let release = self.programs.parent().and_then(Path::file_name);
        let release = release.unwrap_or_default().display();
        format!("postgres-{release}{}", INITDB.concat())
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

/// With owners and modes as they are.
fn copy(from: &Path, to: &Path) -> Result<()> {
    exec::run(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

/// Ends a server. Killed, it would leave its shared memory to the machine.
pub fn stop(server: &mut Running) {
    // An immediate shutdown, which waits five seconds for its processes at most.
    if server.signal(Signal::QUIT).is_ok() {
        // It is gone, or is killed on drop.
        let _ = server.wait();
    }
}
