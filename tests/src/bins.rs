//! Where the programs under test are.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use crate::{Tag, exec};

/// The environment variable that names the directory of `guard`, `guardd`, `guard-proxy`, `guard-resolver`, `guard-console`, `guard-fleet` and `guard-lab`.
pub const DIR: &str = "GUARD_BIN_DIR";

/// The environment variable that names the directory into which clients and servers for read-only destinations are
/// unpacked.
pub const CLIENTS: &str = "GUARD_CLIENTS";
/// The same of what reads pushes.
pub const BROWSERS: &str = "GUARD_BROWSERS";
/// The same of a server of NATS.
pub const NATS: &str = "GUARD_NATS";
/// The same of the modules of Python that know the schemas of Kubernetes.
pub const KUBERNETES: &str = "GUARD_KUBERNETES";

const LIBEXEC: &str = "/usr/libexec/guard";

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();
static NATS_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Sets the directory for this process, as [`DIR`] does. Only the first call counts.
pub fn look_in(dir: PathBuf) {
    // A later call finds the first one's choice, as said.
    let _ = CHOSEN.set(dir);
}

/// The path of a program: in the directory that was set, else beside this one; or where packages put what nobody types.
///
/// # Errors
///
/// That it isn't there.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = directory()?.join(program);
    let places = [path.clone(), Path::new(LIBEXEC).join(program)];
    places
        .into_iter()
        .find(|place| place.is_file())
        .with_context(|| {
            let path = path.display();
            format!("no {path} here: run `cargo xtask test`, or build it and set {DIR}")
        })
}

/// The directory with real clients and servers, as their packages lay them out (`usr/bin`, `usr/lib`).
///
/// # Errors
///
/// That nothing says where they are.
pub fn clients() -> Result<PathBuf> {
    let dir = env::var_os(CLIENTS)
        .with_context(|| format!("no clients here: run `cargo xtask test`, or set {CLIENTS}"))?;
    fs::canonicalize(&dir).with_context(|| format!("{CLIENTS}={}", dir.display()))
}

/// The directory with what npm has that reads what is sent to browsers.
///
/// # Errors
///
/// That nothing says where it is.
pub fn browsers() -> Result<PathBuf> {
    dir_by(BROWSERS)
}

/// The directory with what pip has that knows the schemas of Kubernetes.
///
/// # Errors
///
/// That nothing says where it is.
pub fn kubernetes() -> Result<PathBuf> {
    dir_by(KUBERNETES)
}

fn dir_by(name: &str) -> Result<PathBuf> {
    let dir = env::var_os(name)
        .with_context(|| format!("none here: run `cargo xtask test`, or set {name}"))?;
    fs::canonicalize(&dir).with_context(|| format!("{name}={}", dir.display()))
}

/// Says for this process where a server of NATS is unpacked, as [`NATS`] does. Only the first call counts.
pub fn nats_in(dir: PathBuf) {
    let _ = NATS_DIR.set(dir);
}

/// A server of NATS.
///
/// # Errors
///
/// That nothing says where it is.
pub fn nats() -> Result<PathBuf> {
    let dir = NATS_DIR.get().cloned();
    let dir = dir.or_else(|| Some(env::var_os(NATS)?.into()));
    let dir = dir.with_context(|| format!("none here: run `cargo xtask test`, or set {NATS}"))?;
    let program = dir.join("usr/sbin/nats-server");
    fs::canonicalize(&program).with_context(|| format!("{NATS}={}", dir.display()))
}

/// The directory with the programs of the newest PostgreSQL server that is installed: Debian has them in none of PATH's.
///
/// # Errors
///
/// That there is none.
pub fn postgres() -> Result<PathBuf> {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let dirs = releases.flatten().map(|release| release.path().join("bin"));
    let newest = dirs.filter(|dir| dir.join("postgres").exists()).max();
    newest.context("no PostgreSQL server here: run `cargo xtask test`")
}

/// A path in the directory of the programs, for what tests make once and find again.
///
/// # Errors
///
/// That nobody knows where that is.
pub fn beside(name: &str) -> Result<PathBuf> {
    Ok(directory()?.join(name))
}

/// Test programs lie in a directory `deps` below the others.
fn directory() -> Result<PathBuf> {
    if let Some(dir) = CHOSEN.get() {
        return Ok(dir.clone());
    }
    if let Some(dir) = env::var_os(DIR) {
        return fs::canonicalize(&dir).with_context(|| format!("{DIR}={}", dir.display()));
    }
    let exe = env::current_exe().context("cannot tell which program this is")?;
    let dir = exe.parent().context("this program lies in no directory")?;
    let above = dir.parent().filter(|_| dir.ends_with("deps"));
    Ok(above.unwrap_or(dir).to_owned())
}

/// A path by which every user can run the program: its own, or that of a copy in the tag's directory.
///
/// # Errors
///
/// That it isn't there, or cannot be copied.
pub fn for_everybody(program: &str, tag: &Tag) -> Result<PathBuf> {
    open_path(find(program)?, &tag.dir().join("bin"))
}

/// The same of a program that lies somewhere else.
pub(crate) fn open_path(path: PathBuf, dir: &Path) -> Result<PathBuf> {
    if path.ancestors().skip(1).all(open_to_all) {
        return Ok(path);
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let copy = dir.join(path.file_name().context("it has no name")?);
    if copy.exists() {
        return Ok(copy);
    }
    fs::copy(&path, &copy).with_context(|| format!("cannot copy to {}", copy.display()))?;
    Ok(copy)
}

/// The same of a directory with all that is below it.
///
/// # Errors
///
/// That it cannot be copied.
pub fn tree_for_everybody(dir: PathBuf, tag: &Tag) -> Result<PathBuf> {
    if dir.ancestors().all(open_to_all) {
        return Ok(dir);
    }
    let copy = tag.dir().join("tree");
    if !copy.exists() {
        fs::create_dir_all(tag.dir())?;
        exec::run(Command::new("cp").arg("-rT").args([&dir, &copy]))?;
    }
    Ok(copy)
}

fn open_to_all(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o001 != 0)
}
