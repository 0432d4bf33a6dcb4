//! Reading what another process may keep from being read. `/proc/PID/cmdline` is a part of its memory, and it may have whoever
//! looks at that wait for ever: its memory may be a file of a file system of its own.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long is waited for it; and how long for [`WARY`] after that was in vain.
const PATIENCE: Duration = Duration::from_secs(1);
const LITTLE: Duration = Duration::from_millis(100);
const WARY: Duration = Duration::from_secs(60);
/// So many threads may wait for ever: then nothing is read until one comes back.
const MOST: usize = 8;

static READER: LazyLock<Mutex<Reader>> = LazyLock::new(Mutex::default);

/// Who reads.
#[derive(Default)]
struct Reader {
    jobs: Option<Sender<Job>>,
    in_vain: Option<Instant>,
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

/// Reads a file, and no more than `most` bytes of it.
///
/// # Errors
///
/// The system's; `TimedOut` where it takes longer than a second.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut reader = READER.lock().map_err(|_| io::ErrorKind::TimedOut)?;
    reader.read(path, most)
}

impl Reader {
    fn read(&mut self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
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
        let is_wary = self.in_vain.is_some_and(|then| then.elapsed() < WARY);
        match told.recv_timeout(if is_wary { LITTLE } else { PATIENCE }) {
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
        self.in_vain = Some(Instant::now());
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
    use super::*;

    #[test]
    fn what_is_kept_from_being_read_is_waited_for_a_while_and_no_longer() {
        let mut reader = Reader::default();
        let own = Path::new("/proc/self/cmdline");
        assert_eq!(reader.read(own, 4).unwrap().len(), 4);
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for _ in 0..MOST {
            assert_eq!(
                reader.read(&pipe, 4).unwrap_err().kind(),
                io::ErrorKind::TimedOut
            );
        }
        assert_eq!(
            reader.read(own, 4).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        std::fs::write(&pipe, "abc").unwrap();
        while reader.stuck.load(Ordering::Acquire) > 0 {
            // Whoever has opened it meanwhile reads to its end.
            let _ = std::fs::OpenOptions::new().write(true).open(&pipe);
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(reader.read(own, 4).unwrap().len(), 4);
        assert_eq!(
            reader
                .read(Path::new("/proc/self/none"), 4)
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }
}
