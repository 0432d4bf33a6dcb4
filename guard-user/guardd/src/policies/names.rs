//! The addresses that names in policies stand for: looked up, kept, looked up again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use guard_common::{BootTime, DNS_PORT};
use guard_proto::names::OnLink;
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
/// Names that are remembered at most which only a call from inside has brought.
const MAX_PASSING: usize = 256;
/// Addresses of such a name at most. A request is for one.
const MAX_PASSING_ADDRESSES: usize = 8;
/// What may be lost with a guardd that is killed is written this often at most, in nanoseconds.
const PAUSE: u64 = 5_000_000_000;
/// Names that one warning tells of each reason: it comes with each start.
const MAX_TOLD: usize = 3;
/// Names without an address that are shown to a launcher.
const MAX_WITHOUT: usize = 256;

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundAddresses {
    /// The addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// For how long.
    pub(crate) ttl: Duration,
}

/// What is known of a name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct RefreshedName {
    /// The addresses, each with the time until which it counts.
    addresses: BTreeMap<IpAddr, Timestamp>,
    /// When it was last answered.
    answered: Option<Timestamp>,
    /// When it is looked up again.
    due: Option<Timestamp>,
    /// Why it was not answered, where it was not.
    problem: Option<String>,
    /// One of its first addresses was public.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    public: bool,
}

/// All names, with what was last known of each. A name that no longer resolves keeps its addresses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PolicyNames {
    known: BTreeMap<String, RefreshedName>,
    /// Those that policies are about to be compiled by, and how many.
    #[serde(skip)]
    awaited: HashMap<String, usize>,
    /// Those that policies from inside have brought: they are remembered for as long as a policy has them.
    #[serde(skip)]
    brought: BTreeSet<String>,
    /// What calls from inside have asked about. No rule holds by it.
    #[serde(skip)]
    passing: BTreeMap<String, RefreshedName>,
    /// When all was last written down, and whether something has come since.
    #[serde(skip)]
    written: BootTime,
    #[serde(skip)]
    is_unwritten: bool,
}

impl PolicyNames {
    /// The addresses of each name.
    #[must_use]
    pub(crate) fn addresses(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let names = self.known.iter();
        names
            .map(|(name, known)| (name.clone(), known.addresses.keys().copied().collect()))
            .collect()
    }

    /// The names that had a public address among their first.
    #[must_use]
    pub(crate) fn public(&self) -> BTreeSet<String> {
        let names = self.known.iter().filter(|(_, known)| known.public);
        names.map(|(name, _)| name.clone()).collect()
    }

    /// Whether it was ever answered, or is known to have public addresses.
    #[must_use]
    pub(crate) fn is_answered(&self, name: &str) -> bool {
        let known = self.known.get(name);
        known.is_some_and(|known| known.answered.is_some() || known.public)
    }

    /// Takes note that a name has a public address, if nothing was known of it before. True where that is new.
    pub(crate) fn note_public(&mut self, name: &str) -> bool {
        if self.is_answered(name) {
            return false;
        }
        self.known.entry(name.to_owned()).or_default().public = true;
        self.is_unwritten = true;
        true
    }

    /// Whether it was ever asked about, with or without an answer.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// The name among `names` that stands for an address.
    #[must_use]
    pub(crate) fn name_of<'n>(
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
    pub(crate) fn due(&self, wanted: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
        let is_due = |name: &&String| {
            let due = self.known.get(*name).and_then(|known| known.due);
            due.is_none_or(|due| due <= now)
        };
        wanted.iter().filter(is_due).cloned().collect()
    }

    /// When the first of `wanted` is to be looked up.
    #[must_use]
    pub(crate) fn next_due(&self, wanted: &BTreeSet<String>) -> Option<Timestamp> {
        let due = wanted.iter().map(|name| {
            let known = self.known.get(name).and_then(|known| known.due);
            known.unwrap_or(Timestamp::MIN)
        });
        due.min()
    }

