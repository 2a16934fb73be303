//! Parsing the NZB of a 100 GB release: 135,000 segments, about 15 MB of XML.

use altmount_importer_nzb::{Config, parse_nzb};
use std::fmt::Write;

fn main() {
    divan::main();
}

fn nzb(files: usize, segments: usize) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <!DOCTYPE nzb PUBLIC \"-//newzBin//DTD NZB 1.1//EN\" \"http://www.newzbin.com/DTD/nzb/nzb-1.1.dtd\">\n\
         <nzb xmlns=\"http://www.newzbin.com/DTD/2003/nzb\">\n",
    );
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for file in 0..files {
        let _ = write!(
            xml,
            "<file poster=\"someone &lt;a@b.c&gt;\" date=\"1700000000\" subject=\"[{file}/{files}] &quot;release.part{file:03}.rar&quot; \
             yEnc (1/{segments})\">\n<groups><group>alt.binaries.test</group></groups>\n<segments>\n"
        );
        for number in 1..=segments {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = writeln!(
                xml,
                "<segment bytes=\"739{:03}\" number=\"{number}\">{random:016x}{:016x}{number:08x}@news.example.org</segment>",
                random % 1000,
                random.rotate_left(17)
            );
        }
        xml.push_str("</segments>\n</file>\n");
    }
    xml.push_str("</nzb>\n");
    xml
}

#[divan::bench(args = [(1, 135_000), (1000, 135)])]
fn plain(bencher: divan::Bencher<'_, '_>, (files, segments): (usize, usize)) {
    let xml = nzb(files, segments);
    let config = Config::default();
    bencher
        .counter(divan::counter::BytesCount::of_str(&xml))
        .bench(|| {
            parse_nzb(xml.as_bytes(), &config)
                .expect("parses")
                .segment_count()
        });
}

#[divan::bench]
fn gzip(bencher: divan::Bencher<'_, '_>) {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, nzb(1000, 135).as_bytes()).expect("packs");
    let packed = packer.finish().expect("packs");
    let config = Config::default();
    bencher.bench(|| parse_nzb(&packed, &config).expect("parses").segment_count());
}
