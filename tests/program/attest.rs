//! `verify attest`, `verify quorum` and `verify pin --attestation`: what is signed, who is believed, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::common::records::find_another;
use crate::common::{Ran, Section, Workbench, ran, repository};
use contract::digest::Digest;
use record::Record;
use serde_json::Value;

const NAMESPACE: &str = "verify-record@sparse-verify";
const ID: &str = "small/up/row-magnitude-50/b24/f32/f32-chain";

/// A bench with two cases, the record of a run of them on `one` machine and on an`other`, and the keys `ada` and `bob`.
fn bench() -> Workbench {
    let bench = Workbench::pinned(&[Section { sparsity: "[0.5, 0.8]", ..Section::default() }]);
    let run = ["manifests", "--no-measure", "--isa", "portable", "--json", "one.json"];
    assert_eq!(bench.verify(&run).code, 0);
    let mut other = bench.record("one.json");
    other.environment.cpu_model = "Another processor".into();
    other.environment.memory_bytes = Some(1 << 40);
    bench.save("other.json", &other);
    for (name, file) in [("ada", "ed25519"), ("bob", "ecdsa256"), ("eve", "locked")] {
        let key = fs::read(repository(&format!("crates/attest/tests/keys/{file}"))).expect("there");
        fs::write(bench.path(name), key).expect("new");
        // OpenSSH takes no key that others may read.
        fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o600)).expect("ours");
    }
    for (name, record, key) in [("a", "one.json", "ada"), ("b", "other.json", "bob")] {
        attest(&bench, record, key, name);
    }
    let public = |name: &str| {
        let key = fs::read(bench.path(name)).expect("there");
        let key = attest::signature::Key::read(&key).expect("a key");
        key.public().text().expect("text")
    };
    let allowed = format!(
        "# who may sign\nada@example.org namespaces=\"{NAMESPACE}\" {}\nbob {}\n",
        public("ada"),
        public("bob")
    );
    bench.write("allowed", &allowed);
    bench
}

fn attest(bench: &Workbench, record: &str, key: &str, out: &str) {
    let said = bench.verify(&["attest", record, "--key", key, "--out", out]);
    assert_eq!(said.code, 0, "{said:?}");
}

fn check(bench: &Workbench, more: &[&str]) -> Ran {
    bench.verify(&[&["attest", "--check", "a", "--signers", "allowed"], more].concat())
}

fn quorum(bench: &Workbench, need: &str, more: &[&str]) -> Ran {
    let common = ["quorum", "--signers", "allowed", "--need", need];
    bench.verify(&[&common, more].concat())
}

/// Whether OpenSSH is here; says so visibly where it is not.
fn has_ssh_keygen() -> bool {
    let is_here = Command::new("ssh-keygen").arg("-?").output().is_ok();
    if !is_here {
        use std::io::Write as _;
        // Past the test's captured output: what was not run must show.
        let _ =
            writeln!(std::io::stderr(), "not run: what OpenSSH accepts and signs (no ssh-keygen)");
    }
    is_here
}

/// `ssh-keygen -Y verify` of a statement and its signature.
fn ssh_verify(bench: &Workbench, statement: &str, name: &str) -> Ran {
    let file = fs::File::open(bench.path(statement)).expect("there");
    let mut command = Command::new("ssh-keygen");
    let signature = format!("{statement}.sig");
    command.args(["-Y", "verify", "-f", "allowed", "-I", name, "-n", NAMESPACE, "-s", &signature]);
    ran(command.current_dir(bench.path("")).stdin(file))
}

#[test]
fn openssh_accepts_ours_and_ours_accepts_openssh() {
    if !has_ssh_keygen() {
        return;
    }
    let bench = bench();
    for (statement, name) in [("a", "ada@example.org"), ("b", "bob")] {
        let said = ssh_verify(&bench, statement, name);
        assert_eq!(said.code, 0, "{said:?}");
    }
    // One changed bit, and OpenSSH says no as well.
    let good = fs::read(bench.path("a")).expect("written");
    let mut bad = good.clone();
    *bad.last_mut().expect("not empty") ^= 1;
    fs::write(bench.path("a"), &bad).expect("ours");
    assert_ne!(ssh_verify(&bench, "a", "ada@example.org").code, 0);
    fs::write(bench.path("a"), &good).expect("ours");
    for key in ["ada", "bob"] {
        fs::remove_file(bench.path("a.sig")).expect("there");
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f", key, "a"]);
        assert_eq!(ran(sign.current_dir(bench.path(""))).code, 0);
        assert_eq!(check(&bench, &["--record", "one.json"]).code, 0);
    }
    // For another purpose: a signature of git is none of ours.
    fs::remove_file(bench.path("a.sig")).expect("there");
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "git", "-f", "ada", "a"]);
    assert_eq!(ran(sign.current_dir(bench.path(""))).code, 0);
    let said = check(&bench, &[]);
    assert!(said.code == 2 && said.stderr.contains("another purpose"), "{said:?}");
}

