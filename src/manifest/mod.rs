//! Manifests: YAML text -> validated cases. Knows no device, reads no weights.
//!
//! VERIFY.md describes the format. What is accepted here is complete and consistent: every
//! later stage may rely on it.

mod cases;
mod claims;
mod errors;
pub mod operator;
mod section;
mod tree;
mod walk;

use contract::case::Case;
use record::manifest::{Manifest, SectionInfo};
use std::collections::{BTreeSet, HashSet};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

pub use errors::{ManifestError, ManifestErrors};

use crate::carried;
use contract::digest::Digest;
use contract::words::{nearest, quote};
use record::claims::{Claim, Page};
use tree::{Node, Value};
use walk::{Fields, Walk};

/// The version written in every manifest.
const FORMAT: &str = "sparse-verify/2";
/// The version before it.
const OLD_FORMAT: &str = "sparse-verify/1";
/// Bytes of a manifest; the largest of ours has a few thousand.
const SIZE_MAX: u64 = 4 << 20;
/// Errors shown of one manifest.
const ERRORS_MAX: usize = 100;

/// Reads and validates a manifest; all its errors at once.
pub fn load(path: &Path) -> Result<Manifest, ManifestErrors> {
    parse(path, &read_file(path, "the manifest")?)
}

/// The bytes of a file, one more than may be there at most; `what` it is, in words.
fn read_file(path: &Path, what: &str) -> Result<Vec<u8>, ManifestErrors> {
    let fail =
        |e: std::io::Error| ManifestErrors::unreadable(path, format!("failed to read {what}: {e}"));
    if let Some(carried) = carried::bytes(path) {
        return Ok(carried.to_vec());
    }
    let mut bytes = Vec::new();
    // The limit also holds for what is no regular file and has no length.
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Validates the bytes of a manifest; `path` gives the name and stands in the messages.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest, ManifestErrors> {
    let mut walk = Walk::default();
    let text = refuse_record(bytes).and_then(|()| source_text(bytes));
    let root = text.and_then(tree::parse).map_err(|error| walk.errors.push(error));
    let content = root.ok().and_then(|root| read(&mut walk, &root));
    match content {
        Some(content) if walk.errors.is_empty() => Ok(Manifest {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_owned(),
            sha256: Digest::of(bytes),
            title: content.title,
            platform: content.platform,
            sections: content.sections,
            cases: content.cases,
            claims: content.claims,
            page: content.page,
        }),
        _ => {
            let mut errors = walk.errors;
            errors.sort_by_key(|error| error.place);
            if errors.len() > ERRORS_MAX {
                let message = format!("{} more errors", errors.len() - ERRORS_MAX);
                errors.truncate(ERRORS_MAX);
                errors.push(ManifestError { place: None, message, hint: None });
            }
            Err(ManifestErrors { path: path.to_owned(), errors, unreadable: false })
        }
    }
}

/// The manifests that the paths name: files as they are, folders by their `*.yaml`, sorted. Where there is neither, a name
/// stands for `manifests/NAME.yaml` here, or else for the manifest of that name that the program carries.
/// Folders are not searched deeper, and a manifest named twice is listed once.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ManifestErrors> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        let fail =
            |message: String, hint: &str| Err(ManifestErrors::whole_file(path, message, hint));
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                if let Some(named) = by_name(path) {
                    found.push(named);
                    continue;
                }
                let message = "expected a manifest or a folder of manifests, found nothing".into();
                return fail(message, &carried_hint(path).unwrap_or_default());
            }
            Err(e) => {
                let message = format!("failed to look at the path: {e}");
                return Err(ManifestErrors::unreadable(path, message));
            }
        };
        if !metadata.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<std::io::Result<Vec<_>>>()
        });
        let mut manifests = match entries {
            Ok(entries) => entries,
            Err(e) => {
                let message = format!("failed to list the folder: {e}");
                return Err(ManifestErrors::unreadable(path, message));
            }
        };
        manifests.retain(|path| path.extension().is_some_and(|e| e == "yaml") && path.is_file());
        if manifests.is_empty() {
            let message = "expected manifests in the folder, found none".into();
            return fail(message, "their names end in .yaml");
        }
        manifests.sort();
        found.append(&mut manifests);
    }
    let mut seen = BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

/// The manifest of a plain name, or the carried one of its own path.
fn by_name(path: &Path) -> Option<PathBuf> {
    if carried::bytes(path).is_some() {
        return Some(path.to_owned());
    }
    let is_plain = path.components().count() == 1;
    carried::named("manifests", path.to_str().filter(|_| is_plain)?)
}

/// For a path whose file the program carries, or a name close to one of those.
fn carried_hint(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    if carried::names("manifests").any(|name| name == stem) {
        return Some(format!(
            "the program carries `{stem}`: give its name alone, or write it here by `verify eject`"
        ));
    }
    let is_plain = path.components().count() == 1;
    let near = nearest(stem, carried::names("manifests")).filter(|_| is_plain)?;
    Some(format!("did you mean `{near}`, which the program carries?"))
}

/// A record is YAML too, and would be wrong in every key.
fn refuse_record(bytes: &[u8]) -> Result<(), ManifestError> {
    const FORMAT_OF_RECORDS: &[u8] = b"\"sparse-verify-record/";
    // Its format is its first field.
    let start = &bytes[..bytes.len().min(256)];
    let is_record = start.trim_ascii_start().starts_with(b"{")
        && start.windows(FORMAT_OF_RECORDS.len()).any(|part| part == FORMAT_OF_RECORDS);
    let hint = "`verify report` shows it, `verify explain` says why digests differ, and `verify judge PATH --record` \
                judges the claims of a manifest by it";
    match is_record {
        true => Err(ManifestError {
            place: None,
            message: "expected a manifest, found the record of a run".into(),
            hint: Some(hint.into()),
        }),
        false => Ok(()),
    }
}

