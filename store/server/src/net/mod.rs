//! Sockets: the kernel's. In a simulated world (feature `sim`) those of the simulation.

#[cfg(feature = "sim")]
mod simulated;

use std::{io, net::SocketAddr};

#[cfg(feature = "sim")]
use tokio::net as kernel;
use tokio::net::TcpSocket;

use crate::limits;

#[cfg(feature = "sim")]
pub(crate) use simulated::{TcpListener, TcpStream};
#[cfg(not(feature = "sim"))]
pub(crate) use tokio::net::{TcpListener, TcpStream};

/// Binds an address; `shared`: other processes may bind it as well.
pub(crate) fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    #[cfg(feature = "sim")]
    if crate::exec::is_simulated() {
        return TcpListener::simulated(address);
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A member that restarts gets its port back at once.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    let listener = socket.listen(limits::LISTEN_BACKLOG)?;
    #[cfg(feature = "sim")]
    let listener = TcpListener::Real(listener);
    Ok(listener)
}

/// Connects to a host, by name or address.
pub(crate) async fn connect((host, port): (&str, u16)) -> io::Result<TcpStream> {
    #[cfg(feature = "sim")]
    if crate::exec::is_simulated() {
        return TcpStream::simulated(host, port).await;
    }
    #[cfg(feature = "sim")]
    return kernel::TcpStream::connect((host, port)).await.map(TcpStream::Real);
    #[cfg(not(feature = "sim"))]
    TcpStream::connect((host, port)).await
}
