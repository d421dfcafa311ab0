//! A sample of cases: whole cases that a nonce draws, instead of all that were selected. Which they are, and what a draw says of
//! the others. Left out: row panels of cases, which `verify spot` draws.

use std::collections::HashSet;

use contract::digest::PANELS;
use contract::spot::{self, Drawn, SHARES};

use crate::numbers::probability;
use crate::run::{ManifestRecord, Record};

/// Ids of a manifest's cases that a sample is drawn from: those that count for the exit code.
fn drawn_from<'m>(manifest: &'m ManifestRecord, record: &Record) -> Vec<&'m str> {
    let all_optional = record.manifests.iter().all(|m| m.selected.len() == m.optional.len());
    let optional: HashSet<&String> = manifest.optional.iter().collect();
    let counts = |id: &&String| record.options.strict || all_optional || !optional.contains(id);
    manifest.selected.iter().filter(counts).map(String::as_str).collect()
}

/// Ids of the cases that a record's sample has, for each of its manifests; `None` of a record without a sample.
pub fn drawn(record: &Record) -> Option<Vec<Vec<String>>> {
    let sample = record.options.sample.as_ref()?;
    let of = |manifest| {
        let ids = drawn_from(manifest, record);
        let drawn = spot::cases(&sample.nonce, &ids, sample.cases as usize);
        drawn.into_iter().map(|at| ids[at].to_owned()).collect()
    };
    Some(record.manifests.iter().map(of).collect())
}

/// Cases that the sample was drawn from, of all manifests; `None` of a record without a sample.
pub fn population(record: &Record) -> Option<usize> {
    record.options.sample.as_ref()?;
    Some(record.manifests.iter().map(|manifest| drawn_from(manifest, record).len()).sum())
}

/// What was drawn of a manifest's cases; `None` of a record without a sample.
pub fn asked_in_words(record: &Record, manifest: &ManifestRecord) -> Option<String> {
    let sample = record.options.sample.as_ref()?;
    let all = drawn_from(manifest, record).len();
    let mut said = format!(
        "sample of {}: {} of {}, drawn by the nonce {}",
        manifest.name,
        manifest.own().len(),
        cases(all),
        sample.nonce
    );
    if sample.cases as usize > all {
        said.push_str(&format!("; {} were asked for", sample.cases));
    }
    let left = manifest.selected.len() - all;
    if left > 0 {
        said.push_str(&format!("; {} not required, of which none is drawn", cases(left)));
    }
    Some(said)
}

/// What a sample of a manifest's cases says of those that were not drawn; `None` of a record without one, and where all were.
pub fn others_in_words(record: &Record, manifest: &ManifestRecord) -> Option<String> {
    record.options.sample.as_ref()?;
    let own = manifest.own();
    let all = drawn_from(manifest, record).len();
    let others = all.saturating_sub(own.len());
    if others == 0 {
        return None;
    }
    let is_verified =
        |id: &&String| record.case(&manifest.name, id).is_some_and(|case| case.verdict.satisfies());
    let open = own.len() - own.iter().filter(is_verified).count();
    if open > 0 {
        return Some(format!(
            "{others} others were not drawn, and nothing is said of them: {open} of the drawn ones {} not verified",
            if open == 1 { "is" } else { "are" }
        ));
    }
    let of = Drawn { all, cases: own.len(), panels: PANELS };
    let missed = SHARES.map(|share| {
        let wrong = of.share_of_cases(share);
        // A share of few cases is less than one.
        let rounded = if share * (all as f64) < 1.0 { ", one at least" } else { "" };
        format!(
            "were {wrong} of the {all} wrong ({:.0} %{rounded}), none of them was drawn with a probability of {}",
            share * 100.0,
            probability(of.misses_a_share_of_cases(share))
        )
    });
    Some(format!("{others} others were not drawn and not run: {}", missed.join("; ")))
}

fn cases(count: usize) -> String {
    format!("{count} case{}", if count == 1 { "" } else { "s" })
}
