//! `guard doctor`: what this machine can enforce, tried out: by guardd what takes root, here what takes the user, and in
//! a session of its own what must fail there.

use std::path::{Path, PathBuf};

use guard_launch::CommandIdentity;
use guard_probe::{
    self as probe, Check, Family, ProbeResult, UNIX_LAYER, UnixLayer, attempts, helpers, kernel,
    layers, loopback,
};
use guard_proto::{Call, Failure, Row, doctor::Found};
use guard_sys::accounts::UserAccount;

use super::args::{DoctorArgs, Global};
use super::client::Client;
use super::discover::{looks, proxies};
use super::embedded::Embedded;
use super::error::{CliError, Exit};
use super::explain;
use super::person::Person;
use super::render::page::Page;
use super::render::{self, Output};

mod scratch;
mod user;

/// Whether guardd answers.
const RUNS: Check = Check::part(
    Family::Guard,
    "guardd",
    "sudo systemctl start guardd; where no systemd runs: sudo guardd",
);
/// Whether it is of the same version.
const VERSIONS: Check = Check::part(
    Family::Guard,
    "one version",
    "install one version of both; sudo systemctl restart guardd",
)
.optional();

/// What each row is that is made of what guard itself sees.
pub(super) const CHECKS: [Check; 5] = [RUNS, VERSIONS, user::LOOKED, looks::LOOKED, proxies::PROXY];

/// `guard doctor`: yes only if every required row is ok.
pub(crate) fn doctor(args: &DoctorArgs, global: &Global, output: Output) -> Result<Exit, CliError> {
    if let Some(row) = &args.explain {
        return explain::row(&row.join(" "), output);
    }
    if let Some(targets) = &args.attempts {
        return scratch::attempt(targets, &global.socket());
    }
    let user = args.user.as_deref();
    let page: fn(&[Row]) -> Page = if args.all {
        render::doctor::all
    } else {
        render::doctor::page
    };
    say(user, page, global, output)
}

/// What is wrong for one's own commands: the first step of `guard setup`.
///
/// # Errors
///
/// Those of [`doctor`].
pub(crate) fn problems(global: &Global, output: Output) -> Result<Exit, CliError> {
    say(None, render::doctor::brief, global, output)
}

fn say(
    user: Option<&str>,
    page: fn(&[Row]) -> Page,
    global: &Global,
    output: Output,
) -> Result<Exit, CliError> {
    let identity = whom(user)?;
    let rows = examine(&identity, &global.socket())?;
    let told = output.print(&rows, |rows, _| page(rows));
    Exit::answer(open(&rows).next().is_none()).once_told(told)
}

/// The required ones that are not ok.
fn open(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.required && !row.ok)
}

/// For whom a machine is looked at: who would run a command; where root says nothing, nobody.
fn whom(user: Option<&str>) -> Result<CommandIdentity, CliError> {
    let is_root = rustix::process::getuid().is_root();
    if user.is_none() && is_root && std::env::var_os("SUDO_UID").is_none() {
        const NOBODY: u32 = 65534;
        return Ok(CommandIdentity::without_groups(UserAccount::unlisted(
            NOBODY, NOBODY,
        ))?);
    }
    Ok(CommandIdentity::choose(user)?)
}

/// What `guard run` does where guardd's settings are strict: nothing runs while a required row is open.
///
/// # Errors
///
/// Which are, and what to do about each; or why they could not be looked at.
pub(super) fn is_closed(identity: &CommandIdentity, socket: &Path) -> Result<(), CliError> {
    let rows = examine(identity, socket)?;
    probe::refusal(open(&rows)).map_or(Ok(()), |failure| Err(CliError::Local(failure)))
}

/// All rows, family by family.
fn examine(identity: &CommandIdentity, socket: &Path) -> Result<Vec<Row>, CliError> {
    let Daemon {
        found,
        socket,
        scratch,
    } = Daemon::ask(socket)?;
    let mut rows = found.rows;
    let user = user::look(identity);
    rows.extend(user.rows);
    rows.push(UNIX_LAYER.row(unix_layer(&rows)));
    let (inside, outside) = scratch::compare(identity, socket.as_deref());
    if let Some(scratch) = scratch {
        scratch.end();
    }
    let mut tried = attempts::rows(&inside, &outside);
    layers::name(&mut tried, &rows);
    let closed = by_path(&tried);
    rows.extend(tried);
    rows.extend(helpers::rows(&user.helpers, &closed));
    rows.push(loopback::row());
    rows.push(loopback::migration());
    // Of another user's home root reads nothing.
    if identity.account().is_none() {
        rows.push(looks::row(&Person::own()));
        rows.push(proxies::row());
    }
    let family = |row: &Row| {
        Family::ALL
            .iter()
            .position(|one| one.as_str() == row.family)
    };
    rows.sort_by_key(family);
    Ok(rows)
}

