//! What else a batch executes: a yes for one statement of it lets all of it pass, in a transaction that may write.

use guard_lab::{Json as _, Tested};

use super::{each_in_a_new_shop, everything, migrations::the_one};
use crate::clients::scene::ClientScene;
use crate::together::cases;

const DELETE: &str = "delete from people where id = 1001";
/// It changes something by a function, which no text shows.
const SNEAKY: &str = "select * from sneaky";

fn batch(texts: &[&str]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    format!(
        "/usr/bin/python3 $PROGRAMS/wire.py in_one_batch {}",
        texts.join(" ")
    )
}

fn approve(scene: &ClientScene, more: &[&str]) -> Tested {
    let asked = the_one(scene)?;
    let id = asked["id"].text()?;
    scene.answer(&[&["approve", id], more].concat())
}

fn a_person_sees_all_that_a_batch_executes_and_says_yes_to_that(scene: &ClientScene) -> Tested {
    let before = everything(scene)?;
    let mut agent = scene.agent()?;
    let both = batch(&[DELETE, SNEAKY]);
    assert_eq!(agent.run(&both)?.text, "25006\n");
    let http = &the_one(scene)?["http"];
    let text = http["body_preview"].text()?;
    assert!(text.starts_with(DELETE), "{text}");
    assert!(
        text.ends_with(&format!("its batch executes as well: {SNEAKY}")),
        "{text}"
    );
    let warnings = http["warnings"].to_string();
    assert!(
        warnings.contains("1 more statement in its batch"),
        "{warnings}"
    );
    assert_eq!(everything(scene)?, before);
    // What was seen is what passes.
    approve(scene, &[])?;
    assert_eq!(agent.run(&both)?.text, "0\n");
    assert_ne!(everything(scene)?, before);
    Ok(())
}

fn a_yes_for_a_statement_alone_is_for_no_batch(scene: &ClientScene) -> Tested {
    let before = everything(scene)?;
    let mut agent = scene.agent()?;
    let (alone, both) = (batch(&[DELETE]), batch(&[DELETE, SNEAKY]));
    assert_eq!(agent.run(&alone)?.text, "25006\n");
    approve(scene, &[])?;
    assert_eq!(agent.run(&both)?.text, "25006\n");
    assert_eq!(agent.run(&alone)?.text, "done\n");
    // Nor is one for others like it, but for what is asked about itself, and what begins a transaction.
    assert_eq!(agent.run(&alone)?.text, "25006\n");
    let asked = scene.pending()?;
    let alone_asked = asked
        .iter()
        .find(|one| one["http"]["body_preview"] == DELETE);
    let id = alone_asked.unwrap()["id"].text()?;
    let like_it = "delete from people where id = $1";
    scene.answer(&["approve", id, "--path", like_it, "--for", "5m"])?;
    assert_eq!(agent.run(&both)?.text, "25006\n");
    assert_eq!(agent.run(&batch(&[DELETE, DELETE]))?.text, "done\n");
    assert_eq!(everything(scene)?, before);
    // Without the guard it changes something.
    scene.unguarded()?.run(&both)?;
    assert_ne!(everything(scene)?, before);
    Ok(())
}

#[test]
fn together() -> Tested {
    each_in_a_new_shop(cases![
        a_person_sees_all_that_a_batch_executes_and_says_yes_to_that,
        a_yes_for_a_statement_alone_is_for_no_batch,
    ])
}
