//! Round the names: what leaves in a question, and what an answer opens.
//!
//! What each of forty hard cases is shown by; U: a unit test of guard-resolver, else a test of this program or of the crate named.
//!
//! | case | test |
//! |---|---|
//! | 1 musl, one socket and three servers | `clients::names::musl`; `resolver::life::each_server_is_asked_that_a_socket_has_asked_at_once` |
//! | 2 `SO_BINDTODEVICE` | `by_device`, `by_device_connected`, `by_device_stream`, `by_device_v6`, `by_device_v6_stream`, `by_interface` |
//! | 3 the resolver's own port, another session's port | `straight`, `straight_stream`; `resolver::floods::a_datagram_is_the_session_s_that_sent_it` |
//! | 4 port 53, dissolved, then elsewhere | `dissolved`, `dissolved_again`, `dissolved_stream`, `elsewhere` |
//! | 5 TCP: pipelined, in pieces, 65,535 bytes; MPTCP | `pipelined`, `pieces`, `long`, `multipath`; U `questions_by_tcp_come_in_pieces_and_several_at_once` |
//! | 6 a public server that lies | `liar`; U `only_the_servers_of_the_machine_teach` |
//! | 7 a server of the session's own | `own_server` |
//! | 8 what is no question, or two | `two_questions` … `odd_label`; U `what_is_no_question_or_more_than_one_is_rejected`, `no_bytes_are_too_odd` |
//! | 9 case, ids, options | `case`, `number`, `bits`, `options`; U `a_question_is_read_and_written_anew` |
//! | 10 names that look alike | `below`, `ends_alike`; U `the_most_specific_pattern_decides`, `a_name_is_within_those_above_it_by_whole_labels` |
//! | 11 tunnels | `null`, `private_type`, `any`, `tunnel`; `resolver::tunnels`; U `too_many_new_names_are_asked_about_as_one` |
//! | 12 hints of HTTPS and SVCB, AliasMode, `port` | `alias`; U `where_a_hint_leads_counts_against_it_only`, `an_alias_of_services_and_a_port_are_as_any_target` |
//! | 13 CNAME to what is denied, and back; sixteen | `cname`; `resolver::answers::a_chain_of_sixteen_is_followed_and_no_longer_one` |
//! | 14 a search list with `ndots:5` | `clients::names::glibc` |
//! | 15 TTL 0, a week, 2,000 addresses, 8 of 400 | `resolver::answers` |
//! | 16 a connection past the TTL, and a policy anew | `resolver::answers::a_connection_outlives_the_answer_that_let_it_in`, `a_connection_is_judged_by_the_names_that_counted_when_it_began` |
//! | 17 answer and connect at once | `resolver::churn` |
//! | 18 a cached answer after its end | guard_policy `a_name_counts_as_a_rule_for_the_addresses_that_a_session_learned`; as 16 |
//! | 19 late and forged answers | U `answers_to_something_else_are_passed_over`, `what_is_sent_again_is_the_same_question`, `what_another_sends_than_the_server_is_passed_over`, `what_is_answered_twice_and_late_is_answered_once` |
//! | 20, 21 rebinding | `private`, `mapped`, `nat64`, `metadata`, `loopback`, `rebound`; `resolver::rebinding`; guard_policy `public_names_open_no_private_addresses` |
//! | 22 two names of one address, and nine | `shared_address`; `resolver::answers::of_two_names_of_one_address_the_stricter_counts`, `of_nine_names_of_one_address_the_last_is_not_answered` |
//! | 23 odd ways to show a name | `shown::gate`. Early data comes behind the hello that it belongs to, and kernel TLS begins when that was answered; seccomp refuses a session's io_uring (`escapes::calls`) |
//! | 24 ECH, real and pretended | `shown::gate`, `clients::browser`; its keys: `clients::ech` |
//! | 25 QUIC | `shown::gate::quic_is_refused_where_a_name_decides_and_other_ports_are_open` |
//! | 26 fronting | docs/threat-model.md: only `read-only` closes it, `shown::read_only::fronting_gets_an_answer_of_the_guards_own` |
//! | 27 STARTTLS, PostgreSQL, ssh | `shown::gate`: the kernel and the proxy let nothing begin without TLS |
//! | 28 DNS over TLS and QUIC | `over_tls`, `over_quic`; U `browsers_are_told_to_keep_to_this_resolver`, `what_browsers_ask_to_find_another_resolver_is_refused_where_any_name_passes` |
//! | 29 resolvers behind Unix sockets | `clients::names::modules_of_glibc_s_that_ask_by_a_socket`; `escapes::helpers::path`, `bus`; of what guardd lets pass none asks for others |
//! | 30 mDNS, LLMNR, NetBIOS, WS-Discovery | `multicast_name`, `escapes::forms::multicast`, `subnet_broadcast` |
//! | 31 own files, own libraries | `own_servers`; `escapes::forms::name`; `clients::names::aliases_of_glibc_s_own`. A preloaded library does what a program can: `address` |
//! | 32 an engine's 127.0.0.11 | `resolver::life::a_name_server_behind_a_redirect_of_the_machine_s_is_asked` |
//! | 33 a nested session with a narrower list | `nested` |
//! | 34 full, floods, slow servers | `resolver::floods`, `resolver::answers::a_session_that_knows_too_much_gets_no_more`, `resolver::applied` |
//! | 35 killed and restarted, before and after a reply | `resolver::life`; `resolver::before`, `resolver::the_resolver_is_started_again_and_nothing_is_open_meanwhile` |
//! | 36 the kernel's own look-ups | `launch::system_calls`: seccomp refuses `request_key`; `escapes::rooted`: no mounts |
//! | 37 suspend | `resolver::life::what_was_answered_counts_on_a_machine_that_was_suspended`; guard_datapath `no_program_reads_a_clock_that_stands_still_in_suspend` |
//! | 38 signed answers | U `keys_for_the_servers_name_are_taken_out_and_nothing_else`, `without_its_key_an_answer_says_what_it_said`; `clients::validated` |
//! | 39 other servers | `resolver::life::another_server_of_the_machine_s_teaches_from_then_on`, `a_rule_for_the_machine_s_servers_is_about_another_one_from_then_on` |
//! | 40 glibc's connects to port 0 | `datagrams::nobody_is_asked_about_a_socket_that_sends_nothing` |

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use anyhow::{Result, ensure};
use guard_lab::{AGENT, Attempt, PATIENCE, Reached, Report, Running, Shell, bins};
use hickory_proto::{
    op::Message,
    rr::{
        Name, RData, Record,
        rdata::{
            A, HTTPS, SVCB,
            svcb::{IpHint, SvcParamKey, SvcParamValue},
        },
    },
};

