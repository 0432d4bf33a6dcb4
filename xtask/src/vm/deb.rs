//! The package that is installed in the machines.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::cache;
use crate::build;
use crate::shell::{root, run, target};

const CONTROL: &str = "Package: guard
Version: 0.0.1
Architecture: amd64
Maintainer: guard <guard@localhost>
Description: just what the tests need
";
const UNIT: &str = "[Unit]
Description=guard for coding agents
[Service]
Type=notify
ExecStart=/usr/bin/guardd
[Install]
WantedBy=multi-user.target
";
const POSTINST: &str = "#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || { systemctl daemon-reload; systemctl enable --now guardd.service; }
";

/// Builds it.
pub(super) fn deb() -> Result<PathBuf> {
    let tree = target().join("vm-deb");
    cache::remove(&tree)?;
    let write = |path: &str, bytes: &[u8], mode: u32| -> Result<()> {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&tree))?;
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    };
    write("DEBIAN/control", CONTROL.as_bytes(), 0o644)?;
    write("DEBIAN/postinst", POSTINST.as_bytes(), 0o755)?;
    write(
        "usr/lib/systemd/system/guardd.service",
        UNIT.as_bytes(),
        0o644,
    )?;
    for program in ["guard", "guardd"] {
        let bytes = fs::read(build::release().join(program))?;
        write(&format!("usr/bin/{program}"), &bytes, 0o755)?;
    }
    for policy in fs::read_dir(root().join("policies"))? {
        let policy = policy?.path();
        let name = policy.file_name().unwrap_or_default().to_string_lossy();
        write(
            &format!("usr/share/guard/policies/{name}"),
            &fs::read(&policy)?,
            0o644,
        )?;
    }
    let deb = target().join("vm-guard.deb");
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .args([Path::new(&tree), &deb])
        .stdout(std::process::Stdio::null()))?;
    Ok(deb)
}
