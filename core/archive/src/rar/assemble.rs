//! Ordered volumes to sets: completeness, and the members' extents.

use super::{
    Format, Part, Volume,
    order::{Run, runs},
};
use crate::{Check, Encryption, ErrorKind, Extent, Member, MemberKind, Method};
use std::collections::HashMap;

/// What the order of a set's volumes rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Proof {
    /// There is one volume.
    Single,
    /// Each volume's number is in its headers.
    Numbers,
    /// Each file's parts fit behind one another in one way only.
    Chain,
    /// Some volumes could change places, and in this order alone the parts' CRCs make up the whole file's.
    Checksums,
    /// Some volumes could change places, and the numbers in their names decided.
    Names,
    /// Some volumes could change places, and nothing but the order in which they were given decided.
    Given,
}

/// An archive: its volumes in order, and its members.
#[derive(Clone, Debug)]
pub struct Set {
    /// Which format.
    pub format: Format,
    /// The volumes in order: indexes of what [`assemble`] was given.
    pub volumes: Vec<usize>,
    /// What the order rests on.
    pub proof: Proof,
    /// The members; the volumes of their extents are indexes of what [`assemble`] was given.
    pub members: Vec<Member>,
    /// Whether volumes are missing at the start, in the middle or at the end.
    pub missing_volumes: bool,
    /// Volumes that another one of the set stands for already.
    pub duplicates: Vec<usize>,
    /// What volumes had to say of damaged headers.
    pub damage: Vec<String>,
}

/// Finds the sets among `volumes` and the members of each. The names are used where nothing else decides.
pub fn assemble(volumes: &[(&str, &Volume)]) -> Vec<Set> {
    let mut runs = runs(volumes);
    runs.sort_by_key(|run| run.volumes.iter().min().copied());
    runs.into_iter().map(|run| set(volumes, run)).collect()
}

/// A file of which more parts are expected.
struct Open<'a> {
    member: Member,
    part: &'a Part,
}

fn set(volumes: &[(&str, &Volume)], run: Run) -> Set {
    let mut members: Vec<Member> = Vec::new();
    let mut copies: Vec<(usize, &str)> = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut missing = !run.gaps.is_empty();
    let mut damage = Vec::new();
    let mut previous: Option<&Volume> = None;
    for i in &run.volumes {
        let (name, volume) = volumes[*i];
        if let Some(text) = &volume.damage {
            damage.push(format!("`{name}`: {text}"));
        }
        if run.gaps.contains(i)
            && let Some(unfinished) = open.take()
        {
            members.push(without_rest(unfinished.member));
        }
        for part in &volume.parts {
            let extent = Extent::Data {
                volume: *i,
                offset: part.offset,
                len: part.len,
            };
            let mut member = match open.take() {
                Some(before) if part.split_before && before.part.key() == part.key() => {
                    let mut member = before.member;
                    if !part.split_after {
                        member.check = part.member.check;
                    }
                    member.problem = member.problem.or_else(|| part.member.problem.clone());
                    member
                }
                other => {
                    if let Some(unfinished) = other {
                        missing = true;
                        members.push(without_rest(unfinished.member));
                    }
                    let mut member = part.member.clone();
                    if part.split_before {
                        missing = true;
                        member.problem = Some((
                            ErrorKind::MissingVolume,
                            format!("the volume before `{name}` is missing"),
                        ));
                    }
                    if let Some(target) = &part.copy_of {
                        copies.push((members.len(), target));
                    }
                    member
                }
            };
            if part.len > 0 {
                member.extents.push(extent);
            }
            if part.split_after {
                open = Some(Open { member, part });
                continue;
            }
            check_sizes(&mut member, part);
            members.push(member);
        }
        previous = Some(volume);
    }
    if let Some(unfinished) = open {
        missing = true;
        members.push(without_rest(unfinished.member));
    }
    // The first or the last volume may be missing without a file being cut.
    let first = run.volumes.first().map(|i| volumes[*i].1);
    missing |= first.is_some_and(|v| v.multi && v.number.is_some_and(|n| n > 0));
    missing |= previous.is_some_and(|v| v.multi && v.more == Some(true));
    missing |= members
        .iter()
        .any(|m| matches!(m.problem, Some((ErrorKind::MissingVolume, _))));
    resolve_copies(&mut members, &copies);
    Set {
        format: first.map_or(Format::Rar5, |v| v.format),
        volumes: run.volumes,
        proof: run.proof,
        members,
        missing_volumes: missing,
        duplicates: run.duplicates,
        damage,
    }
}

fn without_rest(mut member: Member) -> Member {
    member.check = Check::None;
    member.problem.get_or_insert((
        ErrorKind::MissingVolume,
        "the volume with its next part is missing".to_owned(),
    ));
    member
}

/// The parts of a stored file are as long as the file.
fn check_sizes(member: &mut Member, last: &Part) {
    if member.problem.is_some() || member.kind != MemberKind::File || last.copy_of.is_some() {
        return;
    }
    if !last.size_known {
        member.problem = Some((ErrorKind::Invalid, "its size is not in the headers".to_owned()));
        return;
    }
    if member.method != Method::Stored {
        return;
    }
    let kept = Extent::sum(&member.extents);
    let expected = match member.encryption {
        Encryption::None => Some(member.size),
        _ => member.size.checked_next_multiple_of(16),
    };
    if kept.is_none() || kept != expected {
        // Too few bytes are a part that was never given; the headers of what is there contradict nothing.
        let kind = if kept < expected {
            ErrorKind::MissingVolume
        } else {
            ErrorKind::Invalid
        };
        member.problem = Some((
            kind,
            format!(
                "its parts have {} bytes in all, and it should have {}",
                kept.unwrap_or(u64::MAX),
                expected.unwrap_or(u64::MAX)
            ),
        ));
    }
}

/// Gives hard links and file copies the bytes of what they name.
fn resolve_copies(members: &mut [Member], copies: &[(usize, &str)]) {
    let by_path: HashMap<String, usize> = members
        .iter()
        .enumerate()
        .rev()
        .map(|(i, m)| (m.path.clone(), i))
        .collect();
    for (i, target) in copies {
        let found = by_path
            .get(*target)
            .filter(|t| *t != i)
            .map(|t| members[*t].clone());
        let Some(member) = members.get_mut(*i) else {
            continue;
        };
        match found {
            Some(found) => {
                member.size = found.size;
                member.method = found.method;
                member.encryption = found.encryption;
                member.extents = found.extents;
                member.check = found.check;
                member.problem = found.problem;
            }
            None => {
                member.problem = Some((
                    ErrorKind::Invalid,
                    format!("it is a copy of `{target}`, which is not in the archive"),
                ));
            }
        }
    }
}
