//! Small disc images, built field by field from the standards.

/// A file of an image: path below the root (one level of folders), and bytes.
pub(crate) type Files<'a> = &'a [(&'a str, Vec<u8>)];

const SECTOR: usize = 2048;

fn both32(value: u32) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}

fn both16(value: u16) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}

/// How an ISO 9660 image has its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Plain,
    Joliet,
    RockRidge,
}

/// A directory record (ECMA-119 9.1).
fn record(name: &[u8], system_use: &[u8], sector: u32, len: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(sector));
    bytes.extend(both32(len));
    bytes.extend([124, 2, 29, 12, 0, 0, 0]);
    bytes.extend([flags, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
    if name.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend_from_slice(system_use);
    if !bytes.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

/// A volume descriptor (ECMA-119 8.4) whose root is at a sector.
fn descriptor(kind: u8, escape: &[u8], root: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    bytes[0] = kind;
    bytes[1..7].copy_from_slice(b"CD001\x01");
    bytes[88..88 + escape.len()].copy_from_slice(escape);
    bytes[128..132].copy_from_slice(&both16(SECTOR as u16));
    bytes[156..156 + root.len()].copy_from_slice(&root);
    bytes
}

/// An ISO 9660 image. A file of more than `most` bytes has several extents.
pub(crate) fn iso(files: Files<'_>, names: Names, most: usize) -> Vec<u8> {
    let mut folders: Vec<&str> = files
        .iter()
        .filter_map(|(p, _)| Some(p.split_once('/')?.0))
        .collect();
    folders.dedup();
    // Sectors: descriptors at 16 to 18, the root at 20, a folder each from 21 on, then the data.
    let first_data = 21 + folders.len() as u32;
    let encode = |name: &str| -> (Vec<u8>, Vec<u8>) {
        match names {
            Names::Plain => (format!("{name};1").into_bytes(), Vec::new()),
            Names::Joliet => (
                name.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                Vec::new(),
            ),
            Names::RockRidge => {
                let mut entry = vec![b'N', b'M', 5 + name.len() as u8, 1, 0];
                entry.extend_from_slice(name.as_bytes());
                (b"SHORT.;1".to_vec(), entry)
            }
        }
    };
    let mut data = Vec::new();
    let mut tables: Vec<Vec<u8>> = vec![Vec::new(); 1 + folders.len()];
    for (i, table) in tables.iter_mut().enumerate() {
        let own = if i == 0 && names == Names::RockRidge {
            vec![b'S', b'P', 7, 1, 0xbe, 0xef, 0]
        } else {
            Vec::new()
        };
        table.extend(record(&[0], &own, 20 + i as u32, SECTOR as u32, 2));
        table.extend(record(&[1], &[], 20, SECTOR as u32, 2));
    }
    for (i, folder) in folders.iter().enumerate() {
        let (name, system_use) = encode(folder);
        let entry = record(&name, &system_use, 21 + i as u32, SECTOR as u32, 2);
        tables[0].extend(entry);
    }
    for (path, bytes) in files {
        let (table, name) = match path.split_once('/') {
            Some((folder, name)) => (
                1 + folders.iter().position(|f| *f == folder).expect("a folder"),
                name,
            ),
            None => (0, *path),
        };
        let (encoded, system_use) = encode(name);
        let parts: Vec<&[u8]> = if bytes.is_empty() {
            vec![&[]]
        } else {
            bytes.chunks(most).collect()
        };
        for (i, part) in parts.iter().enumerate() {
            let sector = first_data + (data.len() / SECTOR) as u32;
            let flags = if i + 1 < parts.len() { 0x80 } else { 0 };
            tables[table].extend(record(&encoded, &system_use, sector, part.len() as u32, flags));
            data.extend_from_slice(part);
            data.resize(data.len().next_multiple_of(SECTOR), 0xee);
        }
    }
    let mut image = vec![0; 16 * SECTOR];
    let root = record(&[0], &[], 20, SECTOR as u32, 2);
    let empty = record(&[0], &[], 19, 0, 2);
    if names == Names::Joliet {
        image.extend(descriptor(1, b"", empty));
        image.extend(descriptor(2, b"%/E", root));
    } else {
        image.extend(descriptor(1, b"", root));
        image.extend(vec![0; SECTOR]);
        let at = image.len() - SECTOR;
        image[at + 1..at + 6].copy_from_slice(b"CD001");
    }
    image.extend(descriptor(255, b"", Vec::new()));
    image.resize(20 * SECTOR, 0);
    for table in tables {
        image.extend_from_slice(&table);
        image.resize(image.len().next_multiple_of(SECTOR), 0);
    }
    image.extend(data);
    image
}

/// CRC-16/XMODEM, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    for bit in bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)) {
        let feed = (crc >> 15) as u8 ^ bit;
        crc = (crc << 1) ^ if feed == 1 { 0x1021 } else { 0 };
    }
    crc
}

