//! What closed the ways that were tried, where that are programs at security hooks: other kernels close some of them otherwise, or
//! not.

use guard_proto::Row;

use super::{is_ok, user};

/// What guardd calls the row of a hook that it has read back.
pub const HOOK: &str = "hook";

/// Ways that are tried in a session, the hook that refuses each, and whether a Landlock domain that has scopes refuses it
/// before anybody asks the hook.
const REFUSED: [(&str, &str, bool); 4] = [
    ("unix sockets by path", "unix_stream_connect", false),
    ("abstract unix sockets", "unix_stream_connect", true),
    ("a socket handed in", "file_receive", false),
    ("signals to outside", "task_kill", true),
];

/// Says of each way that was tried and is closed that a security hook closed it, where nothing else has: the hook's program is
/// there, `found` says.
pub fn name(tried: &mut [Row], found: &[Row]) {
    let has_scopes = is_ok(found, user::SCOPES);
    for (way, hook, is_scoped) in REFUSED {
        let hook = format!("{HOOK} {hook}");
        let is_there = found.iter().any(|row| row.check == hook && row.ok);
        if !is_there || (is_scoped && has_scopes) {
            continue;
        }
        let closed = tried.iter_mut().filter(|row| row.check == way && row.ok);
        closed.for_each(|row| row.detail.push_str("; closed at a security hook"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Check, Family, ProbeResult};

    fn row(check: &str, ok: bool) -> Row {
        let row = Check::part(Family::Guard, "", "fix it");
        let answer = if ok {
            ProbeResult::yes("EPERM")
        } else {
            ProbeResult::no("it works")
        };
        row.row_named(check, answer)
    }

    fn named(found: &[Row], signals: bool) -> Vec<bool> {
        let mut tried = REFUSED.map(|(way, ..)| row(way, true));
        tried[3] = row("signals to outside", signals);
        name(&mut tried, found);
        let is_named = |row: &Row| row.detail.ends_with("closed at a security hook");
        tried.iter().map(is_named).collect()
    }

    #[test]
    fn security_hooks_are_named_for_what_they_alone_have_closed() {
        let mut found = ["unix_stream_connect", "file_receive", "task_kill"]
            .map(|hook| row(&format!("hook {hook}"), true))
            .to_vec();
        assert_eq!(named(&found, true), [true; 4]);
        assert_eq!(named(&found, false), [true, true, true, false]);
        assert_eq!(named(&found[..1], true), [true, true, false, false]);
        assert_eq!(named(&[], true), [false; 4]);
        found.push(row(user::SCOPES.name, true));
        assert_eq!(named(&found, true), [true, false, true, false]);
        found[1] = row("hook file_receive", false);
        assert_eq!(named(&found, true), [true, false, false, false]);
    }
}
