//! Files of others are opened so that none of them holds the reader up, or leads it elsewhere.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, HEXLOWER};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// A directory below which files are read.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// Where that is.
    pub(crate) path: PathBuf,
    /// What stands before a file's path where it is shown.
    pub(crate) prefix: &'static str,
    resolve: ResolveFlags,
    uid: u32,
}

/// What is in a file.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// Whether it goes on.
    pub(crate) is_cut: bool,
}

/// What the files begin with that git-crypt, age, Ansible's vault and GnuPG write.
const SEALS: [&[u8]; 5] = [
    b"\0GITCRYPT\0",
    b"age-encryption.org/v1",
    b"-----BEGIN AGE ENCRYPTED FILE-----",
    b"$ANSIBLE_VAULT;",
    b"-----BEGIN PGP MESSAGE-----",
];

impl Content {
    /// Whether somebody has encrypted all of it.
    pub(crate) fn is_sealed(&self) -> bool {
        SEALS.iter().any(|begin| self.bytes.starts_with(begin))
    }

    /// Whether nobody reads any of it: bytes of a cipher, also in base64.
    pub(crate) fn is_opaque(&self) -> bool {
        is_noise(&self.bytes) || from_base64(&self.bytes).is_some_and(|bytes| is_noise(&bytes))
    }

    /// At most so many bytes of the text, and whether it goes on.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub(crate) fn text(&self, limit: u64) -> Result<(Cow<'_, str>, bool), &'static str> {
        if self.bytes.contains(&0) {
            return Err("not text");
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = &self.bytes[..self.bytes.len().min(limit)];
        let bare = bytes.strip_prefix("\u{feff}".as_bytes());
        let is_cut = self.is_cut || self.bytes.len() > limit;
        Ok((String::from_utf8_lossy(bare.unwrap_or(bytes)), is_cut))
    }

    /// SHA-256 of all of it, in hexadecimal; none where there is more.
    pub(crate) fn sha256(&self) -> Option<String> {
        (!self.is_cut).then(|| HEXLOWER.encode(&Sha256::digest(&self.bytes)))
    }
}

/// Whether more than one character in eight is none of a text's.
fn is_noise(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_odd = |c: &char| {
        *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_ascii_whitespace())
    };
    text.chars().filter(is_odd).count() > text.chars().count() / 8
}

/// What is in base64, in parts with `--` between, as Rails has it; nothing where it is anything else.
fn from_base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let text: String = str::from_utf8(bytes).ok()?.split_whitespace().collect();
    let parts = text.split("--").map(|part| {
        let bare = part.trim_end_matches('=');
        BASE64_NOPAD.decode(bare.as_bytes()).ok()
    });
    Some(parts.collect::<Option<Vec<_>>>()?.concat())
}

impl Tree {
    /// The project: whatever in it is a link leads elsewhere, or is found by its own name.
    pub(crate) fn project(path: &Path, uid: u32) -> io::Result<Self> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Self::new(path, "", resolve, uid)
    }

    /// The home, where files may be links to others of the same owner.
    pub(crate) fn home(path: &Path, uid: u32) -> io::Result<Self> {
        Self::new(path, "~/", ResolveFlags::NO_MAGICLINKS, uid)
    }

    /// All of the machine, for files that the person's own variables name.
    pub(crate) fn machine(uid: u32) -> io::Result<Self> {
        Self::new(Path::new("/"), "/", ResolveFlags::NO_MAGICLINKS, uid)
    }

    fn new(path: &Path, prefix: &'static str, resolve: ResolveFlags, uid: u32) -> io::Result<Self> {
        let root = open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let path = path.to_owned();
        Ok(Self {
            root,
            path,
            prefix,
            resolve,
            uid,
        })
    }

    /// The path as it is shown.
    pub(crate) fn shown(&self, file: &Path) -> String {
        // A project's own `~` is no home.
        let is_none =
            self.prefix.is_empty() && file.as_os_str().as_encoded_bytes().starts_with(b"~");
        let prefix = if is_none { "./" } else { self.prefix };
        format!("{prefix}{}", file.to_string_lossy())
    }

    /// Whether a file is there, whatever is in it.
    pub(crate) fn has(&self, file: &Path) -> bool {
        self.file(file).is_ok()
    }

    /// Whether a file is kept from this user, and so from all that they run.
    pub(crate) fn keeps(&self, file: &Path) -> bool {
        matches!(self.file(file), Err(Errno::ACCESS | Errno::PERM))
    }

    /// At most `limit` bytes of a file; none where there is no such file.
    ///
    /// # Errors
    ///
    /// Why it is passed over.
    pub(crate) fn read(&self, file: &Path, limit: u64) -> Result<Option<Content>, &'static str> {
        let file = match self.file(file) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => return Err("a link"),
            Err(Errno::ACCESS | Errno::PERM) => return Err("it may not be read"),
            Err(_) => return Err("it cannot be opened"),
        };
        let about = file.metadata().map_err(|_| "it cannot be opened")?;
        if !about.is_file() {
            return Err("not a regular file");
        }
        if about.uid() != self.uid && about.uid() != 0 {
            return Err("another user's");
        }
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| "it cannot be read")?;
        let is_cut = bytes.len() as u64 > limit;
        bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Some(Content { bytes, is_cut }))
    }

    /// At most so many names in a directory, in their order, but for those of directories.
    ///
    /// # Errors
    ///
    /// Where it is none, or may not be read.
    pub(crate) fn list(&self, dir: &Path, most: usize) -> Result<Vec<OsString>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat2(&self.root, dir, flags, Mode::empty(), self.resolve)?;
        let entries = Dir::new(dir)?.flatten();
        let entries = entries.filter(|entry| entry.file_type() != FileType::Directory);
        let names = entries.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        let mut names: Vec<_> = names.take(most).collect();
        names.sort();
        Ok(names)
    }

    fn file(&self, file: &Path) -> Result<File, Errno> {
        // Without waiting for whoever writes to a FIFO.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat2(&self.root, file, flags, Mode::empty(), self.resolve).map(File::from)
    }
}
