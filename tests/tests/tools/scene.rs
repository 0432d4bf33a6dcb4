//! Where tools are run: a developer's machine with a guardd, and production behind it.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use guard_lab::{AGENT, Cgroup, Daemon, Network, PATIENCE, Running, bins, exec, patience};

use crate::tools::tool::Way;

/// The environment variables by which `cargo xtask` says where tools are that are not installed: those of packages of the system,
/// those of npm's, Rust's, and VS Code's.
const TREE: &str = "GUARD_TOOLS_TREE";
const NPM: &str = "GUARD_TOOLS_NPM";
const RUST: &str = "GUARD_TOOLS_RUST";
const VSCODE: &str = "GUARD_TOOLS_VSCODE";

/// Where throw-away machines have npm's, below a directory of that name.
const OF_MACHINES: &str = "/usr/local/lib/guard-tools";

/// Production, and its name: no rule of the policy that ships is about it.
const ADDRESS: &str = "198.51.100.7";
const NAME: &str = "production.example";
const RESOLVER: &str = "198.51.100.53";
/// A server of production in a private network.
const PRIVATE: &str = "10.77.0.1";

/// Sessions may be root's.
const CONFIG: &str = "resolvers = [\"127.0.0.1:1\"]\nrun_as_root = true\n";

/// What ships, and a rule for what agents are to be stopped at.
pub(crate) const POLICY: &str = concat!(
    include_str!("../../../policies/default.toml"),
    r#"
[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"
"#
);

const PRELUDE: &str = include_str!("scripts/prelude.sh");
const PROGRAMS: [(&str, &str); 5] = [
    ("dns.py", include_str!("programs/dns.py")),
    ("index.py", include_str!("programs/index.py")),
    ("model.py", include_str!("programs/model.py")),
    ("vscode.js", include_str!("programs/vscode.js")),
    ("web.py", include_str!("programs/web.py")),
];
/// What both do before a script: files of their own in the place of the system's, and the tools where everybody may look.
const MOUNTS: &str = r#"
for file in "$0"/etc/*; do
    if [ -e "/etc/${file##*/}" ]; then mount --bind "$file" "/etc/${file##*/}"; fi
done
for place in tree npm rust vscode; do
    eval "from=\${FROM_$place-}"
    if [ -n "$from" ]; then mount --bind "$from" "$0/$place"; fi
    unset "FROM_$place"
done
exec "$@"
"#;
/// How long a script may take on any machine that is not emulated.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether a line of `passwd` or `group` is about a user whom the scripts know by that name or number.
fn is_of_agent(line: &str) -> bool {
    let mut fields = line.split(':');
    let (name, number) = (fields.next(), fields.nth(1));
    matches!(name, Some("agent" | "other")) || number.and_then(|id| id.parse().ok()) == Some(AGENT)
}

pub(crate) struct Workshop {
    _server: Option<Running>,
    daemon: Option<Daemon>,
    pub(crate) network: Network,
    dir: PathBuf,
    /// Removes it.
    _kept: tempfile::TempDir,
}

/// What became of a script.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    /// What it printed: its result.
    pub(crate) said: String,
    /// What it and `guard` said beside that.
    pub(crate) errors: String,
}

/// Where tools of npm's and VS Code's are, if they are here, each below the name of the place where scripts find them.
pub(crate) fn of_npm() -> impl Iterator<Item = (&'static str, OsString)> {
    let places = [("npm", NPM), ("vscode", VSCODE)].into_iter();
    places.filter_map(|(place, variable)| {
        let of_machines = || {
            let dir = Path::new(OF_MACHINES).join(place);
            dir.is_dir().then(|| dir.into_os_string())
        };
        Some((place, env::var_os(variable).or_else(of_machines)?))
    })
}

impl Done {
    /// Where nothing guards it, it has to work: whatever a session does to it is told apart from that.
    pub(crate) fn worked(&self) -> Result<()> {
        let is_well = self.code == Some(0) && !self.said.trim().is_empty();
        ensure!(is_well, "it does not work without the guard either: {self}");
        Ok(())
    }

    pub(crate) fn has(&self, seen: &str) -> Result<()> {
        let is_there = self.said.contains(seen) || self.errors.contains(seen);
        ensure!(is_there, "not {seen:?} but {self}");
        Ok(())
    }

    /// In one line.
    pub(crate) fn last_words(&self) -> String {
        let words = self
            .errors
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty());
        format!("{:?}, {}", self.code, words.unwrap_or("no error").trim())
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, said, errors } = self;
        write!(
            f,
            "status {code:?}, said {said:?}, and beside that: {errors}"
        )
    }
}

