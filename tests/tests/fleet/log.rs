//! Audit logs over NATS: each record out once and in its order, whatever is killed or lost on the way.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Stdio};

use anyhow::Context as _;
use guard_lab::{Attempt, Json as _, Network, PATIENCE, Running, Tested, V4, eventually, exec};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    client::Client,
    scene::{Fleet, GROUP, PERSON, lines, with_witness},
    shown,
};
use crate::signed::scene::COURIER;
use crate::together::in_turn;

/// What the machine has written, in all files, the oldest first.
fn written(fleet: &Fleet<'_>) -> Tested<Vec<Value>> {
    let current = fleet.scene.daemon.audit();
    let aside = aside(fleet);
    let mut text = fs::read_to_string(&aside).unwrap_or_default();
    text.push_str(&fs::read_to_string(current)?);
    lines(&text)
}

fn aside(fleet: &Fleet<'_>) -> PathBuf {
    fleet.scene.daemon.audit().with_extension("jsonl.1")
}

/// What the servers have.
fn kept(fleet: &Fleet<'_>) -> Tested<Vec<Value>> {
    let said = fleet.said("person", &["log", "--json"])?;
    let kept = lines(&said)?.into_iter();
    Ok(kept.map(|mut line| line["record"].take()).collect())
}

pub(super) fn is_all_kept(fleet: &Fleet<'_>) -> Tested {
    let mut last = String::new();
    let all = eventually("all is kept, once and in order", || {
        let (Ok(written), Ok(kept)) = (written(fleet), kept(fleet)) else {
            return false;
        };
        last = format!("{} are written, and kept are {kept:?}", written.len());
        written == kept
    });
    Ok(all.map_err(|error| error.context(last))?)
}

/// Has the machine write some.
pub(super) fn write(fleet: &Fleet<'_>) -> Tested {
    for _ in 0..3 {
        let id = ["--for", "60s", "--ports", "tcp/1000", "--session"];
        let shell = fleet.scene.shell();
        let open = fleet.scene.daemon.root(["open", "192.0.2.10"]);
        open.args(id).args([shell.session()]).run()?.success()?;
    }
    Ok(())
}

fn verified(fleet: &Fleet<'_>) -> Tested<(Option<i32>, Value)> {
    let mut command = fleet.command("person", &["log", "--verify", "--json"])?;
    let ended = exec::output(&mut command)?;
    let said = String::from_utf8_lossy(&ended.stdout);
    let found = lines(&said)?;
    assert_eq!(
        found.len(),
        1,
        "{said} {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok((ended.status.code(), found[0].clone()))
}

pub(super) fn is_whole(fleet: &Fleet<'_>) -> Tested {
    let (code, found) = verified(fleet)?;
    assert_eq!(
        (code, &found["whole"]),
        (Some(0), &Value::Bool(true)),
        "{found}"
    );
    assert_eq!(found["doubles"], 0, "{found}");
    assert_eq!(found["machine"], fleet.machine);
    Ok(())
}

fn findings(fleet: &Fleet<'_>) -> Tested<Vec<Value>> {
    let (code, found) = verified(fleet)?;
    assert_eq!(code, Some(1), "{found}");
    Ok(found["findings"].list()?.clone())
}

/// A machine whose log one server keeps, and who keeps the list beside it.
struct Kept<'n> {
    fleet: Fleet<'n>,
    keeper: Running,
}

/// All of them leave a whole log but for the last.
#[test]
fn each_record_is_kept_once_whatever_is_killed_or_lost_and_what_is_gone_is_told() -> Tested {
    let network = Network::new()?;
    let (fleet, keeper) = Fleet::keeping(&network, 1)?;
    let mut kept = Kept { fleet, keeper };
    in_turn!(
        &mut kept;
        each_record_is_kept_once_and_in_order_also_when_guard_fleet_is_killed,
        a_machine_that_is_listed_and_has_sent_nothing_is_told,
        what_servers_lose_is_sent_again,
        a_stream_that_is_deleted_is_made_anew_and_all_is_sent_again,
        while_servers_are_away_nothing_is_lost_and_what_is_gone_is_told,
    )
}

