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
        "guard deny s9",
        2,
        &[
            "cannot deny what waits of s9",
            "no request",
            "guard pending",
        ],
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
        "guard approve '#1'",
        2,
        &["#1 is no id", "did you mean r1?", "guard approve r1"],
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
        "guard approve r8 r9",
        2,
        &["no request r8", "no request r9", "guard pending"],
    ),
    (
        User,
        "guard approve r8 15m",
        2,
        &[
            "15m is no id, and nothing was done",
            "did you mean --for 15m?",
            "guard approve r8 --for 15m",
        ],
    ),
    (
        User,
        "guard deny r8,r9",
        2,
        &["several stand with blanks between", "guard deny r8 r9"],
    ),
    (
        User,
        "guard close h98 everything",
        2,
        &[
            "everything is no id, and nothing was done",
            "h and a number",
        ],
    ),
    (
        User,
        "guard approve",
        2,
        &["no request is named", "guard pending", "guard approve r1"],
    ),
    (
        User,
        "guard close",
        2,
        &["no hole is named", "guard holes", "guard close h1"],
    ),
    (
        User,
        "guard stop",
        2,
        &["no session is named", "guard sessions", "guard stop s1"],
    ),
    (
        User,
        "guard deny",
        2,
        &["no request is named", "guard pending", "guard deny r1"],
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
    (
        User,
        "guard answer r1",
        2,
        &[
            "cannot answer r1 so",
            "signed elsewhere",
            "guard approve r1",
            "guard deny r1",
        ],
    ),
    (
        User,
        "guard sign r1",
        2,
        &[
            "reads the question from standard input",
            "guard question r1 --bytes | guard sign > answer",
        ],
    ),
    (
        User,
        "guard question s1",
        2,
        &["cannot question s1", "id of a session", "guard pending"],
    ),
    (
        User,
        "guard question 1",
        2,
        &["1 is no id", "guard question r1"],
    ),
    (
        User,
        "guard log s1",
        2,
        &[
            "takes no session by itself",
            "chosen by an option",
            "guard log --session s1\n",
        ],
    ),
    (
        User,
        "guard log s1 --since 1h",
        2,
        &[
            "cannot take s1 without --verify",
            "guard log --session s1",
            "guard log --verify FILE",
        ],
    ),
    (
        User,
        "guard flows s1",
        2,
        &[
            "guard flows takes no session by itself",
            "guard flows --session s1\n",
        ],
    ),
    (
        User,
        "guard report s1 --format markdown",
        2,
        &["guard report --session s1 --format markdown"],
    ),
    (User, "guard suggest s1", 2, &["guard suggest --session s1"]),
    (
        User,
        "guard pending r1",
        2,
        &["cannot list r1 alone", "guard approve r1", "guard deny r1"],
    ),
    (
        User,
        "guard holes h1",
        2,
        &["cannot list h1 alone", "guard close h1"],
    ),
    (
        User,
        "guard sessions s1",
        2,
        &["cannot show s1 alone", "guard log --session s1"],
    ),
    (
        User,
        "guard status s1",
        2,
        &["cannot show s1 alone", "guard sessions"],
    ),
    (
        User,
        "guard approve all",
        2,
        &[
            "cannot approve all requests at once",
            "each is named",
            "guard pending",
        ],
    ),
    (
        User,
        "guard deny --all",
        2,
        &["cannot deny all requests at once", "guard deny s1"],
    ),
    (
        User,
        "guard close all",
        2,
        &["cannot close all", "guard close --all"],
    ),
    (
        User,
        "guard stop --all",
        2,
        &[
            "cannot stop all sessions at once",
            "guard sessions",
            "guard stop ID",
        ],
    ),
    (
        Root,
        "guard debug kernel-log r1",
        2,
        &["id of a request", "such as s1", "guard sessions"],
    ),
    (
        Root,
        "guard debug kernel-log 1",
        2,
        &["1 is no id", "guard debug kernel-log s1"],
    ),
];

#[test]
fn of_ids() -> Tested {
    check(ROWS)?;
    Ok(())
}
