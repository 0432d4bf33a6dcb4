//! Mistakes that people make, each typed for real: the answer says what failed, on what, and what to type.
//!
//! One row is one mistake. What it is to say is the message's own words; what only a reader can judge, they judge when they
//! write the row.

mod scene;

mod destinations;
mod files;
mod ids;
mod places;
mod policies;
mod sessions;
mod shells;
mod verbs;

use guard_lab::Tested;
use scene::MistakeScene;
pub(crate) use scene::number_one_of_each;
pub(crate) use verbs::suggests;

/// Who types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Root,
    /// The user whose session it is.
    User,
    /// The command in the session.
    Inside,
}

/// A line for a shell, how it ends, and what it has to say: what failed, on what, and what to type.
type Row = (Who, &'static str, i32, &'static [&'static str]);

use Who::{Inside, Root, User};

/// Types each, and gathers those that were answered otherwise.
fn check(rows: &[Row]) -> Tested {
    let scene = MistakeScene::new()?;
    let wrong: Vec<_> = rows.iter().filter_map(|row| scene.wrong(row)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
