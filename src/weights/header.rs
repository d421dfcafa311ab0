//! The header of a safetensors file: a length, then JSON that places the tensors in the rest.
//!
//! The `safetensors` crate defines the format and has the last word; its few messages do not
//! say which tensor is wrong and how, so every rule is checked here first.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::foreign::{self, Expected};
use contract::words::{nearest, quote};

/// Bytes of the length that a file begins with.
pub(super) const PREFIX_LEN: u64 = 8;
/// Bytes of JSON, at most. The limit of the `safetensors` crate.
const HEADER_LEN_MAX: u64 = 100_000_000;

/// A checked header: the tensors cover the rest of the file, each byte once.
#[derive(Clone, Debug)]
pub struct Header {
    /// Offset of the first tensor's bytes in the file.
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
    /// Texts beside the tensors.
    metadata: BTreeMap<String, String>,
}

/// A message and a hint.
pub type Fault = (String, Option<String>);

/// How a PyTorch file becomes a safetensors file.
pub(super) const SAVE_ANEW: &str = "write it anew: `model.save_pretrained(DIR, safe_serialization=True)`, or `from safetensors.torch import save_file; save_file(torch.load(FILE, weights_only=True), \"w.safetensors\")`";

/// A tensor's elements in a file.
#[derive(Clone, Debug)]
pub struct Entry {
    pub dtype: safetensors::Dtype,
    pub shape: Vec<usize>,
    /// In the file.
    pub bytes: Range<u64>,
}

impl Header {
    /// The tensor `name`; else message and hint.
    pub fn entry(&self, name: &str) -> Result<Entry, Fault> {
        let Some(info) = self.tensors.get(name) else {
            return Err(missing_tensor(name, self.tensor_names()));
        };
        let (start, end) = info.data_offsets;
        let bytes = self.data_start + start as u64..self.data_start + end as u64;
        Ok(Entry { dtype: info.dtype, shape: info.shape.clone(), bytes })
    }

    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Shape of the tensor `name`; `None` if there is none.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| &info.shape[..])
    }

    /// The tensors, by name.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }
}

/// Names of a model's last matrix, which is often the one of its embeddings and then stored once.
const HEADS: [&str; 3] = ["lm_head.weight", "output.weight", "embed_out.weight"];
/// Names of a model's embeddings.
const EMBEDDINGS: [&str; 5] = [
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
];

/// Message and hint for a tensor that is not among `names`.
pub(super) fn missing_tensor<'a>(
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Fault {
    let message = format!("no tensor {}", quote(name));
    let ends = |name: &str, ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(name, &HEADS)
        && let Some(tied) = names.clone().find(|name| ends(name, &EMBEDDINGS))
    {
        let hint = format!(
            "a model whose last matrix is that of its embeddings stores it once: name {}",
            quote(tied)
        );
        return (message, Some(hint));
    }
    // The same name under another prefix is a more likely slip than another spelling.
    let tail = |name: &str| name.rsplit('.').take(3).map(str::to_owned).collect::<Vec<_>>();
    let wanted = tail(name);
    let same_tail = names.clone().find(|known| wanted.len() == 3 && tail(known) == wanted);
    let near = same_tail.or_else(|| nearest(name, names.clone()));
    let hint = match near {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => {
            let shown: Vec<String> = names.clone().take(5).map(quote).collect();
            let rest = names.clone().count().saturating_sub(shown.len());
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            format!("it has {}{rest}", shown.join(", "))
        }
    };
    let any = names.clone().next().is_some();
    (message, any.then_some(hint))
}

/// Length of the JSON, from the first bytes of a file of `file_len` bytes. Else message and hint, by what the file is
/// where that is known.
pub(super) fn header_len(first: &[u8], file_len: u64) -> Result<u64, Fault> {
    json_len(first, file_len).map_err(|message| foreign(first, message))
}

/// What a file is in place of a safetensors file; `message` if nobody knows.
fn foreign(first: &[u8], message: String) -> Fault {
    foreign::fault(first, Expected::Safetensors).unwrap_or((message, None))
}

