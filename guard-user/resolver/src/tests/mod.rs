//! The resolver as programs, servers and guardd meet it: on real sockets, with maps of the tests' own.

mod scene;

use std::{
    cell::Cell,
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use guard_common::{MAX_PATTERNS, NameId, NamedKey, PolicyId, QueueKey, SessionId};
use guard_proto::names::{FromResolver, Names, Number, Pattern, Tgid, ToResolver};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{
            A, CNAME, HTTPS, SVCB, TXT,
            svcb::{EchConfigList, IpHint, SvcParamKey, SvcParamValue},
        },
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    datagrams::UNTOLD,
    question::{Edns, tests::asked},
};
use scene::{
    COOKIE, SESSION, SLOT, Scene, TGID, ask, framed, hear, policy, run, send_framed, session,
    stamps,
};

const A_RECORD: u16 = 1;
const EDNS: Option<Edns> = Some(Edns {
    size: 1232,
    dnssec_ok: false,
});

fn hickory(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn a(owner: &str, last: u8) -> Record {
    let address = A(Ipv4Addr::new(192, 0, 2, last));
    Record::from_rdata(hickory(owner), 120, RData::A(address))
}

fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(hickory(owner), 60, RData::CNAME(CNAME(hickory(target))))
}

/// An answer to a question.
fn answer(question: Message, records: Vec<Record>) -> Message {
    let mut answer = question.into_response();
    answer.metadata.recursion_available = true;
    answer.add_answers(records);
    answer
}

fn bytes(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}

