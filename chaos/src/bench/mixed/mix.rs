//! What a Kubernetes cluster's store does, in hundredths of all operations.

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A node's lease of 512 B, compared and swapped.
    LeaseSwap,
    /// A pod of 4 KiB, compared and swapped.
    PodSwap,
    /// A pod that was not there.
    Create,
    /// A pod that was made before.
    Delete,
    /// An event with a lease.
    Event,
    /// One object.
    Get,
    /// Five hundred pods.
    List,
    /// How many pods there are.
    Count,
}

/// All kinds, their names in reports and their hundredths.
const MIX: [(Kind, &str, u32); 8] = [
    (Kind::LeaseSwap, "lease-swap", 55),
    (Kind::PodSwap, "pod-swap", 12),
    (Kind::Create, "create", 5),
    (Kind::Delete, "delete", 2),
    (Kind::Event, "event", 4),
    (Kind::Get, "get", 15),
    (Kind::List, "list-500", 5),
    (Kind::Count, "count", 2),
];

/// Names of the kinds, in their order.
pub(super) const NAMES: [&str; MIX.len()] = {
    let mut names = [""; MIX.len()];
    let mut place = 0;
    while place < MIX.len() {
        names[place] = MIX[place].1;
        place += 1;
    }
    names
};

impl Kind {
    /// Its place in the list.
    pub(super) fn place(self) -> usize {
        MIX.iter().position(|(kind, ..)| *kind == self).expect("every kind is in the list")
    }
}

/// The kind at a point from 0 to 99.
pub(super) fn pick(point: u32) -> Kind {
    let mut end = 0;
    for (kind, _, hundredths) in MIX {
        end += hundredths;
        if point < end {
            return kind;
        }
    }
    Kind::LeaseSwap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_exactly_its_hundredths() {
        assert_eq!(MIX.iter().map(|(_, _, hundredths)| hundredths).sum::<u32>(), 100);
        for (place, (kind, name, hundredths)) in MIX.into_iter().enumerate() {
            let picked = (0..100).filter(|point| pick(*point) == kind).count();
            assert_eq!(picked, hundredths as usize, "{name}");
            assert_eq!((kind.place(), NAMES[place]), (place, name));
        }
    }
}
