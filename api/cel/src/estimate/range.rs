//! From how much to how much: costs and sizes that are not known before.

/// Both ends stay at their largest value instead of passing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    /// What a union begins with.
    pub(super) const NONE: Self = Self { min: u64::MAX, max: 0 };

    #[must_use]
    pub const fn fixed(size: u64) -> Self {
        Self { min: size, max: size }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.both(other, u64::saturating_add)
    }

    pub(super) fn times(self, other: Self) -> Self {
        self.both(other, u64::saturating_mul)
    }

    /// Times a factor, rounded up.
    pub(super) fn by(self, factor: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        #[expect(clippy::cast_precision_loss, reason = "upstream counts in doubles too")]
        let scale = |size: u64| (size as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: scale(self.max) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn both(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self { min: with(self.min, other.min), max: with(self.max, other.max) }
    }
}
