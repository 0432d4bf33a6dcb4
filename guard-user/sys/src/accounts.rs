//! Users and groups, as the system's name service knows them.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// A user account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAccount {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
    /// Its login shell.
    pub shell: PathBuf,
}

impl UserAccount {
    /// The account with that uid, if there is one.
    ///
    /// # Errors
    ///
    /// The system's, where the name service could not be asked.
    pub fn by_uid(uid: u32) -> io::Result<Option<Self>> {
        look_up(|entry, buffer, found| {
            // SAFETY: all three point to writable memory, `buffer` to as much as is said.
            unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr().cast(), buffer.len(), found) }
        })
    }

    /// The account with that name, if there is one.
    ///
    /// # Errors
    ///
    /// The system's, where the name service could not be asked.
    pub fn by_name(name: &str) -> io::Result<Option<Self>> {
        let Ok(name) = CString::new(name) else {
            return Ok(None);
        };
        look_up(|entry, buffer, found| {
            // SAFETY: as above; `name` is a string ended by a NUL that outlives the call.
            unsafe {
                libc::getpwnam_r(
                    name.as_ptr(),
                    entry,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    found,
                )
            }
        })
    }

    /// The user who is given by name or number. A number that no account has is a user all the same.
    ///
    /// # Errors
    ///
    /// The system's, where the name service could not be asked.
    pub fn named(user: &str) -> io::Result<Option<Self>> {
        match user.parse() {
            Ok(uid) => {
                let known = Self::by_uid(uid)?;
                Ok(Some(known.unwrap_or_else(|| Self::unlisted(uid, uid))))
            }
            Err(_) => Self::by_name(user),
        }
    }

    /// The uid of a user who is given by name or number, if there is one of that name.
    ///
    /// # Errors
    ///
    /// The system's, where the name service could not be asked.
    pub fn uid_of(user: &str) -> io::Result<Option<u32>> {
        match user.parse() {
            Ok(uid) => Ok(Some(uid)),
            Err(_) => Ok(Self::by_name(user)?.map(|account| account.uid)),
        }
    }

    /// A user whom the name service does not know.
    #[must_use]
    pub fn unlisted(uid: u32, gid: u32) -> Self {
        Self {
            name: uid.to_string(),
            uid,
            gid,
            home: "/".into(),
            shell: "/bin/sh".into(),
        }
    }

    /// All its groups, the primary one among them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where its name cannot be a name. `Other` where it is in more than 65536
    /// groups, which no Linux process can be.
    pub fn groups(&self) -> io::Result<Vec<u32>> {
        let name = CString::new(self.name.as_str())?;
        let mut room: libc::c_int = 64;
        while room <= 65536 {
            let mut groups = vec![0; room.unsigned_abs() as usize];
            let mut count = room;
            // SAFETY: `groups` has room for `count` entries, and `name` ends by a NUL.
            let fit = unsafe {
                libc::getgrouplist(name.as_ptr(), self.gid, groups.as_mut_ptr(), &raw mut count)
            };
            if fit >= 0 {
                groups.truncate(fit.unsigned_abs() as usize);
                return Ok(groups);
            }
            room = count.max(room * 2);
        }
        Err(io::Error::other(format!(
            "{} is in too many groups",
            self.name
        )))
    }
}

/// The gid of the group with that name, if there is one.
///
/// # Errors
///
/// The system's, where the name service could not be asked.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    let mut buffer = vec![0_u8; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `name` ends by a NUL, the others point to writable memory, `buffer` to as much as is said.
        let done = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        match done {
            0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Ok(None),
            // SAFETY: the call succeeded, so `found` points to `entry`, which it has filled.
            0 => return Ok(Some(unsafe { (*found).gr_gid })),
            // A group with many members needs room for all of their names.
            libc::ERANGE if buffer.len() < 1 << 24 => buffer.resize(buffer.len() * 2, 0),
            libc::EINTR => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Calls a `getpw…_r` with ever more room until its answer fits.
fn look_up(
    ask: impl Fn(*mut libc::passwd, &mut [u8], *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<UserAccount>> {
    let mut buffer = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        match ask(entry.as_mut_ptr(), &mut buffer, &raw mut found) {
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: the call succeeded, so `found` points to `entry`, whose strings are in
                // `buffer`; all of them are still there.
                return Ok(Some(unsafe { account(&*found) }));
            }
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            libc::EINTR => {}
            // What getpwnam(3) lists for "no such name", besides 0.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// # Safety
///
/// The strings of `entry` must be ended by a NUL.
unsafe fn account(entry: &libc::passwd) -> UserAccount {
    // SAFETY: the caller's promise.
    let text = |of: *const libc::c_char| unsafe { os_string(of) };
    UserAccount {
        name: text(entry.pw_name).to_string_lossy().into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home: text(entry.pw_dir).into(),
        shell: text(entry.pw_shell).into(),
    }
}

/// # Safety
///
/// `of` must be null or point to a string ended by a NUL.
unsafe fn os_string(of: *const libc::c_char) -> OsString {
    if of.is_null() {
        return OsString::new();
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(of) }.to_bytes();
    OsStr::from_bytes(bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_uid_and_by_name() {
        let root = UserAccount::by_uid(0).unwrap().unwrap();
        assert_eq!(root.name, "root");
        assert_eq!(root.home, PathBuf::from("/root"));
        assert_eq!(UserAccount::by_name("root").unwrap(), Some(root.clone()));
        assert_eq!(UserAccount::uid_of("root").unwrap(), Some(0));
        assert_eq!(UserAccount::uid_of("61234").unwrap(), Some(61234));
        assert!(root.groups().unwrap().contains(&0));
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(group("no such group").unwrap(), None);
    }

    #[test]
    fn who_is_not_there_is_none() {
        assert_eq!(UserAccount::by_uid(4_000_000_123).unwrap(), None);
        assert_eq!(UserAccount::by_name("no such user").unwrap(), None);
        assert_eq!(UserAccount::uid_of("no such user").unwrap(), None);
        assert_eq!(UserAccount::by_name("nul\0name").unwrap(), None);
    }
}
