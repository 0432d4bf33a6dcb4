//! Devices that carry packets past every socket, and places where what is written is run by others later.

use std::fs;
use std::path::{Path, PathBuf};

use guard_proto::Row;
use rustix::fs::{Access, access};

use super::{Check, Family, ProbeResult};

const NETWORK: Check = Check::way(
    Family::Protocol,
    "network devices as files",
    "take the user's right to open it: sudo chmod o-rw FILE, and out of its group: sudo gpasswd -d USER GROUP",
);
const SPOOLS: Check = Check::way(
    Family::Leaving,
    "spools of cron and at",
    "sudo chmod o-w DIRECTORY (guard doctor --all names it)",
)
.optional();

/// What each row is.
pub const CHECKS: [Check; 2] = [NETWORK, SPOOLS];

/// macvtap, RDMA, and what virtual machines send by: nothing in a session judges these.
const DEVICES: [(&str, &str); 4] = [
    ("/dev", "tap"),
    ("/dev/infiniband", ""),
    ("/dev", "vhost-net"),
    ("/dev", "vhost-vsock"),
];

const SPOOL: [&str; 4] = [
    "/var/spool/cron",
    "/var/spool/cron/crontabs",
    "/var/spool/cron/atjobs",
    "/var/spool/at",
];

/// The rows, for the user of this process.
#[must_use]
pub fn rows() -> Vec<Row> {
    let devices = DEVICES.iter().flat_map(|(dir, start)| below(dir, start));
    let may = Access::READ_OK | Access::WRITE_OK;
    let devices: Vec<_> = devices.filter(|path| access(path, may).is_ok()).collect();
    let spools = SPOOL.iter().map(PathBuf::from);
    let spools: Vec<_> = spools
        .filter(|path| access(path, Access::WRITE_OK).is_ok())
        .collect();
    vec![
        NETWORK.row(open(
            &devices,
            "tap*, infiniband/*, vhost-*: none is there that the user may open",
        )),
        SPOOLS.row(open(&spools, "none is there that the user may write to")),
    ]
}

fn open(found: &[PathBuf], none: &str) -> ProbeResult {
    if found.is_empty() {
        return ProbeResult::yes(format!("{none} (access(2))"));
    }
    let found: Vec<_> = found
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    ProbeResult::no(format!(
        "the user may open {} (access(2))",
        found.join(", ")
    ))
}

/// What is in a directory, and is called like that.
pub(super) fn below(dir: impl AsRef<Path>, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    named.map(|entry| entry.path()).collect()
}
