//! `cargo xtask package`: what people install, the same bytes from the same commit.
//!
//! `packaging/install` lays out the files of a package once, and cargo-deb, cargo-generate-rpm and tar pack them. What both first say of the
//! packages is in the manifests of the crates that have their names.

mod made_of;
mod programs;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build::{APART, PROGRAMS};
use crate::shell::{cargo, read, root, run, say, target};
use crate::{cache, install, lab};

/// Time of every file in a package, in seconds since 1970: a convention of reproducible builds.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Largest size of a package, in MiB.
const MAX_SIZE: u64 = 11;
const SUMS: &str = "SHA256SUMS";

const DEB_TOOL: (&str, &str) = ("cargo-deb", "3.8.0");
const RPM_TOOL: (&str, &str) = ("cargo-generate-rpm", "0.21.1");

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
    /// Make all of them once more in another place, and compare
    #[arg(long, conflicts_with_all = ["deb", "rpm", "tarball"])]
    check_reproducible: bool,
}

/// A package.
struct Package {
    /// Name of the package, and of the crate whose manifest describes the package.
    name: &'static str,
    /// Its programs, each of the crate of that name.
    programs: &'static [&'static str],
}

/// A machine whose people answer elsewhere has no use for a server of pages, nor for one of many machines.
const PACKAGES: [Package; 3] = [
    Package {
        name: "guard",
        programs: &PROGRAMS,
    },
    Package {
        name: APART[0],
        programs: &[APART[0]],
    },
    Package {
        name: APART[1],
        programs: &[APART[1]],
    },
];

/// Haste with which a package is packed.
#[derive(Clone, Copy, PartialEq)]
enum Packing {
    /// For people.
    Small,
    /// For a machine that reads it once.
    Quick,
}

/// Makes the packages, and lists their checksums.
///
/// # Errors
///
/// What could not be had, built or written.
pub(crate) fn package(args: &PackageArgs) -> Result<()> {
    let (epoch, out) = (epoch()?, target().join("package"));
    let all = !(args.deb || args.rpm || args.tarball);
    if all {
        cache::remove(&out)?;
    }
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let lists = made_of::list(&PACKAGES, &epoch)?;
    run(Command::new("sh")
        .args(["-c", "cp \"$0\"/*/*.json \"$1\""])
        .args([&lists, &out]))?;
    for package in PACKAGES.iter().filter(|_| all || args.deb || args.rpm) {
        let programs = programs::build(package, programs::GNU, &epoch)?;
        let tree = lay_out(package, &programs, Some(&lists))?;
        if all || args.deb {
            made(&deb(package, &out, version(), &epoch, Packing::Small)?)?;
        }
        if all || args.rpm {
            made(&rpm(package, &out, "1", &epoch, Packing::Small)?)?;
        }
        cache::remove(&tree)?;
    }
    if all || args.tarball {
        // Nothing there would start a server of pages.
        let programs = programs::build(&PACKAGES[0], programs::MUSL, &epoch)?;
        let tree = lay_out(&PACKAGES[0], &programs, Some(&lists))?;
        made(&tarball(&tree, &out, &epoch, Packing::Small)?)?;
    }
    sums(&out)?;
    if args.check_reproducible {
        run(&mut Command::new(root().join(".ci/reproducible")))?;
    }
    Ok(())
}

