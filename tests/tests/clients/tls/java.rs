//! Java, which has a store of certificates of its own, and speaks HTTP/2 where it can.

use crate::clients::files::{self, Files};
use crate::clients::scene::{ClientScene, secure};
use guard_lab::Tested;

use super::front::{Front, PORT};

#[test]
fn a_program_is_told_and_goes_on_after_a_yes() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let front = Front::of(&scene, Some(files::PORT))?;
    let mut keytool = scene.on_production("/usr/bin/keytool")?;
    keytool
        .args(["-importcert", "-noprompt", "-alias", "company"])
        .args(["-storetype", "JKS", "-storepass", "changeit", "-file"])
        .arg(scene.company())
        .arg("-keystore")
        .arg(scene.company_store());
    assert!(keytool.status()?.success());
    // It says there which options it has taken.
    let java = "2>java.log /usr/bin/java $PROGRAMS/Fetch.java";
    files::told_and_go_on(&scene, &files, &[java], |name| secure(PORT, name))?;
    let arrived = front.arrived(5)?;
    let in_two = |one: &String| one.ends_with(" HTTP/2.0");
    assert!(arrived.iter().all(in_two), "{arrived:?}");
    Ok(())
}
