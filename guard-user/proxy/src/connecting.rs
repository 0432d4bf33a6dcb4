//! A connection attempt.

use std::{
    fmt,
    future::{pending, ready},
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{net::TcpStream, sync::Mutex};

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// An attempt that has begun, and goes on when it is awaited: the kernel does the handshake by itself. It is no task: a task
/// would begin after all that is ready to run, so the destination would be contacted later.
pub(super) struct Connecting(Mutex<Attempt>);

impl Connecting {
    /// Does all of it that needs no waiting.
    pub(super) fn begin(attempt: impl Future<Output = io::Result<TcpStream>> + 'static) -> Self {
        let mut attempt: Attempt = Box::pin(attempt);
        // A later poll sets the waker.
        let polled = attempt
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(done) = polled {
            attempt = Box::pin(ready(done));
        }
        Self(Mutex::new(attempt))
    }

    /// Waits for its end, once. A waiter may stop before that, and another one goes on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) async fn ended(&self) -> io::Result<TcpStream> {
        let mut attempt = self.0.lock().await;
        let ended = (&mut *attempt).await;
        // Frees what the attempt used.
        *attempt = Box::pin(pending());
        ended
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn it_begins_before_anybody_waits_and_outlasts_who_stops_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let connecting = Connecting::begin(async move { TcpSocket::new_v4()?.connect(to).await });
        let (_destination, from) = listener.accept().unwrap();
        let mut impatient = Box::pin(connecting.ended());
        let mut context = Context::from_waker(Waker::noop());
        assert!(impatient.as_mut().poll(&mut context).is_pending());
        drop(impatient);
        let stream = connecting.ended().await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), from);
    }

    #[tokio::test]
    async fn what_fails_at_once_is_told_to_who_waits_later() {
        let refused = || Err(io::ErrorKind::ConnectionRefused.into());
        let connecting = Connecting::begin(ready(refused()));
        let error = connecting.ended().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
