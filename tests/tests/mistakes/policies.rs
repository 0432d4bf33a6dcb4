//! Mistakes in policies.

use super::{Row, User, check};
use guard_lab::Tested;

/// Policies with one mistake each.
pub(super) const FILES: &[(&str, &str)] = &[
    ("no-version.toml", "default = \"allow\"\n"),
    ("version2.toml", "version = 2\n"),
    ("version-text.toml", "version = \"1\"\n"),
    ("unquoted.toml", "version = 1\ndefault = allow\n"),
    ("unclosed.toml", "version = 1\nname = \"agent\n"),
    (
        "block.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"block\"\n",
    ),
    (
        "capital.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"Deny\"\n",
    ),
    (
        "no-action.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\n",
    ),
    (
        "no-to.toml",
        "version = 1\n[[rule]]\nname = \"x\"\naction = \"deny\"\n",
    ),
    (
        "to-text.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = \"192.0.2.1\"\naction = \"deny\"\n",
    ),
    (
        "to-empty.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = []\naction = \"deny\"\n",
    ),
    (
        "to-url.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"https://db.example.com/\"]\naction = \"deny\"\n",
    ),
    (
        "to-port.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1:443\"]\naction = \"deny\"\n",
    ),
    (
        "to-any.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"*\"]\naction = \"deny\"\n",
    ),
    (
        "to-unspecified.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"0.0.0.0\"]\naction = \"deny\"\n",
    ),
    (
        "to-group.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"@lan\"]\naction = \"deny\"\n",
    ),
    (
        "to-host-bits.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.10/24\"]\naction = \"deny\"\n",
    ),
    (
        "to-netmask.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.0/255.255.255.0\"]\naction = \"deny\"\n",
    ),
    (
        "to-range.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1-192.0.2.9\"]\naction = \"deny\"\n",
    ),
    (
        "to-octet.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.300\"]\naction = \"deny\"\n",
    ),
    (
        "ports-number.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\nports = [443]\naction = \"deny\"\n",
    ),
    (
        "ports-bare.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\nports = \"443\"\naction = \"deny\"\n",
    ),
    (
        "ports-colon.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\nports = [\"tcp:443\"]\naction = \"deny\"\n",
    ),
    (
        "port-key.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\nport = [\"tcp/443\"]\naction = \"deny\"\n",
    ),
    ("hold-number.toml", "version = 1\nhold = 60\n"),
    ("hold-unit.toml", "version = 1\nhold = \"60\"\n"),
    ("hold-long.toml", "version = 1\nhold = \"1h\"\n"),
    (
        "twice.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"deny\"\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.2\"]\naction = \"deny\"\n",
    ),
    (
        "key-twice.toml",
        "version = 1\ndefault = \"allow\"\ndefault = \"deny\"\n",
    ),
    (
        "rules.toml",
        "version = 1\n[[rules]]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"deny\"\n",
    ),
    (
        "single-rule.toml",
        "version = 1\n[rule]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"deny\"\n",
    ),
    ("default-no.toml", "version = 1\ndefault = \"block\"\n"),
    (
        "default-behind.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"deny\"\ndefault = \"deny\"\n",
    ),
    (
        "http-outside.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\"]\naction = \"confirm\"\n[[rule.http]]\nmethod = [\"PUT\"]\naction = \"deny\"\n",
    ),
    ("colon.toml", "version: 1\ndefault: allow\n"),
    (
        "comma.toml",
        "version = 1\n[[rule]]\nname = \"x\"\nto = [\"192.0.2.1\" \"192.0.2.2\"]\naction = \"deny\"\n",
    ),
    ("smart.toml", "version = 1\ndefault = “allow”\n"),
];