/// A server that knows one address of every name.
fn one_address(question: Message, _is_stream: bool) -> Vec<Vec<u8>> {
    let owner = question.queries[0].name().clone();
    let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
    let record = Record::from_rdata(owner, 120, data);
    bytes(&answer(question, vec![record]))
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

/// Whether nothing has come for a program, once another has been answered after it.
fn is_silent(client: &tokio::net::UdpSocket) -> bool {
    let nothing = client.try_recv(&mut [0; 512]);
    nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

async fn refused(scene: &mut Scene) -> (String, String) {
    match scene.told.recv().await.unwrap() {
        FromResolver::Refused {
            session,
            tgid,
            name,
            why,
            ..
        } => {
            assert_eq!((session, tgid), (SESSION.0, Tgid(TGID)));
            (name, why)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_is_known_to_the_kernel_before_the_program_has_it() {
    let patterns = &[("*.example.com", false)];
    run(Names::Rules, patterns, one_address, async |mut scene| {
        let outer = PolicyId(4);
        scene.say(policy(outer, Names::Any, &[("db.example.com", false)]));
        scene.say(session(SESSION, 1, &[SLOT, outer]));
        let client = scene.client(SESSION).await;
        let client = scene.learns_first(client);
        let begun = guard_sys::clock::now().0;
        let got = ask(&client, &asked("Db.eXample.com", A_RECORD, EDNS)).await;
        assert_eq!(got.metadata.id, 0x1234);
        assert_eq!(got.queries[0].name().to_ascii(), "Db.eXample.com.");
        assert_eq!(got.answers.len(), 1);
        assert_eq!(got.answers[0].ttl, 120, "as it came");
        let known = scene.patterns(SLOT, "192.0.2.1");
        assert_eq!(known, [NameId::of("*.example.com")]);
        let known = scene.patterns(outer, "192.0.2.1");
        assert_eq!(known, [NameId::of("db.example.com")]);
        let key = NamedKey::new(SESSION, SLOT, Ipv4Addr::new(192, 0, 2, 1).into());
        let until = scene.maps.named.borrow()[&key].patterns[0].until.0;
        assert!(until >= begun + 150 * 1_000_000_000, "{until}");
        let told = scene.told.recv().await.unwrap();
        let FromResolver::Learned { at, .. } = told else {
            panic!("{told:?}");
        };
        let learned = FromResolver::Learned {
            at,
            session: SESSION.0,
            name: "db.example.com".to_owned(),
            asked: None,
            addresses: vec![[192, 0, 2, 1].into()],
            ttl: 120,
            tgid: Tgid(TGID),
        };
        assert_eq!(told, learned);
        // What left says nothing but the name.
        let left = scene.asked.borrow()[0].clone();
        assert_eq!(left[2..], asked("db.example.com", A_RECORD, EDNS)[2..]);
    });
}

#[test]
fn the_kernel_half_hears_when_all_that_was_sent_to_a_socket_is_read() {
    let patterns = &[("example.com", false)];
    run(Names::Rules, patterns, one_address, async |scene| {
        let client = scene.client(SESSION).await;
        let drained = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            let queue = QueueKey::new(COOKIE, &address.into());
            scene.maps.drained.borrow().get(&queue).map(|at| at.0)
        };
        let question = asked("example.com", A_RECORD, None);
        ask(&client, &question).await;
        let (before, other) = (drained("127.0.0.1"), drained("::1"));
        assert!(before.is_some() && other.is_some());
        for _ in 0..UNTOLD {
            ask(&client, &question).await;
        }
        assert!(drained("127.0.0.1") > before);
        assert_eq!(drained("::1"), other);
    });
}

#[test]
fn ipv6_is_served_alike() {
    let patterns = &[("example.com", false)];
    run(Names::Rules, patterns, one_address, async |scene| {
        let client = scene.client6(SESSION).await;
        let question = asked("example.com", A_RECORD, None);
        assert_eq!(ask(&client, &question).await.answers.len(), 1);
        let mut stream = scene.stream6(SESSION).await;
        send_framed(&mut stream, &question).await;
        let got = Message::from_vec(&framed(&mut stream).await).unwrap();
        assert_eq!(got.answers.len(), 1);
        assert_eq!(scene.patterns(SLOT, "192.0.2.1").len(), 1);
        let other = asked("example.net", A_RECORD, None);
        assert_eq!(code(&ask(&client, &other).await), ResponseCode::NXDomain);
        assert_eq!(scene.asked.borrow().len(), 2);
    });
}

#[test]
fn nothing_of_a_refused_name_leaves() {
    let patterns = &[("example.com", false), ("secret.example", true)];
    run(Names::Rules, patterns, one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        for (name, reason) in [
            ("other.example", "no rule names it"),
            ("secret.example", "a rule denies the name"),
            ("a.example.com", "no rule names it"),
            ("example.com.evil.test", "no rule names it"),
        ] {
            let got = ask(&client, &asked(name, A_RECORD, None)).await;
            assert_eq!(code(&got), ResponseCode::NXDomain);
            assert_eq!(
                refused(&mut scene).await,
                (name.to_owned(), reason.to_owned())
            );
        }
        let canary = asked("use-application-dns.net", A_RECORD, None);
        assert_eq!(code(&ask(&client, &canary).await), ResponseCode::NXDomain);
        let null = ask(&client, &asked("example.com", 10, None)).await;
        assert_eq!(code(&null), ResponseCode::NoError);
        assert!(null.answers.is_empty() && null.authorities.len() == 1);
        let mut malformed = asked("example.com", A_RECORD, None);
        malformed.push(0);
        assert_eq!(code(&ask(&client, &malformed).await), ResponseCode::FormErr);
        assert!(scene.asked.borrow().is_empty());
        assert_eq!(
            code(&ask(&client, &asked("example.com", A_RECORD, None)).await),
            ResponseCode::NoError
        );
        assert_eq!(scene.asked.borrow().len(), 1);
    });
}

#[test]
fn of_more_refused_names_than_it_is_told_guardd_hears_the_number() {
    const ALL: u64 = 200;
    run(Names::Rules, &[], one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        for number in 0..ALL {
            let name = asked(&format!("n{number}.example"), A_RECORD, None);
            assert_eq!(code(&ask(&client, &name).await), ResponseCode::NXDomain);
        }
        let mut told = 0;
        while told < ALL {
            told += match scene.told.recv().await.unwrap() {
                FromResolver::Refused { .. } => 1,
                FromResolver::More {
                    session,
                    refused,
                    failed,
                } => {
                    assert_eq!((session, failed), (SESSION.0, 0));
                    refused
                }
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(told, ALL);
    });
}

#[test]
fn what_browsers_ask_to_find_another_resolver_is_refused_where_any_name_passes() {
    run(Names::Any, &[], one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        for (name, kind) in [
            ("use-application-dns.net", A_RECORD),
            ("_dns.resolver.arpa", 64),
        ] {
            let got = ask(&client, &asked(name, kind, None)).await;
            assert_eq!(code(&got), ResponseCode::NXDomain, "{name}");
        }
        assert!(scene.asked.borrow().is_empty());
        // It is nobody's mistake, and nobody is to decide on it.
        assert!(scene.told.try_recv().is_err());
        for name in ["application-dns.net", "resolver.arpa"] {
            let got = ask(&client, &asked(name, A_RECORD, None)).await;
            assert_eq!(code(&got), ResponseCode::NoError, "{name}");
        }
        assert_eq!(scene.asked.borrow().len(), 2);
    });
}

#[test]
fn who_was_not_redirected_or_is_of_no_session_gets_no_address() {
    run(Names::Any, &[], one_address, async |scene| {
        let (stranger, mut stream) = scene.stranger().await;
        let question = asked("example.com", A_RECORD, None);
        stranger.send(&question).await.unwrap();
        send_framed(&mut stream, &question).await;
        let ended = stream.read(&mut [0; 2]).await;
        assert!(!matches!(ended, Ok(1..)), "answered");
        let unknown = scene.client(SessionId(99)).await;
        assert_eq!(
            code(&ask(&unknown, &question).await),
            ResponseCode::ServFail
        );
        let client = scene.client(SESSION).await;
        assert_eq!(code(&ask(&client, &question).await), ResponseCode::NoError);
        // An answer is no question.
        let mut reflected = question.clone();
        reflected[2] |= 0x80;
        client.send(&reflected).await.unwrap();
        assert_eq!(code(&ask(&client, &question).await), ResponseCode::NoError);
        assert!(is_silent(&stranger) && is_silent(&client));
        // guardd has said nothing of the policy yet.
        scene.say(ToResolver::ForgetPolicy { slot: SLOT.0 });
        assert_eq!(code(&ask(&client, &question).await), ResponseCode::ServFail);
    });
}

#[test]
fn what_came_before_a_session_had_its_port_is_not_asked_for_it() {
    run(Names::Any, &[], one_address, async |scene| {
        stamps().await;
        let (early, client) = (scene.client(SESSION).await, scene.client(SESSION).await);
        let question = asked("early.example.com", A_RECORD, None);
        // The resolver reads what is there only once this waits.
        early.send(&question).await.unwrap();
        // The kernel's times and ours may be 5 µs apart: what arrived so late counts for the new one.
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_micros(50) {}
        scene.now_is_of_another(&early, SessionId(8));
        scene.say(session(SessionId(8), 1, &[SLOT]));
        let other = asked("example.com", A_RECORD, None);
        assert_eq!(code(&ask(&client, &other).await), ResponseCode::NoError);
        assert!(is_silent(&early));
        assert_eq!(scene.asked.borrow().len(), 1);
        assert_eq!(code(&ask(&early, &question).await), ResponseCode::NoError);
    });
}

#[test]
fn who_has_another_sessions_port_gets_nothing_of_its_answers() {
    let serving = |question: Message, _| match question.queries[0].name().to_ascii() {
        name if name.starts_with("slow") => Vec::new(),
        _ => one_address(question, false),
    };
    run(Names::Any, &[], serving, async |scene| {
        let (slow, client) = (scene.client(SESSION).await, scene.client(SESSION).await);
        slow.send(&asked("slow.example.com", A_RECORD, None))
            .await
            .unwrap();
        while scene.asked.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        scene.now_is_of_another(&slow, SessionId(8));
        // Longer than the server is waited for.
        tokio::time::sleep(4 * scene.common.times.server).await;
        let other = asked("example.com", A_RECORD, None);
        assert_eq!(code(&ask(&client, &other).await), ResponseCode::NoError);
        assert!(is_silent(&slow));
    });
}

#[test]
fn questions_by_tcp_come_in_pieces_and_several_at_once() {
    run(Names::Any, &[], one_address, async |scene| {
        let mut stream = scene.stream(SESSION).await;
        let mut sent = Vec::new();
        for number in 0..40_u8 {
            let mut question = asked("example.com", A_RECORD, None);
            question[1] = number;
            sent.extend((question.len() as u16).to_be_bytes());
            sent.extend(question);
        }
        for piece in sent.chunks(7) {
            stream.write_all(piece).await.unwrap();
        }
        let mut ids = Vec::new();
        for _ in 0..40 {
            let got = Message::from_vec(&framed(&mut stream).await).unwrap();
            assert_eq!(got.answers.len(), 1);
            ids.push(got.metadata.id);
        }
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0x1200..0x1200 + 40));
        // The longest there can be: its option says nothing that leaves.
        let mut longest = asked("example.com", A_RECORD, EDNS);
        let option = usize::from(u16::MAX) - longest.len() - 4;
        let (at, all) = (longest.len() - 2, option as u16 + 4);
        longest[at..].copy_from_slice(&all.to_be_bytes());
        longest.extend([0, 12]);
        longest.extend((option as u16).to_be_bytes());
        longest.resize(usize::from(u16::MAX), b'x');
        send_framed(&mut stream, &longest).await;
        let got = Message::from_vec(&framed(&mut stream).await).unwrap();
        assert_eq!(got.answers.len(), 1);
        let left = scene.asked.borrow().last().unwrap().len();
        assert_eq!(left, asked("example.com", A_RECORD, EDNS).len());
        // Who has only stopped asking gets what is on its way.
        send_framed(&mut stream, &asked("example.com", A_RECORD, None)).await;
        stream.shutdown().await.unwrap();
        assert!(!framed(&mut stream).await.is_empty());
        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 0);
    });
}

