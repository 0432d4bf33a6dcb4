//! What the service manager says of a unit.
//!
//! guardd runs `systemctl` in a process of its own: it speaks to PID 1 over a socket that only root can reach, also before
//! there is a message bus, and a manager that hangs delays only the callers that need it. A D-Bus library would add nothing
//! here.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    rc::Rc,
    time::Duration,
};

use guard_sys::accounts::UserAccount;
use tokio::{process::Command, sync::Semaphore, time::timeout};

use crate::control::{failure::CallError, fresh::Fresh};

/// How long the manager may take to answer. While it reloads its units it answers nobody.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Calls to the manager at once, of all callers.
const AT_ONCE: usize = 2;
/// Interval before the manager is asked about the same unit again.
const PAUSE: Duration = Duration::from_millis(100);
/// A command line has room for about this many names of any length.
const MOST_AT_ONCE: usize = 256;

/// Where systemctl is looked for, whatever guardd's own PATH is.
pub(super) const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
const PROPERTIES: &str =
    "--property=Id,Description,User,DynamicUser,PAMName,ControlPID,SubState,ControlGroup";

/// Limits the calls to the manager. Root in a unit may call as often as it likes: answers are cached for a moment and calls
/// take turns, so that neither this machine nor a unit that is starting is delayed much.
#[derive(Debug)]
pub(crate) struct Manager {
    turns: Semaphore,
    units: RefCell<BTreeMap<String, Rc<KnownUnit>>>,
}

/// What the manager says of one unit.
type KnownUnit = Fresh<Result<Unit, CallError>>;

impl Default for Manager {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            units: RefCell::default(),
        }
    }
}

impl Manager {
    /// What the manager knows of a unit, not older than this call.
    ///
    /// # Errors
    ///
    /// As those of [`ask`].
    pub(crate) async fn ask(&self, unit: &str) -> Result<Unit, CallError> {
        let about = self.about(unit);
        let in_turn = async {
            // The semaphore is never closed.
            let _turn = self.turns.acquire().await;
            ask(unit).await
        };
        about.get(in_turn).await
    }

    fn about(&self, unit: &str) -> Rc<KnownUnit> {
        let mut units = self.units.borrow_mut();
        // Units that no caller asks about any more.
        units.retain(|_, about| Rc::strong_count(about) > 1 || !about.is_over());
        let about = units.entry(unit.to_owned());
        Rc::clone(about.or_insert_with(|| Rc::new(Fresh::new(PAUSE))))
    }
}

/// A unit, as the manager knows it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// What it is called; an alias stands for this name.
    pub(crate) id: String,
    /// What it is for.
    pub(crate) description: String,
    /// The user that its commands run as; none is root, or not set by the unit.
    pub(crate) user: Option<String>,
    /// Its commands run as root, as far as it says: the manager may make up a user.
    pub(crate) is_roots: bool,
    /// The PAM service that its commands start through; empty where none does.
    pam_name: String,
    /// The control process, as of `ExecStartPre=`; 0 if there is none.
    control_pid: u32,
    /// `start-pre` while commands of `ExecStartPre=` run.
    sub_state: String,
    /// As `/proc/PID/cgroup` has it.
    control_group: PathBuf,
}

/// Whether a service manager runs that can be asked.
#[must_use]
pub(crate) fn is_there() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// What the manager knows of a unit.
///
/// # Errors
///
/// If it cannot be asked, or does not answer in time.
pub(crate) async fn ask(unit: &str) -> Result<Unit, CallError> {
    let unknown = |why: String| {
        CallError::refused(
            format!("cannot tell what {unit} is"),
            why,
            format!("see what this says: systemctl show {unit}"),
        )
    };
    if !is_unit_name(unit) {
        return Err(unknown("that is no unit's name".to_owned()));
    }
    let said = show(PROPERTIES, &[unit]).await.map_err(unknown)?;
    Unit::read(&said).ok_or_else(|| unknown("its answer makes no sense".to_owned()))
}

/// The output of `systemctl show` for these units, or why there is none.
async fn show(properties: &str, units: &[&str]) -> Result<String, String> {
    let mut systemctl = Command::new("systemctl");
    systemctl
        .args(["show", "--no-pager", properties, "--"])
        .args(units)
        // guardd's own environment must not change what it does.
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match timeout(TIMEOUT, systemctl.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("cannot run systemctl: {error}")),
        Err(_) => {
            let seconds = TIMEOUT.as_secs();
            return Err(format!("systemd did not answer in {seconds} s"));
        }
    };
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The main process of a service, and where the manager has put the unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Main {
    /// The service.
    pub(crate) unit: String,
    /// The process.
    pub(crate) pid: u32,
}

