//! Archives made by other implementations, and the posts that they become.

use crate::post::Post;
use rars::{ArchiveVersion, Builder};
use sevenz_rust2::{
    ArchiveEntry, ArchiveWriter, EncoderConfiguration, EncoderMethod, Password,
    encoder_options::AesEncoderOptions,
};
use std::io::{Cursor, Write};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Size of the articles of all posts here.
pub(crate) const ARTICLE: usize = 4_000;

/// A file: its path and its bytes.
pub(crate) type File = (&'static str, Vec<u8>);

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A film: an EBML magic, then noise.
pub(crate) fn film(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(len, seed);
    bytes[..4].copy_from_slice(b"\x1a\x45\xdf\xa3");
    bytes
}

/// Text that every packer shrinks.
pub(crate) fn text(len: usize) -> Vec<u8> {
    b"a line of text that shrinks\n"
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}

/// Volumes of `size` bytes, or one of any size where that is 0.
pub(crate) fn rar(
    version: ArchiveVersion,
    files: &[File],
    size: usize,
    with: impl Fn(Builder) -> Builder,
) -> Vec<Vec<u8>> {
    let mut builder = with(
        Builder::new(version)
            .store(true)
            .volume_size((size > 0).then_some(size)),
    );
    for (name, data) in files {
        builder
            .add_bytes(name.as_bytes().to_vec(), data.clone(), Some(1_700_000_000), None)
            .expect("takes the file");
    }
    if size == 0 {
        return vec![builder.to_bytes().expect("writes")];
    }
    builder.build_volumes(None).expect("writes")
}

pub(crate) fn rar5(files: &[File], size: usize) -> Vec<Vec<u8>> {
    rar(ArchiveVersion::Rar50, files, size, |b| b)
}

pub(crate) fn locked(password: &'static str, headers: bool) -> impl Fn(Builder) -> Builder {
    move |b| {
        b.password(Some(password.as_bytes().to_vec()))
            .header_encryption(headers)
    }
}

pub(crate) fn sevenz(files: &[File], packed: bool, password: Option<&str>) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Cursor::new(Vec::new())).expect("writes");
    let method = if packed {
        EncoderMethod::LZMA2
    } else {
        EncoderMethod::COPY
    };
    let mut methods: Vec<EncoderConfiguration> = vec![EncoderConfiguration::new(method)];
    if let Some(password) = password {
        methods.insert(0, AesEncoderOptions::new(Password::from(password)).into());
    }
    writer.set_content_methods(methods);
    writer.set_encrypt_header(password.is_some());
    for (name, data) in files {
        writer
            .push_archive_entry(ArchiveEntry::new_file(name), Some(&data[..]))
            .expect("writes");
    }
    writer.finish().expect("writes").into_inner()
}

pub(crate) fn zipped(files: &[(String, Vec<u8>)], packed: bool, password: Option<&str>) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let method = if packed {
        CompressionMethod::Deflated
    } else {
        CompressionMethod::Stored
    };
    for (name, data) in files {
        let mut options = SimpleFileOptions::default().compression_method(method);
        if let Some(password) = password {
            options = options.with_aes_encryption(zip::AesMode::Aes256, password);
        }
        writer.start_file(name.as_str(), options).expect("writes");
        writer.write_all(data).expect("writes");
    }
    writer.finish().expect("writes").into_inner()
}

pub(crate) fn owned(files: &[File]) -> Vec<(String, Vec<u8>)> {
    files
        .iter()
        .map(|(name, data)| ((*name).to_owned(), data.clone()))
        .collect()
}

/// Cut into pieces of `size` bytes.
pub(crate) fn pieces(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

/// Posts of volumes, named by `name` from their number, which counts from 1.
pub(crate) fn posts(volumes: &[Vec<u8>], name: impl Fn(usize) -> String) -> Vec<Post> {
    let numbered = volumes.iter().enumerate();
    numbered
        .map(|(i, v)| Post::new(&name(i + 1), v.clone(), ARTICLE))
        .collect()
}

/// The name of a RAR volume.
pub(crate) fn part(number: usize) -> String {
    format!("rel.part{number:02}.rar")
}

/// A PAR2 file that describes these (PAR 2.0, "Main packet" and "File Description packet").
pub(crate) fn par2(files: &[(&str, &[u8])]) -> Vec<u8> {
    use md5::{Digest, Md5};
    let md5 = |bytes: &[u8]| -> [u8; 16] { Md5::digest(bytes).into() };
    let mut described: Vec<([u8; 16], Vec<u8>)> = files
        .iter()
        .map(|(name, data)| {
            let head = md5(&data[..data.len().min(16 << 10)]);
            let len = (data.len() as u64).to_le_bytes();
            let id = md5(&[&head[..], &len, name.as_bytes()].concat());
            let mut padded = name.as_bytes().to_vec();
            padded.resize(padded.len().next_multiple_of(4), 0);
            (id, [&id[..], &md5(data), &head, &len, &padded].concat())
        })
        .collect();
    described.sort();
    let mut main = 4096u64.to_le_bytes().to_vec();
    main.extend((described.len() as u32).to_le_bytes());
    described.iter().for_each(|(id, _)| main.extend(id));
    let set = md5(&main);
    let packet = |kind: &[u8; 16], body: &[u8]| {
        let hashed = [&set[..], kind, body].concat();
        let len = (body.len() as u64 + 64).to_le_bytes();
        [&b"PAR2\0PKT"[..], &len, &md5(&hashed), &hashed].concat()
    };
    let mut all = packet(b"PAR 2.0\0Main\0\0\0\0", &main);
    for (_, body) in &described {
        all.extend(packet(b"PAR 2.0\0FileDesc", body));
    }
    all
}
