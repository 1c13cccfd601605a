//! What a link does to a frame: a pure decision from the frame's size, a policy and some dice.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

/// The bytes before a frame's payload: two addresses and a type.
pub(super) const HEADER_BYTES: usize = 14;

/// What a link does to frames in one direction. The default passes everything on at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Nothing gets through.
    pub cut: bool,
    /// Frames with more bytes than this are lost, their header counted: small messages pass, and
    /// large ones never do.
    pub larger_than: Option<usize>,
    /// The share of frames that is lost, 0 to 1.
    pub loss: f64,
    /// The share of frames that arrives twice.
    pub duplicate: f64,
    /// The share of frames that has one bit of its payload flipped. Checksums notice one bit, so
    /// TCP sees a loss.
    pub corrupt: f64,
    /// How long each frame is held back.
    pub delay: Duration,
    /// At most how much longer, each frame by chance.
    pub jitter: Duration,
    /// Whether a frame may arrive before one that was sent earlier, as its jitter has it.
    pub reorder: bool,
}

/// The chance in one decision. All are thrown for every frame, whatever the policy, so that a new
/// policy does not change what later frames get.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    loss: f64,
    duplicate: f64,
    corrupt: f64,
    bit: usize,
    jitter: [f64; 2],
}

impl Dice {
    pub(super) fn throw(rng: &mut StdRng) -> Self {
        Self {
            loss: rng.random(),
            duplicate: rng.random(),
            corrupt: rng.random(),
            bit: rng.random_range(0..usize::MAX),
            jitter: rng.random(),
        }
    }
}

/// What becomes of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// One delivery each, after so long; none: the frame is lost.
    pub(super) delays: Vec<Duration>,
    /// The bit to flip, counted from the frame's begin.
    pub(super) flipped: Option<usize>,
}

/// Decides about a frame of so many bytes.
pub(super) fn decide(bytes: usize, policy: &Policy, dice: &Dice) -> Fate {
    let is_too_large = policy.larger_than.is_some_and(|most| bytes > most);
    if policy.cut || is_too_large || dice.loss < policy.loss {
        return Fate::default();
    }

    let copies = 1 + usize::from(dice.duplicate < policy.duplicate);
    let delay = |chance: &f64| policy.delay + policy.jitter.mul_f64(*chance);
    let payload_bits = bytes.saturating_sub(HEADER_BYTES) * 8;
    let is_corrupted = dice.corrupt < policy.corrupt && payload_bits > 0;
    Fate {
        delays: dice.jitter.iter().take(copies).map(delay).collect(),
        flipped: is_corrupted.then(|| HEADER_BYTES * 8 + dice.bit % payload_bits),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn middle() -> Dice {
        Dice { loss: 0.5, duplicate: 0.5, corrupt: 0.5, bit: 9, jitter: [0.25, 0.75] }
    }

    fn fate(policy: Policy) -> Fate {
        decide(100, &policy, &middle())
    }

    #[test]
    fn a_plain_link_passes_a_frame_on_at_once() {
        let at_once = Fate { delays: vec![Duration::ZERO], flipped: None };
        assert_eq!(fate(Policy::default()), at_once);
    }

    #[test]
    fn each_part_of_a_policy_does_what_its_name_says() {
        let lost = Fate::default();
        assert_eq!(fate(Policy { cut: true, ..Policy::default() }), lost);
        assert_eq!(fate(Policy { loss: 0.6, ..Policy::default() }), lost);
        assert_eq!(fate(Policy { larger_than: Some(99), ..Policy::default() }), lost);
        assert_ne!(fate(Policy { loss: 0.4, ..Policy::default() }), lost);
        assert_ne!(fate(Policy { larger_than: Some(100), ..Policy::default() }), lost);

        let slow = Policy { delay: 10 * MS, jitter: 4 * MS, duplicate: 0.6, ..Policy::default() };
        assert_eq!(fate(slow).delays, [11 * MS, 13 * MS]);
        let corrupting = Policy { corrupt: 0.6, ..Policy::default() };
        assert_eq!(fate(corrupting).flipped, Some(HEADER_BYTES * 8 + 9));
    }

    #[test]
    fn a_frame_without_payload_has_no_bit_to_flip() {
        let policy = Policy { corrupt: 1.0, ..Policy::default() };
        assert_eq!(decide(HEADER_BYTES, &policy, &middle()).flipped, None);
    }

    proptest! {
        #[test]
        fn whatever_the_dice_say_a_fate_stays_within_its_policy(
            seed: u64,
            bytes in 0_usize..2000,
            shares in prop::array::uniform3(0.0..=1.0_f64),
            delays_ms in prop::array::uniform2(0_u32..1000),
            cut: bool,
        ) {
            let [loss, duplicate, corrupt] = shares;
            let [delay, jitter] = delays_ms.map(|ms| MS * ms);
            let policy = Policy { cut, loss, duplicate, corrupt, ..Policy::default() };
            let policy = Policy { delay, jitter, ..policy };
            let dice = Dice::throw(&mut StdRng::seed_from_u64(seed));
            let fate = decide(bytes, &policy, &dice);

            prop_assert!(fate.delays.len() <= 2);
            prop_assert!(!cut || fate.delays.is_empty());
            prop_assert!(loss < 1.0 || fate.delays.is_empty());
            for held in &fate.delays {
                prop_assert!((delay..=delay + jitter).contains(held));
            }
            if let Some(bit) = fate.flipped {
                prop_assert!((HEADER_BYTES * 8..bytes * 8).contains(&bit));
            }
            let again = Dice::throw(&mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(fate, decide(bytes, &policy, &again));
        }
    }
}
