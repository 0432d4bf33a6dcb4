//! Who is there: servers of NATS, machines under guardd, and a colleague elsewhere.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{
    AGENT, Daemon, Hub, Nats, Network, Production, Running, SshKey, bins, eventually, exec,
};

use crate::demo::story::Story;

/// The courier's user on each machine.
pub(super) const COURIER: u32 = 61236;
/// The colleague: ssh-keygen signs for users alone that the system knows.
const COLLEAGUE: u32 = 65534;
const SERVERS: u16 = 3;
/// Port of the first server.
const PORT: u16 = 4222;

/// Names are looked up nowhere.
const SETTINGS: &str = "resolvers = [\"127.0.0.1:1\"]\n[answers]\ncouriers = [\"61236\"]\n";

/// A machine's names.
pub(super) struct MachineNames {
    /// By people.
    pub(super) host: &'static str,
    /// By itself (machine-id(5)).
    pub(super) machine_id: &'static str,
}

/// A machine with production behind it.
pub(super) struct DemoMachine {
    pub(super) name: &'static str,
    pub(super) production: Production,
    pub(super) daemon: Daemon,
    /// As questions call it.
    pub(super) id: String,
    carrier: Running,
}

/// The servers, and whoever looks.
pub(super) struct FleetStage<'n> {
    pub(super) nats: Nats<'n>,
    colleague: &'n Network,
    dir: PathBuf,
    list: String,
}

impl<'n> FleetStage<'n> {
    /// The colleague makes a key, and servers know it.
    pub(super) fn start(story: &mut Story, hub: &'n Hub, colleague: &'n Network) -> Result<Self> {
        story.step("Three servers of NATS know whom a list names: a colleague, at first");
        let dir = hub.dir();
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let own = dir.join("colleague/.config/guard");
        fs::create_dir_all(&own)?;
        let urls: Vec<_> = (PORT..PORT + SERVERS)
            .map(|port| format!("tls://{}:{port}", Hub::ADDRESS))
            .collect();
        let servers = dir.join("nats");
        let settings = format!(
            "servers = {urls:?}\nca = {:?}\ngroup = \"ci\"\n",
            servers.join("ca.pem")
        );
        fs::write(dir.join("fleet.toml"), &settings)?;
        fs::write(own.join("fleet.toml"), &settings)?;
        let key = SshKey::new(dir.join("colleague/alice"))?;
        let home = dir.join("colleague");
        for file in [&home, &own, &own.join("fleet.toml"), &key.file] {
            chown(file, Some(COLLEAGUE), Some(COLLEAGUE))?;
        }
        let list = by_colleague(colleague, &dir, &["key"])?;
        let public = shown(story, "colleague", "guard-fleet key", list)?;
        let list = format!(
            "[[person]]\nkey = \"{}\"\ngroups = [\"ci\"]\n",
            public.trim()
        );
        let rights = rights(story, colleague, &dir, &list)?;
        let nats = Nats::start_at(hub.side(), (Hub::ADDRESS, false), servers, SERVERS, &rights)?;
        for number in 0..SERVERS {
            story.command("nats", &format!("nats-server -c n{number}.conf"));
        }
        ensure!(nats.urls() == urls, "they listen elsewhere");
        story.fact(&format!("they listen at {}, by TLS alone", urls.join(", ")));
        Ok(Self {
            nats,
            colleague,
            dir,
            list,
        })
    }

    /// Starts guardd and guard-fleet on one more, and gives beside it what the list says of it.
    pub(super) fn machine(
        &mut self,
        story: &mut Story,
        names: &MachineNames,
        network: &Network,
        policy: &str,
    ) -> Result<DemoMachine> {
        let name = names.host;
        let production = Production::start(network)?;
        story.command(&format!("root@{name}"), "guardd");
        let daemon = Daemon::in_network(network)
            .policy("demo", policy)
            .config(SETTINGS)
            .machine_id(names.machine_id)
            .start()?;
        let home = self.home_of(name)?;
        let program = bins::for_everybody("guard-fleet", daemon.tag())?;
        let fleet = |verb: &str| {
            let mut command = daemon.on_machine(COURIER, &program);
            command.arg("--config").arg(home.join("fleet.toml"));
            command.arg("--socket").arg(daemon.socket()).arg(verb);
            command
        };
        let who = format!("guard-fleet@{name}");
        let key = shown(story, &who, "guard-fleet key", fleet("key"))?;
        story.command(&who, "guard-fleet serve");
        let log = home.join("log");
        let mut serve = fleet("serve");
        serve.stderr(File::create(&log)?);
        let carrier = Running::start(&mut serve)?;
        let mut id = None;
        eventually("guard-fleet knows what its machine is called", || {
            id = logged_id(&log);
            id.is_some()
        })?;
        let id = id.context("no id")?;
        story.fact(&format!("questions of {name} are from {id}"));
        self.list += &format!(
            "[[machine]]\nid = \"{id}\"\nkey = \"{}\"\ngroup = \"ci\"\n",
            key.trim()
        );
        Ok(DemoMachine {
            name,
            production,
            daemon,
            id,
            carrier,
        })
    }

