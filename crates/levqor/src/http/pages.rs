//! Pages for people: documentation, blog, legal texts, questions, and the files that browsers and crawlers look for.
//!
//! The list of addresses is [`PATHS`]; what stands at each is decided in [`Pages::make`]. Addresses are compared as they came,
//! without decoding, so there is one spelling of each and no way around a name. No page asks the database for anything.

mod content;
mod frame;
mod machine;
mod markdown;
mod reference;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;

use self::content::{Content, Folder};
use self::frame::{Entry, PostEntry};
use self::markdown::Text;
use super::error::{ApiError, Result};
use super::file::{self, File};
use super::{App, headers};
use crate::config::Config;

/// The routes of all pages. All of them answer GET and HEAD only, need no key and are below no path of the API.
pub const PATHS: [&str; 20] = [
    "/public/docs",
    "/public/docs/",
    "/public/docs/reference",
    "/public/docs/{name}",
    "/public/blog",
    "/public/blog/",
    "/public/blog/{name}",
    "/public/legal/{name}",
    "/public/faq/index.html",
    "/public/billing/success",
    "/public/billing/cancel",
    "/public/billing/return",
    "/public/style.css",
    "/public/robots.txt",
    "/public/sitemap.xml",
    "/public/.well-known/security.txt",
    "/robots.txt",
    "/sitemap.xml",
    "/.well-known/security.txt",
    "/favicon.ico",
];

const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const XML: &str = "application/xml";

pub fn routes() -> Router<Arc<App>> {
    PATHS.into_iter().fold(Router::new(), |router, path| router.route(path, get(get_page)))
}

async fn get_page(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    asked: HeaderMap,
) -> Result<Response> {
    let now_ms = app.clock.now_ms();
    let path = uri.path().to_owned();
    // Files may be read on the way, and a long text takes a while: not on a thread that serves others.
    let made = tokio::task::spawn_blocking(move || {
        app.pages
            .make(&path, now_ms)
            .inspect_err(|error| tracing::error!(path, %error, "a page cannot be made"))
    });
    let made = made.await.map_err(|_| ApiError::internal())?.map_err(|_| ApiError::internal())?;
    match made.ok_or_else(ApiError::not_found)? {
        Made::Moved(location) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(location));
            Ok(response)
        }
        Made::Prose(text) => {
            let mut response = whole(HTML, text, None).answer(&method, &asked);
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, headers::PAGE_POLICY);
            Ok(response)
        }
        Made::File { content_type, text, modified_ms } => {
            let mut response = whole(content_type, text, modified_ms).answer(&method, &asked);
            response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
            Ok(response)
        }
    }
}

fn whole(content_type: &'static str, text: String, modified_ms: Option<i64>) -> File {
    let etag = file::etag(text.as_bytes());
    File { content_type, bytes: text.into(), etag, modified_ms }
}

enum Made {
    Moved(&'static str),
    /// A page of docs or blog, which has a policy of its own. Its menu changes with other texts, so it has no date.
    Prose(String),
    File {
        content_type: &'static str,
        text: String,
        modified_ms: Option<i64>,
    },
}

impl Made {
    fn file(content_type: &'static str, text: impl Into<String>, modified_ms: Option<i64>) -> Option<Made> {
        Some(Made::File { content_type, text: text.into(), modified_ms })
    }
}

/// A post as blog/index.json has it.
#[derive(Deserialize)]
struct Post {
    slug: String,
    title: String,
    date: String,
    #[serde(default)]
    summary: String,
}

struct Rendered {
    source: String,
    text: Arc<Text>,
}

pub struct Pages {
    base: String,
    email_domain: String,
    content: Content,
    reference: maud::Markup,
    /// Since when the program, and with it all that is embedded, is what it is.
    program_ms: i64,
    /// What was rendered before. Only texts that exist get here.
    rendered: Mutex<HashMap<(Folder, String), Rendered>>,
}

impl Pages {
    /// `document` is the OpenAPI document.
    pub fn new(config: &Config, document: &[u8], program_ms: i64) -> Self {
        Pages {
            base: config.public_base_url.clone(),
            email_domain: config.email.domain.clone(),
            content: Content::new(config.content_dir.clone(), &config.email.domain),
            reference: reference::render(document),
            program_ms,
            rendered: Mutex::default(),
        }
    }

    /// What stands at this address; `None`: nothing. Blocks while it reads.
    fn make(&self, path: &str, now_ms: i64) -> io::Result<Option<Made>> {
        let embedded = Some(self.program_ms);
        Ok(match path {
            "/public/docs" => Some(Made::Moved("/public/docs/")),
            "/public/blog" => Some(Made::Moved("/public/blog/")),
            "/public/docs/" => self.document(path, "index")?,
            "/public/docs/reference" => {
                Some(Made::Prose(frame::page(path, "API reference", &self.menu()?, self.reference.clone())))
            }
            "/public/blog/" => {
                Some(Made::Prose(frame::page(path, "Blog", &[], frame::posts(&self.posts()?))))
            }
            "/public/faq/index.html" => self.plain(path, Folder::Faq, "index", now_ms)?,
            "/public/billing/success" | "/public/billing/cancel" | "/public/billing/return" => {
                let (title, text) = frame::after_billing(path);
                Made::file(HTML, frame::page(path, title, &[], text), embedded)
            }
            "/public/style.css" => {
                Made::file("text/css; charset=utf-8", include_str!("pages/style.css"), embedded)
            }
            "/favicon.ico" => Made::file("image/svg+xml", include_str!("pages/icon.svg"), embedded),
            "/robots.txt" | "/public/robots.txt" => Made::file(PLAIN, machine::robots(&self.base), embedded),
            "/sitemap.xml" | "/public/sitemap.xml" => {
                // A text that went away leaves no date behind.
                let modified_ms = embedded.filter(|_| !self.content.has_own());
                Made::file(XML, machine::sitemap(&self.base, &self.addresses()?), modified_ms)
            }
            "/.well-known/security.txt" | "/public/.well-known/security.txt" => {
                let modified_ms = machine::security_from_ms(now_ms).max(self.program_ms);
                let text = machine::security(&self.base, &self.email_domain, now_ms);
                Made::file(PLAIN, text, Some(modified_ms))
            }
            _ => {
                if let Some(name) = path.strip_prefix("/public/docs/") {
                    self.document(path, name.strip_suffix(".md").unwrap_or(name))?
                } else if let Some(name) = path.strip_prefix("/public/blog/") {
                    self.post(path, name.strip_suffix(".md").unwrap_or(name))?
                } else if let Some(name) = path.strip_prefix("/public/legal/") {
                    match name.strip_suffix(".html") {
                        Some(name) => self.plain(path, Folder::Legal, name, now_ms)?,
                        None => None,
                    }
                } else {
                    None
                }
            }
        })
    }

