//! Dot products of chained groups (k >= 4 L) that a device's tensor cores computed: made, kept in a file, and
//! replayed against the models of [`contract::arithmetic::tensor_core`].
//!
//! A file is evidence of its own: it holds operands and outputs as bit patterns, and whoever reads it needs no
//! device and none of the code that made the operands.

pub mod generate;
mod instruction;
mod measure;
mod rival;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use generate::{Kind, M, N};
pub use instruction::{InstructionFile, measure_instruction};
pub use measure::{Implementation, REPEATS, implementations, measure, whole};
pub use rival::{Rival, dot};

use contract::arithmetic::TensorCoreModel;
use contract::arithmetic::tensor_core::{Architecture, Format};
use record::DeviceRecord;
use record::baseline::Missing;

/// The version of the files' format.
pub const FORMAT: &str = "sparse-verify-vectors/1";

/// What one device computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorFile {
    pub format: String,
    pub tool: String,
    /// RFC 3339, UTC.
    pub made: String,
    /// The name in manifests, such as `hopper`.
    pub architecture: String,
    /// The device and the kernels of our own that ran.
    pub device: DeviceRecord,
    /// Libraries and kernels, by the names in [`Outputs::by`], with versions.
    pub implementations: BTreeMap<String, String>,
    pub missing: Vec<Missing>,
    pub sets: Vec<VectorSet>,
}

/// Dot products of M rows of A with N columns of V.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorSet {
    /// A [`Kind`]'s name.
    pub name: String,
    /// `f16`, `bf16` or `tf32`.
    pub format: String,
    pub k: usize,
    /// The model that is to give every output.
    pub group: usize,
    pub fraction_bits: i32,
    /// M rows of k operands, 4 hexadecimal digits each (f16, bf16) or 8 (binary32, for tf32).
    pub a: Vec<String>,
    /// N columns, likewise.
    pub v: Vec<String>,
    pub outputs: Vec<Outputs>,
}

/// What came out, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// Implementations that agree in every bit.
    pub by: Vec<String>,
    /// M rows of N binary32, 8 hexadecimal digits each; -0 as +0.
    pub y: Vec<String>,
    /// Elements of the large product, in which each of these stands many times, that are not the same again.
    pub unlike_repeats: u64,
    pub non_finite: u64,
    /// Outputs that the model and its rivals do not give; see [`count_mismatches`].
    pub mismatches: BTreeMap<String, u64>,
}

/// The implementation that must be in every set: nothing lies between the operands and the tensor cores.
pub const PLAIN: &str = "mma.sync";

/// The model's own entry in [`Outputs::mismatches`].
pub const MODEL: &str = "model";

/// Why a file could not be read, or what in it is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct VectorError {
    path: String,
    message: String,
}

/// Outputs that a rule does not give. Where both are not finite they are alike: such a case has no contract.
pub fn count_mismatches(
    model: TensorCoreModel,
    rival: Option<Rival>,
    operands: &generate::Operands,
    y: &[Vec<f32>],
) -> u64 {
    let mut count = 0;
    for (a, y) in operands.a.iter().zip(y) {
        for (v, &y) in operands.v.iter().zip(y) {
            // -0 becomes +0 in every output.
            let own = dot(model, rival, a, v) + 0.0;
            let alike = own.to_bits() == y.to_bits() || !own.is_finite() && !y.is_finite();
            count += u64::from(!alike);
        }
    }
    count
}

/// The counts of [`Outputs::mismatches`].
fn all_mismatches(
    model: TensorCoreModel,
    operands: &generate::Operands,
    y: &[Vec<f32>],
) -> BTreeMap<String, u64> {
    let rules = std::iter::once(None).chain(Rival::ALL.map(Some));
    rules
        .map(|rival| {
            let name = rival.map_or(MODEL, Rival::name).to_owned();
            (name, count_mismatches(model, rival, operands, y))
        })
        .collect()
}

/// What `read` makes of a file's bytes.
fn load<F>(path: &Path, read: fn(&[u8]) -> Result<F, String>) -> Result<F, VectorError> {
    let error = |message: String| VectorError { path: path.display().to_string(), message };
    let bytes = std::fs::read(path).map_err(|e| error(format!("failed to read: {e}")))?;
    read(&bytes).map_err(error)
}

