//! HTTPS to production that may be looked at: opened for sessions that trust the guard's authority, and there only.

pub(crate) mod scene;

use std::{fs, os::unix::fs::PermissionsExt as _};

use guard_lab::{AGENT, Json as _, OPEN, Tested, eventually};
use scene::{JOB, NAME, PHOTOS, START, TlsPhotoScene, answer, url};
use serde_json::Value;

use crate::proxy::scene::pid_of;

#[test]
fn the_incident_does_not_happen_again() -> Tested {
    let scene = TlsPhotoScene::new(true)?;
    let job = url(NAME, JOB);
    let put = ["-X", "PUT", "-d", START, job.as_str()];
    // As it was: nobody is asked.
    assert_eq!(answer(&scene.outside(&put)?)?.0, "200");
    assert_eq!(scene.arrived()?, [format!("PUT {JOB}")]);

    for host in [NAME, PHOTOS] {
        let looked = scene.inside(&[&url(host, "/api/jobs")])?;
        assert_eq!(answer(&looked)?.0, "200", "{looked:?}");
    }
    let stopped = scene.inside(&put)?;
    let (status, problem) = answer(&stopped)?;
    assert_eq!(status, "403", "{stopped:?}");
    let problem: Value = serde_json::from_str(problem)?;
    assert_eq!(problem["rule"], "photos");
    assert_eq!(scene.arrived()?.len(), 3);
    Ok(())
}

#[test]
fn a_yes_is_for_that_request() -> Tested {
    let scene = TlsPhotoScene::new(true)?;
    let mut agent = scene.shell("photos")?;
    let put = format!(
        "curl -s -o /dev/null -w '%{{http_code}}\\n' --resolve {NAME}:8443:{PHOTOS} -X PUT -d '{START}' {}",
        url(NAME, JOB)
    );
    agent.tell(&put)?;
    assert_eq!(agent.line_with("403")?.trim(), "403");
    let pending = scene.daemon.agent(["pending"]).json()?;
    assert_eq!(pending[0]["comm"], "curl", "{pending}");
    let asked = &pending[0]["http"];
    assert_eq!(asked["scheme"], "https", "{pending}");
    assert_eq!(asked["host"], format!("{NAME}:8443"), "{pending}");
    let id = pending[0]["id"].text()?;
    scene.daemon.agent(["approve", id]).run()?.success()?;
    agent.tell(&put)?;
    assert_eq!(agent.line_with("200")?.trim(), "200");
    assert_eq!(scene.arrived()?, [format!("PUT {JOB}")]);
    Ok(())
}

/// Python verifies so from 3.13 on.
#[test]
fn what_is_shown_is_right_to_the_letter() -> Tested {
    let scene = TlsPhotoScene::new(true)?;
    let mut agent = scene.shell("photos")?;
    for name in [
        format!("-verify_ip {PHOTOS}"),
        format!("-servername {NAME} -verify_hostname {NAME}"),
    ] {
        let client = "openssl s_client -x509_strict -verify_return_error";
        let command = format!(
            "{client} -connect {PHOTOS}:8443 {name} </dev/null 2>&1 | grep -m 1 Verification:"
        );
        agent.tell(&command)?;
        let said = agent.line_with("Verification:")?;
        assert!(said.contains("Verification: OK"), "{name}: {said}");
    }
    Ok(())
}

#[test]
fn nothing_is_sent_to_who_cannot_show_who_it_is() -> Tested {
    let scene = TlsPhotoScene::new(false)?;
    assert_eq!(answer(&scene.outside(&[&url(PHOTOS, "/")])?)?.0, "200");
    let told = scene.inside(&[&url(PHOTOS, "/")])?;
    let (status, problem) = answer(&told)?;
    assert_eq!(status, "502", "{told:?}");
    assert!(
        problem.contains("nobody whom this machine trusts"),
        "{problem}"
    );
    assert_eq!(scene.arrived()?, ["GET /"]);
    let logged = scene.daemon.audited("http")?;
    assert_eq!(logged[0]["outcome"], "refused");
    assert_eq!(logged[0]["host"], PHOTOS);
    Ok(())
}

#[test]
fn whoever_trusts_the_company_alone_is_told_of_in_the_log() -> Tested {
    let scene = TlsPhotoScene::new(true)?;
    let company = scene.company();
    let pinned = ["--cacert", company.to_str().unwrap(), &url(NAME, "/")];
    assert_eq!(answer(&scene.outside(&pinned[2..])?)?.0, "200");
    let failed = scene.inside(&pinned)?;
    assert!(!failed.status.success(), "{failed:?}");
    eventually("it is in the log", || {
        Ok(!scene.daemon.audited("http")?.is_empty())
    })?;
    let logged = scene.daemon.audited("http")?;
    let why = logged[0]["why"].text()?;
    assert!(why.contains("does not take the certificate"), "{why}");
    assert_eq!(logged[0]["host"], NAME);
    assert_eq!(scene.arrived()?, ["GET /"]);
    Ok(())
}

#[test]
fn all_else_is_not_opened() -> Tested {
    let scene = TlsPhotoScene::new(true)?;
    let company = scene.company();
    let open = url(OPEN, "/");
    let put = ["-X", "PUT", "--cacert", company.to_str().unwrap(), &open];
    let done = scene.inside(&put)?;
    assert_eq!(answer(&done)?.0, "200", "{done:?}");
    // And who does not trust the company does not come to it by the guard.
    let distrusted = scene.inside(&[&open])?;
    assert!(!distrusted.status.success(), "{distrusted:?}");
    assert_eq!(scene.arrived()?, ["PUT /"]);
    Ok(())
}

#[test]
fn the_key_is_the_proxys_alone_and_outlives_it() -> Tested {
    let scene = TlsPhotoScene::new(true)?;
    let mut agent = scene.shell("photos")?;
    let get = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' {}",
        url(PHOTOS, "/")
    );
    agent.tell(&get)?;
    assert_eq!(agent.line_with("00")?.trim(), "200");

    let key = scene.daemon.state_dir().join("authority.key");
    let text = fs::read_to_string(&key)?;
    assert!(text.contains("PRIVATE KEY"));
    assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    let mut cat = scene.network.dev().command_as(AGENT, "cat");
    assert!(!cat.arg(&key).status()?.success());

    let first = scene.daemon.child_once("guard-proxy")?;
    let pid = pid_of(&first)?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    eventually("another proxy is there", || {
        let now = scene.daemon.child("guard-proxy");
        now.is_some_and(|now| now != first)
    })?;
    assert_eq!(fs::read_to_string(&key)?, text);
    eventually("it answers", || {
        agent.tell(&get)?;
        Ok(agent.line_with("00")?.trim() == "200")
    })?;
    Ok(())
}
