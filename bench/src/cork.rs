//! Gathers small writes: a connection's frames leave in one system call per turn of its task.
//!
//! HTTP/2 libraries write frame by frame when the socket offers vectored writes. Here all writes go
//! to a buffer, and [`Corked`], which polls the connection, empties it once the connection has
//! nothing more to do. Whoever polls a [`Cork`] without its [`Corked`] never sends anything.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What may wait in the buffer. Past it, and for single writes past it, copying costs more than
/// the system calls it saves.
const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Inner {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Inner {
    /// Writes the buffer out; pending when the socket is full.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

/// The socket as the connection sees it.
#[derive(Debug)]
pub struct Cork(Rc<RefCell<Inner>>);

/// A connection and the socket below it, flushed whenever the connection rests.
#[derive(Debug)]
pub struct Corked<F> {
    connection: F,
    socket: Rc<RefCell<Inner>>,
}

impl Cork {
    /// Wraps a socket and switches Nagle's algorithm off: waiting is done here and nowhere else.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let buffer = BytesMut::with_capacity(4096);
        Ok(Self(Rc::new(RefCell::new(Inner { stream, buffer }))))
    }

    /// Handle that the connection's future is wrapped with later.
    pub fn handle(&self) -> Handle {
        Handle(Rc::clone(&self.0))
    }
}

/// Second hand on a corked socket.
#[derive(Debug)]
pub struct Handle(Rc<RefCell<Inner>>);

impl Handle {
    /// The connection's future, with the flush behind each of its polls.
    pub fn drive<F: Future + Unpin>(self, connection: F) -> Corked<F> {
        Corked { connection, socket: self.0 }
    }
}

impl<F: Future + Unpin> Future for Corked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outcome = Pin::new(&mut self.connection).poll(cx);
        // A write error shows again on the connection's next read, which reports it; a full socket
        // has left our waker with it.
        let drained = self.socket.borrow_mut().drain(cx);
        if let Poll::Ready(Err(_)) = drained {
            self.socket.borrow_mut().buffer.clear();
        }
        outcome
    }
}

impl AsyncRead for Cork {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cork {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if inner.buffer.len() + bytes.len() > BUFFER_BYTES {
            ready!(inner.drain(cx))?;
        }
        if bytes.len() > BUFFER_BYTES {
            return Pin::new(&mut inner.stream).poll_write(cx, bytes);
        }
        inner.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Corked empties the buffer when the turn is over.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.drain(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}
