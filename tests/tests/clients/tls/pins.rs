//! Clients that take the destination's own certificate, or its authority's, and no other.

use std::process::Command;

use guard_lab::{Json as _, Tested, eventually};

use crate::clients::files::curl;
use crate::clients::scene::{ClientScene, NAME, secure};

use super::front::{Front, PORT};

/// A client fails with the guard, and the audit log says at what, why, and what to do about it.
fn fails(line: &str) -> Tested {
    let scene = ClientScene::new("")?;
    let front = Front::of(&scene, None)?;
    let line = line
        .replace("COMPANY", &scene.company().display().to_string())
        .replace("KEY", &key(&scene)?);
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    without.run(&line)?.ok();
    assert_eq!(front.arrived(1)?.len(), 1);
    let failed = agent.run(&line)?;
    assert_ne!(failed.code, 0, "{failed:?}");
    eventually("it is in the log", || {
        Ok(!scene.daemon.audited("http")?.is_empty())
    })
    .unwrap_or_else(|_| panic!("{failed:?} is not in the log"));
    let logged = scene.daemon.audited("http")?;
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert_eq!(logged[0]["host"], NAME, "{logged:?}");
    assert_eq!(logged[0]["outcome"], "refused", "{logged:?}");
    let why = logged[0]["why"].text()?;
    assert!(why.contains("action = \"allow\""), "{why}");
    assert_eq!(front.arrived(1)?.len(), 1);
    Ok(())
}

/// The digest of the server's key, as curl takes it.
fn key(scene: &ClientScene) -> Tested<String> {
    let pem = scene.dir().join(format!("front/{PORT}.pem"));
    let script = "openssl x509 -pubkey -noout -in \"$0\" | openssl pkey -pubin -outform DER \
                  | openssl dgst -sha256 -binary | openssl base64";
    let digest = Command::new("sh").args(["-c", script]).arg(pem).output();
    Ok(String::from_utf8(digest?.stdout)?.trim().to_owned())
}

#[test]
fn curl_with_a_list_of_its_own_fails_and_the_log_says_why() -> Tested {
    fails(&curl(&format!("--cacert COMPANY {}", secure(PORT, "/"))))?;
    Ok(())
}

#[test]
fn curl_with_a_key_of_its_own_fails_and_the_log_says_why() -> Tested {
    fails(&curl(&format!(
        "--pinnedpubkey sha256//KEY {}",
        secure(PORT, "/")
    )))?;
    Ok(())
}

#[test]
fn python_with_a_list_of_its_own_fails_and_the_log_says_why() -> Tested {
    let url = secure(PORT, "/");
    fails(&format!(
        "/usr/bin/python3 -c 'import requests; requests.get(\"{url}\", verify=\"COMPANY\", timeout=20)'"
    ))?;
    Ok(())
}

#[test]
fn node_with_a_list_of_its_own_fails_and_the_log_says_why() -> Tested {
    let script = format!(
        "require(\"https\").get(\"{}\", {{ca: require(\"fs\").readFileSync(\"COMPANY\")}}, a => a.resume())",
        secure(PORT, "/")
    );
    fails(&format!("node -e '{script}'"))?;
    Ok(())
}

/// As the API servers of Kubernetes do with what kubeadm gives its users: nobody in between can have the key.
#[test]
fn a_server_that_wants_a_certificate_of_the_client_s_is_told_of() -> Tested {
    let scene = ClientScene::new("")?;
    let front = Front::for_clients(&scene)?;
    let client = scene.company.issue_client("agent")?;
    scene.write("client.pem", client.as_bytes())?;
    let line = curl(&format!("-D - --cert ~/client.pem {}", secure(PORT, "/")));
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let done = without.run(&line)?.ok();
    assert!(done.ends_with("here\n\n200 2\n"), "{done}");
    let told = agent.run(&line)?.ok();
    assert!(told.ends_with("\n400 2\n"), "{told}");
    assert!(
        told.contains("proxy-status: guard; details=\"photos.example asks for a certificate"),
        "{told}"
    );
    eventually("it is in the log", || {
        Ok(!scene.daemon.audited("http")?.is_empty())
    })?;
    let why = scene.daemon.audited("http")?[0]["why"].to_string();
    assert!(why.contains("asks for a certificate"), "{why}");
    assert_eq!(front.arrived(2)?.len(), 2);
    Ok(())
}
