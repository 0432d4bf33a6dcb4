//! The key that a machine or a person is known by to servers: Ed25519, in NATS's own form (nkeys).

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nkeys::{KeyPair, KeyPairType};

/// A key's file is shorter.
const LONGEST: u64 = 1024;

/// Its public half. Makes the key where there is none.
///
/// # Errors
///
/// That the file is no such key, others may read it, or it cannot be made.
pub(crate) fn public(file: &Path) -> Result<String> {
    let made = KeyPair::new_user();
    let seed = made.seed().context("cannot make a key")?;
    if fs::symlink_metadata(file).is_err() {
        let dir = file.parent().unwrap_or(Path::new("."));
        let made = fs::create_dir_all(dir).and_then(|()| tempfile::NamedTempFile::new_in(dir));
        let mut whole = made.with_context(|| format!("cannot make a key in {}", dir.display()))?;
        let written = writeln!(whole, "{seed}").and_then(|()| whole.as_file().sync_all());
        written.with_context(|| format!("cannot write in {}", dir.display()))?;
        // Whole or not there, and never over another: the server knows that one.
        match whole.persist_noclobber(file) {
            Err(kept) if kept.error.kind() != ErrorKind::AlreadyExists => {
                return Err(kept.error).with_context(|| format!("cannot make {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(pair(file)?.public_key())
}

/// Both halves, of a file that nobody else may read.
///
/// # Errors
///
/// As for [`public`], and that there is none.
pub(crate) fn pair(file: &Path) -> Result<KeyPair> {
    // Nobody waits for a file that is none.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    let opened = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "there is no key in {}: guard-fleet key makes one",
            file.display()
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "the key in {} is another user's: chown it to whom guard-fleet runs as",
            file.display()
        ),
        _ => anyhow!("cannot read {}: {error}", file.display()),
    })?;
    let found = opened.metadata();
    let found = found.with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(
        found.mode() & 0o077 == 0,
        "others may read the key in {}: chmod 600 {}",
        file.display(),
        file.display()
    );
    let mut text = String::new();
    if found.is_file() {
        let read = opened.take(LONGEST).read_to_string(&mut text);
        read.with_context(|| format!("cannot read {}", file.display()))?;
    }
    match KeyPair::from_seed(text.trim()) {
        Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok(pair),
        _ => bail!(
            "{} is no key of a user: remove it, and guard-fleet key makes one",
            file.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("state/machine.nk");
        assert!(pair(&file).is_err());
        let made = public(&file)?;
        assert!(made.starts_with('U'), "{made}");
        assert_eq!(public(&file)?, made);
        assert_eq!(fs::metadata(&file)?.mode() & 0o777, 0o600);
        assert!(pair(&file)?.seed()?.starts_with("SU"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
        let refused = public(&file).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|why| why.contains("chmod 600")));
        Ok(())
    }

    #[test]
    fn what_is_no_key_is_left_as_it_is() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("machine.nk");
        let long = "S".repeat(100_000);
        for text in ["", "hello", &long, &KeyPair::new_account().seed()?] {
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            assert!(public(&file).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&file)?, text);
        }
        Ok(())
    }
}
