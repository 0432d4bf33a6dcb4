//! git over HTTP: who clones and fetches reads, who pushes does not.

use guard_lab::Tested;
use std::path::Path;
use std::process::Command;

use crate::clients::agent::Agent;
use crate::clients::scene::{ClientScene, url};
use crate::clients::server::Server;

pub(crate) const PORT: u16 = 8000;

pub(crate) const RULE: &str = "profile = \"git\"\n";

pub(crate) fn start(scene: &ClientScene) -> Tested<Server> {
    let forge = scene.dir().join("forge");
    let bare = forge.join("photos.git");
    git(&["init", "-q", "--bare", "-b", "main"], &bare)?;
    git(&["-C"], &bare)?;
    let forge = forge.display().to_string();
    Server::python(scene, "gateway.py", &[&forge], PORT)
}

fn git(args: &[&str], at: &Path) -> Tested {
    let mut git = Command::new("git");
    let git = match args {
        ["-C"] => git
            .args(["-C"])
            .arg(at)
            .args(["config", "http.receivepack", "true"]),
        _ => git.args(args).arg(at),
    };
    assert!(git.status()?.success());
    Ok(())
}

/// By HTTP/2, where that is offered, libcurl 7.88 garbles long uploads now and then, with the guard or without.
const PUSH: &str = "git -c http.version=HTTP/1.1 push";

/// Makes a commit in a clone.
fn commit(agent: &mut Agent<'_>, clone: &str, text: &str) -> Tested {
    let who = "-c user.name=agent -c user.email=agent@example.com";
    let line = format!(
        "cd {clone} && echo {text} >file && git add file && git {who} commit -qm {text} && head -c 2000000 /dev/urandom >big \
         && git add big && git {who} commit -qm big"
    );
    agent.run(&line)?.ok();
    Ok(())
}

fn head(scene: &ClientScene) -> Tested<String> {
    let bare = scene.dir().join("forge/photos.git");
    let mut git = Command::new("git");
    let git = git
        .arg("-C")
        .arg(bare)
        .args(["log", "-1", "--skip=1", "--format=%s", "main"]);
    Ok(String::from_utf8(git.output()?.stdout)?)
}

#[test]
fn a_clone_passes_and_a_push_waits() -> Tested {
    let scene = ClientScene::new(RULE)?;
    let _server = start(&scene)?;
    clones_and_pushes(&scene, &url(PORT, "/photos.git"))?;
    Ok(())
}

/// What somebody does with a repository.
pub(crate) fn clones_and_pushes(scene: &ClientScene, photos: &str) -> Tested {
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    without.run(&format!("git clone -q {photos} outside"))?.ok();
    commit(&mut without, "outside", "first")?;
    without
        .run(&format!("cd outside && {PUSH} -q origin HEAD:main"))?
        .ok();
    assert_eq!(head(scene)?, "first\n");

    agent.run(&format!("git clone -q {photos} inside"))?.ok();
    assert_eq!(scene.read("inside/file")?, b"first\n");
    assert!(scene.read("inside/big")? == scene.read("outside/big")?);
    commit(&mut without, "outside", "second")?;
    without
        .run(&format!("cd outside && {PUSH} -q origin HEAD:main"))?
        .ok();
    agent
        .run("cd inside && git pull -q && grep second file")?
        .ok();
    assert_eq!(scene.pending()?, [""; 0]);

    commit(&mut agent, "inside", "third")?;
    let push = &format!("cd inside && {PUSH} origin HEAD:main");
    let stopped = agent.run(push)?;
    stopped.stopped();
    assert_ne!(stopped.code, 0);
    assert_eq!(head(scene)?, "second\n");

    let parts = [
        "GET /photos.git/info/refs?service=git-receive-pack",
        // A large one begins with an empty one, to learn whether it is welcome.
        "POST /photos.git/git-receive-pack",
        "POST /photos.git/git-receive-pack",
    ];
    agent.run_with_yes(push, &parts)?.ok();
    assert_eq!(head(scene)?, "third\n");
    without
        .run("cd outside && git pull -q && grep third file")?
        .ok();
    assert!(scene.read("inside/big")? == scene.read("outside/big")?);
    Ok(())
}