fn each_record_is_kept_once_and_in_order_also_when_guard_fleet_is_killed(
    of: &mut Kept<'_>,
) -> Tested {
    let fleet = &mut of.fleet;
    is_all_kept(fleet)?;
    is_whole(fleet)?;
    let cursor = fleet.dir().join("machine/log.cursor");
    // It is written once the server has answered.
    eventually("it knows what is kept", || Ok(cursor.exists()))?;
    let early = fs::read(&cursor)?;

    // While it is away, it all goes on.
    fleet.kill();
    write(fleet)?;
    fleet.start()?;
    is_all_kept(fleet)?;

    // As if it was killed after the server had kept records, and before that was written down.
    for at in [Some(early), None] {
        fleet.kill();
        match at {
            Some(early) => fs::write(&cursor, early)?,
            None => fs::remove_file(&cursor)?,
        }
        write(fleet)?;
        fleet.start()?;
        is_all_kept(fleet)?;
    }
    is_whole(fleet)?;

    // guardd may be restarted.
    fleet.scene.daemon.kill()?;
    fleet.scene.daemon.start()?;
    write(fleet)?;
    is_all_kept(fleet)?;
    is_whole(fleet)?;
    let status = fleet.said("person", &["status", "--json"])?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(status["logs"]["machines"], 1, "{status}");
    assert_eq!(status["logs"]["problems"], 0, "{status}");
    // A server that may lose them is named.
    let server = status["server"].as_str().context("no version")?;
    let text = fleet.said("person", &["status"])?;
    let is_old = ["2.9.", "2.8."].iter().any(|old| server.starts_with(old));
    assert!(!is_old || text.contains(&format!("nats-server {server}, which may lose")));
    Ok(())
}

fn what_servers_lose_is_sent_again(of: &mut Kept<'_>) -> Tested {
    let fleet = &mut of.fleet;
    write(fleet)?;
    is_all_kept(fleet)?;
    fleet.nats.kill(0);
    fleet.nats.lose(0)?;
    write(fleet)?;
    fleet.nats.start_again(0)?;
    is_all_kept(fleet)?;
    is_whole(fleet)
}

fn while_servers_are_away_nothing_is_lost_and_what_is_gone_is_told(of: &mut Kept<'_>) -> Tested {
    let fleet = &mut of.fleet;
    is_all_kept(fleet)?;
    fleet.nats.kill(0);
    write(fleet)?;
    rotate(fleet)?;
    write(fleet)?;
    fleet.nats.start_again(0)?;
    is_all_kept(fleet)?;
    is_whole(fleet)?;

    // A file that was removed before it was sent.
    fleet.stop()?;
    let before = kept(fleet)?.len();
    write(fleet)?;
    rotate(fleet)?;
    let gone = lines(&fs::read_to_string(aside(fleet))?)?;
    fs::remove_file(aside(fleet))?;
    write(fleet)?;
    let last = written(fleet)?.pop().unwrap();
    fleet.start()?;
    eventually("the rest is kept", || {
        kept(fleet).is_ok_and(|kept| kept.contains(&last))
    })?;
    let found = findings(fleet)?;
    assert_eq!(found.len(), 1, "{found:?}");
    let gap = &found[0];
    assert_eq!(gap["kind"], "gap");
    assert_eq!(gap["from"], before as u64 + 1);
    assert_eq!(gap["to"], gone.last().unwrap()["number"]);
    assert!(gap["why"].is_string(), "the machine has said so: {gap}");
    Ok(())
}

/// As logrotate does.
fn rotate(fleet: &Fleet<'_>) -> Tested {
    let current = fleet.scene.daemon.audit();
    fs::rename(&current, aside(fleet))?;
    fleet.scene.daemon.signal(Signal::HUP)?;
    Ok(eventually("the log goes on in a new file", || {
        current.exists()
    })?)
}

