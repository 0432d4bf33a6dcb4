//! gRPC by HTTPS, with etcd's own client, which is written in Go.

use guard_lab::Tested;
use std::fs;

use crate::clients::etcd::{self, PORT, RULE, both_read};
use crate::clients::scene::{ClientScene, secure};
use crate::clients::server::Server;

use super::front::certificate;

fn start(scene: &ClientScene) -> Tested<Server> {
    // It reads the certificate from one and the key from the other.
    let pem = scene.dir().join("etcd.pem");
    fs::write(&pem, certificate(scene)?)?;
    let options = ["--cert-file", "--key-file"].map(|name| format!("{name}={}", pem.display()));
    etcd::start_at(scene, &secure(PORT, ""), &options)
}

fn etcdctl(rest: &str) -> String {
    format!(
        "ETCDCTL_API=3 etcdctl --endpoints {} {rest}",
        secure(PORT, "")
    )
}

#[test]
fn what_reads_passes_and_a_put_waits() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _server = start(&scene)?;
    let get = etcdctl("get foo");
    let (mut without, mut agent) = both_read(&scene, etcdctl)?;

    let put = etcdctl("put foo baz");
    agent.run(&put)?.stopped();
    assert_eq!(without.run(&get)?.ok(), "foo\nbar\n");
    assert_eq!(scene.asked()?, ["POST /etcdserverpb.KV/Put"]);
    let done = agent.run_with_yes(&put, &["POST /etcdserverpb.KV/Put"])?;
    assert_eq!(done.ok(), "OK\n");
    assert_eq!(agent.run(&get)?.ok(), "foo\nbaz\n");
    Ok(())
}

#[test]
fn streams_go_both_ways() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _server = start(&scene)?;
    etcd::assert_streams(&scene, etcdctl)
}
