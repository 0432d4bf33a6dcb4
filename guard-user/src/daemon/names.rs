//! The addresses that names in policies stand for: looked up, kept, looked up again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::read_system_conf,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};

/// All look-ups of one round are done within this time; what is not counts as failed.
const ROUND: Duration = Duration::from_secs(3);
/// No answer is believed for longer, whatever its TTL.
const LONGEST: Duration = Duration::from_secs(3600);
/// Names that are remembered at most, but for those of policies; the one answered longest ago makes room.
const MAX_NAMES: usize = 10_000;
/// Addresses of one name at most; the ones that it lost first make room.
const MAX_ADDRESSES: usize = 256;
/// Names that one warning tells.
const MAX_TOLD: usize = 8;

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// For how long.
    pub ttl: Duration,
}

/// What is known of a name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// The addresses, each with the time until which it counts.
    addresses: BTreeMap<IpAddr, Timestamp>,
    /// When it was last answered.
    answered: Option<Timestamp>,
    /// When it is looked up again.
    due: Option<Timestamp>,
    /// Why it was not answered, where it was not.
    problem: Option<String>,
}

/// All names, with what was last known of each. A name that no longer resolves keeps its addresses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Names {
    known: BTreeMap<String, Known>,
    /// Those that policies are about to be compiled by, and how many.
    #[serde(skip)]
    awaited: HashMap<String, usize>,
}

impl Names {
    /// The addresses of each name.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let names = self.known.iter();
        names
            .map(|(name, known)| (name.clone(), known.addresses.keys().copied().collect()))
            .collect()
    }

    /// Whether it was ever asked about, with or without an answer.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// The name among `names` that stands for an address.
    #[must_use]
    pub fn name_of<'n>(
        &self,
        address: IpAddr,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Option<&'n str> {
        names.find(|name| {
            let known = self.known.get(*name);
            known.is_some_and(|known| known.addresses.contains_key(&address))
        })
    }

    /// Which of `wanted` are to be looked up now.
    #[must_use]
    pub fn due(&self, wanted: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
        let is_due = |name: &&String| {
            let due = self.known.get(*name).and_then(|known| known.due);
            due.is_none_or(|due| due <= now)
        };
        wanted.iter().filter(is_due).cloned().collect()
    }

    /// When the first of `wanted` is to be looked up.
    #[must_use]
    pub fn next_due(&self, wanted: &BTreeSet<String>) -> Option<Timestamp> {
        let due = wanted.iter().map(|name| {
            let known = self.known.get(name).and_then(|known| known.due);
            known.unwrap_or(Timestamp::MIN)
        });
        due.min()
    }

    /// Takes note of an answer, or of there being none; true where the addresses are others now.
    pub fn learn(
        &mut self,
        name: &str,
        answer: Result<Found, String>,
        now: Timestamp,
        floor: Duration,
        grace: Duration,
    ) -> bool {
        let known = self.known.entry(name.to_owned()).or_default();
        let before: Vec<IpAddr> = known.addresses.keys().copied().collect();
        match answer {
            Ok(found) => {
                let again = found.ttl.clamp(floor, LONGEST.max(floor));
                known.due = Some(after(now, again));
                known.answered = Some(now);
                known.problem = None;
                known.believe(&found.addresses, now, after(now, again + grace));
            }
            Err(problem) => {
                known.due = Some(after(now, floor));
                known.problem = Some(problem);
            }
        }
        !before.iter().eq(known.addresses.keys())
    }

    /// Forgets none of these until [`Self::await_no_more`] is called as often.
    pub fn await_all(&mut self, names: &BTreeSet<String>) {
        for name in names {
            *self.awaited.entry(name.clone()).or_default() += 1;
        }
    }

    /// They are in force now, or nobody waits for them any more.
    pub fn await_no_more(&mut self, names: &BTreeSet<String>) {
        for name in names {
            if let Some(count) = self.awaited.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.awaited.remove(name);
                }
            }
        }
    }

    /// Forgets what is too much, and never what is `needed`, or awaited: rules hold by it.
    pub fn make_room(&mut self, needed: impl Fn(&str) -> bool) {
        let too_many = self.known.len().saturating_sub(MAX_NAMES);
        if too_many == 0 {
            return;
        }
        let is_free = |name: &str| !needed(name) && !self.awaited.contains_key(name);
        let others = self.known.iter().filter(|(name, _)| is_free(name));
        let mut others: Vec<_> = others
            .map(|(name, known)| (known.answered, name.clone()))
            .collect();
        others.sort_unstable();
        for (_, name) in others.into_iter().take(too_many) {
            self.known.remove(&name);
        }
    }

    /// What a person should know about `names`: those that do not resolve, by what that means.
    #[must_use]
    pub fn warnings<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<String> {
        let (mut kept, mut empty) = (Vec::new(), Vec::new());
        for name in names {
            let Some(known) = self.known.get(name) else {
                empty.push(format!("{name} (it was not looked up)"));
                continue;
            };
            match (&known.problem, known.addresses.is_empty()) {
                (None, _) => {}
                (Some(why), false) => kept.push(format!("{name} ({why})")),
                (Some(why), true) => empty.push(format!("{name} ({why})")),
            }
        }
        let tell = |names: Vec<String>, meaning: &str| {
            let first = names.get(..MAX_TOLD).unwrap_or(&names).join(", ");
            let others = match names.len().saturating_sub(MAX_TOLD) {
                0 => String::new(),
                others => format!(", and {others} more"),
            };
            (!names.is_empty()).then(|| format!("{meaning}: {first}{others}"))
        };
        let kept = tell(
            kept,
            "these names do not resolve now, and keep their last addresses",
        );
        let empty = tell(
            empty,
            "these names do not resolve, and rules for them cover nothing yet",
        );
        kept.into_iter().chain(empty).collect()
    }
}

