use guard_rounds::rounds;
use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::DNSClass,
};
use proptest::prelude::*;

use super::*;

/// A question as programs ask it.
pub(crate) fn asked(name: &str, kind: u16, edns: Option<Edns>) -> Vec<u8> {
    let mut message = vec![
        0x12,
        0x34,
        RD,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(edns.is_some()),
    ];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    if let Some(Edns { size, dnssec_ok }) = edns {
        let mut opt = opt(dnssec_ok, 0);
        [opt[3], opt[4]] = size.to_be_bytes();
        message.extend(opt);
    }
    message
}

/// What is done to a good question.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// What hickory reads in it.
fn as_hickory(message: &[u8]) -> Message {
    Message::from_vec(message).unwrap()
}

const EDNS: Option<Edns> = Some(Edns {
    size: 4096,
    dnssec_ok: true,
});

#[test]
fn a_question_is_read_and_written_anew() {
    let mut message = asked("WwW.Example.com", 28, EDNS);
    // An option, which may say anything: a cookie.
    let length = message.len();
    message[length - 1] = 12;
    message.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    message[3] |= CD;
    let question = parse(&message).unwrap();
    assert_eq!(question.name.to_string(), "www.example.com");
    assert_eq!(question.kind.to_string(), "AAAA");
    assert_eq!(question.edns, EDNS);
    assert_eq!(question.datagram(), 4096);
    let rebuilt = question.rebuilt(0xbeef);
    let mut plain = asked("www.example.com", 28, EDNS);
    plain[..2].copy_from_slice(&[0xbe, 0xef]);
    plain[3] = CD;
    let size = plain.len() - 8;
    plain[size..size + 2].copy_from_slice(&MAX_DATAGRAM.to_be_bytes());
    assert_eq!(rebuilt, plain);
    let read = as_hickory(&rebuilt);
    assert_eq!(read.edns.unwrap().max_payload(), MAX_DATAGRAM);
    assert!(read.metadata.recursion_desired && read.metadata.checking_disabled);
}

#[test]
fn what_an_option_says_does_not_matter() {
    // A client's subnet of an address family that there is not.
    let mut message = asked("example.com", 1, EDNS);
    let length = message.len();
    message[length - 1] = 9;
    message.extend([0, 8, 0, 5, 0, 0, 0, 0, 0]);
    assert!(Message::from_vec(&message).is_err());
    let question = parse(&message).unwrap();
    assert_eq!(question.rebuilt(1).len(), length);
}

#[test]
fn without_opt_none_is_sent_on() {
    let question = parse(&asked("example.com", 1, None)).unwrap();
    assert_eq!(question.datagram(), 512);
    let read = as_hickory(&question.rebuilt(1));
    assert!(read.edns.is_none() && !read.metadata.checking_disabled);
}

#[test]
fn what_is_no_question_or_more_than_one_is_rejected() {
    let good = asked("example.com", 1, EDNS);
    let with = |change: Change| {
        let mut message = good.clone();
        change(&mut message);
        parse(&message).unwrap_err()
    };
    assert_eq!(with(&|message| message.truncate(11)), Rejected::Silently);
    assert_eq!(with(&|message| message[2] |= QR), Rejected::Silently);
    assert!(matches!(
        with(&|message| message[2] |= 5 << 3),
        Rejected::OtherOpcode(head) if head.id == 0x1234 && head.opcode == 5
    ));
    assert!(matches!(
        with(&|message| message[28] = 3),
        Rejected::OtherClass(question) if question.class == 3
    ));
    let changes: [Change; 12] = [
        // Two questions, none; records of other sections, two beside.
        &|message| message[5] = 2,
        &|message| message[5] = 0,
        &|message| message[7] = 1,
        &|message| message[9] = 1,
        &|message| message[11] = 2,
        &|message| message[11] = 0,
        // Something after it; something missing.
        &|message| message.push(0),
        &|message| message.truncate(message.len() - 1),
        // A pointer for a name; OPT with a name, of another version, another record in its place.
        &|message| message[12..14].copy_from_slice(&[0xc0, 0x0c]),
        &|message| message[29] = 1,
        &|message| message[35] = 1,
        &|message| message[31] = 250,
    ];
    for (at, change) in changes.iter().enumerate() {
        assert!(matches!(with(change), Rejected::Malformed(_)), "{at}");
    }
    // An option that is longer than the rest.
    let mut option = good.clone();
    let length = option.len();
    option[length - 1] = 4;
    option.extend([0, 10, 0, 1]);
    assert!(matches!(parse(&option), Err(Rejected::Malformed(_))));
    option[length + 3] = 0;
    assert!(parse(&option).is_ok());
}

