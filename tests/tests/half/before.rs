//! The version before, as it was released: in here, so that a test program is complete in itself.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use guard_datapath::Object;
use guard_lab::Daemon;

/// Its number.
pub(crate) const VERSION: &str = "0.2.0";
/// The package that people installed.
const PACKAGE: &[u8] = include_bytes!("../../fixtures/0.2.0/guard_0.2.0_amd64.deb");
/// Its kernel half, which the programs in the package have in them.
const OBJECT: &[u8] = include_bytes!("../../fixtures/0.2.0/guard-ebpf.o");

/// Puts its package into a file in a directory.
pub(crate) fn package(dir: &Path) -> PathBuf {
    let file = dir.join(format!("guard_{VERSION}_amd64.deb"));
    fs::write(&file, PACKAGE).unwrap();
    file
}

/// Puts its kernel half into a file of the daemon's.
pub(crate) fn object(daemon: &Daemon) -> PathBuf {
    let file = daemon.dir().join("before.o");
    fs::write(&file, OBJECT).unwrap();
    file
}

/// The same as a value.
pub(crate) fn kernel_half() -> Object {
    Object::from_bytes(OBJECT.to_vec())
}

/// The directory with its `guard` and `guardd`, which are unpacked for this daemon.
pub(crate) fn programs(daemon: &Daemon) -> PathBuf {
    let tree = daemon.dir().join("before");
    if !tree.exists() {
        fs::create_dir(&tree).unwrap();
        unpack(&package(daemon.dir()), &tree);
    }
    tree.join("usr/bin")
}

fn unpack(package: &Path, dir: &Path) {
    let mut dpkg = Command::new("dpkg-deb");
    match dpkg.arg("--extract").args([package, dir]).status() {
        Ok(status) => assert!(status.success(), "dpkg-deb: {status}"),
        Err(error) if error.kind() == ErrorKind::NotFound => unpack_without_dpkg(package, dir),
        Err(error) => panic!("dpkg-deb: {error}"),
    }
}

/// The same elsewhere than on Debian and its kin.
fn unpack_without_dpkg(package: &Path, dir: &Path) {
    let mut ar = Command::new("ar");
    ar.arg("p").arg(package).arg("data.tar.xz");
    let mut ar = ar.stdout(Stdio::piped()).spawn().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-xJC"]).arg(dir).stdin(ar.stdout.take().unwrap());
    let tar = tar.status().unwrap();
    assert!(tar.success() && ar.wait().unwrap().success(), "{tar}");
}

/// How many programs of the object are attached, or are to take another's place: its links lie in pins of their own.
pub(crate) fn links(daemon: &Daemon) -> usize {
    let pins = fs::read_dir(daemon.pin_dir().join("live")).unwrap();
    let names = pins.map(|pin| pin.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("link_")).count()
}

/// How many of today's programs it lacks, of those that are attached to the guard's root.
pub(crate) const LACKS: usize = ["ingress", "recvmsg4", "recvmsg6"].len();

/// Whether a hook is of a kind that it has, too: none at the top of the hierarchy, for Unix sockets, at the gate, or a security hook.
pub(crate) fn has(hook: &str) -> bool {
    const SECURITY: [&str; 4] = [
        "file_receive",
        "task_kill",
        "unix_may_send",
        "unix_stream_connect",
    ];
    !hook.starts_with("top_")
        && !hook.starts_with("gate_")
        && !hook.ends_with("_unix")
        && !SECURITY.contains(&hook)
}
