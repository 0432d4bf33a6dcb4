//! Files that are no policies.

use super::{Root, Row, User, check};
use guard_lab::Tested;

/// What lies in the person's directory.
pub(super) const FILES: &[(&str, &[u8])] = &[
    ("empty.toml", b""),
    ("binary.toml", b"\x7fELF\x02\x01\x01\0\0\0\0\0\xff\xfe"),
    ("latin1.toml", b"version = 1\n# gr\xfc\xdfe\n"),
    ("secret.toml", b"version = 1\n"),
    (
        "page.toml",
        b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
    ),
    ("json.toml", b"{\"version\": 1}\n"),
    (
        "bom.toml",
        b"\xef\xbb\xbfversion = 1\r\nname = \"bom\"\r\ndefault = \"allow\"\r\n",
    ),
    ("notes.txt", b"version = 1\ndefault = \"allow\"\n"),
];

const ROWS: &[Row] = &[
    (
        User,
        "guard check nothing.toml",
        2,
        &["nothing.toml", "no such file", "guard policy list"],
    ),
    (
        User,
        "guard run --policy default.toml -- true",
        125,
        &[
            "default.toml",
            "no such file",
            "\n    default\n",
            "guard policy list",
        ],
    ),
    (
        User,
        "guard run --policy ./nothing -- true",
        125,
        &["./nothing", "no such file", "guard policy list"],
    ),
    (
        User,
        "guard run --policy nope -- true",
        125,
        &[
            "no policy",
            "nope",
            "guard policy list",
            "asks, aws-prod",
            "more: guard explain-error no-policy",
        ],
    ),
    (
        User,
        "guard run --policy '' -- true",
        125,
        &["no policy's name", "./policy.toml"],
    ),
    (
        User,
        "guard check nope",
        2,
        &[
            "no policy nope",
            "built in",
            "guard policy list",
            "./agent.toml",
        ],
    ),
    // The others are checked all the same.
    (
        User,
        "guard check nothing.toml notes.txt page.toml",
        2,
        &[
            "nothing.toml",
            "no such file",
            "notes.txt: valid",
            "page.toml: invalid",
        ],
    ),
    (
        User,
        "guard check dangling.toml",
        2,
        &["dangling.toml", "no such file"],
    ),
    (
        User,
        "guard check directory.toml",
        2,
        &["directory.toml", "it is a directory", "ls directory.toml"],
    ),
    (
        User,
        "guard check secret.toml",
        2,
        &["secret.toml", "you may not read it", "ls -l secret.toml"],
    ),
    (
        User,
        "guard check binary.toml",
        2,
        &["binary.toml", "it is no text", "file binary.toml"],
    ),
    (
        User,
        "guard check latin1.toml",
        2,
        &["latin1.toml", "no text in UTF-8", "file latin1.toml"],
    ),
    (
        User,
        "guard check utf16.toml",
        2,
        &["utf16.toml", "UTF-16", "in UTF-8"],
    ),
    (
        User,
        "guard check /dev/zero",
        2,
        &["/dev/zero", "no regular file"],
    ),
    (
        User,
        "guard check page.toml",
        1,
        &["page.toml:1", "looks like a page of HTML", "invalid"],
    ),
    (
        User,
        "guard check json.toml",
        1,
        &["json.toml:1", "looks like JSON", "key = value"],
    ),
    (
        User,
        "guard check",
        2,
        &["<FILE|NAME>...", "Usage: guard check"],
    ),
    (
        User,
        "guard diff homelab",
        2,
        &["<NEW>", "Usage: guard diff"],
    ),
    (
        User,
        "guard diff homelab nothing.toml",
        2,
        &["nothing.toml", "no such file"],
    ),
    (
        User,
        "guard policy show ./mine.toml",
        2,
        &["./mine.toml is a file", "cat ./mine.toml"],
    ),
    (
        User,
        "guard policy show nope",
        2,
        &["no policy nope", "guard policy list"],
    ),
    (
        User,
        "guard policy edit homelab --policy-dir /nonexistent",
        2,
        &[
            "/nonexistent/homelab.toml",
            "sudo guard policy edit homelab --policy-dir /nonexistent",
        ],
    ),
    (
        Root,
        "guard policy edit nope --policy-dir mine",
        2,
        &["no policy nope", "guard policy list"],
    ),
    (
        User,
        "guard log --verify nothing.jsonl",
        2,
        &["nothing.jsonl", "No such file"],
    ),
    (
        User,
        "guard log nothing.jsonl",
        2,
        &["--verify", "Usage: guard log"],
    ),
    (
        User,
        "guard log --verify --head x notes.txt",
        2,
        &["'x'", "--head"],
    ),
    (
        User,
        "guard man /proc/none",
        2,
        &["/proc/none", "guard man DIR"],
    ),
    (
        Root,
        "guardd --config nothing.toml",
        2,
        &[
            "guardd: cannot read the settings in nothing.toml",
            "--config",
        ],
    ),
    (
        Root,
        "guardd --config binary.toml",
        2,
        &[
            "guardd: cannot read the settings in binary.toml",
            "--config",
        ],
    ),
    (
        User,
        "guard policy offer block.toml",
        2,
        &[
            "block.toml",
            "it is one policy",
            "guard policy sign --group GROUP . > BUNDLE",
        ],
    ),
    (
        User,
        "guard policy sign block.toml",
        2,
        &[
            "block.toml",
            "it is one policy",
            "guard policy sign --group GROUP . > BUNDLE",
        ],
    ),
    (
        User,
        "guard policy sign page.toml",
        2,
        &[
            "page.toml",
            "not what guard policy sign prints",
            "guard policy sign --group GROUP DIR",
        ],
    ),
    (
        User,
        "guard policy sign nothing",
        2,
        &["no file or directory nothing", "a directory with policies"],
    ),
    (
        User,
        "guard policy sign . --group dev --serial next",
        2,
        &["'next'", "--serial", "write a number"],
    ),
    (
        User,
        "guard answer --signed notes.txt",
        2,
        &[
            "cannot hand in notes.txt",
            "it is no signed answer",
            "guard question ID --bytes",
        ],
    ),
    (
        User,
        "guard answer --signed empty.toml",
        2,
        &["cannot hand in empty.toml", "it is empty"],
    ),
    (
        User,
        "echo yes | guard answer --signed -",
        2,
        &["what came on standard input", "it is no signed answer"],
    ),
    (
        User,
        "guard sign < /dev/null",
        2,
        &[
            "cannot read the question",
            "standard input is empty",
            "guard question ID --bytes",
        ],
    ),
    (
        User,
        "guard approver present abc --ssh-key notes.txt",
        2,
        &[
            "cannot read the key in notes.txt",
            "no public key of SSH",
            "ssh-ed25519",
            "--ssh-key",
        ],
    ),
    (
        User,
        "mkdir -p .codex; echo \"x = [\" > .codex/config.toml; guard init codex --print; is=$?; rm -r .codex; exit $is",
        2,
        &["config.toml", "it is not TOML", "in line 1"],
    ),
];

