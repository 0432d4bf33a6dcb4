//! Answers that people sign elsewhere: over the bytes of guardd's question, by real keys, no matter who brings them.

mod conditions;
mod http;
mod killed;
mod people;
mod policies;
mod revoked;
pub(crate) mod scene;

use std::{fs, process::Command};

use guard_lab::{Attempt, Json as _, Network, PATIENCE, Tested, V4, Watcher, eventually};
use serde_json::{Value, json};

use crate::watch::terminal::Tmux;
use scene::{COURIER, SignedScene};

/// `guard question r1 --bytes | guard sign | guard answer --signed -`, with ssh-agent and a person at a terminal.
#[test]
fn a_connection_that_waits_goes_on_after_an_answer_that_somebody_signed() -> Tested {
    let (network, production) = Network::with_production()?;
    let outside = Attempt::tcp(V4, 443).outside(network.dev(), guard_lab::AGENT);
    assert!(outside?.ok);
    let scene = SignedScene::new(&network, "");
    let key = scene.approver("alice", &[])?;
    let _watcher = Watcher::start(&scene.daemon)?;
    let before = production.reached_at(V4, 443)?.len();
    let mut shell = scene.shell();
    shell.begin(&Attempt::tcp(V4, 443).timeout(PATIENCE))?;
    let mut held = Value::Null;
    eventually("it waits", || {
        held = scene.daemon.json(["pending"])?[0].clone();
        Ok(held["held"] == true)
    })?;
    assert_eq!(production.reached_at(V4, 443)?.len(), before);

    let id = held["id"].text()?;
    let bytes = scene.daemon.root(["question", id, "--bytes"]).run()?;
    assert_eq!(bytes.stdout, scene.question(id)["question"].text()?);
    let [question, answer] = ["question", "signed"].map(|name| scene.daemon.dir().join(name));
    fs::write(&question, &bytes.stdout)?;
    let tmux = Tmux::start(scene.daemon.dir());
    let window = tmux.window("alice");
    let guard = scene.daemon.program("guard")?;
    // By an agent that ends with the command.
    window.enter(&format!(
        "ssh-agent sh -c 'ssh-add {key}; {} sign --as alice --key {key}.pub < {} > {}'",
        guard.display(),
        question.display(),
        answer.display(),
        key = key.file.display(),
    ));
    let shown = window.expect("answer (Enter signs nothing):");
    assert!(shown.contains("wants tcp/443 at 192.0.2.10"), "{shown}");
    assert!(shown.contains("under the policy asks"), "{shown}");
    window.enter("2");
    eventually("it is signed", || {
        fs::metadata(&answer).is_ok_and(|file| file.len() > 0)
    })?;

    let signed: Value = serde_json::from_str(&fs::read_to_string(&answer)?)?;
    let taken = scene.taken(&signed)?;
    assert_eq!(taken["answer"], "yes");
    assert_eq!(taken["by"], "alice");
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    assert!(production.reached_at(V4, 443)?.len() > before);
    let answered = &scene.daemon.logged("answered")?[0];
    assert_eq!(answered["by"], "alice");
    assert_eq!(answered["seconds"], 300.0, "the second that was offered");
    assert_eq!(answered["from"]["right"], "signature");
    assert_eq!(answered["from"]["uid"], COURIER);
    assert_eq!(answered["signed"]["question"], bytes.stdout);
    assert_eq!(scene.daemon.logged("hole-open")?[0]["by"], "alice");
    scene.refused(&signed, "no question that is open here")?;
    Ok(())
}

#[test]
fn what_was_typed_before_the_question_was_shown_signs_nothing() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let key = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let request = scene.request(&mut shell, 443);
    let [question, gate, answer] =
        ["question", "gate", "signed"].map(|name| scene.daemon.dir().join(name));
    fs::write(&question, scene.question(&request)["question"].text()?)?;
    let tmux = Tmux::start(scene.daemon.dir());
    let window = tmux.window("alice");
    let guard = scene.daemon.program("guard")?;
    // The question comes when the file is there, as over a slow way.
    window.enter(&format!(
        "(echo waits >&2; while ! test -e {}; do sleep 0.05; done; cat {}) | {} sign --key {key}.pub > {}",
        gate.display(),
        question.display(),
        guard.display(),
        answer.display(),
        key = key.file.display(),
    ));
    window.expect("waits\n");
    window.enter("1");
    window.expect("\n1");
    fs::write(&gate, "")?;
    window.expect("answer (Enter signs nothing):");
    window.press(&["Enter"]);
    window.expect("nothing is signed");
    assert_eq!(fs::metadata(&answer)?.len(), 0);
    Ok(())
}

