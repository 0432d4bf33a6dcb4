//! etcd: its gateway for HTTP and JSON, and gRPC with its own client, which is written in Go.

use crate::clients::agent::Agent;
use crate::clients::scene::{ClientScene, HOST, url};
use crate::clients::server::Server;
use crate::together::{cases, each_from};
use guard_lab::Tested;

pub(crate) const PORT: u16 = 2379;

/// Reads of the gateway are POST; those of gRPC have names.
pub(crate) const RULE: &str = r#"profile = "grpc"
grpc_methods = ["etcdserverpb.KV/Range", "etcdserverpb.Watch/Watch", "etcdserverpb.Maintenance/Status"]

[[rule.http]]
method = ["POST"]
path = "/v3/kv/range"
action = "allow"
"#;

fn start(scene: &ClientScene) -> Tested<Server> {
    start_at(scene, &url(PORT, ""), &[])
}

/// One that clients come to by this URL, with more options.
pub(crate) fn start_at(scene: &ClientScene, at: &str, options: &[String]) -> Tested<Server> {
    let scheme = at.split(':').next().unwrap();
    let mut command = scene.on_production("etcd")?;
    command
        .arg("--data-dir")
        .arg(scene.dir().join("etcd"))
        .args([
            "--listen-client-urls",
            &format!("{scheme}://0.0.0.0:{PORT}"),
        ])
        .args(["--advertise-client-urls", at])
        .args(options)
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .arg("--unsafe-no-fsync");
    let server = Server::start(scene, &mut command, PORT)?;
    let health = format!("curl -sS {at}/health");
    let mut without = scene.unguarded()?;
    guard_lab::eventually("it has a leader", || {
        Ok(without.run(&health)?.text.contains("\"true\""))
    })?;
    Ok(server)
}

fn etcdctl(rest: &str) -> String {
    format!("ETCDCTL_API=3 etcdctl --endpoints {} {rest}", url(PORT, ""))
}

/// Keys and values are in base64.
fn gateway(path: &str, json: &str) -> String {
    format!(
        "curl -sS -w '\\n%{{http_code}}' -d '{json}' {}",
        url(PORT, path)
    )
}

const KEY: &str = r#"{"key": "Zm9v"}"#;
const BAR: &str = r#"{"key": "Zm9v", "value": "YmFy"}"#;
const BAZ: &str = r#"{"key": "Zm9v", "value": "YmF6"}"#;

fn its_gateway_reads_by_post_and_a_put_waits(scene: &ClientScene) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    assert!(
        without
            .run(&gateway("/v3/kv/put", BAR))?
            .ok()
            .ends_with("200")
    );
    let range = gateway("/v3/kv/range", KEY);
    let expected = without.run(&range)?.ok();
    assert!(expected.contains("YmFy"), "{expected}");
    assert_eq!(agent.run(&range)?.ok(), expected);

    agent.run(&gateway("/v3/kv/put", BAZ))?.stopped();
    assert_eq!(without.run(&range)?.ok(), expected);
    assert_eq!(scene.asked()?, ["POST /v3/kv/put"]);
    scene.say_yes()?;
    assert!(
        agent
            .run(&gateway("/v3/kv/put", BAZ))?
            .ok()
            .ends_with("200")
    );
    assert!(agent.run(&range)?.ok().contains("YmF6"));
    Ok(())
}

fn what_reads_by_grpc_passes_and_a_put_waits(scene: &ClientScene) -> Tested {
    let get = etcdctl("get foo");
    let (mut without, mut agent) = both_read(scene, etcdctl)?;
    // With a scheme it names that in :authority, which is none (RFC 3986 3.2).
    agent
        .run(&format!(
            "ETCDCTL_API=3 etcdctl --endpoints {HOST}:{PORT} endpoint status"
        ))?
        .ok();

    let put = etcdctl("put foo baz");
    let stopped = agent.run(&put)?;
    stopped.stopped();
    assert_ne!(stopped.code, 0);
    assert_eq!(without.run(&get)?.ok(), "foo\nbar\n");
    assert_eq!(scene.asked()?, ["POST /etcdserverpb.KV/Put"]);
    // A client of gRPC does not end its stream before it is answered, so this very request is asked about again.
    assert_eq!(
        agent
            .run_with_yes(&put, &["POST /etcdserverpb.KV/Put"])?
            .ok(),
        "OK\n"
    );
    assert_eq!(agent.run(&get)?.ok(), "foo\nbaz\n");
    let gone = agent.run(&etcdctl("del foo"))?;
    gone.stopped();
    assert_eq!(without.run(&get)?.ok(), "foo\nbaz\n");
    Ok(())
}

/// Somebody without the guard who has put `bar` at `foo`, and an agent: both read that.
pub(crate) fn both_read(
    scene: &ClientScene,
    etcdctl: fn(&str) -> String,
) -> Tested<(Agent<'_>, Agent<'_>)> {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    assert_eq!(without.run(&etcdctl("put foo bar"))?.ok(), "OK\n");
    for reader in [&mut without, &mut agent] {
        assert_eq!(reader.run(&etcdctl("get foo"))?.ok(), "foo\nbar\n");
    }
    Ok((without, agent))
}

/// What is put is seen at once by whoever watches.
pub(crate) fn assert_streams(scene: &ClientScene, etcdctl: fn(&str) -> String) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    agent.tell(&etcdctl("watch --rev 1 foo &"))?;
    for value in ["one", "two", "three"] {
        let put = etcdctl(&format!("put foo {value}"));
        assert_eq!(without.run(&put)?.ok(), "OK\n");
        // Each is here before the next is there.
        agent.line_with(value)?;
    }
    agent.tell("kill $!")
}

fn streams_of_grpc_go_both_ways(scene: &ClientScene) -> Tested {
    assert_streams(scene, etcdctl)
}

#[test]
fn together() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _server = start(&scene)?;
    each_from(
        &scene,
        cases![
            its_gateway_reads_by_post_and_a_put_waits,
            what_reads_by_grpc_passes_and_a_put_waits,
            streams_of_grpc_go_both_ways,
        ],
        ClientScene::end_sessions,
    )
}
