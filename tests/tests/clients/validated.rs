//! A validator in a session (DNSSEC): signed answers come whole through the guard's resolver, which validates nothing itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use data_encoding::BASE64;
use guard_lab::{AGENT, Tested, exec};
use hickory_proto::op::Message;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use crate::{
    names::scene::with_resolvers,
    resolver::{
        place::{DNS, POLICY, ResolverScene},
        server,
    },
};

const ZONE: &str = "api.example.com";
const A: u16 = 1;
const RRSIG: u16 = 46;
const DNSKEY: u16 = 48;
/// ECDSA with the curve P-256 and SHA-256 (RFC 6605).
const ALGORITHM: u8 = 13;
const TTL: [u8; 4] = [0, 0, 1, 44];
const DAY: Duration = Duration::from_secs(86_400);

/// A zone with one key, whose names all have the same address.
struct SignedZone {
    key: EcdsaKeyPair,
    /// What the record of the key says.
    dnskey: Vec<u8>,
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.');
    let labels = labels.map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    labels.chain([vec![0]]).collect::<Vec<_>>().concat()
}

fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let (kind, length) = (kind.to_be_bytes(), (data.len() as u16).to_be_bytes());
    [&wire(owner)[..], &kind, &[0, 1], &TTL, &length, data].concat()
}

impl SignedZone {
    fn new() -> Tested<Self> {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key =
            EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(|_| anyhow!("no key is made"))?;
        let key = EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random)
            .map_err(|error| anyhow!("the key is rejected: {error}"))?;
        // The first byte of the key says only how it is written.
        let public = &key.public_key().as_ref()[1..];
        let dnskey = [&[1, 1, 3, ALGORITHM][..], public].concat();
        Ok(Self { key, dnskey })
    }

    /// By which a signature names the key (RFC 4034 B).
    fn tag(&self) -> u16 {
        let words = self.dnskey.chunks(2);
        let sum: u32 = words
            .map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)))
            .sum();
        (sum + (sum >> 16)) as u16
    }

    /// The signature of a record (RFC 4034 3.1).
    fn signature(&self, owner: &str, kind: u16, data: &[u8]) -> Tested<Vec<u8>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let moment = |at: Duration| (at.as_secs() as u32).to_be_bytes();
        let labels = owner.split('.').count() as u8;
        let head = [
            &kind.to_be_bytes()[..],
            &[ALGORITHM, labels],
            &TTL,
            &moment(now + DAY),
            &moment(now - DAY),
            &self.tag().to_be_bytes(),
            &wire(ZONE),
        ]
        .concat();
        let signed = [&head[..], &record(owner, kind, data)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed);
        let signature = signature.map_err(|_| anyhow!("nothing is signed"))?;
        Ok([&head[..], signature.as_ref()].concat())
    }

    /// An answer, with its signature; that of a name that begins so is forged.
    fn answer(&self, asked: &Message) -> Tested<Vec<u8>> {
        let name = server::name_in(asked);
        let kind = u16::from(asked.queries[0].query_type);
        let data = match kind {
            A => vec![192, 0, 2, 10],
            DNSKEY if name == ZONE => self.dnskey.clone(),
            _ => Vec::new(),
        };
        let mut records = Vec::new();
        if !data.is_empty() {
            let mut signature = self.signature(&name, kind, &data)?;
            if let Some(last) = signature.last_mut().filter(|_| name.starts_with("forged")) {
                *last ^= 1;
            }
            records = vec![record(&name, kind, &data), record(&name, RRSIG, &signature)];
        }
        let [high, low] = asked.metadata.id.to_be_bytes();
        let head = [
            high,
            low,
            0x81,
            0x80,
            0,
            1,
            0,
            records.len() as u8,
            0,
            0,
            0,
            1,
        ];
        // It understands EDNS, and gives signatures.
        let opt = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
        let question = [&wire(&name)[..], &kind.to_be_bytes(), &[0, 1]].concat();
        Ok([&head[..], &question, &records.concat(), &opt].concat())
    }

    /// What `delv` trusts.
    fn anchor(&self) -> String {
        let key = BASE64.encode(&self.dnskey[4..]);
        format!("trust-anchors {{ {ZONE}. static-key 257 3 {ALGORITHM} \"{key}\"; }};\n")
    }
}

#[test]
fn delv_validates_what_is_signed_and_nothing_else() -> Tested {
    let zone = SignedZone::new()?;
    let anchor = zone.anchor();
    let policy = POLICY
        .replace("name = \"names\"", "name = \"validates\"")
        .replace("[\"*.api", "[\"api.example.com\", \"*.api");
    let place = ResolverScene::build(
        move |asked, _| vec![zone.answer(asked).unwrap()],
        |daemon| daemon.policy("validates", &with_resolvers(&policy)),
    )?;
    let anchor = place.daemon.write_for_agents("anchor", &anchor)?;
    let anchor = anchor.display().to_string();
    let (root, server) = (format!("+root={ZONE}"), format!("@{DNS}"));
    for (name, is_valid) in [("pkg", true), ("forged", false)] {
        let name = format!("{name}.{ZONE}");
        let words = ["-4", "-a", &anchor, &root, &server, &name, "A"];
        let mut outside = place.network.dev().command_as(AGENT, "delv");
        let run = ["run", "--policy", "validates", "--", "delv"];
        let mut inside = place.daemon.agent(run).args(words).command()?;
        for (how, command) in [("without", outside.args(words)), ("with", &mut inside)] {
            let said = exec::output(command)?;
            let text =
                String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
            let is_well = text.contains("fully validated") && text.contains("192.0.2.10");
            assert_eq!(is_well, is_valid, "{name}, {how} the guard: {text}");
        }
    }
    Ok(())
}
