//! How the clients reach the members: over the simulated network.

use std::net::IpAddr;
use std::time::Duration;

use chaos::workload::Connect;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use crate::limits;

/// Connections to the members with these addresses.
pub(crate) fn to(addresses: &[IpAddr]) -> Connect {
    let addresses = addresses.to_vec();
    Connect::new(addresses.len(), move |member| channel(addresses[member]))
}

/// A connection to the member with this address.
pub(crate) fn channel(address: IpAddr) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}:2379"))?;
    let connector = tower::service_fn(move |_| async move {
        turmoil::net::TcpStream::connect((address, 2379)).await.map(TokioIo::new)
    });
    // What is lost is never sent again: a connection with a gap stays silent for ever.
    Ok(endpoint
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(limits::CLIENT_KEEPALIVE)
        .keep_alive_timeout(limits::CLIENT_KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}
