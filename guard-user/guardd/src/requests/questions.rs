//! Questions for names. Many new names below one zone become one request, as neighbouring addresses do (`bursts.rs`).

use std::collections::HashSet;

use guard_common::{BootTime, DNS_PORT, NameId, Protocol, SessionId};
use guard_proto::{self as proto, DnsQuestion, record::Gathered};
use serde::{Deserialize, Serialize};

use crate::{
    control::failure::CallError,
    policies::labels,
    requests::{
        Pending, RequestKey, Requests,
        bursts::{self, BurstExtent, MANY, MOST, MOST_SHOWN, WINDOW},
    },
};

/// Record types that one request names at most.
const MAX_TYPES: usize = 8;

/// A name that was asked for, and the id of the request about it alone, where there was one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AskedName {
    name: String,
    id: Option<String>,
    /// Who asked for it; none: who asked for one that came later is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<AskingProgram>,
}

/// The program that a request is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskingProgram {
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<String>,
    exe: Option<String>,
    pub(super) command: Vec<String>,
}

impl AskingProgram {
    pub(super) fn of(shown: &proto::Request) -> Self {
        Self {
            pid: shown.pid,
            comm: shown.comm.clone(),
            exe: shown.exe.clone(),
            command: shown.command.clone(),
        }
    }

    pub(super) fn put(self, shown: &mut proto::Request) {
        shown.pid = self.pid;
        shown.comm = self.comm;
        shown.exe = self.exe;
        shown.command = self.command;
    }
}

/// Many names below one zone that are asked about together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameBurst {
    zone: String,
    members: Vec<AskedName>,
}

impl NameBurst {
    fn over(zone: &str) -> Self {
        Self {
            zone: zone.to_owned(),
            members: Vec::new(),
        }
    }

    /// The pattern for all of it.
    #[must_use]
    pub(crate) fn pattern(&self) -> String {
        format!("*.{}", self.zone)
    }

    /// Whether a name is part of it.
    #[must_use]
    pub(crate) fn covers(&self, name: &str) -> bool {
        labels::is_below(name, &self.zone)
    }

    /// Adds a name, and the id of the request about it. Returns whether it is new. All of the zone is no name.
    fn add(&mut self, name: &str, id: Option<String>, by: Option<AskingProgram>) -> bool {
        let is_known = self.members.iter().any(|member| member.name == name);
        let is_new = !is_known && !name.starts_with("*.") && self.members.len() < MOST;
        if is_new {
            let name = name.to_owned();
            self.members.push(AskedName { name, id, by });
        }
        is_new
    }

    /// The ids of the requests that became this one.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        let members = self.members.iter();
        members.filter_map(|member| member.id.as_deref())
    }

    /// The ids of those that one of these patterns is for.
    pub(crate) fn ids_in(&self, patterns: &[String]) -> impl Iterator<Item = &str> {
        let members = self.members.iter();
        let meant = members.filter(|member| is_in(member, patterns));
        meant.filter_map(|member| member.id.as_deref())
    }

    fn bytes(&self) -> u64 {
        self.members.iter().map(|one| one.name.len() as u64).sum()
    }

    fn to_shown(&self) -> proto::Burst {
        let names = self.members.iter().take(MOST_SHOWN);
        proto::Burst {
            prefix: self.pattern(),
            addresses: names.map(|one| one.name.clone()).collect(),
            count: self.members.len(),
        }
    }

    /// What a yes opens, to a burst with the id `own` that was named by `id`.
    ///
    /// # Errors
    ///
    /// As [`BurstExtent::of`].
    pub(crate) fn chosen(
        &self,
        extent: BurstExtent,
        own: &str,
        id: &str,
    ) -> Result<Vec<String>, CallError> {
        if own != id && !extent.is_none() {
            return Err(bursts::only_a_part(own, id));
        }
        if extent.prefix {
            return Ok(vec![self.pattern()]);
        }
        let members = self.members.iter();
        let chosen: Vec<_> = match extent.tried {
            Some(count) => members
                .take(usize::try_from(count).unwrap_or(usize::MAX))
                .collect(),
            None => {
                let own = self
                    .members
                    .iter()
                    .find(|one| one.id.as_deref() == Some(id));
                own.or(self.members.first()).into_iter().collect()
            }
        };
        match chosen.len() {
            1..=MOST_SHOWN => Ok(chosen.into_iter().map(|one| one.name.clone()).collect()),
            count => Err(cannot_open(count, id, &self.pattern())),
        }
    }

    /// What is left when these are opened.
    fn without(&self, opened: &[String]) -> Option<Self> {
        let mut members = self.members.clone();
        members.retain(|member| !is_in(member, opened));
        let is_open = opened.contains(&self.pattern());
        (!is_open && !members.is_empty()).then(|| Self {
            members,
            zone: self.zone.clone(),
        })
    }
}

