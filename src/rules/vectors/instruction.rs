//! Dot products that a CPU's bf16 instruction computed: made, kept in a file, and replayed against its rule
//! ([`contract::arithmetic::bf16_dot`]) and the rivals that each clause of it rules out.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::generate::{self, Kind, M, N, Operands};
use super::measure::whole;
use super::{VectorError, hex, lines, load, require_format};
use crate::backend::cpu::{Isa, runs_itself};
use crate::environment::environment;
use crate::operator::{DenseReference, Error};
use contract::arithmetic::Arithmetic;
use contract::arithmetic::bf16_dot::{Instruction, dot, flush};
use contract::arithmetic::tensor_core::Format;
use contract::dtype::Dtype;

/// The version of the files' format.
pub const INSTRUCTION_FORMAT: &str = "sparse-verify-instruction-vectors/1";

/// Columns and rows of the product in which every row and column of a set stands many times, in other places of vectors
/// and tiles, that many times.
const REPEATS: usize = 5;

/// What one processor computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstructionFile {
    pub format: String,
    pub tool: String,
    /// RFC 3339, UTC.
    pub made: String,
    /// The name in manifests, such as `avx512-bf16`.
    pub instruction: String,
    /// The processor's name, and its family, model and stepping as the system gives them.
    pub cpu: String,
    pub sets: Vec<InstructionSet>,
}

/// Dot products of M rows of A with N columns of V.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstructionSet {
    pub name: String,
    pub k: usize,
    /// M rows of k bf16, 4 hexadecimal digits each.
    pub a: Vec<String>,
    /// N columns, likewise.
    pub v: Vec<String>,
    /// M rows of N binary32, 8 hexadecimal digits each; -0 as +0.
    pub y: Vec<String>,
    /// Elements of the large product that are not the same again.
    pub unlike_repeats: u64,
    /// Outputs that the rule, and each rival of it, does not give.
    pub mismatches: BTreeMap<String, u64>,
}

/// A set of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// As tensor cores get them.
    Of(Kind),
    /// `gaussian`, its k cut to an odd number: a short block, and a pair of one.
    OddK,
    /// 2^-126 and what is taken from it, on both sides of where a result becomes tiny; nothing else.
    Ties,
}

const SETS: [Set; 10] = [
    Set::Of(Kind::Gaussian),
    Set::Of(Kind::Zeros97),
    Set::Of(Kind::SubnormalOperands),
    Set::Of(Kind::SubnormalResults),
    Set::Of(Kind::SubnormalBoth),
    Set::Of(Kind::Cancellation),
    Set::Of(Kind::WideExponents),
    Set::Of(Kind::Signs),
    Set::OddK,
    Set::Ties,
];