use crate::escapes::way::{Came, Tried, Way, closed, family};
use crate::names::scene::with_resolvers;
use crate::resolver::place::{self, API, DB, DNS, DNS_V6, PUBLIC, ResolverScene};
use crate::resolver::server::{self, OwnServer};

pub(super) const JUDGED: &str = "the resolver refuses names that no rule names";
pub(super) const ANEW: &str = "the resolver sends a new question of name and type";
pub(super) const STRICT: &str = "the resolver takes exactly one unambiguous question";
pub(super) const LEARNED: &str =
    "only addresses that the machine's name servers gave this session are open";
const BUDGET: &str = "a budget of names";
const STRICTER: &str = "of two names of an address the stricter counts";
pub(super) const INSIDE: &str =
    "a name opens no private, link-local, loopback or `@metadata` address";
const PORT: &str = "`connect`, `sendmsg`";
const SENDMSG: &str = "`sendmsg`";
const CONNECT: &str = "`connect`";

/// Whose data is in the labels.
const SECRET: &str = "secret.evil.example";
/// The same below a zone that is allowed.
const BELOW: &str = "secret.api.example.com";

const fn asked(how: &'static str, seen: &'static str, by: &'static str) -> Way {
    closed(how, seen, by).without("leaves the machine")
}

family! { "Round the names";
    alone: by_device_v6, by_device_v6_stream, many_in_one, straight, straight_stream, tunnel, case, number, bits, options, over_tls,
        over_quic, multicast_name, address, other_port, liar, own_server, cname, alias, shared_address, nested, private, mapped, nat64,
        metadata, loopback, loopback_v6, any_address, rebound_later;
    plain: asked("data in the labels of an unlisted name", "NXDOMAIN", JUDGED) => || leaves("udp", SECRET);
    connected: asked("the same from a connected socket", "NXDOMAIN", JUDGED) => || leaves("connected", SECRET);
    stream: asked("the same by TCP", "NXDOMAIN", JUDGED) => || leaves("tcp", SECRET);
    multipath: asked("the same by MPTCP", "NXDOMAIN", JUDGED).where_there_is("MPTCP") => || leaves("mptcp", SECRET);
    pipelined: asked("the same behind an allowed name", "NXDOMAIN", JUDGED)
        => || leaves("pipelined", SECRET);
    pieces: asked("the same by TCP, byte by byte", "NXDOMAIN", JUDGED) => || leaves("split", SECRET);
    below: asked("`github.com.evil.example`: begins as an allowed name", "NXDOMAIN", JUDGED)
        => || leaves("udp", "v1.api.example.com.secret.evil.example");
    ends_alike: asked("`evilgithub.com`: ends as an allowed name", "NXDOMAIN", JUDGED)
        => || leaves("udp", "secret.evilapi.example.com");
    reverse: asked("an address's name (PTR) as data", "NXDOMAIN", JUDGED)
        => || leaves("udp-PTR", "115.101.99.114.in-addr.arpa");
    denied_below: asked("a denied name below an allowed wildcard", "NXDOMAIN", JUDGED)
        => || leaves("udp", "secret.db.api.example.com");
    by_device: asked("by a chosen device (`SO_BINDTODEVICE`)", "EPERM", SENDMSG) => || leaves("device", BELOW);
    by_device_connected: asked("by such a device, from a connected socket", "EPERM", CONNECT)
        => || leaves("device_connected", BELOW);
    by_device_stream: asked("by such a device, by TCP", "EPERM", CONNECT) => || leaves("device_stream", BELOW);
    by_device_v6: asked("by such a device, over IPv6", "EPERM", SENDMSG)
        => || leaves_by("device", &[DNS_V6, BELOW], Server::OwnV6);
    by_device_v6_stream: asked("by such a device, by TCP over IPv6", "EPERM", CONNECT)
        => || leaves_by("device_stream", &[DNS_V6, BELOW], Server::OwnV6);
    by_interface: asked("by `IP_UNICAST_IF`", "EPERM", "egress")
        => || leaves("interface", BELOW);
    many_in_one: asked("two questions in one send (`UDP_SEGMENT`)", "EPERM", "egress")
        => || leaves("segment", BELOW);
    elsewhere: asked("`sendto` another server from a connected socket", "EPERM", SENDMSG)
        => || leaves_by("elsewhere", &[DNS, SECRET, OTHER], Server::Public);
    dissolved: asked("the same, the connection dissolved (`AF_UNSPEC`)", "EPERM", SENDMSG)
        => || leaves_by("dissolved", &[DNS, SECRET, OTHER], Server::Public);
    dissolved_again: asked("such a socket connected elsewhere", "EPERM", CONNECT)
        => || leaves_by("reconnected", &[DNS, SECRET, OTHER], Server::Public);
    dissolved_stream: asked("the same of a TCP connection", "EPERM", CONNECT)
        => || leaves_by("dissolved_stream", &[DNS, SECRET, OTHER], Server::Public);
    straight: asked("a datagram to the resolver's port", "EPERM", PORT) => || straight("straight", "udp");
    straight_stream: asked("a connection to it", "EPERM", PORT) => || straight("straight_stream", "tcp");
    two_questions: asked("two questions in one message", "FORMERR", STRICT) => || leaves("two", SECRET);
    reply: asked("a question marked as an answer", "timeout", STRICT) => || leaves("reply", BELOW);
    trailing: asked("data behind a question", "FORMERR", STRICT) => || leaves("trailing", SECRET);
    additional: asked("a record beside a question", "FORMERR", STRICT) => || leaves("additional", SECRET);
    pointer: asked("a compression loop", "FORMERR", STRICT) => || leaves("pointer", BELOW);
    long_name: asked("an overlong name", "FORMERR", STRICT) => || leaves("longname", BELOW);
    long: asked("64 KiB behind a question, by TCP", "FORMERR", STRICT) => || leaves("long", BELOW);
    other_class: asked("another class", "NXDOMAIN", STRICT) => || leaves("class", BELOW);
    other_opcode: asked("another message (UPDATE)", "NOTIMP", STRICT) => || leaves("opcode", BELOW);
    odd_label: asked("a label with NUL and dot, below an allowed name", "NXDOMAIN", "no host has such a name")
        => || leaves("odd", BELOW);
    null: asked("a type that tunnels use (NULL)", "answered", "not asked for")
        => || leaves("udp-NULL", BELOW);
    private_type: asked("a private type (65280)", "answered", "not asked for")
        => || leaves("udp-PRIVATE", BELOW);
    any: asked("all types (ANY)", "answered", "not asked for") => || leaves("udp-ANY", BELOW);
    tunnel: asked("10 KB as labels of TXT questions", "NXDOMAIN", BUDGET) => tunnel;
    case: asked("an allowed name's letter case as data", "answered", ANEW)
        => || carries("case", b"ExAmPlE");
    number: asked("a question's number as data", "answered", ANEW) => || begins_with("id", b"SE");
    bits: asked("unused header bits as data", "answered", ANEW) => || has_bits("bits", 0x70);
    options: asked("EDNS options (padding, cookies, client subnet) as data", "answered", ANEW)
        => || carries("option", b"v1.api.example.com");
    over_tls: closed("DNS over TLS to an allowed server", "EPERM", CONNECT)
        => || reached(&[], &Attempt::tcp(DNS, 853));
    over_quic: closed("the same by QUIC", "EPERM", CONNECT)
        => || reached(&[], &Attempt::udp(DNS, 853));
    multicast_name: asked("a question to all neighbours (mDNS, LLMNR, NetBIOS, WS-Discovery)", "EPERM", SENDMSG)
        => neighbours;
    own_servers: asked("another server, by its own `resolv.conf`", "EPERM", SENDMSG)
        => || leaves_by("udp", &[OTHER, BELOW], Server::Public);
    address: closed("an allowed name's address, not asked for", "EPERM", LEARNED)
        => || reached(&[], &Attempt::tcp(API, 443));
    other_port: closed("an allowed name's address, at another port", "EPERM", LEARNED)
        => || reached(&["udp", DNS, "v1.api.example.com"], &Attempt::tcp(API, 80));
    liar: closed("such an address from a public server", "EPERM", LEARNED)
        => || reached(&["udp", PUBLIC, "v1.api.example.com"], &Attempt::tcp(API, 443));
    own_server: closed("one from a name server in the session", "EPERM", LEARNED) => own_server;
    cname: closed("an allowed name that leads to a denied one (CNAME)", "EPERM", LEARNED)
        => || reached(&["udp", DNS, "cloaked.api.example.com"], &Attempt::tcp(DB, 443));
    alias: closed("one whose HTTPS record does (AliasMode)", "EPERM", LEARNED) => alias;
    shared_address: closed("an allowed name at a denied one's address", "EPERM", STRICTER)
        => || reached(&["udp", DNS, "shared.api.example.com"], &Attempt::tcp(DB, 443));
    nested: closed("a name that only the outer session may ask for", "EPERM", LEARNED)
        => nested;
    private: rebinding("an allowed name with a private address (rebinding)") => || rebound("10.0.0.5");
    mapped: rebinding("the same as `::ffff:10.0.0.5`") => || rebound("::ffff:10.0.0.5");
    nat64: rebinding("the same as `64:ff9b::10.0.0.5`") => || rebound("64:ff9b::a00:5");
    metadata: rebinding("one that hands out credentials") => || rebound("169.254.169.254");
    loopback: rebinding("one with an address of this machine") => || rebound("127.0.0.1");
    loopback_v6: rebinding("the same over IPv6") => || rebound("::1");
    any_address: rebinding("the same as `0.0.0.0`") => || rebound("0.0.0.0");
    rebound_later: rebinding("one that was public at first") => rebound_later;
}

