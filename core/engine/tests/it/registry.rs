use altmount_engine::{Registry, RunnerUp};
use altmount_sdk::{
    Confidence, ErrorKind, FileType, ImportContext, ImportError, ImportRequest, Importer, Json, Magic,
    Manifest, Registration, Result, Summary, async_trait, json,
};
use std::collections::BTreeMap;

/// An importer whose confidence is the number after its id in its configuration; 70 without one.
struct Sure(u64);

#[async_trait]
impl Importer for Sure {
    fn manifest() -> Manifest {
        Manifest::new("unused", "0")
    }
    fn create(config: Json) -> Result<Self> {
        match &config["sure"] {
            Json::Null => Ok(Self(70)),
            Json::Number(n) => Ok(Self(n.as_u64().unwrap_or(0))),
            Json::String(text) if text == "panic" => panic!("told to panic"),
            _ => Err(ImportError::new(ErrorKind::Invalid, "'sure' is a number")),
        }
    }
    fn probe(&self, _name: &str, _head: &[u8]) -> Confidence {
        match self.0 {
            1000 => panic!("told to panic"),
            2000 => loop {
                std::thread::park();
            },
            sure => Confidence::new(sure as u8),
        }
    }
    async fn import(&self, _request: ImportRequest, _cx: &dyn ImportContext) -> Result<Summary> {
        Ok(Summary::default())
    }
}

macro_rules! registration {
    ($id:literal, $priority:literal) => {
        Registration {
            manifest: || Manifest::new($id, "1").extension("x").priority($priority),
            ..Registration::of::<Sure>()
        }
    };
}

type Config = BTreeMap<String, Json>;

fn sure(pairs: &[(&str, Json)]) -> Config {
    pairs
        .iter()
        .map(|(id, sure)| ((*id).to_owned(), json!({"sure": sure})))
        .collect()
}

fn order(registry: &Registry) -> Vec<&str> {
    registry
        .importers()
        .iter()
        .map(|i| i.manifest.id.as_str())
        .collect()
}

#[tokio::test]
async fn the_choice_is_a_total_order_whatever_order_they_register_in() {
    let mut list = vec![
        registration!("alpha", 0),
        registration!("beta", 0),
        registration!("gamma", 5),
        registration!("delta", 0),
        registration!("unsure", 9),
        registration!("never", 9),
    ];
    let config = sure(&[("unsure", json!(10)), ("never", json!(0))]);
    let operator = BTreeMap::from([("delta".to_owned(), 1), ("never".to_owned(), -1)]);
    for _ in 0..list.len() {
        list.rotate_left(1);
        let (registry, refused) = Registry::from_registrations(list.clone(), &config, &operator);
        assert_eq!(refused, []);
        assert_eq!(
            order(&registry),
            ["delta", "unsure", "gamma", "alpha", "beta", "never"]
        );
        let choice = registry.choose("f.x", b"", None).await.expect("is taken");
        assert_eq!(
            (choice.record.importer.as_str(), choice.record.confidence.value()),
            ("delta", 70)
        );
        let runner = |id: &str, sure| RunnerUp {
            importer: id.to_owned(),
            confidence: Confidence::new(sure),
        };
        assert_eq!(
            choice.record.runners_up,
            [
                runner("gamma", 70),
                runner("alpha", 70),
                runner("beta", 70),
                runner("unsure", 10)
            ]
        );
        assert!(registry.choose("f.y", b"", None).await.is_none());
        let pinned = registry
            .choose("f.y", b"", Some("never"))
            .await
            .expect("is named");
        assert!(pinned.record.pinned && pinned.record.importer == "never");
        assert!(registry.choose("f.x", b"", Some("nobody")).await.is_none());
    }
}

#[tokio::test]
async fn importers_that_panic_or_hang_when_asked_are_passed_over() {
    let list = [
        registration!("hangs", 9),
        registration!("panics", 8),
        registration!("works", 0),
    ];
    let config = sure(&[("hangs", json!(2000)), ("panics", json!(1000))]);
    let (registry, refused) = Registry::from_registrations(list, &config, &BTreeMap::new());
    assert_eq!(refused, []);
    for _ in 0..2 {
        let choice = registry.choose("f.x", b"", None).await.expect("is taken");
        assert_eq!(
            (choice.record.importer.as_str(), choice.record.runners_up),
            ("works", vec![])
        );
    }
    let given_up: Vec<bool> = registry
        .importers()
        .iter()
        .map(|i| i.quarantined().is_some())
        .collect();
    assert_eq!(given_up, [true, false, false]);
}

