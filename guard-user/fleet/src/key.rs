//! The key that a machine or a person is known by to servers: Ed25519, in NATS's own form (nkeys).

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use nkeys::{KeyPair, KeyPairType};

/// Its public half. Makes the key where there is none.
///
/// # Errors
///
/// That the file is no such key, others may read it, or it cannot be made.
pub(crate) fn public(file: &Path) -> Result<String> {
    let made = KeyPair::new_user();
    let seed = made.seed().context("cannot make a key")?;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut options = OpenOptions::new();
    // What is there is never written over: the server knows it.
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    match opened {
        Ok(mut opened) => {
            let written = writeln!(opened, "{seed}").and_then(|()| opened.sync_all());
            if written.is_err() {
                // Half a key would never be replaced.
                let _ = fs::remove_file(file);
            }
            written.with_context(|| format!("cannot write {}", file.display()))?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot make {}", file.display()));
        }
    }
    Ok(pair(file)?.public_key())
}

/// Its seed, which nobody else may read.
///
/// # Errors
///
/// As for [`public`], and that there is none.
pub(crate) fn seed(file: &Path) -> Result<String> {
    pair(file)?.seed().context("the key has no seed")
}

fn pair(file: &Path) -> Result<KeyPair> {
    let found = fs::metadata(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "there is no key in {}: guard-fleet key makes one",
            file.display()
        ),
        _ => anyhow::anyhow!("cannot read {}: {error}", file.display()),
    })?;
    ensure!(
        found.mode() & 0o077 == 0,
        "others may read the key in {}: chmod 600 {}",
        file.display(),
        file.display()
    );
    let text = crate::settings::text_of(file)?;
    let read = KeyPair::from_seed(text.trim());
    match read {
        Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok(pair),
        _ => bail!(
            "{} is no key of a user, as nk -gen user and guard-fleet key make one",
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
        assert!(seed(&file).is_err());
        let made = public(&file)?;
        assert!(made.starts_with('U'), "{made}");
        assert_eq!(public(&file)?, made);
        assert_eq!(fs::metadata(&file)?.mode() & 0o777, 0o600);
        assert!(seed(&file)?.starts_with("SU"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
        let refused = public(&file).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|why| why.contains("chmod 600")));
        Ok(())
    }

    #[test]
    fn what_is_no_key_is_left_as_it_is() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("machine.nk");
        for text in ["", "hello", &KeyPair::new_account().seed()?] {
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            assert!(public(&file).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&file)?, text);
        }
        Ok(())
    }
}
