//! Makes releases: articles for the mock host and the NZB that lists them.

use altmount_importer_nzb::NzbImporter;
use altmount_sdk::usenet::ArticleInfo;
use altmount_sdk::{ImportRequest, Importer, Json, Result, Summary, VirtualFile, json};
use altmount_testkit::{MockArticle, MockContext, block_on};

/// One `<segment>`, and the article behind it.
#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) id: String,
    pub(crate) number: String,
    pub(crate) bytes: String,
    pub(crate) article: MockArticle,
}

/// One `<file>`.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) subject: String,
    pub(crate) date: String,
    pub(crate) segments: Vec<Seg>,
    pub(crate) data: Vec<u8>,
}

/// Bytes that differ from place to place and from file to file.
pub(crate) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed)
        .collect()
}

impl Post {
    /// A file in equal parts of `part` bytes and a rest, as posting programs make it.
    pub(crate) fn new(name: &str, data: Vec<u8>, part: usize) -> Self {
        let sizes: Vec<usize> = match data.len() {
            0 => vec![0],
            len => (0..len.div_ceil(part))
                .map(|i| part.min(len - i * part))
                .collect(),
        };
        Self::cut(name, data, &sizes)
    }

    /// A file in parts of these sizes.
    pub(crate) fn cut(name: &str, data: Vec<u8>, sizes: &[usize]) -> Self {
        assert_eq!(sizes.iter().sum::<usize>(), data.len());
        let total = sizes.len();
        let mut offset = 0;
        let segments = (1..=total)
            .zip(sizes)
            .map(|(number, size)| {
                let article = MockArticle::Present {
                    info: ArticleInfo {
                        name: Some(name.to_owned()),
                        file_size: Some(data.len() as u64),
                        part: number as u32,
                        total: Some(total as u32),
                        offset: Some(offset as u64),
                        len: 0,
                    },
                    data: data[offset..offset + size].to_vec().into(),
                };
                offset += size;
                Seg {
                    id: format!("{number}.{name}@post.test").replace([' ', '/'], "_"),
                    number: number.to_string(),
                    bytes: (size + size / 50 + 200).to_string(),
                    article,
                }
            })
            .collect();
        Self {
            subject: format!("[1/1] - \"{name}\" yEnc (1/{total})"),
            date: "1700000000".to_owned(),
            segments,
            data,
        }
    }

    pub(crate) fn set(&mut self, index: usize, article: MockArticle) {
        self.segments[index].article = article;
    }

    /// Changes what the headers of every article say.
    pub(crate) fn headers(&mut self, change: impl Fn(usize, &mut ArticleInfo)) {
        for (at, segment) in self.segments.iter_mut().enumerate() {
            if let MockArticle::Present { info, .. } = &mut segment.article {
                change(at, info);
            }
        }
    }

    pub(crate) fn xml(&self) -> String {
        let mut xml = format!(
            "<file poster=\"p\" date=\"{}\" subject=\"{}\"><groups><group>a.b.c</group></groups><segments>",
            self.date,
            escaped(&self.subject)
        );
        for s in &self.segments {
            xml.push_str(&format!(
                "<segment bytes=\"{}\" number=\"{}\">{}</segment>\n",
                s.bytes,
                s.number,
                escaped(&s.id)
            ));
        }
        xml.push_str("</segments></file>\n");
        xml
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

pub(crate) fn wrap(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<nzb xmlns=\"http://www.newzbin.com/DTD/2003/nzb\">\n{inner}</nzb>\n"
    )
}

pub(crate) fn nzb(posts: &[Post]) -> String {
    wrap(&posts.iter().map(Post::xml).collect::<String>())
}

/// A host with the articles of the posts, whose queued file is `upload`.
pub(crate) fn host_of(upload: impl Into<Vec<u8>>, posts: &[Post]) -> MockContext {
    let mut cx = MockContext::new(upload.into()).for_manifest(&NzbImporter::manifest());
    for segment in posts.iter().flat_map(|p| &p.segments) {
        cx.article(&segment.id, segment.article.clone());
    }
    cx
}

pub(crate) fn host(posts: &[Post]) -> MockContext {
    host_of(nzb(posts), posts)
}

pub(crate) fn import_with(config: Json, cx: &MockContext) -> Result<Summary> {
    let importer = NzbImporter::create(config).expect("a valid configuration");
    let request = ImportRequest::new("My Release.nzb", "My Release", 1);
    block_on(importer.import(request, cx))
}

pub(crate) fn import(cx: &MockContext) -> Result<Summary> {
    import_with(json!({}), cx)
}

/// The emitted file with this path.
pub(crate) fn file(cx: &MockContext, path: &str) -> VirtualFile {
    let files = cx.recorded().files;
    let found = files.iter().find(|f| f.path.as_str() == path).cloned();
    found.unwrap_or_else(|| {
        panic!(
            "no {path} among {:?}",
            files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>()
        )
    })
}

pub(crate) fn paths(cx: &MockContext) -> Vec<String> {
    cx.recorded()
        .files
        .iter()
        .map(|f| f.path.as_str().to_owned())
        .collect()
}

/// Imports and compares every byte of the file that the post is.
pub(crate) fn assert_reads_back(cx: &MockContext, path: &str, post: &Post) {
    let file = file(cx, path);
    assert_eq!(file.size, post.data.len() as u64);
    assert!(
        cx.materialise(&file).expect("reads") == post.data,
        "{path} has other bytes"
    );
}
