//! The tree of files that every package carries, as they will lie on the machine.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::sbom::Sbom;
use super::{empty, licences, work};
use crate::shell::{read, root, run};

/// Where the programs belong. The proxy's and the resolver's are nobody's to type: guardd and their units start them.
pub(super) const PROGRAMS: [&str; 4] = [
    "usr/bin/guard",
    "usr/bin/guardd",
    "usr/libexec/guard/guard-proxy",
    "usr/libexec/guard/guard-resolver",
];

/// Where each kind of unit, and what goes with it, belongs.
const UNITS: [(&str, &str); 5] = [
    ("service", "usr/lib/systemd/system"),
    ("socket", "usr/lib/systemd/system"),
    ("path", "usr/lib/systemd/system"),
    ("slice", "usr/lib/systemd/system"),
    ("preset", "usr/lib/systemd/system-preset"),
];

/// Directories that are copied with all that is in them.
const TREES: [(&str, &str); 10] = [
    ("policies", "usr/share/guard/policies"),
    ("packaging/etc", "etc/guard"),
    ("packaging/logrotate", "etc/logrotate.d"),
    ("packaging/polkit", "usr/share/polkit-1/actions"),
    ("packaging/systemd/user", "usr/lib/systemd/user"),
    (
        "packaging/systemd/user-preset",
        "usr/lib/systemd/user-preset",
    ),
    ("packaging/sysusers.d", "usr/lib/sysusers.d"),
    ("packaging/examples", "usr/share/doc/guard/examples"),
    ("packaging/grafana", "usr/share/doc/guard/grafana"),
    ("packaging/prometheus", "usr/share/doc/guard/prometheus"),
];

/// Where shells look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/guard"),
    ("zsh", "usr/share/zsh/vendor-completions/_guard"),
    ("fish", "usr/share/fish/vendor_completions.d/guard.fish"),
];

/// A package: what tells one from the other.
pub(super) struct Package {
    pub(super) name: &'static str,
    /// Where its programs belong.
    pub(super) programs: &'static [&'static str],
    /// What each kind of package says of it, and runs when it is installed and removed.
    pub(super) deb: &'static str,
    /// The directory of the crate whose manifest tells cargo-generate-rpm of it.
    pub(super) rpm: &'static str,
}

pub(super) const GUARD: Package = Package {
    name: "guard",
    programs: &PROGRAMS,
    deb: "packaging/deb",
    rpm: "guard-user/guard",
};

/// A package of its own beside that one, with one program.
pub(super) struct Apart {
    pub(super) package: Package,
    /// Its settings, users, manual and units.
    from: &'static str,
    /// Its settings.
    settings: &'static [&'static str],
    /// What people read of it, in `docs`.
    document: &'static str,
}

/// Whoever answers at the machine has no use for a server of pages, nor for one of many machines.
pub(super) const APART: [Apart; 2] = [
    Apart {
        package: Package {
            name: "guard-console",
            programs: &["usr/bin/guard-console"],
            deb: "packaging/console/deb",
            rpm: "guard-user/console",
        },
        from: "packaging/console",
        settings: &["console.toml"],
        document: "console.md",
    },
    Apart {
        package: Package {
            name: "guard-fleet",
            programs: &["usr/bin/guard-fleet"],
            deb: "packaging/fleet/deb",
            rpm: "guard-user/fleet",
        },
        from: "packaging/fleet",
        settings: &["fleet.toml", "fleet-console.toml", "fleet-keep.toml"],
        document: "fleet.md",
    },
];

impl Package {
    /// Where its documents lie.
    pub(super) fn doc(&self) -> String {
        format!("usr/share/doc/{}", self.name)
    }
}

/// A tree that a package is made of.
pub(super) struct Tree {
    pub(super) package: &'static Package,
    root: PathBuf,
}

/// Lays out a tree for the programs in a directory, with what they are made of where that was listed.
///
/// # Errors
///
/// What could not be read, written or run.
pub(super) fn lay_out(name: &str, programs: &Path, sbom: Option<&Sbom>) -> Result<Tree> {
    let tree = Tree::begin(&GUARD, name, programs)?;
    for (from, to) in TREES {
        tree.add_tree(&root().join(from), to)?;
    }
    tree.units("packaging/systemd")?;
    tree.documents(sbom)?;
    let guard = programs.join("guard");
    tree.manual(&guard)?;
    for (shell, to) in COMPLETIONS {
        let text = read(Command::new(&guard).args(["completions", shell]))?;
        tree.write(to, text)?;
    }
    Ok(tree)
}

/// The same for one that is apart.
///
/// # Errors
///
/// What could not be read, written or run.
pub(super) fn lay_out_apart(
    apart: &'static Apart,
    kind: &str,
    programs: &Path,
    sbom: Option<&Sbom>,
) -> Result<Tree> {
    let (package, own) = (&apart.package, root().join(apart.from));
    let name = package.name;
    let tree = Tree::begin(package, &format!("{name}-{kind}"), programs)?;
    tree.units(&format!("{}/systemd", apart.from))?;
    let manual = format!("usr/share/man/man8/{name}.8");
    for file in apart.settings {
        tree.add(&own.join(file), &format!("etc/guard/{file}"))?;
    }
    for (from, to) in [
        (
            format!("{name}.conf"),
            format!("usr/lib/sysusers.d/{name}.conf"),
        ),
        (format!("{name}.8"), manual.clone()),
    ] {
        tree.add(&own.join(from), &to)?;
    }
    tree.compress(&manual)?;
    let document = root().join("docs").join(apart.document);
    tree.add(&document, &format!("{}/{}", package.doc(), apart.document))?;
    tree.made_of(sbom)?;
    Ok(tree)
}

