//! Obtaining what is missing, having said what and why.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::{self, Cache};
use crate::shell::{cargo, ending_with_us, is_root, read, run, say, which};

/// Where apt keeps what it knows; locked for as long as it works for us.
const APT: &str = "/var/lib/apt";
/// In a directory of tools, once all of them are in it: which they are.
const STAMP: &str = "packages";

/// Runs a command that installs into the cache: it ends with this run, however that ends, and what it has begun is made anew.
fn run_bound(command: &mut Command) -> Result<()> {
    run(&mut ending_with_us(command))
}

/// Installs packages of Debian or Ubuntu, having said which and why.
///
/// # Errors
///
/// That this is another system, that this is not root, or that apt failed.
pub(crate) fn apt_install(packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    if which("apt-get").is_none() {
        bail!("install {list} ({why}) with your system's package manager");
    }
    if !is_root() {
        bail!("run `sudo apt-get install {list}` ({why})");
    }
    say(&format!("installing {list} with apt: {why}"));
    let apt = || {
        // It goes on where this run is killed: a system on which an installation was broken off has to be mended by hand.
        // One run at a time; apt itself gives up at once where another updates the lists.
        let mut apt = Command::new("flock");
        apt.args(["--timeout", "600", APT, "apt-get", "-q"])
            .args(["-o", "DPkg::Lock::Timeout=600"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    // Old lists may do: whether they did, the installation tells.
    if let Err(problem) = run(apt().arg("update")) {
        say(&format!(
            "{problem:#}; going on with the lists that are there"
        ));
    }
    run(apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

/// Sees to it that `libclang` is here, by which the bindings of PostgreSQL's parser are made.
///
/// # Errors
///
/// That it could not be had.
pub(crate) fn obtain_libclang() -> Result<()> {
    let has = |dir: PathBuf| dir.join("libclang.so").exists();
    let debians = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut dirs = debians.map(|one| one.path()).filter(|one| {
        let name = one.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("llvm")
    });
    let is_here = env::var_os("LIBCLANG_PATH").is_some()
        || dirs.any(|dir| has(dir.join("lib")))
        || has("/usr/lib64".into());
    if is_here {
        Ok(())
    } else {
        apt_install(&["libclang-dev"], "PostgreSQL's parser is bound to with it")
    }
}

/// Builds a tool into the cache, where nothing of the user's is in the way, having said so. Without optimisation: it
/// would take longer to build than all that the tool is then asked to do.
///
/// # Errors
///
/// That cargo failed.
pub(crate) fn cargo_install(tool: &str, version: &str, why: &str) -> Result<()> {
    let (_lock, tools) = tools_alone()?;
    say(&format!(
        "installing {tool} {version} into {} with cargo: {why}",
        tools.display()
    ));
    run(cargo()
        // Whoever calls has found that it does not run: one that is damaged counts as installed otherwise.
        .args(["install", "--locked", "--debug", "--force", tool])
        .args(["--version", version, "--root"])
        .arg(&tools)
        // What several of them are made of is built once.
        .env("CARGO_TARGET_DIR", tools.join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("PATH", path_with_tools()?))
}

/// Sees to it that cargo's subcommand `tool` is there in exactly this version.
///
/// # Errors
///
/// That it could not be built.
pub(crate) fn obtain(tool: &str, version: &str, why: &str) -> Result<()> {
    let verb = tool.strip_prefix("cargo-").unwrap_or(tool);
    let found = read(
        cargo()
            .args([verb, "--version"])
            .env("PATH", path_with_tools()?),
    );
    match found {
        Ok(text) if text.split_whitespace().any(|word| word == version) => Ok(()),
        _ => cargo_install(tool, version, why),
    }
}

/// A directory of the cache with packages of npm's, in these versions.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_of_npm(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    obtain_of_npm_and(name, packages, why, &[], |_| Ok(()))
}

/// The same with more options for npm, and with what is done to the directory then.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_of_npm_and(
    name: &str,
    packages: &[&str],
    why: &str,
    options: &[&str],
    then: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let list = [packages, options].concat().join(" ");
    obtain_by("npm", name, &list, why, |dir| {
        run_bound(npm_install(options).arg("--prefix").arg(dir).args(packages))?;
        then(dir)
    })
}

/// The same of pip's, for the `python3` that is here: what some of them have is compiled for it.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_of_pip(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    let python = || Command::new("python3");
    if read(python().args(["-m", "pip", "--version"])).is_err() {
        apt_install(&["python3-pip"], why)?;
    }
    let version = read(python().arg("--version"))?;
    let list = format!("{} for {}", packages.join(" "), version.trim());
    obtain_by("pip", name, &list, why, |dir| {
        run_bound(
            python()
                .args(["-m", "pip", "install", "--quiet", "--no-compile"])
                .args(["--root-user-action", "ignore", "--target"])
                .arg(dir)
                .args(packages),
        )
    })
}

/// A directory of the cache, made again where it has something else than that list.
fn obtain_by(
    installer: &str,
    name: &str,
    list: &str,
    why: &str,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let (_lock, tools) = tools_alone()?;
    let dir = tools.join(name);
    if has_whole(&dir, list)? {
        return Ok(dir);
    }
    say(&format!(
        "installing {list} into {} with {installer}: {why}",
        dir.display()
    ));
    // Something else, or what a run has left that was ended.
    cache::remove(&dir)?;
    fs::create_dir_all(&dir)?;
    install(&dir)?;
    stamp(&dir, list)?;
    Ok(dir)
}

/// Whether a directory of tools has those of that list, and nothing of them has gone.
fn has_whole(dir: &Path, list: &str) -> Result<bool> {
    let is_it = fs::read_to_string(dir.join(STAMP)).is_ok_and(|installed| installed == list);
    if !is_it {
        return Ok(false);
    }
    let loss = cache::loss(dir)?;
    if let Some(why) = &loss {
        let dir = dir.display();
        say(&format!("{dir} is damaged ({why}): making it anew"));
    }
    Ok(loss.is_none())
}

/// Says that a directory has those of that list, and what belongs to them.
fn stamp(dir: &Path, list: &str) -> Result<()> {
    cache::seal(dir)?;
    Ok(fs::write(dir.join(STAMP), list)?)
}

/// `npm install`, which says nothing but errors.
pub(crate) fn npm_install(options: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--silent"]);
    npm.args(options);
    npm
}

/// A program, out of the package of Debian or Ubuntu that it is in: where it is not on PATH it is unpacked into
/// the cache, alone. So neither root nor what else the package installs and starts is needed.
///
/// # Errors
///
/// That it could not be had.
pub(crate) fn obtain_unpacked(program: &str, package: &str, why: &str) -> Result<PathBuf> {
    if let Some(found) = which(program) {
        return Ok(found);
    }
    let (_lock, tools) = tools_alone()?;
    let unpacked = tools.join("bin").join(program);
    let length = tools.join(format!("{program}.length"));
    if is_as_long(&unpacked, &length) {
        return Ok(unpacked);
    }
    if which("apt-get").is_none() || which("dpkg-deb").is_none() {
        bail!("install {program} ({why}) with your system's package manager");
    }
    say(&format!(
        "unpacking {program} of {package} into {} with apt: {why}",
        tools.display()
    ));
    let work = tools.join(format!("{program}.unfinished"));
    let unpack = || {
        // Left by a run that was killed.
        cache::remove(&work)?;
        update(&work)?;
        download(&[package.to_owned()], &work)?;
        extract(&work)?;
        let found = work.join("usr/bin").join(program);
        fs::create_dir_all(tools.join("bin"))?;
        fs::write(&length, fs::metadata(&found)?.len().to_string())?;
        Ok(fs::rename(found, &unpacked)?)
    };
    let done: Result<()> = unpack();
    let _ = fs::remove_dir_all(&work);
    done.with_context(|| format!("cannot have {program} of the package {package}"))?;
    Ok(unpacked)
}

/// Whether a program is there, as long as was written down when it was unpacked. One from before that was done is believed.
fn is_as_long(program: &Path, length: &Path) -> bool {
    let Ok(about) = fs::metadata(program) else {
        return false;
    };
    let kept = fs::read_to_string(length).ok();
    kept.is_none_or(|kept| kept == about.len().to_string())
}

/// A directory of the cache into which packages of Debian or Ubuntu are unpacked: nothing of them is installed, or
/// started by what they bring.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_tree(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    tree(name, packages, why, |_, packages| Ok(packages))
}

/// The same, with what they depend on that is not installed.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_whole_tree(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    tree(name, packages, why, with_dependencies)
}

fn tree(
    name: &str,
    packages: &[&str],
    why: &str,
    which_ones: impl FnOnce(&Path, Vec<String>) -> Result<Vec<String>>,
) -> Result<PathBuf> {
    let (_lock, tools) = tools_alone()?;
    let tree = tools.join(name);
    let list = packages.join(" ");
    if has_whole(&tree, &list)? {
        return Ok(tree);
    }
    if which("apt-get").is_none() || which("dpkg-deb").is_none() {
        bail!(
            "{list} ({why}) are unpacked with apt, which is not here: run this on Debian or Ubuntu"
        );
    }
    say(&format!(
        "unpacking {list} into {} with apt: {why}",
        tree.display()
    ));
    let work = tools.join(format!("{name}.unfinished"));
    let unpack = || {
        cache::remove(&work)?;
        update(&work)?;
        let packages = packages.iter().map(|&name| name.to_owned()).collect();
        download(&which_ones(&work, packages)?, &work)?;
        extract(&work)?;
        // Where all of them are installed there is nothing.
        fs::create_dir_all(work.join("usr"))?;
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(&tree)?;
        fs::rename(work.join("usr"), tree.join("usr"))?;
        stamp(&tree, &list)
    };
    let done: Result<()> = unpack();
    let _ = fs::remove_dir_all(&work);
    done.with_context(|| format!("cannot have the packages {list}"))?;
    Ok(tree)
}

/// Makes lists of a directory's own: those of the machine are old, or not there.
fn update(into: &Path) -> Result<()> {
    fs::create_dir_all(into.join("lists/partial"))?;
    run_bound(apt_in(into).args(["update", "--error-on=any"]))
}

/// What would be installed with some packages, themselves included.
fn with_dependencies(lists: &Path, packages: Vec<String>) -> Result<Vec<String>> {
    let mut simulate = apt_in(lists);
    simulate.args(["--simulate", "--no-install-recommends", "install"]);
    let plan = read(simulate.args(packages))?;
    let installed = plan.lines().filter_map(|line| {
        let name = line.strip_prefix("Inst ")?.split(' ').next()?;
        Some(name.to_owned())
    });
    Ok(installed.collect())
}

/// Downloads packages into a directory that has lists.
fn download(packages: &[String], into: &Path) -> Result<()> {
    if packages.is_empty() {
        Ok(())
    } else {
        run_bound(apt_in(into).arg("download").args(packages))
    }
}

fn apt_in(dir: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.current_dir(dir)
        .arg("-qq")
        .args(["-o", &format!("Dir::State::lists={}/lists", dir.display())])
        .args(["-o", &format!("Dir::Cache={}", dir.display())])
        .args(["-o", "APT::Sandbox::User=root"])
        .args(["-o", "Acquire::Languages=none"]);
    apt
}

/// Unpacks the packages that lie in a directory.
fn extract(dir: &Path) -> Result<()> {
    let files = fs::read_dir(dir)?.flatten().map(|file| file.path());
    let debs = files.filter(|file| file.extension().is_some_and(|kind| kind == "deb"));
    for deb in debs {
        run_bound(
            Command::new("dpkg-deb")
                .arg("--extract")
                .args([deb.as_path(), dir]),
        )?;
    }
    Ok(())
}

/// Where tools are.
///
/// # Errors
///
/// That there is nowhere to keep them.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(Cache::open()?.path("tools"))
}

