//! A full disk where the console keeps who is logged in.

use std::{fs, os::unix::fs::chown};

use anyhow::Context as _;
use guard_lab::{Attempt, Json as _, Network, Production, SmallDisk, Tested, V4, exec};
use serde_json::json;

use super::{
    passkey::Passkey,
    scene::{Looked, ORIGIN},
};
use crate::signed::scene::COURIER;

#[test]
fn on_a_full_disk_nobody_logs_in_any_more_and_whoever_has_goes_on() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let mut looked = Looked::new(&network, "")?;
    looked.kill();
    let disk = SmallDisk::new(looked.state.clone())?;
    chown(&looked.state, Some(COURIER), Some(COURIER))?;
    looked.start()?;
    let alice = Passkey::new("alice");
    looked.enrol("alice", &alice)?;
    let cookie = looked.log_in()?;
    let link = looked.link("alice")?;
    let mut links = fs::read_dir(looked.state.join("logins"))?;
    // Whoever has a file open keeps its room: the session has not the link's.
    let _held = fs::File::open(links.next().context("no link is kept")??.path())?;
    disk.fill()?;

    let secret = link.rsplit('/').next().context("no secret")?;
    let form = format!("secret={secret}");
    let refused = looked.http.form("/login", &form, None);
    assert_eq!(refused.status, 500, "{}", refused.body);
    assert!(
        refused.body.contains("No session can be kept"),
        "{}",
        refused.body
    );
    assert!(refused.header("set-cookie").is_none());
    let refused = exec::output(&mut looked.command(&["login", "alice"]))?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("No space left on device"), "{said}");

    // Pages, a no and a yes want no disk.
    let mut shell = looked.scene.shell();
    let no = looked.scene.request(&mut shell, 1000);
    let hash = looked.question(&cookie, &no).0["hash"].clone();
    let place = looked.place(&cookie, &no);
    let body = format!("question={}", hash.text()?);
    let said = looked
        .http
        .form(&format!("{place}/no"), &body, Some(&cookie));
    assert_eq!(said.status, 303, "{}", said.body);
    let yes = looked.scene.request(&mut shell, 443);
    let (question, place) = looked.question(&cookie, &yes);
    let answer = looked
        .scene
        .answer(&question, "alice", &[("for", json!(60))]);
    let taken = looked.hand_in(&cookie, &place, &alice.sign(&answer, ORIGIN));
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(looked.scene.holes(), ["tcp/443"]);
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    looked
        .http
        .events(&cookie)
        .next(|event| event["connected"] == true);

    disk.empty()?;
    let again = looked.log_in()?;
    assert_eq!(looked.http.get("/", Some(&again)).status, 200);
    assert_eq!(looked.http.get("/", Some(&cookie)).status, 200);
    Ok(())
}
