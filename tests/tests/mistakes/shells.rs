//! What a shell, a terminal or the environment may do to a command.

use super::{Root, Row, User, check};
use guard_lab::Tested;

const ROWS: &[Row] = &[
    // Nobody reads on: no message, and no signal either.
    (
        User,
        "set -o pipefail; guard policy show default | head -1",
        0,
        &["#"],
    ),
    (User, "set -o pipefail; guard sessions | true", 0, &[]),
    // A no stays one.
    (
        User,
        "set -o pipefail; guard check page.toml | true",
        1,
        &["looks like a page of HTML"],
    ),
    (
        User,
        "set -o pipefail; guard diff default homelab | true",
        1,
        &[],
    ),
    (User, "guard status >&-", 0, &[]),
    (
        User,
        "guard status > /dev/full",
        2,
        &[
            "cannot write the output",
            "No space left",
            "standard output",
        ],
    ),
    (
        User,
        "guard policy show default > /dev/full",
        2,
        &["cannot write the output", "No space left"],
    ),
    (
        User,
        "guard completions bash > /dev/full",
        2,
        &["cannot write the output", "No space left"],
    ),
    (User, "guard sessions <&-", 0, &["s1"]),
    (
        User,
        "guard watch",
        2,
        &[
            "cannot show a screen",
            "have to be a terminal",
            "guard pending --follow",
        ],
    ),
    (User, "TERM= guard status", 0, &["Enforcing"]),
    (User, "LANG=C LC_ALL=C guard sessions", 0, &["s1"]),
    (User, "LC_ALL=xx_YY.nonsense guard sessions", 0, &["s1"]),
    (
        User,
        "env -i $(command -v guard) --socket $GUARD_SOCKET sessions",
        0,
        &["s1"],
    ),
    (User, "unset HOME; guard sessions", 0, &["s1"]),
    (
        User,
        "unset HOME; guard init claude-code --user --print",
        2,
        &["HOME"],
    ),
    (
        User,
        "TZ=Nowhere/None guard log --since 1h",
        0,
        &["192.0.2.20"],
    ),
    (
        User,
        "mkdir gone; cd gone; rmdir ../gone; guard sessions",
        0,
        &["s1"],
    ),
    (
        User,
        "mkdir gone; cd gone; rmdir ../gone; guard check mine.toml",
        2,
        &["mine.toml", "no such file"],
    ),
    (
        User,
        "mkdir gone; cd gone; rmdir ../gone; guard run -- true",
        0,
        &[],
    ),
    (
        User,
        "guard=$(command -v guard); PATH=; $guard run -- true",
        127,
        &["cannot execute true", "PATH"],
    ),
    (
        User,
        "guard=$(command -v guard); PATH=/nowhere; $guard run -- /bin/true",
        0,
        &[],
    ),
    (
        User,
        "guard --json approve s1",
        2,
        &["{\"error\":{", "guard pending"],
    ),
    (
        User,
        "guard --json nonsense",
        2,
        &["{\"error\":{", "nonsense is no verb", "guard --help"],
    ),
    (
        User,
        "guard --json run",
        125,
        &["{\"error\":{", "<CMD>...", "guard run --help"],
    ),
    (User, "GUARD_COMPLETE=bash guard deny r99", 2, &["r99"]),
    (
        Root,
        "setpriv --reuid 61999 --regid 61999 --clear-groups guard sessions",
        0,
        &[
            "No sessions of yours run",
            "guard run -- CMD",
            "Other users have 1",
            "sudo guard sessions",
        ],
    ),
    (
        Root,
        "setpriv --reuid 61999 --regid 61999 --clear-groups guard run -- true",
        0,
        &[],
    ),
    (
        Root,
        "setpriv --reuid 61999 --regid 61999 --clear-groups guard approve r1",
        2,
        &["no request r1", "of yours", "guard pending"],
    ),
    (
        Root,
        "setpriv --reuid 61999 --regid 61999 --clear-groups guard stop s1",
        2,
        &["no session s1", "of yours", "guard sessions"],
    ),
    (
        User,
        "EDITOR=false guard policy edit homelab --policy-dir mine",
        2,
        &[
            "mine/homelab.toml was not written",
            "sudo guard policy edit homelab --policy-dir mine",
        ],
    ),
];

#[test]
fn of_shells_and_environments() -> Tested {
    check(ROWS)?;
    Ok(())
}
