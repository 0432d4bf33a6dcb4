//! A guardd that takes signed answers, a session that asks, and people with keys of OpenSSH.

use std::fs;

use guard_lab::{
    Attempt, Daemon, DaemonBuilder, Network, Output, Scene, Shell, SmallDisk, SshKey, Tested,
    holds_scene,
};
use serde_json::{Value, json};

/// The user that carries questions and answers.
pub(crate) const COURIER: u32 = 61239;

/// The same signed answer, with another value in a field.
pub(crate) fn altered(signed: &Value, field: &str, value: Value) -> Value {
    let mut signed = signed.clone();
    signed[field] = value;
    signed
}

pub(crate) const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "60s"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
ports = ["tcp/443", "tcp/1000-2000"]
action = "confirm"

[[rule]]
name = "reads"
to = ["192.0.2.0/24"]
ports = ["tcp/80"]
action = "read-only"

[[rule]]
name = "here"
to = ["@guarded-host"]
action = "allow"

[[rule]]
name = "short"
to = ["192.0.2.10"]
ports = ["tcp/8080"]
action = "confirm"
max_hole = "2m"
"#;

/// Calls guardd by hand: its socket, the method, and parameters where there are any.
pub(crate) const CALLS: &str = r#"
import socket, sys

guardd = socket.socket(socket.AF_UNIX)
guardd.connect(sys.argv[1])
method, parameters = sys.argv[2].encode(), (sys.argv[3:] or ["{}"])[0].encode()
guardd.sendall(b'{"method":"org.guardd.Control.%s","parameters":%s}\0' % (method, parameters))
said = b""
while not said.endswith(b"\0"):
    part = guardd.recv(65536)
    if not part:
        sys.exit("guardd has closed it")
    said += part
print(said[:-1].decode())
"#;

/// One whose requests are answered by signatures.
pub(crate) struct SignedScene {
    scene: Scene,
}

holds_scene!(SignedScene);

impl SignedScene {
    /// With these settings of answers, beside the courier.
    pub(crate) fn new(network: &Network, answers: &str) -> Self {
        Self::with(network, answers, |daemon| daemon)
    }

    /// The same on a machine of that id.
    pub(crate) fn on_machine(network: &Network, id: &str, answers: &str) -> Self {
        Self::with(network, answers, |daemon| daemon.machine_id(id))
    }

    fn with(
        network: &Network,
        answers: &str,
        change: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    ) -> Self {
        let build = |daemon: DaemonBuilder| change(built(daemon, answers));
        let scene = Scene::on(network.clone(), build).unwrap();
        Self { scene }
    }

    /// One whose state is on a small file system.
    pub(crate) fn on_small_disk(network: &Network) -> Tested<(Self, SmallDisk)> {
        let mut daemon = built(Daemon::in_network(network), "").prepare()?;
        let disk = SmallDisk::new(daemon.state_dir())?;
        daemon.start()?;
        let network = network.clone();
        let scene = Scene { daemon, network };
        Ok((Self { scene }, disk))
    }

    /// A key that nobody knows of.
    pub(crate) fn key(&self, name: &str) -> Tested<SshKey> {
        Ok(SshKey::new(self.daemon.dir().join(name))?)
    }

    /// A key of an approver with that name, for the agent's sessions.
    pub(crate) fn approver(&self, name: &str, args: &[&str]) -> Tested<SshKey> {
        let key = self.key(name)?;
        let add = self.add(name, &key).args(["--answers-for", &agent()]);
        add.args(args).run()?.success()?;
        Ok(key)
    }