/// Makes what machines for tests install: the .deb, the same with other settings under a later version, the packages that are apart, and with
/// `others` two of the .rpm and the tarball. Of the programs in `programs`, quickly; else of those that people get, as they get them.
///
/// # Errors
///
/// What could not be had, built or written.
pub(crate) fn for_machines(programs: Option<&Path>, others: bool) -> Result<Vec<PathBuf>> {
    let (epoch, out) = (epoch()?, work().join("for-machines"));
    empty(&out)?;
    let lists = match programs {
        Some(_) => None,
        None => Some(made_of::list(&PACKAGES, &epoch)?),
    };
    let packing = match programs {
        Some(_) => Packing::Quick,
        None => Packing::Small,
    };
    let lay_out_for = |package, target| {
        let programs = match programs {
            Some(programs) => programs.to_owned(),
            None => programs::build(package, target, &epoch)?,
        };
        lay_out(package, &programs, lists.as_deref())
    };
    let mut made = Vec::new();
    for package in &PACKAGES {
        let tree = lay_out_for(package, programs::GNU)?;
        let is_guard = package.name == "guard";
        made.push(deb(package, &out, version(), &epoch, packing)?);
        if is_guard && others {
            made.push(rpm(package, &out, "1", &epoch, packing)?);
        }
        if is_guard {
            let settings = tree.join("etc/guard/guardd.toml");
            writeln!(
                File::options().append(true).open(&settings)?,
                "\n# As of the next version."
            )?;
            let next = format!("{}+next", version());
            made.push(deb(package, &out, &next, &epoch, packing)?);
        }
        if is_guard && others {
            made.push(rpm(package, &out, "2", &epoch, packing)?);
        }
    }
    if others {
        let tree = lay_out_for(&PACKAGES[0], programs::MUSL)?;
        made.push(tarball(&tree, &out, &epoch, packing)?);
    }
    Ok(made)
}

/// Lays out the files of a package, with lists of what it is made of where there are some, and returns their directory.
fn lay_out(package: &Package, programs: &Path, lists: Option<&Path>) -> Result<PathBuf> {
    // As in the manifests.
    let tree = work().join("tree").join(package.name);
    run(Command::new(root().join("packaging/install"))
        .arg(package.name)
        .args([programs, &tree])
        .args(lists.map(|lists| lists.join(package.name))))?;
    Ok(tree)
}

fn deb(package: &Package, out: &Path, version: &str, epoch: &str, how: Packing) -> Result<PathBuf> {
    lab::obtain(
        &[("dpkg-shlibdeps", "dpkg-dev")],
        "it finds the libraries that a .deb depends on",
    )?;
    install::obtain(DEB_TOOL.0, DEB_TOOL.1, "it makes the .deb")?;
    let deb = out.join(format!("{}_{version}_amd64.deb", package.name));
    let quickly: &[_] = match how {
        Packing::Small => &[],
        Packing::Quick => &["--fast", "--compress-type", "gz", "--compress-system"],
    };
    run(cargo()
        .args(["deb", "--package", package.name, "--no-build", "--no-strip"])
        .args(["--quiet", "--locked", "--deb-version", version, "--output"])
        .arg(&deb)
        .args(quickly)
        .env("PATH", install::path_with_tools()?)
        .env(EPOCH, epoch))?;
    Ok(deb)
}

fn rpm(package: &Package, out: &Path, release: &str, epoch: &str, how: Packing) -> Result<PathBuf> {
    install::obtain(RPM_TOOL.0, RPM_TOOL.1, "it makes the .rpm")?;
    let rpm = out.join(format!(
        "{}-{}-{release}.x86_64.rpm",
        package.name,
        version()
    ));
    let dir = package.name.strip_prefix("guard-").unwrap_or(package.name);
    let quickly: &[_] = match how {
        Packing::Small => &[],
        Packing::Quick => &["--payload-compress", "none"],
    };
    run(cargo()
        .args(["generate-rpm", "--package", &format!("guard-user/{dir}")])
        .args(["--arch", "x86_64", "--auto-req", "builtin", "--output"])
        .arg(&rpm)
        .args(["--set-metadata", &format!("release = \"{release}\"")])
        .args(quickly)
        .env("PATH", install::path_with_tools()?)
        .env(EPOCH, epoch))?;
    Ok(rpm)
}