/// A server whose answer fits into no datagram.
fn many_addresses(question: Message, is_stream: bool) -> Vec<Vec<u8>> {
    let records = if is_stream {
        (0..200).map(|last| a("example.com", last)).collect()
    } else {
        Vec::new()
    };
    let mut answer = answer(question, records);
    answer.metadata.truncation = !is_stream;
    bytes(&answer)
}

#[test]
fn what_fits_into_no_datagram_is_asked_for_by_tcp() {
    let patterns = &[("example.com", false)];
    run(Names::Rules, patterns, many_addresses, async |scene| {
        let client = scene.client(SESSION).await;
        let question = asked("example.com", A_RECORD, None);
        let got = ask(&client, &question).await;
        assert!(got.metadata.truncation && got.answers.is_empty());
        assert!(scene.maps.named.borrow().is_empty());
        let mut stream = scene.stream(SESSION).await;
        send_framed(&mut stream, &question).await;
        let got = Message::from_vec(&framed(&mut stream).await).unwrap();
        assert_eq!(got.answers.len(), 200);
        assert_eq!(scene.maps.named.borrow().len(), 200);
        assert_eq!(scene.asked.borrow().len(), 2);
    });
}

#[test]
fn what_came_by_tcp_is_asked_by_tcp_alone() {
    let serving = |question: Message, is_stream| {
        if is_stream {
            one_address(question, is_stream)
        } else {
            Vec::new()
        }
    };
    run(Names::Any, &[], serving, async |scene| {
        let mut stream = scene.stream(SESSION).await;
        send_framed(&mut stream, &asked("example.com", A_RECORD, None)).await;
        let got = Message::from_vec(&framed(&mut stream).await).unwrap();
        assert_eq!(got.answers.len(), 1);
        assert_eq!(scene.asked.borrow().len(), 1);
    });
}

/// As many addresses as fit into one answer, by TCP.
const MOST: u32 = 4000;

/// Record by record in bytes: in time for whoever waits for it.
fn most_addresses(question: Message, is_stream: bool) -> Vec<Vec<u8>> {
    let mut answer = answer(question, Vec::new());
    answer.metadata.truncation = !is_stream;
    let mut whole = answer.to_vec().unwrap();
    if is_stream {
        whole[6..8].copy_from_slice(&(MOST as u16).to_be_bytes());
        for number in 0..MOST {
            whole.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x78\0\x04");
            whole.extend((0xc633_0000 + number).to_be_bytes());
        }
    }
    vec![whole]
}

