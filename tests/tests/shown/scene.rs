//! Two names at one address, of which one is allowed.

use std::{fs, path::PathBuf, process::Child};

use guard_lab::network::{PROD_V4, PROD_V6};
use guard_lab::{Company, DEV_DEVICE, Daemon, Network, Shell, Tested, eventually};
use tempfile::TempDir;

use crate::names::server::NameServer;

/// Production's name server.
pub(crate) const DNS: &str = "192.0.2.53";
/// What both names share.
pub(crate) const SHARED: &str = "192.0.2.10";
/// The same by IPv6.
pub(crate) const SHARED6: &str = "2001:db8:7::10";
pub(crate) const FORGE: &str = "forge.example.com";
pub(crate) const EVIL: &str = "evil.example.com";
/// One of the same zone as the allowed one, whose server speaks first.
pub(crate) const SPEAKS: &str = "speaks.forge.example.com";
/// Where it is.
pub(crate) const SPEAKS_AT: &str = "192.0.2.77";

/// Without the key, the address is enough.
pub(crate) const WITHOUT: &str = r#"
version = 1
name = "shared"
default = "deny"

[[rule]]
name = "resolvers"
to = ["@dns"]
ports = ["udp/53", "tcp/53"]
action = "allow"

[[rule]]
name = "forge"
to = ["forge.example.com", "*.forge.example.com"]
action = "allow"

[[rule]]
name = "asked"
to = ["*.asked.forge.example.com"]
action = "confirm"
"#;

/// The policy with the key.
pub(crate) fn with() -> String {
    let with = WITHOUT.replacen(
        "action = \"allow\"\n\n[[rule]]\nname = \"asked\"",
        "action = \"allow\"\ntls = \"name\"\n\n[[rule]]\nname = \"asked\"",
        1,
    );
    assert_ne!(with, WITHOUT);
    with
}

/// Who looks at TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    Kernel,
    Proxy,
}

pub(crate) struct SharedAddress {
    pub(crate) network: Network,
    _names: NameServer,
    files: TempDir,
    server: Child,
}

impl Drop for SharedAddress {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl SharedAddress {
    pub(crate) fn new() -> Tested<Self> {
        let network = Network::new()?;
        let names = NameServer::start_at(network.prod(), &format!("{DNS}:53"))?;
        for name in [
            FORGE,
            "a.forge.example.com",
            EVIL,
            "x.asked.forge.example.com",
        ] {
            names.set(name, &[SHARED, SHARED6]);
        }
        names.set(SPEAKS, &[SPEAKS_AT]);
        let files = TempDir::new()?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(files.path(), readable)?;
        let company = Company::new("company")?;
        fs::write(files.path().join("company.pem"), company.pem())?;
        let issued = company.issue(&[FORGE, "a.forge.example.com", EVIL, SHARED])?;
        fs::write(files.path().join("server.pem"), issued)?;
        fs::write(files.path().join("client.py"), include_str!("client.py"))?;
        fs::write(files.path().join("ask.py"), crate::resolver::ASK)?;
        let script = files.path().join("server.py");
        fs::write(&script, include_str!("server.py"))?;
        let server = network
            .prod()
            .command("python3")
            .arg(&script)
            .arg(files.path().join("server.pem"))
            .arg(files.path().join("log"))
            .spawn()?;
        let scene = Self {
            network,
            _names: names,
            files,
            server,
        };
        eventually("the server is ready", || scene.log().contains("ready"))?;
        Ok(scene)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// What the server has written down.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    pub(crate) fn daemon(&self, policy: &str, looks: Looks) -> Tested<Daemon> {
        let gate = match looks {
            Looks::Kernel => "[tls]\ngate = \"kernel\"\n",
            Looks::Proxy => "[tls]\ngate = \"proxy\"\n",
        };
        let ca = self.file("company.pem");
        let config = format!("resolvers = [\"{DNS}:53\"]\n[proxy]\nca = [{ca:?}]\n{gate}");
        let daemon = Daemon::in_network(&self.network).policy("shared", policy);
        Ok(daemon.config(&config).start()?)
    }

    /// Has what the developer's machine sends get lost on its way, or not any more: it goes to a network card that nobody has.
    pub(crate) fn silence(&self, is_silent: bool) -> Tested {
        for router in [PROD_V4.to_string(), PROD_V6.to_string()] {
            let mut ip = self.network.dev().command("ip");
            ip.args(["neigh", if is_silent { "replace" } else { "del" }, &router]);
            ip.args(["dev", DEV_DEVICE]);
            if is_silent {
                ip.args(["lladdr", "02:00:00:00:00:01", "nud", "permanent"]);
            }
            assert!(ip.status()?.success(), "{ip:?}");
        }
        Ok(())
    }

    /// Whether a table of the developer's machine's kernel lists a connection.
    pub(crate) fn lists(&self, table: &str, entry: &str) -> Tested<bool> {
        let mut cat = self.network.dev().command("cat");
        let table = format!("/proc/thread-self/net/{table}");
        let listed = cat.arg(table).output()?.stdout;
        Ok(String::from_utf8_lossy(&listed).contains(entry))
    }

    /// Whether this kernel has the gate, where it is to look. Elsewhere the proxy does, which has tests of its own.
    pub(crate) fn can(&self, looks: Looks) -> Tested<bool> {
        let has_gate = || -> Tested<_> { Ok(self.daemon(WITHOUT, looks)?.has_hook("gate_hello")?) };
        Ok(looks == Looks::Proxy || has_gate()?)
    }

    /// A session that has asked for the name that is allowed.
    pub(crate) fn session(&self, daemon: &Daemon) -> Tested<Shell> {
        let mut shell = Shell::start(daemon, "shared")?;
        self.asks(&mut shell, FORGE)?;
        Ok(shell)
    }

    /// Has a session ask for a name.
    pub(crate) fn asks(&self, shell: &mut Shell, name: &str) -> Tested {
        let ask = self.file("ask.py");
        for kind in ["A", "AAAA"] {
            let line = format!("python3 {} {DNS} {name} {kind} connected", ask.display());
            shell.tell(&line)?;
            let told = shell.line_with("answer ")?;
            assert!(told.contains("answer 0"), "{name}: {told}");
        }
        Ok(())
    }

    /// What comes of a ClientHello of a session.
    pub(crate) fn says(
        &self,
        shell: &mut Shell,
        at: &str,
        name: &str,
        way: &str,
    ) -> Tested<String> {
        let client = self.file("client.py");
        let line = format!("python3 {} {at} '{name}' {way}", client.display());
        shell.tell(&line)?;
        let came = shell.line_with("came ")?;
        Ok(came.trim().trim_start_matches("came ").to_owned())
    }

    /// The same without the guard.
    pub(crate) fn says_outside(&self, at: &str, name: &str, way: &str) -> Tested<String> {
        let mut command = self.network.dev().command("python3");
        let command = command.arg(self.file("client.py")).args([at, name, way]);
        let output = command.output()?;
        let came = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(came.trim().trim_start_matches("came ").to_owned())
    }

    /// How many connections the server has had any byte of, and how many without.
    pub(crate) fn begun(&self) -> (usize, usize) {
        let log = self.log();
        let begun = log.lines().filter(|line| line.starts_with("begun"));
        let (without, with): (Vec<_>, Vec<_>) = begun.partition(|line| line.ends_with(" 0"));
        (with.len(), without.len())
    }
}