const ROWS: &[Row] = &[
    (
        User,
        "guard check version2.toml",
        1,
        &[
            "version2.toml:1:11",
            "does not know that version",
            "write `1`",
        ],
    ),
    (
        User,
        "guard check version-text.toml",
        1,
        &[
            "version-text.toml:1:11",
            "expected the number 1",
            "write `1`",
        ],
    ),
    (
        User,
        "guard check unquoted.toml",
        1,
        &["unquoted.toml:2:11", "must be quoted", "in quotes"],
    ),
    (
        User,
        "guard check unclosed.toml",
        1,
        &["unclosed.toml:2", "expected `\"`", "a quote is missing"],
    ),
    (
        User,
        "guard check block.toml",
        1,
        &["block.toml:5:10", "found `block`", "did you mean `deny`?"],
    ),
    (
        User,
        "guard check capital.toml",
        1,
        &["capital.toml:5:10", "found `Deny`", "did you mean `deny`?"],
    ),
    (
        User,
        "guard check no-action.toml",
        1,
        &[
            "no-action.toml:2:1",
            "`action` is missing",
            "action = \"confirm\"",
        ],
    ),
    (
        User,
        "guard check no-to.toml",
        1,
        &[
            "no-to.toml:2:1",
            "`to` is missing",
            "to = [\"192.0.2.0/24\"]",
        ],
    ),
    (
        User,
        "guard check to-text.toml",
        1,
        &["to-text.toml:4:6", "expected an array", "[\"192.0.2.1\"]"],
    ),
    (
        User,
        "guard check to-empty.toml",
        1,
        &["to-empty.toml:4:6", "never holds", "`\"0.0.0.0/0\"`"],
    ),
    (
        User,
        "guard check to-url.toml",
        1,
        &["to-url.toml:4:7", "is a URL", "write `db.example.com`"],
    ),
    (
        User,
        "guard check to-port.toml",
        1,
        &[
            "to-port.toml:4:7",
            "`192.0.2.1:443`",
            "ports = [\"tcp/443\"]",
        ],
    ),
    (
        User,
        "guard check to-any.toml",
        1,
        &["to-any.toml:4:7", "`*`", "are everything"],
    ),
    (
        User,
        "guard check to-unspecified.toml",
        1,
        &[
            "to-unspecified.toml:4:7",
            "`0.0.0.0` alone is no destination",
            "write `0.0.0.0/0` and `::/0`",
        ],
    ),
    (
        User,
        "guard check to-group.toml",
        1,
        &["to-group.toml:4:7", "no group `@lan`", "@private"],
    ),
    (
        User,
        "guard check to-host-bits.toml",
        1,
        &["to-host-bits.toml:4:7", "host bits", "`192.0.2.0/24`"],
    ),
    (
        User,
        "guard check to-netmask.toml",
        1,
        &[
            "to-netmask.toml:4:7",
            "`255.255.255.0`",
            "write `192.0.2.0/24`",
        ],
    ),
    (
        User,
        "guard check to-range.toml",
        1,
        &[
            "to-range.toml:4:7",
            "neither an address nor a name",
            "written as prefixes",
        ],
    ),
    (
        User,
        "guard check to-octet.toml",
        1,
        &["to-octet.toml:4:7", "`192.0.2.300`", "each 0 to 255"],
    ),
    (
        User,
        "guard check ports-number.toml",
        1,
        &[
            "ports-number.toml:5:10",
            "found an integer",
            "write `\"tcp/443\"`",
        ],
    ),
    (
        User,
        "guard check ports-bare.toml",
        1,
        &["ports-bare.toml:5:9", "expected an array", "`tcp/443`"],
    ),
    (
        User,
        "guard check ports-colon.toml",
        1,
        &[
            "ports-colon.toml:5:10",
            "`tcp:443`",
            "did you mean `tcp/443`?",
        ],
    ),
    (
        User,
        "guard check port-key.toml",
        1,
        &[
            "port-key.toml:5:1",
            "unknown key `port`",
            "did you mean `ports`?",
        ],
    ),
    (
        User,
        "guard check hold-number.toml",
        1,
        &[
            "hold-number.toml:2:8",
            "found an integer",
            "write `\"60s\"`",
        ],
    ),
    (
        User,
        "guard check hold-unit.toml",
        1,
        &["hold-unit.toml:2:8", "`60` is not a duration", "`60s`"],
    ),
    (
        User,
        "guard check twice.toml",
        1,
        &[
            "twice.toml:7:8",
            "two rules have the name `x`",
            "line 3",
            "rename one",
        ],
    ),
    (
        User,
        "guard check key-twice.toml",
        1,
        &["key-twice.toml:3:1", "duplicate key", "remove one"],
    ),
    (
        User,
        "guard check rules.toml",
        1,
        &[
            "rules.toml:2:3",
            "unknown key `rules`",
            "did you mean `rule`?",
        ],
    ),
    (
        User,
        "guard check single-rule.toml",
        1,
        &[
            "single-rule.toml:2:1",
            "not a list of tables",
            "write `[[rule]]`",
        ],
    ),
    (
        User,
        "guard check default-no.toml",
        1,
        &[
            "default-no.toml:2:11",
            "found `block`",
            "did you mean `deny`?",
        ],
    ),
    (
        User,
        "guard check default-behind.toml",
        1,
        &[
            "default-behind.toml:6:1",
            "unknown key `default`",
            "above the first line that begins with `[`",
        ],
    ),
    (
        User,
        "guard check http-outside.toml",
        1,
        &[
            "http-outside.toml:6:1",
            "under `read-only` only",
            "action = \"read-only\"",
        ],
    ),
    (
        User,
        "guard check colon.toml",
        1,
        &["colon.toml:1", "expected `=`", "write `key = value`"],
    ),
    (
        User,
        "guard check comma.toml",
        1,
        &["comma.toml:4:19", "missing comma"],
    ),
    (
        User,
        "guard check smart.toml",
        1,
        &["smart.toml:2:11", "straight quotes"],
    ),
    (
        User,
        "guard run --policy ./block.toml -- true",
        125,
        &["found `block`", "guard check /", "/block.toml\n"],
    ),
    (
        User,
        "guard explain 192.0.2.1 --policy ./block.toml",
        2,
        &["block.toml", "found `block`", "guard check ./block.toml"],
    ),
];

#[test]
fn of_policies() -> Tested {
    check(ROWS)?;
    Ok(())
}