/// The same, with nobody else who installs into it until the first is dropped.
fn tools_alone() -> Result<(File, PathBuf)> {
    let lock = Cache::open()?.lock("tools")?;
    Ok((lock, tools()?))
}

/// PATH, after the tools that were built here.
///
/// # Errors
///
/// That the path of the cache contains a colon.
pub(crate) fn path_with_tools() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [tools()?.join("bin")]
        .into_iter()
        .chain(env::split_paths(&path));
    Ok(env::join_paths(dirs)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is lost of one tool among others.
    type Harm = fn(&Path) -> std::io::Result<()>;

    #[test]
    fn what_has_lost_a_file_is_made_anew() -> Result<()> {
        let harms: [Harm; 3] = [
            |file| fs::remove_file(file),
            |file| fs::write(file, ""),
            |file| fs::write(file, "too"),
        ];
        for harm in harms {
            let dir = tempfile::tempdir()?;
            let file = dir.path().join("bin/tool");
            fs::create_dir(dir.path().join("bin"))?;
            fs::write(&file, "tool")?;
            stamp(dir.path(), "tool 1")?;
            assert!(has_whole(dir.path(), "tool 1")?);
            assert!(!has_whole(dir.path(), "tool 2")?);
            // What tools write beside themselves is no harm.
            fs::write(dir.path().join("bin/cached"), "")?;
            assert!(has_whole(dir.path(), "tool 1")?);
            harm(&file)?;
            assert!(!has_whole(dir.path(), "tool 1")?);
        }
        Ok(())
    }

    #[test]
    fn what_was_made_before_lengths_were_kept_is_believed_once() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("tool");
        fs::write(&file, "tool")?;
        fs::write(dir.path().join(STAMP), "tool 1")?;
        assert!(has_whole(dir.path(), "tool 1")?);
        fs::remove_file(&file)?;
        assert!(!has_whole(dir.path(), "tool 1")?);
        Ok(())
    }

    #[test]
    fn a_program_that_is_cut_off_is_unpacked_again() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (program, length) = (dir.path().join("tool"), dir.path().join("tool.length"));
        assert!(!is_as_long(&program, &length));
        fs::write(&program, "tool")?;
        assert!(is_as_long(&program, &length));
        fs::write(&length, "4")?;
        assert!(is_as_long(&program, &length));
        fs::write(&program, "to")?;
        assert!(!is_as_long(&program, &length));
        Ok(())
    }
}
