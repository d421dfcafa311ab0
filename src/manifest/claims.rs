//! What is published of a section or of everything: claims, counts, a model's configuration.

use super::section;
use super::tree::{Node, Value};
use super::walk::{Fields, Walk};
use contract::case::Case;
use contract::inputs::spec::{Pattern, Sparsity};
use contract::published::{NUMPY_UNIFORM, NumpyUniform, Recipe, Scope};
use record::claims::{
    Axis, Claim, Digits, EnergyMethod, Figure, ModelConfig, NotJudged, Page, Printed, Published,
    PublishedDigest, Subject, Tensor, ToleranceOf, VRecipe,
};

/// Largest count of anything.
const COUNT_MAX: u64 = 1 << 40;
/// Largest line of a page.
const LINE_MAX: u64 = 1_000_000;

/// `published` of a section.
pub(super) fn published(walk: &mut Walk, node: &Node) -> Option<Published> {
    let keys = ["title", "cases", "chosen"];
    let fields = walk.fields(node, "`published`", &keys)?;
    let title = fields.require(walk, "title").and_then(|node| walk.text(node, "a title"));
    let cases = fields
        .require(walk, "cases")
        .and_then(|node| walk.integer(node, "the number of published cases", 1, COUNT_MAX));
    let chosen = texts(walk, &fields, "chosen", "choice");
    Some(Published { title: title?.to_owned(), cases: cases?, chosen })
}

/// A list of lines; a missing key is an empty one.
fn texts(walk: &mut Walk, fields: &Fields<'_>, key: &str, noun: &str) -> Vec<String> {
    let Some(node) = fields.get(key) else { return Vec::new() };
    let items = walk.list(node, noun);
    let what = format!("a {noun}");
    items.iter().filter_map(|item| walk.text(item, &what)).map(str::to_owned).collect()
}

/// `config` of a section.
pub(super) fn config(walk: &mut Walk, node: &Node) -> Option<ModelConfig> {
    let counts =
        ["hidden_size", "intermediate_size", "attention_heads", "key_value_heads", "vocabulary"];
    let mut keys = vec!["source", "dtype", "tie_word_embeddings"];
    keys.extend(counts);
    let fields = walk.fields(node, "a model's configuration", &keys)?;
    let source = fields.require(walk, "source").and_then(|node| walk.text(node, "a source"));
    let dtype = fields.require(walk, "dtype").and_then(|node| section::dtype(walk, node));
    let tied_embeddings = fields
        .get("tie_word_embeddings")
        .and_then(|node| walk.boolean(node, "`tie_word_embeddings`"));
    let [hidden_size, intermediate_size, attention_heads, key_value_heads, vocabulary] = counts
        .map(|key| {
            fields
                .require(walk, key)
                .and_then(|node| walk.integer(node, "a count", 1, COUNT_MAX >> 20))
        });
    Some(ModelConfig {
        source: source?.to_owned(),
        hidden_size: hidden_size?,
        intermediate_size: intermediate_size?,
        attention_heads: attention_heads?,
        key_value_heads: key_value_heads?,
        vocabulary: vocabulary?,
        dtype: dtype?,
        tied_embeddings,
    })
}

/// `page` of a manifest.
pub(super) fn page(walk: &mut Walk, node: &Node) -> Option<Page> {
    let fields = walk.fields(node, "a page", &["source", "not_judged"])?;
    let source = fields.require(walk, "source").and_then(|node| walk.text(node, "a source"));
    let mut not_judged = Vec::new();
    let reasons = fields.require(walk, "not_judged").map(|node| walk.list(node, "reason"));
    for reason in reasons.unwrap_or_default() {
        let keys = ["because", "numbers"];
        let Some(fields) = walk.fields(reason, "a reason", &keys) else { continue };
        let because = fields.require(walk, "because").and_then(|node| walk.text(node, "a reason"));
        let numbers = fields.require(walk, "numbers").map(|node| walk.list(node, "line"));
        for number in numbers.unwrap_or_default() {
            let keys = ["line", "printed"];
            let Some(fields) = walk.fields(number, "numbers of a line", &keys) else { continue };
            let line = fields.require(walk, "line");
            let line = line.and_then(|node| walk.integer(node, "a line", 1, LINE_MAX));
            fields.require(walk, "printed");
            let printed = texts(walk, &fields, "printed", "number");
            let (Some(line), Some(because)) = (line, because) else { continue };
            let entry = |printed| NotJudged { line, printed, because: because.to_owned() };
            not_judged.extend(printed.into_iter().map(entry));
        }
    }
    Some(Page { source: source?.to_owned(), not_judged })
}

