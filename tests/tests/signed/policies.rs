//! Policies that people sign elsewhere, and the one of them that lies around each session.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use guard_lab::{
    AGENT, ALLOWS_NAMED, Attempt, Daemon, Json as _, Network, Output, PATIENCE, Production, Shell,
    SshKey, Stepped, Tested, Unowned, V4, eventually,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::scene::{COURIER, agent, answer_to};
use crate::crashes::scene::{Which, at_each_step, behind};

/// Another address of production.
const OTHER: &str = "192.0.2.20";
const NAMESPACE: &str = "policy@guardd.org";

/// One that lies around sessions: the first address is denied, the other asked about.
fn base(default: &str) -> String {
    format!(
        "version = 1\nname = \"floor\"\ndefault = \"{default}\"\n\
         [[rule]]\nname = \"never\"\nto = [\"{V4}\"]\naction = \"deny\"\nreason = \"the fleet says so\"\n\
         [[rule]]\nname = \"ask\"\nto = [\"{OTHER}\"]\naction = \"confirm\"\n"
    )
}

/// A guardd that takes policies from elsewhere, and production, which answers.
struct Fleet {
    daemon: Daemon,
    key: SshKey,
    _production: Production,
    network: Network,
}

impl Fleet {
    fn new(settings: &str) -> Tested<Self> {
        let (network, production) = Network::with_production()?;
        let mut daemon = Daemon::in_network(&network)
            .policy("open", ALLOWS_NAMED)
            .policy("p1", ALLOWS_NAMED)
            .policy("p2", ALLOWS_NAMED)
            .policy("p3", ALLOWS_NAMED)
            .prepare()?;
        let signers = daemon.dir().join("signers");
        daemon.write_config(&format!(
            "[answers]\ncouriers = [\"{COURIER}\"]\ncode = \"never\"\n[fleet]\ngroup = \"ci\"\nsigners = \"{}\"\n{settings}",
            signers.display()
        ))?;
        daemon.start()?;
        let key = SshKey::new(daemon.dir().join("alice"))?;
        let fleet = Self {
            daemon,
            key,
            _production: production,
            network,
        };
        fleet.may_sign(&[("alice", &fleet.key)])?;
        Ok(fleet)
    }

    fn may_sign(&self, people: &[(&str, &SshKey)]) -> Tested {
        let lines = people.iter().map(|(name, key)| {
            let public = fs::read_to_string(key.public())?;
            Ok(format!("{name} {public}"))
        });
        let lines = lines.collect::<Tested<String>>()?;
        fs::write(
            self.daemon.dir().join("signers"),
            format!("# Who may sign.\n\n{lines}"),
        )?;
        Ok(())
    }

    /// The bytes of a bundle.
    fn bundle(&self, serial: u64, base: Option<&str>, policies: &[(&str, &str)]) -> String {
        let policies: BTreeMap<_, _> = policies.iter().copied().collect();
        let (base, policies) = (json!(base), json!(policies));
        format!(
            r#"{{"base":{base},"groups":["ci","lab"],"policies":{policies},"serial":{serial},"v":1}}"#
        )
    }

    fn sign(&self, key: &SshKey, bundle: &str) -> Tested<Value> {
        Ok(key.sign(bundle, NAMESPACE)?["signature"].take())
    }

    /// Offers it, as the courier.
    fn offer(&self, signed: &Value) -> Tested<Output> {
        let offer = self
            .daemon
            .user(COURIER, ["policy", "offer", "-", "--json"]);
        Ok(offer.input(signed.to_string()).run()?)
    }

    /// Offers a bundle that is signed as it should be.
    fn takes(&self, bundle: &str) -> Tested<Value> {
        let signed = json!({"bundle": bundle, "signatures": [self.sign(&self.key, bundle)?]});
        Ok(self.offer(&signed)?.success()?.json()?)
    }

    /// With `base` around each session.
    fn takes_base(&self, serial: u64, text: &str) -> Tested<Value> {
        self.takes(&self.bundle(serial, Some("floor"), &[("floor", text)]))
    }

    /// That it stays out, and why.
    fn leaves_out(&self, signed: &Value, why: &str) -> Tested {
        let before = self.status()?;
        let out = self.offer(signed)?;
        assert_eq!(out.code(), Some(2), "{why}: {}", out.stdout);
        assert!(
            out.stderr.contains(why) || out.stdout.contains(why),
            "{why}: {out:?}"
        );
        let after = self.status()?;
        for field in ["serial", "base", "policies", "by"] {
            assert_eq!(before[field], after[field], "{why}");
        }
        Ok(())
    }

    fn status(&self) -> Tested<Value> {
        Ok(self.daemon.json(["status"])?["fleet"].clone())
    }

    fn shell(&self) -> Tested<Shell> {
        Ok(Shell::start(&self.daemon, "open")?)
    }

    /// A key of somebody who answers for the agent's sessions, under policies of such names.
    fn approver(&self, name: &str, policies: &str) -> Tested<SshKey> {
        let key = SshKey::new(self.daemon.dir().join(format!("{name}-key")))?;
        let user = agent();
        let add = ["approver", "add", name, "--plain", "--answers-for", &*user];
        let add = self.daemon.root(add).args(["--policy", policies]);
        let add = add.args(["--ssh-key"]).args([key.public()]);
        add.run()?.success()?;
        Ok(key)
    }

    /// Has somebody sign a yes to a question, and the courier hand it in.
    fn says_yes(&self, key: &SshKey, name: &str, question: &Value) -> Tested<Output> {
        let signed = key.sign(&answer_to(question, name, &[]), "answer@guardd.org")?;
        let answer = ["answer", "--signed", "-", "--json"];
        let answer = self.daemon.user(COURIER, answer).input(signed.to_string());
        Ok(answer.run()?)
    }

    /// A home of the agent's, and a project that has production's address.
    fn home_and_project(&self) -> Tested {
        let [home, project] = ["home", "project"].map(|name| self.daemon.dir().join(name));
        for dir in [&home, &project] {
            fs::create_dir_all(dir)?;
            chown(dir, Some(AGENT), Some(AGENT))?;
        }
        let url = format!("CACHE_URL=redis://:word@{V4}:8080\n");
        Ok(fs::write(project.join(".env"), url)?)
    }

