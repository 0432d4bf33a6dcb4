//! `cargo xtask package`: what people install, the same bytes from the same commit.

mod deb;
mod licences;
mod programs;
mod reproducible;
mod rpm;
mod sbom;
mod sizes;
mod stage;
mod tarball;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build::PROGRAMS;
use crate::shell::{read, root, say, target};
use sbom::Sbom;

/// The time that every file in a package bears, in seconds since 1970: a convention of reproducible builds.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// As large as a package may be, in MiB; and one for rpm, whose tools do not pack machine code as well.
const MAX_SIZE: u64 = 8;
const MAX_SIZE_OF_RPM: u64 = 11;
const SUMS: &str = "SHA256SUMS";

/// The arguments of `cargo xtask package`; none of the first three means all three.
#[derive(clap::Args)]
pub(crate) struct PackageArgs {
    /// A package for Debian and Ubuntu
    #[arg(long)]
    deb: bool,
    /// A package for Fedora and its relatives
    #[arg(long)]
    rpm: bool,
    /// Static programs in a tarball, for every other Linux
    #[arg(long)]
    tarball: bool,
    /// The .deb's version, where it is not the workspace's: `VERSION+next` plays the next one in tests
    #[arg(long, value_name = "VERSION")]
    deb_version: Option<String>,
    /// Make all of them once more in another place, and compare
    #[arg(long, conflicts_with_all = ["deb", "rpm", "tarball", "deb_version"])]
    check_reproducible: bool,
}

/// Makes the packages, and lists their checksums.
///
/// # Errors
///
/// What could not be had, built or written.
pub(crate) fn package(args: &PackageArgs) -> Result<()> {
    let epoch = epoch()?;
    let all = !(args.deb || args.rpm || args.tarball);
    if all {
        empty(&out())?
    } else {
        fs::create_dir_all(out()).with_context(|| format!("cannot make {}", out().display()))?
    }
    // Before what takes as long again.
    let gnu = if all || args.deb || args.rpm {
        Some(programs::build(programs::GNU, &epoch)?)
    } else {
        None
    };
    gnu.as_deref().map_or(Ok(()), sizes::check)?;
    let sbom = sbom::of(&PROGRAMS, true, &epoch)?;
    if let Some(programs) = gnu {
        for_distributions(args, all, &programs, &sbom, &epoch)?;
    }
    if all || args.tarball {
        static_tarball(&sbom, &epoch)?;
    }
    sums(&out())?;
    if args.check_reproducible {
        reproducible::check()
    } else {
        Ok(())
    }
}

/// Makes the .deb and the .rpm of each package.
fn for_distributions(
    args: &PackageArgs,
    all: bool,
    programs: &Path,
    sbom: &Sbom,
    epoch: &str,
) -> Result<()> {
    let tree = |kind| stage::lay_out(kind, programs, Some(sbom));
    sbom.write(&out())?;
    if all || args.deb {
        let version = args.deb_version.as_deref().unwrap_or(version());
        let tree = tree("root")?;
        made(&deb::make(
            &tree,
            &out(),
            version,
            epoch,
            deb::DebPacking::Small,
        )?)?;
    }
    if all || args.rpm {
        made(&rpm::make(&tree("rpm")?, &out(), rpm::FIRST, epoch)?)?;
    }
    for one in &stage::APART {
        apart(one, args, all, epoch)?;
    }
    Ok(())
}

/// Makes the archive of static programs, for systems of other packages.
fn static_tarball(sbom: &Sbom, epoch: &str) -> Result<()> {
    let programs = programs::build(programs::MUSL, epoch)?;
    programs::check_static(&programs)?;
    sbom.write(&out())?;
    let tree = stage::lay_out("tarball", &programs, Some(sbom))?;
    made(&tarball::make(
        &tree,
        &out(),
        epoch,
        tarball::TarballPacking::Small,
    )?)
}

/// Makes those of one that is apart, of the same kinds. The tarball has none: nothing there would start it.
fn apart(one: &'static stage::Apart, args: &PackageArgs, all: bool, epoch: &str) -> Result<()> {
    let name = one.package.name;
    let programs = programs::build_one(name, programs::GNU, epoch)?;
    let sbom = sbom::of(&[name], false, epoch)?;
    let tree = |kind| stage::lay_out_apart(one, kind, &programs, Some(&sbom));
    if all || args.deb {
        let version = args.deb_version.as_deref().unwrap_or(version());
        let pack = deb::DebPacking::Small;
        made(&deb::make(&tree("deb")?, &out(), version, epoch, pack)?)?;
    }
    if all || args.rpm {
        made(&rpm::make(&tree("rpm")?, &out(), rpm::FIRST, epoch)?)?;
    }
    Ok(())
}