#[test]
fn what_is_refused_is_told_where_the_program_takes_no_answer() {
    let patterns = &[("a.example.com", false)];
    run(Names::Rules, patterns, most_addresses, async |mut scene| {
        let mut stream = scene.stalled_stream(SESSION).await;
        send_framed(&mut stream, &asked("a.example.com", A_RECORD, None)).await;
        let learned = scene.told.recv().await.unwrap();
        assert!(
            matches!(learned, FromResolver::Learned { .. }),
            "{learned:?}"
        );
        // Its answer is behind one that is never written whole.
        send_framed(&mut stream, &asked("secret.example", A_RECORD, None)).await;
        let name = loop {
            match scene.told.recv().await.unwrap() {
                FromResolver::Learned { .. } => {}
                FromResolver::Refused { name, .. } => break name,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(name, "secret.example");
    });
}

#[test]
fn sessions_that_end_one_after_the_other_leave_no_more_than_the_share_of_one() {
    let patterns = &[("*.example.com", false)];
    run(Names::Rules, patterns, most_addresses, async |scene| {
        let slots = [SLOT, PolicyId(4), PolicyId(5)];
        for slot in &slots[1..] {
            scene.say(policy(*slot, Names::Rules, patterns));
        }
        scene.say(session(SESSION, 1, &slots));
        let known = || scene.maps.named.borrow().len();
        let ask = async |of| {
            let mut stream = scene.stream(of).await;
            send_framed(&mut stream, &asked("a.example.com", A_RECORD, None)).await;
            code(&Message::from_vec(&framed(&mut stream).await).unwrap())
        };
        assert_eq!(ask(SESSION).await, ResponseCode::NoError);
        assert_eq!(known(), 3 * MOST as usize);
        // There is room for one more, and for no part of another.
        let inner = |number: u32| SessionId(100 + number);
        for number in 0..5 {
            scene.say(session(inner(number), 1, &[SLOT]));
            let expected = match number {
                0 => ResponseCode::NoError,
                _ => ResponseCode::ServFail,
            };
            assert_eq!(ask(inner(number)).await, expected, "{number}");
            let ended = inner(number).0;
            scene.say(ToResolver::ForgetSession { session: ended });
            assert_eq!(known(), 4 * MOST as usize, "{number}");
        }
        // It is guardd that removes what the first one has in the kernel.
        let gone = inner(0);
        scene
            .maps
            .named
            .borrow_mut()
            .retain(|key, _| key.session != gone);
        scene.say(ToResolver::ForgetNames { session: gone.0 });
        scene.say(session(inner(6), 1, &[SLOT]));
        assert_eq!(ask(inner(6)).await, ResponseCode::NoError);
        // Another account has room all the while.
        scene.say(session(inner(7), 2, &[SLOT]));
        assert_eq!(ask(inner(7)).await, ResponseCode::NoError);
    });
}

#[test]
fn what_is_too_long_for_the_program_is_to_be_asked_for_by_tcp() {
    let serving = |question, _| {
        let records = (0..60).map(|last| a("example.com", last)).collect();
        bytes(&answer(question, records))
    };
    run(Names::Any, &[], serving, async |scene| {
        let client = scene.client(SESSION).await;
        let got = ask(&client, &asked("example.com", A_RECORD, None)).await;
        assert!(got.metadata.truncation && got.answers.is_empty());
        let got = ask(&client, &asked("example.com", A_RECORD, EDNS)).await;
        assert_eq!(got.answers.len(), 60);
    });
}

#[test]
fn what_is_sent_again_is_the_same_question() {
    // The first is lost.
    let is_lost = Cell::new(false);
    let serving = move |question: Message, is_stream| {
        if is_lost.replace(true) {
            one_address(question, is_stream)
        } else {
            Vec::new()
        }
    };
    run(Names::Any, &[], serving, async |scene| {
        let client = scene.client(SESSION).await;
        let question = asked("example.com", A_RECORD, None);
        for _ in 0..5 {
            client.send(&question).await.unwrap();
        }
        // The resolver asks again, for itself, when the first has not been answered in time.
        assert_eq!(code(&hear(&client).await), ResponseCode::NoError);
        assert_eq!(scene.asked.borrow().len(), 2);
        assert_eq!(scene.asked.borrow()[0], scene.asked.borrow()[1]);
        assert!(is_silent(&client));
    });
}

/// An attacker who forges an answer has to guess both.
#[test]
fn each_question_has_a_number_and_a_port_that_nobody_can_know() {
    const COUNT: u8 = 40;
    run(Names::Any, &[], one_address, async |scene| {
        let client = scene.client(SESSION).await;
        for number in 0..COUNT {
            let mut question = asked("example.com", A_RECORD, None);
            question[1] = number;
            assert_eq!(code(&ask(&client, &question).await), ResponseCode::NoError);
        }
        let id = |message: &Vec<u8>| u16::from_be_bytes([message[0], message[1]]);
        let ids: Vec<_> = scene.asked.borrow().iter().map(id).collect();
        let ports: Vec<_> = scene.peers.borrow().iter().map(SocketAddr::port).collect();
        for all in [ids, ports] {
            assert_eq!(all.len(), usize::from(COUNT));
            let each: BTreeSet<_> = all.iter().collect();
            let steps = all.windows(2).map(|two| two[1].wrapping_sub(two[0]));
            let steps: BTreeSet<_> = steps.collect();
            // Hardly two of so few are the same by chance.
            assert!(each.len() > 30 && steps.len() > 30, "{all:?}");
        }
    });
}

#[test]
fn what_another_sends_than_the_server_is_passed_over() {
    // The first question is lost, so that an attacker who forges an answer has the time.
    let is_lost = Cell::new(false);
    let serving = move |question: Message, _| {
        if is_lost.replace(true) {
            bytes(&answer(question, vec![a("example.com", 1)]))
        } else {
            Vec::new()
        }
    };
    run(Names::Any, &[], serving, async |scene| {
        let client = scene.client(SESSION).await;
        let question = asked("example.com", A_RECORD, None);
        client.send(&question).await.unwrap();
        while scene.peers.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let left = Message::from_vec(&scene.asked.borrow()[0]).unwrap();
        // But for its address as the server's own.
        let forged = answer(left, vec![a("example.com", 66)]).to_vec().unwrap();
        let peer = scene.peers.borrow()[0];
        for from in [("127.0.0.2", scene.servers[0].port()), ("127.0.0.1", 0)] {
            let forger = tokio::net::UdpSocket::bind(from).await.unwrap();
            forger.send_to(&forged, peer).await.unwrap();
        }
        assert_eq!(hear(&client).await.answers, [a("example.com", 1)]);
        assert_eq!(scene.asked.borrow().len(), 2, "it was waited for");
    });
}

#[test]
fn what_is_answered_twice_and_late_is_answered_once() {
    let count = Cell::new(0);
    let serving = move |question: Message, _| {
        count.set(count.get() + 1);
        let message = bytes(&answer(question, vec![a("example.com", count.get())]));
        match count.get() {
            // Answered with the second, which is the same.
            1 => Vec::new(),
            2 => [message.clone(), message].concat(),
            _ => message,
        }
    };
    run(Names::Any, &[], serving, async |scene| {
        let client = scene.client(SESSION).await;
        let mut question = asked("example.com", A_RECORD, None);
        let got = ask(&client, &question).await;
        assert_eq!(got.answers, [a("example.com", 2)]);
        assert_eq!(scene.asked.borrow().len(), 2);
        // The next one has an answer of its own.
        question[0] = 0x55;
        let got = ask(&client, &question).await;
        assert_eq!(got.metadata.id, 0x5534);
        assert_eq!(got.answers, [a("example.com", 3)]);
        assert!(is_silent(&client));
    });
}

#[test]
fn answers_to_something_else_are_passed_over() {
    let serving = |question: Message, _| {
        let id = question.metadata.id;
        let good = answer(question.clone(), vec![a("example.com", 1)]);
        let mut other_id = answer(question.clone(), vec![a("example.com", 66)]);
        other_id.metadata.id = id.wrapping_add(1);
        let mut other_name = answer(question.clone(), vec![a("example.com", 66)]);
        other_name.queries[0].set_name(hickory("example.net"));
        let mut no_name = answer(question.clone(), vec![a("example.com", 66)]);
        no_name.queries.clear();
        let messages = [&other_id, &other_name, &no_name, &question, &good];
        let mut messages: Vec<_> = messages
            .iter()
            .map(|message| message.to_vec().unwrap())
            .collect();
        messages.insert(0, vec![0; 5]);
        messages
    };
    run(Names::Any, &[], serving, async |scene| {
        let client = scene.client(SESSION).await;
        let got = ask(&client, &asked("example.com", A_RECORD, None)).await;
        assert_eq!(got.answers, [a("example.com", 1)]);
    });
}

#[test]
fn an_answer_with_more_behind_it_is_not_passed_on() {
    let serving = |question: Message, is_stream| {
        let mut messages = one_address(question, is_stream);
        messages[0].push(0);
        messages
    };
    run(Names::Any, &[], serving, async |mut scene| {
        let client = scene.client(SESSION).await;
        let got = ask(&client, &asked("example.com", A_RECORD, None)).await;
        assert_eq!(code(&got), ResponseCode::ServFail);
        assert_eq!(
            refused(&mut scene).await.1,
            "the server's answer cannot be read"
        );
    });
}

#[test]
fn a_server_that_says_nothing_is_asked_twice() {
    run(
        Names::Any,
        &[],
        |_, _| Vec::new(),
        async |mut scene| {
            let client = scene.client(SESSION).await;
            let got = ask(&client, &asked("example.com", A_RECORD, None)).await;
            assert_eq!(code(&got), ResponseCode::ServFail);
            assert_eq!(scene.asked.borrow().len(), 2);
            assert_eq!(refused(&mut scene).await.1, "the server gave no answer");
        },
    );
}

#[test]
fn all_servers_that_a_question_was_sent_to_at_once_are_asked() {
    run(Names::Any, &[], one_address, async |scene| {
        let client = scene.client(SESSION).await;
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let servers = [scene.servers[0], silent.local_addr().unwrap()];
        let question = asked("example.com", A_RECORD, EDNS);
        // Nothing of it is read before all is sent.
        client.writable().await.unwrap();
        client.try_send(&question).unwrap();
        scene.asks_at_once(&client, &question, &servers);
        client.try_send(&question).unwrap();
        assert_eq!(code(&hear(&client).await), ResponseCode::NoError);
        let mut heard = [0; 512];
        let length = silent.recv(&mut heard).await.unwrap();
        assert_eq!(heard[12..length], question[12..]);
        assert_eq!(scene.asked.borrow().len(), 1, "each once");
        // Another question of that port with the same number was sent to the last one alone.
        let other = asked("example.net", A_RECORD, EDNS);
        client.send(&other).await.unwrap();
        while heard[12..25] != other[12..25] {
            silent.recv(&mut heard).await.unwrap();
        }
        assert_eq!(scene.asked.borrow().len(), 1);
    });
}

async fn question_of(scene: &mut Scene, wanted: &str) -> Number {
    match scene.told.recv().await.unwrap() {
        FromResolver::Ask {
            number,
            session,
            tgid,
            name,
            ..
        } => {
            assert_eq!((session, tgid), (SESSION.0, Tgid(TGID)));
            assert_eq!(name, wanted);
            number
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_that_is_asked_about_leaves_after_a_yes() {
    run(Names::Ask, &[], one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        // Two types, as programs ask them, are one question; what is sent again too.
        let (v4, mut v6) = (
            asked("example.com", A_RECORD, None),
            asked("example.com", 28, None),
        );
        v6[0] = 0x55;
        for message in [&v4, &v6, &v4] {
            client.send(message).await.unwrap();
        }
        let number = question_of(&mut scene, "example.com").await;
        assert!(scene.asked.borrow().is_empty());
        scene.say(ToResolver::Answer { number, yes: true });
        for _ in 0..2 {
            assert_eq!(code(&hear(&client).await), ResponseCode::NoError);
        }
        assert_eq!(scene.asked.borrow().len(), 2);
        assert!(is_silent(&client));
        // No pattern covers it: its address is judged as such.
        assert!(scene.maps.named.borrow().is_empty());
    });
}

#[test]
fn a_name_does_not_leave_after_a_no_nor_without_an_answer() {
    run(Names::Ask, &[], one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        let question = asked("example.com", A_RECORD, None);
        client.send(&question).await.unwrap();
        let number = question_of(&mut scene, "example.com").await;
        scene.say(ToResolver::Answer { number, yes: false });
        assert_eq!(code(&hear(&client).await), ResponseCode::NXDomain);
        client.send(&question).await.unwrap();
        let number = question_of(&mut scene, "example.com").await;
        assert_eq!(code(&hear(&client).await), ResponseCode::ServFail);
        assert_eq!(
            scene.told.recv().await.unwrap(),
            FromResolver::Gone { number }
        );
        // Too late.
        scene.say(ToResolver::Answer { number, yes: true });
        // The policy is another when the answer comes.
        client.send(&question).await.unwrap();
        let number = question_of(&mut scene, "example.com").await;
        scene.say(policy(SLOT, Names::Rules, &[]));
        scene.say(ToResolver::Answer { number, yes: true });
        assert_eq!(code(&hear(&client).await), ResponseCode::NXDomain);
        refused(&mut scene).await;
        assert!(scene.asked.borrow().is_empty());
    });
}

#[test]
fn what_a_search_list_makes_is_refused_without_a_question_where_the_policy_says_so() {
    run(Names::Ask, &[], one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        let made = asked("github.com.corp.example", A_RECORD, None);
        client.send(&made).await.unwrap();
        question_of(&mut scene, "github.com.corp.example").await;
        assert_eq!(code(&hear(&client).await), ResponseCode::ServFail);
        let ToResolver::Policy { slot, names, .. } = policy(SLOT, Names::Ask, &[]) else {
            panic!("no policy")
        };
        let pattern = Pattern {
            pattern: "*.db.corp.example".to_owned(),
            denied: false,
        };
        scene.say(ToResolver::Policy {
            slot,
            names,
            patterns: vec![pattern],
            silent: true,
            without_ech: false,
        });
        assert!(matches!(
            scene.told.recv().await,
            Some(FromResolver::Gone { .. })
        ));
        assert_eq!(code(&ask(&client, &made).await), ResponseCode::NXDomain);
        let (name, why) = refused(&mut scene).await;
        assert_eq!(name, "github.com.corp.example");
        assert!(why.contains("search list"), "{why}");
        assert!(scene.asked.borrow().is_empty());
        // What a rule names is nobody's question.
        let named = asked("a.db.corp.example", A_RECORD, None);
        assert_eq!(code(&ask(&client, &named).await), ResponseCode::NoError);
        client
            .send(&asked("corp.example", A_RECORD, None))
            .await
            .unwrap();
        while !matches!(scene.told.recv().await, Some(FromResolver::Ask { name, .. }) if name == "corp.example")
        {
        }
    });
}

#[test]
fn an_address_that_the_kernel_does_not_keep_is_not_given() {
    let patterns = &[
        ("example.com", false),
        ("a.example", false),
        ("b.example", false),
        ("c.example", true),
        ("d.example", false),
        ("f.example", false),
        ("g.example", false),
        ("h.example", false),
        ("i.example", false),
    ];
    run(Names::Rules, patterns, one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        let question = asked("example.com", A_RECORD, None);
        scene.maps.is_full.set(true);
        assert_eq!(code(&ask(&client, &question).await), ResponseCode::ServFail);
        assert_eq!(
            refused(&mut scene).await.1,
            "the kernel keeps no more addresses"
        );
        scene.maps.is_full.set(false);
        let named = patterns.iter().filter(|(_, denied)| !denied);
        for (name, _) in named {
            let got = ask(&client, &asked(name, A_RECORD, None)).await;
            assert_eq!(code(&got), ResponseCode::NoError);
            assert!(matches!(
                scene.told.recv().await,
                Some(FromResolver::Learned { .. })
            ));
        }
        assert_eq!(scene.patterns(SLOT, "192.0.2.1").len(), MAX_PATTERNS);
        // One more name at that address.
        scene.say(policy(SLOT, Names::Rules, &[("e.example", false)]));
        let got = ask(&client, &asked("e.example", A_RECORD, None)).await;
        assert_eq!(code(&got), ResponseCode::ServFail);
        assert!(refused(&mut scene).await.1.starts_with("more patterns"));
    });
}

#[test]
fn only_the_servers_of_the_machine_teach() {
    let patterns = &[("example.com", false)];
    run(Names::Rules, patterns, one_address, async |mut scene| {
        scene.say(ToResolver::Servers {
            addresses: vec![[192, 0, 2, 53].into()],
            search: Vec::new(),
            links: Vec::new(),
        });
        let client = scene.client(SESSION).await;
        let got = ask(&client, &asked("example.com", A_RECORD, None)).await;
        assert_eq!(got.answers.len(), 1);
        assert!(scene.maps.named.borrow().is_empty());
        assert!(scene.told.try_recv().is_err());
    });
}

#[test]
fn what_a_name_leads_to_counts_for_and_against_it() {
    let serving = |question: Message, _| {
        let records = vec![
            cname("a.example.com", "b.denied.example"),
            cname("b.denied.example", "c.example.net"),
            a("c.example.net", 9),
        ];
        bytes(&answer(question, records))
    };
    let patterns = &[("*.example.com", false), ("*.denied.example", true)];
    run(Names::Rules, patterns, serving, async |mut scene| {
        let client = scene.client(SESSION).await;
        let got = ask(&client, &asked("a.example.com", A_RECORD, None)).await;
        assert_eq!(got.answers.len(), 3);
        let mut both = [NameId::of("*.example.com"), NameId::of("*.denied.example")];
        both.sort();
        assert_eq!(scene.patterns(SLOT, "192.0.2.9"), both);
        for (name, asked) in [
            ("a.example.com", None),
            ("b.denied.example", Some("a.example.com")),
            ("c.example.net", Some("a.example.com")),
        ] {
            let told = scene.told.recv().await.unwrap();
            assert!(
                matches!(&told, FromResolver::Learned { name: of, asked: by, ttl: 60, .. }
                    if of == name && by.as_deref() == asked),
                "{told:?}"
            );
        }
    });
}

#[test]
fn where_a_hint_leads_counts_against_it_only() {
    let serving = |question: Message, _| {
        let owner = question.queries[0].name().clone();
        let target = match owner.to_ascii().as_str() {
            "good.example.com." => "x.denied.example",
            _ => "a.example.com",
        };
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(Ipv4Addr::new(192, 0, 2, 66))]));
        let svcb = SVCB::new(1, hickory(target), vec![(SvcParamKey::Ipv4Hint, hint)]);
        let record = Record::from_rdata(owner, 60, RData::HTTPS(HTTPS(svcb)));
        bytes(&answer(question, vec![record]))
    };
    let patterns = &[("*.example.com", false), ("*.denied.example", true)];
    run(Names::Any, patterns, serving, async |scene| {
        let client = scene.client(SESSION).await;
        // It may say of its own address what it likes, and not that this is an allowed name's.
        let got = ask(&client, &asked("evil.example", 65, None)).await;
        assert_eq!(got.answers.len(), 1);
        assert!(scene.maps.named.borrow().is_empty());
        ask(&client, &asked("good.example.com", 65, None)).await;
        let mut both = [NameId::of("*.example.com"), NameId::of("*.denied.example")];
        both.sort();
        assert_eq!(scene.patterns(SLOT, "192.0.2.66"), both);
    });
}

