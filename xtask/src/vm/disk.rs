//! Disks of machines: files without a name, so that nothing of them is left whatever ends this program.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process;

use anyhow::{Context as _, Result};

pub(super) struct Disk(File);

impl Disk {
    /// An empty one, of which nothing takes room until it is written.
    ///
    /// # Errors
    ///
    /// That there is no room for temporary files.
    pub(super) fn new(size: u64) -> Result<Self> {
        let dir = std::env::temp_dir();
        let file = tempfile::tempfile_in(&dir).and_then(|file| {
            file.set_len(size)?;
            Ok(file)
        });
        let file = file.with_context(|| {
            let dir = dir.display();
            format!("no disk can be made in {dir}: set TMPDIR to a directory with room")
        })?;
        Ok(Self(file))
    }

    /// What it is written by.
    pub(super) fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// Where another program finds it for as long as this one holds it.
    pub(super) fn path(&self) -> PathBuf {
        let (process, file) = (process::id(), self.0.as_raw_fd());
        format!("/proc/{process}/fd/{file}").into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_disk_is_there_for_others_and_has_no_name() -> Result<()> {
        let disk = Disk::new(1 << 20)?;
        disk.file()?.write_all(b"what is on it")?;
        let path = disk.path();
        let seen = process::Command::new("head")
            .args(["-c", "13"])
            .arg(&path)
            .output()?;
        assert_eq!(seen.stdout, b"what is on it");
        let name = fs::read_link(&path)?;
        assert!(!name.exists(), "{}", name.display());
        drop(disk);
        assert!(!path.exists() || fs::read_link(&path)? != name);
        Ok(())
    }
}
