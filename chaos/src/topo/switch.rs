//! The switch between the hosts: one thread that carries frames from interface to interface.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use parking_lot::Mutex;
use tun_rs::SyncDevice;

use super::fabric::{Counts, Fabric};
use super::policy::Policy;
use super::shapes::{self, Link};
use crate::limits;

/// A switch that every host is plugged into. Dropping it pulls all cables.
#[derive(Debug)]
pub struct Switch {
    hosts: usize,
    fabric: Arc<Mutex<Fabric>>,
    /// A byte wakes the thread, and the end of the pipe ends it.
    bell: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    pub(super) fn start(cables: Vec<SyncDevice>, seed: u64) -> anyhow::Result<Self> {
        let hosts = cables.len();
        let fabric = Arc::new(Mutex::new(Fabric::new(hosts, seed)));
        let (woken, bell) = io::pipe().context("no pipe to the switch")?;
        let carrier = Carrier { fabric: Arc::clone(&fabric), cables, woken, start: Instant::now() };
        let thread = std::thread::Builder::new()
            .name("topo-switch".to_owned())
            .spawn(move || {
                if let Err(error) = carrier.carry() {
                    tracing::error!(%error, "the switch has ended, no host reaches another");
                }
            })
            .context("no thread for the switch")?;
        Ok(Self { hosts, fabric, bell: Some(bell), thread: Some(thread) })
    }

    /// What the link in this direction does to frames from now on. What it holds back is released.
    pub fn set(&self, from: usize, to: usize, policy: Policy) {
        self.fabric.lock().set(from, to, policy);
        self.ring();
    }

    /// What the link in this direction does to frames.
    pub fn policy(&self, from: usize, to: usize) -> Policy {
        self.fabric.lock().policy(from, to).clone()
    }

    /// The same for all links between different hosts, in both directions.
    pub fn set_all(&self, policy: &Policy) {
        let everybody: Vec<usize> = (0..self.hosts).collect();
        let mut fabric = self.fabric.lock();
        for (from, to) in shapes::one_way(&everybody, &everybody) {
            fabric.set(from, to, policy.clone());
        }
        drop(fabric);
        self.ring();
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.set_all(&Policy::default());
    }

    /// Cuts links, and leaves what else their policies say for when they are whole again.
    pub fn cut(&self, links: &[Link]) {
        let mut fabric = self.fabric.lock();
        for (from, to) in links {
            let policy = Policy { cut: true, ..fabric.policy(*from, *to).clone() };
            fabric.set(*from, *to, policy);
        }
        drop(fabric);
        self.ring();
    }

    /// Cuts a host off from all others.
    pub fn isolate(&self, host: usize) {
        let others: Vec<usize> = (0..self.hosts).filter(|other| *other != host).collect();
        self.cut(&shapes::partition(&[host], &others));
    }

    /// What happened on the link in this direction since the start.
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        self.fabric.lock().counts(from, to)
    }

    /// Wakes the thread: something may have become due.
    fn ring(&self) {
        if let Some(Err(error)) = self.bell.as_ref().map(|mut bell| bell.write_all(&[0])) {
            tracing::error!(%error, "the switch has ended");
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.bell.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the switch panicked");
        }
    }
}

/// What the thread has.
struct Carrier {
    fabric: Arc<Mutex<Fabric>>,
    cables: Vec<SyncDevice>,
    woken: PipeReader,
    start: Instant,
}

impl Carrier {
    /// Until the bell is gone.
    fn carry(mut self) -> io::Result<()> {
        let mut buffer = vec![0; limits::TOPO_FRAME_BYTES_MAX];
        loop {
            let (is_woken, ready) = self.wait()?;
            if is_woken && self.woken.read(&mut buffer)? == 0 {
                return Ok(());
            }
            for host in ready {
                self.take_in(host, &mut buffer)?;
            }
            self.hand_out();
        }
    }

    /// Waits until something is to be done: whether the bell rang, and the hosts that sent.
    fn wait(&self) -> io::Result<(bool, Vec<usize>)> {
        let mut asked = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        let cables = self.cables.iter();
        asked.extend(cables.map(|cable| PollFd::new(cable.as_fd(), PollFlags::POLLIN)));
        let next_due = self.fabric.lock().next_due();
        let timeout = next_due.map(|due| due.saturating_sub(self.start.elapsed()).into());
        match ppoll(&mut asked, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let mut is_ready = asked.iter().map(|one| one.any().unwrap_or(true));
        let is_woken = is_ready.next().unwrap_or(true);
        let ready = is_ready.enumerate().filter(|(_, is_ready)| *is_ready);
        Ok((is_woken, ready.map(|(host, _)| host).collect()))
    }

    /// Takes in what a host has sent, but so much only that others get their turn.
    fn take_in(&self, host: usize, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..limits::TOPO_FRAMES_PER_TURN {
            match self.cables[host].recv(buffer) {
                Ok(bytes) => {
                    let now = self.start.elapsed();
                    self.fabric.lock().arrive(host, &buffer[..bytes], now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands out what is due. T1: under the lock, so that nothing passes a link after it was cut.
    fn hand_out(&self) {
        let now = self.start.elapsed();
        let mut fabric = self.fabric.lock();
        while let Some(delivery) = fabric.next(now) {
            let is_taken = self.cables[delivery.to].send(&delivery.frame).is_ok();
            fabric.count(&delivery, is_taken);
        }
    }
}