#[test]
fn an_answer_is_one_to_this_question_and_goes_back_as_the_client_spelt_it() {
    let message = asked("eXample.com", 1, None);
    let question = parse(&message).unwrap();
    let mut answer = question.rebuilt(7);
    answer[2] |= QR;
    assert!(is_answered(&answer, 7, &question));
    assert!(!is_answered(&answer, 8, &question));
    for (at, to) in [
        (2, RD),
        (2, QR | 1 << 3),
        (5, 0),
        (5, 2),
        (13, b'x'),
        (26, 28),
        (28, 3),
    ] {
        let mut other = answer.clone();
        other[at] = to;
        assert!(!is_answered(&other, 7, &question), "{at}");
    }
    assert!(!is_answered(&answer[..20], 7, &question));
    give_back(&mut answer, &question);
    assert_eq!(answer[12..], message[12..]);
    assert_eq!(answer[..2], message[..2]);
}

proptest! {
    #![proptest_config(rounds(2048))]

    #[test]
    fn no_bytes_are_too_odd(message in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&message);
    }

    #[test]
    fn what_is_accepted_hickory_reads_alike(
        mut message in mostly_questions(),
        at in any::<prop::sample::Index>(),
        to in prop::option::weighted(0.7, any::<u8>()),
    ) {
        if let Some(to) = to {
            let at = at.index(message.len());
            message[at] = to;
        }
        if let Ok(question) = parse(&message) {
            // hickory reads what options say, which nobody does here: they go nowhere.
            let Ok(read) = Message::from_vec(&message) else {
                prop_assert!(question.edns.is_some());
                return Ok(());
            };
            prop_assert_eq!(read.metadata.message_type, MessageType::Query);
            prop_assert_eq!(read.metadata.op_code, OpCode::Query);
            prop_assert_eq!(read.metadata.id, question.head.id);
            let [query] = &read.queries[..] else { panic!("not one question") };
            let labels = WireName::of_labels(query.name().iter());
            prop_assert_eq!(labels, Some(question.name.clone()));
            prop_assert_eq!(u16::from(query.query_type()), question.kind.0);
            prop_assert_eq!(query.query_class(), DNSClass::IN);
            prop_assert_eq!(read.edns.is_some(), question.edns.is_some());
            if let (Some(theirs), Some(ours)) = (read.edns, question.edns) {
                prop_assert_eq!(theirs.flags().dnssec_ok, ours.dnssec_ok);
            }
            // What goes on is a question of the same meaning.
            let rebuilt = parse(&question.rebuilt(question.head.id)).unwrap();
            prop_assert_eq!(rebuilt.name, question.name);
            prop_assert_eq!(rebuilt.kind, question.kind);
        }
    }
}

prop_compose! {
    /// Questions of any labels, with an option or without.
    fn mostly_questions()(
        labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
        kind in prop_oneof![Just(1_u16), Just(28), Just(65), any::<u16>()],
        edns in prop::option::of((any::<u16>(), any::<bool>())),
        option in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
    ) -> Vec<u8> {
        let edns = edns.map(|(size, dnssec_ok)| Edns { size, dnssec_ok });
        let mut message = asked("", kind, edns);
        let name = labels.iter().flat_map(|label| {
            [&[label.len() as u8][..], label].concat()
        });
        message.splice(HEADER..HEADER, name);
        if let (Some(option), Some(_)) = (option, edns) {
            let length = message.len();
            message[length - 1] = 4 + option.len() as u8;
            message.extend([0, 10, 0, option.len() as u8]);
            message.extend(option);
        }
        message
    }
}
