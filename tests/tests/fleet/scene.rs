//! Machines with a guardd each, servers of NATS between them and the people who answer.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::Context as _;
use guard_lab::{
    AGENT, Json as _, Nats, Network, PATIENCE, Running, Shell, Side, SshKey, Tested, bins,
    eventually, exec,
};
use serde_json::Value;

use super::client::Client;
use crate::{
    console::scene::ORIGIN,
    signed::scene::{COURIER, SignedScene},
};

/// A user who answers, and owns nothing of the machines'.
pub(super) const PERSON: u32 = 61240;
pub(super) const GROUP: &str = "ci";

/// One machine, and one person.
pub(super) struct Fleet<'n> {
    pub(super) scene: SignedScene,
    pub(super) nats: Nats<'n>,
    pub(super) machine: String,
    /// A session that has asked for port 443.
    _asks: Shell,
    carrier: Option<Running>,
    dir: PathBuf,
}

impl<'n> Fleet<'n> {
    /// With so many servers, of which the machine and the person know all.
    pub(super) fn new(network: &'n Network, servers: u16) -> Tested<Self> {
        let mut fleet = Self::with(network, servers, false)?;
        let (machine, person) = (fleet.key("machine")?, fleet.key("person")?);
        let users = fleet.rights(&machine, &person)?;
        fleet.nats.reload(&users)?;
        fleet.start()?;
        Ok(fleet)
    }

    /// With so many servers that keep audit logs, which the person may read. With it comes who keeps the list, beside the first.
    pub(super) fn keeping(network: &'n Network, servers: u16) -> Tested<(Self, Running)> {
        Self::keeping_by(network, servers, &["--log", "1h"])
    }

    /// The same, as these arguments say.
    pub(super) fn keeping_by(
        network: &'n Network,
        servers: u16,
        log: &[&str],
    ) -> Tested<(Self, Running)> {
        let mut fleet = Self::with(network, servers, true)?;
        let id = fleet.machine.clone();
        let keeper = fleet.keep_with(&fleet.listed(&id)?, log)?;
        // The others are told by hand.
        eventually("the rights are written", || {
            fs::read_to_string(fleet.nats.users(0)).is_ok_and(|users| users.contains(&id))
        })?;
        for number in 1..servers {
            fs::copy(fleet.nats.users(0), fleet.nats.users(number))?;
            fleet.nats.signal(number, rustix::process::Signal::HUP)?;
        }
        fleet.settings_of_machine("log = true\n")?;
        fleet.start()?;
        Ok((fleet, keeper))
    }

    /// The list of a machine that the list has by that id, and of a person who may read logs.
    pub(super) fn listed(&self, id: &str) -> Tested<String> {
        let (machine, person) = (self.key("machine")?, self.key("person")?);
        Ok(format!(
            "[[machine]]\nid = \"{id}\"\nkey = \"{machine}\"\ngroup = \"{GROUP}\"\n\
             [[person]]\nkey = \"{person}\"\ngroups = [\"{GROUP}\"]\nlog = true\n"
        ))
    }

    /// Says more in the machine's settings.
    pub(super) fn settings_of_machine(&self, more: &str) -> Tested {
        let file = self.dir.join("machine/fleet.toml");
        let text = fs::read_to_string(&file)?;
        Ok(fs::write(file, text + more)?)
    }

    fn with(network: &'n Network, servers: u16, keeps: bool) -> Tested<Self> {
        let settings = if keeps {
            format!("origins = [\"{ORIGIN}\"]\n[fleet]\nlog = \"{COURIER}\"")
        } else {
            String::new()
        };
        let scene = SignedScene::new(network, &settings);
        let dir = scene.daemon.dir().join("fleet");
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let start = if keeps { Nats::keeping } else { Nats::start };
        let nats = start(network.dev(), dir.join("nats"), servers, "")?;
        let mut asks = scene.shell();
        let fleet = Self {
            machine: own_id(&scene, &mut asks)?,
            scene,
            nats,
            _asks: asks,
            carrier: None,
            dir,
        };
        fleet.home("machine")?;
        fleet.home("person")?;
        Ok(fleet)
    }

    /// The same with an approver, whose questions go out.
    pub(super) fn answered(network: &'n Network, servers: u16) -> Tested<(Self, SshKey)> {
        let fleet = Self::new(network, servers)?;
        let key = fleet.scene.approver("alice", &[])?;
        fleet.is_there()?;
        Ok((fleet, key))
    }

