//! The cache, with real directories and other processes.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, ChildStderr};

use super::*;

const KIND: &str = "thing";
const ONE: &str = "0123456789abcdef";
const OTHER: &str = "fedcba9876543210";
/// What is in an entry.
const FILES: [&str; 2] = ["first", "below/second"];
/// The variables by which this program, started once more, is told that it is another run: what that does, and in which cache.
const PART: &str = "GUARD_TEST_PART";
const DIR_OF_IT: &str = "GUARD_TEST_CACHE";

/// What another run does, where this is one.
#[test]
fn another_run() -> Result<()> {
    let (Some(part), Some(dir)) = (env::var_os(PART), env::var_os(DIR_OF_IT)) else {
        return Ok(());
    };
    let dir = PathBuf::from(dir);
    let cache = Cache::at(&dir);
    match part.to_str().unwrap_or_default() {
        "make" => cache.entry(KIND, ONE, fill_slowly).map(|_| ()),
        "replace" => cache.replace(KIND, ONE, fill_slowly).map(|_| ()),
        "read" => {
            let _lock = cache.lock_shared(KIND)?;
            holds(&entry(&cache, ONE), "slow")
        }
        "find" => find_in(Some(&dir.join("file/cache")), &dir.join("own")).map(|_| ()),
        other => anyhow::bail!("a run does not {other}"),
    }
}

/// Says that it has begun, and goes on once it is told to.
fn fill_slowly(dir: &Path) -> Result<()> {
    fs::write(dir.join("half"), "half")?;
    say("begun");
    let told = io::stdin().lines().next();
    told.context("nobody told it to go on")??;
    fs::remove_file(dir.join("half"))?;
    fill(dir, "slow")
}

fn fill(dir: &Path, text: &str) -> Result<()> {
    fs::create_dir(dir.join("below"))?;
    for file in FILES {
        fs::write(dir.join(file), text)?;
    }
    Ok(())
}

/// Whether all of an entry has that text.
fn holds(entry: &Path, text: &str) -> Result<()> {
    for file in FILES {
        let is = fs::read_to_string(entry.join(file)).with_context(|| file.to_owned())?;
        ensure!(is == text, "{file} is {is:?}");
    }
    Ok(())
}

fn entry(cache: &Cache, key: &str) -> PathBuf {
    cache.path(&format!("{KIND}-{key}"))
}

/// The entry, and whether it had to be made.
fn obtain(cache: &Cache, key: &str) -> Result<(PathBuf, bool)> {
    let mut is_new = false;
    let entry = cache.entry(KIND, key, |dir| {
        is_new = true;
        fill(dir, "new")
    })?;
    Ok((entry, is_new))
}

/// Has an entry look as if nobody had used it for too long.
fn age(entry: &Path) -> Result<()> {
    let long_ago = SystemTime::now() - STALE - Duration::from_secs(60);
    Ok(File::open(entry)?.set_modified(long_ago)?)
}

/// Another run. It is killed on drop.
struct OtherRun {
    process: Child,
    stderr: BufReader<ChildStderr>,
}

impl OtherRun {
    fn start(cache: &Path, part: &str) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--exact", "cache::tests::another_run"])
            .env("RUST_TEST_NOCAPTURE", "1")
            .env(PART, part)
            .env(DIR_OF_IT, cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().context("it has no stderr")?;
        Ok(Self {
            process,
            stderr: BufReader::new(stderr),
        })
    }

    /// Waits until it says that.
    fn says(&mut self, what: &str) -> Result<()> {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            let read = self.stderr.read_line(&mut line)?;
            ensure!(read > 0, "it ended, and did not say {what:?}");
        }
        Ok(())
    }

    fn goes_on(&mut self) -> Result<()> {
        let stdin = self.process.stdin.as_mut().context("it has no stdin")?;
        Ok(writeln!(stdin, "go on")?)
    }

    /// Waits for it. It is not told to go on any more.
    fn succeeds(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "it failed ({status})");
        Ok(())
    }

    fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for OtherRun {
    fn drop(&mut self) {
        // Most have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_is_damaged_is_made_anew() -> Result<()> {
    type Harm = (&'static str, fn(&Path) -> Result<()>);
    let harms: [Harm; 5] = [
        ("below/second has 1 bytes in place of 3", |entry| {
            let file = File::options().write(true).open(entry.join(FILES[1]))?;
            Ok(file.set_len(1)?)
        }),
        ("first is missing", |entry| {
            Ok(fs::remove_file(entry.join(FILES[0]))?)
        }),
        ("has no lengths.json", |entry| {
            Ok(fs::remove_file(entry.join(LENGTHS))?)
        }),
        ("has no lengths.json", |entry| {
            Ok(fs::write(entry.join(LENGTHS), "{")?)
        }),
        ("cannot look through", |entry| {
            fs::remove_dir_all(entry)?;
            Ok(fs::write(entry, "")?)
        }),
    ];
    let dir = tempfile::tempdir()?;
    let cache = Cache::at(dir.path());
    assert!(obtain(&cache, ONE)?.1);
    for (expected, harm) in harms {
        let entry = entry(&cache, ONE);
        harm(&entry)?;
        let why = damage(&entry).context("nothing is wrong with it")?;
        assert!(why.contains(expected), "{why}");
        assert!(obtain(&cache, ONE)?.1, "{why}");
        holds(&entry, "new")?;
        assert!(!obtain(&cache, ONE)?.1, "{why}");
    }
    Ok(())
}

#[test]
fn that_something_is_damaged_is_said() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (entry, _) = obtain(&Cache::at(dir.path()), ONE)?;
    fs::remove_file(entry.join(FILES[0]))?;
    let mut run = OtherRun::start(dir.path(), "make")?;
    run.says("is damaged (first is missing): making it anew")?;
    run.goes_on()?;
    run.succeeds()?;
    holds(&entry, "slow")
}

#[test]
fn two_runs_at_once_make_it_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = OtherRun::start(dir.path(), "make")?;
    first.says("begun")?;
    let mut second = OtherRun::start(dir.path(), "make")?;
    second.says("waiting for another run that makes thing")?;
    first.goes_on()?;
    first.succeeds()?;
    // Who made it once more would wait to be told to go on, and fail.
    second.succeeds()?;
    holds(&entry(&Cache::at(dir.path()), ONE), "slow")
}

