//! Encrypted files: what is in them nobody knows here, which keeps commands from starting until a person says that this is all right.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use guard_lab::{AGENT, Json as _, Output, Tested};
use serde_json::{Value, json};

use super::discover::{COVERED, Project};

const SEALED: &str = "DOTENV_VAULT_PRODUCTION=\"aHVudGVyMg==\"\n";
const SAYS: &str = "its contents are not known, and a person says that this is all right";

/// A project without production, but for what may be in an encrypted file.
fn sealed() -> Tested<Project> {
    let project = Project::new(COVERED)?;
    fs::remove_file(project.project.join(".env"))?;
    lay(&project.project.join("deploy/.env.vault"), SEALED)?;
    Ok(project)
}

fn lay(file: &Path, text: &str) -> Tested {
    let dir = file.parent().unwrap();
    fs::create_dir_all(dir)?;
    fs::write(file, text)?;
    for path in [dir, file] {
        chown(path, Some(AGENT), Some(AGENT))?;
    }
    Ok(())
}

/// Whether a command starts, and whether `--check` says yes: one as the other.
fn is_held(project: &Project, dir: &Path) -> Tested<bool> {
    let run = project.guard_in(dir, &["run", "--policy", "open", "--quiet", "--", "true"]);
    let check = project.guard_in(dir, &["discover", "--check", "--policy", "open"]);
    match (run.code(), check.code()) {
        (Some(125), Some(1)) => Ok(true),
        (Some(0), Some(0)) => Ok(false),
        _ => Err(std::io::Error::other(format!("{run:?} {check:?}")).into()),
    }
}

fn dismiss(project: &Project, file: &str) -> Output {
    project.guard(&["discover", "--dismiss-file", file])
}

fn passed_over(project: &Project) -> Tested<Vec<Value>> {
    let found = project.guard(&["discover", "--json"]).json()?;
    Ok(found["passed_over"].list()?.to_vec())
}

#[test]
fn a_person_says_that_an_encrypted_file_is_all_right_as_long_as_it_is_the_same() -> Tested {
    let mut project = sealed()?;
    let here = project.project.clone();
    let refused = project.guard(&["run", "--policy", "open", "--", "true"]);
    let advice = "guard discover --dismiss-file FILE";
    assert!(refused.stderr.contains(advice), "{refused:?}");
    assert!(is_held(&project, &here)?);
    let listed = project.guard(&["discover"]);
    let advice = "guard discover --dismiss-file deploy/.env.vault";
    assert!(listed.stdout.contains(advice), "{listed:?}");
    let said = dismiss(&project, "deploy/.env.vault");
    assert_eq!(said.code(), Some(0), "{said:?}");
    for words in [SAYS, "guardd keeps that"] {
        assert!(said.stdout.contains(words), "{said:?}");
    }
    assert!(!is_held(&project, &here)?);
    let found = project.guard(&["discover", "--json"]).json()?;
    let one = &found["passed_over"][0];
    assert_eq!(found["complete"], true, "{found}");
    assert_eq!(one["dismissed"]["says"], SAYS, "{found}");
    assert_eq!(
        one["dismissed"]["dir"],
        here.canonicalize()?.display().to_string()
    );
    project.lab.daemon.stop()?;
    project.lab.daemon.start()?;
    assert!(!is_held(&project, &here)?);

    // Other bytes, and the same elsewhere, are other files.
    let file = here.join("deploy/.env.vault");
    lay(
        &file,
        "DATABASE_URL=postgres://app:word@db.example.net/app\n",
    )?;
    assert!(is_held(&project, &here)?);
    lay(&file, SEALED)?;
    assert!(!is_held(&project, &here)?);
    let copy = here.join("other/.env.vault");
    lay(&copy, SEALED)?;
    assert!(is_held(&project, &here)?);
    fs::remove_file(copy)?;
    let other = project.home.join("other");
    lay(&other.join("deploy/.env.vault"), SEALED)?;
    assert!(is_held(&project, &other)? && !is_held(&project, &here)?);

    let records = project.lab.daemon.logged("dismissed")?;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["file"], "deploy/.env.vault");
    assert_eq!(records[0]["sha256"], one["sha256"]);
    assert_eq!(records[0]["from"]["uid"], AGENT);
    let withdraw = [
        "discover",
        "--dismiss-file",
        "deploy/.env.vault",
        "--withdraw",
        "--json",
    ];
    let taken_back = project.guard(&withdraw).json()?;
    assert_eq!(
        taken_back["withdrawn"],
        json!([one["sha256"]]),
        "{taken_back}"
    );
    assert!(is_held(&project, &here)?);
    let again = project.guard(&withdraw);
    assert_eq!(again.code(), Some(2), "{again:?}");
    assert!(again.stderr.contains("it is not dismissed"), "{again:?}");
    Ok(())
}

#[test]
fn a_file_is_the_same_from_wherever_in_its_repository_it_is_looked_at() -> Tested {
    let project = sealed()?;
    fs::create_dir(project.project.join(".git"))?;
    let below = project.project.join("deploy");
    let said = project.guard_in(&below, &["discover", "--dismiss-file", ".env.vault"]);
    assert_eq!(said.code(), Some(0), "{said:?}");
    assert!(!is_held(&project, &below)? && !is_held(&project, &project.project)?);
    Ok(())
}

#[test]
fn no_agent_says_it_and_no_other_file_is_let_pass_by_it() -> Tested {
    let mut project = sealed()?;
    let here = project.project.clone();
    let sha256 = passed_over(&project)?[0]["sha256"].clone();
    // What runs as that user may write there, a session too.
    let own = project.home.join(".local/state/guard/discover.json");
    let planted = json!({"dismissed": [], "files": [{
        "file": "deploy/.env.vault", "sha256": sha256, "dir": here.canonicalize()?,
        "at": "2026-11-25T12:00:00Z", "by": "agent",
    }]});
    lay(&own, &planted.to_string())?;
    assert!(is_held(&project, &here)?);
    let guard = project.lab.guard()?;
    let inside = format!("env -u GUARD_SESSION {guard} discover --dismiss-file deploy/.env.vault");
    let asks = project.asks()?;
    fs::rename(here.join("deploy"), project.home.join("away"))?;
    let inside = project.guard(&["run", "--policy", &asks, "--", "sh", "-c", &inside]);
    fs::rename(project.home.join("away"), here.join("deploy"))?;
    assert_eq!(inside.code(), Some(2), "{inside:?}");
    assert!(inside.stderr.contains("inside of a session"), "{inside:?}");
    assert!(is_held(&project, &here)?);

    // What is read, and what is passed over for another reason, is no such file.
    lay(&here.join(".env"), "A=1\n")?;
    symlink("/dev/null", here.join("link.env"))?;
    for (file, why) in [
        (".env", "it was read, or is not there"),
        ("nothing.enc.yaml", "it was read, or is not there"),
        ("link.env", "a link"),
    ] {
        let refused = dismiss(&project, file);
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(why), "{file}: {refused:?}");
    }
    fs::remove_file(here.join("link.env"))?;

    // Without guardd it is in the person's own file, which counts until there is one.
    fs::remove_file(&own)?;
    project.lab.daemon.stop()?;
    let said = dismiss(&project, "deploy/.env.vault");
    assert!(said.stdout.contains("until a guardd runs"), "{said:?}");
    let check = |project: &Project| {
        let check = project.guard(&["discover", "--check", "--policy", &asks]);
        check.code()
    };
    assert_eq!(check(&project), Some(0));
    project.lab.daemon.start()?;
    assert_eq!(check(&project), Some(1));
    Ok(())
}
