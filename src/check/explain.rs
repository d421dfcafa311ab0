//! Bits beside the committed digests: what a record keeps of them, and why a case does not hold, in words that say
//! which, by what and where. The verdict itself is derived from what is kept, by the record's own crate.

use record::BitsRecord;
use record::verdict::DigestRow;

use super::bits::Bits;
use contract::case::Case;
use contract::digest::Digest;
use contract::digest::{panel_start, short};
use record::expected::Entry;

/// Who made the outputs, as messages and digests go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeBy {
    /// An operator that was run here.
    Operator,
    /// Somebody elsewhere, who was asked for the perturbed outputs too, or was not.
    Elsewhere { perturbed: bool },
}

/// The six digests of a case beside the committed ones.
fn rows(
    case: &Case,
    bits: &Bits,
    expected: Option<&Entry>,
    nonce: bool,
    made_by: MadeBy,
) -> Vec<DigestRow> {
    let contract = case.arithmetic.has_bit_contract();
    let pinned = expected.is_some();
    let perturbed = |name| {
        let is_asked = made_by != MadeBy::Elsewhere { perturbed: false };
        contract && !nonce && is_asked && !bits.not_returned.contains(&name)
    };
    let got = |hashed: &contract::digest::Hashed| Some(hashed.digest);
    let row = |name: &str, got, committed: fn(&Entry) -> Option<Digest>, compared| DigestRow {
        name: name.to_owned(),
        got,
        expected: expected.and_then(committed),
        compared: pinned && compared,
    };
    vec![
        row("a", got(&bits.a), |e| Some(e.a), true),
        row("v", got(&bits.v), |e| Some(e.v), true),
        row("dense", got(&bits.dense), |e| Some(e.dense), true),
        row("operator", got(&bits.operator), |e| e.operator, contract),
        row("rebuilt", bits.rebuilt.as_ref().and_then(got), |e| e.rebuilt, perturbed("rebuilt")),
        row("shifted", bits.shifted.as_ref().and_then(got), |e| e.shifted, perturbed("shifted")),
    ]
}

/// What a digest is of, in a message.
fn in_words(name: &str) -> &'static str {
    match name {
        "a" => "A (pruned weights)",
        "v" => "V (activations)",
        "dense" => "dense reference output",
        "operator" => "operator output",
        "rebuilt" => "perturbed output, rebuilt operator",
        _ => "perturbed output, operator not rebuilt",
    }
}

/// What a record keeps, and the reasons. `file` names where the committed digests stand.
pub fn explain(
    case: &Case,
    bits: &Bits,
    expected: Option<&Entry>,
    file: &str,
    nonce: bool,
    made_by: MadeBy,
) -> (BitsRecord, Vec<String>) {
    let digests = rows(case, bits, expected, nonce, made_by);
    let contract = case.arithmetic.has_bit_contract();
    let mut reasons = Vec::new();

    for row in digests.iter().filter(|row| row.differs()) {
        let text = |digest: Option<Digest>| digest.map_or("none".to_owned(), |d| d.to_string());
        let mut reason = format!(
            "{} digest mismatch\n  expected {} ({file})\n  got      {}",
            in_words(&row.name),
            text(row.expected),
            text(row.got)
        );
        let output = match row.name.as_str() {
            "dense" => Some(&bits.dense),
            "operator" => Some(&bits.operator),
            _ => None,
        };
        if let (Some(hashed), Some(entry)) = (output, expected) {
            reason.push_str(&panel_in_words(case.m, &short(&hashed.panels), &entry.panels));
        }
        reasons.push(reason);
    }
    reasons.extend(expected.and_then(|entry| entry.describes_another(case)));

    let implementations_agree = bits.implementations_agree();
    let disagreement = bits.disagreement();
    if contract {
        reasons.extend(disagreement.clone());
    }
    reasons.extend(bits.broken.iter().cloned());
    if !reasons.is_empty() && implementations_agree {
        let inputs = digests.iter().any(|row| row.differs() && matches!(&*row.name, "a" | "v"));
        let agree = match made_by {
            MadeBy::Operator => {
                "the local implementations agree with each other (dense reference, operator, scalar rule)"
            }
            MadeBy::Elsewhere { .. } => {
                "the outputs from elsewhere agree with the dense reference and the scalar rule here"
            }
        };
        reasons.push(format!(
            "{agree}\nhint: {}",
            if inputs {
                "the inputs are not those that were pinned: look at the weights, the seed and the \
                 pattern"
            } else {
                "the inputs are those that were pinned: the committed digest is wrong, or was made \
                 under another arithmetic"
            }
        ));
    }

    let mut out_of_bound = bits.out_of_bound.clone();
    if !contract {
        out_of_bound.splice(0..0, disagreement);
    }

    if reasons.is_empty() && out_of_bound.is_empty() && expected.is_none() {
        reasons.push(format!("no expected digests are committed ({file})"));
    }
    if !bits.not_returned.is_empty() {
        reasons.push(format!(
            "perturbed outputs were not returned: {}\n  without them nothing shows that Y follows its inputs\n\
             hint: challenge.json says what each is of; `--y` alone asks for Y alone",
            bits.not_returned.join(", ")
        ));
    }
    reasons.extend(out_of_bound);
    (kept(case, bits, digests, expected), reasons)
}

/// The observations, as records keep them. Who computed them, and what came back, is the caller's to say.
fn kept(case: &Case, bits: &Bits, digests: Vec<DigestRow>, expected: Option<&Entry>) -> BitsRecord {
    let differs = !bits.difference.is_none() && case.arithmetic.has_bit_contract();
    BitsRecord {
        digests,
        panels_dense: short(&bits.dense.panels),
        panels_operator: short(&bits.operator.panels),
        structure: bits.structure.clone(),
        operator: String::new(),
        plan: bits.plan.clone(),
        implementations_agree: bits.implementations_agree(),
        likely_cause: differs.then(|| bits.difference.likely_cause().to_owned()),
        difference: bits.difference.clone(),
        bound: bits.bound.clone(),
        recomputed: bits.recomputed,
        negative_zeros_operator: bits.negative_zeros[0],
        negative_zeros_dense: bits.negative_zeros[1],
        // Numbers that are not finite have no place in JSON; such outputs are refused.
        dense_max: Some(bits.dense_max).filter(|max| max.is_finite()),
        dense_share_max: bits.dense_share_max,
        certificate: bits.certificate,
        accuracy: bits.accuracy.clone(),
        perturbation: bits.perturbation.clone(),
        broken: bits.broken.clone(),
        out_of_bound: bits.out_of_bound.clone(),
        committed_differs: expected.and_then(|entry| entry.describes_another(case)),
        returned: Vec::new(),
        not_returned: bits.not_returned.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn panel_in_words(m: usize, got: &[String], expected: &[String]) -> String {
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        Some(p) => {
            let (start, end) = (panel_start(p, m), panel_start(p + 1, m));
            let last = end.saturating_sub(1);
            format!("\n  first row panel that differs: {p} (rows {start}..{last})")
        }
        None => {
            "\n  all 64 row panels are as committed: only the digest of the whole differs".into()
        }
    }
}
