//! Requests to a read-only destination: a signed yes is for one of them, and for one that was shown whole.

use guard_lab::{Json as _, Network, Tested};
use serde_json::json;

use super::scene::SignedScene;
use crate::proxy::scene::sending;

#[test]
fn a_write_passes_once_after_an_answer_that_somebody_signed() -> Tested {
    let (network, _production) = Network::with_production()?;
    // Times are not offered, for what was asked; for its path they are what there is.
    let scene = SignedScene::new(&network, "scopes = [\"one\", \"path\"]");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    shell.tell("exec bash -c 'echo in bash; exec bash'")?;
    shell.line_with("in bash")?;
    let mut passes = |body: &str| -> Tested<_> {
        shell.tell(&sending("POST", "/albums", body))?;
        let status = shell.line_with("HTTP/1.1")?;
        shell.line_with("ended")?;
        Ok(status.contains(" 200 "))
    };
    let last = || {
        let pending = scene.daemon.json(["pending"]).unwrap();
        let last = pending.as_array().unwrap().last().unwrap().clone();
        last["id"].as_str().unwrap().to_owned()
    };
    assert!(!passes(&"x".repeat(3000))?);
    let long = scene.yes(&alice, "alice", &last(), &[])?;
    scene.refused(&long, "does not show all")?;
    assert!(!passes("new")?);
    let id = last();
    let question = scene.question(&id)["question"].text()?.to_owned();
    for shown in [
        "POST http://photos.example.com/albums",
        "3 bytes: new",
        "path=/albums",
    ] {
        assert!(question.contains(shown), "{shown}: {question}");
    }
    let writes = scene.yes(&alice, "alice", &id, &[("scope", json!("writes"))])?;
    scene.refused(&writes, "is not offered")?;
    scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
    let hole = scene.daemon.json(["holes"])?[0].clone();
    assert_eq!(
        (&hole["opened_by"], &hole["http"]["requests_left"]),
        (&json!("alice"), &json!(1))
    );
    assert!(!passes("old")? && passes("new")? && !passes("new")?);
    // All with its path, by what was offered.
    let path = &[("scope", json!("path")), ("requests", json!(2))];
    scene.taken(&scene.yes(&alice, "alice", &last(), path)?)?;
    assert!(passes("new")? && passes("other")? && !passes("more")?);
    Ok(())
}