fn tarball(tree: &Path, out: &Path, epoch: &str, how: Packing) -> Result<PathBuf> {
    lab::obtain(&[("xz", "xz-utils")], "the tarball is packed with it")?;
    let name = format!("guard-{}-x86_64-linux", version());
    let file = out.join(format!("{name}.tar.xz"));
    // One thread: with several, the result depends on how many there are.
    let xz = match how {
        Packing::Small => "--use-compress-program=xz --threads=1 --x86 --lzma2=preset=9e",
        Packing::Quick => "--use-compress-program=xz -0",
    };
    // Neither owners, nor times, nor the order in which the disk has the files.
    run(Command::new("tar")
        .args(["--create", "--format=gnu", "--sort=name", xz])
        .args(["--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u=rwX,go=rX", &format!("--mtime=@{epoch}")])
        .arg(format!("--transform=s,^\\.,{name},"))
        .arg("--file")
        .arg(&file)
        .arg("--directory")
        .args([tree, Path::new(".")]))?;
    Ok(file)
}

/// Says what was made. What people download is to stay small.
fn made(package: &Path) -> Result<()> {
    let size = fs::metadata(package)
        .with_context(|| format!("cannot look at {}", package.display()))?
        .len();
    say(&format!("made {}, {} KiB", package.display(), size / 1024));
    ensure!(
        size <= MAX_SIZE << 20,
        "{} is larger than {MAX_SIZE} MiB",
        package.display()
    );
    Ok(())
}

/// Lists the checksums of all that is there.
fn sums(dir: &Path) -> Result<()> {
    cache::remove(&dir.join(SUMS))?;
    let sums = read(
        Command::new("sh")
            .current_dir(dir)
            .args(["-c", "sha256sum -- *"]),
    )?;
    write(&dir.join(SUMS), &sums)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Where packages are made.
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

/// Makes a new, empty directory in place of whatever is there.
fn empty(dir: &Path) -> Result<()> {
    cache::remove(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A newcomer knows the next command, on Debian and on Fedora.
    #[test]
    fn an_installation_ends_with_what_to_type_next() -> Result<()> {
        const BEGIN: &str =
            "echo \"guard: next, as yourself: guard doctor, then in your project: guard setup\"";
        for script in ["packaging/deb/postinst", "packaging/rpm/post.sh"] {
            let text = fs::read_to_string(root().join(script))?;
            let lines = text.lines().map(str::trim);
            let mut said = lines.filter(|line| line.starts_with("echo "));
            assert_eq!(said.next_back(), Some(BEGIN), "{script}");
        }
        Ok(())
    }

    #[test]
    fn packages_beside_guard_break_older_ones() -> Result<()> {
        for dir in ["console", "fleet"] {
            let manifest = root().join("guard-user").join(dir).join("Cargo.toml");
            let breaks = format!("breaks = \"guard (<< {})\"", version());
            let text = fs::read_to_string(&manifest)?;
            ensure!(
                text.contains(&breaks),
                "{} wants {breaks}",
                manifest.display()
            );
        }
        Ok(())
    }

    /// Files that a unit makes can be read by the unit alone, unless the unit file says why.
    #[test]
    fn units_say_who_may_read_what_they_make() -> Result<()> {
        let (mut count, mut open) = (0, vec![root().join("packaging")]);
        while let Some(path) = open.pop() {
            // What an administrator makes of an example is the administrator's.
            if path.is_dir() && !path.ends_with("examples") {
                for entry in fs::read_dir(&path)? {
                    open.push(entry?.path());
                }
            } else if path.extension().is_some_and(|kind| kind == "service") {
                count += 1;
                let text = fs::read_to_string(&path)?;
                let masks = text.lines().filter_map(|line| line.strip_prefix("UMask="));
                let is_told = |line: &str| line.starts_with('#') && line.contains("UMask=");
                let is_well = match masks.collect::<Vec<_>>()[..] {
                    ["0077"] => true,
                    [] | ["0022"] => text.lines().any(is_told),
                    _ => false,
                };
                let unit = path.display();
                ensure!(is_well, "{unit} has no UMask=0077, and does not say why");
            }
        }
        ensure!(count >= 12, "only {count} units were found");
        Ok(())
    }
}