/// [`place::OTHER`].
const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);

/// A name server that no rule allows.
const OTHER: &str = "198.51.100.99";

const fn rebinding(how: &'static str) -> Way {
    closed(how, "EPERM", INSIDE)
}

/// Which server must not hear it.
#[derive(Clone, Copy)]
enum Server {
    Own,
    /// The same over IPv6.
    OwnV6,
    Public,
}

/// A message that must not come to a server, by the first label of its name.
fn leaves(way: &str, name: &str) -> Result<Tried> {
    leaves_by(way, &[DNS, name], Server::Own)
}

fn leaves_by(way: &str, words: &[&str], server: Server) -> Result<Tried> {
    let mark = match way {
        "udp-PTR" => b"115".to_vec(),
        _ => b"secret".to_vec(),
    };
    let is_it = move |heard: &[u8]| contains(heard, &mark);
    match server {
        Server::Own | Server::Public => Asked::shared().tried(way, words, server, is_it),
        Server::OwnV6 => Asked::new(server).tried(way, words, server, is_it),
    }
}

/// What is allowed, or is asked before all else: by a test of its own, for an answer that another way got may be known still.
fn alone(way: &str, words: &[&str], is_it: impl Fn(&[u8]) -> bool) -> Result<Tried> {
    Asked::new(Server::Own).tried(way, words, Server::Own, is_it)
}

