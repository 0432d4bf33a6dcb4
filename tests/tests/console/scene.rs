//! A guardd, a session that asks, and a console with whoever looks at it.

use std::{fs, os::unix::fs::chown, path::PathBuf};

use anyhow::Context as _;
use guard_lab::{Json as _, Network, PATIENCE, Running, Tested, bins};
use serde_json::{Value, json};

use super::{
    http::{Client, Response},
    passkey::Passkey,
};
use crate::signed::scene::{COURIER, SignedScene, agent};

pub(crate) const PORT: u16 = 4827;
pub(crate) const HOST: &str = "guard.localhost:4827";
pub(crate) const ORIGIN: &str = "http://guard.localhost:4827";

pub(crate) struct Looked<'n> {
    pub(crate) scene: SignedScene,
    pub(crate) http: Client<'n>,
    console: Option<Running>,
    pub(crate) state: PathBuf,
    config: PathBuf,
}

impl<'n> Looked<'n> {
    /// With these settings of answers, beside the courier.
    pub(crate) fn new(network: &'n Network, answers: &str) -> Tested<Self> {
        Self::with(network, answers, "")
    }

    /// The same, and with these of the console.
    pub(crate) fn with(network: &'n Network, answers: &str, settings: &str) -> Tested<Self> {
        let scene = SignedScene::new(network, &format!("origins = [\"{ORIGIN}\"]\n{answers}"));
        let state = scene.daemon.dir().join("console");
        fs::create_dir(&state)?;
        chown(&state, Some(COURIER), Some(COURIER))?;
        let config = scene.daemon.dir().join("console.toml");
        fs::write(&config, settings)?;
        let mut looked = Self {
            scene,
            http: Client::new(network.dev(), PORT),
            console: None,
            state,
            config,
        };
        looked.start()?;
        Ok(looked)
    }

    /// Starts the console, and waits until it serves.
    pub(crate) fn start(&mut self) -> Tested {
        let mut command = self.command(&[]);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        command.stderr(log);
        self.console = Some(Running::start(&mut command)?);
        guard_lab::eventually("it serves", || self.http.try_get("/login").is_ok())?;
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.state.with_extension("log")
    }

    /// What the console has said to the journal.
    pub(crate) fn said(&self) -> Tested<String> {
        Ok(fs::read_to_string(self.log_file())?)
    }

    /// What the console has in memory of its own, in KiB.
    pub(crate) fn memory(&self) -> Tested<u64> {
        let pid = self.console.as_ref().context("no console runs")?.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let own = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = own.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.context("no size of the process")?.parse()?)
    }

    /// Ends the console at once.
    pub(crate) fn kill(&mut self) {
        self.console = None;
    }

    /// The console has other settings when it starts again, and so has what it is started for.
    pub(crate) fn set(&self, settings: &str) -> Tested {
        fs::write(&self.config, settings)?;
        Ok(())
    }

    /// The console's program, for another verb.
    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let program = bins::for_everybody("guard-console", self.scene.daemon.tag()).unwrap();
        let mut command = self.scene.daemon.on_machine(COURIER, program);
        command
            .args([
                "--config",
                self.config.to_str().unwrap(),
                "--listen",
                "localhost:4827",
                "--origin",
                ORIGIN,
                "--socket",
            ])
            .arg(self.scene.daemon.socket())
            .arg("--state-dir")
            .arg(&self.state)
            .args(args);
        command
    }

    /// A link that logs somebody in once.
    pub(crate) fn link(&self, name: &str) -> Tested<String> {
        let mut login = Running::start(&mut self.command(&["login", name]))?;
        let link = login.line(PATIENCE)?;
        let link = link.strip_prefix(ORIGIN);
        Ok(link.context("no link to the console")?.to_owned())
    }

    /// Whether a link is made for that name.
    pub(crate) fn may_link(&self, name: &[&str]) -> bool {
        let mut command = self.command(&[&["login"], name].concat());
        let made = command.stdout(std::process::Stdio::null()).status();
        made.unwrap().success()
    }

    /// Logs alice in, and gives the cookie.
    pub(crate) fn log_in(&self) -> Tested<String> {
        self.log_in_as("alice")
    }

    pub(crate) fn log_in_as(&self, name: &str) -> Tested<String> {
        let link = self.link(name)?;
        let secret = link.strip_prefix("/login/").context("no link")?;
        let answer = self.http.form("/login", &format!("secret={secret}"), None);
        assert_eq!(answer.status, 303, "{}", answer.body);
        Ok(answer.cookie())
    }

    /// Enrols a passkey, as somebody with an invitation does.
    pub(crate) fn enrol(&self, name: &str, key: &Passkey) -> Tested {
        self.enrol_for(name, key, &agent())
    }

    /// The same, for another user's sessions.
    pub(crate) fn enrol_for(&self, name: &str, key: &Passkey, user: &str) -> Tested {
        let invite = ["approver", "invite", name, "--answers-for", user];
        let invited = self.scene.daemon.root(invite).json()?;
        let token = invited["invitation"].text()?;
        assert_eq!(invited["links"], json!([format!("{ORIGIN}/enrol/{token}")]));
        let page = self.http.get(&format!("/enrol/{token}"), None);
        assert!(page.body.contains(token), "{}", page.body);
        let made = json!({ "invitation": token, "id": key.id(), "public_key": key.public() });
        let presented = self.http.json("/enrol", &made, None);
        assert_eq!(presented.status, 200, "{}", presented.body);
        let again = self.http.json("/enrol", &made, None);
        assert_eq!(again.status, 403, "it counts once: {}", again.body);
        let page = self.http.get(&format!("/enrol/{token}"), None);
        assert_eq!(page.status, 403, "{}", page.body);
        for said in ["counts no more", "sudo guard approver invite NAME"] {
            assert!(page.body.contains(said), "{}", page.body);
        }
        let presented: Value = serde_json::from_str(&presented.body)?;
        let accept = ["approver", "accept", name, presented["fingerprint"].text()?];
        self.scene.daemon.root(accept).run()?.success()?;
        Ok(())
    }

    /// What the page of a question has guardd's bytes in, and where an answer goes.
    pub(crate) fn question(&self, cookie: &str, id: &str) -> (Value, String) {
        let place = self.place(cookie, id);
        let page = self.http.get(&place, Some(cookie));
        assert_eq!(page.status, 200, "{}", page.body);
        let bytes = page.between("data-question=\"", "\"");
        let asked = json!({ "question": bytes, "hash": self.scene.question(id)["hash"] });
        (asked, format!("{place}/answer"))
    }

    /// The page of a question, as the list links it.
    pub(crate) fn place(&self, cookie: &str, id: &str) -> String {
        let list = self.http.get("/", Some(cookie));
        let item = list.between(&format!("<li data-id=\"{id}\"><a href=\""), "\"");
        assert!(
            item.starts_with("/q/m-") || item.starts_with("/q/m%2D"),
            "{item}"
        );
        item
    }

    /// Hands an answer in.
    pub(crate) fn hand_in(&self, cookie: &str, place: &str, signed: &Value) -> Response {
        self.http.json(place, signed, Some(cookie))
    }
}
