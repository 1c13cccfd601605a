//! Short cycles of each kind, from the worst to the most lawful-looking.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::graph::{Edge, Graph, Kind};
use crate::checker::Verdict;
use crate::limits;

/// One kind of cycle: which edges it may have.
struct Class {
    name: &'static str,
    kinds: &'static [Kind],
    /// Whether exactly one of its edges is a [`Kind::ReadWrite`], beside the others.
    single: bool,
}

const CLASSES: [Class; 8] = {
    use Kind::{ReadWrite, Realtime, WriteRead, WriteWrite};
    const fn class(name: &'static str, kinds: &'static [Kind], single: bool) -> Class {
        Class { name, kinds, single }
    }
    [
        class("G0", &[WriteWrite], false),
        class("G1c", &[WriteWrite, WriteRead], false),
        class("G-single", &[WriteWrite, WriteRead], true),
        class("G2", &[WriteWrite, WriteRead, ReadWrite], false),
        class("G0-realtime", &[WriteWrite, Realtime], false),
        class("G1c-realtime", &[WriteWrite, WriteRead, Realtime], false),
        class("G-single-realtime", &[WriteWrite, WriteRead, Realtime], true),
        class("G2-realtime", &[WriteWrite, WriteRead, ReadWrite, Realtime], false),
    ]
};

/// A way through the graph: from each node by an edge.
type Path<'a> = Vec<(usize, Edge<'a>)>;

/// Reports one short cycle for every knot of transactions.
pub(super) fn judge(graph: &Graph<'_>, verdict: &mut Verdict) {
    let mut reported: Vec<BTreeSet<usize>> = Vec::new();
    for class in &CLASSES {
        let uses =
            |kind: Kind| class.kinds.contains(&kind) || (class.single && kind == Kind::ReadWrite);
        let knots = knots(graph, &uses);
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); graph.edges.len()];
        for (node, knot) in knots.iter().enumerate() {
            members[*knot].push(node);
        }
        for (knot, nodes) in members.iter().enumerate().filter(|(_, nodes)| nodes.len() > 1) {
            let known = |cycle: &BTreeSet<usize>| cycle.iter().all(|node| knots[*node] == knot);
            if reported.iter().any(known) {
                continue;
            }
            let within =
                |edge: &Edge<'_>| knots[edge.to] == knot && class.kinds.contains(&edge.kind);
            if let Some(cycle) = shortest(graph, nodes, class, &within) {
                reported.push(cycle.iter().map(|(node, _)| *node).collect());
                report(graph, class, &cycle, verdict);
            }
        }
    }
}

/// The shortest cycle inside a knot, over as many starts as the limit allows.
fn shortest<'a>(
    graph: &Graph<'a>,
    nodes: &[usize],
    class: &Class,
    within: &dyn Fn(&Edge<'_>) -> bool,
) -> Option<Path<'a>> {
    let mut best: Option<(usize, Path<'a>)> = None;
    let txns = nodes.iter().copied().filter(|node| graph.is_txn(*node));
    let knot: BTreeSet<usize> = nodes.iter().copied().collect();
    let mut starts = 0;
    for from in txns {
        for first in &graph.edges[from] {
            let fits = if class.single {
                first.kind == Kind::ReadWrite && knot.contains(&first.to)
            } else {
                within(first)
            };
            if !fits {
                continue;
            }
            starts += 1;
            if starts > limits::APPEND_CYCLE_STARTS_MAX {
                return best.map(|(_, cycle)| cycle);
            }
            let Some(rest) = way(graph, first.to, from, within) else { continue };
            let cycle: Path<'a> = std::iter::once((from, *first)).chain(rest).collect();
            let length = cycle.iter().filter(|(node, _)| graph.is_txn(*node)).count();
            if best.as_ref().is_none_or(|(shortest, _)| length < *shortest) {
                best = Some((length, cycle));
            }
        }
    }
    best.map(|(_, cycle)| cycle)
}