#[test]
fn what_hides_names_from_tls_is_taken_out_where_a_policy_looks_at_them() {
    let serving = |question: Message, _is_stream| {
        let owner = question.queries[0].name().clone();
        let ech = SvcParamValue::EchConfigList(EchConfigList(vec![0, 1, 2, 3]));
        let svcb = SVCB::new(1, Name::root(), vec![(SvcParamKey::EchConfigList, ech)]);
        let record = Record::from_rdata(owner, 60, RData::HTTPS(HTTPS(svcb)));
        bytes(&answer(question, vec![record]))
    };
    let patterns = &[("*.example.com", false)];
    run(Names::Any, patterns, serving, async |scene| {
        let client = scene.client(SESSION).await;
        let hides = async || {
            let got = ask(&client, &asked("a.example.com", 65, None)).await;
            let RData::HTTPS(https) = &got.answers[0].data else {
                panic!("{got:?}");
            };
            !https.0.svc_params.is_empty()
        };
        assert!(hides().await);
        let outer = PolicyId(4);
        let mut looks = policy(outer, Names::Any, patterns);
        if let ToResolver::Policy { without_ech, .. } = &mut looks {
            *without_ech = true;
        }
        scene.say(looks);
        assert!(hides().await, "another session's policy");
        scene.say(session(SESSION, 1, &[SLOT, outer]));
        assert!(!hides().await);
        scene.say(policy(outer, Names::Any, patterns));
        assert!(hides().await);
    });
}