/// Makes what machines for tests install: the .deb, the same files but for the settings under a later version, and the packages that are
/// apart; with `others` two of the .rpm and the tarball. Of the programs in `programs`, quickly and without lists of what they are made of;
/// else of those that people get, as they get them.
///
/// # Errors
///
/// What could not be had, built or written.
pub(crate) fn for_machines(programs: Option<&Path>, others: bool) -> Result<Vec<PathBuf>> {
    let epoch = epoch()?;
    // Not where those lie that people are to get.
    let out = work().join("for-machines");
    empty(&out)?;
    let sbom = match programs {
        Some(_) => None,
        None => Some(sbom::of(&PROGRAMS, true, &epoch)?),
    };
    let gnu = given_or_built(programs, programs::GNU, &epoch)?;
    let mut made = Vec::new();
    let tree = stage::lay_out("root", &gnu, sbom.as_ref())?;
    let pack = match programs {
        Some(_) => deb::DebPacking::Not,
        None => deb::DebPacking::Small,
    };
    let next = format!("{}+next", version());
    for version in [version(), &next] {
        if version == next {
            tree.change_settings()?;
        }
        made.push(deb::make(&tree, &out, version, &epoch, pack)?);
    }
    for one in &stage::APART {
        made.push(apart_for_machines(one, programs, &out, &epoch, pack)?);
    }
    if others {
        made.extend(rpms_for_machines(&gnu, sbom.as_ref(), &out, &epoch)?);
        made.push(tarball_for_machines(programs, sbom.as_ref(), &out, &epoch)?);
    }
    Ok(made)
}

fn given_or_built(given: Option<&Path>, target: &str, epoch: &str) -> Result<PathBuf> {
    match given {
        Some(programs) => Ok(programs.to_owned()),
        None => programs::build(target, epoch),
    }
}

/// One, and one to upgrade to.
fn rpms_for_machines(
    programs: &Path,
    sbom: Option<&Sbom>,
    out: &Path,
    epoch: &str,
) -> Result<[PathBuf; 2]> {
    let tree = stage::lay_out("rpm", programs, sbom)?;
    let first = rpm::make(&tree, out, rpm::FIRST, epoch)?;
    tree.change_settings()?;
    Ok([first, rpm::make(&tree, out, "2", epoch)?])
}

fn tarball_for_machines(
    programs: Option<&Path>,
    sbom: Option<&Sbom>,
    out: &Path,
    epoch: &str,
) -> Result<PathBuf> {
    let programs = given_or_built(programs, programs::MUSL, epoch)?;
    let pack = match sbom {
        Some(_) => tarball::TarballPacking::Small,
        None => tarball::TarballPacking::Quickly,
    };
    let tree = stage::lay_out("tarball", &programs, sbom)?;
    tarball::make(&tree, out, epoch, pack)
}

fn apart_for_machines(
    one: &'static stage::Apart,
    programs: Option<&Path>,
    out: &Path,
    epoch: &str,
    pack: deb::DebPacking,
) -> Result<PathBuf> {
    let name = one.package.name;
    let (built, sbom) = match programs {
        Some(programs) => (programs.to_owned(), None),
        None => (
            programs::build_one(name, programs::GNU, epoch)?,
            Some(sbom::of(&[name], false, epoch)?),
        ),
    };
    let tree = stage::lay_out_apart(one, "deb", &built, sbom.as_ref())?;
    deb::make(&tree, out, version(), epoch, pack)
}

/// Says what was made. What people download is to stay small.
fn made(package: &Path) -> Result<()> {
    let size = fs::metadata(package)
        .with_context(|| format!("cannot look at {}", package.display()))?
        .len();
    say(&format!("made {}, {} KiB", package.display(), size / 1024));
    let most = match package.extension() {
        Some(rpm) if rpm == "rpm" => MAX_SIZE_OF_RPM,
        _ => MAX_SIZE,
    };
    ensure!(
        size <= most << 20,
        "{} is larger than {most} MiB",
        package.display()
    );
    Ok(())
}

/// Lists the checksums of all that is there.
pub(crate) fn sums(dir: &Path) -> Result<()> {
    let listed = || {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    let names: io::Result<Vec<OsString>> = listed();
    let mut names = names.with_context(|| format!("cannot list {}", dir.display()))?;
    names.retain(|name| name != SUMS);
    names.sort();
    let sums = read(
        Command::new("sha256sum")
            .current_dir(dir)
            .arg("--")
            .args(names),
    )?;
    write(&dir.join(SUMS), &sums)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Where the packages are left.
fn out() -> PathBuf {
    target().join("package")
}

/// Where they are made.
fn work() -> PathBuf {
    target().join("package-build")
}

/// The version of the workspace.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// When the sources changed last, for whoever looks at a file's date: never when it was built.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var(EPOCH) {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    git.current_dir(root()).args(["log", "-1", "--format=%ct"]);
    let time = read(&mut git).with_context(|| {
        format!("no git history says how old these sources are: set {EPOCH}, in seconds since 1970")
    })?;
    Ok(time.trim().to_owned())
}

/// A new, empty directory in place of whatever is there.
fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
