use std::net::Ipv4Addr;

use guard_rounds::rounds;
use hickory_proto::{
    op::{MessageType, OpCode, Query},
    rr::{
        RecordType,
        rdata::{
            A, AAAA, CNAME, HTTPS,
            svcb::{EchConfigList, IpHint, Mandatory},
        },
    },
};
use proptest::prelude::*;

use super::{
    super::{
        name::name,
        question::{parse, tests::asked},
    },
    *,
};

fn question() -> Question {
    parse(&asked("a.example", 1, None)).unwrap()
}

fn hickory(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(hickory(owner), ttl, data)
}

fn address(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(hickory(target)))
}

fn https(priority: u16, target: Name, params: Vec<(SvcParamKey, SvcParamValue)>) -> RData {
    RData::HTTPS(HTTPS(SVCB::new(priority, target, params)))
}

fn message(records: Vec<Record>) -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(hickory("a.example"), RecordType::A));
    message.add_answers(records);
    message.to_vec().unwrap()
}

fn told(records: Vec<Record>) -> Result<DnsAnswer, Odd> {
    read(&message(records), &question())
}

fn names(answer: &[WireName]) -> Vec<String> {
    answer.iter().map(ToString::to_string).collect()
}

#[test]
fn addresses_are_those_of_the_name_and_of_all_that_it_leads_to() {
    let answer = told(vec![
        record("A.example", 300, cname("b.example")),
        record("b.example", 60, cname("c.example.net")),
        record("c.example.net", 120, address(1)),
        record("c.example.net", 120, address(2)),
        record("c.example.net", 120, address(1)),
        record(
            "c.example.net",
            90,
            RData::AAAA(AAAA("2001:db8::1".parse().unwrap())),
        ),
        // Of others nothing is learned, nor of their times.
        record("other.example", 1, address(9)),
        record("other.example", 1, cname("a.example")),
    ])
    .unwrap();
    assert_eq!(
        names(&answer.names),
        ["a.example", "b.example", "c.example.net"]
    );
    let addresses: Vec<_> = answer.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(answer.ttl, 60);
    assert!(answer.targets.is_empty());
}

#[test]
fn hints_are_addresses_and_their_target_is_no_name_of_them() {
    let v4 = SvcParamValue::Ipv4Hint(IpHint(vec![A(Ipv4Addr::new(192, 0, 2, 7))]));
    let v6 = SvcParamValue::Ipv6Hint(IpHint(vec![AAAA("2001:db8::7".parse().unwrap())]));
    let hints = vec![(SvcParamKey::Ipv4Hint, v4), (SvcParamKey::Ipv6Hint, v6)];
    let answer = told(vec![
        record("a.example", 30, https(1, hickory("b.example"), hints)),
        record("a.example", 30, https(2, Name::root(), Vec::new())),
    ])
    .unwrap();
    assert_eq!(names(&answer.names), ["a.example"]);
    assert_eq!(names(&answer.targets), ["b.example"]);
    assert_eq!(answer.addresses.len(), 2);
    assert_eq!(answer.ttl, 30);
}

#[test]
fn an_alias_of_services_and_a_port_are_as_any_target() {
    let hint = || {
        let address = IpHint(vec![A(Ipv4Addr::new(192, 0, 2, 7))]);
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(address))
    };
    let port = (SvcParamKey::Port, SvcParamValue::Port(8443));
    // Priority 0: it is the other name's service.
    let alias = https(0, hickory("b.example"), Vec::new());
    let answer = told(vec![
        record("a.example", 30, alias.clone()),
        // What is said of the other name is not followed.
        record(
            "b.example",
            30,
            https(1, hickory("c.example"), vec![hint()]),
        ),
        record("b.example", 30, address(9)),
    ])
    .unwrap();
    assert_eq!(names(&answer.names), ["a.example"]);
    assert_eq!(names(&answer.targets), ["b.example"]);
    assert!(answer.addresses.is_empty());
    let alias = https(0, hickory("b.example"), vec![port, hint()]);
    let with = told(vec![record("a.example", 30, alias)]).unwrap();
    let plain = https(1, hickory("b.example"), vec![hint()]);
    assert_eq!(with, told(vec![record("a.example", 30, plain)]).unwrap());
    assert_eq!(with.addresses.len(), 1);
}