#[test]
fn one_account_does_not_take_anothers_place() {
    let is_answering = Rc::new(Cell::new(false));
    let answering = Rc::clone(&is_answering);
    let serving = move |question: Message, is_stream| {
        if answering.get() {
            one_address(question, is_stream)
        } else {
            Vec::new()
        }
    };
    run(Names::Any, &[], serving, async |scene| {
        let greedy = scene.client(SESSION).await;
        for number in 0..300_u16 {
            let mut question = asked("example.com", A_RECORD, None);
            question[..2].copy_from_slice(&number.to_be_bytes());
            greedy.send(&question).await.unwrap();
        }
        let other = SessionId(8);
        scene.say(session(other, 2, &[SLOT]));
        let client = scene.client(other).await;
        let question = asked("example.com", A_RECORD, None);
        client.send(&question).await.unwrap();
        // When the other's question is there, all before it have been taken or dropped.
        while scene.asked.borrow().len() < 257 {
            tokio::task::yield_now().await;
        }
        is_answering.set(true);
        assert_eq!(code(&hear(&client).await), ResponseCode::NoError);
        let mut ids = Vec::new();
        for _ in 0..256 {
            ids.push(hear(&greedy).await.metadata.id);
        }
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..256));
        assert!(is_silent(&greedy));
    });
}