impl Known {
    /// Adds what was answered, and drops what has not been for long enough.
    fn believe(&mut self, addresses: &[IpAddr], now: Timestamp, until: Timestamp) {
        self.addresses.retain(|_, until| *until > now);
        for address in addresses {
            self.addresses.insert(address.to_canonical(), until);
        }
        while self.addresses.len() > MAX_ADDRESSES {
            let first = self.addresses.iter().min_by_key(|(_, until)| **until);
            let Some(first) = first.map(|(address, _)| *address) else {
                return;
            };
            self.addresses.remove(&first);
        }
    }
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

/// Asks the name servers.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// Those of `guardd.toml`; else the system's.
    servers: Option<Vec<SocketAddr>>,
}

impl Resolver {
    /// A resolver that asks `servers`, or where the system asks.
    #[must_use]
    pub fn new(servers: Option<Vec<SocketAddr>>) -> Self {
        Self { servers }
    }

    /// The addresses of the name servers: what `@dns` stands for.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let addresses: BTreeSet<IpAddr> = match &self.servers {
            Some(servers) => servers.iter().map(SocketAddr::ip).collect(),
            None => match read_system_conf() {
                Ok((config, _)) => config.name_servers().iter().map(|one| one.ip).collect(),
                Err(_) => BTreeSet::new(),
            },
        };
        addresses.into_iter().collect()
    }

    /// Looks all `names` up at once. The system's settings are read anew each time.
    pub async fn look_up(&self, names: Vec<String>) -> Vec<(String, Result<Found, String>)> {
        if names.is_empty() {
            return Vec::new();
        }
        let resolver = match self.build() {
            Ok(resolver) => resolver,
            Err(problem) => {
                let failed = |name| (name, Err(problem.clone()));
                return names.into_iter().map(failed).collect();
            }
        };
        let mut round = JoinSet::new();
        for name in names {
            let resolver = resolver.clone();
            round.spawn(async move {
                let found = look_up(&resolver, &name).await;
                (name, found)
            });
        }
        round.join_all().await
    }

    fn build(&self) -> Result<TokioResolver, String> {
        let mut builder = match &self.servers {
            Some(servers) => ResolverBuilder::with(servers),
            None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = ROUND / 2;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build().map_err(|error| error.to_string())
    }
}

/// A builder for servers of our own choice.
trait With {
    fn with(servers: &[SocketAddr]) -> Self;
}

impl With for ResolverBuilder<TokioRuntimeProvider> {
    fn with(servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    }
}

async fn look_up(resolver: &TokioResolver, name: &str) -> Result<Found, String> {
    // With the final dot, so that no search domain is tried.
    let asked = resolver.lookup_ip(format!("{name}."));
    let answer = match timeout(ROUND, asked).await {
        Ok(answer) => answer.map_err(|error| in_words(&error))?,
        Err(_) => return Err("no name server answered".to_owned()),
    };
    let valid = answer.valid_until();
    Ok(Found {
        addresses: answer.iter().collect(),
        ttl: valid.saturating_duration_since(std::time::Instant::now()),
    })
}

