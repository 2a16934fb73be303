//! A folder: coders between packed streams and files.

use crate::{Error, ErrorKind, Method, Result, bytes_in::BytesIn, password::Derivation};
use std::io::Read;

pub(super) const SCHEME: &str = "7z, AES-256";

const COPY: &[u8] = &[0x00];
const LZMA: &[u8] = &[0x03, 0x01, 0x01];
const LZMA2: &[u8] = &[0x21];
const AES: &[u8] = &[0x06, 0xf1, 0x07, 0x01];

/// Names of the other methods (7-Zip's DOC/Methods.txt and the extensions that are in use).
const NAMES: &[(&[u8], &str)] = &[
    (LZMA, "LZMA"),
    (LZMA2, "LZMA2"),
    (&[0x03], "Delta"),
    (&[0x04], "BCJ x86"),
    (&[0x05], "PPC"),
    (&[0x06], "IA64"),
    (&[0x07], "ARM"),
    (&[0x08], "ARMT"),
    (&[0x09], "SPARC"),
    (&[0x0a], "ARM64"),
    (&[0x0b], "RISCV"),
    (&[0x03, 0x03, 0x01, 0x03], "BCJ"),
    (&[0x03, 0x03, 0x01, 0x1b], "BCJ2"),
    (&[0x03, 0x03, 0x02, 0x05], "PPC"),
    (&[0x03, 0x03, 0x04, 0x01], "IA64"),
    (&[0x03, 0x03, 0x05, 0x01], "ARM"),
    (&[0x03, 0x03, 0x07, 0x01], "ARMT"),
    (&[0x03, 0x03, 0x08, 0x05], "SPARC"),
    (&[0x03, 0x04, 0x01], "PPMd"),
    (&[0x04, 0x01, 0x08], "Deflate"),
    (&[0x04, 0x01, 0x09], "Deflate64"),
    (&[0x04, 0x02, 0x02], "BZip2"),
    (&[0x04, 0xf7, 0x11, 0x01], "Zstd"),
    (&[0x04, 0xf7, 0x11, 0x02], "Brotli"),
    (&[0x04, 0xf7, 0x11, 0x04], "LZ4"),
    (&[0x04, 0xf7, 0x11, 0x05], "LZ5"),
    (&[0x04, 0xf7, 0x11, 0x06], "Lizard"),
];

#[derive(Clone, Debug)]
pub(super) struct Coder {
    pub(super) id: Vec<u8>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) properties: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) coders: Vec<Coder>,
    /// Which input takes which output.
    pub(super) binds: Vec<(usize, usize)>,
    /// Inputs that take packed streams.
    pub(super) packed: Vec<usize>,
    /// Length of each output in bytes.
    pub(super) sizes: Vec<u64>,
    /// Length of the output that is not taken by a coder: what the folder holds.
    pub(super) size: u64,
    pub(super) crc: Option<u32>,
}

/// The coders of a folder in which each has one input and one output: from the packed stream on.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) aes: Option<Aes>,
    /// The coders behind the encryption, copies left out, with the lengths that they unpack to.
    pub(super) unpackers: Vec<(&'a Coder, u64)>,
}

/// 7z's AES-256 coder.
#[derive(Clone, Debug)]
pub(super) struct Aes {
    pub(super) salt: Vec<u8>,
    pub(super) log2: u8,
    pub(super) iv: [u8; 16],
    /// Length of the plain text in bytes.
    pub(super) len: u64,
}

impl Aes {
    fn new(properties: &[u8], len: u64) -> Result<Self> {
        let mut input = BytesIn::new(properties, "the properties of 7z's AES");
        let first = input.u8()?;
        let (mut salt_len, mut iv_len) = (usize::from(first >> 7), usize::from(first >> 6 & 1));
        if first & 0xc0 != 0 {
            let second = input.u8()?;
            salt_len += usize::from(second >> 4);
            iv_len += usize::from(second & 15);
        }
        let salt = input.take(salt_len)?.to_vec();
        let mut iv = [0; 16];
        iv[..iv_len].copy_from_slice(input.take(iv_len)?);
        Ok(Self {
            salt,
            log2: first & 0x3f,
            iv,
            len,
        })
    }