#[test]
fn too_many_new_names_are_asked_about_as_one() {
    let patterns = &[("*.evil.example", false)];
    run(Names::Rules, patterns, one_address, async |mut scene| {
        let client = scene.client(SESSION).await;
        let name = |number: usize| asked(&format!("n{number}.evil.example"), A_RECORD, None);
        for number in 0..64 {
            assert_eq!(
                code(&ask(&client, &name(number)).await),
                ResponseCode::NoError
            );
            assert!(matches!(
                scene.told.recv().await,
                Some(FromResolver::Learned { .. })
            ));
        }
        for number in [64, 65] {
            let mut question = name(number);
            question[1] = number as u8;
            client.send(&question).await.unwrap();
        }
        let number = question_of(&mut scene, "*.evil.example").await;
        // What is known already is no news to the zone's owner.
        assert_eq!(ask(&client, &name(0)).await.metadata.id, 0x1234);
        assert_eq!(scene.asked.borrow().len(), 65);
        scene.say(ToResolver::Answer { number, yes: true });
        let (first, second) = (hear(&client).await, hear(&client).await);
        assert_eq!(
            (code(&first), code(&second)),
            (ResponseCode::NoError, ResponseCode::NoError)
        );
        // There is no more after that, but by another answer.
        let mut number = 66;
        while code(&ask(&client, &name(number)).await) == ResponseCode::NoError {
            number += 1;
        }
        assert_eq!(number, 64 + 64);
        assert_eq!(scene.asked.borrow().len(), number + 1);
    });
}