fn is_in(member: &AskedName, patterns: &[String]) -> bool {
    patterns
        .iter()
        .any(|pattern| labels::covers(pattern, &member.name))
}

fn cannot_open(count: usize, id: &str, all: &str) -> CallError {
    CallError::invalid(
        format!("cannot let {count} names of {id} be asked for one by one"),
        format!("one answer is for 1 to {MOST_SHOWN} of them, and nothing was opened"),
        format!("guard approve {id} --prefix is for {all}"),
    )
}

impl RequestKey {
    /// That a session asks for a name, or for all below a zone.
    #[must_use]
    pub(crate) fn of_name(session: SessionId, pattern: &str) -> Self {
        Self {
            session,
            destination: NameId::of(pattern).key(),
            protocol: Protocol::UDP,
            port: DNS_PORT,
            http: None,
            question: Some(pattern.into()),
        }
    }

    /// Whether a pattern is for the name that it is about.
    #[must_use]
    fn is_asked_by(&self, pattern: &str) -> bool {
        let name = self.question.as_deref();
        name.is_some_and(|name| labels::covers(pattern, name))
    }

    /// Whether both are about names below one zone.
    pub(super) fn is_in_zone_of(&self, other: &Self) -> bool {
        let zone = |one: &Self| {
            let zone = one.question.as_deref().and_then(labels::zone_of);
            zone.map(str::to_owned)
        };
        self.session == other.session && zone(self).is_some() && zone(self) == zone(other)
    }
}

impl Pending {
    /// Whether it is a burst of names with that one in it.
    pub(super) fn has_name(&self, key: &RequestKey) -> bool {
        let names = self
            .names
            .as_ref()
            .filter(|_| key.session == self.key.session);
        names
            .zip(key.question.as_deref())
            .is_some_and(|(names, name)| names.covers(name))
    }

    /// Adds a name to a burst of them. Returns whether it is new.
    pub(super) fn add_name(
        &mut self,
        key: &RequestKey,
        id: Option<String>,
        by: Option<AskingProgram>,
    ) -> bool {
        let (Some(names), Some(name)) = (&mut self.names, key.question.as_deref()) else {
            return false;
        };
        let is_new = names.add(name, id, by);
        if is_new {
            self.show_names();
        }
        is_new
    }

    fn show_names(&mut self) {
        let Some(names) = &self.names else { return };
        let shown = &mut self.shown;
        shown.burst = Some(names.to_shown());
        shown.destination.host = Some(names.pattern());
        if let Some(question) = &mut shown.question {
            question.name = names.pattern();
            question.bytes = names.bytes();
        }
    }

    /// Takes over the types of another question.
    pub(super) fn add_types(&mut self, types: &[String]) -> bool {
        let Some(question) = &mut self.shown.question else {
            return false;
        };
        let before = question.types.len();
        for kind in types {
            if question.types.len() < MAX_TYPES && !question.types.contains(kind) {
                question.types.push(kind.clone());
            }
        }
        question.types.len() > before
    }