    /// What `guard` says to the agent in that project.
    fn said(&self, args: &[&str]) -> Tested<Output> {
        let guard = self.daemon.agent(args.iter().copied());
        let guard = guard.env("HOME", self.daemon.dir().join("home"));
        let guard = guard.without(["XDG_CONFIG_HOME", "XDG_STATE_HOME"]);
        let mut command = guard.command()?;
        let output = command.current_dir(self.daemon.dir().join("project"));
        Ok(output.output()?.into())
    }
}

fn reaches(shell: &mut Shell, to: &str) -> Tested<bool> {
    Ok(shell.reaches(&Attempt::tcp(to, 443))?)
}

#[test]
fn it_lies_around_each_session_also_those_that_live_already() -> Tested {
    let fleet = Fleet::new("")?;
    let mut before = fleet.shell()?;
    assert!(reaches(&mut before, V4)? && reaches(&mut before, OTHER)?);
    assert_eq!(fleet.status()?["serial"], Value::Null);

    let done = fleet.takes_base(7, &base("allow"))?;
    assert_eq!(
        (&done["serial"], &done["base"], &done["by"]),
        (&json!(7), &json!("floor"), &json!(["alice"]))
    );
    let mut after = fleet.shell()?;
    for shell in [&mut before, &mut after] {
        assert!(!reaches(shell, V4)?, "denied");
        assert!(!reaches(shell, OTHER)?, "asked about");
    }
    let policies = fleet.daemon.json(["status"])?["policies"].clone();
    let of_fleet = policies.list()?.iter().find(|one| one["name"] == "floor");
    assert_eq!(of_fleet.expect("it is in force")["sessions"], 2);
    a_yes_opens_what_it_asks_about_and_nothing_what_it_denies(&fleet, &mut after)?;

    // A later one takes its place, and one without a base takes it away.
    fleet.takes_base(8, ALLOWS_NAMED)?;
    assert!(reaches(&mut before, V4)? && reaches(&mut after, V4)?);
    fleet.takes_base(9, &base("deny"))?;
    assert!(!reaches(&mut before, V4)?);
    fleet.takes(&fleet.bundle(10, None, &[("floor", &base("deny"))]))?;
    assert!(reaches(&mut before, V4)? && reaches(&mut after, V4)?);
    let loads = fleet.daemon.logged("policy-load")?;
    let serials: Vec<_> = loads
        .iter()
        .filter_map(|one| one["serial"].as_u64())
        .collect();
    assert_eq!(serials, [7, 8, 9, 10]);
    assert_eq!(
        loads.iter().find(|one| one["serial"] == 7).unwrap()["signed_by"],
        json!(["alice"])
    );
    Ok(())
}

fn a_yes_opens_what_it_asks_about_and_nothing_what_it_denies(
    fleet: &Fleet,
    after: &mut Shell,
) -> Tested {
    let pending = fleet.daemon.json(["pending"])?;
    let asked = pending
        .list()?
        .iter()
        .find(|one| one["session"] == after.session());
    let asked = asked.expect("it is asked about");
    assert_eq!(
        (&asked["policy"], &asked["rule"]),
        (&json!("floor"), &json!("ask"))
    );
    // And which policy the session runs under.
    let sessions = fleet.daemon.list(["sessions"])?;
    let own = sessions.iter().find(|one| one["id"] == after.session());
    assert_eq!(asked["own_policy"], own.unwrap()["policy"]);
    let text = fleet.daemon.root(["pending"]).run()?.stdout;
    assert!(text.contains("stopped by floor around it"), "{text}");
    let id = asked["id"].text()?;
    fleet.daemon.root(["approve", id]).run()?.success()?;
    assert!(reaches(after, OTHER)?);
    let refused =
        fleet
            .daemon
            .refused(["open", V4, "--session", after.session(), "--all-ports"])?;
    assert!(refused.contains("never"), "{refused}");
    assert!(!reaches(after, V4)?);
    for under in [["--session", after.session()], ["--policy", "open"]] {
        let said = fleet
            .daemon
            .json(["explain", V4].into_iter().chain(under))?;
        assert!(said.to_string().contains("the fleet says so"), "{said}");
    }

    // It is the outermost for what runs inside, too.
    let guard = fleet.daemon.program("guard")?;
    let inside = format!(
        "{} run --policy open -- {} probe tcp {V4} 443",
        guard.display(),
        fleet.daemon.program("guard-lab")?.display()
    );
    after.tell(&inside)?;
    assert!(after.line_with("\"ok\"")?.contains("\"ok\":false"));
    Ok(())
}

/// How many have to sign, and who may, the machine's own rule says as well, and the signer is shown it.
#[test]
fn a_base_that_asks_too_takes_nothing_from_the_machines_own_rule() -> Tested {
    let mut fleet = Fleet::new("")?;
    let own = format!(
        "version = 1\nname = \"prod\"\ndefault = \"allow\"\n\
         [[rule]]\nname = \"prod-db\"\nto = [\"{OTHER}\"]\naction = \"confirm\"\n"
    );
    fleet.daemon.write_policy("prod", &own)?;
    let config = fs::read_to_string(fleet.daemon.config())?;
    let two = "approvals = { \"prod-*\" = 2 }\n[fleet]";
    fleet.daemon.stop()?;
    fleet.daemon.write_config(&config.replace("[fleet]", two))?;
    fleet.daemon.start()?;
    fleet.takes_base(1, &base("allow"))?;
    let (bob, carol, dave) = (
        fleet.approver("bob", "floor")?,
        fleet.approver("carol", "*")?,
        fleet.approver("dave", "*")?,
    );
    let mut shell = Shell::start(&fleet.daemon, "prod")?;
    assert!(!reaches(&mut shell, OTHER)?);
    let asked = fleet.daemon.json(["pending"])?[0].take();
    assert_eq!(
        (
            &asked["policy"],
            &asked["rule"],
            &asked["beside"][0]["rule"]
        ),
        (&json!("floor"), &json!("ask"), &json!("prod-db")),
        "{asked}"
    );
    let question = fleet.daemon.json(["question", asked["id"].text()?])?;
    let shown = question["question"].text()?;
    assert!(shown.contains("prod-db"), "{shown}");
    let hand_in = |key: &SshKey, name: &str| fleet.says_yes(key, name, &question);
    let refused = hand_in(&bob, "bob")?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("the policy prod"), "{refused:?}");
    let first = hand_in(&carol, "carol")?.success()?.json()?;
    assert_eq!(
        (&first["answer"], &first["wanted"]),
        (&json!("part"), &json!(2)),
        "{first}"
    );
    assert!(fleet.daemon.list(["holes"])?.is_empty());
    let second = hand_in(&dave, "dave")?.success()?.json()?;
    assert_eq!(second["answer"], "yes", "{second}");
    assert!(reaches(&mut shell, OTHER)?);
    Ok(())
}