#[test]
fn a_record_that_was_altered_and_a_log_that_was_removed_are_told() -> Tested {
    let network = Network::new()?;
    let (mut fleet, _keeper) = Fleet::keeping(&network, 1)?;
    is_all_kept(&fleet)?;
    fleet.stop()?;
    let before = written(&fleet)?.len() as u64;
    write(&fleet)?;
    let audit = fleet.scene.daemon.audit();
    let text = fs::read_to_string(&audit)?;
    let mut all: Vec<_> = text.lines().map(str::to_owned).collect();
    let victim = &mut all[before as usize + 1];
    let altered = victim.replacen("\"at\":\"20", "\"at\":\"19", 1);
    assert_ne!(*victim, altered);
    *victim = altered;
    // In place: guardd goes on in this file.
    fs::write(&audit, all.join("\n") + "\n")?;
    fleet.start()?;
    is_all_kept(&fleet)?;
    let found = findings(&fleet)?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["kind"], "altered");
    assert_eq!(found[0]["number"], before + 2);
    let text = exec::output(&mut fleet.command("person", &["log", "--verify"])?)?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("is not as it was written"), "{text}");

    // Root there removes it all: the servers have what was.
    let kept_before = kept(&fleet)?;
    let last = kept_before.last().unwrap()["number"].as_u64();
    // What guardd writes as it stops may not have gone out.
    fleet.scene.daemon.stop()?;
    fs::remove_file(&audit)?;
    fleet.scene.daemon.start()?;
    write(&fleet)?;
    eventually("the new one is kept beside it", || {
        let (kept, written) = (kept(&fleet)?, written(&fleet)?);
        Ok(kept.len() > kept_before.len() && kept.ends_with(&written))
    })?;
    let found = findings(&fleet)?;
    let back = found.iter().find(|one| one["kind"] == "went-back");
    let back = back.unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(back["number"], 1);
    assert!(back["after"].as_u64() >= last, "{back} {last:?}");
    Ok(())
}

/// `guard-fleet log --verify`, with more of a command line: how it ended, what it found of each machine, and what it said.
fn checked(fleet: &Fleet<'_>, more: &[&str]) -> Tested<(Option<i32>, Vec<Value>, String)> {
    let mut command = fleet.command("person", &["log", "--verify", "--json"])?;
    let ended = exec::output(command.args(more).stderr(Stdio::piped()))?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let found = lines(&String::from_utf8_lossy(&ended.stdout))?;
    Ok((ended.status.code(), found, said))
}

/// A machine's root writes into its log whom it likes as an approver: whoever keeps logs elsewhere has kept the keys there, too.
#[test]
fn signatures_are_checked_by_keys_that_were_kept_elsewhere() -> Tested {
    let network = Network::new()?;
    let (fleet, _keeper) = Fleet::keeping(&network, 1)?;
    let mut shell = fleet.scene.shell();
    let known = fleet.dir().join("approvers.toml");
    for (name, port) in [("alice", 1000), ("mallory", 1001)] {
        let key = fleet.scene.approver(name, &[])?;
        if name == "alice" {
            fs::copy(
                fleet.scene.daemon.state_dir().join("approvers.toml"),
                &known,
            )?;
        }
        let request = fleet.scene.request(&mut shell, port);
        let yes = fleet.scene.yes(&key, name, &request, &[])?;
        assert_eq!(fleet.scene.taken(&yes)?["answer"], "yes");
    }
    fs::set_permissions(&known, fs::Permissions::from_mode(0o644))?;
    is_all_kept(&fleet)?;
    let signed = |found: &[Value]| -> Vec<_> {
        let all = found[0]["signatures"].as_array().into_iter().flatten();
        all.map(|one| (one["by"].clone(), one["ok"].clone()))
            .collect()
    };
    let (code, found, said) = checked(&fleet, &["--signatures"])?;
    assert_eq!(code, Some(0), "{found:?} {said}");
    let both = [
        (json!("alice"), json!(true)),
        (json!("mallory"), json!(true)),
    ];
    assert_eq!(signed(&found), both, "by the log's own word");
    let file = known.to_str().context("no name")?;
    let (code, found, said) = checked(&fleet, &["--signatures", "--approvers", file])?;
    assert_eq!(code, Some(1), "{said}");
    let one = [
        (json!("alice"), json!(true)),
        (json!("mallory"), json!(false)),
    ];
    assert_eq!(signed(&found), one);
    fs::write(&known, "approver = 3\n")?;
    let (code, _, said) = checked(&fleet, &["--signatures", "--approvers", file])?;
    assert_eq!(code, Some(2));
    assert!(said.contains("lists no approvers"), "{said}");
    Ok(())
}