impl Set {
    fn name(self) -> &'static str {
        match self {
            Set::Of(kind) => kind.name(),
            Set::OddK => "odd-k",
            Set::Ties => "ties",
        }
    }

    fn operands(self) -> Operands {
        match self {
            Set::Of(kind) => generate::operands(kind, Format::Bf16),
            Set::OddK => {
                const K: usize = 77;
                let Operands { mut a, mut v, .. } =
                    generate::operands(Kind::Gaussian, Format::Bf16);
                a.iter_mut().chain(&mut v).for_each(|line| line.truncate(K));
                Operands { k: K, a, v }
            }
            Set::Ties => {
                const K: usize = 64;
                let power = |exponent: i32| 2f32.powi(exponent);
                let places =
                    [(1, 0), (2, 4), (3, 5), (7, 6), (9, 31), (32, 34), (33, 35), (37, 36)];
                // Of each place 2^-126 comes first: in one chain of avx512-bf16, and but for the first, the fourth and the
                // last of amx-bf16 too.
                let row = |i: usize| {
                    let mut row = vec![0.0; K];
                    let (first, second) = places[i % places.len()];
                    let sign = if i < places.len() { 1.0 } else { -1.0 };
                    (row[first], row[second]) = (sign * power(-63), -sign * power(-75));
                    row
                };
                let column = |j: usize| {
                    let mut column = vec![0.0; K];
                    // In units of 2^-151: the tie, and what is beside it.
                    let less = [
                        0.5, 0.875, 0.9921875, 1.0, 1.0078125, 1.0625, 1.25, 1.5, 1.75, 1.9921875,
                        2.0, 2.015625, 2.5, 3.0, 3.5, 4.0,
                    ];
                    for (first, second) in places {
                        column[first] = power(-63);
                        column[second] = less[j % less.len()] * power(-76);
                    }
                    column
                };
                Operands { k: K, a: (0..M).map(row).collect(), v: (0..N).map(column).collect() }
            }
        }
    }

    /// Rivals that this set must refute.
    fn refutes(self, instruction: Instruction) -> Vec<Rival> {
        use Rival::*;
        let order = match instruction {
            Instruction::Amx => vec![OneChain, HalfBlock, DoubleBlock, InTurn],
            Instruction::Avx512 => vec![EvenFirst, TwoChains, ExactPairs],
        };
        match self {
            Set::Of(Kind::Gaussian) => order,
            Set::Of(Kind::SubnormalOperands) => vec![OperandsKept, NothingFlushed],
            Set::Of(Kind::SubnormalResults) => vec![ResultsKept, NothingFlushed],
            // Products of two bf16 are exact but where they are tiny.
            Set::Ties => vec![TinyBeforeRounding, TinyAsSubnormal, Rounded],
            Set::Of(_) | Set::OddK => Vec::new(),
        }
    }
}

/// A change of a clause of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rival {
    /// Of a pair the even element first.
    EvenFirst,
    /// avx512-bf16 for amx-bf16, and the reverse.
    OneChain,
    TwoChains,
    /// amx-bf16 by blocks of 16, of 64.
    HalfBlock,
    DoubleBlock,
    /// amx-bf16 with (c + e) + o.
    InTurn,
    /// Both products of a pair and c summed before they are rounded.
    ExactPairs,
    /// Products rounded, and flushed, before they are added.
    Rounded,
    OperandsKept,
    ResultsKept,
    NothingFlushed,
    /// What is below 2^-126 before it is rounded is flushed.
    TinyBeforeRounding,
    /// What rounds to a subnormal is flushed, and what rounds to 2^-126 among subnormals is not.
    TinyAsSubnormal,
}

impl Rival {
    const ALL: [Rival; 13] = [
        Rival::EvenFirst,
        Rival::OneChain,
        Rival::TwoChains,
        Rival::HalfBlock,
        Rival::DoubleBlock,
        Rival::InTurn,
        Rival::ExactPairs,
        Rival::Rounded,
        Rival::OperandsKept,
        Rival::ResultsKept,
        Rival::NothingFlushed,
        Rival::TinyBeforeRounding,
        Rival::TinyAsSubnormal,
    ];

