//! A browser where TLS has to show a name (`tls = "name"`): by its defaults it pretends to encrypt that name.

use std::{fs, os::unix::fs::chown, path::PathBuf, process::Command};

use guard_lab::{AGENT, Daemon, Tested, exec, mounts};

use crate::shown::scene::{DNS, FORGE, Looks, SHARED, SharedAddress, with};

/// Where Debian's Chromium reads what its machine's owner has set.
const SETTINGS: &str = "/etc/chromium";

struct Browsing {
    scene: SharedAddress,
    daemon: Daemon,
    home: PathBuf,
}

impl Browsing {
    fn new() -> Tested<Self> {
        let scene = SharedAddress::new()?;
        let daemon = scene.daemon(&with(), Looks::Proxy)?;
        let home = scene.file("home");
        fs::create_dir(&home)?;
        chown(&home, Some(AGENT), Some(AGENT))?;
        Ok(Self {
            scene,
            daemon,
            home,
        })
    }

    /// A line of shell that asks for the name, and then has the browser look at it.
    fn looks(&self) -> String {
        let (ask, home) = (self.scene.file("ask.py"), self.home.display());
        format!(
            "export HOME={home}; python3 {} {DNS} {FORGE} A connected; /usr/lib/chromium/chromium --headless --no-sandbox \
             --disable-gpu --disable-dev-shm-usage --no-first-run --disable-component-update --disable-background-networking \
             --user-data-dir=$(mktemp -d {home}/XXXXXX) --ignore-certificate-errors --host-resolver-rules='MAP {FORGE} {SHARED}' \
             --dump-dom https://{FORGE}/",
            ask.display()
        )
    }

    fn without(&self) -> Command {
        let mut sh = self.daemon.on_machine(AGENT, "sh");
        sh.args(["-c", &self.looks()]);
        sh
    }

    fn with(&self) -> Tested<Command> {
        let run = ["run", "--policy", "shared", "--", "sh", "-c", &self.looks()];
        Ok(self.daemon.agent(run).command()?)
    }

    /// Whether the page came, as its server says.
    fn came(&self, command: &mut Command) -> Tested<bool> {
        let visits = || {
            let log = self.scene.log();
            log.lines().filter(|line| line.starts_with("host ")).count()
        };
        let before = visits();
        let said = exec::output(command)?;
        let asked = String::from_utf8_lossy(&said.stdout);
        assert!(asked.contains("answer 0"), "{said:?}");
        Ok(visits() > before)
    }
}

#[test]
fn chromium_is_refused_until_it_is_set_to_pretend_nothing() -> Tested {
    let browsing = Browsing::new()?;
    assert!(browsing.came(&mut browsing.without())?, "without the guard");
    assert!(!browsing.came(&mut browsing.with()?)?);
    let log = browsing.daemon.root(["log"]).run()?.stdout;
    assert!(log.contains("Encrypted ClientHello"), "{log}");
    let settings = browsing.scene.file("chromium");
    fs::create_dir_all(settings.join("policies/managed"))?;
    fs::write(
        settings.join("policies/managed/ech.json"),
        r#"{ "EncryptedClientHelloEnabled": false }"#,
    )?;
    let set = |command: &Command| mounts::with_file(command, &settings, SETTINGS);
    assert!(browsing.came(&mut set(&browsing.with()?))?);
    Ok(())
}
