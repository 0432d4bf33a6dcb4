//! Destinations, ports and times.

use super::{Row, User, check};
use guard_lab::Tested;

const ROWS: &[Row] = &[
    (
        User,
        "guard open",
        2,
        &["<DEST>", "Usage: guard open <DEST>", "--help"],
    ),
    (
        User,
        "guard open 8.8.8.8:443",
        2,
        &[
            "nothing to open",
            "already allowed",
            "guard explain 8.8.8.8:443\n",
        ],
    ),
    (
        User,
        "guard open 192.0.2.10",
        2,
        &[
            "which ports of 192.0.2.10",
            "guard open 192.0.2.10:443",
            "--all-ports",
        ],
    ),
    (
        User,
        "guard open 192.0.2.99:443",
        2,
        &["no hole", "the rule \"never\"", "denies it", "asks.toml:12"],
    ),
    (
        User,
        "guard open nowhere.invalid:443",
        2,
        &["nowhere.invalid", "no address is known", "getent ahosts"],
    ),
    (
        User,
        "guard open 192.0.2.10 443",
        2,
        &["cannot tell what 443 is for", "guard open 192.0.2.10:443\n"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports 443",
        2,
        &["`443` names no protocol", "`tcp/443`", "`udp/443`"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports tcp:443",
        2,
        &["`tcp:443`", "did you mean `tcp/443`?"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports 443/tcp",
        2,
        &["`443/tcp`", "did you mean `tcp/443`?"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports TCP/443",
        2,
        &["`TCP/443`", "did you mean `tcp/443`?"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports https",
        2,
        &["`https` names no protocol", "`tcp/443`"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports any",
        2,
        &["`any`", "--all-ports"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports tcp/443,80",
        2,
        &["`80` names no protocol", "`tcp/80`"],
    ),
    (
        User,
        "guard open 192.0.2.10 --ports tcp/90-80",
        2,
        &["ends before it begins", "`tcp/80-90`"],
    ),
    (
        User,
        "guard open 192.0.2.10:443 --ports tcp/80",
        2,
        &["port 443 and tcp/80 differ", "--ports tcp/80"],
    ),
    (
        User,
        "guard open 192.0.2.10:99999",
        2,
        &["`99999` is not a port", "1 to 65535"],
    ),
    (
        User,
        "guard open 192.0.2.10:http",
        2,
        &["`http` is not a port", "`192.0.2.10:80`"],
    ),
    (
        User,
        "guard open 192.0.2.300:443",
        2,
        &["`192.0.2.300`", "each 0 to 255"],
    ),
    (
        User,
        "guard open 192.0.2.10/24 --all-ports",
        2,
        &["host bits", "`192.0.2.0/24`", "`192.0.2.10`"],
    ),
    (
        User,
        "guard open 192.0.2.0/255.255.255.0 --all-ports",
        2,
        &["`255.255.255.0`", "write `192.0.2.0/24`"],
    ),
    (
        User,
        "guard open https://192.0.2.10/api",
        2,
        &["is a URL", "write `192.0.2.10:443`"],
    ),
    (
        User,
        "guard open '*.example.com' --all-ports",
        2,
        &["`*.example.com`", "write one of the names"],
    ),
    (
        User,
        "guard open @lan --all-ports",
        2,
        &["no group `@lan`", "@private"],
    ),
    (
        User,
        "guard open 2001:db8:7::1:443",
        2,
        &["reads as a port", "`[2001:db8:7::1]:443`"],
    ),
    (
        User,
        "guard open [2001:db8:7::1]443",
        2,
        &["not an address and a port", "`[2001:db8::1]:443`"],
    ),
    (
        User,
        "guard open '' --all-ports",
        2,
        &["it is empty", "write an address"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for 15",
        2,
        &["'15'", "needs its unit", "`15m`"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for 15M",
        2,
        &["'15M'", "write `15m`"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for forever",
        2,
        &["`forever` is not a duration", "`15m`"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for 2y",
        2,
        &["'2y'", "--for"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for 10000h",
        2,
        &["10000h", "too long", "`366d`"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for 0",
        2,
        &["'0'", "--for", "end at once", "`15m`"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --reason",
        2,
        &["a value is required", "--reason <TEXT>"],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --read-only --bytes 1MB",
        2,
        &["--read-only", "--bytes", "Usage: guard open"],
    ),
    (
        User,
        "guard log --since 15",
        2,
        &["'15'", "needs its unit", "`15m`"],
    ),
    (
        User,
        "guard log --since tomorrow",
        2,
        &["`tomorrow`", "`yesterday`", "`14:30`"],
    ),
    (
        User,
        "guard log --since 2099-01-01",
        2,
        &["2099-01-01", "still to come"],
    ),
    (
        User,
        "guard explain nowhere.invalid --policy homelab",
        2,
        &["nowhere.invalid", "no address"],
    ),
    (
        User,
        "guard explain 192.0.2.10 --policy homelab --session s1",
        2,
        &["--policy", "--session", "Usage: guard explain"],
    ),
    (
        User,
        "guard explain 192.0.2.10 --policy nope",
        2,
        &["no policy", "nope", "asks, aws-prod, ci, default, homelab"],
    ),
    (
        User,
        "guard open tcp/443",
        2,
        &["'tcp/443'", "ports and no destination", "--ports tcp/443"],
    ),
    (
        User,
        "guard explain 443/tcp",
        2,
        &["'443/tcp'", "ports and no destination", "--ports tcp/443"],
    ),
    (
        User,
        "guard allow 192.0.2.40:443",
        2,
        &[
            "192.0.2.40:443 is a destination",
            "answers what was asked",
            "guard open 192.0.2.40:443\n",
        ],
    ),
    (
        User,
        "guard deny 10.0.0.0/8",
        2,
        &[
            "10.0.0.0/8 is a destination",
            "denied by a policy",
            "sudo guard policy edit ",
        ],
    ),
    (
        User,
        "guard explain 192.0.2.10:443/tcp --policy homelab",
        2,
        &["'192.0.2.10:443/tcp'", "`192.0.2.10 --ports tcp/443`"],
    ),
    (
        User,
        "guard explain 192.0.2.10/udp --policy homelab",
        2,
        &["write `192.0.2.10`", "--ports udp/443"],
    ),
    (
        User,
        "guard log --since 25:00",
        2,
        &["`25:00` is no time of a day", "`14:30`"],
    ),
    (
        User,
        "guard report --since 2026-13-01",
        2,
        &["`2026-13-01` is no day", "write a date like"],
    ),
    (
        User,
        "guard log --since -5m",
        2,
        &[
            "cannot take --since -5m",
            "a time has no sign",
            "guard log --since 5m\n",
        ],
    ),
    (
        User,
        "guard open 192.0.2.30:443 --for -15m",
        2,
        &[
            "cannot take --for -15m",
            "guard open 192.0.2.30:443 --for 15m\n",
        ],
    ),
];

/// What is taken as it is meant.
const TAKEN: &[Row] = &[
    (
        User,
        "guard open 192.0.2.31:443 --for 15min",
        0,
        &["ends in 15 min"],
    ),
    (
        User,
        "guard open 192.0.2.32:443 --for '90 seconds'",
        0,
        &["ends in 1 min 30 s"],
    ),
    (User, "guard log --since yesterday", 0, &["192.0.2.20"]),
    (User, "guard log --since '2 hours ago'", 0, &["192.0.2.20"]),
    (User, "guard report --since today", 0, &["192.0.2.10"]),
    (User, "guard ps", 0, &["s1", "asks"]),
    (User, "guard ls", 0, &["s1", "asks"]),
    (User, "guard requests", 0, &["r1", "192.0.2.10:443"]),
];

#[test]
fn of_destinations_ports_and_times() -> Tested {
    check(ROWS)?;
    Ok(())
}

#[test]
fn what_fingers_type_is_taken_as_it_is_meant() -> Tested {
    check(TAKEN)?;
    Ok(())
}
