//! What a session trusts, asked of real clients that speak TLS to a server of the lab.
//!
//! Needs root, to make networks and cgroups and to become somebody else.
mod scene;

use guard_lab::Tested;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::launch::bench;
use scene::{CLIENTS, Caller, ForeignAuthority};

#[test]
fn without_it_no_client_connects() -> Tested {
    let scene = ForeignAuthority::new()?;
    for caller in [Caller::Root, Caller::Ordinary] {
        for client in CLIENTS {
            let output = scene.run(caller, &[], client)?;
            assert!(!output.status.success(), "{client} by {caller:?}");
        }
    }
    Ok(())
}

#[test]
fn a_session_of_roots_sees_it_in_the_systems_files() -> Tested {
    let scene = ForeignAuthority::new()?;
    for client in CLIENTS {
        // No variable helps here.
        let bare = format!("env -i PATH=$PATH HOME=/nonexistent sh -c '{client}'");
        scene.succeeds(Caller::Root, &scene.trusting(), &bare)?;
    }
    // OpenSSL finds it by the hash of its subject.
    let by_hash = "openssl verify -no-CAfile -CApath /etc/ssl/certs leaf.pem";
    scene.succeeds(Caller::Root, &scene.trusting(), by_hash)?;
    assert!(!scene.run(Caller::Root, &[], by_hash)?.status.success());
    Ok(())
}

#[test]
fn a_session_of_an_ordinary_users_has_variables() -> Tested {
    let scene = ForeignAuthority::new()?;
    for client in CLIENTS {
        scene.succeeds(Caller::Ordinary, &scene.trusting(), client)?;
    }
    Ok(())
}

#[test]
fn what_the_system_trusts_stays_trusted() -> Tested {
    let scene = ForeignAuthority::new()?;
    let before = fs::read("/etc/ssl/certs/ca-certificates.crt")?;
    let said = scene.succeeds(
        Caller::Root,
        &scene.trusting(),
        "cat /etc/ssl/certs/ca-certificates.crt; echo =; cat $SSL_CERT_FILE",
    )?;
    assert!(said.contains("=\n"), "{said}");
    let middle = before.len() + fs::read(scene.authority())?.len();
    let (system, variable) = (&said.as_bytes()[..middle], &said.as_bytes()[middle + 2..]);
    assert!(system.starts_with(&before));
    assert_eq!(system, variable);
    let names = "ls /etc/ssl/certs | grep -v 561c11a9.0";
    let outside = scene.succeeds(Caller::Root, &[], "ls /etc/ssl/certs")?;
    assert_eq!(
        scene.succeeds(Caller::Root, &scene.trusting(), names)?,
        outside
    );
    Ok(())
}

#[test]
fn nothing_of_it_is_to_be_seen_outside() -> Tested {
    let scene = ForeignAuthority::new()?;
    let before = fs::read_to_string("/proc/self/mountinfo")?;
    let look = "test -e /etc/ssl/certs/561c11a9.0 && cat /proc/self/mountinfo >table";
    scene.succeeds(Caller::Root, &scene.trusting(), look)?;
    assert!(!Path::new("/etc/ssl/certs/561c11a9.0").exists());
    let inside = fs::read_to_string(scene.path("table"))?;
    let view = scene.state().join("trust");
    let line = |table: &str| table.contains(view.to_str().unwrap());
    assert!(line(&inside) && !line(&before));
    assert!(!line(&fs::read_to_string("/proc/self/mountinfo")?));
    assert_eq!(fs::read_dir(&view)?.count(), 0);
    Ok(())
}

#[test]
fn the_session_cannot_take_it_away() -> Tested {
    let scene = ForeignAuthority::new()?;
    let view = scene.state().join("trust");
    for script in [
        "umount /etc/ssl/certs".to_owned(),
        "umount -l /etc/ssl/certs".to_owned(),
        format!("rm {}/bundle.pem", view.display()),
        "echo x >>/etc/ssl/certs/ca-certificates.crt".to_owned(),
    ] {
        let output = scene.run(Caller::Root, &scene.trusting(), &script)?;
        assert!(!output.status.success(), "{script}");
    }
    Ok(())
}