impl Workshop {
    /// One with a guardd.
    pub(crate) fn new(script: &str) -> Result<Self> {
        let mut scene = Self::outside_of_sessions(script)?;
        let daemon = Daemon::in_network(&scene.network)
            .config(CONFIG)
            .policy("default", POLICY)
            .start()?;
        let guard = bins::for_everybody("guard", daemon.tag())?;
        symlink(guard, scene.dir.join("bin/guard"))?;
        scene.daemon = Some(daemon);
        Ok(scene)
    }

    /// One that leaves guardd to the machine.
    pub(crate) fn outside_of_sessions(script: &str) -> Result<Self> {
        let network = Network::new()?;
        network.answer_for(&[PRIVATE])?;
        let mut prod = network.prod().command("sh");
        // Whoever serves there is no more than the agent.
        prod.args([
            "-c",
            "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start",
        ]);
        ensure!(prod.status()?.success(), "{prod:?} failed");
        let kept = tempfile::Builder::new()
            .prefix("guard-tools-")
            .tempdir_in("/tmp")?;
        let dir = kept.path().to_owned();
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        for name in ["bin", "etc", "npm", "programs", "rust", "tree", "vscode"] {
            fs::create_dir(dir.join(name))?;
        }
        for (name, text) in PROGRAMS {
            fs::write(dir.join("programs").join(name), text)?;
        }
        let part = "\n\"$PART\"\n";
        fs::write(dir.join("script"), format!("{PRELUDE}{script}{part}"))?;
        let mut scene = Self {
            network,
            daemon: None,
            dir,
            _server: None,
            _kept: kept,
        };
        scene.etc()?;
        for own in ["shared", "server"] {
            scene.own_dir(own)?;
        }
        if script.contains("server() {") {
            scene._server = Some(scene.serve()?);
        }
        Ok(scene)
    }

    /// What the machine knows of users and of names.
    fn etc(&self) -> Result<()> {
        let user = format!("agent:x:{AGENT}:{AGENT}::{}:/bin/sh\n", self.dir.display());
        // One without a password, whom su lets everybody be.
        let other = format!("other::{0}:{0}::/nonexistent:/bin/sh\n", AGENT + 7);
        for (file, more) in [
            ("passwd", user + &other),
            ("group", format!("agent:x:{AGENT}:\n")),
            ("hosts", format!("\n{ADDRESS} {NAME}\n")),
        ] {
            let text = fs::read_to_string(Path::new("/etc").join(file))?;
            // A machine may have such a user already, or one of that number: of two the first would count.
            let others = text.lines().filter(|line| !is_of_agent(line));
            let mut text: String = others.map(|line| format!("{line}\n")).collect();
            text.push_str(&more);
            fs::write(self.dir.join("etc").join(file), text)?;
        }
        // Without the programs that hand these out, an engine of a user's makes do without.
        let is_there = Path::new("/usr/bin/newuidmap").exists();
        let text = if is_there {
            // In a unit `$USER` is what systemd's own list of users calls that number.
            "agent:1000000:65536\ntools:1000000:65536\n"
        } else {
            ""
        };
        for ranges in ["subuid", "subgid"] {
            fs::write(self.dir.join("etc").join(ranges), text)?;
        }
        let sudoers = self.dir.join("etc/sudoers");
        fs::write(&sudoers, "agent ALL=(ALL) NOPASSWD: ALL\n")?;
        fs::set_permissions(&sudoers, Permissions::from_mode(0o440))?;
        let resolver = format!("nameserver {RESOLVER}\n");
        Ok(fs::write(self.dir.join("etc/resolv.conf"), resolver)?)
    }

