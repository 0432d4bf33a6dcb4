//! Packages of any Debian release, without touching this machine's sources, lists or packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::shell::{ending_with_us, read, run, say};

/// Signs Debian's releases.
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// How old lists of packages may be. A release changes every few weeks.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// A release of Debian, as apt sees it that has a directory of its own.
pub(super) struct Debian {
    pub(super) codename: &'static str,
    dir: PathBuf,
}

impl Debian {
    /// Its lists, new or not too old; older ones where the archive cannot be reached.
    pub(super) fn open(cache: &Cache, codename: &'static str) -> Result<Self> {
        let kind = format!("apt-{codename}");
        let _lock = cache.lock(&kind)?;
        let dir = cache.path(&kind);
        let debian = Self { codename, dir };
        debian.lay_out()?;
        let age = |path: PathBuf| fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
        let stamp = debian.dir.join("updated");
        if age(stamp.clone()).is_none_or(|age| age > FRESH) {
            match run(debian.apt(&["-qq", "update"]).arg("--error-on=any")) {
                Ok(()) => fs::write(stamp, "")?,
                Err(problem) if stamp.exists() => say(&format!(
                    "{problem:#}; going on with the lists of {codename} that are there"
                )),
                Err(problem) => return Err(problem),
            }
        }
        Ok(debian)
    }

    fn lay_out(&self) -> Result<()> {
        for dir in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        fs::write(self.dir.join("status"), "")?;
        let source = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nSigned-By: {KEYRING}\n",
            archive(),
            self.codename
        );
        fs::write(self.dir.join("sources/debian.sources"), source)?;
        Ok(())
    }

    /// The signed file that names every package of the release by its hash: who has it has the release.
    pub(super) fn release(&self) -> Result<Vec<u8>> {
        let lists = fs::read_dir(self.dir.join("lists"))?;
        let file = lists.flatten().map(|file| file.path()).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with("_InRelease") || name.ends_with("_Release")
        });
        let file = file.with_context(|| format!("apt has no lists of {}", self.codename))?;
        Ok(fs::read(file)?)
    }

    /// The package that a package without content of its own stands for.
    pub(super) fn behind(&self, package: &str, prefix: &str) -> Result<String> {
        let plan =
            read(&mut self.apt(&["--simulate", "--no-install-recommends", "install", package]))?;
        let mut installed = plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        let found = installed.find(|name| *name != package && name.starts_with(prefix));
        let found = found.with_context(|| format!("{package} of {} is empty", self.codename))?;
        Ok(found.to_owned())
    }

    /// Unpacks a package into a directory, and all that it needs if so wished. Nothing is installed.
    pub(super) fn unpack(&self, package: &str, with_needs: bool, into: &Path) -> Result<()> {
        let debs = into.join("debs");
        fs::create_dir_all(&debs)?;
        if with_needs {
            let mut apt = self.apt(&["-qq", "-y", "--no-install-recommends", "--download-only"]);
            apt.arg("-o")
                .arg(format!("Dir::Cache::archives={}", debs.display()));
            apt.args(["install", package]);
            run(ending_with_us(&apt).stdout(std::process::Stdio::null()))?;
        } else {
            let mut apt = self.apt(&["-qq", "download", package]);
            apt.current_dir(&debs);
            run(ending_with_us(&apt).stdout(std::process::Stdio::null()))?;
        }
        for deb in fs::read_dir(&debs)? {
            let deb = deb?.path();
            if deb.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("--extract").args([&deb, into]))?;
            }
        }
        fs::remove_dir_all(debs)?;
        Ok(())
    }

    fn apt(&self, args: &[&str]) -> Command {
        let mut apt = Command::new("apt-get");
        let dir = self.dir.display();
        for option in [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={dir}/sources"),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures::=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The directory has a lock of its own.
            "Debug::NoLocking=1".to_owned(),
        ] {
            apt.arg("-o").arg(option);
        }
        apt.args(args);
        apt
    }
}

/// Where this machine gets Debian's packages from, if it is a Debian.
pub(super) fn archive() -> String {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(SITE)"])
        .args(["Created-By: Packages", "Origin: Debian"]);
    let sites = read(&mut apt).unwrap_or_default();
    let mut sites = sites.lines().filter(|site| !site.contains("security"));
    sites.next().unwrap_or(ARCHIVE).to_owned()
}

/// Whether this machine has what all of that is done with.
pub(super) fn fit() -> Result<()> {
    ensure!(
        crate::shell::which("apt-get").is_some() && crate::shell::which("dpkg-deb").is_some(),
        "machines are made from Debian's packages, with apt and dpkg, which are not here: run it on Debian or Ubuntu, or in \
         a container: `podman run --rm --privileged -v \"$PWD:/guard\" -w /guard docker.io/library/rust:1.95-bookworm cargo \
         xtask vm`"
    );
    Ok(())
}
