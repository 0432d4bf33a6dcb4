//! Clients and servers that people use, for the tests of read-only destinations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{ending_with_us, root, run, target};
use crate::{install, lab};

/// The suite that wants them.
pub(crate) const SUITE: &str = "clients";

/// Programs that are installed, and their packages.
const PROGRAMS: [(&str, &str); 10] = [
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("git", "git"),
    ("go", "golang-go"),
    ("musl-gcc", "musl-tools"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("psql", "postgresql-client"),
    // The system's own, which goes by the system's certificates.
    ("/usr/bin/java", "default-jre-headless"),
    // Modules for it are unpacked, and are for the system's own.
    ("/usr/bin/python3", "python3"),
];

/// What else is wanted is unpacked only, 50 MB of packages: installed, these servers would start.
const UNPACKED: [&str; 39] = [
    "docker-registry",
    "etcd-client",
    "etcd-server",
    "golang-github-jackc-chunkreader-v2-dev",
    "golang-github-jackc-pgconn-dev",
    "golang-github-jackc-pgio-dev",
    "golang-github-jackc-pgpassfile-dev",
    "golang-github-jackc-pgproto3-v2-dev",
    "golang-github-jackc-pgservicefile-dev",
    "golang-github-jackc-pgtype-dev",
    "golang-github-jackc-pgx-v4-dev",
    "golang-golang-x-crypto-dev",
    "golang-golang-x-text-dev",
    "libnginx-mod-http-dav-ext",
    "nginx",
    "node-pg",
    "node-split2",
    "prometheus",
    "python3-asgiref",
    "python3-asyncpg",
    "python3-certifi",
    "python3-chardet",
    "python3-charset-normalizer",
    "python3-django",
    "python3-h2",
    "python3-hpack",
    "python3-hyperframe",
    "python3-greenlet",
    "python3-idna",
    "python3-pg8000",
    "python3-psycopg",
    "python3-psycopg2",
    "python3-requests",
    "python3-sqlalchemy",
    "python3-sqlparse",
    "python3-tz",
    "python3-typing-extensions",
    "python3-urllib3",
    "python3-websockets",
];

/// A resolver in Python, pip, and glibc's module for systemd-resolved; apart from the others, which need not be unpacked again for them.
const NAMES: [&str; 3] = ["libnss-resolve", "python3-dnspython", "python3-pip"];

/// The library that nginx's module for WebDAV needs, and its package.
const LIBRARY: (&str, &str) = ("libxml2.so.2", "libxml2");

/// Sees to it that they are here, and gives their directory.
///
/// # Errors
///
/// What could not be had.
pub fn obtain() -> Result<PathBuf> {
    let why = "read-only destinations are tested with them";
    lab::obtain(&PROGRAMS, why)?;
    if !has_library(LIBRARY.0) {
        install::apt_install(&[LIBRARY.1], why)?;
    }
    obtain_postgres(why)?;
    let tree = install::obtain_tree(SUITE, &UNPACKED, why)?;
    let names = install::obtain_tree("names", &NAMES, why)?;
    build_in_go(&tree)?;
    // The cache may be where an agent is not let; this workspace mostly is not. Links may lead to what packages have elsewhere;
    // with --link they would be followed.
    let here = target().join(SUITE);
    if here.exists() {
        fs::remove_dir_all(&here).with_context(|| format!("cannot remove {}", here.display()))?;
    }
    run(Command::new("cp")
        .args(["-rT", "--no-dereference", "--link"])
        .args([&tree, &here]))
    .or_else(|_| {
        // What of it was made cannot be copied onto itself.
        let _ = fs::remove_dir_all(&here);
        run(Command::new("cp").arg("-rT").args([&tree, &here]))
    })?;
    // What is linked is the tree's own: written to, it would change there.
    run(Command::new("cp")
        .args(["-rT", "--remove-destination"])
        .args([&names, &here]))?;
    Ok(here)
}

/// Programs that are written for these tests, in Go: a client, since that language has its own way to speak to servers, and a server
/// of ssh.
const IN_GO: [&str; 2] = ["pgx", "shells"];

/// Builds them with what was unpacked, to lie beside the other programs.
///
/// # Errors
///
/// What the compiler said.
fn build_in_go(tree: &Path) -> Result<()> {
    let sources = root().join("tests/tests/clients/programs");
    for name in IN_GO {
        // Debian's packages are laid out as before there were modules. What was built is built again only where it changed.
        let mut go = Command::new("go");
        go.args(["build", "-p", "2", "-o"])
            .arg(tree.join("usr/bin").join(name))
            .arg(sources.join(name).with_extension("go"))
            .env("GO111MODULE", "off")
            .env("GOPATH", tree.join("usr/share/gocode"))
            .env("GOCACHE", install::tools()?.join("go"))
            .env("CGO_ENABLED", "0");
        run(&mut ending_with_us(&go))?;
    }
    Ok(())
}

/// Where Debian's packages ask whether to make a cluster of databases, and run it.
const CLUSTERS: &str = "/etc/postgresql-common/createcluster.conf";

/// A PostgreSQL server, of which nothing is started: its programs are found by where they are, so it has to be installed.
///
/// # Errors
///
/// That it could not be had.
pub fn obtain_postgres(why: &str) -> Result<()> {
    if has_postgres() {
        return Ok(());
    }
    install::apt_install(&["postgresql-common"], why)?;
    let before = fs::read(CLUSTERS).with_context(|| format!("cannot read {CLUSTERS}"))?;
    let none = [&before[..], b"\ncreate_main_cluster = false\n"].concat();
    fs::write(CLUSTERS, none)?;
    let installed = install::apt_install(&["postgresql"], why);
    fs::write(CLUSTERS, before)?;
    installed
}

fn has_postgres() -> bool {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut programs = releases
        .flatten()
        .map(|release| release.path().join("bin/postgres"));
    programs.any(|program| program.exists())
}

/// Where the multiarch directories of Debian and Ubuntu are.
fn has_library(name: &str) -> bool {
    let Ok(dirs) = Path::new("/usr/lib").read_dir() else {
        return false;
    };
    dirs.flatten().any(|dir| dir.path().join(name).exists())
}
