//! What needs no profile, as a person would have it: a row is what is to come, the rule's keys, and a request. Holes for reads are
//! judged by rules without keys.

use super::{Judgement, Wire, rules};

/// `pass` or `ask`, `|`, keys of the rule, `|`, the request; `\n` parts its lines.
const ROWS: &str = r#"
ask  | | PUT /api/jobs/thumbnailGeneration\ncontent-type: application/json\n\n{"command":"start","force":true}
pass | profile = "immich" | POST /api/search/metadata\ncontent-type: application/json\n\n{}
ask  | | POST /api/search/metadata\ncontent-type: application/json\n\n{}
ask  | profile = "home-assistant" | GET /api/webhook/x
ask  | | GET /api/webhook/x
ask  | | GET /api/v1/namespaces/a/pods/p/exec?command=id
ask  | | GET /api/v1/namespaces/a/services/x:80/proxy/job
pass | | POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews\ncontent-type: application/json\n\n{}
pass | | GET /api/v1/namespaces/a/pods
ask  | | GET /?Action=TerminateInstances&InstanceId.1=i-1
pass | | GET /?Action=DescribeInstances&Version=2016-11-15
ask  | | GET /graphql?query=mutation%7Bx%7D
pass | | GET /graphql?query=%7Bx%7D
pass | | POST /graphql\ncontent-type: application/json\n\n{"query":"query A { a }","extensions":{"clientLibrary":{"name":"@apollo/client"}}}
ask  | | POST /graphql\ncontent-type: application/json\n\n{"query":"{ a }","extensions":{"persistedQuery":{"version":1}}}
ask  | | POST /graphql\ncontent-type: application/json\n\n{"query":"mutation { a }"}
pass | | POST /logs-2026/_search\ncontent-type: application/json\n\n{"query":{}}
ask  | | POST /logs-2026/_delete_by_query\ncontent-type: application/json\n\n{"query":{}}
pass | | POST /api/v1/query_range\ncontent-type: application/x-www-form-urlencoded\n\nquery=up&start=1&end=2&step=15
ask  | | POST /api/v1/query\ncontent-type: application/x-www-form-urlencoded\n\nquery=up&drop=1
ask  | | POST /api/v1/labels\ncontent-type: application/x-www-form-urlencoded\n\nname=x
pass | | POST /select/0/prometheus/api/v1/query\ncontent-type: application/x-www-form-urlencoded\n\nquery=up
pass | | POST /loki/api/v1/query_range\ncontent-type: application/x-www-form-urlencoded\n\nquery=%7B%7D
ask  | | GET /-/quit
ask  | | GET /ingester/shutdown
ask  | | GET /api/v1/admin/tsdb/delete_series?match[]=up
pass | | POST /rpc\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}
ask  | | POST /rpc\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":[]}
ask  | | POST /rpc\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"getnewaddress"}
pass | | POST /mcp\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"tools/list"}
ask  | | POST /mcp\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}
pass | profile = "nextcloud" | PROPFIND /remote.php/dav/files/me\ncontent-type: text/xml\n\n<d:propfind xmlns:d="DAV:"/>
pass | | POST /me/x.git/git-upload-pack\ncontent-type: application/x-git-upload-pack-request\n\n0032want
ask  | | POST /me/x.git/git-receive-pack\ncontent-type: application/x-git-receive-pack-request\n\n00
ask  | | GET /query?q=DROP+MEASUREMENT+x
pass | | GET /query?q=SELECT+*+FROM+x
ask  | | GET /job/x/build?token=t
ask  | | GET /manager/text/undeploy?path=/x
ask  | | GET /jsonrpc?method=aria2.shutdown
ask  | | GET /solr/c/select?stream.body=%3Cdelete%3E
ask  | | GET /cgi-bin/reboot
ask  | | GET /admin/delete/7
ask  | | GET /trigger?action=deleteAll
ask  | | GET /webapi/entry.cgi?api=SYNO.FileStation.Delete&version=2&method=start&path=x
ask  | | GET /webapi/entry.cgi?api=SYNO.Core.System&version=1&method=reboot
pass | | GET /webapi/entry.cgi?api=SYNO.FileStation.List&version=2&method=list_share
ask  | | GET /v1/database/creds/app
ask  | | GET /rpc/Switch.Set?id=0&on=true
pass | | GET /rpc/Shelly.GetStatus
ask  | | GET /relay/0?turn=toggle
ask  | | GET /api/v2/torrents/delete?hashes=all
ask  | | GET /command/deletePerm?hashes=all
ask  | | GET /api/v1/applications/shop?refresh=hard
pass | | GET /api/jobs
pass | | GET /api/albums/7
pass | | GET /api/v2/sync/maindata
pass | | GET /items?start=0&stop=20&format=json
pass | | GET /settings
pass | | GET /build/main.js
pass | | GET /?q=delete+my+account
pass | | GET /_matrix/client/v3/sync
ask  | | GET /cron.php
"#;

