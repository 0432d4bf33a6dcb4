//! Where ways are tried: a network that plays production, a guardd, and an address of each way's own.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::iter::once;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Result, ensure};
pub(crate) use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, ALLOWS, Attempt, CONFIRMS, DaemonBuilder, Network, Production, Reached, Report, Running,
    Scene, bins, holds_scene, mounts,
};
use serde_json::Value;

use crate::escapes::way::{Came, Tried};

/// Production is denied by one rule; everything else is open.
pub(crate) const DENIED: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48", "fe80::/10"]
action = "deny"
"#;
/// Nothing is open but the other company's addresses.
pub(crate) const LISTED: &str = r#"
version = 1
default = "deny"

[[rule]]
name = "open"
to = ["198.51.100.0/24", "2001:db8:8::/48"]
action = "allow"
"#;
/// What ships.
const DEFAULT: &str = include_str!("../../../policies/default.toml");

/// Forms in which IPv4 addresses stand within IPv6 ones.
const FORMS: [&str; 5] = [
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002:c000:200::/40",
    "::192.0.2.0/120",
    "::ffff:0:192.0.2.0/120",
];
/// Production's address on the link to it.
pub(crate) const LINK: &str = "fe80::53";
/// A global address of production's in the network that both are in.
pub(crate) const NEIGHBOUR: &str = "2001:db8:ffff::53";

/// One with production, from which there should be no way to it.
pub(crate) struct EscapeScene {
    scene: Scene,
    pub(crate) production: Production,
}

holds_scene!(EscapeScene);

impl EscapeScene {
    /// One of a test's own, for what changes guardd or is told by its numbers.
    pub(crate) fn new() -> Result<Self> {
        Self::build(|daemon| daemon)
    }

    /// One in which sessions may run as root.
    pub(crate) fn with_root() -> Result<Self> {
        const ROOT: &str = "resolvers = [\"127.0.0.1:1\"]\nrun_as_root = true\n";
        Self::build(|daemon| daemon.config(ROOT))
    }

    /// The same, with more said to guardd.
    pub(crate) fn build(more: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> Result<Self> {
        let network = Network::new()?;
        network.answer_for(&FORMS)?;
        for address in [LINK, NEIGHBOUR] {
            let mut ip = network.prod().command("ip");
            ip.args([
                "addr",
                "add",
                &format!("{address}/64"),
                "dev",
                "dev0",
                "nodad",
            ]);
            ensure!(ip.status()?.success(), "{ip:?} failed");
        }
        let closed = LISTED.replace("default", "inbound = false\ndefault");
        let scene = Scene::on(network, |daemon| {
            let daemon = daemon.policy("denied", DENIED).policy("listed", LISTED);
            let daemon = daemon.policy("asks", CONFIRMS).policy("default", DEFAULT);
            more(daemon.policy("open", ALLOWS).policy("closed", &closed))
        })?;
        Ok(Self {
            production: scene.production()?,
            scene,
        })
    }

    /// How many packets have reached an address so far.
    pub(crate) fn packets_to(&self, address: &str) -> Result<usize> {
        Ok(self.all_packets_to(address)?.len())
    }

    /// The same but for the kernel's own resets: production may answer a connection that is gone.
    pub(crate) fn packets_of_sockets_to(&self, address: &str) -> Result<usize> {
        let packets = self.all_packets_to(address)?;
        Ok(packets.iter().filter(|one| !one.is_bare_reset()).count())
    }

    fn all_packets_to(&self, address: &str) -> Result<Vec<Reached>> {
        let mut reached = self.production.reached()?;
        reached.retain(|one| one.kind == "packet" && one.to.to_string() == address);
        Ok(reached)
    }

    /// What an attempt came to, by the packets that reached an address meanwhile.
    pub(crate) fn came(&self, to: &str, work: impl FnOnce() -> Result<Report>) -> Result<Came> {
        self.came_by(to, work, |_| true)
    }

    /// The same of an attempt that connects for itself: the last packets of a TCP connection before may come late.
    fn came_anew(&self, to: &str, work: impl FnOnce() -> Result<Report>) -> Result<Came> {
        let before = self.all_packets_to(to)?;
        let known: HashSet<_> = before.iter().filter_map(Reached::connection).collect();
        let is_new = |one: &Reached| one.connection().is_none_or(|from| !known.contains(&from));
        self.came_by(to, work, is_new)
    }

    fn came_by(
        &self,
        to: &str,
        work: impl FnOnce() -> Result<Report>,
        counts: impl Fn(&Reached) -> bool,
    ) -> Result<Came> {
        let before = self.packets_to(to)?;
        let report = work()?;
        let mut after = self.all_packets_to(to)?.split_off(before);
        after.retain(counts);
        let arrived = after.len();
        let evidence = (arrived > 0).then(|| format!("{arrived} packets, {}", report.detail));
        Ok(Came::of(&report, evidence))
    }

    /// The same without the guard, where it has to be answered, too.
    pub(crate) fn without(&self, to: &str, work: impl FnOnce() -> Result<Report>) -> Result<Came> {
        self.came(to, || {
            let report = work()?;
            let is_missing = matches!(Came::of(&report, None), Came::Missing(_));
            ensure!(report.ok || is_missing, "without the guard: {report:?}");
            Ok(report)
        })
    }

    /// An attempt of the ordinary user, whose packets would reach `to`. It is made with the guard first: the last packets of a
    /// connection come late, and the other way round they would count for an escape.
    pub(crate) fn tried(&self, policy: &str, attempt: &Attempt, to: &str) -> Result<Tried> {
        Ok(Tried {
            with: self.came_anew(to, || attempt.under(&self.daemon, policy))?,
            without: self.without(to, || attempt.outside(self.network.dev(), AGENT))?,
        })
    }
}

impl EscapeScene {
    /// An attempt of somebody with capabilities, as of a program that root has given some.
    pub(crate) fn with_rights(
        &self,
        capabilities: &[&str],
        attempt: &Attempt,
        to: &str,
    ) -> Result<Tried> {
        let probe = bins::for_everybody("guard-lab", self.daemon.tag())?;
        let probe: Vec<OsString> = once(probe.into_os_string())
            .chain(attempt.args().into_iter().map(Into::into))
            .collect();
        Ok(Tried {
            with: self.came(to, || {
                Report::of(&mut self.holding(capabilities, &self.guarded("denied", &probe)?))
            })?,
            without: self.without(to, || Report::of(&mut self.holding(capabilities, &probe)))?,
        })
    }

