//! Machines in networks of their own, servers of NATS that all of them reach, and a colleague elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use guard_lab::{
    AGENT, Attempt, Hub, Json as _, Nats, Network, PATIENCE, Production, Running, Shell, SshKey,
    Tested, V4, bins, eventually, exec,
};
use serde_json::{Value, json};

use super::{
    central::CARRIER,
    scene::{GROUP, Look, PERSON, lines, own_id},
};
use crate::{
    console::scene::ORIGIN,
    signed::scene::{COURIER, SignedScene, agent},
};

/// What production has open, behind each machine.
const PORTS: [u16; 3] = [443, 1500, 8080];

/// A machine with production behind it, and a session that asks.
pub(super) struct Machine {
    pub(super) scene: SignedScene,
    pub(super) id: String,
    pub(super) shell: Shell,
    /// Another one, which has asked for port 443.
    pub(super) asks: Shell,
    production: Production,
    pub(super) carrier: Running,
}

/// All of them.
pub(super) struct Machines<'h> {
    pub(super) all: Vec<Machine>,
    pub(super) nats: Nats<'h>,
    pub(super) colleague: &'h Network,
    /// The colleague's, whom each of them knows as alice.
    key: SshKey,
    dir: PathBuf,
}

impl<'h> Machines<'h> {
    /// One in each network, and three servers between them.
    pub(super) fn start(
        networks: &[Network],
        colleague: &'h Network,
        hub: &'h Hub,
    ) -> Tested<Self> {
        let dir = hub.dir();
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let at = Hub::ADDRESS;
        let nats = Nats::start_at(hub.side(), (at, true), dir.join("nats"), 3, "")?;
        let key = SshKey::new(dir.join("alice"))?;
        let mut fleet = Self {
            all: Vec::new(),
            nats,
            colleague,
            key,
            dir,
        };
        fleet.home("colleague", PERSON)?;
        fleet.home("console", CARRIER)?;
        let mut colleague = fleet.as_colleague(&["key"])?;
        let mut console = fleet.as_one("console", CARRIER, &["key"])?;
        let mut list = format!(
            "[[person]]\nkey = \"{}\"\ngroups = [\"{GROUP}\"]\n\
             [[person]]\nkey = \"{}\"\ngroups = [\"{GROUP}\"]\nconsole = true\n",
            exec::run(&mut colleague)?.trim(),
            exec::run(&mut console)?.trim()
        );
        for (number, network) in networks.iter().enumerate() {
            let (machine, key) = fleet.machine(number, network)?;
            list += &format!(
                "[[machine]]\nid = \"{}\"\nkey = \"{key}\"\ngroup = \"{GROUP}\"\n",
                machine.id
            );
            fleet.all.push(machine);
        }
        let file = fleet.list();
        fs::write(&file, list)?;
        let rights = ["rights", file.to_str().unwrap()];
        let users = exec::run(&mut fleet.as_colleague(&rights)?)?;
        fleet.nats.reload(&users)?;
        Ok(fleet)
    }

    /// Starts one, and gives it beside the key that servers know it by.
    fn machine(&self, number: usize, network: &Network) -> Tested<(Machine, String)> {
        let name = format!("machine{number}");
        let production = Production::launch(network, &PORTS, &[], true)?;
        let (id, answers) = (
            format!("{:032x}", number + 1),
            format!("origins = [\"{ORIGIN}\"]"),
        );
        let scene = SignedScene::on_machine(network, &id, &answers);
        scene
            .add("alice", &self.key)
            .args(["--answers-for", &agent()])
            .run()?
            .success()?;
        self.home(&name, COURIER)?;
        let program = bins::for_everybody("guard-fleet", scene.daemon.tag())?;
        let fleet = |verb: &str| {
            let mut command = scene.daemon.on_machine(COURIER, &program);
            command.arg("--socket").arg(scene.daemon.socket());
            command.arg("--config").arg(self.config(&name)).arg(verb);
            command
        };
        let key = exec::run(&mut fleet("key"))?.trim().to_owned();
        let carrier = Running::start(&mut fleet("serve"))?;
        let mut asks = scene.shell();
        let machine = Machine {
            id: own_id(&scene, &mut asks)?,
            shell: scene.shell(),
            asks,
            scene,
            production,
            carrier,
        };
        Ok((machine, key))
    }

    /// Keeps the list beside each of the servers.
    pub(super) fn keep(&self) -> Tested<Vec<Running>> {
        self.keep_with(&[])
    }

    /// The same, with more of a command line.
    pub(super) fn keep_with(&self, more: &[&str]) -> Tested<Vec<Running>> {
        (0..3)
            .map(|number| {
                let name = format!("keeper{number}");
                // It signals a server, whosever that is.
                self.home(&name, 0)?;
                exec::run(&mut self.as_one(&name, 0, &["key"])?)?;
                let mut command = self.as_one(&name, 0, &["keep", "--rights"])?;
                command.arg(self.nats.users(number)).arg("--pid-file");
                command.arg(self.nats.pid_file(number)).arg(self.list());
                command.args(more);
                Ok(Running::start(&mut command)?)
            })
            .collect()
    }

    /// Has the servers let the colleague bring policies.
    pub(super) fn may_push(&mut self) -> Tested {
        let file = self.list();
        let list = fs::read_to_string(&file)?;
        let (own, may) = (
            "groups = [\"ci\"]\n",
            "groups = [\"ci\"]\npolicies = true\n",
        );
        fs::write(&file, list.replacen(own, may, 1))?;
        let rights = ["rights", file.to_str().unwrap()];
        let users = exec::run(&mut self.as_colleague(&rights)?)?;
        Ok(self.nats.reload(&users)?)
    }