    /// What is left of a burst of names after a yes for these; its id is `new`, unless one name is left that has an id of its own.
    fn without_names(self, opened: &[String], new: String) -> Option<Self> {
        let burst = self.names.as_ref()?.without(opened)?;
        let alone = burst.members.len() == 1;
        let first = burst.members.first()?.clone();
        let own = first.id.filter(|own| alone && *own != self.shown.id);
        let key = RequestKey::of_name(self.key.session, &first.name);
        let own_key = self.key.clone();
        let mut left = Self {
            key,
            names: (!alone).then_some(burst),
            ..self
        };
        if left.key != own_key {
            first.by.unwrap_or_default().put(&mut left.shown);
        }
        left.shown.id = own.unwrap_or(new);
        left.shown.burst = None;
        left.shown.destination.host = Some(first.name.clone());
        if let Some(question) = &mut left.shown.question {
            question.bytes = first.name.len() as u64;
            question.name = first.name;
        }
        left.show_names();
        Some(left)
    }
}

impl Requests {
    /// Notes another type that a name was asked for by.
    pub(crate) fn note_type(&mut self, id: &str, kind: &str) {
        let found = self.pending.iter_mut().find(|one| one.shown.id == id);
        if found.is_some_and(|known| known.add_types(&[kind.to_owned()])) {
            self.version += 1;
        }
    }

    /// Makes a burst of the questions around this one, if there are enough of them: the oldest takes in the others.
    pub(crate) fn gather_names(&mut self, key: &RequestKey, now: BootTime) -> Option<Gathered> {
        let zone = labels::zone_of(key.question.as_deref()?)?;
        let beside = self.pending.iter().filter(|one| {
            let is_there = one
                .key
                .question
                .as_deref()
                .map(|name| labels::is_below(name, zone));
            one.key.session == key.session && is_there == Some(true)
        });
        if beside.clone().any(|one| one.names.is_some()) || self.has_refused_below(key, zone, now) {
            return None;
        }
        let window = WINDOW.as_nanos() as u64;
        let is_recent = |one: &&Pending| now.0.saturating_sub(one.asked.0) <= window;
        if beside.clone().filter(is_recent).count() < MANY {
            return None;
        }
        let ids: HashSet<_> = beside.map(|one| one.shown.id.clone()).collect();
        self.merge_names(zone, &ids)
    }

    fn merge_names(&mut self, zone: &str, ids: &HashSet<String>) -> Option<Gathered> {
        let mut pending = self.pending.iter();
        let first = pending.position(|one| ids.contains(&one.shown.id))?;
        let merged = self.take_all(|one| ids.contains(&one.shown.id));
        let mut merged = merged.into_iter();
        let mut root = merged.next()?;
        root.names = Some(NameBurst::over(zone));
        let (key, request) = (root.key.clone(), root.shown.id.clone());
        let by = AskingProgram::of(&root.shown);
        root.add_name(&key, Some(request.clone()), Some(by));
        let mut others = Vec::new();
        for other in merged {
            others.push(other.shown.id.clone());
            root.absorb(other);
        }
        root.show_names();
        self.grown.insert(request.clone());
        self.pending.insert(first, root);
        Some(Gathered {
            request,
            prefix: format!("*.{zone}"),
            others,
        })
    }

    /// Whether a person has said no to a name below a zone: then all of it is not offered.
    fn has_refused_below(&self, key: &RequestKey, zone: &str, now: BootTime) -> bool {
        let mut noes = self.noes.iter();
        noes.any(|(other, no)| {
            let name = other.question.as_deref();
            let is_there = name.is_some_and(|name| labels::is_below(name, zone));
            no.until > now && other.session == key.session && is_there
        })
    }

    /// Whether a person has said no to all of a zone that the name is in.
    pub(super) fn is_zone_refused(&self, key: &RequestKey, now: BootTime) -> bool {
        if key.question.is_none() {
            return false;
        }
        let mut noes = self.noes.iter();
        noes.any(|(other, no)| {
            let pattern = other.question.as_deref();
            let is_covered = pattern.is_some_and(|pattern| key.is_asked_by(pattern));
            no.until > now && other.session == key.session && is_covered
        })
    }

