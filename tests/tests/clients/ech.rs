//! Keys for encrypting a server's name (ECH): where TLS has to show the name, no client gets them.

use std::process::Command;

use guard_lab::{AGENT, Tested, exec};
use hickory_proto::{
    op::Message,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{
            A, HTTPS, SVCB,
            svcb::{EchConfigList, IpHint, SvcParamKey, SvcParamValue},
        },
    },
};

use super::names::has;
use crate::{
    names::scene::with_resolvers,
    resolver::{
        place::{DNS, POLICY, ResolverScene, usual},
        server,
    },
};

const NAME: &str = "v1.api.example.com";
/// What is said of it beside the keys, as `dig` writes it.
const HINT: &str = "ipv4hint=192.0.2.10";

/// The same policy, under which TLS has to show a name.
fn shows() -> String {
    let rule = "ports = [\"tcp/443\"]\naction = \"allow\"\n";
    let shows = POLICY.replacen(rule, &format!("{rule}tls = \"name\"\n"), 1);
    assert_ne!(shows, POLICY);
    with_resolvers(&shows.replace("name = \"names\"", "name = \"shows\""))
}

/// Keys, where they are asked for.
fn keys(asked: &Message, is_stream: bool) -> Vec<Vec<u8>> {
    let mut questions = asked.queries.iter();
    if !questions.any(|query| query.query_type == RecordType::HTTPS) {
        return usual(asked, is_stream);
    }
    let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 10)]));
    let ech = SvcParamValue::EchConfigList(EchConfigList(vec![0, 1, 2, 3]));
    let values = vec![
        (SvcParamKey::Ipv4Hint, hint),
        (SvcParamKey::EchConfigList, ech),
    ];
    let service = HTTPS(SVCB::new(1, Name::root(), values));
    let owner = Name::from_ascii(format!("{}.", server::name_in(asked))).unwrap();
    let record = Record::from_rdata(owner, 60, RData::HTTPS(service));
    server::bytes(&server::answer(asked, vec![record]), is_stream)
}

fn said(command: &mut Command) -> Tested<String> {
    let output = exec::output(command)?;
    assert!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn keys_for_a_server_s_name_do_not_come_where_tls_has_to_show_it() -> Tested {
    if !has("dig")? {
        return Ok(());
    }
    let place = ResolverScene::build(keys, |daemon| daemon.policy("shows", &shows()))?;
    let server = format!("@{DNS}");
    for protocol in ["+notcp", "+tcp"] {
        let words = ["+short", protocol, &server, NAME, "HTTPS"];
        let mut outside = place.network.dev().command_as(AGENT, "dig");
        let outside = said(outside.args(words))?;
        let under = |policy| {
            let run = ["run", "--policy", policy, "--", "dig"];
            said(&mut place.daemon.agent(run).args(words).command()?)
        };
        for (how, text, is_there) in [
            ("without the guard", outside, true),
            ("by its address alone", under("names")?, true),
            ("by its name", under("shows")?, false),
        ] {
            assert!(text.contains(HINT), "{protocol}, {how}: {text}");
            assert_eq!(text.contains("ech="), is_there, "{protocol}, {how}: {text}");
        }
    }
    Ok(())
}
