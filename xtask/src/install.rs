//! Obtaining what is missing, having said what and why.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache;
use crate::shell::{cargo, ending_with_us, is_root, read, run, say, which};

/// Where apt keeps what it knows; locked for as long as it works for us.
const APT: &str = "/var/lib/apt";

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
    let (_lock, tools) = (cache::lock(&cache::dir()?, "tools")?, tools()?);
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

/// Returns a directory of the cache with packages of npm's, in these versions.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_of_npm(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    obtain_of_npm_and(name, packages, why, &[], |_| Ok(()))
}

/// Does the same with more options for npm, and something to the directory then.
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

/// Returns a directory of the cache with packages of pip's, for the `python3` that is here: some of them have compiled parts.
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

/// Returns an entry of the cache with what an installer has made of that list.
fn obtain_by(
    installer: &str,
    name: &str,
    list: &str,
    why: &str,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    cache::entry(name, list, |dir| {
        say(&format!(
            "installing {list} into {} with {installer}: {why}",
            dir.display()
        ));
        install(dir).with_context(|| format!("cannot have {list}"))
    })
}

/// Returns `npm install`, which says nothing but errors.
pub(crate) fn npm_install(options: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--silent"]);
    npm.args(options);
    npm
}

/// Returns a directory of the cache into which packages of Debian or Ubuntu are unpacked: nothing of them is installed, or started by
/// what they bring.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_tree(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    let list = packages.join(" ");
    tree(name, &list, why, |_| {
        Ok(packages.iter().map(|&name| name.to_owned()).collect())
    })
}

/// Unpacks the packages and their dependencies that are not installed.
///
/// # Errors
///
/// That they could not be had.
pub(crate) fn obtain_whole_tree(name: &str, packages: &[&str], why: &str) -> Result<PathBuf> {
    let list = format!("{} with dependencies", packages.join(" "));
    tree(name, &list, why, |lists| {
        let mut simulate = apt_in(lists);
        simulate.args(["--simulate", "--no-install-recommends", "install"]);
        let plan = read(simulate.args(packages))?;
        let installed = plan.lines().filter_map(|line| {
            let name = line.strip_prefix("Inst ")?.split(' ').next()?;
            Some(name.to_owned())
        });
        Ok(installed.collect())
    })
}

fn tree(
    name: &str,
    list: &str,
    why: &str,
    which_ones: impl FnOnce(&Path) -> Result<Vec<String>>,
) -> Result<PathBuf> {
    obtain_by("apt", name, list, why, |dir| {
        if which("apt-get").is_none() || which("dpkg-deb").is_none() {
            bail!(
                "packages are unpacked with apt, which is not here: run this on Debian or Ubuntu"
            );
        }
        // The directory stays empty where all packages are installed.
        fs::create_dir_all(dir.join("usr"))?;
        let work = dir.join("work");
        fs::create_dir_all(work.join("lists/partial"))?;
        // Lists of its own: those of the machine are old, or not there.
        run_bound(apt_in(&work).args(["update", "--error-on=any"]))?;
        let packages = which_ones(&work)?;
        if !packages.is_empty() {
            run_bound(apt_in(&work).arg("download").args(packages))?;
        }
        for deb in fs::read_dir(&work)?.flatten().map(|file| file.path()) {
            if deb.extension().is_some_and(|kind| kind == "deb") {
                run_bound(
                    Command::new("dpkg-deb")
                        .arg("--extract")
                        .args([&deb, &work]),
                )?;
            }
        }
        if work.join("usr").exists() {
            fs::remove_dir(dir.join("usr"))?;
            fs::rename(work.join("usr"), dir.join("usr"))?;
        }
        cache::remove(&work)
    })
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

/// Returns the directory of tools that were built here.
///
/// # Errors
///
/// That there is nowhere to keep them.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(cache::dir()?.join("tools"))
}

/// Returns PATH, after the tools that were built here.
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
