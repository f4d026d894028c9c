//! A policy set as bytes: what the folder holds, or what the store kept of it. Nothing is compiled here.
//!
//! Everything is read once, bounded, and from then on only these bytes are used: what was checked is what runs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use wasmtime::Engine;

use super::engine::Limits;
use super::guests;
use super::judgment::Mode;
use super::manifest::{Activation, Closed, ComponentRef, Entry, Manifest, ManifestError, Place, Rewriting};
use super::settings::Settings;
use super::suite::Suite;
use crate::env;

/// Name of the file that lists the policies.
pub const MANIFEST: &str = "policies.toml";
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
pub(super) const MAX_SUITE_BYTES: u64 = 4 << 20;
const MAX_DIRECTORY_DEPTH: u32 = 16;
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
const SPEC_VERSION: u32 = 1;

/// One policy of a set, resolved: everything that decides how it judges. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicySpec {
    /// Name in policies.toml.
    pub name: String,
    /// SHA-256 of the component.
    pub component: String,
    /// `component` as policies.toml has it.
    pub origin: String,
    /// Handed to `configure`.
    pub settings: Json,
    /// Where it takes part; none = where it says itself.
    pub places: Option<Vec<Place>>,
    /// Whether it counts.
    pub mode: Mode,
    /// What one evaluation may use.
    pub limits: Limits,
    /// Granted files.
    pub files: Vec<FileRef>,
    /// What a guard's fault means.
    pub closed: Closed,
    /// Whether a filter may change arguments.
    pub rewriting: Rewriting,
}

/// A granted file by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Path below the granted directory.
    pub path: String,
    /// SHA-256.
    pub sha256: String,
}

/// A set, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetSpec {
    /// Of this form.
    pub version: u32,
    /// In order.
    pub policies: Vec<PolicySpec>,
}

/// A set as bytes.
#[derive(Debug, Clone)]
pub(super) struct SetSource {
    pub(super) spec: SetSpec,
    /// SHA-256 of the spec: covers components, settings, granted files, order and modes.
    pub(super) digest: String,
    pub(super) blobs: BTreeMap<String, Arc<[u8]>>,
    /// The policies' own tests; empty for a set out of the store, whose tests ran when it was loaded.
    pub(super) suites: Vec<Suite>,
}

/// Why a folder is no policy set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The list of policies.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: String,
        /// What.
        problem: String,
    },
    /// A policy's component.
    #[error("policy '{policy}': {problem}")]
    Policy {
        /// Which.
        policy: String,
        /// What.
        problem: String,
    },
    /// The store's copy.
    #[error("the stored set {generation} does not read back: {problem}")]
    Stored {
        /// Which.
        generation: u64,
        /// What.
        problem: String,
    },
}

/// Reads a policy folder.
pub(super) fn read_folder(folder: &Path, settings: &Settings) -> Result<(SetSource, Activation), SourceError> {
    let shown = folder.display().to_string();
    let dir = open_folder(folder).map_err(|problem| SourceError::File {
        path: shown.clone(),
        problem: format!("{problem}; `coda init` makes a policy folder"),
    })?;
    let text = read_text(&dir, MANIFEST, MAX_MANIFEST_BYTES)
        .map_err(|problem| SourceError::File { path: format!("{shown}/{MANIFEST}"), problem })?;
    read_manifest(&text, Some(Folder { path: folder, dir: &dir }), settings)
}

/// The bundled policies by themselves, each with the settings that it has by default.
pub(super) fn read_bundled(settings: &Settings) -> Result<SetSource, SourceError> {
    let entry = |name: &str| format!("[[policy]]\nname = \"{name}\"\ncomponent = \"bundled:{name}\"\n");
    let text: String = guests::bundled_names().map(entry).collect();
    read_manifest(&text, None, settings).map(|(source, _)| source)
}

/// One component file as a policy of its own, with the settings that it has by default.
pub(super) fn read_component(path: &Path, settings: &Settings) -> Result<SetSource, SourceError> {
    let wrong = |problem: &str| SourceError::File { path: path.display().to_string(), problem: problem.to_owned() };
    let file = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| wrong("its name is not UTF-8"))?;
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = open_folder(folder).map_err(|problem| wrong(&problem))?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let name = stem.to_ascii_lowercase().replace('_', "-");
    let text = format!("[[policy]]\nname = {}\ncomponent = {}\n", quoted(&name), quoted(file));
    read_manifest(&text, Some(Folder { path: folder, dir: &dir }), settings).map(|(source, _)| source)
}

/// The folder that a list of policies refers to.
#[derive(Clone, Copy)]
struct Folder<'a> {
    path: &'a Path,
    dir: &'a Dir,
}

