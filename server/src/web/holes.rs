//! Where bytes of a file are missing: marks on a bar, and the same in words.

use super::bytes;
use altmount_model::ByteRange;

/// Width of the bar, in its own unit.
const BAR: f64 = 1000.0;
/// What a mark is wide at least: a hole of one article in a long film would not be seen at all. So there are no more than 500.
const NARROWEST: f64 = 2.0;
/// Most places that are said in words.
const SAID: usize = 100;

/// A mark on the bar.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) x: String,
    pub(super) width: String,
}

/// What is missing of a file in one way.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// For the bar.
    pub(super) marks: Vec<Mark>,
    /// In words, place by place.
    pub(super) places: Vec<String>,
    /// How many places there are beyond those.
    pub(super) further: usize,
    /// How many bytes they have together.
    pub(super) size: String,
}

impl Holes {
    /// Of ranges in order and apart.
    pub(super) fn of(ranges: &[ByteRange], size: u64) -> Self {
        Self {
            marks: marks(ranges, size),
            places: ranges.iter().take(SAID).map(|range| said(*range, size)).collect(),
            further: ranges.len().saturating_sub(SAID),
            size: bytes(ranges.iter().map(ByteRange::len).sum()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many places there are.
    pub(super) fn count(&self) -> usize {
        self.places.len() + self.further
    }
}

/// Those that would touch are one.
fn marks(ranges: &[ByteRange], size: u64) -> Vec<Mark> {
    let scale = BAR / size.max(1) as f64;
    let mut found: Vec<(f64, f64)> = Vec::new();
    for range in ranges {
        let (start, end) = (range.start as f64 * scale, range.end as f64 * scale);
        // Not past the end of the bar.
        let start = start.min(BAR - NARROWEST);
        let end = end.max(start + NARROWEST);
        match found.last_mut() {
            Some((_, last)) if start <= *last => *last = last.max(end),
            _ => found.push((start, end)),
        }
    }
    let mark = |(start, end): (f64, f64)| Mark {
        x: format!("{start:.2}"),
        width: format!("{:.2}", end - start),
    };
    found.into_iter().map(mark).collect()
}

fn said(range: ByteRange, size: u64) -> String {
    let percent = |at: u64| at as f64 / size.max(1) as f64 * 100.0;
    format!(
        "from {:.2} % to {:.2} %: bytes {} to {} ({})",
        percent(range.start),
        percent(range.end),
        range.start,
        range.end.saturating_sub(1),
        bytes(range.len())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(ranges: &[(u64, u64)], size: u64) -> Holes {
        let ranges: Vec<ByteRange> = ranges
            .iter()
            .map(|&(start, end)| ByteRange { start, end })
            .collect();
        Holes::of(&ranges, size)
    }

    fn shown(holes: &Holes) -> Vec<(&str, &str)> {
        let marks = holes.marks.iter();
        marks.map(|mark| (mark.x.as_str(), mark.width.as_str())).collect()
    }

    #[test]
    fn a_hole_is_seen_however_small_it_is() {
        let few = holes(&[(0, 1), (500, 1000)], 1000);
        assert_eq!(shown(&few), [("0.00", "2.00"), ("500.00", "500.00")]);
        assert_eq!(
            few.places[1],
            "from 50.00 % to 100.00 %: bytes 500 to 999 (500 B)"
        );
        assert_eq!((few.count(), few.size.as_str()), (2, "501 B"));
        // At the very end it is not behind the bar.
        assert_eq!(
            shown(&holes(&[(1_000_000 - 1, 1_000_000)], 1_000_000)),
            [("998.00", "2.00")]
        );
        assert!(holes(&[], 0).is_empty());
    }

    #[test]
    fn many_holes_are_few_marks_that_cover_all_of_them() {
        let ranges: Vec<(u64, u64)> = (0..100_000).map(|at| (at * 20, at * 20 + 1)).collect();
        let many = holes(&ranges, 2_000_000);
        assert_eq!(shown(&many), [("0.00", "1000.00")]);
        assert_eq!((many.places.len(), many.count()), (SAID, 100_000));
        let apart: Vec<(u64, u64)> = (0..10_000).map(|at| (at * 300, at * 300 + 1)).collect();
        assert!(holes(&apart, 100_000_000).marks.len() <= 500);
    }
}
