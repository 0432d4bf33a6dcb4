use std::thread;

use super::super::authority::tests::{OURS, ours};
use super::*;

fn shown_at(path: PathBuf, content: &str) -> Shown {
    Shown {
        path,
        content: content.into(),
    }
}

/// A system of two directories: certificates that are looked up, with a bundle among them, and one elsewhere.
fn scene(dir: &Path) -> (View, PathBuf, PathBuf) {
    let (certs, other) = (dir.join("certs"), dir.join("other"));
    for dir in [&certs, &other, &certs.join("java")] {
        fs::create_dir_all(dir).unwrap();
    }
    for file in [
        "certs/bundle",
        "certs/link.0",
        "certs/java/cacerts",
        "other/bundle",
    ] {
        fs::write(dir.join(file), "old").unwrap();
    }
    let view = View {
        at: dir.join("at"),
        authority: ours(),
        files: vec![
            shown_at(certs.join("bundle"), "new"),
            shown_at(certs.join("java/cacerts"), "new"),
            shown_at(other.join("bundle"), "new"),
        ],
        directories: vec![(certs.clone(), "hash.0".into())],
    };
    (view, certs, other)
}

/// Does something on a thread of its own, as views are its threads'.
fn apart(work: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(work).join().unwrap());
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_session_sees_more_and_nobody_else_does() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (view, certs, other) = scene(dir.path());
    let mut files = Files::default();
    files.add("bundle.pem", b"for variables".into());
    apart(|| {
        assert_eq!(view.show(&files), Ok(vec![]));
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(certs.join("hash.0")), OURS);
        assert_eq!(read(certs.join("link.0")), "old");
        for new in [
            certs.join("bundle"),
            certs.join("java/cacerts"),
            other.join("bundle"),
        ] {
            assert_eq!(read(new.clone()), "new");
            let refused = fs::write(new, "x").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        assert_eq!(read(view.place().join("bundle.pem")), "for variables");
    });
    assert!(!certs.join("hash.0").exists());
    assert_eq!(fs::read_to_string(other.join("bundle")).unwrap(), "old");
    assert_eq!(fs::read_dir(view.place()).unwrap().count(), 0);
}

#[test]
fn the_system_may_replace_its_files_meanwhile() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (view, certs, _) = scene(dir.path());
    apart(|| {
        assert_eq!(view.show(&Files::default()), Ok(vec![]));
        // Outside, as update-ca-certificates(8) does.
        let outside = format!("/proc/{}/root{}", std::process::id(), certs.display());
        let outside = PathBuf::from(outside);
        fs::write(outside.join("bundle.new"), "newer").unwrap();
        fs::rename(outside.join("bundle.new"), outside.join("bundle")).unwrap();
        assert_eq!(fs::read_to_string(outside.join("bundle")).unwrap(), "newer");
        assert_eq!(fs::read_to_string(certs.join("bundle")).unwrap(), "new");
    });
}

#[test]
fn what_is_mounted_in_a_directory_is_not_hidden() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (view, certs, _) = scene(dir.path());
    apart(|| {
        mounts::own_view().unwrap();
        rustix::mount::mount_bind(certs.join("bundle"), certs.join("link.0")).unwrap();
        let warnings = view.show(&Files::default()).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("is mounted below it"));
        assert!(!certs.join("hash.0").exists());
        assert_eq!(fs::read_to_string(certs.join("bundle")).unwrap(), "new");
        assert_eq!(fs::read_to_string(certs.join("link.0")).unwrap(), "old");
    });
}

#[test]
fn it_is_mounted_on_a_directory_of_roots_alone() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("at");
    mount_point(&at).unwrap();
    mount_point(&at).unwrap();
    std::os::unix::fs::symlink(&at, dir.path().join("link")).unwrap();
    assert!(mount_point(&dir.path().join("link")).is_err());
    std::os::unix::fs::chown(&at, Some(65534), None).unwrap();
    assert!(mount_point(&at).is_err());
}

#[test]
fn a_taken_name_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(free_name(dir.path()).unwrap(), "561c11a9.0");
    std::os::unix::fs::symlink("nowhere", dir.path().join("561c11a9.0")).unwrap();
    assert_eq!(free_name(dir.path()).unwrap(), "561c11a9.1");
}
