//! The package was just installed, and nobody has enabled anything by hand.

use guard_lab::Tested;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::reboot::machine::{
    BOOTS, POLICY, RESULTS, UNITS, boot_id, check, guardd_enforces, said, services_are_judged, unit,
};

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_package_guards_at_once_and_is_to_guard_after_a_boot() -> Tested {
    check();
    guardd_enforces()?;

    fs::create_dir_all(RESULTS)?;
    fs::set_permissions(RESULTS, fs::Permissions::from_mode(0o777))?;
    fs::write("/etc/guard/policies/discard.toml", POLICY)?;
    said("systemctl", &["reload", "guardd"]);
    for name in UNITS {
        let path = Path::new("/etc/systemd/system").join(format!("{name}.service"));
        fs::write(path, unit(name))?;
    }
    said("systemctl", &["daemon-reload"]);
    for name in UNITS {
        said(
            "systemctl",
            &["enable", "--now", &format!("{name}.service")],
        );
    }
    services_are_judged();
    fs::write(BOOTS, boot_id())?;
    Ok(())
}