#[test]
fn what_a_base_alone_asks_about_takes_whoever_answers_for_that() -> Tested {
    let fleet = Fleet::new("")?;
    fleet.takes_base(1, &base("allow"))?;
    let bob = fleet.approver("bob", "floor")?;
    let carol = fleet.approver("carol", "open")?;
    let mut shell = fleet.shell()?;
    assert!(!reaches(&mut shell, OTHER)?);
    let asked = fleet.daemon.json(["pending"])?[0].take();
    assert_eq!(
        (&asked["policy"], &asked["own_policy"], &asked["beside"]),
        (&json!("floor"), &json!("open"), &json!([])),
        "{asked}"
    );
    let question = fleet.daemon.json(["question", asked["id"].text()?])?;
    let refused = fleet.says_yes(&carol, "carol", &question)?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("the policy floor"), "{refused:?}");
    let taken = fleet.says_yes(&bob, "bob", &question)?.success()?.json()?;
    assert_eq!(taken["answer"], "yes", "{taken}");
    assert!(reaches(&mut shell, OTHER)?);
    Ok(())
}

/// Where it says by default what a rule of the session's own policy says, that rule is named.
#[test]
fn a_rule_is_named_before_a_default_around_it() -> Tested {
    let fleet = Fleet::new("")?;
    let own = "version = 1\nname = \"web\"\ndefault = \"deny\"\n[[rule]]\nname = \"www\"\nto = [\"192.0.2.0/24\"]\naction = \"allow\"\n";
    fleet.daemon.write_policy("web", own)?;
    fleet.takes_base(1, ALLOWS_NAMED)?;
    let mut shell = Shell::start(&fleet.daemon, "web")?;
    assert!(reaches(&mut shell, OTHER)?);
    for under in [["--session", shell.session()], ["--policy", "web"]] {
        let args = ["explain", OTHER, "--ports", "tcp/443"];
        let said = fleet.daemon.json(args.into_iter().chain(under))?;
        assert_eq!(
            (&said["verdict"], &said["rule"], &said["policy"]),
            (&json!("allow"), &json!("www"), &json!("web")),
            "{said}"
        );
    }
    let flows = fleet.daemon.list(["flows"])?;
    let [flow] = <[_; 1]>::try_from(flows).unwrap();
    assert_eq!(
        (&flow["verdict"], &flow["rule"]),
        (&json!("allow"), &json!("www"))
    );
    let learned = fleet.daemon.json(["suggest", "--from-flows"])?;
    assert_eq!(learned["rules"][0]["to"], json!([OTHER]), "{learned}");
    Ok(())
}

/// What people ask the command line without starting anything judges as a session would be judged.
#[test]
fn what_people_ask_knows_of_the_policy_around() -> Tested {
    let mut fleet = Fleet::new("")?;
    let closed = "version = 1\nname = \"builds\"\ndefault = \"deny\"\n";
    let around = base("allow");
    let policies = [("floor", &*around), ("builds", closed)];
    fleet.takes(&fleet.bundle(1, Some("floor"), &policies))?;
    fleet.home_and_project()?;
    its_policies_are_told_as_the_fleets(&fleet, closed)?;

    // Under the machine's own policy it is open, and not in a session.
    let found = fleet.said(&["discover", "--policy", "open", "--json"])?;
    let found = found.json()?;
    assert_eq!(found["around"], "floor");
    let now = &found["items"][0]["now"];
    assert_eq!(
        (&now["verdict"], &now["rule"], &now["policy"]),
        (&json!("deny"), &json!("never"), &json!("floor"))
    );
    let is_clean = ["discover", "--policy", "open", "--check"];
    assert_eq!(fleet.said(&is_clean)?.code(), Some(0));
    let run = ["run", "--policy", "open", "--", "true"];
    let covered = "discover = { require = \"covered\" }\n";
    let config = fs::read_to_string(fleet.daemon.config())?;
    fleet.daemon.stop()?;
    fleet.daemon.write_config(&format!("{covered}{config}"))?;
    fleet.daemon.start()?;
    fleet.said(&run)?.success()?;
    fleet.takes_base(2, ALLOWS_NAMED)?;
    let refused = fleet.said(&run)?;
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("policy open with the fleet's floor around it"),
        "{refused:?}"
    );

    // Without guardd nobody knows, which is said.
    fleet.daemon.stop()?;
    for ask in [
        &["policy", "list"][..],
        &["discover", "--policy", "default"],
        &["explain", V4, "--policy", "default"],
        &["check", "default"],
        &["diff", "default", "homelab"],
    ] {
        let said = fleet.said(ask)?;
        assert!(said.stderr.contains("is left aside"), "{ask:?}: {said:?}");
    }
    Ok(())
}