fn open_folder(folder: &Path) -> Result<Dir, String> {
    Dir::open_ambient_dir(folder, ambient_authority()).map_err(|e| e.to_string())
}

fn read_manifest(text: &str, folder: Option<Folder<'_>>, settings: &Settings) -> Result<(SetSource, Activation), SourceError> {
    let manifest = Manifest::parse(text)?;
    let mut blobs = BTreeMap::new();
    let mut suites = Vec::new();
    let mut policies = Vec::new();
    for entry in manifest.policies {
        let named = |problem| SourceError::Policy { policy: entry.name.clone(), problem };
        let bytes = component(folder, &entry, settings).map_err(named)?;
        let digest = env::sha256_hex(&bytes);
        check_component(&entry, &digest, &bytes).map_err(named)?;
        let files = match (&entry.directory, folder) {
            (Some(directory), Some(folder)) => granted(folder.path, directory, settings, &mut blobs).map_err(named)?,
            (Some(_) | None, _) => Vec::new(),
        };
        suites.extend(suite(folder, &entry).map_err(named)?);
        blobs.insert(digest.clone(), bytes);
        policies.push(resolve(entry, digest, files, settings)?);
    }
    Ok((seal(SetSpec { version: SPEC_VERSION, policies }, blobs, suites), manifest.activation.unwrap_or(settings.activation)))
}

/// What the store kept of a set.
pub(super) fn from_store(generation: u64, spec: &str, blobs: BTreeMap<String, Vec<u8>>) -> Result<SetSource, SourceError> {
    let broken = |problem: String| SourceError::Stored { generation, problem };
    let spec: SetSpec = serde_json::from_str(spec).map_err(|e| broken(e.to_string()))?;
    let wanted = spec.policies.iter().flat_map(|p| std::iter::once(&p.component).chain(p.files.iter().map(|f| &f.sha256)));
    for digest in wanted {
        match blobs.get(digest) {
            Some(bytes) if env::sha256_hex(bytes) == *digest => {}
            Some(_) => return Err(broken(format!("the bytes of {digest} are damaged"))),
            None => return Err(broken(format!("the bytes of {digest} are missing"))),
        }
    }
    let blobs = blobs.into_iter().map(|(digest, bytes)| (digest, Arc::from(bytes))).collect();
    Ok(seal(spec, blobs, Vec::new()))
}

fn seal(spec: SetSpec, blobs: BTreeMap<String, Arc<[u8]>>, suites: Vec<Suite>) -> SetSource {
    let digest = env::sha256_hex(spec_json(&spec).as_bytes());
    SetSource { spec, digest, blobs, suites }
}

/// The stored form of a spec, and what its digest is taken of.
pub(super) fn spec_json(spec: &SetSpec) -> String {
    serde_json::to_string(spec).expect("a spec has only text keys")
}

fn resolve(entry: Entry, component: String, files: Vec<FileRef>, settings: &Settings) -> Result<PolicySpec, SourceError> {
    let memory_bytes = entry.memory_bytes.unwrap_or(settings.default_memory_bytes);
    if memory_bytes > settings.max_memory_bytes {
        let problem =
            format!("limits: memory_bytes {memory_bytes} is above the server's {} (max_memory_bytes)", settings.max_memory_bytes);
        return Err(SourceError::Policy { policy: entry.name, problem });
    }
    Ok(PolicySpec {
        origin: match &entry.component {
            ComponentRef::File(path) => path.clone(),
            ComponentRef::Bundled(name) => format!("bundled:{name}"),
        },
        name: entry.name,
        component,
        settings: entry.settings,
        places: entry.places,
        mode: entry.mode,
        limits: Limits {
            fuel: entry.fuel.unwrap_or(settings.default_fuel),
            timeout_ms: entry.timeout_ms.unwrap_or(settings.default_timeout_ms),
            memory_bytes,
        },
        files,
        closed: entry.closed,
        rewriting: entry.rewriting,
    })
}

fn component(folder: Option<Folder<'_>>, entry: &Entry, settings: &Settings) -> Result<Arc<[u8]>, String> {
    match &entry.component {
        ComponentRef::File(path) => folder
            .ok_or_else(|| "there is no folder to read it from".to_owned())
            .and_then(|folder| read_bytes(folder.dir, path, settings.max_component_bytes))
            .map(Arc::from)
            .map_err(|problem| format!("component {path}: {problem}")),
        ComponentRef::Bundled(name) => match guests::component(name, settings.guests.as_deref()) {
            Ok(Some(bytes)) => Ok(Arc::from(bytes.into_owned())),
            Ok(None) => Err(format!("there is no bundled policy '{name}'")),
            Err(error) => Err(format!("bundled policy '{name}': {error}")),
        },
    }
}