fn require_format(found: &str, expected: &str) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("its format is `{found}`, expected `{expected}`")),
    }
}

impl VectorFile {
    /// Errors: a file that cannot be read, or is of another format.
    pub fn load(path: &Path) -> Result<VectorFile, VectorError> {
        load(path, VectorFile::read)
    }

    /// The same from a file's bytes.
    pub fn read(bytes: &[u8]) -> Result<VectorFile, String> {
        let file: VectorFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        require_format(&file.format, FORMAT)?;
        Ok(file)
    }

    /// The file's text: one JSON document.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_else(|e| {
            unreachable!("vectors hold no maps with keys other than strings: {e}")
        });
        text + "\n"
    }

    /// A line per set and output: how many elements each rule fails to give.
    pub fn summary(&self) -> String {
        let rules = || std::iter::once(MODEL).chain(Rival::ALL.map(Rival::name));
        let mut text = format!(
            "{} ({}), outputs of {} that a rule does not give\n",
            self.device.device.name,
            self.architecture,
            M * N
        );
        for (name, version) in &self.implementations {
            text.push_str(&format!("  {name}: {version}\n"));
        }
        for missing in &self.missing {
            text.push_str(&format!("  {}: {}\n", missing.name, missing.reason));
        }
        let widths = rules().map(|name| name.len().max(5));
        let row = |name: &str, cells: Vec<String>, by: &str| {
            let cells =
                cells.iter().zip(widths.clone()).map(|(cell, width)| format!("{cell:>width$}"));
            format!("{name:24}  {}  {by}\n", cells.collect::<Vec<_>>().join("  "))
        };
        text.push_str(&row("set", rules().map(String::from).collect(), "computed by"));
        for set in &self.sets {
            for outputs in &set.outputs {
                let cell = |rule| outputs.mismatches.get(rule).map_or("-".into(), u64::to_string);
                let name = format!("{} {}", set.format, set.name);
                text.push_str(&row(&name, rules().map(cell).collect(), &outputs.by.join(", ")));
            }
        }
        text
    }

    /// Computes everything anew, and says all that does not hold: an output that the published model does not give,
    /// a set that is missing or does not refute the rivals it is there to refute, a count that is not what the
    /// file says. Nothing if the file confirms its architecture's models in every format.
    pub fn replay(&self) -> Vec<String> {
        let Some(architecture) =
            Architecture::ALL.into_iter().find(|a| a.name() == self.architecture)
        else {
            return vec![format!("no architecture is called `{}`", self.architecture)];
        };
        let capability = self.device.device.capability();
        if capability.and_then(Architecture::of) != Some(architecture) {
            let capability = &self.device.device.compute_capability;
            return vec![format!("compute capability {capability} is not that of {architecture}")];
        }
        let mut wrong = Vec::new();
        for format in Format::ALL {
            let Some(model) = TensorCoreModel::of(architecture, format) else { continue };
            for kind in Kind::ALL.into_iter().filter(|kind| kind.applies(format)) {
                let name = format!("{} {}", format.name(), kind.name());
                let mut of_kind = self
                    .sets
                    .iter()
                    .filter(|set| (&*set.format, &*set.name) == (format.name(), kind.name()));
                match (of_kind.next(), of_kind.next()) {
                    (Some(set), None) => {
                        let found = set.replay(model, kind).unwrap_or_else(|error| vec![error]);
                        wrong.extend(found.into_iter().map(|line| format!("{name}: {line}")));
                    }
                    (None, _) => wrong.push(format!("{name}: missing")),
                    _ => wrong.push(format!("{name}: twice")),
                }
            }
        }
        wrong
    }
}