fn a_machine_that_is_listed_and_has_sent_nothing_is_told(of: &mut Kept<'_>) -> Tested {
    let fleet = &of.fleet;
    is_all_kept(fleet)?;
    let silent = format!("m-{}", "0".repeat(20));
    let listed = fs::read_to_string(fleet.list())?;
    let key = fleet.key("keeper")?;
    let more = |group: &str| {
        format!("{listed}[[machine]]\nid = \"{silent}\"\nkey = \"{key}\"\ngroup = \"{group}\"\n")
    };
    let file = fleet.dir().join("copy.list");
    let name = file.to_str().context("no name")?;
    let ids =
        |found: &[Value]| -> Vec<_> { found.iter().map(|one| one["machine"].clone()).collect() };
    for (text, code, machines) in [
        (listed.clone(), 0, vec![fleet.machine.clone()]),
        (more(GROUP), 1, vec![silent.clone(), fleet.machine.clone()]),
        // Of another group nobody asks here.
        (more("other"), 0, vec![fleet.machine.clone()]),
    ] {
        fs::write(&file, text)?;
        let (ended, found, said) = checked(fleet, &["--list", name])?;
        assert_eq!(
            (ended, ids(&found)),
            (Some(code), machines.into_iter().map(Value::from).collect()),
            "{said}"
        );
    }
    fs::write(&file, more(GROUP))?;
    let mut command = fleet.command("person", &["log", "--verify", "--list", name])?;
    let said = String::from_utf8(exec::output(&mut command)?.stdout)?;
    assert!(said.contains("nothing that it has sent is kept"), "{said}");
    let own = &fleet.machine[..8];
    assert_eq!(
        checked(fleet, &["--list", name, "--machine", own])?.0,
        Some(0)
    );
    Ok(())
}

#[test]
fn a_machine_speaks_for_itself_alone_and_nobody_reads_who_may_not() -> Tested {
    let network = Network::new()?;
    let (fleet, _keeper) = Fleet::keeping(&network, 1)?;
    is_all_kept(&fleet)?;
    let before = kept(&fleet)?.len();
    // The machine's key is another's from now on.
    let other = format!("m-{}", "0".repeat(20));
    fs::write(fleet.list(), fleet.listed(&other)?)?;
    eventually("the server knows", || {
        fs::read_to_string(fleet.nats.users(0)).is_ok_and(|users| users.contains(&other))
    })?;
    write(&fleet)?;
    // Its own word comes to nobody either. What it would say of it, it says in its log.
    eventually("it is away", || {
        fleet.machines().is_ok_and(|machines| machines.is_empty())
    })?;
    assert_eq!(kept(&fleet)?.len(), before);

    // Whom the list does not let read logs.
    let listed = fleet
        .listed(&fleet.machine)?
        .replace("log = true", "log = false");
    fs::write(fleet.list(), listed)?;
    eventually("nothing is read", || {
        let ended = exec::output(&mut fleet.command("person", &["log"])?)?;
        let said = String::from_utf8_lossy(&ended.stderr);
        Ok(ended.status.code() == Some(2) && said.contains("log = true"))
    })?;
    Ok(())
}

/// Makes a call, and prints the first answer.
const CALL: &str = r#"
import socket, sys

guardd = socket.socket(socket.AF_UNIX)
guardd.connect(sys.argv[1])
guardd.sendall(sys.argv[2].encode() + b"\0")
said = b""
while b"\0" not in said:
    part = guardd.recv(65536)
    if not part:
        sys.exit("guardd has closed it")
    said += part
print(said[: said.index(b"\0")].decode())
"#;

#[test]
fn a_courier_gets_the_log_that_the_settings_give_it_and_no_other() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    fleet.stop()?;
    fleet.settings_of_machine("log = true\n")?;
    fleet.start()?;
    fleet.is_there()?;
    // Of a server that keeps nothing it is told first.
    eventually("it says what is wrong", || {
        let machines = fleet.machines()?;
        Ok(machines[0]["log"]["problem"].is_string())
    })?;
    let call = r#"{"method":"org.guardd.Control.LogLines","parameters":{},"more":true}"#;
    let daemon = &fleet.scene.daemon;
    let script = daemon.write_for_agents("call.py", CALL)?;
    for (user, answer) in [
        (PERSON, "Refused"),
        (COURIER, "is not sent to this courier"),
        (0, "{\\\"at\\\":"),
    ] {
        let mut python = daemon.on_machine(user, "/usr/bin/python3");
        let said = exec::run(python.arg(&script).arg(daemon.socket()).arg(call))?;
        assert!(said.contains(answer), "{user}: {said}");
    }
    Ok(())
}

