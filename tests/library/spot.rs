//! Spot audits: what is planted is found by the draws that hit it and by no other, as often as is said.

use contract::case::{Case, Weights};
use contract::digest::{Digest, PANELS, digest_of_output, panel_start, root_of, short};
use contract::inputs::{activations, synthetic};
use contract::spot::{self, Drawn};
use ndarray::Array2;
use record::expected::{Entry, Pruned};
use record::manifest::Manifest;
use sparse_verify::audit::{Known, SpotAsked};

use crate::common::{self, How, Section};

/// A case with what is committed of it.
struct Committed {
    case: Case,
    entry: Entry,
    panels: Vec<Digest>,
}

fn committed(manifest: &Manifest) -> Vec<Committed> {
    let how = How::default();
    let outcomes = common::audit_all(manifest, &manifest.cases, &Default::default(), &how);
    let pairs = manifest.cases.iter().zip(outcomes);
    pairs
        .map(|(case, outcome)| {
            let (entry, panels) = outcome.entry.expect("it can be pinned");
            Committed { case: case.clone(), entry, panels }
        })
        .collect()
}

/// What looking at one panel of each case says, by a nonce.
fn differences(manifest: &Manifest, all: &[Committed], nonce: &str) -> Vec<Vec<String>> {
    let mut auditor = common::auditor(&How::default());
    all.iter()
        .map(|Committed { case, entry, panels }| {
            let spotted = auditor.spot(&SpotAsked {
                manifest,
                case,
                entry: Some(entry),
                panels: Some(panels),
                drawn: &spot::panels(nonce, &case.id, 1),
                all_rows: false,
                record: None,
            });
            spotted.unwrap_or_else(|stop| panic!("{}: {}", case.id, stop.reason)).differences
        })
        .collect()
}

/// An entry whose panels are these, in every place that names them.
fn with_panels(committed: &mut Committed, panels: Vec<Digest>) {
    committed.entry.panels = short(&panels);
    committed.entry.panels_root = Some(root_of(&panels));
    committed.panels = panels;
}

/// A frequency in 200 trials is as likely as four standard deviations allow.
fn is_near(seen: usize, said: f64) -> bool {
    const TRIALS: f64 = 200.0;
    let room = 4.0 * (said * (1.0 - said) / TRIALS).sqrt() + 1e-9;
    (seen as f64 / TRIALS - said).abs() <= room
}

#[test]
fn wrong_panels_are_missed_as_often_as_is_said() {
    let sections = [
        Section { shape: (128, 16), batch: "3", ..Section::default() },
        Section {
            name: "even",
            shape: (128, 16),
            batch: "3",
            patterns: "uniform",
            ..Section::default()
        },
    ];
    let manifest = common::manifest(&sections);
    let mut all = committed(&manifest);
    // In nobody's draw is anything wrong.
    assert!((0..20).all(|nonce| {
        differences(&manifest, &all, &nonce.to_string()).iter().all(Vec::is_empty)
    }));
    for planted in [[6, 6], [1, 20]] {
        for (one, wrong) in all.iter_mut().zip(planted) {
            let mut panels = one.panels.clone();
            panels[..wrong].iter_mut().for_each(|panel| panel.0[31] ^= 1);
            with_panels(one, panels);
        }
        let mut missed = 0;
        for nonce in 0..200 {
            let nonce = format!("round {nonce}");
            let found = differences(&manifest, &all, &nonce);
            for ((one, found), wrong) in all.iter().zip(&found).zip(planted) {
                let panel = spot::panels(&nonce, &one.case.id, 1)[0];
                assert_eq!(!found.is_empty(), panel < wrong, "{nonce}, {}: {found:?}", one.case.id);
            }
            missed += usize::from(found.iter().all(Vec::is_empty));
        }
        let drawn = Drawn { all: 2, cases: 2, panels: 1 };
        let said: f64 = planted.iter().map(|&wrong| drawn.misses_panels(wrong as f64)).product();
        assert!(is_near(missed, said), "{planted:?}: {missed} of 200, {said}");
        let share = planted.iter().sum::<usize>() as f64 / (2 * PANELS) as f64;
        assert!(said <= drawn.misses_panels_everywhere(share));
        all = committed(&manifest);
    }
}