fn contains(heard: &[u8], part: &[u8]) -> bool {
    heard.windows(part.len()).any(|some| some == part)
}

/// An allowed question with bytes that must not come to its server.
fn carries(way: &str, bytes: &'static [u8]) -> Result<Tried> {
    let words = match way {
        "option" => [DNS, "secret"],
        _ => [DNS, "v1.api.example.com"],
    };
    let mark = if way == "option" { b"secret" } else { bytes };
    alone(way, &words, |heard| contains(heard, mark))
}

fn begins_with(way: &str, bytes: &'static [u8]) -> Result<Tried> {
    let words = [DNS, "v1.api.example.com"];
    alone(way, &words, |heard| heard.starts_with(bytes))
}

fn has_bits(way: &str, bits: u8) -> Result<Tried> {
    let words = [DNS, "v1.api.example.com"];
    alone(way, &words, |heard| {
        heard.get(3).is_some_and(|byte| byte & bits == bits)
    })
}

/// A place, and a name server beside the machine's own.
struct Asked {
    place: ResolverScene,
    other: OwnServer,
}

impl Asked {
    fn new(server: Server) -> Self {
        let place = ResolverScene::new().unwrap();
        let at = beside(&place, server);
        let other = OwnServer::start(place.network.prod(), &at, place::usual).unwrap();
        Self { place, other }
    }

