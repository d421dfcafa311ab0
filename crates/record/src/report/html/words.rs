//! The words of the page, each in one line. Left out: words of verdicts that the page does not have.

use maud::{Markup, html};

use super::folded;

/// Each word with what it means.
const WORDS: [(&str, &str); 40] = [
    (
        "bits verified",
        "every element of the outputs is the committed one, bit for bit, or within the bound where no order of sums is promised",
    ),
    ("case", "one product Y = A V: shapes, sparsity, seed, dtype and arithmetic"),
    ("claim", "a published figure or digest, with the cases that stand for it"),
    ("manifest", "the file that says what is to be computed, and what is published of it"),
    ("digest", "SHA-256 of a whole tensor, row by row; committed before the run"),
    ("verified", "all digests are the committed ones"),
    (
        "within-bound",
        "no order of sums is promised, and every element is within the rounding error of any order",
    ),
    ("mismatch", "a digest is another than the committed one"),
    ("out-of-bound", "an element is further off than any order of sums allows"),
    ("unpinned", "no digest is committed for the case"),
    ("in-part", "not every output that was asked for came back"),
    ("not-run", "the case was not computed; the reason stands beside it"),
    ("confirmed", "everything that was published and could be measured holds"),
    ("refuted", "something published does not hold by its own rule"),
    (
        "attained, not attained",
        "the operator here is as fast as printed, or saves as much; or not. Neither refutes the publisher, whose operator is another",
    ),
    ("reproduced, not reproduced", "the same of the publisher's own operator"),
    ("inconclusive", "noise could change the word"),
    ("not judged", "nothing was measured that says anything of it"),
    (
        "agrees, differs",
        "a printed figure follows from its rule or from what was measured, or does not",
    ),
    ("impossible", "faster than the machine can be"),
    (
        "holds, lower",
        "a ratio by another rule than the published one: at least as large as printed, or less",
    ),
    (
        "match, prefix-match",
        "the published digest is that of the tensor made again here, whole or of the part that was published",
    ),
    ("operator", "the code under test, which multiplies A and V"),
    ("rival, baseline", "another implementation that was timed on the same case"),
    ("same rival", "the fastest rival here that is what the claim names as its baseline"),
    ("best rival", "the fastest verified rival of all, whatever it multiplies"),
    (
        "published rule",
        "how published comparisons choose: a dense rival below 70 % sparsity, a sparse one from there on",
    ),
    (
        "dense, sparse, compacted, reduced",
        "a rival that multiplies all of A; its non-zeros; its live rows; all of A in a shorter format, which is never the best rival",
    ),
    ("without ...", "a rival that was disqualified or never timed, so that a ratio is without it"),
    (
        "isolation",
        "walls around an operator under test: no network, no files of the user, limits of memory and time",
    ),
    ("nnz, non-zeros", "elements of A that are not zero, counted in the matrix that was made"),
    ("sparsity, zeros", "the share of A's elements that are zero"),
    ("n, batch", "columns of V and Y"),
    (
        "steady, cold",
        "calls one after the other, with caches as the call before left them; calls with emptied caches",
    ),
    (
        "[a to b]",
        "where the value lies with a probability of 95 %, by resampling the samples (bootstrap)",
    ),
    ("noisy", "the samples' standard deviation is above 10 % of their mean"),
    (
        "roofline",
        "the least time that moving the bytes and making the sums can take on this machine",
    ),
    (
        "arithmetic",
        "the rule by which each output element is summed and rounded; f32-chain: fused multiply-adds in ascending order",
    ),
    (
        "dense reference, rebuilt, shifted",
        "the product with every zero multiplied; the operator's outputs after A was changed, and after V was",
    ),
    (
        "exit code",
        "0: everything required was verified; 1: something was refuted; 2: bad input; 3: something required was not verified; 4: the environment failed",
    ),
];

pub fn legend() -> Markup {
    folded(
        false,
        html! { "Words of this page" },
        html! {
            dl.words { @for (word, meaning) in WORDS { div { dt { (word) } dd { (meaning) "." } } } }
        },
    )
}