/// What a claim is about.
enum About<'a> {
    /// Cases of a section, which stand in `cases`.
    Section {
        name: &'a str,
        cases: &'a [Case],
    },
    Everything,
}

/// The claims of a section whose cases are those given.
pub(super) fn of_section(walk: &mut Walk, node: &Node, name: &str, cases: &[Case]) -> Vec<Claim> {
    list(walk, node, &About::Section { name, cases })
}

/// The claims of a manifest that are about no section.
pub(super) fn of_everything(walk: &mut Walk, node: &Node) -> Vec<Claim> {
    list(walk, node, &About::Everything)
}

fn list(walk: &mut Walk, node: &Node, about: &About<'_>) -> Vec<Claim> {
    walk.list(node, "claim").iter().filter_map(|item| claim(walk, item, about)).collect()
}

const KEYS: [&str; 16] = [
    "id",
    "platform",
    "factors",
    "case",
    "sources",
    "baseline",
    "speedup_rises_with",
    "over",
    "energy_method",
    "tolerance_of",
    "digests",
    "scope",
    "output_digests",
    "a_recipe",
    "v_recipe",
    "operator",
];

fn claim(walk: &mut Walk, node: &Node, about: &About<'_>) -> Option<Claim> {
    // A claim of a section is about that section.
    let keys = KEYS.into_iter().chain(matches!(about, About::Everything).then_some("about"));
    let keys: Vec<&str> = keys.chain(Figure::ALL.iter().map(|(key, _)| *key)).collect();
    let fields = walk.fields(node, "a claim", &keys)?;
    let id = fields.require(walk, "id").and_then(|node| {
        walk.name(node, "a claim's id", "A-Z, a-z, 0-9, `.`, `_`, `-`", section::name_char)
    });
    let (subject, cases) = subject(walk, &fields, about);
    let platform = fields.get("platform").and_then(|node| walk.text(node, "a platform"));
    let sources = texts(walk, &fields, "sources", "source");
    fields.require(walk, "sources");
    let baseline = fields.get("baseline").and_then(|node| walk.text(node, "a baseline's name"));
    let mut figures = Vec::new();
    for (key, figure) in Figure::ALL {
        if let Some(printed) = fields.get(key).and_then(|node| printed(walk, node, figure)) {
            figures.push((figure, printed));
        }
    }
    let factors = match fields.get("factors") {
        Some(node) => walk
            .list(node, "count")
            .iter()
            .filter_map(|item| walk.integer(item, "a count", 1, 1_000_000))
            .collect(),
        None => Vec::new(),
    };
    let methods = [("counter", EnergyMethod::Counter), ("time-ratio", EnergyMethod::TimeRatio)];
    let energy_method =
        fields.get("energy_method").and_then(|node| walk.choice(node, "`energy_method`", &methods));
    let compared =
        [("output", ToleranceOf::Output), ("normalised-columns", ToleranceOf::NormalisedColumns)];
    let tolerance_of =
        fields.get("tolerance_of").and_then(|node| walk.choice(node, "`tolerance_of`", &compared));
    let outputs = [("output", false), ("normalised-f64", true)];
    let normalised_outputs = fields
        .get("output_digests")
        .and_then(|node| walk.choice(node, "`output_digests`", &outputs));
    let (section, line) = match about {
        About::Section { name, .. } => (Some((*name).to_owned()), node.place.0),
        About::Everything => (None, node.place.0),
    };
    Some(Claim {
        id: id?.to_owned(),
        section,
        about: sections(walk, &fields),
        subject,
        cases,
        platform: platform.map(str::to_owned),
        sources,
        baseline: baseline.map(str::to_owned),
        figures,
        factors,
        speedup_rises_with: fields
            .get("speedup_rises_with")
            .and_then(|node| walk.choice(node, "`speedup_rises_with`", &Axis::ALL)),
        over: over(walk, &fields),
        energy_method,
        tolerance_of,
        digests: digests(walk, &fields),
        normalised_outputs: normalised_outputs.unwrap_or(false),
        a_recipe: fields.get("a_recipe").and_then(|node| a_recipe(walk, node)),
        v_recipe: fields.get("v_recipe").and_then(|node| v_recipe(walk, node)),
        operator: fields.get("operator").and_then(|node| walk.digest(node)),
        line,
    })
}

