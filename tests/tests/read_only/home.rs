//! The policy that ships for a home, as it ships: the first user's case without a line written.

use guard_lab::{Json as _, Network, Tested};

use super::scene::{JOB, PhotoScene, START};

const SHIPPED: &str = include_str!("../../../policies/homelab.toml");
/// The photo server of a home, at Immich's own port.
const SERVER: &str = "192.168.7.20";
const PORT: u16 = 2283;

#[test]
fn photos_at_home_are_looked_through_and_a_job_is_asked_about() -> Tested {
    let network = Network::new()?;
    network.answer_for(&["192.168.7.0/24"])?;
    let scene = PhotoScene::on(network, SHIPPED, &[PORT])?;
    let url = |path: &str| format!("http://{SERVER}:{PORT}{path}");
    let json = ["-H", "Content-Type: application/json"];
    let (at_job, photo) = (url(JOB), url("/api/assets/1"));
    let job = [&json[..], &["-X", "PUT", "-d", START, &at_job]].concat();
    assert_eq!(scene.outside(&job)?.status, 200);

    let search = url("/api/search/metadata");
    let reads: [&[&str]; 3] = [
        &[&url("/api/albums")],
        &[&url("/api/assets/1/thumbnail")],
        &[json[0], json[1], "-d", r#"{"city":"Kyoto"}"#, &search],
    ];
    for read in reads {
        assert_eq!(scene.inside(read)?.status, 200, "{read:?}");
    }
    let stopped = scene.inside(&job)?;
    assert_eq!(stopped.status, 403, "{stopped:?}");
    assert_eq!(stopped.json()?["rule"], "Immich");
    let change = [&json[..], &["-X", "PUT", "-d", "{}", &photo]].concat();
    assert_eq!(scene.inside(&change)?.status, 403);
    let arrived = scene.arrived()?;
    assert_eq!(arrived.len(), 4, "{arrived:?}");

    let mut agent = scene.shell()?;
    let put = format!(
        "curl -s -o /dev/null -w '%{{http_code}}\\n' {} '{}' -X PUT -d '{START}' {at_job}",
        json[0], json[1]
    );
    agent.tell(&put)?;
    assert_eq!(agent.line_with("403")?.trim(), "403");
    let asked = scene.request()?;
    let warnings = asked["http"]["warnings"].to_string();
    let warned = "much at once, or for good: a job over the whole library";
    assert!(warnings.contains(warned), "{warnings}");
    let id = asked["id"].text()?;
    let approved = scene.daemon.agent(["approve", id]).run()?;
    approved.success()?;
    agent.tell(&put)?;
    assert_eq!(agent.line_with("200")?.trim(), "200");
    assert_eq!(scene.arrived()?.last(), Some(&format!("PUT {JOB}")));
    Ok(())
}

/// The example that the policy has of a server at a port of many: the same, at the address that is in it.
#[test]
fn documents_are_downloaded_and_a_deletion_of_many_is_asked_about() -> Tested {
    let network = Network::new()?;
    network.answer_for(&["192.0.2.11/32"])?;
    let scene = PhotoScene::on(network, SHIPPED, &[8000])?;
    let url = |path: &str| format!("http://192.0.2.11:8000/api/documents/{path}");
    let some = r#"{"documents":[1,2]}"#;
    let post = ["-H", "Content-Type: application/json", "-d", some];
    let (download, delete) = (url("bulk_download/"), url("delete/"));
    let download = [&post[..], &[&download]].concat();
    let delete = [&post[..], &[&delete]].concat();
    assert_eq!(scene.outside(&delete)?.status, 200);

    assert_eq!(scene.inside(&[&url("?query=tax")])?.status, 200);
    assert_eq!(scene.inside(&download)?.status, 200);
    let stopped = scene.inside(&delete)?;
    assert_eq!(stopped.status, 403, "{stopped:?}");
    assert_eq!(stopped.json()?["rule"], "documents");
    let arrived = scene.arrived()?;
    assert_eq!(arrived.len(), 3, "{arrived:?}");
    Ok(())
}
