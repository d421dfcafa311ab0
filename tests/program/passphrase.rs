//! `verify attest` with a key that has a passphrase: asked on the terminal, never shown, and the terminal is as it was.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use crate::common::{Section, Workbench, repository};
use crate::terminal;

/// The key's passphrase.
const SECRET: &[u8] = b"secret";
/// A terminal that shows what is typed, gives it by lines, and turns Ctrl-C into a signal.
const AS_USUAL: LocalModes = LocalModes::ECHO.union(LocalModes::ICANON).union(LocalModes::ISIG);

/// A bench with the record of a run and the key `eve`.
fn bench() -> Workbench {
    let bench = Workbench::pinned(&[Section::default()]);
    let run = ["manifests", "--no-measure", "--isa", "portable", "--json", "one.json"];
    assert_eq!(bench.verify(&run).code, 0);
    let key = fs::read(repository("crates/attest/tests/keys/locked")).expect("there");
    fs::write(bench.path("eve"), key).expect("new");
    fs::set_permissions(bench.path("eve"), fs::Permissions::from_mode(0o600)).expect("ours");
    bench
}

/// `verify attest` on a terminal of its own, at which somebody sits.
struct Asked {
    program: Child,
    ours: OwnedFd,
    /// What the terminal shows, piece by piece.
    shows: Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Asked {
    /// Waits until the passphrase is asked for.
    fn new(bench: &Workbench) -> Asked {
        let (ours, theirs) = terminal::open();
        assert!(modes(&ours).contains(AS_USUAL));
        let verify = bench.command(&["attest", "one.json", "--key", "eve", "--out", "new"]);
        // The terminal of a new session is the one at its standard input.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(verify.get_program()).args(verify.get_args());
        for (name, value) in verify.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let also = || theirs.try_clone().expect("cloned");
        session.current_dir(bench.path("")).stdin(also()).stdout(also()).stderr(also());
        let program = session.spawn().expect("setsid is of util-linux");
        let mut reader = File::from(ours.try_clone().expect("cloned"));
        let (sender, shows) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Ends with an error once nobody has the other side.
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                let _ = sender.send(piece[..count].to_vec());
            }
        });
        let mut asked = Asked { program, ours, shows, shown: Vec::new() };
        while !asked.shown.ends_with(b"passphrase of eve: ") {
            let piece = asked.shows.recv_timeout(Duration::from_secs(60));
            asked.shown.extend(piece.unwrap_or_else(|_| panic!("it asks: {}", asked.text())));
        }
        // What is typed is not shown from now on.
        let until = Instant::now() + Duration::from_secs(60);
        while modes(&asked.ours).contains(LocalModes::ECHO) {
            assert!(Instant::now() < until, "what is typed is shown");
            std::thread::sleep(Duration::from_millis(1));
        }
        asked
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Types these keys, and says what code it ended with and what was shown in all.
    fn answered(mut self, keys: &[u8]) -> (i32, String) {
        let mut keyboard = File::from(self.ours.try_clone().expect("cloned"));
        keyboard.write_all(keys).expect("the terminal is open");
        self.ended()
    }

    fn ended(&mut self) -> (i32, String) {
        let code = self.program.wait().expect("our child").code().expect("not killed");
        assert!(modes(&self.ours).contains(AS_USUAL), "the terminal is as it was");
        while let Ok(piece) = self.shows.recv_timeout(Duration::from_secs(60)) {
            self.shown.extend(piece);
        }
        (code, self.text())
    }
}

fn modes(terminal: &OwnedFd) -> LocalModes {
    tcgetattr(terminal).expect("a terminal").local_modes
}

fn has_signed(bench: &Workbench) -> bool {
    let [statement, signature] = ["new", "new.sig"].map(|file| bench.path(file).exists());
    assert_eq!(statement, signature, "both or none");
    signature
}

#[test]
fn the_passphrase_is_asked_for_and_not_shown() {
    let bench = bench();
    let (code, shown) = Asked::new(&bench).answered(&[SECRET, b"\n"].concat());
    assert!(code == 0 && shown.contains("new.sig  signature by eve"), "{code}: {shown}");
    assert!(!shown.contains("secret") && !shown.contains('*'), "{shown}");
    assert!(has_signed(&bench));
    let key = attest::signature::Key::read(bench.read("eve").as_bytes()).expect("a key");
    bench.write("allowed", &format!("eve {}\n", key.public().text().expect("text")));
    let said = bench.verify(&["attest", "--check", "new", "--signers", "allowed"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn without_the_passphrase_nothing_is_signed() {
    let bench = bench();
    for (keys, words) in [
        (&b"another\n"[..], "error: eve: the passphrase is another"),
        (b"\n", "error: eve: the passphrase is another"),
        // Ctrl-D.
        (b"\x04", "error: eve has a passphrase, and none was given"),
    ] {
        let (code, shown) = Asked::new(&bench).answered(keys);
        assert!(code == 2 && shown.contains(words), "{keys:?}, {code}: {shown}");
        assert!(!shown.contains("another\r") && !has_signed(&bench), "{shown}");
    }
}

#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let bench = bench();
    for keys in [&b"\x03"[..], b"secr\x03"] {
        let (code, shown) = Asked::new(&bench).answered(keys);
        assert!(code == 130 && !shown.contains("error"), "{code}: {shown}");
    }
    let mut asked = Asked::new(&bench);
    // setsid becomes the program.
    kill_process(Pid::from_child(&asked.program), Signal::TERM).expect("ours");
    let (code, shown) = asked.ended();
    assert!(code == 143 && !has_signed(&bench), "{code}: {shown}");
}