    /// The one of all whose questions the guard lets nobody answer: each in a session of its own, so that none knows another's. What the
    /// one before sent without the guard was heard before it was answered.
    fn shared() -> &'static Self {
        static SHARED: LazyLock<Asked> = LazyLock::new(|| Asked::new(Server::Own));
        &SHARED
    }

    /// The program with the guard, and then without: what a server heard of it tells whether it came through.
    fn tried(
        &self,
        way: &str,
        words: &[&str],
        server: Server,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Result<Tried> {
        let Self { place, other } = self;
        let words: Vec<_> = std::iter::once(way).chain(words.iter().copied()).collect();
        let heard = || {
            let all = match server {
                Server::Own => place.dns.heard(),
                Server::OwnV6 | Server::Public => other.heard(),
            };
            all.iter().filter(|message| is_it(message)).count()
        };
        let came = |before: usize, said: String| {
            if heard() > before {
                Came::Through(format!("the server heard it, {said}"))
            } else {
                Came::not_through(said)
            }
        };
        let before = heard();
        let with = came(before, place.within("names", &words));
        let before = heard();
        let without = came(before, place.outside(&words).unwrap());
        Ok(Tried { without, with })
    }
}

/// Where a server listens beside the machine's own of IPv4.
fn beside(place: &ResolverScene, server: Server) -> String {
    if !matches!(server, Server::OwnV6) {
        // Nobody is allowed to ask there.
        return format!("{OTHER}:53");
    }
    // Production answers for a whole range, and has this address of it.
    let mut ip = place.network.prod().command("ip");
    let address = format!("{DNS_V6}/128");
    ip.args(["addr", "add", &address, "dev", "lo", "nodad"]);
    assert!(ip.status().unwrap().success(), "{ip:?} failed");
    format!("[{DNS_V6}]:53")
}

/// A question at the resolver's own port in the guard, under a policy that opens the loopback, and at the server's outside: nobody else is
/// asked there.
fn straight(way: &str, outside: &str) -> Result<Tried> {
    const LOOPBACK: &str = "\n[[rule]]\nname = \"loopback\"\nto = [\"@loopback\", \"@guarded-host\"]\naction = \"allow\"\n";
    let policy = with_resolvers(&format!("{}{LOOPBACK}", place::POLICY));
    let policy = policy.replace("name = \"names\"", "name = \"loopback\"");
    let place =
        ResolverScene::build(place::usual, |daemon| daemon.policy("loopback", &policy)).unwrap();
    let _listening = listening(&place)?;
    let mut shell = Shell::start(&place.daemon, "loopback")?;
    for at in ["127.0.0.1", "::1"] {
        let is_open = shell.reaches(&Attempt::tcp(at, 8443))?;
        ensure!(is_open, "the loopback is not open: {at}");
    }
    let with = place.within("loopback", &[way, DNS, BELOW]);
    let with = if place.dns.has_heard(b"secret") {
        Came::Through(with)
    } else {
        Came::Stopped(with)
    };
    let said = place.outside(&[outside, DNS, BELOW]).unwrap();
    let without = if place.dns.has_heard(b"secret") {
        Came::Through(said)
    } else {
        Came::Stopped(said)
    };
    Ok(Tried { without, with })
}