impl VectorSet {
    /// What does not hold; `Err` where the set cannot be read.
    fn replay(&self, model: TensorCoreModel, kind: Kind) -> Result<Vec<String>, String> {
        if (self.group, self.fraction_bits) != (model.group, model.fraction_bits) {
            return Ok(vec![format!(
                "the model has L = {} and F = {}, the set says {} and {}",
                model.group, model.fraction_bits, self.group, self.fraction_bits
            )]);
        }
        let mut wrong = Vec::new();
        if self.k < 4 * model.group {
            wrong.push(format!("k = {} is less than four groups", self.k));
        }
        let operands = generate::Operands {
            k: self.k,
            a: lines(&self.a, model.format, (M, self.k))?,
            v: lines(&self.v, model.format, (N, self.k))?,
        };
        if !self.outputs.iter().any(|outputs| outputs.by.iter().any(|by| by == PLAIN)) {
            wrong.push(format!("no outputs of {PLAIN}"));
        }
        for outputs in &self.outputs {
            let by = outputs.by.join(", ");
            let y = lines(&outputs.y, Format::Tf32, (M, N))?;
            let counts = all_mismatches(model, &operands, &y);
            if counts.get(MODEL) != Some(&0) {
                let count = counts.get(MODEL).copied().unwrap_or_default();
                wrong.push(format!("{count} of {} outputs are not the model's ({by})", M * N));
            }
            for rival in kind.refutes() {
                if counts.get(rival.name()) == Some(&0) {
                    wrong.push(format!("{} gives every output too ({by})", rival.name()));
                }
            }
            if outputs.unlike_repeats != 0 {
                wrong.push(format!("{} repeats differ ({by})", outputs.unlike_repeats));
            }
            if outputs.mismatches != counts {
                wrong.push(format!(
                    "counts {counts:?}, the file says {:?} ({by})",
                    outputs.mismatches
                ));
            }
        }
        Ok(wrong)
    }
}

/// Hexadecimal digits of one value.
fn digits(format: Format) -> usize {
    2 * format.dtype().size()
}

/// A line of values as the files have it.
fn hex(values: &[f32], format: Format) -> String {
    let word = |x: &f32| match format {
        Format::F16 => format!("{:04x}", half::f16::from_f32(*x).to_bits()),
        Format::Bf16 => format!("{:04x}", x.to_bits() >> 16),
        Format::Tf32 => format!("{:08x}", x.to_bits()),
    };
    values.iter().map(word).collect()
}

