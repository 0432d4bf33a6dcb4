//! The package for Debian and Ubuntu, by Debian's own tools.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::stage::{Package, Tree};
use super::{EPOCH, empty, work};
use crate::lab;
use crate::shell::{read, root, run};

/// As in `control`.
const MAINTAINER: &str = "The guard authors <guard@users.noreply.invalid>";
/// What dpkg runs when it installs and removes the package.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// Where dpkg-deb looks for its instructions, among the package's files.
const TOLD: &str = "DEBIAN";

/// How hard it is packed.
#[derive(Clone, Copy)]
pub(super) enum DebPacking {
    /// As people download it.
    Small,
    /// Not at all, for machines to throw away: an emulated one takes longer to unpack it than to read it.
    Not,
}

/// Makes it of a tree, in a directory, and says where it is.
///
/// # Errors
///
/// That Debian's tools could not be had, or what they say.
pub(super) fn make(
    tree: &Tree,
    out: &Path,
    version: &str,
    epoch: &str,
    pack: DebPacking,
) -> Result<PathBuf> {
    lab::obtain(
        &[("dpkg-deb", "dpkg"), ("dpkg-shlibdeps", "dpkg-dev")],
        "they make the .deb",
    )?;
    complete(tree, version, epoch)?;
    // dpkg-deb takes its instructions from a directory among the files.
    let whole = work().join("deb");
    empty(&whole)?;
    run(Command::new("cp")
        .args(["--archive", "--link"])
        .arg(tree.root().join("."))
        .arg(&whole))?;
    // Whatever this user's mask is.
    run(Command::new("find")
        .arg(&whole)
        .args(["-type", "d", "-exec", "chmod", "755", "{}", "+"]))?;
    tell(tree, &whole, version)?;
    let deb = out.join(format!("{}_{version}_amd64.deb", tree.package.name));
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .args([&whole, &deb])
        .env(EPOCH, epoch)
        .stdout(Stdio::null()))
    .with_context(|| format!("of the files in {}", whole.display()))?;
    match pack {
        DebPacking::Small => compress(&deb, epoch)?,
        DebPacking::Not => {}
    }
    Ok(deb)
}

/// Packs what is in a package with xz's filter for machine code, which dpkg-deb has no option for, and reads: 6 % less.
fn compress(deb: &Path, epoch: &str) -> Result<()> {
    lab::obtain(&[("xz", "xz-utils")], "the .deb is packed with it")?;
    let place = work().join("members");
    empty(&place)?;
    let mut members = vec![("debian-binary".to_owned(), b"2.0\n".to_vec())];
    for (of, name) in [
        ("--ctrl-tarfile", "control.tar"),
        ("--fsys-tarfile", "data.tar"),
    ] {
        let tar = place.join(name);
        let file = File::create(&tar).with_context(|| format!("cannot make {}", tar.display()))?;
        run(Command::new("dpkg-deb").arg(of).arg(deb).stdout(file))?;
        // One thread: with several, the result depends on how many there are.
        run(Command::new("xz")
            .args(["--x86", "--lzma2=preset=9e", "--threads=1"])
            .arg(&tar))?;
        let packed = place.join(format!("{name}.xz"));
        let bytes = fs::read(&packed);
        let bytes = bytes.with_context(|| format!("cannot read {}", packed.display()))?;
        members.push((format!("{name}.xz"), bytes));
    }
    fs::write(deb, archive(&members, epoch))
        .with_context(|| format!("cannot write {}", deb.display()))
}

/// An archive of ar's, as deb(5) has it: a line of fixed columns before each member, and none begins at an odd byte.
fn archive(members: &[(String, Vec<u8>)], epoch: &str) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let line = format!(
            "{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            100_644,
            bytes.len()
        );
        archive.extend_from_slice(line.as_bytes());
        archive.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