/// What a look-up's error means for a person.
fn in_words(error: &NetError) -> String {
    if error.is_nx_domain() {
        "no such name".to_owned()
    } else if error.is_no_records_found() {
        "it has no address".to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_secs(30);
    const GRACE: Duration = Duration::from_secs(300);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn found(last: u8, ttl: u64) -> Result<Found, String> {
        Ok(Found {
            addresses: vec![IpAddr::from([192, 0, 2, last])],
            ttl: Duration::from_secs(ttl),
        })
    }

    fn wanted() -> BTreeSet<String> {
        BTreeSet::from(["db.example.com".to_owned()])
    }

    #[test]
    fn what_is_too_much_is_forgotten_the_oldest_first_and_never_what_is_needed() {
        let mut names = Names::default();
        let name = |number: usize| format!("n{number}.example.com");
        for number in 0..MAX_NAMES + 3 {
            let answered = at(i64::try_from(number).unwrap());
            let found = Found {
                addresses: vec![[192, 0, 2, 1].into()],
                ttl: FLOOR,
            };
            names.learn(&name(number), Ok(found), answered, FLOOR, GRACE);
        }
        names.learn(
            "never.example.com",
            Err("no".to_owned()),
            at(0),
            FLOOR,
            GRACE,
        );
        let awaited = BTreeSet::from([name(2)]);
        names.await_all(&awaited);
        names.make_room(|name| name == "n1.example.com");
        assert_eq!(names.known.len(), MAX_NAMES);
        let gone: Vec<_> = [0, 1, 2, 3, 4]
            .map(|number| !names.has(&name(number)))
            .into();
        assert_eq!(gone, [true, false, false, true, true]);
        assert!(!names.has("never.example.com"));
        let warnings = names.warnings(["n0.example.com"].into_iter());
        assert!(warnings[0].contains("not looked up"), "{warnings:?}");
        names.await_no_more(&awaited);
        assert!(names.awaited.is_empty());
    }

    #[test]
    fn a_name_is_looked_up_by_its_ttl_but_not_too_often() {
        let mut names = Names::default();
        assert_eq!(names.due(&wanted(), at(0)).len(), 1);
        assert!(names.learn("db.example.com", found(1, 1), at(0), FLOOR, GRACE));
        assert!(names.due(&wanted(), at(29)).is_empty());
        assert_eq!(names.due(&wanted(), at(30)).len(), 1);
        assert!(!names.learn("db.example.com", found(1, 600), at(30), FLOOR, GRACE));
        assert!(names.due(&wanted(), at(629)).is_empty());
    }

    #[test]
    fn an_address_counts_for_a_while_after_the_name_has_lost_it() {
        let mut names = Names::default();
        names.learn("db.example.com", found(1, 60), at(0), FLOOR, GRACE);
        assert!(names.learn("db.example.com", found(2, 60), at(60), FLOOR, GRACE));
        assert_eq!(names.addresses()["db.example.com"].len(), 2);
        assert!(names.learn("db.example.com", found(2, 60), at(361), FLOOR, GRACE));
        assert_eq!(names.addresses()["db.example.com"].len(), 1);
    }

    #[test]
    fn a_warning_tells_the_first_of_many_names() {
        let all: Vec<String> = (0..MAX_TOLD + 2).map(|n| format!("n{n}.example")).collect();
        let told = |count| Names::default().warnings(all.iter().take(count).map(String::as_str));
        let few = told(MAX_TOLD);
        assert!(
            few[0].ends_with("n7.example (it was not looked up)"),
            "{few:?}"
        );
        let many = told(MAX_TOLD + 2);
        assert!(
            many[0].ends_with("n7.example (it was not looked up), and 2 more"),
            "{many:?}"
        );
    }

    #[test]
    fn a_name_that_no_longer_resolves_keeps_its_addresses_and_says_so() {
        let mut names = Names::default();
        names.learn("db.example.com", found(1, 60), at(0), FLOOR, GRACE);
        let gone = Err("no such name".to_owned());
        assert!(!names.learn("db.example.com", gone, at(100_000), FLOOR, GRACE));
        assert_eq!(names.addresses()["db.example.com"].len(), 1);
        let warnings = names.warnings(["db.example.com"].into_iter());
        assert!(warnings[0].contains("no such name"), "{warnings:?}");
        assert!(warnings[0].contains("keep their last"), "{warnings:?}");
        let address = IpAddr::from([192, 0, 2, 1]);
        let name = names.name_of(address, ["a.example", "db.example.com"].into_iter());
        assert_eq!(name, Some("db.example.com"));
    }
}