/// `about`: sections by their manifests.
fn sections(walk: &mut Walk, fields: &Fields<'_>) -> Vec<String> {
    let Some(node) = fields.get("about") else { return Vec::new() };
    let read = |walk: &mut Walk, node: &Node| {
        let text = walk.text(node, "a section")?;
        let mut parts = text.split('/');
        let is_name = |part: &str| !part.is_empty() && part.chars().all(section::name_char);
        if parts.clone().count() > 2 || !parts.all(is_name) {
            return walk.expected(node, "a section", "write MANIFEST/SECTION, or MANIFEST");
        }
        Some(text.to_owned())
    };
    walk.distinct(node, "section", read).into_iter().map(|(name, _)| name).collect()
}

/// A figure as it is printed.
fn printed(walk: &mut Walk, node: &Node, figure: Figure) -> Option<Printed> {
    let text = walk.text(node, "a figure")?;
    let is_number = matches!(node.value, Value::Number(_)) && !figure.is_count();
    if is_number && !is_number_everywhere(text) {
        let hint = format!("quote it: '{text}', or write it as it is printed: 19.3M");
        return walk.expected(node, "a figure that every reader of YAML takes for a number", &hint);
    }
    match figure.read(text) {
        Some(printed) => Some(printed),
        None if figure.is_count() => walk.expected(node, "a count", ""),
        None => {
            let hint =
                "write it as it is printed: 9.53, 3.9e-6, 7.6 to 9.2, over 100 or few thousand";
            walk.expected(node, "a figure", hint)
        }
    }
}

/// Whether a reader of YAML 1.1 takes a number for one as well: with an exponent it needs a point and the exponent's sign.
fn is_number_everywhere(number: &str) -> bool {
    match number.split_once(['e', 'E']) {
        Some((digits, exponent)) => digits.contains('.') && exponent.starts_with(['+', '-']),
        None => true,
    }
}

fn over(walk: &mut Walk, fields: &Fields<'_>) -> Vec<(String, Printed)> {
    let Some(node) = fields.get("over") else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        walk.expected::<()>(node, "`over`: a mapping of baselines and speedups", "");
        return Vec::new();
    };
    let mut all: Vec<(String, Printed)> = Vec::new();
    for (key, value) in entries {
        let (name, speedup) =
            (walk.text(key, "a baseline's name"), printed(walk, value, Figure::Speedup));
        let (Some(name), Some(speedup)) = (name, speedup) else { continue };
        if all.iter().any(|(known, _)| known == name) {
            walk.fail(key.place, format!("baseline `{name}` given twice"), "");
        } else {
            all.push((name.to_owned(), speedup));
        }
    }
    all
}

fn digests(walk: &mut Walk, fields: &Fields<'_>) -> Vec<PublishedDigest> {
    let scopes = [("whole", Scope::WholeTensor), ("prefix", Scope::Prefix)];
    let scope = match fields.get("scope") {
        Some(node) => walk.choice(node, "`scope`", &scopes),
        None => Some(Scope::WholeTensor),
    };
    let Some(node) = fields.get("digests") else {
        if let Some(node) = fields.get("scope") {
            walk.fail(node.place, "`scope` given without `digests`", "");
        }
        return Vec::new();
    };
    let tensors = Tensor::ALL;
    let keys = tensors.map(|(key, _)| key);
    let Some(fields) = walk.fields(node, "published digests", &keys) else { return Vec::new() };
    let mut all = Vec::new();
    for (key, tensor) in tensors {
        let Some(node) = fields.get(key) else { continue };
        let Some(text) = walk.text(node, "a digest") else { continue };
        match Digits::try_from(text.to_owned()) {
            Ok(digits) => all.extend(scope.map(|scope| PublishedDigest { tensor, digits, scope })),
            Err(what) => {
                walk.expected::<()>(node, what, "quote it where it has digits only");
            }
        }
    }
    all
}

/// How a published A was drawn.
fn a_recipe(walk: &mut Walk, node: &Node) -> Option<NumpyUniform> {
    let fields = walk.fields(node, "`a_recipe`", &[NUMPY_UNIFORM])?;
    fields.require(walk, NUMPY_UNIFORM).and_then(|node| numpy(walk, node))
}

/// A generator of NumPy.
fn numpy(walk: &mut Walk, node: &Node) -> Option<NumpyUniform> {
    let fields = walk.fields(node, "NumPy's default generator", &["seed"])?;
    let seed = fields.require(walk, "seed")?;
    Some(NumpyUniform { seed: walk.integer(seed, "`seed`", 0, u64::MAX)? })
}