fn its_policies_are_told_as_the_fleets(fleet: &Fleet, closed: &str) -> Tested {
    let listed = fleet
        .said(&["policy", "list", "--json"])?
        .success()?
        .json()?;
    let one = |name: &str| {
        let named = listed.as_array().into_iter().flatten();
        let mut named = named.filter(|one| one["name"] == name);
        named
            .next()
            .map(|one| (one["fleet"].clone(), one["around"].clone()))
    };
    assert_eq!(one("floor"), Some((json!(true), json!(true))), "{listed}");
    assert_eq!(one("builds"), Some((json!(true), json!(false))), "{listed}");
    assert_eq!(one("open"), Some((json!(false), json!(false))), "{listed}");
    let text = fleet.said(&["policy", "list"])?.success()?.stdout;
    assert!(text.contains("the fleet, around each session"), "{text}");
    let shown = fleet.said(&["policy", "show", "builds"])?.success()?;
    assert_eq!(shown.stdout, closed);
    let edit = fleet.said(&["policy", "edit", "builds"])?;
    assert!(edit.stderr.contains("it is the fleet's"), "{edit:?}");
    let checked = fleet.said(&["check", "builds", "floor"])?.success()?;
    assert!(
        checked.stdout.contains("policy builds, 0 rules"),
        "{checked:?}"
    );
    let differ = fleet.said(&["diff", "open", "builds", "--json"])?;
    let differ: Value = serde_json::from_str(&differ.stdout)?;
    let held: Vec<_> = differ["changes"].list()?.iter().collect();
    assert!(held.iter().all(|one| one["held_by"].is_null()), "{differ}");
    Ok(())
}

/// A hole that a person opened before lets nothing through once the fleet denies it, and is not shown as if it did.
#[test]
fn a_hole_that_the_fleet_shuts_is_said_to_be_shut() -> Tested {
    let fleet = Fleet::new("")?;
    let ask = base("confirm").replace("\"deny\"", "\"confirm\"");
    fleet.takes_base(1, &ask)?;
    let mut shell = fleet.shell()?;
    let open = ["open", V4, "--session", shell.session(), "--all-ports"];
    fleet.daemon.root(open).run()?.success()?;
    assert!(reaches(&mut shell, V4)?);
    assert_eq!(fleet.daemon.json(["holes"])?[0]["shut_by"], Value::Null);
    fleet.takes_base(2, &base("confirm"))?;
    assert!(!reaches(&mut shell, V4)?);
    let holes = fleet.daemon.json(["holes"])?;
    assert_eq!(holes[0]["shut_by"], "rule never of floor");
    let text = fleet.daemon.root(["holes"]).run()?.success()?.stdout;
    assert!(text.contains("lets nothing through now"), "{text}");
    Ok(())
}

/// `guard log`, and with it `guard watch` and the console's log, say that it was the fleet's policy.
#[test]
fn what_the_fleet_stops_is_said_to_be_stopped_by_its_policy() -> Tested {
    let fleet = Fleet::new("")?;
    let mut shell = fleet.shell()?;
    fleet.takes_base(1, &base("deny"))?;
    // By a rule of the fleet's, by its default, and by both policies, of which the outermost is named.
    for to in [V4, "192.0.2.30"] {
        assert!(!reaches(&mut shell, to)?);
    }
    let mut denied = Vec::new();
    eventually("both are written down", || {
        denied = fleet.daemon.logged("denied")?;
        Ok(denied.len() >= 2)
    })?;
    assert_eq!(
        (&denied[0]["rule"], &denied[0]["policy"]),
        (&"never".into(), &"floor".into()),
        "{denied:?}"
    );
    assert_eq!(
        (&denied[1]["rule"], &denied[1]["policy"]),
        (&Value::Null, &"floor".into()),
        "{denied:?}"
    );
    let text = fleet.daemon.root(["log"]).run()?.success()?.stdout;
    for said in ["rule never of floor (deny)", "default of floor (deny)"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // And so says guard why inside.
    shell.tell(&format!("{} why", fleet.daemon.program("guard")?.display()))?;
    shell.line_with("never of floor: the fleet says so")?;
    // What a session's own policy stops is its own.
    fleet.takes_base(2, ALLOWS_NAMED)?;
    fleet.daemon.write_policy(
        "closed",
        "version = 1\nname = \"closed\"\ndefault = \"deny\"\n",
    )?;
    let mut closed = Shell::start(&fleet.daemon, "closed")?;
    assert!(!reaches(&mut closed, V4)?);
    eventually("it is written down", || {
        denied = fleet.daemon.logged("denied")?;
        Ok(denied.len() >= 3)
    })?;
    assert!(denied[2].get("policy").is_none(), "{denied:?}");
    Ok(())
}

/// Settings by which nothing can ever come are not silent until somebody offers something.
#[test]
fn what_a_machine_lacks_is_said_before_anything_is_offered() -> Tested {
    let mut fleet = Fleet::new("")?;
    let signers = fleet.daemon.dir().join("signers");
    let said = |fleet: &Fleet| -> Tested<(String, String)> {
        let status = fleet.daemon.json(["status"])?["warnings"].to_string();
        let rows = fleet
            .daemon
            .root(["doctor", "--all", "--json"])
            .run()?
            .json()?;
        let rows = rows.list()?.iter();
        let mut rows = rows.filter(|row| row["check"] == "the fleet's policies");
        let row = rows.next().map(ToString::to_string).unwrap_or_default();
        Ok((status, row))
    };
    let (status, row) = said(&fleet)?;
    assert!(!status.contains("policies of the fleet"), "{status}");
    assert!(row.contains("\"ok\":true"), "{row}");
    fs::rename(&signers, signers.with_extension("away"))?;
    let (status, row) = said(&fleet)?;
    for text in [&status, &row] {
        assert!(text.contains("who may sign is not known"), "{text}");
    }
    fleet.daemon.stop()?;
    fleet.daemon.start()?;
    assert!(fleet.daemon.log().contains("who may sign is not known"));
    fs::rename(signers.with_extension("away"), &signers)?;
    let (status, _) = said(&fleet)?;
    assert!(!status.contains("policies of the fleet"), "{status}");

    let config = fs::read_to_string(fleet.daemon.config())?;
    fleet.daemon.stop()?;
    fleet
        .daemon
        .write_config(&config.replace("group = \"ci\"\n", ""))?;
    fleet.daemon.start()?;
    let (status, row) = said(&fleet)?;
    for text in [&status, &row, &fleet.daemon.log()] {
        assert!(text.contains("names no group"), "{text}");
    }
    Ok(())
}

#[test]
fn what_was_taken_stands_after_guardd_was_killed_and_is_verified_again() -> Tested {
    let mut fleet = Fleet::new("")?;
    let mut shell = fleet.shell()?;
    fleet.takes_base(3, &base("allow"))?;
    fleet.daemon.kill()?;
    assert!(!reaches(&mut shell, V4)?, "the kernel has it");
    fleet.daemon.start()?;
    assert!(!reaches(&mut shell, V4)?);
    assert!(!reaches(&mut fleet.shell()?, V4)?);
    assert_eq!(fleet.status()?["serial"], 3);
    // A session that began before the fleet was named, and a guardd that learns of it at its start.
    assert!(reaches(&mut shell, "192.0.2.30")?);

    // Whoever signed may not sign any more: nothing of it is believed, and nothing starts without it.
    let other = SshKey::new(fleet.daemon.dir().join("bob"))?;
    fleet.may_sign(&[("bob", &other)])?;
    fleet.daemon.stop()?;
    fleet.daemon.start()?;
    assert!(!reaches(&mut shell, V4)?, "what lives stays under it");
    let run = ["run", "--policy", "open", "--", "true"];
    let refused = fleet.daemon.agent(run).run()?;
    assert_eq!(refused.code(), Some(125));
    assert!(
        refused.stderr.contains("cannot be verified any more"),
        "{refused:?}"
    );
    let status = fleet.daemon.json(["status"])?;
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("policies of the fleet"), "{warnings}");
    assert!(warnings.contains("guard policy offer BUNDLE"), "{warnings}");
    // No newer text of any policy was refused.
    let policies = status["policies"].list()?;
    assert!(!policies.is_empty(), "{status}");
    for policy in policies {
        assert_eq!(policy["error"], Value::Null, "{policy}");
    }
    assert!(!warnings.contains("cannot be used"), "{warnings}");
    // Nor is an older one, no matter who signs it now.
    let old = fleet.bundle(2, None, &[]);
    let signed = json!({"bundle": old, "signatures": [fleet.sign(&other, &old)?]});
    fleet.leaves_out(&signed, "their serial is 2")?;
    let new = fleet.bundle(4, Some("floor"), &[("floor", &base("allow"))]);
    let signed = json!({"bundle": new, "signatures": [fleet.sign(&other, &new)?]});
    fleet.offer(&signed)?.success()?;
    assert!(!reaches(&mut fleet.shell()?, V4)?);
    assert!(reaches(&mut fleet.shell()?, "192.0.2.30")?);

    // Root leaves the fleet.
    fleet.daemon.stop()?;
    fleet.daemon.write_config("")?;
    fleet.daemon.start()?;
    assert!(reaches(&mut shell, V4)?);
    assert_eq!(fleet.daemon.json(["status"])?["fleet"], Value::Null);
    Ok(())
}

