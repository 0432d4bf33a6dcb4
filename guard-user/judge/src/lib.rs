//! What judges requests and statements, pure: whether bytes have one reading as HTTP/1 ([`sieve`]), whether an HTTP request is a
//! read ([`http`]), which words of a command line are secrets ([`command_line`]), and, with the feature `sql`, whether a statement for PostgreSQL is ([`sql`]).

/// Implements [`AsyncWrite`](tokio::io::AsyncWrite) for a wrapper: its field `io` gets what is written, unchanged.
#[macro_export]
macro_rules! write_through {
    ($wrapper:ident) => {
        impl<T: ::tokio::io::AsyncWrite + Unpin> ::tokio::io::AsyncWrite for $wrapper<T> {
            fn poll_write(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
                buf: &[u8],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                let io = ::std::pin::Pin::new(&mut self.io);
                ::tokio::io::AsyncWrite::poll_write(io, cx, buf)
            }

            fn poll_write_vectored(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
                bufs: &[::std::io::IoSlice<'_>],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                let io = ::std::pin::Pin::new(&mut self.io);
                ::tokio::io::AsyncWrite::poll_write_vectored(io, cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                ::tokio::io::AsyncWrite::is_write_vectored(&self.io)
            }

            fn poll_flush(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                let io = ::std::pin::Pin::new(&mut self.io);
                ::tokio::io::AsyncWrite::poll_flush(io, cx)
            }

            fn poll_shutdown(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                let io = ::std::pin::Pin::new(&mut self.io);
                ::tokio::io::AsyncWrite::poll_shutdown(io, cx)
            }
        }
    };
}

pub mod command_line;
pub mod http;
mod ordinary;
pub mod sieve;
#[cfg(feature = "sql")]
pub mod sql;

pub use ordinary::is_ordinary;