/// How a published V was drawn.
fn v_recipe(walk: &mut Walk, node: &Node) -> Option<VRecipe> {
    let recipes = [
        ("torch-device-uniform", Some(Recipe::Uniform)),
        ("torch-device-normal", Some(Recipe::Normal)),
        (NUMPY_UNIFORM, None),
    ];
    let fields = walk.fields(node, "`v_recipe`", &recipes.map(|(name, _)| name))?;
    let mut given = recipes.into_iter().filter(|(name, _)| fields.has(name));
    let Some((name, recipe)) = given.next() else {
        return walk.expected(
            node,
            "a recipe of V",
            "write {torch-device-normal: {platform: cuda, multiprocessors: N}} or {numpy-pcg64-uniform: {seed: N}}",
        );
    };
    if given.next().is_some() {
        walk.fail(node.place, "one V has one recipe", "");
        return None;
    }
    let node = fields.get(name)?;
    match recipe {
        Some(recipe) => Some(VRecipe::Device(recipe, section::hardware(walk, node)?)),
        None => numpy(walk, node).map(VRecipe::Numpy),
    }
}

/// What a claim's figures are of, and the section's cases that stand for it.
fn subject(walk: &mut Walk, fields: &Fields<'_>, about: &About<'_>) -> (Subject, Vec<String>) {
    let node = fields.get("case");
    let errors = walk.errors.len();
    let wanted = node.and_then(|node| selector(walk, node, about)).unwrap_or_default();
    let (name, cases) = match about {
        About::Everything => return (wanted.subject, Vec::new()),
        About::Section { name, cases } => (name, cases),
    };
    let matched: Vec<&Case> = cases.iter().filter(|case| wanted.accepts(case)).collect();
    // A section that was refused has no cases, and was reported.
    if matched.is_empty() && !cases.is_empty() && walk.errors.len() == errors {
        let place = node.map_or(fields.place, |node| node.place);
        walk.fail(place, format!("no case of section `{name}` is the claim's"), "");
    }
    let subject = Subject {
        // A time of a stack is of all its layers, and no shape's.
        shape: common(&matched, |case| {
            case.stack.is_none().then_some((case.m as u64, case.k as u64))
        })
        .flatten(),
        batch: common(&matched, |case| case.n as u64),
        sparsity: common(&matched, |case| case.sparsity),
        dtype: common(&matched, |case| case.dtype),
    };
    (subject, matched.into_iter().map(|case| case.id.clone()).collect())
}

/// What is the same in all cases.
fn common<T: PartialEq>(cases: &[&Case], of: impl Fn(&Case) -> T) -> Option<T> {
    let (first, rest) = cases.split_first()?;
    let value = of(first);
    rest.iter().all(|case| of(case) == value).then_some(value)
}

/// Which cases: those that agree in everything that is given.
#[derive(Default)]
struct Selector {
    layer: Option<String>,
    pattern: Option<Pattern>,
    /// Empty for every level.
    levels: Vec<Sparsity>,
    subject: Subject,
}

impl Selector {
    fn accepts(&self, case: &Case) -> bool {
        fn fits<T: PartialEq>(wanted: &Option<T>, got: T) -> bool {
            wanted.as_ref().is_none_or(|wanted| *wanted == got)
        }
        let Subject { shape, batch, dtype, .. } = self.subject;
        self.layer.as_ref().is_none_or(|layer| *layer == case.layer)
            && fits(&self.pattern, case.pattern)
            && fits(&shape, (case.m as u64, case.k as u64))
            && fits(&batch, case.n as u64)
            && (self.levels.is_empty() || self.levels.contains(&case.sparsity))
            && fits(&dtype, case.dtype)
    }
}

fn selector(walk: &mut Walk, node: &Node, about: &About<'_>) -> Option<Selector> {
    let fields = match about {
        About::Section { .. } => {
            let keys = ["layer", "pattern", "sparsity", "batch", "dtype"];
            walk.fields(node, "`case`", &keys)?
        }
        About::Everything => {
            walk.fields(node, "`case`", &["shape", "sparsity", "batch", "dtype"])?
        }
    };
    let layer = fields.get("layer").and_then(|node| walk.text(node, "a layer's name"));
    let batch =
        fields.get("batch").and_then(|node| walk.integer(node, "a batch size", 1, COUNT_MAX));
    let levels: Vec<Sparsity> = match fields.get("sparsity") {
        Some(node) => walk.distinct(node, "level", section::sparsity),
        None => Vec::new(),
    }
    .into_iter()
    .map(|(level, _)| level)
    .collect();
    let one = match levels[..] {
        [level] => Some(level),
        _ => None,
    };
    Some(Selector {
        layer: layer.map(str::to_owned),
        pattern: fields.get("pattern").and_then(|node| section::pattern(walk, node)),
        levels,
        subject: Subject {
            shape: fields.get("shape").and_then(|node| section::shape(walk, node)),
            batch,
            sparsity: one,
            dtype: fields.get("dtype").and_then(|node| section::dtype(walk, node)),
        },
    })
}