/// The values of such lines, `shape` of them.
fn lines(
    lines: &[String],
    format: Format,
    (count, length): (usize, usize),
) -> Result<Vec<Vec<f32>>, String> {
    let digits = digits(format);
    let one = |line: &String| -> Option<Vec<f32>> {
        let is_as_long = length.checked_mul(digits) == Some(line.len());
        if !is_as_long || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let values = (0..length).map(|i| {
            let word = u32::from_str_radix(&line[i * digits..(i + 1) * digits], 16).ok()?;
            Some(match format {
                Format::F16 => half::f16::from_bits(word as u16).to_f32(),
                Format::Bf16 => f32::from_bits(word << 16),
                Format::Tf32 => f32::from_bits(word),
            })
        });
        values.collect()
    };
    if lines.len() != count {
        return Err(format!("{} lines, expected {count}", lines.len()));
    }
    lines
        .iter()
        .map(|line| {
            one(line).ok_or_else(|| format!("`{line}` is not {length} values of {digits} digits"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use record::device::DeviceInfo;

    use super::*;
    use crate::backend::cpu::Isa;
    use crate::operator::{DenseReference, Operator};
    use contract::arithmetic::Arithmetic;
    use contract::dtype::Dtype;
    use record::DeviceRecord;

    fn device(capability: &str) -> DeviceRecord {
        let device = DeviceInfo {
            ordinal: 0,
            name: "a device".into(),
            uuid: "GPU-0".into(),
            compute_capability: capability.into(),
            multiprocessors: 1,
            memory_bytes: 1,
            l2_bytes: 1,
            clock_khz_max: 1,
            memory_clock_khz: 1,
            memory_bus_bits: 1,
            driver: "13.0".into(),
        };
        DeviceRecord { device, kernels: Vec::new() }
    }

    /// A file as a device would give it whose cores follow `change` of each published model.
    fn made(
        architecture: Architecture,
        capability: &str,
        change: fn(TensorCoreModel) -> TensorCoreModel,
    ) -> VectorFile {
        let models = Format::ALL.map(|format| TensorCoreModel::of(architecture, format));
        let implementation = |model: TensorCoreModel| Implementation {
            name: PLAIN.into(),
            version: "1".into(),
            format: model.format,
            operator: Box::new(DenseReference {
                arithmetic: Arithmetic::TensorCore(change(model)),
                output: Dtype::F32,
                isa: Isa::best(),
            }) as Box<dyn Operator>,
        };
        let implementations: Vec<_> = models.into_iter().flatten().map(implementation).collect();
        measure(&mut || device(capability), architecture, &implementations, Vec::new(), 2, 2)
            .expect("the reference computes everything")
    }

    #[test]
    fn no_length_of_a_line_is_too_large_to_be_refused() {
        // Four digits each are 2^64 in all.
        let error = lines(&[String::new()], Format::F16, (1, 1 << 62)).expect_err("no digits");
        assert!(error.contains("is not 4611686018427387904 values of 4 digits"), "{error}");
    }

    #[test]
    fn the_sets_refute_what_they_are_there_to_refute_on_every_architecture() {
        for (architecture, capability) in [
            (Architecture::Turing, "7.5"),
            (Architecture::Ampere, "8.0"),
            (Architecture::Ada, "8.9"),
            (Architecture::Hopper, "9.0"),
            (Architecture::Blackwell, "10.0"),
        ] {
            let file = made(architecture, capability, |model| model);
            print!("{}", file.summary());
            assert_eq!(file.replay(), [""; 0], "{architecture}");
        }
    }

    #[test]
    fn a_device_with_other_cores_is_found_out() {
        for change in [
            |model: TensorCoreModel| TensorCoreModel { fraction_bits: 24, ..model },
            |model: TensorCoreModel| TensorCoreModel { fraction_bits: 26, ..model },
            |model: TensorCoreModel| TensorCoreModel { group: model.group / 2, ..model },
        ] {
            let wrong = made(Architecture::Hopper, "9.0", change).replay();
            for format in ["f16", "bf16", "tf32"] {
                for kind in ["gaussian", "truncation", "cancellation"] {
                    let start = format!("{format} {kind}: ");
                    let found = |line: &&String| {
                        line.starts_with(&start) && line.contains("are not the model's")
                    };
                    assert_eq!(wrong.iter().filter(found).count(), 1, "{start} in {wrong:?}");
                }
            }
        }
    }

    #[test]
    fn a_file_comes_back_and_a_changed_one_does_not_replay() {
        let file = made(Architecture::Hopper, "9.0", |model| model);
        let text = file.to_text();
        assert!(text.len() < 2 << 20, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<VectorFile>(&text).expect("just written"), file);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("vectors.json");
        std::fs::write(&path, text).expect("the folder is there");
        assert_eq!(VectorFile::load(&path).expect("just written"), file);

        let replay = |change: &dyn Fn(&mut VectorFile)| {
            let mut file = file.clone();
            change(&mut file);
            file.replay().join("\n")
        };
        let flip = |text: &mut String| {
            let last = if text.ends_with('0') { '1' } else { '0' };
            text.pop();
            text.push(last);
        };
        let wrong = replay(&|file| flip(&mut file.sets[0].outputs[0].y[3]));
        assert!(wrong.starts_with("f16 gaussian: 1 of 256 outputs are not the model's"), "{wrong}");
        assert!(replay(&|file| flip(&mut file.sets[0].a[3])).contains("f16 gaussian: "));
        assert_eq!(replay(&|file| drop(file.sets.remove(2))), "f16 zeros-97: missing");
        assert_eq!(replay(&|file| file.sets.push(file.sets[0].clone())), "f16 gaussian: twice");
        assert_eq!(
            replay(&|file| file.sets[0].outputs.clear()),
            "f16 gaussian: no outputs of mma.sync"
        );
        assert_eq!(
            replay(&|file| file.sets[0].outputs[0].unlike_repeats = 4),
            "f16 gaussian: 4 repeats differ (mma.sync)"
        );
        assert!(replay(&|file| file.sets[0].v[0].push('0')).contains("is not 128 values of 4"));
        assert!(replay(&|file| file.sets[0].group = 8).contains("the set says 8 and 25"));
        assert_eq!(
            replay(&|file| file.architecture = "ada".into()),
            "compute capability 9.0 is not that of ada"
        );
        let counts = |file: &mut VectorFile| {
            file.sets[0].outputs[0].mismatches.insert("F-1".into(), 0);
        };
        assert!(replay(&counts).starts_with("f16 gaussian: counts {"), "{}", replay(&counts));
    }
}
