//! Whom sessions trust, and for what.

use crate::clients::agent::Agent;
use crate::clients::files::curl;
use crate::clients::prometheus;
use crate::clients::scene::{ClientScene, NAME, OPEN_NAME, secure};
use crate::clients::server::Server;
use guard_lab::Tested;

use super::front::{Front, PORT};

/// No variable tells of certificates then.
const BARE: &str = "env -i PATH=$PATH HOME=$HOME PYTHONPATH=$PYTHONPATH PROGRAMS=$PROGRAMS";

/// Each looks at Prometheus, and goes by the system's certificates where no variable names others.
fn clients() -> [String; 7] {
    let at = secure(PORT, "/-/ready");
    let base = secure(PORT, "");
    let python = |script: &str| format!("/usr/bin/python3 -c '{script}'");
    [
        curl(&format!("--fail {at}")),
        python(&format!(
            "import requests; requests.get(\"{at}\", timeout=20)"
        )),
        python(&format!(
            "import urllib.request as u; u.urlopen(\"{at}\", timeout=20)"
        )),
        format!("wget -nv -O - -T 20 -t 1 {at}"),
        format!(
            "openssl s_client -verify_return_error -verify_hostname {NAME} -connect {NAME}:{PORT}"
        ),
        format!("promtool query instant {base} 'vector(42)'"),
        format!("/usr/bin/java $PROGRAMS/Fetch.java GET {at}"),
    ]
}

fn bare(client: &str) -> String {
    format!("{BARE} {client}")
}

fn start(scene: &ClientScene) -> Tested<(Server, Front)> {
    let server = prometheus::start(scene)?;
    Ok((server, Front::of(scene, Some(prometheus::PORT))?))
}

fn trusts(agent: &mut Agent<'_>, client: &str) -> Tested<bool> {
    let done = agent.run(client)?;
    let says_so = done.text.to_lowercase().contains("certifica");
    assert!(done.code == 0 || says_so, "{client}: {done:?}");
    Ok(done.code == 0)
}

#[test]
fn an_ordinary_users_session_trusts_by_variables_alone() -> Tested {
    let scene = ClientScene::new("profile = \"prometheus\"\n")?;
    let _server = start(&scene)?;
    let mut agent = scene.agent()?;
    for client in clients() {
        assert!(trusts(&mut agent, &client)?, "{client}");
        let bare = bare(&client);
        assert!(!trusts(&mut agent, &bare)?, "{bare}");
    }
    Ok(())
}

#[test]
fn a_session_that_root_has_started_trusts_without_variables_as_well() -> Tested {
    let scene = ClientScene::new("profile = \"prometheus\"\n")?;
    let _server = start(&scene)?;
    let mut agent = Agent::by_root(&scene)?;
    for client in clients() {
        assert!(trusts(&mut agent, &client)?, "{client}");
        let bare = bare(&client);
        assert!(trusts(&mut agent, &bare)?, "{bare}");
    }
    // Node.js has a list of its own, and goes by a variable.
    let node = format!("node $PROGRAMS/fetch.mjs GET {}", secure(PORT, "/"));
    assert!(trusts(&mut agent, &node)?);
    // What changes something waits as ever.
    let delete = curl(&format!("-X DELETE {}", secure(PORT, "/api/v1/series")));
    agent.run(&bare(&delete))?.stopped();
    assert_eq!(scene.asked()?, ["DELETE /api/v1/series"]);
    Ok(())
}

/// Who signs what a client is shown.
fn issuer(agent: &mut Agent<'_>, host: &str) -> Tested<String> {
    let ask = format!(
        "openssl s_client -connect {host}:{PORT} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -issuer"
    );
    Ok(agent.run(&ask)?.ok().trim().replace(' ', ""))
}

#[test]
fn what_no_rule_is_about_is_not_opened() -> Tested {
    let scene = ClientScene::new("")?;
    let front = Front::of(&scene, None)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let company = "issuer=CN=company";
    for host in [NAME, OPEN_NAME] {
        assert_eq!(issuer(&mut without, host)?, company);
    }
    assert_eq!(issuer(&mut agent, OPEN_NAME)?, company);
    assert_eq!(
        issuer(&mut agent, NAME)?,
        "issuer=O=guard,CN=guardread-onlyCA"
    );

    let open = format!("https://{OPEN_NAME}:{PORT}/");
    let company = scene.company().display().to_string();
    let put = curl(&format!("--cacert {company} -X PUT {open}"));
    assert_eq!(agent.run(&put)?.ok(), "here\n\n200 2\n");
    // And who does not trust the company does not come to it by the guard.
    let distrusts = agent.run(&curl(&format!("-X PUT {open}")))?;
    assert_ne!(distrusts.code, 0, "{distrusts:?}");
    assert_eq!(front.arrived(1)?, ["PUT / HTTP/2.0"]);
    Ok(())
}