#[test]
fn one_of_three_servers_may_be_killed() -> Tested {
    let network = Network::new()?;
    let (mut fleet, _keeper) = Fleet::keeping(&network, 3)?;
    is_all_kept(&fleet)?;
    for number in [1, 2] {
        fleet.nats.kill(number);
        write(&fleet)?;
        is_all_kept(&fleet)?;
        fleet.nats.start_again(number)?;
    }
    // The first, too, beside which the list is kept.
    fleet.nats.kill(0);
    write(&fleet)?;
    is_all_kept(&fleet)?;
    fleet.nats.start_again(0)?;
    is_whole(&fleet)
}

#[test]
fn while_two_of_three_servers_are_away_nothing_is_kept_and_all_goes_on() -> Tested {
    let network = Network::new()?;
    let (mut fleet, _keeper) = Fleet::keeping(&network, 3)?;
    let key = fleet.scene.approver("alice", &[])?;
    is_all_kept(&fleet)?;
    // Each of them is once among those that go, so the machine's own is, too.
    for (away, port) in [([1, 2], 1000), ([0, 1], 1001)] {
        away.iter().for_each(|number| fleet.nats.kill(*number));
        write(&fleet)?;
        eventually("the machine says so", || {
            Ok(problem(&fleet).is_some_and(|why| why.contains("too few of the servers")))
        })?;
        // One server is enough for a question, and for its answer.
        let mut look = fleet.look()?;
        look.until(|line| line["state"] == "open")?;
        let mut shell = fleet.scene.shell();
        shell.begin(&Attempt::tcp(V4, port).timeout(PATIENCE))?;
        let text = format!("tcp/{port} ");
        let asked = look.until(|line| line["state"] == "open" && shown(line).contains(&text))?;
        let request = asked["request"].as_str().context("no request")?;
        let yes = fleet.scene.yes(&key, "alice", request, &[])?;
        let said = exec::run(&mut fleet.answer(request, &yes)?)?;
        assert_eq!(said, "yes: a hole is open\n");
        drop((look, shell));

        // With the second one there are enough.
        fleet.nats.start_again(away[0])?;
        is_all_kept(&fleet)?;
        fleet.nats.start_again(away[1])?;
        eventually("it is whole", || Ok(checked(&fleet, &[])?.0 == Some(0)))?;
        eventually("it says so no more", || problem(&fleet).is_none())?;
    }
    Ok(())
}

fn a_stream_that_is_deleted_is_made_anew_and_all_is_sent_again(of: &mut Kept<'_>) -> Tested {
    let Kept { fleet, keeper } = of;
    is_all_kept(fleet)?;
    // No key that guard-fleet gives rights may: one of the server's own settings does.
    fleet.home("witness")?;
    let key = fleet.key("witness")?;
    let file = fleet.dir().join("witness/key.nk");
    keeper.signal(Signal::STOP)?;
    let users = fs::read_to_string(fleet.nats.users(0))?;
    fleet.nats.reload(&with_witness(&users, &key))?;
    let side = fleet.scene.network.dev();
    let mut witness = None;
    eventually("the server knows the witness", || {
        // A server that reads its settings once more may drop it.
        let subscribed = || -> Tested<Client> {
            let mut client = Client::new(side, &fleet.nats, &key, &file)?;
            client.subscribe("_INBOX.witness.*")?;
            Ok(client)
        };
        witness = subscribed().ok();
        witness.is_some()
    })?;
    let mut witness = witness.context("not connected")?;
    // What is asked for while the server reads its settings is answered by nobody.
    let mut inboxes = (1..).map(|number| format!("_INBOX.witness.{number}"));
    let mut asked = |what: &str| -> Tested<Value> {
        let subject = format!("$JS.API.STREAM.{what}.GUARD_LOG");
        let inbox = inboxes.next().context("no inbox")?;
        let mut answer = None;
        eventually("the server answers", || {
            witness.publish(&subject, &inbox, "")?;
            let heard = witness.heard()?;
            answer = heard.into_iter().find(|one| one.subject == inbox);
            Ok(answer.is_some())
        })?;
        let answer = answer.context("no answer")?;
        Ok(serde_json::from_str(&answer.payload)?)
    };
    assert!(asked("INFO")?["state"]["messages"].as_u64() > Some(0));
    // It may have been done by an earlier try.
    asked("DELETE")?;
    assert!(asked("INFO")?["error"].is_object(), "it is gone");
    write(fleet)?;
    keeper.signal(Signal::CONT)?;
    is_all_kept(fleet)?;
    is_whole(fleet)
}