/// The outputs of an operator that keeps a row that should go, and drops one that should stay, with all that is committed
/// made of them: the committed last row that stays says otherwise of these rows.
#[test]
fn wrong_rows_that_stay_are_missed_as_often_as_is_said() {
    let section = Section { shape: (128, 16), batch: "3", ..Section::default() };
    let manifest = common::manifest(&[section]);
    let mut all = committed(&manifest);
    let case = all[0].case.clone();
    let Weights::Synthetic(values) = case.weights else { panic!("synthetic") };
    let recipe = case.recipe();
    let source = || Box::new(recipe.values(values, synthetic::fill));
    let weights = recipe.synthetic(values, source(), &mut None, 1).expect("synthetic");
    let mut a = weights.rows(0..case.m).expect("synthetic");
    let is_live = |a: &Array2<f32>, i: usize| a.row(i).iter().any(|&x| x != 0.0);
    let dead = (0..case.m).find(|&i| !is_live(&a, i)).expect("half are dead");
    let live = (0..case.m).rfind(|&i| is_live(&a, i)).expect("half are live");
    let unpruned =
        contract::inputs::Recipe { pattern: contract::inputs::spec::Pattern::None, ..recipe };
    let whole = unpruned.synthetic(values, source(), &mut None, 1).expect("synthetic");
    a.row_mut(dead).assign(&whole.rows(dead..dead + 1).expect("synthetic").row(0));
    a.row_mut(live).fill(0.0);
    let contract::case::Activations::Synthetic(of_v) = case.activations else {
        panic!("synthetic")
    };
    let v = activations(case.seed, of_v, (case.k, case.n), case.dtype, synthetic::fill, 1);
    let y = Array2::from_shape_fn((case.m, case.n), |(i, j)| {
        case.rule(&a.row(i).to_vec(), &v.column(j).to_vec())
    });
    let panels: Vec<Digest> = (0..PANELS)
        .map(|p| {
            let rows = panel_start(p, case.m)..panel_start(p + 1, case.m);
            digest_of_output(y.slice(ndarray::s![rows, ..]), case.output)
        })
        .collect();
    let wrong = panels.iter().zip(&all[0].panels).filter(|(one, other)| one != other).count();
    assert_eq!(wrong, 2);
    with_panels(&mut all[0], panels);
    let missed = (0..200)
        .filter(|nonce| differences(&manifest, &all, &nonce.to_string())[0].is_empty())
        .count();
    let said = Drawn { all: 1, cases: 1, panels: 1 }.misses_panels(2.0);
    assert!(is_near(missed, said), "{missed} of 200, {said}");
}

#[test]
fn one_changed_bit_anywhere_is_a_difference_of_its_own() {
    let manifest =
        common::manifest(&[Section { shape: (128, 16), batch: "3", ..Section::default() }]);
    let drawn = spot::panels("a nonce", &manifest.cases[0].id, 1)[0];
    let seen = |change: &dyn Fn(&mut Committed)| {
        let mut all = committed(&manifest);
        change(&mut all[0]);
        let found = differences(&manifest, &all, "a nonce");
        found[0].first().cloned().unwrap_or_default()
    };
    assert_eq!(seen(&|_| {}), "");
    let other = (drawn + 1) % PANELS;
    for (change, words) in [
        (&|one: &mut Committed| one.panels[other].0[0] ^= 1u8, "their root is"),
        (&|one: &mut Committed| one.entry.panels_root.as_mut().unwrap().0[5] ^= 4, "committed is"),
        (&|one: &mut Committed| one.entry.panels[other] = "0".repeat(16), "that `panels` names"),
        (&|one: &mut Committed| one.entry.v.0[9] ^= 16, "v: committed"),
        (&|one: &mut Committed| one.entry.pruning.as_mut().unwrap().kept += 1, "committed to stay"),
        (&|one: &mut Committed| one.entry.arithmetic = "exact".into(), "about another case"),
    ] as [(&dyn Fn(&mut Committed), &str); 6]
    {
        let found = seen(change);
        assert!(found.contains(words), "{words}: {found}");
    }
    // A last row that is none: every row that stays is another then.
    let none = seen(&|one: &mut Committed| {
        let Pruned { kept, .. } = one.entry.pruning.clone().unwrap();
        one.entry.pruning =
            Some(Pruned { kept, least: format!("{:016x}", 1e9f64.to_bits()), at: 0 });
    });
    let is_dead = none.is_empty();
    assert!(is_dead || none.contains("row panel"), "{none}");
}

#[test]
fn all_rows_are_read_where_that_is_asked_for() {
    let patterns = "[row-magnitude, element-magnitude, uniform]";
    let manifest =
        common::manifest(&[Section { shape: (128, 16), patterns, ..Section::default() }]);
    let mut all = committed(&manifest);
    let look = |all: &[Committed], all_rows| {
        let mut auditor = common::auditor(&How::default());
        all.iter()
            .map(|Committed { case, entry, panels }| {
                let asked = SpotAsked {
                    manifest: &manifest,
                    case,
                    entry: Some(entry),
                    panels: Some(panels),
                    drawn: &[0, 17, 63],
                    all_rows,
                    record: None,
                };
                let spotted = auditor.spot(&asked).unwrap_or_else(|stop| panic!("{}", stop.reason));
                (spotted.known, spotted.rows, spotted.differences)
            })
            .collect::<Vec<_>>()
    };
    use Known::{Alone, Assumed, FromAllRows};
    let none = Vec::<String>::new;
    let said = look(&all, false);
    assert_eq!(said, [(Assumed, 6, none()), (Assumed, 6, none()), (Alone, 6, none())]);
    let seen = look(&all, true);
    assert_eq!(seen, [(FromAllRows, 6, none()), (FromAllRows, 6, none()), (Alone, 6, none())]);
    // A last row that is another is seen by who reads all of them, whatever is drawn.
    all[0].entry.pruning.as_mut().unwrap().at ^= 1;
    let (_, _, found) = &look(&all, true)[0];
    assert!(found[0].starts_with("pruning: committed"), "{found:?}");
    all[0].entry.pruning = None;
    let Committed { case, entry, panels } = &all[0];
    let asked = SpotAsked {
        manifest: &manifest,
        case,
        entry: Some(entry),
        panels: Some(panels),
        drawn: &[0],
        all_rows: false,
        record: None,
    };
    let stop = common::auditor(&How::default()).spot(&asked).map(drop).unwrap_err();
    assert!(stop.reason.contains("--all-rows reads all of A"), "{}", stop.reason);
}
