//! A component for the world `wasi:cli/command`, against preview 2 itself: it reports what it was given.
//!
//! Standard input is copied to standard output, after a line for the arguments and one for the variables whose names
//! begin with GUESTHOUSE_TRIGGER or GREETING. An input of `exit N` ends with that code, `fail` with an error.

use wasip2::cli::{environment, exit, stderr, stdin, stdout};
use wasip2::io::streams::StreamError;

struct Guest;

wasip2::cli::command::export!(Guest);

impl wasip2::exports::cli::run::Guest for Guest {
    fn run() -> Result<(), ()> {
        let input = stdin::get_stdin();
        let mut body = Vec::new();
        loop {
            match input.blocking_read(65536) {
                Ok(part) => body.extend_from_slice(&part),
                Err(StreamError::Closed) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let errors = stderr::get_stderr();
        errors.blocking_write_and_flush(b"a line of the guest\n").expect("logged");
        if let Some(code) = text.strip_prefix("exit ") {
            errors.blocking_write_and_flush(b"it was asked to\n").expect("logged");
            match code {
                "0" => exit::exit(Ok(())),
                _ => exit::exit(Err(())),
            }
        }
        if text == "fail" {
            return Err(());
        }
        let mut lines = vec![environment::get_arguments().join(" ")];
        for (name, value) in environment::get_environment() {
            if name == "GUESTHOUSE_TRIGGER" || name == "GREETING" {
                lines.push(format!("{name}={value}"));
            }
        }
        lines.push(text);
        let output = stdout::get_stdout();
        for part in lines.join("\n").as_bytes().chunks(4096) {
            output.blocking_write_and_flush(part).expect("written");
        }
        Ok(())
    }
}
