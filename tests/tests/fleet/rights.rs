//! What a real server lets each do with the rights that guard-fleet writes: each tries all of it, by hand.

use crate::together::in_turn;
use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context as _;
use data_encoding::BASE64URL_NOPAD;
use guard_lab::{Network, Tested, eventually, exec};
use serde_json::{Value, json};

use super::{
    client::{Client, pair},
    scene::{Fleet, GROUP, with_witness},
};

const ANOTHER: &str = "m-00000000000000000000";

/// Who is let in: as whom, with the secret half in that file.
struct Known {
    key: String,
    file: PathBuf,
}

/// Everybody whom the server knows, and one beside who may do all, and so sees whatever the server carries.
struct Everybody<'n> {
    network: &'n Network,
    fleet: Fleet<'n>,
    known: BTreeMap<&'static str, Known>,
}

impl<'n> Everybody<'n> {
    fn new(network: &'n Network) -> Tested<Self> {
        let (mut fleet, keeper) = Fleet::keeping(network, 1)?;
        // Until then it says that no server keeps any.
        eventually("the server keeps a record", || {
            let said = fleet.said("person", &["log", "--json"]);
            said.is_ok_and(|records| !records.is_empty())
        })?;
        // Who is tried speaks alone.
        fleet.kill();
        let mut known = BTreeMap::new();
        for name in [
            "machine", "another", "person", "console", "bringer", "reader", "other", "keeper",
            "witness", "stranger",
        ] {
            if !fleet.dir().join(name).exists() {
                fleet.home(name)?;
            }
            let file = fleet.dir().join(name).join("key.nk");
            let key = fleet.key(name)?;
            known.insert(name, Known { key, file });
        }
        let token = fleet.invite(&["--group", GROUP])?;
        let file = fleet.dir().join("invited.nk");
        fs::write(&file, token.trim().rsplit('.').next().context("no token")?)?;
        let list = fs::read_to_string(fleet.list())?;
        let (_, invitation) = list.split_once("[[invitation]]").context("no invitation")?;
        let key = invitation
            .lines()
            .find_map(|line| line.strip_prefix("key = \""))
            .and_then(|line| line.strip_suffix('"'));
        let key = key.context("no key of the invitation")?.to_owned();
        let mut list: String = [("machine", &*fleet.machine), ("another", ANOTHER)]
            .map(|(name, id)| {
                let key = &known[name].key;
                format!("[[machine]]\nid = \"{id}\"\nkey = \"{key}\"\ngroup = \"{GROUP}\"\n")
            })
            .concat();
        for (name, group, more) in [
            ("person", GROUP, ""),
            ("console", GROUP, "console = true"),
            ("bringer", GROUP, "policies = true"),
            ("reader", GROUP, "log = true"),
            ("other", "dev", "policies = true\nlog = true"),
        ] {
            let key = &known[name].key;
            list += &format!("[[person]]\nkey = \"{key}\"\ngroups = [\"{group}\"]\n{more}\n");
        }
        // Without invitations, it is the same for whoever writes the rights by hand.
        fs::write(fleet.list(), &list)?;
        let written = fleet.said("person", &["rights", fleet.list().to_str().unwrap()])?;
        fs::write(fleet.list(), format!("{list}[[invitation]]{invitation}"))?;
        known.insert("invited", Known { key, file });
        let mut users = String::new();
        eventually("the rights of all are written", || {
            users = fs::read_to_string(fleet.nats.users(0))?;
            let mut told = known.iter().filter(|(name, _)| !is_unlisted(name));
            Ok(told.all(|(_, one)| users.contains(&one.key)))
        })?;
        for line in written.lines() {
            assert!(users.contains(line), "{line}: {users}");
        }
        // From here on nobody writes them again.
        drop(keeper);
        fleet
            .nats
            .reload(&with_witness(&users, &known["witness"].key))?;
        let everybody = Self {
            network,
            fleet,
            known,
        };
        eventually("the server knows the witness", || {
            everybody.client("witness").is_ok()
        })?;
        Ok(everybody)
    }

