//! Sets of keys: what several permissions add up to, and whether a request lies within.

use bytes::Bytes;
use proto::authpb::Permission;

use crate::keys::KeyRange;

/// Intervals in order that neither overlap nor touch. An interval without an end has all keys from
/// its start on.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ranges(Vec<(Bytes, Option<Bytes>)>);

/// Whether `end` lies at or behind `other`.
fn reaches(end: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    match (end, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(other)) => end >= other,
    }
}

impl Ranges {
    pub(crate) fn new<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        let mut all: Vec<(Bytes, Option<Bytes>)> = permissions
            .map(|permission| {
                let range = KeyRange::new(&permission.key, &permission.range_end);
                (permission.key.clone(), range.end().map(Bytes::from))
            })
            .filter(|(start, end)| end.as_ref().is_none_or(|end| start < end))
            .collect();
        all.sort();
        let mut merged: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        for (start, end) in all {
            match merged.last_mut() {
                Some((_, last)) if reaches(last.as_deref(), Some(&start)) => {
                    if !reaches(last.as_deref(), end.as_deref()) {
                        *last = end;
                    }
                }
                Some(_) | None => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// Whether every key that a request means is in the set.
    pub(crate) fn cover(&self, key: &[u8], range_end: &[u8]) -> bool {
        let after = self.0.partition_point(|(start, _)| start.as_ref() <= key);
        let Some((_, end)) = after.checked_sub(1).map(|at| &self.0[at]) else { return false };
        if end.as_ref().is_some_and(|end| end.as_ref() <= key) {
            return false;
        }
        match range_end {
            [] => true,
            [0] => end.is_none(),
            _ => reaches(end.as_deref(), Some(range_end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn permission(key: &[u8], range_end: &[u8]) -> Permission {
        Permission {
            perm_type: 0,
            key: Bytes::copy_from_slice(key),
            range_end: Bytes::copy_from_slice(range_end),
        }
    }

    fn word(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(b'a'..b'd', lengths)
    }

    #[test]
    fn touching_ranges_are_one_and_a_gap_is_a_gap() {
        let all = [permission(b"c", b"d"), permission(b"a", b"b"), permission(b"b", b"c")];
        let ranges = Ranges::new(all.iter());
        assert!(ranges.cover(b"a", b"d"));
        assert!(!ranges.cover(b"a", b"e"));
        assert!(!ranges.cover(b"a", b"\0"), "an end is not open");
        let apart = [permission(b"a", b"b"), permission(b"c", b"d")];
        assert!(!Ranges::new(apart.iter()).cover(b"a", b"d"));
        let open = [permission(b"b", b"\0")];
        assert!(Ranges::new(open.iter()).cover(b"zzz", b"\0"));
        assert!(!Ranges::new(open.iter()).cover(b"a", b"\0"));
        // A permission for one key says nothing of those behind it.
        let one = [permission(b"a", b"")];
        assert!(Ranges::new(one.iter()).cover(b"a", b""));
        assert!(!Ranges::new(one.iter()).cover(b"a\0", b""));
        assert!(!Ranges::new(one.iter()).cover(b"a", b"\0"));
    }

    proptest! {
        /// A request is covered exactly if each key that it means is in some permission.
        #[test]
        fn covering_is_decided_key_by_key(
            granted in proptest::collection::vec((word(1..3), word(0..3), any::<bool>()), 0..5),
            (key, end) in (word(1..3), word(0..3)),
            from in any::<bool>(),
        ) {
            let open = |end: Vec<u8>, open: bool| if open { vec![0] } else { end };
            let granted: Vec<Permission> = granted
                .into_iter()
                .map(|(key, end, from)| permission(&key, &open(end, from)))
                .collect();
            let end = open(end, from);
            let asked = KeyRange::new(&key.clone().into(), &end.clone().into());
            // Every key of up to four letters, and one behind each: fine enough to find any gap.
            let mut letters: Vec<Vec<u8>> = vec![Vec::new()];
            for _ in 0..3 {
                for word in letters.clone() {
                    for letter in b'a'..=b'd' {
                        letters.push([word.as_slice(), &[letter]].concat());
                    }
                }
            }
            let zeroes = letters.iter().map(|word| [word.as_slice(), &[0]].concat());
            let probes: Vec<Vec<u8>> = letters.iter().cloned().chain(zeroes).collect();
            let within = |probe: &[u8]| granted.iter().any(|permission| {
                KeyRange::new(&permission.key, &permission.range_end).contains(probe)
            });
            let meant: Vec<_> = probes.iter().filter(|probe| asked.contains(probe)).collect();
            if !meant.is_empty() {
                let each = meant.iter().all(|probe| within(probe));
                prop_assert_eq!(Ranges::new(granted.iter()).cover(&key, &end), each);
            }
        }
    }
}