fn check_component(entry: &Entry, digest: &str, bytes: &[u8]) -> Result<(), String> {
    if let Some(pinned) = entry.sha256.as_deref().filter(|pinned| *pinned != digest) {
        return Err(format!("its SHA-256 is {digest}, and policies.toml pins {pinned}"));
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return Err("it is precompiled machine code, which coda never takes; give the .wasm component".into());
    }
    if !bytes.starts_with(COMPONENT_PREAMBLE) {
        return Err(
            "it is not a WebAssembly component; build it for wasm32-wasip2, or wrap the module with `wasm-tools component new`"
                .into(),
        );
    }
    Ok(())
}

/// Reads a granted directory once, in order, bounded; a link that leads out of it is an error, not a way out.
fn granted(
    folder: &Path,
    directory: &str,
    settings: &Settings,
    blobs: &mut BTreeMap<String, Arc<[u8]>>,
) -> Result<Vec<FileRef>, String> {
    let root = Dir::open_ambient_dir(folder.join(directory), ambient_authority())
        .map_err(|e| format!("granted directory {directory}: {e}"))?;
    let mut paths = Vec::new();
    collect(&root, "", MAX_DIRECTORY_DEPTH, settings.max_granted_files, &mut paths)?;
    paths.sort();
    let mut left = settings.max_granted_bytes;
    let mut files = Vec::new();
    for path in paths {
        let bytes = read_bytes(&root, &path, left).map_err(|problem| format!("granted file {path}: {problem}"))?;
        left = left.saturating_sub(bytes.len() as u64);
        let sha256 = env::sha256_hex(&bytes);
        blobs.insert(sha256.clone(), Arc::from(bytes));
        files.push(FileRef { path, sha256 });
    }
    Ok(files)
}

fn collect(dir: &Dir, below: &str, depth: u32, most: u32, paths: &mut Vec<String>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("granted directory /{below}: {e}");
    if depth == 0 {
        return Err(format!("granted directory /{below}: deeper than {MAX_DIRECTORY_DEPTH} levels"));
    }
    for entry in dir.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name =
            entry.file_name().into_string().map_err(|name| format!("granted file {}: its name is not UTF-8", name.display()))?;
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let kind = dir.metadata(&name).map_err(|e| format!("granted file {path}: {e}"))?;
        if kind.is_dir() {
            collect(&dir.open_dir(&name).map_err(failed)?, &path, depth - 1, most, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        } else {
            return Err(format!("granted file {path}: it is neither a file nor a directory"));
        }
        if paths.len() > most as usize {
            return Err(format!("granted directory: more than {most} files (max_granted_files)"));
        }
    }
    Ok(())
}

/// The policy's own tests: `tests/NAME.yaml`, `.toml` or `.json` in the folder; a bundled policy that is not configured
/// otherwise brings its own.
fn suite(folder: Option<Folder<'_>>, entry: &Entry) -> Result<Option<Suite>, String> {
    for (extension, folder) in Suite::EXTENSIONS.into_iter().filter_map(|extension| Some((extension, folder?))) {
        let path = format!("tests/{}.{extension}", entry.name);
        if folder.dir.try_exists(&path).unwrap_or(false) {
            let text = read_text(folder.dir, &path, MAX_SUITE_BYTES).map_err(|problem| format!("{path}: {problem}"))?;
            return Suite::parse(&entry.name, extension, &text).map(Some).map_err(|problem| format!("{path}: {problem}"));
        }
    }
    let unchanged = entry.settings.as_object().is_some_and(serde_json::Map::is_empty) && entry.directory.is_none();
    match &entry.component {
        ComponentRef::Bundled(name) if unchanged => guests::bundled_suite(name)
            .map(|text| Suite::parse(&entry.name, "yaml", text).map_err(|problem| format!("its bundled tests: {problem}")))
            .transpose(),
        ComponentRef::Bundled(_) | ComponentRef::File(_) => Ok(None),
    }
}

fn read_text(dir: &Dir, path: &str, most: u64) -> Result<String, String> {
    String::from_utf8(read_bytes(dir, path, most)?).map_err(|_| "it is not UTF-8".into())
}

fn read_bytes(dir: &Dir, path: &str, most: u64) -> Result<Vec<u8>, String> {
    let kind = dir.metadata(path).map_err(|e| e.to_string())?;
    if !kind.is_file() {
        return Err("it is not a file".into());
    }
    let mut bytes = Vec::new();
    let file = dir.open(path).map_err(|e| e.to_string())?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > most { Err(format!("it is larger than {most} bytes")) } else { Ok(bytes) }
}