    /// Takes note of an answer, or of there being none; true where the addresses are others now.
    pub(crate) fn learn(
        &mut self,
        name: &str,
        answer: Result<FoundAddresses, String>,
        now: Timestamp,
        floor: Duration,
        grace: Duration,
    ) -> bool {
        self.is_unwritten = true;
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
    pub(crate) fn await_all(&mut self, names: &BTreeSet<String>) {
        for name in names {
            *self.awaited.entry(name.clone()).or_default() += 1;
        }
    }

    /// They are in force now, or nobody waits for them any more.
    pub(crate) fn await_no_more(&mut self, names: &BTreeSet<String>) {
        for name in names {
            if let Some(count) = self.awaited.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.awaited.remove(name);
                }
            }
        }
    }

    /// Whether a policy is about to be compiled by it.
    #[must_use]
    pub(crate) fn is_awaited(&self, name: &str) -> bool {
        self.awaited.contains_key(name)
    }

    /// Takes note that a policy from inside has brought these. Those that others know of stay as they are.
    pub(crate) fn bring(&mut self, names: &BTreeSet<String>) {
        let new = names.iter().filter(|name| !self.known.contains_key(*name));
        self.brought.extend(new.cloned());
    }

    /// Why a name was not answered when it was last looked up.
    #[must_use]
    pub(crate) fn problem(&self, name: &str) -> Option<&String> {
        self.known.get(name)?.problem.as_ref()
    }

    /// Which of `wanted` are to be looked up now for a call that nothing else needs them for.
    #[must_use]
    pub(crate) fn due_in_passing(&self, wanted: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
        let is_due = |name: &String| {
            let known = self.passing.get(name).and_then(|known| known.due);
            known.is_none_or(|due| due <= now)
        };
        let mut due = self.due(wanted, now);
        due.retain(is_due);
        due
    }

    /// Takes note of an answer, or of there being none, for such a call.
    pub(crate) fn learn_in_passing(
        &mut self,
        name: String,
        answer: Result<FoundAddresses, String>,
        now: Timestamp,
        floor: Duration,
    ) {
        let mut known = RefreshedName::default();
        match answer {
            Ok(mut found) => {
                let until = after(now, found.ttl.clamp(floor, LONGEST.max(floor)));
                found.addresses.truncate(MAX_PASSING_ADDRESSES);
                known.believe(&found.addresses, now, until);
                (known.due, known.answered) = (Some(until), Some(now));
            }
            Err(problem) => {
                (known.due, known.problem) = (Some(after(now, floor)), Some(problem));
            }
        }
        // Those of one session may stay for long; never is it they for which what is asked now has no room.
        if self.passing.len() >= MAX_PASSING && !self.passing.contains_key(&name) {
            let is_past = |known: &RefreshedName| known.due.is_none_or(|due| due <= now);
            let first = self.passing.iter();
            let first = first.min_by_key(|(_, known)| (!is_past(known), known.answered));
            if let Some(first) = first.map(|(name, _)| name.clone()) {
                self.passing.remove(&first);
            }
        }
        self.passing.insert(name, known);
    }

    /// The addresses of a name as they were last answered, also where only a call from inside has asked.
    #[must_use]
    pub(crate) fn latest(&self, name: &str) -> Vec<IpAddr> {
        let known = self.passing.get(name).into_iter();
        let known = known.chain(self.known.get(name));
        let latest = known.max_by_key(|known| known.answered);
        latest.map_or_else(Vec::new, |known| known.addresses.keys().copied().collect())
    }

    /// Whether they are to be written down now; then the caller does it.
    pub(crate) fn take_unwritten(&mut self, is_urgent: bool, now: BootTime) -> bool {
        let is_due = is_urgent || now.0.saturating_sub(self.written.0) >= PAUSE;
        if !self.is_unwritten || !is_due {
            return false;
        }
        (self.written, self.is_unwritten) = (now, false);
        true
    }

    /// Forgets what is too much, and never what is `needed`, or awaited: rules hold by it.
    pub(crate) fn make_room(&mut self, needed: impl Fn(&str) -> bool) {
        let (known, awaited) = (&mut self.known, &self.awaited);
        self.brought.retain(|name| {
            let stays = needed(name) || awaited.contains_key(name);
            if !stays {
                known.remove(name);
            }
            stays
        });
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
    pub(crate) fn warnings<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<String> {
        let (mut kept, mut empty) = (BTreeMap::new(), BTreeMap::new());
        for name in names {
            let (of, why) = match self.known.get(name) {
                None => (&mut empty, "it was not looked up"),
                Some(known) => match (known.problem.as_deref(), known.addresses.is_empty()) {
                    (None, _) => continue,
                    (Some(why), false) => (&mut kept, why),
                    (Some(why), true) => (&mut empty, why),
                },
            };
            let of: &mut Vec<_> = of.entry(why).or_default();
            of.push(name);
        }
        let tell = |by_reason: BTreeMap<&str, Vec<&str>>, meaning: &str| {
            let told = by_reason.iter().map(|(why, names)| told(names, why));
            let told: Vec<_> = told.collect();
            (!told.is_empty()).then(|| format!("{meaning}: {}", told.join("; ")))
        };
        let kept = tell(
            kept,
            "these names do not resolve now, and keep their last addresses",
        );
        let empty = tell(
            empty,
            "these names do not resolve, and rules for them cover no address yet",
        );
        kept.into_iter().chain(empty).collect()
    }

    /// Those without an address, which no rule covers yet; not more than a person has in reach.
    pub(crate) fn without_address<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<String> {
        let has = |name: &str| {
            let known = self.known.get(name);
            known.is_some_and(|known| !known.addresses.is_empty())
        };
        let without = names.filter(|name| !has(name)).take(MAX_WITHOUT);
        without.map(str::to_owned).collect()
    }
}

