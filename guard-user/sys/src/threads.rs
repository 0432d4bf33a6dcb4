//! Work on threads of their own, also where the system may have none left.

use std::{io, thread};

use tokio::sync::oneshot;

/// Work, as a thread takes it.
type Work = Box<dyn FnOnce() + Send>;

/// Runs work that takes long on a thread of its own, so that the calling one goes on. tokio's `spawn_blocking` panics where no
/// thread can begin (`TasksMax=` of a unit, `pids.max` of a cgroup, `RLIMIT_NPROC`).
///
/// # Errors
///
/// No thread could begin, or the work has panicked.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    run_by(begin, work).await
}

/// Whether that is the system's word that it has no thread left.
#[must_use]
pub fn are_used_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
    )
}

fn begin(work: Work) -> io::Result<()> {
    let begun = thread::Builder::new().spawn(work);
    begun
        .map(drop)
        .map_err(|error| io::Error::new(error.kind(), format!("no thread can begin: {error}")))
}

async fn run_by<T: Send + 'static>(
    begin: impl FnOnce(Work) -> io::Result<()>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    begin(Box::new(move || {
        // The caller that waits may have gone.
        let _ = tell.send(work());
    }))?;
    told.await
        .map_err(|_| io::Error::other("the work has ended before it was done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(future)
    }

    #[test]
    fn work_is_done_on_another_thread() {
        let own = thread::current().id();
        let other = block_on(run(|| thread::current().id())).unwrap();
        assert_ne!(other, own);
    }

    #[test]
    fn where_no_thread_can_begin_that_is_an_error_and_no_panic() {
        let none = |_: Work| Err(io::Error::from(io::ErrorKind::WouldBlock));
        let error = block_on(run_by(none, || 1)).unwrap_err();
        assert!(are_used_up(&error), "{error}");
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let error = block_on(run::<u8>(|| panic!("on purpose"))).unwrap_err();
        assert!(!are_used_up(&error), "{error}");
    }
}
