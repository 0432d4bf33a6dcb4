//! Compiled dependencies, for a clone that has none yet: it takes them out of the cache, or puts in what it has compiled.
//!
//! cargo itself judges whether what it finds is what it would have compiled, by its fingerprints.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cache::{self, Cache};
use crate::shell::{cargo, ending_with_us, read, root, run, say, target, text, which};

/// The kind of entry in the cache, its archive, and a file that says that what clippy looks at is in it, too.
const KIND: &str = "dependencies";
const ARCHIVE: &str = "target.tar.zst";
const LINTED: &str = "linted";
/// What compiled it, and how many others it was begun with, one after the other: of each, what is not wanted any more is still in it.
const COMPILER: &str = "compiler";
const AGE: &str = "age";
/// As `oldest` in `.ci/restore`.
const OLDEST: u32 = 5;
/// Where cargo compiles, below `target`: for the user half, for the kernel half, and to lint that.
const PROFILES: [&str; 5] = [
    "debug",
    "bpf/release",
    "bpf/bpfel-unknown-none/release",
    "bpf/debug",
    "bpf/bpfel-unknown-none/debug",
];
/// What it keeps there.
const DIRS: [&str; 3] = [".fingerprint", "build", "deps"];
/// Where an archive is unpacked, below `target`, until it is whole.
const UNFINISHED: &str = "dependencies.unfinished";
/// A file below `target` with its [`AGE`], while what is compiled there is wanted in the cache: a build that fails is followed by
/// another.
const UNKEPT: &str = "dependencies.unkept";

/// A file below `target` with the names of the entries that were unpacked there, one after the other, also by `.ci/restore`. It is gone
/// where they are: what is removed comes out of the cache again.
const TAKEN: &str = "debug/dependencies.taken";
/// A file below `target` that is locked by whoever unpacks there, also by `.ci/restore`.
const LOCK: &str = "restore.lock";

/// What was unpacked in this clone: the names of entries, the last of which is there whole.
#[derive(Default)]
struct Taken(Vec<String>);

impl Taken {
    fn read(target: &Path) -> Self {
        let names = fs::read_to_string(target.join(TAKEN)).unwrap_or_default();
        Self(names.lines().map(str::to_owned).collect())
    }

    fn is(&self, entry: &Path) -> bool {
        let last = self.0.last().map(|name| OsStr::new(name.as_str()));
        last.is_some() && last == entry.file_name()
    }

    /// Adds what was unpacked last.
    fn add(&self, entry: &Path, target: &Path) -> Result<()> {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        let mut names: String = self.0.iter().map(|name| format!("{name}\n")).collect();
        names.push_str(&format!("{name}\n"));
        let file = target.join(TAKEN);
        fs::create_dir_all(file.parent().unwrap_or(target))?;
        Ok(fs::write(file, names)?)
    }

    /// How old the whole is that has these in it: of each but `entry` it has what is not wanted any more, too. Nobody knows how old one was
    /// that the cache has no more.
    fn age(&self, cache: &Cache, entry: Option<&Path>) -> u32 {
        let entries = self.0.iter().map(|name| cache.path(name));
        let others = entries.filter(|other| Some(other.as_path()) != entry);
        let ages = others.map(|other| number(&other.join(AGE)).map_or(OLDEST, |age| age + 1));
        ages.max().unwrap_or_default()
    }
}

/// What is to be done about them.
pub(crate) struct Dependencies {
    cache: Cache,
    key: String,
    compiler: String,
    found: Found,
}

/// What was there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    /// This clone has compiled before: of a directory that has been in use for long nobody knows what is still wanted.
    Own,
    /// They came out of the cache, with those that clippy looks at or without: how old the whole is, with what lay there before.
    Cached { linted: bool, age: u32 },
    /// Nothing, or what another lock file or manifest wanted, of which cargo takes what it can: how old the whole will be.
    Part { age: u32 },
}