/// The way with the fewest transactions from one node to another. Moments cost nothing.
fn way<'a>(
    graph: &Graph<'a>,
    from: usize,
    to: usize,
    within: &dyn Fn(&Edge<'_>) -> bool,
) -> Option<Path<'a>> {
    let mut came: HashMap<usize, (usize, Edge<'a>)> = HashMap::new();
    let mut done = BTreeSet::new();
    let mut costs = HashMap::from([(from, 0_usize)]);
    let mut open = VecDeque::from([(from, 0_usize)]);
    while let Some((node, cost)) = open.pop_front() {
        if !done.insert(node) {
            continue;
        }
        if node == to {
            break;
        }
        for edge in graph.edges[node].iter().filter(|edge| within(edge)) {
            let step = usize::from(graph.is_txn(edge.to));
            if costs.get(&edge.to).is_some_and(|known| *known <= cost + step) {
                continue;
            }
            costs.insert(edge.to, cost + step);
            came.insert(edge.to, (node, *edge));
            if step == 0 {
                open.push_front((edge.to, cost));
            } else {
                open.push_back((edge.to, cost + step));
            }
        }
    }
    let mut path = Path::new();
    let mut node = to;
    while node != from {
        let (before, edge) = came.get(&node)?;
        path.push((*before, *edge));
        node = *before;
    }
    path.reverse();
    Some(path)
}

fn report(graph: &Graph<'_>, class: &Class, cycle: &Path<'_>, verdict: &mut Verdict) {
    let mut words = Vec::new();
    for (from, edge) in cycle.iter().filter(|(from, _)| graph.is_txn(*from)) {
        let Edge { key, element, .. } = edge;
        let from = graph.op(*from);
        words.push(match edge.kind {
            Kind::WriteWrite => format!("{from} appended to {key} just before {element} was"),
            Kind::WriteRead => format!("{from} appended {element} to {key}, which was read"),
            Kind::ReadWrite => format!("{from} read {key} before {element} was appended"),
            Kind::Realtime => format!("{from} was answered before the next was sent"),
        });
    }
    let ops: Vec<usize> = cycle
        .iter()
        .filter(|(node, _)| graph.is_txn(*node))
        .map(|(node, _)| graph.op(*node))
        .collect();
    let text = format!(
        "each of the operations {ops:?} comes before the next, and the last before the first: {}",
        words.join("; ")
    );
    verdict.fail(class.name, ops, text);
}

/// The strongly connected component of every node, by number (Tarjan's algorithm, without recursion).
fn knots(graph: &Graph<'_>, uses: &dyn Fn(Kind) -> bool) -> Vec<usize> {
    const UNSEEN: usize = usize::MAX;
    let count = graph.edges.len();
    let mut index = vec![UNSEEN; count];
    let mut low = vec![0; count];
    let mut knot = vec![UNSEEN; count];
    let (mut next_index, mut next_knot) = (0, 0);
    let mut stack = Vec::new();
    let mut calls: Vec<(usize, usize)> = Vec::new();
    for root in 0..count {
        if index[root] == UNSEEN {
            calls.push((root, 0));
        }
        while let Some((node, place)) = calls.pop() {
            if place == 0 {
                index[node] = next_index;
                low[node] = next_index;
                next_index += 1;
                stack.push(node);
            } else {
                low[node] = low[node].min(low[graph.edges[node][place - 1].to]);
            }
            let mut call = None;
            for (at, edge) in graph.edges[node].iter().enumerate().skip(place) {
                if !uses(edge.kind) || knot[edge.to] != UNSEEN {
                    continue;
                }
                if index[edge.to] == UNSEEN {
                    call = Some(at);
                    break;
                }
                low[node] = low[node].min(index[edge.to]);
            }
            if let Some(at) = call {
                calls.push((node, at + 1));
                calls.push((graph.edges[node][at].to, 0));
                continue;
            }
            if low[node] == index[node] {
                while let Some(member) = stack.pop() {
                    knot[member] = next_knot;
                    if member == node {
                        break;
                    }
                }
                next_knot += 1;
            }
        }
    }
    knot
}
