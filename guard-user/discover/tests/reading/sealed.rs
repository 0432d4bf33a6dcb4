//! Files that tools have encrypted: `== tool: what was typed | what is said of it`, then the file behind `-- `, with `hex` where it is
//! no text. What is in them nobody knows here; which bytes it is of, whoever says that this is all right does.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};

use super::*;

const SEALED: &str = include_str!("../sealed.txt");

/// A tool, what is said of the file, its name and its bytes.
type SealedFile = (&'static str, &'static str, &'static str, Vec<u8>);

fn sealed() -> Tested<Vec<SealedFile>> {
    let all = SEALED.split("== ").skip(1).map(|one| {
        let (head, file) = one.split_once("\n-- ").ok_or("no file")?;
        let (tool, said) = head.split_once(" | ").ok_or("nothing is said")?;
        let (name, text) = file.split_once('\n').ok_or("no text")?;
        Ok(match name.strip_suffix(" hex") {
            Some(name) => {
                let digits: String = text.split_whitespace().collect();
                let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes())?;
                (tool, said, name, bytes)
            }
            None => (tool, said, name, text.as_bytes().to_vec()),
        })
    });
    all.collect()
}

#[test]
fn what_a_tool_has_encrypted_is_told_by_its_bytes() -> Tested {
    let all = sealed()?;
    assert_eq!(all.len(), 11);
    for (tool, said, name, bytes) in all {
        let found = Scene::new()?.with(name, &bytes)?.look()?;
        assert_eq!(passed_over(&found), [said], "{tool}");
        assert_eq!(lines(&found), Vec::<String>::new(), "{tool}");
        let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
        let told = found.passed_over[0].sha256.clone();
        assert_eq!(told, Some(sha256), "{tool}");
    }
    Ok(())
}

#[test]
fn what_stands_readable_below_the_beginning_of_a_vault_is_read() -> Tested {
    let place = "DATABASE_URL=postgres://app:hunter2@db.example.net/app\n";
    let found = Scene::new()?
        .with(".env", format!("$ANSIBLE_VAULT;1.1;AES256\n{place}"))?
        .look()?;
    assert_eq!(passed_over(&found), [".env: values that are encrypted"]);
    assert_eq!(
        lines(&found),
        ["production db.example.net:5432 postgres, DATABASE_URL .env:2"]
    );
    Ok(())
}

/// Each is what one tool writes at the beginning, with what anybody reads behind it.
#[test]
fn a_beginning_alone_encrypts_nothing() -> Tested {
    let place = "database:\n  url: postgres://app:hunter2@db.example.net/app\n";
    for head in [
        "$ANSIBLE_VAULT;1.1;AES256: 1",
        "-----BEGIN PGP MESSAGE-----: 1",
        "age-encryption.org/v1: 1",
        "-----BEGIN AGE ENCRYPTED FILE-----: 1",
    ] {
        let plain = Scene::new()?.with("chart/values.yaml", place)?.look()?;
        let found = Scene::new()?
            .with("chart/values.yaml", format!("{head}\n{place}"))?
            .look()?;
        assert_eq!(lines(&found).len(), 1, "{head}");
        assert_eq!(lines(&found).len(), lines(&plain).len(), "{head}");
    }
    let env = "DATABASE_URL=postgres://app:hunter2@db.example.net/app\n";
    let noise = b"#\xff\xff\xff\xff\xff\xff\xff\xff\n".repeat(60);
    let utf_16: Vec<u8> = env.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes) in [
        (".env", [b"\0GITCRYPT\0\n", env.as_bytes()].concat()),
        (
            ".env",
            [b"\0GITCRYPT\0\n", &*noise, env.as_bytes()].concat(),
        ),
        ("secrets.enc.env", [&b"\xff\xfe"[..], &utf_16].concat()),
        ("secrets.enc.env", utf_16),
        (
            "docker-compose.yml",
            format!("$ANSIBLE_VAULT;1.1;AES256\n{place}").into_bytes(),
        ),
    ] {
        let found = Scene::new()?.with(name, &bytes)?.look()?;
        // Nobody can say of it that this is all right.
        let whole = found.passed_over.iter().any(|one| one.sha256.is_none());
        assert!(whole, "{name}: {:?}", passed_over(&found));
    }
    let found = Scene::new()?
        .with("secrets.enc.env", [&*noise, env.as_bytes()].concat())?
        .look()?;
    assert_eq!(lines(&found).len(), 1, "{:?}", passed_over(&found));
    Ok(())
}

