//! Committed digests, as data. Files are read and written by the kit.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use contract::case::Case;
use contract::digest::Digest;
use contract::inputs::LastKept;
use contract::words::visible_yaml;
use serde::Deserialize;

/// The version of the files' format.
pub const FORMAT: u32 = 1;

/// One manifest's committed digests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Version of the file's format.
    pub format: u32,
    /// Name of the manifest.
    pub manifest: String,
    /// Committed digests by case id.
    #[serde(default)]
    pub cases: BTreeMap<String, Entry>,
}

impl Expected {
    /// The file of a manifest of which nothing is committed.
    pub fn empty(manifest: &str) -> Expected {
        Expected { format: FORMAT, manifest: manifest.to_owned(), cases: BTreeMap::new() }
    }
}

/// One case's committed digests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Digest of A.
    pub a: Digest,
    /// Digest of V.
    pub v: Digest,
    /// Digest of the dense reference's output.
    pub dense: Digest,
    /// Digest of the operator's output; `None` where the arithmetic fixes no bits, as for `rebuilt` and `shifted`.
    pub operator: Option<Digest>,
    /// Digest of Y for A changed; `None` also where the perturbation test does not apply.
    pub rebuilt: Option<Digest>,
    /// Digest of Y for V changed; `None` as above.
    pub shifted: Option<Digest>,
    /// Shape and dtype of each tensor, such as `192x320 f32`.
    pub tensors: Tensors,
    /// Order of elements: `row-major`.
    pub order: String,
    /// The case's arithmetic.
    pub arithmetic: String,
    /// Whether hardware was seen to follow the arithmetic's model; tensor cores only.
    pub model: Option<String>,
    /// Name and version of the program that pinned it.
    pub tool: String,
    /// Implementations and machines that gave these digests.
    pub confirmed: Vec<String>,
    /// First 16 digits of the digest of each row panel of the dense output.
    pub panels: Vec<String>,
    /// The digest of those digests, whole and one after the other: the file of panels beside this one has them. `None`
    /// where they were not committed.
    #[serde(default)]
    pub panels_root: Option<Digest>,
    /// The last of what stays of A, where it is pruned by magnitude.
    #[serde(default)]
    pub pruning: Option<Pruned>,
}

/// [`LastKept`] as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruned {
    /// Rows, or elements, that stay.
    pub kept: u64,
    /// Bits of the least magnitude that stays, as 16 hexadecimal digits.
    pub least: String,
    /// The index of the last that stays.
    pub at: u64,
}

impl From<LastKept> for Pruned {
    fn from(LastKept { kept, least, at }: LastKept) -> Pruned {
        Pruned { kept, least: format!("{least:016x}"), at }
    }
}

impl Pruned {
    /// The same as numbers; an error reads on after "expected".
    pub fn last_kept(&self) -> Result<LastKept, &'static str> {
        let digits = self.least.len() == 16
            && self.least.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match u64::from_str_radix(&self.least, 16) {
            Ok(least) if digits => Ok(LastKept { kept: self.kept, least, at: self.at }),
            _ => Err("16 lower-case hexadecimal digits in `least`"),
        }
    }
}

/// Shape and dtype of each tensor of a case, such as `192x320 f32`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensors {
    /// Shape and dtype of A.
    pub a: String,
    /// Shape and dtype of V.
    pub v: String,
    /// Shape and dtype of Y.
    pub y: String,
}

impl Tensors {
    /// Shapes and dtypes of a case.
    pub fn of(case: &Case) -> Tensors {
        let tensor = |rows, columns, dtype| format!("{rows}x{columns} {dtype}");
        Tensors {
            a: tensor(case.m, case.k, case.dtype),
            v: tensor(case.k, case.n, case.dtype),
            y: tensor(case.m, case.n, case.output),
        }
    }
}

impl Expected {
    /// The file's text: cases sorted, one key a line.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by `verify pin` alone. VERIFY.md section 5 says what each digest is of.\n\
             format: {}\nmanifest: {}\ncases:\n",
            self.format, self.manifest
        );
        for (id, entry) in &self.cases {
            let optional = |digest: Option<Digest>| match digest {
                Some(digest) => digest.to_string(),
                None => "null".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {id}:");
            for (name, digest) in [
                ("a", Some(entry.a)),
                ("v", Some(entry.v)),
                ("dense", Some(entry.dense)),
                ("operator", entry.operator),
                ("rebuilt", entry.rebuilt),
                ("shifted", entry.shifted),
            ] {
                let quote = if digest.is_some() { "\"" } else { "" };
                let _ = writeln!(text, "    {name}: {quote}{}{quote}", optional(digest));
            }
            let Tensors { a, v, y } = &entry.tensors;
            let _ = writeln!(text, "    tensors: {{a: {a}, v: {v}, y: {y}}}");
            let _ = writeln!(text, "    order: {}", entry.order);
            let _ = writeln!(text, "    arithmetic: {}", entry.arithmetic);
            if let Some(model) = &entry.model {
                let _ = writeln!(text, "    model: {model}");
            }
            let _ = writeln!(text, "    tool: {}", entry.tool);
            let _ = writeln!(text, "    confirmed:");
            for confirmation in &entry.confirmed {
                let _ = writeln!(text, "      - {}", quoted(confirmation));
            }
            let fours = entry.panels.chunks(4).map(|four| {
                four.iter().map(|panel| format!("\"{panel}\"")).collect::<Vec<_>>().join(", ")
            });
            let lines = fours.collect::<Vec<_>>().join(",\n      ");
            let _ = writeln!(text, "    panels: [\n      {lines}]");
            if let Some(root) = entry.panels_root {
                let _ = writeln!(text, "    panels_root: \"{root}\"");
            }
            if let Some(Pruned { kept, least, at }) = &entry.pruning {
                let _ =
                    writeln!(text, "    pruning: {{kept: {kept}, least: \"{least}\", at: {at}}}");
            }
        }
        text
    }
}

/// A YAML double-quoted scalar.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", visible_yaml(&text))
}

impl Entry {
    /// Says so if the entry is about other shapes, dtypes or arithmetic than the case.
    pub fn describes_another(&self, case: &Case) -> Option<String> {
        let tensors = Tensors::of(case);
        if self.tensors == tensors && self.arithmetic == case.arithmetic.to_string() {
            return None;
        }
        let line = |t: &Tensors, arithmetic: &str| {
            format!("A {}, V {}, Y {}, {arithmetic}", t.a, t.v, t.y)
        };
        Some(format!(
            "the committed entry is about another case\n  expected {}\n  got      {}",
            line(&self.tensors, &self.arithmetic),
            line(&tensors, &case.arithmetic.to_string())
        ))
    }

    /// Whether two entries commit the same digests of the same tensors, as far as both do.
    pub fn same_digests(&self, other: &Entry) -> bool {
        let agree = |one: &Option<Digest>, two: &Option<Digest>| match (one, two) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        let prunings = [&self.pruning, &other.pruning];
        let is_pruned_alike = match prunings {
            [Some(one), Some(two)] => one == two,
            _ => true,
        };
        let key =
            |e: &Entry| (e.a, e.v, e.dense, e.operator, e.rebuilt, e.shifted, e.arithmetic.clone());
        key(self) == key(other)
            && self.tensors == other.tensors
            && self.panels == other.panels
            && agree(&self.panels_root, &other.panels_root)
            && is_pruned_alike
    }
}