#[test]
fn other_types_pass_and_teach_nothing() {
    let serving = |question: Message, _| {
        let text = RData::TXT(TXT::new(vec!["v=spf1 -all".to_owned()]));
        let record = Record::from_rdata(hickory("example.com"), 60, text);
        bytes(&answer(question, vec![record]))
    };
    run(
        Names::Rules,
        &[("example.com", false)],
        serving,
        async |mut scene| {
            let client = scene.client(SESSION).await;
            assert_eq!(
                ask(&client, &asked("example.com", 16, None))
                    .await
                    .answers
                    .len(),
                1
            );
            assert!(scene.maps.named.borrow().is_empty() && scene.told.try_recv().is_err());
        },
    );
}

#[test]
fn a_session_that_has_ended_is_answered_no_more() {
    let is_ended = Rc::new(Cell::new(false));
    let ended = Rc::clone(&is_ended);
    run(
        Names::Any,
        &[("example.com", false)],
        move |question, is_stream| {
            ended.set(true);
            one_address(question, is_stream)
        },
        async |scene| {
            let client = scene.client(SESSION).await;
            client
                .send(&asked("example.com", A_RECORD, None))
                .await
                .unwrap();
            while !is_ended.get() {
                tokio::task::yield_now().await;
            }
            // The server has answered; the resolver has not read that yet, or has said it already.
            scene.say(ToResolver::ForgetSession { session: SESSION.0 });
            let got = hear(&client).await;
            let known = scene.maps.named.borrow().len();
            assert_eq!(got.answers.len(), known);
            assert_eq!(
                code(&ask(&client, &asked("example.com", A_RECORD, None)).await),
                ResponseCode::ServFail
            );
        },
    );
}

/// What guardd is told of a name that is open.
async fn opening(scene: &mut Scene) -> (Number, String, usize) {
    loop {
        match scene.told.recv().await.unwrap() {
            FromResolver::Opens {
                number,
                name,
                addresses,
                ..
            } => return (number, name, addresses.len()),
            FromResolver::Learned { .. } | FromResolver::Gone { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn addresses_of_an_open_name_are_answered_after_guardds_word() {
    run(Names::Any, &[], one_address, async |mut scene| {
        scene.say(ToResolver::Session {
            session: SESSION.0,
            account: 1,
            policies: vec![SLOT.0],
            opened: vec!["example.com".to_owned()],
        });
        let client = scene.client(SESSION).await;
        let question = asked("Example.com", A_RECORD, None);
        client.send(&question).await.unwrap();
        let (number, name, count) = opening(&mut scene).await;
        assert_eq!((&*name, count), ("example.com", 1));
        assert!(is_silent(&client));
        scene.say(ToResolver::Answer { number, yes: true });
        assert_eq!(code(&hear(&client).await), ResponseCode::NoError);
        // Without it there is no answer.
        client.send(&question).await.unwrap();
        opening(&mut scene).await;
        assert_eq!(code(&hear(&client).await), ResponseCode::ServFail);
        // Another name waits for nobody, nor does one whose hole is closed.
        let other = asked("a.example.com", A_RECORD, None);
        assert_eq!(code(&ask(&client, &other).await), ResponseCode::NoError);
        scene.say(session(SESSION, 1, &[SLOT]));
        assert_eq!(code(&ask(&client, &question).await), ResponseCode::NoError);
    });
}
