//! Standard output and standard error. What cannot be written is known at the end and changes the exit code; a reader
//! that went away (`| head -1`) wants no more, and is no failure.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anstream::AutoStream;
use contract::words::{terminal_lines, visible_json, visible_lines};

use crate::failure::Failure;

/// A stream of text that remembers why the first write to it failed, and then writes no more.
struct Output<W> {
    stream: W,
    failed: Option<io::Error>,
}

impl<W: Write> Output<W> {
    const fn new(stream: W) -> Output<W> {
        Output { stream, failed: None }
    }

    /// Writes text at once.
    fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            let written = self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush());
            self.failed = written.err();
        }
    }

    fn result(&self) -> Result<(), Failure> {
        match &self.failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::environment(format!("failed to write to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Standard output, with colour on a terminal only.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        AutoStream::auto(io::stdout()).write(text)
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        AutoStream::auto(io::stdout()).write_all(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

fn stdout() -> MutexGuard<'static, Output<Stdout>> {
    static STDOUT: Mutex<Output<Stdout>> = Mutex::new(Output::new(Stdout));
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes lines to standard output, as text whatever they hold. A failure is kept for [`result`].
pub fn print(text: &str) {
    stdout().write(&fitted(&visible_lines(text), io::stdout()));
}

/// Writes a text of ours that has styles in it, which are left out where there is no terminal. Nothing of anybody else
/// may stand in it.
pub fn print_styled(text: &str) {
    stdout().write(text);
}

/// Whether standard output is a document's, so that tables go to standard error.
static IS_LEFT_TO_DATA: AtomicBool = AtomicBool::new(false);

/// Leaves standard output to a document that is written there at the end: tables go to standard error from here on.
pub fn leave_stdout_to_data() {
    IS_LEFT_TO_DATA.store(true, Ordering::Relaxed);
}

/// Writes the lines of a table whose words have a style of ours.
pub fn print_table(text: &str) {
    if IS_LEFT_TO_DATA.load(Ordering::Relaxed) {
        let _ = write!(anstream::stderr(), "{}", fitted(&terminal_lines(text), io::stderr()));
    } else {
        stdout().write(&fitted(&terminal_lines(text), io::stdout()));
    }
}

/// The text as it is, but on a terminal with no line that is wider than that.
fn fitted(text: &str, to: impl IsTerminal + AsFd) -> String {
    let width = if to.is_terminal() { terminal_size::terminal_size_of(to) } else { None };
    match width {
        Some((terminal_size::Width(width), _)) => fitted_to(text, width.into()),
        None => text.to_owned(),
    }
}

/// Continues lines that are wider than `width` below, indented by four more; no word is broken.
fn fitted_to(text: &str, width: usize) -> String {
    // Narrower is no table any more.
    const WIDTH_MIN: usize = 40;
    let mut fitted = String::new();
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches('\n');
        if width < WIDTH_MIN || textwrap::core::display_width(content) <= width {
            fitted.push_str(line);
            continue;
        }
        let spaces = content.len() - content.trim_start_matches(' ').len();
        let below = " ".repeat((spaces + 4).min(WIDTH_MIN / 2));
        let options = textwrap::Options::new(width)
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .subsequent_indent(&below);
        fitted.push_str(&textwrap::wrap(content, options).join("\n"));
        fitted.push_str(&line[content.len()..]);
    }
    fitted
}

/// Writes a document.
pub fn print_json(document: &serde_json::Value) {
    stdout().write(&visible_json(&format!("{document:#}\n")));
}

/// Whether everything printed so far was written, or nobody wanted it.
pub fn result() -> Result<(), Failure> {
    stdout().result()
}

/// Writes a line to standard error. There is nowhere to say that this failed.
pub fn note(line: &str) {
    let _ = writeln!(anstream::stderr(), "{}", fitted(&visible_lines(line), io::stderr()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one write, then fails.
    struct Once(usize, ErrorKind);

    impl Write for Once {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 == 1 { Ok(text.len()) } else { Err(io::Error::from(self.1)) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_failure_is_remembered_and_nothing_is_written_after_it() {
        let mut output = Output::new(Once(0, ErrorKind::StorageFull));
        output.write("one");
        assert!(output.result().is_ok());
        output.write("two");
        output.write("three");
        assert_eq!(output.stream.0, 2);
        let failure = output.result().expect_err("it failed");
        assert_eq!(failure.code, record::exit::ENVIRONMENT);
        assert!(failure.message.starts_with("failed to write to standard output: "));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_word_is_broken() {
        let style = |word: &str| format!("\u{1b}[32m{word}\u{1b}[0m");
        let text = format!(
            "case                                             verdict   time\n\
             chain/up/uniform-80/b48/f32/f32-sliced-4x80      {}  22 us, 2.14x [2.08 to 2.21] csr (best), 2.14x [2.08 to 2.21] \
             csr (published rule)\n    a reason that is long, and goes on and on, so that it does not fit into eighty \
             columns\n\nend",
            style("verified")
        );
        for width in [40, 80, 100, 160] {
            let fitted = fitted_to(&text, width);
            for line in fitted.lines() {
                let is_a_word = !line.trim_start().contains(' ');
                assert!(
                    is_a_word || textwrap::core::display_width(line) <= width,
                    "{width}: {line}"
                );
            }
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&fitted), words(&text), "{width}");
        }
        assert_eq!(fitted_to(&text, 400), text);
        assert!(fitted_to(&text, 80).contains("\n        eighty columns\n\nend"));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let mut output = Output::new(Once(1, ErrorKind::BrokenPipe));
        output.write("one");
        assert!(output.result().is_ok());
    }
}
