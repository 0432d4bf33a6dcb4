//! Against OpenSSH itself.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{SshKey, answer, ssh_keys};
use crate::{
    AnswerRefusal, Document as _, NAMESPACE,
    ssh::{SshPublicKey, unarmour},
};

/// `ssh-keygen -Y sign` of that message.
fn sign(dir: &Path, key: &Path, namespace: &str, message: &[u8]) -> Vec<u8> {
    let file = dir.join("message");
    fs::write(&file, message).unwrap();
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .arg(key)
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(signed.status.success(), "{signed:?}");
    unarmour(&String::from_utf8(signed.stdout).unwrap()).unwrap()
}

/// Whether `ssh-keygen -Y verify` takes it.
fn openssh_takes(dir: &Path, line: &str, namespace: &str, message: &[u8], sealed: &[u8]) -> bool {
    let [allowed, signature, file] = ["allowed", "signature", "message"].map(|one| dir.join(one));
    fs::write(&allowed, format!("alice {line}\n")).unwrap();
    let armoured = data_encoding::BASE64.encode(sealed);
    let lines: Vec<_> = armoured
        .as_bytes()
        .chunks(70)
        .map(String::from_utf8_lossy)
        .collect();
    let text = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    );
    assert_eq!(unarmour(&text).unwrap(), sealed);
    fs::write(&signature, text).unwrap();
    fs::write(&file, message).unwrap();
    let verified = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "alice", "-n", namespace, "-f"])
        .arg(&allowed)
        .arg("-s")
        .arg(&signature)
        .stdin(fs::File::open(&file).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    verified.success()
}

#[test]
fn what_openssh_signs_is_taken_and_nothing_else_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let message = answer().to_bytes().unwrap();
    for kind in ["ed25519", "ecdsa"] {
        let key = dir.path().join(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", kind, "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        let line = fs::read_to_string(key.with_extension("pub")).unwrap();
        let public = SshPublicKey::parse(&line).unwrap();
        assert!(line.starts_with(&public.line()) && !public.is_fido());
        let sealed = sign(dir.path(), &key, NAMESPACE, &message);
        assert_eq!(public.verify(NAMESPACE, &message, &sealed), Ok(()));
        assert!(openssh_takes(
            dir.path(),
            &line,
            NAMESPACE,
            &message,
            &sealed
        ));
        let other = sign(dir.path(), &key, "file", &message);
        assert_eq!(
            public.verify(NAMESPACE, &message, &other),
            Err(AnswerRefusal::Purpose)
        );
        let listed = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(&key)
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains(&public.fingerprint()), "{listed}");
    }
}

/// Also of FIDO keys, by their format: OpenSSH checks those without a device.
#[test]
fn openssh_agrees_on_each_kind_of_key() {
    let dir = tempfile::tempdir().unwrap();
    let message = answer().to_bytes().unwrap();
    for key in ssh_keys() {
        let public = SshPublicKey::parse(&key.line()).unwrap();
        let agree = |sealed: &[u8], message: &[u8]| {
            let theirs = openssh_takes(dir.path(), &key.line(), NAMESPACE, message, sealed);
            let ours = public.verify(NAMESPACE, message, sealed).is_ok();
            assert_eq!(ours, theirs, "{}", key.line());
            ours
        };
        let sealed = key.seal(NAMESPACE, &message, 1);
        assert!(agree(&sealed, &message));
        assert!(!agree(&sealed, b"another"));
        assert!(!agree(&key.seal("file", &message, 1), &message));
        for at in (0..sealed.len()).step_by(23) {
            let mut one = sealed.clone();
            one[at] ^= 1;
            assert!(!agree(&one, &message), "byte {at}");
        }
    }
}

#[test]
fn a_fido_key_has_to_be_touched() {
    let message = answer().to_bytes().unwrap();
    for key in ssh_keys() {
        let public = SshPublicKey::parse(&key.line()).unwrap();
        let untouched = public.verify(NAMESPACE, &message, &key.seal(NAMESPACE, &message, 4));
        if public.is_fido() {
            assert_eq!(untouched, Err(AnswerRefusal::Untouched))
        } else {
            assert_eq!(untouched, Ok(()))
        }
    }
}

#[test]
fn other_kinds_of_keys_are_named() {
    for (line, named) in [
        ("ssh-rsa AAAA", "ssh-rsa"),
        ("ssh-dss AAAA", "ssh-dss"),
        ("ecdsa-sha2-nistp384 AAAA", "nistp384"),
    ] {
        let refusal = SshPublicKey::parse(line).unwrap_err().to_string();
        assert!(refusal.contains(named), "{refusal}");
    }
    let key: &SshKey = &ssh_keys()[0];
    let line = key.line().replace("ssh-ed25519", "ecdsa-sha2-nistp256");
    assert!(
        SshPublicKey::parse(&line).is_err(),
        "the line says another kind than the key"
    );
    assert!(SshPublicKey::parse("ssh-ed25519").is_err());
}