    /// Restores the burst of names of a request that is adopted after a restart.
    pub(crate) fn put_names(&mut self, id: &str, names: Option<NameBurst>) {
        if let Some(known) = self.pending.iter_mut().find(|one| one.shown.id == id) {
            known.names = names;
            known.show_names();
        }
    }

    /// Removes what a yes for these patterns answers of a request.
    pub(crate) fn take_names(&mut self, id: &str, opened: &[String], new: Option<String>) {
        let Some(at) = self.pending.iter().position(|one| one.is_called(id)) else {
            return;
        };
        self.version += 1;
        let answered = self.pending.remove(at);
        let rest = new.and_then(|new| answered.without_names(opened, new));
        if let Some(rest) = rest {
            self.grown.insert(rest.shown.id.clone());
            self.pending.insert(at, rest);
        }
    }

    /// Drops the questions of a session that a pattern is for, and each no to them.
    pub(crate) fn settle_names(&mut self, session: SessionId, pattern: &str) {
        self.take_all(|one| {
            let is_covered = match &one.names {
                Some(names) => labels::covers(pattern, &names.pattern()),
                None => one.key.is_asked_by(pattern),
            };
            one.key.session == session && is_covered
        });
        self.noes
            .retain(|key, _| key.session != session || !key.is_asked_by(pattern));
    }
}

