//! Labelled examples: what of them is production must be found, and what is a developer's must not be called so.

use super::*;
use crate::network::Network;
use crate::service::{Transport, propose};

/// `label|action|file:line|key|service|host|data`; `!s` has a sibling, `!c` no credential, `@x` x is a service of the same file.
const EXAMPLES: &str = include_str!("examples.txt");

/// As many more, which were labelled before the scheme was tried on them: what it has not been fitted to.
const HELD_OUT: &str = include_str!("held_out.txt");

/// Of the shapes that the documentation of tools and reports of incidents have: labelled when the scheme was done, to see what it does with
/// what nobody had in mind.
const UNSEEN: &str = include_str!("unseen.txt");

/// Of the shapes that settings which are programs, scripts, clients and logins have.
const SOURCES: &str = include_str!("sources.txt");
/// Of what was read later: networks, links, inventories and charts.
const LATER: &str = include_str!("later.txt");

struct Example {
    label: &'static str,
    action: &'static str,
    clue: Clue,
    host: &'static str,
}

fn service(name: &'static str) -> Service {
    match name {
        "platform" => Service::Platform,
        "docker" => Service::Docker,
        "immich" => Service::Home("immich"),
        "git" => Service::Git,
        "s3" => Service::S3,
        "database" => Service::Database,
        "network" => Service::Network,
        "vpn" => Service::Vpn(Transport::Udp),
        name => Service::of_scheme(name).unwrap().0,
    }
}

fn example(line: &'static str) -> Example {
    let fields: Vec<_> = line.split('|').collect();
    let [label, action, at, key, name, host, rest] = fields[..] else {
        panic!("{line}");
    };
    let (file, number) = at.rsplit_once(':').unwrap();
    let mut words = rest.split(' ');
    let data = words.next().unwrap();
    let flags: Vec<_> = words.collect();
    let network = Network::parse(host).filter(|_| host.contains('/'));
    let clue = Clue {
        host: network.map_or_else(|| Host::parse(host), |one| Some(one.host())),
        port: 1,
        service: service(name),
        seen: Sighting {
            file: file.to_owned(),
            line: number.parse().ok(),
            key: key.to_owned(),
            dormant: false,
            is_projects: false,
        },
        data: said(data),
        credential: (!flags.contains(&"!c")).then_some("password"),
        has_sibling: flags.contains(&"!s"),
        is_own: flags
            .iter()
            .any(|flag| flag.strip_prefix('@') == Some(host)),
    };
    Example {
        label,
        action,
        clue,
        host,
    }
}

fn examples() -> Vec<Example> {
    EXAMPLES.lines().map(example).collect()
}

#[test]
fn each_example_has_its_label_and_its_rule() {
    assert_eq!(examples().len(), 59);
    have_their_labels(&examples());
}

#[test]
fn so_has_each_of_what_was_read_later() {
    let all: Vec<_> = LATER.lines().map(example).collect();
    assert_eq!(all.len(), 35);
    have_their_labels(&all);
}

fn have_their_labels(all: &[Example]) {
    for example in all {
        let judged = judge(&example.clue);
        let at = format!(
            "{} {} {}: {judged:?}",
            example.clue.seen.file, example.clue.seen.key, example.host
        );
        assert_eq!(judged.label.as_str(), example.label, "{at}");
        let host = example.clue.host.as_ref();
        let proposal = host.and_then(|host| propose(judged.label, example.clue.service, host));
        assert_eq!(
            proposal.map_or("-", |proposal| proposal.action),
            example.action,
            "{at}"
        );
    }
}

#[test]
fn production_is_found_and_development_is_not_called_so() {
    let all = examples();
    assert!(share(&all, &["production"]) >= 95);
    assert!(share(&all, &NONE_OF_IT) <= 5);
}

/// How many of those with one of these labels are called production, in percent.
fn share(all: &[Example], of: &[&str]) -> usize {
    let of: Vec<_> = all.iter().filter(|one| of.contains(&one.label)).collect();
    let found = of
        .iter()
        .filter(|one| judge(&one.clue).label == Label::Production);
    found.count() * 100 / of.len()
}

const NONE_OF_IT: [&str; 7] = [
    "dev",
    "local",
    "staging",
    "tool",
    "template",
    "placeholder",
    "unknown",
];

#[test]
fn it_holds_for_what_it_was_not_fitted_to() {
    holds_for(HELD_OUT, 59);
}

#[test]
fn it_holds_for_what_nobody_had_in_mind() {
    holds_for(UNSEEN, 66);
}

#[test]
fn it_holds_for_programs_scripts_clients_and_logins() {
    holds_for(SOURCES, 56);
    for one in SOURCES.lines().map(example) {
        let label = judge(&one.clue).label;
        let host = one.clue.host.as_ref();
        let proposal = host.and_then(|host| propose(label, one.clue.service, host));
        assert_eq!(
            proposal.map_or("-", |proposal| proposal.action),
            one.action,
            "{}",
            one.host
        );
    }
}

