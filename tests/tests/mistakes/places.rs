//! Sockets, directories and privileges that are not what they should be.

use super::{Root, Row, User, check};
use guard_lab::Tested;

const ROWS: &[Row] = &[
    (
        User,
        "guard status --socket notes.txt",
        2,
        &[
            "notes.txt",
            "it is no socket",
            "guardd.sock",
            "without --socket",
        ],
    ),
    (
        Root,
        "guard status --socket /etc/passwd",
        2,
        &["/etc/passwd", "it is no socket", "without --socket"],
    ),
    (
        User,
        "guard status --socket $STATE",
        2,
        &["it is a directory", "guardd.sock"],
    ),
    (
        User,
        "guard status --socket /nonexistent/x.sock",
        2,
        &["/nonexistent/x.sock", "no guardd listens", "check the path"],
    ),
    (
        User,
        "guard status --socket /nonexistent/guardd.sock",
        2,
        &[
            "no guardd listens",
            "sudo guardd --state-dir /nonexistent",
            "sudo systemctl start guardd",
        ],
    ),
    (
        User,
        "guard status --socket http://127.0.0.1:80",
        2,
        &["http://127.0.0.1:80", "no guardd listens", "check the path"],
    ),
    (
        User,
        "guard status --socket",
        2,
        &["a value is required", "--socket <PATH>"],
    ),
    (
        User,
        "unset GUARD_SOCKET; GUARD_SOCKET=/nonexistent/guardd.sock guard ps",
        2,
        &[
            "/nonexistent/guardd.sock",
            "without --socket and GUARD_SOCKET",
        ],
    ),
    (
        User,
        "python3 -c 'import socket,time; s=socket.socket(socket.AF_UNIX); s.bind(\"other.sock\"); s.listen(); print(1, flush=True); time.sleep(60)' > up & \
         until grep -q 1 up; do sleep 0.05; done; guard status --socket other.sock; x=$?; kill $!; rm other.sock up; exit $x",
        2,
        &[
            "will not talk",
            "other.sock",
            "you and not root",
            "start guardd as root",
        ],
    ),
    (
        User,
        "guard doctor --user no-such-user",
        2,
        &["no-such-user", "no such user"],
    ),
    (
        User,
        "guardd --state-dir here",
        2,
        &["guardd:", "needs root", "sudo"],
    ),
    (
        User,
        "guardd teardown",
        2,
        &["guardd:", "needs root", "sudo"],
    ),
    // As ip netns exec does.
    (
        Root,
        "unshare --mount sh -c 'umount -R /sys && mount -t sysfs none /sys && exec guard run --user nobody --policy asks -- true'",
        125,
        &[
            "no cgroups are to be seen here",
            "ip netns exec",
            "nsenter --net=",
        ],
    ),
    (
        Root,
        "guardd --state-dir notes.txt",
        2,
        &["notes.txt", "--state-dir"],
    ),
    (
        Root,
        "guardd --state-dir /proc/none",
        2,
        &["/proc/none", "--state-dir"],
    ),
    (
        Root,
        "guardd --state-dir",
        2,
        &["a value is required", "--state-dir <DIR>"],
    ),
    (
        Root,
        "guardd --state-dir $STATE",
        2,
        &[
            "another guardd uses",
            "--state-dir",
            "sudo systemctl stop guardd",
        ],
    ),
    (
        Root,
        "guardd --state-dir mine --policy-dir mine/policies",
        2,
        &[
            "mine/policies",
            "inside of the state directory",
            "--policy-dir /etc/guard/policies",
        ],
    ),
    (
        Root,
        "guardd --state-dir mine --pin-dir $PINS --cgroup-root /tmp/none",
        2,
        &[
            "/tmp/none",
            "not in a cgroup v2 hierarchy",
            "findmnt -t cgroup2",
        ],
    ),
    (
        Root,
        "guardd --state-dir mine --pin-dir $PINS --cgroup-root none",
        2,
        &["none", "not in a cgroup v2 hierarchy", "findmnt -t cgroup2"],
    ),
    (
        Root,
        "unshare --mount sh -c 'for d in $(findmnt -n -t cgroup2 -o TARGET); do umount -l $d; done; exec guardd --state-dir mine --pin-dir $PINS'",
        2,
        &["cgroup v2", "mount -t cgroup2"],
    ),
    (
        Root,
        "setpriv --bounding-set=-all --inh-caps=-all -- guardd --state-dir mine --pin-dir $PINS --cgroup-root $ROOT",
        2,
        &["guardd:", "capabilities"],
    ),
    (
        User,
        "unshare --user --map-root-user guardd --state-dir mine",
        2,
        &["guardd:", "root", "container"],
    ),
    (
        Root,
        "unshare --mount sh -c 'umount -l /proc; guard status'",
        2,
        &["will not talk", "/proc", "sudo mount -t proc proc /proc"],
    ),
    (
        User,
        "guard approver remove alice",
        2,
        &["only root may do this", "sudo guard"],
    ),
    (
        Root,
        "guard approver invite 'al ice'",
        2,
        &[
            "nobody was enrolled",
            "\"al ice\" is no name",
            "letters, digits",
        ],
    ),
    (
        Root,
        "guard approver invite ''",
        2,
        &["a value is required for '<NAME>'"],
    ),
    (
        Root,
        "guard approver add root --passkey xx",
        2,
        &[
            "no passkey that can be enrolled",
            "expected ID:PUBLIC_KEY",
            "--passkey ID:KEY",
        ],
    ),
    (
        Root,
        "guard approver add root --passkey a:b",
        2,
        &[
            "no passkey that can be enrolled",
            "base64url",
            "--passkey ID:KEY",
        ],
    ),
    (
        Root,
        "echo 'strcit = true' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["s.toml", "line 1", "did you mean `strict`?"],
    ),
    (
        Root,
        "echo 'strict = \"yes\"' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["line 1, column 10", "write true or false, without quotes"],
    ),
    (
        Root,
        "echo 'resolvers = [\"192.0.2.53\"]' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["line 1", "with its port", "\"192.0.2.53:53\""],
    ),
    (
        Root,
        "echo 'answers = { couriers = \"alice\" }' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["line 1", "write a list: [\"alice\"]"],
    ),
    (
        Root,
        "echo 'answers = { approvals = 0 }' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["line 1", "from 1 to 16"],
    ),
    (
        Root,
        "echo 'answers = { max_for = 15 }' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["line 1", "\"15m\""],
    ),
    (
        Root,
        "echo 'answers = { origins = [\"guard.example.net\"] }' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &[
            "line 1",
            "\"guard.example.net\"",
            "https://guard.example.net",
        ],
    ),
    (
        Root,
        "echo 'max_requests = 0' > s.toml; guardd --config s.toml --state-dir mine",
        2,
        &["line 1", "expected 1 or more"],
    ),
    (
        User,
        "echo 'strict = true' > u.toml; guardd --config u.toml --check",
        0,
        &["u.toml: the settings are good"],
    ),
    (
        User,
        "printf '[approve]\\nstrict = true\\n' > u.toml; guardd --config u.toml --check",
        2,
        &["line 2", "`strict` is in no table: write it above"],
    ),
];

#[test]
fn of_places_and_privileges() -> Tested {
    check(ROWS)?;
    Ok(())
}
