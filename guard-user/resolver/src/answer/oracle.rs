//! What is read of an answer, held against another library's reading of the same bytes: that of `domain`, by the makers of Unbound.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

use domain::{
    base::{
        Message as Plain, ParsedName, ParsedRecord, UnknownRecordData,
        iana::{Class, Rtype},
    },
    rdata::{
        AllRecordData,
        svcb::{SvcbRdata, value::AllValues},
    },
};
use guard_rounds::rounds;
use proptest::{collection::vec, option::of, prelude::*, sample::Index};

use super::{
    super::question::{parse, tests::asked},
    *,
};

const NAMES: [&str; 5] = [
    "a.example",
    "b.example",
    "c.a.example",
    "d.example.net",
    "other.test",
];
const MANDATORY: u16 = 0;
const ECH: u16 = 5;

/// A record as it is written into a message.
#[derive(Clone, Debug)]
struct Made {
    owner: usize,
    is_in: bool,
    ttl: u32,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    V4([u8; 4]),
    V6([u8; 16]),
    Alias(usize),
    Text(Vec<u8>),
    /// Of what kind, the priority, where it leads, and keys with their values.
    Service(u16, u16, Option<usize>, Vec<(u16, Vec<u8>)>),
}

/// Names that were written once are pointed to, or written again, and in capital letters.
struct Written {
    bytes: Vec<u8>,
    names: HashMap<usize, usize>,
    again: bool,
}

impl Written {
    fn name(&mut self, name: usize) {
        if let Some(at) = self.names.get(&name).filter(|_| !self.again) {
            self.bytes.extend((0xc000 | *at as u16).to_be_bytes());
            return;
        }
        self.names.entry(name).or_insert(self.bytes.len());
        for label in NAMES[name].split('.') {
            self.bytes.push(label.len() as u8);
            let label = label.bytes().map(|byte| {
                if self.again {
                    byte.to_ascii_uppercase()
                } else {
                    byte
                }
            });
            self.bytes.extend(label);
        }
        self.bytes.push(0);
    }

    fn record(&mut self, record: &Made) {
        self.name(record.owner);
        let kind = match &record.data {
            Data::V4(_) => 1,
            Data::V6(_) => 28,
            Data::Alias(_) => 5,
            Data::Text(_) => 16,
            Data::Service(kind, ..) => *kind,
        };
        let class = if record.is_in { 1_u16 } else { 3 };
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(class.to_be_bytes());
        self.bytes.extend(record.ttl.to_be_bytes());
        let at = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.data(&record.data);
        let length = (self.bytes.len() - at - 2) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn data(&mut self, data: &Data) {
        match data {
            Data::V4(address) => self.bytes.extend(address),
            Data::V6(address) => self.bytes.extend(address),
            Data::Alias(target) => self.name(*target),
            Data::Text(text) => {
                self.bytes.push(text.len() as u8);
                self.bytes.extend(text);
            }
            Data::Service(_, priority, target, values) => {
                self.bytes.extend(priority.to_be_bytes());
                match target {
                    // It is never shortened (RFC 9460 2.2).
                    Some(target) => {
                        let again = std::mem::replace(&mut self.again, true);
                        self.name(*target);
                        self.again = again;
                    }
                    None => self.bytes.push(0),
                }
                for (key, value) in values {
                    self.bytes.extend(key.to_be_bytes());
                    self.bytes.extend((value.len() as u16).to_be_bytes());
                    self.bytes.extend(value);
                }
            }
        }
    }
}

/// An answer about the first name, with records in each section.
fn written(sections: &[Vec<Made>; 3], again: bool) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1];
    for section in sections {
        bytes.extend((section.len() as u16).to_be_bytes());
    }
    let names = HashMap::new();
    let mut written = Written {
        bytes,
        names,
        again,
    };
    written.name(0);
    written.bytes.extend([0, 1, 0, 1]);
    for record in sections.iter().flatten() {
        written.record(record);
    }
    written.bytes
}

prop_compose! {
    /// Values in the order of their keys.
    fn values()(
        must in any::<bool>(),
        port in of(any::<[u8; 2]>()),
        v4 in vec(any::<[u8; 4]>(), 0..3),
        ech in of(vec(any::<u8>(), 1..20)),
        v6 in vec(any::<[u8; 16]>(), 0..3),
        own in of(vec(any::<u8>(), 0..4)),
    ) -> Vec<(u16, Vec<u8>)> {
        let rest = [
            (3, port.map(Vec::from)),
            (4, Some(v4.concat()).filter(|all| !all.is_empty())),
            (ECH, ech),
            (6, Some(v6.concat()).filter(|all| !all.is_empty())),
            (9999, own),
        ];
        let rest: Vec<_> = rest.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let keys = rest.iter().flat_map(|(key, _): &(u16, _)| key.to_be_bytes()).collect();
        let must = Some((MANDATORY, keys)).filter(|_| must && !rest.is_empty());
        must.into_iter().chain(rest).collect()
    }
}