    fn name(self) -> &'static str {
        match self {
            Rival::EvenFirst => "even-first",
            Rival::OneChain => "one-chain",
            Rival::TwoChains => "two-chains",
            Rival::HalfBlock => "blocks-of-16",
            Rival::DoubleBlock => "blocks-of-64",
            Rival::InTurn => "halves-in-turn",
            Rival::ExactPairs => "exact-pairs",
            Rival::Rounded => "products-rounded",
            Rival::OperandsKept => "operands-kept",
            Rival::ResultsKept => "results-kept",
            Rival::NothingFlushed => "nothing-flushed",
            Rival::TinyBeforeRounding => "tiny-before-rounding",
            Rival::TinyAsSubnormal => "tiny-as-subnormal",
        }
    }

    /// Whether it is a change of this instruction's rule.
    fn is_of(self, instruction: Instruction) -> bool {
        match self {
            Rival::EvenFirst | Rival::TwoChains | Rival::ExactPairs => {
                instruction == Instruction::Avx512
            }
            Rival::OneChain | Rival::HalfBlock | Rival::DoubleBlock | Rival::InTurn => {
                instruction == Instruction::Amx
            }
            Rival::Rounded
            | Rival::OperandsKept
            | Rival::ResultsKept
            | Rival::NothingFlushed
            | Rival::TinyBeforeRounding
            | Rival::TinyAsSubnormal => true,
        }
    }

    fn operand(self, x: f32) -> f32 {
        match self {
            Rival::OperandsKept | Rival::NothingFlushed => x,
            _ => flush(x),
        }
    }

    /// A rounded result y of a sum of `terms`, in binary64.
    fn result(self, terms: [f64; 2], y: f32) -> f32 {
        let tiny = f64::from(f32::MIN_POSITIVE);
        let below = |limit: f64| {
            let sign = 1f64.copysign(y.into());
            // Exact, as c is: the limit and a value near it.
            y.abs() <= f32::MIN_POSITIVE && sign * terms[0] < limit - sign * terms[1]
        };
        let is_tiny = match self {
            Rival::ResultsKept | Rival::NothingFlushed => false,
            Rival::TinyBeforeRounding => below(tiny),
            Rival::TinyAsSubnormal => y.abs() < f32::MIN_POSITIVE,
            _ => below(tiny - 2f64.powi(-151)),
        };
        if is_tiny { 0f32.copysign(y) } else { y }
    }

    fn fma(self, a: f32, v: f32, c: f32) -> f32 {
        let (a, v) = (self.operand(a), self.operand(v));
        let product = f64::from(a) * f64::from(v);
        match self {
            Rival::Rounded => self.add(self.result([product, 0.0], a * v), c),
            _ => self.result([product, c.into()], a.mul_add(v, c)),
        }
    }

    fn add(self, x: f32, y: f32) -> f32 {
        self.result([x.into(), y.into()], x + y)
    }

    /// One output element.
    fn dot(self, instruction: Instruction, a: &[f32], v: &[f32]) -> f32 {
        let at = |x: &[f32], k: usize| x.get(k).copied().unwrap_or(0.0);
        let chain = match (self, instruction) {
            (Rival::OneChain, _) => true,
            (Rival::TwoChains, _) => false,
            _ => instruction == Instruction::Avx512,
        };
        if chain {
            let pair = |c: f32, k: usize| match self {
                Rival::ExactPairs => {
                    let products =
                        [k, k + 1].map(|k| f64::from(flush(at(a, k))) * f64::from(flush(at(v, k))));
                    flush((f64::from(c) + products[0] + products[1]) as f32)
                }
                Rival::EvenFirst => {
                    self.fma(at(a, k + 1), at(v, k + 1), self.fma(at(a, k), at(v, k), c))
                }
                _ => self.fma(at(a, k), at(v, k), self.fma(at(a, k + 1), at(v, k + 1), c)),
            };
            return (0..a.len()).step_by(2).fold(0.0, pair);
        }
        let block = match self {
            Rival::HalfBlock => 16,
            Rival::DoubleBlock => 64,
            _ => 32,
        };
        a.chunks(block).zip(v.chunks(block)).fold(0.0, |c, (a, v)| {
            let half = |first: usize| {
                let sum = |sum: f32, k: usize| self.fma(a[k], v[k], sum);
                (first..a.len()).step_by(2).fold(0.0, sum)
            };
            match self {
                Rival::InTurn => self.add(self.add(c, half(0)), half(1)),
                _ => self.add(c, self.add(half(0), half(1))),
            }
        })
    }
}

/// The rule's own entry in [`InstructionSet::mismatches`].
const RULE: &str = "rule";

fn all_mismatches(
    instruction: Instruction,
    operands: &Operands,
    y: &[Vec<f32>],
) -> BTreeMap<String, u64> {
    let count = |of: &dyn Fn(&[f32], &[f32]) -> f32| {
        let mut count = 0;
        for (a, y) in operands.a.iter().zip(y) {
            for (v, &y) in operands.v.iter().zip(y) {
                let own = of(a, v) + 0.0;
                let alike = own.to_bits() == y.to_bits() || !own.is_finite() && !y.is_finite();
                count += u64::from(!alike);
            }
        }
        count
    };
    let rivals = Rival::ALL.into_iter().filter(|rival| rival.is_of(instruction));
    let of_rival =
        |rival: Rival| (rival.name().to_owned(), count(&|a, v| rival.dot(instruction, a, v)));
    std::iter::once((RULE.to_owned(), count(&|a, v| dot(instruction, a, v))))
        .chain(rivals.map(of_rival))
        .collect()
}

