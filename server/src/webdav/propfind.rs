//! `PROPFIND` (RFC 4918 section 9.1) of what is there, with the properties that clients ask for.
//!
//! dav-server builds a tree of XML elements for every property of every entry and sends an entry at a time. A folder of
//! 10,000 entries is listed by every scan of a library, so the common requests are answered here: a page of entries at a
//! time is written as text, in the very form that dav-server gives it. Everything else (`propname`, locks that are to be
//! shown, Windows' own properties, endless depth, what is not there) is left to it.

use super::{PREFIX, WebDav, vpath};
use crate::{
    files::{Validators, content_type},
    quoted,
};
use altmount_engine::Entry;
use axum::{body::Body, response::Response};
use bytes::Bytes;
use dav_server::davpath::DavPath;
use futures::stream;
use http::{StatusCode, header, request::Parts};
use jiff::Timestamp;
use std::{fmt::Write, io};
use xmltree::{Element, XMLNode};

const DAV: &str = "DAV:";
const MICROSOFT: &str = "urn:schemas-microsoft-com:";
/// Entries of one step through a folder, and of one piece of the answer.
const PAGE: u32 = 500;
/// Most properties that are answered here.
const MAX_PROPERTIES: usize = 64;

/// A property, as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Property {
    Created,
    Length,
    Type,
    Tag,
    Modified,
    Resource,
    Locks,
    LockKinds,
    Principal,
    /// Nothing here has it; its element, empty.
    Unknown(String),
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    properties: Vec<Property>,
    /// Whether it is told what is not there.
    missing: bool,
    children: bool,
}

fn property(element: &Element) -> Option<Property> {
    let name = element.name.as_str();
    let namespace = element.namespace.as_deref();
    if namespace == Some(MICROSOFT) {
        return None;
    }
    if namespace != Some(DAV) {
        let space = namespace.unwrap_or_default();
        let empty = if space.is_empty() {
            format!("<{name} xmlns=\"\"></{name}>")
        } else {
            format!(
                "<x:{name} xmlns:x=\"{}\"></x:{name}>",
                escaped(space).replace('"', "&quot;")
            )
        };
        return Some(Property::Unknown(empty));
    }
    Some(match name {
        "creationdate" => Property::Created,
        "getcontentlength" => Property::Length,
        "getcontenttype" => Property::Type,
        "getetag" => Property::Tag,
        "getlastmodified" => Property::Modified,
        "resourcetype" => Property::Resource,
        "lockdiscovery" => Property::Locks,
        "supportedlock" => Property::LockKinds,
        "current-user-principal" => Property::Principal,
        _ => Property::Unknown(format!("<D:{name}></D:{name}>")),
    })
}

/// Reads a request; `None` for one that is not answered here.
fn asked(parts: &Parts, body: &[u8]) -> Option<Asked> {
    let children = match parts.headers.get("depth")?.as_bytes() {
        b"0" => false,
        b"1" => true,
        _ => return None,
    };
    let mut wanted = None;
    if !body.is_empty() {
        let root = Element::parse(body).ok()?;
        if root.name != "propfind" || root.namespace.as_deref() != Some(DAV) {
            return None;
        }
        let mut elements = root.children.into_iter().filter_map(|child| match child {
            XMLNode::Element(element) => Some(element),
            _ => None,
        });
        let first = elements.next()?;
        if elements.next().is_some() {
            return None;
        }
        match first.name.as_str() {
            "allprop" => {}
            "prop" => wanted = Some(first),
            _ => return None,
        }
    }
    let Some(wanted) = wanted else {
        let agent = parts.headers.get(header::USER_AGENT);
        if agent.is_some_and(|agent| agent.to_str().is_ok_and(|agent| agent.contains("Microsoft"))) {
            return None;
        }
        return Some(Asked {
            properties: vec![
                Property::Created,
                Property::Length,
                Property::Type,
                Property::Tag,
                Property::Modified,
                Property::Locks,
                Property::Resource,
                Property::LockKinds,
            ],
            missing: false,
            children,
        });
    };
    let elements = wanted.children.iter().filter_map(XMLNode::as_element);
    let properties: Vec<Property> = elements.map(property).collect::<Option<_>>()?;
    (properties.len() <= MAX_PROPERTIES).then_some(Asked {
        properties,
        missing: true,
        children,
    })
}

/// Answers a request, where it is one of those that are answered here.
pub(super) async fn answer(dav: &WebDav, parts: &Parts, body: &[u8]) -> Option<Response> {
    let asked = asked(parts, body)?;
    if asked.properties.contains(&Property::Locks) && dav.locks.any() {
        return None;
    }
    let mut path = DavPath::new(parts.uri.path()).ok()?;
    path.set_prefix(PREFIX).ok()?;
    let library = dav.engine.library();
    let entry = library.lookup(&vpath(&path).ok()?).await.ok()??;
    let mut response = Response::builder()
        .status(StatusCode::MULTI_STATUS)
        .header(header::CONTENT_TYPE, "application/xml; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::PRAGMA, "no-cache");
    let mut href = quoted::path(std::str::from_utf8(path.with_prefix().as_bytes()).ok()?).to_string();
    if entry.is_dir && !href.ends_with('/') {
        href.push('/');
        response = response.header(header::CONTENT_LOCATION, &href);
    }
    let principal = escaped(&dav.user);
    let mut first =
        String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><D:multistatus xmlns:D=\"DAV:\">");
    write(&mut first, &asked, &principal, &href, &entry);
    let listed = Listed {
        dav: dav.clone(),
        dir: entry.id,
        done: !(entry.is_dir && asked.children),
        asked,
        principal,
        href,
        after: None,
        text: first,
    };
    let pieces = stream::unfold(Some(listed), |listed| async {
        let mut listed = listed?;
        match listed.next().await {
            Ok(piece) => Some((
                Ok(piece),
                (!listed.done || !listed.text.is_empty()).then_some(listed),
            )),
            Err(error) => Some((Err(error), None)),
        }
    });
    response.body(Body::from_stream(pieces)).ok()
}