/// What came of two attempts, with the guard and without.
fn attempted(with: &Report, without: &Report) -> Tried {
    let came = |report: &Report| Came::of(report, report.ok.then(|| report.detail.clone()));
    Tried {
        with: came(with),
        without: came(without),
    }
}

/// A connection, after a question.
fn reached(words: &[&str], attempt: &Attempt) -> Result<Tried> {
    let place = ResolverScene::serving(cloaked).unwrap();
    let _production = place.production().unwrap();
    let mut shell = Shell::start(&place.daemon, "names")?;
    if !words.is_empty() {
        let said = place.asked(&mut shell, &words.join(" ")).unwrap();
        ensure!(said.starts_with("answered"), "the question failed: {said}");
    }
    let with = shell.attempt(attempt)?;
    let without = attempt.outside(place.network.dev(), AGENT)?;
    Ok(attempted(&with, &without))
}

/// Data that a name server hears, more than a budget of names has room for.
fn tunnel() -> Result<Tried> {
    const ZONE: &str = "tunnel.api.example.com";
    let place = ResolverScene::new().unwrap();
    let came = |said: String| {
        let names = place.dns.heard();
        let names: Vec<_> = names
            .iter()
            .filter(|heard| contains(heard, b"tunnel"))
            .collect();
        let bytes: usize = names.iter().map(|name| name.len()).sum();
        place.dns.forget();
        if names.len() > 64 || bytes > 4096 {
            Came::Through(format!("{} names, {bytes} bytes", names.len()))
        } else {
            Came::Stopped(said)
        }
    };
    let mut shell = Shell::start(&place.daemon, "names")?;
    let said = place
        .asked(&mut shell, &format!("tunnel {DNS} {ZONE}"))
        .unwrap();
    let with = came(said);
    // A person is asked about all of them at once.
    let pending = place.daemon.root(["pending"]).json()?;
    let pending = pending.as_array().into_iter().flatten();
    let asked: Vec<_> = pending.map(|one| &one["destination"]["host"]).collect();
    ensure!(asked == ["*.api.example.com"], "{asked:?}");
    let without = came(place.outside(&["tunnel", DNS, ZONE]).unwrap());
    Ok(Tried { without, with })
}

/// By the hint of an HTTPS record, which may also say that the service is another name's.
fn alias() -> Result<Tried> {
    let serving = |asked: &Message, is_stream| {
        let name = server::name_in(asked);
        let to = if name.starts_with("aliased") {
            "x.db.api.example.com."
        } else {
            "."
        };
        if !name.ends_with("ed.api.example.com") {
            return place::usual(asked, is_stream);
        }
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(OTHER_HOST)]));
        let port = SvcParamValue::Port(8443);
        let values = vec![(SvcParamKey::Port, port), (SvcParamKey::Ipv4Hint, hint)];
        let priority = u16::from(to == ".");
        let service = SVCB::new(priority, Name::from_ascii(to).unwrap(), values);
        let owner = Name::from_ascii(format!("{name}.")).unwrap();
        let record = Record::from_rdata(owner, 60, RData::HTTPS(HTTPS(service)));
        server::bytes(&server::answer(asked, vec![record]), is_stream)
    };
    let place = ResolverScene::serving(serving).unwrap();
    let _production = place.production().unwrap();
    let attempt = Attempt::tcp(place::OTHER, 443);
    let reach = |name: &str| -> Result<Report> {
        let mut shell = Shell::start(&place.daemon, "names")?;
        let said = place.asked(
            &mut shell,
            &format!("udp-HTTPS {DNS} {name}.api.example.com"),
        );
        ensure!(said.unwrap().starts_with("answered"), "the question failed");
        shell.attempt(&attempt)
    };
    ensure!(
        reach("hinted")?.ok,
        "the hint of an allowed name opens nothing"
    );
    let with = reach("aliased")?;
    let without = attempt.outside(place.network.dev(), AGENT)?;
    Ok(attempted(&with, &without))
}