    fn client(&self, name: &str) -> anyhow::Result<Client> {
        let Known { key, file } = &self.known[name];
        Client::new(self.network.dev(), &self.fleet.nats, key, file)
    }

    fn key(&self, name: &str) -> &str {
        &self.known[name].key
    }

    /// All whom guard-fleet has given rights, connected.
    fn clients(&self) -> Tested<Vec<(&'static str, Client)>> {
        let listed = self.known.keys().filter(|name| !is_unlisted(name));
        let clients = listed.map(|name| {
            let client = self.client(name);
            Ok((*name, client.with_context(|| format!("as the {name}"))?))
        });
        clients.collect()
    }
}

fn is_unlisted(name: &str) -> bool {
    ["witness", "stranger"].contains(&name)
}

const MACHINES: &[&str] = &["machine", "another"];
const PEOPLE: &[&str] = &["person", "console", "bringer", "reader"];
const NOBODY: &[&str] = &[];

/// By one server that all of them know: the last takes away what it keeps.
#[test]
fn each_does_by_a_server_what_its_rights_say_and_nothing_else() -> Tested {
    let network = Network::new()?;
    let all = Everybody::new(&network)?;
    in_turn!(
        &all;
        who_is_not_listed_or_cannot_prove_it_is_not_let_in,
        each_publishes_what_is_its_own_and_the_server_carries_nothing_else,
        each_reads_what_is_for_it_and_the_server_sends_it_nothing_else,
        of_the_stream_of_logs_each_group_is_read_by_who_may_and_nobody_takes_any_away,
    )
}

fn each_publishes_what_is_its_own_and_the_server_carries_nothing_else(
    all: &Everybody<'_>,
) -> Tested {
    let id = all.fleet.machine.clone();
    let of = |what: &str| format!("guard.ci.{what}.{id}");
    let invited = all.key("invited");
    let rows: Vec<(String, &[&str])> = vec![
        (of("here"), &["machine"]),
        (format!("{}.r1", of("question")), &["machine"]),
        (format!("{}.r1", of("receipt")), &["machine"]),
        (of("approvers"), &["machine"]),
        (of("log"), &["machine"]),
        (format!("guard.ci.here.{ANOTHER}"), &["another"]),
        (format!("guard.ci.question.{ANOTHER}.r1"), &["another"]),
        (format!("guard.ci.receipt.{ANOTHER}.r1"), &["another"]),
        (format!("guard.ci.approvers.{ANOTHER}"), &["another"]),
        (format!("guard.ci.log.{ANOTHER}"), &["another"]),
        ("guard.ci.want".to_owned(), MACHINES),
        (format!("{}.r1", of("answer")), PEOPLE),
        ("guard.ci.look".to_owned(), PEOPLE),
        (format!("{}.r1", of("no")), &["console"]),
        ("guard.ci.who".to_owned(), &["console"]),
        ("guard.ci.policies".to_owned(), &["bringer", "keeper"]),
        (of("removed"), &["keeper"]),
        (format!("guard.ci.join.{invited}"), &["invited"]),
        (format!("guard.ci.joined.{invited}"), &["keeper"]),
        (format!("guard.dev.answer.{id}.r1"), &["other"]),
        ("guard.dev.look".to_owned(), &["other"]),
        ("guard.dev.policies".to_owned(), &["other", "keeper"]),
        (format!("guard.dev.no.{id}.r1"), NOBODY),
        (format!("guard.dev.here.{id}"), NOBODY),
        (format!("guard.dev.log.{id}"), NOBODY),
        (format!("_INBOX.{}.1", all.key("reader")), NOBODY),
        (format!("_INBOX.{}.1", all.key("machine")), NOBODY),
        ("$JS.ACK.GUARD_LOG.c.1.1.1.1.0".to_owned(), NOBODY),
    ];
    let mut witness = all.client("witness")?;
    witness.subscribe("guard.>")?;
    witness.subscribe("_INBOX.>")?;
    for (name, mut client) in all.clients()? {
        for (subject, may) in &rows {
            // A server may be late with what it carries: each has words of its own.
            let said = format!("{name} says {subject}");
            let against = client.publish(subject, "", &said)?;
            let carried = witness.heard()?.iter().any(|one| one.payload == said);
            if may.contains(&name) {
                assert_eq!(against, None, "the {name} may publish {subject}");
                assert!(carried, "what the {name} published as {subject} comes");
            } else {
                let against = against.with_context(|| format!("{subject} of the {name}"))?;
                assert!(against.contains(subject.as_str()), "{subject}: {against}");
                assert!(!carried, "the {name} cannot publish {subject}");
            }
        }
    }
    // That nobody may is no fault of the server's.
    for (subject, may) in &rows {
        assert_eq!(witness.publish(subject, "", "control")?, None, "{subject}");
        let carried = witness.heard()?.iter().any(|one| one.payload == "control");
        assert!(
            !may.is_empty() || carried || subject.starts_with('$'),
            "{subject}"
        );
    }
    Ok(())
}