/// A folder that is being listed.
struct Listed {
    dav: WebDav,
    dir: altmount_model::FileId,
    asked: Asked,
    principal: String,
    /// The folder's address, with its slash.
    href: String,
    after: Option<String>,
    /// Nothing follows but what is in `text`.
    done: bool,
    /// What is written and not sent yet.
    text: String,
}

impl Listed {
    async fn next(&mut self) -> io::Result<Bytes> {
        let mut text = std::mem::take(&mut self.text);
        if !self.done {
            let page = self
                .dav
                .engine
                .library()
                .list(self.dir, self.after.as_deref(), PAGE)
                .await;
            // The answer has begun: all that is left is to break off, so that nobody takes the part for the whole.
            let page = page.map_err(|error| {
                tracing::error!("a listing breaks off: {error}");
                io::Error::other(error)
            })?;
            for entry in &page {
                let slash = if entry.is_dir { "/" } else { "" };
                let name = quoted::path(&entry.name);
                let href = format!("{}{name}{slash}", self.href);
                write(&mut text, &self.asked, &self.principal, &href, entry);
            }
            self.done = page.len() < PAGE as usize;
            self.after = page.into_iter().last().map(|last| last.name);
        }
        if self.done {
            text.push_str("</D:multistatus>");
        }
        Ok(text.into())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn second(ms: i64) -> Timestamp {
    Timestamp::from_second(ms.max(0) / 1000).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Writes one `response`.
fn write(to: &mut String, asked: &Asked, principal: &str, href: &str, entry: &Entry) {
    let mut missing = String::new();
    let _ = write!(to, "<D:response><D:href>{href}</D:href>");
    let start = to.len();
    to.push_str("<D:propstat><D:prop>");
    let empty = to.len();
    // Writing to a text cannot fail.
    for property in &asked.properties {
        let _ = match property {
            Property::Created => write!(
                to,
                "<D:creationdate>{}</D:creationdate>",
                second(entry.created_ms)
            ),
            Property::Length if entry.is_dir => {
                missing.push_str("<D:getcontentlength></D:getcontentlength>");
                Ok(())
            }
            Property::Length => write!(to, "<D:getcontentlength>{}</D:getcontentlength>", entry.size),
            Property::Type => {
                let kind = if entry.is_dir {
                    "httpd/unix-directory"
                } else {
                    content_type(&entry.name)
                };
                write!(to, "<D:getcontenttype>{kind}</D:getcontenttype>")
            }
            Property::Tag => write!(to, "<D:getetag>\"{}\"</D:getetag>", escaped(&entry.etag)),
            Property::Modified => match Validators::new(&entry.etag, entry.mtime_ms.max(0)).last_modified() {
                Some(date) => write!(to, "<D:getlastmodified>{date}</D:getlastmodified>"),
                None => {
                    missing.push_str("<D:getlastmodified></D:getlastmodified>");
                    Ok(())
                }
            },
            Property::Resource if entry.is_dir => {
                to.push_str("<D:resourcetype><D:collection></D:collection></D:resourcetype>");
                Ok(())
            }
            Property::Resource => {
                to.push_str("<D:resourcetype></D:resourcetype>");
                Ok(())
            }
            Property::Locks => {
                to.push_str("<D:lockdiscovery></D:lockdiscovery>");
                Ok(())
            }
            Property::LockKinds => {
                to.push_str("<D:supportedlock>");
                for scope in ["exclusive", "shared"] {
                    let _ = write!(
                        to,
                        "<D:lockentry><D:lockscope><D:{scope}></D:{scope}></D:lockscope><D:locktype><D:write></D:write>\
                         </D:locktype></D:lockentry>"
                    );
                }
                to.push_str("</D:supportedlock>");
                Ok(())
            }
            Property::Principal => write!(
                to,
                "<D:current-user-principal><D:href>{principal}</D:href></D:current-user-principal>"
            ),
            Property::Unknown(element) => {
                missing.push_str(element);
                Ok(())
            }
        };
    }
    if !asked.missing {
        missing.clear();
    }
    if to.len() == empty && !missing.is_empty() {
        to.truncate(start);
    } else {
        to.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
    }
    if !missing.is_empty() {
        let _ = write!(
            to,
            "<D:propstat><D:prop>{missing}</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"
        );
    }
    to.push_str("</D:response>");
}
