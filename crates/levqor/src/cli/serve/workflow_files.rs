//! The definitions in `WORKFLOWS_DIR`, loaded at start. A broken file is named loudly and stops neither the others nor the
//! start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use levqor_core::audit::Actor;
use levqor_engine::{DefinitionError, Engine, parse_definition};

use crate::cli::exit::chain;

/// What came out of a folder.
pub struct Loaded {
    pub dir: PathBuf,
    /// Sorted.
    pub names: Vec<String>,
    pub broken: usize,
}

/// Stores every definition of the folder that is new or changed. A folder that is not there holds none.
pub async fn load(engine: &Engine, dir: &Path) -> Loaded {
    let mut loaded = Loaded { dir: dir.to_path_buf(), names: Vec::new(), broken: 0 };
    let files = match files(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return loaded,
        Err(error) => {
            tracing::error!(folder = %dir.display(), %error, "WORKFLOWS_DIR cannot be read");
            return loaded;
        }
    };
    // Name of a workflow → the file that it came from.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match load_one(engine, &path, &file, &seen).await {
            Ok(name) => {
                seen.insert(name, file);
            }
            Err(problems) => {
                loaded.broken += 1;
                for problem in problems {
                    tracing::error!("workflow file {} was not loaded: {problem}", path.display());
                }
            }
        }
    }
    loaded.names = seen.into_keys().collect();
    loaded
}

async fn load_one(
    engine: &Engine,
    path: &Path,
    file: &str,
    seen: &BTreeMap<String, String>,
) -> Result<String, Vec<String>> {
    let source = tokio::fs::read_to_string(path).await.map_err(|error| vec![error.to_string()])?;
    let told =
        |problems: Vec<levqor_core::workflow::Problem>| problems.iter().map(ToString::to_string).collect();
    let definition = parse_definition(&source, None).map_err(told)?;
    let name = definition.name.clone();
    if let Some(other) = seen.get(&name) {
        return Err(vec![format!("it defines `{name}`, which {other} defines already")]);
    }
    match engine.put_workflow(&name, &source, &format!("file:{file}"), &Actor::system()).await {
        Ok(stored) => {
            if stored.created {
                tracing::info!(workflow = name, version = stored.row.version, file, "workflow loaded");
            }
            Ok(name)
        }
        Err(DefinitionError::Invalid(problems)) => Err(told(problems)),
        Err(DefinitionError::Store(error)) => Err(vec![chain(&error)]),
    }
}

/// The `.yaml`, `.yml` and `.json` files, in order of their names.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_definition =
            path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json");
        if is_definition && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
