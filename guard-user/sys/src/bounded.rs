//! Reading what another process may keep from being read, for a bounded time. For `/proc/PID/cmdline` the kernel takes the lock of that process' memory
//! (`mmap_lock`), and a thread of it may hold that for as long as it likes, as while it waits for a file system of its own (FUSE).

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// What is waited counts for so long; what takes less than [`NOTHING`] does not count.
const TURN: Duration = Duration::from_secs(60);
const NOTHING: Duration = Duration::from_millis(1);
/// How long is waited at once, where nothing else is done meanwhile; and mostly in all of each turn.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// Limit of the threads that may wait for ever: then nothing is read until one comes back.
const MOST: usize = 8;

/// Reads for one kind of processes: those that keep it waiting keep it from reading others of that kind only.
pub struct BoundedReader<T>(Mutex<ReadingThread<T>>);

/// A thread that reads.
struct ReadingThread<T> {
    /// How long it waits in a turn.
    budget: Duration,
    jobs: Option<Sender<Job<T>>>,
    /// When the turn began, and what was waited in it.
    turn: Option<Instant>,
    waited: Duration,
    /// Threads that wait for what nobody waits for any more.
    stuck: Arc<AtomicUsize>,
}

type Look<T> = Box<dyn FnOnce() -> io::Result<T> + Send>;

struct Job<T> {
    look: Look<T>,
    state: Arc<AtomicU8>,
    tell: Sender<io::Result<T>>,
}

const ASKED: u8 = 0;
const DONE: u8 = 1;
const ABANDONED: u8 = 2;

impl<T: Send + 'static> BoundedReader<T> {
    /// One that waits so long in each minute.
    #[must_use]
    pub fn waiting(budget: Duration) -> Self {
        Self(Mutex::new(ReadingThread::waiting(budget)))
    }

    /// What `look` finds.
    ///
    /// # Errors
    ///
    /// Its own; `TimedOut` where it would take longer, with what was waited in the same minute, than it may.
    pub fn look(&self, look: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let mut reader = self.0.lock().map_err(|_| io::ErrorKind::TimedOut)?;
        reader.look(Box::new(look))
    }
}

impl BoundedReader<Vec<u8>> {
    /// Reads a file, and no more than `most` bytes of it.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::look`].
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        self.look(move || read_now(&path, most))
    }
}

