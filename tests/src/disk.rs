//! A file system of little room, which a test fills.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// One in place of a directory. It is unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the directory where there is none, and has it be one.
    ///
    /// # Errors
    ///
    /// That it cannot be mounted.
    pub fn new(dir: PathBuf) -> Result<Self> {
        let wrong = || format!("cannot mount a small disk at {}", dir.display());
        fs::create_dir_all(&dir).with_context(wrong)?;
        let options = Some(c"size=256k,mode=0755");
        mount("guard-lab", &dir, "tmpfs", MountFlags::empty(), options).with_context(wrong)?;
        Ok(Self(dir))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no room for another file, nor for another page of one.
    ///
    /// # Errors
    ///
    /// That nothing can be written at all.
    pub fn fill(&self) -> Result<()> {
        let filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler());
        let mut filler = filler.context("cannot fill a small disk")?;
        while filler.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    ///
    /// That it was not full.
    pub fn empty(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("it is not full")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever has files open in it keeps it for as long.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
