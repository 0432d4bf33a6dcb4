//! Inside of a session what belongs outside, and the reverse.

use super::{Inside, Row, User, check};
use guard_lab::Tested;

const ROWS: &[Row] = &[
    (
        User,
        "guard why",
        2,
        &["outside every session", "guard run -- CMD"],
    ),
    (
        User,
        "guard request 192.0.2.10:443",
        2,
        &["outside every session", "guard run -- CMD"],
    ),
    (
        Inside,
        "guard approve r1",
        2,
        &[
            "no process under the guard may do this",
            "person outside",
            "guard request DEST",
        ],
    ),
    (
        Inside,
        "guard open 192.0.2.10:443",
        2,
        &["no process under the guard may do this", "person outside"],
    ),
    (
        Inside,
        "guard close h1",
        2,
        &["no process under the guard may do this"],
    ),
    (
        Inside,
        "guard stop s1",
        2,
        &["no process under the guard may do this"],
    ),
    (
        Inside,
        "guard pending",
        2,
        &["no process under the guard may do this", "guard why"],
    ),
    (Inside, "guard watch", 2, &["terminal"]),
    (
        Inside,
        "guard request",
        2,
        &["<DEST>", "Usage: guard request <DEST>"],
    ),
    (
        Inside,
        "guard request 8.8.8.8:443",
        0,
        &["8.8.8.8:443 is allowed", "nothing to ask"],
    ),
    (
        Inside,
        "guard request 192.0.2.10 --ports tcp/443,udp/443",
        2,
        &[
            "several ports of 192.0.2.10 at once",
            "a request is for one port",
            "guard request 192.0.2.10:443 --reason TEXT",
            "guard request 192.0.2.10 --ports udp/443 --reason TEXT",
        ],
    ),
    (
        Inside,
        "guard request 192.0.2.300",
        2,
        &["`192.0.2.300`", "each 0 to 255"],
    ),
    (
        Inside,
        "guard why --since 15",
        2,
        &["'15'", "needs its unit", "`15m`"],
    ),
    (Inside, "guard run --policy nope -- true", 125, &["nope"]),
    (
        Inside,
        "guardd --state-dir mine",
        2,
        &["guardd:", "needs root"],
    ),
];

#[test]
fn of_inside_and_outside() -> Tested {
    check(ROWS)?;
    Ok(())
}