#[test]
fn what_no_session_owns_is_under_it_too() -> Tested {
    let mut fleet = Fleet::new("")?;
    let config = fs::read_to_string(fleet.daemon.config())?;
    fleet.daemon.stop()?;
    let default = format!("default_policy = \"open\"\n{config}");
    fleet.daemon.write_config(&default)?;
    fleet.daemon.start()?;
    let unowned = Unowned::new(&fleet.daemon)?;
    let open = |to: &str| Ok::<_, anyhow::Error>(unowned.attempt(&Attempt::tcp(to, 443))?.ok);
    assert!(open(V4)? && open("192.0.2.30")?);
    fleet.takes_base(1, &base("allow"))?;
    assert!(!open(V4)? && open("192.0.2.30")?);
    fleet.daemon.kill()?;
    fleet.daemon.start()?;
    assert!(!open(V4)? && open("192.0.2.30")?);
    fleet.takes(&fleet.bundle(2, None, &[]))?;
    assert!(open(V4)?);
    Ok(())
}

#[test]
fn what_is_not_signed_by_those_who_may_stays_out() -> Tested {
    let fleet = Fleet::new("")?;
    let mut shell = fleet.shell()?;
    fleet.takes_base(5, &base("allow"))?;
    let eve = SshKey::new(fleet.daemon.dir().join("eve"))?;
    let open = fleet.bundle(6, Some("floor"), &[("floor", ALLOWS_NAMED)]);
    let by = |key: &SshKey, bundle: &str| -> Tested<Value> {
        Ok(json!({"bundle": bundle, "signatures": [fleet.sign(key, bundle)?]}))
    };
    fleet.leaves_out(
        &json!({"bundle": open, "signatures": []}),
        "0 of the people",
    )?;
    fleet.leaves_out(&by(&eve, &open)?, "0 of the people")?;
    let listed = fleet.daemon.json(["status"])?;
    let refused = listed["fleet"]["problem"].text()?;
    assert!(refused.contains("not listed: SHA256:"), "{refused}");
    assert!(listed["fleet"]["refused_at"].is_string(), "{listed}");
    let warnings = listed["warnings"].to_string();
    assert!(warnings.contains("(offered just now)"), "{warnings}");
    let of_answers = fleet.key.sign(&open, "answer@guardd.org")?["signature"].take();
    let signed = json!({"bundle": open, "signatures": [of_answers]});
    fleet.leaves_out(&signed, "another purpose")?;
    let mut altered = by(&fleet.key, &open)?;
    altered["bundle"] = json!(open.replace("\"serial\":6", "\"serial\":7"));
    fleet.leaves_out(&altered, "not of these bytes")?;
    let spaced = format!("{open} ");
    fleet.leaves_out(&by(&fleet.key, &spaced)?, "canonical")?;
    let again = fleet.bundle(5, Some("floor"), &[("floor", ALLOWS_NAMED)]);
    fleet.leaves_out(&by(&fleet.key, &again)?, "their serial is 5")?;
    let elsewhere = open.replace("[\"ci\",\"lab\"]", "[\"lab\"]");
    fleet.leaves_out(&by(&fleet.key, &elsewhere)?, "other groups")?;
    let without = fleet.bundle(6, Some("floor"), &[("other", ALLOWS_NAMED)]);
    fleet.leaves_out(&by(&fleet.key, &without)?, "no bundle of policies")?;
    // All of it or nothing: one of two is no policy.
    let halves = [
        ("floor", ALLOWS_NAMED),
        ("wrong", "version = 1\ndefault = \"perhaps\"\n"),
    ];
    let half = fleet.bundle(6, Some("floor"), &halves);
    fleet.leaves_out(&by(&fleet.key, &half)?, "wrong.toml is not valid")?;
    // A list that others may write is nobody's.
    let signers = fleet.daemon.dir().join("signers");
    fs::set_permissions(&signers, fs::Permissions::from_mode(0o666))?;
    fleet.leaves_out(&by(&fleet.key, &open)?, "not root's alone")?;
    fs::set_permissions(&signers, fs::Permissions::from_mode(0o644))?;
    // Nor one that a link of somebody else's leads to.
    let (list, dir) = (fs::read(&signers)?, fleet.daemon.dir().join("theirs"));
    fs::create_dir(&dir)?;
    fs::write(dir.join("list"), &list)?;
    chown(&dir, Some(61237), None)?;
    fs::remove_file(&signers)?;
    symlink(dir.join("list"), &signers)?;
    fleet.leaves_out(&by(&fleet.key, &open)?, "not root's alone")?;
    fs::remove_file(&signers)?;
    fs::write(&signers, &list)?;
    assert!(!reaches(&mut shell, V4)?);
    let refused = fleet.daemon.logged("policy-load")?;
    // Whoever may offer fills no log.
    let told = refused
        .iter()
        .filter(|one| one["error"].is_string())
        .count();
    assert!((1..9).contains(&told), "{refused:?}");
    assert!(fleet.status()?["problem"].is_string());

    // Who may not offer: a user who is no courier, and whatever runs inside.
    let signed = by(&fleet.key, &open)?.to_string();
    let offer = ["policy", "offer", "-"];
    let refused = fleet.daemon.user(61237, offer).input(&signed).refused()?;
    assert!(refused.contains("only root"), "{refused}");
    let file = fleet.daemon.write_for_agents("bundle", &signed)?;
    let guard = fleet.daemon.program("guard")?;
    let inside = format!("{} policy offer {}", guard.display(), file.display());
    assert_eq!(shell.status_of(&inside)?, 2);
    assert!(!reaches(&mut shell, V4)?);
    // What was refused all along is in order.
    fleet.offer(&by(&fleet.key, &open)?)?.success()?;
    assert!(reaches(&mut shell, V4)?);
    assert_eq!(fleet.status()?["problem"], Value::Null);
    Ok(())
}

