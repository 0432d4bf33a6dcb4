//! The user that the command runs as.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use guard_proto::Failure;
use guard_sys::{accounts::UserAccount, user_namespace};
use rustix::process::{getegid, geteuid, getgid, getuid};

use super::failure;

/// The user that the command runs as. Never root, but perhaps root of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandIdentity {
    /// The uid outside of its user namespace.
    uid: u32,
    root: Root,
    /// The user to become first; `None` if the caller is that user already.
    switch: Option<Switch>,
}

/// Whether it is root of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    No,
    /// The command makes a user namespace and is root there.
    Becomes,
    /// The caller is uid 0 of a user namespace already.
    Is,
}

/// Another user, with what it takes to become that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) account: UserAccount,
    /// The primary group among them.
    pub(super) groups: Vec<u32>,
}

/// Whom root of a user namespace is outside of it.
pub(super) struct OutsideIds {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The caller of `guard`.
#[derive(Clone, Debug)]
struct Caller {
    uid: u32,
    /// The uid outside, if the caller is root of a user namespace.
    outside: Option<u32>,
    /// The uid that called sudo, by sudo's variable.
    sudo_uid: Option<OsString>,
    /// That user's group, for a user who is not in the list of accounts.
    sudo_gid: Option<u32>,
}

/// The decision, before accounts are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    Caller,
    /// The caller, who is root of a user namespace, and is this user outside.
    RootOf(u32),
    /// A uid, as sudo gives it.
    Uid(u32),
    /// A name, or a uid in digits, as `--user` gives it.
    Named(String),
}

const WHAT: &str = "cannot run the command as asked";

impl CommandIdentity {
    /// Decides the user of the command, given the value of `--user`.
    ///
    /// For an ordinary caller it is the caller. For root it is the user who called sudo, or the one named; never root, whom
    /// nothing in a session could hold back. If root is asked for, it is root of a user namespace in which the caller, or the
    /// user who called sudo, is the only user.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says what to type, if that is not allowed or no user has that name.
    pub fn choose(requested: Option<&str>) -> Result<Self, Failure> {
        if getuid() != geteuid() || getgid() != getegid() {
            return Err(failure(
                WHAT,
                "guard has been given the rights of another user (setuid or setgid)",
                "take them away with `chmod ug-s` on the guard program",
            ));
        }
        let caller = Caller {
            uid: getuid().as_raw(),
            outside: user_namespace::root_is(),
            sudo_uid: env::var_os("SUDO_UID"),
            sudo_gid: env::var("SUDO_GID").ok().and_then(|gid| gid.parse().ok()),
        };
        let is_root = requested.is_some_and(is_roots);
        let chosen = if is_root {
            caller.choice(None).map_err(|_| nobody_outside())?
        } else {
            caller.choice(requested)?
        };
        let identity = Self::chosen(chosen, &caller)?;
        let root = match identity.root {
            Root::No if is_root => Root::Becomes,
            root => root,
        };
        Ok(Self { root, ..identity })
    }

    fn chosen(choice: Choice, caller: &Caller) -> Result<Self, Failure> {
        let account = match choice {
            Choice::Caller => return Ok(Self::caller(caller.uid, Root::No)),
            Choice::RootOf(uid) => return Ok(Self::caller(uid, Root::Is)),
            Choice::Uid(uid) => caller.sudo_user(uid)?,
            Choice::Named(name) => by_name(&name)?,
        };
        Self::of(account, caller.uid)
    }

    fn caller(uid: u32, root: Root) -> Self {
        let switch = None;
        Self { uid, root, switch }
    }

    /// Another user, with its own group and no other. Only root can become it.
    ///
    /// # Errors
    ///
    /// A [`Failure`] if that is root.
    pub fn without_groups(account: UserAccount) -> Result<Self, Failure> {
        let uid = account.uid;
        if uid == 0 || account.gid == 0 {
            return Err(no_root());
        }
        let groups = Vec::new();
        let switch = Some(Switch { account, groups });
        let root = Root::No;
        Ok(Self { uid, root, switch })
    }

    /// This process's own user.
    ///
    /// # Errors
    ///
    /// A [`Failure`] if that is root.
    pub fn own() -> Result<Self, Failure> {
        match getuid().as_raw() {
            0 => Err(no_root()),
            uid => Ok(Self::caller(uid, Root::No)),
        }
    }

    fn of(account: UserAccount, caller: u32) -> Result<Self, Failure> {
        let uid = account.uid;
        if uid == 0 {
            return Err(no_root());
        }
        if uid == caller {
            return Ok(Self::caller(uid, Root::No));
        }
        let name = &account.name;
        if caller != 0 {
            return Err(failure(
                WHAT,
                format!("only root can run a command as {name}"),
                &format!("run it without --user, or: sudo guard run --user {name} -- …"),
            ));
        }
        let groups = account.groups().map_err(|why| unknown(name, why))?;
        let switch = Some(Switch { account, groups });
        let root = Root::No;
        Ok(Self { uid, root, switch })
    }

