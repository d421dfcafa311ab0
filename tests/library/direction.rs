//! Data flows one way, and this holds it: in each crate a room imports only rooms that stand below it.
//!
//! A room is a top-level module, a file or a folder. Its imports are the paths that begin with `crate` or lead out of it by
//! `super`, in `use` items, in code and in macros; modules that are only compiled for tests are cut off. Left out: paths
//! inside a room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Rooms of `crates/contract`, lowest first.
const CONTRACT: &[&str] = &[
    "dtype",
    "words",
    "strategy",
    "threads",
    "digest",
    "spot",
    "arithmetic",
    "inputs",
    "published",
    "stack",
    "case",
    "distinct",
    "perturbation",
];

/// Rooms of `crates/record`, lowest first.
const RECORD: &[&str] = &[
    "tool",
    "moment",
    "stand_in",
    "numbers",
    "environment",
    "device",
    "shard",
    "bits",
    "compare",
    "expected",
    "commitment",
    "verdict",
    "exit",
    "baseline",
    "operator",
    "timings",
    "claims",
    "manifest",
    "run",
    "schema",
    "text",
    "shared",
    "sample",
    "judge",
    "outcome",
    "derive",
    "read",
    "merge",
    "report",
];

/// Rooms of `crates/attest`, lowest first.
const ATTEST: &[&str] = &["canonical", "commit", "statement", "signature", "signers", "quorum"];

/// Rooms of the kit, lowest first.
const KIT: &[&str] = &[
    "files",
    "own_folder",
    "carried",
    "cache",
    "panics",
    "machine",
    "failure",
    "output",
    "signal",
    "supervise",
    "interrupt",
    "records",
    "expected",
    "manifest",
    "weights",
    "tensors",
    "backend",
    "operator",
    "environment",
    "published",
    "baseline",
    "worker",
    "rules",
    "check",
    "measure",
    "doctor",
    "audit",
    "challenge",
    "predict",
    "shard",
    "cli",
];

/// Words that must not be among the packages that a lower crate is built with: devices, loaded libraries, the network.
const OUT_OF_REACH: [&str; 4] = ["cudarc", "libloading", "ureq", "nvml"];

#[test]
fn rooms_of_the_contract_import_downwards() {
    hold("crates/contract/src", CONTRACT);
}

#[test]
fn rooms_of_the_record_import_downwards() {
    hold("crates/record/src", RECORD);
}

#[test]
fn rooms_of_attestations_import_downwards() {
    hold("crates/attest/src", ATTEST);
}

#[test]
fn rooms_of_the_kit_import_downwards() {
    hold("src", KIT);
}

#[test]
fn the_contract_names_no_crate_above_it() {
    let above = crates_named("crates/contract/src", &["record", "attest", "sparse_verify"]);
    assert!(above.is_empty(), "{above:#?}");
}

#[test]
fn the_record_names_no_crate_above_it() {
    let above = crates_named("crates/record/src", &["attest", "sparse_verify"]);
    assert!(above.is_empty(), "{above:#?}");
}

#[test]
fn attestations_do_not_name_the_kit() {
    let above = crates_named("crates/attest/src", &["sparse_verify"]);
    assert!(above.is_empty(), "{above:#?}");
}

#[test]
fn lower_crates_are_built_without_devices_or_the_network() {
    for package in ["sparse-verify-contract", "sparse-verify-record", "sparse-verify-attest"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["tree", "--offline", "--prefix", "none", "--edges", "normal", "-p", package])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo is there: it runs this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8_lossy(&output.stdout);
        assert!(tree.starts_with(package), "{tree}");
        let found: Vec<&str> = tree
            .lines()
            .filter(|line| OUT_OF_REACH.iter().any(|word| line.contains(word)))
            .collect();
        assert!(found.is_empty(), "{package} is built with {found:?}");
    }
}

#[test]
fn the_map_names_every_room_in_order() {
    let map = map();
    let tables = [
        ("### crates/contract", CONTRACT),
        ("### crates/record", RECORD),
        ("### crates/attest", ATTEST),
        ("### src", KIT),
    ];
    for (head, order) in tables {
        let (_, table) = map.split_once(head).unwrap_or_else(|| panic!("no part {head}"));
        let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rooms: Vec<&str> = rows
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.split('`').nth(1).expect("a row begins with a room's name"))
            .collect();
        assert_eq!(rooms, order, "{head}");
    }
}