/// A name that is a denied one's, one at its address, and others.
fn cloaked(asked: &Message, is_stream: bool) -> Vec<Vec<u8>> {
    const DENIED: &str = "db.example.com";
    let name = server::name_in(asked);
    let (mut records, owner) = match &*name {
        "cloaked.api.example.com" => (vec![server::alias(&name, DENIED, 60)], DENIED),
        "shared.api.example.com" => (Vec::new(), &*name),
        _ => return place::usual(asked, is_stream),
    };
    records.extend(server::addresses(asked, owner, &[DB.parse().unwrap()], 60));
    server::bytes(&server::answer(asked, records), is_stream)
}

/// An address to which an allowed name is bound.
fn rebound(address: &'static str) -> Result<Tried> {
    let place = bound_to(move |_| address);
    place
        .network
        .answer_for(&["10.0.0.0/24", "169.254.169.254/32", "64:ff9b::/96"])?;
    reached_on(&place, &["bound.api.example.com"], address)
}

/// The second time it is asked for, the name is bound to another.
fn rebound_later() -> Result<Tried> {
    let place = bound_to(|name| {
        if name.starts_with("second") {
            "10.0.0.5"
        } else {
            API
        }
    });
    place.network.answer_for(&["10.0.0.0/24"])?;
    reached_on(
        &place,
        &["first.api.example.com", "second.api.example.com"],
        "10.0.0.5",
    )
}

fn bound_to(address: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> ResolverScene {
    ResolverScene::serving(move |asked, is_stream| {
        let name = server::name_in(asked);
        let at = address(&name).parse().unwrap();
        let records = server::addresses(asked, &name, &[at], 1);
        server::bytes(&server::answer(asked, records), is_stream)
    })
    .unwrap()
}

/// A connection to where the last of some names leads. On this machine somebody listens, too.
fn reached_on(place: &ResolverScene, names: &[&str], address: &str) -> Result<Tried> {
    let _listening = listening(place)?;
    let _production = place.production().unwrap();
    let kind = if address.contains(':') {
        "udp-AAAA"
    } else {
        "udp"
    };
    let mut shell = Shell::start(&place.daemon, "names")?;
    for name in names {
        let said = place
            .asked(&mut shell, &format!("{kind} {DNS} {name}"))
            .unwrap();
        ensure!(said.starts_with("answered"), "the question failed: {said}");
    }
    let port = if is_here(address) { 8443 } else { 443 };
    let attempt = Attempt::tcp(address, port);
    let with = shell.attempt(&attempt)?;
    let without = attempt.outside(place.network.dev(), AGENT)?;
    Ok(attempted(&with, &without))
}

/// Whether an address is this machine's, where only its own server listens.
fn is_here(address: &str) -> bool {
    ["127.0.0.1", "::1", "0.0.0.0"].contains(&address)
}

/// Somebody on this machine who echoes.
fn listening(place: &ResolverScene) -> Result<Running> {
    let mut python = place.network.dev().command_as(AGENT, "/usr/bin/python3");
    let mut listening = Running::start(python.args(["-c", LISTENS]))?;
    listening.line_with("listens", PATIENCE)?;
    Ok(listening)
}

/// Echoes what comes to a port of this machine.
const LISTENS: &str = r#"
import socket
s = socket.create_server(("::", 8443), family=socket.AF_INET6, dualstack_ipv6=True)
print("listens", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(c.recv(4096))
    c.close()
"#;

/// A name server in the session answers it, at the usual port and at that of mDNS, and opens nothing.
fn own_server() -> Result<Tried> {
    const SERVES: &str = r#"
import select, socket
servers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for s, port in zip(servers, (53, 5353)):
    s.bind(("127.0.0.1", port))
print("serves", flush=True)
while True:
    for s in select.select(servers, [], [])[0]:
        asked, peer = s.recvfrom(512)
        s.sendto(asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 10]), peer)
"#;
    // Datagrams are open there: they are judged each by itself, answers too.
    let own =
        "\n[[rule]]\nname = \"own\"\nto = [\"127.0.0.1\"]\nports = [\"udp\"]\naction = \"allow\"\n";
    let policy =
        format!("{}{own}", place::POLICY).replace("name = \"names\"", "name = \"own-server\"");
    let place =
        ResolverScene::build(place::usual, |daemon| daemon.policy("own-server", &policy)).unwrap();
    let _production = place.production().unwrap();
    let mut low = place.network.dev().command("sh");
    low.args([
        "-c",
        "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start",
    ]);
    ensure!(low.status()?.success(), "{low:?} failed");
    let program = place.daemon.write_for_agents("serves.py", SERVES)?;
    let mut shell = Shell::start(&place.daemon, "own-server")?;
    shell.tell(&format!("/usr/bin/python3 {} &", program.display()))?;
    shell.line_with("serves")?;
    for port in [53, 5353] {
        shell.tell(&format!("export PORT={port}"))?;
        let said = place
            .asked(&mut shell, "udp 127.0.0.1 v1.api.example.com")
            .unwrap();
        ensure!(
            said == format!("answered {API}"),
            "its own server is not asked at {port}: {said}"
        );
    }
    let attempt = Attempt::tcp(API, 443);
    let with = shell.attempt(&attempt)?;
    let without = attempt.outside(place.network.dev(), AGENT)?;
    Ok(attempted(&with, &without))
}