#[test]
fn who_reads_while_another_replaces_has_the_old_or_the_new() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = Cache::at(dir.path());
    let (entry, _) = obtain(&cache, ONE)?;
    {
        // Who reads keeps nobody from reading.
        let _one = cache.lock_shared(KIND)?;
        let _other = cache.lock_shared(KIND)?;
    }
    let mut writer = OtherRun::start(dir.path(), "replace")?;
    writer.says("begun")?;
    holds(&entry, "new")?;
    let mut reader = OtherRun::start(dir.path(), "read")?;
    reader.says("waiting for another run that makes thing")?;
    writer.goes_on()?;
    writer.succeeds()?;
    reader.succeeds()
}

#[test]
fn what_a_killed_run_has_begun_goes_with_the_next() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = Cache::at(dir.path());
    obtain(&cache, OTHER)?;
    let mut killed = OtherRun::start(dir.path(), "make")?;
    killed.says("begun")?;
    killed.kill()?;
    assert!(cache.unfinished(KIND).join("half").exists());
    assert!(!entry(&cache, ONE).exists());
    // Also where the next wants nothing that is new.
    assert!(!obtain(&cache, OTHER)?.1);
    assert!(!cache.unfinished(KIND).exists());
    let (entry, is_new) = obtain(&cache, ONE)?;
    assert!(is_new);
    holds(&entry, "new")
}

#[test]
fn a_full_disk_keeps_what_was_there_and_gets_its_room_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = Cache::at(dir.path());
    let fill_the_disk = |dir: &Path| -> Result<()> {
        fs::write(dir.join("much"), [0; 4096])?;
        Ok(fs::write("/dev/full", "more")?)
    };
    let failed = [
        cache.entry(KIND, OTHER, fill_the_disk),
        obtain(&cache, ONE).and_then(|_| cache.replace(KIND, ONE, fill_the_disk)),
    ];
    for failed in failed {
        let problem = format!("{:#}", failed.unwrap_err());
        assert!(problem.contains("No space left on device"), "{problem}");
    }
    assert!(!cache.unfinished(KIND).exists());
    assert!(!entry(&cache, OTHER).exists());
    holds(&entry(&cache, ONE), "new")
}

#[test]
fn what_nobody_used_for_long_goes_and_nothing_else() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = Cache::at(dir.path());
    let (used, _) = obtain(&cache, ONE)?;
    let (unused, _) = obtain(&cache, OTHER)?;
    let of_another_kind = cache.path(&format!("{KIND}-more-{ONE}"));
    fs::create_dir(&of_another_kind)?;
    for entry in [&used, &unused, &of_another_kind] {
        age(entry)?;
    }
    obtain(&cache, ONE)?;
    assert!(used.exists());
    assert!(!unused.exists());
    assert!(of_another_kind.exists());
    // Its time is that of its last use.
    assert!(fs::metadata(&used)?.modified()?.elapsed()? < STALE);
    Ok(())
}

#[test]
fn where_none_can_be_written_to_it_is_in_the_clone_and_that_is_said() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = fs::canonicalize(dir.path())?;
    let (own, new) = (dir.join("own"), dir.join("new/cache"));
    assert_eq!(find_in(Some(&new), &own)?, new);
    assert!(!own.exists());
    // Below a file nobody makes a directory, root neither.
    fs::write(dir.join("file"), "")?;
    let mut run = OtherRun::start(&dir, "find")?;
    run.says(&format!(
        "caching in {} instead; set GUARD_CACHE",
        own.display()
    ))?;
    run.succeeds()?;
    assert!(own.is_dir());
    assert_eq!(find_in(None, &own)?, own);
    Ok(())
}