    /// The uid that the command runs under, as seen from outside.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether the command is to be root of a user namespace that is still to be made.
    #[must_use]
    pub fn becomes_root(&self) -> bool {
        self.root == Root::Becomes
    }

    /// Whether the caller is root of a user namespace, as the command will be.
    pub(super) fn is_root_inside(&self) -> bool {
        self.root == Root::Is
    }

    /// The command's uid as this process sees it, before it becomes root.
    pub(super) fn seen(&self) -> u32 {
        match self.root {
            Root::Is => 0,
            Root::No | Root::Becomes => self.uid,
        }
    }

    /// The uid and gid, outside of its user namespace, of root inside.
    pub(super) fn outside(&self) -> OutsideIds {
        let gid = self.switch.as_ref().map(|switch| switch.account.gid);
        OutsideIds {
            uid: self.uid,
            gid: gid.unwrap_or_else(|| getgid().as_raw()),
        }
    }

    /// The user that root becomes, with all its groups; `None` if the caller is that user already.
    #[must_use]
    pub fn account(&self) -> Option<(&UserAccount, &[u32])> {
        let switch = self.switch.as_ref()?;
        Some((&switch.account, &switch.groups))
    }

    pub(super) fn switch(&self) -> Option<&Switch> {
        self.switch.as_ref()
    }

    /// Changes of the environment: a variable's new value, or `None` if it is removed.
    pub(super) fn environment(&self) -> Vec<(OsString, Option<OsString>)> {
        let mut changes = self.of_switch();
        if self.becomes_root() {
            let root = ["USER", "LOGNAME"].map(|name| (name.into(), Some("root".into())));
            changes.extend(root);
        }
        changes
    }

    fn of_switch(&self) -> Vec<(OsString, Option<OsString>)> {
        let Some(Switch { account, .. }) = &self.switch else {
            return Vec::new();
        };
        let path = |path: &PathBuf| Some(path.clone().into_os_string());
        let name = Some(OsString::from(&account.name));
        let own = [
            ("HOME", path(&account.home)),
            ("SHELL", path(&account.shell)),
            ("USER", name.clone()),
            ("LOGNAME", name),
        ];
        let own = own.map(|(variable, value)| (variable.into(), value));
        let path = path_with(env::var_os("PATH"), &account.home);
        let own = own.into_iter().chain([("PATH".into(), path)]);
        let sudos = env::vars_os().map(|(variable, _)| variable);
        let sudos = sudos.filter(|variable| is_sudos(variable));
        own.chain(sudos.map(|variable| (variable, None))).collect()
    }
}

/// PATH, with the directory of the user's own programs (file-hierarchy(7)) at its end: sudo leaves it out.
fn path_with(path: Option<OsString>, home: &Path) -> Option<OsString> {
    let path = path?;
    let own = home.join(".local/bin");
    if !home.is_absolute() {
        return Some(path);
    }
    if env::split_paths(&path).any(|dir| dir == own) {
        return Some(path);
    }
    let all = env::split_paths(&path).chain([own]);
    Some(env::join_paths(all).unwrap_or(path))
}

fn is_sudos(variable: &OsStr) -> bool {
    variable.as_bytes().starts_with(b"SUDO_")
}

impl Caller {
    /// The user who called sudo, listed or not: sudo may allow users that are not listed.
    fn sudo_user(&self, uid: u32) -> Result<UserAccount, Failure> {
        match (by_uid(uid), self.sudo_gid) {
            (Err(_), Some(gid)) if gid != 0 => Ok(UserAccount::unlisted(uid, gid)),
            (found, _) => found,
        }
    }

    fn choice(&self, requested: Option<&str>) -> Result<Choice, Failure> {
        if let Some(name) = requested {
            return Ok(Choice::Named(name.to_owned()));
        }
        if self.uid != 0 {
            return Ok(Choice::Caller);
        }
        if let Some(uid) = self.outside {
            return Ok(Choice::RootOf(uid));
        }
        let Some(sudo_uid) = &self.sudo_uid else {
            return Err(failure(
                WHAT,
                "guard does not run commands as root, which could take the guard down",
                "name the user: guard run --user NAME -- …",
            ));
        };
        match sudo_uid.to_str().and_then(|uid| uid.parse().ok()) {
            Some(0) => Err(no_root()),
            Some(uid) => Ok(Choice::Uid(uid)),
            None => Err(failure(
                WHAT,
                "SUDO_UID is not a user's number",
                "name the user: guard run --user NAME -- …",
            )),
        }
    }
}

fn no_root() -> Failure {
    failure(
        WHAT,
        "root in a session could take the guard down",
        "run it as an ordinary user: guard run --user NAME -- …",
    )
}

fn nobody_outside() -> Failure {
    failure(
        "cannot run the command as root",
        "root inside needs an ordinary user outside, who is root there",
        "name that user: sudo -u NAME guard run --user root -- …",
    )
}

/// `root`, or its uid in digits.
fn is_roots(name: &str) -> bool {
    name == "root" || name.parse() == Ok(0_u32)
}

