//! Where systems keep the certificates that they trust, and reading them.
//!
//! From Go's `crypto/x509/root_linux.go`, the crate openssl-probe, ca-certificates of Debian, update-ca-trust(8) of
//! Fedora and p11-kit.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Bundles of all certificates, as PEM. The first that exists is the system's.
pub(super) const BUNDLES: &[&str] = &[
    // Debian, Arch, Gentoo, Alpine, NixOS
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    // openSUSE
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    // Alpine
    "/etc/ssl/cert.pem",
    // older ones, and what OpenSSL reads by default here and there
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    "/usr/lib/ssl/cert.pem",
];

/// Java's, as JKS or PKCS #12.
pub(super) const JAVA: &[&str] = &[
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/var/lib/ca-certificates/java-cacerts",
];

/// Directories in which OpenSSL looks certificates up by the hash of their subject.
pub(super) const HASHED: &[&str] = &[
    "/etc/ssl/certs",
    "/usr/lib/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted/pem/directory-hash",
    "/var/lib/ca-certificates/openssl",
];

/// Directories that p11-kit reads, and with it GnuTLS and NSS.
pub(super) const ANCHORS: &[&str] = &[
    "/etc/pki/ca-trust/source/anchors",
    "/etc/ca-certificates/trust-source/anchors",
    "/usr/share/pki/trust/anchors",
];

/// The longest file of certificates, in bytes; systems' own have a fifth of a megabyte.
pub(super) const MOST: u64 = 8 << 20;

/// The content of a file whose name another user may have chosen.
///
/// # Errors
///
/// The system's; `InvalidInput` if it is no file, `FileTooLarge` if it is longer than [`MOST`].
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe without a writer must not block the session.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        let why = "it is no regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    read_all(&file)
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if file.take(MOST + 1).read_to_end(&mut content)? as u64 > MOST {
        let why = format!("it is longer than {MOST} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(content)
}

/// Those that exist, each once, with all links followed.
pub(super) fn existing(paths: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        match Path::new(path).canonicalize() {
            Ok(path) if !found.contains(&path) => found.push(path),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_sensible_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let refused = |path: &Path| read(path).unwrap_err().kind();
        assert_eq!(refused(&file), io::ErrorKind::NotFound);
        assert_eq!(refused(Path::new("/dev/zero")), io::ErrorKind::InvalidInput);
        assert_eq!(refused(dir.path()), io::ErrorKind::InvalidInput);
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(refused(&pipe), io::ErrorKind::InvalidInput);
        File::create(&file).unwrap().set_len(MOST).unwrap();
        assert_eq!(read(&file).unwrap().len() as u64, MOST);
        File::create(&file).unwrap().set_len(MOST + 1).unwrap();
        assert_eq!(refused(&file), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn several_names_for_one_file_are_one_file() {
        let found = existing(&["/proc/self/../version", "/proc/version", "/nonexistent"]);
        assert_eq!(found, [Path::new("/proc/version")]);
    }
}