#[test]
fn so_many_people_have_to_sign_and_each_counts_once() -> Tested {
    let fleet = Fleet::new("signatures = 2\n")?;
    let [second, bob] = ["second", "bob"].map(|name| SshKey::new(fleet.daemon.dir().join(name)));
    let (second, bob) = (second?, bob?);
    let bundle = fleet.bundle(1, Some("floor"), &[("floor", &base("allow"))]);
    let by = |keys: &[&SshKey]| -> Tested<Value> {
        let signatures = keys.iter().map(|key| fleet.sign(key, &bundle));
        let signatures = signatures.collect::<Tested<Vec<_>>>()?;
        Ok(json!({"bundle": bundle, "signatures": signatures}))
    };
    fleet.leaves_out(&by(&[&fleet.key])?, "it names 1 people, and 2 have to sign")?;
    fleet.may_sign(&[("alice", &fleet.key), ("alice", &second), ("bob", &bob)])?;
    fleet.leaves_out(
        &by(&[&fleet.key])?,
        "1 of the people who may sign it have, and 2",
    )?;
    fleet.leaves_out(&by(&[&fleet.key, &second])?, "1 of the people")?;
    let done = fleet.offer(&by(&[&bob, &second])?)?.success()?.json()?;
    assert_eq!(done["by"], json!(["alice", "bob"]));
    Ok(())
}