/// "a.example, b.example and 7 more (no such name)"
fn told(names: &[&str], why: &str) -> String {
    let first = names.get(..MAX_TOLD).unwrap_or(names).join(", ");
    let others = match names.len().saturating_sub(MAX_TOLD) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    format!("{first}{others} ({why})")
}

impl RefreshedName {
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
pub(crate) struct NameServers {
    /// Those of `guardd.toml`; else the system's.
    servers: Option<Vec<SocketAddr>>,
}

impl NameServers {
    /// A resolver that asks `servers`, or where the system asks.
    #[must_use]
    pub(crate) fn new(servers: Option<Vec<SocketAddr>>) -> Self {
        Self { servers }
    }

    /// The addresses of the name servers: what `@dns` stands for.
    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let addresses: BTreeSet<IpAddr> = match &self.servers {
            Some(servers) => servers.iter().map(SocketAddr::ip).collect(),
            None => match read_system_conf() {
                Ok((config, _)) => config.name_servers().iter().map(|one| one.ip).collect(),
                Err(_) => BTreeSet::new(),
            },
        };
        addresses.into_iter().collect()
    }

    /// Those at the port from which questions are redirected, so that their answers teach. At another port of an address than the
    /// settings say may be anybody.
    #[must_use]
    pub(crate) fn teachers(&self) -> Vec<IpAddr> {
        match &self.servers {
            Some(servers) => {
                let servers = servers.iter().filter(|server| server.port() == DNS_PORT);
                servers.map(SocketAddr::ip).collect()
            }
            None => self.addresses(),
        }
    }

    /// On which links those are that have an address of a link alone.
    #[must_use]
    pub(crate) fn on_links(&self) -> Vec<OnLink> {
        match &self.servers {
            Some(servers) => servers.iter().filter_map(on_link).collect(),
            None => {
                let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
                named_links(&text, number_of_link)
            }
        }
    }