/// A plain file that is called so: what is in it is found, and what is said of it.
fn is_read(name: &str, text: &str, said: &str) -> Tested {
    let found = Scene::new()?.with(name, text)?.look()?;
    assert_eq!(passed_over(&found), [format!("{name}: {said}")], "{text}");
    let [line] = &lines(&found)[..] else {
        return Err(format!("{name}: {:?}", lines(&found)).into());
    };
    assert!(line.contains(" db.example.net:5432 postgres"), "{line}");
    assert_eq!(found.project_files, 1, "{name}");
    let sha256 = HEXLOWER.encode(&Sha256::digest(text));
    assert_eq!(found.passed_over[0].sha256, Some(sha256), "{name}");
    Ok(())
}

#[test]
fn what_is_only_named_encrypted_is_read_and_told() -> Tested {
    let url = "postgres://app:hunter2@db.example.net/app";
    let env = &format!("DATABASE_URL={url}\n");
    let yaml = &format!("database:\n  url: {url}\n");
    for (name, text) in [
        ("secrets.enc.env", env),
        (".env.production.enc", env),
        (".env.vault", env),
        ("secrets.enc.env.age", env),
        ("secrets.enc.yaml", yaml),
        ("config/credentials.yml.enc", yaml),
        ("config/database.yml.age", yaml),
        ("secrets.sops.json", &format!("{{\"url\": \"{url}\"}}")),
        ("secret.toml.gpg", &format!("url = \"{url}\"\n")),
        ("head.enc.env", &format!("age-encryption.org/v1\n{env}")),
    ] {
        is_read(name, text, "named encrypted, but plain")?;
    }
    // A tool may encrypt some values alone, and a mark alone encrypts nothing.
    let seal = "ENC[AES256_GCM,data:aHVudGVyMg==,iv:aA==,tag:aA==,type:str]";
    for (name, text) in [
        ("some.enc.env", format!("DB_HOST={seal}\n{env}")),
        ("some.enc.yaml", format!("{yaml}  password: {seal}\n")),
        (
            "k8s/some.enc.yaml",
            format!(
                "kind: Secret\ndata:\n  password: {seal}\nstringData:\n  DATABASE_URL: {url}\n"
            ),
        ),
    ] {
        is_read(name, &text, "encrypted")?;
    }
    // What no reader is for is told, too; and so is what can be read in base64.
    let base64 = BASE64.encode(env.as_bytes());
    for (name, text) in [
        ("people.age", "name,age\nada,36\n"),
        ("secrets.enc.env", &*base64),
        ("secrets.enc.env", "DBHOST1=prod\n"),
    ] {
        let found = Scene::new()?.with(name, text)?.look()?;
        let said = format!("{name}: named encrypted, but plain");
        assert_eq!(passed_over(&found), [said]);
    }
    Ok(())
}

#[test]
fn a_cipher_without_a_mark_is_encrypted_where_the_name_says_so() -> Tested {
    let noise: Vec<u8> = (0..64_u32)
        .flat_map(|at| Sha256::digest(at.to_le_bytes()))
        .collect();
    let base64 = BASE64.encode(&noise);
    let wrapped: Vec<_> = base64.as_bytes().chunks(64).collect();
    let wrapped = wrapped.join(&b"\n"[..]);
    for bytes in [&noise[..], base64.as_bytes(), &wrapped] {
        let found = Scene::new()?
            .with("secrets.enc.env", bytes)?
            .with("secrets.enc.json", bytes)?
            .look()?;
        let both = ["secrets.enc.env", "secrets.enc.json"];
        assert_eq!(
            passed_over(&found),
            both.map(|name| format!("{name}: encrypted"))
        );
        assert_eq!(found.project_files, 0);
    }
    Ok(())
}

#[test]
fn what_is_passed_over_for_another_reason_has_no_hash_to_be_dismissed_by() -> Tested {
    let scene = Scene::new()?
        .with("binary.env", b"A=\0")?
        .with("compose.yaml", "[")?
        .with("whole.enc.yaml", vec![b'a'; 8 << 20])?
        .with("long.enc.yaml", vec![b'a'; (8 << 20) + 1])?;
    let found = scene.look()?;
    let with: Vec<_> = found
        .passed_over
        .iter()
        .filter(|one| one.sha256.is_some())
        .map(|one| one.file.as_str())
        .collect();
    assert_eq!(with, ["whole.enc.yaml"], "{:?}", passed_over(&found));
    assert_eq!(found.passed_over.len(), 4);
    Ok(())
}
