use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Each secret place of each format, with `@@` where the secret is: `-- ` and a file's name, and what is in it.
const PLACES: &str = include_str!("../secrets.txt");

fn places() -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
    let files = PLACES.strip_prefix("-- ").unwrap_or(PLACES).split("\n-- ");
    files.filter_map(|file| file.split_once('\n'))
}

fn made<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> Tested<S::Value> {
    let tree = strategy.new_tree(runner).map_err(|why| why.to_string())?;
    Ok(tree.current())
}

#[test]
fn no_secret_is_in_what_is_found() -> Tested {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    // What no host, key or word of guard's has by chance, with all that breaks parsers before and behind.
    let secret = ("[ -!#-~]{0,6}", "[a-z0-9]{20}", "[ -!#-~]{0,6}");
    for _ in 0..1_000 / places().count() + 1 {
        for (path, text) in places() {
            let (before, core, behind) = made(&secret, &mut runner)?;
            let scene =
                Scene::new()?.with(path, text.replace("@@", &format!("{before}{core}{behind}")))?;
            let found = scene.look()?;
            let told = format!("{found:?}");
            assert!(!told.contains(&core), "{path}: {text}: {told}");
        }
    }
    Ok(())
}

#[test]
fn each_of_a_thousand_plain_secrets_is_left_out_of_all_formats() -> Tested {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    for _ in 0..1_000 / 20 {
        let mut cores = Vec::new();
        let mut scene = Scene::new()?;
        for (at, (path, text)) in places()
            .enumerate()
            .filter(|(_, (path, _))| !path.starts_with("~/"))
        {
            let core = made(&"[A-Za-z0-9]{24}", &mut runner)?;
            scene = scene.with(&format!("{at}/{path}"), text.replace("@@", &core))?;
            cores.push(core);
        }
        let found = scene.look()?;
        assert!(
            found
                .findings
                .iter()
                .any(|one| one.label == Label::Production)
        );
        let told = format!("{found:?}");
        assert!(
            cores
                .iter()
                .all(|core| !told.contains(core) && !told.contains(&core.to_lowercase())),
            "{told}"
        );
    }
    Ok(())
}