    /// The domains of the system's search list.
    #[must_use]
    pub(crate) fn search_list(&self) -> Vec<String> {
        let Ok((config, _)) = read_system_conf() else {
            return Vec::new();
        };
        let domains = config.domain().into_iter().chain(config.search());
        let domains: BTreeSet<_> = domains
            .map(|name| name.to_ascii().trim_end_matches('.').to_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        domains.into_iter().collect()
    }

    /// Looks all `names` up at once. The system's settings are read each time.
    pub(crate) async fn look_up(
        &self,
        names: Vec<String>,
    ) -> Vec<(String, Result<FoundAddresses, String>)> {
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

fn on_link(server: &SocketAddr) -> Option<OnLink> {
    match server {
        SocketAddr::V6(at) if at.scope_id() != 0 => Some(OnLink {
            address: *at.ip(),
            link: at.scope_id(),
        }),
        _ => None,
    }
}

/// The name servers of a resolv.conf(5) that are there with their link, as in `nameserver fe80::1%eth0`.
fn named_links(text: &str, number: impl Fn(&str) -> Option<u32>) -> Vec<OnLink> {
    let lines = text.lines().map(str::split_whitespace);
    let servers = lines.filter_map(|mut words| {
        let is_server = words.next() == Some("nameserver");
        words.next().filter(|_| is_server)?.split_once('%')
    });
    let links = servers.filter_map(|(address, link)| {
        Some(OnLink {
            address: address.parse::<Ipv6Addr>().ok()?,
            link: number(link)?,
        })
    });
    links.collect()
}

/// The number of an interface of this machine, which is called so or has it.
fn number_of_link(link: &str) -> Option<u32> {
    let of_name = || {
        let file = format!("/sys/class/net/{link}/ifindex");
        let is_name = !link.contains('/');
        let text = is_name.then(|| fs::read_to_string(file).ok()).flatten()?;
        text.trim().parse().ok()
    };
    link.parse().ok().or_else(of_name)
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

async fn look_up(resolver: &TokioResolver, name: &str) -> Result<FoundAddresses, String> {
    // With the final dot, so that no search domain is tried.
    let asked = resolver.lookup_ip(format!("{name}."));
    let answer = match timeout(ROUND, asked).await {
        Ok(answer) => answer.map_err(|error| in_words(&error))?,
        Err(_) => return Err("no name server answered".to_owned()),
    };
    let valid = answer.valid_until();
    Ok(FoundAddresses {
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
        said_by_server(&error.to_string())
    }
}

/// The error without how the library leads up to it: "Query Refused".
fn said_by_server(error: &str) -> String {
    match error.strip_prefix("DNS error: error response: ") {
        Some(said) => format!("the name server answers: {said}"),
        None => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_from_where_programs_are_sent_only() {
        let servers = ["192.0.2.53:53", "127.0.0.1:5300", "[2001:db8::53]:53"];
        let servers = servers.map(|server| server.parse().unwrap());
        let servers = NameServers::new(Some(servers.to_vec()));
        assert_eq!(servers.addresses().len(), 3);
        let teachers = ["192.0.2.53", "2001:db8::53"].map(|at| at.parse::<IpAddr>().unwrap());
        assert_eq!(servers.teachers(), teachers);
    }

    #[test]
    fn servers_of_a_link_alone_are_known_with_it() {
        let text = "# nameserver fe80::9%eth0\nnameserver 192.0.2.53\nnameserver  fe80::1%eth0 # the router\n\
                    nameserver fe80::2%7\nnameserver fe80::3%gone\nnameserver fe80::4\nnameservers fe80::5%eth0\n";
        let number = |link: &str| match link {
            "eth0" => Some(3),
            other => other.parse().ok(),
        };
        let on_link = |address: &str, link| OnLink {
            address: address.parse().unwrap(),
            link,
        };
        let both = [on_link("fe80::1", 3), on_link("fe80::2", 7)];
        assert_eq!(named_links(text, number), both);
        let servers = ["[fe80::1%3]:53", "[fe80::6]:53", "192.0.2.53:53"];
        let servers = servers.map(|server| server.parse().unwrap());
        let servers = NameServers::new(Some(servers.to_vec()));
        assert_eq!(servers.on_links(), both[..1]);
        assert_eq!(number_of_link("../lo"), None);
    }

    const FLOOR: Duration = Duration::from_secs(30);
    const GRACE: Duration = Duration::from_secs(300);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn found(last: u8, ttl: u64) -> Result<FoundAddresses, String> {
        Ok(FoundAddresses {
            addresses: vec![IpAddr::from([192, 0, 2, last])],
            ttl: Duration::from_secs(ttl),
        })
    }

    fn wanted() -> BTreeSet<String> {
        BTreeSet::from(["db.example.com".to_owned()])
    }

    #[test]
    fn what_is_too_much_is_forgotten_the_oldest_first_and_never_what_is_needed() {
        let mut names = PolicyNames::default();
        let name = |number: usize| format!("n{number}.example.com");
        for number in 0..MAX_NAMES + 3 {
            let answered = at(i64::try_from(number).unwrap());
            let found = FoundAddresses {
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
    fn what_a_policy_from_inside_brought_goes_with_it() {
        let mut names = PolicyNames::default();
        names.learn("mine.example.com", found(1, 60), at(0), FLOOR, GRACE);
        let awaited = BTreeSet::from(["mine.example.com", "theirs.example.com"].map(str::to_owned));
        names.bring(&awaited);
        names.await_all(&awaited);
        names.learn("theirs.example.com", found(2, 60), at(0), FLOOR, GRACE);
        names.make_room(|_| false);
        assert!(names.has("theirs.example.com"));
        names.await_no_more(&awaited);
        names.make_room(|name| name == "theirs.example.com");
        assert!(names.has("theirs.example.com"));
        names.make_room(|_| false);
        assert!(!names.has("theirs.example.com"));
        assert!(names.has("mine.example.com"));
    }

    #[test]
    fn what_a_call_from_inside_asks_about_is_in_no_file_and_no_rule() {
        let mut names = PolicyNames::default();
        for number in 0..2 * MAX_PASSING {
            let found = FoundAddresses {
                addresses: (0..=255).map(|last| [192, 0, 2, last].into()).collect(),
                ttl: FLOOR,
            };
            let (name, now) = (format!("n{number}.example.com"), number / MAX_PASSING);
            let now = at(i64::try_from(now).unwrap());
            names.learn_in_passing(name, Ok(found), now, FLOOR);
        }
        assert_eq!(names.passing.len(), MAX_PASSING);
        let last = format!("n{}.example.com", 2 * MAX_PASSING - 1);
        assert_eq!(names.latest(&last).len(), MAX_PASSING_ADDRESSES);
        assert!(names.addresses().is_empty() && !names.has(&last));
        assert!(!serde_json::to_string(&names).unwrap().contains("example"));
        assert!(!names.take_unwritten(true, BootTime(PAUSE)));
        // It is not asked about again before its time, and then it is what came last that counts.
        let wanted = BTreeSet::from([last.clone()]);
        assert!(names.due_in_passing(&wanted, at(30)).is_empty());
        assert_eq!(names.due_in_passing(&wanted, at(31)).len(), 1);
        names.learn(&last, found(7, 60), at(20), FLOOR, GRACE);
        assert_eq!(names.latest(&last).len(), 1);
        assert!(names.due_in_passing(&wanted, at(31)).is_empty());
    }

    #[test]
    fn what_may_be_lost_is_not_written_for_each_answer() {
        let mut names = PolicyNames::default();
        let now = |seconds: u64| BootTime(seconds * 1_000_000_000);
        names.learn("db.example.com", found(1, 60), at(0), FLOOR, GRACE);
        assert!(names.take_unwritten(false, now(100)));
        assert!(!names.take_unwritten(true, now(200)), "nothing is new");
        names.learn("db.example.com", found(1, 60), at(60), FLOOR, GRACE);
        assert!(!names.take_unwritten(false, now(104)));
        assert!(names.take_unwritten(true, now(104)));
        names.learn("db.example.com", found(1, 60), at(120), FLOOR, GRACE);
        assert!(!names.take_unwritten(false, now(108)));
        assert!(names.take_unwritten(false, now(109)));
    }

    #[test]
    fn a_name_is_looked_up_by_its_ttl_but_not_too_often() {
        let mut names = PolicyNames::default();
        assert_eq!(names.due(&wanted(), at(0)).len(), 1);
        assert!(names.learn("db.example.com", found(1, 1), at(0), FLOOR, GRACE));
        assert!(names.due(&wanted(), at(29)).is_empty());
        assert_eq!(names.due(&wanted(), at(30)).len(), 1);
        assert!(!names.learn("db.example.com", found(1, 600), at(30), FLOOR, GRACE));
        assert!(names.due(&wanted(), at(629)).is_empty());
    }

    #[test]
    fn an_address_counts_for_a_while_after_the_name_has_lost_it() {
        let mut names = PolicyNames::default();
        names.learn("db.example.com", found(1, 60), at(0), FLOOR, GRACE);
        assert!(names.learn("db.example.com", found(2, 60), at(60), FLOOR, GRACE));
        assert_eq!(names.addresses()["db.example.com"].len(), 2);
        assert!(names.learn("db.example.com", found(2, 60), at(361), FLOOR, GRACE));
        assert_eq!(names.addresses()["db.example.com"].len(), 1);
    }

    #[test]
    fn a_warning_tells_the_first_of_many_names() {
        let all: Vec<String> = (0..MAX_TOLD + 2).map(|n| format!("n{n}.example")).collect();
        let told =
            |count| PolicyNames::default().warnings(all.iter().take(count).map(String::as_str));
        let few = told(MAX_TOLD);
        let three = "n0.example, n1.example, n2.example";
        assert!(
            few[0].ends_with(&format!("{three} (it was not looked up)")),
            "{few:?}"
        );
        let many = told(MAX_TOLD + 2);
        assert!(
            many[0].ends_with(&format!("{three} and 2 more (it was not looked up)")),
            "{many:?}"
        );
        let refused = said_by_server("DNS error: error response: Query Refused");
        assert_eq!(refused, "the name server answers: Query Refused");
        // Each reason once.
        let mut names = PolicyNames::default();
        for (name, why) in [
            ("a.example", "refused"),
            ("b.example", "no such name"),
            ("c.example", "refused"),
        ] {
            names.learn(name, Err(why.to_owned()), at(0), FLOOR, GRACE);
        }
        let all = names.warnings(["a.example", "b.example", "c.example"].into_iter());
        let words = "yet: b.example (no such name); a.example, c.example (refused)";
        assert!(all[0].ends_with(words), "{all:?}");
    }

    #[test]
    fn a_name_that_no_longer_resolves_keeps_its_addresses_and_says_so() {
        let mut names = PolicyNames::default();
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
        // Its rules cover those addresses yet; a name that never had one is covered by nothing.
        let gone = Err("no such name".to_owned());
        names.learn("never.example.com", gone, at(0), FLOOR, GRACE);
        let all = ["db.example.com", "never.example.com", "unasked.example.com"];
        assert_eq!(names.without_address(all.into_iter()), all[1..]);
    }
}