/// By name, or by uid if no user has that name.
fn by_name(name: &str) -> Result<UserAccount, Failure> {
    let found = UserAccount::by_name(name).map_err(|why| unknown(name, why))?;
    match (found, name.parse()) {
        (Some(account), _) => Ok(account),
        (None, Ok(uid)) => by_uid(uid),
        (None, Err(_)) => Err(unknown(name, "there is no such user")),
    }
}

fn by_uid(uid: u32) -> Result<UserAccount, Failure> {
    let name = format!("user {uid}");
    let found = UserAccount::by_uid(uid).map_err(|why| unknown(&name, why))?;
    found.ok_or_else(|| unknown(&name, "there is no such user"))
}

fn unknown(name: &str, why: impl ToString) -> Failure {
    failure(
        &format!("cannot run the command as {name}"),
        why,
        "name a user that `getent passwd` lists: guard run --user NAME -- …",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_programs_are_found_behind_all_others() {
        let home = Path::new("/home/dev");
        let with = |path: &str| path_with(Some(path.into()), home);
        let own = "/usr/bin:/bin:/home/dev/.local/bin";
        assert_eq!(with("/usr/bin:/bin"), Some(own.into()));
        assert_eq!(with(own), Some(own.into()));
        assert_eq!(path_with(None, home), None);
        let odd = Path::new("/home/a:b");
        assert_eq!(path_with(Some("/bin".into()), odd), Some("/bin".into()));
    }

    fn choice(uid: u32, sudo: Option<&str>, requested: Option<&str>) -> Result<Choice, Failure> {
        let sudo_uid = sudo.map(OsString::from);
        let sudo_gid = None;
        let outside = None;
        Caller {
            uid,
            outside,
            sudo_uid,
            sudo_gid,
        }
        .choice(requested)
    }

    #[test]
    fn an_ordinary_caller_runs_it_as_itself() {
        assert_eq!(choice(1000, None, None), Ok(Choice::Caller));
        // sudo's variables count for root only.
        assert_eq!(choice(1000, Some("1001"), None), Ok(Choice::Caller));
    }

    #[test]
    fn under_sudo_it_is_the_user_who_called_sudo() {
        assert_eq!(choice(0, Some("1000"), None), Ok(Choice::Uid(1000)));
        let named = choice(0, Some("1000"), Some("agent"));
        assert_eq!(named, Ok(Choice::Named("agent".into())));
    }

    #[test]
    fn sudos_user_need_not_be_listed() {
        let caller = |sudo_gid| Caller {
            uid: 0,
            outside: None,
            sudo_uid: None,
            sudo_gid,
        };
        let unlisted = caller(Some(4000)).sudo_user(4_000_000_123).unwrap();
        assert_eq!((unlisted.uid, unlisted.gid), (4_000_000_123, 4000));
        for unknown in [None, Some(0)] {
            assert!(caller(unknown).sudo_user(4_000_000_123).is_err());
        }
        let nobody = by_name("nobody").unwrap();
        assert_eq!(caller(Some(4000)).sudo_user(nobody.uid).unwrap(), nobody);
    }

    #[test]
    fn root_is_told_what_to_type() {
        for sudo in [None, Some("0"), Some("x"), Some("")] {
            let refused = choice(0, sudo, None).unwrap_err();
            assert!(refused.fix.contains("--user NAME"), "{refused:?}");
        }
    }

    #[test]
    fn nobody_becomes_root() {
        for name in ["root", "0", "00"] {
            for caller in [0, 1000] {
                let root = by_name(name).unwrap();
                assert_eq!(CommandIdentity::of(root, caller).unwrap_err(), no_root());
            }
        }
    }

    #[test]
    fn only_root_becomes_another() {
        let nobody = by_name("nobody").unwrap();
        let refused = CommandIdentity::of(nobody.clone(), 1000).unwrap_err();
        assert!(refused.fix.contains("sudo guard run --user nobody"));
        assert_eq!(
            CommandIdentity::of(nobody.clone(), 0).unwrap().uid(),
            nobody.uid
        );
        let same = CommandIdentity::of(nobody.clone(), nobody.uid).unwrap();
        assert_eq!(same.switch(), None);
        assert!(same.environment().is_empty());
        for missing in ["no such user", "4000000123", "-1", ""] {
            let missing = by_name(missing).unwrap_err();
            assert_eq!(missing.why, "there is no such user");
        }
    }

    #[test]
    fn another_user_gets_an_environment_of_its_own() {
        let nobody = CommandIdentity::of(by_name("nobody").unwrap(), 0).unwrap();
        let environment = nobody.environment();
        for (variable, value) in [("USER", "nobody"), ("LOGNAME", "nobody")] {
            let set = (variable.into(), Some(value.into()));
            assert!(environment.contains(&set), "{environment:?}");
        }
        assert!(is_sudos("SUDO_COMMAND".as_ref()) && !is_sudos("SUDOKU".as_ref()));
    }
}