/// A subject or call, what is said there, and who may.
type Row = (String, String, &'static [&'static str]);

/// What is asked for, an example of it, and who may read it.
fn read(all: &Everybody<'_>) -> Vec<Row> {
    let id = all.fleet.machine.clone();
    let invited = all.key("invited");
    let inbox = |name: &str| format!("_INBOX.{}", all.key(name));
    let (machines, reader) = (inbox("machine"), inbox("reader"));
    // What is asked for, and an example of it.
    vec![
        (
            format!("guard.ci.answer.{id}.*"),
            format!("guard.ci.answer.{id}.r1"),
            &["machine"],
        ),
        (
            format!("guard.ci.answer.{id}.r1"),
            format!("guard.ci.answer.{id}.r1"),
            &["machine"],
        ),
        (
            format!("guard.ci.no.{id}.*"),
            format!("guard.ci.no.{id}.r1"),
            &["machine"],
        ),
        (
            format!("guard.ci.answer.{ANOTHER}.*"),
            format!("guard.ci.answer.{ANOTHER}.r1"),
            &["another"],
        ),
        (
            format!("guard.ci.no.{ANOTHER}.*"),
            format!("guard.ci.no.{ANOTHER}.r1"),
            &["another"],
        ),
        (
            "guard.ci.answer.*.*".to_owned(),
            format!("guard.ci.answer.{id}.r1"),
            NOBODY,
        ),
        (
            "guard.ci.look".to_owned(),
            "guard.ci.look".to_owned(),
            MACHINES,
        ),
        (
            "guard.ci.who".to_owned(),
            "guard.ci.who".to_owned(),
            MACHINES,
        ),
        (
            "guard.ci.policies".to_owned(),
            "guard.ci.policies".to_owned(),
            &["machine", "another", "keeper"],
        ),
        (
            "guard.ci.want".to_owned(),
            "guard.ci.want".to_owned(),
            &["keeper"],
        ),
        (
            "guard.ci.here.*".to_owned(),
            format!("guard.ci.here.{id}"),
            PEOPLE,
        ),
        (
            "guard.ci.question.*.*".to_owned(),
            format!("guard.ci.question.{id}.r1"),
            PEOPLE,
        ),
        (
            "guard.ci.receipt.*.*".to_owned(),
            format!("guard.ci.receipt.{id}.r1"),
            PEOPLE,
        ),
        (
            "guard.ci.approvers.*".to_owned(),
            format!("guard.ci.approvers.{id}"),
            &["console"],
        ),
        (
            "guard.ci.removed.*".to_owned(),
            format!("guard.ci.removed.{id}"),
            &["console"],
        ),
        (
            format!("guard.ci.log.{id}"),
            format!("guard.ci.log.{id}"),
            NOBODY,
        ),
        (
            "guard.ci.log.*".to_owned(),
            format!("guard.ci.log.{id}"),
            NOBODY,
        ),
        (
            "guard.*.join.*".to_owned(),
            format!("guard.ci.join.{invited}"),
            &["keeper"],
        ),
        (
            format!("guard.ci.joined.{invited}"),
            format!("guard.ci.joined.{invited}"),
            &["invited"],
        ),
        (
            "guard.dev.question.*.*".to_owned(),
            format!("guard.dev.question.{id}.r1"),
            &["other"],
        ),
        (
            format!("{machines}.>"),
            format!("{machines}.1"),
            &["machine"],
        ),
        (format!("{reader}.>"), format!("{reader}.1"), &["reader"]),
        ("_INBOX.>".to_owned(), format!("{reader}.1"), NOBODY),
        ("guard.>".to_owned(), format!("guard.ci.here.{id}"), NOBODY),
        (
            "guard.*.question.*.*".to_owned(),
            format!("guard.ci.question.{id}.r1"),
            NOBODY,
        ),
        (">".to_owned(), format!("guard.ci.log.{id}"), NOBODY),
        ("$JS.API.>".to_owned(), format!("guard.ci.log.{id}"), NOBODY),
    ]
}

