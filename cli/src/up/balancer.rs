//! The API's load balancer: one address that works while any API server does.
//!
//! It forwards bytes and ends no TLS: a client still checks the API server's own certificate.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | B1 | A new connection goes to a server that said ready at the last look, else to one alive. |
//! | B2 | A server that is found dead loses its connections at once: clients reconnect elsewhere. |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::probe::{Answer, Asker, Probe};
use super::supervise::View;
use crate::limits;

/// One API server.
struct Backend {
    probe: Probe,
    seen: Mutex<Seen>,
}

struct Seen {
    answer: Answer,
    /// Ends the connections of this life of the server.
    connections: CancellationToken,
}

impl Backend {
    fn note(&self, answer: Answer) {
        let mut seen = self.seen.lock();
        seen.answer = answer;
        if answer == Answer::Dead {
            // B2
            seen.connections.cancel();
            seen.connections = CancellationToken::new();
        }
    }
}

/// The list of API servers with what is known of each.
pub(crate) struct Balancer {
    backends: Vec<Arc<Backend>>,
    turn: AtomicUsize,
}

impl Balancer {
    pub(crate) fn new(probes: Vec<Probe>) -> Arc<Self> {
        let backend = |probe| {
            let seen = Seen { answer: Answer::Alive, connections: CancellationToken::new() };
            Arc::new(Backend { probe, seen: Mutex::new(seen) })
        };
        let backends = probes.into_iter().map(backend).collect();
        Arc::new(Self { backends, turn: AtomicUsize::new(0) })
    }

    /// Looks at server number `index` now and then, and at once when its process comes or goes.
    pub(crate) async fn watch(self: Arc<Self>, index: usize, mut view: watch::Receiver<View>) {
        let Some(backend) = self.backends.get(index) else { return };
        let mut asker = Asker::new(backend.probe.clone());
        loop {
            let running = view.borrow_and_update().pid.is_some();
            let answer = match running {
                true => asker.ask(limits::BALANCER_PROBE_DEADLINE).await,
                false => Answer::Dead,
            };
            backend.note(answer);
            let changed = tokio::time::timeout(limits::BALANCER_PROBE_PERIOD, view.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                backend.note(Answer::Dead);
                return;
            }
        }
    }