    /// A directory of the agent's.
    pub(crate) fn own_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir)?;
        chown(&dir, Some(AGENT), Some(AGENT))?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        Ok(dir)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Has production serve.
    fn serve(&self) -> Result<Running> {
        let mut server = self.network.prod().command_as(AGENT, "bash");
        server.arg(self.dir.join("script"));
        let mut server = self.mounted(&server, "server", "server");
        server.stderr(File::create(self.dir.join("server.log"))?);
        let mut server = Running::start(&mut server)?;
        let ready = server.line_with("ready", PATIENCE);
        ready.with_context(|| {
            let log = fs::read_to_string(self.dir.join("server.log"));
            format!("production does not serve: {}", log.unwrap_or_default())
        })?;
        Ok(server)
    }

    /// The variables of a script's environment: it has no others.
    pub(crate) fn env(&self, part: &str, way: &str, home: &Path) -> Vec<(&'static str, OsString)> {
        let at = |name: &str| self.dir.join(name);
        let path = [
            at("bin"),
            at("npm/node_modules/.bin"),
            at("rust/bin"),
            at("tree/usr/bin"),
            at("tree/usr/sbin"),
        ];
        let usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        let path = path.into_iter().chain(usual.map(PathBuf::from));
        let path = env::join_paths(path).unwrap_or_default();
        vec![
            ("HOME", home.into()),
            ("NPM", at("npm").into()),
            ("PART", part.into()),
            ("PATH", path),
            ("PRIVATE", PRIVATE.into()),
            ("PRODUCTION", NAME.into()),
            ("PROGRAMS", at("programs").into()),
            ("RESOLVER", RESOLVER.into()),
            ("SHARED", at("shared").into()),
            ("TREE", at("tree").into()),
            ("VSCODE", at("vscode").into()),
            ("WAY", way.into()),
            ("WORK", home.into()),
        ]
    }

    /// A command with what is the script's own in the place of the machine's, and with nothing else in its environment.
    fn mounted(&self, command: &Command, part: &str, home: &str) -> Command {
        let mut mounted = Command::new("unshare");
        mounted
            .args(["--mount", "--", "sh", "-ec", MOUNTS])
            .arg(&self.dir)
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(self.env(part, home, &self.dir.join(home)))
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        let places = [("tree", TREE), ("rust", RUST)].into_iter();
        let places = places.filter_map(|(place, from)| Some((place, env::var_os(from)?)));
        for (place, from) in places.chain(of_npm()) {
            mounted.env(format!("FROM_{place}"), from);
        }
        mounted
    }

    /// The words that run the script, which say what came of it into files: what it leaves running holds those open, and nothing
    /// of ours.
    pub(crate) fn words(&self) -> [OsString; 4] {
        let limit = patience(LIMIT).as_secs();
        // HOME is said again: `guard run --user` says the user's own.
        let run = format!(
            "HOME=$WORK && export HOME && cd \"$HOME\" && exec timeout --kill-after=5 {limit} bash \"$0\" >.said 2>.errors </dev/null"
        );
        let script = self.dir.join("script");
        ["sh".into(), "-c".into(), run.into(), script.into()]
    }

    /// Without the guard.
    pub(crate) fn without(&self) -> Result<Done> {
        self.unguarded(AGENT, "without")
    }

    /// The same by root, for a tool that does not want that.
    pub(crate) fn without_by_root(&self) -> Result<Done> {
        self.unguarded(0, "without-by-root")
    }

    /// The same by root of a user namespace, for a tool that does not work there.
    pub(crate) fn without_in_namespace(&self) -> Result<Done> {
        let words = ["unshare", "--user", "--map-root-user", "--"].map(OsString::from);
        self.unguarded_words(
            AGENT,
            "without-in-namespace",
            &[&words[..], &self.words()].concat(),
        )
    }

    fn unguarded(&self, uid: u32, name: &str) -> Result<Done> {
        self.unguarded_words(uid, name, &self.words())
    }

    fn unguarded_words(&self, uid: u32, name: &str, words: &[OsString]) -> Result<Done> {
        let daemon = self.daemon.as_ref().context("there is no guardd")?;
        // What it leaves running ends with this.
        let cgroup = Cgroup::new()?;
        let mut command = daemon.on_machine(uid, &words[0]);
        command.args(&words[1..]);
        self.done(
            name,
            &mut self.mounted(&cgroup.wrap(&command), "client", name),
        )
    }

    /// In a session.
    pub(crate) fn within(&self, way: Way) -> Result<Done> {
        let daemon = self.daemon.as_ref().context("there is no guardd")?;
        let (uid, args): (u32, &[&str]) = match way {
            Way::User => (AGENT, &[]),
            Way::ForUser => (0, &["--user", "agent"]),
            Way::AsRoot => (AGENT, &["--user", "root"]),
            Way::Unit => bail!("a unit is systemd's to start"),
        };
        let run = daemon.user(uid, ["run", "--policy", "default"]).args(args);
        let command = run.args(["--"]).args(self.words()).command()?;
        let done = self.done(
            way.name(),
            &mut self.mounted(&command, "client", way.name()),
        );
        // What it has left running is in nobody's way next time.
        let sessions = daemon.root(["sessions"]).json()?;
        for session in sessions.as_array().into_iter().flatten() {
            let id = session["id"].as_str().context("a session has no id")?;
            daemon.root(["stop", id]).run()?;
        }
        done
    }

    fn done(&self, name: &str, command: &mut Command) -> Result<Done> {
        self.own_dir(name)?;
        let output = exec::output(command)?;
        Ok(self.read(name, output.status.code(), &output.stderr))
    }

    /// What a script said whose home had this name.
    pub(crate) fn read(&self, name: &str, code: Option<i32>, beside: &[u8]) -> Done {
        let text = |kind: &str| {
            let said = fs::read(self.dir.join(name).join(kind));
            String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
        };
        let errors = text(".errors") + &String::from_utf8_lossy(beside);
        Done {
            code,
            said: text(".said"),
            errors,
        }
    }
}