fn each_reads_what_is_for_it_and_the_server_sends_it_nothing_else(all: &Everybody<'_>) -> Tested {
    let rows = read(all);
    let mut witness = all.client("witness")?;
    for (name, mut client) in all.clients()? {
        for (subject, example, may) in &rows {
            // In a group of its own, it would take a message from whom it is for.
            for group in ["", " thieves"] {
                let against = client.subscribe(&format!("{subject}{group}"))?;
                let said = format!("for whoever reads {subject}{group}");
                assert_eq!(witness.publish(example, "", &said)?, None);
                let came = client.heard()?.iter().any(|one| one.payload == said);
                if may.contains(&name) {
                    assert_eq!(against, None, "the {name} may read {subject}");
                    assert!(came, "{subject} comes to the {name}");
                } else {
                    let against = against.with_context(|| format!("{subject} for the {name}"))?;
                    assert!(against.contains(subject.as_str()), "{subject}: {against}");
                    assert!(!came, "the {name} cannot read {subject}");
                }
                client.unsubscribe()?;
            }
        }
    }
    for (subject, example, may) in &rows {
        assert_eq!(witness.subscribe(subject)?, None, "{subject}");
        witness.publish(example, "", "control")?;
        let came = witness.heard()?.iter().any(|one| one.payload == "control");
        assert!(
            !may.is_empty() || came || subject.starts_with('$'),
            "{subject}"
        );
        witness.unsubscribe()?;
    }
    Ok(())
}

fn who_is_not_listed_or_cannot_prove_it_is_not_let_in(all: &Everybody<'_>) -> Tested {
    let side = all.network.dev();
    let nats = &all.fleet.nats;
    assert!(all.client("machine").is_ok(), "who is listed is let in");
    let stranger = pair(&fs::read_to_string(&all.known["stranger"].file)?)?;
    let sign = |text: &str| BASE64URL_NOPAD.encode(stranger.sign(text.as_bytes()).as_ref());
    let machine = all.key("machine");
    // An old proof of the machine's own.
    let own = pair(&fs::read_to_string(&all.known["machine"].file)?)?;
    let old = BASE64URL_NOPAD.encode(own.sign(b"another nonce").as_ref());
    type Proof<'p> = &'p dyn Fn(&str) -> Value;
    let proofs: [(&str, Proof); 6] = [
        ("no key", &|_| json!({})),
        (
            "a key that is not listed",
            &|nonce| json!({ "nkey": all.key("stranger"), "sig": sign(nonce) }),
        ),
        (
            "another's key",
            &|nonce| json!({ "nkey": machine, "sig": sign(nonce) }),
        ),
        ("no proof", &|_| json!({ "nkey": machine })),
        (
            "a proof of another time",
            &|_| json!({ "nkey": machine, "sig": old }),
        ),
        (
            "a name and a password",
            &|_| json!({ "user": machine, "pass": machine }),
        ),
    ];
    for (why, proof) in proofs {
        let refused = Client::connect(side, nats, proof);
        let said = refused.err().with_context(|| format!("{why} lets in"))?;
        assert!(
            format!("{said:#}").contains("Authorization Violation"),
            "{why}: {said:#}"
        );
    }
    Ok(())
}