/// Has every set computed by the instruction itself.
///
/// Errors: this processor has no such instruction, or the system does not let it be used, in words.
pub fn measure_instruction(instruction: Instruction) -> Result<InstructionFile, Error> {
    runs_itself(instruction).map_err(Error::Environment)?;
    let reference = DenseReference {
        arithmetic: Arithmetic::Bf16Dot(instruction),
        output: Dtype::F32,
        isa: Isa::best(),
    };
    file_of(instruction, &reference)
}

fn file_of(
    instruction: Instruction,
    operator: &dyn crate::operator::Operator,
) -> Result<InstructionFile, Error> {
    let sets = SETS.map(|set| measured(instruction, operator, set));
    let cpu = match crate::environment::cpu_signature() {
        Some(signature) => format!("{} ({signature})", environment().cpu_model),
        None => environment().cpu_model,
    };
    Ok(InstructionFile {
        format: INSTRUCTION_FORMAT.into(),
        tool: record::tool::tool(),
        made: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        instruction: instruction.name().into(),
        cpu,
        sets: sets.into_iter().collect::<Result<_, _>>()?,
    })
}

fn measured(
    instruction: Instruction,
    operator: &dyn crate::operator::Operator,
    set: Set,
) -> Result<InstructionSet, Error> {
    let operands = set.operands();
    let k = operands.k;
    let a = Array2::from_shape_fn((M * REPEATS, k), |(i, at)| operands.a[i % M][at]);
    let v = Array2::from_shape_fn((k, N * REPEATS), |(at, j)| operands.v[j % N][at]);
    let y = whole(operator, a.view(), v.view(), 1)?;
    let unlike = |((i, j), x): ((usize, usize), &f32)| x.to_bits() != y[[i % M, j % N]].to_bits();
    let unlike_repeats = y.indexed_iter().filter(|&at| unlike(at)).count() as u64;
    let rows: Vec<Vec<f32>> = (0..M).map(|i| (0..N).map(|j| y[[i, j]]).collect()).collect();
    let text = |lines: &[Vec<f32>]| lines.iter().map(|line| hex(line, Format::Bf16)).collect();
    Ok(InstructionSet {
        name: set.name().into(),
        k,
        a: text(&operands.a),
        v: text(&operands.v),
        y: rows.iter().map(|row| hex(row, Format::Tf32)).collect(),
        unlike_repeats,
        mismatches: all_mismatches(instruction, &operands, &rows),
    })
}

impl InstructionFile {
    /// Errors: a file that cannot be read, or is of another format.
    pub fn load(path: &Path) -> Result<InstructionFile, VectorError> {
        load(path, InstructionFile::read)
    }

    /// The same from a file's bytes.
    pub fn read(bytes: &[u8]) -> Result<InstructionFile, String> {
        let file: InstructionFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        require_format(&file.format, INSTRUCTION_FORMAT)?;
        Ok(file)
    }

    /// The file's text: one JSON document.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self)
            .unwrap_or_else(|e| unreachable!("no maps with keys other than strings: {e}"));
        text + "\n"
    }

    /// A line per set: how many elements the rule and each rival fail to give.
    pub fn summary(&self) -> String {
        let of = M * N;
        let mut text = format!(
            "{} on {}, outputs of {of} that are not given by\n",
            self.instruction, self.cpu
        );
        for set in &self.sets {
            let mut counts: Vec<_> = set.mismatches.iter().collect();
            counts.sort_by_key(|(name, _)| *name != RULE);
            let counts: Vec<_> =
                counts.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
            text.push_str(&format!("  {:20} {}\n", set.name, counts.join(", ")));
        }
        text
    }

    /// Computes everything anew, and says all that does not hold: an output that the rule does not give, a set that is
    /// missing or does not refute the rivals it is there to refute, a count that is not what the file says. Nothing if the
    /// file confirms the instruction's rule.
    pub fn replay(&self) -> Vec<String> {
        let known = Instruction::ALL.into_iter().find(|known| known.name() == self.instruction);
        let Some(instruction) = known else {
            return vec![format!("no instruction is called `{}`", self.instruction)];
        };
        let mut wrong = Vec::new();
        for kind in SETS {
            let mut of_kind = self.sets.iter().filter(|set| set.name == kind.name());
            match (of_kind.next(), of_kind.next()) {
                (Some(set), None) => {
                    let found = set.replay(instruction, kind).unwrap_or_else(|error| vec![error]);
                    wrong.extend(found.into_iter().map(|line| format!("{}: {line}", set.name)));
                }
                (None, _) => wrong.push(format!("{}: missing", kind.name())),
                _ => wrong.push(format!("{}: twice", kind.name())),
            }
        }
        wrong
    }
}