    /// Accepts and forwards until `stop`.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(limits::BALANCER_CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let client = match accepted {
                Ok((client, _)) => client,
                Err(error) => {
                    // Out of file descriptors, most likely: those of ended connections come back.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let balancer = Arc::clone(&self);
            let stop = stop.clone();
            tokio::spawn(async move {
                if let Err(error) = balancer.forward(client, &stop).await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(permit);
            });
        }
    }

    async fn forward(&self, mut client: TcpStream, stop: &CancellationToken) -> anyhow::Result<()> {
        let (mut server, alive) = self.connect().await.context("no API server is reachable")?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = alive.cancelled() => {}
            copied = copy_bidirectional(&mut client, &mut server) => { copied?; }
        }
        Ok(())
    }

    /// Tries the servers in the order of B1; the ready ones take turns.
    async fn connect(&self) -> Option<(TcpStream, CancellationToken)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.backends.len();
        let rotated = || (0..count).map(|step| &self.backends[(turn + step) % count]);
        for wanted in [Answer::Ready, Answer::Alive, Answer::Dead] {
            for backend in rotated() {
                let alive = {
                    let seen = backend.seen.lock();
                    if seen.answer != wanted {
                        continue;
                    }
                    seen.connections.clone()
                };
                let address = (backend.probe.address.as_str(), backend.probe.port);
                let connecting = TcpStream::connect(address);
                match tokio::time::timeout(limits::BALANCER_CONNECT_DEADLINE, connecting).await {
                    Ok(Ok(stream)) => return Some((stream, alive)),
                    Ok(Err(_)) | Err(_) => backend.note(Answer::Dead),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A server that greets with one byte and then echoes.
    async fn server(name: u8) -> (u16, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            loop {
                let mut stream = tokio::select! {
                    () = stopped.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                tokio::spawn(async move {
                    stream.write_all(&[name]).await.unwrap();
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        (port, stop)
    }

    fn probe(port: u16) -> Probe {
        Probe { address: "127.0.0.1".to_owned(), port, path: "/readyz", identity: None }
    }

    async fn start(ports: &[u16]) -> (Arc<Balancer>, std::net::SocketAddr) {
        let balancer = Balancer::new(ports.iter().map(|port| probe(*port)).collect());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&balancer).serve(listener, CancellationToken::new()));
        (balancer, address)
    }

    async fn greeted(address: std::net::SocketAddr) -> (TcpStream, u8) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        (stream, byte[0])
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_passed_over_within_the_same_connection() {
        let (one, stop_one) = server(1).await;
        let (two, _stop_two) = server(2).await;
        let (_balancer, address) = start(&[one, two]).await;
        let mut seen = [greeted(address).await.1, greeted(address).await.1];
        seen.sort_unstable();
        assert_eq!(seen, [1, 2], "they take turns");
        stop_one.cancel();
        while TcpStream::connect(("127.0.0.1", one)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        for _ in 0..4 {
            assert_eq!(greeted(address).await.1, 2);
        }
    }

    #[tokio::test]
    async fn connections_of_a_dead_server_are_closed_and_ready_ones_preferred() {
        let (one, _stop_one) = server(1).await;
        let (two, _stop_two) = server(2).await;
        let (balancer, address) = start(&[one, two]).await;
        balancer.backends[0].note(Answer::Ready);
        let (mut stream, name) = greeted(address).await;
        assert_eq!(name, 1, "B1: the ready one");
        balancer.backends[0].note(Answer::Dead);
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await;
        assert!(matches!(read.unwrap(), Ok(0) | Err(_)), "B2: closed");
        assert_eq!(greeted(address).await.1, 2);
    }

    /// Answers each request on its connections, until they or it ends; counts connections and requests.
    async fn website(
        status: Arc<AtomicUsize>,
    ) -> (u16, Arc<AtomicUsize>, Arc<AtomicUsize>, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let hang_up = CancellationToken::new();
        let counts = (Arc::clone(&connections), Arc::clone(&requests));
        let end = hang_up.clone();
        tokio::spawn(async move {
            loop {
                let mut stream = listener.accept().await.unwrap().0;
                counts.0.fetch_add(1, Ordering::Relaxed);
                let (status, requests, end) = (status.clone(), counts.1.clone(), end.child_token());
                let answer = async move {
                    let mut bytes = [0; 1024];
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        requests.fetch_add(1, Ordering::Relaxed);
                        let code = status.load(Ordering::Relaxed);
                        let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: 2\r\n\r\nok");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                };
                tokio::spawn(async move { end.run_until_cancelled(answer).await });
            }
        });
        (port, connections, requests, hang_up)
    }

    #[tokio::test]
    async fn a_server_is_asked_again_over_the_connection_that_it_keeps() {
        let status = Arc::new(AtomicUsize::new(200));
        let (port, connections, requests, hang_up) = website(status.clone()).await;
        let mut asker = Asker::new(probe(port));
        let deadline = Duration::from_secs(20);
        assert_eq!(asker.ask(deadline).await, Answer::Ready);
        status.store(500, Ordering::Relaxed);
        assert_eq!(asker.ask(deadline).await, Answer::Alive);
        status.store(200, Ordering::Relaxed);
        assert_eq!(asker.ask(deadline).await, Answer::Ready);
        let counted = || [&connections, &requests].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted(), [1, 3]);
        // It hung up: that alone says nothing of a server that takes another connection.
        hang_up.cancel();
        assert_eq!(asker.ask(Duration::from_millis(200)).await, Answer::Alive);
        assert_eq!(counted()[0], 2);
    }

    #[tokio::test]
    async fn a_server_that_neither_answers_nor_listens_is_dead() {
        let (port, stop) = server(b'H').await;
        let mut asker = Asker::new(probe(port));
        assert_eq!(asker.ask(Duration::from_millis(200)).await, Answer::Alive);
        stop.cancel();
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(asker.ask(Duration::from_secs(20)).await, Answer::Dead);
    }
}