#[test]
fn a_chain_is_followed_for_sixteen_links_and_not_round() {
    let link = |number: usize| {
        let owner = if number == 0 {
            "a.example".to_owned()
        } else {
            format!("l{number}.example")
        };
        record(&owner, 60, cname(&format!("l{}.example", number + 1)))
    };
    let answer = told((0..16).map(link).collect()).unwrap();
    assert_eq!(answer.names.len(), 17);
    assert_eq!(told((0..17).map(link).collect()), Err(Odd::Chain));
    let round = vec![
        record("a.example", 60, cname("b.example")),
        record("b.example", 60, cname("a.example")),
    ];
    assert_eq!(told(round), Err(Odd::Chain));
    let itself = vec![record("a.example", 60, cname("a.example"))];
    assert_eq!(told(itself), Err(Odd::Chain));
    let two = vec![
        record("a.example", 60, cname("b.example")),
        record("a.example", 60, cname("c.example")),
    ];
    assert_eq!(told(two), Err(Odd::Chain));
}

#[test]
fn times_are_bounded() {
    for (ttl, wanted) in [
        (0, 0),
        (5, 5),
        (1 << 31, 0),
        (u32::MAX, 0),
        (MAX_TTL + 1, MAX_TTL),
    ] {
        let answer = told(vec![record("a.example", ttl, address(1))]).unwrap();
        assert_eq!(answer.ttl, wanted, "{ttl}");
    }
    assert_eq!(told(Vec::new()).unwrap().ttl, 0);
}

#[test]
fn what_is_not_whole_or_has_more_behind_it_is_not_read() {
    let good = message(vec![record("a.example", 60, address(1))]);
    assert!(read(&good, &question()).is_ok());
    for length in 0..good.len() {
        assert_eq!(read(&good[..length], &question()), Err(Odd::Unreadable));
    }
    let longer = [&good[..], b"x"].concat();
    assert_eq!(read(&longer, &question()), Err(Odd::Unreadable));
    // A class of its own is not read as addresses.
    let mut chaos = good.clone();
    let class = good.len() - 4 - 2 - 4 - 1;
    chaos[class] = 3;
    assert!(read(&chaos, &question()).unwrap().addresses.is_empty());
}

#[test]
fn keys_for_the_servers_name_are_taken_out_and_nothing_else() {
    let ech = || {
        (
            SvcParamKey::EchConfigList,
            SvcParamValue::EchConfigList(EchConfigList(vec![0, 1, 2, 3])),
        )
    };
    let port = || (SvcParamKey::Port, SvcParamValue::Port(443));
    let must = || {
        (
            SvcParamKey::Mandatory,
            SvcParamValue::Mandatory(Mandatory(vec![SvcParamKey::EchConfigList])),
        )
    };
    let with = message(vec![
        record(
            "a.example",
            30,
            https(1, hickory("b.example"), vec![port(), ech()]),
        ),
        record("a.example", 30, https(2, Name::root(), vec![must(), ech()])),
        record("b.example", 30, address(1)),
    ]);
    let without = Message::from_vec(&without_ech(&with).unwrap()).unwrap();
    let kept = [
        record(
            "a.example",
            30,
            https(1, hickory("b.example"), vec![port()]),
        ),
        record("b.example", 30, address(1)),
    ];
    assert_eq!(without.answers, kept);
    let plain = message(kept.to_vec());
    assert_eq!(without_ech(&plain).unwrap(), plain);
    assert_eq!(
        name("a.example"),
        wire_name(&without.answers[0].name).unwrap()
    );
}

proptest! {
    #![proptest_config(rounds(2048))]

    #[test]
    fn no_bytes_are_too_odd(message in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&message, &question());
        let _ = without_ech(&message);
    }

    #[test]
    fn no_changed_answer_is_too_odd(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(Ipv4Addr::new(192, 0, 2, 7))]));
        let mut message = message(vec![
            record("a.example", 300, cname("b.example")),
            record("b.example", 60, cname("c.example.net")),
            record("c.example.net", 120, address(1)),
            record("c.example.net", 90, https(1, hickory("d.example"), vec![(SvcParamKey::Ipv4Hint, hint)])),
        ]);
        for (at, to) in changes {
            let at = at.index(message.len());
            message[at] = to;
        }
        if let Ok(answer) = read(&message, &question()) {
            prop_assert!(answer.names.len() <= MAX_LINKS + 1);
            prop_assert!(answer.ttl <= MAX_TTL);
        }
        let _ = without_ech(&message);
    }
}