fn unix_layer(rows: &[Row]) -> ProbeResult {
    match UnixLayer::of(rows) {
        UnixLayer::Lsm => ProbeResult::yes("programs at security hooks do it, as tried"),
        UnixLayer::Supervised => {
            ProbeResult::yes("a cgroup's program refuses, a supervisor connects, as tried")
        }
        UnixLayer::None if rows.iter().any(is_unseen_layer) => {
            ProbeResult::unclear("it takes root, or a guardd to ask")
        }
        UnixLayer::None => {
            ProbeResult::no("neither programs at security hooks nor both of the other two work")
        }
    }
}

/// One that could not be looked at, and that judges Unix sockets where it works.
fn is_unseen_layer(row: &Row) -> bool {
    let layers = [
        kernel::SECURITY_HOOKS,
        kernel::CONNECT_UNIX,
        kernel::SENDMSG_UNIX,
    ];
    layers.iter().any(|layer| layer.name == row.check) && row.detail.starts_with(probe::UNCLEAR)
}

/// Whether a session was kept from a unix socket that it knows the path of.
fn by_path(rows: &[Row]) -> ProbeResult {
    let row = rows.iter().find(|row| row.check == "unix sockets by path");
    match row {
        Some(row) if row.ok => ProbeResult::yes(&row.detail),
        Some(row) if row.detail.starts_with(probe::UNCLEAR) => ProbeResult::unclear(&row.detail),
        Some(row) => ProbeResult::no(&row.detail),
        None => ProbeResult::unclear("no session was tried"),
    }
}

/// What guardd has found, and where a session can be had.
struct Daemon {
    found: Found,
    socket: Option<PathBuf>,
    /// Where none ran, and root has started one to look with.
    scratch: Option<Scratch>,
}

/// A guardd of one's own, in directories that are gone afterwards.
struct Scratch {
    embedded: Option<Embedded>,
    _dir: tempfile::TempDir,
}

impl Scratch {
    /// Takes it down, before its directory goes.
    fn end(self) {
        if let Some(embedded) = self.embedded {
            embedded.end();
        }
    }
}

impl Daemon {
    /// Asks the guardd at `socket`; where none listens, looks without.
    fn ask(socket: &Path) -> Result<Self, CliError> {
        let asked = Client::connect(socket);
        match asked.and_then(|mut client| client.call::<Found>(&Call::Doctor {})) {
            Ok(mut found) => {
                let first = [
                    RUNS.row(ProbeResult::yes(format!("answers at {}", socket.display()))),
                    VERSIONS.row(versions(&found.version)),
                ];
                found.rows.splice(0..0, first);
                let socket = Some(socket.to_owned());
                Ok(Self {
                    found,
                    socket,
                    scratch: None,
                })
            }
            Err(CliError::NoDaemon(failure)) => Ok(Self::without(socket, &failure)),
            Err(error) => Err(error),
        }
    }

    fn without(socket: &Path, none: &Failure) -> Self {
        let none = format!("{} ({})", none.why, socket.display());
        if !rustix::process::geteuid().is_root() {
            return Self::blind(&none, kernel::unseen("it takes root, or a guardd to ask"));
        }
        match Self::scratch() {
            Ok(mut scratch) => {
                let none = format!("{none}; one was started to look with, and taken down");
                scratch
                    .found
                    .rows
                    .insert(0, RUNS.row(ProbeResult::no(none)));
                scratch
            }
            Err(failure) => {
                let none = format!("{none}, and none can be started: {}", failure.why);
                Self::blind(&none, kernel::rows())
            }
        }
    }

    fn blind(none: &str, rows: Vec<Row>) -> Self {
        let mut found = Found {
            rows,
            ..Found::default()
        };
        found.rows.insert(0, RUNS.row(ProbeResult::no(none)));
        Self {
            found,
            socket: None,
            scratch: None,
        }
    }

    fn scratch() -> Result<Self, Failure> {
        let made = tempfile::Builder::new().prefix("guard-doctor-").tempdir();
        let failed = |why: String| Failure {
            what: "cannot start a guardd to look with".to_owned(),
            why,
            fix: "sudo guardd".to_owned(),
        };
        let dir = made.map_err(|error| failed(error.to_string()))?;
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), all).map_err(|error| failed(error.to_string()))?;
        let socket = dir.path().join("guardd.sock");
        let (mut client, embedded) = Embedded::start(Some(&socket))?;
        let found = client.call::<Found>(&Call::Doctor {});
        let found = found.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            found,
            socket: Some(socket),
            scratch: Some(Scratch {
                embedded,
                _dir: dir,
            }),
        })
    }
}

fn versions(daemon: &str) -> ProbeResult {
    let own = env!("CARGO_PKG_VERSION");
    if daemon == own {
        ProbeResult::yes(format!("both say {own}"))
    } else {
        ProbeResult::no(format!("guard is {own}, guardd {daemon}"))
    }
}