fn data() -> impl Strategy<Value = Data> {
    let service = (
        prop_oneof![Just(64_u16), Just(65)],
        0..3_u16,
        of(0..NAMES.len()),
        values(),
    );
    prop_oneof![
        3 => any::<[u8; 4]>().prop_map(Data::V4),
        2 => any::<[u8; 16]>().prop_map(Data::V6),
        3 => (0..NAMES.len()).prop_map(Data::Alias),
        1 => vec(any::<u8>(), 0..9).prop_map(Data::Text),
        2 => service.prop_map(|(kind, priority, target, values)| Data::Service(kind, priority, target, values)),
    ]
}

fn records(most: usize) -> impl Strategy<Value = Vec<Made>> {
    let owner = prop_oneof![2 => Just(0), 3 => 0..NAMES.len()];
    let is_in = prop::bool::weighted(0.95);
    let ttl = prop_oneof![4 => 0..700_u32, 1 => any::<u32>()];
    let made = |(owner, is_in, ttl, data)| Made {
        owner,
        is_in,
        ttl,
        data,
    };
    vec((owner, is_in, ttl, data()).prop_map(made), 0..most)
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let sections = (records(7), records(3), records(3));
    (sections, any::<bool>())
        .prop_map(|((answers, others, more), again)| written(&[answers, others, more], again))
}

/// As `domain` reads it.
type Read<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;

fn wire(name: &ParsedName<&[u8]>) -> WireName {
    let labels = name.iter().map(|label| label.as_slice());
    WireName::of_labels(labels.filter(|label| !label.is_empty())).unwrap()
}

/// What a record says; `None` where that cannot be read.
fn read_of<'a>(record: &ParsedRecord<'a, [u8]>) -> Option<Read<'a>> {
    Some(record.to_any_record::<Read<'a>>().ok()?.into_data())
}

/// The records of the answer, of those whose data can be read.
fn all(message: &[u8]) -> Option<Vec<(WireName, u32, Read<'_>)>> {
    let message = Plain::from_slice(message).ok()?;
    let mut found = Vec::new();
    for record in message.answer().ok()? {
        let record = record.ok()?;
        if let (Class::IN, Some(data)) = (record.class(), read_of(&record)) {
            found.push((wire(&record.owner()), record.ttl().as_secs(), data));
        }
    }
    Some(found)
}