/// What people see of a question for a name.
#[must_use]
pub(crate) fn question(name: &str, kind: &str) -> DnsQuestion {
    DnsQuestion {
        name: name.to_owned(),
        types: vec![kind.to_owned()],
        bytes: name.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, convert::Infallible};

    use proptest::prelude::*;

    use super::{
        super::{MAX_PER_ACCOUNT, Noted, tests::shown},
        *,
    };
    use crate::quota::Account;

    const SECOND: u64 = 1_000_000_000;

    /// Notes it, and gathers what is a burst then, as guardd does.
    fn ask(table: &mut Requests, session: u32, name: &str, now: u64, id: u32) -> Noted {
        let key = RequestKey::of_name(SessionId(session), name);
        let owner = Account::inside(1000, SessionId(session));
        let Ok(noted) = table.note(key.clone(), owner, BootTime(now), || {
            Ok::<_, Infallible>(proto::Request {
                question: Some(question(name, "A")),
                ..shown(id)
            })
        });
        if matches!(noted, Noted::New(_))
            && let Some(gathered) = table.gather_names(&key, BootTime(now))
        {
            return Noted::Again(gathered.request);
        }
        noted
    }

    fn host(number: u32) -> String {
        format!("n{number}.evil.example")
    }

    #[test]
    fn many_new_names_of_a_zone_are_one_request() {
        let mut table = Requests::without_files(100);
        for id in 1..=3 {
            let new = Noted::New(format!("r{id}"));
            assert_eq!(ask(&mut table, 1, &host(id), SECOND, id), new);
        }
        // Another session and another zone are no part of it.
        ask(&mut table, 2, &host(4), SECOND, 11);
        ask(&mut table, 1, "n4.other.example", SECOND, 12);
        let joined = Noted::Again("r1".to_owned());
        assert_eq!(ask(&mut table, 1, &host(4), 2 * SECOND, 4), joined);
        assert_eq!(
            ask(&mut table, 1, "a.b.evil.example", 3 * SECOND, 5),
            joined
        );
        // All of it, where a session has asked for more than it may.
        assert_eq!(ask(&mut table, 1, "*.evil.example", 3 * SECOND, 6), joined);
        assert_eq!(table.pending().len(), 3);
        let burst = table.get("r3").unwrap().shown.clone();
        assert_eq!(burst.id, "r1");
        assert_eq!(burst.question.unwrap().name, "*.evil.example");
        assert_eq!(burst.burst.unwrap().count, 5);
        let kept = table.to_keep();
        let kept = kept.iter().find(|(name, _)| name == "r1").unwrap();
        assert_eq!(kept.1.names, table.get("r1").unwrap().names);
    }

    #[test]
    fn a_yes_is_for_what_was_chosen_and_leaves_the_rest() {
        let mut table = Requests::without_files(100);
        for id in 1..=6 {
            ask(&mut table, 1, &host(id), SECOND, id);
        }
        let asked = table.get("r1").unwrap().clone();
        let names = asked.names.as_ref().unwrap();
        let tried = BurstExtent {
            tried: Some(2),
            ..BurstExtent::default()
        };
        let chosen = |extent, id| names.chosen(extent, "r1", id);
        assert_eq!(chosen(BurstExtent::default(), "r3").unwrap(), [host(3)]);
        assert_eq!(chosen(tried, "r1").unwrap(), [host(1), host(2)]);
        assert!(chosen(tried, "r2").is_err());
        let opened = chosen(tried, "r1").unwrap();
        table.take_names("r1", &opened, Some("r9".to_owned()));
        let rest = table.get("r9").unwrap();
        assert_eq!(rest.shown.burst.as_ref().unwrap().count, 4);
        assert!(table.get("r1").is_none() && table.get("r4").is_some());
        table.settle_names(SessionId(1), "*.evil.example");
        assert!(table.pending().is_empty());
    }

    #[test]
    fn what_is_left_of_a_burst_has_the_program_of_a_name_that_is_left() {
        let mut table = Requests::without_files(100);
        for id in 1..=5 {
            let key = RequestKey::of_name(SessionId(1), &host(id));
            let owner = Account::inside(1000, SessionId(1));
            let Ok(_) = table.note(key.clone(), owner, BootTime(SECOND), || {
                Ok::<_, Infallible>(proto::Request {
                    question: Some(question(&host(id), "A")),
                    pid: Some(id),
                    command: vec!["dig".to_owned(), host(id)],
                    ..shown(id)
                })
            });
            table.gather_names(&key, BootTime(SECOND));
        }
        let asked = |table: &Requests, id: &str| {
            let shown = &table.get(id).unwrap().shown;
            (shown.pid, shown.command.last().cloned())
        };
        assert_eq!(asked(&table, "r1"), (Some(1), Some(host(1))));
        table.take_names("r1", &[host(1)], Some("r9".to_owned()));
        assert_eq!(asked(&table, "r9"), (Some(2), Some(host(2))));
        // Of one that came later only the name is kept.
        table.take_names("r9", &[host(2), host(3), host(4)], Some("r10".to_owned()));
        assert_eq!(asked(&table, "r10"), (None, None));
    }

    #[test]
    fn a_no_to_a_zone_is_one_to_each_name_and_is_not_offered_again() {
        let mut table = Requests::without_files(100);
        let zone = RequestKey::of_name(SessionId(1), "*.evil.example");
        table.note_no(zone, shown(9), BootTime(100 * SECOND));
        assert_eq!(ask(&mut table, 1, &host(1), SECOND, 1), Noted::SaidNo);
        let elsewhere = ask(&mut table, 1, "evil.example", SECOND, 2);
        assert_eq!(elsewhere, Noted::New("r2".to_owned()));
        let later = ask(&mut table, 1, &host(1), 100 * SECOND, 3);
        assert_eq!(later, Noted::New("r3".to_owned()));
        let one = RequestKey::of_name(SessionId(1), &host(2));
        table.note_no(one, shown(8), BootTime(1000 * SECOND));
        for id in 4..=9 {
            ask(&mut table, 1, &host(id), 101 * SECOND, id);
        }
        assert!(table.pending().iter().all(|one| one.names.is_none()));
    }

    #[test]
    fn three_noes_below_a_zone_are_one_to_all_of_it() {
        let mut table = Requests::without_files(100);
        let now = BootTime(SECOND);
        for id in 1..=3 {
            // So far apart that they are not asked about together.
            ask(&mut table, 1, &host(id), u64::from(id) * 100 * SECOND, id);
        }
        ask(&mut table, 1, "other.example", SECOND, 4);
        ask(&mut table, 2, &host(1), SECOND, 5);
        for id in 1..=2 {
            let asked = table.get(&format!("r{id}")).unwrap().clone();
            let with = table.refused_with(&asked, now);
            let with: Vec<_> = with.iter().map(|one| one.shown.id.as_str()).collect();
            assert_eq!(with, [""; 0], "{id}");
            table.take(&asked.shown.id);
            table.note_no(asked.key.clone(), asked.shown, BootTime(1000 * SECOND));
            assert_eq!(table.refused_zone(&asked.key, now), None);
        }
        ask(&mut table, 1, &host(8), 400 * SECOND, 8);
        let third = table.get("r3").unwrap().clone();
        let with = table.refused_with(&third, now);
        let with: Vec<_> = with.iter().map(|one| one.shown.id.as_str()).collect();
        assert_eq!(with, ["r8"]);
        table.note_no(third.key.clone(), third.shown, BootTime(1000 * SECOND));
        let zone = table.refused_zone(&third.key, now);
        assert_eq!(zone.as_deref(), Some("evil.example"));
        assert_eq!(ask(&mut table, 1, &host(9), 401 * SECOND, 9), Noted::SaidNo);
        assert_ne!(
            ask(&mut table, 2, &host(9), 401 * SECOND, 10),
            Noted::SaidNo
        );
        let elsewhere = ask(&mut table, 1, "a.other.example", 401 * SECOND, 11);
        assert_eq!(elsewhere, Noted::New("r11".to_owned()));
    }

    fn names() -> impl Strategy<Value = String> {
        let zone = prop::sample::select(vec!["evil.example", "a.example", "shop.co.uk", "co.uk"]);
        ("[a-f]{1,2}", any::<bool>(), zone).prop_map(|(label, deep, zone)| {
            if deep {
                format!("{label}.x.{zone}")
            } else {
                format!("{label}.{zone}")
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever is asked for: each name is found in one request, and a burst is of one session and zone, holds only what
        /// was asked for there, and is as large as it says.
        #[test]
        fn nothing_is_lost_in_a_burst_of_names(tried in prop::collection::vec((1_u32..3, names(), 0_u64..6), 0..60)) {
            let mut table = Requests::without_files(1000);
            let (mut now, mut known) = (0, BTreeSet::new());
            for ((session, name, later), id) in tried.into_iter().zip(1..) {
                now += later * SECOND;
                match ask(&mut table, session, &name, now, id) {
                    Noted::New(id) | Noted::Again(id) => prop_assert!(table.get(&id).is_some()),
                    other => panic!("{other:?}"),
                }
                known.insert((session, name));
            }
            for (session, name) in &known {
                let key = RequestKey::of_name(SessionId(*session), name);
                let found = table.pending().iter().filter(|one| one.is_about(&key));
                prop_assert_eq!(found.count(), 1, "{}", name);
            }
            for one in table.pending() {
                let Some(names) = &one.names else { continue };
                let session = one.key.session.0;
                let within = known.iter().filter(|(of, name)| *of == session && names.covers(name));
                prop_assert_eq!(within.count(), names.members.len());
                prop_assert!(names.members.len() >= MANY);
                prop_assert!(names.ids().any(|id| id == one.shown.id));
            }
        }

        #[test]
        fn no_flood_of_names_takes_more_than_its_share(zones in prop::collection::vec("[a-z]{4}", 0..300)) {
            let mut table = Requests::without_files(100);
            for (zone, id) in zones.iter().zip(1..) {
                ask(&mut table, 1, &format!("x.{zone}.example"), u64::from(id) * SECOND, id);
            }
            prop_assert!(table.pending().len() as u64 <= MAX_PER_ACCOUNT);
        }
    }
}