#[test]
fn the_map_names_files_that_are_there() {
    let map = map();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src/", "crates/", "tests/"];
    let quoted = map.split('`').skip(1).step_by(2);
    let files = quoted.filter(|text| folders.iter().any(|folder| text.starts_with(folder)));
    let gone: Vec<&str> =
        files.filter(|file| !file.contains('*') && !root.join(file).exists()).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names {gone:?}");
}

fn map() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).expect("the map is there");
    // Drawings are no names.
    text.split("```").step_by(2).collect()
}

/// Fails with every fault of a crate's rooms.
fn hold(folder: &str, order: &[&str]) {
    let faults = faults(&house(folder), order);
    assert!(faults.is_empty(), "{folder}:\n{}", faults.join("\n"));
}

/// The rooms of a crate, and which imports which.
#[derive(Default)]
struct House {
    rooms: BTreeSet<String>,
    /// For each pair of rooms that imports and is imported: where, in files relative to the crate's root.
    imports: BTreeMap<(String, String), BTreeSet<String>>,
}

/// Everything that is wrong with a house, in words.
fn faults(house: &House, order: &[&str]) -> Vec<String> {
    let place = |room: &str| order.iter().position(|known| *known == room);
    let mut faults: Vec<String> = house
        .rooms
        .iter()
        .filter(|room| place(room).is_none())
        .map(|room| format!("room `{room}` has no place in the order"))
        .collect();
    let gone = order.iter().filter(|room| !house.rooms.contains(**room));
    faults.extend(gone.map(|room| format!("the order has `{room}`, and there is no such room")));
    for ((from, to), files) in &house.imports {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let files = files.join(", ");
        if !house.rooms.contains(to) {
            faults.push(format!("{files}: `crate::{to}` is no room and leads to none"));
        } else if let (Some(own), Some(other)) = (place(from), place(to))
            && other > own
        {
            faults.push(format!("{files}: `{from}` imports `{to}`, which stands above it"));
        }
    }
    faults.extend(circles(house).into_iter().map(|circle| format!("a circle: {circle}")));
    faults
}

/// For each room that imports itself by way of others, the shortest such way; each circle once.
fn circles(house: &House) -> Vec<String> {
    let next = |room: &str| -> Vec<&str> {
        let from = house.imports.keys().filter(|(from, _)| from == room);
        from.map(|(_, to)| to.as_str()).collect()
    };
    let mut circles = Vec::new();
    let mut known: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    for start in &house.rooms {
        let mut ways: Vec<Vec<&str>> = vec![vec![start]];
        let mut seen = BTreeSet::new();
        'search: while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in &ways {
                for to in next(way[way.len() - 1]) {
                    if to == start {
                        if known.insert(way.iter().copied().collect()) {
                            circles.push(format!("{} -> {to}", way.join(" -> ")));
                        }
                        break 'search;
                    }
                    if seen.insert(to) {
                        longer.push([&way[..], &[to]].concat());
                    }
                }
            }
            ways = longer;
        }
    }
    circles
}

/// A source file.
struct Source {
    /// Relative to the crate's root.
    file: String,
    /// The module that it is, from the crate's root; empty for the root itself.
    module: Vec<String>,
    tokens: TokenStream,
}

