//! Reading what another process may keep from being read. For `/proc/PID/cmdline` the kernel takes the lock of that process' memory
//! (`mmap_lock`), and a thread of it may hold that for as long as it likes, as while it waits for a file system of its own (FUSE).

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long is waited in all of each [`TURN`]: whoever reads has nothing else done meanwhile. What takes less than [`NOTHING`] does not
/// count.
const PATIENCE: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_secs(60);
const NOTHING: Duration = Duration::from_millis(1);
/// So many threads may wait for ever: then nothing is read until one comes back.
const MOST: usize = 8;

/// Reads for one kind of processes: those that keep it waiting keep it from reading others of that kind only.
#[derive(Default)]
pub struct Patient(Mutex<Reader>);

/// Who reads.
#[derive(Default)]
struct Reader {
    jobs: Option<Sender<Job>>,
    /// When the turn began, and what was waited in it.
    turn: Option<Instant>,
    waited: Duration,
    /// Threads that wait for what nobody waits for any more.
    stuck: Arc<AtomicUsize>,
}

struct Job {
    path: PathBuf,
    most: u64,
    state: Arc<AtomicU8>,
    tell: Sender<io::Result<Vec<u8>>>,
}

const ASKED: u8 = 0;
const DONE: u8 = 1;
const ABANDONED: u8 = 2;

impl Patient {
    /// Reads a file, and no more than `most` bytes of it.
    ///
    /// # Errors
    ///
    /// The system's; `TimedOut` where it would take longer, with what was waited in the same minute, than a second.
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut reader = self.0.lock().map_err(|_| io::ErrorKind::TimedOut)?;
        reader.read(path, most)
    }
}

impl Reader {
    fn read(&mut self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let began = Instant::now();
        if self.turn.is_none_or(|turn| turn + TURN <= began) {
            (self.turn, self.waited) = (Some(began), Duration::ZERO);
        }
        let left = PATIENCE.saturating_sub(self.waited);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = self.read_within(left, path, most);
        let took = began.elapsed();
        if took >= NOTHING {
            self.waited += took;
        }
        read
    }

    fn read_within(&mut self, left: Duration, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let (tell, told) = channel();
        let state = Arc::new(AtomicU8::new(ASKED));
        let job = Job {
            path: path.to_owned(),
            most,
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

    fn jobs(&mut self) -> io::Result<&Sender<Job>> {
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
    fn abandon(
        &mut self,
        state: &AtomicU8,
        told: &Receiver<io::Result<Vec<u8>>>,
    ) -> io::Result<Vec<u8>> {
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

fn work(to_do: &Receiver<Job>, stuck: &AtomicUsize) {
    while let Ok(job) = to_do.recv() {
        let read = read_now(&job.path, job.most);
        let state = &job.state;
        let done = state.compare_exchange(ASKED, DONE, Ordering::AcqRel, Ordering::Acquire);
        if done.is_err() {
            stuck.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let _ = job.tell.send(read);
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

    fn is_waited_for(read: &io::Result<Vec<u8>>) -> bool {
        let kind = read.as_ref().err().map(io::Error::kind);
        kind != Some(io::ErrorKind::TimedOut)
    }

    fn next_turn(reader: &mut Reader) {
        reader.turn = None;
    }

    #[test]
    fn what_is_kept_from_being_read_is_waited_for_a_while_and_no_longer() {
        let mut reader = Reader::default();
        let own = Path::new("/proc/self/cmdline");
        assert_eq!(reader.read(own, 4).unwrap().len(), 4);
        let none = reader.read(Path::new("/proc/self/none"), 4).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
        let dir = tempfile::tempdir().unwrap();
        let pipe = pipe_in(dir.path());
        for _ in 0..MOST {
            assert!(!is_waited_for(&reader.read(&pipe, 4)));
            // All that may be waited in this turn was.
            assert!(!is_waited_for(&reader.read(own, 4)));
            next_turn(&mut reader);
        }
        let begins = Instant::now();
        assert!(!is_waited_for(&reader.read(own, 4)), "too many wait");
        assert!(begins.elapsed() < PATIENCE);
        while reader.stuck.load(Ordering::Acquire) > 0 {
            // Whoever has opened it meanwhile reads to its end. Nobody may have.
            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let mut options = std::fs::OpenOptions::new();
            let _ = options.write(true).custom_flags(flags).open(&pipe);
            thread::sleep(Duration::from_millis(5));
        }
        next_turn(&mut reader);
        assert_eq!(reader.read(own, 4).unwrap().len(), 4);
    }

    #[test]
    fn what_is_slow_each_time_uses_up_the_turn() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = pipe_in(dir.path());
        let to = pipe.clone();
        let writer = thread::spawn(move || {
            for _ in 1..4 {
                // Whoever opens a pipe waits for the other side to do so.
                let mut pipe = std::fs::OpenOptions::new().write(true).open(&to).unwrap();
                thread::sleep(NOTHING * 5);
                io::Write::write_all(&mut pipe, b"abc").unwrap();
            }
        });
        let mut reader = Reader::default();
        for times in 1..4 {
            assert_eq!(reader.read(&pipe, 3).unwrap(), b"abc");
            assert!(reader.waited >= NOTHING * 5 * times);
        }
        writer.join().unwrap();
        reader.waited = PATIENCE;
        assert!(!is_waited_for(&reader.read(&pipe, 4)));
    }

    fn pipe_in(dir: &Path) -> PathBuf {
        let pipe = dir.join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        pipe
    }
}