impl<T: Send + 'static> ReadingThread<T> {
    fn waiting(budget: Duration) -> Self {
        Self {
            budget,
            jobs: None,
            turn: None,
            waited: Duration::ZERO,
            stuck: Arc::default(),
        }
    }

    fn look(&mut self, look: Look<T>) -> io::Result<T> {
        let began = Instant::now();
        if self.turn.is_none_or(|turn| turn + TURN <= began) {
            (self.turn, self.waited) = (Some(began), Duration::ZERO);
        }
        let left = self.budget.saturating_sub(self.waited);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let found = self.look_within(left.min(TIMEOUT), look);
        let took = began.elapsed();
        if took >= NOTHING {
            self.waited += took;
        }
        found
    }

    fn look_within(&mut self, left: Duration, look: Look<T>) -> io::Result<T> {
        let (tell, told) = channel();
        let state = Arc::new(AtomicU8::new(ASKED));
        let job = Job {
            look,
            state: Arc::clone(&state),
            tell,
        };
        let jobs = self.jobs()?;
        jobs.send(job).map_err(|_| io::ErrorKind::TimedOut)?;
        match told.recv_timeout(left) {
            Ok(read) => read,
            Err(_) => self.abandon(&state, &told),
        }
    }

    fn jobs(&mut self) -> io::Result<&Sender<Job<T>>> {
        if self.jobs.is_none() && self.stuck.load(Ordering::Acquire) >= MOST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.jobs.is_none() {
            let (jobs, to_do) = channel();
            let stuck = Arc::clone(&self.stuck);
            thread::Builder::new()
                .name("guardd-reads".to_owned())
                .spawn(move || work(&to_do, &stuck))?;
            self.jobs = Some(jobs);
        }
        self.jobs
            .as_ref()
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Leaves a thread to what it waits for, unless it is through in this moment.
    fn abandon(&mut self, state: &AtomicU8, told: &Receiver<io::Result<T>>) -> io::Result<T> {
        self.stuck.fetch_add(1, Ordering::AcqRel);
        let left = state.compare_exchange(ASKED, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        if left.is_err() {
            self.stuck.fetch_sub(1, Ordering::AcqRel);
            return told.recv().map_err(|_| io::ErrorKind::TimedOut)?;
        }
        self.jobs = None;
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn work<T>(to_do: &Receiver<Job<T>>, stuck: &AtomicUsize) {
    while let Ok(job) = to_do.recv() {
        let found = (job.look)();
        let state = &job.state;
        let done = state.compare_exchange(ASKED, DONE, Ordering::AcqRel, Ordering::Acquire);
        if done.is_err() {
            stuck.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let _ = job.tell.send(found);
    }
}

fn read_now(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    fn reader() -> ReadingThread<Vec<u8>> {
        ReadingThread::waiting(TIMEOUT)
    }

    fn read(reader: &mut ReadingThread<Vec<u8>>, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        reader.look(Box::new(move || read_now(&path, most)))
    }

    fn is_waited_for(read: &io::Result<Vec<u8>>) -> bool {
        let kind = read.as_ref().err().map(io::Error::kind);
        kind != Some(io::ErrorKind::TimedOut)
    }

    /// Reads until that is not kept waiting by a machine that stands still.
    fn read_at_last(
        reader: &mut ReadingThread<Vec<u8>>,
        path: &Path,
        most: u64,
    ) -> io::Result<Vec<u8>> {
        loop {
            let read = read(reader, path, most);
            if is_waited_for(&read) {
                return read;
            }
            next_turn(reader);
        }
    }

    fn next_turn(reader: &mut ReadingThread<Vec<u8>>) {
        reader.turn = None;
    }

    #[test]
    fn what_is_kept_from_being_read_is_waited_for_a_while_and_no_longer() {
        let mut reader = reader();
        let own = Path::new("/proc/self/cmdline");
        assert_eq!(read_at_last(&mut reader, own, 4).unwrap().len(), 4);
        let none = read_at_last(&mut reader, Path::new("/proc/self/none"), 4).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
        let dir = tempfile::tempdir().unwrap();
        let pipe = pipe_in(dir.path(), "pipe");
        for _ in 0..MOST {
            assert!(!is_waited_for(&read(&mut reader, &pipe, 4)));
            // All that may be waited in this turn was.
            assert!(!is_waited_for(&read(&mut reader, own, 4)));
            next_turn(&mut reader);
        }
        assert!(!is_waited_for(&read(&mut reader, own, 4)), "too many wait");
        assert!(reader.jobs.is_none(), "nobody was asked to read it");
        while reader.stuck.load(Ordering::Acquire) > 0 {
            // Whoever has opened it meanwhile reads to its end. Nobody may have.
            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let mut options = std::fs::OpenOptions::new();
            let _ = options.write(true).custom_flags(flags).open(&pipe);
            thread::sleep(Duration::from_millis(5));
        }
        next_turn(&mut reader);
        assert_eq!(read_at_last(&mut reader, own, 4).unwrap().len(), 4);
    }

    #[test]
    fn what_is_slow_each_time_uses_up_the_turn() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = reader();
        for name in ["one", "two", "three"] {
            let pipe = pipe_in(dir.path(), name);
            let to = pipe.clone();
            let writer = thread::spawn(move || {
                // A process that opens a pipe waits for the other side to do so.
                let mut pipe = std::fs::OpenOptions::new().write(true).open(to).unwrap();
                thread::sleep(NOTHING * 5);
                io::Write::write_all(&mut pipe, b"abc").unwrap();
            });
            let before = reader.waited;
            assert_eq!(read(&mut reader, &pipe, 4).unwrap(), b"abc");
            assert!(reader.waited > before);
            writer.join().unwrap();
        }
        reader.waited = TIMEOUT;
        assert!(!is_waited_for(&read(
            &mut reader,
            Path::new("/proc/self/cmdline"),
            4
        )));
    }

    fn pipe_in(dir: &Path, name: &str) -> std::path::PathBuf {
        let pipe = dir.join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        pipe
    }
}