/// All .rs files below a folder of this package.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let source = |path: &PathBuf| {
        let relative = path.strip_prefix(&root).expect("found below the root");
        let mut module: Vec<String> = relative
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let is_root = module.len() == 1 && ["lib", "main"].contains(&module[0].as_str());
        if is_root || module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let text = std::fs::read_to_string(path).expect("sources can be read");
        let tokens = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Source { file: relative.display().to_string(), module, tokens }
    };
    files.iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the crate has this folder") {
        let path = entry.expect("folders can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The house that a crate's sources make.
fn house(folder: &str) -> House {
    let sources = sources(folder);
    let mut walks = Vec::new();
    let mut only_tests = Vec::new();
    // Names that the root gives to what is in a room.
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for source in &sources {
        let mut walk = Walk::default();
        walk.tokens(source.tokens.clone(), &mut source.module.clone());
        only_tests.append(&mut walk.only_tests);
        if source.file == "lib.rs" {
            for path in &walk.uses {
                if let [room, .., name] = &path[..] {
                    renamed.insert(name.clone(), room.clone());
                }
            }
        }
        walks.push((source, walk));
    }
    let mut house = House::default();
    for (source, walk) in walks {
        let Some(room) = source.module.first() else { continue };
        if only_tests.iter().any(|module| source.module.starts_with(module)) {
            continue;
        }
        house.rooms.insert(room.clone());
        for path in walk.paths {
            let Some(first) = path.first() else { continue };
            let to = renamed.get(first).unwrap_or(first);
            if to != room {
                let files = house.imports.entry((room.clone(), to.clone())).or_default();
                files.insert(source.file.clone());
            }
        }
    }
    house
}

/// What is found in the tokens of a file.
#[derive(Default)]
struct Walk {
    /// Paths of this crate, from its root.
    paths: Vec<Vec<String>>,
    /// Other paths of `use` items, as they are written.
    uses: Vec<Vec<String>>,
    /// Modules that are compiled for tests alone, from the crate's root.
    only_tests: Vec<Vec<String>>,
}

impl Walk {
    fn tokens(&mut self, tokens: TokenStream, module: &mut Vec<String>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if is_test_attribute(&tokens[at..]) {
                at = self.skip_item(&tokens, at + 2, module);
                continue;
            }
            match &tokens[at] {
                TokenTree::Group(group) => {
                    self.tokens(group.stream(), module);
                    at += 1;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    if let [TokenTree::Ident(name), TokenTree::Group(body), ..] = &tokens[at + 1..]
                    {
                        module.push(name.to_string());
                        self.tokens(body.stream(), module);
                        module.pop();
                        at += 3;
                    } else {
                        at += 1;
                    }
                }
                TokenTree::Ident(word) if word == "crate" && is_colons(&tokens[at + 1..]) => {
                    at = tree(&tokens, at + 3, Vec::new(), &mut self.paths);
                }
                TokenTree::Ident(word) if word == "super" && is_colons(&tokens[at + 1..]) => {
                    let mut base = module.clone();
                    while matches!(&tokens[at], TokenTree::Ident(word) if word == "super")
                        && is_colons(&tokens[at + 1..])
                    {
                        base.pop();
                        at += 3;
                    }
                    at = tree(&tokens, at, base, &mut self.paths);
                }
                TokenTree::Ident(word) if word == "use" => {
                    at += 1;
                    let own = ["crate", "super"];
                    match tokens.get(at) {
                        Some(TokenTree::Ident(first)) if own.iter().any(|own| first == own) => {}
                        _ => at = tree(&tokens, at, Vec::new(), &mut self.uses),
                    }
                }
                _ => at += 1,
            }
        }
    }

    /// The place behind the item at `at`, which is compiled for tests alone.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize, module: &[String]) -> usize {
        if let Some([TokenTree::Ident(word), TokenTree::Ident(name), ..]) = tokens.get(at..)
            && word == "mod"
        {
            self.only_tests.push([module, &[name.to_string()]].concat());
        }
        let is_use = matches!(&tokens.get(at), Some(TokenTree::Ident(word)) if *word == "use");
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ';' => break,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_use => {
                    break;
                }
                _ => {}
            }
        }
        at
    }
}

/// Whether tokens begin with `#[cfg(test)]`, or with another condition that asks for tests first.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(mark), TokenTree::Group(attribute), ..] = tokens else { return false };
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    mark.as_char() == '#' && ["cfg(test)", "cfg(all(test,"].iter().any(|cfg| text.starts_with(cfg))
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    matches!(tokens, [one, other, ..] if is_colon(one) && is_colon(other))
}

/// Adds the paths of the tree at `at`, each behind `base`; the place behind it.
fn tree(
    tokens: &[TokenTree],
    mut at: usize,
    mut base: Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> usize {
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => {
                base.push(word.to_string());
                at += 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma =
                    |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ',');
                for branch in inner.split(is_comma).filter(|branch| !branch.is_empty()) {
                    tree(branch, 0, base.clone(), paths);
                }
                return at + 1;
            }
            _ => break,
        }
        match is_colons(tokens.get(at..).unwrap_or_default()) {
            true => at += 2,
            false => break,
        }
    }
    paths.push(base);
    at
}

