//! What it costs that an importer is loaded from a library and not a part of the program.
//!
//! `cargo bench -p altmount-tests --bench plugins`. Two servers in this process, one with the importers linked, one with the same code
//! loaded, import the same files in turn; from the submit to the completed job. The goal is that the loaded ones take at most 1.1 times
//! as long. Their data lies in memory where there is such a file system: a disk takes longer for its part, the same for both, and differs
//! by more from one time to the next than is measured here. An argument chooses the rows whose names have it: `-- segments`.

use altmount::{
    app::App,
    config::{Config, PluginFile, Provider},
    data::DataDir,
};
use altmount_engine::{JobState, SubmitRequest};
use altmount_newsd::{Body, Newsd, Release};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

// Linked into this program, as the built-in ones are.
use altmount_example_hello as _;

const FILES: usize = 10_000;
const SEGMENTS: u64 = 135_000;
const ROUNDS: usize = 15;
const GOAL: f64 = 1.1;

fn library(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("a folder").join(format!("lib{name}.so"))
}

struct Server {
    app: App,
    folder: TempDir,
}

impl Server {
    async fn start(newsd: &Newsd, loaded: bool) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = match std::fs::metadata(memory).is_ok_and(|there| there.is_dir()) {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder");
        let mut config = Config {
            providers: vec![Provider {
                host: newsd.host(),
                port: Some(newsd.port()),
                tls: false,
                max_connections: 8,
                ..Provider::default()
            }],
            ..Config::default()
        };
        if loaded {
            config.plugins.allow_unverified = true;
            for (id, name) in [
                ("nzb", "altmount_importer_nzb"),
                ("hello", "altmount_example_hello"),
            ] {
                config.plugins.load.push(PluginFile {
                    path: library(name).to_str().expect("UTF-8").to_owned(),
                    replaces: Some(id.to_owned()),
                    required: true,
                    ..PluginFile::default()
                });
            }
        }
        let data = DataDir::locate(Some(&folder.path().join("data"))).expect("located");
        data.create().expect("made");
        let app = App::start(config.resolve().expect("valid"), &data)
            .await
            .expect("the server starts");
        for id in ["nzb", "hello"] {
            assert_eq!(app.engine().registry().get(id).expect("there").linked, !loaded);
        }
        Self { app, folder }
    }

    /// From the submit to the completed job.
    async fn import(&self, name: &str, bytes: &[u8]) -> Duration {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let imports = self.app.engine().imports();
        let started = Instant::now();
        let request = SubmitRequest::path(path.to_str().expect("UTF-8"), None);
        let job = imports.submit(request).await.expect("accepted");
        let job = imports.wait(job.id).await.expect("store").expect("there");
        assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
        started.elapsed()
    }
}

/// The least and the median, in milliseconds.
fn least_and_median(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    (ms(0), ms(times.len() / 2))
}

fn main() {
    // As the server does.
    altmount::allocator::settle();
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(measure());
}

async fn measure() {
    let newsd = Newsd::builder().start().await.expect("newsd starts");
    let (linked, loaded) = (
        Server::start(&newsd, false).await,
        Server::start(&newsd, true).await,
    );
    let many = (0..FILES as u64).fold(
        Release::builder("many").seed(1).article_size(1 << 20),
        |release, number| release.file(format!("{number:05}.mkv"), Body::seeded(number, 400)),
    );
    let long = Release::builder("long")
        .seed(2)
        .article_size(100)
        .file("film.mkv", Body::tiled(3, SEGMENTS * 100, 1 << 16));
    let (many, long) = (many.build(), long.build());
    newsd.add(&many);
    newsd.add(&long);
    let lines: String = (0..FILES)
        .map(|number| format!("somebody number {number}\n"))
        .collect();
    let mut worst: f64 = 0.0;
    let chosen = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    for (what, name, bytes) in [
        ("10,000 small files, inline", "people.hello", lines.into_bytes()),
        ("10,000 small files, an article each", "many.nzb", many.nzb()),
        ("one file of 135,000 segments", "long.nzb", long.nzb()),
    ] {
        if chosen.as_ref().is_some_and(|chosen| !what.contains(chosen)) {
            continue;
        }
        let (mut times, mut others) = (Vec::new(), Vec::new());
        // The first of each warms up. In turn, and the other one first each time, so that what the machine does besides hits both.
        for round in 0..=ROUNDS {
            let (one, other) = if round % 2 == 0 {
                let one = linked.import(name, &bytes).await;
                (one, loaded.import(name, &bytes).await)
            } else {
                let other = loaded.import(name, &bytes).await;
                (linked.import(name, &bytes).await, other)
            };
            if round > 0 {
                times.push(one);
                others.push(other);
            }
        }
        let ((one, middle), (other, other_middle)) = (least_and_median(times), least_and_median(others));
        let ratio = other_middle / middle;
        worst = worst.max(ratio);
        println!(
            "{what}: linked {middle:.1} ms, loaded {other_middle:.1} ms, ratio {ratio:.3} (goal: at most {GOAL}); the least {one:.1} and \
             {other:.1} ms, ratio {:.3}",
            other / one
        );
    }
    println!("worst ratio {worst:.3}");
}
