//! Shapes of partitions, as lists of the directed links that are cut.

/// A link in one direction: from a host, to a host.
pub type Link = (usize, usize);

/// Nothing gets from the first hosts to the second.
pub fn one_way(from: &[usize], to: &[usize]) -> Vec<Link> {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
    pairs.filter(|(from, to)| from != to).collect()
}

/// Nothing gets from one side to the other, either way.
pub fn partition(a: &[usize], b: &[usize]) -> Vec<Link> {
    [one_way(a, b), one_way(b, a)].concat()
}

/// A minority, the first of the hosts, apart from the others. Shuffle them for another one.
pub fn halves(hosts: &[usize]) -> Vec<Link> {
    let (minority, majority) = hosts.split_at(hosts.len().saturating_sub(1) / 2);
    partition(minority, majority)
}

/// Two halves that reach each other only through the host between them.
pub fn bridge(hosts: &[usize]) -> Vec<Link> {
    let (before, rest) = hosts.split_at(hosts.len() / 2);
    partition(before, rest.get(1..).unwrap_or_default())
}

/// Each host hears a majority, and no two hear the same one: itself, and its neighbours in a ring.
/// Of three hosts each hears one other, which does not hear it.
pub fn majorities_ring(hosts: &[usize]) -> Vec<Link> {
    let size = hosts.len();
    let majority = size / 2 + 1;
    let mut cut = Vec::new();
    for (place, host) in hosts.iter().enumerate() {
        let first_heard = place + size - majority / 2;
        let unheard = (majority..size).map(|step| hosts[(first_heard + step) % size]);
        cut.extend(unheard.map(|from| (from, *host)));
    }
    cut
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Those that a host hears, itself too.
    fn heard(host: usize, hosts: &[usize], cut: &[Link]) -> BTreeSet<usize> {
        hosts.iter().copied().filter(|from| !cut.contains(&(*from, host))).collect()
    }

    #[test]
    fn a_partition_cuts_both_ways_and_one_way_only_one() {
        assert_eq!(one_way(&[1], &[2, 3]), [(1, 2), (1, 3)]);
        assert_eq!(partition(&[1], &[2]), [(1, 2), (2, 1)]);
        assert_eq!(one_way(&[1, 2], &[2]), [(1, 2)]);
    }

    #[test]
    fn halves_leave_a_majority_whole() {
        let cut = halves(&[4, 1, 2, 5, 3]);
        for host in [2, 5, 3] {
            assert_eq!(heard(host, &[1, 2, 3, 4, 5], &cut), BTreeSet::from([2, 3, 5]));
        }
        for host in [1, 4] {
            assert_eq!(heard(host, &[1, 2, 3, 4, 5], &cut), BTreeSet::from([1, 4]));
        }
    }

    #[test]
    fn the_host_in_the_middle_of_a_bridge_hears_all() {
        let hosts = [1, 2, 3, 4, 5];
        let cut = bridge(&hosts);
        assert_eq!(heard(3, &hosts, &cut), BTreeSet::from(hosts));
        assert_eq!(heard(1, &hosts, &cut), BTreeSet::from([1, 2, 3]));
        assert_eq!(heard(5, &hosts, &cut), BTreeSet::from([3, 4, 5]));
    }

    #[test]
    fn in_a_ring_each_hears_a_majority_of_its_own() {
        for size in [3, 5, 7] {
            let hosts: Vec<usize> = (1..=size).collect();
            let cut = majorities_ring(&hosts);
            let majorities: BTreeSet<_> =
                hosts.iter().map(|host| heard(*host, &hosts, &cut)).collect();
            assert_eq!(majorities.len(), size, "no two are the same");
            for host in &hosts {
                let heard = heard(*host, &hosts, &cut);
                assert_eq!(heard.len(), size / 2 + 1);
                assert!(heard.contains(host));
            }
        }
    }
}