    /// A directory for a machine's courier, with its settings.
    fn home_of(&self, name: &str) -> Result<PathBuf> {
        let home = self.dir.join(name);
        fs::create_dir(&home)?;
        let settings = fs::read_to_string(self.dir.join("fleet.toml"))?;
        let settings = format!("{settings}key = {:?}\n", home.join("machine.nk"));
        fs::write(home.join("fleet.toml"), settings)?;
        chown(&home, Some(COURIER), Some(COURIER))?;
        Ok(home)
    }

    /// The servers let all of the list in.
    pub(super) fn admit(&mut self, story: &Story) -> Result<()> {
        let rights = rights(story, self.colleague, &self.dir, &self.list)?;
        self.nats.reload(&rights)
    }

    /// guard-fleet, as the colleague, whose machine has no guardd.
    pub(super) fn by_colleague(&self, args: &[&str]) -> Result<Command> {
        by_colleague(self.colleague, &self.dir, args)
    }

    /// What the colleague's commands say beside their output.
    pub(super) fn log(&self) -> Result<File> {
        Ok(File::create(self.dir.join("colleague.log"))?)
    }

    /// The public half of the key that the colleague signs with.
    pub(super) fn public(&self) -> PathBuf {
        self.dir.join("colleague/alice.pub")
    }

    /// The private half.
    pub(super) fn private(&self) -> PathBuf {
        self.dir.join("colleague/alice")
    }

    /// How many are connected to the server that has most, and which that is.
    pub(super) fn busiest(&self) -> Result<(u64, u16)> {
        let mut busiest = (0, 0);
        for number in 0..SERVERS {
            busiest = busiest.max((self.nats.clients(number)?, number));
        }
        Ok(busiest)
    }

    /// What has to be gone in the end.
    pub(super) fn traces(&self) -> Result<Vec<PathBuf>> {
        let mut traces = vec![self.dir.clone()];
        for number in 0..SERVERS {
            let pid = fs::read_to_string(self.nats.pid_file(number))?;
            traces.push(Path::new("/proc").join(pid.trim()));
        }
        Ok(traces)
    }
}

impl DemoMachine {
    /// Root says whose signature counts.
    pub(super) fn enrol(&self, story: &Story, public: &Path) -> Result<()> {
        let agent = AGENT.to_string();
        let add = [
            "approver",
            "add",
            "alice",
            "--plain",
            "--answers-for",
            &agent,
        ];
        let text = format!("guard {} --ssh-key alice.pub", add.join(" "));
        story.command(&format!("root@{}", self.name), &text);
        let add = self.daemon.root(add).args(["--ssh-key".as_ref(), public]);
        let added = add.run()?.success()?;
        story.output(&added.stdout);
        Ok(())
    }

    /// What has to be gone in the end.
    pub(super) fn traces(&self) -> Vec<PathBuf> {
        let pids = [Some(self.carrier.pid()), self.daemon.pid()];
        let processes = pids.into_iter().flatten();
        processes
            .map(|pid| Path::new("/proc").join(pid.to_string()))
            .collect()
    }
}

fn by_colleague(network: &Network, dir: &Path, args: &[&str]) -> Result<Command> {
    let side = network.dev();
    let program = bins::for_everybody("guard-fleet", side.tag())?;
    // It starts guard sign.
    let guard = bins::for_everybody("guard", side.tag())?;
    let path = guard.parent().context("guard lies nowhere")?;
    let mut command = side.command_as(COLLEAGUE, program);
    command
        .args(args)
        .env("HOME", dir.join("colleague"))
        .env("PATH", format!("{}:/usr/bin:/bin", path.display()))
        .env_remove("XDG_CONFIG_HOME");
    Ok(command)
}

/// What nats-server is to include, which the list makes.
fn rights(story: &Story, network: &Network, dir: &Path, list: &str) -> Result<String> {
    let file = dir.join("fleet.list");
    fs::write(&file, list)?;
    story.command("nats", "cat fleet.list");
    story.output(list);
    story.command("nats", "guard-fleet rights fleet.list > guard.conf");
    let file = file.to_str().context("a path that is no text")?;
    exec::run(&mut by_colleague(network, dir, &["rights", file])?)
}

/// Runs a command, and shows what it prints.
pub(super) fn shown(story: &Story, who: &str, text: &str, mut command: Command) -> Result<String> {
    story.command(who, text);
    let said = exec::run(&mut command)?;
    story.output(&said);
    Ok(said)
}

/// A record of guard-fleet.
fn logged_id(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let (_, rest) = text.split_once("machine=")?;
    let id: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    // The line may not be written to its end yet.
    (id.len() == "m-".len() + 20).then_some(id)
}