/// Puts a descriptor tag (ECMA-167 3/7.2) before a body.
fn tag(id: u16, location: u32, body: &[u8]) -> Vec<u8> {
    let mut tag = Vec::new();
    tag.extend(id.to_le_bytes());
    tag.extend(3u16.to_le_bytes());
    tag.extend([0, 0, 0, 0]);
    tag.extend(crc16(body).to_le_bytes());
    tag.extend((body.len() as u16).to_le_bytes());
    tag.extend(location.to_le_bytes());
    tag[4] = tag.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
    tag.extend_from_slice(body);
    tag
}

fn long_ad(len: u32, block: u32, partition: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(len.to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(partition.to_le_bytes());
    bytes.extend([0; 6]);
    bytes
}

/// A file entry's body, normal (ECMA-167 4/14.9) or extended (4/14.17).
fn entry(extended: bool, kind: u8, allocation: u16, size: u64, descriptors: &[u8]) -> Vec<u8> {
    let mut body = vec![0; if extended { 200 } else { 160 }];
    body[4..6].copy_from_slice(&4u16.to_le_bytes());
    body[11] = kind;
    body[18..20].copy_from_slice(&allocation.to_le_bytes());
    body[40..48].copy_from_slice(&size.to_le_bytes());
    // 2024-02-29 12:00:00 at +60 minutes.
    let time = [0x3c, 0x10, 0xe8, 0x07, 2, 29, 12, 0, 0, 0, 0, 0];
    let at = if extended { 76 } else { 68 };
    body[at..at + 12].copy_from_slice(&time);
    let lens = body.len() - 8;
    body[lens + 4..].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
    body.extend_from_slice(descriptors);
    body
}

/// A file identifier (ECMA-167 4/14.4), padded.
fn identifier(name: &str, characteristics: u8, icb: Vec<u8>) -> Vec<u8> {
    let mut encoded = Vec::new();
    if !name.is_empty() {
        if name.chars().all(|c| (c as u32) < 256) {
            encoded.push(8);
            encoded.extend(name.chars().map(|c| c as u8));
        } else {
            encoded.push(16);
            encoded.extend(name.encode_utf16().flat_map(u16::to_be_bytes));
        }
    }
    let mut body = vec![1, 0, characteristics, encoded.len() as u8];
    body.extend(icb);
    body.extend([0, 0]);
    body.extend(encoded);
    let padded = (16 + body.len()).next_multiple_of(4) - 16;
    body.resize(padded, 0);
    tag(257, 0, &body)
}

/// A UDF image: revision 2.50 with a metadata partition and extended entries, or 1.02 without. The first file's data lie
/// in three extents with a hole of a sector of zeros for the second, the last file's (of at most 1,000 bytes) in its
/// entry.
pub(crate) fn udf(files: Files<'_>, metadata: bool) -> Vec<u8> {
    const PARTITION: u32 = 300;
    // In the partition: the metadata file's entry and mirror at 0 and 1; its data in two pieces, 40 blocks from 10 on and
    // the rest from 60 on; the files' data from 200 on.
    const META: (u32, u32, u32) = (10, 40, 60);
    let place = |block: u32| -> usize {
        let block = if !metadata {
            block + 10
        } else if block < META.1 {
            META.0 + block
        } else {
            META.2 + block - META.1
        };
        (PARTITION + block) as usize
    };
    let reference = u16::from(metadata);
    let mut image = vec![0; (PARTITION as usize + 200) * SECTOR];
    let put = |image: &mut Vec<u8>, sector: usize, bytes: &[u8]| {
        assert!(bytes.len() <= SECTOR, "a descriptor of {} bytes", bytes.len());
        image[sector * SECTOR..sector * SECTOR + bytes.len()].copy_from_slice(bytes);
    };
    for (i, id) in [b"BEA01", b"NSR03", b"TEA01"].iter().enumerate() {
        put(&mut image, 16 + i, &[&[0][..], &id[..], &[1]].concat());
    }
    // Anchor (3/10.2), partition (3/10.5) and logical volume (3/10.6) descriptors.
    let mut anchor = Vec::new();
    anchor.extend((16 * SECTOR as u32).to_le_bytes());
    anchor.extend(32u32.to_le_bytes());
    anchor.extend((16 * SECTOR as u32).to_le_bytes());
    anchor.extend(48u32.to_le_bytes());
    anchor.resize(496, 0);
    put(&mut image, 256, &tag(2, 256, &anchor));
    let mut partition = vec![0; 496];
    partition[172..176].copy_from_slice(&PARTITION.to_le_bytes());
    partition[176..180].copy_from_slice(&100_000u32.to_le_bytes());
    let mut logical = vec![0; 424];
    logical[196..200].copy_from_slice(&(SECTOR as u32).to_le_bytes());
    logical[232..248].copy_from_slice(&long_ad(SECTOR as u32, 0, reference));
    logical[252..256].copy_from_slice(&(1 + u32::from(metadata)).to_le_bytes());
    logical.extend([1, 6, 1, 0, 0, 0]);
    if metadata {
        let mut map = vec![0; 64];
        map[0] = 2;
        map[1] = 64;
        map[5..28].copy_from_slice(b"*UDF Metadata Partition");
        map[40..44].copy_from_slice(&0u32.to_le_bytes());
        map[44..48].copy_from_slice(&1u32.to_le_bytes());
        logical.extend(map);
    }
    let terminator = tag(8, 0, &[0; 496]);
    for sequence in [32, 48] {
        put(&mut image, sequence, &tag(5, 0, &partition));
        put(&mut image, sequence + 1, &tag(6, 0, &logical));
        put(&mut image, sequence + 2, &terminator);
    }
    if metadata {
        let short = |len: u32, block: u32| [len.to_le_bytes(), block.to_le_bytes()].concat();
        let total = (META.1 + 100) * SECTOR as u32;
        let descriptors = [
            short(META.1 * SECTOR as u32, META.0),
            short(100 * SECTOR as u32, META.2),
        ]
        .concat();
        let body = entry(true, 250, 0, total.into(), &descriptors);
        put(&mut image, PARTITION as usize, &tag(266, 0, &body));
        put(&mut image, PARTITION as usize + 1, &tag(266, 1, &body));
    }
    let file_entry = |block: u32, body: Vec<u8>| tag(if metadata { 266 } else { 261 }, block, &body);
    // The file set (4/14.1), the root at block 1, its data at 2; folders and files behind.
    let mut set = vec![0; 496];
    set[384..400].copy_from_slice(&long_ad(SECTOR as u32, 1, reference));
    put(&mut image, place(0), &tag(256, 0, &set));
    let mut next = 3u32;
    let mut tables: Vec<(String, u32, Vec<u8>)> = vec![(String::new(), 1, Vec::new())];
    for (path, _) in files {
        if let Some((folder, _)) = path.split_once('/')
            && tables.iter().all(|(name, _, _)| name != folder)
        {
            let icb = long_ad(SECTOR as u32, next, reference);
            tables[0].2.extend(identifier(folder, 2, icb));
            tables.push((folder.to_owned(), next, Vec::new()));
            next += 2;
        }
    }
    let mut data_block = if metadata { 200u32 } else { 190 };
    for (i, (path, bytes)) in files.iter().enumerate() {
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        let icb_block = next;
        next += 1;
        let table = tables.iter_mut().find(|(n, _, _)| n == folder).expect("a folder");
        table
            .2
            .extend(identifier(name, 0, long_ad(SECTOR as u32, icb_block, reference)));
        let body = if i + 1 == files.len() {
            assert!(bytes.len() <= 1000, "an embedded file of {} bytes", bytes.len());
            entry(metadata, 5, 3, bytes.len() as u64, bytes)
        } else {
            // Three pieces: some sectors, a hole, and the rest from a block with a gap before it.
            let first = if i == 0 {
                (bytes.len() / 3).next_multiple_of(SECTOR)
            } else {
                bytes.len()
            };
            let mut descriptors = long_ad(first as u32, data_block, 0);
            image.extend_from_slice(&bytes[..first]);
            image.resize(image.len().next_multiple_of(SECTOR), 0xee);
            data_block += first.div_ceil(SECTOR) as u32;
            if first < bytes.len() {
                assert!(
                    bytes[first..first + SECTOR].iter().all(|b| *b == 0),
                    "a hole is zero"
                );
                descriptors.extend(long_ad(1 << 30 | SECTOR as u32, 0, 0));
                image.extend(vec![0xee; 5 * SECTOR]);
                data_block += 5;
                let rest = &bytes[first + SECTOR..];
                descriptors.extend(long_ad(rest.len() as u32, data_block, 0));
                image.extend_from_slice(rest);
                image.resize(image.len().next_multiple_of(SECTOR), 0xee);
                data_block += rest.len().div_ceil(SECTOR) as u32;
            }
            entry(metadata, 5, 1, bytes.len() as u64, &descriptors)
        };
        put(&mut image, place(icb_block), &file_entry(icb_block, body));
    }
    for (_, block, table) in &tables {
        let parent = identifier("", 0x0a, long_ad(SECTOR as u32, 1, reference));
        let table = [&parent[..], table].concat();
        put(&mut image, place(block + 1), &table);
        let descriptors = [(table.len() as u32).to_le_bytes(), (block + 1).to_le_bytes()].concat();
        // Without a metadata partition short descriptors are of the entry's own partition.
        let body = entry(metadata, 4, 0, table.len() as u64, &descriptors);
        put(&mut image, place(*block), &file_entry(*block, body));
    }
    if !metadata {
        // Blocks were placed ten further on: the partition begins there.
        let start = (PARTITION + 10).to_le_bytes();
        partition[172..176].copy_from_slice(&start);
        for sequence in [32, 48] {
            put(&mut image, sequence, &tag(5, 0, &partition));
        }
    }
    image
}