#[test]
fn ssh_keygen_signs_with_keys_that_are_not_read_here() {
    if !has_ssh_keygen() {
        return;
    }
    let bench = bench();
    let with = |arguments: &[&str]| {
        let all = [&["attest", "one.json", "--out", "c", "--with-ssh-keygen", "--key"], arguments];
        bench.command(&all.concat())
    };
    assert_eq!(ran(&mut with(&["ada"])).code, 0);
    assert_eq!(bench.read("c.sig"), bench.read("a.sig"), "the very bytes");
    // A key in an agent, by its public part.
    let mut agent = Command::new("ssh-agent");
    agent.args(["-D", "-a"]).arg(bench.path("socket")).stdout(Stdio::null());
    let mut agent = agent.spawn().expect("it comes with ssh-keygen");
    let socket = bench.path("socket");
    while !socket.exists() && agent.try_wait().expect("ours").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut add = Command::new("ssh-add");
    add.args(["-q", "bob"]).current_dir(bench.path("")).env("SSH_AUTH_SOCK", &socket);
    let added = ran(&mut add);
    let public = attest::signature::Key::read(bench.read("bob").as_bytes()).expect("a key");
    bench.write("agent.pub", &public.public().text().expect("text"));
    let said = ran(with(&["agent.pub"]).env("SSH_AUTH_SOCK", &socket));
    agent.kill().expect("ours");
    agent.wait().expect("ours");
    assert_eq!((added.code, said.code), (0, 0), "{said:?}");
    let said =
        bench.verify(&["attest", "--check", "c", "--signers", "allowed", "--identity", "bob"]);
    assert_eq!(said.code, 0, "{said:?}");
    // Without an agent it has nothing to sign with, and says so.
    let said = ran(with(&["agent.pub"]).env_remove("SSH_AUTH_SOCK"));
    assert!(said.code == 2 && said.stderr.contains("ssh-keygen did not sign"), "{said:?}");
    // Where it is not, that is said.
    let said = ran(with(&["ada"]).env("PATH", bench.path("manifests")));
    let words = ["failed to start ssh-keygen", "hint: it comes with OpenSSH"];
    assert!(said.code == 4 && words.iter().all(|words| said.stderr.contains(words)), "{said:?}");
}