    /// A command of the ordinary user, with capabilities.
    pub(crate) fn holding(&self, capabilities: &[&str], words: &[OsString]) -> Command {
        let mut command = self.daemon.on_machine_with(AGENT, capabilities, &words[0]);
        command
            .args(&words[1..])
            .env("GUARD_SOCKET", self.daemon.socket());
        command
    }

    /// The same command in a session.
    pub(crate) fn guarded(&self, policy: &str, words: &[OsString]) -> Result<Vec<OsString>> {
        let guard = bins::for_everybody("guard", self.daemon.tag())?;
        let run = ["run", "--policy", policy, "--"].map(OsString::from);
        Ok(once(guard.into_os_string())
            .chain(run)
            .chain(words.iter().cloned())
            .collect())
    }

    /// A bash script of the ordinary user's, with capabilities, in which `$probe` is the probe and `$guard` nothing, or what
    /// starts a session.
    pub(crate) fn bash(
        &self,
        capabilities: &[&str],
        policy: Option<&str>,
        script: &str,
    ) -> Result<Command> {
        let probe = bins::for_everybody("guard-lab", self.daemon.tag())?;
        let guard = match policy {
            Some(policy) => self.guarded(policy, &[])?,
            None => Vec::new(),
        };
        let guard: Vec<_> = guard.iter().map(|word| word.to_string_lossy()).collect();
        let mut command = self.holding(capabilities, &["bash".into(), "-c".into(), script.into()]);
        command.env("probe", probe).env("guard", guard.join(" "));
        // Programs of the session's day ask what their user is called.
        let accounts = self.daemon.dir().join("passwd");
        if !accounts.exists() {
            let user = format!("agent:x:{AGENT}:{AGENT}::/nonexistent:/bin/sh\n");
            fs::write(&accounts, fs::read_to_string("/etc/passwd")? + &user)?;
        }
        Ok(mounts::with_file(&command, &accounts, "/etc/passwd"))
    }

    /// What came of a script, all of which runs in the session where there is one. Its last report counts, or what it says on
    /// standard error where there is none.
    pub(crate) fn script(
        &self,
        capabilities: &[&str],
        policy: Option<&str>,
        script: &str,
    ) -> Result<Report> {
        match policy {
            Some(_) => {
                let inside = self.bash(capabilities, policy, "exec $guard bash -c \"$script\"")?;
                said({ inside }.env("script", script))
            }
            None => said(&mut self.bash(capabilities, None, script)?),
        }
    }

