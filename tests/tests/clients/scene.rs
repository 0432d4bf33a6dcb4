//! A developer's machine, an agent on it, and production with a server that people use.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
pub(crate) use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, Company, Json as _, Network, OPEN, Scene, Tag, Tested, bins, eventually, holds_scene,
};
use serde_json::Value;

use crate::clients::agent::Agent;
use crate::together::end_sessions;

/// Where production is, whatever it serves.
pub(crate) const HOST: &str = "192.0.2.10";
/// The same over IPv6, as in a URL.
pub(crate) const HOST_V6: &str = "[2001:db8:7::10]";
/// Its name, which is in its certificates.
pub(crate) const NAME: &str = "photos.example";
pub(crate) const OPEN_NAME: &str = "open.example";
/// Who speaks with production is told a URL by [`url`] or [`secure`], and by nobody else.
const SCHEME: &str = "http";
/// The name of the policy, and of its rule.
pub(crate) const POLICY: &str = "clients";

/// What the agent runs, and a few servers.
const PROGRAMS: [(&str, &str); 21] = [
    ("asked.py", include_str!("programs/asked.py")),
    ("Fetch.java", include_str!("programs/Fetch.java")),
    ("fetch.mjs", include_str!("programs/fetch.mjs")),
    ("gateway.py", include_str!("programs/gateway.py")),
    ("held.py", include_str!("programs/held.py")),
    ("image.py", include_str!("programs/image.py")),
    ("odd.py", include_str!("programs/odd.py")),
    ("patient.py", include_str!("programs/patient.py")),
    ("settings.mjs", include_str!("programs/settings.mjs")),
    ("naive.py", include_str!("programs/naive.py")),
    ("raw.py", include_str!("programs/raw.py")),
    ("extended.py", include_str!("programs/extended.py")),
    ("standard.py", include_str!("programs/standard.py")),
    ("streams.py", include_str!("programs/streams.py")),
    ("talk.py", include_str!("programs/talk.py")),
    ("echo.py", include_str!("programs/echo.py")),
    ("driver.mjs", include_str!("programs/driver.mjs")),
    ("drivers.py", include_str!("programs/drivers.py")),
    ("manage.py", include_str!("programs/manage.py")),
    ("pooler.py", include_str!("programs/pooler.py")),
    ("wire.py", include_str!("programs/wire.py")),
];

/// The URL of something on production.
pub(crate) fn url(port: u16, path: &str) -> String {
    url_at(HOST, port, path)
}

pub(crate) fn url_at(host: &str, port: u16, path: &str) -> String {
    format!("{SCHEME}://{host}:{port}{path}")
}

/// The same by HTTPS, and by name.
pub(crate) fn secure(port: u16, path: &str) -> String {
    format!("https://{NAME}:{port}{path}")
}

/// A policy under which production is read-only, with more lines for its rule.
fn policy(more: &str) -> String {
    format!(
        "version = 1\nname = \"{POLICY}\"\ndefault = \"allow\"\nhold = \"60s\"\n\
         [[rule]]\nname = \"{POLICY}\"\nto = [\"192.0.2.0/24\", \"2001:db8:7::/48\"]\n\
         action = \"read-only\"\nreason = \"production\"\n{more}"
    )
}

/// guardd's settings. It looks no names up.
fn config(taken: &Path) -> String {
    format!("resolvers = [\"127.0.0.1:1\"]\n[proxy]\nca = [{taken:?}]\n")
}