/// The main processes of the services that belong in a slice or in one below it, as their units say, wherever they are.
///
/// # Errors
///
/// Why the manager cannot be asked.
pub(crate) async fn mains_of(slice: &str) -> Result<Vec<Main>, String> {
    let below = format!("{}-*.slice", slice.strip_suffix(".slice").unwrap_or(slice));
    let said = show("--property=SliceOf", &[slice, &below]).await?;
    let units = said
        .lines()
        .filter_map(|line| line.strip_prefix("SliceOf="));
    let services = units.flat_map(str::split_whitespace);
    let services: Vec<_> = services.filter(|unit| unit.ends_with(".service")).collect();
    let mut mains = Vec::new();
    for some in services.chunks(MOST_AT_ONCE) {
        mains.extend(read_mains(&show("--property=Id,MainPID", some).await?));
    }
    Ok(mains)
}

/// Those in what systemctl prints: a paragraph for each unit.
fn read_mains(said: &str) -> Vec<Main> {
    let mains = said.split("\n\n").filter_map(|unit| {
        let of = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name));
        let pid = of("MainPID=")?.parse().ok().filter(|pid| *pid != 0)?;
        let unit = of("Id=")?.to_owned();
        Some(Main { unit, pid })
    });
    mains.collect()
}

/// Whether a unit may be called so, by the characters of systemd.unit(5): no pattern for several units is one of them.
#[must_use]
pub(crate) fn is_unit_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    name.contains('.') && name.chars().all(is_fine)
}

/// Whether only units with a cgroup should have such a name.
#[must_use]
pub(crate) fn is_kept_for_units(name: &str) -> bool {
    let kinds = [".service", ".scope", ".slice"];
    is_unit_name(name) && kinds.iter().any(|kind| name.ends_with(kind))
}

