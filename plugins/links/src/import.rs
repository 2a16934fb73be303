//! One import: ask each link what it is, then emit it.

use crate::parse::{self, Link, shown};
use crate::{Config, ListKind, kind_of};
use altmount_sdk::http::{self, HttpHead};
use altmount_sdk::{
    Attributes, Content, ErrorKind, Handle, HttpValidator, ImportContext, ImportContextExt, ImportError,
    ImportRequest, Node, Result, Summary, VPath, VirtualFile, sanitize_component,
};
use futures::future::try_join_all;
use percent_encoding::percent_decode_str;

pub(crate) async fn run(config: &Config, request: &ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
    let kind = kind_of(&request.file_name).ok_or_else(|| {
        let text = "the file is no link list (.strm, .url or .links.json)";
        ImportError::new(ErrorKind::Unsupported, text)
    })?;
    let bytes = cx.read_all(Handle::UPLOAD, config.max_file_bytes).await?;
    let links = parse::parse_links(kind, &bytes, config.max_links as usize)?;
    let total = links.len() as u64;

    // Everything is asked before anything is emitted: a list of which one link is dead fails as a whole.
    let mut heads: Vec<HttpHead> = Vec::with_capacity(links.len());
    for batch in links.chunks(config.concurrency as usize) {
        heads.extend(try_join_all(batch.iter().map(|link| ask(cx, link))).await?);
        cx.progress(heads.len() as u64, total);
    }
    let mut notes = Vec::new();
    for (link, head) in links.iter().zip(heads) {
        emit(request, cx, kind, total == 1, link, head, &mut notes)?;
    }
    Ok(Summary {
        notes,
        meta: Vec::new(),
    })
}

/// What lies behind a link. An error names the link without its query.
async fn ask(cx: &dyn ImportContext, link: &Link) -> Result<HttpHead> {
    http::head(cx, link.url.as_str()).await.map_err(|mut e| {
        let url = shown(&link.url);
        // The host should not show signed links either; this makes sure of it.
        e.message = format!("{url}: {}", e.message.replace(link.url.as_str(), &url));
        e
    })
}

fn emit(
    request: &ImportRequest,
    cx: &dyn ImportContext,
    kind: ListKind,
    alone: bool,
    link: &Link,
    head: HttpHead,
    notes: &mut Vec<String>,
) -> Result<()> {
    let url = shown(&link.url);
    if !head.accept_ranges {
        let text =
            format!("{url}: the server does not answer range requests, so the file cannot be played from it");
        return Err(ImportError::new(ErrorKind::Unsupported, text));
    }
    let len = head.len.ok_or_else(|| {
        let text = format!("{url}: the server does not say how long the file is");
        ImportError::new(ErrorKind::Unsupported, text)
    })?;
    if let Some(size) = link.size.filter(|size| *size != len) {
        let text = format!("{url}: the list says {size} bytes, the server {len}; correct the list");
        return Err(ImportError::new(ErrorKind::Changed, text));
    }
    let validator = HttpValidator {
        etag: head.etag.clone().filter(|etag| !etag.starts_with("W/")),
        last_modified: head.last_modified.clone(),
    };
    if validator.etag.is_none() && validator.last_modified.is_none() {
        notes.push(format!(
            "{url} has neither a strong ETag nor a Last-Modified: a change of the same length cannot be seen"
        ));
    }
    let (name, source) = name(request, kind, alone, link, &head);
    let path = VPath::new(&name)
        .map_err(|e| ImportError::new(ErrorKind::Internal, format!("a sanitised name is no path: {e}")))?;
    let node = Node::Http {
        // Not the one behind the redirects: that is often signed for a short time.
        url: link.url.to_string(),
        len,
        secret_ref: None,
        validator,
    };
    let mut file = VirtualFile::new(path, len, Content::single(node));
    file.attributes = Attributes {
        name_source: Some(source.to_owned()),
        ..Attributes::default()
    };
    cx.emit(file)
}

/// What a file is called: as the list says; a `.strm` or `.url` of one link after itself, with the resource's extension; else as the server or
/// the URL says.
fn name(
    request: &ImportRequest,
    kind: ListKind,
    alone: bool,
    link: &Link,
    head: &HttpHead,
) -> (String, &'static str) {
    let usable = |name: &str| {
        let base = name.rsplit(['/', '\\']).next().unwrap_or(name).trim().to_owned();
        base.chars().any(char::is_alphanumeric).then_some(base)
    };
    let own = link.name.as_deref().and_then(usable);
    let stated = head.file_name.as_deref().and_then(usable);
    let last = link.url.path_segments().and_then(|mut s| s.next_back());
    let in_url = last.and_then(|s| usable(&percent_decode_str(s).decode_utf8_lossy()));
    if let Some(own) = own {
        return (sanitize_component(&own), "link list");
    }
    let release = usable(&request.release_name);
    if let (true, true, Some(release)) = (alone, kind != ListKind::Json, release.as_deref()) {
        let extension = [&stated, &in_url]
            .into_iter()
            .flatten()
            .find_map(|name| extension(name));
        let text = match extension {
            Some(e) if extension_is(release, e) => release.to_owned(),
            Some(e) => format!("{release}.{e}"),
            None => release.to_owned(),
        };
        return (sanitize_component(&text), "name of the link file");
    }
    match (stated, in_url, release) {
        (Some(stated), ..) => (sanitize_component(&stated), "content-disposition"),
        (None, Some(in_url), _) => (sanitize_component(&in_url), "url"),
        (None, None, Some(release)) => (sanitize_component(&release), "name of the link file"),
        (None, None, None) => ("file".to_owned(), "no source has a name"),
    }
}

fn extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let fits = !stem.is_empty()
        && (1..=5).contains(&extension.len())
        && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then_some(extension)
}

fn extension_is(name: &str, wanted: &str) -> bool {
    extension(name).is_some_and(|e| e.eq_ignore_ascii_case(wanted))
}
