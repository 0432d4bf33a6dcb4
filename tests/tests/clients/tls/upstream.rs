//! Destinations that cannot show who they are: whoever takes no notice of that reaches them without the guard, and nobody
//! does with it.

use guard_lab::{Company, Tested, self_signed};

use crate::clients::files::curl;
use crate::clients::scene::{ClientScene, HOST, NAME, secure};

use super::front::{Front, PORT, Site};

/// Certificates and what is wrong with each, as a client is told.
fn bad(scene: &ClientScene) -> Tested<[(String, &'static str); 5]> {
    let names = [NAME, HOST];
    let nobody = Company::new("nobody")?;
    let ours = &scene.company;
    Ok([
        (ours.issue_in(2019..2020, &names), "it has expired"),
        (ours.issue_in(2100..2101, &names), "it is not valid yet"),
        (ours.issue(&["other.example"]), "it is for other.example"),
        (self_signed(&names), "nobody whom this machine trusts"),
        (nobody.issue(&names), "nobody whom this machine trusts"),
    ]
    .map(|(pem, why)| (pem.unwrap(), why)))
}

#[test]
fn nothing_is_sent_to_who_cannot_show_who_it_is() -> Tested {
    let scene = ClientScene::new("")?;
    let bad = bad(&scene)?;
    let ports = || PORT..;
    let sites: Vec<_> = ports()
        .zip(&bad)
        .map(|(port, (pem, _))| Site {
            port,
            certificate: pem.clone(),
            behind: None,
            clients_of: None,
        })
        .collect();
    let front = Front::start(&scene, &sites)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for (index, (port, (_, why))) in ports().zip(&bad).enumerate() {
        let at = secure(port, "/");
        // Who looks sees it, and who does not is answered.
        let looked = without.run(&curl(&at))?;
        assert_ne!(looked.code, 0, "{looked:?}");
        let told = without.run(&curl(&format!("-k -X PUT {at}")))?.ok();
        assert_eq!(told, "here\n\n200 2\n");
        for rest in ["--http2", "--http1.1", "-k", "-k -X PUT -d {}"] {
            let told = agent.run(&curl(&format!("{rest} {at}")))?.ok();
            assert!(told.contains("\n502 "), "{rest}: {told}");
            assert!(told.contains("urn:guard:"), "{rest}: {told}");
            assert!(told.contains(why), "{rest}: {told}");
            assert!(told.contains(NAME), "{rest}: {told}");
        }
        // The one without the guard, of each so far.
        assert_eq!(front.arrived(index + 1)?.len(), index + 1, "{why}");
    }
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

#[test]
fn what_somebody_has_made_at_home_is_taken_where_the_settings_name_it() -> Tested {
    let home = self_signed(&[NAME])?;
    let scene = ClientScene::trusting("", &home)?;
    let site = Site {
        port: PORT,
        certificate: home,
        behind: None,
        clients_of: None,
    };
    let front = Front::start(&scene, &[site])?;
    let mut agent = scene.agent()?;
    let told = agent.run(&curl(&secure(PORT, "/")))?.ok();
    assert_eq!(told, "here\n\n200 2\n");
    agent
        .run(&curl(&format!("-X DELETE {}", secure(PORT, "/"))))?
        .stopped();
    assert_eq!(front.arrived(1)?, ["GET / HTTP/2.0"]);
    Ok(())
}