/// `guard policy sign`, by a person and by a second one, and `guard policy offer`.
#[test]
fn a_directory_is_signed_by_two_and_offered() -> Tested {
    let fleet = Fleet::new("signatures = 2\n")?;
    let bob = SshKey::new(fleet.daemon.dir().join("bob"))?;
    fleet.may_sign(&[("alice", &fleet.key), ("bob", &bob)])?;
    let dir = fleet.daemon.dir().join("policies-of-the-fleet");
    fs::create_dir(&dir)?;
    fs::write(dir.join("floor.toml"), base("allow"))?;
    fs::write(
        dir.join("builds.toml"),
        "version = 1\nname = \"builds\"\ndefault = \"deny\"\n",
    )?;
    fs::write(dir.join("notes.txt"), "no policy")?;
    let [dir, key, other] =
        [&dir, &fleet.key.file, &bob.file].map(|path| path.display().to_string());
    let sign = |args: &[&str]| -> Tested<Output> {
        Ok(fleet
            .daemon
            .root(["policy", "sign", "--yes"])
            .args(args.iter().copied())
            .run()?)
    };
    let nobody = sign(&["--base", "floor", "--key", &key, &dir])?;
    assert!(nobody.stderr.contains("it is for no group"), "{nobody:?}");
    let absent = sign(&["--group", "ci", "--base", "roof", "--key", &key, &dir])?;
    assert!(
        absent.stderr.contains("there is no roof.toml"),
        "{absent:?}"
    );
    let first = sign(&["--group", "ci", "--base", "floor", "--key", &key, &dir])?.success()?;
    assert!(
        first.stderr.contains("floor, around each session"),
        "{}",
        first.stderr
    );
    assert!(
        first.stderr.contains("the fleet says so"),
        "{}",
        first.stderr
    );
    let bundle = fleet.daemon.dir().join("bundle");
    fs::write(&bundle, &first.stdout)?;
    let bundle = bundle.display().to_string();
    let too_few = fleet.daemon.root(["policy", "offer", &bundle]).refused()?;
    assert!(too_few.contains("1 of the people"), "{too_few}");
    let both = sign(&["--key", &other, &bundle])?.success()?;
    fs::write(&bundle, &both.stdout)?;
    let done = fleet
        .daemon
        .root(["policy", "offer", &bundle])
        .run()?
        .success()?;
    assert!(
        done.stdout.contains("floor around each session"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("by alice, bob"), "{}", done.stdout);
    // Its other policies have a name here, too.
    let mut builds = Shell::start(&fleet.daemon, "builds")?;
    assert!(!reaches(&mut builds, "192.0.2.30")?);
    assert!(reaches(&mut fleet.shell()?, "192.0.2.30")?);
    Ok(())
}

#[test]
fn it_holds_for_as_long_as_the_settings_say_without_being_heard_of() -> Tested {
    let fleet = Fleet::new("lasts = \"2s\"\n")?;
    let mut shell = fleet.shell()?;
    fleet.takes_base(1, &base("allow"))?;
    assert!(reaches(&mut shell, "192.0.2.30")?);
    eventually("all is denied", || {
        Ok(!shell.reaches(&Attempt::tcp("192.0.2.30", 443))?)
    })?;
    assert!(!reaches(&mut fleet.shell()?, "192.0.2.30")?);
    let problem = fleet.status()?["problem"].clone();
    assert!(problem.text()?.contains("all is denied"), "{problem}");
    shell.tell(&format!("{} why", fleet.daemon.program("guard")?.display()))?;
    let why = shell.line_with("the fleet is silent")?;
    assert!(why.contains("guard-fleet push"), "{why}");
    fleet.takes_base(1, &base("allow"))?;
    assert!(reaches(&mut shell, "192.0.2.30")?);
    Ok(())
}

/// A calendar's clock is set, by whoever may or by its time server; that is no silence, and ends none.
#[test]
fn silence_goes_by_the_time_that_the_machine_is_up() -> Tested {
    let mut fleet = Fleet::new("lasts = \"1h\"\n")?;
    fleet.takes_base(1, &base("allow"))?;
    let mut shell = fleet.shell()?;
    assert!(reaches(&mut shell, "192.0.2.30")?);
    let file = fleet.daemon.state_dir().join("fleet.json");
    let kept: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let now: Timestamp = kept["heard_at"].text()?.parse()?;
    let at = |hours: i64| json!((now + SignedDuration::from_hours(hours)).to_string());
    let up = &kept["heard_up"];
    let mut other = up.clone();
    other["boot"] = json!("another");
    // What guardd has kept says the same as a clock that was set since by the same time the other way.
    for (hours, up, is_in_force) in [
        (2, up, true),
        (-2, up, true),
        (0, &other, true),
        (2, &other, false),
        (-2, &other, false),
        (0, up, true),
    ] {
        let mut kept = kept.clone();
        (kept["heard_at"], kept["heard_up"]) = (at(hours), up.clone());
        fleet.daemon.stop()?;
        fs::write(&file, kept.to_string())?;
        fleet.daemon.start()?;
        let is_open = reaches(&mut shell, "192.0.2.30")?;
        assert_eq!(is_open, is_in_force, "{hours} hours, {up}");
    }
    Ok(())
}

/// What runs inside cannot take the place that is the fleet's, and so can neither keep a base out nor keep silence away.
#[test]
fn one_place_around_each_session_is_the_fleets() -> Tested {
    let fleet = Fleet::new("lasts = \"3s\"\n")?;
    let guard = fleet.daemon.program("guard")?;
    let nested = |names: &[&str]| {
        let inner = names.iter().flat_map(|name| {
            let words = [guard.to_str().unwrap(), "run", "--policy", name, "--"];
            words.map(str::to_owned)
        });
        let run = fleet.daemon.agent(["run", "--policy", "open", "--"]);
        run.args(inner.collect::<Vec<_>>())
    };
    let refused = nested(&["p1", "p2", "p3"]).args(["true"]).run()?;
    assert_eq!(refused.code(), Some(125));
    assert!(refused.stderr.contains("nest no deeper"), "{refused:?}");
    let mut deep = nested(&["p1", "p2"]).args(["sh"]).spawn()?;
    eventually("three are inside each other", || {
        Ok(fleet.daemon.json(["sessions"])?.as_array().map(Vec::len) == Some(3))
    })?;
    let probe = fleet.daemon.program("guard-lab")?;
    let mut open = |to: &str| -> Tested<bool> {
        deep.write(&format!("{} probe tcp {to} 443\n", probe.display()))?;
        Ok(deep.line_with("\"ok\"", PATIENCE)?.contains("\"ok\":true"))
    };
    assert!(open(V4)? && open("192.0.2.30")?);
    // Without a base, and then silent: all is denied, in the deepest too.
    fleet.takes(&fleet.bundle(1, None, &[]))?;
    assert!(open("192.0.2.30")?);
    eventually("it is silent", || {
        let problem = fleet.status().map_err(|_| anyhow::anyhow!("no status"))?["problem"].clone();
        Ok(problem
            .as_str()
            .is_some_and(|why| why.contains("all is denied")))
    })?;
    assert!(!open("192.0.2.30")?);
    fleet.takes_base(2, &base("allow"))?;
    assert!(!open(V4)? && open("192.0.2.30")?);
    Ok(())
}

/// Where it is not known any more what was taken, all stays as it was and nothing starts; root may begin again.
#[test]
fn what_cannot_be_verified_any_more_widens_nothing() -> Tested {
    let mut fleet = Fleet::new("")?;
    let config = fs::read_to_string(fleet.daemon.config())?;
    let closed = "version = 1\nname = \"p1\"\ndefault = \"deny\"\n";
    fleet.daemon.stop()?;
    fleet
        .daemon
        .write_config(&format!("default_policy = \"open\"\n{config}"))?;
    fleet.daemon.start()?;
    let policies = [("floor", &*base("allow")), ("p1", closed)];
    fleet.takes(&fleet.bundle(9, Some("floor"), &policies))?;
    // The machine's own of that name would let it all through.
    let mut shell = Shell::start(&fleet.daemon, "p1")?;
    let unowned = Unowned::new(&fleet.daemon)?;
    let open = |to: &str| Ok::<_, anyhow::Error>(unowned.attempt(&Attempt::tcp(to, 443))?.ok);
    assert!(!reaches(&mut shell, "192.0.2.30")? && !open(V4)? && open("192.0.2.30")?);

    let file = fleet.daemon.state_dir().join("fleet.json");
    let whole = fs::read_to_string(&file)?;
    for damaged in [&whole[..whole.len() / 2], "", "{\"signed\":3}"] {
        fleet.daemon.stop()?;
        fs::write(&file, damaged)?;
        fleet.daemon.start()?;
        assert!(!reaches(&mut shell, "192.0.2.30")?, "{damaged}");
        assert!(!reaches(&mut shell, V4)? && !open(V4)?, "{damaged}");
        let run = fleet
            .daemon
            .agent(["run", "--policy", "open", "--", "true"]);
        assert_eq!(run.run()?.code(), Some(125), "{damaged}");
        // Which serial was the last is not known: a courier might bring an older one.
        let old = fleet.bundle(8, None, &[]);
        let signed = json!({"bundle": old, "signatures": [fleet.sign(&fleet.key, &old)?]});
        fleet.leaves_out(&signed, "these may be older")?;
        assert!(!open(V4)?, "{damaged}");
    }
    let new = fleet.bundle(10, Some("floor"), &policies);
    let signed = json!({"bundle": new, "signatures": [fleet.sign(&fleet.key, &new)?]});
    let offer = fleet.daemon.root(["policy", "offer", "-"]);
    offer.input(signed.to_string()).run()?.success()?;
    assert!(!reaches(&mut fleet.shell()?, V4)? && reaches(&mut fleet.shell()?, "192.0.2.30")?);

    // The same after a boot, with nothing in the kernel that could stand.
    fleet.daemon.stop()?;
    drop(shell);
    fs::write(&file, "")?;
    drop(unowned);
    fleet.daemon.teardown()?;
    fs::create_dir_all(fleet.daemon.state_dir())?;
    fs::write(&file, "")?;
    fleet.daemon.start()?;
    let unowned = Unowned::new(&fleet.daemon)?;
    assert!(!unowned.attempt(&Attempt::tcp("192.0.2.30", 443))?.ok);
    Ok(())
}

/// The same bundle, signed by the next key before the last one goes.
#[test]
fn keys_change_without_another_bundle() -> Tested {
    let mut fleet = Fleet::new("")?;
    let bob = SshKey::new(fleet.daemon.dir().join("bob"))?;
    fleet.may_sign(&[("alice", &fleet.key), ("bob", &bob)])?;
    let bundle = fleet.bundle(1, Some("floor"), &[("floor", &base("allow"))]);
    fleet.takes(&bundle)?;
    let signed = json!({"bundle": bundle, "signatures": [fleet.sign(&bob, &bundle)?]});
    let done = fleet.offer(&signed)?.success()?.json()?;
    assert_eq!(done["by"], json!(["bob"]));
    fleet.may_sign(&[("bob", &bob)])?;
    fleet.daemon.stop()?;
    fleet.daemon.start()?;
    assert_eq!(fleet.status()?["by"], json!(["bob"]));
    assert_eq!(fleet.status()?["problem"], Value::Null);
    // Where nothing runs, the same once more is nothing to write down.
    let loads = fleet.daemon.logged("policy-load")?.len();
    for _ in 0..2 {
        fleet.offer(&signed)?.success()?;
    }
    assert_eq!(fleet.daemon.logged("policy-load")?.len(), loads);
    assert!(!reaches(&mut fleet.shell()?, V4)?);
    Ok(())
}

#[test]
fn it_is_whole_whenever_guardd_is_killed() -> Tested {
    let mut fleet = Fleet::new("")?;
    let mut shell = fleet.shell()?;
    let texts = |turn: usize| {
        let closed = match turn % 2 {
            0 => V4,
            _ => OTHER,
        };
        format!(
            "version = 1\nname = \"floor\"\ndefault = \"allow\"\n[[rule]]\nto = [\"{closed}\"]\naction = \"deny\"\n"
        )
    };
    fleet.takes_base(1, &texts(1))?;
    let steps = at_each_step(Which::All, |turn, step| {
        let serial = u64::try_from(turn)? + 2;
        let bundle = fleet.bundle(serial, Some("floor"), &[("floor", &texts(turn))]);
        let signed = json!({"bundle": bundle, "signatures": [fleet.sign(&fleet.key, &bundle)?]});
        let before = fleet.status()?["serial"].clone();
        fleet.daemon.stop()?;
        let guardd = fleet.daemon.guardd()?;
        let mut stepped = Stepped::start(&fleet.daemon, &guardd, None)?;
        stepped.wait_until_ready()?;
        stepped.arm(Some(step))?;
        let said_yes = fleet.offer(&signed)?.status.success();
        stepped.stop();
        let ended = stepped.wait()?;
        let what = behind(step, &ended);

        fleet.daemon.start()?;
        let now = fleet.status()?["serial"].clone();
        assert!(
            now == serial || (now == before && !said_yes),
            "{what}: {now}"
        );
        fleet.offer(&signed)?.success()?;
        let is_closed = [reaches(&mut shell, V4)?, reaches(&mut shell, OTHER)?];
        assert_eq!(is_closed, [turn % 2 == 1, turn % 2 == 0], "{what}");
        Ok(ended)
    })?;
    assert!(
        steps.iter().any(|step| step.contains("fleet.json")),
        "{steps:?}"
    );
    let _ = &fleet.network;
    Ok(())
}