#[test]
fn a_signed_statement_says_what_its_record_says() {
    let bench = bench();
    let said = check(
        &bench,
        &["--identity", "ada@example.org", "--record", "one.json", "--manifest", "manifests"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    for words in [
        "a: signed by ada@example.org (SHA256:",
        "it says: bits verified: 2 of 2 cases",
        "whole manifests, 2 of 2 cases",
        "record: one.json has the bytes that were signed for",
        "manifests and committed digests: those here",
        "exit code 0: everything required was verified (by the statement)",
    ] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    // One record, one statement, and one signature of a key that signs without chance.
    attest(&bench, "one.json", "ada", "again");
    assert_eq!(bench.read("a"), bench.read("again"));
    assert_eq!(bench.read("a.sig"), bench.read("again.sig"));
    // Beside the record by itself.
    let said = bench.verify(&["attest", "one.json", "--key", "ada"]);
    assert!(said.code == 0 && bench.read("one.statement.json") == bench.read("a"), "{said:?}");
    // A refuted record is signed for as well, and says so with its code.
    let mut refuted = bench.record("one.json");
    change(&mut refuted, "dense");
    bench.save("refuted.json", &refuted);
    attest(&bench, "refuted.json", "ada", "r");
    let said = bench.verify(&["attest", "--check", "r", "--signers", "allowed"]);
    assert_eq!(said.code, 1, "{said:?}");
    let statement: Value = serde_json::from_str(&bench.read("r")).expect("JSON");
    assert_eq!(statement["predicate"]["result"], "FAILED");
    assert_eq!(statement["predicate"]["failedTests"], serde_json::json!([format!("small: {ID}")]));
}

/// Another digest for one output of the first case, with all that follows from it.
fn change(record: &mut Record, name: &str) {
    let case = record.cases.iter_mut().find(|case| case.id == ID).expect("it ran");
    find_another(case, name);
}

#[test]
fn a_record_that_cannot_be_signed_for_is_refused() {
    let bench = bench();
    let refused = |record: &str, key: &str, words: &str, code: i32| {
        let said = bench.verify(&["attest", record, "--key", key, "--out", "new"]);
        assert!(said.code == code && said.stderr.contains(words), "{words}: {said:?}");
        assert!(!bench.path("new").exists() && !bench.path("new.sig").exists());
    };
    let text = bench.read("one.json");
    bench.write(
        "forged.json",
        &text.replacen("\"verdict\":\"verified\"", "\"verdict\":\"mismatch\"", 1),
    );
    refused("forged.json", "ada", "forged.json contradicts itself", 2);
    bench.write("none.json", "{}");
    refused("none.json", "ada", "none.json is not a record", 2);
    refused("missing.json", "ada", "failed to read missing.json", 4);
    let mut cut = bench.record("one.json");
    (cut.ended, cut.outcome) = (None, None);
    bench.forge("cut.json", &cut);
    refused("cut.json", "ada", "did not end", 2);
    bench.write("old.json", &text.replacen(record::FORMAT, record::OLD_FORMATS[1], 1));
    refused("old.json", "ada", "older format", 2);
    refused("one.json", "allowed", "it is no private key of OpenSSH", 2);
    refused("one.json", "missing", "failed to read missing", 4);
    bench.write("large", &"x".repeat(70_000));
    refused("one.json", "large", "expected at most 65536 bytes", 2);
    // Nobody to ask for a passphrase: the tests have no terminal.
    let mut command = bench.command(&["attest", "one.json", "--key", "eve", "--out", "new"]);
    // A session of its own has none either.
    let mut alone = Command::new("setsid");
    alone.arg("-w").arg(command.get_program()).args(command.get_args());
    alone.current_dir(bench.path("")).stdin(Stdio::null());
    let said = match alone.output() {
        Ok(_) => ran(&mut alone),
        Err(_) => ran(&mut command),
    };
    assert!(said.code == 2 && said.stderr.contains("has a passphrase"), "{said:?}");
    // Nothing is written over.
    for (out, what) in [("one.json", "the record"), ("ada", "the key")] {
        let before = bench.read(out);
        let said = bench.verify(&["attest", "one.json", "--key", "ada", "--out", out]);
        assert!(said.code == 2 && said.stderr.contains(what), "{said:?}");
        assert_eq!(bench.read(out), before);
    }
}

#[test]
fn each_thing_that_was_changed_is_refused_by_name() {
    let bench = bench();
    let flipped = |file: &str| {
        let mut bytes = fs::read(bench.path(file)).expect("there");
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        bytes
    };
    let refused = |file: &str, bytes: &[u8], more: &[&str], words: &str| {
        let good = fs::read(bench.path(file)).expect("there");
        fs::write(bench.path(file), bytes).expect("ours");
        let said = check(&bench, more);
        assert!(said.code == 2 && said.stderr.contains(words), "{words}: {said:?}");
        fs::write(bench.path(file), good).expect("ours");
        assert_eq!(check(&bench, &[]).code, 0);
    };
    refused("a", &flipped("a"), &[], "a.sig: it is not a signature of these bytes");
    let signature = bench.read("a.sig");
    refused("a.sig", &flipped("a.sig"), &[], "a.sig: it is");
    refused("a.sig", bench.read("b.sig").as_bytes(), &[], "it is not a signature of these bytes");
    refused("a.sig", signature.replace('\n', "\r\n").as_bytes(), &[], "it is no SSH signature");
    refused("a.sig", b"", &[], "it is no SSH signature");
    refused("a.sig", &[b'x'; 20_000], &[], "expected at most 16384 bytes");
    let allowed = bench.read("allowed");
    let one_bit = allowed.replacen("AAAA", "AAAB", 1);
    refused("allowed", one_bit.as_bytes(), &[], "allowed: line 2: the key is refused");
    let at = allowed.find(" ssh-ed25519 ").expect("a key") + 60;
    let other = format!(
        "{}{}{}",
        &allowed[..at],
        if &allowed[at..=at] == "A" { "B" } else { "A" },
        &allowed[at + 1..]
    );
    refused("allowed", other.as_bytes(), &[], "nobody is allowed to sign with the key SHA256:");
    refused(
        "allowed",
        allowed.replace("ada@", "*@").as_bytes(),
        &[],
        "allowed: line 2: `*@example.org` is a pattern",
    );
    refused(
        "allowed",
        allowed.replace(NAMESPACE, "git").as_bytes(),
        &[],
        "it is for namespaces git",
    );
    let late = allowed.replace("namespaces", "valid-before=20200101Z,namespaces");
    refused("allowed", late.as_bytes(), &[], "it was valid up to 2020-01-01T00:00:00Z");
    bench.write("late", &late);
    let before = ["attest", "--check", "a", "--signers", "late", "--verify-time", "20190101Z"];
    assert_eq!(bench.verify(&before).code, 0);

    let refuses = |more: &[&str], words: &[&str]| {
        let said = check(&bench, more);
        assert_eq!(said.code, 2, "{said:?}");
        words.iter().for_each(|words| assert!(said.stderr.contains(words), "{words}: {said:?}"));
    };
    refuses(&["--identity", "bob"], &["a is signed by another", "expected `bob`"]);
    refuses(&["--record", "other.json"], &["it is of another record", "expected sha256"]);
    refuses(
        &["--tool", "sparse-verify 9.9.9"],
        &["another version of the program", "expected sparse-verify 9.9.9"],
    );
    // The same bytes of a record that says something else cannot be: the statement follows from them.
    let edited = bench.read("a").replacen("\"isa\":\"portable\"", "\"isa\":\"avx2\"", 1);
    sign(&bench, "a", &edited);
    refuses(&["--record", "one.json"], &["it says something else than its record does"]);
    sign(&bench, "a", &edited.replacen("PASSED", "FAILED", 1));
    refuses(&[], &["is not what follows from the rest of it"]);
    attest(&bench, "one.json", "ada", "a");

    let manifest = bench.read("manifests/small.yaml");
    bench.write("manifests/small.yaml", &format!("{manifest}# another\n"));
    refuses(&["--manifest", "manifests"], &["it is of another manifest `small`"]);
    bench.write("manifests/small.yaml", &manifest);
    let committed = bench.read("expected-hashes/small.yaml");
    let other = crate::common::change_digit(&committed, ID, "    shifted: ");
    bench.write("expected-hashes/small.yaml", &other);
    refuses(&["--manifest", "manifests"], &["other digests were committed for case", ID]);
    // Who confirmed them has no part in that.
    bench.write(
        "expected-hashes/small.yaml",
        &committed.replacen("skip on cpu", "another on cpu", 1),
    );
    assert_ne!(bench.read("expected-hashes/small.yaml"), committed);
    assert_eq!(check(&bench, &["--manifest", "manifests"]).code, 0);
    refuses(
        &["--manifest", &repository("manifests/quickstart.yaml")],
        &["it is of another manifest", "expected quickstart"],
    );
    fs::remove_file(bench.path("a.sig")).expect("there");
    refuses(&[], &["a is not signed: there is no a.sig", "hint: "]);
}

/// Writes a text, signed by ada as any tool would sign it.
fn sign(bench: &Workbench, path: &str, text: &str) {
    let key = attest::signature::Key::read(bench.read("ada").as_bytes()).expect("a key");
    bench.write(path, text);
    bench.write(&format!("{path}.sig"), &key.sign(text.as_bytes()).expect("it signs"));
}

#[test]
fn two_machines_reach_a_quorum_of_two() {
    let bench = bench();
    let said = quorum(&bench, "2", &["a", "b", "--manifest", "manifests"]);
    assert_eq!(said.code, 0, "{said:?}");
    for words in [
        "2 statements, 2 signers, 2 machines by their own word; a case needs 2 votes",
        "small: 2 cases confirmed, 2 votes each: ",
        "ada@example.org verified by skip on ",
        "bob verified by skip on Another processor (portable)",
        "exit code 0: everything required was verified",
    ] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    assert_eq!(quorum(&bench, "3", &["a", "b"]).code, 3);
    assert_eq!(quorum(&bench, "1", &["a"]).code, 0);
    // One signer, twice; one machine, twice.
    attest(&bench, "other.json", "ada", "c");
    attest(&bench, "one.json", "bob", "d");
    for pair in [["a", "c"], ["a", "d"], ["a", "a"]] {
        let said = quorum(&bench, "2", &pair);
        assert!(said.code == 3 && said.stdout.contains("2 cases short, 1 vote each"), "{said:?}");
    }
    // Parts of a manifest count for themselves, and what nobody has is short.
    let run = ["manifests", "--case", ID, "--no-measure", "--json", "part.json"];
    assert_eq!(bench.verify(&run).code, 0);
    attest(&bench, "part.json", "ada", "p");
    let said = quorum(&bench, "2", &["p", "b"]);
    assert!(said.code == 3 && said.stdout.contains("1 case confirmed, 2 votes"), "{said:?}");
    assert_eq!(quorum(&bench, "2", &["p", "b", "--case", "*-50/*"]).code, 0);
    let said = quorum(&bench, "2", &["p", "b", "--case", "nothing"]);
    assert!(said.code == 2 && said.stderr.contains("none of the cases asked for"), "{said:?}");
}

#[test]
fn one_changed_digest_is_refuted_and_names_case_and_signers() {
    let bench = bench();
    for name in ["a", "v", "dense", "operator", "rebuilt", "shifted"] {
        let mut other = bench.record("other.json");
        change(&mut other, name);
        bench.save("changed.json", &other);
        attest(&bench, "changed.json", "bob", "b");
        let said = quorum(&bench, "2", &["a", "b"]);
        assert_eq!(said.code, 1, "{said:?}");
        let words = [
            format!("small {ID}: refuted\n"),
            "bob says mismatch".into(),
            "ada@example.org says verified".into(),
            format!("digest {name} differs\n"),
            format!("{}  bob\n", Digest::of(b"another")),
            "small: 1 case confirmed, 2 votes each".into(),
        ];
        words.iter().for_each(|words| assert!(said.stdout.contains(words), "{words}: {said:?}"));
        let said = quorum(&bench, "1", &["a", "b", "--format", "json"]);
        let document: Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!((said.code, &document["exit_code"]), (1, &1.into()));
        // Where the other case alone is asked for, nothing is refuted.
        assert_eq!(quorum(&bench, "2", &["a", "b", "--case", "*-80/*"]).code, 0);
    }
    // Committed and found alike, both made up: another set of committed digests, and refused by name.
    let mut forged = bench.record("other.json");
    let case = forged.cases.iter_mut().find(|case| case.id == ID).expect("it ran");
    let rows = &mut case.bits.as_mut().expect("it ran").digests;
    for row in rows.iter_mut().filter(|row| row.name == "shifted") {
        (row.got, row.expected) = (Some(Digest::of(b"x")), Some(Digest::of(b"x")));
    }
    bench.save("forged.json", &forged);
    attest(&bench, "forged.json", "bob", "b");
    let said = quorum(&bench, "2", &["a", "b"]);
    let words =
        [format!("b: other digests were committed for case `{ID}`"), "(a)".into(), "hint: ".into()];
    assert_eq!(said.code, 2, "{said:?}");
    words.iter().for_each(|words| assert!(said.stderr.contains(words), "{words}: {said:?}"));
}

#[test]
fn statements_of_something_else_are_refused_by_name() {
    let bench = bench();
    let text = bench.read("a");
    let refused = |text: &str, words: &str| {
        sign(&bench, "c", text);
        let said = quorum(&bench, "1", &["b", "c"]);
        assert!(
            said.code == 2 && said.stderr.contains("c: ") && said.stderr.contains(words),
            "{words}: {said:?}"
        );
    };
    // Replayed from another version: its program, its record's format, its own format.
    refused(
        &text.replace("sparse-verify 0.1.0", "sparse-verify 0.0.9"),
        "another version of the program",
    );
    refused(
        &text.replace("sparse-verify-record/4", "sparse-verify-record/3"),
        "a record of another version",
    );
    refused(
        &text.replace("sparse-verify-statement/1", "sparse-verify-statement/0"),
        "its format is `sparse-verify-statement/0`",
    );
    refused(
        &text.replace("sparse-verify-statement/1", "sparse-verify-statement/1-draft"),
        "its format is `sparse-verify-statement/1-draft`, expected `sparse-verify-statement/1`\nhint: a draft of it; a \
         signature is of its bytes: make it again",
    );
    let sha256 = bench.record("one.json").manifests[0].sha256.to_string();
    let other = Digest::of(b"an older manifest").to_string();
    refused(&text.replace(&sha256, &other), "it is of another manifest `small`");
    refused("{}\n", "it has no `_type`");
    // Nothing is counted without signers.
    let said = bench.verify(&["quorum", "--need", "1", "a"]);
    assert!(said.code == 2 && said.stderr.contains("--signers FILE is missing"), "{said:?}");
    assert_eq!(quorum(&bench, "0", &["a"]).code, 2);
    assert_eq!(quorum(&bench, "1", &["missing"]).code, 4);
}

#[test]
fn confirmations_name_who_signed_the_record() {
    let bench = bench();
    let committed = "expected-hashes/small.yaml";
    let before = bench.read(committed);
    let pin = |more: &[&str]| {
        let common = ["pin", "manifests/small.yaml", "--record", "other.json", "--yes"];
        bench.verify(&[&common, more].concat())
    };
    let signed = ["--attestation", "b", "--signers", "allowed"];
    let own = "skip on cpu portable: Another processor, sparse-verify 0.1.0";
    // Without a statement it is marked, once.
    for _ in 0..2 {
        assert_eq!(pin(&[]).code, 0);
        assert_eq!(bench.read(committed).matches(&format!("\"{own}, unsigned\"")).count(), 2);
    }
    // A signature takes the mark away; afterwards an unsigned record adds nothing.
    for more in [&signed[..], &[]] {
        assert_eq!(pin(more).code, 0);
        let text = bench.read(committed);
        assert_eq!(text.matches(&format!("\"{own}, signed by bob\"")).count(), 2, "{text}");
        assert!(!text.contains("unsigned"), "{text}");
    }
    // What was there stays.
    let is_kept = |line: &str| bench.read(committed).lines().any(|own| own == line);
    assert!(before.lines().all(is_kept));
    // And the file is one: it is read, and verified against.
    assert_eq!(bench.verify(&["manifests", "--no-measure"]).code, 0);
    bench.write(committed, &before);
    for (more, words) in [
        (&["--attestation", "a", "--signers", "allowed"][..], "it is of another record"),
        (&["--attestation", "b"], "--signers"),
        (&["--attestation", "missing", "--signers", "allowed"], "failed to read missing"),
    ] {
        let said = pin(more);
        assert!(said.code != 0 && said.stderr.contains(words), "{words}: {said:?}");
        assert_eq!(bench.read(committed), before);
    }
}

/// Records that two machines made of the same cases, one on its processor and one on its GPU, and that are committed.
#[test]
fn a_processor_and_a_gpu_reach_a_quorum_of_two() {
    let records =
        ["cpu", "gpu"].map(|kind| repository(&format!("tests/records/quorum/{kind}.json")));
    let bench = bench();
    for (record, (key, out)) in records.iter().zip([("ada", "cpu"), ("bob", "gpu")]) {
        attest(&bench, record, key, out);
    }
    let said = quorum(
        &bench,
        "2",
        &["cpu", "gpu", "--manifest", &repository("manifests/quickstart.yaml")],
    );
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("2 signers, 2 machines by their own word"), "{said:?}");
    // One digest of one case changed in one of them.
    let mut other = record::load(records[1].as_ref()).expect("a record");
    let is_found =
        |case: &&mut record::CaseRecord| case.verdict == record::verdict::Verdict::Verified;
    let case = other.cases.iter_mut().find(is_found).expect("one is verified");
    find_another(case, "v");
    let id = case.id.clone();
    bench.save("changed.json", &other);
    attest(&bench, "changed.json", "bob", "gpu");
    let said = quorum(&bench, "2", &["cpu", "gpu"]);
    assert_eq!(said.code, 1, "{said:?}");
    let words = [
        format!("quickstart {id}: refuted\n"),
        "bob says mismatch".into(),
        "ada@example.org says verified".into(),
    ];
    words.iter().for_each(|words| assert!(said.stdout.contains(words), "{words}: {said:?}"));
}
