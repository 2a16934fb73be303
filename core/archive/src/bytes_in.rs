//! A cursor over header bytes: every read is checked, none panics.

use crate::{Error, Result};

#[derive(Clone, Debug)]
pub(crate) struct BytesIn<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What is being read, for messages.
    what: &'static str,
}

impl<'a> BytesIn<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn short(&self) -> Error {
        Error::invalid(format!("{} ends in the middle of a field", self.what))
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.left() {
            return Err(self.short());
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn take_u64(&mut self, len: u64) -> Result<&'a [u8]> {
        self.take(usize::try_from(len).map_err(|_| self.short())?)
    }

    pub(crate) fn skip(&mut self, len: usize) -> Result<()> {
        self.take(len).map(|_| ())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// RAR 5's variable length integer: seven bits a byte, lowest first, at most ten bytes.
    pub(crate) fn vint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::invalid(format!(
            "{} has a number of more than 64 bits",
            self.what
        )))
    }

    /// 7z's NUMBER: the first byte's leading ones say how many bytes follow.
    pub(crate) fn number(&mut self) -> Result<u64> {
        let first = self.u8()?;
        let mut mask = 0x80u8;
        let mut value = 0u64;
        for i in 0..8 {
            if first & mask == 0 {
                let high = u64::from(first & (mask - 1));
                return Ok(value | (high << (8 * i)));
            }
            value |= u64::from(self.u8()?) << (8 * i);
            mask >>= 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let vint = |bytes: &[u8]| BytesIn::new(bytes, "x").vint().ok();
        assert_eq!(vint(&[0x7f]), Some(127));
        assert_eq!(vint(&[0x80, 0x01]), Some(128));
        assert_eq!(vint(&[0x81, 0x80, 0x00]), Some(1));
        assert_eq!(
            vint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Some(u64::MAX)
        );
        assert_eq!(vint(&[0xff; 10]), None);
        assert_eq!(vint(&[0x80]), None);
        let number = |bytes: &[u8]| BytesIn::new(bytes, "x").number().ok();
        assert_eq!(number(&[0x7f]), Some(0x7f));
        assert_eq!(number(&[0x81, 0x02]), Some(0x102));
        assert_eq!(number(&[0xc1, 0x03, 0x02]), Some(0x10203));
        assert_eq!(
            number(&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80]),
            Some(0x8000_0000_0000_0001)
        );
        assert_eq!(number(&[0xc1, 0x03]), None);
    }
}