/// Asks for what reads a group's logs.
fn consumer(filter: &str) -> String {
    let config = json!({
        "filter_subject": filter, "ack_policy": "none", "deliver_policy": "all", "mem_storage": true,
        "inactive_threshold": 30_000_000_000_u64, "name": "c",
    });
    json!({ "stream_name": "GUARD_LOG", "config": config }).to_string()
}

const LOGS: &str = "guard.ci.log.*";
const OTHER_LOGS: &str = "guard.dev.log.*";

/// Calls of the stream's interface.
fn calls(id: &str) -> Vec<Row> {
    let of_group = consumer(LOGS);
    let create = "CONSUMER.CREATE.GUARD_LOG.c";
    vec![
        ("STREAM.DELETE.GUARD_LOG".into(), "".into(), NOBODY),
        ("STREAM.PURGE.GUARD_LOG".into(), "".into(), NOBODY),
        (
            "STREAM.PURGE.GUARD_LOG".into(),
            json!({ "filter": format!("guard.ci.log.{id}") }).to_string(),
            NOBODY,
        ),
        (
            "STREAM.MSG.DELETE.GUARD_LOG".into(),
            "{\"seq\":1}".into(),
            NOBODY,
        ),
        (
            "STREAM.MSG.GET.GUARD_LOG".into(),
            "{\"seq\":1}".into(),
            NOBODY,
        ),
        ("DIRECT.GET.GUARD_LOG".into(), "{\"seq\":1}".into(), NOBODY),
        ("STREAM.SNAPSHOT.GUARD_LOG".into(), "{}".into(), NOBODY),
        ("STREAM.NAMES".into(), "".into(), NOBODY),
        ("STREAM.LIST".into(), "".into(), NOBODY),
        ("INFO".into(), "".into(), NOBODY),
        (
            "STREAM.CREATE.OTHER".into(),
            json!({ "name": "OTHER", "subjects": ["guard.ci.answer.>"] }).to_string(),
            NOBODY,
        ),
        ("CONSUMER.NAMES.GUARD_LOG".into(), "".into(), NOBODY),
        ("CONSUMER.DELETE.GUARD_LOG.c".into(), "".into(), NOBODY),
        ("CONSUMER.CREATE.GUARD_LOG".into(), of_group.clone(), NOBODY),
        (create.into(), of_group.clone(), NOBODY),
        (
            "CONSUMER.DURABLE.CREATE.GUARD_LOG.c".into(),
            of_group.clone(),
            NOBODY,
        ),
        (format!("{create}.guard.>"), consumer("guard.>"), NOBODY),
        (
            format!("{create}.{OTHER_LOGS}"),
            consumer(OTHER_LOGS),
            &["other"],
        ),
        (format!("{create}.{LOGS}"), of_group.clone(), &["reader"]),
        (
            "CONSUMER.MSG.NEXT.GUARD_LOG.c".into(),
            "{\"batch\":1,\"no_wait\":true}".into(),
            &["reader", "other"],
        ),
        ("STREAM.INFO.GUARD_LOG".into(), "".into(), &["keeper"]),
    ]
}

