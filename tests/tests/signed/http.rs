//! Requests to a read-only destination: a signed yes is for one of them, and for one that was shown whole.

use guard_lab::{Json as _, Network, Shell, Tested, V4};
use serde_json::json;

use super::scene::SignedScene;
use crate::proxy::scene::sending;

/// A session's shell that can send requests.
fn in_bash(scene: &SignedScene) -> Tested<Shell> {
    bash(scene.shell())
}

fn bash(mut shell: Shell) -> Tested<Shell> {
    shell.tell("exec bash -c 'echo in bash; exec bash'")?;
    shell.line_with("in bash")?;
    Ok(shell)
}

/// Whether a write passes.
fn post(shell: &mut Shell, path: &str, body: &str) -> Tested<bool> {
    passes(shell, &sending("POST", path, body))
}

fn passes(shell: &mut Shell, sent: &str) -> Tested<bool> {
    shell.tell(sent)?;
    let status = shell.line_with("HTTP/1.1")?;
    shell.line_with("ended")?;
    Ok(status.contains(" 200 "))
}

/// The latest request's id.
fn last(scene: &SignedScene) -> String {
    let pending = scene.daemon.json(["pending"]).unwrap();
    let last = pending.as_array().unwrap().last().unwrap().clone();
    last["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_write_passes_once_after_an_answer_that_somebody_signed() -> Tested {
    let (network, _production) = Network::with_production()?;
    // Times are not offered, for what was asked; for its path they are what there is.
    let scene = SignedScene::new(&network, "scopes = [\"one\", \"path\"]");
    let alice = scene.approver("alice", &[])?;
    let mut shell = in_bash(&scene)?;
    let mut passes = |body: &str| post(&mut shell, "/albums", body);
    let last = || last(&scene);
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

#[test]
fn what_is_wider_is_offered_by_itself() -> Tested {
    let (network, _production) = Network::with_production()?;
    let scene = SignedScene::new(&network, "scopes = [\"one\", \"writes\", \"read-only\"]");
    let alice = scene.approver("alice", &[])?;
    let mut shell = in_bash(&scene)?;
    assert!(!post(&mut shell, "/albums", "new")?);
    let two = scene.yes(&alice, "alice", &last(&scene), &[("requests", json!(2))])?;
    scene.refused(&two, "more than once")?;
    let path = scene.yes(&alice, "alice", &last(&scene), &[("scope", json!("path"))])?;
    scene.refused(&path, "is not offered")?;
    let writes = scene.yes(
        &alice,
        "alice",
        &last(&scene),
        &[("scope", json!("writes"))],
    )?;
    scene.taken(&writes)?;
    assert!(post(&mut shell, "/albums", "other")? && post(&mut shell, "/people", "third")?);
    let id = scene.request(&mut shell, 8080);
    let all = scene.yes(&alice, "alice", &id, &[("connections", json!(2))])?;
    scene.refused(&all, "more than once")?;
    let reads = &[("read_only", json!(true)), ("for", json!(60))];
    scene.taken(&scene.yes(&alice, "alice", &id, reads)?)?;
    let holes = scene.daemon.json(["holes"])?;
    let mut of = holes.list()?.iter();
    let hole = of.find(|one| one["ports"] == "tcp/8080");
    assert_eq!(hole.unwrap()["read_only"], true, "{holes}");
    Ok(())
}

/// Whoever asks chooses the URL.
#[test]
fn a_star_in_a_url_opens_no_other_path() -> Tested {
    let (network, _production) = Network::with_production()?;
    let scene = SignedScene::new(&network, "scopes = [\"one\", \"path\"]");
    let alice = scene.approver("alice", &[])?;
    let mut shell = in_bash(&scene)?;
    assert!(!post(&mut shell, "/albums/*", "new")?);
    let id = last(&scene);
    let asked = scene.question(&id)["question"].text()?.to_owned();
    let asked: serde_json::Value = serde_json::from_str(&asked)?;
    let offers = asked["offers"].list()?;
    assert!(offers.contains(&json!(r"path=/albums/\*")), "{asked}");
    let path = &[("scope", json!("path")), ("for", json!(60))];
    scene.taken(&scene.yes(&alice, "alice", &id, path)?)?;
    assert!(post(&mut shell, "/albums/*", "other")?);
    assert!(!post(&mut shell, "/albums/7", "new")?);
    Ok(())
}

/// What two names share, of which the address is the first's.
fn shared() -> String {
    format!(
        "version = 1\nname = \"shared\"\ndefault = \"allow\"\nhold = \"0s\"\n\
         [[rule]]\nname = \"staging\"\nto = [\"*.staging.example.com\", \"{V4}\"]\nports = [\"tcp/80\"]\n\
         action = \"read-only\"\nreason = \"nobody uses it\"\n\
         [[rule]]\nname = \"production\"\nto = [\"*.production.example.com\"]\nports = [\"tcp/80\"]\n\
         action = \"read-only\"\nreason = \"customers use it\"\n"
    )
}

/// Names share addresses: another rule may decide about the address, and take fewer.
#[test]
fn a_write_takes_as_many_people_as_the_rule_for_its_host() -> Tested {
    let (network, _production) = Network::with_production()?;
    let answers = "scopes = [\"one\", \"path\", \"writes\"]\napprovals = { \"prod*\" = 2 }";
    let scene = SignedScene::new(&network, answers);
    let (alice, bob) = (scene.approver("alice", &[])?, scene.approver("bob", &[])?);
    scene.daemon.write_policy("shared", &shared())?;
    let mut shell = bash(Shell::start(&scene.daemon, "shared")?)?;
    let mut post = |name: &str| {
        let sent = sending("POST", "/albums", "new").replace("photos.example.com", name);
        passes(&mut shell, &sent)
    };
    let staging = "a.staging.example.com";
    assert!(!post(staging)?);
    let one = scene.taken(&scene.yes(&alice, "alice", &last(&scene), &[])?)?;
    assert_eq!(one["answer"], "yes", "{one}");
    assert!(post(staging)?);
    // All that one host may be sent is not all that another may.
    assert!(!post(staging)?);
    let writes = &[("scope", json!("writes"))];
    scene.taken(&scene.yes(&alice, "alice", &last(&scene), writes)?)?;
    assert!(post(staging)? && post(staging)?);
    let hole = scene.daemon.json(["holes"])?[0].clone();
    assert_eq!(hole["http"]["host"], staging, "{hole}");

    let production = "a.production.example.com";
    assert!(!post(production)?);
    let id = last(&scene);
    let question = scene.question(&id)["question"].text()?.to_owned();
    for rule in ["production", "customers use it", "staging"] {
        assert!(question.contains(rule), "{rule}: {question}");
    }
    let part = scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
    let wanted = (&json!("part"), &json!(2));
    assert_eq!((&part["answer"], &part["wanted"]), wanted, "{part}");
    let both = scene.taken(&scene.yes(&bob, "bob", &id, &[])?)?;
    assert_eq!(both["answer"], "yes", "{both}");
    assert!(post(production)?);
    Ok(())
}