/// Puts what the cache has where cargo looks for it. What goes wrong costs time and nothing else, and is said.
///
/// # Errors
///
/// That nothing says what they would be made from, or that there is nowhere to keep them.
pub(crate) fn restore() -> Result<Dependencies> {
    let cache = Cache::open()?;
    let compiler = compiler()?;
    let key = key(&compiler)?;
    let found = restored(&cache, &key, &compiler, &target())?;
    Ok(Dependencies {
        cache,
        key,
        compiler,
        found,
    })
}

/// What was there for a clone, and is in place now. Of two runs in it the second finds what the first has unpacked.
fn restored(cache: &Cache, key: &str, compiler: &str, target: &Path) -> Result<Found> {
    fs::create_dir_all(target)?;
    let waiting = "waiting for another run in this clone, which unpacks compiled dependencies";
    let _lock = cache::lock_file(&target.join(LOCK), waiting)?;
    let unkept = target.join(UNKEPT);
    if has_compiled(target) {
        return Ok(number(&unkept).map_or(Found::Own, |age| Found::Part { age }));
    }
    let entry = cache.path(&format!("{KIND}-{key}"));
    let found = begun(cache, &entry, compiler, target)?;
    if let Found::Part { age } = found {
        fs::write(unkept, age.to_string())?;
    }
    Ok(found)
}

/// Has in place what a clone begins with that has compiled nothing.
fn begun(cache: &Cache, entry: &Path, compiler: &str, target: &Path) -> Result<Found> {
    let taken = Taken::read(target);
    if !is_kept(cache, entry)? {
        let age = nearest(cache, compiler, target, &taken);
        let age = age.max(taken.age(cache, None));
        return Ok(Found::Part { age });
    }
    Ok(if take(cache, entry, target, &taken) {
        Found::Cached {
            linted: entry.join(LINTED).exists(),
            age: number(&entry.join(AGE))
                .unwrap_or(OLDEST)
                .max(taken.age(cache, Some(entry))),
        }
    } else {
        Found::Part {
            age: taken.age(cache, None),
        }
    })
}

/// Whether the cache has an archive; one that another run is about to replace is waited for.
fn is_kept(cache: &Cache, entry: &Path) -> Result<bool> {
    let _lock = cache.lock_shared(KIND)?;
    Ok(entry.join(ARCHIVE).is_file())
}

/// Takes the newest of those that the same compiler has made from something else: most of what they are is the same. Gives the age of what
/// is begun with it.
fn nearest(cache: &Cache, compiler: &str, target: &Path, taken: &Taken) -> u32 {
    let dir = cache.path("");
    match newest(&dir, compiler) {
        Some((entry, age)) if take(cache, &entry, target, taken) => {
            say(
                "the compiled dependencies in the cache are of another Cargo.lock: compiling what is new",
            );
            age + 1
        }
        _ => {
            say(&format!(
                "no compiled dependencies in {}: compiling them, which takes some ten minutes on two processors",
                dir.display()
            ));
            0
        }
    }
}

/// The newest entry that a compiler has made and that is not too old to begin with, and its age. As `newest` in `.ci/restore`.
fn newest(cache: &Path, compiler: &str) -> Option<(PathBuf, u32)> {
    let entries = fs::read_dir(cache).ok()?.flatten();
    let fit = entries.filter_map(|entry| {
        let (name, entry) = (entry.file_name(), entry.path());
        let made = fs::metadata(&entry).ok()?.modified().ok()?;
        let by = fs::read_to_string(entry.join(COMPILER)).ok()?;
        let age = number(&entry.join(AGE))?;
        let is_fit = name.to_string_lossy().starts_with(&format!("{KIND}-"))
            && by == compiler
            && age < OLDEST;
        is_fit.then_some((made, entry, age))
    });
    let (_, entry, age) = fit.max_by_key(|(made, ..)| *made)?;
    Some((entry, age))
}

