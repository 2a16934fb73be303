//! Seeded bytes that can be read at any offset, so that a release of any size takes no memory.

/// One step of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose outputs pass as random.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Writes the bytes `offset .. offset + out.len()` of the endless stream of `seed` into `out`.
///
/// The stream is counter based (eight bytes a counter), so any range costs only its own length.
pub(crate) fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    let key = mix(seed);
    let mut counter = offset / 8;
    let word = |counter: u64| mix(key ^ counter.wrapping_mul(0xD134_2543_DE82_EF95)).to_le_bytes();
    let lead = (offset % 8) as usize;
    let mut out = out;
    if lead > 0 {
        let n = out.len().min(8 - lead);
        let (head, tail) = out.split_at_mut(n);
        head.copy_from_slice(&word(counter)[lead..lead + n]);
        counter += 1;
        out = tail;
    }
    let mut words = out.chunks_exact_mut(8);
    for chunk in &mut words {
        chunk.copy_from_slice(&word(counter));
        counter += 1;
    }
    let rest = words.into_remainder();
    let last = word(counter);
    rest.copy_from_slice(&last[..rest.len()]);
}

/// A small sequential generator for choices (ids, orders, part sizes).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// A value below `bound`; 0 where `bound` is 0. The bias of the modulo does not matter to test data.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_the_same_stream() {
        let mut whole = vec![0; 1000];
        fill(7, 0, &mut whole);
        for offset in 0..40 {
            for len in 0..40 {
                let mut part = vec![0; len];
                fill(7, offset as u64, &mut part);
                assert_eq!(part, whole[offset..offset + len], "offset {offset}, length {len}");
            }
        }
        let mut other = vec![0; 1000];
        fill(8, 0, &mut other);
        assert_ne!(whole, other);
    }

    #[test]
    fn all_byte_values_occur() {
        let mut bytes = vec![0; 1 << 16];
        fill(1, 3, &mut bytes);
        let mut seen = [false; 256];
        bytes.iter().for_each(|b| seen[usize::from(*b)] = true);
        assert!(seen.iter().all(|s| *s));
    }
}
