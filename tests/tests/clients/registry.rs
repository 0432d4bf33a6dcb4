//! A registry of container images: a pull reads, a push is several requests that do not.

use guard_lab::Tested;
use std::fs;

use crate::clients::scene::{ClientScene, url};
use crate::clients::server::Server;

const PORT: u16 = 5000;

fn start(scene: &ClientScene) -> Tested<Server> {
    let dir = scene.dir().join("registry");
    fs::create_dir(&dir)?;
    let config = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"0.0.0.0:{PORT}\", secret: photos}}\n",
        dir.join("data").display()
    );
    fs::write(dir.join("config.yml"), config)?;
    let mut command = scene.on_production("docker-registry")?;
    command.arg("serve").arg(dir.join("config.yml"));
    Server::start(scene, &mut command, PORT)
}

fn image(verb: &str, layer: &str) -> String {
    format!(
        "/usr/bin/python3 $PROGRAMS/image.py {verb} {} {layer}",
        url(PORT, "")
    )
}

#[test]
fn a_pull_passes_and_each_part_of_a_push_waits() -> Tested {
    let scene = ClientScene::new("profile = \"docker\"\n")?;
    let _server = start(&scene)?;
    let layer = vec![7_u8; 100_000];
    scene.write("first", &layer)?;
    scene.write("second", &layer[..50_000])?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let pushed = "POST 202\nPATCH 202\nPUT 201\nPUT 201\n";
    assert_eq!(without.run(&image("push", "~/first"))?.ok(), pushed);
    let pull = image("pull", "");
    let expected = "GET 200\nGET 200\nHEAD 200\nGET 200\nsame 100000\n";
    assert_eq!(without.run(&pull)?.ok(), expected);
    assert_eq!(agent.run(&pull)?.ok(), expected);

    let push = image("push", "~/second");
    agent.run(&push)?.stopped();
    assert_eq!(without.run(&pull)?.ok(), expected);
    assert_eq!(scene.asked()?, ["POST /v2/photos/blobs/uploads/"]);
    scene.say_yes()?;
    let parts = [
        "PATCH /v2/photos/blobs/uploads/",
        "PUT /v2/photos/blobs/uploads/",
        "PUT /v2/photos/manifests/latest",
    ];
    assert_eq!(agent.run_with_yes(&push, &parts)?.ok(), pushed);
    let second = expected.replace("100000", "50000");
    assert_eq!(agent.run(&pull)?.ok(), second);
    Ok(())
}
