//! What comes into reach beyond what is told one by one: decoys hide nothing where it is to be asked about.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::chown;

use guard_lab::{AGENT, Json as _, PATIENCE, Production, Running, Tested, V4, V6, eventually};
use serde_json::Value;

use super::discover::{ASKS, Project};
use crate::watch::terminal::Tmux;

/// More than are recorded.
const DECOYS: usize = 70;
const RECORDS: usize = 64;

/// A shell in a session without a terminal, which tries to reach what it is told.
struct Trying {
    session: Running,
    probe: String,
}

impl Trying {
    fn new(project: &Project) -> Tested<Self> {
        Ok(Self {
            session: project.in_session(&["--policy", "open", "--quiet", "--hold", "0s"])?,
            probe: project.lab.program("guard-lab")?,
        })
    }

    fn tries(&mut self, address: &str, port: u16) -> Tested<Value> {
        let probe = &self.probe;
        self.session
            .write(&format!("{probe} probe tcp {address} {port}\n"))?;
        let said = self.session.line_with("\"ok\":", PATIENCE)?;
        Ok(serde_json::from_str(&said)?)
    }

    fn is_stopped(&mut self, address: &str) -> Tested<bool> {
        let said = self.tries(address, 8080)?;
        let is_stopped = said["errno"] == "EPERM";
        assert_ne!(is_stopped, said["ok"] == true, "{said}");
        Ok(is_stopped)
    }
}

/// A file of the agent's own.
fn lay(project: &Project, file: &str, text: &str) -> Tested {
    let file = project.project.join(file);
    fs::write(&file, text)?;
    Ok(chown(&file, Some(AGENT), Some(AGENT))?)
}

fn decoys() -> String {
    (0..DECOYS).fold(String::new(), |mut all, at| {
        let _ = writeln!(all, "A{at}_URL=postgres://app:word@203.0.113.{at}/app");
        all
    })
}

/// Takes what leads to production out of a project.
fn taken(project: &Project) -> Tested<String> {
    let env = project.project.join(".env");
    let text = fs::read_to_string(&env)?;
    fs::remove_file(env)?;
    Ok(text)
}

#[test]
fn decoys_hide_what_comes_after_them_where_nobody_is_asked() -> Tested {
    let project = Project::new("")?;
    let _production = Production::start(&project.lab.network)?;
    let real = taken(&project)?;
    let mut shell = Trying::new(&project)?;
    lay(&project, ".env.decoys", &decoys())?;
    lay(&project, ".env", &real)?;
    for address in [V4, V6] {
        assert!(!shell.is_stopped(address)?, "{address}");
    }
    Ok(())
}

#[test]
fn decoys_have_each_new_connection_asked_about_where_the_settings_say_so() -> Tested {
    let mut project = Project::new(ASKS)?;
    let _production = Production::start(&project.lab.network)?;
    let real = taken(&project)?;
    let mut shell = Trying::new(&project)?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let watch = tmux.window_of("watch", 200, 40);
    watch.guard(&project.lab.daemon.agent(["watch"]));
    for address in [V4, V6] {
        assert!(!shell.is_stopped(address)?, "{address}");
    }
    lay(&project, ".env.decoys", &decoys())?;
    let is_all_asked = |project: &Project| -> Tested<bool> {
        Ok(project.lab.daemon.json(["sessions"])?[0]["all_asked"] == true)
    };
    eventually("each connection is asked about", || is_all_asked(&project))?;
    lay(&project, ".env", &real)?;
    // What a file names, and what none does.
    for address in [V4, V6] {
        assert!(shell.is_stopped(address)?, "{address}");
    }
    // Nobody is asked about this machine's own servers: there, nothing listens.
    assert_eq!(shell.tries("127.0.0.1", 9)?["errno"], "ECONNREFUSED");
    watch.expect("came into reach: all is asked about");
    let said = project.lab.root(&["sessions"])?.stdout;
    assert!(
        said.contains("each new connection is asked about"),
        "{said}"
    );
    is_logged_once(&project)?;
    // It outlives guardd.
    project.lab.daemon.stop()?;
    project.lab.daemon.start()?;
    assert!(is_all_asked(&project)? && shell.is_stopped(V4)?);
    let pending = project.lab.daemon.json(["pending"])?;
    let all = pending.list()?;
    assert_eq!(all.len(), 2, "{pending}");
    for one in all {
        assert_eq!(one["rule"], "in reach: more than is told", "{one}");
        let reason = one["reason"].text()?;
        assert!(reason.contains("until the command has ended"), "{one}");
        assert_eq!(one["policy"], "open", "{one}");
        project.lab.daemon.json(["approve", one["id"].text()?])?;
    }
    for address in [V4, V6] {
        assert!(!shell.is_stopped(address)?, "{address}");
    }
    asks_once_for_a_burst(&project, &mut shell)
}

#[test]
fn so_many_places_of_a_developers_that_one_is_not_read_have_all_asked_about() -> Tested {
    for (config, is_asked) in [("", false), (ASKS, true)] {
        let project = Project::new(config)?;
        let _production = Production::start(&project.lab.network)?;
        let real = taken(&project)?;
        let mut shell = Trying::new(&project)?;
        assert!(!shell.is_stopped(V4)?);
        let of_developers = (0..300).fold(String::new(), |mut all, at| {
            let _ = writeln!(
                all,
                "DEV{at}_URL=postgres://app:word@dev{at}.example.net/app"
            );
            all
        });
        lay(&project, ".env", &format!("{of_developers}{real}"))?;
        if is_asked {
            eventually("each connection is asked about", || {
                Ok(project.lab.daemon.json(["sessions"])?[0]["all_asked"] == true)
            })?;
            let said = project.lab.root(&["log"])?.stdout;
            assert!(said.contains("not all of .env is read"), "{said}");
        }
        assert_eq!(shell.is_stopped(V4)?, is_asked);
    }
    Ok(())
}

/// That there are more, once, however many records of a session the log leaves out.
fn is_logged_once(project: &Project) -> Tested {
    eventually("all are told", || {
        let count = &project.lab.daemon.json(["sessions"])?[0]["appeared"];
        Ok(*count == RECORDS + 1)
    })?;
    let records = project.appeared()?;
    assert!(records.len() <= RECORDS + 1, "{records:?}");
    let more = records.iter().filter(|one| one["more"] == true);
    let more: Vec<_> = more.collect();
    assert_eq!(more.len(), 1, "{more:?}");
    assert_eq!(more[0]["asks"], true, "{more:?}");
    assert_eq!(more[0]["file"], ".env.decoys", "{more:?}");
    Ok(())
}

fn asks_once_for_a_burst(project: &Project, shell: &mut Trying) -> Tested {
    for at in 100..120 {
        assert!(shell.is_stopped(&format!("198.51.100.{at}"))?);
    }
    let pending = project.lab.daemon.json(["pending"])?;
    let all = pending.list()?;
    assert_eq!(all.len(), 1, "{pending}");
    assert_eq!(all[0]["burst"]["count"], 20, "{pending}");
    Ok(())
}
