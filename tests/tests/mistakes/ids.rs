//! Ids of another kind, of nothing, and nearly right.

use super::{Root, Row, User, check};
use guard_lab::Tested;

const ROWS: &[Row] = &[
    (
        User,
        "guard approve s1",
        2,
        &[
            "cannot approve s1",
            "id of a session",
            "such as r1",
            "guard pending",
        ],
    ),
    (
        User,
        "guard approve h1",
        2,
        &["cannot approve h1", "id of a hole", "guard close h1"],
    ),
    (
        User,
        "guard deny s1",
        2,
        &["cannot deny s1", "id of a session", "guard pending"],
    ),
    (
        User,
        "guard close r1",
        2,
        &[
            "cannot close r1",
            "id of a request",
            "guard holes",
            "guard deny r1",
        ],
    ),
    (
        User,
        "guard close s1",
        2,
        &["cannot close s1", "id of a session", "guard stop s1"],
    ),
    (
        User,
        "guard stop h1",
        2,
        &["cannot stop h1", "id of a hole", "guard close h1"],
    ),
    (
        User,
        "guard stop r1",
        2,
        &["cannot stop r1", "id of a request", "guard sessions"],
    ),
    (
        User,
        "guard stop 1",
        2,
        &["1 is no id", "did you mean s1?", "guard stop s1"],
    ),
    (
        User,
        "guard approve 1",
        2,
        &["1 is no id", "did you mean r1?", "guard approve r1"],
    ),
    (
        User,
        "guard approve R1",
        2,
        &["R1 is no id", "did you mean r1?", "guard approve r1"],
    ),
    (
        User,
        "guard approve r99",
        2,
        &["no request r99", "may have been answered", "guard pending"],
    ),
    (
        User,
        "guard close h99",
        2,
        &["no hole h99", "may have ended", "guard holes"],
    ),
    (
        User,
        "guard stop s99",
        2,
        &["no session s99", "guard sessions"],
    ),
    (
        User,
        "guard approve claude",
        2,
        &["no request claude", "guard pending"],
    ),
    (
        User,
        "guard approve r1 r2",
        2,
        &["unexpected argument 'r2'", "guard approve [OPTIONS] <ID>"],
    ),
    (
        User,
        "guard approve",
        2,
        &["<ID>", "Usage: guard approve <ID>", "--help"],
    ),
    (
        User,
        "guard close",
        2,
        &["<ID>", "Usage: guard close <ID>...", "--help"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --session r1",
        2,
        &["no session r1", "guard sessions"],
    ),
    (
        User,
        "guard explain 192.0.2.30 --session s99",
        2,
        &["no session s99", "guard sessions"],
    ),
    (
        User,
        "guard log --session r1",
        2,
        &["r1", "id of a request", "guard sessions"],
    ),
    (
        User,
        "guard report --session 1",
        2,
        &["1 is no id", "did you mean s1?"],
    ),
    (
        Root,
        "guard approve r1 --tried 0",
        2,
        &["'0'", "--tried", "must be 1 or more"],
    ),
    (
        Root,
        "guard approve r1 --connections all",
        2,
        &["'all'", "--connections", "write a number", "no limit"],
    ),
    (
        Root,
        "guard approve r1 --bytes 10M",
        2,
        &["'10M'", "--bytes", "10MB"],
    ),
    (
        Root,
        "guard approve r1 --path '/x' --writes",
        2,
        &["--path", "--writes", "Usage: guard approve"],
    ),
];

#[test]
fn of_ids() -> Tested {
    check(ROWS)?;
    Ok(())
}
