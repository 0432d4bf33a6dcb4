//! The resolver reads what anybody sends, and writes by which names sessions know addresses. An attacker who has taken it over opens no more than
//! rules for names could: verdict, ports and which addresses are private the kernel half takes from the policy.

use std::{net::IpAddr, os::fd::AsFd as _};

use anyhow::Context as _;
use aya::maps::MapData;
use guard_common::{Address, BootTime, Learned, NameId, Named, NamedKey};
use guard_lab::Tested;
use guard_sys::{
    bpf::{all_named, update_batch},
    clock,
};
use zerocopy::IntoBytes as _;

use crate::names::scene::{API, DNS, NameScene, reaches};

const POLICY: &str = r#"
version = 1
name = "taken"
default = "deny"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "inside"
to = ["*.inside.example.com"]
ports = ["tcp/443"]
action = "allow"
private = true

[[rule]]
name = "never"
to = ["192.0.2.30"]
action = "deny"

[[rule]]
name = "open"
to = ["192.0.2.31"]
ports = ["tcp/443"]
action = "allow"
"#;

const NAME: &str = "v1.api.example.com";
/// The patterns of its rules, and one that it has not.
const OF_API: &str = "*.api.example.com";
const OF_INSIDE: &str = "*.inside.example.com";
const OF_NOBODY: &str = "*.nobody.example.com";

const OTHER: &str = "192.0.2.12";
const DENIED: &str = "192.0.2.30";
const OPEN: &str = "192.0.2.31";
const METADATA: &str = "169.254.169.254";
const INSIDE: &str = "10.66.0.10";
const OTHER_INSIDE: &str = "10.66.0.11";

/// The map that the resolver writes, and the key under which it has noted an address of the session's.
struct Taken {
    map: MapData,
    noted: NamedKey,
}

impl Taken {
    fn new(scene: &NameScene) -> Tested<Self> {
        let map = MapData::from_pin(scene.daemon.pin_dir().join("live/named"))?;
        let address = Address::from(API.parse::<IpAddr>()?);
        let all = all_named(map.fd().as_fd())?;
        let mut keys = all.into_iter().map(|(key, _)| key);
        let noted = keys.find(|key| key.address == address);
        let noted = noted.context("the address is not noted")?;
        Ok(Self { map, noted })
    }

    /// Notes for an hour that the session knows the address by a name of that pattern.
    fn note(&self, address: &str, pattern: &str) -> Tested {
        const HOUR: u64 = 3_600_000_000_000;
        let address = Address::from(address.parse::<IpAddr>()?);
        let key = NamedKey::new(self.noted.session, self.noted.policy, address);
        let now = clock::now();
        let learned = Learned {
            pattern: NameId::of(pattern),
            until: BootTime(now.0 + HOUR),
        };
        let named = Named::default().with(&key, learned, now);
        let named = named.context("it has no room")?;
        update_batch(
            self.map.fd().as_fd(),
            key.as_bytes(),
            named.as_bytes(),
            size_of::<NamedKey>(),
            size_of::<Named>(),
        )?;
        Ok(())
    }
}

#[test]
fn whoever_has_taken_it_over_opens_no_more_than_rules_for_names_could() -> Tested {
    let scene = NameScene::new("taken", POLICY, &[(NAME, &[API])])?;
    scene
        .network
        .answer_for(&["10.66.0.0/16", "169.254.169.254/32"])?;
    for to in [OTHER, DENIED, METADATA, INSIDE, OTHER_INSIDE] {
        scene.assert_open(to, 443)?;
    }
    let mut shell = scene.shell()?;
    assert_eq!(
        scene.asked(&mut shell, NAME, "connected")?,
        format!("0 {DNS} {API}")
    );
    assert!(reaches(&mut shell, API, 443)?);
    let taken = Taken::new(&scene)?;
    // What a name of a rule could have: it shows that what is noted here counts.
    for (at, pattern) in [(OTHER, OF_API), (OTHER_INSIDE, OF_INSIDE)] {
        assert!(!reaches(&mut shell, at, 443)?, "{at}, before");
        taken.note(at, pattern)?;
        assert!(reaches(&mut shell, at, 443)?, "{at}");
        assert!(!reaches(&mut shell, at, 80)?, "{at}, another port");
    }
    // What none could.
    for (at, pattern) in [(DENIED, OF_API), (METADATA, OF_INSIDE), (INSIDE, OF_API)] {
        taken.note(at, pattern)?;
        assert!(!reaches(&mut shell, at, 443)?, "{at}");
    }
    // A pattern that is no rule's only shuts.
    assert!(reaches(&mut shell, OPEN, 443)?);
    taken.note(OPEN, OF_NOBODY)?;
    assert!(!reaches(&mut shell, OPEN, 443)?);
    // All of that is one session's.
    let mut other = scene.shell()?;
    assert!(!reaches(&mut other, OTHER, 443)?);
    assert!(reaches(&mut other, OPEN, 443)?);
    Ok(())
}
