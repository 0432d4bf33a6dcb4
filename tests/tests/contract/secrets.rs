//! A thousand secrets in all places of all formats that `guard discover` reads: none is said, kept or recorded.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use guard_lab::{AGENT, Tested};

use super::discover::Project;

/// Each format with `@@` where a secret is, as the reading's own tests have them.
const PLACES: &str = include_str!("../../../guard-user/discover/tests/secrets.txt");

/// How often each format of a project is there.
const TIMES: usize = 30;

fn secret() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// Writes a file with a secret in it, below a directory.
fn put(dir: &Path, path: &str, text: &str) -> Tested<(PathBuf, String)> {
    let secret = secret();
    let file = dir.join(path);
    let parents = file.ancestors().skip(1);
    let made: Vec<_> = parents.take_while(|parent| !parent.exists()).collect();
    fs::create_dir_all(file.parent().unwrap_or(dir))?;
    fs::write(&file, text.replace("@@", &secret))?;
    for path in made.into_iter().chain([&*file]) {
        chown(path, Some(AGENT), Some(AGENT))?;
    }
    Ok((file, secret))
}

/// All that is in the files below a directory, but for some.
fn text_below(dir: &Path, but: &BTreeSet<PathBuf>, text: &mut Vec<u8>) -> Tested {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if but.contains(&path) {
            continue;
        }
        if kind.is_dir() {
            text_below(&path, but, text)?;
        } else if kind.is_file() {
            text.extend(fs::read(&path)?);
        }
    }
    Ok(())
}

#[test]
fn no_secret_that_is_in_reach_is_said_kept_or_recorded() -> Tested {
    let project = Project::new("")?;
    let places = PLACES.strip_prefix("-- ").unwrap_or(PLACES).split("\n-- ");
    let places: Vec<_> = places.filter_map(|one| one.split_once('\n')).collect();
    let (mut but, mut secrets) = (BTreeSet::from([project.project.clone()]), Vec::new());
    for (at, (path, text)) in places.iter().enumerate() {
        match path.strip_prefix("~/") {
            Some(path) => {
                let (file, secret) = put(&project.home, path, text)?;
                but.insert(file);
                secrets.push(secret);
            }
            None => {
                for time in 0..TIMES {
                    let path = format!("{time}/{at}/{path}");
                    secrets.push(put(&project.project, &path, text)?.1);
                }
            }
        }
    }
    assert!(secrets.len() > 1_000, "{}", secrets.len());
    let mut told = Vec::new();
    for args in [
        &["discover", "--all"][..],
        &["discover", "--all", "--json"],
        &["discover", "--why", "1"],
        &["discover", "--why", "2", "--json"],
        &["discover", "--check"],
        &["discover", "--write", "shop", "--yes", "--policy", "open"],
        &["discover", "--dismiss", "1"],
        &["explain", "db.example.net:5432", "--policy", "open"],
        &["setup", "--print"],
        &["run", "--policy", "open", "--", "true"],
    ] {
        let output = project.guard(args);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(!all.is_empty() || args[0] == "run", "{args:?}");
        told.extend(all.into_bytes());
    }
    // What is told holds what was found, so that nothing would be in it by accident alone.
    assert!(String::from_utf8_lossy(&told).contains("db.example.net"));
    told.extend(project.lab.root(&["log", "--json"]).stdout.into_bytes());
    told.extend(project.lab.root(&["pending", "--json"]).stdout.into_bytes());
    told.extend(project.lab.daemon.log().into_bytes());
    text_below(project.lab.daemon.dir(), &but, &mut told)?;
    let told = String::from_utf8_lossy(&told).to_lowercase();
    for secret in &secrets {
        assert!(!told.contains(secret.as_str()), "{secret} is told");
    }
    Ok(())
}
