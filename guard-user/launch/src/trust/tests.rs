use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::authority::tests::OURS;
use super::*;

#[test]
fn what_is_no_certificate_is_told() {
    let own = CommandIdentity::choose(geteuid().is_root().then_some("nobody")).unwrap();
    let (none, warnings) = Trust::prepare("x", &own, Path::new("/nonexistent"), Path::new("/s1"));
    assert!(none.is_none());
    insta::assert_snapshot!(warnings.join("\n"), @"the session does not trust guard's certificate, so programs refuse HTTPS to read-only destinations: what guardd gave is no certificate");
}

#[test]
fn a_view_without_a_place_changes_nothing() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = CommandIdentity::choose(Some("nobody")).unwrap();
    let (trust, _) = Trust::prepare(OURS, &nobody, Path::new("/nonexistent"), Path::new("/s1"));
    let effect = trust.unwrap().take_effect();
    assert!(effect.environment.is_empty());
    assert!(effect.warnings[0].contains("there is no place for its files"));
}

#[test]
fn the_directory_goes_unless_it_is_needed() {
    let state = |events: Option<&str>| {
        let cgroup = tempfile::tempdir().unwrap();
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_owned();
        let trust = Trust {
            plan: VariablesPlan::default(),
            place: StoreLocation::Directory(dir),
        };
        if let Some(events) = events {
            fs::write(cgroup.path().join("cgroup.events"), events).unwrap();
        }
        trust.finish(cgroup.path());
        let stays = path.is_dir();
        let _ = fs::remove_dir(path);
        stays
    };
    assert!(state(Some("populated 1\nfrozen 0\n")));
    assert!(!state(Some("populated 0\nfrozen 0\n")));
    assert!(!state(None), "guardd has removed the cgroup");
    assert!(may_be_populated(Path::new("/nonexistent/guard/s1")));
}

#[test]
fn what_is_left_of_sessions_that_have_ended_is_removed() {
    let base = tempfile::tempdir().unwrap();
    let cgroups = tempfile::tempdir().unwrap();
    let of = |cgroup: &Path| directory(base.path(), cgroup).unwrap().keep();
    fs::write(cgroups.path().join("cgroup.controllers"), "").unwrap();
    let ended = of(&cgroups.path().join("guard/s1"));
    let lives = of(cgroups.path());
    let unseen = of(Path::new("/nonexistent/guard/s1"));
    let unnamed = of(Path::new("s1"));
    let foreign = base.path().join("guard-trust-x");
    fs::create_dir(&foreign).unwrap();
    let made_long_ago = |name: &str| {
        let path = base.path().join(name);
        fs::create_dir(&path).unwrap();
        let an_hour = std::time::SystemTime::now() - Duration::from_secs(3600);
        let open = fs::File::open(&path).unwrap();
        move || {
            open.set_modified(an_hour).unwrap();
            path
        }
    };
    let empty = made_long_ago("guard-trust-empty")();
    let full = made_long_ago("guard-trust-full");
    fs::write(base.path().join("guard-trust-full/x"), "").unwrap();
    let full = full();
    let other = base.path().join("other");
    fs::rename(of(&cgroups.path().join("s1")), &other).unwrap();
    // A session has made it: nobody writes to that pipe.
    let planted = base.path().join("guard-trust-planted");
    fs::create_dir(&planted).unwrap();
    let pipe = planted.join(SESSION);
    mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    sweep(base.path());
    assert!(!ended.exists());
    assert!(!empty.exists());
    for stays in [lives, unseen, unnamed, foreign, full, other, planted] {
        assert!(stays.is_dir(), "{}", stays.display());
    }
}

#[test]
fn only_a_directory_of_ones_own_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    assert!(is_own(dir.path()));
    assert!(!is_own(&dir.path().join("none")));
    assert!(!is_own(Path::new("relative")));
    if geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
        assert!(!is_own(dir.path()));
    }
}

#[test]
fn nobody_else_enters_the_directory() {
    let directory = directory(&env::temp_dir(), Path::new("/s1")).unwrap();
    let mode = fs::metadata(directory.path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
}
