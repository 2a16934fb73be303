//! The JSON Schemas of the plugin protocol, in `docs/plugin-schemas`: they are those of the Rust types, and what the types write is
//! as they say. `ALTMOUNT_WRITE_SCHEMAS=1 cargo test -p altmount-testkit --test schemas` writes them anew; a change that an older
//! plugin or server would not understand needs a folder of a greater version.

use altmount_sdk::{
    archive::{
        ArchiveMap, ArchiveMember, ArchiveVolume, MapCipher, MapExtent, MapRequest, MemberBytes, MemberMap,
    },
    http::{HeadRequest, HttpHead},
    library::{ExistsAnswer, ExistsRequest},
    nested::{Expanded, Nested},
    par2::{Described, Names, NamesRequest},
    schemars::{JsonSchema, generate::SchemaSettings},
    usenet::{ArticleAnswer, ArticleInfo, IdsRequest, Presence},
    *,
};
use serde::Serialize;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// The version that the header names.
const VERSION: &str = "1.0";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/plugin-schemas/1.0")
}

/// What is read is described, with everything that may be left out: that is what both sides must take.
fn schema<T: JsonSchema>(name: &str) -> (String, Json) {
    let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    schema["$id"] = json!(format!("urn:altmount:plugin:{VERSION}:{name}"));
    (name.to_owned(), schema)
}

fn schemas() -> BTreeMap<String, Json> {
    BTreeMap::from([
        schema::<Manifest>("manifest"),
        schema::<ImportRequest>("request"),
        schema::<VirtualFile>("file"),
        schema::<Content>("content"),
        schema::<ArticleTable>("articles"),
        schema::<Summary>("summary"),
        schema::<ImportError>("error"),
        schema::<IdsRequest>("usenet.articles.request"),
        schema::<Vec<ArticleAnswer>>("usenet.articles.answer"),
        schema::<IdsRequest>("usenet.stat.request"),
        schema::<Vec<Presence>>("usenet.stat.answer"),
        schema::<HeadRequest>("http.head.request"),
        schema::<HttpHead>("http.head.answer"),
        schema::<MapRequest>("archive.map.request"),
        schema::<ArchiveMap>("archive.map.answer"),
        schema::<NamesRequest>("par2.names.request"),
        schema::<Names>("par2.names.answer"),
        schema::<ExistsRequest>("library.exists.request"),
        schema::<ExistsAnswer>("library.exists.answer"),
        schema::<Nested>("expand.request"),
        schema::<Expanded>("expand.answer"),
    ])
}

#[test]
fn the_files_are_those_of_the_types() {
    let (folder, schemas) = (folder(), schemas());
    let text = |schema: &Json| format!("{schema:#}\n");
    if std::env::var_os("ALTMOUNT_WRITE_SCHEMAS").is_some() {
        fs::create_dir_all(&folder).expect("made");
        for (name, schema) in &schemas {
            fs::write(folder.join(format!("{name}.json")), text(schema)).expect("written");
        }
    }
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the folder of the schemas") {
        let path = entry.expect("read").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let schema = schemas
            .get(name)
            .unwrap_or_else(|| panic!("no message is called '{name}'"));
        let found = fs::read_to_string(&path).expect("read");
        assert_eq!(found, text(schema), "{}: write it anew", path.display());
        files += 1;
    }
    assert_eq!(files, schemas.len());
}

