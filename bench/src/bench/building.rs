//! What it costs to build a program in a session: thousands of programs are started, and tens of thousands of files read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, ALLOWS, Daemon, Network};
use tempfile::TempDir;

use super::Plan;
use super::client::Client;
use super::figure::{Figure, Other, Target, Unit};
use super::rounds::interleave;
use xtask::shell::{read, root, run};

/// A part of this project with more than 50 dependencies.
const PACKAGE: &str = "guard-lab";

/// `cargo build`, from nothing.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn building(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let policy = ALLOWS;
    let daemon = Daemon::in_network(&network)
        .policy("open", policy)
        .start()?;
    let workshop = Workshop::new()?;
    let build = workshop.build();
    let mut sides = [Client::free(&network)?, Client::guarded(&daemon, "open")?];
    let [bare, kept] = interleave(
        plan.fewest,
        &mut sides,
        [&mut |[free, _]| free.spawn(&build), &mut |[_, guarded]| {
            guarded.spawn(&build)
        }],
    )?;
    let name = format!("cargo build of {} crates", workshop.crates);
    let figure = Figure::alone(&name, Unit::Time, kept, Target::Ratio(1.02));
    Ok(vec![figure.beside(Other::Measured("no guard", bare))])
}

/// All that an ordinary user needs to build this project: the compiler, the crates and the sources, readable.
struct Workshop {
    dir: TempDir,
    crates: usize,
}

impl Workshop {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("guard-").tempdir()?;
        let all = |name: &str| dir.path().join(name);
        copy(&sysroot()?, &all("toolchain"))?;
        fs::create_dir(all("home"))?;
        copy(&cargo_home()?.join("registry"), &all("home/registry"))?;
        fs::create_dir(all("sources"))?;
        for source in read(Command::new("git").args(["ls-files"]).current_dir(root()))?.lines() {
            let to = all("sources").join(source);
            fs::create_dir_all(to.parent().context("no directory")?)?;
            fs::copy(root().join(source), &to).with_context(|| format!("cannot copy {source}"))?;
        }
        fs::create_dir(all("target"))?;
        let mut chown = Command::new("chown");
        chown.arg(AGENT.to_string());
        run(chown.args([dir.path(), &all("home"), &all("target")]))?;
        // Not the files, which are the user's own where they are links.
        let mut open = Command::new("find");
        open.arg(dir.path()).args(["-type", "d"]);
        run(open.args(["-exec", "chmod", "a+rx", "{}", "+"]))?;
        let mut workshop = Self { dir, crates: 0 };
        let tree = read(
            workshop
                .cargo()
                .args(["tree", "--offline", "--prefix", "none"])
                .args(["--package", PACKAGE, "--edges", "normal,build"]),
        )?;
        let mut crates: Vec<&str> = tree.lines().collect();
        crates.sort_unstable();
        crates.dedup();
        workshop.crates = crates.len();
        ensure!(workshop.crates >= 50, "{} crates only", workshop.crates);
        Ok(workshop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn environment(&self) -> [(&'static str, PathBuf); 3] {
        let tools = format!("{}:/usr/bin:/bin", self.path("toolchain/bin").display());
        [
            ("PATH", tools.into()),
            ("CARGO_HOME", self.path("home")),
            ("HOME", self.path("home")),
        ]
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(self.path("toolchain/bin/cargo"));
        cargo
            .env_clear()
            .envs(self.environment())
            .current_dir(self.path("sources"));
        cargo
    }

    /// The words of the command that builds all anew.
    fn build(&self) -> Vec<String> {
        let (target, sources) = (self.path("target"), self.path("sources"));
        let script = format!(
            "rm -rf {0}/debug && cd {1} && exec cargo build --quiet --offline --locked --package {PACKAGE} --lib --target-dir {0}",
            target.display(),
            sources.display()
        );
        let mut words = vec!["env".to_owned(), "-i".to_owned()];
        let set = |(name, value): (&str, PathBuf)| format!("{name}={}", value.display());
        words.extend(self.environment().map(set));
        words.extend(["sh".to_owned(), "-c".to_owned(), script]);
        words
    }
}

/// Copies a directory, as links where the file system lets it: what is copied is large, and nobody writes to it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copy = |how| run(Command::new("cp").arg(how).arg(from).arg(to));
    copy("-al").or_else(|_| {
        let _ = fs::remove_dir_all(to);
        copy("-a")
    })
}

fn sysroot() -> Result<PathBuf> {
    let root = read(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(root.trim().into())
}

fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor a home directory")
}