    pub(crate) fn add(&self, name: &str, key: &SshKey) -> guard_lab::Guard<'_> {
        let public = key.public();
        let add = self
            .daemon
            .root(["approver", "add", name, "--plain", "--ssh-key"]);
        add.args([public])
    }

    pub(crate) fn shell(&self) -> Shell {
        self.scene.shell("asks").unwrap()
    }

    /// Has a session try a port, in vain, and gives the id of the request about it.
    pub(crate) fn request(&self, shell: &mut Shell, port: u16) -> String {
        assert!(!shell.reaches(&Attempt::tcp(guard_lab::V4, port)).unwrap());
        let pending = self.daemon.json(["pending"]).unwrap();
        let mut pending = pending.as_array().unwrap().iter();
        let found = pending.find(|one| one["destination"]["port"] == port);
        found.expect("it asks")["id"].as_str().unwrap().to_owned()
    }

    /// What guardd asks about a request.
    pub(crate) fn question(&self, id: &str) -> Value {
        self.daemon.json(["question", id]).unwrap()
    }

    /// A yes to a question, in its canonical form, with something changed.
    pub(crate) fn answer(&self, asked: &Value, by: &str, change: &[(&str, Value)]) -> String {
        answer_to(asked, by, change)
    }

    /// Signed, as `guard sign` has it.
    pub(crate) fn sign(&self, key: &SshKey, answer: &str) -> Tested<Value> {
        self.sign_for(key, answer, "answer@guardd.org")
    }

    pub(crate) fn sign_for(&self, key: &SshKey, answer: &str, namespace: &str) -> Tested<Value> {
        Ok(key.sign(answer, namespace)?)
    }

    /// A yes, signed.
    pub(crate) fn yes(
        &self,
        key: &SshKey,
        by: &str,
        id: &str,
        change: &[(&str, Value)],
    ) -> Tested<Value> {
        self.sign(key, &self.answer(&self.question(id), by, change))
    }

    /// Hands it in, as the courier.
    pub(crate) fn hand_in(&self, signed: &Value) -> Tested<Output> {
        let answer = ["answer", "--signed", "-", "--json"];
        let answer = self.daemon.user(COURIER, answer).input(signed.to_string());
        Ok(answer.run()?)
    }

    /// That it is refused, and why.
    pub(crate) fn refused(&self, signed: &Value, why: &str) -> Tested {
        let before = self.holes();
        let refused = self.hand_in(signed)?;
        assert_eq!(refused.code(), Some(2), "{why}: {}", refused.stdout);
        assert!(refused.stderr.contains(why), "{why}: {}", refused.stderr);
        assert_eq!(self.holes(), before, "{why}");
        Ok(())
    }

    /// That it is taken.
    pub(crate) fn taken(&self, signed: &Value) -> Tested<Value> {
        Ok(self.hand_in(signed)?.success()?.json()?)
    }

    /// The open holes, by their ports.
    pub(crate) fn holes(&self) -> Vec<String> {
        let holes = self.daemon.json(["holes"]).unwrap();
        let holes = holes.as_array().unwrap().iter();
        holes
            .map(|hole| hole["ports"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn log(&self, kind: &str) -> Vec<Value> {
        self.daemon.logged(kind).unwrap()
    }

    /// Changes a file beside guardd's state, while that is down.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) -> Tested {
        let file = self.daemon.state_dir().join(file);
        let text = fs::read_to_string(&file)?;
        let mut value: Value = serde_json::from_str(&text)?;
        change(&mut value);
        fs::write(&file, value.to_string())?;
        Ok(())
    }
}

fn built(daemon: DaemonBuilder, answers: &str) -> DaemonBuilder {
    let config = format!(
        "resolvers = [\"127.0.0.1:1\"]\n[answers]\ncouriers = [\"{COURIER}\"]\ncode = \"never\"\n{answers}\n"
    );
    daemon.policy("asks", POLICY).config(&config)
}

/// A yes to a question, in its canonical form, with something changed.
pub(crate) fn answer_to(asked: &Value, by: &str, change: &[(&str, Value)]) -> String {
    let question: Value = serde_json::from_str(asked["question"].as_str().unwrap()).unwrap();
    let mut fields = vec![
        ("by", json!(by)),
        ("bytes", Value::Null),
        ("code", json!("")),
        ("connections", Value::Null),
        ("for", json!(300)),
        ("machine", question["machine"].clone()),
        ("question", asked["hash"].clone()),
        ("read_only", json!(false)),
        ("requests", Value::Null),
        ("scope", json!("one")),
        ("v", json!(1)),
        ("verdict", json!("yes")),
    ];
    for (name, value) in change {
        let field = fields.iter_mut().find(|(field, _)| field == name);
        field.unwrap().1 = value.clone();
    }
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// The agent's user, as guardd shows it.
pub(crate) fn agent() -> String {
    guard_lab::AGENT.to_string()
}