fn number(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Whether an entry of the cache could be put where cargo looks, below `target`. What is damaged goes.
fn take(cache: &Cache, entry: &Path, target: &Path, taken: &Taken) -> bool {
    if taken.is(entry) {
        // It is in place already. Where it is not known that it was of use now, it goes sooner.
        let _ = cache::touch(entry);
        return true;
    }
    let archive = entry.join(ARCHIVE);
    // Nobody replaces it meanwhile.
    let unpacked = cache.lock_shared(KIND).and_then(|_lock| {
        unpack(&archive, target)?;
        taken.add(entry, target)?;
        cache::touch(entry)
    });
    let Err(problem) = unpacked else {
        return true;
    };
    // What is whole is for other clones, whatever hinders this one: a disk without room, say.
    let then = match discard_damaged(cache, entry) {
        Ok(true) => "and making it anew".to_owned(),
        Ok(false) => "it stays where it is".to_owned(),
        Err(problem) => format!("it stays where it is ({problem:#})"),
    };
    say(&format!(
        "cannot use {} ({problem:#}): compiling the dependencies, {then}",
        archive.display()
    ));
    false
}

/// Removes an entry if its archive is damaged. Says whether it was.
fn discard_damaged(cache: &Cache, entry: &Path) -> Result<bool> {
    let _lock = cache.lock(KIND)?;
    // Of now: another run may have made it again.
    let is_damaged = is_damaged(&entry.join(ARCHIVE))?;
    if is_damaged {
        cache::remove(entry)?;
    }
    Ok(is_damaged)
}

/// Whether an archive is not what was packed: it has sums in it.
fn is_damaged(archive: &Path) -> Result<bool> {
    let mut test = Command::new("zstd");
    test.args(["--test", "--quiet"]).arg(archive);
    let tested = test
        .output()
        .with_context(|| format!("cannot start {}", text(&test)))?;
    Ok(!tested.status.success())
}

impl Dependencies {
    /// Keeps them for the next clone, where it would not find them; `linted`, where clippy has looked at all.
    pub(crate) fn keep(&self, linted: bool) {
        let age = match self.found {
            Found::Own => return,
            Found::Cached { linted: had, .. } if had || !linted => return,
            Found::Cached { age, .. } | Found::Part { age } => age,
        };
        let pack = |dir: &Path| {
            fs::write(dir.join(COMPILER), &self.compiler)?;
            fs::write(dir.join(AGE), age.to_string())?;
            pack(dir, linted)
        };
        if let Err(problem) = self.cache.replace(KIND, &self.key, pack) {
            say(&format!(
                "the compiled dependencies are not kept for the next clone: {problem:#}"
            ));
        }
        // Once: where there is no room for them, there is none for the next run's either.
        let _ = fs::remove_file(target().join(UNKEPT));
    }
}

/// Whether cargo has compiled this workspace's own crates here.
fn has_compiled(target: &Path) -> bool {
    let made = fs::read_dir(target.join(PROFILES[0]).join(DIRS[0]));
    let mut made = made.into_iter().flatten().flatten();
    made.any(|entry| entry.file_name().to_string_lossy().starts_with("guard-"))
}

fn compiler() -> Result<String> {
    read(Command::new("rustc").arg("-vV"))
}

/// The compiler, the versions and features, the profile, and what else cargo's fingerprints are made from.
fn key(compiler: &str) -> Result<String> {
    let file = |name: &str| {
        fs::read_to_string(root().join(name)).with_context(|| format!("cannot read {name}"))
    };
    let told: BTreeSet<_> = env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PROFILE_") || ["CARGO_HOME", "RUSTFLAGS"].contains(&&*name)
        })
        .collect();
    cache::key(&[
        compiler.as_bytes().to_vec(),
        of_others(&file("Cargo.lock")?).into_bytes(),
        of_compiling(&file("Cargo.toml")?).into_bytes(),
        format!("{told:?}").into_bytes(),
    ])
}

