//! The inside of the switch: where a frame goes, what its link does to it, and when it arrives.
//! Values in, values out: the time is told, as long as the switch has run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::policy::{Dice, HEADER_BYTES, Policy, decide};
use crate::limits;

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

/// What happened on a link in one direction so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that went in.
    pub sent: u64,
    /// Frames that came out, second copies too.
    pub passed: u64,
    /// Frames and copies that never came out, whatever the reason.
    pub dropped: u64,
    /// Frames that were held back.
    pub delayed: u64,
    /// Frames that were sent on twice.
    pub duplicated: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
}

#[derive(Debug)]
struct Link {
    policy: Policy,
    rng: StdRng,
    counts: Counts,
    /// When the last frame arrives that no later one may overtake.
    last_due: Duration,
}

/// A frame on its way. The order is that of arrival; of two at the same time, that of sending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delivery {
    due: Duration,
    serial: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) frame: Vec<u8>,
}

/// All links of a switch, and the frames on their way.
#[derive(Debug)]
pub(super) struct Fabric {
    hosts: usize,
    /// By [`Fabric::index`].
    links: Vec<Link>,
    waiting: BinaryHeap<Reverse<Delivery>>,
    serial: u64,
}

impl Fabric {
    pub(super) fn new(hosts: usize, seed: u64) -> Self {
        let mut seeds = StdRng::seed_from_u64(seed);
        let link = |_| Link {
            policy: Policy::default(),
            rng: StdRng::from_rng(&mut seeds),
            counts: Counts::default(),
            last_due: Duration::ZERO,
        };
        let links = (0..hosts * hosts).map(link).collect();
        Self { hosts, links, waiting: BinaryHeap::new(), serial: 0 }
    }

    /// The address of a host. Its first byte says that it is nobody's product.
    pub(super) fn mac(host: usize) -> Mac {
        let [.., high, low] = host.to_be_bytes();
        [0x02, b'o', b'r', b'l', high, low]
    }

    fn index(&self, from: usize, to: usize) -> usize {
        assert!(from < self.hosts && to < self.hosts, "no link from {from} to {to}");
        from * self.hosts + to
    }

    pub(super) fn policy(&self, from: usize, to: usize) -> &Policy {
        &self.links[self.index(from, to)].policy
    }

    pub(super) fn counts(&self, from: usize, to: usize) -> Counts {
        self.links[self.index(from, to)].counts
    }

    /// T3: what the link holds back is released.
    pub(super) fn set(&mut self, from: usize, to: usize, policy: Policy) {
        let index = self.index(from, to);
        self.links[index].policy = policy;
        self.links[index].last_due = Duration::ZERO;
        let mut waiting = std::mem::take(&mut self.waiting).into_vec();
        for Reverse(delivery) in &mut waiting {
            if (delivery.from, delivery.to) == (from, to) {
                delivery.due = Duration::ZERO;
            }
        }
        self.waiting = waiting.into();
    }