/// The variables that name bundles of certificates, for one client or another.
const BUNDLES: [&str; 5] = [
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// One whose agents use real clients.
pub(crate) struct ClientScene {
    scene: Scene,
    /// Its authority is the one that the guard and people trust.
    pub(crate) company: Company,
    dir: PathBuf,
}

holds_scene!(ClientScene);

impl ClientScene {
    /// One in which production's rule has these lines, too.
    pub(crate) fn new(rule: &str) -> Tested<Self> {
        Self::trusting(rule, "")
    }

    /// One in which the guard takes these certificates as well, which are PEM.
    pub(crate) fn trusting(rule: &str, certificates: &str) -> Tested<Self> {
        let network = Network::new()?;
        let company = Company::new("company")?;
        // It goes with the network, also where this is killed.
        let dir = network.tag().dir().join("clients");
        fs::create_dir_all(&dir)?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&dir, mode)?;
        for (name, text) in PROGRAMS {
            fs::write(dir.join(name), text)?;
        }
        fs::write(dir.join("company.pem"), company.pem())?;
        fs::write(dir.join("taken.pem"), company.pem() + certificates)?;
        // The machine's own name is there: git, for one, looks that up.
        let hosts = fs::read_to_string("/etc/hosts")?;
        let production = format!("\n{HOST} {NAME}\n{OPEN} {OPEN_NAME}\n");
        fs::write(dir.join("hosts"), hosts + &production)?;
        let home = dir.join("home");
        fs::create_dir(&home)?;
        chown(&home, Some(AGENT), Some(AGENT))?;
        let config = config(&dir.join("taken.pem"));
        let policy = policy(rule);
        Ok(Self {
            scene: Scene::on(network, |daemon| {
                daemon.policy(POLICY, &policy).config(&config)
            })?,
            company,
            dir,
        })
    }

    /// The `/etc/hosts` of the developer's machine.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    /// The certificate of the company's authority.
    pub(crate) fn company(&self) -> PathBuf {
        self.dir.join("company.pem")
    }

    /// The same for Java, where a test has made that.
    pub(crate) fn company_store(&self) -> PathBuf {
        self.dir.join("company.jks")
    }

    /// What somebody sets who trusts the company.
    pub(crate) fn trusts_company(&self) -> Vec<(&'static str, String)> {
        let company = self.company().display().to_string();
        let mut all = BUNDLES.map(|name| (name, company.clone())).to_vec();
        let store = self.company_store();
        let option = format!("-Djavax.net.ssl.trustStore={}", store.display());
        all.push(("JAVA_TOOL_OPTIONS", option));
        all
    }

    /// Where servers keep what they have, and the programs of these tests are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The agent's own directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A file in it.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Tested {
        fs::write(self.home().join(name), bytes)?;
        Ok(())
    }

    /// What one of its files has.
    pub(crate) fn read(&self, name: &str) -> Tested<Vec<u8>> {
        Ok(fs::read(self.home().join(name))?)
    }

    /// A command that finds the clients, wherever those were unpacked to.
    pub(crate) fn env(&self) -> Tested<[(&'static str, String); 6]> {
        let clients = everybody(self.daemon.tag())?;
        let path = std::env::var("PATH")?;
        let modules = clients.join("usr/lib/python3/dist-packages");
        let own = clients.join("usr/bin");
        // Debian's psql is a script in perl that takes longer to start than a query does.
        let psql = bins::postgres().unwrap_or_else(|_| own.clone());
        Ok([
            // The system's own python comes before others.
            (
                "PATH",
                format!("{}:{}:/usr/bin:{path}", psql.display(), own.display()),
            ),
            ("PYTHONPATH", modules.display().to_string()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("HOME", self.home().display().to_string()),
            ("PROGRAMS", self.dir.display().to_string()),
            ("CLIENTS", clients.display().to_string()),
        ])
    }

    /// What somebody has not set who trusts nobody but the system's authorities.
    pub(crate) fn trusts_nobody_else() -> impl Iterator<Item = &'static str> {
        let others = ["SSL_CERT_DIR", "JAVA_TOOL_OPTIONS", "WGETRC"];
        BUNDLES.into_iter().chain(others)
    }

    /// A session with an agent in it.
    pub(crate) fn agent(&self) -> Tested<Agent<'_>> {
        Agent::guarded(self)
    }

    /// The same agent without the guard.
    pub(crate) fn unguarded(&self) -> Tested<Agent<'_>> {
        Agent::unguarded(self)
    }

    /// The requests that wait, as people would name them.
    pub(crate) fn asked(&self) -> Tested<Vec<String>> {
        self.pending()?.iter().map(name).collect()
    }

    /// A person says yes to all that waits.
    pub(crate) fn say_yes(&self) -> Tested {
        self.pending()?.iter().try_for_each(|one| self.approve(one))
    }

    /// A person says yes to a request, once its client waits for that.
    pub(crate) fn say_yes_to(&self, request: &str) -> Tested {
        let mut pending = Vec::new();
        let mut held = None;
        let waits = eventually("its client waits", || {
            pending = self.pending()?;
            for one in &pending {
                if one["held"] == true && name(one)?.starts_with(request) {
                    held = Some(one.clone());
                }
            }
            Ok(held.is_some())
        });
        waits.with_context(|| format!("nobody waits with {request}, but {pending:?}"))?;
        self.approve(&held.context("nobody waits")?)
    }

    fn approve(&self, request: &Value) -> Tested {
        self.answer(&["approve", request["id"].text()?])
    }

    /// A person answers, in these words.
    pub(crate) fn answer(&self, words: &[&str]) -> Tested {
        let answered = self.daemon.agent(words.iter().copied()).run();
        answered?.success()?;
        Ok(())
    }

    /// Ends all sessions, with all that they were asked about and let do.
    pub(crate) fn end_sessions(&self) -> Tested {
        end_sessions(&self.daemon)
    }

    /// A command on production.
    pub(crate) fn on_production(&self, program: impl AsRef<std::ffi::OsStr>) -> Tested<Command> {
        let mut command = self.network.prod().command(program);
        command.envs(self.env()?).current_dir(&self.dir);
        Ok(command)
    }
}

/// A request that waits, as people would name it.
fn name(request: &Value) -> Tested<String> {
    let http = &request["http"];
    Ok(format!(
        "{} {}",
        http["method"].text()?,
        http["path"].text()?
    ))
}

/// The directory of the clients, by a path that the agent can go.
fn everybody(tag: &Tag) -> Tested<PathBuf> {
    Ok(bins::tree_for_everybody(bins::clients()?, tag)?)
}