/// Of a lock file, what does not come from this workspace: that has no source. Its version changes with each release, and
/// what it depends on stays compiled.
fn of_others(lock: &str) -> String {
    let packages = lock.split("[[package]]");
    let others = packages.filter(|package| package.contains("\nsource = "));
    others.collect()
}

/// Of the workspace's manifest, what others' crates are compiled by: neither its version, nor its own crates, nor its lints, nor
/// what only packages are built with, nor a comment.
fn of_compiling(manifest: &str) -> String {
    let mut section = "";
    let lines = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let is_compiling =
            section == "[workspace.dependencies]" || section.starts_with("[profile.");
        let is_own = line.contains("{ path = ");
        is_compiling
            && !is_own
            && !section.starts_with("[profile.dist")
            && !line.starts_with('#')
            && !line.is_empty()
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Unpacks an archive whole, and only then puts what is in it in place.
fn unpack(archive: &Path, target: &Path) -> Result<()> {
    let unfinished = target.join(UNFINISHED);
    cache::remove(&unfinished)?;
    fs::create_dir_all(&unfinished)?;
    // It ends with this run: the next one removes what is unfinished.
    let mut tar = ending_with_us(&compressed("-x", archive, &unfinished)?);
    let unpacked = run(&mut tar).and_then(|()| {
        for place in places() {
            move_into(&unfinished.join(&place), &target.join(&place))?;
        }
        Ok(())
    });
    cache::remove(&unfinished)?;
    unpacked
}

/// Where cargo keeps what it has compiled, below `target`.
fn places() -> impl Iterator<Item = String> {
    let places = |profile| DIRS.map(move |dir| format!("{profile}/{dir}"));
    PROFILES.into_iter().flat_map(places)
}

fn move_into(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        // What this program itself was made of is there already, and what comes is the same.
        if place.is_dir() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(entry.path(), place)?;
    }
    Ok(())
}

/// Makes an archive of all that is not of this workspace.
fn pack(dir: &Path, linted: bool) -> Result<()> {
    let ours = ours()?;
    let mut list = String::new();
    for place in places() {
        for entry in fs::read_dir(target().join(&place)).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !ours.contains(stem(&name)) {
                list.push_str(&format!("{place}/{name}\n"));
            }
        }
    }
    let names = dir.join("names");
    fs::write(&names, list)?;
    let archive = dir.join(ARCHIVE);
    run(compressed("-c", &archive, &target())?
        .arg("--files-from")
        .arg(&names))?;
    if linted {
        fs::write(dir.join(LINTED), "")?;
    }
    Ok(())
}

/// tar with what is fast at packing, and checks what it unpacks.
fn compressed(verb: &str, archive: &Path, dir: &Path) -> Result<Command> {
    ensure!(
        which("zstd").is_some(),
        "zstd is not here: install it with your system's package manager"
    );
    let mut tar = Command::new("tar");
    // With the times as they are: cargo compares them.
    tar.args([verb, "--format=posix", "--use-compress-program=zstd -T0 -3"])
        .arg("-f")
        .arg(archive)
        .arg("-C")
        .arg(dir);
    Ok(tar)
}