impl InstructionSet {
    /// What does not hold; `Err` where the set cannot be read.
    fn replay(&self, instruction: Instruction, set: Set) -> Result<Vec<String>, String> {
        let operands = Operands {
            k: self.k,
            a: lines(&self.a, Format::Bf16, (M, self.k))?,
            v: lines(&self.v, Format::Bf16, (N, self.k))?,
        };
        let y = lines(&self.y, Format::Tf32, (M, N))?;
        let counts = all_mismatches(instruction, &operands, &y);
        let mut wrong = Vec::new();
        if counts[RULE] != 0 {
            wrong.push(format!("{} of {} outputs are not the rule's", counts[RULE], M * N));
        }
        for rival in set.refutes(instruction) {
            if counts[rival.name()] == 0 {
                wrong.push(format!("{} gives every output too", rival.name()));
            }
        }
        if self.unlike_repeats != 0 {
            wrong.push(format!("{} repeats differ", self.unlike_repeats));
        }
        if self.mismatches != counts {
            wrong.push(format!("counts {counts:?}, the file says {:?}", self.mismatches));
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::arithmetic::Slices;

    fn made(instruction: Instruction, arithmetic: Arithmetic) -> InstructionFile {
        let reference = DenseReference { arithmetic, output: Dtype::F32, isa: Isa::Portable };
        file_of(instruction, &reference).expect("the reference computes everything")
    }

    #[test]
    fn the_sets_refute_what_they_are_there_to_refute() {
        for instruction in Instruction::ALL {
            let file = made(instruction, Arithmetic::Bf16Dot(instruction));
            print!("{}", file.summary());
            assert_eq!(file.replay(), [""; 0], "{instruction}");
        }
    }

    #[test]
    fn another_processor_is_found_out() {
        for (instruction, other) in [
            (Instruction::Amx, Arithmetic::Bf16Dot(Instruction::Avx512)),
            (Instruction::Avx512, Arithmetic::Bf16Dot(Instruction::Amx)),
            (Instruction::Avx512, Arithmetic::F32Chain(Slices::One)),
        ] {
            let wrong = made(instruction, other).replay();
            for set in ["gaussian", "odd-k"] {
                let start = format!("{set}: ");
                let found = wrong.iter().any(|line| line.starts_with(&start));
                assert!(found, "{instruction} as {other}: {set}: {wrong:?}");
            }
        }
    }

    #[test]
    fn a_file_that_was_tampered_with_is_refused() {
        let instruction = Instruction::Avx512;
        let honest = made(instruction, Arithmetic::Bf16Dot(instruction));
        let mut file = honest.clone();
        file.sets[0].y[3].replace_range(0..8, "3f800000");
        assert!(file.replay().iter().any(|line| line.contains("not the rule's")));
        let mut file = honest.clone();
        file.sets.remove(9);
        assert_eq!(file.replay(), ["ties: missing"]);
        let mut file = honest.clone();
        file.sets[0].mismatches.insert(RULE.into(), 1);
        assert!(file.replay()[0].contains("the file says"));
        let mut file = honest;
        file.instruction = "amx-bf16".into();
        assert!(!file.replay().is_empty());
    }
}
