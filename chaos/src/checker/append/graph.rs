//! Who came before whom: a graph with an edge for everything that lists and clocks say.
//!
//! Real time would need an edge for every two transactions of which one was answered before the other
//! was sent. Moments stand in for them: each answer leads to its moment, each moment to the next, and
//! the last moment before a transaction was sent to that transaction.

use super::observed::{Observed, Owner, Txn};

/// Why one comes before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The other overwrote its version.
    WriteWrite,
    /// The other read its version.
    WriteRead,
    /// It read what the other overwrote.
    ReadWrite,
    /// It was answered before the other was sent.
    Realtime,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<'a> {
    pub(super) to: usize,
    pub(super) kind: Kind,
    /// The key and the element that show it; empty for real time.
    pub(super) key: &'a str,
    pub(super) element: &'a str,
}

/// Transactions first, then moments.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    txns: &'a [Txn<'a>],
    pub(super) edges: Vec<Vec<Edge<'a>>>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(observed: &'a Observed<'a>) -> Self {
        let mut graph = Self { txns: &observed.txns, edges: vec![Vec::new(); observed.txns.len()] };
        graph.add_versions(observed);
        graph.add_reads(observed);
        graph.add_realtime();
        graph
    }

    /// Whether a node is a transaction, not a moment.
    pub(super) fn is_txn(&self, node: usize) -> bool {
        node < self.txns.len()
    }

    /// The index in the history of a transaction.
    pub(super) fn op(&self, node: usize) -> usize {
        self.txns[node].op
    }

    fn add(&mut self, from: usize, edge: Edge<'a>) {
        if from != edge.to {
            self.edges[from].push(edge);
        }
    }

    fn add_versions(&mut self, observed: &'a Observed<'a>) {
        for (key, (order, _)) in &observed.longest {
            for pair in order.windows(2) {
                let owners = [0, 1].map(|n| observed.owners.get(&(*key, pair[n])));
                if let [Some(Owner::Txn(from)), Some(Owner::Txn(to))] = owners {
                    let kind = Kind::WriteWrite;
                    self.add(*from, Edge { to: *to, kind, key, element: pair[1] });
                }
            }
        }
    }

    fn add_reads(&mut self, observed: &'a Observed<'a>) {
        for (reader, txn) in observed.txns.iter().enumerate() {
            for (key, list) in &txn.reads {
                // What does not fit the order is reported as such and has no place in it.
                let Some((order, _)) = observed.longest.get(key) else { continue };
                if !order.starts_with(list) {
                    continue;
                }
                if let Some(element) = list.last()
                    && let Some(Owner::Txn(writer)) = observed.owners.get(&(*key, *element))
                {
                    self.add(*writer, Edge { to: reader, kind: Kind::WriteRead, key, element });
                }
                if let Some(element) = order.get(list.len())
                    && let Some(Owner::Txn(writer)) = observed.owners.get(&(*key, *element))
                {
                    self.add(reader, Edge { to: *writer, kind: Kind::ReadWrite, key, element });
                }
            }
        }
    }

    fn add_realtime(&mut self) {
        let txns = self.txns;
        let mut answered: Vec<usize> =
            (0..txns.len()).filter(|node| txns[*node].is_answered()).collect();
        answered.sort_by_key(|node| txns[*node].completed_ns);
        let first = txns.len();
        self.edges.resize(first + answered.len(), Vec::new());
        let realtime = |to| Edge { to, kind: Kind::Realtime, key: "", element: "" };
        for (place, node) in answered.iter().enumerate() {
            self.edges[*node].push(realtime(first + place));
            if place > 0 {
                self.edges[first + place - 1].push(realtime(first + place));
            }
        }
        for (node, txn) in txns.iter().enumerate() {
            let before = answered.partition_point(|n| txns[*n].completed_ns < txn.invoked_ns);
            if before > 0 {
                self.edges[first + before - 1].push(realtime(node));
            }
        }
    }
}
