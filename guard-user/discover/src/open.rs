//! Files of others are opened so that none of them holds the reader up, or leads it elsewhere.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, HEXLOWER};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// What is there, and no regular file: what `open` says of a socket.
const NO_FILE: Errno = Errno::NXIO;

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

impl Content {
    /// Whether git-crypt, age, Ansible's vault or GnuPG has encrypted all of it: anybody can write what their files begin with above
    /// lines that programs read.
    pub(crate) fn is_sealed(&self) -> bool {
        if let Some(rest) = self.bytes.strip_prefix(b"\0GITCRYPT\0") {
            return is_noise(rest);
        }
        if let Some(rest) = self.bytes.strip_prefix(b"age-encryption.org/v1\n") {
            return is_of_age(rest);
        }
        str::from_utf8(&self.bytes).is_ok_and(|text| is_armoured(text) || is_vault(text))
    }

    /// Whether nobody reads any of it: bytes of a cipher, also in base64.
    pub(crate) fn is_opaque(&self) -> bool {
        // UTF-16 has text between the zeros.
        let bytes: Vec<_> = self
            .bytes
            .iter()
            .copied()
            .filter(|byte| *byte != 0)
            .collect();
        is_noise(&bytes) || from_base64(&bytes).is_some_and(|bytes| is_noise(&bytes))
    }

    /// At most so many bytes of the text.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub(crate) fn text(&self, limit: u64) -> Result<ContentText<'_>, &'static str> {
        if self.bytes.contains(&0) {
            return Err("not text");
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = &self.bytes[..self.bytes.len().min(limit)];
        let bare = bytes.strip_prefix("\u{feff}".as_bytes());
        let is_cut = self.is_cut || self.bytes.len() > limit;
        Ok(ContentText {
            text: String::from_utf8_lossy(bare.unwrap_or(bytes)),
            is_cut,
        })
    }

    /// SHA-256 of all of it, in hexadecimal; none where there is more.
    pub(crate) fn sha256(&self) -> Option<String> {
        (!self.is_cut).then(|| HEXLOWER.encode(&Sha256::digest(&self.bytes)))
    }
}

/// The text of a file, as far as it is read.
pub(crate) struct ContentText<'c> {
    pub(crate) text: Cow<'c, str>,
    /// Whether it goes on.
    pub(crate) is_cut: bool,
}

/// Whether that is recipients, and a cipher behind them: <https://age-encryption.org/v1>.
fn is_of_age(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(5).position(|window| window == b"\n--- ") else {
        return false;
    };
    let (head, rest) = bytes.split_at(end);
    let is_head = str::from_utf8(head).is_ok_and(|head| {
        let mut lines = head.lines();
        lines.all(|line| line.starts_with("-> ") || is_base64(line))
    });
    let body = rest[1..].iter().position(|byte| *byte == b'\n');
    is_head && body.is_some_and(|at| is_noise(&rest[at + 2..]))
}

/// Whether a text is age's or OpenPGP's armour, and nothing beside.
fn is_armoured(text: &str) -> bool {
    let mut lines = text.lines();
    let kinds = ["AGE ENCRYPTED FILE", "PGP MESSAGE"];
    let is = |line: &str, mark: &str, kind: &str| line == format!("-----{mark} {kind}-----");
    let first = lines.next().unwrap_or_default();
    let Some(kind) = kinds.into_iter().find(|kind| is(first, "BEGIN", kind)) else {
        return false;
    };
    let is_header = |line: &str| {
        ["Version: ", "Comment: ", "Hash: ", "Charset: "]
            .iter()
            .any(|key| {
                line.strip_prefix(key)
                    .is_some_and(|rest| !rest.contains([':', '=', '@']))
            })
    };
    lines.all(|line| {
        let bare = line.strip_prefix('=').unwrap_or(line);
        line.is_empty() || is_base64(bare) || is_header(line) || is(line, "END", kind)
    })
}

/// Whether a text is a file of Ansible's vault, and nothing beside.
fn is_vault(text: &str) -> bool {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim_end();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b";._-".contains(&byte);
    first
        .strip_prefix("$ANSIBLE_VAULT;")
        .is_some_and(|rest| rest.bytes().all(plain))
        && lines.all(|line| line.trim().bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_base64(line: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    line.trim_end_matches('=').bytes().all(plain)
}

/// Characters of a text in a row that a cipher makes in one of a million files of 10 KB: 102 of 256 bytes are such.
const MADE_BY_CHANCE: usize = 24;
/// The same of a line that sets something.
const SET_BY_CHANCE: usize = 8;

/// Whether something in it reads as text: programs skip what they do not understand beside a line that they do.
fn has_text(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) || byte.is_ascii_whitespace();
    let mut runs = bytes.split(|byte| !is_plain(byte));
    let sets = |line: &[u8]| {
        line.len() >= SET_BY_CHANCE && line.iter().all(is_plain) && line.contains(&b'=')
    };
    let mut lines = bytes.split(|byte| b"\r\n".contains(byte));
    runs.any(|run| run.len() >= MADE_BY_CHANCE) || lines.any(sets)
}

/// Whether more than one character in eight is none of a text's, and nothing in it reads as one.
fn is_noise(bytes: &[u8]) -> bool {
    if has_text(bytes) {
        return false;
    }
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

    /// Whether a file is there that this user may read, whatever is in it.
    pub(crate) fn has(&self, file: &Path) -> bool {
        matches!(self.file(file), Ok(_) | Err(NO_FILE))
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
            Err(NO_FILE) => return Err("not a regular file"),
            Err(_) => return Err("it cannot be opened"),
        };
        let about = file.metadata().map_err(|_| "it cannot be opened")?;
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
        let entries = self.entries(dir)?.filter(|(_, is_dir)| !is_dir);
        let mut names: Vec<_> = entries.map(|(name, _)| name).take(most).collect();
        names.sort();
        Ok(names)
    }

    /// What is in a directory, and whether that is one itself.
    ///
    /// # Errors
    ///
    /// Where it is none, or may not be read.
    pub(crate) fn entries(
        &self,
        dir: &Path,
    ) -> Result<impl Iterator<Item = (OsString, bool)> + use<>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // An empty path opens nothing.
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        let dir = openat2(&self.root, dir, flags, Mode::empty(), self.resolve)?;
        let entries = Dir::new(dir)?.flatten().filter_map(|entry| {
            let name = entry.file_name().to_bytes();
            let is_meant = name != b"." && name != b"..";
            let is_dir = entry.file_type() == FileType::Directory;
            is_meant.then(|| (OsStr::from_bytes(name).to_owned(), is_dir))
        });
        Ok(entries)
    }

    fn there(&self, file: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&self.root, file, flags, Mode::empty(), self.resolve)
    }

    /// Opens a regular file. To open a FIFO tells whoever writes to it, who may ask a person for what is to be read.
    fn file(&self, file: &Path) -> Result<File, Errno> {
        let there = self.there(file)?;
        if FileType::from_raw_mode(fstat(&there)?.st_mode) != FileType::RegularFile {
            return Err(NO_FILE);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", there.as_raw_fd());
        match open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => Err(Errno::IO),
            opened => Ok(opened?.into()),
        }
    }
}