/// Writes what dpkg reads of the package.
fn tell(tree: &Tree, whole: &Path, version: &str) -> Result<()> {
    let told = whole.join(TOLD);
    let write = |name: &str, text: &str, mode| {
        let path = told.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    fs::create_dir_all(&told)?;
    fs::set_permissions(&told, fs::Permissions::from_mode(0o755))?;
    let own = |path: &str| {
        let path = root().join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let files = tree.files()?;
    let deb = tree.package.deb;
    // But for what is known only now.
    let control = own(&format!("{deb}/control"))?
        .replace("@VERSION@", version)
        .replace("@SIZE@", &installed(whole, &files)?.to_string())
        .replace("@LIBRARIES@", &libraries(tree.package, whole)?);
    write("control", &control, 0o644)?;
    let settings = files.iter().filter(|file| file.starts_with("etc"));
    let settings: String = settings
        .map(|file| format!("/{}\n", file.display()))
        .collect();
    write("conffiles", &settings, 0o644)?;
    let sums = read(
        Command::new("md5sum")
            .current_dir(whole)
            .arg("--")
            .args(files.iter().filter(|file| !file.starts_with("etc"))),
    )?;
    write("md5sums", &sums, 0o644)?;
    for script in SCRIPTS {
        let text = own(&format!("{deb}/{script}"))?;
        write(script, &text, 0o755)?;
    }
    Ok(())
}

/// How much the files take on a disk, in KiB, as Debian's policy counts it: each file up to the next KiB.
fn installed(whole: &Path, files: &[PathBuf]) -> Result<u64> {
    let sizes = files.iter().map(|file| {
        let about = fs::metadata(whole.join(file));
        let about = about.with_context(|| format!("cannot look at {}", file.display()))?;
        Ok(about.size().div_ceil(1024))
    });
    sizes.sum()
}

/// The packages whose libraries the programs are linked with, and from which version on.
fn libraries(package: &Package, whole: &Path) -> Result<String> {
    // It wants to stand beside a source package's control file.
    let place = work().join("shlibdeps");
    empty(&place)?;
    fs::create_dir(place.join("debian"))?;
    fs::write(
        place.join("debian/control"),
        "Source: guard\n\nPackage: guard\nArchitecture: any\n",
    )?;
    let found = read(
        Command::new("dpkg-shlibdeps")
            .current_dir(&place)
            .arg("-O")
            .args(package.programs.iter().map(|program| whole.join(program)))
            .stderr(Stdio::inherit()),
    )?;
    let found = found.trim().strip_prefix("shlibs:Depends=");
    let found = found.context("dpkg-shlibdeps names no libraries")?;
    Ok(found.to_owned())
}

/// Adds what only Debian wants.
fn complete(tree: &Tree, version: &str, epoch: &str) -> Result<()> {
    let (package, doc) = (tree.package, tree.package.doc());
    let overrides = root().join(package.deb).join("lintian-overrides");
    let to = format!("usr/share/lintian/overrides/{}", package.name);
    tree.add(&overrides, &to)?;
    // All of it is under the same licences.
    let copyright = root().join("packaging/deb/copyright");
    tree.add(&copyright, &format!("{doc}/copyright"))?;
    let date =
        read(Command::new("date").args(["--utc", "--rfc-email", "--date", &format!("@{epoch}")]))?;
    let history = root().join("CHANGELOG.md");
    let history = fs::read_to_string(&history)
        .with_context(|| format!("cannot read {}", history.display()))?;
    let changelog = format!(
        "{} ({version}) unstable; urgency=medium\n\n{}\n -- {MAINTAINER}  {date}",
        package.name,
        changes(&history)
    );
    tree.write(&format!("{doc}/changelog"), changelog)?;
    tree.compress(&format!("{doc}/changelog"))
}

/// The newest section of our CHANGELOG.md as Debian's changelogs have it, for `apt-listchanges` to show.
fn changes(history: &str) -> String {
    let newest = history.lines().skip_while(|line| !line.starts_with("## "));
    let newest = newest.skip(1).take_while(|line| !line.starts_with("## "));
    let mut changes = String::new();
    for line in newest.filter(|line| !line.is_empty()) {
        let (before, text) = match (line.strip_prefix("### "), line.strip_prefix("- ")) {
            (Some(kind), _) => ("  [ ", format!("{kind} ]\n")),
            (_, Some(change)) => ("  * ", change.to_owned()),
            _ => ("    ", line.trim().to_owned()),
        };
        changes += &format!("{before}{text}\n");
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_begins_where_its_line_says() {
        let members = [
            ("debian-binary", &b"2.0\n"[..]),
            ("data.tar.xz", &b"odd"[..]),
        ];
        let members = members.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        let expected = "!<arch>\n\
            debian-binary   1700000000  0     0     100644  4         `\n2.0\n\
            data.tar.xz     1700000000  0     0     100644  3         `\nodd\n";
        let archive = archive(&members, "1700000000");
        assert_eq!(String::from_utf8_lossy(&archive), expected);
    }

    #[test]
    fn apt_shows_what_has_changed_since_the_last_release() {
        let history = "# Changelog\n\nThe format.\n\n## [Unreleased]\n\n### Added\n\n- One thing,\n  and more of it.\n\
                       - Another.\n\n## [0.1.0]\n\n- Old.\n";
        let expected = "  [ Added ]\n\n  * One thing,\n    and more of it.\n  * Another.\n";
        assert_eq!(changes(history), expected);
    }

    /// Whoever has read nothing knows what to type then; on Fedora, too.
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

    /// lintian warns of one.
    #[test]
    fn no_script_calls_a_program_by_its_path() -> Result<()> {
        for folder in [
            "packaging/deb",
            "packaging/console/deb",
            "packaging/fleet/deb",
        ] {
            for script in SCRIPTS {
                let text = fs::read_to_string(root().join(folder).join(script))?;
                for line in text.lines().filter(|line| !line.starts_with('#')) {
                    assert!(!line.contains("bin/"), "{folder}/{script}: {line}");
                }
            }
        }
        Ok(())
    }
}