/// What the outer session has learned is not the inner one's, which may not ask for it.
fn nested() -> Result<Tried> {
    let place = ResolverScene::new().unwrap();
    let _production = place.production().unwrap();
    let mut shell = Shell::start(&place.daemon, "names")?;
    let said = place
        .asked(&mut shell, &format!("udp {DNS} v1.api.example.com"))
        .unwrap();
    ensure!(said == format!("answered {API}"), "{said}");
    let attempt = Attempt::tcp(API, 443);
    ensure!(
        shell.reaches(&attempt)?,
        "the session around does not reach it"
    );
    let guard = bins::for_everybody("guard", place.daemon.tag())?;
    let probe = bins::for_everybody("guard-lab", place.daemon.tag())?;
    let inner = format!(
        "{} run --policy narrower -- sh -c '/usr/bin/python3 {} udp {DNS} v1.api.example.com; {} {}'",
        guard.display(),
        place.odd.display(),
        probe.display(),
        attempt.args().join(" "),
    );
    shell.tell(&inner)?;
    let said = shell.line_with("answer")?;
    ensure!(said.contains("NXDOMAIN"), "the inner one asks: {said}");
    let with = Report::parse(&shell.line_with("\"ok\"")?)?;
    let without = attempt.outside(place.network.dev(), AGENT)?;
    Ok(attempted(&with, &without))
}

/// Groups of IPv4 and IPv6, and who hears what is sent to everybody: packets that leave tell.
fn neighbours() -> Result<Tried> {
    const NEIGHBOURS: [&str; 6] = [
        "224.0.0.251@5353",
        "ff02::fb@5353",
        "224.0.0.252@5355",
        "ff02::1:3@5355",
        "239.255.255.250@3702",
        "255.255.255.255@137",
    ];
    const ASKS: &str = r#"
import errno, socket, sys
said = "sent"
device = socket.if_nametoindex("prod0")
for to in sys.argv[1:]:
    group, port = to.split("@")
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    place = (group, int(port), 0, device) if ":" in group else (group, int(port))
    try:
        s.sendto(b"\0\0\0\0\0\1\0\0\0\0\0\0\6secret\5local\0\0\1\0\1", place)
    except OSError as error:
        said = errno.errorcode[error.errno]
print("answer", said)
"#;
    let place = ResolverScene::new().unwrap();
    let production = place.production().unwrap();
    let program = place.daemon.write_for_agents("neighbours.py", ASKS)?;
    let left = || -> Result<usize> {
        let reached = production.reached()?;
        let is_there = |to: &&&str| {
            let is_it = |one: &Reached| format!("{}@{}", one.to, one.port.unwrap_or(0)) == **to;
            reached.iter().any(is_it)
        };
        Ok(NEIGHBOURS.iter().filter(is_there).count())
    };
    let run = place
        .daemon
        .agent(["run", "--policy", "names", "--", "/usr/bin/python3"]);
    let program = program.display().to_string();
    let words = std::iter::once(&*program).chain(NEIGHBOURS);
    let with = run.args(words.clone()).run()?.stdout;
    let with = match left()? {
        0 => Came::Stopped(with),
        packets => Came::Through(format!("{packets} packets")),
    };
    let mut outside = place.network.dev().command_as(AGENT, "/usr/bin/python3");
    let outside = outside.args(words).output()?;
    let without = match left()? {
        packets if packets == NEIGHBOURS.len() => Came::Through(format!("{packets} packets")),
        packets => Came::Stopped(format!(
            "{packets} packets: {}",
            String::from_utf8_lossy(&outside.stdout)
        )),
    };
    Ok(Tried { without, with })
}
