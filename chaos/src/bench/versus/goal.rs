//! What a row is meant to reach, and whether it did.

use serde::Serialize;

/// What a figure is meant to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::bench) enum Goal {
    /// At least so many times the peer's.
    TimesAtLeast(f64),
    /// At most so many times the peer's.
    TimesAtMost(f64),
    /// Ours is at most this, whatever the peer's is.
    AtMost(f64),
}

/// A middle and how far from it the rounds were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::bench) struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of any number of figures; none have the median NaN.
    pub(in crate::bench) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        // Of an even number it is the mean of the two in the middle.
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median, least: at(0), most: at(last) }
    }

    /// Ours by etcd's, round by round: only rounds that stand side by side may be compared.
    pub(in crate::bench) fn of_ratios(ours: &[f64], etcd: &[f64]) -> Self {
        Self::of(ours.iter().zip(etcd).map(|(ours, etcd)| ours / etcd).collect())
    }
}

impl Goal {
    /// Whether the figures of the rounds reach it, in the median.
    pub(in crate::bench) fn is_reached(self, ours: &[f64], etcd: &[f64]) -> bool {
        let ratio = || Spread::of_ratios(ours, etcd).median;
        // What is no number reaches nothing: each of these is false for it.
        match self {
            Self::TimesAtLeast(goal) => ratio() >= goal,
            Self::TimesAtMost(goal) => ratio() <= goal,
            Self::AtMost(goal) => Spread::of(ours.to_vec()).median <= goal,
        }
    }

    /// In words.
    pub(in crate::bench) fn text(self) -> String {
        match self {
            Self::TimesAtLeast(goal) => format!(">= {}x", short(goal)),
            Self::TimesAtMost(goal) => format!("<= {}x", short(goal)),
            Self::AtMost(goal) => format!("<= {}", short(goal)),
        }
    }
}

/// A figure with the digits that mean something.
pub(in crate::bench) fn short(figure: f64) -> String {
    let digits = match figure.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        small if small >= 0.1 || small == 0.0 => 2,
        tiny if tiny >= 0.001 => 4,
        _ => return format!("{figure}"),
    };
    let text = format!("{figure:.digits$}");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_rounds_ratios_and_not_the_ratio_of_medians() {
        // The machine was three times slower in the second round, for both.
        let (ours, etcd) = ([300.0, 110.0, 290.0], [100.0, 33.0, 100.0]);
        let spread = Spread::of_ratios(&ours, &etcd);
        assert_eq!((spread.median, spread.least), (3.0, 2.9));
        assert!(Goal::TimesAtLeast(3.0).is_reached(&ours, &etcd));
        assert!(!Goal::TimesAtLeast(3.1).is_reached(&ours, &etcd));
        assert!(Goal::TimesAtMost(3.0).is_reached(&ours, &etcd));
        assert!(!Goal::AtMost(200.0).is_reached(&ours, &etcd), "ours alone");
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 9.0]).median, 3.0);
        assert_eq!(Spread::of(vec![7.0]).median, 7.0);
    }

    #[test]
    fn what_was_not_measured_reaches_nothing() {
        for goal in [Goal::TimesAtLeast(0.0), Goal::TimesAtMost(9.0), Goal::AtMost(9.0)] {
            assert!(!goal.is_reached(&[], &[]), "{goal:?}");
            assert!(!goal.is_reached(&[f64::NAN], &[1.0]), "{goal:?}");
        }
        assert!(!Goal::TimesAtMost(1.0).is_reached(&[0.0], &[0.0]));
    }

    #[test]
    fn figures_have_few_digits() {
        let texts = [1234.56, 56.78, 3.0, 0.35, 1.0 / 3.0, 0.0123, 0.0].map(short);
        assert_eq!(texts, ["1235", "56.8", "3", "0.35", "0.33", "0.0123", "0"]);
        assert_eq!(Goal::TimesAtMost(0.5).text(), "<= 0.5x");
    }
}