/// Places below `folder` where a path begins with one of these crates.
fn crates_named(folder: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources(folder) {
        let mut paths = Vec::new();
        first_words(source.tokens, &mut paths);
        let named = paths.into_iter().filter(|word| names.contains(&word.as_str()));
        found.extend(named.map(|word| format!("{}: {word}", source.file)));
    }
    found
}

/// The first words of all paths, and of `use` items that are one word.
fn first_words(tokens: TokenStream, words: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => first_words(group.stream(), words),
            TokenTree::Ident(word) => {
                let follows_colons = at >= 2 && is_colons(&tokens[at - 2..]);
                let in_use = at >= 1
                    && matches!(&tokens[at - 1], TokenTree::Ident(before) if before == "use" || before == "crate");
                if in_use || !follows_colons && is_colons(&tokens[at + 1..]) {
                    words.push(word.to_string());
                }
            }
            _ => {}
        }
    }
}

/// The checker itself: it must fail before it may be believed.
mod checker {
    use super::*;

    fn house_of(rooms: &[&str], imports: &[(&str, &str)]) -> House {
        let rooms = rooms.iter().map(|&room| room.to_owned()).collect();
        let import = |&(from, to): &(&str, &str)| {
            ((from.to_owned(), to.to_owned()), BTreeSet::from([format!("{from}.rs")]))
        };
        House { rooms, imports: imports.iter().map(import).collect() }
    }

    fn paths_of(text: &str, module: &[&str]) -> Vec<String> {
        let mut walk = Walk::default();
        let mut module = module.iter().map(|&part| part.to_owned()).collect();
        walk.tokens(text.parse().expect("it is Rust"), &mut module);
        walk.paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn a_house_that_is_in_order_has_no_fault() {
        let house = house_of(&["low", "middle", "high"], &[("high", "low"), ("middle", "low")]);
        assert_eq!(faults(&house, &["low", "middle", "high"]), Vec::<String>::new());
    }

    #[test]
    fn a_circle_is_found_and_told_once() {
        let house =
            house_of(&["a", "b", "c", "d"], &[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]);
        assert_eq!(
            faults(&house, &["c", "b", "a", "d"]),
            ["c.rs: `c` imports `a`, which stands above it", "a circle: a -> b -> c -> a",]
        );
    }

    #[test]
    fn an_import_that_climbs_is_found_without_a_circle() {
        let house = house_of(&["low", "high"], &[("low", "high")]);
        assert_eq!(
            faults(&house, &["low", "high"]),
            ["low.rs: `low` imports `high`, which stands above it"]
        );
    }

    #[test]
    fn rooms_and_order_name_the_same() {
        let house = house_of(&["low", "new"], &[("new", "nowhere")]);
        assert_eq!(
            faults(&house, &["low", "old"]),
            [
                "room `new` has no place in the order",
                "the order has `old`, and there is no such room",
                "new.rs: `crate::nowhere` is no room and leads to none",
            ]
        );
    }

    #[test]
    fn paths_are_found_in_imports_code_and_macros() {
        let text = r#"
            //! crate::comment::is_none
            use crate::{a::{B, C as D}, e};
            use super::super::f::*;
            use super::sibling;
            pub(crate) fn g(x: crate::h::I) -> u8 { assert!(crate::j::k::<u8>(x)); "crate::text::is_none"; 0 }
            mod inner { use super::super::own; }
        "#;
        assert_eq!(
            paths_of(text, &["room", "file"]),
            ["a::B", "a::C", "e", "f", "room::sibling", "h::I", "j::k", "room::own"]
        );
    }

    #[test]
    fn what_is_for_tests_alone_is_cut_off() {
        let text = r#"
            #[cfg(test)]
            use crate::a::{B, C};
            #[cfg(test)]
            mod tests { use crate::d; }
            #[cfg(test)]
            mod more;
            #[cfg(all(test, unix))]
            fn e() { crate::f() }
            #[cfg(not(test))]
            use crate::g;
        "#;
        assert_eq!(paths_of(text, &["room"]), ["g"]);
    }

    #[test]
    fn crates_are_found_where_they_are_named() {
        let text = "use record; use record::a; fn b() { x::record::c(); record::d(); }";
        let mut words = Vec::new();
        first_words(text.parse().expect("it is Rust"), &mut words);
        assert_eq!(words.iter().filter(|word| *word == "record").count(), 3);
    }
}
