//! Layered layout of a graph: positions of boxes and routes of arrows.
//!
//! Boxes are arranged in ranks, each below its predecessors. An arrow over several ranks reserves a place in each rank
//! that it crosses, so that it does not cross boxes.

use std::collections::{BTreeMap, BTreeSet};

/// Distances in pixels: between two ranks of a single box each, between other ranks, and between two boxes of a rank.
pub(super) const STRAIGHT: f64 = 24.0;
const SLANTED: f64 = 52.0;
const BETWEEN: f64 = 26.0;

/// The width of an arrow that crosses a rank, and the distance between two arrows that go back.
const PASSING: f64 = 14.0;

/// The number of passes that sort the boxes of each rank by their neighbours.
const SWEEPS: usize = 6;

/// The most places reserved for crossing arrows; beyond that, arrows are straight.
const MOST_PASSING: usize = 50_000;

/// The positions of boxes and arrows.
#[derive(Debug, Default)]
pub(super) struct NetworkLayout {
    /// Left and top of each box.
    pub positions: Vec<(f64, f64)>,
    /// The points of each arrow, the last at its tip.
    pub arrows: Vec<Vec<(f64, f64)>>,
    /// The boxes without predecessors.
    pub roots: Vec<usize>,
    pub width: f64,
    pub height: f64,
}

/// A box, or the place for arrows from box `from` in a rank that they cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    Box(usize),
    Passing { from: usize, rank: usize },
}

/// Arranges boxes of these sizes. `edges` lead from one box to another, which is placed below it if it comes later in
/// the list. Arrows start and end `middle` to the right of a box's left side.
pub(super) fn layout(sizes: &[(f64, f64)], edges: &BTreeSet<(usize, usize)>, middle: f64) -> NetworkLayout {
    let mut rank = vec![0; sizes.len()];
    let mut has_source = vec![false; sizes.len()];
    // Edges are sorted by source, so the rank of each source is final before it is used.
    for (source, target) in edges.iter().filter(|(source, target)| source < target) {
        rank[*target] = rank[*target].max(rank[*source] + 1);
        has_source[*target] = true;
    }
    let mut ranks: Vec<Vec<Spot>> = vec![Vec::new(); rank.iter().max().map_or(0, |last| last + 1)];
    for (index, rank) in rank.iter().enumerate() {
        ranks[*rank].push(Spot::Box(index));
    }
    // The lowest rank that the arrows of a box reach.
    let mut lowest: BTreeMap<usize, usize> = BTreeMap::new();
    for (source, target) in edges.iter().filter(|(source, target)| source < target) {
        let lowest = lowest.entry(*source).or_default();
        *lowest = (*lowest).max(rank[*target]);
    }
    let passed: usize = lowest.iter().map(|(source, lowest)| lowest - rank[*source] - 1).sum();
    let passes = passed <= MOST_PASSING;
    if passes {
        for (source, lowest) in &lowest {
            for (rank, spots) in ranks.iter_mut().enumerate().take(*lowest).skip(rank[*source] + 1) {
                spots.push(Spot::Passing { from: *source, rank });
            }
        }
    }
    // The predecessor in the rank above of an arrow's box or place.
    let above = |source: usize, rank_of_end: usize| match rank_of_end - rank[source] {
        1 => Spot::Box(source),
        _ => Spot::Passing { from: source, rank: rank_of_end - 1 },
    };
    let mut joints: BTreeSet<(Spot, Spot)> = BTreeSet::new();
    for (source, target) in edges.iter().filter(|(source, target)| passes && source < target) {
        joints.insert((above(*source, rank[*target]), Spot::Box(*target)));
    }
    for spot in ranks.iter().flatten() {
        if let Spot::Passing { from, rank } = spot {
            joints.insert((above(*from, *rank), *spot));
        }
    }
    sort(&mut ranks, &joints);

    let width_of = |spot: &Spot| if let Spot::Box(index) = spot { sizes[*index].0 } else { PASSING };
    let widths: Vec<f64> = ranks
        .iter()
        .map(|rank| rank.iter().map(width_of).sum::<f64>() + BETWEEN * rank.len().saturating_sub(1) as f64)
        .collect();
    let width = widths.iter().copied().fold(0.0, f64::max);
    let is_column = ranks.iter().all(|rank| rank.len() == 1);
    let mut lefts: BTreeMap<Spot, f64> = BTreeMap::new();
    let mut spans = Vec::with_capacity(ranks.len());
    let mut top = 0.0;
    for (index, rank) in ranks.iter().enumerate() {
        if index > 0 {
            top += if rank.len() == 1 && ranks[index - 1].len() == 1 { STRAIGHT } else { SLANTED };
        }
        let mut left = if is_column { 0.0 } else { (width - widths[index]) / 2.0 };
        for spot in rank {
            lefts.insert(*spot, left);
            left += width_of(spot) + BETWEEN;
        }
        let heights = rank.iter().map(|spot| if let Spot::Box(index) = spot { sizes[*index].1 } else { 0.0 });
        let height = heights.fold(0.0, f64::max);
        spans.push((top, top + height));
        top += height;
    }
    let positions: Vec<(f64, f64)> =
        rank.iter().enumerate().map(|(index, rank)| (lefts[&Spot::Box(index)], spans[*rank].0)).collect();

    let end = |index: usize| (positions[index].0 + middle, positions[index].1);
    let start = |index: usize| (positions[index].0 + middle, positions[index].1 + sizes[index].1);
    let mut arrows = Vec::with_capacity(edges.len());
    let mut lanes = 0.0;
    for (source, target) in edges {
        if source < target {
            let mut points = vec![start(*source)];
            for between in rank[*source] + 1..if passes { rank[*target] } else { 0 } {
                let x = lefts[&Spot::Passing { from: *source, rank: between }] + PASSING / 2.0;
                points.extend([(x, spans[between].0), (x, spans[between].1)]);
            }
            // Below a box that is shorter than its rank the arrow goes down before it turns.
            let floor = (points[0].0, spans[rank[*source]].1);
            if floor.1 > points[0].1 {
                points.insert(1, floor);
            }
            points.push(end(*target));
            arrows.push(points);
        } else {
            // Back to a layer that is called again: around the right side.
            lanes += PASSING;
            let (from, to, lane) = (start(*source), end(*target), width + lanes);
            let (low, high) = (from.1 + STRAIGHT / 3.0, to.1 - STRAIGHT / 3.0);
            arrows.push(vec![from, (from.0, low), (lane, low), (lane, high), (to.0, high), to]);
        }
    }
    let roots = (0..sizes.len()).filter(|index| !has_source[*index]).collect();
    let below = if lanes > 0.0 { STRAIGHT / 3.0 } else { 0.0 };
    NetworkLayout { positions, arrows, roots, width: width + lanes, height: top + below }
}