/// What the machine says of its log.
fn problem(fleet: &Fleet<'_>) -> Option<String> {
    let machines = fleet.machines().ok()?;
    let said = machines.first()?["log"]["problem"].as_str();
    said.map(str::to_owned)
}

#[test]
fn a_server_whose_disk_is_full_keeps_no_record_which_is_said_and_sent_later() -> Tested {
    let network = Network::new()?;
    let (mut fleet, _keeper) = Fleet::keeping(&network, 1)?;
    fleet.scene.approver("alice", &[])?;
    is_all_kept(&fleet)?;
    assert_eq!(problem(&fleet), None);
    fleet.nats.kill(0);
    fleet.nats.have_little(true);
    fleet.nats.start_again(0)?;
    is_all_kept(&fleet)?;
    fleet.nats.fill(0)?;
    // Until what the server had room for is used up.
    eventually("the machine says that its log does not go out", || {
        write(&fleet)?;
        Ok(problem(&fleet).is_some_and(|why| why.contains("keep") || why.contains("kept")))
    })?;
    let status = fleet.said("person", &["status"])?;
    assert!(status.contains("1 cannot send its own"), "{status}");
    // It carries questions all the same, whatever the server makes of what it cannot write.
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    drop(look);

    fleet.nats.kill(0);
    fleet.nats.have_little(false);
    fleet.nats.start_again(0)?;
    write(&fleet)?;
    is_all_kept(&fleet)?;
    is_whole(&fleet)?;
    eventually("it says so no more", || problem(&fleet).is_none())?;
    Ok(())
}

#[test]
fn of_a_machine_that_writes_more_than_is_kept_what_was_there_stays_and_the_rest_waits() -> Tested {
    let network = Network::new()?;
    let few = ["--log", "1h", "--log-records", "5"];
    let (fleet, keeper) = Fleet::keeping_by(&network, 1, &few)?;
    eventually("the machine says that there is no room", || {
        write(&fleet)?;
        Ok(problem(&fleet).is_some_and(|why| why.contains("maximum messages per subject")))
    })?;
    assert_eq!(kept(&fleet)?, written(&fleet)?[..5]);
    let list = fs::read_to_string(fleet.list())?;
    drop(keeper);
    let _keeper = fleet.keep_with(&list, &["--log", "1h"])?;
    is_all_kept(&fleet)?;
    is_whole(&fleet)?;
    Ok(())
}

#[test]
fn a_server_keeps_so_many_bytes_as_its_settings_say_and_drops_none_of_them() -> Tested {
    let network = Network::new()?;
    let (mut fleet, _keeper) = Fleet::keeping(&network, 1)?;
    is_all_kept(&fleet)?;
    let before = kept(&fleet)?.len();
    fleet.nats.kill(0);
    fleet.nats.keep_at_most("32KB")?;
    fleet.nats.start_again(0)?;
    eventually("the machine says that there is no room", || {
        write(&fleet)?;
        Ok(problem(&fleet).is_some_and(|said| said.contains("resources")))
    })?;
    let count = kept(&fleet)?.len();
    assert!(count > before, "{count}");
    assert_eq!(kept(&fleet)?, written(&fleet)?[..count]);

    fleet.nats.kill(0);
    fleet.nats.keep_at_most("256MB")?;
    fleet.nats.start_again(0)?;
    is_all_kept(&fleet)?;
    is_whole(&fleet)
}