    /// Makes one, with settings.
    pub(super) fn home(&self, name: &str) -> Tested {
        let (home, user) = (self.dir.join(name), user_of(name));
        fs::create_dir(&home)?;
        chown(&home, Some(user), Some(user))?;
        self.settings_with(name, &self.nats.urls())
    }

    /// Where all of it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The list of who is in the fleet.
    pub(super) fn list(&self) -> PathBuf {
        self.dir.join("fleet.list")
    }

    /// Keeps the list beside the first server, which has the person alone at first.
    pub(super) fn keep(&self) -> Tested<Running> {
        self.keep_with(&self.persons()?, &[])
    }

    /// Keeps that list, with more of a command line.
    pub(super) fn keep_with(&self, list: &str, more: &[&str]) -> Tested<Running> {
        fs::write(self.list(), list)?;
        self.keep_beside(0, more)
    }

    /// Keeps one list, which has the person alone at first, beside each of so many servers.
    pub(super) fn keep_all(&self, servers: u16) -> Tested<Vec<Running>> {
        fs::write(self.list(), self.persons()?)?;
        (0..servers)
            .map(|number| self.keep_beside(number, &[]))
            .collect()
    }

    fn persons(&self) -> Tested<String> {
        let person = self.key("person")?;
        Ok(format!(
            "[[person]]\nkey = \"{person}\"\ngroups = [\"{GROUP}\"]\n"
        ))
    }

    fn keep_beside(&self, number: u16, more: &[&str]) -> Tested<Running> {
        let name = match number {
            0 => "keeper".to_owned(),
            number => format!("keeper{number}"),
        };
        if !self.dir.join(&name).exists() {
            self.home(&name)?;
        }
        let url = self.nats.urls().swap_remove(usize::from(number));
        self.settings_with(&name, &[url])?;
        self.key(&name)?;
        let mut command = self.command(&name, &["keep", "--rights"])?;
        command.arg(self.nats.users(number)).arg("--pid-file");
        command.arg(self.nats.pid_file(number)).arg(self.list());
        command.args(more);
        command.stderr(fs::File::create(self.dir.join(format!("{name}.log")))?);
        Ok(Running::start(&mut command)?)
    }

    /// What the keeper of the list has said.
    pub(super) fn kept(&self) -> Tested<String> {
        Ok(fs::read_to_string(self.dir.join("keeper.log"))?)
    }

    /// Has a machine be let in once; gives the token.
    pub(super) fn invite(&self, how: &[&str]) -> Tested<String> {
        let mut command = self.command("keeper", &["invite"])?;
        Ok(exec::run(command.args(how).arg(self.list()))?)
    }

    /// One joins by a token.
    pub(super) fn join(&self, name: &str, token: &str) -> Tested<Output> {
        let mut command = self.command(name, &["join"])?;
        Ok(exec::output_with(&mut command, token)?)
    }

    /// Has it know these servers alone.
    pub(super) fn settings_with(&self, name: &str, servers: &[String]) -> Tested {
        let home = self.dir.join(name);
        let text = format!(
            "servers = {servers:?}\nca = {:?}\nkey = {:?}\ngroup = \"{GROUP}\"\n",
            self.nats.ca(),
            home.join("key.nk")
        );
        Ok(fs::write(home.join("fleet.toml"), text)?)
    }

    /// guard-fleet, as whom that is.
    pub(super) fn command(&self, name: &str, args: &[&str]) -> Tested<Command> {
        let user = user_of(name);
        let program = bins::for_everybody("guard-fleet", self.scene.daemon.tag())?;
        let mut command = self.scene.daemon.on_machine(user, program);
        command
            .arg("--config")
            .arg(self.dir.join(name).join("fleet.toml"))
            .arg("--socket")
            .arg(self.scene.daemon.socket())
            .args(args)
            .env("HOME", self.dir.join(name))
            .stderr(Stdio::inherit());
        Ok(command)
    }

    /// What it prints where it succeeds.
    pub(super) fn said(&self, name: &str, args: &[&str]) -> Tested<String> {
        Ok(exec::run(&mut self.command(name, args)?)?)
    }

    /// Its public key, which is made where there is none.
    pub(super) fn key(&self, name: &str) -> Tested<String> {
        Ok(self.said(name, &["key"])?.trim().to_owned())
    }