/// Sorts the spots of each rank by the mean position of their neighbours, above and below in turn, so that few arrows
/// cross.
fn sort(ranks: &mut [Vec<Spot>], joints: &BTreeSet<(Spot, Spot)>) {
    let (mut up, mut down): (BTreeMap<Spot, Vec<Spot>>, BTreeMap<Spot, Vec<Spot>>) = Default::default();
    for (above, below) in joints {
        up.entry(*below).or_default().push(*above);
        down.entry(*above).or_default().push(*below);
    }
    for sweep in 0..SWEEPS {
        let downwards = sweep % 2 == 0;
        for step in 1..ranks.len() {
            let (fixed, moved) =
                if downwards { (step - 1, step) } else { (ranks.len() - step, ranks.len() - step - 1) };
            let order_of: BTreeMap<Spot, f64> =
                ranks[fixed].iter().enumerate().map(|(index, spot)| (*spot, index as f64)).collect();
            let joined = if downwards { &up } else { &down };
            let mut keyed: Vec<(f64, Spot)> = ranks[moved]
                .iter()
                .enumerate()
                .map(|(index, spot)| {
                    let orders =
                        joined.get(spot).map_or(&[][..], Vec::as_slice).iter().filter_map(|own| order_of.get(own));
                    let (sum, count) = orders.fold((0.0, 0.0), |(sum, count), order| (sum + order, count + 1.0));
                    (if count > 0.0 { sum / count } else { index as f64 }, *spot)
                })
                .collect();
            keyed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            ranks[moved] = keyed.into_iter().map(|(_, spot)| spot).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: (f64, f64) = (100.0, 40.0);

    fn of(count: usize, edges: &[(usize, usize)]) -> NetworkLayout {
        layout(&vec![BOX; count], &edges.iter().copied().collect(), 50.0)
    }

    #[test]
    fn a_chain_is_one_column() {
        let layout = of(3, &[(0, 1), (1, 2)]);
        assert_eq!(layout.positions, [(0.0, 0.0), (0.0, 64.0), (0.0, 128.0)]);
        assert_eq!(layout.arrows, [[(50.0, 40.0), (50.0, 64.0)], [(50.0, 104.0), (50.0, 128.0)]]);
        assert_eq!((layout.width, layout.height, layout.roots), (100.0, 168.0, vec![0]));
    }

    #[test]
    fn branches_are_side_by_side_and_an_arrow_passes_between() {
        // 0 → 1 → 3, 0 → 2 → 3, 0 → 3.
        let layout = of(4, &[(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]);
        let tops: Vec<f64> = layout.positions.iter().map(|position| position.1).collect();
        assert_eq!(tops, [0.0, 92.0, 92.0, 184.0]);
        assert_eq!(layout.width, 2.0 * 100.0 + PASSING + 2.0 * BETWEEN);
        let direct = layout.arrows.iter().find(|arrow| arrow.len() == 4).unwrap();
        let crosses = |(left, top): &(f64, f64)| {
            direct.iter().any(|(x, y)| (*left..left + BOX.0).contains(x) && *y > *top && *y < top + BOX.1)
        };
        assert!(!layout.positions.iter().any(crosses), "{layout:?}");
        // No two boxes touch.
        for (index, a) in layout.positions.iter().enumerate() {
            let apart = |b: &(f64, f64)| (a.0 - b.0).abs() >= BOX.0 + BETWEEN || (a.1 - b.1).abs() > BOX.1;
            assert!(layout.positions[..index].iter().all(apart), "{layout:?}");
        }
    }

    #[test]
    fn towers_do_not_cross() {
        // Two inputs whose towers are listed crosswise: 0 → 3, 1 → 2, both → 4.
        let layout = of(5, &[(0, 3), (1, 2), (2, 4), (3, 4)]);
        let is_left = |a: usize, b: usize| layout.positions[a].0 < layout.positions[b].0;
        assert_eq!(is_left(0, 1), is_left(3, 2), "{layout:?}");
        assert_eq!(layout.roots, [0, 1]);
    }

    #[test]
    fn an_arrow_can_go_back() {
        let layout = of(2, &[(0, 1), (1, 0), (1, 1)]);
        assert_eq!(layout.positions.len(), 2);
        assert_eq!(layout.arrows.len(), 3);
        assert!(layout.arrows.iter().flatten().all(|(x, y)| *x <= layout.width && *y <= layout.height), "{layout:?}");
    }
}