/// Rows that were written before the rules above and not looked at until these were done.
const UNSEEN: &str = r#"
ask  | | GET /api/v1/restart
ask  | | GET /setup/poweroff
ask  | | GET /bot123:abc/sendMessage?chat_id=1&text=x
ask  | | GET /mytopic/publish?message=x
ask  | | GET /cm?cmnd=Power%20toggle
ask  | | GET /servlet?op=deleteUser&id=4
ask  | | GET /list?unsubscribe=1
ask  | | GET /admin/users/12/disable
ask  | | GET /api/containers/abc123/kill
ask  | | GET /_cache/clear
ask  | | GET /rpc/Sys.Reboot
ask  | | GET /api/hassio_ingress/x/reboot
ask  | | GET /x;delete
ask  | | GET /index.php?action[]=delete
ask  | | GET /api/service/home/factory_reset
ask  | | GET /sabnzbd/api?mode=shutdown
ask  | | GET /transmission/rpc?method=torrent-remove
ask  | | GET /solr/admin/cores?action=UNLOAD&core=x
ask  | | GET /jenkins/job/x/build?token=t
ask  | | POST /rpc\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"wallet.getAndSpend"}
pass | | GET /docs/delete-an-account
pass | | GET /api/v1/runs
pass | | GET /static/js/delete.3f9a.js
pass | | GET /start/index.html
pass | | GET /api/tokens
pass | | GET /repos/a/b/releases
pass | | GET /search?action=query&list=search
pass | | GET /metrics
pass | | POST /_msearch\ncontent-type: application/json\n\n{}
pass | | POST /jsonrpc\ncontent-type: application/json\n\n{"jsonrpc":"2.0","id":1,"method":"VideoLibrary.GetMovies"}
pass | | POST /apis/authentication.k8s.io/v1/tokenreviews\ncontent-type: application/json\n\n{}
"#;

/// Methods that pass as reads.
const SAFE: [&str; 6] = ["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"];

fn judged(keys: &str, wire: &str) -> &'static str {
    match Wire::of(&wire.replace("\\n", "\n")).judge(&rules(keys)) {
        Judgement::Read { .. } => "pass",
        _ => "ask",
    }
}

fn wrong(rows: &str) -> Vec<String> {
    let rows = rows.lines().filter(|row| !row.is_empty());
    rows.filter_map(|row| {
        let mut cells = row.splitn(3, '|').map(str::trim);
        let (want, keys, wire) = (cells.next()?, cells.next()?, cells.next()?);
        let mut methods = vec![wire.to_owned()];
        if want == "ask" && wire.starts_with("GET ") {
            methods = SAFE.map(|method| wire.replacen("GET", method, 1)).to_vec();
        }
        let mut wrong = methods
            .into_iter()
            .filter(|wire| judged(keys, wire) != want);
        wrong.next().map(|wire| format!("{want}: {wire}"))
    })
    .collect()
}

#[test]
fn what_is_unmistakable_needs_no_profile_and_what_acts_acts_by_every_safe_method() {
    assert_eq!(wrong(ROWS), Vec::<String>::new());
    assert_eq!(wrong(UNSEEN), Vec::<String>::new());
}

#[test]
fn a_rule_that_stops_get_stops_each_method_that_passes_as_a_read() {
    let stops = "[[rule.http]]\nmethod = [\"GET\"]\npath = \"/x\"\naction = \"confirm\"";
    for method in SAFE {
        assert_eq!(judged(stops, &format!("{method} /x")), "ask", "{method}");
        assert_eq!(judged(stops, &format!("{method} /y")), "pass", "{method}");
    }
}

#[test]
fn a_rule_that_allows_a_method_is_for_no_form_that_names_another() {
    let allows = "[[rule.http]]\nmethod = [\"DELETE\"]\naction = \"deny\"\n[[rule.http]]\nmethod = [\"POST\"]\npath = \"/s/*\"\naction = \"allow\"";
    let form = "content-type: application/x-www-form-urlencoded";
    for (want, wire) in [
        ("pass", format!("POST /s/7\\n{form}\\n\\na=b")),
        ("ask", format!("POST /s/7\\n{form}\\n\\n_method=DELETE")),
        ("ask", format!("POST /s/7\\n{form}\\n\\n_method=PUT")),
        (
            "ask",
            "POST /s/7?$httpHeaders=X-HTTP-Method-Override:DELETE".to_owned(),
        ),
    ] {
        assert_eq!(judged(allows, &wire), want, "{wire}");
    }
}

#[test]
fn a_pattern_that_names_a_parameter_is_for_each_value_of_it() {
    let allows = "[[rule.http]]\npath = \"/webapi/*\"\nquery = \"*method=list*\"\naction = \"allow\"\n[[rule.http]]\npath = \"/webapi/*\"\naction = \"confirm\"";
    for (want, query) in [
        ("pass", "api=SYNO.FileStation.List&method=list_share"),
        ("ask", "api=SYNO.Core.System&method=reboot&x=method=list"),
        ("ask", "method=list&method=reboot"),
        ("ask", "x=method=list"),
    ] {
        assert_eq!(
            judged(allows, &format!("GET /webapi/entry.cgi?{query}")),
            want,
            "{query}"
        );
    }
}
