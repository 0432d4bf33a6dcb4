//! systemd-resolved itself, as a machine has it: programs ask its stub, and what else it does for them is out of a session's reach.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use guard_lab::{
    Attempt, Network, Output, Production, Report, Scene, Tested, bins, eventually, exec,
    holds_scene, mounts,
};

use super::networks::{NAME, POLICY, STUB};
use crate::names::{
    scene::{API, DNS},
    server::NameServer,
};

/// A user with an account: the bus talks to no other.
const USER: &str = "guardnames";
const UID: u32 = 61238;
/// What no rule names, and its address.
const SECRET: &str = "secret.example.com";
const OTHER: &str = "192.0.2.12";

/// Debian's unit, and what is set for it and for its program.
const UNIT: &str = "systemd-resolved.service";
const UNIT_SETTINGS: &str = "/run/systemd/system/systemd-resolved.service.d/guard-lab.conf";
const SETTINGS: &str = "/run/systemd/resolved.conf.d/guard-lab.conf";

/// As it writes it for programs.
const RESOLV: &str = "nameserver 127.0.0.53\noptions edns0 trust-ad\n";

/// How glibc looks names up, and whether that is answered in a session: by the stub, by resolved's module alone, and as Debian's
/// package of that module has it.
const WAYS: [(&str, bool); 3] = [
    ("dns", true),
    ("resolve", false),
    ("resolve [!UNAVAIL=return] dns", true),
];

/// There is one of it, so one test at a time has it.
static TURN: Mutex<()> = Mutex::new(());

/// It runs in a test's network until this is dropped.
struct Resolved {
    _turn: MutexGuard<'static, ()>,
}

impl Resolved {
    fn start(network: &Network) -> Tested<Self> {
        assert!(
            Path::new("/run/systemd/system").is_dir(),
            "systemd does not run here: these tests are for a throw-away machine, see `cargo xtask vm`"
        );
        let resolved = Self {
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let netns = network.dev().path();
        write(
            UNIT_SETTINGS,
            &format!("[Service]\nNetworkNamespacePath={}\n", netns.display()),
        )?;
        write(
            SETTINGS,
            &format!(
                "[Resolve]\nDNS={DNS}\nFallbackDNS=\nDomains=~.\nDNSSEC=no\nDNSOverTLS=no\n\
                 LLMNR=no\nMulticastDNS=no\nCache=no\n"
            ),
        )?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["restart", UNIT])?;
        Ok(resolved)
    }
}

impl Drop for Resolved {
    fn drop(&mut self) {
        for settings in [UNIT_SETTINGS, SETTINGS] {
            let _ = fs::remove_file(settings);
        }
        // With sockets that would start it again, where it has some.
        let _ = systemctl(&["stop", "systemd-resolved*"]);
        let _ = systemctl(&["daemon-reload"]);
    }
}

fn write(place: &str, text: &str) -> Tested {
    if let Some(dir) = Path::new(place).parent() {
        fs::create_dir_all(dir)?;
    }
    Ok(fs::write(place, text)?)
}

fn systemctl(args: &[&str]) -> Tested {
    exec::run(Command::new("systemctl").args(args))?;
    Ok(())
}

/// A machine whose programs ask resolved, which asks production's name server.
struct ResolvedScene {
    scene: Scene,
    server: NameServer,
    resolv: PathBuf,
    _resolved: Resolved,
    _production: Production,
}

holds_scene!(ResolvedScene);

impl ResolvedScene {
    fn new() -> Tested<Self> {
        let user = format!("u {USER} {UID} - /");
        exec::run(Command::new("systemd-sysusers").args(["--inline", &user]))?;
        let network = Network::new()?;
        let server = NameServer::start_at(network.prod(), &format!("{DNS}:53"))?;
        server.set(NAME, &[API]);
        server.set(SECRET, &[OTHER]);
        let production = Production::launch(&network, &[443], &[], true)?;
        let resolved = Resolved::start(&network)?;
        let config = format!("resolvers = [\"{STUB}:53\"]\n");
        let scene = Scene::on(network, |daemon| {
            daemon.policy("listed", POLICY).config(&config)
        })?;
        Ok(Self {
            resolv: scene.daemon.write_for_agents("resolv.conf", RESOLV)?,
            scene,
            server,
            _resolved: resolved,
            _production: production,
        })
    }

    /// What a line of a shell says without the guard.
    fn without(&self, line: &str) -> Tested<Output> {
        let mut shell = self.daemon.on_machine(UID, "sh");
        shell.args(["-c", line]);
        let mut shell = mounts::with_file(&shell, &self.resolv, "/etc/resolv.conf");
        Ok(exec::output(&mut shell)?.into())
    }

    /// The same in a session of its own.
    fn with(&self, line: &str) -> Tested<Output> {
        let run = [
            "run", "--policy", "listed", "--quiet", "--", "sh", "-c", line,
        ];
        let run = self.daemon.user(UID, run).resolv(&self.resolv);
        Ok(run.run()?)
    }

    /// Whether an address is reached in a session in which something was looked up before.
    fn reaches_after(&self, line: &str, to: &str) -> Tested<bool> {
        let probe = bins::for_everybody("guard-lab", self.daemon.tag())?;
        let attempt = Attempt::tcp(to, 443).args().join(" ");
        let said = self.with(&format!("{line} >/dev/null; {} {attempt}", probe.display()))?;
        Ok(Report::parse(&said.stdout)?.ok)
    }
}

fn ask(way: &str, name: &str) -> String {
    format!("getent -s 'hosts:{way}' ahosts {name}")
}

fn ask_by_bus(name: &str) -> String {
    format!("resolvectl query {name}")
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn programs_ask_its_stub_and_get_what_their_policy_names() -> Tested {
    let machine = ResolvedScene::new()?;
    for (way, is_answered) in WAYS {
        let named = machine.with(&ask(way, NAME))?;
        assert_eq!(named.stdout.contains(API), is_answered, "{way}: {named:?}");
        let secret = machine.with(&ask(way, SECRET))?;
        assert!(secret.stdout.is_empty(), "{way}: {secret:?}");
    }
    let by_bus = machine.with(&ask_by_bus(SECRET))?;
    assert_ne!(by_bus.code(), Some(0), "{by_bus:?}");
    assert!(
        !machine.server.was_asked("secret"),
        "nothing of it has left"
    );

    // Without the guard each of these finds both.
    for (way, _) in WAYS {
        for (name, address) in [(NAME, API), (SECRET, OTHER)] {
            let found = machine.without(&ask(way, name))?;
            assert!(found.stdout.contains(address), "{way}: {found:?}");
        }
    }
    // It may come to the bus after it serves.
    eventually("it is asked by the bus", || {
        let found = machine.without(&ask_by_bus(SECRET))?;
        Ok(found.stdout.contains(OTHER))
    })?;
    assert!(machine.server.was_asked("secret"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_rule_for_a_name_holds_for_what_it_answered() -> Tested {
    let machine = ResolvedScene::new()?;
    for to in [API, OTHER] {
        let outside = Attempt::tcp(to, 443).outside(machine.network.dev(), UID)?;
        assert!(outside.ok, "nothing stops {to} without the guard");
    }
    assert!(!machine.reaches_after("true", API)?, "it has asked nothing");
    for (way, is_answered) in WAYS {
        let named = ask(way, NAME);
        let reaches = machine.reaches_after(&named, API)?;
        assert_eq!(reaches, is_answered, "{way}");
        assert!(!machine.reaches_after(&named, OTHER)?, "{way}");
    }
    Ok(())
}