    /// A script that starts the session itself, with `$guard`, and whose probe is answered or not.
    pub(crate) fn answered(&self, script: &str) -> Result<Tried> {
        let came = |policy| -> Result<Came> {
            let report = said(&mut self.bash(&[], policy, script)?)?;
            Ok(Came::of(&report, report.ok.then(|| report.detail.clone())))
        };
        Ok(Tried {
            with: came(Some("denied"))?,
            without: came(None)?,
        })
    }

    /// A script that makes packets for `to`, without and with the guard.
    pub(crate) fn scripted(&self, capabilities: &[&str], script: &str, to: &str) -> Result<Tried> {
        Ok(Tried {
            with: self.came(to, || self.script(capabilities, Some("denied"), script))?,
            without: self.came(to, || self.script(capabilities, None, script))?,
        })
    }

    /// Something of the ordinary user's that goes on outside, such as a helper.
    pub(crate) fn outside(&self, attempt: &Attempt) -> Result<Running> {
        let probe = bins::for_everybody("guard-lab", self.daemon.tag())?;
        let mut command = self.network.dev().command_as(AGENT, probe);
        Running::start(command.args(attempt.args()))
    }

    /// Has root do something on the developer's machine.
    pub(crate) fn root(&self, script: &str) -> Result<()> {
        let mut sh = self.network.dev().command("sh");
        ensure!(
            sh.args(["-ec", script]).status()?.success(),
            "failed: {script}"
        );
        Ok(())
    }
}

/// The last report of a command, or what it says on standard error.
pub(crate) fn said(command: &mut Command) -> Result<Report> {
    let output = command.output()?;
    let told = Report::parse(&String::from_utf8_lossy(&output.stdout));
    let error = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Ok(told.unwrap_or(Report {
        ok: output.status.success(),
        errno: None,
        detail: error,
    }))
}

/// The next line of something that goes on, as JSON.
pub(crate) fn line(running: &mut Running) -> Result<Value> {
    Ok(serde_json::from_str(&running.line(PATIENCE)?)?)
}

/// Addresses of a way's own in the scene that most share: what reaches them comes from it.
pub(crate) struct WayAddresses {
    pub(crate) scene: &'static EscapeScene,
    /// In production, which "denied" and "listed" deny.
    pub(crate) v4: String,
    pub(crate) v6: String,
    /// Elsewhere, which all policies allow.
    pub(crate) open_v4: String,
    pub(crate) open_v6: String,
    /// What the addresses end in.
    pub(crate) at: u8,
}

impl WayAddresses {
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(20);
        let at = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(at < 250, "there are no more addresses");
        Ok(Self {
            scene: shared()?,
            v4: format!("192.0.2.{at}"),
            v6: format!("2001:db8:7::{at:x}"),
            open_v4: format!("198.51.100.{at}"),
            open_v6: format!("2001:db8:8::{at:x}"),
            at,
        })
    }

    /// An attempt on production, where all else is allowed.
    pub(crate) fn denied(&self, attempt: &Attempt, to: &str) -> Result<Tried> {
        self.scene.tried("denied", attempt, to)
    }

    /// An attempt on what no rule allows.
    pub(crate) fn unlisted(&self, attempt: &Attempt, to: &str) -> Result<Tried> {
        self.scene.tried("listed", attempt, to)
    }
}

/// An attempt of a kind on production's IPv4 and its IPv6 address, one after the other.
pub(crate) fn both(kind: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let v4 = place.denied(&Attempt::new(kind, &place.v4, port), &place.v4)?;
    let v6 = place.denied(&Attempt::new(kind, &place.v6, port), &place.v6)?;
    Ok(either(v4, v6))
}

/// Two of a kind as one: it must work both times without the guard, and not once with it.
pub(crate) fn either(first: Tried, second: Tried) -> Tried {
    Tried {
        with: match first.with {
            Came::Stopped(_) => second.with,
            _ => first.with,
        },
        without: match first.without {
            Came::Through(_) => second.without,
            _ => first.without,
        },
    }
}

/// The scene that most share.
pub(crate) fn shared() -> Result<&'static EscapeScene> {
    static TURN: Mutex<()> = Mutex::new(());
    static SHARED: LazyLock<Result<EscapeScene>> = LazyLock::new(EscapeScene::new);
    // A scene that fails to be made fails for all, and says so once.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    SHARED
        .as_ref()
        .map_err(|error| anyhow::anyhow!("no scene: {error:#}"))
}