fn json_len(prefix: &[u8], file_len: u64) -> Result<u64, String> {
    if file_len == 0 {
        return Err("expected a safetensors file, found an empty file".to_owned());
    }
    let Some(prefix) = prefix.first_chunk::<{ PREFIX_LEN as usize }>() else {
        return Err(format!(
            "truncated: {file_len} bytes, where the length of the header alone takes {PREFIX_LEN}"
        ));
    };
    let len = u64::from_le_bytes(*prefix);
    if len > HEADER_LEN_MAX {
        return Err(format!(
            "header of {len} bytes: must be at most {HEADER_LEN_MAX}; not a safetensors file"
        ));
    }
    // A file has at least its prefix here.
    let rest = file_len.saturating_sub(PREFIX_LEN);
    if len > rest {
        return Err(format!("truncated: header of {len} bytes, the file ends after {rest}"));
    }
    Ok(len)
}

/// Checks the header of a file of `file_len` bytes, of which `bytes` are the first ones: at
/// least the whole header. Else message and hint, by what the file is where that is known.
pub fn parse_header(bytes: &[u8], file_len: u64) -> Result<Header, Fault> {
    parse(bytes, file_len).map_err(|message| foreign(bytes, message))
}

fn parse(bytes: &[u8], file_len: u64) -> Result<Header, String> {
    let len = json_len(bytes, file_len)?;
    let json = bytes
        .get(PREFIX_LEN as usize..(PREFIX_LEN + len) as usize)
        .ok_or_else(|| "truncated header".to_owned())?;
    let Entries { tensors: mut entries, metadata } =
        serde_json::from_slice(json).map_err(|e| format!("bad header: {e}"))?;
    let data_start = PREFIX_LEN + len;
    check(&mut entries, file_len - data_start)?;
    Metadata::new(None, entries.clone()).map_err(|e| format!("bad header: {e}"))?;
    Ok(Header {
        data_start,
        tensors: entries.into_iter().collect(),
        metadata: metadata.unwrap_or_default(),
    })
}

/// Sorts the tensors by their place and checks that they fill `data_len` bytes.
fn check(entries: &mut [(String, TensorInfo)], data_len: u64) -> Result<(), String> {
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for pair in entries.windows(2) {
        if pair[0].0 == pair[1].0 {
            return Err(format!("tensor {} given twice", quote(&pair[0].0)));
        }
    }
    entries.sort_by_key(|(_, info)| info.data_offsets);
    let mut last = (None, 0);
    for (name, info) in entries.iter() {
        let (start, end) = info.data_offsets;
        let shown = quote(name);
        let TensorInfo { dtype, shape, .. } = info;
        if start > end {
            return Err(format!("tensor {shown}: its bytes {start}..{end} run backwards"));
        }
        let bits = shape
            .iter()
            .try_fold(1usize, |product, &dimension| product.checked_mul(dimension))
            .and_then(|elements| elements.checked_mul(dtype.bitsize()))
            .ok_or_else(|| format!("tensor {shown}: its shape {shape:?} overflows"))?;
        if bits.div_ceil(8) != end - start || bits % 8 != 0 {
            return Err(format!(
                "tensor {shown}: {dtype} of shape {shape:?} takes {} bytes, its offsets hold {}",
                bits.div_ceil(8),
                end - start
            ));
        }
        match last {
            (Some(before), last_end) if start < last_end => {
                return Err(format!(
                    "tensors {} and {shown} overlap in {} bytes",
                    quote(before),
                    last_end.min(end) - start
                ));
            }
            (_, last_end) if start > last_end => {
                return Err(format!("hole of {} bytes before tensor {shown}", start - last_end));
            }
            _ => {}
        }
        if end as u64 > data_len {
            return Err(format!(
                "tensor {shown} ends at byte {end} of the data, the file holds {data_len}"
            ));
        }
        last = (Some(name.as_str()), end);
    }
    let rest = data_len - last.1 as u64;
    if rest > 0 {
        return Err(format!("{rest} bytes after the last tensor"));
    }
    Ok(())
}

/// The entries of the header, repeats included.
struct Entries {
    tensors: Vec<(String, TensorInfo)>,
    metadata: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut tensors = Vec::new();
                let (mut metadata, mut has_metadata) = (None, false);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("`__metadata__` given twice"));
                        }
                        // Some writers have null where there is none.
                        metadata = map.next_value()?;
                        continue;
                    }
                    let info = map.next_value().map_err(|e| {
                        A::Error::custom(format_args!("tensor {}: {e}", quote(&name)))
                    })?;
                    tensors.push((name, info));
                }
                Ok(Entries { tensors, metadata })
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