    /// The colleague brings a bundle, and hears what each machine has made of it.
    pub(super) fn push(&self, signed: &str) -> Tested<String> {
        let file = self.dir.join("bundle");
        fs::write(&file, signed)?;
        let mut push = self.as_colleague(&["push", "--for", "30s", text(&file)])?;
        let said = exec::output(&mut push)?;
        Ok(String::from_utf8(said.stdout)?)
    }

    /// Takes a machine out of the list.
    pub(super) fn remove(&self, machine: &str) -> Tested {
        let mut command = self.as_one("keeper0", 0, &["remove", machine])?;
        exec::run(command.arg(self.list()))?;
        Ok(())
    }

    fn list(&self) -> PathBuf {
        self.dir.join("fleet.list")
    }

    pub(super) fn home(&self, name: &str, user: u32) -> Tested {
        let home = self.dir.join(name);
        fs::create_dir(&home)?;
        chown(&home, Some(user), Some(user))?;
        let text = format!(
            "servers = {:?}\nca = {:?}\nkey = {:?}\ngroup = \"{GROUP}\"\n",
            self.nats.urls(),
            self.nats.ca(),
            home.join("key.nk")
        );
        Ok(fs::write(self.config(name), text)?)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("fleet.toml")
    }

    /// guard-fleet, as the colleague on a machine without guardd.
    fn as_colleague(&self, args: &[&str]) -> Tested<Command> {
        self.as_one("colleague", PERSON, args)
    }

    /// The same as another user there, with settings of its own.
    pub(super) fn as_one(&self, name: &str, user: u32, args: &[&str]) -> Tested<Command> {
        let side = self.colleague.dev();
        let mut command = side.command_as(user, bins::for_everybody("guard-fleet", side.tag())?);
        command.arg("--config").arg(self.config(name));
        command.args(args).env("HOME", self.dir.join(name));
        Ok(command)
    }

    /// Where one has what is its own.
    pub(super) fn own_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The colleague looks on.
    pub(super) fn look(&self) -> Tested<Look> {
        let mut command = self.as_colleague(&["pending", "--follow", "--json"])?;
        Ok(Look(Running::start(&mut command)?))
    }

    /// Waits until the colleague sees all of them enforce.
    pub(super) fn are_there(&self) -> Tested {
        eventually("all machines are there", || {
            let said = exec::run(&mut self.as_colleague(&["machines", "--json"])?)?;
            let enforcing = lines(&said)?.into_iter();
            let enforcing = enforcing.filter(|one| one["guardd"]["enforcing"] == true);
            let ids: Vec<_> = enforcing.map(|one| one["machine"].clone()).collect();
            Ok(self.all.iter().all(|one| ids.contains(&json!(one.id))))
        })?;
        Ok(())
    }

    /// What the colleague sees of all of them.
    pub(super) fn status(&self) -> Tested<Value> {
        let said = exec::run(&mut self.as_colleague(&["status", "--json"])?)?;
        Ok(serde_json::from_str(&said)?)
    }

    /// Sees what each asks about a port, by the machine's id.
    pub(super) fn asked(&self, look: &mut Look, port: u16) -> Tested<BTreeMap<String, Value>> {
        let mut asked = BTreeMap::new();
        while asked.len() < self.all.len() {
            let line = look.until(|line| line["state"] == "open" && is_about(line, port))?;
            asked.insert(line["machine"].text()?.to_owned(), line);
        }
        Ok(asked)
    }

    /// An answer that the colleague has signed.
    pub(super) fn signed(&self, asked: &Value, verdict: &str) -> Tested<Value> {
        let change = [("for", json!(60)), ("verdict", json!(verdict))];
        let answer = self.all[0].scene.answer(asked, "alice", &change);
        self.all[0].scene.sign(&self.key, &answer)
    }

    /// Hands it in for a machine's question.
    pub(super) fn answer(&self, machine: &str, asked: &Value, signed: &Value) -> Tested<Command> {
        let file = self.dir.join("signed");
        fs::write(&file, signed.to_string())?;
        let request = asked["request"].text()?;
        self.as_colleague(&["answer", machine, request, "--signed", text(&file)])
    }
}

impl Machine {
    /// A session begins to connect, and goes on while it waits.
    pub(super) fn begin(shell: &mut Shell, port: u16) -> Tested {
        Ok(shell.begin(&Attempt::tcp(V4, port).timeout(PATIENCE))?)
    }

    /// Whether it was reached in the end.
    pub(super) fn has_reached(shell: &mut Shell) -> Tested<bool> {
        Ok(shell.line_with("\"ok\"")?.contains("\"ok\":true"))
    }

    /// Whether a connection to that port waits here.
    pub(super) fn waits(&self, port: u16) -> Tested<bool> {
        let pending = self.scene.daemon.list(["pending"])?;
        let mut pending = pending.iter();
        Ok(pending.any(|one| one["destination"]["port"] == port && one["held"] == true))
    }

    /// That production is there, for whoever has no guard.
    pub(super) fn is_open(&self, network: &Network, port: u16) -> Tested {
        let outside = Attempt::tcp(V4, port).outside(network.dev(), AGENT)?;
        assert!(outside.ok, "without the guard {port} is reached");
        Ok(())
    }

    /// Packets and connections that production has seen at a port.
    pub(super) fn reached(&self, port: u16) -> Tested<usize> {
        Ok(self.production.reached_at(V4, port)?.len())
    }
}

/// Whether a question is about a connection to that port.
pub(super) fn is_about(line: &Value, port: u16) -> bool {
    super::shown(line).contains(&format!("tcp/{port} "))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
