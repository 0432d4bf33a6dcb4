//! What servers keep: one stream (JetStream) of all machines' audit logs, and who may do what with it.
//!
//! Machines publish into it by their own subjects, and have no right to its interface: where a machine wants to know what there is of its
//! own, it publishes what cannot be kept, and hears why not. For whoever may ask a server for a message says where it is sent
//! to, which is a subject of anybody's: see [`crate::messages::is_published`].

use crate::subjects::{Group, NatsKey, SubjectKind};

/// What it is called.
pub(crate) const NAME: &str = "GUARD_LOG";

/// Where a server answers whoever has that key, and nobody else hears it.
pub(crate) fn inbox(key: &NatsKey) -> String {
    format!("{}.>", inbox_of(key.as_str()))
}

/// How these subjects begin.
pub(crate) fn inbox_of(key: &str) -> String {
    format!("_INBOX.{key}")
}

/// What the keeper may have a server do: make it, and say how long it keeps what.
pub(crate) fn kept_by() -> [String; 3] {
    ["INFO", "CREATE", "UPDATE"].map(|what| format!("$JS.API.STREAM.{what}.{NAME}"))
}

/// What somebody may who reads logs of these groups: the subject of a request has the one of what is to be read, and a server compares.
pub(crate) fn read_in(groups: &[Group]) -> Vec<String> {
    let create = |group: &Group| {
        let subject = group.all(SubjectKind::Log, None);
        format!("$JS.API.CONSUMER.CREATE.{NAME}.*.{subject}")
    };
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{NAME}.*");
    groups.iter().map(create).chain([next]).collect()
}
