//! Notifications of a desktop: the Desktop Notifications Specification 1.3, over the session bus.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use guard_sys::cgroup2::{self, Hierarchy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zbus::Variant;
use zbus::fdo::{ConnectionCredentials, DBusProxy};
use zbus::names::UniqueName;

use super::words::Words;

/// A notification server has so long for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The server's interface.
#[zbus::proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
pub(super) trait Notifications {
    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Variant<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;

    fn close_notification(&self, id: u32) -> zbus::Result<()>;

    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;

    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action_key: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    fn notification_closed(&self, id: u32, reason: u32) -> zbus::Result<()>;
}

/// How much a notification wants to be seen, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It goes by itself, after some seconds.
    Told,
    /// It stays until it is answered.
    Asked,
    /// Somebody waits for it.
    Waits,
}

impl Urgency {
    /// The byte of the hint `urgency`.
    const fn level(self) -> u8 {
        match self {
            Self::Told => 0,
            Self::Asked => 1,
            Self::Waits => 2,
        }
    }

    /// In milliseconds; 0 is for ever.
    const fn timeout(self) -> i32 {
        match self {
            Self::Told => 8000,
            Self::Asked | Self::Waits => 0,
        }
    }
}

/// The person's desktop.
#[derive(Debug)]
pub(super) struct Desktop {
    bus: zbus::Connection,
    pub(super) server: NotificationsProxy<'static>,
}

impl Desktop {
    /// The one whose session this is.
    ///
    /// # Errors
    ///
    /// Where its bus does not answer.
    pub(super) async fn connect() -> zbus::Result<Self> {
        let bus = zbus::connection::Builder::session()
            .method_timeout(TIMEOUT)
            .build()
            .await?;
        let server = NotificationsProxy::new(&bus).await?;
        Ok(Self { bus, server })
    }

    /// What the server can do. One that does not say can do nothing but text.
    pub(super) async fn can(&self, what: &str) -> bool {
        let all = self.server.get_capabilities().await;
        all.is_ok_and(|all| all.iter().any(|one| one == what))
    }

    /// Shows something, in the place of another notification unless that is 0.
    ///
    /// # Errors
    ///
    /// Where the server is not there, or does not answer.
    pub(super) async fn show(
        &self,
        replaces: u32,
        words: &Words,
        urgency: Urgency,
    ) -> zbus::Result<u32> {
        let mut hints = HashMap::from([
            ("urgency", Variant::from(urgency.level())),
            ("category", Variant::from("network")),
            ("desktop-entry", Variant::from("guard")),
        ]);
        if urgency == Urgency::Told {
            hints.insert("transient", Variant::from(true));
        }
        let actions: Vec<_> = words
            .actions
            .iter()
            .flat_map(|(key, label)| [key.as_str(), label.as_str()])
            .collect();
        let (icon, timeout) = ("dialog-question", urgency.timeout());
        self.server
            .notify(
                "guard",
                replaces,
                icon,
                &words.summary,
                &words.body,
                &actions,
                hints,
                timeout,
            )
            .await
    }

    /// Whether the sender of a signal may press buttons: no process in a guarded cgroup may, whatever name it has taken
    /// on the bus.
    ///
    /// # Errors
    ///
    /// Where it is not known who that is; then it may not.
    pub(super) async fn is_outside(&self, sender: &UniqueName<'_>) -> io::Result<bool> {
        // A bus says of each sender what it likes, and a session may put its own where the person's was.
        if !is_outside(self.bus.peer_creds().await?)? {
            return Ok(false);
        }
        let bus = DBusProxy::new(&self.bus).await.map_err(io::Error::other)?;
        let asked = bus.get_connection_credentials(sender.clone().into()).await;
        is_outside(&asked.map_err(io::Error::other)?)
    }
}

/// Whether a process is in no guarded cgroup, and not guard.
fn is_outside(credentials: &ConnectionCredentials) -> io::Result<bool> {
    let Some(pid) = credentials.process_id() else {
        return Err(io::Error::other("the bus does not know its process"));
    };
    let cgroup = cgroup2::path_of(pid)?;
    let is_guard = is_guard(pid)?;
    if let Some(process) = credentials.process_fd() {
        let mut ended = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        if poll(&mut ended, Some(&Timespec::default()))? > 0 {
            return Err(io::Error::other("its process has ended"));
        }
    }
    Ok(!is_guard && !Hierarchy::find()?.is_guarded(&cgroup)?)
}

/// Whether a process runs guard itself, by what it is called: `guard run` connects sockets of its session's, and no
/// notification server is guard. What it executes it lets nobody see.
///
/// # Errors
///
/// The system's, as where it has ended.
fn is_guard(pid: u32) -> io::Result<bool> {
    let called = |who: &str| fs::read_to_string(format!("/proc/{who}/comm"));
    Ok(called(&pid.to_string())? == called("self")?)
}