impl Tree {
    /// An empty one, with a package's programs from a directory.
    fn begin(package: &'static Package, name: &str, programs: &Path) -> Result<Self> {
        let tree = Self {
            package,
            root: work().join(name),
        };
        empty(&tree.root)?;
        for to in package.programs {
            let name = to.rsplit('/').next().unwrap_or(to);
            tree.add_stripped(&programs.join(name), to)?;
            tree.set_mode(to, 0o755)?;
        }
        Ok(tree)
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Its files, by name, as paths in it.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut dirs = vec![self.root.clone()];
        while let Some(dir) = dirs.pop() {
            for path in entries(&dir)? {
                if path.is_dir() {
                    dirs.push(path)
                } else {
                    files.push(path.strip_prefix(&self.root)?.to_owned())
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// The path of a file in it, whose directory is there.
    fn make_parent(&self, to: &str) -> Result<PathBuf> {
        let path = self.root.join(to);
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Ok(path)
    }

    /// Adds a file.
    pub(super) fn write(&self, to: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.make_parent(to)?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        self.set_mode(to, 0o644)
    }

    /// Has the settings say something else, as those of a later version may.
    pub(super) fn change_settings(&self) -> Result<()> {
        const SETTINGS: &str = "etc/guard/guardd.toml";
        let path = self.root.join(SETTINGS);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.write(SETTINGS, text + "\n# As of the next version.\n")
    }

    /// Adds a copy of a file.
    pub(super) fn add(&self, from: &Path, to: &str) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(to, bytes)
    }

    /// Adds a program without its symbols.
    fn add_stripped(&self, from: &Path, to: &str) -> Result<()> {
        let path = self.make_parent(to)?;
        run(Command::new("strip").arg("-o").args([&path, from]))
    }

    fn set_mode(&self, to: &str, mode: u32) -> Result<()> {
        let path = self.root.join(to);
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))
    }

    /// Copies what lies in a directory, if there is one.
    fn add_tree(&self, from: &Path, to: &str) -> Result<()> {
        if !from.is_dir() {
            return Ok(());
        }
        for entry in entries(from)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            let to = format!("{to}/{name}");
            if entry.is_dir() {
                self.add_tree(&entry, &to)?
            } else {
                self.add(&entry, &to)?
            }
        }
        Ok(())
    }

    fn units(&self, from: &str) -> Result<()> {
        for unit in entries(&root().join(from))? {
            let kind = unit.extension().unwrap_or_default();
            let Some((_, dir)) = UNITS.iter().find(|(known, _)| *known == kind) else {
                continue;
            };
            let name = unit.file_name().unwrap_or_default().to_string_lossy();
            self.add(&unit, &format!("{dir}/{name}"))?;
        }
        Ok(())
    }

    fn documents(&self, sbom: Option<&Sbom>) -> Result<()> {
        for name in ["README.md", "SECURITY.md"] {
            self.add(&root().join(name), &format!("{}/{name}", GUARD.doc()))?;
        }
        let docs = format!("{}/docs", GUARD.doc());
        self.add_tree(&root().join("docs"), &docs)?;
        // A terminal shows none, and they weigh as much as a program does.
        let pictures = self.root.join(docs).join("pictures");
        fs::remove_dir_all(&pictures)
            .with_context(|| format!("cannot remove {}", pictures.display()))?;
        self.made_of(sbom)
    }

    /// What the programs are made of, where that was listed.
    fn made_of(&self, sbom: Option<&Sbom>) -> Result<()> {
        let Some(sbom) = sbom else {
            return Ok(());
        };
        let doc = self.package.doc();
        for (name, text) in &sbom.files {
            self.write(&format!("{doc}/sbom/{name}"), text)?;
        }
        self.write(&format!("{doc}/THIRD-PARTY"), licences::text(sbom)?)?;
        self.compress(&format!("{doc}/THIRD-PARTY"))
    }

    fn manual(&self, guard: &Path) -> Result<()> {
        let made = work().join("man");
        empty(&made)?;
        read(Command::new(guard).arg("man").arg(&made))?;
        let written = root().join("packaging/man");
        let pages = entries(&made)?.into_iter().chain(entries(&written)?);
        for page in pages {
            let name = page.file_name().unwrap_or_default().to_string_lossy();
            let section = name.rsplit('.').next().unwrap_or_default();
            let to = format!("usr/share/man/man{section}/{name}");
            self.add(&page, &to)?;
            self.compress(&to)?;
        }
        Ok(())
    }

    /// Adds the texts of guard's own licences, which Debian has already.
    pub(super) fn add_licences(&self) -> Result<()> {
        const LICENCES: [&str; 3] = [
            "LICENSE-MIT",
            "LICENSE-APACHE",
            "guard-ebpf/LICENSE-GPL-2.0",
        ];
        for path in LICENCES {
            let name = path.rsplit('/').next().unwrap_or(path);
            self.add(
                &root().join(path),
                &format!("usr/share/licenses/{}/{name}", self.package.name),
            )?;
        }
        Ok(())
    }

    /// `file` becomes `file.gz`, without a name and a date in it.
    pub(super) fn compress(&self, file: &str) -> Result<()> {
        run(Command::new("gzip")
            .args(["-9nf"])
            .arg(self.root.join(file)))
    }
}

/// What lies in a directory, by name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let paths = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
    let paths: io::Result<Vec<PathBuf>> = paths();
    let mut paths = paths.with_context(|| format!("cannot list {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    /// What a unit makes is nobody else's, unless its file says why.
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