    pub(super) fn derivation(&self) -> Derivation {
        Derivation::SevenZ(self.salt.clone(), self.log2)
    }
}

fn name(id: &[u8]) -> String {
    match NAMES.iter().find(|(known, _)| *known == id) {
        Some((_, name)) => (*name).to_owned(),
        None => id.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

impl Folder {
    /// Stored, or packed by the named methods, the last coder first as 7-Zip lists them.
    pub(super) fn method(&self) -> Method {
        let names: Vec<String> = self
            .coders
            .iter()
            .filter(|c| c.id != COPY && c.id != AES)
            .map(|c| name(&c.id))
            .collect();
        if names.is_empty() {
            Method::Stored
        } else {
            Method::Packed(names.join(" + ").into())
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.coders.iter().any(|c| c.id == AES)
    }

    /// Follows the coders from the packed stream to the files.
    ///
    /// # Errors
    /// `Unsupported` where a coder has more than one stream, or AES comes behind a packer or twice.
    pub(super) fn chain(&self) -> Result<Chain<'_>> {
        if self.packed.len() != 1 || self.coders.iter().any(|c| c.inputs != 1 || c.outputs != 1) {
            return Err(Error::unsupported(
                "a 7z folder with several packed streams is not followed",
            ));
        }
        let mut chain = Chain {
            aes: None,
            unpackers: Vec::new(),
        };
        let mut at = self.packed[0];
        for _ in 0..self.coders.len() {
            let (coder, size) = match (self.coders.get(at), self.sizes.get(at)) {
                (Some(coder), Some(size)) => (coder, *size),
                _ => return Err(Error::invalid("a 7z folder names a coder that it does not have")),
            };
            match coder.id.as_slice() {
                COPY => {}
                AES if chain.aes.is_none() && chain.unpackers.is_empty() => {
                    chain.aes = Some(Aes::new(&coder.properties, size)?);
                }
                AES => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "a 7z folder that is encrypted twice or behind a packer",
                    ));
                }
                _ => chain.unpackers.push((coder, size)),
            }
            match self.binds.iter().find(|(_, output)| *output == at) {
                Some((input, _)) => at = *input,
                None => return Ok(chain),
            }
        }
        Err(Error::invalid("the coders of a 7z folder go round in a circle"))
    }
}

/// Unpacks a header (decrypted already).
pub(super) fn unpack(packed: &[u8], chain: &Chain<'_>) -> Result<Vec<u8>> {
    let mut data = packed.to_vec();
    for (coder, size) in &chain.unpackers {
        let size = (*size).min(super::MAX_HEADER);
        // A dictionary need not be longer than what is unpacked, whatever the properties ask for.
        let dictionary = |asked: u32| asked.clamp(4096, (size as u32).max(4096));
        let mut unpacked = Vec::new();
        let failed =
            |e: std::io::Error| Error::invalid(format!("the packed 7z header cannot be unpacked: {e}"));
        match coder.id.as_slice() {
            LZMA => {
                let mut input = BytesIn::new(&coder.properties, "the properties of LZMA");
                let (properties, asked) = (input.u8()?, input.u32()?);
                lzma_rust2::LzmaReader::new_with_props(&data[..], size, properties, dictionary(asked), None)
                    .map_err(failed)?
                    .take(size)
                    .read_to_end(&mut unpacked)
                    .map_err(failed)?;
            }
            LZMA2 => {
                let bits = BytesIn::new(&coder.properties, "the properties of LZMA2").u8()?;
                let asked = match bits {
                    0..40 => (2 | u32::from(bits & 1)) << (bits / 2 + 11),
                    _ => u32::MAX,
                };
                lzma_rust2::Lzma2Reader::new(&data[..], dictionary(asked), None)
                    .take(size)
                    .read_to_end(&mut unpacked)
                    .map_err(failed)?;
            }
            other => {
                return Err(Error::unsupported(format!(
                    "a 7z header that is packed with {}",
                    name(other)
                )));
            }
        }
        data = unpacked;
    }
    Ok(data)
}