/// Who may reads what is of their group; who asks in another's name, and for what no subject says, gets none.
fn read_by_who_may(
    all: &Everybody<'_>,
    asked: &mut impl FnMut(&str, &str) -> Tested<Value>,
) -> Tested {
    for (name, filter, config, is_read) in [
        ("reader", LOGS, consumer(LOGS), true),
        ("reader", LOGS, consumer("guard.>"), false),
        ("reader", LOGS, consumer(""), false),
        ("reader", LOGS, consumer(OTHER_LOGS), false),
        ("other", OTHER_LOGS, consumer(LOGS), false),
        ("other", OTHER_LOGS, consumer("guard.>"), false),
    ] {
        let config = config.replace("\"c\"", "\"d\"");
        let mut client = all.client(name)?;
        let inbox = format!("_INBOX.{}", all.key(name));
        assert_eq!(client.subscribe(&format!("{inbox}.*"))?, None);
        let create = format!("$JS.API.CONSUMER.CREATE.GUARD_LOG.d.{filter}");
        assert_eq!(
            client.publish(&create, &format!("{inbox}.made"), &config)?,
            None
        );
        let made: Value = serde_json::from_str(&client.next()?.payload)?;
        assert_eq!(made["error"].is_null(), is_read, "{name} {filter}: {made}");
        if is_read {
            let next = "$JS.API.CONSUMER.MSG.NEXT.GUARD_LOG.d";
            client.publish(next, &format!("{inbox}.record"), "{\"batch\":1}")?;
            let record = client.next()?;
            assert_eq!(
                record.subject,
                format!("guard.ci.log.{}", all.fleet.machine),
                "{record:?}"
            );
            assert!(record.payload.contains("\"number\":1"), "{record:?}");
            let gone = asked("CONSUMER.DELETE.GUARD_LOG.d", "")?;
            assert_eq!(gone["success"], true, "{gone}");
        }
    }
    Ok(())
}

fn of_the_stream_of_logs_each_group_is_read_by_who_may_and_nobody_takes_any_away(
    all: &Everybody<'_>,
) -> Tested {
    let id = all.fleet.machine.clone();
    let mut witness = all.client("witness")?;
    witness.subscribe("_INBOX.witness.*")?;
    let mut asked = |what: &str, payload: &str| -> Tested<Value> {
        witness.publish(&format!("$JS.API.{what}"), "_INBOX.witness.1", payload)?;
        Ok(serde_json::from_str(&witness.next()?.payload)?)
    };
    let before = asked("STREAM.INFO.GUARD_LOG", "")?;
    let kept = before["state"]["messages"].as_u64().context("no count")?;
    assert!(kept > 0, "{before}");

    let rows = calls(&id);
    for (name, mut client) in all.clients()? {
        let inbox = format!("_INBOX.{}", all.key(name));
        for (what, payload, may) in &rows {
            let subject = format!("$JS.API.{what}");
            let against = client.publish(&subject, &format!("{inbox}.none"), payload)?;
            assert_eq!(against.is_none(), may.contains(&name), "{name}: {subject}");
        }
    }
    let after = asked("STREAM.INFO.GUARD_LOG", "")?;
    assert_eq!(after["state"]["messages"], kept, "{after}");
    assert_eq!(after["config"], before["config"], "{after}");

    read_by_who_may(all, &mut asked)?;

    // Who may all does with the same words what nobody else could; but that one the stream itself refuses everybody.
    let purged = asked("STREAM.PURGE.GUARD_LOG", "")?;
    assert_eq!(purged["error"]["err_code"], 10_110, "{purged}");
    let deleted = asked("STREAM.DELETE.GUARD_LOG", "")?;
    assert_eq!(deleted["success"], true, "{deleted}");
    let ended = exec::output(&mut all.fleet.command("person", &["log"])?)?;
    assert!(!ended.status.success(), "{ended:?}");
    Ok(())
}