fn check(schemas: &BTreeMap<String, Json>, name: &str, json: &Json) -> Result<(), String> {
    let validator = jsonschema::validator_for(&schemas[name]).expect("a schema");
    let faults: Vec<String> = validator
        .iter_errors(json)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

fn every_node() -> Content {
    let mut content = Content::single(Node::Articles {
        table: TableNo(3),
        first: 1,
        count: 2,
        len: 100,
    });
    content.push(Node::Http {
        url: "https://example.com/a".to_owned(),
        len: 64,
        secret_ref: Some("s".to_owned()),
        validator: HttpValidator {
            etag: Some("\"1\"".to_owned()),
            last_modified: None,
        },
    });
    content.push(Node::Inline { bytes: vec![1, 2, 3] });
    content.push(Node::Zero { len: 9 });
    content.push(Node::Concat {
        parts: vec![0, 1, 2, 3],
    });
    content.push(Node::Slice {
        of: 4,
        offset: 4,
        len: 160,
    });
    content.push(Node::AesCbc {
        of: 5,
        key: AesKey::new(vec![7; 32]).expect("32 bytes"),
        iv: [1; 16],
        len: 150,
    });
    content.push(Node::AesCtr {
        of: 6,
        key: AesKey::new(vec![7; 16]).expect("16 bytes"),
    });
    content.validate().expect("a graph");
    content
}

/// Checks what is written against its schema, and counts.
#[derive(Default)]
struct Checks {
    schemas: BTreeMap<String, Json>,
    seen: std::collections::BTreeSet<String>,
}

impl Checks {
    fn fits<T: Serialize>(&mut self, name: &str, value: &T) {
        let json = serde_json::to_value(value).expect("a JSON form");
        check(&self.schemas, name, &json).unwrap_or_else(|faults| panic!("{name}: {json}\n{faults}"));
        self.seen.insert(name.to_owned());
    }
}

#[test]
fn what_the_types_write_is_as_the_schemas_say() {
    let mut checks = Checks {
        schemas: schemas(),
        ..Checks::default()
    };
    let manifest = Manifest::new("a-b", "1.2.3")
        .name("A")
        .extension("a")
        .file_type(FileType {
            extensions: vec![],
            media_types: vec!["a/b".to_owned()],
            magic: vec![Magic {
                offset: 4,
                hex: "00ff".to_owned(),
            }],
        })
        .priority(-3)
        .capability("open:usenet")
        .max_concurrency(2)
        .config_schema(json!({"type": "object"}))
        .homepage("https://example.com")
        .licence("MIT");
    checks.fits("manifest", &manifest);
    let mut request = ImportRequest::new("a.nzb", "a", 7);
    request.passwords = vec!["x".to_owned()];
    checks.fits("request", &request);
    checks.fits("content", &every_node());
    let mut file = VirtualFile::new(VPath::new("a/b.mkv").expect("a path"), 144, every_node());
    checks.fits("file", &file);
    file.mtime = Some(-1);
    file.attributes = Attributes {
        role: Role::Sidecar,
        name_source: Some("x".to_owned()),
        archive_path: Some("y".to_owned()),
        method: Some("stored".to_owned()),
        holes: vec![ByteRange { start: 1, end: 2 }],
    };
    checks.fits("file", &file);
    let mut table = ArticleTable::new();
    for size in [5, 5, 3] {
        table
            .push(&MessageId::new("a@b").expect("an id"), size)
            .expect("fits");
    }
    checks.fits("articles", &table);
    let summary = Summary {
        notes: vec!["n".to_owned()],
        meta: vec![("title".to_owned(), "t".to_owned())],
    };
    checks.fits("summary", &Summary::default());
    checks.fits("summary", &summary);
    for kind in [
        ErrorKind::Unsupported,
        ErrorKind::WrongPassword,
        ErrorKind::NothingUsable,
        ErrorKind::Wedged,
    ] {
        for retry in [Retry::Never, Retry::Later, Retry::After(30)] {
            checks.fits("error", &ImportError::new(kind, "text").retry(retry).with("a", 1));
        }
    }
    checks.fits(
        "expand.request",
        &Nested {
            file_name: "a.nzb".to_owned(),
            bytes: vec![0, 255],
            folder: Some(VPath::new("a").expect("a path")),
        },
    );
    checks.fits(
        "expand.answer",
        &Expanded {
            importer: "nzb".to_owned(),
            summary,
        },
    );
    sources(&mut checks);
    archives(&mut checks);
    let unseen: Vec<&String> = checks
        .schemas
        .keys()
        .filter(|name| !checks.seen.contains(*name))
        .collect();
    assert!(unseen.is_empty(), "never written here: {unseen:?}");
}

fn sources(checks: &mut Checks) {
    let id = || MessageId::new("<a@b>").expect("an id");
    let bare = IdsRequest::from(&[id()]);
    let dated = [Some(1_700_000_000), Some(1_700_000_000), None, Some(1), None];
    let dated = IdsRequest::from_iter(dated.map(|posted| (id(), posted)));
    for ids in [bare, dated] {
        checks.fits("usenet.articles.request", &ids);
        checks.fits("usenet.stat.request", &ids);
    }
    let info = ArticleInfo {
        name: None,
        file_size: Some(1),
        part: 1,
        total: None,
        offset: Some(0),
        len: 1,
    };
    let missing = ImportError::new(ErrorKind::Missing, "gone");
    checks.fits(
        "usenet.articles.answer",
        &vec![ArticleAnswer::Ok(info), ArticleAnswer::Err(missing)],
    );
    checks.fits(
        "usenet.stat.answer",
        &vec![Presence::Present, Presence::Missing, Presence::Unknown],
    );
    checks.fits(
        "http.head.request",
        &HeadRequest {
            url: "http://x/".to_owned(),
        },
    );
    checks.fits("http.head.answer", &HttpHead::default());
    let described = Described {
        name: "n".to_owned(),
        len: 1,
        md5: "00".repeat(16),
        md5_16k: "00".repeat(16),
    };
    checks.fits(
        "par2.names.request",
        &NamesRequest {
            par2: vec![every_node()],
            files: vec![],
        },
    );
    checks.fits(
        "par2.names.answer",
        &Names {
            described: vec![described],
            names: vec![None, Some("n".to_owned())],
        },
    );
    checks.fits(
        "library.exists.request",
        &ExistsRequest {
            paths: vec![VPath::new("/a").expect("a path")],
        },
    );
    checks.fits("library.exists.answer", &ExistsAnswer { exists: vec![true] });
}

fn archives(checks: &mut Checks) {
    let volume = ArchiveVolume {
        name: "a.rar".to_owned(),
        content: every_node(),
    };
    checks.fits(
        "archive.map.request",
        &MapRequest {
            volumes: vec![volume],
            passwords: vec![],
        },
    );
    let ciphers = [
        None,
        Some(MapCipher::Counter {
            key: AesKey::new(vec![1; 24]).expect("24 bytes"),
        }),
        Some(MapCipher::Cbc {
            key: AesKey::new(vec![1; 16]).expect("16 bytes"),
            iv: [9; 16],
            len: 3,
        }),
    ];
    let extents = [Some(0), None].map(|volume| MapExtent {
        volume,
        offset: 1,
        len: 2,
    });
    let maps = ciphers.map(|cipher| {
        MemberBytes::Map(MemberMap {
            extents: extents.to_vec(),
            cipher,
            offset: 0,
            len: 3,
        })
    });
    let missing = MemberBytes::Error(ImportError::new(ErrorKind::Missing, "gone"));
    let members = maps.into_iter().chain([missing]).map(|bytes| ArchiveMember {
        path: "m".to_owned(),
        size: 3,
        method: "stored".to_owned(),
        modified: None,
        bytes,
    });
    checks.fits(
        "archive.map.answer",
        &ArchiveMap {
            format: "rar5".to_owned(),
            volumes: vec![1, 0],
            members: members.collect(),
            notes: vec![],
        },
    );
}

/// What the schemas refuse, the types refuse as well, and what may be left out may be left out of both.
#[test]
fn schemas_and_types_refuse_the_same() {
    let schemas = schemas();
    let both = |name: &str, json: Json, read: &dyn Fn(Json) -> bool, expected: bool| {
        assert_eq!(
            check(&schemas, name, &json).is_ok(),
            expected,
            "schema of {name}: {json}"
        );
        assert_eq!(read(json.clone()), expected, "type of {name}: {json}");
    };
    let file = |json| serde_json::from_value::<VirtualFile>(json).is_ok();
    let zero = json!([{"type": "zero", "len": 1}]);
    both(
        "file",
        json!({"path": "a", "size": 1, "content": zero}),
        &file,
        true,
    );
    both(
        "file",
        json!({"path": "a", "size": 1, "content": zero, "later": {}}),
        &file,
        true,
    );
    both("file", json!({"path": "a", "content": zero}), &file, false);
    both(
        "file",
        json!({"path": 7, "size": 1, "content": zero}),
        &file,
        false,
    );
    both(
        "file",
        json!({"path": "a", "size": -1, "content": zero}),
        &file,
        false,
    );
    both(
        "file",
        json!({"path": "a", "size": 1, "content": [{"type": "no", "len": 1}]}),
        &file,
        false,
    );
    let error = |json| serde_json::from_value::<ImportError>(json).is_ok();
    both(
        "error",
        json!({"kind": "io", "message": "m", "retry": {"after": 3}}),
        &error,
        true,
    );
    both(
        "error",
        json!({"kind": "odd", "message": "m", "retry": "never"}),
        &error,
        false,
    );
    both("error", json!({"kind": "io", "message": "m"}), &error, false);
    let manifest = |json| serde_json::from_value::<Manifest>(json).is_ok();
    both(
        "manifest",
        json!({"id": "a", "name": "A", "version": "1", "file_types": []}),
        &manifest,
        true,
    );
    both(
        "manifest",
        json!({"id": "a", "name": "A", "file_types": []}),
        &manifest,
        false,
    );
    both(
        "manifest",
        json!({"id": "a", "name": "A", "version": "1", "file_types": [], "priority": "high"}),
        &manifest,
        false,
    );
    let summary = |json| serde_json::from_value::<Summary>(json).is_ok();
    both("summary", json!({}), &summary, true);
    both("summary", json!({"meta": [["a"]]}), &summary, false);
}