/// The text of a manifest, if its bytes are text.
fn source_text(bytes: &[u8]) -> Result<&str, ManifestError> {
    let fail = |offset: usize, message: String| {
        let before = &bytes[..offset];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        // Columns count characters; `before` is text, or the error would stand earlier.
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        // Both are below SIZE_MAX.
        ManifestError { place: Some((line as u32, column as u32)), message, hint: None }
    };
    if bytes.len() as u64 > SIZE_MAX {
        let message = format!("larger than {SIZE_MAX} bytes: not a manifest");
        return Err(ManifestError { place: None, message, hint: None });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let offset = e.valid_up_to();
        fail(offset, format!("expected UTF-8 text, found the byte 0x{:02x}", bytes[offset]))
    })?;
    match text.find('\0') {
        Some(offset) => Err(fail(offset, "expected text, found a NUL byte".to_owned())),
        None => Ok(text),
    }
}

struct Content {
    title: String,
    platform: Option<String>,
    sections: Vec<SectionInfo>,
    cases: Vec<Case>,
    claims: Vec<Claim>,
    page: Option<Page>,
}

fn read(walk: &mut Walk, root: &Node) -> Option<Content> {
    if root.value == Value::Null {
        let message = "the manifest is empty";
        walk.fail(root.place, message, &format!("its first line is `format: {FORMAT}`"));
        return None;
    }
    let keys = ["format", "title", "platform", "sections", "claims", "page"];
    let fields = walk.fields(root, "a manifest", &keys)?;
    if !format_is_known(walk, &fields) {
        // Other versions have other keys: more messages would only mislead.
        return None;
    }
    let title = fields.require(walk, "title").and_then(|node| walk.text(node, "a title"));
    let platform = fields.get("platform").and_then(|node| walk.text(node, "a platform"));
    let (mut sections, mut cases, mut all_claims) = (Vec::new(), Vec::new(), Vec::new());
    let mut twins = Vec::new();
    let node = match fields.has("claims") {
        true => fields.get("sections"),
        false => fields.require(walk, "sections"),
    };
    if let Some(node) = node {
        let mut names: Vec<&str> = Vec::new();
        for item in walk.list(node, "section") {
            if let Some((name, place)) = section::name_of(item) {
                if names.contains(&name) {
                    walk.fail(place, format!("section {} given twice", quote(name)), "");
                }
                names.push(name);
            }
            let Some(section) = section::read(walk, item) else { continue };
            let first = cases.len();
            cases::expand(walk, &section, &mut cases);
            let own = &cases[first..];
            check_count(walk, &section, own.len());
            if let Some(node) = section::claims_of(item) {
                all_claims.extend(claims::of_section(walk, node, &section.name, own));
            }
            twins.extend(section.twin_of.clone());
            sections.push(SectionInfo {
                name: section.name,
                line: section.line,
                published: section.published.map(|(published, _)| published),
                twin_of: section.twin_of.into_iter().map(|(name, _)| name).collect(),
                config: section.config,
            });
        }
        for (name, place) in twins {
            if !names.contains(&name.as_str()) {
                walk.fail(place, format!("no section is named {}", quote(&name)), "");
            }
        }
    }
    if let Some(node) = fields.get("claims") {
        all_claims.extend(claims::of_everything(walk, node));
    }
    let page = fields.get("page").and_then(|node| claims::page(walk, node));
    if walk.errors.is_empty() {
        check_ids(walk, &cases, &all_claims);
    }
    Some(Content {
        title: title?.to_owned(),
        platform: platform.map(str::to_owned),
        sections,
        cases,
        claims: all_claims,
        page,
    })
}

/// A section that stands for published cases has as many.
fn check_count(walk: &mut Walk, section: &section::Section, count: usize) {
    let Some((published, place)) = &section.published else { return };
    // None at all: the section was refused.
    if count > 0 && published.cases != count as u64 {
        let message =
            format!("{} cases are published, and the section has {count}", published.cases);
        walk.fail(*place, message, "");
    }
}

fn format_is_known(walk: &mut Walk, fields: &Fields<'_>) -> bool {
    let Some(node) = fields.require(walk, "format") else { return false };
    let text = match &node.value {
        Value::Text(text) => text.as_str(),
        _ => "",
    };
    if text == FORMAT {
        return true;
    }
    if text == OLD_FORMAT {
        let hint = format!(
            "the key `operator` of a section is called `plan` now; then `format: {FORMAT}`"
        );
        walk.fail(node.place, format!("format `{OLD_FORMAT}` is not read any more"), &hint);
        return false;
    }
    let known: u64 = 2;
    let version = text.strip_prefix("sparse-verify/").and_then(|version| version.parse().ok());
    if version.is_some_and(|version: u64| version > known) {
        let message = format!("format {} needs a newer verify", quote(text));
        walk.fail(node.place, message, &format!("this one reads `{FORMAT}`"));
    } else {
        walk.format(node, FORMAT);
    }
    false
}

/// Ids are what expected hashes are found by. Names and lists without repeats make them unique;
/// this makes sure of it.
fn check_ids(walk: &mut Walk, cases: &[Case], claims: &[Claim]) {
    let mut seen = HashSet::new();
    for case in cases {
        if !seen.insert(case.id.as_str()) {
            walk.fail((case.line, 1), format!("two cases have the id `{}`", case.id), "");
        }
    }
    let mut seen = HashSet::new();
    for claim in claims {
        if !seen.insert(claim.id.as_str()) {
            walk.fail((claim.line, 1), format!("two claims have the id `{}`", claim.id), "");
        }
    }
}