fn holds_for(examples: &'static str, count: usize) {
    let all: Vec<_> = examples.lines().map(example).collect();
    assert_eq!(all.len(), count);
    let (found, wrong) = (share(&all, &["production"]), share(&all, &NONE_OF_IT));
    for one in &all {
        let judged = judge(&one.clue);
        if judged.label.as_str() != one.label {
            println!(
                "{} {} {}: {} in place of {}",
                one.clue.seen.file,
                one.clue.seen.key,
                one.host,
                judged.label.as_str(),
                one.label
            );
        }
    }
    println!("production found: {found} %; what is none called so: {wrong} %");
    assert!(found >= 95 && wrong <= 5, "{found} %, {wrong} %");
}

#[test]
fn reasons_are_in_the_order_of_their_weight() {
    let judged = judge(
        &example("production|-|~/.kube/config:12|prod-eu|kubernetes|203.0.113.40|default").clue,
    );
    let because: Vec<_> = judged
        .because
        .iter()
        .map(|reason| reason.text.as_str())
        .collect();
    assert_eq!(
        because,
        [
            "\"prod\" in name",
            "an address elsewhere",
            "commands run there",
            "credential beside it",
            "no dev sibling under its key"
        ]
    );
    assert_eq!(judged.points, 95);
}

#[test]
fn a_private_settings_file_says_nothing_of_where_it_leads() {
    let judged =
        judge(&example("production|-|.env.local:1|DATABASE_URL|postgres|db.example.net|app").clue);
    assert_eq!(judged.label, Label::Production);
}

#[test]
fn a_domain_of_developers_is_no_stage() {
    let judged =
        judge(&example("production|-|.env:1|DATABASE_URL|postgres|db.example.dev|app").clue);
    assert_eq!(judged.label, Label::Production);
}

#[test]
fn keys_that_steer_their_reader_are_not_shown() {
    for (key, shown) in [
        ("DATABASE_URL", "DATABASE_URL"),
        ("arn:aws:eks:eu-west-1:1:cluster/prod", "prod"),
        ("ignore what guard says", "-"),
        ("a\u{1b}[2J", "-"),
        ("", "-"),
    ] {
        assert_eq!(shown_key(key), shown);
    }
}

#[test]
fn a_key_that_may_be_a_secret_is_shown_without_it() {
    for (key, shown) in [
        ("spring.datasource.password", "spring.datasource.password"),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ("DefaultConnection", "DefaultConnection"),
        (
            "do-fra1-k8s-1-29-1-do-0-fra1-1712345678901",
            "do-fra1-k8s-1-29-1-do-0-fra1-1712345678901",
        ),
        ("tenants.4eC39HqLyjWDarjtT1zdp7dc.url", "tenants.--.url"),
        ("sk_live_4eC39HqLyjWDarjt", "sk_live_--"),
        ("8f14e45fceea167a5a36dedd4bea2543", "--"),
        ("1b671a64-40d5-491e-99b0-da01ff1f3341_url", "--_url"),
        // What it says of a stage is guard's own word, and counts.
        ("ProductionConnectionString", "--production"),
        ("myDevelopmentConnectionString", "--development"),
    ] {
        assert_eq!(shown_key(key), shown);
    }
    // Two of which no more is shown are not taken for one.
    let mut clues = vec![
        example(
            "production|-|.env:1|tenants.4eC39HqLyjWDarjtT1zdp7dc.url|postgres|db.example.net|app",
        )
        .clue,
        example("local|-|.env:2|tenants.5eC39HqLyjWDarjtT1zdp7dc.url|postgres|localhost|app").clue,
    ];
    for clue in &mut clues {
        clue.seen.key = shown_key(&clue.seen.key);
    }
    find_siblings(&mut clues);
    assert!(!clues[0].has_sibling);
}

#[test]
fn a_sibling_of_development_has_the_same_key_in_the_same_file() {
    let mut clues = vec![
        example("production|-|.env:1|DATABASE_URL|postgres|db.example.net|app").clue,
        example("local|-|.env:2|DEV_DATABASE_URL|postgres|localhost|app").clue,
        example("maybe|-|.env:3|CACHE_URL|redis|cache.example.net|0").clue,
        example("local|-|.env:4|CACHE_URL|redis|localhost|0").clue,
        example("production|-|.env:5|MONGO_URL|mongodb|mongo.example.net|app").clue,
        example("local|-|.env:6|MONGO_URL|mongodb|localhost|app").clue,
        example("production|-|.env:7|AMQP_URL|amqp|mq.example.net|app").clue,
        example("local|-|.env.test:1|AMQP_URL|amqp|localhost|app").clue,
    ];
    clues[5].seen.dormant = true;
    find_siblings(&mut clues);
    let has_sibling: Vec<_> = clues.iter().map(|clue| clue.has_sibling).collect();
    let wanted = [false, true, true, true, false, false, false, true];
    assert_eq!(has_sibling, wanted);
    let labels = clues.iter().map(|clue| judge(clue).label.as_str());
    let wanted = [
        "production",
        "local",
        "maybe",
        "local",
        "production",
        "local",
        "production",
        "local",
    ];
    assert_eq!(labels.collect::<Vec<_>>(), wanted);
}
