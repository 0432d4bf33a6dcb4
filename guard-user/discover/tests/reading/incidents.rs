//! What happened to people, with the file or variable by which the agent found its way there. `== thread | what is to be found`,
//! then each file, or the environment, behind `-- `.

use super::labelled::scene_of;
use super::*;

const INCIDENTS: &str = include_str!("../incidents.txt");
/// The same of ways to say where something is, with neighbours that say nothing (`no HOST`).
const REACHES: &str = include_str!("../reaches.txt");

#[test]
fn each_incident_is_named_before_the_first_connection() -> Tested {
    are_named(INCIDENTS, 28)
}

#[test]
fn each_way_to_say_where_something_is_is_read() -> Tested {
    are_named(REACHES, 23)
}

#[test]
fn a_client_that_trusts_its_own_authority_alone_is_asked_about() -> Tested {
    let kubeconfig = |cluster: &str| {
        format!(
            "current-context: m\nclusters: [{{name: m, cluster: {{server: 'https://192.0.2.60:6443'{cluster}}}}}]\n\
             contexts: [{{name: m, context: {{cluster: m, user: m}}}}]\n"
        )
    };
    for (cluster, action) in [
        ("", "read-only"),
        (", certificate-authority-data: AA", "confirm"),
    ] {
        let found = Scene::new()?
            .with("kubeconfig", kubeconfig(cluster))?
            .look()?;
        let proposed = found.findings[0].proposed.map(|rule| rule.action);
        assert_eq!(proposed, Some(action), "{found:?}");
    }
    Ok(())
}

fn are_named(incidents: &str, expected_count: usize) -> Tested {
    let mut count = 0;
    for incident in incidents.split("== ").skip(1) {
        let (head, files) = incident.split_once('\n').ok_or("no files")?;
        let (thread, expected) = head.split_once(" | ").ok_or("nothing expected")?;
        let found = scene_of(files)?.look()?;
        let absent = expected.strip_prefix("no ");
        let is_named = match expected.strip_prefix("key ") {
            Some(what) => found.keys.iter().any(|key| key.what == what),
            None if absent.is_some() => {
                let mut all = found.findings.iter();
                all.all(|one| Some(one.host.as_str()) != absent)
            }
            None => lines(&found)
                .iter()
                .any(|line| line.starts_with(&format!("{expected}, "))),
        };
        let told = format!("{found:?}");
        assert!(is_named, "{thread}: {expected}: {:?}", lines(&found));
        assert!(!told.to_lowercase().contains("hunter2"), "{thread}: {told}");
        count += 1;
    }
    assert_eq!(count, expected_count);
    Ok(())
}