/// The names of this workspace's packages and of what is built of them, as they begin the names of files.
fn ours() -> Result<BTreeSet<String>> {
    let metadata = read(cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name_of = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let mut names = BTreeSet::new();
    for package in list(&metadata["packages"]) {
        names.insert(name_of(&package));
        for target in list(&package["targets"]) {
            let name = name_of(&target).replace('-', "_");
            names.insert(format!("lib{name}"));
            names.insert(name);
        }
    }
    Ok(names)
}

/// Of `libserde-0123456789abcdef.rlib`, `libserde`.
fn stem(name: &str) -> &str {
    let name = name.split('.').next().unwrap_or(name);
    match name.rsplit_once('-') {
        Some((stem, hash)) if hash.len() == 16 => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::shell::beside;

    #[test]
    fn what_changes_in_this_workspace_alone_leaves_the_key_alone() {
        let lock = |own: &str, other: &str| {
            format!(
                "version = 4\n\n[[package]]\nname = \"guard-policy\"\nversion = \"{own}\"\n\n[[package]]\nname = \"serde\"\n\
                 version = \"{other}\"\nsource = \"registry\"\n"
            )
        };
        assert_eq!(of_others(&lock("1", "2")), of_others(&lock("3", "2")));
        assert_ne!(of_others(&lock("1", "2")), of_others(&lock("1", "3")));
        let manifest = |own: &str, serde: &str| {
            format!(
                "[workspace.package]\nversion = \"{own}\"\n\n# {own}\n[workspace.dependencies]\nguard-{own} = {{ path = \"{own}\" }}\n\
                 serde = {{ version = \"{serde}\" }}\n\n\
                 [profile.dist]\nlto = \"{own}\"\n\n[profile.dist.package]\nserde.opt-level = \"{own}\"\n"
            )
        };
        let key = |own, serde| of_compiling(&manifest(own, serde));
        assert_eq!(key("1", "2"), key("3", "2"));
        assert_ne!(key("1", "2"), key("1", "3"));
    }

    #[test]
    fn where_the_lock_file_is_another_the_newest_of_the_same_compiler_is_begun_with() -> Result<()>
    {
        let cache = tempfile::tempdir()?;
        let make = |key: &str, by: &str, age: &str, second: u64| -> Result<()> {
            let entry = cache.path().join(key);
            fs::create_dir(&entry)?;
            fs::write(entry.join(COMPILER), by)?;
            fs::write(entry.join(AGE), age)?;
            let time = UNIX_EPOCH + Duration::from_secs(second);
            fs::File::open(&entry)?.set_modified(time)?;
            Ok(())
        };
        assert_eq!(newest(cache.path(), "new"), None);
        make("dependencies-0", "new", "1", 1)?;
        make("dependencies-1", "new", "2", 2)?;
        make("dependencies-2", "old", "0", 3)?;
        make("dependencies-3", "new", "5", 4)?;
        make("dependencies-4", "new", "damaged", 5)?;
        make("tools-5", "new", "0", 6)?;
        let expected = cache.path().join("dependencies-1");
        assert_eq!(newest(cache.path(), "new"), Some((expected, 2)));
        Ok(())
    }

    /// The key of an entry,
    const KEY: &str = "0123456789abcdef";
    /// where its archive has one file, and the text of that.
    const PLACE: &str = "debug/deps/libserde-0123456789abcdef.rlib";
    const TEXT: &str = "compiled";

    /// An entry of a cache with an archive, as [`pack`] makes one.
    fn packed(cache: &Cache) -> Result<PathBuf> {
        packed_with(cache, &[PLACE])
    }

    /// The same with these files.
    fn packed_with(cache: &Cache, places: &[&str]) -> Result<PathBuf> {
        let from = tempfile::tempdir()?;
        for place in places {
            write_below(from.path(), place, TEXT)?;
        }
        cache.replace(KIND, KEY, |dir| {
            run(compressed("-c", &dir.join(ARCHIVE), from.path())?.args(places))
        })
    }

    fn write_below(dir: &Path, place: &str, text: &str) -> Result<()> {
        let file = dir.join(place);
        fs::create_dir_all(file.parent().context("it is in no directory")?)?;
        Ok(fs::write(&file, text)?)
    }

    /// `.ci/restore` in a clone.
    fn script_in(clone: &Path) -> Result<PathBuf> {
        const RESTORE: &str = ".ci/restore";
        let script = clone.join(RESTORE);
        fs::create_dir(script.parent().context("it is in no directory")?)?;
        fs::copy(root().join(RESTORE), &script)?;
        Ok(script)
    }

    /// Runs `.ci/restore` with this cache.
    fn restore_by(script: &Path, cache: &Path) -> Result<()> {
        let mut restore = Command::new("bash");
        read(restore.arg(script).env("GUARD_CACHE", cache)).map(drop)
    }

    #[test]
    fn what_is_in_the_cache_is_put_where_cargo_looks_and_was_of_use_now() -> Result<()> {
        let (dir, target) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let cache = Cache::at(dir.path());
        let entry = packed(&cache)?;
        fs::File::open(&entry)?.set_modified(UNIX_EPOCH)?;
        // A run that was killed has left these.
        let unfinished = target.path().join(UNFINISHED);
        let left = unfinished.join("debug/deps/left");
        fs::create_dir_all(&left)?;
        assert!(take(&cache, &entry, target.path(), &Taken::default()));
        assert_eq!(fs::read_to_string(target.path().join(PLACE))?, TEXT);
        assert!(!unfinished.exists());
        assert!(!target.path().join("debug/deps/left").exists());
        assert_ne!(fs::metadata(&entry)?.modified()?, UNIX_EPOCH);
        Ok(())
    }

    #[test]
    fn what_ci_has_put_in_place_is_not_unpacked_again_while_it_is_there() -> Result<()> {
        let (dir, clone) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let cache = Cache::at(dir.path());
        let entry = packed(&cache)?;
        let script = script_in(clone.path())?;
        let restore = || restore_by(&script, dir.path());
        let target = clone.path().join("target");
        let place = target.join(PLACE);
        // Nobody knows what made it.
        restore()?;
        assert!(!place.exists());
        fs::write(entry.join(COMPILER), compiler()?)?;
        let aged = |age: u32| fs::write(entry.join(AGE), age.to_string());
        aged(OLDEST)?;
        restore()?;
        assert!(!place.exists());
        aged(OLDEST - 1)?;
        // Two runs begin at once.
        let (one, other) = beside(restore, restore);
        one.and(other)?;
        assert_eq!(fs::read_to_string(&place)?, TEXT);
        fs::write(&place, "used")?;
        let taken = Taken::read(&target);
        assert_eq!(taken.age(&cache, None), OLDEST);
        assert!(take(&cache, &entry, &target, &taken));
        assert_eq!(fs::read_to_string(&place)?, "used");
        fs::remove_dir_all(target.join("debug"))?;
        let taken = Taken::read(&target);
        assert!(take(&cache, &entry, &target, &taken));
        assert_eq!(fs::read_to_string(&place)?, TEXT);
        Ok(())
    }

    #[test]
    fn what_ci_had_put_in_place_when_it_was_killed_is_replaced_by_the_next_run() -> Result<()> {
        const OF_KERNEL_HALF: &str = "bpf/release/deps/libaya_ebpf-0123456789abcdef.rlib";
        const LEFT: &str = "bpf/release/deps/left";
        let (dir, clone) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let cache = Cache::at(dir.path());
        let entry = packed_with(&cache, &[PLACE, OF_KERNEL_HALF])?;
        fs::write(entry.join(COMPILER), compiler()?)?;
        fs::write(entry.join(AGE), "0")?;
        // What comes last was not there yet, and what was came out of another archive.
        let target = clone.path().join("target");
        for place in [OF_KERNEL_HALF, LEFT] {
            write_below(&target, place, "old")?;
        }
        restore_by(&script_in(clone.path())?, dir.path())?;
        for place in [PLACE, OF_KERNEL_HALF] {
            assert_eq!(fs::read_to_string(target.join(place))?, TEXT, "{place}");
        }
        assert!(!target.join(LEFT).exists());
        assert!(Taken::read(&target).is(&entry));
        Ok(())
    }

    #[test]
    fn of_two_runs_in_a_clone_one_unpacks_also_where_one_before_was_killed() -> Result<()> {
        let (dir, target) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let cache = Cache::at(dir.path());
        fs::write(packed(&cache)?.join(AGE), "2")?;
        let mut killed = Command::new("flock")
            .arg("--no-fork")
            .arg(target.path().join(LOCK))
            .args(["sh", "-c", "echo locked; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()?;
        let said = killed.stdout.as_mut().context("it says nothing")?;
        said.read_exact(&mut [0; "locked".len()])?;
        killed.kill()?;
        killed.wait()?;
        let begin = || restored(&cache, KEY, "rustc", target.path());
        let (one, other) = beside(begin, begin);
        let found = Found::Cached {
            linted: false,
            age: 2,
        };
        assert_eq!((one?, other?), (found, found));
        assert_eq!(fs::read_to_string(target.path().join(PLACE))?, TEXT);
        assert_eq!(Taken::read(target.path()).0.len(), 1);
        Ok(())
    }

    #[test]
    fn what_was_unpacked_before_makes_the_whole_older() -> Result<()> {
        let (dir, target, clean) = (
            tempfile::tempdir()?,
            tempfile::tempdir()?,
            tempfile::tempdir()?,
        );
        let cache = Cache::at(dir.path());
        fs::write(packed(&cache)?.join(AGE), "0")?;
        let before = cache.path("dependencies-fedcba9876543210");
        fs::create_dir(&before)?;
        fs::write(before.join(AGE), "3")?;
        Taken::default().add(&before, target.path())?;
        let begin = |target: &Path| restored(&cache, KEY, "rustc", target);
        let cached = |age| Found::Cached { linted: false, age };
        // Also for the run behind it, which unpacks nothing.
        for _ in 0..2 {
            assert_eq!(begin(target.path())?, cached(4));
        }
        fs::remove_dir_all(&before)?;
        assert_eq!(begin(target.path())?, cached(OLDEST));
        assert_eq!(begin(clean.path())?, cached(0));
        Ok(())
    }

    #[test]
    fn a_damaged_archive_is_not_used_and_goes() -> Result<()> {
        let harms: [fn(&mut Vec<u8>); 3] = [
            |bytes| bytes.truncate(bytes.len() / 2),
            |bytes| bytes.clear(),
            // The sum is at the end.
            |bytes| *bytes.last_mut().expect("it has bytes") ^= 1,
        ];
        for harm in harms {
            let (dir, target) = (tempfile::tempdir()?, tempfile::tempdir()?);
            let cache = Cache::at(dir.path());
            let entry = packed(&cache)?;
            let archive = entry.join(ARCHIVE);
            let mut bytes = fs::read(&archive)?;
            harm(&mut bytes);
            fs::write(&archive, bytes)?;
            assert!(!take(&cache, &entry, target.path(), &Taken::default()));
            assert!(!entry.exists());
            assert!(!target.path().join("debug").exists());
            assert!(!target.path().join(UNFINISHED).exists());
        }
        Ok(())
    }

    #[test]
    fn what_is_whole_stays_for_others_where_this_clone_has_no_room() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let cache = Cache::at(dir.path());
        let entry = packed(&cache)?;
        // Nothing can be unpacked below a file.
        let target = dir.path().join("file");
        fs::write(&target, "")?;
        assert!(!take(&cache, &entry, &target, &Taken::default()));
        assert!(!is_damaged(&entry.join(ARCHIVE))?);
        Ok(())
    }

    #[test]
    fn what_is_ours_is_told_by_its_name() -> Result<()> {
        let ours = ours()?;
        let is_ours = |name: &str| ours.contains(stem(name));
        for name in [
            "guard-policy-0123456789abcdef",
            "libguard_policy-0123456789abcdef.rlib",
            "guard_policy-0123456789abcdef.d",
            "suites-0123456789abcdef",
            "launch_probe-0123456789abcdef",
            "build_script_build-0123456789abcdef",
            "xtask-0123456789abcdef.1a2b3c.rcgu.o",
        ] {
            assert!(is_ours(name), "{name}");
        }
        for name in [
            "serde-0123456789abcdef",
            "libserde-0123456789abcdef.rmeta",
            "libserde_derive-0123456789abcdef.so",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        Ok(())
    }
}