    /// The person's own connection to the first server.
    pub(super) fn by_hand(&self, side: &Side) -> Tested<Client> {
        let (key, file) = (self.key("person")?, self.dir.join("person/key.nk"));
        Ok(Client::new(side, &self.nats, &key, &file)?)
    }

    /// What nats-server is told of them.
    pub(super) fn rights(&self, machine: &str, person: &str) -> Tested<String> {
        let list = self.list();
        let id = &self.machine;
        let text = format!(
            "[[machine]]\nid = \"{id}\"\nkey = \"{machine}\"\ngroup = \"{GROUP}\"\n[[person]]\nkey = \"{person}\"\ngroups = [\"{GROUP}\"]\n"
        );
        fs::write(&list, text)?;
        self.said("person", &["rights", list.to_str().unwrap()])
    }

    /// Starts the machine's side.
    pub(super) fn start(&mut self) -> Tested {
        let mut command = self.command("machine", &["serve"])?;
        self.carrier = Some(Running::start(&mut command)?);
        Ok(())
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.carrier = None;
    }

    /// Sends it a signal.
    pub(super) fn signal(&mut self, signal: rustix::process::Signal) -> Tested {
        let carrier = self.carrier.as_mut().context("it does not run")?;
        Ok(carrier.signal(signal)?)
    }

    /// Ends it as systemd does.
    pub(super) fn stop(&mut self) -> Tested {
        let carrier = self.carrier.as_mut().unwrap();
        carrier.signal(rustix::process::Signal::TERM)?;
        assert!(carrier.wait()?.success());
        self.carrier = None;
        Ok(())
    }

    /// The person looks on.
    pub(super) fn look(&self) -> Tested<Look> {
        let mut command = self.command("person", &["pending", "--follow", "--json"])?;
        Ok(Look(Running::start(&mut command)?))
    }

    /// What the person sees of machines.
    pub(super) fn machines(&self) -> Tested<Vec<Value>> {
        lines(&self.said("person", &["machines", "--json"])?)
    }

    /// Waits until the machine is there.
    pub(super) fn is_there(&self) -> Tested {
        let is_there = || self.machines().is_ok_and(|machines| machines.len() == 1);
        Ok(eventually("the machine is there", is_there)?)
    }

    /// Hands a signed answer in.
    pub(super) fn answer(&self, request: &str, signed: &Value) -> Tested<Command> {
        self.answer_to(&self.machine[..8], request, signed)
    }

    /// The same to a machine that is named so.
    pub(super) fn answer_to(
        &self,
        machine: &str,
        request: &str,
        signed: &Value,
    ) -> Tested<Command> {
        let file = self.dir.join("person/signed");
        fs::write(&file, signed.to_string())?;
        let file = file.to_str().unwrap();
        self.command("person", &["answer", machine, request, "--signed", file])
    }
}

/// The users of a server, and one beside them who may do all.
pub(super) fn with_witness(users: &str, key: &str) -> String {
    let all = format!(
        "    {{ nkey: {key}, permissions: {{ publish: [\">\"], subscribe: [\">\"] }} }}\n  ]\n"
    );
    assert_eq!(users.matches("  ]\n").count(), 1, "{users}");
    users.replace("  ]\n", &all)
}

/// As whom each runs.
fn user_of(name: &str) -> u32 {
    match name {
        "person" => PERSON,
        "agent" => AGENT,
        // It writes what the server reads, and signals it.
        name if name.starts_with("keeper") => 0,
        _ => COURIER,
    }
}

/// What the machine is called, as its questions have it.
pub(super) fn own_id(scene: &SignedScene, asks: &mut Shell) -> Tested<String> {
    let request = scene.request(asks, 443);
    let question = scene.question(&request);
    let question: Value = serde_json::from_str(question["question"].text()?)?;
    Ok(question["machine"].text()?.to_owned())
}

/// `guard-fleet pending --follow --json`
pub(super) struct Look(pub(super) Running);

impl Look {
    /// Reads on until there is such a line.
    pub(super) fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Tested<Value> {
        loop {
            let line: Value = serde_json::from_str(&self.0.line(PATIENCE)?)?;
            if is_it(&line) {
                return Ok(line);
            }
        }
    }
}

pub(super) fn lines(text: &str) -> Tested<Vec<Value>> {
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}
