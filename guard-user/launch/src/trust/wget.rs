//! GNU Wget, which has no variable for certificates, but one for its settings. Built with GnuTLS it uses the system's file
//! beside the one in its settings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names the settings of the system, before those of the user: `src/init.c` of GNU Wget.
pub(super) const VARIABLE: &str = "SYSTEM_WGETRC";
/// The settings if no variable names them.
pub(super) const SETTINGS: &str = "/etc/wgetrc";

/// The file of certificates that settings name. The last counts.
pub(super) fn certificates(settings: &[u8]) -> Option<PathBuf> {
    let mut values = settings.split(|byte| *byte == b'\n').filter_map(value);
    let last = values.next_back().filter(|value| !value.is_empty())?;
    Some(OsStr::from_bytes(last).into())
}

/// The value of a line about certificates. Wget ignores case, `-` and `_` in names.
fn value(line: &[u8]) -> Option<&[u8]> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = line.split_at(equals);
    let mut name = name.trim_ascii().to_ascii_lowercase();
    name.retain(|byte| !b"-_".contains(byte));
    (name == b"cacertificate").then(|| value[1..].trim_ascii())
}

/// The settings with another file of certificates.
pub(super) fn naming(settings: &[u8], certificates: &Path) -> Vec<u8> {
    let path = certificates.as_os_str().as_bytes();
    [settings, b"\nca_certificate = ", path, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_counts() {
        let named = |text: &str| certificates(text.as_bytes());
        assert_eq!(named(""), None);
        assert_eq!(named("#ca_certificate = /a\nca_directory = /b"), None);
        let two = "ca_certificate = /a\n CA-Certificate=/b c \nquota = 1";
        assert_eq!(named(two), Some("/b c".into()));
        assert_eq!(named("ca_certificate = /a\nca_certificate ="), None);
    }

    #[test]
    fn what_is_named_is_read_back() {
        let all = naming(b"quota = inf\nca_certificate = /a", Path::new("/b"));
        assert_eq!(certificates(&all), Some("/b".into()));
        assert!(all.starts_with(b"quota = inf\n"));
    }
}
