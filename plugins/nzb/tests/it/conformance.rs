//! The rules that hold for every importer.

use crate::packed::{ARTICLE, film, noise};
use crate::post::{Post, nzb};
use altmount_importer_nzb::NzbImporter;
use altmount_testkit::{conformance, conformance::Sample};
use rars::{ArchiveVersion, Builder};
use std::io::Write;

fn sample(name: &str, posts: Vec<Post>) -> Sample {
    let xml = nzb(&posts);
    let bytes = if name.ends_with(".gz") {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(xml.as_bytes()).expect("written");
        packed.finish().expect("finished")
    } else {
        xml.into_bytes()
    };
    Sample::new(name, bytes).with(move |cx| {
        for segment in posts.iter().flat_map(|post| &post.segments) {
            cx.article(&segment.id, segment.article.clone());
        }
    })
}

fn rar_volumes() -> Vec<Post> {
    let mut builder = Builder::new(ArchiveVersion::Rar50)
        .store(true)
        .volume_size(Some(20_000));
    builder
        .add_bytes(b"film.mkv".to_vec(), film(50_000, 3), Some(1_700_000_000), None)
        .expect("added");
    let volumes = builder.build_volumes(None).expect("written");
    (1..)
        .zip(volumes)
        .map(|(number, volume)| Post::new(&format!("x.part{number}.rar"), volume, ARTICLE))
        .collect()
}

conformance!(
    NzbImporter,
    [
        sample(
            "plain.nzb",
            vec![
                Post::new("film.mkv", film(30_000, 1), ARTICLE),
                Post::new("notes.txt", noise(100, 2), ARTICLE),
            ]
        ),
        sample(
            "packed.nzb.gz",
            vec![Post::new("film.mkv", film(9_000, 4), ARTICLE)]
        ),
        sample("volumes.nzb", rar_volumes()),
    ]
);
