//! What happened to people, with the file or variable by which the agent found its way there. `== thread | what is to be found`,
//! then each file, or the environment, behind `-- `.

use super::labelled::scene_of;
use super::*;

const INCIDENTS: &str = include_str!("../incidents.txt");

#[test]
fn each_incident_is_named_before_the_first_connection() -> Tested {
    let mut count = 0;
    for incident in INCIDENTS.split("== ").skip(1) {
        let (head, files) = incident.split_once('\n').ok_or("no files")?;
        let (thread, expected) = head.split_once(" | ").ok_or("nothing expected")?;
        let found = scene_of(files)?.look()?;
        let is_named = match expected.strip_prefix("key ") {
            Some(what) => found.keys.iter().any(|key| key.what == what),
            None => lines(&found)
                .iter()
                .any(|line| line.starts_with(&format!("{expected}, "))),
        };
        let told = format!("{found:?}");
        assert!(is_named, "{thread}: {expected}: {:?}", lines(&found));
        assert!(!told.to_lowercase().contains("hunter2"), "{thread}: {told}");
        count += 1;
    }
    assert_eq!(count, 28);
    Ok(())
}
