//! A socket that sends what one turn of its connection produced in one piece.
//!
//! HTTP/2 flushes after every few frames. With many small answers on one connection that is a
//! system call and a TCP segment for each; gathering them until the connection has nothing left
//! to do halves the server's CPU per request, and the client's. Large writes pass by the buffer:
//! copying them would cost more than the call it saves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes up to this size are gathered.
const GATHER_BYTES_MAX: usize = 16 << 10;

/// A buffer this full is sent without waiting for the end of the turn.
const BUFFER_BYTES_MAX: usize = 64 << 10;

struct Inner<S> {
    socket: S,
    /// What was read ahead to tell the protocol, and must be read again.
    replay: Bytes,
    buffer: BytesMut,
}

/// The corked socket, to be given to the HTTP connection. See [`Corked`].
pub(crate) struct Cork<S> {
    inner: Arc<Mutex<Inner<S>>>,
}

impl<S> Clone for Cork<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Cork<S> {
    /// Corks `socket`; `replay` is read before anything else.
    pub(crate) fn new(socket: S, replay: Bytes) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { socket, replay, buffer: BytesMut::new() })) }
    }

    fn poll_uncork(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.lock();
        ready!(inner.poll_send(cx))?;
        // A secured socket takes more than it can send, and has to be reminded of the rest.
        Pin::new(&mut inner.socket).poll_flush(cx)
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.buffer))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cork<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.inner.lock();
        if inner.replay.has_remaining() {
            let count = inner.replay.len().min(into.remaining());
            into.put_slice(&inner.replay.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut inner.socket).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.inner.lock();
        if inner.buffer.len() + data.len() > BUFFER_BYTES_MAX || data.len() > GATHER_BYTES_MAX {
            ready!(inner.poll_send(cx))?;
        }
        if data.len() > GATHER_BYTES_MAX {
            return Pin::new(&mut inner.socket).poll_write(cx, data);
        }
        inner.buffer.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    /// Does nothing: [`Corked`] sends when the connection has nothing left to do.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.lock();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.socket).poll_shutdown(cx)
    }

    /// Never vectored: HTTP/2 would otherwise send each payload apart from its header.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

/// A connection and its cork: runs the connection, then sends what it has written.
pub(crate) struct Corked<F, S> {
    connection: Pin<Box<F>>,
    cork: Cork<S>,
}

/// Why a connection ended early.
pub(crate) type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl<F, S> Corked<F, S> {
    pub(crate) fn new(connection: F, cork: Cork<S>) -> Self {
        Self { connection: Box::pin(connection), cork }
    }

    pub(crate) fn connection(&mut self) -> Pin<&mut F> {
        self.connection.as_mut()
    }
}

impl<F, S, E> Future for Corked<F, S>
where
    F: Future<Output = Result<(), E>>,
    S: AsyncRead + AsyncWrite + Unpin,
    E: Into<ConnectionError>,
{
    type Output = Result<(), ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = self.connection.as_mut().poll(cx);
        // A full socket leaves the rest in the buffer and wakes this task when it has room; a
        // full buffer stops the connection's writes until then.
        if let Poll::Ready(Err(error)) = self.cork.poll_uncork(cx) {
            return Poll::Ready(Err(error.into()));
        }
        done.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Keeps what is written until it is flushed, as a secured socket may.
    #[derive(Default)]
    struct Keeper {
        kept: Vec<u8>,
        sent: Arc<Mutex<Vec<u8>>>,
    }

    impl AsyncRead for Keeper {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Keeper {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(data);
            Poll::Ready(Ok(data.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let kept = std::mem::take(&mut self.kept);
            self.sent.lock().extend(kept);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_a_turn_wrote_is_sent_at_its_end_and_small_pieces_together() {
        for size in [10, GATHER_BYTES_MAX + 1] {
            let socket = Keeper::default();
            let sent = Arc::clone(&socket.sent);
            let cork = Cork::new(socket, Bytes::new());
            let looked = Arc::clone(&sent);
            let mut writes = cork.clone();
            let connection = async move {
                for _ in 0..3 {
                    writes.write_all(&vec![1; size]).await?;
                    writes.flush().await?;
                    assert!(looked.lock().is_empty(), "the turn has not ended");
                }
                std::future::pending::<io::Result<()>>().await
            };
            let mut corked = Corked::new(connection, cork);
            assert!((&mut corked).now_or_never().is_none());
            assert_eq!(sent.lock().len(), 3 * size);
        }
    }
}
