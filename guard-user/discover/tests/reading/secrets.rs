use std::collections::{BTreeMap, BTreeSet};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::*;

/// Each secret place of each format, with `@@` where the secret is: `-- ` and a file's name, and what is in it. `env` is the
/// environment, `/etc/hosts` the list of names, and `VARIABLE=~/file` a file that a variable names.
const PLACES: &str = include_str!("../secrets.txt");
/// Places that are read by their names alone, or not at all: what is in them goes through no reader.
const NOT_READ: [&str; 5] = [
    "encrypted",
    "named encrypted, but plain",
    "values that are encrypted",
    "a Secret's values, in base64",
    "an unreadable project",
];

type Row = (&'static str, &'static str);

fn places() -> impl Iterator<Item = Row> + Clone {
    let files = PLACES.strip_prefix("-- ").unwrap_or(PLACES).split("\n-- ");
    files.filter_map(|file| file.split_once('\n'))
}

fn made<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> Tested<S::Value> {
    let tree = strategy.new_tree(runner).map_err(|why| why.to_string())?;
    Ok(tree.current())
}

impl Scene {
    /// A row's place with a secret in it; a project's below a directory of its own where that is given.
    fn with_row(mut self, below: &str, (path, text): Row, secret: &str) -> Tested<Self> {
        let text = text.replace("@@", secret);
        match path {
            "env" => {
                let variables = text.lines().filter_map(|line| line.split_once('='));
                let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
                self.environment.extend(variables);
                Ok(self)
            }
            "/etc/hosts" => {
                self.hosts = Some(self.home.path().join("hosts"));
                self.with("~/hosts", text)
            }
            path if path.contains('=') => {
                let (variable, file) = path.split_once('=').unwrap_or_default();
                let at = self.home.path().join(file.trim_start_matches("~/"));
                let named = (variable.to_owned(), at.display().to_string());
                self.environment.push(named);
                self.with(file, text)
            }
            path if path.starts_with("~/") => self.with(path, text),
            path => self.with(&format!("{below}{path}"), text),
        }
    }
}

/// The same in each place, and in a file that a variable names.
pub(super) fn everywhere(content: &[u8]) -> Tested<Scene> {
    let names: BTreeSet<_> = places().map(|(path, _)| path).collect();
    let mut scene = Scene::new()?
        .with("~/hosts", content)?
        .with("~/named", content)?;
    let is_file = |name: &&str| *name != "env" && !name.starts_with('/') && !name.contains('=');
    for name in names.into_iter().filter(is_file) {
        scene = scene.with(name, content)?;
    }
    scene.hosts = Some(scene.home.path().join("hosts"));
    let named = scene.home.path().join("named").display().to_string();
    scene.environment = vec![("KUBECONFIG".to_owned(), named)];
    Ok(scene)
}

/// Whether a place is one that is counted when it was read.
fn is_counted((path, _): &Row) -> bool {
    !["env", "/etc/hosts"].contains(path)
}

/// The rows of a few scenes: a home has one file of a name, and a project as many as there are directories.
fn scenes() -> Vec<Vec<Row>> {
    let mut all: Vec<Vec<Row>> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for row in places() {
        let is_one = row.0.contains("~/") || !is_counted(&row);
        let at = if is_one {
            known.entry(row.0).or_insert(0)
        } else {
            &mut 0
        };
        if all.len() <= *at {
            all.push(Vec::new());
        }
        all[*at].push(row);
        *at += 1;
    }
    all
}

/// A secret, and what of it no host, key or word of guard's has by chance.
type Secret = (String, String);

