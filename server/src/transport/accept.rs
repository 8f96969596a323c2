//! Accepts connections and deals them out.
//!
//! Each connection goes to the runtime that has the fewest, and to the first of them on an idle
//! node.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::tls::TlsListener;

/// Connections accepted and not yet picked up by their runtime, each: a runtime that is this far
/// behind has the others take its share.
const HANDOVER_MAX: usize = 128;

/// The kernel's queue of connections not yet accepted.
const BACKLOG: i32 = 1024;

/// Where a runtime gets its connections from.
pub type Connections = mpsc::Receiver<Accepted>;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// What secures its connections, if anything does.
    pub tls: Option<Arc<TlsListener>>,
}

/// A connection that counts as its runtime's until it is dropped.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking.
    pub socket: TcpStream,
    /// What is to secure it before it is served.
    pub tls: Option<Arc<TlsListener>>,
    /// To be kept for as long as the socket is served.
    pub counted: Counted,
}

/// One of the open connections of a runtime.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A runtime that connections are dealt to.
#[derive(Clone, Debug)]
struct Runtime {
    queue: mpsc::Sender<Accepted>,
    open: Arc<AtomicUsize>,
}

/// Accepts on all listen addresses.
#[derive(Debug)]
pub struct Acceptor {
    listeners: Vec<(TcpListener, Option<Arc<TlsListener>>)>,
    runtimes: Vec<Runtime>,
}

impl Acceptor {
    /// Binds the addresses; returns one receiver for each of `runtimes`.
    ///
    /// # Errors
    /// When an address cannot be listened on; the address is named.
    pub fn bind(
        listens: &[Listen],
        runtimes: usize,
        reuse_port: bool,
    ) -> io::Result<(Self, Vec<Connections>)> {
        let listen = |Listen { address, tls }: &Listen| {
            let listener = listen(*address, reuse_port)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
            Ok((listener, tls.clone()))
        };
        let listeners = listens.iter().map(listen).collect::<io::Result<_>>()?;
        let runtime = |_| {
            let (queue, connections) = mpsc::channel(HANDOVER_MAX);
            (Runtime { queue, open: Arc::default() }, connections)
        };
        let (runtimes, receivers) = (0..runtimes).map(runtime).unzip();
        Ok((Self { listeners, runtimes }, receivers))
    }

    /// The addresses that are listened on, with ports filled in.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Accepts until `stop` turns true.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let tasks: Vec<_> = self
            .listeners
            .into_iter()
            .map(|(listener, tls)| {
                tokio::spawn(accept(listener, tls, self.runtimes.clone(), stop.clone()))
            })
            .collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "an acceptor ended");
            }
        }
    }
}

fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // An IPv6 listener is for IPv6: the IPv4 one of the same port is another listen URL.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<TlsListener>>,
    runtimes: Vec<Runtime>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted.and_then(|(socket, _)| prepare(socket)) {
            Ok(socket) => deal(socket, tls.as_ref(), &runtimes).await,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of descriptors, most likely: trying again at once would spin.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// Nagle's algorithm would hold small answers back until the last one is acknowledged.
fn prepare(socket: tokio::net::TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    socket.into_std()
}

async fn deal(socket: TcpStream, tls: Option<&Arc<TlsListener>>, runtimes: &[Runtime]) {
    let mut given = (socket, tls.cloned());
    let mut by_load: Vec<&Runtime> = runtimes.iter().collect();
    by_load.sort_by_key(|runtime| runtime.open.load(Ordering::Relaxed));
    for runtime in &by_load {
        let (socket, tls) = given;
        let accepted = Accepted { socket, tls, counted: Counted::new(&runtime.open) };
        match runtime.queue.try_send(accepted) {
            Ok(()) => return,
            Err(
                mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
            ) => {
                given = (back.socket, back.tls);
            }
        }
    }
    // All are behind: wait for the least loaded, and accept no more meanwhile. It is gone only
    // when the node stops, and the connection with it.
    if let Some(runtime) = by_load.first() {
        let (socket, tls) = given;
        let accepted = Accepted { socket, tls, counted: Counted::new(&runtime.open) };
        drop(runtime.queue.send(accepted).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Listen {
        Listen { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None }
    }

    async fn dealt(runtimes: usize, count: usize) -> Vec<usize> {
        let (acceptor, mut receivers) = Acceptor::bind(&[any()], runtimes, false).unwrap();
        for _ in 0..count {
            let socket = TcpStream::connect(acceptor.addresses()[0]).unwrap();
            deal(socket, None, &acceptor.runtimes).await;
        }
        receivers
            .iter_mut()
            .map(|queue| std::iter::from_fn(|| queue.try_recv().ok()).count())
            .collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_runtime_with_the_fewest_gets_the_connection() {
        assert_eq!(dealt(2, 1).await, [1, 0], "idle, it is the first");
        assert_eq!(dealt(3, 11).await, [4, 4, 3]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_closed_connection_counts_no_more() {
        let (acceptor, mut receivers) = Acceptor::bind(&[any()], 2, false).unwrap();
        let connect = || TcpStream::connect(acceptor.addresses()[0]).unwrap();
        deal(connect(), None, &acceptor.runtimes).await;
        drop(receivers[0].try_recv().unwrap());
        deal(connect(), None, &acceptor.runtimes).await;
        assert!(receivers[0].try_recv().is_ok() && receivers[1].try_recv().is_err());
    }
}