    fn document(&self, path: &str, name: &str) -> io::Result<Option<Made>> {
        let Some(text) = self.text(Folder::Docs, name)? else { return Ok(None) };
        let address = if name == "index" { "/public/docs/" } else { path.trim_end_matches(".md") };
        let title = text.title.as_deref().unwrap_or(name);
        Ok(Some(Made::Prose(frame::page(address, title, &self.menu()?, frame::prose(&text.html)))))
    }

    fn post(&self, path: &str, name: &str) -> io::Result<Option<Made>> {
        let Some(text) = self.text(Folder::Blog, name)? else { return Ok(None) };
        let posts = self.posts()?;
        let date = posts.iter().find(|post| post.slug == name).map(|post| post.date.as_str());
        let title = text.title.as_deref().unwrap_or(name);
        Ok(Some(Made::Prose(frame::page(path, title, &[], frame::post(&text.html, date)))))
    }

    fn plain(&self, path: &str, folder: Folder, name: &str, now_ms: i64) -> io::Result<Option<Made>> {
        let Some(text) = self.text(folder, name)? else { return Ok(None) };
        let title = text.title.as_deref().unwrap_or(name);
        let changed = self.content.modified(folder, name)?.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let changed_ms = changed.and_then(|at| i64::try_from(at.as_millis()).ok()).unwrap_or(self.program_ms);
        // The frame around it is the program's; a date in the future would be believed by nobody.
        let modified_ms = changed_ms.max(self.program_ms).min(now_ms);
        Ok(Made::file(HTML, frame::page(path, title, &[], frame::prose(&text.html)), Some(modified_ms)))
    }

    /// The documents in the order in which the first of them links to the others; the rest follows by name.
    fn menu(&self) -> io::Result<Vec<Entry>> {
        let index = self.content.text(Folder::Docs, "index")?.unwrap_or_default();
        let mut names = self.content.names(Folder::Docs)?;
        names.retain(|name| name != "index");
        names.sort_by_key(|name| index.find(&format!("]({name}.md")).unwrap_or(usize::MAX));
        let mut entries = Vec::with_capacity(names.len() + 2);
        if !index.is_empty() {
            entries.push(Entry { address: "/public/docs/".to_owned(), title: "Overview".to_owned() });
        }
        for name in names {
            // One text that cannot be read must not take the others along.
            let text = self.text(Folder::Docs, &name).unwrap_or_else(|error| {
                tracing::warn!(name, %error, "a document is left out of the menu");
                None
            });
            let Some(text) = text else { continue };
            let title = text.title.clone().unwrap_or_else(|| name.clone());
            entries.push(Entry { address: format!("/public/docs/{name}"), title });
        }
        entries
            .push(Entry { address: "/public/docs/reference".to_owned(), title: "API reference".to_owned() });
        Ok(entries)
    }

    /// The posts of the list that exist.
    fn posts(&self) -> io::Result<Vec<PostEntry>> {
        let Some(list) = self.content.posts()? else { return Ok(Vec::new()) };
        let mut posts = Vec::new();
        for Post { slug, title, date, summary } in serde_json::from_str::<Vec<Post>>(&list)? {
            if self.content.text(Folder::Blog, &slug)?.is_some() {
                posts.push(PostEntry { slug, title, date, summary });
            }
        }
        Ok(posts)
    }

    /// Every page that can be asked for, in the order of the sitemap.
    fn addresses(&self) -> io::Result<Vec<String>> {
        let mut addresses: Vec<String> = self.menu()?.into_iter().map(|entry| entry.address).collect();
        addresses.push("/public/blog/".to_owned());
        addresses.extend(self.posts()?.into_iter().map(|post| format!("/public/blog/{}", post.slug)));
        for name in self.content.names(Folder::Legal)? {
            addresses.push(format!("/public/legal/{name}.html"));
        }
        if self.content.text(Folder::Faq, "index")?.is_some() {
            addresses.push("/public/faq/index.html".to_owned());
        }
        Ok(addresses)
    }

    fn text(&self, folder: Folder, name: &str) -> io::Result<Option<Arc<Text>>> {
        let Some(source) = self.content.text(folder, name)? else { return Ok(None) };
        let key = (folder, name.to_owned());
        let rendered = || self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rendered().get(&key).filter(|known| known.source == source) {
            return Ok(Some(known.text.clone()));
        }
        let text = Arc::new(markdown::render(&source, folder.ending()));
        rendered().insert(key, Rendered { source, text: text.clone() });
        Ok(Some(text))
    }
}