/// So many secrets in each place, all of which are read: those that are in what is found.
fn told(
    times: u32,
    made: impl Fn(&mut TestRunner) -> Tested<Secret>,
    is_looked_at: impl Fn(&Discovery) -> Tested,
) -> Tested<Vec<String>> {
    let mut all = Vec::new();
    let mut runner = TestRunner::new(rounds(1));
    let scenes = scenes();
    for rows in (0..rounds(times).cases).flat_map(|_| &scenes) {
        let mut cores = Vec::new();
        let mut scene = Scene::new()?;
        for (at, row) in rows.iter().enumerate() {
            let (secret, core) = made(&mut runner)?;
            scene = scene.with_row(&format!("{at}/"), *row, &secret)?;
            cores.push((core, row));
        }
        let found = scene.look_within(DEEP)?;
        let count = rows.iter().filter(|row| is_counted(row)).count();
        assert_eq!(found.home_files + found.project_files, count);
        is_looked_at(&found)?;
        let told = format!("{found:?}").to_lowercase();
        for (core, row) in &cores {
            if told.contains(&core.to_lowercase()) {
                all.push(format!("{core} of {row:?}"));
            }
        }
    }
    Ok(all)
}

#[test]
fn no_secret_is_in_what_is_found() -> Tested {
    // With all that breaks parsers before and behind.
    let secret = ("[ -!#-~]{0,6}", "[a-z0-9]{20}", "[ -!#-~]{0,6}");
    let odd = |runner: &mut TestRunner| {
        let (before, core, behind) = made(&secret, runner)?;
        Ok((format!("{before}{core}{behind}"), core))
    };
    assert_eq!(told(10, odd, |_| Ok(()))?, Vec::<String>::new());
    Ok(())
}

/// What ends a host, a word, a value or a line in some format, where a secret has it: `*` is the rest of the secret.
const MISLEADING: [&str; 16] = [
    "@* x", "@* #x", "@* # x", "@* ;x", "@*\t#x", "@*#x", "@*/x", "@*?x", "@*,x", "@*:1 x",
    "@*:1 #x", "* #x", "* x", "x@*&y", "@* @x", "@*\\x",
];

#[test]
fn no_secret_is_taken_for_a_host_that_it_pretends_to_hold() -> Tested {
    let mut all = Vec::new();
    for shape in MISLEADING {
        let led = |runner: &mut TestRunner| {
            let core = made(&"[a-z0-9]{20}", runner)?;
            Ok((shape.replace('*', &core), core))
        };
        let told = told(1, led, |_| Ok(()))?.into_iter();
        all.extend(told.map(|secret| format!("{shape}: {secret}")));
    }
    assert_eq!(all, Vec::<String>::new());
    Ok(())
}

#[test]
fn each_of_a_thousand_plain_secrets_is_left_out_of_all_formats() -> Tested {
    let plain = |runner: &mut TestRunner| {
        let core = made(&"[A-Za-z0-9]{24}", runner)?;
        Ok((core.clone(), core))
    };
    let told = told(10, plain, |found| {
        let why: BTreeSet<_> = found
            .passed_over
            .iter()
            .filter(|one| !NOT_READ.contains(&one.why))
            .map(|one| format!("{}: {}", one.file, one.why))
            .collect();
        assert_eq!(why, BTreeSet::new());
        Ok(())
    })?;
    assert_eq!(told, Vec::<String>::new());
    Ok(())
}

/// A shell takes both parts for one word, and a line may end within quotes.
#[test]
fn a_quote_or_a_line_s_end_in_a_password_makes_no_host_of_its_beginning() -> Tested {
    for (text, host) in [
        (
            "A_URL='postgres://svc:4712'geheim@db.example.net/x'\n",
            Some("db.example.net"),
        ),
        (
            "A_URL=\"https://Summer.Rain\"2024@db.example.net/x\"\n",
            Some("db.example.net"),
        ),
        (
            "A_URL=\"postgres://svc:4715\ngeheim@db.example.net/x\"\n",
            None,
        ),
        (
            "A_URL=\"postgres://db.example.net/x\" # ask ann@example.com\n",
            Some("db.example.net"),
        ),
    ] {
        let found = Scene::new()?.with(".env", text)?.look()?;
        let hosts = found.findings.iter().map(|one| one.host.to_string());
        let hosts: Vec<_> = hosts.collect();
        assert_eq!(hosts, Vec::from_iter(host.map(str::to_owned)), "{text}");
    }
    Ok(())
}
