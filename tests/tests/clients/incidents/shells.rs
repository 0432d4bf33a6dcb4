//! Shells: ssh, and a server of it that runs nothing, but writes down what it was to run.

use std::fs;

use guard_lab::{Json as _, PATIENCE, Running, Tested, bins, eventually};

use super::laid::Play;
use super::played;
use super::scene::{Host, IncidentScene};

const HOSTS: [Host; 4] = [
    ("", "198.51.100.56"),
    ("", "198.51.100.71"),
    ("server.example.com", "192.0.2.41"),
    ("web.prod.example.com", "192.0.2.42"),
];

/// Where somebody goes as the incident's file says, what runs there, and the rule.
const RUN: [(&str, &str, &str, &str); 4] = [
    (
        "anthropics/claude-code#56506",
        "vps",
        "pm2 kill",
        "198.51.100.56 ssh",
    ),
    (
        "anthropics/claude-code#45523",
        "web",
        "docker compose up -d",
        "web.prod.example.com ssh",
    ),
    (
        "anthropics/claude-code#10678",
        "server",
        "sed -i s/8080/80/ /etc/app.conf",
        "server.example.com ssh",
    ),
    (
        "anthropics/claude-code#71131",
        "deploy@198.51.100.71",
        "echo TOKEN= >secrets.env",
        "198.51.100.71 ssh",
    ),
];

pub(super) fn plays() -> [Play; 4] {
    RUN.map(|(thread, host, command, rule)| Play {
        thread,
        done: format!(
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null {host} '{command}'"
        ),
        goes_on: None,
        rule,
        verdict: "confirm",
    })
}

#[test]
fn what_was_run_waits_for_a_person() -> Tested {
    let scene = IncidentScene::new(&HOSTS, &[])?;
    let log = scene.file("shells.log");
    let mut server = scene
        .network
        .prod()
        .command(bins::clients()?.join("usr/bin/shells"));
    let mut server = Running::start(server.arg(&log))?;
    server.line_with("listens", PATIENCE)?;
    played(&scene, &plays(), |laid, play| {
        let (mut session, id) = laid.session()?;
        let asked = laid.is_stopped(&mut session, &id, play)?;
        assert_eq!(fs::read_to_string(&log)?, "", "somebody has connected");
        // After a yes it is done, once more.
        let approve = ["approve", asked["request"].text()?];
        scene.daemon.root(approve).run()?.success()?;
        let mut unguarded = laid.unguarded()?;
        let shells = [&mut session, &mut unguarded];
        for (before, shell) in shells.into_iter().enumerate() {
            let done = shell.run(&play.done)?;
            assert_eq!(done.code, 0, "{done:?}");
            eventually("it ran there", || {
                Ok(fs::read_to_string(&log)?.matches("ran ").count() > before)
            })?;
        }
        fs::write(&log, "")?;
        Ok(())
    })
}