#[test]
fn whoever_signs_at_a_terminal_is_told_what_is_waited_for() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let tmux = Tmux::start(scene.daemon.dir());
    let window = tmux.window("alice");
    let guard = scene.daemon.program("guard")?;
    window.enter(&format!("{} sign", guard.display()));
    window.expect("Paste a question");
    window.press(&["C-c"]);
    Ok(())
}

#[test]
fn the_audit_log_shows_who_signed_what_without_guardd() -> Tested {
    let network = Network::new()?;
    let mut scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    for port in [443, 1000] {
        let id = scene.request(&mut shell, port);
        scene.taken(&scene.yes(&alice, "alice", &id, &[])?)?;
    }
    let id = scene.request(&mut shell, 1001);
    let no = scene.yes(&alice, "alice", &id, &[("verdict", json!("no"))])?;
    assert_eq!(scene.taken(&no)?["answer"], "no");
    let removed = scene.daemon.root(["approver", "remove", "alice"]).run();
    removed?.success()?;
    scene.daemon.stop()?;
    let audit = scene.daemon.audit();
    let verify = |args: &[&str]| -> Tested<_> {
        let mut guard = Command::new(guard_lab::bins::find("guard")?);
        let verified = guard.args(["log", "--verify", "--signatures", "--json"]);
        let verified = verified.args(args).arg(&audit).output()?;
        let found: Value = serde_json::from_slice(&verified.stdout)?;
        Ok((verified.status.code(), found))
    };
    let (code, found) = verify(&[])?;
    assert_eq!((code, &found["whole"]), (Some(0), &json!(true)), "{found}");
    let all = found["signatures"].list()?;
    let said: Vec<_> = all.iter().map(|one| (&one["answer"], &one["ok"])).collect();
    assert_eq!(
        said,
        [
            (&json!("yes"), &json!(true)),
            (&json!("yes"), &json!(true)),
            (&json!("no"), &json!(true))
        ]
    );
    assert_eq!(
        (&all[0]["by"], &all[0]["key"]),
        (&json!("alice"), &json!(alice.id))
    );
    assert!(
        all[0]["shown"][0].text()?.contains("tcp/443 at 192.0.2.10"),
        "{found}"
    );

    // Whoever writes the log again, with its chain, cannot write a signature.
    let other = scene.key("other")?;
    let public = fs::read_to_string(other.file.with_extension("pub"))?;
    let words: Vec<_> = public.split(' ').take(2).collect();
    let elsewhere = scene.daemon.dir().join("elsewhere.toml");
    let text = format!(
        "[[approver]]\nname = \"alice\"\nanswers_for = [\"a\"]\npolicies = [\"*\"]\n[[approver.key]]\nkind = \"ssh\"\npublic = \"{}\"\n",
        words.join(" ")
    );
    fs::write(&elsewhere, text)?;
    let (code, found) = verify(&["--approvers", elsewhere.to_str().unwrap()])?;
    assert_eq!((code, &found["whole"]), (Some(1), &json!(false)));
    let why = found["signatures"][0]["why"].text()?;
    assert!(why.contains("nobody is known to have that key"), "{why}");
    Ok(())
}

#[test]
fn two_answers_at_once_open_one_hole() -> Tested {
    let network = Network::new()?;
    let scene = SignedScene::new(&network, "");
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let signed = scene.yes(&alice, "alice", &id, &[])?.to_string();
    let file = scene.daemon.dir().join("signed");
    fs::write(&file, signed)?;
    let hand_in = || -> Tested<_> {
        let answer = scene.daemon.root(["answer", "--signed"]).args([&file]);
        Ok(answer.command()?.spawn()?)
    };
    let both = [hand_in()?, hand_in()?];
    let codes = both.map(|mut one| one.wait().unwrap().code());
    assert!(
        codes == [Some(0), Some(2)] || codes == [Some(2), Some(0)],
        "{codes:?}"
    );
    assert_eq!(scene.holes(), ["tcp/443"]);
    Ok(())
}