/// Where a name leads, by each of its records.
fn leads(
    records: &[(WireName, u32, Read<'_>)],
    from: &WireName,
) -> impl Iterator<Item = (WireName, u32)> {
    let of_it = records.iter().filter(move |(owner, ..)| owner == from);
    of_it.filter_map(|(_, ttl, data)| match data {
        Read::Cname(target) => Some((wire(target.cname()), *ttl)),
        _ => None,
    })
}

fn learn_service<V>(answer: &mut DnsAnswer, service: &SvcbRdata<V, &[u8], ParsedName<&[u8]>>) {
    for value in service.params().iter_all().flatten() {
        match value {
            AllValues::Ipv4Hint(hint) => answer.addresses.extend(hint.iter().map(IpAddr::V4)),
            AllValues::Ipv6Hint(hint) => answer.addresses.extend(hint.iter().map(IpAddr::V6)),
            _ => {}
        }
    }
    let target = wire(service.target());
    if target.bytes() != [0] && !answer.names.contains(&target) {
        answer.targets.push(target);
    }
}

/// What is to be learned, plainly; `None` where names lead to each other without end, or to two at once.
fn plainly(records: &[(WireName, u32, Read<'_>)], asked: &WireName) -> Option<DnsAnswer> {
    for (owner, ..) in records {
        let targets: BTreeSet<_> = leads(records, owner).map(|(target, _)| target).collect();
        if targets.len() > 1 {
            return None;
        }
    }
    let mut answer = DnsAnswer {
        names: vec![asked.clone()],
        targets: Vec::new(),
        addresses: Vec::new(),
        ttl: 0,
    };
    let mut times = Vec::new();
    while let Some((target, ttl)) = leads(records, answer.names.last()?).last() {
        if answer.names.contains(&target) {
            return None;
        }
        answer.names.push(target);
        times.push(ttl);
    }
    for (owner, ttl, data) in records {
        if !answer.names.contains(owner) {
            continue;
        }
        match data {
            Read::A(address) => answer.addresses.push(address.addr().into()),
            Read::Aaaa(address) => answer.addresses.push(address.addr().into()),
            Read::Svcb(service) => learn_service(&mut answer, service),
            Read::Https(service) => learn_service(&mut answer, service),
            _ => continue,
        }
        times.push(*ttl);
    }
    answer.ttl = times.into_iter().map(bounded).min().unwrap_or(0);
    Some(sorted(answer))
}

/// Longer than 2³¹ is none, and a week the most.
fn bounded(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() {
        return 0;
    }
    ttl.min(604_800)
}

/// The order of addresses and of what they lead to besides does not matter.
fn sorted(mut answer: DnsAnswer) -> DnsAnswer {
    answer.addresses.sort_unstable();
    answer.addresses.dedup();
    answer.targets.sort_unstable();
    answer.targets.dedup();
    answer
}

/// Whether a record is of no use to who does not know the key `ech`, and what it says without that.
fn service_text<V>(service: &SvcbRdata<V, &[u8], ParsedName<&[u8]>>) -> Option<String> {
    let mut text = format!("{} {}", service.priority(), wire(service.target()));
    for value in service.params().iter_raw() {
        let key = u16::from(value.key());
        let mut keys = value.as_slice().chunks(2);
        if key == MANDATORY && keys.any(|key| key == ECH.to_be_bytes()) {
            return None;
        }
        if key != ECH {
            write!(text, " {key}={:?}", value.as_slice()).unwrap();
        }
    }
    Some(text)
}

/// All records of a message, in words, as they are to be without `ech`; with its first bytes.
fn texts(message: &[u8]) -> Option<Vec<String>> {
    let mut found = vec![format!("{:?}", message.get(..4)?)];
    let message = Plain::from_slice(message).ok()?;
    let (_, answers, others, more) = message.sections().ok()?;
    for (section, records) in [answers, others, more].into_iter().enumerate() {
        for record in records {
            let record = record.ok()?;
            let data = match read_of(&record) {
                Some(Read::Svcb(service)) => service_text(&service),
                Some(Read::Https(service)) => service_text(&service),
                Some(Read::Cname(target)) => Some(wire(target.cname()).to_string()),
                Some(data) => Some(data.to_string()),
                None => {
                    let raw = record.to_record::<UnknownRecordData<&[u8]>>();
                    Some(format!("unreadable {:?}", raw.ok()??.data().data()))
                }
            };
            let head = (wire(&record.owner()), record.class(), record.rtype());
            let ttl = record.ttl().as_secs();
            found.extend(
                data.map(|data| format!("{section} {} {} {} {ttl} {data}", head.0, head.1, head.2)),
            );
        }
    }
    Some(found)
}

/// Whether any record has the key.
fn has_ech(message: &[u8]) -> bool {
    let Ok(message) = Plain::from_slice(message) else {
        return false;
    };
    let Ok((_, answers, others, more)) = message.sections() else {
        return false;
    };
    let records = [answers, others, more].into_iter().flatten().flatten();
    records
        .filter(|record| [Rtype::SVCB, Rtype::HTTPS].contains(&record.rtype()))
        .any(|record| {
            // Of both kinds the data is alike.
            match read_of(&record) {
                Some(Read::Svcb(service)) => keys(&service).any(|key| key == ECH),
                Some(Read::Https(service)) => keys(&service).any(|key| key == ECH),
                _ => false,
            }
        })
}

fn keys<V>(service: &SvcbRdata<V, &[u8], ParsedName<&[u8]>>) -> std::vec::IntoIter<u16> {
    let keys = service.params().iter_raw().map(|value| value.key().into());
    keys.collect::<Vec<_>>().into_iter()
}

fn question() -> Question {
    parse(&asked(NAMES[0], 1, None)).unwrap()
}

proptest! {
    #![proptest_config(rounds(2048))]

    #[test]
    fn an_answer_says_what_another_library_reads_in_it(message in messages()) {
        let records = all(&message).unwrap();
        let ours = read(&message, &question()).map(sorted);
        let theirs = plainly(&records, &question().name).ok_or(Odd::Chain);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn of_a_changed_answer_nothing_is_learned_that_another_library_does_not_read(
        mut message in messages(),
        changes in vec((any::<Index>(), any::<u8>()), 1..5),
    ) {
        for (at, to) in changes {
            let at = at.index(message.len());
            message[at] = to;
        }
        if let Ok(ours) = read(&message, &question()) {
            let records = all(&message);
            let theirs = records.and_then(|records| plainly(&records, &question().name));
            prop_assert_eq!(Some(sorted(ours)), theirs);
        }
    }

    #[test]
    fn without_its_key_an_answer_says_what_it_said(message in messages()) {
        let without = without_ech(&message).unwrap();
        prop_assert_eq!(texts(&without), texts(&message));
        prop_assert!(!has_ech(&without));
        if !has_ech(&message) {
            prop_assert_eq!(without, message);
        }
    }

    #[test]
    fn no_changed_answer_keeps_its_key(
        mut message in messages(),
        changes in vec((any::<Index>(), any::<u8>()), 1..5),
    ) {
        for (at, to) in changes {
            let at = at.index(message.len());
            message[at] = to;
        }
        if let Ok(without) = without_ech(&message) {
            prop_assert!(!has_ech(&without));
            // What a session learns is read in what came.
            if let Ok(ours) = read(&message, &question()) {
                let records = all(&without).unwrap();
                let theirs = plainly(&records, &question().name).map(|answer| answer.names);
                prop_assert_eq!(Some(ours.names), theirs);
            }
        }
    }
}