#[test]
fn extensions_names_media_types_and_signatures_are_declared() {
    let typed = Registration {
        manifest: || {
            Manifest::new("typed", "1")
                .extension("nzb")
                .extension("nzb.gz")
                .file_type(FileType {
                    media_types: vec!["application/zip".to_owned()],
                    magic: vec![Magic {
                        offset: 2,
                        hex: "CAFE".to_owned(),
                    }],
                    ..FileType::default()
                })
        },
        ..Registration::of::<Sure>()
    };
    let gz = Registration {
        manifest: || Manifest::new("gz", "1").extension("gz"),
        ..Registration::of::<Sure>()
    };
    let (registry, refused) = Registry::from_registrations([gz, typed], &Config::new(), &BTreeMap::new());
    assert_eq!(refused, []);
    assert_eq!(registry.extensions(), [".gz", ".nzb", ".nzb.gz"]);
    assert_eq!(registry.ids(), ["gz", "typed"]);
    for (name, head, taken) in [
        ("a.nzb", &b""[..], true),
        ("A.NZB.GZ", b"", true),
        ("nzb", b"", false),
        (".nzb", b"", false),
        ("a.nzbx", b"", false),
        ("a.zip", b"", true),
        ("a.bin", b"\0\0\xca\xfe rest", true),
        ("a.bin", b"\0\0\xca", false),
        ("a.bin", b"\xca\xfe", false),
    ] {
        assert_eq!(registry.takes(name, head), taken, "{name}");
    }
    for (name, release) in [
        ("tv.show.nzb", "tv.show"),
        ("tv.show.Nzb.Gz", "tv.show"),
        ("tv.show.gz", "tv.show"),
        ("a.bin", "a.bin"),
        (".nzb", ".nzb"),
        ("ä.nzb", "ä"),
        ("a.nzb.nzb", "a.nzb"),
    ] {
        assert_eq!(registry.release_name(name), release, "{name}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let bad = |manifest| Registration {
        manifest,
        ..Registration::of::<Sure>()
    };
    let list = [
        bad(|| Manifest::new("Bad Id", "1")),
        bad(|| Manifest::new("twice", "1")),
        bad(|| Manifest::new("twice", "2")),
        bad(|| Manifest::new("dot", "1").extension(".x")),
        bad(|| {
            let magic = vec![Magic {
                offset: 0,
                hex: "xyz".to_owned(),
            }];
            Manifest::new("magic", "1").file_type(FileType {
                magic,
                ..FileType::default()
            })
        }),
        bad(|| panic!("no manifest")),
        registration!("picky", 0),
        registration!("panics", 0),
    ];
    let config = sure(&[
        ("picky", json!([])),
        ("panics", json!("panic")),
        ("nobody", json!(1)),
    ]);
    let priorities = BTreeMap::from([("noone".to_owned(), 1)]);
    let (registry, refused) = Registry::from_registrations(list, &config, &priorities);
    assert_eq!(order(&registry), ["twice"]);
    assert_eq!(registry.importers()[0].manifest.version, "1");
    let reasons: BTreeMap<&str, &str> = refused
        .iter()
        .map(|r| (r.id.as_str(), r.reason.as_str()))
        .collect();
    for (id, part) in [
        ("", "no manifest"),
        ("Bad Id", "is no importer id"),
        ("twice", "another importer"),
        ("dot", "is no file name extension"),
        ("magic", "not hexadecimal"),
        ("picky", "'sure' is a number"),
        ("panics", "told to panic"),
        ("nobody", "there are: Bad Id"),
        ("noone", "names the importer 'noone'"),
    ] {
        assert!(reasons[id].contains(part), "{id}: {}", reasons[id]);
    }
    assert_eq!(refused.len(), 9);
}
