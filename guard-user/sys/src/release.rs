//! Which Linux this is.

/// The kernel's release, as `uname -r` prints it.
#[must_use]
pub fn release() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// The first two numbers of a release such as `6.1.0-17-amd64`.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether this kernel is that version, or a later one. What was ported back to an earlier one is not seen.
#[must_use]
pub fn is_at_least(major: u32, minor: u32) -> bool {
    version(&release()).is_some_and(|found| found >= (major, minor))
}