/// What is odd, and well all the same.
const TAKEN: &[Row] = &[
    (User, "guard check bom.toml", 0, &["policy bom"]),
    (
        Root,
        "cp bom.toml homelab; guard check homelab; is=$?; rm homelab; exit $is",
        0,
        &[
            "homelab is taken for the policy of that name",
            "guard check ./homelab",
            "homelab (built in): valid",
        ],
    ),
    (
        Root,
        "cp bom.toml plain; guard check plain; is=$?; rm plain; exit $is",
        0,
        &["plain: valid"],
    ),
    (User, "guard policy check bom.toml", 0, &["policy bom"]),
    (
        User,
        "guard discover --dismiss first",
        2,
        &["none of the places that are listed", "guard discover"],
    ),
    (
        User,
        "guard discover --why first",
        2,
        &["none of the places that are listed", "guard discover"],
    ),
    (User, "guard check notes.txt", 0, &["policy notes"]),
    (User, "guard check empty.toml", 0, &["denies everything"]),
    (User, "guard check <(echo version = 1)", 0, &["valid"]),
];

#[test]
fn of_files() -> Tested {
    check(ROWS)?;
    Ok(())
}

#[test]
fn odd_files_are_taken() -> Tested {
    check(TAKEN)?;
    Ok(())
}