/// The unit whose cgroup is called `name`: systemd puts a `_` before names that the kernel has another use for.
#[must_use]
pub(crate) fn unit_of(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// The uid of a user, given by name or number.
///
/// # Errors
///
/// `NotFound` if there is none, `Failed` if the accounts cannot be read.
pub(crate) fn uid_of(user: &str) -> Result<u32, CallError> {
    let nobody = |why: String| {
        CallError::not_found(
            format!("there is no user {user}"),
            why,
            format!("check the name: getent passwd {user}"),
        )
    };
    match UserAccount::uid_of(user) {
        Ok(Some(uid)) => Ok(uid),
        Ok(None) => Err(nobody("no account has that name".to_owned())),
        Err(error) => Err(nobody(error.to_string())),
    }
}

impl Unit {
    /// Parses what systemctl prints. A key that comes twice, as of two units, is an error.
    fn read(said: &str) -> Option<Self> {
        let mut values = BTreeMap::new();
        for line in said.lines() {
            let (name, value) = line.split_once('=')?;
            if values.insert(name, value).is_some() {
                return None;
            }
        }
        let text = |name| values.get(name).map_or("", |value| *value).to_owned();
        let user = Some(text("User")).filter(|user| !user.is_empty());
        let is_dynamic = text("DynamicUser") == "yes";
        let is_root = |user: &str| ["root", "0"].contains(&user);
        Some(Self {
            id: text("Id"),
            description: text("Description"),
            is_roots: user.as_deref().map_or(!is_dynamic, is_root),
            // A dynamic user is nobody who could answer requests.
            user: user.filter(|_| !is_dynamic),
            pam_name: text("PAMName"),
            control_pid: text("ControlPID").parse().unwrap_or(0),
            sub_state: text("SubState"),
            control_group: text("ControlGroup").into(),
        })
    }

    /// Whether the unit has that cgroup.
    #[must_use]
    pub(crate) fn is_at(&self, cgroup: &Path) -> bool {
        self.control_group == cgroup
    }

    /// Checks that the cgroup may be the unit's: it is, or the manager knows of none.
    ///
    /// # Errors
    ///
    /// `Refused`: only its name is the unit's.
    pub(crate) fn is_not_elsewhere(&self, cgroup: &Path) -> Result<(), CallError> {
        let at = &self.control_group;
        if at.as_os_str().is_empty() || self.is_at(cgroup) {
            return Ok(());
        }
        let (unit, at, cgroup) = (&self.id, at.display(), cgroup.display());
        Err(CallError::refused(
            format!("the cgroup that is called {unit} is not the unit's"),
            format!("systemd says that it is at {at}, and the one in the slice is {cgroup}"),
            format!(
                "start the unit in the slice, with Slice=guard.slice: systemctl restart {unit}; for what is in that \
                 cgroup: sudo guard assign --policy NAME {cgroup}"
            ),
        ))
    }

    /// Checks that the process, in that cgroup or below it, is the control process of this unit now.
    ///
    /// # Errors
    ///
    /// `Refused`: it is not.
    pub(crate) fn vouch_for(&self, pid: u32, cgroup: &Path) -> Result<(), CallError> {
        let unit = &self.id;
        let no = |why: String| {
            Err(CallError::refused(
                "no process under the guard may do this",
                why,
                "in the unit: ExecStartPre=+guard assign --policy NAME\n\
                 for what runs already, from outside: sudo guard assign --policy NAME UNIT",
            ))
        };
        if !self.is_at(cgroup) {
            let (seen, said) = (cgroup.display(), self.control_group.display());
            return no(format!(
                "the call came from {seen}, and systemd says that {unit} is at {said}"
            ));
        }
        if self.sub_state != "start-pre" {
            let state = &self.sub_state;
            return no(format!(
                "a unit gets its policy before it starts, and {unit} is in the state {state:?}"
            ));
        }
        if self.control_pid != pid {
            let control = self.control_pid;
            return no(format!(
                "systemd prepares {unit} with process {control}, and the call came from process {pid}: the command \
                 of ExecStartPre= must be guard itself"
            ));
        }
        self.is_kept()
    }

    /// Checks that the unit's main process stays where the manager puts it.
    ///
    /// # Errors
    ///
    /// `Refused`: PAM moves it.
    pub(crate) fn is_kept(&self) -> Result<(), CallError> {
        if self.pam_name.is_empty() {
            return Ok(());
        }
        let (unit, pam) = (&self.id, &self.pam_name);
        Err(CallError::refused(
            "a unit that opens a login session is not kept in the guard's slice",
            format!(
                "{unit} has PAMName={pam}: pam_systemd moves its main process into a session's scope, unguarded"
            ),
            format!("leave PAMName= out of the unit, and start it again: systemctl restart {unit}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Id=agent.service\nDescription=An agent: a=b\nUser=alice\nDynamicUser=no\nControlPID=42\n\
                        SubState=start-pre\nControlGroup=/guard.slice/agent.service\n";

    #[test]
    fn only_the_one_process_that_prepares_a_unit_is_vouched_for() {
        let unit = Unit::read(SAID).unwrap();
        assert_eq!(unit.description, "An agent: a=b");
        assert_eq!(unit.user.as_deref(), Some("alice"));
        let cgroup = Path::new("/guard.slice/agent.service");
        assert_eq!(unit.vouch_for(42, cgroup), Ok(()));
        for (pid, at) in [
            (43, "/guard.slice/agent.service"),
            (42, "/guard.slice/other.service"),
            (42, "/guard.slice"),
            (42, ""),
        ] {
            assert!(unit.vouch_for(pid, Path::new(at)).is_err(), "{pid} {at}");
        }
        for state in ["start", "running", "stop-post", ""] {
            let said = SAID.replace("start-pre", state);
            let unit = Unit::read(&said).unwrap();
            assert!(unit.vouch_for(42, cgroup).is_err(), "{state}");
        }
        let mine = Path::new("/guard.slice/agent.service");
        assert_eq!(unit.is_not_elsewhere(mine), Ok(()));
        let other = unit.is_not_elsewhere(Path::new("/guard.slice/_agent.service"));
        assert!(other.is_err());
        assert_eq!(Unit::default().is_not_elsewhere(mine), Ok(()));
        let login = Unit::read(&format!("{SAID}PAMName=login\n")).unwrap();
        let refusal = login.vouch_for(42, cgroup).unwrap_err();
        assert!(refusal.to_string().contains("PAMName=login"), "{refusal}");
        assert_eq!(login.is_kept(), Err(refusal));
    }

    #[test]
    fn what_is_not_one_unit_is_none() {
        assert_eq!(Unit::read(&format!("{SAID}\n{SAID}")), None);
        assert_eq!(Unit::read(&format!("{SAID}ControlPID=43\n")), None);
        for name in [
            "*.service",
            "a[b].service",
            "a?.service",
            "service",
            "a/b.service",
        ] {
            assert!(!is_unit_name(name), "{name}");
        }
        for name in [
            "agent@a-b.service",
            "run-u3.service",
            "docker-0f.scope",
            "a\\x2d.slice",
        ] {
            assert!(is_unit_name(name), "{name}");
        }
        assert_eq!(unit_of("_cpu.service"), "cpu.service");
        assert_eq!(unit_of("agent.service"), "agent.service");
    }

    #[test]
    fn services_that_run_have_a_main_process() {
        let said = "MainPID=42\nId=a.service\n\nId=b.service\nMainPID=0\n\nId=c.service\n\nId=d.service\nMainPID=7\n";
        let main = |unit: &str, pid| Main {
            unit: unit.to_owned(),
            pid,
        };
        let expected = [main("a.service", 42), main("d.service", 7)];
        assert_eq!(read_mains(said), expected);
        assert!(read_mains("\n").is_empty());
    }

    #[test]
    fn a_user_that_is_made_up_answers_for_nothing() {
        let said = SAID.replace("DynamicUser=no", "DynamicUser=yes");
        assert_eq!(Unit::read(&said).unwrap().user, None);
        for (user, dynamic, is_roots) in [
            ("", "no", true),
            ("", "yes", false),
            ("alice", "no", false),
            ("alice", "yes", false),
            ("root", "no", true),
            ("0", "no", true),
            // The name of an account stands for that one.
            ("root", "yes", true),
        ] {
            let said = SAID.replace("User=alice", &format!("User={user}"));
            let said = said.replace("DynamicUser=no", &format!("DynamicUser={dynamic}"));
            let unit = Unit::read(&said).unwrap();
            assert_eq!(unit.is_roots, is_roots, "{user} {dynamic}");
        }
        assert_eq!(uid_of("0"), Ok(0));
        assert_eq!(uid_of("root"), Ok(0));
        assert!(uid_of("no such user").is_err());
    }
}
