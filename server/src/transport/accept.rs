//! Accepts connections and deals them out.

use std::io;
use std::net::{SocketAddr, TcpStream};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// Connections accepted and not yet picked up by their runtime, each: a runtime that is this far
/// behind has the others take its share.
const HANDOVER_MAX: usize = 128;

/// The kernel's queue of connections not yet accepted.
const BACKLOG: i32 = 1024;

/// Where a runtime gets its connections from.
pub type Connections = mpsc::Receiver<TcpStream>;

/// Accepts on all listen addresses.
#[derive(Debug)]
pub struct Acceptor {
    listeners: Vec<TcpListener>,
    runtimes: Vec<mpsc::Sender<TcpStream>>,
}

impl Acceptor {
    /// Binds the addresses; returns one receiver for each of `runtimes`.
    ///
    /// # Errors
    /// When an address cannot be listened on; the address is named.
    pub fn bind(
        addresses: &[SocketAddr],
        runtimes: usize,
        reuse_port: bool,
    ) -> io::Result<(Self, Vec<Connections>)> {
        let listen = |address: &SocketAddr| {
            listen(*address, reuse_port)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
        };
        let listeners = addresses.iter().map(listen).collect::<io::Result<_>>()?;
        let (runtimes, receivers) = (0..runtimes).map(|_| mpsc::channel(HANDOVER_MAX)).unzip();
        Ok((Self { listeners, runtimes }, receivers))
    }

    /// The addresses that are listened on, with ports filled in.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Accepts until `stop` turns true.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let tasks: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(listener, self.runtimes.clone(), stop.clone())))
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
    runtimes: Vec<mpsc::Sender<TcpStream>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted.and_then(|(socket, _)| prepare(socket)) {
            Ok(socket) => deal(socket, &runtimes, &mut turn).await,
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

async fn deal(mut socket: TcpStream, runtimes: &[mpsc::Sender<TcpStream>], turn: &mut usize) {
    for _ in runtimes {
        *turn = (*turn + 1) % runtimes.len();
        match runtimes[*turn].try_send(socket) {
            Ok(()) => return,
            Err(
                mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
            ) => {
                socket = back;
            }
        }
    }
    // All are behind: wait for the one whose turn it is, and accept no more meanwhile. It is gone
    // only when the node stops, and the connection with it.
    drop(runtimes[*turn].send(socket).await);
}
