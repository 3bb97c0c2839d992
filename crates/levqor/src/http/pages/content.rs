//! Where texts come from: folders of the repository, embedded when the program was built, or those of `CONTENT_DIR`.
//!
//! What a client names is judged here: a name has no dot and no slash, and a link in the file system may not lead out of its
//! folder. Reading blocks; the caller sees to it that this harms nobody.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rust_embed::RustEmbed;

/// No text for people is longer.
const MAX_BYTES: u64 = 1 << 20;

#[derive(RustEmbed)]
#[folder = "../../docs"]
struct Docs;

#[derive(RustEmbed)]
#[folder = "../../blog"]
struct Blog;

#[derive(RustEmbed)]
#[folder = "../../legal"]
struct Legal;

#[derive(RustEmbed)]
#[folder = "../../faq"]
struct Faq;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Folder {
    Docs,
    Blog,
    Legal,
    Faq,
}

impl Folder {
    fn path(self) -> &'static str {
        match self {
            Folder::Docs => "docs",
            Folder::Blog => "blog",
            Folder::Legal => "legal",
            Folder::Faq => "faq",
        }
    }

    /// What pages of this folder end with on the web, instead of `.md`.
    pub fn ending(self) -> &'static str {
        match self {
            Folder::Docs | Folder::Blog => "",
            Folder::Legal | Folder::Faq => ".html",
        }
    }

    fn embedded(self, file: &str) -> Option<String> {
        let found = match self {
            Folder::Docs => Docs::get(file),
            Folder::Blog => Blog::get(file),
            Folder::Legal => Legal::get(file),
            Folder::Faq => Faq::get(file),
        };
        found.and_then(|file| String::from_utf8(file.data.into_owned()).ok())
    }

    fn embedded_files(self) -> Vec<String> {
        let files: Box<dyn Iterator<Item = _>> = match self {
            Folder::Docs => Box::new(Docs::iter()),
            Folder::Blog => Box::new(Blog::iter()),
            Folder::Legal => Box::new(Legal::iter()),
            Folder::Faq => Box::new(Faq::iter()),
        };
        files.map(|file| file.into_owned()).collect()
    }
}

/// The domain of the addresses that embedded texts name to their readers.
const EMBEDDED_DOMAIN: &str = "@levqor.ai";

pub struct Content {
    own: Option<PathBuf>,
    email_domain: String,
}

impl Content {
    /// Embedded legal texts and questions name addresses at `email_domain`; texts of one's own are shown as they are.
    pub fn new(own: Option<PathBuf>, email_domain: &str) -> Self {
        Content { own, email_domain: format!("@{email_domain}") }
    }

    /// The Markdown of this name; `None` when there is none, or when it can be no name.
    pub fn text(&self, folder: Folder, name: &str) -> io::Result<Option<String>> {
        if !is_name(name) {
            return Ok(None);
        }
        self.read(folder, &format!("{name}.md"))
    }

    /// When the text of this name was last changed; `None` for an embedded one, which is as old as the program.
    pub fn modified(&self, folder: Folder, name: &str) -> io::Result<Option<SystemTime>> {
        match self.own_folder(folder)? {
            Some(own) if is_name(name) => fs::metadata(own.join(format!("{name}.md")))?.modified().map(Some),
            _ => Ok(None),
        }
    }

    /// Whether texts of one's own may stand for embedded ones.
    pub fn has_own(&self) -> bool {
        self.own.is_some()
    }

    /// The list of posts, as JSON.
    pub fn posts(&self) -> io::Result<Option<String>> {
        self.read(Folder::Blog, "index.json")
    }

    /// The names of all texts of a folder, in alphabetical order.
    pub fn names(&self, folder: Folder) -> io::Result<Vec<String>> {
        let files = match self.own_folder(folder)? {
            None => folder.embedded_files(),
            Some(own) => {
                let mut files = Vec::new();
                for entry in fs::read_dir(own)? {
                    files.extend(entry?.file_name().into_string().ok());
                }
                files
            }
        };
        let names = files.iter().filter_map(|file| file.strip_suffix(".md")).filter(|name| is_name(name));
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    fn read(&self, folder: Folder, file: &str) -> io::Result<Option<String>> {
        match self.own_folder(folder)? {
            None => Ok(folder.embedded(file).map(|text| match folder {
                Folder::Docs | Folder::Blog => text,
                Folder::Legal | Folder::Faq => text.replace(EMBEDDED_DOMAIN, &self.email_domain),
            })),
            Some(own) => read_inside(&own, file),
        }
    }

    /// The folder in `CONTENT_DIR` that stands for the embedded one, if there is one.
    fn own_folder(&self, folder: Folder) -> io::Result<Option<PathBuf>> {
        match &self.own {
            None => Ok(None),
            Some(own) => existing(&own.join(folder.path())),
        }
    }
}

/// A page's name as it stands in its address.
pub fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The path without links and dots; `None` when nothing is there.
fn existing(path: &Path) -> io::Result<Option<PathBuf>> {
    match path.canonicalize() {
        Ok(path) => Ok(Some(path)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read_inside(folder: &Path, file: &str) -> io::Result<Option<String>> {
    let Some(path) = existing(&folder.join(file))? else { return Ok(None) };
    if !path.starts_with(folder) || !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{file} is larger than {MAX_BYTES} bytes"),
        ));
    }
    Ok(Some(text))
}