#[test]
fn a_directory_of_the_users_own_goes_with_the_session() -> Tested {
    let scene = ForeignAuthority::new()?;
    let own = scene.path("runtime");
    fs::create_dir(&own)?;
    std::os::unix::fs::chown(&own, Some(scene::UID), Some(scene::UID))?;
    let script = "dirname $SSL_CERT_FILE; stat -c %a $(dirname $SSL_CERT_FILE)";
    let runtime = format!("XDG_RUNTIME_DIR={}", own.display());
    let said = scene.with(Caller::Ordinary, &[&runtime], &scene.trusting(), script)?;
    let (dir, mode) = said.trim().split_once('\n').unwrap();
    assert!(dir.starts_with(own.to_str().unwrap()), "{dir}");
    assert_eq!(mode, "700");
    assert!(!Path::new(dir).exists());
    // Somebody else's is not taken.
    std::os::unix::fs::chown(&own, Some(0), Some(0))?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777))?;
    let said = scene.with(Caller::Ordinary, &[&runtime], &scene.trusting(), script)?;
    assert!(!said.starts_with(own.to_str().unwrap()), "{said}");
    Ok(())
}

#[test]
fn files_are_read_with_the_users_rights() -> Tested {
    let scene = ForeignAuthority::new()?;
    let (open, secret) = (scene.path("open.pem"), scene.path("secret.pem"));
    let content = "# theirs\n";
    for (path, mode) in [(&open, 0o644), (&secret, 0o600)] {
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    let named = |path: &Path| format!("SSL_CERT_FILE={}", path.display());
    let show = "cat $SSL_CERT_FILE; echo $SSL_CERT_FILE >&2";
    let output = scene.output(Caller::Root, &[&named(&open)], &scene.trusting(), show)?;
    let authority = fs::read_to_string(scene.authority())?;
    assert_eq!(bench::text(&output)?, format!("{content}{authority}"));
    let output = scene.output(Caller::Root, &[&named(&secret)], &scene.trusting(), show)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(said.contains("SSL_CERT_FILE stays as it is"), "{said}");
    assert!(
        said.contains(&format!("\n{}\n", secret.display())),
        "{said}"
    );
    Ok(())
}

#[test]
fn where_it_cannot_be_the_command_runs_nevertheless() -> Tested {
    let scene = ForeignAuthority::new()?;
    let nowhere = ["--trust", "ca.pem", "--state", "/nonexistent"];
    let output = scene.run(Caller::Root, &nowhere, "env; echo ran")?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("does not trust guard's certificate"),
        "{said}"
    );
    let ran = bench::text(&output)?;
    assert!(
        ran.ends_with("ran\n") && !ran.contains("SSL_CERT_FILE"),
        "{ran}"
    );
    let output = scene.run(Caller::Root, &nowhere, CLIENTS[0])?;
    assert!(!output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn a_session_in_a_session_keeps_what_it_has() -> Tested {
    let scene = ForeignAuthority::new()?;
    let look = "env | grep -E 'CA_CERTS|CERT_FILE|BUNDLE' | sort";
    let inner =
        format!("{look}; echo =; ./probe run --trust ca.pem --state /x -- sh -c \"{look}\"");
    for caller in [Caller::Root, Caller::Ordinary] {
        let said = scene.succeeds(caller, &scene.trusting(), &inner)?;
        let (outer, inner) = said.split_once("=\n").unwrap();
        assert_eq!(outer, inner);
        assert!(outer.contains("SSL_CERT_FILE="), "{outer}");
    }
    let nested = format!(
        "./probe run --trust ca.pem --state /x -- sh -c '{}'",
        CLIENTS[0]
    );
    scene.succeeds(Caller::Ordinary, &scene.trusting(), &nested)?;
    Ok(())
}