    /// Takes in a frame that a host sent. One for an address that nobody has goes nowhere.
    pub(super) fn arrive(&mut self, from: usize, frame: &[u8], now: Duration) {
        let Some(target) = frame.first_chunk::<6>().filter(|_| frame.len() >= HEADER_BYTES) else {
            return;
        };
        // This bit is set in addresses of more than one.
        let is_for_all = target[0] & 1 == 1;
        for to in (0..self.hosts).filter(|to| *to != from) {
            if is_for_all || *target == Self::mac(to) {
                self.send(from, to, frame, now);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: &[u8], now: Duration) {
        let index = self.index(from, to);
        let link = &mut self.links[index];
        let fate = decide(frame.len(), &link.policy, &Dice::throw(&mut link.rng));
        link.counts.sent += 1;
        if fate.delays.is_empty() {
            link.counts.dropped += 1;
            return;
        }

        let mut frame = frame.to_vec();
        if let Some(bit) = fate.flipped {
            frame[bit / 8] ^= 1 << (bit % 8);
            link.counts.corrupted += 1;
        }
        link.counts.duplicated += u64::from(fate.delays.len() > 1);
        let mut is_delayed = false;
        for delay in fate.delays {
            let mut due = now + delay;
            if !link.policy.reorder {
                due = due.max(link.last_due);
                link.last_due = due;
            }
            is_delayed |= due > now;
            if self.waiting.len() >= limits::TOPO_FRAMES_WAITING_MAX {
                link.counts.dropped += 1;
                continue;
            }
            self.serial += 1;
            let frame = frame.clone();
            let delivery = Delivery { due, serial: self.serial, from, to, frame };
            self.waiting.push(Reverse(delivery));
        }
        link.counts.delayed += u64::from(is_delayed);
    }

    /// When the next frame arrives.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(delivery)| delivery.due)
    }

    /// The next frame that has arrived by now. T1: not if its link was cut since it was sent.
    pub(super) fn next(&mut self, now: Duration) -> Option<Delivery> {
        while self.next_due()? <= now {
            let Reverse(delivery) = self.waiting.pop()?;
            if !self.policy(delivery.from, delivery.to).cut {
                return Some(delivery);
            }
            self.count(&delivery, false);
        }
        None
    }

    /// Counts a frame that the host it was for has taken, or not.
    pub(super) fn count(&mut self, delivery: &Delivery, is_taken: bool) {
        let index = self.index(delivery.from, delivery.to);
        let counts = &mut self.links[index].counts;
        if is_taken {
            counts.passed += 1;
        } else {
            counts.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A frame to an address, with one byte of payload.
    fn frame(to: Mac, payload: u8) -> Vec<u8> {
        [to.as_slice(), &Fabric::mac(0), &[0x08, 0x00, payload]].concat()
    }

    /// Takes out what has arrived: to whom, and with what payload.
    fn taken(fabric: &mut Fabric, now: Duration) -> Vec<(usize, u8)> {
        let mut taken = Vec::new();
        while let Some(delivery) = fabric.next(now) {
            fabric.count(&delivery, true);
            taken.push((delivery.to, delivery.frame[HEADER_BYTES]));
        }
        taken
    }

    #[test]
    fn a_frame_goes_to_the_host_that_has_its_address() {
        let mut fabric = Fabric::new(3, 1);
        fabric.arrive(0, &frame(Fabric::mac(2), 7), MS);
        fabric.arrive(0, &frame(Fabric::mac(9), 8), MS);
        fabric.arrive(0, &[1, 2, 3], MS);
        assert_eq!(taken(&mut fabric, MS), [(2, 7)]);
        fabric.arrive(0, &frame([0xff; 6], 9), MS);
        assert_eq!(taken(&mut fabric, MS), [(1, 9), (2, 9)]);
        assert_eq!(fabric.counts(0, 2).passed, 2);
        assert_eq!(fabric.counts(0, 1).passed, 1);
        assert_eq!(fabric.counts(2, 0), Counts::default());
    }

    #[test]
    fn a_cut_also_takes_what_was_under_way() {
        let mut fabric = Fabric::new(2, 1);
        fabric.set(0, 1, Policy { delay: 9 * MS, ..Policy::default() });
        fabric.arrive(0, &frame(Fabric::mac(1), 1), MS);
        fabric.set(0, 1, Policy { cut: true, ..Policy::default() });
        fabric.arrive(0, &frame(Fabric::mac(1), 2), MS);
        assert_eq!(taken(&mut fabric, 99 * MS), []);
        let counts = fabric.counts(0, 1);
        assert_eq!((counts.sent, counts.passed, counts.dropped), (2, 0, 2));
    }

    #[test]
    fn a_new_policy_releases_what_was_held_back() {
        let mut fabric = Fabric::new(2, 1);
        fabric.set(0, 1, Policy { delay: 1000 * MS, ..Policy::default() });
        fabric.arrive(0, &frame(Fabric::mac(1), 1), MS);
        fabric.arrive(0, &frame(Fabric::mac(1), 2), MS);
        assert_eq!(taken(&mut fabric, MS), []);
        fabric.set(0, 1, Policy::default());
        fabric.arrive(0, &frame(Fabric::mac(1), 3), MS);
        assert_eq!(taken(&mut fabric, MS), [(1, 1), (1, 2), (1, 3)]);
        assert_eq!(fabric.counts(0, 1).delayed, 2);
    }

    #[test]
    fn jitter_reorders_only_where_it_may() {
        for reorder in [false, true] {
            let mut fabric = Fabric::new(2, 1);
            fabric.set(0, 1, Policy { jitter: 50 * MS, reorder, ..Policy::default() });
            for payload in 0..100 {
                fabric.arrive(0, &frame(Fabric::mac(1), payload), MS);
            }
            let arrived = taken(&mut fabric, 100 * MS);
            assert_eq!(arrived.len(), 100);
            assert_eq!(arrived.is_sorted(), !reorder);
        }
    }

    #[test]
    fn a_full_queue_drops_what_does_not_fit() {
        let mut fabric = Fabric::new(2, 1);
        fabric.set(0, 1, Policy { delay: MS, ..Policy::default() });
        for _ in 0..=limits::TOPO_FRAMES_WAITING_MAX {
            fabric.arrive(0, &frame(Fabric::mac(1), 0), MS);
        }
        assert_eq!(fabric.counts(0, 1).dropped, 1);
        assert_eq!(taken(&mut fabric, 2 * MS).len(), limits::TOPO_FRAMES_WAITING_MAX);
    }

    proptest! {
        /// T2: the same frames have the same fate, and each is accounted for.
        #[test]
        fn every_frame_is_counted_and_a_seed_repeats(
            seed: u64,
            sent in 1_u8..100,
            loss in 0.0..1.0_f64,
            duplicate in 0.0..1.0_f64,
            corrupt in 0.0..1.0_f64,
            jitter_ms in 0_u32..100,
            reorder: bool,
        ) {
            let run = || {
                let jitter = MS * jitter_ms;
                let policy =
                    Policy { loss, duplicate, corrupt, jitter, reorder, ..Policy::default() };
                let mut fabric = Fabric::new(2, seed);
                fabric.set(0, 1, policy);
                for payload in 0..sent {
                    fabric.arrive(0, &frame(Fabric::mac(1), payload), MS * u32::from(payload));
                }
                let arrived = taken(&mut fabric, 1000 * MS);
                (arrived, fabric.counts(0, 1))
            };
            let (arrived, counts) = run();
            prop_assert_eq!(counts.sent, u64::from(sent));
            prop_assert_eq!(counts.sent + counts.duplicated, counts.passed + counts.dropped);
            prop_assert_eq!(counts.passed, arrived.len() as u64);
            prop_assert_eq!((arrived, counts), run());
        }
    }
}
