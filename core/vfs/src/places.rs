//! Where in a file the bytes of its units lie.

use crate::{
    plan::{Leaf, Plan, UnitRef, Walk},
    units::Key,
};
use altmount_model::ByteRange;
use std::{collections::HashSet, sync::Arc};

/// A unit that holds bytes of a range of the file.
pub(crate) struct Held {
    pub(crate) unit: UnitRef,
    /// The bytes that cannot be read without it. Below zero where a cipher needs the block before the file's first byte.
    start: i64,
    end: i64,
}

/// The units of a range of the file, in the order of its bytes; one that holds several pieces may come more than once.
pub(crate) struct Units<'a> {
    plan: &'a Plan,
    walk: Walk,
    /// What is left of the leaf that the walk is at.
    leaf: Option<Leaf>,
}

impl<'a> Units<'a> {
    pub(crate) fn new(plan: &'a Plan, range: ByteRange) -> Self {
        Self {
            walk: Walk::new(plan, range.start, range.end.min(plan.len())),
            plan,
            leaf: None,
        }
    }
}

impl Iterator for Units<'_> {
    type Item = Held;

    fn next(&mut self) -> Option<Held> {
        loop {
            let mut leaf = match self.leaf.take() {
                Some(leaf) => leaf,
                None => self.walk.next(self.plan)?,
            };
            // Other leaves are in no unit.
            let Some(unit) = self.plan.unit(leaf.piece.node, leaf.piece.start) else {
                continue;
            };
            let end = u64::try_from(unit.start + unit.len as i64).unwrap_or(0);
            let end = end.min(leaf.piece.end);
            // A unit without bytes would be met for ever.
            let taken = end.checked_sub(leaf.piece.start).filter(|taken| *taken > 0)?;
            let start = leaf.at;
            leaf.at += taken as i64;
            let held = Held {
                unit,
                start,
                end: leaf.until.min(leaf.at + leaf.lag as i64),
            };
            leaf.piece.start = end;
            if leaf.piece.start < leaf.piece.end {
                self.leaf = Some(leaf);
            }
            return Some(held);
        }
    }
}

/// Where the bytes lie that are in some articles, in order and apart; the first `most` places.
pub(crate) fn of_articles(plan: &Plan, wanted: &HashSet<Arc<str>>, most: usize) -> Vec<ByteRange> {
    let mut places: Vec<ByteRange> = Vec::new();
    let all = ByteRange {
        start: 0,
        end: plan.len(),
    };
    for Held { unit, start, end } in Units::new(plan, all) {
        match &unit.key {
            Key::Article(id) if wanted.contains(id) => {}
            _ => continue,
        }
        let start = u64::try_from(start).unwrap_or(0);
        let end = u64::try_from(end).unwrap_or(0).min(plan.len());
        if start >= end {
            continue;
        }
        match places.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => {
                if places.len() == most {
                    break;
                }
                places.push(ByteRange { start, end });
            }
        }
    }
    places
}
