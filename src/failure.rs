//! What ends a command before its work is done, with the exit code that it gives.

use contract::words::visible_lines;
use record::exit::{BAD_INPUT, ENVIRONMENT};

/// A failure that ends the program, with its code.
#[derive(Debug, thiserror::Error)]
#[error("{}", visible_lines(message))]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn bad_input(message: impl ToString) -> Failure {
        Failure { code: BAD_INPUT, message: message.to_string() }
    }

    pub fn environment(message: impl ToString) -> Failure {
        Failure { code: ENVIRONMENT, message: message.to_string() }
    }
}
